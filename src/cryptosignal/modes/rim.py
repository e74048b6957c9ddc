"""The rim of the engine: events in, one at a time; actions out, each performed once.

Order of things (D1, D2, RELIABILITY §3.1): an event gets its sequence number, is journaled, is
decided on, and its records are journaled and folded before anything is sent. A send waits for the
durable mark of its intent and of its `OrderSent`; nothing else waits. Replies come back as events.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Protocol

from cryptosignal.domain.actions import (
    Action,
    CancelOrder,
    LookUpOrder,
    Note,
    PublishDecision,
    ReadRules,
    Record,
    RecordOutcome,
    ScanDecided,
    SetCountdown,
    SetLeverage,
    StopProcess,
    SubmitOrder,
    TakeSnapshot,
    WakeAt,
    WatchSymbols,
    WriteReport,
)
from cryptosignal.domain.events import (
    Event,
    OrderReplied,
    OrderSent,
    ScanTaken,
    SendOutcome,
    TimerFired,
)
from cryptosignal.domain.order import Leg, OrderIntent
from cryptosignal.domain.ports import OrderDesk
from cryptosignal.engine.step import Engine
from cryptosignal.ground.clock import Clock
from cryptosignal.ground.faults import ContractFault, EdgeFault, Fault, UserFault

INBOX_LIMIT = 100_000
"""Events waiting for the engine; past it the process ends and start-up reconciles (DESIGN §5.14)."""

PREPARE_MS_MAX = 10_000
"""Longer than this to set leverage and margin, and the price that the entry was sized by is stale."""

TIMER_SLACK_S = 0.001
"""A timer that is off by less is left as it is set: the clock tells whole milliseconds."""

STOP_GRACE_S = 1.5
"""How long requests under way may take to end after a stop."""


class Ledgerbook(Protocol):
    """The journal as the rim needs it (store.journal.Journal)."""

    def append(self, seq: int, now_ms: int, event: Any, tape_position: int = 0) -> None:
        """Queue one record."""
        ...

    def write_digest(self, seq: int, digest: str) -> None:
        """Queue the chained digest after step `seq`."""
        ...

    async def durable(self, seq: int) -> None:
        """Return once every money record up to `seq` is on disk."""
        ...


class Audience(Protocol):
    """Who is told what happened: printer, page, store."""

    def on_decision(self, action: PublishDecision) -> None:
        """A signal was published."""
        ...

    def on_scan(self, action: ScanDecided) -> None:
        """A scan was decided on."""
        ...

    def on_outcome(self, action: RecordOutcome) -> None:
        """A signal reached its end."""
        ...

    def on_report(self, action: WriteReport) -> None:
        """A day's report is due."""
        ...

    def on_note(self, now_ms: int, action: Note) -> None:
        """Something worth a log line."""
        ...


class Rim:
    """Feeds the engine and performs what it asks for."""

    def __init__(
        self,
        engine: Engine,
        journal: Ledgerbook,
        clock: Clock,
        audience: Audience,
        venue: OrderDesk | None,
        watch: Callable[[tuple[str, ...], tuple[str, ...]], None],
        first_seq: int = 1,
    ) -> None:
        self.engine = engine
        self._journal = journal
        self._clock = clock
        self._audience = audience
        self._venue = venue
        self._watch = watch
        self._seq = first_seq
        self._inbox: deque[Event | ScanTaken] = deque()
        self._wakeup = asyncio.Event()
        self._asked: dict[int, asyncio.Future[tuple[Action, ...]]] = {}
        self._leverage: dict[str, SetLeverage] = {}
        self._jobs: dict[asyncio.Task[None], None] = {}
        self._tasks: asyncio.TaskGroup | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._stopping = False
        self.stop_reason = ""
        self.tape_position: Callable[[], int] = lambda: 0
        self.read_rules: Callable[[], None] = lambda: None
        """Reads the contracts' rules anew; `InstrumentsListed` is posted when they are there."""
        self.on_event: list[Callable[[int, int, Event | ScanTaken], None]] = []
        """Listeners of everything that is journaled: (seq, now_ms, event), after the engine."""
        self.lag_ms_max = 0.0
        self.handled: Counter[str] = Counter()

    @property
    def seq(self) -> int:
        """The next sequence number."""
        return self._seq

    @property
    def is_open(self) -> bool:
        """It runs and takes events."""
        return self._tasks is not None and not self._stopping

    async def durable(self) -> None:
        """Return once every money record so far is on disk."""
        await self._journal.durable(self._seq - 1)

    async def ask(self, event: Event) -> tuple[Action, ...]:
        """Queue an event like any other; what it brought, once every record of it is durable.

        What goes wrong in its turn ends the engine, as ever. Raises UserFault to the asker then, or
        where the disk refuses.
        """
        if not self.is_open:
            raise UserFault("the engine is starting or ending: ask again in a moment")
        future: asyncio.Future[tuple[Action, ...]] = asyncio.get_running_loop().create_future()
        self._asked[id(event)] = future
        try:
            self.post(event)
            actions = await future
            await self.durable()
        except EdgeFault as fault:
            raise UserFault(f"it may not outlive a restart: {fault}") from fault
        finally:
            self._asked.pop(id(event), None)
        return actions

    def post(self, event: Event | ScanTaken) -> None:
        """Queue an event for the engine. A full inbox is a contract fault, never a drop."""
        if len(self._inbox) >= INBOX_LIMIT:
            raise ContractFault(f"engine inbox past its limit of {INBOX_LIMIT} events")
        self._inbox.append(event)
        self._wakeup.set()

    async def run(self) -> None:
        """Handle events until told to stop; requests under way then get `STOP_GRACE_S` to end.

        A request cut off by the grace is what a crash leaves too: start-up reconciles it.
        """
        try:
            async with asyncio.TaskGroup() as tasks:
                self._tasks = tasks
                while not self._stopping:
                    self._drain()
                    await self._wakeup.wait()
                await self._finish_jobs()
        finally:
            self._tasks = None
            for future in self._asked.values():
                if not future.done():
                    future.set_exception(UserFault("the engine ended before it came to that"))

    async def _finish_jobs(self) -> None:
        deadline_s = asyncio.get_running_loop().time() + STOP_GRACE_S
        while self._jobs:
            left_s = deadline_s - asyncio.get_running_loop().time()
            if left_s <= 0:
                break
            await asyncio.wait(list(self._jobs), timeout=left_s)
            self._drain()
        for job in self._jobs:
            job.cancel()
        self._drain()

    def _drain(self) -> None:
        while self._inbox:
            event = self._inbox.popleft()
            actions = self.handle(event)
            future = self._asked.get(id(event))
            if future is not None and not future.done():
                future.set_result(actions)
        self._wakeup.clear()

    def stop(self, reason: str) -> None:
        """End `run` once what is queued has been handled."""
        self.stop_reason = self.stop_reason or reason
        self._stopping = True
        self._wakeup.set()
        if self._timer is not None:
            self._timer.cancel()

    def handle(self, event: Event | ScanTaken) -> tuple[Action, ...]:
        """Journal one event, decide, journal the digest, perform. Synchronous: the single writer."""
        started_ns = self._clock.mono_ns()
        now_ms = self._clock.now_ms()
        seq = self._take_seq()
        self._journal.append(seq, now_ms, event, self.tape_position())
        self.handled[type(event).__name__] += 1
        actions = self.engine.step(now_ms, event)
        self._tell(seq, now_ms, event)
        digest = self.engine.digest_of(now_ms, actions)
        if digest is not None:
            self._journal.write_digest(seq, digest)
        self._perform(now_ms, actions)
        self._arm_timer()
        self.lag_ms_max = max(self.lag_ms_max, (self._clock.mono_ns() - started_ns) / 1e6)
        return actions

    def _tell(self, seq: int, now_ms: int, event: Event | ScanTaken) -> None:
        for hear in self.on_event:
            hear(seq, now_ms, event)

    def _take_seq(self) -> int:
        seq = self._seq
        self._seq += 1
        return seq

    def _arm_timer(self) -> None:
        due_ms = self.engine.timers.next_ms()
        loop, timer, self._timer = asyncio.get_running_loop(), self._timer, None
        if due_ms is not None and not self._stopping:
            when_s = loop.time() + max(due_ms - self._clock.now_ms(), 0) / 1000
            if timer is not None and abs(timer.when() - when_s) < TIMER_SLACK_S:
                self._timer = timer  # it stands right, also by a clock that was stepped
                return
            self._timer = loop.call_at(when_s, self._fire)
        if timer is not None:
            timer.cancel()

    def _fire(self) -> None:
        self._timer = None
        for name in self.engine.timers.take_due(self._clock.now_ms()):
            self.post(TimerFired(name))
        if self._timer is None:
            self._arm_timer()

    # ---- actions ------------------------------------------------------------------------
    def _perform(self, now_ms: int, actions: tuple[Action, ...]) -> None:
        for action in actions:
            if isinstance(action, Record):
                seq = self._take_seq()
                self._journal.append(seq, now_ms, action.event, self.tape_position())
                self._tell(seq, now_ms, action.event)
            elif isinstance(action, Note):
                self._audience.on_note(now_ms, action)
            else:
                self._do(action)

    def _do(self, action: Action) -> None:
        match action:
            case SubmitOrder(intent=intent):
                self._spawn(self._submit(intent))
            case CancelOrder(client_id=client_id, symbol=symbol, is_algo=is_algo):
                self._spawn(self._ask(lambda v: v.cancel(client_id, symbol, is_algo)))
            case SetCountdown(symbol=symbol, countdown_ms=countdown_ms):
                self._spawn(self._ask(lambda v: v.count_down(symbol, countdown_ms)))
            case LookUpOrder(client_id=client_id, symbol=symbol, is_algo=is_algo):
                self._spawn(self._ask(lambda v: v.look_up(client_id, symbol, is_algo)))
            case TakeSnapshot(purpose=purpose, symbols=symbols, trades_since_ms=since_ms):
                self._spawn(self._ask(lambda v: v.snapshot(purpose, symbols, since_ms)))
            case SetLeverage():
                self._leverage[action.symbol] = action  # set just before the entry leaves
            case ReadRules():
                self.read_rules()
            case WatchSymbols(symbols=symbols, priced=priced):
                self._watch(symbols, priced)
            case PublishDecision():
                self._audience.on_decision(action)
            case ScanDecided():
                self._audience.on_scan(action)
            case RecordOutcome():
                self._audience.on_outcome(action)
            case WriteReport():
                self._audience.on_report(action)
            case StopProcess(reason=reason):
                self.stop(reason)
            case WakeAt() | Record() | Note():
                pass  # the engine's timers took the wake-up; the others are performed above

    def _spawn(self, job: Coroutine[Any, Any, None]) -> None:
        if self._tasks is None:
            job.close()
            raise ContractFault("an action was decided before the rim ran")
        task = self._tasks.create_task(job)
        self._jobs[task] = None  # a dict keeps the order of tasks; a set's order is by address
        task.add_done_callback(self._jobs.pop)

    async def _submit(self, intent: OrderIntent) -> None:
        venue = self._need_venue()
        leverage = self._leverage.pop(intent.symbol, None) if intent.leg is Leg.ENTRY else None
        if leverage is not None:
            began_ms = self._clock.now_ms()
            try:
                await venue.prepare_symbol(leverage.symbol, leverage.leverage, leverage.margin_type)
            except Fault as fault:
                self.post(_not_sent(intent, f"leverage could not be set: {fault}"))
                return
            if self._clock.now_ms() - began_ms > PREPARE_MS_MAX:
                self.post(_not_sent(intent, "setting leverage took too long for the entry's price"))
                return
        fence_ms = venue.recv_window_ms + venue.order_wait_ms_max
        self.handle(OrderSent(intent.client_id, intent.symbol, self._clock.now_ms(), fence_ms))
        await self._journal.durable(self._seq - 1)
        self.post(await venue.place(intent))

    async def _ask(self, question: Callable[[OrderDesk], Awaitable[Event]]) -> None:
        await self._journal.durable(self._seq - 1)
        self.post(await question(self._need_venue()))

    def _need_venue(self) -> OrderDesk:
        if self._venue is None:
            raise ContractFault("an order action without an account")
        return self._venue


def _not_sent(intent: OrderIntent, reason: str) -> OrderReplied:
    return OrderReplied(intent.client_id, intent.symbol, SendOutcome.NOT_SENT, message=reason)
