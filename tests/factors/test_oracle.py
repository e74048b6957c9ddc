"""The standard indicators inside, against TA-Lib on the same windows."""

import numpy as np
import pytest
from tests.markets import random_market

from cryptosignal.factors import context, structure, window
from cryptosignal.factors.panel import panel_of

talib = pytest.importorskip("talib")


@pytest.fixture(scope="module")
def panel():
    return panel_of(random_market(2, symbols=6).bars["1h"], 4, 200)


@pytest.mark.parametrize("period", [5, 10, 20, 30])
def test_ema_equals_talib_on_its_window(panel, period):
    """The truncated EMA is TA-Lib's EMA of the same bars."""
    width = 60
    ours = panel.ema(period, width)
    for row in range(6):
        for k in range(4):
            stop = panel.bars - 3 + k
            theirs = talib.EMA(panel.close[row, stop - width : stop].copy(), period)[-1]
            assert ours[row, k] == pytest.approx(theirs, abs=1e-10)


def test_atr_equals_talib_on_its_window(panel):
    """ATR14 over 60 true ranges is TA-Lib's ATR of the same 61 bars."""
    ours = panel.atr()
    for row in range(6):
        part = slice(panel.bars - 61, panel.bars)
        theirs = talib.ATR(
            panel.high[row, part].copy(), panel.low[row, part].copy(),
            panel.close[row, part].copy(), 14,
        )[-1]  # fmt: skip
        assert ours[row, -1] == pytest.approx(theirs, rel=1e-9)


def test_adx_agrees_with_talib(panel):
    """ADX14 over the last 120 bars agrees with TA-Lib's of the same bars."""
    ours = context.adx(panel)
    part = slice(panel.bars - context.ADX_LOOKBACK, panel.bars)
    for row in range(6):
        theirs = talib.ADX(
            panel.high[row, part].copy(), panel.low[row, part].copy(),
            panel.close[row, part].copy(), 14,
        )[-1]  # fmt: skip
        assert ours[row, -1] == pytest.approx(theirs, abs=1e-9)


def test_slope_equals_talib(panel):
    """The regression slope is TA-Lib's."""
    slope, _ = window.fit(panel.cut(panel.close, 12), 12)
    for row in range(6):
        theirs = talib.LINEARREG_SLOPE(panel.close[row].copy(), 12)[-1]
        assert slope[row, -1] == pytest.approx(theirs, abs=1e-12)


def test_r2_is_the_squared_correlation(panel):
    """R² of the fit is the squared correlation with time."""
    _, r2 = window.fit(panel.cut(panel.close, 12), 12)
    for row in range(6):
        rho = np.corrcoef(np.arange(12), panel.close[row, -12:])[0, 1]
        assert r2[row, -1] == pytest.approx(rho * rho, abs=1e-9)


def test_rolling_extremes_equal_talib(panel):
    """Rolling maximum and minimum are TA-Lib's."""
    high = window.rolling_max(panel.high, 72)[:, -1]
    low = window.rolling_min(panel.low, 72)[:, -1]
    for row in range(6):
        assert high[row] == talib.MAX(panel.high[row].copy(), 72)[-1]
        assert low[row] == talib.MIN(panel.low[row].copy(), 72)[-1]


def test_a_gap_stays_in_its_windows():
    """NaN in one bar spoils the windows that hold it and no other, on every path of the filter."""
    x = np.random.default_rng(0).normal(size=(3, 120))
    x[1, 50] = np.nan
    for width in (3, 20):
        for columns in (1, 30, 101):
            part = x[:, 120 - (columns + width - 1) :] if columns + width <= 120 else x
            out = window.fir(part, window.mean_taps(width))
            gaps = np.isnan(part)
            for k in range(out.shape[1]):
                expected = gaps[:, k : k + width].any(axis=1)
                assert (np.isnan(out[:, k]) == expected).all()


def test_zigzag_follows_a_reference():
    """The vectorised ZigZag equals a plain one, bar by bar, with its pivots and age."""
    rng = np.random.default_rng(4)
    close = np.cumsum(rng.normal(0, 1.0, (5, 90)), axis=1)
    atr = np.full((5, 19), 2.0)
    found = structure.swings(close, atr, 72, 0.5)
    for row in range(5):
        for k in range(19):
            leg, pivots, age = _zigzag(close[row, k : k + 72], 1.0)
            assert found.leg[row, k] == leg
            assert found.age[row, k] == age
            kept = (pivots[::-1] + [np.nan] * 4)[:4]
            np.testing.assert_array_equal(found.pivots[:, row, k], kept)


def _zigzag(prices, turn):
    leg, pivots, age = 0, [], 0
    top, bottom = -np.inf, np.inf
    for price in prices:
        top, bottom = max(top, price), min(bottom, price)
        age += 1
        if leg >= 0 and top - price > turn:
            if leg > 0:
                pivots.append(top)
                age = 0
            leg, top, bottom = -1, price, price
        elif leg <= 0 and price - bottom > turn:
            if leg < 0:
                pivots.append(bottom)
                age = 0
            leg, top, bottom = 1, price, price
    return leg, pivots, age
