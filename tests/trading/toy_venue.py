"""A small venue and a small engine around a desk: time, faults and crashes in the test's hands.

The venue keeps its own truth (positions, orders, executions, naked time); the rig performs actions as
the engine promises to: records first, `OrderSent` before the bytes leave, replies later or never.
"""

from __future__ import annotations

import heapq
import random
from collections import Counter
from dataclasses import dataclass, field
from decimal import Decimal

from cryptosignal.domain.actions import (
    CancelOrder,
    LookUpOrder,
    Note,
    Record,
    RecordOutcome,
    SetCountdown,
    SubmitOrder,
    TakeSnapshot,
    WakeAt,
)
from cryptosignal.domain.events import (
    MONEY_EVENTS,
    AccountSnapshotTaken,
    AccountStreamChanged,
    AccountUpdated,
    AlgoUpdated,
    CancelReplied,
    CountdownReplied,
    EngineStarted,
    MarksUpdated,
    OperatorCommanded,
    OrderLookedUp,
    OrderReplied,
    OrderSent,
    OrderUpdated,
    SendOutcome,
    SnapshotFailed,
    TimerFired,
    TradeSeen,
)
from cryptosignal.domain.instrument import PERPETUAL_DELIVERY_MS, Filters, Instrument
from cryptosignal.domain.order import Leg, OrderIntent, OrderKind, Side, parse_client_id
from cryptosignal.domain.position import (
    VenueAlgo,
    VenueBalance,
    VenueOrder,
    VenuePosition,
    VenueTrade,
)
from cryptosignal.domain.signal import Decision, PricePlan, Tier
from cryptosignal.risk.settings import RiskSettings
from cryptosignal.trading.desk import Desk
from cryptosignal.trading.settings import TradingSettings

D = Decimal
ZERO = Decimal(0)
WALLET = Decimal(10_000)
START_MS = 1_700_006_400_000
FEE = D("0.0005")
ENTRY_FIRST = TradingSettings(stop_first=False)
"""The order of things at a venue that takes no stop before there is a position."""


def instrument(symbol: str = "BTCUSDT") -> Instrument:
    """A contract with a 0.1 tick and 0.001 step."""
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
            tick_size=D("0.01"),
            min_price=D("0.01"),
            max_price=D(1_000_000),
            step_size=D("0.001"),
            min_qty=D("0.001"),
            max_qty=D(10_000),
            market_step_size=D("0.001"),
            market_min_qty=D("0.001"),
            market_max_qty=D(5_000),
            min_notional_usdt=D(5),
        ),
    )


def decision(
    signal_id: str = "s1",
    symbol: str = "BTCUSDT",
    side: str = "long",
    price: float = 100.0,
    time_ms: int = START_MS,
    stop_frac: float = 0.02,
) -> Decision:
    """A Prime decision around `price` with its stop `stop_frac` away, targets at 1R and 2.5R."""
    sign = 1 if side == "long" else -1
    risk = price * stop_frac
    return Decision(
        signal_id=signal_id,
        scan_id=1,
        time_ms=time_ms,
        symbol=symbol,
        side=side,
        score=70.0 * sign,
        confidence=70.0,
        edge=0.7,
        prime_strength=85.0,
        p=0.65,
        p_calibrated=0.62,
        ev=0.01,
        cost=0.001,
        tier=Tier.PRIME,
        reasons=(),
        factors={},
        contributions={},
        modulators={},
        gates=(),
        quality=0.99,
        plan=PricePlan(
            entry_low=price * 0.999,
            entry_high=price * 1.001,
            stop_loss=price - sign * risk,
            take_profit_1=price + sign * risk,
            take_profit_2=price + sign * 2.5 * risk,
            atr=risk / 1.8,
            risk_frac=stop_frac,
        ),
        ttl_ms=4 * 3_600_000,
        params_version="v6.1",
    )


@dataclass
class ToyOrder:
    intent: OrderIntent
    order_id: int
    status: str = "NEW"
    executed: Decimal = ZERO
    value: Decimal = ZERO
    update_ms: int = 0
    child_id: int = 0

    @property
    def average(self) -> Decimal:
        return self.value / self.executed if self.executed else D(0)


@dataclass
class Faults:
    """Probabilities of what goes wrong, drawn from the rig's stream."""

    event_lost: float = 0.0
    event_twice: float = 0.0
    event_late: float = 0.0
    request_lost: float = 0.0
    request_late: float = 0.0
    reply_lost: float = 0.0
    lookup_fails: float = 0.0
    lookup_stale: float = 0.0
    snapshot_fails: float = 0.0
    stop_refused: float = 0.0
    parts: float = 0.0
    stop_vanishes: float = 0.0


@dataclass
class ToyVenue:
    """The truth."""

    now_ms: int = START_MS
    prices: dict[str, Decimal] = field(default_factory=lambda: {"BTCUSDT": D(100)})
    positions: dict[str, Decimal] = field(default_factory=dict)
    cancels_refused: int = 0
    countdowns: dict[str, int] = field(default_factory=dict)
    taken: list[Leg] = field(default_factory=list)
    orders: dict[str, ToyOrder] = field(default_factory=dict)
    algos: dict[str, ToyOrder] = field(default_factory=dict)
    trades: list[VenueTrade] = field(default_factory=list)
    wallet: Decimal = WALLET
    outbox: list[object] = field(default_factory=list)
    next_id: int = 1000
    naked_since: dict[str, int] = field(default_factory=dict)
    naked_max_ms: int = 0
    naked_starts: int = 0
    is_hedged: bool = False
    entries: Counter[str] = field(default_factory=Counter)
    executed_by: Counter[str] = field(default_factory=Counter)
    sent_requests: list[OrderIntent] = field(default_factory=list)

    def take_id(self) -> int:
        self.next_id += 1
        return self.next_id

    def price(self, symbol: str) -> Decimal:
        return self.prices.setdefault(symbol, D(100))

    # ---- requests
    def place(
        self, intent: OrderIntent, sent_ms: int, recv_ms: int, parts: int = 1
    ) -> tuple[str, int, int]:
        """("acked", 0, order id) or ("rejected", code, 0)."""
        self.sent_requests.append(intent)
        if self.now_ms - sent_ms > recv_ms:
            return "rejected", -1021, 0
        book = self.algos if intent.kind.is_algo else self.orders
        known = book.get(intent.client_id)
        if known is not None and known.status in ("NEW", "PARTIALLY_FILLED"):
            return "rejected", -4116, 0
        if intent.kind.is_algo:
            return self._place_algo(intent)
        position = self.positions.get(intent.symbol, D(0))
        if intent.reduce_only and not _reduces(intent.side, position):
            return "rejected", -2022, 0
        order = ToyOrder(intent, self.take_id(), update_ms=self.now_ms)
        self.orders[intent.client_id] = order
        if intent.leg.value == "e":
            self.entries[intent.signal_id] += 1
        self._emit_order(order, "NEW", D(0), D(0), 0)
        if intent.kind is OrderKind.MARKET or intent.time_in_force == "IOC":
            self._execute(order, parts)
        return "acked", 0, order.order_id

    def _place_algo(self, intent: OrderIntent) -> tuple[str, int, int]:
        price = self.price(intent.symbol)
        assert intent.trigger_price is not None
        if _is_triggered(intent, price):
            return "rejected", -2021, 0
        algo = ToyOrder(intent, self.take_id(), update_ms=self.now_ms)
        self.algos[intent.client_id] = algo
        self._emit_algo(algo)
        self.check_naked(intent.symbol)
        return "acked", 0, algo.order_id

    def cancel(self, client_id: str, is_algo: bool) -> tuple[str, int]:
        order = (self.algos if is_algo else self.orders).get(client_id)
        if order is None or order.status not in ("NEW", "PARTIALLY_FILLED"):
            self.cancels_refused += 1
            return "rejected", -2011
        order.status, order.update_ms = "CANCELED", self.now_ms
        if is_algo:
            self._emit_algo(order)
        else:
            self._emit_order(order, "CANCELED", D(0), D(0), 0)
        self.check_naked(order.intent.symbol)
        return "acked", 0

    def fire_countdown(self, due: CountdownDue) -> None:
        """We were not heard of: what rests on the symbol goes, stops too (the worst that it may do)."""
        if self.countdowns.get(due.symbol) != due.due_ms:
            return
        self.countdowns[due.symbol] = 0
        for book, is_algo in ((self.orders, False), (self.algos, True)):
            for order in list(book.values()):
                if order.intent.symbol == due.symbol and order.status in (
                    "NEW",
                    "PARTIALLY_FILLED",
                ):
                    self.taken.append(order.intent.leg)
                    self.cancel(order.intent.client_id, is_algo)

    def cancel_silently(self, client_id: str) -> None:
        """The venue drops an algo order without a word (incident I)."""
        algo = self.algos[client_id]
        algo.status, algo.update_ms = "CANCELED", self.now_ms
        self.check_naked(algo.intent.symbol)

    def look_up(self, client_id: str, symbol: str, is_algo: bool) -> OrderLookedUp:
        order = (self.algos if is_algo else self.orders).get(client_id)
        if order is None:
            return OrderLookedUp(client_id, symbol, False, self.now_ms)
        if is_algo:
            return OrderLookedUp(client_id, symbol, True, self.now_ms, algo=self._algo(order))
        return OrderLookedUp(client_id, symbol, True, self.now_ms, order=self._order(order))

    def snapshot(
        self, purpose: str, symbols: tuple[str, ...], since_ms: int, asked_ms: int
    ) -> AccountSnapshotTaken:
        live = ("NEW", "PARTIALLY_FILLED")
        return AccountSnapshotTaken(
            purpose=purpose,
            requested_ms=asked_ms,
            server_ms=self.now_ms,
            balances=(VenueBalance("USDT", self.wallet, self.wallet),),
            positions=tuple(
                VenuePosition(s, q, self.price(s)) for s, q in self.positions.items() if q
            ),
            orders=tuple(self._order(o) for o in self.orders.values() if o.status in live),
            algos=tuple(self._algo(o) for o in self.algos.values() if o.status == "NEW"),
            trades=tuple(t for t in self.trades if t.symbol in symbols and t.time_ms >= since_ms),
            hedge_mode=self.is_hedged,
        )

    # ---- the market
    def move(self, symbol: str, price: Decimal) -> None:
        self.prices[symbol] = price
        for algo in list(self.algos.values()):
            if (
                algo.status == "NEW"
                and algo.intent.symbol == symbol
                and _is_triggered(algo.intent, price)
            ):
                self._trigger(algo)
        for order in list(self.orders.values()):
            limit = order.intent.price
            if (
                order.status not in ("NEW", "PARTIALLY_FILLED")
                or order.intent.symbol != symbol
                or limit is None
            ):
                continue
            if (price <= limit) == (order.intent.side is Side.BUY) or price == limit:
                self._execute(order, 1)

    def trade_by_hand(self, symbol: str, quantity: Decimal, name: str = "web_1") -> None:
        """Somebody else trades on the account; `quantity` signed."""
        side = Side.BUY if quantity > 0 else Side.SELL
        intent = OrderIntent(
            name, "", symbol, Leg.EXIT, side, OrderKind.MARKET, abs(quantity), self.now_ms
        )
        order = ToyOrder(intent, self.take_id(), update_ms=self.now_ms)
        self.orders[f"{name}-{order.order_id}"] = order
        self._execute(order, 1)

    def rest_by_hand(self, symbol: str) -> None:
        """A person's limit order, far away."""
        intent = OrderIntent(
            "web_2", "", symbol, Leg.ENTRY, Side.BUY, OrderKind.LIMIT, D(1), self.now_ms, D(50)
        )
        self.orders["web_2"] = ToyOrder(intent, self.take_id(), update_ms=self.now_ms)

    def _trigger(self, algo: ToyOrder) -> None:
        algo.child_id = self.take_id()
        algo.status, algo.update_ms = "TRIGGERED", self.now_ms
        self._emit_algo(algo)
        intent = algo.intent
        position = self.positions.get(intent.symbol, D(0))
        child = ToyOrder(intent, algo.child_id, update_ms=self.now_ms)
        if _reduces(intent.side, position):
            self._execute(child, 1)
        algo.executed, algo.value = child.executed, child.value
        algo.status = "FINISHED" if child.executed else "EXPIRED"
        self._emit_algo(algo)
        self.check_naked(intent.symbol)

    def _execute(self, order: ToyOrder, parts: int) -> None:
        intent = order.intent
        left = intent.quantity - order.executed
        if intent.reduce_only:
            left = min(left, abs(self.positions.get(intent.symbol, D(0))))
        whole = left
        for part in range(parts):
            last = part == parts - 1
            quantity = left if last else (whole / parts).quantize(D("0.001"))
            if quantity <= 0:
                continue
            left -= quantity
            self._fill(order, quantity)
            if self.positions.get(intent.symbol) == 0:
                break
        order.status = (
            "FILLED" if order.executed >= intent.quantity or intent.reduce_only else "EXPIRED"
        )
        order.update_ms = self.now_ms
        if order.status == "EXPIRED" and order.executed == whole:
            order.status = "FILLED"

    def _fill(self, order: ToyOrder, quantity: Decimal) -> None:
        intent, price = order.intent, self.price(order.intent.symbol)
        signed = quantity if intent.side is Side.BUY else -quantity
        order.executed += quantity
        order.value += quantity * price
        self.positions[intent.symbol] = self.positions.get(intent.symbol, D(0)) + signed
        fee = quantity * price * FEE
        self.wallet -= fee
        trade = VenueTrade(
            symbol=intent.symbol,
            trade_id=self.take_id(),
            order_id=order.order_id,
            side=intent.side,
            quantity=quantity,
            price=price,
            fee=fee,
            fee_asset="USDT",
            realized_usdt=D(0),
            time_ms=self.now_ms,
        )
        self.trades.append(trade)
        if intent.leg.value == "e":
            self.executed_by[intent.signal_id] += 1
        self.outbox.append(
            TradeSeen(
                intent.symbol,
                intent.client_id,
                order.order_id,
                intent.side,
                quantity,
                price,
                trade.trade_id,
                self.now_ms,
            )
        )
        done = order.executed >= intent.quantity or (
            intent.reduce_only and self.positions[intent.symbol] == 0
        )
        order.status = "FILLED" if done else "PARTIALLY_FILLED"
        self._emit_order(order, "TRADE", quantity, fee, trade.trade_id)
        self.outbox.append(
            AccountUpdated(
                "ORDER",
                (VenueBalance("USDT", self.wallet, D(0)),),
                (VenuePosition(intent.symbol, self.positions[intent.symbol], price),),
                self.now_ms,
            )
        )
        self.check_naked(intent.symbol)

    def fund(self, symbol: str, amount: Decimal) -> None:
        self.wallet += amount
        self.outbox.append(
            AccountUpdated(
                "FUNDING_FEE",
                (VenueBalance("USDT", self.wallet, D(0)),),
                (),
                self.now_ms,
                balance_change_usdt=amount,
                funding_symbol=symbol,
            )
        )

    # ---- the monitor
    def check_naked(self, symbol: str) -> None:
        position = self.positions.get(symbol, D(0))
        covered = any(
            a.status == "NEW"
            and a.intent.kind is OrderKind.STOP_MARKET
            and a.intent.symbol == symbol
            and _reduces(a.intent.side, position)
            and a.intent.quantity >= abs(position)
            for a in self.algos.values()
        )
        if position and not covered:
            self.naked_starts += symbol not in self.naked_since
            self.naked_since.setdefault(symbol, self.now_ms)
        elif symbol in self.naked_since:
            self.naked_max_ms = max(self.naked_max_ms, self.now_ms - self.naked_since.pop(symbol))

    def own_open(self) -> list[str]:
        live = ("NEW", "PARTIALLY_FILLED")
        both = [*self.orders.values(), *self.algos.values()]
        return [
            o.intent.client_id
            for o in both
            if o.status in live and parse_client_id(o.intent.client_id)
        ]

    # ---- words
    def _order(self, order: ToyOrder) -> VenueOrder:
        i = order.intent
        return VenueOrder(
            i.symbol,
            i.client_id,
            order.order_id,
            i.side,
            i.kind.value,
            order.status,
            i.quantity,
            order.executed,
            order.average,
            i.price or D(0),
            i.reduce_only,
            order.update_ms,
        )

    def _algo(self, order: ToyOrder) -> VenueAlgo:
        i = order.intent
        return VenueAlgo(
            i.symbol,
            i.client_id,
            order.order_id,
            i.side,
            i.kind,
            order.status,
            i.quantity,
            i.trigger_price or D(0),
            i.reduce_only,
            False,
            str(order.child_id or ""),
            order.executed,
            order.average,
            order.update_ms,
        )

    def _emit_order(
        self, order: ToyOrder, execution: str, quantity: Decimal, fee: Decimal, trade_id: int
    ) -> None:
        i = order.intent
        self.outbox.append(
            OrderUpdated(
                symbol=i.symbol,
                client_id=i.client_id,
                order_id=order.order_id,
                side=i.side,
                kind=i.kind.value,
                execution=execution,
                status=order.status,
                quantity=i.quantity,
                executed=order.executed,
                average_price=order.average,
                last_quantity=quantity,
                last_price=self.price(i.symbol),
                trade_id=trade_id,
                fee=fee,
                fee_asset="USDT",
                realized_usdt=D(0),
                reduce_only=i.reduce_only,
                event_ms=self.now_ms,
                trade_ms=self.now_ms,
            )
        )

    def _emit_algo(self, algo: ToyOrder) -> None:
        i = algo.intent
        self.outbox.append(
            AlgoUpdated(
                symbol=i.symbol,
                client_id=i.client_id,
                algo_id=algo.order_id,
                side=i.side,
                kind=i.kind,
                status=algo.status,
                quantity=i.quantity,
                trigger_price=i.trigger_price or D(0),
                child_order_id=str(algo.child_id or ""),
                executed=algo.executed,
                average_price=algo.average,
                event_ms=self.now_ms,
            )
        )


def _reduces(side: Side, position: Decimal) -> bool:
    return position != 0 and (position > 0) == (side is Side.SELL)


def _is_triggered(intent: OrderIntent, price: Decimal) -> bool:
    assert intent.trigger_price is not None
    is_stop = intent.kind is OrderKind.STOP_MARKET
    if (intent.side is Side.BUY) == is_stop:
        return price >= intent.trigger_price
    return price <= intent.trigger_price


class Rig:
    """A desk in its engine: performs actions, delivers events with faults, crashes on demand."""

    def __init__(
        self,
        settings: TradingSettings | None = None,
        risk: RiskSettings | None = None,
        faults: Faults | None = None,
        seed: int = 1,
        mode: str = "auto",
        connect: bool = True,
    ) -> None:
        self.settings = settings or TradingSettings()
        self.risk = risk or RiskSettings()
        self.faults = faults or Faults()
        self.rng = random.Random(seed)
        self.mode = mode
        self.venue = ToyVenue()
        self.journal: list[object] = []
        self.queue: list[tuple[int, int, object]] = []
        self.seq = 0
        self.notes: list[Note] = []
        self.outcomes: list = []
        self.states: Counter[str] = Counter()
        self.wake_ms = 0
        self.is_stream_up = False
        self.recv_ms = 3000
        self.timeout_ms = 4000
        self.desk = Desk(self.settings, self.risk, "t")
        self.boot(connect)

    @property
    def now(self) -> int:
        return self.venue.now_ms

    # ---- life
    def boot(self, connect: bool = True) -> None:
        """Recover from the journal, start, connect the stream."""
        self.desk = Desk(self.settings, self.risk, "t")
        for event in self.journal:
            self.desk.apply(event)
        self.live(EngineStarted(f"run{self.seq}", self.mode, "sim", "t", "v"))
        if connect:
            self.connect()

    def crash(self) -> None:
        """Everything in memory is gone; requests on their way still arrive at the venue."""
        self.is_stream_up = False
        self.queue = [q for q in self.queue if isinstance(q[2], Arrival | CountdownDue)]
        for _, _, what in self.queue:
            what.is_orphaned = True
        heapq.heapify(self.queue)

    def connect(self) -> None:
        self.is_stream_up = True
        self.live(AccountStreamChanged(True, "up"))

    def disconnect(self) -> None:
        self.is_stream_up = False
        self.live(AccountStreamChanged(False, "down"))

    # ---- engine
    def live(self, event: object) -> None:
        if isinstance(event, MONEY_EVENTS):
            self.journal.append(event)
            self.desk.apply(event)
        self.perform(self.desk.decide(self.now, event))

    def say(self, command: str, **arguments: str) -> None:
        """A person's command."""
        self.live(OperatorCommanded(command, arguments))

    def open(self, choice: Decision, **kwargs) -> None:
        inst = kwargs.pop("instrument", None) or instrument(choice.symbol)
        price = kwargs.pop("price", self.venue.price(choice.symbol))
        kwargs["price"] = None if price is None else D(str(price))
        self.perform(self.desk.open_from(choice, self.now, inst, **kwargs))

    def perform(self, actions) -> None:
        recorded: set[str] = set()
        for action in actions:
            if isinstance(action, Record):
                self.journal.append(action.event)
                self.desk.apply(action.event)
                intent = getattr(action.event, "intent", None)
                if intent is not None:
                    recorded.add(intent.client_id)
            elif isinstance(action, SubmitOrder):
                assert action.intent.client_id in recorded, "an order without a durable intent"
                self.send(action.intent)
            elif isinstance(action, CancelOrder):
                self.request(Arrival("cancel", action, self.now))
            elif isinstance(action, LookUpOrder):
                self.request(Arrival("lookup", action, self.now))
            elif isinstance(action, SetCountdown):
                self.request(Arrival("countdown", action, self.now))
            elif isinstance(action, TakeSnapshot):
                self.request(Arrival("snapshot", action, self.now))
            elif isinstance(action, WakeAt):
                assert action.at_ms > self.now, "a wake-up in the past"
                self.wake_ms = action.at_ms
                self.later(action.at_ms, TimerFired(action.name))
            elif isinstance(action, Note):
                self.notes.append(action)
            elif isinstance(action, RecordOutcome):
                self.outcomes.append(action.outcome)

    def send(self, intent: OrderIntent) -> None:
        sent = OrderSent(intent.client_id, intent.symbol, self.now, self.recv_ms)
        self.journal.append(sent)
        self.desk.apply(sent)
        self.request(Arrival("place", intent, self.now))

    def request(self, arrival: Arrival) -> None:
        if self.chance(self.faults.request_lost):
            self.fail(arrival)
            return
        delay = 20 if not self.chance(self.faults.request_late) else self.rng.randrange(500, 5000)
        self.later(self.now + delay, arrival)

    def fail(self, arrival: Arrival) -> None:
        """The request or its answer is lost: the client times out."""
        at = arrival.sent_ms + self.timeout_ms
        if arrival.kind == "place":
            intent = arrival.action
            self.later(at, OrderReplied(intent.client_id, intent.symbol, SendOutcome.UNKNOWN))
        elif arrival.kind == "cancel":
            action = arrival.action
            self.later(at, CancelReplied(action.client_id, action.symbol, SendOutcome.UNKNOWN))
        elif arrival.kind == "lookup":
            action = arrival.action
            self.later(at, OrderLookedUp(action.client_id, action.symbol, None))
        elif arrival.kind == "countdown":
            self.later(at, self.counted(arrival, SendOutcome.UNKNOWN))
        else:
            self.later(at, SnapshotFailed(arrival.action.purpose, "timeout"))

    def arrive(self, arrival: Arrival) -> None:
        """The venue executes a request; the answer starts back."""
        reply = self.execute(arrival)
        self.flush()
        if arrival.is_orphaned:
            return
        is_late = self.now > arrival.sent_ms + self.timeout_ms - 20
        if is_late or self.chance(self.faults.reply_lost):
            self.fail(arrival)
        else:
            self.later(self.now + 20, reply)

    def execute(self, arrival: Arrival) -> object:
        faults, venue, action = self.faults, self.venue, arrival.action
        if arrival.kind == "place":
            if action.kind is OrderKind.STOP_MARKET and self.chance(faults.stop_refused):
                return OrderReplied(
                    action.client_id,
                    action.symbol,
                    SendOutcome.REJECTED,
                    -4045,
                    "no",
                    server_ms=self.now,
                )
            parts = 3 if self.chance(faults.parts) else 1
            verdict, code, order_id = venue.place(action, arrival.sent_ms, self.recv_ms, parts)
            order_id = 0 if action.kind.is_algo else order_id
            return OrderReplied(
                action.client_id,
                action.symbol,
                SendOutcome(verdict),
                code,
                "",
                order_id,
                server_ms=self.now,
            )
        if arrival.kind == "cancel":
            verdict, code = venue.cancel(action.client_id, action.is_algo)
            return CancelReplied(
                action.client_id, action.symbol, SendOutcome(verdict), code, "", self.now
            )
        if arrival.kind == "countdown":
            return self.count_down(arrival)
        if arrival.kind == "lookup":
            if self.chance(faults.lookup_fails):
                return OrderLookedUp(action.client_id, action.symbol, None)
            if self.chance(faults.lookup_stale):
                return OrderLookedUp(action.client_id, action.symbol, False, arrival.sent_ms)
            return venue.look_up(action.client_id, action.symbol, action.is_algo)
        if self.chance(faults.snapshot_fails):
            return SnapshotFailed(action.purpose, "503")
        return venue.snapshot(
            action.purpose, action.symbols, action.trades_since_ms, arrival.sent_ms
        )

    def count_down(self, arrival: Arrival) -> CountdownReplied:
        """The venue starts, renews or stops a countdown, unless the request came too late."""
        action = arrival.action
        if self.now > arrival.sent_ms + self.recv_ms:
            return self.counted(arrival, SendOutcome.REJECTED)
        due_ms = self.now + action.countdown_ms if action.countdown_ms else 0
        self.venue.countdowns[action.symbol] = due_ms
        if due_ms:
            self.later(due_ms, CountdownDue(action.symbol, due_ms))
        return self.counted(arrival, SendOutcome.ACKED)

    @staticmethod
    def counted(arrival: Arrival, outcome: SendOutcome) -> CountdownReplied:
        action = arrival.action
        return CountdownReplied(action.symbol, action.countdown_ms, outcome, arrival.sent_ms)

    def flush(self) -> None:
        """Account events leave the venue."""
        for event in self.venue.outbox:
            if not self.is_stream_up or self.chance(self.faults.event_lost):
                continue
            delay = 10 if not self.chance(self.faults.event_late) else self.rng.randrange(200, 4000)
            self.later(self.now + delay, event)
            if self.chance(self.faults.event_twice):
                self.later(self.now + delay + self.rng.randrange(1, 2000), event)
        self.venue.outbox.clear()

    def later(self, at_ms: int, what: object) -> None:
        self.seq += 1
        heapq.heappush(self.queue, (at_ms, self.seq, what))

    def chance(self, p: float) -> bool:
        return p > 0 and self.rng.random() < p

    # ---- time
    def run(self, ms: int) -> None:
        end = self.now + ms
        while self.queue and self.queue[0][0] <= end:
            at_ms, _, what = heapq.heappop(self.queue)
            self.venue.now_ms = max(self.now, at_ms)
            if isinstance(what, Arrival):
                self.arrive(what)
            elif isinstance(what, CountdownDue):
                self.venue.fire_countdown(what)
                self.flush()
            elif not isinstance(what, TimerFired) or at_ms == self.wake_ms:
                self.live(what)
        self.venue.now_ms = end

    def price(self, symbol: str, price: str | Decimal) -> None:
        """The market moves; marks reach the desk."""
        self.venue.move(symbol, D(price))
        self.flush()
        self.live(MarksUpdated(self.now, {symbol: float(price)}))

    def noted(self, event: str) -> list[Note]:
        return [n for n in self.notes if n.event == event]


@dataclass
class CountdownDue:
    """A countdown of the venue's; one that was renewed or stopped since does nothing."""

    symbol: str
    due_ms: int
    is_orphaned: bool = False


@dataclass
class Arrival:
    kind: str
    action: object
    sent_ms: int
    is_orphaned: bool = False
