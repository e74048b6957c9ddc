"""Delays double, stay bounded, and start over only when told to."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptosignal.ground.seeds import Seeds
from cryptosignal.streams.backoff import ExponentialBackoff


def test_delays_double_up_to_the_maximum():
    """1, 2, 4 … 60 s, and 60 s from then on."""
    backoff = ExponentialBackoff()
    assert [backoff.next_delay() for _ in range(9)] == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    backoff.reset()
    assert backoff.next_delay() == 1


@given(st.integers(0, 2**32), st.integers(1, 200))
def test_jitter_stays_within_its_bounds(seed: int, tries: int):
    """Every delay is within ±10 % of its plain value and never above the maximum."""
    backoff = ExponentialBackoff(rng=Seeds(seed).stream("backoff"))
    for n in range(tries):
        plain = min(60.0, 2.0**n)
        assert plain * 0.9 <= backoff.next_delay() <= min(60.0, plain * 1.1)


def test_one_seed_gives_one_sequence():
    """The same named stream repeats its jitter, so a run can be repeated."""
    first, second = (ExponentialBackoff(rng=Seeds(7).stream("backoff", "c1")) for _ in range(2))
    assert [first.next_delay() for _ in range(5)] == [second.next_delay() for _ in range(5)]


def test_thousands_of_attempts_do_not_overflow():
    """Attempts go on for ever at the maximum."""
    backoff = ExponentialBackoff()
    delays = [backoff.next_delay() for _ in range(5000)]
    assert delays[-1] == 60.0
    assert backoff.attempt == 5000


@pytest.mark.parametrize(
    ("base_s", "max_s", "jitter"), [(0, 60, 0.1), (5, 1, 0.1), (1, 60, 1.0), (1, 60, -0.1)]
)
def test_senseless_numbers_are_refused(base_s: float, max_s: float, jitter: float):
    """A delay of zero or a jitter of everything is a mistake in the configuration."""
    with pytest.raises(ValueError, match="backoff"):
        ExponentialBackoff(base_s, max_s, jitter)
