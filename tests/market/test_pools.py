"""Pools: each criterion decides, order and merging are as documented."""

import dataclasses

import numpy as np
import pytest
from tests.markets import mirrored, random_market

from cryptosignal.market.pools import (
    PoolSettings,
    anomaly_score,
    base,
    elite,
    liquid,
    merged,
    overlay,
)

HOT = 4


@pytest.fixture(scope="module")
def market():
    """A calm market in which one coin runs up on six-fold volume, 8 % off its high."""
    view = random_market(2, symbols=24)
    old = view.bars["1h"]
    data = old.data.copy()
    run = np.exp(np.concatenate([np.linspace(0.0, 0.25, 14), np.linspace(0.25, 0.16, 6)]))
    data[:4, HOT, -20:] *= run
    data[4:9, HOT, -5:] *= 6.0
    return dataclasses.replace(view, bars={**view.bars, "1h": dataclasses.replace(old, data=data)})


def test_an_unusual_coin_is_elite(market):
    """The planted coin passes every Elite criterion, and the criteria say so."""
    pool = elite(market, PoolSettings(elite_quality_min=40.0))
    assert market.symbols[HOT] in pool.symbols
    assert pool.criteria["anomaly"][HOT] >= 40.0
    assert len(pool.symbols) < 12


@pytest.mark.parametrize(
    "change",
    [
        {"elite_quote_usdt": 1e12},
        {"elite_trades": 1e12},
        {"elite_anomaly_min": 101.0},
        {"elite_quality_min": 101.0},
        {"elite_move_max": 0.0},
        {"elite_volume_hold": 50.0},
        {"elite_chase": 0.5},
    ],
)
def test_each_limit_of_elite_decides(market, change):
    """Tightening any one limit beyond the coin's value puts it out."""
    assert market.symbols[HOT] not in elite(market, PoolSettings(**change)).symbols


def test_anomaly_is_the_mean_of_the_top_three(market):
    """The score is the mean of the three largest of six parts, each within 0–100."""
    score, parts = anomaly_score(market)
    stack = np.sort(np.stack(list(parts.values())), axis=0)
    np.testing.assert_allclose(score, stack[-3:].mean(axis=0))
    assert len(parts) == 6
    assert (stack >= 0.0).all()
    assert (stack <= 100.0).all()


def test_overlay_takes_new_coins_and_leaves_elite_out(market):
    """A coin listed two days ago with volume is Overlay; what is Elite already is not."""
    onboard = market.onboard_ms.copy()
    onboard[9] = market.time_ms - 48 * 3_600_000
    view = dataclasses.replace(market, onboard_ms=onboard)
    best = elite(view, PoolSettings(elite_quality_min=40.0))
    pool = overlay(view, best)
    assert view.symbols[9] in pool.symbols
    assert not set(pool.symbols) & set(best.symbols)
    both = merged(pool, best)
    assert both[: len(pool.symbols)] == pool.symbols
    assert len(both) == len(set(both))


@pytest.fixture(scope="module")
def synced():
    """A market in which one coin moves 2 % in the hour on threefold volume, 7 % off its extremes."""
    view = random_market(2, symbols=24)
    old = view.bars["1h"]
    data = old.data.copy()
    base = data[3, HOT, -80]
    data[:4, HOT, -79:] = base * np.exp(0.004 * np.random.default_rng(1).normal(size=79))
    data[1, HOT, -60], data[2, HOT, -50] = base * 1.25, base * 0.85
    data[:4, HOT, -24:] *= np.exp(np.linspace(0.0, 0.06, 24))
    data[:4, HOT, -1] *= 1.02
    data[4:9, HOT, -5:] *= 3.0
    data[7, HOT, -1] = 0.5 * data[4, HOT, -1]
    return dataclasses.replace(view, bars={**view.bars, "1h": dataclasses.replace(old, data=data)})


def pooled(view, **change):
    settings = PoolSettings(elite_anomaly_min=101.0, **change)
    return view.symbols[HOT] in overlay(view, elite(view, settings), settings).symbols


@pytest.mark.parametrize(
    "change",
    [
        {"overlay_quote_usdt": 1e12},
        {"overlay_hour_usdt": 1e12},
        {"overlay_move": 0.5},
        {"overlay_surge": 9.0},
        {"overlay_z": 50.0},
        {"overlay_chase": 0.9},
    ],
)
def test_each_limit_of_overlay_decides(synced, change):
    """Two of three in sync make a coin Overlay; tightening any one limit puts it out."""
    assert pooled(synced)
    assert not pooled(synced, **change)


def test_takers_of_spot_count_in_the_mix(synced):
    """A coin whose futures takers are even is in sync by those of spot, where they are known of the
    same hour; of another hour they say nothing."""
    old = synced.bars["1h"]
    data = np.full_like(old.data, np.nan)
    data[4], data[7] = old.data[4], 0.9 * old.data[4]
    spot = dataclasses.replace(old, data=data)
    limits = {"overlay_surge": 9.0}
    assert not pooled(synced, **limits)
    assert pooled(dataclasses.replace(synced, spot_1h=spot), **limits)
    late = dataclasses.replace(spot, open_ms=spot.open_ms - 3_600_000)
    assert not pooled(dataclasses.replace(synced, spot_1h=late), **limits)


def test_base_has_at_least_twenty(market):
    """A quiet market still gives twenty symbols, by liquidity."""
    assert len(base(market, PoolSettings(base_z=1e9)).symbols) == 20


def test_inactive_symbols_are_in_no_pool(market):
    """What is not traded now is in no pool."""
    active = market.active.copy()
    active[[HOT, 9]] = False
    view = dataclasses.replace(market, active=active)
    for pool in (elite(view), overlay(view, elite(view)), base(view)):
        assert view.symbols[HOT] not in pool.symbols


def test_long_and_short_quality_swap_under_the_mirror(market):
    """Elite does not prefer a side."""
    here, there = elite(market).criteria, elite(mirrored(market)).criteria
    np.testing.assert_allclose(here["quality_long"], there["quality_short"], atol=1e-9)
    np.testing.assert_allclose(here["anomaly"], there["anomaly"], atol=1e-6)


def test_the_liquidity_pool_ranks_moves_and_volume(market):
    """Volume from 3 M USDT on, ranked by .7·|24h %| + .3·100·share of the largest volume, cut at
    its size; the mirror moves as much."""
    volume = np.linspace(1e6, 24e6, len(market.symbols))
    view = dataclasses.replace(market, quote_volume_24h=volume)
    pool = liquid(view)
    assert set(pool.symbols) == {s for s, v in zip(view.symbols, volume, strict=True) if v >= 3e6}
    score = dict(zip(view.symbols, pool.criteria["liquid_score"], strict=True))
    assert [score[s] for s in pool.symbols] == sorted(
        (score[s] for s in pool.symbols), reverse=True
    )
    close = view.bars["1h"].close
    wanted = 0.7 * 100.0 * np.abs(close[:, -1] / close[:, -25] - 1.0) + 30.0 * volume / volume.max()
    np.testing.assert_allclose(pool.criteria["liquid_score"], wanted)
    assert liquid(view, PoolSettings(liquid_max=5)).symbols == pool.symbols[:5]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"elite_chase": 2.0}, "pools.elite_chase: found 2.0"),
        ({"base_min": -1}, "pools.base_min: found -1"),
        ({"overlay_new_hours": (5.0, 1.0)}, "pools.overlay_new_hours"),
    ],
)
def test_a_limit_that_cannot_work_is_refused(change, text):
    """Shares, counts and spans out of their range are one line."""
    with pytest.raises(ValueError, match=text):
        PoolSettings(**change)
