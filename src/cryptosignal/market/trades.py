"""Aggregate trades: a ring a symbol, taker flow by exchange second, large-trade thresholds.

`isBuyerMaker` true means that a taker sold (DOMAIN §3.26). Time is the exchange's `T`, never ours.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from cryptosignal.market.settings import MarketSettings
from cryptosignal.market.trade_reading import Trades
from cryptosignal.market.views import FlowView, Ints

_BUCKETS: Final = 128
_BUY, _SELL, _LARGE_BUY, _LARGE_SELL, _COUNT = range(5)
_RECENT: Final = 128
_ID_GAP_MAX: Final = 100_000
_ID_ROOM: Final = 1 << 44


class Tapes:
    """Trades of all symbols that have a tape. Rows are given out on a symbol's first trade."""

    def __init__(self, settings: MarketSettings, slots: int) -> None:
        self._size = settings.agg_trade_cache_size
        self._window_s = settings.agg_trade_window_s
        self._quantile = settings.large_trade_quantile
        self._block = settings.large_trade_block
        self._row_of = np.full(slots, -1, np.int64)
        self._slot_of: list[int] = []
        self._allocate(0)
        self.missed_ids: dict[int, int] = {}
        self.duplicates = 0

    def _allocate(self, rows: int) -> None:
        size = self._size
        self.time_ms: Ints = np.zeros((rows, size), np.int64)
        self.ids: Ints = np.full((rows, size), -1, np.int64)
        self.price = np.full((rows, size), np.nan)
        self.signed_qty = np.zeros((rows, size))
        self.count: Ints = np.zeros(rows, np.int64)
        self.last_id: Ints = np.full(rows, -1, np.int64)
        self.newest_ms: Ints = np.zeros(rows, np.int64)
        self.threshold = np.full(rows, np.inf)
        self._second: Ints = np.zeros((rows, _BUCKETS), np.int64)
        self._flow = np.zeros((5, rows, _BUCKETS))

    def grow(self, slots: int) -> None:
        """Make room for `slots` symbols (rows come with trades)."""
        more = slots - len(self._row_of)
        if more > 0:
            self._row_of = np.concatenate([self._row_of, np.full(more, -1, np.int64)])

    def _row(self, slot: int) -> int:
        row = int(self._row_of[slot])
        if row < 0:
            row = len(self._slot_of)
            self._slot_of.append(slot)
            self._row_of[slot] = row
            if row >= len(self.count):
                self._widen(min(max(16, 2 * row), len(self._row_of)))
        return row

    def _widen(self, rows: int) -> None:
        old = {name: getattr(self, name) for name in _ARRAYS}
        self._allocate(rows)
        for name, array in old.items():
            if name == "_flow":
                self._flow[:, : array.shape[1]] = array
            else:
                getattr(self, name)[: len(array)] = array

    # ---- writing ------------------------------------------------------------------------------
    def add(self, trades: Trades) -> int:
        """Trades in the order they came; answers those kept.

        A trade already in the ring is dropped by its id; out-of-order ones are kept. All numbers
        must be finite and positive, or the trade is dropped.
        """
        slots = trades.slots
        row = self._row_of[slots]
        if (row < 0).any():
            for slot in dict.fromkeys(slots[row < 0].tolist()):
                self._row(slot)
            row = self._row_of[slots]
        ids, time_ms, price, qty = trades.ids, trades.times, trades.prices, trades.quantities
        with np.errstate(invalid="ignore", over="ignore"):
            sound = (price > 0) & np.isfinite(price) & np.isfinite(qty) & (qty != 0)
        if not sound.all():
            row, ids, time_ms = row[sound], ids[sound], time_ms[sound]
            price, qty = price[sound], qty[sound]
        order = np.argsort(row, kind="stable")
        row, ids, time_ms = row[order], ids[order], time_ms[order]
        price, qty = price[order], qty[order]
        fresh = self._fresh(row, ids, time_ms)
        if not fresh.all():
            self.duplicates += int((~fresh).sum())
            row, ids, time_ms = row[fresh], ids[fresh], time_ms[fresh]
            price, qty = price[fresh], qty[fresh]
        if len(row):
            self._write(row, ids, time_ms, price, qty)
        return len(row)

    def _fresh(self, row: Ints, ids: Ints, time_ms: Ints) -> NDArray[np.bool_]:
        """False where the id was seen before: in the ring's recent part or earlier in this batch."""
        fresh = np.ones(len(row), np.bool_)
        if not len(row):
            return fresh
        keys = row * _ID_ROOM + ids
        highest = row * _ID_ROOM + self.last_id[row]
        highest[1:] = np.maximum(highest[1:], np.maximum.accumulate(keys)[:-1])
        step = keys - highest
        has_before = highest >= row * _ID_ROOM
        jumped = (step > 1) & has_before & (step < _ID_GAP_MAX)
        for index in np.flatnonzero(jumped).tolist():
            slot = self._slot_of[int(row[index])]
            self.missed_ids[slot] = self.missed_ids.get(slot, 0) + int(step[index]) - 1
        suspects = np.flatnonzero(step <= 0)
        if not len(suspects):
            return fresh
        old = suspects[time_ms[suspects] <= self.newest_ms[row[suspects]]]
        if len(old):  # a duplicate cannot be younger than the youngest trade in the ring
            offsets = (self.count[row[old], None] - 1 - np.arange(_RECENT)) % self._size
            known = self.ids[row[old, None], offsets] == ids[old, None]
            fresh[old[known.any(axis=1)]] = False
        _, firsts = np.unique(keys, return_index=True)
        once = np.zeros(len(row), np.bool_)
        once[firsts] = True
        return fresh & once

    def _write(
        self,
        row: Ints,
        ids: Ints,
        time_ms: Ints,
        price: NDArray[np.float64],
        qty: NDArray[np.float64],
    ) -> None:
        starts = np.flatnonzero(np.r_[True, row[1:] != row[:-1]])
        lengths = np.diff(np.r_[starts, len(row)])
        rank = np.arange(len(row)) - np.repeat(starts, lengths)
        place = self.count[row] + rank
        position = place % self._size
        notional = price * np.abs(qty)
        blocks = place // self._block - (self.count // self._block)[row]
        for block in range(int(blocks.max()) + 1):
            part = np.flatnonzero(blocks == block) if blocks.any() else slice(None)
            if block:
                self._set_thresholds(np.unique(row[part]))
            rows = row[part]
            at = position[part]
            self.time_ms[rows, at] = time_ms[part]
            self.ids[rows, at] = ids[part]
            self.price[rows, at] = price[part]
            self.signed_qty[rows, at] = qty[part]
            self._count_in_seconds(rows, time_ms[part], qty[part] > 0, notional[part])
            np.add.at(self.count, rows, 1)
        ends = np.r_[starts[1:], len(row)] - 1
        self.last_id[row[starts]] = np.maximum(
            self.last_id[row[starts]], np.maximum.reduceat(ids, starts)
        )
        self.newest_ms[row[starts]] = np.maximum(
            self.newest_ms[row[starts]], np.maximum.reduceat(time_ms, starts)
        )
        full = row[ends][self.count[row[ends]] % self._block == 0]
        if len(full):
            self._set_thresholds(full)

    def _set_thresholds(self, rows: Ints) -> None:
        """The quantile of notional over the kept trades of each row (DOMAIN §3.24)."""
        for row in rows.tolist():
            kept = min(int(self.count[row]), self._size)
            notional = self.price[row, :kept] * np.abs(self.signed_qty[row, :kept])
            rank = min(kept - 1, int(self._quantile * kept))
            self.threshold[row] = np.partition(notional, rank)[rank]

    def _count_in_seconds(
        self,
        rows: Ints,
        time_ms: Ints,
        is_buy: NDArray[np.bool_],
        notional: NDArray[np.float64],
    ) -> None:
        second = time_ms // 1000
        newest = self._second.max(axis=1)
        np.maximum.at(newest, rows, second)
        keep = second > newest[rows] - _BUCKETS
        if not keep.all():
            rows, second = rows[keep], second[keep]
            is_buy, notional = is_buy[keep], notional[keep]
        cell = second % _BUCKETS
        stale = self._second[rows, cell] < second
        if stale.any():
            self._flow[:, rows[stale], cell[stale]] = 0.0
            self._second[rows[stale], cell[stale]] = second[stale]
        large = notional >= self.threshold[rows]
        flow = self._flow
        for kind, chosen in ((_BUY, is_buy), (_SELL, ~is_buy)):
            np.add.at(flow[kind], (rows[chosen], cell[chosen]), notional[chosen])
            big = chosen & large
            if big.any():
                np.add.at(flow[kind + 2], (rows[big], cell[big]), notional[big])
        np.add.at(flow[_COUNT], (rows, cell), 1.0)

    # ---- reading ------------------------------------------------------------------------------
    def flow(self, now_ms: int, slots: int) -> FlowView:
        """Taker flow of the window that ends at `now_ms`, in whole exchange seconds."""
        out = np.full((5, slots), np.nan)
        used = len(self._slot_of)
        if used:
            last = now_ms // 1000
            second = self._second[:used]
            inside = (second > last - self._window_s) & (second <= last)
            total = np.einsum("krb,rb->kr", self._flow[:, :used], inside.astype(np.float64))
            owners = np.asarray(self._slot_of)
            shown = owners < slots
            out[:, owners[shown]] = total[:, shown]
        return FlowView(
            buy_usdt=out[_BUY],
            sell_usdt=out[_SELL],
            large_buy_usdt=out[_LARGE_BUY],
            large_sell_usdt=out[_LARGE_SELL],
            trades=out[_COUNT],
        )

    def recent(
        self, slot: int, seconds: float, now_ms: int
    ) -> tuple[Ints, NDArray[np.float64], NDArray[np.float64]]:
        """(times ms, prices, quantities with the taker's sign) of the last `seconds`, by time."""
        row = int(self._row_of[slot])
        if row < 0:
            empty = np.zeros(0)
            return np.zeros(0, np.int64), empty, empty
        kept = min(int(self.count[row]), self._size)
        time_ms = self.time_ms[row, :kept]
        span = min(seconds, self._window_s) * 1000
        chosen = np.flatnonzero((time_ms > now_ms - span) & (time_ms <= now_ms))
        chosen = chosen[np.lexsort((self.ids[row, chosen], time_ms[chosen]))]
        return time_ms[chosen], self.price[row, chosen], self.signed_qty[row, chosen]

    def total(self, slot: int) -> int:
        """Trades taken since the start."""
        row = int(self._row_of[slot])
        return 0 if row < 0 else int(self.count[row])


_ARRAYS: Final = (
    "time_ms",
    "ids",
    "price",
    "signed_qty",
    "count",
    "last_id",
    "newest_ms",
    "threshold",
    "_second",
    "_flow",
)
