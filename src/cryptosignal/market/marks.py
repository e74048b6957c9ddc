"""Marks, tickers, funding, open interest and forced orders of all symbols, in arrays."""

from __future__ import annotations

from collections import deque

import numpy as np

from cryptosignal.ground.units import HOUR_MS
from cryptosignal.market import frames
from cryptosignal.market.settings import MarketSettings
from cryptosignal.market.views import Floats, SeriesView

FUNDING_STEP_MS = HOUR_MS


class Marks:
    """Newest values a symbol: NaN until heard of. Times are the venue's event times, ms."""

    def __init__(self, slots: int) -> None:
        self.mark: Floats = np.full(slots, np.nan)
        self.index: Floats = np.full(slots, np.nan)
        self.funding_rate: Floats = np.full(slots, np.nan)
        self.next_funding_ms: Floats = np.full(slots, np.nan)
        self.mark_ms: Floats = np.full(slots, np.nan)
        self.last_price: Floats = np.full(slots, np.nan)
        self.quote_volume_24h: Floats = np.full(slots, np.nan)
        self.change_24h_frac: Floats = np.full(slots, np.nan)
        self.trades_24h: Floats = np.full(slots, np.nan)
        self.last_trade_id: Floats = np.full(slots, np.nan)
        self.ticker_ms: Floats = np.full(slots, np.nan)
        self.traded_ms: Floats = np.full(slots, np.nan)
        self.best_bid: Floats = np.full(slots, np.nan)
        self.best_ask: Floats = np.full(slots, np.nan)

    def grow(self, slots: int) -> None:
        """Make room for `slots` symbols."""
        for name, array in vars(self).items():
            more = slots - len(array)
            if more > 0:
                setattr(self, name, np.concatenate([array, np.full(more, np.nan)]))

    def on_mark(self, slot: int, data: frames.MarkData) -> bool:
        """One mark price of the stream; see `put_mark`. Raises ValueError for a garbled rate."""
        index, rate = frames.number(data.i), frames.number(data.r)
        return self.put_mark(slot, data.E, data.p, index, rate, data.T)

    def put_mark(
        self, slot: int, event_ms: int, mark: float, index: float, rate: float, next_ms: int
    ) -> bool:
        """One mark price; older than what is known, or not a price: False."""
        if not 0 < mark < np.inf or self.mark_ms[slot] > event_ms:
            return False
        self.mark[slot] = mark
        self.index[slot] = index if 0 < index < np.inf else np.nan
        self.funding_rate[slot] = rate if -1 < rate < 1 else np.nan
        self.next_funding_ms[slot] = next_ms if next_ms > 0 else np.nan
        self.mark_ms[slot] = event_ms
        return True

    def put_ticker(self, slot: int, time_ms: int, last: float, quote_usdt: float) -> None:
        """A 24 h ticker by REST; a newer one of the stream stays."""
        if 0 < last < np.inf and not self.ticker_ms[slot] > time_ms:
            self.last_price[slot] = last
            self.quote_volume_24h[slot] = quote_usdt
            self.ticker_ms[slot] = time_ms

    def on_ticker(self, slot: int, data: frames.TickerData, now_ms: int) -> bool:
        """One 24 h ticker. `traded_ms` moves when the last trade id rises (and with each trade of
        a tape): evidence that the symbol trades, whatever its other streams say (DOMAIN §0.21)."""
        if not data.c > 0 or self.ticker_ms[slot] > data.E:
            return False
        known = self.last_trade_id[slot]
        if data.L >= 0:
            if known < data.L:
                self.traded_ms[slot] = now_ms
            self.last_trade_id[slot] = data.L
        self.last_price[slot] = data.c
        self.quote_volume_24h[slot] = data.q
        self.change_24h_frac[slot] = data.P / 100.0
        self.trades_24h[slot] = data.n if data.n >= 0 else np.nan
        self.ticker_ms[slot] = data.E
        return True


class ForcedOrders:
    """Forced orders of the last hour, a queue of bounded length, sums by order side."""

    def __init__(self, settings: MarketSettings) -> None:
        self._window_ms = settings.liquidation_window_ms
        self._orders: deque[tuple[int, int, bool, float]] = deque(maxlen=settings.liquidations_max)
        self.total = 0
        self._started_ms = 0
        self._seen: deque[tuple[int, int, str, float, float]] = deque(maxlen=256)

    def start(self, now_ms: int) -> None:
        """The stream is listened to from now on: silence means no forced orders, not no data."""
        if not self._started_ms:
            self._started_ms = now_ms

    def add(self, slot: int, body: frames.ForceOrderBody) -> bool:
        """One forced order; False for a duplicate or a figure that is none."""
        price = body.ap if body.ap > 0 else body.p
        qty = body.z if body.z > 0 else body.q
        key = (slot, body.T, body.S, qty, price)
        if not (price > 0 and qty > 0 and price * qty < np.inf) or key in self._seen:
            return False
        self._seen.append(key)
        self._orders.append((body.T, slot, body.S == "BUY", price * qty))
        self.total += 1
        return True

    def sums(self, now_ms: int, slots: int) -> tuple[Floats, Floats]:
        """(BUY, SELL) USDT of each symbol over the window that ends now; NaN if never listened."""
        if not self._started_ms:
            return np.full(slots, np.nan), np.full(slots, np.nan)
        buy, sell = np.zeros(slots), np.zeros(slots)
        oldest = now_ms - self._window_ms
        while self._orders and self._orders[0][0] <= oldest:
            self._orders.popleft()
        for time_ms, slot, is_buy, usdt in self._orders:
            if oldest < time_ms <= now_ms and slot < slots:
                (buy if is_buy else sell)[slot] += usdt
        return buy, sell


class Series:
    """A slow series on one UTC grid for all symbols (hourly OI, funding): `value[slot, point]`."""

    def __init__(self, slots: int, points: int, step_ms: int) -> None:
        self._step_ms = step_ms
        self._points = points
        self._base_ms = 0
        self._value: Floats = np.full((slots, points), np.nan)
        self.is_used = False

    def grow(self, slots: int) -> None:
        """Make room for `slots` symbols."""
        more = slots - len(self._value)
        if more > 0:
            pad = np.full((more, self._points), np.nan)
            self._value = np.concatenate([self._value, pad])

    def _reach(self, time_ms: int) -> None:
        if not self._base_ms:
            self._base_ms = time_ms - (self._points - 1) * self._step_ms
        shift = (time_ms - self._base_ms) // self._step_ms - self._points + 1
        if shift <= 0:
            return
        self._base_ms += shift * self._step_ms
        keep = max(0, self._points - shift)
        self._value[:, :keep] = self._value[:, self._points - keep :].copy()
        self._value[:, keep:] = np.nan

    def put(self, slot: int, time_ms: int, value: float) -> None:
        """One point; times are snapped to the grid (funding settles some ms after the hour)."""
        snapped = time_ms // self._step_ms * self._step_ms
        self._reach(snapped)
        column = (snapped - self._base_ms) // self._step_ms
        if 0 <= column < self._points:
            self._value[slot, column] = value
            self.is_used = True

    def last_ms(self, slot: int) -> int:
        """Time of the newest point of a symbol, 0 if it has none."""
        there = np.flatnonzero(np.isfinite(self._value[slot]))
        return self._base_ms + int(there[-1]) * self._step_ms if len(there) else 0

    def period_ms(self, slot: int) -> int:
        """Time between a symbol's two newest points, 0 if it has not two."""
        there = np.flatnonzero(np.isfinite(self._value[slot]))
        return int(there[-1] - there[-2]) * self._step_ms if len(there) > 1 else 0

    def view(self, now_ms: int, slots: int) -> SeriesView | None:
        """Points not later than `now_ms`."""
        if not self.is_used:
            return None
        times = self._base_ms + np.arange(self._points, dtype=np.int64) * self._step_ms
        count = int(np.searchsorted(times, now_ms, side="right"))
        return SeriesView(time_ms=times[:count], value=self._value[:slots, :count])
