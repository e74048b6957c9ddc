"""The price plan: entry band, stop, two targets (DOMAIN §1.9, §0.7), on log prices.

Computed for the chosen side by mirroring: a short is a long on −ln P.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cryptosignal.domain.params import ParamSet
from cryptosignal.domain.scan import ScanRows
from cryptosignal.signals.score import column, newness

Floats = NDArray[np.float64]


@dataclass(slots=True)
class Plans:
    """[symbol] prices; `risk_log` is ln(entry/stop) on the side's axis, `tp*_log` likewise, all
    positive. NaN where bars are missing."""

    entry_low: Floats
    entry_high: Floats
    stop: Floats
    tp1: Floats
    tp2: Floats
    risk_log: Floats
    tp1_log: Floats
    tp2_log: Floats


def plan(rows: ScanRows, side: Floats, params: ParamSet) -> Plans:
    """Plans for the side of each symbol (+1 long, −1 short)."""
    own = params.plan
    atr = column(rows, "ctx.atr_1h")
    with np.errstate(invalid="ignore", divide="ignore"):
        close = side * np.log(column(rows, "ctx.close"))
        ema = side * np.log(column(rows, "ctx.ema10"))
        low_12, high_12 = (
            np.log(column(rows, "ctx.pivot_low")),
            np.log(column(rows, "ctx.pivot_high")),
        )
        low_72, high_72 = np.log(column(rows, "ctx.low_72")), np.log(column(rows, "ctx.high_72"))
    long = side > 0.0
    pivot = np.where(long, low_12, -high_12)
    extreme = np.where(long, high_72, -low_72)
    room = np.where(long, column(rows, "ctx.room_up_atr"), column(rows, "ctx.room_down_atr"))
    reach = own.anchor_max_atr * atr
    anchor = np.clip(ema, close - reach, close + reach)
    extension = np.clip((close - ema) / np.where(atr > 0.0, atr, np.nan), 0.0, 2.0)
    near = anchor - (own.band_base_atr + own.band_extension * extension) * atr
    far = anchor + own.band_far_atr * atr
    risk = stop_distance(0.5 * (near + far) - pivot, atr, params)
    near, far, risk = _fresh(rows, side, close, reach, (near, far, risk), params)
    entry = 0.5 * (near + far)
    cramped = room < own.cramped_atr
    to_extreme = extreme + np.log1p(-own.extreme_margin_frac) - entry
    second = np.minimum(own.tp2_r * risk, to_extreme)
    second = np.where(cramped, np.maximum(second, own.tp2_cramped_r * risk), second)
    open_room = room >= 9.0
    second = np.where(open_room, own.tp2_r * risk, second)
    second = np.maximum(second, own.tp2_floor_r * own.tp1_r * risk)
    first = own.tp1_r * risk
    low, high = np.exp(side * near), np.exp(side * far)
    return Plans(
        np.minimum(low, high),
        np.maximum(low, high),
        np.exp(side * (entry - risk)),
        np.exp(side * (entry + first)),
        np.exp(side * (entry + second)),
        risk,
        first,
        second,
    )


def _fresh(
    rows: ScanRows,
    side: Floats,
    close: Floats,
    reach: Floats,
    mature: tuple[Floats, Floats, Floats],
    params: ParamSet,
) -> tuple[Floats, Floats, Floats]:
    """Band and stop of a new coin, blended into those of a mature one as it grows up (§1.8).

    Entry at the nearer of AVWAP and ZLEMA5m ± .05 ATR of the minute, no farther from the price than
    a mature band; stop 1.8 ATR of the minute. Where minutes are missing the mature plan stands.
    """
    own, fresh = params.new_coin, newness(rows, params)
    if not (fresh > 0.0).any():
        return mature
    atr = column(rows, "ctx.atr_1m")
    with np.errstate(invalid="ignore", divide="ignore"):
        marks = [side * np.log(column(rows, name)) for name in ("ctx.avwap", "ctx.zlema_5m")]
    near_one, near_two = (np.where(np.isnan(m), np.inf, np.abs(m - close)) for m in marks)
    anchor = np.where(near_one <= near_two, marks[0], marks[1])
    anchor = np.clip(anchor, close - reach, close + reach)
    half = own.entry_atr * atr
    share = np.where(np.isnan(anchor) | ~(atr > 0.0), 0.0, fresh)
    young = (anchor - half, anchor + half, own.stop_atr * atr)
    mixed = [
        np.where(share > 0.0, share * a + (1.0 - share) * b, b)
        for a, b in zip(young, mature, strict=True)
    ]
    return mixed[0], mixed[1], mixed[2]


def stop_distance(to_pivot: Floats, atr: Floats, params: ParamSet) -> Floats:
    """Soft minimum of (pivot12 − 0.1 ATR) and 1.8 ATR, τ 0.1 ATR, never under half an ATR (§0.7)."""
    own = params.plan
    scale = np.where(atr > 0.0, atr, np.nan)
    structure = to_pivot / scale + own.stop_pivot_atr
    tau = own.stop_soft_atr
    low = np.minimum(structure, own.stop_atr)
    high = np.maximum(structure, own.stop_atr)
    soft = low - tau * np.log1p(np.exp(-(high - low) / tau))
    return np.maximum(soft, own.stop_min_atr) * scale
