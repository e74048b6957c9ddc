"""The risk filters (DOMAIN §1.5, v2.2) and the phases of a new coin (§1.8): what is left of the size.

They say how much may be risked on a signal, not how good it is; 0 means "skip". Symmetric in side.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from cryptosignal.domain.params import ParamSet
from cryptosignal.domain.scan import ScanRows
from cryptosignal.factors.window import filled
from cryptosignal.signals.score import column, first_of, newness

Floats = NDArray[np.float64]

LEVELS: Final = ("low", "medium", "high")


def size_left(rows: ScanRows, side: Floats, params: ParamSet) -> Floats:
    """Share of the planned size, 0–1, [symbol]: spread × |funding| × FWI × phase of a new coin ×
    Overlay.

    A value that is missing takes nothing away here: its own gate fails closed.
    """
    spread = filled(column(rows, "ctx.spread_bps"))
    own = params.risk
    by_spread = first_of(
        [spread > own.spread_skip_bps, spread > own.spread_wide_bps, spread > own.spread_mild_bps],
        [0.0, own.spread_wide, own.spread_mild],
        1.0,
    )
    rate = np.abs(filled(column(rows, "ctx.funding_rate")))
    by_rate = first_of(
        [rate > own.funding_high_frac, rate > own.funding_mild_frac],
        [own.funding_high, own.funding_mild],
        1.0,
    )
    pressed = side * filled(column(rows, "ctx.fwi"))
    by_pressure = first_of(
        [pressed > own.fwi_limit, pressed < -own.fwi_limit], [own.fwi_same, own.fwi_opposite], 1.0
    )
    by_pool = np.where(in_overlay(rows), own.overlay, 1.0)
    out: Floats = by_spread * by_rate * by_pressure * phase(rows, params) * by_pool
    return out


def in_overlay(rows: ScanRows) -> NDArray[np.bool_]:
    """Members of the Overlay pool (§1.2); nobody where no pool was made."""
    return column(rows, "ctx.is_overlay") > 0.0


def phase(rows: ScanRows, params: ParamSet) -> Floats:
    """×.3/.5/.7/1.0 by minutes since listing; a coin of unknown age has left its phases (§1.8)."""
    own = params.new_coin
    minutes = filled(column(rows, "ctx.age_days") * 1440.0, nan=np.inf)
    edges = (own.watch_only_minutes, own.careful_minutes, own.main_minutes)
    return first_of([minutes < edge for edge in edges], own.phase_risk[:3], own.phase_risk[3])


def level(left: float, params: ParamSet) -> str:
    """`low`, `medium` below `medium_below`, `high` below `high_below`."""
    own = params.risk
    if left < own.high_below:
        return LEVELS[2]
    return LEVELS[1] if left < own.medium_below else LEVELS[0]


AGES: Final = ("ultra-new", "new, first week", "new", "mature")


def age_class(hours: float, params: ParamSet) -> str:
    """In words what a coin listed `hours` ago is treated as; of unknown age: mature (§3.22)."""
    edges = params.new_coin.tier_edges_hours
    for word, edge in zip(AGES, edges, strict=False):
        if hours < edge:
            return word
    return AGES[-1]


def careful(rows: ScanRows, params: ParamSet) -> Floats:
    """What a coin in its first minutes must show above p_min (§1.8: 3–8 min a higher threshold)."""
    own = params.new_coin
    minutes = filled(column(rows, "ctx.age_days") * 1440.0, nan=np.inf)
    return np.where(minutes < own.careful_minutes, own.careful_p, 0.0)


def fresh_prime(rows: ScanRows, params: ParamSet) -> NDArray[np.bool_]:
    """Symbols that count as new coins where only so many may be Prime at once (§1.4)."""
    return newness(rows, params) >= 0.5
