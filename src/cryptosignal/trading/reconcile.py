"""A snapshot of the account against our count of it: what agrees, what is missing, what is proven.

A snapshot is the truth for quantities, but it is read in several requests while trading goes on and
may come from a lagging replica. So a difference is booked only when a second, later snapshot that
also read the symbol's trades shows the same one; and absence of an order is proven only by all of
RELIABILITY §3.2 together.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Final

import msgspec

from cryptosignal.domain.events import AccountSnapshotTaken
from cryptosignal.domain.order import OrderState
from cryptosignal.domain.position import VenueTrade
from cryptosignal.trading.fills import Fill
from cryptosignal.trading.orders import Order, OrderFact
from cryptosignal.trading.sightings import book_fill, see_algo, see_order, take_balances
from cryptosignal.trading.state import StrayOrder, TradingState

ZERO = Decimal(0)
ABSENT_LOOKUPS_MIN: Final = 2
STAMP_SLACK_MS: Final = 1_000
"""The venue takes no stamp that lies further ahead than this (BINANCE.md §3)."""


class Scope(msgspec.Struct, frozen=True, gc=False):
    """What a snapshot was asked to read beside positions and orders; it travels in its purpose."""

    why: str
    symbols: tuple[str, ...]
    since_ms: int


def purpose_of(scope: Scope) -> str:
    """`why`, or `why SYMBOL,SYMBOL since_ms`: the answer carries its question (RELIABILITY §3.2)."""
    if not scope.symbols:
        return scope.why
    return f"{scope.why} {','.join(scope.symbols)} {scope.since_ms}"


def scope_of(purpose: str) -> Scope:
    """The inverse of `purpose_of`; anything else is a purpose without trades."""
    parts = purpose.split(" ")
    if len(parts) != 3 or not parts[2].isdigit():
        return Scope(parts[0], (), 0)
    return Scope(parts[0], tuple(parts[1].split(",")), int(parts[2]))


def take_snapshot(state: TradingState, event: AccountSnapshotTaken) -> None:
    """Fold a snapshot: trades, then orders, then what is missing, then positions, then proofs."""
    scope = scope_of(event.purpose)
    state.account.is_hedged = event.hedge_mode
    take_balances(state, event.balances, event.server_ms)
    for trade in event.trades:
        book_fill(state, _fill_of(trade), trade.client_id)
    _see_open_orders(state, event)
    _mark_missing(state, event)
    if not event.hedge_mode:  # two positions a symbol: nothing of ours, nothing to compare
        _compare_positions(state, event, scope)
    _note_absences(state, event, scope)
    for symbol in scope.symbols:
        book = state.book(symbol)
        book.trades_read_ms = max(book.trades_read_ms, event.requested_ms)
    for trade_now in list(state.trades.values()):
        state.touch_naked(trade_now, event.server_ms)
    state.is_reconciled = True
    state.snapshots += 1
    state.snapshot_ms = max(state.snapshot_ms, event.server_ms)


def note_absence(state: TradingState, order: Order, server_ms: int) -> None:
    """A lookup did not find the order: one of the proofs, if it is late and spaced enough."""
    settings = state.settings
    if order.sent_ms > server_ms + STAMP_SLACK_MS:
        # stamped by a clock that was set back since: refused as being ahead, and nothing stays on
        # the wire until that time comes, so the fence counts from now
        order.sent_ms = server_ms
    order.absent_ms = [at_ms for at_ms in order.absent_ms if at_ms <= server_ms + STAMP_SLACK_MS]
    fence = order.fence_ms(settings.fence_extra_ms, settings.default_recv_window_ms)
    if server_ms <= fence:
        return
    is_live = order.state in (OrderState.LIVE, OrderState.PARTIAL)
    if is_live and server_ms > order.checked_ms and not order.triggered_ms:
        order.doubted_ms = order.doubted_ms or server_ms
        trade = state.trade_of(order)
        if trade is not None:
            state.touch_naked(trade, server_ms)
    if order.absent_ms and server_ms - order.absent_ms[-1] < settings.lookup_spacing_ms:
        return
    order.absent_ms.append(server_ms)
    del order.absent_ms[:-ABSENT_LOOKUPS_MIN]
    conclude_absence(state, order, server_ms)


def conclude_absence(state: TradingState, order: Order, server_ms: int) -> None:
    """DEAD by proof, if every part of it is there."""
    if len(order.absent_ms) < ABSENT_LOOKUPS_MIN or not order.is_absent_in_snapshot:
        return
    order.learn(OrderFact.PROVEN_ABSENT)
    if order.state is OrderState.DEAD and not order.dead_ms:
        order.dead_ms = server_ms
    trade = state.trade_of(order)
    if trade is not None:
        state.touch_naked(trade, server_ms)


def _fill_of(trade: VenueTrade) -> Fill:
    return Fill(
        symbol=trade.symbol,
        trade_id=trade.trade_id,
        order_id=trade.order_id,
        side=trade.side,
        quantity=trade.quantity,
        price=trade.price,
        time_ms=trade.time_ms,
        fee=trade.fee,
        fee_asset=trade.fee_asset,
        realized_usdt=trade.realized_usdt,
        has_fee=True,
    )


def _see_open_orders(state: TradingState, event: AccountSnapshotTaken) -> None:
    state.strays.clear()
    for seen in event.orders:
        order = state.orders.get(seen.client_id)
        if order is not None:
            see_order(state, order, seen, seen.update_ms or event.server_ms)
            order.checked_ms = max(order.checked_ms, event.requested_ms)
        else:
            _note_stray(state, seen.client_id, seen.symbol, is_algo=False, safe=seen.reduce_only)
    for algo in event.algos:
        order = state.orders.get(algo.client_id)
        if order is not None:
            see_algo(state, order, algo, algo.update_ms or event.server_ms)
            order.checked_ms = max(order.checked_ms, event.requested_ms)
        else:
            safe = algo.reduce_only or algo.close_position
            _note_stray(state, algo.client_id, algo.symbol, is_algo=True, safe=safe)


def _note_stray(
    state: TradingState, client_id: str, symbol: str, *, is_algo: bool, safe: bool
) -> None:
    is_own = state.is_own_id(client_id)
    state.strays[client_id] = StrayOrder(client_id, symbol, is_algo, is_own, safe)


def _mark_missing(state: TradingState, event: AccountSnapshotTaken) -> None:
    """Orders believed to rest that a later read does not list are doubted until looked up."""
    listed = {o.client_id for o in event.orders} | {a.client_id for a in event.algos}
    lag_ms = state.settings.algo_lag_ms
    for order in state.open_orders():
        if order.client_id in listed or order.state not in (OrderState.LIVE, OrderState.PARTIAL):
            continue
        seen_ms = max(order.checked_ms, order.seen_live_ms, order.sent_ms)
        if event.requested_ms > seen_ms + lag_ms and not order.triggered_ms:
            order.doubted_ms = order.doubted_ms or event.server_ms


def _compare_positions(state: TradingState, event: AccountSnapshotTaken, scope: Scope) -> None:
    reported = {p.symbol: p for p in event.positions if p.position_side == "BOTH"}
    known = {s for s, b in state.books.items() if b.foreign or b.diff or b.venue_quantity}
    for symbol in sorted(reported.keys() | known | state.trades.keys()):
        position = reported.get(symbol)
        quantity = position.quantity if position is not None else ZERO
        book = state.book(symbol)
        is_ahead = book.venue_ms > event.server_ms + STAMP_SLACK_MS  # by a clock set back since
        if event.requested_ms >= book.venue_ms or is_ahead:
            entry_price = position.entry_price if position is not None else ZERO
            state.hear(book, quantity, entry_price, event.requested_ms)
        last_ms = state.fills.last_ms.get(symbol, 0)
        book.is_unsettled = last_ms > event.requested_ms - state.settings.settle_ms
        if not book.is_unsettled:
            _judge_difference(state, event, scope, symbol, quantity - state.net(symbol))
        if symbol not in state.trades and not book.is_unsettled:
            state.fills.settle(symbol, last_ms)


def _judge_difference(
    state: TradingState, event: AccountSnapshotTaken, scope: Scope, symbol: str, diff: Decimal
) -> None:
    book = state.book(symbol)
    if diff == ZERO:
        book.diff, book.diff_ms, book.agreed_ms = ZERO, 0, event.requested_ms
        return
    if symbol not in state.trades:
        state.adjust(symbol, diff, event.server_ms)
        book.diff, book.diff_ms, book.agreed_ms = ZERO, 0, event.requested_ms
        return
    is_second = book.diff == diff and event.requested_ms > book.diff_ms
    if is_second and symbol in scope.symbols and not _has_doubtful_order(state, symbol):
        state.adjust(symbol, diff, event.server_ms)
        book.diff, book.diff_ms, book.agreed_ms = ZERO, 0, event.requested_ms
    elif book.diff != diff:
        book.diff, book.diff_ms = diff, event.server_ms


def _has_doubtful_order(state: TradingState, symbol: str) -> bool:
    """An order that may explain the difference once it is looked up."""
    trade = state.trades[symbol]
    return any(
        o.state in (OrderState.SENT, OrderState.ACKED, OrderState.UNKNOWN)
        or o.doubted_ms
        or (o.triggered_ms and o.is_open)
        for o in trade.orders.values()
    )


def _note_absences(state: TradingState, event: AccountSnapshotTaken, scope: Scope) -> None:
    listed = {o.client_id for o in event.orders} | {a.client_id for a in event.algos}
    settings = state.settings
    for order in list(state.open_orders()):
        symbol = order.intent.symbol
        if order.client_id in listed or order.state is OrderState.INTENT:
            continue
        fence = order.fence_ms(settings.fence_extra_ms, settings.default_recv_window_ms)
        if event.requested_ms <= fence or symbol not in scope.symbols:
            continue
        book = state.book(symbol)
        start_ms = order.sent_ms or order.intent.created_ms
        is_steady = book.diff == ZERO or event.requested_ms > book.diff_ms + settings.claim_lag_ms
        is_agreed = not book.is_unsettled and is_steady
        if is_agreed and scope.since_ms <= start_ms and not _has_claimant(state, order, start_ms):
            order.is_absent_in_snapshot = True
            conclude_absence(state, order, event.server_ms)


def _has_claimant(state: TradingState, order: Order, since_ms: int) -> bool:
    """An unclaimed execution that could be this order's.

    An order that has traded can be queried by its id; one that is still not found long after the
    execution is not its owner (a person trading on the same account).
    """
    known_ms = order.absent_ms[0] if len(order.absent_ms) >= ABSENT_LOOKUPS_MIN else 0
    lag_ms = state.settings.claim_lag_ms
    return any(
        f.time_ms + lag_ms > known_ms and _could_own(order, f)
        for f in state.fills.foreign(order.intent.symbol, since_ms)
    )


def _could_own(order: Order, fill: Fill) -> bool:
    is_match = fill.side is order.intent.side and fill.quantity <= order.intent.quantity
    return is_match and not fill.foreign_id
