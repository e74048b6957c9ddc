"""Scans while a long warm-up goes on."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from cryptosignal.ground.loop import VirtualLoop
from cryptosignal.modes.program import WARMING_SCAN_S, Program


class Part:
    """What `_scanned_meanwhile` sees of a program."""

    _scans_by_itself = True

    def __init__(self, ready_after_s):
        self.board = SimpleNamespace(klines_ready=lambda: self.now() >= ready_after_s)
        self.scans = SimpleNamespace(elapsed_ms=0.0, scan=self.scan)
        self.taken = []

    def now(self):
        return asyncio.get_running_loop().time()

    def scan(self, trigger):
        self.taken.append((trigger, self.now()))


@pytest.fixture
def loop():
    made = VirtualLoop()
    yield made
    made.close()


async def warming(seconds):
    await asyncio.sleep(seconds)
    return "report"


def test_what_is_loaded_is_scanned_while_the_rest_comes(loop):
    """From the first candles on there is a scan every few seconds until the warm-up ends."""
    part = Part(ready_after_s=7.0)
    answer = loop.run_until_complete(Program._scanned_meanwhile(part, warming(23.0)))
    assert answer == "report"
    assert [round(at) for _, at in part.taken] == [10, 15, 20]
    assert {trigger for trigger, _ in part.taken} == {"warming"}


def test_a_short_warm_up_and_counted_scans_wait_for_all(loop):
    """Within the first pause, or when scans are counted, nothing is scanned before all is loaded."""
    part = Part(ready_after_s=0.0)
    loop.run_until_complete(Program._scanned_meanwhile(part, warming(WARMING_SCAN_S - 1)))
    part._scans_by_itself = False
    loop.run_until_complete(Program._scanned_meanwhile(part, warming(60.0)))
    assert part.taken == []
