"""The tape of a run and the caps of what lies on disk."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import numpy as np
import pytest
from tests.modes.real_run import run_once, settings_for, venue_process
from tests.net_feed.soak import Plan, Soak, empty

from cryptosignal.ground.loop import VirtualLoop
from cryptosignal.market.board import Board
from cryptosignal.market.settings import MarketSettings
from cryptosignal.modes.virtual_net import NetFaults
from cryptosignal.store.disk import FileDisk
from cryptosignal.store.memory_disk import SimDisk
from cryptosignal.store.runs import Digest, read_run, run_dirs
from cryptosignal.store.tape import Tape, read_tape


@pytest.mark.slow
def test_a_run_writes_its_tape_and_each_record_says_where_it_was(tmp_path):
    """Every frame of a run lies on its tape with the time it came, and the journal's records carry
    positions that never fall and lie on it."""
    with venue_process() as venue:
        config = settings_for(venue.rest, venue.ws, tmp_path)
        seen = run_once(config, scans=3)
    disk = FileDisk(tmp_path, read_only=True)
    (run_dir,) = run_dirs(disk, "journal")
    run_id = run_dir.partition("-")[2]
    frames = list(read_tape(disk, "tape", run_id))
    assert [frame.position for frame in frames] == list(range(1, len(frames) + 1))
    assert any(b"@kline_1m" in frame.payload for frame in frames)
    assert all(a.recv_ns <= b.recv_ns for a, b in pairwise(frames))
    records = [r for r in read_run(disk, run_dir) if not isinstance(r.event, Digest)]
    positions = [record.tape_position for record in records]
    assert positions == sorted(positions)
    assert 0 < positions[-1] <= len(frames)
    assert seen.program.setup.stores.stats()["dropped"] == 0


def test_what_the_tape_holds_makes_the_same_bars():
    """A fresh board that is fed from the tape, frame by frame at the time they came, closes the
    same bars as the board of the run."""
    loop = VirtualLoop()
    disk = SimDisk()
    tape = Tape(disk, "tape", "r1")
    closed, again = [], []
    try:
        plan = Plan(
            symbols=3, intervals=("1m",), warm=1, hot=0, faults="calm", net=NetFaults(), pace=4.0
        )
        rig = Soak(loop, plan)
        rig.feed.tap = lambda conn, now_ms, payload: tape.append(
            payload, rig.clock.mono_ns(), now_ms, conn
        )
        rig.board.on_kline_close.append(lambda s, _i, bar, _f: closed.append((s, bar)))
        loop.run_until_complete(rig.start())
        loop.run_until_complete(asyncio.sleep(240))
        loop.run_until_complete(rig.stop())
    finally:
        empty(loop)
    tape.close()
    board = Board(MarketSettings(intervals=("1m",)), capacity=3)
    board.on_kline_close.append(lambda s, _i, bar, _f: again.append((s, bar)))
    for frame in read_tape(disk, "tape", "r1"):
        board.feed(frame.payload, frame.recv_ns, frame.now_ms)
        board.flush(frame.now_ms, whole=True)
    assert len(closed) >= 6
    assert sorted(again, key=str) == sorted(closed, key=str)
    assert np.isfinite(board.tapes.price).any()
