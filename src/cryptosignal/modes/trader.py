"""AutoTrader and its coroutines under the names people know: a thin face over the running program.

It acts as the configuration says: `signal` (the default) publishes, `auto` trades on the account that
the configuration names (the embedded venue's own, paper at a real one; a live one with `live=True` and all
else that it needs). Nothing here sends an order by itself.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from cryptosignal.domain.events import ParamsPublished
from cryptosignal.ground.faults import EdgeFault, UserFault, VenueFault
from cryptosignal.modes.config import Config, Mode
from cryptosignal.modes.figures import figures
from cryptosignal.modes.scanner import OptimizedBatchScanner, RestScanner, ScanResult
from cryptosignal.modes.station import EMBEDDED, Access, Station, VenueChoice


def _print(text: str) -> None:
    sys.stdout.write(text + "\n")


class AutoTrader:
    """Scans, publishes and, in mode `auto`, trades.

    `use_optimized_scan=False` reads every candle over REST for each scan, on purpose (compare, debug,
    scans rarer than two hours); it never trades.
    """

    def __init__(
        self,
        use_optimized_scan: bool = True,
        *,
        config: Config | None = None,
        venue: VenueChoice = EMBEDDED,
        mode: Mode | None = None,
        symbols: Sequence[str] = (),
        symbol_count: int = 60,
        live: bool = False,
        say: Callable[[str], None] = _print,
    ) -> None:
        own = config or Config()
        if mode is not None:
            own = msgspec.structs.replace(own, run=msgspec.structs.replace(own.run, mode=mode))
        if not use_optimized_scan and own.run.mode != "signal":
            raise UserFault(f"mode: found {own.run.mode!r}, allowed with scans by REST: signal")
        self.use_optimized_scan = use_optimized_scan
        self.config = own
        self.scans = 0
        self.latest: ScanResult | None = None
        self._say = say
        self._symbols = tuple(symbols)
        self._min_score = own.params.gates.min_score
        self._access: Access | None = None
        self._by_rest: RestScanner | None = None
        if use_optimized_scan:
            self.station = Station(
                own, symbols=symbols, symbol_count=symbol_count, venue=venue, live=live
            )
            self.batch_scanner = OptimizedBatchScanner(own, station=self.station)
        else:
            self._access = Access(own, venue, self._symbols, symbol_count)

    @property
    def is_initialized(self) -> bool:
        """A scan can be asked for."""
        return self._by_rest is not None if self._access else self.station.is_running

    async def initialize(self) -> None:
        """Find the venue, recover what former runs own, load history, follow the streams."""
        if self._access is None:
            await self.station.start()
        elif self._by_rest is None:
            await self._access.open()
            run = self.config.run
            intervals = (*run.intervals, *run.rest_intervals)
            self._by_rest = RestScanner(self._access, self._symbols, intervals)

    async def scan_and_execute(
        self, min_score: float = 75, max_symbols: int | None = None
    ) -> ScanResult:
        """One scan; Prime of at least `min_score` strength is published and, in mode `auto`, entered."""
        if not self.is_initialized:
            await self.initialize()
        if self._by_rest is not None:
            result = await self._by_rest.scan(min_score, max_symbols)
        else:
            self._require(min_score)
            result = await self.batch_scanner.scan(min_score, max_symbols)
        self.scans += 1
        self.latest = result
        return result

    def get_status(self) -> dict[str, Any]:
        """Mode, account, scans, positions, published signals, the cache's figures."""
        status: dict[str, Any] = {
            "use_optimized_scan": self.use_optimized_scan,
            "mode": self.config.run.mode,
            "scans": self.scans,
            "latest": self.latest.to_dict() if self.latest else None,
        }
        if self._access is not None or not self.station.is_running:
            return status
        program = self.station.program
        return status | {
            "account": program.engine.account,
            "symbols": len(program.symbols),
            "positions": [msgspec.structs.asdict(p) for p in program.desk.positions()],
            "signals": len(self.station.listener.signals),
            "outcomes": len(self.station.listener.outcomes),
            "cache": program.board.get_stats(),
            "connections": program.feed.stats()["connections"],
            "market_data": figures(program),
        }

    async def print_status(self) -> None:
        """The status in a few lines."""
        status = self.get_status()
        head = [f"{key} {status[key]}" for key in ("mode", "account", "symbols", "scans")
                if key in status]  # fmt: skip
        self._say(", ".join(head))
        if self.latest is not None:
            last = self.latest
            self._say(
                f"last scan: {last.total_symbols} symbols, {last.signals_found} Prime, "
                f"{last.elapsed_seconds:.3f} s, {last.api_calls} REST calls"
            )
        if "cache" in status:
            cache = status["cache"]
            self._say(f"cache: hits {cache['hit_rate']}, {cache['memory_estimate_mb']} MB, "
                      f"{cache['total_updates']} updates")  # fmt: skip
        for position in status.get("positions", []):
            self._say(
                f"position: {position['symbol']} {position['direction']} {position['quantity']} "
                f"at {position['entry_price']}, stop {position['stop_price']}"
            )

    async def stop(self) -> None:
        """End in order: requests under way finish, the journal is durable, the venue is closed."""
        if self._access is not None:
            await self._access.close()
            self._by_rest = None
        else:
            await self.station.stop()

    def _require(self, min_score: float) -> None:
        """Let the engine's own strength gate hold the limit, as a journaled parameter set."""
        if min_score == self._min_score:
            return
        engine = self.station.program.engine
        gates = msgspec.structs.replace(engine.params.gates, min_score=float(min_score))
        version = f"{self.config.params.version}+min{min_score:g}"
        params = msgspec.structs.replace(engine.params, gates=gates, version=version)
        try:
            params.validate()
        except ValueError as error:
            raise UserFault(f"min_score: {error}") from None
        self.station.program.rim.handle(ParamsPublished(version, params.to_json()))
        self._min_score = float(min_score)


class SelfLearningTrader(AutoTrader):
    """The same trader with a market context for each symbol. It follows outcomes; it does not learn
    from them yet."""

    def market_context(self, symbol: str) -> dict[str, Any]:
        """price, adx (14, on the 1h bars), trend_direction (up, down, flat) as of the newest scan."""
        decisions = self.station.program.engine.latest
        decision = decisions.find(symbol.upper()) if decisions is not None else None
        if decision is None:
            raise UserFault(f"{symbol}: not among the scanned symbols")
        trend = decision.factors.get("T", float("nan"))
        direction = "up" if trend > 0.0 else "down" if trend < 0.0 else "flat"
        latest = self.station.kline_cache.get_latest(symbol.upper(), "1m")
        return {
            "price": latest["close"] if latest else None,
            "adx": decision.modulators.get("adx"),
            "trend_direction": direction,
        }


async def run_single_scan(min_score: float = 75, **options: Any) -> ScanResult:
    """Start, scan once, end. `options` are AutoTrader's."""
    trader = AutoTrader(**options)
    try:
        await trader.initialize()
        return await trader.scan_and_execute(min_score)
    finally:
        await trader.stop()


async def run_periodic_scan(
    interval_minutes: float = 60,
    min_score: float = 75,
    *,
    scans: int = 0,
    on_scan: Callable[[ScanResult], object] | None = None,
    **options: Any,
) -> int:
    """Scan every `interval_minutes` until cancelled, or `scans` times; answers how many were taken.

    `options` are AutoTrader's; the programme stays up between scans, so the streams do too.
    """
    trader = AutoTrader(**options)
    try:
        await trader.initialize()
        while True:
            result = await trader.scan_and_execute(min_score)
            if on_scan is not None:
                on_scan(result)
            if scans and trader.scans >= scans:
                return trader.scans
            await asyncio.sleep(interval_minutes * 60.0)
    finally:
        await trader.stop()


async def connection_works(
    *,
    config: Config | None = None,
    venue: VenueChoice = EMBEDDED,
    say: Callable[[str], None] = _print,
) -> bool:
    """Whether time, rules, candles and, where there is a key, the account can be read over REST."""
    access = Access(config or Config(), venue, (), 10)
    try:
        await access.open()
        client = access.client()
        await client.sync_time()
        say(f"time: offset {access.clock.offset_ms} ms")
        rules = await client.exchange_info()
        say(f"rules: {len(rules.instruments)} contracts")
        rows = await client.klines("BTCUSDT", "1h", 10)
        say(f"candles: {len(rows)} of BTCUSDT 1h")
        if access.signer is not None:
            found = await client.snapshot("test")
            say(f"account: {type(found).__name__}")
    except (EdgeFault, VenueFault) as fault:
        say(f"no: {fault}")
        return False
    finally:
        await access.close()
    return True
