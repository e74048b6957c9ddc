"""DataQual: from real events, falling for a reason, rising after good bars."""

from __future__ import annotations

import math

import numpy as np
import pytest

from cryptosignal.market.board import Board
from cryptosignal.quality.reconcile import Verdict, compare_bars, compare_books
from cryptosignal.quality.score import QualityBook, rest_quality
from cryptosignal.quality.settings import PROFILES, Profile, QualitySettings
from cryptosignal.streams.settings import FeedSettings

T0 = 1_763_640_000_000


class Scene:
    """A board with counters set by hand."""

    def __init__(self, **numbers):
        self.board = Board(capacity=3)
        self.slot = self.board.slot("BTCUSDT")
        self.board.slot("ETHUSDT")
        self.book = QualityBook(QualitySettings(**numbers), capacity=3)
        self.now = T0

    def pass_(self, seconds=5, **counts):
        self.now += seconds * 1000
        for name, value in counts.items():
            self.board.counters.counts[name][self.slot] += value
        return self.book.refresh(self.board, self.now)

    @property
    def score(self):
        return float(self.book.score[self.slot])


def test_no_events_means_no_trust():
    """A symbol of which nothing was heard has no score, and says so."""
    scene = Scene()
    scene.pass_(events=10)
    assert scene.score == 1.0
    assert math.isnan(scene.book.score[1])
    assert "no events" in scene.book.reasons["ETHUSDT"]
    scene.pass_(301)
    assert math.isnan(scene.score)


@pytest.mark.parametrize(
    ("counts", "expected", "word"),
    [
        ({"bars_due": 100, "bars_missed": 4}, 1 - 0.35 * 0.04, "missing"),
        ({"disordered": 8}, 1 - 0.15 * 0.008, "out of order"),
        ({"late": 80}, 1 - 0.20 * 0.08, "late"),
        ({"compared": 100, "mismatched": 4}, 1 - 0.30 * 0.04, "mismatched"),
    ],
)
def test_rates_are_weighted(counts, expected, word):
    """1 − Σ weight·rate with the stream weights."""
    scene = Scene()
    scene.pass_(events=1000, **counts)
    assert scene.score == pytest.approx(expected)


@pytest.mark.parametrize(
    ("counts", "ceiling", "word"),
    [
        ({"bars_due": 100, "bars_missed": 7}, 0.899, "missing 7.0 %"),
        ({"bars_due": 100, "bars_missed": 12}, 0.849, "missing 12.0 %"),
        ({"disordered": 20}, 0.899, "out of order 2.0 %"),
        ({"late": 150}, 0.899, "late 15.0 %"),
        ({"late": 400}, 0.849, "late 40.0 %"),
        ({"compared": 10, "mismatched": 1}, 0.899, "mismatched 10.0 %"),
        ({"ids": 90, "ids_missed": 10}, 0.899, "missing 10.0 %"),
    ],
)
def test_hard_limits_bind_whatever_the_weights_allow(counts, ceiling, word):
    """A single bad component takes Prime away, a worse one everything; the reason names it."""
    scene = Scene()
    scene.pass_(events=1000, **counts)
    assert scene.score <= ceiling
    assert word in scene.book.reasons["BTCUSDT"]


def test_events_leave_the_window():
    """What was bad five minutes ago does not count any more (once the latch has opened)."""
    scene = Scene(recovery_bars=1)
    scene.pass_(events=100, bars_due=10, bars_missed=5)
    assert scene.score < 0.85
    for _ in range(61):
        scene.pass_(5, events=10, bars_due=1)
    scene.book.on_bar(scene.slot, "1m", scene.now)
    scene.pass_(5, events=10)
    assert scene.score == 1.0


def test_recovery_takes_three_good_bars_of_the_shortest_interval():
    """After a fall the score stays below Prime until three good bars; longer bars do not count."""
    scene = Scene(window_s=10)
    scene.pass_(events=100)
    changes = scene.pass_(events=100, bars_due=2, bars_missed=2)
    assert [change.level for change in changes] == ["stop"]
    scene.pass_(60, events=100)
    assert scene.score == 0.89
    assert "good bars to go" in scene.book.reasons["BTCUSDT"]
    for count in range(3):
        scene.book.on_bar(scene.slot, "1m", scene.now)
        scene.book.on_bar(scene.slot, "5m", scene.now)
        scene.pass_(5, events=100)
        assert (scene.score > 0.9) == (count == 2)


def test_a_dip_between_prime_and_hold_does_not_latch():
    """Hysteresis: only below the hold level must a symbol earn its way back."""
    scene = Scene(window_s=10)
    scene.pass_(events=100)
    scene.pass_(events=100, bars_due=100, bars_missed=6)
    assert 0.88 <= scene.score < 0.9
    scene.pass_(20, events=100)
    assert scene.score == 1.0


def test_the_heartbeat_level_is_not_subtracted_again():
    """Checks that repeat the same silence leave the score where it is."""
    scene = Scene()
    for interval in ("1m", "5m", "15m", "1h", "4h"):
        scene.board.expect([f"btcusdt@kline_{interval}"])
    scores = []
    for _ in range(5):
        scene.book.on_silence(scene.board, ["btcusdt@kline_1m"])
        scene.pass_(30, events=1000)
        scores.append(scene.score)
    assert scores[0] == pytest.approx(0.9)
    assert max(scores[1:]) == min(scores[1:])
    scene.book.on_silence(scene.board, [f"btcusdt@kline_{i}" for i in ("1m", "5m", "15m", "1h")])
    scene.pass_(30, events=1000)
    assert scene.score == pytest.approx(0.2)
    assert "silent" in scene.book.reasons["BTCUSDT"]


def test_rest_alone_is_never_prime():
    """With streams down a symbol lives on REST by age, below Prime, and says so."""
    scene = Scene()
    scene.book.on_rest(scene.slot, scene.now)
    scene.pass_(5)
    assert scene.score == 0.89
    assert "REST" in scene.book.reasons["BTCUSDT"]
    scene.pass_(400)
    assert math.isnan(scene.score)
    assert [rest_quality(age) for age in (10, 50, 100, 299, 999)] == [1.0, 0.95, 0.9, 0.85, 0.7]


def test_profiles_sum_to_one():
    """Every profile's weights sum to 1; others are refused."""
    for profile in PROFILES.values():
        assert profile.miss + profile.order + profile.drift + profile.mismatch == pytest.approx(1)
    with pytest.raises(ValueError, match="sum"):
        Profile(0.5, 0.5, 0.5, 0.5)
    with pytest.raises(ValueError, match="profile"):
        QualitySettings(profile="none")


@pytest.mark.parametrize(
    ("change", "verdict"),
    [
        ({}, Verdict.EQUAL),
        ({3: 100.005}, Verdict.WITHIN),
        ({3: 100.02}, Verdict.PRICE),
        ({4: 10.05}, Verdict.WITHIN),
        ({4: 10.2}, Verdict.VOLUME),
        ({4: 0.0}, Verdict.VOLUME),
    ],
)
def test_bars_are_compared_within_tolerance(change, verdict):
    """Price .01 %, volume 1 %; a volume of 0 divides nothing."""
    theirs = (100.0, 101.0, 99.0, 100.0, 10.0, 1000.0, 5.0, 5.0, 500.0)
    ours = tuple(change.get(index, value) for index, value in enumerate(theirs))
    assert compare_bars(ours, theirs, FeedSettings()) is verdict
    flat = (*theirs[:4], 0.0, *theirs[5:])
    assert compare_bars(flat, flat, FeedSettings()) is Verdict.EQUAL
    assert compare_bars(ours, flat, FeedSettings()).is_mismatch or change.get(4) == 0.0


def test_books_are_compared_level_by_level():
    """A different or missing level is a mismatch; the id gap is only reported."""
    side = [(99.0, 1.0), (98.0, 2.0)]
    asks = [(101.0, 1.0)]
    assert compare_books((side, asks), (side, asks), 20, 5000).verdict is Verdict.EQUAL
    found = compare_books((side[:1], asks), (side, asks), 20, 0)
    assert (found.verdict, found.differing) == (Verdict.BOOK, 1)


def test_growth_keeps_what_is_known():
    """More symbols than room: the scores of the others stay."""
    scene = Scene()
    scene.pass_(events=100, bars_due=100, bars_missed=7)
    before = scene.score
    for number in range(20):
        scene.board.slot(f"C{number}USDT")
    scene.pass_(5, events=100)
    assert scene.score == pytest.approx(before, abs=1e-9)
    assert np.isnan(scene.book.score[5])


def test_a_silent_stream_of_the_whole_market_concerns_every_symbol_it_serves():
    """Without the market's marks no streamed symbol is Prime, and each names the stream; a symbol
    that nothing streams is left alone, and with the stream back all is as before."""
    scene = Scene(window_s=10)
    other, idle = scene.board.slot("ETHUSDT"), scene.board.slot("OLDUSDT")
    intervals = ("1m", "5m", "15m", "1h", "4h")
    scene.board.expect([f"{s}usdt@kline_{i}" for s in ("btc", "eth") for i in intervals])
    scene.board.expect(["!markPrice@arr@1s"])
    scene.board.counters.counts["events"][other] += 10
    scene.pass_(events=10)
    assert scene.score == 1.0
    scene.book.on_silence(scene.board, ["!markPrice@arr@1s"])
    scene.board.note_checks([scene.slot, other], [scene.slot, other])
    scene.board.counters.counts["events"][other] += 10
    scene.board.counters.counts["events"][idle] += 10
    scene.pass_(events=10)
    assert scene.score < 0.9
    assert scene.book.score[other] < 0.9
    assert scene.book.score[idle] == 1.0
    assert "!markPrice@arr@1s" in scene.book.reasons["ETHUSDT"]
    scene.book.on_silence(scene.board, [])
    for _ in range(3):
        scene.book.on_bar(scene.slot, "1m", scene.now)
        scene.pass_(20, events=10)
    assert scene.score == 1.0


def test_a_market_stream_adds_to_what_is_silent_of_the_symbol_itself():
    """One silent stream of its own and one of the market take .20 of a symbol, not .10."""
    scene = Scene()
    scene.board.expect([f"btcusdt@kline_{i}" for i in ("1m", "5m", "15m", "1h", "4h")])
    scene.board.expect(["!ticker@arr"])
    scene.book.on_silence(scene.board, ["btcusdt@kline_1m", "!ticker@arr"])
    scene.pass_(events=1000)
    assert scene.score == pytest.approx(0.8)
