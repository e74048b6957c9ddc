"""The chaos run in small: its judges can find what must not be, its disk fills up, and one minute of it."""

from __future__ import annotations

import asyncio
import errno
import os
import subprocess
import sys
from decimal import Decimal

import pytest
from tests.chaos.books import differences, doubles
from tests.chaos.disk import SmallDisk
from tests.chaos.harness import HOST_FAULTS, Chaos
from tests.chaos.venue import WatchedVenue

from cryptosignal.ground.seeds import Seeds
from cryptosignal.sim.settings import VenueSettings

D = Decimal
WRITER = """
import os, sys
file = open(sys.argv[1], "wb", buffering=0)
print("ready", flush=True)
sys.stdin.readline()
try:
    left = 8192
    while left:
        left -= file.write(b"x" * left)
    os.fsync(file.fileno())
except OSError as error:
    print(error.errno, flush=True)
"""


def test_differences_are_found():
    """Another quantity, a position on one side alone and an order on a flat symbol are named."""
    equal = {"A": D(1), "B": D(-2)}
    assert differences(equal, dict(equal), [("A", "csa-k-s0")]) == []
    assert len(differences({"A": D(1)}, {"A": D(2)}, [])) == 1
    assert len(differences({}, {"A": D(2)}, [])) == 1
    assert len(differences({"A": D(1)}, {}, [])) == 1
    assert differences({}, {}, [("A", "csa-k-s0")]) == ["orphan csa-k-s0 on flat A"]


def test_double_entries_are_found():
    """Two executed entries under one signal are named, one under each of two are not."""
    assert doubles({"s1": {"csa-s1-e0"}, "s2": {"csa-s2-e0"}}) == []
    assert len(doubles({"s1": {"csa-s1-e0", "csa-s1-e1"}})) == 1


@pytest.mark.parametrize("mounts", [True, False])
def test_the_small_disk_really_fills_up(tmp_path, mounts):
    """A process that writes to it is told by the kernel that there is no room; freed, there is."""
    disk = SmallDisk(tmp_path / "data", mounts=mounts)
    writers = []
    try:
        for name in ("full", "free"):
            writer = subprocess.Popen(
                [sys.executable, "-c", WRITER, str(disk.folder / name)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            writers.append(writer)
            assert writer.stdout.readline() == "ready\n"
        full, free = writers
        disk.fill(full.pid)
        told, _ = full.communicate("go\n", timeout=30)
        assert int(told) == getattr(errno, disk.kind)
        disk.free(free.pid)
        told, _ = free.communicate("go\n", timeout=30)
        assert told == ""
        assert (disk.folder / "free").stat().st_size == 8192
    finally:
        for writer in writers:
            writer.kill()
            writer.wait()
        disk.close()


def test_a_run_that_met_nothing_is_no_proof():
    """A long run without a kill, a fault of the host or a fill says so."""
    chaos = Chaos(600.0, 1)
    try:
        missing = chaos.never({"fills": 0, "entries": 0})
    finally:
        chaos.discard()
    assert {f"never: {name}" for name in (*HOST_FAULTS, "kill", "fills", "entries")} <= set(missing)


def test_the_venue_tells_what_it_saw():
    """The venue of a run takes its orders, judges a position without a stop, and reports it."""
    now_ms = 1_767_225_600_000
    settings = VenueSettings(
        symbols=2, faults="storm", fault_rates={"maintenance": 0.0}, events=False
    )
    venue = WatchedVenue(settings, Seeds(1), now_ms)
    venue.obey("calm")
    venue.advance(now_ms + 1_000)
    account = venue.account()
    placed = venue.router.orders.place_by_hand(account, 0, "BUY")
    assert placed
    venue.advance(now_ms + 2_000)
    report = venue.report()["report"]
    assert report["fills"] == report["foreign_fills"] > 0
    assert report["violations"] == []
    assert venue.held()
    venue.obey("excuse")
    assert venue.is_excused
    venue.obey("accuse")
    assert not venue.is_excused
    with pytest.raises(ValueError, match="nonsense"):
        venue.obey("nonsense")


@pytest.mark.long
def test_a_minute_of_chaos_breaks_no_promise():
    """Real processes on the socket venue in a storm, killed and starved for a minute: no violation."""
    body = asyncio.run(Chaos(60.0, 7).run())
    assert body["violations"] == [], body
    assert body["kills"] > 0
    assert body["fills"] > 0
    with pytest.raises(ChildProcessError):
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG)


@pytest.mark.long
def test_a_planted_bug_is_noticed():
    """A program whose exits can open positions does not pass."""
    chaos = Chaos(20.0, 7, bug="exit not reduce-only and doubled")
    body = asyncio.run(chaos.run())
    chaos.forget()
    assert any(violation.startswith("flip") for violation in body["violations"]), body
