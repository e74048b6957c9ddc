"""Slots of the UTC grid: done once each, remembered over restarts, caught up after downtime."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cryptosignal.domain.actions import Note, Record, WriteReport
from cryptosignal.domain.events import EngineStarted, TimerFired
from cryptosignal.domain.params import ParamSet
from cryptosignal.engine.schedule import LEARNING, REPORT, Duty, Schedule
from cryptosignal.engine.step import Engine
from cryptosignal.ground.units import DAY_MS, HOUR_MS, MINUTE_MS
from cryptosignal.learning.outcomes import OutcomeTracker
from cryptosignal.learning.settings import OutcomeSettings
from cryptosignal.risk.settings import RiskSettings
from cryptosignal.trading.desk import Desk
from cryptosignal.trading.settings import TradingSettings

DAY_0 = 1_767_225_600_000  # 2026-01-01T00:00Z


class Life:
    """One process after the other over one journal, on virtual time."""

    def __init__(self) -> None:
        self.journal = []
        self.reports = []
        self.learning = []
        self.engine = None

    def start(self, now_ms):
        """A process starts: the journal is folded, then it begins."""
        desk = Desk(TradingSettings(), RiskSettings(), "t")
        self.engine = Engine(ParamSet(), desk, OutcomeTracker(OutcomeSettings()))
        for event in self.journal:
            self.engine.fold(event)
        self._step(now_ms, EngineStarted("r", "signal", "none", "t", "v"))

    def run_to(self, now_ms, until_ms):
        """Timers fire at their times until `until_ms`."""
        while (due_ms := self.engine.timers.next_ms()) is not None and due_ms <= until_ms:
            now_ms = max(now_ms, due_ms)
            for name in self.engine.timers.take_due(now_ms):
                self._step(now_ms, TimerFired(name))

    def _step(self, now_ms, event):
        self.journal.append(event)
        for action in self.engine.step(now_ms, event):
            if isinstance(action, Record):
                self.journal.append(action.event)
            elif isinstance(action, WriteReport):
                self.reports.append((action.day, action.is_late))
            elif isinstance(action, Note) and action.event == "learning.is_due":
                self.learning.append(action.fields["slot_ms"])


def test_a_report_missed_by_downtime_is_written_after_the_restart_once():
    """Down at 00:00 UTC: the next start writes the report at once, later starts do not again."""
    life = Life()
    life.start(DAY_0 + 20 * HOUR_MS)
    life.run_to(DAY_0 + 20 * HOUR_MS, DAY_0 + 23 * HOUR_MS)
    assert life.reports == []
    for hour in (3, 4, 5):  # down from 23:00 to 03:00, then twice more
        life.start(DAY_0 + DAY_MS + hour * HOUR_MS)
        life.run_to(DAY_0 + DAY_MS + hour * HOUR_MS, DAY_0 + DAY_MS + hour * HOUR_MS + 1)
    assert life.reports == [("2026-01-01", True)]
    life.run_to(DAY_0 + DAY_MS + 6 * HOUR_MS, DAY_0 + 2 * DAY_MS)
    assert life.reports[1:] == [("2026-01-02", False)]


def test_the_first_start_owes_nothing():
    """A journal without any run has no report to catch up; the first is due at the next midnight."""
    life = Life()
    life.start(DAY_0 + HOUR_MS)
    life.run_to(DAY_0 + HOUR_MS, DAY_0 + 23 * HOUR_MS)
    assert life.reports == []
    assert life.engine.timers.pending()[REPORT.name] == DAY_0 + DAY_MS


def test_each_missed_day_gets_its_report_but_learning_looks_once():
    """After a week of downtime there is a report for every day and one learning slot."""
    life = Life()
    life.start(DAY_0 + HOUR_MS)
    again_ms = DAY_0 + 7 * DAY_MS + HOUR_MS
    life.start(again_ms)
    life.run_to(again_ms, again_ms + 1)
    assert [day for day, _ in life.reports] == [f"2026-01-{d:02d}" for d in range(1, 8)]
    assert life.learning == [DAY_0 + 7 * DAY_MS + 10 * MINUTE_MS]
    assert life.engine.timers.pending()[LEARNING.name] == life.learning[0] + DAY_MS


@given(st.lists(st.integers(1, 3 * DAY_MS), min_size=1, max_size=12))
def test_whatever_the_restarts_every_day_is_reported_exactly_once(gaps):
    """Starts and stops at any times: each day that ended since the first start, once, in order."""
    life = Life()
    now_ms = DAY_0
    life.start(now_ms)
    for place, gap in enumerate(gaps):
        if place % 2:
            life.start(now_ms + gap)  # it was down meanwhile
            life.run_to(now_ms + gap, now_ms + gap)
        else:
            life.run_to(now_ms, now_ms + gap)
        now_ms += gap
    life.start(now_ms)
    life.run_to(now_ms, now_ms)
    days = (now_ms - DAY_0) // DAY_MS
    found = [day for day, _ in life.reports]
    assert len(found) == days
    assert found == sorted(set(found))


def test_of_what_was_missed_only_the_newest_slots_are_owed():
    """A duty catches up at most `owed_max` slots: the newest."""
    schedule = Schedule((Duty("d", 100, 5, owed_max=2),))
    assert schedule.unknown()[0].slot_before(204) == 105
    schedule.fold("d", 105)
    assert schedule.owed("d", 204) == []
    assert schedule.owed("d", 205) == [205]
    assert schedule.owed("d", 999) == [805, 905]
