"""Markets behind one cut: Binance's, and a board kept alive by any of them.

The program feeds its board from Binance's frames themselves, since that is the fast way. Another
venue's data come through the port `Market` and a `Mirror`; from the board on nothing is different.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

import numpy as np

from cryptosignal.domain.events import BarClosed, MarketStreamChanged, MarksUpdated, QualityChanged
from cryptosignal.domain.instrument import Instrument
from cryptosignal.domain.market import Bar, BarSource, MarkPrice
from cryptosignal.domain.ports import Market, MarketEvent
from cryptosignal.ground.clock import Clock
from cryptosignal.ground.faults import ContractFault, Fault
from cryptosignal.ground.units import INTERVAL_MS
from cryptosignal.market.board import Board
from cryptosignal.net.client import VenueClient
from cryptosignal.net.feed import FeedEvent, MarketFeed
from cryptosignal.streams import names

EVENTS_WAITING_MAX: Final = 100_000
RETRY_S: Final = 1.0
MakeFeed = Callable[[Board, Callable[[FeedEvent], None]], MarketFeed]


class BinanceMarket:
    """`domain.ports.Market` over Binance's REST and streams."""

    def __init__(self, client: VenueClient, clock: Clock, make_feed: MakeFeed) -> None:
        self._client = client
        self._clock = clock
        self._make_feed = make_feed

    async def instruments(self) -> tuple[Instrument, ...]:
        """Every contract of exchangeInfo."""
        return (await self._client.exchange_info()).instruments

    async def candles(
        self, symbol: str, interval: str, limit: int, end_ms: int = 0
    ) -> tuple[Bar, ...]:
        """Closed rows of /klines."""
        until_ms = end_ms - 1 if end_ms else 0
        rows = await self._client.klines(symbol, interval, limit + 1, 0, until_ms)
        closed = rows[rows[:, 6] < self._clock.now_ms()][-limit:]
        return tuple(_bar(row) for row in closed.tolist())

    async def follow(
        self,
        symbols: tuple[str, ...],
        intervals: tuple[str, ...],
        on_event: Callable[[MarketEvent], None],
    ) -> None:
        """The pooled connections of `MarketFeed`; up is told by data, never by a handshake."""
        told = _Told(on_event)
        feed = self._make_feed(Board(), told.hear)
        feed.on_lost.append(told.lose)
        feed.watch(symbols, symbols)
        streams = names.create_combined_streams(symbols, intervals)
        feed.set_streams([*streams, names.MARK_ARRAY_STREAM])
        await feed.run()


class _Told:
    """What a feed says, as the port says it."""

    def __init__(self, on_event: Callable[[MarketEvent], None]) -> None:
        self._on_event = on_event
        self._is_up = False
        self._newest_ms: dict[tuple[str, str], int] = {}

    def hear(self, event: FeedEvent) -> None:
        if isinstance(event, QualityChanged):
            return
        if not self._is_up:
            self._is_up = True
            self._on_event(MarketStreamChanged(is_up=True, reason="data flow"))
        if isinstance(event, BarClosed):
            key = (event.symbol, event.interval)
            if event.bar.open_ms <= self._newest_ms.get(key, 0):
                return
            self._newest_ms[key] = event.bar.open_ms
        self._on_event(event)

    def lose(self, streams: tuple[str, ...]) -> None:
        if self._is_up:
            self._is_up = False
            reason = f"{len(streams)} streams were lost"
            self._on_event(MarketStreamChanged(is_up=False, reason=reason))


class Mirror:
    """Keeps a board like the one that the program scans, from any market: history, then what is told;
    after a break the bars since. `is_whole` while nothing is missing."""

    def __init__(self, market: Market, board: Board, clock: Clock, bars: int = 300) -> None:
        self._market = market
        self._board = board
        self._clock = clock
        self._bars = bars
        self._events: asyncio.Queue[MarketEvent] = asyncio.Queue(EVENTS_WAITING_MAX)
        self.is_whole = False
        self.filled = asyncio.Event()
        """Set once history is there."""

    async def run(self, symbols: tuple[str, ...], intervals: tuple[str, ...]) -> None:
        """Fill and follow until cancelled."""
        listed = {item.symbol: item for item in await self._market.instruments()}
        self._board.set_universe([listed[symbol] for symbol in symbols])
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._market.follow(symbols, intervals, self._put))
            tasks.create_task(self._take(symbols, intervals))

    def _put(self, event: MarketEvent) -> None:
        try:
            self._events.put_nowait(event)
        except asyncio.QueueFull:
            raise ContractFault(f"more than {EVENTS_WAITING_MAX} market events wait") from None

    async def _take(self, symbols: tuple[str, ...], intervals: tuple[str, ...]) -> None:
        while True:
            event = await self._events.get()
            if isinstance(event, MarketStreamChanged):
                self.is_whole = False
                if event.is_up:
                    await self._read_back(symbols, intervals)
            elif isinstance(event, BarClosed):
                self._load(event.symbol, event.interval, (event.bar,), BarSource.STREAM)
            else:
                self._mark(event)

    async def _read_back(self, symbols: tuple[str, ...], intervals: tuple[str, ...]) -> None:
        """Every series whole again, tried until it can be read."""
        wanted = [(symbol, interval) for symbol in symbols for interval in intervals]
        while wanted:
            symbol, interval = wanted[0]
            try:
                found = await self._market.candles(symbol, interval, self._bars)
            except Fault:
                await asyncio.sleep(RETRY_S)
                continue
            self._load(symbol, interval, found, BarSource.REST)
            del wanted[0]
        self.is_whole = True
        self.filled.set()

    def _load(self, symbol: str, interval: str, bars: tuple[Bar, ...], source: BarSource) -> None:
        span_ms = INTERVAL_MS[interval]
        rows = [
            (b.open_ms, b.open, b.high, b.low, b.close, b.volume, b.open_ms + span_ms - 1,
             b.quote_volume, b.trades, b.taker_buy_volume, b.taker_buy_quote)
            for b in bars
        ]  # fmt: skip
        table = np.array(rows, dtype=np.float64).reshape(-1, 11)
        self._board.load_history(symbol, interval, table, self._clock.now_ms(), source)

    def _mark(self, event: MarksUpdated) -> None:
        nan = float("nan")
        self._board.load_marks(
            MarkPrice(symbol, event.event_ms, price, nan, nan, 0)
            for symbol, price in event.prices.items()
        )


def _bar(row: list[float]) -> Bar:
    open_ms, first, high, low, last, volume, _, quote, trades, bought, bought_quote = row
    return Bar(
        int(open_ms), first, high, low, last, volume, quote, int(trades), bought, bought_quote
    )
