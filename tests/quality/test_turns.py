"""Turns of the routine comparison: every bar once, in time, in the fewest reads, spread out."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryptosignal.ground.units import HOUR_MS, MINUTE_MS
from cryptosignal.quality.turns import SETTLE_MS, Turns

WINDOW_MS = 300_000
START_MS = 1_790_000_010_000
TICK_MS = 2_000
steps = st.sampled_from([1, 3, 5, 15, 60])


def reads_of(slot: int, step_ms: int, hours: int, answer_ms: int = 900) -> list[tuple[int, int]]:
    """Reads of a symbol from a start: (time of the answer, bars it covered); fails on a bar that is
    compared too late or not closed for long enough."""
    turns = Turns.of(step_ms, WINDOW_MS)
    now_ms = START_MS
    open_ms = now_ms // step_ms * step_ms  # the first bar that is not compared yet
    due_ms, reads = turns.next_ms(slot, now_ms, open_ms), []
    while now_ms < START_MS + hours * HOUR_MS:
        now_ms = max(now_ms, -(-due_ms // TICK_MS) * TICK_MS)
        last_ms = now_ms // step_ms * step_ms - step_ms
        assert now_ms >= last_ms + step_ms + SETTLE_MS
        assert last_ms >= open_ms, "a read for nothing"
        now_ms += answer_ms
        assert now_ms <= open_ms + step_ms + WINDOW_MS
        reads.append((now_ms, (last_ms - open_ms) // step_ms + 1))
        open_ms = last_ms + step_ms
        due_ms = turns.next_ms(slot, now_ms, open_ms)
    return reads


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 1_100), steps)
def test_every_bar_is_compared_in_time_in_the_fewest_reads(slot: int, minutes: int):
    """No bar is older than 300 s when its answer comes, none is read twice, and from the first turn on
    a read covers as many bars as can be."""
    turns = Turns.of(minutes * MINUTE_MS, WINDOW_MS)
    reads = reads_of(slot, minutes * MINUTE_MS, hours=12)
    assert {bars for _at, bars in reads[1:]} == {turns.bars}
    (every_ms,) = {later[0] - sooner[0] for sooner, later in pairwise(reads[1:])}
    assert every_ms == turns.bars * turns.step_ms


def test_minutes_are_read_twelve_times_an_hour():
    """Five bars a read: a sixth would be older than 300 s."""
    assert len(reads_of(7, MINUTE_MS, hours=10)) in (120, 121)


@pytest.mark.parametrize("minutes", [1, 5, 15])
def test_symbols_are_spread_over_time(minutes: int):
    """Of 550 symbols no two seconds see more than a few."""
    at = Counter(
        reads_of(slot, minutes * MINUTE_MS, hours=1)[-1][0] // TICK_MS for slot in range(550)
    )
    assert max(at.values()) <= 10


def test_a_short_window_still_gives_each_bar_its_turn():
    """Where the window leaves no room each bar is read right after it has settled."""
    turns = Turns.of(MINUTE_MS, 10_000)
    assert (turns.bars, turns.spread_ms) == (1, 0)
    close_ms = START_MS // MINUTE_MS * MINUTE_MS + MINUTE_MS
    assert turns.first_ms(3, START_MS) == close_ms + SETTLE_MS
