"""The end of a trade: nothing held, nothing open, every execution known; what it brought."""

from __future__ import annotations

from decimal import Decimal

from cryptosignal.domain.actions import RecordOutcome
from cryptosignal.domain.order import Leg, Side
from cryptosignal.domain.outcome import Outcome
from cryptosignal.ground.units import plain
from cryptosignal.trading import facts
from cryptosignal.trading.errands import Round
from cryptosignal.trading.exits import extremes_of
from cryptosignal.trading.fills import Fill
from cryptosignal.trading.orders import Order
from cryptosignal.trading.trade import Trade

ZERO = Decimal(0)
UNREADABLE_FAILURES = 20
"""So many snapshots in a row that failed, some eight minutes at their pace, say that the account cannot
be read. Counted, not timed: a clock that is set forward must not end the wait."""
STABLE_ASSETS = frozenset({"USDT", "USDC", "FDUSD", "BUSD", ""})
_REASONS = {"time": "time", "manual": "manual", "stop": "stop", "tp1": "tp1", "tp2": "tp2"}


def settle(round_: Round, trade: Trade) -> None:
    """Close the books of a trade that holds nothing and has no order left."""
    errands = round_.errands
    since = errands.flat_ms.setdefault(trade.key, round_.now_ms)
    own = round_.state.fills.of_orders(set(trade.orders))
    if not _is_known(trade, own) and not _may_guess(round_, trade, since):
        return
    errands.flat_ms.pop(trade.key, None)
    errands.off_grid_ms.pop(trade.key, None)
    _note_slippage(round_, trade)
    is_signal = trade.entered > ZERO and not trade.adopted
    outcome = outcome_of(round_, trade, own) if is_signal else None
    reason = outcome.exit_reason if outcome is not None else trade.close_reason or "not entered"
    closed = facts.Closed(
        symbol=trade.symbol,
        reason=reason,
        closed_ms=outcome.closed_ms if outcome is not None else round_.now_ms,
        net_usdt=outcome.net_usdt if outcome is not None else ZERO,
        outcome=outcome,
    )
    round_.record(facts.fact(facts.SIGNAL_CLOSED, trade.ticket.signal_id, closed))
    if outcome is not None:
        round_.act(RecordOutcome(outcome))
    round_.note(
        "trade.closed",
        signal_id=trade.ticket.signal_id,
        symbol=trade.symbol,
        reason=reason,
        net_usdt=plain(closed.net_usdt),
        naked_ms_max=trade.naked_max_ms,
    )


def _may_guess(round_: Round, trade: Trade, flat_ms: int) -> bool:
    """The books may be closed without every execution and fee: they were read for after the end and
    are not there, or the account cannot be read at all for long.

    The end is the venue's own stamp: ours (`flat_ms`) may have been taken by a clock that was wrong.
    """
    settings = round_.settings
    if not round_.is_due(flat_ms + settings.fees_wait_ms):
        return False
    ended_ms = max((round_.known_ms(o.dead_ms) for o in trade.orders.values()), default=0)
    read_ms = round_.known_ms(round_.state.book(trade.symbol).trades_read_ms)
    if read_ms >= ended_ms + settings.settle_ms:
        return True
    is_unreadable = round_.errands.snapshot_failures >= UNREADABLE_FAILURES
    return round_.is_due(flat_ms + settings.fees_wait_max_ms) and is_unreadable


def _is_known(trade: Trade, own: list[Fill]) -> bool:
    """Every execution has been seen, with its fee."""
    return all(f.has_fee for f in own) and all(
        o.booked >= o.reported for o in trade.orders.values()
    )


def outcome_of(round_: Round, trade: Trade, own: list[Fill]) -> Outcome:
    """The row of a trade from its executions, fees and funding (DOMAIN §3.36)."""
    sign = trade.direction.sign
    entries = [o for o in trade.of_leg(Leg.ENTRY) if o.executed > ZERO]
    exits = [
        o for o in trade.orders.values() if o.intent.leg is not Leg.ENTRY and o.executed > ZERO
    ]
    quantity = trade.entered
    entry_value = sum(
        (_value(o.client_id, o.executed, o.average_price, own) for o in entries), ZERO
    )
    exit_value = sum((_value(o.client_id, o.executed, o.average_price, own) for o in exits), ZERO)
    left = quantity - sum((o.executed for o in exits), ZERO)
    others = round_.state.fills.foreign(trade.symbol, trade.opened_ms)
    if left > ZERO:
        exit_value += left * _foreign_price(round_, trade, others)
    realized = (exit_value - entry_value) * sign
    fees = sum((_fee_usdt(f, round_) for f in own), ZERO)
    fees += sum((_unseen_fee_usdt(round_, o, own) for o in trade.orders.values()), ZERO)
    net = realized - fees + trade.funding_usdt
    entry_price = entry_value / quantity
    unit_risk = abs(entry_price - trade.ticket.stop_price)
    best, worst = extremes_of(round_.errands, trade)
    times = [f.time_ms for f in own if f.client_id not in {o.client_id for o in entries}]
    closed_ms = max([*times, *(o.dead_ms for o in exits)], default=round_.now_ms)
    return Outcome(
        signal_id=trade.ticket.signal_id,
        symbol=trade.symbol,
        direction=trade.direction.value,
        tier=trade.ticket.tier,
        traded=True,
        opened_ms=trade.filled_ms or trade.opened_ms,
        closed_ms=closed_ms or round_.now_ms,
        entry_price=entry_price,
        exit_price=exit_value / quantity,
        quantity=quantity,
        realized_usdt=realized,
        fees_usdt=fees,
        funding_usdt=trade.funding_usdt,
        net_usdt=net,
        r_multiple=_ratio(net / trade.risk_usdt if trade.risk_usdt > ZERO else ZERO),
        mfe_r=_ratio(_excursion_r(best, entry_price, sign, unit_risk)),
        mae_r=_ratio(_excursion_r(worst, entry_price, sign, unit_risk)),
        exit_reason=_exit_reason(trade, own, others),
        naked_ms=trade.naked_max_ms,
        params_version=trade.ticket.params_version,
    )


def _value(client_id: str, executed: Decimal, average: Decimal, own: list[Fill]) -> Decimal:
    """Quote value of an order: its executions, and its average price for those not seen."""
    fills = [f for f in own if f.client_id == client_id]
    seen = sum((f.quantity for f in fills), ZERO)
    value = sum((f.quantity * f.price for f in fills), ZERO)
    return value + max(ZERO, executed - seen) * average


def _foreign_price(round_: Round, trade: Trade, others: list[Fill]) -> Decimal:
    """At what price somebody else closed the rest: their executions, else the last mark."""
    against = [f for f in others if f.signed * trade.direction.sign < ZERO]
    quantity = sum((f.quantity for f in against), ZERO)
    if quantity > ZERO:
        return sum((f.quantity * f.price for f in against), ZERO) / quantity
    return round_.errands.price(trade.symbol) or trade.stop_price


def _fee_usdt(fill: Fill, round_: Round) -> Decimal:
    """A fee in USDT; in another asset it is valued at that asset's mark, or at the taker rate."""
    if fill.has_fee and fill.fee_asset in STABLE_ASSETS:
        return fill.fee
    mark = round_.errands.price(f"{fill.fee_asset}USDT") if fill.has_fee else None
    if mark is not None:
        return fill.fee * mark
    return fill.quantity * fill.price * round_.state.risk.taker_fee_frac


def _excursion_r(price: Decimal, entry: Decimal, sign: int, unit_risk: Decimal) -> Decimal:
    if price <= ZERO or unit_risk <= ZERO:
        return ZERO
    return (price - entry) * sign / unit_risk


def _unseen_fee_usdt(round_: Round, order: Order, own: list[Fill]) -> Decimal:
    """The fee of what an order filled without our having seen the executions, at the taker rate."""
    seen = sum((f.quantity for f in own if f.client_id == order.client_id), ZERO)
    unseen = max(ZERO, order.executed - seen)
    return unseen * order.average_price * round_.state.risk.taker_fee_frac


def _ratio(value: Decimal) -> float:  # float-ok: multiples of R are floats in the outcome row
    return float(value)  # float-ok: the border to learning


def _exit_reason(trade: Trade, own: list[Fill], others: list[Fill]) -> str:
    """Named after the execution that ended it."""
    legs = {o.client_id: o.intent.leg for o in trade.orders.values()}
    ends = [f for f in own if legs[f.client_id] is not Leg.ENTRY]
    against = [f for f in others if f.signed * trade.direction.sign < ZERO]
    if against and (not ends or against[-1].time_ms > ends[-1].time_ms):
        name = against[-1].foreign_id
        is_forced = name.startswith(("autoclose-", "adl_autoclose", "settlement_autoclose-"))
        return "liquidation" if is_forced else "manual"
    orders = [o for o in trade.orders.values() if o.executed > ZERO and not o.is_entry]
    leg = legs[ends[-1].client_id] if ends else (orders[-1].intent.leg if orders else None)
    if leg is Leg.STOP:
        return "tp1" if trade.is_tp1_done else "stop"
    if leg in (Leg.TP1, Leg.TP2):
        return "tp1" if leg is Leg.TP1 else "tp2"
    if leg is None:
        return "manual"
    return _REASONS.get(trade.close_reason, "exit")


def _note_slippage(round_: Round, trade: Trade) -> None:
    """Say where an execution was worse than its trigger, or the mark at its sending, by too much."""
    settings, sent = round_.settings, round_.errands.sent_prices
    for order in trade.orders.values():
        mark = sent.pop(order.client_id, None)
        is_stop = order.intent.leg is Leg.STOP
        reference = order.intent.trigger_price if is_stop else mark
        if reference is None or order.executed <= ZERO or order.average_price <= ZERO:
            continue
        paid = order.average_price - reference
        worse = paid if order.intent.side is Side.BUY else -paid
        slippage_bps = worse / reference * 10_000
        limit_bps = settings.slippage_exit_bps
        if is_stop or order.is_entry:
            limit_bps = settings.slippage_stop_bps if is_stop else settings.slippage_entry_bps
        if slippage_bps > limit_bps:
            round_.note(
                "slippage.exceeded",
                client_id=order.client_id,
                leg=order.intent.leg.name,
                slippage_bps=int(slippage_bps),
                limit_bps=limit_bps,
            )
