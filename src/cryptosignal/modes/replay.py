"""Replays a journal: the same events must lead to the same actions and decisions (D2).

The engine starts as the run's did: the money history that it had folded is folded again. Then every
event of the journal is taken in order, and the chained digest of each step that acted is compared
with the one that was journaled. Factor rows come from the decision blocks; with the run's tape they
are made again from its first byte and compared with these (`modes.retake`).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec

from cryptosignal.domain.events import CancelRecorded, FactRecorded, IntentRecorded, ScanTaken
from cryptosignal.domain.ports import Disk
from cryptosignal.domain.signal import Decision
from cryptosignal.engine.step import Engine
from cryptosignal.ground.calendar import utc_text
from cryptosignal.ground.faults import UserFault
from cryptosignal.learning.outcomes import OutcomeTracker
from cryptosignal.learning.settings import OutcomeSettings
from cryptosignal.modes.config import Config, load_config
from cryptosignal.modes.retake import Retake, RowsReport
from cryptosignal.reports.ledger import INCOME_BOOKED
from cryptosignal.signals.decisions import ScanDecisions
from cryptosignal.store.disk import FileDisk
from cryptosignal.store.runs import Digest, RunHeader, money_of, read_run, run_dirs
from cryptosignal.trading.desk import Desk


def _is_own(event: object) -> bool:
    """What the engine itself wrote: its replay writes it anew, so it is compared, not fed. A booking
    that was read back from the venue is a fact too, but an input."""
    if isinstance(event, FactRecorded):
        return event.kind != INCOME_BOOKED
    return isinstance(event, IntentRecorded | CancelRecorded)


class ReplayReport(msgspec.Struct):
    """What a replay found. `first_difference` is the sequence number, 0 if there is none."""

    run_dir: str
    events: int = 0
    scans: int = 0
    digests: int = 0
    equal: int = 0
    records: int = 0
    first_difference: int = 0
    difference: str = ""
    missing: tuple[str, ...] = ()
    digest: str = ""
    numeric_path: str = ""
    rows: RowsReport = msgspec.field(default_factory=RowsReport)

    @property
    def is_equal(self) -> bool:
        """Every digest of the journal was reproduced, and all factor rows that the tape tells."""
        is_same = self.first_difference == 0 and self.digests == self.equal
        return is_same and not self.rows.difference


def replay_path(
    path: str, progress: Callable[[int], None] = lambda _: None, *, is_compiled: bool = False
) -> ReplayReport:
    """Replay the run in folder `path` (the folder that holds `money-000001.seg`); `is_compiled` lets
    compiled kernels take the rows of single symbols again, which numpy cannot.

    Raises UserFault with one line for a folder that is no journal or cannot be read.
    """
    root, run_dir = _folders(path)
    disk = FileDisk(root, read_only=True)
    try:
        return replay(disk, run_dir, progress, is_compiled=is_compiled)
    finally:
        disk.close()


def replay(
    disk: Disk,
    run_dir: str,
    progress: Callable[[int], None] = lambda _: None,
    *,
    is_compiled: bool = False,
) -> ReplayReport:
    """Replay the run `run_dir` on `disk`."""
    reader = read_run(disk, run_dir)
    header = reader.header()
    engine = engine_of(header)
    fold_history(disk, header, engine)
    retake = Retake(disk, header.run_id, config_of(header), is_compiled=is_compiled)
    report = ReplayReport(run_dir, numeric_path=header.numeric_path, rows=retake.report)
    expected: list[str] = []
    digest: str | None = None
    for record in reader:
        event = record.event
        if isinstance(event, Digest):
            _compare(report, record.seq, digest, event.digest)
            digest = None
        elif _is_own(event):
            _compare_record(report, record.seq, event, expected)
        else:
            report.events += 1
            if isinstance(event, ScanTaken):
                report.scans += 1
                retake.check(event.rows)
            actions = engine.step(record.now_ms, event)
            digest = engine.digest_of(record.now_ms, actions)
            engine.timers.take_due(record.now_ms)
            expected = engine.records_of(actions)
            progress(report.events)
        if report.first_difference:
            break
    report.digest = engine.chain.value
    report.missing = tuple(reader.report())
    return report


def decision_at(data_dir: str, run: str, symbol: str, at_ms: int | None) -> Decision:
    """The decision on `symbol` in the newest scan at or before `at_ms` (None: the last one).

    Raises UserFault where there is no such run, scan or symbol.
    """
    root, run_dir = run_named(data_dir, run, at_ms)
    disk = FileDisk(root, read_only=True)
    try:
        scanned, decision = _decision_in(disk, run_dir, symbol.upper(), at_ms)
    finally:
        disk.close()
    if decision is None:
        when = "" if at_ms is None else f" at or before {utc_text(at_ms)}"
        some = f"such as {', '.join(scanned[:5])}" if scanned else "none: it holds no scan"
        raise UserFault(f"{run_dir}: no scan of {symbol.upper()}{when} (scanned: {some})")
    return decision


def run_named(data_dir: str, run: str, at_ms: int | None) -> tuple[Path, str]:
    """The data folder and in it the run `run`, or the newest that was begun by `at_ms`.

    Raises UserFault where there is none.
    """
    if run:
        return _folders(run)
    root = Path(data_dir)
    if not root.is_dir():
        raise UserFault(f"{root}: no such folder (allowed: a data folder with journal/)")
    disk = FileDisk(root, read_only=True)
    try:
        return root, _newest_run(disk, data_dir, at_ms)
    finally:
        disk.close()


def _folders(path: str) -> tuple[Path, str]:
    """The data folder and, in it, the run that `path` names. Raises UserFault for another place."""
    folder = Path(path).resolve()
    if not folder.is_dir():
        raise UserFault(f"{path}: no such folder (allowed: a run's journal folder)")
    if len(folder.parts) < 3 or folder.parent.name != "journal":
        raise UserFault(f"{path}: not a run's journal folder (allowed: …/journal/<number>-<run>)")
    return folder.parents[1], f"journal/{folder.name}"


def _newest_run(disk: Disk, data_dir: str, at_ms: int | None) -> str:
    runs = run_dirs(disk, "journal")
    for run_dir in reversed(runs):
        opened_ms = read_run(disk, run_dir).header().opened_ms
        if at_ms is None or opened_ms <= at_ms:
            return run_dir
    raise UserFault(f"{data_dir}: no run{'' if at_ms is None else ' as old as that'} (journal/)")


def _decision_in(
    disk: Disk, run_dir: str, symbol: str, at_ms: int | None
) -> tuple[list[str], Decision | None]:
    """What was scanned at all by then, and the newest decision on `symbol`."""
    reader = read_run(disk, run_dir, past_gaps=True)
    header = reader.header()
    engine = engine_of(header)
    fold_history(disk, header, engine)
    found: ScanDecisions | None = None
    scanned: dict[str, None] = {}
    for record in reader:
        if isinstance(record.event, Digest) or _is_own(record.event):
            continue
        if (
            at_ms is not None
            and isinstance(record.event, ScanTaken)
            and record.event.rows.time_ms > at_ms
        ):
            break
        engine.step(record.now_ms, record.event)
        if isinstance(record.event, ScanTaken) and engine.newest is not None:
            scanned.update(dict.fromkeys(engine.newest.rows.symbols))
            found = engine.newest if symbol in engine.newest.rows.symbols else found
    return sorted(scanned), found.find(symbol) if found is not None else None


def engine_of(header: RunHeader) -> Engine:
    """A new engine with the settings and parameters that the run's header names."""
    config = config_of(header)
    desk = Desk(config.trading, config.risk, header.info.get("bot", config.run.bot))
    return Engine(config.params, desk, OutcomeTracker(OutcomeSettings()))


def config_of(header: RunHeader) -> Config:
    """The configuration of the run. Raises UserFault if another version wrote it."""
    if "config" not in header.info:
        return load_config("")
    try:
        return msgspec.json.decode(header.info["config"], type=Config)
    except msgspec.ValidationError as fault:
        raise UserFault(f"run {header.run_id}: written by another version: {fault}") from None


def fold_history(disk: Disk, header: RunHeader, engine: Engine) -> None:
    """Fold the money events of the runs that the replayed one had folded at its start."""
    for run_dir in filter(None, header.info.get("history", "").split(",")):
        for record in money_of(disk, run_dir):
            engine.fold(record.event)  # type: ignore[arg-type]  # money holds no digests


def _compare(report: ReplayReport, seq: int, found: str | None, expected: str) -> None:
    report.digests += 1
    if found == expected:
        report.equal += 1
    elif not report.first_difference:
        report.first_difference = seq
        report.difference = f"digest {found or 'none'} instead of {expected}"


def _compare_record(report: ReplayReport, seq: int, event: object, expected: list[str]) -> None:
    report.records += 1
    text = msgspec.json.encode(event).decode()
    if expected and expected[0] == text:
        expected.pop(0)
    elif not report.first_difference:
        report.first_difference = seq
        found = expected[0] if expected else "nothing"
        report.difference = f"recorded {found[:200]} instead of {text[:200]}"
