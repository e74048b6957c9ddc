"""Orders and algo orders as the venue keeps them, and the refusals it answers with."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

import msgspec

OPEN_STATUSES: Final = frozenset({"NEW", "PARTIALLY_FILLED"})
ALGO_OPEN: Final = frozenset({"NEW", "TRIGGERING", "TRIGGERED"})
STOP_TYPES: Final = frozenset({"STOP", "STOP_MARKET"})
PROFIT_TYPES: Final = frozenset({"TAKE_PROFIT", "TAKE_PROFIT_MARKET"})
ALGO_TYPES: Final = STOP_TYPES | PROFIT_TYPES | {"TRAILING_STOP_MARKET"}
ZERO: Final = Decimal(0)


class Refusal(Exception):
    """A request that the venue rejects: Binance's code and text (BINANCE §6)."""

    def __init__(self, code: int, message: str, status: int = 400) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.status = status


class Order(msgspec.Struct, eq=False):
    """An ordinary order. Prices and quantities in the symbol's integer units."""

    account: int
    index: int
    order_id: int
    client_id: str
    side: str
    position_side: str
    kind: str
    time_in_force: str
    qty: int
    price: int
    reduce_only: bool
    stp: str
    created_ms: int
    update_ms: int
    close_position: bool = False
    price_match: str = "NONE"
    good_till_ms: int = 0
    orig_kind: str = ""
    stop_price: int = 0
    working_type: str = "CONTRACT_PRICE"
    price_protect: bool = False
    status: str = "NEW"
    executed: int = 0
    paid: int = 0
    ahead: int = 0
    amendments: int = 0
    modify_id: int = 0
    expire_reason: str = "0"
    forced: str = ""
    algo_id: int = 0
    sequence: int = 0

    @property
    def left(self) -> int:
        """Quantity not yet executed."""
        return self.qty - self.executed

    @property
    def is_open(self) -> bool:
        """Resting or working."""
        return self.status in OPEN_STATUSES

    @property
    def is_buy(self) -> bool:
        """Buys the base asset."""
        return self.side == "BUY"


class Algo(msgspec.Struct, eq=False):
    """A conditional order of the algo service."""

    account: int
    index: int
    algo_id: int
    client_id: str
    side: str
    position_side: str
    kind: str
    time_in_force: str
    qty: int
    price: int
    trigger: int
    working_type: str
    price_match: str
    close_position: bool
    price_protect: bool
    reduce_only: bool
    activate: int
    callback_rate: Decimal
    stp: str
    good_till_ms: int
    created_ms: int
    update_ms: int
    status: str = "NEW"
    trigger_ms: int = 0
    order_id: int = 0
    actual_kind: str = ""
    executed: int = 0
    paid: int = 0
    reason: str = ""
    is_active: bool = True
    extreme: float = 0
    visible_ms: int = 0

    @property
    def is_open(self) -> bool:
        """Waiting for its trigger."""
        return self.status == "NEW"

    @property
    def is_buy(self) -> bool:
        """Buys when triggered."""
        return self.side == "BUY"


class OrderWish(msgspec.Struct, frozen=True):
    """A checked request for an order, in the symbol's units."""

    index: int
    side: str
    position_side: str
    kind: str
    time_in_force: str
    qty: int
    price: int
    reduce_only: bool
    client_id: str
    stp: str = "EXPIRE_MAKER"
    good_till_ms: int = 0
    price_match: str = "NONE"
    close_position: bool = False
    stop_price: int = 0
    working_type: str = "CONTRACT_PRICE"
    price_protect: bool = False
    orig_kind: str = ""
    algo_id: int = 0
