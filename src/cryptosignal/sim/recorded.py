"""A book that replays a recorded diff-depth stream instead of drawing its ladder.

Clients still see the venue's own snapshots, diffs and update ids; only the liquidity is recorded.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec

from cryptosignal.ground.faults import SequenceGap
from cryptosignal.sim.book import Book, Side
from cryptosignal.sim.exchange import Exchange


class DepthDiff(msgspec.Struct, frozen=True, gc=False):
    """One recorded depthUpdate; levels in the symbol's units, quantity 0 deletes."""

    time_ms: int
    first_id: int
    last_id: int
    previous_id: int
    bids: tuple[tuple[int, int], ...]
    asks: tuple[tuple[int, int], ...]


class RecordedBook(Book):
    """Book of one symbol fed by a snapshot and diffs under the futures rule (BINANCE §4)."""

    def start_from(self, last_update_id: int, bids: Side, asks: Side) -> None:
        """Begin at a snapshot."""
        self._sides = {True: dict(bids), False: dict(asks)}
        self._snapshot_id = last_update_id
        self._last_id = 0

    def apply(self, diff: DepthDiff) -> bool:
        """Take one diff; False if it lies before the snapshot. Raises SequenceGap on a broken chain."""
        if diff.last_id < self._snapshot_id:
            return False
        if not self._last_id and diff.first_id > self._snapshot_id:
            raise SequenceGap(
                f"first diff {diff.first_id} starts after snapshot {self._snapshot_id}"
            )
        if self._last_id and diff.previous_id != self._last_id:
            raise SequenceGap(
                f"diff {diff.last_id} continues {diff.previous_id}, not {self._last_id}"
            )
        self._last_id = diff.last_id
        for is_bid, levels in ((True, diff.bids), (False, diff.asks)):
            side = self._sides[is_bid]
            for price, qty in levels:
                if qty:
                    side[price] = qty
                else:
                    side.pop(price, None)
        return True

    def quotes(self) -> tuple[int, int]:
        """Best recorded bid and ask."""
        return max(self._sides[True], default=0), min(self._sides[False], default=0)

    def ladder(self, now_ms: int, *, is_bid: bool, count: int) -> Side:
        """The recorded levels, best first."""
        return sorted(self._sides[is_bid].items(), reverse=is_bid)[:count]


def units_of(levels: list[list[str]], price_digits: int, qty_digits: int) -> Side:
    """Text levels in the symbol's integer units."""
    return [
        (int(Decimal(p).scaleb(price_digits)), int(Decimal(q).scaleb(qty_digits)))
        for p, q in levels
    ]


def diff_of(event: dict[str, Any], price_digits: int, qty_digits: int) -> DepthDiff:
    """A recorded depthUpdate payload."""
    return DepthDiff(
        event["T"],
        event["U"],
        event["u"],
        event["pu"],
        tuple(units_of(event["b"], price_digits, qty_digits)),
        tuple(units_of(event["a"], price_digits, qty_digits)),
    )


def replay_book(
    exchange: Exchange, symbol: str, snapshot: dict[str, Any], events: list[dict[str, Any]]
) -> RecordedBook:
    """Serve a recorded book for `symbol` from now on; the first event falls on the present."""
    index = exchange.index_of[symbol]
    row, settings = exchange.listed[index], exchange.settings
    book = RecordedBook(row, exchange.flows[index], 0, settings.book_levels, settings.pace)
    digits = row.price_digits, row.qty_digits
    book.start_from(
        snapshot["lastUpdateId"],
        units_of(snapshot["bids"], *digits),
        units_of(snapshot["asks"], *digits),
    )
    exchange.books[index] = book
    diffs = [diff_of(event, *digits) for event in events]
    shift = exchange.now_ms - diffs[0].time_ms if diffs else 0

    def play(_now: int, number: int) -> None:
        book.apply(diffs[number])

    for number, diff in enumerate(diffs):
        exchange.agenda.at(diff.time_ms + shift, play, number)
    return book
