"""One symbol told by compiled code alone: its values are those of its row in a scan."""

import dataclasses

import numpy as np
import pytest
from tests.markets import random_market, walk_bars

from cryptosignal.domain.params import ParamSet
from cryptosignal.factors import kernels
from cryptosignal.factors.catalogue import FactorEngine

PARAMS = ParamSet()
HOUR = 3_600_000
SYMBOLS = 8


@pytest.fixture(autouse=True)
def compiled():
    if not kernels.enable():
        pytest.skip("numba is not installed")
    yield
    kernels.disable()


def with_holes(rng, bars):
    """Bars with gaps, missing fields, silent volumes."""
    out = {name: dataclasses.replace(b, data=b.data.copy()) for name, b in bars.items()}
    for one in out.values():
        for _ in range(rng.integers(0, 6)):
            row, start = rng.integers(0, SYMBOLS), rng.integers(0, one.data.shape[2])
            one.data[:, row, start : start + rng.integers(1, 40)] = np.nan
        one.data[7, rng.integers(0, SYMBOLS)] = np.nan
        one.data[5, rng.integers(0, SYMBOLS), -5:] = np.nan
        one.data[4, rng.integers(0, SYMBOLS), -int(rng.integers(1, 30)) :] = 0.0
    for name in ("15m", "4h", "1d"):
        if rng.random() < 0.15:
            del out[name]
    return out


def spoiled(seed):
    """A market where something of everything is missing or thin."""
    rng = np.random.default_rng(seed)
    view = random_market(seed, symbols=SYMBOLS, hours=int(rng.choice([260, 330, 420])))
    change = {}
    for name in ("open_interest", "funding_history"):
        series = getattr(view, name)
        value = np.where(rng.random(series.value.shape) < 0.2, np.nan, series.value)
        change[name] = None if rng.random() < 0.2 else dataclasses.replace(series, value=value)
    book = {
        side: np.where(np.arange(20) < rng.integers(0, 20), getattr(view.book, side), np.nan)
        for side in ("bid_price", "bid_qty", "ask_price", "ask_qty")
    }
    change["book"] = None if rng.random() < 0.2 else dataclasses.replace(view.book, **book)
    if rng.random() < 0.2:
        change["flow"] = None
    if rng.random() < 0.3:
        change["synthetic_flow"] = ("taker_flow", "book")
    if rng.random() < 0.4:
        spot = walk_bars(rng, SYMBOLS, 250, "1h", view.time_ms - int(rng.choice([0, HOUR])))
        spot.data[:, rng.integers(0, SYMBOLS)] = np.nan
        change["spot_1h"] = spot
    change["btc"], change["eth"] = int(rng.choice([0, 0, -1])), int(rng.choice([1, 1, -1]))
    change["next_funding_ms"] = view.time_ms + rng.uniform(-HOUR, 8 * HOUR, SYMBOLS)
    ages = rng.uniform(452.0, 900.0, SYMBOLS) * HOUR  # out of the channel, in Overlay's lane or not
    change["onboard_ms"] = np.where(rng.random(SYMBOLS) < 0.5, view.time_ms - ages, view.onboard_ms)
    change["mark"] = np.where(rng.random(SYMBOLS) < 0.2, np.nan, view.mark)
    return dataclasses.replace(view, bars=with_holes(rng, view.bars), **change)


def without_newest(view, slots):
    """The view before the newest 1h bar of `slots` came."""
    data = view.bars["1h"].data.copy()
    data[:, slots, -1] = np.nan
    bars = {**view.bars, "1h": dataclasses.replace(view.bars["1h"], data=data)}
    return dataclasses.replace(view, bars=bars)


def same(engine, view, slot, values, whole, but=()):
    row = engine.row_of(view, slot, values, 2)
    assert list(row.columns) == list(whole.columns)
    place = whole.symbols.index(row.symbols[0])
    for name, value in row.columns.items():
        if name not in but:
            np.testing.assert_allclose(
                value[0], whole.columns[name][place], rtol=1e-9, atol=1e-9, err_msg=name
            )


@pytest.mark.parametrize("seed", range(12))
def test_a_late_symbol_is_told_as_the_scan_tells_it(seed):
    """Whatever is missing or thin, every value of a late symbol is that of a full scan."""
    view, late = spoiled(seed), [0, 1, 4]
    engine = FactorEngine(PARAMS)
    engine.compute(without_newest(view, late), 1, "bar:1h")
    told = {slot: engine.glance(view, slot) for slot in late}
    assert all(values is not None for values in told.values())
    whole = FactorEngine(PARAMS).compute(view, 2, "symbol")
    last = engine.glance(view, late[-1])
    same(engine, view, late[-1], last, whole)
    for slot in late[:-1]:
        same(engine, view, slot, told[slot], whole, ("ctx.breadth_up", "ctx.breadth_down"))


@pytest.mark.parametrize("seed", range(20, 28))
def test_a_new_hour_is_told_symbol_by_symbol_before_any_scan_of_it(seed):
    """At the turn of an hour each symbol's values are those of the scan that follows; breadth too
    once all are in."""
    view = spoiled(seed)
    engine = FactorEngine(PARAMS)
    engine.compute(dataclasses.replace(view, time_ms=view.time_ms - HOUR), 1, "bar:1h")
    told = [engine.glance(view, slot) for slot in range(SYMBOLS)]
    whole = FactorEngine(PARAMS).compute(view, 2, "symbol")
    for slot, values in enumerate(told):
        assert values is not None
        same(engine, view, slot, values, whole, ("ctx.breadth_up", "ctx.breadth_down"))
    same(engine, view, 5, engine.glance(view, 5), whole)


def test_what_it_cannot_tell_it_leaves_to_the_scan():
    """New coins, repaired older bars and other tables of factors have no glance."""
    view = random_market(3, symbols=SYMBOLS, hours=420)
    engine = FactorEngine(PARAMS)
    assert engine.glance(view, 2) is None  # no scan yet
    engine.compute(view, 1, "bar:1h")
    assert engine.glance(view, 2) is not None
    onboard = view.onboard_ms.copy()
    onboard[2] = view.time_ms - 60 * HOUR
    assert engine.glance(dataclasses.replace(view, onboard_ms=onboard), 2) is None
    data = view.bars["1h"].data.copy()
    data[3, 2, -20] *= 1.001
    bars = {**view.bars, "1h": dataclasses.replace(view.bars["1h"], data=data)}
    assert engine.glance(dataclasses.replace(view, bars=bars), 2) is None
    custom = FactorEngine(PARAMS, engine.factors[:-1])
    custom.compute(view, 1, "bar:1h")
    assert custom.glance(view, 2) is None


@pytest.mark.parametrize("seed", range(30, 34))
def test_how_each_newest_bar_became_known_is_told_as_the_scan_tells_it(seed):
    """Finality, source and lag of every interval, also of one with a single bar; the pool; no tape."""
    rng = np.random.default_rng(seed)
    view = random_market(seed, symbols=SYMBOLS, hours=420)
    bars = dict(view.bars)
    days = bars["1d"]
    bars["1d"] = dataclasses.replace(
        days,
        open_ms=days.open_ms[-1:],
        data=days.data[:, :, -1:],
        finality=np.ascontiguousarray(days.finality[:, -1:]),
        source=np.ascontiguousarray(days.source[:, -1:]),
        lag_ms=np.ascontiguousarray(days.lag_ms[:, -1:]),
    )
    lags = [-7.5, 0.0, 0.5, 1.5, 2_500.25, 2.0**41, np.nan, np.inf]
    for name, one in bars.items():
        shape = one.finality.shape
        bars[name] = dataclasses.replace(
            one,
            finality=rng.integers(0, 4, shape).astype(np.int8),
            source=rng.integers(-1, 6, shape).astype(np.int8),
            lag_ms=rng.choice(lags, shape),
        )
    view = dataclasses.replace(
        view,
        bars=bars,
        overlay=rng.choice([0.0, 1.0, np.nan], SYMBOLS),
        liquidation_buy_usdt=None,
        liquidation_sell_usdt=None,
    )
    engine = FactorEngine(PARAMS)
    whole = engine.compute(view, 1, "bar:1h")
    for slot in range(SYMBOLS):
        same(engine, view, slot, engine.glance(view, slot), whole)


def test_a_view_that_was_read_before_a_scan_is_read_anew_after_it():
    """What the rows of a view share is of the newest scan, also where the view is the same."""
    view = random_market(3, symbols=SYMBOLS, hours=420)
    engine = FactorEngine(PARAMS)
    engine.compute(view, 1, "bar:1h")
    assert engine.glance(view, 2) is not None
    fewer = view.active.copy()
    fewer[5] = False
    engine.compute(dataclasses.replace(view, active=fewer), 2, "manual")
    assert engine.glance(view, 2) is None
    engine.compute(view, 3, "manual")
    assert engine.glance(view, 2) is not None
