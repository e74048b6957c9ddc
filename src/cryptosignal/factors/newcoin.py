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
from cryptosignal.factors import context, flow, window
from cryptosignal.factors.age import newness
from cryptosignal.factors.frame import ends_of
from cryptosignal.factors.panel import ATR_BARS, Panel, panel_of
from cryptosignal.factors.price import soft_sign
from cryptosignal.factors.standardise import reach, standardise
from cryptosignal.factors.table import CVD_CROWDED, Factor
from cryptosignal.factors.window import filled
from cryptosignal.market.views import BarsView, MarketView

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Columns = dict[str, Floats]

_TAPS: Final = 40
_VOTES: Final = ("ignition_up", "ignition_down", "exhausted_up", "exhausted_down")
_ANCHORS: Final = ("thrust_up", "thrust_down", "avwap", "zlema_5m", "atr_1m")
_LONG = ATR_BARS + 1


def zlema(panel: Panel, half_life: int) -> Floats:
    """Zero-lag EMA of log closes now minus three bars ago, per bar, in ATR of the interval.

    EMA (by half-life) of 2x − x[lag ago], lag the half-life: Ehlers and Way (2010), truncated.
    """
    line = zero_lag(panel, half_life)
    return (line[:, 3:] - line[:, :-3]) / 3.0 / _positive(panel.atr())


def zero_lag(panel: Panel, half_life: int) -> Floats:
    """The zero-lag EMA itself, log prices, [row, count + 3]."""
    lag, alpha = half_life, 1.0 - 0.5 ** (1.0 / half_life)
    taps = window.decay_taps(alpha, _TAPS)
    close = panel.close[:, panel.bars - (panel.count + 3 + _TAPS - 1 + lag) :]
    return window.fir(2.0 * close[:, lag:] - close[:, :-lag], taps)


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
    Factor(
        "C",
        "share",
        ("taker",),
        "1m",
        _LONG,
        0.005,
        lambda p, _: flow.cvd(p),
        "§1.3 C",
        CVD_CROWDED,
    ),
)
"""The factors of the channel; O, L, B and Q are those of every coin."""


def columns(
    view: MarketView, times: Ints, facts: Mapping[str, Floats], params: ParamSet, out: Columns
) -> None:
    """Blend `score.*` and the modulators of new coins; add `ctx.is_new` and the minute columns."""
    fresh = newness(out["ctx.age_days"] * 24.0, params.new_coin)
    out["ctx.is_new"] = fresh
    for name in (*_VOTES, *_ANCHORS):
        out[f"ctx.{name}"] = np.full(fresh.shape, np.nan)
    rows = np.flatnonzero((fresh > 0.0).any(axis=1) & view.active)
    if not len(rows):
        return
    for factor in NEW_FACTORS:
        bars = view.bars.get(factor.interval)
        if bars is not None and len(bars.open_ms):
            _blend(bars, factor, times, rows, fresh[rows], params, out)
    _modulate(view, times, rows, fresh[rows], params, out)
    minutes = view.bars.get("1m")
    if minutes is None or not len(minutes.open_ms):
        return
    tilt = facts.get("obi")
    for k in range(len(times)):  # minutes between two moments are far more than one of them reads
        now = times[k : k + 1]
        young = rows[fresh[rows, k] > 0.0]
        if len(young):
            obi = np.full((len(young), 1), np.nan) if tilt is None else tilt[young, k : k + 1]
            _minutes(
                view, minutes, now, young, obi, params, {n: v[:, k : k + 1] for n, v in out.items()}
            )


def _minutes(
    view: MarketView,
    minutes: BarsView,
    time: Ints,
    rows: Ints,
    obi: Floats,
    params: ParamSet,
    out: Columns,
) -> None:
    """Ignition, exhaustion, momentum and the anchors of the plan at one moment, for some rows."""
    panel, anchor = _at(minutes, time, rows), _anchor(view, minutes, time, rows)
    for name, value in zip(_VOTES, ignite(panel, anchor, obi, params.new_coin), strict=True):
        out[f"ctx.{name}"][rows] = value
    out["ctx.atr_1m"][rows] = panel.atr()
    out["ctx.avwap"][rows] = np.exp(anchor)[:, None]
    slopes = [zlema(panel, 5)]
    five, fifteen = view.bars.get("5m"), view.bars.get("15m")
    if five is not None and len(five.open_ms):
        wide = panel_of(five, 1, _LONG, int(ends_of(five, time)[-1]), rows)
        slopes.append(zlema(wide, 8))
        out["ctx.zlema_5m"][rows] = np.exp(zero_lag(wide, 8)[:, -1:])
    if fifteen is not None and len(fifteen.open_ms):
        wide = panel_of(fifteen, 1, _LONG, int(ends_of(fifteen, time)[-1]), rows)
        slopes.append(stretch(wide, 20))
    for sign, name in ((1.0, "thrust_up"), (-1.0, "thrust_down")):
        out[f"ctx.{name}"][rows] = thrust([sign * slope for slope in slopes])


def thrust(slopes: list[Floats]) -> Floats:
    """1 where the 1m and the 5m slope are positive and the 15m reading is not negative, else 0; NaN
    without the 1m or the 5m slope (§1.8 momentum). `slopes`: 1m, 5m, 15m, as far as there are."""
    nothing = np.full_like(slopes[0], np.nan)
    one, five = slopes[0], slopes[1] if len(slopes) > 1 else nothing
    wide = filled(slopes[2]) if len(slopes) > 2 else np.zeros_like(one)
    agree = (one > 0.0) & (five > 0.0) & (wide >= 0.0)
    return np.where(np.isnan(one) | np.isnan(five), np.nan, agree.astype(float))


def _modulate(
    view: MarketView, times: Ints, rows: Ints, fresh: Floats, params: ParamSet, out: Columns
) -> None:
    """I of a new coin counts BTC .5 and ETH .3; its crowding is neutral for the first 72 bars."""
    own = params.new_coin
    hours = view.bars.get("1h")
    if hours is not None and len(hours.open_ms) and view.btc >= 0:
        _blend_independence(view, hours, times, rows, fresh, params, out)
    early = out["ctx.age_days"][rows] * 24.0 < own.crowding_hours
    for side in ("long", "short"):
        for name, neutral in ((f"mod.crowding_{side}", own.crowding), (f"mod.gF_{side}", 0.0)):
            out[name][rows] = np.where(early, neutral, out[name][rows])


def _blend_independence(
    view: MarketView,
    hours: BarsView,
    times: Ints,
    rows: Ints,
    fresh: Floats,
    params: ParamSet,
    out: Columns,
) -> None:
    taps = window.decay_taps(params.probability.g_smooth, params.probability.g_taps)
    extra, ends = len(taps) - 1, ends_of(hours, times)
    beside = [p for p in (view.btc, view.eth) if p >= 0]
    places = np.array([*rows, *beside], dtype=np.int64)
    count = int(ends[-1] - ends[0]) + 1 + extra
    panel = panel_of(hours, count, context.RETURN_BARS + 1, int(ends[-1]), places)
    btc, eth = len(rows), len(rows) + 1 if view.eth >= 0 else -1
    shares = (params.new_coin.beta_btc, params.new_coin.beta_eth)
    score = context.independence(panel, btc, eth, shares)[0][: len(rows)]
    pick = ends - ends[0] + extra
    g = window.fir(filled(np.tanh(3.0 * (score / 100.0 - 0.5))), taps)[:, pick - extra]
    for name, young in (("mod.I", score[:, pick]), ("mod.gI", g)):
        old = out[name][rows]
        mixed = fresh * young + (1.0 - fresh) * old
        out[name][rows] = np.where(np.isnan(young) | (fresh <= 0.0), old, mixed)


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
    raw, chain = factor.compute(panel, params), params.new_chain
    score = standardise(raw, factor.floor, chain, span + lags, factor.crowded)
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
    Exhausted: far off the anchor with the flow turned, two fast bars against, the book turned with
    takers against, or turnover without progress.
    """
    atr = _positive(panel.atr())
    price = panel.at(panel.close)
    off = (price - anchor[:, None]) / atr
    first = panel.change(1) / atr
    second = (panel.at(panel.close, 1) - panel.at(panel.close, 2)) / atr
    cvd = flow.cvd(panel)
    with np.errstate(invalid="ignore", divide="ignore"):
        bought = (panel.taker[:, -5:].sum(axis=1) / panel.volume[:, -5:].sum(axis=1))[:, None]
    loud, burnt = _loud(panel, own), _burnt(panel, atr, own)
    known = ~np.isnan(price)
    votes, spent = [], []
    for side in (1.0, -1.0):
        taken = bought if side > 0.0 else 1.0 - bought
        quick = (side * first >= own.speed_atr) & (side * second >= own.speed_atr)
        signs = (
            side * off >= own.anchor_atr,
            quick,
            taken >= own.taker_share,
            side * obi[:, -1:] >= own.obi,
            loud & (side * panel.change(10) > 0.0),
            side * cvd > 0.0,
        )
        far = (side * off > own.exhaustion_atr) & (side * cvd < 0.0)
        falling = (side * first <= -own.speed_atr) & (side * second <= -own.speed_atr)
        turned = (side * obi[:, -1:] <= -own.obi) & (1.0 - taken >= own.exhaustion_taker)
        votes.append(np.where(known, np.sum(signs, axis=0, dtype=float), np.nan))
        over = far | falling | turned | burnt
        spent.append(np.where(known, over.astype(float), np.nan))
    return votes[0], votes[1], spent[0], spent[1]


def _loud(panel: Panel, own: NewCoinParams) -> NDArray[np.bool_]:
    """RVOL: 10 minutes at 3 times the hour before them, or 5 minutes at 2 times (§1.8)."""
    out = np.zeros((panel.volume.shape[0], 1), dtype=np.bool_)
    for width, least in ((10, own.rvol), (5, own.rvol_5m)):
        before = panel.volume[:, -60 - width : -width].mean(axis=1)
        out[:, 0] |= panel.volume[:, -width:].mean(axis=1) >= least * np.maximum(before, 1e-300)
    return out


def _burnt(panel: Panel, atr: Floats, own: NewCoinParams) -> NDArray[np.bool_]:
    """Turnover without progress ("qvol/ATR", §1.8): the share of the hour's turnover that the last
    three minutes took, for each ATR that price went in them (one at least), is over the limit."""
    base = panel.volume[:, -60:]
    with np.errstate(invalid="ignore", divide="ignore"):
        share = (base[:, -3:].sum(axis=1) / base.sum(axis=1))[:, None]
        return share / np.maximum(np.abs(panel.change(3)) / atr, 1.0) > own.exhaustion_turnover


def _positive(atr: Floats) -> Floats:
    return np.where(atr > 0.0, atr, np.nan)
