"""The feeds under the names people know: WebSocketManager, DataService, NewCoinWSFeed.

Thin faces over `MarketFeed`, the board and the REST client; they keep nothing of their own but what
was asked of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from cryptosignal.binance.budget import Lane
from cryptosignal.domain.market import BarSource
from cryptosignal.ground.clock import Clock
from cryptosignal.ground.units import INTERVAL_MS
from cryptosignal.market.board import Board
from cryptosignal.market.caches import Candle, KlineFeed, bars, candle
from cryptosignal.market.universe import NEW_COIN_INTERVALS
from cryptosignal.net.feed import MarketFeed
from cryptosignal.net.warmup import MarketClient, holes
from cryptosignal.streams import names
from cryptosignal.streams.gaps import ROWS_MAX

PositionOf = Callable[[str], Mapping[str, object] | None]


class WebSocketManager:
    """Klines and positions of some symbols, from streams."""

    def __init__(
        self,
        symbols: list[str],
        interval: str = "1m",
        *,
        feed: MarketFeed,
        clock: Clock,
        position_of: PositionOf | None = None,
    ) -> None:
        self.kline_feed = KlineFeed(symbols, interval, board=feed.board, clock=clock)
        self._feed = feed
        self._position_of = position_of

    def start(self) -> None:
        """Add this manager's streams to the feed; those of others stay."""
        self._feed.add_streams(self.kline_feed.streams)

    def get_kline(self, symbol: str) -> Candle | None:
        """The newest closed bar: open, high, low, close, volume, timestamp."""
        return self.kline_feed.get_latest_kline(symbol)

    def get_account_position(self, symbol: str) -> Mapping[str, object] | None:
        """size, entry_price, unrealized_pnl, margin_type; None without a position."""
        return self._position_of(symbol.upper()) if self._position_of else None


class NewCoinWSFeed:
    """1m, 5m and 15m of newly listed coins (DOMAIN §1.8)."""

    intervals = NEW_COIN_INTERVALS

    def __init__(self, feed: MarketFeed) -> None:
        self._feed = feed
        self.symbols: list[str] = []

    def subscribe_newcoin(self, symbol: str) -> list[str]:
        """Add a coin; the streams of all others stay. Answers its streams."""
        upper = symbol.upper()
        streams = names.create_combined_streams([upper], self.intervals)
        if upper not in self.symbols:
            self.symbols.append(upper)
            self._feed.add_streams(streams)
        return streams

    def unsubscribe_newcoin(self, symbol: str) -> None:
        """Drop a coin's streams."""
        upper = symbol.upper()
        if upper in self.symbols:
            self.symbols.remove(upper)
            self._feed.remove_streams(names.create_combined_streams([upper], self.intervals))


class DataService:
    """Bars of any interval: from the board where they are whole, else what is missing by REST."""

    def __init__(self, board: Board, client: MarketClient, clock: Clock) -> None:
        self._board = board
        self._client = client
        self._clock = clock
        self.rest_calls = 0
        self.reads = 0

    async def get_klines(self, symbol: str, interval: str, limit: int = 200) -> list[Candle]:
        """The newest `limit` closed bars; only the missing ranges are fetched, longer intervals are
        summed from aligned shorter ones first."""
        self.reads += 1
        board, now_ms = self._board, self._clock.now_ms()
        board.flush(now_ms)
        board.repair_locally(now_ms)
        for hole in holes(board, symbol, interval, now_ms, min(limit, ROWS_MAX)):
            self.rest_calls += 1
            end_ms = hole.last_ms + INTERVAL_MS[interval] - 1
            rows = await self._client.klines(
                symbol.upper(), interval, hole.rows, hole.first_ms, end_ms, Lane.REPAIR
            )
            board.load_history(symbol, interval, rows, self._clock.now_ms(), BarSource.REST)
        return [candle(bar) for bar in bars(board, symbol, interval, limit, self._clock)]

    def get_stats(self) -> dict[str, float]:
        """Reads and REST calls of this service."""
        saved = 1.0 - self.rest_calls / self.reads if self.reads else 0.0
        return {"reads": self.reads, "rest_calls": self.rest_calls, "saved_frac": saved}
