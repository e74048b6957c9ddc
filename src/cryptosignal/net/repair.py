"""Repair and reconciliation by REST, in the repair lane, spread over time (DOMAIN §0.23, D7, D8).

Gaps first from shorter bars at hand, then from REST; closed bars are compared in their turns
(net/compare), diff books at equal ids. With the streams down the same lane carries the scan: every
due bar is then a laggard.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

from cryptosignal.binance.budget import Lane
from cryptosignal.domain.market import BarSource
from cryptosignal.ground.clock import Clock
from cryptosignal.ground.faults import Fault, RateLimited
from cryptosignal.ground.units import INTERVAL_MS
from cryptosignal.market.board import Board
from cryptosignal.market.books import BookState, DiffBook
from cryptosignal.net.compare import BarComparison
from cryptosignal.net.warmup import Floats, MarketClient
from cryptosignal.quality.reconcile import compare_books
from cryptosignal.quality.score import QualityBook
from cryptosignal.streams import names
from cryptosignal.streams.gaps import ROWS_MAX, Range, merge, split
from cryptosignal.streams.settings import FeedSettings

OnNote = Callable[[str, dict[str, str | int | float]], None]
Key = tuple[str, str]

_RETRY_S_MAX: Final = 60.0
_SNAPSHOT_LEVELS: Final = 1000
_CHECK_LEVELS: Final = 20
_BOOK_TRIES_MAX: Final = 3
_BOOK_PAUSE_S: Final = 30.0
_REST_MARKS_S: Final = 30.0
_QUEUE_MAX: Final = 5_000


class Repairer:
    """Keeps the board whole. Give it the feed's `is_failed` so that it can carry a scan by REST."""

    def __init__(
        self,
        client: MarketClient,
        board: Board,
        quality: QualityBook,
        clock: Clock,
        settings: FeedSettings,
        on_note: OnNote | None = None,
        *,
        is_failed: Callable[[], bool] | None = None,
    ) -> None:
        self._client = client
        self._board = board
        self._quality = quality
        self._clock = clock
        self._settings = settings
        self._on_note = on_note
        self._is_failed = is_failed or (lambda: False)
        self._gate = asyncio.Semaphore(settings.repair_concurrency)
        self._busy: set[Key] = set()
        self._retry_ns: dict[Key, int] = {}
        self._tries: dict[Key, int] = {}
        self.comparison = BarComparison(self, client, board, clock, settings)
        self._book_due_ns: dict[int, int] = {}
        self._book_tries: dict[int, int] = {}
        self._rest_marks_ns = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._group: asyncio.TaskGroup | None = None
        self.bars_repaired = 0
        self.books_rebuilt = 0
        self.books_compared = 0
        self.books_mismatched = 0
        self.id_gap_max = 0
        self.requests = 0
        self.failures = 0
        self.wanted: list[Key] = []

    @property
    def bars_compared(self) -> int:
        """Closed bars that were compared with REST or with verified sums."""
        return self.comparison.bars_compared

    @property
    def bars_mismatched(self) -> int:
        """Those beyond the tolerances."""
        return self.comparison.bars_mismatched

    @property
    def comparisons(self) -> int:
        """Requests of the routine comparison of bars, also contained in `requests`."""
        return self.comparison.requests

    async def run(self) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            while True:
                self.tick()
                await asyncio.sleep(self._settings.repair_interval)

    def tick(self) -> None:
        """One round: start what is due."""
        now_ms = self._clock.now_ms()
        self._board.repair_locally(now_ms)
        self._repair_laggards(now_ms)
        self._repair_suspects()
        self._fetch_wanted(now_ms)
        self.comparison.tick(now_ms)
        self._tend_books()
        if self._is_failed():
            self._carry_by_rest(now_ms)

    def want(self, symbol: str, interval: str) -> None:
        """Fetch everything that lacks in this series (what a warm-up had to give up)."""
        if (symbol, interval) not in self.wanted and len(self.wanted) < _QUEUE_MAX:
            self.wanted.append((symbol, interval))

    def spawn(self, key: Key, work: Any) -> None:
        """Start a task of this key."""
        assert self._group is not None, "run() first"
        self._busy.add(key)
        task = self._group.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _: self._busy.discard(key))

    def may_start(self, key: Key) -> bool:
        """Whether nothing of this key is under way or waits to be tried again."""
        return (
            key not in self._busy
            and len(self._busy) < 4 * self._settings.repair_concurrency
            and self._retry_ns.get(key, 0) <= self._clock.mono_ns()
        )

    async def ask(self, key: Key, call: Callable[[], Any]) -> Any:
        """One request; None on a fault, and the key waits before it is tried again."""
        try:
            async with self._gate:
                self.requests += 1
                answer = await call()
        except RateLimited as limit:
            self._back_off(key, (limit.until_ms - self._clock.now_ms()) / 1000)
            return None
        except Fault as fault:
            tries = self._tries.get(key, 0)
            self._tries[key] = tries + 1
            self._back_off(key, min(_RETRY_S_MAX, 1.0 * 2**tries))
            self.note("repair.has_failed", {"key": "/".join(key), "reason": str(fault)[:200]})
            return None
        self._tries.pop(key, None)
        self._retry_ns.pop(key, None)
        return answer

    def _back_off(self, key: Key, wait_s: float) -> None:
        self.failures += 1
        self._retry_ns[key] = self._clock.mono_ns() + int(max(0.0, wait_s) * 1e9)

    # ---- bars ---------------------------------------------------------------------------------
    def _repair_laggards(self, now_ms: int) -> None:
        for symbol, interval, first_ms, last_ms in self._board.laggards(now_ms):
            key = (symbol, interval)
            if self.may_start(key):
                hole = Range(interval, first_ms, last_ms)
                self.spawn(key, self._fill(symbol, [hole]))

    def _fetch_wanted(self, now_ms: int) -> None:
        for key in list(self.wanted):
            if not self.may_start(key):
                continue
            self.wanted.remove(key)
            symbol, interval = key
            missing = self._board.missing(symbol, interval, now_ms, ROWS_MAX)
            found = merge(Range(interval, first, last) for first, last in missing)
            if found:
                self.spawn(key, self._fetch(key, found))

    async def _fetch(self, key: Key, missing: list[Range]) -> None:
        if not await self._fill(key[0], missing):
            self.want(*key)

    async def _fill(self, symbol: str, missing: list[Range]) -> bool:
        """Fetch holes, oldest first, and load them; False if the venue did not answer."""
        for hole in missing:
            for piece in reversed(list(split(hole))):
                rows = await self._rows(symbol, piece)
                if rows is None:
                    return False
                now_ms = self._clock.now_ms()
                self._mark_by_rest(symbol, now_ms)
                self.bars_repaired += self._board.load_history(
                    symbol, piece.interval, rows, now_ms, BarSource.REST
                )
        return True

    async def _rows(self, symbol: str, piece: Range) -> Floats | None:
        end_ms = piece.last_ms + INTERVAL_MS[piece.interval] - 1

        async def call() -> Floats:
            return await self._client.klines(
                symbol, piece.interval, piece.rows, piece.first_ms, end_ms, Lane.REPAIR
            )

        answer: Floats | None = await self.ask((symbol, piece.interval), call)
        return answer

    def _mark_by_rest(self, symbol: str, now_ms: int) -> None:
        if self._is_failed():
            self._quality.on_rest(self._board.slot(symbol), now_ms)

    def _repair_suspects(self) -> None:
        """Bars that closed without proof that every trade was seen: REST has the last word."""
        suspects = self._board.turns.suspects
        for slot, interval, open_ms in sorted(suspects):
            symbol = self._board.symbols[slot]
            if not self.may_start((symbol, interval)):
                continue
            suspects.discard((slot, interval, open_ms))
            self.spawn((symbol, interval), self._settle(slot, interval, open_ms))

    async def _settle(self, slot: int, interval: str, open_ms: int) -> None:
        """Replace one bar by the venue's; without an answer it stays suspect."""
        hole = Range(interval, open_ms, open_ms)
        if not await self._fill(self._board.symbols[slot], [hole]):
            self._board.turns.suspects.add((slot, interval, open_ms))

    # ---- books --------------------------------------------------------------------------------
    def _tend_books(self) -> None:
        now_ns = self._clock.mono_ns()
        for slot, book in self._board.books.items():
            key = (self._board.symbols[slot], "book")
            if not self.may_start(key):
                continue
            if book.wants_snapshot:
                self.spawn(key, self._rebuild(slot, book))
            elif book.state is BookState.SYNCED:
                due_ns = self._book_due_ns.setdefault(
                    slot, now_ns + int(self._settings.depth_reconcile_interval * 1e9)
                )
                if now_ns >= due_ns:
                    del self._book_due_ns[slot]
                    self.spawn(key, self._check_book(slot, book))

    async def _snapshot(self, slot: int) -> Any:
        symbol = self._board.symbols[slot]

        async def call() -> Any:
            return await self._client.depth(symbol, _SNAPSHOT_LEVELS, Lane.REPAIR)

        return await self.ask((symbol, "book"), call)

    async def _rebuild(self, slot: int, book: DiffBook) -> None:
        """Steps 2 to 5 of the venue's recipe; a book that keeps breaking pauses (DOMAIN §1.7)."""
        answer = await self._snapshot(slot)
        if answer is None:
            return
        symbol = self._board.symbols[slot]
        if self._board.load_book(
            symbol,
            answer.last_update_id,
            levels_of(answer.bids),
            levels_of(answer.asks),
            answer.event_ms,
        ):
            self.books_rebuilt += 1
            self._book_tries.pop(slot, None)
            return
        tries = self._book_tries.get(slot, 0) + 1
        self._book_tries[slot] = tries
        if tries >= _BOOK_TRIES_MAX:
            self._book_tries[slot] = 0
            self._back_off((symbol, "book"), _BOOK_PAUSE_S)

    async def _check_book(self, slot: int, book: DiffBook) -> None:
        """Compare the book with a snapshot at the snapshot's id (§0.23)."""
        book.begin_check()
        try:
            answer = await self._snapshot(slot)
            if answer is None:
                return
            wait_s = self._settings.depth_behind_ms / 1000
            for _ in range(4):
                if book.state is not BookState.SYNCED or book.last_id >= answer.last_update_id:
                    break
                await asyncio.sleep(wait_s / 4)
            self._judge_book(slot, book, answer)
        finally:
            book.end_check()

    def _judge_book(self, slot: int, book: DiffBook, answer: Any) -> None:
        if book.state is not BookState.SYNCED:
            return
        theirs = (levels_of(answer.bids), levels_of(answer.asks))
        id_gap = abs(answer.last_update_id - book.last_id)
        self.id_gap_max = max(self.id_gap_max, id_gap)
        moment = book.at(answer.last_update_id)
        if moment is None and book.last_id >= answer.last_update_id:
            return
        touched, ours = moment or (frozenset(), book.top(_CHECK_LEVELS))
        found = compare_books(ours, theirs, _CHECK_LEVELS, id_gap, touched)
        self.books_compared += 1
        self._board.note_compared(slot, mismatched=found.verdict.is_mismatch)
        if found.verdict.is_mismatch:
            self.books_mismatched += 1
            self.note(
                "book.was_different",
                {
                    "symbol": self._board.symbols[slot],
                    "levels": found.differing,
                    "id_gap": found.id_gap,
                },
            )
            self._board.restart_book(slot)

    # ---- falling back -------------------------------------------------------------------------
    def _carry_by_rest(self, now_ms: int) -> None:
        """Streams refused altogether: marks by REST as well; bars come as laggards."""
        now_ns = self._clock.mono_ns()
        key = ("", "marks")
        if now_ns >= self._rest_marks_ns and self.may_start(key):
            self._rest_marks_ns = now_ns + int(_REST_MARKS_S * 1e9)
            self.spawn(key, self._marks())
        for stream in self._board.inbox.by_kind.get(names.KLINE, ()):
            bars = self._board.klines[stream.interval]
            if stream.is_wanted and not bars.next_ms[stream.slot]:
                self.want(stream.symbol, stream.interval)

    async def _marks(self) -> None:
        async def call() -> Any:
            return await self._client.premium_index(lane=Lane.REPAIR)

        marks = await self.ask(("", "marks"), call)
        if marks is not None:
            self._board.load_marks(marks)

    def note(self, event: str, fields: dict[str, str | int | float]) -> None:
        """Hand a note to whoever logs."""
        if self._on_note is not None:
            self._on_note(event, fields)

    def stats(self) -> dict[str, int]:
        """What was repaired and compared."""
        return {
            "bars_repaired": self.bars_repaired,
            "bars_summed": self._board.bars_summed,
            "bars_compared": self.bars_compared,
            "bars_mismatched": self.bars_mismatched,
            "bars_compared_age_ms_max": self.comparison.age_ms_max,
            "comparisons": self.comparisons,
            "books_rebuilt": self.books_rebuilt,
            "books_compared": self.books_compared,
            "books_mismatched": self.books_mismatched,
            "id_gap_max": self.id_gap_max,
            "requests": self.requests,
            "failures": self.failures,
        }


def levels_of(side: Any) -> list[tuple[float, float]]:
    """A REST side, array or list, as plain pairs."""
    return [(float(price), float(qty)) for price, qty in side]
