"""Facts of our own that survive a restart: their kinds and the JSON bodies the journal keeps."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

import msgspec

from cryptosignal.domain.events import FactRecorded
from cryptosignal.domain.instrument import Instrument
from cryptosignal.domain.outcome import Outcome
from cryptosignal.trading.ticket import Ticket

SIGNAL_OPENED: Final = "signal.opened"
SIGNAL_CLOSED: Final = "signal.closed"
TRADE_CLOSING: Final = "trade.closing"
TRADE_MARKED: Final = "trade.marked"
APPROVAL_WAITING: Final = "approval.waiting"
APPROVAL_ENDED: Final = "approval.ended"
KILL_SET: Final = "kill"
BREAKER_TRIPPED: Final = "breaker.tripped"
COUNTDOWN_ASKED: Final = "countdown.asked"


class Opened(msgspec.Struct, frozen=True, gc=False):
    """A trade was decided on; from here on its signal id is used up for ever.

    `adopted` (signed) is a foreign position that is taken under protection instead of an entry.
    """

    ticket: Ticket
    opened_ms: int
    leverage: int
    quantity: Decimal
    risk_usdt: Decimal
    instrument: Instrument
    adopted: Decimal = Decimal(0)
    adopted_price: Decimal = Decimal(0)


class Closed(msgspec.Struct, frozen=True, gc=False):
    """A trade is over. `outcome` is None if it never held anything."""

    symbol: str
    reason: str
    closed_ms: int
    net_usdt: Decimal
    outcome: Outcome | None = None


class Closing(msgspec.Struct, frozen=True, gc=False):
    """A trade is to be closed at market, and why."""

    symbol: str
    reason: str
    at_ms: int


class Marked(msgspec.Struct, frozen=True, gc=False):
    """The best and worst price that a trade has seen."""

    symbol: str
    best_price: Decimal
    worst_price: Decimal


class Waiting(msgspec.Struct, frozen=True, gc=False):
    """A signal waits for a person's yes."""

    ticket: Ticket
    asked_ms: int
    expires_ms: int
    price: Decimal
    instrument: Instrument


class Ended(msgspec.Struct, frozen=True, gc=False):
    """A waiting signal is decided: `verdict` opened, rejected, refused or expired."""

    verdict: str
    reason: str


class Kill(msgspec.Struct, frozen=True, gc=False):
    """The kill switch stands at `level` (0 off … 3 flatten)."""

    level: int
    reason: str


class Tripped(msgspec.Struct, frozen=True, gc=False):
    """A breaker shut entries until `until_ms`."""

    until_ms: int
    reason: str


class Countdown(msgspec.Struct, frozen=True, gc=False):
    """The venue was asked to cancel a symbol's orders `countdown_ms` later."""

    countdown_ms: int
    at_ms: int


def fact(kind: str, key: str, body: msgspec.Struct) -> FactRecorded:
    """A record with its body as JSON (Decimals as strings)."""
    return FactRecorded(kind, key, msgspec.json.encode(body).decode())
