"""A captured order book, replayed by the venue and rebuilt by a client from the venue's own streams."""

import gzip
import json

import pytest
from tests.shared import SHARED, needs_shared
from tests.sim.driver import Client
from tests.sim.test_streams import apply

from cryptosignal.ground.faults import SequenceGap
from cryptosignal.sim.recorded import replay_book

DIFFS = 900


def capture():
    snapshot, events = None, []
    with gzip.open(SHARED / "data" / "raw" / "usdm_btcusdt_20240808.jsonl.gz", "rt") as file:
        for line in file:
            data = json.loads(line.partition(" ")[2])
            if "lastUpdateId" in data:
                snapshot = data
            elif data["data"]["e"] == "depthUpdate":
                events.append(data["data"])
            if len(events) >= DIFFS:
                return snapshot, events
    return snapshot, events


@needs_shared
def test_a_captured_book_is_served_again_unchanged():
    """The capture's chain is unbroken and uncrossed; the venue's snapshot and diffs give the same book."""
    snapshot, events = capture()
    c = Client(symbols=3, book_levels=1_000)
    book = replay_book(c.venue.exchange, "BTCUSDT", snapshot, events)
    c.open(1, "/public/ws/btcusdt@depth@100ms")
    c.run(5_000)
    snap = c.get("/fapi/v1/depth", symbol="BTCUSDT", limit=1000)
    bids, asks = dict(map(tuple, snap["bids"])), dict(map(tuple, snap["asks"]))
    c.run(events[-1]["T"] - events[0]["T"])
    last = None
    for e in c.inbox[1]:
        if e["u"] < snap["lastUpdateId"]:
            continue
        assert last is None or e["pu"] == last
        last = e["u"]
        apply(bids, e["b"])
        apply(asks, e["a"])
        assert max(map(float, bids)) < min(map(float, asks))
    top_bids = [
        (f"{p / 10:.2f}", f"{q / 1000:.3f}")
        for p, q in book.ladder(c.now, is_bid=True, count=1_000)
    ]
    top_asks = [
        (f"{p / 10:.2f}", f"{q / 1000:.3f}")
        for p, q in book.ladder(c.now, is_bid=False, count=1_000)
    ]
    assert sorted(bids.items(), key=lambda r: -float(r[0])) == top_bids
    assert sorted(asks.items(), key=lambda r: float(r[0])) == top_asks
    real_bids = dict(snapshot["bids"])
    real_asks = dict(snapshot["asks"])
    for e in events:
        if e["u"] >= snapshot["lastUpdateId"]:
            apply(real_bids, e["b"])
            apply(real_asks, e["a"])
    assert sorted(real_bids.items(), key=lambda r: -float(r[0]))[:1_000] == top_bids
    assert sorted(real_asks.items(), key=lambda r: float(r[0]))[:1_000] == top_asks


@needs_shared
def test_a_missing_diff_is_noticed():
    """A hole in the recorded chain raises SequenceGap instead of serving a wrong book."""
    snapshot, events = capture()
    late = [e for e in events if e["u"] >= snapshot["lastUpdateId"]]
    c = Client(symbols=3, book_levels=1_000)
    replay_book(c.venue.exchange, "BTCUSDT", snapshot, [late[0], late[2]])
    with pytest.raises(SequenceGap):
        c.run(10_000)
