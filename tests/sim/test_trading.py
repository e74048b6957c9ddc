"""Orders, algo orders and account settings as a client meets them."""

import json
from decimal import Decimal

import pytest
from tests.sim.driver import Client

from cryptosignal.ground.units import HOUR_MS, MINUTE_MS
from cryptosignal.sim.settings import AccountSettings


def kinds(events):
    """Event names with the status that matters."""
    out = []
    for e in events:
        o = e.get("o", {})
        out.append((e["e"], o.get("X") or e.get("a", {}).get("m", "")))
    return out


def test_market_order_life():
    """NEW, TRADE_LITE, fill, ACCOUNT_UPDATE in order; the ACK shows no fill price."""
    c = Client()
    c.open_private()
    ack = c.order(side="BUY", type="MARKET", quantity="0.05", newClientOrderId="m1")
    assert (ack["status"], ack["executedQty"]) == ("NEW", "0.000")
    assert not {"avgPrice", "cumQuote"} & set(ack)
    assert kinds(c.take(9)) == [
        ("ORDER_TRADE_UPDATE", "NEW"),
        ("TRADE_LITE", ""),
        ("ORDER_TRADE_UPDATE", "FILLED"),
        ("ACCOUNT_UPDATE", "ORDER"),
    ]
    order = c.signed("GET", "/fapi/v1/order", symbol="BTCUSDT", origClientOrderId="m1")
    assert (order["status"], order["executedQty"]) == ("FILLED", "0.050")
    risk = c.signed("GET", "/fapi/v3/positionRisk")
    assert risk[0]["entryPrice"] == str(Decimal(order["avgPrice"]).normalize())
    assert not {"leverage", "marginType"} & set(risk[0])
    result = c.order(
        side="SELL", type="MARKET", quantity="0.05", newOrderRespType="RESULT", reduceOnly=True
    )
    assert result["status"] == "FILLED"
    assert c.venue.positions() == []


def test_client_ids_are_no_idempotency_keys():
    """A market order's id may be used again at once; a resting order's only when it is gone."""
    c = Client()
    for _ in range(2):
        assert "orderId" in c.order(
            side="BUY", type="MARKET", quantity="0.01", newClientOrderId="same"
        )
    assert len(c.venue.executions()) == 2
    limit = {
        "side": "BUY",
        "type": "LIMIT",
        "timeInForce": "GTC",
        "quantity": "0.01",
        "price": "82000",
    }
    assert "orderId" in c.order(**limit, newClientOrderId="rest")
    assert c.order(**limit, newClientOrderId="rest")["code"] == -4116
    assert (
        c.signed("DELETE", "/fapi/v1/order", symbol="BTCUSDT", origClientOrderId="rest")["status"]
        == "CANCELED"
    )
    assert (
        c.signed("DELETE", "/fapi/v1/order", symbol="BTCUSDT", origClientOrderId="rest")["code"]
        == -2011
    )
    assert "orderId" in c.order(**limit, newClientOrderId="rest")
    assert (
        c.signed("GET", "/fapi/v1/order", symbol="BTCUSDT", origClientOrderId="none")["code"]
        == -2013
    )


def test_limit_order_waits_its_turn_and_fills_as_maker():
    """A resting order shows in the book, is filled by the flow, and pays the maker fee."""
    c = Client()
    c.open_private()
    c.open(1, "/market/ws/btcusdt@aggTrade")
    bid = c.get("/fapi/v1/depth", symbol="BTCUSDT", limit=5)["bids"][0]
    c.order(side="BUY", type="LIMIT", timeInForce="GTC", quantity="0.500", price=bid[0])
    after = c.get("/fapi/v1/depth", symbol="BTCUSDT", limit=5)["bids"][0]
    assert Decimal(after[1]) - Decimal(bid[1]) == Decimal("0.500")
    c.run(30 * MINUTE_MS)
    fills = c.venue.executions()
    assert sum(f.qty for f in fills) == Decimal("0.500")
    assert all(
        f.is_maker and f.fee == (f.price * f.qty * Decimal("0.0002")).quantize(Decimal("1e-8"))
        for f in fills
    )
    prints = {t["f"]: t for t in c.inbox[1]}
    for f in fills:
        assert (Decimal(prints[f.trade_id]["p"]), Decimal(prints[f.trade_id]["q"])) == (
            f.price,
            f.qty,
        )


def test_clients_trades_stay_in_candles():
    """Volume that clients trade is in the stream's and in REST's candles alike."""
    c = Client()
    c.open(1, "/market/ws/btcusdt@kline_1m")
    for _ in range(3):
        c.run(20_000)
        c.order(side="BUY", type="MARKET", quantity="0.900")
        bid = c.get("/fapi/v1/depth", symbol="BTCUSDT", limit=5)["bids"][0][0]
        c.order(side="BUY", type="LIMIT", timeInForce="GTC", quantity="0.100", price=bid)
    c.run(4 * MINUTE_MS)
    rows = {r[0]: r for r in c.get("/fapi/v1/klines", symbol="BTCUSDT", interval="1m", limit=8)}
    closed = [f["k"] for f in c.inbox[1] if f["k"]["x"]]
    for k in closed:
        row = rows[k["t"]]
        assert [row[i] for i in (1, 2, 3, 4, 5, 7, 8, 9, 10)] == [k[x] for x in "ohlcvqnVQ"]


@pytest.mark.parametrize("tif", ["IOC", "FOK", "GTX", "GTC"])
def test_times_in_force(tif):
    """IOC expires its rest, FOK and GTX refuse, GTC rests."""
    c = Client()
    ask = c.get("/fapi/v1/depth", symbol="ETHUSDT", limit=5)["asks"][0]
    size = f"{Decimal(ask[1]) + Decimal('0.5'):.3f}"
    reply = c.signed(
        "POST",
        "/fapi/v1/order",
        symbol="ETHUSDT",
        side="BUY",
        type="LIMIT",
        timeInForce=tif,
        quantity=size,
        price=ask[0],
        newOrderRespType="RESULT",
    )
    if tif == "FOK":
        assert reply["code"] == -5021
        return
    if tif == "GTX":
        assert reply["code"] == -5022
        return
    assert Decimal(reply["executedQty"]) == Decimal(ask[1])
    assert reply["status"] == ("EXPIRED" if tif == "IOC" else "PARTIALLY_FILLED")


def test_gtd_and_countdown():
    """A GTD order ends at its time; countdownCancelAll cancels ordinary orders, not algo orders."""
    c = Client()
    limit = {"side": "BUY", "type": "LIMIT", "quantity": "0.01", "price": "81000"}
    c.order(**limit, timeInForce="GTD", goodTillDate=c.now + 700_000)
    assert (
        c.signed("POST", "/fapi/v1/countdownCancelAll", symbol="ETHUSDT", countdownTime=5000)[
            "countdownTime"
        ]
        == "5000"
    )
    c.run(699_000)
    assert len(c.venue.open_orders()) == 1
    c.run(2_000)
    assert c.venue.open_orders() == []
    c.order(**limit, timeInForce="GTC")
    c.algo(side="SELL", type="STOP_MARKET", quantity="0.01", triggerPrice="79000")
    c.signed("POST", "/fapi/v1/countdownCancelAll", symbol="BTCUSDT", countdownTime=3000)
    c.run(3_100)
    assert c.venue.open_orders() == []
    assert len(c.venue.open_algos()) == 1
    assert c.signed("DELETE", "/fapi/v1/allOpenOrders", symbol="BTCUSDT")["code"] == 200
    assert len(c.venue.open_algos()) == 1


def test_a_countdown_can_take_algo_orders_too():
    """Nobody has verified what the real one does: the worse way can be simulated."""
    c = Client(countdown_takes_algos=True)
    c.algo(side="SELL", type="STOP_MARKET", quantity="0.01", triggerPrice="79000")
    c.signed("POST", "/fapi/v1/countdownCancelAll", symbol="BTCUSDT", countdownTime=3000)
    c.run(2_900)
    assert len(c.venue.open_algos()) == 1
    c.run(200)
    assert c.venue.open_algos() == []


def test_amend_loses_priority_and_keeps_the_order():
    """PUT moves price and quantity; nothing changed is -5027; a bad filter leaves the order alone."""
    c = Client()
    c.open_private()
    order = c.order(side="BUY", type="LIMIT", timeInForce="GTC", quantity="0.01", price="82000")
    put = {"symbol": "BTCUSDT", "orderId": order["orderId"], "side": "BUY"}
    moved = c.signed("PUT", "/fapi/v1/order", **put, quantity="0.02", price="82100")
    assert (moved["origQty"], moved["price"], moved["selfTradePreventionMode"]) == (
        "0.020",
        "82100.00",
        "NONE",
    )
    assert c.signed("PUT", "/fapi/v1/order", **put, quantity="0.02", price="82100")["code"] == -5027
    assert (
        c.signed("PUT", "/fapi/v1/order", **put, quantity="0.02", price="82100.05")["code"] == -4014
    )
    assert c.signed("GET", "/fapi/v1/openOrders")[0]["price"] == "82100.00"
    assert ("ORDER_TRADE_UPDATE", "NEW") in kinds(c.take(9))
    assert c.signed("GET", "/fapi/v1/orderAmendment", **put)[0]["amendment"]["count"] == 1


def test_batch_is_not_atomic():
    """A batch answers each order on its own."""
    c = Client()
    good = {
        "symbol": "BTCUSDT",
        "side": "BUY",
        "type": "LIMIT",
        "timeInForce": "GTC",
        "quantity": "0.01",
        "price": "82000",
    }
    replies = c.signed(
        "POST", "/fapi/v1/batchOrders", batchOrders=json.dumps([good, {**good, "price": "1"}])
    )
    assert replies[0]["status"] == "NEW"
    assert replies[1]["code"] == -4164
    ids = json.dumps([replies[0]["orderId"], 1])
    gone = c.signed("DELETE", "/fapi/v1/batchOrders", symbol="BTCUSDT", orderIdList=ids)
    assert gone[0]["status"] == "CANCELED"
    assert gone[1] == {"code": -2011, "msg": "Unknown order sent."}


def test_reduce_only_never_opens():
    """A reduce-only order is cut to the position, and what is left of it ends with the position."""
    c = Client()
    c.open_private()
    c.order(side="BUY", type="MARKET", quantity="0.02")
    price = f"{c.price() * 1.02:.0f}"
    c.order(
        side="SELL", type="LIMIT", timeInForce="GTC", quantity="0.02", price=price, reduceOnly=True
    )
    assert (
        c.order(
            side="SELL",
            type="LIMIT",
            timeInForce="GTC",
            quantity="0.02",
            price=price,
            reduceOnly=True,
        )["code"]
        == -2022
    )
    reply = c.order(
        side="SELL", type="MARKET", quantity="0.05", reduceOnly=True, newOrderRespType="RESULT"
    )
    assert reply["executedQty"] == "0.020"
    assert c.venue.positions() == []
    assert c.venue.open_orders() == []
    assert [
        e["o"]["er"]
        for e in c.take(9)
        if e["e"] == "ORDER_TRADE_UPDATE" and e["o"]["X"] == "EXPIRED"
    ] == ["4", "9"]


def test_hedge_mode():
    """LONG and SHORT live side by side; reduceOnly is forbidden; mixing modes is -4061."""
    c = Client()
    assert c.signed("POST", "/fapi/v1/positionSide/dual", dualSidePosition="true")["code"] == 200
    assert c.signed("POST", "/fapi/v1/positionSide/dual", dualSidePosition="true")["code"] == -4059
    assert c.order(side="BUY", type="MARKET", quantity="0.01")["code"] == -4061
    assert (
        c.order(side="BUY", type="MARKET", quantity="0.01", positionSide="LONG", reduceOnly=True)[
            "code"
        ]
        == -1106
    )
    c.order(side="BUY", type="MARKET", quantity="0.01", positionSide="LONG")
    c.order(side="SELL", type="MARKET", quantity="0.02", positionSide="SHORT")
    assert {(p.side, p.qty) for p in c.venue.positions()} == {
        ("LONG", Decimal("0.010")),
        ("SHORT", Decimal("-0.020")),
    }
    assert c.signed("POST", "/fapi/v1/positionSide/dual", dualSidePosition="false")["code"] == -4068
    c.order(side="SELL", type="MARKET", quantity="0.01", positionSide="LONG")
    assert [p.side for p in c.venue.positions()] == ["SHORT"]


def test_algo_orders_live_elsewhere():
    """Algo orders are invisible to the order endpoints, refused when they would fire, unique when closing."""
    c = Client()
    price = c.price()
    stop = {"side": "SELL", "type": "STOP_MARKET", "triggerPrice": f"{price * 0.98:.1f}"}
    assert (
        c.algo(**{**stop, "triggerPrice": f"{price * 1.01:.1f}"}, quantity="0.01")["code"] == -2021
    )
    c.order(side="BUY", type="MARKET", quantity="0.01")
    made = c.algo(**stop, closePosition=True, clientAlgoId="c1")
    assert (made["algoStatus"], made["timeInForce"]) == ("NEW", "GTE_GTC")
    assert c.algo(**stop, closePosition=True)["code"] == -4130
    profit = {"side": "SELL", "type": "TAKE_PROFIT_MARKET", "triggerPrice": f"{price * 1.02:.1f}"}
    assert "algoId" in c.algo(**profit, closePosition=True)
    assert c.algo(**stop, quantity="0.01", closePosition=True)["code"] == -4137
    assert c.signed("GET", "/fapi/v1/openOrders") == []
    assert (
        c.signed("GET", "/fapi/v1/order", symbol="BTCUSDT", origClientOrderId="c1")["code"] == -2013
    )
    assert (
        c.signed("DELETE", "/fapi/v1/order", symbol="BTCUSDT", origClientOrderId="c1")["code"]
        == -2011
    )
    assert len(c.signed("GET", "/fapi/v1/openAlgoOrders")) == 2
    assert c.signed("DELETE", "/fapi/v1/algoOrder", clientAlgoId="c1")["code"] == "200"
    assert c.signed("DELETE", "/fapi/v1/algoOrder", clientAlgoId="c1")["code"] == -2011
    assert c.signed("DELETE", "/fapi/v1/algoOpenOrders", symbol="BTCUSDT")["code"] == 200
    assert c.venue.open_algos() == []


@pytest.mark.parametrize(
    ("kind", "move"), [("STOP_MARKET", -1), ("TAKE_PROFIT_MARKET", 1), ("TRAILING_STOP_MARKET", 0)]
)
@pytest.mark.parametrize("heard", [False, True])
def test_triggered_algo_sequence(kind, move, heard):
    """TRIGGERING, TRIGGERED with the order's id, NEW, fill, FINISHED; clientOrderId is the algo's."""
    c = Client()
    c.open_private()
    if heard:
        c.open(1, "/market/ws/btcusdt@aggTrade")
    c.order(side="BUY", type="MARKET", quantity="0.01")
    price = c.price()
    extra = (
        {"callbackRate": "0.1"}
        if kind.startswith("TRAIL")
        else {"triggerPrice": f"{price * (1 + 0.0008 * move):.1f}"}
    )
    c.algo(side="SELL", type=kind, quantity="0.01", reduceOnly=True, clientAlgoId="p1", **extra)
    c.take(9)
    for _ in range(60):
        c.run(5 * MINUTE_MS)
        c.signed("PUT", "/fapi/v1/listenKey")
        if not c.venue.positions():
            break
    events = [e for e in c.inbox[9] if e["e"] != "TRADE_LITE"]
    shown = [x for x in kinds(events) if x[0] != "ACCOUNT_UPDATE"]
    assert shown[-5:] == [
        ("ALGO_UPDATE", "TRIGGERING"),
        ("ALGO_UPDATE", "TRIGGERED"),
        ("ORDER_TRADE_UPDATE", "NEW"),
        ("ORDER_TRADE_UPDATE", "FILLED"),
        ("ALGO_UPDATE", "FINISHED"),
    ]
    algo = [e["o"] for e in events if e["e"] == "ALGO_UPDATE"]
    assert algo[-3]["ai"] == ""
    assert "ap" not in algo[-3]
    assert algo[-2]["ai"] == algo[-1]["ai"] != ""
    assert algo[-1]["aq"] == "0.010"
    order = next(
        e["o"] for e in events if e["e"] == "ORDER_TRADE_UPDATE" and e["o"]["X"] == "FILLED"
    )
    assert (order["c"], order["ot"], str(order["i"])) == ("p1", kind, algo[-1]["ai"])
    asked = c.signed("GET", "/fapi/v1/algoOrder", clientAlgoId="p1")
    assert (asked["algoStatus"], asked["actualQty"]) == ("FINISHED", "0.010")


def test_reduce_only_stop_without_position_is_rejected_at_trigger():
    """A reduce-only stop that fires flat ends REJECTED with a reason."""
    c = Client()
    c.open_private()
    c.algo(
        side="SELL",
        type="STOP_MARKET",
        quantity="0.01",
        reduceOnly=True,
        triggerPrice=f"{c.price() * 0.999:.1f}",
    )
    for _ in range(40):
        c.run(5 * MINUTE_MS)
        c.signed("PUT", "/fapi/v1/listenKey")
    last = [e["o"] for e in c.inbox[9] if e["e"] == "ALGO_UPDATE"][-1]
    assert (last["X"], last["rm"]) == ("REJECTED", "Reduce Only reject")


def test_funding_is_paid_at_its_time():
    """Funding = -quantity x mark x rate, booked as income and told as FUNDING_FEE with the symbol."""
    c = Client()
    c.open_private()
    c.order(side="SELL", type="MARKET", quantity="0.1")
    due = c.get("/fapi/v1/premiumIndex", symbol="BTCUSDT")["nextFundingTime"]
    while c.now < due + 1:
        c.run(min(30 * MINUTE_MS, due + 1 - c.now))
        c.signed("PUT", "/fapi/v1/listenKey")
    rate = Decimal(c.get("/fapi/v1/fundingRate", symbol="BTCUSDT", limit=1)[0]["fundingRate"])
    row = c.signed("GET", "/fapi/v1/income", incomeType="FUNDING_FEE")[0]
    notional = Decimal("0.1") * c.venue.mark("BTCUSDT")
    assert float(row["income"]) == pytest.approx(float(notional * rate), rel=1e-3)
    event = next(
        e for e in c.inbox[9] if e["e"] == "ACCOUNT_UPDATE" and e["a"]["m"] == "FUNDING_FEE"
    )
    assert event["a"]["S"] == "BTCUSDT"
    assert event["a"]["P"] == []
    assert event["a"]["B"][0]["bc"] == str(Decimal(row["income"]).normalize())


def test_liquidation_takes_what_margin_does_not_carry():
    """An over-leveraged account is closed by force: autoclose- id, er 5, fee to the insurance fund."""
    c = Client(accounts=(AccountSettings(deposit_usdt="130"),))
    c.open_private()
    c.signed("POST", "/fapi/v1/leverage", symbol="DOGEUSDT", leverage=75)
    for side in ("BUY", "SELL"):
        c.signed(
            "POST", "/fapi/v1/order", symbol="DOGEUSDT", side=side, type="MARKET", quantity="60000"
        )
        for _ in range(80):
            c.run(10 * MINUTE_MS)
            c.signed("PUT", "/fapi/v1/listenKey")
            if not c.venue.positions():
                break
        if not c.venue.positions():
            break
    orders = [
        e["o"]
        for e in c.inbox[9]
        if e["e"] == "ORDER_TRADE_UPDATE" and e["o"]["c"].startswith("autoclose-")
    ]
    assert [o["x"] for o in orders[:2]] == ["NEW", "CALCULATED"]
    assert orders[1]["er"] == "5"
    assert c.venue.account().wallet >= 0
    ledger = c.venue.exchange.desk.ledger
    assert ledger.liquidation_fees > 0
    assert any(
        i["incomeType"] == "INSURANCE_CLEAR" for i in c.signed("GET", "/fapi/v1/income", limit=1000)
    )
    assert c.signed("GET", "/fapi/v1/forceOrders", autoCloseType="LIQUIDATION")


def test_isolated_margin():
    """An isolated position has its own wallet; margin type cannot change while it is held."""
    c = Client()
    assert (
        c.signed("POST", "/fapi/v1/marginType", symbol="ETHUSDT", marginType="ISOLATED")["code"]
        == 200
    )
    assert (
        c.signed("POST", "/fapi/v1/marginType", symbol="ETHUSDT", marginType="ISOLATED")["code"]
        == -4046
    )
    c.signed("POST", "/fapi/v1/order", symbol="ETHUSDT", side="BUY", type="MARKET", quantity="1")
    risk = c.signed("GET", "/fapi/v2/positionRisk", symbol="ETHUSDT")[0]
    assert (risk["marginType"], risk["leverage"]) == ("isolated", "20")
    assert float(risk["isolatedWallet"]) == pytest.approx(float(risk["entryPrice"]) / 20, rel=1e-6)
    assert float(risk["liquidationPrice"]) == pytest.approx(
        float(risk["entryPrice"]) * 0.957, rel=0.01
    )
    assert (
        c.signed("POST", "/fapi/v1/marginType", symbol="ETHUSDT", marginType="CROSSED")["code"]
        == -4048
    )
    assert (
        c.signed("POST", "/fapi/v1/positionMargin", symbol="ETHUSDT", amount="10", type=1)["code"]
        == 200
    )
    assert c.signed("POST", "/fapi/v1/leverage", symbol="ETHUSDT", leverage=10)["code"] == -4161


def test_private_urls_in_three_forms():
    """Path, query (with and without events) and SUBSCRIBE all deliver; events= filters."""
    c = Client()
    key = c.open_private(1)
    c.open(2, f"/private/ws/{key}")
    c.open(3, f"/private/stream?listenKey={key}&events=ORDER_TRADE_UPDATE/ACCOUNT_UPDATE")
    c.open(4, "/private/stream")
    c.send(4, {"method": "SUBSCRIBE", "params": [key], "id": 1})
    c.open(5, f"/private/ws?listenKey={'0' * 64}")
    c.order(side="BUY", type="MARKET", quantity="0.01")
    assert len(c.take(1)) == len(c.inbox.setdefault(1, [])) + 4
    assert len(c.take(2)) == 4
    assert {f["data"]["e"] for f in c.take(3)} == {"ORDER_TRADE_UPDATE", "ACCOUNT_UPDATE"}
    assert len(c.take(4)) == 5
    assert c.take(5) == []


def test_listen_key_dies_after_an_hour():
    """Without keep-alive the key expires: one event, then silence; PUT answers -1125; POST makes a new one."""
    c = Client()
    key = c.open_private()
    c.run(HOUR_MS + 10)
    assert c.take(9) == [
        {"e": "listenKeyExpired", "E": c.venue.start_ms + HOUR_MS, "listenKey": key}
    ]
    assert c.closed == {}
    assert c.signed("PUT", "/fapi/v1/listenKey")["code"] == -1125
    assert json.loads(c.call("POST", "/fapi/v1/listenKey").body)["listenKey"] != key


def test_ws_api_places_orders():
    """order.place, order.status and order.cancel over the WebSocket API, signed per request."""
    import hashlib
    import hmac

    c = Client()
    c.open(6, "/ws-fapi/v1")

    def ask(method, **params):
        params = {"apiKey": c.key, "timestamp": c.now, **params}
        text = "&".join(
            f"{k}={str(v).lower() if isinstance(v, bool) else v}" for k, v in sorted(params.items())
        )
        params["signature"] = hmac.new(c.secret.encode(), text.encode(), hashlib.sha256).hexdigest()
        c.send(6, {"id": "x1", "method": method, "params": params})
        return c.take(6)[0]

    placed = ask(
        "order.place",
        symbol="BTCUSDT",
        side="BUY",
        type="LIMIT",
        timeInForce="GTC",
        quantity="0.01",
        price="82000",
        reduceOnly=False,
    )
    assert (placed["id"], placed["status"], placed["result"]["status"]) == ("x1", 200, "NEW")
    assert {r["rateLimitType"] for r in placed["rateLimits"]} == {"ORDERS", "REQUEST_WEIGHT"}
    order_id = placed["result"]["orderId"]
    assert (
        ask("order.status", symbol="BTCUSDT", orderId=order_id)["result"]["avgPrice"] == "0.00000"
    )
    assert ask("order.cancel", symbol="BTCUSDT", orderId=order_id)["result"]["status"] == "CANCELED"
    assert ask("order.cancel", symbol="BTCUSDT", orderId=order_id)["error"]["code"] == -2011
    c.send(
        6,
        {
            "id": 3,
            "method": "order.place",
            "params": {"apiKey": c.key, "timestamp": c.now, "signature": "0"},
        },
    )
    assert c.take(6)[0]["error"]["code"] == -1022
    c.send(6, b"{")
    assert c.take(6)[0]["status"] == 400


def test_a_queue_is_waited_out():
    """A resting order is not filled before the flow has traded what was ahead of it."""
    c = Client()
    c.open(1, "/market/ws/btcusdt@aggTrade")
    bid, ahead = c.get("/fapi/v1/depth", symbol="BTCUSDT", limit=5)["bids"][0]
    c.order(side="BUY", type="LIMIT", timeInForce="GTC", quantity="0.300", price=bid)
    for _ in range(30):
        c.run(MINUTE_MS)
        if c.venue.executions():
            break
    first = c.venue.executions()[0].trade_id
    before = [t for t in c.inbox[1] if t["f"] < first]
    met = sum(Decimal(t["q"]) for t in before if t["p"] == bid and t["m"])
    went_through = min(Decimal(t["p"]) for t in c.inbox[1] if t["f"] <= first + 1) < Decimal(bid)
    assert went_through or met >= Decimal(ahead)
    rest = c.get("/fapi/v1/aggTrades", symbol="BTCUSDT", limit=1000)
    streamed = {t["a"]: (t["p"], t["q"], t["T"]) for t in c.inbox[1]}
    assert all(streamed[r["a"]] == (r["p"], r["q"], r["T"]) for r in rest if r["a"] in streamed)
    assert first in {r["f"] for r in rest}


def test_the_queue_counts_what_is_ahead():
    """Two orders behind known quantities are filled by exactly what a trade leaves for them."""
    c = Client()
    exchange = c.venue.exchange
    flow, book = exchange.flows[1], exchange.books[1]
    level = book.best_price(c.now, is_bid=True)
    orders = []
    for ahead in (3, 5):
        limit = f"{level / 10 ** exchange.listed[1].price_digits:.2f}"
        order = {
            "side": "BUY",
            "type": "LIMIT",
            "timeInForce": "GTC",
            "quantity": "0.010",
            "price": limit,
        }
        reply = c.order(symbol="ETHUSDT", **order)
        orders.append(c.venue.account().orders[reply["orderId"]])
        orders[-1].ahead = ahead
    at = flow._pos
    flow._price[at], flow._qty[at], flow._sell[at] = level, 12, True
    exchange.desk.now_ms = flow.peek_ms()
    assert exchange.desk.matcher.concerns(1, level, is_sell=True)
    exchange.desk.matcher.meet(1, flow.peek_ms())
    assert [o.executed for o in orders] == [9, 0]
    assert flow.next_tick()[1] == 3
    flow._qty[at] = 6
    exchange.desk.matcher.meet(1, flow.peek_ms())
    assert [o.executed for o in orders] == [10, 5]
    assert [o.order_id for o in book.resting[True][level]] == [orders[1].order_id]


def test_triggers_are_exact():
    """A stop at the last price would trigger at once; a resting one fires with the first trade that reaches it."""
    c = Client()
    c.open_private()
    c.open(1, "/market/ws/btcusdt@aggTrade")
    last = c.price()
    assert (
        c.algo(side="SELL", type="STOP_MARKET", quantity="0.01", triggerPrice=f"{last:.1f}")["code"]
        == -2021
    )
    assert (
        c.algo(side="BUY", type="TAKE_PROFIT_MARKET", quantity="0.01", triggerPrice=f"{last:.1f}")[
            "code"
        ]
        == -2021
    )
    stops = [
        c.algo(
            side="SELL", type="STOP_MARKET", quantity="0.01", triggerPrice=f"{last - 0.1 * n:.1f}"
        )["algoId"]
        for n in (30, 31, 60, 61)
    ]
    for _ in range(20):
        c.run(5 * MINUTE_MS)
        c.signed("PUT", "/fapi/v1/listenKey")
    checked = 0
    for algo_id in stops:
        algo = c.signed("GET", "/fapi/v1/algoOrder", algoId=algo_id)
        reached = [t["T"] for t in c.inbox[1] if Decimal(t["p"]) <= Decimal(algo["triggerPrice"])]
        assert algo["triggerTime"] == (min(reached) if reached else 0)
        checked += bool(reached)
    assert checked


def test_history_shows_what_the_stream_showed():
    """After partial fills out of the flow's own trades, REST serves every trade as it was streamed."""
    c = Client()
    c.open(1, "/market/ws/btcusdt@aggTrade")
    for _ in range(12):
        bid = c.get("/fapi/v1/depth", symbol="BTCUSDT", limit=5)["bids"][0][0]
        reply = c.order(side="BUY", type="LIMIT", timeInForce="GTC", quantity="0.002", price=bid)
        c.venue.account().orders[reply["orderId"]].ahead = 0
        c.run(20_000)
    borrowed = [o for o in c.venue.exchange.flows[0].overlays if o.borrowed]
    assert borrowed
    rest = {
        r["a"]: (r["p"], r["q"], r["T"], r["m"])
        for r in c.get("/fapi/v1/aggTrades", symbol="BTCUSDT", limit=1000)
    }
    streamed = [t for t in c.inbox[1] if t["a"] in rest]
    assert len(streamed) > 50
    assert all(rest[t["a"]] == (t["p"], t["q"], t["T"], t["m"]) for t in streamed)
