"""The one trade flow of a symbol: the path's trades with the clients' trades laid over them.

Everything that prints (klines, aggTrades, tickers, marks) reads from here, so all of it agrees.
Trades pass one by one only where somebody listens or an order rests; otherwise in bulk.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right

import msgspec
import numpy as np

from cryptosignal.ground.units import HOUR_MS, MINUTE_MS
from cryptosignal.sim.bars import Bars, Ticks, join_bars
from cryptosignal.sim.listing import Listed
from cryptosignal.sim.noise import F64, I64, hash_int, key_of
from cryptosignal.sim.path import Path

PRELUDE_MS = HOUR_MS
"""So long before the start candles are already sums of trades, quote volumes included."""
MINUTES_KEPT = 1_600
"""Minutes with exact quote volumes kept per symbol: a day and some."""
_NEVER = 1 << 62
Row = tuple[int, int, int, int, bool]
"""time, price, quantity, count, is_sell"""


class Trade(msgspec.Struct, frozen=True, gc=False):
    """One printed aggregated trade. `price` and `qty` in units; ids as Binance counts them."""

    agg_id: int
    first_id: int
    last_id: int
    time_ms: int
    price: int
    qty: int
    is_sell: bool


class Overlay(msgspec.Struct, frozen=True, gc=False):
    """A client's trade: `borrowed` of its quantity came out of the path's own trade at that price."""

    time_ms: int
    price: int
    qty: int
    is_sell: bool
    borrowed: int
    block_ms: int
    place: int
    """It printed before the trade at `place` of the block drawn from `block_ms`."""


class Minutes(msgspec.Struct, frozen=True, eq=False):
    """One-minute bars with the taker-buy quote volume (price units x quantity units)."""

    bars: Bars
    buy_quote: F64


class Flow:
    """Cursor over one symbol's trades. Times given to it never go backwards."""

    def __init__(
        self, listed: Listed, path: Path, seed: int, start_ms: int, block_minutes: int
    ) -> None:
        self.listed = listed
        self._path = path
        self._block_ms = block_minutes * MINUTE_MS
        self.start_ms = start_ms
        key = key_of(seed, 50, listed.index)
        self.next_agg_id = 1_000_000_000 + hash_int(key, 1) % 1_000_000_000
        self.next_trade_id = 3_000_000_000 + hash_int(key, 2) % 2_000_000_000
        self.overlays: list[Overlay] = []
        self.closed_spans: list[tuple[int, int]] = self._announced_spans()
        self.last_price = 0
        self.last_qty = 0
        self.last_is_sell = False
        self.last_ms = start_ms
        self._entry = 0
        """The path's price when the drawn block began."""
        self._lead: tuple[list[int], list[int]] | None = None
        self.regrid_ms: list[int] = [listed.tick_change_ms] if listed.tick_change_ms else []
        self.guard_ms = _NEVER
        """Trades from here on must be taken one by one: somebody waits for them."""
        self._is_drawn = False
        self._fresh: tuple[int, int, Minutes] | None = None
        self._rows: list[Minutes] = []
        self._rows_from_ms = start_ms // MINUTE_MS * MINUTE_MS - PRELUDE_MS
        self._pos = 0
        self._end_ms = 0
        self._load(start_ms // self._block_ms * self._block_ms)
        self._settle_before(start_ms)

    def _announced_spans(self) -> list[tuple[int, int]]:
        row = self.listed
        spans = [(0, row.onboard_ms)]
        if row.halt_ms:
            spans.append((row.halt_ms, row.halt_until_ms))
        if row.delist_notice_ms:
            spans.append((row.delivery_ms, _NEVER))
        return spans

    def _load(self, at_ms: int) -> None:
        if self._is_drawn and self._price:
            self._entry = self._price[-1]
        self._lead = None
        self._is_drawn = False
        ticks = self._open_ticks(at_ms, at_ms + self._block_ms)
        self._is_drawn = True
        self._end_ms = at_ms + self._block_ms
        self._ticks = ticks
        self._time: list[int] = ticks.time_ms.tolist()
        self._price: list[int] = ticks.price.tolist()
        self._qty: list[int] = ticks.qty.tolist()
        self._count: list[int] = ticks.count.tolist()
        self._sell: list[bool] = ticks.is_sell.tolist()
        self._run: I64 = np.append(0, np.cumsum(ticks.count))
        self._pos = 0
        self._next_ms = 0

    def _open_ticks(self, from_ms: int, to_ms: int) -> Ticks:
        """The path's trades of whole minutes outside closed spans, as drawn (nothing lent)."""
        if self._is_drawn and from_ms >= self._end_ms - self._block_ms and to_ms <= self._end_ms:
            lo, hi = np.searchsorted(self._ticks.time_ms, (from_ms, to_ms))
            return Ticks(*(getattr(self._ticks, f)[lo:hi] for f in Ticks.__struct_fields__))
        ticks = self._path.ticks(self.listed.index, from_ms, to_ms)
        keep = np.ones(len(ticks), bool)
        for start, stop in self.closed_spans:
            if start < to_ms and stop > from_ms:
                keep &= (ticks.time_ms < start) | (ticks.time_ms >= stop)
        if keep.all():
            return ticks
        return Ticks(*(getattr(ticks, f)[keep] for f in Ticks.__struct_fields__))

    def _settle_before(self, now_ms: int) -> None:
        """Trades before the start have happened: they set the last price, without ids."""
        self._pos = bisect_left(self._time, now_ms)
        if self._pos:
            self._set_last(self._pos - 1)
            return
        for level, reach in (("1m", HOUR_MS), (self._path.base, now_ms)):
            rows = self._path.bars(self.listed.index, level, now_ms - reach, now_ms)
            if len(rows):
                self.last_price = int(rows.close[-1])
                return
        ahead = self._path.bars(self.listed.index, "1m", now_ms, now_ms + 60 * MINUTE_MS)
        anchor = round(self.listed.anchor_price * 10**self.listed.price_digits)
        self.last_price = int(ahead.open[0]) if len(ahead) else anchor

    def _set_last(self, at: int) -> None:
        self.last_price, self.last_qty = self._price[at], self._qty[at]
        self.last_is_sell, self.last_ms = self._sell[at], self._time[at]

    def peek_ms(self) -> int:
        """Time of the next trade of the path, or the end of the drawn block when it has none left."""
        return self._time[self._pos] if self._pos < len(self._time) else self._end_ms

    def has_tick(self) -> bool:
        """Whether a drawn trade is left at `peek_ms`."""
        return self._pos < len(self._time)

    def open_block(self) -> None:
        """Draw the block after the current one."""
        self._load(self._end_ms)

    def take(self) -> Trade:
        """The next trade of the path, printed."""
        at = self._pos
        self._pos = at + 1
        self._next_ms = 0
        self._set_last(at)
        return self._numbered(
            self._time[at], self._price[at], self._qty[at], self._count[at], self._sell[at]
        )

    def _numbered(self, time_ms: int, price: int, qty: int, count: int, is_sell: bool) -> Trade:
        agg, first = self.next_agg_id, self.next_trade_id
        self.next_agg_id = agg + 1
        self.next_trade_id = first + count
        return Trade(agg, first, first + count - 1, time_ms, price, qty, is_sell)

    def lend(self, quantity: int) -> None:
        """Take `quantity` out of the next trade, because resting client orders are filled by it."""
        self._qty[self._pos] -= quantity

    def next_tick(self) -> tuple[int, int, bool]:
        """Price, quantity and taker side of the trade at `peek_ms`."""
        at = self._pos
        return self._price[at], self._qty[at], self._sell[at]

    def drop_empty(self) -> bool:
        """Pass a trade that was lent out whole; True if there was one."""
        if self._qty[self._pos] > 0:
            return False
        self._pos += 1
        return True

    def skip_to(self, now_ms: int) -> None:
        """Everything up to and including `now_ms` has happened; stops where somebody listens."""
        if now_ms >= self.guard_ms:
            now_ms = self.guard_ms - 1
        if now_ms < self._next_ms:
            return
        while now_ms >= self._end_ms:
            self._pass(len(self._time))
            self._jump(now_ms)
        self._pass(bisect_right(self._time, now_ms))
        self._next_ms = self.peek_ms()

    def _jump(self, now_ms: int) -> None:
        at = now_ms // self._block_ms * self._block_ms
        while self._end_ms < at:
            step = min(at, self._end_ms + 12 * HOUR_MS)
            ticks = self._open_ticks(self._end_ms, step)
            self.next_agg_id += len(ticks)
            self.next_trade_id += int(ticks.count.sum())
            if len(ticks):
                self.last_price, self.last_qty = int(ticks.price[-1]), int(ticks.qty[-1])
                self.last_is_sell, self.last_ms = bool(ticks.is_sell[-1]), int(ticks.time_ms[-1])
                self._price = [self.last_price]
            self._end_ms = step
        self._load(at)

    def _pass(self, stop: int) -> None:
        if stop <= self._pos:
            return
        self.next_agg_id += stop - self._pos
        self.next_trade_id += int(self._run[stop] - self._run[self._pos])
        self._pos = stop
        self._set_last(stop - 1)

    def path_price(self, at_ms: int) -> int:
        """The path's own price at a moment of the last minute: what clients trade does not move it."""
        at = bisect_right(self._time, at_ms) - 1
        if at >= 0:
            return self._price[at]
        if self._lead is None:
            begin = self._end_ms - self._block_ms
            ticks = self._open_ticks(begin - MINUTE_MS, begin)
            self._lead = ticks.time_ms.tolist(), ticks.price.tolist()
        times, prices = self._lead
        if not times:
            return self._entry or self.last_price
        return prices[max(0, bisect_right(times, at_ms) - 1)]

    def path_ticks(self, from_ms: int, to_ms: int) -> Ticks:
        """The path's own trades of whole minutes in [from_ms, to_ms)."""
        return self._open_ticks(from_ms, to_ms)

    def regrid(self, from_ms: int, unit: int) -> None:
        """Trades from `from_ms` on, a whole minute ahead, print on multiples of `unit`."""
        self._path.regrid(self.listed.index, from_ms, unit)
        self.regrid_ms.append(from_ms)
        if from_ms >= self._end_ms:
            return
        at = bisect_left(self._time, from_ms)
        self._is_drawn = False
        self._ticks = self._open_ticks(self._end_ms - self._block_ms, self._end_ms)
        self._is_drawn = True
        left = len(self._price) - at
        if left:
            self._price[at:] = self._ticks.price[-left:].tolist()

    def next_hit_ms(self, low: int, high: int) -> int:
        """Time of the next drawn trade with price <= `low` or >= `high`; the block's end if none."""
        prices = self._ticks.price[self._pos :]
        hit = (prices <= low) | (prices >= high)
        at = int(hit.argmax()) if len(hit) else 0
        return self._time[self._pos + at] if len(hit) and hit[at] else self._end_ms

    def print_client(
        self, now_ms: int, price: int, qty: int, is_sell: bool, borrowed: int = 0
    ) -> Trade:
        """A client's trade: numbered and laid over the path."""
        block_ms = self._end_ms - self._block_ms
        self.overlays.append(Overlay(now_ms, price, qty, is_sell, borrowed, block_ms, self._pos))
        self.last_price, self.last_qty, self.last_is_sell, self.last_ms = (
            price,
            qty,
            is_sell,
            now_ms,
        )
        return self._numbered(now_ms, price, qty, 1, is_sell)

    def close_market(self, from_ms: int, to_ms: int) -> None:
        """No trades in [from_ms, to_ms), whole minutes: a halt. Must lie ahead of the cursor."""
        self.closed_spans.append((from_ms, to_ms))
        if from_ms >= self._end_ms:
            return
        time = self._ticks.time_ms
        keep = (time < from_ms) | (time >= to_ms)
        keep[: self._pos] = True
        self._ticks = Ticks(*(getattr(self._ticks, f)[keep] for f in Ticks.__struct_fields__))
        for name in ("time_ms", "price", "qty", "count", "is_sell"):
            own = {"time_ms": "_time", "is_sell": "_sell"}.get(name, f"_{name}")
            values = [v for v, k in zip(getattr(self, own), keep.tolist(), strict=True) if k]
            setattr(self, own, values)
        self._run = np.append(0, np.cumsum(self._ticks.count))

    def trades_between(self, from_ms: int, now_ms: int) -> list[Trade]:
        """Printed trades with from_ms <= time <= now_ms, ids counted back from the present."""
        self.skip_to(now_ms)
        start = from_ms // MINUTE_MS * MINUTE_MS
        ticks = self._open_ticks(start, now_ms // MINUTE_MS * MINUTE_MS + MINUTE_MS)
        rows = list(
            zip(
                ticks.time_ms.tolist(),
                ticks.price.tolist(),
                ticks.qty.tolist(),
                ticks.count.tolist(),
                ticks.is_sell.tolist(),
                strict=True,
            )
        )
        merged = self._with_overlays([r for r in rows if r[0] <= now_ms], start)
        agg, first = self.next_agg_id, self.next_trade_id
        out: list[Trade] = []
        for time, price, qty, count, is_sell in reversed(merged):
            agg, first = agg - 1, first - count
            if time < from_ms:
                break
            out.append(Trade(agg, first, first + count - 1, time, price, qty, is_sell))
        out.reverse()
        return out

    def _with_overlays(self, rows: list[Row], from_ms: int) -> list[Row]:
        """Path trades from `from_ms` with the clients' trades at the places where they printed."""
        start = bisect_left(self.overlays, from_ms, key=lambda o: o.time_ms)
        out: list[Row] = []
        done, lent, block_ms, base = 0, 0, -1, 0
        for overlay in self.overlays[start:]:
            if overlay.block_ms != block_ms:
                block_ms, base = overlay.block_ms, self._base(rows, overlay.block_ms, from_ms)
            at = max(0, base + overlay.place)
            if at > done:
                out += _less(rows[done:at], lent)
                done, lent = at, 0
            out.append((overlay.time_ms, overlay.price, overlay.qty, 1, overlay.is_sell))
            lent += overlay.borrowed
        return out + _less(rows[done:], lent)

    def _base(self, rows: list[Row], block_ms: int, from_ms: int) -> int:
        """Index in `rows` of the first trade of a block (negative when it lies before them)."""
        if block_ms >= from_ms:
            return bisect_left(rows, block_ms, key=lambda r: r[0])
        return -len(self._open_ticks(block_ms, from_ms))

    def minutes(self, from_ms: int, now_ms: int) -> Minutes:
        """Exact minute bars that open in [from_ms, now_ms], the running one included.

        Only minutes from an hour before the venue's start on; tradeless ones are flat rows.
        """
        self.skip_to(now_ms)
        whole = self._until(now_ms)
        lo = int(np.searchsorted(whole.bars.open_ms, from_ms // MINUTE_MS * MINUTE_MS))
        return Minutes(whole.bars.slice(lo, len(whole.bars)), whole.buy_quote[lo:])

    def is_touched(self, from_ms: int, to_ms: int) -> bool:
        """Whether clients traded, the tick changed or the market closed in [from_ms, to_ms)."""
        at = bisect_left(self.overlays, from_ms, key=lambda o: o.time_ms)
        if at < len(self.overlays) and self.overlays[at].time_ms < to_ms:
            return True
        if any(from_ms < moment < to_ms for moment in self.regrid_ms):
            return True
        return any(start < to_ms and stop > from_ms for start, stop in self.closed_spans if start)

    def exact(self, from_ms: int, to_ms: int) -> Minutes:
        """Exact minute bars of a past stretch of whole minutes, drawn again."""
        return self._tally(from_ms, to_ms)

    def _until(self, now_ms: int) -> Minutes:
        """All kept minutes and the running one; remembered for calls at the same time."""
        known = self._fresh
        if known is not None and known[0] == now_ms and known[1] == len(self.overlays):
            return known[2]
        end = now_ms // MINUTE_MS * MINUTE_MS
        done = self._finished(end)
        running = self._tally(end, now_ms + 1)
        bars = join_bars([done.bars, running.bars]) if len(done.bars) else running.bars
        whole = Minutes(bars, np.append(done.buy_quote, running.buy_quote))
        self._fresh = (now_ms, len(self.overlays), whole)
        return whole

    def _finished(self, end_ms: int) -> Minutes:
        known = self._rows[0] if self._rows else None
        have = int(known.bars.open_ms[-1]) + MINUTE_MS if known else self._rows_from_ms
        have = max(have, end_ms - MINUTES_KEPT * MINUTE_MS)
        if have < end_ms:
            fresh = self._tally(have, end_ms)
            if known is not None and int(known.bars.open_ms[-1]) + MINUTE_MS == have:
                joined = Minutes(
                    join_bars([known.bars, fresh.bars]), np.append(known.buy_quote, fresh.buy_quote)
                )
                cut = max(0, len(joined.bars) - MINUTES_KEPT)
                fresh = Minutes(joined.bars.slice(cut, len(joined.bars)), joined.buy_quote[cut:])
            self._rows = [fresh]
            known = fresh
        return known if known is not None else self._tally(end_ms, end_ms)

    def _tally(self, from_ms: int, to_ms: int) -> Minutes:
        """Minute bars of the trades in [from_ms, to_ms), `from_ms` on a minute."""
        stop = -(-to_ms // MINUTE_MS) * MINUTE_MS
        opens = np.arange(from_ms, stop, MINUTE_MS)
        ticks = self._open_ticks(from_ms, stop)
        rows = self._merged_arrays(ticks, from_ms, to_ms)
        before = self._close_before(from_ms)
        return _tally(opens, rows, before)

    def _merged_arrays(self, ticks: Ticks, from_ms: int, to_ms: int) -> Ticks:
        start = bisect_left(self.overlays, from_ms, key=lambda o: o.time_ms)
        if start == len(self.overlays):
            stop = int(np.searchsorted(ticks.time_ms, to_ms))
            return Ticks(*(getattr(ticks, f)[:stop] for f in Ticks.__struct_fields__))
        columns = (ticks.time_ms, ticks.price, ticks.qty, ticks.count, ticks.is_sell)
        rows = list(zip(*(c.tolist() for c in columns), strict=True))
        merged = [r for r in self._with_overlays(rows, from_ms) if r[0] < to_ms]
        cols = list(zip(*merged, strict=True)) if merged else [(), (), (), (), ()]
        whole = [np.array(c, np.int64) for c in cols[:4]]
        return Ticks(whole[0], whole[1], whole[2], whole[3], np.array(cols[4], bool))

    def _close_before(self, at_ms: int) -> int:
        """Price of the last trade before a whole minute, whatever closed the market in between."""
        known = self._rows[0].bars if self._rows else None
        if known is not None and len(known) and int(known.open_ms[-1]) == at_ms - MINUTE_MS:
            return int(known.close[-1])
        while True:
            covering = [start for start, stop in self.closed_spans if 0 < start < at_ms <= stop]
            if not covering:
                break
            at_ms = min(covering)
        ticks = self._merged_arrays(
            self._open_ticks(at_ms - MINUTE_MS, at_ms), at_ms - MINUTE_MS, at_ms
        )
        if len(ticks):
            return int(ticks.price[-1])
        rows = self._path.bars(self.listed.index, "1m", at_ms - MINUTE_MS, at_ms)
        return int(rows.close[-1]) if len(rows) else self.last_price


def _less(rows: list[Row], lent: int) -> list[Row]:
    """Rows whose first one lent `lent` of its quantity to clients; lent out whole, it never printed."""
    if not lent or not rows:
        return rows
    time, price, qty, count, is_sell = rows[0]
    rest = [(time, price, qty - lent, count, is_sell)] if qty > lent else []
    return rest + rows[1:]


def _tally(opens: I64, ticks: Ticks, before: int) -> Minutes:
    n = len(opens)
    if not n:
        return Minutes(_flat(opens, before), np.zeros(0))
    slot = (ticks.time_ms - opens[0]) // MINUTE_MS
    edges = np.searchsorted(slot, np.arange(n + 1))
    traded = edges[1:] > edges[:-1]
    bars = _flat(opens, before)
    if not traded.any():
        return Minutes(bars, np.zeros(n))
    at, last = edges[:-1][traded], edges[1:][traded] - 1
    value = (ticks.price * ticks.qty).astype(float)
    bought = np.where(ticks.is_sell, 0, ticks.qty)
    bars.open[traded], bars.close[traded] = ticks.price[at], ticks.price[last]
    bars.high[traded] = np.maximum.reduceat(ticks.price, at)
    bars.low[traded] = np.minimum.reduceat(ticks.price, at)
    bars.buy[traded] = np.add.reduceat(bought, at)
    bars.sell[traded] = np.add.reduceat(ticks.qty - bought, at)
    bars.trades[traded] = np.add.reduceat(ticks.count, at)
    bars.quote[traded] = np.add.reduceat(value, at)
    buy_quote = np.zeros(n)
    buy_quote[traded] = np.add.reduceat(np.where(ticks.is_sell, 0.0, value), at)
    held = np.maximum.accumulate(np.where(traded, np.arange(n), -1))
    carried = np.where(held >= 0, bars.close[np.maximum(held, 0)], before)
    for column in (bars.open, bars.high, bars.low, bars.close):
        column[~traded] = carried[~traded]
    return Minutes(bars, buy_quote)


def _flat(opens: I64, price: int) -> Bars:
    n = len(opens)
    o, h, low, c = (np.full(n, price, np.int64) for _ in range(4))
    buy, sell, trades = (np.zeros(n, np.int64) for _ in range(3))
    return Bars(opens, o, h, low, c, buy, sell, trades, np.zeros(n))
