"""The dead man's switch: the venue takes a resting entry off its book when it no longer hears of us.

Nobody has verified whether the venue's countdown spares stops (RELIABILITY §3.8), so it and a stop
are never on a symbol together: it runs only while an entry rests where nothing is held and nothing
else rests, and a stop is placed only once the venue has confirmed that it no longer runs. What may
run is journaled before it is asked for, so a restart knows of it.
"""

from __future__ import annotations

from decimal import Decimal

from cryptosignal.domain.actions import SetCountdown
from cryptosignal.domain.order import Leg, OrderKind
from cryptosignal.trading import facts
from cryptosignal.trading.errands import CountdownErrand, Round
from cryptosignal.trading.trade import Trade

ZERO = Decimal(0)
RENEWALS = 3
"""How often a countdown is renewed before it would fire."""
NOT_RESTING = frozenset({"IOC", "FOK"})


def run(round_: Round) -> None:
    """Start, renew and stop, so that it runs where it should and nowhere else."""
    wanted = {t.symbol for t in round_.state.trades.values() if _is_wanted(round_, t)}
    for symbol in sorted(wanted):
        _renew(round_, symbol)
    for symbol in round_.state.countdowns:
        if symbol not in wanted:
            is_over(round_, symbol)


def is_over(round_: Round, symbol: str) -> bool:
    """True if no countdown can touch what is placed on the symbol now; one that may is stopped first."""
    countdown = round_.state.countdowns.get(symbol)
    if countdown is None or not countdown.may_run(round_.now_ms):
        return True
    _ask(round_, symbol, 0)
    return False


def _is_wanted(round_: Round, trade: Trade) -> bool:
    """An entry of ours rests, and it is all that rests or is held on its symbol."""
    state, symbol = round_.state, trade.symbol
    if not round_.settings.dead_man_ms:
        return False
    entries = trade.open_of(Leg.ENTRY)
    if not any(
        o.intent.kind is OrderKind.LIMIT and o.intent.time_in_force not in NOT_RESTING
        for o in entries
    ):
        return False
    book = state.book(symbol)
    is_held = state.exposed(trade) != ZERO or trade.entered != ZERO
    is_held = is_held or book.venue_quantity != ZERO or book.foreign != ZERO
    has_more = any(o.is_open and not o.is_entry for o in trade.orders.values())
    has_more = has_more or any(s.symbol == symbol for s in state.strays.values())
    return not is_held and not has_more


def _renew(round_: Round, symbol: str) -> None:
    """As long as the account can be heard: else let it run out, since we would not hear of a fill."""
    if not round_.errands.is_stream_up:
        return
    errand = round_.errands.countdowns.get(symbol)
    span_ms = round_.settings.dead_man_ms
    if errand is None or not errand.countdown_ms:
        round_.note_once(f"deadman-{symbol}", "deadman.armed", symbol=symbol, span_ms=span_ms)
        _ask(round_, symbol, span_ms)
    elif round_.is_past(errand.at_ms, span_ms // RENEWALS):
        _ask(round_, symbol, span_ms)


def _ask(round_: Round, symbol: str, countdown_ms: int) -> None:
    """One request at a time: two on their way could arrive the other way round. Only a second request
    to stop may follow a first that is slow."""
    errands, now_ms, settings = round_.errands, round_.now_ms, round_.settings
    errand = errands.countdowns.get(symbol)
    is_stop_again = errand is not None and not countdown_ms and not errand.countdown_ms
    if errand is not None and errand.is_out and not is_stop_again:
        return
    if errand is not None and is_stop_again:  # the last one is slow, or proved nothing
        pause_ms = settings.stop_confirm_ms if errand.is_out else settings.stop_retry_ms
        if not round_.is_past(errand.at_ms, pause_ms):
            return
    errands.countdowns[symbol] = CountdownErrand(now_ms, countdown_ms)
    if countdown_ms:
        body = facts.Countdown(countdown_ms, now_ms)
        round_.record(facts.fact(facts.COUNTDOWN_ASKED, symbol, body))
    else:
        round_.wake(now_ms + round_.settings.stop_confirm_ms)
    round_.act(SetCountdown(symbol, countdown_ms))
