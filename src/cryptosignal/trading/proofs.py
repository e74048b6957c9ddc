"""Which questions to ask the venue: lookups of doubtful orders, snapshots when counts may be wrong.

These are the audit lane (DESIGN §5.19) and the way out of UNKNOWN. Asking is spaced and bounded;
only answers change the state.
"""

from __future__ import annotations

from decimal import Decimal

from cryptosignal.domain.actions import ReadRules, TakeSnapshot
from cryptosignal.domain.order import Leg, OrderKind, OrderState
from cryptosignal.ground.units import DAY_MS
from cryptosignal.trading.errands import Round, backoff_ms
from cryptosignal.trading.orders import Order
from cryptosignal.trading.reconcile import ABSENT_LOOKUPS_MIN, Scope, purpose_of
from cryptosignal.trading.state import TradingState
from cryptosignal.trading.trade import Trade

ZERO = Decimal(0)
URGENT = frozenset({"start", "stream", "proof", "mismatch", "fills"})


def ask(round_: Round) -> None:
    """Lookups and at most one snapshot."""
    for order in list(round_.state.open_orders()):
        first_ms = lookup_due_ms(round_, order)
        if first_ms is not None:
            round_.look_up(order, first_ms)
    _forget_settled(round_)
    why = _wanted_snapshot(round_)
    if why:
        _ask_snapshot(round_, why)


def ask_rules(round_: Round) -> None:
    """Read the contracts' rules anew after a refusal that only old rules explain (incident P)."""
    errands, settings = round_.errands, round_.settings
    if not errands.wants_rules:
        return
    asked = errands.rules
    pause = backoff_ms(settings.rules_retry_ms, asked.count - 1, settings.rules_retry_max_ms)
    if asked.count and not round_.is_due(asked.at_ms + pause):
        return
    asked.at_ms, asked.count = round_.now_ms, asked.count + 1
    round_.wake(round_.now_ms + settings.rules_retry_ms)
    round_.act(ReadRules("an order was refused by a rule that we did not know"))


def lookup_due_ms(round_: Round, order: Order) -> int | None:
    """When an order should first be looked up; None while nothing about it is doubtful."""
    settings = round_.settings
    sent_ms = round_.known_ms(order.sent_ms or order.intent.created_ms)
    if order.state is OrderState.UNKNOWN:
        return sent_ms
    if order.state is OrderState.SENT:
        return sent_ms + settings.unknown_timeout_ms
    if order.state is OrderState.ACKED:
        return sent_ms + settings.confirm_after_ms
    if order.state is OrderState.INTENT:
        return None
    cancelled = round_.errands.cancels.get(order.client_id)
    if cancelled is not None and cancelled.count:
        return cancelled.at_ms + settings.confirm_after_ms
    if order.doubted_ms:
        return round_.known_ms(order.doubted_ms)
    if order.triggered_ms:
        return round_.known_ms(order.triggered_ms) + settings.trigger_grace_ms // 2
    if order.intent.leg is Leg.STOP and _guards(round_, order):
        return round_.known_ms(max(order.checked_ms, order.seen_live_ms)) + settings.stop_verify_ms
    if order.is_spent:
        last_ms = round_.state.fills.last_ms.get(order.intent.symbol, 0)
        return round_.known_ms(max(sent_ms, last_ms)) + settings.verify_after_ms
    is_instant = order.intent.kind is OrderKind.MARKET or order.intent.time_in_force == "IOC"
    return sent_ms + settings.verify_after_ms if is_instant else None


def _guards(round_: Round, order: Order) -> bool:
    """The order protects something now: its silent loss must be noticed (incident I)."""
    trade = round_.state.trade_of(order)
    return trade is not None and round_.state.exposed(trade) > ZERO


def _wanted_snapshot(round_: Round) -> str:
    """The most urgent reason to read the account now, "" if there is none."""
    state, errands, settings = round_.state, round_.errands, round_.settings
    if not state.is_reconciled:
        return "start"
    if errands.has_stream_changed:
        return "stream"
    for order in state.open_orders():
        if _needs_proof(order):
            return "proof"
    if errands.is_suspicious or _disagrees(round_):
        return "mismatch"
    if _misses_fills(round_):
        return "fills"
    spacing = settings.audit_held_ms if _holds_any(state) else settings.audit_flat_ms
    if not errands.is_stream_up and state.trades:
        spacing = settings.audit_blind_ms
    return "audit" if round_.is_due(errands.snapshot.at_ms + spacing) else ""


def _holds_any(state: TradingState) -> bool:
    """Something is held, ours or others'."""
    for trade in state.trades.values():
        if state.exposed(trade) > ZERO:
            return True
    return any(book.foreign for book in state.books.values())


def _needs_proof(order: Order) -> bool:
    return len(order.absent_ms) >= ABSENT_LOOKUPS_MIN and not order.is_absent_in_snapshot


def _disagrees(round_: Round) -> bool:
    """Our count and the venue's newest word differ for longer than events need to arrive."""
    state, errands, settings = round_.state, round_.errands, round_.settings
    found = False
    for symbol, book in state.books.items():
        last_ms = state.fills.last_ms.get(symbol, 0)
        differs = book.venue_ms > last_ms and book.venue_quantity != state.net(symbol)
        if not differs and book.diff == ZERO:
            errands.disagree_ms.pop(symbol, None)
            continue
        since = errands.disagree_ms.setdefault(symbol, round_.now_ms)
        found = round_.is_due(since + settings.settle_ms) or found
    return found


def _misses_fills(round_: Round) -> bool:
    """Executions or their fees have not come, for longer than they need to."""
    settings = round_.settings
    found = False
    for order in round_.state.orders.values():
        if order.reported > order.booked:
            since = max(order.checked_ms, order.dead_ms, order.sent_ms)
            found = round_.is_past(since, settings.settle_ms) or found
    for flat_ms in round_.errands.flat_ms.values():  # a trade that cannot settle without them
        found = round_.is_due(flat_ms + settings.settle_ms) or found
    return found


def _ask_snapshot(round_: Round, why: str) -> None:
    errands, settings, now_ms = round_.errands, round_.settings, round_.now_ms
    asked = errands.snapshot
    if errands.is_snapshot_out and not round_.is_due(asked.at_ms + settings.snapshot_timeout_ms):
        return
    pause = settings.snapshot_spacing_ms
    if errands.snapshot_failures:
        pause = backoff_ms(pause, errands.snapshot_failures - 1, settings.snapshot_retry_max_ms)
    elif why != "start":
        pause = backoff_ms(pause, errands.wants.count, settings.snapshot_retry_max_ms // 2)
    if asked.at_ms and not round_.is_due(asked.at_ms + pause):
        return
    scope = _scope(round_, why)
    asked.at_ms, asked.count = now_ms, asked.count + 1
    errands.is_snapshot_out = True
    errands.has_stream_changed = errands.is_suspicious = False
    errands.wants.count = errands.wants.count + 1 if why in URGENT else 0
    errands.audits += 1
    round_.wake(now_ms + settings.snapshot_timeout_ms)
    round_.act(TakeSnapshot(purpose_of(scope), scope.symbols, scope.since_ms))


def _scope(round_: Round, why: str) -> Scope:
    """The symbols whose executions are to be read, and since when."""
    state = round_.state
    symbols = sorted(state.trades)
    if not symbols:
        return Scope(why, (), 0)
    since_ms = min(_began_ms(round_, trade) for trade in state.trades.values())
    return Scope(why, tuple(symbols), max(1, since_ms - round_.settings.trades_overlap_ms))


def _began_ms(round_: Round, trade: Trade) -> int:
    """When a trade began at the latest, by every stamp of it: some may be of a clock that was wrong."""
    stamps = [trade.opened_ms, trade.filled_ms]
    for order in trade.orders.values():
        stamps += (order.sent_ms, order.dead_ms)
    known = [at_ms for at_ms in map(round_.known_ms, stamps) if at_ms]
    return min(known, default=round_.now_ms - DAY_MS)


def _forget_settled(round_: Round) -> None:
    """Errands of orders that are gone."""
    for table in (round_.errands.lookups, round_.errands.cancels):
        for client_id in [c for c in table if c not in round_.state.orders]:
            if client_id not in round_.state.strays:
                del table[client_id]
