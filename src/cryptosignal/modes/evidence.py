"""What the factors are worth on past candles: information coefficients with honest error bars.

Cross-sectional rank IC of each factor against later returns, at several horizons. Hourly ICs
overlap, so intervals and p-values come from means of blocks at least a day and two horizons
long; all tests together are corrected by Benjamini and Hochberg (1995). Nothing is fitted here.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from cryptosignal.domain.params import ParamSet
from cryptosignal.factors.catalogue import BAR_FACTORS, Factor
from cryptosignal.factors.history import flatten
from cryptosignal.ground.calendar import utc_day, utc_text
from cryptosignal.ground.faults import UserFault
from cryptosignal.ground.units import DAY_MS, HOUR_MS
from cryptosignal.market.views import MarketView
from cryptosignal.modes.archive import Archive, columns_between, load_archive
from cryptosignal.signals.decide import assess, tier_codes
from cryptosignal.signals.decisions import TIERS

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

HORIZONS: Final = (1, 4, 8, 24, 72)
MAIN_HORIZON: Final = 8
_CHUNK_MS = 20 * DAY_MS
MIN_SYMBOLS: Final = 10
DECILES: Final = 10
_STRONG = 30.0


@dataclass(slots=True)
class Cell:
    """One factor at one horizon. `ic` mean rank IC with a 95 % interval `low`–`high`, `p` two-sided,
    `q` after correction; `edge_bps` the mean signed return where |score| ≥ 30, with its interval."""

    factor: str
    horizon: int
    moments: int
    blocks: int
    ic: float
    low: float
    high: float
    p: float
    q: float = math.nan
    edge_bps: float = math.nan
    edge_low: float = math.nan
    edge_high: float = math.nan


@dataclass(slots=True)
class Evidence:
    """All findings; `absent` are factors that the data cannot feed, `scarce` the cells of those that
    too few coins at a moment have for a rank (`ic` NaN, `edge_bps` over the drift of those coins,
    `p` and `q` of it), `coins` how many have them."""

    data: str
    params: str
    start_ms: int
    stop_ms: int
    symbols: int
    cells: list[Cell] = field(default_factory=list)
    scarce: list[Cell] = field(default_factory=list)
    coins: dict[str, int] = field(default_factory=dict)
    absent: list[str] = field(default_factory=list)
    deciles: dict[str, list[float]] = field(default_factory=dict)
    turnover: dict[str, float] = field(default_factory=dict)
    decay: dict[str, tuple[int, int]] = field(default_factory=dict)
    """By factor the horizon of its largest |IC|, and the first later one with less than half of it
    (0: none that was measured)."""
    correlation: dict[str, dict[str, float]] = field(default_factory=dict)
    vif: dict[str, float] = field(default_factory=dict)
    months: dict[str, dict[str, float]] = field(default_factory=dict)
    regimes: dict[str, dict[str, float]] = field(default_factory=dict)
    tiers: list[dict[str, Any]] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
        out: dict[str, Any] = {
            name: getattr(self, name) for name in self.__slots__ if name not in ("cells", "scarce")
        }
        for name in ("cells", "scarce"):
            out[name] = [{n: getattr(c, n) for n in c.__slots__} for c in getattr(self, name)]
        return out


@dataclass(slots=True)
class _Sums:
    """What is gathered chunk by chunk: per (factor, horizon) the hourly series, and pooled sums."""

    moments: list[Ints] = field(default_factory=list)
    regime: list[Floats] = field(default_factory=list)
    ic: dict[tuple[str, int], list[Floats]] = field(default_factory=dict)
    edge: dict[tuple[str, int], list[Floats]] = field(default_factory=dict)
    few_moments: list[Ints] = field(default_factory=list)
    few_edge: dict[tuple[str, int], list[Floats]] = field(default_factory=dict)
    """The same of stretches with fewer coins than a rank needs."""
    coins: dict[str, set[str]] = field(default_factory=dict)
    decile: dict[str, list[Floats]] = field(default_factory=dict)
    churn: dict[str, list[float]] = field(default_factory=dict)
    pooled: dict[tuple[str, str], list[tuple[float, int]]] = field(default_factory=dict)
    tier: dict[tuple[str, int], list[Floats]] = field(default_factory=dict)
    cost: dict[str, list[Floats]] = field(default_factory=dict)


def evaluate_factors(
    data: str | Path,
    params: ParamSet | None = None,
    from_ms: int | None = None,
    to_ms: int | None = None,
    progress: Callable[[str], None] | None = None,
    factors: tuple[Factor, ...] = BAR_FACTORS,
) -> Evidence:
    """Measure every factor that `data` can feed. Raises UserFault for data that cannot be read."""
    archive = load_archive(data)
    chosen = params or ParamSet()
    begin, end = archive.span_ms
    start = begin + 300 * HOUR_MS if from_ms is None else max(from_ms, begin + HOUR_MS)
    stop = end if to_ms is None else min(to_ms, end)
    start = -(-start // HOUR_MS) * HOUR_MS
    sums = _Sums()
    names: set[str] = set()
    for first in range(start, stop, _CHUNK_MS):
        last = min(first + _CHUNK_MS, stop) - HOUR_MS
        if last < first:
            continue
        names |= _gather(archive, chosen, factors, first, last, stop, sums)
        if progress is not None:
            progress(f"measured to {utc_day(last)}")
    if not sums.moments and not sums.few_moments:
        raise UserFault(
            "--from/--to: no moment with a symbol in it, allowed: "
            f"the data's {utc_text(begin + HOUR_MS)} to {utc_text(end)}, 300 bars after its begin"
        )
    return _conclude(sums, Evidence(str(data), chosen.version, start, stop, len(names)))


def supported(out: Evidence, params: ParamSet, version: str) -> ParamSet:
    """The same parameters without the weights that the evidence speaks against.

    A factor whose IC at the main horizon is negative with q < 0.05 gets weight 0; the others,
    tested or not, share what it had in proportion. Nothing is added on the strength of a sample.
    """
    against = {
        c.factor for c in out.cells if c.horizon == MAIN_HORIZON and c.ic < 0.0 and c.q < 0.05
    }

    def cut(weights: dict[str, float]) -> dict[str, float]:
        kept = {name: 0.0 if name in against else value for name, value in weights.items()}
        total = sum(kept.values())
        return {name: 100.0 * value / total for name, value in kept.items()}

    return msgspec.structs.replace(
        params,
        version=version,
        weights=cut(params.weights),
        regime_weights={name: cut(row) for name, row in params.regime_weights.items()},
    ).validate()


def _gather(
    archive: Archive,
    params: ParamSet,
    factors: tuple[Factor, ...],
    first: int,
    last: int,
    stop: int,
    sums: _Sums,
) -> set[str]:
    seen = columns_between(archive, params, first, last, factors)
    if seen is None:
        return set()
    view, times, columns = seen
    reads = _reads(view, times, columns, params)
    later = _later(archive, view, times, stop)
    for name, value in reads.items():
        there = np.flatnonzero(~np.isnan(value).all(axis=1)).tolist()
        sums.coins.setdefault(name, set()).update(view.symbols[i] for i in there)
    if len(view.symbols) < MIN_SYMBOLS:
        sums.few_moments.append(times)
        for name, value in reads.items():
            for horizon in HORIZONS:
                edge = _edge(value, later[horizon])
                sums.few_edge.setdefault((name, horizon), []).append(edge)
        return set(view.symbols)
    sums.moments.append(times)
    sums.regime.append(columns["ctx.regime"][0])
    ranks = {name: _ranks(value) for name, value in reads.items()}
    for name, value in reads.items():
        for horizon in HORIZONS:
            sums.ic.setdefault((name, horizon), []).append(_ic(value, later[horizon]))
            edge = _edge(value, later[horizon])
            sums.edge.setdefault((name, horizon), []).append(edge)
        sums.decile.setdefault(name, []).append(_deciles(value, later[MAIN_HORIZON]))
        sums.churn.setdefault(name, []).append(_churn(ranks[name]))
    known = [n for n in ranks if not np.isnan(ranks[n]).all() and n in (*params.weights, "I")]
    for i, one in enumerate(known):
        for two in known[i:]:
            sums.pooled.setdefault((one, two), []).append(_pooled(ranks[one], ranks[two]))
    _tiers(view, times, columns, params, later, sums)
    return set(view.symbols)


def _reads(
    view: MarketView, times: Ints, columns: dict[str, Floats], params: ParamSet
) -> dict[str, Floats]:
    out = {name: columns[f"score.{name}"] for name in params.weights}
    out["I"] = columns["mod.I"] - 50.0
    out["funding"] = columns["ctx.funding_rate"] * 1e5
    out["lead"] = columns["mod.lead_long"]
    rows, _ = flatten(view, times, columns)
    score = np.full(columns["ctx.close"].shape, np.nan).T
    score[~np.isnan(columns["ctx.close"]).T] = assess(rows, params).scores.score
    out["score"] = score.T
    return out


def _later(archive: Archive, view: MarketView, times: Ints, stop: int) -> dict[int, Floats]:
    """Log return from each close to the close `h` hours later, NaN past the end."""
    far = archive.view(int(times[0]), min(int(times[-1]) + max(HORIZONS) * HOUR_MS, stop))
    place = {name: i for i, name in enumerate(far.symbols)}
    bars = far.bars["1h"]
    close = bars.close[[place[name] for name in view.symbols]]
    at = np.searchsorted(bars.open_ms + HOUR_MS, times, side="right") - 1
    out = {}
    for horizon in HORIZONS:
        value = np.full((len(view.symbols), len(times)), np.nan)
        fits = at + horizon < close.shape[1]
        value[:, fits] = np.log(close[:, at[fits] + horizon] / close[:, at[fits]])
        out[horizon] = value
    return out


def _ranks(x: Floats) -> Floats:
    """Ranks within each moment, centred, −½…½; NaN stays NaN."""
    known = ~np.isnan(x)
    order = np.argsort(np.argsort(np.where(known, x, np.inf), axis=0), axis=0).astype(float)
    count = known.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        centred = (order - (count - 1) / 2.0) / count
    return np.where(known & (count >= MIN_SYMBOLS), centred, np.nan)


def _ic(value: Floats, later: Floats) -> Floats:
    both = ~np.isnan(value) & ~np.isnan(later)
    one, two = _ranks(np.where(both, value, np.nan)), _ranks(np.where(both, later, np.nan))
    with np.errstate(invalid="ignore", divide="ignore"):
        top = np.nansum(one * two, axis=0)
        scale = np.sqrt(np.nansum(one * one, axis=0) * np.nansum(two * two, axis=0))
        return np.where(scale > 0.0, top / scale, np.nan)


def _edge(value: Floats, later: Floats) -> Floats:
    """Of each moment where the factor is strong: mean signed return and mean return, basis points,
    and mean sign, [3, time]."""
    strong = (np.abs(value) >= _STRONG) & ~np.isnan(later)
    count = strong.sum(axis=0)
    sign, move = np.sign(np.nan_to_num(value)), 1e4 * np.nan_to_num(later)
    parts = np.stack([sign * move, move, sign])
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(count > 0, np.where(strong, parts, 0.0).sum(axis=1) / count, np.nan)


def _deciles(value: Floats, later: Floats) -> Floats:
    """Sum and number of returns over the market's mean in each tenth of the ranks, [2, 10]."""
    both = ~np.isnan(value) & ~np.isnan(later)
    rank = _ranks(np.where(both, value, np.nan))
    out = np.zeros((2, DECILES))
    good = ~np.isnan(rank)
    if not good.any():
        return out
    count = np.maximum(good.sum(axis=0), 1)
    excess = later - np.where(good, later, 0.0).sum(axis=0) / count
    bucket = np.clip(((rank[good] + 0.5) * DECILES).astype(int), 0, DECILES - 1)
    out[0] = np.bincount(bucket, weights=excess[good], minlength=DECILES)
    out[1] = np.bincount(bucket, minlength=DECILES)
    return out


def _churn(rank: Floats) -> float:
    """1 − rank correlation with the hour before: how much of the order changes each hour."""
    value, count = _pooled(rank[:, 1:], rank[:, :-1])
    return 1.0 - value if count else math.nan


def _pooled(one: Floats, two: Floats) -> tuple[float, int]:
    both = ~np.isnan(one) & ~np.isnan(two)
    if both.sum() < MIN_SYMBOLS:
        return 0.0, 0
    x, y = one[both], two[both]
    scale = math.sqrt(float(x @ x) * float(y @ y))
    return (float(x @ y) / scale if scale > 0.0 else 0.0), int(both.sum())


def _tiers(
    view: MarketView,
    times: Ints,
    columns: dict[str, Floats],
    params: ParamSet,
    later: dict[int, Floats],
    sums: _Sums,
) -> None:
    rows, _ = flatten(view, times, columns)
    found = assess(rows, params)
    tiers = tier_codes(found.table, found.odds.p, params, is_missing_fine=True)
    known = ~np.isnan(columns["ctx.close"]).T
    for code, tier in enumerate(TIERS):
        mine = tiers == code
        sums.cost.setdefault(tier.value, []).append(found.values.cost[mine])
        for horizon in HORIZONS:
            signed = found.scores.side * later[horizon].T[known]
            sums.tier.setdefault((tier.value, horizon), []).append(signed[mine])


def _conclude(sums: _Sums, out: Evidence) -> Evidence:
    if not sums.moments:
        _scarce(sums, list(sums.coins), out)
        _correct(out.scarce)
        return out
    times, regime = np.concatenate(sums.moments), np.concatenate(sums.regime)
    out.start_ms = int(times[0])  # where there are enough symbols, not where the first one begins
    factors = list(dict.fromkeys(name for name, _ in sums.ic))
    for name in factors:
        if np.isnan(np.concatenate(sums.ic[name, MAIN_HORIZON])).all():
            out.absent.append(name)
            continue
        for horizon in HORIZONS:
            series = np.concatenate(sums.ic[name, horizon])
            edge = np.concatenate(sums.edge[name, horizon], axis=1)[0]
            out.cells.append(_cell(name, horizon, times, series, edge))
        main = np.concatenate(sums.ic[name, MAIN_HORIZON])
        total = np.sum(sums.decile[name], axis=0)
        out.deciles[name] = (1e4 * total[0] / np.maximum(total[1], 1.0)).round(2).tolist()
        churn = [x for x in sums.churn[name] if not math.isnan(x)]
        out.turnover[name] = float(np.mean(churn)) if churn else math.nan
        out.months[name] = _by(main, [utc_day(int(t))[:7] for t in times])
        words = np.select([regime > 30.0, regime < -30.0], ["up", "down"], default="range")
        out.regimes[name] = _by(main, words.tolist())
    out.decay = {name: _decay([c for c in out.cells if c.factor == name]) for name in out.deciles}
    _scarce(sums, out.absent, out)
    _correct([*out.cells, *out.scarce])
    _collinear(sums, out)
    for (tier, horizon), parts in sums.tier.items():
        returns = np.concatenate(parts)
        returns = returns[~np.isnan(returns)]
        cost = np.concatenate(sums.cost[tier])
        out.tiers.append(
            {
                "tier_open": tier,
                "horizon": horizon,
                "rows": len(returns),
                "mean_bps": 1e4 * float(returns.mean()) if len(returns) else math.nan,
                "hit_rate": float((returns > 0.0).mean()) if len(returns) else math.nan,
                "cost_bps": 1e4 * float(cost.mean()) if len(cost) else math.nan,
            }
        )
    return out


def _scarce(sums: _Sums, names: list[str], out: Evidence) -> None:
    """What a factor without ranks earned by its sign, coin by coin, over what its coins earned by
    themselves: a factor that leans to one side has no merit in a market that does too."""
    times = np.concatenate([*sums.moments, *sums.few_moments])
    for name in names:
        cells = []
        for horizon in HORIZONS:
            parts = sums.edge.get((name, horizon), []), sums.few_edge.get((name, horizon), [])
            signed, moved, sign = np.concatenate([*parts[0], *parts[1]], axis=1)
            edge = signed if np.isnan(moved).all() else signed - np.nanmean(moved) * sign
            mean, low, high, p, blocks = _interval(times, edge, horizon)
            cells.append(
                Cell(name, horizon, int((~np.isnan(edge)).sum()), blocks, *3 * (math.nan,), p)
            )
            cells[-1].edge_bps, cells[-1].edge_low, cells[-1].edge_high = mean, low, high
        if any(cell.moments for cell in cells):
            out.scarce += cells
            out.coins[name] = len(sums.coins[name])
    out.absent = [name for name in names if name not in out.coins]


def _cell(name: str, horizon: int, times: Ints, series: Floats, edge: Floats) -> Cell:
    mean, low, high, p, blocks = _interval(times, series, horizon)
    cell = Cell(name, horizon, int((~np.isnan(series)).sum()), blocks, mean, low, high, p)
    cell.edge_bps, cell.edge_low, cell.edge_high, _, _ = _interval(times, edge, horizon)
    return cell


def _interval(times: Ints, series: Floats, horizon: int) -> tuple[float, float, float, float, int]:
    """Mean, 95 % interval and two-sided p from means of blocks of max(24 h, twice the horizon)."""
    known = ~np.isnan(series)
    if not known.any():
        return math.nan, math.nan, math.nan, math.nan, 0
    block = times[known] // (max(24, 2 * horizon) * HOUR_MS)
    _, place = np.unique(block, return_inverse=True)
    means = np.bincount(place, weights=series[known]) / np.bincount(place)
    mean = float(series[known].mean())
    if len(means) < 8:
        return mean, math.nan, math.nan, math.nan, len(means)
    error = float(means.std(ddof=1)) / math.sqrt(len(means))
    p = math.erfc(abs(mean) / error / math.sqrt(2.0)) if error > 0.0 else 1.0
    return mean, mean - 1.96 * error, mean + 1.96 * error, p, len(means)


def _decay(cells: list[Cell]) -> tuple[int, int]:
    peak = max(cells, key=lambda c: abs(c.ic))
    later = (c.horizon for c in cells if c.horizon > peak.horizon and abs(c.ic) < abs(peak.ic) / 2)
    return peak.horizon, min(later, default=0)


def _correct(cells: list[Cell]) -> None:
    """Benjamini–Hochberg over all cells: `q` is the smallest false discovery rate that keeps it."""
    tested = sorted((c for c in cells if not math.isnan(c.p)), key=lambda c: c.p)
    smallest = 1.0
    for rank in range(len(tested), 0, -1):
        cell = tested[rank - 1]
        smallest = min(smallest, cell.p * len(tested) / rank)
        cell.q = smallest


def _collinear(sums: _Sums, out: Evidence) -> None:
    names = list(dict.fromkeys(name for pair in sums.pooled for name in pair))
    if not names:
        return
    matrix = np.eye(len(names))
    for (one, two), parts in sums.pooled.items():
        count = sum(n for _, n in parts)
        value = sum(v * n for v, n in parts) / count if count else 0.0
        i, j = names.index(one), names.index(two)
        matrix[i, j] = matrix[j, i] = 1.0 if i == j else value
    inverse = np.linalg.pinv(matrix)
    for i, name in enumerate(names):
        out.correlation[name] = {
            other: round(float(matrix[i, j]), 4) for j, other in enumerate(names)
        }
        out.vif[name] = round(float(inverse[i, i]), 3)


def _by(series: Floats, words: list[str]) -> dict[str, float]:
    labels = np.array(words)
    out = {}
    for word in dict.fromkeys(words):
        part = series[labels == word]
        part = part[~np.isnan(part)]
        if len(part):
            out[word] = round(float(part.mean()), 5)
    return out
