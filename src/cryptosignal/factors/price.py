"""Direction factors from price and volume of one interval: T trend, M momentum, V volume.

Each takes a `Panel` and gives raw values [row, count]; each is odd under the mirror of DOMAIN
§0.11. The discontinuous parts of the originals (an EMA order of ±1, a dead zone of ±0.5 %) are
smoothed where a tick could have flipped them; their scales are kept.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cryptosignal.factors import window
from cryptosignal.factors.panel import ATR_BARS, Panel

Floats = NDArray[np.float64]

_FAST, _SLOW = 30, 60
_ORDER_BARS, _SLOPE_BARS = 6, 12
_ORDER_ATR = 0.10
_SLOPE_SCALE = 0.05
_MOMENTUM_BARS = 7

TREND_LOOKBACK = _SLOW + _ORDER_BARS
MOMENTUM_LOOKBACK = max(_FAST + 2 * _MOMENTUM_BARS, ATR_BARS + 1)
VOLUME_LOOKBACK = 26


def trend(panel: Panel) -> Floats:
    """T: 40·order of EMA5/EMA20 over 6 bars + 30·tanh(slope12/ATR14/0.05) + 30·R² (§1.3 T, code).

    Points, about ±100. Order is tanh((EMA5 − EMA20)/0.1 ATR), the R² bonus takes the slope's sign.
    """
    return panel.shared("trend", lambda: _trend(panel))


def _trend(panel: Panel) -> Floats:
    atr = _positive(panel.atr())
    width = panel.count + _ORDER_BARS - 1
    fast = _ema(panel, 5, _FAST, width)
    slow = _ema(panel, 20, _SLOW, width)
    gap = fast - slow
    order = np.zeros_like(atr)
    for j in range(_ORDER_BARS):
        order += np.tanh(gap[:, j : j + panel.count] / (_ORDER_ATR * atr))
    slope, r2 = window.fit(panel.cut(panel.close, _SLOPE_BARS), _SLOPE_BARS)
    push = np.tanh(slope / (atr * _SLOPE_SCALE))
    return 40.0 * order / _ORDER_BARS + 30.0 * push + 30.0 * r2 * push


def momentum(panel: Panel) -> Floats:
    """M: (0.6·EMA5 slope over 7 bars + 0.4·its change)/ATR14, per bar (§1.3 M, v2.2 periods).

    EMA5 instead of a slow average keeps it apart from T. ATR per bar, about ±0.5.
    """
    return panel.shared("momentum", lambda: _momentum(panel))


def _momentum(panel: Panel) -> Floats:
    lag = _MOMENTUM_BARS
    now = _ema(panel, 5, _FAST, panel.count + 2 * lag)
    first, middle, last = (now[:, j * lag : j * lag + panel.count] for j in range(3))
    slope = (last - middle) / lag
    before = (middle - first) / lag
    return (0.6 * slope + 0.4 * (slope - before)) / _positive(panel.atr())


def volume(panel: Panel) -> Floats:
    """V: (0.6·ln(v5/v20) + 0.4·ln(v5/v5 five bars ago)) × sign of the 5-bar move (§1.3 V).

    The dead zone of ±0.5 % is x|x|/(1 + x²) of the move in units of 0.5 %: 0.5 at its edge.
    Logs make a doubling and a halving of volume equally strong.
    """
    five = window.fir(panel.cut(panel.volume, 10), window.mean_taps(5))
    twenty = window.fir(panel.cut(panel.volume, 20), window.mean_taps(20))
    now = five[:, -panel.count :]
    ago = five[:, : panel.count]
    with np.errstate(invalid="ignore", divide="ignore"):
        surge = 0.6 * np.log(now / twenty) + 0.4 * np.log(now / ago)
    surge = np.where(np.isfinite(surge), np.clip(surge, -3.0, 3.0), np.nan)
    return surge * soft_sign(panel.change(5) / 0.005)


def tm_sign(panel: Panel) -> Floats:
    """Tm ∈ {−1, 0, 1}: slope12/ATR14 beyond ±0.02 (§1.3 T)."""
    slope = window.fir(panel.cut(panel.close, _SLOPE_BARS), window.slope_taps(_SLOPE_BARS))
    ratio = slope / _positive(panel.atr())
    return np.where(np.isnan(ratio), np.nan, (ratio > 0.02).astype(float) - (ratio < -0.02))


def soft_sign(x: Floats) -> Floats:
    """x|x|/(1 + x²): a sign with a soft dead zone of width 1, odd and bounded by ±1."""
    out: Floats = x * np.abs(x) / (1.0 + x * x)
    return out


def _ema(panel: Panel, period: int, width: int, count: int) -> Floats:
    close = panel.close[:, panel.bars - (count + width - 1) :]
    return window.fir(close, window.ema_taps(period, width))


def _positive(atr: Floats) -> Floats:
    return np.where(atr > 0.0, atr, np.nan)
