"""The board: everything known of the market, in memory, fed by frames and read by scans (D1, D3).

`absorb`/`feed` take raw frames and do almost nothing; `flush` brings the caches up to date, late
and in batches; `view` shows the market at one moment without copying. Pure: time is handed in.
"""

# size-ok: the one door to the memory; each thing it opens to is a room of its own
from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Final

import numpy as np

from cryptosignal.domain.instrument import Instrument
from cryptosignal.domain.market import Bar, BarSource, Finality, MarkPrice
from cryptosignal.ground.units import HOUR_MS, INTERVAL_MS
from cryptosignal.market import klines
from cryptosignal.market.books import Levels, Tops
from cryptosignal.market.inbox import Inbox, Stream
from cryptosignal.market.intake import Intake
from cryptosignal.market.klines import Closed, Corrected, Klines, Row
from cryptosignal.market.lags import LagBook
from cryptosignal.market.marks import FUNDING_STEP_MS, ForcedOrders, Marks, Series
from cryptosignal.market.settings import MarketSettings
from cryptosignal.market.tally import Counters, LagBaseline, Tally
from cryptosignal.market.trades import Tapes
from cryptosignal.market.turns import KlineTurns, row_of
from cryptosignal.market.views import CONFIRMED, FIELDS, BarsView, Floats, MarketView
from cryptosignal.streams import names

OnClose = Callable[[str, str, Bar, Finality], None]
OnCorrection = Callable[[str, str, Bar, Bar], None]

FINALITY: Final = {
    1: Finality.PROVISIONAL,
    2: Finality.CLOSED_BY_TIME,
    3: Finality.CONFIRMED,
}
SOURCE_CODES: Final = {
    BarSource.STREAM: klines.STREAM,
    BarSource.NEXT_BAR: klines.NEXT_BAR,
    BarSource.CLOCK: klines.CLOCK,
    BarSource.REST: klines.REST,
    BarSource.LOCAL_SUM: klines.LOCAL_SUM,
    BarSource.DISK: klines.DISK,
}
_SPOT: Final = "1h"
TRADES_MANY: Final = 6000
_SPARE: Final = 16
"""Room for listings to come, beyond the symbols that are known."""
_WHOLE_VENUE: Final = 640
"""Symbols of the venue and some to spare."""
_EMPTY_REASONS: Final[Mapping[str, str]] = {}
_LOOK_FLUSHES: Final = 50
"""Lags are looked at once in so many flushes: every few seconds on a busy market."""


class Board:
    """The whole memory of the market. `capacity` symbols have room at first; it grows by need."""

    def __init__(self, settings: MarketSettings | None = None, capacity: int = 600) -> None:
        self.settings = settings or MarketSettings()
        self._capacity = capacity
        self._slots: dict[str, int] = {}
        self.symbols: list[str] = []
        self._names: tuple[str, ...] = ()
        self._has_universe = False
        self._active = np.zeros(capacity, np.bool_)
        self._onboard_ms: Floats = np.full(capacity, np.nan)
        self._tick_size: Floats = np.full(capacity, np.nan)
        self.counters = Counters(capacity)
        self.baseline = LagBaseline()
        self.lags = LagBook()
        self._flushes = 0
        self.inbox = Inbox(self.slot)
        self.klines: dict[str, Klines] = {}
        for interval in self.settings.intervals:
            self.klines_of(interval)
        self.turns = KlineTurns(self.klines_of)
        self.tapes = Tapes(self.settings, capacity)
        self.tops = Tops(capacity, self.settings.depth_levels)
        self.marks = Marks(capacity)
        self.forced = ForcedOrders(self.settings)
        self.intake = Intake(
            self.settings,
            self.inbox,
            self._slots,
            self.turns,
            self.tapes,
            self.tops,
            self.marks,
            self.forced,
            self.counters,
            self.baseline,
        )
        self.books = self.intake.books
        self._spot: Klines | None = None
        self._series = {
            "open_interest": Series(capacity, self.settings.open_interest_points, HOUR_MS),
            "open_interest_usdt": Series(capacity, self.settings.open_interest_points, HOUR_MS),
            "funding": Series(capacity, self.settings.funding_points, FUNDING_STEP_MS),
        }
        self._quality: Floats = np.full(capacity, np.nan)
        self._overlay: Floats = np.full(capacity, np.nan)
        self._quality_reasons: Mapping[str, str] = _EMPTY_REASONS
        self.on_kline_close: list[OnClose] = []
        self.on_correction: list[OnCorrection] = []
        self.frames = 0
        self.corrections = 0
        self.bars_summed = 0
        """Bars that were made of complete shorter ones."""
        self.reads = 0
        self.read_hits = 0
        self._grace_done: dict[str, int] = {}
        self.synthetic_flow: tuple[str, ...] = ()

    # ---- symbols ------------------------------------------------------------------------------
    def slot(self, symbol: str) -> int:
        """The symbol's slot in every array, made on first sight; any case."""
        known = self._slots.get(symbol)
        if known is not None:
            return known
        upper = symbol.upper()
        if upper in self._slots:
            return self._slots[upper]
        made = len(self.symbols)
        if made >= self._capacity:
            self._grow(self._capacity + self._more_room())
        self._slots[upper] = made
        self.symbols.append(upper)
        self._active[made] = True
        return made

    def find(self, symbol: str) -> int:
        """The symbol's slot, -1 if it was never heard of; any case."""
        return self._slots.get(symbol.upper(), -1)

    def _more_room(self) -> int:
        """For how many symbols more: a few beside a universe that is known, as a listing brings; the
        whole venue at once, then twice as many, where symbols come as they come."""
        if self._has_universe:
            return max(_SPARE, self._capacity // 8)
        return max(self._capacity, _WHOLE_VENUE - self._capacity)

    def _grow(self, capacity: int) -> None:
        more = capacity - self._capacity
        self._active = np.concatenate([self._active, np.zeros(more, np.bool_)])
        self._onboard_ms = np.concatenate([self._onboard_ms, np.full(more, np.nan)])
        self._tick_size = np.concatenate([self._tick_size, np.full(more, np.nan)])
        self._quality = np.concatenate([self._quality, np.full(more, np.nan)])
        self._overlay = np.concatenate([self._overlay, np.full(more, np.nan)])
        self._capacity = capacity
        for part in (self.counters, self.tapes, self.tops, self.marks):
            part.grow(capacity)
        for bars in self.klines.values():
            bars.grow(capacity)
        for series in self._series.values():
            series.grow(capacity)
        if self._spot is not None:
            self._spot.grow(capacity)

    def set_universe(self, instruments: Iterable[Instrument]) -> None:
        """The symbols that are watched now; others keep their slot but are not active. Room is made
        for all of them at once: rows take memory whether they are used or not."""
        watched = list(instruments)
        self._has_universe = True
        wanted = len(self._slots.keys() | {one.symbol.upper() for one in watched})
        if wanted > self._capacity:
            self._grow(wanted + _SPARE)
        self._active[:] = False
        for instrument in watched:
            slot = self.slot(instrument.symbol)
            self._active[slot] = True
            self._onboard_ms[slot] = instrument.onboard_ms or math.nan
            self._tick_size[slot] = float(instrument.filters.tick_size)

    def klines_of(self, interval: str) -> Klines:
        """The bars of an interval, made on first sight."""
        known = self.klines.get(interval)
        if known is None:
            known = self._make_klines(interval, self.settings.kline_cache_size)
            self.klines[interval] = known
        return known

    def _make_klines(self, interval: str, bars: int) -> Klines:
        settings = self.settings
        return Klines(interval, self._capacity, bars, settings.kline_slack, settings.held_bars_max)

    # ---- streams ------------------------------------------------------------------------------
    def expect(self, streams: Iterable[str]) -> None:
        """These streams are subscribed: their silence counts from now on."""
        for name in streams:
            stream = self.inbox.stream(name)
            stream.is_wanted = True
            if stream.kind == names.DIFF:
                self.intake.book(stream.slot)

    def forget(self, streams: Iterable[str]) -> None:
        """These streams are not subscribed any more; what they left stays readable but ages."""
        for name in streams:
            stream = self.inbox.streams.get(name)
            if stream is None:
                continue
            stream.is_wanted = False
            stream.has_spoken = False
            if stream.kind == names.DIFF:
                self.books.pop(stream.slot, None)

    def mark_lost(self, streams: Iterable[str]) -> None:
        """The connection of these streams broke: what follows may have a hole before it."""
        for name in streams:
            stream = self.inbox.streams.get(name)
            if stream is None:
                continue
            stream.has_spoken = False
            if stream.kind == names.KLINE:
                self.turns.mark_lost(stream)
                self.inbox.release(stream)
            elif stream.kind == names.DIFF and stream.slot in self.books:
                self.books[stream.slot].restart()

    # ---- the hot path -------------------------------------------------------------------------
    def feed(self, payload: bytes, recv_ns: int = 0, now_ms: int = 0) -> bool:
        """One raw frame, combined or not; False if it is no stream's (a reply, noise).

        Receipt is stamped at the flush that follows: `recv_ns` and `now_ms` are accepted for
        callers that have them and not needed.
        """
        return self.inbox.put(payload)

    def absorb(self, batch: list[bytes]) -> list[bytes]:
        """A batch of raw frames in order; answers those that are no stream's."""
        return self.inbox.absorb(batch)

    def flush(self, now_ms: int, *, whole: bool = False) -> int:
        """Bring the caches up to date with the waiting frames; answers how many were taken.

        Trades wait up to `trade_delay_ms` for each other (`waits_for_trades`) unless `whole`.
        """
        total = self.intake.flush(now_ms, whole=whole)
        self.frames += total
        if total:
            self._give_out()
            self._flushes += 1
            if not self._flushes % _LOOK_FLUSHES:
                self.look_at_lags(now_ms)
        return total

    @property
    def waits_for_trades(self) -> bool:
        """Whether a later flush is needed although no frame comes any more."""
        return self.intake.waits

    def take_many_trades(self, now_ms: int) -> None:
        """Decode the waiting trades if they are many: while they are still in the processor's
        cache that costs half."""
        if self.inbox.trades_waiting >= TRADES_MANY:
            self.frames += self.intake.take_trades(now_ms)

    def trades_wait_ms(self, now_ms: int) -> int:
        """How long the trades that wait must wait still: less than `trade_delay_ms` in all."""
        return self.intake.trades_wait_ms(now_ms)

    # ---- finality -----------------------------------------------------------------------------
    def close_due(self, now_ms: int) -> None:
        """Close by the clock what is `close_grace_ms` past its close (D7), and count what lacks.

        Each bar is judged once; a bar that is not there then is a miss of DataQual.
        """
        self.inbox.collect()
        moment = now_ms - self.settings.close_grace_ms
        due_counts = self.counters.counts["bars_due"]
        missed = self.counters.counts["bars_missed"]
        judged: set[str] = set()
        for stream in self.inbox.by_kind.get(names.KLINE, ()):
            bars = self.klines.get(stream.interval)
            if bars is None or not (stream.is_wanted or stream.count):
                continue
            due = bars.due_open_ms(moment)
            done = self._grace_done.get(stream.interval, 0)
            if due <= done <= due + bars.step_ms:  # later ones are of a clock that was set back
                continue
            judged.add(stream.interval)
            self.turns.close_by_clock(stream, due, now_ms)
            due_counts[stream.slot] += 1
            if bars.next_ms[stream.slot] > due:
                continue
            if self._is_quiet(stream, due + bars.step_ms):
                self.turns.close_complete(stream, bars, now_ms)
                self.turns.fill_flat(stream, bars, due + bars.step_ms, now_ms, is_proven=False)
            is_late = bars.next_ms[stream.slot] <= due and bars.is_live[stream.slot]
            if is_late and self._had_trades(stream, due):  # a series begins within a bar
                missed[stream.slot] += 1
        for interval in judged:
            self._grace_done[interval] = self.klines[interval].due_open_ms(moment)
        if judged:
            self._give_out()

    def _is_quiet(self, stream: Stream, close_ms: int) -> bool:
        """The market's ticker, heard after the close, knows no trade beyond the last one we saw:
        proof of a complete bar even where the stream's line was broken."""
        if self.intake.ticker_ms < close_ms:
            return False
        last = self.turns.last_trade_id(stream)
        return 0 <= last == self.marks.last_trade_id[stream.slot]

    def _had_trades(self, stream: Stream, open_ms: int) -> bool:
        """Whether a bar that is not there should be: it was begun, its line was broken, a gap lies
        before it, or the ticker saw trades since. A coin that does not trade misses nothing."""
        slot = stream.slot
        if stream.is_broken or slot in self.klines[stream.interval].gaps:
            return True
        if stream.open and int(stream.open) >= open_ms:
            return True
        return bool(self.marks.traded_ms[slot] > open_ms)

    def traded_ms(self, slot: int) -> float:
        """When a symbol was last seen to trade, NaN if never: by the market's ticker or its own
        trades. For slot -1, when any symbol was, the market's ticker left aside."""
        if slot >= 0:
            return float(self.marks.traded_ms[slot])
        by_kind = self.inbox.by_kind
        spoke = [stream.last_ms for stream in by_kind.get(names.TRADE, ()) if stream.count]
        spoke += [
            stream.last_ms
            for stream in by_kind.get(names.KLINE, ())
            if stream.event and not stream.is_closed  # a closing frame is no trade
        ]
        return float(max(spoke, default=math.nan))

    def next_close_ms(self, now_ms: int) -> int:
        """When `close_due` next has something to judge."""
        grace = self.settings.close_grace_ms
        steps = [INTERVAL_MS[interval] for interval in self.klines] or [60_000]
        step = min(steps)
        return (now_ms - grace) // step * step + step + grace

    def due_share(self, interval: str, now_ms: int) -> float:
        """Share of the streamed symbols of an interval whose newest due bar is there."""
        bars = self.klines[interval]
        due = bars.due_open_ms(now_ms)
        wanted = [
            stream.slot
            for stream in self.inbox.by_kind.get(names.KLINE, ())
            if stream.interval == interval and stream.is_wanted
        ]
        if not wanted:
            return 0.0
        return sum(bars.next_ms[slot] > due for slot in wanted) / len(wanted)

    def _give_out(self) -> None:
        for interval, bars in self.klines.items():
            if bars.closed:
                closed, bars.closed = bars.closed, []
                self._tell_closed(interval, closed)
            if bars.corrected:
                corrected, bars.corrected = bars.corrected, []
                self.corrections += len(corrected)
                self._doubt_sums(bars, corrected)
                self._tell_corrected(interval, corrected)

    def _doubt_sums(self, parts: Klines, corrected: list[Corrected]) -> None:
        """Longer bars that were summed up from what was now found to be different are suspect."""
        for interval, bars in self.klines.items():
            if bars.step_ms <= parts.step_ms or bars.step_ms % parts.step_ms:
                continue
            for change in corrected:
                open_ms = change.open_ms // bars.step_ms * bars.step_ms
                column = bars.column(open_ms)
                if column >= 0 and bars.source[change.slot, column] == klines.LOCAL_SUM:
                    self.turns.suspects.add((change.slot, interval, open_ms))

    def _tell_closed(self, interval: str, closed: list[Closed]) -> None:
        if not self.on_kline_close:
            return
        for event in closed:
            symbol, bar = self.symbols[event.slot], bar_of(event.open_ms, event.row)
            for hear in self.on_kline_close:
                hear(symbol, interval, bar, FINALITY[event.finality])

    def _tell_corrected(self, interval: str, corrected: list[Corrected]) -> None:
        for change in corrected:
            symbol = self.symbols[change.slot]
            after, before = (bar_of(change.open_ms, row) for row in (change.after, change.before))
            for hear in self.on_correction:
                hear(symbol, interval, after, before)

    # ---- history, repair ----------------------------------------------------------------------
    def load_history(
        self, symbol: str, interval: str, rows: Floats, now_ms: int, source: BarSource
    ) -> int:
        """REST or disk rows `float64[n, 11]` (open_ms, o, h, l, c, v, close_ms, q, n, tb, tq).

        The forming bar and rows outside the window are dropped; answers the bars taken.
        """
        table = np.asarray(rows, np.float64).reshape(-1, 11)
        order = np.argsort(table[:, 0], kind="stable")
        table = table[order]
        once = np.r_[np.diff(table[:, 0]) != 0, True] if len(table) else np.zeros(0, np.bool_)
        table = table[once]
        opens = table[:, 0].astype(np.int64)
        values = np.ascontiguousarray(table[:, _ROW_COLUMNS].T)
        bars = self.klines_of(interval)
        taken = bars.load(self.slot(symbol), opens, values, SOURCE_CODES[source], now_ms)
        self._give_out()
        return taken

    def load_spot(self, symbol: str, rows: Floats, now_ms: int) -> int:
        """Hourly spot bars of a symbol (already mapped and scaled, DOMAIN §0.25)."""
        if self._spot is None:
            self._spot = self._make_klines(_SPOT, self.settings.spot_bars)
        table = np.asarray(rows, np.float64).reshape(-1, 11)
        values = np.ascontiguousarray(table[:, _ROW_COLUMNS].T)
        opens = table[:, 0].astype(np.int64)
        return self._spot.load(self.slot(symbol), opens, values, klines.REST, now_ms)

    def load_open_interest(self, symbol: str, rows: Iterable[tuple[int, float, float]]) -> None:
        """Hourly (time ms, contracts, USDT) of a symbol."""
        slot = self.slot(symbol)
        for time_ms, contracts, usdt in rows:
            self._series["open_interest"].put(slot, time_ms, contracts)
            self._series["open_interest_usdt"].put(slot, time_ms, usdt)

    def load_funding(self, symbol: str, rows: Iterable[tuple[int, float]]) -> None:
        """Settled (time ms, rate) of a symbol."""
        slot = self.slot(symbol)
        for time_ms, rate in rows:
            self._series["funding"].put(slot, time_ms, rate)

    def load_marks(self, marks: Iterable[MarkPrice]) -> None:
        """Marks by REST (premiumIndex)."""
        for mark in marks:
            slot = self.find(mark.symbol)
            if slot >= 0 and self.marks.put_mark(
                slot,
                mark.event_ms,
                mark.mark,
                mark.index,
                mark.funding_rate,
                mark.next_funding_ms,
            ):
                self.intake.marked.add(slot)

    def load_ticker(self, symbol: str, last: float, quote_usdt: float, time_ms: int) -> None:
        """A 24 h ticker by REST."""
        slot = self.find(symbol)
        if slot >= 0:
            self.marks.put_ticker(slot, time_ms, last, quote_usdt)

    def load_book(
        self, symbol: str, last_id: int, bids: Levels, asks: Levels, event_ms: int
    ) -> bool:
        """A REST depth snapshot: synchronises the diff book if there is one, else shows its top."""
        slot = self.slot(symbol)
        book = self.books.get(slot)
        if book is None:
            return self.tops.put(slot, event_ms, bids, asks)
        return book.on_snapshot(last_id, bids, asks, event_ms)

    def restart_book(self, slot: int) -> None:
        """The diff book of a slot is not the venue's: begin it anew."""
        if slot in self.books:
            self.books[slot].restart()

    def last_times_ms(self, symbol: str) -> tuple[int, int]:
        """Newest (open interest, funding) point of a symbol, 0 if none."""
        slot = self.slot(symbol)
        return self._series["open_interest"].last_ms(slot), self._series["funding"].last_ms(slot)

    def funding_period_ms(self, symbol: str) -> int:
        """Time between a symbol's two newest settlements, 0 if they are not known."""
        return self._series["funding"].period_ms(self.slot(symbol))

    def spot_next_ms(self, symbol: str) -> int:
        """Open time of the spot bar that comes next, 0 without spot bars."""
        return 0 if self._spot is None else self._spot.next_ms[self.slot(symbol)]

    def missing(
        self, symbol: str, interval: str, now_ms: int, bars: int = 0
    ) -> list[tuple[int, int]]:
        """Ranges (first open, last open) of due bars that are wanted and not there."""
        slot = self.slot(symbol)
        onboard = self._onboard_ms[slot]
        return self.klines_of(interval).missing(
            slot,
            now_ms,
            bars or self.settings.kline_cache_size,
            0 if math.isnan(onboard) else int(onboard),
        )

    def has_due(self, slot: int, intervals: Iterable[str], now_ms: int) -> bool:
        """The newest due bar of each of these intervals is there."""
        return all(
            bars.next_ms[slot] > bars.due_open_ms(now_ms)
            for interval in intervals
            if (bars := self.klines.get(interval)) is not None
        )

    def is_ready(self, symbol: str, interval: str, now_ms: int) -> bool:
        """The newest due bar is there and no gap lies before it."""
        return self.klines_of(interval).is_ready(self.slot(symbol), now_ms)

    def klines_ready(self) -> bool:
        """Whether any symbol has candles of any interval."""
        return any(any(bars.next_ms) for bars in self.klines.values())

    def repair_locally(self, now_ms: int, symbol: str = "") -> int:
        """Fill gaps of longer intervals with sums of complete shorter bars, of one symbol or of all;
        answers bars made."""
        made = 0
        intervals = sorted(self.klines, key=lambda interval: INTERVAL_MS[interval])
        for interval in intervals[1:]:
            bars = self.klines[interval]
            parts = [
                self.klines[shorter]
                for shorter in intervals
                if INTERVAL_MS[shorter] < bars.step_ms and bars.step_ms % INTERVAL_MS[shorter] == 0
            ]
            due = bars.due_open_ms(now_ms)
            behind = {self.slot(symbol)} if symbol else self._behind(bars, due)
            for slot in behind:
                made += self._sum_up(bars, parts, slot, due, now_ms)
        self.bars_summed += made
        self._give_out()
        return made

    def _behind(self, bars: Klines, due: int) -> set[int]:
        ends = enumerate(bars.next_ms[: len(self.symbols)])
        return set(bars.gaps) | {slot for slot, following in ends if 0 < following <= due}

    def _sum_up(self, bars: Klines, parts: list[Klines], slot: int, due: int, now_ms: int) -> int:
        made = 0
        while 0 < bars.next_ms[slot] <= due:
            row = next(
                (found for part in parts if (found := bars.sum_of(slot, bars.next_ms[slot], part))),
                None,
            )
            if row is None or not bars.close(
                slot, bars.next_ms[slot], row, CONFIRMED, klines.LOCAL_SUM, now_ms
            ):
                break
            made += 1
        if made:
            bars.settle(slot, now_ms)
        return made

    def confirm_sum(self, slot: int, interval: str, open_ms: int, row: Row, now_ms: int) -> None:
        """The bar equals the sum of its confirmed parts: it is confirmed too."""
        self.klines[interval].close(slot, open_ms, row, CONFIRMED, klines.LOCAL_SUM, now_ms)

    def laggards(self, now_ms: int, wait_ms: int = 2_000) -> list[tuple[str, str, int, int]]:
        """(symbol, interval, first open, last open) of streamed bars that should be there by now:
        `wait_ms` past their grace, or known to lie in a gap. The repair lane's work list."""
        found: list[tuple[str, str, int, int]] = []
        moment = now_ms - self.settings.close_grace_ms - wait_ms
        for stream in self.inbox.by_kind.get(names.KLINE, ()):
            if not stream.is_wanted:
                continue
            bars = self.klines[stream.interval]
            following = bars.next_ms[stream.slot]
            due = bars.due_open_ms(moment)
            held = bars.held.get(stream.slot)
            last = max(due, min(held) - bars.step_ms) if held else due
            if following and following <= last:
                found.append((self.symbols[stream.slot], stream.interval, following, last))
        return found

    def note_compared(self, slot: int, *, mismatched: bool) -> None:
        """A reconciliation was made: its verdict feeds DataQual (§0.23)."""
        self.counters.counts["compared"][slot] += 1
        if mismatched:
            self.counters.counts["mismatched"][slot] += 1

    def note_checks(self, slots: Iterable[int], silent: Iterable[int]) -> None:
        """Heartbeats of streams were checked (§0.21): a slot a stream, those of `silent` ones again."""
        for slot in slots:
            self.counters.counts["checks"][slot] += 1
        for slot in silent:
            self.counters.counts["silent"][slot] += 1

    def forget_lateness(self) -> None:
        """The local clock was stepped: what was learned of lateness is void."""
        self.baseline.reset()
        self.lags.forget()

    def look_at_lags(self, now_ms: int) -> None:
        """Note the newest lag of every stream that spoke since the last look. Where even the quickest
        events seem to come from the future, our clock is behind by that much."""
        self.lags.look(self.inbox.streams.values(), now_ms, max(0, -self.baseline.value_ms))

    def take_tally(self) -> Tally:
        """Counts since the last call, for `quality`."""
        return self.counters.take()

    def set_quality(self, scores: Floats, reasons: Mapping[str, str]) -> None:
        """DataQual per slot as of now; NaN where there are no events."""
        self._quality[: len(scores)] = scores
        self._quality_reasons = reasons

    def set_synthetic_flow(self, kinds: Iterable[str]) -> None:
        """The kinds of flow that the venue says it makes up (DOMAIN §0.28)."""
        self.synthetic_flow = tuple(kinds)

    def set_overlay(self, members: Iterable[str]) -> None:
        """The Overlay pool as it is from now on; a symbol that is not known yet is left out."""
        self._overlay[: len(self.symbols)] = 0.0
        slots = [slot for slot in map(self.find, members) if slot >= 0]
        self._overlay[slots] = 1.0

    @property
    def malformed(self) -> int:
        """Frames that could not be read."""
        return self.intake.malformed + self.inbox.malformed

    # ---- reading ------------------------------------------------------------------------------
    def view(self, now_ms: int) -> MarketView:
        """The market as of `now_ms`; nothing in it is later, arrays are shared, not copied."""
        self.flush(now_ms, whole=True)
        self.intake.read_marks()
        self.intake.read_best()
        self.intake.read_books()
        for store in self.klines.values():
            if store.base_ms:
                self._count_hits(store, now_ms)
        return self._shown(now_ms)

    def view_of(self, slots: set[int], now_ms: int) -> MarketView:
        """The same for readers of these `slots` alone: others may show an older mark or book, and
        what waits for the next flush waits on."""
        self.intake.read_marks(slots)
        self.intake.read_best(slots)
        self.intake.read_books(slots)
        return self._shown(now_ms)

    def _shown(self, now_ms: int) -> MarketView:
        count = len(self.symbols)
        bars: dict[str, BarsView] = {}
        for interval, store in self.klines.items():
            shown = store.view(now_ms, count, self.settings.kline_cache_size)
            if shown is not None:
                bars[interval] = shown
        if len(self._names) != count:
            self._names = tuple(self.symbols)
        spot = (
            None if self._spot is None else self._spot.view(now_ms, count, self.settings.spot_bars)
        )
        buy, sell = self.forced.sums(now_ms, count)
        marks = self.marks
        return MarketView(
            time_ms=now_ms,
            symbols=self._names,
            active=self._active[:count],
            btc=self._slots.get("BTCUSDT", -1),
            eth=self._slots.get("ETHUSDT", -1),
            bars=bars,
            quality=self._quality[:count],
            onboard_ms=self._onboard_ms[:count],
            tick_size=self._tick_size[:count],
            mark=marks.mark[:count],
            index=marks.index[:count],
            funding_rate=marks.funding_rate[:count],
            next_funding_ms=marks.next_funding_ms[:count],
            quote_volume_24h=marks.quote_volume_24h[:count],
            spot_1h=spot,
            funding_history=self._series["funding"].view(now_ms, count),
            open_interest=self._series["open_interest"].view(now_ms, count),
            open_interest_usdt=self._series["open_interest_usdt"].view(now_ms, count),
            book=self.tops.view(now_ms, count),
            flow=self.tapes.flow(now_ms, count),
            liquidation_buy_usdt=buy,
            liquidation_sell_usdt=sell,
            quality_reason=self._quality_reasons,
            synthetic_flow=self.synthetic_flow,
            overlay=self._overlay[:count],
        )

    def _count_hits(self, bars: Klines, now_ms: int) -> None:
        """A hit is a (symbol, interval) whose newest due bar is there and past its gap check."""
        due = bars.due_open_ms(now_ms)
        active = np.flatnonzero(self._active[: len(self.symbols)])
        following = np.asarray(bars.next_ms)[active]
        known = following > 0
        self.reads += int(known.sum())
        self.read_hits += int((following[known] > due).sum())

    def forming(self, symbol: str, interval: str) -> Bar | None:
        """The bar that is not closed yet, as last heard (shown, never scored)."""
        stream = self.inbox.streams.get(names.kline(symbol, interval))
        if stream is None:
            return None
        self.inbox.collect()
        data = self.turns.newest(stream)
        return None if data is None else bar_of(data.k.t, row_of(data.k), is_closed=False)

    def get_stats(self) -> dict[str, object]:
        """The cache in the user's shapes: `hit_rate` such as "96.3%", `memory_estimate_mb` a
        number, `total_updates` an int; counters of ours beside them."""
        rate = 100.0 * self.read_hits / self.reads if self.reads else 0.0
        return {
            "hit_rate": f"{rate:.1f}%",
            "memory_estimate_mb": round(self.nbytes() / 1e6, 1),
            "total_updates": self.frames,
            "symbols": len(self.symbols),
            "streams": len(self.inbox.streams),
            "bars_closed": sum(bars.closed_count for bars in self.klines.values()),
            "gaps_found": sum(bars.gaps_found for bars in self.klines.values()),
            "gaps_repaired": sum(bars.gaps_repaired for bars in self.klines.values()),
            "corrections": self.corrections,
            "malformed": self.malformed,
            "duplicates": self.tapes.duplicates,
            "lag_p99_ms": {kind: lag.p99_ms for kind, lag in self.lags.by_kind().items()},
        }

    def nbytes(self) -> int:
        """Bytes of the arrays."""
        total = 0
        for bars in [*self.klines.values(), *([self._spot] if self._spot else [])]:
            total += bars.nbytes
        for array in (self.tapes.time_ms, self.tapes.ids, self.tapes.price, self.tapes.signed_qty):
            total += array.nbytes
        return total + 4 * self.tops.bid_price.nbytes

    def lags_ms(self) -> dict[str, int]:
        """Newest event-to-cache lag of each stream that spoke, ms (raw, without the baseline)."""
        return {
            stream.name: stream.lag_ms for stream in self.inbox.streams.values() if stream.count
        }


_ROW_COLUMNS: Final = [1, 2, 3, 4, 5, 7, 8, 9, 10]


def bar_of(open_ms: int, row: Row, *, is_closed: bool = True) -> Bar:
    """A row as a domain bar."""
    assert len(row) == FIELDS
    return Bar(
        open_ms=open_ms,
        open=row[0],
        high=row[1],
        low=row[2],
        close=row[3],
        volume=row[4],
        quote_volume=row[5],
        trades=0 if math.isnan(row[6]) else int(row[6]),
        taker_buy_volume=row[7],
        taker_buy_quote=row[8],
        is_closed=is_closed,
    )
