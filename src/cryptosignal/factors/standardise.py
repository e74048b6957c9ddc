"""The standardisation chain (DOMAIN §1.3, 1–5): raw values to scores ±100, per symbol and factor.

Every stage is a function of a fixed number of closed bars, so the whole chain replays at most the
last 300 bars from neutral (D4): restart, batch and any scan cadence give the same numbers, and
scanning twice changes nothing. Centre and spread are exponentially weighted and robust by one
Huber step at 2.5 spreads, scaled so that a normal series has spread 1 (the 1.4826·MAD of §1.3):
unlike a running median it can be computed for any bar alone. Everything is odd: −x gives −score.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cryptosignal.domain.params import ChainParams
from cryptosignal.factors.kernels import compiled_kernels, flat
from cryptosignal.factors.window import decay_taps

Floats = NDArray[np.float64]

_MEAN_ABS_TO_SIGMA = 1.2533141373155003  # sqrt(pi/2): mean |x| of a normal variable is sigma/this
_HUBER = 2.5
_FEW = 4
P95 = 1.959964
"""95 % of a normal variable lie within so many of its sigmas."""
_CROWD_JOIN = 0.75
_CLIPPED_TO_SIGMA = 1.2684  # the same for min(|x|, 2.5 sigma)


def reach(params: ChainParams, lags: int) -> int:
    """How many raw columns the scores of the newest `lags` bars depend on."""
    return params.smooth_taps + params.scale_taps + params.publish_taps + lags - 3


def standardise(
    raw: Floats, floor: float, params: ChainParams, lags: int, crowded: float = 0.0
) -> Floats:
    """Scores ±100 of the newest `lags` bars, [row, lags], from raw values [row, bar].

    `floor` is the smallest spread, in raw units, that the factor treats as movement. A bar without
    raw value has no score (NaN); one without enough history has none either.
    """
    need = reach(params, lags)
    if raw.shape[1] < need:
        front = np.full((raw.shape[0], need - raw.shape[1]), np.nan)
        raw = np.concatenate([front, raw], axis=1)
    instant = squash(robust_z(smooth(raw[:, -need:], params), floor, params), params, crowded)
    return publish(instant, params, lags)


def smooth(raw: Floats, params: ChainParams) -> Floats:
    """(1) EMA pre-smoothing over the values that exist; NaN stays NaN."""
    taps = decay_taps(params.smooth, params.smooth_taps)
    count = raw.shape[1] - len(taps) + 1
    known = ~np.isnan(raw)
    if count <= _FEW and known.all():
        return np.stack([raw[:, k : k + len(taps)] @ taps for k in range(count)], axis=1)
    filled = np.where(known, raw, 0.0)
    total = np.zeros((raw.shape[0], count))
    weight = np.zeros_like(total)
    for j, tap in enumerate(taps):
        total += tap * filled[:, j : j + count]
        weight += tap * known[:, j : j + count]
    return _over(total, weight, known[:, -count:])


def robust_z(x: Floats, floor: Floats | float, params: ChainParams) -> Floats:
    """(2) z = (x − centre)/spread over `scale_taps` bars, the bar itself included."""
    taps = decay_taps(params.eta, params.scale_taps)
    count = x.shape[1] - len(taps) + 1
    if count <= _FEW:
        windows = [x[:, k : k + len(taps)] for k in range(count)]
        return np.stack([_z_of_window(w, taps, floor, params) for w in windows], axis=1)
    return _z_of_lanes(x, taps, floor, params)


def _z_of_window(x: Floats, taps: Floats, floor: Floats | float, params: ChainParams) -> Floats:
    """z of the newest bar of one window [row, tap]: few new bars, all taps at once."""
    least = np.ravel(np.broadcast_to(floor, (len(x), 1)))
    fast = compiled_kernels()
    if fast is not None:
        out = np.empty(len(x))
        line, (step,) = flat(x)
        fast.z_of_window(line, step, taps, np.ascontiguousarray(least), params.scale_min, out)
        return out
    known = ~np.isnan(x)
    if known.all():
        return _z_of_full(x, taps, least)
    filled = np.where(known, x, 0.0)
    share = taps * known
    weight = share.sum(axis=1)
    now = known[:, -1] & (known.sum(axis=1) >= params.scale_min)
    with np.errstate(invalid="ignore", divide="ignore"):
        first = (share * filled).sum(axis=1) / weight
        off = filled - first[:, None]
        size = _MEAN_ABS_TO_SIGMA * (share * np.abs(off)).sum(axis=1) / weight
        bound = (_HUBER * np.maximum(size, least))[:, None]
        centre = first + (share * np.clip(off, -bound, bound)).sum(axis=1) / weight
        rest = np.minimum(np.abs(filled - centre[:, None]), bound)
        spread = np.maximum(_CLIPPED_TO_SIGMA * (share * rest).sum(axis=1) / weight, least)
        return np.where(now, (x[:, -1] - centre) / spread, np.nan)


def _z_of_full(x: Floats, taps: Floats, least: Floats) -> Floats:
    """The same where nothing is missing."""
    first = x @ taps
    off = x - first[:, None]
    size = _MEAN_ABS_TO_SIGMA * (np.abs(off) @ taps)
    bound = _HUBER * np.maximum(size, least)
    wide = bound[:, None]
    centre = first + np.minimum(np.maximum(off, -wide), wide) @ taps
    off = x - centre[:, None]
    spread = _CLIPPED_TO_SIGMA * (np.minimum(np.abs(off, out=off), wide) @ taps)
    return (x[:, -1] - centre) / np.maximum(spread, least)


def _z_of_lanes(x: Floats, taps: Floats, floor: Floats | float, params: ChainParams) -> Floats:
    """The same for many bars at once, tap by tap."""
    count = x.shape[1] - len(taps) + 1
    known = ~np.isnan(x)
    filled = np.where(known, x, 0.0)
    now = known[:, -count:]
    lanes = [(tap, slice(j, j + count)) for j, tap in enumerate(taps)]
    weight = np.zeros((x.shape[0], count))
    total = np.zeros_like(weight)
    seen = np.zeros_like(weight)
    for tap, lane in lanes:
        total += tap * filled[:, lane]
        weight += tap * known[:, lane]
        seen += known[:, lane]
    now = now & (seen >= params.scale_min)
    first = _over(total, weight, now)
    total[:] = 0.0
    for tap, lane in lanes:
        total += tap * np.abs(filled[:, lane] - first) * known[:, lane]
    bound = _HUBER * np.maximum(_MEAN_ABS_TO_SIGMA * _over(total, weight, now), floor)
    total[:] = 0.0
    for tap, lane in lanes:
        total += (
            tap * np.minimum(np.maximum(filled[:, lane] - first, -bound), bound) * known[:, lane]
        )
    centre = first + _over(total, weight, now)
    total[:] = 0.0
    for tap, lane in lanes:
        total += tap * np.minimum(np.abs(filled[:, lane] - centre), bound) * known[:, lane]
    spread = np.maximum(_CLIPPED_TO_SIGMA * _over(total, weight, now), floor)
    return (x[:, -count:] - centre) / spread


def squash(z: Floats, params: ChainParams, crowded: Floats | float = 0.0) -> Floats:
    """(3) soft winsor beyond `z0` towards `z_max`, then (4) 100·tanh(z/τ).

    Beyond the p95 of |z|, which is 1.96 of a spread as the chain measures it, a score loses the
    share `crowded`, joined over 0.75 of a spread so that more is never less; the same on both sides.
    """
    size = np.abs(z)
    beyond = np.maximum(size - params.z0, 0.0)
    room = params.z_max - params.z0
    soft = np.where(
        size > params.z0, params.z0 + room * (1.0 - np.exp(-beyond / params.winsor)), size
    )
    out: Floats = 100.0 * np.tanh(np.copysign(soft, z) / params.tau)
    if np.any(crowded):
        out *= 1.0 - crowded * np.clip((size - P95) / _CROWD_JOIN, 0.0, 1.0)
    return out


def publish(instant: Floats, params: ChainParams, lags: int) -> Floats:
    """(5) the publish filter over `publish_taps` bars from neutral, for the newest `lags` bars.

    Moves by `publish` of the way, at most `max_step` points a bar, and changes sign only where the
    instant score is at least `flip_min` strong. Bars without a score leave it where it was.
    """
    width = params.publish_taps
    instant = instant[:, instant.shape[1] - (width + lags - 1) :]
    fast = compiled_kernels()
    if fast is not None:
        out = np.empty((len(instant), lags))
        fast.publish(instant, width, lags, params.publish, params.max_step, params.flip_min, out)
        return out
    state = np.zeros((instant.shape[0], lags))
    sign = np.zeros_like(state)
    for j in range(width):
        value = instant[:, j : j + lags]
        step = np.minimum(
            np.maximum(params.publish * (value - state), -params.max_step), params.max_step
        )
        moved = state + step
        turned = np.sign(moved)
        held = (turned * sign < 0.0) & (np.abs(value) < params.flip_min)
        known = ~np.isnan(value)
        moved = np.where(held, 0.0, moved)
        state = np.where(known, moved, state)
        sign = np.where(known & ~held & (turned != 0.0), turned, sign)
    return np.where(np.isnan(instant[:, -lags:]), np.nan, state)


def _over(total: Floats, weight: Floats, keep: NDArray[np.bool_]) -> Floats:
    return np.divide(total, weight, out=np.full_like(total, np.nan), where=keep & (weight > 0.0))
