"""When to scan: at the boundary of a bar once it is due, and every so many seconds; never by REST.

A scan is synchronous: frames that wait are taken in, the board is viewed as of now, the factors are
computed, and the rows go to the engine at once.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable

from cryptosignal.domain.events import ScanTaken
from cryptosignal.factors import kernels
from cryptosignal.factors.catalogue import FactorEngine
from cryptosignal.ground.clock import Clock
from cryptosignal.ground.units import HOUR_MS
from cryptosignal.market.board import Board
from cryptosignal.modes.config import RunSettings


class ScanLoop:
    """Takes scans and hands their rows on."""

    def __init__(
        self,
        board: Board,
        factors: FactorEngine,
        clock: Clock,
        settings: RunSettings,
        take: Callable[[ScanTaken], None],
    ) -> None:
        self._board = board
        self._factors = factors
        self._clock = clock
        self._settings = settings
        self._take = take
        self._due = asyncio.Event()
        self._trigger = ""
        self._is_warm = False
        self.before_scan: Callable[[], None] = lambda: None
        self.taken = 0
        self.next_ms = 0
        """When the next scan is due without a trigger (exchange ms)."""
        self.on_kernels: Callable[[str], None] | None = None
        """Set for a live run: compiled kernels take over after the first scan, and this hears so."""

    async def run(self) -> None:
        """The first scan now, then one at each trigger or after each interval without one."""
        self._is_warm = True
        self.scan("start")
        async with asyncio.TaskGroup() as tasks:
            if self.on_kernels is not None:
                tasks.create_task(self._speed_up(self.on_kernels))
            while True:
                trigger = await self._next()
                self.scan(trigger)

    async def _speed_up(self, hear: Callable[[str], None]) -> None:
        """Load the compiled kernels beside the run, rehearsed on an engine of their own."""
        view = self._board.view(self._clock.now_ms())
        engine = FactorEngine(self._factors.params, self._factors.factors)

        def work() -> None:
            for hours in (1, 0):
                moment = dataclasses.replace(view, time_ms=view.time_ms - hours * HOUR_MS)
                engine.compute(moment, 0, "manual")

        if await asyncio.to_thread(kernels.rehearse, work):
            hear(kernels.path_name())

    async def _next(self) -> str:
        self.next_ms = self._clock.now_ms() + int(self._settings.scan_interval_s * 1000)
        try:
            async with asyncio.timeout(self._settings.scan_interval_s):
                await self._due.wait()
        except TimeoutError:
            return "interval"
        self._due.clear()
        return self._trigger

    def on_bars_due(self, interval: str, close_ms: int) -> None:
        """A bar of `interval` is there for every symbol, or its grace has ended."""
        if self._is_warm and interval in self._settings.trigger_intervals:
            self._trigger = f"bar:{interval}"
            self._due.set()

    def scan(self, trigger: str) -> None:
        """One scan, now."""
        started_ns = self._clock.mono_ns()
        self.before_scan()
        now_ms = self._clock.now_ms()
        self.taken += 1
        rows = self._factors.compute(self._board.view(now_ms), self.taken, trigger)
        self.elapsed_ms = (self._clock.mono_ns() - started_ns) / 1e6
        self._take(ScanTaken(rows))

    elapsed_ms: float = 0.0
    """Milliseconds of the newest scan, from frames waiting to factor rows."""
