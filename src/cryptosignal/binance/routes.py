"""Where things live at the venue: base URLs, the three WebSocket routes, stream URLs (BINANCE §1).

One connection carries one route; a stream asked for on the wrong route is acknowledged and silent.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, Literal
from urllib.parse import quote

import msgspec

Route = Literal["public", "market", "private"]

STREAMS_PER_CONNECTION_MAX: Final = 1024
"""The venue's own limit since 2025-07-02 (BINANCE §3)."""

USER_EVENTS: Final = (
    "ORDER_TRADE_UPDATE",
    "TRADE_LITE",
    "ACCOUNT_UPDATE",
    "ALGO_UPDATE",
    "ALGO_ORDER_UPDATE",
    "ACCOUNT_CONFIG_UPDATE",
    "MARGIN_CALL",
    "listenKeyExpired",
)
"""Asked for by name on the private route: without a list some hosts deliver nothing (BINANCE §1).
The filter name of algo events is unconfirmed, so both spellings are asked for (BINANCE §8.1)."""

_PUBLIC_KINDS: Final = ("bookTicker", "depth", "rpiDepth", "trade")


class Routes(msgspec.Struct, frozen=True, gc=False):
    """Base URLs of one venue, without trailing slashes. `spot_url` may be empty: no spot part."""

    rest_url: str
    ws_url: str
    ws_api_url: str = ""
    spot_url: str = ""
    sapi_url: str = ""
    name: str = "custom"

    def __post_init__(self) -> None:
        for key, allowed in _URL_SCHEMES.items():
            value = getattr(self, key)
            if value and not value.startswith(allowed):
                raise ValueError(f"{key}: found {value!r}, allowed: {' or '.join(allowed)}…")
            if value.endswith("/"):
                raise ValueError(f"{key}: found {value!r}, allowed: no slash at the end")
        if not self.rest_url or not self.ws_url:
            raise ValueError("rest_url and ws_url: found nothing, allowed: a base URL each")

    def combined_url(self, route: Route, streams: Sequence[str]) -> str:
        """`…/<route>/stream?streams=a/b`: frames come as `{"stream":…,"data":…}`."""
        _require_one_route(route, streams)
        return f"{self.ws_url}/{route}/stream?streams={_joined(streams)}"

    def raw_url(self, route: Route, streams: Sequence[str]) -> str:
        """`…/<route>/ws/a/b`: frames come without an envelope."""
        _require_one_route(route, streams)
        return f"{self.ws_url}/{route}/ws/{_joined(streams)}"

    def bare_url(self, route: Route) -> str:
        """A combined connection without streams yet: everything follows by SUBSCRIBE."""
        return f"{self.ws_url}/{route}/stream"

    def private_url(self, listen_key: str, events: Sequence[str] = USER_EVENTS) -> str:
        """The user-data stream in its query form, events named (BINANCE §1, client rule)."""
        url = f"{self.ws_url}/private/ws?listenKey={quote(listen_key, safe='')}"
        return f"{url}&events={'/'.join(events)}" if events else url

    def build_websocket_url(self, streams: Sequence[str], use_combined: bool = True) -> str:
        """The URL for `streams`, which must share one route; combined or raw frames."""
        routes = {stream_route(name) for name in streams}
        if len(routes) != 1:
            raise ValueError(f"streams must share one route, found {sorted(routes)}")
        route = routes.pop()
        return self.combined_url(route, streams) if use_combined else self.raw_url(route, streams)


_URL_SCHEMES: Final = {
    "rest_url": ("http://", "https://"),
    "spot_url": ("http://", "https://"),
    "sapi_url": ("http://", "https://"),
    "ws_url": ("ws://", "wss://"),
    "ws_api_url": ("ws://", "wss://"),
}

MAINNET: Final = Routes(
    rest_url="https://fapi.binance.com",
    ws_url="wss://fstream.binance.com",
    ws_api_url="wss://ws-fapi.binance.com/ws-fapi/v1",
    spot_url="https://api.binance.com",
    sapi_url="https://api.binance.com",
    name="binance",
)
TESTNET: Final = Routes(
    rest_url="https://demo-fapi.binance.com",
    ws_url="wss://fstream.binancefuture.com",
    ws_api_url="wss://testnet.binancefuture.com/ws-fapi/v1",
    name="testnet",
)


def stream_route(stream: str) -> Route:
    """The route that delivers `stream` (BINANCE §1, routing table).

    >>> stream_route("btcusdt@depth20@100ms"), stream_route("!markPrice@arr@1s")
    ('public', 'market')
    """
    kind = stream[1:] if stream.startswith("!") else stream.partition("@")[2]
    return "public" if kind.startswith(_PUBLIC_KINDS) else "market"


def by_route(streams: Iterable[str]) -> dict[Route, list[str]]:
    """`streams` grouped by the route that delivers them, order kept."""
    groups: dict[Route, list[str]] = {}
    for name in streams:
        groups.setdefault(stream_route(name), []).append(name)
    return groups


def lower_stream(symbol: str, kind: str) -> str:
    """`BTCUSDT`, `kline_1m` -> `btcusdt@kline_1m`; letters outside ASCII stay as they are listed."""
    return f"{symbol.lower()}@{kind}"


def _joined(streams: Sequence[str]) -> str:
    """Stream names for a URL: only what is not ASCII is percent-encoded (Chinese symbols, 2025-10)."""
    return "/".join(quote(name, safe="@!_") for name in streams)


def _require_one_route(route: Route, streams: Sequence[str]) -> None:
    wrong = [name for name in streams if stream_route(name) != route]
    if wrong:
        raise ValueError(f"{wrong[0]} is not delivered on /{route} (it would be silent)")
    if len(streams) > STREAMS_PER_CONNECTION_MAX:
        raise ValueError(
            f"{len(streams)} streams, at most {STREAMS_PER_CONNECTION_MAX} a connection"
        )


def build_websocket_url(streams: Sequence[str], use_combined: bool = True) -> str:
    """The real venue's URL for `streams`, which must share one route; combined or raw frames."""
    return MAINNET.build_websocket_url(streams, use_combined)
