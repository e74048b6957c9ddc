"""The program of a chaos run: `run_live` on a venue that outlives it, with a clock that can be stepped.

`python -m tests.chaos.program VENUE.json CONFIG.toml STEP-FILE SEED [BUG]`. SIGUSR1 lets it read its
clock's offset (ms) from STEP-FILE anew; the machine's clock is never touched. BUG names one of the
planted bugs of the simulated campaign, to show that a chaos run notices it. It dies with its harness.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import signal
import sys
from pathlib import Path
from typing import Any

import msgspec

from cryptosignal.cli import main as cli
from cryptosignal.cli.console import Terminal
from cryptosignal.ground.clock import LoopClock
from cryptosignal.modes.beside import leave
from cryptosignal.modes.config import load_config
from cryptosignal.modes.embedded import VenueReady
from cryptosignal.modes.live import Run, run_live

_PR_SET_PDEATHSIG = 1


class SteppedClock(LoopClock):
    """The clock of a host that somebody sets: exchange time is off by what a file says."""

    def __init__(self, loop: asyncio.AbstractEventLoop, start_ms: int, file: Path) -> None:
        super().__init__(loop, start_ms)
        self._file = file
        self.skew_ms = 0
        self.step()
        loop.add_signal_handler(signal.SIGUSR1, self.step)

    def step(self) -> None:
        """Take the offset from the file."""
        with contextlib.suppress(FileNotFoundError):
            self.skew_ms = int(self._file.read_text() or "0")

    def now_ms(self) -> int:
        """Exchange time as this host believes it."""
        return super().now_ms() + self.skew_ms


def start(words: list[str]) -> int:
    """Run until it ends; as `cryptosignal run` does."""
    ready = msgspec.json.decode(Path(words[0]).read_bytes(), type=VenueReady)
    file = Path(words[2])
    request = Run(
        config=load_config(words[1]),
        seed=int(words[3]),
        attached=ready,
        clock_of=lambda loop, start_ms: SteppedClock(loop, start_ms, file),
    )
    planted = contextlib.nullcontext() if len(words) < 5 else _bug(words[4])
    face = Terminal(top=1, scans_table=False, as_json=True, verbose=True)
    with planted:
        face.say(f"ended: {run_live(request, face)}")
    return 0


def _bug(name: str) -> contextlib.AbstractContextManager[Any]:
    from tests.sim_campaign.mutants import MUTANTS

    return next(mutant for mutant in MUTANTS if mutant.name == name).plant()


if __name__ == "__main__":
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    leave(cli.guarded(lambda: start(sys.argv[1:])))
