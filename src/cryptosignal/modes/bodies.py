"""What faces are shown: the bodies of the snapshots that cross the socket.

A field that is missing, null or NaN is no data and is shown as such.
"""

from __future__ import annotations

from typing import Any, TypedDict


class MarketRow(TypedDict, total=False):
    """One symbol of the market table; `reason` is the first that keeps it from Prime."""

    symbol: str
    price: float
    change_24h_frac: float
    quote_volume_24h: float
    score: float
    side: str
    tier: str
    prime_strength: float
    p: float
    ev: float
    quality: float
    reason: str
    age_s: float


class Connection(TypedDict, total=False):
    """One connection of `health`; `state` is the name of a `ConnectionState`."""

    id: str
    route: str
    state: str
    age_s: float
    frames: int
    streams: int
    lag_ms: float


class Weight(TypedDict, total=False):
    """Request weight of the running UTC minute."""

    used: int
    limit: int
    by_lane: dict[str, int]


class Quality(TypedDict, total=False):
    """DataQual over the active symbols."""

    min: float
    median: float
    below_90: int


class Health(TypedDict, total=False):
    """Body of `health`."""

    connections: list[Connection]
    weight: Weight
    quality: Quality
    api_calls: int
    engine_lag_ms: float


class Run(TypedDict, total=False):
    """Body of `run`; `started` is exchange time in ms, `progress` a line for the time before the
    first scan (what is loaded, how much of it)."""

    mode: str
    account: str
    venue: str
    uptime_s: float
    scans: int
    started: int
    progress: str


class Market(TypedDict, total=False):
    """Body of `market`."""

    rows: list[MarketRow]


class Signals(TypedDict, total=False):
    """Body of `signals`: recently published decisions (`Decision` or its dict), any order."""

    signals: list[Any]


class SymbolView(TypedDict, total=False):
    """What `on_symbol` returns. Candles are `[open_ms, open, high, low, close, base volume]`,
    oldest first; `decision` is a `Decision` or its dict; `explain` its lines; `signals` what was
    published for the symbol (`time_ms`, `side`, `tier`); `words` names gates and factors."""

    symbol: str
    interval: str
    candles: list[list[float]]
    decision: Any
    explain: list[str]
    signals: list[Any]
    words: dict[str, dict[str, str]]
