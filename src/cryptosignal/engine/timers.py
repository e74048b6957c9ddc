"""Due times of the engine's own clock, by name: wake-ups as data, not as tasks.

A timer set again moves; a timer that fired is gone until it is set again. Names due at the same
millisecond fire in name order, so that one journal gives one order.
"""

from __future__ import annotations


class Timers:
    """Named due times in exchange milliseconds."""

    def __init__(self) -> None:
        self._due: dict[str, int] = {}

    def set(self, name: str, at_ms: int) -> None:
        """Let `name` fire at `at_ms` (replaces a former time)."""
        self._due[name] = at_ms

    def cancel(self, name: str) -> None:
        """Forget `name`."""
        self._due.pop(name, None)

    def next_ms(self) -> int | None:
        """The earliest due time, None without timers."""
        return min(self._due.values(), default=None)

    def take_due(self, now_ms: int) -> list[str]:
        """Names due at `now_ms`, earliest first, removed."""
        due = sorted((at_ms, name) for name, at_ms in self._due.items() if at_ms <= now_ms)
        for _, name in due:
            del self._due[name]
        return [name for _, name in due]

    def pending(self) -> dict[str, int]:
        """All timers by name, for snapshots."""
        return dict(sorted(self._due.items()))
