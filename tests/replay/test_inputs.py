"""What a replay feeds to the engine and what it expects of it."""

from __future__ import annotations

import pytest
from tests.store.making import HEADER

from cryptosignal.domain.events import EngineStarted, FactRecorded
from cryptosignal.ground.clock import ManualClock
from cryptosignal.modes.replay import engine_of, replay
from cryptosignal.modes.rim import Rim
from cryptosignal.reports.ledger import INCOME_BOOKED
from cryptosignal.store.journal import Journal
from cryptosignal.store.memory_disk import SimDisk

STARTED = EngineStarted("r1", "signal", "none", "b", "v1")


class Deaf:
    """Nobody is told."""

    def __getattr__(self, name):
        return lambda *_: None


@pytest.mark.parametrize("number", [1, 3])
async def test_bookings_read_back_from_the_venue_are_inputs(number):
    """A journal with funding read back between other events replays whole: bookings are fed, not
    expected of the engine."""
    disk = SimDisk()
    journal = Journal.open(disk, "journal/1-r1", HEADER)
    rim = Rim(engine_of(HEADER), journal, ManualClock(1_700_000_000_000), Deaf(), None, Deaf().x)
    rim.handle(STARTED)
    body = '{"kind":"FUNDING_FEE","symbol":"BTCUSDT","amount":"-1","asset":"USDT","time_ms":1}'
    for at in range(number):
        rim.handle(FactRecorded(INCOME_BOOKED, f"FUNDING_FEE-{at}-BTCUSDT", body))
    report = replay(disk, "journal/1-r1")
    assert report.is_equal, report
    assert report.events == 1 + number
