"""What the desk looks like to people: positions, what waits for a yes, the kill switch, the account.

Reads the program, never changes it. Money and prices are decimal text, times exchange ms; a span
that runs from now (`expires_in_s`, `age_s`) is in venue seconds.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, TypedDict

from cryptosignal.domain.order import OrderState
from cryptosignal.ground.units import plain

if TYPE_CHECKING:
    from cryptosignal.modes.program import Program
    from cryptosignal.trading.desk import PositionView
    from cryptosignal.trading.facts import Waiting

BPS = Decimal(10_000)
ZERO = Decimal(0)


class PositionRow(TypedDict):
    """One open position; `stop` "" while none is confirmed, `owner` ours or foreign."""

    symbol: str
    direction: str
    quantity: str
    entry_price: str
    mark: str
    pnl_usdt: str
    stop: str
    is_protected: bool
    leverage: int
    opened_ms: int
    closing: str
    naked_ms: int
    owner: str
    signal_id: str


class WaitingRow(TypedDict):
    """One signal that waits for a yes: its plan, and what has become of the price since."""

    signal_id: str
    symbol: str
    direction: str
    tier: str
    strength: str
    p: str
    entry_low: str
    entry_high: str
    stop: str
    tp1: str
    tp2: str
    asked_ms: int
    asked_price: str
    price: str
    drift_bps: str
    expires_in_s: int
    late: str


class DeskBody(TypedDict):
    """Body of `desk`."""

    mode: str
    account: str
    account_state: str
    kill: int
    kill_reason: str
    shutdown_reason: str
    is_reconciled: bool
    is_stream_up: bool
    wallet_usdt: str
    day_loss_usdt: str
    losses_in_row: int
    open_orders: int
    unknown_orders: int
    naked_ms_p99: int
    naked_ms_max: int
    time_ms: int
    positions: list[PositionRow]
    waiting: list[WaitingRow]


def desk_body(program: Program) -> DeskBody:
    """Everything of the desk as it is now."""
    desk, now_ms = program.desk, program.clock.now_ms()
    state, naked = desk.state, desk.naked_ms()
    breaker = state.breaker
    positions = desk.positions()
    unrealized = sum((p.unrealized_usdt for p in positions if not p.is_foreign), ZERO)
    is_shut = now_ms < breaker.shutdown_until_ms
    open_orders = [order for order in state.orders.values() if order.is_open]
    return DeskBody(
        mode=program.engine.mode,
        account=program.engine.account,
        account_state=desk.account_state(now_ms).value,
        kill=int(breaker.kill),
        kill_reason=breaker.kill_reason,
        shutdown_reason=breaker.shutdown_reason if is_shut else "",
        is_reconciled=desk.is_reconciled,
        is_stream_up=desk.errands.is_stream_up,
        wallet_usdt=plain(state.account.wallet_usdt),
        day_loss_usdt=plain(breaker.day_loss_usdt(unrealized)),
        losses_in_row=breaker.losses_in_row,
        open_orders=len(open_orders),
        unknown_orders=sum(1 for o in open_orders if o.state is OrderState.UNKNOWN),
        naked_ms_p99=naked.p99_ms,
        naked_ms_max=naked.max_ms,
        time_ms=now_ms,
        positions=[_position(p) for p in positions],
        waiting=[waiting_row(program, w, now_ms) for w in desk.waiting()],
    )


def _position(view: PositionView) -> PositionRow:
    return PositionRow(
        symbol=view.symbol,
        direction=view.direction,
        quantity=plain(view.quantity),
        entry_price=plain(view.entry_price),
        mark=plain(view.mark) if view.mark > ZERO else "",
        pnl_usdt=f"{view.unrealized_usdt:+.4f}" if view.mark > ZERO else "",
        stop=plain(view.stop_price) if view.is_protected else "",
        is_protected=view.is_protected,
        leverage=view.leverage,
        opened_ms=view.opened_ms,
        closing=view.closing,
        naked_ms=view.naked_ms,
        owner="foreign" if view.is_foreign else "ours",
        signal_id=view.signal_id,
    )


def waiting_row(program: Program, waiting: Waiting, now_ms: int) -> WaitingRow:
    """One waiting signal, its drift against the side (positive: worse than when it was asked)."""
    ticket, desk = waiting.ticket, program.desk
    price = desk.price_of(ticket, now_ms)
    drift = ZERO
    if price is not None:
        drift = (price - waiting.price) / waiting.price * BPS * ticket.direction.sign
    return WaitingRow(
        signal_id=ticket.signal_id,
        symbol=ticket.symbol,
        direction=ticket.direction.value,
        tier=ticket.tier,
        strength=f"{ticket.strength:.0f}",
        p=f"{ticket.p:.3f}",
        entry_low=plain(ticket.entry_low),
        entry_high=plain(ticket.entry_high),
        stop=plain(ticket.stop_price),
        tp1=plain(ticket.tp1_price),
        tp2=plain(ticket.tp2_price),
        asked_ms=waiting.asked_ms,
        asked_price=plain(waiting.price),
        price=plain(price) if price is not None else "",
        drift_bps=f"{drift:+.1f}" if price is not None else "",
        expires_in_s=max(0, (waiting.expires_ms - now_ms) // 1000),
        late=desk.late_reason(waiting, now_ms),
    )
