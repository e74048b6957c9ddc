"""What the venue says of our orders, fills and wallet, taken into the state by order and by key.

Stream, lookup and snapshot all speak through these few functions, so that a fact means the same
whoever brings it.
"""

from __future__ import annotations

from decimal import Decimal

from cryptosignal.domain.order import Leg, OrderState
from cryptosignal.domain.position import VenueAlgo, VenueBalance, VenueOrder
from cryptosignal.trading.fills import Fill
from cryptosignal.trading.orders import (
    ALGO_LIVE_STATUSES,
    DEAD_STATUSES,
    LIVE_STATUSES,
    Order,
    OrderFact,
)
from cryptosignal.trading.state import TradingState

ZERO = Decimal(0)


def attach(state: TradingState, order: Order, order_id: int) -> None:
    """Learn the venue's number of an order of ours and claim fills that came before it."""
    key = (order.intent.symbol, order_id)
    if state.owner.get(key) == order.client_id:
        return
    state.owner[key] = order.client_id
    order.order_id = order_id
    for fill in state.fills.unowned(order.intent.symbol, order_id):
        state.book(fill.symbol).foreign -= fill.signed
        fill.client_id = order.client_id
        order.booked += fill.quantity


def owner_of(state: TradingState, symbol: str, client_id: str, order_id: int) -> Order | None:
    """The order of ours that an event speaks of, a closed trade's included (it is revived)."""
    order = state.orders.get(client_id)
    if order is None and order_id:
        order = state.orders.get(state.owner.get((symbol, order_id), ""))
    return order


def book_fill(state: TradingState, fill: Fill, client_id: str) -> None:
    """Count one execution once, for its owner or as foreign (never dropped: incident N)."""
    order = owner_of(state, fill.symbol, client_id, fill.order_id)
    is_revived = False
    if order is None and not state.fills.knows(fill.symbol, fill.trade_id):
        archived = client_id or state.owner.get((fill.symbol, fill.order_id), "")
        order = state.revive(archived)
        is_revived = order is not None
    fill.client_id = order.client_id if order is not None else ""
    fill.foreign_id = "" if order is not None else client_id
    if not state.fills.add(fill):
        return
    book = state.book(fill.symbol)
    if fill.time_ms > book.venue_ms:
        book.since += fill.signed
    if order is None:
        if fill.time_ms > book.agreed_ms:
            book.foreign += fill.signed
    else:
        before = order.signed
        order.booked += fill.quantity
        if is_revived and fill.time_ms <= book.agreed_ms:  # a difference was booked for it
            book.foreign -= order.signed - before
        if order.average_price == ZERO:
            order.average_price = fill.price
    trade = state.trades.get(fill.symbol)
    if trade is None:
        return
    if order is not None and order.is_entry and not trade.filled_ms:
        trade.filled_ms = fill.time_ms
        trade.best_price = trade.worst_price = fill.price
    state.touch_naked(trade, fill.time_ms)


def see_order(state: TradingState, order: Order, seen: VenueOrder, at_ms: int) -> None:
    """An ordinary order (or an algo order's child) as the venue shows it."""
    if order.is_algo and not order.triggered_ms:
        order.triggered_ms = seen.update_ms or at_ms
    if seen.order_id:
        attach(state, order, seen.order_id)
    _raise_executed(order, seen.executed, seen.average_price)
    if seen.status == "FILLED":
        _learn_seen(order, OrderFact.SEEN_FILLED, at_ms)
    elif seen.status in DEAD_STATUSES:
        _learn_seen(order, OrderFact.SEEN_DEAD, at_ms)
    elif seen.status == "PARTIALLY_FILLED":
        _learn_seen(order, OrderFact.SEEN_PARTIAL, at_ms)
    elif seen.status in LIVE_STATUSES:
        _learn_seen(order, OrderFact.SEEN_LIVE, at_ms)
    _after_sighting(state, order, at_ms)


def see_algo(state: TradingState, order: Order, seen: VenueAlgo, at_ms: int) -> None:
    """A conditional order as the venue shows it (BINANCE.md §5 ALGO_UPDATE)."""
    if seen.child_order_id.isdigit() and int(seen.child_order_id):
        attach(state, order, int(seen.child_order_id))
    _raise_executed(order, seen.executed, seen.average_price)
    if seen.status in ("TRIGGERING", "TRIGGERED") and not order.triggered_ms:
        order.triggered_ms = at_ms
    if seen.status in ALGO_LIVE_STATUSES:
        _learn_seen(order, OrderFact.SEEN_LIVE, at_ms)
    elif seen.status == "FINISHED" and order.executed >= order.intent.quantity:
        _learn_seen(order, OrderFact.SEEN_FILLED, at_ms)
    elif seen.status in DEAD_STATUSES:
        _learn_seen(order, OrderFact.SEEN_DEAD, at_ms)
    _after_sighting(state, order, at_ms)


def _raise_executed(order: Order, executed: Decimal, average_price: Decimal) -> None:
    if executed >= order.reported and executed > ZERO:
        order.reported = executed
        if average_price > ZERO:
            order.average_price = average_price


def _learn_seen(order: Order, fact: OrderFact, at_ms: int) -> None:
    order.checked_ms = max(order.checked_ms, at_ms)
    is_dead = order.state is OrderState.DEAD
    if is_dead and not order.is_dead_by_venue and fact is not OrderFact.SEEN_DEAD:
        order.learn(OrderFact.REOPENED)
    order.learn(fact)
    if fact is OrderFact.SEEN_DEAD:
        order.is_dead_by_venue = True
    if fact in (OrderFact.SEEN_LIVE, OrderFact.SEEN_PARTIAL):
        order.forget_absence()
        order.seen_live_ms = order.seen_live_ms or at_ms
    if order.state.is_terminal and not order.dead_ms:
        order.dead_ms = at_ms


def _after_sighting(state: TradingState, order: Order, at_ms: int) -> None:
    trade = state.trade_of(order)
    if trade is None:
        return
    if order.is_entry and order.executed > ZERO and not trade.filled_ms:
        trade.filled_ms = at_ms
        trade.best_price = trade.worst_price = order.average_price
    state.touch_naked(trade, at_ms)
    if order.intent.leg is Leg.STOP and order.state is OrderState.DEAD and trade.naked_since_ms:
        died_ms = max(at_ms, trade.covered_ms, trade.filled_ms)
        trade.naked_since_ms = min(trade.naked_since_ms, died_ms)


def take_balances(state: TradingState, balances: tuple[VenueBalance, ...], at_ms: int) -> None:
    """The wallet, if this word is newer than the last."""
    if at_ms < state.account.wallet_ms:
        return
    for balance in balances:
        if balance.asset == "USDT":
            state.account.wallet_usdt = balance.wallet
            state.account.available_usdt = balance.available
            state.account.wallet_ms = at_ms
            state.breaker.observe_equity(balance.wallet, at_ms)
