"""What streams do not carry, read again on its own cadence: open interest, funding, spot, long bars.

Each series is asked for its newest rows soon after they come into being, symbol after symbol, so
that no burst exists; right of way and the budget are the ledger's. A series that brought nothing new
is asked again later, one that failed a little sooner.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple

from cryptosignal.binance.budget import Lane
from cryptosignal.domain.market import BarSource
from cryptosignal.ground.clock import Clock
from cryptosignal.ground.faults import Fault, RateLimited, Refused
from cryptosignal.ground.units import HOUR_MS, INTERVAL_MS, MINUTE_MS
from cryptosignal.market.board import Board
from cryptosignal.net.warmup import MarketClient, WarmUpSettings, scale_spot, spot_pair
from cryptosignal.streams.gaps import Range, merge, split

ROUND_S: Final = 15.0
SETTLE_MS: Final = 90_000
"""The venue prints a row about a minute after its time."""
SPREAD_MS: Final = 240_000
"""Symbols come one after the other within this time."""
AGAIN_MS: Final = 10 * MINUTE_MS
FAILED_MS: Final = MINUTE_MS
_CONCURRENCY: Final = 4
_FUNDING_MS: Final = 8 * HOUR_MS

OPEN_INTEREST: Final = "open interest"
FUNDING: Final = "funding"
SPOT: Final = "spot"

OnNote = Callable[[str, dict[str, str | int | float]], None]
Key = tuple[str, str]


class _Job(NamedTuple):
    """One request that is due: `kind` is a series or an interval."""

    kind: str
    symbol: str
    rows: int


class Refresher:
    """Keeps the slow series of `symbols()` fresh; intervals are those that have no stream."""

    def __init__(
        self,
        client: MarketClient,
        board: Board,
        clock: Clock,
        symbols: Callable[[], Sequence[str]],
        intervals: Iterable[str],
        settings: WarmUpSettings,
        on_note: OnNote | None = None,
    ) -> None:
        self._client = client
        self._board = board
        self._clock = clock
        self._symbols = symbols
        self._intervals = tuple(intervals)
        self._settings = settings
        self._on_note = on_note
        self._not_before_ms: dict[Key, int] = {}
        self._without_spot: set[str] = set()
        self.refreshed: dict[str, int] = {}
        """Requests that brought new rows, by series."""
        self.requests = 0
        self.failures = 0

    async def run(self) -> None:
        """Refresh until cancelled."""
        while True:
            await self.round()
            await asyncio.sleep(ROUND_S)

    async def round(self) -> int:
        """Ask for everything that is due now; answers the requests made."""
        before = self.requests
        jobs = list(self.due())
        queue = iter(jobs)

        async def work() -> None:
            for job in queue:
                await self._do(job)

        if not jobs:
            return 0
        async with asyncio.TaskGroup() as group:
            for _ in range(min(_CONCURRENCY, len(jobs))):
                group.create_task(work())
        return self.requests - before

    # ---- what is due ----------------------------------------------------------------------------
    def due(self) -> Iterator[_Job]:
        """What should be there by now and is not."""
        now_ms = self._clock.now_ms()
        settings = self._settings
        for place, symbol in enumerate(self._symbols()):
            late_ms = now_ms - SETTLE_MS - place * 1_000 % SPREAD_MS
            if settings.with_open_interest:
                oi_ms, _ = self._board.last_times_ms(symbol)
                yield from self._job(OPEN_INTEREST, symbol, (late_ms - oi_ms) // HOUR_MS, now_ms)
            if settings.with_funding:
                _, funding_ms = self._board.last_times_ms(symbol)
                period_ms = self._board.funding_period_ms(symbol) or _FUNDING_MS
                rows = (late_ms - funding_ms) // period_ms
                yield from self._job(FUNDING, symbol, rows, now_ms)
            if settings.with_spot and symbol not in self._without_spot:
                rows = (late_ms - self._board.spot_next_ms(symbol)) // HOUR_MS
                yield from self._job(SPOT, symbol, rows, now_ms)
            for interval in self._intervals:
                if not self._board.is_ready(symbol, interval, late_ms):
                    yield from self._job(interval, symbol, 1, now_ms)

    def _job(self, kind: str, symbol: str, rows: int, now_ms: int) -> Iterator[_Job]:
        if rows > 0 and self._not_before_ms.get((kind, symbol), 0) <= now_ms:
            yield _Job(kind, symbol, rows)

    # ---- asking ---------------------------------------------------------------------------------
    async def _do(self, job: _Job) -> None:
        key = (job.kind, job.symbol)
        now_ms = self._clock.now_ms()
        self.requests += 1
        try:
            taken = await self._read(job)
        except RateLimited as limit:
            self._not_before_ms[key] = max(limit.until_ms, now_ms + FAILED_MS)
            self.failures += 1
            return
        except Refused as refusal:
            self._refused(job, refusal)
            return
        except Fault as fault:
            self._not_before_ms[key] = now_ms + FAILED_MS
            self._note_failure(job, str(fault))
            return
        if taken:
            self.refreshed[job.kind] = self.refreshed.get(job.kind, 0) + 1
            self._not_before_ms.pop(key, None)
        else:
            self._not_before_ms[key] = now_ms + AGAIN_MS

    def _refused(self, job: _Job, refusal: Refused) -> None:
        """A pair that the spot venue does not know is not asked for again (DOMAIN §0.25)."""
        if job.kind == SPOT:
            self._without_spot.add(job.symbol)
            return
        self._not_before_ms[job.kind, job.symbol] = self._clock.now_ms() + AGAIN_MS
        self._note_failure(job, str(refusal))

    def _note_failure(self, job: _Job, reason: str) -> None:
        self.failures += 1
        if self._on_note is not None:
            fields: dict[str, str | int | float] = {
                "series": job.kind,
                "symbol": job.symbol,
                "reason": reason[:200],
            }
            self._on_note("series.was_not_refreshed", fields)

    async def _read(self, job: _Job) -> bool:
        """One series of a symbol; True if anything new came."""
        board, symbol = self._board, job.symbol
        if job.kind == OPEN_INTEREST:
            limit = min(job.rows + 1, self._settings.open_interest_rows)
            before = board.last_times_ms(symbol)[0]
            found: Any = await self._client.open_interest_hist(
                symbol, "1h", limit, lane=Lane.WARM_UP
            )
            points = [(row.time_ms, row.contracts, row.value_usdt) for row in found]
            board.load_open_interest(symbol, points)
            return board.last_times_ms(symbol)[0] > before
        if job.kind == FUNDING:
            limit = min(job.rows + 1, self._settings.funding_rows)
            before = board.last_times_ms(symbol)[1]
            found = await self._client.funding_history(symbol, limit, lane=Lane.WARM_UP)
            board.load_funding(symbol, [(row.time_ms, row.rate) for row in found])
            return board.last_times_ms(symbol)[1] > before
        if job.kind == SPOT:
            return await self._spot(job)
        return await self._bars(job)

    async def _spot(self, job: _Job) -> bool:
        pair, multiple = spot_pair(job.symbol)
        limit = min(job.rows + 1, self._settings.spot_rows)
        before = self._board.spot_next_ms(job.symbol)
        rows = await self._client.spot_klines(pair, "1h", limit, lane=Lane.WARM_UP)
        if len(rows):
            self._board.load_spot(job.symbol, scale_spot(rows, multiple), self._clock.now_ms())
        return self._board.spot_next_ms(job.symbol) > before

    async def _bars(self, job: _Job) -> bool:
        """Bars of an interval without a stream: only those that lack."""
        taken = 0
        now_ms = self._clock.now_ms()
        missing = self._board.missing(job.symbol, job.kind, now_ms, self._settings.daily_rows)
        for hole in merge(Range(job.kind, first, last) for first, last in missing):
            for piece in split(hole):
                end_ms = piece.last_ms + INTERVAL_MS[job.kind] - 1
                rows = await self._client.klines(
                    job.symbol, job.kind, piece.rows, piece.first_ms, end_ms, Lane.WARM_UP
                )
                now_ms = self._clock.now_ms()
                taken += self._board.load_history(
                    job.symbol, job.kind, rows, now_ms, BarSource.REST
                )
        return taken > 0

    def stats(self) -> dict[str, int]:
        """Requests, failures, and what was refreshed by series."""
        return {"requests": self.requests, "failures": self.failures, **self.refreshed}
