"""What the page's process knows: the newest snapshots, which rows changed when, and how old it all is.

A tab asks for what it has missed since the version it has, so one snapshot serves any number of
tabs and a tab is sent a row only when that row has changed.
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from cryptosignal.ground.clock import host_mono_ns
from cryptosignal.modes.snapshots import Snapshot, SnapshotClient
from cryptosignal.web.settings import PageSettings

Row = dict[str, Any]


class Freshness(StrEnum):
    """How far what is shown may be believed."""

    FRESH = "fresh"
    LATE = "late"
    SILENT = "silent"
    WARMING = "warming"
    WAITING = "waiting"


@dataclass(frozen=True, slots=True)
class Changes:
    """Rows to add, replace and remove to get from one version to `version`."""

    version: int
    add: list[Row]
    update: list[Row]
    remove: list[Row]

    def __bool__(self) -> bool:
        return bool(self.add or self.update or self.remove)


class Mirror:
    """The newest snapshot of each kind, and the market's rows with the version of their change."""

    def __init__(self, settings: PageSettings) -> None:
        self.settings = settings
        self.version = 0
        self.bodies: dict[str, dict[str, Any]] = {}
        self.times_ns: dict[str, int] = {}
        self.rows: dict[str, Row] = {}
        self._changed: dict[str, int] = {}

    def take(self, snapshot: Snapshot) -> None:
        """Fold one snapshot in."""
        self.bodies[snapshot.kind] = snapshot.body
        self.times_ns[snapshot.kind] = snapshot.mono_ns
        if snapshot.kind == "market":
            self._take_rows(snapshot.body.get("rows", []))

    def _take_rows(self, rows: list[Row]) -> None:
        self.version += 1
        fresh = {row["symbol"]: row for row in rows if row.get("symbol")}
        changed = (symbol for symbol, row in fresh.items() if row != self.rows.get(symbol))
        self._changed |= dict.fromkeys(changed, self.version)
        for symbol in [known for known in self.rows if known not in fresh]:
            del self._changed[symbol]
        self.rows = fresh

    def changes(self, since: int, known: Set[str]) -> Changes:
        """What a viewer at version `since` with rows of the symbols `known` has missed."""
        add = [row for symbol, row in self.rows.items() if symbol not in known]
        update = [
            row
            for symbol, row in self.rows.items()
            if self._changed[symbol] > since and symbol in known
        ]
        remove = [{"symbol": symbol} for symbol in sorted(known - self.rows.keys())]
        return Changes(self.version, add, update, remove)

    def strongest(self) -> str:
        """The symbol to look at first: the highest Prime strength, "" without rows."""
        ranked = sorted(self.rows, key=lambda s: (-(self.rows[s].get("prime_strength") or 0.0), s))
        return ranked[0] if ranked else ""

    def age_s(self, kind: str) -> float | None:
        """Seconds since the engine published the newest snapshot of `kind`, None if it never did."""
        at_ns = self.times_ns.get(kind)
        return None if at_ns is None else (host_mono_ns() - at_ns) * 1e-9

    def body(self, kind: str) -> dict[str, Any]:
        """The newest body of `kind`, empty if there is none."""
        return self.bodies.get(kind, {})

    def judge(self, client: SnapshotClient) -> tuple[Freshness, str]:
        """How far the page may be believed, and the line that says so ("" when fresh)."""
        silent_s = client.silent_s()
        if silent_s is None:
            return Freshness.WAITING, f"Waiting for the engine: {client.fault or 'connecting'}"
        if silent_s > self.settings.silent_s:
            return (
                Freshness.SILENT,
                f"The engine is not answering since {silent_s:.0f} s. Everything below is old; "
                "do not act on it.",
            )
        market_s = self.age_s("market")
        if market_s is None:
            line = "The engine answers; it has not scanned the market yet."
            return Freshness.WARMING, f"{line} {self.body('run').get('progress') or ''}".rstrip()
        if market_s > self.settings.late_s:
            return (
                Freshness.LATE,
                f"The engine answers, but its market snapshot is {market_s:.0f} s old.",
            )
        return Freshness.FRESH, ""
