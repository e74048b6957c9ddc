"""The embedded simulated venue as its own process, owned by the program that started it.

The child prints one JSON line when it is ready and ends when its standard input closes, so that no
venue outlives its owner, however the owner dies.
"""

from __future__ import annotations

import selectors
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import IO

import msgspec

from cryptosignal.binance.routes import Routes
from cryptosignal.binance.signing import HmacSigner
from cryptosignal.ground.faults import UserFault
from cryptosignal.ground.secret import Secret

READY_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 1.0
_ERROR_CHARS_MAX = 4_000


class VenueReady(msgspec.Struct, frozen=True):
    """The venue's announcement (DESIGN D11): addresses, keys and the shared epoch of its time."""

    rest: str
    ws: str
    ws_api: str
    api_key: str
    api_secret: str
    start_time_ms: int
    epoch_mono_ns: int
    speed: float

    def routes(self) -> Routes:
        """Its base URLs."""
        return Routes(
            rest_url=self.rest,
            ws_url=self.ws,
            ws_api_url=self.ws_api,
            spot_url=self.rest,
            sapi_url=self.rest,
            name="embedded",
        )

    def signer(self) -> HmacSigner:
        """The key of its first account: worth nothing anywhere else."""
        return HmacSigner(Secret(self.api_key), Secret(self.api_secret))


@contextmanager
def embedded_venue(arguments: Sequence[str]) -> Iterator[VenueReady]:
    """Start `cryptosignal simulate` with `arguments`, yield its announcement, stop it at the end.

    Raises UserFault with the child's own line if it refuses to start.
    """
    command = [sys.executable, "-m", "cryptosignal", "simulate", "--json", "--until-stdin-closes"]
    with subprocess.Popen(  # noqa: S603  # our own interpreter and module, no shell
        [*command, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C at the terminal is for the owner, who then stops the child
    ) as process:
        try:
            yield _announcement(process)
        finally:
            _stop(process)


def _announcement(process: subprocess.Popen[bytes]) -> VenueReady:
    assert process.stdout is not None
    assert process.stderr is not None
    line = _line_within(process.stdout, READY_TIMEOUT_S)
    if line is None:
        raise UserFault(f"the embedded venue did not come up within {READY_TIMEOUT_S:.0f} s")
    if line:
        return msgspec.json.decode(line, type=VenueReady)
    words = process.stderr.read().decode("utf-8", "replace").strip()[-_ERROR_CHARS_MAX:]
    last = words.splitlines()[-1] if words else "the embedded venue gave no reason"
    raise UserFault(last.removeprefix("cryptosignal: "))


def _line_within(stream: IO[bytes], timeout_s: float) -> bytes | None:
    """The first line, b\"\" at the end of the stream, None when nothing came in time."""
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
