"""Signals that wait for a person's yes, and what becomes of a late one.

A yes that comes too late ends its signal. One that is refused for a reason that passes by itself (a
limit, the funding guard, no fresh price) does not: the signal waits on for another yes.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

from cryptosignal.domain.events import OperatorCommanded
from cryptosignal.domain.instrument import Instrument
from cryptosignal.risk.sizing import Refusal
from cryptosignal.trading import entries, facts
from cryptosignal.trading.errands import Round
from cryptosignal.trading.settings import TradingSettings
from cryptosignal.trading.ticket import Ticket

BPS = Decimal(10_000)
_PAST = {
    "expired": "expired",
    "rejected": "was rejected",
    "refused": "was refused",
    "opened": "was opened",
}
PriceOf = Callable[[Ticket, int], Decimal | None]


def wait_for_yes(round_: Round, ticket: Ticket, instrument: Instrument, price: Decimal) -> None:
    """Put a signal that may be entered before a person."""
    if ticket.signal_id in round_.state.waiting:
        return
    expires_ms = min(ticket.expires_ms, round_.now_ms + round_.settings.approve_expiry_ms)
    body = facts.Waiting(ticket, round_.now_ms, expires_ms, price, instrument)
    round_.record(facts.fact(facts.APPROVAL_WAITING, ticket.signal_id, body))
    round_.note(
        "approval.asked",
        signal_id=ticket.signal_id,
        symbol=ticket.symbol,
        expires_ms=expires_ms,
    )


def obey(round_: Round, event: OperatorCommanded, price_of: PriceOf) -> None:
    """The commands that need an answer now; closing and killing are in the state already."""
    if event.command in ("approve", "reject"):
        _answer(round_, event, price_of)
    elif event.command == "close":
        symbol = event.arguments.get("symbol", "").upper()
        if symbol not in round_.state.trades:
            is_foreign = round_.state.book(symbol).foreign != 0 if symbol else False
            why = "the position is not ours" if is_foreign else "no open trade"
            round_.note("command.refused", command="close", symbol=symbol, reason=why)
    elif event.command in ("kill", "unkill"):
        level = int(round_.state.breaker.kill)
        body = facts.Kill(level, round_.state.breaker.kill_reason)
        round_.record(facts.fact(facts.KILL_SET, "level", body))
        round_.note("kill.set", level=level, actor=event.actor)


def _answer(round_: Round, event: OperatorCommanded, price_of: PriceOf) -> None:
    signal_id = event.arguments.get("signal_id", "")
    waiting = round_.state.waiting.get(signal_id)
    if waiting is None:
        round_.note("approval.refused", signal_id=signal_id, reason=_not_waiting(round_, signal_id))
        return
    if event.command == "reject":
        _end(round_, signal_id, "rejected", f"by {event.actor}")
        return
    price = price_of(waiting.ticket, round_.now_ms)
    reason = late_reason(round_.settings, waiting, price, round_.now_ms)
    if reason:
        _end(round_, signal_id, "refused", reason)
        return
    size = entries.admit(round_, waiting.ticket, waiting.instrument, price, {}, is_approved=True)
    if isinstance(size, Refusal) or price is None:
        reason = size.reason if isinstance(size, Refusal) else "no fresh price"
        _refuse(round_, waiting, price, reason)
        return
    _end(round_, signal_id, "opened", f"by {event.actor}")
    entries.open_trade(round_, waiting.ticket, waiting.instrument, size, price)


def _refuse(round_: Round, waiting: facts.Waiting, price: Decimal | None, reason: str) -> None:
    """A yes that may not be obeyed: for good, or for now."""
    signal_id = waiting.ticket.signal_id
    limit_bps = round_.settings.entry_drift_bps
    final = entries.final_reason(waiting.ticket, price, limit_bps, reason)
    if final:
        _end(round_, signal_id, "refused", final)
        return
    left_s = (waiting.expires_ms - round_.now_ms) // 1000
    round_.note(
        "approval.refused",
        signal_id=signal_id,
        reason=f"{reason}; it waits on for {left_s} s more",
        is_waiting=True,
    )


def _not_waiting(round_: Round, signal_id: str) -> str:
    """Why there is nothing to say yes or no to."""
    if signal_id in round_.state.opened:
        return "it has had its entry"
    ended = round_.state.answered.get(signal_id)
    if ended is None:
        return "it is not waiting"
    is_late = ended.verdict in ("expired", "refused")
    return f"{'late: ' if is_late else ''}it {_PAST[ended.verdict]}: {ended.reason}"


def late_reason(
    settings: TradingSettings, waiting: facts.Waiting, price: Decimal | None, now_ms: int
) -> str:
    """Why a yes comes too late for good, "" if it does not."""
    if now_ms >= waiting.expires_ms:
        return f"late: it expired {now_ms - waiting.expires_ms} ms ago"
    if price is None:
        return ""  # it may come back
    drift_bps = abs(price - waiting.price) / waiting.price * BPS
    if drift_bps > settings.approve_drift_bps:
        return f"late: the price has moved {drift_bps:.0f} bps since it was asked"
    return ""


def _end(round_: Round, signal_id: str, verdict: str, reason: str) -> None:
    round_.record(facts.fact(facts.APPROVAL_ENDED, signal_id, facts.Ended(verdict, reason)))
    round_.note(f"approval.{verdict}", signal_id=signal_id, reason=reason)
