"""The processes of a chaos run: the venue and its words, the program and its lives."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from cryptosignal.sim.settings import VenueSettings

ROOT = Path(__file__).resolve().parents[2]
CRASH_WORDS = "Traceback (most recent call last)"


def environment() -> dict[str, str]:
    """The surroundings of a process: the sources of this tree."""
    kept = {k: v for k, v in os.environ.items() if k in ("PATH", "HOME", "LANG", "TMPDIR")}
    return {**kept, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}", "PYTHONUNBUFFERED": "1"}


class VenueProcess:
    """The venue: announces itself, then tells what changes in its books."""

    def __init__(self) -> None:
        self.ready_line = b""
        self.held: dict[str, str] = {}
        self.fills = 0
        self.heard: Callable[[], None] = lambda: None
        self._report: asyncio.Future[dict[str, Any]] | None = None
        self._reader: asyncio.Task[None] | None = None
        self._process: asyncio.subprocess.Process | None = None

    async def start(self, seed: int, settings: VenueSettings) -> None:
        """Start it and read its announcement."""
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.chaos.venue", str(seed)),
            msgspec.json.encode(settings).decode(),
            cwd=ROOT,
            env=environment(),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=16 * 1024 * 1024,
        )
        assert self._process.stdout is not None
        self.ready_line = await self._process.stdout.readline()
        assert self.ready_line, "the venue did not come up"
        self._reader = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            body = json.loads(line)
            if "report" in body:
                assert self._report is not None
                self._report.set_result(body["report"])
            elif "violation" in body:
                sys.stderr.write(f"chaos: {body['violation']} at {body['at_ms']}\n")
            else:
                self.held, self.fills = body["held"], body["fills"]
                self.heard()

    def order(self, word: str) -> None:
        """`calm`, `excuse`, `accuse`."""
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(f"{word}\n".encode())

    async def report(self) -> dict[str, Any]:
        """What its books say of the whole run."""
        self._report = asyncio.get_running_loop().create_future()
        self.order("report")
        async with asyncio.timeout(60.0):
            return await self._report

    async def stop(self) -> None:
        """End it."""
        if self._process is None or self._process.stdin is None:
            return
        self._process.stdin.close()
        await self._process.wait()
        if self._reader is not None:
            await self._reader


class ProgramProcess:
    """The program, started again whenever it has ended, as a service manager would."""

    def __init__(self, command: list[str], log: Path, pause_s: Callable[[], float]) -> None:
        self.starts = 0
        self.exits: Counter[int] = Counter()
        self.crashes: list[str] = []
        self.is_wanted = True
        self._command = command
        self._log = log
        self._pause_s = pause_s
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int | None:
        """The process that runs, if one does."""
        process = self._process
        return process.pid if process is not None and process.returncode is None else None

    async def run(self) -> None:
        """Keep it running until it is no longer wanted."""
        while self.is_wanted:
            out = self._log.with_suffix(f".{self.starts:03d}.out")
            err = self._log.with_suffix(f".{self.starts:03d}.err")
            self.starts += 1
            with out.open("wb") as told, err.open("wb") as errors:
                self._process = await asyncio.create_subprocess_exec(
                    *(sys.executable, "-m", "tests.chaos.program", *self._command),
                    cwd=ROOT,
                    env=environment(),
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=told,
                    stderr=errors,
                )
                code = await self._process.wait()
            self.exits[code] += 1
            words = err.read_text(errors="replace")
            if CRASH_WORDS in words:
                self.crashes.append(f"{err.name}: {words.strip().splitlines()[-1]}")
            if self.is_wanted:
                await asyncio.sleep(self._pause_s())

    def send(self, number: signal.Signals) -> bool:
        """A signal to the process; False if none runs."""
        if self.pid is None:
            return False
        os.kill(self.pid, number)
        return True
