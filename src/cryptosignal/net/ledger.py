"""The weight ledger of one venue host: who may call now, in what order, across processes (DESIGN D8).

The accounting is `binance.budget`, pure. Here are the waiting (right of way by lane, then by arrival)
and the sharing: with a `shared_path` every decision is taken on a state file under an OS lock, so
that all processes of a host stay within the venue's limits together.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import msgspec

from cryptosignal.binance.budget import Budget, Lane, Shares, State
from cryptosignal.binance.limits import Cost, Limits, Pool
from cryptosignal.ground.clock import Clock
from cryptosignal.ground.faults import ContractFault, RateLimited
from cryptosignal.net.settings import LedgerSettings

WEIGHT_HEADER: Final = "x-mbx-used-weight-1m"
_POLL_MS_MAX: Final = 1000
"""A waiter looks again at least this often: another process may have learnt something."""


_CLOCK_STEP_MS: Final = 1_000
"""A clock that moves by so much against the one that nobody sets was set."""


class LedgerView(msgspec.Struct, frozen=True):
    """The ledger at one moment, for pages and metrics."""

    host: str
    used: dict[str, int]
    limits: dict[str, int]
    spent_by_lane: dict[str, int]
    waiting_by_lane: dict[str, int]
    waited_ms_max_by_lane: dict[str, int]
    banned_until_ms: int
    punished: int


class _Waiter(msgspec.Struct, gc=False, eq=False):
    lane: Lane
    number: int
    cost: Cost
    future: asyncio.Future[range]


class WeightLedger:
    """Asks before every call: `await acquire(lane, cost)`; learns from every answer: `observe`."""

    def __init__(
        self,
        limits: Limits,
        clock: Clock,
        *,
        host: str = "venue",
        settings: LedgerSettings | None = None,
        shared_path: Path | None = None,
    ) -> None:
        self._settings = settings or LedgerSettings()
        self._clock = clock
        self._host = host
        self._budget = Budget(limits, _shares(self._settings), self._settings.guard_ms)
        """The clock counts as wrong by the whole guard until it is measured."""
        self._file = _SharedState(shared_path, host) if shared_path else None
        self._waiters: list[_Waiter] = []
        self._timer: asyncio.TimerHandle | None = None
        self._arrivals = 0
        self._spent: Counter[str] = Counter()
        self._waited_ms_max: Counter[str] = Counter()
        self._ban = (0, 0)
        """What we were told last: until when, and when that is by the clock that nobody sets."""
        self.punished = 0
        """How often the venue answered 429 or 418: 0 by design."""

    @property
    def limits(self) -> Limits:
        """The limits in force."""
        return self._budget.limits

    @property
    def ban_default_ms(self) -> int:
        """How long to be silent after a 429 that does not say."""
        return self._settings.ban_default_ms

    def set_limits(self, limits: Limits) -> None:
        """Take the limits that exchangeInfo states."""
        self._budget.limits = limits

    def set_flat(self, is_flat: bool) -> None:
        """Tell whether nothing of ours is at risk: warm-up may then use more (D8), unless another
        process of the host has something open."""
        if is_flat != self._budget.is_flat:
            self._budget.is_flat = is_flat
            self._pump()

    def set_at_risk(self, is_at_risk: bool) -> None:
        """Tell whether something of ours is open: other processes' warm-ups then keep to the usual
        share, as long as we go on calling."""
        self._budget.is_at_risk = is_at_risk

    def trust_clock(self, error_ms: int) -> None:
        """The clock was measured and is wrong by so much at most."""
        error_ms += self._settings.clock_guard_ms
        self._budget.clock_ms = min(error_ms, self._settings.guard_ms)

    async def acquire(
        self, lane: Lane, cost: Cost | int = 1, max_wait_ms: int | None = None
    ) -> range:
        """Return when the call may leave at once; its cost is charged then, to the minutes answered.

        Raises RateLimited, charging nothing, when that is further away than `max_wait_ms`.
        """
        wanted = Cost(weight=cost) if isinstance(cost, int) else cost
        started_ms = self._clock.now_ms()
        if not self._must_queue(lane, wanted):
            when_ms, charged = self._spend(lane, wanted)
            if not when_ms:
                return charged
            if max_wait_ms is not None and when_ms - started_ms > max_wait_ms:
                raise RateLimited(429, when_ms, "held back by our own ledger")
        charged = await self._wait(lane, wanted, max_wait_ms)
        waited_ms = self._clock.now_ms() - started_ms
        self._waited_ms_max[lane.name] = max(self._waited_ms_max[lane.name], waited_ms)
        return charged

    def forecast(self, lane: Lane, cost: Cost) -> int:
        """When `cost` could leave as things stand (exchange ms): asked before a burst is started."""
        with self._state():
            return self._budget.when(self._clock.now_ms(), lane, cost)

    def observe(
        self,
        headers: Mapping[str, str],
        sent_ms: int,
        charged: range = range(0),
        cost: Cost | None = None,
    ) -> None:
        """Learn from an answer to a request that left at `sent_ms` and was charged to `charged`: when
        it had arrived at the latest, and the venue's own count."""
        text = headers.get(WEIGHT_HEADER, "")
        is_doubtful = len(charged) > 1 and cost is not None
        is_news = text.isdigit() and int(text) > self._budget.used(
            self._clock.now_ms(), Pool.WEIGHT
        )
        if not is_doubtful and not is_news:
            return  # nearly always: the file of all processes is left alone
        is_freed = False
        with self._state():
            now_ms = self._clock.now_ms()
            if is_doubtful and cost is not None:
                is_freed = self._budget.prove(now_ms, charged, cost.weight)
            if text.isdigit():
                self._budget.observe_weight(now_ms, sent_ms, int(text))
        if is_freed and self._waiters:
            self._pump()

    def punish(self, fault: RateLimited) -> None:
        """Obey a 429 or 418: nothing leaves, in any lane, before `fault.until_ms`."""
        self.punished += 1
        left_ms = max(0, fault.until_ms - self._clock.now_ms())
        with self._state():
            self._budget.ban(fault.until_ms)
        self._ban = fault.until_ms, self._clock.mono_ns() + left_ms * 1_000_000
        self._pump()

    def snapshot(self) -> LedgerView:
        """Figures for people and metrics."""
        now_ms = self._clock.now_ms()
        waiting: Counter[str] = Counter(waiter.lane.name for waiter in self._waiters)
        with self._state():
            return LedgerView(
                host=self._host,
                used={pool.value: self._budget.used(now_ms, pool) for pool in Pool},
                limits={pool.value: self._budget.limits.of(pool) for pool in Pool},
                spent_by_lane=dict(self._spent),
                waiting_by_lane=dict(waiting),
                waited_ms_max_by_lane=dict(self._waited_ms_max),
                banned_until_ms=self._budget.state.banned_until_ms,
                punished=self.punished,
            )

    # ---- waiting --------------------------------------------------------------------------------
    def _must_queue(self, lane: Lane, cost: Cost) -> bool:
        """True if somebody with at least our right of way already waits for one of our pools."""
        pools = {pool for pool, _ in cost.parts()}
        return any(
            waiter.lane <= lane and not pools.isdisjoint(pool for pool, _ in waiter.cost.parts())
            for waiter in self._waiters
        )

    async def _wait(self, lane: Lane, cost: Cost, max_wait_ms: int | None) -> range:
        if len(self._waiters) >= self._settings.waiters_max:
            raise ContractFault(f"more than {self._settings.waiters_max} calls wait for weight")
        self._arrivals += 1
        future: asyncio.Future[range] = asyncio.get_running_loop().create_future()
        waiter = _Waiter(lane, self._arrivals, cost, future)
        self._waiters.append(waiter)
        self._waiters.sort(key=lambda w: (w.lane, w.number))
        self._pump()
        try:
            async with asyncio.timeout(None if max_wait_ms is None else max_wait_ms / 1000.0):
                return await future
        except TimeoutError:
            until_ms = self.forecast(lane, cost)
            raise RateLimited(429, until_ms, "held back by our own ledger") from None
        finally:
            if waiter in self._waiters:
                self._waiters.remove(waiter)

    def _pump(self) -> None:
        """Let go whoever may leave, in order; a pool that blocks one blocks all behind it."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        blocked: set[Pool] = set()
        wake_ms = 0
        for waiter in tuple(self._waiters):
            pools = {pool for pool, _ in waiter.cost.parts()}
            if waiter.future.done() or not pools.isdisjoint(blocked):
                continue
            when_ms, charged = self._spend(waiter.lane, waiter.cost)
            if when_ms:
                blocked |= pools
                wake_ms = min(wake_ms, when_ms) if wake_ms else when_ms
            else:
                self._waiters.remove(waiter)
                waiter.future.set_result(charged)
        if wake_ms:
            delay_ms = min(max(wake_ms - self._clock.now_ms(), 1), _POLL_MS_MAX)
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(delay_ms / 1000.0, self._pump)

    def _spend(self, lane: Lane, cost: Cost) -> tuple[int, range]:
        """(0, the minutes charged), or when to ask again and nothing charged."""
        with self._state():
            now_ms = self._clock.now_ms()
            self._mind_clock(now_ms)
            when_ms = self._budget.spend(now_ms, lane, cost)
        if when_ms:
            return when_ms, range(0)
        self._spent[lane.name] += cost.weight
        return 0, self._budget.minutes(now_ms)

    def _mind_clock(self, now_ms: int) -> None:
        """Our clock may be set while we are silent: a silence that we were told of ends when its own
        time is over, neither an hour later nor at once."""
        until_ms, end_ns = self._ban
        state = self._budget.state
        if not until_ms or state.banned_until_ms != until_ms:
            return
        moved_ms = now_ms + max(0, end_ns - self._clock.mono_ns()) // 1_000_000
        if abs(moved_ms - until_ms) > _CLOCK_STEP_MS:
            state.banned_until_ms = moved_ms
            self._ban = moved_ms, end_ns

    @contextlib.contextmanager
    def _state(self) -> Iterator[None]:
        """The state of all processes for the length of a block; nothing to do when it is only ours."""
        if self._file is None:
            yield
            return
        with self._file.locked(self._budget.state) as state:
            self._budget.state = state
            yield


class _SharedState:
    """One small JSON file a host, read and written under `flock`; held for microseconds."""

    def __init__(self, path: Path, host: str) -> None:
        path.mkdir(parents=True, exist_ok=True)
        safe = "".join(letter if letter.isalnum() else "_" for letter in host)
        self._name = path / f"ledger-{safe}.json"
        self._decoder = msgspec.json.Decoder(State)
        self._encoder = msgspec.json.Encoder()

    @contextlib.contextmanager
    def locked(self, ours: State) -> Iterator[State]:
        """The shared state, nobody else's for the length of a block; written if the block changed it."""
        handle = os.open(self._name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            known = os.pread(handle, os.fstat(handle).st_size, 0)
            state = self._decoded(known, ours)
            yield state
            data = self._encoder.encode(state)
            if data != known:
                os.pwrite(handle, data, 0)
                os.ftruncate(handle, len(data))
        finally:
            os.close(handle)

    def _decoded(self, known: bytes, ours: State) -> State:
        if not known:
            return ours
        try:
            return self._decoder.decode(known)
        except msgspec.DecodeError:
            return ours  # torn by a kill in mid-write: what we know ourselves still holds


def _shares(settings: LedgerSettings) -> Shares:
    return Shares(
        orders=settings.urgent_frac,
        reconcile=settings.used_frac,
        repair=settings.data_frac,
        warm_up=settings.data_frac,
        research=settings.research_frac,
        flat_warm_up=settings.warm_up_frac,
    )
