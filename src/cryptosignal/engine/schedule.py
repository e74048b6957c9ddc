"""Slots: what is due at fixed times of the UTC grid, remembered over restarts, caught up after downtime.

A slot is a time such as 00:00 UTC of a day. What was done is folded from the money journal; what
fell due while no process ran is owed, and done as soon as one runs, each slot once.
"""

from __future__ import annotations

import msgspec

from cryptosignal.ground.units import DAY_MS, MINUTE_MS

SLOT_DONE = "slot.done"
"""Kind of the fact that a slot was done (key: its duty, body: its time, exchange ms)."""


class Duty(msgspec.Struct, frozen=True, gc=False):
    """What recurs every `every_ms` at `offset_ms` of the grid; of what was missed, the newest
    `owed_max` slots are caught up."""

    name: str
    every_ms: int
    offset_ms: int = 0
    owed_max: int = 1

    def slot_before(self, now_ms: int) -> int:
        """The newest slot that is not later than `now_ms`."""
        return (now_ms - self.offset_ms) // self.every_ms * self.every_ms + self.offset_ms


REPORT = Duty("engine.report", DAY_MS, 0, owed_max=31)
"""The report of the day that has ended: one for each day."""
LEARNING = Duty("engine.learning", DAY_MS, 10 * MINUTE_MS)
"""A look at what there is to learn from, when the day's report is written."""
DUTIES = (REPORT, LEARNING)


class Schedule:
    """Duties and what was last done of each."""

    def __init__(self, duties: tuple[Duty, ...] = DUTIES) -> None:
        self.duties = {duty.name: duty for duty in duties}
        self._done: dict[str, int] = {}

    def fold(self, name: str, slot_ms: int) -> None:
        """The slot of `name` at `slot_ms` was done, in this run or a former one."""
        self._done[name] = max(slot_ms, self._done.get(name, slot_ms))

    def unknown(self) -> list[Duty]:
        """Duties that no run has ever begun: nothing is owed of the time before."""
        return [duty for name, duty in self.duties.items() if name not in self._done]

    def next_ms(self, name: str) -> int:
        """When the duty is due next, in the past if something is owed."""
        return self._done[name] + self.duties[name].every_ms

    def owed(self, name: str, now_ms: int) -> list[int]:
        """Slots that are due and not done, oldest first."""
        duty = self.duties[name]
        slots = range(self.next_ms(name), now_ms + 1, duty.every_ms)
        return list(slots[-duty.owed_max :])
