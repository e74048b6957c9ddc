"""How the venue writes numbers: decimal strings. NaN and Infinity are refused where they are decoded."""

from __future__ import annotations

import math
from typing import Annotated, Final

import msgspec

NUMBER_MAX: Final = 1e300

_DECIMAL: Final = r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,2})?"

Num = Annotated[str, msgspec.Meta(pattern=rf"^{_DECIMAL}\Z")]
"""A decimal string that stays text until it becomes a Decimal (money)."""

NumOrBlank = Annotated[str, msgspec.Meta(pattern=rf"^({_DECIMAL})?\Z")]
"""The same, or an empty string where the venue has no number (`r` of some marks)."""

Finite = Annotated[float, msgspec.Meta(ge=-NUMBER_MAX, le=NUMBER_MAX)]
"""A number or decimal string read as float64 (market data; decoders are lax); the bounds refuse NaN."""


def float_or_nan(text: str) -> float:
    """The number of a `NumOrBlank`, NaN for the empty string: missing is never zero."""
    return float(text) if text else math.nan
