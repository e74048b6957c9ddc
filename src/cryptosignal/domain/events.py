"""What happened: the engine's inputs, past tense, frozen, one tagged union (D1, D2).

`MONEY_EVENTS` go to the money journal (fsynced, kept for ever) and are enough to rebuild what we
own; the others are inputs of decisions, kept in the droppable inputs log. Times `*_ms` are the
exchange's.
"""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum

import msgspec

from cryptosignal.domain.instrument import Instrument
from cryptosignal.domain.market import Bar
from cryptosignal.domain.order import OrderIntent, OrderKind, Side
from cryptosignal.domain.position import (
    VenueAlgo,
    VenueBalance,
    VenueOrder,
    VenuePosition,
    VenueTrade,
)
from cryptosignal.domain.scan import ScanRows


class _Event(msgspec.Struct, frozen=True, gc=False, tag_field="type", tag=True):
    pass


class SendOutcome(StrEnum):
    """What the reply to a request that changes state proved."""

    ACKED = "acked"
    REJECTED = "rejected"
    UNKNOWN = "unknown"
    NOT_SENT = "not_sent"


# ---- life of the process -------------------------------------------------------------------
class EngineStarted(_Event, frozen=True, gc=False):
    """A process began to decide; `mode` signal/approve/auto, `account` sim/paper/testnet/live."""

    run_id: str
    mode: str
    account: str
    bot: str
    params_version: str


class TimerFired(_Event, frozen=True, gc=False):
    """A due time of the engine's own clock came."""

    name: str


class OperatorCommanded(_Event, frozen=True, gc=False):
    """A person (CLI, page, chat) asked for something: `trade`, `approve`, `close`, `kill`, …"""

    command: str
    arguments: dict[str, str]
    actor: str = "cli"


class InstrumentsListed(_Event, frozen=True, gc=False):
    """exchangeInfo was read: all filters are replaced."""

    instruments: tuple[Instrument, ...]


class ParamsPublished(_Event, frozen=True, gc=False):
    """A parameter set takes effect from now on (`body` is its JSON)."""

    version: str
    body: str


# ---- market ---------------------------------------------------------------------------------
class ScanTaken(msgspec.Struct, frozen=True, gc=False):
    """Factor rows are ready to be decided on. Journaled as a decision block, not as JSON."""

    rows: ScanRows


class MarksUpdated(_Event, frozen=True, gc=False):
    """Newest mark prices of watched symbols (symbol -> price), with the newest event time."""

    event_ms: int
    prices: dict[str, float]


class MarketStreamChanged(msgspec.Struct, frozen=True, gc=False):
    """A market's data flow, or some of them may be missed until they are read back (`Market.follow`)."""

    is_up: bool
    reason: str


class BarClosed(_Event, frozen=True, gc=False):
    """A bar of a watched symbol closed (outcomes and trailing stops follow 1m bars)."""

    symbol: str
    interval: str
    bar: Bar


class QualityChanged(_Event, frozen=True, gc=False):
    """DataQual of a symbol crossed a level; `reason` says what moved it."""

    symbol: str
    score: float
    level: str
    reason: str


class AccountStreamChanged(_Event, frozen=True, gc=False):
    """The account's event stream went up or down; down means: trust nothing, reconcile after."""

    is_up: bool
    reason: str


# ---- replies to our own requests ------------------------------------------------------------
class OrderReplied(_Event, frozen=True, gc=False):
    """The reply to placing `client_id` (ordinary or algo): what it proved, never the fill price."""

    client_id: str
    symbol: str
    outcome: SendOutcome
    code: int = 0
    message: str = ""
    order_id: int = 0
    status: str = ""
    server_ms: int = 0


class CancelReplied(_Event, frozen=True, gc=False):
    """The reply to cancelling `client_id`; -2011 is a question, not an answer (D9)."""

    client_id: str
    symbol: str
    outcome: SendOutcome
    code: int = 0
    message: str = ""
    server_ms: int = 0


class CountdownReplied(_Event, frozen=True, gc=False):
    """The reply to setting a symbol's countdown (0: to stopping it). `asked_ms` is when it left."""

    symbol: str
    countdown_ms: int
    outcome: SendOutcome
    asked_ms: int = 0
    message: str = ""


class OrderLookedUp(_Event, frozen=True, gc=False):
    """A query of `client_id`: `found` None means the query itself failed and proves nothing."""

    client_id: str
    symbol: str
    found: bool | None
    server_ms: int = 0
    order: VenueOrder | None = None
    algo: VenueAlgo | None = None


class AccountSnapshotTaken(_Event, frozen=True, gc=False):
    """Balances, positions, open orders, open algo orders and recent trades, read together by REST.

    `requested_ms` is when the first read left, `server_ms` the venue time of the last answer.
    """

    purpose: str
    requested_ms: int
    server_ms: int
    balances: tuple[VenueBalance, ...]
    positions: tuple[VenuePosition, ...]
    orders: tuple[VenueOrder, ...]
    algos: tuple[VenueAlgo, ...]
    trades: tuple[VenueTrade, ...] = ()
    hedge_mode: bool = False


class SnapshotFailed(_Event, frozen=True, gc=False):
    """A snapshot could not be read: nothing is proved."""

    purpose: str
    reason: str


# ---- the account's own stream ---------------------------------------------------------------
class OrderUpdated(_Event, frozen=True, gc=False):
    """ORDER_TRADE_UPDATE (BINANCE.md §5). `execution` NEW/TRADE/CANCELED/EXPIRED/CALCULATED/
    AMENDMENT; `trade_id` 0 if the message carries no fill."""

    symbol: str
    client_id: str
    order_id: int
    side: Side
    kind: str
    execution: str
    status: str
    quantity: Decimal
    executed: Decimal
    average_price: Decimal
    last_quantity: Decimal
    last_price: Decimal
    trade_id: int
    fee: Decimal
    fee_asset: str
    realized_usdt: Decimal
    reduce_only: bool
    event_ms: int
    trade_ms: int
    expiry_reason: str = ""


class TradeSeen(_Event, frozen=True, gc=False):
    """TRADE_LITE: a fill ahead of its ORDER_TRADE_UPDATE, without fee; same key (symbol, trade_id)."""

    symbol: str
    client_id: str
    order_id: int
    side: Side
    quantity: Decimal
    price: Decimal
    trade_id: int
    event_ms: int


class AlgoUpdated(_Event, frozen=True, gc=False):
    """ALGO_UPDATE: NEW, TRIGGERING, TRIGGERED, FINISHED, CANCELED, REJECTED, EXPIRED."""

    symbol: str
    client_id: str
    algo_id: int
    side: Side
    kind: OrderKind
    status: str
    quantity: Decimal
    trigger_price: Decimal
    child_order_id: str
    executed: Decimal
    average_price: Decimal
    event_ms: int
    reject_reason: str = ""


class AccountUpdated(_Event, frozen=True, gc=False):
    """ACCOUNT_UPDATE: only what changed; `reason` is m (ORDER, FUNDING_FEE, …)."""

    reason: str
    balances: tuple[VenueBalance, ...]
    positions: tuple[VenuePosition, ...]
    event_ms: int
    balance_change_usdt: Decimal = Decimal(0)
    funding_symbol: str = ""


class MarginCalled(_Event, frozen=True, gc=False):
    """MARGIN_CALL: advisory."""

    symbols: tuple[str, ...]
    event_ms: int


# ---- our own records, written before we act -------------------------------------------------
class IntentRecorded(_Event, frozen=True, gc=False):
    """An order was decided on; durable before it is sent."""

    intent: OrderIntent


class CancelRecorded(_Event, frozen=True, gc=False):
    """A cancel was decided on."""

    client_id: str
    symbol: str
    reason: str


class OrderSent(_Event, frozen=True, gc=False):
    """The request for `client_id` left us at exchange time `sent_ms`: from here on it may exist."""

    client_id: str
    symbol: str
    sent_ms: int
    recv_window_ms: int


class FactRecorded(_Event, frozen=True, gc=False):
    """A fact of ours that must survive a restart: kill switch, breaker trip, day's start equity,
    signal opened/closed, outcome id. `body` is JSON."""

    kind: str
    key: str
    body: str


Event = (
    EngineStarted
    | TimerFired
    | OperatorCommanded
    | InstrumentsListed
    | ParamsPublished
    | MarksUpdated
    | BarClosed
    | QualityChanged
    | AccountStreamChanged
    | OrderReplied
    | CancelReplied
    | CountdownReplied
    | OrderLookedUp
    | AccountSnapshotTaken
    | SnapshotFailed
    | OrderUpdated
    | TradeSeen
    | AlgoUpdated
    | AccountUpdated
    | MarginCalled
    | IntentRecorded
    | CancelRecorded
    | OrderSent
    | FactRecorded
)
"""Every event that is encoded as JSON; `ScanTaken` is a decision block of its own."""

MONEY_EVENTS: tuple[type, ...] = (
    EngineStarted,
    OperatorCommanded,
    ParamsPublished,
    OrderReplied,
    CancelReplied,
    CountdownReplied,
    OrderLookedUp,
    AccountSnapshotTaken,
    OrderUpdated,
    TradeSeen,
    AlgoUpdated,
    AccountUpdated,
    MarginCalled,
    IntentRecorded,
    CancelRecorded,
    OrderSent,
    FactRecorded,
)
"""Kept for ever and fsynced; folding them alone rebuilds orders, positions and limits."""
