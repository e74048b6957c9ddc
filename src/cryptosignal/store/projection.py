"""SQLite tables of signals, outcomes, trades and scans, for people and pages to query (D2).

A projection, never a source: anyone may delete the file, `rebuild` writes it anew from journal
records and outcome rows. Every write is an upsert by its natural key, so applying twice changes
nothing. One connection, one thread; readers open their own (`mode=ro`).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import msgspec

from cryptosignal.domain.actions import (
    Action,
    PublishDecision,
    RecordOutcome,
    ScanDecided,
)
from cryptosignal.domain.events import AccountSnapshotTaken, FactRecorded, OrderUpdated
from cryptosignal.domain.outcome import Outcome
from cryptosignal.domain.signal import Decision
from cryptosignal.store.faults import DiskFault, NewerFormat
from cryptosignal.store.outcomes import decode_outcome
from cryptosignal.store.runs import JournalRecord

FORMAT: Final = 1

_CLOSED: Final = "signal.closed"
"""The kind of fact that ends a signal; its body holds the outcome, null if nothing was traded."""

_SCHEMA: Final = """
create table if not exists signals (
  signal_id text primary key, scan_id integer, time_ms integer, symbol text, side text, tier text,
  score real, confidence real, prime_strength real, p real, ev real, quality real, body text);
create index if not exists signals_by_time on signals (time_ms);
create table if not exists outcomes (
  signal_id text primary key, symbol text, direction text, tier text, traded integer,
  opened_ms integer, closed_ms integer, net_usdt text, r_multiple real, exit_reason text, body text);
create index if not exists outcomes_by_time on outcomes (closed_ms);
create table if not exists trades (
  symbol text, trade_id integer, client_id text, order_id integer, side text, quantity text,
  price text, fee text, fee_asset text, realized_usdt text, time_ms integer,
  primary key (symbol, trade_id));
create index if not exists trades_by_time on trades (time_ms);
create table if not exists scans (
  scan_id integer, time_ms integer, digest text, scanned integer, prime integer, watch integer,
  skipped integer, primary key (scan_id, time_ms));
"""


class _Closed(msgspec.Struct):
    outcome: msgspec.Raw = msgspec.Raw(b"null")


class Projection:
    """The tables in the file `path` (made if missing).

    Raises `NewerFormat` for a file of a later program and `DiskFault` if it cannot be opened; a
    file that is no database is replaced by an empty one.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._db = _connect(path)

    def close(self) -> None:
        """Commit and close."""
        self._db.commit()
        self._db.close()

    def commit(self) -> None:
        """Make what was applied visible to readers."""
        self._db.commit()

    # ---- writing -----------------------------------------------------------------------------
    def apply_record(self, record: JournalRecord) -> None:
        """Fold a journal record: fills become trades, closed signals outcomes, others nothing."""
        event = record.event
        if isinstance(event, OrderUpdated) and event.trade_id:
            self._upsert(
                "trades",
                symbol=event.symbol,
                trade_id=event.trade_id,
                client_id=event.client_id,
                order_id=event.order_id,
                side=event.side.value,
                quantity=event.last_quantity,
                price=event.last_price,
                fee=event.fee,
                fee_asset=event.fee_asset,
                realized_usdt=event.realized_usdt,
                time_ms=event.trade_ms,
            )
        elif isinstance(event, AccountSnapshotTaken):
            for trade in event.trades:
                self._upsert("trades", **_plain(trade))
        elif isinstance(event, FactRecorded) and event.kind == _CLOSED:
            body = msgspec.json.decode(event.body, type=_Closed).outcome
            if bytes(body) != b"null":
                self.apply_outcome(decode_outcome(bytes(body)))

    def apply_action(self, action: Action) -> None:
        """Fold an action of the engine: published decisions, scans and outcomes become rows."""
        if isinstance(action, PublishDecision):
            self.apply_decision(action.decision)
        elif isinstance(action, RecordOutcome):
            self.apply_outcome(action.outcome)
        elif isinstance(action, ScanDecided):
            self._upsert("scans", **_plain(action))

    def apply_decision(self, decision: Decision) -> None:
        """One signal row."""
        self._upsert(
            "signals",
            signal_id=decision.signal_id,
            scan_id=decision.scan_id,
            time_ms=decision.time_ms,
            symbol=decision.symbol,
            side=decision.side,
            tier=decision.tier.value,
            score=decision.score,
            confidence=decision.confidence,
            prime_strength=decision.prime_strength,
            p=decision.p,
            ev=decision.ev,
            quality=decision.quality,
            body=msgspec.json.encode(decision).decode(),
        )

    def apply_outcome(self, outcome: Outcome) -> None:
        """One outcome row."""
        self._upsert(
            "outcomes",
            signal_id=outcome.signal_id,
            symbol=outcome.symbol,
            direction=outcome.direction,
            tier=outcome.tier,
            traded=int(outcome.traded),
            opened_ms=outcome.opened_ms,
            closed_ms=outcome.closed_ms,
            net_usdt=outcome.net_usdt,
            r_multiple=outcome.r_multiple,
            exit_reason=outcome.exit_reason,
            body=msgspec.json.encode(outcome).decode(),
        )

    def rebuild(
        self,
        records: Iterable[JournalRecord],
        outcomes: Iterable[Outcome] = (),
        actions: Iterable[Action] = (),
    ) -> None:
        """Empty all tables and fill them from the journal, the outcome rows and, for signals and
        scans, the actions that a replay gives."""
        for table in ("signals", "outcomes", "trades", "scans"):
            self._db.execute(f"delete from {table}")  # noqa: S608 - names from the line above
        for record in records:
            self.apply_record(record)
        for outcome in outcomes:
            self.apply_outcome(outcome)
        for action in actions:
            self.apply_action(action)
        self._db.commit()

    # ---- reading -----------------------------------------------------------------------------
    def signals(self, limit: int = 50, since_ms: int = 0) -> list[dict[str, Any]]:
        """The newest signals since `since_ms`, newest first."""
        return self._newest("signals", "time_ms", since_ms, limit)

    def outcomes(self, limit: int = 50, since_ms: int = 0) -> list[dict[str, Any]]:
        """The newest outcomes by closing time, newest first."""
        return self._newest("outcomes", "closed_ms", since_ms, limit)

    def trades(self, limit: int = 50, since_ms: int = 0) -> list[dict[str, Any]]:
        """The newest fills, newest first; money is text and reads back as Decimal."""
        return self._newest("trades", "time_ms", since_ms, limit)

    def scans(self, limit: int = 50, since_ms: int = 0) -> list[dict[str, Any]]:
        """The newest scans, newest first."""
        return self._newest("scans", "time_ms", since_ms, limit)

    def signal(self, signal_id: str) -> dict[str, Any] | None:
        """One signal with its whole decision as JSON in `body`."""
        row = self._db.execute("select * from signals where signal_id = ?", (signal_id,)).fetchone()
        return dict(row) if row is not None else None

    def _newest(self, table: str, time: str, since_ms: int, limit: int) -> list[dict[str, Any]]:
        query = f"select * from {table} where {time} >= ? order by {time} desc, rowid desc limit ?"  # noqa: S608 - both names are ours
        return [dict(row) for row in self._db.execute(query, (since_ms, limit))]

    def _upsert(self, table: str, **values: object) -> None:
        names = ", ".join(values)
        marks = ", ".join("?" * len(values))
        plain = [str(v) if isinstance(v, Decimal) else v for v in values.values()]
        self._db.execute(f"insert or replace into {table} ({names}) values ({marks})", plain)  # noqa: S608 - names are ours


def _connect(path: Path) -> sqlite3.Connection:
    try:
        return _prepare(path)
    except sqlite3.OperationalError as error:
        raise DiskFault(str(path), f"cannot open the projection: {error}") from None
    except sqlite3.DatabaseError:
        # a projection that cannot be read is worth nothing: begin an empty one (rebuild fills it)
        for suffix in ("", "-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
        return _prepare(path)


def _prepare(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path)
    try:
        db.row_factory = sqlite3.Row
        db.execute("pragma journal_mode = wal")
        db.execute("pragma synchronous = normal")
        (found,) = db.execute("pragma user_version").fetchone()
        if found > FORMAT:
            raise NewerFormat(str(path), found, FORMAT)
        db.executescript(_SCHEMA)
        db.execute(f"pragma user_version = {FORMAT}")
        db.commit()
    except (sqlite3.Error, NewerFormat):
        db.close()
        raise
    return db


def _plain(row: msgspec.Struct) -> Mapping[str, Any]:
    values = {name: getattr(row, name) for name in row.__struct_fields__}
    return {k: (v.value if hasattr(v, "value") else v) for k, v in values.items()}
