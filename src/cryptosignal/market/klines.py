"""Closed bars of one interval for all symbols: one sliding time axis, one array, in order (D3, D7).

What is visible is contiguous: a bar beyond a gap is held aside until the gap is filled, so a row
of `data` ends at the last bar before a hole, never after it (a series with a gap is not ready).
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cryptosignal.ground.units import INTERVAL_MS, open_of
from cryptosignal.market.views import (
    CLOSE,
    CLOSED_BY_TIME,
    CONFIRMED,
    FIELDS,
    HIGH,
    LOW,
    OPEN,
    QUOTE,
    TAKER_BASE,
    TAKER_QUOTE,
    TRADES,
    VOLUME,
    BarsView,
    Floats,
)

STREAM, NEXT_BAR, CLOCK, REST, LOCAL_SUM, DISK = range(6)
"""Codes of `BarsView.source`, in the order of `domain.market.BarSource`."""

Marks = NDArray[np.int8]
Row = tuple[float, float, float, float, float, float, float, float, float]
"""One bar in the field order of market/views.py."""

_FUTURE_BARS_MAX: Final = 3
_LIVE: Final = (STREAM, NEXT_BAR, CLOCK)
_SUM_DIGITS: Final = 8


class Closed(NamedTuple):
    """A bar that became final for the first time, in order."""

    slot: int
    open_ms: int
    row: Row
    finality: int
    source: int


class Corrected(NamedTuple):
    """A bar that was already given out and whose confirmation says something else."""

    slot: int
    open_ms: int
    before: Row
    after: Row
    source: int


class _Tables:
    """The columns of all symbols of one interval."""

    def __init__(self, slots: int, width: int) -> None:
        self.data: Floats = np.full((FIELDS, slots, width), np.nan)
        self.finality: Marks = np.zeros((slots, width), np.int8)
        self.source: Marks = np.full((slots, width), -1, np.int8)
        self.lag_ms: Floats = np.full((slots, width), np.nan)

    def grow(self, slots: int) -> None:
        """Make room for `slots` symbols in all."""
        known, width = self.finality.shape
        data, self.data = self.data, np.empty((FIELDS, slots, width))
        self.data[:, :known], self.data[:, known:] = data, np.nan
        more = slots - known
        self.finality = np.concatenate([self.finality, np.zeros((more, width), np.int8)])
        self.source = np.concatenate([self.source, np.full((more, width), -1, np.int8)])
        self.lag_ms = np.concatenate([self.lag_ms, np.full((more, width), np.nan)])


class Klines:
    """Bars of one interval: `data[field, slot, column]`, one column a bar, oldest first.

    Tables that grow before they hold a bar are made anew when they are next asked for: by then the
    symbols are known mostly, and copying for each that comes costs more than all its frames.
    """

    def __init__(self, interval: str, slots: int, bars: int, slack: int, held_max: int) -> None:
        self.interval = interval
        self.step_ms = INTERVAL_MS[interval]
        self.bars = bars
        self._slack = slack
        self._held_max = held_max
        self._width = bars + slack
        self.base_ms = 0
        self._made: _Tables | None = _Tables(slots, self._width)
        self.next_ms: list[int] = [0] * slots
        self.start_ms: list[int] = [0] * slots
        self.is_live: list[bool] = [False] * slots
        self.held: dict[int, dict[int, tuple[Row, int, int, int]]] = {}
        self.gaps: dict[int, int] = {}
        self.closed: list[Closed] = []
        self.corrected: list[Corrected] = []
        self.closed_count = 0
        self.gaps_found = 0
        self.gaps_repaired = 0

    # ---- the tables ---------------------------------------------------------------------------
    @property
    def _tables(self) -> _Tables:
        if self._made is None:
            self._made = _Tables(len(self.next_ms), self._width)
        return self._made

    @property
    def data(self) -> Floats:
        """Prices and volumes, shape (fields, slots, columns); NaN where there is no bar."""
        return self._tables.data

    @property
    def finality(self) -> Marks:
        """How each bar became known, shape (slots, columns); 0 where there is none."""
        return self._tables.finality

    @property
    def source(self) -> Marks:
        """Where each bar came from, shape (slots, columns); −1 where there is none."""
        return self._tables.source

    @property
    def lag_ms(self) -> Floats:
        """How late each bar was there, shape (slots, columns)."""
        return self._tables.lag_ms

    @property
    def nbytes(self) -> int:
        """Bytes of the tables; 0 before there are any."""
        made = self._made
        tables = () if made is None else (made.data, made.finality, made.source, made.lag_ms)
        return sum(table.nbytes for table in tables)

    # ---- the axis -----------------------------------------------------------------------------
    def grow(self, slots: int) -> None:
        """Make room for `slots` symbols."""
        more = slots - len(self.next_ms)
        if more <= 0:
            return
        if self._made is not None and self._made.finality.any():
            self._made.grow(slots)
        else:
            self._made = None
        self.next_ms += [0] * more
        self.start_ms += [0] * more
        self.is_live += [False] * more

    def due_open_ms(self, now_ms: int) -> int:
        """Open time of the newest bar whose close time has passed."""
        return open_of(now_ms, self.interval) - self.step_ms

    def reach(self, open_ms: int) -> None:
        """Slide the axis so that `open_ms` has a column."""
        if self.base_ms == 0:
            self.base_ms = open_ms - (self.bars - 1) * self.step_ms
            return
        column = (open_ms - self.base_ms) // self.step_ms
        if column < self._width:
            return
        shift = max(column - self._width + 1, self._slack)
        self.base_ms += shift * self.step_ms
        if self._made is None:
            return
        if shift >= self._width:
            self.data[:] = np.nan
            self.finality[:] = 0
            self.source[:] = -1
            self.lag_ms[:] = np.nan
            return
        keep = self._width - shift
        for field in self.data:
            field[:, :keep] = field[:, shift:].copy()
            field[:, keep:] = np.nan
        for array, empty in ((self.finality, 0), (self.source, -1)):
            array[:, :keep] = array[:, shift:].copy()
            array[:, keep:] = empty
        self.lag_ms[:, :keep] = self.lag_ms[:, shift:].copy()
        self.lag_ms[:, keep:] = np.nan

    def column(self, open_ms: int) -> int:
        """Column of the bar that opens at `open_ms`, -1 outside the window."""
        if self.base_ms == 0:
            return -1
        column = (open_ms - self.base_ms) // self.step_ms
        return column if 0 <= column < self._width else -1

    # ---- writing ------------------------------------------------------------------------------
    def close(
        self, slot: int, open_ms: int, row: Row, finality: int, source: int, now_ms: int
    ) -> bool:
        """A bar is final as far as `source` knows. False: refused (not finite, or absurdly early).

        Bars given out go to `closed`, changes of bars given out before to `corrected`.
        """
        if not is_sound(row) or open_ms > now_ms + _FUTURE_BARS_MAX * self.step_ms:
            return False
        following = self.next_ms[slot]
        if following and open_ms < following:
            self._confirm(slot, open_ms, row, finality, source, now_ms)
            return True
        if following and open_ms > following:
            self._hold(slot, open_ms, row, finality, source, now_ms)
            return True
        self._write(slot, open_ms, row, finality, source, now_ms)
        self.next_ms[slot] = open_ms + self.step_ms
        if not following:
            self.start_ms[slot] = open_ms
        if source in _LIVE:
            self.is_live[slot] = True
        self._give(slot, open_ms, row, finality, source)
        if slot in self.held:
            self._release(slot, now_ms)
        return True

    def _confirm(
        self, slot: int, open_ms: int, row: Row, finality: int, source: int, now_ms: int
    ) -> None:
        column = self.column(open_ms)
        if column < 0:
            return
        known = int(self.finality[slot, column])
        if finality < known or (known == CONFIRMED and source not in (REST, STREAM)):
            return
        if known == CONFIRMED and source == STREAM and self.source[slot, column] in (STREAM, REST):
            return
        before = self.row(slot, column)
        if known >= CLOSED_BY_TIME and before != row:
            self.corrected.append(Corrected(slot, open_ms, before, row, source))
        self.data[:, slot, column] = row
        self.finality[slot, column] = finality
        self.source[slot, column] = source

    def _hold(
        self, slot: int, open_ms: int, row: Row, finality: int, source: int, now_ms: int
    ) -> None:
        """Beyond a gap: kept aside until the bars between have come."""
        waiting = self.held.setdefault(slot, {})
        known = waiting.get(open_ms)
        if known is not None and known[1] > finality:
            return
        waiting[open_ms] = (row, finality, source, now_ms)
        if len(waiting) > self._held_max:
            waiting.pop(min(waiting))
        self.open_gap(slot)

    def open_gap(self, slot: int) -> None:
        """Bars from `next_ms` on are known to be missing."""
        if slot not in self.gaps:
            self.gaps[slot] = self.next_ms[slot]
            self.gaps_found += 1

    def _release(self, slot: int, now_ms: int) -> None:
        """Give out, in order, what waited behind a gap that is now filled."""
        waiting = self.held[slot]
        for open_ms in [known for known in waiting if known < self.next_ms[slot]]:
            row, finality, source, _ = waiting.pop(open_ms)
            self._confirm(slot, open_ms, row, finality, source, now_ms)
        while waiting and self.next_ms[slot] in waiting:
            open_ms = self.next_ms[slot]
            row, finality, source, seen_ms = waiting.pop(open_ms)
            self._write(slot, open_ms, row, finality, source, seen_ms)
            self.next_ms[slot] = open_ms + self.step_ms
            self._give(slot, open_ms, row, finality, source)
        if not waiting:
            del self.held[slot]
            if self.gaps.pop(slot, None) is not None:
                self.gaps_repaired += 1

    def settle(self, slot: int, now_ms: int) -> None:
        """After a repair: forget a gap that no held bar proves any more."""
        if slot in self.held:
            self._release(slot, now_ms)
        elif self.next_ms[slot] > self.due_open_ms(now_ms) and slot in self.gaps:
            del self.gaps[slot]
            self.gaps_repaired += 1

    def _write(
        self, slot: int, open_ms: int, row: Row, finality: int, source: int, now_ms: int
    ) -> None:
        self.reach(open_ms)
        column = self.column(open_ms)
        if column < 0:
            return
        self.data[:, slot, column] = row
        self.finality[slot, column] = finality
        self.source[slot, column] = source
        self.lag_ms[slot, column] = max(0, now_ms - open_ms - self.step_ms)

    def _give(self, slot: int, open_ms: int, row: Row, finality: int, source: int) -> None:
        self.closed_count += 1
        if self.is_live[slot]:
            self.closed.append(Closed(slot, open_ms, row, finality, source))

    def load(
        self, slot: int, opens: NDArray[np.int64], rows: Floats, source: int, now_ms: int
    ) -> int:
        """Closed bars from REST or disk, `rows[field, bar]`, ascending; answers bars taken.

        Rows older than what is there must touch it, or they are refused (a hole would show). Rows
        of a live series from `next_ms` on are given out one by one, in order. REST wins over what
        is there.
        """
        due = self.due_open_ms(now_ms)
        keep = (opens <= due) & np.isfinite(rows[: CLOSE + 1]).all(axis=0)
        opens, rows = opens[keep], rows[:, keep]
        if not len(opens):
            return 0
        self.reach(due)
        taken = 0
        breaks = np.flatnonzero(np.diff(opens) != self.step_ms) + 1
        for run_opens, run_rows in zip(
            np.split(opens, breaks), np.split(rows, breaks, axis=1), strict=True
        ):
            taken += self._load_run(slot, run_opens, run_rows, source, now_ms)
        self.settle(slot, now_ms)
        return taken

    def _load_run(
        self, slot: int, opens: NDArray[np.int64], rows: Floats, source: int, now_ms: int
    ) -> int:
        following = self.next_ms[slot]
        first, last = int(opens[0]), int(opens[-1])
        if not following:
            self._fill(slot, opens, rows, source)
            self.start_ms[slot] = max(first, self.base_ms)
            self.next_ms[slot] = last + self.step_ms
            return len(opens)
        past = opens < following
        taken = 0
        if past.any() and int(opens[past][-1]) + self.step_ms >= self.start_ms[slot]:
            self._fill(slot, opens[past], rows[:, past], source)
            self.start_ms[slot] = min(self.start_ms[slot], max(first, self.base_ms))
            taken += int(past.sum())
        ahead = ~past
        if not ahead.any():
            return taken
        if int(opens[ahead][0]) == following and not self.is_live[slot]:
            self._fill(slot, opens[ahead], rows[:, ahead], source)
            self.next_ms[slot] = last + self.step_ms
            return taken + int(ahead.sum())
        for open_ms, values in zip(opens[ahead].tolist(), rows[:, ahead].T.tolist(), strict=True):
            taken += self.close(slot, open_ms, tuple(values), CONFIRMED, source, now_ms)
        return taken

    def _fill(self, slot: int, opens: NDArray[np.int64], rows: Floats, source: int) -> None:
        columns = (opens - self.base_ms) // self.step_ms
        inside = (columns >= 0) & (columns < self._width)
        if source == DISK:
            inside[inside] &= self.finality[slot, columns[inside]] < CONFIRMED
        columns, rows, opens = columns[inside], rows[:, inside], opens[inside]
        if not len(columns):
            return
        if self.is_live[slot]:
            self._report_changes(slot, opens, columns, rows, source)
        self.data[:, slot, columns] = rows
        self.finality[slot, columns] = CONFIRMED
        self.source[slot, columns] = source

    def _report_changes(
        self,
        slot: int,
        opens: NDArray[np.int64],
        columns: NDArray[np.int64],
        rows: Floats,
        source: int,
    ) -> None:
        """Bars that were given out and that REST prints otherwise."""
        given = self.finality[slot, columns] >= CLOSED_BY_TIME
        before = self.data[:, slot, columns]
        differs = given & ((before != rows) & ~(np.isnan(before) & np.isnan(rows))).any(axis=0)
        for index in np.flatnonzero(differs).tolist():
            old: Row = tuple(before[:, index].tolist())
            new: Row = tuple(rows[:, index].tolist())
            self.corrected.append(Corrected(slot, int(opens[index]), old, new, source))

    # ---- reading ------------------------------------------------------------------------------
    def row(self, slot: int, column: int) -> Row:
        """The bar of a slot in a column, field order of market/views.py."""
        values: Row = tuple(self.data[:, slot, column].tolist())
        return values

    def is_ready(self, slot: int, now_ms: int) -> bool:
        """The newest due bar is there and nothing is missing before it."""
        return self.next_ms[slot] > self.due_open_ms(now_ms) and slot not in self.held

    def missing(
        self, slot: int, now_ms: int, bars: int, onboard_ms: int = 0
    ) -> list[tuple[int, int]]:
        """Ranges [first open, last open] that are due, wanted and not there, oldest first."""
        due = self.due_open_ms(now_ms)
        first = due - (bars - 1) * self.step_ms
        if onboard_ms > 0:
            first = max(first, open_of(onboard_ms, self.interval))
        if first > due:
            return []
        self.reach(due)
        low, high = self.column(first), self.column(due)
        present = self.finality[slot, max(low, 0) : high + 1] >= CLOSED_BY_TIME
        ranges: list[tuple[int, int]] = []
        held = self.held.get(slot, {})
        start = -1
        origin = max(first, self.base_ms)
        for index, there in enumerate([*present.tolist(), True]):
            open_ms = origin + index * self.step_ms
            if not there and open_ms not in held:
                if start < 0:
                    start = open_ms
            elif start >= 0:
                ranges.append((start, open_ms - self.step_ms))
                start = -1
        return ranges

    def view(self, now_ms: int, slots: int, capacity: int) -> BarsView | None:
        """The last `capacity` due bars of the first `slots` symbols, without copying."""
        if self.base_ms == 0:
            return None
        due = self.due_open_ms(now_ms)
        self.reach(due)
        high = self.column(due) + 1
        if high <= 0:
            return None
        low = max(0, high - capacity)
        return BarsView(
            interval=self.interval,
            open_ms=self.base_ms + np.arange(low, high, dtype=np.int64) * self.step_ms,
            data=self.data[:, :slots, low:high],
            finality=self.finality[:slots, low:high],
            source=self.source[:slots, low:high],
            lag_ms=self.lag_ms[:slots, low:high],
        )

    def sum_of(self, slot: int, open_ms: int, parts: Klines) -> Row | None:
        """The bar at `open_ms` summed from complete bars of a shorter interval, None if any lacks.

        Sums are rounded to the venue's eight decimals, so they equal its own figures.
        """
        count = self.step_ms // parts.step_ms
        low = parts.column(open_ms)
        if low < 0 or low + count > parts._width:
            return None
        if (parts.finality[slot, low : low + count] < CONFIRMED).any():
            return None
        block = parts.data[:, slot, low : low + count]
        total = [round(math.fsum(block[field].tolist()), _SUM_DIGITS) for field in _SUMMED]
        return (
            float(block[OPEN, 0]),
            float(block[HIGH].max()),
            float(block[LOW].min()),
            float(block[CLOSE, -1]),
            total[0],
            total[1],
            total[2],
            total[3],
            total[4],
        )


_SUMMED: Final = (VOLUME, QUOTE, TRADES, TAKER_BASE, TAKER_QUOTE)


def is_sound(row: Row) -> bool:
    """Prices are positive, finite and in order; volumes are not negative (NaN taker volume passes)."""
    opened, high, low, close = row[0], row[1], row[2], row[3]
    if not math.isfinite(opened + high + low + close):
        return False
    if not (0 < low <= min(opened, close) and max(opened, close) <= high < math.inf):
        return False
    return row[4] >= 0 and row[5] >= 0 and row[4] < math.inf and row[5] < math.inf
