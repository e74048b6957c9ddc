"""Market stream messages (BINANCE §4). Numbers arrive as decimal strings and are read as float64.

`E` is the event time and `T` the matching or trade time, both UTC ms. `st` tells USDⓈ-M (1) from
COIN-M (2) in the merged all-market arrays; it is absent on older frames and then means 1.
"""

from __future__ import annotations

import msgspec

from cryptosignal.binance.wire.numbers import Finite, NumOrBlank

Level = tuple[Finite, Finite]
"""`["7403.89","0.002"]`: price, absolute quantity (0 deletes)."""


class _Message(msgspec.Struct, frozen=True, gc=False, tag_field="e"):
    pass


class AggTrade(_Message, frozen=True, gc=False, tag="aggTrade"):
    """`<s>@aggTrade`, 100 ms (BINANCE §4). `m` true: the buyer was the maker, so a seller took.

    `{"e":"aggTrade","E":1771263510195,"a":3141966230,"s":"BTCUSDT","p":"68005.00","q":"2.695",
    "nq":"2.695","f":7297376181,"l":7297376207,"T":1771263510041,"m":true}`
    """

    E: int
    s: str
    p: Finite
    q: Finite
    f: int
    l: int  # noqa: E741 - the venue's letter
    T: int
    m: bool
    a: int = 0
    nq: Finite | None = None
    st: int = 1


class Trade(_Message, frozen=True, gc=False, tag="trade"):
    """`<s>@trade`, undocumented on futures but delivered (BINANCE §1). `X` MARKET, INSURANCE_FUND, ….

    `{"e":"trade","E":1771263510064,"T":1771263510064,"s":"BTCUSDT","t":7297376207,"p":"68005.00",
    "q":"0.100","X":"MARKET","m":true}`
    """

    E: int
    T: int
    s: str
    t: int
    p: Finite
    q: Finite
    m: bool
    X: str = ""


class MarkPriceUpdate(_Message, frozen=True, gc=False, tag="markPriceUpdate"):
    """`<s>@markPrice[@1s]`, also in `!markPrice@arr` (BINANCE §4). `r` may be "": no funding.

    `{"e":"markPriceUpdate","E":1771263510000,"s":"BTCUSDT","p":"68005.80802899","P":"67836.82194783",
    "i":"68035.14043478","r":"-0.00004435","T":1771286400000}`
    """

    E: int
    s: str
    p: Finite
    r: NumOrBlank = ""
    T: int = 0
    i: Finite | None = None
    P: NumOrBlank = ""
    ap: Finite | None = None
    st: int = 1


class KlineBody(msgspec.Struct, frozen=True, gc=False):
    """`k` of a kline message; `f`/`L` are trade ids (-1 without trades), update ids on continuous ones."""

    t: int
    T: int
    i: str
    f: int
    L: int
    o: Finite
    c: Finite
    h: Finite
    l: Finite  # noqa: E741 - the venue's letter
    v: Finite
    n: int
    x: bool
    q: Finite
    V: Finite
    Q: Finite
    s: str = ""
    B: str = ""


class Kline(_Message, frozen=True, gc=False, tag="kline"):
    """`<s>@kline_<i>`, trade-driven, at most every 250 ms (BINANCE §4).

    `{"e":"kline","E":1638747660000,"s":"BTCUSDT","k":{"t":1638747660000,"T":1638747719999,
    "s":"BTCUSDT","i":"1m","f":100,"L":200,"o":"0.0010","c":"0.0020","h":"0.0025","l":"0.0015",
    "v":"1000","n":100,"x":false,"q":"1.0000","V":"500","Q":"0.500","B":"123456"}}`
    """

    E: int
    s: str
    k: KlineBody
    st: int = 1


class ContinuousKline(_Message, frozen=True, gc=False, tag="continuous_kline"):
    """`<pair>_<contractType>@continuousKline_<i>`; interval 1s exists here only (BINANCE §4).

    `{"e":"continuous_kline","E":1654797063312,"ps":"BTCUSDT","ct":"PERPETUAL","k":{"t":…,"i":"15m",…}}`
    """

    E: int
    ps: str
    ct: str
    k: KlineBody
    st: int = 1


class MiniTicker(_Message, frozen=True, gc=False, tag="24hrMiniTicker"):
    """`<s>@miniTicker`, `!miniTicker@arr` (BINANCE §4).

    `{"e":"24hrMiniTicker","E":1654791723970,"s":"BTCUSDT","c":"30180.00","o":"30463.50",
    "h":"30691.90","l":"29900.00","v":"315252.128","q":"9537613226.33"}`
    """

    E: int
    s: str
    c: Finite
    o: Finite
    h: Finite
    l: Finite  # noqa: E741 - the venue's letter
    v: Finite
    q: Finite
    ps: str = ""
    st: int = 1


class Ticker(_Message, frozen=True, gc=False, tag="24hrTicker"):
    """`<s>@ticker`, `!ticker@arr`: only symbols that changed (BINANCE §4). `n` trades in 24 h.

    `{"e":"24hrTicker","E":1654795519583,"s":"BTCUSDT","p":"-139.80","P":"-0.459","w":"30253.31",
    "c":"30289.60","Q":"0.017","o":"30429.40","h":"30691.90","l":"29900.00","v":"315787.324",
    "q":"9553610870.04","O":1654709100000,"C":1654795519576,"F":2340426935,"L":2343353385,"n":2926402}`
    """

    E: int
    s: str
    p: Finite
    P: Finite
    w: Finite
    c: Finite
    Q: Finite
    o: Finite
    h: Finite
    l: Finite  # noqa: E741 - the venue's letter
    v: Finite
    q: Finite
    O: int  # noqa: E741 - the venue's letter
    C: int
    F: int
    L: int
    n: int
    ps: str = ""
    st: int = 1


class BookTicker(_Message, frozen=True, gc=False, tag="bookTicker"):
    """`<s>@bookTicker`, `!bookTicker` (BINANCE §4).

    `{"e":"bookTicker","u":9924360161244,"s":"BTCUSDT","b":"68005.00","B":"2.394","a":"68005.10",
    "A":"0.857","T":1771263510337,"E":1771263510337}`
    """

    u: int
    E: int
    T: int
    s: str
    b: Finite
    B: Finite
    a: Finite
    A: Finite
    ps: str = ""
    st: int = 1


class DepthUpdate(_Message, frozen=True, gc=False, tag="depthUpdate"):
    """`<s>@depth…` diffs and `<s>@depth{5,10,20}…` snapshots under one name (BINANCE §4).

    `{"e":"depthUpdate","E":1771263510140,"T":1771263510139,"s":"BTCUSDT","U":9924360134447,
    "u":9924360146998,"pu":9924360134267,"b":[["68005.00","2.214"]],"a":[["68005.10","0.838"]]}`
    """

    E: int
    T: int
    s: str
    U: int
    u: int
    pu: int
    b: list[Level]
    a: list[Level]
    ps: str = ""
    st: int = 1


class ForceOrderBody(msgspec.Struct, frozen=True, gc=False):
    """`o` of a liquidation: side, quantities, average price, last and cumulative filled quantity."""

    s: str
    S: str
    o: str
    f: str
    q: Finite
    p: Finite
    ap: Finite
    X: str
    l: Finite  # noqa: E741 - the venue's letter
    z: Finite
    T: int
    ps: str = ""
    st: int = 1


class ForceOrder(_Message, frozen=True, gc=False, tag="forceOrder"):
    """`<s>@forceOrder`, `!forceOrder@arr`: the largest liquidation a symbol and second (BINANCE §4).

    `{"e":"forceOrder","E":1654852759373,"o":{"s":"1000LUNCBUSD","S":"SELL","o":"LIMIT","f":"IOC",
    "q":"100","p":"0.0719248","ap":"0.0736000","X":"FILLED","l":"100","z":"100","T":1654852759361}}`
    """

    E: int
    o: ForceOrderBody
    st: int = 1


class Bracket(msgspec.Struct, frozen=True, gc=False):
    """A leverage bracket in `contractInfo`: notional floor and cap, maintenance rate, leverage range."""

    bs: int
    bnf: float
    bnc: float
    mmr: float
    cf: float
    mi: int
    ma: int


class ContractInfo(_Message, frozen=True, gc=False, tag="contractInfo"):
    """`!contractInfo`: listed, changed or settled contracts (BINANCE §4). `cs` is the status.

    `{"e":"contractInfo","E":1669356423908,"s":"IOTAUSDT","ps":"IOTAUSDT","ct":"PERPETUAL",
    "dt":4133404800000,"ot":1569398400000,"cs":"TRADING","bks":[{"bs":1,"bnf":0,"bnc":5000,
    "mmr":0.01,"cf":0,"mi":21,"ma":50}]}`
    """

    E: int
    s: str
    ct: str
    dt: int
    ot: int
    cs: str
    ps: str = ""
    bks: list[Bracket] = []  # msgspec copies an empty default
    st: int = 1


class AssetIndexUpdate(_Message, frozen=True, gc=False, tag="assetIndexUpdate"):
    """`!assetIndex@arr`: multi-assets mode rates (BINANCE §1). `i` index, `b`/`a` buffers, `B`/`A` rates.

    `{"e":"assetIndexUpdate","E":1686749230000,"s":"ADAUSD","i":"0.27462452","b":"0.10000000",
    "a":"0.10000000","B":"0.24716207","A":"0.30208698","q":"0.05000000","g":"0.05000000",
    "Q":"0.26089330","G":"0.28835575"}`
    """

    E: int
    s: str
    i: Finite
    b: Finite
    a: Finite
    B: Finite
    A: Finite
    q: Finite
    g: Finite
    Q: Finite
    G: Finite


MarketMessage = (
    AggTrade
    | Trade
    | MarkPriceUpdate
    | Kline
    | ContinuousKline
    | MiniTicker
    | Ticker
    | BookTicker
    | DepthUpdate
    | ForceOrder
    | ContractInfo
    | AssetIndexUpdate
)
