"""The whole program over its ports: the same for sockets and for simulation under virtual time.

What differs between modes (clock, transport, disk, credentials, who is told) comes in as a `Setup`;
from here up nothing knows which it is. Start-up is reconciliation: the journal of all former runs is
folded, the account is read, and only then may anything be opened. Where the journal holds an open
trade, protection comes first: the engine runs before the market is known.
"""

# size-ok: the one place where all parts of a run meet
from __future__ import annotations

import asyncio
import dataclasses
import math
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

import msgspec

from cryptosignal.binance.budget import Lane
from cryptosignal.binance.limits import Limits
from cryptosignal.binance.routes import Routes
from cryptosignal.binance.signing import Signer
from cryptosignal.domain.actions import Note
from cryptosignal.domain.events import (
    EngineStarted,
    InstrumentsListed,
    OperatorCommanded,
    ParamsPublished,
    ScanTaken,
)
from cryptosignal.domain.instrument import Instrument
from cryptosignal.domain.ports import AccountEvent, Disk, Transport
from cryptosignal.engine.step import Engine
from cryptosignal.factors import kernels
from cryptosignal.factors.age import lane_hours
from cryptosignal.factors.catalogue import FactorEngine
from cryptosignal.ground.faults import Fault, MarketHalted, RateLimited, UserFault
from cryptosignal.ground.seeds import Seeds
from cryptosignal.learning.outcomes import OutcomeTracker
from cryptosignal.learning.settings import OutcomeSettings
from cryptosignal.market.board import Board
from cryptosignal.market.universe import UniverseSettings
from cryptosignal.modes.account import BinanceExchange
from cryptosignal.modes.accounts import check_history
from cryptosignal.modes.beside import beside
from cryptosignal.modes.bookkeeper import Bookkeeper
from cryptosignal.modes.brackets import Brackets
from cryptosignal.modes.candle_keeper import CandleKeeper
from cryptosignal.modes.config import Config, without_secrets
from cryptosignal.modes.film import TapedBoard, TapedQuality
from cryptosignal.modes.preload import tell_streams
from cryptosignal.modes.rights import CHECK_EVERY_S, check_key
from cryptosignal.modes.rim import Audience, Rim
from cryptosignal.modes.scanning import ScanLoop
from cryptosignal.modes.spare import give_back
from cryptosignal.modes.stores import JOURNAL_ROOT as JOURNAL_ROOT
from cryptosignal.modes.stores import Stores
from cryptosignal.modes.supervise import TRIES_MAX, patiently, soon
from cryptosignal.modes.twin import TwinWatch
from cryptosignal.modes.universe_watch import UniverseWatch
from cryptosignal.modes.user_factors import factor_table
from cryptosignal.net.account_feed import AccountFeed
from cryptosignal.net.client import MovableClock, VenueClient, ledger_host
from cryptosignal.net.feed import MarketFeed
from cryptosignal.net.ledger import WeightLedger
from cryptosignal.net.refresh import Refresher
from cryptosignal.net.repair import Repairer
from cryptosignal.net.warmup import WarmUpReport, WarmUpSettings, warm_up
from cryptosignal.quality.score import QualityBook
from cryptosignal.signals.reachability import passed, reachable
from cryptosignal.store.candles import CandleStore
from cryptosignal.store.journal import Journal, numeric_path
from cryptosignal.store.runs import (
    RunHeader,
    account_of,
    make_durable,
    money_history,
    new_run_dir,
    run_dirs,
)
from cryptosignal.streams import names
from cryptosignal.streams.backoff import ExponentialBackoff
from cryptosignal.trading.desk import Desk

T = TypeVar("T")

PROGRAM = "cryptosignal"
TIME_SYNC_S = 300.0
ROOM_AT_FIRST = 16
"""Symbols that the memory of the market has room for before the universe is known."""
RULES_TIMEOUT_S = 2.5
LIMIT_WAIT_MS_MIN = 1_000
START_TRY_S = 2.5
PROTECT_TRY_S = 1.0
"""The same where a position is known and may lie naked."""
PROTECT_PAUSE_S = 4.0
"""No longer pauses then, and no longer waits for one answer: a venue that is back from its maintenance
must be noticed in time."""
PROTECT_TRIES_MAX = 12
"""So many more tries then, for about the same patience."""
START_TRIES = 3
"""The first reads of a start are asked again after so long, so often; then the client's own limit."""
WARMING_SCAN_S = 5.0
"""How often what is loaded already is scanned while a long warm-up goes on."""
WARMING_SCAN_PAUSE = 20.0
"""At least so many times a scan's own length lies between two of them (time may be scaled)."""
SPOT_WEIGHT_1M = 6000
"""Request weight of the spot API a minute and address, its documented default."""


class Face(Audience, Protocol):
    """Who is told, from the first step of the start to the last."""

    def on_progress(self, step: str, done: int, total: int, seconds: float) -> None:
        """The start made progress."""
        ...

    def on_ready(self, program: Program, report: WarmUpReport) -> None:
        """Everything is loaded; scans follow."""
        ...


@dataclass
class Setup:
    """What one run is made of."""

    config: Config
    clock: MovableClock
    transport: Transport
    disk: Disk
    seeds: Seeds
    routes: Routes
    face: Face
    run_id: str
    signer: Signer | None = None
    ledger_dir: Path | None = None
    symbols: tuple[str, ...] = ()
    scans_max: int = 0
    warm_up: WarmUpSettings = field(default_factory=WarmUpSettings)
    streams_extra: tuple[str, ...] = ("aggTrade", "depth20@100ms")
    streams_market: tuple[str, ...] = (
        names.MARK_ARRAY_STREAM,
        names.TICKER_ARRAY_STREAM,
        names.FORCE_ORDER_STREAM,
        names.CONTRACT_STREAM,
    )
    tap: Callable[[int, int, bytes], None] | None = None
    tape_position: Callable[[], int] = lambda: 0
    info: dict[str, str] = field(default_factory=dict)
    says_history: bool = True
    streams_held: tuple[str, ...] = ()
    """Streams carried only while the desk needs prices (a simulated day is mostly flat)."""
    stores: Stores | None = None
    """Who trims what lies on disk, and keeps the tape; None trims nothing (a simulated disk)."""
    candles: CandleStore | None = None
    """Where candles stay between runs; None keeps none (a venue that ends with the run)."""
    account_identity: str = ""
    """The account in journals, without a secret; "" where nothing is traded."""
    checks_key: bool = False
    """Whether the key's rights must be known to be harmless before anything is traded."""
    keeps_books: bool = False
    """Whether the venue's list of bookings is read back into the journal."""
    knows_market_first: bool = False
    """Whether the account itself needs the market, so that even open positions wait for it (paper)."""
    is_compiled: bool = False
    """Whether compiled kernels take over after the first scan, where numba is installed."""


class Program:
    """One running instance. `run` returns the reason it ended."""

    # long-ok: the parts of the program, bound one after the other
    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        config = self.config = setup.config
        self.clock = setup.clock
        capacity = config.run.symbols_max
        record = None if setup.stores is None else setup.stores.record
        if record is None:
            self.board = Board(config.market, ROOM_AT_FIRST)
            self.quality = QualityBook(config.quality, capacity)
        else:
            self.board = TapedBoard(config.market, ROOM_AT_FIRST, record)
            self.quality = TapedQuality(config.quality, capacity, record)
        table = factor_table(config.run.factor_files, config.params)
        self.factors = FactorEngine(config.params, table)
        self.desk = Desk(config.trading, config.risk, config.run.bot)
        self.engine = Engine(config.params, self.desk, OutcomeTracker(OutcomeSettings()))
        self.ledger = WeightLedger(
            Limits(),
            setup.clock,
            host=ledger_host(setup.routes.rest_url),
            settings=config.ledger,
            shared_path=setup.ledger_dir,
        )
        self.client = VenueClient(
            setup.transport,
            setup.routes.rest_url,
            self.ledger,
            setup.clock,
            setup.signer,
            settings=config.client,
            spot_url=setup.routes.spot_url,
            sapi_url=setup.routes.sapi_url,
            spot_ledger=self._spot_ledger() if setup.routes.spot_url else None,
        )
        self._brackets = Brackets(self.client, self._note, has_account=setup.signer is not None)
        self.feed = MarketFeed(
            setup.transport,
            setup.routes,
            self.board,
            self.quality,
            setup.clock,
            setup.seeds,
            config.websocket,
            self._post,
            on_bars_due=self._on_bars_due,
            on_note=self._note,
            tap=setup.tap,
        )
        self.repairer = Repairer(
            self.client,
            self.board,
            self.quality,
            setup.clock,
            config.websocket,
            self._note,
            is_failed=lambda: self.feed.is_failed,
        )
        self.scans = ScanLoop(self.board, self.factors, setup.clock, config.run, self._take_scan)
        self.scans.before_scan = self.feed.settle
        self.scans.judge_quality = self.feed.judge_quality
        self.scans.is_out = self._is_out
        self.keeper: CandleKeeper | None = None
        if setup.candles is not None:
            self.keeper = CandleKeeper(
                setup.candles, self.board, self.client, setup.clock, self._note, setup.warm_up
            )
        self._blacklist = frozenset(symbol.upper() for symbol in config.run.blacklist)
        self._watchlist = tuple(symbol.upper() for symbol in config.run.watchlist)
        self.universe = UniverseWatch(
            self.board,
            self.feed,
            UniverseSettings(
                stream_intervals=config.run.intervals,
                warm_max=config.run.warm_max,
                new_coin_bars_1h=lane_hours(config.params.new_coin),
            ),
            setup.streams_extra,
            setup.streams_market,
            self._note,
            watchlist=self._watchlist,
            pools=config.pools,
        )
        self.universe.on_series_wanted = self.repairer.want
        self.refresher = Refresher(
            self.client,
            self.board,
            setup.clock,
            lambda: self.universe.symbols,
            config.run.rest_intervals,
            setup.warm_up,
            self._note,
        )
        self.warm_report = WarmUpReport()
        self.api_calls_at_scan = 0
        self.bookkeeper = Bookkeeper()
        self.exchange: BinanceExchange | None = None
        self.account_feed: AccountFeed | None = None
        self.started = asyncio.Event()
        """Set once the engine takes events."""
        self._journal_dir = ""
        self._rim: Rim | None = None
        self._tasks: asyncio.TaskGroup | None = None
        self._try_s = START_TRY_S
        self._is_renewing = False

    def _spot_ledger(self) -> WeightLedger:
        """The spot venue counts apart (BINANCE §7a); its limits are not in the futures' rules."""
        return WeightLedger(
            Limits(weight=SPOT_WEIGHT_1M),
            self.clock,
            host=f"spot.{ledger_host(self.setup.routes.spot_url)}",
            settings=self.config.ledger,
            shared_path=self.setup.ledger_dir,
        )

    # ---- life ---------------------------------------------------------------------------
    @property
    def symbols(self) -> tuple[str, ...]:
        """What is watched now."""
        return self.universe.symbols

    @property
    def instruments(self) -> dict[str, Instrument]:
        """The contracts that are watched now, by symbol."""
        return self.universe.instruments

    @property
    def rim(self) -> Rim:
        """The engine's rim; exists from the start of `run` on."""
        assert self._rim is not None, "the program does not run yet"
        return self._rim

    async def run(self) -> str:
        """Start, run until told to stop, end cleanly. Answers the reason."""
        self._check_history()
        self._recover()
        is_urgent = bool(self.desk.state.trades) and not self.setup.knows_market_first
        await self._know_time(is_urgent)
        if self.setup.checks_key and not is_urgent:
            await self._check_key()
        chosen = None if is_urgent else await self._know_market()
        journal = self._open_journal()
        self._journal_dir = journal.run_dir
        self._rim = self._make_rim(journal)
        if self.setup.checks_key:  # others can reach this account
            twins = TwinWatch(self.desk.state, self.config.run.data_dir, self._on_twin)
            self._rim.on_event += [twins.hear, self._tell_risk]
        self.scans.on_kernels = self._on_kernels if self.setup.is_compiled else None
        self._first_events(chosen)
        self.started.set()
        background: list[asyncio.Task[Any]] = []
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            engine = tasks.create_task(self._rim.run())
            background = [tasks.create_task(job) for job in self._jobs(journal, chosen)]
            engine.add_done_callback(lambda _: _cancel(background))
        if self.keeper is not None:
            await self.keeper.save()
        await journal.durable(journal.seq)
        return self._rim.stop_reason

    @property
    def journal_dir(self) -> str:
        """Where this run's journal lies, under the data folder."""
        return self._journal_dir

    @property
    def is_running(self) -> bool:
        """The engine takes events."""
        return self._rim is not None

    @property
    def is_stopping(self) -> bool:
        """Somebody asked it to end."""
        return self._rim is not None and bool(self._rim.stop_reason)

    def stop(self, reason: str) -> None:
        """Ask `run` to end."""
        if self._rim is not None:
            self._rim.stop(reason)

    def command(self, name: str, arguments: dict[str, str], actor: str = "cli") -> None:
        """An operator's command, as an event like any other; a trade carries the mark it is asked at."""
        self.rim.post(self._commanded(name, arguments, actor))

    async def operate(self, name: str, arguments: dict[str, str], actor: str) -> list[Note]:
        """The same at once: what the engine noted on it, when the command is durable.

        Raises UserFault while the program does not take events, and when it ends meanwhile.
        """
        if self._rim is None or not self._rim.is_open:
            raise UserFault("the engine is starting or ending: ask again in a moment")
        actions = await self._rim.ask(self._commanded(name, arguments, actor))
        return [action for action in actions if isinstance(action, Note)]

    def _commanded(self, name: str, arguments: dict[str, str], actor: str) -> OperatorCommanded:
        if name == "trade":
            mark = self._fresh_mark(arguments.get("symbol", ""))
            arguments = arguments if mark is None else {**arguments, "price": repr(mark)}
        return OperatorCommanded(name, arguments, actor)

    def _fresh_mark(self, symbol: str) -> float | None:
        slot = self.board.find(symbol)
        if slot < 0:
            return None
        marks = self.board.marks
        age_ms = self.clock.now_ms() - marks.mark_ms[slot]
        if not age_ms <= self.config.trading.price_stale_ms:
            return None
        return float(marks.mark[slot])

    def _jobs(self, journal: Journal, chosen: list[Instrument] | None) -> Iterable[Any]:
        yield journal.run()
        yield self.feed.run()
        yield self._follow_market(chosen)
        yield self._keep_time()
        if self.keeper is not None:
            yield self.keeper.run()
        if self.setup.checks_key:
            yield self._keep_checking_key()
        if self.setup.keeps_books and self.setup.signer is not None:
            yield self.bookkeeper.run(self)
        if self.setup.stores is not None:
            yield self.setup.stores.run()
        if self.config.run.metrics_port:
            from cryptosignal.modes.metrics import MetricsServer

            yield MetricsServer(self.config.run.metrics_port).run(self)
        if self.exchange is not None and self.config.run.account != "none":
            yield self.exchange.attend(self._post)

    def _account_stream(self, on_event: Callable[[AccountEvent], None]) -> AccountFeed:
        self.account_feed = AccountFeed(
            self.setup.transport,
            self.client,
            self.setup.routes,
            self.clock,
            self.setup.seeds,
            on_event,
            settings=self.config.account_feed,
            mark_of=self._mark_of,
        )
        return self.account_feed

    # ---- start --------------------------------------------------------------------------
    async def _know_time(self, is_urgent: bool) -> None:
        """Measure the clock, without which nothing can be signed; in haste by one sample."""
        if not is_urgent:
            await self._ask(self.client.sync_time)
            return
        self._try_s = PROTECT_TRY_S
        await self._ask(lambda: self.client.sync_time(samples=1))
        self._try_s = START_TRY_S

    async def _know_market(self) -> list[Instrument]:
        """The venue's rules, and the contracts to watch."""
        rules = await self._ask(self.client.exchange_info)
        chosen = await self._choose(rules.instruments)
        self.board.set_synthetic_flow(rules.synthetic_flow)
        if rules.synthetic_flow:
            self._note("flow.is_synthetic", {"kinds": ", ".join(rules.synthetic_flow)})
        self.universe.take(chosen)
        await self._brackets.read()
        chosen = [self._brackets.onto(item) for item in chosen]
        self.universe.take(chosen)
        return chosen

    async def _follow_market(self, chosen: list[Instrument] | None) -> None:
        """Load and scan the market; after a start in haste it must be known first."""
        if chosen is None:
            self._post(InstrumentsListed(tuple(await self._know_market())))
            await self._ask(self.client.sync_time)
        await self._warm_then_scan()

    async def _past_limits(self, ask: Callable[[], Awaitable[T]]) -> T:
        """One of the first reads, tried again at once if it is slow: a position may lie naked.

        A rate limit is waited out: a process that ends by it and starts again asks its way to a ban.
        """
        tries = 0
        while True:
            tries += 1
            try:
                patience_s = self._try_s if tries <= START_TRIES else None
                async with asyncio.timeout(patience_s):
                    return await ask()
            except TimeoutError:
                self._note("start.asks_again", {"tries": tries})
            except RateLimited as limit:
                wait_ms = max(limit.until_ms - self.clock.now_ms(), LIMIT_WAIT_MS_MIN)
                self._note("start.waits_for_limit", {"wait_ms": wait_ms})
                await asyncio.sleep(wait_ms / 1000)

    async def _choose(self, listed: tuple[Instrument, ...]) -> list[Instrument]:
        """The contracts to watch: those asked for, or the most traded up to `symbols_max`."""
        tradable = self._tradable(listed)
        known = {item.symbol for item in listed}
        halted = sum(item.contract_type == "PERPETUAL" for item in listed)
        if halted and not any(item.is_tradable_perpetual for item in listed):
            raise MarketHalted(f"the venue trades none of its {halted} perpetuals now")
        for symbol in self.setup.symbols:
            if symbol in self._blacklist:
                raise UserFault(f"{symbol} is on run.blacklist, allowed: any other symbol")
            if symbol not in known:
                raise UserFault(
                    f"unknown symbol {symbol}: the venue lists {len(known)} contracts, "
                    f"such as {', '.join(sorted(tradable)[:5])}"
                )
            if symbol not in tradable:
                raise UserFault(
                    f"{symbol} cannot be watched: allowed are TRADING USDT perpetuals on coins"
                )
        names_wanted = self.setup.symbols or await self._by_volume(tradable)
        return [tradable[symbol] for symbol in names_wanted]

    async def _by_volume(self, tradable: dict[str, Instrument]) -> tuple[str, ...]:
        tickers = await self._ask(self.client.tickers_24h)
        volume = {ticker.symbol: ticker.quote_volume_usdt for ticker in tickers}
        ranked = sorted(tradable, key=lambda symbol: (-volume.get(symbol, 0.0), symbol))
        if not ranked:
            raise UserFault("the venue lists no TRADING USDT perpetual: nothing to watch")
        asked = [symbol for symbol in self._watchlist if symbol in tradable]
        for symbol in sorted(set(self._watchlist) - set(asked)):
            self._note("watchlist.is_not_listed", {"symbol": symbol})
        chosen = set(list(dict.fromkeys([*asked, *ranked]))[: self.config.run.symbols_max])
        return tuple(symbol for symbol in ranked if symbol in chosen)

    def _tradable(self, listed: Iterable[Instrument]) -> dict[str, Instrument]:
        """Contracts that may be watched: TRADING USDT perpetuals on coins, none of the blacklist."""
        return {
            item.symbol: self._brackets.onto(item)
            for item in listed
            if item.is_tradable_perpetual
            and item.underlying_type == "COIN"
            and item.symbol not in self._blacklist
        }

    async def _ask(self, question: Callable[[], Awaitable[T]]) -> T:
        """A question of the start, asked again where that can help; in haste at a quicker pace."""
        settings = self.config.websocket
        rng = self.setup.seeds.stream("backoff", "start")
        is_urgent = self._try_s == PROTECT_TRY_S
        longest_s = min(settings.max_delay, PROTECT_PAUSE_S) if is_urgent else settings.max_delay
        first_s = min(settings.base_delay, longest_s)
        backoff = ExponentialBackoff(first_s, longest_s, settings.jitter, rng)
        tries_max = PROTECT_TRIES_MAX if is_urgent else TRIES_MAX
        asked = partial(soon, question, PROTECT_PAUSE_S) if is_urgent else question

        def tell(fault: Fault) -> None:
            self._note("start.was_delayed", {"reason": str(fault)})

        return await self._past_limits(lambda: patiently(asked, backoff, tell, tries_max))

    def _check_history(self) -> None:
        """Refuse a data folder whose runs traded on another account."""
        disk = self.setup.disk
        former = {run: account_of(disk, run) for run in run_dirs(disk, JOURNAL_ROOT)}
        check_history(self.setup.account_identity, former, self.config.run.data_dir)

    async def _check_key(self) -> None:
        account = self.config.run.account
        skipped = await self._ask(lambda: check_key(self.client, account))
        if skipped:
            self._note("key.was_not_checked", {"account": account, "reason": skipped})
        else:
            self._note("key.was_checked", {"account": account})

    def _on_twin(self, client_id: str) -> None:
        self._note("instance.was_noticed", {"client_id": client_id})
        self.command("kill", {"level": "1"}, f"another instance (its order {client_id})")

    async def _keep_checking_key(self) -> None:
        """Once a day: a key that has become dangerous opens nothing more (RELIABILITY §4).

        A start that finds open positions protects them first and asks here at once.
        """
        is_first = True
        while True:
            if not (is_first and self.desk.state.trades):
                await asyncio.sleep(CHECK_EVERY_S)
            is_first = False
            try:
                await self._check_key()
            except UserFault as fault:
                self._note("key.was_refused", {"reason": str(fault)})
                self.command("kill", {"level": "1"}, "the check of the key")
            except Fault as fault:
                self._note("key.was_not_checked", {"reason": str(fault)})

    def _open_journal(self) -> Journal:
        setup = self.setup
        header = RunHeader(
            run_id=setup.run_id,
            opened_ms=self.clock.now_ms(),
            program=PROGRAM,
            numeric_path=numeric_path(kernels.path_name()),
            info={
                **setup.info,
                "bot": self.config.run.bot,
                "account": setup.account_identity,
                "config": msgspec.json.encode(without_secrets(self.config)).decode(),
                "history": ",".join(run_dirs(setup.disk, JOURNAL_ROOT)),
            },
        )
        run_dir = new_run_dir(setup.disk, JOURNAL_ROOT, setup.run_id)
        return Journal.open(setup.disk, run_dir, header, self.config.store)

    def _make_rim(self, journal: Journal) -> Rim:
        if self.setup.signer is not None:
            self.exchange = BinanceExchange(self.client, self._account_stream)
        rim = Rim(self.engine, journal, self.clock, self.setup.face, self.exchange, self._watch)
        rim.tape_position = self.setup.tape_position
        rim.read_rules = self._read_rules
        return rim

    def _watch(self, symbols: tuple[str, ...], priced: tuple[str, ...]) -> None:
        self.feed.watch(symbols, priced)
        self.universe.carry(self.setup.streams_held if priced else ())

    def _recover(self) -> None:
        """Fold the money events of all former runs: what we own, owe and promised (D2)."""
        folded = 0
        for record in money_history(self.setup.disk, JOURNAL_ROOT):
            self.bookkeeper.take(record.event)
            self.engine.fold(record.event)  # type: ignore[arg-type]  # money holds no digests
            folded += 1
        if folded:
            make_durable(self.setup.disk, JOURNAL_ROOT)
            self._note("journal.was_folded", {"events": folded})

    def _first_events(self, chosen: list[Instrument] | None) -> None:
        config = self.config
        rim = self.rim
        rim.post(
            EngineStarted(
                run_id=self.setup.run_id,
                mode=config.run.mode,
                account=config.run.account if self.setup.signer is not None else "none",
                bot=config.run.bot,
                params_version=config.params.version,
            )
        )
        rim.post(ParamsPublished(config.params.version, config.params.to_json()))
        if chosen is not None:
            rim.post(InstrumentsListed(tuple(chosen)))

    async def _warm_then_scan(self) -> None:
        """Streams first, so that no bar falls between history and stream; then history; then scan."""
        setup = self.setup
        run = self.config.run
        intervals = (*run.intervals, *run.rest_intervals)
        if self.keeper is not None:
            await self.keeper.load(self.symbols, intervals)
        self.universe.start()
        candles_first = msgspec.structs.replace(
            setup.warm_up, with_open_interest=False, with_funding=False, with_spot=False
        )
        self.warm_report = await self._scanned_meanwhile(self._warm(intervals, candles_first))
        for symbol, step, _reason in self.warm_report.failed:
            if step.startswith("klines "):
                self.repairer.want(symbol, step.removeprefix("klines "))
        setup.face.on_ready(self, self.warm_report)
        self._say_reach()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.scans.run())
            tasks.create_task(self.repairer.run())
            tasks.create_task(
                tell_streams(
                    self.board,
                    setup.streams_extra,
                    lambda: self.universe.tiers.warm,
                    self.clock,
                    setup.face.on_progress,
                )
            )
            tasks.create_task(self._keep_slow_series())  # fills in between scans
            tasks.create_task(self.universe.run(self._choose_again, self._on_universe))

    async def _scanned_meanwhile(self, warming: Awaitable[WarmUpReport]) -> WarmUpReport:
        """What a long warm-up has brought so far is scanned every few seconds, unless scans are
        counted or asked for one by one."""
        task = asyncio.ensure_future(warming)
        try:
            while not task.done():
                pause_s = max(WARMING_SCAN_S, WARMING_SCAN_PAUSE * self.scans.elapsed_ms / 1000.0)
                await asyncio.wait([task], timeout=pause_s)
                if not task.done() and self._scans_by_itself and self.board.klines_ready():
                    self.scans.scan("warming")
        finally:
            task.cancel()
        return task.result()

    @property
    def _scans_by_itself(self) -> bool:
        return not self.setup.scans_max and bool(self.config.run.trigger_intervals)

    async def _keep_slow_series(self) -> None:
        """Open interest, funding, spot: their history once, then what is new of them."""
        await self._warm((), self.setup.warm_up)
        if self.setup.is_compiled:  # a live run, whose threads may take their time
            await beside(give_back)
        await self.refresher.run()

    def _say_reach(self) -> None:
        """Whether Prime can be reached at all, and how often it would have been (DOMAIN §0.18)."""
        reach = reachable(self.config.params)
        for line in reach.lines:
            if "OUT OF REACH" in line or "forbids" in line:
                self._note("prime.is_unreachable", {"reason": line})
        if self.setup.says_history:
            history = passed(
                self.board.view(self.clock.now_ms()),
                self.config.params,
                factors=self.factors.factors,
            )
            self._note("min_score.was_checked", {"result": history.line})

    async def _warm(
        self,
        intervals: tuple[str, ...],
        settings: WarmUpSettings,
        symbols: tuple[str, ...] = (),
    ) -> WarmUpReport:
        """A warm-up; while nothing is at risk it may take nearly all of the weight there is (D8)."""
        self._tell_risk()
        self.rim.on_event.append(self._tell_risk)
        try:
            return await warm_up(
                self.client,
                self.board,
                symbols or self.symbols,
                intervals,
                self.clock,
                self.setup.face.on_progress,
                settings=settings,
            )
        finally:
            self.rim.on_event.remove(self._tell_risk)
            self.ledger.set_flat(False)

    def _tell_risk(self, *_event: Any) -> None:
        """Tell the ledger whether a position or an order is open, by the account's own word."""
        state = self.desk.state
        is_open = bool(state.trades or state.strays) or any(
            book.foreign or book.venue_quantity for book in state.books.values()
        )
        self.ledger.set_flat(not is_open and (self.setup.signer is None or state.is_reconciled))
        self.ledger.set_at_risk(is_open and self.setup.checks_key)

    async def _choose_again(self) -> list[Instrument]:
        """The venue's list as it is now; of symbols asked for by name, those that still trade."""
        rules = await self.client.exchange_info()
        await self._brackets.read()
        tradable = self._tradable(rules.instruments)
        if self.setup.symbols:
            return [tradable[symbol] for symbol in self.setup.symbols if symbol in tradable]
        return [tradable[symbol] for symbol in await self._by_volume(tradable)]

    async def _on_universe(self, added: tuple[str, ...]) -> None:
        """The engine learns the new rules at once; history of new symbols follows."""
        self._post(InstrumentsListed(tuple(self.instruments.values())))
        if added:
            intervals = (*self.config.run.intervals, *self.config.run.rest_intervals)
            await self._warm(intervals, self.setup.warm_up, added)

    def _read_rules(self) -> None:
        """The desk found our rules old: read them now, once at a time (incident P)."""
        if self._tasks is not None and self.symbols and not self._is_renewing:
            self._is_renewing = True
            self._tasks.create_task(self._renew_rules())

    async def _renew_rules(self) -> None:
        failures = self.universe.failures
        try:
            async with asyncio.timeout(RULES_TIMEOUT_S):
                added = await self.universe.refresh(self._same_again)
            if self.universe.failures == failures:
                await self._on_universe(added or ())
        except TimeoutError:
            self._note("rules.were_not_read", {"timeout_s": RULES_TIMEOUT_S})
        finally:
            self._is_renewing = False

    async def _same_again(self) -> list[Instrument]:
        """The contracts that are watched, by the venue's rules of now."""
        tradable = self._tradable((await self.client.exchange_info(Lane.RECONCILE)).instruments)
        return [tradable[symbol] for symbol in self.symbols if symbol in tradable]

    async def _keep_time(self) -> None:
        """Measure the clock anew now and then: an offset taken once goes stale (-1021)."""
        while True:
            await asyncio.sleep(TIME_SYNC_S)
            try:
                await self.client.sync_time()
            except Fault as fault:
                self._note("clock.was_not_measured", {"reason": str(fault)})

    # ---- running ------------------------------------------------------------------------
    def _take_scan(self, scan: ScanTaken) -> None:
        if self.setup.scans_max and self.engine.scans >= self.setup.scans_max:
            return  # as many as were asked for; the run is ending
        before = self.client.api_calls.total()
        rows = dataclasses.replace(scan.rows, tape_position=self.setup.tape_position())
        scan = ScanTaken(rows)
        self.rim.handle(scan)
        self.api_calls_at_scan = self.client.api_calls.total() - before
        is_told = scan.rows.trigger == "start" or scan.rows.trigger.startswith("bar:")
        if is_told and self.engine.latest is not None:
            held = (position.symbol for position in self.desk.positions())
            self.universe.look(self.board.view(self.clock.now_ms()))
            self.universe.replan(self.engine.latest, held)
        if self.setup.scans_max and self.engine.scans >= self.setup.scans_max:
            self.stop(f"{self.engine.scans} scans done")

    def _is_out(self, symbol: str) -> bool:
        return self.engine.memory.standing(symbol, self.clock.now_ms()) is not None

    def _on_bars_due(self, interval: str, close_ms: int) -> None:
        self.scans.on_bars_due(interval, close_ms)

    def _mark_of(self, symbol: str) -> float | None:
        slot = self.board.find(symbol)
        mark = float(self.board.marks.mark[slot]) if slot >= 0 else math.nan
        return None if math.isnan(mark) else mark

    def _on_kernels(self, path: str) -> None:
        self._note("kernels.were_enabled", {"path": path})

    def _post(self, event: Any) -> None:
        if self._rim is not None:
            self._rim.post(event)

    def note(self, event: str, fields: dict[str, str | int | float]) -> None:
        """Say something worth a log line to whoever listens."""
        self._note(event, fields)

    def _note(self, event: str, fields: dict[str, str | int | float]) -> None:
        self.setup.face.on_note(self.clock.now_ms(), Note(event, dict(fields)))


def _cancel(tasks: Iterable[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
