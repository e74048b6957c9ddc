"""The start's requests under virtual time: what leaves when, what is not asked at all."""

from __future__ import annotations

import asyncio
from collections import Counter
from urllib.parse import parse_qsl

import msgspec
import numpy as np
import pytest
from tests.net.virtual import run_virtual

from cryptosignal.binance.budget import Lane
from cryptosignal.binance.limits import Limits, kline_weight
from cryptosignal.domain.market import BarSource
from cryptosignal.domain.ports import HttpResponse
from cryptosignal.ground.units import INTERVAL_MS, MINUTE_MS
from cryptosignal.market import klines
from cryptosignal.market.board import Board
from cryptosignal.market.settings import MarketSettings
from cryptosignal.net.client import VenueClient
from cryptosignal.net.ledger import WEIGHT_HEADER, WeightLedger
from cryptosignal.net.warmup import WarmUpSettings, warm_up

INTERVALS = ("1h", "4h", "15m", "1d")
LATENCY_S = 0.1
FEW = WarmUpSettings(
    rows=120, daily_rows=20, with_open_interest=False, with_funding=False, with_spot=False
)
"""Weight as of a real start (2, 2, 2 and 1 a symbol) with fewer rows to make."""


def row_of(open_ms: int) -> tuple[int, float, float, float, float, float]:
    """A 15m bar's open time, prices and volume: the same whoever asks."""
    k = open_ms // INTERVAL_MS["15m"]
    price = 100.0 + k * 7919 % 101 / 64
    return open_ms, price, price + 0.75, price - 0.5, price + 0.25, 1_000.0 + k % 97


class Market:
    """A venue of 100 ms latency; longer bars are the sums of its 15m bars. Counts weight by minute."""

    def __init__(self, clock):
        self.clock = clock
        self.asked: list[tuple[str, str, int]] = []
        self.at_ms: list[int] = []
        self.used: Counter[int] = Counter()
        self.refused = 0
        self.bodies: dict[tuple[str, str, str], bytes] = {}
        self.open = self.open_most = 0

    async def request(self, _base_url, request):
        query = dict(parse_qsl(request.query))
        self.at_ms.append(self.clock.now_ms())
        self.open += 1
        self.open_most = max(self.open, self.open_most)
        await asyncio.sleep(LATENCY_S / 2)
        weight, body = (
            {"/fapi/v1/premiumIndex": 10, "/fapi/v1/ticker/24hr": 40}.get(request.path, 1),
            b"[]",
        )
        if request.path == "/fapi/v1/klines":
            weight = kline_weight(int(query["limit"]))
            self.asked.append((query["symbol"], query["interval"], int(query["limit"])))
            body = self.body(query["interval"], query["startTime"], query["limit"])
        minute = self.clock.now_ms() // MINUTE_MS
        self.used[minute] += weight
        self.refused += self.used[minute] > 2_400
        await asyncio.sleep(LATENCY_S / 2)
        self.open -= 1
        return HttpResponse(200, {WEIGHT_HEADER: str(self.used[minute])}, body)

    def body(self, interval, start, limit):
        key = interval, start, limit
        if key not in self.bodies:
            step = INTERVAL_MS[interval]
            opens = range(int(start), int(start) + int(limit) * step, step)
            due = [open_ms for open_ms in opens if open_ms <= self.clock.now_ms()]
            rows = (self.bar(open_ms, step) for open_ms in due)
            self.bodies[key] = b"[" + ",".join(rows).encode() + b"]"
        return self.bodies[key]

    @staticmethod
    def bar(open_ms, step):
        parts = [row_of(at) for at in range(open_ms, open_ms + step, INTERVAL_MS["15m"])]
        high, low = max(part[2] for part in parts), min(part[3] for part in parts)
        volume = sum(part[5] for part in parts)
        return (
            f'[{open_ms},"{parts[0][1]}","{high}","{low}","{parts[-1][4]}","{volume}",'
            f'{open_ms + step - 1},"{volume * 2}",{len(parts)},"{volume / 2}","{volume}","0"]'
        )


class Start:
    """A board, a client and its ledger before a start; the clock is measured already."""

    def __init__(self, clock, count):
        self.clock, self.market = clock, Market(clock)
        self.ledger = WeightLedger(Limits(), clock)
        self.ledger.trust_clock(50)
        self.client = VenueClient(self.market, "http://venue", self.ledger, clock)
        self.symbols = ["BTCUSDT", "ETHUSDT", *(f"C{k:03d}USDT" for k in range(count - 2))]
        self.board = Board(MarketSettings(intervals=INTERVALS), count)
        self.ready_ms: dict[str, int] = {}

    async def warm(self):
        began_ms = self.clock.now_ms()

        def note(symbol):
            self.ready_ms[symbol] = self.clock.now_ms() - began_ms

        return await warm_up(
            self.client,
            self.board,
            self.symbols,
            INTERVALS,
            self.clock,
            settings=FEW,
            on_ready=note,
        )


def test_a_start_takes_no_longer_than_its_requests():
    """562 requests of 100 ms, a hundred at once: six rounds, marks among them, all symbols ready."""

    async def main(clock):
        start = Start(clock, 140)
        start.ledger.set_flat(True)
        return start, await start.warm()

    start, report = run_virtual(main)
    assert report.requests == 562
    assert start.market.open_most == 100
    assert max(start.ready_ms.values()) == 600
    assert len(start.ready_ms) == 140
    assert not report.failed


def test_no_symbol_is_ready_before_the_marks_are_there():
    """The marks of the market leave first; a symbol whose candles are quicker waits for them."""

    async def main(clock):
        start = Start(clock, 2)
        quick = start.market.request

        async def slow_marks(base_url, request):
            if request.path == "/fapi/v1/premiumIndex":
                await asyncio.sleep(1.0)
            return await quick(base_url, request)

        start.market.request = slow_marks
        await start.warm()
        return start.ready_ms

    assert run_virtual(main) == {"BTCUSDT": 1_100, "ETHUSDT": 1_100}


@pytest.mark.parametrize("second", [0, 52])
def test_a_big_start_spends_what_is_left_of_this_minute_at_once(second):
    """550 symbols: 250 are ready in little more than their requests take, the rest as soon as the next
    minute begins; no minute of the venue exceeds its limit."""

    async def main(clock):
        await asyncio.sleep((second * 1_000 - clock.now_ms() % MINUTE_MS) % MINUTE_MS / 1_000)
        start = Start(clock, 550)
        start.ledger.set_flat(True)
        await start.warm()
        return start

    start = run_virtual(main)
    ready_ms = sorted(start.ready_ms.values())
    assert len(ready_ms) == 550
    assert ready_ms[249] <= 1_100
    assert ready_ms[-1] <= (60 - second) * 1_000 + 1_500
    assert not start.market.refused
    assert max(start.market.used.values()) == 2_304


def test_a_start_with_something_open_leaves_the_reserve():
    """Unless it is known to be flat a start stays below 72 % of a minute, and a snapshot and a cancel
    leave at once in the midst of it."""

    async def main(clock):
        start = Start(clock, 550)
        warming = asyncio.create_task(start.warm())
        await asyncio.sleep(5)
        asked_ms = clock.now_ms()
        await start.ledger.acquire(Lane.RECONCILE, 120)
        await start.ledger.acquire(Lane.ORDERS, 1)
        waited_ms = clock.now_ms() - asked_ms
        await warming
        return start, waited_ms

    start, waited_ms = run_virtual(main)
    assert waited_ms == 0
    assert max(start.market.used.values()) <= 1_728


def stored_until(start: Start, end_ms: int, symbols: list[str], intervals: tuple[str, ...]) -> None:
    """What a former run left on disk: whole series up to `end_ms`."""
    for interval in intervals:
        step = INTERVAL_MS[interval]
        last = end_ms // step * step - step
        count = FEW.daily_rows if interval == "1d" else FEW.rows
        body = start.market.body(interval, str(last - (count - 1) * step), str(count))
        rows = np.array([row[:11] for row in msgspec.json.decode(body)], np.float64)
        for symbol in symbols:
            start.board.load_history(symbol, interval, rows, end_ms, BarSource.DISK)


def test_a_restart_asks_only_for_the_shortest_bars():
    """What longer bars lack is summed up from the shortest ones, to the venue's own figures; where the
    shortest ones were not kept, everything that lacks is asked for."""

    async def main(clock):
        start = Start(clock, 4)
        end_ms = clock.now_ms() - 26 * INTERVAL_MS["1h"]
        *whole, partly = start.symbols
        stored_until(start, end_ms, whole, INTERVALS)
        stored_until(start, end_ms, [partly], INTERVALS[:2])
        return start, await start.warm()

    start, report = run_virtual(main)
    *whole, partly = start.symbols
    asked = sorted((symbol, interval) for symbol, interval, _rows in start.market.asked)
    wanted = [(symbol, "15m") for symbol in whole] + [(partly, name) for name in INTERVALS]
    assert asked == sorted(wanted)
    assert len(report.ready) == 4
    for interval in INTERVALS:
        bars = start.board.klines_of(interval)
        due = bars.due_open_ms(start.clock.now_ms())
        column = bars.column(due)
        (expected,) = msgspec.json.decode(b"[" + Market.bar(due, bars.step_ms).encode() + b"]")
        for slot in range(4):
            assert bars.next_ms[slot] == due + bars.step_ms
            assert bars.row(slot, column)[:5] == tuple(float(cell) for cell in expected[1:6])
        assert bars.source[0, column] == (klines.REST if interval == "15m" else klines.LOCAL_SUM)
        assert bars.source[3, column] == klines.REST
