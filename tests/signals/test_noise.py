"""Markets without any edge hardly ever give a Prime: at most one per 100 symbol-days (§0.19)."""

import dataclasses

import numpy as np
import pytest
from tests.markets import START_MS, fold, random_market, walk_bars

from cryptosignal.domain.params import ParamSet
from cryptosignal.factors.catalogue import FactorEngine
from cryptosignal.factors.history import flatten
from cryptosignal.market.views import SeriesView
from cryptosignal.signals.decide import SignalMemory, assess, settle
from cryptosignal.signals.decisions import PRIME

HOUR = 3_600_000
PARAMS = ParamSet()


def market(seed, symbols, days, trend=0.0):
    """Rows of every hour of a market of random walks, flows, funding and good books, and the trend
    of each row. `trend` > 0 gives each coin spells of two to ten days with a drift of that many
    sigmas a quarter hour, more volume, and takers, interest and large trades on its side."""
    rng = np.random.default_rng(seed)
    hours = 320 + 24 * days
    quarter = walk_bars(rng, symbols, hours * 4, "15m", START_MS, 0.004)
    spells = np.zeros((symbols, hours * 4))
    if trend:
        quarter, spells = _trending(quarter, rng, trend * 0.004)
    bars = {"15m": quarter, "1h": fold(quarter, 4, "1h")}
    bars |= {"4h": fold(quarter, 16, "4h"), "1d": fold(quarter, 96, "1d")}
    times = START_MS - HOUR * np.arange(24 * days - 1, -1, -1)
    hourly = spells[:, 3::4]
    growth = rng.normal(0, 0.008, (symbols, hours)) + 0.002 * np.abs(hourly)
    oi = np.exp(np.cumsum(growth, axis=1)) * 1e6
    rates = rng.normal(0, 1e-4, (symbols, 60 + days * 3))
    view = dataclasses.replace(
        random_market(seed, symbols, hours=100),
        bars=bars,
        open_interest=SeriesView(START_MS - HOUR * np.arange(hours - 1, -1, -1), oi),
        funding_history=SeriesView(
            START_MS - 8 * HOUR * np.arange(rates.shape[1] - 1, -1, -1), rates
        ),
    )
    shape = (symbols, len(times))
    now = hourly[:, -len(times) :]
    facts = {
        "basis_bps": rng.normal(0, 3, shape),
        "funding_rate": rng.normal(0, 1e-4, shape),
        "obi": rng.normal(0, 0.1, shape),
        "L": rng.uniform(60, 95, shape),
        "Q": np.clip(rng.normal(0, 45, shape) + 30.0 * now, -100, 100),
    }
    steady = {"quality": 0.99, "spread_bps": 3.0, "impact_buy_bps": 3.0, "impact_sell_bps": 3.0,
              "bid_depth_usdt": 4e5, "ask_depth_usdt": 4e5, "book_age_ms": 100.0}  # fmt: skip
    facts |= {name: np.full(shape, value) for name, value in steady.items()}
    rows, moments = flatten(view, times, FactorEngine(PARAMS).columns(view, times, facts))
    return rows, moments, now.T.ravel()


def _trending(bars, rng, drift):
    data, spells = bars.data.copy(), np.zeros(bars.data.shape[1:])
    for row in spells:
        start = 0
        while start < len(row):
            length = int(rng.integers(192, 960))
            row[start : start + length] = rng.choice([-1.0, 0.0, 0.0, 1.0])
            start += length
    data[:4] *= np.exp(np.cumsum(drift * spells, axis=1))
    louder = 1.0 + 0.8 * np.abs(spells)
    data[4:8] *= louder
    data[7] = np.clip(data[7] / data[4] + 0.06 * spells, 0.02, 0.98) * data[4]
    return dataclasses.replace(bars, data=data), spells


def decided(seed, symbols=40, days=10, trend=0.0):
    """Every hour of such a market decided in order, and the trend of each row."""
    rows, moments, spells = market(seed, symbols, days, trend)
    found, memory = assess(rows, PARAMS), SignalMemory()
    for places, time_ms in moments:
        settle(found, memory, time_ms, places)
    return found, spells


def primes(seed):
    found, _ = decided(seed)
    return int((found.tiers == PRIME).sum()), len(found) / 24.0


def test_noise_hardly_ever_gives_a_prime():
    """Three seeds: decisions that say Prime stay under one per 100 symbol-days."""
    counts = [primes(seed) for seed in range(3)]
    assert sum(n for n, _ in counts) <= sum(days for _, days in counts) / 100.0


@pytest.mark.slow
def test_noise_over_twenty_seeds():
    """Twenty seeds of 400 symbol-days each."""
    counts = [primes(seed) for seed in range(20)]
    assert sum(n for n, _ in counts) <= sum(days for _, days in counts) / 100.0
