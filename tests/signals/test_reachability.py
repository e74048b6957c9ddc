"""Prime is reachable under the shipped parameters, and the limit that forbids it is named."""

import msgspec
import numpy as np
import pytest
from tests.markets import random_market
from tests.signals.test_noise import decided

from cryptosignal.domain.params import ParamSet
from cryptosignal.signals.decisions import PRIME
from cryptosignal.signals.reachability import attainable, passed, reachable

PARAMS = ParamSet()


def with_gates(**changes):
    return msgspec.structs.replace(PARAMS, gates=msgspec.structs.replace(PARAMS.gates, **changes))


def test_the_shipped_parameters_can_publish():
    """Prime is within reach, also under the worst multipliers."""
    found = reachable(PARAMS)
    assert found.ok, found.lines
    assert found.worst_ok, found.lines
    assert found.new_ok, found.lines


def test_markets_with_a_cause_do_give_primes():
    """Where coins trend for days, bought and sold by takers, the shipped limits let signals through,
    five times more often than noise may, four of five in a trend and none against one."""
    found, trend = decided(5, symbols=40, days=10, trend=0.35)
    primes = np.flatnonzero(found.tiers == PRIME)
    days = len(found) / 24.0
    assert len(primes) >= 5.0 * days / 100.0
    side = found.scores.side[primes] * trend[primes]
    assert not (side < 0).any(), side
    assert (side > 0).mean() >= 0.8, side


@pytest.mark.parametrize(
    ("params", "text"),
    [
        (with_gates(p0=0.95, new_p0=0.95), "gates.p0 (p_min) 0.950 is OUT OF REACH"),
        (with_gates(min_score=100.0), "gates.min_score 100.000 is OUT OF REACH"),
        (with_gates(dims_min=9), "gates.dims_min 9 forbids Prime"),
        (with_gates(spread_open_bps=0.0), "gates.spread_open_bps 0 forbids Prime"),
        (with_gates(impact_open_bps=0.0), "gates.impact_open_bps 0 forbids Prime"),
        (with_gates(obi_open=-2.0), "gates.obi_open -2 forbids Prime"),
        (with_gates(book_age_ms=50.0), "gates.book_age_ms 50 forbids Prime: it is at least 100"),
        (with_gates(ev_min=2.0), "gates.ev_min 2 forbids Prime"),
        (with_gates(micro_min=5), "gates.micro_min 5 forbids Prime: it is at most 4"),
        (with_gates(breadth_min=1.1), "gates.breadth_min 1.1 forbids Prime"),
        (with_gates(room_structure_atr=11.0, new_room_structure_atr=11.0), "room_structure_atr 11"),
        (with_gates(lead_min=120.0), "gates.lead_min 120 forbids Prime"),
        (with_gates(min_bars=(20, 24, 7, 800)), "gates.min_bars (1d) 800 forbids Prime"),
    ],
)
def test_what_forbids_prime_is_named(params, text):
    """A limit beyond the attainable range is found at start-up and named with what is possible."""
    found = reachable(params)
    assert not found.ok
    assert any(text in line for line in found.lines), found.lines


def test_stacked_soft_filters_are_found_out():
    """Multipliers that are harmless alone and forbid Prime together fail the worst case."""
    hard = msgspec.structs.replace(
        PARAMS, filters=msgspec.structs.replace(PARAMS.filters, opposed_strong_p=0.3)
    )
    found = reachable(hard)
    assert found.ok
    assert not found.worst_ok


def test_start_up_says_how_many_passed():
    """A low `min_score` lets symbols through over the last bars, an impossible one warns."""
    view = random_market(4, symbols=8)
    easy = passed(view, with_gates(min_score=10.0), bars=60)
    assert 0 < easy.symbols <= 8
    assert easy.bars == 60
    hard = passed(view, with_gates(min_score=100.0), bars=60)
    assert hard.symbols == 0
    assert hard.line.startswith("WARNING")


def test_a_new_coin_out_of_reach_is_named():
    """An age tier that no new coin can attain is said with the limit, the mature ones untouched."""
    hard = msgspec.structs.replace(
        PARAMS, new_coin=msgspec.structs.replace(PARAMS.new_coin, tier_p=(0.9, 0.65, 0.63))
    )
    found = reachable(hard)
    assert found.ok
    assert not found.new_ok
    said = [line for line in found.lines if "OUT OF REACH" in line]
    assert said == ["new coin, first day: new_coin.tier_p 0.900 is OUT OF REACH: at most 0.836"]


def test_an_ignition_of_seven_signs_is_out_of_reach():
    """A new coin has six signs to give and no more."""
    new = msgspec.structs.replace(PARAMS.new_coin, ignition_min=7)
    found = reachable(msgspec.structs.replace(PARAMS, new_coin=new))
    assert found.ok
    assert not found.new_ok
    assert "new_coin.ignition_min 7 forbids Prime: it is at most 6" in found.lines


def test_what_the_crowd_takes_from_c_is_out_of_its_reach():
    """C attains nine tenths of what the other chained factors do."""
    most = attainable(PARAMS)
    assert most["C"] == pytest.approx(0.9 * most["T"])
    assert most["Q"] == 100.0
