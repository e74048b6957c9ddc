"""Columns around the scores at each decision time: volatility, trend of the market, room, micro.

Bars of every interval are joined as-of: at a decision time only bars whose close has passed exist.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import numpy as np
from numpy.typing import NDArray

from cryptosignal.domain.params import ChainParams, ParamSet
from cryptosignal.factors import context, flow, positioning, price, window
from cryptosignal.factors.frame import Frame, closes_of, ends_of, thin
from cryptosignal.factors.kernels import compiled_kernels, flat
from cryptosignal.factors.panel import ATR_BARS, Panel, as_of
from cryptosignal.factors.standardise import robust_z
from cryptosignal.factors.window import filled
from cryptosignal.ground.units import DAY_MS
from cryptosignal.market.views import BarsView, MarketView, SeriesView

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Columns = dict[str, Floats]

INTERVALS = ("1m", "5m", "15m", "1h", "4h", "1d")
"""The intervals of a receipt."""
_COHERENT = ("15m", "1h", "4h", "1d")
_OI_Z_BARS = 96
FUNDING_CHAIN = ChainParams(eta=0.03, scale_taps=90, scale_min=5)
"""Centre and spread of the funding rate: 90 points of its grid, 30 days at 8 h."""
_FUNDING_AGE_MS = 2 * DAY_MS
FUNDING_FLOOR = 0.00005
_DAY_BARS = 24


def columns(
    view: MarketView,
    hours: BarsView,
    times: Ints,
    facts: Mapping[str, Floats],
    params: ParamSet,
    frame: Frame,
    out: Columns,
) -> None:
    """Add `mod.*` and the bar-based `ctx.*` columns at each time."""
    panel, pick = thin(hours, times, context.ADX_LOOKBACK, logs=frame.logs)
    atr = panel.atr()[:, pick]
    out["ctx.close"] = np.exp(panel.at(panel.close)[:, pick])
    out["ctx.atr_1h"] = atr
    out["ctx.adx"] = context.adx(panel)[:, pick]
    out["ctx.ema10"] = np.exp(panel.ema(10, 30)[:, pick])
    _extremes(panel, pick, params, out)
    _coverage(view, hours, times, facts, out)
    _market(view, panel, pick, frame, out)
    _coherence(view, times, frame, out)
    _micro(view, times, atr, frame, out)
    _modulators(view, hours, times, facts, params, frame, out)


def _extremes(panel: Panel, pick: Ints, params: ParamSet, out: Columns) -> None:
    up, down = context.room(panel, params.gates.breakout_atr)
    high, low = context.extremes(panel, context.PIVOT_BARS)
    top, bottom = context.extremes(panel, context.ROOM_BARS)
    out["ctx.room_up_atr"], out["ctx.room_down_atr"] = up[:, pick], down[:, pick]
    out["ctx.pivot_high"], out["ctx.pivot_low"] = np.exp(high[:, pick]), np.exp(low[:, pick])
    out["ctx.high_72"], out["ctx.low_72"] = np.exp(top[:, pick]), np.exp(bottom[:, pick])


def _coverage(
    view: MarketView, hours: BarsView, times: Ints, facts: Mapping[str, Floats], out: Columns
) -> None:
    """Bars per interval, age, and how sure and how late the newest bar is.

    A fact `bars_1h` overrides the count where the view holds a part of a longer history.
    """
    for interval in INTERVALS:
        bars = hours if interval == "1h" else view.bars.get(interval)
        name = f"ctx.bars_{interval}"
        if bars is None or len(bars.open_ms) == 0:
            out[name] = np.zeros((len(view.symbols), len(times)))
            continue
        ends = ends_of(bars, times)
        if len(times) == 1:
            out[name] = _count(bars.close[:, : int(ends[-1])])[:, None]
            continue
        known = ~np.isnan(bars.close[:, : int(ends[-1])])
        total = np.cumsum(known, axis=1, dtype=float)
        out[name] = np.where(ends > 0, total[:, np.maximum(ends - 1, 0)], 0.0)
    if "bars_1h" in facts:
        out["ctx.bars_1h"] = np.array(facts["bars_1h"])
    ends = ends_of(hours, times)
    place = np.maximum(ends - 1, 0)
    has = (ends > 0) & (len(hours.open_ms) > 0)
    empty = np.full((len(view.symbols), len(times)), np.nan)
    if not len(hours.open_ms):
        out["ctx.finality"], out["ctx.lag_ms"], out["ctx.bar_ms"] = (
            empty,
            empty.copy(),
            empty.copy(),
        )
    else:
        out["ctx.finality"] = np.where(has, hours.finality[:, place].astype(float), np.nan)
        out["ctx.lag_ms"] = np.where(has, hours.lag_ms[:, place], np.nan)
        opened = np.where(has, hours.open_ms[place].astype(float), np.nan)
        out["ctx.bar_ms"] = np.broadcast_to(opened, empty.shape).copy()
    out["ctx.time_ms"] = np.repeat(times[None, :].astype(float), len(view.symbols), axis=0)
    out["ctx.age_days"] = (times[None, :] - view.onboard_ms[:, None]) / DAY_MS
    out["ctx.tick_size"] = np.repeat(view.tick_size[:, None], len(times), axis=1)


def receipts(view: MarketView, times: Ints, out: Columns) -> None:
    """Add `ctx.seen_*`: how the newest bar of each interval became known (D7)."""
    for interval in INTERVALS:
        bars = view.bars.get(interval)
        if bars is None or len(bars.open_ms) == 0:
            out[f"ctx.seen_{interval}"] = np.full((len(view.symbols), len(times)), np.nan)
        else:
            out[f"ctx.seen_{interval}"] = seen(bars, ends_of(bars, times), slice(None))


def seen(bars: BarsView, ends: Ints, rows: Ints | slice) -> Floats:
    """How the newest bar before each of `ends` became known, [row, end], as one number (see
    `seen_parts`): finality, source and lag. NaN where there is no bar."""
    place = np.maximum(ends - 1, 0)
    finality, source = bars.finality[rows][:, place], bars.source[rows][:, place]
    lag = np.round(bars.lag_ms[rows][:, place])
    lag = np.where(np.isfinite(lag), np.clip(lag, -_NO_LAG, _NO_LAG - 1.0), _NO_LAG)
    code = 32.0 * lag + 4.0 * (source + 1.0) + finality
    return np.where((ends > 0) & (finality > 0), code, np.nan)


def seen_parts(code: float) -> tuple[int, int, float]:
    """(finality, source or -1, lag ms or NaN) of a number of `seen` that is not NaN."""
    whole = int(code)
    lag = whole // 32
    return whole % 4, whole // 4 % 8 - 1, float("nan") if lag >= _NO_LAG else float(lag)


_NO_LAG = 2.0**40


def _count(x: Floats) -> Floats:
    """How many values of each row exist."""
    fast = compiled_kernels()
    if fast is None or not x.shape[1]:
        return (~np.isnan(x)).sum(axis=1, dtype=float)
    out = np.empty(len(x))
    line, (step,) = flat(x)
    fast.known(line, step, x.shape[1], out)
    return out


def _market(view: MarketView, panel: Panel, pick: Ints, frame: Frame, out: Columns) -> None:
    shape = out["ctx.close"].shape
    btc = context.market_trend(panel, view.btc)[pick]
    eth = context.market_trend(panel, view.eth)[pick]
    out["ctx.btc_trend"] = np.broadcast_to(btc, shape).copy()
    out["ctx.regime"] = np.broadcast_to(context.regime(btc, eth), shape).copy()
    score = out.get("score.T")
    if score is None:
        score = np.full(shape, np.nan)
    score = frame.of_market(np.where(view.active[:, None], score, np.nan))
    known = (~np.isnan(score)).sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        up = np.where(known > 0, (score > 0.0).sum(axis=0) / known, np.nan)
        down = np.where(known > 0, (score < 0.0).sum(axis=0) / known, np.nan)
    out["ctx.breadth_up"] = np.broadcast_to(up, shape).copy()
    out["ctx.breadth_down"] = np.broadcast_to(down, shape).copy()


def _coherence(view: MarketView, times: Ints, frame: Frame, out: Columns) -> None:
    signs: list[Floats] = []
    shape = out["ctx.close"].shape
    for interval in _COHERENT:
        bars = view.bars.get(interval)
        if bars is None or not len(bars.open_ms):
            continue
        logs = frame.quarters if interval == "15m" else frame.logs if interval == "1h" else None
        panel, pick = thin(bars, times, max(price.TREND_LOOKBACK, ATR_BARS + 1), logs=logs)
        inputs = (bars.open_ms[ends_of(bars, times) - 1].astype(np.float64), panel.bars_read())
        signs.extend(frame.keep(f"mtf.{interval}", inputs, partial(_signs, panel, pick)))
    if not signs:
        signs = [np.full(shape, np.nan)]
    out["ctx.mtf_up"], out["ctx.mtf_down"] = context.coherence(signs)


def _signs(panel: Panel, pick: Ints) -> tuple[Floats, ...]:
    """Signs of T, M and C at each time."""
    reads = (price.trend, price.momentum, flow.cvd)
    return tuple(np.sign(read(panel))[:, pick] for read in reads)


def _micro(view: MarketView, times: Ints, atr_1h: Floats, frame: Frame, out: Columns) -> None:
    bars = view.bars.get("15m")
    names = ("ctx.micro_up", "ctx.micro_down", "ctx.micro_atr_ratio", "ctx.micro_volume_ratio")
    if bars is None or not len(bars.open_ms):
        for name in names:
            out[name] = np.full(atr_1h.shape, np.nan)
        return
    panel, pick = thin(bars, times, context.MICRO_LOOKBACK, logs=frame.quarters)
    wide = np.full((len(view.symbols), panel.count), np.nan)
    wide[:, pick] = atr_1h
    for name, value in zip(names, context.micro(panel, wide, flow.cvd(panel)), strict=True):
        out[name] = value[:, pick]


def _modulators(
    view: MarketView,
    hours: BarsView,
    times: Ints,
    facts: Mapping[str, Floats],
    params: ParamSet,
    frame: Frame,
    out: Columns,
) -> None:
    taps = window.decay_taps(params.probability.g_smooth, params.probability.g_taps)
    extra = len(taps) - 1
    panel, pick = thin(hours, times, context.RETURN_BARS + 1, extra, frame.logs)
    score, beta, rho = frame.keep(
        "independence",
        (panel.close, np.array([view.btc, view.eth], dtype=np.float64)),
        lambda: context.independence(panel, view.btc, view.eth),
    )
    out["mod.I"], out["ctx.beta"], out["ctx.rho_btc"] = score[:, pick], beta[:, pick], rho[:, pick]
    out["mod.gI"] = _smooth_g(score / 100.0, taps)[:, pick - extra]
    end = int(ends_of(hours, times)[-1])
    closes = closes_of(hours, panel.count, end)
    funding_z = _funding_z(view, closes, frame)
    oi_24h, oi_z = _oi_change(view, panel.count, end, frame)
    basis_now = facts.get("basis_bps")
    for side, name in ((1.0, "long"), (-1.0, "short")):
        past = positioning.crowding(np.full_like(funding_z, np.nan), funding_z, oi_z, side)
        basis = np.full_like(past[:, pick], np.nan) if basis_now is None else basis_now
        live = positioning.crowding(basis, funding_z[:, pick], oi_z[:, pick], side)
        out[f"mod.crowding_{name}"] = live
        out[f"mod.gF_{name}"] = _smooth_g(past, taps)[:, pick - extra]
    deep, at = thin(hours, times, 67, logs=frame.logs)
    oi_now, flow_now = oi_24h[:, -deep.count :], flow.cvd(deep)
    for side, name in ((1.0, "long"), (-1.0, "short")):
        out[f"mod.lead_{name}"] = positioning.lead(deep, oi_now, flow_now, side)[:, at]
    out["ctx.oi_24h"] = oi_24h[:, pick]


def _smooth_g(x: Floats, taps: Floats) -> Floats:
    """g = EMA(tanh(3(x − ½))) over fixed bars; what is missing is neutral (§1.4)."""
    return window.fir(filled(np.tanh(3.0 * (x - 0.5))), taps)


def _oi_change(view: MarketView, count: int, end: int, frame: Frame) -> tuple[Floats, Floats]:
    """24h log change of open interest at each close, and its z over 96 hours."""
    if view.open_interest is None:
        nothing = np.full((len(view.symbols), count), np.nan)
        return nothing, nothing.copy()
    log_oi = frame.open_interest(count + _DAY_BARS + _OI_Z_BARS - 1, end)
    fast = compiled_kernels()
    if fast is not None:
        now, z = (np.empty((len(log_oi), count)) for _ in range(2))
        fast.interest_changes(log_oi, count, now, z)
        return now, z
    change = log_oi[:, _DAY_BARS:] - log_oi[:, :-_DAY_BARS]
    spread = 1.2533 * window.fir(np.abs(change), window.mean_taps(_OI_Z_BARS))
    now = change[:, -count:]
    return now, now / np.maximum(spread, 0.005)


def _funding_z(view: MarketView, closes: Ints, frame: Frame) -> Floats:
    """Robust z of the funding rate known at each close against its last settlements."""
    series = view.funding_history
    if series is None or not len(series.time_ms):
        return np.full((len(view.symbols), len(closes)), np.nan)
    first = int(np.searchsorted(series.time_ms, closes[0] - _FUNDING_AGE_MS))
    start = max(first - FUNDING_CHAIN.scale_taps + 1, 0)
    value = np.ascontiguousarray(series.value[:, start:])

    def compute() -> tuple[Floats, ...]:
        front = np.full((len(value), FUNDING_CHAIN.scale_taps - 1), np.nan)
        padded = np.concatenate([front, value], axis=1)
        return (robust_z(padded, FUNDING_FLOOR, FUNDING_CHAIN),)

    (z,) = frame.keep("funding", (value,), compute)
    return as_of(SeriesView(series.time_ms[start:], z), closes, _FUNDING_AGE_MS)
