"""The feed against the simulated venue for as long as you like, in virtual time, at any weather.

`python -m tests.net_feed.soak [--hours N] [--symbols N] [--seed N] [--faults NAME]` runs it and ends
in one JSON line: bars and book levels that are missing or different from the venue's own at the end,
429 answers of our own making, and what the weather was. Fails unless all of them are 0.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec
import numpy as np

from cryptosignal.binance.decode import rest
from cryptosignal.binance.limits import Limits
from cryptosignal.binance.routes import Routes
from cryptosignal.domain.events import QualityChanged
from cryptosignal.domain.market import BarSource
from cryptosignal.domain.ports import HttpRequest, HttpResponse
from cryptosignal.ground.clock import LoopClock
from cryptosignal.ground.loop import VirtualLoop
from cryptosignal.ground.seeds import Seeds
from cryptosignal.ground.units import INTERVAL_MS, MINUTE_MS
from cryptosignal.market.board import Board
from cryptosignal.market.books import BookState
from cryptosignal.market.settings import MarketSettings
from cryptosignal.market.universe import Tiers, UniverseSettings, streams_of
from cryptosignal.modes.film import TapedBoard, TapedQuality
from cryptosignal.modes.virtual_net import STORM, MemoryTransport, NetFaults, VirtualNetwork
from cryptosignal.net.client import VenueClient
from cryptosignal.net.feed import MarketFeed
from cryptosignal.net.ledger import WeightLedger
from cryptosignal.net.repair import Repairer
from cryptosignal.net.warmup import WarmUpSettings, warm_up
from cryptosignal.quality.score import QualityBook
from cryptosignal.quality.settings import QualitySettings
from cryptosignal.sim.dialect_rest import kline_rows
from cryptosignal.sim.settings import VenueSettings
from cryptosignal.sim.venue import Venue
from cryptosignal.store.tape import CALL, Tape
from cryptosignal.streams.settings import FeedSettings

START_MS = 1_763_640_000_000 + 7 * 60_000 + 11_000
ROUTES = Routes(rest_url="http://venue", ws_url="ws://venue")
SETTLED_MS = 10_000
"""A bar may be on its way for so long after its close (grace, laggard's wait, one request)."""
_ROWS = 99
_ALL = 1_000_000
_SAME = 1e-9
"""A bar summed up from shorter ones may differ in the last digit of a float, and in no more."""


@dataclass(frozen=True)
class Plan:
    """What is run: `pace` makes the venue's timers and trades so much sparser (one: as live)."""

    hours: float = 24.0
    symbols: int = 140
    intervals: tuple[str, ...] = ("1m", "5m", "15m", "1h", "4h")
    warm: int = 8
    hot: int = 2
    seed: int = 11
    faults: str = "storm"
    net: NetFaults = STORM
    pace: float = 4.0
    rest_minutes: int = 12
    websocket: FeedSettings = field(default_factory=FeedSettings)


class CountingTransport(MemoryTransport):
    """Counts 429 and 418 answers, those apart that follow weight which somebody else spent."""

    def __init__(self, network: VirtualNetwork) -> None:
        super().__init__(network)
        self._rig = network
        self._others = (0, -1)
        self.ours = 0
        self.others = 0

    async def request(self, base_url: str, request: HttpRequest) -> HttpResponse:
        """See `MemoryTransport`."""
        response = await super().request(base_url, request)
        if response.status in (418, 429):
            if self._spent_by_others():
                self.others += 1
            else:
                self.ours += 1
        return response

    def note_minute(self) -> None:
        """Remember in which minute the weather spent our weight for us."""
        count = self._rig.venue.mischief.counts["http_429"]
        if count != self._others[0]:
            self._others = (count, self._rig.clock.now_ms() // MINUTE_MS)

    def _spent_by_others(self) -> bool:
        self.note_minute()
        return self._rig.clock.now_ms() // MINUTE_MS - self._others[1] <= 1 and self._others[1] > 0


class Soak:
    """One venue, one network, one feed."""

    def __init__(self, loop: VirtualLoop, plan: Plan, tape: Tape | None = None) -> None:
        self.loop = loop
        self.plan = plan
        seeds = Seeds(plan.seed)
        self.clock = LoopClock(loop, START_MS)
        settings = VenueSettings(
            symbols=plan.symbols, faults=plan.faults, start_ms=START_MS, events=False,
            speed=plan.pace,
        )  # fmt: skip
        self.venue = Venue(settings, seeds.child("venue"), START_MS)
        self.network = VirtualNetwork(loop, self.clock, self.venue, seeds.child("net"), plan.net)
        self.network.start()
        self.transport = CountingTransport(self.network)
        self.network.after_move = lambda _now_ms: self.transport.note_minute()
        self.ledger = WeightLedger(Limits(), self.clock, host="venue")
        self.client = VenueClient(self.transport, ROUTES.rest_url, self.ledger, self.clock)
        self.symbols = [row.symbol for row in self.venue.exchange.listed][: plan.symbols]
        market = MarketSettings(intervals=plan.intervals)
        if tape is None:
            self.board, self.quality = Board(market, plan.symbols), QualityBook(None, plan.symbols)
        else:
            self.board = TapedBoard(market, plan.symbols, self._record)
            self.quality = TapedQuality(QualitySettings(), plan.symbols, self._record)
        self.tape = tape
        numbers = plan.websocket
        self.notes: dict[str, int] = {}
        self.told: list[tuple[float, str]] = []
        self.feed = MarketFeed(
            self.transport, ROUTES, self.board, self.quality, self.clock, seeds, numbers,
            self._hear, on_note=self._count, tap=self._tap if tape is not None else None,
        )  # fmt: skip
        self.repairer = Repairer(
            self.client, self.board, self.quality, self.clock, numbers, self._count,
            is_failed=lambda: self.feed.is_failed,
        )  # fmt: skip
        self.was_healthy = False
        self.score_min = 1.0
        self._jobs: list[asyncio.Task[Any]] = []

    def _tap(self, conn_id: int, now_ms: int, payload: bytes) -> None:
        assert self.tape is not None
        self.tape.append(payload, self.clock.mono_ns(), now_ms, conn_id & 0xFFFF_FFFF)

    def _record(self, told: bytes) -> None:
        assert self.tape is not None
        self.tape.append(told, self.clock.mono_ns(), self.clock.now_ms(), kind=CALL)

    def _count(self, event: str, _fields: dict[str, Any]) -> None:
        self.notes[event] = self.notes.get(event, 0) + 1
        self.told.append((self.loop.time(), event))

    def _hear(self, event: object) -> None:
        if isinstance(event, QualityChanged) and event.level in ("none", "stop", "watch", "hold"):
            self.told.append((self.loop.time(), f"DataQual: {event.reason}"))

    # ---- life -----------------------------------------------------------------------------------
    async def start(self) -> None:
        """Streams, history, repair; all that failed is wanted again."""
        plan = self.plan
        front = tuple(self.symbols)
        tiers = Tiers(front, front[: plan.warm], front[: plan.hot])
        streams = streams_of(tiers, UniverseSettings(stream_intervals=plan.intervals))
        self._jobs.append(asyncio.create_task(self.feed.run()))
        self.feed.set_streams(streams)
        await asyncio.sleep(3)
        report = await warm_up(
            self.client, self.board, self.symbols, plan.intervals, self.clock,
            settings=WarmUpSettings(
                rows=_ROWS, with_spot=False, with_open_interest=False, with_funding=False
            ),
        )  # fmt: skip
        self._jobs.append(asyncio.create_task(self.repairer.run()))
        for symbol, step, _ in report.failed:
            if step.startswith("klines "):
                self.repairer.want(symbol, step.removeprefix("klines "))

    async def run(self, on_hour: OnHour | None = None) -> None:
        """The whole plan: start, weather, a quiet spell."""
        await self.start()
        minutes = round(self.plan.hours * 60)
        for minute in range(minutes):
            await asyncio.sleep(60)
            worst = np.nanmin(self.quality.score[: len(self.symbols)], initial=1.0)
            self.score_min = min(self.score_min, float(worst))
            if on_hour is not None and minute % 60 == 59:
                on_hour(self, (minute + 1) // 60)
        self.calm()
        await asyncio.sleep(self.plan.rest_minutes * 60)
        self.was_healthy = self.feed.is_healthy

    def calm(self) -> None:
        """No more weather, neither on the wire nor at the venue."""
        self.network.faults = NetFaults()
        self.venue.mischief.calm()

    async def stop(self) -> None:
        """End in order."""
        self.feed.stop()
        for job in self._jobs:
            job.cancel()
        await asyncio.gather(*self._jobs, return_exceptions=True)

    # ---- truth ----------------------------------------------------------------------------------
    def bars_held(self, interval: str) -> int:
        """How many of the newest bars the board must hold: history and what was streamed since."""
        streamed = int(self.loop.time() * 1000) // INTERVAL_MS[interval]
        return min(_ROWS - 2 + streamed, self.board.settings.kline_cache_size)

    def listed(self) -> list[str]:
        """The symbols that have not been delisted meanwhile."""
        exchange, now_ms = self.venue.exchange, self.clock.now_ms()
        rows = {symbol: exchange.listed[exchange.index_of[symbol]] for symbol in self.symbols}
        return [
            symbol
            for symbol, row in rows.items()
            if not row.delist_notice_ms or row.delivery_ms > now_ms
        ]

    def stale(self, age_ms: int) -> list[str]:
        """Symbols whose mark is older than `age_ms`, and the market's ticker if all of it is."""
        now_ms, marks = self.clock.now_ms(), self.board.marks
        slots = {symbol: self.board.find(symbol) for symbol in self.listed()}
        found = [f"{s} mark" for s, at in slots.items() if not now_ms - marks.mark_ms[at] <= age_ms]
        if not now_ms - self.board.intake.ticker_ms <= age_ms:
            found.append("ticker")
        return found

    def differences(self, newest: int = 0, settled_ms: int = 0) -> tuple[int, list[str]]:
        """(bars compared, where they differ from the venue's own as its REST would print them):
        all that must be there, or the `newest`, as of `settled_ms` ago."""
        self.board.flush(self.clock.now_ms(), whole=True)  # the past must not receive the present
        now_ms = self.clock.now_ms() - settled_ms
        truth = Board(MarketSettings(intervals=self.plan.intervals), capacity=len(self.symbols))
        exchange, symbols = self.venue.exchange, self.listed()
        for interval in self.plan.intervals:
            bars = min(newest or _ALL, self.bars_held(interval))
            first_ms = now_ms - (bars + 2) * INTERVAL_MS[interval]
            for symbol in symbols:
                index = exchange.index_of[symbol]
                candles = exchange.klines.rows(index, interval, first_ms, now_ms, now_ms)
                body = kline_rows(exchange.listed[index], interval, candles)
                truth.load_history(symbol, interval, rest.klines(body), now_ms, BarSource.REST)
        ours, theirs = self.board.view(now_ms).bars, truth.view(now_ms).bars
        compared, found = 0, []
        for interval in self.plan.intervals:
            bars = min(newest or _ALL, self.bars_held(interval))
            compared += bars * len(symbols)
            for symbol in symbols:
                mine = ours[interval].data[:, self.board.find(symbol), -bars:]
                other = theirs[interval].data[:, truth.find(symbol), -bars:]
                same = np.isclose(mine, other, rtol=_SAME, atol=0)
                found += [
                    f"{symbol} {interval} {at - bars}: {mine[:, at]} != {other[:, at]}"
                    for at in np.flatnonzero(~same.all(axis=0)).tolist()
                ]
        return compared, found

    async def book_differences(self) -> list[str]:
        """Where the hot symbols' books differ from what the venue's own differences add up to."""
        await asyncio.sleep(0.9)
        found: list[str] = []
        for index, symbol in enumerate(self.symbols[: self.plan.hot]):
            channel = self.venue.exchange.hub.channels[f"{symbol.lower()}@depth@100ms"]
            book = self.board.books[self.board.find(symbol)]
            for _ in range(200):  # until nothing of the newest difference is on its way
                self.feed.flush()
                if book.state is BookState.SYNCED and book.last_id == channel.last_uid:
                    break
                await asyncio.sleep(0.05)
            row = self.venue.exchange.listed[index]
            scales = 10.0**-row.price_digits, 10.0**-row.qty_digits
            count = min(len(channel.bids), len(channel.asks), self.venue.settings.book_levels)
            ours = book.top(count)
            sides = zip(("bid", "ask"), ours, (channel.bids, channel.asks), strict=True)
            for side, mine, theirs in sides:
                truth = [(p * scales[0], q * scales[1]) for p, q in theirs[:count]]
                if book.state is not BookState.SYNCED or not np.allclose(mine, truth, rtol=_SAME):
                    found.append(f"{symbol} {side}s at id {book.last_id} of {channel.last_uid}")
        return found


OnHour = Callable[[Soak, int], None]


class Result(msgspec.Struct):
    """The one line at the end."""

    hours: float
    symbols: int
    delisted: int
    intervals: int
    seed: int
    faults: str
    bars_compared: int
    bars_missing_or_different: int
    books_compared: int
    books_different: int
    is_healthy: bool
    data_quality_min: float
    own_429: int
    answers_429_after_others_spent: int
    weather_spent_our_weight: int
    faults_injected: int
    reconnects: int
    renewals: int
    gaps_found: int
    gaps_repaired: int
    bars_by_rest: int
    bars_by_sums: int
    rest_requests: int
    wall_s: float = 0.0

    @property
    def is_well(self) -> bool:
        """Nothing lost, nothing wrong, never a 429 of our own making."""
        bad = self.bars_missing_or_different + self.books_different + self.own_429
        return bad == 0 and self.is_healthy


def soak(plan: Plan, on_hour: OnHour | None = None) -> tuple[Result, list[str]]:
    """Run a plan in a virtual loop of its own; answers figures and the differences in words."""
    began_s = time.monotonic()
    loop = VirtualLoop()
    try:
        rig = Soak(loop, plan)
        loop.run_until_complete(rig.run(on_hour))
        result, found = loop.run_until_complete(judge(rig))
        result.wall_s = round(time.monotonic() - began_s, 1)
        loop.run_until_complete(rig.stop())
        return result, found
    finally:
        empty(loop)


def empty(loop: VirtualLoop) -> None:
    """Cancel what still runs, and close."""
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    if tasks:
        loop.run_until_complete(asyncio.wait(tasks))
    loop.close()


async def judge(rig: Soak) -> tuple[Result, list[str]]:
    """The figures as of now."""
    bars, wrong_bars = rig.differences(settled_ms=SETTLED_MS)
    wrong_books = await rig.book_differences()
    plan, feed, repairer = rig.plan, rig.feed, rig.repairer
    stats = rig.board.get_stats()
    counts = rig.venue.faults_injected
    result = Result(
        hours=plan.hours,
        symbols=len(rig.symbols),
        delisted=len(rig.symbols) - len(rig.listed()),
        intervals=len(plan.intervals),
        seed=plan.seed,
        faults=plan.faults,
        bars_compared=bars,
        bars_missing_or_different=len(wrong_bars),
        books_compared=plan.hot,
        books_different=len(wrong_books),
        is_healthy=rig.was_healthy,
        data_quality_min=round(rig.score_min, 3),
        own_429=rig.transport.ours,
        answers_429_after_others_spent=rig.transport.others,
        weather_spent_our_weight=counts["http_429"],
        faults_injected=sum(counts.values()) + sum(rig.network.counts.values()),
        reconnects=sum(feed.reasons.values()),
        renewals=feed.renewals,
        gaps_found=int(str(stats["gaps_found"])),
        gaps_repaired=int(str(stats["gaps_repaired"])),
        bars_by_rest=repairer.bars_repaired,
        bars_by_sums=rig.board.bars_summed,
        rest_requests=repairer.requests,
    )
    return result, [*wrong_bars, *wrong_books]


def main(arguments: list[str]) -> int:
    """The command line; 0 if nothing was lost, nothing wrong and no 429 our own."""
    result, found = soak(asked_for("python -m tests.net_feed.soak", arguments), tell)
    for line in found[:20]:
        print(line)
    print(json.dumps(msgspec.to_builtins(result)))
    return 0 if result.is_well else 1


def tell(rig: Soak, hour: int) -> None:
    """One line an hour."""
    lost = sum(rig.feed.reasons.values())
    print(f"hour {hour}: {rig.board.frames} frames, {lost} connections lost", flush=True)


def asked_for(name: str, arguments: list[str]) -> Plan:
    """The plan of a command line."""
    parser = argparse.ArgumentParser(prog=name)
    plan = Plan()
    parser.add_argument("--hours", type=float, default=plan.hours)
    parser.add_argument("--symbols", type=int, default=plan.symbols)
    parser.add_argument("--seed", type=int, default=plan.seed)
    parser.add_argument("--faults", default=plan.faults, choices=("calm", "weather", "storm"))
    asked = parser.parse_args(arguments)
    net = STORM if asked.faults == "storm" else NetFaults()
    return replace(plan, net=net, **vars(asked))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
