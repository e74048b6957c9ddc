"""Every captured USDⓈ-M message beside the venue's: all differences are listed, the accepted ones by name."""

import json

from tests.shared import SHARED, needs_shared
from tests.sim.driver import Client
from tests.sim.test_fixtures import our_events, real_frames, shape

BTC = {"symbol": "BTCUSDT"}
REST = {
    "/fapi/v1/order/asyn": {"startTime": 0, "endTime": 1},
    "/fapi/v1/income/asyn": {"startTime": 0, "endTime": 1},
    "/fapi/v1/trade/asyn/id": {"downloadId": "1"},
    "/fapi/v1/leverage": {**BTC, "leverage": 21},
    "/fapi/v1/constituents": BTC,
    "/fapi/v1/commissionRate": BTC,
    "/fapi/v1/aggTrades": BTC,
    "/fapi/v1/fundingRate": BTC,
    "/fapi/v1/premiumIndex": BTC,
    "/fapi/v1/openInterest": BTC,
    "/fapi/v1/depth": BTC,
    "/fapi/v2/ticker/price": BTC,
    "/fapi/v1/ticker/24hr": BTC,
    "/fapi/v1/ticker/bookTicker": BTC,
    "/fapi/v1/historicalTrades": BTC,
    "/fapi/v1/markPriceKlines": {**BTC, "interval": "1m"},
    "/fapi/v1/indexPriceKlines": {"pair": "BTCUSDT", "interval": "1m"},
    "/fapi/v1/assetIndex": {"symbol": "ADAUSD"},
    "/futures/data/basis": {"pair": "BTCUSDT", "contractType": "PERPETUAL", "period": "1h"},
    "/futures/data/topLongShortPositionRatio": {**BTC, "period": "1h"},
    "/futures/data/openInterestHist": {**BTC, "period": "1h"},
    "/futures/data/takerlongshortRatio": {**BTC, "period": "1h"},
    "/fapi/v1/allAlgoOrders": BTC,
    "/fapi/v1/openAlgoOrders": BTC,
    "/fapi/v1/openOrders": BTC,
    "/fapi/v1/userTrades": BTC,
    "/fapi/v1/symbolConfig": BTC,
    "/fapi/v1/adlQuantile": BTC,
}
"""GET (and plain POST) endpoints that are asked as they are; absent parameters mean none."""
NAMED = {
    "account_info_v2": "/fapi/v2/account",
    "balance": "/fapi/v3/balance",
    "position_risk": "/fapi/v2/positionRisk",
    "http_futures_account_position_side_dual": "/fapi/v1/positionSide/dual",
    "http_futures_account_positions_one_way": "/fapi/v2/positionRisk",
    "http_futures_account_trades": "/fapi/v1/userTrades",
    "http_futures_market_asset_index": "/fapi/v1/assetIndex",
    "http_futures_market_book_ticker": "/fapi/v1/ticker/bookTicker",
    "http_futures_market_depth": "/fapi/v1/depth",
    "http_futures_market_funding_rate": "/fapi/v1/fundingRate",
    "http_futures_market_historical_trades": "/fapi/v1/historicalTrades",
    "http_futures_market_index_price_klines": "/fapi/v1/indexPriceKlines",
    "http_futures_market_mark_price_klines": "/fapi/v1/markPriceKlines",
    "http_futures_market_open_interest_historical": "/futures/data/openInterestHist",
    "http_futures_market_taker_long_short_ratio": "/futures/data/takerlongshortRatio",
    "http_futures_market_ticker_price": "/fapi/v2/ticker/price",
    "http_futures_market_top_long_short_position_ratio": "/futures/data/topLongShortPositionRatio",
    "http_futures_wallet_commission_rate_btcusdt": "/fapi/v1/commissionRate",
}
PLAIN = [
    "/fapi/v1/accountConfig",
    "/fapi/v3/account",
    "/fapi/v1/feeBurn",
    "/fapi/v1/income",
    "/fapi/v1/exchangeInfo",
    "/fapi/v1/multiAssetsMargin",
    "/fapi/v1/insuranceBalance",
    "/fapi/v1/time",
    "/fapi/v1/listenKey",
    "/fapi/v2/account",
    "/fapi/v3/balance",
    "/fapi/v3/positionRisk",
    "/fapi/v2/positionRisk",
    "/fapi/v1/positionSide/dual",
]

ACCEPTED: dict[str, set[str]] = {
    # fields newer than the capture
    "GetAccountInfoV3": {"+assets.[].marginAvailable"},
    # tranId is an integer in BINANCE §2.2
    "GetIncomeHistory": {"~[].tranId"},
    # the capture is of a hedge-mode account
    "GetPositionAdlQuantileEstimation": {
        "+[].adlQuantile.BOTH",
        "-[].adlQuantile.HEDGE",
        "-[].adlQuantile.LONG",
        "-[].adlQuantile.SHORT",
    },
    # a boolean on the wire, a string in the documents
    "GetSymbolConfiguration": {"~[].isAutoAddMargin"},
    # fields newer than the capture
    "GetUserCommissionRate": {"+rpiCommissionRate"},
    # fields newer than the capture
    "GetAggregatedTradeHistory": {"+[].nq"},
    # documents of 2021 against the 2026 mainnet excerpt
    "GetExchangeInfo": {
        "+futuresType",
        "+symbols.[].maxMoveOrderLimit",
        "+symbols.[].permissionSets",
        "+symbols.[].permissionSets.[]",
        "-symbols.[].settlePlan",
        "~assets.[].autoAssetExchange",
    },
    # fields newer than the capture
    "GetFundingRates": {"+[].rateType"},
    # timestamp is quoted in some documents, an integer in others
    "GetTopLongShortPositionRatio": {"~[].timestamp"},
    # fields newer than the capture
    "GetConditionalOrders": {"+[].activatePrice", "+[].callbackRate"},
    # fields newer than the capture
    "GetOpenConditionalOrders": {
        "+[].activatePrice",
        "+[].actualQty",
        "+[].actualType",
        "+[].callbackRate",
    },
    # fields of trailing orders, which live in the algo book now
    "GetOpenOrders": {"-[].activatePrice", "-[].priceRate"},
    # the capture is a v2 body, ours v3 (BINANCE §2.2)
    "GetPositions": {
        "+[].adl",
        "+[].askNotional",
        "+[].bidNotional",
        "+[].initialMargin",
        "+[].maintMargin",
        "+[].marginAsset",
        "+[].openOrderInitialMargin",
        "+[].positionInitialMargin",
        "-[].isAutoAddMargin",
        "-[].leverage",
        "-[].marginType",
        "-[].maxNotionalValue",
    },
    # fields newer than the capture
    "account_info_v2": {
        "+feeBurn",
        "+positions.[].breakEvenPrice",
        "+positions.[].isolatedWallet",
        "+positions.[].notional",
    },
    # fields newer than the capture
    "http_futures_account_positions_one_way": {
        "+[].adlQuantile",
        "+[].breakEvenPrice",
        "+[].isolatedWallet",
        "+[].notional",
    },
    # fields newer than the capture
    "http_futures_account_trades": {"+[].baseQty", "+[].pair"},
    # fields newer than the capture
    "http_futures_market_book_ticker": {"+lastUpdateId"},
    # fields newer than the capture
    "http_futures_market_funding_rate": {"+[].markPrice", "+[].rateType"},
    # fields newer than the capture
    "http_futures_market_historical_trades": {"+[].isRPITrade"},
    # the same; circulating supply came in 2025
    "http_futures_market_open_interest_historical": {"+[].CMCCirculatingSupply", "~[].timestamp"},
    # the same
    "http_futures_market_taker_long_short_ratio": {"~[].timestamp"},
    # the same
    "http_futures_market_top_long_short_position_ratio": {"~[].timestamp"},
    # fields newer than the capture
    "http_futures_wallet_commission_rate_btcusdt": {"+rpiCommissionRate"},
    # fields newer than the capture
    "position_risk": {"+[].adlQuantile"},
}
ACCEPTED_FRAMES: dict[str, set[str]] = {
    # N and n are in some captures without a fill, not in all; AP and cr are null or of trailing orders; W is not documented
    "ORDER_TRADE_UPDATE": {"+o.N", "+o.n", "+o.er", "+o.gtd", "+o.pm", "-o.AP", "-o.W", "-o.cr"},
    # some captures have empty or older position rows
    "ACCOUNT_UPDATE": {
        "+a.B.[].bc",
        "+a.P.[]",
        "+a.P.[].bep",
        "+a.P.[].cr",
        "+a.P.[].ep",
        "+a.P.[].iw",
        "+a.P.[].ma",
        "+a.P.[].mt",
        "+a.P.[].pa",
        "+a.P.[].ps",
        "+a.P.[].s",
        "+a.P.[].up",
    },
    # a capture of 2019 has fewer fields
    "markPriceUpdate": {"+P", "+ap", "+i", "+st"},
    # X is not in every capture
    "trade": {"+X", "+st"},
    # a is not in every capture
    "aggTrade": {"+a", "+nq", "+st"},
    # fields newer than the capture
    "bookTicker": {"+ps", "+st"},
    # fields newer than the capture
    "depthUpdate": {"+ps", "+st"},
    # fields newer than the capture
    "24hrMiniTicker": {"+ps", "+st"},
    # fields newer than the capture
    "24hrTicker": {"+ps", "+st"},
    # ours here is a leverage change, the capture the asset mode
    "ACCOUNT_CONFIG_UPDATE": {"+ac", "+ac.l", "+ac.s", "-ai", "-ai.j"},
    # rm comes with a rejection or expiry only
    "ALGO_UPDATE": {"-o.rm"},
}


def rest_rows():
    """(name, method, path, body) of every captured REST reply that a plain call can be held against."""
    for line in (SHARED / "fixtures" / "binance_net_usdfutures.jsonl").read_text().splitlines():
        row = json.loads(line)
        if row["name"].startswith("Endpoints/"):
            method, path, _, body = row["text"].split("\n", 3)
            yield row["name"].rsplit("/", 1)[1], method, path, json.loads(body)
    for line in (SHARED / "fixtures" / "nautilus_futures.jsonl").read_text().splitlines():
        row = json.loads(line)
        if row["name"] in NAMED:
            yield row["name"], "GET", NAMED[row["name"]], row["payload"]


def found_differences():
    """Name of the fixture -> its differences: '-key' missing here, '+key' only here, '~key' other type."""
    c = Client(weight_limit_1m=1_000_000)
    c.order(side="BUY", type="MARKET", quantity="0.02")
    far = {"side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "0.02"}
    c.order(**far, price=f"{c.price() * 0.98:.1f}")
    stop = {"side": "SELL", "type": "STOP_MARKET", "quantity": "0.01"}
    c.algo(**stop, triggerPrice=f"{c.price() * 0.9:.1f}")
    c.run(1_000)
    out = {}
    for name, method, path, real in rest_rows():
        if path not in REST and path not in PLAIN:
            continue
        if method == "POST" and path not in ("/fapi/v1/leverage", "/fapi/v1/listenKey"):
            continue
        params = REST.get(path, {})
        ours = c.signed(method, path, **params) if "/fapi/" in path else c.get(path, **params)
        out[name] = differing(real, ours)
    return out


def differing(real, ours):
    """One set of marked keys; a captured null says nothing about a type."""
    if isinstance(real, dict) and "symbol" in real and isinstance(ours, list):
        ours = ours[0]
    a, b = shape(real), shape(ours)
    wrong = {f"~{k}" for k in a.keys() & b.keys() if a[k] != b[k] and a[k] != "NoneType"}
    return {f"-{k}" for k in a.keys() - b.keys()} | {f"+{k}" for k in b.keys() - a.keys()} | wrong


def captured_frames():
    """Every captured stream message: raw, or the inside of the combined envelope."""
    yield from real_frames()
    for line in (SHARED / "fixtures" / "nautilus_futures.jsonl").read_text().splitlines():
        payload = json.loads(line)["payload"]
        data = payload.get("data", payload) if isinstance(payload, dict) else {}
        if "e" in data:
            yield data
    for line in (SHARED / "fixtures" / "binance_net_usdfutures.jsonl").read_text().splitlines():
        row = json.loads(line)
        if row["name"].startswith("Subscriptions/") and "\n= " in row["text"]:
            try:
                payload = json.loads(row["text"].split("\n= ", 1)[1])
            except json.JSONDecodeError:
                continue
            data = payload.get("data", payload)
            yield data[0] if isinstance(data, list) else data


def found_frame_differences():
    """Event type -> what differs in every one of our events of that type, over all captures."""
    _, events = our_events()
    out = {}
    for real in captured_frames():
        kind = real.get("e", "")
        if kind in events:
            best = min((differing(real, ours) for ours in events[kind]), key=len)
            out.setdefault(kind, set()).update(best)
    return out


@needs_shared
def test_frame_differences_are_exactly_the_accepted_ones():
    """A stream message differs from its captures only where the table says so."""
    found = {kind: rows for kind, rows in found_frame_differences().items() if rows}
    assert found == ACCEPTED_FRAMES


@needs_shared
def test_rest_differences_are_exactly_the_accepted_ones():
    """A reply differs from its capture only where the table says so, and the table lists nothing more."""
    found = {name: rows for name, rows in found_differences().items() if rows}
    assert found == ACCEPTED
