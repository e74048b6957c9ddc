"""What trading keeps of a decision: enough to open, protect and explain a trade after a restart.

This is the border from the floats of the factors to the Decimals of money; prices are rounded here
to the symbol's tick, always to the side that risks less.
"""

from __future__ import annotations

import math
from decimal import Decimal
from hashlib import blake2b

import msgspec

from cryptosignal.domain.instrument import Instrument
from cryptosignal.domain.order import Direction
from cryptosignal.domain.signal import Decision
from cryptosignal.ground.units import ceil_price, decimal_of, floor_price

ZERO = Decimal(0)
KEY_BYTES = 8


class Ticket(msgspec.Struct, frozen=True, gc=False):
    """A decision as trading knows it. Prices in quote units, already on the tick grid."""

    signal_id: str
    symbol: str
    direction: Direction
    tier: str
    decided_ms: int
    expires_ms: int
    entry_low: Decimal
    entry_high: Decimal
    stop_price: Decimal
    tp1_price: Decimal
    tp2_price: Decimal
    atr: Decimal
    strength: Decimal = ZERO
    p: Decimal = ZERO
    confidence: Decimal = ZERO
    cost_frac: Decimal = ZERO
    params_version: str = ""
    size_frac: Decimal = Decimal(1)
    """What the scan's risk filters leave of the planned size."""


class TicketError(msgspec.Struct, frozen=True, gc=False):
    """The decision cannot be traded, in words."""

    reason: str


def signal_key(signal_id: str) -> str:
    """16 hex digits for a signal id: short enough for a client id, the same on every run."""
    return blake2b(signal_id.encode(), digest_size=KEY_BYTES).hexdigest()


def ticket_of(decision: Decision, instrument: Instrument) -> Ticket | TicketError:
    """The ticket of a decision, or why it has none."""
    plan = decision.plan
    if plan is None:
        return TicketError("the decision has no price plan")
    numbers = (
        plan.entry_low,
        plan.entry_high,
        plan.stop_loss,
        plan.take_profit_1,
        plan.take_profit_2,
    )
    if not all(math.isfinite(n) and n > 0 for n in numbers):
        return TicketError("the price plan has a price that is missing or not positive")
    if decision.side not in (Direction.LONG.value, Direction.SHORT.value):
        return TicketError(f"side {decision.side!r} is neither long nor short")
    direction = Direction(decision.side)
    tick = instrument.filters.tick_size
    return Ticket(
        signal_id=decision.signal_id,
        symbol=decision.symbol,
        direction=direction,
        tier=decision.tier.value,
        decided_ms=decision.time_ms,
        expires_ms=decision.time_ms + decision.ttl_ms,
        entry_low=decimal_of(plan.entry_low),
        entry_high=decimal_of(plan.entry_high),
        stop_price=tighter_price(decimal_of(plan.stop_loss), tick, direction),
        tp1_price=nearer_price(decimal_of(plan.take_profit_1), tick, direction),
        tp2_price=nearer_price(decimal_of(plan.take_profit_2), tick, direction),
        atr=_finite(plan.atr),
        strength=_finite(decision.prime_strength),
        p=_finite(decision.p_calibrated),
        confidence=_finite(decision.confidence),
        cost_frac=max(ZERO, _finite(decision.cost)),
        params_version=decision.params_version,
        size_frac=_size_left(decision),
    )


def _size_left(decision: Decision) -> Decimal:
    left = decision.modulators.get("size_left")
    if left is None or not math.isfinite(left):
        return Decimal(1)
    return min(max(decimal_of(left), ZERO), Decimal(1))


def tighter_price(price: Decimal, tick: Decimal, direction: Direction) -> Decimal:
    """A stop on the tick grid that risks no more than asked: up for a long, down for a short."""
    return ceil_price(price, tick) if direction is Direction.LONG else floor_price(price, tick)


def nearer_price(price: Decimal, tick: Decimal, direction: Direction) -> Decimal:
    """A target on the tick grid that is reached no later than asked."""
    return floor_price(price, tick) if direction is Direction.LONG else ceil_price(price, tick)


def _finite(value: float) -> Decimal:  # float-ok: the border from the factors
    return decimal_of(value) if math.isfinite(value) else ZERO
