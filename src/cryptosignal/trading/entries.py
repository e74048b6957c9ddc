"""The gate to new risk: every check an entry must pass, its size, and the records that precede it.

One choke point (RELIABILITY §1, Knight): nothing else in the program makes an entry.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from cryptosignal.domain.actions import SetLeverage
from cryptosignal.domain.instrument import Instrument
from cryptosignal.domain.order import Direction, Leg, OrderKind
from cryptosignal.ground.units import ceil_price, floor_price, floor_to_step, plain
from cryptosignal.risk.breaker import KillLevel
from cryptosignal.risk.exposure import Exposure, SymbolExposure
from cryptosignal.risk.sizing import (
    Refusal,
    Size,
    SizeRequest,
    size_position,
)
from cryptosignal.trading import facts
from cryptosignal.trading.errands import Errands, Round, WaitingEntry
from cryptosignal.trading.exits import unrealized_usdt
from cryptosignal.trading.state import TradingState
from cryptosignal.trading.ticket import Ticket
from cryptosignal.trading.trade import Trade

ZERO = Decimal(0)
BPS = Decimal(10_000)
FUNDING_DUE = "funding is due"
UNREAD = "no account snapshot since the start"
UNHEARD = "the account stream is down"
UNPRICED = "no fresh price"
TAKEN = "the signal has had its entry"
EXPIRED = "the signal has expired"
AFTER_FUNDING_MS = 1_000


def exposure_of(state: TradingState, errands: Errands) -> Exposure:
    """What is at stake now; orders whose fate is unknown count as filled (RELIABILITY §5.12)."""
    items = []
    equity = state.account.wallet_usdt
    for symbol in sorted(state.books.keys() | state.trades.keys()):
        trade, book = state.trades.get(symbol), state.book(symbol)
        held = pending = ZERO
        price = errands.price(symbol) or book.venue_entry_price
        if trade is not None:
            sign = trade.direction.sign
            held = state.exposed(trade) * sign
            waiting = errands.entries.get(trade.key)
            pending = (trade.entry_left + (waiting.quantity if waiting else ZERO)) * sign
            price = price or trade.entry_price or trade.ticket.entry_high
            equity += unrealized_usdt(state, errands, trade)
        if held or pending or book.foreign:
            items.append(SymbolExposure(symbol, held, pending, book.foreign, price))
        elif trade is not None:
            items.append(SymbolExposure(symbol, ZERO, ZERO, ZERO, price))
    return Exposure(equity, tuple(items))


def admit(
    round_: Round,
    ticket: Ticket,
    instrument: Instrument,
    price: Decimal | None,
    correlations: Mapping[str, Decimal],
    *,
    is_approved: bool = False,
    is_by_hand: bool = False,
) -> Size | Refusal:
    """Every check in one place: the size, or the first reason against the entry.

    `is_by_hand`: a person chose this trade; whether its costs are worth it was theirs to judge.
    """
    reason = refusal_of(round_, ticket, price, is_approved=is_approved)
    if reason or price is None:
        return Refusal(reason or "no price")
    state = round_.state
    style = round_.settings.entry_style
    request = SizeRequest(
        direction=ticket.direction,
        price=_worst_entry(price, ticket.direction, round_.settings.slippage_entry_bps),
        stop_price=ticket.stop_price,
        strength=ticket.strength,
        p=ticket.p,
        confidence=ticket.confidence,
        scale_frac=state.breaker.scale(round_.now_ms) * ticket.size_frac,
        cost_frac=ticket.cost_frac,
        is_cost_accepted=is_by_hand,
        is_market=style == "market",
        is_ramp=state.account_kind == "live" and state.ramp_done < state.risk.ramp_trades,
        is_unlimited_allowed=state.account_kind == "sim",
        correlations=correlations or _measured(round_, ticket.symbol),
        brackets=instrument.brackets,
    )
    return size_position(request, exposure_of(state, round_.errands), instrument, state.risk)


def _measured(round_: Round, symbol: str) -> dict[str, Decimal]:
    """How a symbol moves with what is held, as both move with BTC, where that says more than the
    default (`correlation_default_frac`): what coins share beside BTC is not in it, so it never says
    that there is more room."""
    errands, usual = round_.errands, round_.state.risk.correlation_default_frac
    own = errands.rho_btc(symbol)
    if own is None:
        return {}
    held = sorted((round_.state.books.keys() | round_.state.trades.keys()) - {symbol})
    with_btc = {s: errands.rho_btc(s) for s in held}
    return {s: own * rho for s, rho in with_btc.items() if rho is not None and own * rho > usual}


def refusal_of(
    round_: Round, ticket: Ticket, price: Decimal | None, *, is_approved: bool = False
) -> str:
    """Why this entry may not be made now, "" if it may."""
    state, errands, now_ms, settings = (
        round_.state,
        round_.errands,
        round_.now_ms,
        round_.settings,
    )
    symbol = ticket.symbol
    if state.mode == "signal" and not is_approved:
        return "the mode is signal: publish only"
    if ticket.signal_id in state.opened:
        return TAKEN
    if not state.is_reconciled:
        return UNREAD
    if not errands.is_stream_up:
        return UNHEARD
    if state.account.is_hedged:
        return "the account is in hedge mode"
    if now_ms >= ticket.expires_ms:
        return EXPIRED
    if symbol in state.trades:
        return "the symbol has an open trade"
    if state.book(symbol).foreign != ZERO:
        return "others hold a position on the symbol"
    if state.book(symbol).diff != ZERO:
        return "the position is not reconciled"
    if now_ms < state.cooldowns.get(symbol, 0):
        return "the symbol cools down after its last trade"
    if _is_funding_near(now_ms, settings.funding_interval_ms, settings.funding_guard_ms):
        return FUNDING_DUE
    tripped = state.breaker.refuse_entry(now_ms, ticket.confidence)
    if tripped:
        return tripped
    if price is None:
        return UNPRICED
    return drift_refusal(ticket, price, settings.entry_drift_bps)


def drift_refusal(ticket: Ticket, price: Decimal, limit_bps: int) -> str:
    """Why the price has moved too far from the plan, "" if it has not."""
    sign = ticket.direction.sign
    if (price - ticket.stop_price) * sign <= ZERO:
        return "the price is beyond the stop"
    if (ticket.tp1_price - price) * sign <= ZERO:
        return "the price is beyond the first target"
    edge = ticket.entry_high if ticket.direction is Direction.LONG else ticket.entry_low
    drift_bps = (price - edge) * sign / edge * BPS
    if drift_bps > limit_bps:
        return f"the price has drifted {drift_bps:.0f} bps from the entry band"
    return ""


def final_reason(ticket: Ticket, price: Decimal | None, limit_bps: int, reason: str) -> str:
    """Why a refusal stands for good: taken, expired, or the price has left the plan. "" for any other
    (a limit reached, the funding guard, no fresh price): it may be gone a moment later."""
    if reason in (TAKEN, EXPIRED):
        return reason
    return drift_refusal(ticket, price, limit_bps) if price is not None else ""


def open_trade(
    round_: Round, ticket: Ticket, instrument: Instrument, size: Size, price: Decimal
) -> None:
    """Record the trade, set leverage; the first entry order leaves now or after its stop rests."""
    opened = facts.Opened(
        ticket=ticket,
        opened_ms=round_.now_ms,
        leverage=size.leverage,
        quantity=size.quantity,
        risk_usdt=size.risk_usdt,
        instrument=instrument,
    )
    round_.record(facts.fact(facts.SIGNAL_OPENED, ticket.signal_id, opened))
    round_.act(SetLeverage(ticket.symbol, size.leverage, round_.settings.margin_type))
    round_.note(
        "trade.opened",
        signal_id=ticket.signal_id,
        symbol=ticket.symbol,
        direction=ticket.direction.value,
        quantity=str(size.quantity),
        leverage=size.leverage,
        risk_usdt=plain(size.risk_usdt),
        bound_by=size.bound_by,
    )
    trade = round_.state.trades[ticket.symbol]
    if round_.settings.stop_first and not round_.state.needs_position_first:
        waiting = WaitingEntry(size.quantity, price, round_.now_ms)
        round_.errands.entries[trade.key] = waiting
        return
    send_entry(round_, trade, instrument, size.quantity, price)


def why_abandon(round_: Round, trade: Trade, waiting: WaitingEntry) -> str:
    """Why an entry that waits for its stop must not be made any more, "" if it may."""
    settings, errands = round_.settings, round_.errands
    if trade.close_reason:
        return f"the trade is to be closed: {trade.close_reason}"
    if round_.state.breaker.kill is not KillLevel.OFF:
        return "the kill switch"
    if not errands.is_stream_up:
        return "the account stream is down"
    if round_.now_ms >= trade.ticket.expires_ms:
        return EXPIRED
    if round_.is_due(waiting.asked_ms + settings.stop_first_wait_ms):
        return "its stop was not seen at the venue in time"
    price = errands.price(trade.symbol) or waiting.price
    return drift_refusal(trade.ticket, price, settings.entry_drift_bps)


def send_entry(
    round_: Round, trade: Trade, instrument: Instrument, quantity: Decimal, price: Decimal
) -> None:
    """One entry order in the style that is set."""
    settings = round_.settings
    style = settings.entry_style
    if style == "market":
        round_.submit(trade, Leg.ENTRY, OrderKind.MARKET, quantity, reason="entry")
        return
    tick = instrument.filters.tick_size
    is_first = trade.next_attempt(Leg.ENTRY) == 0
    is_long = trade.direction is Direction.LONG
    if style == "passive" and is_first:
        wish = (
            min(price, trade.ticket.entry_high) if is_long else max(price, trade.ticket.entry_low)
        )
        limit = floor_price(wish, tick) if is_long else ceil_price(wish, tick)
        round_.submit(trade, Leg.ENTRY, OrderKind.LIMIT, quantity, price=limit, time_in_force="GTX")
        round_.wake(round_.now_ms + settings.passive_timeout_ms)
        return
    worst = _worst_entry(price, trade.direction, settings.slippage_entry_bps)
    limit = floor_price(worst, tick) if is_long else ceil_price(worst, tick)
    if style == "sliced":
        step = instrument.filters.step_size
        part = floor_to_step(trade.quantity / settings.slices, step)
        least = instrument.filters.min_notional_usdt / price
        quantity = quantity if part < least or quantity - part < least else min(quantity, part)
    round_.submit(trade, Leg.ENTRY, OrderKind.LIMIT, quantity, price=limit, time_in_force="IOC")


def after_funding_ms(now_ms: int, interval_ms: int) -> int:
    """A moment after the next funding time."""
    return now_ms - now_ms % interval_ms + interval_ms + AFTER_FUNDING_MS


def _worst_entry(price: Decimal, direction: Direction, slippage_bps: int) -> Decimal:
    return price * (1 + direction.sign * Decimal(slippage_bps) / BPS)


def _is_funding_near(now_ms: int, interval_ms: int, guard_ms: int) -> bool:
    """True in the last moments before a funding time, when a new position would pay at once."""
    if guard_ms <= 0:
        return False
    return interval_ms - now_ms % interval_ms <= guard_ms
