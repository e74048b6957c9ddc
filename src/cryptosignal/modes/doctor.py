"""Looks a venue and our own streams over: what is reached, what delivers, what the streams save.

One short run of the whole program with a witness beside it, so that nothing is proven of a client
that is not the one in use.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

import msgspec

from cryptosignal.ground.units import HOUR_MS, INTERVAL_MS
from cryptosignal.modes.live import Run, run_live
from cryptosignal.net.caller import UNASKED
from cryptosignal.net.client import READ_AFTER_RECONNECT, READ_AS_AUDIT, READ_AS_PROOF
from cryptosignal.quality.turns import Turns
from cryptosignal.streams import names

if TYPE_CHECKING:
    from cryptosignal.modes.program import Face, Program
    from cryptosignal.modes.recorder import Recorder

DELIVER_S: Final = 45.0
"""How long streams may take to speak for the first time, venue seconds."""
COMPARE_S: Final = 1_800.0
"""The span over which the streams' own REST calls are counted, venue seconds."""
ACCOUNT_POLL_S: Final = 5.0
"""What a client without an account stream asks: positions, every five seconds."""
_LOOK_S: Final = 0.2
_KLINES_PERCENT: Final = 90.0


class Saving(msgspec.Struct, frozen=True):
    """REST calls an hour with the streams (measured) and by polling."""

    what: str
    polling_per_h: float
    streams_per_h: float
    promised_percent: float = 0.0
    """What the streams promise to save of this row at least; 0 where they promise nothing."""

    @property
    def saved_percent(self) -> float:
        """Share of the calls that the streams save."""
        if not self.polling_per_h:
            return 0.0
        return round(100.0 * (1.0 - self.streams_per_h / self.polling_per_h), 1)


class Findings(msgspec.Struct):
    """What was found; `is_well` decides the exit code."""

    venue: str = ""
    clock_error_ms: int = 0
    limits: dict[str, int] = msgspec.field(default_factory=dict)
    connections: list[dict[str, Any]] = msgspec.field(default_factory=list)
    reconnects: dict[str, int] = msgspec.field(default_factory=dict)
    routes: dict[str, bool] = msgspec.field(default_factory=dict)
    streams: int = 0
    unheard: list[str] = msgspec.field(default_factory=list)
    preload_s: dict[str, float] = msgspec.field(default_factory=dict)
    scan: dict[str, Any] = msgspec.field(default_factory=dict)
    savings: list[Saving] = msgspec.field(default_factory=list)
    is_well: bool = False


def examine(run: Run, face: Face, *, every_stream: bool, compare: bool) -> Findings:
    """Run the program until its routes (or every stream) deliver, or the time for it is over.

    Raises as a run does if the venue cannot be reached.
    """
    found = Findings()
    run.is_lasting = False
    run.on_venue = lambda name, _ready: setattr(found, "venue", name)

    async def witness(program: Program, _recorder: Recorder) -> None:
        await program.started.wait()
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + DELIVER_S
        while loop.time() < deadline_s and not _is_done(program, every_stream=every_stream):  # noqa: ASYNC110
            await asyncio.sleep(_LOOK_S)
        if compare:
            found.savings = await _compare(program)
        _note_down(program, found, every_stream=every_stream)
        program.stop("examined")

    run_live(run, face, witness)
    return found


def _is_done(program: Program, *, every_stream: bool) -> bool:
    if program.engine.latest is None or not program.feed.is_healthy:
        return False
    if program.setup.signer is not None and not program.desk.is_reconciled:
        return False
    return not (every_stream and silent(program))


def silent(program: Program) -> list[str]:
    """Streams that never spoke; forced orders come when they come and are not waited for."""
    return [name for name in program.feed.unheard() if name not in names.ON_OCCASION]


async def _compare(program: Program) -> list[Saving]:
    loop = asyncio.get_running_loop()
    before, began_s = _Calls(program), loop.time()
    await asyncio.sleep(COMPARE_S)
    made, hours = _Calls(program).since(before), (loop.time() - began_s) / 3600.0
    intervals = program.config.run.intervals
    a_symbol = sum(HOUR_MS / INTERVAL_MS[interval] for interval in intervals)
    polling = round(a_symbol * len(program.symbols), 1)

    def row(what: str, polled: float, calls: int, promised_percent: float = 0.0) -> Saving:
        return Saving(what, polled, round(calls / hours, 1), promised_percent)

    shortest_ms = min(INTERVAL_MS[interval] for interval in intervals)
    turns = Turns.of(shortest_ms, int(program.config.websocket.kline_reconcile_interval * 1000))
    fewest = len(program.symbols) * HOUR_MS / (turns.bars * turns.step_ms)
    repairs = made.repairs - made.comparisons
    reads = made.account_reads
    scanned = made.scans * len(program.symbols) + made.refreshes
    by_rest = round(scanned * len(intervals) / hours, 1)
    return [
        row("klines, each closed bar read once (repairs, books)", polling, repairs, _KLINES_PERCENT),
        row("klines, read anew by each scan; checks included", by_rest, made.repairs,
            _KLINES_PERCENT),
        row("account, polled (positions, orders, balances)", 3600.0 / ACCOUNT_POLL_S,
            reads[UNASKED], 100.0),
        row(f"checks: klines compared with REST (at least {fewest:.0f})", 0.0, made.comparisons),
        row("checks: account audits", 0.0, reads[READ_AS_AUDIT]),
        row("checks: account after a reconnect", 0.0, reads[READ_AFTER_RECONNECT]),
        row("checks: account, a doubtful order or fill", 0.0, reads[READ_AS_PROOF]),
        row("klines, each closed bar read once; checks included", polling, made.repairs),
    ]  # fmt: skip


class _Calls:
    """REST calls so far, by what they were for."""

    def __init__(self, program: Program) -> None:
        repairer, client = program.repairer, program.client
        self.repairs = repairer.requests
        self.comparisons = repairer.comparisons
        self.refreshes = program.scans.refreshed
        self.scans = program.scans.taken - self.refreshes
        self.account_reads = Counter(client.account_reads)

    def since(self, before: _Calls) -> _Calls:
        """The calls made since `before`."""
        for name, count in vars(before).items():
            setattr(self, name, getattr(self, name) - count)
        return self


def _note_down(program: Program, found: Findings, *, every_stream: bool) -> None:
    stats: dict[str, Any] = program.feed.stats()
    found.clock_error_ms = program.client.clock_error_ms
    found.limits = program.ledger.snapshot().limits
    found.connections = stats["connections"]
    found.reconnects = stats["reasons"]
    for line in found.connections:
        well = bool(line["is_healthy"] and line["frames"])
        found.routes[line["route"]] = found.routes.get(line["route"], True) and well
    found.streams = stats["streams"]
    found.unheard = silent(program)
    found.preload_s = dict(program.warm_report.steps)
    latest = program.engine.latest
    if latest is not None:
        found.scan = latest.to_dict(
            elapsed_s=program.scans.elapsed_ms / 1000.0,
            api_calls=program.api_calls_at_scan,
            cache_stats=program.board.get_stats(),
            min_score=program.config.params.gates.min_score,
        )
    saves = all(saving.saved_percent >= saving.promised_percent for saving in found.savings)
    delivers = not found.unheard if every_stream else True
    found.is_well = bool(
        found.routes and all(found.routes.values()) and delivers and saves and found.scan
    )
