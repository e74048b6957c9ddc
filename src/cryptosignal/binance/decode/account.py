"""User-data frames as the domain's events (BINANCE §5)."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any, Final

import msgspec

from cryptosignal.binance.decode.garbled import Garbled, decoded
from cryptosignal.binance.decode.market import Unmapped
from cryptosignal.binance.wire import account as wire
from cryptosignal.domain.events import (
    AccountUpdated,
    AlgoUpdated,
    MarginCalled,
    OrderUpdated,
    TradeSeen,
)
from cryptosignal.domain.order import OrderKind, Side
from cryptosignal.domain.position import VenueBalance, VenuePosition


class KeyExpired(msgspec.Struct, frozen=True, gc=False):
    """listenKeyExpired: this connection is silent from now on, though its socket stays open."""

    event_ms: int


AccountEvent = OrderUpdated | TradeSeen | AlgoUpdated | AccountUpdated | MarginCalled


class _Envelope(msgspec.Struct, gc=False):
    stream: str | None = None
    data: msgspec.Raw = msgspec.Raw(b"")
    e: str | None = None


_ENVELOPE: Final = msgspec.json.Decoder(_Envelope)
_MESSAGE: Final = msgspec.json.Decoder(wire.AccountMessage, strict=False)
_KNOWN: Final = frozenset(
    kind.__struct_config__.tag
    for kind in wire.AccountMessage.__args__  # a union of structs
)
_KINDS: Final = {kind.value: kind for kind in OrderKind}


def account_frame(payload: bytes) -> AccountEvent | KeyExpired | Unmapped:
    """One message of a private connection, enveloped or raw.

    `Unmapped` for types that change nothing of ours (STRATEGY_UPDATE, acknowledgements, leverage
    changes); raises `Garbled` for a known type that cannot be read.
    """
    envelope: _Envelope = decoded(_ENVELOPE, payload, "account frame")
    data = payload
    if bytes(envelope.data):
        data = bytes(envelope.data)
        envelope = decoded(_ENVELOPE, data, "account frame")
    if envelope.e not in _KNOWN:
        return Unmapped(envelope.e or "")
    message = decoded(_MESSAGE, data, envelope.e or "")
    return _MAPPERS[type(message)](message)


def order_kind(text: str) -> OrderKind:
    """An order type in our words; OTHER for one that we do not know."""
    return _KINDS.get(text, OrderKind.OTHER)


def side_of(text: str) -> Side:
    """BUY or SELL; anything else is `Garbled`."""
    if text == "BUY":
        return Side.BUY
    if text == "SELL":
        return Side.SELL
    raise Garbled(f"side: {text!r}")


def money(text: str | None) -> Decimal:
    """A decimal string that the wire has already checked; None (no value) is 0."""
    return Decimal(text) if text else Decimal(0)


def _order(message: wire.OrderTradeUpdate) -> OrderUpdated:
    o = message.o
    return OrderUpdated(
        symbol=o.s,
        client_id=o.c,
        order_id=o.i,
        side=side_of(o.S),
        kind=o.o,
        execution=o.x,
        status=o.X,
        quantity=money(o.q),
        executed=money(o.z),
        average_price=money(o.ap),
        last_quantity=money(o.l),
        last_price=money(o.L),
        trade_id=o.t,
        fee=money(o.n),
        fee_asset=o.N or "",
        realized_usdt=money(o.rp),
        reduce_only=o.R,
        event_ms=message.E,
        trade_ms=o.T,
        expiry_reason=o.er or "",
    )


def _trade(message: wire.TradeLite) -> TradeSeen:
    return TradeSeen(
        symbol=message.s,
        client_id=message.c,
        order_id=message.i,
        side=side_of(message.S),
        quantity=money(message.l),
        price=money(message.L),
        trade_id=message.t,
        event_ms=message.T,  # the execution's own time, as the later reports of it have it
    )


def _algo(message: wire.AlgoUpdate | wire.AlgoOrderUpdate) -> AlgoUpdated:
    o = message.o
    return AlgoUpdated(
        symbol=o.s,
        client_id=o.caid,
        algo_id=o.aid,
        side=side_of(o.S),
        kind=order_kind(o.o),
        status=o.X,
        quantity=money(o.q),
        trigger_price=money(o.tp),
        child_order_id=o.ai,
        executed=money(o.aq),
        average_price=money(o.ap),
        event_ms=message.E,
        reject_reason=o.rm,
    )


def _account(message: wire.AccountUpdate) -> AccountUpdated:
    """`available` of a streamed balance is its cross wallet: the venue streams no free margin."""
    body = message.a
    return AccountUpdated(
        reason=body.m,
        balances=tuple(VenueBalance(b.a, money(b.wb), money(b.cw)) for b in body.B),
        positions=tuple(_position(row) for row in body.P),
        event_ms=message.E,
        balance_change_usdt=sum((money(b.bc) for b in body.B if b.a == "USDT"), Decimal(0)),
        funding_symbol=body.S,
    )


def _position(row: wire.PositionRow) -> VenuePosition:
    return VenuePosition(
        symbol=row.s,
        quantity=money(row.pa),
        entry_price=money(row.ep),
        margin_type=margin_type(row.mt),
        position_side=row.ps,
        unrealized_usdt=money(row.up),
    )


def margin_type(text: str) -> str:
    """`cross` or `isolated`, whichever way the venue spells it (`CROSSED` in some answers)."""
    return "isolated" if text.lower().startswith("iso") else "cross"


def _margin_call(message: wire.MarginCall) -> MarginCalled:
    return MarginCalled(tuple(row.s for row in message.p), message.E)


def _key_expired(message: wire.ListenKeyExpired) -> KeyExpired:
    return KeyExpired(message.E)


def _configuration(_message: wire.AccountConfigUpdate) -> Unmapped:
    return Unmapped("ACCOUNT_CONFIG_UPDATE")


_MAPPERS: Final[dict[type, Callable[[Any], AccountEvent | KeyExpired | Unmapped]]] = {
    wire.OrderTradeUpdate: _order,
    wire.TradeLite: _trade,
    wire.AlgoUpdate: _algo,
    wire.AlgoOrderUpdate: _algo,
    wire.AccountUpdate: _account,
    wire.MarginCall: _margin_call,
    wire.ListenKeyExpired: _key_expired,
    wire.AccountConfigUpdate: _configuration,
}
