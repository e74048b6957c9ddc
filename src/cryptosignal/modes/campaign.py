"""The simulation campaign: the whole program under virtual time, killed and lied to, day after day.

One simulated day is one seed: a venue, a network, a disk, and a program that is killed at any await
and started again from what its disk kept. Trades are asked for by a seeded person. Each day ends
with a healing phase, in which the program must come to agree with the venue, and with a replay of
its last journal. The trace hash covers every execution at the venue and every digest journaled.
"""

# size-ok: a simulated day, what befalls it and how it is judged read as one story
from __future__ import annotations

import asyncio
import gc
import hashlib
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from decimal import Decimal
from functools import partial
from multiprocessing import get_context
from typing import Any, Final

import msgspec

from cryptosignal.binance.routes import Routes
from cryptosignal.binance.signing import HmacSigner
from cryptosignal.domain.actions import (
    Note,
    PublishDecision,
    RecordOutcome,
    ScanDecided,
    WriteReport,
)
from cryptosignal.domain.events import (
    AccountSnapshotTaken,
    CancelReplied,
    FactRecorded,
    IntentRecorded,
    OrderLookedUp,
    OrderReplied,
    SendOutcome,
)
from cryptosignal.domain.order import Leg, parse_client_id
from cryptosignal.domain.params import ParamSet, PlanParams
from cryptosignal.ground.clock import LoopClock
from cryptosignal.ground.faults import Fault, MarketHalted, Refused, UserFault
from cryptosignal.ground.loop import TimeStandsStill, VirtualLoop
from cryptosignal.ground.secret import Secret
from cryptosignal.ground.seeds import Seeds
from cryptosignal.ground.units import DAY_MS
from cryptosignal.modes.config import Config, RunSettings
from cryptosignal.modes.heeding import HeedingTransport
from cryptosignal.modes.meetings import KILL, LOOK_S, POSSIBLE, Meetings
from cryptosignal.modes.monitors import NAKED_P99_MS, Limits, Monitors, Violation
from cryptosignal.modes.program import JOURNAL_ROOT, Program, Setup
from cryptosignal.modes.replay import replay
from cryptosignal.modes.virtual_net import NetFaults, VirtualNetwork
from cryptosignal.modes.weather import HOST_FAULTS, Weather, never_struck, swarm
from cryptosignal.net.warmup import WarmUpReport, WarmUpSettings
from cryptosignal.risk.settings import RiskSettings
from cryptosignal.sim.settings import VenueSettings
from cryptosignal.sim.venue import Venue
from cryptosignal.store.faults import DiskFault
from cryptosignal.store.memory_disk import SimDisk
from cryptosignal.store.runs import money_history, run_dirs
from cryptosignal.streams.settings import FeedSettings
from cryptosignal.trading import facts
from cryptosignal.trading.fold import NO_POSITION_CODES
from cryptosignal.trading.ticket import signal_key

START_MS = 1_767_225_600_000  # 2026-01-01T00:00Z: every campaign starts on the same day
SYMBOLS = 4
HEAL_S = 75.0
HEAL_FLAT_S = 330.0
"""Positions of others are found by the audit, once in 60 s with a position and once in 300 s flat
(DESIGN §5.19); then its answers."""
KILL_MEAN_S = 1_800.0
TRADE_MEAN_S = 480.0
HOLD_MEAN_S = 45.0
LONG_HOLD_SHARE = 0.1
LONG_HOLD_MEAN_S = 600.0
RESTART_S = (0.5, 8.0)
HOST_MEAN_S = 2_400.0
AIMED_SHARE = 0.12
AIMED_MEAN_S = 1.5
CRASHES_IN_A_ROW_MAX = 50
COVERED_DAYS = 20.0
"""A campaign of so many days must have seen everything once."""


_BUSY = RiskSettings(
    cooldown_stop_ms=30_000,
    cooldown_profit_ms=30_000,
    cooldown_manual_ms=10_000,
    cost_max_r=Decimal(1),
    position_max=SYMBOLS,
    same_direction_max=SYMBOLS,
    losses_cautious=50,
    losses_averse=100,
    losses_shutdown=10_000,
    entries_per_minute_max=30,
    errors_per_minute_max=60,
    taker_fee_frac=Decimal("0.00055"),
)
"""A desk that trades all day: what is under test is the trading, not the restraint. It assumes a fee
that the venue does not take, so that a fee that was not read is seen in the books."""


_TIGHT = ParamSet(plan=PlanParams(stop_atr=0.15, stop_min_atr=0.05, anchor_max_atr=0.02))
"""Stops and targets near enough to be reached within minutes."""
TIGHT_SHARE = 0.5
"""Of the days, whose plans are tight: their trades end by stops and targets, not by a person."""


_SPARING = FeedSettings(
    market_canary="",
    repair_interval=15.0,
    kline_reconcile_interval=1_800.0,
    heartbeat_interval=60.0,
    heartbeat_timeout=180.0,
)
"""Marks of all symbols every three seconds while something is held, minutes' bars otherwise."""


class DayResult(msgspec.Struct):
    """What one simulated day brought."""

    seed: int
    kills: int = 0
    faults: dict[str, int] = {}
    fills: int = 0
    entries: int = 0
    stops_filled: int = 0
    violations: list[str] = []
    naked_spans_ms: list[int] = []
    paths: dict[str, int] = {}
    replayed_digests: int = 0
    trace_hash: str = ""
    restarts: int = 0
    pairs: list[str] = []


STEPS_A_LOOK_MAX: Final = 100_000
"""Rounds of the loop in half a minute; a day at its busiest takes some thousands."""


class DaySettings(msgspec.Struct, frozen=True):
    """How hard one day is. `weather` None: a random part of the menu, by the seed (swarm)."""

    days: float = 0.25
    weather: Weather | None = None
    kill_mean_s: float = KILL_MEAN_S
    trade_mean_s: float = TRADE_MEAN_S
    host_mean_s: float = HOST_MEAN_S
    replays_all: bool = False


class HostClock(LoopClock):
    """The clock of the simulated host, which can be stepped; the loop's time goes on evenly."""

    skew_ms = 0

    def now_ms(self) -> int:
        """Exchange time as the host believes it."""
        loop_ms = int(self._loop.time() * 1000.0 + 1e-6)  # as `LoopClock`, in one call
        return self._start_ms + loop_ms + self.offset_ms + self.skew_ms


class _Silence:
    """A face that keeps what a failing seed needs to be understood: the last notes."""

    def __init__(self, limit: int = 400) -> None:
        self.notes: list[str] = []
        self.on_closed: Callable[[str], None] = lambda _signal_id: None
        self._limit = limit

    def on_progress(self, step: str, done: int, total: int, seconds: float) -> None:
        """Nobody looks."""

    def on_ready(self, program: Program, report: WarmUpReport) -> None:
        """Nobody looks."""

    def on_decision(self, action: PublishDecision) -> None:
        """Nobody looks."""

    def on_scan(self, action: ScanDecided) -> None:
        """Nobody looks."""

    def on_outcome(self, action: RecordOutcome) -> None:
        """Nobody looks."""

    def on_report(self, action: WriteReport) -> None:
        """Nobody looks."""

    def on_note(self, now_ms: int, action: Note) -> None:
        """Keep the newest notes; a trade's end is told on."""
        if action.event == "trade.closed":
            self.on_closed(str(action.fields["signal_id"]))
        self.notes.append(f"{now_ms} {action.event} {action.fields}")
        del self.notes[: -self._limit]


@dataclass
class Day:
    """One simulated day of one seed."""

    seed: int
    settings: DaySettings = field(default_factory=DaySettings)

    def __post_init__(self) -> None:
        self.seeds = Seeds(self.seed)
        given = self.settings.weather
        self.weather = given if given is not None else swarm(self.seeds.stream("weather"))
        self.loop = VirtualLoop()
        self.clock = LoopClock(self.loop, START_MS)
        venue_settings = VenueSettings(
            symbols=SYMBOLS,
            fault_rates=self.weather.venue,
            tick_ms=1_000,
            ticks_per_minute=4,
            block_minutes=60,
            book_levels=20,
            kline_throttle_ms=20_000,
            events=False,
            stop_needs_position=self.weather.stop_needs_position,
        )
        self.venue = Venue(venue_settings, self.seeds.child("venue"), START_MS)
        self.network = VirtualNetwork(
            self.loop, self.clock, self.venue, self.seeds.child("network"), self.weather.net
        )
        self.disk = SimDisk(self.seeds.stream("disk"), sync_ms=0.3)
        self.monitors = Monitors(
            self.venue, Limits(SYMBOLS, _BUSY.symbol_notional_max_usdt), self._is_excused
        )
        self.network.after_move = self.monitors.check
        self.counts: Counter[str] = Counter()
        self.face = _Silence()
        self.face.on_closed = lambda signal_id: self.monitors.note_closed(signal_key(signal_id))
        self.program: Program | None = None
        self.venue_symbols = sorted(item.symbol for item in self.venue.exchange.listed)
        self.pid = 0
        self.is_healing = False
        self._chance = self.seeds.stream("world")
        self._crashes_in_a_row = 0
        self._appointment = 0
        is_tight = self.seeds.stream("plan").random() < TIGHT_SHARE
        self._params = _TIGHT if is_tight else ParamSet()
        self._is_paused = False
        self._is_disk_full = False
        self._skew_ms = 0
        self._ended_ms = 0
        self._clock: HostClock | None = None
        self._net_usdt: dict[str, Decimal] = {}
        self._closed: dict[str, facts.Closed] = {}
        self.paths: Counter[str] = Counter()
        self._meetings = Meetings()

    def _is_excused(self) -> bool:
        """The venue answers nobody or the whole machine stands still: no program could protect now.

        Others behind the same address can use up its minute; that our own ledger never does so is
        judged apart (`judge_limits`).
        """
        limits, now_ms = self.venue.exchange.limits, self.clock.now_ms()
        is_down = self.venue.mischief.is_down or limits.is_refusing(now_ms)
        return is_down or self._is_paused or self._is_disk_full

    # ---- the day ------------------------------------------------------------------------
    def run(self) -> DayResult:
        """Live the day; answers what happened."""
        asyncio.set_event_loop(self.loop)
        gc.collect()
        gc.disable()
        self.loop.set_exception_handler(self._on_exception)
        try:
            self.loop.run_until_complete(self._live())
        except TimeStandsStill as still:
            self._ended_ms = self.clock.now_ms()
            self.monitors.violate("livelock", self._ended_ms, str(still))
        finally:
            self.loop.discard_dead()
            asyncio.set_event_loop(None)
            self.loop.close()
            gc.enable()
        return self._result()

    async def _live(self) -> None:
        self.network.start()
        self._boot_in(0.0)
        self._later(self.settings.kill_mean_s, self._kill)
        self._later(self.settings.trade_mean_s, self._trade)
        for name in sorted(self.weather.host):
            self._later(self.settings.host_mean_s, partial(self._host_fault, name))
        await self._until(self.loop.time() + self.settings.days * DAY_MS / 1000)
        await self._heal()

    async def _until(self, end_s: float) -> None:
        """Let the day pass. A program that turns in circles ends it: time would hardly go on."""
        while self.loop.time() < end_s:
            steps = self.loop.steps
            await asyncio.sleep(min(LOOK_S, end_s - self.loop.time()))
            self._meetings.look(self._strikes())
            turned = self.loop.steps - steps
            if turned > STEPS_A_LOOK_MAX:
                self.monitors.violate(
                    "livelock", self.clock.now_ms(), f"{turned} steps in {LOOK_S} s"
                )
                return

    async def _heal(self) -> None:
        """Faults off, no more kills or trades: both sides must agree within one reconciliation, which
        is `HEAL_S` with a position and `HEAL_FLAT_S` for what somebody did unseen beside a flat program.
        """
        self.is_healing = True
        self.network.faults = NetFaults()
        self.disk.capacity_bytes = None
        self._is_disk_full = False
        if self._is_paused:
            self._resume()
        self.venue.mischief.calm()
        differences, patience_s = ["the program never came up"], HEAL_S
        began_s = self.loop.time()
        while self.loop.time() < began_s + patience_s:
            await asyncio.sleep(1.0)
            if self.program is not None and self.program.desk.is_reconciled:
                local = self._local_positions(self.program)
                patience_s = max(patience_s, HEAL_S if local else HEAL_FLAT_S)
                differences = self.monitors.converged(local)
                differences += [
                    f"trade on flat {symbol} is not closed"
                    for symbol in self.program.desk.state.trades
                    if symbol not in local
                ]
                if not differences:
                    break
        for difference in differences:
            self.monitors.violations.append(Violation("diverged", self.clock.now_ms(), difference))
        self._ended_ms = self.clock.now_ms()
        if self.program is not None:
            self.program.stop("the day is over")
        await asyncio.sleep(5.0)

    @staticmethod
    def _local_positions(program: Program) -> dict[str, Decimal]:
        held: dict[str, Decimal] = {}
        for view in program.desk.positions():
            sign = 1 if view.direction == "long" else -1
            held[view.symbol] = held.get(view.symbol, Decimal(0)) + sign * view.quantity
        return held

    # ---- the world's doings ---------------------------------------------------------------
    def _later(self, mean_s: float, action: Callable[[], None]) -> None:
        wait_s = self._chance.expovariate(1.0 / mean_s) + 1.0
        self.loop.call_later(wait_s, action, context=self.network.world)

    def _boot_in(self, wait_s: float) -> None:
        """Start the program after a pause; of several appointments only the newest counts."""
        self._appointment += 1
        number = self._appointment
        self.loop.call_later(wait_s, self._boot, number, context=self.network.world)

    def _boot(self, appointment: int) -> None:
        if appointment != self._appointment:
            return
        self.pid += 1
        self.loop.start_process(self.pid, self._process)

    async def _process(self) -> None:
        """The program as an operating system runs it: started again when it ends by a fault."""
        pid = self.pid
        self._take_lease(pid)
        self.disk.reopen()
        program = Program(self._setup(pid))
        self.program = program
        try:
            await program.run()
            if not self._ended_ms:
                self.program = None
                self.network.forget(pid)
                self._boot_in(self._chance.uniform(*RESTART_S))
        except BaseExceptionGroup as group:
            self._died(pid, group)
        except Fault as fault:
            self._died(pid, fault)

    def _died(self, pid: int, error: BaseException) -> None:
        self.counts["died"] += 1
        is_outage = self.venue.mischief.is_down or isinstance(_innermost(error), MarketHalted)
        self._crashes_in_a_row += not is_outage
        self.face.notes.append(f"{self.clock.now_ms()} process {pid} ended: {_innermost(error)!r}")
        if not _is_expected(error) or self._crashes_in_a_row > CRASHES_IN_A_ROW_MAX:
            self.monitors.violations.append(
                Violation("crash", self.clock.now_ms(), repr(_innermost(error)))
            )
            raise error
        self.network.forget(pid)
        self.loop.kill(pid)  # what a dead process had spawned is dead with it
        self.program = None
        self._boot_in(2.0)

    def _kill(self) -> None:
        """SIGKILL at whatever await the program is, then a restart some seconds later."""
        if self.is_healing:
            return
        self._kill_now()
        self._later(self.settings.kill_mean_s, self._kill)

    def _kill_now(self) -> None:
        if self.is_healing:
            return
        self.counts["kill"] += 1
        self._crashes_in_a_row = 0
        if self._is_paused:
            self._is_paused = False
        if self.program is not None and self.monitors.is_held():
            self.paths["restart_while_held"] += 1
        self.loop.kill(self.pid)
        self.network.forget(self.pid)
        unsynced = self.disk.used_bytes()
        self.disk.crash()
        self.paths["torn_tail"] += self.disk.used_bytes() < unsynced
        self.program = None
        self._boot_in(self._chance.uniform(*RESTART_S))

    # ---- what befalls the host ---------------------------------------------------------------
    def _host_fault(self, name: str) -> None:
        if self.is_healing:
            return
        self._later(self.settings.host_mean_s, partial(self._host_fault, name))
        if name != "aimed_kill" and self._strikes_host(name):
            self.counts[name] += 1

    def _strikes_host(self, name: str) -> bool:
        """Let one host fault strike; False where it cannot now."""
        if name == "clock_step":
            self._skew_ms = self._chance.choice((-3_600_000, 3_600_000, -1_500, 1_500, 0))
            if self._clock is not None:
                self._clock.skew_ms = self._skew_ms
            return self._clock is not None
        if name == "pause":
            return self._pause()
        if name == "disk_full":
            self._is_disk_full = True
            self.disk.capacity_bytes = self.disk.used_bytes() + self._chance.randrange(2_000)
            self._in(self._chance.uniform(2.0, 10.0), self._free_disk)
            return True
        if name == "terminate" and self.program is not None and self.program.started.is_set():
            self.program.stop("SIGTERM")
            return True
        return name == "double_start" and self._start_twice()

    def _in(self, wait_s: float, action: Callable[[], None]) -> None:
        self.loop.call_later(wait_s, action, context=self.network.world)

    def _pause(self) -> bool:
        """The machine stands still for a while (a suspended guest, a collection of garbage)."""
        if self.program is None or self._is_paused:
            return False
        self._is_paused = True
        self.loop.pause(self.pid)
        self._in(self._chance.uniform(5.0, 30.0), self._resume)
        return True

    def _resume(self) -> None:
        if self._is_paused:
            self._is_paused = False
            self.loop.resume()

    def _free_disk(self) -> None:
        self.disk.capacity_bytes = None
        self._is_disk_full = False

    def _start_twice(self) -> bool:
        """A second program over the same data folder: the lease must refuse it."""
        if self.program is None:
            return False
        try:
            self._take_lease(-1)
        except UserFault:
            return True
        self.monitors.violate("lease", self.clock.now_ms(), "two programs hold the data folder")
        return True

    def _take_lease(self, pid: int) -> None:
        if self.program is not None:
            raise UserFault(f"data folder: process {self.pid} works in it")

    def _trade(self) -> None:
        """A person asks for a trade, and soon has enough of it: most of the day is flat."""
        if self.is_healing:
            return
        self._later(self.settings.trade_mean_s, self._trade)
        symbol = self._chance.choice(self.venue_symbols)
        direction = self._chance.choice(("long", "short"))
        is_long = self._chance.random() < LONG_HOLD_SHARE
        self._later(LONG_HOLD_MEAN_S if is_long else HOLD_MEAN_S, partial(self._close, symbol))
        if self._says("trade", {"symbol": symbol, "direction": direction}):
            self.counts["asked_to_trade"] += 1
            self._aim()

    def _close(self, symbol: str) -> None:
        """The person closes what is held on a symbol, if anything is."""
        program = self.program
        if self.is_healing or program is None:
            return
        if symbol in {p.symbol for p in program.desk.positions()} and self._says(
            "close", {"symbol": symbol}
        ):
            self.counts["asked_to_close"] += 1
            self._aim()

    def _aim(self) -> None:
        """Where an order is on its way, hosts like to die."""
        for name, strike in (("aimed_kill", self._kill_now), ("terminate", self._terminate)):
            if name in self.weather.host and self._chance.random() < AIMED_SHARE:
                self.counts[name] += 1
                self._in(self._chance.expovariate(1.0 / AIMED_MEAN_S), strike)

    def _terminate(self) -> None:
        if self.program is not None and not self.is_healing:
            self.program.stop("SIGTERM")

    def _says(self, command: str, arguments: dict[str, str]) -> bool:
        """A person's command, if there is a program that hears it."""
        program = self.program
        if program is None or not program.started.is_set() or program.engine.latest is None:
            return False
        program.command(command, arguments, "person")
        return True

    def _setup(self, pid: int) -> Setup:
        run = RunSettings(
            mode="signal",
            account="sim",
            bot="s",
            scan_interval_s=3_600.0,
            intervals=("1m", "1h"),
            symbols_max=SYMBOLS,
            rest_intervals=(),
            trigger_intervals=("1h",),
        )
        clock = self._clock = HostClock(self.loop, START_MS)
        clock.skew_ms = self._skew_ms
        return Setup(
            config=Config(run=run, risk=_BUSY, websocket=_SPARING, params=self._params),
            clock=clock,
            transport=HeedingTransport(
                self.network, self.clock, lambda: self._skew_ms, self._is_heedless
            ),
            disk=self.disk,
            seeds=self.seeds.child("program", pid),
            routes=Routes(rest_url="http://venue", ws_url="ws://venue", name="virtual"),
            face=self.face,
            run_id=f"{pid:05d}",
            signer=HmacSigner(Secret(self.venue.api_key), Secret(self.venue.api_secret)),
            warm_up=WarmUpSettings(
                rows=99, with_spot=False, with_funding=False, with_open_interest=False
            ),
            streams_extra=(),
            streams_market=(),
            streams_held=("!markPrice@arr",),
            says_history=False,
        )

    def _is_heedless(self, detail: str) -> None:
        self.monitors.violate("heedless", self.clock.now_ms(), detail)

    # ---- the end ----------------------------------------------------------------------------
    def _on_exception(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        # a cancelled future that a killed process had left is found when its day is put away
        if error is not None and not isinstance(error, Fault | asyncio.CancelledError):
            self.monitors.violations.append(
                Violation("unhandled", self.clock.now_ms(), f"{error!r} {context.get('message')}")
            )

    def _result(self) -> DayResult:
        trace = self.monitors.trace
        monitors, now_ms = self.monitors, self.clock.now_ms()
        self._read_journal()
        replayed = self._replay()
        self._look_for_secrets()
        monitors.judge_limits(now_ms)
        monitors.judge_money(now_ms, self._net_usdt, self._ended_ms)
        trace.update(repr(sorted(self.counts.items())).encode())
        return DayResult(
            seed=self.seed,
            kills=self.counts["kill"],
            faults=self._strikes(),
            fills=monitors.fills,
            entries=monitors.counts["entries"],
            stops_filled=monitors.counts["stops_filled"],
            violations=[f"{v.kind} at {v.at_ms}: {v.detail}" for v in monitors.violations],
            naked_spans_ms=monitors.naked_spans_ms,
            paths=dict(sorted(self.paths.items())),
            replayed_digests=replayed,
            trace_hash=trace.hexdigest(),
            restarts=self.pid,
            pairs=sorted(self._meetings.met),
        )

    def _strikes(self) -> dict[str, int]:
        """How often each fault has struck so far."""
        return {
            **self.network.counts,
            **self.venue.faults_injected,
            **{name: self.counts[name] for name in (*HOST_FAULTS, KILL) if self.counts[name]},
        }

    def _replay(self) -> int:
        runs = run_dirs(self.disk, JOURNAL_ROOT)
        equal = 0
        for run_dir in runs if self.settings.replays_all else runs[-1:]:
            report = replay(self.disk, run_dir)
            equal += report.equal
            self.monitors.trace.update(report.digest.encode())
            if not report.is_equal:
                self.monitors.violate(
                    "replay", report.first_difference, f"{run_dir}: {report.difference}"
                )
        return equal

    def _read_journal(self) -> None:
        """Which ways the program went, and what its closed trades brought."""
        unknown: set[str] = set()
        for record in money_history(self.disk, JOURNAL_ROOT):
            event = record.event
            if isinstance(event, FactRecorded) and event.kind == facts.SIGNAL_CLOSED:
                # a late execution closes a trade anew, with the whole truth: the last word counts
                self._closed[event.key] = msgspec.json.decode(event.body, type=facts.Closed)
            for path in _paths_of(event, unknown):
                self.paths[path] += 1
        for closed in self._closed.values():
            symbol = closed.symbol
            self._net_usdt[symbol] = self._net_usdt.get(symbol, Decimal(0)) + closed.net_usdt
        self.paths["foreign_fill"] += self.monitors.counts["foreign_fills"]
        for name, count in self.monitors.counts.items():
            if name.startswith("filled_"):
                self.paths[name] += count

    def _look_for_secrets(self) -> None:
        """Keys must be in no file and in no word to people (DESIGN §5.15)."""
        texts = [self.disk.read(name) for name in self.disk.names("")]
        texts.append("\n".join(self.face.notes).encode())
        for secret in (self.venue.api_key, self.venue.api_secret):
            if any(secret.encode() in text for text in texts):
                self.monitors.violate("secret", 0, "a planted key was written down")


def _paths_of(event: object, unknown: set[str]) -> Iterator[str]:
    """The ways of `PATHS` that one journaled event shows; `unknown` holds orders not proven yet."""
    if isinstance(event, IntentRecorded):
        yield f"intent_{event.intent.leg.name.lower()}"
        if event.intent.replaces:
            yield "stop_moved"
        parts = parse_client_id(event.intent.client_id)
        if parts is not None and parts.leg is Leg.STOP and parts.attempt:
            yield "second_stop"
    elif isinstance(event, OrderReplied):
        yield f"reply_{event.outcome.value}"
        parts = parse_client_id(event.client_id)
        if event.code in NO_POSITION_CODES and parts is not None and parts.leg is Leg.STOP:
            yield "position_first"
        if event.outcome is SendOutcome.UNKNOWN:
            unknown.add(event.client_id)
    elif isinstance(event, CancelReplied):
        yield f"cancel_{event.outcome.value}"
    elif isinstance(event, OrderLookedUp) and event.client_id in unknown:
        if event.found is not None:
            unknown.discard(event.client_id)
            yield "unknown_found" if event.found else "unknown_absent"
    elif isinstance(event, AccountSnapshotTaken):
        yield f"snapshot_{event.purpose.split(' ')[0]}"


def _innermost(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _is_expected(error: BaseException) -> bool:
    """Faults of the network, the venue and the disk end a process; an operating system tries again."""
    inner = _innermost(error)
    return (isinstance(inner, Fault) and inner.is_retryable) or isinstance(
        inner, Refused | DiskFault
    )


class CampaignResult(msgspec.Struct):
    """Many days in one line."""

    days: float
    seeds: list[int]
    kills: int
    faults: dict[str, int]
    fills: int
    entries: int
    stops_filled: int
    violations: list[str]
    naked_ms_p99: int
    naked_ms_max: int
    trace_hash: str
    paths: dict[str, int]
    pairs: int = 0
    pairs_possible: int = len(POSSIBLE)
    pairs_missed: list[str] = []
    """Faults that never struck within a minute of each other; named once they are few."""


PAIRS_NAMED_MAX: Final = 100
SEEDS_A_PROCESS = 12
"""A process lives so many days, then a fresh pool goes on: memory stays bounded. The pool's own limit
(`max_tasks_per_child`) waits for ever on Python 3.11 once every process has reached it."""


def run_day(seed: int, settings: DaySettings) -> DayResult:
    """One seed; a crash of the day itself is a violation like any other."""
    return Day(seed, settings).run()


def run_days(
    seeds: list[int],
    settings: DaySettings,
    progress: Callable[[DayResult], None] = lambda _: None,
    workers: int = 1,
) -> CampaignResult:
    """Run one simulated day a seed, in `workers` processes; results come in the seeds' order."""
    results: list[DayResult] = []
    job = partial(run_day, settings=settings)
    if workers <= 1:
        for seed in seeds:
            results.append(job(seed))
            progress(results[-1])
        return summary(results, settings.days)
    batch = workers * SEEDS_A_PROCESS
    for start in range(0, len(seeds), batch):
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
            for result in pool.map(job, seeds[start : start + batch]):
                results.append(result)
                progress(result)
    return summary(results, settings.days)


def summary(results: list[DayResult], days_each: float) -> CampaignResult:
    """The days added up; the trace hash chains theirs in order.

    A campaign of `COVERED_DAYS` must have seen every fault and gone every way of recovery.
    """
    faults: Counter[str] = Counter()
    paths: Counter[str] = Counter()
    spans: list[int] = []
    trace = hashlib.blake2b(digest_size=16)
    for result in results:
        faults.update(result.faults)
        paths.update(result.paths)
        spans += result.naked_spans_ms
        trace.update(result.trace_hash.encode())
    met = {pair for result in results for pair in result.pairs}
    missed = sorted(POSSIBLE - met)
    spans.sort()
    rank = max(0, -(-len(spans) * 99 // 100) - 1)
    days = days_each * len(results)
    violations = [f"seed {r.seed}: {v}" for r in results for v in r.violations]
    if days >= COVERED_DAYS:
        violations += [f"never: {name}" for name in never_struck(faults, paths)]
    if spans and spans[rank] > NAKED_P99_MS:
        violations.append(f"naked p99 of {spans[rank]} ms, allowed {NAKED_P99_MS}")
    return CampaignResult(
        days=days,
        seeds=[r.seed for r in results],
        kills=sum(r.kills for r in results),
        faults=dict(sorted(faults.items())),
        fills=sum(r.fills for r in results),
        entries=sum(r.entries for r in results),
        stops_filled=sum(r.stops_filled for r in results),
        violations=violations,
        naked_ms_p99=spans[rank] if spans else 0,
        naked_ms_max=spans[-1] if spans else 0,
        trace_hash=trace.hexdigest(),
        paths=dict(sorted(paths.items())),
        pairs=len(met),
        pairs_missed=missed if len(missed) <= PAIRS_NAMED_MAX else [],
    )
