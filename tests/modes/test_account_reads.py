"""No account state is polled: every read of it has a reason that happened (DESIGN §5.19)."""

from __future__ import annotations

from cryptosignal.modes import campaign
from cryptosignal.modes.campaign import Day, DaySettings
from cryptosignal.modes.program import Program
from cryptosignal.modes.weather import calm
from cryptosignal.net.caller import UNASKED
from cryptosignal.net.client import (
    READ_AFTER_RECONNECT,
    READ_AS_AUDIT,
    READ_AT_START,
)

NEVER_S = 1e12
HOURS = 1.5
SNAPSHOT_READS = 4
"""Balances, positions, open orders of both books."""


def programs_of(monkeypatch, **settings):
    """The programs of one simulated stretch of a day."""
    made = []

    class Kept(Program):
        def __init__(self, setup):
            super().__init__(setup)
            made.append(self)

    monkeypatch.setattr(campaign, "Program", Kept)
    result = Day(
        5, DaySettings(days=HOURS / 24, weather=calm(), kill_mean_s=NEVER_S, **settings)
    ).run()
    assert not result.violations
    return made


def test_a_flat_account_is_read_at_the_start_after_the_connect_and_by_the_audit(monkeypatch):
    """An hour and a half without a trade: one snapshot at the start, two as the stream comes up, audits at
    their spacing, nothing else."""
    (program,) = programs_of(monkeypatch, trade_mean_s=NEVER_S)
    reads = program.client.account_reads
    assert set(reads) == {READ_AT_START, READ_AFTER_RECONNECT, READ_AS_AUDIT}
    assert reads[READ_AT_START] == SNAPSHOT_READS + 1  # and the hedge mode, once
    assert reads[READ_AFTER_RECONNECT] == 2 * SNAPSHOT_READS * program.account_feed.connects
    audits_max = 2 * HOURS * 3_600_000 / program.config.trading.audit_flat_ms
    assert 0 < reads[READ_AS_AUDIT] <= SNAPSHOT_READS * audits_max


def test_trading_reads_the_account_for_reasons_only(monkeypatch):
    """An hour and a half with a trade every few minutes: not one read is unasked for, and all reads together
    are far fewer than a poll every five seconds."""
    (program,) = programs_of(monkeypatch, trade_mean_s=300.0)
    reads = program.client.account_reads
    assert reads[UNASKED] == 0
    assert program.desk.state.archive
    assert reads.total() < HOURS * 3_600 / 5 / 2
