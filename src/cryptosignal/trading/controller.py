"""One pass over everything open: entries carried on, positions protected, the finished put away.

Level-triggered on purpose: it never asks what just happened, only what is. The same pass repairs a
lost answer, a silent cancel and a crash.
"""

from __future__ import annotations

from decimal import Decimal

from cryptosignal.domain.actions import CancelOrder, WatchSymbols
from cryptosignal.domain.events import CancelRecorded
from cryptosignal.domain.instrument import Instrument
from cryptosignal.domain.order import Leg, OrderKind, OrderState
from cryptosignal.ground.calendar import utc_day
from cryptosignal.risk.breaker import KillLevel
from cryptosignal.trading import (
    bracket,
    closing,
    deadman,
    entries,
    exits,
    facts,
    foreign,
    proofs,
)
from cryptosignal.trading.errands import Asked, Round
from cryptosignal.trading.state import StrayOrder
from cryptosignal.trading.trade import Trade

ZERO = Decimal(0)
CALM_EXITS = frozenset({"time", "manual", "tp2"})
CANCELLABLE = (OrderState.ACKED, OrderState.LIVE, OrderState.PARTIAL)
MARK_STEP_R = Decimal("0.25")


def run(round_: Round) -> None:
    """The whole pass."""
    _trip_breakers(round_)
    _expire_approvals(round_)
    foreign.take_in(round_)
    for trade in list(round_.state.trades.values()):
        _steer(round_, trade)
    deadman.run(round_)
    for stray in list(round_.state.strays.values()):
        _remove_orphan(round_, stray)
    proofs.ask(round_)
    proofs.ask_rules(round_)
    _watch(round_)


def _steer(round_: Round, trade: Trade) -> None:
    instrument = round_.state.instruments[trade.symbol]
    if _waits_for_stop(round_, trade, instrument):
        return
    _steer_entry(round_, trade, instrument)
    if bracket.closable(round_.state.exposed(trade), instrument) > ZERO:
        _steer_held(round_, trade, instrument)
    elif bracket.is_grid_doubtful(round_, trade, instrument):
        return  # less than the smallest order is left, if the rules are still what we think
    elif not trade.is_entry_open and not _continues(round_, trade):
        _clear(round_, trade)


def _waits_for_stop(round_: Round, trade: Trade, instrument: Instrument) -> bool:
    """Stop-first: the entry leaves in the pass that sees its stop at the venue, or never."""
    waiting = round_.errands.entries.get(trade.key)
    if waiting is None:
        return False
    reason = entries.why_abandon(round_, trade, waiting)
    if reason:
        del round_.errands.entries[trade.key]
        round_.note("entry.abandoned", symbol=trade.symbol, reason=reason)
        return False
    is_guarded = bracket.rests_before_entry(round_, trade, instrument, waiting.quantity)
    if not is_guarded and not round_.state.needs_position_first:
        return True
    del round_.errands.entries[trade.key]
    price = round_.errands.price(trade.symbol) or waiting.price
    entries.send_entry(round_, trade, instrument, waiting.quantity, price)
    return False


def _steer_held(round_: Round, trade: Trade, instrument: Instrument) -> None:
    """Close it if it must be closed; keep a confirmed stop at it in any case."""
    state = round_.state
    round_.errands.flat_ms.pop(trade.key, None)
    _mark_extremes(round_, trade)
    is_only_guarded = bool(trade.adopted) and round_.settings.foreign != "adopt"
    reason = trade.close_reason
    if not reason and not is_only_guarded:
        reason = exits.due_exit(round_, trade)
    if not reason and not is_only_guarded:
        deadline_ms = bracket.naked_deadline_ms(round_, trade)
        if deadline_ms and round_.is_due(deadline_ms):
            reason = "naked"
    if reason and not trade.close_reason:
        _close(round_, trade, reason)
    if reason:
        leg = Leg.EXIT if reason in CALM_EXITS else Leg.FLATTEN
        bracket.flatten(round_, trade, instrument, leg, reason)
    stop_price = exits.wanted_stop(round_, trade, instrument) if not reason else trade.stop_price
    bracket.protect(round_, trade, instrument, stop_price)
    if not reason and not _continues(round_, trade):
        bracket.place_targets(round_, trade, instrument)
    if trade.naked_since_ms:
        round_.note_once(
            f"naked-{trade.key}-{trade.naked_since_ms}",
            "position.went_naked",
            symbol=trade.symbol,
            quantity=str(state.exposed(trade)),
            since_ms=trade.naked_since_ms,
        )


def _steer_entry(round_: Round, trade: Trade, instrument: Instrument) -> None:
    """Passive entries time out and cross, slices follow each other, a kill cancels what rests."""
    settings, now_ms = round_.settings, round_.now_ms
    is_unwanted = bool(trade.close_reason) or round_.state.breaker.kill >= KillLevel.CANCEL_ENTRIES
    for order in trade.open_of(Leg.ENTRY):
        if order.intent.kind is not OrderKind.LIMIT or order.state not in CANCELLABLE:
            continue
        is_late = round_.is_past(order.intent.created_ms, settings.passive_timeout_ms)
        if is_unwanted or is_late:
            round_.cancel(order, "entry is not wanted" if is_unwanted else "entry timed out")
    if trade.is_entry_open or not _continues(round_, trade):
        return
    last = list(trade.of_leg(Leg.ENTRY))[-1]
    price = round_.errands.price(trade.symbol)
    if price is None or not round_.is_past(last.intent.created_ms, settings.slice_pause_ms):
        return
    if entries.drift_refusal(trade.ticket, price, settings.entry_drift_bps):
        return
    left = bracket.closable(trade.quantity - trade.entered, instrument)
    if left * price >= instrument.filters.min_notional_usdt and now_ms < trade.ticket.expires_ms:
        entries.send_entry(round_, trade, instrument, left, price)


def _continues(round_: Round, trade: Trade) -> bool:
    """More entry orders may follow: a passive one that must cross, slices that are left."""
    settings = round_.settings
    if settings.entry_style not in ("passive", "sliced") or trade.close_reason:
        return False
    if round_.state.breaker.kill is not KillLevel.OFF or round_.now_ms >= trade.ticket.expires_ms:
        return False
    attempts = list(trade.of_leg(Leg.ENTRY))
    if not attempts:  # the process ended before the first one left: that price is gone
        return False
    limit = 2 if settings.entry_style == "passive" else settings.slices + 1
    if round_.now_ms > attempts[0].intent.created_ms + 2 * settings.passive_timeout_ms:
        return False
    return len(attempts) < limit and trade.entered < trade.quantity


def _clear(round_: Round, trade: Trade) -> None:
    """Flat: siblings are cancelled, then the books are closed (RELIABILITY §5.11).

    The stop stays until the venue's own word on the position says so too: somebody's execution that we
    have not heard of may have left a part of ours.
    """
    is_sure = round_.state.is_word_current(trade.symbol)
    if not is_sure:
        round_.errands.flat_ms.setdefault(trade.key, round_.now_ms)  # asks for the word in a while
    for order in [o for o in trade.orders.values() if o.is_open]:
        if order.intent.leg is Leg.STOP and not is_sure:
            continue
        if order.state in CANCELLABLE and order.may_rest:
            round_.cancel(order, "the position is flat")
    if trade.is_quiet:
        closing.settle(round_, trade)


def _close(round_: Round, trade: Trade, reason: str) -> None:
    body = facts.Closing(trade.symbol, reason, round_.now_ms)
    round_.record(facts.fact(facts.TRADE_CLOSING, trade.ticket.signal_id, body))
    round_.note("trade.closing", symbol=trade.symbol, reason=reason)


def _mark_extremes(round_: Round, trade: Trade) -> None:
    """Record best and worst price in steps, so that a restart keeps MFE and MAE."""
    if trade.best_price <= ZERO or trade.entry_price <= ZERO:
        return
    step = abs(trade.entry_price - trade.ticket.stop_price) * MARK_STEP_R
    best, worst = exits.extremes_of(round_.errands, trade)
    if max(abs(best - trade.best_price), abs(worst - trade.worst_price)) >= step > ZERO:
        body = facts.Marked(trade.symbol, best, worst)
        round_.record(facts.fact(facts.TRADE_MARKED, trade.ticket.signal_id, body))


def _remove_orphan(round_: Round, stray: StrayOrder) -> None:
    """An order with our tag that belongs to no trade: gone, unless it protects something."""
    state, errands = round_.state, round_.errands
    if not stray.is_own or stray.client_id in state.orders:
        return
    book = state.book(stray.symbol)
    is_flat = book.venue_quantity == ZERO and state.net(stray.symbol) == ZERO
    if stray.is_reduce_only and not is_flat:
        return
    asked = errands.cancels.setdefault(stray.client_id, Asked())
    if asked.count and not round_.is_due(asked.at_ms + round_.settings.cancel_retry_max_ms):
        return
    asked.at_ms, asked.count = round_.now_ms, asked.count + 1
    round_.record(CancelRecorded(stray.client_id, stray.symbol, "orphan"))
    round_.act(CancelOrder(stray.client_id, stray.symbol, stray.is_algo))
    round_.note("order.orphan_found", client_id=stray.client_id, symbol=stray.symbol)


def _trip_breakers(round_: Round) -> None:
    state, errands, now_ms = round_.state, round_.errands, round_.now_ms
    unrealized = sum(
        (exits.unrealized_usdt(state, errands, t) for t in state.trades.values()), ZERO
    )
    reason = state.breaker.due_trip(now_ms, unrealized)
    if reason is not None:
        body = facts.Tripped(now_ms + state.risk.shutdown_ms, reason)
        round_.record(facts.fact(facts.BREAKER_TRIPPED, utc_day(now_ms), body))
        round_.note("breaker.tripped", reason=reason, until_ms=body.until_ms)
    trade = exits.due_margin_exit(round_)
    if trade is not None and not trade.close_reason:
        errands.margin_exit_ms = now_ms
        _close(round_, trade, "margin")


def _expire_approvals(round_: Round) -> None:
    for signal_id, waiting in list(round_.state.waiting.items()):
        if round_.is_due(waiting.expires_ms):
            ended = facts.Ended("expired", "nobody answered in time")
            round_.record(facts.fact(facts.APPROVAL_ENDED, signal_id, ended))
            round_.note("approval.expired", signal_id=signal_id)


def _watch(round_: Round) -> None:
    state, errands = round_.state, round_.errands
    symbols = set(state.trades)
    symbols.update(waiting.ticket.symbol for waiting in state.waiting.values())
    symbols.update(wish.ticket.symbol for wish in errands.deferred.values())
    for symbol, book in state.books.items():
        if book.foreign:
            symbols.add(symbol)
    wanted = tuple(sorted(symbols))
    if wanted != errands.watched:
        errands.watched = wanted
        round_.act(WatchSymbols(wanted, wanted))
