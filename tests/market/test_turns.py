"""Finality of bars: once, in order, whatever arrives twice, late or not at all."""

from __future__ import annotations

import random
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.market.made import T0, kline, rows

from cryptosignal.domain.market import BarSource, Finality
from cryptosignal.market.board import Board
from cryptosignal.market.views import CLOSED_BY_TIME, CONFIRMED

MINUTE = 60_000


def board():
    made = Board(capacity=4)
    made.heard, made.fixed = [], []
    made.on_kline_close.append(
        lambda s, i, bar, f: made.heard.append((bar.open_ms - T0, bar.close, f))
    )
    made.on_correction.append(lambda s, i, new, old: made.fixed.append((new.close, old.close)))
    return made


def feed(made, *frames, now):
    for one in frames:
        assert made.feed(one)
    made.flush(now)


def test_a_final_frame_confirms_a_bar_once():
    """x:true closes a bar; the same frame again, or an older one, closes nothing more."""
    made = board()
    final = kline(event_ms=T0 + 60_010, close=102, x=True)
    feed(made, kline(), now=T0 + 1000)
    feed(made, final, now=T0 + 60_020)
    feed(made, final, kline(event_ms=T0 + 59_000), now=T0 + 60_040)
    assert made.heard == [(0, 102, Finality.CONFIRMED)]


def test_the_next_bars_first_event_closes_the_one_before():
    """Without a final frame the next bar closes the former; ids that follow prove it complete."""
    made = board()
    feed(made, kline(close=103), now=T0 + 1000)
    feed(made, kline(T0 + MINUTE, f=6, last=7), now=T0 + 61_000)
    assert made.heard == [(0, 103, Finality.CONFIRMED)]
    assert made.turns.suspects == set()


def test_a_hole_in_trade_ids_leaves_a_bar_unconfirmed():
    """If trades are missing between two bars the former is usable, not confirmed, and goes to repair."""
    made = board()
    feed(made, kline(close=103), now=T0 + 1000)
    feed(made, kline(T0 + MINUTE, f=9, last=9), now=T0 + 61_000)
    assert made.heard == [(0, 103, Finality.CLOSED_BY_TIME)]
    assert made.turns.suspects == {(0, "1m", T0)}


def test_the_clock_closes_after_the_grace_and_confirmation_corrects():
    """A bar is usable at close + 2.5 s; the final frame later reports what changed."""
    made = board()
    feed(made, kline(close=103), now=T0 + 1000)
    made.close_due(T0 + 62_499)
    assert made.heard == []
    made.close_due(T0 + 62_500)
    assert made.heard == [(0, 103, Finality.CLOSED_BY_TIME)]
    assert made.klines["1m"].finality[0, made.klines["1m"].column(T0)] == CLOSED_BY_TIME
    feed(made, kline(event_ms=T0 + 63_000, close=104, x=True), now=T0 + 63_010)
    assert made.fixed == [(104, 103)]
    assert len(made.heard) == 1
    assert made.klines["1m"].finality[0, made.klines["1m"].column(T0)] == CONFIRMED


def test_tradeless_bars_between_are_flat_by_proof():
    """Ids that follow across missing bars prove that nobody traded: they are flat at the last close."""
    made = board()
    feed(made, kline(event_ms=T0 + 60_010, close=103, x=True), now=T0 + 60_020)
    feed(made, kline(T0 + 3 * MINUTE, f=6, last=6), now=T0 + 3 * MINUTE + 1000)
    assert [close for _, close, _ in made.heard] == [103, 103, 103]
    assert made.klines["1m"].row(0, made.klines["1m"].column(T0 + MINUTE))[4] == 0


def test_a_gap_hides_later_bars_until_it_is_filled():
    """Bars beyond a gap are not visible and not given out; a REST repair releases them in order."""
    made = board()
    feed(made, kline(event_ms=T0 + 60_010, x=True), now=T0 + 60_020)
    later = T0 + 3 * MINUTE
    feed(made, kline(later, event_ms=later + 60_010, f=50, last=60, x=True), now=later + 60_020)
    now = later + 61_000
    assert [open_ms for open_ms, _, _ in made.heard] == [0]
    assert not made.is_ready("BTCUSDT", "1m", now)
    assert np.isnan(made.view(now).bars["1m"].close[0, -1])
    assert made.laggards(now) == []  # not subscribed: nobody waits for it
    made.expect(["btcusdt@kline_1m"])
    assert made.laggards(now) == [("BTCUSDT", "1m", T0 + MINUTE, T0 + 2 * MINUTE)]
    made.load_history("BTCUSDT", "1m", np.array(rows(T0 + MINUTE, 2)), now, BarSource.REST)
    assert [open_ms // MINUTE for open_ms, _, _ in made.heard] == [0, 1, 2, 3]
    assert made.is_ready("BTCUSDT", "1m", now)


def test_a_broken_line_does_not_close_what_it_did_not_see():
    """After a lost connection the forming bar is not taken as final by the next bar's frame."""
    made = board()
    made.expect(["btcusdt@kline_1m"])
    feed(made, kline(event_ms=T0 + 60_010, x=True), now=T0 + 60_020)
    feed(made, kline(T0 + MINUTE, f=6, last=9), now=T0 + 70_000)
    made.mark_lost(["btcusdt@kline_1m"])
    made.close_due(T0 + 2 * MINUTE + 2_500)
    feed(made, kline(T0 + 2 * MINUTE, f=30, last=31), now=T0 + 2 * MINUTE + 3_000)
    assert [open_ms for open_ms, _, _ in made.heard] == [0]
    assert not made.is_ready("BTCUSDT", "1m", T0 + 2 * MINUTE + 3_000)


def test_a_broken_line_that_speaks_of_the_same_bar_lost_nothing():
    """Frames are cumulative: the same bar heard again after a reconnect is whole."""
    made = board()
    feed(made, kline(T0, f=1, last=3), now=T0 + 5_000)
    made.mark_lost(["btcusdt@kline_1m"])
    feed(made, kline(T0, event_ms=T0 + 30_000, close=107, last=9), now=T0 + 30_000)
    feed(made, kline(T0 + MINUTE, f=10, last=11), now=T0 + 61_000)
    assert made.heard == [(0, 107, Finality.CONFIRMED)]


@pytest.mark.parametrize("has_final", [True, False])
def test_ids_beyond_a_gap_prove_nothing_of_the_gap(has_final):
    """After a break of two bars the ids of the third and fourth follow each other: the bars in the
    gap are missing all the same, never flat."""
    made = board()
    feed(made, kline(event_ms=T0 + 60_010, close=103, x=True), now=T0 + 60_020)
    made.mark_lost(["btcusdt@kline_1m"])
    third = T0 + 3 * MINUTE
    feed(made, kline(third, f=90, last=95), now=third + 30_000)
    if has_final:
        last = kline(third, event_ms=third + 60_010, f=90, last=99, x=True)
        feed(made, last, now=third + 60_020)
        following = 100
    else:
        following = 96
    fourth = third + MINUTE
    feed(made, kline(fourth, f=following, last=following), now=fourth + 1000)
    assert [open_ms for open_ms, _, _ in made.heard] == [0]
    assert made.missing("BTCUSDT", "1m", fourth + 1000, 4) == [(T0 + MINUTE, T0 + 2 * MINUTE)]
    gap = rows(T0 + MINUTE, 2, price=105.0)
    made.load_history("BTCUSDT", "1m", gap, fourth + 2000, BarSource.REST)
    assert [close for _, close, _ in made.heard] == [103, 105, 106, 101]


def test_a_bar_that_the_clock_closed_before_a_break_goes_to_repair():
    """The clock closed a bar, its line was broken meanwhile, and the next bar's ids do not follow:
    REST has the last word."""
    made = board()
    feed(made, kline(close=103), now=T0 + 1000)
    made.close_due(T0 + 62_500)
    made.mark_lost(["btcusdt@kline_1m"])
    feed(made, kline(T0 + MINUTE, f=20, last=21), now=T0 + 90_000)
    assert made.turns.suspects == {(0, "1m", T0)}


def test_sums_of_bars_that_were_wrong_go_to_repair():
    """A longer bar summed up from a bar that REST later corrects is suspect."""
    made = board()
    now = T0 + 5 * MINUTE + 3000
    for step in range(5):
        opened = T0 + step * MINUTE
        ids = {"f": 10 * step + 1, "last": 10 * step + 10}
        final = kline(opened, event_ms=opened + 60_010, close=100 + step, x=True, **ids)
        feed(made, final, now=opened + 60_020)
    made.load_history("BTCUSDT", "5m", rows(T0 - 5 * MINUTE, 1, 5 * MINUTE), now, BarSource.REST)
    assert made.repair_locally(now) == 1
    made.load_history("BTCUSDT", "1m", rows(T0 + MINUTE, 1), now, BarSource.REST)
    assert (0, "5m", T0) in made.turns.suspects


def test_longer_bars_are_summed_from_shorter_ones():
    """Five confirmed minutes fill a missing five-minute bar; sums have the venue's digits."""
    made = board()
    now = T0 + 10 * MINUTE + 5_000
    table = np.array(rows(T0, 10))
    table[:, 5] = 0.1
    made.load_history("BTCUSDT", "1m", table, now, BarSource.REST)
    five = np.array(rows(T0 - 5 * MINUTE, 1, step=5 * MINUTE))
    made.load_history("BTCUSDT", "5m", five, now, BarSource.REST)
    made.expect(["btcusdt@kline_5m"])
    assert made.repair_locally(now) == 2
    row = made.klines["5m"].row(0, made.klines["5m"].column(T0))
    assert row[:5] == (100, 110, 90, 104, 0.5)


def test_no_view_shows_a_bar_of_the_future():
    """With a local clock behind the venue's, a closed bar shows only when our own time has passed it."""
    made = board()
    feed(made, kline(event_ms=T0 + 60_010, x=True), now=T0 + 58_740)
    assert made.view(T0 + 58_740).bars["1m"].open_ms[-1] == T0 - MINUTE
    assert made.view(T0 + 60_000).bars["1m"].open_ms[-1] == T0


def test_history_that_leaves_a_hole_is_refused():
    """Old rows that do not touch what is there are not taken: a series never shows a hole."""
    made = board()
    now = T0 + 50 * MINUTE
    made.load_history("BTCUSDT", "1m", np.array(rows(T0 + 20 * MINUTE, 30)), now, BarSource.REST)
    assert made.load_history("BTCUSDT", "1m", np.array(rows(T0, 10)), now, BarSource.DISK) == 0
    assert made.load_history("BTCUSDT", "1m", np.array(rows(T0, 20)), now, BarSource.REST) == 20
    assert made.missing("BTCUSDT", "1m", now, 50) == []
    assert made.missing("BTCUSDT", "1m", now, 52) == [(T0 - 2 * MINUTE, T0 - MINUTE)]


@pytest.mark.parametrize("bad", ["NaN", "Infinity", "-1"])
def test_figures_that_are_none_never_enter(bad):
    """NaN, infinity and negative prices are refused although the decoder would take them."""
    made = board()
    feed(made, kline(event_ms=T0 + 60_010, close=bad, x=True), now=T0 + 60_020)
    assert made.heard == []
    assert made.malformed >= 1


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.floats(0, 0.5), st.floats(0, 0.4), st.floats(0, 0.3))
def test_any_order_gives_each_bar_once_in_order(seed, lost, doubled, swapped):
    """Frames lost, doubled and swapped within two seconds: each bar at most once, in order, and
    what is confirmed equals the truth."""
    rng = random.Random(seed)
    made, truth, sent = board(), {}, []
    number = 1
    for minute in range(8):
        open_ms = T0 + minute * MINUTE
        first = number
        for second in range(0, 60, 7):
            price = round(rng.uniform(95, 105), 2)
            sent.append(
                (
                    open_ms + second * 1000,
                    kline(open_ms, open_ms + second * 1000, price, f=first, last=number),
                )
            )
            truth[open_ms] = price
            number += 1
        sent.append(
            (
                open_ms + 60_010,
                kline(open_ms, open_ms + 60_010, truth[open_ms], x=True, f=first, last=number - 1),
            )
        )
    stream = []
    for at, one in sent:
        if rng.random() < lost:
            continue
        stream.append((at + (rng.uniform(0, 1999) if rng.random() < swapped else 0), one))
        if rng.random() < doubled:
            stream.append((at + rng.uniform(0, 1500), one))
    for at, one in sorted(stream, key=lambda item: item[0]):
        made.feed(one)
        if rng.random() < 0.5:
            made.flush(int(at))
            made.close_due(int(at))
    made.flush(T0 + 9 * MINUTE)
    opens = [open_ms for open_ms, _, _ in made.heard]
    assert all(b - a == MINUTE for a, b in pairwise(opens))
    bars = made.klines["1m"]
    for offset in opens:
        column = bars.column(T0 + offset)
        if bars.finality[0, column] == CONFIRMED:
            assert bars.row(0, column)[3] == truth[T0 + offset]
