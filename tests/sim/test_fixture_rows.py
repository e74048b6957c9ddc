"""The rest of the captures: writes, WebSocket-API replies, rare events, whole files. No row is left out."""

import gzip
import hashlib
import hmac
import json

from tests.shared import SHARED, needs_shared
from tests.sim import test_every_fixture as plain
from tests.sim.driver import Client
from tests.sim.test_every_fixture import BTC, captured_frames, differing
from tests.sim.test_fixtures import our_events, shape

ENTRY = {"side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "0.02"}
FIXTURES = SHARED / "fixtures"

UNSERVED = {
    "CancelAlgoOrder": "another product: VP and TWAP orders of /sapi/v1/algo",
    "GetClosedAlgoOrders": "the same",
    "PlaceVolumeParticipationOrder": "the same",
    "ConvertQuoteRequest": "another product: convert",
    "Concurrent": "a client's own test of two subscriptions, with a cut-down kline",
}
"""Captured rows of other products than the venue's."""


def at_rest(c):
    return c.order(**ENTRY, price=f"{c.price() * 0.97:.1f}")


def conditional(c):
    stop = {"side": "SELL", "type": "TAKE_PROFIT", "quantity": "0.01"}
    price = f"{c.price() * 1.1:.1f}"
    return c.algo(**stop, triggerPrice=price, price=price)


def amended(c):
    order = at_rest(c)
    move = {**BTC, "side": "BUY", "orderId": order["orderId"], "quantity": "0.03"}
    return c.signed("PUT", "/fapi/v1/order", **move, price=f"{c.price() * 0.96:.1f}")


def edit_history(c):
    order = amended(c)
    return c.signed("GET", "/fapi/v1/orderAmendment", **BTC, orderId=order["orderId"])


def margin_added(c):
    c.signed("POST", "/fapi/v1/marginType", **BTC, marginType="ISOLATED")
    c.order(side="BUY", type="MARKET", quantity="0.02")
    return c.signed("POST", "/fapi/v1/positionMargin", **BTC, amount="5", type=1)


def liquidated(c):
    c.order(side="BUY", type="MARKET", quantity="0.02")
    account = c.venue.account()
    c.venue.exchange.desk.margin.force_close(account, c.venue.positions()[0], "autoclose-")
    return c.signed("GET", "/fapi/v1/forceOrders", **BTC)


def cancelled(c):
    return c.signed("DELETE", "/fapi/v1/order", **BTC, orderId=at_rest(c)["orderId"])


def conditional_cancelled(c):
    return c.signed("DELETE", "/fapi/v1/algoOrder", algoId=conditional(c)["algoId"])


WRITES = {
    "ModifyPositionMargin": margin_added,
    "SetBnbBurnStatus": lambda c: c.signed("POST", "/fapi/v1/feeBurn", feeBurn=True),
    "GetCompositeIndexInfo": lambda c: c.get("/fapi/v1/indexInfo"),
    "CancelAllOrders": lambda c: c.signed("DELETE", "/fapi/v1/allOpenOrders", **BTC),
    "CancelConditionalOrder": conditional_cancelled,
    "CancelOrder": cancelled,
    "EditOrder": amended,
    "GetForcedOrders": liquidated,
    "GetOrderEditHistory": edit_history,
    "PlaceConditionalOrder": conditional,
    "PlaceOrder": at_rest,
}
ACCEPTED_WRITES: dict[str, set[str]] = {
    # BINANCE §2.3: the REST cancel answers with ids and a code; the capture is the whole order
    "CancelConditionalOrder": {
        "+code",
        "+msg",
        *(
            f"-{key}"
            for key in [
                "algoType",
                "orderType",
                "symbol",
                "side",
                "positionSide",
                "timeInForce",
                "quantity",
                "algoStatus",
                "triggerPrice",
                "price",
                "icebergQuantity",
                "selfTradePreventionMode",
                "workingType",
                "priceMatch",
                "closePosition",
                "priceProtect",
                "reduceOnly",
                "createTime",
                "updateTime",
                "triggerTime",
                "goodTillDate",
            ]
        ),
    },
    # dropped from placing, amending and cancelling in 2026-06; the rest is of trailing orders
    "CancelOrder": {"-cumQuote", "-activatePrice", "-priceRate"},
    "EditOrder": {"-avgPrice", "-cumBase"},
    "PlaceOrder": {"-avgPrice", "-cumQuote", "-activatePrice", "-priceRate"},
    # fields newer than the captures
    "GetForcedOrders": {"+[].pair", "+[].cumBase"},
}
WS_API = {
    "GetBalances": ("v2/account.balance", lambda c: {}),
    "GetBookPrices": ("ticker.book", lambda c: {}),
    "GetPrice": ("ticker.price", lambda c: BTC),
    "GetPositions": ("v2/account.position", lambda c: {}),
    "PlaceOrder": (
        "order.place",
        lambda c: {**BTC, **ENTRY, "price": f"{c.price() * 0.97:.1f}"},
    ),
    "EditOrder": (
        "order.modify",
        lambda c: {
            **BTC,
            "orderId": at_rest(c)["orderId"],
            "side": "BUY",
            "quantity": "0.03",
            "price": f"{c.price() * 0.96:.1f}",
        },
    ),
    "CancelConditionalOrder": (
        "algoOrder.cancel",
        lambda c: {"algoId": conditional(c)["algoId"]},
    ),
}
ACCEPTED_WS_API: dict[str, set[str]] = {
    # dropped in 2026-06 (BINANCE §1)
    "PlaceOrder": {"-result.avgPrice", "-result.cumQuote"},
    "EditOrder": {"-result.avgPrice", "-result.cumQuote", "+result.pair"},
    # of trailing orders, and newer than the capture
    "CancelConditionalOrder": {"+result.activatePrice", "+result.callbackRate"},
    # a typist's small r: REST and the official SDK spell it with a capital one here too
    "GetPositions": {"-result.[].unrealizedProfit", "+result.[].unRealizedProfit"},
}
ACCEPTED_RARE: dict[str, set[str]] = {
    # fields newer than the captures
    "contractInfo": {"+st"},
}


def net_rows():
    """(kind, name, text) of every row of the request and response captures."""
    for line in (FIXTURES / "binance_net_usdfutures.jsonl").read_text().splitlines():
        row = json.loads(line)
        kind, _, rest = row["name"].partition("/")
        yield kind, rest.rsplit("/", 1)[-1], row["text"]


def is_plain(text):
    """Whether `test_every_fixture` compares this REST row."""
    method, path = text.split("\n", 3)[:2]
    return (path in plain.REST or path in plain.PLAIN) and (
        method == "GET" or path in ("/fapi/v1/leverage", "/fapi/v1/listenKey")
    )


def marked(differences, prefix=""):
    return {f"{d[0]}{prefix}{d[1:]}" for d in differences}


@needs_shared
def test_writes_differ_exactly_as_accepted():
    """Replies to placing, amending, cancelling and switching have the captured keys and types."""
    found = {}
    for kind, name, text in net_rows():
        if kind != "Endpoints" or name not in WRITES:
            continue
        c = Client(symbol_names=("BTCDOMUSDT",) if name == "GetCompositeIndexInfo" else ())
        c.order(side="BUY", type="MARKET", quantity="0.02") if "Conditional" in name else None
        wrong = differing(json.loads(text.split("\n", 3)[3]), WRITES[name](c))
        found |= {name: wrong} if wrong else {}
    assert found == ACCEPTED_WRITES


@needs_shared
def test_ws_api_replies_differ_exactly_as_accepted():
    """Replies of the WebSocket API, result and rateLimits, have the captured keys and types."""
    found = {}
    for kind, name, text in net_rows():
        if kind != "Socket":
            continue
        method, params = WS_API[name]
        c = Client()
        c.open(1, "/ws-fapi/v1")
        c.order(side="BUY", type="MARKET", quantity="0.02")
        asked = {**params(c), "apiKey": c.key, "timestamp": c.now}
        payload = "&".join(f"{k}={asked[k]}" for k in sorted(asked))
        asked["signature"] = hmac.new(
            c.secret.encode(), payload.encode(), hashlib.sha256
        ).hexdigest()
        c.send(1, {"id": "1", "method": method, "params": asked})
        ours = c.take(1)[-1]
        assert ours["status"] == 200, (name, ours)
        wrong = differing(json.loads(text.split("\n= ", 1)[1]), ours)
        wrong -= {"-rateLimits.[].count"} if not ours["rateLimits"] else set()
        found |= {name: wrong} if wrong else {}
    assert found == ACCEPTED_WS_API


def rare_events():
    """Event type -> our events of the kinds that need a hand: forced orders, margin calls, rules."""
    c, events = our_events()
    x, account = c.venue.exchange, c.venue.account()
    c.open(5, "/market/ws/!contractInfo/!assetIndex@arr/btcusdt@forceOrder/!forceOrder@arr")
    c.signed("POST", "/fapi/v1/listenKey")
    c.order(side="BUY", type="MARKET", quantity="0.02")
    x.desk.margin.force_close(account, c.venue.positions()[0], "autoclose-")
    c.order(side="BUY", type="MARKET", quantity="0.02")
    x.desk.out.margin_call(account, c.venue.positions())
    x.replace_listed(x.listed[0])
    c.signed("POST", "/fapi/v1/multiAssetsMargin", multiAssetsMargin=True)
    c.run(3_000)
    for frame in [f for frames in c.inbox.values() for f in frames]:
        one = frame[0] if isinstance(frame, list) else frame
        if "e" in one:
            events.setdefault(one["e"], []).append(one)
    return events


@needs_shared
def test_every_captured_event_type_is_compared():
    """Rare events have the captured shape, and no captured event type is unknown to the venue."""
    events = rare_events()
    found, seen = {}, set()
    for real in captured_frames():
        kind = real.get("e", "")
        if not kind:
            continue
        assert kind in events, kind
        seen.add(kind)
        if kind in plain.ACCEPTED_FRAMES and kind != "ACCOUNT_CONFIG_UPDATE":
            continue
        best = min((differing(real, ours) for ours in events[kind]), key=len)
        found.setdefault(kind, set()).update(best)
    assert {k: v for k, v in found.items() if v} == ACCEPTED_RARE
    assert seen >= {"forceOrder", "MARGIN_CALL", "contractInfo", "assetIndexUpdate", "kline"}


@needs_shared
def test_whole_files_have_our_shapes():
    """Candle rows, leverage brackets and both captured exchangeInfo bodies, entry by entry."""
    c = Client()
    rows = c.get("/fapi/v1/klines", symbol="BTCUSDT", interval="1d", limit=3)
    for line in (FIXTURES / "rest_klines_1d.jsonl").read_text().splitlines():
        for real in json.loads(line)["payload"]:
            assert [type(v) for v in real] == [type(v) for v in rows[0]]
    bracket = c.signed("GET", "/fapi/v1/leverageBracket")[0]["brackets"][0]
    tiers = json.loads(
        gzip.decompress((FIXTURES / "leverage_tiers_freqtrade.json.gz").read_bytes())
    )
    for tier in (row for rows in tiers.values() for row in rows):
        assert set(tier["info"]) == set(bracket)  # the capturing client made strings of the numbers
    ours = c.get("/fapi/v1/exchangeInfo")
    for name in ("exchangeInfo_20210722.json.gz", "exchangeInfo_TESTNET_20251126.json.gz"):
        real = json.loads(gzip.decompress((FIXTURES / name).read_bytes()))
        assert set(real) == set(ours)
        assert differing(real["rateLimits"], ours["rateLimits"]) == set()
        assert differing(real["assets"], ours["assets"]) == set()
        keys = set(ours["symbols"][0])
        filters = {f["filterType"]: shape(f) for f in ours["symbols"][0]["filters"]}
        for symbol in real["symbols"]:
            assert set(symbol) - keys <= {"settlePlan"}  # gone by 2026
            assert keys - set(symbol) <= {"maxMoveOrderLimit", "permissionSets"}  # newer than 2021
            for one in symbol["filters"]:
                if one["filterType"] != "MAX_NUM_ALGO_ORDERS":  # removed 2025-12 (BINANCE §1)
                    wanted = {k: v for k, v in shape(one).items() if k != "positionControlSide"}
                    own = dict(filters[one["filterType"]])
                    own.pop("positionControlSide", None)
                    odd = {k for k, v in wanted.items() if own.get(k) != v}
                    assert odd <= {"multiplierDecimal"}, (symbol["symbol"], one)  # a number in 2021


@needs_shared
def test_single_rows_of_other_collections():
    """An order reply, a second commission row, and a recorder's wrappers of REST replies."""
    c = Client()
    found = {}
    for line in (FIXTURES / "nautilus_futures.jsonl").read_text().splitlines():
        row = json.loads(line)
        if row["name"] == "order_response":
            made = at_rest(c)
            ours = c.signed("GET", "/fapi/v1/order", **BTC, orderId=made["orderId"])
            found[row["name"]] = differing(row["payload"], ours)
        elif row["name"] == "http_futures_wallet_commission_rate_ethusdt":
            ours = c.signed("GET", "/fapi/v1/commissionRate", symbol="ETHUSDT")
            found[row["name"]] = differing(row["payload"], ours)
    for line in (FIXTURES / "frames_tardis_node.jsonl").read_text().splitlines():
        payload = json.loads(line)["payload"]
        if payload.get("generated"):
            name = payload["stream"].split("@")[1]
            path = {"depthSnapshot": "depth", "openInterest": "openInterest"}[name]
            found[name] = differing(payload["data"], c.get(f"/fapi/v1/{path}", **BTC))
    assert found == {
        # fields newer than the captures
        "order_response": ORDER_RESPONSE,
        "http_futures_wallet_commission_rate_ethusdt": {"+rpiCommissionRate"},
        "depthSnapshot": {"+E", "+T"},
        "openInterest": {"+time"},
    }


ORDER_RESPONSE: set[str] = set()


@needs_shared
def test_no_row_is_left_out():
    """Every row of every capture is compared by some test here, or is of another product."""
    left = []
    for kind, name, text in net_rows():
        served = {
            "Endpoints": name in WRITES or is_plain(text),
            "Socket": name in WS_API,
            "Subscriptions": "\n= " in text,
        }[kind]
        if not served and name not in UNSERVED:
            left.append(f"{kind}/{name}")
    for line in (FIXTURES / "nautilus_futures.jsonl").read_text().splitlines():
        row = json.loads(line)
        inner = (
            row["payload"].get("data", row["payload"]) if isinstance(row["payload"], dict) else {}
        )
        singles = ("order_response", "http_futures_wallet_commission_rate_ethusdt")
        if "e" not in inner and row["name"] not in plain.NAMED and row["name"] not in singles:
            left.append(row["name"])
    assert left == []
    assert {p.name for p in FIXTURES.iterdir()} == {
        "binance_net_usdfutures.jsonl",
        "exchangeInfo_20210722.json.gz",
        "exchangeInfo_TESTNET_20251126.json.gz",
        "frames_public_code.jsonl",
        "frames_tardis_node.jsonl",
        "frames_unicorn_fy.jsonl",
        "leverage_tiers_freqtrade.json.gz",
        "mainnet_rest_excerpt_20260930.json",
        "nautilus_futures.jsonl",
        "rest_klines_1d.jsonl",
    }
