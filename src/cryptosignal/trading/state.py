"""Everything trading knows, as one value that folding journaled events rebuilds.

It may know orders, trades, fills, what the venue reported, the breaker and the people's words. It
never knows what was merely asked for (lookups on their way, timers): that is errands, and a restart
may forget it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal

from cryptosignal.domain.instrument import Instrument
from cryptosignal.domain.order import Direction, parse_client_id
from cryptosignal.risk.breaker import Breaker
from cryptosignal.risk.settings import RiskSettings
from cryptosignal.trading.facts import Ended, Waiting
from cryptosignal.trading.fills import FillBook
from cryptosignal.trading.orders import Order
from cryptosignal.trading.settings import TradingSettings
from cryptosignal.trading.trade import NakedSpan, Trade

ZERO = Decimal(0)
ARCHIVE_MAX = 200
"""Closed trades whose late events are still recognised as ours."""
ANSWERED_MAX = 200
"""Decided approvals that are remembered, so that a late yes learns what became of the signal."""
SPANS_MAX = 20_000
COUNTDOWN_REQUEST_MS_MAX = 10_000
"""A request that was decided on longer ago can no longer be accepted: our wait, the client's, recvWindow."""
ADJUSTMENTS_MAX = 1_000


@dataclass(slots=True)
class SymbolBook:
    """One symbol's position from two sides: our count of it, and the venue's last absolute word.

    `agreed_ms`: at this time both named the same quantity, so a fill of others from before it is in
    the count already, whether we had seen it or booked a difference for it. `since` is what has been
    executed after the venue's word (signed): the word and this are the position as it must be now.
    """

    symbol: str
    foreign: Decimal = ZERO
    venue_quantity: Decimal = ZERO
    venue_entry_price: Decimal = ZERO
    venue_ms: int = 0
    since: Decimal = ZERO
    diff: Decimal = ZERO
    diff_ms: int = 0
    agreed_ms: int = 0
    trades_read_ms: int = 0
    is_unsettled: bool = False


@dataclass(slots=True)
class Account:
    """The wallet as last reported, and the modes of the account."""

    wallet_usdt: Decimal = ZERO
    available_usdt: Decimal = ZERO
    wallet_ms: int = 0
    is_hedged: bool = False


@dataclass(slots=True)
class StrayOrder:
    """An open order at the venue that is not of a trade of ours. `is_own`: it carries our tag."""

    client_id: str
    symbol: str
    is_algo: bool
    is_own: bool
    is_reduce_only: bool


@dataclass(slots=True)
class Countdown:
    """A symbol's countdown at the venue, as pessimistically as its requests allow.

    `until_ms`: it may fire until then. `doubt_ms`: a request of unknown fate may still arrive until
    then, and start it again. `asked_*` are the same of the request that has no answer yet.
    """

    until_ms: int = 0
    doubt_ms: int = 0
    asked_until_ms: int = 0
    asked_doubt_ms: int = 0

    def ask(self, at_ms: int, countdown_ms: int) -> None:
        """A request to start or renew it is on its way; one that a crash left unanswered may be too."""
        doubt_ms = at_ms + COUNTDOWN_REQUEST_MS_MAX
        if self.asked_doubt_ms not in (0, doubt_ms):
            self.answer(may_run=True, may_arrive=True)
        self.asked_doubt_ms = doubt_ms
        self.asked_until_ms = self.asked_doubt_ms + countdown_ms

    def answer(self, *, may_run: bool, may_arrive: bool) -> None:
        """What became of that request."""
        if may_run:
            self.until_ms = max(self.until_ms, self.asked_until_ms)
        if may_arrive:
            self.doubt_ms = max(self.doubt_ms, self.asked_doubt_ms)
        self.asked_until_ms = self.asked_doubt_ms = 0

    def stop(self, asked_ms: int) -> None:
        """The venue has stopped it, on a request from `asked_ms`; nothing that could start it again was
        on its way then (a doubt from further ahead was stamped before our clock was set back)."""
        limit_ms = asked_ms + COUNTDOWN_REQUEST_MS_MAX
        if not any(asked_ms < ms <= limit_ms for ms in (self.doubt_ms, self.asked_doubt_ms)):
            self.until_ms = self.doubt_ms = self.asked_until_ms = self.asked_doubt_ms = 0

    def may_run(self, now_ms: int) -> bool:
        """True unless it is proven stopped or its time is over."""
        return now_ms < max(self.until_ms, self.asked_until_ms)


class TradingState:
    """The fold of all money events."""

    def __init__(self, settings: TradingSettings, risk: RiskSettings, bot: str) -> None:
        self.settings = settings
        self.risk = risk
        self.bot = bot
        self.mode = "signal"
        self.account_kind = ""
        self.starts = 0
        self.is_reconciled = False
        self.needs_position_first = False
        """The venue has refused a reduce-only stop because nothing was held yet."""
        self.snapshot_ms = 0
        self.snapshots = 0
        self.ramp_done = 0
        self.ramp_waiting = 0
        self.margin_call_ms = 0
        self.orders: dict[str, Order] = {}
        self.trades: dict[str, Trade] = {}
        self.archive: OrderedDict[str, Trade] = OrderedDict()
        self.opened: set[str] = set()
        self.books: dict[str, SymbolBook] = {}
        self.fills = FillBook()
        self.owner: dict[tuple[str, int], str] = {}
        self.account = Account()
        self.breaker = Breaker(risk)
        self.waiting: dict[str, Waiting] = {}
        self.answered: OrderedDict[str, Ended] = OrderedDict()
        self.cooldowns: dict[str, int] = {}
        self.strays: dict[str, StrayOrder] = {}
        self.countdowns: dict[str, Countdown] = {}
        self.spans: list[NakedSpan] = []
        self.adjustments: list[tuple[str, Decimal]] = []
        self.adjusted = 0
        self.instruments: dict[str, Instrument] = {}

    def book(self, symbol: str) -> SymbolBook:
        """The symbol's book, made on first use."""
        found = self.books.get(symbol)
        if found is None:
            found = self.books[symbol] = SymbolBook(symbol)
        return found

    def climb_ramp(self, *, is_clean: bool) -> None:
        """Closed trades count towards the live ramp once the account agrees with our books after them;
        a difference that had to be booked starts the ramp anew."""
        if is_clean:
            self.ramp_done, self.ramp_waiting = self.ramp_done + self.ramp_waiting, 0
        else:
            self.ramp_done = self.ramp_waiting = 0

    def trade_of(self, order: Order) -> Trade | None:
        """The open trade an order belongs to."""
        trade = self.trades.get(order.intent.symbol)
        return trade if trade is not None and order.client_id in trade.orders else None

    def net(self, symbol: str) -> Decimal:
        """Our count of the whole position: own orders and what others did (signed)."""
        trade = self.trades.get(symbol)
        own = trade.own_signed if trade is not None else ZERO
        return own + self.book(symbol).foreign

    def held(self, trade: Trade) -> Decimal:
        """What is left of a trade: others may have closed a part of it (liquidation, a person)."""
        sums = trade.sums
        if sums is not None and sums.held is not None:
            return sums.held
        own = trade.own_signed
        net = own + self.book(trade.ticket.symbol).foreign
        is_long = trade.ticket.direction is Direction.LONG
        held = max(ZERO, min(own, net) if is_long else -max(own, net))
        if sums is not None:
            sums.held = held
        return held

    def exposed(self, trade: Trade) -> Decimal:
        """What must be protected: what is held, or what the venue says beyond our count of fills.

        The venue's word counts with what has been executed since, and only up to what the entry may
        have bought: somebody's buy may be known and their sale before it only by that word. Exits
        seen without their executions are taken off, whether the word knows of them or not.
        """
        sums = trade.sums
        if sums is None:
            return self._exposed(trade)
        if sums.exposed is None:
            sums.exposed = self._exposed(trade)
        return sums.exposed

    def _exposed(self, trade: Trade) -> Decimal:
        held = self.held(trade)
        symbol = trade.ticket.symbol
        book = self.books.get(symbol)
        if book is None or book.venue_ms <= trade.opened_ms:
            return held
        sign = trade.direction.sign
        now = (book.venue_quantity + book.since) * sign - trade.exits_unbooked
        reported = now - max(ZERO, book.foreign * sign)
        return max(held, min(reported, trade.quantity))

    def is_word_current(self, symbol: str) -> bool:
        """The venue has named the position since the last execution that we know of, or with it."""
        last_ms = self.fills.last_ms.get(symbol, 0)
        book = self.books.get(symbol)
        return not last_ms or (book is not None and book.venue_ms >= last_ms)

    def open_orders(self) -> Iterator[Order]:
        """Every order of ours that may still do something."""
        for trade in self.trades.values():
            if trade.sums is not None:
                yield from trade.sums.open_orders
                continue
            for order in trade.orders.values():
                if order.is_open:
                    yield order

    def settle_sums(self) -> None:
        """Add up every open trade once: nothing changes until the next fold."""
        for trade in self.trades.values():
            if trade.sums is None:
                trade.settle_sums()

    def drop_sums(self) -> None:
        """A fold begins: what was added up no longer holds."""
        for trade in self.trades.values():
            trade.sums = None

    def is_own_id(self, client_id: str) -> bool:
        """True for ids of this bot (RELIABILITY §3.4)."""
        parts = parse_client_id(client_id)
        return parts is not None and parts.bot == self.bot

    def touch_naked(self, trade: Trade, at_ms: int) -> None:
        """Start or end the trade's naked span at venue time `at_ms`."""
        grace = self.settings.trigger_grace_ms
        confirmed = trade.confirmed_stops(at_ms, grace)
        is_held = self.exposed(trade) > ZERO
        is_naked = is_held and not confirmed
        if not is_naked:
            sure_ms = max((o.checked_ms for o in confirmed), default=0) if is_held else at_ms
            trade.covered_ms = max(trade.covered_ms, sure_ms)
        if is_naked and not trade.naked_since_ms:
            trade.naked_since_ms = max(at_ms, trade.covered_ms, trade.filled_ms)
        elif not is_naked and trade.naked_since_ms:
            span = NakedSpan(trade.symbol, trade.naked_since_ms, max(at_ms, trade.naked_since_ms))
            trade.naked_since_ms = 0
            trade.naked_max_ms = max(trade.naked_max_ms, span.length_ms)
            self.spans.append(span)
            if len(self.spans) > SPANS_MAX:
                del self.spans[: SPANS_MAX // 2]

    def archive_trade(self, trade: Trade) -> None:
        """Put a finished trade away; what others hold on the symbol stays in its book."""
        book = self.book(trade.symbol)
        book.foreign = self.net(trade.symbol)
        del self.trades[trade.symbol]
        for client_id in trade.orders:
            self.orders.pop(client_id, None)
            self.archive[client_id] = trade
        self.fills.settle(trade.symbol, self.fills.last_ms.get(trade.symbol, 0))
        while len(self.archive) > ARCHIVE_MAX * 8:
            old_id, old = self.archive.popitem(last=False)
            order = old.orders[old_id]
            self.owner.pop((order.intent.symbol, order.order_id), None)

    def revive(self, client_id: str) -> Order | None:
        """Bring a closed trade back, because its order moved after all; to be closed at once."""
        trade = self.archive.get(client_id)
        if trade is None or trade.symbol in self.trades:
            return None
        trade.drop_sums()
        self.trades[trade.symbol] = trade
        self.book(trade.symbol).foreign -= trade.own_signed
        trade.close_reason = trade.close_reason or "stray fill"
        for own_id, order in trade.orders.items():
            self.archive.pop(own_id, None)
            self.orders[own_id] = order
        return self.orders[client_id]

    def adjust(self, symbol: str, diff: Decimal, server_ms: int) -> None:
        """Book a difference that no trade explains, under an id that a replay finds again."""
        self.book(symbol).foreign += diff
        self.adjustments.append((f"adj-{symbol}-{server_ms}", diff))
        self.adjusted += 1
        if len(self.adjustments) > ADJUSTMENTS_MAX:
            del self.adjustments[: ADJUSTMENTS_MAX // 2]

    def hear(self, book: SymbolBook, quantity: Decimal, entry_price: Decimal, at_ms: int) -> None:
        """Take in the venue's word on a position, true at `at_ms`."""
        book.venue_quantity, book.venue_entry_price, book.venue_ms = quantity, entry_price, at_ms
        book.since = self.fills.signed_since(book.symbol, at_ms)

    def foreign_left(self, symbol: str) -> Decimal:
        """What others hold on a symbol, signed: what they took off a trade of ours is gone from there,
        it is no position of theirs."""
        trade = self.trades.get(symbol)
        own = trade.direction.sign * self.held(trade) if trade is not None else ZERO
        return self.net(symbol) - own
