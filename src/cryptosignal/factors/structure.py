"""S, structure: what the last swings of a ZigZag say about direction (DOMAIN §1.3 S).

The ZigZag runs from scratch over a fixed window that ends at each bar, on log closes, with a
threshold of θ ATR, so that it never depends on when the program was started.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cryptosignal.domain.params import ParamSet
from cryptosignal.factors import context, window
from cryptosignal.factors.age import newness
from cryptosignal.factors.kernels import compiled_kernels
from cryptosignal.factors.panel import Panel
from cryptosignal.factors.window import filled
from cryptosignal.market.pools import PoolSettings

Floats = NDArray[np.float64]

SWING_BARS = 72
THETA_SMALL, THETA_BIG_OFF, THETA_STRONG_OFF = 0.40, 0.05, 0.05
THETA_OVERLAY, THETA_NEW = 0.05, 0.10
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
_DAY, _USUAL_BARS = 24, SWING_BARS - 1
STRUCTURE_LOOKBACK = SWING_BARS
_LIMITS = PoolSettings()
"""The Overlay pool's limits as they are by default: a formula is the same in every run, whatever
pool a user makes."""
AGREEMENT = 0.08
"""The 15m part of S (§1.3)."""


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


def structure(panel: Panel, params: ParamSet) -> Floats:
    """S: consistency .22, impulse/correction .18, retracement near ½ .18, timing .14, not
    over-extended .20 of log closes, signed. About ±1; the 15m part joins the score (`agreed`).

    The three qualities take the sign of what consistency and impulse say together. Fewer than four
    pivots in the window: no structure, 0.
    """
    atr = np.where(panel.atr() > 0.0, panel.atr(), np.nan)
    close = panel.cut(panel.close, SWING_BARS)
    seen = window.fir((~np.isnan(close)).astype(float), np.ones(SWING_BARS))
    found = swings(close, filled(atr), SWING_BARS, theta(panel, atr, params))
    raw = _composite(panel, found, atr)
    none = np.isnan(found.pivots[3])
    missing = np.isnan(atr) | np.isnan(panel.at(panel.close)) | (seen < SWING_BARS / 2)
    return np.where(missing, np.nan, np.where(none, 0.0, raw))


def agreed(score: Floats, trend_15m: Floats) -> Floats:
    """S with its 15m part (.08 of 1): full where the 15m trend (±100) goes its way, nothing where
    it goes against it, the other parts alone where there are no 15m bars.

    A quality like the others: it takes the sign of the structure, never makes one. It stands behind
    the standardisation chain, not in it: the chain replays 156 hours, which are 624 bars of 15m,
    more than a cache holds (500) or a start fetches, so that a restart would give other numbers.
    """
    way = np.clip(trend_15m / 100.0, -1.0, 1.0) * np.sign(score)
    quality = np.where(np.isnan(way), 1.0, 0.5 + 0.5 * way)
    return score * (1.0 - AGREEMENT + AGREEMENT * quality)


def theta(panel: Panel, atr: Floats, params: ParamSet) -> Floats:
    """θ of each bar: .40 for a small coin, .35 for a big one, .05 less in a strong regime, .05 more
    for Overlay, .10 more for a new coin; .25 to .60 (§1.3 S).

    All of it is told by the coin's own closed bars and its listing time, so that a raw value stands
    on its own window alone (D4): turnover of 24 bars (unknown counts as small), the trend as the
    market's regime is measured, what makes a coin Overlay (`overlay_fit`), hours since listing.
    """
    turnover = window.fir(panel.cut(panel.quote, _TURNOVER_BARS), window.mean_taps(_TURNOVER_BARS))
    with np.errstate(invalid="ignore", divide="ignore"):
        big = np.clip(np.log(turnover / BIG_USDT) / BIG_RANGE, 0.0, 1.0)
    order = np.tanh((panel.ema(5, 30) - panel.ema(20, 60)) / (0.1 * atr))
    slope = window.fir(panel.cut(panel.close, 12), window.slope_taps(12))
    trend = 40.0 * order + 60.0 * np.tanh(slope / atr / 0.05)
    strong = np.clip((np.abs(trend) - STRONG) / STRONG_RANGE, 0.0, 1.0)
    less = THETA_BIG_OFF * filled(big) + THETA_STRONG_OFF * filled(strong)
    more = THETA_OVERLAY * overlay_fit(panel, _TURNOVER_BARS * turnover)
    more += THETA_NEW * newness(panel.age_hours(), params.new_coin)
    return np.clip(THETA_SMALL - less + more, THETA_MIN, THETA_MAX)


def overlay_fit(panel: Panel, day_usdt: Floats) -> Floats:
    """0–1: how well each bar meets what makes a coin Overlay (§1.2), each limit joined linearly from
    80 to 120 % of it, so that no tick turns it over.

    The pool itself is no closed bar: who was in it at each of the bars that the chain replays hangs
    on when it was made. Its criteria are: two of three in sync (the hour's move, v5/v20, the takers'
    share), a 24h move beyond its σ (of the last 71 hourly ones), turnover of the day and the hour,
    off the 72h extremes; or young with twice the turnover. Elite's right of way, which needs open interest
    and trades, is left out: it decides who watches a coin, not how it moves.
    """
    own = _LIMITS
    five = window.fir(panel.cut(panel.volume, 5), window.mean_taps(5))
    twenty = window.fir(panel.cut(panel.volume, 20), window.mean_taps(20))
    volume, days = panel.at(panel.volume), panel.cut(panel.close, _USUAL_BARS + 1)
    hourly = np.abs(days[:, 1:] - days[:, :-1])
    usual = 1.2533 * _DAY**0.5 * window.fir(hourly, window.mean_taps(_USUAL_BARS))
    top, bottom = context.extremes(panel, context.ROOM_BARS)
    close = panel.at(panel.close)
    with np.errstate(invalid="ignore", divide="ignore"):
        flow = np.abs(2.0 * panel.at(panel.taker) - volume) / volume
        surge, far = five / twenty, np.abs(panel.change(_DAY)) / np.maximum(usual, 1e-4)
    if panel.origin is not None and not panel.origin.has_flow:
        flow = np.full_like(flow, np.nan)
    legs = (
        _near(np.abs(panel.change(1)), own.overlay_move),
        _near(surge - 1.0, own.overlay_surge - 1.0),
        _near(flow, own.overlay_cvd),
    )
    two = np.maximum(
        np.minimum(legs[0], legs[1]), np.minimum(np.maximum(legs[0], legs[1]), legs[2])
    )
    sync = np.minimum(two, _near(far, own.overlay_z))
    sync = np.minimum(sync, _near(day_usdt, own.overlay_quote_usdt))
    sync = np.minimum(sync, _near(panel.at(panel.quote), own.overlay_hour_usdt))
    sync = np.minimum(sync, _near(np.minimum(top - close, close - bottom), own.overlay_chase))
    low, high = own.overlay_new_hours
    age = panel.age_hours()
    young = np.where((age >= low) & (age <= high), _near(day_usdt, own.overlay_new_quote_usdt), 0.0)
    return np.maximum(sync, young)


def _near(x: Floats, limit: float) -> Floats:
    """0 at 80 % of a limit, 1 at 120 %; nothing for what is missing."""
    return np.clip(filled((x / limit - 0.8) / 0.4), 0.0, 1.0)


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
