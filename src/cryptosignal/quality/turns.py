"""When a symbol's closed bars are compared with REST: once, in time, spread out, seldom (DOMAIN §0.23).

Every closed bar is compared within a window of its close. One read covers all bars that closed since
the one before, so the fewest reads are those that leave the oldest of them just young enough: five bars
of a minute each 300 s. Symbols take their turns at different minutes and seconds. Pure: time is given.
"""

from __future__ import annotations

from typing import Final, NamedTuple

SETTLE_MS: Final = 3_000
"""After a close the venue and our board may need so long until the bar is final."""
RESERVE_MS: Final = 15_000
"""So long before a bar's time is over its read leaves at the latest: for the answer, and one retry."""
_GOLDEN: Final = 0.6180339887498949
"""Multiples of it, their whole part dropped, lie evenly in [0, 1) however many there are."""


class Turns(NamedTuple):
    """The turns of bars of `step_ms`: `bars` a read, its moment spread over `spread_ms` of a bar."""

    step_ms: int
    window_ms: int
    bars: int
    spread_ms: int

    @classmethod
    def of(cls, step_ms: int, window_ms: int) -> Turns:
        """The fewest reads for bars of `step_ms`, each to be compared within `window_ms`.

        >>> [Turns.of(minutes * 60_000, 300_000).bars for minutes in (1, 3, 5, 60)]
        [5, 2, 1, 1]
        """
        spare_ms = max(0, window_ms - SETTLE_MS - RESERVE_MS)
        more = spare_ms // step_ms
        return cls(step_ms, window_ms, more + 1, min(spare_ms - more * step_ms, step_ms))

    def first_ms(self, slot: int, now_ms: int) -> int:
        """The first turn of a symbol after `now_ms`; its place in the cycle never changes."""
        group, share = divmod(slot * _GOLDEN % 1.0 * self.bars, 1.0)
        offset_ms = int(group) * self.step_ms + SETTLE_MS + int(share * self.spread_ms)
        cycle_ms = self.bars * self.step_ms
        return now_ms + cycle_ms - (now_ms - offset_ms) % cycle_ms

    def next_ms(self, slot: int, now_ms: int, open_ms: int) -> int:
        """The next turn of a symbol of which `open_ms` is the first bar that is not compared yet: in
        its place once that bar has settled, sooner if the bar's time would be over."""
        settled_ms = open_ms + self.step_ms + SETTLE_MS
        last_ms = max(settled_ms, open_ms + self.step_ms + self.window_ms - RESERVE_MS)
        return min(self.first_ms(slot, max(now_ms, settled_ms - 1)), last_ms)
