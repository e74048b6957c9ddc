"""Frames of every shape reach their stream."""

from __future__ import annotations

import gzip
import json

import pytest
from tests.market.made import T0, frame, kline, trade
from tests.shared import SHARED, needs_shared

from cryptosignal.market.board import Board


@pytest.mark.parametrize("dump", [{}, {"indent": 1}, {"separators": (", ", ": ")}])
@pytest.mark.parametrize("raw", [False, True])
def test_combined_and_raw_frames_of_any_spacing(dump, raw):
    """Enveloped or raw, tight or spaced: the bar closes all the same."""
    board = Board(capacity=4)
    board.feed(kline(raw=raw, **dump))
    board.feed(kline(event_ms=T0 + 60_010, close=104, x=True, raw=raw, **dump))
    board.flush(T0 + 60_020)
    assert board.klines["1m"].row(0, board.klines["1m"].column(T0))[3] == 104
    assert board.inbox.by_kind["kline"][0].name == "btcusdt@kline_1m"


def test_keys_in_another_order_and_layouts_that_change():
    """data before stream, and fields that move between frames, cost time but no bar."""
    board = Board(capacity=4)
    first = json.loads(kline())
    board.feed(json.dumps({"data": first["data"], "stream": first["stream"]}).encode())
    board.flush(T0 + 1000)
    board.feed(kline(event_ms=T0 + 2000))
    shuffled = json.loads(kline(event_ms=T0 + 60_010, close=104, x=True))
    body = shuffled["data"]
    moved = {"s": body["s"], "st": 1, "k": body["k"], "e": body["e"], "E": body["E"]}
    board.feed(frame("btcusdt@kline_1m", moved))
    board.flush(T0 + 60_020)
    assert board.klines["1m"].closed_count == 1


def test_long_and_foreign_names_do_not_mix():
    """Names longer than the fast slice, alike in their head, and Chinese ones stay apart."""
    board = Board(capacity=8)
    long_name = "VERYLONGTOKENNAMEOFTHEYEARUSDT"
    for interval, step in (("1m", 60_000), ("15m", 900_000), ("1h", 3_600_000)):
        board.feed(kline(T0, symbol=long_name, interval=interval, step=step))
    board.feed(kline(T0, symbol="币安人生USDT", interval="1m"))
    board.flush(T0 + 2000)
    seen = {stream.name: stream.count for stream in board.inbox.streams.values()}
    assert sorted(seen.values()) == [1, 1, 1, 1]
    assert board.forming("币安人生usdt", "1m").open == 100
    assert board.forming(long_name, "15m").close == 101


def test_replies_and_noise_are_told_apart():
    """Acknowledgements come back to the caller; garbage is counted and harms nothing."""
    board = Board(capacity=4)
    batch = [b'{"result":null,"id":1}', kline(), b"<html>", b"\xff\xfe{", b"", b'{"stream":"x']
    assert board.absorb(batch) == [batch[0], *batch[2:]]
    board.flush(T0 + 1000)
    assert board.malformed >= 2
    assert board.frames == 1


def test_one_bad_trade_does_not_cost_its_neighbours():
    """A frame that cannot be decoded is dropped alone."""
    board = Board(capacity=4)
    board.feed(trade(1, 100, 1, T0))
    board.feed(trade(2, 100, 1, T0 + 1)[:-9] + b"]]")
    board.feed(trade(3, 100, 1, T0 + 2))
    board.flush(T0 + 10, whole=True)
    assert board.tapes.total(0) == 2
    assert board.malformed == 1


def test_an_empty_funding_rate_is_nan_and_the_mark_stays():
    """markPrice with r="" keeps mark and index; the rate is NaN."""
    board = Board(capacity=4)
    data = {
        "e": "markPriceUpdate",
        "E": T0,
        "s": "BTCUSDT",
        "p": "5.5",
        "i": "5.4",
        "P": "",
        "r": "",
        "T": 0,
    }
    board.feed(frame("btcusdt@markPrice@1s", data))
    view = board.view(T0 + 10)
    assert (view.mark[0], view.index[0]) == (5.5, 5.4)
    assert view.funding_rate[0] != view.funding_rate[0]
    board.feed(frame("!markPrice@arr@1s", [data | {"E": T0 + 5, "p": "6", "r": "0.0001", "st": 1}]))
    board.feed(frame("!markPrice@arr@1s", [data | {"E": T0 + 6, "p": "9", "st": 2}]))
    view = board.view(T0 + 20)
    assert (view.mark[0], view.funding_rate[0]) == (6, 0.0001)


def test_the_frames_of_a_lagging_recorder_do_not_read_as_late():
    """A clock 1.27 s behind the venue's shows no drift; a real delay of a second does."""
    board = Board(capacity=4)
    for second in range(60):
        board.feed(kline(T0, T0 + second * 900))
        board.flush(T0 + second * 900 - 1270)
    tally = board.take_tally()
    assert (tally.late.sum(), tally.disordered.sum(), tally.events.sum()) == (0, 0, 60)
    board.feed(kline(T0, T0 + 56_000))
    board.flush(T0 + 56_000 - 270)
    assert board.take_tally().late.sum() == 1


def test_events_far_behind_are_counted():
    """A frame more than two seconds older than one before is out of order; a nearer one is healed."""
    board = Board(capacity=4)
    for at in (1000, 5000, 4000, 2000):
        board.feed(kline(T0, T0 + at, close=100 + at / 1000))
    board.flush(T0 + 5000)
    assert board.take_tally().disordered.sum() == 1
    assert board.forming("BTCUSDT", "1m").close == 105


@needs_shared
def test_the_captures_decode_without_a_lost_frame():
    """Every frame of the real captures finds its stream; no field is lost on the way."""
    board = Board(capacity=8)
    count = klines = 0
    final = {}
    with gzip.open(SHARED / "data/raw/usdm_4streams_20210722.jsonl.gz", "rt") as lines:
        for line in lines:
            entry = json.loads(line)
            if entry["kind"] != "ws":
                continue
            payload = entry["payload"]
            assert board.feed(json.dumps(payload).encode())
            board.flush(int(entry["recv"] * 1000))
            count += 1
            if payload["data"]["e"] == "kline" and payload["data"]["k"]["x"]:
                klines += 1
                final[payload["data"]["s"]] = payload["data"]["k"]
    board.flush(int(entry["recv"] * 1000), whole=True)
    assert board.frames == count
    assert board.malformed == 0
    assert sum(bars.closed_count for bars in board.klines.values()) == klines > 0
    for symbol, body in final.items():
        bars = board.klines["1m"]
        row = bars.row(board.slot(symbol), bars.column(body["t"]))
        assert row == tuple(float(body[key]) for key in "ohlcvqnVQ")


@needs_shared
def test_whole_market_fixtures_decode():
    """The recorded array frames and forced orders are understood, whatever their age."""
    board = Board(capacity=8)
    known = 0
    for line in (SHARED / "fixtures/frames_unicorn_fy.jsonl").read_text().splitlines():
        entry = json.loads(line)
        text = entry.get("frame") or entry.get("text") or entry.get("payload") or entry.get("raw")
        if text is None:
            continue
        payload = text.encode() if isinstance(text, str) else json.dumps(text).encode()
        known += board.feed(payload)
    board.flush(T0, whole=True)
    assert board.malformed == 0


def test_layouts_that_alternate_within_a_stream_keep_the_newest_frame():
    """Tight, spaced, reordered and raw frames of one stream in turn: the newest one counts."""
    board = Board(capacity=4)
    for k in range(40):
        told = kline(event_ms=T0 + 1_000 + 250 * k, close=100 + k / 10)
        data = json.loads(told)
        shapes = (
            told,
            json.dumps(data).encode(),
            json.dumps({"data": data["data"], "stream": data["stream"]}).encode(),
            json.dumps(data["data"], separators=(",", ":")).encode(),
        )
        board.feed(shapes[(k * 7) % 4])
        if k % 5 == 0:
            board.flush(T0 + 1_100 + 250 * k)
    board.flush(T0 + 12_000)
    assert board.forming("BTCUSDT", "1m").close == 103.9
    (stream,) = board.inbox.by_kind["kline"]
    assert (stream.count, stream.inversions, board.malformed) == (40, 0, 0)


def test_a_final_frame_counts_whatever_time_it_claims():
    """A bar closes on its final frame, however early that says it was made."""
    board = Board(capacity=4)
    board.feed(kline(event_ms=T0 + 1_000))
    board.flush(T0 + 1_100)
    board.feed(kline(event_ms=T0 + 1_500, close=105, x=True))
    board.flush(T0 + 1_600)
    assert board.klines["1m"].closed_count == 1
    assert board.klines["1m"].row(0, board.klines["1m"].column(T0))[3] == 105


def test_a_layout_whose_times_move_with_every_frame_keeps_order_and_newest():
    """Event times behind figures of any length are found in each frame: nothing counts as out of order,
    the newest frame wins, of one moment the one that came last."""
    board = Board(capacity=4)
    for n in range(12):
        body = json.loads(kline(event_ms=T0 + 1000 + n, close=101 + n, volume=10**n))["data"]
        board.feed(frame("btcusdt@kline_1m", {key: body[key] for key in ("s", "k", "E", "e")}))
        levels = [[str(100 - n), "1" * (1 + n)]]
        book = {
            "b": levels,
            "a": [["200", "1"]],
            "U": 1,
            "u": 2,
            "pu": 0,
            "E": T0 + 1000 + n // 2 * 2,
        }
        board.feed(frame("btcusdt@depth20@100ms", {"e": "depthUpdate", **book}))
        if n % 5 == 4:
            board.flush(T0 + 2000)
    board.view(T0 + 3000)
    assert board.forming("BTCUSDT", "1m").close == 112
    assert board.tops.bid_price[0, 0] == 89
    assert [one.inversions for one in board.inbox.streams.values()] == [0, 0]
    assert board.take_tally().disordered.sum() == 0


def test_a_stream_of_months_is_left_aside():
    """A kline stream whose bars have no fixed length is counted and disturbs nothing."""
    board = Board(capacity=4)
    board.feed(kline(interval="1M"))
    board.feed(kline())
    board.flush(T0 + 2000)
    assert board.frames == 2
    assert "1M" not in board.klines


def test_times_that_are_no_digits_stop_no_flush():
    """Bytes damaged within an open or event time cost their frame alone."""
    board = Board(capacity=4)
    board.feed(kline())
    board.flush(T0 + 1500)
    damaged = kline(event_ms=T0 + 2000).replace(b'"t":176364', b'"t":1763\xc44')
    board.absorb([damaged, kline(event_ms=T0 + 2001).replace(b"1763640002001", b"17636400020:1")])
    board.flush(T0 + 2500)
    board.feed(kline(event_ms=T0 + 3000, close=103))
    board.flush(T0 + 3500)
    assert board.forming("BTCUSDT", "1m").close == 103
    assert board.malformed >= 1
