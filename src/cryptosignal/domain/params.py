"""Weights and thresholds as data (D4): versioned, journaled, changed by learning, never by code.

Every default is DOMAIN.md's unless its docstring says why not; §0 wins where texts disagree.
Shares are 0–1, scores ±100, `*_atr` multiples of ATR14 of the 1h bars, `*_bps` basis points.
"""

from __future__ import annotations

import itertools
import math
from typing import Final

import msgspec

from cryptosignal.domain.params_limits import ORDERS, RANGES

FACTOR_NAMES: Final = ("T", "M", "C", "S", "V", "O", "L", "B", "Q")
"""The nine direction factors, in the order in which tables and pages show them."""

_V61: Final = {"T": 18, "M": 12, "C": 18, "S": 10, "V": 10, "O": 12, "L": 12, "B": 4, "Q": 4}
_NEW_COIN: Final = {"T": 22, "M": 15, "S": 15, "V": 16, "C": 20, "O": 8, "Q": 4, "L": 0, "B": 0}
_REGIME_ORDER: Final = ("T", "M", "S", "V", "C", "O", "L", "B", "Q")
REGIMES: Final = ("strong_trend", "range", "high_vol", "low_vol", "normal")
_REGIME_ROWS: Final = {
    "strong_trend": (24, 13, 3, 6, 10, 10, 10, 14, 10),
    "range": (9, 6, 11, 7, 17, 17, 16, 12, 5),
    "high_vol": (12, 12, 8, 8, 15, 17, 12, 7, 9),
    "low_vol": (22, 8, 5, 10, 12, 12, 15, 11, 5),
    "normal": (18, 12, 10, 10, 18, 18, 8, 2, 4),
}


def _weights(table: dict[str, int]) -> dict[str, float]:
    return {name: float(table[name]) for name in FACTOR_NAMES}


def _regime_weights() -> dict[str, dict[str, float]]:
    return {
        regime: {k: float(v) for k, v in zip(_REGIME_ORDER, row, strict=True)}
        for regime, row in _REGIME_ROWS.items()
    }


class _Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    pass


class ChainParams(_Section, frozen=True):
    """The standardisation chain (§1.3). `*_taps` bound each stage to a fixed window of bars (D4).

    Pre-smooth EMA `smooth`; robust centre and spread with rate `eta`; soft winsor from `z0` to
    `z_max` with `winsor`; 100·tanh(z/`tau`); publish filter `publish` with `max_step` points a bar
    and no change of sign below `flip_min`.
    """

    smooth: float = 0.30
    smooth_taps: int = 16
    eta: float = 0.05
    scale_taps: int = 100
    scale_min: int = 20
    z0: float = 2.5
    z_max: float = 6.0
    winsor: float = 1.5
    tau: float = 2.0
    publish: float = 0.30
    publish_taps: int = 40
    max_step: float = 15.0
    flip_min: float = 10.0


class ProbabilityParams(_Section, frozen=True):
    """Score to probability (§1.4, "Spec (use)"): σ(S/Teff), shrunk by the history behind it.

    `new_*` hold for a new coin (§1.8). `calibration` are knots (|S|, p) of the chosen side,
    linear between them, until a fit replaces them. `evidence_power` shrinks by the share of
    weight that has data: half the factors cannot be as sure as all of them.
    """

    t0: float = 50.0
    beta_f: float = 0.35
    beta_i: float = 0.25
    t_min: float = 35.0
    t_max: float = 90.0
    denominator_min: float = 0.6
    new_t0: float = 60.0
    new_beta_f: float = 0.20
    new_beta_i: float = 0.15
    new_t_min: float = 40.0
    new_t_max: float = 95.0
    g_smooth: float = 0.20
    g_taps: int = 24
    full_bars: int = 400
    evidence_power: float = 0.5
    p_cap: float = 0.95
    calibration: tuple[tuple[float, float], ...] = (
        (0.0, 0.50),
        (10.0, 0.52),
        (25.0, 0.56),
        (50.0, 0.60),
        (100.0, 0.64),
    )


class FilterParams(_Section, frozen=True):
    """Market filter and multi-timeframe coherence as multipliers (§1.3, "Regime").

    A multiplier acts on p − ½ and the worst one that applies counts alone: stacked soft filters
    that act as a hard one were mistake 17 of §3.
    """

    aligned_strong: float = 60.0
    aligned_mild: float = 50.0
    aligned_strong_p: float = 1.20
    aligned_strong_prime: float = 1.10
    aligned_mild_p: float = 1.10
    aligned_mild_prime: float = 1.05
    opposed_mild_p: float = 0.85
    opposed_mild_prime: float = 0.92
    opposed_strong_p: float = 0.70
    opposed_strong_prime: float = 0.85
    mtf_min: float = 0.60
    mtf_p: float = 0.85
    mtf_prime: float = 0.90


class RiskParams(_Section, frozen=True):
    """Risk filters (§1.5, v2.2): what is left of the size where it is dear or dangerous to be.

    They scale the size of an entry, never p: a soft filter on p that acts as a hard one was mistake
    17 of §3. `fwi` is the funding rate in units of `fwi_rate_frac` times how near the settlement
    is, 1 at it and 0 from `fwi_window_ms` before it on; it also lifts B by up to `fwi_boost` points.
    `overlay` is what a member of the Overlay pool keeps of its size (§1.9).
    """

    spread_skip_bps: float = 20.0
    spread_wide_bps: float = 10.0
    spread_wide: float = 0.5
    spread_mild_bps: float = 5.0
    spread_mild: float = 0.8
    funding_high_frac: float = 0.0015
    funding_high: float = 0.7
    funding_mild_frac: float = 0.0010
    funding_mild: float = 0.85
    fwi_window_ms: int = 1_800_000
    fwi_rate_frac: float = 0.0005
    fwi_boost: float = 20.0
    fwi_limit: float = 2.0
    fwi_same: float = 0.3
    fwi_opposite: float = 0.8
    overlay: float = 0.7
    split_level: float = 10.0
    medium_below: float = 0.8
    high_below: float = 0.5


class CostParams(_Section, frozen=True):
    """EV and its cost (§1.4). Fees are a share of notional per side; λ are multiples of ATR.

    `win_frac`/`loss_frac` are means of real outcomes once 50 exist; 0 means: from the plan.
    """

    taker_fee_frac: float = 0.0005
    lambda_f: float = 0.60
    lambda_i_penalty: float = 0.50
    lambda_i_reward: float = 0.30
    new_lambda_f: float = 0.40
    new_lambda_i_penalty: float = 0.35
    new_lambda_i_reward: float = 0.20
    tp1_share: float = 0.5
    win_frac: float = 0.0
    loss_frac: float = 0.0


class GateParams(_Section, frozen=True):
    """Limits of the gates (§1.5, §1.8). Open limits gate Prime; hold limits mark "marginal".

    `strength_*` are higher than the running code's 25–35 (DOMAIN: 16…78 over the project's life):
    on markets without any edge 25 gives 60 Primes per 100 symbol-days, 75 less than one (§0.19). A
    new coin needs as much (§0.6), on a hotter temperature, and more p, factors, and an ignition.
    `min_bars` are the bars of 15m, 1h, 4h and 1d below which a symbol is skipped (§1.2).
    `independence_score_min` is 45 where the originals had 70 on another scale of scores.
    """

    min_bars: tuple[int, int, int, int] = (20, 24, 7, 3)
    quality_open: float = 0.90
    quality_hold: float = 0.88
    quality_watch: float = 0.85
    ev_min: float = 0.0
    spread_open_bps: float = 35.0
    spread_hold_bps: float = 38.0
    impact_open_bps: float = 7.0
    impact_hold_bps: float = 8.0
    impact_notional_usdt: float = 50_000.0
    obi_open: float = 0.30
    obi_hold: float = 0.33
    book_age_ms: float = 15_000.0
    room_structure_atr: float = 0.6
    room_book_ratio: float = 0.6
    new_room_structure_atr: float = 0.8
    new_room_book_ratio: float = 0.8
    breakout_atr: float = 0.25
    p0: float = 0.62
    dp0: float = 0.08
    new_p0: float = 0.62
    new_dp0: float = 0.08
    theta_f: float = 0.03
    theta_i_penalty: float = 0.02
    theta_i_reward: float = 0.01
    phi_f: float = 0.02
    phi_i_penalty: float = 0.01
    phi_i_reward: float = 0.005
    new_theta_i_reward: float = 0.008
    new_phi_i_reward: float = 0.004
    funding_guard_ms: int = 300_000
    coverage_min: float = 0.50
    dims_level: float = 30.0
    dims_min: int = 4
    mtf_min: float = 0.50
    micro_min: int = 2
    micro_atr_ratio_max: float = 2.5
    micro_volume_ratio_max: float = 3.5
    independence_low: float = 30.0
    independence_btc_trend: float = 60.0
    independence_score_min: float = 45.0
    lead_min: float = -80.0
    conflict_level: float = 30.0
    breadth_min: float = 0.20
    correlation_max: float = 0.80
    correlated_max: int = 3
    strength_ultra_new: float = 75.0
    strength_new_a: float = 75.0
    strength_new_b: float = 75.0
    strength_mature: float = 75.0
    min_score: float = 0.0


class TierParams(_Section, frozen=True):
    """Watch, hysteresis, K of N, cooldowns and lifetimes (§1.4, §1.5, §0.19).

    Without `watch_strength` half of a market without edge would be on Watch.
    """

    watch_p: float = 0.57
    watch_strength: float = 45.0
    watch_fails_max: int = 1
    hysteresis: float = 0.07
    k: int = 2
    n: int = 3
    cooldown_ms: int = 90_000
    impact_cooldown_ms: int = 120_000
    spread_cooldown_ms: int = 90_000
    obi_cooldown_ms: int = 60_000
    quality_cooldown_ms: int = 180_000
    diversify_ms: int = 7_200_000
    ttl_ms: int = 28_800_000
    new_ttl_ms: int = 10_800_000


class PlanParams(_Section, frozen=True):
    """Entry band, stop and targets (§1.9, §0.7), in ATR of the 1h bars on log prices."""

    band_base_atr: float = 0.02
    band_extension: float = 0.10
    band_far_atr: float = 0.01
    anchor_max_atr: float = 0.25
    stop_atr: float = 1.8
    stop_pivot_atr: float = 0.1
    stop_soft_atr: float = 0.1
    stop_min_atr: float = 0.5
    tp1_r: float = 1.0
    tp2_r: float = 2.5
    tp2_cramped_r: float = 1.8
    tp2_floor_r: float = 1.2
    cramped_atr: float = 0.6
    extreme_margin_frac: float = 0.002


class NewCoinParams(_Section, frozen=True):
    """The new-coin channel (§1.8, §0.6): who is in it, how it fades out, what ignites."""

    age_days: float = 14.0
    bars_1h: int = 400
    full_bars_1m: int = 400
    blend_hours: float = 48.0
    ignition_min: int = 3
    anchor_atr: float = 0.8
    speed_atr: float = 0.25
    taker_share: float = 0.62
    obi: float = 0.05
    rvol: float = 3.0
    rvol_5m: float = 2.0
    exhaustion_atr: float = 2.0
    exhaustion_taker: float = 0.60
    exhaustion_turnover: float = 0.60
    watch_only_minutes: float = 3.0
    careful_minutes: float = 8.0
    careful_p: float = 0.03
    main_minutes: float = 15.0
    crowding: float = 0.5
    crowding_hours: float = 72.0
    beta_btc: float = 0.5
    beta_eth: float = 0.3
    phase_risk: tuple[float, float, float, float] = (0.3, 0.5, 0.7, 1.0)
    entry_atr: float = 0.05
    stop_atr: float = 1.8
    prime_max: int = 1
    tier_p: tuple[float, float, float] = (0.70, 0.65, 0.63)
    tier_dims: tuple[int, int, int] = (6, 5, 4)
    tier_edges_hours: tuple[float, float, float] = (24.0, 168.0, 400.0)
    tier_blend_hours: tuple[float, float, float] = (12.0, 24.0, 24.0)


class ParamSet(_Section, frozen=True):
    """Everything a decision depends on besides the data. `version` names it in every decision."""

    version: str = "v6.1"
    weights: dict[str, float] = msgspec.field(default_factory=lambda: _weights(_V61))
    new_weights: dict[str, float] = msgspec.field(default_factory=lambda: _weights(_NEW_COIN))
    regime_weights: dict[str, dict[str, float]] = msgspec.field(default_factory=_regime_weights)
    regime_blend: float = 0.30
    chain: ChainParams = ChainParams()
    new_chain: ChainParams = ChainParams(smooth=0.40, eta=0.03, publish=0.50, max_step=25.0)
    """Slower centre than the mature chain: minutes forget an ignition before 5m and 15m see it."""
    probability: ProbabilityParams = ProbabilityParams()
    filters: FilterParams = FilterParams()
    risk: RiskParams = RiskParams()
    cost: CostParams = CostParams()
    gates: GateParams = GateParams()
    tiers: TierParams = TierParams()
    plan: PlanParams = PlanParams()
    new_coin: NewCoinParams = NewCoinParams()
    accept_synthetic_flow: bool = False

    def validate(self) -> ParamSet:
        """Return itself, or raise ValueError with one line: key, what was found, what is allowed."""
        _check_weights("weights", self.weights)
        _check_weights("new_weights", self.new_weights)
        for regime in REGIMES:
            if regime not in self.regime_weights:
                raise ValueError(f"regime_weights.{regime}: found nothing, allowed: nine weights")
            _check_weights(f"regime_weights.{regime}", self.regime_weights[regime])
        for section, key, low, high in RANGES:
            holder = self if section == "" else getattr(self, section)
            _check_range(f"{section}.{key}".lstrip("."), getattr(holder, key), low, high)
        for name, lower, upper in ORDERS:
            low_value, high_value = _value(self, lower), _value(self, upper)
            if low_value > high_value:
                raise ValueError(
                    f"{name}: found {low_value} > {high_value}, allowed: {lower} <= {upper}"
                )
        knots = self.probability.calibration
        if len(knots) < 2 or any(a[0] >= b[0] for a, b in itertools.pairwise(knots)):
            raise ValueError(
                f"probability.calibration: found {knots}, allowed: two or more knots of rising |S|"
            )
        if any(not 0.0 <= p <= 1.0 for _, p in knots):
            raise ValueError(f"probability.calibration: found {knots}, allowed: p from 0 to 1")
        return self

    def to_json(self) -> str:
        """The set as JSON, for the journal (`ParamsPublished.body`)."""
        return msgspec.json.encode(self).decode()


def params_from_json(body: str | bytes) -> ParamSet:
    """Read and validate a set. Raises ValueError with a one-line text."""
    try:
        return msgspec.json.decode(body, type=ParamSet).validate()
    except msgspec.DecodeError as fault:
        raise ValueError(f"parameter set: {fault}") from fault


def _check_weights(key: str, weights: dict[str, float]) -> None:
    missing = ", ".join(name for name in FACTOR_NAMES if name not in weights)
    if missing:
        raise ValueError(
            f"{key}: found none for {missing}, allowed: a weight for each of the nine factors"
        )
    for name, weight in weights.items():
        _check_range(f"{key}.{name}", weight, 0.0, 100.0)
    total = sum(weights.values())
    if abs(total - 100.0) > 1e-6:
        raise ValueError(f"{key}: found a total of {total:g}, allowed: exactly 100")


def _check_range(key: str, value: float, low: float, high: float) -> None:
    if not (math.isfinite(value) and low <= value <= high):
        raise ValueError(f"{key}: found {value:g}, allowed: {low:g} to {high:g}")


def _value(params: ParamSet, dotted: str) -> float:
    section, key = dotted.split(".")
    return float(getattr(getattr(params, section), key))


def _without(params: ParamSet, names: tuple[str, ...], version: str) -> ParamSet:
    def cut(weights: dict[str, float]) -> dict[str, float]:
        kept = {name: 0.0 if name in names else w for name, w in weights.items()}
        total = sum(kept.values())
        return {name: 100.0 * w / total for name, w in kept.items()}

    regimes = {name: cut(row) for name, row in params.regime_weights.items()}
    return msgspec.structs.replace(
        params, version=version, weights=cut(params.weights), regime_weights=regimes
    )


EVIDENCE_2025_03: Final = _without(ParamSet(), ("T", "M"), "evidence-2025-03")
"""v6.1 without the weights that candles of 2024-11 to 2025-03 speak against (docs/EDGE.md): the
cross-section of T and M pointed the wrong way. Chosen after seeing the later months too, so it has
no clean out-of-sample test yet; v6.1 stays the default (§0.28)."""

SHIPPED: Final = {params.version: params for params in (ParamSet(), EVIDENCE_2025_03)}
"""The parameter sets that come with the program, by version."""
