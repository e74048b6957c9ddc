"""Orders in our words: sides, legs, the states of knowledge (D9) and the intent that precedes a send.

The client id is the only handle by which an order is ours (RELIABILITY §3.4): `cs` + bot tag +
signal key + leg + attempt, at most 36 characters of the venue's alphabet.
"""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum

import msgspec

CLIENT_ID_PREFIX = "cs"
CLIENT_ID_LENGTH_MAX = 36


class Side(StrEnum):
    """Which way an order trades."""

    BUY = "BUY"
    SELL = "SELL"

    @property
    def opposite(self) -> Side:
        """The side that undoes this one."""
        return Side.SELL if self is Side.BUY else Side.BUY


class Direction(StrEnum):
    """Which way a signal or a position looks."""

    LONG = "long"
    SHORT = "short"

    @property
    def entry_side(self) -> Side:
        """The order side that opens this direction."""
        return Side.BUY if self is Direction.LONG else Side.SELL

    @property
    def sign(self) -> int:
        """+1 long, -1 short."""
        return 1 if self is Direction.LONG else -1


class OrderKind(StrEnum):
    """Order types in Binance's spelling. STOP, TAKE_PROFIT and OTHER are only ever somebody else's."""

    MARKET = "MARKET"
    LIMIT = "LIMIT"
    STOP_MARKET = "STOP_MARKET"
    TAKE_PROFIT_MARKET = "TAKE_PROFIT_MARKET"
    TRAILING_STOP_MARKET = "TRAILING_STOP_MARKET"
    STOP = "STOP"
    TAKE_PROFIT = "TAKE_PROFIT"
    OTHER = "OTHER"

    @property
    def is_algo(self) -> bool:
        """True for types that live in the algo service since 2025-12-09 (-4120 elsewhere)."""
        return self not in (OrderKind.MARKET, OrderKind.LIMIT)


class Leg(StrEnum):
    """What an order is for, one letter in its client id."""

    ENTRY = "e"
    STOP = "s"
    TP1 = "t"
    TP2 = "u"
    EXIT = "x"
    FLATTEN = "f"

    @property
    def is_protective(self) -> bool:
        """A leg that only lowers risk."""
        return self is not Leg.ENTRY


_LEGS = {leg.value: leg for leg in Leg}


class OrderState(StrEnum):
    """What we know of an order: INTENT → SENT → ACKED | UNKNOWN → LIVE → PARTIAL → FILLED | DEAD."""

    INTENT = "intent"
    SENT = "sent"
    ACKED = "acked"
    UNKNOWN = "unknown"
    LIVE = "live"
    PARTIAL = "partial"
    FILLED = "filled"
    DEAD = "dead"

    @property
    def is_terminal(self) -> bool:
        """Nothing more can happen to the order."""
        return self is OrderState.FILLED or self is OrderState.DEAD


class OrderIntent(msgspec.Struct, frozen=True, gc=False):
    """An order decided on, made durable before anything is sent (RELIABILITY §3.1)."""

    client_id: str
    signal_id: str
    symbol: str
    leg: Leg
    side: Side
    kind: OrderKind
    quantity: Decimal
    created_ms: int
    price: Decimal | None = None
    trigger_price: Decimal | None = None
    reduce_only: bool = False
    time_in_force: str = ""
    working_type: str = "MARK_PRICE"
    replaces: str = ""
    reason: str = ""


def client_id(bot: str, signal_key: str, leg: Leg, attempt: int) -> str:
    """The id of attempt `attempt` of leg `leg` of the signal: derived, never random."""
    text = f"{CLIENT_ID_PREFIX}{bot}-{signal_key}-{leg.value}{attempt}"
    if len(text) > CLIENT_ID_LENGTH_MAX:
        raise ValueError(f"client id longer than {CLIENT_ID_LENGTH_MAX}: {text}")
    return text


class OwnId(msgspec.Struct, frozen=True, gc=False):
    """A client id of ours taken apart."""

    bot: str
    signal_key: str
    leg: Leg
    attempt: int


def parse_client_id(text: str) -> OwnId | None:
    """The parts of an id of ours; None for any other (manual, `autoclose-`, `adl_autoclose`, …)."""
    if not text.startswith(CLIENT_ID_PREFIX):
        return None
    parts = text.removeprefix(CLIENT_ID_PREFIX).split("-")
    if len(parts) != 3 or not parts[0] or not parts[1] or len(parts[2]) < 2:
        return None
    leg_letter, attempt = parts[2][0], parts[2][1:]
    leg = _LEGS.get(leg_letter)
    if leg is None or not attempt.isdigit():
        return None
    return OwnId(parts[0], parts[1], leg, int(attempt))
