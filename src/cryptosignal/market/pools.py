"""Elite, Overlay and Base pools: which symbols deserve attention (DOMAIN §1.2). Pure functions.

Inputs are a `MarketView`; each criterion is computed for all symbols at once and kept in the
result, so that a person can see why a symbol is in or out. Caching (24 h, 1 h) and the blacklist
belong to the caller, which knows the time.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from cryptosignal.market.views import BarsView, MarketView

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

ELITE_CACHE_MS: Final = 86_400_000
OVERLAY_CACHE_MS: Final = 3_600_000


class PoolSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Limits of the pools (§1.2). Shares are 0–1, quality points 0–100."""

    elite_quote_usdt: float = 5_000_000.0
    elite_trades: float = 10_000.0
    elite_anomaly_min: float = 40.0
    elite_quality_min: float = 60.0
    elite_move_max: float = 0.20
    elite_volume_hold: float = 0.30
    elite_chase: float = 0.03
    overlay_quote_usdt: float = 5_000_000.0
    overlay_hour_usdt: float = 5_000_000.0
    overlay_new_quote_usdt: float = 10_000_000.0
    overlay_new_hours: tuple[float, float] = (1.0, 720.0)
    overlay_move: float = 0.015
    overlay_surge: float = 1.2
    overlay_cvd: float = 0.025
    overlay_z: float = 1.0
    overlay_chase: float = 0.05
    base_quote_usdt: float = 5_000_000.0
    base_z: float = 0.5
    base_min: int = 20
    liquid_quote_usdt: float = 3_000_000.0
    liquid_max: int = 200

    def __post_init__(self) -> None:
        """Raise ValueError with one line for a value that cannot work."""
        for key in ("elite_move_max", "elite_chase", "overlay_chase"):
            value = getattr(self, key)
            if not 0.0 <= value <= 1.0:
                raise ValueError(f"pools.{key}: found {value}, allowed: a share from 0 to 1")
        for key in ("base_min", "liquid_max"):
            value = getattr(self, key)
            if not 0 <= value <= 1_000:
                raise ValueError(f"pools.{key}: found {value}, allowed: 0 to 1000")
        low, high = self.overlay_new_hours
        if not 0.0 <= low <= high:
            raise ValueError(
                f"pools.overlay_new_hours: found {[low, high]}, allowed: two hours, the first not above"
            )


@dataclass(frozen=True, slots=True)
class Pool:
    """Symbols in order of rank, and the criteria of every symbol by name, [symbol]."""

    symbols: tuple[str, ...]
    criteria: dict[str, Floats] = field(default_factory=dict)


def elite(view: MarketView, settings: PoolSettings | None = None) -> Pool:
    """Elite: liquid, unusual, of quality on a side, and not a chase; by quality (§1.2 L0–L4)."""
    own = settings or PoolSettings()
    hours = view.bars["1h"]
    trades = _sum(hours.trades, 24)
    liquid = (view.quote_volume_24h >= own.elite_quote_usdt) & (trades >= own.elite_trades)
    anomaly, parts = anomaly_score(view)
    long, short = quality(view)
    best = np.fmax(long, short)
    safe = _safe(hours, own)
    inside = view.active & liquid & (anomaly >= own.elite_anomaly_min)
    inside = inside & (best >= own.elite_quality_min) & safe
    criteria = {
        "liquidity": liquidity_score(view.quote_volume_24h, trades),
        "anomaly": anomaly,
        "quality_long": long,
        "quality_short": short,
        "safe": safe.astype(float),
        **parts,
    }
    return Pool(_ranked(view, inside, best), criteria)


def overlay(view: MarketView, elite_pool: Pool, settings: PoolSettings | None = None) -> Pool:
    """Overlay: new coins with volume, or two of three in sync within the hour; without Elite."""
    own = settings or PoolSettings()
    hours = view.bars["1h"]
    age = (view.time_ms - view.onboard_ms) / 3_600_000
    low, high = own.overlay_new_hours
    young = (age >= low) & (age <= high) & (view.quote_volume_24h >= own.overlay_new_quote_usdt)
    move = np.abs(_change(hours.close, 1))
    surge = _ratio(hours.volume, 5, 20)
    flow = _mixed_share(view)
    known = np.stack([move >= own.overlay_move, surge >= own.overlay_surge,
                      np.abs(flow) >= own.overlay_cvd])  # fmt: skip
    z = z_24h(hours)
    sync = (known.sum(axis=0) >= 2) & (np.abs(z) >= own.overlay_z)
    sync &= view.quote_volume_24h >= own.overlay_quote_usdt
    sync &= _last(hours.quote) >= own.overlay_hour_usdt
    sync &= _off_extremes(hours, own.overlay_chase)
    inside = view.active & (young | sync)
    inside &= ~np.isin(np.array(view.symbols), np.array(elite_pool.symbols, dtype=np.str_))
    criteria = {
        "new": young.astype(float),
        "move_1h": move,
        "surge": surge,
        "cvd_1h": flow,
        "z24": z,
    }
    return Pool(_ranked(view, inside, np.abs(np.nan_to_num(z))), criteria)


def base(view: MarketView, settings: PoolSettings | None = None) -> Pool:
    """Base: liquid and moving; at least `base_min` by liquidity."""
    own = settings or PoolSettings()
    z = z_24h(view.bars["1h"])
    liquid = view.active & (view.quote_volume_24h >= own.base_quote_usdt)
    inside = liquid & (np.abs(z) >= own.base_z)
    volume = np.nan_to_num(view.quote_volume_24h)
    if inside.sum() < own.base_min:
        by_volume = np.argsort(-np.where(view.active, volume, -1.0), kind="stable")
        inside[by_volume[: own.base_min]] = True
        inside &= view.active
    return Pool(_ranked(view, inside, volume), {"z24": z})


def liquid(view: MarketView, settings: PoolSettings | None = None) -> Pool:
    """The simple universe (§1.2, v6.2): 24h quote at least 3 M USDT, ranked by 0.7·|24h %| +
    0.3·100·volume/largest volume, the first 200."""
    own = settings or PoolSettings()
    volume = np.nan_to_num(view.quote_volume_24h)
    move = 100.0 * np.expm1(_change(view.bars["1h"].close, 24))
    inside = view.active & (volume >= own.liquid_quote_usdt)
    largest = float(volume[inside].max()) if inside.any() else 1.0
    score = 0.7 * np.abs(np.nan_to_num(move)) + 30.0 * volume / largest
    ranked = _ranked(view, inside, score)[: own.liquid_max]
    return Pool(ranked, {"move_24h_percent": move, "liquid_score": score})


def merged(overlay_pool: Pool, elite_pool: Pool) -> tuple[str, ...]:
    """Overlay first, then Elite, each symbol once."""
    return tuple(dict.fromkeys((*overlay_pool.symbols, *elite_pool.symbols)))


def liquidity_score(quote_usdt: Floats, trades: Floats) -> Floats:
    """0.7·(volume/50 M) + 0.3·(trades/100 k), each capped at 1."""
    return 0.7 * np.minimum(quote_usdt / 50e6, 1.0) + 0.3 * np.minimum(trades / 100e3, 1.0)


def anomaly_score(view: MarketView) -> tuple[Floats, dict[str, Floats]]:
    """Mean of the top three of six anomalies, each 0–100 (§1.2 L2), and the six."""
    hours = view.bars["1h"]
    returns = np.diff(np.log(_newest(hours.close, 61)), axis=1)
    price_24, volume = _change(hours.close, 24), _ratio(hours.volume, 5, 20)
    with np.errstate(invalid="ignore", divide="ignore"):
        jitter = returns[:, -5:].std(axis=1) / returns[:, -20:].std(axis=1)
    divergence = (volume < 1.0) & (np.abs(price_24) > 0.01)  # a move that volume does not follow
    raw = {
        "anomaly_z": np.abs(z_24h(hours)) * 20.0,
        "anomaly_surge": (volume - 1.0) * 50.0,
        "anomaly_oi": 500.0 * np.abs(_oi_change(view)),
        "anomaly_divergence": 30.0 * divergence,
        "anomaly_jitter": (jitter - 1.0) * 30.0,
        "anomaly_flow": 200.0 * np.abs(_net_share(hours, 6)),
    }
    parts = {name: np.clip(np.nan_to_num(value), 0.0, 100.0) for name, value in raw.items()}
    top = np.sort(np.stack(list(parts.values())), axis=0)[-3:]
    return top.mean(axis=0), parts


def quality(view: MarketView) -> tuple[Floats, Floats]:
    """Long and short quality 0–100 (§1.2 L3): trend .35, momentum .25, volume .20, OI .20."""
    hours = view.bars["1h"]
    close = np.log(_newest(hours.close, 80))
    gap = _ema(close, 5) - _ema(close, 20)
    share = (gap[:, -6:] > 0.0).mean(axis=1)
    momentum = _change(hours.close, 6)
    volume = np.clip(100.0 * (_ratio(hours.volume, 5, 20) - 0.5), 0.0, 100.0)
    oi = _oi_change(view)
    out = []
    for side, trend in ((1.0, share), (-1.0, 1.0 - share)):
        moving = np.where(side * momentum > 0.0, 100.0, 30.0)
        fit = np.where(np.isnan(oi), 50.0, np.where((side * momentum > 0) & (oi > 0), 100.0, 20.0))
        score = 0.35 * 100.0 * trend + 0.25 * moving + 0.20 * volume + 0.20 * fit
        out.append(np.where(np.isnan(momentum), np.nan, score))
    return out[0], out[1]


def z_24h(hours: BarsView) -> Floats:
    """Robust z of the newest 24h log return against those of the history in the view."""
    close = np.log(hours.close)
    if close.shape[1] < 50:
        return np.full(close.shape[0], np.nan)
    change = close[:, 24:] - close[:, :-24]
    out = np.full(close.shape[0], np.nan)
    good = (~np.isnan(change)).sum(axis=1) >= 24
    some = change[good]
    centre = np.nanmedian(some, axis=1)
    spread = 1.4826 * np.nanmedian(np.abs(some - centre[:, None]), axis=1)
    out[good] = (some[:, -1] - centre) / np.maximum(spread, 1e-4)
    return out


def _safe(hours: BarsView, own: PoolSettings) -> Flags:
    """L4: no violent hour, volume still there, not at the edge of its range."""
    day = np.abs(np.diff(np.log(_newest(hours.close, 25)), axis=1))
    calm = np.nanmax(np.nan_to_num(day), axis=1) <= np.log1p(own.elite_move_max)
    recent, before = (
        _sum(hours.volume, 6) / 6.0,
        (_sum(hours.volume, 72) - _sum(hours.volume, 6)) / 66,
    )
    return calm & (recent >= own.elite_volume_hold * before) & _off_extremes(hours, own.elite_chase)


def _off_extremes(hours: BarsView, share: float) -> Flags:
    high = np.fmax.reduce(_newest(hours.high, 72), axis=1)
    low = np.fmin.reduce(_newest(hours.low, 72), axis=1)
    close = _last(hours.close)
    with np.errstate(invalid="ignore", divide="ignore"):
        return (np.log(high / close) >= share) & (np.log(close / low) >= share)


def _ranked(view: MarketView, inside: Flags, score: Floats) -> tuple[str, ...]:
    places = np.flatnonzero(inside).tolist()
    places.sort(key=lambda i: (-float(score[i]), view.symbols[i]))
    return tuple(view.symbols[i] for i in places)


def _newest(values: Floats, count: int) -> Floats:
    return values[:, -count:]


def _last(values: Floats) -> Floats:
    return values[:, -1]


def _sum(values: Floats, count: int) -> Floats:
    return np.nansum(values[:, -count:], axis=1)


def _change(close: Floats, bars: int) -> Floats:
    if close.shape[1] <= bars:
        return np.full(close.shape[0], np.nan)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.log(close[:, -1] / close[:, -1 - bars])


def _ratio(volume: Floats, short: int, long: int) -> Floats:
    with np.errstate(invalid="ignore", divide="ignore"):
        return (_sum(volume, short) / short) / (_sum(volume, long) / long)


def _net_share(hours: BarsView, bars: int) -> Floats:
    with np.errstate(invalid="ignore", divide="ignore"):
        volume = hours.volume[:, -bars:].sum(axis=1)
        return (2.0 * hours.taker_buy[:, -bars:].sum(axis=1) - volume) / volume


def _mixed_share(view: MarketView) -> Floats:
    """Net taker share of the newest hour, futures and spot by their volumes (§1.2, "CVD mix"); of
    futures alone where the same hour of spot is not known."""
    hours, spot = view.bars["1h"], view.spot_1h
    own = _net_share(hours, 1)
    if spot is None or not len(spot.open_ms) or not len(hours.open_ms):
        return own
    at = int(np.searchsorted(spot.open_ms, hours.open_ms[-1]))
    if at == len(spot.open_ms) or spot.open_ms[at] != hours.open_ms[-1]:
        return own
    volume = hours.volume[:, -1] + spot.volume[:, at]
    taken = hours.taker_buy[:, -1] + spot.taker_buy[:, at]
    with np.errstate(invalid="ignore", divide="ignore"):
        both = (2.0 * taken - volume) / volume
    return np.where(np.isnan(both), own, both)


def _oi_change(view: MarketView) -> Floats:
    series = view.open_interest
    if series is None or series.value.shape[1] < 25:
        return np.full(len(view.symbols), np.nan)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.log(series.value[:, -1] / series.value[:, -25])


def _ema(values: Floats, period: int) -> Floats:
    alpha = 2.0 / (period + 1.0)
    out = values.copy()
    for k in range(1, values.shape[1]):
        out[:, k] = alpha * values[:, k] + (1.0 - alpha) * out[:, k - 1]
    return out
