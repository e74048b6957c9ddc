"""The refresh of one symbol: its row is the row of a full scan, on both numeric paths."""

import dataclasses

import numpy as np
import pytest
from tests.markets import random_market

from cryptosignal.domain.params import ParamSet
from cryptosignal.factors import kernels
from cryptosignal.factors.catalogue import FactorEngine
from cryptosignal.signals.decide import SignalMemory, decide

PARAMS = ParamSet()
HOUR = 3_600_000


@pytest.fixture(params=["numpy", "numba"])
def path(request):
    if request.param == "numba" and not kernels.enable():
        pytest.skip("numba is not installed")
    yield
    kernels.disable()


@pytest.fixture(scope="module")
def market():
    market = random_market(41, symbols=14, hours=420)
    onboard = market.onboard_ms.copy()
    onboard[7] = market.time_ms - 60 * HOUR  # a new coin among them
    return dataclasses.replace(market, onboard_ms=onboard)


def without(view, slots):
    """The view before the newest 15m and 1h bar of `slots` came."""
    bars = dict(view.bars)
    for name in ("15m", "1h"):
        data = view.bars[name].data.copy()
        data[:, slots, -1] = np.nan
        bars[name] = dataclasses.replace(view.bars[name], data=data)
    return dataclasses.replace(view, bars=bars)


def same(row, rows):
    place = rows.symbols.index(row.symbols[0])
    assert len(row.symbols) == 1
    assert set(row.columns) == set(rows.columns)
    assert row.meta == rows.meta
    for name, value in rows.columns.items():
        np.testing.assert_allclose(
            row.columns[name][0], value[place], atol=1e-9, rtol=1e-9, err_msg=name
        )


def test_late_bars_one_by_one_give_the_rows_of_a_full_scan(path, market):
    """Each late symbol's row, BTC's and a new coin's too, is what a scan of that view would say."""
    engine, late = FactorEngine(PARAMS), [0, 1, 5, 7, 12]
    engine.compute(without(market, late), 1, "bar:1h")
    for k, slot in enumerate(late):
        view = without(market, late[k + 1 :])
        row = engine.refresh(view, slot, 2 + k)
        same(row, FactorEngine(PARAMS).compute(view, 2 + k, "symbol"))


def test_the_first_refresh_of_an_hour_is_a_scan(path, market):
    """Without a scan of this hour the row is right all the same."""
    engine = FactorEngine(PARAMS)
    engine.compute(dataclasses.replace(market, time_ms=market.time_ms - HOUR), 1, "bar:1h")
    same(engine.refresh(market, 5, 2), FactorEngine(PARAMS).compute(market, 2, "symbol"))


def test_a_refresh_changes_no_later_scan(path, market):
    """Refreshing, and refreshing again, leaves the next scan and the next refresh as they were."""
    engine, plain = FactorEngine(PARAMS), FactorEngine(PARAMS)
    for one in (engine, plain):
        one.compute(without(market, [5]), 1, "bar:1h")
    first, again = (engine.refresh(market, 5, 2) for _ in range(2))
    for name, value in first.columns.items():
        np.testing.assert_array_equal(value, again.columns[name], err_msg=name)
    here, there = (one.compute(market, 3, "bar:1h") for one in (engine, plain))
    for name, value in here.columns.items():
        np.testing.assert_array_equal(value, there.columns[name], err_msg=name)


def test_it_is_decided_as_in_the_full_scan(path, market):
    """Score, odds, EV, strength, plan and every gate of the one row are those of the scan."""
    engine = FactorEngine(PARAMS)
    engine.compute(without(market, [3, 9]), 1, "bar:1h")
    engine.refresh(without(market, [9]), 3, 2)
    one = decide(engine.refresh(market, 9, 2), PARAMS, SignalMemory())
    whole = decide(FactorEngine(PARAMS).compute(market, 2, "symbol"), PARAMS, SignalMemory())
    for path_ in ("scores.score", "odds.p", "values.ev", "strength", "plans.stop"):
        part, _, name = path_.partition(".")
        left, right = (
            getattr(getattr(x, part), name) if name else getattr(x, part) for x in (one, whole)
        )
        np.testing.assert_allclose(left[0], right[9], rtol=1e-9, err_msg=path_)
    np.testing.assert_array_equal(one.table.verdicts[:, 0], whole.table.verdicts[:, 9])
    assert one.tiers[0] == whole.tiers[9]


def test_a_slot_outside_the_universe_is_refused(market):
    """A slot that is not active has no row in any scan."""
    active = market.active.copy()
    active[4] = False
    view = dataclasses.replace(market, active=active)
    with pytest.raises(ValueError, match="slot 4"):
        FactorEngine(PARAMS).refresh(view, 4, 1)
