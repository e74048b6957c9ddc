"""Digests over what the engine did: equal journals must give equal chains (DESIGN D2).

Only discrete output enters (ids, sides, tiers, decimal quantities, quantised prices): floats of a
published decision differ in the last bits between processors and are rounded to 9 digits first.
"""

from __future__ import annotations

import hashlib
import math
from typing import Any

import msgspec

from cryptosignal.domain.actions import Action, Note, WakeAt

_ROUND_DIGITS = 9
_ENCODER = msgspec.json.Encoder(order="sorted")


def _quantised(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.{_ROUND_DIGITS}g}") if math.isfinite(value) else str(value)
    if isinstance(value, dict):
        return {key: _quantised(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_quantised(item) for item in value]
    return value


class DigestChain:
    """A running hash: each link covers the former link, the moment and the actions of one step."""

    def __init__(self) -> None:
        self.value = "0" * 32
        self.links = 0

    def add(self, now_ms: int, actions: tuple[Action, ...]) -> str | None:
        """Chain one step's actions; None (and no link) for a step that did nothing.

        Notes are words for people and do not enter.
        """
        kept = [action for action in actions if not isinstance(action, Note | WakeAt)]
        if not kept:
            return None
        body = _ENCODER.encode([now_ms, _quantised(msgspec.to_builtins(kept))])
        link = hashlib.blake2b(self.value.encode() + body, digest_size=16)
        self.value = link.hexdigest()
        self.links += 1
        return self.value
