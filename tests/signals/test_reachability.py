"""Prime is reachable under the shipped parameters, and the limit that forbids it is named."""

import msgspec
import pytest
from tests.markets import random_market

from cryptosignal.domain.params import ParamSet
from cryptosignal.signals.reachability import passed, reachable

PARAMS = ParamSet()


def with_gates(**changes):
    return msgspec.structs.replace(PARAMS, gates=msgspec.structs.replace(PARAMS.gates, **changes))


def test_the_shipped_parameters_can_publish():
    """Prime is within reach, also under the worst multipliers."""
    found = reachable(PARAMS)
    assert found.ok, found.lines
    assert found.worst_ok, found.lines


@pytest.mark.parametrize(
    ("params", "text"),
    [
        (with_gates(p0=0.95, new_p0=0.95), "gates.p0 (p_min) 0.950 is OUT OF REACH"),
        (with_gates(min_score=100.0), "gates.min_score 100.000 is OUT OF REACH"),
        (with_gates(dims_min=9), "gates.dims_min 9 forbids Prime"),
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
