"""When to scan: at the boundary of a bar once it is due, and every so many seconds; never by REST.

A scan is synchronous: frames that wait are taken in, the board is viewed as of now, the factors are
computed, and the rows go to the engine at once. Before the scan of a boundary each symbol is
refreshed by itself as soon as its own bars have closed, so that a late one never holds the others
up: what may be a signal goes to the engine, the rest waits for the scan.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from cryptosignal.domain.events import ScanTaken
from cryptosignal.domain.market import Bar, Finality
from cryptosignal.factors import kernels
from cryptosignal.factors.catalogue import FactorEngine
from cryptosignal.ground.clock import Clock
from cryptosignal.ground.units import INTERVAL_MS
from cryptosignal.market.board import Board
from cryptosignal.market.views import MarketView
from cryptosignal.modes.beside import beside
from cryptosignal.modes.config import RunSettings
from cryptosignal.modes.rehearsal import scans
from cryptosignal.modes.spare import give_back, shed
from cryptosignal.signals.screen import Screen

_LEADERS: Final = ("BTCUSDT", "ETHUSDT")
_JUDGE_MS: Final = 1_000
_READ_MS: Final = frozenset(INTERVAL_MS[interval] for interval in ("15m", "1h", "4h"))
"""Steps of the streamed bars that a row reads."""


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
        self.judge_quality: Callable[[], None] = lambda: None
        """Judges every symbol's data as of now; refreshes ask for it once a second at most."""
        self.is_out: Callable[[str], bool] = lambda symbol: False
        """Whether a signal of the symbol stands, whose end a refresh would have to tell."""
        self.taken = 0
        self.refreshed = 0
        self._closed: dict[str, None] = {}
        self._early: dict[str, int] = {}
        self._judged_ms = 0
        self._screen = Screen(factors.params, factors.lone.names)
        board.on_kline_close.append(self._on_close)
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
        """Load the compiled kernels beside the run, then return what the start took and freed."""
        if await beside(self._rehearsal()):
            hear(kernels.path_name())
        await beside(shed)
        await beside(give_back)

    def _rehearsal(self) -> Callable[[], bool]:
        """Scans and a glance on an engine of their own, which end with it."""
        view = self._board.view(self._clock.now_ms())
        engine = FactorEngine(self._factors.params, self._factors.factors)
        return lambda: kernels.rehearse(lambda: scans(view, engine))

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

    # ---- one symbol at a time -------------------------------------------------------------
    def _on_close(self, symbol: str, interval: str, bar: Bar, finality: Finality) -> None:
        """A bar is final: refresh its symbol once the flush that told so is done."""
        if not self.taken or interval not in self._settings.trigger_intervals:
            return
        if not self._closed:
            asyncio.get_running_loop().call_soon(self.refresh_closed)
        self._closed[symbol] = None

    def refresh_closed(self) -> None:
        """Refresh the symbols whose bars have all closed; candidates go to the engine at once.

        BTC and ETH come first, since every row reads them: until then the others wait, at most for
        the scan itself.
        """
        board, now_ms = self._board, self._clock.now_ms()
        waiting = {symbol: board.slot(symbol) for symbol in self._closed}
        self._closed.clear()
        due = tuple(i for i in self._settings.intervals if INTERVAL_MS[i] in _READ_MS)
        leaders = [slot for slot in map(board.find, _LEADERS) if slot >= 0]
        if kernels.compiled_kernels() is None:
            return
        if not all(board.has_due(slot, due, now_ms) for slot in leaders):
            self._early.update(waiting)
            return
        waiting = {**self._early, **waiting}
        self._early.clear()
        ready = {s: slot for s, slot in waiting.items() if board.has_due(slot, due, now_ms)}
        if not ready:
            return
        if not 0 <= now_ms - self._judged_ms < _JUDGE_MS:
            self._judged_ms = now_ms
            self.judge_quality()
        view = board.view_of(set(ready.values()), now_ms)
        for symbol, slot in ready.items():
            self._refresh(view, symbol, slot)

    def _refresh(self, view: MarketView, symbol: str, slot: int) -> None:
        if not view.active[slot]:
            return
        values = self._factors.glance(view, slot)
        if values is None:
            return
        self.refreshed += 1
        if self._screen.is_hopeless(values) and not self.is_out(symbol):
            return
        self.taken += 1
        self._take(ScanTaken(self._factors.row_of(view, slot, values, self.taken)))

    # ---- the whole market -----------------------------------------------------------------
    def scan(self, trigger: str) -> None:
        """One scan, now."""
        started_ns = self._clock.mono_ns()
        self.before_scan()
        self._early.clear()
        now_ms = self._clock.now_ms()
        self.taken += 1
        rows = self._factors.compute(self._board.view(now_ms), self.taken, trigger)
        self.elapsed_ms = (self._clock.mono_ns() - started_ns) / 1e6
        self._take(ScanTaken(rows))

    elapsed_ms: float = 0.0
    """Milliseconds of the newest scan, from frames waiting to factor rows."""
