"""S: the threshold of its swings, and the part of it that 15m bars give."""

import dataclasses

import numpy as np
import pytest
from tests.markets import mirrored, random_market

from cryptosignal.domain.params import ParamSet
from cryptosignal.factors import structure
from cryptosignal.factors.catalogue import FactorEngine
from cryptosignal.factors.panel import Origin, Panel

PARAMS = ParamSet()
HOUR = 3_600_000


def panel_of(close, day_usdt, volume=1.0, taker=0.5, age_hours=np.nan, has_flow=True):
    """Four outputs over log closes [row, bar] with a turnover a day and listing ages by row."""
    rows, bars = close.shape
    data = np.full((9, rows, bars), 1.0)
    data[:4] = np.exp(close)
    data[1] *= 1.002
    data[2] /= 1.002
    data[4] = np.broadcast_to(volume, (rows, bars))
    data[5] = np.broadcast_to(np.asarray(day_usdt, float) / 24.0, (rows,))[:, None]
    data[7] = taker * data[4]
    found = Panel(data, "1h", 4)
    found.closed_ms = 1_000 * 24 * HOUR
    listed = found.closed_ms - HOUR * np.broadcast_to(np.asarray(age_hours, float), (rows,))
    found.origin = Origin(listed, has_flow)
    return found


def newest(panel):
    return structure.theta(panel, panel.atr(), PARAMS)[:, -1]


def test_the_threshold_of_a_swing_by_size_and_regime():
    """θ is .40 for a small coin and one of unknown turnover, .35 for a big one, .05 less in a strong
    trend up or down; a quiet small coin keeps all of it."""
    wave = 1e-3 * np.sin(np.arange(90.0))
    rise = 0.004 * np.arange(90.0)
    close = np.stack([wave, wave, wave, wave + rise, wave - rise])
    found = newest(panel_of(close, np.array([1e7, np.nan, 2e8, 2e8, 2e8])))
    np.testing.assert_allclose(found, [0.40, 0.40, 0.35, 0.30, 0.30], atol=1e-9)


def in_sync(side=1.0):
    """Three days of ±6 % swings, the last day 8 % off its start, the last hour 2.5 % of it."""
    close = 0.06 * np.sin(np.arange(90.0) * 2.0 * np.pi / 36.0) * np.where(np.arange(90) < 66, 1, 0)
    close[66:] = np.linspace(0.0, 0.055, 24)
    close[-1] += 0.025
    close[40] += 0.12
    volume = np.ones(90)
    volume[-5:] = 3.0
    return side * close[None], volume[None]


@pytest.mark.parametrize("side", [1.0, -1.0])
def test_a_coin_that_overlay_would_take_has_a_wider_swing(side):
    """Two of three in sync on enough turnover add .05, on either side; without the turnover, or with
    one of three, nothing is added."""
    close, loud = in_sync(side)
    quiet = np.ones_like(loud)

    def added(day_usdt, volume, taker=0.5, has_flow=True):
        panel = panel_of(close, [day_usdt], volume, taker, has_flow=has_flow)
        day = np.full((1, 4), day_usdt)
        return structure.overlay_fit(panel, day)[0, -1]

    assert added(2e8, loud) == 1.0
    assert added(2e6, loud) == 0.0
    assert added(2e8, quiet) == 0.0
    assert added(2e8, quiet, taker=0.7) == 1.0
    assert added(2e8, quiet, taker=0.7, has_flow=False) == 0.0
    base = newest(panel_of(close, [2e8], quiet))
    assert newest(panel_of(close, [2e8], loud)) == pytest.approx(base + 0.05)


def test_a_new_coin_has_the_widest_swing():
    """A coin in its channel adds .10, half way out of it .05, a grown one and one of unknown age
    nothing; one of three weeks with volume counts as Overlay."""
    close = np.tile(1e-3 * np.sin(np.arange(90.0)), (6, 1))
    ages = np.array([100.0, 424.0, 5_000.0, np.nan, 500.0, 500.0])
    found = newest(panel_of(close, np.array([4e6] * 5 + [2e7]), age_hours=ages))
    np.testing.assert_allclose(found, [0.50, 0.45, 0.40, 0.40, 0.40, 0.45], atol=1e-9)


def test_the_15m_part_agrees_or_does_not():
    """S is whole where the 15m trend goes its way, .92 of it where that goes against it, .96 where
    it says nothing, whole where there is none; its sign stays."""
    score = np.array([[50.0, 50.0, 50.0, 50.0, -50.0, -50.0, 0.0]])
    trend = np.array([[100.0, -100.0, 0.0, np.nan, -100.0, 100.0, 100.0]])
    found = structure.agreed(score, trend)
    np.testing.assert_allclose(found, [[50.0, 46.0, 48.0, 50.0, -50.0, -46.0, 0.0]])


def test_the_15m_part_of_an_hour_is_that_of_its_close():
    """15m bars after the hour's close change no S; those before it do, for each of its hours."""
    view = random_market(5, symbols=6, hours=330)
    half = dataclasses.replace(view, time_ms=view.time_ms - HOUR // 2)
    names = ("score.S", "score.S.1", "score.S.2")

    def told(moment, columns):
        bars = moment.bars["15m"]
        data = bars.data.copy()
        data[:4, :, columns] = data[:4, :, columns] * 1.01 + 0.0
        shown = {**moment.bars, "15m": dataclasses.replace(bars, data=data)}
        rows = FactorEngine(PARAMS).compute(dataclasses.replace(moment, bars=shown), 1, "manual")
        return [rows.columns[name] for name in names]

    plain = told(half, slice(0, 0))
    np.testing.assert_array_equal(plain, told(half, slice(-4, None)))
    changed = told(half, slice(-5, None))
    assert not np.array_equal(plain[0], changed[0])
    np.testing.assert_array_equal(plain[1:], changed[1:])


def test_listing_times_that_become_known_are_taken_in():
    """A coin's listing time that arrives after the first scan counts at the next, as if it had been
    there from the start."""
    view = random_market(6, symbols=6, hours=330)
    onboard = view.onboard_ms.copy()
    onboard[3] = view.time_ms - 430 * HOUR
    later = dataclasses.replace(view, onboard_ms=onboard)
    engine = FactorEngine(PARAMS)
    engine.compute(view, 1, "bar:1h")
    told, fresh = (
        engine.compute(later, 2, "manual"),
        FactorEngine(PARAMS).compute(later, 2, "manual"),
    )
    for name, values in fresh.columns.items():
        np.testing.assert_array_equal(told.columns[name], values, err_msg=name)


def test_young_and_lively_coins_keep_the_mirror():
    """S changes its sign in the mirror whatever a coin's age."""
    view = random_market(7, symbols=8, hours=330)
    onboard = view.time_ms - HOUR * np.array([5_000.0, 5_000, 30, 200, 410, 440, 600, 700])
    view = dataclasses.replace(view, onboard_ms=onboard)
    one = FactorEngine(PARAMS).compute(view, 1, "manual").columns
    two = FactorEngine(PARAMS).compute(mirrored(view), 1, "manual").columns
    for name in ("score.S", "score.S.1", "score.S.2", "raw.S"):
        np.testing.assert_allclose(one[name], -two[name], atol=1e-9, err_msg=name)
