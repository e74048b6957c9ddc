"""Market frames: the envelope taken off, the message typed, and bars and marks in our words.

The caches read the typed messages directly (they are the fastest thing there is); `bar_of` and
`mark_of` are the words for everyone else.
"""

from __future__ import annotations

from typing import Final

import msgspec

from cryptosignal.binance.decode.garbled import Garbled, decoded
from cryptosignal.binance.wire.market import Kline, KlineBody, MarketMessage, MarkPriceUpdate
from cryptosignal.binance.wire.numbers import float_or_nan
from cryptosignal.domain.market import Bar, MarkPrice

USD_MARGINED: Final = 1
"""`st` of USDⓈ-M messages; the merged all-market arrays also carry 2 = COIN-M (since 2026-06)."""


class Frame(msgspec.Struct, frozen=True, gc=False):
    """One delivery: its stream name ("" on raw connections) and its USDⓈ-M messages."""

    stream: str
    messages: tuple[MarketMessage, ...]


class Control(msgspec.Struct, frozen=True, gc=False):
    """An answer to SUBSCRIBE and its kin: not data. `error` is "" when it was accepted.

    `{"result":null,"id":1}`, `{"error":{"code":2,"msg":"Invalid request: …"},"id":1}`
    """

    id: int | str | None = None
    error: str = ""
    result: tuple[str, ...] = ()


class Unmapped(msgspec.Struct, frozen=True, gc=False):
    """A well-formed frame we have no word for; `name` is its event type."""

    name: str
    stream: str = ""


_NOTHING: Final = msgspec.Raw(b"")


class _Envelope(msgspec.Struct, gc=False):
    stream: str | None = None
    data: msgspec.Raw = _NOTHING
    e: str | None = None
    id: int | str | None = None
    result: msgspec.Raw = _NOTHING
    error: msgspec.Raw = _NOTHING
    code: int | None = None
    msg: str | None = None


_ENVELOPE: Final = msgspec.json.Decoder(_Envelope)
_MESSAGE: Final = msgspec.json.Decoder(MarketMessage, strict=False)
_MESSAGES: Final = msgspec.json.Decoder(list[MarketMessage], strict=False)
_TAG: Final = msgspec.json.Decoder(_Envelope)
_TAGS: Final = msgspec.json.Decoder(list[_Envelope])
_NAMES: Final = msgspec.json.Decoder(list[str])
_KNOWN: Final = frozenset(
    kind.__struct_config__.tag
    for kind in MarketMessage.__args__  # a union of structs
)


def market_frame(payload: bytes) -> Frame | Control | Unmapped:
    """One text message of a market connection, enveloped or raw (BINANCE §4)."""
    body = payload.lstrip()
    if body.startswith(b"["):
        return _frame("", body)
    envelope: _Envelope = decoded(_ENVELOPE, body, "frame")
    if envelope.stream is not None and bytes(envelope.data):
        return _frame(envelope.stream, bytes(envelope.data))
    if envelope.e is not None:
        return _frame("", body)
    return _control(envelope)


def _frame(stream: str, data: bytes) -> Frame | Unmapped:
    try:
        if data.startswith(b"["):
            messages = tuple(_MESSAGES.decode(data))
        else:
            messages = (_MESSAGE.decode(data),)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return _unmapped_or_garbled(stream, data, error)
    return Frame(stream, tuple(m for m in messages if getattr(m, "st", 1) == USD_MARGINED))


def _unmapped_or_garbled(stream: str, data: bytes, error: Exception) -> Unmapped:
    """A type of message that we do not know is no fault; a known one that cannot be read is."""
    rows = (
        decoded(_TAGS, data, "frame") if data.startswith(b"[") else [decoded(_TAG, data, "frame")]
    )
    names = [row.e for row in rows if row.e not in _KNOWN]
    if not names:
        raise Garbled(f"{stream or 'frame'}: {error}")
    return Unmapped(names[0] or "", stream)


def _control(envelope: _Envelope) -> Control:
    if bytes(envelope.error):
        return Control(envelope.id, bytes(envelope.error).decode(errors="replace"))
    if envelope.code is not None:
        return Control(envelope.id, f"{envelope.code}: {envelope.msg}")
    raw = bytes(envelope.result)
    names = tuple(decoded(_NAMES, raw, "result")) if raw.startswith(b"[") else ()
    return Control(envelope.id, "", names)


def bar_of(kline: Kline | KlineBody) -> Bar:
    """The candle of a kline message."""
    k = kline.k if isinstance(kline, Kline) else kline
    return Bar(
        open_ms=k.t,
        open=k.o,
        high=k.h,
        low=k.l,
        close=k.c,
        volume=k.v,
        quote_volume=k.q,
        trades=k.n,
        taker_buy_volume=k.V,
        taker_buy_quote=k.Q,
        is_closed=k.x,
    )


def mark_of(update: MarkPriceUpdate) -> MarkPrice:
    """Mark, index and funding in our words; `r:""` is NaN, and so is an absent index."""
    return MarkPrice(
        symbol=update.s,
        event_ms=update.E,
        mark=update.p,
        index=float("nan") if update.i is None else update.i,
        funding_rate=float_or_nan(update.r),
        next_funding_ms=update.T,
    )
