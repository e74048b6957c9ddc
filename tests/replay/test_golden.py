"""Replay decides the same: over the kept golden journal, over a fresh one, and not over a changed one."""

from __future__ import annotations

import shutil

import msgspec
import pytest
from tests.replay.record import GOLDEN, keep, record

from cryptosignal.cli.main import main
from cryptosignal.domain.events import FactRecorded, OperatorCommanded
from cryptosignal.ground.faults import UserFault
from cryptosignal.modes.replay import decision_at, replay, replay_path
from cryptosignal.store.disk import FileDisk
from cryptosignal.store.records import SegmentHeader, frame, frame_header, read_segment
from cryptosignal.store.runs import JournalLine, run_dirs


def runs_of(folder):
    return sorted((folder / "journal").iterdir())


@pytest.fixture
def copied(tmp_path):
    """The golden journal where it may be changed; its newest run."""
    shutil.copytree(GOLDEN, tmp_path, dirs_exist_ok=True)
    return runs_of(tmp_path)[-1]


def test_the_golden_journal_replays_equal():
    """Every run of the kept journal gives its digests again; the last one is whole."""
    reports = [replay_path(str(run)) for run in runs_of(GOLDEN)]
    for report in reports:
        assert report.is_equal, (
            f"{report.run_dir}: {report.difference} at event {report.first_difference}"
            " (if decisions were meant to change: make golden)"
        )
    assert len(reports) >= 3
    assert any(report.missing for report in reports), "no run of it was killed"
    last = reports[-1]
    assert last.missing == ()
    assert last.scans >= 1
    assert last.digests == last.equal >= 30
    assert last.records >= 10


def test_a_fresh_recording_replays_equal(tmp_path):
    """What the program records now it decides again, run by run, also after kills."""
    day, violations = record(9)
    assert violations == [], "seed 9"
    disk = keep(day, tmp_path)
    reports = [replay(disk, run) for run in run_dirs(disk, "journal")]
    disk.close()
    assert [r.difference for r in reports] == [""] * len(reports), "seed 9"
    assert reports[-1].digests == reports[-1].equal > 0
    assert replay(day.disk, reports[-1].run_dir).digest == reports[-1].digest


def test_the_command_answers_by_its_exit_code(copied, capsys):
    """`replay` ends with 0 for an equal run, and with 1 where something is missing."""
    with pytest.raises(SystemExit) as equal:
        main(["replay", str(copied), "--json"])
    assert equal.value.code == 0
    assert msgspec.json.decode(capsys.readouterr().out)["first_difference"] == 0
    with pytest.raises(SystemExit) as torn:
        main(["replay", str(runs_of(copied.parents[1])[0])])
    assert torn.value.code == 1
    assert "missing" in capsys.readouterr().out


# ---- a journal that was changed by a careful hand: every checksum right --------------------------
def rewritten(path, change):
    """Write a segment anew with `change(line) -> line | None` applied to each of its records."""
    is_json = path.name.startswith("money")
    codec = msgspec.json if is_json else msgspec.msgpack
    segment = read_segment(path.name, path.read_bytes())
    lines = [codec.decode(payload, type=JournalLine) for payload in segment.payloads]
    kept = [line for line in map(change, lines) if line is not None]
    body = b"".join(frame(codec.encode(line)) for line in kept)
    header = msgspec.convert(msgspec.to_builtins(segment.header), SegmentHeader)
    path.write_bytes(frame_header(header) + body)
    return len(lines) - len(kept)


def test_a_changed_digest_is_found(copied):
    """A digest that was journaled differently is named with its event."""
    done = []

    def change(line):
        if type(line.event).__name__ != "Digest" or done:
            return line
        done.append(line.seq)
        return msgspec.structs.replace(line, event=type(line.event)("f" * 32))

    rewritten(copied / "inputs-000001.seg", change)
    report = replay_path(str(copied))
    assert not report.is_equal
    assert report.first_difference == done[0]
    assert "f" * 32 in report.difference


def test_a_changed_record_is_found(copied):
    """A record of the engine's own that differs from what it writes now is named."""
    done = []

    def change(line):
        if not isinstance(line.event, FactRecorded) or done:
            return line
        done.append(line.seq)
        return msgspec.structs.replace(
            line, event=msgspec.structs.replace(line.event, key="someone else")
        )

    rewritten(copied / "money-000001.seg", change)
    report = replay_path(str(copied))
    assert not report.is_equal
    assert report.first_difference == done[0]
    assert "someone else" in report.difference


def test_a_changed_event_is_found(copied):
    """An input that was changed leads to other actions: the first digest after it differs."""
    done = []

    def change(line):
        command = line.event
        if not isinstance(command, OperatorCommanded) or command.command != "trade" or done:
            return line
        done.append(line.seq)
        other = "short" if command.arguments["direction"] == "long" else "long"
        arguments = {**command.arguments, "direction": other}
        return msgspec.structs.replace(
            line, event=msgspec.structs.replace(command, arguments=arguments)
        )

    for name in ("money-000001.seg", "inputs-000001.seg"):
        rewritten(copied / name, change)
    assert done, "the golden journal holds no trade"
    report = replay_path(str(copied))
    assert not report.is_equal
    assert report.first_difference >= done[0]


def test_a_removed_event_is_a_gap(copied):
    """A record that was taken out leaves a gap in the numbers: read up to it, and said so."""
    done = []

    def change(line):
        if type(line.event).__name__ == "Digest" or len(done) or line.seq < 5:
            return line
        done.append(line.seq)
        return None

    assert rewritten(copied / "inputs-000001.seg", change) == 1
    report = replay_path(str(copied))
    assert any("missing" in line and str(done[0]) in line for line in report.missing)


# ---- reading it back ------------------------------------------------------------------------------
def test_a_past_decision_is_found_and_a_missing_one_is_named(copied):
    """`explain` finds the newest scan at a time; unknown symbols and too early times are one line."""
    root = str(copied.parents[1])
    decision = decision_at(root, str(copied), "btcusdt", None)
    assert decision.symbol == "BTCUSDT"
    again = decision_at(root, str(copied), "BTCUSDT", decision.time_ms)
    assert msgspec.json.encode(again) == msgspec.json.encode(decision)
    assert decision_at(root, "", "BTCUSDT", None).symbol == "BTCUSDT"
    with pytest.raises(UserFault, match=r"no scan of NOPE \(scanned: such as .*BTCUSDT"):
        decision_at(root, str(copied), "NOPE", None)
    with pytest.raises(UserFault, match="no run as old as that"):
        decision_at(root, "", "BTCUSDT", 1)


@pytest.mark.parametrize("path", ["/", "/nowhere/journal/1-x", "."])
def test_another_folder_is_refused(path):
    """A folder that is no run's journal is one line, for `replay` and for `explain`."""
    for read in (replay_path, lambda p: decision_at("runs", p, "BTCUSDT", None)):
        with pytest.raises(UserFault, match=r"no such folder|not a run's journal folder"):
            read(path)


def test_reading_changes_nothing(copied):
    """A replay leaves every byte of the journal as it was."""
    before = {p.name: p.read_bytes() for p in copied.iterdir()}
    replay_path(str(copied))
    assert {p.name: p.read_bytes() for p in copied.iterdir()} == before
    disk = FileDisk(copied.parents[1], read_only=True)
    disk.close()
