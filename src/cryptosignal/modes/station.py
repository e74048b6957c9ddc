"""A running program inside the caller's own event loop: what the known names stand on.

Without an address the embedded venue is started and stopped with it. Scans are taken when they are
asked for, never by a timer of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec

from cryptosignal.binance.limits import Limits
from cryptosignal.binance.routes import MAINNET, TESTNET, Routes
from cryptosignal.binance.signing import Signer
from cryptosignal.domain.actions import (
    Note,
    PublishDecision,
    RecordOutcome,
    ScanDecided,
    WriteReport,
)
from cryptosignal.domain.outcome import Outcome
from cryptosignal.domain.signal import Decision
from cryptosignal.ground.calendar import utc_day
from cryptosignal.ground.clock import SystemClock, host_epoch_ms
from cryptosignal.ground.faults import UserFault
from cryptosignal.ground.seeds import Seeds
from cryptosignal.market.caches import RealtimeKlineCache
from cryptosignal.modes.accounts import PAPER, choose_account, named, within_limits
from cryptosignal.modes.config import Config
from cryptosignal.modes.embedded import VenueReady, embedded_venue
from cryptosignal.modes.paper import PaperTransport
from cryptosignal.modes.program import Program, Setup
from cryptosignal.modes.recorder import Recorder
from cryptosignal.modes.stores import Stores
from cryptosignal.modes.whereabouts import runtime_dir
from cryptosignal.net.client import VenueClient, ledger_host
from cryptosignal.net.ledger import WeightLedger
from cryptosignal.net.transport import SocketTransport
from cryptosignal.net.warmup import WarmUpReport, WarmUpSettings
from cryptosignal.store.disk import FileDisk
from cryptosignal.store.lease import Lease
from cryptosignal.store.outcomes import OutcomeLog

EMBEDDED = "embedded"
_REAL = {"binance": MAINNET, "testnet": TESTNET}
_NEVER_S = 86_400.0
"""The scan interval of a program that is asked for its scans (the longest allowed)."""
_RECONCILED_WITHIN_S = 20.0
"""A start goes on without the account after this; it may scan, and not trade."""
_KEPT_MAX = 1_000

VenueChoice = VenueReady | str
"""`embedded`, `binance`, `testnet`, or the announcement of a simulated venue that runs already."""


class Access:
    """The way to a venue: addresses, clock, transport, key. Owns the embedded venue it started."""

    def __init__(
        self, config: Config, venue: VenueChoice, symbols: Sequence[str], count: int
    ) -> None:
        self.config = config
        self.clock = SystemClock()
        self.transport = SocketTransport(config.transport)
        self.routes: Routes
        self.signer: Signer | None = None
        self.ledger_dir: Path | None = None
        """Where the weight ledger is shared with the host's other processes; an embedded or announced
        venue has its own."""
        self._venue = venue
        self._arguments = ["--port", "0", "--symbols", ",".join(symbols) or str(count)]
        self._stack = ExitStack()

    async def open(self) -> None:
        """Find the venue, or start the embedded one. Raises UserFault with one line."""
        venue, given = self._venue, self._given()
        if isinstance(venue, str) and (venue != EMBEDDED or given):
            self.routes, self.ledger_dir = self._real(venue, given), runtime_dir()
            return
        if isinstance(venue, str):
            child = embedded_venue(self._arguments)
            venue = await asyncio.to_thread(self._stack.enter_context, child)
        if venue.speed != 1.0:
            raise UserFault(f"venue speed: found {venue.speed:g}, allowed in a loop of yours: 1")
        self.routes, self.signer = venue.routes(), venue.signer()

    async def close(self) -> None:
        """Close what was opened."""
        await self.transport.close()
        await asyncio.to_thread(self._stack.close)

    def client(self, ledger: WeightLedger | None = None) -> VenueClient:
        """A REST client for it, with a ledger of its own unless one is given."""
        own = ledger or WeightLedger(
            Limits(),
            self.clock,
            host=ledger_host(self.routes.rest_url),
            settings=self.config.ledger,
            shared_path=self.ledger_dir,
        )
        return VenueClient(
            self.transport,
            self.routes.rest_url,
            own,
            self.clock,
            self.signer,
            settings=self.config.client,
            spot_url=self.routes.spot_url,
            sapi_url=self.routes.sapi_url,
        )

    def _given(self) -> dict[str, Any]:
        given = msgspec.structs.asdict(self.config.venue)
        return {key: value for key, value in given.items() if value and key != "key_file"}

    @staticmethod
    def _real(venue: str, given: dict[str, Any]) -> Routes:
        known = MAINNET if venue == EMBEDDED else _REAL.get(venue)
        if known is None:
            raise UserFault(f"venue: found {venue!r}, allowed: {', '.join([EMBEDDED, *_REAL])}")
        try:
            return msgspec.structs.replace(known, **given)
        except ValueError as error:
            raise UserFault(f"venue.{error}") from None


class Station:
    """Starts a program, keeps what it says, stops it."""

    def __init__(
        self,
        config: Config | None = None,
        *,
        symbols: Sequence[str] = (),
        symbol_count: int = 60,
        seed: int = 7,
        venue: VenueChoice = EMBEDDED,
        live: bool = False,
    ) -> None:
        """`live` arms a live account, as `--live` does on the command line."""
        self.config = quiet(config or Config())
        self.symbols = tuple(symbol.upper() for symbol in symbols)
        self.access = Access(self.config, venue, self.symbols, symbol_count)
        self.listener = _Listener()
        self.recorder: Recorder
        self._seed = seed
        self._is_armed = live
        self._paper: PaperTransport | None = None
        self._program: Program | None = None
        self._cache: RealtimeKlineCache | None = None
        self._running: asyncio.Task[str] | None = None
        self._hooks: asyncio.Task[None] | None = None
        self._stack = ExitStack()
        self._outcomes: OutcomeLog | None = None

    def outcomes(self, from_ms: int, to_ms: int) -> tuple[Outcome, ...]:
        """What closed in a span (exchange ms, its end left out), in a run of now or a former one."""
        if self._outcomes is None:
            raise UserFault("not started: `await initialize()` comes first")
        days = [day for day in self._outcomes.days() if utc_day(from_ms) <= day <= utc_day(to_ms)]
        rows = [row for day in days for row in self._outcomes.read_day(day)]
        return tuple(row for row in rows if from_ms <= row.closed_ms < to_ms)

    @property
    def program(self) -> Program:
        """The program; it exists from the start to the stop. Raises UserFault outside."""
        if self._program is None:
            raise UserFault("not started: `await initialize()` comes first")
        return self._program

    @property
    def kline_cache(self) -> RealtimeKlineCache:
        """The candles in memory under the known names."""
        if self._cache is None:
            raise UserFault("not started: `await initialize()` comes first")
        return self._cache

    @property
    def is_running(self) -> bool:
        """The engine takes scans and orders."""
        return self._running is not None and not self._running.done()

    async def start(self) -> WarmUpReport:
        """Find the venue, load history, take the first scan. A second call changes nothing.

        Raises UserFault, or what ended the program.
        """
        if self.is_running:
            return self.program.warm_report
        try:
            await self.access.open()
            self._make()
            self._running = asyncio.create_task(self.program.run())
            await self._until_ready(self._running)
        except BaseException:
            await self.stop()
            raise
        return self.program.warm_report

    async def stop(self) -> None:
        """End the program in order; a second call does nothing."""
        if self._hooks is not None:
            self._hooks.cancel()
        running, self._running = self._running, None
        if running is not None:
            self.program.stop("stopped")
            if not self.program.is_running:
                running.cancel()
            await asyncio.wait([running])
        if self._program is not None:
            await self.recorder.close()
        if self._paper is not None:
            await self._paper.close()
        await self.access.close()
        self._stack.close()
        if running is not None and not running.cancelled():
            running.exception()  # seen: whoever waited for the start was told

    def _make(self) -> None:
        config, access = self.config, self.access
        data_dir = Path(config.run.data_dir)
        self._stack.callback(Lease(data_dir).release)
        disk = FileDisk(data_dir, config.store)
        self._stack.callback(disk.close)
        self.recorder = Recorder(disk, self.listener)
        self._outcomes = OutcomeLog(disk)
        run_id = f"{host_epoch_ms():x}"
        stores = Stores(disk, config.store, run_id, access.clock, self.recorder.on_note)
        self._stack.callback(stores.close)
        account = choose_account(
            config, access.routes.name, access.routes, access.signer, is_armed=self._is_armed
        )
        if account.kind == PAPER:
            self._paper = PaperTransport(access.transport, disk, config.run.paper_usdt)
        setup = Setup(
            config=within_limits(named(config, account)),
            clock=access.clock,
            transport=self._paper or access.transport,
            disk=disk,
            seeds=Seeds(self._seed),
            routes=access.routes,
            face=self.recorder,
            run_id=run_id,
            tap=stores.tap,
            tape_position=stores.position,
            stores=stores,
            signer=account.signer,
            account_identity=account.identity,
            checks_key=account.is_checked,
            knows_market_first=self._paper is not None,
            keeps_books=True,
            ledger_dir=access.ledger_dir,
            symbols=self.symbols,
            warm_up=WarmUpSettings(with_spot=bool(access.routes.spot_url)),
            info={"venue": access.routes.name, "seed": str(self._seed)},
        )
        self._program = self.recorder.program = Program(setup)
        if self._paper is not None:
            self._paper.bind(self._program)
        self._cache = RealtimeKlineCache(self._program.board, access.clock)
        self._hooks = asyncio.create_task(self._await_hooks(self._program, self._cache))

    async def _until_ready(self, running: asyncio.Task[str]) -> None:
        """Return after the first scan and the first read of the account."""
        ready = asyncio.create_task(self._scanned_and_reconciled())
        try:
            await asyncio.wait([running, ready], return_when=asyncio.FIRST_COMPLETED)
        finally:
            ready.cancel()
        if running.done():
            try:
                raise UserFault(f"the program ended: {running.result()}")
            except BaseExceptionGroup as group:
                raise _first(group) from group

    async def _scanned_and_reconciled(self) -> None:
        program, settled = self.program, asyncio.Event()
        await program.started.wait()
        program.rim.on_event.append(lambda *_: settled.set())
        await self.listener.scanned.wait()
        try:
            async with asyncio.timeout(_RECONCILED_WITHIN_S):
                while program.setup.signer is not None and not program.desk.is_reconciled:
                    settled.clear()
                    await settled.wait()
        except TimeoutError:
            return  # entries are refused, with this reason, until the account was read

    @staticmethod
    async def _await_hooks(program: Program, cache: RealtimeKlineCache) -> None:
        """Await what asynchronous `on_kline_close` hooks answered, in order."""
        closed = asyncio.Event()
        program.board.on_kline_close.append(lambda *_: closed.set())
        while True:
            await closed.wait()
            closed.clear()
            while cache.pending:
                await cache.pending.pop(0)


class _Listener:
    """The face that keeps the newest of everything."""

    def __init__(self) -> None:
        self.scanned = asyncio.Event()
        self.signals: list[Decision] = []
        self.outcomes: list[Outcome] = []
        self.notes: list[tuple[int, Note]] = []
        self.hear: list[Callable[[Note], None]] = []
        """Called with each note as it comes."""

    def on_progress(self, step: str, done: int, total: int, seconds: float) -> None:
        """The report of the warm-up says all of it."""

    def on_ready(self, program: Program, report: WarmUpReport) -> None:
        """The first scan follows at once."""

    def on_scan(self, action: ScanDecided) -> None:
        """A scan was decided on."""
        self.scanned.set()

    def on_decision(self, action: PublishDecision) -> None:
        """A signal was published."""
        self.signals = [*self.signals[1 - _KEPT_MAX :], action.decision]

    def on_outcome(self, action: RecordOutcome) -> None:
        """A signal reached its end."""
        self.outcomes = [*self.outcomes[1 - _KEPT_MAX :], action.outcome]

    def on_report(self, action: WriteReport) -> None:
        """The recorder wrote it."""

    def on_note(self, now_ms: int, action: Note) -> None:
        """Keep it for the status."""
        self.notes = [*self.notes[1 - _KEPT_MAX :], (now_ms, action)]
        for hear in self.hear:
            hear(action)


def quiet(config: Config) -> Config:
    """The same configuration without scans by timer or bar: they are asked for."""
    run = msgspec.structs.replace(config.run, scan_interval_s=_NEVER_S, trigger_intervals=())
    return msgspec.structs.replace(config, run=run)


def _first(group: BaseExceptionGroup[Any]) -> BaseException:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
