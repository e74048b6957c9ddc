"""Planted effects are found and named: leading open interest, a CVD divergence, an ignition."""

import dataclasses

import numpy as np
from tests.markets import fold, mirrored, random_market, walk_bars

from cryptosignal.domain.params import ParamSet
from cryptosignal.factors.catalogue import FactorEngine
from cryptosignal.market.views import SeriesView
from cryptosignal.signals.decide import SignalMemory, decide

PARAMS = ParamSet()
PLANTED = 7


def decided(view):
    rows = FactorEngine(PARAMS).compute(view, 1, "manual")
    return decide(rows, PARAMS, SignalMemory())


def with_bars(view, interval, change):
    old = view.bars[interval]
    data = old.data.copy()
    change(data)
    return dataclasses.replace(
        view, bars={**view.bars, interval: dataclasses.replace(old, data=data)}
    )


def sentences(found, symbol=PLANTED):
    return " ".join(found.decision(symbol).findings)


def test_open_interest_that_leads_price_is_found():
    """A coin whose open interest climbs while price drifts up stands out in O and in words."""
    view = random_market(5, symbols=20)
    oi = view.open_interest.value.copy()
    oi[PLANTED, -18:] *= np.exp(np.linspace(0.0, 0.12, 18))
    view = dataclasses.replace(view, open_interest=SeriesView(view.open_interest.time_ms, oi))

    def drift(data):
        data[:4, PLANTED, -18:] *= np.exp(np.linspace(0.0, 0.03, 18))

    found = decided(with_bars(view, "1h", drift))
    scores = found.scores.values[found.scores.names.index("O")]
    calm = np.nanquantile(np.delete(scores, PLANTED), 0.8)
    assert scores[PLANTED] > max(calm, 45.0)
    assert "open interest rises" in sentences(found)
    there = decided(mirrored(with_bars(view, "1h", drift)))
    assert there.scores.values[there.scores.names.index("O")][PLANTED] < -45.0


def test_a_cvd_divergence_is_found():
    """A coin that is bought by takers while its price falls stands out in C and in words."""

    def divergence(data):
        data[:4, PLANTED, -12:] *= np.exp(-np.linspace(0.0, 0.05, 12))
        data[7, PLANTED, -8:] = 0.85 * data[4, PLANTED, -8:]

    found = decided(with_bars(random_market(6, symbols=20), "1h", divergence))
    scores = found.scores.values[found.scores.names.index("C")]
    assert np.nanargmax(scores) == PLANTED
    assert "CVD divergence: bought while price falls" in sentences(found)


def test_a_new_coin_that_ignites_is_found():
    """A coin listed ten hours ago that runs on volume ignites, on the side it runs to."""
    view = random_market(8, symbols=12)
    minute = walk_bars(np.random.default_rng(8), 12, 480, "1m", view.time_ms, 0.001)
    data = minute.data.copy()
    push = np.exp(np.linspace(0.0, 0.04, 12))
    data[:4, PLANTED, -12:] *= push
    data[1, PLANTED, -12:] = np.maximum(data[1, PLANTED, -12:], data[3, PLANTED, -12:])
    data[4:6, PLANTED, -12:] *= 6.0
    data[7, PLANTED, -12:] = 0.8 * data[4, PLANTED, -12:]
    minute = dataclasses.replace(minute, data=data)
    onboard = view.onboard_ms.copy()
    onboard[PLANTED] = view.time_ms - 10 * 3_600_000
    bars = {**view.bars, "1m": minute, "5m": fold(minute, 5, "5m")}
    fresh = dataclasses.replace(view, bars=bars, onboard_ms=onboard)
    found = decided(fresh)
    assert "new-coin ignition up" in sentences(found)
    assert "ignition" not in sentences(found, 3)
    row = found.rows.columns
    assert row["ctx.ignition_up"][PLANTED] >= 4
    assert row["ctx.is_new"][PLANTED] == 1.0
    assert row["ctx.is_new"][3] == 0.0
    assert row["score.T"][PLANTED] > 20.0
    there = FactorEngine(PARAMS).compute(mirrored(fresh), 1, "manual").columns
    assert there["ctx.ignition_down"][PLANTED] == row["ctx.ignition_up"][PLANTED]
    for name in "TMSVC":
        np.testing.assert_allclose(there[f"score.{name}"], -row[f"score.{name}"], atol=1e-8)
