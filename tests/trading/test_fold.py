"""Folding events: any order and any number of times ends in the same knowledge."""

from __future__ import annotations

from decimal import Decimal

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.trading.test_machine import portrait
from tests.trading.toy_venue import ENTRY_FIRST, Faults, Rig, decision, instrument

from cryptosignal.domain.events import (
    MONEY_EVENTS,
    AccountUpdated,
    AlgoUpdated,
    CancelRecorded,
    FactRecorded,
    IntentRecorded,
    OperatorCommanded,
    OrderReplied,
    OrderSent,
    OrderUpdated,
    SendOutcome,
    TradeSeen,
)
from cryptosignal.trading.desk import Desk
from cryptosignal.trading.facts import BREAKER_TRIPPED, KILL_SET, Kill, Tripped, fact
from cryptosignal.trading.fold import HANDLERS

D = Decimal
OWN = (FactRecorded, IntentRecorded, OrderSent, CancelRecorded, OperatorCommanded)
STREAM = (OrderUpdated, TradeSeen, AlgoUpdated, AccountUpdated)


def lived() -> Rig:
    """A trade with partial fills, a taken target and a moved stop, still open."""
    rig = Rig(faults=Faults(parts=1.0))
    rig.run(1000)
    rig.open(decision(time_ms=rig.now))
    rig.run(1000)
    rig.price("BTCUSDT", "102")
    rig.run(3000)
    return rig


RIG = lived()
FIRST = [e for e in RIG.journal if isinstance(e, OWN) or type(e).__name__ == "EngineStarted"]
WORDS = [e for e in RIG.journal if isinstance(e, STREAM)]


def known(desk: Desk) -> dict[str, object]:
    state = desk.state
    return {
        "net": state.net("BTCUSDT"),
        "fills": len(state.fills),
        "orders": {c: (o.state, o.executed, o.booked) for c, o in state.orders.items()},
        "held": [state.held(t) for t in state.trades.values()],
    }


def told(words: list[object]) -> Desk:
    desk = Desk(RIG.settings, RIG.risk, "t")
    for event in [*FIRST, *words]:
        desk.apply(event)
    return desk


def test_every_money_event_has_a_handler_or_a_reason():
    """Of the journaled kinds only parameter sets mean nothing to the desk."""
    assert {t.__name__ for t in set(MONEY_EVENTS) - set(HANDLERS)} == {"ParamsPublished"}


def test_the_journal_alone_rebuilds_the_desk():
    """Applying the journal to a fresh desk gives the very state, also through JSON."""
    fresh = Desk(RIG.settings, RIG.risk, "t")
    for event in RIG.journal:
        data = msgspec.json.encode(event)
        fresh.apply(msgspec.json.decode(data, type=type(event)))
    assert portrait(fresh) == portrait(RIG.desk)


def test_every_event_twice_changes_nothing():
    """Each journaled event applied twice in a row gives the same orders, fills and positions."""
    fresh = Desk(RIG.settings, RIG.risk, "t")
    for event in RIG.journal:
        fresh.apply(event)
        fresh.apply(event)
    assert known(fresh) == known(RIG.desk)


@settings(max_examples=60, deadline=None)
@given(order=st.permutations(range(len(WORDS))))
def test_stream_events_in_any_order(order):
    """However the stream's words are shuffled, orders, fills and position come out the same."""
    assert known(told([WORDS[i] for i in order])) == known(told(WORDS))


@settings(max_examples=40, deadline=None)
@given(extra=st.lists(st.sampled_from(range(len(WORDS))), max_size=20), seed=st.randoms())
def test_stream_events_repeated(extra, seed):
    """Repeated words count once, wherever they turn up."""
    words = [*WORDS, *(WORDS[i] for i in extra)]
    seed.shuffle(words)
    assert known(told(words)) == known(told(WORDS))


@pytest.mark.parametrize("lost", range(3))
def test_a_snapshot_replaces_lost_words(lost):
    """With a third of the stream lost, one snapshot with trades restores the position exactly."""
    desk = told([w for i, w in enumerate(WORDS) if i % 3 != lost])
    for event in RIG.journal:
        if type(event).__name__ == "OrderLookedUp":
            desk.apply(event)
    since = min(t.time_ms for t in RIG.venue.trades) - 1
    RIG.venue.now_ms += 60_000
    purpose = f"mismatch BTCUSDT {since}"
    desk.apply(RIG.venue.snapshot(purpose, ("BTCUSDT",), since, RIG.now - 100))
    assert desk.state.net("BTCUSDT") == RIG.venue.positions["BTCUSDT"]


def test_difference_is_booked_after_a_second_look():
    """A difference that no trade explains is booked when a second read with trades confirms it."""
    desk = told(WORDS)
    RIG.venue.now_ms += 60_000
    quantity = RIG.venue.positions["BTCUSDT"]
    try:
        RIG.venue.positions["BTCUSDT"] = quantity - D("0.5")
        purpose = "mismatch BTCUSDT 1"
        first = RIG.venue.snapshot(purpose, (), 0, RIG.now - 100)
        desk.apply(first)
        assert desk.state.net("BTCUSDT") == quantity
        desk.apply(first)
        assert desk.state.net("BTCUSDT") == quantity
        RIG.venue.now_ms += 5_000
        second = RIG.venue.snapshot(purpose, (), 0, RIG.now - 100)
        for order in desk.state.orders.values():
            order.forget_absence()
        desk.apply(second)
        assert desk.state.net("BTCUSDT") == quantity - D("0.5")
        assert desk.state.adjustments == [(f"adj-BTCUSDT-{second.server_ms}", D("-0.5"))]
    finally:
        RIG.venue.positions["BTCUSDT"] = quantity


def test_kinds_of_facts_that_are_not_ours_are_left_alone():
    """Facts of other rooms in the journal change nothing here."""
    desk = told(WORDS)
    before = portrait(desk)
    desk.apply(FactRecorded("signal.memory", "x", "not even json"))
    desk.apply(object())
    assert portrait(desk) == before


def test_recorded_kill_and_trip_hold():
    """Facts of kill switch and breaker alone refuse entries after a restart."""
    desk = told([])
    desk.apply(fact(KILL_SET, "level", Kill(2, "breaker")))
    assert "breaker" in desk.state.breaker.refuse_entry(RIG.now, D(99))
    desk.apply(fact(KILL_SET, "level", Kill(0, "")))
    assert desk.state.breaker.refuse_entry(RIG.now, D(99)) is None
    desk.apply(fact(BREAKER_TRIPPED, "day", Tripped(RIG.now + 1, "losses")))
    assert "losses" in desk.state.breaker.refuse_entry(RIG.now, D(99))


def test_fill_read_before_its_order_is_known_is_claimed():
    """A fill that a snapshot brought first counts as foreign until its order's number is learned."""
    rig = Rig(settings=ENTRY_FIRST)
    rig.run(1000)
    rig.perform(rig.desk.open_from(decision(time_ms=rig.now), rig.now, instrument(), price=D(100)))
    (order,) = rig.desk.state.orders.values()
    rig.venue.place(order.intent, rig.now, 3000)
    rig.venue.outbox.clear()
    rig.venue.now_ms += 1
    rig.desk.apply(rig.venue.snapshot("mismatch BTCUSDT 1", ("BTCUSDT",), 0, rig.now - 10))
    book = rig.desk.state.book("BTCUSDT")
    assert book.foreign == order.intent.quantity
    number = rig.venue.orders[order.client_id].order_id
    rig.desk.apply(
        OrderReplied(
            order.client_id, "BTCUSDT", SendOutcome.ACKED, order_id=number, server_ms=rig.now
        )
    )
    assert book.foreign == 0
    assert order.booked == order.intent.quantity
