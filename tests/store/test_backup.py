"""A backup of a folder that is being written holds whole records, and a restore believes checksums alone."""

from __future__ import annotations

import shutil
import socket

import pytest

from cryptosignal.domain.events import FactRecorded
from cryptosignal.ground.faults import UserFault
from cryptosignal.store.backup import MANIFEST, back_up, restore
from cryptosignal.store.disk import FileDisk
from cryptosignal.store.journal import Journal
from cryptosignal.store.lease import Lease
from cryptosignal.store.runs import RunHeader, money_history, new_run_dir


async def written(root, events=5):
    """A data folder with one run, outcomes, a report, and things that are made again."""
    disk = FileDisk(root)
    run_dir = new_run_dir(disk, "journal", "r1")
    journal = Journal.open(disk, run_dir, RunHeader("r1", 1, "p", "n"))
    for seq in range(1, events + 1):
        journal.append(seq, seq, FactRecorded("kind", f"k{seq}", "{}"))
    await journal.durable(events)
    disk.append("outcomes/2025-01-31.jsonl", b'{"a":1}\n{"b":')
    await disk.sync("outcomes/2025-01-31.jsonl")
    disk.replace("reports/latest.md", b"# report\n")
    disk.replace("candles/1h.bin", b"cache")
    disk.replace("tape/1.seg", b"frames")
    disk.close()
    (root / "KILL").write_text("2\n")
    (root / "known.sqlite").write_bytes(b"x")
    return root


def facts(root):
    disk = FileDisk(root, read_only=True)
    try:
        return [record.event.key for record in money_history(disk, "journal")]
    finally:
        disk.close()


async def test_a_backup_and_its_restore_fold_equal(tmp_path):
    """What was kept comes back: journal, outcomes, reports, kill switch; caches are left out."""
    source = await written(tmp_path / "runs")
    made = back_up(source, tmp_path / "kept", 7)
    assert (made.runs, made.events) == (1, 5)
    assert not any(n.startswith(("candles", "tape", ".")) or "sqlite" in n for n in made.files)
    assert restore(tmp_path / "kept", tmp_path / "new") == made
    assert facts(tmp_path / "new") == facts(source)
    assert (tmp_path / "new" / "KILL").read_text() == "2\n"
    assert (tmp_path / "new" / "reports" / "latest.md").read_text() == "# report\n"
    assert (tmp_path / "new" / "outcomes" / "2025-01-31.jsonl").read_bytes() == b'{"a":1}\n'


@pytest.mark.parametrize("cut", [1, 7, 40])
async def test_a_record_that_is_being_written_is_left_out(tmp_path, cut):
    """Cut anywhere in its last record, as a running engine's is, a segment is kept up to the one before."""
    source = await written(tmp_path / "runs")
    [segment] = (source / "journal").rglob("money-*.seg")
    segment.write_bytes(segment.read_bytes()[:-cut])
    lease = Lease(source)  # an engine works there: a backup needs no leave
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(source / "engine.sock"))
        made = back_up(source, tmp_path / "kept", 7)
    lease.release()
    assert made.events == 4
    restore(tmp_path / "kept", tmp_path / "new")
    assert facts(tmp_path / "new") == ["k1", "k2", "k3", "k4"]


@pytest.mark.parametrize("harm", ["flip", "cut", "gone", "manifest", "outside", "newer"])
async def test_a_damaged_backup_is_refused_whole(tmp_path, harm):
    """A byte changed, cut or lost anywhere refuses the restore with one line and leaves nothing."""
    made = back_up(await written(tmp_path / "runs"), tmp_path / "kept", 7)
    victim = tmp_path / "kept" / sorted(made.files)[-1]
    manifest = tmp_path / "kept" / MANIFEST
    body = victim.read_bytes()
    if harm == "flip":
        victim.write_bytes(bytes([body[0] ^ 1]) + body[1:])
    elif harm == "cut":
        victim.write_bytes(body[:-1])
    elif harm == "gone":
        victim.unlink()
    elif harm == "manifest":
        manifest.write_bytes(manifest.read_bytes()[:-20])
    elif harm == "outside":
        manifest.write_text(manifest.read_text().replace('"KILL"', '"../KILL"'))
    else:
        manifest.write_text(manifest.read_text().replace('"format": 1', '"format": 9'))
    with pytest.raises(UserFault) as caught:
        restore(tmp_path / "kept", tmp_path / "new")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "new").exists()
    assert not (tmp_path / "KILL").exists()


async def test_a_running_or_used_folder_is_not_restored_over(tmp_path):
    """Neither a folder that an engine works in nor one that holds anything is written to."""
    source = await written(tmp_path / "runs")
    back_up(source, tmp_path / "kept", 7)
    with pytest.raises(UserFault, match="allowed: an empty"):
        restore(tmp_path / "kept", source)
    lease = Lease(tmp_path / "busy")
    with pytest.raises(UserFault, match="works in it"):
        restore(tmp_path / "kept", tmp_path / "busy")
    lease.release()
    restore(tmp_path / "kept", tmp_path / "busy")
    assert facts(tmp_path / "busy") == facts(source)


async def test_a_backup_goes_to_a_place_of_its_own(tmp_path):
    """A backup is neither made inside the folder nor over an older one, and a failed one leaves nothing."""
    source = await written(tmp_path / "runs")
    for target, words in ((source / "kept", "outside"), (source, "outside")):
        with pytest.raises(UserFault, match=words):
            back_up(source, target, 7)
    back_up(source, tmp_path / "kept", 7)
    with pytest.raises(UserFault, match="it exists"):
        back_up(source, tmp_path / "kept", 7)
    with pytest.raises(UserFault, match="no such folder"):
        back_up(tmp_path / "none", tmp_path / "other", 7)
    [segment] = (source / "journal").rglob("money-*.seg")
    body = bytearray(segment.read_bytes())
    body[len(body) // 2] ^= 0xFF
    segment.write_bytes(body)
    with pytest.raises(UserFault, match="damaged at byte"):
        back_up(source, tmp_path / "other", 7)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["kept", "runs"]
    shutil.rmtree(tmp_path / "kept")
