"""S, structure: what the last swings of a ZigZag say about direction (DOMAIN §1.3 S).

The ZigZag runs from scratch over a fixed window that ends at each bar, on log closes, with a
threshold of θ ATR, so that it never depends on when the program was started.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cryptosignal.factors import window
from cryptosignal.factors.kernels import compiled_kernels
from cryptosignal.factors.panel import Panel
from cryptosignal.factors.window import filled

Floats = NDArray[np.float64]

SWING_BARS = 72
THETA_SMALL, THETA_BIG_OFF, THETA_STRONG_OFF = 0.40, 0.05, 0.05
THETA_MIN, THETA_MAX = 0.25, 0.60
_TURNOVER_BARS = 24
BIG_USDT = 25e6 / _TURNOVER_BARS
BIG_RANGE = float(np.log(4.0))
"""A coin is big from 100 M USDT a day on and small up to 25 M, joined by the log between: 50 M, where
liquidity counts fully (§1.2), is the middle."""
STRONG, STRONG_RANGE = 50.0, 20.0
"""A regime is strong from ±60 on (§1.3), joined from 50 to 70."""
_EMA, _EMA_BARS = 30, 60
_EXTENDED_ATR = 0.8
_TIMING_BARS = 24.0
STRUCTURE_LOOKBACK = SWING_BARS


@dataclass(slots=True)
class Swings:
    """ZigZag at the end of each window: `leg` ±1 (0: none yet), the last four confirmed pivots
    (newest first, NaN where fewer) and bars since the newest."""

    leg: Floats
    pivots: Floats
    age: Floats


def swings(close: Floats, atr: Floats, width: int, theta: Floats | float) -> Swings:
    """ZigZag of each window of `width` log closes; `close` is [row, count + width − 1]."""
    rows, count = atr.shape
    turn = theta * atr
    leg = np.zeros((rows, count))
    top = np.full((rows, count), -np.inf)
    bottom = np.full((rows, count), np.inf)
    pivots = np.full((4, rows, count), np.nan)
    age = np.zeros((rows, count))
    fast = compiled_kernels()
    if fast is not None:
        fast.swings(close, turn, width, leg, pivots, age)
        return Swings(leg, pivots, age)
    for j in range(width):
        price = close[:, j : j + count]
        known = ~np.isnan(price)
        top = np.where(known, np.maximum(top, price), top)
        bottom = np.where(known, np.minimum(bottom, price), bottom)
        down = (leg >= 0.0) & (top - price > turn)
        up = (leg <= 0.0) & (price - bottom > turn)
        # a first leg has no pivot behind it until it turns
        turned = (down & (leg > 0.0)) | (up & (leg < 0.0))
        pivot = np.where(down, top, bottom)
        for older in (3, 2, 1):
            pivots[older] = np.where(turned, pivots[older - 1], pivots[older])
        pivots[0] = np.where(turned, pivot, pivots[0])
        age = np.where(turned, 0.0, age + 1.0)
        top = np.where(up | down, price, top)
        bottom = np.where(up | down, price, bottom)
        leg = np.where(down, -1.0, np.where(up, 1.0, leg))
    return Swings(leg, pivots, age)


def structure(panel: Panel) -> Floats:
    """S: consistency .22, impulse/correction .18, retracement near ½ .18, timing .14, not
    over-extended .20 of log closes, signed. About ±1.

    The three qualities take the sign of what consistency and impulse say together. Fewer than four
    pivots in the window: no structure, 0. The originals' 15m agreement (.08) is a gate of its own
    here (15m micro-confirmation): caches hold too few 15m bars to replay it through the chain.
    """
    atr = np.where(panel.atr() > 0.0, panel.atr(), np.nan)
    close = panel.cut(panel.close, SWING_BARS)
    seen = window.fir((~np.isnan(close)).astype(float), np.ones(SWING_BARS))
    found = swings(close, filled(atr), SWING_BARS, theta(panel, atr))
    raw = _composite(panel, found, atr)
    none = np.isnan(found.pivots[3])
    missing = np.isnan(atr) | np.isnan(panel.at(panel.close)) | (seen < SWING_BARS / 2)
    return np.where(missing, np.nan, np.where(none, 0.0, raw))


def theta(panel: Panel, atr: Floats) -> Floats:
    """θ of each bar: .40 for a small coin, .35 for a big one, .05 less in a strong regime (§1.3 S).

    Size and regime are those of the coin's own closed bars, so that a raw value stands on its own
    window alone (D4): turnover of 24 bars (unknown counts as small) and the trend as the market's
    regime is measured. The originals' +.05 for Overlay and +.10 for new coins are not here: which
    coins a pool held at each of the bars that the chain replays is not in closed bars, and S of a new
    coin is a reading of 15m bars without a ZigZag (§1.8).
    """
    turnover = window.fir(panel.cut(panel.quote, _TURNOVER_BARS), window.mean_taps(_TURNOVER_BARS))
    with np.errstate(invalid="ignore", divide="ignore"):
        big = np.clip(np.log(turnover / BIG_USDT) / BIG_RANGE, 0.0, 1.0)
    order = np.tanh((panel.ema(5, 30) - panel.ema(20, 60)) / (0.1 * atr))
    slope = window.fir(panel.cut(panel.close, 12), window.slope_taps(12))
    trend = 40.0 * order + 60.0 * np.tanh(slope / atr / 0.05)
    strong = np.clip((np.abs(trend) - STRONG) / STRONG_RANGE, 0.0, 1.0)
    out = THETA_SMALL - THETA_BIG_OFF * filled(big) - THETA_STRONG_OFF * filled(strong)
    return np.clip(out, THETA_MIN, THETA_MAX)


def _composite(panel: Panel, found: Swings, atr: Floats) -> Floats:
    p1, p2, p3, p4 = found.pivots
    consistency = 0.5 * (np.tanh(2.0 * (p1 - p3) / atr) + np.tanh(2.0 * (p2 - p4) / atr))
    middle = np.abs(p2 - p3)
    around = 0.5 * (np.abs(p1 - p2) + np.abs(p3 - p4))
    with np.errstate(invalid="ignore", divide="ignore"):
        impulse = found.leg * np.tanh(np.log(middle / around))
        retraced = np.abs(p1 - p2) / middle
    trend = np.tanh(1.5 * (consistency + impulse))
    half = np.clip(1.0 - np.abs(retraced - 0.5) / 0.5, 0.0, 1.0)
    timing = np.clip(1.0 - found.age / _TIMING_BARS, 0.0, 1.0)
    stretch = np.abs(panel.at(panel.close) - panel.ema(_EMA, _EMA_BARS)) / atr
    calm = np.clip(1.0 - (stretch - _EXTENDED_ATR) / (2.0 * _EXTENDED_ATR), 0.0, 1.0)
    raw = 0.22 * consistency + 0.18 * impulse
    return raw + trend * (0.18 * half + 0.14 * timing + 0.20 * filled(calm))
