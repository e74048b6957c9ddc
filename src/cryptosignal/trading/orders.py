"""The life of one order as a table: what we know of it, and which proof may change that (D9).

`INTENT → SENT → ACKED | UNKNOWN → LIVE → PARTIAL → FILLED | DEAD`. UNKNOWN is a state, not an
error: it ends by the venue's word or by proven absence, never by a count of failures (RELIABILITY
§3.1, incident C).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum

from cryptosignal.domain.order import Leg, OrderIntent, OrderKind, OrderState

ZERO = Decimal(0)

LIVE_STATUSES = frozenset({"NEW", "PARTIALLY_FILLED", "NEW_INSURANCE", "NEW_ADL"})
DEAD_STATUSES = frozenset(
    {"CANCELED", "EXPIRED", "EXPIRED_IN_MATCH", "REJECTED", "CANCELLED", "FINISHED"}
)
ALGO_LIVE_STATUSES = frozenset({"NEW", "TRIGGERING", "TRIGGERED"})


class OrderFact(StrEnum):
    """What can become known of an order."""

    SENT = "sent"
    ACKED = "acked"
    REJECTED = "rejected"
    NOT_SENT = "not_sent"
    UNKNOWN = "unknown"
    RESTARTED = "restarted"
    SEEN_LIVE = "seen_live"
    SEEN_PARTIAL = "seen_partial"
    SEEN_FILLED = "seen_filled"
    SEEN_DEAD = "seen_dead"
    PROVEN_ABSENT = "proven_absent"
    REOPENED = "reopened"


_S, _F = OrderState, OrderFact


def _row(
    state: OrderState, **changes: OrderState
) -> dict[tuple[OrderState, OrderFact], OrderState]:
    """One state's row: facts that are not named leave the state as it is."""
    return {(state, fact): changes.get(fact.name, state) for fact in OrderFact}


_SEEN = {
    "SEEN_LIVE": _S.LIVE,
    "SEEN_PARTIAL": _S.PARTIAL,
    "SEEN_FILLED": _S.FILLED,
    "SEEN_DEAD": _S.DEAD,
}

TABLE: dict[tuple[OrderState, OrderFact], OrderState] = {
    **_row(
        _S.INTENT,
        SENT=_S.SENT,
        ACKED=_S.ACKED,
        REJECTED=_S.DEAD,
        NOT_SENT=_S.DEAD,
        UNKNOWN=_S.UNKNOWN,
        RESTARTED=_S.DEAD,
        **_SEEN,
    ),
    **_row(
        _S.SENT,
        ACKED=_S.ACKED,
        REJECTED=_S.DEAD,
        NOT_SENT=_S.DEAD,
        UNKNOWN=_S.UNKNOWN,
        RESTARTED=_S.UNKNOWN,
        **_SEEN,
    ),
    **_row(_S.ACKED, PROVEN_ABSENT=_S.DEAD, **_SEEN),
    **_row(_S.UNKNOWN, ACKED=_S.ACKED, PROVEN_ABSENT=_S.DEAD, **_SEEN),
    **_row(
        _S.LIVE,
        SEEN_PARTIAL=_S.PARTIAL,
        SEEN_FILLED=_S.FILLED,
        SEEN_DEAD=_S.DEAD,
        PROVEN_ABSENT=_S.DEAD,
    ),
    **_row(_S.PARTIAL, SEEN_FILLED=_S.FILLED, SEEN_DEAD=_S.DEAD, PROVEN_ABSENT=_S.DEAD),
    **_row(_S.FILLED),
    **_row(_S.DEAD, REOPENED=_S.LIVE, SEEN_FILLED=_S.FILLED),
}
"""State × fact → state. DEAD turns FILLED when the venue says so: it knows better (incident E)."""


@dataclass(slots=True)
class Order:
    """One order of ours with everything that is known of it. Times are the exchange's."""

    intent: OrderIntent
    state: OrderState = OrderState.INTENT
    sent_ms: int = 0
    recv_window_ms: int = 0
    order_id: int = 0
    reported: Decimal = ZERO
    average_price: Decimal = ZERO
    booked: Decimal = ZERO
    reject_code: int = 0
    message: str = ""
    seen_live_ms: int = 0
    checked_ms: int = 0
    triggered_ms: int = 0
    dead_ms: int = 0
    is_dead_by_venue: bool = False
    is_cancel_asked: bool = False
    is_cancel_answered: bool = False
    absent_ms: list[int] = field(default_factory=list)
    is_absent_in_snapshot: bool = False
    doubted_ms: int = 0

    def learn(self, fact: OrderFact) -> bool:
        """Apply one fact by the table; True if the state changed."""
        before = self.state
        self.state = TABLE[before, fact]
        if self.state is not before and fact is not OrderFact.PROVEN_ABSENT:
            self.forget_absence()
        return self.state is not before

    def forget_absence(self) -> None:
        """The order was seen: what looked like absence was lag."""
        self.absent_ms.clear()
        self.is_absent_in_snapshot = False
        self.doubted_ms = 0

    @property
    def client_id(self) -> str:
        """Its handle at the venue."""
        return self.intent.client_id

    @property
    def is_open(self) -> bool:
        """It may still do something."""
        return self.state is not OrderState.FILLED and self.state is not OrderState.DEAD

    @property
    def is_algo(self) -> bool:
        """It lives at the algo service."""
        return self.intent.kind.is_algo

    @property
    def executed(self) -> Decimal:
        """Filled base quantity: the most that any source has proven."""
        return self.reported if self.reported >= self.booked else self.booked

    @property
    def signed(self) -> Decimal:
        """Executed quantity, positive for a buy."""
        return self.executed if self.intent.side == "BUY" else -self.executed

    @property
    def left(self) -> Decimal:
        """What may still fill."""
        return max(ZERO, self.intent.quantity - self.executed) if self.is_open else ZERO

    @property
    def is_resting(self) -> bool:
        """Seen at the venue, not triggered yet, not contradicted by a later read."""
        return (
            (self.state is OrderState.LIVE or self.state is OrderState.PARTIAL)
            and not self.triggered_ms
            and not self.doubted_ms
        )

    @property
    def is_spent(self) -> bool:
        """Its executions add up to all of it, whatever its own word still says."""
        return self.executed >= self.intent.quantity

    @property
    def may_rest(self) -> bool:
        """There may be something of it to cancel: not a market order, not one that has triggered, not
        one whose executions came before the word that it is done."""
        is_market = self.intent.kind is OrderKind.MARKET
        return not is_market and not self.triggered_ms and not self.is_spent

    @property
    def is_entry(self) -> bool:
        """It opens risk."""
        return self.intent.leg is Leg.ENTRY

    def fence_ms(self, extra_ms: int, default_recv_window_ms: int) -> int:
        """Server time after which the request can no longer be accepted (RELIABILITY §3.2)."""
        start = self.sent_ms or self.intent.created_ms
        return start + (self.recv_window_ms or default_recv_window_ms) + extra_ms
