"""Odds: neutral settings are neutral, bad surroundings only ever make it harder, knots are kept."""

import dataclasses

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.markets import START_MS, random_market

from cryptosignal.domain.params import ParamSet
from cryptosignal.factors.catalogue import FactorEngine
from cryptosignal.signals.decide import assess
from cryptosignal.signals.probability import bend, calibrate, temperature

PARAMS = ParamSet()


@pytest.fixture(scope="module")
def rows():
    view = random_market(9, symbols=12, end_ms=START_MS + 3 * 3_600_000)
    return FactorEngine(PARAMS).compute(view, 1, "manual")


def changed(rows, **columns):
    new = {k.replace("__", "."): np.full(len(rows.symbols), v) for k, v in columns.items()}
    return dataclasses.replace(rows, columns={**rows.columns, **new})


@settings(max_examples=40, deadline=None)
@given(st.floats(-1, 1), st.floats(-1, 1), st.floats(0, 1), st.floats(0, 1))
def test_temperature_rises_with_crowding_and_dependence(g_f, g_i, more, fresh):
    """More crowding or less independence never lowers the temperature, within its bounds."""
    one = temperature(np.array([g_f]), np.array([g_i]), np.array([fresh]), PARAMS)
    worse = temperature(np.array([g_f + more]), np.array([g_i - more]), np.array([fresh]), PARAMS)
    assert worse[0] >= one[0] - 1e-12
    assert 35.0 <= one[0] <= 95.0


def test_a_bad_environment_only_makes_it_harder(rows):
    """Full crowding or dependence lowers p, raises p_min, Δp_min and cost, for every symbol."""
    calm = assess(changed(rows, mod__gI=0.0, mod__crowding_long=0.5, mod__crowding_short=0.5,
                          mod__gF_long=0.0, mod__gF_short=0.0), PARAMS)  # fmt: skip
    bad = assess(changed(rows, mod__gI=-1.0, mod__crowding_long=1.0, mod__crowding_short=1.0,
                         mod__gF_long=1.0, mod__gF_short=1.0), PARAMS)  # fmt: skip
    assert (bad.odds.p <= calm.odds.p + 1e-12).all()
    assert (bad.values.cost > calm.values.cost).all()
    for name in ("probability", "delta_p"):
        k = calm.table.index(name)
        assert (bad.table.limits[k] > calm.table.limits[k] - 0.08).all()
        assert np.median(bad.table.limits[k] - calm.table.limits[k]) > 0.0


def test_zero_coefficients_restore_neutral(rows):
    """With β, λ, θ and φ at 0 crowding and independence change nothing."""
    none = msgspec.structs.replace(
        PARAMS,
        probability=msgspec.structs.replace(PARAMS.probability, beta_f=0.0, beta_i=0.0,
                                            new_beta_f=0.0, new_beta_i=0.0),
        cost=msgspec.structs.replace(PARAMS.cost, lambda_f=0.0, lambda_i_penalty=0.0,
                                     lambda_i_reward=0.0, new_lambda_f=0.0,
                                     new_lambda_i_penalty=0.0, new_lambda_i_reward=0.0),
        gates=msgspec.structs.replace(PARAMS.gates, theta_f=0.0, theta_i_penalty=0.0,
                                      theta_i_reward=0.0, phi_f=0.0, phi_i_penalty=0.0,
                                      phi_i_reward=0.0, new_theta_i_reward=0.0,
                                      new_phi_i_reward=0.0),
    )  # fmt: skip
    here = assess(rows, none)
    there = assess(changed(rows, mod__gI=-1.0, mod__gF_long=1.0, mod__gF_short=1.0), none)
    np.testing.assert_array_equal(here.odds.p, there.odds.p)
    np.testing.assert_array_equal(here.values.cost, there.values.cost)
    np.testing.assert_array_equal(here.table.limits[4:6], there.table.limits[4:6])


def test_multipliers_never_change_sides(rows):
    """The strongest opposing market leaves a long a long: p stays on its side of one half."""
    against = assess(changed(rows, ctx__regime=-95.0), PARAMS)
    assert (against.odds.p >= 0.5 - 1e-12).all()
    longs = against.scores.side > 0
    with_it = assess(changed(rows, ctx__regime=95.0), PARAMS)
    assert (with_it.odds.p[longs] >= against.odds.p[longs]).all()


def test_calibration_goes_through_its_knots():
    """|S| at a knot gives the knot's p; without history everything is one half."""
    knots = PARAMS.probability.calibration
    sizes = np.array([k[0] for k in knots])
    np.testing.assert_allclose(calibrate(sizes, np.ones(len(sizes)), PARAMS), [k[1] for k in knots])
    np.testing.assert_allclose(calibrate(sizes, np.zeros(len(sizes)), PARAMS), 0.5)


def test_probabilities_of_both_sides_sum_to_one_when_neutral():
    """Without crowding σ(x) and σ(−x) are complements."""
    x = np.linspace(-3, 3, 13)
    np.testing.assert_allclose(bend(x, np.ones(13), PARAMS) + bend(-x, np.ones(13), PARAMS), 1.0)


def test_short_history_shrinks(rows):
    """A coin with a tenth of the history has a tenth of p − ½."""
    old = assess(changed(rows, ctx__age_days=np.nan, ctx__bars_1h=1e5), PARAMS)
    own = msgspec.structs.replace(
        PARAMS, probability=msgspec.structs.replace(PARAMS.probability, full_bars=1_000_000)
    )
    young = assess(changed(rows, ctx__age_days=np.nan, ctx__bars_1h=1e5), own)
    np.testing.assert_allclose(young.odds.p - 0.5, (old.odds.p - 0.5) * 0.1, atol=1e-12)
