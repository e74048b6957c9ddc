"""User-data messages (BINANCE §5). Money stays text here and becomes Decimal in `decode`.

Older or liquidation frames send null for prices they do not have; that reads as None.
"""

from __future__ import annotations

import msgspec

from cryptosignal.binance.wire.numbers import Num


class _Message(msgspec.Struct, frozen=True, gc=False, tag_field="e"):
    pass


class OrderBody(msgspec.Struct, frozen=True, gc=False):
    """`o` of ORDER_TRADE_UPDATE (BINANCE §5): x execution type, X status, t trade id (0 = no fill)."""

    s: str
    c: str
    S: str
    o: str
    f: str
    q: Num
    p: Num
    ap: Num
    x: str
    X: str
    i: int
    l: Num  # noqa: E741 - the venue's letter
    z: Num
    L: Num
    T: int
    t: int
    m: bool
    R: bool
    wt: str = ""
    ot: str = ""
    ps: str = "BOTH"
    cp: bool = False
    rp: Num | None = None
    sp: Num | None = None
    N: str | None = None
    n: Num | None = None
    b: Num | None = None
    a: Num | None = None
    AP: Num | None = None
    cr: Num | None = None
    pP: bool = False  # noqa: N815 - the venue's letters
    V: str | None = None
    pm: str | None = None
    gtd: int | None = None
    er: str | None = None
    M: int | str | None = None
    W: int | None = None
    si: int = 0
    ss: int = 0


class OrderTradeUpdate(_Message, frozen=True, gc=False, tag="ORDER_TRADE_UPDATE"):
    """An ordinary order changed or was filled (BINANCE §5).

    `{"e":"ORDER_TRADE_UPDATE","T":1742585119595,"E":1742585119596,"o":{"s":"BTCUSDT",
    "c":"KWsJ1UBaWM1C0IhvgdXxZb","S":"BUY","o":"MARKET","f":"GTC","q":"0.100","p":"0",
    "ap":"84146.50000","sp":"0","x":"TRADE","X":"FILLED","i":4129479931,"l":"0.100","z":"0.100",
    "L":"84146.50","n":"3.36586000","N":"USDT","T":1742585119595,"t":310194316,"b":"0","a":"0",
    "m":false,"R":false,"wt":"CONTRACT_PRICE","ot":"MARKET","ps":"BOTH","cp":false,"rp":"0",
    "pP":false,"si":0,"ss":0,"V":"EXPIRE_MAKER","pm":"NONE","gtd":0}}`
    """

    E: int
    T: int
    o: OrderBody


class TradeLite(_Message, frozen=True, gc=False, tag="TRADE_LITE"):
    """A fill ahead of its ORDER_TRADE_UPDATE, without fee (BINANCE §5).

    `{"e":"TRADE_LITE","E":1771856732584,"T":1771856732584,"s":"SOLUSDT","q":"0.10","p":"0.0000",
    "m":false,"c":"SOLUSDT_BOTH_1771856732181_1","S":"BUY","L":"80.1900","l":"0.10","t":3181138052,
    "i":199033476993}`
    """

    E: int
    T: int
    s: str
    q: Num
    p: Num
    m: bool
    c: str
    S: str
    L: Num
    l: Num  # noqa: E741 - the venue's letter
    t: int
    i: int


class BalanceRow(msgspec.Struct, frozen=True, gc=False):
    """`B[]`: wallet, cross wallet, change without PnL and fee (absent on old frames)."""

    a: str
    wb: Num
    cw: Num
    bc: Num = "0"


class PositionRow(msgspec.Struct, frozen=True, gc=False):
    """`P[]`: signed amount, entry price, accumulated realised PnL, PnL at the event, margin type, side."""

    s: str
    pa: Num
    ep: Num
    cr: Num
    up: Num
    mt: str
    iw: Num
    ps: str
    ma: str = ""
    bep: Num | None = None


class AccountBody(msgspec.Struct, frozen=True, gc=False):
    """`a` of ACCOUNT_UPDATE: reason m, what changed; `S` names the symbol of a funding fee (2026-08)."""

    m: str
    B: list[BalanceRow] = []  # msgspec copies an empty default
    P: list[PositionRow] = []
    S: str = ""


class AccountUpdate(_Message, frozen=True, gc=False, tag="ACCOUNT_UPDATE"):
    """Balances or positions changed (BINANCE §5); `up` is as of the event and ages at once.

    `{"e":"ACCOUNT_UPDATE","T":1742585119595,"E":1742585119596,"a":{"B":[{"a":"USDT",
    "wb":"15237.42937172","cw":"15237.42937172","bc":"0"}],"P":[{"s":"BTCUSDT","pa":"0.100",
    "ep":"84146.5","cr":"123.98240000","up":"0.40867555","mt":"cross","iw":"0","ps":"BOTH",
    "ma":"USDT","bep":"84180.1586"}],"m":"ORDER"}}`
    """

    E: int
    T: int
    a: AccountBody


class AlgoBody(msgspec.Struct, frozen=True, gc=False):
    """`o` of an algo update: ai child order id ("" before the trigger), aq executed, tp trigger price."""

    caid: str
    aid: int
    at: str
    o: str
    s: str
    S: str
    ps: str
    f: str
    q: Num
    X: str
    tp: Num
    ai: str = ""
    p: Num | None = None
    ap: Num | None = None
    aq: Num | None = None
    act: str | None = None
    V: str | None = None
    wt: str = ""
    pm: str | None = None
    cp: bool = False
    pP: bool = False  # noqa: N815 - the venue's letters
    R: bool = False
    tt: int = 0
    gtd: int = 0
    rm: str = ""
    ia: bool | None = None


class AlgoUpdate(_Message, frozen=True, gc=False, tag="ALGO_UPDATE"):
    """A conditional order changed (BINANCE §5). FINISHED means filled *or* cancelled: look at aq.

    `{"e":"ALGO_UPDATE","T":1765431097031,"E":1765431097037,"o":{"caid":"O-20251211-1",
    "aid":1000000033225453,"at":"CONDITIONAL","o":"STOP_MARKET","s":"DOGEUSDT","S":"BUY","ps":"BOTH",
    "f":"GTC","q":"38","X":"FINISHED","ai":"88937381063","ap":"0.13856","aq":"38","act":"MARKET",
    "tp":"0.13855","p":"0","V":"EXPIRE_MAKER","wt":"CONTRACT_PRICE","pm":"NONE","cp":false,
    "pP":false,"R":false,"tt":1765431097019,"gtd":0}}`
    """

    E: int
    T: int
    o: AlgoBody


class AlgoOrderUpdate(_Message, frozen=True, gc=False, tag="ALGO_ORDER_UPDATE"):
    """The second name under which algo updates are reported to arrive (BINANCE §8.1); same body."""

    E: int
    T: int
    o: AlgoBody


class MarginCallRow(msgspec.Struct, frozen=True, gc=False):
    """`p[]` of a margin call: mark price, PnL, maintenance margin."""

    s: str
    ps: str
    pa: Num
    mt: str
    iw: Num
    mp: Num
    up: Num
    mm: Num


class MarginCall(_Message, frozen=True, gc=False, tag="MARGIN_CALL"):
    """Positions near liquidation, advisory only (BINANCE §5).

    `{"e":"MARGIN_CALL","E":1587727187525,"cw":"3.16812045","p":[{"s":"ETHUSDT","ps":"LONG",
    "pa":"1.327","mt":"CROSSED","iw":"0","mp":"187.17127","up":"-1.166074","mm":"1.614445"}]}`
    """

    E: int
    p: list[MarginCallRow]
    cw: Num | None = None


class ListenKeyExpired(_Message, frozen=True, gc=False, tag="listenKeyExpired"):
    """The key is gone; nothing follows on it, and the socket stays open (BINANCE §5).

    `{"e":"listenKeyExpired","E":1736996475556,"listenKey":"WsCMN0a4KHUPTQuX6IUnqEZfB1inxmv1qR4kbf1L"}`
    """

    E: int
    listenKey: str = ""  # noqa: N815 - the venue's word


class LeverageRow(msgspec.Struct, frozen=True, gc=False):
    """`ac` of a configuration update: symbol and its new leverage."""

    s: str
    l: int  # noqa: E741 - the venue's letter


class AssetModeRow(msgspec.Struct, frozen=True, gc=False):
    """`ai` of a configuration update: multi-assets mode on or off."""

    j: bool


class AccountConfigUpdate(_Message, frozen=True, gc=False, tag="ACCOUNT_CONFIG_UPDATE"):
    """Leverage or assets mode changed (BINANCE §5).

    `{"e":"ACCOUNT_CONFIG_UPDATE","T":1617971759717,"E":1617971759721,"ai":{"j":false}}`
    """

    E: int
    T: int = 0
    ac: LeverageRow | None = None
    ai: AssetModeRow | None = None


AccountMessage = (
    OrderTradeUpdate
    | TradeLite
    | AccountUpdate
    | AlgoUpdate
    | AlgoOrderUpdate
    | MarginCall
    | ListenKeyExpired
    | AccountConfigUpdate
)
