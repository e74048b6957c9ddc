"""Real payloads beside the venue's: the same keys and JSON types, and every difference is listed here."""

import json

from tests.shared import SHARED, needs_shared
from tests.sim.driver import Client

# real key -> why the venue may differ: newer than the capture, optional, or of another account type
KNOWN = {
    "aggTrade": {"extra": {"st"}},
    "trade": {"extra": {"st"}},
    "bookTicker": {"extra": {"st", "ps"}},
    "markPriceUpdate": {"extra": {"st", "ap"}},
    "depthUpdate": {"extra": {"st", "ps"}},
    "kline": {},
    "TRADE_LITE": {},
    "ORDER_TRADE_UPDATE": {"extra": {"o.er", "o.gtd", "o.pm"}},
    "ACCOUNT_UPDATE": {"extra": set(), "missing": set()},
}


def shape(value, prefix=""):
    """Flat map of key path to type name; list elements by their first item."""
    out = {}
    if isinstance(value, dict):
        for key, inner in value.items():
            out[prefix + key] = type(inner).__name__
            out |= shape(inner, f"{prefix}{key}.")
    elif isinstance(value, list) and value:
        out[f"{prefix}[]"] = type(value[0]).__name__
        out |= shape(value[0], f"{prefix}[].")
    return out


def differences(real, ours):
    """(missing keys, extra keys, type differences)."""
    a, b = shape(real), shape(ours)
    wrong = {k for k in a.keys() & b.keys() if a[k] != b[k]}
    return set(a) - set(b), set(b) - set(a), wrong


def our_events():
    c = Client()
    key = c.open_private()
    c.open(
        1,
        "/market/ws/btcusdt@aggTrade/btcusdt@kline_1m/btcusdt@markPrice@1s/btcusdt@miniTicker/btcusdt@ticker/btcusdt_perpetual@continuousKline_1m",
    )
    c.open(2, "/public/ws/btcusdt@depth5@100ms/btcusdt@bookTicker/btcusdt@trade")
    c.order(side="BUY", type="MARKET", quantity="0.01")
    c.signed("POST", "/fapi/v1/leverage", symbol="BTCUSDT", leverage=5)
    c.algo(
        side="SELL", type="STOP_MARKET", quantity="0.01", triggerPrice=f"{c.price() * 0.9999:.1f}"
    )
    trail = {"side": "SELL", "type": "TRAILING_STOP_MARKET", "callbackRate": "0.1"}
    c.algo(**trail, quantity="0.01")
    c.run(600_000)
    assert key
    events = {}
    for frames in c.inbox.values():
        for f in frames:
            events.setdefault(f["e"], []).append(f)
    return c, events


def real_frames():
    for name in ("frames_public_code.jsonl", "frames_unicorn_fy.jsonl", "frames_tardis_node.jsonl"):
        for line in (SHARED / "fixtures" / name).read_text().splitlines():
            payload = json.loads(line)["payload"]
            data = payload.get("data", payload) if isinstance(payload, dict) else payload[0]
            if isinstance(data, dict) and data.get("e"):
                yield data


@needs_shared
def test_frames_have_the_real_shape():
    """Message by message: no key of a 2024+ capture is missing, no type differs, extras are known."""
    _, events = our_events()
    compared = set()
    for real in real_frames():
        kind = real["e"]
        if kind not in events or real.get("E", 0) < 1_700_000_000_000:
            continue
        filled = real.get("o", {}).get("x") == "TRADE"
        ours = next(
            e
            for e in events[kind]
            if kind != "ORDER_TRADE_UPDATE" or (e["o"]["x"] == "TRADE") == filled
        )
        if kind == "ACCOUNT_UPDATE" and not real["a"]["P"]:
            continue
        missing, extra, wrong = differences(real, ours)
        allowed = KNOWN.get(kind, {})
        assert missing <= allowed.get("missing", set()), (kind, missing)
        assert not wrong, (kind, wrong)
        assert extra <= allowed.get("extra", set()) | {"a.P.[].bep"}, (kind, extra)
        compared.add(kind)
    assert compared >= {
        "aggTrade",
        "bookTicker",
        "markPriceUpdate",
        "depthUpdate",
        "trade",
        "TRADE_LITE",
        "ORDER_TRADE_UPDATE",
        "ACCOUNT_UPDATE",
    }


@needs_shared
def test_old_frames_keep_their_keys():
    """Keys of captures from 2019 to 2022 are still there (forceOrder apart: none happened)."""
    _, events = our_events()
    for real in real_frames():
        kind = real["e"]
        if (
            kind not in events
            or real.get("E", 0) >= 1_700_000_000_000
            or kind in ("ACCOUNT_UPDATE", "ACCOUNT_CONFIG_UPDATE")
        ):
            continue
        missing, _, wrong = differences(real, events[kind][-1])
        assert not missing - {"X"}, (kind, missing)
        assert not wrong, (kind, wrong)


@needs_shared
def test_algo_updates_have_the_real_sequence_shape():
    """Captured TRIGGERED and FINISHED events have our keys and types; `rm` only with a reason."""
    _, events = our_events()
    real = {}
    for line in (SHARED / "fixtures" / "nautilus_futures.jsonl").read_text().splitlines():
        row = json.loads(line)
        if row["name"].startswith("ws_futures_algo"):
            real[row["payload"]["data"]["o"]["X"]] = row["payload"]["data"]
    ours = {e["o"]["X"]: e for e in events["ALGO_UPDATE"]}
    for status in ("TRIGGERED", "FINISHED"):
        missing, extra, wrong = differences(real[status], ours[status])
        assert (missing, extra, wrong) == (set(), set(), set()), status


REST = {
    "Account/GetAccountConfiguration": ("GET", "/fapi/v1/accountConfig", {}),
    "Account/GetAccountInfoV3": ("GET", "/fapi/v3/account", {}),
    "Account/GetPositionAdlQuantileEstimation": None,
    "Account/ChangeInitialLeverage": (
        "POST",
        "/fapi/v1/leverage",
        {"symbol": "BTCUSDT", "leverage": 21},
    ),
    "Account/GetUserCommissionRate": ("GET", "/fapi/v1/commissionRate", {"symbol": "BTCUSDT"}),
    "ExchangeData/GetAggregatedTradeHistory": ("GET", "/fapi/v1/aggTrades", {"symbol": "BTCUSDT"}),
    "ExchangeData/GetBasis": (
        "GET",
        "/futures/data/basis",
        {"pair": "BTCUSDT", "contractType": "PERPETUAL", "period": "1h"},
    ),
    "ExchangeData/GetFundingRates": ("GET", "/fapi/v1/fundingRate", {"symbol": "BTCUSDT"}),
    "ExchangeData/GetIndexPriceConstituents": (
        "GET",
        "/fapi/v1/constituents",
        {"symbol": "BTCUSDT"},
    ),
    "ExchangeData/GetInsuranceFundBalances": ("GET", "/fapi/v1/insuranceBalance", {}),
    "ExchangeData/GetMarkPrice": ("GET", "/fapi/v1/premiumIndex", {"symbol": "BTCUSDT"}),
    "ExchangeData/GetOpenInterest": ("GET", "/fapi/v1/openInterest", {"symbol": "BTCUSDT"}),
    "ExchangeData/GetOrderBook": ("GET", "/fapi/v1/depth", {"symbol": "BTCUSDT"}),
    "ExchangeData/GetPrice": ("GET", "/fapi/v2/ticker/price", {"symbol": "BTCUSDT"}),
    "ExchangeData/GetTicker": ("GET", "/fapi/v1/ticker/24hr", {"symbol": "BTCUSDT"}),
    "Trading/GetConditionalOrders": ("GET", "/fapi/v1/allAlgoOrders", {"symbol": "BTCUSDT"}),
}
REST_MISSING = {
    "Account/GetAccountInfoV3": {"assets.[].updateTime"},
    "Trading/GetConditionalOrders": set(),
}


@needs_shared
def test_rest_replies_have_the_documented_shape():
    """Reply by reply: keys and types of the documented bodies; newer keys of ours are extras."""
    c, _ = our_events()
    c.order(side="BUY", type="MARKET", quantity="0.02")
    lines = (SHARED / "fixtures" / "binance_net_usdfutures.jsonl").read_text().splitlines()
    seen = 0
    for line in lines:
        row = json.loads(line)
        name = row["name"].removeprefix("Endpoints/UsdFutures/")
        plan = REST.get(name)
        if plan is None:
            continue
        real = json.loads(row["text"].split("\n", 3)[3])
        method, path, params = plan
        ours = c.signed(method, path, **params) if "/fapi/v" in path else c.get(path, **params)
        if isinstance(real, list) and isinstance(ours, list):
            assert ours, name
        missing, _extra, wrong = differences(real, ours)
        assert missing <= REST_MISSING.get(name, set()), (name, missing)
        assert not wrong, (name, wrong)
        seen += 1
    assert seen >= 12


@needs_shared
def test_mainnet_excerpt():
    """exchangeInfo entries, premiumIndex, fundingInfo and openInterestHist as of 2026-09."""
    c, _ = our_events()
    real = json.loads((SHARED / "fixtures" / "mainnet_rest_excerpt_20260930.json").read_text())
    ours = c.get("/fapi/v1/exchangeInfo")["symbols"][0]
    theirs = real["exchangeInfo"]["symbols"][0]
    assert set(theirs) == set(ours)
    assert {f["filterType"] for f in theirs["filters"]} == {
        f["filterType"] for f in ours["filters"]
    }
    for mine in ours["filters"]:
        other = next(f for f in theirs["filters"] if f["filterType"] == mine["filterType"])
        assert shape(mine) == shape(other)
    assert ours["filters"][0]["filterType"] == "PRICE_FILTER"
    for key, path, params in (
        ("premiumIndex", "/fapi/v1/premiumIndex", {}),
        (
            "openInterestHist_5m",
            "/futures/data/openInterestHist",
            {"symbol": "BTCUSDT", "period": "5m"},
        ),
    ):
        assert differences(real[key][0], c.get(path, **params)[0]) == (set(), set(), set()), key
