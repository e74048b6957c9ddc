"""The journal: three streams, one sequence, nothing acknowledged is ever lost."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys

import pytest
from hypothesis import given, note, settings
from hypothesis import strategies as st
from tests.store.making import HEADER, fact, intent, marks, rows, started, timer

from cryptosignal.domain.events import MONEY_EVENTS, ScanTaken
from cryptosignal.ground.faults import ContractFault
from cryptosignal.ground.loop import VirtualLoop
from cryptosignal.ground.seeds import Seeds
from cryptosignal.store.disk import FileDisk
from cryptosignal.store.faults import DiskFault
from cryptosignal.store.journal import Journal, numeric_path
from cryptosignal.store.memory_disk import SimDisk
from cryptosignal.store.runs import Digest, money_history, new_run_dir, read_run, segment_names
from cryptosignal.store.settings import StoreSettings

RUN = "runs/00000001-r1"
SMALL = StoreSettings(segment_bytes_max=1024)


def event_of(kind, number):
    return {
        "money": lambda: fact(number),
        "input": lambda: timer(number),
        "scan": lambda: ScanTaken(rows(scan_id=number)),
    }[kind]()


def seen(records):
    return [(r.seq, type(r.event).__name__) for r in records]


async def test_one_sequence_over_three_streams():
    """Events of all types come back in the order they were taken, digests after their event."""
    disk = SimDisk()
    journal = Journal.open(disk, RUN, HEADER)
    events = [started(), timer(), ScanTaken(rows()), intent(), marks(), fact(1)]
    for number, event in enumerate(events, start=1):
        journal.append(number, 1_000 + number, event, 10 * number)
        journal.write_digest(number, f"d{number}")
    await journal.durable(6)
    reader = read_run(disk, RUN)
    back = list(reader)
    assert seen(back)[:4] == [(1, "EngineStarted"), (1, "Digest"), (2, "TimerFired"), (2, "Digest")]
    taken = [r for r in back if not isinstance(r.event, Digest)]
    assert [r.seq for r in taken] == [1, 2, 3, 4, 5, 6]
    assert [(r.now_ms, r.tape_position) for r in taken] == [
        (1_000 + n, 10 * n) for n in range(1, 7)
    ]
    assert taken[3].event == intent()
    assert taken[4].event.prices["BTCUSDT"] != taken[4].event.prices["BTCUSDT"]  # NaN survives
    assert taken[2].event.rows.symbols == rows().symbols
    assert reader.report() == []
    assert reader.header() == HEADER


async def test_streams_by_type():
    """Money events alone are in the money stream; scans are blocks, the rest inputs."""
    disk = SimDisk()
    journal = Journal.open(disk, RUN, HEADER)
    for number, event in enumerate([intent(), marks(1.0), ScanTaken(rows())], start=1):
        journal.append(number, 0, event)
    assert b"IntentRecorded" in disk.read(f"{RUN}/money-000001.seg")
    assert b"MarksUpdated" in disk.read(f"{RUN}/inputs-000001.seg")
    assert b"S1USDT" in disk.read(f"{RUN}/blocks-000001.seg")
    assert all(isinstance(r.event, MONEY_EVENTS) for r in money_history(disk, "runs"))
    assert all(journal.bytes_written.values())


async def test_sequence_is_checked():
    """A skipped or repeated number, a late digest and an early durable are our own bugs."""
    journal = Journal.open(SimDisk(), RUN, HEADER)
    journal.append(1, 0, timer())
    for wrong in (1, 3):
        with pytest.raises(ContractFault, match=f"event {wrong} after 1"):
            journal.append(wrong, 0, timer())
    with pytest.raises(ContractFault, match="digest of 2"):
        journal.write_digest(2, "d")
    with pytest.raises(ContractFault, match="before it was appended"):
        await journal.durable(2)


async def test_a_run_is_written_once():
    """A folder that holds a journal is not written again; new folders sort after old ones."""
    disk = SimDisk()
    assert new_run_dir(disk, "runs", "a") == "runs/00000001-a"
    Journal.open(disk, RUN, HEADER).append(1, 0, started())
    with pytest.raises(ContractFault, match="has a journal already"):
        Journal.open(disk, RUN, HEADER)
    assert new_run_dir(disk, "runs", "b") == "runs/00000002-b"


async def test_durable_is_cheap_when_it_is():
    """A mark that is durable, or has no money record before it, costs no sync."""
    disk = SimDisk()
    journal = Journal.open(disk, RUN, HEADER)
    journal.append(1, 0, timer())
    await journal.durable(1)
    assert disk.syncs == 0
    journal.append(2, 0, intent())
    journal.append(3, 0, timer())
    await journal.durable(3)
    await journal.durable(2)
    assert (disk.syncs, journal.durable_seq) == (1, 2)


async def test_keeper_makes_durable_unasked():
    """With the keeper running, money records become durable though nobody waits for them."""
    disk = SimDisk()
    journal = Journal.open(disk, RUN, HEADER)
    keeper = asyncio.create_task(journal.run())
    for number in range(1, 4):
        journal.append(number, 0, fact(number))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert journal.durable_seq == 3
    keeper.cancel()
    disk.crash()
    assert [r.seq for r in money_history(disk, "runs")] == [1, 2, 3]


async def test_segments_rotate():
    """Long streams are cut into segments that read as one; money only where all is durable."""
    disk = SimDisk()
    journal = Journal.open(disk, RUN, HEADER, SMALL)
    for number in range(1, 61):
        journal.append(number, number, (fact if number % 2 else timer)(number))
        if number % 5 == 0:
            await journal.durable(number)
    assert len(segment_names(disk, RUN, "money")) > 2
    assert len(segment_names(disk, RUN, "inputs")) > 1
    assert [r.seq for r in read_run(disk, RUN)] == list(range(1, 61))
    await journal.durable(60)


async def test_money_never_rotates_over_an_unsynced_tail():
    """Without a sync the money journal stays in one segment, however long."""
    disk = SimDisk()
    journal = Journal.open(disk, RUN, HEADER, SMALL)
    for number in range(1, 61):
        journal.append(number, 0, fact(number))
    assert len(segment_names(disk, RUN, "money")) == 1


async def test_full_disk_stops_money_only():
    """A disk that is full ends the run at the next money record, inputs are only counted."""
    disk = SimDisk()
    journal = Journal.open(disk, RUN, HEADER)
    journal.append(1, 0, intent())
    await journal.durable(1)
    disk.capacity_bytes = disk.used_bytes()
    for number in (2, 3):
        journal.append(number, 0, timer())
    for number in (4, 5):
        journal.append(number, 0, ScanTaken(rows()))
    assert journal.lost == {"inputs": 1, "blocks": 1}  # the first of each was on its way
    journal.append(6, 0, intent())
    with pytest.raises(DiskFault, match="No space left"):
        await journal.durable(6)
    with pytest.raises(DiskFault, match="No space left"):
        journal.append(7, 0, intent())
    disk.capacity_bytes = None
    disk.crash()
    assert [r.seq for r in money_history(disk, "runs")] == [1]


async def test_failed_sync_is_no_durable():
    """A send that waits for its intent learns that the sync failed."""
    disk = SimDisk()
    journal = Journal.open(disk, RUN, HEADER)
    journal.append(1, 0, intent())
    disk.fail_syncs(1)
    with pytest.raises(DiskFault, match="cannot sync"):
        await journal.durable(1)
    assert journal.durable_seq == 0


KINDS = st.lists(
    st.sampled_from(["money", "input", "scan", "digest", "durable"]), min_size=1, max_size=40
)


@given(KINDS, st.integers(0, 2**31), st.integers(300, 3_000))
@settings(max_examples=150, deadline=None)
def test_crash_anywhere(kinds, seed, segment_bytes):
    """After a crash at any byte of any file the streams hold exact prefixes, and every record that
    was acknowledged as durable is there."""
    note(f"seed {seed}")
    disk = SimDisk(Seeds(seed).stream("disk"), sync_ms=2.0)
    written, acknowledged = [], 0

    async def main():
        nonlocal acknowledged
        journal = Journal.open(disk, RUN, HEADER, StoreSettings(segment_bytes_max=segment_bytes))
        for kind in kinds:
            if kind == "durable":
                await journal.durable(journal.seq)
                acknowledged = journal.seq
            elif kind == "digest":
                journal.write_digest(journal.seq, "d")
            else:
                event = event_of(kind, journal.seq + 1)
                journal.append(journal.seq + 1, 0, event)
                written.append((journal.seq, event))

    loop = VirtualLoop()
    loop.run_until_complete(main())
    loop.close()
    disk.crash()
    money = [(s, e) for s, e in written if isinstance(e, MONEY_EVENTS)]
    back = [(r.seq, r.event) for r in money_history(disk, "runs")]
    assert back == money[: len(back)]
    assert len(back) >= sum(1 for s, _ in money if s <= acknowledged)
    reader = read_run(disk, RUN)
    run = [r.seq for r in reader if not isinstance(r.event, Digest)]
    assert run == list(range(1, len(run) + 1))
    if len(run) < len(written) and reader.gaps:
        assert reader.gaps[0].after_seq == len(run)


@given(st.floats(0.0, 0.2), st.integers(0, 2**31), st.floats(0.0, 5.0))
@settings(max_examples=60)
def test_killed_at_any_await(kill_s, seed, sync_ms):
    """A simulated process killed at any time leaves, for the next one, all that it was told of, and
    the next one writes a run of its own beside it."""
    note(f"seed {seed}")
    loop = VirtualLoop()
    disk = SimDisk(Seeds(seed).stream("disk"), sync_ms=sync_ms)
    told = []

    async def life(run_id):
        journal = Journal.open(disk, new_run_dir(disk, "runs", run_id), HEADER, SMALL)
        keeper = asyncio.create_task(journal.run())
        for number in range(1, 31):
            journal.append(number, 0, event_of("money" if number % 2 else "input", number))
            if number % 3 == 0:
                await journal.durable(number)
                told.append((journal.run_dir, number))
            await asyncio.sleep(0.003)
        keeper.cancel()

    async def world():
        loop.start_process(1, lambda: life("first"))
        await asyncio.sleep(kill_s)
        loop.kill(1)
        disk.crash()
        await loop.start_process(2, lambda: life("second"))

    loop.run_until_complete(world())
    loop.discard_dead()
    loop.close()
    back = [(r.run_dir, r.seq) for r in money_history(disk, "runs")]
    assert len(back) == len(set(back))
    for run_dir, number in told:
        expected = [(run_dir, n) for n in range(1, number + 1) if n % 2]
        assert [b for b in back if b[0] == run_dir][: len(expected)] == expected


async def test_on_real_files(tmp_path):
    """The same journal lies in real files, and a second disk reads it."""
    disk = FileDisk(tmp_path)
    journal = Journal.open(disk, RUN, HEADER)
    for number in range(1, 101):
        journal.append(number, number, fact(number))
        if number % 25 == 0:
            await journal.durable(number)
    disk.close()
    other = FileDisk(tmp_path)
    assert [r.seq for r in money_history(other, "runs")] == list(range(1, 101))
    other.close()


WRITER = """
import asyncio, sys
from pathlib import Path
from cryptosignal.store.disk import FileDisk
from cryptosignal.store.journal import Journal
from tests.store.making import HEADER, intent, timer

async def main():
    journal = Journal.open(FileDisk(Path(sys.argv[1])), "runs/00000001-r1", HEADER)
    for number in range(1, 1_000_000):
        journal.append(number, number, intent(number) if number % 3 else timer(number))
        if number % 5 == 0:
            await journal.durable(number)
            print(number, flush=True)

asyncio.run(main())
"""


@pytest.mark.parametrize("lines", [1, 7, 60])
def test_killed_for_real(tmp_path, lines):
    """A process killed by SIGKILL in mid-write leaves every money record that it was told of."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path)],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    acknowledged = [int(writer.stdout.readline()) for _ in range(lines)][-1]
    writer.kill()
    writer.communicate()
    disk = FileDisk(tmp_path, read_only=True)
    back = [r.seq for r in money_history(disk, "runs")]
    money = [n for n in range(1, acknowledged + 1) if n % 3]
    assert back[: len(money)] == money
    reader = read_run(disk, RUN)
    run = [r.seq for r in reader]
    assert run == list(range(1, len(run) + 1))


def test_numeric_path_names_what_matters():
    """The numeric path names Python, numpy and the kernels."""
    text = numeric_path("numba-0.68")
    assert "/python-3." in text
    assert text.endswith("/numba-0.68")
