"""Can anything be Prime under these parameters? Asked at start-up, answered with the limit that
forbids it (DOMAIN §0.3, §0.18, §3.17)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cryptosignal.domain.params import ParamSet
from cryptosignal.factors import context, now
from cryptosignal.factors.catalogue import BAR_FACTORS, Factor, FactorEngine
from cryptosignal.factors.history import flatten
from cryptosignal.factors.standardise import squash
from cryptosignal.ground.units import HOUR_MS
from cryptosignal.market.settings import MarketSettings
from cryptosignal.market.views import MarketView
from cryptosignal.signals.decide import prime_strength
from cryptosignal.signals.gates import MIN_BARS_OF
from cryptosignal.signals.probability import odds
from cryptosignal.signals.score import combine


@dataclass(frozen=True, slots=True)
class Reach:
    """`ok` under ordinary conditions, `worst_ok` under the worst multipliers, `new_ok` for a new coin
    of every age; `lines` say why."""

    ok: bool
    worst_ok: bool
    lines: tuple[str, ...]
    new_ok: bool = True


def reachable(params: ParamSet) -> Reach:
    """Prime's numeric limits against the best that each factor can attain.

    Ordinary: neutral crowding and independence, no multiplier. Worst: the smallest multipliers,
    and for p full crowding, full dependence and the highest p_min as well: a configuration whose soft filters add
    up to a hard one fails here and not weeks later by silence.
    """
    top = attainable(params)
    score = sum(params.weights[name] * top[name] for name in params.weights) / 100.0
    lines = [f"best attainable score {score:.1f} of 100"]
    ok = _check("ordinary", params, score, 0.0, 0.0, 1.0, 1.0, lines)
    own = params.filters
    p_worst = min(own.opposed_strong_p, own.opposed_mild_p, own.mtf_p)
    prime_worst = min(own.opposed_strong_prime, own.opposed_mild_prime, own.mtf_prime)
    worst = _check("worst case", params, score, 1.0, -1.0, p_worst, prime_worst, lines)
    dims = sum(1 for n, v in top.items() if n != "L" and v >= params.gates.dims_level)
    if dims < params.gates.dims_min:
        lines.append(
            f"gates.dims_min {params.gates.dims_min} forbids Prime: only {dims} factors can reach "
            f"{params.gates.dims_level:g}"
        )
        ok = False
    ok = _within(_bounds(params), lines) and ok
    new = [_check_new(params, place, lines) for place in range(len(_AGES))]
    new.append(_within(_new_bounds(params), lines))
    return Reach(ok, ok and worst, tuple(lines), all(new))


Bound = tuple[str, float, str, float]
"""A limit's key, its value, how what is measured must stand to it, and the best that can be."""

_TICK_BPS = 0.01
"""Nothing has a smaller spread, and no order a smaller impact: a tick of the dearest contract."""
_BOOK_MS = 100.0
"""Books come ten times a second."""
_VOLATILE_ATR = 0.10
"""An ATR of a tenth of the price in an hour: no expectation stands on more."""
_HALF_FUNDING_MS = 14_400_000.0


def _bounds(params: ParamSet) -> list[Bound]:
    """Limits on what has a range of its own, whatever the scores."""
    gates, risk, plan = params.gates, params.risk, params.plan
    win = plan.tp2_r * plan.stop_atr * _VOLATILE_ATR
    return [
        ("gates.quality_open", gates.quality_open, ">=", 1.0),
        ("gates.coverage_min", gates.coverage_min, ">=", 1.0),
        ("gates.ev_min", gates.ev_min, ">", win),
        ("gates.spread_open_bps", gates.spread_open_bps, "<=", _TICK_BPS),
        ("risk.spread_skip_bps", risk.spread_skip_bps, "<=", _TICK_BPS),
        ("gates.impact_open_bps", gates.impact_open_bps, "<=", _TICK_BPS / 2.0),
        ("gates.obi_open", gates.obi_open, "<=", -1.0),
        ("gates.book_age_ms", gates.book_age_ms, "<=", _BOOK_MS),
        ("gates.room_structure_atr", gates.room_structure_atr, ">=", context.OPEN_ROOM_ATR),
        ("gates.funding_guard_ms", float(gates.funding_guard_ms), ">=", _HALF_FUNDING_MS),
        ("gates.mtf_min", gates.mtf_min, ">=", 1.0),
        ("gates.micro_min", float(gates.micro_min), ">=", 4.0),
        ("gates.micro_atr_ratio_max", gates.micro_atr_ratio_max, "<=", 0.05),
        ("gates.micro_volume_ratio_max", gates.micro_volume_ratio_max, "<=", 0.0),
        ("gates.lead_min", gates.lead_min, ">=", 100.0),
        ("gates.conflict_level", gates.conflict_level, "<=", 0.0),
        ("gates.breadth_min", gates.breadth_min, ">=", 1.0),
        ("gates.correlated_max", float(gates.correlated_max), "<=", 1.0),
    ] + [
        (f"gates.min_bars ({name})", float(least), ">=", float(MarketSettings().kline_cache_size))
        for name, least in zip(MIN_BARS_OF, gates.min_bars, strict=True)
    ]  # fmt: skip


def _new_bounds(params: ParamSet) -> list[Bound]:
    """The same of new coins alone."""
    gates, own = params.gates, params.new_coin
    room = gates.new_room_structure_atr
    return [
        ("gates.new_room_structure_atr", room, ">=", context.OPEN_ROOM_ATR),
        ("new_coin.ignition_min", float(own.ignition_min), ">=", 6.0),
        ("new_coin.prime_max", float(own.prime_max), "<=", 1.0),
    ]


def _within(bounds: list[Bound], lines: list[str]) -> bool:
    good = True
    for key, limit, relation, best in bounds:
        fits = {">=": best >= limit, ">": best > limit, "<=": best <= limit}[relation]
        good = good and fits
        if not fits:
            word = "least" if relation == "<=" else "most"
            lines.append(f"{key} {limit:g} forbids Prime: it is at {word} {best:g}")
    return good


_AGES = ("first day", "first week", "to the 400th bar")


def _check_new(params: ParamSet, place: int, lines: list[str]) -> bool:
    """A new coin of one age tier with all its minutes there, at neutral modulators (§1.8)."""
    odds, gates, new = params.probability, params.gates, params.new_coin
    top = attainable(params)
    weights = {name: params.new_weights.get(name, own) for name, own in params.weights.items()}
    score = sum(weights[name] * top[name] for name in weights) / sum(weights.values())
    p = min(odds.p_cap, 1.0 / (1.0 + np.exp(-score / odds.new_t0)))
    strengths = (gates.strength_ultra_new, gates.strength_new_a, gates.strength_new_b)
    strength = 0.6 * score + 40.0 * min(max((p - 0.60) / 0.15, 0.0), 1.0)
    dims = sum(1 for n, v in top.items() if n != "L" and weights[n] > 0.0 and v >= gates.dims_level)
    good = True
    for name, value, limit in (
        ("new_coin.tier_p", p, max(gates.new_p0, new.tier_p[place])),
        ("gates.new_dp0", 2.0 * p - 1.0, gates.new_dp0),
        ("gates.strength_new", strength, max(strengths[place], gates.min_score)),
        ("new_coin.tier_dims", float(dims), float(new.tier_dims[place])),
    ):
        fits = bool(value >= limit)
        good = good and fits
        word = "reachable" if fits else "OUT OF REACH"
        lines.append(f"new coin, {_AGES[place]}: {name} {limit:.3f} is {word}: at most {value:.3f}")
    return good


def attainable(params: ParamSet) -> dict[str, float]:
    """The largest |score| of each factor: chained factors end where the soft winsor ends (C where
    its crowd leaves it), L, B and Q at 100. A factor of weight 0 counts as it is."""
    top = np.array([[1e6]])
    crowded = {factor.name: factor.crowded for factor in BAR_FACTORS}
    return {
        name: 100.0
        if name in ("L", "B", "Q")
        else float(squash(top, params.chain, crowded.get(name, 0.0))[0, 0])
        for name in params.weights
    }


@dataclass(frozen=True, slots=True)
class Passed:
    """Symbols whose Prime strength reached `min_score` at any of `bars` closed bars, and the best."""

    symbols: int
    of: int
    bars: int
    best: float
    min_score: float

    @property
    def line(self) -> str:
        """What start-up prints; a warning where nothing passed (§0.18)."""
        word = "" if self.symbols else "WARNING: "
        return (
            f"{word}{self.symbols} of {self.of} symbols reached strength {self.min_score:g} in the "
            f"last {self.bars} bars (best {self.best:.1f})"
        )


def passed(
    view: MarketView,
    params: ParamSet,
    bars: int = 300,
    factors: tuple[Factor, ...] = BAR_FACTORS,
) -> Passed:
    """How many symbols `min_score` would have let through over the history in the view.

    Factors of the present moment (L, B, Q) stand as they are now; gates other than strength are
    not asked.
    """
    hours = view.bars.get("1h")
    need = max(params.gates.min_score, 0.0)
    count = 0 if hours is None else min(bars, len(hours.open_ms))
    if hours is None or not count:
        return Passed(0, int(view.active.sum()), 0, 0.0, need)
    closes = hours.open_ms[-count:] + HOUR_MS
    times = closes[closes <= view.time_ms].astype(np.int64)
    columns = FactorEngine(params, factors).columns(view, times, now.facts(view, params))
    rows, _ = flatten(view, times, columns)
    scores = combine(rows, params)
    strength = prime_strength(scores, odds(rows, scores, params))
    over = {s for s, ok in zip(rows.symbols, strength >= need, strict=True) if ok}
    best = float(strength.max()) if len(strength) else 0.0
    return Passed(len(over), int(view.active.sum()), len(times), best, need)


def _check(
    case: str,
    params: ParamSet,
    score: float,
    g_f: float,
    g_i: float,
    p_factor: float,
    prime_factor: float,
    lines: list[str],
) -> bool:
    own, gates = params.probability, params.gates
    heat = own.t0 * (1.0 + own.beta_f * g_f) / max(1.0 + own.beta_i * g_i, own.denominator_min)
    t_eff = min(max(heat, own.t_min), own.t_max)
    p = min(own.p_cap, 0.5 + p_factor * (1.0 / (1.0 + np.exp(-score / t_eff)) - 0.5))
    p_min = gates.p0 + gates.theta_f * max(0.0, g_f) + gates.theta_i_penalty * max(0.0, -g_i)
    d_min = gates.dp0 + gates.phi_f * max(0.0, g_f) + gates.phi_i_penalty * max(0.0, -g_i)
    calm = 0.5 + p_factor * (1.0 / (1.0 + np.exp(-score / own.t0)) - 0.5)
    raised = min(max((min(own.p_cap, calm) - 0.60) / 0.15, 0.0), 1.0)
    strength = prime_factor * (0.6 * score + 40.0 * raised)
    need = max(gates.strength_mature, gates.min_score)
    wanted = (
        "gates.min_score" if gates.min_score > gates.strength_mature else "gates.strength_mature"
    )
    good = True
    for name, value, limit in (
        ("gates.p0 (p_min)", p, p_min),
        ("gates.dp0", 2.0 * p - 1.0, d_min),
        (wanted, strength, need),
    ):
        fits = value >= limit
        good = good and fits
        lines.append(
            f"{case}: {name} {limit:.3f} is {'reachable' if fits else 'OUT OF REACH'}: "
            f"at most {value:.3f}"
        )
    return bool(good)
