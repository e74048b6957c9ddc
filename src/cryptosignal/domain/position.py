"""Positions, balances and open orders as the venue reports them, in our words."""

from __future__ import annotations

from decimal import Decimal

import msgspec

from cryptosignal.domain.order import OrderKind, Side


class VenuePosition(msgspec.Struct, frozen=True, gc=False):
    """A position at the venue; `quantity` is signed (long > 0)."""

    symbol: str
    quantity: Decimal
    entry_price: Decimal
    margin_type: str = "cross"
    position_side: str = "BOTH"
    unrealized_usdt: Decimal = Decimal(0)


class VenueBalance(msgspec.Struct, frozen=True, gc=False):
    """Wallet of one asset."""

    asset: str
    wallet: Decimal
    available: Decimal


class VenueOrder(msgspec.Struct, frozen=True, gc=False):
    """An ordinary order at the venue. `status` is Binance's (NEW, PARTIALLY_FILLED, FILLED, …)."""

    symbol: str
    client_id: str
    order_id: int
    side: Side
    kind: str
    status: str
    quantity: Decimal
    executed: Decimal
    average_price: Decimal
    price: Decimal
    reduce_only: bool
    update_ms: int


class VenueAlgo(msgspec.Struct, frozen=True, gc=False):
    """A conditional order at the algo service. `status`: NEW … FINISHED (BINANCE.md §5)."""

    symbol: str
    client_id: str
    algo_id: int
    side: Side
    kind: OrderKind
    status: str
    quantity: Decimal
    trigger_price: Decimal
    reduce_only: bool
    close_position: bool
    child_order_id: str
    executed: Decimal
    average_price: Decimal
    update_ms: int


class VenueTrade(msgspec.Struct, frozen=True, gc=False):
    """One execution from userTrades; the key (symbol, trade_id) counts it once."""

    symbol: str
    trade_id: int
    order_id: int
    side: Side
    quantity: Decimal
    price: Decimal
    fee: Decimal
    fee_asset: str
    realized_usdt: Decimal
    time_ms: int
    client_id: str = ""
