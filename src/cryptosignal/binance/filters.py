"""A symbol's order rules in Decimal (BINANCE §2.4): conform to the grid in the safe direction, check.

Sizes only shrink. A stop moves towards the market (it never loses more than planned), a target and
an exit towards being filled, an entry away from paying more. `check` answers with the code that the
venue would give, so that a refusal is known before it costs an order count.
"""

from __future__ import annotations

from decimal import ROUND_CEILING, ROUND_DOWN, ROUND_FLOOR, Decimal
from typing import Final

import msgspec

from cryptosignal.domain.instrument import Filters, Instrument
from cryptosignal.domain.order import Leg, OrderIntent, OrderKind, Side


class Violation(msgspec.Struct, frozen=True, gc=False):
    """A rule that an order would break: the venue's code and why, with figures."""

    code: int
    message: str


QTY_LESS_THAN_MIN: Final = -4003
QTY_GREATER_THAN_MAX: Final = -4005
QTY_NOT_ON_STEP: Final = -4023
PRICE_LESS_THAN_MIN: Final = -4013
PRICE_GREATER_THAN_MAX: Final = -4002
PRICE_NOT_ON_TICK: Final = -4014
PRICE_ABOVE_PERCENT: Final = -4016
PRICE_BELOW_PERCENT: Final = -4024
NOTIONAL_TOO_SMALL: Final = -4164
TOO_MANY_DECIMALS: Final = -1111
TOO_MANY_ORDERS: Final = -2025

_ENTRY_ROUNDING: Final = {Side.BUY: ROUND_FLOOR, Side.SELL: ROUND_CEILING}
_STOP_ROUNDING: Final = {Side.BUY: ROUND_FLOOR, Side.SELL: ROUND_CEILING}
_EXIT_ROUNDING: Final = {Side.BUY: ROUND_CEILING, Side.SELL: ROUND_FLOOR}
"""By the side of the order: a stop that protects a long is a SELL and rounds up, to the market."""

_ROUNDING: Final = {
    Leg.ENTRY: _ENTRY_ROUNDING,
    Leg.STOP: _STOP_ROUNDING,
    Leg.TP1: _EXIT_ROUNDING,
    Leg.TP2: _EXIT_ROUNDING,
    Leg.EXIT: _EXIT_ROUNDING,
    Leg.FLATTEN: _EXIT_ROUNDING,
}


def conform(intent: OrderIntent, filters: Filters) -> OrderIntent:
    """`intent` on the symbol's grid: quantity down, prices in the safe direction of its leg.

    A quantity below the minimum becomes 0, one above the maximum is cut to it (an entry to what a
    single stop can close); `check` says what is still wrong.
    """
    rounding = _ROUNDING[intent.leg][intent.side]
    quantity = conform_quantity(intent.quantity, filters, intent.kind)
    if intent.leg is Leg.ENTRY:  # never more than one stop at market can protect
        quantity = min(quantity, conform_quantity(intent.quantity, filters, OrderKind.MARKET))
    return msgspec.structs.replace(
        intent,
        quantity=quantity,
        price=_conformed(intent.price, filters, rounding),
        trigger_price=_conformed(intent.trigger_price, filters, rounding),
    )


def conform_quantity(quantity: Decimal, filters: Filters, kind: OrderKind) -> Decimal:
    """The largest allowed quantity that is not above `quantity`, 0 if there is none."""
    step, lowest, highest = lot_of(filters, kind)
    capped = min(quantity, highest) if highest > 0 else quantity
    if capped < lowest or capped <= 0:
        return Decimal(0)
    return _on_grid(capped, step, lowest, ROUND_DOWN)


def conform_price(price: Decimal, filters: Filters, leg: Leg, side: Side) -> Decimal:
    """`price` on the tick grid, rounded in the safe direction of this leg."""
    return _on_grid(price, filters.tick_size, filters.min_price, _ROUNDING[leg][side])


def lot_of(filters: Filters, kind: OrderKind) -> tuple[Decimal, Decimal, Decimal]:
    """Step, smallest and largest quantity for an order type: what ends at market obeys both lots."""
    if kind is OrderKind.LIMIT:
        return filters.step_size, filters.min_qty, filters.max_qty
    return (
        max(filters.step_size, filters.market_step_size),
        max(filters.min_qty, filters.market_min_qty),
        min(filters.max_qty, filters.market_max_qty),
    )


def _conformed(price: Decimal | None, filters: Filters, rounding: str) -> Decimal | None:
    if price is None:
        return None
    return _on_grid(price, filters.tick_size, filters.min_price, rounding)


def _on_grid(value: Decimal, step: Decimal, origin: Decimal, rounding: str) -> Decimal:
    """The grid is counted from the filter's minimum: `(value − min) % step == 0`."""
    if step <= 0:
        return value
    steps = ((value - origin) / step).to_integral_value(rounding=rounding)
    return origin + steps * step


def check(
    intent: OrderIntent,
    instrument: Instrument,
    mark_price: Decimal | None = None,
    open_orders: int = 0,
) -> Violation | None:
    """The first rule that `intent` breaks, None if the venue's filters let it pass.

    `mark_price` is needed for the notional of MARKET orders and for PERCENT_PRICE; without it those
    two are left to the venue. `open_orders` counts open LIMIT orders of the symbol.
    """
    filters = instrument.filters
    return (
        _check_precision(intent, instrument)
        or _check_quantity(intent, filters)
        or _check_prices(intent, filters)
        or _check_notional(intent, filters, mark_price)
        or _check_percent(intent, filters, mark_price)
        or _check_count(intent, filters, open_orders)
    )


def _check_precision(intent: OrderIntent, instrument: Instrument) -> Violation | None:
    if _decimals(intent.quantity) > instrument.quantity_precision:
        return Violation(TOO_MANY_DECIMALS, f"quantity {intent.quantity} has too many decimals")
    for price in (intent.price, intent.trigger_price):
        if price is not None and _decimals(price) > instrument.price_precision:
            return Violation(TOO_MANY_DECIMALS, f"price {price} has too many decimals")
    return None


def _check_quantity(intent: OrderIntent, filters: Filters) -> Violation | None:
    step, lowest, highest = lot_of(filters, intent.kind)
    quantity = intent.quantity
    if quantity <= 0 or quantity < lowest:
        return Violation(QTY_LESS_THAN_MIN, f"quantity {quantity} below {lowest}")
    if highest > 0 and quantity > highest:
        return Violation(QTY_GREATER_THAN_MAX, f"quantity {quantity} above {highest}")
    if step > 0 and (quantity - lowest) % step != 0:
        return Violation(QTY_NOT_ON_STEP, f"quantity {quantity} not on step {step}")
    return None


def _check_prices(intent: OrderIntent, filters: Filters) -> Violation | None:
    for price in (intent.price, intent.trigger_price):
        violation = None if price is None else _check_price(price, filters)
        if violation is not None:
            return violation
    return None


def _check_price(price: Decimal, filters: Filters) -> Violation | None:
    if price <= 0 or price < filters.min_price:
        return Violation(PRICE_LESS_THAN_MIN, f"price {price} below {filters.min_price}")
    if filters.max_price > 0 and price > filters.max_price:
        return Violation(PRICE_GREATER_THAN_MAX, f"price {price} above {filters.max_price}")
    if filters.tick_size > 0 and (price - filters.min_price) % filters.tick_size != 0:
        return Violation(PRICE_NOT_ON_TICK, f"price {price} not on tick {filters.tick_size}")
    return None


def _check_notional(
    intent: OrderIntent, filters: Filters, mark_price: Decimal | None
) -> Violation | None:
    price = intent.price or intent.trigger_price or mark_price
    if intent.reduce_only or price is None:
        return None
    notional = price * intent.quantity
    if notional < filters.min_notional_usdt:
        return Violation(
            NOTIONAL_TOO_SMALL, f"notional {notional} below {filters.min_notional_usdt} USDT"
        )
    return None


def _check_percent(
    intent: OrderIntent, filters: Filters, mark_price: Decimal | None
) -> Violation | None:
    if intent.price is None or mark_price is None:
        return None
    highest, lowest = mark_price * filters.multiplier_up, mark_price * filters.multiplier_down
    if intent.side is Side.BUY and 0 < highest < intent.price:
        return Violation(PRICE_ABOVE_PERCENT, f"price {intent.price} above {highest}")
    if intent.side is Side.SELL and intent.price < lowest:
        return Violation(PRICE_BELOW_PERCENT, f"price {intent.price} below {lowest}")
    return None


def _check_count(intent: OrderIntent, filters: Filters, open_orders: int) -> Violation | None:
    if intent.kind is OrderKind.LIMIT and 0 < filters.max_num_orders <= open_orders:
        return Violation(TOO_MANY_ORDERS, f"{open_orders} open orders of {filters.max_num_orders}")
    return None


def _decimals(value: Decimal) -> int:
    exponent = value.normalize().as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0
