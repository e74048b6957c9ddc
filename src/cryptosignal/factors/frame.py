"""What several columns of one scan share, taken once: logs, aligned open interest, funding z.

Results that hold while their inputs do (funding between settlements, slow intervals between their
bars) are kept and checked against those inputs bit by bit.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from cryptosignal.factors.kernels import compiled_kernels, flat
from cryptosignal.factors.panel import Logs, Panel, as_of, log_of, panel_of
from cryptosignal.ground.units import HOUR_MS, INTERVAL_MS
from cryptosignal.market.views import BarsView, MarketView

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

LOG_BARS = 124
"""What ADX and the four newest bars of every factor of the table read; more is logged by itself."""
_QUARTERS = 74
"""What the trend of 15m reads at the last three hours' closes."""
_OI_BARS = 240


class Frame:
    """The shared parts of the scan that is being computed; results kept from the scans before."""

    def __init__(self) -> None:
        self.logs: Logs | None = None
        self.quarters: Logs | None = None
        self.trend: Floats | None = None
        """T of every row at the scan's moment, before new coins are blended in: breadth is of it."""
        self.places: Ints | None = None
        self._view: MarketView | None = None
        self._hours: BarsView | None = None
        self._oi: tuple[int, Floats] | None = None
        self._kept: dict[str, tuple[tuple[Floats, ...], tuple[Floats, ...]]] = {}

    def begin(self, view: MarketView, hours: BarsView, times_ms: Ints) -> None:
        """Start a scan."""
        self._view, self._hours, self._oi = view, hours, None
        end = int(ends_of(hours, times_ms)[-1])
        is_one = len(times_ms) == 1
        self.logs = Logs(hours, end, LOG_BARS) if is_one and end else None
        short = view.bars.get("15m")
        stop = 0 if short is None or not is_one else int(ends_of(short, times_ms)[-1])
        self.quarters = None if short is None or not stop else Logs(short, stop, _QUARTERS)

    def branch(self, places: Ints) -> Frame:
        """A frame for a few `places` of the market that this one has seen whole."""
        out = Frame()
        out.trend, out.places = self.trend, places
        for name, (inputs, results) in self._kept.items():
            out._kept[name] = _rows(inputs, places), _rows(results, places)
        return out

    def of_market(self, trend: Floats) -> Floats:
        """T of the whole market: the rows of this scan, in the places of a refresh if it is one."""
        if self.places is None:
            self.trend = trend
            return trend
        assert self.trend is not None
        self.trend[self.places] = trend
        return self.trend

    def open_interest(self, bars: int, end: int) -> Floats:
        """Log open interest (contracts) as it was known at each bar's close, [row, bars]."""
        assert self._view is not None
        assert self._hours is not None
        if self._oi is not None and self._oi[0] == end and self._oi[1].shape[1] >= bars:
            return self._oi[1][:, self._oi[1].shape[1] - bars :]
        series = self._view.open_interest
        assert series is not None
        wanted = max(bars, _OI_BARS)
        times = series.time_ms
        step = int(np.median(np.diff(times))) if len(times) > 1 else HOUR_MS
        closes = closes_of(self._hours, wanted, end)
        found = log_of(as_of(series, closes, 2 * max(step, HOUR_MS)))
        self._oi = (end, found)
        return found[:, wanted - bars :]

    def keep(
        self, name: str, inputs: tuple[Floats, ...], compute: Callable[[], tuple[Floats, ...]]
    ) -> tuple[Floats, ...]:
        """`compute()`, or what it gave before if the inputs are the same to the bit."""
        known = self._kept.get(name)
        if known is not None and all(map(_same, known[0], inputs)):
            return known[1]
        result = compute()
        if known is not None and all(
            a.shape == b.shape for a, b in zip(known[0], inputs, strict=True)
        ):
            for old, new in zip(known[0], inputs, strict=True):
                old[...] = new
            self._kept[name] = (known[0], result)
            return result
        self._kept[name] = (tuple(x.copy() for x in inputs), result)
        return result


def ends_of(bars: BarsView, times_ms: Ints) -> Ints:
    """How many bars of the axis had closed at each time."""
    closes = bars.open_ms + INTERVAL_MS[bars.interval]
    return np.searchsorted(closes, times_ms, side="right").astype(np.int64)


def closes_of(hours: BarsView, bars: int, end: int) -> Ints:
    """Close times of the `bars` bars before column `end`."""
    first = int(hours.open_ms[0]) if len(hours.open_ms) else 0
    return first + HOUR_MS * (np.arange(end - bars, end, dtype=np.int64) + 1)


def thin(
    bars: BarsView, times_ms: Ints, lookback: int, extra: int = 0, logs: Logs | None = None
) -> tuple[Panel, Ints]:
    """A panel with outputs at each decision time, and which output belongs to which time.

    `extra` asks for that many earlier outputs in front.
    """
    ends = ends_of(bars, times_ms)
    count = int(ends[-1] - ends[0]) + 1 + extra
    panel = panel_of(bars, count, lookback, int(ends[-1]), logs=logs)
    return panel, ends - ends[0] + extra


def _same(one: Floats, two: Floats) -> bool:
    if one.shape != two.shape:
        return False
    fast = compiled_kernels()
    left, right = one.view(np.int64), two.view(np.int64)
    if fast is None or one.ndim < 2:
        return bool((left == right).all())
    first = np.empty(one.shape[-2], dtype=np.int64)
    wide = (left, right) if one.ndim == 3 else (left[None], right[None])
    return bool(
        fast.first_difference(*flat(wide[0]), *flat(wide[1]), len(wide[0]), one.shape[-1], first)
    )


def _rows(arrays: tuple[Floats, ...], places: Ints) -> tuple[Floats, ...]:
    """Copies of some rows [..., row, column]; what is not by row stays as it is."""
    return tuple(x[..., places, :] if x.ndim > 1 else x.copy() for x in arrays)
