"""The day's report of the whole program under virtual time: due at 00:00 UTC, caught up when missed."""

from __future__ import annotations

import json

import pytest

from cryptosignal.domain.actions import WriteReport
from cryptosignal.ground.units import DAY_MS, MINUTE_MS
from cryptosignal.modes import campaign
from cryptosignal.modes.campaign import Day, DaySettings
from cryptosignal.modes.recorder import Recorder
from cryptosignal.modes.weather import calm
from cryptosignal.store.memory_disk import SimDisk

MIDNIGHT = campaign.START_MS + DAY_MS
NEVER_S = 1e9


class Watched(Day):
    """A calm day around midnight whose program writes reports; down from `down_s` for 240 s if set."""

    down_s: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.face = Recorder(self.disk)

    def _look_for_secrets(self) -> None:
        """Nothing was planted."""

    async def _live(self) -> None:
        if self.down_s is not None:
            self.loop.call_later(self.down_s, self._go_down, context=self.network.world)
        await super()._live()

    def _go_down(self) -> None:
        self.loop.kill(self.pid)
        self.network.forget(self.pid)
        self.disk.crash()
        self.program = None
        self._boot_in(240.0)


@pytest.mark.parametrize(("down_s", "ending"), [(None, "in time"), (60.0, "late")])
def test_the_report_is_written_at_midnight_or_after_the_restart(monkeypatch, down_s, ending):
    """Up at 00:00 UTC the report is written then; down, after the restart: once, and it says so."""
    monkeypatch.setattr(campaign, "START_MS", MIDNIGHT - 3 * MINUTE_MS)
    quiet = DaySettings(
        days=8 / 1440,
        weather=calm(),
        kill_mean_s=NEVER_S,
        trade_mean_s=NEVER_S,
        host_mean_s=NEVER_S,
    )
    day = Watched(3, quiet)
    day.down_s = down_s
    result = day.run()
    assert result.violations == []
    days = [name for name in day.disk.names("reports/") if name.endswith(".json")]
    assert sorted(days) == ["reports/2026-01-01.json", "reports/latest.json"]
    report = json.loads(day.disk.read("reports/2026-01-01.json"))
    assert report["ending"] == ending
    assert (report["counters"]["scans"] > 0) == (ending == "in time")


async def test_a_report_of_the_whole_day_is_not_written_over_late():
    """A process that died after writing and before saying so leaves a report that stays as it is;
    one that was asked for during the day is replaced."""
    disk = SimDisk()
    recorder = Recorder(disk)
    recorder.write_report("2026-01-01")
    recorder.on_report(WriteReport("2026-01-01", is_late=True))
    late = disk.read("reports/2026-01-01.json")
    assert json.loads(late)["ending"] == "late"
    assert b"Written late" in disk.read("reports/2026-01-01.md")
    recorder.on_report(WriteReport("2026-01-02"))
    written = disk.read("reports/2026-01-02.json")
    recorder.on_report(WriteReport("2026-01-02", is_late=True))
    assert disk.read("reports/2026-01-02.json") == written
