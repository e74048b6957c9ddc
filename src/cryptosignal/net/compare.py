"""The routine comparison of closed bars with REST (DOMAIN §0.23): each once, in time, in few requests.

Bars of the shortest streamed interval are asked for, several at once; longer ones are compared with the
sums of the bars so verified, and asked for themselves only where their parts are not complete.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Final, Protocol

import numpy as np

from cryptosignal.binance.budget import Lane
from cryptosignal.domain.market import BarSource
from cryptosignal.ground.clock import Clock
from cryptosignal.ground.units import INTERVAL_MS
from cryptosignal.market import klines
from cryptosignal.market.board import Board
from cryptosignal.market.inbox import Stream
from cryptosignal.market.klines import Klines
from cryptosignal.market.views import CONFIRMED
from cryptosignal.net.warmup import Floats, MarketClient
from cryptosignal.quality.reconcile import Verdict, compare_bars, relative
from cryptosignal.quality.turns import Turns
from cryptosignal.streams import names
from cryptosignal.streams.gaps import CHEAP_ROWS, ROWS_MAX, Range
from cryptosignal.streams.settings import FeedSettings

Key = tuple[str, str]

_LAST_DIGIT: Final = 1e-9
"""Sums of floats may differ by so much from the venue's own figure, as a share of it."""
_EVERYTHING: Final = 1
_STEP_MS: Final = 1_000
"""A clock that was set back by more has closed bars, and taken them from REST, before their time: all
that is held is compared again, from `_EVERYTHING` on."""
_ROW = [1, 2, 3, 4, 5, 7, 8, 9, 10]


class RepairLane(Protocol):
    """What is asked of `net.repair.Repairer`: its tasks, its patience, its voice."""

    def may_start(self, key: Key) -> bool:
        """Whether nothing of this key is under way or waits to be tried again."""
        ...

    def spawn(self, key: Key, work: Coroutine[Any, Any, None]) -> None:
        """Start a task of this key."""
        ...

    async def ask(self, key: Key, call: Callable[[], Any]) -> Any:
        """One request; None on a fault, and the key waits before it is tried again."""
        ...

    def note(self, event: str, fields: dict[str, str | int | float]) -> None:
        """Hand a note to whoever logs."""
        ...


class BarComparison:
    """Compares what the streams closed with what the venue prints. REST wins, a mismatch is counted."""

    def __init__(
        self,
        lane: RepairLane,
        client: MarketClient,
        board: Board,
        clock: Clock,
        settings: FeedSettings,
    ) -> None:
        self._lane = lane
        self._client = client
        self._board = board
        self._clock = clock
        self._settings = settings
        self._compare_ms: dict[int, int] = {}
        self._first_ms: dict[int, int] = {}
        """By slot: when its bars are compared next, and from which time on they are not yet."""
        self._tick_ms = 0
        self.requests = 0
        self.bars_compared = 0
        self.bars_mismatched = 0
        self.age_ms_max = 0
        """How long after its close a bar of the shortest interval was compared at most."""

    def tick(self, now_ms: int) -> None:
        """Symbols whose turn has come: each closed bar once within the interval (300 s)."""
        shortest = self._shortest()
        window_ms = int(self._settings.kline_reconcile_interval * 1000)
        turns = Turns.of(INTERVAL_MS[shortest], window_ms)
        if now_ms < self._tick_ms - _STEP_MS:
            self._first_ms = dict.fromkeys(self._compare_ms, _EVERYTHING)
            self._compare_ms = {slot: turns.first_ms(slot, now_ms) for slot in self._compare_ms}
        self._tick_ms = now_ms
        due_ms: dict[int, int] = {}
        for stream in self._board.inbox.by_kind.get(names.KLINE, ()):
            slot = stream.slot
            if not stream.is_wanted or stream.interval != shortest:
                continue
            due_ms[slot] = self._compare_ms.get(slot) or self._first_turn_ms(turns, stream, now_ms)
            if due_ms[slot] <= now_ms and self._lane.may_start((stream.symbol, "compare")):
                self._lane.spawn((stream.symbol, "compare"), self._compare(stream, turns))
        if len(self._first_ms) > len(due_ms):  # what is no longer streamed starts anew one day
            self._first_ms = {slot: ms for slot, ms in self._first_ms.items() if slot in due_ms}
        self._compare_ms = due_ms

    def _first_turn_ms(self, turns: Turns, stream: Stream, now_ms: int) -> int:
        bars, slot = self._board.klines[stream.interval], stream.slot
        if not bars.next_ms[slot]:
            return turns.first_ms(slot, now_ms)
        first_ms = self._first_uncompared(bars, slot, bars.next_ms[slot] - bars.step_ms)
        return turns.next_ms(slot, now_ms, first_ms)

    def _shortest(self) -> str:
        streamed = {
            stream.interval
            for stream in self._board.inbox.by_kind.get(names.KLINE, ())
            if stream.is_wanted
        }
        return min(streamed, key=lambda interval: INTERVAL_MS[interval], default="1m")

    async def _compare(self, stream: Stream, turns: Turns) -> None:
        """The closed bars since the last comparison against REST; longer ones against their sums."""
        symbol, interval, slot = stream.symbol, stream.interval, stream.slot
        bars = self._board.klines[interval]
        now_ms = self._clock.now_ms()
        last_ms = min(bars.due_open_ms(now_ms), bars.next_ms[slot] - bars.step_ms)
        first_ms = self._first_uncompared(bars, slot, last_ms)
        if last_ms < first_ms:  # nothing closed, or what closed is missing: a repair brings it
            self._compare_ms[slot] = turns.next_ms(slot, now_ms, first_ms)
            return
        known_ms = self._first_ms.get(slot)
        is_told = known_ms != _EVERYTHING and self._is_rest(bars, slot, first_ms, last_ms)
        if not is_told and not await self._ask(symbol, slot, Range(interval, first_ms, last_ms)):
            return  # what was not compared is still due
        if self._first_ms.get(slot) != known_ms:
            return  # a wrong clock was found meanwhile
        self._first_ms[slot] = last_ms + bars.step_ms
        done_ms = self._clock.now_ms()
        self._compare_ms[slot] = turns.next_ms(slot, done_ms, last_ms + bars.step_ms)
        if known_ms and known_ms != _EVERYTHING:
            self.age_ms_max = max(self.age_ms_max, done_ms - first_ms - bars.step_ms)
        self._compare_sums(symbol, slot, interval, first_ms)

    def _first_uncompared(self, bars: Klines, slot: int, last_ms: int) -> int:
        """Open time of the first bar to compare: in the beginning the first of the newest that REST
        has not brought."""
        known_ms = self._first_ms.get(slot, 0)
        if known_ms:
            return max(known_ms, bars.start_ms[slot], last_ms - (ROWS_MAX - 1) * bars.step_ms)
        oldest_ms = max(bars.start_ms[slot], last_ms - (CHEAP_ROWS - 1) * bars.step_ms)
        low, high = bars.column(oldest_ms), bars.column(last_ms)
        if low < 0 or high < 0:
            return oldest_ms
        told = np.flatnonzero(bars.source[slot, low : high + 1] != klines.REST)
        return oldest_ms + int(told[0] if len(told) else high + 1 - low) * bars.step_ms

    @staticmethod
    def _is_rest(bars: Klines, slot: int, first_ms: int, last_ms: int) -> bool:
        """All of these bars came from REST: the venue's own word already."""
        low, high = bars.column(first_ms), bars.column(last_ms)
        return low >= 0 and bool((bars.source[slot, low : high + 1] == klines.REST).all())

    async def _ask(self, symbol: str, slot: int, piece: Range) -> bool:
        """Ask for the bars and judge ours by them; False if the venue did not answer."""
        rows = await self._rows((symbol, "compare"), symbol, piece)
        if rows is None:
            return False
        self._judge(symbol, slot, piece.interval, rows)
        return True

    def _judge(self, symbol: str, slot: int, interval: str, rows: Floats) -> None:
        bars = self._board.klines[interval]
        now_ms = self._clock.now_ms()
        for row in rows:
            open_ms = int(row[0])
            column = bars.column(open_ms)
            if column < 0 or open_ms > bars.due_open_ms(now_ms):
                continue
            if bars.finality[slot, column] == 0:
                continue
            theirs = tuple(row[_ROW].tolist())
            verdict = compare_bars(bars.row(slot, column), theirs, self._settings)
            self._count(symbol, slot, interval, open_ms, verdict)
            if verdict is not Verdict.EQUAL or bars.finality[slot, column] != CONFIRMED:
                self._board.load_history(
                    symbol, interval, row.reshape(1, 11), now_ms, BarSource.REST
                )

    def _count(self, symbol: str, slot: int, interval: str, open_ms: int, verdict: Verdict) -> None:
        self.bars_compared += 1
        self._board.note_compared(slot, mismatched=verdict.is_mismatch)
        if verdict.is_mismatch:
            self.bars_mismatched += 1
            self._lane.note(
                "bar.was_different",
                {
                    "symbol": symbol,
                    "interval": interval,
                    "open_ms": open_ms,
                    "verdict": verdict.value,
                },
            )

    def _compare_sums(self, symbol: str, slot: int, interval: str, since_ms: int) -> None:
        """Longer bars that closed since then, through the bars just verified; without complete
        parts they are asked of REST."""
        parts = self._board.klines[interval]
        now_ms = self._clock.now_ms()
        for bars in self._board.klines.values():
            if bars.step_ms <= parts.step_ms or bars.step_ms % parts.step_ms:
                continue
            open_ms = bars.due_open_ms(now_ms)
            while open_ms + bars.step_ms > since_ms:
                self._compare_sum(symbol, slot, bars, parts, open_ms)
                open_ms -= bars.step_ms

    def _compare_sum(
        self, symbol: str, slot: int, bars: Klines, parts: Klines, open_ms: int
    ) -> None:
        column = bars.column(open_ms)
        if column < 0 or bars.finality[slot, column] == 0:
            return
        longer, is_rest = bars.interval, bars.source[slot, column] == klines.REST
        summed = bars.sum_of(slot, open_ms, parts)
        if summed is None and is_rest:  # the venue's own word already
            return
        if summed is None:
            if self._lane.may_start((symbol, longer)):
                hole = Range(longer, open_ms, open_ms)
                self._lane.spawn((symbol, longer), self._compare_one(symbol, slot, hole))
            else:
                self._board.turns.suspects.add((slot, longer, open_ms))
            return
        ours = bars.row(slot, column)
        if not is_rest:  # two words of the venue's are no mismatch of ours, but are asked again
            verdict = compare_bars(ours, summed, self._settings)
            self._count(symbol, slot, longer, open_ms, verdict)
        if max(relative(a, b) for a, b in zip(ours, summed, strict=True)) > _LAST_DIGIT:
            self._board.turns.suspects.add((slot, longer, open_ms))  # REST has the last word
        elif bars.finality[slot, column] != CONFIRMED:
            self._board.confirm_sum(slot, longer, open_ms, summed, self._clock.now_ms())

    async def _compare_one(self, symbol: str, slot: int, hole: Range) -> None:
        rows = await self._rows((symbol, hole.interval), symbol, hole)
        if rows is None:
            self._board.turns.suspects.add((slot, hole.interval, hole.first_ms))
        else:
            self._judge(symbol, slot, hole.interval, rows)

    async def _rows(self, key: Key, symbol: str, piece: Range) -> Floats | None:
        end_ms = piece.last_ms + INTERVAL_MS[piece.interval] - 1

        async def call() -> Floats:
            return await self._client.klines(
                symbol, piece.interval, piece.rows, piece.first_ms, end_ms, Lane.REPAIR
            )

        self.requests += 1
        answer: Floats | None = await self._lane.ask(key, call)
        return answer
