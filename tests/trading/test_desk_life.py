"""Exits, breakers, commands and approvals as the desk acts on them."""

from __future__ import annotations

from decimal import Decimal

import pytest
from tests.trading.toy_venue import ENTRY_FIRST, Faults, Rig, decision, instrument

from cryptosignal.domain.events import (
    BarClosed,
    InstrumentsListed,
    MarginCalled,
    MarksUpdated,
    OperatorCommanded,
)
from cryptosignal.domain.market import Bar
from cryptosignal.domain.order import Leg, OrderKind
from cryptosignal.risk.breaker import AccountState
from cryptosignal.risk.settings import RiskSettings
from cryptosignal.trading.settings import TradingSettings

D = Decimal
DAY_MS = 86_400_000
FUNDING_MS = 8 * 3_600_000


def ready(**kwargs) -> Rig:
    rig = Rig(**kwargs)
    rig.run(1000)
    return rig


def held(symbol: str = "BTCUSDT", **kwargs) -> Rig:
    rig = ready(**kwargs)
    rig.open(decision(symbol=symbol, time_ms=rig.now))
    rig.run(1000)
    assert rig.desk.positions()[0].is_protected
    return rig


def refusal(rig: Rig) -> str:
    return rig.noted("entry.refused")[-1].fields["reason"]


def stops(rig: Rig) -> list:
    return [a for a in rig.venue.algos.values() if a.status == "NEW" and a.intent.leg is Leg.STOP]


def bar(rig: Rig, low: float, high: float) -> BarClosed:
    start = rig.now // 60_000 * 60_000
    return BarClosed("BTCUSDT", "1m", Bar(start, low, high, low, high, 1, 1, 1, 1, 1))


# ---- exits
def test_time_stop():
    """A trade that outlives its time is closed calmly, reduce-only."""
    rig = held(settings=TradingSettings(hold_max_ms=600_000))
    rig.run(605_000)
    assert rig.outcomes[0].exit_reason == "time"
    assert rig.venue.own_open() == []


def test_breakeven_is_placed_before_the_old_stop_goes():
    """After TP1 there is never a moment without a stop at the venue."""
    rig = held(settings=ENTRY_FIRST)
    before = rig.venue.naked_starts
    rig.price("BTCUSDT", "102")
    rig.run(3000)
    (stop,) = stops(rig)
    assert stop.intent.trigger_price > D("100")
    assert stop.intent.quantity == rig.venue.positions["BTCUSDT"]
    assert rig.venue.naked_starts == before == 1


def test_trailing_only_tightens():
    """The chandelier follows new extremes and never steps back."""
    rig = held()
    seen = [stops(rig)[0].intent.trigger_price]
    for price in ("101", "102.2", "103", "102.6", "103.5", "103.2"):
        rig.price("BTCUSDT", price)
        rig.run(31_000)
        rig.live(bar(rig, float(price) - 0.2, float(price)))
        rig.run(31_000)
        if stops(rig):
            seen.append(stops(rig)[0].intent.trigger_price)
    assert seen == sorted(seen)
    assert len(set(seen)) >= 3
    assert len(stops(rig)) <= 1


def test_trailing_waits_for_one_r():
    """Before +1 R or TP1 the stop stays where the plan put it."""
    rig = held()
    rig.price("BTCUSDT", "101.5")
    rig.run(61_000)
    rig.live(bar(rig, 101.0, 101.5))
    rig.run(31_000)
    assert stops(rig)[0].intent.trigger_price == D("98.00")


def test_stop_that_would_trigger_at_once_flattens():
    """-2021 on a stop means that the price is through it: close at market now."""
    rig = ready(settings=ENTRY_FIRST)
    original = rig.venue._place_algo
    rig.venue._place_algo = lambda i: ("rejected", -2021, 0) if i.leg is Leg.STOP else original(i)
    rig.open(decision(time_ms=rig.now))
    rig.run(1500)
    assert rig.venue.positions["BTCUSDT"] == 0
    assert [i.leg for i in rig.venue.sent_requests if i.kind is OrderKind.MARKET] == [
        Leg.ENTRY,
        Leg.FLATTEN,
    ]
    rig.run(20_000)
    assert rig.venue.own_open() == []
    assert rig.outcomes


def test_stop_that_cannot_be_placed_flattens_in_time():
    """A venue that refuses every stop costs the position its life within the limit."""
    rig = ready(settings=ENTRY_FIRST, faults=Faults(stop_refused=1.0))
    rig.open(decision(time_ms=rig.now))
    rig.run(20_000)
    assert rig.venue.positions["BTCUSDT"] == 0
    assert rig.venue.naked_max_ms <= 5_000
    assert rig.outcomes[0].exit_reason == "exit"


def test_passed_target_is_taken_at_market():
    """A target that the price has passed already is taken, not skipped."""
    rig = ready()
    original = rig.venue._place_algo

    def jump(intent):
        if intent.leg is Leg.TP1:
            rig.venue.prices["BTCUSDT"] = D("102.5")
        return original(intent)

    rig.venue._place_algo = jump
    rig.open(decision(time_ms=rig.now))
    rig.run(5000)
    trade = rig.desk.state.trades["BTCUSDT"]
    assert trade.is_tp1_done
    assert rig.venue.positions["BTCUSDT"] == trade.quantity / 2


@pytest.mark.parametrize("side", ["long", "short"])
def test_the_last_net_closes_at_99_percent_of_the_margin(side):
    """A stop that the venue does not fire leaves the alarm: at −99 % of the margin by the mark, and not a
    little before, the position is flattened; a stale mark alone alarms nobody."""
    rig = ready()
    rig.open(decision(time_ms=rig.now, side=side))
    rig.run(1000)
    sign = 1 if side == "long" else -1
    [view] = rig.desk.positions()
    margin = view.entry_price / view.leverage
    near, gone = (view.entry_price - sign * margin * D(f) for f in ("0.985", "0.995"))
    old = MarksUpdated(rig.now - rig.settings.price_stale_ms - 1, {"BTCUSDT": float(gone)})
    for event in (old, MarksUpdated(rig.now, {"BTCUSDT": float(near)})):
        rig.live(event)
        assert not any(i.leg is Leg.FLATTEN for i in rig.venue.sent_requests)
        assert rig.desk.positions()[0].closing == ""
    rig.live(MarksUpdated(rig.now, {"BTCUSDT": float(gone)}))
    assert rig.desk.positions()[0].closing == "alarm"
    rig.run(3000)
    assert [i.reduce_only for i in rig.venue.sent_requests if i.leg is Leg.FLATTEN] == [True]
    assert rig.venue.positions["BTCUSDT"] == 0
    assert rig.venue.own_open() == []


def test_margin_usage_closes_the_worst_one_at_a_time():
    """Above the share of equity that margin may take, the trade that loses most goes; the next one only
    after the pause."""
    rig = ready(risk=RiskSettings(margin_exit_pause_ms=60_000))
    for number, symbol in enumerate(("BTCUSDT", "ETHUSDT", "SOLUSDT")):
        rig.open(decision(f"s{number}", symbol=symbol, time_ms=rig.now))
    rig.run(1000)
    for symbol, price in (("BTCUSDT", "99.5"), ("ETHUSDT", "99"), ("SOLUSDT", "100.2")):
        rig.price(symbol, price)
    rig.run(500)
    assert len(rig.desk.state.trades) == 3
    used = sum(
        rig.desk.state.held(t) * rig.desk.errands.price(t.symbol) / t.leverage
        for t in rig.desk.state.trades.values()
    )
    rig.venue.wallet = used  # equity a little above: more than 85 % is taken
    rig.venue.fund("BTCUSDT", D(0))
    rig.flush()
    rig.run(3000)
    assert {t for t, trade in rig.desk.state.trades.items() if not trade.close_reason} == {
        "BTCUSDT",
        "SOLUSDT",
    }
    assert rig.noted("trade.closing")[-1].fields["reason"] == "margin"
    rig.run(50_000)
    assert len([n for n in rig.noted("trade.closing") if n.fields["reason"] == "margin"]) == 1


def test_margin_call_closes_the_worst():
    """A margin call closes the worst loser, one in each pause."""
    rig = ready()
    for symbol in ("BTCUSDT", "ETHUSDT"):
        rig.open(decision(symbol, symbol, time_ms=rig.now))
    rig.run(1000)
    rig.price("BTCUSDT", "99.5")
    rig.price("ETHUSDT", "99")
    rig.live(MarginCalled(("ETHUSDT",), rig.now))
    rig.run(5000)
    assert rig.venue.positions["ETHUSDT"] == 0
    assert rig.venue.positions["BTCUSDT"] != 0


def test_funding_is_booked_once():
    """A funding fee enters the outcome once, however often it is reported."""
    rig = held()
    rig.venue.fund("BTCUSDT", D("-1.5"))
    again = rig.venue.outbox[-1]
    rig.flush()
    rig.run(100)
    rig.live(again)
    rig.live(OperatorCommanded("close", {"symbol": "BTCUSDT"}))
    rig.run(5000)
    assert rig.outcomes[0].funding_usdt == D("-1.5")
    outcome = rig.outcomes[0]
    assert outcome.net_usdt == outcome.realized_usdt - outcome.fees_usdt + outcome.funding_usdt


def test_outcome_equals_the_wallet():
    """Net of the outcome is what the wallet gained, to the last digit that matters."""
    rig = held()
    rig.price("BTCUSDT", "102")
    rig.run(3000)
    rig.price("BTCUSDT", "105")
    rig.run(5000)
    outcome = rig.outcomes[0]
    cash = sum(
        (t.quantity * t.price * (1 if t.side == "SELL" else -1) for t in rig.venue.trades), D(0)
    )
    fees = sum((t.fee for t in rig.venue.trades), D(0))
    assert abs(outcome.net_usdt - (cash - fees)) < D("1e-8")


# ---- entry styles
def test_slices():
    """A sliced entry is several IOC orders that never exceed the size, and one stop covers it."""
    rig = ready(
        settings=TradingSettings(entry_style="sliced"), risk=RiskSettings(risk_max_usdt=D(50))
    )
    rig.open(decision(time_ms=rig.now))
    rig.price("BTCUSDT", "100")
    rig.run(3000)
    trade = rig.desk.state.trades["BTCUSDT"]
    entries = list(trade.of_leg(Leg.ENTRY))
    assert len(entries) >= 3
    assert all(o.intent.time_in_force == "IOC" for o in entries)
    assert trade.entered <= trade.quantity
    assert rig.desk.positions()[0].is_protected


def test_passive_entry_times_out_and_crosses():
    """A passive limit that does not fill is cancelled, proven gone, then crossed once."""
    rig = ready(settings=TradingSettings(entry_style="passive", passive_timeout_ms=5000))
    choice = decision(time_ms=rig.now)
    rig.open(choice, price=100.05)
    rig.price("BTCUSDT", "100.2")
    rig.run(4000)
    assert not rig.desk.positions()
    rig.price("BTCUSDT", "100.2")
    rig.run(6000)
    legs = [i for i in rig.venue.sent_requests if i.leg is Leg.ENTRY]
    assert [i.time_in_force for i in legs] == ["GTX", "IOC"]
    assert rig.desk.positions()[0].is_protected


# ---- refusals, breakers, people
def test_signal_mode_only_publishes():
    """In signal mode a decision opens nothing unless a person asked for the trade."""
    rig = ready(mode="signal")
    rig.open(decision(time_ms=rig.now))
    assert "publish only" in refusal(rig)
    rig.open(decision(time_ms=rig.now), is_approved=True)
    rig.run(500)
    assert rig.venue.entries == {"s1": 1}


@pytest.mark.parametrize(
    ("price", "text"), [(97.0, "beyond the stop"), (102.5, "first target"), (100.9, "drifted")]
)
def test_drift_refuses(price, text):
    """A price beyond stop, target or drift limit opens nothing."""
    rig = ready()
    rig.open(decision(time_ms=rig.now), price=price)
    assert text in refusal(rig)


def test_stale_price_refuses():
    """Without a fresh price nothing is sized."""
    rig = ready()
    rig.open(decision(time_ms=rig.now - 60_000), price=None)
    assert refusal(rig) == "no fresh price"


def test_expired_signal_refuses():
    """A signal past its time to live is not entered."""
    rig = ready()
    rig.open(decision(time_ms=rig.now - DAY_MS))
    assert "expired" in refusal(rig)


def test_seven_losses_shut_down_and_exits_still_pass():
    """The breaker trips on losses, survives a restart, refuses entries, and lets exits through."""
    rig = ready(risk=RiskSettings(losses_cautious=1, losses_averse=1, losses_shutdown=1))
    rig.open(decision(time_ms=rig.now))
    rig.open(decision("s2", "ETHUSDT", time_ms=rig.now))
    rig.run(1000)
    rig.price("BTCUSDT", "97.9")
    rig.run(5000)
    assert rig.noted("breaker.tripped")
    rig.crash()
    rig.boot()
    rig.run(2000)
    assert rig.desk.account_state(rig.now) is AccountState.SHUTDOWN
    rig.open(decision("s3", "SOLUSDT", time_ms=rig.now))
    assert "shutdown" in refusal(rig)
    rig.live(OperatorCommanded("close", {"symbol": "ETHUSDT"}))
    rig.run(3000)
    assert rig.venue.positions["ETHUSDT"] == 0


@pytest.mark.parametrize("level", [1, 2, 3])
def test_kill_switch_is_sticky(level):
    """Thrown, it holds over restarts until released; level 3 flattens, lower levels do not."""
    rig = held()
    rig.live(OperatorCommanded("kill", {"level": str(level)}))
    rig.run(5000)
    assert (rig.venue.positions["BTCUSDT"] == 0) == (level == 3)
    rig.crash()
    rig.boot()
    rig.run(2000)
    rig.open(decision("s2", "ETHUSDT", time_ms=rig.now))
    assert "kill switch" in refusal(rig)
    rig.live(OperatorCommanded("unkill", {}))
    rig.open(decision("s3", "ETHUSDT", time_ms=rig.now))
    rig.run(500)
    assert rig.venue.entries["s3"] == 1


def test_kill_cancels_resting_entries():
    """Level 2 cancels an entry that rests."""
    rig = ready(settings=TradingSettings(entry_style="passive"))
    rig.open(decision(time_ms=rig.now), price=100.05)
    rig.venue.move("BTCUSDT", D("100.2"))
    rig.run(500)
    rig.live(OperatorCommanded("kill", {"level": "2"}))
    rig.run(5000)
    assert rig.venue.own_open() == []
    assert not rig.desk.state.trades


def test_close_survives_a_crash():
    """A close command that was journaled is carried out after a crash."""
    rig = held()
    rig.journal.append(OperatorCommanded("close", {"symbol": "BTCUSDT"}))
    rig.crash()
    rig.boot()
    rig.run(5000)
    assert rig.venue.positions["BTCUSDT"] == 0
    assert rig.outcomes[0].exit_reason == "manual"


def test_close_of_a_foreign_position_is_refused():
    """A command cannot close what is not ours; it says so."""
    rig = ready()
    rig.venue.trade_by_hand("BTCUSDT", D(1))
    rig.flush()
    rig.run(500)
    rig.live(OperatorCommanded("close", {"symbol": "BTCUSDT"}))
    assert rig.noted("command.refused")[0].fields["reason"] == "the position is not ours"


# ---- approve mode
def test_approved_signal_opens():
    """In approve mode a signal waits; a yes opens it."""
    rig = ready(mode="approve")
    rig.open(decision(time_ms=rig.now))
    assert [w.ticket.signal_id for w in rig.desk.waiting()] == ["s1"]
    assert rig.venue.sent_requests == []
    rig.live(OperatorCommanded("approve", {"signal_id": "s1"}))
    rig.run(500)
    assert rig.venue.entries == {"s1": 1}
    assert rig.desk.waiting() == ()


def test_waiting_survives_a_restart():
    """A waiting signal is still waiting after a crash."""
    rig = ready(mode="approve")
    rig.open(decision(time_ms=rig.now))
    rig.crash()
    rig.boot()
    rig.run(1000)
    rig.price("BTCUSDT", "100")
    rig.live(OperatorCommanded("approve", {"signal_id": "s1"}))
    rig.run(500)
    assert rig.venue.entries == {"s1": 1}


def test_late_yes_is_refused_with_the_reason():
    """After its expiry a signal is gone, and the person is told so."""
    rig = ready(mode="approve")
    rig.open(decision(time_ms=rig.now))
    rig.run(11 * 60_000)
    assert rig.noted("approval.expired")
    rig.live(OperatorCommanded("approve", {"signal_id": "s1"}))
    reason = rig.noted("approval.refused")[0].fields["reason"]
    assert reason == "late: it expired: nobody answered in time"
    assert rig.venue.sent_requests == []


def test_yes_after_the_price_moved_is_refused():
    """A price that drifted since the question makes a yes void."""
    rig = ready(mode="approve")
    rig.open(decision(time_ms=rig.now))
    rig.price("BTCUSDT", "100.6")
    rig.live(OperatorCommanded("approve", {"signal_id": "s1"}))
    assert "moved 60 bps" in rig.noted("approval.refused")[0].fields["reason"]


@pytest.mark.parametrize("obstacle", ["stream", "funding", "orders", "price"])
def test_a_yes_refused_for_now_leaves_the_signal_waiting(obstacle):
    """A reason that passes by itself refuses one yes, not the signal: a later yes opens it."""
    rig = ready(mode="approve")
    rig.run(FUNDING_MS - rig.now % FUNDING_MS - 90_000)
    rig.open(decision(time_ms=rig.now))
    [asked] = rig.desk.waiting()
    text = {
        "stream": "the account stream is down",
        "funding": "funding is due",
        "orders": "orders in the last minute",
        "price": "no fresh price",
    }[obstacle]
    if obstacle == "stream":
        rig.disconnect()
    elif obstacle == "funding":
        rig.run(45_000)
        rig.price("BTCUSDT", "100")
    elif obstacle == "orders":
        for _ in range(rig.risk.orders_per_minute_max):
            rig.desk.state.breaker.observe_order(rig.now, is_entry=False)
    else:
        rig.run(11_000)
    rig.live(OperatorCommanded("approve", {"signal_id": "s1"}))
    reason = rig.noted("approval.refused")[0].fields["reason"]
    assert text in reason
    assert "it waits on for" in reason
    assert rig.desk.waiting() == (asked,)
    assert rig.venue.entries == {}
    rig.connect()
    rig.run(100_000)
    rig.price("BTCUSDT", "100")
    rig.live(OperatorCommanded("approve", {"signal_id": "s1"}))
    rig.run(500)
    assert rig.venue.entries == {"s1": 1}
    assert rig.desk.waiting() == ()


@pytest.mark.parametrize("now", ["97.9", "102.5"])
def test_a_yes_refused_for_good_ends_the_signal(now):
    """A price that has left the plan ends the waiting, and a second yes is told why."""
    rig = ready(settings=TradingSettings(approve_drift_bps=1_000), mode="approve")
    rig.open(decision(time_ms=rig.now))
    rig.price("BTCUSDT", now)
    rig.live(OperatorCommanded("approve", {"signal_id": "s1"}))
    assert "the price is beyond" in rig.noted("approval.refused")[0].fields["reason"]
    assert rig.desk.waiting() == ()
    rig.price("BTCUSDT", "100")
    rig.live(OperatorCommanded("approve", {"signal_id": "s1"}))
    assert "late: it was refused" in rig.noted("approval.refused")[1].fields["reason"]
    assert rig.venue.entries == {}


def test_rejected_signal_is_gone():
    """A no ends the waiting."""
    rig = ready(mode="approve")
    rig.open(decision(time_ms=rig.now))
    rig.live(OperatorCommanded("reject", {"signal_id": "s1"}))
    assert rig.desk.waiting() == ()
    rig.live(OperatorCommanded("approve", {"signal_id": "s1"}))
    assert rig.venue.sent_requests == []


# ---- positions of others
@pytest.mark.parametrize("policy", ["protect", "adopt"])
def test_foreign_position_is_guarded_if_asked(policy):
    """A manual position gets a stop of ours at the venue, survives a restart, and is followed to its end."""
    rig = ready(settings=TradingSettings(foreign=policy))
    rig.live(InstrumentsListed((instrument(),)))
    rig.venue.trade_by_hand("BTCUSDT", D(-1))
    rig.flush()
    rig.run(5000)
    (stop,) = stops(rig)
    assert stop.intent.trigger_price == D("105")
    assert stop.intent.quantity == 1
    rig.crash()
    rig.boot()
    rig.run(5000)
    assert len(stops(rig)) == 1
    assert rig.desk.state.net("BTCUSDT") == -1
    rig.live(OperatorCommanded("kill", {"level": "3"}))
    rig.run(5000)
    assert (rig.venue.positions["BTCUSDT"] == 0) == (policy == "adopt")
    if policy == "protect":
        rig.venue.trade_by_hand("BTCUSDT", D(1))
        rig.flush()
        rig.run(5000)
    assert rig.venue.own_open() == []
    assert not rig.desk.state.trades
    assert rig.outcomes == []


def test_entry_before_funding_is_judged_again_after_it():
    """In the last minute before funding an entry waits, and is made once funding is over."""
    rig = ready(settings=TradingSettings(funding_interval_ms=600_000))
    rig.run(600_000 - rig.now % 600_000 - 30_000)
    rig.open(decision(time_ms=rig.now))
    assert refusal(rig) == "funding is due"
    for _ in range(6):
        rig.run(5_000)
        rig.price("BTCUSDT", "100")
    assert rig.venue.entries == {}
    rig.run(5_000)
    assert rig.venue.entries == {"s1": 1}


@pytest.mark.parametrize(("price", "is_noted"), [("97.9", False), ("97.0", True)])
def test_slippage_beyond_the_limit_is_said(price, is_noted):
    """A stop that fills far beyond its trigger leaves a note with the figure."""
    rig = held()
    rig.price("BTCUSDT", price)
    rig.run(5000)
    assert bool(rig.noted("slippage.exceeded")) == is_noted


def test_hedge_mode_takes_no_entry():
    """An account in hedge mode is refused, and its positions are not mistaken for ours."""
    rig = ready()
    rig.venue.is_hedged = True
    rig.run(310_000)
    rig.open(decision(time_ms=rig.now))
    assert "hedge" in refusal(rig)
