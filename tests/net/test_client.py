"""The REST client: what it sends, and what it says was proved."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qsl

import pytest
from tests.net.fake_venue import FakeTransport, error, reply
from tests.net.virtual import run_virtual

from cryptosignal.binance.budget import Lane
from cryptosignal.binance.limits import Limits
from cryptosignal.binance.signing import HmacSigner
from cryptosignal.domain.events import AccountSnapshotTaken, OrderSent, SendOutcome, SnapshotFailed
from cryptosignal.domain.order import Leg, OrderIntent, OrderKind, Side
from cryptosignal.domain.ports import HttpRequest, HttpResponse
from cryptosignal.ground.clock import LoopClock, ManualClock
from cryptosignal.ground.faults import (
    ContractFault,
    Fault,
    RateLimited,
    Refused,
    TimedOut,
    Unreachable,
)
from cryptosignal.ground.secret import Secret
from cryptosignal.net.client import READ_TRIES, VenueClient
from cryptosignal.net.ledger import WeightLedger

START_MS = 1_790_000_010_000
ORDER = {
    "symbol": "BTCUSDT",
    "orderId": 77,
    "clientOrderId": "csa-k1-e0",
    "status": "NEW",
    "side": "BUY",
    "type": "MARKET",
    "origQty": "0.010",
    "executedQty": "0",
    "price": "0",
    "updateTime": START_MS + 5,
}
ALGO = {
    "symbol": "BTCUSDT",
    "algoId": 99,
    "clientAlgoId": "csa-k1-s0",
    "algoType": "CONDITIONAL",
    "orderType": "STOP_MARKET",
    "side": "SELL",
    "quantity": "0.010",
    "algoStatus": "NEW",
    "triggerPrice": "59000.0",
    "reduceOnly": True,
    "createTime": START_MS + 6,
    "updateTime": START_MS + 6,
}
ENTRY = OrderIntent(
    client_id="csa-k1-e0",
    signal_id="s1",
    symbol="BTCUSDT",
    leg=Leg.ENTRY,
    side=Side.BUY,
    kind=OrderKind.MARKET,
    quantity=Decimal("0.010"),
    created_ms=START_MS,
)
STOP = OrderIntent(
    client_id="csa-k1-s0",
    signal_id="s1",
    symbol="BTCUSDT",
    leg=Leg.STOP,
    side=Side.SELL,
    kind=OrderKind.STOP_MARKET,
    quantity=Decimal("0.010"),
    created_ms=START_MS,
    trigger_price=Decimal("59000.0"),
    reduce_only=True,
)


class World:
    """A client on a scripted transport."""

    def __init__(self, **options: Any) -> None:
        self.clock = ManualClock(START_MS)
        self.transport = FakeTransport()
        self.ledger = WeightLedger(Limits(), self.clock)
        self.client = VenueClient(
            self.transport,
            "https://venue",
            self.ledger,
            self.clock,
            HmacSigner(Secret("key"), Secret("secret")),
            **options,
        )
        self.transport.on("GET /fapi/v1/time", reply({"serverTime": START_MS}))


@pytest.fixture
def world() -> World:
    return World()


async def test_placing_an_entry_is_one_signed_post(world: World):
    """The order's parameters leave once, with timestamp, window, key and a final signature."""
    world.transport.on("POST /fapi/v1/order", reply(ORDER))
    replied = await world.client.place(ENTRY)
    assert replied.outcome is SendOutcome.ACKED
    assert (replied.order_id, replied.status, replied.server_ms) == (77, "NEW", START_MS + 5)
    [(url, request)] = world.transport.requests
    assert url == "https://venue"
    assert request.headers == (("X-MBX-APIKEY", "key"),)
    assert request.query.rpartition("&")[2].startswith("signature=")
    [query] = world.transport.asked("POST /fapi/v1/order")
    del query["signature"]
    assert query == {
        "symbol": "BTCUSDT",
        "side": "BUY",
        "type": "MARKET",
        "quantity": "0.01",
        "newClientOrderId": "csa-k1-e0",
        "recvWindow": "3000",
        "timestamp": str(START_MS),
    }
    assert request.timeout_ms > 3000


async def test_a_stop_goes_to_the_algo_service(world: World):
    """A conditional order is posted to algoOrder with triggerPrice, clientAlgoId and reduceOnly."""
    world.transport.on("POST /fapi/v1/algoOrder", reply(ALGO))
    replied = await world.client.place(STOP)
    assert (replied.outcome, replied.order_id) == (SendOutcome.ACKED, 99)
    [query] = world.transport.asked("POST /fapi/v1/algoOrder")
    assert query["algoType"] == "CONDITIONAL"
    assert query["triggerPrice"] == "59000"
    assert query["clientAlgoId"] == "csa-k1-s0"
    assert query["reduceOnly"] == "true"
    assert "stopPrice" not in query
    assert "newClientOrderId" not in query


async def test_on_sent_tells_the_timestamp_before_the_request_leaves(world: World):
    """The fence's start is known before anything can have happened at the venue."""
    told: list[tuple[OrderSent, int]] = []
    world.transport.on("POST /fapi/v1/order", reply(ORDER))
    await world.client.place(ENTRY, lambda sent: told.append((sent, len(world.transport.requests))))
    assert told == [(OrderSent("csa-k1-e0", "BTCUSDT", START_MS, 3000), 0)]


UNKNOWN, REJECTED, NOT_SENT = SendOutcome.UNKNOWN, SendOutcome.REJECTED, SendOutcome.NOT_SENT
PLACE_TABLE: list[tuple[HttpResponse | Fault, SendOutcome, int]] = [
    (TimedOut("late"), UNKNOWN, 0),
    (Unreachable("refused"), NOT_SENT, 0),
    (error(-2019, "Margin is insufficient."), REJECTED, -2019),
    (error(-2021, "Order would immediately trigger."), REJECTED, -2021),
    (error(-1021, "Timestamp for this request is outside of the recvWindow."), REJECTED, -1021),
    (error(-5028, "ME recvWindow"), REJECTED, -5028),
    (error(-1007, "Timeout waiting for response", 408), UNKNOWN, -1007),
    (error(-1006, "An unexpected response was received", 400), UNKNOWN, -1006),
    (
        error(-1000, "Unknown error, please check your request or try again later.", 503),
        UNKNOWN,
        -1000,
    ),
    (error(0, "Unknown error, please check your request or try again later.", 503), UNKNOWN, 0),
    (error(0, "Service Unavailable.", 503), REJECTED, 0),
    (
        error(0, "Internal error; unable to process your request. Please try again.", 503),
        REJECTED,
        0,
    ),
    (error(-1008, "Request throttled by system-level protection.", 503), REJECTED, -1008),
    (error(-4116, "ClientOrderId is duplicated."), UNKNOWN, -4116),
    (error(-4120, "Order type not supported for this endpoint."), REJECTED, -4120),
    (error(-2015, "Invalid API-key, IP, or permissions for action.", 401), REJECTED, -2015),
    (HttpResponse(502, {}, b"<html>Bad Gateway</html>"), UNKNOWN, 0),
    (HttpResponse(503, {}, b"<html>upstream</html>"), UNKNOWN, 0),
    (HttpResponse(200, {}, b'{"orderId":1'), UNKNOWN, 0),
    (HttpResponse(200, {}, b""), UNKNOWN, 0),
]


@pytest.mark.parametrize(("answer", "outcome", "code"), PLACE_TABLE)
async def test_what_each_answer_to_a_place_proves(
    world: World, answer: HttpResponse | Fault, outcome: SendOutcome, code: int
):
    """Nothing raises, and only what the venue proved is called rejected."""
    world.transport.on("POST /fapi/v1/order", answer)
    replied = await world.client.place(ENTRY)
    assert (replied.outcome, replied.code) == (outcome, code)
    assert len(world.transport.asked("POST /fapi/v1/order")) == 1


@pytest.mark.parametrize("status", [429, 418])
async def test_a_rate_limit_is_obeyed_to_the_millisecond(world: World, status: int):
    """After a ban nothing leaves until its last ms; an order is NOT_SENT rather than kept waiting."""
    until_ms = START_MS + 123_457
    text = f"Way too many requests; IP(1.2.3.4) banned until {until_ms}. Please use the websocket."
    world.transport.on("POST /fapi/v1/order", error(-1003, text, status), reply(ORDER))
    assert (await world.client.place(ENTRY)).outcome is SendOutcome.REJECTED
    world.clock.set_ms(until_ms - 1001)
    assert (await world.client.place(ENTRY)).outcome is SendOutcome.NOT_SENT
    assert len(world.transport.requests) == 1
    world.clock.set_ms(until_ms)
    assert (await world.client.place(ENTRY)).outcome is SendOutcome.ACKED
    assert world.ledger.punished == 1


async def test_retry_after_is_honoured_where_no_ban_is_named(world: World):
    """Without "banned until" the header's seconds count, without both a minute."""
    world.transport.on("GET /fapi/v1/depth", error(-1003, "slow down", 429, retry_after="7"))
    with pytest.raises(RateLimited) as caught:
        await world.client.depth("BTCUSDT")
    assert caught.value.until_ms == START_MS + 7_000
    world.clock.advance_ms(7_000)
    world.transport.on("GET /fapi/v1/depth", error(-1003, "slow down", 429))
    with pytest.raises(RateLimited) as caught:
        await world.client.depth("BTCUSDT")
    assert caught.value.until_ms == START_MS + 67_000


async def test_a_clock_refusal_measures_the_time_again(world: World):
    """-1021 corrects the offset at once, so that the next attempt can pass."""
    world.transport.on("GET /fapi/v1/time", reply({"serverTime": START_MS + 4_000}))
    world.transport.on("POST /fapi/v1/order", error(-1021), reply(ORDER))
    await world.client.place(ENTRY)
    assert world.clock.now_ms() == START_MS + 4_000
    await world.client.place(ENTRY)
    assert world.transport.asked("POST /fapi/v1/order")[1]["timestamp"] == str(START_MS + 4_000)
    assert world.client.clock_resyncs == 1


async def test_calls_that_wait_for_the_time_wait_shortly(world: World):
    """One quick answer ends the wait, a lost one costs a second: exits wait for it too."""
    answer = reply({"serverTime": START_MS + 4_000})
    world.transport.on("GET /fapi/v1/time", TimedOut("lost"), answer)
    world.transport.on("POST /fapi/v1/order", error(-1021), reply(ORDER))
    await world.client.place(ENTRY)
    asked = [r for _, r in world.transport.requests if r.path == "/fapi/v1/time"]
    assert [request.timeout_ms for request in asked] == [1_000, 1_000]
    assert world.clock.now_ms() == START_MS + 4_000


async def test_calls_refused_together_measure_once(world: World):
    """A measurement that failed is not made again by each call that waited for it."""
    world.transport.on("GET /fapi/v1/time", *[TimedOut("lost")] * 9)
    world.transport.on("POST /fapi/v1/order", *[error(-1021)] * 3)
    await asyncio.gather(*[world.client.place(ENTRY) for _ in range(3)])
    asked = [r for _, r in world.transport.requests if r.path == "/fapi/v1/time"]
    assert len(asked) == 3


async def test_time_measurement_ignores_what_the_round_trip_explains(world: World):
    """A difference within half the round trip leaves the clock alone."""

    def slow(_request: HttpRequest) -> HttpResponse:
        world.clock.advance_ms(100)
        return reply({"serverTime": world.clock.now_ms() - 20})

    world.transport.on("GET /fapi/v1/time", slow)
    assert await world.client.sync_time() == 0
    assert world.clock.offset_ms == 0
    assert world.client.clock_error_ms == 50


async def test_an_impossible_intent_is_our_own_bug(world: World):
    """A stop without a trigger price never reaches the network."""
    broken = OrderIntent(
        "csa-k1-s1",
        "s1",
        "BTCUSDT",
        Leg.STOP,
        Side.SELL,
        OrderKind.STOP_MARKET,
        Decimal(1),
        START_MS,
    )
    with pytest.raises(ContractFault):
        await world.client.place(broken)
    assert world.transport.requests == []


async def test_cancelling_uses_the_right_book(world: World):
    """Ordinary orders by symbol and client id, conditional ones by clientAlgoId."""
    world.transport.on("DELETE /fapi/v1/order", reply(ORDER | {"status": "CANCELED"}))
    world.transport.on(
        "DELETE /fapi/v1/algoOrder",
        reply({"algoId": 1, "clientAlgoId": "x", "code": "200", "msg": "success"}),
    )
    first = await world.client.cancel("csa-k1-e0", "BTCUSDT", is_algo=False)
    second = await world.client.cancel("csa-k1-s0", "BTCUSDT", is_algo=True)
    assert (first.outcome, second.outcome) == (SendOutcome.ACKED, SendOutcome.ACKED)
    assert world.transport.asked("DELETE /fapi/v1/order")[0]["origClientOrderId"] == "csa-k1-e0"
    assert world.transport.asked("DELETE /fapi/v1/algoOrder")[0]["clientAlgoId"] == "csa-k1-s0"


async def test_an_unknown_order_on_cancel_is_a_question(world: World):
    """-2011 comes back as REJECTED with its code, a lost answer as UNKNOWN."""
    world.transport.on(
        "DELETE /fapi/v1/order", error(-2011, "Unknown order sent."), TimedOut("late")
    )
    replied = await world.client.cancel("csa-k1-e0", "BTCUSDT", is_algo=False)
    assert (replied.outcome, replied.code) == (SendOutcome.REJECTED, -2011)
    replied = await world.client.cancel("csa-k1-e0", "BTCUSDT", is_algo=False)
    assert replied.outcome is SendOutcome.UNKNOWN


async def test_look_up_knows_found_absent_and_unknowable(world: World):
    """Found on an answer, absent on -2013 alone, None on anything that proves nothing."""
    world.transport.on(
        "GET /fapi/v1/order",
        reply(ORDER | {"status": "FILLED", "executedQty": "0.010", "avgPrice": "60000.5"}),
        error(-2013, "Order does not exist."),
        TimedOut("late"),
        Unreachable("down"),
        error(-1021),
        error(0, "Service Unavailable.", 503),
        HttpResponse(200, {}, b"<html>"),
    )
    answers = [await world.client.look_up("csa-k1-e0", "BTCUSDT", is_algo=False) for _ in range(7)]
    assert [answer.found for answer in answers] == [True, False, None, None, None, None, None]
    assert answers[0].order is not None
    assert answers[0].order.average_price == Decimal("60000.5")
    assert answers[1].server_ms == START_MS


async def test_look_up_of_a_conditional_order(world: World):
    """The algo service answers for algo ids, child order included."""
    world.transport.on("GET /fapi/v1/algoOrder", reply(ALGO | {"actualOrderId": "5"}), error(-2013))
    found = await world.client.look_up("csa-k1-s0", "BTCUSDT", is_algo=True)
    assert found.algo is not None
    assert (found.algo.child_order_id, found.algo.reduce_only) == ("5", True)
    assert (await world.client.look_up("csa-k1-s0", "BTCUSDT", is_algo=True)).found is False


async def test_a_lookup_is_stamped_by_the_clock_as_put_right(world: World):
    """The time is measured anew while a lookup waits: its stamp is the moment it was asked at, in the
    right time, or its "not found" would count for an hour to come."""

    def refuse(_request: HttpRequest) -> HttpResponse:
        world.clock.offset_ms -= 3_600_000
        return error(-2013, "Order does not exist.")

    world.transport.on("GET /fapi/v1/order", refuse)
    found = await world.client.look_up("csa-k1-e0", "BTCUSDT", is_algo=False)
    assert (found.found, found.server_ms) == (False, START_MS - 3_600_000)


def script_account(world: World) -> None:
    transport = world.transport
    transport.on("GET /fapi/v1/positionSide/dual", reply({"dualSidePosition": False}))
    transport.on(
        "GET /fapi/v3/balance",
        reply([{"asset": "USDT", "balance": "100.5", "availableBalance": "90.5"}]),
    )
    transport.on(
        "GET /fapi/v3/positionRisk",
        reply(
            [
                {"symbol": "BTCUSDT", "positionAmt": "-0.010", "entryPrice": "60000"},
                {"symbol": "ETHUSDT", "positionAmt": "0.000", "entryPrice": "0"},
            ]
        ),
    )
    transport.on("GET /fapi/v1/openOrders", reply([ORDER]))
    transport.on("GET /fapi/v1/openAlgoOrders", reply([ALGO]))
    transport.on("GET /fapi/v1/userTrades", reply([]))


async def test_a_snapshot_reads_both_books_together(world: World):
    """Balances, positions, orders, algo orders and trades come as one event; hedge mode is read once."""
    script_account(world)
    trade = {
        "symbol": "BTCUSDT",
        "id": 5,
        "orderId": 77,
        "side": "SELL",
        "price": "60000",
        "qty": "0.010",
        "realizedPnl": "0",
        "commission": "0.3",
        "commissionAsset": "USDT",
        "time": START_MS,
    }
    world.transport.on("GET /fapi/v1/userTrades", reply([trade]))
    taken = await world.client.snapshot("audit", ("BTCUSDT",), START_MS - 1000)
    assert isinstance(taken, AccountSnapshotTaken)
    assert [p.symbol for p in taken.positions] == ["BTCUSDT"]
    assert (len(taken.orders), len(taken.algos), len(taken.trades)) == (1, 1, 1)
    assert taken.balances[0].available == Decimal("90.5")
    assert taken.requested_ms == START_MS
    await world.client.snapshot("audit")
    assert len(world.transport.asked("GET /fapi/v1/positionSide/dual")) == 1
    assert world.client.audit_calls == 6 + 4
    assert {request.timeout_ms for _url, request in world.transport.requests} == {4000}
    assert world.client.api_calls == {"RECONCILE": 10}
    assert world.ledger.snapshot().used["weight"] == 30 + 2 * 90 + 5


@pytest.mark.parametrize(
    "answer", [TimedOut("late"), error(-1000, "?", 500), HttpResponse(200, {}, b"[{}]")]
)
async def test_a_snapshot_with_one_read_that_keeps_failing_proves_nothing(
    world: World, answer: Any
):
    """One read that fails each time gives SnapshotFailed with its reason; no other is asked twice."""
    script_account(world)
    world.transport.on("GET /fapi/v1/openAlgoOrders", *[answer] * READ_TRIES)
    taken = await world.client.snapshot("reconcile")
    assert isinstance(taken, SnapshotFailed)
    assert taken.purpose == "reconcile"
    assert taken.reason
    assert len(world.transport.asked("GET /fapi/v1/openAlgoOrders")) == READ_TRIES
    assert len(world.transport.asked("GET /fapi/v3/positionRisk")) == 1


@pytest.mark.parametrize(
    "answer",
    [
        TimedOut("late"),
        error(-1000, "?", 500),
        error(-1007, "Timeout waiting for response from backend server.", 408),
        HttpResponse(200, {}, b"[{}]"),
    ],
)
async def test_a_lost_answer_of_a_snapshot_is_asked_for_again(world: World, answer: Any):
    """A question whose answer is lost or unreadable is asked again, alone, and the snapshot is whole."""
    script_account(world)
    world.transport.on("GET /fapi/v1/userTrades", answer, answer, reply([]))
    taken = await world.client.snapshot("audit", ("BTCUSDT",), START_MS - 1000)
    assert isinstance(taken, AccountSnapshotTaken)
    assert len(world.transport.asked("GET /fapi/v1/userTrades")) == 3
    assert len(world.transport.asked("GET /fapi/v1/openOrders")) == 1


@pytest.mark.parametrize(
    "answer", [error(-1102, "Mandatory parameter was not sent.", 400), error(-1003, "Way", 429)]
)
async def test_a_refused_question_of_a_snapshot_is_not_repeated(world: World, answer: Any):
    """What the venue refuses for good, or for the rate, is asked once: pressing would not help."""
    script_account(world)
    world.transport.on("GET /fapi/v1/openOrders", answer, answer, answer)
    assert isinstance(await world.client.snapshot("audit"), SnapshotFailed)
    assert len(world.transport.asked("GET /fapi/v1/openOrders")) == 1


async def test_user_trades_are_paged_by_id(world: World):
    """A full page is followed from the next id until a page is not full."""
    script_account(world)

    def page(request: HttpRequest) -> HttpResponse:
        first = 1001 if "fromId=1001" in request.query else 1
        count = 3 if first == 1001 else 1000
        return reply(
            [
                {
                    "symbol": "BTCUSDT",
                    "id": first + n,
                    "orderId": 1,
                    "side": "BUY",
                    "price": "1",
                    "qty": "1",
                    "realizedPnl": "0",
                    "commission": "0",
                    "commissionAsset": "USDT",
                    "time": 1,
                }
                for n in range(count)
            ]
        )

    world.transport.on("GET /fapi/v1/userTrades", page)
    taken = await world.client.snapshot("start", ("BTCUSDT",), START_MS - 1000)
    assert isinstance(taken, AccountSnapshotTaken)
    assert [trade.trade_id for trade in taken.trades] == list(range(1, 1004))


def kline_pages(request: HttpRequest) -> HttpResponse:
    """One-minute candles back to the epoch of the test, as the venue pages them."""
    query = dict(parse_qsl(request.query))
    newest = int(query.get("endTime", START_MS)) // 60_000
    limit = int(query["limit"])
    first = newest - limit + 1
    if "startTime" in query:
        first = -(-int(query["startTime"]) // 60_000)
    last = min(first + limit - 1, newest)
    return reply(
        [
            [
                n * 60_000,
                "1",
                "2",
                "0.5",
                "1.5",
                "10",
                n * 60_000 + 59_999,
                "15",
                3,
                "5",
                "7.5",
                "0",
            ]
            for n in range(first, last + 1)
        ]
    )


async def test_klines_come_in_steps_of_499(world: World):
    """1,200 rows are read in three requests of weight 2 and come back ascending without a hole."""
    world.transport.on("GET /fapi/v1/klines", kline_pages)
    rows = await world.client.klines("BTCUSDT", "1m", 1200)
    assert rows.shape == (1200, 11)
    assert (rows[1:, 0] - rows[:-1, 0] == 60_000).all()
    assert rows[-1, 0] == START_MS // 60_000 * 60_000
    assert [query["limit"] for query in world.transport.asked("GET /fapi/v1/klines")] == [
        "499",
        "499",
        "202",
    ]
    assert world.ledger.snapshot().used["weight"] == 6


async def test_klines_forward_from_a_start(world: World):
    """With a start time the pages walk forward and stop at the end time."""
    world.transport.on("GET /fapi/v1/klines", kline_pages)
    start_ms = (START_MS // 60_000 - 700) * 60_000
    rows = await world.client.klines("BTCUSDT", "1m", 2000, start_ms=start_ms, end_ms=START_MS)
    assert rows[0, 0] == start_ms
    assert rows.shape == (701, 11)
    assert (rows[1:, 0] - rows[:-1, 0] == 60_000).all()


async def test_a_geo_block_is_one_clear_line(world: World):
    """HTTP 451 says what it is and what helps."""
    world.transport.on("GET /fapi/v1/exchangeInfo", HttpResponse(451, {}, b"<html>"))
    with pytest.raises(Refused, match="proxy") as caught:
        await world.client.exchange_info()
    assert caught.value.status == 451


async def test_exchange_info_sets_the_ledgers_limits(world: World):
    """The venue's stated limits replace the assumed ones."""
    limits = [
        {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": 6000}
    ]
    world.transport.on("GET /fapi/v1/exchangeInfo", reply({"symbols": [], "rateLimits": limits}))
    await world.client.exchange_info()
    assert world.ledger.limits.weight == 6000


async def test_margin_type_without_change_is_success(world: World):
    """-4046 is the state we wanted; other refusals are raised."""
    world.transport.on("POST /fapi/v1/marginType", error(-4046), error(-4047))
    await world.client.set_margin_type("BTCUSDT", "isolated")
    with pytest.raises(Refused):
        await world.client.set_margin_type("BTCUSDT", "cross")
    sent = [query["marginType"] for query in world.transport.asked("POST /fapi/v1/marginType")]
    assert sent == ["ISOLATED", "CROSSED"]


async def test_listen_key_calls_carry_the_key_and_no_signature(world: World):
    """The private stream's key is asked for with the header alone and is masked in our hands."""
    world.transport.on("POST /fapi/v1/listenKey", reply({"listenKey": "hush"}))
    world.transport.on("PUT /fapi/v1/listenKey", error(-1125, "This listenKey does not exist."))
    key = await world.client.listen_key_start()
    assert "hush" not in repr(key)
    assert key.reveal() == "hush"
    with pytest.raises(Refused) as caught:
        await world.client.listen_key_keep()
    assert caught.value.code == -1125
    assert all(request.query == "" for _url, request in world.transport.requests)


async def test_key_rights_are_skipped_where_the_venue_has_none(world: World):
    """Testnet has no such endpoint: None, without a request."""
    assert await world.client.api_restrictions() is None
    real = World(sapi_url="https://spot")
    real.transport.on(
        "GET /sapi/v1/account/apiRestrictions",
        reply({"ipRestrict": True, "enableWithdrawals": True, "enableFutures": True}),
    )
    rights = await real.client.api_restrictions()
    assert rights is not None
    assert "withdraw" in rights.refusal()
    assert real.transport.requests[0][0] == "https://spot"


async def test_spot_candles_have_a_ledger_of_their_own():
    """Spot requests go to the spot host and are charged there."""
    clock = ManualClock(START_MS)
    spot = WeightLedger(Limits(weight=6000), clock)
    world = World(spot_url="https://spot", spot_ledger=spot)
    world.transport.on("GET /api/v3/klines", kline_pages)
    rows = await world.client.spot_klines("BTCUSDT", "1m", 60)
    assert rows.shape == (60, 11)
    assert (spot.snapshot().used["weight"], world.ledger.snapshot().used["weight"]) == (2, 0)
    assert world.transport.requests[0][0] == "https://spot"


async def test_without_a_spot_venue_it_says_so(world: World):
    """Spot candles without a configured venue are Refused, not silently empty."""
    with pytest.raises(Refused, match="spot"):
        await world.client.spot_klines("BTCUSDT", "1m", 60)


async def test_income_is_paged_by_time_without_doubles(world: World):
    """Pages overlap by one moment; no booking is lost or counted twice."""

    def page(request: HttpRequest) -> HttpResponse:
        query = dict(parse_qsl(request.query))
        start = int(query["startTime"])
        rows = [
            {
                "incomeType": "COMMISSION",
                "income": "-0.1",
                "asset": "USDT",
                "time": 10 * (n // 3),
                "tranId": n,
                "symbol": "BTCUSDT",
                "tradeId": str(n),
            }
            for n in range(2500)
        ]
        return reply([row for row in rows if row["time"] >= start][:1000])

    world.transport.on("GET /fapi/v1/income", page)
    rows = await world.client.income(1, 10_000_000, Lane.RESEARCH)
    assert [row.tran_id for row in rows] == list(range(3, 2500))


async def test_account_calls_without_a_key_are_our_own_bug():
    """A client without a signer cannot ask for an account."""
    clock = ManualClock(START_MS)
    transport = FakeTransport()
    client = VenueClient(transport, "https://venue", WeightLedger(Limits(), clock), clock)
    with pytest.raises(ContractFault):
        await client.place(ENTRY)


def test_the_timeout_must_outlive_the_window():
    """A client timeout at or below recvWindow is refused: an abandoned order could still execute."""
    clock = ManualClock(START_MS)
    with pytest.raises(ContractFault):
        VenueClient(
            FakeTransport(), "https://v", WeightLedger(Limits(), clock), clock, None, 4000, 4000
        )


async def test_calls_refused_together_measure_the_time_once(world: World):
    """Reads and cancels refused for one wrong clock correct it once; the reads are asked again."""
    script_account(world)
    wrong = error(-1021, "Timestamp for this request was 1000ms ahead of the server's time.")
    for path in ("v3/balance", "v3/positionRisk", "v1/openOrders", "v1/openAlgoOrders"):
        world.transport.on(f"GET /fapi/{path}", wrong, reply([]))
    world.transport.on(
        "GET /fapi/v1/time", lambda _request: reply({"serverTime": START_MS - 60_000})
    )
    world.transport.on("DELETE /fapi/v1/order", wrong)
    taken, *_cancels = await asyncio.gather(
        world.client.snapshot("start"),
        *(world.client.cancel("csa-k1-e0", "BTCUSDT", is_algo=False) for _ in range(4)),
    )
    assert isinstance(taken, AccountSnapshotTaken)
    assert taken.requested_ms <= world.clock.now_ms() < START_MS, (
        "stamped by the clock as put right"
    )
    assert len(world.transport.asked("GET /fapi/v1/time")) == 1


def test_the_time_is_measured_again_and_again():
    """A clock that drifts is corrected every few minutes; a failed measurement waits for the next."""

    async def main(clock: LoopClock) -> tuple[int, int]:
        transport = FakeTransport()
        client = VenueClient(transport, "https://venue", WeightLedger(Limits(), clock), clock)
        transport.on(
            "GET /fapi/v1/time",
            TimedOut("late"),
            lambda _request: reply({"serverTime": clock.now_ms() - clock.offset_ms + 500}),
        )
        keeping = asyncio.create_task(client.keep_time(60_000))
        await asyncio.sleep(200)
        keeping.cancel()
        return clock.offset_ms, client.sync_failures

    assert run_virtual(main) == (500, 1)
