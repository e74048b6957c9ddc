"""What every adapter of a market must do, asked of two that have no word in common."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import numpy as np
import pytest
from tests.exchange.test_contract import until
from tests.exchange.worlds import START_MS, SYMBOL, WORLDS, in_world

from cryptosignal.domain.events import BarClosed, MarketStreamChanged, MarksUpdated
from cryptosignal.domain.params import ParamSet
from cryptosignal.factors.catalogue import FactorEngine
from cryptosignal.ground.clock import LoopClock
from cryptosignal.ground.faults import Fault
from cryptosignal.ground.units import INTERVAL_MS
from cryptosignal.market.board import Board
from cryptosignal.market.caches import bars
from cryptosignal.modes.markets import Mirror
from cryptosignal.signals.decide import decide
from cryptosignal.signals.memory import SignalMemory

venues = pytest.mark.parametrize("name", sorted(WORLDS))
MINUTE = 60_000


@asynccontextmanager
async def followed(world, intervals=("1m", "5m")):
    """The market's events while the block runs, from the first up on."""
    events = []
    task = asyncio.create_task(world.market.follow((SYMBOL,), intervals, events.append))
    await until(lambda: events)
    try:
        yield events
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def now_ms():
    return LoopClock(asyncio.get_running_loop(), START_MS).now_ms()


def closed(events, interval):
    return [e.bar for e in events if isinstance(e, BarClosed) and e.interval == interval]


@venues
@pytest.mark.parametrize("interval", ["1m", "15m", "1h", "1d"])
def test_candles_are_closed_ascending_and_whole(name, interval):
    """The newest bars of the interval's grid, without the forming one, without a hole, each sound."""

    async def live(world):
        span = INTERVAL_MS[interval]
        found = await world.market.candles(SYMBOL, interval, 50)
        opens = [bar.open_ms for bar in found]
        assert len(opens) == 50
        assert np.all(np.diff(opens) == span)
        assert all(at % span == 0 for at in opens)
        assert opens[-1] + span <= now_ms() < opens[-1] + 2 * span
        for bar in found:
            assert bar.low <= min(bar.open, bar.close) <= max(bar.open, bar.close) <= bar.high
            assert bar.volume >= 0
        assert abs(found[-1].close / float(world.mark()) - 1) < 0.1, "in the quote, not in ticks"
        older = await world.market.candles(SYMBOL, interval, 10, end_ms=opens[20])
        assert [bar.open_ms for bar in older] == opens[10:20]

    in_world(name, live)


@venues
def test_bars_are_told_once_in_order_as_they_close_and_marks_between(name):
    """Up comes first; each bar is told soon after its close, and equals the candle read later."""

    async def live(world):
        async with followed(world) as events:
            assert events[0] == MarketStreamChanged(True, events[0].reason)
            until_ms = now_ms() + 11 * MINUTE
            told_ms = {}
            while now_ms() < until_ms:
                await asyncio.sleep(1.0)
                for bar in closed(events, "1m"):
                    told_ms.setdefault(bar.open_ms, now_ms())
            opens = [bar.open_ms for bar in closed(events, "1m")]
            assert len(opens) >= 10
            assert np.all(np.diff(opens) == MINUTE)
            assert max(at - opened - MINUTE for opened, at in told_ms.items()) <= 5_000
            assert len(closed(events, "5m")) >= 2
            read = {b.open_ms: b for b in await world.market.candles(SYMBOL, "1m", 20)}
            for bar in closed(events, "1m"):
                same = read[bar.open_ms]
                assert (bar.open, bar.high, bar.low, bar.close) == pytest.approx(
                    (same.open, same.high, same.low, same.close)
                )
                assert bar.volume == pytest.approx(same.volume)
            marks = [e for e in events if isinstance(e, MarksUpdated)]
            assert len(marks) > 60
            assert abs(marks[-1].prices[SYMBOL] / float(world.mark()) - 1) < 0.01
            assert marks[-1].event_ms > now_ms() - 10_000

    in_world(name, live)


@venues
def test_a_break_is_told_and_the_flow_comes_back(name):
    """Down, then up, then bars again; the bars between can be read as candles."""

    async def live(world):
        async with followed(world) as events:
            await asyncio.sleep(90.0)
            before = len(events)
            world.break_stream()
            await until(
                lambda: (
                    [e.is_up for e in events[before:] if isinstance(e, MarketStreamChanged)]
                    == [False, True]
                )
            )
            await until(lambda: len(closed(events[before:], "1m")) >= 3, 600.0)
            opens = [bar.open_ms for bar in closed(events, "1m")]
            assert opens == sorted(set(opens)), "none twice"
            read = await world.market.candles(SYMBOL, "1m", 10)
            assert {b.open_ms for b in read} >= set(opens[-3:])

    in_world(name, live)


@venues
def test_what_is_not_listed_is_a_fault(name):
    """An unknown contract is refused, not an empty answer."""

    async def live(world):
        with pytest.raises(Fault):
            await world.market.candles("NOSUCHUSDT", "1m", 10)
        assert SYMBOL in {item.symbol for item in await world.market.instruments()}

    in_world(name, live)


@venues
def test_the_scan_reads_a_board_that_any_market_keeps(name):
    """Through the port alone a board is filled, kept up and whole again after a break, and the scan of it
    decides on the factors that the venue's data can feed."""

    async def live(world):
        clock = LoopClock(asyncio.get_running_loop(), START_MS)
        board = Board()
        mirror = Mirror(world.market, board, clock)
        intervals = ("1m", "5m", "15m", "1h", "4h", "1d")
        task = asyncio.create_task(mirror.run((SYMBOL,), intervals))
        try:
            await until(mirror.filled.is_set)
            world.break_stream()
            await until(lambda: not mirror.is_whole)
            await until(lambda: mirror.is_whole, 600.0)
            await asyncio.sleep(200.0)
            at_ms = clock.now_ms()
            assert all(board.is_ready(SYMBOL, interval, at_ms) for interval in intervals)
            rows = FactorEngine(ParamSet()).compute(board.view(at_ms), 1, "test")
            decision = decide(rows, ParamSet(), SignalMemory()).find(SYMBOL)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        assert {"T", "M", "S", "V"} <= {k for k, v in decision.factors.items() if np.isfinite(v)}
        assert decision.side in ("long", "short")
        told = await world.market.candles(SYMBOL, "1h", 1)
        [kept] = bars(board, SYMBOL, "1h", 1, clock)
        assert (kept.open_ms, kept.close) == (told[0].open_ms, pytest.approx(told[0].close))

    in_world(name, live)
