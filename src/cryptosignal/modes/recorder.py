"""What a run leaves behind besides its journal: outcome rows, daily reports; and who else listens.

Reports and pages may fail without stopping protection (RELIABILITY §5.26): a write that the disk
refuses becomes a note, the engine goes on.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from cryptosignal.domain.actions import (
    Note,
    PublishDecision,
    RecordOutcome,
    ScanDecided,
    WriteReport,
)
from cryptosignal.domain.ports import Disk
from cryptosignal.net.warmup import WarmUpReport
from cryptosignal.reports.daily import (
    DailyReport,
    DayCounters,
    Ending,
    daily_report,
    render_json,
    render_markdown,
    summary_line,
)
from cryptosignal.store.faults import DiskFault
from cryptosignal.store.outcomes import OutcomeLog

if TYPE_CHECKING:
    from cryptosignal.modes.program import Face, Program

REPORT_ROOT = "reports"


class _Written(msgspec.Struct):
    """What matters of a report that was written."""

    ending: Ending = Ending.OPEN


class Recorder:
    """Writes outcomes and reports, counts the day, passes everything on to the other faces."""

    def __init__(self, disk: Disk, *listeners: Face) -> None:
        self._disk = disk
        self._listeners = listeners
        self._log = OutcomeLog(disk)
        self._counts: Counter[str] = Counter()
        self._refusals: Counter[str] = Counter()
        self._tasks: set[asyncio.Task[None]] = set()
        self.program: Program | None = None
        self.on_report_written: Callable[[DailyReport], None] = lambda _: None

    # ---- the audience's doors --------------------------------------------------------------
    def on_progress(self, step: str, done: int, total: int, seconds: float) -> None:
        """The start made progress."""
        for listener in self._listeners:
            listener.on_progress(step, done, total, seconds)

    def on_ready(self, program: Program, report: WarmUpReport) -> None:
        """Everything is loaded."""
        for listener in self._listeners:
            listener.on_ready(program, report)

    def on_decision(self, action: PublishDecision) -> None:
        """A signal was published."""
        self._counts[action.decision.tier.value] += 1
        for listener in self._listeners:
            listener.on_decision(action)

    def on_scan(self, action: ScanDecided) -> None:
        """A scan was decided on."""
        self._counts["scans"] += 1
        self._counts["symbols"] = action.scanned
        for listener in self._listeners:
            listener.on_scan(action)

    def on_outcome(self, action: RecordOutcome) -> None:
        """A signal reached its end: its row is written and made durable."""
        try:
            self._log.append(action.outcome)
            self._later(self._log.durable())
        except DiskFault as fault:
            self.on_note(action.outcome.closed_ms, _refused("outcome", fault))
        for listener in self._listeners:
            listener.on_outcome(action)

    def on_report(self, action: WriteReport) -> None:
        """A day ended: its report is written as Markdown and JSON, once."""
        if action.is_late:
            if self._is_final(action.day):
                return  # written by the process that then died before it could say so
            self.write_report(action.day, Ending.LATE)
        else:
            self.write_report(action.day, Ending.IN_TIME)
            self._counts.clear()
            self._refusals.clear()
        for listener in self._listeners:
            listener.on_report(action)

    def on_note(self, now_ms: int, action: Note) -> None:
        """Something worth a log line."""
        if action.event == "entry.refused":
            self._refusals[str(action.fields.get("reason", ""))] += 1
        elif action.event.startswith("entry."):
            self._counts["entries"] += 1
        for listener in self._listeners:
            listener.on_note(now_ms, action)

    async def close(self) -> None:
        """Return once every row that was queued is durable, or its refusal noted."""
        while self._tasks:
            await asyncio.wait(list(self._tasks))

    # ---- reports ---------------------------------------------------------------------------
    def _is_final(self, day: str) -> bool:
        """The day's report lies there, and was written when the day was over."""
        body = self._disk.read(f"{REPORT_ROOT}/{day}.json")
        if not body:
            return False
        try:
            return msgspec.json.decode(body, type=_Written).ending is not Ending.OPEN
        except msgspec.DecodeError:
            return False

    def write_report(self, day: str, ending: Ending = Ending.OPEN) -> DailyReport:
        """The report of a UTC day from its outcome rows, written under `reports/`."""
        program = self.program
        report = daily_report(
            day,
            self._log.read_day(day),
            DayCounters() if ending is Ending.LATE else self._counters(),
            ending=ending,
            account=program.engine.account if program else "",
            mode=program.engine.mode if program else "",
        )
        text, body = render_markdown(report).encode(), render_json(report)
        try:
            for stem in (day, "latest"):
                self._disk.replace(f"{REPORT_ROOT}/{stem}.md", text)
                self._disk.replace(f"{REPORT_ROOT}/{stem}.json", body)
        except DiskFault as fault:
            self.on_note(0, _refused("report", fault))
        self.on_report_written(report)
        return report

    def line(self, day: str) -> str:
        """The day in one line."""
        return summary_line(self.write_report(day))

    def _counters(self) -> DayCounters:
        counts = self._counts
        program = self.program
        if program is None:
            return DayCounters(scans=counts["scans"])
        naked = program.desk.naked_ms()
        return DayCounters(
            scans=counts["scans"],
            symbols=counts["symbols"],
            prime=counts["prime"],
            watch=counts["watch"],
            entries=counts["entries"],
            entries_refused=sum(self._refusals.values()),
            api_calls=program.client.api_calls.total(),
            audit_calls=program.client.audit_calls,
            naked_ms_p99=naked.p99_ms,
            naked_ms_max=naked.max_ms,
            reconnects=sum(line.session.reconnects for line in program.feed.lines.values()),
            engine_lag_ms_max=round(program.rim.lag_ms_max),
            api_calls_by_lane=dict(program.client.api_calls),
            refusals=dict(self._refusals),
        )

    def _later(self, job: Any) -> None:
        task = asyncio.get_running_loop().create_task(self._guarded(job))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _guarded(self, job: Any) -> None:
        try:
            await job
        except DiskFault as fault:
            self.on_note(0, _refused("outcome", fault))


def read_report(data_dir: str, day: str, *, as_json: bool) -> str | None:
    """A written report as text, None if there is none of that day (`latest` is the newest)."""
    path = Path(data_dir) / REPORT_ROOT / f"{day}.{'json' if as_json else 'md'}"
    return path.read_text(encoding="utf-8") if path.is_file() else None


def report_days(data_dir: str) -> list[str]:
    """The days that have a report, ascending."""
    return sorted(p.stem for p in (Path(data_dir) / REPORT_ROOT).glob("*.md") if p.stem != "latest")


def _refused(what: str, fault: DiskFault) -> Note:
    return Note(f"{what}.was_not_written", {"reason": str(fault)})
