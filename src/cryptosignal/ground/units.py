"""Units and the only two borders between Decimal (money) and float (caches, factors).

Times end in `_ms` (exchange, UTC epoch) or `_ns` (local monotonic), shares in `_frac`, prices of a
basis point in `_bps`, money in `_usdt`. Rounding always names its direction.
"""

from __future__ import annotations

from decimal import ROUND_CEILING, ROUND_DOWN, ROUND_FLOOR, Decimal
from typing import Final

SECOND_MS: Final = 1_000
MINUTE_MS: Final = 60_000
HOUR_MS: Final = 3_600_000
DAY_MS: Final = 86_400_000

INTERVAL_MS: Final[dict[str, int]] = {
    "1m": MINUTE_MS,
    "3m": 3 * MINUTE_MS,
    "5m": 5 * MINUTE_MS,
    "15m": 15 * MINUTE_MS,
    "30m": 30 * MINUTE_MS,
    "1h": HOUR_MS,
    "2h": 2 * HOUR_MS,
    "4h": 4 * HOUR_MS,
    "6h": 6 * HOUR_MS,
    "8h": 8 * HOUR_MS,
    "12h": 12 * HOUR_MS,
    "1d": DAY_MS,
    "3d": 3 * DAY_MS,
    "1w": 7 * DAY_MS,
}
"""Kline intervals with a fixed length (BINANCE.md §2.1; `1M` has none and is not cached).
`1w` opens on Monday: use `open_of`."""

_WEEK_SHIFT_MS: Final = 4 * DAY_MS  # 1970-01-01 was a Thursday; weekly bars open on Monday


def open_of(time_ms: int, interval: str) -> int:
    """Open time (ms) of the bar of `interval` that contains `time_ms`."""
    step = INTERVAL_MS[interval]
    if interval == "1w":
        return (time_ms - _WEEK_SHIFT_MS) // step * step + _WEEK_SHIFT_MS
    return time_ms // step * step


def floor_to_step(value: Decimal, step: Decimal) -> Decimal:
    """`value` rounded towards zero to a multiple of `step`: a size that never grows."""
    return (value / step).to_integral_value(rounding=ROUND_DOWN) * step


def floor_price(value: Decimal, tick: Decimal) -> Decimal:
    """`value` rounded down to a multiple of `tick`."""
    return (value / tick).to_integral_value(rounding=ROUND_FLOOR) * tick


def ceil_price(value: Decimal, tick: Decimal) -> Decimal:
    """`value` rounded up to a multiple of `tick`."""
    return (value / tick).to_integral_value(rounding=ROUND_CEILING) * tick


def decimal_of(value: float) -> Decimal:
    """The shortest decimal that reads back as `value`: the border from floats to money."""
    return Decimal(repr(float(value)))


def plain(value: Decimal) -> str:
    """Decimal without exponent or trailing zeros: the venue refuses scientific notation (-1100)."""
    text = format(value.normalize(), "f")
    return "0" if text in {"-0", ""} else text
