"""Filling the board by REST at the start: concurrent, cheap in weight, progressive (PERFORMANCE §3).

Requests go symbol by symbol, so that the first symbols can be scanned while others still load; only
rows that the board lacks are asked for, and what shorter bars can be summed up to is not asked at all,
so a restart with candles on disk is a matter of a second. Right of way and the weight budget are the
client's ledger's; this room only plans.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from typing import Any, Final, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from cryptosignal.binance.budget import Lane
from cryptosignal.domain.market import BarSource, MarkPrice
from cryptosignal.ground.clock import Clock
from cryptosignal.ground.faults import EdgeFault, Fault, RateLimited, Refused
from cryptosignal.ground.units import DAY_MS, HOUR_MS, INTERVAL_MS
from cryptosignal.market.board import Board
from cryptosignal.streams.gaps import CHEAP_ROWS, ROWS_MAX, Range, merge, split

Progress = Callable[[str, int, int, float], None]
"""(step, done, total, seconds since the step began)."""

Floats = NDArray[np.float64]
_TRIES: Final = 4
_RETRY_S: Final = 1.0


class MarketClient(Protocol):
    """What is asked of `net.client.VenueClient`."""

    async def klines(
        self,
        symbol: str,
        interval: str,
        limit: int,
        start_ms: int = 0,
        end_ms: int = 0,
        lane: Lane = Lane.REPAIR,
    ) -> Floats:
        """Candle rows float64[n, 11]."""
        ...

    async def spot_klines(
        self,
        symbol: str,
        interval: str,
        limit: int,
        start_ms: int = 0,
        end_ms: int = 0,
        lane: Lane = Lane.REPAIR,
    ) -> Floats:
        """Candle rows of the spot venue."""
        ...

    async def depth(self, symbol: str, limit: int = 1000, lane: Lane = Lane.REPAIR) -> Any:
        """A book snapshot: last_update_id, event_ms, bids, asks."""
        ...

    async def premium_index(
        self, symbol: str = "", lane: Lane = Lane.REPAIR
    ) -> tuple[MarkPrice, ...]:
        """Marks of all symbols."""
        ...

    async def tickers_24h(self, symbol: str = "", lane: Lane = Lane.REPAIR) -> tuple[Any, ...]:
        """24 h tickers: symbol, last, quote_volume_usdt, close_ms."""
        ...

    async def open_interest_hist(
        self,
        symbol: str,
        period: str,
        limit: int,
        start_ms: int = 0,
        end_ms: int = 0,
        lane: Lane = Lane.REPAIR,
    ) -> tuple[Any, ...]:
        """Rows: time_ms, contracts, value_usdt."""
        ...

    async def funding_history(
        self,
        symbol: str,
        limit: int = 100,
        start_ms: int = 0,
        end_ms: int = 0,
        lane: Lane = Lane.REPAIR,
    ) -> tuple[Any, ...]:
        """Rows: time_ms, rate."""
        ...


class WarmUpSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How many rows of what. Rows are bars wanted; `1d` at 99 costs weight 1 (BINANCE §2.1)."""

    concurrency: int = 100
    rows: int = ROWS_MAX
    daily_rows: int = CHEAP_ROWS
    open_interest_rows: int = 200
    funding_rows: int = 60
    spot_rows: int = CHEAP_ROWS
    with_open_interest: bool = True
    with_funding: bool = True
    with_spot: bool = True

    def __post_init__(self) -> None:
        for key in ("concurrency", "rows", "daily_rows", "open_interest_rows", "funding_rows"):
            if getattr(self, key) < 1:
                raise ValueError(f"warm_up.{key}: found {getattr(self, key)}, allowed: 1 or more")


class WarmUpReport(msgspec.Struct):
    """What a warm-up did. `failed` are (symbol, step, reason) that repair must bring later."""

    requests: int = 0
    rows: int = 0
    weight: int = 0
    seconds: float = 0.0
    first_ready_s: float = 0.0
    ready: list[str] = msgspec.field(default_factory=list)
    failed: list[tuple[str, str, str]] = msgspec.field(default_factory=list)
    steps: dict[str, float] = msgspec.field(default_factory=dict)


SPOT_PRICES: Final = "spot prices"
BTC_AND_ETH: Final = "BTC and ETH"
LEADERS: Final = ("BTCUSDT", "ETHUSDT")
"""Every row reads them: a step of its own, done when all their candles are there."""


class _WarmUp:
    """One warm-up under way."""

    def __init__(
        self,
        client: MarketClient,
        board: Board,
        clock: Clock,
        progress: Progress | None,
        settings: WarmUpSettings,
        on_ready: Callable[[str], None] | None,
    ) -> None:
        self.client = client
        self.board = board
        self.clock = clock
        self.progress = progress
        self.settings = settings
        self.on_ready = on_ready
        self.report = WarmUpReport()
        self._gate = asyncio.Semaphore(settings.concurrency)
        self._began_ns = clock.mono_ns()
        self._done: dict[str, int] = {}
        self._total: dict[str, int] = {}
        self._marked = asyncio.Event()
        """Set when the market's marks were read, or given up: no symbol is ready before."""

    def _seconds(self) -> float:
        return (self.clock.mono_ns() - self._began_ns) / 1e9

    def _expect(self, step: str, total: int) -> None:
        self._done[step], self._total[step] = 0, total
        if self.progress is not None:
            self.progress(step, 0, total, self._seconds())

    def _advance(self, step: str) -> None:
        self._done[step] += 1
        self.report.steps[step] = round(self._seconds(), 3)
        if self.progress is not None:
            self.progress(step, self._done[step], self._total[step], self._seconds())

    async def _ask(self, step: str, symbol: str, call: Callable[[], Awaitable[Any]]) -> Any:
        """One request with patience; None when it is given up (the reason is in the report)."""
        reason = ""
        for attempt in range(_TRIES):
            try:
                async with self._gate:
                    self.report.requests += 1
                    return await call()
            except RateLimited as limit:
                reason = str(limit)
                wait_s = max(0.0, (limit.until_ms - self.clock.now_ms()) / 1000)
                await asyncio.sleep(wait_s)
            except EdgeFault as fault:
                reason = str(fault) or type(fault).__name__
                await asyncio.sleep(_RETRY_S * 2**attempt)
            except Refused as refusal:
                reason = str(refusal)
                if refusal.status < 500:
                    break
                await asyncio.sleep(_RETRY_S * 2**attempt)
            except Fault as fault:
                reason = str(fault) or type(fault).__name__
                break
        self.report.failed.append((symbol, step, reason))
        return None

    # ---- candles ------------------------------------------------------------------------------
    async def market(self, symbols: Sequence[str], intervals: Sequence[str]) -> None:
        """Marks of all, and candles symbol by symbol; the marks leave first."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.marks())
            group.create_task(self.tickers())
            group.create_task(self.candles(symbols, intervals))

    async def candles(self, symbols: Sequence[str], intervals: Sequence[str]) -> None:
        """Candles of every symbol, symbol by symbol."""
        for interval in intervals:
            self._expect(f"klines {interval}", len(symbols))
        leaders = sum(symbol in LEADERS for symbol in symbols)
        if leaders:
            self._expect(BTC_AND_ETH, leaders)
        queue = iter(symbols)
        workers = min(self.settings.concurrency, len(symbols))

        async def work() -> None:
            for symbol in queue:
                await self._symbol(symbol, intervals)

        async with asyncio.TaskGroup() as group:
            for _ in range(workers):
                group.create_task(work())

    async def _symbol(self, symbol: str, intervals: Sequence[str]) -> None:
        ordered = sorted(intervals, key=INTERVAL_MS.__getitem__)
        summed = self._summed(symbol, ordered)
        results = [await self._series(symbol, ordered[0])] if summed else []
        if summed:
            self.board.repair_locally(self.clock.now_ms(), symbol)
        rest = ordered[len(results) :]
        results += await asyncio.gather(*(self._series(symbol, name) for name in rest))
        await self._marked.wait()
        if all(results):
            if symbol in LEADERS:
                self._advance(BTC_AND_ETH)
            if not self.report.ready:
                self.report.first_ready_s = self._seconds()
            self.report.ready.append(symbol)
            if self.on_ready is not None:
                self.on_ready(symbol)

    def _summed(self, symbol: str, ordered: Sequence[str]) -> bool:
        """Whether the shortest bars, once whole, reach back to where a longer series ends: then they
        come first, and what they are summed up to is not asked for."""
        parts, slot = self.board.klines_of(ordered[0]), self.board.slot(symbol)
        since_ms = parts.start_ms[slot]
        ends = (self.board.klines_of(name).next_ms[slot] for name in ordered[1:])
        return since_ms > 0 and any(since_ms <= end_ms for end_ms in ends if end_ms)

    async def _series(self, symbol: str, interval: str) -> bool:
        rows = self.settings.daily_rows if INTERVAL_MS[interval] >= DAY_MS else self.settings.rows
        is_whole = True
        for hole in holes(self.board, symbol, interval, self.clock.now_ms(), rows):
            answer = await self._ask(
                f"klines {interval}", symbol, partial(_fetch, self.client, symbol, hole)
            )
            if answer is None:
                is_whole = False
                continue
            self.report.weight += 1 if hole.rows < 100 else 2
            self.report.rows += self.board.load_history(
                symbol, interval, answer, self.clock.now_ms(), BarSource.REST
            )
        self._advance(f"klines {interval}")
        return is_whole

    # ---- the rest -----------------------------------------------------------------------------
    async def marks(self) -> None:
        """Marks and funding of the whole market: one request."""
        step = "mark and funding"
        self._expect(step, 1)
        try:
            marks = await self._ask(step, "", lambda: self.client.premium_index(lane=Lane.WARM_UP))
            if marks is not None:
                self.board.load_marks(marks)
        finally:
            self._marked.set()
        self._advance(step)

    async def tickers(self) -> None:
        """24 h tickers of the whole market: one request."""
        step = "24 h tickers"
        self._expect(step, 1)
        tickers = await self._ask(step, "", lambda: self.client.tickers_24h(lane=Lane.WARM_UP))
        for ticker in tickers or ():
            self.board.load_ticker(
                ticker.symbol, ticker.last, ticker.quote_volume_usdt, ticker.close_ms
            )
        self._advance(step)

    async def open_interest(self, symbol: str) -> None:
        """Hourly open interest: only what came since the newest known point."""
        last_ms, _ = self.board.last_times_ms(symbol)
        limit = _rows_since(last_ms, self.clock.now_ms(), self.settings.open_interest_rows)
        if limit:
            rows = await self._ask(
                "open interest",
                symbol,
                lambda: self.client.open_interest_hist(symbol, "1h", limit, lane=Lane.WARM_UP),
            )
            self.board.load_open_interest(
                symbol, [(row.time_ms, row.contracts, row.value_usdt) for row in rows or ()]
            )
        self._advance("open interest")

    async def funding(self, symbol: str) -> None:
        """Settled funding rates."""
        _, last_ms = self.board.last_times_ms(symbol)
        limit = _rows_since(last_ms, self.clock.now_ms(), self.settings.funding_rows)
        if limit:
            rows = await self._ask(
                "funding history",
                symbol,
                lambda: self.client.funding_history(symbol, limit, lane=Lane.WARM_UP),
            )
            self.board.load_funding(symbol, [(row.time_ms, row.rate) for row in rows or ()])
        self._advance("funding history")

    async def spot(self, symbol: str) -> None:
        """Hourly spot bars; a symbol without a spot pair simply has none (DOMAIN §0.25)."""
        pair, multiple = spot_pair(symbol)
        try:
            async with self._gate:
                self.report.requests += 1
                rows = await self.client.spot_klines(
                    pair, "1h", self.settings.spot_rows, lane=Lane.WARM_UP
                )
        except Refused:
            rows = None
        except Fault as fault:
            self.report.failed.append((symbol, SPOT_PRICES, str(fault) or type(fault).__name__))
            rows = None
        if rows is not None and len(rows):
            self.board.load_spot(symbol, scale_spot(rows, multiple), self.clock.now_ms())
        self._advance(SPOT_PRICES)

    async def each(
        self, step: str, symbols: Sequence[str], one: Callable[[str], Awaitable[None]]
    ) -> None:
        """`one(symbol)` for every symbol, concurrency bounded by the gate."""
        self._expect(step, len(symbols))
        queue = iter(symbols)

        async def work() -> None:
            for symbol in queue:
                await one(symbol)

        async with asyncio.TaskGroup() as group:
            for _ in range(min(self.settings.concurrency, len(symbols))):
                group.create_task(work())


async def warm_up(
    client: MarketClient,
    board: Board,
    symbols: Sequence[str],
    intervals: Sequence[str],
    clock: Clock,
    progress: Progress | None = None,
    *,
    settings: WarmUpSettings | None = None,
    on_ready: Callable[[str], None] | None = None,
) -> WarmUpReport:
    """Fill the board for `symbols` × `intervals`; answers what it took.

    Without intervals only what stands beside the candles is read (open interest, funding, spot).
    `on_ready(symbol)` fires as soon as all of a symbol's candles are there. Nothing raises for a
    symbol's sake: what failed is in the report, and the repair lane brings it later.
    """
    run = _WarmUp(client, board, clock, progress, settings or WarmUpSettings(), on_ready)
    for symbol in symbols:
        board.slot(symbol)
    if intervals:
        await run.market(symbols, intervals)
    chosen = run.settings
    if chosen.with_open_interest:
        await run.each("open interest", symbols, run.open_interest)
    if chosen.with_funding:
        await run.each("funding history", symbols, run.funding)
    if chosen.with_spot:
        await run.each(SPOT_PRICES, symbols, run.spot)
    run.report.seconds = round(run._seconds(), 3)
    return run.report


def holes(board: Board, symbol: str, interval: str, now_ms: int, rows: int) -> list[Range]:
    """What must be fetched for the newest `rows` bars, in as few cheap requests as possible."""
    missing = board.missing(symbol, interval, now_ms, rows)
    merged = merge(Range(interval, first, last) for first, last in missing)
    return [piece for hole in merged for piece in split(hole)]


async def _fetch(client: MarketClient, symbol: str, hole: Range) -> Floats:
    end_ms = hole.last_ms + INTERVAL_MS[hole.interval] - 1
    return await client.klines(
        symbol, hole.interval, hole.rows, hole.first_ms, end_ms, Lane.WARM_UP
    )


def _rows_since(last_ms: int, now_ms: int, most: int) -> int:
    return min(most, (now_ms - last_ms) // HOUR_MS)


def spot_pair(symbol: str) -> tuple[str, float]:
    """(spot symbol, multiple): `1000PEPEUSDT` is spot `PEPEUSDT` × 1000 (DOMAIN §0.25).

    >>> spot_pair("1000PEPEUSDT"), spot_pair("1MBABYDOGEUSDT"), spot_pair("BTCUSDT")
    (('PEPEUSDT', 1000.0), ('BABYDOGEUSDT', 1000000.0), ('BTCUSDT', 1.0))
    """
    for prefix, multiple in _MULTIPLES.items():
        rest = symbol.removeprefix(prefix)
        if rest != symbol and rest[:1].isalpha():
            return rest, multiple
    return symbol, 1.0


_MULTIPLES: Final = {"1000000": 1e6, "10000": 1e4, "1000": 1e3, "1M": 1e6}


def scale_spot(rows: Floats, multiple: float) -> Floats:
    """Spot candles in the futures contract's units: prices × multiple, base volumes ÷ multiple."""
    if multiple == 1.0:
        return rows
    scaled = rows.copy()
    scaled[:, 1:5] *= multiple
    scaled[:, [5, 9]] /= multiple
    return scaled


def weight_of(symbols: Iterable[str], intervals: Iterable[str], settings: WarmUpSettings) -> int:
    """Request weight of a cold warm-up's candles, for the plan shown at the start."""
    each = 0
    for interval in intervals:
        rows = settings.daily_rows if INTERVAL_MS[interval] >= DAY_MS else settings.rows
        each += 1 if rows < 100 else 2
    return each * len(list(symbols))
