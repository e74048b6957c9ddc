"""The order desk: checks, margin, fills, algo triggers, funding and forced closing for all accounts.

Decimal wherever money is concerned. Speaks in Orders and Refusals; wire formats are elsewhere.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from decimal import Decimal
from typing import Protocol

import msgspec

from cryptosignal.sim.account import (
    CENT8,
    MAKER_FEE,
    TAKER_FEE,
    Account,
    Fill,
    Income,
    Ledger,
    Position,
    max_notional,
)
from cryptosignal.sim.book import Book
from cryptosignal.sim.facts import Facts
from cryptosignal.sim.flow import Flow, Trade
from cryptosignal.sim.listing import Listed
from cryptosignal.sim.margin import Margin
from cryptosignal.sim.matching import Matcher
from cryptosignal.sim.orders import ZERO, Order, OrderWish, Refusal

MAX_NUM_ORDERS = 200
AMENDMENTS_MAX = 10_000
TAKE_BOUND = Decimal("0.05")


class UserOut(Protocol):
    """Where account events go (the private streams)."""

    def order(self, account: Account, order: Order, kind: str, fill: Fill | None) -> None:
        """ORDER_TRADE_UPDATE; with a fill also TRADE_LITE before it."""
        ...

    def balance(
        self, account: Account, reason: str, touched: list[Position], change: Decimal, symbol: str
    ) -> None:
        """ACCOUNT_UPDATE."""
        ...

    def algo_filled(self, account: Account, order: Order) -> None:
        """The child of an algo order executed or ended."""
        ...

    def margin_call(self, account: Account, touched: list[Position]) -> None:
        """MARGIN_CALL."""
        ...

    def forced(self, order: Order) -> None:
        """A liquidation order, for the public forceOrder stream."""
        ...


class Desk:
    """All accounts of one venue."""

    def __init__(
        self, listed: list[Listed], flows: list[Flow], books: list[Book], facts: Facts, out: UserOut
    ) -> None:
        self.listed = listed
        self.flows = flows
        self.books = books
        self.facts = facts
        self.out = out
        self.ledger = Ledger()
        self.accounts: list[Account] = []
        self.margin = Margin(self)
        self.matcher = Matcher(books, flows, self.on_fill, self._on_expire, self._room)
        self.matcher.step_of = lambda index: self.listed[index].step_units
        self.status: dict[int, str] = {}
        self.now_ms = 0
        self._next_order_id = 8_000_000_000
        self._next_tran_id = 500_000_000
        self._next_sequence = 0
        self.fills_seen = 0
        self.forced_orders: OrderedDict[int, Order] = OrderedDict()
        self.on_flat: Callable[[Account, Position], None] = lambda _account, _position: None

    def counters(self) -> tuple[int, ...]:
        """The last order, booking and sequence numbers given."""
        return self._next_order_id, self._next_tran_id, self._next_sequence

    def count_from(self, counters: tuple[int, ...]) -> None:
        """Go on counting where a former process stopped."""
        self._next_order_id, self._next_tran_id, self._next_sequence = counters

    def price(self, index: int, units: int) -> Decimal:
        """Price units as money."""
        return Decimal(units).scaleb(-self.listed[index].price_digits)

    def quantity(self, index: int, units: int) -> Decimal:
        """Quantity units as base amount."""
        return Decimal(units).scaleb(-self.listed[index].qty_digits)

    def mark(self, index: int) -> Decimal:
        """Mark price now."""
        return self.facts.mark_dec(index, self.now_ms)

    def status_of(self, index: int) -> str:
        """exchangeInfo status of a symbol now (BINANCE §2.4)."""
        override = self.status.get(index)
        if override:
            return override
        row, now = self.listed[index], self.now_ms
        if now < row.onboard_ms:
            return "PENDING_TRADING"
        if row.delist_notice_ms and now >= row.delivery_ms:
            return "SETTLING" if now < row.delivery_ms + 3_600_000 else "CLOSE"
        if row.halt_ms <= now < row.halt_until_ms:
            return "TRADING_HALT"
        return "TRADING"

    # --- orders -----------------------------------------------------------------------------

    def check(self, account: Account, wish: OrderWish) -> None:
        """Raise the Refusal that the venue would answer an order with."""
        status = self.status_of(wish.index)
        if status == "CLOSE":
            raise Refusal(-4141, "Symbol is closed.")
        if status != "TRADING":
            raise Refusal(-4140, "Invalid symbol status for opening position.")
        if (wish.index, wish.client_id) in account.open_client_ids:
            raise Refusal(-4116, "ClientOrderId is duplicated.")
        self._check_side(account, wish)
        resting = sum(1 for o in account.open_orders.values() if o.index == wish.index)
        if wish.kind == "LIMIT" and resting >= MAX_NUM_ORDERS:
            raise Refusal(-2025, "Reach max open order limit.")
        if wish.reduce_only or (account.is_hedge and self._reduces(account, wish)):
            self._check_reduce(account, wish)
            return
        self._check_notional(wish)
        self._check_percent(wish)
        self._check_margin(account, wish)

    def _check_side(self, account: Account, wish: OrderWish) -> None:
        if account.is_hedge == (wish.position_side == "BOTH"):
            raise Refusal(-4061, "Order's position side does not match user's setting.")

    def _check_reduce(self, account: Account, wish: OrderWish) -> None:
        held = self.closable(account, wish.index, wish.side, wish.position_side)
        if held <= 0:
            raise Refusal(-2022, "ReduceOnly Order is rejected.")
        if wish.kind == "LIMIT":
            self._check_percent(wish)
            waiting = sum(
                o.left
                for o in account.open_orders.values()
                if o.index == wish.index and o.side == wish.side and o.reduce_only
            )
            if waiting >= held and not wish.close_position:
                raise Refusal(-2022, "ReduceOnly Order is rejected.")
            opposing = sum(
                o.left
                for o in account.open_orders.values()
                if o.index == wish.index
                and (o.side, o.position_side) == (wish.side, wish.position_side)
                and not o.reduce_only
            )
            if opposing >= held and wish.reduce_only and not wish.close_position:
                raise Refusal(
                    -4118,
                    "ReduceOnly Order Failed. Please check your existing position and open orders",
                )

    def _reduces(self, account: Account, wish: OrderWish) -> bool:
        return (wish.position_side, wish.side) in (("LONG", "SELL"), ("SHORT", "BUY"))

    def closable(self, account: Account, index: int, side: str, position_side: str) -> int:
        """Units of the position that an order of `side` would close."""
        position = account.positions.get((index, position_side))
        if position is None or not position.qty:
            return 0
        if (position.qty > 0) == (side == "BUY"):
            return 0
        return int(abs(position.qty).scaleb(self.listed[index].qty_digits))

    def _check_notional(self, wish: OrderWish) -> None:
        row = self.listed[wish.index]
        price = self.price(wish.index, wish.price) if wish.price else self.mark(wish.index)
        if price * self.quantity(wish.index, wish.qty) < row.min_notional:
            raise Refusal(
                -4164,
                f"Order's notional must be no smaller than {row.min_notional} (unless you choose reduce only).",
            )

    def _check_percent(self, wish: OrderWish) -> None:
        row, mark = self.listed[wish.index], self.mark(wish.index)
        high, low = mark * (1 + row.multiplier), mark * (1 - row.multiplier)
        if wish.kind == "MARKET":
            best = self.books[wish.index].best_price(self.now_ms, is_bid=wish.side == "SELL")
            counter = self.price(wish.index, best)
            if not best or (counter > high if wish.side == "BUY" else counter < low):
                raise Refusal(
                    -4131,
                    "The counterparty's best price does not meet the PERCENT_PRICE filter limit.",
                )
            return
        price = self.price(wish.index, wish.price)
        if wish.side == "BUY" and price > high:
            raise Refusal(
                -4016, f"Limit price can't be higher than {high.quantize(row.price_unit)}."
            )
        if wish.side == "SELL" and price < low:
            raise Refusal(-4024, f"Limit price can't be lower than {low.quantize(row.price_unit)}.")

    def _check_margin(self, account: Account, wish: OrderWish) -> None:
        price = self.price(wish.index, wish.price) if wish.price else self.mark(wish.index)
        add = price * self.quantity(wish.index, wish.qty)
        leverage = account.leverage_of(wish.index)
        before = self.symbol_margin(account, wish.index, ZERO, ZERO)
        buy, sell = (add, ZERO) if wish.side == "BUY" else (ZERO, add)
        exposure, after = self._with_extra(account, wish, buy, sell)
        if exposure > max_notional(self.listed[wish.index], leverage):
            raise Refusal(-2027, "Exceeded the maximum allowable position at current leverage.")
        need = after - before + add * TAKER_FEE
        if need > 0 and self.available(account) < need:
            raise Refusal(-2019, "Margin is insufficient.")

    def _with_extra(
        self, account: Account, wish: OrderWish, buy: Decimal, sell: Decimal
    ) -> tuple[Decimal, Decimal]:
        margin = self.symbol_margin(account, wish.index, buy, sell)
        return margin * account.leverage_of(wish.index), margin

    def symbol_margin(self, account: Account, index: int, buy: Decimal, sell: Decimal) -> Decimal:
        """Initial margin of a symbol's positions and orders, with extra notional on top."""
        held = self.position_notional(account, index)
        bids, asks = self.order_notional(account, index)
        worst = max(abs(held + bids + buy), abs(held - asks - sell))
        if account.is_hedge:
            longs = sum(
                (abs(p.qty) for (i, s), p in account.positions.items() if i == index and p.qty),
                ZERO,
            )
            worst = longs * self.mark(index) + bids + asks + buy + sell
        return worst / account.leverage_of(index)

    def position_notional(self, account: Account, index: int) -> Decimal:
        """Signed notional at mark over position sides."""
        total = sum((p.qty for (i, _), p in account.positions.items() if i == index), ZERO)
        return total * self.mark(index) if total else ZERO

    def order_notional(self, account: Account, index: int) -> tuple[Decimal, Decimal]:
        """Notional of open buy and sell orders that do not only reduce."""
        bids = asks = ZERO
        for order in account.open_orders.values():
            if order.index == index and not order.reduce_only:
                value = self.price(index, order.price) * self.quantity(index, order.left)
                bids, asks = (bids + value, asks) if order.is_buy else (bids, asks + value)
        return bids, asks

    def active_indices(self, account: Account) -> list[int]:
        """Symbols with a position or an open order, ascending."""
        held = {i for (i, _), p in account.positions.items() if p.qty}
        return sorted(held | {o.index for o in account.open_orders.values()})

    def available(self, account: Account) -> Decimal:
        """Money free for new orders: cross wallet + cross PnL - initial margins."""
        free = account.cross_wallet
        for position in account.positions.values():
            if position.qty and position.index not in account.isolated_mode:
                free += position.unrealised(self.mark(position.index))
        for index in self.active_indices(account):
            if index in account.isolated_mode:
                bids, asks = self.order_notional(account, index)
                free -= (bids + asks) / account.leverage_of(index)
            else:
                free -= self.symbol_margin(account, index, ZERO, ZERO)
        return max(free, ZERO)

    def place(self, account: Account, wish: OrderWish) -> Order:
        """Check, record, match, rest or expire one order."""
        self.check(account, wish)
        if account.is_hedge and self._reduces(account, wish):
            held = self.closable(account, wish.index, wish.side, wish.position_side)
            wish = msgspec.structs.replace(wish, qty=min(wish.qty, held))
        order = self.new_order(account, wish)
        now = self.now_ms
        if wish.kind == "LIMIT":
            crosses = self.matcher.crosses(order, now)
            if wish.time_in_force in ("GTX", "RPI") and crosses:
                raise Refusal(
                    -5022,
                    "Due to the order could not be executed as maker, the Post Only order will be rejected."
                    " The order will not be recorded in the order history",
                )
            if (
                wish.time_in_force == "FOK"
                and self.matcher.takeable(order, now, order.price) < order.qty
            ):
                raise Refusal(
                    -5021,
                    "Due to the order could not be filled immediately, the FOK order has been rejected."
                    " The order will not be recorded in the order history",
                )
        account.keep(order)
        account.update_ms = now
        self.out.order(account, order, "NEW", None)
        self._work(account, order)
        return order

    def new_order(self, account: Account, wish: OrderWish) -> Order:
        """A fresh order of a wish, not yet known to anybody."""
        self._next_order_id += 1
        self._next_sequence += 1
        return Order(
            account=account.number,
            index=wish.index,
            order_id=self._next_order_id,
            client_id=wish.client_id or f"web_{self._next_order_id}",
            side=wish.side,
            position_side=wish.position_side,
            kind=wish.kind,
            time_in_force=wish.time_in_force,
            qty=wish.qty,
            price=wish.price,
            reduce_only=wish.reduce_only or wish.close_position,
            stp=wish.stp,
            created_ms=self.now_ms,
            update_ms=self.now_ms,
            close_position=wish.close_position,
            price_match=wish.price_match,
            good_till_ms=wish.good_till_ms,
            orig_kind=wish.orig_kind or wish.kind,
            stop_price=wish.stop_price,
            working_type=wish.working_type,
            price_protect=wish.price_protect,
            algo_id=wish.algo_id,
            sequence=self._next_sequence,
        )

    def _work(self, account: Account, order: Order) -> None:
        now = self.now_ms
        if order.kind == "MARKET":
            self.matcher.sweep(order, now, self._take_bound(order))
            if order.is_open and order.left > 0:
                self._on_expire(order, "EXPIRED", "9")
            return
        if self.matcher.crosses(order, now):
            self.matcher.sweep(order, now, order.price)
        if not order.is_open:
            return
        if order.time_in_force in ("IOC", "FOK"):
            self._on_expire(order, "EXPIRED", "2")
        elif order.reduce_only and self._room(order) <= 0:
            self._on_expire(order, "EXPIRED", "4")
        else:
            self.books[order.index].rest(order, now)

    def _take_bound(self, order: Order) -> int:
        row = self.listed[order.index]
        away = 1 + TAKE_BOUND if order.is_buy else 1 - TAKE_BOUND
        return int(self.mark(order.index) * away * 10**row.price_digits)

    def cancel(self, order: Order) -> None:
        """Cancel an open order."""
        account = self.accounts[order.account]
        self.books[order.index].remove(order)
        order.status, order.update_ms = "CANCELED", self.now_ms
        account.finish(order)
        self.out.order(account, order, "CANCELED", None)
        self._algo_done(account, order)

    def amend(self, order: Order, qty: int, price: int, modify_id: int) -> None:
        """Change price or quantity; the order goes to the back of its queue (BINANCE §2.2)."""
        account = self.accounts[order.account]
        if order.amendments >= AMENDMENTS_MAX:
            raise Refusal(
                -5026, "Exceeding the maximum allowed number of amendments for this order."
            )
        if qty == order.qty and price == order.price:
            raise Refusal(-5027, "No need to modify the order.")
        if order.executed and qty <= order.executed:
            self.cancel(order)
            return
        moved = msgspec.structs.replace(order, price=price, qty=qty)
        if order.time_in_force == "GTX" and self.matcher.crosses(moved, self.now_ms):
            self.cancel(order)
            return
        self.books[order.index].remove(order)
        order.qty, order.price, order.stp = qty, price, "NONE"
        order.amendments += 1
        order.modify_id = modify_id
        order.update_ms = self.now_ms
        self.out.order(account, order, "AMENDMENT", None)
        self._work(account, order)

    # --- what matching reports ----------------------------------------------------------------

    def _room(self, order: Order) -> int:
        account = self.accounts[order.account]
        return self.closable(account, order.index, order.side, order.position_side)

    def on_fill(self, order: Order, trade: Trade, is_maker: bool) -> None:
        """Book one execution: position, wallet, fee, history, events."""
        account = self.accounts[order.account]
        price, qty = self.price(order.index, trade.price), self.quantity(order.index, trade.qty)
        rate = MAKER_FEE if is_maker else TAKER_FEE
        fee = (price * qty * rate).quantize(CENT8)
        position = account.position(order.index, order.position_side)
        signed = qty if order.is_buy else -qty
        realised = account.apply(position, signed, price, fee, self.now_ms)
        self.ledger.fees += fee
        self.ledger.realised += realised
        self.fills_seen += 1
        fill = Fill(
            trade_id=trade.first_id,
            order_id=order.order_id,
            client_id=order.client_id,
            index=order.index,
            side=order.side,
            position_side=order.position_side,
            price=price,
            qty=qty,
            realised=realised,
            fee=fee,
            is_maker=is_maker,
            time_ms=self.now_ms,
        )
        account.fills.append(fill)
        if realised:
            self.book_income(account, order.index, "REALIZED_PNL", realised, fill.trade_id)
        self.book_income(account, order.index, "COMMISSION", -fee, fill.trade_id)
        if not order.is_open:
            account.finish(order)
        self.out.order(account, order, "CALCULATED" if order.forced else "TRADE", fill)
        self.out.balance(account, "ORDER", [position], ZERO, "")
        self._algo_done(account, order)
        if not position.qty:
            self._drop_reducers(account, position)
            self.on_flat(account, position)

    def _drop_reducers(self, account: Account, position: Position) -> None:
        """A closed position leaves no reduce-only orders behind (expiry reason 4)."""
        for order in list(account.open_orders.values()):
            same = order.index == position.index and order.position_side == position.side
            if same and order.reduce_only and order.is_open and order.executed < order.qty:
                queue = self.books[order.index].resting[order.is_buy].get(order.price, ())
                if order in queue:
                    self.books[order.index].remove(order)
                    self._on_expire(order, "EXPIRED", "4")

    def _on_expire(self, order: Order, status: str, reason: str) -> None:
        account = self.accounts[order.account]
        order.status, order.expire_reason, order.update_ms = status, reason, self.now_ms
        account.finish(order)
        self.out.order(account, order, "EXPIRED", None)
        self._algo_done(account, order)

    def _algo_done(self, account: Account, order: Order) -> None:
        if order.algo_id:
            self.out.algo_filled(account, order)

    def expire(self, order: Order, reason: str) -> None:
        """End an open order for a reason of the venue's."""
        self.books[order.index].remove(order)
        self._on_expire(order, "EXPIRED", reason)

    def book_income(
        self, account: Account, index: int, kind: str, amount: Decimal, trade_id: int
    ) -> None:
        """One row of the income history."""
        self._next_tran_id += 1
        info = str(trade_id) if trade_id else kind
        account.incomes.append(
            Income(index, kind, amount, self.now_ms, self._next_tran_id, trade_id, info)
        )
