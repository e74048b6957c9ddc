"""Signal ids: from symbol, bar and side alone, short and ASCII, so that they fit client order ids."""

from __future__ import annotations

import hashlib
from base64 import b32encode
from functools import lru_cache

_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
_MINUTE_MS = 60_000


def signal_key(symbol: str, time_ms: int, side: str) -> str:
    """At most 16 of `[A-Za-z0-9_]`: side letter, 8 letters of the symbol's hash, the minute.

    >>> signal_key("BTCUSDT", 1_700_000_000_000, "long")
    'L5gq7ok6k_gv5hl'
    """
    return f"{'L' if side == 'long' else 'S'}{_symbol_letters(symbol)}_{_base36(time_ms // _MINUTE_MS)}"


@lru_cache(maxsize=4096)
def _symbol_letters(symbol: str) -> str:
    return b32encode(hashlib.blake2b(symbol.encode(), digest_size=5).digest()).decode().lower()


def _base36(number: int) -> str:
    text = ""
    while number:
        number, digit = divmod(number, 36)
        text = _DIGITS[digit] + text
    return text or "0"
