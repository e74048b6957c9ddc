"""Outcome rows: durable JSON lines by day, each signal once, torn last lines dropped."""

from __future__ import annotations

import math

import pytest
from tests.store.making import outcome

from cryptosignal.store.faults import DamagedFile
from cryptosignal.store.memory_disk import SimDisk
from cryptosignal.store.outcomes import OutcomeLog

DAY = "2023-11-14"
DAY_MS = 86_400_000


async def test_rows_by_day():
    """Rows lie under the UTC day of their close and come back equal."""
    disk = SimDisk()
    log = OutcomeLog(disk)
    first, second = outcome("a"), outcome("b", 1_700_000_000_000 + DAY_MS)
    log.append(first)
    await log.durable()
    log.append(second)
    await log.durable()
    disk.crash()
    assert log.days() == [DAY, "2023-11-15"]
    assert log.read_day(DAY) == [first]
    assert log.read_all() == [first, second]
    assert log.read_day("2023-01-01") == []


def test_written_twice_counts_once():
    """A signal written again by a restart counts once, with its newest row."""
    log = OutcomeLog(SimDisk())
    for reason in ("stop", "exit"):
        log.append(outcome("a", exit_reason=reason))
    assert [o.exit_reason for o in log.read_day(DAY)] == ["exit"]


def test_torn_line_is_dropped_and_cut():
    """A cut last line is not read, and the next row does not stick to it."""
    disk = SimDisk()
    OutcomeLog(disk).append(outcome("a"))
    disk.append(f"outcomes/{DAY}.jsonl", b'{"signal_id":"b","sy')
    assert [o.signal_id for o in OutcomeLog(disk).read_day(DAY)] == ["a"]
    log = OutcomeLog(disk)
    log.append(outcome("c"))
    assert [o.signal_id for o in log.read_day(DAY)] == ["a", "c"]


def test_damaged_line_is_named():
    """A line in the middle that cannot be read is a fault naming file and byte."""
    disk = SimDisk()
    disk.append(f"outcomes/{DAY}.jsonl", b'{"signal_id":1}\n')
    with pytest.raises(DamagedFile, match=rf"^outcomes/{DAY}.jsonl: damaged at byte 0"):
        OutcomeLog(disk).read_day(DAY)


def test_undefined_risk_survives():
    """A row whose R is not defined is written and read as NaN."""
    log = OutcomeLog(SimDisk())
    log.append(outcome("a", r_multiple=math.nan))
    (row,) = log.read_day(DAY)
    assert math.isnan(row.r_multiple)
    assert row.mfe_r == 1.5
