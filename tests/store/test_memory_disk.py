"""The simulated disk: it keeps what was synced, loses tails, fills up and fails like a real one."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptosignal.ground.loop import VirtualLoop
from cryptosignal.ground.seeds import Seeds
from cryptosignal.store.faults import DiskFault
from cryptosignal.store.memory_disk import SimDisk


async def test_sync_survives_a_crash():
    """Synced bytes survive a crash, later ones do not when no stream of chance is given."""
    disk = SimDisk()
    disk.append("a", b"one")
    await disk.sync("a")
    disk.append("a", b"two")
    disk.append("b", b"never synced")
    disk.crash()
    assert disk.read("a") == b"one"
    assert disk.names("") == ["a"]


@given(st.integers(0, 10_000))
def test_torn_tail_is_a_prefix(seed):
    """With a stream of chance a prefix of the unsynced tail survives, the same for one seed."""

    def crashed():
        disk = SimDisk(Seeds(seed).stream("disk"))
        disk.append("a", b"0123456789")
        disk.crash()
        return disk.read("a")

    assert b"0123456789".startswith(crashed())
    assert crashed() == crashed()


async def test_full_disk():
    """A full disk takes what fits, then fails that file until the host restarts."""
    disk = SimDisk(capacity_bytes=5)
    disk.append("a", b"1234567")
    assert disk.read("a") == b"12345"
    with pytest.raises(DiskFault, match="a: cannot write: No space left"):
        await disk.sync("a")
    with pytest.raises(DiskFault, match="No space left"):
        disk.append("a", b"8")
    with pytest.raises(DiskFault, match="No space"):
        disk.replace("b", b"x")
    disk.capacity_bytes = None
    disk.crash()
    disk.append("a", b"fresh")


async def test_failing_sync():
    """A failed sync is told to its waiter and to everybody after."""
    disk = SimDisk()
    disk.append("a", b"x")
    disk.fail_syncs(1)
    with pytest.raises(DiskFault, match="cannot sync"):
        await disk.sync("a")
    with pytest.raises(DiskFault):
        disk.append("a", b"y")
    disk.append("b", b"z")
    await disk.sync("b")


def test_sync_takes_loop_time():
    """What is appended while a sync runs is not made durable by it."""
    loop = VirtualLoop()
    disk = SimDisk(sync_ms=4.0)

    async def main():
        disk.append("a", b"one")
        waiting = loop.create_task(disk.sync("a"))
        await asyncio_turn()
        disk.append("a", b"two")
        await waiting
        return loop.time()

    async def asyncio_turn():
        import asyncio

        await asyncio.sleep(0)

    assert loop.run_until_complete(main()) == pytest.approx(0.004)
    loop.close()
    disk.crash()
    assert disk.read("a") == b"one"


def test_small_files():
    """Replace, truncate, size, names and delete do what the port says."""
    disk = SimDisk(random.Random(1))
    disk.replace("c/1", b"abc")
    disk.append("c/1", b"def")
    assert disk.size("c/1") == 6
    disk.truncate("c/1", 4)
    disk.crash()
    assert disk.read("c/1")[:3] == b"abc"
    assert disk.names("c/") == ["c/1"]
    disk.delete("c/1")
    disk.delete("c/1")
    assert (disk.read("c/1"), disk.size("c/1"), disk.names("")) == (b"", 0, [])
