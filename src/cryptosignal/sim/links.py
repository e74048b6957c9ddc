"""WebSocket connections of the venue: routes, subscriptions, control messages (BINANCE §1, §4)."""

from __future__ import annotations

import re
from collections import deque
from typing import Any
from urllib.parse import parse_qsl, unquote

import msgspec

from cryptosignal.sim.klines import INTERVALS

PUBLIC, MARKET, PRIVATE, LEGACY, API, SPOT = (
    "public",
    "market",
    "private",
    "legacy",
    "ws-fapi",
    "spot",
)
METHODS = ("SUBSCRIBE", "UNSUBSCRIBE", "LIST_SUBSCRIPTIONS", "SET_PROPERTY", "GET_PROPERTY")
_DEPTH = re.compile(r"^depth(5|10|20)?(?:@(100|250|500)ms)?$")
_CONTINUOUS = re.compile(
    r"^([^@]+)_(perpetual|tradifi_perpetual|current_quarter|next_quarter)@continuousKline_(\w+)$"
)
_ARRAYS = {
    "!bookTicker": (PUBLIC, "all_book", 5_000),
    "!markPrice@arr": (MARKET, "all_mark", 3_000),
    "!markPrice@arr@1s": (MARKET, "all_mark", 1_000),
    "!miniTicker@arr": (MARKET, "all_mini", 1_000),
    "!ticker@arr": (MARKET, "all_ticker", 1_000),
    "!forceOrder@arr": (MARKET, "all_force", 0),
    "!contractInfo": (MARKET, "contract", 0),
    "!assetIndex@arr": (MARKET, "asset", 1_000),
    "tradingSession": (MARKET, "session", 1_000),
}
_SINGLE = {
    "aggTrade": (MARKET, "agg", 0),
    "markPrice": (MARKET, "mark", 3_000),
    "markPrice@1s": (MARKET, "mark", 1_000),
    "miniTicker": (MARKET, "mini", 2_000),
    "ticker": (MARKET, "ticker", 2_000),
    "forceOrder": (MARKET, "force", 0),
    "compositeIndex": (MARKET, "composite", 1_000),
    "bookTicker": (PUBLIC, "book", 0),
    "trade": (PUBLIC, "trade", 0),
    "rpiDepth@500ms": (PUBLIC, "depth", 500),
}


class StreamKind(msgspec.Struct, frozen=True, gc=False):
    """What a stream name asks for. `index` -1 means all symbols."""

    route: str
    kind: str
    index: int
    period_ms: int = 0
    interval: str = ""
    levels: int = 0


class Link(msgspec.Struct, eq=False):
    """One open connection."""

    number: int
    route: str
    is_combined: bool
    opened_ms: int
    client: str = "local"
    """Address that weight and bans are charged to."""
    names: dict[str, None] = msgspec.field(default_factory=dict)
    keys: dict[str, frozenset[str] | None] = msgspec.field(default_factory=dict)
    """listenKey -> the event types asked for (None: all)."""
    messages: deque[int] = msgspec.field(default_factory=deque)
    api_key: str = ""
    has_rate_limits: bool = True
    is_dead: bool = False
    silent_until_ms: int = 0
    held: list[bytes] = msgspec.field(default_factory=list)
    hold_until_ms: int = 0
    drops_new: bool = False


def parse_stream(name: str, symbols: dict[str, int]) -> StreamKind | None:
    """The meaning of a stream name, None for one that does not exist."""
    array = _ARRAYS.get(name)
    if array:
        return StreamKind(array[0], array[1], -1, array[2])
    matched = _CONTINUOUS.match(name)
    if matched:
        index = symbols.get(matched[1])
        if index is None or matched[3] not in (*INTERVALS, "1s"):
            return None
        return StreamKind(MARKET, "continuous", index, 0, matched[3])
    symbol, _, rest = name.partition("@")
    index = symbols.get(symbol)
    if index is None:
        return None
    single = _SINGLE.get(rest)
    if single:
        return StreamKind(
            single[0], single[1], index, single[2], "", 100 if single[1] == "depth" else 0
        )
    if rest.startswith("kline_") and rest[6:] in INTERVALS:
        return StreamKind(MARKET, "kline", index, 0, rest[6:])
    depth = _DEPTH.match(rest)
    if depth:
        period = int(depth[2] or 250)
        kind = "partial" if depth[1] else "depth"
        return StreamKind(PUBLIC, kind, index, period, "", int(depth[1] or 0))
    return None


class Target(msgspec.Struct, frozen=True):
    """A parsed connection target."""

    route: str
    is_combined: bool
    names: tuple[str, ...]
    keys: tuple[tuple[str, frozenset[str] | None], ...]


def parse_target(target: str) -> Target | None:
    """Route, mode and first streams of `path?query`; None for a path that does not exist (404)."""
    path, _, query = target.partition("?")
    parts = [unquote(p) for p in path.split("/") if p]
    if not parts:
        return None
    if parts[0] == "ws-fapi":
        return Target(API, is_combined=False, names=(), keys=()) if parts[1:] == ["v1"] else None
    route = LEGACY
    if parts[0] in (PUBLIC, MARKET, PRIVATE):
        route = parts.pop(0)
    elif parts[0] == "spot":
        route = SPOT
        parts.pop(0)
    if not parts or parts[0] not in ("ws", "stream"):
        return None
    is_combined = parts[0] == "stream"
    pairs = parse_qsl(query, keep_blank_values=True)
    names = [n for n in parts[1:] if n] if not is_combined else []
    names += [n for key, value in pairs if key == "streams" for n in value.split("/") if n]
    if route == PRIVATE:
        return Target(route, is_combined, (), _keys_of(names, pairs))
    return Target(route, is_combined, tuple(names), ())


def _keys_of(
    names: list[str], pairs: list[tuple[str, str]]
) -> tuple[tuple[str, frozenset[str] | None], ...]:
    """listenKeys from the path or the query, with the `events` that follow each."""
    keys: list[tuple[str, frozenset[str] | None]] = [(name, None) for name in names]
    for key, value in pairs:
        if key == "listenKey":
            keys.append((value, None))
        elif key == "events" and keys:
            keys[-1] = (keys[-1][0], frozenset(v for v in value.split("/") if v))
    return tuple(keys)


def control_error(code: int, message: str, request_id: Any = None) -> bytes:
    """The error shape of stream control messages."""
    body: dict[str, Any] = {"error": {"code": code, "msg": message}}
    if request_id is not None:
        body["id"] = request_id
    return msgspec.json.encode(body)


def check_control(payload: bytes) -> tuple[dict[str, Any] | None, bytes]:
    """The decoded control message, or the error to answer (BINANCE §4)."""
    try:
        message = msgspec.json.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None, control_error(3, "Invalid JSON: expected value at line 1 column 1")
    if not isinstance(message, dict):
        return None, control_error(3, "Invalid JSON: expected value at line 1 column 1")
    request_id = message.get("id")
    if "method" not in message:
        column = len(payload)
        return None, control_error(
            2, f"Invalid request: missing field `method` at line 1 column {column}", request_id
        )
    is_id = isinstance(request_id, int) and not isinstance(request_id, bool) and request_id >= 0
    if request_id is not None and not is_id and not _is_text_id(request_id):
        return None, control_error(2, "Invalid request: request ID must be an unsigned integer")
    method = message["method"]
    if method not in METHODS:
        wanted = ", ".join(f"`{m}`" for m in METHODS)
        text = f"Invalid request: unknown variant `{method}`, expected one of {wanted}"
        return None, control_error(2, text, request_id)
    params = message.get("params", [])
    if not isinstance(params, list):
        return None, control_error(2, "Invalid request: params must be an array", request_id)
    return message, b""


def _is_text_id(value: Any) -> bool:
    """Some clients send a UUID string as id; it is echoed as sent (BINANCE §7a)."""
    return isinstance(value, str) and 0 < len(value) <= 36
