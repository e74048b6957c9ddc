"""Market facts as the venue prints them, in our words; prices are floats here (caches, factors)."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class Finality(StrEnum):
    """How sure a bar is (DESIGN D7)."""

    PROVISIONAL = "provisional"
    CLOSED_BY_TIME = "closed_by_time"
    CONFIRMED = "confirmed"


class BarSource(StrEnum):
    """Where a bar's final values came from."""

    STREAM = "stream"
    NEXT_BAR = "next_bar"
    CLOCK = "clock"
    REST = "rest"
    LOCAL_SUM = "local_sum"
    DISK = "disk"


class Bar(msgspec.Struct, frozen=True, gc=False):
    """One candle. Volumes are in base units, `*_quote` in USDT, times UTC ms of the exchange."""

    open_ms: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    quote_volume: float
    trades: int
    taker_buy_volume: float
    taker_buy_quote: float
    is_closed: bool = True


class MarkPrice(msgspec.Struct, frozen=True, gc=False):
    """Mark, index and funding of a symbol; `funding_rate` is NaN where the venue sends \"\"."""

    symbol: str
    event_ms: int
    mark: float
    index: float
    funding_rate: float
    next_funding_ms: int
