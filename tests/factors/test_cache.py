"""The score cache: late, repaired and confirmed bars are seen, and little else is computed."""

import dataclasses

import numpy as np
import pytest
from tests.markets import random_market

from cryptosignal.domain.params import ParamSet
from cryptosignal.factors.catalogue import FactorEngine
from cryptosignal.market.views import SeriesView

PARAMS = ParamSet()
HOUR = 3_600_000
SCORES = [f"score.{n}{lag}" for n in "TMCSVO" for lag in ("", ".1", ".2")]


def at(view, hours):
    return dataclasses.replace(view, time_ms=view.time_ms - hours * HOUR)


def changed(view, change):
    old = view.bars["1h"]
    data = old.data.copy()
    change(data)
    return dataclasses.replace(view, bars={**view.bars, "1h": dataclasses.replace(old, data=data)})


def compare(engine, view):
    here = engine.compute(view, 1, "bar:1h").columns
    fresh = FactorEngine(PARAMS).compute(view, 1, "bar:1h").columns
    for name in SCORES:
        np.testing.assert_allclose(here[name], fresh[name], atol=1e-9, err_msg=name)


@pytest.fixture(scope="module")
def market():
    return random_market(21, symbols=16, hours=420)


def test_a_late_bar_is_taken_in(market):
    """Symbols whose newest bar comes after the first scan of the hour get their scores with it."""
    engine = FactorEngine(PARAMS)
    engine.compute(at(market, 1), 1, "bar:1h")

    def lose(data):
        data[:, 3:6, -1] = np.nan

    first = engine.compute(changed(market, lose), 2, "bar:1h").columns
    assert np.isnan(first["score.T"][3:6]).all()
    compare(engine, market)


def test_a_repaired_gap_is_taken_in(market):
    """A bar that a repair brings hours later changes what depends on it, as if it had been there."""
    engine = FactorEngine(PARAMS)

    def lose(data):
        data[:, 2, -40:-30] = np.nan
        data[:, 9, -9:-6] = np.nan

    broken = changed(market, lose)
    engine.compute(at(broken, 1), 1, "bar:1h")
    compare(engine, broken)
    compare(engine, market)


def test_a_corrected_value_is_taken_in(market):
    """A close that confirmation corrects changes the scores, to the last bit of a volume."""
    engine = FactorEngine(PARAMS)

    def nudge(data):
        data[3, 5, -1] *= 1.001
        data[4, 6, -2] = np.nextafter(data[4, 6, -2], np.inf)

    engine.compute(changed(market, nudge), 1, "bar:1h")
    compare(engine, market)


def test_late_open_interest_is_taken_in(market):
    """An open-interest row that arrives after the scan of its hour counts at the next."""
    engine = FactorEngine(PARAMS)
    oi = market.open_interest
    value = oi.value.copy()
    value[:, -2:] = np.nan
    late = dataclasses.replace(market, open_interest=SeriesView(oi.time_ms, value))
    engine.compute(late, 1, "bar:1h")
    compare(engine, market)


def test_many_hours_in_a_row(market):
    """Sixty steps, past the cache's spare room, end where a fresh engine starts."""
    engine = FactorEngine(PARAMS)
    for hours in range(60, -1, -1):
        engine.compute(at(market, hours), 1, "bar:1h")
    compare(engine, market)


def test_a_scan_without_a_new_bar_computes_nothing(market):
    """A second scan of the same bars computes no column; a new bar computes one."""
    engine = FactorEngine(PARAMS)
    engine.compute(at(market, 1), 1, "bar:1h")
    before = engine.cache.columns_computed
    engine.compute(at(market, 1), 2, "interval")
    assert engine.cache.columns_computed == before
    engine.compute(market, 3, "bar:1h")
    assert engine.cache.columns_computed == before + 6 * len(market.symbols)
