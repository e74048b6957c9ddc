"""Projections: rows by natural key, rebuilt from the journal after anybody deleted the file."""

from __future__ import annotations

import math
import sqlite3
from decimal import Decimal

import msgspec
import pytest
from tests.store.making import outcome, timer

from cryptosignal.domain.actions import PublishDecision, RecordOutcome, ScanDecided
from cryptosignal.domain.events import AccountSnapshotTaken, FactRecorded, OrderUpdated
from cryptosignal.domain.order import Side
from cryptosignal.domain.position import VenueTrade
from cryptosignal.domain.signal import Decision, Tier
from cryptosignal.store.faults import DiskFault, NewerFormat
from cryptosignal.store.projection import Projection
from cryptosignal.store.runs import JournalRecord


def decision(signal_id="s1", time_ms=5):
    return Decision(
        signal_id=signal_id,
        scan_id=1,
        time_ms=time_ms,
        symbol="BTCUSDT",
        side="long",
        score=80.0,
        confidence=75.5,
        edge=0.4,
        prime_strength=60.0,
        p=0.61,
        p_calibrated=0.6,
        ev=0.002,
        cost=0.001,
        tier=Tier.PRIME,
        reasons=("trend",),
        factors={"T": math.nan},
        contributions={},
        modulators={},
        gates=(),
        quality=0.95,
        plan=None,
        ttl_ms=1,
        params_version="v1",
    )


def fill(trade_id, price="100.10"):
    return OrderUpdated(
        symbol="BTCUSDT",
        client_id="csb-1-e1",
        order_id=7,
        side=Side.BUY,
        kind="MARKET",
        execution="TRADE",
        status="FILLED",
        quantity=Decimal("0.5"),
        executed=Decimal("0.5"),
        average_price=Decimal(price),
        last_quantity=Decimal("0.5"),
        last_price=Decimal(price),
        trade_id=trade_id,
        fee=Decimal("0.02"),
        fee_asset="USDT",
        realized_usdt=Decimal(0),
        reduce_only=False,
        event_ms=10 + trade_id,
        trade_ms=10 + trade_id,
    )


def venue_trade(trade_id):
    price = Decimal("100.10")
    return VenueTrade(
        "BTCUSDT",
        trade_id,
        7,
        Side.BUY,
        Decimal("0.5"),
        price,
        Decimal("0.02"),
        "USDT",
        Decimal(0),
        12,
    )


RECORDS = [
    JournalRecord(1, 1, timer()),
    JournalRecord(2, 2, fill(1)),
    JournalRecord(3, 3, fill(0)),
    JournalRecord(
        4, 4, AccountSnapshotTaken("audit", 1, 2, (), (), (), (), (venue_trade(1), venue_trade(2)))
    ),
]
ACTIONS = [
    PublishDecision(decision()),
    ScanDecided(1, 5, "d1", 60, 1, 2, 3),
    RecordOutcome(outcome()),
]


def fold(projection):
    for record in RECORDS:
        projection.apply_record(record)
    for action in ACTIONS:
        projection.apply_action(action)
    projection.commit()


def content(projection):
    return [projection.signals(), projection.outcomes(), projection.trades(), projection.scans()]


def test_rows(tmp_path):
    """Signals, outcomes, scans and each fill once, with money kept as exact text."""
    projection = Projection(tmp_path / "view.sqlite")
    fold(projection)
    assert [t["trade_id"] for t in projection.trades()] == [2, 1]
    assert Decimal(projection.trades()[0]["price"]) == Decimal("100.10")
    assert projection.signals()[0]["tier"] == "prime"
    assert projection.outcomes()[0]["net_usdt"] == "0.51"
    assert projection.scans()[0]["digest"] == "d1"
    assert projection.signal("s1")["symbol"] == "BTCUSDT"
    assert projection.signal("none") is None
    projection.close()


@pytest.mark.parametrize("r_multiple", [1.5, math.nan])
def test_outcomes_from_the_journal(tmp_path, r_multiple):
    """The fact that closes a traded signal gives its outcome row; one without an outcome none."""
    projection = Projection(tmp_path / "view.sqlite")
    body = {"reason": "stop", "outcome": outcome(r_multiple=r_multiple)}
    for row in (body, body | {"outcome": None}, {"reason": "refused"}):
        fact = FactRecorded("signal.closed", "s1", msgspec.json.encode(row).decode())
        projection.apply_record(JournalRecord(1, 1, fact))
    (row,) = projection.outcomes()
    assert row["r_multiple"] == (None if math.isnan(r_multiple) else r_multiple)
    projection.close()


def test_twice_changes_nothing(tmp_path):
    """Folding the same records and actions again changes no row."""
    projection = Projection(tmp_path / "view.sqlite")
    fold(projection)
    once = content(projection)
    fold(projection)
    assert content(projection) == once
    projection.close()


def test_deleted_and_rebuilt(tmp_path):
    """After the file was deleted a rebuild gives the same rows."""
    path = tmp_path / "deep" / "view.sqlite"
    projection = Projection(path)
    fold(projection)
    before = content(projection)
    projection.close()
    path.unlink()
    projection = Projection(path)
    assert content(projection) == [[], [], [], []]
    projection.rebuild(RECORDS, [outcome()], ACTIONS)
    assert content(projection) == before
    projection.close()


def test_newest_first_and_limits(tmp_path):
    """Queries give the newest rows first, since a time, up to a limit."""
    projection = Projection(tmp_path / "view.sqlite")
    for number in range(5):
        projection.apply_decision(decision(f"s{number}", number))
    assert [r["signal_id"] for r in projection.signals(2)] == ["s4", "s3"]
    assert [r["signal_id"] for r in projection.signals(since_ms=3)] == ["s4", "s3"]
    projection.close()


def test_readers_run_beside_the_writer(tmp_path):
    """A reader of its own sees committed rows while the writer is open (WAL)."""
    path = tmp_path / "view.sqlite"
    projection = Projection(path)
    fold(projection)
    reader = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    projection.apply_decision(decision("s2"))
    assert reader.execute("select count(*) from signals").fetchone() == (1,)
    reader.close()
    projection.close()


def test_damaged_file_is_replaced(tmp_path):
    """A file that is no database is replaced by an empty projection: it is only a view."""
    path = tmp_path / "view.sqlite"
    path.write_bytes(b"not a database at all" * 100)
    projection = Projection(path)
    assert projection.signals() == []
    projection.close()


def test_newer_and_unusable(tmp_path):
    """A newer format and a path that cannot be opened are refused with one line each."""
    path = tmp_path / "view.sqlite"
    Projection(path).close()
    db = sqlite3.connect(path)
    db.execute("pragma user_version = 9")
    db.close()
    with pytest.raises(NewerFormat, match=r"format 9 is newer"):
        Projection(path)
    folder = tmp_path / "folder"
    folder.mkdir()
    with pytest.raises(DiskFault, match="cannot open the projection"):
        Projection(folder)
