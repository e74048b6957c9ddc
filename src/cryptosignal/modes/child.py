"""A child process of ours: one line when it is ready, gone when its owner is.

The child ends when its standard input closes, so that none outlives its owner, however that dies.
"""

from __future__ import annotations

import selectors
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import IO

from cryptosignal.ground.faults import UserFault

READY_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 1.0
_ERROR_CHARS_MAX = 4_000


@contextmanager
def started(
    module: Sequence[str], what: str, on_life: Callable[[int], None] = lambda _: None
) -> Iterator[bytes]:
    """Run `python -m <module…>`, yield the first line it prints, stop it at the end.

    `on_life` gets a descriptor that can be read to its end once the child has ended, however that
    was. Raises UserFault with the child's own last line if it ends without a line.
    """
    with subprocess.Popen(  # noqa: S603  # our own interpreter and module, no shell
        [sys.executable, "-m", *module],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C at the terminal is for the owner, who then stops the child
    ) as process:
        try:
            line = _announcement(process, what)
            assert process.stdout is not None
            on_life(process.stdout.fileno())
            yield line
        finally:
            _stop(process)


def _announcement(process: subprocess.Popen[bytes], what: str) -> bytes:
    assert process.stdout is not None
    assert process.stderr is not None
    line = _line_within(process.stdout, READY_TIMEOUT_S)
    if line is None:
        raise UserFault(f"{what} did not come up within {READY_TIMEOUT_S:.0f} s")
    if line:
        return line
    words = process.stderr.read().decode("utf-8", "replace").strip()[-_ERROR_CHARS_MAX:]
    last = words.splitlines()[-1] if words else f"{what} gave no reason"
    raise UserFault(last.removeprefix("cryptosignal: "))


def _line_within(stream: IO[bytes], timeout_s: float) -> bytes | None:
    """The first line, b"" at the end of the stream, None when nothing came in time."""
    with selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        if not selector.select(timeout_s):
            return None
    return stream.readline()


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.stdin is not None:
        process.stdin.close()
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
