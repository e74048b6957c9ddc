"""The account at Binance behind the ports: the client's calls, the way to an entry, its stream."""

from __future__ import annotations

from collections.abc import Callable

from cryptosignal.domain.events import (
    AccountSnapshotTaken,
    CancelReplied,
    CountdownReplied,
    OrderLookedUp,
    OrderReplied,
    SnapshotFailed,
)
from cryptosignal.domain.instrument import Instrument
from cryptosignal.domain.order import OrderIntent
from cryptosignal.domain.ports import AccountEvent
from cryptosignal.net.account_feed import AccountFeed
from cryptosignal.net.client import VenueClient


class AccountVenue:
    """Performs order actions through a client; what is prepared for a symbol is prepared once."""

    def __init__(self, client: VenueClient) -> None:
        self._client = client
        self._prepared: dict[str, tuple[int, str]] = {}

    @property
    def recv_window_ms(self) -> int:
        """The venue accepts a request no later than this after it was stamped."""
        return self._client.recv_window_ms

    @property
    def order_wait_ms_max(self) -> int:
        """The longest that our own ledger may hold an order request back."""
        return self._client.order_wait_ms_max

    async def place(self, intent: OrderIntent) -> OrderReplied:
        """Send one order once."""
        return await self._client.place(intent)

    async def cancel(self, client_id: str, symbol: str, is_algo: bool) -> CancelReplied:
        """Send one cancel."""
        return await self._client.cancel(client_id, symbol, is_algo)

    async def count_down(self, symbol: str, countdown_ms: int) -> CountdownReplied:
        """Set, renew or stop a symbol's countdown."""
        return await self._client.count_down(symbol, countdown_ms)

    async def look_up(self, client_id: str, symbol: str, is_algo: bool) -> OrderLookedUp:
        """Ask for one order."""
        return await self._client.look_up(client_id, symbol, is_algo)

    async def snapshot(
        self, purpose: str, symbols: tuple[str, ...] = (), trades_since_ms: int = 0
    ) -> AccountSnapshotTaken | SnapshotFailed:
        """Read the account whole."""
        return await self._client.snapshot(purpose, symbols, trades_since_ms)

    async def prepare_symbol(self, symbol: str, leverage: int, margin_type: str) -> None:
        """Margin type, then leverage. Raises Refused where the venue says no."""
        if self._prepared.get(symbol) == (leverage, margin_type):
            return
        await self._client.set_margin_type(symbol, margin_type)
        await self._client.set_leverage(symbol, leverage)
        self._prepared[symbol] = (leverage, margin_type)


class BinanceExchange(AccountVenue):
    """`domain.ports.Exchange` over Binance's REST and user stream."""

    def __init__(
        self,
        client: VenueClient,
        make_feed: Callable[[Callable[[AccountEvent], None]], AccountFeed],
    ) -> None:
        super().__init__(client)
        self._make_feed = make_feed
        self.feed: AccountFeed | None = None
        """The account's stream, once it is attended to."""

    async def instruments(self) -> tuple[Instrument, ...]:
        """Every contract of exchangeInfo."""
        return (await self._client.exchange_info()).instruments

    async def attend(self, on_event: Callable[[AccountEvent], None]) -> None:
        """Keep the user stream alive. Raises Refused when the venue says that our key is wrong."""
        self.feed = self._make_feed(on_event)
        await self.feed.run()
