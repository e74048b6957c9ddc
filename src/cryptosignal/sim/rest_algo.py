"""REST algo orders (BINANCE §2.3): placing, cancelling and reading conditional orders."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from cryptosignal.sim.account import Account
from cryptosignal.sim.algo import check_callback_rate
from cryptosignal.sim.dialect_rest import algo_placed, algo_queried
from cryptosignal.sim.exchange import Exchange
from cryptosignal.sim.orders import ALGO_OPEN, ALGO_TYPES, Algo, Refusal
from cryptosignal.sim.params import Params
from cryptosignal.sim.rest_trade import (
    POSITION_SIDES,
    SIDES,
    STP_MODES,
    TIMES_IN_FORCE,
    WORKING_TYPES,
    OrderDesk,
)

Json = Any


class AlgoDesk:
    """Answers of the algo endpoints; every method takes the account and Params."""

    def __init__(self, exchange: Exchange, orders: OrderDesk) -> None:
        self._x = exchange
        self._d = exchange.desk
        self._orders = orders

    def place(self, account: Account, params: Params) -> Json:
        """POST /fapi/v1/algoOrder."""
        if params.text("algoType") != "CONDITIONAL":
            raise Refusal(-1130, "Data sent for parameter 'algoType' is not valid.")
        index = self._orders.index(params)
        self._x.flows[index].skip_to(self._x.now_ms)
        algo = self._algo(account, params, index)
        self._x.algos.check(account, algo)
        if self._x.settings.stop_needs_position and algo.reduce_only:
            held = self._d.closable(account, index, algo.side, algo.position_side)
            if held <= 0:
                raise Refusal(-2022, "ReduceOnly Order is rejected.")
        self._x.algos.add(account, algo)
        self._x.arm(index)
        if algo.working_type == "MARK_PRICE":
            self._x.watch_mark()
        if algo.good_till_ms:
            self._x.agenda.at(
                algo.good_till_ms,
                lambda now, _: self._good_till_due(now, account, algo),
            )
        return algo_placed(self._d, algo)

    def _good_till_due(self, now: int, account: Account, algo: Algo) -> None:
        self._d.now_ms = now
        self._x.algos.run_out(account, algo.algo_id)
        self._x.arm(algo.index)

    def _algo(self, account: Account, params: Params, index: int) -> Algo:
        kind = params.text("type")
        if kind not in ALGO_TYPES:
            raise Refusal(-1116, "Invalid orderType.")
        side = params.choice("side", SIDES, -1117, "side")
        close = params.flag("closePosition")
        if close and kind not in ("STOP_MARKET", "TAKE_PROFIT_MARKET"):
            raise Refusal(
                -4136, "Target strategy invalid for orderType, closePosition is not supported."
            )
        if close and params.has("quantity"):
            raise Refusal(-4137, "Quantity must be zero with closePosition equals true.")
        if close and params.has("reduceOnly"):
            raise Refusal(-4138, "Reduce only must be true with close position.")
        if params.has("reduceOnly") and account.is_hedge:
            raise Refusal(-1106, "Parameter 'reduceonly' sent when not required.")
        trailing, limit = kind == "TRAILING_STOP_MARKET", kind in ("STOP", "TAKE_PROFIT")
        force = params.choice("timeInForce", TIMES_IN_FORCE, -1115, "timeInForce", "GTC")
        price, match = self._orders.matched_price(index, params, side) if limit else (0, "NONE")
        algo_id = self._x.algos.next_id()
        now = self._x.now_ms
        return Algo(
            account=account.number,
            index=index,
            algo_id=algo_id,
            client_id=params.client_id("clientAlgoId") or f"algo_{algo_id}",
            side=side,
            position_side=params.choice(
                "positionSide", POSITION_SIDES, -4060, "positionSide", "BOTH"
            ),
            kind=kind,
            time_in_force="GTE_GTC" if close else force,
            qty=0 if close else self._orders.qty_units(index, params, market=not limit),
            price=price,
            trigger=0 if trailing else self._orders.price_units(index, params, "triggerPrice"),
            working_type=params.choice(
                "workingType", WORKING_TYPES, -4022, "workingType", "CONTRACT_PRICE"
            ),
            price_match=match,
            close_position=close,
            price_protect=params.flag("priceProtect"),
            reduce_only=params.flag("reduceOnly"),
            activate=self._orders.price_units(index, params, "activatePrice")
            if params.has("activatePrice")
            else 0,
            callback_rate=check_callback_rate(params.decimal("callbackRate"))
            if trailing
            else Decimal(0),
            stp=params.choice(
                "selfTradePreventionMode",
                STP_MODES,
                -5039,
                "selfTradePreventionMode",
                "EXPIRE_MAKER",
            ),
            good_till_ms=self._orders.good_till(params, force),
            created_ms=now,
            update_ms=now,
            visible_ms=now + self._x.settings.algo_ack_lag_ms,
        )

    def _find(
        self, account: Account, params: Params, code: int, text: str, *, only_open: bool
    ) -> Algo:
        algo: Algo | None = None
        if params.has("algoId"):
            algo = account.algos.get(params.number("algoId"))
        elif params.has("clientAlgoId"):
            wanted = params.text("clientAlgoId")
            found = [a for a in account.algos.values() if a.client_id == wanted]
            found.sort(key=lambda a: (a.is_open, a.algo_id))
            algo = found[-1] if found else None
        else:
            raise Refusal(-1102, "Either algoId or clientAlgoId must be sent.")
        if algo is None or (only_open and not algo.is_open) or self._x.now_ms < algo.visible_ms:
            raise Refusal(code, text)
        return algo

    def cancel(self, account: Account, params: Params) -> Json:
        """DELETE /fapi/v1/algoOrder (its code is a string)."""
        algo = self._find(account, params, -2011, "Unknown order sent.", only_open=True)
        self._x.algos.cancel(algo)
        self._x.arm(algo.index)
        return {
            "algoId": algo.algo_id,
            "clientAlgoId": algo.client_id,
            "code": "200",
            "msg": "success",
        }

    def cancel_ws(self, account: Account, params: Params) -> Json:
        """algoOrder.cancel of the WebSocket API answers with the whole order."""
        algo = self._find(account, params, -2011, "Unknown order sent.", only_open=True)
        self._x.algos.cancel(algo)
        self._x.arm(algo.index)
        return algo_placed(self._d, algo)

    def cancel_all(self, account: Account, params: Params) -> Json:
        """DELETE /fapi/v1/algoOpenOrders."""
        index = self._orders.index(params)
        for algo in [a for a in account.algos.values() if a.is_open and a.index == index]:
            self._x.algos.cancel(algo)
        self._x.arm(index)
        return {"code": 200, "msg": "The operation of cancel all open order is done."}

    def query(self, account: Account, params: Params) -> Json:
        """GET /fapi/v1/algoOrder."""
        algo = self._find(account, params, -2013, "Order does not exist.", only_open=False)
        return algo_queried(self._d, algo)

    def open(self, account: Account, params: Params) -> Json:
        """GET /fapi/v1/openAlgoOrders."""
        index = self._orders.index(params) if params.has("symbol") else -1
        now = self._x.now_ms
        return [
            algo_queried(self._d, a)
            for a in account.algos.values()
            if a.status in ALGO_OPEN and index in (-1, a.index) and now >= a.visible_ms
        ]

    def all(self, account: Account, params: Params) -> Json:
        """GET /fapi/v1/allAlgoOrders."""
        index, limit = self._orders.index(params), min(params.number("limit", 500), 1_000)
        start, end = self._orders.span(params)
        first = params.number("algoId", 0)
        found = [a for a in account.algos.values() if a.index == index and a.algo_id >= first]
        found = [a for a in found if first or start <= a.created_ms <= end]
        return [algo_queried(self._d, a) for a in found[-limit:]]
