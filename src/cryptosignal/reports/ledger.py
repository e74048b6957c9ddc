"""Trades, fees and funding for accounting, folded from money events. Pure; money is Decimal text.

A fill is counted once by (symbol, trade id), whoever told of it first and however often; the telling
with its fee wins. Funding is counted once by (symbol, hour of the settlement): as the venue's list of
bookings has it, or, until that was read, as the account's stream told it.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Any, Final

import msgspec

from cryptosignal.domain.events import (
    AccountSnapshotTaken,
    AccountUpdated,
    FactRecorded,
    IntentRecorded,
    OrderUpdated,
    TradeSeen,
)
from cryptosignal.domain.order import parse_client_id
from cryptosignal.ground.calendar import utc_text
from cryptosignal.ground.units import HOUR_MS, plain

WHATS: Final = ("trades", "fees", "funding")
INCOME_BOOKED: Final = "income.booked"
"""Kind of the fact that the venue's list of bookings has a row (its body is a `Booking`)."""
FUNDING: Final = "FUNDING_FEE"
FORCED: Final = ("autoclose-", "adl_autoclose", "settlement_autoclose-")
HEADS: Final = {
    "trades": (
        "time_utc", "time_ms", "symbol", "side", "quantity", "price", "quote_usdt", "realized_usdt",
        "fee", "fee_asset", "owner", "signal_id", "client_id", "order_id", "trade_id",
    ),
    "fees": ("time_utc", "time_ms", "symbol", "fee", "fee_asset", "owner", "trade_id"),
    "funding": ("time_utc", "time_ms", "symbol", "amount", "asset"),
}  # fmt: skip


class Execution(msgspec.Struct, frozen=True, gc=False):
    """One fill of the account. `fee` and `realized_usdt` are None while nobody has told them."""

    symbol: str
    trade_id: int
    order_id: int
    client_id: str
    side: str
    quantity: Decimal
    price: Decimal
    time_ms: int
    fee: Decimal | None = None
    fee_asset: str = ""
    realized_usdt: Decimal | None = None


class Booking(msgspec.Struct, frozen=True, gc=False):
    """One row of the venue's list of bookings."""

    kind: str
    symbol: str
    amount: Decimal
    asset: str
    time_ms: int
    tran_id: int


class Ledger:
    """The account's bookings, as far as they were heard."""

    def __init__(self) -> None:
        self.executions: dict[tuple[str, int], Execution] = {}
        self.funding: dict[tuple[str, int], Booking] = {}
        self._signals: dict[str, str] = {}

    def take(self, event: Any) -> None:
        """Fold one event; those that book nothing change nothing."""
        if isinstance(event, IntentRecorded):
            self._signals[event.intent.client_id] = event.intent.signal_id
        elif isinstance(event, OrderUpdated) and event.trade_id and event.last_quantity > 0:
            self._book(_from_update(event))
        elif isinstance(event, TradeSeen):
            self._book(
                Execution(
                    event.symbol,
                    event.trade_id,
                    event.order_id,
                    event.client_id,
                    event.side.value,
                    event.quantity,
                    event.price,
                    event.event_ms,
                )
            )
        elif isinstance(event, AccountSnapshotTaken):
            for t in event.trades:
                self._book(
                    Execution(
                        t.symbol,
                        t.trade_id,
                        t.order_id,
                        t.client_id,
                        t.side.value,
                        t.quantity,
                        t.price,
                        t.time_ms,
                        t.fee,
                        t.fee_asset,
                        t.realized_usdt,
                    )
                )
        elif isinstance(event, AccountUpdated) and event.reason == FUNDING:
            told = Booking(
                FUNDING,
                event.funding_symbol,
                event.balance_change_usdt,
                "USDT",
                event.event_ms,
                0,
            )
            self.funding.setdefault(_settlement(told), told)
        elif isinstance(event, FactRecorded) and event.kind == INCOME_BOOKED:
            listed = msgspec.json.decode(event.body, type=Booking)
            if listed.kind == FUNDING:
                self.funding[_settlement(listed)] = listed

    def _book(self, fresh: Execution) -> None:
        key = fresh.symbol, fresh.trade_id
        known = self.executions.get(key)
        if known is None or (known.fee is None and fresh.fee is not None):
            client_id = fresh.client_id or (known.client_id if known is not None else "")
            self.executions[key] = msgspec.structs.replace(fresh, client_id=client_id)

    def rows(self, what: str, from_ms: int, to_ms: int) -> list[tuple[str, ...]]:
        """The rows of `what` from `from_ms` up to but without `to_ms`, in time order (`HEADS`)."""
        if what == "funding":
            due = [b for b in self.funding.values() if from_ms <= b.time_ms < to_ms]
            due.sort(key=lambda b: (b.time_ms, b.symbol))
            return [
                (utc_text(b.time_ms), str(b.time_ms), b.symbol, plain(b.amount), b.asset)
                for b in due
            ]
        chosen = [e for e in self.executions.values() if from_ms <= e.time_ms < to_ms]
        chosen.sort(key=lambda e: (e.time_ms, e.symbol, e.trade_id))
        return [self._trade(e) if what == "trades" else self._fee(e) for e in chosen]

    def _trade(self, e: Execution) -> tuple[str, ...]:
        return (
            utc_text(e.time_ms), str(e.time_ms), e.symbol, e.side, plain(e.quantity), plain(e.price),
            plain(e.quantity * e.price), _maybe(e.realized_usdt), _maybe(e.fee), e.fee_asset,
            _owner(e.client_id), self._signals.get(e.client_id, ""), e.client_id, str(e.order_id),
            str(e.trade_id),
        )  # fmt: skip

    def _fee(self, e: Execution) -> tuple[str, ...]:
        return (
            utc_text(e.time_ms), str(e.time_ms), e.symbol, _maybe(e.fee), e.fee_asset,
            _owner(e.client_id), str(e.trade_id),
        )  # fmt: skip

    @property
    def unpriced(self) -> int:
        """Executions whose fee nobody has told."""
        return sum(1 for e in self.executions.values() if e.fee is None)


def ledger_of(events: Iterable[Any]) -> Ledger:
    """The ledger of a whole history of money events, oldest first."""
    ledger = Ledger()
    for event in events:
        ledger.take(event)
    return ledger


def _from_update(event: OrderUpdated) -> Execution:
    return Execution(
        event.symbol, event.trade_id, event.order_id, event.client_id, event.side.value,
        event.last_quantity, event.last_price, event.trade_ms or event.event_ms, event.fee,
        event.fee_asset, event.realized_usdt,
    )  # fmt: skip


def _settlement(booking: Booking) -> tuple[str, int]:
    """A settlement by its symbol and hour: the stream and the list differ by moments."""
    return booking.symbol, (booking.time_ms + HOUR_MS // 2) // HOUR_MS


def _maybe(value: Decimal | None) -> str:
    return "" if value is None else plain(value)


def _owner(client_id: str) -> str:
    if client_id.startswith(FORCED):
        return "venue"
    return "ours" if parse_client_id(client_id) is not None else "others"
