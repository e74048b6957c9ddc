"""The exchange itself: symbols, trade flow, books, accounts and timers put together.

Domain face of the venue: no bytes here. Moves only when `run_to` is called.
"""

from __future__ import annotations

from decimal import Decimal

import msgspec

from cryptosignal.ground.seeds import Seeds
from cryptosignal.ground.units import HOUR_MS, SECOND_MS
from cryptosignal.sim.account import Account, Fill, Position, maint_margin
from cryptosignal.sim.agenda import Agenda
from cryptosignal.sim.algo import AlgoService
from cryptosignal.sim.book import Book
from cryptosignal.sim.desk import Desk
from cryptosignal.sim.facts import Facts
from cryptosignal.sim.flow import Flow, Trade
from cryptosignal.sim.klines import KlineDesk
from cryptosignal.sim.limits import Limits
from cryptosignal.sim.listing import Listed
from cryptosignal.sim.orders import Algo, Order
from cryptosignal.sim.path import CutPath
from cryptosignal.sim.private import PrivateEvents
from cryptosignal.sim.settings import VenueSettings
from cryptosignal.sim.streams import Hub, Post
from cryptosignal.sim.tickers import Tickers

MARGIN_CHECK_MS = 1_000
FLAT_CHECK_MS = 10_000
"""Between two margin checks of a venue with coarse ticks while nobody holds anything."""
_CHECK_GAPS_MS = ((0.2, 60_000), (0.05, 10_000), (0.02, 2_000))
"""(price move that an account survives, how long it is left unchecked)."""
_NEVER = 1 << 62


class Exchange:
    """Everything behind the wire."""

    def __init__(
        self,
        settings: VenueSettings,
        seeds: Seeds,
        start_ms: int,
        listed: tuple[Listed, ...],
        path: CutPath,
        post: Post,
    ) -> None:
        self.settings = settings
        self.start_ms = start_ms
        self.listed = list(listed)
        self.path = path
        seed = seeds.number("exchange")
        self.agenda = Agenda(start_ms)
        self.flows = [self._make_flow(row, seed) for row in listed]
        self.klines = KlineDesk(path, self.flows, start_ms)
        self.facts = self._make_facts(seed)
        self.tickers = Tickers(self.flows, self.klines)
        self.books = [self._make_book(flow, seed) for flow in self.flows]
        self.hub = Hub(
            settings,
            self.agenda,
            self.flows,
            self.books,
            self.klines,
            self.facts,
            self.tickers,
            post,
        )
        self.private = PrivateEvents(post)
        self.desk = Desk(self.listed, self.flows, self.books, self.facts, self.private)
        self.desk.now_ms = start_ms
        self.private.bind(self.desk, self.hub)
        self.algos = AlgoService(self.desk, self.private.algo)
        self.private.bind_algos(self.algos.child_event)
        self.desk.on_flat = lambda account, position: self.algos.position_closed(
            account, position.index, position.side
        )
        self.limits = Limits(settings)
        self.index_of = {row.symbol: row.index for row in listed}
        self._armed: list[int] = [_NEVER] * len(listed)
        self._moved: dict[int, None] = {}
        self._is_marking = False
        self.hub.on_heard = self.arm
        self.hub.is_open = self.is_open
        self.desk.matcher.on_print = self._printed
        self._open_accounts()
        self.account_of = {a.api_key: a for a in self.desk.accounts}
        self._schedule()

    def _open_accounts(self) -> None:
        for number, account in enumerate(self.settings.accounts):
            deposit = Decimal(account.deposit_usdt)
            self.desk.accounts.append(
                Account(
                    number,
                    account.api_key,
                    account.api_secret,
                    account.ed25519_public_pem,
                    deposit,
                    self.settings.history_orders_max,
                )
            )
            self.desk.ledger.deposits += deposit
            # some clients take an asset that was never updated for one that is not there
            self.desk.accounts[-1].update_ms = self.start_ms
            self.desk.book_income(self.desk.accounts[-1], 0, "TRANSFER", deposit, 0)

    # --- parts, which an exchange on other prices makes otherwise -----------------------------------

    def _make_flow(self, row: Listed, seed: int) -> Flow:
        return Flow(row, self.path, seed, self.start_ms, self.settings.block_minutes)

    def _make_facts(self, seed: int) -> Facts:
        return Facts(self.flows, seed)

    def _make_book(self, flow: Flow, seed: int) -> Book:
        return Book(flow.listed, flow, seed, self.settings.book_levels, self.settings.pace)

    # --- time -------------------------------------------------------------------------------------

    def run_to(self, now_ms: int) -> None:
        """Do everything due until `now_ms`."""
        self.agenda.run_to(now_ms)
        self.desk.now_ms = self.agenda.now_ms

    @property
    def now_ms(self) -> int:
        """Venue time."""
        return self.agenda.now_ms

    def _schedule(self) -> None:
        now = self.start_ms
        self.agenda.at((now // HOUR_MS + 1) * HOUR_MS, self._on_hour)
        self.agenda.at(now + MARGIN_CHECK_MS, self._on_margin)
        for row in self.listed:
            moments = (
                row.onboard_ms,
                row.halt_ms,
                row.halt_until_ms,
                row.delist_notice_ms,
                row.tick_change_ms,
            )
            for moment in moments:
                if moment > now:
                    self.agenda.at(moment, self._on_contract, row.index)
            if row.delist_notice_ms and row.delivery_ms > now:
                self.agenda.at(row.delivery_ms, self._on_delivery, row.index)

    def _on_contract(self, now: int, index: int) -> None:
        self.desk.now_ms = now
        self.private.contract_info(index)

    def _on_delivery(self, now: int, index: int) -> None:
        """A delisted contract settles: orders end, positions close at the mark."""
        self.desk.now_ms = now
        self.settle(index)
        self.private.contract_info(index)

    def settle(self, index: int) -> None:
        """End all orders of a symbol and close its positions at the mark."""
        for account in self.desk.accounts:
            for order in [o for o in account.open_orders.values() if o.index == index]:
                self.desk.expire(order, "7")
            for algo in [a for a in account.algos.values() if a.index == index and a.is_open]:
                self.algos.cancel(algo, "EXPIRED", "Symbol delisted")
            for position in [p for p in account.positions.values() if p.index == index and p.qty]:
                self.desk.margin.force_close(account, position, "settlement_autoclose-")
        self.after_prints()

    def _on_hour(self, now: int, _argument: int) -> None:
        self.desk.now_ms = now
        held = {p.index for a in self.desk.accounts for p in a.positions.values() if p.qty}
        for index in sorted(held):
            if now % (self.listed[index].funding_hours * HOUR_MS) == 0:
                rate = Decimal(f"{self.facts.funding_rate(index, now):.8f}")
                self.desk.margin.settle_funding(index, rate)
        self.agenda.at(now + HOUR_MS, self._on_hour)

    def _on_margin(self, now: int, _argument: int) -> None:
        self.desk.now_ms = now
        for account in self.desk.accounts:
            if now >= account.margin_check_ms and self._is_near_liquidation(account):
                self.desk.margin.check_liquidation(account)
                self.after_prints()
        step = max(MARGIN_CHECK_MS, self.settings.tick_ms)
        is_coarse = self.settings.tick_ms >= MARGIN_CHECK_MS
        if is_coarse and not any(p.qty for a in self.desk.accounts for p in a.positions.values()):
            step = FLAT_CHECK_MS
        self.agenda.at(now + step, self._on_margin)

    def _is_near_liquidation(self, account: Account) -> bool:
        """A cheap float test; the exact one follows only where this says so.

        Sets when to look again: an account that only a move of a fifth could hurt rests a minute.
        """
        held = [p for p in account.positions.values() if p.qty]
        account.margin_check_ms = self.now_ms + _CHECK_GAPS_MS[0][1]
        if not held:
            return False
        balance, need, gross = float(account.cross_wallet), 0.0, 0.0
        spare = 1.0
        for position in held:
            mark = self.facts.mark_price(position.index, self.now_ms)
            value = float(position.qty) * mark
            gain = value - float(position.cost)
            due = float(maint_margin(self.listed[position.index], Decimal(abs(value))))
            if position.index in account.isolated_mode:
                spare = min(spare, (float(position.isolated) + gain - 1.5 * due) / abs(value))
                continue
            balance += gain
            gross += abs(value)
            need += due
        if gross:
            spare = min(spare, (balance - 1.5 * need) / gross)
        gap = next((ms for frac, ms in _CHECK_GAPS_MS if spare > frac), 0)
        account.margin_check_ms = self.now_ms + gap
        return spare <= 0

    # --- trades -----------------------------------------------------------------------------------

    def is_open(self, index: int) -> bool:
        """Trading now."""
        return self.desk.status_of(index) == "TRADING"

    def arm(self, index: int) -> None:
        """Decide when the next trade of a symbol needs attention."""
        flow = self.flows[index]
        flow.guard_ms = min(flow.guard_ms, self._armed[index])
        flow.skip_to(self.now_ms)
        due = self._due(index, flow)
        if due == self._armed[index]:
            return
        self._armed[index] = flow.guard_ms = due
        if due < _NEVER:
            self.agenda.at(due, self._on_tick, index)

    def _due(self, index: int, flow: Flow) -> int:
        if self.hub.hears_trades(index):
            return flow.peek_ms()
        low, high = self.books[index].hit_prices()
        if self.algos.waiting.get(index):
            more = self.algos.hit_prices(index)
            low, high = max(low, more[0]), min(high, more[1])
        if low < 0 and high >= 1 << 60:
            return _NEVER
        return flow.next_hit_ms(low, high)

    def _on_tick(self, now: int, index: int) -> None:
        if self._armed[index] != now and self._armed[index] > now:
            return
        self.desk.now_ms = now
        flow = self.flows[index]
        flow.guard_ms = now
        flow.skip_to(now)
        flow.guard_ms = -1
        while True:
            if not flow.has_tick():
                if flow.peek_ms() > now:
                    break
                flow.open_block()
                continue
            if flow.peek_ms() > now:
                break
            self._take(index, flow, now)
        self._armed[index] = _NEVER
        flow.guard_ms = _NEVER
        self.after_prints()
        self.arm(index)

    def _take(self, index: int, flow: Flow, now: int) -> None:
        price, _, is_sell = flow.next_tick()
        book = self.books[index]
        if (book.resting[True] or book.resting[False]) and self.desk.matcher.concerns(
            index, price, is_sell=is_sell
        ):
            self.desk.matcher.meet(index, now)
            if flow.drop_empty():
                return
        self._printed(index, flow.take())

    def _printed(self, index: int, trade: Trade) -> None:
        self.hub.on_trade(index, trade)
        if index in self.algos.waiting:
            self._moved[index] = None

    def after_prints(self) -> None:
        """Trigger what the new prices are due to trigger; that may print again."""
        while self._moved:
            index = next(iter(self._moved))
            del self._moved[index]
            self.algos.look(index)

    def watch_mark(self) -> None:
        """Conditional orders on the mark are looked at whenever it moves, once a second."""
        if not self._is_marking:
            self._is_marking = True
            self.agenda.at((self.now_ms // SECOND_MS + 1) * SECOND_MS, self._on_mark)

    def _on_mark(self, now: int, _argument: int) -> None:
        self.desk.now_ms = now
        watched = self.algos.on_mark()
        for index in watched:
            if self.algos.may_fire(index):
                self.touched(index)
        self._is_marking = False
        if watched:
            self.watch_mark()

    def touched(self, index: int) -> None:
        """Orders of a symbol changed: look at prices and re-arm."""
        self._moved[index] = None
        self.after_prints()
        self.arm(index)

    def halt(self, index: int, from_ms: int, to_ms: int) -> None:
        """Stop trading of a symbol for whole minutes ahead of now."""
        self.flows[index].close_market(from_ms, to_ms)
        self.agenda.at(from_ms, self._on_halt, index)
        self.agenda.at(to_ms, self._on_resume, index)
        self.arm(index)

    def _on_halt(self, now: int, index: int) -> None:
        self.desk.status[index] = "TRADING_HALT"
        self._on_contract(now, index)

    def _on_resume(self, now: int, index: int) -> None:
        self.desk.status.pop(index, None)
        self._on_contract(now, index)

    def change_tick(self, index: int, from_ms: int, unit: int) -> None:
        """From a whole minute ahead of now the tick is `unit`: trades, book and filter follow it."""
        row = self.listed[index]
        self.flows[index].regrid(from_ms, unit)
        self.listed[index] = msgspec.structs.replace(
            row,
            tick_change_ms=from_ms,
            tick_units_before=row.tick_units(self.now_ms),
            tick_units_after=unit,
        )
        self.agenda.at(from_ms, self._on_tick_change, index)
        self.arm(index)

    def _on_tick_change(self, now: int, index: int) -> None:
        self.books[index].set_tick(self.listed[index].tick_units(now))
        self._on_contract(now, index)

    def delist(self, index: int, delivery_ms: int) -> None:
        """Announce that a symbol settles at `delivery_ms`, a whole minute ahead of now."""
        row = msgspec.structs.replace(
            self.listed[index], delist_notice_ms=self.now_ms, delivery_ms=delivery_ms
        )
        self.replace_listed(row)
        self.flows[index].close_market(delivery_ms, _NEVER)
        self.agenda.at(delivery_ms, self._on_delivery, index)
        self.arm(index)

    def replace_listed(self, row: Listed) -> None:
        """New rules for a symbol (filters, brackets) from now on."""
        self.listed[row.index] = row
        self.private.contract_info(row.index)

    # --- inspection ---------------------------------------------------------------------------------

    def positions(self, account: int = 0) -> list[Position]:
        """Open positions of an account."""
        return [p for p in self.desk.accounts[account].positions.values() if p.qty]

    def open_orders(self, account: int = 0) -> list[Order]:
        """Open ordinary orders."""
        return list(self.desk.accounts[account].open_orders.values())

    def open_algos(self, account: int = 0) -> list[Algo]:
        """Untriggered algo orders."""
        return [a for a in self.desk.accounts[account].algos.values() if a.is_open]

    def executions(self, account: int = 0) -> list[Fill]:
        """Executions kept in the account's history, oldest first."""
        return list(self.desk.accounts[account].fills)
