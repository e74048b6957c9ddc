"""Stop first: nothing is held before its stop rests, and what could not be entered leaves nothing."""

from __future__ import annotations

from decimal import Decimal

import msgspec
import pytest
from tests.trading.toy_venue import Faults, Rig, decision, instrument

from cryptosignal.domain.actions import ReadRules
from cryptosignal.domain.events import InstrumentsListed
from cryptosignal.domain.order import Leg, Side
from cryptosignal.trading.settings import TradingSettings

D = Decimal


def ready(**kwargs) -> Rig:
    rig = Rig(**kwargs)
    rig.run(1000)
    return rig


def legs_sent(rig: Rig) -> list[Leg]:
    return [intent.leg for intent in rig.venue.sent_requests]


def refusing(rig: Rig, code: int, legs=(Leg.STOP,), when=lambda _intent: True) -> None:
    """The venue refuses algo orders of some legs with `code` while `when` says so."""
    original = rig.venue._place_algo

    def place(intent):
        if intent.leg in legs and when(intent):
            return "rejected", code, 0
        return original(intent)

    rig.venue._place_algo = place


@pytest.mark.parametrize("side", ["long", "short"])
def test_no_moment_without_a_stop(side):
    """The entry leaves after its stop was seen, so the position is never naked."""
    rig = ready()
    rig.open(decision(side=side, time_ms=rig.now))
    rig.run(3_000)
    assert legs_sent(rig)[:2] == [Leg.STOP, Leg.ENTRY]
    assert rig.venue.naked_starts == 0
    assert rig.desk.positions()[0].is_protected
    assert [a.intent.leg for a in rig.venue.algos.values() if a.status == "NEW"].count(
        Leg.STOP
    ) == 1


def test_a_refused_stop_is_no_entry():
    """Where the venue refuses every stop, nothing is bought and nothing is left behind."""
    rig = ready(faults=Faults(stop_refused=1.0))
    rig.open(decision(time_ms=rig.now))
    rig.run(30_000)
    assert Leg.ENTRY not in legs_sent(rig)
    assert rig.noted("entry.abandoned")
    assert not rig.desk.state.trades
    assert rig.venue.own_open() == []
    assert rig.outcomes == []


def test_a_passed_stop_is_no_entry():
    """-2021 on the first stop means that the price is through it: there is no entry any more."""
    rig = ready()
    refusing(rig, -2021)
    rig.open(decision(time_ms=rig.now))
    rig.run(10_000)
    assert Leg.ENTRY not in legs_sent(rig)
    assert not rig.desk.state.trades


def test_a_venue_that_wants_the_position_first_is_learned():
    """After one -2022 the entry goes first, is protected at once, and a restart remembers it."""
    rig = ready()
    refusing(rig, -2022, when=lambda i: not rig.venue.positions.get(i.symbol))
    rig.open(decision("s1", time_ms=rig.now))
    rig.run(2_000)
    assert legs_sent(rig)[:3] == [Leg.STOP, Leg.ENTRY, Leg.STOP]
    assert rig.desk.positions()[0].is_protected
    rig.crash()
    rig.boot()
    rig.run(2_000)
    rig.venue.sent_requests.clear()
    rig.open(decision("s2", "ETHUSDT", time_ms=rig.now))
    rig.run(2_000)
    assert legs_sent(rig)[:2] == [Leg.ENTRY, Leg.STOP]


def test_a_crash_before_the_entry_gives_it_up():
    """A restart finds the stop of an entry that never left, takes it away and enters nothing."""
    rig = ready()
    rig.open(decision(time_ms=rig.now))
    rig.crash()
    rig.run(500)
    rig.boot()
    rig.run(30_000)
    assert Leg.ENTRY not in legs_sent(rig)
    assert rig.venue.own_open() == []
    assert not rig.desk.state.trades


@pytest.mark.parametrize("style", ["passive", "sliced", "limit_ioc"])
def test_a_crash_before_the_entry_gives_it_up_in_every_style(style):
    """Styles of several entry orders do not go on where there was no first one."""
    rig = ready(settings=TradingSettings(entry_style=style))
    rig.open(decision(time_ms=rig.now))
    rig.crash()
    rig.run(500)
    rig.boot()
    rig.run(30_000)
    assert Leg.ENTRY not in legs_sent(rig)
    assert not rig.desk.state.trades


def test_a_lost_stop_is_sent_again_under_a_new_id():
    """The first stop is lost: another goes out after a second, and then the entry."""
    rig = ready()
    rig.faults = Faults(request_lost=1.0)
    rig.open(decision(time_ms=rig.now))
    rig.faults = Faults()
    rig.run(2_500)
    assert legs_sent(rig)[:2] == [Leg.STOP, Leg.ENTRY]
    assert rig.venue.naked_starts == 0
    assert rig.desk.positions()[0].is_protected


def test_a_slow_stop_makes_the_entry_stale():
    """An entry whose stop is not seen in time is given up; what arrives late is removed."""
    rig = ready()
    rig.faults = Faults(request_lost=1.0)
    rig.open(decision(time_ms=rig.now))
    rig.run(7_000)
    rig.faults = Faults()
    rig.run(60_000)
    assert Leg.ENTRY not in legs_sent(rig)
    assert rig.venue.own_open() == []


def test_what_waits_counts_as_exposure():
    """An entry that waits for its stop is at stake as if it were filled."""
    rig = ready()
    rig.faults = Faults(request_lost=1.0)
    rig.open(decision(time_ms=rig.now))
    (item,) = rig.desk.exposure().symbols
    assert item.pending > 0


def test_a_changed_tick_is_learned_at_once():
    """A stop refused for its tick makes the rules be read; the next one is on the new grid."""
    rig = ready()
    rig.open(decision(time_ms=rig.now, price=100.03, stop_frac=0.0207))
    rig.run(2_000)
    coarse = msgspec.structs.replace(
        instrument(), filters=msgspec.structs.replace(instrument().filters, tick_size=D("0.1"))
    )
    stop = next(a for a in rig.venue.algos.values() if a.intent.leg is Leg.STOP)
    assert stop.intent.trigger_price % D("0.1")
    refusing(rig, -4014, (Leg.STOP, Leg.TP1, Leg.TP2), lambda i: bool(i.trigger_price % D("0.1")))
    asked = []
    perform = rig.perform
    rig.perform = lambda actions: (
        asked.extend(a for a in actions if isinstance(a, ReadRules)),
        perform(actions),
    )
    rig.venue.cancel_silently(stop.intent.client_id)
    rig.run(4_200)
    assert asked, "the rules were not asked for"
    rig.live(InstrumentsListed((coarse,)))
    rig.run(100)
    (fresh,) = [
        a for a in rig.venue.algos.values() if a.intent.leg is Leg.STOP and a.status == "NEW"
    ]
    assert fresh.intent.trigger_price % D("0.1") == 0
    assert fresh.intent.trigger_price >= stop.intent.trigger_price, "rounding may not add risk"


def test_a_late_execution_closes_a_trade_with_the_whole_truth():
    """An execution that comes after the close brings the trade's full sum, counted once."""
    rig = ready()
    rig.open(decision(time_ms=rig.now))
    rig.run(2_000)
    rig.faults = Faults(event_lost=1.0, snapshot_fails=1.0)
    rig.price("BTCUSDT", "90")
    rig.run(90_000)
    assert not rig.outcomes, "an account that cannot be read for a minute is waited for"
    rig.run(600_000)
    early = [o for o in rig.outcomes if o.signal_id == "s1"]
    assert early, "the trade was closed by what was known"
    rig.faults = Faults()
    rig.disconnect()
    rig.connect()
    rig.run(90_000)
    final = [o for o in rig.outcomes if o.signal_id == "s1"]
    signs = {Side.BUY: -1, Side.SELL: 1}
    realised = sum((signs[t.side] * t.quantity * t.price - t.fee for t in rig.venue.trades), D(0))
    assert final[-1].net_usdt == realised, (early, final)
    assert rig.desk.state.breaker.trades_closed == 1
