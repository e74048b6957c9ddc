"""The simulation campaign: the whole program under virtual time, killed and lied to, day after day.

One simulated day is one seed: a venue, a network, a disk, and a program that is killed at any await
and started again from what its disk kept. Trades are asked for by a seeded person. Each day ends
with a healing phase, in which the program must come to agree with the venue, and with a replay of
its last journal. The trace hash covers every execution at the venue and every digest journaled.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

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
from cryptosignal.ground.clock import LoopClock
from cryptosignal.ground.faults import Fault
from cryptosignal.ground.loop import VirtualLoop
from cryptosignal.ground.secret import Secret
from cryptosignal.ground.seeds import Seeds
from cryptosignal.ground.units import DAY_MS
from cryptosignal.modes.config import Config, RunSettings
from cryptosignal.modes.monitors import Monitors, Violation
from cryptosignal.modes.program import JOURNAL_ROOT, Program, Setup
from cryptosignal.modes.replay import replay
from cryptosignal.modes.virtual_net import STORM, MemoryTransport, NetFaults, VirtualNetwork
from cryptosignal.net.warmup import WarmUpReport, WarmUpSettings
from cryptosignal.risk.settings import RiskSettings
from cryptosignal.sim.settings import VenueSettings
from cryptosignal.sim.venue import Venue
from cryptosignal.store.memory_disk import SimDisk
from cryptosignal.store.runs import run_dirs

START_MS = 1_767_225_600_000  # 2026-01-01T00:00Z: every campaign starts on the same day
SYMBOLS = 4
HEAL_S = 90.0
KILL_MEAN_S = 1_800.0
TRADE_MEAN_S = 90.0
RESTART_S = (0.5, 8.0)
CRASHES_IN_A_ROW_MAX = 50


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
)
"""A desk that trades all day: what is under test is the trading, not the restraint."""


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
    replayed_digests: int = 0
    trace_hash: str = ""
    restarts: int = 0


@dataclass
class DaySettings:
    """How hard one day is."""

    days: float = 1.0
    faults: NetFaults = STORM
    venue_faults: str = "calm"
    kill_mean_s: float = KILL_MEAN_S
    trade_mean_s: float = TRADE_MEAN_S


class _Silence:
    """A face that keeps what a failing seed needs to be understood: the last notes."""

    def __init__(self, limit: int = 400) -> None:
        self.notes: list[str] = []
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
        """Keep the newest notes."""
        self.notes.append(f"{now_ms} {action.event} {action.fields}")
        del self.notes[: -self._limit]


@dataclass
class Day:
    """One simulated day of one seed."""

    seed: int
    settings: DaySettings = field(default_factory=DaySettings)

    def __post_init__(self) -> None:
        self.seeds = Seeds(self.seed)
        self.loop = VirtualLoop()
        self.clock = LoopClock(self.loop, START_MS)
        venue_settings = VenueSettings(
            symbols=SYMBOLS,
            faults=self.settings.venue_faults,
            tick_ms=1_000,
            ticks_per_minute=4,
            block_minutes=60,
            book_levels=20,
            events=False,
        )
        self.venue = Venue(venue_settings, self.seeds.child("venue"), START_MS)
        self.network = VirtualNetwork(
            self.loop, self.clock, self.venue, self.seeds.child("network"), self.settings.faults
        )
        self.disk = SimDisk(self.seeds.stream("disk"), sync_ms=0.3)
        self.monitors = Monitors(self.venue)
        self.network.after_move = self.monitors.check
        self.counts: Counter[str] = Counter()
        self.face = _Silence()
        self.program: Program | None = None
        self.pid = 0
        self.is_healing = False
        self._chance = self.seeds.stream("world")
        self._crashes_in_a_row = 0
        self._appointment = 0

    # ---- the day ------------------------------------------------------------------------
    def run(self) -> DayResult:
        """Live the day; answers what happened."""
        asyncio.set_event_loop(self.loop)
        self.loop.set_exception_handler(self._on_exception)
        try:
            self.loop.run_until_complete(self._live())
        finally:
            self.loop.discard_dead()
            asyncio.set_event_loop(None)
            self.loop.close()
        return self._result()

    async def _live(self) -> None:
        self.network.start()
        self._boot_in(0.0)
        self._later(self.settings.kill_mean_s, self._kill)
        self._later(self.settings.trade_mean_s, self._trade)
        await asyncio.sleep(self.settings.days * DAY_MS / 1000)
        await self._heal()

    async def _heal(self) -> None:
        """Faults off, no more kills or trades: within `HEAL_S` both sides must agree."""
        self.is_healing = True
        self.network.faults = NetFaults()
        self.venue.mischief.calm()
        differences = ["the program never came up"]
        for _ in range(int(HEAL_S)):
            await asyncio.sleep(1.0)
            if self.program is not None and self.program.desk.is_reconciled:
                differences = self.monitors.converged(self._local_positions(self.program))
                if not differences:
                    break
        for difference in differences:
            self.monitors.violations.append(Violation("diverged", self.clock.now_ms(), difference))
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
        program = Program(self._setup(pid))
        self.program = program
        try:
            await program.run()
        except BaseExceptionGroup as group:
            self._died(pid, group)
        except Fault as fault:
            self._died(pid, fault)

    def _died(self, pid: int, error: BaseException) -> None:
        self.counts["died"] += 1
        self._crashes_in_a_row += 1
        self.face.notes.append(f"{self.clock.now_ms()} process {pid} ended: {_innermost(error)!r}")
        if not _is_expected(error) or self._crashes_in_a_row > CRASHES_IN_A_ROW_MAX:
            self.monitors.violations.append(
                Violation("crash", self.clock.now_ms(), repr(_innermost(error)))
            )
            raise error
        self.network.forget(pid)
        self.program = None
        self._boot_in(2.0)

    def _kill(self) -> None:
        """SIGKILL at whatever await the program is, then a restart some seconds later."""
        if self.is_healing:
            return
        self.counts["kill"] += 1
        self._crashes_in_a_row = 0
        self.loop.kill(self.pid)
        self.network.forget(self.pid)
        self.disk.crash()
        self.program = None
        self._boot_in(self._chance.uniform(*RESTART_S))
        self._later(self.settings.kill_mean_s, self._kill)

    def _trade(self) -> None:
        """A person asks for a trade, or closes one."""
        if self.is_healing:
            return
        self._later(self.settings.trade_mean_s, self._trade)
        program = self.program
        if program is None or not program.started.is_set() or program.engine.latest is None:
            return
        symbol = self._chance.choice(sorted(program.instruments))
        held = {p.symbol for p in program.desk.positions()}
        if symbol in held:
            if self._chance.random() < 0.5:
                program.command("close", {"symbol": symbol}, "person")
                self.counts["asked_to_close"] += 1
            return
        direction = self._chance.choice(("long", "short"))
        program.command("trade", {"symbol": symbol, "direction": direction}, "person")
        self.counts["asked_to_trade"] += 1

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
        return Setup(
            config=Config(run=run, risk=_BUSY),
            clock=LoopClock(self.loop, START_MS),
            transport=MemoryTransport(self.network),
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
            streams_market=("!markPrice@arr",),
            says_history=False,
        )

    # ---- the end ----------------------------------------------------------------------------
    def _on_exception(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if error is not None and not isinstance(error, Fault):
            self.monitors.violations.append(
                Violation("unhandled", self.clock.now_ms(), f"{error!r} {context.get('message')}")
            )

    def _result(self) -> DayResult:
        trace = self.monitors.trace
        replayed = 0
        for run_dir in run_dirs(self.disk, JOURNAL_ROOT)[-1:]:
            report = replay(self.disk, run_dir)
            replayed = report.equal
            trace.update(report.digest.encode())
            if not report.is_equal:
                self.monitors.violations.append(
                    Violation("replay", report.first_difference, report.difference)
                )
        trace.update(repr(sorted(self.counts.items())).encode())
        monitors = self.monitors
        return DayResult(
            seed=self.seed,
            kills=self.counts["kill"],
            faults={**self.network.counts, **self.venue.faults_injected},
            fills=monitors.fills,
            entries=monitors.entries,
            stops_filled=monitors.stops_filled,
            violations=[f"{v.kind} at {v.at_ms}: {v.detail}" for v in monitors.violations],
            naked_spans_ms=monitors.naked_spans_ms,
            replayed_digests=replayed,
            trace_hash=trace.hexdigest(),
            restarts=self.pid,
        )


def _innermost(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _is_expected(error: BaseException) -> bool:
    """Faults of the network and the venue end a start-up; an operating system tries again."""
    inner = _innermost(error)
    return (isinstance(inner, Fault) and inner.is_retryable) or type(inner).__name__ == "Refused"


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


def run_days(
    seeds: list[int], settings: DaySettings, progress: Callable[[DayResult], None] = lambda _: None
) -> CampaignResult:
    """Run one simulated day a seed, one after the other."""
    results = []
    for seed in seeds:
        results.append(Day(seed, settings).run())
        progress(results[-1])
    return summary(results, settings.days)


def summary(results: list[DayResult], days_each: float) -> CampaignResult:
    """The days added up; the trace hash chains theirs in order."""
    faults: Counter[str] = Counter()
    spans: list[int] = []
    trace = hashlib.blake2b(digest_size=16)
    for result in results:
        faults.update(result.faults)
        spans += result.naked_spans_ms
        trace.update(result.trace_hash.encode())
    spans.sort()
    rank = max(0, -(-len(spans) * 99 // 100) - 1)
    return CampaignResult(
        days=days_each * len(results),
        seeds=[r.seed for r in results],
        kills=sum(r.kills for r in results),
        faults=dict(sorted(faults.items())),
        fills=sum(r.fills for r in results),
        entries=sum(r.entries for r in results),
        stops_filled=sum(r.stops_filled for r in results),
        violations=[f"seed {r.seed}: {v}" for r in results for v in r.violations],
        naked_ms_p99=spans[rank] if spans else 0,
        naked_ms_max=spans[-1] if spans else 0,
        trace_hash=trace.hexdigest(),
    )
