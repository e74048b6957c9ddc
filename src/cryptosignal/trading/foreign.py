"""Positions of others on our account: a person's, another program's (DOMAIN §0.26).

`report` counts them and touches nothing. `protect` rests a stop of ours at the venue, no more.
`adopt` also applies our exits (time, kill switch, margin). A position is taken in only when our
count and the venue's agree on it.
"""

from __future__ import annotations

from decimal import Decimal

from cryptosignal.domain.instrument import Instrument
from cryptosignal.domain.order import Direction
from cryptosignal.trading import facts
from cryptosignal.trading.bracket import closable
from cryptosignal.trading.errands import Round
from cryptosignal.trading.state import SymbolBook
from cryptosignal.trading.ticket import Ticket, tighter_price

ZERO = Decimal(0)


def take_in(round_: Round) -> None:
    """Open a guarded trade for every foreign position, if the policy says so."""
    state = round_.state
    if round_.settings.foreign == "report" or not state.is_reconciled or state.account.is_hedged:
        return
    for symbol, book in list(state.books.items()):
        instrument = state.instruments.get(symbol)
        if book.foreign == ZERO or symbol in state.trades or instrument is None:
            continue
        if closable(abs(book.foreign), instrument) > ZERO and _is_agreed(round_, book):
            _guard(round_, book, instrument)


def _is_agreed(round_: Round, book: SymbolBook) -> bool:
    """Both counts name the same quantity, and it has rested for a moment."""
    settled_ms = round_.state.fills.last_ms.get(book.symbol, 0) + round_.settings.settle_ms
    return (
        book.diff == ZERO
        and book.venue_quantity == book.foreign
        and book.venue_entry_price > ZERO
        and round_.is_due(settled_ms)
    )


def _guard(round_: Round, book: SymbolBook, instrument: Instrument) -> None:
    direction = Direction.LONG if book.foreign > ZERO else Direction.SHORT
    price = round_.errands.price(book.symbol) or book.venue_entry_price
    distance = price * round_.settings.foreign_stop_frac * direction.sign
    stop = tighter_price(price - distance, instrument.filters.tick_size, direction)
    ticket = Ticket(
        signal_id=f"foreign-{book.symbol}-{round_.now_ms}",
        symbol=book.symbol,
        direction=direction,
        tier="foreign",
        decided_ms=round_.now_ms,
        expires_ms=round_.now_ms,
        entry_low=book.venue_entry_price,
        entry_high=book.venue_entry_price,
        stop_price=stop,
        tp1_price=ZERO,
        tp2_price=ZERO,
        atr=ZERO,
    )
    opened = facts.Opened(
        ticket=ticket,
        opened_ms=round_.now_ms,
        leverage=1,
        quantity=abs(book.foreign),
        risk_usdt=abs(book.foreign * distance),
        instrument=instrument,
        adopted=book.foreign,
        adopted_price=book.venue_entry_price,
    )
    round_.record(facts.fact(facts.SIGNAL_OPENED, ticket.signal_id, opened))
    round_.note(
        "position.taken_in",
        symbol=book.symbol,
        quantity=str(opened.adopted),
        policy=round_.settings.foreign,
    )
