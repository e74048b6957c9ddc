"""What runs beside the scan under the names people know: scheduler, positions, reports, client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec

from cryptosignal.binance.budget import Lane
from cryptosignal.ground.calendar import utc_day
from cryptosignal.ground.clock import host_epoch_ms
from cryptosignal.ground.faults import UserFault
from cryptosignal.modes.config import Config
from cryptosignal.modes.learner import Learn, Learner
from cryptosignal.modes.scanner import ScanResult
from cryptosignal.modes.station import EMBEDDED, Access, Station, VenueChoice
from cryptosignal.modes.trader import AutoTrader
from cryptosignal.net.client import VenueClient
from cryptosignal.net.faces import DataService, WebSocketManager
from cryptosignal.reports.daily import DailyReport, DayCounters, daily_report, render_markdown
from cryptosignal.store.disk import FileDisk
from cryptosignal.store.outcomes import OutcomeLog
from cryptosignal.store.settings import StoreSettings
from cryptosignal.trading.desk import PositionView


class UnifiedScheduler:
    """The trading cycle every `cycle_s`. Position loop, audits, reconciles, the day's report and the
    learning slot are due times of the engine's own clock (`get_status()["due"]`), remembered in its
    journal and caught up after downtime; they need no task here. `on_learning` fills the learning slot:
    called beside the engine with what closed, it may answer a new `ParamSet`."""

    def __init__(
        self,
        trader: AutoTrader | None = None,
        *,
        cycle_s: float = 60.0,
        min_score: float = 75,
        on_scan: Callable[[ScanResult], object] | None = None,
        on_learning: Learn | None = None,
        **options: Any,
    ) -> None:
        self.trader = trader or AutoTrader(**options)
        if on_learning is not None and not self.trader.use_optimized_scan:
            raise UserFault("on_learning: found scans by REST, allowed: use_optimized_scan=True")
        self._learner = Learner(self.trader.station, on_learning) if on_learning else None
        self.cycles = 0
        self._cycle_s = cycle_s
        self._min_score = min_score
        self._on_scan = on_scan
        self._stopping = asyncio.Event()

    async def start(self) -> None:
        """Run cycles until `stop()`; the trader is stopped at the end."""
        try:
            await self.trader.initialize()
            while not self._stopping.is_set():
                result = await self.trader.scan_and_execute(self._min_score)
                self.cycles += 1
                if self._on_scan is not None:
                    self._on_scan(result)
                await self._pause()
        finally:
            if self._learner is not None:
                await self._learner.close()
            await self.trader.stop()

    async def stop(self) -> None:
        """Let `start` end after the cycle under way."""
        self._stopping.set()

    def get_status(self) -> dict[str, Any]:
        """Cycles, and the due times of the engine by name (exchange ms)."""
        due: dict[str, int] = {}
        if self.trader.use_optimized_scan and self.trader.station.is_running:
            program = self.trader.station.program
            due = {**program.engine.timers.pending(), "scan": program.scans.next_ms}
        return {"cycles": self.cycles, "due": due, **self.trader.get_status()}

    async def _pause(self) -> None:
        try:
            async with asyncio.timeout(self._cycle_s):
                await self._stopping.wait()
        except TimeoutError:
            return


class PositionAdvice(msgspec.Struct, frozen=True):
    """`action`: HOLD; PROTECT (its stop is not confirmed, the engine is at it); CLOSE (being closed);
    NONE (there is no position). PnL from the mark."""

    symbol: str
    action: str
    reason: str
    size: Decimal
    entry_price: Decimal
    unrealized_pnl: Decimal
    stop_price: Decimal


class PositionController:
    """Positions as the engine guards them; it closes and protects by itself, this shows and asks."""

    def __init__(self, trader: AutoTrader) -> None:
        self._station = trader.station

    def positions(self) -> tuple[PositionView, ...]:
        """Everything held."""
        return self._station.program.desk.positions()

    async def monitor_position(
        self, position: str | Mapping[str, Any] | PositionView
    ) -> PositionAdvice:
        """One look at a position (a symbol, a mapping with `symbol`, or a view)."""
        symbol = _symbol_of(position)
        view = next((p for p in self.positions() if p.symbol == symbol), None)
        if view is None:
            zero = Decimal(0)
            return PositionAdvice(symbol, "NONE", "no position", zero, zero, zero, zero)
        action, reason = "HOLD", "protected"
        if view.closing:
            action, reason = "CLOSE", view.closing
        elif not view.is_protected:
            action, reason = "PROTECT", "the stop is not confirmed"
        sign = 1 if view.direction == "long" else -1
        return PositionAdvice(
            symbol=symbol,
            action=action,
            reason=reason,
            size=sign * view.quantity,
            entry_price=view.entry_price,
            unrealized_pnl=view.unrealized_usdt,
            stop_price=view.stop_price,
        )

    async def watch(self, symbol: str, every_s: float = 1.0) -> AsyncIterator[PositionAdvice]:
        """`monitor_position` every second until the position is gone."""
        while True:
            advice = await self.monitor_position(symbol)
            yield advice
            if advice.action == "NONE":
                return
            await asyncio.sleep(every_s)

    def open(self, symbol: str, direction: str) -> None:
        """Ask for a trade by hand; sizing, stop and targets come as for any signal."""
        arguments = {"symbol": symbol.upper(), "direction": direction}
        self._station.program.command("trade", arguments, "face")

    def close(self, symbol: str) -> None:
        """Ask for a position to be closed, reduce-only."""
        self._station.program.command("close", {"symbol": symbol.upper()}, "face")


class DailyReporter:
    """The report of a UTC day, of a running trader or from a data folder."""

    def __init__(self, trader: AutoTrader | None = None, data_dir: str = "runs") -> None:
        self._trader = trader
        self._data_dir = data_dir

    def generate_report(self, day: str = "") -> DailyReport:
        """The report of `day` (YYYY-MM-DD, default today). A running trader's is written to disk too,
        as Markdown and JSON, under the day's name and as `latest`."""
        chosen = day or utc_day(host_epoch_ms())
        if self._trader is not None and self._trader.station.is_running:
            return self._trader.station.recorder.write_report(chosen)
        if not Path(self._data_dir).is_dir():
            raise UserFault(f"{self._data_dir}: no such data folder")
        disk = FileDisk(Path(self._data_dir), StoreSettings())
        try:
            return daily_report(chosen, OutcomeLog(disk).read_day(chosen), DayCounters())
        finally:
            disk.close()

    def render(self, report: DailyReport) -> str:
        """A report as Markdown."""
        return render_markdown(report)


class BinanceFuturesClient:
    """REST of the venue within its weight budget; the embedded venue without an address."""

    def __init__(self, config: Config | None = None, *, venue: VenueChoice = EMBEDDED) -> None:
        self._access = Access(config or Config(), venue, (), 10)
        self._client: VenueClient | None = None

    @property
    def rest(self) -> VenueClient:
        """The typed client below, with everything it can."""
        if self._client is None:
            raise UserFault("not started: `await initialize()` comes first")
        return self._client

    async def initialize(self) -> None:
        """Find the venue and measure its clock."""
        await self._access.open()
        self._client = self._access.client()
        await self._client.sync_time()

    async def close(self) -> None:
        """Close what was opened."""
        self._client = None
        await self._access.close()

    async def get_klines(self, symbol: str, interval: str, limit: int = 500) -> list[list[float]]:
        """Rows of open time, o, h, l, c, v, close time, quote volume, trades, taker base, quote."""
        found = await self.rest.klines(symbol.upper(), interval, limit)
        rows: list[list[float]] = found.tolist()
        return rows

    async def get_ticker(self, symbol: str) -> dict[str, Any]:
        """The 24 h ticker."""
        found = await self.rest.tickers_24h(symbol.upper())
        return msgspec.structs.asdict(found[0])

    async def get_premium_index(self, symbol: str) -> dict[str, Any]:
        """Mark price, index price, funding."""
        found = await self.rest.premium_index(symbol.upper())
        return msgspec.structs.asdict(found[0])

    async def get_depth(self, symbol: str, limit: int = 20) -> Any:
        """The order book as a typed snapshot."""
        return await self.rest.depth(symbol.upper(), limit, Lane.REPAIR)

    async def get_account(self) -> dict[str, Any]:
        """Balances, positions and open orders, read whole. Raises UserFault without a key."""
        if self._access.signer is None:
            raise UserFault("account: no key (allowed: the embedded venue)")
        return msgspec.structs.asdict(await self.rest.snapshot("asked"))


def websocket_manager(
    station: Station, symbols: list[str], interval: str = "1m"
) -> WebSocketManager:
    """Klines and positions of some symbols over a running station's streams, started."""
    program = station.program

    def position_of(symbol: str) -> dict[str, object] | None:
        feed = program.account_feed
        found = feed.get_position(symbol) if feed is not None else None
        return msgspec.structs.asdict(found) if found is not None else None

    manager = WebSocketManager(
        symbols, interval, feed=program.feed, clock=program.clock, position_of=position_of
    )
    manager.start()
    return manager


def data_service(station: Station) -> DataService:
    """Bars of any interval from a running station's memory, the missing ones by REST."""
    program = station.program
    return DataService(program.board, program.client, program.clock)


def _symbol_of(position: str | Mapping[str, Any] | PositionView) -> str:
    if isinstance(position, str):
        return position.upper()
    if isinstance(position, PositionView):
        return position.symbol
    return str(position["symbol"]).upper()
