"""Candles of any interval at any time: history from the path, the rest from the flow's own trades.

REST rows and stream frames come from the same sums. Knows nothing of who asks.
"""

from __future__ import annotations

import msgspec
import numpy as np

from cryptosignal.ground.units import DAY_MS, INTERVAL_MS, MINUTE_MS, SECOND_MS, open_of
from cryptosignal.sim.bars import Bars, empty_bars, join_bars, sum_bars
from cryptosignal.sim.flow import MINUTES_KEPT, PRELUDE_MS, Flow, Trade
from cryptosignal.sim.noise import F64, I64
from cryptosignal.sim.path import CHAIN, CutPath

INTERVALS = (*INTERVAL_MS, "1M")
ROWS_MAX = 1_500


class Candles(msgspec.Struct, frozen=True, eq=False):
    """Bars of one interval with their taker-buy quote volume."""

    bars: Bars
    buy_quote: F64


class LiveBar:
    """The running bar of a subscribed (symbol, interval), fed trade by trade."""

    __slots__ = (
        "bought_quote",
        "bought_units",
        "close",
        "close_ms",
        "emitted_ms",
        "first_id",
        "high",
        "interval",
        "is_closed",
        "last_id",
        "low",
        "open",
        "open_ms",
        "qty",
        "quote",
        "trades",
    )

    def __init__(self, interval: str, open_ms: int) -> None:
        self.interval = interval
        self.emitted_ms = 0
        self.reset(open_ms, 0)

    def reset(self, open_ms: int, price: int) -> None:
        """Start an empty bar at `price`."""
        self.open_ms = open_ms
        self.close_ms = next_open(open_ms, self.interval) - 1
        self.open = self.high = self.low = self.close = price
        self.qty = self.trades = self.bought_units = 0
        self.quote = self.bought_quote = 0
        self.first_id = self.last_id = -1
        self.is_closed = False

    def add(self, trade: Trade) -> None:
        """Count one trade that belongs to this bar."""
        price, qty = trade.price, trade.qty
        if self.trades == 0:
            self.open = self.high = self.low = price
            self.first_id = trade.first_id
        elif price > self.high:
            self.high = price
        elif price < self.low:
            self.low = price
        self.close = price
        self.last_id = trade.last_id
        self.trades += trade.last_id - trade.first_id + 1
        self.qty += qty
        value = price * qty
        self.quote += value
        if not trade.is_sell:
            self.bought_units += qty
            self.bought_quote += value


def next_open(open_ms: int, interval: str) -> int:
    """Open time of the bar after the one that opens at `open_ms`."""
    if interval == "1M":
        return month_open(open_ms + 32 * DAY_MS)
    if interval == "1s":
        return open_ms + SECOND_MS
    return open_ms + INTERVAL_MS[interval]


def bar_open(time_ms: int, interval: str) -> int:
    """Open time of the bar that contains `time_ms`."""
    if interval == "1s":
        return time_ms // SECOND_MS * SECOND_MS
    return month_open(time_ms) if interval == "1M" else open_of(time_ms, interval)


def month_open(time_ms: int) -> int:
    """00:00 UTC of the first day of the month (days-to-civil of the proleptic Gregorian calendar)."""
    days = time_ms // DAY_MS
    shifted = days + 719_468
    era_day = shifted % 146_097
    year_of_era = (era_day - era_day // 1_460 + era_day // 36_524 - era_day // 146_096) // 365
    day_of_year = era_day - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    month_index = (5 * day_of_year + 2) // 153
    day = day_of_year - (153 * month_index + 2) // 5
    return (days - day) * DAY_MS


class KlineDesk:
    """Answers for candles of one venue."""

    def __init__(self, path: CutPath, flows: list[Flow], start_ms: int) -> None:
        self._path = path
        self._flows = flows
        self._start_ms = start_ms

    def rows(self, index: int, interval: str, from_ms: int, to_ms: int, now_ms: int) -> Candles:
        """Bars that open in [from_ms, to_ms], the running one included, oldest first."""
        flow = self._flows[index]
        onboard = flow.listed.onboard_ms
        first = max(from_ms, bar_open(max(onboard, self._birth(index)), interval))
        last = min(to_ms, now_ms)
        if last < first or now_ms < onboard:
            return Candles(empty_bars(), np.zeros(0))
        opens = bar_opens(first, last, interval)
        kept = now_ms // MINUTE_MS * MINUTE_MS - MINUTES_KEPT * MINUTE_MS
        seam = max(self._start_ms // MINUTE_MS * MINUTE_MS - PRELUDE_MS, kept)
        from_seam = opens >= bar_open(seam, interval)
        partial = (opens < onboard) & ~from_seam
        parts = [
            self._from_minutes(index, opens[partial], interval, seam, now_ms),
            self._from_path(index, interval, opens[~partial & ~from_seam]),
            self._from_minutes(index, opens[from_seam], interval, seam, now_ms),
        ]
        full = [p for p in parts if len(p.bars)]
        if not full:
            return Candles(empty_bars(), np.zeros(0))
        return Candles(
            join_bars([p.bars for p in full]), np.concatenate([p.buy_quote for p in full])
        )

    def current(self, index: int, interval: str, now_ms: int) -> LiveBar:
        """The running bar as a stream would have built it."""
        live = LiveBar(interval, bar_open(now_ms, interval))
        rows = self.rows(index, interval, live.open_ms, live.open_ms, now_ms)
        flow = self._flows[index]
        live.reset(live.open_ms, flow.last_price)
        if not len(rows.bars) or not rows.bars.trades[0]:
            return live
        bars = rows.bars
        live.open, live.high, live.low = int(bars.open[0]), int(bars.high[0]), int(bars.low[0])
        live.close, live.trades = int(bars.close[0]), int(bars.trades[0])
        live.qty = int(bars.buy[0] + bars.sell[0])
        live.bought_units = int(bars.buy[0])
        live.quote, live.bought_quote = (
            round(bars.quote[0]),
            round(rows.buy_quote[0]),
        )  # as REST prints
        live.last_id = flow.next_trade_id - 1
        live.first_id = flow.next_trade_id - live.trades
        return live

    def _birth(self, index: int) -> int:
        return self._path.first_ms(index)

    def _from_path(self, index: int, interval: str, opens: I64) -> Candles:
        if not len(opens):
            return Candles(empty_bars(), np.zeros(0))
        level = source_level(interval, self._path.base)
        end = next_open(int(opens[-1]), interval)
        rows = self._path.bars(index, level, int(opens[0]), end)
        if level != interval:
            rows = _sum_present(rows, opens)
        bought = _bought(rows)
        flow = self._flows[index]
        for at in range(int(np.searchsorted(rows.open_ms, self._start_ms)), len(rows)):
            opened = int(rows.open_ms[at])
            closed = next_open(opened, interval)
            if flow.is_touched(opened, closed):
                fresh = flow.exact(opened, closed)
                one = sum_bars(fresh.bars, np.array([opened]))
                parts = [rows.slice(0, at), one, rows.slice(at + 1, len(rows))]
                rows = join_bars([p for p in parts if len(p)])
                bought[at] = fresh.buy_quote.sum()
        return Candles(rows, bought)

    def _from_minutes(
        self, index: int, opens: I64, interval: str, seam: int, now_ms: int
    ) -> Candles:
        """Bars summed from minutes: the path's before the seam, the flow's own after it."""
        if not len(opens):
            return Candles(empty_bars(), np.zeros(0))
        flow = self._flows[index]
        first, end = int(opens[0]), min(next_open(int(opens[-1]), interval), now_ms + 1)
        born = -(-max(flow.listed.onboard_ms, 0) // MINUTE_MS) * MINUTE_MS
        old = self._before(index, max(first, born), min(seam, end))
        parts, bought = [old] if len(old) else [], [_bought(old)]
        if end > seam:
            fresh = flow.minutes(max(first, seam, born), now_ms)
            stop = int(np.searchsorted(fresh.bars.open_ms, end))
            parts.append(fresh.bars.slice(0, stop))
            bought.append(fresh.buy_quote[:stop])
        rows = join_bars(parts) if parts else empty_bars()
        if not len(rows):
            return Candles(rows, np.zeros(0))
        quote = np.concatenate(bought)
        at = np.searchsorted(rows.open_ms, opens)
        ends = np.append(at[1:], len(rows))
        held = at < ends
        if not held.any():
            return Candles(empty_bars(), np.zeros(0))
        return Candles(_sum_present(rows, opens), np.add.reduceat(quote, at[held]))

    def _before(self, index: int, from_ms: int, to_ms: int) -> Bars:
        """The path's bars of [from_ms, to_ms) from as coarse levels as fit."""
        parts: list[Bars] = []
        at = from_ms
        for level in CHAIN:
            width = INTERVAL_MS[level]
            if INTERVAL_MS[self._path.base] % width or at % width:
                continue
            stop = to_ms // width * width
            if stop > at:
                parts.append(self._path.bars(index, level, at, stop))
                at = stop
        if at < to_ms:
            parts.append(self._path.bars(index, "1m", at, to_ms))
        parts = [p for p in parts if len(p)]
        return join_bars(parts) if parts else empty_bars()


def source_level(interval: str, base: str) -> str:
    """The coarsest path level that divides `interval`."""
    if interval == base:
        return base
    span = DAY_MS if interval in ("1M", "1w", "3d") else INTERVAL_MS[interval]
    if INTERVAL_MS[base] <= span and span % INTERVAL_MS[base] == 0 and base not in CHAIN:
        return base
    for level in CHAIN:
        width = INTERVAL_MS[level]
        if INTERVAL_MS[base] % width == 0 and span % width == 0:
            return level
    return "1m"


def bar_opens(from_ms: int, to_ms: int, interval: str) -> I64:
    """Open times in [from_ms, to_ms]."""
    first = bar_open(from_ms, interval)
    if first < from_ms:
        first = next_open(first, interval)
    if interval != "1M":
        return np.arange(first, to_ms + 1, INTERVAL_MS[interval], dtype=np.int64)
    out = []
    while first <= to_ms:
        out.append(first)
        first = next_open(first, interval)
    return np.array(out, np.int64)


def _sum_present(rows: Bars, opens: I64) -> Bars:
    at = np.searchsorted(rows.open_ms, opens)
    ends = np.append(at[1:], len(rows))
    held = at < ends
    if not held.any():
        return empty_bars()
    first = int(at[held][0])
    return sum_bars(rows.slice(first, len(rows)), opens[held])


def _bought(rows: Bars) -> F64:
    """Taker-buy quote volume where only its share of the volume is known."""
    volume = rows.buy + rows.sell
    return rows.quote * rows.buy / np.maximum(volume, 1)
