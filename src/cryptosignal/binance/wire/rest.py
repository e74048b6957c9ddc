"""REST answers (BINANCE §2). Money stays text and becomes Decimal in `decode`; times are UTC ms."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec

from cryptosignal.binance.limits import RateLimit
from cryptosignal.binance.wire.numbers import Finite, Num, NumOrBlank

KlineRow = tuple[
    int, Finite, Finite, Finite, Finite, Finite, int, Finite, int, Finite, Finite, str | int
]
"""`[openTime, o, h, l, c, volume, closeTime, quoteVol, trades, takerBuyBase, takerBuyQuote, ignore]`
(BINANCE §2.1): `[1750118400000,"0.0105883","0.0107696","0.0096515","0.0101253","170495790700",
1750204799999,"1747856353.69",3796576,"82717815994","847988238.62","0"]`."""


class _Body(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    pass


class ErrorBody(msgspec.Struct, frozen=True, gc=False):
    """Every error (BINANCE §2): `{"code":-1121,"msg":"Invalid symbol."}`. `code` may be a string."""

    code: int | str = 0
    msg: str = ""


class ServerTime(_Body, frozen=True, gc=False):
    """GET /fapi/v1/time: `{"serverTime":1499827319559}`."""

    server_time: int


class Filter(_Body, frozen=True, gc=False):
    """A row of `filters` (BINANCE §2.4); which fields are present depends on `filterType`.

    `{"filterType":"PRICE_FILTER","minPrice":"556.80","maxPrice":"4529764","tickSize":"0.10"}`
    """

    filter_type: str
    min_price: Num | None = None
    max_price: Num | None = None
    tick_size: Num | None = None
    min_qty: Num | None = None
    max_qty: Num | None = None
    step_size: Num | None = None
    notional: Num | None = None
    multiplier_up: Num | None = None
    multiplier_down: Num | None = None
    multiplier_decimal: str | int | None = None
    limit: int | None = None


class SymbolInfo(_Body, frozen=True, gc=False):
    """A row of exchangeInfo `symbols` (BINANCE §2.4)."""

    symbol: str
    status: str
    base_asset: str
    quote_asset: str
    filters: list[Filter]
    pair: str = ""
    contract_type: str = ""
    delivery_date: int = 0
    onboard_date: int = 0
    margin_asset: str = ""
    price_precision: int = 8
    quantity_precision: int = 8
    underlying_type: str = ""
    underlying_sub_type: list[str] = []  # msgspec copies an empty default
    trigger_protect: Num = "0.05"
    liquidation_fee: Num = "0.0125"
    market_take_bound: Num = "0.05"
    order_types: list[str] = []
    time_in_force: list[str] = []


class ExchangeInfo(_Body, frozen=True, gc=False):
    """GET /fapi/v1/exchangeInfo (BINANCE §2.1); `serverTime` is to be ignored, says the venue.

    `syntheticFlow` is sent by the simulated venue alone, where it walks real candles: the kinds of
    flow that the candles lack and that are made up.
    """

    symbols: list[SymbolInfo]
    rate_limits: list[RateLimit] = []  # msgspec copies an empty default
    server_time: int = 0
    synthetic_flow: list[str] = []


class Depth(msgspec.Struct, frozen=True, gc=False):
    """GET /fapi/v1/depth (BINANCE §2.1).

    `{"lastUpdateId":1027024,"E":1589436922972,"T":1589436922959,"bids":[["4.00000000","431.0"]],
    "asks":[["4.00000200","12.0"]]}`
    """

    lastUpdateId: int  # noqa: N815 - the venue's word
    bids: list[tuple[Finite, Finite]]
    asks: list[tuple[Finite, Finite]]
    E: int = 0
    T: int = 0


class PremiumIndex(_Body, frozen=True, gc=False):
    """GET /fapi/v1/premiumIndex (BINANCE §2.1); `lastFundingRate` may be "".

    `{"symbol":"BTCUSDT","markPrice":"83829.80000000","indexPrice":"83844.93847826",
    "estimatedSettlePrice":"83791.57","lastFundingRate":"0.00004558","interestRate":"0.00010000",
    "nextFundingTime":1790784000000,"time":1790767764002}`
    """

    symbol: str
    mark_price: Finite
    index_price: Finite
    last_funding_rate: NumOrBlank = ""
    next_funding_time: int = 0
    time: int = 0
    estimated_settle_price: NumOrBlank = ""
    interest_rate: NumOrBlank = ""


class Ticker24h(_Body, frozen=True, gc=False):
    """GET /fapi/v1/ticker/24hr (BINANCE §2.1)."""

    symbol: str
    last_price: Finite
    open_price: Finite
    high_price: Finite
    low_price: Finite
    volume: Finite
    quote_volume: Finite
    open_time: int
    close_time: int
    count: int
    price_change: Finite = 0.0
    price_change_percent: Finite = 0.0
    weighted_avg_price: Finite = 0.0
    last_qty: Finite = 0.0
    first_id: int = 0
    last_id: int = 0


class OpenInterestRow(msgspec.Struct, frozen=True, gc=False):
    """GET /futures/data/openInterestHist (BINANCE §2.1); `timestamp` comes as int or as text.

    `{"symbol":"BTCUSDT","sumOpenInterest":"93290.605","sumOpenInterestValue":"7825253263.642",
    "CMCCirculatingSupply":"20090315.00","timestamp":1790617800000}`
    """

    sumOpenInterest: Finite  # noqa: N815 - the venue's word
    sumOpenInterestValue: Finite  # noqa: N815 - the venue's word
    timestamp: int
    symbol: str = ""
    CMCCirculatingSupply: Finite | None = None


class RatioRow(_Body, frozen=True, gc=False):
    """GET /futures/data/…LongShort…Ratio (BINANCE §2.1).

    `{"symbol":"BTCUSDT","longShortRatio":"1.4342","longAccount":"0.5891","shortAccount":"0.4108",
    "timestamp":"1583139600000"}`
    """

    long_short_ratio: Finite
    long_account: Finite
    short_account: Finite
    timestamp: int
    symbol: str = ""


class TakerRow(_Body, frozen=True, gc=False):
    """GET /futures/data/takerlongshortRatio (BINANCE §2.1), without a symbol.

    `{"buySellRatio":"1.5586","buyVol":"387.3300","sellVol":"248.5030","timestamp":"1585614900000"}`
    """

    buy_sell_ratio: Finite
    buy_vol: Finite
    sell_vol: Finite
    timestamp: int


class FundingRow(_Body, frozen=True, gc=False):
    """GET /fapi/v1/fundingRate, ascending (BINANCE §2.1).

    `{"symbol":"BTCUSDT","fundingRate":"-0.03750000","fundingTime":1570608000000,"markPrice":"34287.5"}`
    """

    symbol: str
    funding_rate: Finite
    funding_time: int
    mark_price: NumOrBlank = ""
    rate_type: str = ""


class FundingInfoRow(_Body, frozen=True, gc=False):
    """GET /fapi/v1/fundingInfo: only symbols whose cap, floor or interval was adjusted (BINANCE §2.1).

    `{"symbol":"GTCUSDT","adjustedFundingRateCap":"0.02","adjustedFundingRateFloor":"-0.02",
    "fundingIntervalHours":8,"disclaimer":false}`
    """

    symbol: str
    adjusted_funding_rate_cap: Finite
    adjusted_funding_rate_floor: Finite
    funding_interval_hours: int


class OrderReply(_Body, frozen=True, gc=False):
    """POST, DELETE and GET /fapi/v1/order, openOrders, allOrders (BINANCE §2.3).

    `{"orderId":12345678,"symbol":"BTCUSDT","status":"NEW","clientOrderId":"testOrder123",
    "price":"50000.00","avgPrice":"0.00","origQty":"0.001","executedQty":"0.000","timeInForce":"GTC",
    "type":"LIMIT","reduceOnly":false,"closePosition":false,"side":"BUY","positionSide":"BOTH",
    "updateTime":1625474304765}`. Placement answers carry no `avgPrice` since 2026-06.
    """

    symbol: str
    order_id: int
    client_order_id: str
    status: str
    side: str
    type: str
    orig_qty: Num
    executed_qty: Num
    price: Num = "0"
    avg_price: Num | None = None
    cum_quote: Num | None = None
    time_in_force: str = ""
    reduce_only: bool = False
    close_position: bool = False
    position_side: str = "BOTH"
    stop_price: Num | None = None
    orig_type: str = ""
    working_type: str = ""
    update_time: int = 0
    time: int = 0


class AlgoReply(_Body, frozen=True, gc=False):
    """POST and GET /fapi/v1/algoOrder, openAlgoOrders, allAlgoOrders (BINANCE §2.3).

    `{"algoId":2148627,"clientAlgoId":"MRumok0dkhrP4kCm12AHaB","algoType":"CONDITIONAL",
    "orderType":"TAKE_PROFIT","symbol":"BNBUSDT","side":"SELL","positionSide":"BOTH",
    "timeInForce":"GTC","quantity":"0.01","algoStatus":"NEW","actualOrderId":"","actualPrice":"0.00000",
    "triggerPrice":"750.000","price":"750.000","icebergQuantity":null,…,"reduceOnly":false}`
    """

    algo_id: int
    client_algo_id: str
    symbol: str
    side: str
    order_type: str = ""
    algo_type: str = ""
    algo_status: str = "NEW"
    quantity: Num | None = None
    trigger_price: Num | None = None
    price: Num | None = None
    position_side: str = "BOTH"
    reduce_only: bool = False
    close_position: bool = False
    actual_order_id: str | int | None = None
    actual_price: Num | None = None
    actual_qty: Num | None = None
    working_type: str = ""
    create_time: int = 0
    update_time: int = 0
    trigger_time: int = 0


class BalanceInfo(_Body, frozen=True, gc=False):
    """GET /fapi/v3/balance (BINANCE §2.2).

    `{"accountAlias":"SgsR","asset":"USDT","balance":"122.12345678","crossWalletBalance":"122.12345678",
    "crossUnPnl":"0.00000000","availableBalance":"122.12345678","maxWithdrawAmount":"122.12345678",
    "marginAvailable":true,"updateTime":1617939110373}`
    """

    asset: str
    balance: Num
    available_balance: Num
    cross_wallet_balance: Num = "0"
    cross_un_pnl: Num = "0"
    update_time: int = 0


class PositionInfo(_Body, frozen=True, gc=False):
    """GET /fapi/v3/positionRisk (BINANCE §2.2); v3 has neither leverage nor margin type.

    `{"symbol":"BTCUSDT","positionSide":"BOTH","positionAmt":"0.001","entryPrice":"22185.2",
    "breakEvenPrice":"0.0","markPrice":"21123.05","unRealizedProfit":"-1.06214947",
    "liquidationPrice":"19731.45","isolatedMargin":"0.00000000","isolatedWallet":"0","updateTime":0}`
    """

    symbol: str
    position_amt: Num
    entry_price: Num
    position_side: str = "BOTH"
    mark_price: Num = "0"
    un_realized_profit: Num = "0"
    liquidation_price: Num = "0"
    isolated_wallet: Num | None = None
    isolated_margin: Num | None = None
    margin_type: str = ""
    update_time: int = 0


class UserTrade(_Body, frozen=True, gc=False):
    """GET /fapi/v1/userTrades (BINANCE §2.2).

    `{"symbol":"ETHUSDT","id":82357626,"orderId":831238666,"side":"SELL","price":"2778.35",
    "qty":"0.005","realizedPnl":"0","commission":"0.00555670","commissionAsset":"USDT",
    "time":1645930322371,"positionSide":"BOTH","buyer":false,"maker":false}`
    """

    symbol: str
    id: int
    order_id: int
    side: str
    price: Num
    qty: Num
    realized_pnl: Num
    commission: Num
    commission_asset: str
    time: int
    position_side: str = "BOTH"


class IncomeRow(_Body, frozen=True, gc=False):
    """GET /fapi/v1/income (BINANCE §2.2).

    `{"symbol":"BTCUSDT","incomeType":"COMMISSION","income":"-0.01000000","asset":"USDT",
    "info":"COMMISSION","time":1570636800000,"tranId":9689322392,"tradeId":"2059192"}`
    """

    income_type: str
    income: Num
    asset: str
    time: int
    tran_id: int
    symbol: str = ""
    info: str = ""
    trade_id: str | int = ""


class Bracket(_Body, frozen=True, gc=False):
    """One tier of a symbol's leverage brackets; numbers, not strings (BINANCE §2.2)."""

    initial_leverage: int
    notional_cap: Decimal


class SymbolBrackets(_Body, frozen=True, gc=False):
    """One row of GET /fapi/v1/leverageBracket."""

    symbol: str
    brackets: list[Bracket]


class DualSide(_Body, frozen=True, gc=False):
    """GET /fapi/v1/positionSide/dual: `{"dualSidePosition":true}`."""

    dual_side_position: bool


class ListenKey(_Body, frozen=True, gc=False):
    """POST /fapi/v1/listenKey: `{"listenKey":"pqia91ma19a5s61cv6a81va65sdf19v8a65a1a5s61cv6a81va65sdf19"}`."""

    listen_key: str


class ApiRestrictions(_Body, frozen=True, gc=False):
    """GET /sapi/v1/account/apiRestrictions: what a key may do (RELIABILITY §4).

    `{"ipRestrict":true,"enableReading":true,"enableWithdrawals":false,"enableInternalTransfer":false,
    "permitsUniversalTransfer":false,"enableFutures":true,"createTime":1623840271000}`
    """

    ip_restrict: bool
    enable_withdrawals: bool
    enable_internal_transfer: bool = False
    permits_universal_transfer: bool = False
    enable_futures: bool = False
    enable_reading: bool = True


class SymbolConfig(_Body, frozen=True, gc=False):
    """GET /fapi/v1/symbolConfig (BINANCE §2.2).

    `{"symbol":"BTCUSDT","marginType":"CROSSED","isAutoAddMargin":false,"leverage":21,
    "maxNotionalValue":"1000000"}`
    """

    symbol: str
    margin_type: str
    leverage: int
    max_notional_value: Num | None = None


class Anything(msgspec.Struct, frozen=True, gc=False):
    """An answer of which only success matters: `{"code":200,"msg":"success"}`."""

    code: Any = 200
    msg: str = ""
