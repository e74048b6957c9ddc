"""Factor scores to one score: weights by regime and newness, side, contributions (DOMAIN §1.4).

Missing factors weigh nothing (§0.28). L is a quality: it takes the sign of the score of the other
factors, so that a liquid coin does not drift long (§0.2, §0.20).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cryptosignal.domain.params import ParamSet
from cryptosignal.domain.scan import ScanRows
from cryptosignal.factors import age
from cryptosignal.factors.window import filled

Floats = NDArray[np.float64]


@dataclass(slots=True)
class Scores:
    """[symbol] arrays unless noted. `score` ±100, `side` +1/−1, `coverage` share of weight with
    data. `values`, `weights`, `contributions` are [factor, symbol]; contributions sum to `score`.
    `earlier` are the scores of the closed bars before, [lag, symbol], newest first."""

    names: tuple[str, ...]
    values: Floats
    weights: Floats
    contributions: Floats
    score: Floats
    side: Floats
    coverage: Floats
    dims: Floats
    earlier: Floats


def column(rows: ScanRows, name: str) -> Floats:
    """A column of the rows, NaN where the rows have none."""
    value = rows.columns.get(name)
    return np.full(len(rows.symbols), np.nan) if value is None else value


def newness(rows: ScanRows, params: ParamSet) -> Floats:
    """How much of a new coin each symbol is, 1 to 0 (§1.8).

    Age is since listing; bars in the cache say nothing about it (§3.22).
    """
    return age.newness(column(rows, "ctx.age_days") * 24.0, params.new_coin)


def combine(rows: ScanRows, params: ParamSet) -> Scores:
    """Weighted score with its parts, for this bar and the bars before it."""
    names = tuple(params.weights)
    weights = weight_table(rows, params, names)
    values = np.stack([column(rows, f"score.{name}") for name in names])
    score, contributions, signed, coverage = _weigh(names, values, weights, params)
    earlier = []
    for lag in range(1, params.tiers.n):
        before = np.stack([_lagged(rows, name, lag) for name in names])
        earlier.append(_weigh(names, before, weights, params)[0])
    side = np.where(score < 0.0, -1.0, 1.0)
    own = [k for k, name in enumerate(names) if name != "L"]  # L agrees by construction
    with np.errstate(invalid="ignore"):
        dims = (signed[own] * side >= params.gates.dims_level).sum(axis=0).astype(float)
    history = np.stack(earlier) if earlier else np.zeros((0, len(rows.symbols)))
    return Scores(names, signed, weights, contributions, score, side, coverage, dims, history)


def weight_table(rows: ScanRows, params: ParamSet, names: tuple[str, ...]) -> Floats:
    """Weight of each factor and symbol, [factor, symbol], each column totals 100.

    Base weights blended with the row of the regime (§1.3), then with the new-coin weights.
    """
    share = params.regime_blend
    kind = regime_of(rows)
    fresh = newness(rows, params)
    out = np.empty((len(names), len(rows.symbols)))
    regimes = tuple(params.regime_weights)
    for i, name in enumerate(names):
        base = params.weights[name]
        by_regime = np.array([params.regime_weights[r].get(name, base) for r in regimes])
        picked = by_regime[[regimes.index(r) for r in ORDER]][kind]
        mature = (1.0 - share) * base + share * picked
        out[i] = (1.0 - fresh) * mature + fresh * params.new_weights.get(name, base)
    return out * (100.0 / out.sum(axis=0))


ORDER = ("strong_trend", "high_vol", "low_vol", "range", "normal")


def regime_of(rows: ScanRows) -> NDArray[np.int64]:
    """Index into strong_trend, high_vol, low_vol, range, normal; the first that applies (§1.3).

    |market regime| > 60, ATR over 3 % or under 1 % of price, |regime| < 30.
    """
    trend = np.abs(filled(column(rows, "ctx.regime"), nan=45.0))
    atr = filled(column(rows, "ctx.atr_1h"), nan=0.02)
    tests = [trend > 60.0, atr > 0.03, atr < 0.01, trend < 30.0]
    return np.select(tests, [0, 1, 2, 3], default=4)


def _lagged(rows: ScanRows, name: str, lag: int) -> Floats:
    """A factor at an earlier bar; factors of the present moment stand as they are."""
    earlier = rows.columns.get(f"score.{name}.{lag}")
    return column(rows, f"score.{name}") if earlier is None else earlier


def _weigh(
    names: tuple[str, ...], values: Floats, weights: Floats, params: ParamSet
) -> tuple[Floats, Floats, Floats, Floats]:
    known = ~np.isnan(values)
    filled = np.where(known, values, 0.0)
    used = weights * known
    signed = filled.copy()
    if "L" in names:
        at = names.index("L")
        others = (used * filled).sum(axis=0) - used[at] * filled[at]
        signed[at] = np.sign(others) * filled[at]
    total = used.sum(axis=0)
    safe = np.where(total > 0.0, total, 1.0)
    contributions = used * signed / safe
    score = contributions.sum(axis=0)
    return score, contributions, np.where(known, signed, np.nan), total / 100.0
