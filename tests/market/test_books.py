"""Diff books by the futures rule, tops of books."""

from __future__ import annotations

import gzip
import json

import numpy as np
from tests.market.made import T0, frame
from tests.shared import SHARED, needs_shared

from cryptosignal.market import frames
from cryptosignal.market.board import Board
from cryptosignal.market.books import BookState, DiffBook, Tops


def diff(first, last, before, bids=(), asks=(), event_ms=T0):
    return frames.DepthData(E=event_ms, U=first, u=last, pu=before, b=list(bids), a=list(asks))


def book():
    return DiffBook(100, 1000)


def test_the_recipe_in_order():
    """Buffer, snapshot, drop older, first event spans the id, then each pu equals the former u."""
    made = book()
    made.on_diff(diff(90, 95, 89, [(99, 1)]))
    made.on_diff(diff(96, 105, 95, [(99, 5)], [(101, 2)]))
    assert made.wants_snapshot
    assert made.on_snapshot(100, [(99.0, 3.0), (98.0, 1.0)], [(101.0, 1.0)])
    assert (made.state, made.last_id) == (BookState.SYNCED, 105)
    assert made.top(5) == ([(99, 5), (98, 1)], [(101, 2)])
    assert made.on_diff(diff(106, 110, 105, [(98, 0), (50, 0)]))
    assert made.top(5)[0] == [(99, 5)]


def test_a_snapshot_without_buffered_events_is_continued_by_the_spanning_one():
    """The first event after the snapshot may begin before its id; its pu need not match."""
    made = book()
    made.on_diff(diff(1, 50, 0))
    assert made.on_snapshot(100, [(99.0, 3.0)], [(101.0, 1.0)])
    assert made.on_diff(diff(98, 103, 97, [(99, 4)]))
    assert made.last_id == 103


def test_a_broken_chain_starts_over():
    """A lost difference is noticed at the next one: the book is not shown until rebuilt."""
    made = book()
    made.on_snapshot(100, [(99.0, 3.0)], [(101.0, 1.0)])
    assert made.on_diff(diff(100, 101, 99))
    assert not made.on_diff(diff(105, 106, 104))
    assert made.state is BookState.WAITING
    assert made.wants_snapshot


def test_duplicates_and_overlaps_change_nothing():
    """An event at or before the newest id is dropped."""
    made = book()
    made.on_snapshot(100, [(99.0, 3.0)], [(101.0, 1.0)])
    made.on_diff(diff(100, 101, 99, [(99, 7)]))
    assert made.on_diff(diff(100, 101, 99, [(99, 1)]))
    assert made.top(1)[0] == [(99, 7)]


def test_a_snapshot_older_than_the_buffer_is_refused():
    """If the first buffered event begins after the snapshot's id a newer snapshot is needed."""
    made = book()
    made.on_diff(diff(200, 205, 199))
    assert not made.on_snapshot(100, [(99.0, 3.0)], [(101.0, 1.0)])
    assert made.state is BookState.WAITING


def test_crossed_and_infinite_tops_are_refused():
    """bid ≥ ask or a figure that is none never reaches the arrays."""
    tops = Tops(2, 5)
    assert tops.put(0, T0, [(99.0, 1.0)], [(100.0, 1.0)])
    assert not tops.put(0, T0 + 1, [(101.0, 1.0)], [(100.0, 1.0)])
    assert not tops.put(0, T0 + 1, [(float("inf"), 1.0)], [(100.0, 1.0)])
    assert tops.bid_price[0, 0] == 99
    assert np.isnan(tops.bid_price[0, 1])


def test_partial_books_are_read_late_and_newest():
    """Only the newest partial book is decoded, an older one that arrives after it is not."""
    board = Board(capacity=4)
    for event_ms, price in ((T0, 99.0), (T0 + 200, 98.0), (T0 + 100, 97.0)):
        data = {"e": "depthUpdate", "E": event_ms, "T": event_ms, "s": "BTCUSDT", "U": 1, "u": 2, "pu": 0,
                "b": [[str(price), "1"]], "a": [["100", "2"]]}  # fmt: skip
        board.feed(frame("btcusdt@depth20@100ms", data))
        board.flush(event_ms)
    view = board.view(T0 + 300)
    assert view.book.bid_price[0, 0] == 98
    assert view.book.age_ms[0] == 100


@needs_shared
def test_the_captured_differences_rebuild_the_captured_book():
    """On the real capture the chain never breaks, and the book's best bid and ask equal bookTicker's
    at every shared update id."""
    made = {}
    best, compared = {}, 0
    with gzip.open(SHARED / "data/raw/usdm_4streams_20210722.jsonl.gz", "rt") as lines:
        for line in lines:
            entry = json.loads(line)
            payload = entry["payload"]
            if entry["kind"] == "rest":
                if "lastUpdateId" in payload:
                    symbol = entry["url"].split("symbol=")[1].split("&")[0]
                    sides = [
                        [(float(p), float(q)) for p, q in payload[k]] for k in ("bids", "asks")
                    ]
                    made.setdefault(symbol, book()).on_snapshot(payload["lastUpdateId"], *sides)
                continue
            data = payload["data"]
            if data["e"] == "bookTicker":
                best[data["s"], data["u"]] = (float(data["b"]), float(data["a"]))
            elif data["e"] == "depthUpdate":
                event = frames.DEPTH.decode(json.dumps(payload).encode()).data
                mine = made.setdefault(data["s"], book())
                mine.on_diff(event)
                quote = best.get((data["s"], data["u"]))
                if quote and mine.state is BookState.SYNCED:
                    bids, asks = mine.top(1)
                    assert (bids[0][0], asks[0][0]) == quote
                    compared += 1
    assert len(made) == 2
    assert all(one.state is BookState.SYNCED and one.breaks == 0 for one in made.values())
    assert compared > 0


@needs_shared
def test_the_long_capture_keeps_its_chain():
    """Minutes of BTCUSDT differences: synchronised from the capture's own snapshot, never broken."""
    mine = book()
    applied = 0
    with gzip.open(SHARED / "data/raw/usdm_btcusdt_20240808.jsonl.gz", "rt") as lines:
        for line in lines:
            payload = json.loads(line.split(" ", 1)[1])
            if "lastUpdateId" in payload:
                sides = [[(float(p), float(q)) for p, q in payload[k]] for k in ("bids", "asks")]
                mine.on_snapshot(payload["lastUpdateId"], *sides)
            elif payload.get("stream", "").startswith("btcusdt@depth"):
                event = frames.DEPTH.decode(line.split(" ", 1)[1].encode()).data
                mine.on_diff(event)
                applied += 1
                if applied > 3000:
                    break
    assert mine.state is BookState.SYNCED
    assert mine.breaks == 0
    bids, asks = mine.top(20)
    assert bids[0][0] < asks[0][0]
