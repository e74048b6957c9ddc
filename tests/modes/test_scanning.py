"""Before the scan of a boundary: each symbol is refreshed as soon as its own bars have closed."""

import asyncio
import dataclasses

import msgspec
import numpy as np
import pytest
from tests.markets import START_MS, random_market

from cryptosignal.domain.market import BarSource
from cryptosignal.domain.params import ParamSet
from cryptosignal.domain.scan import SYMBOL_TRIGGER
from cryptosignal.factors import kernels
from cryptosignal.factors.catalogue import FactorEngine, pick_row
from cryptosignal.ground.units import HOUR_MS, INTERVAL_MS
from cryptosignal.market.board import Board
from cryptosignal.market.klines import CONFIRMED, STREAM
from cryptosignal.market.settings import MarketSettings
from cryptosignal.modes.config import RunSettings
from cryptosignal.modes.scanning import ScanLoop
from cryptosignal.signals.decide import SignalMemory, assess, settle
from cryptosignal.signals.decisions import PRIME, WATCH
from cryptosignal.signals.memory import Published

TURN_MS = START_MS + HOUR_MS
SYMBOLS = 6


@pytest.fixture(autouse=True)
def compiled():
    if not kernels.enable():
        pytest.skip("numba is not installed")
    yield
    kernels.disable()


class Clock:
    """A clock that stands where it is put."""

    def __init__(self):
        self.ms = TURN_MS - 1_000

    def now_ms(self):
        return self.ms

    def mono_ns(self):
        return self.ms * 1_000_000


class Run:
    """A board one bar before the turn of an hour, a scan loop on it, and what it handed on."""

    def __init__(self, params):
        self.params = params
        self.clock, self.taken = Clock(), []
        self.view = random_market(5, symbols=SYMBOLS, hours=430, end_ms=TURN_MS)
        self.board = Board(MarketSettings(intervals=("15m", "1h", "4h", "1d")), SYMBOLS)
        for interval in ("15m", "1h", "4h", "1d"):
            self._load(interval)
        self.board._onboard_ms[:SYMBOLS] = TURN_MS - 800 * 24 * HOUR_MS
        self.board._tick_size[:SYMBOLS] = self.view.tick_size
        self.loop = ScanLoop(
            self.board, FactorEngine(params), self.clock, RunSettings(), self.taken.append
        )

    def _load(self, interval):
        step, data = INTERVAL_MS[interval], self.view.bars[interval].data
        opens = TURN_MS // step * step - step * np.arange(data.shape[2], 0, -1)
        keep = data.shape[2] - (interval in ("15m", "1h"))
        for k, symbol in enumerate(self.view.symbols):
            o, h, lo, c, v, q, n, tb, tq = data[:, k]
            rows = np.stack([opens, o, h, lo, c, v, opens + step - 1, q, n, tb, tq], axis=1)
            self.board.load_history(symbol, interval, rows[:keep], TURN_MS - 1, BarSource.REST)

    def close(self, symbol, *intervals):
        """The newest bars of a symbol close by stream; the flush that took them is done."""
        slot = self.board.slot(symbol)
        for interval in intervals:
            row = tuple(self.view.bars[interval].data[:, slot, -1].tolist())
            opened = TURN_MS - INTERVAL_MS[interval]
            self.board.klines[interval].close(slot, opened, row, CONFIRMED, STREAM, self.clock.ms)
        self.board._give_out()

    def told(self):
        """Symbols of the refreshes that were handed on, in order."""
        return [s.rows.symbols[0] for s in self.taken if s.rows.trigger == SYMBOL_TRIGGER]


def lenient():
    """Parameters under which every row is worth the full decision."""
    params = ParamSet()
    tiers = msgspec.structs.replace(params.tiers, watch_strength=0.0, watch_p=0.0)
    return msgspec.structs.replace(params, tiers=tiers)


async def turned(run, *steps):
    """A scan before the turn, then the steps just after it, each with a turn of the loop."""
    run.loop.scan("start")
    run.clock.ms = TURN_MS + 40
    for symbol, *intervals in steps:
        run.close(symbol, *intervals)
        await asyncio.sleep(0)
        await asyncio.sleep(0)


def test_a_late_symbol_holds_nobody_up():
    """Whoever has all its bars is told at once; one that lacks a bar is not, and delays none."""
    run = Run(lenient())
    names, both = run.view.symbols, ("15m", "1h")
    asyncio.run(
        turned(
            run, (names[0], *both), (names[1], *both), (names[4], *both), (names[3], "1h"),
            (names[2], *both),
        )
    )  # fmt: skip
    assert run.told() == [names[0], names[1], names[4], names[2]]


def test_rows_wait_for_btc_and_eth_which_they_read():
    """Before the leaders' bars are there nobody is told; with them all that waited are."""
    run = Run(lenient())
    names, both = run.view.symbols, ("15m", "1h")

    async def life():
        await turned(run, (names[4], *both), (names[2], *both), (names[1], *both))
        assert run.told() == []
        run.close(names[0], *both)
        await asyncio.sleep(0)

    asyncio.run(life())
    assert run.told() == [names[4], names[2], names[1], names[0]]


def test_the_refresh_decides_as_the_scan_that_follows():
    """Once all bars are in, a refreshed symbol's decision is that of the batch scan."""
    run = Run(lenient())
    names, both = run.view.symbols, ("15m", "1h")
    asyncio.run(turned(run, *((name, *both) for name in names)))
    last = run.taken[-1].rows
    run.loop.scan("bar:1h")
    whole = run.taken[-1].rows
    assert last.symbols == (names[-1],)
    one, all_ = assess(last, run.params), assess(whole, run.params)
    assert one.tiers[0] == all_.tiers[-1]
    np.testing.assert_array_equal(one.table.verdicts[:, 0], all_.table.verdicts[:, -1])
    np.testing.assert_allclose(one.scores.score[0], all_.scores.score[-1], rtol=1e-9)
    np.testing.assert_allclose(one.odds.p[0], all_.odds.p[-1], rtol=1e-9)
    np.testing.assert_allclose(one.strength[0], all_.strength[-1], rtol=1e-9)


def test_rejects_stay_with_the_scan_unless_a_signal_of_theirs_is_out():
    """A hopeless row goes to the engine only to end what stands."""
    params = ParamSet()
    tiers = msgspec.structs.replace(params.tiers, watch_strength=100.0)
    gates = msgspec.structs.replace(params.gates, strength_mature=100.0)
    run = Run(msgspec.structs.replace(params, tiers=tiers, gates=gates))
    names, both = run.view.symbols, ("15m", "1h")
    run.loop.is_out = lambda symbol: symbol == names[3]
    asyncio.run(turned(run, *((name, *both) for name in names)))
    assert run.loop.refreshed == SYMBOLS
    assert run.told() == [names[3]]


def test_signals_that_are_out_of_others_count_before_a_refreshed_one():
    """One symbol alone cannot step over the limit of signals that move along with the market."""
    gates = msgspec.structs.replace(ParamSet().gates, correlated_max=1)
    params = msgspec.structs.replace(ParamSet(), gates=gates)
    rows = FactorEngine(params).compute(random_market(5, symbols=SYMBOLS, hours=430), 1, "manual")
    own = pick_row(dataclasses.replace(rows, trigger=SYMBOL_TRIGGER), 3)

    def tier_beside(standing_side, trigger):
        found = assess(dataclasses.replace(own, trigger=trigger), params)
        found.tiers[:] = PRIME
        side = "long" if found.scores.side[0] > 0.0 else "short"
        other = side if standing_side == "same" else "short" if side == "long" else "long"
        memory = SignalMemory()
        until_ms = rows.time_ms + HOUR_MS
        memory.published["OTHERUSDT"] = Published(other, "x", rows.time_ms - 1, until_ms)
        found.rows.columns["ctx.rho_btc"] = np.ones(1)
        settle(found, memory)
        return found.tiers[0]

    assert tier_beside("same", SYMBOL_TRIGGER) == WATCH
    assert tier_beside("other", SYMBOL_TRIGGER) == PRIME
    assert tier_beside("same", "bar:1h") == PRIME
