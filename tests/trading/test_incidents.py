"""Each incident of the reliability list that is the desk's to prevent, by its letter."""

from __future__ import annotations

import random
from dataclasses import replace
from decimal import Decimal
from itertools import pairwise

import msgspec
import pytest
from tests.trading.toy_venue import (
    ENTRY_FIRST,
    Arrival,
    Faults,
    Rig,
    ToyOrder,
    decision,
    instrument,
)

from cryptosignal.domain.actions import ReadRules, TakeSnapshot
from cryptosignal.domain.events import (
    AccountStreamChanged,
    AccountUpdated,
    EngineStarted,
    InstrumentsListed,
    OperatorCommanded,
    OrderLookedUp,
    OrderReplied,
    SendOutcome,
    TradeSeen,
)
from cryptosignal.domain.instrument import Instrument
from cryptosignal.domain.order import Leg, OrderIntent, OrderKind, OrderState, Side
from cryptosignal.trading.desk import Desk

D = Decimal


def ready(settings=ENTRY_FIRST, **kwargs) -> Rig:
    rig = Rig(settings=settings, **kwargs)
    rig.run(1000)
    return rig


def held(**kwargs) -> Rig:
    rig = ready(**kwargs)
    rig.open(decision(time_ms=rig.now))
    rig.run(1000)
    assert rig.desk.positions()[0].is_protected
    return rig


def entry_of(rig: Rig):
    trade = rig.desk.state.trades["BTCUSDT"]
    return next(iter(trade.of_leg(Leg.ENTRY)))


def lose_all(rig: Rig, **faults) -> None:
    rig.faults = replace(Faults(), **faults)


def test_incident_a_timeout_never_orders_again():
    """A: the reply and every event of an entry are lost; the order executed once and is found."""
    rig = ready()
    lose_all(rig, reply_lost=1.0, event_lost=1.0)
    rig.open(decision(time_ms=rig.now))
    rig.run(3900)
    rig.faults = Faults()
    rig.run(20_000)
    assert rig.venue.entries == {"s1": 1}
    assert rig.desk.positions()[0].quantity == rig.venue.positions["BTCUSDT"]
    assert rig.desk.positions()[0].is_protected


def test_incident_a_lost_request_is_proven_absent():
    """A: an entry that never arrived ends as DEAD by proof, without a second entry."""
    rig = ready()
    lose_all(rig, request_lost=1.0)
    rig.open(decision(time_ms=rig.now))
    rig.faults = Faults()
    rig.run(4100)
    assert entry_of(rig).state is OrderState.UNKNOWN
    rig.run(30_000)
    assert not rig.desk.state.trades
    assert rig.venue.entries == {}
    assert rig.outcomes == []


def test_incident_b_unknown_then_accepted():
    """B: -1007 first, then the stream says accepted: known again, nothing is sent twice."""
    rig = ready()
    rig.open(decision(time_ms=rig.now))
    first = entry_of(rig).client_id
    rig.live(OrderReplied(first, "BTCUSDT", SendOutcome.UNKNOWN, -1007, "timeout"))
    assert entry_of(rig).state is OrderState.UNKNOWN
    rig.run(2000)
    assert entry_of(rig).state is OrderState.FILLED
    assert rig.venue.entries == {"s1": 1}


def test_incident_b_duplicate_id_is_unknown_not_dead():
    """B: -4116 says that an order with the id is open, so it proves nothing against it."""
    rig = ready()
    rig.open(decision(time_ms=rig.now))
    first = entry_of(rig).client_id
    rig.live(OrderReplied(first, "BTCUSDT", SendOutcome.REJECTED, -4116, "duplicate"))
    assert entry_of(rig).state is OrderState.UNKNOWN


def test_incident_c_network_failure_proves_nothing():
    """C: however often a query itself fails, an unknown order stays unknown and blocks its symbol."""
    rig = ready()
    lose_all(rig, request_lost=1.0)
    rig.open(decision(time_ms=rig.now))
    lose_all(rig, lookup_fails=1.0, snapshot_fails=1.0)
    rig.run(600_000)
    assert entry_of(rig).state is OrderState.UNKNOWN
    rig.open(decision("s2", time_ms=rig.now))
    assert rig.noted("entry.refused")[-1].fields["reason"] == "the symbol has an open trade"
    assert rig.desk.exposure().gross_usdt > 0
    rig.faults = Faults()
    rig.run(60_000)
    assert not rig.desk.state.trades


@pytest.mark.parametrize("early", [True, False])
def test_incident_c_absence_before_the_fence_is_lag(early):
    """C: "not found" before the fence counts for nothing, after it only with a snapshot."""
    rig = ready()
    lose_all(rig, request_lost=1.0, snapshot_fails=1.0)
    rig.open(decision(time_ms=rig.now))
    lose_all(rig, snapshot_fails=1.0)
    rig.run(4100)
    order = entry_of(rig)
    at = order.sent_ms + (4000 if early else 6000)
    for n in range(5):
        rig.desk.apply(
            OrderLookedUp(order.client_id, "BTCUSDT", False, at + (0 if early else n * 1500))
        )
    assert order.state is OrderState.UNKNOWN
    assert len(order.absent_ms) == (0 if early else 2)


def test_incident_d_an_absence_stamped_ahead_is_no_proof_and_holds_none_up():
    """D: "not found" stamped by a clock an hour ahead counts for nothing once the time is right again,
    and those that follow count at once."""
    rig = ready()
    lose_all(rig, request_lost=1.0, snapshot_fails=1.0)
    rig.open(decision(time_ms=rig.now))
    lose_all(rig, snapshot_fails=1.0)
    rig.run(4100)
    order = entry_of(rig)
    at = order.sent_ms + 6000
    rig.desk.apply(OrderLookedUp(order.client_id, "BTCUSDT", False, at + 3_600_000))
    rig.desk.apply(OrderLookedUp(order.client_id, "BTCUSDT", False, at))
    assert order.absent_ms == [at]
    rig.desk.apply(OrderLookedUp(order.client_id, "BTCUSDT", False, at + 1500))
    assert order.absent_ms == [at, at + 1500]


def test_incident_d_clock_skew_rejection_is_no_second_order():
    """D: -1021 on an entry ends the signal; its id is used up."""
    rig = ready()
    rig.open(decision(time_ms=rig.now))
    order = entry_of(rig)
    rig.queue.clear()
    rig.live(OrderReplied(order.client_id, "BTCUSDT", SendOutcome.REJECTED, -1021, "timestamp"))
    rig.run(2000)
    assert not rig.desk.state.trades
    rig.open(decision(time_ms=rig.now))
    assert rig.venue.entries == {}
    assert rig.noted("entry.refused")[-1].fields["reason"] == "the signal has had its entry"


def test_incident_d_a_trade_stamped_ahead_is_read_from_its_orders():
    """D: a trade opened by a clock that was an hour ahead: its executions are read from when its orders
    left, not from an hour to come, so its books close with the fees that were paid."""
    rig = held()
    (trade,) = rig.desk.state.trades.values()
    entered_ms = trade.filled_ms
    trade.opened_ms += 3_600_000
    for order in trade.orders.values():
        order.sent_ms += 3_600_000
    lose_all(rig, event_lost=1.0)
    asked = []
    perform = rig.perform
    rig.perform = lambda actions: (
        asked.extend(a for a in actions if isinstance(a, TakeSnapshot)),
        perform(actions),
    )
    rig.live(OperatorCommanded("close", {"symbol": "BTCUSDT"}))
    rig.run(30_000)
    assert not rig.desk.state.trades
    assert asked
    assert all(a.trades_since_ms <= entered_ms for a in asked if a.symbols)


def test_incident_d_a_word_stamped_ahead_does_not_stand_for_an_hour():
    """D: a snapshot stamped by a clock that was an hour ahead gives way to the next true one."""
    rig = held()
    hour = 3_600_000
    taken = rig.venue.snapshot("audit", (), 0, rig.now)
    ahead = {"requested_ms": rig.now + hour, "server_ms": rig.now + hour}
    rig.later(rig.now, msgspec.structs.replace(taken, **ahead))
    rig.run(1000)
    lose_all(rig, event_lost=1.0)
    rig.venue.trade_by_hand("BTCUSDT", -rig.venue.positions["BTCUSDT"])
    rig.flush()
    rig.run(75_000)
    assert not rig.desk.state.trades
    assert rig.venue.own_open() == []


def test_incident_e_fill_after_death_is_protected_and_closed():
    """E: a fill of an order thought dead brings the trade back; it is protected and closed."""
    rig = ready()
    rig.open(decision(time_ms=rig.now))
    order = entry_of(rig)
    rig.queue.clear()
    rig.live(OrderReplied(order.client_id, "BTCUSDT", SendOutcome.REJECTED, -2019, "margin"))
    assert not rig.desk.state.trades
    rig.venue.place(order.intent, rig.now, 3000)
    rig.flush()
    rig.run(10_000)
    assert rig.venue.positions["BTCUSDT"] == 0
    assert rig.desk.state.net("BTCUSDT") == 0
    assert rig.venue.own_open() == []


def test_incident_f_ownership_is_by_id_not_by_time():
    """F: a late fill of the last trade's stop is not booked on the next trade."""
    rig = held()
    trade = rig.desk.state.trades["BTCUSDT"]
    stop = next(iter(trade.of_leg(Leg.STOP)))
    rig.desk.state.cooldowns.clear()
    rig.price("BTCUSDT", "97.9")
    rig.run(5000)
    assert not rig.desk.state.trades
    rig.desk.state.cooldowns.clear()
    rig.open(decision("s2", time_ms=rig.now, price=97.9))
    rig.run(1000)
    before = rig.desk.positions()[0].quantity
    last = [t for t in rig.venue.trades if t.order_id][-2]
    rig.live(
        TradeSeen(
            "BTCUSDT",
            stop.client_id,
            last.order_id,
            Side.SELL,
            last.quantity,
            last.price,
            last.trade_id,
            rig.now,
        )
    )
    assert rig.desk.positions()[0].quantity == before


def test_incident_f_an_unseen_fill_of_the_last_trade_is_not_the_next_ones():
    """F: an execution of a former trade's stop that nobody had told yet moves no order of the new trade."""
    rig = held()
    stop = next(iter(rig.desk.state.trades["BTCUSDT"].of_leg(Leg.STOP)))
    rig.price("BTCUSDT", "97.9")
    rig.run(5000)
    rig.desk.state.cooldowns.clear()
    rig.open(decision("s2", time_ms=rig.now, price=97.9))
    rig.run(1000)
    own = {c: o.executed for c, o in rig.desk.state.trades["BTCUSDT"].orders.items()}
    late = TradeSeen(
        "BTCUSDT", stop.client_id, 77, Side.SELL, D("0.5"), D("97.9"), 999_999, rig.now
    )
    rig.desk.apply(late)
    trade = rig.desk.state.trades["BTCUSDT"]
    assert {c: o.executed for c, o in trade.orders.items()} == own
    assert rig.desk.state.book("BTCUSDT").foreign == D("-0.5")


def test_incident_g_invisible_stops_are_not_multiplied():
    """G: when the venue shows no algo order at all, stops are bounded and the position is closed."""
    rig = ready()
    rig.venue._emit_algo = lambda algo: None
    rig.venue.look_up = lambda c, s, a: OrderLookedUp(c, s, None)
    rig.open(decision(time_ms=rig.now))
    rig.run(8000)
    stops = [i for i in rig.venue.sent_requests if i.leg is Leg.STOP]
    assert 2 <= len(stops) <= rig.settings.stop_open_max
    asked_ms = [i.created_ms for i in stops]
    apart_ms = [later - former for former, later in pairwise(asked_ms)]
    assert min(apart_ms) >= rig.settings.stop_confirm_ms, "each has its time to be confirmed"
    assert rig.venue.positions["BTCUSDT"] == 0
    assert any(i.leg is Leg.FLATTEN and i.reduce_only for i in rig.venue.sent_requests)


def test_incident_h_placed_stop_that_reads_as_missing():
    """H: -2013 for a stop just placed: a second one goes out, one remains, none is trusted blindly."""
    rig = ready()
    lose_all(rig, lookup_stale=1.0)
    rig.venue._emit_algo = lambda algo: None
    rig.open(decision(time_ms=rig.now))
    rig.run(1500)
    assert len([i for i in rig.venue.sent_requests if i.leg is Leg.STOP]) == 2
    del rig.venue._emit_algo
    rig.faults = Faults()
    rig.run(20_000)
    resting = [
        a for a in rig.venue.algos.values() if a.status == "NEW" and a.intent.leg is Leg.STOP
    ]
    assert len(resting) == 1
    assert rig.desk.positions()[0].is_protected


def test_incident_i_stop_cancelled_without_a_word():
    """I: a stop that the venue drops silently is missed within the verify time and replaced."""
    rig = held()
    rig.run(20_000)
    stop = next(a for a in rig.venue.algos.values() if a.intent.leg is Leg.STOP)
    rig.venue.cancel_silently(stop.intent.client_id)
    rig.run(6_000)
    assert rig.desk.positions()[0].is_protected
    resting = [a for a in rig.venue.algos.values() if a.status == "NEW"]
    assert [a.intent.leg for a in resting].count(Leg.STOP) == 1, "it was replaced at the venue"
    assert 0 < rig.venue.naked_max_ms <= 5_000
    assert abs(rig.desk.naked_ms().max_ms - rig.venue.naked_max_ms) <= 100


def test_incident_j_only_market_stops():
    """J: protection never depends on a limit price."""
    rig = held()
    stops = [i for i in rig.venue.sent_requests if i.leg is Leg.STOP]
    assert stops
    assert all(i.kind is OrderKind.STOP_MARKET and i.price is None for i in stops)


def test_incident_k_every_protective_order_is_reduce_only():
    """K: nothing that outlives a position could open a new one."""
    rig = held()
    rig.price("BTCUSDT", "102")
    rig.run(3000)
    rig.price("BTCUSDT", "99")
    rig.run(5000)
    for intent in rig.venue.sent_requests:
        assert intent.reduce_only == (intent.leg is not Leg.ENTRY)
    assert rig.venue.own_open() == []


def test_incident_k_orphan_of_a_lost_journal_is_removed():
    """K: a live order with our tag that no journal knows, on a flat symbol, is cancelled."""
    rig = held()
    stop = next(a for a in rig.venue.algos.values() if a.intent.leg is Leg.STOP)
    other = msgspec.structs.replace(
        stop.intent, client_id="cst-00000000deadbeef-s0", symbol="ETHUSDT"
    )
    rig.venue.algos[other.client_id] = ToyOrder(other, 77)
    rig.run(120_000)
    assert rig.venue.algos[other.client_id].status == "CANCELED"
    assert rig.venue.algos[stop.intent.client_id].status == "NEW"


def test_incident_k_orders_of_others_are_never_touched():
    """K: manual orders and orders of another bot stay where they are."""
    rig = ready()
    for name in ("web_abc", "csother-1234-s0"):
        intent = decision_intent(name)
        rig.venue.algos[name] = ToyOrder(intent, 5)
    rig.run(700_000)
    assert all(a.status == "NEW" for a in rig.venue.algos.values())


def decision_intent(name: str):
    return OrderIntent(
        name,
        "",
        "SOLUSDT",
        Leg.STOP,
        Side.SELL,
        OrderKind.STOP_MARKET,
        D(1),
        0,
        trigger_price=D(50),
        reduce_only=True,
    )


def test_incident_l_restart_finds_the_same_position():
    """L: after many days and a restart the position is what the venue says, and is left alone."""
    rig = held()
    rig.run(3 * 3_600_000)
    quantity = rig.venue.positions["BTCUSDT"]
    rig.crash()
    rig.boot()
    rig.run(5000)
    assert rig.desk.positions()[0].quantity == quantity
    assert rig.venue.positions["BTCUSDT"] == quantity
    assert not rig.desk.state.trades["BTCUSDT"].close_reason


def test_incident_m_silent_stream_is_noticed_by_the_audit():
    """M: all account events vanish; the audit finds the closed position within its minute."""
    rig = held()
    lose_all(rig, event_lost=1.0)
    rig.price("BTCUSDT", "97")
    rig.run(75_000)
    assert not rig.desk.state.trades
    assert rig.outcomes[0].exit_reason == "stop"
    assert rig.outcomes[0].fees_usdt > 0


def test_incident_m_only_the_audit_can_see_a_close_by_hand():
    """M: all account events vanish while a person closes the position; the orders rest on as they were,
    so nothing but the audit tells, within its minute."""
    rig = held()
    lose_all(rig, event_lost=1.0)
    rig.venue.trade_by_hand("BTCUSDT", -rig.venue.positions["BTCUSDT"])
    rig.flush()
    rig.run(75_000)
    assert not rig.desk.state.trades
    assert rig.outcomes[0].exit_reason == "manual"
    assert rig.venue.own_open() == []


def test_incident_n_fill_of_an_unknown_instrument_counts():
    """N: a fill on a symbol nobody listed is in the exposure and in the position views."""
    rig = ready()
    rig.venue.trade_by_hand("XYZUSDT", D(3))
    rig.flush()
    rig.run(1000)
    (view,) = rig.desk.positions()
    assert view.is_foreign
    assert view.quantity == 3
    assert rig.desk.state.adjustments == [], "by the fill itself, not as a difference"
    assert rig.desk.exposure().of("XYZUSDT").foreign == 3


def test_what_a_person_took_off_our_position_is_no_position_of_theirs():
    """N: ours is shown as what is left of it, and all views together are what the venue has."""
    rig = held()
    part = rig.venue.positions["BTCUSDT"] / 5
    rig.venue.trade_by_hand("BTCUSDT", -part)
    rig.flush()
    rig.run(1000)
    (view,) = rig.desk.positions()
    assert not view.is_foreign
    assert view.quantity == rig.venue.positions["BTCUSDT"] == 4 * part
    rig.venue.trade_by_hand("BTCUSDT", 2 * part, "web_2")
    rig.flush()
    rig.run(1000)
    ours, theirs = rig.desk.positions()
    assert (ours.quantity, theirs.quantity) == (5 * part, part)
    assert theirs.is_foreign


def test_a_buy_of_others_that_only_the_position_told_of_stays_covered():
    """N: a person sells, buys (its report is lost) and sells: the stop covers what is left of ours.

    By the executions alone that would be one part less, and the stop that covers all would be given up.
    """
    rig = held()
    part = rig.venue.positions["BTCUSDT"] / 5
    rig.venue.trade_by_hand("BTCUSDT", -part)
    rig.flush()
    rig.run(1000)
    rig.venue.trade_by_hand("BTCUSDT", part, "web_2")
    rig.venue.outbox[:] = [e for e in rig.venue.outbox if isinstance(e, AccountUpdated)]
    rig.flush()
    rig.run(1000)
    rig.venue.trade_by_hand("BTCUSDT", -part, "web_3")
    rig.venue.outbox[:] = [e for e in rig.venue.outbox if not isinstance(e, AccountUpdated)]
    rig.flush()
    for _ in range(60):
        rig.run(100)
        (trade,) = rig.desk.state.trades.values()
        assert rig.desk.state.exposed(trade) == rig.venue.positions["BTCUSDT"] == 4 * part
        stops = [a.intent for a in rig.venue.algos.values() if a.status == "NEW"]
        assert sum(s.quantity for s in stops if s.leg is Leg.STOP) >= 4 * part


def resting_stops(rig: Rig) -> Decimal:
    stops = [a for a in rig.venue.algos.values() if a.status == "NEW" and a.intent.leg is Leg.STOP]
    return sum((a.intent.quantity for a in stops), D(0))


@pytest.mark.parametrize("seed", range(12))
def test_stops_cover_what_is_left_however_others_trade(seed):
    """N: a person sells a part of ours, buys it for themselves and sells it, over and over, and most
    reports are lost: at every moment the stops at the venue cover what is left of ours."""
    rig = held(seed=seed)
    lose_all(rig, event_lost=0.6)
    dice = random.Random(seed)
    part = rig.venue.positions["BTCUSDT"] / 5
    until = rig.now + 60_000
    sign = -1
    next_ms = rig.now + 500
    while rig.now < until:
        if rig.now >= next_ms:
            rig.venue.trade_by_hand("BTCUSDT", sign * part, f"web_{rig.now}")
            rig.flush()
            sign, next_ms = -sign, rig.now + dice.choice((40, 90, 700, 4_000))
        rig.run(10)
        assert resting_stops(rig) >= 4 * part, (seed, rig.now)


def test_a_close_that_leaves_a_part_unseen_keeps_the_stop():
    """N: a person's short from before is bought back unseen, so our count is a part too low when we
    close: the stop stays until the position is gone, not until our count is zero.

    The other way round nothing of ours would be left: what they buy after selling ours is theirs.
    """
    rig = ready()
    part = D("0.5")
    rig.venue.trade_by_hand("BTCUSDT", -part)
    rig.venue.outbox.clear()
    rig.open(decision(time_ms=rig.now))
    rig.run(130_000)
    known = rig.desk.positions()[0].quantity
    assert known == rig.venue.positions["BTCUSDT"]
    rig.venue.trade_by_hand("BTCUSDT", part, "web_2")
    rig.venue.outbox.clear()
    flush = rig.flush

    def without_positions() -> None:
        rig.venue.outbox[:] = [e for e in rig.venue.outbox if not isinstance(e, AccountUpdated)]
        flush()

    rig.flush = without_positions
    rig.live(OperatorCommanded("close", {"symbol": "BTCUSDT"}))
    for _ in range(600):
        rig.run(10)
        if rig.venue.positions["BTCUSDT"] > 0:
            assert resting_stops(rig) >= min(known, rig.venue.positions["BTCUSDT"])
    assert rig.venue.positions["BTCUSDT"] == 0
    assert not rig.desk.state.trades
    assert rig.venue.own_open() == []


def test_a_hole_in_the_attempts_gives_no_id_twice():
    """3.1: one attempt's intent was lost with the disk's tail, a later one was not: the next has a
    number of its own, or it would be sent again and again without ever being known."""
    rig = held()
    (trade,) = rig.desk.state.trades.values()
    first = next(iter(trade.of_leg(Leg.STOP)))
    rig.venue.cancel_silently(first.client_id)
    rig.run(6_000)
    assert len(list(trade.of_leg(Leg.STOP))) > 1
    del trade.orders[first.client_id], rig.desk.state.orders[first.client_id]
    trade.drop_sums()
    known = set(trade.orders)
    rig.venue.cancel_silently(next(iter(trade.of_leg(Leg.STOP))).client_id)
    rig.run(6_000)
    assert set(trade.orders) - known
    assert rig.desk.positions()[0].is_protected


def coarse_step() -> Instrument:
    """The usual contract with a quantity step of 0.1."""
    usual = instrument()
    steps = {"market_step_size": D("0.1"), "step_size": D("0.1"), "market_min_qty": D("0.1")}
    return msgspec.structs.replace(usual, filters=msgspec.structs.replace(usual.filters, **steps))


@pytest.mark.parametrize("is_finer_now", [True, False])
def test_incident_p_a_rest_below_the_step_is_doubted_not_forgotten(is_finer_now):
    """P: what is held does not fit the step that we know: the rules are read again, and the stop that
    covers all of it stays until they came; then all is closed that the rules allow."""
    rig = held()
    whole = rig.venue.positions["BTCUSDT"]
    assert whole % D("0.1")
    asked = []
    perform = rig.perform
    rig.perform = lambda actions: (
        asked.extend(a for a in actions if isinstance(a, ReadRules)),
        perform(actions),
    )
    rig.live(InstrumentsListed((coarse_step(),)))
    for _ in range(50):
        rig.run(100)
        assert resting_stops(rig) >= whole
    assert asked
    rig.live(InstrumentsListed((instrument() if is_finer_now else coarse_step(),)))
    rig.live(OperatorCommanded("close", {"symbol": "BTCUSDT"}))
    rig.run(60_000)
    assert not rig.desk.state.trades
    assert rig.venue.own_open() == []
    assert rig.venue.positions["BTCUSDT"] == (0 if is_finer_now else whole % D("0.1"))


def test_incident_p_changed_step_is_used_at_once():
    """P: after a filter change exits use the new step."""
    rig = held()
    coarse = instrument()
    filters = msgspec.structs.replace(
        coarse.filters, market_step_size=D("0.1"), step_size=D("0.1"), market_min_qty=D("0.1")
    )
    rig.live(InstrumentsListed((msgspec.structs.replace(coarse, filters=filters),)))
    rig.live(OperatorCommanded("close", {"symbol": "btcusdt"}))
    asked = [q[2].action for q in rig.queue if isinstance(q[2], Arrival) and q[2].kind == "place"]
    exits = [i for i in asked if i.leg is Leg.EXIT]
    assert exits
    assert exits[0].quantity % D("0.1") == 0


def test_incident_q_delisted_symbol_takes_no_entry():
    """Q: a symbol that is not trading, or is about to be delivered, is refused with the reason."""
    rig = ready()
    gone = msgspec.structs.replace(instrument(), status="SETTLING")
    rig.open(decision(time_ms=rig.now), instrument=gone)
    assert "SETTLING" in rig.noted("entry.refused")[0].fields["reason"]


@pytest.mark.parametrize("is_listed", [True, False])
def test_incident_q_a_position_on_a_delisted_symbol_is_closed(is_listed):
    """Q: a held symbol that stops trading, or falls out of the list, keeps its stop and can be closed."""
    rig = held()
    settling = msgspec.structs.replace(instrument(), status="SETTLING")
    rig.live(InstrumentsListed((settling,) if is_listed else (instrument("ETHUSDT"),)))
    rig.run(2000)
    assert rig.desk.positions()[0].is_protected
    rig.live(OperatorCommanded("close", {"symbol": "btcusdt"}))
    rig.run(5000)
    assert rig.venue.positions["BTCUSDT"] == 0
    assert rig.venue.own_open() == []
    assert rig.outcomes[0].exit_reason == "manual"


def test_crash_between_intent_and_send_is_never_sent():
    """An intent without OrderSent is dead after a restart; the entry is not repeated."""
    rig = ready()
    rig.perform = lambda actions: None
    actions = rig.desk.open_from(decision(time_ms=rig.now), rig.now, instrument(), price=D(100))
    for action in actions:
        if hasattr(action, "event"):
            rig.journal.append(action.event)
    del rig.perform
    rig.crash()
    rig.boot()
    rig.run(5000)
    assert rig.venue.entries == {}
    assert not rig.desk.state.trades
    assert "s1" in rig.desk.state.opened


def test_crash_after_send_is_unknown_until_proven():
    """An intent with OrderSent and no reply is UNKNOWN after a restart, and is looked up."""
    rig = ready()
    rig.open(decision(time_ms=rig.now))
    rig.crash()
    rig.boot()
    assert entry_of(rig).state is OrderState.UNKNOWN
    rig.run(10_000)
    assert rig.venue.entries == {"s1": 1}
    assert rig.desk.positions()[0].is_protected


def test_no_entry_before_the_first_snapshot():
    """Start-up is reconciliation: nothing is opened before the account has been read."""
    rig = Rig(settings=ENTRY_FIRST, faults=Faults(snapshot_fails=1.0))
    rig.run(5000)
    rig.open(decision(time_ms=rig.now))
    assert "snapshot" in rig.noted("entry.refused")[0].fields["reason"]


def test_no_entry_while_the_stream_is_down():
    """Blind entries are refused; the account is read at once when the stream changes."""
    rig = ready()
    before = rig.desk.audit_calls
    rig.disconnect()
    rig.open(decision(time_ms=rig.now))
    assert "stream" in rig.noted("entry.refused")[0].fields["reason"]
    rig.run(1500)
    assert rig.desk.audit_calls == before + 1
    rig.live(AccountStreamChanged(True, "up"))
    rig.run(1500)
    assert rig.desk.audit_calls == before + 2


def test_manual_close_of_our_position_ends_the_trade():
    """A person sells our position away: the trade ends as manual and its orders are removed."""
    rig = held()
    rig.venue.trade_by_hand("BTCUSDT", -rig.venue.positions["BTCUSDT"])
    rig.flush()
    rig.run(5000)
    assert rig.outcomes[0].exit_reason == "manual"
    assert rig.venue.own_open() == []
    assert rig.desk.state.net("BTCUSDT") == 0


def test_liquidation_is_booked_as_such():
    """A liquidation fill under the venue's own id ends the trade as liquidation."""
    rig = held()
    rig.venue.trade_by_hand("BTCUSDT", -rig.venue.positions["BTCUSDT"], "autoclose-123")
    rig.flush()
    rig.run(5000)
    assert rig.outcomes[0].exit_reason == "liquidation"


def test_foreign_position_is_reported_and_never_touched():
    """A manual position counts in the exposure, blocks its symbol, and gets no order of ours."""
    rig = ready()
    rig.venue.trade_by_hand("BTCUSDT", D("0.5"))
    rig.flush()
    rig.run(120_000)
    rig.open(decision(time_ms=rig.now))
    assert "others hold" in rig.noted("entry.refused")[0].fields["reason"]
    assert rig.venue.sent_requests == []
    assert rig.desk.exposure().gross_usdt == 50


def test_second_instance_start_is_seen_in_the_journal():
    """Each start asks for a fresh account snapshot before anything else."""
    rig = ready()
    rig.live(EngineStarted("again", "auto", "sim", "t", "v"))
    assert not rig.desk.is_reconciled
    rig.run(2000)
    assert rig.desk.is_reconciled


def test_bot_tag_is_checked():
    """A tag that could not be parsed back out of an id is refused."""
    rig = ready()
    with pytest.raises(ValueError, match="bot"):
        Desk(rig.settings, rig.risk, "a-b")


def test_part_closed_by_hand_then_stopped():
    """A person sells a part, the stop takes the rest: flat is flat, and nothing is sent after it."""
    rig = held()
    rig.venue.trade_by_hand("BTCUSDT", D(-2))
    rig.flush()
    rig.run(500)
    rig.price("BTCUSDT", "97.8")
    rig.run(20_000)
    assert not rig.desk.state.trades
    assert not [i for i in rig.venue.sent_requests if i.leg is Leg.FLATTEN]
    assert rig.venue.own_open() == []


def test_incident_c_failed_queries_never_add_up():
    """C: queries that failed, however late they are stamped, are no proof beside a good snapshot."""
    rig = ready()
    lose_all(rig, request_lost=1.0)
    rig.open(decision(time_ms=rig.now))
    lose_all(rig, lookup_fails=1.0)
    rig.run(30_000)
    order = entry_of(rig)
    for n in range(5):
        rig.live(OrderLookedUp(order.client_id, "BTCUSDT", None, rig.now + n * 2000))
    rig.run(30_000)
    assert order.state is OrderState.UNKNOWN
    assert order.absent_ms == []
