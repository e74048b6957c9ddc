"""The anchor of the ingest benchmark: typed decode of every combined frame, nothing kept."""

import msgspec


class Body(msgspec.Struct, gc=False):
    t: int
    i: str
    o: float
    c: float
    h: float
    l: float  # noqa: E741
    v: float
    n: int
    x: bool
    q: float
    V: float
    Q: float


class Kline(msgspec.Struct, tag_field="e", tag="kline", gc=False):
    E: int
    s: str
    k: Body


class Trade(msgspec.Struct, tag_field="e", tag="aggTrade", gc=False):
    E: int
    s: str
    p: float
    q: float
    T: int
    m: bool


class Depth(msgspec.Struct, tag_field="e", tag="depthUpdate", gc=False):
    E: int
    T: int
    s: str
    U: int
    u: int
    pu: int
    b: list[tuple[float, float]]
    a: list[tuple[float, float]]


class Mark(msgspec.Struct, tag_field="e", tag="markPriceUpdate", gc=False):
    E: int
    s: str
    p: float
    i: float
    r: float
    T: int


class Envelope(msgspec.Struct, gc=False):
    data: Kline | Trade | Depth | Mark


DECODER = msgspec.json.Decoder(Envelope, strict=False)
