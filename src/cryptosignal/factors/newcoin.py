"""The new-coin channel (DOMAIN §1.8, §0.6): who is in it, its faster factors, ignition, exhaustion.

A coin is in it by its listing time, decided before anything is fetched. Its T, M, S, V, C come from
1m, 5m and 15m bars through a faster chain and are blended with the mature ones as it grows up.
All is odd under the mirror of §0.11: anchors and averages are taken of log prices.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cryptosignal.domain.params import NewCoinParams, ParamSet
from cryptosignal.factors import flow, window
from cryptosignal.factors.frame import ends_of
from cryptosignal.factors.panel import ATR_BARS, Panel, panel_of
from cryptosignal.factors.price import soft_sign
from cryptosignal.factors.standardise import reach, standardise
from cryptosignal.factors.table import Factor
from cryptosignal.factors.window import filled
from cryptosignal.market.views import BarsView, MarketView

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Columns = dict[str, Floats]

_TAPS: Final = 40
_VOTES: Final = ("ignition_up", "ignition_down", "exhausted_up", "exhausted_down")
_LONG = ATR_BARS + 1


def newness(hours: Floats, own: NewCoinParams) -> Floats:
    """1 in the channel, 0 out of it, linear over `blend_hours` between.

    `hours` since listing; a coin of unknown age is not new, however few bars a cache holds of it
    (§3.22), its short history shrinks p instead. Derived from the listing time, it needs no memory
    of when a coin left.
    """
    edge = max(own.age_days * 24.0, float(own.bars_1h))
    faded = 1.0 - (hours - edge) / max(own.blend_hours, 1e-9)
    return np.clip(filled(faded), 0.0, 1.0)


def zlema(panel: Panel, half_life: int) -> Floats:
    """Zero-lag EMA of log closes now minus three bars ago, per bar, in ATR of the interval.

    EMA (by half-life) of 2x − x[lag ago], lag the half-life: Ehlers and Way (2010), truncated.
    """
    lag, alpha = half_life, 1.0 - 0.5 ** (1.0 / half_life)
    taps = window.decay_taps(alpha, _TAPS)
    count = panel.count + 3
    close = panel.close[:, panel.bars - (count + _TAPS - 1 + lag) :]
    led = 2.0 * close[:, lag:] - close[:, :-lag]
    line = window.fir(led, taps)
    return (line[:, 3:] - line[:, :-3]) / 3.0 / _positive(panel.atr())


def stretch(panel: Panel, half_life: int) -> Floats:
    """(P − EWMA)/ATR of log closes, EWMA by half-life."""
    taps = window.decay_taps(1.0 - 0.5 ** (1.0 / half_life), 60)
    line = window.fir(panel.cut(panel.close, 60), taps)
    return (panel.at(panel.close) - line) / _positive(panel.atr())


def surge(panel: Panel) -> Floats:
    """ln(v10/v60) × sign of the 10-bar move in units of one ATR."""
    ten = window.fir(panel.cut(panel.volume, 10), window.mean_taps(10))
    sixty = window.fir(panel.cut(panel.volume, 60), window.mean_taps(60))
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = np.log(ten / sixty)
    ratio = np.where(np.isfinite(ratio), np.clip(ratio, -3.0, 3.0), np.nan)
    return ratio * soft_sign(panel.change(10) / _positive(panel.atr()))


NEW_FACTORS: Final[tuple[Factor, ...]] = (
    Factor("T", "ATR per bar", ("bars",), "1m", _LONG, 0.02, lambda p, _: zlema(p, 5), "§1.8"),
    Factor("M", "ATR per bar", ("bars",), "5m", _LONG, 0.02, lambda p, _: zlema(p, 8), "§1.8"),
    Factor("S", "ATR", ("bars",), "15m", _LONG, 0.10, lambda p, _: stretch(p, 20), "§1.8"),
    Factor("V", "log ratio", ("bars",), "1m", _LONG, 0.02, lambda p, _: surge(p), "§1.8"),
    Factor("C", "share", ("taker",), "1m", _LONG, 0.005, lambda p, _: flow.cvd(p), "§1.3 C"),
)
"""The factors of the channel; O, L, B and Q are those of every coin."""


def columns(
    view: MarketView, times: Ints, facts: Mapping[str, Floats], params: ParamSet, out: Columns
) -> None:
    """Blend `score.*` of new coins, add `ctx.is_new` and the ignition columns."""
    fresh = newness(out["ctx.age_days"] * 24.0, params.new_coin)
    out["ctx.is_new"] = fresh
    for name in _VOTES:
        out[f"ctx.{name}"] = np.full(fresh.shape, np.nan)
    rows = np.flatnonzero((fresh > 0.0).any(axis=1) & view.active)
    if not len(rows):
        return
    for factor in NEW_FACTORS:
        bars = view.bars.get(factor.interval)
        if bars is not None and len(bars.open_ms):
            _blend(bars, factor, times, rows, fresh[rows], params, out)
    minutes = view.bars.get("1m")
    if minutes is not None and len(minutes.open_ms):
        obi = facts.get("obi")
        tilt = np.full(fresh.shape, np.nan) if obi is None else np.asarray(obi)
        anchor = _anchor(view, minutes, times, rows)
        votes = ignite(_at(minutes, times, rows), anchor, tilt[rows], params.new_coin)
        for name, value in zip(_VOTES, votes, strict=True):
            out[f"ctx.{name}"][rows, -1:] = value  # of the newest moment; earlier ones stay unknown


def _blend(
    bars: BarsView,
    factor: Factor,
    times: Ints,
    rows: Ints,
    fresh: Floats,
    params: ParamSet,
    out: Columns,
) -> None:
    lags, ends = params.tiers.n, ends_of(bars, times)
    span = int(ends[-1] - ends[0])
    count = span + reach(params.new_chain, lags)
    panel = panel_of(bars, count, factor.lookback, int(ends[-1]), rows)
    score = standardise(factor.compute(panel, params), factor.floor, params.new_chain, span + lags)
    pick = ends - ends[0]
    for lag in range(lags):
        name = f"score.{factor.name}" + (f".{lag}" if lag else "")
        young, old = score[:, lags - 1 - lag + pick], out[name][rows]
        mixed = fresh * young + (1.0 - fresh) * old
        mixed = np.where(np.isnan(young) | (fresh <= 0.0), old, mixed)
        out[name][rows] = np.where(np.isnan(old) & (fresh > 0.0), young, mixed)


def _at(minutes: BarsView, times: Ints, rows: Ints) -> Panel:
    """The minutes before the newest of `times`."""
    end = int(ends_of(minutes, times)[-1])
    return panel_of(minutes, 1, ATR_BARS + 20, end, rows)


def _anchor(view: MarketView, minutes: BarsView, times: Ints, rows: Ints) -> Floats:
    """Log VWAP since listing: 1h bars where they reach back to it, else the 1m bars there are."""
    end = int(ends_of(minutes, times)[-1])
    short = _log_vwap(minutes, end, rows)
    hours = view.bars.get("1h")
    if hours is None or not len(hours.open_ms):
        return short
    long = _log_vwap(hours, int(ends_of(hours, times)[-1]), rows)
    old = (times[-1] - view.onboard_ms[rows]) > minutes.data.shape[2] * 60_000
    return np.where(old & ~np.isnan(long), long, short)


def _log_vwap(bars: BarsView, end: int, rows: Ints) -> Floats:
    data = bars.data[:, rows, :end]
    with np.errstate(invalid="ignore", divide="ignore"):
        typical = (np.log(data[1]) + np.log(data[2]) + np.log(data[3])) / 3.0
        known = np.isfinite(typical) & (data[4] > 0.0)
        weight = np.where(known, data[4], 0.0)
        total = weight.sum(axis=1)
        value = (weight * np.where(known, typical, 0.0)).sum(axis=1) / total
    return np.where(total > 0.0, value, np.nan)


def ignite(
    panel: Panel, anchor: Floats, obi: Floats, own: NewCoinParams
) -> tuple[Floats, Floats, Floats, Floats]:
    """(ignition up, down; exhaustion for longs, for shorts) of the newest minute, [row, 1].

    Six signs, all counted in one direction: off the anchor, speed, taker share, book, volume, CVD.
    Exhausted: far off the anchor with the flow turned, two fast bars against, or the book turned
    with takers against.
    """
    atr = _positive(panel.atr())
    price = panel.at(panel.close)
    off = (price - anchor[:, None]) / atr
    first, second = (
        panel.change(1) / atr,
        (panel.at(panel.close, 1) - panel.at(panel.close, 2)) / atr,
    )
    cvd = flow.cvd(panel)
    with np.errstate(invalid="ignore", divide="ignore"):
        five = panel.taker[:, -5:].sum(axis=1) / panel.volume[:, -5:].sum(axis=1)
        base = panel.volume[:, -70:-10].mean(axis=1)
        loud = (panel.volume[:, -10:].mean(axis=1) >= own.rvol * base)[:, None]
    share = five[:, None]
    votes = []
    for side in (1.0, -1.0):
        taken = share if side > 0.0 else 1.0 - share
        quick = (side * first >= own.speed_atr) & (side * second >= own.speed_atr)
        signs = (
            side * off >= own.anchor_atr,
            quick,
            taken >= own.taker_share,
            side * obi[:, -1:] >= own.obi,
            loud & (side * panel.change(10) > 0.0),
            side * cvd > 0.0,
        )
        votes.append(np.where(np.isnan(price), np.nan, np.sum(signs, axis=0, dtype=float)))
    spent = []
    for side in (1.0, -1.0):
        against = 1.0 - share if side > 0.0 else share
        far = (side * off > own.exhaustion_atr) & (side * cvd < 0.0)
        falling = (side * first <= -own.speed_atr) & (side * second <= -own.speed_atr)
        turned = (side * obi[:, -1:] <= -own.obi) & (against >= own.exhaustion_taker)
        spent.append(np.where(np.isnan(price), np.nan, (far | falling | turned).astype(float)))
    return votes[0], votes[1], spent[0], spent[1]


def _positive(atr: Floats) -> Floats:
    return np.where(atr > 0.0, atr, np.nan)
