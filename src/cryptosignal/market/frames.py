"""Market stream frames as the venue prints them, decoded late and straight into arrays.

One example of each stands above its struct (BINANCE §4). Unknown fields are skipped; numbers come
as decimal strings. `finite` guards the caches: the venue's "" becomes NaN only where it is allowed.
"""

from __future__ import annotations

import math
from typing import Annotated, Final, TypeVar

import msgspec

UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError)
"""What a decoder raises for bytes that are no frame."""

Frame = TypeVar("Frame")
Moment = Annotated[int, msgspec.Meta(ge=0, lt=10**13)]
"""A time in ms or a trade's number: thirteen digits; tables of trades have room for no more."""


class KlineBody(msgspec.Struct, gc=False):
    """`k` of a kline frame: t open time, f/L first and last trade id, V/Q taker buy base/quote."""

    t: int
    o: float
    c: float
    h: float
    l: float  # noqa: E741 - the venue's letter
    v: float
    n: int
    x: bool
    q: float
    V: float
    Q: float
    f: int = -1
    L: int = -1
    i: str = ""


class KlineData(msgspec.Struct, gc=False):
    """{"e":"kline","E":1,"s":"BTCUSDT","k":{"t":0,"T":59999,"s":"BTCUSDT","i":"1m","f":1,"L":9,
    "o":"1","c":"1","h":"1","l":"1","v":"0","n":9,"x":false,"q":"0","V":"0","Q":"0","B":"0"}}"""

    E: int
    k: KlineBody
    s: str = ""


class KlineFrame(msgspec.Struct, gc=False):
    """A kline in the combined envelope."""

    data: KlineData


class TradeData(msgspec.Struct, gc=False):
    """{"e":"aggTrade","E":1,"s":"BTCUSDT","a":1,"p":"1","q":"1","nq":"1","f":1,"l":1,"T":1,
    "m":true}: m true means that the buyer was the maker, so a taker sold."""

    E: Moment
    a: Moment
    p: float
    q: float
    T: Moment
    m: bool
    s: str = ""


class TradeFrame(msgspec.Struct, gc=False):
    """An aggregate trade in the combined envelope."""

    data: TradeData


class DepthData(msgspec.Struct, gc=False):
    """{"e":"depthUpdate","E":1,"T":1,"s":"BTCUSDT","U":1,"u":2,"pu":0,"b":[["1","2"]],"a":[]};
    a partial book (depth5/10/20) comes under the same event name."""

    E: int
    U: int
    u: int
    pu: int
    b: list[tuple[float, float]]
    a: list[tuple[float, float]]
    T: int = 0


class DepthFrame(msgspec.Struct, gc=False):
    """A book or a book difference in the combined envelope."""

    data: DepthData


class MarkData(msgspec.Struct, gc=False):
    """{"e":"markPriceUpdate","E":1,"s":"BTCUSDT","p":"1","ap":"1","i":"1","P":"1","r":"0.0001",
    "T":1,"st":1}; `r` may be "" (no funding rate)."""

    E: int
    s: str
    p: float
    i: str = ""
    r: str = ""
    T: int = 0
    st: int = 1


class MarkFrame(msgspec.Struct, gc=False):
    """A mark price in the combined envelope."""

    data: MarkData


class MarkArrayFrame(msgspec.Struct, gc=False):
    """`!markPrice@arr`: many marks; TradFi symbols come in a message of their own."""

    data: list[MarkData]


class TickerData(msgspec.Struct, gc=False):
    """{"e":"24hrTicker","E":1,"s":"BTCUSDT","p":"1","P":"1","c":"1","Q":"1","o":"1","h":"1",
    "l":"1","v":"1","q":"1","O":1,"C":1,"F":1,"L":1,"n":1,"st":1} (miniTicker: no P, n, L)."""

    E: int
    s: str
    c: float
    q: float
    P: float = math.nan
    n: int = -1
    L: int = -1
    st: int = 1


class TickerFrame(msgspec.Struct, gc=False):
    """A 24 h ticker in the combined envelope."""

    data: TickerData


class TickerArrayFrame(msgspec.Struct, gc=False):
    """`!ticker@arr`: only the symbols that changed; UM and CM merged, `st` 1 is UM."""

    data: list[TickerData]


class ForceOrderBody(msgspec.Struct, gc=False):
    """`o` of a forced order: S side, ap average price, z filled quantity."""

    s: str
    S: str
    q: float
    p: float
    T: int
    ap: float = 0.0
    z: float = 0.0


class ForceOrderData(msgspec.Struct, gc=False):
    """{"e":"forceOrder","E":1,"o":{"s":"BTCUSDT","S":"SELL","o":"LIMIT","f":"IOC","q":"1","p":"1",
    "ap":"1","X":"FILLED","l":"1","z":"1","T":1},"st":1}"""

    E: int
    o: ForceOrderBody
    st: int = 1


class ForceOrderFrame(msgspec.Struct, gc=False):
    """A forced order in the combined envelope (one object, despite "@arr")."""

    data: ForceOrderData


class BestData(msgspec.Struct, gc=False):
    """{"e":"bookTicker","u":1,"E":1,"T":1,"s":"BTCUSDT","b":"1","B":"2","a":"3","A":"4"}"""

    s: str
    b: float
    B: float
    a: float
    A: float
    u: int = 0
    E: int = 0


class BestFrame(msgspec.Struct, gc=False):
    """The best bid and ask in the combined envelope."""

    data: BestData


class HeadKline(msgspec.Struct, gc=False):
    """The interval inside `k`."""

    i: str = ""


class Head(msgspec.Struct, gc=False):
    """What tells the stream of a raw (un-enveloped) frame."""

    e: str = ""
    s: str = ""
    k: HeadKline | None = None
    o: msgspec.Raw | None = None


class Envelope(msgspec.Struct, gc=False):
    """Any combined frame, in any order of keys."""

    stream: str
    data: msgspec.Raw


class Control(msgspec.Struct, gc=False):
    """A reply to SUBSCRIBE and friends: {"result":null,"id":1} or {"code":2,"msg":"…","id":1}."""

    id: int | str | None = None
    result: msgspec.Raw | None = None
    code: int | None = None
    msg: str = ""
    error: msgspec.Raw | None = None


def _decoder(shape: type[Frame]) -> msgspec.json.Decoder[Frame]:
    return msgspec.json.Decoder(shape, strict=False)


KLINE = _decoder(KlineFrame)
KLINES = _decoder(list[KlineFrame])
TRADES = _decoder(list[TradeFrame])
TRADE = _decoder(TradeFrame)
DEPTH = _decoder(DepthFrame)
MARK = _decoder(MarkFrame)
MARKS = _decoder(list[MarkFrame])
MARK_ARRAY = _decoder(MarkArrayFrame)
TICKER = _decoder(TickerFrame)
TICKER_ARRAY = _decoder(TickerArrayFrame)
FORCE_ORDER = _decoder(ForceOrderFrame)
BEST = _decoder(BestFrame)
HEAD = _decoder(Head)
HEADS = _decoder(list[Head])
ENVELOPE = _decoder(Envelope)
CONTROL = _decoder(Control)


def number(text: str) -> float:
    """A decimal string as float; "" (the venue's "none") as NaN. Raises ValueError otherwise."""
    return float(text) if text else math.nan
