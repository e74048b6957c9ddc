"""When a trade must end before its stop or target, and how far its stop may follow the price.

Everything here works on the mark price × what is held; nothing waits for a report of unrealised
profit, which goes stale as the price moves (DOMAIN §3.4).
"""

from __future__ import annotations

from decimal import Decimal

from cryptosignal.domain.instrument import Instrument
from cryptosignal.domain.order import Direction, Leg
from cryptosignal.risk.breaker import KillLevel
from cryptosignal.trading.errands import Errands, Round
from cryptosignal.trading.state import TradingState
from cryptosignal.trading.ticket import tighter_price
from cryptosignal.trading.trade import Trade

ZERO = Decimal(0)


def due_exit(round_: Round, trade: Trade) -> str:
    """The reason to close the trade now, "" if there is none (kill, time, −99 %, margin, target)."""
    state, settings, now_ms = round_.state, round_.settings, round_.now_ms
    if state.breaker.kill is KillLevel.FLATTEN:
        return "kill"
    start_ms = trade.filled_ms or trade.opened_ms
    if round_.is_due(start_ms + settings.hold_max_ms):
        return "time"
    mark = round_.errands.marks.get(trade.symbol)
    if mark is None or now_ms - mark[1] > settings.price_stale_ms:
        return ""
    loss = -trade.gain_per_unit(mark[0])
    margin = trade.entry_price / trade.leverage
    if trade.entry_price > ZERO and loss >= margin * settings.loss_alarm_frac:
        return "alarm"
    held = state.held(trade)
    is_tp2_done = any(o.executed > ZERO and not o.is_open for o in trade.of_leg(Leg.TP2))
    if is_tp2_done and held > ZERO:
        return "tp2"
    return ""


def wanted_stop(round_: Round, trade: Trade, instrument: Instrument) -> Decimal:
    """Where the stop belongs now: the plan's, breakeven after TP1, or the trail; only ever tighter."""
    settings = round_.settings
    tick = instrument.filters.tick_size
    best = trade.stop_price
    if trade.is_tp1_done and trade.entry_price > ZERO:
        cost = trade.entry_price * settings.breakeven_cost_frac * trade.direction.sign
        even = tighter_price(trade.entry_price + cost, tick, trade.direction)
        if trade.is_better(even, best):
            best = even
    trail = _trail(round_, trade)
    if trail is not None:
        trail = tighter_price(trail, tick, trade.direction)
        spacing_ms = settings.trailing_spacing_ms
        last_ms = round_.errands.moved_ms.get(trade.key, 0)
        step = trade.ticket.atr * settings.trailing_step_atr
        is_worth_it = (trail - best) * trade.direction.sign > step
        if (
            is_worth_it
            and round_.now_ms >= last_ms + spacing_ms
            and _is_behind_mark(round_, trade, trail)
        ):
            round_.errands.moved_ms[trade.key] = round_.now_ms
            best = trail
    return best


def _is_behind_mark(round_: Round, trade: Trade, stop: Decimal) -> bool:
    mark = round_.errands.price(trade.symbol)
    return mark is not None and trade.is_better(mark, stop)


def _trail(round_: Round, trade: Trade) -> Decimal | None:
    """Chandelier: k ATR behind the extreme of the last N closed bars since the entry.

    It starts after TP1 or +1R, never from the first bar (DOMAIN §0.7, §3.26).
    """
    settings, atr = round_.settings, trade.ticket.atr
    bars = round_.errands.bars.get(trade.symbol)
    if atr <= ZERO or not bars or trade.entry_price <= ZERO:
        return None
    risk = abs(trade.entry_price - trade.ticket.stop_price)
    reached = trade.gain_per_unit(extremes_of(round_.errands, trade)[0])
    if not trade.is_tp1_done and reached < risk * settings.trailing_start_r:
        return None
    since = [b for b in bars if b[0] >= trade.filled_ms][-settings.trailing_bars :]
    if not since:
        return None
    if trade.direction is Direction.LONG:
        return max(high for _, high, _ in since) - settings.trailing_k * atr
    return min(low for _, _, low in since) + settings.trailing_k * atr


def extremes_of(errands: Errands, trade: Trade) -> tuple[Decimal, Decimal]:
    """Best and worst price of a trade so far: the recorded ones and what was seen since."""
    best, worst = trade.best_price, trade.worst_price
    seen = errands.extremes.get(trade.key)
    if best <= ZERO or worst <= ZERO:
        return trade.entry_price, trade.entry_price
    if seen is not None:
        best = seen[0] if trade.is_better(seen[0], best) else best
        worst = seen[1] if trade.is_better(worst, seen[1]) else worst
    return best, worst


def worst_trade(state: TradingState, errands: Errands) -> Trade | None:
    """The open trade that loses most at its mark: the one a margin exit closes."""
    worst: tuple[Decimal, Trade] | None = None
    for trade in state.trades.values():
        gain = unrealized_usdt(state, errands, trade)
        if state.held(trade) > ZERO and (worst is None or gain < worst[0]):
            worst = (gain, trade)
    return worst[1] if worst is not None else None


def unrealized_usdt(state: TradingState, errands: Errands, trade: Trade) -> Decimal:
    """What the held quantity gains at its mark; 0 without a mark."""
    mark = errands.price(trade.symbol)
    if mark is None or trade.entry_price <= ZERO:
        return ZERO
    return trade.gain_per_unit(mark) * state.held(trade)


def margin_usage_frac(state: TradingState, errands: Errands) -> Decimal:
    """Initial margin of what is held at its marks over equity; 0 before the wallet is known, all of it
    (1) once nothing is left."""
    used = equity = ZERO
    for trade in state.trades.values():
        price = errands.price(trade.symbol) or trade.entry_price
        used += state.held(trade) * price / trade.leverage
        equity += unrealized_usdt(state, errands, trade)
    equity += state.account.wallet_usdt
    if equity <= ZERO:
        return Decimal(1) if used > ZERO and state.account.wallet_ms else ZERO
    return used / equity


def due_margin_exit(round_: Round) -> Trade | None:
    """The trade to close because margin runs short, at most one in each pause (DOMAIN §2 v4.x)."""
    state, errands, risk = round_.state, round_.errands, round_.state.risk
    if (
        errands.margin_exit_ms
        and round_.now_ms < errands.margin_exit_ms + risk.margin_exit_pause_ms
    ):
        return None
    is_called = round_.now_ms - risk.margin_exit_pause_ms < state.margin_call_ms <= round_.now_ms
    if not is_called and margin_usage_frac(state, errands) <= risk.margin_usage_max_frac:
        return None
    return worst_trade(state, errands)
