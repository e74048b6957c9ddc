"""Verdicts of reconciliation: our bars and books against REST (DOMAIN §0.23).

Bars: price .01 %, volume 1 %, REST wins, a mismatch is counted; a volume of 0 never divides. Books
are compared at an equal id only: ids advance by thousands a second on a liquid book.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple

from cryptosignal.market.klines import Row
from cryptosignal.streams.settings import FeedSettings

Levels = Sequence[tuple[float, float]]


class Verdict(StrEnum):
    """What a comparison found."""

    EQUAL = "equal"
    WITHIN = "within tolerance"
    PRICE = "price differs"
    VOLUME = "volume differs"
    BOOK = "levels differ"
    BEHIND = "book is behind"
    UNKNOWN = "no common moment"

    @property
    def is_mismatch(self) -> bool:
        """Whether it counts against DataQual."""
        return self in _MISMATCHES


_MISMATCHES = frozenset({Verdict.PRICE, Verdict.VOLUME, Verdict.BOOK, Verdict.BEHIND})


def relative(ours: float, theirs: float) -> float:
    """|difference| over theirs; 0 against 0 is no difference, anything against 0 is a whole one."""
    if ours == theirs or (math.isnan(ours) and math.isnan(theirs)):
        return 0.0
    if theirs == 0 or math.isnan(ours) or math.isnan(theirs):
        return 1.0
    return abs(ours - theirs) / abs(theirs)


def compare_bars(ours: Row, theirs: Row, settings: FeedSettings) -> Verdict:
    """A closed bar of ours against REST's."""
    if ours == theirs:
        return Verdict.EQUAL
    if max(relative(a, b) for a, b in zip(ours[:4], theirs[:4], strict=True)) > (
        settings.price_tolerance
    ):
        return Verdict.PRICE
    if relative(ours[4], theirs[4]) > settings.volume_tolerance:
        return Verdict.VOLUME
    return Verdict.WITHIN


class BookVerdict(NamedTuple):
    """A book comparison: verdict, how many levels differ, and the reported id gap."""

    verdict: Verdict
    differing: int
    id_gap: int


def compare_books(
    ours: tuple[Levels, Levels],
    theirs: tuple[Levels, Levels],
    levels: int,
    id_gap: int,
    touched: frozenset[float] = frozenset(),
) -> BookVerdict:
    """Our top `levels` of both sides against a snapshot at the same update id.

    `touched` are prices that changed within the one event that spans the id: they say nothing. All
    others within the range that our levels cover must be the same on both sides.
    """
    differing = 0
    for mine, other, is_bid in zip(ours, theirs, (True, False), strict=True):
        shown = list(mine[:levels])
        worst = shown[-1][0] if len(shown) == levels else (0.0 if is_bid else math.inf)
        got = {price: qty for price, qty in shown if price not in touched}
        wanted = {
            price: qty
            for price, qty in other
            if price not in touched and (price >= worst if is_bid else price <= worst)
        }
        prices = set(got) | set(wanted)
        differing += sum(got.get(price) != wanted.get(price) for price in prices)
    verdict = Verdict.BOOK if differing else Verdict.EQUAL
    return BookVerdict(verdict, differing, id_gap)
