"""The whole row of one symbol at one moment, compiled: what a scan says of it, without the scan.

Readings of bars, the chain, what surrounds the scores, this moment, and `row`, which puts them
together from what `lone` gathers. Each function names the numpy function that it equals to 1e-9
(tests hold that). Bars are 1-D logs or volumes with `i` the place of the newest bar of a reading;
NaN means no data and spreads as it does there.
"""

# size-ok: numba's cache notices changes of a function's own file only, so callers live with callees
from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Codes = NDArray[np.int8]


LOG_BARS = 124
SHORT_BARS = 66
FACTORS = 6
OI_BARS = 240
_MEAN_ABS_TO_SIGMA = 1.2533141373155003
_HUBER = 2.5
_CLIPPED_TO_SIGMA = 1.2684
_HOUR = 3_600_000
_DAY = 86_400_000
_NO_LAG = 2.0**40
FRESH_MAX = 4
S_AT = 3
"""Place of S among the factors."""
H15, H1, H4, D1 = 2, 3, 4, 5
"""Places of the intervals among 1m, 5m, 15m, 1h, 4h, 1d."""


# ---- readings of bars ----------------------------------------------------------------------------
@njit(cache=True, error_model="numpy")
def clip(x: float, low: float, high: float) -> float:
    """`np.clip`: NaN stays NaN."""
    return low if x < low else (high if x > high else x)


@njit(cache=True, error_model="numpy")
def sign(x: float) -> float:
    """`np.sign`: NaN stays NaN."""
    return 1.0 if x > 0.0 else (-1.0 if x < 0.0 else x * 0.0)


@njit(cache=True, error_model="numpy")
def soft_sign(x: float) -> float:
    """`price.soft_sign`."""
    return x * abs(x) / (1.0 + x * x)


@njit(cache=True, error_model="numpy", fastmath={"reassoc", "contract"})
def dot(x: Floats, i: int, taps: Floats) -> float:
    """`window.fir` at one place."""
    width = taps.shape[0]
    part = x[i - width + 1 : i + 1]
    total = 0.0
    for j in range(width):
        total += taps[j] * part[j]
    return total


@njit(cache=True, error_model="numpy", fastmath={"reassoc", "contract"})
def mean(x: Floats, i: int, width: int) -> float:
    """`window.fir` with `mean_taps` at one place."""
    part = x[i - width + 1 : i + 1]
    total = 0.0
    for j in range(width):
        total += part[j]
    return total / width


@njit(cache=True, error_model="numpy")
def newest(row: Floats, end: int, count: int, out: Floats) -> None:
    """The newest `count` values before `end`; NaN in front where there are fewer."""
    start = end - count
    for j in range(count):
        out[j] = row[start + j] if start + j >= 0 else np.nan


@njit(cache=True, error_model="numpy")
def logs(row: Floats, end: int, count: int, out: Floats) -> None:
    """`panel.log_of` of the newest `count` values before `end`."""
    start = end - count
    for j in range(count):
        value = row[start + j] if start + j >= 0 else np.nan
        out[j] = math.log(value) if value > 0.0 else np.nan


@njit(cache=True, error_model="numpy")
def known(row: Floats, end: int) -> int:
    """How many of the first `end` values exist."""
    number = 0
    for j in range(end):
        number += row[j] == row[j]
    return number


@njit(cache=True, error_model="numpy", fastmath={"reassoc", "contract"})
def atr(high: Floats, low: Floats, close: Floats, i: int, taps: Floats) -> float:
    """`Panel.atr` at one bar."""
    width = taps.shape[0]
    first = i - width + 1
    h, lo, c = high[first : i + 1], low[first : i + 1], close[first - 1 : i]
    total = 0.0
    for j in range(width):
        before = c[j]
        top = h[j] if h[j] > before else before
        bottom = lo[j] if lo[j] < before else before
        # a missing value must stay missing, which comparisons do not promise
        total += taps[j] * (top - bottom + (h[j] + lo[j]) * 0.0)
    return total


@njit(cache=True, error_model="numpy")
def extremes(high: Floats, low: Floats, i: int, width: int) -> tuple[float, float]:
    """Largest and smallest of a window; NaN if one is missing."""
    top, bottom, gap, hole = -math.inf, math.inf, 0.0, 0.0
    for j in range(i - width + 1, i + 1):
        top = max(top, high[j])
        bottom = min(bottom, low[j])
        gap += high[j] * 0.0
        hole += low[j] * 0.0
    return (top if gap == gap else np.nan), (bottom if hole == hole else np.nan)


@njit(cache=True, error_model="numpy")
def trend(close: Floats, i: int, own_atr: float, taps: tuple[Floats, ...]) -> float:
    """`price.trend` at one bar; `taps` are EMA5, EMA20 and the slope over 12."""
    scale = own_atr if own_atr > 0.0 else np.nan
    order = 0.0
    for j in range(6):
        at = i - 5 + j
        order += math.tanh((dot(close, at, taps[0]) - dot(close, at, taps[1])) / (0.10 * scale))
    slope = dot(close, i, taps[2])
    push = math.tanh(slope / (scale * 0.05))
    return 40.0 * order / 6 + 30.0 * push + 30.0 * _fitted(close, i, slope) * push


@njit(cache=True, error_model="numpy")
def _fitted(close: Floats, i: int, slope: float) -> float:
    """R² of `window.fit` over 12 bars."""
    total = square = ramp = 0.0
    for j in range(12):
        step = close[i - 11 + j] - close[i - 11]
        total += step
        square += step * step
        ramp += (j - 5.5) * (j - 5.5)
    spread = square - total * total / 12.0
    r2 = slope * slope * ramp / spread if spread > 0.0 else 0.0
    return np.nan if slope != slope else clip(r2, 0.0, 1.0)


@njit(cache=True, error_model="numpy")
def momentum(close: Floats, i: int, own_atr: float, fast: Floats) -> float:
    """`price.momentum` at one bar; `fast` are the taps of EMA5."""
    first, middle, last = (dot(close, i - 14, fast), dot(close, i - 7, fast), dot(close, i, fast))
    slope, before = (last - middle) / 7.0, (middle - first) / 7.0
    return (0.6 * slope + 0.4 * (slope - before)) / (own_atr if own_atr > 0.0 else np.nan)


@njit(cache=True, error_model="numpy")
def volume(base: Floats, at: int, close: Floats, i: int) -> float:
    """`price.volume` at place `at` of the volumes, `i` of the closes."""
    now, ago, twenty = mean(base, at, 5), mean(base, at - 5, 5), mean(base, at, 20)
    surge = 0.6 * math.log(now / twenty) + 0.4 * math.log(now / ago)
    if not math.isfinite(surge):
        return np.nan
    return clip(surge, -3.0, 3.0) * soft_sign((close[i] - close[i - 5]) / 0.005)


@njit(cache=True, error_model="numpy")
def flows(bars: Floats, end: int, count: int, net: Floats, size: Floats) -> None:
    """`flow.net_share` of futures alone, the newest `count` bars of [field, bar]."""
    start = end - count
    for j in range(count):
        at = start + j
        if at < 0:
            net[j] = size[j] = np.nan
            continue
        size[j] = bars[4, at]
        net[j] = 2.0 * bars[7, at] - size[j]


@njit(cache=True, error_model="numpy")
def cvd(net: Floats, traded: Floats, i: int) -> float:
    """`flow.cvd` at one bar."""
    level = total = lean = 0.0
    flow = np.empty(7)
    for k in range(7):
        flow[k] = _relative(net, traded, i - 6 + k)
        level += flow[k]
        total += level
        lean += (k - 3.0) * level
    middle, level, square = total / 7.0, 0.0, 0.0
    for k in range(7):
        level += flow[k]
        square += (level - middle) * (level - middle)
    slope = lean / 28.0
    r2 = clip(slope * slope * 28.0 / square if square > 0.0 else 0.0, 0.0, 1.0)
    return slope * (1.0 if r2 >= 0.7 else 0.7 + 0.3 * r2 / 0.7)


@njit(cache=True, error_model="numpy", fastmath={"reassoc", "contract"})
def _relative(net: Floats, traded: Floats, i: int) -> float:
    """`flow.relative_flow` at one bar."""
    flows_, sizes = net[i - 23 : i + 1], traded[i - 23 : i + 1]
    size = size_of_market = 0.0
    for j in range(24):
        size += abs(flows_[j])
        size_of_market += sizes[j]
    size, size_of_market = size / 24.0, size_of_market / 24.0
    bound = 3.0 * size
    excess = net[i] - clip(net[i], -bound, bound) + size * 0.0
    return (net[i] - 0.5 * excess) / (size_of_market if size_of_market > 0.0 else np.nan)


@njit(cache=True, error_model="numpy")
def _near(x: float, limit: float) -> float:
    """`structure._near`."""
    part = (x / limit - 0.8) / 0.4
    return clip(part, 0.0, 1.0) if part == part else 0.0


@njit(cache=True, error_model="numpy")
def _overlay_fit(
    price: tuple[Floats, Floats, Floats],
    i: int,
    base: Floats,
    quote: Floats,
    flow: tuple[Floats, Floats],
    back: int,
    own: Floats,
) -> float:
    """`structure.overlay_fit` at place `i` of the prices, `back` bars before the newest."""
    high, low, close = price
    at, turned = base.shape[0] - 1 - back, quote.shape[0] - 1 - back
    usual = 0.0
    for j in range(i - 70, i + 1):
        usual += abs(close[j] - close[j - 1])
    usual *= 1.2533 * math.sqrt(24.0) / 71.0
    usual = 1e-4 if usual < 1e-4 else usual
    day_usdt, age = 24.0 * mean(quote, turned, 24), own[0] - back
    traded = flow[1][flow[1].shape[0] - 1 - back]
    lean = abs(flow[0][flow[0].shape[0] - 1 - back]) / traded if own[1] == 1.0 else np.nan
    one = _near(abs(close[i] - close[i - 1]), 0.015)
    two = _near(mean(base, at, 5) / mean(base, at, 20) - 1.0, 0.2)
    three = _near(lean, 0.025)
    fit = max(min(one, two), min(max(one, two), three))
    fit = min(fit, _near(abs(close[i] - close[i - 24]) / usual, 1.0))
    fit = min(fit, _near(day_usdt, 5e6), _near(quote[turned], 5e6))
    top, bottom = extremes(high, low, i, 72)
    edge = min(top - close[i], close[i] - bottom) + 0.0 * (top + bottom)
    fit = min(fit, _near(edge, 0.05))
    young = _near(day_usdt, 1e7) if 1.0 <= age <= 720.0 else 0.0
    return max(fit, young)


@njit(cache=True, error_model="numpy")
def _theta(
    close: Floats, i: int, own_atr: float, day_usdt: float, more: float, taps: tuple[Floats, ...]
) -> float:
    """`structure.theta` at place `i` of the closes; `more` is what Overlay and youth add."""
    big = clip(math.log(day_usdt / 25e6) / math.log(4.0), 0.0, 1.0)
    order = math.tanh((dot(close, i, taps[0]) - dot(close, i, taps[1])) / (0.1 * own_atr))
    size = abs(40.0 * order + 60.0 * math.tanh(dot(close, i, taps[2]) / own_atr / 0.05))
    strong = clip((size - 50.0) / 20.0, 0.0, 1.0)
    less = 0.05 * (big if big == big else 0.0) + 0.05 * (strong if strong == strong else 0.0)
    return clip(0.40 - less + more, 0.25, 0.60)


@njit(cache=True, error_model="numpy")
def structure(
    price: tuple[Floats, Floats, Floats],
    i: int,
    own_atr: float,
    base: Floats,
    quote: Floats,
    flow: tuple[Floats, Floats],
    back: int,
    own: Floats,
    taps: tuple[Floats, ...],
) -> float:
    """`structure.structure` at place `i` of the prices, `back` bars before the newest; `flow` is
    that of the futures, `own` are hours since listing at the newest bar, whether flow was traded,
    and when a coin is grown; `taps` as in `raw_factors`."""
    close = price[2]
    part = close[i - 71 : i + 1]
    seen = 0
    for j in range(72):
        seen += part[j] == part[j]
    if not own_atr > 0.0 or close[i] != close[i] or seen < 36:
        return np.nan
    faded = 1.0 - (own[0] - back - own[2]) / own[3]
    more = 0.05 * _overlay_fit(price, i, base, quote, flow, back, own)
    more += 0.10 * (clip(faded, 0.0, 1.0) if faded == faded else 0.0)
    day_usdt = 24.0 * mean(quote, quote.shape[0] - 1 - back, 24)
    turn = own_atr * _theta(close, i, own_atr, day_usdt, more, taps)
    leg, age, p1, p2, p3, p4 = _swings(part, turn)
    if p4 != p4:
        return 0.0
    scale = own_atr
    consistency = 0.5 * (math.tanh(2.0 * (p1 - p3) / scale) + math.tanh(2.0 * (p2 - p4) / scale))
    middle = abs(p2 - p3)
    impulse = leg * math.tanh(math.log(middle / (0.5 * (abs(p1 - p2) + abs(p3 - p4)))))
    retraced = abs(p1 - p2) / middle
    half = clip(1.0 - abs(retraced - 0.5) / 0.5, 0.0, 1.0)
    timing = clip(1.0 - age / 24.0, 0.0, 1.0)
    stretch = abs(close[i] - dot(close, i, taps[4])) / scale
    calm = clip(1.0 - (stretch - 0.8) / 1.6, 0.0, 1.0)
    calm = calm if calm == calm else 0.0
    lean = math.tanh(1.5 * (consistency + impulse))
    return 0.22 * consistency + 0.18 * impulse + lean * (0.18 * half + 0.14 * timing + 0.20 * calm)


@njit(cache=True, error_model="numpy")
def agree(bars: Floats, end: int, lags: int, taps: tuple[Floats, ...], out: Floats) -> None:
    """`structure.agreed` of S of the newest hours, `out` are `score.S`, `score.S.1` …; `end` is the
    number of 15m bars at the newest hour's close, −1 without an axis."""
    count = SHORT_BARS + 4 * (lags - 1)
    high, low, close = np.empty(count), np.empty(count), np.empty(count)
    logs(bars[1], end, count, high)
    logs(bars[2], end, count, low)
    logs(bars[3], end, count, close)
    for lag in range(lags):
        i = count - 1 - 4 * lag
        way = trend(close, i, atr(high, low, close, i, taps[3]), (taps[0], taps[1], taps[2]))
        way = clip(way / 100.0, -1.0, 1.0) * sign(out[lag])
        out[lag] *= 0.92 + 0.08 * (1.0 if way != way else 0.5 + 0.5 * way)


@njit(cache=True, error_model="numpy")
def _swings(close: Floats, turn: float) -> tuple[float, float, float, float, float, float]:
    """`structure.swings` of one window: leg, age and the last four pivots."""
    way, since, top, bottom = 0.0, 0.0, -math.inf, math.inf
    p1 = p2 = p3 = p4 = np.nan
    for j in range(close.shape[0]):
        price = close[j]
        since += 1.0
        if price != price:
            continue
        top, bottom = max(top, price), min(bottom, price)
        if way >= 0.0 and top - price > turn:
            if way > 0.0:
                p4, p3, p2, p1 = p3, p2, p1, top
                since = 0.0
            way, top, bottom = -1.0, price, price
        elif way <= 0.0 and price - bottom > turn:
            if way < 0.0:
                p4, p3, p2, p1 = p3, p2, p1, bottom
                since = 0.0
            way, top, bottom = 1.0, price, price
    return way, since, p1, p2, p3, p4


@njit(cache=True, error_model="numpy")
def interest(oi: Floats, close: Floats, i: int, at: int, taps: Floats) -> float:
    """`positioning.open_interest` at bar `i` of the closes, `at` of the open interest."""
    slope = dot(oi, at, taps) * 24
    grown = abs(slope)
    band = clip(grown / 0.01, 0.0, 1.0) * clip(1.0 - (grown - 0.08) / 0.16, 0.5, 1.0)
    aligned = 0.0
    for j in range(at - 11, at + 1):
        aligned += sign(oi[j] - oi[j - 1])
    strength = 0.7 * band * clip(slope / 0.03, -3.0, 3.0) + 0.3 * (aligned / 12.0)
    return strength * soft_sign((close[i] - close[i - 12]) / 0.01)


@njit(cache=True, error_model="numpy")
def adx(high: Floats, low: Floats, close: Floats, i: int, span: int) -> float:
    """`context.adx` at one bar."""
    plus = minus = scale = value = 0.0
    seen, keep = 0, 13.0 / 14.0
    first = i - span + 1
    for j in range(first + 1, i + 1):
        up, down = high[j] - high[j - 1], low[j - 1] - low[j]
        step = j - first - 1
        decay = 1.0 if step < 13 else keep
        plus = decay * plus + (up if up > down and up > 0.0 else 0.0)
        minus = decay * minus + (down if down > up and down > 0.0 else 0.0)
        scale += (high[j] + low[j] + close[j - 1]) * 0.0
        if step < 13:
            continue
        total = plus + minus
        dx = abs(plus - minus) / (total if total > 0.0 else 1.0)
        seen += 1
        value = value + dx / 14.0 if seen <= 14 else keep * value + dx / 14.0
    return 100.0 * value if scale == scale else np.nan


@njit(cache=True, error_model="numpy")
def as_of(
    grid: NDArray[np.int64], value: Floats, first_ms: int, step_ms: int, age_ms: int, out: Floats
) -> None:
    """`panel.as_of` of one row at evenly spaced times."""
    place, newest_known = 0, -1
    for j in range(out.shape[0]):
        moment = first_ms + j * step_ms
        while place < grid.shape[0] and grid[place] <= moment:
            if value[place] == value[place]:
                newest_known = place
            place += 1
        fresh = newest_known >= 0 and moment - grid[newest_known] <= age_ms
        out[j] = value[newest_known] if fresh else np.nan


@njit(cache=True, error_model="numpy")
def join(x: float, knots: Floats, levels: Floats) -> float:
    """`np.interp`."""
    last = knots.shape[0] - 1
    if x != x:
        return np.nan
    if x <= knots[0]:
        return levels[0]
    for j in range(last):
        if x < knots[j + 1]:
            lean = (levels[j + 1] - levels[j]) / (knots[j + 1] - knots[j])
            return lean * (x - knots[j]) + levels[j]
    return levels[last]


# ---- the chain ------------------------------------------------------------------------------------
@njit(cache=True, error_model="numpy")
def _smooth(x: Floats, i: int, taps: Floats) -> float:
    """`standardise.smooth` at one place."""
    if x[i] != x[i]:
        return np.nan
    total = weight = 0.0
    for j in range(taps.shape[0]):
        value = x[i - taps.shape[0] + 1 + j]
        if value == value:
            total += taps[j] * value
            weight += taps[j]
    return total / weight if weight > 0.0 else np.nan


@njit(cache=True, error_model="numpy")
def robust_z(x: Floats, i: int, taps: Floats, least: float, scale_min: int) -> float:
    """`standardise.robust_z` at one place; what lies before the first value is missing."""
    width = taps.shape[0]
    first = max(0, i - width + 1)
    part, weights = x[first : i + 1], taps[width - (i + 1 - first) :]
    total = weight = 0.0
    seen = 0
    for j in range(part.shape[0]):
        if part[j] == part[j]:
            weight += weights[j]
            total += weights[j] * part[j]
            seen += 1
    if x[i] != x[i] or seen < scale_min:
        return np.nan
    if seen == part.shape[0]:
        return _z_of_known(part, weights, total / weight, weight, least)
    middle, size, off = total / weight, 0.0, 0.0
    for j in range(part.shape[0]):
        if part[j] == part[j]:
            size += weights[j] * abs(part[j] - middle)
    bound = _HUBER * max(_MEAN_ABS_TO_SIGMA * size / weight, least)
    for j in range(part.shape[0]):
        if part[j] == part[j]:
            off += weights[j] * min(max(part[j] - middle, -bound), bound)
    centre, rest = middle + off / weight, 0.0
    for j in range(part.shape[0]):
        if part[j] == part[j]:
            rest += weights[j] * min(abs(part[j] - centre), bound)
    return (x[i] - centre) / max(_CLIPPED_TO_SIGMA * rest / weight, least)


@njit(cache=True, error_model="numpy", fastmath={"reassoc", "contract"})
def _z_of_known(part: Floats, weights: Floats, middle: float, weight: float, least: float) -> float:
    """The same where nothing is missing, with the wide instructions."""
    size = off = rest = 0.0
    for j in range(part.shape[0]):
        size += weights[j] * abs(part[j] - middle)
    bound = _HUBER * max(_MEAN_ABS_TO_SIGMA * size / weight, least)
    for j in range(part.shape[0]):
        off += weights[j] * min(max(part[j] - middle, -bound), bound)
    centre = middle + off / weight
    for j in range(part.shape[0]):
        rest += weights[j] * min(abs(part[j] - centre), bound)
    return (part[part.shape[0] - 1] - centre) / max(_CLIPPED_TO_SIGMA * rest / weight, least)


@njit(cache=True, error_model="numpy")
def _squash(z: float, own: Floats, crowded: float) -> float:
    """`standardise.squash`; `own` are z0, z_max, winsor, tau, publish, max_step, flip_min."""
    size = abs(z)
    kept = 1.0 - crowded * clip((size - 1.959964) / 0.75, 0.0, 1.0) if crowded else 1.0
    if size > own[0]:
        size = own[0] + (own[1] - own[0]) * (1.0 - math.exp(-(size - own[0]) / own[2]))
    return kept * (100.0 * math.tanh(math.copysign(size, z) / own[3]))


@njit(cache=True, error_model="numpy")
def _publish(instant: Floats, first: int, width: int, own: Floats) -> float:
    """`standardise.publish` of the window of `width` that starts at `first`."""
    state = sign = 0.0
    for j in range(first, first + width):
        value = instant[j]
        if value != value:
            continue
        moved = state + min(max(own[4] * (value - state), -own[5]), own[5])
        turned = 1.0 if moved > 0.0 else (-1.0 if moved < 0.0 else 0.0)
        if turned * sign < 0.0 and abs(value) < own[6]:
            state = 0.0
            continue
        state = moved
        if turned != 0.0:
            sign = turned
    last = instant[first + width - 1]
    return state if last == last else np.nan


@njit(cache=True, error_model="numpy")
def _chain(
    raw: Floats,
    row: int,
    stages: tuple[Floats, Floats, Floats, Floats],
    stops: Ints,
    taps: tuple[Floats, Floats],
    own: Floats,
    limits: Floats,
    scale_min: int,
    scores: Floats,
) -> None:
    """Scores of the newest bars from the stages that were kept and the fresh `raw` values, of
    which the last `stops[8]` are of bars that the stages have not seen; `limits` are the floor and
    what is lost to the crowd."""
    fresh, lags, shift = raw.shape[0], scores.shape[0], stops[8]
    wide = taps[0].shape[0] - 1
    x = np.empty(fresh + wide)
    x[:wide] = stages[0][row, stops[0] + shift - fresh - wide : stops[0] + shift - fresh]
    x[wide:] = raw
    deep = taps[1].shape[0] - 1
    y = np.empty(fresh + deep)
    y[:deep] = stages[1][row, stops[1] + shift - fresh - deep : stops[1] + shift - fresh]
    for k in range(fresh):
        y[deep + k] = _smooth(x, wide + k, taps[0])
    width = stops[4] + lags - 1
    instant = np.empty(width)
    instant[: width - shift] = stages[2][row, stops[2] + shift - width : stops[2]]
    for k in range(fresh):
        z = robust_z(y, deep + k, taps[1], limits[0], scale_min)
        instant[width - fresh + k] = _squash(z, own, limits[1])
    redone = min(fresh, lags)
    for k in range(lags - redone):
        scores[k] = stages[3][row, stops[3] + shift - lags + k]
    for k in range(lags - redone, lags):
        scores[k] = _publish(instant, k, stops[4], own)


# ---- the factors of closed bars -------------------------------------------------------------------
@njit(cache=True, error_model="numpy")
def spoiled(kept: Floats, stop: int, bars: Floats, end: int, span: int, shift: int) -> int:
    """How many of the newest bars differ from those that the kept stages stand on; `shift` of them
    are new."""
    first = span - shift
    for f in range(kept.shape[0]):
        old, now = kept[f, stop + shift - span : stop], bars[f, end - span : end - shift]
        for j in range(first):
            if old[j] != now[j] and (old[j] == old[j] or now[j] == now[j]):
                first = j
                break
    return span - first


@njit(cache=True, error_model="numpy")
def differing(kept: Floats, stop: int, now: Floats, shift: int) -> int:
    """The same for one series. Logs of another library differ in their last bit, which is no
    difference."""
    span = now.shape[0]
    old = kept[stop + shift - span : stop]
    for j in range(span - shift):
        if (old[j] == old[j]) != (now[j] == now[j]) or abs(old[j] - now[j]) > 1e-12 * (
            1.0 + abs(old[j])
        ):
            return span - j
    return shift


@njit(cache=True, error_model="numpy")
def raw_factors(
    price: tuple[Floats, Floats, Floats],
    base: Floats,
    quote: Floats,
    flow: tuple[Floats, Floats],
    of_futures: tuple[Floats, Floats],
    oi: Floats,
    own_facts: Floats,
    taps: tuple[Floats, ...],
    out: Floats,
) -> None:
    """Raw T, M, C, S, V, O, [factor, bar], of the newest bars; `oi` is empty where there is none.

    `flow` may hold spot too; `own_facts` as `structure` takes them; `taps` are EMA5, EMA20,
    slope 12, Wilder 14, EMA30, slope 24.
    """
    high, low, close = price
    count = out.shape[1]
    for k in range(count):
        i = close.shape[0] - count + k
        own = atr(high, low, close, i, taps[3])
        out[0, k] = trend(close, i, own, (taps[0], taps[1], taps[2]))
        out[1, k] = momentum(close, i, own, taps[0])
        out[2, k] = cvd(flow[0], flow[1], flow[0].shape[0] - count + k)
        back = count - 1 - k
        out[3, k] = structure(price, i, own, base, quote, of_futures, back, own_facts, taps)
        out[4, k] = volume(base, base.shape[0] - count + k, close, i)
        out[5, k] = np.nan
        if oi.shape[0]:
            out[5, k] = interest(oi, close, i, oi.shape[0] - count + k, taps[5])


@njit(cache=True, error_model="numpy")
def score_row(
    raw: Floats,
    slot: int,
    stages: tuple[Floats, Floats, Floats, Floats],
    stops: Ints,
    taps: tuple[Floats, Floats],
    own: Floats,
    floors: Floats,
    out: Floats,
) -> None:
    """`raw.X`, `score.X`, `score.X.1` … of each factor into `out`.

    `stops` are the ends of the four stages, the width of the publish filter, the least number of
    values, the lags, the number of rows and the bars that are new; without fresh values the kept
    ones stand.
    """
    lags, rows = stops[6], stops[7]
    scores = np.empty(lags)
    for f in range(FACTORS):
        row = f * rows + slot
        if raw.shape[1]:
            out[f * (1 + lags)] = raw[f, raw.shape[1] - 1]
            _chain(raw[f], row, stages, stops, taps, own, floors[f], stops[5], scores)
        else:
            out[f * (1 + lags)] = stages[0][row, stops[0] - 1]
            scores[:] = stages[3][row, stops[3] - lags : stops[3]]
        for lag in range(lags):
            out[f * (1 + lags) + 1 + lag] = scores[lags - 1 - lag]


# ---- what surrounds them --------------------------------------------------------------------------
@njit(cache=True, error_model="numpy")
def market_trend(bars: Floats, end: int, taps: tuple[Floats, ...]) -> float:
    """`context.market_trend` of one coin; `taps` as in `raw_factors`."""
    high, low, close = np.empty(61), np.empty(61), np.empty(61)
    logs(bars[1], end, 61, high)
    logs(bars[2], end, 61, low)
    logs(bars[3], end, 61, close)
    own = atr(high, low, close, 60, taps[3])
    own = own if own > 0.0 else np.nan
    order = math.tanh((dot(close, 60, taps[0]) - dot(close, 60, taps[1])) / (0.1 * own))
    return 40.0 * order + 60.0 * math.tanh(dot(close, 60, taps[2]) / own / 0.05)


@njit(cache=True, error_model="numpy")
def returns_of(close: Floats, i: int, count: int, out: Floats) -> None:
    """Each window of 24 hourly returns ending at the newest `count` bars, centred, [window, 24]."""
    for k in range(count):
        at = i - count + 1 + k - 23
        total = 0.0
        for j in range(24):
            out[k, j] = close[at + j] - close[at + j - 1]
            total += out[k, j]
        total /= 24.0
        for j in range(24):
            out[k, j] -= total


@njit(cache=True, error_model="numpy", fastmath={"reassoc", "contract"})
def _fit(own: Floats, one: Floats, two: Floats, is_eth: bool) -> tuple[float, float, float, float]:
    """`context._fit_market` of one window: β on BTC and ETH, R², ρ to BTC."""
    xx = yy = xy = rx = ry = total = rest = 0.0
    for j in range(24):
        xx += one[j] * one[j]
        yy += two[j] * two[j]
        xy += one[j] * two[j]
        rx += own[j] * one[j]
        ry += own[j] * two[j]
        total += own[j] * own[j]
    wide, tall = xx * 1.05, yy * 1.05
    first, second = rx / wide if wide != 0.0 else np.nan, 0.0
    if tall > 0.0 and not is_eth:
        det = wide * tall - xy * xy
        first, second = (rx * tall - ry * xy) / det, (ry * wide - rx * xy) / det
    for j in range(24):
        off = own[j] - first * one[j] - second * two[j]
        rest += off * off
    scale = math.sqrt(total * xx)
    return (
        first,
        second,
        1.0 - rest / total if total > 0.0 else 0.0,
        rx / scale if scale != 0.0 else np.nan,
    )


@njit(cache=True, error_model="numpy")
def independence(
    windows: tuple[Floats, Floats, Floats],
    roles: Ints,
    bands: tuple[Floats, Floats],
    taps: Floats,
    out: Floats,
) -> None:
    """I, β, ρ and gI of `context.independence`; `roles` says whether there is a BTC, an ETH, and
    whether this symbol is one of them."""
    out[:4] = np.nan
    out[3] = 0.0
    if not roles[0]:
        return
    count = windows[0].shape[0]
    total = 0.0
    for k in range(count):
        b1, b2, r2, rho = _fit(windows[0][k], windows[1][k], windows[2][k], roles[3] == 1)
        beta = abs(b1) if roles[3] or not roles[1] else 0.6 * abs(b1) + 0.4 * abs(b2)
        score = join(beta, bands[0], bands[1])
        if beta == beta and r2 < 0.1:
            score = 50.0
        if roles[2]:
            score = 100.0 if rho == rho else np.nan
        if score == score:
            total += taps[k] * math.tanh(3.0 * (score / 100.0 - 0.5))
        out[0], out[1], out[2] = score, beta, rho
    out[3] = total


@njit(cache=True, error_model="numpy")
# deep-ok: a compiled kernel is its loops; a call a step would cost more than the step
def funding_z(
    grid: Ints, value: Floats, first_ms: int, taps: Floats, floor: float, age_ms: int, out: Floats
) -> None:
    """`around._funding_z` at hourly times from `first_ms` on."""
    hour = 3_600_000
    place, known_at, known_z = -1, -1, np.nan
    for j in range(out.shape[0]):
        moment = first_ms + j * hour
        while place + 1 < grid.shape[0] and grid[place + 1] <= moment:
            place += 1
        at = place
        out[j] = np.nan
        while at >= 0 and moment - grid[at] <= age_ms:
            if value[at] == value[at]:
                if at != known_at:
                    known_at, known_z = at, robust_z(value, at, taps, floor, 5)
                if known_z == known_z:
                    out[j] = known_z
                    break
            at -= 1


@njit(cache=True, error_model="numpy")
def interest_change(oi: Floats, count: int, change: Floats, z: Floats) -> None:
    """`around._oi_change` of the newest `count` hours; `oi` are logs, the newest last."""
    width = count + 95
    size, first = np.empty(width), oi.shape[0] - width
    for j in range(width):
        size[j] = abs(oi[first + j] - oi[first + j - 24])
    for k in range(count):
        i = oi.shape[0] - count + k
        spread = 1.2533 * mean(size, k + 95, 96)
        change[k] = oi[i] - oi[i - 24]
        z[k] = change[k] / (0.005 if spread < 0.005 else spread)


@njit(cache=True, error_model="numpy")
def interest_changes(oi: Floats, count: int, change: Floats, z: Floats) -> None:
    """The same for every row."""
    for r in range(oi.shape[0]):
        interest_change(oi[r], count, change[r], z[r])


@njit(cache=True, error_model="numpy")
def crowding(basis_bps: float, rate_z: float, oi_z: float, side: float) -> float:
    """`positioning.crowding` at one moment."""
    total, number = 0.0, 0
    for part in (side * rate_z, side * basis_bps / 25.0, oi_z):
        if part == part:
            total += clip(part, -6.0, 6.0)
            number += 1
    return 1.0 / (1.0 + math.exp(-total / number)) if number else np.nan


@njit(cache=True, error_model="numpy")
def crowds(rate_z: Floats, oi_z: Floats, basis_bps: float, taps: Floats, out: Floats) -> None:
    """`mod.crowding_long`, `mod.gF_long` and the same for shorts."""
    count = rate_z.shape[0]
    for way in range(2):
        side, total = 1.0 - 2.0 * way, 0.0
        for k in range(count):
            past = crowding(np.nan, rate_z[k], oi_z[k], side)
            if past == past:
                total += taps[k] * math.tanh(3.0 * (past - 0.5))
        out[2 * way] = crowding(basis_bps, rate_z[count - 1], oi_z[count - 1], side)
        out[2 * way + 1] = total


@njit(cache=True, error_model="numpy")
def lead(
    base: Floats,
    close: Floats,
    own_atr: float,
    oi_24h: float,
    flow: float,
    slow: Floats,
    side: float,
) -> float:
    """`positioning.lead` at the newest bar; `slow` are the taps of EMA30."""
    i, last = close.shape[0] - 1, base.shape[0] - 1
    surge = 50.0 * (mean(base, last, 5) / mean(base, last, 20) - 1.0)
    total = weight = 0.0
    for share, part in (
        (0.4, 500.0 * oi_24h),
        (0.3, surge),
        (0.3, side * 1000.0 * flow),
    ):
        if part == part:
            total += share * clip(part, -100.0, 100.0)
            weight += share
    money = total / weight if weight > 0.0 else np.nan
    scale = own_atr if own_atr > 0.0 else np.nan
    slope = (dot(close, i, slow) - dot(close, i - 6, slow)) / (6.0 * scale)
    move = clip(500.0 * (close[i] - close[i - 24]), -100.0, 100.0)
    price = 0.6 * move + 40.0 * math.tanh(slope / 0.2)
    return 100.0 * math.tanh((money - side * price) / 60.0)


@njit(cache=True, error_model="numpy")
def short_bars(bars: Floats, end: int, taps: tuple[Floats, ...], out: Floats) -> None:
    """Signs of T, M and C and, for 15m, the parts of `context.micro` that need no hour.

    Signs, ATR, CVD, closes above EMA10 of the last 8, v3/v20, the last change of volume, and the
    distances to the high and low of 8 bars; `taps` as in `raw_factors`, and EMA10.
    """
    count = SHORT_BARS
    high, low, close, base = np.empty(count), np.empty(count), np.empty(count), np.empty(count)
    net, traded = np.empty(30), np.empty(30)
    logs(bars[1], end, count, high)
    logs(bars[2], end, count, low)
    logs(bars[3], end, count, close)
    newest(bars[4], end, count, base)
    flows(bars, end, 30, net, traded)
    i = count - 1
    own, flow = atr(high, low, close, i, taps[3]), cvd(net, traded, 29)
    out[0] = sign(trend(close, i, own, (taps[0], taps[1], taps[2])))
    out[1] = sign(momentum(close, i, own, taps[0]))
    out[2] = sign(flow)
    out[3], out[4], out[5] = own, flow, 0.0
    for j in range(i - 7, i + 1):
        out[5] += sign(close[j] - dot(close, j, taps[6]))
    out[6] = mean(base, i, 3) / mean(base, i, 20)
    out[7] = base[i] / base[i - 1] - 1.0
    top, bottom = extremes(high, low, i, 8)
    out[8], out[9], out[10] = top - close[i], close[i] - bottom, close[i]


@njit(cache=True, error_model="numpy")
def micro(found: Floats, atr_1h: float, out: Floats) -> None:
    """`context.micro` from the parts of `short_bars`: votes up and down, ATR ratio, v3/v20."""
    above, ratio, last = found[5], found[6], abs(found[7])
    steady = 0.8 <= ratio <= 2.2 and 0.05 <= last <= 0.8
    near = 0.25 * atr_1h
    is_unknown = above != above or found[10] != found[10]
    held = 1.0 if steady else 0.0
    up = held + (1.0 if above >= 4.0 else 0.0) + (1.0 if found[4] > 0.0 else 0.0)
    down = held + (1.0 if above <= -4.0 else 0.0) + (1.0 if found[4] < 0.0 else 0.0)
    up += 1.0 if found[9] <= near else 0.0
    down += 1.0 if found[8] <= near else 0.0
    out[0], out[1] = (np.nan, np.nan) if is_unknown else (up, down)
    out[2], out[3] = found[3] / atr_1h, ratio


@njit(cache=True, error_model="numpy")
def coherence(signs: Floats) -> tuple[float, float]:
    """`context.coherence`."""
    number = up = down = 0.0
    for value in signs:
        number += value == value
        up += value > 0.0
        down += value < 0.0
    return (up / number, down / number) if number > 0.0 else (np.nan, np.nan)


@njit(cache=True, error_model="numpy")
def breadth(trend: Floats) -> tuple[float, float]:
    """Shares of the known T of the market above and below zero."""
    return coherence(trend)


@njit(cache=True, error_model="numpy")
def room(
    price: tuple[Floats, Floats, Floats],
    own_atr: float,
    breakout_atr: float,
    open_room: float,
    out: Floats,
) -> None:
    """Room up and down, pivots of 12 bars, extremes of 72 (`around._extremes`)."""
    high, low, close = price
    i = close.shape[0] - 1
    scale = own_atr if own_atr > 0.0 else np.nan
    top, bottom = extremes(high, low, i - 1, 72)
    up, down = (top - close[i]) / scale, (close[i] - bottom) / scale
    out[0] = open_room if up < -breakout_atr else up
    out[1] = open_room if down < -breakout_atr else down
    for place, width in ((2, 12), (4, 72)):
        top, bottom = extremes(high, low, i, width)
        out[place], out[place + 1] = math.exp(top), math.exp(bottom)


# ---- this moment ----------------------------------------------------------------------------------
@njit(cache=True, error_model="numpy")
def reference_price(bars: Floats, end: int, mark: float) -> float:
    """`now._reference`: VWAP of the last 24 hours, else the newest close, else the mark."""
    if end == 0:
        return mark
    base = quote = 0.0
    for j in range(max(end - 24, 0), end):
        base += bars[4, j] if bars[4, j] == bars[4, j] else 0.0
        quote += bars[5, j] if bars[5, j] == bars[5, j] else 0.0
    if base > 0.0 and quote > 0.0:
        return quote / base
    newest = bars[3, end - 1]
    return newest if newest == newest else mark


@njit(cache=True, error_model="numpy")
def _impact(off: Floats, usdt: Floats, notional: float) -> float:
    """`book.impact_bps`."""
    if off[0] != off[0]:
        return np.nan
    bought = total = cost = 0.0
    last = np.nan
    for j in range(off.shape[0]):
        total += usdt[j] if usdt[j] == usdt[j] else 0.0
        taken = min(total, notional) - bought
        bought += taken
        cost += taken * (off[j] if off[j] == off[j] else 0.0)
        if off[j] == off[j] and not last >= off[j]:
            last = off[j]
    return (cost + (notional - bought) * 2.0 * (last if last == last else 0.0)) / notional


@njit(cache=True, error_model="numpy")
def book_row(
    book: tuple[Floats, Floats, Floats, Floats], reference: float, notional: float, out: Floats
) -> None:
    """`book.read_book` and `liquidity` of one symbol: spread, impacts, OBI, depths, L."""
    levels = book[0].shape[0]
    off, usdt = np.empty((2, levels)), np.empty((2, levels))
    bid, ask = math.log(book[0][0]), math.log(book[2][0])
    middle = 0.5 * (bid + ask)
    total, depth = np.zeros(2), np.zeros(2)
    for j in range(levels):
        off[0, j] = 1e4 * (middle - math.log(book[0][j]))
        off[1, j] = 1e4 * (math.log(book[2][j]) - middle)
        for way in range(2):
            size = book[1 + 2 * way][j]
            usdt[way, j] = size * reference
            total[way] += size if j < 10 and size == size else 0.0
            if off[way, j] <= 40.0 and usdt[way, j] == usdt[way, j]:
                depth[way] += usdt[way, j]
    out[0] = 1e4 * (ask - bid)
    out[1], out[2] = _impact(off[1], usdt[1], notional), _impact(off[0], usdt[0], notional)
    is_known = middle == middle
    out[3] = (total[0] - total[1]) / (total[0] + total[1]) if is_known else np.nan
    out[4], out[5] = (depth[0], depth[1]) if is_known else (np.nan, np.nan)
    spread = clip(1.0 - (out[0] - 2.0) / 23.0, 0.0, 1.0)
    worst = max(out[1], out[2]) + 0.0 * (out[1] + out[2])
    impact = clip(1.0 - (worst - 1.0) / 9.0, 0.0, 1.0)
    balance = clip(1.0 - (abs(out[3]) - 0.30) / 0.40, 0.0, 1.0)
    cover = min(1.0, min(out[4], out[5]) / 1_000_000.0) + 0.0 * (out[4] + out[5])
    out[6] = 100.0 * (0.25 * spread + 0.40 * impact + 0.20 * balance + 0.15 * cover)


@njit(cache=True, error_model="numpy")
def _points(x: float, neutral: float) -> float:
    """`positioning._piecewise`."""
    size = abs(x) / neutral
    points = 33.0 * size if size <= 1.0 else 33.0 + 67.0 * (size - 1.0)
    return x * 0.0 + math.copysign(min(points, 100.0), x)


@njit(cache=True, error_model="numpy")
def basis_points(basis_bps: float, funding: float) -> float:
    """`positioning.basis_funding`."""
    basis, rate = _points(basis_bps, 50.0), _points(funding, 0.001)
    if basis != basis:
        return rate
    return basis if rate != rate else 0.6 * basis + 0.4 * rate


@njit(cache=True, error_model="numpy")
def funding_pressure(funding: float, next_ms: float, moment_ms: float, limits: Floats) -> float:
    """`positioning.funding_pressure` at `now.until_funding`; `limits` are window and rate."""
    eight = 28_800_000.0
    ahead = next_ms - moment_ms
    if ahead != ahead:
        ahead = eight - moment_ms % eight
    near = 0.0 if ahead < 0.0 else clip(1.0 - ahead / limits[0], 0.0, 1.0)
    return funding / limits[1] * near


@njit(cache=True, error_model="numpy")
def boosted(basis_funding: float, fwi: float, limits: Floats) -> float:
    """`positioning.boosted`; `limits` as above, then the limit and the boost."""
    pressed = 0.0 if fwi != fwi else fwi
    lift = limits[3] * clip(pressed / limits[2], -1.0, 1.0)
    return clip(basis_funding + lift, -100.0, 100.0)


@njit(cache=True, error_model="numpy")
def large_trades(tape: Floats) -> float:
    """`flow.large_trades`; `tape` are large, all and forced flow, bought and sold of each."""
    large, flow = tape[0] + tape[1], tape[2] + tape[3]
    if (large + flow) != (large + flow):
        return np.nan
    tilt = (tape[0] - tape[1]) / large if large > 0.0 else 0.0
    weight = min(1.0, 10.0 * large / flow) if flow > 0.0 else 0.0
    bought = tape[4] if tape[4] == tape[4] else 0.0
    sold = tape[5] if tape[5] == tape[5] else 0.0
    pressed = (bought - sold) / (bought + sold) if bought + sold > 0.0 else 0.0
    return 80.0 * tilt * weight + 20.0 * pressed


# ---- the row -------------------------------------------------------------------------------------
@njit(cache=True, error_model="numpy")
def market(
    btc: Floats,
    eth: Floats,
    there: Ints,
    end: int,
    count: int,
    taps: tuple[Floats, ...],
    one: Floats,
    two: Floats,
    out: Floats,
) -> None:
    """What every row reads of BTC and ETH: trends and regime into `out`, centred returns of the
    newest `count` windows into `one` and `two`. `there` says which of the two there is."""
    width = count + 24
    close = np.empty(width)
    two[:] = 0.0
    out[0] = out[1] = np.nan
    if there[0]:
        logs(btc[3], end, width, close)
        returns_of(close, width - 1, count, one)
        out[0] = market_trend(btc, end, taps)
    if there[1]:
        logs(eth[3], end, width, close)
        returns_of(close, width - 1, count, two)
        out[1] = market_trend(eth, end, taps)
    both = 0.7 * out[0] + 0.3 * out[1]
    out[2] = both if both == both else (out[1] if out[0] != out[0] else out[0])


@njit(cache=True, error_model="numpy")
def _spot(bars: Floats, base_ms: int, first_ms: int, net: Floats, size: Floats) -> None:
    """`catalogue._spot` of one row, hourly from `first_ms` on."""
    for j in range(net.shape[0]):
        at = (first_ms + j * _HOUR - base_ms) // _HOUR
        net[j] = size[j] = np.nan
        if 0 <= at < bars.shape[1]:
            size[j] = bars[4, at]
            net[j] = 2.0 * bars[7, at] - size[j]


@njit(cache=True, error_model="numpy")
def _mixed(
    flow: tuple[Floats, Floats], spot: tuple[Floats, Floats], net: Floats, traded: Floats
) -> None:
    """Flow of futures with that of spot beside it."""
    count, ahead = net.shape[0], spot[0].shape[0] - net.shape[0]
    for j in range(count):
        own, size = spot[0][ahead + j], spot[1][ahead + j]
        is_known = own == own
        net[j] = flow[0][j] + (own if is_known else 0.0)
        traded[j] = flow[1][j] + (size if is_known and size == size else 0.0)


@njit(cache=True, error_model="numpy")
def scores(
    hours: Floats,
    end: int,
    span: int,
    slot: int,
    price: tuple[Floats, Floats, Floats],
    flow: tuple[Floats, Floats],
    beside: tuple[Floats, Floats, Floats],
    kept: Floats,
    strips: tuple[Floats, Floats, Floats],
    kept_stops: Ints,
    stages: tuple[Floats, Floats, Floats, Floats],
    stops: Ints,
    chain_taps: tuple[Floats, Floats],
    own: Floats,
    floors: Floats,
    own_facts: Floats,
    taps: tuple[Floats, ...],
    out: Floats,
) -> int:
    """The six factors of closed bars; `beside` are open interest and spot, empty where there is
    none. Answers the bars that were new, or −1 where too many changed for the kept stages."""
    fresh = spoiled(kept, kept_stops[0], hours, end, span, stops[8])
    for k in range(3):
        if beside[k].shape[0]:
            fresh = max(fresh, differing(strips[k], kept_stops[1 + k], beside[k], stops[8]))
    if fresh > FRESH_MAX:
        return -1
    raw = np.empty((FACTORS, fresh))
    if fresh:
        base = np.empty(fresh + 25)
        newest(hours[4], end, base.shape[0], base)
        both = flow
        if beside[1].shape[0]:
            both = np.empty(flow[0].shape[0]), np.empty(flow[0].shape[0])
            _mixed(flow, (beside[1], beside[2]), both[0], both[1])
        quote = np.empty(fresh + 23)
        newest(hours[5], end, quote.shape[0], quote)
        raw_factors(price, base, quote, both, flow, beside[0], own_facts, taps, raw)
    score_row(raw, slot, stages, stops, chain_taps, own, floors, out)
    return fresh


@njit(cache=True, error_model="numpy")
def around(
    bars: tuple[Floats, Floats, Floats, Floats, Floats, Floats],
    ends: Ints,
    price: tuple[Floats, Floats, Floats],
    own_atr: float,
    flow: float,
    of_market: Floats,
    shared: Floats,
    breakout_atr: float,
    open_room: float,
    taps: tuple[Floats, ...],
    out: Floats,
) -> None:
    """`ctx.close` to `ctx.micro_volume_ratio`; what is known of the newest bar and of the symbol
    stands in `out` already. An end of −1 is an interval without an axis."""
    high, low, close = price
    i = close.shape[0] - 1
    out[0], out[1] = math.exp(close[i]), own_atr
    out[2] = adx(high, low, close, i, 120)
    out[3] = math.exp(dot(close, i, taps[6]))
    room(price, own_atr, breakout_atr, open_room, out[4:10])
    for k in range(6):
        out[10 + k] = float(known(bars[k][3], ends[k])) if ends[k] >= 0 else 0.0
    out[22], out[23] = shared[0], shared[2]
    out[24], out[25] = breadth(of_market)
    signs = np.full(12, np.nan)
    signs[3] = sign(trend(close, i, own_atr, (taps[0], taps[1], taps[2])))
    signs[4] = sign(momentum(close, i, own_atr, taps[0]))
    signs[5] = sign(flow)
    found = np.full(11, np.nan)
    out[28:32] = np.nan
    for place, k in enumerate((H15, H1, H4, D1)):
        if k == H1 or ends[k] < 0:
            continue
        short_bars(bars[k], ends[k], taps, found)
        signs[3 * place : 3 * place + 3] = found[:3]
        if k == H15:
            micro(found, own_atr, out[28:32])
    out[26], out[27] = coherence(signs)


@njit(cache=True, error_model="numpy")
def modulators(
    price: tuple[Floats, Floats, Floats],
    base: Floats,
    own_atr: float,
    flow: float,
    basis_bps: float,
    windows: tuple[Floats, Floats, Floats],
    roles: Ints,
    bands: tuple[Floats, Floats],
    oi: Floats,
    funding: tuple[Ints, Floats],
    close_ms: int,
    funding_taps: Floats,
    funding_floor: float,
    g_taps: Floats,
    slow: Floats,
    out: Floats,
) -> None:
    """`mod.I` to `ctx.oi_24h`; `oi` is empty where there is none, `funding` likewise."""
    count = g_taps.shape[0]
    independence(windows, roles, bands, g_taps, out[0:4])
    rate = np.full(count, np.nan)
    if funding[0].shape[0]:
        first_ms = close_ms - (count - 1) * _HOUR
        funding_z(funding[0], funding[1], first_ms, funding_taps, funding_floor, 2 * _DAY, rate)
    change, oi_z = np.full(count, np.nan), np.full(count, np.nan)
    if oi.shape[0]:
        interest_change(oi, count, change, oi_z)
    crowds(rate, oi_z, basis_bps, g_taps, out[4:8])
    grown = change[count - 1]
    out[8] = lead(base, price[2], own_atr, grown, flow, slow, 1.0)
    out[9] = lead(base, price[2], own_atr, grown, flow, slow, -1.0)
    out[10] = grown


@njit(cache=True, error_model="numpy")
def moment(
    facts: Floats,
    tape: Floats,
    book: tuple[Floats, Floats, Floats, Floats],
    reference: float,
    notional: float,
    own_atr: float,
    moment_ms: float,
    fwi_limits: Floats,
    out: Floats,
) -> None:
    """`ctx.quality` to the ignition columns. `facts` are quality, basis, mark, funding, its next
    time, book age, turnover of the day; a book or a `tape` that is empty is not there."""
    out[0:5] = facts[0:5]
    out[5:14] = np.nan
    out[12], quality = facts[6], np.nan
    if book[0].shape[0]:
        found = np.empty(7)
        book_row(book, reference, notional, found)
        out[5:11], out[11], quality = found[:6], facts[5], found[6]
    out[14] = out[13]
    large = np.nan
    if tape.shape[0]:
        out[13], out[14] = tape[2], tape[3]
        large = large_trades(tape)
    out[15] = funding_pressure(facts[3], facts[4], moment_ms, fwi_limits)
    out[16] = out[17] = quality
    out[18] = out[19] = boosted(basis_points(facts[1], facts[3]), out[15], fwi_limits)
    out[20] = out[21] = large
    percent = 100.0 * own_atr
    scale = notional * (0.1 if percent < 0.1 else percent)
    out[22], out[23] = out[10] / scale, out[9] / scale
    out[24], out[25:] = 0.0, np.nan


@njit(cache=True, error_model="numpy")
def facts_of(slot: int, columns: tuple[Floats, ...], out: Floats) -> None:
    """Quality, basis, mark, funding, its next time, book age, turnover of the day, of one symbol;
    `columns` are quality, mark, index, funding, its next time, book age (empty without books) and
    turnover of all."""
    mark, index = columns[1][slot], columns[2][slot]
    is_known = mark > 0.0 and index > 0.0
    out[0], out[1] = columns[0][slot], 1e4 * math.log(mark / index) if is_known else np.nan
    out[2], out[3], out[4] = mark, columns[3][slot], columns[4][slot]
    out[5] = columns[5][slot] if columns[5].shape[0] else np.nan
    out[6] = columns[6][slot]


@njit(cache=True, error_model="numpy")
def tape_of(slot: int, columns: tuple[Floats, ...]) -> Floats:
    """Large, all and forced flow of one symbol, bought and sold of each; empty without tapes."""
    out = np.full(6 if columns[0].shape[0] else 0, np.nan)
    for k in range(out.shape[0]):
        if columns[k].shape[0]:
            out[k] = columns[k][slot]
    return out


@njit(cache=True, error_model="numpy")
def seen_code(finality: int, source: int, lag_ms: float) -> float:
    """`around.seen` of one bar, NaN where there is none."""
    if finality == 0:
        return np.nan
    lag = _NO_LAG
    if math.isfinite(lag_ms):
        lag = float(round(min(max(lag_ms, -_NO_LAG), _NO_LAG - 1.0)))
    return 32.0 * lag + 4.0 * (source + 1.0) + finality


@njit(cache=True, error_model="numpy")
# long-ok: half of it are the arguments, which compiled code takes one by one
def row(
    slot: int,
    bars: tuple[Floats, Floats, Floats, Floats, Floats, Floats],
    ends: Ints,
    first_ms: int,
    kept: Floats,
    strips: tuple[Floats, Floats, Floats],
    kept_stops: Ints,
    stages: tuple[Floats, Floats, Floats, Floats],
    stops: Ints,
    trend: Floats,
    shared: tuple[Floats, Floats, Floats],
    leaders: Ints,
    oi: tuple[Ints, Floats],
    funding: tuple[Ints, Floats],
    spot: Floats,
    spot_ms: int,
    now: Floats,
    columns: tuple[Floats, ...],
    tapes: tuple[Floats, ...],
    books: tuple[Floats, Floats, Floats, Floats],
    finality: tuple[Codes, ...],
    source: tuple[Codes, ...],
    lags: tuple[Floats, ...],
    chain_taps: tuple[Floats, Floats],
    chain: Floats,
    floors: Floats,
    taps: tuple[Floats, ...],
    more_taps: tuple[Floats, Floats],
    bands: tuple[Floats, Floats],
    limits: Floats,
    out: Floats,
) -> int:
    """All columns of one symbol into `out`; answers as `scores` does, −1 for a coin too young too.

    `first_ms` is the open time of the hours' first bar, `spot_ms` that of spot (−1: no spot),
    `leaders` are the slots of BTC and ETH, `now` the newest hour's open time, the moment and the age
    in hours from which a coin is mature. Of the whole market: `columns` are what `facts_of` takes and
    then the times of listing, the ticks and the Overlay pool; `finality` to `lags` are the newest
    bar's of each interval. `limits` are the floor of funding, the breakout, the open room, the
    probe's notional, the span of bars that a score depends on, the four that `funding_pressure` and
    `boosted` take, and those that `structure` does (the first
    of them is each symbol's own). `ends` are the closed bars of
    each interval, and those of 15m at the newest hour's close.
    """
    age_days = (now[1] - columns[7][slot]) / _DAY
    if age_days * 24.0 < now[2]:
        return -1
    hours, end = bars[H1], ends[H1]
    span = int(limits[4])
    high, low, close = (np.empty(LOG_BARS), np.empty(LOG_BARS), np.empty(LOG_BARS))
    logs(hours[1], end, LOG_BARS, high)
    logs(hours[2], end, LOG_BARS, low)
    logs(hours[3], end, LOG_BARS, close)
    price = (high, low, close)
    net, traded = np.empty(30 + FRESH_MAX), np.empty(30 + FRESH_MAX)
    flows(hours, end, 30 + FRESH_MAX, net, traded)
    interest = np.empty(0)
    if oi[0].shape[0]:
        interest = np.empty(max(span, OI_BARS))
        opened = first_ms + (end - interest.shape[0]) * _HOUR
        as_of(oi[0], oi[1], opened + _HOUR, _HOUR, 2 * _HOUR, interest)
        logs(interest, interest.shape[0], interest.shape[0], interest)
    beside = np.empty(0), np.empty(0)
    if spot_ms >= 0:
        beside = np.empty(span), np.empty(span)
        _spot(spot, spot_ms, first_ms + (end - span) * _HOUR, beside[0], beside[1])
    series = interest[max(interest.shape[0] - span, 0) :], beside[0], beside[1]
    at = FACTORS * (1 + stops[6])
    own_facts = limits[9:].copy()
    own_facts[0] = (now[0] + _HOUR - columns[7][slot]) / _HOUR
    fresh = scores(
        hours,
        end,
        span,
        slot,
        price,
        (net, traded),
        series,
        kept,
        strips,
        kept_stops,
        stages,
        stops,
        chain_taps,
        chain,
        floors,
        own_facts,
        taps,
        out[:at],
    )
    if fresh < 0:
        return fresh
    if ends[6] >= 0:
        first = S_AT * (1 + stops[6]) + 1
        agree(bars[H15], ends[6], stops[6], taps, out[first : first + stops[6]])
    trend[slot] = out[1]
    last = LOG_BARS - 1
    own_atr, flow = atr(high, low, close, last, taps[3]), cvd(net, traded, net.shape[0] - 1)
    out[at + 16], out[at + 17] = finality[H1][slot], lags[H1][slot]
    out[at + 18], out[at + 19], out[at + 20], out[at + 21] = (
        now[0],
        now[1],
        age_days,
        columns[8][slot],
    )
    around(
        bars,
        ends,
        price,
        own_atr,
        flow,
        trend,
        shared[2],
        limits[1],
        limits[2],
        taps,
        out[at : at + 32],
    )
    facts = np.empty(7)
    facts_of(slot, columns, facts)
    roles = np.empty(4, np.int64)
    for k in range(2):
        roles[k], roles[2 + k] = leaders[k] >= 0, slot == leaders[k]
    windows = np.empty((shared[0].shape[0], 24))
    returns_of(close, last, windows.shape[0], windows)
    base = np.empty(20)
    newest(hours[4], end, 20, base)
    modulators(
        price,
        base,
        own_atr,
        flow,
        facts[1],
        (windows, shared[0], shared[1]),
        roles,
        bands,
        interest,
        funding,
        first_ms + end * _HOUR,
        more_taps[1],
        limits[0],
        more_taps[0],
        taps[4],
        out[at + 32 : at + 43],
    )
    reference = reference_price(hours, end, facts[2])
    book = (books[0][slot], books[1][slot], books[2][slot], books[3][slot])
    if not books[0].shape[0]:
        book = (facts[:0], facts[:0], facts[:0], facts[:0])
    tape, last_at = tape_of(slot, tapes), out.shape[0] - 1
    moment(
        facts,
        tape,
        book,
        reference,
        limits[3],
        own_atr,
        now[1],
        limits[5:],
        out[at + 43 : last_at - 6],
    )
    for k in range(6):
        out[last_at - 6 + k] = np.nan
        if ends[k] > 0:
            seen = seen_code(finality[k][slot], source[k][slot], lags[k][slot])
            out[last_at - 6 + k] = seen
    out[last_at] = columns[9][slot] if columns[9].shape[0] else np.nan
    return fresh
