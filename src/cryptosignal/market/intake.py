"""The intake: waiting frames become caches, a batch at a time, with heartbeat, order and lag (D1).

What is decoded here is what cannot wait: bars that turn, trades, book differences, forced orders,
whole-market arrays. Of klines, marks, tickers and partial books only the newest raw frame is kept
and decoded when somebody looks.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import itemgetter
from typing import Final

import numpy as np

from cryptosignal.ground.units import DAY_MS
from cryptosignal.market import frames
from cryptosignal.market.books import BookState, DiffBook, Tops
from cryptosignal.market.inbox import Inbox, Stream
from cryptosignal.market.marks import ForcedOrders, Marks
from cryptosignal.market.settings import MarketSettings
from cryptosignal.market.tally import Counters, LagBaseline
from cryptosignal.market.trade_reading import TradeReader
from cryptosignal.market.trades import Tapes
from cryptosignal.market.turns import KlineTurns
from cryptosignal.market.views import Ints
from cryptosignal.streams import names

Take = Callable[[Stream, list[bytes], int], None]


class Intake:
    """Takes the inbox's waiting frames into the caches. `slots` is the board's symbol table."""

    def __init__(
        self,
        settings: MarketSettings,
        inbox: Inbox,
        slots: dict[str, int],
        turns: KlineTurns,
        tapes: Tapes,
        tops: Tops,
        marks: Marks,
        forced: ForcedOrders,
        counters: Counters,
        baseline: LagBaseline,
    ) -> None:
        self._settings = settings
        self._inbox = inbox
        self._slots = slots
        self._turns = turns
        self._tapes = tapes
        self._tops = tops
        self._marks = marks
        self._forced = forced
        self._counters = counters
        self._baseline = baseline
        self._trades_ms = 0
        self.books: dict[int, DiffBook] = {}
        self.firsts: list[str] = []
        self.marked: set[int] = set()
        self.malformed = 0
        self.ticker_ms = 0
        self.waits = False
        self._tape_streams: dict[int, Stream] = {}
        self._reader = TradeReader()
        self._late = b""
        self._top = b""
        self._handlers: tuple[tuple[str, Take], ...] = (
            (names.DIFF, self._diffs),
            (names.TICKER, self._ticker),
            (names.MARK_ARRAY, self._mark_arrays),
            (names.TICKER_ARRAY, self._ticker_arrays),
            (names.FORCE_ORDER, self._forced_orders),
        )

    def flush(self, now_ms: int, *, whole: bool) -> int:
        """Take what waits; answers how many frames that were."""
        inbox, baseline = self._inbox, self._baseline
        inbox.collect()
        inbox.looks = 0
        late_ms = now_ms - baseline.value_ms - self._settings.late_ms
        self._late = b"%013d" % max(0, late_ms)
        self._top = b""
        total = self._trades(now_ms, whole=whole)
        total += self._newest_only(names.KLINE, self._turn, now_ms)
        for kind in (names.PARTIAL, names.MARK, names.BEST, names.OTHER):
            total += self._newest_only(kind, self._keep_newest, now_ms)
        for kind, take in self._handlers:
            for stream in inbox.by_kind.get(kind, ()):
                queue = stream.queue
                if queue:
                    total += self._account(stream, queue, now_ms)
                    take(stream, queue, now_ms)
                    queue.clear()
                    inbox.learn(stream)
        if self._top.isdigit():
            baseline.observe(now_ms, now_ms - int(self._top))
        return total

    def take_firsts(self) -> list[str]:
        """Names of the streams that spoke for the first time since the last call."""
        firsts, self.firsts = self.firsts, []
        return firsts

    # ---- heartbeat, order, lag ----------------------------------------------------------------
    def _account(self, stream: Stream, queue: list[bytes], now_ms: int) -> int:
        """Note what a stream's frames say of its health; answers how many there were."""
        count = len(queue)
        stream.count += count
        stream.last_ms = now_ms
        if not stream.has_spoken:
            self._greet(stream)
        frame = queue[-1]
        if not stream.fits(frame) and not stream.measure(frame):
            return count
        event = stream.event_of(frame)
        if count > 1 or event < stream.event:
            event = self._order(stream, queue)
        if not event.isdigit():
            return count
        stream.event = event
        if event > self._top:
            self._top = event
        slot = stream.slot
        if slot >= 0:
            counts = self._counters.counts
            counts["events"][slot] += count
            if event < self._late:
                counts["late"][slot] += count
        return count

    def _greet(self, stream: Stream) -> None:
        stream.has_spoken = True
        self.firsts.append(stream.name)

    def _order(self, stream: Stream, queue: list[bytes]) -> bytes:
        """The newest event time; notes frames that came behind a newer one."""
        events = list(map(stream.event_in, queue))
        stream.is_ordered = events[0] >= stream.event and events == sorted(events)
        if stream.is_ordered:
            return events[-1]
        window = self._settings.reorder_window_ms
        behind = 0
        high = stream.event
        for event in filter(bytes.isdigit, events):
            if event < high:
                stream.inversions += 1
                behind += int(high) - int(event) > window
            else:
                high = event
        if stream.slot >= 0:
            self._counters.counts["disordered"][stream.slot] += behind
        return high

    # ---- kinds of which the newest frame counts -----------------------------------------------
    # deep-ok: the hot path of every frame; a call a stream costs more than what it does
    def _newest_only(self, kind: str, look: Take, now_ms: int) -> int:
        """Account the frames that the inbox took by itself; `look` at those that it left, and at a
        bar that its newest frame closes, whatever time that frame claims."""
        total = 0
        late, top = self._late, self._top
        is_kline = kind == names.KLINE
        events = self._counters.counts["events"]
        lates = self._counters.counts["late"]
        for stream in self._inbox.by_kind.get(kind, ()):
            count = stream.fresh
            if count:
                stream.fresh = 0
                stream.count += count
                stream.last_ms = now_ms
                total += count
                event, slot = stream.event, stream.slot
                if not event.isdigit():  # a frame that was damaged: learn the stream anew
                    event = stream.event = stream.event_cap = stream.close_from = b""
                if slot >= 0:
                    events[slot] += count
                    if event < late:
                        lates[slot] += count
                if event > top:
                    top = event
                if not stream.has_spoken:
                    self._greet(stream)
                newest = stream.newest
                if is_kline and newest is not None and stream.is_final(newest):
                    stream.is_ordered = True
                    look(stream, [newest], now_ms)
            queue = stream.queue
            if queue:
                stream.is_ordered = True
                total += self._account(stream, queue, now_ms)
                look(stream, queue, now_ms)
                queue.clear()
                self._inbox.learn(stream)
        if top > self._top:
            self._top = top
        return total

    def _turn(self, stream: Stream, queue: list[bytes], now_ms: int) -> None:
        self.malformed += self._turns.take(stream, queue, now_ms)

    def _keep_newest(self, stream: Stream, queue: list[bytes], now_ms: int) -> None:
        sound = [
            (event, frame)
            for frame in reversed(queue)
            if (event := stream.event_in(frame)).isdigit()
        ]
        if not sound:
            if stream.event_at:
                self.malformed += len(queue)
            else:
                stream.newest = queue[-1]
            return
        event, newest = max(sound, key=itemgetter(0))  # of one moment the last that came
        if event >= stream.event:
            stream.newest = newest
        if stream.event.isdigit():
            stream.event_cap = b"%013d" % (int(stream.event) + DAY_MS)

    # ---- trades: every one, in batches --------------------------------------------------------
    def _trades(self, now_ms: int, *, whole: bool) -> int:
        self.waits = self._inbox.trades_waiting > 0
        if not self.waits or not (
            whole or not 0 <= now_ms - self._trades_ms < self._settings.trade_delay_ms
        ):
            return 0
        return self.take_trades(now_ms)

    def take_trades(self, now_ms: int) -> int:
        """Decode the trades that wait, all symbols together; answers how many frames there were."""
        inbox = self._inbox
        raw, sorting, count = inbox.trades, inbox.sorting, inbox.trades_waiting
        self.waits = False
        self._trades_ms = now_ms
        streams = self._streams_of_trades()
        trades = self._reader.read(raw) if sorting is None else self._reader.read_sorted(sorting)
        raw.clear()
        self.malformed += count - len(trades.slots)
        if len(trades.slots):
            self._account_trades(streams, trades.slots, trades.events, now_ms)
            self._tapes.add(trades)
            self._count_missed_ids()
        return count

    def _streams_of_trades(self) -> dict[int, Stream]:
        """The streams by slot; the reader is told when there are new ones."""
        known = self._inbox.by_kind.get(names.TRADE, ())
        if len(self._tape_streams) != len(known):
            self._tape_streams = {stream.slot: stream for stream in known}
            self._reader.know(
                {name: slot for name, slot in self._slots.items() if slot in self._tape_streams}
            )
        return self._tape_streams

    def _account_trades(
        self, streams: dict[int, Stream], slots: Ints, events: Ints, now_ms: int
    ) -> None:
        """Heartbeat, order and lag of the trades' streams, as `_account` has them."""
        order = np.argsort(slots, kind="stable")
        slot, event = slots[order], events[order]
        starts = np.flatnonzero(np.r_[True, slot[1:] != slot[:-1]])
        own = slot[starts]
        counts = np.diff(np.r_[starts, len(slot)])
        before = np.array([int(streams[at].event or 0) for at in own.tolist()], np.int64)
        room = np.int64(1 << 44)
        lane = np.repeat(np.arange(len(own)), counts)
        seen = lane * room + event
        highest = np.maximum.accumulate(np.maximum(seen, lane * room + before[lane]))
        ahead = np.r_[np.int64(0), highest[:-1]]
        ahead[starts] = np.arange(len(own)) * room + before
        behind = ahead - seen
        newest = highest[np.r_[starts[1:], len(slot)] - 1] - np.arange(len(own)) * room
        tally = self._counters.counts
        late_ms = int(self._late or 0)
        if (behind > 0).any():
            for at in slot[behind > self._settings.reorder_window_ms].tolist():
                tally["disordered"][at] += 1
            for at in slot[behind > 0].tolist():
                streams[at].inversions += 1
        for at, number, moment in zip(own.tolist(), counts.tolist(), newest.tolist(), strict=True):
            stream = streams[at]
            stream.count += number
            stream.last_ms = now_ms
            stream.event = b"%013d" % moment
            tally["events"][at] += number
            tally["ids"][at] += number
            if moment < late_ms:
                tally["late"][at] += number
            if not stream.has_spoken:
                self._greet(stream)
        self._top = max(self._top, b"%013d" % int(newest.max()))
        self._marks.traded_ms[own] = now_ms

    def trades_wait_ms(self, now_ms: int) -> int:
        """Milliseconds until waiting trades are due."""
        delay_ms = self._settings.trade_delay_ms
        return min(delay_ms, max(0, self._trades_ms + delay_ms - now_ms))

    def _count_missed_ids(self) -> None:
        missed = self._counters.counts["ids_missed"]
        for slot, count in self._tapes.missed_ids.items():
            missed[slot] += count
        self._tapes.missed_ids.clear()

    # ---- the other kinds ----------------------------------------------------------------------
    def _diffs(self, stream: Stream, queue: list[bytes], now_ms: int) -> None:
        book = self.book(stream.slot)
        for frame in queue:
            try:
                event = frames.DEPTH.decode(frame).data
            except frames.UNREADABLE:
                self.malformed += 1
                book.restart()
                continue
            if not book.on_diff(event):
                self._counters.counts["compared"][stream.slot] += 1
                self._counters.counts["mismatched"][stream.slot] += 1

    def _ticker(self, stream: Stream, queue: list[bytes], now_ms: int) -> None:
        try:
            data = frames.TICKER.decode(queue[-1]).data
        except frames.UNREADABLE:
            self.malformed += 1
        else:
            self._marks.on_ticker(stream.slot, data, now_ms)

    def _mark_arrays(self, stream: Stream, queue: list[bytes], now_ms: int) -> None:
        events = self._counters.counts["events"]
        for frame in queue:
            try:
                marks = frames.MARK_ARRAY.decode(frame).data
            except frames.UNREADABLE:
                self.malformed += 1
                continue
            for data in marks:
                slot = self._slots.get(data.s, -1)
                if slot >= 0 and data.st == _USD_MARGINED:
                    events[slot] += 1
                    self._mark(slot, data)

    def _mark(self, slot: int, data: frames.MarkData) -> None:
        try:
            if self._marks.on_mark(slot, data):
                self.marked.add(slot)
        except ValueError:
            self.malformed += 1

    def _ticker_arrays(self, stream: Stream, queue: list[bytes], now_ms: int) -> None:
        for frame in queue:
            try:
                tickers = frames.TICKER_ARRAY.decode(frame).data
            except frames.UNREADABLE:
                self.malformed += 1
                continue
            for data in tickers:
                self.ticker_ms = max(self.ticker_ms, data.E)
                slot = self._slots.get(data.s, -1)
                if slot >= 0 and data.st == _USD_MARGINED:
                    self._marks.on_ticker(slot, data, now_ms)

    def _forced_orders(self, stream: Stream, queue: list[bytes], now_ms: int) -> None:
        for frame in queue:
            try:
                data = frames.FORCE_ORDER.decode(frame).data
            except frames.UNREADABLE:
                self.malformed += 1
                continue
            slot = self._slots.get(data.o.s, -1)
            if slot >= 0 and data.st == _USD_MARGINED:
                self._forced.add(slot, data.o)

    # ---- decoded when read --------------------------------------------------------------------
    def read_marks(self, only: set[int] | None = None) -> None:
        """Decode the newest mark of each symbol that has one waiting (of the slots `only`)."""
        self._inbox.collect()
        for stream in self._inbox.by_kind.get(names.MARK, ()):
            frame = stream.newest
            if frame is None or (only is not None and stream.slot not in only):
                continue
            stream.newest = None
            try:
                self._mark(stream.slot, frames.MARK.decode(frame).data)
            except frames.UNREADABLE:
                self.malformed += 1

    def read_best(self, only: set[int] | None = None) -> None:
        """Decode the newest best bid and ask (of the slots `only`)."""
        self._inbox.collect()
        for stream in self._inbox.by_kind.get(names.BEST, ()):
            frame = stream.newest
            if frame is None or (only is not None and stream.slot not in only):
                continue
            stream.newest = None
            try:
                data = frames.BEST.decode(frame).data
            except frames.UNREADABLE:
                self.malformed += 1
                continue
            self._marks.best_bid[stream.slot] = data.b
            self._marks.best_ask[stream.slot] = data.a

    def read_books(self, only: set[int] | None = None) -> None:
        """Decode the newest partial books, and lay the tops of synchronised diff books over them
        (of the slots `only`)."""
        self._inbox.collect()
        for stream in self._inbox.by_kind.get(names.PARTIAL, ()):
            frame = stream.newest
            if frame is not None and (only is None or stream.slot in only):
                stream.newest = None
                self._partial(stream.slot, frame)
        for slot, book in self.books.items():
            if only is not None and slot not in only:
                continue
            if book.state is BookState.SYNCED and not book.event_ms < self._tops.event_ms[slot]:
                bids, asks = book.top(self._settings.depth_levels)
                self._tops.put(slot, book.event_ms, bids, asks)

    def _partial(self, slot: int, frame: bytes) -> None:
        try:
            data = frames.DEPTH.decode(frame).data
        except frames.UNREADABLE:
            self.malformed += 1
            return
        if self._tops.event_ms[slot] > data.E:
            return
        if not self._tops.put(slot, data.E, data.b, data.a):
            self.malformed += 1

    def book(self, slot: int) -> DiffBook:
        """The diff book of a slot, made on first sight."""
        book = self.books.get(slot)
        if book is None:
            book = DiffBook(self._settings.diff_buffer_max, self._settings.book_levels_max)
            self.books[slot] = book
        return book


_USD_MARGINED: Final = 1
