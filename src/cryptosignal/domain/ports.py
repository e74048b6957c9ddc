"""The ports: the only places where live, paper, simulation, replay and backtest differ.

Faces of sockets, disk and HTTP as the rim needs them; the real ones live in `net/` and `store/`,
the simulated ones in `modes/simulate`. Bytes cross these ports, never objects.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import msgspec

from cryptosignal.domain.events import (
    AccountSnapshotTaken,
    AccountStreamChanged,
    AccountUpdated,
    AlgoUpdated,
    BarClosed,
    CancelReplied,
    CountdownReplied,
    MarginCalled,
    MarketStreamChanged,
    MarksUpdated,
    OrderLookedUp,
    OrderReplied,
    OrderUpdated,
    SnapshotFailed,
    TradeSeen,
)
from cryptosignal.domain.instrument import Instrument
from cryptosignal.domain.market import Bar
from cryptosignal.domain.order import OrderIntent

AccountEvent = (
    AccountStreamChanged
    | AccountSnapshotTaken
    | SnapshotFailed
    | OrderUpdated
    | TradeSeen
    | AlgoUpdated
    | AccountUpdated
    | MarginCalled
)
"""What an account tells by itself, in our words."""


class HttpRequest(msgspec.Struct, frozen=True, gc=False):
    """One HTTP request. `path` starts with `/`, `query` is the encoded string without `?`."""

    method: str
    path: str
    query: str = ""
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    timeout_ms: int = 10_000


class HttpResponse(msgspec.Struct, frozen=True, gc=False):
    """One HTTP answer; header names are lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


class WsListener(Protocol):
    """Receives what a WebSocket connection delivers. Called synchronously on the loop."""

    def on_frame(self, payload: bytes) -> None:
        """One whole text message."""
        ...

    def on_pong(self) -> None:
        """A pong to our ping (proof of a peer, not of data)."""
        ...

    def on_closed(self, code: int, reason: str) -> None:
        """The connection is gone (1006 without a close frame). Called exactly once."""
        ...


class FrameReader(Protocol):
    """Memory for what a socket says, WebSocket frames and all, and who takes whole messages out."""

    memory: memoryview

    def take(self, start: int, end: int) -> tuple[int, int]:
        """Take the messages of the frames in memory[start:end]; answers where it stopped, and why: 0
        if the frame there is not complete, its bytes if it is no whole message of text and so the
        transport's, -1 if no frame may stand there."""
        ...


class FrameSorter(Protocol):
    """What lets a transport put whole messages where they belong: `takes[message[11:43]]`, where
    there is one, gets the message; `taken` counts them; `arm` is called before the first and now
    and then. A listener that wants this has one as `sorter`, None or nothing otherwise."""

    taken: int
    takes: dict[bytes, Callable[[bytes], None]]

    def arm(self) -> None:
        """A message is on its way, the first after a while or one of many."""
        ...

    def reader(self) -> FrameReader | None:
        """What takes whole reads from now on; None while messages have to come one by one."""
        ...


def sorter_of(listener: WsListener) -> FrameSorter | None:
    """The sorter of a listener, None if it takes every message itself."""
    found: FrameSorter | None = getattr(listener, "sorter", None)
    return found


class WsLink(Protocol):
    """An open WebSocket connection."""

    def send(self, payload: bytes) -> None:
        """Queue one text message."""
        ...

    def ping(self) -> None:
        """Queue a ping."""
        ...

    def close(self, code: int = 1000) -> None:
        """Start closing; `on_closed` follows."""
        ...


class Transport(Protocol):
    """Sockets: HTTP requests and WebSocket connections of one program."""

    async def open_ws(self, url: str, listener: WsListener, timeout_ms: int) -> WsLink:
        """Connect and hand frames to `listener`.

        Raises `TimedOut`, `Unreachable`, or `Refused` (HTTP status as code) on a failed handshake.
        """
        ...

    async def request(self, base_url: str, request: HttpRequest) -> HttpResponse:
        """One exchange, no retry of any kind (RELIABILITY §3.3).

        Raises `TimedOut` (outcome unknown) or `Unreachable` (nothing was sent).
        """
        ...

    async def close(self) -> None:
        """Close every connection."""
        ...


class Disk(Protocol):
    """Append-only files and small replaced ones, under one root. Names are relative paths."""

    def append(self, name: str, data: bytes) -> None:
        """Queue bytes at the end of `name`; not durable until `sync`."""
        ...

    async def sync(self, name: str) -> None:
        """Return once everything appended to `name` before the call is durable (group commit)."""
        ...

    def read(self, name: str) -> bytes:
        """All bytes of `name`, b\"\" if it does not exist."""
        ...

    def size(self, name: str) -> int:
        """Length of `name` in bytes, appends that still wait included; 0 if it does not exist."""
        ...

    def replace(self, name: str, data: bytes) -> None:
        """Write `name` whole, atomically."""
        ...

    def names(self, prefix: str) -> list[str]:
        """Existing names that start with `prefix`, sorted."""
        ...

    def truncate(self, name: str, length: int) -> None:
        """Cut `name` to `length` bytes (a torn tail is dropped before writing on); never extends."""
        ...

    def delete(self, name: str) -> None:
        """Remove `name`; missing is fine."""
        ...


MarketEvent = MarketStreamChanged | BarClosed | MarksUpdated
"""What a market tells by itself, in our words."""


class Market(Protocol):
    """A venue's market behind one cut: names, units, frames and transports end at its adapter. Prices
    are in the quote, volumes in the base, times exchange ms; what a venue does not tell is NaN or 0."""

    async def instruments(self) -> tuple[Instrument, ...]:
        """What can be traded, with the rules of its orders; symbols as BASE+QUOTE (BTCUSDT)."""
        ...

    async def candles(
        self, symbol: str, interval: str, limit: int, end_ms: int = 0
    ) -> tuple[Bar, ...]:
        """The newest `limit` closed bars (that opened before `end_ms`, if it is given), ascending and
        without a hole; the forming one is left out. Raises a Fault where they cannot be read."""
        ...

    async def follow(
        self,
        symbols: tuple[str, ...],
        intervals: tuple[str, ...],
        on_event: Callable[[MarketEvent], None],
    ) -> None:
        """Tell bars as they close, each once and in order, and marks, until cancelled.

        `MarketStreamChanged` up comes before the first of them, down when some may be missed; what was
        missed is read by `candles` after the next up.
        """
        ...


class OrderDesk(Protocol):
    """An account as the rim needs it. Each call sends once and answers with what it proved: a lost
    reply is UNKNOWN, a refusal REJECTED with the venue's words; none of them raises for the venue or
    the network, except `prepare_symbol`."""

    @property
    def recv_window_ms(self) -> int:
        """The venue accepts a request no later than this after it was stamped."""
        ...

    @property
    def order_wait_ms_max(self) -> int:
        """The longest that an order request may be held back on our side before it is stamped."""
        ...

    async def place(self, intent: OrderIntent) -> OrderReplied:
        """Send one order, ordinary or conditional, under `intent.client_id`."""
        ...

    async def cancel(self, client_id: str, symbol: str, is_algo: bool) -> CancelReplied:
        """Send one cancel. That nothing was there to cancel is REJECTED: a question, not a proof."""
        ...

    async def count_down(self, symbol: str, countdown_ms: int) -> CountdownReplied:
        """Have the venue take the symbol's waiting entry orders off its book after `countdown_ms`, unless
        asked again before; 0 stops it. A venue without such a thing answers REJECTED."""
        ...

    async def look_up(self, client_id: str, symbol: str, is_algo: bool) -> OrderLookedUp:
        """Ask for one order: found, not found on the venue's word, or None if it cannot be known."""
        ...

    async def snapshot(
        self, purpose: str, symbols: tuple[str, ...] = (), trades_since_ms: int = 0
    ) -> AccountSnapshotTaken | SnapshotFailed:
        """Balances, positions, resting orders of both kinds, and the trades of `symbols`."""
        ...

    async def prepare_symbol(self, symbol: str, leverage: int, margin_type: str) -> None:
        """Set margin type and leverage before the first entry. Raises a Fault where that fails."""
        ...


class Exchange(OrderDesk, Protocol):
    """A venue behind one cut: the dialect (names of symbols, sides and states, units, transports)
    ends at its adapter. What must hold for each is written as tests (`tests/exchange`)."""

    async def instruments(self) -> tuple[Instrument, ...]:
        """What can be traded, with the rules of its orders; symbols as BASE+QUOTE (BTCUSDT)."""
        ...

    async def attend(self, on_event: Callable[[AccountEvent], None]) -> None:
        """Tell what happens to the account, in the venue's order, until cancelled.

        `AccountStreamChanged` up comes before the first event, down when events may be missed; after
        each up a snapshot follows. An execution carries the venue's trade id: told twice, it is one.
        """
        ...
