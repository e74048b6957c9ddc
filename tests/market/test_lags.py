"""Lags by stream: quantiles over minutes, whatever the local clock says."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptosignal.market.inbox import Stream
from cryptosignal.market.lags import SPAN_MS, LagBook
from cryptosignal.streams import names

NOW_MS = 1_790_000_400_000


def stream(name: str) -> Stream:
    return Stream(name, 0, names.parse(name))


def speak(one: Stream, lag_ms: int, now_ms: int) -> None:
    one.count += 1
    one.last_ms = now_ms
    one.event = b"%013d" % (now_ms - lag_ms)


@given(st.lists(st.integers(0, 40_000), min_size=1, max_size=300))
def test_quantiles_are_those_of_what_was_looked_at(lags: list[int]):
    """p50 and p99 lie within a bin above the exact figure and never beyond the largest."""
    one, book = stream("btcusdt@aggTrade"), LagBook()
    for lag_ms in lags:
        speak(one, lag_ms, NOW_MS)
        book.look([one], NOW_MS)
    found = book.by_stream()["btcusdt@aggTrade"]
    assert (found.looks, found.max_ms) == (len(lags), max(lags))
    for told, share in ((found.p50_ms, 50), (found.p99_ms, 99)):
        exact = float(np.percentile(lags, share, method="inverted_cdf"))
        assert exact <= told <= min(max(lags), max(exact * 2, exact + 1))


def test_only_streams_that_spoke_are_looked_at():
    """A quiet stream gives no lag twice: its silence is no lateness."""
    quiet, busy, book = stream("btcusdt@kline_1m"), stream("ethusdt@kline_1m"), LagBook()
    speak(quiet, 5, NOW_MS)
    for k in range(10):
        speak(busy, 7, NOW_MS + k * 1_000)
        book.look([quiet, busy], NOW_MS + k * 1_000)
    assert book.by_stream()["btcusdt@kline_1m"].looks == 1
    assert book.by_stream()["ethusdt@kline_1m"].looks == 10
    assert book.by_kind()["kline"].looks == 11


@pytest.mark.parametrize("behind_ms", [0, 400, 3_000])
def test_a_clock_behind_the_venue_hides_no_lateness(behind_ms: int):
    """With the recorder's clock behind the venue's, lags read below zero give the same figures once
    what the quickest frames show is added."""
    one, book = stream("btcusdt@markPrice@1s"), LagBook()
    for k in range(200):
        speak(one, (2 if k % 20 else 900) - behind_ms, NOW_MS + k)
        book.look([one], NOW_MS + k, clock_behind_ms=behind_ms)
    found = book.by_stream()["btcusdt@markPrice@1s"]
    assert (found.p50_ms, found.p99_ms, found.max_ms) == (2, 900, 900)


def test_old_figures_leave_after_two_spans():
    """What was late long ago is not told for ever; streams may be added at any time."""
    one, book = stream("btcusdt@aggTrade"), LagBook()
    speak(one, 9_000, NOW_MS)
    book.look([one], NOW_MS)
    for later in (SPAN_MS, 2 * SPAN_MS):
        more = stream(f"c{later}usdt@aggTrade")
        speak(one, 3, NOW_MS + later)
        speak(more, 4, NOW_MS + later)
        book.look([one, more], NOW_MS + later)
        worst = book.by_stream()["btcusdt@aggTrade"].max_ms
        assert worst == (9_000 if later == SPAN_MS else 3)
    assert len(book.by_stream()) == 3
    book.look([], NOW_MS + 9 * SPAN_MS)
    assert book.by_stream() == {}
    assert book.by_kind() == {}
