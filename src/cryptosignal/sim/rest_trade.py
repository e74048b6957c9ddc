"""REST orders (BINANCE §2.3): reading a request, its checks in the venue's order, replies."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec

from cryptosignal.ground.units import DAY_MS
from cryptosignal.sim.account import Account
from cryptosignal.sim.dialect_rest import (
    forced_order,
    listed_order,
    placed,
    price_text,
    qty_text,
    queried,
    trade_row,
)
from cryptosignal.sim.exchange import Exchange
from cryptosignal.sim.orders import ALGO_TYPES, Order, OrderWish, Refusal
from cryptosignal.sim.params import Params, missing

Json = Any
SIDES = ("BUY", "SELL")
POSITION_SIDES = ("BOTH", "LONG", "SHORT")
TIMES_IN_FORCE = ("GTC", "IOC", "FOK", "GTX", "GTD", "RPI", "GTE_GTC")
STP_MODES = ("NONE", "EXPIRE_TAKER", "EXPIRE_MAKER", "EXPIRE_BOTH")
PRICE_MATCHES = (
    "NONE",
    "OPPONENT",
    "OPPONENT_5",
    "OPPONENT_10",
    "OPPONENT_20",
    "QUEUE",
    "QUEUE_5",
    "QUEUE_10",
    "QUEUE_20",
)
WORKING_TYPES = ("CONTRACT_PRICE", "MARK_PRICE")
BATCH_MAX = 5
CANCEL_BATCH_MAX = 10
WEEK_MS = 7 * DAY_MS
FORGET_MS = 3 * DAY_MS
GOOD_TILL_AHEAD_MS = 600_000
_LISTS = {"orderidlist": "orderIdList", "origclientorderidlist": "origClientOrderIdList"}
"""A common client spells the two lists of a batch cancel in small letters, and is served."""


class OrderDesk:
    """Answers of the order endpoints; every method takes the account and Params."""

    def __init__(self, exchange: Exchange) -> None:
        self._x = exchange
        self._d = exchange.desk

    def index(self, params: Params) -> int:
        """The symbol asked for; -1121 when unknown."""
        found = self._x.index_of.get(params.text("symbol"))
        if found is None:
            raise Refusal(-1121, "Invalid symbol.")
        return found

    # --- units ------------------------------------------------------------------------------------

    def qty_units(self, index: int, params: Params, *, market: bool, name: str = "quantity") -> int:
        """A quantity checked against (MARKET_)LOT_SIZE."""
        row, value = self._x.listed[index], params.decimal(name)
        if value <= 0:
            raise Refusal(-4003, "Quantity less than or equal to zero.")
        if _decimals(value) > row.qty_digits:
            raise Refusal(-1111, "Precision is over the maximum defined for this asset.")
        if value > (row.market_qty_max if market else row.qty_max):
            raise Refusal(-4005, "Quantity greater than max quantity.")
        units = int(value.scaleb(row.qty_digits))
        if units < row.step_units:
            raise Refusal(-4004, "Quantity less than min quantity.")
        if units % row.step_units:
            raise Refusal(-4023, "Qty not increased by step size.")
        return units

    def price_units(self, index: int, params: Params, name: str = "price") -> int:
        """A price checked against PRICE_FILTER."""
        row, value = self._x.listed[index], params.decimal(name)
        if value <= 0:
            raise Refusal(-4001, "Price less than 0.")
        if _decimals(value) > row.price_precision:
            raise Refusal(-1111, "Precision is over the maximum defined for this asset.")
        tick = Decimal(row.tick_units(self._x.now_ms)).scaleb(-row.price_digits)
        if value < tick:
            raise Refusal(-4013, "Price less than min price.")
        if value > max(200, int(row.anchor_price * 1_000)):
            raise Refusal(-4002, "Price greater than max price.")
        if value % tick:
            raise Refusal(-4014, "Price not increased by tick size.")
        return int(value.scaleb(row.price_digits))

    def matched_price(self, index: int, params: Params, side: str) -> tuple[int, str]:
        """Price from `price` or `priceMatch`; exactly one of them."""
        match = params.choice("priceMatch", PRICE_MATCHES, -5038, "priceMatch", "NONE")
        if match == "NONE":
            return self.price_units(index, params), match
        if params.has("price"):
            raise Refusal(-5037, "Price and priceMatch cannot be sent together.")
        word, _, level = match.partition("_")
        is_bid = (side == "BUY") == (word == "QUEUE")
        rows = self._x.books[index].side(self._x.now_ms, is_bid=is_bid, count=int(level or 1))
        if not rows:
            raise Refusal(-5041, "No depth matches this price match.")
        tick = self._x.listed[index].tick_units(self._x.now_ms)
        return rows[-1][0] // tick * tick, match

    # --- ordinary orders --------------------------------------------------------------------------

    def wish(self, account: Account, params: Params) -> OrderWish:
        """Read and check the form of POST /fapi/v1/order."""
        index = self.index(params)
        side = params.choice("side", SIDES, -1117, "side")
        kind = params.text("type")
        if kind in ALGO_TYPES:
            raise Refusal(
                -4120,
                "Order type not supported for this endpoint. Please use the Algo Order API endpoints instead.",
            )
        if kind not in ("LIMIT", "MARKET"):
            raise Refusal(-1116, "Invalid orderType.")
        if params.has("reduceOnly") and account.is_hedge:
            raise Refusal(-1106, "Parameter 'reduceonly' sent when not required.")
        unneeded = ("timeInForce", "price", "stopPrice") if kind == "MARKET" else ("stopPrice",)
        for name in unneeded:
            if params.has(name):
                raise Refusal(-1106, f"Parameter '{name.lower()}' sent when not required.")
        force = "GTC"
        if kind == "LIMIT":
            force = params.choice("timeInForce", TIMES_IN_FORCE[:6], -1115, "timeInForce")
        qty = self.qty_units(index, params, market=kind == "MARKET")
        price, match = (0, "NONE") if kind == "MARKET" else self.matched_price(index, params, side)
        return OrderWish(
            index=index,
            side=side,
            position_side=params.choice(
                "positionSide", POSITION_SIDES, -4060, "positionSide", "BOTH"
            ),
            kind=kind,
            time_in_force=force,
            qty=qty,
            price=price,
            reduce_only=params.flag("reduceOnly"),
            client_id=params.client_id("newClientOrderId"),
            stp=params.choice(
                "selfTradePreventionMode",
                STP_MODES,
                -5039,
                "selfTradePreventionMode",
                "EXPIRE_MAKER",
            ),
            good_till_ms=self.good_till(params, force),
            price_match=match,
        )

    def good_till(self, params: Params, force: str) -> int:
        """When a GTD order ends, 0 for all others."""
        if force != "GTD":
            return 0
        until = params.number("goodTillDate") // 1_000 * 1_000
        if until <= self._x.now_ms + GOOD_TILL_AHEAD_MS:
            raise Refusal(
                -5040,
                "The goodTillDate timestamp must be greater than current time plus 600 seconds.",
            )
        return until

    def place(self, account: Account, params: Params) -> Json:
        """POST /fapi/v1/order."""
        params.choice("newOrderRespType", ("ACK", "RESULT"), -1130, "newOrderRespType", "ACK")
        order = self._place(account, self.wish(account, params))
        reply = placed(self._d, order)
        if params.text("newOrderRespType", "ACK") == "ACK" and order.kind == "MARKET":
            reply.update(status="NEW", executedQty=qty_text(self._x.listed[order.index], 0))
            reply["cumQty"] = reply["executedQty"]
        return reply

    def _place(self, account: Account, wish: OrderWish) -> Order:
        index = wish.index
        self._x.flows[index].skip_to(self._x.now_ms)
        try:
            order = self._d.place(account, wish)
        finally:
            self._x.touched(index)
        if order.good_till_ms:
            self._x.agenda.at(order.good_till_ms, self._good_till_due, order.order_id)
        return order

    def place_by_hand(self, account: Account, index: int, side: str) -> bool:
        """A small market order as the owner would place it on the website; False if refused."""
        row = self._x.listed[index]
        units = int(Decimal(row.min_notional * 3) / self._d.mark(index) * 10**row.qty_digits) + 1
        units = -(-units // row.step_units) * row.step_units
        wish = OrderWish(
            index=index,
            side=side,
            position_side="BOTH",
            kind="MARKET",
            time_in_force="GTC",
            qty=units,
            price=0,
            reduce_only=False,
            client_id="",
        )
        try:
            self._place(account, wish)
        except Refusal:
            return False
        return True

    def _good_till_due(self, now: int, order_id: int) -> None:
        self._d.now_ms = now
        for account in self._d.accounts:
            order = account.open_orders.get(order_id)
            if order is not None:
                self._d.expire(order, "0")

    def test(self, account: Account, params: Params) -> Json:
        """POST /fapi/v1/order/test: checks only; the order that would have been, under id 0."""
        wish = self.wish(account, params)
        self._d.check(account, wish)
        order = self._d.new_order(account, wish)
        shown = placed(self._d, order) | queried(self._d, order)
        return {**shown, "orderId": 0}

    def find(
        self, account: Account, params: Params, code: int, text: str, *, only_open: bool
    ) -> Order:
        """An order by orderId or origClientOrderId; the newest with that client id."""
        index = self.index(params)
        if params.has("orderId"):
            order = account.orders.get(params.number("orderId"))
        elif params.has("origClientOrderId"):
            client_id = params.text("origClientOrderId")
            order = account.open_client_ids.get((index, client_id))
            if order is None and not only_open:
                found = [
                    o
                    for o in account.orders.values()
                    if o.client_id == client_id and o.index == index
                ]
                order = max(found, key=lambda o: o.sequence, default=None)
        else:
            raise Refusal(-1102, "Either orderId or origClientOrderId must be sent.")
        if order is None or order.index != index or (only_open and not order.is_open):
            raise Refusal(code, text)
        if self._is_forgotten(order):
            raise Refusal(code, text)
        return order

    def _is_forgotten(self, order: Order) -> bool:
        """Ended without a fill more than 3 days ago, or 90 days old: gone from queries."""
        if order.is_open:
            return False
        age = self._x.now_ms - order.update_ms
        return age > 90 * DAY_MS or (not order.executed and age > FORGET_MS)

    def cancel(self, account: Account, params: Params) -> Json:
        """DELETE /fapi/v1/order."""
        order = self.find(account, params, -2011, "Unknown order sent.", only_open=True)
        self._d.cancel(order)
        self._x.touched(order.index)
        return placed(self._d, order)

    def query(self, account: Account, params: Params) -> Json:
        """GET /fapi/v1/order."""
        return queried(
            self._d, self.find(account, params, -2013, "Order does not exist.", only_open=False)
        )

    def query_open(self, account: Account, params: Params) -> Json:
        """GET /fapi/v1/openOrder."""
        return queried(
            self._d, self.find(account, params, -2013, "Order does not exist.", only_open=True)
        )

    def open_orders(self, account: Account, params: Params) -> Json:
        """GET /fapi/v1/openOrders."""
        index = self.index(params) if params.has("symbol") else -1
        return [queried(self._d, o) for o in account.open_orders.values() if index in (-1, o.index)]

    def all_orders(self, account: Account, params: Params) -> Json:
        """GET /fapi/v1/allOrders."""
        index = self.index(params) if params.has("symbol") else -1
        limit = min(params.number("limit", 500), 1_000)
        start, end = self.span(params)
        first_id = params.number("orderId", 0)
        found = [
            o
            for o in account.orders.values()
            if index in (-1, o.index) and not self._is_forgotten(o) and o.order_id >= first_id
        ]
        if not first_id:
            found = [o for o in found if start <= o.created_ms <= end]
        found.sort(key=lambda o: o.order_id)
        return [listed_order(self._d, o) for o in (found[:limit] if first_id else found[-limit:])]

    def span(self, params: Params) -> tuple[int, int]:
        """The time range asked for, at most seven days."""
        now = self._x.now_ms
        end = params.number("endTime", now)
        start = params.number("startTime", max(0, end - WEEK_MS))
        if end - start > WEEK_MS:
            raise Refusal(-4165, "Invalid time interval: the maximum is 7 days.")
        return start, end

    def amend(self, account: Account, params: Params) -> Json:
        """PUT /fapi/v1/order: LIMIT only, loses its place in the queue."""
        order = self.find(account, params, -2013, "Order does not exist.", only_open=True)
        if order.kind != "LIMIT":
            raise Refusal(-5025, "Only limit order is supported.")
        side = params.choice("side", SIDES, -1117, "side")
        if side != order.side:
            raise Refusal(-5024, "Symbol or side does not match the order.")
        qty = self.qty_units(order.index, params, market=False)
        price, _ = self.matched_price(order.index, params, side)
        row = self._x.listed[order.index]
        value = self._d.price(order.index, price) * self._d.quantity(order.index, qty)
        if value < row.min_notional and not order.reduce_only:
            raise Refusal(-5029, f"Order's notional must be no smaller than {row.min_notional}.")
        before = (order.price, order.qty)
        self._d.amend(order, qty, price, params.number("modifyId", 0))
        self._note_amendment(account, order, before)
        self._x.touched(order.index)
        reply = {**placed(self._d, order), "pair": self._x.listed[order.index].symbol}
        if order.modify_id:
            reply["modifyId"] = order.modify_id
        return reply

    def _note_amendment(self, account: Account, order: Order, before: tuple[int, int]) -> None:
        row = self._x.listed[order.index]
        named = {"modifyId": order.modify_id} if order.modify_id else {}
        account.amendments.append(
            {
                "amendmentId": 5_000 + len(account.amendments),
                "symbol": row.symbol,
                "pair": row.symbol,
                "orderId": order.order_id,
                "clientOrderId": order.client_id,
                "time": self._x.now_ms,
                "amendment": {
                    "price": {
                        "before": price_text(row, before[0]),
                        "after": price_text(row, order.price),
                    },
                    "origQty": {
                        "before": qty_text(row, before[1]),
                        "after": qty_text(row, order.qty),
                    },
                    "count": order.amendments,
                    **named,
                },
                "priceMatch": order.price_match,
            }
        )

    def amendments(self, account: Account, params: Params) -> Json:
        """GET /fapi/v1/orderAmendment."""
        order = self.find(account, params, -2013, "Order does not exist.", only_open=False)
        return [a for a in account.amendments if a["orderId"] == order.order_id]

    def _batch(self, params: Params, name: str, limit: int) -> list[Any]:
        try:
            rows = msgspec.json.decode(params.text(name).encode())
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise missing(name) from None
        if not isinstance(rows, list) or not rows:
            raise missing(name)
        if len(rows) > limit:
            raise Refusal(-4082, "Invalid number of batch place orders.")
        return rows

    def place_batch(self, account: Account, params: Params) -> Json:
        """POST /fapi/v1/batchOrders: each on its own, results in order."""
        return [
            self._each(account, row, self.place)
            for row in self._batch(params, "batchOrders", BATCH_MAX)
        ]

    def amend_batch(self, account: Account, params: Params) -> Json:
        """PUT /fapi/v1/batchOrders."""
        return [
            self._each(account, row, self.amend)
            for row in self._batch(params, "batchOrders", BATCH_MAX)
        ]

    def cancel_batch(self, account: Account, params: Params) -> Json:
        """DELETE /fapi/v1/batchOrders."""
        symbol = params.text("symbol")
        params = Params({_LISTS.get(k.lower(), k): v for k, v in params.values.items()})
        by_client = params.has("origClientOrderIdList")
        name = "origClientOrderIdList" if by_client else "orderIdList"
        key = "origClientOrderId" if by_client else "orderId"
        rows = self._batch(params, name, CANCEL_BATCH_MAX)
        return [self._each(account, {"symbol": symbol, key: row}, self.cancel) for row in rows]

    @staticmethod
    def _each(account: Account, row: Any, act: Any) -> Json:
        if not isinstance(row, dict):
            return {
                "code": -1102,
                "msg": "Mandatory parameter was not sent, was empty/null, or malformed.",
            }
        values = {k: str(v).lower() if isinstance(v, bool) else str(v) for k, v in row.items()}
        try:
            return act(account, Params(values))
        except Refusal as refusal:
            return {"code": refusal.code, "msg": refusal.message}

    def cancel_all(self, account: Account, params: Params) -> Json:
        """DELETE /fapi/v1/allOpenOrders: algo orders are not touched."""
        index = self.index(params)
        for order in [o for o in account.open_orders.values() if o.index == index]:
            self._d.cancel(order)
        self._x.touched(index)
        return {"code": 200, "msg": "The operation of cancel all open order is done."}

    def countdown(self, account: Account, params: Params) -> Json:
        """POST /fapi/v1/countdownCancelAll."""
        index, span = self.index(params), params.number("countdownTime")
        if span < 0:
            raise missing("countdownTime")
        account.countdown_ms.pop(index, None)
        if span:
            due = (self._x.now_ms + span + 9) // 10 * 10
            account.countdown_ms[index] = due
            self._x.agenda.at(due, self._countdown_due, account.number * 1_000_000 + index)
        return {"symbol": self._x.listed[index].symbol, "countdownTime": str(span)}

    def _countdown_due(self, now: int, code: int) -> None:
        account, index = self._d.accounts[code // 1_000_000], code % 1_000_000
        if account.countdown_ms.get(index) != now:
            return
        self._d.now_ms = now
        del account.countdown_ms[index]
        for order in [o for o in account.open_orders.values() if o.index == index]:
            self._d.cancel(order)
        if self._x.settings.countdown_takes_algos:
            for algo in [a for a in account.algos.values() if a.is_open and a.index == index]:
                self._x.algos.cancel(algo)
            self._x.arm(index)
        self._x.touched(index)

    def trades(self, account: Account, params: Params) -> Json:
        """GET /fapi/v1/userTrades."""
        index = self.index(params)
        limit = min(params.number("limit", 500), 1_000)
        found = [f for f in account.fills if f.index == index]
        if params.has("orderId"):
            wanted = params.number("orderId")
            found = [f for f in found if f.order_id == wanted]
        if params.has("fromId"):
            first = params.number("fromId")
            return [
                trade_row(self._d, f) for f in [f for f in found if f.trade_id >= first][:limit]
            ]
        start, end = self.span(params)
        found = [f for f in found if start <= f.time_ms <= end]
        picked = found[:limit] if params.has("startTime") else found[-limit:]
        return [trade_row(self._d, f) for f in picked]

    def forced(self, account: Account, params: Params) -> Json:
        """GET /fapi/v1/forceOrders."""
        index = self.index(params) if params.has("symbol") else -1
        prefix = {"LIQUIDATION": "autoclose-", "ADL": "adl_autoclose"}.get(
            params.text("autoCloseType", ""), ""
        )
        limit = min(params.number("limit", 50), 100)
        found = [
            o
            for o in self._d.forced_orders.values()
            if o.account == account.number
            and index in (-1, o.index)
            and o.forced.startswith(prefix)
        ]
        return [forced_order(self._d, o) for o in found[-limit:]]


def _decimals(value: Decimal) -> int:
    """Digits after the point, trailing zeros not counted."""
    exponent = value.normalize().as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0
