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


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop that jumps to the next timer whenever nothing is ready: no socket, no wall clock.

    One seed gives one order of events. A loop with nothing ready and nothing scheduled is a
    deadlock of the program and raises.
    """

    def __init__(self) -> None:
        self._virtual = _VirtualSelector()
        super().__init__(self._virtual)
        self._clock_resolution = 1e-7
        self._dead: set[int] = set()
        self._grave: list[Any] = []
        self._paused = 0
        self._held_back: list[Any] = []
        self.steps = 0

    def time(self) -> float:
        """Virtual seconds since the loop's start."""
        return self._virtual.now

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
        """SIGKILL: nothing of `pid` ever runs again, not even a `finally`."""
        self._dead.add(pid)
        if self._paused == pid:
            self._grave += self._held_back
            self._held_back, self._paused = [], 0
        scheduled: Any = self._scheduled  # type: ignore[attr-defined]
        self._grave.extend(h for h in scheduled if self._is_dead(h._context))
        scheduled[:] = [h for h in scheduled if not self._is_dead(h._context)]
        heapq.heapify(scheduled)
        self._bury()

    def pause(self, pid: int) -> None:
        """The host stops `pid` (a paused machine): nothing of it runs until `resume`.

        What is due or delivered meanwhile waits. One process at a time.
        """
        self._paused = pid
        scheduled: Any = self._scheduled  # type: ignore[attr-defined]
        self._held_back += sorted(
            (h for h in scheduled if self._is_of(h, pid)), key=lambda h: h._when
        )
        scheduled[:] = [h for h in scheduled if not self._is_of(h, pid)]
        heapq.heapify(scheduled)

    def resume(self) -> None:
        """The paused process goes on; its overdue timers fire in their order."""
        pid, self._paused = self._paused, 0
        scheduled: Any = self._scheduled  # type: ignore[attr-defined]
        ready: Any = self._ready  # type: ignore[attr-defined]
        for handle in self._held_back:
            if handle._cancelled or pid in self._dead:
                continue
            if isinstance(handle, asyncio.TimerHandle):
                heapq.heappush(scheduled, handle)
            else:
                ready.append(handle)
        self._held_back = []

    @staticmethod
    def _is_of(handle: Any, pid: int) -> bool:
        return bool(handle._context.get(PROCESS, 0) == pid)

    def _hold_back(self) -> None:
        """Put aside what became ready for the paused process."""
        ready: Any = self._ready  # type: ignore[attr-defined]
        scheduled: Any = self._scheduled  # type: ignore[attr-defined]
        pid = self._paused
        if any(self._is_of(h, pid) for h in scheduled):
            self._held_back += [h for h in scheduled if self._is_of(h, pid)]
            scheduled[:] = [h for h in scheduled if not self._is_of(h, pid)]
            heapq.heapify(scheduled)
        waiting = [h for h in ready if self._is_of(h, pid)]
        if waiting:
            keep = [h for h in ready if not self._is_of(h, pid)]
            self._held_back += waiting
            ready.clear()
            ready.extend(keep)

    def call_at(  # type: ignore[override]  # typeshed ties the arguments' types together
        self,
        when: float,
        callback: Callable[..., object],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        """As the standard loop's; a timer of a dead process is never set."""
        handle = super().call_at(when, callback, *args, context=context)
        if self._dead and self._is_dead(handle._context):  # type: ignore[attr-defined]
            handle.cancel()
        return handle

    def _is_dead(self, context: contextvars.Context) -> bool:
        return context.get(PROCESS, 0) in self._dead

    def discard_dead(self) -> None:
        """Forget what killed processes left behind, silently: for the end of a simulation.

        Their coroutines are closed only here, where nobody looks any more.
        """
        scheduled: Any = self._scheduled  # type: ignore[attr-defined]
        scheduled.clear()
        for task in asyncio.all_tasks(self):
            task._log_destroy_pending = False  # type: ignore[attr-defined]
            coro: Any = task.get_coro()
            _close_quietly(coro)
        self._grave.clear()

    def _bury(self) -> None:
        """Nothing of a dead process that is ready will run.

        A blank takes each place: the loop has counted what is ready before a kill in its midst.
        """
        ready: Any = self._ready  # type: ignore[attr-defined]
        for place, handle in enumerate(ready):
            if self._is_dead(handle._context):
                self._grave.append(handle)
                ready[place] = asyncio.Handle(_nothing, (), self, contextvars.Context())

    def _run_once(self) -> None:
        if self._dead and self._ready:  # type: ignore[attr-defined]
            self._bury()
        if self._paused:
            self._hold_back()
        self.steps += 1
        super()._run_once()  # type: ignore[misc]


def _nothing() -> None:
    """In place of what a dead process would have run."""


def _close_quietly(coro: Any) -> None:
    """Close a dead process's coroutine; what its `finally` blocks raise concerns nobody."""
    try:
        coro.close()
    except BaseException as error:  # broad-ok: a dead process has nobody to raise to
        _ = error


class _VirtualSelector(selectors.BaseSelector):
    """A selector without files: waiting advances the virtual clock."""

    def __init__(self) -> None:
        self._map: dict[Any, selectors.SelectorKey] = {}
        self.now = 0.0

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        key = selectors.SelectorKey(fileobj, 0, events, data)
        self._map[fileobj] = key
        return key

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._map.pop(fileobj)

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._map

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise RuntimeError("virtual deadlock: nothing is ready and nothing is scheduled")
        if timeout > 0:
            self.now += timeout
        return []
