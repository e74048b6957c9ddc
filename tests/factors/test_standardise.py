"""The chain: bounded, odd, honest about gaps, limited in its steps."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from cryptosignal.domain.params import ChainParams
from cryptosignal.factors.standardise import P95, publish, reach, robust_z, squash, standardise

PARAMS = ChainParams()


def series(seed, rows=4, extra=0):
    return np.random.default_rng(seed).normal(0, 1, (rows, reach(PARAMS, 3) + extra))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.01, 100.0))
def test_the_chain_is_odd_and_bounded(seed, scale):
    """−x gives −score, and no score leaves ±100, whatever the scale of the input."""
    raw = series(seed) * scale
    raw[0, -1] = 50.0 * scale
    score = standardise(raw, 1e-6, PARAMS, 3)
    np.testing.assert_allclose(standardise(-raw, 1e-6, PARAMS, 3), -score, atol=1e-9)
    assert (np.abs(score) <= 100.0).all()


def test_scale_free():
    """Raw values in other units give the same scores."""
    raw = series(1)
    np.testing.assert_allclose(
        standardise(raw, 1e-9, PARAMS, 3), standardise(raw * 1e4, 1e-5, PARAMS, 3), atol=1e-8
    )


def test_a_bar_without_value_has_no_score_and_holds_the_state():
    """A gap is NaN at its bar, and the bars after it go on from the state before."""
    raw = series(2, extra=5)
    raw[1, -2] = np.nan
    score = standardise(raw, 1e-6, PARAMS, 3)
    assert np.isnan(score[1, 1])
    assert np.isfinite(score[1, [0, 2]]).all()


def test_too_little_history_is_no_data():
    """Fewer than `scale_min` bars give no score; a constant series gives zero, not noise."""
    short = series(3)
    short[:, : -(PARAMS.scale_min - 2)] = np.nan
    assert np.isnan(standardise(short, 1e-6, PARAMS, 1)).all()
    flat = np.full((2, reach(PARAMS, 1)), 3.0)
    np.testing.assert_allclose(standardise(flat, 0.1, PARAMS, 1), 0.0, atol=1e-9)


def test_a_normal_series_has_spread_one():
    """z of a normal series has standard deviation one: the scale is that of 1.4826·MAD."""
    z = robust_z(np.random.default_rng(0).normal(5.0, 3.0, (400, 160)), 1e-9, PARAMS)
    assert abs(np.std(z) - 1.0) < 0.08
    few = robust_z(np.random.default_rng(0).normal(5.0, 3.0, (400, 160))[:, -102:], 1e-9, PARAMS)
    np.testing.assert_allclose(few, z[:, -3:], atol=1e-10)


def test_steps_are_limited_and_signs_flip_only_when_strong():
    """The published score moves at most `max_step` a bar and keeps its sign against weak values."""
    instant = np.full((1, 60), 90.0)
    instant[0, -10:] = -95.0
    path = publish(instant, PARAMS, 20)[0]
    assert (
        np.abs(np.diff(path)) <= PARAMS.max_step + 0.01
    ).all()  # each bar replays its own 40 bars
    weak = np.full((1, 60), 60.0)
    weak[0, -15:] = -9.0
    assert (publish(weak, PARAMS, 15)[0] >= 0.0).all()


def test_the_soft_winsor_ends_where_it_says():
    """No z beyond `z_max` and no kink: growing z gives growing scores."""
    z = np.linspace(-40.0, 40.0, 801)[None]
    score = squash(z, PARAMS)[0]
    assert (np.diff(score) >= 0.0).all()
    assert score[-1] <= 100.0 * np.tanh(PARAMS.z_max / PARAMS.tau)


def test_a_crowd_takes_its_share_beyond_the_95th_percentile():
    """Up to p95 nothing changes, from 0.75 spreads beyond it a tenth is gone, on both sides, and a
    stronger reading never scores less."""
    z = np.linspace(-8.0, 8.0, 1601)[None]
    whole, less = squash(z, PARAMS)[0], squash(z, PARAMS, 0.10)[0]
    near, far = np.abs(z[0]) <= P95, np.abs(z[0]) >= P95 + 0.75
    np.testing.assert_array_equal(less[near], whole[near])
    np.testing.assert_allclose(less[far], 0.9 * whole[far], rtol=1e-12)
    np.testing.assert_allclose(less, -less[::-1], atol=1e-9)
    assert (np.diff(less) >= 0.0).all()
