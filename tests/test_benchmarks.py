"""The benchmarks' own arithmetic: a figure that is judged is computed right."""

from __future__ import annotations

from array import array

import pytest
from benchmarks import ingest_live, ingest_paced, memory_parts
from benchmarks.ingest_load import START_MS, payloads

from cryptosignal.market.board import Board


def test_growth_is_what_the_last_third_has_more_than_the_middle():
    """The start, in which caches fill, does not count as growth; a slow rise after it does."""
    filling = [100.0 + 10 * k for k in range(30)]
    assert ingest_paced.growth_mb([*filling, *[400.0] * 60]) == (0.0, 400.0)
    assert ingest_paced.growth_mb([100.0 + 0.1 * k for k in range(90)])[0] == pytest.approx(3.0)
    assert ingest_paced.growth_mb([1.0, 2.0])[0] == float("inf")


def test_a_frame_is_on_its_way_from_the_socket_to_the_cache(tmp_path):
    """Both ends' stamps are matched by the number of the frame."""
    (tmp_path / "left").write_bytes(array("q", [0, 1_000_000, 2_000_000]).tobytes())
    (tmp_path / "came").write_bytes(array("q", [500_000, 1_500_000, 12_000_000]).tobytes())
    p50, p99, most = ingest_paced.latency_ms(tmp_path)
    assert (p50, most) == (0.5, 10.0)
    assert 9.0 < p99 < 10.0


def test_a_market_that_goes_on_closes_each_bar_once_and_is_read_whole(tmp_path):
    """Two minutes of it in a board: no frame is malformed, no trade is taken for one known, and each
    minute's bars close."""
    tide, board = ingest_live.Tide(6), Board(capacity=8)
    sent, trades = tmp_path / "sent", 0
    for count in range(130):
        now_ms = START_MS + 1000 * count
        sent.write_bytes(b"".join(tide.frames(now_ms)))
        frames = [bytes(payload) for payload in payloads(sent)]
        trades += sum(b"@aggTrade" in frame for frame in frames)
        board.absorb(frames)
        board.flush(now_ms, whole=True)
    assert board.malformed == 0
    assert board.tapes.duplicates == 0
    assert trades > 100
    minutes = board.klines["1m"].closed_count
    assert tide.closed == minutes + 3 * 6  # the hour turns once in it: 15m, 1h and 4h close too
    assert minutes == 2 * 6


def test_a_symbol_that_costs_more_in_a_larger_market_is_seen(monkeypatch):
    """Memory in proportion to the market meets the bar, memory that rises faster does not."""
    for power, is_met in ((1.0, True), (1.2, False)):
        monkeypatch.setattr(
            memory_parts,
            "full_board",
            lambda symbols, _, power=power: {"scanned_mb": 0.3 * symbols**power},
        )
        assert all(one["holds"] for one in memory_parts.growth()) is is_met
