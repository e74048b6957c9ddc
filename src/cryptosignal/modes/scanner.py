"""Scans and pools under the names people know: OptimizedBatchScanner, ScanResult, PoolManager."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from cryptosignal.factors.catalogue import FactorEngine
from cryptosignal.market.board import Board
from cryptosignal.market.caches import RealtimeKlineCache
from cryptosignal.market.pools import (
    ELITE_CACHE_MS,
    OVERLAY_CACHE_MS,
    Pool,
    PoolSettings,
    base,
    elite,
    liquid,
    merged,
    overlay,
)
from cryptosignal.modes.config import Config
from cryptosignal.modes.station import EMBEDDED, Access, Station, VenueChoice
from cryptosignal.modes.user_factors import factor_table
from cryptosignal.net.warmup import WarmUpReport, WarmUpSettings, warm_up
from cryptosignal.quality.score import QualityBook
from cryptosignal.signals.decide import SignalMemory, decide
from cryptosignal.signals.decisions import ScanDecisions, card

DAILY = "1d"
"""Too slow to be worth a stream: read over REST."""


class ScanResult(msgspec.Struct, frozen=True):
    """One scan in the nine known keys, as attributes, by `[key]` or as a dict.

    `results` holds Prime only; `skipped` had too little data; `api_calls` are REST calls made by the
    scan itself.
    """

    results: list[dict[str, Any]]
    total_symbols: int
    signals_found: int
    skipped: int
    errors: int
    elapsed_seconds: float
    symbols_per_second: float
    api_calls: int
    cache_stats: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Exactly the nine keys."""
        return {name: getattr(self, name) for name in self.__struct_fields__}

    def __getitem__(self, key: str) -> Any:
        return self.to_dict()[key]


def result_of(
    decisions: ScanDecisions,
    *,
    api_calls: int,
    cache_stats: dict[str, Any],
    elapsed_s: float,
    errors: int = 0,
    min_score: float = 0.0,
    symbols: Sequence[str] | None = None,
) -> ScanResult:
    """The result of a scan, restricted to `symbols` if given; zero elapsed never divides."""
    seen = set(decisions.rows.symbols if symbols is None else symbols)
    primes = [d for d in decisions.prime() if d.symbol in seen and d.prime_strength >= min_score]
    skipped = zip(decisions.rows.symbols, decisions.skipped().tolist(), strict=True)
    total = sum(1 for symbol in decisions.rows.symbols if symbol in seen)
    return ScanResult(
        results=[card(d) for d in primes],
        total_symbols=total,
        signals_found=len(primes),
        skipped=sum(1 for symbol, is_skipped in skipped if is_skipped and symbol in seen),
        errors=errors,
        elapsed_seconds=elapsed_s,
        symbols_per_second=total / elapsed_s if elapsed_s > 0.0 else 0.0,
        api_calls=api_calls,
        cache_stats=cache_stats,
    )


class OptimizedBatchScanner:
    """The market scanned from memory; candles come by stream, a scan calls no REST."""

    def __init__(
        self,
        config: Config | None = None,
        *,
        venue: VenueChoice = EMBEDDED,
        symbol_count: int = 60,
        station: Station | None = None,
    ) -> None:
        self._config = config or Config()
        self._venue = venue
        self._symbol_count = symbol_count
        self._station = station
        self._is_ours = station is None

    @property
    def station(self) -> Station:
        """The running program below; made by `initialize`."""
        if self._station is None:
            self._station = self._make((), ())
        return self._station

    @property
    def kline_cache(self) -> RealtimeKlineCache:
        """The candles in memory: `get`, `get_latest`, `get_stats`."""
        return self.station.kline_cache

    @property
    def decisions(self) -> ScanDecisions | None:
        """The newest scan whole, rejected symbols and their reasons too."""
        return self.station.program.engine.latest

    async def initialize(
        self, symbols: Sequence[str] = (), intervals: Sequence[str] = ()
    ) -> WarmUpReport:
        """Load history and follow the streams of `symbols` × `intervals` (default: the most traded
        symbols and every interval the factors use). A factor without its interval has no data."""
        if self._station is None:
            self._station = self._make(symbols, intervals)
        return await self._station.start()

    async def scan(self, min_score: float = 0.0, max_symbols: int | None = None) -> ScanResult:
        """One scan, now, of the most traded `max_symbols`."""
        program = self.station.program
        before = program.client.api_calls.total()
        started_ns = program.clock.mono_ns()
        program.scans.scan("asked")
        elapsed_s = (program.clock.mono_ns() - started_ns) / 1e9
        decisions = program.engine.latest
        assert decisions is not None, "a scan leaves its decisions"
        return result_of(
            decisions,
            api_calls=program.client.api_calls.total() - before,
            cache_stats=program.board.get_stats(),
            elapsed_s=elapsed_s,
            min_score=min_score,
            symbols=program.symbols[:max_symbols],
        )

    async def stop(self) -> None:
        """End the program that `initialize` started."""
        if self._station is not None and self._is_ours:
            await self._station.stop()

    def _make(self, symbols: Sequence[str], intervals: Sequence[str]) -> Station:
        return Station(
            with_intervals(self._config, intervals),
            symbols=symbols,
            symbol_count=self._symbol_count,
            venue=self._venue,
        )


class RestScanner:
    """The same scan with every candle read over REST, on purpose: to compare, to debug, or for scans
    rarer than two hours. Nothing is streamed, so no result is Prime (data that nobody watched)."""

    def __init__(self, access: Access, symbols: Sequence[str], intervals: Sequence[str]) -> None:
        self._access = access
        self._symbols = tuple(symbols)
        self._intervals = tuple(intervals)
        self._memory = SignalMemory()
        self._scans = 0
        self.decisions: ScanDecisions | None = None

    async def scan(self, min_score: float = 0.0, max_symbols: int | None = None) -> ScanResult:
        """Read, score and decide; `api_calls` counts every request."""
        access, config = self._access, self._access.config
        clock, client = access.clock, access.client()
        started_ns = clock.mono_ns()
        await client.sync_time()
        rules = await client.exchange_info()
        listed = {i.symbol: i for i in rules.instruments if i.is_tradable_perpetual}
        wanted = [s for s in self._symbols or await self._by_volume(client, listed) if s in listed]
        board = Board(config.market, capacity=max(len(wanted), 1))
        chosen = wanted[: max_symbols or config.run.symbols_max]
        board.set_universe([listed[symbol] for symbol in chosen])
        rest = WarmUpSettings(with_spot=False)
        report = await warm_up(client, board, chosen, self._intervals, clock, settings=rest)
        now_ms = clock.now_ms()
        self._trust_as_rest(config, board, chosen, now_ms)
        self._scans += 1
        table = factor_table(config.run.factor_files, config.params)
        rows = FactorEngine(config.params, table).compute(board.view(now_ms), self._scans, "rest")
        self.decisions = decide(rows, config.params, self._memory)
        return result_of(
            self.decisions,
            api_calls=client.api_calls.total(),
            cache_stats=board.get_stats(),
            elapsed_s=(clock.mono_ns() - started_ns) / 1e9,
            errors=len({symbol for symbol, _, _ in report.failed}),
            min_score=min_score,
        )

    @staticmethod
    async def _by_volume(client: Any, listed: dict[str, Any]) -> list[str]:
        tickers = await client.tickers_24h()
        volume = {ticker.symbol: ticker.quote_volume_usdt for ticker in tickers}
        return sorted(listed, key=lambda symbol: (-volume.get(symbol, 0.0), symbol))

    @staticmethod
    def _trust_as_rest(config: Config, board: Board, symbols: list[str], now_ms: int) -> None:
        quality = QualityBook(config.quality, capacity=max(len(symbols), 1))
        for symbol in symbols:
            quality.on_rest(board.slot(symbol), now_ms)
        quality.refresh(board, now_ms)


class PoolManager:
    """Elite and Overlay pools of the symbols that a scanner watches, cached as long as known."""

    def __init__(
        self,
        scanner: OptimizedBatchScanner,
        elite_cache_hours: float = ELITE_CACHE_MS / 3_600_000,
        overlay_cache_hours: float = OVERLAY_CACHE_MS / 3_600_000,
        settings: PoolSettings | None = None,
    ) -> None:
        self._scanner = scanner
        self._own = settings
        self._keep_ms = {
            "liquid": overlay_cache_hours * 3_600_000,
            "base": overlay_cache_hours * 3_600_000,
            "elite": elite_cache_hours * 3_600_000,
            "overlay": overlay_cache_hours * 3_600_000,
        }
        self._made: dict[str, tuple[int, Pool]] = {}

    def get_elite_pool(self) -> Pool:
        """Liquid, unusual, of quality, no chase; `.symbols` by rank, `.criteria` by symbol."""
        return self._cached("elite")

    def get_overlay_pool(self) -> Pool:
        """New coins with volume, and moves in sync within the hour; without Elite."""
        return self._cached("overlay")

    def get_liquidity_pool(self) -> Pool:
        """Symbols with volume, those that move first."""
        return self._cached("liquid")

    def get_base_pool(self) -> Pool:
        """Liquid and moving, at least twenty."""
        return self._cached("base")

    def get_merged_universe(self) -> tuple[str, ...]:
        """Overlay first, then Elite, each symbol once."""
        return merged(self.get_overlay_pool(), self.get_elite_pool())

    def clear_cache(self) -> None:
        """Compute both anew at the next question."""
        self._made.clear()

    def _cached(self, name: str) -> Pool:
        program = self._scanner.station.program
        now_ms = program.clock.now_ms()
        found = self._made.get(name)
        if found is not None and now_ms - found[0] < self._keep_ms[name]:
            return found[1]
        view, settings = program.board.view(now_ms), self._own or program.config.pools
        if "1h" not in view.bars:
            return found[1] if found is not None else Pool(())  # the former while none can be made
        if name == "overlay":
            pool = overlay(view, self.get_elite_pool(), settings)
        else:
            pool = {"elite": elite, "base": base, "liquid": liquid}[name](view, settings)
        self._made[name] = (now_ms, pool)
        return pool


def with_intervals(config: Config, intervals: Sequence[str]) -> Config:
    """The configuration with these intervals; days are read over REST, all others streamed."""
    if not intervals:
        return config
    streamed = tuple(interval for interval in intervals if interval != DAILY)
    rest = (DAILY,) if DAILY in intervals else ()
    run = msgspec.structs.replace(
        config.run, intervals=streamed, rest_intervals=rest, trigger_intervals=()
    )
    return msgspec.structs.replace(config, run=run)
