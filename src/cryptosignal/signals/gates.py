"""The gates of one scan: each a value, a limit, a relation and a verdict (DOMAIN §1.5, §0.14).

A gate whose data are missing fails closed: "no data", or "warming" where live data are on their
way. Gates that compare symbols or remember (correlation, cooldown) are decided in `settle`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cryptosignal.domain.params import ParamSet
from cryptosignal.domain.scan import ScanRows
from cryptosignal.domain.signal import Verdict
from cryptosignal.factors.window import filled
from cryptosignal.ground.units import DAY_MS, INTERVAL_MS
from cryptosignal.signals import hazards
from cryptosignal.signals.ev import Values
from cryptosignal.signals.probability import Odds
from cryptosignal.signals.score import Scores, column, newness

Floats = NDArray[np.float64]
Codes = NDArray[np.int8]
Ints = NDArray[np.int64]

PASS, MARGINAL, FAIL, NO_DATA, WARMING = range(5)
VERDICTS: Final = (Verdict.PASS, Verdict.MARGINAL, Verdict.FAIL, Verdict.NO_DATA, Verdict.WARMING)

LIVE_GATES: Final = frozenset({"data_quality", "spread", "impact", "obi", "book_age", "room_book"})
"""Gates that need live data: they say "warming" until a book or a stream is there."""

MIN_BARS_OF: Final = ("15m", "1h", "4h", "1d")
"""The intervals of `gates.min_bars`."""

RANK_GATES: Final = frozenset({"probability", "delta_p", "strength", "dims", "persistence"})
"""Gates that say how good a signal is rather than whether it may be traded at all."""


@dataclass(frozen=True, slots=True)
class GateRow:
    """One gate over all symbols. `open_limit` passes; between it and `hold_limit` is marginal."""

    name: str
    relation: str
    value: Floats
    open_limit: Floats
    hold_limit: Floats
    unit: str = ""


@dataclass(slots=True)
class GateTable:
    """All gates: [gate, symbol] values, limits and verdict codes."""

    names: tuple[str, ...]
    relations: tuple[str, ...]
    units: tuple[str, ...]
    values: Floats
    limits: Floats
    verdicts: Codes

    def index(self, name: str) -> int:
        """The row of a gate."""
        return self.names.index(name)


@dataclass(slots=True)
class Sight:
    """What the gates look at: the rows, the scores, the odds, the values of one scan."""

    rows: ScanRows
    scores: Scores
    odds: Odds
    values: Values
    strength: Floats
    params: ParamSet
    fresh: Floats = field(init=False)
    """`newness` of each symbol."""

    def __post_init__(self) -> None:
        self.fresh = newness(self.rows, self.params)

    def col(self, name: str) -> Floats:
        """A column of the rows."""
        return column(self.rows, name)

    def sided(self, up: str, down: str) -> Floats:
        """The column of the chosen side."""
        return np.where(self.scores.side > 0.0, self.col(up), self.col(down))

    def full(self, value: float) -> Floats:
        """A constant limit for every symbol."""
        return np.full(len(self.rows.symbols), float(value))


def judge(sight: Sight) -> GateTable:
    """Every gate but those of `settle`, in the order in which they are explained."""
    rows = [make(sight) for make in _GATES]
    warming = {
        "book": WARMING if sight.rows.meta.get("book") == "live" else NO_DATA,
        "quality": WARMING if sight.rows.meta.get("book") == "live" else NO_DATA,
    }
    values, limits = (np.stack([getattr(r, n) for r in rows]) for n in ("value", "open_limit"))
    holds = np.stack([row.hold_limit for row in rows])
    relations = np.array([row.relation for row in rows])[:, None]
    missing = np.array([_missing(row.name, warming) for row in rows])[:, None]
    return GateTable(
        tuple(row.name for row in rows),
        tuple(row.relation for row in rows),
        tuple(row.unit for row in rows),
        values,
        limits,
        verdict(relations, values, limits, holds, missing),
    )


def verdict(
    relations: NDArray[np.str_], values: Floats, opens: Floats, holds: Floats, missing: Ints
) -> Codes:
    """Codes [gate, symbol]; NaN values get `missing`, which like `relations` is one a gate."""
    # values and limits of "at most" turn their sign; "more than" leaves the limit itself out
    turn = np.where(relations == "<=", -1.0, 1.0)
    strict = relations == ">"
    signed = values * turn
    opened, held = (_reaches(signed, limit * turn, strict) for limit in (opens, holds))
    codes = np.where(opened, PASS, np.where(held, MARGINAL, FAIL))
    return np.where(np.isnan(values), missing, codes).astype(np.int8)


def _reaches(value: Floats, limit: Floats, strict: NDArray[np.bool_]) -> NDArray[np.bool_]:
    return (value > limit) | ((value == limit) & ~strict)


def _missing(name: str, warming: dict[str, int]) -> int:
    if name == "data_quality":
        return warming["quality"]
    return warming["book"] if name in LIVE_GATES else NO_DATA


def _row(
    name: str,
    relation: str,
    value: Floats,
    limit: Floats,
    hold: Floats | None = None,
    unit: str = "",
) -> GateRow:
    return GateRow(name, relation, value, limit, limit if hold is None else hold, unit)


def _quality(s: Sight) -> GateRow:
    gates = s.params.gates
    return _row("data_quality", ">=", s.col("ctx.quality"), s.full(gates.quality_open),
                s.full(gates.quality_hold))  # fmt: skip


def _bar(s: Sight) -> GateRow:
    close = s.col("ctx.close")
    finality = np.where(np.isnan(close), np.nan, s.col("ctx.finality"))
    return _row("newest_bar", ">=", finality, s.full(2.0), unit="finality")


def _enough(s: Sight) -> GateRow:
    """Bars of the interval that has the fewest for what it needs (§1.2).

    A coin needs no bars from before its listing, the newest one may be under way, and of a receipt
    that names no intervals nothing is asked: a young coin is judged by its minutes (§1.8).
    """
    step = np.array([INTERVAL_MS[name] for name in MIN_BARS_OF], dtype=np.float64)[:, None]
    moment = s.col("ctx.time_ms")
    listed = moment - filled(s.col("ctx.age_days"), nan=np.inf) * DAY_MS
    possible = np.floor(moment / step) - np.floor(listed / step) - 1.0
    watched = s.rows.meta.get("intervals", "").split(",")
    asked = [
        least * float(name in watched)
        for name, least in zip(MIN_BARS_OF, s.params.gates.min_bars, strict=True)
    ]
    need = np.maximum(np.minimum(np.array(asked)[:, None], possible), 0.0)
    have = np.stack([s.col(f"ctx.bars_{name}") for name in MIN_BARS_OF])
    scarce = np.argmin((have + 1.0) / (need + 1.0), axis=0)
    value, limit = (np.take_along_axis(x, scarce[None], axis=0)[0] for x in (have, need))
    return _row("enough_bars", ">=", value, limit, unit="bars of the scarcest interval")


def _coverage(s: Sight) -> GateRow:
    return _row("coverage", ">=", s.scores.coverage, s.full(s.params.gates.coverage_min),
                unit="share of weight")  # fmt: skip


def _ev(s: Sight) -> GateRow:
    return _row("ev", ">", s.values.ev, s.full(s.params.gates.ev_min), unit="of notional")


def _spread(s: Sight) -> GateRow:
    gates = s.params.gates
    return _row("spread", "<=", s.col("ctx.spread_bps"), s.full(gates.spread_open_bps),
                s.full(gates.spread_hold_bps), "bps")  # fmt: skip


def _impact(s: Sight) -> GateRow:
    gates = s.params.gates
    value = s.sided("ctx.impact_buy_bps", "ctx.impact_sell_bps")
    return _row("impact", "<=", value, s.full(gates.impact_open_bps),
                s.full(gates.impact_hold_bps), "bps")  # fmt: skip


def _obi(s: Sight) -> GateRow:
    """Imbalance against the side: a full bid does not stop a long (§1.5, side-aware)."""
    gates = s.params.gates
    return _row("obi", "<=", -s.scores.side * s.col("ctx.obi"), s.full(gates.obi_open),
                s.full(gates.obi_hold), "against the side")  # fmt: skip


def _book_age(s: Sight) -> GateRow:
    return _row("book_age", "<=", s.col("ctx.book_age_ms"), s.full(s.params.gates.book_age_ms),
                unit="ms")  # fmt: skip


def _probability(s: Sight) -> GateRow:
    """p_min rises with crowding and dependence (§1.5.4); a signal that qualified at the bar before
    stays until p falls `hysteresis` below (§0.19)."""
    limit = p_min(s)
    held = s.full(0.0) if len(s.odds.earlier) == 0 else s.odds.earlier[0] >= limit
    eased = limit - s.params.tiers.hysteresis * held
    return _row("probability", ">=", s.odds.p, eased)


def p_min(s: Sight) -> Floats:
    """p0 + θF·max(0,gF) + θIpen·max(0,−gI) − θIrew·max(0,gI), new coins by age tier and more in
    their first minutes (§1.5, §1.8)."""
    gates, fresh = s.params.gates, s.fresh
    reward = (1.0 - fresh) * gates.theta_i_reward + fresh * gates.new_theta_i_reward
    base = (1.0 - fresh) * gates.p0 + fresh * np.maximum(gates.new_p0, age_tier_p(s))
    return (
        base
        + hazards.careful(s.rows, s.params)
        + gates.theta_f * np.maximum(0.0, s.odds.g_f)
        + gates.theta_i_penalty * np.maximum(0.0, -s.odds.g_i)
        - reward * np.maximum(0.0, s.odds.g_i)
    )


def age_tier_p(s: Sight) -> Floats:
    """p_min by age of a new coin, joined linearly around the tier edges (§1.8: no phase cliffs)."""
    return _by_age(s, tuple(map(float, s.params.new_coin.tier_p)), s.params.gates.p0)


def _by_age(s: Sight, tiers: tuple[float, ...], mature: float) -> Floats:
    own = s.params.new_coin
    hours = filled(s.col("ctx.age_days") * 24.0, nan=1e9)
    knots: list[float] = []
    levels: list[float] = []
    for edge, width, before, after in zip(
        own.tier_edges_hours, own.tier_blend_hours, tiers, (*tiers[1:], mature), strict=True
    ):
        knots += [edge - width, edge + width]
        levels += [before, after]
    return np.interp(hours, knots, levels)


def _delta_p(s: Sight) -> GateRow:
    gates, fresh = s.params.gates, s.fresh
    reward = (1.0 - fresh) * gates.phi_i_reward + fresh * gates.new_phi_i_reward
    limit = (
        (1.0 - fresh) * gates.dp0
        + fresh * gates.new_dp0
        + gates.phi_f * np.maximum(0.0, s.odds.g_f)
        + gates.phi_i_penalty * np.maximum(0.0, -s.odds.g_i)
        - reward * np.maximum(0.0, s.odds.g_i)
    )
    return _row("delta_p", ">=", s.odds.delta, limit)


def _strength(s: Sight) -> GateRow:
    gates, fresh = s.params.gates, s.fresh
    tiers = (gates.strength_ultra_new, gates.strength_new_a, gates.strength_new_b)
    young = _by_age(s, tiers, gates.strength_mature)
    limit = (1.0 - fresh) * gates.strength_mature + fresh * young
    return _row("strength", ">=", s.strength, np.maximum(limit, gates.min_score))


def _dims(s: Sight) -> GateRow:
    gates, fresh = s.params.gates, s.fresh
    young = _by_age(s, tuple(map(float, s.params.new_coin.tier_dims)), gates.dims_min)
    limit = np.ceil((1.0 - fresh) * gates.dims_min + fresh * young - 1e-9)
    return _row("dims", ">=", s.scores.dims, limit, unit="factors")


def _persistence(s: Sight) -> GateRow:
    """K of the last N closed bars, this one included, at p_min or above on this side."""
    tiers = s.params.tiers
    bars = np.vstack([s.odds.p[None, :], s.odds.earlier])
    count = (bars >= p_min(s)[None, :]).sum(axis=0).astype(float)
    return _row("persistence", ">=", count, s.full(tiers.k), unit=f"of {tiers.n} bars")


def _room_structure(s: Sight) -> GateRow:
    gates, fresh = s.params.gates, s.fresh
    limit = (1.0 - fresh) * gates.room_structure_atr + fresh * gates.new_room_structure_atr
    return _row("room_structure", ">=", s.sided("ctx.room_up_atr", "ctx.room_down_atr"), limit,
                unit="ATR")  # fmt: skip


def _room_book(s: Sight) -> GateRow:
    gates, fresh = s.params.gates, s.fresh
    limit = (1.0 - fresh) * gates.room_book_ratio + fresh * gates.new_room_book_ratio
    return _row("room_book", ">=", s.sided("ctx.room_book_up", "ctx.room_book_down"), limit)


def _funding_time(s: Sight) -> GateRow:
    """Distance to the nearest funding settlement; without nextFundingTime 00/08/16 UTC (§1.5.5)."""
    eight = 28_800_000.0
    moment = s.col("ctx.time_ms")
    into = moment % eight
    grid = np.minimum(into, eight - into)
    ahead = s.col("ctx.next_funding_ms") - moment
    known = np.abs(ahead)
    # a settlement that has just been is as near as one to come: both ends of its period count
    value = np.where(np.isnan(known), grid, np.minimum(known, grid))
    return _row("funding_time", ">=", value, s.full(s.params.gates.funding_guard_ms), unit="ms")


def _coherent(s: Sight) -> GateRow:
    value = s.sided("ctx.mtf_up", "ctx.mtf_down")
    return _row("coherence", ">=", value, s.full(s.params.gates.mtf_min), unit="share")


def _micro(s: Sight) -> GateRow:
    value = s.sided("ctx.micro_up", "ctx.micro_down")
    return _row("micro_15m", ">=", value, s.full(s.params.gates.micro_min), unit="votes of 4")


def _micro_atr(s: Sight) -> GateRow:
    return _row("micro_atr", "<=", s.col("ctx.micro_atr_ratio"),
                s.full(s.params.gates.micro_atr_ratio_max), unit="ATR15/ATR1h")  # fmt: skip


def _micro_volume(s: Sight) -> GateRow:
    return _row("micro_volume", "<=", s.col("ctx.micro_volume_ratio"),
                s.full(s.params.gates.micro_volume_ratio_max), unit="v3/v20")  # fmt: skip


def _opposition(s: Sight) -> GateRow:
    """A dependent coin against a strong BTC trend is rejected (§1.3 I, veto 1)."""
    gates = s.params.gates
    independence = s.col("mod.I")
    trend = s.scores.side * s.col("ctx.btc_trend")
    value = np.where(np.isnan(independence), np.nan,
                     np.where(independence <= gates.independence_low, trend, 0.0))  # fmt: skip
    return _row("btc_opposition", ">=", value, s.full(-gates.independence_btc_trend))


def _independence(s: Sight) -> GateRow:
    """A dependent coin needs a stronger score (§1.3 I, veto 2)."""
    gates = s.params.gates
    independence = s.col("mod.I")
    value = np.where(np.isnan(independence), np.nan, np.abs(s.scores.score))
    limit = np.where(independence <= gates.independence_low, gates.independence_score_min, 0.0)
    return _row("independence", ">=", value, limit, unit="|score|")


def _lead(s: Sight) -> GateRow:
    value = s.sided("mod.lead_long", "mod.lead_short")
    return _row("lead", ">=", value, s.full(s.params.gates.lead_min))


def _conflict(s: Sight) -> GateRow:
    """Trend layer (T, M) against cause layer (C, O, book, B): both strong and opposed (§1.5)."""
    trend = _mean([s.col("score.T"), s.col("score.M")])
    cause = _mean(_causes(s))
    clash = np.where(trend * cause < 0.0, np.minimum(np.abs(trend), np.abs(cause)), 0.0)
    value = np.where(np.isnan(trend) | np.isnan(cause), np.nan, clash)
    return _row("conflict", "<=", value, s.full(s.params.gates.conflict_level))


def _split(s: Sight) -> GateRow:
    """Causes that contradict each other: how many beyond ±10 stand on the smaller side; two against
    two is no trade (§1.5)."""
    causes = np.stack(_causes(s))
    level = s.params.risk.split_level
    with np.errstate(invalid="ignore"):
        smaller = np.minimum((causes > level).sum(axis=0), (causes < -level).sum(axis=0))
    value = np.where(np.isnan(causes).all(axis=0), np.nan, smaller.astype(float))
    return _row("cause_split", "<=", value, s.full(1.0), unit="causes on the smaller side")


def _causes(s: Sight) -> list[Floats]:
    """The cause layer, each ±100: taker flow, open interest, book, basis and funding."""
    return [s.col("score.C"), s.col("score.O"), 100.0 * s.col("ctx.obi"), s.col("score.B")]


def _risk(s: Sight) -> GateRow:
    """The risk filters leave something of the size (§1.5: a spread beyond 20 bps leaves nothing)."""
    left = hazards.size_left(s.rows, s.scores.side, s.params)
    return _row("risk", ">", left, s.full(0.0), unit="of the size")


def _breadth(s: Sight) -> GateRow:
    value = s.sided("ctx.breadth_up", "ctx.breadth_down")
    return _row("breadth", ">=", value, s.full(s.params.gates.breadth_min), unit="share of market")


def _phase(s: Sight) -> GateRow:
    """Minutes since listing: only Watch at first (§1.8)."""
    minutes = s.col("ctx.age_days") * 1440.0
    own = s.params.new_coin
    return _row("listing_age", ">=", filled(minutes, nan=1e9), s.full(own.watch_only_minutes),
                unit="minutes")  # fmt: skip


def _ignition(s: Sight) -> GateRow:
    """A new coin needs ignition on its side and no exhaustion (§1.8); a mature one does not."""
    votes = s.sided("ctx.ignition_up", "ctx.ignition_down")
    spent = s.sided("ctx.exhausted_up", "ctx.exhausted_down")
    is_new = s.fresh >= 0.5
    least = float(s.params.new_coin.ignition_min)
    value = np.where(spent > 0.0, 0.0, votes)
    return _row("ignition", ">=", np.where(is_new, value, least), s.full(least), unit="signs of 6")


def _thrust(s: Sight) -> GateRow:
    """A new coin needs momentum: 1m and 5m slopes on its side, 15m not against (§1.8)."""
    value = s.sided("ctx.thrust_up", "ctx.thrust_down")
    is_new = s.fresh >= 0.5
    return _row("thrust", ">=", np.where(is_new, value, 1.0), s.full(1.0), unit="slopes agree")


def _mean(parts: list[Floats]) -> Floats:
    values = np.stack(parts)
    known = ~np.isnan(values)
    count = known.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(count > 0, np.where(known, values, 0.0).sum(axis=0) / count, np.nan)


_GATES: Final[tuple[Callable[[Sight], GateRow], ...]] = (
    _quality, _bar, _enough, _coverage, _ev, _probability, _delta_p, _strength, _dims, _persistence,
    _spread, _impact, _obi, _book_age, _room_structure, _room_book, _funding_time,
    _coherent, _micro, _micro_atr, _micro_volume, _opposition, _independence, _lead, _conflict,
    _split, _risk, _breadth, _phase, _ignition, _thrust,
)  # fmt: skip
