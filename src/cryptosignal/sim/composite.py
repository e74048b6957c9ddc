"""Index contracts: what a composite index is made of, for indexInfo and the compositeIndex stream."""

from __future__ import annotations

import msgspec

from cryptosignal.sim.facts import Facts
from cryptosignal.sim.listing import INDEX_BASES, Listed

PARTS = 5
"""Coins in a basket: the most liquid ones."""


class Part(msgspec.Struct, frozen=True, gc=False):
    """One coin of a basket: `quantity` of it costs `share_frac` of the index; `price` in USDT."""

    base: str
    quantity: float
    share_frac: float
    price: float


def basket(listed: list[Listed], facts: Facts, index: int, now_ms: int) -> tuple[float, list[Part]]:
    """(index price, parts): the quantities are such that the parts' prices add up to the index."""
    level = facts.mark(index, now_ms).index
    coins = [r for r in listed if r.underlying_type == "COIN" and r.onboard_ms <= now_ms][:PARTS]
    weights = [r.turnover_usdt**0.5 for r in coins]
    total = sum(weights)
    parts = []
    for row, weight in zip(coins, weights, strict=True):
        price = facts.mark(row.index, now_ms).index
        share = weight / total
        parts.append(Part(row.base, share * level / price, share, price))
    return level, parts


def index_rows(listed: list[Listed]) -> list[Listed]:
    """Contracts on an index."""
    return [row for row in listed if row.base in INDEX_BASES]
