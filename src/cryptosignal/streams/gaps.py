"""Holes in series as ranges, and how to fetch them with the least weight (BINANCE §2.1)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from cryptosignal.ground.units import INTERVAL_MS

CHEAP_ROWS: Final = 99
"""Rows that cost weight 1; up to 499 cost 2, 500 already cost 5."""
ROWS_MAX: Final = 499


class Range(NamedTuple):
    """Bars [first open, last open] of an interval that are missing."""

    interval: str
    first_ms: int
    last_ms: int

    @property
    def rows(self) -> int:
        """How many bars it spans."""
        return (self.last_ms - self.first_ms) // INTERVAL_MS[self.interval] + 1


def weight_of_rows(rows: int) -> int:
    """Weight of a klines request for `rows` rows."""
    if rows < 100:
        return 1
    if rows < 500:
        return 2
    return 5 if rows <= 1000 else 10


def merge(ranges: Iterable[Range], within_rows: int = CHEAP_ROWS) -> list[Range]:
    """Join neighbouring holes of one interval when one request covers both at no extra weight."""
    merged: list[Range] = []
    for hole in sorted(ranges, key=lambda one: (one.interval, one.first_ms)):
        if merged and merged[-1].interval == hole.interval:
            whole = Range(hole.interval, merged[-1].first_ms, max(merged[-1].last_ms, hole.last_ms))
            apart = weight_of_rows(merged[-1].rows) + weight_of_rows(hole.rows)
            if whole.rows <= ROWS_MAX and weight_of_rows(whole.rows) <= apart:
                merged[-1] = whole
                continue
        merged.append(hole)
    return merged


def split(hole: Range, rows_max: int = ROWS_MAX) -> Iterator[Range]:
    """The hole in pieces of at most `rows_max` rows, newest first (progressive readiness)."""
    step = INTERVAL_MS[hole.interval]
    last = hole.last_ms
    while last >= hole.first_ms:
        first = max(hole.first_ms, last - (rows_max - 1) * step)
        yield Range(hole.interval, first, last)
        last = first - step
