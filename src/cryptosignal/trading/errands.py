"""What was asked for and is on its way, and what the market last said: forgotten by a restart.

A `Round` is one pass of deciding: it collects actions and the next due time, and folds every record
it makes into the state at once, so that later parts of the same pass see it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from cryptosignal.domain.actions import (
    Action,
    CancelOrder,
    LookUpOrder,
    Note,
    Record,
    SubmitOrder,
)
from cryptosignal.domain.events import CancelRecorded, FactRecorded, IntentRecorded
from cryptosignal.domain.instrument import Instrument
from cryptosignal.domain.order import Leg, OrderIntent, OrderKind, client_id
from cryptosignal.ground.units import plain
from cryptosignal.trading.fold import fold
from cryptosignal.trading.orders import Order
from cryptosignal.trading.state import TradingState
from cryptosignal.trading.ticket import Ticket
from cryptosignal.trading.trade import Trade

ZERO = Decimal(0)
WAKE_NAME = "desk.round"
BARS_KEPT = 64
CLOCK_SLACK_MS = 1_000
"""A moment further ahead than this was stamped before our clock was set back."""


@dataclass(slots=True)
class Asked:
    """A request that was made: when last, and how often."""

    at_ms: int = 0
    count: int = 0


@dataclass(slots=True)
class Deferred:
    """An entry that waits to be judged again: for the end of the funding guard (DOMAIN §0.25), or for
    the account to be read. `told` is the reason that was noted last."""

    ticket: Ticket
    instrument: Instrument
    at_ms: int
    is_approved: bool
    correlations: Mapping[str, Decimal]
    told: str = ""


@dataclass(slots=True)
class CountdownErrand:
    """The last request about a symbol's countdown (0: to stop it); `is_out` until it is answered."""

    at_ms: int
    countdown_ms: int
    is_out: bool = True


@dataclass(slots=True)
class WaitingEntry:
    """An entry that leaves once its stop rests (RELIABILITY §3.7); a restart gives it up."""

    quantity: Decimal
    price: Decimal
    asked_ms: int


@dataclass(slots=True)
class Errands:
    """Volatile knowledge: requests on their way, marks, bars, watches."""

    lookups: dict[str, Asked] = field(default_factory=dict)
    cancels: dict[str, Asked] = field(default_factory=dict)
    snapshot: Asked = field(default_factory=Asked)
    is_snapshot_out: bool = False
    snapshot_failures: int = 0
    wants: Asked = field(default_factory=Asked)
    has_stream_changed: bool = False
    is_stream_up: bool = False
    is_suspicious: bool = False
    marks: dict[str, tuple[Decimal, int]] = field(default_factory=dict)
    bars: dict[str, deque[tuple[int, Decimal, Decimal]]] = field(default_factory=dict)
    extremes: dict[str, tuple[Decimal, Decimal]] = field(default_factory=dict)
    moved_ms: dict[str, int] = field(default_factory=dict)
    disagree_ms: dict[str, int] = field(default_factory=dict)
    flat_ms: dict[str, int] = field(default_factory=dict)
    noted: set[str] = field(default_factory=set)
    deferred: dict[str, Deferred] = field(default_factory=dict)
    sent_prices: dict[str, Decimal] = field(default_factory=dict)
    entries: dict[str, WaitingEntry] = field(default_factory=dict)
    countdowns: dict[str, CountdownErrand] = field(default_factory=dict)
    rules: Asked = field(default_factory=Asked)
    wants_rules: bool = False
    rules_ms: dict[str, int] = field(default_factory=dict)
    naked_noticed_ms: dict[str, int] = field(default_factory=dict)
    off_grid_ms: dict[str, int] = field(default_factory=dict)
    """Trades that hold what our rules cannot trade, since when; 0 once the rules were read again."""
    margin_exit_ms: int = 0
    watched: tuple[str, ...] = ()
    wake_ms: int = 0
    now_ms: int = 0
    audits: int = 0
    rho_btc: Callable[[str], Decimal | None] = lambda _symbol: None
    """A symbol's correlation with BTC as the newest scan measured it, None if it did not."""

    def mind_clock(self, now_ms: int) -> None:
        """Our clock was set back (a measurement, a step): what was noted by it moves along."""
        back_ms = self.now_ms - now_ms
        self.now_ms = now_ms
        if back_ms <= CLOCK_SLACK_MS:
            return
        asked = (self.snapshot, self.rules, *self.lookups.values(), *self.cancels.values())
        for request in asked:
            request.at_ms = max(0, request.at_ms - back_ms)
        for waiting in self.entries.values():
            waiting.asked_ms -= back_ms
        for errand in self.countdowns.values():
            errand.at_ms -= back_ms
        for table in (self.moved_ms, self.disagree_ms, self.flat_ms, self.naked_noticed_ms):
            for key in table:
                table[key] -= back_ms
        for key, since_ms in self.off_grid_ms.items():
            self.off_grid_ms[key] = max(0, since_ms - back_ms)
        self.rules_ms.clear()
        self.margin_exit_ms = max(0, self.margin_exit_ms - back_ms)
        self.wake_ms = 0

    def price(self, symbol: str) -> Decimal | None:
        """The last mark of a symbol."""
        found = self.marks.get(symbol)
        return found[0] if found is not None else None


class Round:
    """One pass of deciding at exchange time `now_ms`."""

    def __init__(self, state: TradingState, errands: Errands, now_ms: int) -> None:
        self.state = state
        self.errands = errands
        self.settings = state.settings
        self.now_ms = now_ms
        self.actions: list[Action] = []
        self.due_ms: list[int] = []
        state.settle_sums()

    def wake(self, at_ms: int) -> None:
        """Something is due at `at_ms`."""
        self.due_ms.append(at_ms)

    def is_due(self, at_ms: int) -> bool:
        """True if `at_ms` has come; otherwise a wake-up is asked for."""
        if self.now_ms >= at_ms:
            return True
        self.wake(at_ms)
        return False

    def known_ms(self, at_ms: int) -> int:
        """A past moment; 0 for one that lies ahead because our clock was set back since."""
        return at_ms if at_ms <= self.now_ms + CLOCK_SLACK_MS else 0

    def is_past(self, since_ms: int, pause_ms: int) -> bool:
        """True once `pause_ms` have gone by since a moment (at once for one that lies ahead)."""
        return self.is_due(self.known_ms(since_ms) + pause_ms)

    def act(self, action: Action) -> None:
        """Add an action as it is."""
        self.actions.append(action)

    def note(self, event: str, **fields: str | int | float | bool) -> None:
        """A log line."""
        self.actions.append(Note(event, fields))

    def note_once(self, key: str, event: str, **fields: str | int | float | bool) -> None:
        """A log line that is not repeated for the same key."""
        if key not in self.errands.noted:
            self.errands.noted.add(key)
            self.note(event, **fields)

    def record(self, event: IntentRecorded | CancelRecorded | FactRecorded) -> None:
        """Journal a fact of ours and know it from now on."""
        self.actions.append(Record(event))
        fold(self.state, event)
        self.state.settle_sums()

    def submit(
        self,
        trade: Trade,
        leg: Leg,
        kind: OrderKind,
        quantity: Decimal,
        *,
        price: Decimal | None = None,
        trigger_price: Decimal | None = None,
        time_in_force: str = "",
        replaces: str = "",
        reason: str = "",
    ) -> OrderIntent:
        """Decide on an order: its intent is journaled before it is sent (RELIABILITY §3.1)."""
        is_exit = leg.is_protective
        side = trade.direction.entry_side.opposite if is_exit else trade.direction.entry_side
        intent = OrderIntent(
            client_id=client_id(self.state.bot, trade.key, leg, trade.next_attempt(leg)),
            signal_id=trade.ticket.signal_id,
            symbol=trade.symbol,
            leg=leg,
            side=side,
            kind=kind,
            quantity=quantity,
            created_ms=self.now_ms,
            price=price,
            trigger_price=trigger_price,
            reduce_only=is_exit,
            time_in_force=time_in_force,
            working_type=self.settings.working_type,
            replaces=replaces,
            reason=reason,
        )
        mark = self.errands.price(trade.symbol)
        if mark is not None:
            self.errands.sent_prices[intent.client_id] = mark
        self.record(IntentRecorded(intent))
        self.act(SubmitOrder(intent))
        self.note(
            "order.submitted",
            client_id=intent.client_id,
            symbol=trade.symbol,
            leg=leg.name,
            kind=kind.value,
            quantity=plain(quantity),
            reason=reason,
        )
        return intent

    def cancel(self, order: Order, reason: str) -> None:
        """Cancel an order of ours, again from time to time until the venue shows it gone."""
        asked = self.errands.cancels.setdefault(order.client_id, Asked())
        pause = backoff_ms(
            self.settings.cancel_retry_ms, asked.count - 1, self.settings.cancel_retry_max_ms
        )
        if asked.count and not self.is_due(asked.at_ms + pause):
            return
        asked.at_ms, asked.count = self.now_ms, asked.count + 1
        self.wake(self.now_ms + self.settings.cancel_retry_ms)
        self.record(CancelRecorded(order.client_id, order.intent.symbol, reason))
        self.act(CancelOrder(order.client_id, order.intent.symbol, order.is_algo))

    def look_up(self, order: Order, first_ms: int) -> None:
        """Ask the venue for an order, first at `first_ms`, then spaced."""
        asked = self.errands.lookups.setdefault(order.client_id, Asked())
        at_ms = first_ms
        if asked.at_ms <= self.known_ms(order.checked_ms):  # it was answered
            asked.count = 0
        if asked.count:
            pause = backoff_ms(
                self.settings.lookup_spacing_ms,
                asked.count - 1,
                self.settings.lookup_retry_max_ms,
            )
            at_ms = max(first_ms, asked.at_ms + pause)
        if not self.is_due(at_ms):
            return
        asked.at_ms, asked.count = self.now_ms, asked.count + 1
        self.wake(self.now_ms + self.settings.lookup_spacing_ms)
        self.act(LookUpOrder(order.client_id, order.intent.symbol, order.is_algo))


def backoff_ms(first_ms: int, doublings: int, max_ms: int) -> int:
    """`first_ms` doubled `doublings` times, at most `max_ms`."""
    return min(max_ms, first_ms * 2 ** min(max(0, doublings), 16))
