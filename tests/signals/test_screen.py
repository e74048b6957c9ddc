"""The screen of one symbol: it knows p and strength, and holds back nothing that could be a signal."""

import msgspec
import numpy as np
import pytest
from tests.markets import random_market

from cryptosignal.domain.params import ParamSet
from cryptosignal.factors.catalogue import FactorEngine
from cryptosignal.signals.decide import assess
from cryptosignal.signals.decisions import REJECT
from cryptosignal.signals.screen import Screen

PARAMS = ParamSet()


@pytest.mark.parametrize("seed", range(4))
def test_p_and_strength_are_those_of_the_decision(seed):
    """With strong scores and holes anywhere, p and strength agree and no signal is held back."""
    rng = np.random.default_rng(seed)
    rows = FactorEngine(PARAMS).compute(random_market(seed, symbols=120, hours=420), 1, "bar:1h")
    for name, value in rows.columns.items():
        if name.startswith("score."):
            value *= rng.choice([1.0, 2.0, 3.0])
        value[rng.random(len(value)) < 0.03] = np.nan
    found, screen = assess(rows, PARAMS), Screen(PARAMS, list(rows.columns))
    table = np.stack(list(rows.columns.values()))
    told = np.array([screen.reach(table[:, i]) for i in range(len(rows.symbols))])
    np.testing.assert_allclose(told[:, 0], found.odds.p, atol=1e-9)
    np.testing.assert_allclose(told[:, 1], found.strength, atol=1e-7)
    hopeless = np.array([screen.is_hopeless(table[:, i]) for i in range(len(rows.symbols))])
    assert 0 < hopeless.sum() < len(hopeless)
    assert (found.tiers[hopeless] == REJECT).all()
    assert (found.tiers != REJECT).any()


def test_parameters_that_soften_a_bad_environment_are_not_screened():
    """Where the modulators may be put back to neutral, everything goes to the full decision."""
    soft = msgspec.structs.replace(
        PARAMS, gates=msgspec.structs.replace(PARAMS.gates, theta_f=-0.1)
    )
    rows = FactorEngine(PARAMS).compute(random_market(1, symbols=12, hours=420), 1, "bar:1h")
    table = np.stack(list(rows.columns.values()))
    screen = Screen(soft, list(rows.columns))
    assert not any(screen.is_hopeless(table[:, i]) for i in range(12))
