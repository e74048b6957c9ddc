"""Rolling 24 h statistics of a symbol, refreshed from candles once a minute and by trades between."""

from __future__ import annotations

import msgspec

from cryptosignal.ground.units import DAY_MS, MINUTE_MS
from cryptosignal.sim.flow import Flow
from cryptosignal.sim.klines import KlineDesk

_QUARTER_MS = 15 * MINUTE_MS


class DayStats(msgspec.Struct, eq=False):
    """Prices in units, volume in units, quote in price units x quantity units."""

    computed_ms: int
    open_ms: int
    open: int
    high: int
    low: int
    last: int
    last_qty: int
    volume: int
    quote: float
    count: int
    first_id: int
    last_id: int


class Tickers:
    """24 h statistics of all symbols."""

    def __init__(self, flows: list[Flow], klines: KlineDesk) -> None:
        self._flows = flows
        self._klines = klines
        self._known: dict[int, DayStats] = {}

    def day(self, index: int, now_ms: int) -> DayStats:
        """Statistics of the last 24 h (window start rounded up to a quarter of an hour)."""
        flow = self._flows[index]
        flow.skip_to(now_ms)
        known = self._known.get(index)
        if known is None or now_ms - known.computed_ms >= MINUTE_MS:
            known = self._known[index] = self._compute(index, now_ms)
        if known.last_id != flow.next_trade_id - 1 or known.last != flow.last_price:
            fresh = flow.next_trade_id - 1 - known.last_id
            known.count += fresh
            known.volume += fresh * flow.last_qty if fresh < 50 else 0
            known.quote += fresh * flow.last_qty * flow.last_price if fresh < 50 else 0
            known.last_id = flow.next_trade_id - 1
            known.last, known.last_qty = flow.last_price, flow.last_qty
            known.high, known.low = max(known.high, known.last), min(known.low, known.last)
        return known

    def _compute(self, index: int, now_ms: int) -> DayStats:
        flow = self._flows[index]
        start = -(-(now_ms - DAY_MS) // _QUARTER_MS) * _QUARTER_MS
        rows = self._klines.rows(index, "15m", start, now_ms, now_ms).bars
        if not len(rows):
            last = flow.last_price
            nothing = flow.next_trade_id - 1
            return DayStats(now_ms, start, last, last, last, last, 0, 0, 0.0, 0, nothing, nothing)
        count = int(rows.trades.sum())
        return DayStats(
            computed_ms=now_ms,
            open_ms=int(rows.open_ms[0]),
            open=int(rows.open[0]),
            high=int(rows.high.max()),
            low=int(rows.low.min()),
            last=flow.last_price,
            last_qty=flow.last_qty,
            volume=int((rows.buy + rows.sell).sum()),
            quote=float(rows.quote.sum()),
            count=count,
            first_id=flow.next_trade_id - count,
            last_id=flow.next_trade_id - 1,
        )
