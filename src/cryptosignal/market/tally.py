"""What the caches saw of each symbol since it was last asked: the raw material of DataQual.

Counters are plain lists while frames come in and arrays when taken. Lateness is measured against a
baseline, so that a recorder's clock that runs behind (or ahead of) the venue's shows no drift.
"""

from __future__ import annotations

from collections import deque
from typing import Final, NamedTuple

import numpy as np

from cryptosignal.market.views import Floats

_BASELINE_STEP_MS: Final = 5_000
_BASELINE_STEPS: Final = 120

FIELDS: Final = (
    "events",
    "disordered",
    "late",
    "bars_due",
    "bars_missed",
    "checks",
    "silent",
    "ids",
    "ids_missed",
    "compared",
    "mismatched",
)


class Tally(NamedTuple):
    """Counts a symbol [slot] since the last taking.

    `events` frames, `disordered` frames older than one before by more than the reorder window,
    `late` frames, `bars_due`/`bars_missed` bars whose grace ended and those not there, `checks`/
    `silent` heartbeat checks of streams, `ids`/`ids_missed` trade ids, `compared`/`mismatched`
    reconciliations.
    """

    events: Floats
    disordered: Floats
    late: Floats
    bars_due: Floats
    bars_missed: Floats
    checks: Floats
    silent: Floats
    ids: Floats
    ids_missed: Floats
    compared: Floats
    mismatched: Floats


class Counters:
    """The counters behind a `Tally`, one list a field."""

    def __init__(self, slots: int) -> None:
        self.counts: dict[str, list[float]] = {name: [0.0] * slots for name in FIELDS}

    def grow(self, slots: int) -> None:
        """Make room for `slots` symbols."""
        for counts in self.counts.values():
            counts += [0.0] * (slots - len(counts))

    def take(self) -> Tally:
        """Everything since the last call; the counters start at zero again."""
        taken = Tally(*np.array([self.counts[name] for name in FIELDS]))
        for counts in self.counts.values():
            counts[:] = [0.0] * len(counts)
        return taken


class LagBaseline:
    """The smallest plausible (receipt − event) of the last ten minutes, ms.

    It is the second smallest of the minima of 5 s steps: one frame with a wild event time cannot
    move it, and a queue that grows for minutes cannot hide in it.
    """

    def __init__(self) -> None:
        self._minima: deque[int] = deque(maxlen=_BASELINE_STEPS)
        self._step = 0
        self._low: int | None = None
        self.value_ms = 0

    def observe(self, now_ms: int, lag_ms: int) -> None:
        """The smallest lag of one batch."""
        step = now_ms // _BASELINE_STEP_MS
        if step != self._step:
            if self._low is not None:
                self._minima.append(self._low)
            self._step, self._low = step, None
            if self._minima:
                self._settle()
        if self._low is None or lag_ms < self._low:
            self._low = lag_ms
            self._settle()

    def _settle(self) -> None:
        known = sorted([*self._minima, *([] if self._low is None else [self._low])])
        self.value_ms = known[1] if len(known) > 1 else known[0]

    def reset(self) -> None:
        """The local clock was stepped: what was learned is void."""
        self._minima.clear()
        self._low = None
        self.value_ms = 0
