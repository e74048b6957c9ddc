"""Resting liquidity of one symbol: a seeded ladder around the last trade, and clients' queues in it.

A level's quantity is a function of its price and a few seconds of time; what clients take is
remembered until the level is refilled. Units are the symbol's integers.
"""

from __future__ import annotations

import numpy as np

from cryptosignal.sim.flow import Flow
from cryptosignal.sim.listing import Listed
from cryptosignal.sim.noise import I64, bits, hash_int, key_of, uniform_one, uniforms
from cryptosignal.sim.orders import Order

LEVEL_LIFE_MS = 4_000
LEVEL_LIFE_QUIET_MS = 12_000
REFILL_SLOTS = 12
"""Levels are refilled at this many moments of a life, so that a quiet book stands still between."""
DEPTH_OF_TURNOVER = 0.004
DEPTH_USDT_MIN = 150_000.0

Side = list[tuple[int, int]]
"""Levels (price, quantity), best first."""


class Book:
    """Both sides of one symbol at any time."""

    def __init__(self, listed: Listed, flow: Flow, seed: int, levels: int, pace: float) -> None:
        self.listed = listed
        self._flow = flow
        self._levels = levels
        self._key = key_of(seed, 60, listed.index)
        life = LEVEL_LIFE_MS if listed.turnover_usdt > 2e8 else LEVEL_LIFE_QUIET_MS
        self._slot = max(1, int(life * pace) // REFILL_SLOTS)
        self._kept: dict[tuple[bool, int], tuple[tuple[int, int, int], Side]] = {}
        self._version = 0
        self.resting: dict[bool, dict[int, list[Order]]] = {True: {}, False: {}}
        self._taken: dict[tuple[bool, int], tuple[int, int]] = {}
        self._base = self._base_qty()
        self._last_uid = 0
        self._tick = 1
        self._ramp = 1.0 + 0.1 * np.arange(levels)

    def _base_qty(self) -> float:
        row = self.listed
        total = max(row.turnover_usdt * DEPTH_OF_TURNOVER, DEPTH_USDT_MIN)
        per_level = total / (self._levels * (1 + 0.05 * self._levels))
        return max(1.0, per_level / row.anchor_price * 10**row.qty_digits)

    def set_tick(self, unit: int) -> None:
        """The ladder lies on multiples of `unit` from now on."""
        self._tick = unit
        self._version += 1

    def update_id(self, now_ms: int) -> int:
        """A number that grows with every look at the book."""
        self._last_uid = max(self._last_uid + 1, now_ms * 64)
        return self._last_uid

    def quotes(self) -> tuple[int, int]:
        """Best bid and ask of the ladder, before clients' orders."""
        tick = self._tick
        last = self._flow.last_price // tick * tick
        spread = -(-self.listed.spread_ticks // tick) * tick
        bid = max(tick, last if self._flow.last_is_sell else last - spread)
        return bid, bid + spread

    def best(self, now_ms: int) -> tuple[int, int, int, int]:
        """Best bid, its quantity, best ask, its quantity, clients' orders included."""
        bid = self.side(now_ms, is_bid=True, count=1)
        ask = self.side(now_ms, is_bid=False, count=1)
        b, a = bid[0] if bid else (0, 0), ask[0] if ask else (0, 0)
        return b[0], b[1], a[0], a[1]

    def best_price(self, now_ms: int, *, is_bid: bool) -> int:
        """The best price of a side."""
        rows = self.side(now_ms, is_bid=is_bid, count=1)
        return rows[0][0] if rows else 0

    def _epoch(self, price: int, now_ms: int) -> int:
        return (now_ms // self._slot + hash_int(self._key, price) % REFILL_SLOTS) // REFILL_SLOTS

    def _ladder_prices(self, *, is_bid: bool, count: int) -> I64:
        best = self.quotes()[0 if is_bid else 1]
        gap = -(-self.listed.book_gap // self._tick) * self._tick
        steps = np.arange(count - 1, dtype=np.int64) * gap
        if is_bid:
            rest = (best - 1) // gap * gap - steps
        else:
            rest = -(-(best + 1) // gap) * gap + steps
        prices = np.concatenate([np.array([best], np.int64), rest])
        return prices[prices > 0]

    def _ladder_qty(self, prices: I64, now_ms: int) -> I64:
        phase = (bits(self._key, prices) % np.uint64(REFILL_SLOTS)).astype(np.int64)
        epoch = (now_ms // self._slot + phase) // REFILL_SLOTS
        u = uniforms(self._key + 1, prices * 1_048_576 + epoch % 1_048_576)
        shape = self._ramp[: len(prices)] * (0.25 + 1.5 * u * u + 0.25 * u)
        qty = self._base * shape
        qty[0] *= 4.0
        return np.maximum(qty, 1.0).astype(np.int64)

    def ladder(self, now_ms: int, *, is_bid: bool, count: int) -> Side:
        """The seeded levels less what clients took, empty ones left out."""
        self._flow.skip_to(now_ms)
        mark = (self.quotes()[0], now_ms // self._slot, self._version)
        kept = self._kept.get((is_bid, count))
        if kept is not None and kept[0] == mark:
            return kept[1]
        rows = self._draw(now_ms, is_bid=is_bid, count=count)
        if len(self._kept) > 8:
            self._kept.clear()
        self._kept[is_bid, count] = (mark, rows)
        return rows

    def _draw(self, now_ms: int, *, is_bid: bool, count: int) -> Side:
        prices = self._ladder_prices(is_bid=is_bid, count=count)
        rows = list(zip(prices.tolist(), self._ladder_qty(prices, now_ms).tolist(), strict=True))
        if not self._taken:
            return rows
        out = []
        for price, qty in rows:
            held = self._taken.get((is_bid, price))
            if held and held[0] == self._epoch(price, now_ms):
                qty -= held[1]
            elif held:
                del self._taken[is_bid, price]
            if qty > 0:
                out.append((price, qty))
        return out

    def ladder_at(self, price: int, now_ms: int, *, is_bid: bool) -> int:
        """The ladder's quantity at one price, 0 where it has no level."""
        for level, qty in self.ladder(now_ms, is_bid=is_bid, count=self._levels):
            if level == price:
                return qty
        return 0

    def take(self, price: int, qty: int, now_ms: int, *, is_bid: bool) -> None:
        """A client took `qty` of the ladder at `price`."""
        epoch = self._epoch(price, now_ms)
        held = self._taken.get((is_bid, price))
        before = held[1] if held and held[0] == epoch else 0
        self._taken[is_bid, price] = (epoch, before + qty)
        self._version += 1

    def side(self, now_ms: int, *, is_bid: bool, count: int) -> Side:
        """Visible levels: the ladder and clients' resting orders, best first."""
        resting = self.resting[is_bid]
        if not resting:
            return self.ladder(now_ms, is_bid=is_bid, count=count)
        rows = dict(self.ladder(now_ms, is_bid=is_bid, count=count))
        for price, queue in resting.items():
            rows[price] = rows.get(price, 0) + sum(o.left for o in queue)
        own_best = self._best_resting(is_bid=not is_bid)
        out = sorted(rows.items(), reverse=is_bid)
        if own_best:
            out = [
                r
                for r in out
                if (r[0] < own_best if is_bid else r[0] > own_best) or r[0] in resting
            ]
        return out[:count]

    def _best_resting(self, *, is_bid: bool) -> int:
        prices = self.resting[is_bid]
        if not prices:
            return 0
        return max(prices) if is_bid else min(prices)

    def rest(self, order: Order, now_ms: int) -> None:
        """Queue an order behind what is there."""
        order.ahead = self.ladder_at(order.price, now_ms, is_bid=order.is_buy)
        self.resting[order.is_buy].setdefault(order.price, []).append(order)

    def remove(self, order: Order) -> None:
        """Take an order out of its queue; absent is fine."""
        queue = self.resting[order.is_buy].get(order.price)
        if queue and order in queue:
            queue.remove(order)
            if not queue:
                del self.resting[order.is_buy][order.price]

    def hit_prices(self) -> tuple[int, int]:
        """A trade at or below the first, or at or above the second, concerns a resting order."""
        bids, asks = self.resting[True], self.resting[False]
        return (max(bids) if bids else -1), (min(asks) if asks else 1 << 60)

    def listed_levels(self) -> int:
        """How many levels a side shows at most."""
        return self._levels

    def is_shown(self, agg_id: int) -> bool:
        """A deterministic coin for rare marks on the flow (forced orders)."""
        return uniform_one(self._key + 2, agg_id) < 0.02


def changes(olds: list[Side], new: Side) -> Side:
    """Levels whose quantity differs from any of the earlier states; 0 deletes."""
    fresh = dict(new)
    changed: dict[int, int] = {}
    for old in olds:
        before = dict(old)
        changed.update({price: 0 for price in before if price not in fresh})
        changed.update({price: qty for price, qty in new if before.get(price) != qty})
    return sorted(changed.items())
