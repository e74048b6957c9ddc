"""What surrounds a score: volatility, ADX, regime, room, independence, 15m micro-confirmation.

Each function takes panels and gives [row, count]; paired results are (for longs, for shorts) and
swap under the mirror of DOMAIN §0.11.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cryptosignal.factors import window
from cryptosignal.factors.kernels import compiled_kernels, flat
from cryptosignal.factors.panel import ATR_BARS, Panel

Floats = NDArray[np.float64]

ADX_LOOKBACK = 2 * ATR_BARS
ROOM_BARS = 72
PIVOT_BARS = 12
RETURN_BARS = 24
MICRO_LOOKBACK = 61
OPEN_ROOM_ATR = 10.0
"""Room of a price beyond every extreme of the window: nothing stands in its way."""


def adx(panel: Panel) -> Floats:
    """ADX14, 0–100: Wilder's recursion over the last `ADX_LOOKBACK` bars from neutral (Wilder 1978),
    seeded as TA-Lib seeds it on the same bars."""
    span, count, period = ADX_LOOKBACK, panel.count, 14
    high, low, close = (panel.cut(x, span) for x in (panel.high, panel.low, panel.close))
    fast = compiled_kernels()
    if fast is not None:
        found = np.empty((len(high), count))
        fast.adx(high, low, close, span, period, found)
        return found
    up, down = high[:, 1:] - high[:, :-1], low[:, :-1] - low[:, 1:]
    rise = up * ((up > down) & (up > 0.0))
    fall = down * ((down > up) & (down > 0.0))
    width = window.true_range(high, low, close)
    plus, minus, scale, total = (np.zeros((len(high), count)) for _ in range(4))
    out = np.zeros((len(high), count))
    seen, keep = 0, (period - 1.0) / period
    for j in range(span - 1):
        lane = slice(j, j + count)
        decay = 1.0 if j < period - 1 else keep
        plus = decay * plus + rise[:, lane]
        minus = decay * minus + fall[:, lane]
        scale = scale + width[:, lane]  # spreads a gap over the window that holds it
        if j < period - 1:
            continue
        total = plus + minus
        dx = np.abs(plus - minus) / np.where(total > 0.0, total, 1.0)
        seen += 1
        out = out + dx / period if seen <= period else keep * out + dx / period
    return np.where(np.isnan(scale), np.nan, 100.0 * out)


def market_trend(panel: Panel, row: int) -> Floats:
    """±100: 40·order of EMA5/EMA20 + 60·tanh(slope12/ATR/0.05) of one symbol, [count] (§1.3)."""
    nothing = np.full(panel.count, np.nan)
    if row < 0:
        return nothing
    atr = np.where(panel.atr()[row] > 0.0, panel.atr()[row], np.nan)
    close = panel.close[row : row + 1]
    fast = window.fir(panel.cut(close, 30), window.ema_taps(5, 30))[0]
    slow = window.fir(panel.cut(close, 60), window.ema_taps(20, 60))[0]
    slope = window.fir(panel.cut(close, 12), window.slope_taps(12))[0]
    with np.errstate(invalid="ignore", divide="ignore"):
        order = np.tanh((fast - slow) / (0.1 * atr))
        return 40.0 * order + 60.0 * np.tanh(slope / atr / 0.05)


def regime(btc: Floats, eth: Floats) -> Floats:
    """0.7·BTC + 0.3·ETH trend; the one that is known where the other is not (§1.3)."""
    both = 0.7 * btc + 0.3 * eth
    return np.where(np.isnan(btc), eth, np.where(np.isnan(eth), btc, both))


def room(panel: Panel, breakout_atr: float) -> tuple[Floats, Floats]:
    """Distance to the 72-bar resistance and support before this bar, in ATR (§1.5, EXECUTION).

    A close beyond the extreme by `breakout_atr` has open room; one at or just beyond it has none.
    """
    span = ROOM_BARS + 1
    high, low = panel.cut(panel.high, span)[:, :-1], panel.cut(panel.low, span)[:, :-1]
    top, bottom = _rolling(high, low, ROOM_BARS)
    close, atr = panel.at(panel.close), np.where(panel.atr() > 0.0, panel.atr(), np.nan)
    up, down = (top - close) / atr, (close - bottom) / atr
    return (
        np.where(up < -breakout_atr, OPEN_ROOM_ATR, up),
        np.where(down < -breakout_atr, OPEN_ROOM_ATR, down),
    )


def extremes(panel: Panel, bars: int) -> tuple[Floats, Floats]:
    """Highest and lowest log price of the last `bars` bars."""
    return _rolling(panel.cut(panel.high, bars), panel.cut(panel.low, bars), bars)


def _rolling(high: Floats, low: Floats, width: int) -> tuple[Floats, Floats]:
    fast = compiled_kernels()
    if fast is None:
        return window.rolling_max(high, width), window.rolling_min(low, width)
    top, bottom = (np.empty((len(high), high.shape[1] - width + 1)) for _ in range(2))
    (tops, (one,)), (bottoms, (two,)) = flat(high), flat(low)
    fast.extremes(tops, bottoms, (one, two), width, top, bottom)
    return top, bottom


def independence(
    panel: Panel, btc: int, eth: int, shares: tuple[float, float] = (0.6, 0.4)
) -> tuple[Floats, Floats, Floats]:
    """I (0–100), β and ρ to BTC from 24 hourly returns (§1.3 I, v7.3 bands).

    OLS on BTC and ETH together, β = 0.6·|β_btc| + 0.4·|β_eth| (`shares`); a ridge of 5 % of the regressors'
    variance keeps two nearly equal coins from fighting over β. R² < 0.1 is 50; BTC itself is 100;
    ETH is held against BTC alone. Bands are joined linearly.
    """
    span = RETURN_BARS + 1
    close = panel.cut(panel.close, span)
    returns = close[:, 1:] - close[:, :-1]
    shape = (returns.shape[0], panel.count)
    if btc < 0:
        nothing = np.full(shape, np.nan)
        return nothing, nothing.copy(), nothing.copy()
    b1, b2, r2, rho = _fit_market(returns, btc, eth, panel.count)
    beta = shares[0] * np.abs(b1) + shares[1] * np.abs(b2) if eth >= 0 else np.abs(b1)
    if eth >= 0:
        beta[eth] = np.abs(b1[eth])
    score = np.interp(beta, BETA, INDEPENDENCE)
    score = np.where(np.isnan(beta), np.nan, np.where(r2 < 0.1, 50.0, score))
    score[btc] = np.where(np.isnan(rho[btc]), np.nan, 100.0)
    return score, beta, rho


BETA = np.array([0.0, 0.6, 0.9, 1.2, 1.5, 2.0])
INDEPENDENCE = np.array([100.0, 85.0, 70.0, 30.0, 15.0, 0.0])


def _fit_market(
    returns: Floats, btc: int, eth: int, count: int
) -> tuple[Floats, Floats, Floats, Floats]:
    """β on BTC and ETH, R² and ρ to BTC of each row and window; ETH's are on BTC alone."""
    fast = compiled_kernels()
    if fast is not None:
        b1, b2, r2, rho = (np.empty((len(returns), count)) for _ in range(4))
        fast.regress(returns, btc, eth, RETURN_BARS, b1, b2, r2, rho)
        return b1, b2, r2, rho
    own = np.stack([returns[:, j : j + count] for j in range(RETURN_BARS)])
    own = own - own.mean(axis=0)
    first = own[:, btc]
    second = own[:, eth] if eth >= 0 else np.zeros_like(first)
    b1, b2, r2 = _regress(own, first, second)
    if eth >= 0:
        alone, _, fitted = _regress(own[:, eth : eth + 1], first, np.zeros_like(first))
        b1[eth], b2[eth], r2[eth] = alone[0], 0.0, fitted[0]
    return b1, b2, r2, _correlation(own, first)


def _regress(own: Floats, first: Floats, second: Floats) -> tuple[Floats, Floats, Floats]:
    """Ridge OLS of centred returns [bar, row, count] on two centred regressors [bar, count]."""
    xx, yy = (first * first).sum(axis=0), (second * second).sum(axis=0)
    xy = (first * second).sum(axis=0)
    rx = np.einsum("jrc,jc->rc", own, first)
    ry = np.einsum("jrc,jc->rc", own, second)
    xx, yy = xx * 1.05, yy * 1.05
    two = yy > 0.0
    with np.errstate(invalid="ignore", divide="ignore"):
        det = xx * yy - xy * xy
        b1 = np.where(two, (rx * yy - ry * xy) / det, rx / xx)
        b2 = np.where(two, (ry * xx - rx * xy) / det, 0.0)
        total = (own * own).sum(axis=0)
        rest = own - b1 * first[:, None, :] - b2 * second[:, None, :]
        r2 = 1.0 - (rest * rest).sum(axis=0) / total
    return b1, b2, np.where(total > 0.0, r2, 0.0)


def _correlation(own: Floats, other: Floats) -> Floats:
    with np.errstate(invalid="ignore", divide="ignore"):
        scale = np.sqrt((own * own).sum(axis=0) * (other * other).sum(axis=0))
        return np.einsum("jrc,jc->rc", own, other) / scale


def micro(panel: Panel, atr_1h: Floats, cvd: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """15m micro-confirmation (§1.3): votes of 4 for longs and shorts, ATR15/ATR1h, v3/v20.

    Votes: closes beyond EMA10 on that side in 6 of 8 bars; v3/v20 in 0.8–2.2 with a change of
    0.05–0.8; sign of the 5-bar CVD slope; a pivot of 8 bars within 0.25 ATR of the hour behind it.
    """
    count = panel.count
    ema = window.fir(panel.close[:, -(count + 7 + 29) :], window.ema_taps(10, 30))
    close = panel.close[:, -(count + 7) :]
    above = window.fir(np.where(np.isnan(ema), np.nan, np.sign(close - ema)), np.ones(8))
    with np.errstate(invalid="ignore", divide="ignore"):
        v3 = window.fir(panel.cut(panel.volume, 3), window.mean_taps(3))
        v20 = window.fir(panel.cut(panel.volume, 20), window.mean_taps(20))
        ratio = v3 / v20
        last = panel.at(panel.volume) / panel.at(panel.volume, 1) - 1.0
    steady = (ratio >= 0.8) & (ratio <= 2.2) & (np.abs(last) >= 0.05) & (np.abs(last) <= 0.8)
    high, low = extremes(panel, 8)
    price = panel.at(panel.close)
    # at least 6 of 8 closes on a side sum to 4 or more
    votes_up = (above >= 4.0) * 1.0 + steady + (cvd > 0.0) + (price - low <= 0.25 * atr_1h)
    votes_down = (above <= -4.0) * 1.0 + steady + (cvd < 0.0) + (high - price <= 0.25 * atr_1h)
    unknown = np.isnan(above) | np.isnan(price)
    with np.errstate(invalid="ignore", divide="ignore"):
        calm = panel.atr() / atr_1h
    return (
        np.where(unknown, np.nan, votes_up),
        np.where(unknown, np.nan, votes_down),
        calm,
        ratio,
    )


def coherence(signs: list[Floats]) -> tuple[Floats, Floats]:
    """Share of known T/M/C readings over the intervals that point up, and that point down."""
    stack = np.stack(signs)
    known = (~np.isnan(stack)).sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        up = np.where(known > 0, (stack > 0.0).sum(axis=0) / known, np.nan)
        down = np.where(known > 0, (stack < 0.0).sum(axis=0) / known, np.nan)
    return up, down
