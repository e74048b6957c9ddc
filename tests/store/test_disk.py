"""Real files: order, durability, group commit and faults, under each loop that the program runs on."""

from __future__ import annotations

import asyncio
import errno
import os
import tempfile
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryptosignal.ground.clock import host_mono_ns
from cryptosignal.ground.faults import ContractFault, UserFault
from cryptosignal.ground.loop import ScaledLoop
from cryptosignal.store.disk import FileDisk
from cryptosignal.store.faults import DiskFault
from cryptosignal.store.memory_disk import SimDisk
from cryptosignal.store.settings import StoreSettings


def uvloop_loop():
    return pytest.importorskip("uvloop").new_event_loop()


LOOPS = {
    "standard": asyncio.new_event_loop,
    "uvloop": uvloop_loop,
    "scaled": lambda: ScaledLoop(60.0, host_mono_ns()),
}


@pytest.fixture
def disk(tmp_path):
    disk = FileDisk(tmp_path)
    yield disk
    disk.close()


@pytest.mark.parametrize("kind", LOOPS)
def test_each_loop(tmp_path, kind):
    """A sync resolves, and what was appended before it is in the file, on every loop."""

    async def main():
        disk = FileDisk(tmp_path)
        for number in range(50):
            disk.append("runs/1/money", b"%d," % number)
            if number % 10 == 0:
                await disk.sync("runs/1/money")
                seen = (tmp_path / "runs/1/money").read_bytes()
                assert seen.endswith(b"%d," % number)
        await asyncio.gather(*(disk.sync("runs/1/money") for _ in range(20)))
        disk.close()

    loop = LOOPS[kind]()
    loop.run_until_complete(main())
    loop.close()
    expected = b"".join(b"%d," % n for n in range(50))
    assert (tmp_path / "runs/1/money").read_bytes() == expected


async def test_group_commit(disk, monkeypatch):
    """Appends that gather while a sync runs share the next one."""
    entered, release = threading.Event(), threading.Event()
    real = os.fdatasync

    def slow(descriptor):
        entered.set()
        assert release.wait(10)
        real(descriptor)

    monkeypatch.setattr("cryptosignal.store.disk._SYNC_DATA", slow)
    disk.append("a", b"first")
    first = asyncio.create_task(disk.sync("a"))
    await asyncio.to_thread(entered.wait, 10)
    rest = []
    for _ in range(100):
        disk.append("a", b".")
        rest.append(asyncio.create_task(disk.sync("a")))
        await asyncio.sleep(0)
    assert not first.done()
    release.set()
    await asyncio.gather(first, *rest)
    assert disk.commits == 2


async def test_sync_of_the_unwritten_returns(disk):
    """A sync of a file without news returns at once."""
    await disk.sync("nothing")
    disk.append("a", b"x")
    await disk.sync("a")
    commits = disk.commits
    await disk.sync("a")
    assert disk.commits == commits


async def test_write_fault_reaches_everybody(tmp_path, monkeypatch):
    """A full disk is told to the waiter and to every later append, and only for its own file."""
    disk = FileDisk(tmp_path)
    real = os.write

    def full(descriptor, data):
        if bytes(data).startswith(b"big"):
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(descriptor, data)

    monkeypatch.setattr(os, "write", full)
    disk.append("a", b"big one")
    with pytest.raises(DiskFault, match="a: cannot write: No space left on device"):
        await disk.sync("a")
    with pytest.raises(DiskFault, match="No space"):
        disk.append("a", b"more")
    disk.append("b", b"fine")
    await disk.sync("b")
    disk.close()


async def test_sync_fault_is_final(tmp_path, monkeypatch):
    """After a failed fdatasync the file stays failed: no second sync pretends success."""
    disk = FileDisk(tmp_path)

    def broken(descriptor):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("cryptosignal.store.disk._SYNC_DATA", broken)
    disk.append("a", b"x")
    with pytest.raises(DiskFault, match="a: cannot sync: Input/output error"):
        await disk.sync("a")
    monkeypatch.undo()
    with pytest.raises(DiskFault):
        await disk.sync("a")
    disk.close()


def test_close_raises_what_nobody_heard(tmp_path, monkeypatch):
    """A write that failed without a waiter is raised by close."""

    def broken(descriptor, data):
        raise OSError(errno.EIO, "Input/output error")

    disk = FileDisk(tmp_path)
    monkeypatch.setattr(os, "write", broken)
    disk.append("a", b"x")
    with pytest.raises(DiskFault, match="cannot write"):
        disk.close()


def test_queue_has_a_limit(tmp_path, monkeypatch):
    """More waiting bytes than allowed is a fault that says so, not memory without end."""
    entered, release = threading.Event(), threading.Event()
    real = os.write

    def stuck(descriptor, data):
        entered.set()
        assert release.wait(10)
        return real(descriptor, data)

    monkeypatch.setattr(os, "write", stuck)
    disk = FileDisk(tmp_path, StoreSettings(queue_bytes_max=10))
    disk.append("a", b"12345678")
    assert entered.wait(10)
    with pytest.raises(DiskFault, match=r"allowed: 10\): the disk is too slow"):
        disk.append("a", b"123")
    release.set()
    disk.close()
    assert (tmp_path / "a").read_bytes() == b"12345678"


async def test_own_appends_are_read(disk):
    """Read, size and names see appends that were not synced."""
    disk.append("x/a", b"123")
    assert disk.read("x/a") == b"123"
    disk.append("x/b", b"4")
    assert disk.size("x/b") == 1
    disk.append("x/c", b"5")
    assert disk.names("x/") == ["x/a", "x/b", "x/c"]
    assert disk.names("x/b") == ["x/b"]
    assert disk.names("y/") == []
    assert (disk.read("none"), disk.size("none")) == (b"", 0)


async def test_replace_is_whole(disk, tmp_path):
    """Replace swaps the whole file, appends go to the new one, no temporary file is left."""
    disk.append("a", b"old")
    disk.replace("a", b"new")
    disk.append("a", b"+")
    await disk.sync("a")
    assert disk.read("a") == b"new+"
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


async def test_truncate_and_delete(disk):
    """A torn tail is cut off and writing goes on; a deleted file does not come back by itself."""
    disk.append("a", b"whole|torn")
    disk.truncate("a", 6)
    disk.append("a", b"next")
    assert disk.read("a") == b"whole|next"
    disk.delete("a")
    disk.delete("a")
    disk.truncate("a", 0)
    disk.append("b", b"1")
    await disk.sync("b")
    assert disk.names("") == ["b"]


def test_deleted_file_stays_deleted_on_close(tmp_path):
    """Closing syncs what exists and creates nothing."""
    disk = FileDisk(tmp_path)
    disk.append("a", b"1")
    disk.delete("a")
    disk.close()
    disk.close()
    assert list(tmp_path.iterdir()) == []


def test_more_files_than_descriptors(tmp_path):
    """Beyond the limit of open files the oldest is closed and opened again when needed."""
    disk = FileDisk(tmp_path, StoreSettings(open_files_max=2))
    for turn in range(3):
        for number in range(6):
            disk.append(f"f{number}", b"%d" % turn)
    disk.close()
    assert {p.read_bytes() for p in tmp_path.iterdir()} == {b"012"}


@pytest.mark.parametrize("name", ["", "/etc/x", "../x", "a/../../x"])
def test_names_stay_under_the_root(disk, name):
    """A name that leaves the root is our own bug."""
    with pytest.raises(ContractFault, match="not a name under"):
        disk.append(name, b"x")


def test_closed_disk_refuses(tmp_path):
    """A closed disk takes nothing more."""
    disk = FileDisk(tmp_path)
    disk.close()
    with pytest.raises(ContractFault, match="closed"):
        disk.append("a", b"x")


def test_root_that_is_a_file(tmp_path):
    """A data folder that cannot be made is the user's fault, told in one line."""
    (tmp_path / "data").write_text("x")
    with pytest.raises(UserFault, match=r"data folder .*data: cannot be made: File exists"):
        FileDisk(tmp_path / "data")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full on this system")
async def test_a_disk_that_is_really_full(tmp_path):
    """The operating system's own ENOSPC reaches the waiter in one line."""
    (tmp_path / "money").symlink_to("/dev/full")
    disk = FileDisk(tmp_path)
    disk.append("money", b"x")
    with pytest.raises(DiskFault, match=r"^money: cannot write: No space left on device$"):
        await disk.sync("money")
    disk.close()


def test_read_only(tmp_path):
    """A disk opened for reading makes no folder and refuses every write."""
    with pytest.raises(UserFault, match="absent: no such folder"):
        FileDisk(tmp_path / "absent", read_only=True)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "a").write_bytes(b"abc")
    disk = FileDisk(tmp_path, read_only=True)
    assert (disk.read("a"), disk.size("a"), disk.names("")) == (b"abc", 3, ["a"])
    for write in (
        lambda: disk.append("a", b"x"),
        lambda: disk.replace("a", b"x"),
        lambda: disk.truncate("a", 0),
        lambda: disk.delete("a"),
    ):
        with pytest.raises(ContractFault, match="reading only"):
            write()
    disk.close()
    assert (tmp_path / "a").read_bytes() == b"abc"


NAMES = st.sampled_from(["a", "b", "run/a", "run/b", "run/deep/c"])
OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), NAMES, st.binary(max_size=9)),
        st.tuples(st.just("replace"), NAMES, st.binary(max_size=9)),
        st.tuples(st.just("truncate"), NAMES, st.integers(0, 9)),
        st.tuples(st.just("delete"), NAMES),
    ),
    max_size=30,
)


def tried(disk, name, *arguments):
    """What an operation gives, or that it was refused."""
    try:
        return getattr(disk, name)(*arguments)
    except DiskFault:
        return "refused"


@given(OPERATIONS)
@settings(max_examples=40)
def test_both_disks_are_one_port(operations):
    """Whatever is done to them, the real disk and the simulated one hold the same files."""
    simulated = SimDisk()
    with tempfile.TemporaryDirectory() as folder:
        real = FileDisk(Path(folder))
        for operation in operations:
            assert tried(real, *operation) == tried(simulated, *operation)
            assert real.read(operation[1]) == simulated.read(operation[1])
        assert real.names("") == simulated.names("")
        assert real.names("run/") == simulated.names("run/")
        assert [real.size(n) for n in real.names("")] == [
            simulated.size(n) for n in simulated.names("")
        ]
        real.close()
        copy = SimDisk()
        simulated.copy_to(copy)
        assert [copy.read(n) for n in copy.names("")] == [simulated.read(n) for n in copy.names("")]
