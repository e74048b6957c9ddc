"""Order books: top levels of every warm symbol in arrays, full diff books of the hot ones.

The diff book follows the venue's futures rule (BINANCE §4): buffer, snapshot, drop u < id, first
event U ≤ id ≤ u, then each `pu` equals the former `u`; anything else starts over.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from enum import IntEnum
from typing import Final

import numpy as np

from cryptosignal.market import frames
from cryptosignal.market.views import BookView, Floats

Levels = list[tuple[float, float]]

_TRAIL_MAX: Final = 512
_TRAIL_LEVELS: Final = 20


class BookState(IntEnum):
    """Life of a diff book."""

    WAITING = 0
    """Differences are buffered; a snapshot is wanted."""
    SYNCED = 1
    """The chain is unbroken since the snapshot."""


class DiffBook:
    """One symbol's full book from a snapshot and its differences. `last_id` is the newest `u`."""

    def __init__(self, buffer_max: int, levels_max: int) -> None:
        self._buffer_max = buffer_max
        self._levels_max = levels_max
        self._buffer: list[frames.DepthData] = []
        self._bids: dict[float, float] = {}
        self._asks: dict[float, float] = {}
        self._bid_prices: list[float] = []
        self._ask_prices: list[float] = []
        self.state = BookState.WAITING
        self._is_first = False
        self.last_id = 0
        self.event_ms = 0
        self.rebuilds = 0
        self.breaks = 0
        self.applied = 0
        self._trail: deque[tuple[int, int, frozenset[float], tuple[Levels, Levels]]] | None = None

    @property
    def wants_snapshot(self) -> bool:
        """Whether REST must supply a snapshot (and at least one difference is buffered)."""
        return self.state is BookState.WAITING and bool(self._buffer)

    def on_diff(self, event: frames.DepthData) -> bool:
        """Apply or buffer one difference; False if it broke the chain (the book starts over)."""
        if self.state is BookState.WAITING:
            self._keep(event)
            return True
        if event.u <= self.last_id:
            return True  # seen before: a duplicate, or the overlap of two connections
        straddles = self._is_first and self.last_id >= event.U
        if event.pu != self.last_id and not straddles:
            self.breaks += 1
            self.restart()
            self._keep(event)
            return False
        self._apply(event)
        return True

    def _keep(self, event: frames.DepthData) -> None:
        self._buffer.append(event)
        if len(self._buffer) > self._buffer_max:
            del self._buffer[: len(self._buffer) // 2]

    def restart(self) -> None:
        """Forget the book: it cannot be trusted until the next snapshot."""
        self.state = BookState.WAITING
        self._buffer.clear()
        self.last_id = 0

    def on_snapshot(self, last_id: int, bids: Levels, asks: Levels, event_ms: int = 0) -> bool:
        """Steps 3 to 5 of the venue's recipe; False if the snapshot is older than the buffer."""
        events = [event for event in self._buffer if event.u >= last_id]
        if events and last_id < events[0].U:
            return False  # the snapshot ends before the buffer begins: ask for a newer one
        self._bids = {price: qty for price, qty in bids if qty > 0}
        self._asks = {price: qty for price, qty in asks if qty > 0}
        self._bid_prices = sorted(self._bids)
        self._ask_prices = sorted(self._asks)
        self.last_id = last_id
        self.event_ms = event_ms
        self.state = BookState.SYNCED
        self._is_first = True
        self.rebuilds += 1
        self._buffer.clear()
        for index, event in enumerate(events):
            if index and event.pu != self.last_id:
                self.breaks += 1
                self.restart()
                self._buffer.extend(events[index:])
                return False
            self._apply(event)
        return True

    def _apply(self, event: frames.DepthData) -> None:
        self._is_first = False
        _merge(self._bids, self._bid_prices, event.b)
        _merge(self._asks, self._ask_prices, event.a)
        self.last_id = event.u
        self.event_ms = event.E
        self.applied += 1
        if self._trail is not None:
            touched = frozenset(price for price, _ in (*event.b, *event.a))
            self._trail.append((event.U, event.u, touched, self.top(_TRAIL_LEVELS)))
        extra = len(self._bid_prices) - self._levels_max
        if extra > 0:
            for price in self._bid_prices[:extra]:
                del self._bids[price]
            del self._bid_prices[:extra]
        if len(self._ask_prices) > self._levels_max:
            for price in self._ask_prices[self._levels_max :]:
                del self._asks[price]
            del self._ask_prices[self._levels_max :]

    # ---- reconciliation -------------------------------------------------------------------------
    def begin_check(self) -> None:
        """Remember the top after every difference from now on, until `end_check`."""
        self._trail = deque(maxlen=_TRAIL_MAX)
        self._trail.append((self.last_id, self.last_id, frozenset(), self.top(_TRAIL_LEVELS)))

    def end_check(self) -> None:
        """Stop remembering."""
        self._trail = None

    def at(self, last_id: int) -> tuple[frozenset[float], tuple[Levels, Levels]] | None:
        """(prices that may differ, top) as of a snapshot's id; None if the trail has no such moment.

        If an event spans the id, its own levels cannot be compared; all others can (§0.23).
        """
        trail = list(self._trail or ())
        for index, (first, newest, touched, top) in enumerate(trail):
            if newest == last_id:
                return frozenset(), top
            if newest > last_id:
                if first <= last_id:
                    return (touched, top) if index else None
                return (frozenset(), trail[index - 1][3]) if index else None
        return None

    def top(self, levels: int) -> tuple[Levels, Levels]:
        """Best `levels` of bids and asks, best first."""
        bids = [(price, self._bids[price]) for price in self._bid_prices[: -levels - 1 : -1]]
        asks = [(price, self._asks[price]) for price in self._ask_prices[:levels]]
        return bids, asks


def _merge(side: dict[float, float], prices: list[float], changes: Levels) -> None:
    """Quantities are absolute; 0 deletes, and deleting an unknown level is normal (step 6)."""
    for price, qty in changes:
        if qty > 0:
            if price not in side:
                insort(prices, price)
            side[price] = qty
        elif price in side:
            del side[price]
            del prices[bisect_left(prices, price)]


class Tops:
    """The best levels of all symbols as arrays `[slot, level]`, best first."""

    def __init__(self, slots: int, levels: int) -> None:
        self.levels = levels
        shape = (slots, levels)
        self.bid_price: Floats = np.full(shape, np.nan)
        self.bid_qty: Floats = np.full(shape, np.nan)
        self.ask_price: Floats = np.full(shape, np.nan)
        self.ask_qty: Floats = np.full(shape, np.nan)
        self.event_ms: Floats = np.full(slots, np.nan)

    def grow(self, slots: int) -> None:
        """Make room for `slots` symbols."""
        more = slots - len(self.event_ms)
        if more <= 0:
            return
        pad = np.full((more, self.levels), np.nan)
        for name in ("bid_price", "bid_qty", "ask_price", "ask_qty"):
            setattr(self, name, np.concatenate([getattr(self, name), pad]))
        self.event_ms = np.concatenate([self.event_ms, np.full(more, np.nan)])

    def put(self, slot: int, event_ms: int, bids: Levels, asks: Levels) -> bool:
        """Replace a symbol's levels; False if they are crossed or not finite."""
        bid = np.array(bids[: self.levels]).reshape(-1, 2)
        ask = np.array(asks[: self.levels]).reshape(-1, 2)
        if not (np.isfinite(bid).all() and np.isfinite(ask).all()):
            return False
        if len(bid) and len(ask) and bid[0, 0] >= ask[0, 0]:
            return False
        self._fill(self.bid_price[slot], self.bid_qty[slot], bid)
        self._fill(self.ask_price[slot], self.ask_qty[slot], ask)
        self.event_ms[slot] = event_ms
        return True

    def _fill(self, price: Floats, qty: Floats, levels: Floats) -> None:
        count = len(levels)
        price[:count] = levels[:, 0]
        qty[:count] = levels[:, 1]
        price[count:] = np.nan
        qty[count:] = np.nan

    def clear(self, slot: int) -> None:
        """The symbol has no book any more."""
        for array in (self.bid_price, self.bid_qty, self.ask_price, self.ask_qty):
            array[slot] = np.nan
        self.event_ms[slot] = np.nan

    def view(self, now_ms: int, slots: int) -> BookView:
        """Books of the first `slots` symbols; an event of the future has age 0."""
        return BookView(
            bid_price=self.bid_price[:slots],
            bid_qty=self.bid_qty[:slots],
            ask_price=self.ask_price[:slots],
            ask_qty=self.ask_qty[:slots],
            age_ms=np.maximum(now_ms - self.event_ms[:slots], 0.0),
        )
