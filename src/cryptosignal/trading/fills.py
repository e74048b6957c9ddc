"""Executions counted once, whoever reported them and in whatever order (RELIABILITY §5.7).

The key is (symbol, trade id). TRADE_LITE brings a fill without its fee, ORDER_TRADE_UPDATE and
userTrades bring it with fee: the later word completes the earlier one, it never adds to it.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from decimal import Decimal

from cryptosignal.domain.order import Side

ZERO = Decimal(0)
FILLS_KEPT_MAX = 20_000
"""Settled fills remembered to recognise late duplicates; unsettled ones are never dropped."""


@dataclass(slots=True)
class Fill:
    """One execution. `client_id` is ours, or "" while it is foreign or not yet attributed."""

    symbol: str
    trade_id: int
    order_id: int
    side: Side
    quantity: Decimal
    price: Decimal
    time_ms: int
    client_id: str = ""
    foreign_id: str = ""
    fee: Decimal = ZERO
    fee_asset: str = ""
    realized_usdt: Decimal = ZERO
    has_fee: bool = False

    @property
    def signed(self) -> Decimal:
        """Base quantity, positive for a buy."""
        return self.quantity if self.side is Side.BUY else -self.quantity


class FillBook:
    """Every execution by its key, in order of arrival."""

    def __init__(self) -> None:
        self._fills: OrderedDict[tuple[str, int], Fill] = OrderedDict()
        self._settled: OrderedDict[tuple[str, int], None] = OrderedDict()
        self.last_ms: dict[str, int] = {}

    def add(self, fill: Fill) -> bool:
        """True if the fill is new; a known one is completed with its fee."""
        key = (fill.symbol, fill.trade_id)
        known = self._fills.get(key)
        if known is None:
            if key in self._settled:
                return False
            self._fills[key] = fill
            self.last_ms[fill.symbol] = max(self.last_ms.get(fill.symbol, 0), fill.time_ms)
            return True
        if fill.has_fee and not known.has_fee:
            known.fee, known.fee_asset = fill.fee, fill.fee_asset
            known.realized_usdt, known.has_fee = fill.realized_usdt, True
        return False

    def knows(self, symbol: str, trade_id: int) -> bool:
        """True if the execution has been counted."""
        return (symbol, trade_id) in self._fills or (symbol, trade_id) in self._settled

    def get(self, symbol: str, trade_id: int) -> Fill | None:
        """An unsettled fill."""
        return self._fills.get((symbol, trade_id))

    def unowned(self, symbol: str, order_id: int) -> list[Fill]:
        """Fills of a venue order that nobody has claimed."""
        return [
            f
            for f in self._fills.values()
            if f.symbol == symbol and f.order_id == order_id and not f.client_id
        ]

    def of_orders(self, client_ids: set[str]) -> list[Fill]:
        """Fills of these orders of ours, oldest first."""
        found = [f for f in self._fills.values() if f.client_id in client_ids]
        return sorted(found, key=lambda f: (f.time_ms, f.trade_id))

    def foreign(self, symbol: str, since_ms: int) -> list[Fill]:
        """Fills of others on a symbol since a time, oldest first."""
        found = [
            f
            for f in self._fills.values()
            if f.symbol == symbol and not f.client_id and f.time_ms >= since_ms
        ]
        return sorted(found, key=lambda f: (f.time_ms, f.trade_id))

    def signed_since(self, symbol: str, since_ms: int) -> Decimal:
        """What has been bought less sold after a time, by anybody (unsettled fills only)."""
        if self.last_ms.get(symbol, 0) <= since_ms:
            return ZERO
        later = (f for f in self._fills.values() if f.symbol == symbol and f.time_ms > since_ms)
        return sum((f.signed for f in later), ZERO)

    def settle(self, symbol: str, until_ms: int) -> None:
        """Forget the details of a symbol's fills up to a time, keep their keys (bounded)."""
        done = [k for k, f in self._fills.items() if f.symbol == symbol and f.time_ms <= until_ms]
        for key in done:
            del self._fills[key]
            self._settled[key] = None
        while len(self._settled) > FILLS_KEPT_MAX:
            self._settled.popitem(last=False)

    def __len__(self) -> int:
        return len(self._fills) + len(self._settled)
