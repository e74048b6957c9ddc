"""Accounting counts each fill and each funding once, whoever told of it and in whatever order."""

from __future__ import annotations

import itertools
from decimal import Decimal

import msgspec

from cryptosignal.domain.events import (
    AccountSnapshotTaken,
    AccountUpdated,
    FactRecorded,
    IntentRecorded,
    OrderUpdated,
    TradeSeen,
)
from cryptosignal.domain.order import Leg, OrderIntent, OrderKind, Side
from cryptosignal.domain.position import VenueTrade
from cryptosignal.ground.units import HOUR_MS
from cryptosignal.reports.ledger import HEADS, INCOME_BOOKED, Booking, ledger_of

D = Decimal
ID = "csa-0123456789abcdef-e0"
INTENT = IntentRecorded(
    OrderIntent(ID, "s1", "BTCUSDT", Leg.ENTRY, Side.BUY, OrderKind.MARKET, D("0.01"), 900)
)
LITE = TradeSeen("BTCUSDT", ID, 5, Side.BUY, D("0.01"), D("80000"), 77, 1_000)
UPDATE = OrderUpdated(
    "BTCUSDT", ID, 5, Side.BUY, "MARKET", "TRADE", "FILLED", D("0.01"), D("0.01"), D("80000"),
    D("0.01"), D("80000"), 77, D("0.4"), "USDT", D("0"), False, 1_001, 1_000,
)  # fmt: skip
READ = VenueTrade(
    "BTCUSDT", 77, 5, Side.BUY, D("0.01"), D("80000"), D("0.4"), "USDT", D("0"), 1_000, ID
)
SNAPSHOT = AccountSnapshotTaken("audit", 1_100, 1_200, (), (), (), (), trades=(READ,))
FUNDING = AccountUpdated("FUNDING_FEE", (), (), 2_000, D("-0.031"), "BTCUSDT")


def test_a_fill_is_one_row_however_it_was_heard():
    """Stream, early notice and read-back in any order and number give one row with its fee and signal."""
    for events in itertools.permutations([LITE, UPDATE, SNAPSHOT, UPDATE, LITE]):
        ledger = ledger_of([INTENT, *events])
        [row] = ledger.rows("trades", 0, 10_000)
        named = dict(zip(HEADS["trades"], row, strict=True))
        assert (named["fee"], named["quote_usdt"], named["signal_id"]) == ("0.4", "800", "s1")
        assert named["owner"] == "ours"
        assert ledger.unpriced == 0


def test_a_fee_that_nobody_told_is_left_open():
    """An early notice alone is a fill without a fee, and is counted as such, never as zero."""
    ledger = ledger_of([LITE])
    [row] = ledger.rows("fees", 0, 10_000)
    assert dict(zip(HEADS["fees"], row, strict=True))["fee"] == ""
    assert ledger.unpriced == 1


def listed(amount, time_ms, kind="FUNDING_FEE"):
    booking = Booking(kind, "BTCUSDT", D(amount), "USDT", time_ms, 9)
    return FactRecorded(INCOME_BOOKED, f"{kind}-9", msgspec.json.encode(booking).decode())


def test_funding_is_counted_once():
    """The same booking told twice is one row; another settlement is another."""
    later = msgspec.structs.replace(FUNDING, event_ms=8 * HOUR_MS, balance_change_usdt=D("0.02"))
    rows = ledger_of([FUNDING, FUNDING, later]).rows("funding", 0, 9 * HOUR_MS)
    assert [(row[1], row[3]) for row in rows] == [("2000", "-0.031"), (str(8 * HOUR_MS), "0.02")]


def test_the_venues_list_of_bookings_is_believed():
    """What the stream missed comes from the list; what both have is one row, as the list has it; other
    bookings are no funding."""
    events = [
        FUNDING,
        listed("-0.0312", 1_900),
        listed("0.5", 8 * HOUR_MS),
        listed("7", 0, "TRANSFER"),
    ]
    for order in itertools.permutations(events):
        rows = ledger_of(order).rows("funding", 0, 9 * HOUR_MS)
        assert [row[3] for row in rows] == ["-0.0312", "0.5"]


def test_the_span_is_half_open():
    """A row at the first moment counts, one at the end does not."""
    ledger = ledger_of([UPDATE, FUNDING])
    assert len(ledger.rows("trades", 1_000, 1_001)) == 1
    assert ledger.rows("trades", 0, 1_000) == []
    assert ledger.rows("trades", 1_001, 9_000) == []
    assert len(ledger.rows("funding", 2_000, 2_001)) == 1


def test_other_peoples_fills_are_theirs():
    """Liquidations and manual fills are booked too, and named as what they are."""
    forced = msgspec.structs.replace(UPDATE, client_id="autoclose-1", trade_id=78)
    manual = msgspec.structs.replace(UPDATE, client_id="web_abc", trade_id=79)
    rows = ledger_of([forced, manual]).rows("fees", 0, 10_000)
    assert [row[5] for row in rows] == ["venue", "others"]
