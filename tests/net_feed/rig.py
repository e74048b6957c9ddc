"""A feed over the toy venue in virtual time."""

from __future__ import annotations

import asyncio

from tests.net_feed.fake_venue import FakeVenue, LoopTime

from cryptosignal.ground.loop import VirtualLoop
from cryptosignal.ground.seeds import Seeds
from cryptosignal.market.board import Board
from cryptosignal.market.settings import MarketSettings
from cryptosignal.net.feed import MarketFeed
from cryptosignal.net.repair import Repairer
from cryptosignal.net.warmup import WarmUpSettings, warm_up
from cryptosignal.quality.score import QualityBook
from cryptosignal.streams.settings import FeedSettings


class Routes:
    """URLs without a venue behind them."""

    def build_websocket_url(self, streams, use_combined=True):
        return "ws://venue/market/stream?streams=" + "/".join(streams)


class Rig:
    """Venue, board, feed and what was heard."""

    def __init__(
        self,
        loop: VirtualLoop,
        symbols: list[str],
        intervals: list[str],
        settings: FeedSettings | None = None,
        extra: tuple[str, ...] = ("!ticker@arr", "!markPrice@arr@1s"),
        kinds: tuple[str, ...] = (),
    ) -> None:
        self.loop = loop
        self.intervals = intervals
        self.venue = FakeVenue(loop, symbols)
        self.clock = LoopTime(loop, self.venue)
        self.board = Board(MarketSettings(intervals=tuple(intervals)), capacity=8)
        self.quality = QualityBook(capacity=8)
        self.events: list[object] = []
        self.closes: list[tuple] = []
        self.due: list[tuple[str, int]] = []
        self.notes: list[tuple[str, dict]] = []
        self.board.on_kline_close.append(lambda *what: self.closes.append(what))
        self.feed = MarketFeed(
            self.venue,
            Routes(),
            self.board,
            self.quality,
            self.clock,
            Seeds(3),
            settings or FeedSettings(),
            self.events.append,
            on_bars_due=lambda interval, close_ms: self.due.append((interval, close_ms)),
            on_note=lambda event, fields: self.notes.append((event, fields)),
        )
        self.repairer = Repairer(
            self.venue,
            self.board,
            self.quality,
            self.clock,
            settings or FeedSettings(),
            lambda event, fields: self.notes.append((event, fields)),
            is_failed=lambda: self.feed.is_failed,
        )
        self.streams = [f"{s.lower()}@kline_{i}" for s in symbols for i in intervals]
        self.streams += [f"{s.lower()}@{kind}" for s in symbols for kind in kinds]
        self.streams += extra

    async def start(self, *, with_repair: bool = True) -> None:
        self.tasks = [
            asyncio.create_task(self.venue.run(self.intervals)),
            asyncio.create_task(self.feed.run()),
        ]
        self.feed.set_streams(self.streams)
        if with_repair:
            self.tasks.append(asyncio.create_task(self.repairer.run()))

    async def warm(self, bars: int = 120) -> None:
        """History at the venue, streams, warm-up and repair."""
        self.venue.seed_history(self.intervals, 600)
        await self.start()
        await asyncio.sleep(3)
        report = await warm_up(
            self.venue,
            self.board,
            self.venue.symbols,
            self.intervals,
            self.clock,
            settings=WarmUpSettings(rows=bars),
        )
        assert not report.failed

    def score(self, symbol: str) -> float:
        """DataQual as of the last refresh."""
        return float(self.quality.score[self.board.find(symbol)])

    def differences(self, bars: int = 60) -> list[str]:
        """Every difference to the venue's truth over the newest bars of all intervals."""
        now = self.clock.now_ms()
        return [
            text
            for interval in self.intervals
            for text in self.venue.differences(self.board, interval, now, bars)
        ]

    async def stop(self) -> None:
        self.feed.stop()
        await self.tasks[1]
        for task in (self.tasks[0], *self.tasks[2:]):
            task.cancel()


def run(main) -> None:
    """Run a coroutine function on a fresh virtual loop."""
    loop = VirtualLoop()
    try:
        loop.run_until_complete(main(loop))
    finally:
        tasks = asyncio.all_tasks(loop)
        for task in tasks:
            task.cancel()
        if tasks:
            loop.run_until_complete(asyncio.wait(tasks))
        loop.close()
