"""The dead man's switch: it takes a resting entry after our death, and can never take a stop.

The toy venue's countdown is the worst that the real one may be: it cancels stops too.
"""

from __future__ import annotations

import random
from decimal import Decimal

import pytest
from tests.trading.toy_venue import Faults, Rig, decision

from cryptosignal.domain.actions import SetCountdown
from cryptosignal.domain.events import SendOutcome
from cryptosignal.domain.order import Leg
from cryptosignal.trading.settings import TradingSettings

D = Decimal
RESTING = {"entry_style": "passive", "stop_first": False, "passive_timeout_ms": 600_000}
SWITCHED = TradingSettings(**RESTING, dead_man_ms=10_000)


def resting(settings: TradingSettings = SWITCHED, **kwargs) -> Rig:
    """A rig whose entry rests a little below the market."""
    rig = Rig(settings=settings, **kwargs)
    rig.run(1_000)
    rig.open(decision(time_ms=rig.now), price=100.05)
    rig.price("BTCUSDT", "100.2")
    rig.run(1_000)
    assert [o.intent.leg for o in rig.venue.orders.values() if o.status == "NEW"] == [Leg.ENTRY]
    return rig


def is_armed(rig: Rig) -> bool:
    return rig.venue.countdowns.get("BTCUSDT", 0) > rig.now


def test_a_resting_entry_does_not_outlive_us():
    """After our death the venue takes the entry away, and a later price finds nothing."""
    rig = resting()
    assert is_armed(rig)
    rig.crash()
    rig.run(11_000)
    assert rig.venue.taken == [Leg.ENTRY]
    rig.venue.move("BTCUSDT", D(100))
    assert not rig.venue.positions.get("BTCUSDT")


def test_it_is_renewed_while_we_live():
    """As long as the engine runs, the entry rests on, renewed three times in each span."""
    rig = resting()
    asked: list[SetCountdown] = []
    perform = rig.perform
    rig.perform = lambda actions: (
        asked.extend(a for a in actions if isinstance(a, SetCountdown)),
        perform(actions),
    )
    rig.run(60_000)
    assert rig.venue.taken == []
    assert is_armed(rig)
    assert len(asked) in range(17, 20)


@pytest.mark.parametrize("what", ["off", "stop first", "market", "a person's order", "held"])
def test_it_is_not_armed(what):
    """Not where it is switched off, a stop rests, nothing rests, or others have something there."""
    styles = {
        "off": {"dead_man_ms": 0},
        "stop first": {"stop_first": True},
        "market": {"entry_style": "market"},
    }
    settings = TradingSettings(**(RESTING | styles.get(what, {})))
    rig = Rig(settings=settings)
    asked: list[object] = []
    perform = rig.perform
    rig.perform = lambda actions: (
        asked.extend(a for a in actions if isinstance(a, SetCountdown)),
        perform(actions),
    )
    rig.run(1_000)
    rig.open(decision(time_ms=rig.now), price=100.05)
    if what == "held":
        rig.venue.trade_by_hand("BTCUSDT", D("0.1"))
    rig.price("BTCUSDT", "100.2")
    rig.run(5_000)
    if what == "a person's order":
        rig.venue.rest_by_hand("BTCUSDT")
        rig.disconnect()
        rig.connect()
        rig.run(5_000)
        assert not is_armed(rig), "stopped as soon as it is seen"
        asked.clear()
        rig.run(60_000)
    elif what == "held":
        assert not is_armed(rig)
        asked.clear()
        rig.run(60_000)
    assert [a for a in asked if a.countdown_ms] == []


def test_a_fill_stops_it_before_the_stop_is_sent():
    """The stop leaves once the venue has confirmed that nothing counts down, and is seen there."""
    rig = resting()
    rig.price("BTCUSDT", "100")
    rig.run(500)
    assert not is_armed(rig)
    assert rig.desk.positions()[0].is_protected
    rig.run(60_000)
    assert rig.venue.taken == []
    assert rig.desk.naked_ms().max_ms < 300


@pytest.mark.parametrize("after_ms", [0, 5, 15, 25, 35, 45, 60, 80, 200])
def test_a_death_around_the_fill_costs_no_stop(after_ms):
    """Wherever we die, the countdown finds the entry or nothing; the next start protects at once."""
    rig = resting()
    rig.price("BTCUSDT", "100")
    rig.run(after_ms)
    rig.crash()
    rig.run(2_000)
    rig.boot()
    rig.run(15_000)
    assert Leg.STOP not in rig.venue.taken
    assert rig.desk.positions()[0].is_protected


def test_a_lost_request_is_not_taken_for_an_answer():
    """While a countdown may still start, no stop is placed; the position is closed in time instead."""
    rig = resting()
    rig.faults = Faults(request_lost=1.0)
    rig.run(4_000)  # a renewal is lost on its way
    rig.faults = Faults()
    rig.price("BTCUSDT", "100")
    rig.run(8_000)
    assert Leg.STOP not in rig.venue.taken
    assert rig.venue.positions["BTCUSDT"] == 0 or rig.desk.positions()[0].is_protected
    assert rig.desk.naked_ms().max_ms <= 6_000


@pytest.mark.parametrize("is_reset", [True, False])
def test_a_late_request_cannot_undo_a_stop_of_the_countdown(is_reset):
    """A renewal that arrives after the countdown was stopped (a reset line, a death) takes no stop."""
    rig = resting()
    request = rig.request

    def slow(arrival):
        if isinstance(arrival.action, SetCountdown) and arrival.action.countdown_ms:
            arrival.is_orphaned = True
            rig.later(rig.now + 2_900, arrival)
            if is_reset:
                rig.later(rig.now + 20, rig.counted(arrival, SendOutcome.UNKNOWN))
        else:
            request(arrival)

    rig.request = slow
    rig.run(3_000)  # a renewal is on its way
    rig.request = request
    if not is_reset:
        rig.crash()
        rig.boot()
    rig.price("BTCUSDT", "100")
    rig.run(30_000)
    assert Leg.STOP not in rig.venue.taken
    assert rig.venue.positions["BTCUSDT"] == 0 or rig.desk.positions()[0].is_protected
    assert rig.desk.naked_ms().max_ms <= 6_000


def test_a_clock_set_back_blocks_no_stop():
    """A countdown that was asked for in our clock's future is stopped like any other."""
    rig = resting()
    rig.venue.now_ms -= 3_600_000
    rig.queue = [(at - 3_600_000, n, what) for at, n, what in rig.queue]
    rig.wake_ms -= 3_600_000
    rig.venue.countdowns = {s: at - 3_600_000 for s, at in rig.venue.countdowns.items()}
    for _, _, what in rig.queue:
        if hasattr(what, "due_ms"):
            what.due_ms -= 3_600_000
    rig.price("BTCUSDT", "100")
    rig.run(2_000)
    assert rig.desk.positions()[0].is_protected


@pytest.mark.parametrize("seed", range(40))
def test_no_weather_lets_it_take_a_stop(seed):
    """Lost and late requests, answers and events, and deaths at any moment: never a stop, and in the end
    whatever is held is protected."""
    rng = random.Random(seed)
    rig = Rig(settings=SWITCHED, seed=seed)
    rig.run(1_000)
    for step in range(25):
        calm = rng.random() < 0.4
        rig.faults = Faults() if calm else Faults(
            request_lost=0.2, request_late=0.3, reply_lost=0.2, event_late=0.3, event_lost=0.1
        )  # fmt: skip
        if not rig.desk.state.trades:
            rig.desk.state.cooldowns.clear()
            price = rig.venue.price("BTCUSDT")
            rig.open(
                decision(f"s{step}", time_ms=rig.now, price=float(price)), price=price - D("0.05")
            )
        rig.price("BTCUSDT", (rig.venue.price("BTCUSDT") + rng.choice([D("-0.1"), D("0.1")])))
        rig.run(rng.randrange(1, 12_000))
        if rng.random() < 0.3:
            rig.crash()
            rig.run(rng.randrange(1, 15_000))
            rig.boot()
    rig.faults = Faults()
    if not rig.is_stream_up:
        rig.connect()
    rig.run(60_000)
    assert Leg.STOP not in rig.venue.taken, f"seed {seed}"
    assert all(p.is_protected for p in rig.desk.positions()), f"seed {seed}"
