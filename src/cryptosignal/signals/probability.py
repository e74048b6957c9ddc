"""Score to probability for both sides, and what bends it (DOMAIN §1.4, §0.3, §0.19).

`p` is a rank that the gates compare; `p_calibrated` is the share of wins that EV believes in.
Every multiplier acts on p − ½, so that none can turn a long into a short.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cryptosignal.domain.params import FilterParams, ParamSet
from cryptosignal.domain.scan import ScanRows
from cryptosignal.factors.window import filled
from cryptosignal.signals.score import Scores, column, first_of, newness

Floats = NDArray[np.float64]


@dataclass(slots=True)
class Odds:
    """[symbol]: probabilities of both sides, of the chosen one, its margin, calibrated p, and the
    multipliers that applied; `reverted` is 1 where the modulators made a bad environment easier and
    were put back to neutral; `earlier` is the chosen side's p at the bars before, [lag, symbol]."""

    p_long: Floats
    p_short: Floats
    p: Floats
    delta: Floats
    calibrated: Floats
    earlier: Floats
    p_multiplier: Floats
    prime_multiplier: Floats
    g_f: Floats
    g_i: Floats
    t_eff_long: Floats
    t_eff_short: Floats
    reverted: Floats


def odds(rows: ScanRows, scores: Scores, params: ParamSet) -> Odds:
    """Probabilities of every symbol of a scan."""
    side = scores.side
    g_i = filled(column(rows, "mod.gI"))
    g_long = crowd_g(column(rows, "mod.crowding_long"), column(rows, "mod.gF_long"), params)
    g_short = crowd_g(column(rows, "mod.crowding_short"), column(rows, "mod.gF_short"), params)
    fresh = newness(rows, params)
    g_long, g_short, g_i, reverted = hardening(g_long, g_short, g_i, fresh, params)
    t_long = temperature(g_long, g_i, fresh, params)
    t_short = temperature(g_short, g_i, fresh, params)
    shrink = shrinkage(rows, scores, params)
    up_p, up_prime = multipliers(rows, 1.0, params.filters)
    down_p, down_prime = multipliers(rows, -1.0, params.filters)
    p_long = bend(scores.score / t_long, shrink * up_p, params)
    p_short = bend(-scores.score / t_short, shrink * down_p, params)
    is_long = side > 0.0
    t_side = np.where(is_long, t_long, t_short)
    multiplier = np.where(is_long, up_p, down_p)
    p = np.where(is_long, p_long, p_short)
    earlier = bend(side * scores.earlier / t_side, shrink * multiplier, params)
    return Odds(
        p_long,
        p_short,
        p,
        p - np.where(is_long, p_short, p_long),
        calibrate(np.abs(scores.score), shrink, params),
        earlier,
        multiplier,
        np.where(is_long, up_prime, down_prime),
        np.where(is_long, g_long, g_short),
        g_i,
        t_long,
        t_short,
        reverted,
    )


def hardening(
    g_long: Floats, g_short: Floats, g_i: Floats, fresh: Floats, params: ParamSet
) -> tuple[Floats, Floats, Floats, Floats]:
    """The modulators if a bad environment only raises temperature, p_min and cost; neutral (0) for
    every symbol where it does not, with a mark for the alarm (§1.1, online assertion).

    `g_i` is bad below 0, gF above 0. Whatever the parameters say, crowding is never an advantage.
    """
    wrong = np.zeros(g_i.shape, dtype=np.bool_)
    nothing = np.zeros_like(g_i)
    calm = temperature(nothing, nothing, fresh, params)
    for crowd in (np.maximum(g_long, 0.0), np.maximum(g_short, 0.0)):
        worse = temperature(crowd, np.minimum(g_i, 0.0), fresh, params)
        wrong |= worse < calm - 1e-12
        wrong |= _toll(crowd, np.minimum(g_i, 0.0), fresh, params) < -1e-12
    keep = ~wrong
    return g_long * keep, g_short * keep, g_i * keep, wrong.astype(float)


def _toll(g_f: Floats, g_i: Floats, fresh: Floats, params: ParamSet) -> Floats:
    """The least of what gF ≥ 0 and gI ≤ 0 add to p_min, Δp_min and cost."""
    gates, cost = params.gates, params.cost
    crowd = (1.0 - fresh) * cost.lambda_f + fresh * cost.new_lambda_f
    depend = (1.0 - fresh) * cost.lambda_i_penalty + fresh * cost.new_lambda_i_penalty
    added = (
        gates.theta_f * g_f - gates.theta_i_penalty * g_i,
        gates.phi_f * g_f - gates.phi_i_penalty * g_i,
        crowd * g_f - depend * g_i,
    )
    out: Floats = np.minimum.reduce(added)
    return out


def crowd_g(crowding: Floats, smooth: Floats, params: ParamSet) -> Floats:
    """gF of one side: the smoothed crowding of the closed bars, raised to what is seen now.

    Smoothing may not hide a crowd that is there already; a missing value is neutral (0).
    """
    now = filled(np.tanh(3.0 * (crowding - 0.5)))
    return np.maximum(filled(smooth), params.probability.g_smooth * now)


def temperature(g_f: Floats, g_i: Floats, fresh: Floats, params: ParamSet) -> Floats:
    """Teff = clip(T0(1 + βF·gF)/(1 + βI·gI), min, max), blended towards the new-coin set (§1.4)."""
    own, floor = params.probability, params.probability.denominator_min
    mature = _temperature(g_f, g_i, own.t0, own.beta_f, own.beta_i, own.t_min, own.t_max, floor)
    young = _temperature(
        g_f, g_i, own.new_t0, own.new_beta_f, own.new_beta_i, own.new_t_min, own.new_t_max, floor
    )
    return (1.0 - fresh) * mature + fresh * young


def shrinkage(rows: ScanRows, scores: Scores, params: ParamSet) -> Floats:
    """min(1, bars_1h/400) × coverage^power: how much of p − ½ the evidence carries.

    Hours since listing count where they are known and more than the cache holds. A new coin is
    scored from minutes, so minutes are its evidence: hours alone would keep p under every p_min
    of its age (§1.8) and the channel could never publish.
    """
    own = params.probability
    bars = np.fmax(column(rows, "ctx.bars_1h"), column(rows, "ctx.age_days") * 24.0)
    hours = np.clip(filled(bars) / own.full_bars, 0.0, 1.0)
    minutes = np.clip(filled(column(rows, "ctx.bars_1m")) / params.new_coin.full_bars_1m, 0.0, 1.0)
    history = np.maximum(hours, newness(rows, params) * minutes)
    return history * np.clip(scores.coverage, 0.0, 1.0) ** own.evidence_power


def bend(x: Floats, factor: Floats, params: ParamSet) -> Floats:
    """½ + factor·(σ(x) − ½), within the cap on both sides."""
    cap = params.probability.p_cap
    p = 0.5 + factor * (1.0 / (1.0 + np.exp(-x)) - 0.5)
    return np.clip(p, 1.0 - cap, cap)


def calibrate(size: Floats, shrink: Floats, params: ParamSet) -> Floats:
    """Share of wins for a score of this size, from the knots, shrunk like p."""
    knots = np.array(params.probability.calibration)
    return 0.5 + shrink * (np.interp(size, knots[:, 0], knots[:, 1]) - 0.5)


def multipliers(rows: ScanRows, side: float, filters: FilterParams) -> tuple[Floats, Floats]:
    """(probability, Prime) multipliers of one side: market filter and coherence (§1.3).

    The worst that applies counts alone; a favourable market counts only if nothing speaks against.
    """
    market = side * filled(column(rows, "ctx.regime"))
    rungs = [
        market >= filters.aligned_strong,
        market >= filters.aligned_mild,
        market <= -filters.aligned_strong,
        market <= -filters.aligned_mild,
    ]
    by_p = (filters.aligned_strong_p, filters.aligned_mild_p, filters.opposed_strong_p,
            filters.opposed_mild_p)  # fmt: skip
    by_prime = (filters.aligned_strong_prime, filters.aligned_mild_prime,
                filters.opposed_strong_prime, filters.opposed_mild_prime)  # fmt: skip
    p, prime = first_of(rungs, by_p, 1.0), first_of(rungs, by_prime, 1.0)
    agree = column(rows, "ctx.mtf_up" if side > 0.0 else "ctx.mtf_down")
    split = filled(agree, nan=1.0) < filters.mtf_min
    p = np.where(split, np.minimum(p, filters.mtf_p), p)
    return p, np.where(split, np.minimum(prime, filters.mtf_prime), prime)


def _temperature(
    g_f: Floats,
    g_i: Floats,
    t0: float,
    beta_f: float,
    beta_i: float,
    low: float,
    high: float,
    floor: float,
) -> Floats:
    return np.clip(t0 * (1.0 + beta_f * g_f) / np.maximum(1.0 + beta_i * g_i, floor), low, high)
