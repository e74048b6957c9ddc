"""O (open interest), B (basis and funding), and the modulators made of them: crowding and lead.

Under the mirror price, basis and funding change sign and open interest stays, so O and B are odd
and the two sides of crowding and lead swap.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cryptosignal.factors import window
from cryptosignal.factors.panel import Panel
from cryptosignal.factors.price import soft_sign

Floats = NDArray[np.float64]

_OI_BARS = 24
_PRICE_BARS = 12
OI_LOOKBACK = _OI_BARS + 1


def open_interest(panel: Panel) -> Floats:
    """O: sign(12-bar price, ±1 % soft) × (0.7·OI slope over 24 h in units of 3 % + 0.3·alignment).

    Rising interest confirms the move, falling interest says that it is covering (§1.3 O). The band
    1–8 % counts fully, both ways (§0.11); beyond it is crowded and fades to a half at 16 %.
    Alignment is the share of the last 12 hours with rising minus falling interest. Contracts, not
    notional: notional carries price in twice.
    """
    oi = panel.beside["oi"]
    slope = window.fir(panel.cut(oi, _OI_BARS), window.slope_taps(_OI_BARS)) * _OI_BARS
    grown = np.abs(slope)
    band = np.clip(grown / 0.01, 0.0, 1.0) * np.clip(1.0 - (grown - 0.08) / 0.16, 0.5, 1.0)
    steps = np.sign(panel.cut(oi, _PRICE_BARS + 1)[:, 1:] - panel.cut(oi, _PRICE_BARS + 1)[:, :-1])
    aligned = window.fir(steps, window.mean_taps(_PRICE_BARS))
    strength = 0.7 * band * np.clip(slope / 0.03, -3.0, 3.0) + 0.3 * aligned
    return strength * soft_sign(panel.change(_PRICE_BARS) / 0.01)


def basis_funding(basis_bps: Floats, funding: Floats) -> Floats:
    """B ±100: 0.6·basis (33 at 50 bps, 100 at 100 bps) + 0.4·funding (33 at 0.1 %, 100 at 0.2 %).

    `basis_bps` is 10⁴·ln(mark/index). A premium is demand: positive. Where one of the two is
    missing the other speaks alone; where both are, no data (§1.3 B).
    """
    basis = _piecewise(basis_bps, 50.0)
    rate = _piecewise(funding, 0.001)
    both = 0.6 * basis + 0.4 * rate
    return np.where(np.isnan(basis), rate, np.where(np.isnan(rate), basis, both))


def funding_pressure(
    funding: Floats, ahead_ms: Floats, window_ms: float, rate_frac: float
) -> Floats:
    """FWI (§1.3 B, §1.5): the funding rate in units of `rate_frac`, times the nearness of its
    settlement: 1 at it, falling to 0 at `window_ms` before. Signed like the rate; NaN without one.
    """
    near = np.clip(1.0 - ahead_ms / window_ms, 0.0, 1.0)
    return funding / rate_frac * np.where(ahead_ms < 0.0, 0.0, near)


def boosted(basis_funding: Floats, fwi: Floats, limit: float, boost: float) -> Floats:
    """B with up to `boost` points in the direction of the funding that is about to be paid (§1.3)."""
    lift = boost * np.clip(np.where(np.isnan(fwi), 0.0, fwi) / limit, -1.0, 1.0)
    return np.clip(basis_funding + lift, -100.0, 100.0)


def crowding(basis_bps: Floats, funding_z: Floats, oi_z: Floats, side: float) -> Floats:
    """Crowding of one side, 0–1: sigmoid of the mean robust z of funding, basis and ΔOI (§1.3 F).

    `side` +1 for longs, −1 for shorts: funding and basis count against the side that pays. Basis
    is held against 25 bps, having no history of its own. Parts that are missing are left out; NaN
    where all are.
    """
    parts = np.stack([side * funding_z, side * basis_bps / 25.0, oi_z])
    known = ~np.isnan(parts)
    total = np.where(known, np.clip(parts, -6.0, 6.0), 0.0).sum(axis=0)
    number = known.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(number > 0, total / number, np.nan)
    # 0.5 is neutral: an average funding rate crowds nobody
    return 1.0 / (1.0 + np.exp(-mean))


def lead(panel: Panel, oi_24h: Floats, cvd_share: Floats, side: float) -> Floats:
    """How far money leads price for one side, ±100 (§1.3 F, code): .4 ΔOI24h + .3 (v5/v20 − 1)
    + .3 CVD, minus .6 24h move + .4 slope, tanh.

    Positive: money moves before price. Parts are in points of 100 (ΔOI 20 %, volume ×3, CVD of a
    tenth of turnover a bar, price 20 %); the scale of 60 keeps it off the stops (§3.15).
    """
    five = window.fir(panel.cut(panel.volume, 5), window.mean_taps(5))
    twenty = window.fir(panel.cut(panel.volume, 20), window.mean_taps(20))
    with np.errstate(invalid="ignore", divide="ignore"):
        surge = 50.0 * (five / twenty - 1.0)
    parts = ((0.4, 500.0 * oi_24h), (0.3, surge), (0.3, side * 1000.0 * cvd_share))
    total = np.zeros_like(five)
    weight = np.zeros_like(five)
    for share, part in parts:
        known = ~np.isnan(part)
        total += np.where(known, share * np.clip(part, -100.0, 100.0), 0.0)
        weight += share * known
    with np.errstate(invalid="ignore", divide="ignore"):
        money = np.where(weight > 0.0, total / weight, np.nan)
    atr = np.where(panel.atr() > 0.0, panel.atr(), np.nan)
    slope = (panel.ema(30, 60) - _ema_back(panel)) / (6.0 * atr)
    price = 0.6 * np.clip(500.0 * panel.change(24), -100.0, 100.0) + 40.0 * np.tanh(slope / 0.2)
    return 100.0 * np.tanh((money - side * price) / 60.0)


def _piecewise(x: Floats, neutral: float) -> Floats:
    size = np.abs(x) / neutral
    points = np.where(size <= 1.0, 33.0 * size, 33.0 + 67.0 * (size - 1.0))
    return np.copysign(np.minimum(points, 100.0), x)


def _ema_back(panel: Panel) -> Floats:
    width = 60
    stop = panel.bars - 6
    close = panel.close[:, stop - (panel.count + width - 1) : stop]
    return window.fir(close, window.ema_taps(30, width))
