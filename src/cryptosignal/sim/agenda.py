"""What the venue has to do and when: a heap of timed calls, first due first, ties in order of entry."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush

Job = Callable[[int, int], None]
"""(due_ms, argument)."""
NEVER = 1 << 62


class Agenda:
    """Timed calls under one clock that its owner moves."""

    def __init__(self, now_ms: int) -> None:
        self.now_ms = now_ms
        self._heap: list[tuple[int, int, Job, int]] = []
        self._entered = 0

    def at(self, due_ms: int, job: Job, argument: int = 0) -> None:
        """Call `job(due_ms, argument)` when time reaches `due_ms`."""
        self._entered += 1
        heappush(self._heap, (due_ms, self._entered, job, argument))

    def __len__(self) -> int:
        """How many calls wait."""
        return len(self._heap)

    def next_ms(self) -> int:
        """When the next call is due; far away when there is none."""
        return self._heap[0][0] if self._heap else NEVER

    def run_to(self, now_ms: int) -> None:
        """Make every call due until `now_ms`, each at its own time."""
        heap = self._heap
        while heap and heap[0][0] <= now_ms:
            due, _, job, argument = heappop(heap)
            if due > self.now_ms:
                self.now_ms = due
            job(self.now_ms, argument)
        if now_ms > self.now_ms:
            self.now_ms = now_ms
