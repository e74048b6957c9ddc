"""A trade by hand: the plan of its side, laid at the price of now."""

from __future__ import annotations

import math

import pytest
from tests.markets import START_MS, random_market

from cryptosignal.domain.order import Direction
from cryptosignal.domain.params import ParamSet
from cryptosignal.domain.signal import Tier
from cryptosignal.engine.manual import MANUAL_REASON, manual_decision
from cryptosignal.factors.catalogue import FactorEngine
from cryptosignal.signals.decide import SignalMemory, decide

NOW_MS = START_MS + 3 * 3_600_000


@pytest.fixture(scope="module")
def scan():
    market = random_market(3, symbols=6, end_ms=NOW_MS)
    return decide(FactorEngine(ParamSet()).compute(market, 1, "manual"), ParamSet(), SignalMemory())


@pytest.mark.parametrize("direction", list(Direction))
@pytest.mark.parametrize("drift", [0.8, 0.97, 1.0, 1.04, 1.3])
def test_the_plan_lies_at_the_price_of_now(scan, direction, drift):
    """Wherever the price went since the last closed bars, it lies in the band, the stop is behind it,
    both targets ahead, and every distance in logarithms is the plan's own."""
    symbol = scan.rows.symbols[2]
    there = manual_decision(scan, symbol, direction, NOW_MS)
    price = math.sqrt(there.plan.entry_low * there.plan.entry_high) * drift
    here = manual_decision(scan, symbol, direction, NOW_MS, price)
    assert here.plan.entry_low <= price <= here.plan.entry_high
    sign = direction.sign
    assert (price - here.plan.stop_loss) * sign > 0
    assert (here.plan.take_profit_1 - price) * sign > 0
    assert (here.plan.take_profit_2 - here.plan.take_profit_1) * sign > 0
    risk = abs(math.log(price / here.plan.stop_loss))
    own = abs(math.log(price / drift / there.plan.stop_loss))
    assert risk == pytest.approx(own, rel=1e-2)


def test_it_is_a_persons_choice_and_never_prime(scan):
    """The decision says that an operator asked for it, and is no Prime signal."""
    found = manual_decision(scan, scan.rows.symbols[0], Direction.LONG, NOW_MS)
    assert found.reasons == (MANUAL_REASON,)
    assert found.tier is Tier.WATCH


def test_an_unknown_symbol_has_no_plan(scan):
    """A symbol that the scan does not hold gives no decision."""
    assert manual_decision(scan, "NOUSDT", Direction.LONG, NOW_MS) is None
