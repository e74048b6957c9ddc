"""Named due times."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cryptosignal.engine.timers import Timers


def test_a_timer_fires_once_and_a_second_setting_moves_it():
    """A timer that is set again fires at its new time only, and only once."""
    timers = Timers()
    timers.set("a", 100)
    timers.set("a", 200)
    assert timers.take_due(150) == []
    assert timers.take_due(200) == ["a"]
    assert timers.take_due(300) == []


def test_a_cancelled_timer_never_fires():
    """Cancelling a timer forgets it."""
    timers = Timers()
    timers.set("a", 100)
    timers.cancel("a")
    assert timers.next_ms() is None
    assert timers.take_due(1000) == []


@given(st.dictionaries(st.text(min_size=1, max_size=4), st.integers(0, 1000), max_size=12))
def test_due_timers_come_in_order_of_time_then_name(due):
    """Whatever order timers were set in, they fire by time and then by name."""
    timers = Timers()
    for name, at_ms in due.items():
        timers.set(name, at_ms)
    fired = timers.take_due(500)
    expected = sorted((at, name) for name, at in due.items() if at <= 500)
    assert fired == [name for _, name in expected]
    assert timers.pending() == dict(sorted((n, a) for n, a in due.items() if a > 500))
