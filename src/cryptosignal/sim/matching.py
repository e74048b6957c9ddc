"""Price-time matching of clients' orders with the ladder, with each other and with the trade flow.

Every fill is a printed trade. What a fill does to money is `sim.account`'s business, reached
through the two callbacks.
"""

from __future__ import annotations

from collections.abc import Callable

from cryptosignal.sim.book import Book
from cryptosignal.sim.flow import Flow, Trade
from cryptosignal.sim.orders import Order

OnFill = Callable[[Order, Trade, bool], None]
"""(order, the printed trade, is_maker): one execution of one order."""
OnExpire = Callable[[Order, str, str], None]
"""(order, status, expiry reason): the venue ended an order."""
Room = Callable[[Order], int]
"""How much of a reduce-only order the position still allows, in quantity units."""


class Matcher:
    """Matching for all symbols."""

    def __init__(
        self, books: list[Book], flows: list[Flow], fill: OnFill, expire: OnExpire, room: Room
    ) -> None:
        self._books = books
        self._flows = flows
        self._fill = fill
        self._expire = expire
        self._room = room
        self.offer_cap: Callable[[Order], int] = lambda _order: 1 << 62
        """A fault: how much of an order one sweep or one passing trade may execute."""
        self.on_print: Callable[[int, Trade], None] = lambda _index, _trade: None
        self.step_of: Callable[[int], int] = lambda _index: 1
        """The quantity step of a symbol's rules, in units: executions of orders keep it."""

    def _stepped(self, order: Order, qty: int) -> int:
        """`qty` in whole steps; all that is left of an order may always go."""
        step = self.step_of(order.index)
        return qty if qty == order.left else qty // step * step

    def crosses(self, order: Order, now_ms: int) -> bool:
        """Whether a limit order would take at once."""
        best = self._books[order.index].best_price(now_ms, is_bid=not order.is_buy)
        return bool(best) and (order.price >= best if order.is_buy else order.price <= best)

    def takeable(self, order: Order, now_ms: int, bound: int) -> int:
        """Quantity available on the other side up to `bound` (0: no bound)."""
        book = self._books[order.index]
        total = 0
        for price, qty in book.side(now_ms, is_bid=not order.is_buy, count=book.listed_levels()):
            if bound and (price > bound if order.is_buy else price < bound):
                break
            total += self._stepped(order, qty)
        return total

    def sweep(self, order: Order, now_ms: int, bound: int) -> None:
        """Execute as a taker against levels no worse than `bound` (0: all there is)."""
        book = self._books[order.index]
        levels = book.side(now_ms, is_bid=not order.is_buy, count=book.listed_levels())
        cap = self.offer_cap(order)
        for price, _ in levels:
            if bound and (price > bound if order.is_buy else price < bound):
                return
            if order.executed >= cap:
                return
            if order.left <= 0 or not order.is_open:
                return
            if not self._take_level(order, book, price, now_ms, cap):
                return

    def _take_level(self, order: Order, book: Book, price: int, now_ms: int, cap: int) -> bool:
        """One price level; False when self-trade prevention ended the taker."""
        is_bid = not order.is_buy
        queue = list(book.resting[is_bid].get(price, ()))
        ladder = book.ladder_at(price, now_ms, is_bid=is_bid)
        for maker in queue:
            front = min(maker.ahead, ladder)
            ladder -= self._take_ladder(order, book, price, front, now_ms)
            if order.left <= 0:
                return True
            if maker.account == order.account and order.stp != "NONE":
                if not self._prevent(order, maker, book):
                    return False
                continue
            self._match(order, maker, price, now_ms)
            if order.left <= 0:
                return True
        self._take_ladder(order, book, price, min(ladder, cap - order.executed), now_ms)
        return True

    def _take_ladder(self, order: Order, book: Book, price: int, offered: int, now_ms: int) -> int:
        qty = self._stepped(order, min(offered, self._allowed(order)))
        if qty <= 0:
            return 0
        book.take(price, qty, now_ms, is_bid=not order.is_buy)
        for maker in book.resting[not order.is_buy].get(price, ()):
            maker.ahead = max(0, maker.ahead - qty)
        trade = self._flows[order.index].print_client(now_ms, price, qty, not order.is_buy)
        self._settle(order, trade, is_maker=False)
        self.on_print(order.index, trade)
        return qty

    def _match(self, taker: Order, maker: Order, price: int, now_ms: int) -> None:
        qty = self._stepped(maker, min(self._allowed(taker), self._allowed(maker)))
        if qty <= 0:
            return
        trade = self._flows[taker.index].print_client(now_ms, price, qty, not taker.is_buy)
        self._settle(maker, trade, is_maker=True)
        self._settle(taker, trade, is_maker=False)
        self.on_print(taker.index, trade)

    def _prevent(self, taker: Order, maker: Order, book: Book) -> bool:
        """Self-trade prevention by the taker's mode; False when the taker ends."""
        if taker.stp in ("EXPIRE_MAKER", "EXPIRE_BOTH"):
            book.remove(maker)
            self._expire(maker, "EXPIRED_IN_MATCH", "1")
        if taker.stp in ("EXPIRE_TAKER", "EXPIRE_BOTH"):
            self._expire(taker, "EXPIRED_IN_MATCH", "1")
            return False
        return True

    def _allowed(self, order: Order) -> int:
        return min(order.left, self._room(order)) if order.reduce_only else order.left

    def _settle(self, order: Order, trade: Trade, *, is_maker: bool) -> None:
        order.executed += trade.qty
        order.paid += trade.qty * trade.price
        order.update_ms = trade.time_ms
        order.status = "FILLED" if order.left <= 0 else "PARTIALLY_FILLED"
        if is_maker and order.left <= 0:
            self._books[order.index].remove(order)
        self._fill(order, trade, is_maker)

    def concerns(self, index: int, price: int, *, is_sell: bool) -> bool:
        """Whether the path's next trade meets a resting order."""
        low, high = self._books[index].hit_prices()
        return (
            price < low
            or price > high
            or (price == low and is_sell)
            or (price == high and not is_sell)
        )

    def meet(self, index: int, now_ms: int) -> None:
        """The path's next trade of a symbol meets the clients' queues; call before it is taken."""
        flow, book = self._flows[index], self._books[index]
        price, qty, is_sell = flow.next_tick()
        for is_bid in (True, False):
            for level in sorted(book.resting[is_bid], reverse=is_bid):
                through = price < level if is_bid else price > level
                if through:
                    self._fill_through(index, book, level, now_ms, is_bid=is_bid)
                elif price == level and is_sell == is_bid:
                    qty = self._queue(index, book, level, qty, now_ms, is_sell=is_sell)
                else:
                    break

    def _fill_through(
        self, index: int, book: Book, level: int, now_ms: int, *, is_bid: bool
    ) -> None:
        """The price went past `level`: whatever rests there was taken on the way."""
        for maker in list(book.resting[is_bid].get(level, ())):
            qty = self._stepped(maker, min(self._allowed(maker), self.offer_cap(maker)))
            if qty > 0:
                trade = self._flows[index].print_client(now_ms, level, qty, is_bid)
                self._settle(maker, trade, is_maker=True)
                self.on_print(index, trade)

    def fill_crossed(self, index: int, best_bid: int, best_ask: int, now_ms: int) -> None:
        """Resting orders that the market's own quotes have passed are filled, at their price."""
        book = self._books[index]
        for is_bid in (True, False):
            for level in sorted(book.resting[is_bid], reverse=is_bid):
                if best_ask < level if is_bid else best_bid > level:
                    self._fill_through(index, book, level, now_ms, is_bid=is_bid)

    def _queue(
        self, index: int, book: Book, level: int, qty: int, now_ms: int, *, is_sell: bool
    ) -> int:
        """The trade's quantity eats what is ahead, then the clients' orders in time order."""
        flow = self._flows[index]
        whole, seen, filled = qty, 0, 0
        for maker in list(book.resting[is_sell].get(level, ())):
            seen = max(seen, maker.ahead)
            maker.ahead = max(0, maker.ahead - whole)
            most = min(whole - seen - filled, self._allowed(maker), self.offer_cap(maker))
            fill = self._stepped(maker, most)
            if fill <= 0:
                continue
            filled += fill
            flow.lend(fill)
            qty -= fill
            trade = flow.print_client(now_ms, level, fill, is_sell, borrowed=fill)
            self._settle(maker, trade, is_maker=True)
            self.on_print(index, trade)
        return qty
