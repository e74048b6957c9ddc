"""Margin, funding and forced closing: liquidation in steps, the insurance fund, deleveraging.

The exact engine is undocumented (BINANCE §8.14): a step goes down to the next lower bracket; what a
bankrupt account lacks comes from the fund, and past the fund from the opposite side (ADL).
"""

from __future__ import annotations

from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import TYPE_CHECKING

from cryptosignal.sim.account import CENT8, TAKER_FEE, Account, Position, bracket_of, maint_margin
from cryptosignal.sim.orders import ZERO, Order, OrderWish

if TYPE_CHECKING:
    from cryptosignal.sim.desk import Desk

CALL_RATIO = Decimal("1.25")
"""Margin balance over maintenance margin below which a MARGIN_CALL is sent."""


class Margin:
    """Forced events of all accounts of a desk."""

    def __init__(self, desk: Desk) -> None:
        self._d = desk
        self._sequence = 0

    def settle_funding(self, index: int, rate: Decimal) -> None:
        """Charge every position of a symbol: quantity x mark x rate, longs pay a positive rate."""
        mark = self._d.mark(index)
        for account in self._d.accounts:
            for (held, _side), position in list(account.positions.items()):
                if held != index or not position.qty:
                    continue
                paid = (-position.qty * mark * rate).quantize(CENT8)
                account.wallet += paid
                account.margin_check_ms = 0
                self._d.ledger.funding += paid
                is_isolated = index in account.isolated_mode
                if is_isolated:
                    position.isolated += paid
                self._d.book_income(account, index, "FUNDING_FEE", paid, 0)
                touched = [position] if is_isolated else []
                self._d.out.balance(
                    account, "FUNDING_FEE", touched, paid, self._d.listed[index].symbol
                )

    def margin_state(self, account: Account) -> tuple[Decimal, Decimal]:
        """(margin balance, maintenance margin) of the cross positions."""
        balance, maint = account.cross_wallet, ZERO
        for position in account.positions.values():
            if not position.qty or position.index in account.isolated_mode:
                continue
            mark = self._d.mark(position.index)
            balance += position.unrealised(mark)
            maint += maint_margin(self._d.listed[position.index], abs(position.qty) * mark)
        return balance, maint

    def check_liquidation(self, account: Account) -> None:
        """Close by force, in steps, what the margin no longer carries."""
        for position in list(account.positions.values()):
            if position.qty and position.index in account.isolated_mode:
                self._check_isolated(account, position)
        held = [
            p for p in account.positions.values() if p.qty and p.index not in account.isolated_mode
        ]
        if not held:
            return
        balance, maint = self.margin_state(account)
        if balance > maint * CALL_RATIO:
            return
        if balance > maint:
            self._d.out.margin_call(account, held)
            return
        for order in list(account.open_orders.values()):
            if not order.reduce_only:
                self._d.cancel(order)
        held.sort(key=lambda p: abs(p.qty) * self._d.mark(p.index), reverse=True)
        for position in held:
            while position.qty and balance <= maint:
                self._step(account, position, balance)
                balance, maint = self.margin_state(account)
            if balance > maint:
                break
        self._cover(account)

    def _check_isolated(self, account: Account, position: Position) -> None:
        while position.qty:
            mark = self._d.mark(position.index)
            need = maint_margin(self._d.listed[position.index], abs(position.qty) * mark)
            margin = position.isolated + position.unrealised(mark)
            if margin > need:
                return
            self._step(account, position, margin)

    def _step(self, account: Account, position: Position, margin: Decimal) -> None:
        """One step: down to the next lower bracket, or all of it; ADL when the fund is exhausted."""
        if -margin > self._d.ledger.insurance and self._deleverage(account, position, margin):
            return
        row, mark = self._d.listed[position.index], self._d.mark(position.index)
        notional = abs(position.qty) * mark
        floor = Decimal(bracket_of(row, notional).floor)
        units = self._units(position)
        if floor and margin > 0:
            units = max(1, min(units, int(units * (1 - floor / notional)) + 1))
        self.force_close(account, position, "autoclose-", units)

    def _units(self, position: Position) -> int:
        return int(abs(position.qty).scaleb(self._d.listed[position.index].qty_digits))

    def _deleverage(self, account: Account, position: Position, margin: Decimal) -> bool:
        """Close a bankrupt position against the most profitable opposite ones at its bankruptcy
        price; false when nobody is on the other side."""
        found = self._opposite(position)
        if not found:
            return False
        price = self._bankruptcy_units(position, margin)
        left = self._units(position)
        for other, held in found:
            units = min(left, self._units(held))
            self.force_close(other, held, "adl_autoclose", units, price)
            self.force_close(account, position, "autoclose-", units, price)
            left -= units
            if not left:
                break
        return True

    def _opposite(self, position: Position) -> list[tuple[Account, Position]]:
        """Positions on the other side, the best return on notional first."""
        mark = self._d.mark(position.index)
        found = [
            (account, held)
            for account in self._d.accounts
            for held in account.positions.values()
            if held.index == position.index and held.qty * position.qty < 0
        ]
        found.sort(key=lambda row: row[1].unrealised(mark) / abs(row[1].qty * mark), reverse=True)
        return found

    def _bankruptcy_units(self, position: Position, margin: Decimal) -> int:
        """The price at which margin and fee are just used up, rounded in the fund's favour."""
        mark, qty = self._d.mark(position.index), position.qty
        price = (qty * mark - margin) / (qty - abs(qty) * TAKER_FEE)
        row = self._d.listed[position.index]
        tick = row.tick_units(self._d.now_ms)
        way = ROUND_CEILING if qty > 0 else ROUND_FLOOR
        ticks = int((price.scaleb(row.price_digits) / tick).to_integral_value(way))
        return max(1, ticks) * tick

    def force_close(
        self,
        account: Account,
        position: Position,
        prefix: str,
        units: int = 0,
        price_units: int = 0,
    ) -> Order | None:
        """A liquidation, ADL or settlement fill: the whole position at the mark unless said otherwise."""
        if not position.qty:
            return None
        index, row = position.index, self._d.listed[position.index]
        tick = row.tick_units(self._d.now_ms)
        mark_units = int(self._d.mark(index).scaleb(row.price_digits)) // tick * tick
        mark_units = price_units or max(tick, mark_units)
        units = units or self._units(position)
        is_adl = prefix.startswith("adl")
        self._sequence += 1
        client_id = (
            "adl_autoclose"
            if is_adl
            else f"{prefix}{self._d.now_ms * 1_000 + self._sequence % 1_000}"
        )
        wish = OrderWish(
            index=index,
            side="SELL" if position.qty > 0 else "BUY",
            position_side=position.side,
            kind="LIMIT",
            time_in_force="GTC" if is_adl else "IOC",
            qty=units,
            price=mark_units,
            reduce_only=False,
            client_id=client_id,
            stp="NONE",
        )
        order = self._d.new_order(account, wish)
        order.forced, order.expire_reason = prefix, "5" if prefix == "autoclose-" else "0"
        account.keep(order)
        order.status = "NEW_ADL" if is_adl else "NEW"
        self._d.out.order(account, order, "NEW", None)
        order.status = "NEW"
        notional = self._d.price(index, mark_units) * self._d.quantity(index, units)
        trade = self._d.flows[index].print_client(
            self._d.now_ms, mark_units, units, order.side == "SELL"
        )
        order.executed, order.paid, order.status = units, units * mark_units, "FILLED"
        self._d.on_fill(order, trade, is_maker=False)
        self._d.matcher.on_print(index, trade)
        if prefix == "autoclose-" and not price_units:
            self._charge_liquidation(account, index, notional)
            self._d.out.forced(order)
        self._d.forced_orders[order.order_id] = order
        if len(self._d.forced_orders) > 1_000:
            self._d.forced_orders.popitem(last=False)
        return order

    def _charge_liquidation(self, account: Account, index: int, notional: Decimal) -> None:
        fee = (notional * self._d.listed[index].liquidation_fee).quantize(CENT8)
        fee = max(ZERO, min(fee, account.cross_wallet))
        account.wallet -= fee
        self._d.ledger.liquidation_fees += fee
        self._d.ledger.insurance += fee
        self._d.book_income(account, index, "INSURANCE_CLEAR", -fee, 0)
        self._d.out.balance(account, "INSURANCE_CLEAR", [], -fee, "")

    def _cover(self, account: Account) -> None:
        """The insurance fund pays what a bankrupt flat account is short of."""
        if account.wallet < 0 and not any(p.qty for p in account.positions.values()):
            missing = -account.wallet
            account.wallet = ZERO
            self._d.ledger.insurance -= missing
            self._d.ledger.insurance_paid += missing
            self._d.book_income(account, 0, "INSURANCE_CLEAR", missing, 0)
            self._d.out.balance(account, "INSURANCE_CLEAR", [], missing, "")
