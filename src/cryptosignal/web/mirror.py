"""What the page's process knows: the newest snapshots, which rows changed when, and how old it all is.

Browsers ask for changes since the version they have, so one snapshot serves any number of tabs and
a tab is sent a row only when that row has changed.
"""

from __future__ import annotations

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
        self._born: dict[str, int] = {}
        self._gone: dict[str, int] = {}

    def take(self, snapshot: Snapshot) -> None:
        """Fold one snapshot in."""
        self.bodies[snapshot.kind] = snapshot.body
        self.times_ns[snapshot.kind] = snapshot.mono_ns
        if snapshot.kind == "market":
            self._take_rows(snapshot.body.get("rows", []))

    def _take_rows(self, rows: list[Row]) -> None:
        self.version += 1
        fresh = {row["symbol"]: row for row in rows if row.get("symbol")}
        for symbol in self.rows.keys() - fresh.keys():
            self._gone[symbol] = self.version
            del self._changed[symbol], self._born[symbol]
        for symbol, row in fresh.items():
            if symbol not in self.rows:
                self._born[symbol] = self._changed[symbol] = self.version
                self._gone.pop(symbol, None)
            elif row != self.rows[symbol]:
                self._changed[symbol] = self.version
        self.rows = fresh

    def changes(self, since: int) -> Changes:
        """What a viewer at version `since` has missed (0: it has nothing)."""
        add = [row for symbol, row in self.rows.items() if self._born[symbol] > since]
        update = [
            row
            for symbol, row in self.rows.items()
            if self._changed[symbol] > since and self._born[symbol] <= since
        ]
        remove = [{"symbol": symbol} for symbol, at in self._gone.items() if at > since > 0]
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
            return Freshness.WAITING, "The engine answers; it has not scanned the market yet."
        if market_s > self.settings.late_s:
            return (
                Freshness.LATE,
                f"The engine answers, but its market snapshot is {market_s:.0f} s old.",
            )
        return Freshness.FRESH, ""
