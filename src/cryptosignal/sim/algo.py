"""The algo service: conditional orders wait here, trigger, and become ordinary orders (BINANCE §2.3)."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

from cryptosignal.sim.account import Account
from cryptosignal.sim.desk import Desk
from cryptosignal.sim.orders import PROFIT_TYPES, STOP_TYPES, Algo, Order, OrderWish, Refusal

OPEN_ALGOS_MAX = 200


class AlgoService:
    """Every untriggered conditional order of the venue."""

    def __init__(self, desk: Desk, on_update: Callable[[Account, Algo], None]) -> None:
        self._desk = desk
        self._on_update = on_update
        self._next_id = 1_000_000_001_000_000
        self.waiting: dict[int, list[Algo]] = {}
        self.reject_trigger: Callable[[Algo], bool] = lambda _algo: False

    def next_id(self) -> int:
        """A fresh algo id."""
        self._next_id += 1
        return self._next_id

    def counters(self) -> tuple[int, ...]:
        """The last id given."""
        return (self._next_id,)

    def count_from(self, counters: tuple[int, ...]) -> None:
        """Go on counting where a former process stopped."""
        (self._next_id,) = counters

    def readmit(self, account: Account, algo: Algo) -> None:
        """An order that a former process accepted: kept, and waiting if it still was."""
        account.keep_algo(algo)
        if algo.is_open:
            self.waiting.setdefault(algo.index, []).append(algo)

    def check(self, account: Account, algo: Algo) -> None:
        """Raise the Refusal that placing `algo` would be answered with."""
        desk = self._desk
        if desk.status_of(algo.index) != "TRADING":
            raise Refusal(-4140, "Invalid symbol status for opening position.")
        if account.is_hedge == (algo.position_side == "BOTH"):
            raise Refusal(-4061, "Order's position side does not match user's setting.")
        open_ = [a for a in account.algos.values() if a.is_open]
        if len(open_) >= OPEN_ALGOS_MAX:
            raise Refusal(-4045, "Reach max stop order limit.")
        if any(a.client_id == algo.client_id for a in open_):
            raise Refusal(-4116, "ClientOrderId is duplicated.")
        if algo.time_in_force == "GTE_GTC" and not self._has_reason(account, algo):
            raise Refusal(
                -4509,
                "Time in Force (TIF) GTE can only be used with open positions or open orders."
                " Please ensure that positions are available.",
            )
        if algo.close_position:
            self._check_close(open_, algo)
        if algo.kind in ("STOP", "TAKE_PROFIT"):
            self._check_caps(algo)
        if algo.kind == "TRAILING_STOP_MARKET":
            self._check_activation(algo)
        elif self._fires(algo, self._reference(algo)):
            raise Refusal(-2021, "Order would immediately trigger.")

    def _check_close(self, open_: list[Algo], algo: Algo) -> None:
        family = STOP_TYPES if algo.kind in STOP_TYPES else PROFIT_TYPES
        for other in open_:
            same = (other.index, other.side, other.position_side) == (
                algo.index,
                algo.side,
                algo.position_side,
            )
            if same and other.close_position and other.kind in family:
                raise Refusal(
                    -4130,
                    "An open stop or take profit order with GTE and closePosition in the direction is existing.",
                )

    @staticmethod
    def _has_reason(account: Account, algo: Algo) -> bool:
        """A position or an open order that a GTE order can depend on."""
        held = account.positions.get((algo.index, algo.position_side))
        return bool(held and held.qty) or any(
            o.index == algo.index for o in account.open_orders.values()
        )

    def _check_caps(self, algo: Algo) -> None:
        """The limit price lies within PERCENT_PRICE of the trigger (BINANCE §6)."""
        away = self._desk.listed[algo.index].multiplier
        if algo.is_buy and algo.price > algo.trigger * (1 + away):
            raise Refusal(-4183, "Price is higher than stop price multiplier cap.")
        if not algo.is_buy and algo.price < algo.trigger * (1 - away):
            raise Refusal(-4184, "Price is lower than stop price multiplier floor.")

    def _check_activation(self, algo: Algo) -> None:
        last = self._desk.flows[algo.index].last_price
        if algo.activate and (algo.activate >= last if algo.is_buy else algo.activate <= last):
            raise Refusal(-4135, "Activation price is invalid.")

    def add(self, account: Account, algo: Algo) -> None:
        """Accept a checked algo order."""
        if algo.kind == "TRAILING_STOP_MARKET":
            last = self._desk.flows[algo.index].last_price
            algo.is_active = not algo.activate
            algo.extreme = last
        account.keep_algo(algo)
        self.waiting.setdefault(algo.index, []).append(algo)
        self._on_update(account, algo)

    def cancel(self, algo: Algo, status: str = "CANCELED", reason: str = "") -> None:
        """End an untriggered algo order."""
        self._leave(algo)
        algo.status, algo.reason, algo.update_ms = status, reason, self._desk.now_ms
        self._on_update(self._desk.accounts[algo.account], algo)

    def position_closed(self, account: Account, index: int, side: str) -> None:
        """GTE orders live no longer than the position they depend on (BINANCE §2.3, §5)."""
        for algo in list(self.waiting.get(index, ())):
            mine = (algo.account, algo.position_side) == (account.number, side)
            if mine and algo.is_open and algo.time_in_force == "GTE_GTC":
                self.cancel(algo, "EXPIRED", "GTE order expired: the position is closed")

    def run_out(self, account: Account, algo_id: int) -> None:
        """A GTD order that has not triggered ends at its time."""
        algo = account.algos.get(algo_id)
        if algo is not None and algo.is_open:
            self.cancel(algo, "EXPIRED", "Order expired at goodTillDate")

    def vanish(self, algo: Algo, now_ms: int) -> None:
        """A fault: the order is gone and nobody is told."""
        self._leave(algo)
        algo.status, algo.update_ms = "EXPIRED", now_ms

    def _leave(self, algo: Algo) -> None:
        queue = self.waiting.get(algo.index, [])
        if algo in queue:
            queue.remove(algo)
            if not queue:
                del self.waiting[algo.index]

    def hit_prices(self, index: int) -> tuple[int, int]:
        """Trades outside these two prices may trigger something (widened for marks)."""
        low, high = -1, 1 << 60
        last = self._desk.flows[index].last_price
        for algo in self.waiting.get(index, ()):
            if algo.kind == "TRAILING_STOP_MARKET":
                return 1 << 60, -1
            if algo.working_type == "MARK_PRICE":
                continue
            if self._rises(algo):
                high = min(high, algo.trigger)
            else:
                low = max(low, algo.trigger)
        return (low, high) if low < last < high else (1 << 60, -1)

    def on_mark(self) -> list[int]:
        """Symbols with conditional orders on the mark price, ascending."""
        return sorted(
            index
            for index, queue in self.waiting.items()
            if any(a.working_type == "MARK_PRICE" for a in queue)
        )

    def may_fire(self, index: int) -> bool:
        """Whether the price of now is due to do anything to a symbol's conditional orders."""
        return any(
            algo.kind == "TRAILING_STOP_MARKET" or self._fires(algo, self._reference(algo))
            for algo in self.waiting.get(index, ())
        )

    @staticmethod
    def _rises(algo: Algo) -> bool:
        return algo.is_buy == (algo.kind in STOP_TYPES)

    def _reference(self, algo: Algo) -> float:
        """The price that triggers an order, in price units; a mark lies between ticks."""
        if algo.working_type == "MARK_PRICE":
            row = self._desk.listed[algo.index]
            mark = self._desk.facts.mark_price(algo.index, self._desk.now_ms)
            return mark * 10.0**row.price_digits
        return self._desk.flows[algo.index].last_price

    def _fires(self, algo: Algo, price: float) -> bool:
        return price >= algo.trigger if self._rises(algo) else price <= algo.trigger

    def look(self, index: int) -> None:
        """The price of a symbol moved: trigger what is due."""
        for algo in list(self.waiting.get(index, ())):
            if algo.is_open and self._is_due(algo) and not self._is_protected(algo):
                self.trigger(algo)

    def _is_due(self, algo: Algo) -> bool:
        price = self._reference(algo)
        if algo.kind != "TRAILING_STOP_MARKET":
            return self._fires(algo, price)
        if not algo.is_active:
            algo.is_active = price <= algo.activate if algo.is_buy else price >= algo.activate
            if algo.is_active:
                algo.extreme = price
                self._on_update(self._desk.accounts[algo.account], algo)
            return False
        algo.extreme = min(algo.extreme, price) if algo.is_buy else max(algo.extreme, price)
        share = float(algo.callback_rate) / 100
        if algo.is_buy:
            return price >= algo.extreme * (1 + share)
        return price <= algo.extreme * (1 - share)

    def _is_protected(self, algo: Algo) -> bool:
        """priceProtect: no trigger while mark and last are too far apart."""
        if not algo.price_protect:
            return False
        mark = self._desk.mark(algo.index)
        last = self._desk.price(algo.index, self._desk.flows[algo.index].last_price)
        return abs(mark - last) / last > self._desk.listed[algo.index].trigger_protect

    def trigger(self, algo: Algo) -> None:
        """TRIGGERING, then the ordinary order, then TRIGGERED and what follows from its fills."""
        desk = self._desk
        account = desk.accounts[algo.account]
        self._leave(algo)
        algo.trigger_ms = algo.update_ms = desk.now_ms
        algo.status = "TRIGGERING"
        self._on_update(account, algo)
        algo.actual_kind = "LIMIT" if algo.kind in ("STOP", "TAKE_PROFIT") else "MARKET"
        try:
            self._convert(account, algo)
        except Refusal as refusal:
            algo.status, algo.reason = "REJECTED", _reason_of(refusal)
            self._on_update(account, algo)

    def _convert(self, account: Account, algo: Algo) -> None:
        desk = self._desk
        if self.reject_trigger(algo):
            raise Refusal(-2019, "Margin is insufficient.")
        qty = algo.qty
        if algo.close_position or algo.reduce_only:
            held = desk.closable(account, algo.index, algo.side, algo.position_side)
            if held <= 0:
                raise Refusal(-2022, "ReduceOnly Order is rejected.")
            qty = held if algo.close_position else min(qty, held)
        client_id = algo.client_id
        wish = OrderWish(
            index=algo.index,
            side=algo.side,
            position_side=algo.position_side,
            kind=algo.actual_kind,
            time_in_force="GTC" if algo.time_in_force == "GTE_GTC" else algo.time_in_force,
            qty=qty,
            price=algo.price if algo.actual_kind == "LIMIT" else 0,
            reduce_only=algo.reduce_only or algo.close_position,
            client_id=client_id,
            stp=algo.stp,
            close_position=algo.close_position,
            stop_price=algo.trigger,
            working_type=algo.working_type,
            price_protect=algo.price_protect,
            orig_kind=algo.kind,
            algo_id=algo.algo_id,
            good_till_ms=algo.good_till_ms,
            price_match=algo.price_match,
        )
        algo.status = "TRIGGERED"
        order = desk.place(account, wish)
        algo.order_id = algo.order_id or order.order_id

    def child_event(self, account: Account, order: Order) -> None:
        """The ordinary order of an algo was accepted, executed or ended."""
        algo = account.algos.get(order.algo_id)
        if algo is None:
            return
        if not algo.order_id:
            algo.order_id = order.order_id
            algo.update_ms = self._desk.now_ms
            self._on_update(account, algo)
        algo.executed, algo.paid = order.executed, order.paid
        if not order.is_open:
            algo.status, algo.update_ms = "FINISHED", self._desk.now_ms
            self._on_update(account, algo)


def _reason_of(refusal: Refusal) -> str:
    return "Reduce Only reject" if refusal.code == -2022 else refusal.message


def check_callback_rate(rate: Decimal) -> Decimal:
    """A trailing stop's callback rate in percent, 0.1 to 20 (BINANCE §1, 2026-10-23)."""
    if not Decimal("0.1") <= rate <= 20:
        raise Refusal(-2007, "Invalid callBack rate.")
    return rate
