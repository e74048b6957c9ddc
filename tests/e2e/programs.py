"""Real processes of the program for the tests of this folder: started, heard, signalled, waited for."""

from __future__ import annotations

import os
import queue
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LIMIT_S = 180.0
"""A bound, not a target: what has not ended by then has hung."""


def environment(**extra: str) -> dict[str, str]:
    """The surroundings of a process: the sources of this tree, nothing that changes its output."""
    kept = {k: v for k, v in os.environ.items() if k in ("PATH", "HOME", "LANG", "TMPDIR")}
    return {**kept, "PYTHONPATH": str(ROOT / "src"), "PYTHONUNBUFFERED": "1", **extra}


def command(*words: object) -> list[str]:
    """The command line of `cryptosignal` with this interpreter."""
    return [sys.executable, "-m", "cryptosignal", *map(str, words)]


@dataclass
class Ended:
    """What a process left: its exit code and words."""

    code: int
    out: str
    err: str


def run(*words: object, folder: Path, stdin: str | None = None) -> Ended:
    """Run a command to its end."""
    done = subprocess.run(
        command(*words),
        cwd=folder,
        env=environment(),
        input=stdin,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    return Ended(done.returncode, done.stdout, done.stderr)


class Running:
    """A process under way; a thread takes its lines as they come, so that no pipe fills up."""

    def __init__(self, folder: Path, *words: object) -> None:
        self.started_s = time.monotonic()
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115  # closed when the program ends
        self.process = subprocess.Popen(
            command(*words),
            cwd=folder,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )
        self.lines: list[str] = []
        self._coming: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._coming.put(line)
        self._coming.put("")

    @property
    def pid(self) -> int:
        return self.process.pid

    def until(self, words: str) -> str:
        """The first line that holds `words`. Fails if the output ends without it."""
        while True:
            line = self._coming.get(timeout=LIMIT_S)
            assert line, f"ended without {words!r}: {self.lines} {self.errors()}"
            self.lines.append(line)
            if words in line:
                return line

    def errors(self) -> str:
        """What it said on stderr."""
        self._errors.seek(0)
        return self._errors.read()

    def children(self) -> list[int]:
        """The processes that it has started."""
        text = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text()
        return [int(word) for word in text.split()]

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def end(self) -> Ended:
        """Wait for its end and take its last words."""
        code = self.process.wait(LIMIT_S)
        self._reader.join(LIMIT_S)
        while line := self._coming.get(timeout=LIMIT_S):
            self.lines.append(line)
        return Ended(code, "".join(self.lines), self.errors())

    def close(self) -> None:
        """Nothing of it is left, whatever happened."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(LIMIT_S)
        self._reader.join(LIMIT_S)
        assert self.process.stdout is not None
        self.process.stdout.close()
        self._errors.close()


@contextmanager
def running(folder: Path, *words: object) -> Iterator[Running]:
    """A process that is gone when the block is left."""
    program = Running(folder, *words)
    try:
        yield program
    finally:
        program.close()


def wait_gone(pid: int) -> bool:
    """True once the process `pid` has ended; False if it outlives the limit."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        poll = select.poll()
        poll.register(handle, select.POLLIN)
        return bool(poll.poll(LIMIT_S * 1000))
    finally:
        os.close(handle)


def is_refusal(ended: Ended, *words: str, code: int = 2) -> None:
    """Assert one line on stderr with all of `words`, the exit code, and no traceback."""
    assert ended.code == code, ended
    assert "Traceback" not in ended.err + ended.out
    assert len(ended.err.strip().splitlines()) == 1, ended.err
    for word in words:
        assert word in ended.err, ended.err
