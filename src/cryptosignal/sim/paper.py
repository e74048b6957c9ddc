"""The venue's account machinery on prices that come from elsewhere: paper money on real quotes.

Orders, stops, margin, fees, funding and liquidation are the simulated venue's own (`sim.exchange`);
only the market is not: books, marks and funding rates are pushed in as quotes. Nothing moves between
two quotes. A taker meets the quoted levels, and what it took is gone until the next quote; a resting
order is filled once the quotes have passed it, never for merely being touched. What passed while no
process ran is lived through afterwards on candles, with the worse end of each first.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Final, TypeVar

import msgspec

from cryptosignal.domain.instrument import Instrument
from cryptosignal.ground.seeds import Seeds
from cryptosignal.ground.units import HOUR_MS, MINUTE_MS
from cryptosignal.sim.account import Account, Fill, Income, Position
from cryptosignal.sim.bars import Bars, empty_bars
from cryptosignal.sim.book import Book, Side
from cryptosignal.sim.exchange import Exchange
from cryptosignal.sim.facts import Facts
from cryptosignal.sim.flow import Flow, Trade
from cryptosignal.sim.links import Link
from cryptosignal.sim.listing import Listed, brackets_for
from cryptosignal.sim.mischief import Mischief
from cryptosignal.sim.orders import Algo, Order
from cryptosignal.sim.path import CutPath
from cryptosignal.sim.rest import Router
from cryptosignal.sim.settings import VenueSettings
from cryptosignal.sim.venue import Venue
from cryptosignal.sim.wsapi import WsApi

FORMAT: Final = 1
HISTORY_MAX: Final = 500
PRICE_MAX_OF_ANCHOR: Final = 1_000
"""The venue's highest price, in anchors (`sim.dialect_rest`)."""
NO_BOOK_FRAC: Final = 0.0005
"""Without a live book an order meets the mark this much worse, and this deep:"""
NO_BOOK_USDT: Final = 250_000.0
_NEVER: Final = 1 << 62
_LEVERAGE_MAX: Final = 50
_FAR: Final = 1 << 60


class Quote(msgspec.Struct, frozen=True, gc=False):
    """One symbol's market at one moment: levels (price, quantity) best first, mark, funding."""

    bids: tuple[tuple[float, float], ...]
    asks: tuple[tuple[float, float], ...]
    mark: float
    funding_rate: float = 0.0
    next_funding_ms: int = 0


class Slept(msgspec.Struct, frozen=True, gc=False):
    """A symbol's candles (open ms, close ms, open, high, low, close) and settled funding (ms, rate) of a
    time in which nobody quoted it, oldest first."""

    bars: tuple[tuple[int, int, float, float, float, float], ...]
    funding: tuple[tuple[int, float], ...] = ()

    def due(self, at_ms: int) -> tuple[float, int]:
        """Rate and moment of the settlement that follows `at_ms`; after the last one of nothing."""
        following = [row for row in self.funding if row[0] > at_ms]
        if following:
            return following[0][1], following[0][0]
        return 0.0, self.funding[-1][0] + HOUR_MS if self.funding else 0


class PaperState(msgspec.Struct, frozen=True):
    """The account as it outlives its process. Positions, orders and the rest count by `symbols`.

    `at_ms` is when it was alive last. `digits`: decimal places of price and quantity in which the
    orders of a symbol count, since a contract's grid may change meanwhile.
    """

    format: int
    symbols: tuple[str, ...]
    wallet: Decimal
    deposits: Decimal
    leverage: dict[str, int]
    isolated: tuple[str, ...]
    positions: list[Position]
    orders: list[Order]
    algos: list[Algo]
    fills: list[Fill]
    incomes: list[Income]
    counters: tuple[int, ...]
    at_ms: int = 0
    digits: dict[str, tuple[int, int]] = {}
    contracts: tuple[Instrument, ...] = ()
    """What is held or waits: listed again at the next start, whatever is watched then."""


class _NoPath(CutPath):
    """No prices of its own."""

    def _base_bars(self, index: int, from_ms: int, to_ms: int) -> Bars:
        return empty_bars()


class QuotedFlow(Flow):
    """The last price as quotes and our own trades set it; it prints nothing else."""

    def __init__(self, listed: Listed, start_ms: int) -> None:
        self.listed = listed
        self.start_ms = start_ms
        self.next_agg_id = 1
        self.next_trade_id = start_ms * 1_000
        """Trade ids keep growing over restarts: their beginning is the time."""
        self.overlays = []
        self.closed_spans = []
        self.last_price = self.last_qty = 0
        self.last_is_sell = False
        self.last_ms = start_ms
        self.guard_ms = _NEVER

    def peek_ms(self) -> int:
        """Nothing comes by itself."""
        return _NEVER

    def has_tick(self) -> bool:
        """Nothing comes by itself."""
        return False

    def skip_to(self, now_ms: int) -> None:
        """Nothing happens between quotes."""

    def next_hit_ms(self, low: int, high: int) -> int:
        """Nothing comes by itself."""
        return _NEVER

    def close_market(self, from_ms: int, to_ms: int) -> None:
        """Halts are the real venue's."""

    def print_client(
        self, now_ms: int, price: int, qty: int, is_sell: bool, borrowed: int = 0
    ) -> Trade:
        """A trade of ours: numbered; nobody else sees it."""
        self.last_ms, self.last_qty, self.last_is_sell = now_ms, qty, is_sell
        self.next_agg_id += 1
        self.next_trade_id += 1
        at = self.next_trade_id - 1
        return Trade(self.next_agg_id - 1, at, at, now_ms, price, qty, is_sell)


class QuotedBook(Book):
    """The quoted levels, less what we took of them since they were quoted."""

    def __init__(self, listed: Listed, flow: Flow, seed: int, levels: int, pace: float) -> None:
        super().__init__(listed, flow, seed, levels, pace)
        self._sides: dict[bool, Side] = {True: [], False: []}
        self._eaten: dict[tuple[bool, int], int] = {}

    def quote(self, bids: Side, asks: Side) -> None:
        """Replace the levels."""
        self._sides = {True: bids, False: asks}
        self._eaten.clear()

    def quotes(self) -> tuple[int, int]:
        """Best bid and ask; 0 and far away without a quote."""
        bids, asks = self._sides[True], self._sides[False]
        return (bids[0][0] if bids else 0), (asks[0][0] if asks else _FAR)

    def ladder(self, now_ms: int, *, is_bid: bool, count: int) -> Side:
        """The levels with something left, best first."""
        rows = [(p, q - self._eaten.get((is_bid, p), 0)) for p, q in self._sides[is_bid]]
        return [row for row in rows if row[1] > 0][:count]

    def take(self, price: int, qty: int, now_ms: int, *, is_bid: bool) -> None:
        """We took `qty` of a level."""
        self._eaten[is_bid, price] = self._eaten.get((is_bid, price), 0) + qty


class QuotedFacts(Facts):
    """Mark and funding as they were quoted."""

    def __init__(self, flows: list[Flow], seed: int) -> None:
        super().__init__(flows, seed)
        self.quoted: dict[int, Quote] = {}

    def mark_price(self, index: int, now_ms: int) -> float:
        """The quoted mark; the last price, which may be none, before the first quote."""
        quote = self.quoted.get(index)
        return (
            quote.mark if quote is not None else self._flows[index].last_price * self._scale[index]
        )

    def funding_rate(self, index: int, at_ms: int) -> float:
        """The quoted rate, 0 before the first quote."""
        quote = self.quoted.get(index)
        return quote.funding_rate if quote is not None else 0.0

    def next_funding_ms(self, index: int, now_ms: int) -> int:
        """The quoted settlement, or the next of every eight hours."""
        quote = self.quoted.get(index)
        if quote is not None and quote.next_funding_ms > now_ms:
            return quote.next_funding_ms
        return super().next_funding_ms(index, now_ms)


class PaperExchange(Exchange):
    """The exchange without a market of its own."""

    def _make_flow(self, row: Listed, seed: int) -> Flow:
        return QuotedFlow(row, self.start_ms)

    def _make_facts(self, seed: int) -> Facts:
        return QuotedFacts(self.flows, seed)

    def _make_book(self, flow: Flow, seed: int) -> Book:
        return QuotedBook(flow.listed, flow, seed, self.settings.book_levels, 1.0)

    def _on_hour(self, now: int, _argument: int) -> None:
        """Funding is settled when the quotes have passed it (`take_quote`), not by our own clock."""
        self.agenda.at(now + HOUR_MS, self._on_hour)

    def _is_near_liquidation(self, account: Account) -> bool:
        """Not before everything held has a price: after a restart there is none yet."""
        assert isinstance(self.facts, QuotedFacts)
        held = {p.index for p in account.positions.values() if p.qty}
        return held <= self.facts.quoted.keys() and super()._is_near_liquidation(account)

    def take_quote(self, index: int, quote: Quote) -> None:
        """The market of a symbol is this now: settle, fill and trigger what that makes due."""
        facts, book, flow, row = (
            self.facts,
            self.books[index],
            self.flows[index],
            self.listed[index],
        )
        assert isinstance(facts, QuotedFacts)
        assert isinstance(book, QuotedBook)
        before = facts.quoted.get(index)
        is_due = before is not None and 0 < before.next_funding_ms < quote.next_funding_ms
        if before is not None and is_due and before.funding_rate:
            rate = Decimal(f"{before.funding_rate:.8f}")
            self.desk.margin.settle_funding(index, rate)
        facts.quoted[index] = quote
        for account in self.desk.accounts:
            account.margin_check_ms = 0  # quotes may jump: no account is safe for a while
        bids, asks = _units(quote.bids, row), _units(quote.asks, row)
        book.quote(bids, asks)
        best_bid, best_ask = book.quotes()
        if best_bid and best_ask < _FAR:
            flow.last_price = (best_bid + best_ask) // 2
            self.desk.matcher.fill_crossed(index, best_bid, best_ask, self.now_ms)
        self.touched(index)

    def concerned(self) -> set[int]:
        """Symbols whose quotes matter: with a position, an order or an algo order."""
        account = self.desk.accounts[0]
        found = {p.index for p in account.positions.values() if p.qty}
        found |= {o.index for o in account.open_orders.values()}
        return found | {a.index for a in account.algos.values() if a.is_open}


class PaperVenue(Venue):
    """One account over the contracts of the real venue, by the same bytes as the simulated one."""

    exchange: PaperExchange

    def __init__(  # not the parent's: that one makes a market
        self,
        instruments: tuple[Instrument, ...],
        settings: VenueSettings,
        start_ms: int,
    ) -> None:
        self.settings = settings
        self.start_ms = start_ms
        self._out = []
        self._links: dict[int, Link] = {}
        self._is_watching = False
        self._contracts = {item.symbol: item for item in instruments}
        listed = tuple(listed_of(index, item) for index, item in enumerate(instruments))
        self.synthetic_flow = ()
        seeds = Seeds(0)
        path = _NoPath(listed, 0, "1d", 1)
        self.exchange = PaperExchange(settings, seeds, start_ms, listed, path, self._post)
        self.router = Router(self.exchange, ())
        self._ws_api = WsApi(self.exchange, self.router)
        self.mischief = Mischief(settings, seeds, self)
        self.api_key = settings.accounts[0].api_key
        self.api_secret = settings.accounts[0].api_secret

    def quote(self, now_ms: int, symbol: str, quote: Quote) -> None:
        """Push one symbol's market in."""
        index = self.exchange.index_of.get(symbol)
        if index is not None and quote.mark > 0:
            self.exchange.run_to(now_ms)
            self.exchange.take_quote(index, quote)

    def concerned(self) -> list[str]:
        """Symbols whose quotes matter now."""
        return [self.exchange.listed[index].symbol for index in sorted(self.exchange.concerned())]

    # ---- asleep ---------------------------------------------------------------------------
    def live_through(self, slept: dict[str, Slept]) -> None:
        """What those candles would have done to the account: fills, stops, funding, liquidation.

        Which end of a candle came first is not known, so the worse one for the position did; a stop or
        a limit between two prices meets the market there.
        """
        rows = [(bar[0], symbol) for symbol, s in slept.items() for bar in s.bars]
        bars = {(bar[0], symbol): bar for symbol, s in slept.items() for bar in s.bars}
        for open_ms, symbol in sorted(rows):
            self._live_through(symbol, bars[open_ms, symbol], slept[symbol])

    def _live_through(
        self, symbol: str, bar: tuple[int, int, float, float, float, float], slept: Slept
    ) -> None:
        open_ms, close_ms, first, high, low, last = bar
        index = self.exchange.index_of[symbol]
        held = sum(p.qty for p in self.positions() if p.index == index)
        ends = (high, low) if held < 0 else (low, high)
        moments = (
            open_ms,
            open_ms + (close_ms - open_ms) // 3,
            close_ms - MINUTE_MS // 6,
            close_ms,
        )
        before = first
        for at_ms, price in zip(moments, (first, *ends, last), strict=True):
            for mark in (*self._between(index, before, price), price):
                now_ms = max(self.exchange.now_ms, at_ms)
                rate, due_ms = slept.due(now_ms)
                self.quote(now_ms, symbol, thin_quote(mark, rate, due_ms))
            before = price

    def _between(self, index: int, start: float, end: float) -> list[float]:
        """Prices of waiting conditional orders that are passed on the way, in the order of the way."""
        scale = 10.0 ** self.exchange.listed[index].price_digits
        found = {a.trigger / scale for a in self.open_algos() if a.index == index}
        passed = [p for p in found if min(start, end) < p < max(start, end)]
        return sorted(passed, reverse=end < start)

    # ---- over restarts --------------------------------------------------------------------
    def state(self) -> PaperState:
        """The account, to be kept."""
        x, account = self.exchange, self.account()
        names = tuple(row.symbol for row in x.listed)
        return PaperState(
            format=FORMAT,
            symbols=names,
            wallet=account.wallet,
            deposits=x.desk.ledger.deposits,
            leverage={names[index]: value for index, value in account.leverage.items()},
            isolated=tuple(names[index] for index in sorted(account.isolated_mode)),
            positions=[p for p in account.positions.values() if p.qty],
            orders=list(account.orders.values())[-HISTORY_MAX:],
            algos=list(account.algos.values())[-HISTORY_MAX:],
            fills=list(account.fills)[-HISTORY_MAX:],
            incomes=list(account.incomes)[-HISTORY_MAX:],
            counters=x.desk.counters() + x.algos.counters(),
            at_ms=x.now_ms,
            contracts=tuple(self._contracts[symbol] for symbol in self.concerned()),
            digits={row.symbol: (row.price_digits, row.qty_digits) for row in x.listed},
        )

    def resume(self, state: PaperState) -> list[str]:
        """Go on where a former process stopped; the symbols that are no longer listed and lost."""
        x, account = self.exchange, self.account()
        at = {old: x.index_of.get(symbol, -1) for old, symbol in enumerate(state.symbols)}
        account.wallet = state.wallet
        x.desk.ledger.deposits = state.deposits
        account.leverage = {x.index_of[s]: v for s, v in state.leverage.items() if s in x.index_of}
        account.isolated_mode = {x.index_of[s] for s in state.isolated if s in x.index_of}
        for position in _moved(state.positions, at):
            account.positions[position.index, position.side] = position
        for order in self._regridded(state, _moved(state.orders, at)):
            account.keep(order)
            if order.is_open:
                x.books[order.index].rest(order, x.now_ms)
        for algo in self._regridded(state, _moved(state.algos, at)):
            x.algos.readmit(account, algo)
        account.fills.extend(_moved(state.fills, at))
        account.incomes.extend(_moved(state.incomes, at))
        half = len(x.desk.counters())
        x.desk.count_from(state.counters[:half])
        x.algos.count_from(state.counters[half:])
        return [s for old, s in enumerate(state.symbols) if at[old] < 0 and _holds(state, old)]

    def _regridded(self, state: PaperState, rows: list[Counted]) -> list[Counted]:
        """The same prices and quantities in the units of today's grid."""
        for row in rows:
            listed = self.exchange.listed[row.index]
            now = (listed.price_digits, listed.qty_digits)
            then = tuple(state.digits.get(listed.symbol, now))
            if then != now:
                _rescale(row, now[0] - then[0], now[1] - then[1])
        return rows

    def revision(self) -> tuple[object, ...]:
        """Changes whenever there is something new to keep."""
        account, x = self.account(), self.exchange
        return (
            account.wallet, account.update_ms, x.desk.fills_seen, x.desk.counters(),
            x.algos.counters(), tuple(account.open_orders), tuple(account.leverage.items()),
            tuple(a.algo_id for a in account.algos.values() if a.is_open),
        )  # fmt: skip


def listed_of(index: int, item: Instrument) -> Listed:
    """A real contract as the simulated venue lists one: its own grids and minima."""
    filters = item.filters
    tick = filters.tick_size.normalize()
    step = min(filters.step_size, filters.market_step_size).normalize()
    price_digits = max(0, -int(tick.as_tuple().exponent))
    qty_digits = max(0, -int(step.as_tuple().exponent))
    units = max(1, int(tick.scaleb(price_digits)))
    return Listed(
        index=index,
        symbol=item.symbol,
        base=item.base,
        contract_type=item.contract_type,
        underlying_type=item.underlying_type,
        sector=0,
        price_digits=price_digits,
        qty_digits=qty_digits,
        price_precision=item.price_precision,
        anchor_price=float(filters.max_price) / PRICE_MAX_OF_ANCHOR,
        turnover_usdt=1e8,
        daily_vol_frac=0.03,
        beta=1.0,
        onboard_ms=item.onboard_ms,
        delivery_ms=item.delivery_ms,
        funding_hours=8,
        market_qty_max=max(1, int(filters.market_max_qty)),
        qty_max=max(1, int(filters.max_qty)),
        min_notional=max(1, int(filters.min_notional_usdt)),
        multiplier=Decimal("0.10"),
        trigger_protect=item.trigger_protect_frac,
        liquidation_fee=item.liquidation_fee_frac,
        ticks_per_minute=4,
        quiet_frac=0.0,
        spread_ticks=1,
        book_gap=1,
        brackets=brackets_for(_LEVERAGE_MAX),
        has_spot=False,
        tick_units_before=units,
        tick_units_after=units,
    )


def _units(levels: tuple[tuple[float, float], ...], row: Listed) -> Side:
    scale, size = 10.0**row.price_digits, 10.0**row.qty_digits
    rows = [(round(price * scale), int(qty * size + 1e-9)) for price, qty in levels]
    return [(price, qty) for price, qty in rows if price > 0 and qty > 0]


def thin_quote(mark: float, funding_rate: float = 0.0, next_funding_ms: int = 0) -> Quote:
    """The market of a symbol of which only the mark is known."""
    depth = NO_BOOK_USDT / mark
    bids, asks = ((mark * (1 - NO_BOOK_FRAC), depth),), ((mark * (1 + NO_BOOK_FRAC), depth),)
    return Quote(bids, asks, mark, funding_rate, next_funding_ms)


def _rescale(row: Order | Algo, price_digits: int, qty_digits: int) -> None:
    """Count prices and quantities in so many more decimal places (fewer: rounded)."""
    for scale, names in (
        (10.0**price_digits, ("price", "stop_price", "trigger", "activate")),
        (10.0**qty_digits, ("qty", "executed", "ahead")),
        (10.0 ** (price_digits + qty_digits), ("paid",)),
    ):
        for name in names:
            if hasattr(row, name):
                setattr(row, name, round(getattr(row, name) * scale))
    if isinstance(row, Algo):
        row.extreme *= 10.0**price_digits


Counted = TypeVar("Counted", Order, Algo)
Row = TypeVar("Row", Position, Order, Algo, Fill, Income)


def _moved(rows: list[Row], at: dict[int, int]) -> list[Row]:
    return [msgspec.structs.replace(r, index=at[r.index]) for r in rows if at.get(r.index, -1) >= 0]


def _holds(state: PaperState, index: int) -> bool:
    return any(p.index == index for p in state.positions)
