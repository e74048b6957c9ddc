"""Candles that outlive the run: saved at its end and each hour, loaded before the next one's streams.

Only what the venue still prints the same is taken back: a few stored bars are compared with REST
first, so that the candles of another simulated market behind the same address are never trusted.
Disk work runs in a thread; the loop only copies.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, Protocol

import numpy as np

from cryptosignal.binance.budget import Lane
from cryptosignal.domain.market import BarSource
from cryptosignal.ground.clock import Clock
from cryptosignal.ground.faults import Fault
from cryptosignal.ground.units import DAY_MS, INTERVAL_MS
from cryptosignal.market.board import Board
from cryptosignal.market.klines import Klines
from cryptosignal.market.views import CONFIRMED, Floats
from cryptosignal.net.warmup import WarmUpSettings
from cryptosignal.store.candles import FIELDS, CandleStore, StoredCandles
from cryptosignal.store.faults import DiskFault

SAVE_S: Final = 3600.0
_PROBED_SYMBOLS: Final = 3
_PROBED_BARS: Final = 2
_PRICES: Final = slice(1, 5)
_PRICE_TOLERANCE: Final = 1e-4
"""The tolerance of the kline comparison (DOMAIN §0.23): another market differs by far more."""

OnNote = Callable[[str, dict[str, str | int | float]], None]


class KlineClient(Protocol):
    """What is asked of `net.client.VenueClient`."""

    async def klines(
        self,
        symbol: str,
        interval: str,
        limit: int,
        start_ms: int = 0,
        end_ms: int = 0,
        lane: Lane = Lane.REPAIR,
    ) -> Floats:
        """Candle rows float64[n, 11]."""
        ...


class CandleKeeper:
    """Carries the board's candles from one run to the next."""

    def __init__(
        self,
        store: CandleStore,
        board: Board,
        client: KlineClient,
        clock: Clock,
        on_note: OnNote,
        settings: WarmUpSettings,
    ) -> None:
        self._store = store
        self._board = board
        self._client = client
        self._clock = clock
        self._on_note = on_note
        self._settings = settings
        self.rows_loaded = 0

    async def load(self, symbols: Sequence[str], intervals: Iterable[str]) -> int:
        """Put stored candles on the board; answers the bars taken. Nothing here stops a start."""
        found_all = await asyncio.gather(*(self._read(interval) for interval in intervals))
        stored = [found for found in found_all if found.rows]
        if not stored or not await self._is_the_same_market(stored, symbols):
            return 0
        for found in stored:
            for symbol in symbols:
                rows = found.rows.get(symbol)
                if rows is not None:
                    self.rows_loaded += self._take(symbol, found.interval, rows)
            await asyncio.sleep(0)
        self._on_note("candles.were_loaded", {"rows": self.rows_loaded})
        return self.rows_loaded

    async def _read(self, interval: str) -> StoredCandles:
        try:
            found = await asyncio.to_thread(self._store.load, interval)
        except DiskFault as fault:
            found = StoredCandles(interval, {}, note=str(fault))
        if found.note and not found.note.endswith("nothing stored yet"):
            self._on_note("candles.were_refused", {"reason": found.note})
        return found

    def _take(self, symbol: str, interval: str, rows: Floats) -> int:
        """Rows that reach into the window that is wanted; a series that ended before is no start."""
        step_ms = INTERVAL_MS[interval]
        wanted = self._settings.daily_rows if step_ms >= DAY_MS else self._settings.rows
        now_ms = self._clock.now_ms()
        due = self._board.klines_of(interval).due_open_ms(now_ms)
        if not len(rows) or rows[-1, 0] + step_ms < due - (wanted - 1) * step_ms:
            return 0
        return self._board.load_history(symbol, interval, rows, now_ms, BarSource.DISK)

    async def _is_the_same_market(
        self, stored: Sequence[StoredCandles], symbols: Sequence[str]
    ) -> bool:
        """A few of the newest stored bars against the venue's own."""
        newest = max(stored, key=lambda found: INTERVAL_MS[found.interval] < DAY_MS)
        known = [symbol for symbol in symbols if len(newest.rows.get(symbol, ()))]
        probed = known[:_PROBED_SYMBOLS]
        answers = await asyncio.gather(
            *(self._problem(symbol, newest.interval, newest.rows[symbol]) for symbol in probed)
        )
        for reason in filter(None, answers):
            self._on_note("candles.were_refused", {"reason": reason})
            return False
        return bool(known)

    async def _problem(self, symbol: str, interval: str, rows: Floats) -> str:
        """Why the stored rows of a symbol are not to be trusted, "" if the venue prints the same."""
        kept = rows[-_PROBED_BARS:]
        first_ms, last_ms = int(kept[0, 0]), int(kept[-1, 0]) + INTERVAL_MS[interval] - 1
        try:
            told = await self._client.klines(
                symbol, interval, _PROBED_BARS, first_ms, last_ms, Lane.WARM_UP
            )
        except Fault as fault:
            return f"not compared: {fault}"
        if _agree(kept, told):
            return ""
        return f"{symbol} {interval} differs from the venue: another market"

    # ---- saving -------------------------------------------------------------------------------
    async def run(self) -> None:
        """Save each hour until cancelled."""
        while True:
            await asyncio.sleep(SAVE_S)
            await self.save()

    async def save(self) -> int:
        """Write every interval's confirmed candles; answers the rows written."""
        written = 0
        for interval, bars in list(self._board.klines.items()):
            rows = confirmed_rows(bars, self._board.symbols)
            if rows:
                written += await self._write(interval, rows)
        return written

    async def _write(self, interval: str, rows: Mapping[str, Floats]) -> int:
        try:
            await asyncio.to_thread(self._store.save, interval, rows, self._clock.now_ms())
        except DiskFault as fault:
            self._on_note("candles.were_not_saved", {"reason": str(fault)})
            return 0
        return sum(len(table) for table in rows.values())


def confirmed_rows(bars: Klines, symbols: Sequence[str]) -> dict[str, Floats]:
    """The newest unbroken run of confirmed bars of each symbol, as rows float64[n, 11], copied."""
    rows: dict[str, Floats] = {}
    for slot, symbol in enumerate(symbols):
        end = bars.column(bars.next_ms[slot] - bars.step_ms) + 1
        sure = bars.finality[slot, :end] >= CONFIRMED
        if not sure.any():
            continue
        high = int(np.flatnonzero(sure)[-1]) + 1
        holes = np.flatnonzero(~sure[:high])
        low = int(holes[-1]) + 1 if len(holes) else 0
        table = np.empty((high - low, FIELDS))
        table[:, 0] = bars.base_ms + np.arange(low, high) * bars.step_ms
        table[:, 6] = table[:, 0] + bars.step_ms - 1
        table[:, [1, 2, 3, 4, 5, 7, 8, 9, 10]] = bars.data[:, slot, low:high].T
        rows[symbol] = table
    return rows


def _agree(kept: Floats, told: Floats) -> bool:
    if len(told) != len(kept) or not np.array_equal(kept[:, 0], told[:, 0]):
        return False
    return bool(np.allclose(kept[:, _PRICES], told[:, _PRICES], rtol=_PRICE_TOLERANCE, atol=0.0))
