"""One trade: a signal with its orders on one symbol, and what follows from them.

Nothing here decides; it answers questions about what is held, protected, done and owed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal

from cryptosignal.domain.order import Direction, Leg, OrderState, parse_client_id
from cryptosignal.trading.orders import Order
from cryptosignal.trading.ticket import Ticket

ZERO = Decimal(0)


@dataclass(slots=True)
class NakedSpan:
    """A stretch of venue time in which a position had no confirmed stop at the venue."""

    symbol: str
    start_ms: int
    end_ms: int

    @property
    def length_ms(self) -> int:
        """How long it lasted."""
        return max(0, self.end_ms - self.start_ms)


@dataclass(slots=True)
class Sums:
    """What a trade's orders add up to, worked out once between two events.

    `held` and `exposed` are the state's words (they know what others did); None until asked for.
    """

    legs: dict[Leg, list[Order]]
    own_signed: Decimal
    entered: Decimal
    entry_price: Decimal
    entry_left: Decimal
    is_entry_open: bool
    is_tp1_done: bool
    open_orders: tuple[Order, ...]
    held: Decimal | None = None
    exposed: Decimal | None = None


@dataclass(slots=True)
class Trade:
    """A signal that was opened. Rebuilt by folding journaled events alone.

    Between two folds nothing of it changes: `settle_sums` keeps what its orders add up to, and
    whoever folds calls `drop_sums` first.
    """

    ticket: Ticket
    key: str
    opened_ms: int
    leverage: int
    quantity: Decimal
    risk_usdt: Decimal
    orders: dict[str, Order] = field(default_factory=dict)
    stop_price: Decimal = ZERO
    close_reason: str = ""
    adopted: Decimal = ZERO
    adopted_price: Decimal = ZERO
    filled_ms: int = 0
    naked_since_ms: int = 0
    covered_ms: int = 0
    naked_max_ms: int = 0
    funding_usdt: Decimal = ZERO
    funding_seen: set[int] = field(default_factory=set)
    is_stop_passed: bool = False
    is_counted: bool = False
    """Its close has been counted; a late execution may close it again, with the whole truth."""
    passed_targets: set[Leg] = field(default_factory=set)
    best_price: Decimal = ZERO
    worst_price: Decimal = ZERO
    sums: Sums | None = field(default=None, compare=False, repr=False)

    def drop_sums(self) -> None:
        """Something is about to change."""
        self.sums = None

    def settle_sums(self) -> None:
        """Nothing changes until the next fold: add up once."""
        if self.sums is not None:
            return
        legs: dict[Leg, list[Order]] = {}
        for order in self.orders.values():
            legs.setdefault(order.intent.leg, []).append(order)
        self.sums = Sums(
            legs=legs,
            own_signed=self.own_signed,
            entered=self.entered,
            entry_price=self.entry_price,
            entry_left=self.entry_left,
            is_entry_open=self.is_entry_open,
            is_tp1_done=self.is_tp1_done,
            open_orders=tuple(o for o in self.orders.values() if o.is_open),
        )

    @property
    def symbol(self) -> str:
        """Where it trades."""
        return self.ticket.symbol

    @property
    def direction(self) -> Direction:
        """Which way it looks."""
        return self.ticket.direction

    def of_leg(self, *legs: Leg) -> Iterable[Order]:
        """Its orders of some legs, oldest first."""
        if self.sums is not None and len(legs) == 1:
            return self.sums.legs.get(legs[0], ())
        return (o for o in self.orders.values() if o.intent.leg in legs)

    def open_of(self, *legs: Leg) -> list[Order]:
        """Its orders of some legs that may still do something."""
        return [o for o in self.of_leg(*legs) if o.is_open]

    @property
    def own_signed(self) -> Decimal:
        """What its orders have moved the position by (base, signed)."""
        if self.sums is not None:
            return self.sums.own_signed
        total = self.adopted
        for order in self.orders.values():  # read at every pass: orders without fills are skipped
            if order.reported or order.booked:
                total += order.signed
        return total

    @property
    def exits_unbooked(self) -> Decimal:
        """What exits have filled by their own report, without the executions having been seen."""
        total = ZERO
        for order in self.orders.values():
            if order.reported > order.booked and not order.is_entry:
                total += order.reported - order.booked
        return total

    @property
    def entered(self) -> Decimal:
        """Base quantity that the entries have filled, or that was adopted."""
        if self.sums is not None:
            return self.sums.entered
        return sum((o.executed for o in self.of_leg(Leg.ENTRY)), abs(self.adopted))

    @property
    def is_entry_open(self) -> bool:
        """An entry may still fill (an unknown one included)."""
        if self.sums is not None:
            return self.sums.is_entry_open
        return any(o.is_open for o in self.of_leg(Leg.ENTRY))

    @property
    def entry_left(self) -> Decimal:
        """What open entries may still add."""
        if self.sums is not None:
            return self.sums.entry_left
        return sum((o.left for o in self.of_leg(Leg.ENTRY)), ZERO)

    @property
    def entry_price(self) -> Decimal:
        """Average price of the entries' fills as the venue reported it; 0 before the first fill."""
        if self.sums is not None:
            return self.sums.entry_price
        if self.adopted:
            return self.adopted_price
        weight = self.entered
        if weight == ZERO:
            return ZERO
        value = sum((o.executed * o.average_price for o in self.of_leg(Leg.ENTRY)), ZERO)
        return value / weight

    @property
    def is_tp1_done(self) -> bool:
        """The first target has been taken (one of its orders has filled whole)."""
        if self.sums is not None:
            return self.sums.is_tp1_done
        return any(o.state is OrderState.FILLED for o in self.of_leg(Leg.TP1))

    def next_attempt(self, leg: Leg) -> int:
        """The number of the next attempt of a leg, above all that the journal knows of.

        Not their count: one whose intent was lost with the disk's tail leaves a hole, and the number
        behind it would be given a second time.
        """
        known = (parse_client_id(order.client_id) for order in self.of_leg(leg))
        return 1 + max((parts.attempt for parts in known if parts is not None), default=-1)

    def is_better(self, price: Decimal, than: Decimal) -> bool:
        """True if `price` is a tighter stop than `than`."""
        return (price - than) * self.direction.sign > ZERO

    def is_beyond(self, price: Decimal, target: Decimal) -> bool:
        """True if `price` has reached a target in the trade's direction."""
        return (price - target) * self.direction.sign >= ZERO

    def gain_per_unit(self, price: Decimal) -> Decimal:
        """Quote gained per base unit at `price` against the entry."""
        return (price - self.entry_price) * self.direction.sign

    def confirmed_stops(self, now_ms: int, trigger_grace_ms: int) -> list[Order]:
        """Stops that are a fact at the venue: resting, or triggered and still executing."""
        found = []
        for order in self.orders.values():  # asked at every sighting: no generator, no sums
            if order.intent.leg is not Leg.STOP:
                continue
            is_firing = 0 < order.triggered_ms > now_ms - trigger_grace_ms and order.is_open
            if is_firing or order.is_resting:
                found.append(order)
        return found

    @property
    def is_quiet(self) -> bool:
        """No order of it can do anything any more."""
        return all(o.state in (OrderState.FILLED, OrderState.DEAD) for o in self.orders.values())
