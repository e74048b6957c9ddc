"""The toy venue behind `domain.ports.Exchange`: where its dialect ends."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Callable
from decimal import Decimal
from typing import Any, Protocol

from cryptosignal.domain.events import (
    AccountSnapshotTaken,
    AccountStreamChanged,
    AccountUpdated,
    AlgoUpdated,
    CancelReplied,
    CountdownReplied,
    OrderLookedUp,
    OrderReplied,
    OrderUpdated,
    SendOutcome,
    SnapshotFailed,
)
from cryptosignal.domain.instrument import PERPETUAL_DELIVERY_MS, Filters, Instrument
from cryptosignal.domain.order import OrderIntent, OrderKind, Side
from cryptosignal.domain.ports import AccountEvent
from cryptosignal.domain.position import (
    VenueAlgo,
    VenueBalance,
    VenueOrder,
    VenuePosition,
    VenueTrade,
)
from cryptosignal.ground.faults import Refused, TimedOut, Unreachable

WINDOW_MS = 3_000
WAIT_S = 4.0
RETRY_S = 1.0
LARGE = Decimal(1_000_000)
CASH_UNIT = Decimal("0.000001")

_ORDER_STATUS = {
    "waiting": "NEW",
    "eating": "PARTIALLY_FILLED",
    "eaten": "FILLED",
    "pulled": "CANCELED",
    "denied": "REJECTED",
}
_GUARD_STATUS = {
    "waiting": "NEW",
    "eating": "TRIGGERED",
    "eaten": "FINISHED",
    "pulled": "CANCELED",
    "denied": "REJECTED",
}
_EXECUTION = {"waiting": "NEW", "pulled": "CANCELED", "denied": "EXPIRED"}
_UNKNOWN_REF = "unknown ref"


class Line(Protocol):
    """One duplex connection to the venue."""

    async def ask(self, payload: bytes) -> bytes:
        """One question. Raises `Unreachable` (not sent) or `TimedOut` (no answer)."""
        ...


class Host(Protocol):
    """Opens lines."""

    async def open(self, on_news: Callable[[bytes], None], on_end: Callable[[], None]) -> Line:
        """Connect. Raises `Unreachable`."""
        ...


class ToyAdapter:
    """`Exchange` over the toy's line."""

    recv_window_ms = WINDOW_MS
    order_wait_ms_max = 0

    def __init__(self, host: Host, now_ms: Callable[[], int]) -> None:
        self._host = host
        self._now_ms = now_ms
        self._line: Line | None = None
        self._rules: dict[str, dict[str, Any]] = {}
        self._question = 0

    # ---- the line -------------------------------------------------------------------------
    async def _ask(self, do: str, **body: Any) -> dict[str, Any]:
        """The answer's body. Raises Refused with the venue's words, Unreachable or TimedOut."""
        if self._line is None:
            self._line = await self._host.open(lambda _: None, self._hung_up)
        if not self._rules and do != "contracts":
            self._rules = (await self._ask("contracts"))["contracts"]
        self._question += 1
        line = self._line
        answer = json.loads(
            await line.ask(json.dumps({"q": self._question, "do": do, **body}).encode())
        )
        if "oops" in answer:
            raise Refused(0, answer["oops"])
        return answer

    def _hung_up(self) -> None:
        self._line = None

    async def _changed(self, do: str, **body: Any) -> tuple[SendOutcome, str, dict[str, Any]]:
        try:
            return SendOutcome.ACKED, "", await self._ask(do, **body)
        except Refused as fault:
            return SendOutcome.REJECTED, fault.message, {}
        except Unreachable as fault:
            return SendOutcome.NOT_SENT, str(fault), {}
        except TimedOut as fault:
            return SendOutcome.UNKNOWN, str(fault), {}

    # ---- units ----------------------------------------------------------------------------
    def _lot(self, instr: str) -> Decimal:
        return Decimal(self._rules[instr]["lot"])

    def _tick(self, instr: str) -> Decimal:
        return Decimal(self._rules[instr]["tick"])

    def _price(self, instr: str, ticks: float) -> Decimal:
        return Decimal(str(ticks)) * self._tick(instr)

    def _cash(self, instr: str, fee: int) -> Decimal:
        return Decimal(fee) * self._lot(instr) * self._tick(instr)

    # ---- questions ------------------------------------------------------------------------
    async def instruments(self) -> tuple[Instrument, ...]:
        rules = (await self._ask("contracts"))["contracts"]
        return tuple(_instrument(name, rule) for name, rule in sorted(rules.items()))

    async def prepare_symbol(self, symbol: str, leverage: int, margin_type: str) -> None:
        await self._ask("gear", instr=_instr(symbol), times=leverage)

    async def place(self, intent: OrderIntent) -> OrderReplied:
        instr = _instr(intent.symbol)
        try:
            body = await self._deal_of(intent, instr)
        except (Refused, KeyError) as fault:
            why = str(fault)
            return OrderReplied(intent.client_id, intent.symbol, SendOutcome.REJECTED, message=why)
        outcome, why, answer = await self._changed("deal", **body)
        deal = answer.get("deal", {})
        table = _GUARD_STATUS if intent.kind.is_algo else _ORDER_STATUS
        return OrderReplied(
            intent.client_id,
            intent.symbol,
            outcome,
            message=why,
            order_id=deal.get("no", 0),
            status=table[deal["state"]] if deal else "",
            server_ms=_ms(answer.get("t", 0.0)),
        )

    async def _deal_of(self, intent: OrderIntent, instr: str) -> dict[str, Any]:
        if not self._rules:
            self._rules = (await self._ask("contracts"))["contracts"]
        sign = 1 if intent.side is Side.BUY else -1
        body = {
            "ref": intent.client_id,
            "instr": instr,
            "lots": sign * int(intent.quantity / self._lot(instr)),
            "kind": "limit" if intent.kind is OrderKind.LIMIT else "market",
            "shrink_only": intent.reduce_only,
            "until": (self._now_ms() + WINDOW_MS) / 1000,
        }
        if intent.price is not None:
            body["limit"] = int(intent.price / self._tick(instr))
        if intent.trigger_price is not None:
            body["fires_at"] = int(intent.trigger_price / self._tick(instr))
            body["goal"] = intent.kind is OrderKind.TAKE_PROFIT_MARKET
        return body

    async def cancel(self, client_id: str, symbol: str, is_algo: bool) -> CancelReplied:
        outcome, why, answer = await self._changed("pull", ref=client_id, guard=is_algo)
        at_ms = _ms(answer.get("t", 0.0))
        return CancelReplied(client_id, symbol, outcome, message=why, server_ms=at_ms)

    async def count_down(self, symbol: str, countdown_ms: int) -> CountdownReplied:
        asked_ms = self._now_ms()
        outcome, why, _ = await self._changed(
            "leash", instr=_instr(symbol), seconds=countdown_ms / 1000
        )
        return CountdownReplied(symbol, countdown_ms, outcome, asked_ms, why)

    async def look_up(self, client_id: str, symbol: str, is_algo: bool) -> OrderLookedUp:
        asked_ms = self._now_ms()
        try:
            deal = (await self._ask("show", ref=client_id, guard=is_algo))["deal"]
        except Refused as fault:
            found = False if fault.message == _UNKNOWN_REF else None
            return OrderLookedUp(client_id, symbol, found, asked_ms)
        except (Unreachable, TimedOut):
            return OrderLookedUp(client_id, symbol, None, asked_ms)
        if is_algo:
            return OrderLookedUp(client_id, symbol, True, asked_ms, algo=self._algo(deal))
        return OrderLookedUp(client_id, symbol, True, asked_ms, order=self._order(deal))

    async def snapshot(
        self, purpose: str, symbols: tuple[str, ...] = (), trades_since_ms: int = 0
    ) -> AccountSnapshotTaken | SnapshotFailed:
        requested_ms = self._now_ms()
        try:
            whole = await self._ask("all")
            fills: list[dict[str, Any]] = []
            for symbol in symbols:
                since = trades_since_ms / 1000
                fills += (await self._ask("fills", instr=_instr(symbol), since=since))["fills"]
        except (Refused, Unreachable, TimedOut) as fault:
            return SnapshotFailed(purpose, str(fault))
        return AccountSnapshotTaken(
            purpose=purpose,
            requested_ms=requested_ms,
            server_ms=_ms(whole["t"]),
            balances=_balances(whole["cash"]),
            positions=tuple(
                self._position(instr, lots, mean) for instr, (lots, mean) in whole["held"].items()
            ),
            orders=tuple(self._order(deal) for deal in whole["deals"]),
            algos=tuple(self._algo(guard) for guard in whole["guards"]),
            trades=tuple(self._trade(fill) for fill in fills),
        )

    # ---- news -----------------------------------------------------------------------------
    async def attend(self, on_event: Callable[[AccountEvent], None]) -> None:
        """Keep a line open and tell its news; a break is told, and a snapshot follows the next up."""
        while True:
            ended = asyncio.Event()
            inbox: deque[bytes] = deque()
            wake = asyncio.Event()

            def hear(line: bytes, inbox: deque[bytes] = inbox, wake: asyncio.Event = wake) -> None:
                inbox.append(line)
                wake.set()

            def end(ended: asyncio.Event = ended, wake: asyncio.Event = wake) -> None:
                ended.set()
                wake.set()
                self._hung_up()

            try:
                self._line = await self._host.open(hear, end)
            except Unreachable:
                await asyncio.sleep(RETRY_S)
                continue
            on_event(AccountStreamChanged(is_up=True, reason="the line is open"))
            on_event(await self.snapshot("stream connected"))
            while not ended.is_set():
                await wake.wait()
                wake.clear()
                while inbox:
                    for event in self._events(json.loads(inbox.popleft())):
                        on_event(event)
            on_event(AccountStreamChanged(is_up=False, reason="the line ended"))

    def _events(self, news: dict[str, Any]) -> list[AccountEvent]:
        what, at_ms = news["news"], _ms(news["t"])
        if what in ("round", "fair"):
            return []  # the market's
        if what == "guard":
            return [self._algo_event(news, at_ms)]
        if what == "held":
            position = self._position(news["instr"], news["lots"], news["mean"])
            return [AccountUpdated("ORDER", _balances(news["cash"]), (position,), at_ms)]
        fill = news.get("fill")
        deal = news["deal"] if fill else news
        execution = "TRADE" if fill else _EXECUTION.get(deal["state"])
        if execution is None:
            return []
        order = self._order(deal)
        instr = deal["instr"]
        return [
            OrderUpdated(
                symbol=order.symbol,
                client_id=order.client_id,
                order_id=order.order_id,
                side=order.side,
                kind=order.kind,
                execution=execution,
                status=order.status,
                quantity=order.quantity,
                executed=order.executed,
                average_price=order.average_price,
                last_quantity=abs(fill["lots"]) * self._lot(instr) if fill else Decimal(0),
                last_price=self._price(instr, fill["price"]) if fill else Decimal(0),
                trade_id=fill["id"] if fill else 0,
                fee=self._cash(instr, fill["fee"]) if fill else Decimal(0),
                fee_asset="USDT" if fill else "",
                realized_usdt=Decimal(0),
                reduce_only=order.reduce_only,
                event_ms=at_ms,
                trade_ms=at_ms,
            )
        ]

    # ---- values ---------------------------------------------------------------------------
    def _order(self, deal: dict[str, Any]) -> VenueOrder:
        lot = self._lot(deal["instr"])
        return VenueOrder(
            symbol=_symbol(deal["instr"]),
            client_id=deal["ref"],
            order_id=deal["no"],
            side=_side(deal["lots"]),
            kind=deal["kind"].upper(),
            status=_ORDER_STATUS[deal["state"]],
            quantity=abs(deal["lots"]) * lot,
            executed=deal["eaten"] * lot,
            average_price=self._price(deal["instr"], deal["mean"]),
            price=self._price(deal["instr"], deal["limit"]),
            reduce_only=deal["shrink_only"],
            update_ms=_ms(deal["touched"]),
        )

    def _algo(self, guard: dict[str, Any]) -> VenueAlgo:
        lot = self._lot(guard["instr"])
        return VenueAlgo(
            symbol=_symbol(guard["instr"]),
            client_id=guard["ref"],
            algo_id=guard["no"],
            side=_side(guard["lots"]),
            kind=OrderKind.TAKE_PROFIT_MARKET if guard["goal"] else OrderKind.STOP_MARKET,
            status=_GUARD_STATUS[guard["state"]],
            quantity=abs(guard["lots"]) * lot,
            trigger_price=self._price(guard["instr"], guard["fires_at"]),
            reduce_only=guard["shrink_only"],
            close_position=False,
            child_order_id=str(guard["child"]) if guard["child"] else "",
            executed=guard["eaten"] * lot,
            average_price=self._price(guard["instr"], guard["mean"]),
            update_ms=_ms(guard["touched"]),
        )

    def _algo_event(self, guard: dict[str, Any], at_ms: int) -> AlgoUpdated:
        algo = self._algo(guard)
        return AlgoUpdated(
            symbol=algo.symbol,
            client_id=algo.client_id,
            algo_id=algo.algo_id,
            side=algo.side,
            kind=algo.kind,
            status=algo.status,
            quantity=algo.quantity,
            trigger_price=algo.trigger_price,
            child_order_id=algo.child_order_id,
            executed=algo.executed,
            average_price=algo.average_price,
            event_ms=at_ms,
        )

    def _position(self, instr: str, lots: int, mean: float) -> VenuePosition:
        entry = self._price(instr, mean)
        return VenuePosition(_symbol(instr), lots * self._lot(instr), entry, "isolated")

    def _trade(self, fill: dict[str, Any]) -> VenueTrade:
        instr = fill["instr"]
        return VenueTrade(
            symbol=_symbol(instr),
            trade_id=fill["id"],
            order_id=fill["no"],
            side=_side(fill["lots"]),
            quantity=abs(fill["lots"]) * self._lot(instr),
            price=self._price(instr, fill["price"]),
            fee=self._cash(instr, fill["fee"]),
            fee_asset="USDT",
            realized_usdt=Decimal(0),
            time_ms=_ms(fill["t"]),
            client_id=fill["ref"],
        )


def _instr(symbol: str) -> str:
    return f"PERP:{symbol.removesuffix('USDT')}/USDT"


def _symbol(instr: str) -> str:
    return instr.removeprefix("PERP:").replace("/", "")


def _side(lots: int) -> Side:
    return Side.BUY if lots > 0 else Side.SELL


def _ms(seconds: float) -> int:
    return round(seconds * 1000)


def _balances(cash: dict[str, int]) -> tuple[VenueBalance, ...]:
    return tuple(
        VenueBalance(asset, units * CASH_UNIT, units * CASH_UNIT) for asset, units in cash.items()
    )


def _instrument(name: str, rule: dict[str, Any]) -> Instrument:
    lot, tick = Decimal(rule["lot"]), Decimal(rule["tick"])
    least = lot * rule["least_lots"]
    symbol = _symbol(name)
    return Instrument(
        symbol=symbol,
        base=symbol.removesuffix("USDT"),
        quote="USDT",
        status="TRADING",
        contract_type="PERPETUAL",
        underlying_type="COIN",
        onboard_ms=0,
        delivery_ms=PERPETUAL_DELIVERY_MS,
        filters=Filters(
            tick_size=tick,
            min_price=tick,
            max_price=LARGE,
            step_size=lot,
            min_qty=least,
            max_qty=LARGE,
            market_step_size=lot,
            market_min_qty=least,
            market_max_qty=LARGE,
            min_notional_usdt=Decimal(rule["least_value"]),
        ),
    )
