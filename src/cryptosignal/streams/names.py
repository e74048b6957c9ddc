"""Stream names: what they carry, of which symbol (BINANCE §1 routing table, §4)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from cryptosignal.ground.units import INTERVAL_MS

KLINE: Final = "kline"
TRADE: Final = "aggTrade"
PARTIAL: Final = "partial"
DIFF: Final = "diff"
MARK: Final = "mark"
MARK_ARRAY: Final = "mark_array"
TICKER: Final = "ticker"
TICKER_ARRAY: Final = "ticker_array"
FORCE_ORDER: Final = "force_order"
BEST: Final = "best"
OTHER: Final = "other"

MARK_ARRAY_STREAM: Final = "!markPrice@arr@1s"
TICKER_ARRAY_STREAM: Final = "!ticker@arr"
FORCE_ORDER_STREAM: Final = "!forceOrder@arr"
CONTRACT_STREAM: Final = "!contractInfo"
ON_OCCASION: Final = frozenset({FORCE_ORDER_STREAM, CONTRACT_STREAM})
"""Whole-market streams that say nothing for hours while all is well."""
MARKET_CANARY: Final = "btcusdt@markPrice@1s"
PUBLIC_CANARY: Final = "btcusdt@bookTicker"
"""Streams that always speak: silence of a canary means a dead connection (DOMAIN §0.21)."""

CADENCE_MS: Final = {
    MARK: 3_000,
    MARK_ARRAY: 3_000,
}
"""Kinds that the venue sends on a timer whatever happens; all others speak only when trades do: also
`!ticker@arr`, whose timer sends only the symbols that changed, and nothing if none did."""


class StreamName(NamedTuple):
    """A parsed stream name; `symbol` is upper case, \"\" for whole-market streams."""

    kind: str
    symbol: str
    interval: str = ""


def parse(name: str) -> StreamName:
    """What `name` carries; names unknown to us are `OTHER`, never an error."""
    head, _, tail = name.partition("@")
    if head.startswith("!"):
        kind = _ALL_MARKET.get(head, OTHER)
        return StreamName(kind if tail.startswith("arr") or kind == OTHER else OTHER, "")
    symbol = head.upper()
    if tail.startswith("kline_"):  # a month has no fixed length: its bars are not cached
        interval = tail[6:]
        return StreamName(KLINE if interval in INTERVAL_MS else OTHER, symbol, interval)
    what, _, _ = tail.partition("@")
    if what.startswith("depth"):
        return StreamName(DIFF if what == "depth" else PARTIAL, symbol)
    return StreamName(_BY_TAIL.get(what, OTHER), symbol)


def cadence_ms(name: str) -> int:
    """Milliseconds between frames of a stream that the venue sends by the clock, 0 for the others."""
    kind = parse(name).kind
    if kind in (MARK, MARK_ARRAY) and name.endswith("@1s"):
        return 1_000
    return CADENCE_MS.get(kind, 0)


def kline(symbol: str, interval: str) -> str:
    """The kline stream of a symbol in any case."""
    return f"{symbol.lower()}@kline_{interval}"


def create_combined_streams(
    symbols: Iterable[str], intervals: Iterable[str] = ("1m",), extra: Iterable[str] = ()
) -> list[str]:
    """Stream names of `symbols` × `intervals`, then `symbols` × `extra` ("aggTrade", "depth20")."""
    listed = [symbol.lower() for symbol in symbols]
    names = [kline(symbol, interval) for symbol in listed for interval in intervals]
    return names + [f"{symbol}@{suffix}" for symbol in listed for suffix in extra]


_ALL_MARKET: Final = {
    "!markPrice": MARK_ARRAY,
    "!ticker": TICKER_ARRAY,
    "!forceOrder": FORCE_ORDER,
}
_BY_TAIL: Final = {
    "aggTrade": TRADE,
    "markPrice": MARK,
    "ticker": TICKER,
    "forceOrder": FORCE_ORDER,
    "bookTicker": BEST,
}
