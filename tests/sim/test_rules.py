"""Rules of orders that are easily forgotten: what depends on a position, what ends by itself, odd spellings."""

import json

import pytest
from tests.sim.driver import Client

HOUR_MS = 3_600_000


def algo_events(c):
    return [e["o"] for e in c.take(9) if e["e"] == "ALGO_UPDATE"]


def test_gte_orders_need_a_position_and_end_with_it():
    """A closePosition stop is -4509 while flat, and EXPIRED with a reason when its position is closed."""
    c = Client()
    c.open_private()
    stop = {"side": "SELL", "type": "STOP_MARKET", "triggerPrice": f"{c.price() * 0.95:.1f}"}
    assert c.algo(**stop, closePosition=True)["code"] == -4509
    c.order(side="BUY", type="MARKET", quantity="0.01")
    assert c.algo(**stop, closePosition=True, clientAlgoId="gte")["timeInForce"] == "GTE_GTC"
    assert c.algo(**stop, quantity="0.01", reduceOnly=True, clientAlgoId="own")["algoId"]
    c.take(9)
    c.order(side="SELL", type="MARKET", quantity="0.01", reduceOnly=True)
    ended = algo_events(c)
    assert [(e["caid"], e["X"]) for e in ended] == [("gte", "EXPIRED")]
    assert ended[0]["rm"]
    assert [a.client_id for a in c.venue.open_algos()] == ["own"]


def test_an_open_order_is_reason_enough_for_gte():
    """With an entry at rest a GTE order is accepted, as on the venue."""
    c = Client()
    price = c.price()
    entry = {"side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "0.01"}
    c.order(**entry, price=f"{price * 0.97:.1f}")
    made = c.algo(
        side="SELL", type="STOP_MARKET", triggerPrice=f"{price * 0.9:.1f}", closePosition=True
    )
    assert made["algoStatus"] == "NEW"


def test_gtd_algo_order_ends_at_its_time():
    """An untriggered GTD order is EXPIRED at goodTillDate, with a reason."""
    c = Client()
    c.open_private()
    until = (c.now + HOUR_MS // 2) // 1_000 * 1_000
    far = {"side": "BUY", "type": "STOP", "quantity": "0.01", "price": f"{c.price() * 1.04:.1f}"}
    trigger = f"{c.price() * 1.2:.1f}"
    made = c.algo(**far, triggerPrice=trigger, timeInForce="GTD", goodTillDate=until)
    assert made["goodTillDate"] == until
    c.run(until - c.now - 1)
    assert len(c.venue.open_algos()) == 1
    c.run(1)
    assert [(e["X"], bool(e.get("rm"))) for e in algo_events(c)] == [
        ("NEW", False),
        ("EXPIRED", True),
    ]


def test_reduce_only_beside_orders_that_close_already():
    """-4118 when plain orders on the same side would close the whole position; -2022 when reducers do."""
    c = Client()
    c.order(side="BUY", type="MARKET", quantity="0.01")
    price = c.price()
    sell = {"side": "SELL", "type": "LIMIT", "timeInForce": "GTC", "quantity": "0.01"}
    plain = c.order(**sell, price=f"{price * 1.02:.1f}")
    again = {**sell, "price": f"{price * 1.03:.1f}", "reduceOnly": True}
    assert c.order(**again)["code"] == -4118
    c.signed("DELETE", "/fapi/v1/order", symbol="BTCUSDT", orderId=plain["orderId"])
    assert c.order(**again)["status"] == "NEW"
    assert c.order(**again)["code"] == -2022
    assert c.order(side="SELL", type="MARKET", quantity="0.01", reduceOnly=True)["orderId"]
    assert not c.venue.positions()


@pytest.mark.parametrize(
    ("rate", "code"), [("abc", -1100), ("", -1102), ("0.05", -2007), ("21", -2007)]
)
def test_bad_callback_rates(rate, code):
    """A callback rate is a plain number of percent from 0.1 to 20."""
    c = Client()
    wish = {"side": "SELL", "type": "TRAILING_STOP_MARKET", "quantity": "0.01"}
    assert c.algo(**wish, callbackRate=rate)["code"] == code


def test_order_test_shows_the_order_that_would_be():
    """order/test answers with a whole order under id 0, and nothing rests."""
    c = Client()
    wish = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.01"}
    shown = c.signed("POST", "/fapi/v1/order/test", **wish)
    assert (shown["orderId"], shown["origQty"], shown["avgPrice"]) == (0, "0.010", "0.00000")
    assert c.signed("GET", "/fapi/v1/allOrders", symbol="BTCUSDT") == []


@pytest.mark.parametrize("name", ["orderIdList", "orderidlist"])
def test_batch_cancel_in_both_spellings(name):
    """The list of a batch cancel may be spelt in small letters, as one client does."""
    c = Client()
    entry = {"side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "0.01"}
    ids = [c.order(**entry, price=f"{c.price() * 0.97:.1f}")["orderId"] for _ in range(2)]
    out = c.signed(
        "DELETE",
        "/fapi/v1/batchOrders",
        symbol="BTCUSDT",
        **{name: json.dumps([*ids, 1]).replace(" ", "")},
    )
    assert [row.get("status", row.get("code")) for row in out] == ["CANCELED", "CANCELED", -2011]


def test_a_fresh_wallet_has_a_time():
    """The first deposit dates the asset: clients drop assets whose updateTime is 0."""
    c = Client()
    assert c.signed("GET", "/fapi/v3/account")["assets"][0]["updateTime"] == c.venue.start_ms
    assert c.signed("GET", "/fapi/v3/balance")[0]["updateTime"] == c.venue.start_ms


def test_amendment_names_its_modify_id():
    """PUT echoes modifyId when one was sent, and the history keeps it."""
    c = Client()
    price = c.price()
    entry = {"side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "0.01"}
    made = c.order(**entry, price=f"{price * 0.97:.1f}")
    move = {"symbol": "BTCUSDT", "side": "BUY", "orderId": made["orderId"], "quantity": "0.02"}
    plain = c.signed("PUT", "/fapi/v1/order", **move, price=f"{price * 0.96:.1f}")
    assert "modifyId" not in plain
    named = c.signed("PUT", "/fapi/v1/order", **move, price=f"{price * 0.95:.1f}", modifyId=42)
    assert named["modifyId"] == 42
    asked = {"symbol": "BTCUSDT", "orderId": made["orderId"]}
    rows = c.signed("GET", "/fapi/v1/orderAmendment", **asked)
    assert [r["amendment"].get("modifyId") for r in rows] == [None, 42]


def test_codes_of_rare_mistakes():
    """closePosition with reduceOnly, prices off the trigger, a stop price on a plain order, a margin too thin."""
    c = Client()
    price = c.price()
    c.order(side="BUY", type="MARKET", quantity="0.5")
    stop = {"side": "SELL", "triggerPrice": f"{price * 0.98:.1f}"}
    close = {**stop, "type": "STOP_MARKET", "closePosition": True}
    assert c.algo(**close, reduceOnly=True)["code"] == -4138
    assert c.algo(**close, quantity="0.01")["code"] == -4137
    limit = {"type": "STOP", "quantity": "0.01"}
    assert c.algo(**stop, **limit, price=f"{price * 0.9:.1f}")["code"] == -4184
    rise = {"side": "BUY", "triggerPrice": f"{price * 1.02:.1f}"}
    assert c.algo(**rise, **limit, price=f"{price * 1.1:.1f}")["code"] == -4183
    wish = {"side": "BUY", "quantity": "0.01", "stopPrice": f"{price:.1f}"}
    assert c.order(**wish, type="MARKET")["code"] == -1106
    assert c.order(**wish, type="LIMIT", timeInForce="GTC", price="80000")["code"] == -1106
    asked = {"symbol": "BTCUSDT", "leverage": 2}
    assert c.signed("POST", "/fapi/v1/leverage", **asked)["code"] == -2028


def test_opening_and_extending_again_and_again_leaves_nothing_behind():
    """Ten thousand connections opened and closed, and a key extended as often, wait for nothing."""
    c = Client(weight_limit_1m=10**9)
    c.open_private()
    before = len(c.venue.exchange.agenda)
    for number in range(10_000):
        c.open(100 + number, "/market/ws/btcusdt@aggTrade")
        c.venue.ws_close(c.now, 100 + number)
        c.call("PUT", "/fapi/v1/listenKey")
    assert len(c.venue.exchange.agenda) <= before + 10
    assert len(c.venue.links()) == 1
    c.run(HOUR_MS)
    assert [e["e"] for e in c.take(9)][-1] == "listenKeyExpired"
    c.run(23 * HOUR_MS)
    assert c.closed == {9: 1001}


def test_algo_events_are_asked_for_by_either_name():
    """`events=` lists may name ALGO_UPDATE or ALGO_ORDER_UPDATE; other events stay away."""
    c = Client()
    key = json.loads(c.call("POST", "/fapi/v1/listenKey").body)["listenKey"]
    for link, name in ((11, "ALGO_UPDATE"), (12, "ALGO_ORDER_UPDATE"), (13, "ACCOUNT_UPDATE")):
        c.open(link, f"/private/ws?listenKey={key}&events={name}")
    stop = {"side": "BUY", "type": "STOP_MARKET", "quantity": "0.01"}
    c.algo(**stop, triggerPrice=f"{c.price() * 1.05:.1f}")
    assert [[e["e"] for e in c.take(link)] for link in (11, 12, 13)] == [
        ["ALGO_UPDATE"],
        ["ALGO_UPDATE"],
        [],
    ]


def test_the_order_of_a_trailing_stop_shows_its_rate():
    """AP and cr are there on the child of a trailing stop, and on no other order."""
    c = Client()
    c.open_private()
    c.order(side="BUY", type="MARKET", quantity="0.01")
    trail = {"side": "SELL", "type": "TRAILING_STOP_MARKET", "callbackRate": "0.1"}
    c.algo(**trail, quantity="0.01", reduceOnly=True)
    for _ in range(60):
        c.run(HOUR_MS // 60)
        if not c.venue.positions():
            break
    shown = [e["o"] for e in c.take(9) if e["e"] == "ORDER_TRADE_UPDATE"]
    assert {(o["ot"], o.get("cr"), "AP" in o) for o in shown} == {
        ("MARKET", None, False),
        ("TRAILING_STOP_MARKET", "0.1", True),
    }


def test_retry_after_names_the_end_of_the_pool_that_is_used_up():
    """The statistics' pool lasts five minutes: waiting as told ends the refusals, and no ban follows."""
    c = Client(futures_data_limit_5m=2)
    asked = {"symbol": "BTCUSDT", "period": "5m"}
    replies = [c.call("GET", "/futures/data/openInterestHist", **asked) for _ in range(3)]
    assert [r.status for r in replies] == [200, 200, 429]
    wait_ms = int(replies[2].headers["retry-after"]) * 1_000
    assert (c.now + wait_ms) % (HOUR_MS // 12) < 1_000
    c.run(wait_ms)
    assert c.call("GET", "/futures/data/openInterestHist", **asked).status == 200
