"""The feed against the simulated venue in virtual time, calm and at storm: the truth at the end."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from cryptosignal.binance.limits import Limits
from cryptosignal.binance.routes import Routes
from cryptosignal.domain.market import BarSource
from cryptosignal.ground.clock import LoopClock
from cryptosignal.ground.loop import VirtualLoop
from cryptosignal.ground.seeds import Seeds
from cryptosignal.market.board import Board
from cryptosignal.market.settings import MarketSettings
from cryptosignal.market.universe import Tiers, UniverseSettings, streams_of
from cryptosignal.modes.virtual_net import STORM, MemoryTransport, NetFaults, VirtualNetwork
from cryptosignal.net.client import VenueClient
from cryptosignal.net.feed import MarketFeed
from cryptosignal.net.ledger import WeightLedger
from cryptosignal.net.repair import Repairer
from cryptosignal.net.warmup import WarmUpSettings, warm_up
from cryptosignal.quality.score import QualityBook
from cryptosignal.sim.settings import VenueSettings
from cryptosignal.sim.venue import Venue
from cryptosignal.streams.settings import FeedSettings

pytestmark = pytest.mark.long

START_MS = 1_763_640_000_000 + 7 * 60_000 + 11_000
SYMBOLS = ["BTCUSDT", "ETHUSDT"]
INTERVALS = ("1m", "5m")
ROUTES = Routes(rest_url="http://venue", ws_url="ws://venue")


class Soak:
    """One venue, one network, one feed."""

    def __init__(self, loop, faults: str, net: NetFaults) -> None:
        self.loop = loop
        seeds = Seeds(11)
        self.clock = LoopClock(loop, START_MS)
        settings = VenueSettings(
            symbol_names=tuple(SYMBOLS), symbols=2, faults=faults, start_ms=START_MS, events=False,
            ticks_per_minute=12,
        )  # fmt: skip
        self.venue = Venue(settings, seeds.child("venue"), START_MS)
        self.network = VirtualNetwork(loop, self.clock, self.venue, seeds.child("net"), net)
        self.network.start()
        self.transport = MemoryTransport(self.network)
        self.ledger = WeightLedger(Limits(), self.clock, host="venue")
        self.client = VenueClient(self.transport, ROUTES.rest_url, self.ledger, self.clock)
        self.board = Board(MarketSettings(intervals=INTERVALS), capacity=4)
        self.quality = QualityBook(capacity=4)
        numbers = FeedSettings()
        self.notes = []
        self.feed = MarketFeed(
            self.transport, ROUTES, self.board, self.quality, self.clock, seeds, numbers,
            lambda event: None, on_note=lambda *note: self.notes.append(note),
        )  # fmt: skip
        self.repairer = Repairer(
            self.client, self.board, self.quality, self.clock, numbers,
            lambda *note: self.notes.append(note), is_failed=lambda: self.feed.is_failed,
        )  # fmt: skip

    async def run(self, minutes: int, rest_minutes: int) -> list[str]:
        tiers = Tiers(tuple(SYMBOLS), tuple(SYMBOLS), ("BTCUSDT",))
        streams = streams_of(tiers, UniverseSettings(stream_intervals=INTERVALS))
        feed = asyncio.create_task(self.feed.run())
        self.feed.set_streams(streams)
        await asyncio.sleep(3)
        report = await warm_up(
            self.client, self.board, SYMBOLS, INTERVALS, self.clock,
            settings=WarmUpSettings(rows=99, with_spot=False),
        )  # fmt: skip
        repair = asyncio.create_task(self.repairer.run())
        for symbol, step, _ in report.failed:
            if step.startswith("klines "):
                self.repairer.want(symbol, step.removeprefix("klines "))
        await asyncio.sleep(minutes * 60)
        self.network.faults = NetFaults()
        await asyncio.sleep(rest_minutes * 60)
        found = await self.differences(min(minutes, 60))
        self.was_healthy = False
        for _ in range(120):  # the venue's own storm goes on
            self.was_healthy = self.was_healthy or self.feed.is_healthy
            await asyncio.sleep(1)
        self.feed.stop()
        await feed
        repair.cancel()
        await asyncio.wait([repair])
        return found

    async def differences(self, bars: int) -> list[str]:
        """Newest bars of the board against a fresh board filled by REST alone."""
        truth = Board(MarketSettings(intervals=INTERVALS), capacity=4)
        found = []
        for symbol in SYMBOLS:
            for interval in INTERVALS:
                rows = await self.client.klines(symbol, interval, 99)
                truth.load_history(symbol, interval, rows, self.clock.now_ms(), BarSource.REST)
                now = self.clock.now_ms()
                ours, theirs = (b.view(now).bars[interval] for b in (self.board, truth))
                mine = ours.data[:, self.board.find(symbol), -bars:]
                other = theirs.data[:, truth.find(symbol), -bars:]
                same = np.isclose(mine, other, rtol=1e-9, atol=0)  # a sum's last digit may differ
                for index in np.flatnonzero(~same.all(axis=0)).tolist():
                    found.append(
                        f"{symbol} {interval} {index}: {mine[:, index]} != {other[:, index]}"
                    )
        return found


@pytest.mark.parametrize(
    ("faults", "net", "minutes"), [("calm", NetFaults(), 30), ("storm", STORM, 60)]
)
def test_no_bar_is_missing_or_different_at_the_end(faults, net, minutes):
    """After an hour of storm and a quiet spell every bar equals the venue's, and there was no 429."""
    loop = VirtualLoop()
    try:
        soak = Soak(loop, faults, net)
        found = loop.run_until_complete(soak.run(minutes, 8))
        assert found == []
        assert soak.was_healthy
        assert soak.board.books[soak.board.find("BTCUSDT")].state.name == "SYNCED"
        if faults == "calm":
            assert soak.repairer.bars_mismatched == 0
            assert soak.repairer.books_mismatched == 0
            assert soak.feed.reasons == {}
            assert soak.quality.score[0] > 0.95
        else:
            assert soak.feed.reasons
        assert soak.repairer.books_compared > 5
        assert soak.repairer.bars_compared > minutes
        assert not any("429" in str(note) for note in soak.notes)
    finally:
        tasks = asyncio.all_tasks(loop)
        for task in tasks:
            task.cancel()
        if tasks:
            loop.run_until_complete(asyncio.wait(tasks))
        loop.close()
