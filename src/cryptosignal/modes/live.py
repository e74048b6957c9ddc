"""Runs the program on real sockets: against the embedded venue, the real one, or any base URL."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from cryptosignal.binance.routes import MAINNET, TESTNET, Routes
from cryptosignal.domain.ports import Transport
from cryptosignal.ground.clock import LoopClock, SystemClock, host_epoch_ms
from cryptosignal.ground.faults import Unreachable, UserFault
from cryptosignal.ground.loop import ScaledLoop
from cryptosignal.ground.seeds import Seeds
from cryptosignal.modes.accounts import (
    PAPER,
    AccountChoice,
    choose_account,
    named,
    within_limits,
)
from cryptosignal.modes.config import Config
from cryptosignal.modes.embedded import VenueReady, embedded_venue
from cryptosignal.modes.kill_file import KillFile
from cryptosignal.modes.lifesigns import Lifesigns
from cryptosignal.modes.operator import Operator
from cryptosignal.modes.pace import at_speed
from cryptosignal.modes.page import page_process
from cryptosignal.modes.paper import PaperTransport
from cryptosignal.modes.program import Face, Program, Setup
from cryptosignal.modes.publisher import Publisher
from cryptosignal.modes.recorder import Recorder
from cryptosignal.modes.rights import CHECKED
from cryptosignal.modes.snapshots import SnapshotHub
from cryptosignal.modes.stores import Stores
from cryptosignal.modes.whereabouts import runtime_dir, socket_of
from cryptosignal.net.client import MovableClock, ledger_host
from cryptosignal.net.transport import SocketTransport
from cryptosignal.net.warmup import WarmUpSettings
from cryptosignal.store.candles import CandleStore
from cryptosignal.store.disk import FileDisk
from cryptosignal.store.lease import Lease

EMBEDDED = "embedded"
_VENUES = {"binance": MAINNET, "testnet": TESTNET}
Conduct = Callable[[Program, Recorder], Any]
"""What else to do while the program runs: a coroutine function, started with it."""

_MARKET_SYMBOLS = 100
"""A file that holds so many symbols is walked from when so many are listed: a market, not its first
weeks. Its bars before that are history."""


VENUE_GONE: Final = "the embedded venue has ended; its market and account ended with it"
_VENUE_WORDS_BYTES: Final = 65_536


@dataclass
class Run:
    """One run as it was asked for on the command line."""

    config: Config
    venue: str = EMBEDDED
    data: str = ""
    start: str = ""
    speed: float = 1.0
    scans: int = 0
    symbols: tuple[str, ...] = ()
    symbol_count: int = 60
    seed: int = 7
    faults: str = "calm"
    venue_arguments: tuple[str, ...] = ()
    is_armed: bool = False
    """`--live` was given: half of what a live account needs."""
    is_lasting: bool = True
    """Not so soon over that loading compiled kernels would only delay its end."""
    page_port: int | None = None
    attached: VenueReady | None = None
    """A simulated venue that runs already, instead of one that starts and ends with the run."""
    clock_of: Callable[[asyncio.AbstractEventLoop, int], MovableClock] = LoopClock
    """What the program takes for the time on a simulated venue: its loop, and the start (exchange ms)."""
    on_page: Callable[[str], None] = lambda _address: None
    on_venue: Callable[[str, VenueReady | None], None] = lambda _name, _ready: None


def run_live(run: Run, face: Face, conduct: Conduct | None = None) -> str:
    """Run until it ends by itself, by a signal or by a fault. Answers the reason it ended."""
    if run.is_armed or run.config.run.account in CHECKED:
        _check_account_early(run)
    with ExitStack() as stack:
        ready: VenueReady | None = None
        if run.venue == EMBEDDED:
            ready = run.attached or stack.enter_context(embedded_venue(_venue_arguments(run)))
            routes, signer = ready.routes(), ready.signer()
            loop: asyncio.AbstractEventLoop = ScaledLoop(ready.speed, ready.epoch_mono_ns)
            clock: MovableClock = run.clock_of(loop, ready.start_time_ms)
        else:
            if run.data or run.start or run.speed != 1.0:
                raise UserFault(
                    "--data, --start and --speed drive the embedded venue: drop --venue"
                )
            routes, signer = _routes(run), None
            loop, clock = _real_loop(), SystemClock()
        account = choose_account(run.config, run.venue, routes, signer, is_armed=run.is_armed)
        config = within_limits(named(run.config, account))
        run.on_venue(routes.name, ready)
        data_dir = Path(run.config.run.data_dir)
        stack.callback(Lease(data_dir).release)
        stack.callback(loop.close)
        disk = FileDisk(data_dir, run.config.store)
        stack.callback(disk.close)
        publisher = Publisher(routes.name)
        recorder = Recorder(disk, face, publisher)
        run_id = f"{host_epoch_ms():x}"
        stores = Stores(disk, run.config.store, run_id, clock, recorder.on_note)
        stack.callback(stores.close)
        socket_path = socket_of(data_dir)
        if run.page_port is not None:
            run.on_page(stack.enter_context(page_process(socket_path, run.page_port)))
        setup = Setup(
            config=at_speed(config, ready.speed if ready is not None else 1.0),
            clock=clock,
            transport=_transport(run.config, account, disk),
            disk=disk,
            seeds=Seeds(run.seed),
            routes=routes,
            face=recorder,
            run_id=run_id,
            signer=account.signer,
            account_identity=account.identity,
            checks_key=account.is_checked,
            knows_market_first=account.kind == PAPER,
            keeps_books=True,
            ledger_dir=None if run.venue == EMBEDDED else runtime_dir(),
            symbols=run.symbols,
            scans_max=run.scans,
            warm_up=WarmUpSettings(with_spot=bool(routes.spot_url)),
            candles=None if run.venue == EMBEDDED else _candles(disk, routes),
            info={"venue": routes.name, "seed": str(run.seed)},
            is_compiled=run.scans == 0 and run.is_lasting,
            tap=stores.tap,
            tape_position=stores.position,
            stores=stores,
        )
        watch = _Watch(publisher, socket_path, KillFile(data_dir), ready)
        return loop.run_until_complete(_main(setup, recorder, conduct, watch))


def _transport(config: Config, account: AccountChoice, disk: FileDisk) -> Transport:
    """The sockets, and beside them the paper account where one trades."""
    real = SocketTransport(config.transport)
    is_paper = account.kind == PAPER
    return PaperTransport(real, disk, config.run.paper_usdt) if is_paper else real


@dataclass
class _Watch:
    """Who publishes the run and takes commands for it, and where."""

    publisher: Publisher
    socket_path: str
    kill_file: KillFile
    venue: VenueReady | None = None
    is_venue_gone: bool = False
    """Our embedded venue has ended, without which there is nothing left to run for."""

    async def run(self, program: Program) -> None:
        """Serve snapshots, questions and commands until cancelled."""
        operator = Operator(program, self.kill_file)
        hub = SnapshotHub(
            self.socket_path,
            on_command=operator.command,
            on_symbol=self.publisher.on_symbol,
            on_ask=operator.ask,
        )
        self.publisher.bind(program, hub)
        loop = asyncio.get_running_loop()
        life_fd = -1 if self.venue is None else self.venue.life_fd
        if life_fd >= 0:
            loop.add_reader(life_fd, self._look_at_venue, loop, life_fd, program)
        await hub.start()
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self.publisher.run())
                tasks.create_task(operator.watch_file())
        finally:
            if life_fd >= 0:
                loop.remove_reader(life_fd)
            await hub.stop()

    def _look_at_venue(
        self, loop: asyncio.AbstractEventLoop, life_fd: int, program: Program
    ) -> None:
        if not os.read(life_fd, _VENUE_WORDS_BYTES):
            loop.remove_reader(life_fd)
            self.is_venue_gone = True
            program.stop(VENUE_GONE)


async def _main(setup: Setup, recorder: Recorder, conduct: Conduct | None, watch: _Watch) -> str:
    program = Program(setup)
    recorder.program = program
    if isinstance(setup.transport, PaperTransport):
        setup.transport.bind(program)
    loop = asyncio.get_running_loop()
    main = asyncio.current_task()
    assert main is not None
    for number, name in ((signal.SIGINT, "interrupted"), (signal.SIGTERM, "terminated")):
        loop.add_signal_handler(number, _on_signal, program, main, name)
    watcher = loop.create_task(watch.run(program))
    settings = setup.config.run
    signs = Lifesigns(program, setup.transport, settings.heartbeat_url, settings.heartbeat_s)
    living = loop.create_task(signs.run())
    helper = loop.create_task(conduct(program, recorder)) if conduct is not None else None
    try:
        reason = await program.run()
        if watch.is_venue_gone:
            raise Unreachable(VENUE_GONE)
        if helper is not None and helper.done():
            helper.result()
        return reason
    except BaseExceptionGroup as group:
        raise _first(group) from group
    except asyncio.CancelledError:
        return "interrupted"
    finally:
        if helper is not None:
            await _ended(helper)
        await _ended(living)
        await _ended(watcher)  # what ails the page is not the run's concern
        await recorder.close()
        await setup.transport.close()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


async def _ended(task: asyncio.Task[Any]) -> None:
    """Cancel a task and wait until it is over, however it ends."""
    task.cancel()
    await asyncio.wait([task])
    if not task.cancelled():
        task.exception()  # seen; a helper's own fault is raised where its result is wanted


def _on_signal(program: Program, main: asyncio.Task[Any], name: str) -> None:
    """The first signal ends the run in order; before the engine runs, or again, it cuts."""
    if program.is_running and not program.is_stopping:
        program.stop(name)
    else:
        main.cancel()


def _first(group: BaseExceptionGroup[Any]) -> BaseException:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _venue_arguments(run: Run) -> Sequence[str]:
    arguments = ["--port", "0", "--seed", str(run.seed), "--speed", repr(run.speed)]
    arguments += ["--symbols", str(run.symbol_count), "--faults", run.faults]
    if run.data:
        arguments += ["--data", run.data]
    if run.start:
        arguments += ["--start", run.start]
    elif run.data:
        arguments += ["--listed-min", str(_MARKET_SYMBOLS)]
    return [*arguments, *run.venue_arguments]


def _routes(run: Run) -> Routes:
    address = run.config.venue
    known = _VENUES.get(run.venue)
    if known is None:
        allowed = ", ".join([EMBEDDED, *_VENUES])
        raise UserFault(f"--venue: found {run.venue!r}, allowed: {allowed}")
    given = {k: v for k, v in msgspec.structs.asdict(address).items() if v and k != "key_file"}
    try:
        return msgspec.structs.replace(known, **given)
    except ValueError as error:
        raise UserFault(f"venue.{error}") from None


def _check_account_early(run: Run) -> None:
    """What is wrong with the account is said before anything is started."""
    routes = MAINNET if run.venue == EMBEDDED else _routes(run)
    choose_account(run.config, run.venue, routes, None, is_armed=run.is_armed)


def _candles(disk: FileDisk, routes: Routes) -> CandleStore:
    """Candles by venue: its name and host are the folder. The embedded venue's end with it."""
    host = "".join(letter if letter.isalnum() else "-" for letter in ledger_host(routes.rest_url))
    return CandleStore(disk, f"candles/{routes.name}-{host}")


def _real_loop() -> asyncio.AbstractEventLoop:
    """uvloop where the `fast` extra is installed, else the standard loop."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()
