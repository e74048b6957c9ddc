"""What survives from one scan to the next: which signals are out, since when, and cooldowns."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

import msgspec

_KEEP_MS = 86_400_000


class Held(NamedTuple):
    """A position of ours, or an entry that may still fill: what stands beside new signals (§1.9)."""

    symbol: str
    side: str
    is_new: bool
    is_overlay: bool


class Published(msgspec.Struct, forbid_unknown_fields=True):
    """The newest Prime signal of a symbol. `ended_ms` 0 while it stands."""

    side: str
    signal_id: str
    since_ms: int
    until_ms: int
    ended_ms: int = 0
    is_new: bool = False
    is_overlay: bool = False


class SignalMemory(msgspec.Struct, forbid_unknown_fields=True):
    """Published signals by symbol: advanced by `decide` alone, encodable with msgspec."""

    published: dict[str, Published] = msgspec.field(default_factory=dict)
    blocked: dict[str, int] = msgspec.field(default_factory=dict)
    """Symbol -> when the cooldown of the gate that alone stopped it ends, ms."""

    def standing(self, symbol: str, time_ms: int) -> Published | None:
        """The signal of a symbol that is still out."""
        known = self.published.get(symbol)
        if known is None or known.ended_ms or time_ms >= known.until_ms:
            return None
        return known

    def end(self, symbol: str, time_ms: int) -> None:
        """A standing signal is no longer Prime; the cooldown starts."""
        known = self.published.get(symbol)
        if known is not None and not known.ended_ms:
            known.ended_ms = min(time_ms, known.until_ms)

    def forget(self, time_ms: int, held: Collection[str] = ()) -> None:
        """Drop what ended a day ago and is not `held`: the memory is bounded by a day's symbols."""
        old = [
            s
            for s, p in self.published.items()
            if p.ended_ms and time_ms - p.ended_ms > _KEEP_MS and s not in held
        ]
        for symbol in old:
            del self.published[symbol]
        for symbol in [s for s, free_ms in self.blocked.items() if time_ms >= free_ms]:
            del self.blocked[symbol]

    def block(self, symbol: str, until_ms: int) -> None:
        """Nothing new on a symbol before `until_ms`."""
        self.blocked[symbol] = max(until_ms, self.blocked.get(symbol, 0))

    def to_bytes(self) -> bytes:
        """The memory for a snapshot."""
        return msgspec.json.encode(self)


def memory_from_bytes(data: bytes) -> SignalMemory:
    """Read a snapshot. Raises ValueError (msgspec) if it is none."""
    return msgspec.json.decode(data, type=SignalMemory)
