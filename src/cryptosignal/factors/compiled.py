"""The hot loops of a scan as compiled kernels (numba, the `fast` extra), equal to numpy to 1e-9.

Imported by `kernels.enable` alone, after start-up: importing numba costs 0.75 s. Compiled code is
cached on disk, so that only the first start ever compiles. Division by zero gives what numpy gives.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from cryptosignal.factors.compiled_row import interest_changes, market, row

__all__ = [
    "adx",
    "atr",
    "cvd",
    "extremes",
    "first_difference",
    "interest_changes",
    "known",
    "market",
    "net_share",
    "publish",
    "regress",
    "row",
    "swings",
    "z_of_window",
]

Floats = NDArray[np.float64]

_MEAN_ABS_TO_SIGMA = 1.2533141373155003
_HUBER = 2.5
_CLIPPED_TO_SIGMA = 1.2684


@njit(cache=True, error_model="numpy", fastmath={"reassoc", "contract"})
def _z_of_row(x: Floats, taps: Floats, least: float) -> float:
    """One row without gaps; sums may be reordered, which moves the last bits only."""
    width = x.shape[0]
    total = 0.0
    for j in range(width):
        total += taps[j] * x[j]
    first = total
    total = 0.0
    for j in range(width):
        total += taps[j] * abs(x[j] - first)
    bound = _HUBER * max(_MEAN_ABS_TO_SIGMA * total, least)
    total = 0.0
    for j in range(width):
        total += taps[j] * min(max(x[j] - first, -bound), bound)
    centre = first + total
    total = 0.0
    for j in range(width):
        total += taps[j] * min(abs(x[j] - centre), bound)
    return float((x[width - 1] - centre) / max(_CLIPPED_TO_SIGMA * total, least))


@njit(cache=True, error_model="numpy")
def z_of_window(
    flat: Floats, step: int, taps: Floats, least: Floats, scale_min: int, out: Floats
) -> None:
    """`standardise._z_of_window`, row by row; row r starts at r·`step` of `flat`."""
    width = taps.shape[0]
    for r in range(out.shape[0]):
        x = flat[r * step : r * step + width]
        gaps = 0
        for j in range(width):
            gaps += x[j] != x[j]
        if gaps == 0:
            out[r] = _z_of_row(x, taps, least[r])
            continue
        weight = 0.0
        total = 0.0
        seen = 0
        for j in range(width):
            value = x[j]
            if value == value:
                weight += taps[j]
                total += taps[j] * value
                seen += 1
        newest = x[width - 1]
        if newest != newest or seen < scale_min:
            out[r] = np.nan
            continue
        first = total / weight
        total = 0.0
        for j in range(width):
            value = x[j]
            if value == value:
                total += taps[j] * abs(value - first)
        bound = _HUBER * max(_MEAN_ABS_TO_SIGMA * total / weight, least[r])
        total = 0.0
        for j in range(width):
            value = x[j]
            if value == value:
                total += taps[j] * min(max(value - first, -bound), bound)
        centre = first + total / weight
        total = 0.0
        for j in range(width):
            value = x[j]
            if value == value:
                total += taps[j] * min(abs(value - centre), bound)
        spread = max(_CLIPPED_TO_SIGMA * total / weight, least[r])
        out[r] = (newest - centre) / spread


@njit(cache=True, error_model="numpy")
# deep-ok: a compiled kernel is its loops; a call a step would cost more than the step
def publish(
    instant: Floats, width: int, lags: int, alpha: float, max_step: float, flip: float, out: Floats
) -> None:
    """`standardise.publish`, row by row; `instant` has width + lags − 1 columns."""
    for r in range(instant.shape[0]):
        for lag in range(lags):
            state = 0.0
            sign = 0.0
            for j in range(width):
                value = instant[r, j + lag]
                if value != value:
                    continue
                moved = state + min(max(alpha * (value - state), -max_step), max_step)
                turned = 1.0 if moved > 0.0 else (-1.0 if moved < 0.0 else 0.0)
                if turned * sign < 0.0 and abs(value) < flip:
                    state = 0.0
                    continue
                state = moved
                if turned != 0.0:
                    sign = turned
            newest = instant[r, width + lag - 1]
            out[r, lag] = state if newest == newest else np.nan


@njit(cache=True, error_model="numpy")
# deep-ok: a compiled kernel is its loops; a call a step would cost more than the step
def swings(
    close: Floats, turn: Floats, width: int, leg: Floats, pivots: Floats, age: Floats
) -> None:
    """`structure.swings`, window by window."""
    rows, count = turn.shape
    for r in range(rows):
        for k in range(count):
            way, since = 0.0, 0.0
            top, bottom = -math.inf, math.inf
            p1 = p2 = p3 = p4 = np.nan
            limit = turn[r, k]
            for j in range(width):
                price = close[r, k + j]
                since += 1.0
                if price == price:
                    top = max(top, price)
                    bottom = min(bottom, price)
                else:
                    continue
                if way >= 0.0 and top - price > limit:
                    if way > 0.0:
                        p4, p3, p2, p1 = p3, p2, p1, top
                        since = 0.0
                    way, top, bottom = -1.0, price, price
                elif way <= 0.0 and price - bottom > limit:
                    if way < 0.0:
                        p4, p3, p2, p1 = p3, p2, p1, bottom
                        since = 0.0
                    way, top, bottom = 1.0, price, price
            leg[r, k], age[r, k] = way, since
            pivots[0, r, k], pivots[1, r, k] = p1, p2
            pivots[2, r, k], pivots[3, r, k] = p3, p4


@njit(cache=True, error_model="numpy")
# deep-ok: a compiled kernel is its loops; a call a step would cost more than the step
def first_difference(
    one: NDArray[np.int64],
    steps: tuple[int, int],
    two: NDArray[np.int64],
    others: tuple[int, int],
    fields: int,
    width: int,
    out: NDArray[np.int64],
) -> bool:
    """First differing column of each row over all fields [field, row, bar]; the width where none.

    Both come as `kernels.flat` gives them, with the steps from field to field and row to row.
    """
    rows = out.shape[0]
    is_same = True
    for r in range(rows):
        out[r] = width
    for f in range(fields):
        for r in range(rows):
            here = f * steps[0] + r * steps[1]
            there = f * others[0] + r * others[1]
            left, right = one[here : here + width], two[there : there + width]
            bits = 0
            for j in range(width):
                bits |= left[j] ^ right[j]
            if bits == 0:
                continue
            is_same = False
            for j in range(out[r]):
                if left[j] != right[j]:
                    out[r] = j
                    break
    return is_same


@njit(cache=True, error_model="numpy")
# deep-ok: a compiled kernel is its loops; a call a step would cost more than the step
def adx(high: Floats, low: Floats, close: Floats, span: int, period: int, out: Floats) -> None:
    """`context.adx`, window by window."""
    rows, count = out.shape
    keep = (period - 1.0) / period
    for r in range(rows):
        for k in range(count):
            plus = minus = scale = value = 0.0
            seen = 0
            for j in range(k + 1, k + span):
                up, down = high[r, j] - high[r, j - 1], low[r, j - 1] - low[r, j]
                decay = 1.0 if j - k - 1 < period - 1 else keep
                plus = decay * plus + (up if up > down and up > 0.0 else 0.0)
                minus = decay * minus + (down if down > up and down > 0.0 else 0.0)
                top, bottom, before = high[r, j], low[r, j], close[r, j - 1]
                # a missing value must stay missing, which max and min do not promise
                scale += (top + bottom + before) * 0.0
                if j - k - 1 < period - 1:
                    continue
                total = plus + minus
                dx = abs(plus - minus) / (total if total > 0.0 else 1.0)
                seen += 1
                value = value + dx / period if seen <= period else keep * value + dx / period
            out[r, k] = 100.0 * value if scale == scale else np.nan


@njit(cache=True, error_model="numpy", fastmath={"reassoc", "contract"})
def regress(
    returns: Floats, btc: int, eth: int, bars: int, b1: Floats, b2: Floats, r2: Floats, rho: Floats
) -> None:
    """`context._regress` and `_correlation` of every row on BTC and ETH, window by window."""
    rows, count = b1.shape
    one, two = np.empty(bars), np.zeros(bars)
    for k in range(count):
        _centre(returns[btc, k : k + bars], one)
        if eth >= 0:
            _centre(returns[eth, k : k + bars], two)
        xx = yy = xy = 0.0
        for j in range(bars):
            xx += one[j] * one[j]
            yy += two[j] * two[j]
            xy += one[j] * two[j]
        wide, tall = xx * 1.05, yy * 1.05
        own = np.empty(bars)
        for r in range(rows):
            _centre(returns[r, k : k + bars], own)
            rx = ry = total = 0.0
            for j in range(bars):
                rx += own[j] * one[j]
                ry += own[j] * two[j]
                total += own[j] * own[j]
            first, second = rx / wide if wide != 0.0 else np.nan, 0.0
            if tall > 0.0 and r != eth:
                det = wide * tall - xy * xy
                first, second = (rx * tall - ry * xy) / det, (ry * wide - rx * xy) / det
            rest = 0.0
            for j in range(bars):
                off = own[j] - first * one[j] - second * two[j]
                rest += off * off
            b1[r, k], b2[r, k] = first, second
            r2[r, k] = 1.0 - rest / total if total > 0.0 else 0.0
            scale = math.sqrt(total * xx)
            rho[r, k] = rx / scale if scale != 0.0 else np.nan


@njit(cache=True, error_model="numpy", fastmath={"reassoc", "contract"})
def _centre(values: Floats, out: Floats) -> None:
    mean = 0.0
    for j in range(values.shape[0]):
        mean += values[j]
    mean /= values.shape[0]
    for j in range(values.shape[0]):
        out[j] = values[j] - mean


@njit(cache=True, error_model="numpy")
def atr(
    high: Floats, low: Floats, close: Floats, steps: tuple[int, int, int], taps: Floats, out: Floats
) -> None:
    """`Panel.atr`, window by window; prices as `kernels.flat` gives them, rows `steps` apart."""
    rows, count = out.shape
    width = taps.shape[0]
    for r in range(rows):
        h = high[r * steps[0] : r * steps[0] + width + count]
        lo = low[r * steps[1] : r * steps[1] + width + count]
        c = close[r * steps[2] : r * steps[2] + width + count]
        for k in range(count):
            out[r, k] = _mean_range(h[k:], lo[k:], c[k:], taps)


@njit(cache=True, error_model="numpy", fastmath={"reassoc", "contract"})
def _mean_range(high: Floats, low: Floats, close: Floats, taps: Floats) -> float:
    total = 0.0
    for j in range(taps.shape[0]):
        before = close[j]
        top = high[j + 1] if high[j + 1] > before else before
        bottom = low[j + 1] if low[j + 1] < before else before
        # a missing value must stay missing, which comparisons do not promise
        total += taps[j] * (top - bottom + (high[j + 1] + low[j + 1]) * 0.0)
    return float(total)


@njit(cache=True, error_model="numpy")
def cvd(net: Floats, turnover: Floats, mean_bars: int, slope_bars: int, out: Floats) -> None:
    """`flow.cvd` from net flow and turnover, row by row."""
    rows, count = out.shape
    width = count + slope_bars - 1
    middle = (slope_bars - 1) / 2.0
    ramp = 0.0
    for j in range(slope_bars):
        ramp += (j - middle) * (j - middle)
    flow = np.empty(width)
    for r in range(rows):
        for k in range(width):
            size = mean = 0.0
            for j in range(k, k + mean_bars):
                size += abs(net[r, j])
                mean += turnover[r, j]
            size, mean = size / mean_bars, mean / mean_bars
            now = net[r, k + mean_bars - 1]
            bound = 3.0 * size
            excess = now - min(max(now, -bound), bound) + size * 0.0
            flow[k] = (now - 0.5 * excess) / mean if mean > 0.0 else np.nan
        for k in range(count):
            level = total = square = lean = 0.0
            for j in range(slope_bars):
                level += flow[k + j]
                total += level
                lean += (j - middle) * level
            mean, level = total / slope_bars, 0.0
            for j in range(slope_bars):
                level += flow[k + j]
                square += (level - mean) * (level - mean)
            slope = lean / ramp
            fitted = slope * slope * ramp / square if square > 0.0 else 0.0
            fitted = min(max(fitted, 0.0), 1.0)
            out[r, k] = slope * (1.0 if fitted >= 0.7 else 0.7 + 0.3 * fitted / 0.7)


@njit(cache=True, error_model="numpy")
def net_share(bars: Floats, steps: tuple[int, int], fields: tuple[int, int], out: Floats) -> None:
    """`flow.net_share` of futures alone: net flow and volume, [2, row, bar]; bars as
    `kernels.flat` gives them, `fields` the places of volume and taker volume."""
    width = out.shape[2]
    for r in range(out.shape[1]):
        here = r * steps[1]
        volume = bars[here + fields[0] * steps[0] : here + fields[0] * steps[0] + width]
        taker = bars[here + fields[1] * steps[0] : here + fields[1] * steps[0] + width]
        for j in range(width):
            out[0, r, j] = 2.0 * taker[j] - volume[j]
            out[1, r, j] = volume[j]


@njit(cache=True, error_model="numpy")
def extremes(
    high: Floats, low: Floats, steps: tuple[int, int], width: int, top: Floats, bottom: Floats
) -> None:
    """Largest and smallest of each window of `width`; NaN if one is missing."""
    rows, count = top.shape
    for r in range(rows):
        for k in range(count):
            h = high[r * steps[0] + k : r * steps[0] + k + width]
            lo = low[r * steps[1] + k : r * steps[1] + k + width]
            most, least, gap, hole = -math.inf, math.inf, 0, 0
            for j in range(width):
                most = h[j] if h[j] > most else most
                least = lo[j] if lo[j] < least else least
                gap += h[j] != h[j]
                hole += lo[j] != lo[j]
            top[r, k] = most if gap == 0 else np.nan
            bottom[r, k] = least if hole == 0 else np.nan


@njit(cache=True, error_model="numpy")
def known(flat: Floats, step: int, width: int, out: Floats) -> None:
    """How many of the first `width` values of each row exist."""
    for r in range(out.shape[0]):
        x = flat[r * step : r * step + width]
        number = 0
        for j in range(width):
            number += x[j] == x[j]
        out[r] = number
