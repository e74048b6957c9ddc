"""The hot loops of a scan as compiled kernels (numba, the `fast` extra), equal to numpy to 1e-9.

Imported by `kernels.enable` alone, after start-up: importing numba costs 0.75 s. Compiled code is
cached on disk, so that only the first start ever compiles.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_MEAN_ABS_TO_SIGMA = 1.2533141373155003
_HUBER = 2.5
_CLIPPED_TO_SIGMA = 1.2684


@njit(cache=True, fastmath={"reassoc", "contract"})
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


@njit(cache=True)
def z_of_window(x: Floats, taps: Floats, least: Floats, scale_min: int, out: Floats) -> None:
    """`standardise._z_of_window`, row by row."""
    rows, width = x.shape
    for r in range(rows):
        gaps = 0
        for j in range(width):
            gaps += x[r, j] != x[r, j]
        if gaps == 0:
            out[r] = _z_of_row(x[r], taps, least[r])
            continue
        weight = 0.0
        total = 0.0
        seen = 0
        for j in range(width):
            value = x[r, j]
            if value == value:
                weight += taps[j]
                total += taps[j] * value
                seen += 1
        newest = x[r, width - 1]
        if newest != newest or seen < scale_min:
            out[r] = np.nan
            continue
        first = total / weight
        total = 0.0
        for j in range(width):
            value = x[r, j]
            if value == value:
                total += taps[j] * abs(value - first)
        bound = _HUBER * max(_MEAN_ABS_TO_SIGMA * total / weight, least[r])
        total = 0.0
        for j in range(width):
            value = x[r, j]
            if value == value:
                total += taps[j] * min(max(value - first, -bound), bound)
        centre = first + total / weight
        total = 0.0
        for j in range(width):
            value = x[r, j]
            if value == value:
                total += taps[j] * min(abs(value - centre), bound)
        spread = max(_CLIPPED_TO_SIGMA * total / weight, least[r])
        out[r] = (newest - centre) / spread


@njit(cache=True)
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


@njit(cache=True)
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


@njit(cache=True)
def first_difference(
    one: NDArray[np.int64], two: NDArray[np.int64], out: NDArray[np.int64]
) -> bool:
    """First differing column of each row over all fields [field, row, bar]; the width where none."""
    fields, rows, width = one.shape
    is_same = True
    for r in range(rows):
        out[r] = width
    for f in range(fields):
        for r in range(rows):
            bits = 0
            for j in range(width):
                bits |= one[f, r, j] ^ two[f, r, j]
            if bits == 0:
                continue
            is_same = False
            for j in range(out[r]):
                if one[f, r, j] != two[f, r, j]:
                    out[r] = j
                    break
    return is_same
