"""Event loops with a time of their own: scaled (`SPEED=60`) and virtual (simulation).

Both are the standard selector loop; only `time()` and the selector's timeout differ (DESIGN D11).
`VirtualLoop` also knows processes: a task started under `process(pid)` belongs to that pid, and
`kill(pid)` drops its handles without running a single `finally`, as SIGKILL does.
"""

from __future__ import annotations

import asyncio
import contextvars
import heapq
import selectors
import time
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, TypeVar

T = TypeVar("T")

PROCESS: contextvars.ContextVar[int] = contextvars.ContextVar("process", default=0)
"""The simulated process that a task belongs to; 0 is the world outside (the venue, the network)."""


class ScaledLoop(asyncio.SelectorEventLoop):
    """A real loop whose clock runs `speed` times as fast from one epoch that processes share.

    `epoch_mono_ns` is the host's monotonic time at which loop time is 0 (the venue announces it).
    """

    def __init__(self, speed: float, epoch_mono_ns: int) -> None:
        if speed <= 0:
            raise ValueError(f"speed must be positive, got {speed}")
        self.speed = speed
        self._epoch_mono_ns = epoch_mono_ns
        super().__init__(_ScaledSelector(speed))

    def time(self) -> float:
        """Venue seconds since the shared epoch."""
        return (time.monotonic_ns() - self._epoch_mono_ns) * 1e-9 * self.speed


class _ScaledSelector(selectors.DefaultSelector):
    """Waits the wall-clock share of a scaled timeout."""

    def __init__(self, speed: float) -> None:
        super().__init__()
        self._speed = speed

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        return super().select(None if timeout is None else timeout / self._speed)


class _Handle(asyncio.Handle):
    """A call to come, made a hundred thousand times a simulated day: no debug records."""

    __slots__ = ()

    def __init__(
        self,
        callback: Callable[..., object],
        args: tuple[Any, ...],
        loop: asyncio.AbstractEventLoop,
        context: contextvars.Context | None,
    ) -> None:
        own: Any = self
        own._context = contextvars.copy_context() if context is None else context
        own._loop, own._callback, own._args = loop, callback, args
        own._cancelled, own._repr, own._source_traceback = False, None, None

    def cancel(self) -> None:
        own: Any = self
        own._cancelled, own._callback, own._args = True, None, None


class _Timer(asyncio.TimerHandle):
    """The same at a time. Cancelling is a mark; the heap drops the timer when its time comes."""

    __slots__ = ()

    def __init__(
        self,
        when: float,
        callback: Callable[..., object],
        args: tuple[Any, ...],
        loop: asyncio.AbstractEventLoop,
        context: contextvars.Context | None,
    ) -> None:
        own: Any = self
        own._context = contextvars.copy_context() if context is None else context
        own._loop, own._callback, own._args = loop, callback, args
        own._cancelled, own._repr, own._source_traceback = False, None, None
        own._when, own._scheduled = when, False

    def cancel(self) -> None:
        own: Any = self
        own._cancelled, own._callback, own._args = True, None, None


STILL_STEPS_MAX = 50_000


class TimeStandsStill(RuntimeError):
    """Work makes work at one moment of virtual time, for ever: the program turns in circles."""


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop that jumps to the next timer whenever nothing is ready: no socket, no wall clock.

    One seed gives one order of events: timers by time, those of one time as they were set. A loop with
    nothing ready and nothing scheduled is a deadlock of the program and raises. The heap and the round
    are its own: a simulated day turns it a hundred thousand times.
    """

    def __init__(self) -> None:
        super().__init__(_NoSelector())
        self._now = 0.0
        self._timers: list[tuple[float, int, _Timer]] = []
        self._set = 0
        self._dead: set[int] = set()
        self._grave: list[Any] = []
        self._still_s, self._still_steps = -1.0, 0
        self._paused = 0
        self._held_back: list[Any] = []
        self.steps = 0

    def time(self) -> float:
        """Virtual seconds since the loop's start."""
        return self._now

    def start_process(
        self, pid: int, main: Callable[[], Coroutine[Any, Any, T]]
    ) -> asyncio.Task[T]:
        """Run `main()` as the simulated process `pid`; all it spawns belongs to that pid."""
        context = contextvars.copy_context()
        context.run(PROCESS.set, pid)
        coro = context.run(main)
        task = self.create_task(coro, context=context)
        self._grave.append(task)  # keeps it alive after a kill: no __del__, no finally
        return task

    def kill(self, pid: int) -> None:
        """SIGKILL: nothing of `pid` ever runs again, not even a `finally`.

        Its handles are kept, so that nothing of it is finalised either: timers from now on, what is
        ready when its turn comes.
        """
        self._dead.add(pid)
        if self._paused == pid:
            self._grave += self._held_back
            self._held_back, self._paused = [], 0
        self._grave += [item[2] for item in self._timers if self._is_dead(item[2])]
        self._timers = [item for item in self._timers if not self._is_dead(item[2])]
        heapq.heapify(self._timers)

    def pause(self, pid: int) -> None:
        """The host stops `pid` (a paused machine): nothing of it runs until `resume`.

        What is due or delivered meanwhile waits. One process at a time.
        """
        self._paused = pid

    def resume(self) -> None:
        """The paused process goes on with what came due meanwhile, in its order."""
        self._paused = 0
        ready: Any = self._ready  # type: ignore[attr-defined]
        ready.extend(self._held_back)
        self._held_back = []

    def call_later(  # type: ignore[override]  # typeshed ties the arguments' types together
        self,
        delay: float,
        callback: Callable[..., object],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        """As the standard loop's."""
        when = self._now + delay
        timer = _Timer(when, callback, args, self, context)
        self._set += 1
        heapq.heappush(self._timers, (when, self._set, timer))
        return timer

    def call_at(  # type: ignore[override]
        self,
        when: float,
        callback: Callable[..., object],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        """As the standard loop's."""
        timer = _Timer(when, callback, args, self, context)
        self._set += 1
        heapq.heappush(self._timers, (when, self._set, timer))
        return timer

    def call_soon(  # type: ignore[override]
        self,
        callback: Callable[..., object],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> asyncio.Handle:
        """As the standard loop's."""
        handle = _Handle(callback, args, self, context)
        self._ready.append(handle)  # type: ignore[attr-defined]
        return handle

    def _is_dead(self, handle: Any) -> bool:
        return handle._context.get(PROCESS, 0) in self._dead

    def discard_dead(self) -> None:
        """Forget what killed processes left behind, silently: for the end of a simulation.

        Their coroutines are closed only here, where nobody looks any more.
        """
        self._timers.clear()
        for task in asyncio.all_tasks(self):
            task._log_destroy_pending = False  # type: ignore[attr-defined]
            coro: Any = task.get_coro()
            _close_quietly(coro)
        self._grave.clear()

    def _is_kept_from(self, handle: Any) -> bool:
        """Whether the handle may not run now; it waits then, or lies with the dead."""
        pid = handle._context.get(PROCESS, 0)
        if pid in self._dead:
            self._grave.append(handle)
            return True
        if pid and pid == self._paused:
            self._held_back.append(handle)
            return True
        return False

    def _run_once(self) -> None:
        """One round: what is ready and what is due now; where neither is, time jumps."""
        self.steps += 1
        if self._now != self._still_s:
            self._still_s, self._still_steps = self._now, 0
        self._still_steps += 1
        if self._still_steps > STILL_STEPS_MAX:
            self._still_steps = 0
            raise TimeStandsStill(f"{STILL_STEPS_MAX} rounds at {self._now} s, and no end")
        ready: Any = self._ready  # type: ignore[attr-defined]
        if not ready and not self._stopping:  # type: ignore[attr-defined]
            self._now = max(self._now, self._next_due())
        end, timers = self._now + _RESOLUTION_S, self._timers
        while timers and timers[0][0] < end:
            ready.append(heapq.heappop(timers)[2])
        for _ in range(len(ready)):
            handle = ready.popleft()
            if handle._cancelled:
                continue
            if (self._dead or self._paused) and self._is_kept_from(handle):
                continue
            handle._run()

    def _next_due(self) -> float:
        timers = self._timers
        while timers and timers[0][2].cancelled():
            heapq.heappop(timers)
        if not timers:
            raise RuntimeError("virtual deadlock: nothing is ready and nothing is scheduled")
        return timers[0][0]


_RESOLUTION_S = 1e-7


def _close_quietly(coro: Any) -> None:
    """Close a dead process's coroutine; what its `finally` blocks raise concerns nobody."""
    try:
        coro.close()
    except BaseException as error:  # broad-ok: a dead process has nobody to raise to
        _ = error


class _NoSelector(selectors.BaseSelector):
    """A selector without files: the virtual loop never asks it."""

    def __init__(self) -> None:
        self._map: dict[Any, selectors.SelectorKey] = {}

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        key = selectors.SelectorKey(fileobj, 0, events, data)
        self._map[fileobj] = key
        return key

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._map.pop(fileobj)

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._map

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        return []
