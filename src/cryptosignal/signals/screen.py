"""Whether a symbol's row can be more than a reject, told at once (the refresh of one symbol).

Score, odds and strength of one row by plain arithmetic, as `score`, `probability` and `decide` have
them for a market. What the screen lets through is decided in full; what it holds back would have
been a reject: strength, or strength and p, below what Prime and Watch ask for.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cryptosignal.domain.params import ParamSet
from cryptosignal.signals.score import ORDER

Floats = NDArray[np.float64]

_SLACK: Final = 1e-6
"""Sums in another order may differ in the last digits; the screen rather lets one through."""
_READ: Final = (
    "ctx.regime",
    "ctx.atr_1h",
    "mod.gI",
    "mod.crowding_long",
    "mod.gF_long",
    "mod.crowding_short",
    "mod.gF_short",
    "ctx.bars_1h",
    "ctx.age_days",
    "ctx.mtf_up",
    "ctx.mtf_down",
)


class Screen:
    """The screen for one parameter set and one order of columns; for mature coins alone."""

    def __init__(self, params: ParamSet, columns: Sequence[str]) -> None:
        self._params = params
        place = {name: at for at, name in enumerate(columns)}
        # a table with factors of one's own has no row to screen: it always goes the long way
        names = tuple(name for name in params.weights if f"score.{name}" in place)
        read = (*_READ, *(f"score.{name}" for name in names))
        self._places = np.array([place[name] for name in read])
        self._quality = names.index("L") if "L" in names else -1
        self._weights = tuple(_weights(params, regime, names) for regime in ORDER)
        gates, cost, odds = params.gates, params.cost, params.probability
        self._is_hard = min(
            gates.theta_f, gates.theta_i_penalty, gates.phi_f, gates.phi_i_penalty,
            cost.lambda_f, cost.lambda_i_penalty, odds.beta_f, odds.beta_i,
        ) >= 0.0  # fmt: skip
        """Parameters under which `probability.hardening` changes nothing; others are not screened."""
        self._prime = max(float(gates.strength_mature), float(gates.min_score)) - _SLACK
        self._watch = params.tiers.watch_strength - _SLACK
        self._watch_p = params.tiers.watch_p - _SLACK

    def is_hopeless(self, values: Floats) -> bool:
        """No gate can make this row Prime or Watch."""
        if not self._is_hard:
            return False
        p, strength = self.reach(values)
        return strength < self._prime and (strength < self._watch or p < self._watch_p)

    def reach(self, values: Floats) -> tuple[float, float]:
        """(p, Prime strength) of the side that the score takes."""
        regime, atr, g_i, long, g_long, short, g_short, *rest = values.take(self._places).tolist()
        bars, age_days, up, down, *scores = rest
        score, coverage = self._score(scores, regime, atr)
        side = -1.0 if score < 0.0 else 1.0
        crowd, smooth = (long, g_long) if side > 0.0 else (short, g_short)
        own = self._params.probability
        g_f = max(_known(smooth), own.g_smooth * _known(math.tanh(3.0 * (crowd - 0.5))))
        floor = max(1.0 + own.beta_i * _known(g_i), own.denominator_min)
        heat = min(max(own.t0 * (1.0 + own.beta_f * g_f) / floor, own.t_min), own.t_max)
        hours = max(_known(bars), _known(age_days * 24.0))
        shrink = min(max(hours / own.full_bars, 0.0), 1.0)
        shrink *= min(max(coverage, 0.0), 1.0) ** own.evidence_power
        agree = up if side > 0.0 else down
        bend, prime = self._multipliers(side * _known(regime), agree)
        p = 0.5 + shrink * bend * (1.0 / (1.0 + math.exp(-abs(score) / heat)) - 0.5)
        p = min(max(p, 1.0 - own.p_cap), own.p_cap)
        raised = min(max((p - 0.60) / 0.15, 0.0), 1.0)
        return p, min(max((0.6 * abs(score) + 40.0 * raised) * prime, 0.0), 100.0)

    def _score(self, values: Sequence[float], regime: float, atr: float) -> tuple[float, float]:
        """(score, coverage) by the weights of the regime."""
        weights = self._weights[_regime(_known(regime, 45.0), _known(atr, 0.02))]
        total = others = quality = 0.0
        for place, value in enumerate(values):
            if value != value:
                continue
            total += weights[place]
            if place == self._quality:
                quality = weights[place] * value
            else:
                others += weights[place] * value
        lean = (others > 0.0) - (others < 0.0)
        return (others + lean * quality) / (total if total > 0.0 else 1.0), total / 100.0

    def _multipliers(self, market: float, agree: float) -> tuple[float, float]:
        """(of p − ½, of the strength), as `probability.multipliers` has them."""
        own = self._params.filters
        p = prime = 1.0
        for reached, by_p, by_prime in (
            (market >= own.aligned_strong, own.aligned_strong_p, own.aligned_strong_prime),
            (market >= own.aligned_mild, own.aligned_mild_p, own.aligned_mild_prime),
            (market <= -own.aligned_strong, own.opposed_strong_p, own.opposed_strong_prime),
            (market <= -own.aligned_mild, own.opposed_mild_p, own.opposed_mild_prime),
        ):
            if reached:
                p, prime = by_p, by_prime
                break
        is_split = _known(agree, 1.0) < own.mtf_min
        if is_split:
            p, prime = min(p, own.mtf_p), min(prime, own.mtf_prime)
        return p, prime


def _known(value: float, otherwise: float = 0.0) -> float:
    return value if value == value else otherwise


def _regime(trend: float, atr: float) -> int:
    """`score.regime_of` of one row."""
    size = abs(trend)
    tests = (size > 60.0, atr > 0.03, atr < 0.01, size < 30.0)
    return tests.index(True) if any(tests) else len(tests)


def _weights(params: ParamSet, regime: str, names: tuple[str, ...]) -> tuple[float, ...]:
    """`score.weight_table` of a mature coin in one regime."""
    share, picked = params.regime_blend, params.regime_weights[regime]
    blended = [
        (1.0 - share) * params.weights[name] + share * picked.get(name, params.weights[name])
        for name in names
    ]
    return tuple(weight * 100.0 / sum(blended) for weight in blended)
