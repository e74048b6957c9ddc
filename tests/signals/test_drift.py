"""Drift of scores: none between equal populations, a warning between different ones."""

import math

import numpy as np

from cryptosignal.signals.drift import WARN_PSI, ScoreHistogram, stability_index


def counted(mean, seed):
    scores = np.random.default_rng(seed).normal(mean, 20.0, 4000)
    scores[:10] = np.nan
    return ScoreHistogram().add(scores[:2000]).add(scores[2000:])


def test_equal_populations_do_not_drift():
    """Two samples of one population stay far below the warning, NaN not counted."""
    assert stability_index(counted(0.0, 1), counted(0.0, 2)) < 0.05
    assert counted(0.0, 1).total == 3990


def test_a_shift_is_seen():
    """A market that moved by one spread is reported."""
    assert stability_index(counted(0.0, 1), counted(20.0, 2)) > WARN_PSI


def test_nothing_to_compare():
    """An empty side gives no number."""
    assert math.isnan(stability_index(ScoreHistogram(), counted(0.0, 1)))
