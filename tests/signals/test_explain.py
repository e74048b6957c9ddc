"""What a decision was taken on, in words: the receipt of each interval, trust, the first gate."""

import dataclasses

import numpy as np
import pytest
from tests.markets import START_MS, random_market
from tests.signals.test_decide import EASY

from cryptosignal.domain.params import ParamSet
from cryptosignal.factors.around import seen_parts
from cryptosignal.factors.catalogue import FactorEngine
from cryptosignal.signals.decide import SignalMemory, decide
from cryptosignal.signals.explain import explain, stopped_by

PARAMS = ParamSet()


def decided(view, params=PARAMS):
    return decide(FactorEngine(params).compute(view, 1, "manual"), params, SignalMemory())


@pytest.fixture(scope="module")
def market():
    return random_market(3, symbols=12, end_ms=START_MS + 3 * 3_600_000)


def with_newest(view, interval, finality, source, lag_ms):
    old = view.bars[interval]
    arrays = {name: getattr(old, name).copy() for name in ("finality", "source", "lag_ms")}
    for name, value in (("finality", finality), ("source", source), ("lag_ms", lag_ms)):
        arrays[name][2, -1] = value
    return dataclasses.replace(
        view, bars={**view.bars, interval: dataclasses.replace(old, **arrays)}
    )


@pytest.mark.parametrize(
    ("finality", "source", "lag_ms", "text"),
    [
        (3, 0, 240.0, "from stream, confirmed, 240 ms after its close"),
        (2, 2, 2_500.0, "from clock, closed by time, 2500 ms after its close"),
        (3, 3, np.nan, "from rest, confirmed"),
        (1, 1, -30.0, "from next bar, provisional, -30 ms after its close"),
    ],
)
@pytest.mark.parametrize("interval", ["15m", "4h"])
def test_the_receipt_of_every_interval_is_kept(market, interval, finality, source, lag_ms, text):
    """Source, finality and lag of the newest bar of each interval are in the words."""
    found = decided(with_newest(market, interval, finality, source, lag_ms))
    lines = explain(found.decision(2))
    line = next(x for x in lines if x.strip().startswith(f"{interval}:"))
    assert line.endswith(text)


@pytest.mark.parametrize("finality", [1, 2, 3])
@pytest.mark.parametrize("source", [-1, 0, 5])
@pytest.mark.parametrize("lag", [-4_000.0, 0.0, 86_400_000.0])
def test_three_facts_go_into_one_number_and_out_again(finality, source, lag):
    """What is packed for a decision block comes back whole."""
    assert seen_parts(32.0 * lag + 4.0 * (source + 1.0) + finality) == (finality, source, lag)


def test_lost_trust_says_why(market):
    """The parts of DataQual that cost a symbol its trust stand beside the figure."""
    poor = dataclasses.replace(market, quality_reason={market.symbols[4]: "late events 12.0 %"})
    found = decided(poor)
    assert "  data quality 0.99 (late events 12.0 %)" in explain(found.decision(4))
    assert found.decision(4).quality_reason == "late events 12.0 %"
    assert found.decision(5).quality_reason == ""


def test_the_first_gate_is_short_enough_for_a_table(market):
    """A row of the market tells the first gate that stops it, its value and limit, or what is missing."""
    found = decided(market)
    for i in range(len(found)):
        words, gates = stopped_by(found, i), found.decision(i).gates
        first = next(gate for gate in gates if gate.verdict != "pass")
        assert words.startswith(first.name.replace("_", " "))
        assert len(words) < 45
    bare = decided(dataclasses.replace(market, quality=np.full(12, np.nan)))
    assert stopped_by(bare, 0) == "data quality: no data"
    prime = decided(market, EASY)
    assert stopped_by(prime, int(np.flatnonzero(prime.tiers == 0)[0])) == ""
