"""The table of factors (D4): each row a name, its inputs, how far back it looks, and its formula."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cryptosignal.domain.params import ParamSet
from cryptosignal.factors import flow, positioning, price, structure
from cryptosignal.factors.panel import ATR_BARS, Panel

Floats = NDArray[np.float64]
Compute = Callable[[Panel, ParamSet], Floats]

MAX_LOOKBACK: Final = 140
"""Bars that one raw value may look back, so that value and chain stay within 300 bars (D4)."""
MAX_CROWDED: Final = 0.10
"""More would let a stronger reading score less than a weaker one."""
CVD_CROWDED: Final = 0.10
"""What C loses where the crowd is in already: > p95 −10 %, on either side alike (§1.3 C)."""


@dataclass(frozen=True, slots=True)
class Factor:
    """One direction factor of closed bars: raw values go through the standardisation chain.

    `compute(panel, params)` gives raw values [row, panel.count], each from the last `lookback` bars
    of `interval` and nothing else; NaN is "no data". `floor` is the smallest spread of raw values
    that counts as movement, in `unit`. `inputs` name what it reads: `bars`, `taker`, `spot`, `oi`.
    `crowded` is the share that a score loses beyond the p95 of its own size (`squash`).
    The sign means direction: + for longs, and the mirror of DOMAIN §0.11 must negate it.
    """

    name: str
    unit: str
    inputs: tuple[str, ...]
    interval: str
    lookback: int
    floor: float
    compute: Compute
    source: str = ""
    crowded: float = 0.0


def _span(lookback: int) -> int:
    return max(lookback, ATR_BARS + 1)


BAR_FACTORS: Final[tuple[Factor, ...]] = (
    Factor("T", "points", ("bars",), "1h", _span(price.TREND_LOOKBACK), 5.0,
           lambda panel, params: price.trend(panel), "DOMAIN §1.3 T"),
    Factor("M", "ATR per bar", ("bars",), "1h", _span(price.MOMENTUM_LOOKBACK), 0.01,
           lambda panel, params: price.momentum(panel), "DOMAIN §1.3 M"),
    Factor("C", "share of volume", ("taker", "spot"), "1h", _span(flow.CVD_LOOKBACK), 0.005,
           lambda panel, params: flow.cvd(panel), "DOMAIN §1.3 C", CVD_CROWDED),
    Factor("S", "points of 1", ("bars",), "1h", _span(structure.STRUCTURE_LOOKBACK), 0.05,
           structure.structure, "DOMAIN §1.3 S"),
    Factor("V", "log volume ratio", ("bars",), "1h", price.VOLUME_LOOKBACK, 0.02,
           lambda panel, params: price.volume(panel), "DOMAIN §1.3 V"),
    Factor("O", "OI growth", ("oi", "bars"), "1h", positioning.OI_LOOKBACK, 0.05,
           lambda panel, params: positioning.open_interest(panel), "DOMAIN §1.3 O"),
)  # fmt: skip
"""Factors of closed 1h bars. L, B and Q read the market as it is now and are ±100 by themselves."""


def register_factor(factors: tuple[Factor, ...], factor: Factor) -> tuple[Factor, ...]:
    """The table with one more row, checked: the one way to add a factor of your own.

    Pass the result to `FactorEngine(params, factors)` and give the factor a weight in
    `ParamSet.weights` (all weights total 100). Raises ValueError with a one-line text.
    """
    if any(row.name == factor.name for row in factors) or factor.name in ("L", "B", "Q"):
        raise ValueError(f"factor {factor.name!r}: found twice, allowed: a name of its own")
    if not factor.name.isidentifier():
        raise ValueError(f"factor name: found {factor.name!r}, allowed: letters, digits, _")
    if factor.interval != "1h":
        raise ValueError(f"factor {factor.name}: found interval {factor.interval!r}, allowed: 1h")
    if not 1 <= factor.lookback <= MAX_LOOKBACK:
        raise ValueError(
            f"factor {factor.name}: found lookback {factor.lookback}, allowed: 1 to {MAX_LOOKBACK}"
        )
    if not 0.0 <= factor.crowded <= MAX_CROWDED:
        raise ValueError(
            f"factor {factor.name}: found crowded {factor.crowded:g}, allowed: 0 to {MAX_CROWDED}"
        )
    if not factor.floor > 0.0:
        raise ValueError(f"factor {factor.name}: found floor {factor.floor:g}, allowed: above 0")
    return (*factors, factor)
