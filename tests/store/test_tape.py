"""The tape: what came in comes out in order from any position; it rolls and it may be dropped."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryptosignal.ground.seeds import Seeds
from cryptosignal.store.disk import FileDisk
from cryptosignal.store.faults import DamagedFile
from cryptosignal.store.memory_disk import SimDisk
from cryptosignal.store.runs import Gap
from cryptosignal.store.settings import StoreSettings
from cryptosignal.store.tape import OPENED, Tape, TapeFrame, read_tape, tape_names

SMALL = StoreSettings(tape_chunk_bytes=200, tape_segment_bytes=600, tape_bytes_max=100_000)


def fill(tape, count, size=20):
    for number in range(1, count + 1):
        tape.append(b"%06d" % number + bytes(size), number * 1_000, number, number % 3)


def test_every_entry_comes_back():
    """Position, kind, both times, connection and payload survive, empty payloads included."""
    disk = SimDisk()
    tape = Tape(disk, "tape", "r1")
    assert tape.append(b"", 1, 2, 3, OPENED) == 1
    assert tape.append(b'{"e":"kline"}', -5, 1_700_000_000_000, 4_000_000_000) == 2
    tape.close()
    assert list(read_tape(disk, "tape", "r1")) == [
        TapeFrame(1, OPENED, 1, 2, 3, b""),
        TapeFrame(2, 0, -5, 1_700_000_000_000, 4_000_000_000, b'{"e":"kline"}'),
    ]


@given(st.lists(st.binary(max_size=80), max_size=30), st.integers(1, 40), st.integers(0, 10**6))
@settings(max_examples=60)
def test_from_any_position_after_a_crash(payloads, start, seed):
    """Read from any position, a crashed tape gives an exact stretch of what was written."""
    disk = SimDisk(Seeds(seed).stream("disk"))
    tape = Tape(disk, "tape", "r1", SMALL)
    for number, payload in enumerate(payloads):
        tape.append(payload, number, number)
    tape.close()
    whole = [f.payload for f in read_tape(disk, "tape", "r1", start)]
    assert whole == payloads[start - 1 :]
    disk.crash()
    for frame in read_tape(disk, "tape", "r1", start):
        assert frame.payload == payloads[frame.position - 1]


def test_rolling():
    """All tapes together stay under the cap; the oldest segment goes first, also a former run's."""
    disk = SimDisk()
    cap = StoreSettings(tape_chunk_bytes=200, tape_segment_bytes=300, tape_bytes_max=2_000)
    for run_id in ("first", "second"):
        tape = Tape(disk, "tape", run_id, cap)
        fill(tape, 200)
        tape.close()
        assert sum(disk.size(n) for n in tape_names(disk, "tape")) <= 2_000
        assert tape.stats()["stored_bytes"] <= 2_000
    assert not any(n.endswith("-first.seg") for n in tape_names(disk, "tape"))
    reader = read_tape(disk, "tape", "second")
    positions = [f.position for f in reader]
    assert positions == list(range(positions[0], 201))
    assert reader.gaps == [Gap(0, positions[0])]


def test_full_disk_drops_and_counts():
    """A disk that is full stops the tape, not the run, and says so."""
    disk = SimDisk(capacity_bytes=700)
    tape = Tape(disk, "tape", "r1", SMALL)
    fill(tape, 100)
    tape.close()
    stats = tape.stats()
    assert stats["entries"] == 100
    assert stats["dropped"] > 0
    assert "No space left" in stats["fault"]
    assert [f.position for f in read_tape(disk, "tape", "r1")][:1] == [1]


def test_slow_compression_drops_and_counts():
    """When compression cannot keep up, whole chunks are dropped and readers see the gap."""
    disk = SimDisk()
    limits = StoreSettings(tape_chunk_bytes=100, tape_chunks_waiting_max=1)
    with ThreadPoolExecutor(1) as executor:
        gate = threading.Event()
        executor.submit(gate.wait, 10)
        tape = Tape(disk, "tape", "r1", limits, executor)
        fill(tape, 20)
        gate.set()
        tape.close()
        fill(tape, 3)
        tape.close()
    assert tape.stats()["dropped"] > 0
    reader = read_tape(disk, "tape", "r1")
    read = len(list(reader))
    assert read + tape.stats()["dropped"] == 23
    assert reader.gaps


def test_off_the_loop_on_real_files(tmp_path):
    """With a thread for compression and real files the order is the same."""
    disk = FileDisk(tmp_path)
    with ThreadPoolExecutor(1) as executor:
        patient = StoreSettings(tape_chunk_bytes=200, tape_chunks_waiting_max=1_000)
        tape = Tape(disk, "tape", "r1", patient, executor)
        fill(tape, 300)
        tape.close()
    assert tape.stats()["dropped"] == 0
    assert [f.position for f in read_tape(disk, "tape", "r1", 7)] == list(range(7, 301))
    assert tape.stats()["written_bytes"] < tape.stats()["raw_bytes"]
    disk.close()


def test_torn_and_damaged():
    """A torn tail of the tape is reported, damage in the middle is refused."""
    disk = SimDisk()
    tape = Tape(disk, "tape", "r1", SMALL)
    fill(tape, 60)
    tape.close()
    names = tape_names(disk, "tape")
    disk.truncate(names[-1], disk.size(names[-1]) - 1)
    reader = read_tape(disk, "tape", "r1")
    list(reader)
    assert [t.name for t in reader.torn] == [names[-1]]
    disk.corrupt(names[0], 110)
    with pytest.raises(DamagedFile, match=names[0]):
        list(read_tape(disk, "tape", "r1"))
