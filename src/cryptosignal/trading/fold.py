"""Journaled events into state: each may come twice, late, out of order or never.

Handlers only ever raise knowledge (orders by their table, fills by their key, absolute reports by
their time), so that any order of arrival ends in the same state and a replay is harmless.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import msgspec

from cryptosignal.domain.events import (
    AccountSnapshotTaken,
    AccountUpdated,
    AlgoUpdated,
    CancelRecorded,
    CancelReplied,
    CountdownReplied,
    EngineStarted,
    FactRecorded,
    IntentRecorded,
    MarginCalled,
    OperatorCommanded,
    OrderLookedUp,
    OrderReplied,
    OrderSent,
    OrderUpdated,
    SendOutcome,
    TradeSeen,
)
from cryptosignal.domain.order import Leg
from cryptosignal.domain.position import VenueAlgo, VenueOrder
from cryptosignal.risk.breaker import KillLevel
from cryptosignal.trading import facts, reconcile
from cryptosignal.trading.fills import Fill
from cryptosignal.trading.orders import ALGO_LIVE_STATUSES, Order, OrderFact
from cryptosignal.trading.sightings import (
    attach,
    book_fill,
    owner_of,
    see_algo,
    see_order,
    take_balances,
)
from cryptosignal.trading.state import ANSWERED_MAX, Countdown, TradingState
from cryptosignal.trading.ticket import signal_key
from cryptosignal.trading.trade import Trade

ZERO = Decimal(0)
WOULD_TRIGGER_CODES = frozenset({-2021, -4142})
"""The price is already beyond the trigger (BINANCE.md §6)."""
NO_POSITION_CODES = frozenset({-2022, -4509})
"""A reduce-only order was refused for want of a position (BINANCE.md §6)."""
DUPLICATE_CODES = frozenset({-4116})
"""An order with this id is open: the first request was accepted."""
TRANSFER_REASONS = frozenset(
    {"DEPOSIT", "WITHDRAW", "MARGIN_TRANSFER", "ASSET_TRANSFER", "ADMIN_DEPOSIT", "ADMIN_WITHDRAW"}
)


def fold(state: TradingState, event: object) -> None:
    """Fold one event; those that carry no money knowledge change nothing."""
    handler = HANDLERS.get(type(event))
    if handler is not None:
        state.drop_sums()
        handler(state, event)


# ---- our own words --------------------------------------------------------------------------
def _engine_started(state: TradingState, event: EngineStarted) -> None:
    state.mode, state.account_kind = event.mode, event.account
    state.starts += 1
    state.is_reconciled = False
    for order in list(state.orders.values()):
        order.learn(OrderFact.RESTARTED)


def _intent_recorded(state: TradingState, event: IntentRecorded) -> None:
    intent = event.intent
    trade = state.trades.get(intent.symbol)
    if trade is None or trade.ticket.signal_id != intent.signal_id:
        return
    if intent.client_id in trade.orders:
        return
    order = Order(intent)
    trade.orders[intent.client_id] = order
    state.orders[intent.client_id] = order
    if intent.leg is Leg.STOP and intent.trigger_price is not None:
        tighter = trade.stop_price == ZERO or trade.is_better(
            intent.trigger_price, trade.stop_price
        )
        if tighter:
            trade.stop_price = intent.trigger_price
    if intent.leg in (Leg.EXIT, Leg.FLATTEN) and not trade.close_reason:
        trade.close_reason = intent.reason or "exit"


def _order_sent(state: TradingState, event: OrderSent) -> None:
    order = state.orders.get(event.client_id)
    if order is None or order.sent_ms:
        return
    order.sent_ms, order.recv_window_ms = event.sent_ms, event.recv_window_ms
    order.learn(OrderFact.SENT)
    state.breaker.observe_order(event.sent_ms, is_entry=order.is_entry)


def _cancel_recorded(state: TradingState, event: CancelRecorded) -> None:
    order = state.orders.get(event.client_id)
    if order is not None:
        order.is_cancel_asked = True


_REPLY_FACTS = {
    SendOutcome.ACKED: OrderFact.ACKED,
    SendOutcome.REJECTED: OrderFact.REJECTED,
    SendOutcome.NOT_SENT: OrderFact.NOT_SENT,
    SendOutcome.UNKNOWN: OrderFact.UNKNOWN,
}


def _order_replied(state: TradingState, event: OrderReplied) -> None:
    order = state.orders.get(event.client_id)
    if order is None:
        return
    fact = _REPLY_FACTS[event.outcome]
    if event.code in DUPLICATE_CODES:
        fact = OrderFact.UNKNOWN
    if event.order_id and not order.is_algo:
        attach(state, order, event.order_id)
    if not order.learn(fact):
        return
    if fact is not OrderFact.ACKED:
        state.breaker.observe_error(event.server_ms or order.sent_ms or order.intent.created_ms)
    if fact in (OrderFact.REJECTED, OrderFact.NOT_SENT):
        order.reject_code, order.message = event.code, event.message
        order.dead_ms = event.server_ms or order.sent_ms or order.intent.created_ms
        _note_passed(state, order, event.code)
        _note_position_first(state, order, event.code)
    trade = state.trade_of(order)
    if trade is not None:
        state.touch_naked(trade, event.server_ms or order.sent_ms)


def _note_passed(state: TradingState, order: Order, code: int) -> None:
    trade = state.trade_of(order)
    if trade is None or code not in WOULD_TRIGGER_CODES:
        return
    if order.intent.leg is Leg.STOP:
        trade.is_stop_passed = True
        trade.close_reason = trade.close_reason or "stop"
    elif order.intent.leg in (Leg.TP1, Leg.TP2):
        trade.passed_targets.add(order.intent.leg)


def _note_position_first(state: TradingState, order: Order, code: int) -> None:
    """RELIABILITY §3.7 is not verified on the real venue: learn it from its own word."""
    trade = state.trade_of(order)
    if trade is None or order.intent.leg is not Leg.STOP or code not in NO_POSITION_CODES:
        return
    if not any(True for _ in trade.of_leg(Leg.ENTRY)):
        state.needs_position_first = True


def _cancel_replied(state: TradingState, event: CancelReplied) -> None:
    order = state.orders.get(event.client_id)
    if order is not None and event.outcome in (SendOutcome.ACKED, SendOutcome.REJECTED):
        order.is_cancel_answered = True
    if event.outcome is SendOutcome.ACKED:
        state.strays.pop(event.client_id, None)


def _countdown_replied(state: TradingState, event: CountdownReplied) -> None:
    countdown = state.countdowns.get(event.symbol)
    if countdown is None:
        return
    is_unknown = event.outcome is SendOutcome.UNKNOWN
    is_accepted = event.outcome is SendOutcome.ACKED
    if event.countdown_ms:
        countdown.answer(may_run=is_accepted or is_unknown, may_arrive=is_unknown)
    elif is_accepted:
        countdown.stop(event.asked_ms)


# ---- the venue's words -----------------------------------------------------------------------
def _order_updated(state: TradingState, event: OrderUpdated) -> None:
    at_ms = event.trade_ms or event.event_ms
    if event.trade_id and event.last_quantity > ZERO:
        fill = Fill(
            symbol=event.symbol,
            trade_id=event.trade_id,
            order_id=event.order_id,
            side=event.side,
            quantity=event.last_quantity,
            price=event.last_price,
            time_ms=at_ms,
            fee=event.fee,
            fee_asset=event.fee_asset,
            realized_usdt=event.realized_usdt,
            has_fee=True,
        )
        book_fill(state, fill, event.client_id)
    order = owner_of(state, event.symbol, event.client_id, event.order_id)
    if order is None:
        return
    seen = VenueOrder(
        symbol=event.symbol,
        client_id=event.client_id,
        order_id=event.order_id,
        side=event.side,
        kind=event.kind,
        status=event.status,
        quantity=event.quantity,
        executed=event.executed,
        average_price=event.average_price,
        price=ZERO,
        reduce_only=event.reduce_only,
        update_ms=at_ms,
    )
    see_order(state, order, seen, at_ms)


def _trade_seen(state: TradingState, event: TradeSeen) -> None:
    fill = Fill(
        symbol=event.symbol,
        trade_id=event.trade_id,
        order_id=event.order_id,
        side=event.side,
        quantity=event.quantity,
        price=event.price,
        time_ms=event.event_ms,
    )
    order = state.orders.get(event.client_id)
    if order is not None and event.order_id:
        attach(state, order, event.order_id)
    book_fill(state, fill, event.client_id)


def _algo_updated(state: TradingState, event: AlgoUpdated) -> None:
    order = state.orders.get(event.client_id)
    if order is None:
        if event.status not in ALGO_LIVE_STATUSES:
            state.strays.pop(event.client_id, None)
        return
    seen = VenueAlgo(
        symbol=event.symbol,
        client_id=event.client_id,
        algo_id=event.algo_id,
        side=event.side,
        kind=event.kind,
        status=event.status,
        quantity=event.quantity,
        trigger_price=event.trigger_price,
        reduce_only=True,
        close_position=False,
        child_order_id=event.child_order_id,
        executed=event.executed,
        average_price=event.average_price,
        update_ms=event.event_ms,
    )
    see_algo(state, order, seen, event.event_ms)


def _order_looked_up(state: TradingState, event: OrderLookedUp) -> None:
    order = state.orders.get(event.client_id)
    if order is None or event.found is None:
        return
    if not event.found:
        reconcile.note_absence(state, order, event.server_ms)
        return
    if event.algo is not None:
        see_algo(state, order, event.algo, event.algo.update_ms or event.server_ms)
    elif event.order is not None:
        see_order(state, order, event.order, event.order.update_ms or event.server_ms)
    order.checked_ms = max(order.checked_ms, event.server_ms)
    trade = state.trade_of(order)
    if trade is not None:
        state.touch_naked(trade, event.server_ms)


def _account_updated(state: TradingState, event: AccountUpdated) -> None:
    if event.reason in TRANSFER_REASONS and event.event_ms > state.account.wallet_ms:
        state.breaker.observe_transfer(event.balance_change_usdt)
    take_balances(state, event.balances, event.event_ms)
    for position in event.positions:
        book = state.book(position.symbol)
        if event.event_ms < book.venue_ms or position.position_side != "BOTH":
            continue
        state.hear(book, position.quantity, position.entry_price, event.event_ms)
        trade = state.trades.get(position.symbol)
        if trade is not None:
            state.touch_naked(trade, event.event_ms)
    if event.reason == "FUNDING_FEE" and event.funding_symbol:
        trade = state.trades.get(event.funding_symbol)
        if trade is not None and event.event_ms not in trade.funding_seen:
            trade.funding_seen.add(event.event_ms)
            trade.funding_usdt += event.balance_change_usdt


def _margin_called(state: TradingState, event: MarginCalled) -> None:
    state.margin_call_ms = max(state.margin_call_ms, event.event_ms)


# ---- facts and people --------------------------------------------------------------------------
def _fact_recorded(state: TradingState, event: FactRecorded) -> None:
    handler = _FACTS.get(event.kind)
    if handler is not None:
        handler(state, event)


def _signal_opened(state: TradingState, event: FactRecorded) -> None:
    if event.key in state.opened:
        return
    opened = msgspec.json.decode(event.body, type=facts.Opened)
    state.opened.add(event.key)
    state.waiting.pop(event.key, None)
    ticket = opened.ticket
    if ticket.symbol in state.trades:
        return
    state.instruments.setdefault(ticket.symbol, opened.instrument)
    state.trades[ticket.symbol] = Trade(
        ticket=ticket,
        key=signal_key(ticket.signal_id),
        opened_ms=opened.opened_ms,
        leverage=opened.leverage,
        quantity=opened.quantity,
        risk_usdt=opened.risk_usdt,
        stop_price=ticket.stop_price,
        adopted=opened.adopted,
        adopted_price=opened.adopted_price,
    )
    if opened.adopted:
        trade = state.trades[ticket.symbol]
        trade.filled_ms = opened.opened_ms
        trade.best_price = trade.worst_price = opened.adopted_price
        state.book(ticket.symbol).foreign -= opened.adopted
        state.touch_naked(trade, opened.opened_ms)


def _signal_closed(state: TradingState, event: FactRecorded) -> None:
    closed = msgspec.json.decode(event.body, type=facts.Closed)
    trade = state.trades.get(closed.symbol)
    if trade is None or trade.ticket.signal_id != event.key:
        return
    state.archive_trade(trade)
    if closed.outcome is None or trade.is_counted:
        return
    trade.is_counted = True
    state.breaker.observe_close(closed.net_usdt)
    state.ramp_waiting += 1
    risk = state.risk
    pause_ms = {
        "stop": risk.cooldown_stop_ms,
        "liquidation": risk.cooldown_stop_ms,
        "tp1": risk.cooldown_profit_ms,
        "tp2": risk.cooldown_profit_ms,
    }.get(closed.reason, risk.cooldown_manual_ms)
    state.cooldowns[closed.symbol] = closed.closed_ms + pause_ms


def _trade_closing(state: TradingState, event: FactRecorded) -> None:
    closing = msgspec.json.decode(event.body, type=facts.Closing)
    trade = state.trades.get(closing.symbol)
    if trade is not None and trade.ticket.signal_id == event.key and not trade.close_reason:
        trade.close_reason = closing.reason


def _trade_marked(state: TradingState, event: FactRecorded) -> None:
    marked = msgspec.json.decode(event.body, type=facts.Marked)
    trade = state.trades.get(marked.symbol)
    if trade is not None and trade.ticket.signal_id == event.key:
        trade.best_price, trade.worst_price = marked.best_price, marked.worst_price


def _approval_waiting(state: TradingState, event: FactRecorded) -> None:
    if event.key not in state.opened:
        state.waiting[event.key] = msgspec.json.decode(event.body, type=facts.Waiting)


def _approval_ended(state: TradingState, event: FactRecorded) -> None:
    state.waiting.pop(event.key, None)
    state.answered[event.key] = msgspec.json.decode(event.body, type=facts.Ended)
    while len(state.answered) > ANSWERED_MAX:
        state.answered.popitem(last=False)


def _kill_set(state: TradingState, event: FactRecorded) -> None:
    kill = msgspec.json.decode(event.body, type=facts.Kill)
    state.breaker.set_kill(KillLevel(kill.level), kill.reason)


def _breaker_tripped(state: TradingState, event: FactRecorded) -> None:
    tripped = msgspec.json.decode(event.body, type=facts.Tripped)
    state.breaker.trip(tripped.until_ms, tripped.reason)


def _countdown_asked(state: TradingState, event: FactRecorded) -> None:
    asked = msgspec.json.decode(event.body, type=facts.Countdown)
    state.countdowns.setdefault(event.key, Countdown()).ask(asked.at_ms, asked.countdown_ms)


def _operator_commanded(state: TradingState, event: OperatorCommanded) -> None:
    """Closing is folded, so that a crash after the command cannot forget it."""
    if event.command == "close":
        trade = state.trades.get(event.arguments.get("symbol", "").upper())
        if trade is not None and not trade.close_reason:
            trade.close_reason = "manual"
    elif event.command == "close_all":
        for trade in state.trades.values():
            trade.close_reason = trade.close_reason or "manual"
    elif event.command == "kill":
        level = event.arguments.get("level", "1")
        if level in ("1", "2", "3"):
            state.breaker.set_kill(KillLevel(int(level)), f"thrown by {event.actor}")
    elif event.command == "unkill":
        state.breaker.set_kill(KillLevel.OFF, "")


_FACTS: dict[str, Callable[[TradingState, FactRecorded], None]] = {
    facts.SIGNAL_OPENED: _signal_opened,
    facts.SIGNAL_CLOSED: _signal_closed,
    facts.TRADE_CLOSING: _trade_closing,
    facts.TRADE_MARKED: _trade_marked,
    facts.APPROVAL_WAITING: _approval_waiting,
    facts.APPROVAL_ENDED: _approval_ended,
    facts.KILL_SET: _kill_set,
    facts.BREAKER_TRIPPED: _breaker_tripped,
    facts.COUNTDOWN_ASKED: _countdown_asked,
}


def _snapshot_taken(state: TradingState, event: AccountSnapshotTaken) -> None:
    adjusted = state.adjusted
    reconcile.take_snapshot(state, event)
    is_whole = all(book.diff == ZERO for book in state.books.values())
    if state.adjusted != adjusted:
        state.climb_ramp(is_clean=False)
    elif is_whole and not state.account.is_hedged:
        state.climb_ramp(is_clean=True)


HANDLERS: dict[type, Callable[[TradingState, Any], None]] = {
    EngineStarted: _engine_started,
    IntentRecorded: _intent_recorded,
    OrderSent: _order_sent,
    CancelRecorded: _cancel_recorded,
    OrderReplied: _order_replied,
    CancelReplied: _cancel_replied,
    CountdownReplied: _countdown_replied,
    OrderUpdated: _order_updated,
    TradeSeen: _trade_seen,
    AlgoUpdated: _algo_updated,
    OrderLookedUp: _order_looked_up,
    AccountSnapshotTaken: _snapshot_taken,
    AccountUpdated: _account_updated,
    MarginCalled: _margin_called,
    FactRecorded: _fact_recorded,
    OperatorCommanded: _operator_commanded,
}
