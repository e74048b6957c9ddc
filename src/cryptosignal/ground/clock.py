"""Time as a parameter: every room that needs the time is handed a Clock and asks it.

Two times exist and are never mixed in one expression:
`now_ms` is exchange time (UTC epoch milliseconds, what the venue would print), `mono_ns` is local
monotonic time (nanoseconds, for timeouts and lag). Under a scaled or virtual loop both run on the
loop's own time, so that one process has one time.
"""

from __future__ import annotations

import asyncio
import time
from typing import Protocol


class Clock(Protocol):
    """What the program asks for the time."""

    def now_ms(self) -> int:
        """Exchange time, UTC epoch milliseconds, as far as this host knows it."""
        ...

    def mono_ns(self) -> int:
        """Local monotonic time in nanoseconds; only differences mean something."""
        ...


class SystemClock:
    """The host's time, corrected by an offset measured against the venue (`offset_ms`).

    The host's wall clock is read once; from then on time passes as it really does. A step of that
    clock (by hand, by NTP) is no step of the venue's, and would close bars that go on.
    """

    def __init__(self) -> None:
        self.offset_ms = 0
        self._epoch_ns = time.time_ns() - _elapsed_ns()

    def now_ms(self) -> int:
        """Epoch milliseconds of the host's start of time, plus what passed, plus the offset."""
        return (self._epoch_ns + _elapsed_ns()) // 1_000_000 + self.offset_ms

    def mono_ns(self) -> int:
        """`CLOCK_MONOTONIC` in nanoseconds."""
        return time.monotonic_ns()


def _elapsed_ns() -> int:
    """Time that passed, a sleep of the host included where the system tells it."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) if _HAS_BOOTTIME else time.monotonic_ns()


_HAS_BOOTTIME = hasattr(time, "CLOCK_BOOTTIME")


class LoopClock:
    """A clock that reads a running loop: exchange time is `start_ms` at loop time 0.

    Under a `VirtualLoop` this is simulated time, under a `ScaledLoop` venue time at `speed`.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, start_ms: int) -> None:
        self._loop = loop
        self._start_ms = start_ms
        self.offset_ms = 0

    def now_ms(self) -> int:
        """Loop seconds since the epoch of the loop, in exchange milliseconds."""
        return self._start_ms + int(self._loop.time() * 1000.0 + 1e-6) + self.offset_ms

    def mono_ns(self) -> int:
        """Loop time in nanoseconds."""
        return int(self._loop.time() * 1e9)


class ManualClock:
    """A clock moved by hand, for tests and for stepping through recorded time (replay, backtest)."""

    def __init__(self, now_ms: int = 0) -> None:
        self._now_ns = now_ms * 1_000_000
        self.offset_ms = 0

    def now_ms(self) -> int:
        """The time it was set to."""
        return self._now_ns // 1_000_000 + self.offset_ms

    def mono_ns(self) -> int:
        """The same instant in nanoseconds."""
        return self._now_ns

    def set_ms(self, now_ms: int) -> None:
        """Move to `now_ms` (never backwards)."""
        if now_ms * 1_000_000 < self._now_ns:
            raise ValueError(f"time moves forward only: {now_ms} < {self._now_ns // 1_000_000}")
        self._now_ns = now_ms * 1_000_000

    def advance_ms(self, delta_ms: int) -> None:
        """Move forward by `delta_ms`."""
        self.set_ms(self.now_ms() - self.offset_ms + delta_ms)


def host_epoch_ms() -> int:
    """The host's epoch milliseconds: for start-up stamps at the rim, never inside a decision."""
    return time.time_ns() // 1_000_000


def host_mono_ns() -> int:
    """The host's monotonic nanoseconds: the epoch that a scaled venue announces (`epoch_mono_ns`)."""
    return time.monotonic_ns()
