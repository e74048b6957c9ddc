"""The page's numbers: how often it looks, and from when on data count as old."""

from __future__ import annotations

from typing import Final

import msgspec

LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")
"""The only names under which the page is served (RELIABILITY §4); reach it from afar by SSH."""

INTERVALS: Final = ("1m", "5m", "15m", "1h", "4h", "1d")
"""Candle intervals offered for one symbol."""


class PageSettings(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """Seconds are wall time. `silent_s`: the engine counts as not answering; `late_s`: it answers
    but its market snapshot is old; `row_late_s`: one symbol's data are old."""

    refresh_s: float = 1.0
    silent_s: float = 3.0
    late_s: float = 5.0
    row_late_s: float = 90.0
    symbol_refresh_s: float = 2.0
    candles_shown: int = 120
    signals_shown: int = 40
    quality_floor: float = 0.90

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            if getattr(self, name) <= 0:
                raise ValueError(f"web.{name}: found {getattr(self, name)}, allowed: above 0")
