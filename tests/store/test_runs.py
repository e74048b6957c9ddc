"""Past runs: a journal that was cut or damaged says what is missing; old inputs are dropped."""

from __future__ import annotations

import pytest
from tests.store.making import HEADER, fact, rows, timer

from cryptosignal.domain.events import ScanTaken
from cryptosignal.ground.faults import UserFault
from cryptosignal.ground.units import DAY_MS
from cryptosignal.store.faults import DamagedFile
from cryptosignal.store.journal import Journal
from cryptosignal.store.memory_disk import SimDisk
from cryptosignal.store.records import SegmentHeader, frame, frame_header
from cryptosignal.store.runs import (
    Gap,
    drop_expired,
    drop_oversize,
    make_durable,
    money_history,
    new_run_dir,
    read_run,
    run_dirs,
    segment_names,
)
from cryptosignal.store.settings import StoreSettings

RUN = "runs/00000001-r1"
SMALL = StoreSettings(segment_bytes_max=600)


async def write_run(disk, run=RUN, events=30, settings=SMALL, start_ms=0):
    journal = Journal.open(disk, run, HEADER, settings)
    for number in range(1, events + 1):
        event = [fact(number), timer(number), ScanTaken(rows(scan_id=number))][number % 3]
        journal.append(number, start_ms + number, event)
        await journal.durable(number)
    return journal


async def test_cut_tail_is_reported():
    """A run whose newest records were cut reads up to the cut and names file, offset and bytes."""
    disk = SimDisk()
    await write_run(disk, events=6, settings=StoreSettings())
    name = f"{RUN}/inputs-000001.seg"
    disk.truncate(name, disk.size(name) - 3)
    reader = read_run(disk, RUN)
    assert [r.seq for r in reader] == [1, 2, 3]
    assert reader.gaps == [Gap(3, 5)]
    torn, gap = reader.report()
    assert torn.startswith(f"{name}: torn tail at byte ")
    assert gap == f"{RUN}: events 4 to 4 are missing: read up to event 3"
    whole = read_run(disk, RUN, past_gaps=True)
    assert [r.seq for r in whole] == [1, 2, 3, 5, 6]


async def test_damage_in_the_middle():
    """A flipped byte with records after it stops recovery with one line naming file and offset."""
    disk = SimDisk()
    await write_run(disk, settings=StoreSettings())
    name = f"{RUN}/money-000001.seg"
    disk.corrupt(name, disk.size(name) // 2)
    with pytest.raises(DamagedFile, match=rf"^{name}: damaged at byte \d+: ") as caught:
        list(money_history(disk, "runs"))
    assert "\n" not in str(caught.value)


async def test_torn_money_with_a_later_segment():
    """A money segment that is cut though a later one exists is damage, not a torn tail."""
    disk = SimDisk()
    await write_run(disk)
    first = segment_names(disk, RUN, "money")[0]
    disk.truncate(first, disk.size(first) - 1)
    with pytest.raises(DamagedFile, match="cut short, yet a later segment exists"):
        list(money_history(disk, "runs"))


async def test_missing_segment_is_a_gap():
    """A deleted segment of inputs is a gap, and the money history does not care."""
    disk = SimDisk()
    await write_run(disk)
    disk.delete(segment_names(disk, RUN, "inputs")[0])
    reader = read_run(disk, RUN)
    list(reader)
    assert reader.gaps
    assert len(list(money_history(disk, "runs"))) == 10


def test_no_journal():
    """A folder without a journal is refused with one line."""
    with pytest.raises(UserFault, match="runs/x: no journal here"):
        read_run(SimDisk(), "runs/x").header()


@pytest.mark.parametrize("stream", ["money", "inputs", "blocks"])
def test_unknown_record(stream):
    """A valid record that this program cannot read is refused by file name, not by traceback."""
    disk = SimDisk()
    name = f"{RUN}/{stream}-000001.seg"
    header = SegmentHeader(stream, 1, 0, {})
    disk.append(name, frame_header(header) + frame(b'[1,2,3,{"type":"Unheard"}]'))
    with pytest.raises(UserFault, match=rf"^{name}: "):
        list(read_run(disk, RUN))


async def test_history_goes_over_runs():
    """The money of all runs comes oldest run first, each record naming its run."""
    disk = SimDisk()
    for run_id in ("b", "a"):
        await write_run(disk, new_run_dir(disk, "runs", run_id), events=6)
    assert run_dirs(disk, "runs") == ["runs/00000001-b", "runs/00000002-a"]
    back = [(r.run_dir[-1], r.seq) for r in money_history(disk, "runs")]
    assert back == [("b", 3), ("b", 6), ("a", 3), ("a", 6)]


async def test_what_was_read_at_a_start_stays():
    """A killed process leaves records that nobody synced: once a start has built on them, a loss of
    power takes them no more."""
    disk = SimDisk()
    await write_run(disk)
    name = segment_names(disk, RUN, "money")[-1]
    whole = disk.read(name)
    disk.truncate(name, 0)
    disk.append(name, whole)
    known = [record.seq for record in money_history(disk, "runs")]
    make_durable(disk, "runs")
    disk.crash()
    assert [record.seq for record in money_history(disk, "runs")] == known
    disk.append(name, b"torn")
    disk.crash()
    assert disk.read(name) == whole, "without it the tail is gone"


async def test_torn_tails_of_each_run_are_reported():
    """Recovery names every torn tail it skipped and loses nothing else."""
    disk = SimDisk()
    for run_id in ("a", "b"):
        run = new_run_dir(disk, "runs", run_id)
        await write_run(disk, run, events=6, settings=StoreSettings())
        name = f"{run}/money-000001.seg"
        disk.truncate(name, disk.size(name) - 1)
    history = money_history(disk, "runs")
    assert [r.seq for r in history] == [3, 3]
    assert len(history.torn) == 2


async def test_retention():
    """Inputs and blocks older than the limit go, money and the newest run stay."""
    disk = SimDisk()
    await write_run(disk, new_run_dir(disk, "runs", "old"), start_ms=0)
    await write_run(disk, new_run_dir(disk, "runs", "new"), start_ms=99 * DAY_MS)
    money_before = disk.names("runs/00000001-old/money")
    assert drop_expired(disk, "runs", 80 * DAY_MS, SMALL) == []
    deleted = drop_expired(disk, "runs", 150 * DAY_MS, SMALL)
    last = [segment_names(disk, "runs/00000001-old", stream) for stream in ("inputs", "blocks")]
    assert [len(names) for names in last] == [1, 1]  # they end where the next run begins
    deleted += drop_expired(disk, "runs", 189 * DAY_MS + 4, SMALL)
    assert deleted
    assert all("00000001-old" in name and "money" not in name for name in deleted)
    assert disk.names("runs/00000001-old/") == money_before
    assert len(list(read_run(disk, "runs/00000002-new"))) == 30


async def test_stores_keep_their_caps_oldest_first():
    """Past its cap a store loses its oldest segments, of the oldest run first; money, and what is
    being written, stay whatever the cap."""
    disk = SimDisk()
    for run_id in ("old", "new"):
        await write_run(disk, new_run_dir(disk, "runs", run_id))
    money = [name for name in disk.names("runs/") if "/money-" in name]
    inputs = [n for run in run_dirs(disk, "runs") for n in segment_names(disk, run, "inputs")]
    size = sum(disk.size(name) for name in inputs)
    assert drop_oversize(disk, "runs", SMALL) == []
    tight = StoreSettings(inputs_bytes_max=size - 1, blocks_bytes_max=1)
    gone = drop_oversize(disk, "runs", tight)
    assert [name for name in gone if "/inputs-" in name] == inputs[:1]
    left = [n for run in run_dirs(disk, "runs") for n in segment_names(disk, run, "blocks")]
    assert len(left) == 1
    assert "00000002-new" in left[0]
    assert [name for name in disk.names("runs/") if "/money-" in name] == money
