"""Weights and choices of one row, told faster, are what they were."""

from __future__ import annotations

import numpy as np
import pytest
from tests.markets import random_market

from cryptosignal.domain.params import ParamSet
from cryptosignal.factors.catalogue import FactorEngine
from cryptosignal.signals.score import first_of, newness, regime_of, weight_table


@pytest.mark.parametrize("seed", range(4))
def test_the_first_test_that_holds_chooses(seed):
    """As `np.select` has it, also where several hold or none does, for numbers and for places."""
    rng = np.random.default_rng(seed)
    tests = [rng.random(50) < 0.3 for _ in range(4)]
    for values, otherwise in (([0.5, -1.0, 2.0, 0.25], 1.0), ([0, 1, 2, 3], 4)):
        expected = np.select(tests, values, otherwise)
        found = first_of(tests, values, otherwise)
        np.testing.assert_array_equal(found, expected)
        assert found.dtype == expected.dtype


def test_a_weight_is_blended_by_regime_and_age():
    """Each factor's weight of each symbol is the base, blended with its regime's, then with that of a
    new coin, and a symbol's weights total 100."""
    params = ParamSet()
    rows = FactorEngine(params).compute(random_market(4, symbols=30, hours=420), 1, "manual")
    rng = np.random.default_rng(4)
    rows.columns["ctx.regime"] = rng.choice([-80.0, -10.0, 40.0, np.nan], 30)
    rows.columns["ctx.atr_1h"] = rng.choice([0.005, 0.02, 0.05, np.nan], 30)
    rows.columns["ctx.age_days"] = np.linspace(0.5, 40.0, 30)
    names, share = tuple(params.weights), params.regime_blend
    order = ("strong_trend", "high_vol", "low_vol", "range", "normal")
    found = weight_table(rows, params, names)
    kinds, fresh = regime_of(rows), newness(rows, params)
    assert len(set(kinds.tolist())) == 5
    assert len(set(fresh.tolist())) > 2
    for place in range(30):
        own = params.regime_weights[order[kinds[place]]]
        blended = []
        for name in names:
            base = params.weights[name]
            mature = (1.0 - share) * base + share * own.get(name, base)
            young = params.new_weights.get(name, base)
            blended.append((1.0 - fresh[place]) * mature + fresh[place] * young)
        expected = np.array(blended) * 100.0 / sum(blended)
        np.testing.assert_allclose(found[:, place], expected, rtol=1e-12)
