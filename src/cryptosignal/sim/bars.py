"""Bars in whole ticks and steps, and how one bar is cut into finer ones and into trades.

A parent's open, high, low, close, buy and sell volume and trade count are reproduced exactly by its
children, so that every interval of every symbol agrees with every other and with the trades
(the venue walks generated and real candles by this one path).
"""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

from cryptosignal.ground.units import MINUTE_MS
from cryptosignal.sim.noise import F64, I64

TICKS_FOR_OHLC = 4
"""Trades needed to show four different prices of a bar."""

STRIDE = 0.5
"""Standard deviation of a child's close-to-close move, in parent ranges per square root of k."""
REACH_MIN, REACH_SPAN = 0.2, 0.5
"""How far a child's high and low reach beyond its body, in strides."""
STRETCH_MAX = 1.3
"""Excursions are stretched at most this much towards the parent's extremes; a wick does the rest."""
LEAN_MAX = 0.5
"""A child's average price goes at most this share of the way from its usual price to an extreme."""

Mask = NDArray[np.bool_]


class Bars(msgspec.Struct, frozen=True, eq=False):
    """Columns of equal length. Prices in ticks, volumes in steps, `quote` in price ticks x steps."""

    open_ms: I64
    open: I64
    high: I64
    low: I64
    close: I64
    buy: I64
    sell: I64
    trades: I64
    quote: F64

    def __len__(self) -> int:
        return len(self.open_ms)

    def slice(self, start: int, stop: int) -> Bars:
        """Rows start..stop as views."""
        return Bars(*(getattr(self, f)[start:stop] for f in self.__struct_fields__))


class Ticks(msgspec.Struct, frozen=True, eq=False):
    """Aggregated trades in time order. `is_sell`: the taker sold (Binance's `m`)."""

    time_ms: I64
    price: I64
    qty: I64
    count: I64
    is_sell: Mask

    def __len__(self) -> int:
        return len(self.time_ms)


def empty_bars() -> Bars:
    """No rows."""
    none = np.zeros(0, np.int64)
    return Bars(none, none, none, none, none, none, none, none, np.zeros(0))


def join_bars(parts: list[Bars]) -> Bars:
    """Rows of all parts, in order."""
    if len(parts) == 1:
        return parts[0]
    if not parts:
        return empty_bars()
    return Bars(*(np.concatenate([getattr(p, f) for p in parts]) for f in Bars.__struct_fields__))


def sum_bars(bars: Bars, opens: I64) -> Bars:
    """Finer `bars` summed into those that open at `opens` (ascending; each must hold a row)."""
    at = np.searchsorted(bars.open_ms, opens)
    last = np.append(at[1:], len(bars)) - 1
    return Bars(
        opens,
        bars.open[at],
        np.maximum.reduceat(bars.high, at),
        np.minimum.reduceat(bars.low, at),
        bars.close[last],
        np.add.reduceat(bars.buy, at),
        np.add.reduceat(bars.sell, at),
        np.add.reduceat(bars.trades, at),
        np.add.reduceat(bars.quote, at),
    )


def share_out(total: I64, weight: F64) -> I64:
    """Integer totals [n] divided over columns by weight [n, k]; rows add up exactly."""
    run = np.cumsum(weight, axis=1)
    whole = run[:, -1:]
    share = np.divide(run, whole, out=np.zeros_like(run), where=whole > 0)
    steps = np.floor(share * total[:, None] + 0.5)
    steps[:, -1] = total
    return np.diff(steps, axis=1, prepend=0.0).astype(np.int64)


def split_bars(
    parent: Bars, step_ms: int, drift: F64, spread: F64, heavy: F64, quiet: Mask
) -> Bars:
    """Each parent row cut into k children of `step_ms`; all noise arrays are [n, k].

    `drift` moves the closes, `spread` in [0, 1) widens high and low, `heavy` > 0 weighs volume,
    `quiet` children trade nothing (the first child always trades).
    """
    n, k = drift.shape
    active = ~quiet
    active[:, 0] = True
    low, high = parent.low[:, None].astype(float), parent.high[:, None].astype(float)
    first, final = parent.open[:, None].astype(float), parent.close[:, None].astype(float)
    amp = (high - low) * (STRIDE / k**0.5)
    raw = np.cumsum(np.where(active, drift, 0.0) * amp, axis=1)
    done = np.cumsum(active, axis=1) / active.sum(axis=1, keepdims=True)
    close = first + raw + (final - first - raw[:, -1:]) * done
    open_ = np.concatenate([first, close[:, :-1]], axis=1)
    reach = np.where(active, REACH_MIN + REACH_SPAN * spread, 0.0) * amp
    top, bottom = (
        np.maximum(open_, close) + reach,
        np.minimum(open_, close) - reach[:, ::-1] * active,
    )
    squeeze = _Squeeze(first, final, low, high, top, bottom)
    weight = np.where(active, heavy * (0.3 + np.abs(close - open_) / (amp + 1e-9)), 0.0)
    lean = 0.6 * np.tanh((close - open_) / (amp + 1e-9))
    close, open_ = squeeze.whole(close), squeeze.whole(open_)
    close[:, -1], open_[:, 0] = parent.close, parent.open
    top, bottom = squeeze.whole(top), squeeze.whole(bottom)
    rows = np.arange(n)
    top[rows, squeeze.top_at(active)] = parent.high
    bottom[rows, squeeze.bottom_at(active)] = parent.low
    np.maximum(top, np.maximum(open_, close), out=top)
    np.minimum(bottom, np.minimum(open_, close), out=bottom)
    buy = share_out(parent.buy, weight * (1.0 + lean))
    sell = share_out(parent.sell, weight * (1.0 - lean))
    trades = _counts(parent.trades, active, weight, TICKS_FOR_OHLC * max(1, step_ms // MINUTE_MS))
    middle = usual_price(open_, top, bottom, close)
    value = _quotes(parent.quote, buy + sell, middle, top, bottom)
    starts = parent.open_ms[:, None] + np.arange(k)[None, :] * step_ms
    return Bars(
        starts.reshape(-1),
        open_.reshape(-1),
        top.reshape(-1),
        bottom.reshape(-1),
        close.reshape(-1),
        buy.reshape(-1),
        sell.reshape(-1),
        trades.reshape(-1),
        value.reshape(-1),
    )


def usual_price(open_: I64, high: I64, low: I64, close: I64) -> F64:
    """Where a bar's volume lies on average: near its body, its wicks are short visits."""
    price: F64 = 0.4 * (open_ + close) + 0.1 * (high + low)
    return price


def _quotes(whole: F64, volume: I64, middle: F64, top: I64, bottom: I64) -> F64:
    """The parent's quote volume over its children: each child's average price lies off its `middle`
    by one share of its way to the high, or to the low, and never out of its own range. Where the
    parent's average is out of its children's reach, their sum stays short of it."""
    up = (volume * (top - middle)).sum(axis=1)
    down = (volume * (middle - bottom)).sum(axis=1)
    gap = whole - (volume * middle).sum(axis=1)
    way = np.where(gap > 0, up, down)
    share = np.divide(gap, way, out=np.zeros_like(gap), where=way > 0)
    share = np.clip(share, -LEAN_MAX, LEAN_MAX)[:, None]
    lean = np.where(share > 0, share * (top - middle), share * (middle - bottom))
    value: F64 = volume * (middle + lean)
    return value


class _Squeeze:
    """A monotone map of a row's prices that sends its extremes onto the parent's high and low."""

    def __init__(self, first: F64, final: F64, low: F64, high: F64, top: F64, bottom: F64) -> None:
        self._ceil, self._floor = np.maximum(first, final), np.minimum(first, final)
        self._top, self._bottom = top, bottom
        over = top.max(axis=1, keepdims=True) - self._ceil
        under = self._floor - bottom.min(axis=1, keepdims=True)
        up = np.divide(high - self._ceil, over, out=np.zeros_like(over), where=over > 0)
        down = np.divide(self._floor - low, under, out=np.zeros_like(under), where=under > 0)
        self._up, self._down = np.minimum(up, STRETCH_MAX), np.minimum(down, STRETCH_MAX)

    def whole(self, x: F64) -> I64:
        """Mapped and rounded to ticks."""
        inside = np.clip(x, self._floor, self._ceil)
        up = np.maximum(x - self._ceil, 0.0) * self._up
        down = np.maximum(self._floor - x, 0.0) * self._down
        return np.rint(inside + up - down).astype(np.int64)

    def top_at(self, active: Mask) -> I64:
        """Column of the highest active price."""
        return np.argmax(np.where(active, self._top, -np.inf), axis=1)

    def bottom_at(self, active: Mask) -> I64:
        """Column of the lowest active price."""
        return np.argmin(np.where(active, self._bottom, np.inf), axis=1)


def _counts(trades: I64, active: Mask, weight: F64, least: int) -> I64:
    """Trade counts over children, leaving each active child enough to show all its minutes' prices."""
    reserve = active * least
    spare = trades - reserve.sum(axis=1)
    enough = spare >= 0
    kept = np.where(enough[:, None], reserve, 0)
    return kept + share_out(np.where(enough, spare, trades), weight)


def ticks_per_bar(bars: Bars, ticks_max: int) -> I64:
    """How many aggregated trades a one-minute row is shown with (0 for a row without volume)."""
    volume = bars.buy + bars.sell
    m = np.clip(bars.trades, TICKS_FOR_OHLC, ticks_max)
    return np.where(volume > 0, np.minimum(m, np.maximum(volume, 1)), 0)


def cut_ticks(bars: Bars, ticks_max: int, span_ms: int, drift: F64, u1: F64, u2: F64) -> Ticks:
    """The trades of each row of `bars`, at most `ticks_max` a row; noise arrays are [n, ticks_max].

    First trade at the open, last at the close, one at the high, one at the low; volumes, taker
    sides and counts add up to the row.
    """
    k = drift.shape[1]
    m = ticks_per_bar(bars, ticks_max)
    column = np.arange(k)[None, :]
    valid = column < m[:, None]
    price = _tick_prices(bars, m, valid, drift)
    gap = np.where(valid, np.exp(drift * u1 + u2), 0.0)
    run = np.cumsum(gap, axis=1)
    whole = np.maximum(run[:, -1:], 1e-9) * 1.01
    time = bars.open_ms[:, None] + ((run - gap * u1) / whole * span_ms).astype(np.int64)
    step = np.diff(price, axis=1, prepend=price[:, :1])
    volume = bars.buy + bars.sell
    share = bars.buy / np.maximum(volume, 1)
    is_buy = u2 < (share[:, None] + 0.25 * np.sign(step))
    is_buy[:, 1 % k], is_buy[:, 2 % k] = True, False
    is_buy = (is_buy | (bars.sell == 0)[:, None]) & (bars.buy > 0)[:, None]
    qty = _tick_volumes(bars, valid, is_buy, np.exp(1.6 * u1 * u1))
    count = valid + share_out(np.maximum(bars.trades - m, 0), np.where(valid, qty, 0.0))
    keep = valid & (qty > 0)
    return Ticks(time[keep], price[keep], qty[keep], count[keep], ~is_buy[keep])


def _tick_prices(bars: Bars, m: I64, valid: Mask, drift: F64) -> I64:
    n, k = drift.shape
    low, high = bars.low[:, None].astype(float), bars.high[:, None].astype(float)
    first, final = bars.open[:, None].astype(float), bars.close[:, None].astype(float)
    moving = valid.copy()
    moving[:, 0] = False
    amp = (high - low) * (0.9 / k**0.5)
    raw = np.cumsum(np.where(moving, drift, 0.0) * amp, axis=1)
    done = np.cumsum(moving, axis=1) / np.maximum(moving.sum(axis=1, keepdims=True), 1)
    path = first + raw + (final - first - raw[:, -1:]) * done
    squeeze = _Squeeze(first, final, low, high, path, path)
    price = squeeze.whole(path)
    np.clip(price, bars.low[:, None], bars.high[:, None], out=price)
    rows = np.arange(n)
    price[:, 0] = bars.open
    price[rows, np.maximum(m - 1, 0)] = bars.close
    middle = moving & (np.arange(k)[None, :] < (m - 1)[:, None])
    has_middle = m >= TICKS_FOR_OHLC
    at_high = np.argmax(np.where(middle, path, -np.inf), axis=1)
    at_low = np.argmin(np.where(middle, path, np.inf), axis=1)
    same = at_high == at_low
    at_low = np.where(same, np.where(at_high + 1 < m - 1, at_high + 1, at_high - 1), at_low)
    rows = rows[has_middle]
    price[rows, at_high[has_middle]] = bars.high[has_middle]
    price[rows, at_low[has_middle]] = bars.low[has_middle]
    return price


def _tick_volumes(bars: Bars, valid: Mask, is_buy: Mask, weight: F64) -> I64:
    """Volumes by side where each side can afford one step a trade, else over all trades."""
    buys, sells = valid & is_buy, valid & ~is_buy
    buy_spare = bars.buy - buys.sum(axis=1)
    sell_spare = bars.sell - sells.sum(axis=1)
    lonely = ((bars.buy > 0) & ~buys.any(axis=1)) | ((bars.sell > 0) & ~sells.any(axis=1))
    by_side = (buy_spare >= 0) & (sell_spare >= 0) & ~lonely
    qty = valid.astype(np.int64)
    side_rows = by_side[:, None]
    qty = (
        qty
        + share_out(np.where(by_side, buy_spare, 0), np.where(buys & side_rows, weight, 0.0)) * buys
    )
    qty = (
        qty
        + share_out(np.where(by_side, sell_spare, 0), np.where(sells & side_rows, weight, 0.0))
        * sells
    )
    rest = bars.buy + bars.sell - valid.sum(axis=1)
    loose = np.where(by_side, 0, np.maximum(rest, 0))
    return qty + share_out(loose, np.where(valid & ~side_rows, weight, 0.0)) * valid
