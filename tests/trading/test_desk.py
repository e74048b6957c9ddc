"""The desk as a whole: from a decision to its outcome, against a venue that behaves."""

from __future__ import annotations

from decimal import Decimal

from tests.trading.toy_venue import Rig, decision

from cryptosignal.domain.order import Leg

D = Decimal


def ready(**kwargs) -> Rig:
    rig = Rig(**kwargs)
    rig.run(1000)
    assert rig.desk.is_reconciled
    return rig


def test_trade_from_entry_to_second_target():
    """A signal is entered, protected, takes both targets and leaves nothing behind."""
    rig = ready()
    rig.open(decision(time_ms=rig.now))
    rig.run(1000)
    trade = rig.desk.state.trades["BTCUSDT"]
    legs = {o.intent.leg: o for o in trade.orders.values()}
    assert set(legs) == {Leg.ENTRY, Leg.STOP, Leg.TP1, Leg.TP2}
    assert trade.confirmed_stops(rig.now, 3000)
    assert rig.desk.positions()[0].is_protected
    rig.price("BTCUSDT", "102")
    rig.run(3000)
    assert trade.is_tp1_done
    assert trade.stop_price > D("100")
    assert len(trade.confirmed_stops(rig.now, 3000)) == 1
    rig.price("BTCUSDT", "105")
    rig.run(5000)
    assert not rig.desk.state.trades
    assert rig.venue.positions["BTCUSDT"] == 0
    assert rig.venue.own_open() == []
    (outcome,) = rig.outcomes
    assert outcome.exit_reason == "tp2"
    assert outcome.net_usdt > 0
    assert outcome.naked_ms <= 200


def test_stop_ends_the_trade():
    """The stop fills at the venue, its siblings are cancelled, the symbol cools down."""
    rig = ready()
    rig.open(decision(side="short", time_ms=rig.now))
    rig.run(1000)
    rig.price("BTCUSDT", "102.1")
    rig.run(4000)
    assert rig.venue.own_open() == []
    (outcome,) = rig.outcomes
    assert outcome.exit_reason == "stop"
    assert -1.3 < outcome.r_multiple < -0.9
    rig.open(decision("s2", time_ms=rig.now, price=102.1))
    assert "cools down" in rig.noted("entry.refused")[-1].fields["reason"]


def test_same_signal_enters_once():
    """A signal id that has had its entry never gets another, not even after a restart."""
    rig = ready()
    choice = decision(time_ms=rig.now)
    rig.open(choice)
    rig.open(choice)
    rig.run(1000)
    rig.crash()
    rig.boot()
    rig.run(1000)
    rig.open(choice)
    rig.run(1000)
    assert rig.venue.entries["s1"] == 1
