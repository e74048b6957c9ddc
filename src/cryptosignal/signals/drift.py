"""Drift of the score distribution: does the market still look as it did? (DOMAIN §1.10)"""

from __future__ import annotations

from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_EDGES: Final = np.linspace(-100.0, 100.0, 21)
WARN_PSI: Final = 0.25
"""Above this the population counts as changed (the usual reading of the index)."""


class ScoreHistogram(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Counts of scores in twenty bins of ten points."""

    counts: tuple[int, ...] = (0,) * 20

    def add(self, scores: Floats) -> ScoreHistogram:
        """With the scores of one more scan; NaN is left out."""
        fresh = np.histogram(scores[~np.isnan(scores)], _EDGES)[0]
        return ScoreHistogram(tuple(int(a + b) for a, b in zip(self.counts, fresh, strict=True)))

    @property
    def total(self) -> int:
        """Scores counted."""
        return sum(self.counts)


def stability_index(before: ScoreHistogram, now: ScoreHistogram) -> float:
    """Population stability index Σ (q − p)·ln(q/p), half a count added to each bin; 0 is no drift.

    NaN where one of the two is empty.
    """
    if not before.total or not now.total:
        return float("nan")
    p = (np.array(before.counts) + 0.5) / (before.total + 10.0)
    q = (np.array(now.counts) + 0.5) / (now.total + 10.0)
    return float(((q - p) * np.log(q / p)).sum())
