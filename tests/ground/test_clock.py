"""The host's clock as the program's: time passes, whatever is done to the wall clock."""

from __future__ import annotations

import time

from cryptosignal.ground import clock as clocks
from cryptosignal.ground.clock import SystemClock


def test_a_step_of_the_wall_clock_is_no_step_of_ours(monkeypatch):
    """A host set an hour on or back, by hand or by NTP, leaves the exchange time as it was."""
    clock = SystemClock()
    before_ms = clock.now_ms()
    assert abs(before_ms - time.time_ns() // 1_000_000) < 60_000
    for hours in (1, -1):
        moved_ns = time.time_ns() + hours * 3_600_000_000_000
        monkeypatch.setattr(clocks.time, "time_ns", lambda moved_ns=moved_ns: moved_ns)
        assert 0 <= clock.now_ms() - before_ms < 60_000


def test_it_follows_what_is_measured(monkeypatch):
    """The offset against the venue adds to it, and time goes on from there."""
    elapsed_ns = [5_000_000_000]
    monkeypatch.setattr(clocks, "_elapsed_ns", lambda: elapsed_ns[0])
    clock = SystemClock()
    start_ms = clock.now_ms()
    clock.offset_ms = -250
    elapsed_ns[0] += 1_500_000_000
    assert clock.now_ms() == start_ms + 1_500 - 250
