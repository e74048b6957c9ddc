"""What is at stake now, as a value: held quantities, orders that may still fill, foreign positions.

An order whose fate is unknown counts as filled (RELIABILITY §5.12): a limit that trusts silence is
no limit.
"""

from __future__ import annotations

from decimal import Decimal

import msgspec

from cryptosignal.domain.order import Direction

ZERO = Decimal(0)


class SymbolExposure(msgspec.Struct, frozen=True, gc=False):
    """One symbol: signed base quantities and the price that values them.

    `held` is what is known to be filled, `pending` what unfilled or unknown entries may add,
    `foreign` what others (a person, the venue) hold on the same account.
    """

    symbol: str
    held: Decimal
    pending: Decimal
    foreign: Decimal
    price: Decimal

    @property
    def notional_usdt(self) -> Decimal:
        """Worst case value: held and pending in the same direction, plus what is foreign."""
        own = max(abs(self.held + self.pending), abs(self.held))
        return (own + abs(self.foreign)) * self.price

    @property
    def direction(self) -> Direction | None:
        """Which way the symbol leans, None when flat."""
        total = self.held + self.pending + self.foreign
        if total == ZERO:
            return None
        return Direction.LONG if total > ZERO else Direction.SHORT


class Exposure(msgspec.Struct, frozen=True, gc=False):
    """The whole account: equity (wallet plus unrealised, USDT) and every symbol at stake."""

    equity_usdt: Decimal
    symbols: tuple[SymbolExposure, ...] = ()

    @property
    def gross_usdt(self) -> Decimal:
        """Sum of notionals, long and short alike."""
        return sum((s.notional_usdt for s in self.symbols), ZERO)

    @property
    def count(self) -> int:
        """Symbols with anything at stake."""
        return sum(1 for s in self.symbols if s.notional_usdt > ZERO)

    def count_of(self, direction: Direction) -> int:
        """Symbols that lean `direction`."""
        return sum(1 for s in self.symbols if s.direction is direction)

    def of(self, symbol: str) -> SymbolExposure | None:
        """The exposure of `symbol`, None when there is none."""
        for item in self.symbols:
            if item.symbol == symbol:
                return item
        return None
