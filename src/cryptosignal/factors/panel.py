"""What a factor may read: log prices and volumes of one interval, and the series beside them.

Prices are natural logs, so that long and short are mirror images (DOMAIN §0.11); a panel holds
exactly the bars that its outputs need, the newest bar last. Arrays are [row, bar], NaN = no data.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from cryptosignal.factors import window
from cryptosignal.factors.kernels import compiled_kernels, flat
from cryptosignal.ground.units import HOUR_MS
from cryptosignal.market.views import (
    CLOSE,
    HIGH,
    LOW,
    OPEN,
    QUOTE,
    TAKER_BASE,
    VOLUME,
    BarsView,
    SeriesView,
)

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

ATR_BARS = 60
"""ATR14 and ADX14 are Wilder averages over this many values: 1.3 % of older weight is cut off."""


@dataclass(frozen=True, slots=True)
class Origin:
    """What a bar does not say of itself: when each symbol was listed (UTC ms, NaN: unknown), and
    whether its taker flow was traded and not made up (§0.28)."""

    listed_ms: Floats
    has_flow: bool = True

    def rows(self, places: Ints) -> Origin:
        """That of some rows."""
        return Origin(self.listed_ms[places], self.has_flow)

    def key(self) -> tuple[bytes, bool]:
        """Two origins of the same key are the same."""
        return self.listed_ms.tobytes(), self.has_flow


class Panel:
    """Bars of one interval for `rows` symbols: `open/high/low/close` are natural logs of prices.

    `count` is how many output columns the reader wants, the newest last. `taker` is the base volume
    bought by takers. `beside` holds series aligned to the same bars (`oi`, `spot_net`, …). Logs are
    taken when first asked for.
    """

    def __init__(self, raw: Floats, interval: str, count: int, logs: Logs | None = None) -> None:
        self.interval = interval
        self.count = count
        self.beside: Mapping[str, Floats] = {}
        self.origin: Origin | None = None
        self.closed_ms = 0
        """Close of the newest bar."""
        self._raw = raw
        self._logs = logs
        self._atr: Floats | None = None

    def _log(self, which: int) -> Floats:
        if self._logs is None:
            return log_of(self._raw[which])
        return self._logs.newest(which, self.bars)

    @cached_property
    def open(self) -> Floats:
        """Log opens."""
        return self._log(OPEN)

    @cached_property
    def high(self) -> Floats:
        """Log highs."""
        return self._log(HIGH)

    @cached_property
    def low(self) -> Floats:
        """Log lows."""
        return self._log(LOW)

    @cached_property
    def close(self) -> Floats:
        """Log closes."""
        return self._log(CLOSE)

    @property
    def volume(self) -> Floats:
        """Base volume."""
        return self._raw[VOLUME]

    @property
    def quote(self) -> Floats:
        """Turnover in USDT."""
        return self._raw[QUOTE]

    @property
    def taker(self) -> Floats:
        """Base volume bought by takers."""
        return self._raw[TAKER_BASE]

    @property
    def bars(self) -> int:
        """How many bars the panel holds."""
        return self._raw.shape[2]

    def bars_read(self, bars: int | None = None) -> Floats:
        """The newest bars themselves, as they came, high to taker volume: what a kept result
        is checked against."""
        count = self.bars if bars is None else bars
        return self._raw[HIGH : TAKER_BASE + 1, :, self.bars - count :]

    def cut(self, x: Floats, width: int) -> Floats:
        """The newest bars of `x` that a window of `width` needs for `count` outputs."""
        return x[:, x.shape[1] - (self.count + width - 1) :]

    def atr(self) -> Floats:
        """ATR14 of log prices (a fraction of price), [row, count]; Wilder over `ATR_BARS`."""
        if self._atr is None:
            logs = self._logs
            self._atr = (
                self._mean_range()
                if logs is None
                else logs.once(("atr", self.count), self._mean_range)
            )
        return self._atr

    def shared(self, name: str, compute: Callable[[], Floats]) -> Floats:
        """`compute()` once for all panels of a scan that stand on the same logs and want as many
        outputs; not where series stand beside the bars, which may be this panel's own."""
        if self._logs is None or self.beside:
            return compute()
        return self._logs.once((name, self.count), compute)

    def _mean_range(self) -> Floats:
        span, taps = ATR_BARS + 1, window.wilder_taps(14, ATR_BARS)
        high, low, close = (self.cut(x, span) for x in (self.high, self.low, self.close))
        fast = compiled_kernels()
        if fast is None:
            return window.fir(window.true_range(high, low, close), taps)
        out = np.empty((len(close), self.count))
        lines = [flat(x) for x in (high, low, close)]
        fast.atr(*(line for line, _ in lines), tuple(step for _, (step,) in lines), taps, out)
        return out

    def ema(self, period: int, width: int) -> Floats:
        """EMA of log closes, [row, count]."""
        return window.fir(self.cut(self.close, width), window.ema_taps(period, width))

    def at(self, x: Floats, back: int = 0) -> Floats:
        """`x` at each output bar, `back` bars earlier."""
        stop = x.shape[1] - back
        return x[:, stop - self.count : stop]

    def age_hours(self) -> Floats:
        """Hours since listing at the close of each output bar, [row, count]; NaN where unknown."""
        if self.origin is None:
            return np.full((self._raw.shape[1], self.count), np.nan)
        closes = self.closed_ms - HOUR_MS * np.arange(self.count - 1.0, -1.0, -1.0)
        return (closes - self.origin.listed_ms[:, None]) / HOUR_MS

    def change(self, bars: int) -> Floats:
        """Log return over `bars` bars at each output bar."""
        return self.at(self.close) - self.at(self.close, bars)


def log_of(values: Floats) -> Floats:
    """Natural logs, NaN for what is missing or not positive."""
    with np.errstate(invalid="ignore", divide="ignore"):
        out: Floats = np.log(values)
    none = values == 0.0
    if none.any():
        out[none] = np.nan
    return out


class Logs:
    """Logs of the newest bars of an interval, and their ATR, taken once for the panels of a scan."""

    def __init__(self, bars: BarsView, end: int, width: int) -> None:
        self.end = end
        self.width = min(width, end)
        self._raw = bars.data[:4, :, end - self.width : end]
        self._prices: dict[int, Floats] = {}
        self._once: dict[tuple[str, int], Floats] = {}

    def newest(self, which: int, count: int) -> Floats:
        """Logs of the newest `count` bars of open, high, low or close."""
        if which not in self._prices:
            self._prices[which] = log_of(self._raw[which])
        return self._prices[which][:, self.width - count :]

    def once(self, key: tuple[str, int], compute: Callable[[], Floats]) -> Floats:
        """What panels of `key` (a name, a number of outputs) share."""
        if key not in self._once:
            self._once[key] = compute()
        return self._once[key]


def panel_of(
    bars: BarsView,
    count: int,
    lookback: int,
    end: int | None = None,
    rows: Ints | None = None,
    logs: Logs | None = None,
) -> Panel:
    """The panel of the bars before column `end` that `count` outputs of `lookback` bars need.

    Where the view holds fewer bars, the missing ones are NaN in front.
    """
    stop = bars.data.shape[2] if end is None else end
    need = count + lookback - 1
    start = stop - need
    raw = bars.data[:, :, max(start, 0) : max(stop, 0)]
    if rows is None and logs is not None and logs.end == stop and start >= 0 and need <= logs.width:
        return Panel(raw, bars.interval, count, logs)
    if rows is not None:
        raw = raw[:, rows]
    if start < 0:
        front = np.full((raw.shape[0], raw.shape[1], need - raw.shape[2]), np.nan)
        raw = np.concatenate([front, raw], axis=2)
    return Panel(raw, bars.interval, count)


def as_of(series: SeriesView, times_ms: Ints, max_age_ms: int) -> Floats:
    """The newest value of each row at or before each time, NaN if older than `max_age_ms`.

    As-of by exchange time, never forward (DOMAIN §3.11); a NaN point is looked through.
    """
    grid, value = series.time_ms, series.value
    if len(grid) == 0 or len(times_ms) == 0:
        return np.full((value.shape[0], len(times_ms)), np.nan)
    position = np.searchsorted(grid, times_ms, side="right") - 1
    missing = np.isnan(value)
    if not missing.any():
        place = np.maximum(position, 0)
        fresh = (position >= 0) & (times_ms - grid[place] <= max_age_ms)
        return np.where(fresh, np.take(value, place, axis=1), np.nan)
    known = np.where(missing, -1, np.arange(len(grid)))
    newest = np.maximum.accumulate(known, axis=1)
    at = newest[:, np.maximum(position, 0)]
    safe = np.maximum(at, 0)
    fresh = (position >= 0) & (at >= 0) & (times_ms - grid[safe] <= max_age_ms)
    return np.where(fresh, np.take_along_axis(value, safe, axis=1), np.nan)
