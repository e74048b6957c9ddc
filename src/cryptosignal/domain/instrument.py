"""What can be traded: an instrument and the rules (filters) its orders must satisfy."""

from __future__ import annotations

from decimal import Decimal

import msgspec

PERPETUAL_DELIVERY_MS = 4_133_404_800_000
"""deliveryDate of a perpetual; a nearer value announces a delisting (BINANCE.md §2.4)."""


class Filters(msgspec.Struct, frozen=True, gc=False):
    """Order rules of one symbol, from exchangeInfo `filters[]` (BINANCE.md §2.4)."""

    tick_size: Decimal
    min_price: Decimal
    max_price: Decimal
    step_size: Decimal
    min_qty: Decimal
    max_qty: Decimal
    market_step_size: Decimal
    market_min_qty: Decimal
    market_max_qty: Decimal
    min_notional_usdt: Decimal
    multiplier_up: Decimal = Decimal("1.05")
    multiplier_down: Decimal = Decimal("0.95")
    max_num_orders: int = 200


class LeverageBracket(msgspec.Struct, frozen=True, gc=False):
    """The venue's cap for one notional tier: at most `leverage` up to `notional_max_usdt`."""

    notional_max_usdt: Decimal
    leverage: int


class Instrument(msgspec.Struct, frozen=True, gc=False):
    """One USDⓈ-M contract as exchangeInfo describes it, with the account's leverage brackets."""

    symbol: str
    base: str
    quote: str
    status: str
    contract_type: str
    underlying_type: str
    onboard_ms: int
    delivery_ms: int
    filters: Filters
    price_precision: int = 8
    quantity_precision: int = 8
    trigger_protect_frac: Decimal = Decimal("0.05")
    liquidation_fee_frac: Decimal = Decimal("0.0125")
    market_take_bound_frac: Decimal = Decimal("0.05")
    underlying_sub_type: tuple[str, ...] = ()
    brackets: tuple[LeverageBracket, ...] = ()
    """The account's, ascending by notional; none are known without an account."""

    @property
    def is_tradable_perpetual(self) -> bool:
        """A TRADING USDT perpetual that is not about to be delivered."""
        return (
            self.status == "TRADING"
            and self.contract_type == "PERPETUAL"
            and self.quote == "USDT"
            and self.delivery_ms >= PERPETUAL_DELIVERY_MS - 86_400_000
        )
