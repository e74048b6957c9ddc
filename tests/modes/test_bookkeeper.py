"""Bookings that the stream missed come from the venue's list, each once, also over restarts."""

from __future__ import annotations

import types
from decimal import Decimal

import pytest

from cryptosignal.binance.decode.rest import Income
from cryptosignal.ground.clock import ManualClock
from cryptosignal.modes.bookkeeper import FIRST_SPAN_MS, OVERLAP_MS, Bookkeeper
from cryptosignal.reports.ledger import ledger_of

NOW = 1_763_690_400_000


class Program:
    """A program with a venue that lists these bookings."""

    def __init__(self, *rows):
        self.clock, self.rows, self.asked, self.posted = ManualClock(NOW), list(rows), [], []
        self.client, self.rim = self, types.SimpleNamespace(post=self.posted.append)

    async def income(self, from_ms, to_ms):
        self.asked.append((from_ms, to_ms))
        return tuple(row for row in self.rows if from_ms <= row.time_ms <= to_ms)


def row(tran_id, amount="-0.5", kind="FUNDING_FEE", time_ms=NOW - 1_000):
    return Income(kind, Decimal(amount), "USDT", "BTCUSDT", time_ms, tran_id, "")


@pytest.fixture
def program():
    return Program(row(1), row(2, "0.25", time_ms=NOW - 8 * 3_600_000), row(3, kind="COMMISSION"))


async def test_new_bookings_become_facts_once(program):
    """Each row is journaled once however often it is read; a fill's own fee is not told twice."""
    books = Bookkeeper()
    await books.read(program)
    await books.read(program)
    assert len(program.posted) == books.booked == 2
    funding = ledger_of(program.posted).rows("funding", 0, 2 * NOW)
    assert [r[3] for r in funding] == ["0.25", "-0.5"]


async def test_a_restart_reads_on_from_where_it_was(program):
    """What the journal has is not booked again, and the second read begins a little before the last."""
    await Bookkeeper().read(program)
    assert program.asked == [(NOW - FIRST_SPAN_MS, NOW)]
    later = Bookkeeper()
    for fact in program.posted:
        later.take(fact)
    program.rows.append(row(4, "-0.75", time_ms=NOW))
    await later.read(program)
    assert program.asked[1] == (NOW - 1_000 - OVERLAP_MS, NOW)
    assert [fact.key for fact in program.posted[2:]] == ["FUNDING_FEE-4-BTCUSDT"]
