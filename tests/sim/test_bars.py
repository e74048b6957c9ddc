"""Bars cut from coarser ones: sums, extremes and determinism of the path."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.sim.driver import START_MS

from cryptosignal.ground.units import DAY_MS, HOUR_MS, INTERVAL_MS, MINUTE_MS
from cryptosignal.sim.bars import Bars, cut_ticks, share_out, split_bars, sum_bars, usual_price
from cryptosignal.sim.listing import generated_listing
from cryptosignal.sim.noise import normals, uniforms
from cryptosignal.sim.path import GeneratedPath

FIELDS = ("open", "high", "low", "close", "buy", "sell", "trades")


@pytest.fixture(scope="module")
def path():
    listed = generated_listing(12, (), 7, START_MS, 0, 1.0, events=False)
    return GeneratedPath(listed, 7, START_MS, 1)


def one(o, h, low, c, buy, sell, n):
    cols = [np.array([v], np.int64) for v in (0, o, h, low, c, buy, sell, n)]
    return Bars(*cols, np.array([float((buy + sell) * (o + h + low + c)) / 4]))


prices = st.tuples(
    st.integers(50, 5_000), st.integers(0, 400), st.integers(0, 40), st.integers(0, 400)
)


@settings(max_examples=60, deadline=None)
@given(
    prices,
    st.integers(500, 100_000),
    st.integers(500, 100_000),
    st.integers(40, 4_000),
    st.integers(0, 99),
    st.sampled_from([3, 4, 5]),
)
def test_split_keeps_the_parent(shape, buy, sell, n, seed, k):
    """Children of any bar reproduce its open, high, low, close, volumes and count exactly."""
    o, up, down, move = shape
    c = max(1, o + move - 200)
    parent = one(o, max(o, c) + up, max(1, min(o, c) - down), c, buy, sell, n)
    index = np.arange(k)[None, :]
    rows = split_bars(
        parent,
        60_000,
        normals(seed, index),
        uniforms(seed + 1, index),
        np.exp(normals(seed + 2, index)),
        uniforms(seed + 3, index) < 0.3,
    )
    summed = sum_bars(rows, np.array([0]))
    for field in FIELDS:
        assert getattr(summed, field) == getattr(parent, field), field
    assert (rows.low <= np.minimum(rows.open, rows.close)).all()
    assert (rows.high >= np.maximum(rows.open, rows.close)).all()
    average = rows.quote / np.maximum(rows.buy + rows.sell, 1)
    traded = rows.buy + rows.sell > 0
    assert (average[traded] >= rows.low[traded] - 1e-9).all()
    assert (average[traded] <= rows.high[traded] + 1e-9).all()
    usual = usual_price(rows.open, rows.high, rows.low, rows.close)
    natural = (usual * (rows.buy + rows.sell)).sum()
    assert abs(summed.quote - parent.quote) <= abs(natural - parent.quote) + 1e-6


@settings(max_examples=60, deadline=None)
@given(
    prices,
    st.integers(100, 50_000),
    st.integers(100, 50_000),
    st.integers(4, 400),
    st.integers(0, 99),
    st.integers(4, 40),
)
def test_ticks_make_their_bar(shape, buy, sell, n, seed, k):
    """The trades cut from a bar have its four prices, its volumes by taker side and its count."""
    o, up, down, move = shape
    c = max(1, o + move - 200)
    bar = one(o, max(o, c) + up, max(1, min(o, c) - down), c, buy, sell, n)
    index = np.arange(k)[None, :]
    t = cut_ticks(
        bar, k, 60_000, normals(seed, index), uniforms(seed + 1, index), uniforms(seed + 2, index)
    )
    assert (t.price[0], t.price.max(), t.price.min(), t.price[-1]) == (
        o,
        bar.high[0],
        bar.low[0],
        c,
    )
    assert t.qty[~t.is_sell].sum() == buy
    assert t.qty[t.is_sell].sum() == sell
    assert t.count.sum() == max(n, len(t))
    assert (np.diff(t.time_ms) >= 0).all()
    assert t.time_ms[-1] < 60_000
    assert (t.qty > 0).all()


def test_share_out_loses_nothing():
    """Integer shares add up to their total whatever the weights."""
    total = np.array([7, 0, 1_000_003])
    shares = share_out(total, np.abs(normals(3, np.arange(30).reshape(3, 10))))
    assert (shares.sum(axis=1) == total).all()
    assert (shares >= 0).all()


@pytest.mark.parametrize("index", [0, 7, 11])
def test_levels_agree(path, index):
    """Minutes summed to any coarser level equal that level drawn by itself."""
    end = START_MS // DAY_MS * DAY_MS
    minutes = path.bars(index, "1m", end - 2 * DAY_MS, end)
    for level in ("5m", "15m", "1h", "4h", "1d"):
        rows = path.bars(index, level, end - 2 * DAY_MS, end)
        assert len(rows) == 2 * DAY_MS // INTERVAL_MS[level]
        summed = sum_bars(minutes, rows.open_ms)
        for field in FIELDS:
            assert (getattr(summed, field) == getattr(rows, field)).all(), (level, field)


def test_a_path_is_a_function_of_its_seed(path):
    """A stretch drawn alone equals the same stretch drawn within a longer one."""
    listed = path.listed
    again = GeneratedPath(listed, 7, START_MS, 1)
    alone = again.ticks(3, START_MS, START_MS + 5 * MINUTE_MS)
    within = path.ticks(3, START_MS - HOUR_MS // MINUTE_MS * MINUTE_MS, START_MS + 20 * MINUTE_MS)
    at = np.searchsorted(within.time_ms, START_MS)
    assert (within.price[at : at + len(alone)] == alone.price).all()
    other = GeneratedPath(listed, 8, START_MS, 1).ticks(3, START_MS, START_MS + 5 * MINUTE_MS)
    assert len(other) != len(alone) or (other.price != alone.price).any()


def test_symbols_move_together(path):
    """Coins share the market's moves; the TradFi symbol does not."""
    end = START_MS // HOUR_MS * HOUR_MS
    moves = [
        np.diff(np.log(path.bars(i, "15m", end - 10 * DAY_MS, end).close)) for i in (0, 1, 2, 3, 9)
    ]
    correlation = np.corrcoef(moves)[0]
    assert (correlation[1:4] > 0.1).all()
    assert abs(correlation[4]) < 0.15


def test_average_prices_lie_within_their_bars(path):
    """Quote volume over volume is a price of the bar at every level, and sums nearly agree."""
    end = START_MS // DAY_MS * DAY_MS
    for row in path.listed:
        total = path.bars(row.index, "1d", end - 20 * DAY_MS, end).quote.sum()
        for level, days in (("4h", 20), ("1h", 20), ("15m", 20), ("5m", 5), ("1m", 1)):
            bars = path.bars(row.index, level, end - days * DAY_MS, end)
            traded = bars.buy + bars.sell > 0
            price = bars.quote[traded] / (bars.buy + bars.sell)[traded]
            assert (price >= bars.low[traded] * (1 - 1e-9)).all(), (row.symbol, level)
            assert (price <= bars.high[traded] * (1 + 1e-9)).all(), (row.symbol, level)
            if days == 20:
                assert bars.quote.sum() == pytest.approx(total, rel=0.01), (row.symbol, level)
