"""Protection of one open position: a stop that the venue confirms, targets, and the way out.

Level-triggered: each pass looks at what is and asks for what is missing, so that a crash, a lost
answer or a silent cancel all end in the same repair. A second stop may be sent while the first is
unknown, because reduce-only orders can only lower risk (D9); surplus is cancelled once one stands.
"""

from __future__ import annotations

from decimal import Decimal

from cryptosignal.domain.instrument import Instrument
from cryptosignal.domain.order import Leg, OrderKind, OrderState
from cryptosignal.ground.units import floor_to_step, plain
from cryptosignal.trading import deadman
from cryptosignal.trading.errands import Round, backoff_ms
from cryptosignal.trading.orders import Order
from cryptosignal.trading.ticket import nearer_price, tighter_price
from cryptosignal.trading.trade import Trade

ZERO = Decimal(0)
OFF_GRID_WAIT_MS = 15_000
PENDING = (OrderState.INTENT, OrderState.SENT, OrderState.ACKED, OrderState.UNKNOWN)


def closable(quantity: Decimal, instrument: Instrument) -> Decimal:
    """What of a quantity can be traded at market: floored to the step, 0 below the minimum."""
    filters = instrument.filters
    floored = floor_to_step(quantity, filters.market_step_size)
    return floored if floored >= filters.market_min_qty else ZERO


def is_grid_doubtful(round_: Round, trade: Trade, instrument: Instrument) -> bool:
    """Something is exposed that our rules cannot trade, so they may be old: they are read again.

    The quantity step may have become finer since (incident P); until the answer is there, or a while has
    passed without it, nothing that covers the whole is given up.
    """
    exposed, errands = round_.state.exposed(trade), round_.errands
    if exposed == closable(exposed, instrument):
        errands.off_grid_ms.pop(trade.key, None)
        return False
    since_ms = errands.off_grid_ms.get(trade.key)
    if since_ms is None:
        since_ms = errands.off_grid_ms[trade.key] = round_.now_ms
        errands.wants_rules = True
    return since_ms > 0 and not round_.is_due(since_ms + OFF_GRID_WAIT_MS)


def protect(round_: Round, trade: Trade, instrument: Instrument, stop_price: Decimal) -> None:
    """See to it that a stop covering the position rests at the venue, at `stop_price` if it can."""
    state, settings, now_ms = round_.state, round_.settings, round_.now_ms
    exposed = state.exposed(trade)
    wanted = _stop_quantity(trade, _to_cover(round_, trade), instrument)
    confirmed = trade.confirmed_stops(now_ms, settings.trigger_grace_ms)
    is_doubtful = is_grid_doubtful(round_, trade, instrument)
    whole = [o for o in confirmed if o.intent.quantity - o.executed >= exposed]
    covering = [
        o
        for o in (whole if is_doubtful and whole else confirmed)
        if o.intent.quantity - o.executed >= closable(exposed, instrument)
        and not o.is_cancel_asked  # it may be gone any moment
    ]
    pending = [
        o for o in trade.of_leg(Leg.STOP) if o.state in PENDING or (o.doubted_ms and o.is_open)
    ]
    if not covering:
        _place_missing_stop(round_, trade, wanted, stop_price, pending)
        return
    fitting = [
        o for o in covering if _fits(o, trade, wanted, stop_price) or (is_doubtful and o in whole)
    ]
    if fitting:
        keep = fitting[-1]
        for order in confirmed:
            if order is not keep and not order.triggered_ms:
                round_.cancel(order, "surplus stop")
    elif not any(o.triggered_ms for o in covering):
        _move_stop(round_, trade, wanted, stop_price, covering[-1], pending)


def rests_before_entry(
    round_: Round, trade: Trade, instrument: Instrument, quantity: Decimal
) -> bool:
    """Stop-first (RELIABILITY §3.7): True once a stop over `quantity` rests; asked for if missing."""
    wanted = min(closable(quantity, instrument), instrument.filters.market_max_qty)
    stops = list(trade.of_leg(Leg.STOP))
    if any(o.is_resting and o.intent.quantity >= wanted for o in stops):
        return True
    pending = [o for o in stops if o.state in PENDING or (o.doubted_ms and o.is_open)]
    _place_missing_stop(round_, trade, wanted, trade.stop_price, pending)
    return False


def flatten(round_: Round, trade: Trade, instrument: Instrument, leg: Leg, reason: str) -> None:
    """Close what is exposed at market, reduce-only; again under a new id if nothing comes of it."""
    settings = round_.settings
    quantity = closable(round_.state.exposed(trade), instrument)
    if quantity <= ZERO:
        return
    quantity = min(quantity, instrument.filters.market_max_qty)
    attempts = list(trade.of_leg(Leg.EXIT, Leg.FLATTEN))
    if attempts:
        last = attempts[-1]
        failures = sum(1 for o in attempts if o.executed == ZERO) - 1
        pause = backoff_ms(settings.flatten_retry_ms, failures, settings.flatten_retry_max_ms)
        if last.state is OrderState.FILLED or (last.executed > ZERO and not last.is_open):
            pause = settings.flatten_retry_ms // 4
        if not round_.is_past(last.intent.created_ms, pause):
            return
    round_.submit(trade, leg, OrderKind.MARKET, quantity, reason=reason)
    round_.wake(round_.now_ms + settings.flatten_retry_ms)


def place_targets(round_: Round, trade: Trade, instrument: Instrument) -> None:
    """TP1 for the first share, TP2 for the rest; once the entry is over and what is held is known."""
    if trade.is_entry_open or trade.adopted:
        return
    held = round_.state.held(trade)
    share = round_.settings.tp1_share_frac
    first, second = _target_quantities(trade, held, instrument, share)
    if first > ZERO and not trade.is_tp1_done:
        _place_target(round_, trade, Leg.TP1, first, trade.ticket.tp1_price)
    if second > ZERO:
        _place_target(round_, trade, Leg.TP2, second, trade.ticket.tp2_price)


def naked_deadline_ms(round_: Round, trade: Trade) -> int:
    """When a position without a confirmed stop must be flattened; 0 if it has one.

    A loss that is noticed late still gets one try at a new stop before the way out is taken.
    """
    noticed = round_.errands.naked_noticed_ms
    if not trade.naked_since_ms:
        noticed.pop(trade.key, None)
        return 0
    seen_ms = noticed.setdefault(trade.key, round_.now_ms)
    settings = round_.settings
    return max(
        round_.known_ms(trade.naked_since_ms) + settings.naked_limit_ms,
        seen_ms + 2 * settings.stop_confirm_ms,
    )


def _to_cover(round_: Round, trade: Trade) -> Decimal:
    """What the stop should cover: all that may be ours until the venue says that others took a part.

    Their executions come one by one, and one that is lost makes the sum of the others wrong; a stop
    that covers more than there is does no harm, as it can only reduce.
    """
    state = round_.state
    exposed = state.exposed(trade)
    if state.is_word_current(trade.symbol):
        return exposed
    return max(exposed, min(trade.own_signed * trade.direction.sign, trade.quantity))


def _stop_quantity(trade: Trade, exposed: Decimal, instrument: Instrument) -> Decimal:
    """What a new stop should cover: while the entry may still fill, all that it may fill."""
    whole = min(trade.quantity, exposed + trade.entry_left) if trade.is_entry_open else exposed
    return min(closable(whole, instrument), instrument.filters.market_max_qty)


def _fits(order: Order, trade: Trade, wanted: Decimal, stop_price: Decimal) -> bool:
    trigger = order.intent.trigger_price
    if trigger is None or trade.is_better(stop_price, trigger):
        return False
    return trade.is_entry_open or order.intent.quantity == wanted


def _place_missing_stop(
    round_: Round, trade: Trade, wanted: Decimal, stop_price: Decimal, pending: list[Order]
) -> None:
    """D9: if none is confirmed within a second, another goes out under a new client id."""
    settings = round_.settings
    if wanted <= ZERO or len(pending) >= settings.stop_open_max:
        return
    since_ms = _relevant_since_ms(round_, trade)
    attempts = [o for o in trade.of_leg(Leg.STOP) if o.intent.created_ms >= since_ms]
    if pending:
        newest = max(
            max(round_.known_ms(o.intent.created_ms), round_.known_ms(o.doubted_ms))
            for o in pending
        )
        if not round_.is_due(newest + settings.stop_confirm_ms):
            return
    if attempts and attempts[-1].state is OrderState.DEAD and not attempts[-1].seen_live_ms:
        refused = sum(1 for o in attempts if o.state is OrderState.DEAD and not o.seen_live_ms)
        slow = settings.flatten_retry_max_ms if trade.is_stop_passed else settings.move_retry_ms
        first = settings.stop_retry_ms * (4 if trade.is_stop_passed else 1)
        pause = backoff_ms(first, refused - 1, slow)
        if not round_.is_past(attempts[-1].intent.created_ms, pause):
            return
    if not deadman.is_over(round_, trade.symbol):
        return
    round_.submit(
        trade,
        Leg.STOP,
        OrderKind.STOP_MARKET,
        wanted,
        trigger_price=_on_grid(round_, trade, stop_price),
        reason="protect",
    )
    round_.wake(round_.now_ms + settings.stop_confirm_ms)


def _relevant_since_ms(round_: Round, trade: Trade) -> int:
    """Refusals before this say nothing any more: the rules changed, or there was no position yet."""
    rules_ms = round_.errands.rules_ms.get(trade.symbol, 0)
    entered_ms = min((o.intent.created_ms for o in trade.of_leg(Leg.ENTRY)), default=0)
    return max(rules_ms, entered_ms)


def _move_stop(
    round_: Round,
    trade: Trade,
    wanted: Decimal,
    stop_price: Decimal,
    old: Order,
    pending: list[Order],
) -> None:
    """Place the new stop, wait for its confirmation, only then cancel the old (RELIABILITY §3.6)."""
    if wanted <= ZERO or len(pending) >= 2:
        return
    others = [o for o in trade.of_leg(Leg.STOP) if o is not old]
    last_ms = max((round_.known_ms(o.intent.created_ms) for o in others), default=0)
    if last_ms and not round_.is_due(
        last_ms + round_.settings.move_retry_ms // (5 if not pending else 1)
    ):
        return
    if not deadman.is_over(round_, trade.symbol):
        return
    round_.submit(
        trade,
        Leg.STOP,
        OrderKind.STOP_MARKET,
        wanted,
        trigger_price=_on_grid(round_, trade, stop_price),
        replaces=old.client_id,
        reason=f"move to {plain(stop_price)}",
    )


def _on_grid(round_: Round, trade: Trade, stop_price: Decimal) -> Decimal:
    """The stop on the tick grid of today: ticks change while a trade is open (incident P)."""
    tick = round_.state.instruments[trade.symbol].filters.tick_size
    return tighter_price(stop_price, tick, trade.direction)


def _target_quantities(
    trade: Trade, held: Decimal, instrument: Instrument, share: Decimal
) -> tuple[Decimal, Decimal]:
    """What TP1 and TP2 still have to take; a position too small to split goes whole at TP1."""
    entered = trade.entered
    first = closable(entered * share, instrument)
    if closable(entered - first, instrument) <= ZERO or first <= ZERO:
        first = entered
    taken = sum((o.executed for o in trade.of_leg(Leg.TP1)), ZERO)
    first_left = max(ZERO, min(first - taken, held))
    return closable(first_left, instrument), closable(held - first_left, instrument)


def _place_target(round_: Round, trade: Trade, leg: Leg, quantity: Decimal, price: Decimal) -> None:
    settings = round_.settings
    attempts = list(trade.of_leg(leg))
    if any(o.is_open for o in attempts) or any(o.state is OrderState.FILLED for o in attempts):
        return
    if attempts:
        if not round_.is_past(attempts[-1].intent.created_ms, settings.tp_retry_ms):
            return
        if len(attempts) >= settings.tp_attempts_max:
            mark = round_.errands.price(trade.symbol)
            if mark is None or not trade.is_beyond(mark, price):
                return
    if leg in trade.passed_targets or len(attempts) >= settings.tp_attempts_max:
        round_.submit(trade, leg, OrderKind.MARKET, quantity, reason="target passed")
        return
    if not deadman.is_over(round_, trade.symbol):
        return
    tick = round_.state.instruments[trade.symbol].filters.tick_size
    round_.submit(
        trade,
        leg,
        OrderKind.TAKE_PROFIT_MARKET,
        quantity,
        trigger_price=nearer_price(price, tick, trade.direction),
        reason="target",
    )
