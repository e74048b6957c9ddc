"""Fixed windows of bars: each output column is a function of the last `taps` inputs, nothing else.

Arrays are [row, bar]; a window over B bars with W taps gives B − W + 1 columns, the last one for
the newest bar. NaN in a window gives NaN out, in that window only: no running sum carries it on.
Truncated recursions (EMA, Wilder) start as TA-Lib does, from the mean of their first period.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


_MATRIX_COLUMNS = 64


def fir(x: Floats, taps: Floats) -> Floats:
    """Σ taps[j]·x[t − W + 1 + j] for each window: the one linear filter that all others use."""
    width = len(taps)
    count = x.shape[1] - width + 1
    if count == 1:
        alone: Floats = (x @ taps)[:, None]
        return alone
    if 1 < count <= _MATRIX_COLUMNS and width > 4:
        return _by_matrix(x, taps, count)
    return _by_lanes(x, taps, count)


def _by_lanes(x: Floats, taps: Floats, count: int) -> Floats:
    out = x[:, :count] * taps[0]
    for j in range(1, len(taps)):
        out += x[:, j : j + count] * taps[j]
    return out


def _by_matrix(x: Floats, taps: Floats, count: int) -> Floats:
    """Few windows: one matrix product; rows with a gap go lane by lane, so that a gap stays one."""
    out: Floats = x @ _band(taps.tobytes(), len(taps), count)
    if np.isnan(out).any():
        gaps = np.isnan(x).any(axis=1)
        out[gaps] = _by_lanes(x[gaps], taps, count)
    return out


@lru_cache(maxsize=128)
def _band(taps: bytes, width: int, count: int) -> Floats:
    weights = np.frombuffer(taps)
    out = np.zeros((width + count - 1, count))
    for k in range(count):
        out[k : k + width, k] = weights
    return _frozen(out)


@lru_cache(maxsize=64)
def ema_taps(period: int, width: int) -> Floats:
    """Weights of EMA(`period`) over `width` bars, seeded with the mean of its first period."""
    return _seeded(2.0 / (period + 1.0), period, width)


@lru_cache(maxsize=64)
def wilder_taps(period: int, width: int) -> Floats:
    """Weights of Wilder's average (α = 1/`period`) over `width` values, seeded with a mean."""
    return _seeded(1.0 / period, period, width)


@lru_cache(maxsize=64)
def mean_taps(width: int) -> Floats:
    """Weights of the plain mean."""
    return _frozen(np.full(width, 1.0 / width))


@lru_cache(maxsize=64)
def slope_taps(width: int) -> Floats:
    """Weights of the least-squares slope per bar."""
    x = np.arange(width) - (width - 1) / 2.0
    return _frozen(x / (x @ x))


@lru_cache(maxsize=64)
def decay_taps(alpha: float, width: int) -> Floats:
    """Exponential weights of rate `alpha` over `width` bars, normalised to 1."""
    weights = alpha * (1.0 - alpha) ** np.arange(width - 1, -1, -1.0)
    return _frozen(weights / weights.sum())


@lru_cache(maxsize=64)
def change_of(taps_period: int, width: int, lag: int) -> Floats:
    """Weights of EMA(period) now minus EMA(period) `lag` bars ago, both `width` wide."""
    taps = ema_taps(taps_period, width)
    out = np.zeros(width + lag)
    out[lag:] += taps
    out[:width] -= taps
    return _frozen(out)


def rolling_max(x: Floats, width: int) -> Floats:
    """Largest value of each window, by doubling; NaN if one is missing."""
    return _doubling(x, width, np.maximum)


def rolling_min(x: Floats, width: int) -> Floats:
    """Smallest value of each window, by doubling; NaN if one is missing."""
    return _doubling(x, width, np.minimum)


def tail(x: Floats, count: int) -> Floats:
    """The newest `count` columns."""
    return x[:, x.shape[1] - count :]


def fit(x: Floats, width: int) -> tuple[Floats, Floats]:
    """Least-squares slope per bar and R² of each window of a series (levels, not changes).

    The first value of the window is subtracted before squaring, so that a price of 100,000 or of
    0.00001 gives the same digits.
    """
    slope = fir(x, slope_taps(width))
    count = slope.shape[1]
    first = x[:, :count]
    total = np.zeros_like(slope)
    square = np.zeros_like(slope)
    for j in range(1, width):
        step = x[:, j : j + count] - first
        total += step
        square += step * step
    spread = square - total * total / width
    ramp = np.arange(width) - (width - 1) / 2.0
    with np.errstate(invalid="ignore", divide="ignore"):
        r2 = np.where(spread > 0.0, slope * slope * float(ramp @ ramp) / spread, 0.0)
    return slope, np.where(np.isnan(slope), np.nan, np.clip(r2, 0.0, 1.0))


def filled(x: Floats, nan: float = 0.0) -> Floats:
    """`x` with `nan` in place of what is missing."""
    return np.where(np.isnan(x), nan, x)


def true_range(high: Floats, low: Floats, close: Floats) -> Floats:
    """True range of log prices, one column fewer than the input."""
    before = close[:, :-1]
    out: Floats = np.maximum(high[:, 1:], before) - np.minimum(low[:, 1:], before)
    return out


def _seeded(alpha: float, period: int, width: int) -> Floats:
    if width < period:
        raise ValueError(f"a window of {width} bars cannot hold a period of {period}")
    rest = width - period
    out = np.empty(width)
    out[:period] = (1.0 - alpha) ** rest / period
    out[period:] = alpha * (1.0 - alpha) ** np.arange(rest - 1, -1, -1.0)
    return _frozen(out)


def _frozen(array: Floats) -> Floats:
    array.setflags(write=False)
    return array


def _doubling(x: Floats, width: int, pick: np.ufunc) -> Floats:
    have, out = 1, x
    while have < width:
        step = min(have, width - have)
        count = out.shape[1] - step
        out = pick(out[:, :count], out[:, step : step + count])
        have += step
    return out
