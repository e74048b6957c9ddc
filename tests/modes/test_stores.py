"""The tape of a run and the caps of what lies on disk."""

from __future__ import annotations

from itertools import pairwise

import pytest
from tests.modes.real_run import run_once, settings_for, venue_process

from cryptosignal.modes.replay import replay_path
from cryptosignal.store.disk import FileDisk
from cryptosignal.store.runs import Digest, read_run, run_dirs
from cryptosignal.store.tape import FRAME, read_tape


@pytest.mark.slow
def test_a_run_writes_its_tape_and_each_record_says_where_it_was(tmp_path):
    """Every frame of a run lies on its tape with the time it came, the journal's records carry
    positions that never fall and lie on it, and a replay makes every scan's rows again from it."""
    with venue_process() as venue:
        config = settings_for(venue.rest, venue.ws, tmp_path)
        seen = run_once(config, scans=3)
    disk = FileDisk(tmp_path, read_only=True)
    (run_dir,) = run_dirs(disk, "journal")
    run_id = run_dir.partition("-")[2]
    frames = list(read_tape(disk, "tape", run_id))
    assert [frame.position for frame in frames] == list(range(1, len(frames) + 1))
    assert any(frame.kind == FRAME and b"@kline_1m" in frame.payload for frame in frames)
    assert all(a.recv_ns <= b.recv_ns for a, b in pairwise(frames))
    records = [r for r in read_run(disk, run_dir) if not isinstance(r.event, Digest)]
    positions = [record.tape_position for record in records]
    assert positions == sorted(positions)
    assert 0 < positions[-1] <= len(frames)
    assert seen.program.setup.stores.stats()["dropped"] == 0
    report = replay_path(str(tmp_path / run_dir))
    assert report.is_equal
    assert report.scans == report.rows.equal == report.rows.taken == 3
    assert report.rows.tape == "whole"
