"""The trading desk: folds what happened, says what to do, sends nothing itself (D1, D9).

`apply` alone rebuilds everything after a crash; `decide` and `open_from` return actions in the order
in which they must be made durable and performed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

import msgspec

from cryptosignal.domain.actions import Action, WakeAt
from cryptosignal.domain.events import (
    AccountSnapshotTaken,
    AccountStreamChanged,
    BarClosed,
    CountdownReplied,
    InstrumentsListed,
    MarksUpdated,
    OperatorCommanded,
    OrderReplied,
    SendOutcome,
    SnapshotFailed,
)
from cryptosignal.domain.instrument import Instrument
from cryptosignal.domain.order import Direction
from cryptosignal.domain.signal import Decision
from cryptosignal.ground.units import decimal_of
from cryptosignal.risk.breaker import AccountState
from cryptosignal.risk.exposure import Exposure
from cryptosignal.risk.settings import RiskSettings
from cryptosignal.risk.sizing import Refusal
from cryptosignal.trading import approvals, controller, entries
from cryptosignal.trading.errands import BARS_KEPT, WAKE_NAME, Deferred, Errands, Round
from cryptosignal.trading.facts import Waiting
from cryptosignal.trading.fold import fold
from cryptosignal.trading.settings import BOT_LENGTH_MAX, TradingSettings
from cryptosignal.trading.state import TradingState
from cryptosignal.trading.ticket import Ticket, TicketError, ticket_of

ZERO = Decimal(0)
WAKE_GAP_MIN_MS = 10
DEFERRED_MAX = 50
UNREAD_RETRY_MS = 1_000
RULE_CODES = frozenset(
    {-1013, -1111, -4002, -4003, -4004, -4005, -4013, -4014, -4016, -4023, -4024, -4131, -4164}
)
"""Refusals by a filter of the contract: what we know of it may be old (BINANCE.md §6)."""


class PositionView(msgspec.Struct, frozen=True, gc=False):
    """A position for people and reports. `mark` is 0 while unknown; `naked_ms` the longest span."""

    symbol: str
    signal_id: str
    direction: str
    quantity: Decimal
    entry_price: Decimal
    mark: Decimal
    unrealized_usdt: Decimal
    stop_price: Decimal
    is_protected: bool
    leverage: int
    opened_ms: int
    closing: str
    naked_ms: int
    is_foreign: bool = False


class NakedStats(msgspec.Struct, frozen=True, gc=False):
    """Stretches without a confirmed stop, venue time: how many, p99 and longest (ms)."""

    spans: int
    p99_ms: int
    max_ms: int


class Desk:
    """All trading state of one account and bot tag (`bot`: letters and digits, at most 6)."""

    def __init__(self, settings: TradingSettings, risk: RiskSettings, bot: str) -> None:
        if not bot.isalnum() or len(bot) > BOT_LENGTH_MAX:
            raise ValueError(
                f"bot: found {bot!r}, allowed up to {BOT_LENGTH_MAX} letters and digits"
            )
        self.state = TradingState(settings, risk, bot)
        self.errands = Errands()

    # ---- the engine's side -------------------------------------------------------------------
    def apply(self, event: object) -> None:
        """Fold one journaled event; twice is as good as once."""
        fold(self.state, event)

    def decide(self, now_ms: int, event: object) -> tuple[Action, ...]:
        """What to do now, after `apply` of a live event (or for one that carries no money)."""
        self.errands.mind_clock(now_ms)
        observe = _OBSERVERS.get(type(event))
        if observe is not None:
            observe(self, now_ms, event)
        round_ = Round(self.state, self.errands, now_ms)
        if isinstance(event, OperatorCommanded):
            approvals.obey(round_, event, self._price_of)
        self._judge_deferred(round_)
        controller.run(round_)
        return self._finish(round_)

    def open_from(
        self,
        decision: Decision,
        now_ms: int,
        instrument: Instrument,
        *,
        price: Decimal | None = None,
        is_approved: bool = False,
        correlations: Mapping[str, Decimal] | None = None,
    ) -> tuple[Action, ...]:
        """Open a trade on a decision, or say why not (a Note `entry.refused` with the reason).

        `price` is a fresh mark or mid; without it the desk's own mark is used, or the middle of the
        entry band while the decision is younger than `price_stale_ms`. In approve mode the signal
        waits for a yes unless `is_approved` (a person's own `trade` command).
        """
        self.errands.mind_clock(now_ms)
        round_ = Round(self.state, self.errands, now_ms)
        ticket = ticket_of(decision, instrument)
        if isinstance(ticket, TicketError):
            _refuse(round_, decision.signal_id, decision.symbol, ticket.reason)
            return self._finish(round_)
        self.state.instruments[instrument.symbol] = instrument
        wish = Deferred(ticket, instrument, now_ms, is_approved, correlations or {})
        self._enter(round_, wish, price if price is not None else self._known(wish, now_ms))
        controller.run(round_)
        return self._finish(round_)

    # ---- read-only faces ----------------------------------------------------------------------
    def exposure(self) -> Exposure:
        """What is at stake now, UNKNOWN counted as filled."""
        return entries.exposure_of(self.state, self.errands)

    def sides(self) -> dict[str, Direction]:
        """By symbol which way our own trades look that hold something or may still come to."""
        trades = self.state.trades.items()
        return {symbol: t.direction for symbol, t in trades if self.state.exposed(t) > ZERO}

    def positions(self) -> tuple[PositionView, ...]:
        """Own trades that hold something, then positions of others."""
        views = []
        for trade in self.state.trades.values():
            held = self.state.held(trade)
            if held <= ZERO:
                continue
            mark = self.errands.price(trade.symbol) or ZERO
            gain = trade.gain_per_unit(mark) * held if mark > ZERO else ZERO
            views.append(
                PositionView(
                    symbol=trade.symbol,
                    signal_id=trade.ticket.signal_id,
                    direction=trade.direction.value,
                    quantity=held,
                    entry_price=trade.entry_price,
                    mark=mark,
                    unrealized_usdt=gain,
                    stop_price=trade.stop_price,
                    is_protected=not trade.naked_since_ms,
                    leverage=trade.leverage,
                    opened_ms=trade.filled_ms,
                    closing=trade.close_reason,
                    naked_ms=trade.naked_max_ms,
                )
            )
        for symbol, book in sorted(self.state.books.items()):
            left = self.state.foreign_left(symbol)
            if left == ZERO:
                continue
            mark = self.errands.price(symbol) or ZERO
            entry = book.venue_entry_price
            gain = (mark - entry) * left if mark > ZERO and entry > ZERO else ZERO
            views.append(
                PositionView(
                    symbol=symbol,
                    signal_id="",
                    direction=(Direction.LONG if left > ZERO else Direction.SHORT).value,
                    quantity=abs(left),
                    entry_price=entry,
                    mark=mark,
                    unrealized_usdt=gain,
                    stop_price=ZERO,
                    is_protected=False,
                    leverage=1,
                    opened_ms=0,
                    closing="",
                    naked_ms=0,
                    is_foreign=True,
                )
            )
        return tuple(views)

    def naked_ms(self) -> NakedStats:
        """How long positions were without a confirmed stop (DESIGN §5.1)."""
        lengths = sorted(s.length_ms for s in self.state.spans)
        if not lengths:
            return NakedStats(0, 0, 0)
        rank = min(len(lengths) - 1, (len(lengths) * 99 + 99) // 100 - 1)
        return NakedStats(len(lengths), lengths[rank], lengths[-1])

    def waiting(self) -> tuple[Waiting, ...]:
        """Signals that wait for a yes."""
        return tuple(self.state.waiting.values())

    def price_of(self, ticket: Ticket, now_ms: int) -> Decimal | None:
        """A price fresh enough to size by, None if there is none (RELIABILITY §5.19)."""
        return self._price_of(ticket, now_ms)

    def late_reason(self, waiting: Waiting, now_ms: int) -> str:
        """Why a yes would come too late now, "" if it would not."""
        price = self._price_of(waiting.ticket, now_ms)
        return approvals.late_reason(self.state.settings, waiting, price, now_ms)

    def account_state(self, now_ms: int) -> AccountState:
        """NORMAL, CAUTIOUS, RISK_AVERSE or SHUTDOWN."""
        return self.state.breaker.state(now_ms)

    @property
    def is_reconciled(self) -> bool:
        """A snapshot has been taken since the last start."""
        return self.state.is_reconciled

    @property
    def audit_calls(self) -> int:
        """Snapshots asked for since the process began (DESIGN §5.19)."""
        return self.errands.audits

    # ---- inside --------------------------------------------------------------------------------
    def _enter(self, round_: Round, wish: Deferred, price: Decimal | None) -> None:
        """Admit and open, ask a person, put off until after funding, or refuse with the reason."""
        ticket, instrument = wish.ticket, wish.instrument
        size = entries.admit(
            round_,
            ticket,
            instrument,
            price,
            wish.correlations,
            is_approved=wish.is_approved,
            is_by_hand=wish.is_approved,
        )
        if isinstance(size, Refusal) or price is None:
            reason = size.reason if isinstance(size, Refusal) else "no price"
            again_ms = self._again_ms(wish, reason, round_.now_ms)
            if again_ms and len(self.errands.deferred) < DEFERRED_MAX:
                wish.at_ms = again_ms
                self.errands.deferred[ticket.signal_id] = wish
                round_.wake(wish.at_ms)
                if wish.told == reason:
                    return
                wish.told = reason
            _refuse(round_, ticket.signal_id, ticket.symbol, reason)
        elif self.state.mode == "approve" and not wish.is_approved:
            approvals.wait_for_yes(round_, ticket, instrument, price)
        else:
            entries.open_trade(round_, ticket, instrument, size, price)

    def _again_ms(self, wish: Deferred, reason: str, now_ms: int) -> int:
        """When a refusal that passes by itself is worth another look, 0 for one that stands. A person's
        own trade is answered at once, not later."""
        if reason == entries.FUNDING_DUE:
            return entries.after_funding_ms(now_ms, self.state.settings.funding_interval_ms)
        passing = (entries.UNREAD, entries.UNHEARD, entries.UNPRICED)
        is_passing = reason in passing and not wish.is_approved
        return now_ms + UNREAD_RETRY_MS if is_passing and now_ms < wish.ticket.expires_ms else 0

    def _judge_deferred(self, round_: Round) -> None:
        """Entries that the funding guard held back, judged again now that it is over."""
        for signal_id, wish in list(self.errands.deferred.items()):
            if round_.is_due(wish.at_ms):
                del self.errands.deferred[signal_id]
                self._enter(round_, wish, self._known(wish, round_.now_ms))

    def _known(self, wish: Deferred, now_ms: int) -> Decimal | None:
        """The price to judge an entry by. What a person is asked about needs a mark: drift counts from
        it, and a plan that the market has left already is no question."""
        if self.state.mode == "approve" and not wish.is_approved:
            return self._fresh_mark(wish.ticket.symbol, now_ms)
        return self._price_of(wish.ticket, now_ms)

    def _price_of(self, ticket: Ticket, now_ms: int) -> Decimal | None:
        """A price fresh enough to size by, None if there is none (RELIABILITY §5.19)."""
        mark = self._fresh_mark(ticket.symbol, now_ms)
        if mark is None and now_ms - ticket.decided_ms <= self.state.settings.price_stale_ms:
            return (ticket.entry_low + ticket.entry_high) / 2
        return mark

    def _fresh_mark(self, symbol: str, now_ms: int) -> Decimal | None:
        mark = self.errands.marks.get(symbol)
        is_fresh = mark is not None and now_ms - mark[1] <= self.state.settings.price_stale_ms
        return mark[0] if mark is not None and is_fresh else None

    def _finish(self, round_: Round) -> tuple[Action, ...]:
        """Add the next wake-up, if it changed."""
        due = [max(d, round_.now_ms + WAKE_GAP_MIN_MS) for d in round_.due_ms]
        wake_ms = min(due, default=0)
        if wake_ms and (wake_ms != self.errands.wake_ms or self.errands.wake_ms <= round_.now_ms):
            self.errands.wake_ms = wake_ms
            round_.act(WakeAt(WAKE_NAME, wake_ms))
        return tuple(round_.actions)


def _refuse(round_: Round, signal_id: str, symbol: str, reason: str) -> None:
    round_.note("entry.refused", signal_id=signal_id, symbol=symbol, reason=reason)


# ---- what the market and the rim say ------------------------------------------------------------
def _see_marks(desk: Desk, now_ms: int, event: MarksUpdated) -> None:
    for symbol, price in event.prices.items():
        if price <= 0 or price != price:  # NaN: no mark is better than a wrong one
            continue
        mark = decimal_of(price)
        desk.errands.marks[symbol] = (mark, event.event_ms)
        trade = desk.state.trades.get(symbol)
        if trade is not None and trade.filled_ms:
            best, worst = desk.errands.extremes.get(trade.key, (mark, mark))
            best = mark if trade.is_better(mark, best) else best
            worst = mark if trade.is_better(worst, mark) else worst
            desk.errands.extremes[trade.key] = (best, worst)
    held = {t.key for t in desk.state.trades.values()}
    for key in [k for k in desk.errands.extremes if k not in held]:
        del desk.errands.extremes[key]


def _see_bar(desk: Desk, now_ms: int, event: BarClosed) -> None:
    if event.interval != "1m":
        return
    bars = desk.errands.bars.setdefault(event.symbol, deque(maxlen=BARS_KEPT))
    if not bars or event.bar.open_ms > bars[-1][0]:
        bars.append((event.bar.open_ms, decimal_of(event.bar.high), decimal_of(event.bar.low)))
    for symbol in [s for s in desk.errands.bars if s not in desk.state.trades]:
        del desk.errands.bars[symbol]


def _see_stream(desk: Desk, now_ms: int, event: AccountStreamChanged) -> None:
    desk.errands.is_stream_up = event.is_up
    desk.errands.has_stream_changed = True
    desk.errands.wants.count = 0


def _see_snapshot(desk: Desk, now_ms: int, event: AccountSnapshotTaken) -> None:
    desk.errands.is_snapshot_out = False
    desk.errands.snapshot_failures = 0


def _see_no_snapshot(desk: Desk, now_ms: int, event: SnapshotFailed) -> None:
    desk.errands.is_snapshot_out = False
    desk.errands.snapshot_failures += 1
    desk.errands.has_stream_changed = True


def _see_reply(desk: Desk, now_ms: int, event: OrderReplied) -> None:
    """A refused reduce-only order means that the position may not be what we think."""
    order = desk.state.orders.get(event.client_id)
    is_refused = event.outcome is SendOutcome.REJECTED
    if is_refused and event.code in RULE_CODES:
        desk.errands.wants_rules = True
    if order is not None and is_refused and order.intent.reduce_only and not order.is_algo:
        desk.errands.is_suspicious = True


def _see_countdown(desk: Desk, now_ms: int, event: CountdownReplied) -> None:
    errand = desk.errands.countdowns.get(event.symbol)
    if errand is not None and errand.countdown_ms == event.countdown_ms:
        errand.is_out = False


def _see_instruments(desk: Desk, now_ms: int, event: InstrumentsListed) -> None:
    errands = desk.errands
    for new in event.instruments:
        old = desk.state.instruments.get(new.symbol)
        if old is not None and old.filters != new.filters:
            errands.rules_ms[new.symbol] = now_ms
        desk.state.instruments[new.symbol] = new
    errands.wants_rules, errands.rules.count = False, 0
    errands.off_grid_ms = dict.fromkeys(errands.off_grid_ms, 0)


_OBSERVERS: dict[type, Callable[[Desk, int, Any], None]] = {
    MarksUpdated: _see_marks,
    BarClosed: _see_bar,
    AccountStreamChanged: _see_stream,
    AccountSnapshotTaken: _see_snapshot,
    SnapshotFailed: _see_no_snapshot,
    InstrumentsListed: _see_instruments,
    OrderReplied: _see_reply,
    CountdownReplied: _see_countdown,
}
