"""Slow series: what is due is asked for, once, on its own cadence."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import numpy as np

from cryptosignal.domain.market import BarSource
from cryptosignal.ground.faults import Refused, Unreachable
from cryptosignal.ground.units import DAY_MS, HOUR_MS
from cryptosignal.market.board import Board
from cryptosignal.market.settings import MarketSettings
from cryptosignal.net.refresh import AGAIN_MS, Refresher
from cryptosignal.net.warmup import WarmUpSettings

MIDNIGHT_MS = 1_763_596_800_000


class Clock:
    def __init__(self, now_ms):
        self.ms = now_ms

    def now_ms(self):
        return self.ms

    def mono_ns(self):
        return self.ms * 1_000_000


class Client:
    """Answers rows up to the clock's hour; counts what is asked."""

    def __init__(self, clock):
        self.clock, self.asked, self.is_up = clock, [], True

    def _note(self, kind, symbol, limit):
        self.asked.append((kind, symbol, limit))
        if not self.is_up:
            raise Unreachable("connection refused")

    async def open_interest_hist(self, symbol, period, limit, lane=None):
        self._note("oi", symbol, limit)
        newest = self.clock.ms // HOUR_MS * HOUR_MS
        return [
            SimpleNamespace(time_ms=newest - n * HOUR_MS, contracts=1.0, value_usdt=2.0)
            for n in reversed(range(limit))
        ]

    async def funding_history(self, symbol, limit, lane=None):
        self._note("funding", symbol, limit)
        newest = self.clock.ms // (8 * HOUR_MS) * 8 * HOUR_MS
        return [
            SimpleNamespace(time_ms=newest - n * 8 * HOUR_MS, rate=0.0001)
            for n in reversed(range(limit))
        ]

    async def spot_klines(self, symbol, interval, limit, lane=None):
        self._note("spot", symbol, limit)
        if symbol == "NOSPOTUSDT":
            raise Refused(-1121, "Invalid symbol.", 400)
        return bars_until(self.clock.ms, HOUR_MS, limit)

    async def klines(self, symbol, interval, limit, start_ms=0, end_ms=0, lane=None):
        self._note(interval, symbol, limit)
        return bars_until(end_ms + 1, DAY_MS, limit)


def bars_until(now_ms, step_ms, limit):
    """The newest closed bars."""
    newest = now_ms // step_ms * step_ms - step_ms
    opens = newest - step_ms * np.arange(limit)[::-1]
    return np.array([[t, 1, 1, 1, 1, 1, t + step_ms - 1, 1, 1, 1, 1] for t in opens], np.float64)


class Rig:
    def __init__(self, symbols=("AUSDT", "NOSPOTUSDT")):
        self.clock = Clock(MIDNIGHT_MS + 23 * HOUR_MS + 20 * 60_000)
        self.client = Client(self.clock)
        self.board = Board(MarketSettings(intervals=("1h", "1d")), capacity=4)
        for symbol in symbols:
            self.board.slot(symbol)
            self.board.load_history(
                symbol, "1d", bars_until(self.clock.ms, DAY_MS, 30), self.clock.ms, BarSource.REST
            )
        self.refresher = Refresher(
            self.client, self.board, self.clock, lambda: symbols, ("1d",),
            WarmUpSettings(daily_rows=20),
        )  # fmt: skip

    def round(self):
        """One round; answers what it asked."""
        self.client.asked.clear()
        asyncio.run(self.refresher.round())
        return sorted(self.client.asked)

    def later(self, ms):
        self.clock.ms += ms


def test_each_series_is_read_when_its_next_row_is_due_and_not_before():
    """After the first read nothing is asked until the hour, the settlement or the day is over."""
    rig = Rig()
    first = {(kind, symbol) for kind, symbol, _ in rig.round()}
    assert first == {(k, s) for k in ("oi", "funding", "spot") for s in ("AUSDT", "NOSPOTUSDT")}
    assert rig.round() == []
    rig.later(30 * 60_000)
    assert rig.round() == []
    rig.later(20 * 60_000)  # 00:10 of the next day: an hour, a settlement and a day are over
    asked = rig.round()
    assert ("oi", "AUSDT", 2) in asked
    assert ("funding", "AUSDT", 2) in asked
    assert ("1d", "AUSDT", 1) in asked
    assert ("spot", "AUSDT", 2) in asked
    assert not any(kind == "spot" and symbol == "NOSPOTUSDT" for kind, symbol, _ in asked)
    assert rig.board.is_ready("AUSDT", "1d", rig.clock.ms)
    assert rig.round() == []


def test_a_row_that_is_late_is_asked_for_again_later():
    """A venue that has nothing new yet, or does not answer, is not asked in every round."""
    rig = Rig(("AUSDT",))
    rig.round()
    rig.later(HOUR_MS)
    rig.client.is_up = False
    assert rig.round()
    assert rig.round() == []
    assert rig.refresher.failures > 0
    rig.client.is_up = True
    rig.later(61_000)
    assert rig.round()
    rig.later(AGAIN_MS)
    assert rig.round() == []
