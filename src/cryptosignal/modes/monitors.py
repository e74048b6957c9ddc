"""Eyes inside the simulated venue: what must always hold, judged from the venue's own books.

Every check reads the venue's truth, never the program's opinion (DESIGN §5, RELIABILITY §5).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal

from cryptosignal.domain.order import Leg, parse_client_id
from cryptosignal.sim.venue import Venue

NAKED_LIMIT_MS = 20_000
"""Never longer than this without a stop, venue outages excluded (DESIGN §5.1)."""


@dataclass
class Violation:
    """Something that must never happen did."""

    kind: str
    at_ms: int
    detail: str


@dataclass
class Monitors:
    """Watches one account of one venue."""

    venue: Venue
    violations: list[Violation] = field(default_factory=list)
    naked_spans_ms: list[int] = field(default_factory=list)
    fills: int = 0
    entries: int = 0
    stops_filled: int = 0

    def __post_init__(self) -> None:
        self._naked_since: dict[str, int] = {}
        self._reported: set[str] = set()
        self._entry_ids: dict[str, set[str]] = {}
        self._seen_trades = 0

    # ---- after every move of the venue ------------------------------------------------------
    def check(self, now_ms: int) -> None:
        """Judge the venue as it stands."""
        self._check_protection(now_ms)
        self._check_executions(now_ms)

    def _check_protection(self, now_ms: int) -> None:
        held = {p.symbol: p.quantity for p in self.venue.positions() if p.quantity}
        protected = {
            algo.symbol
            for algo in self.venue.open_algos()
            if algo.kind == "STOP_MARKET" and held.get(algo.symbol, 0) != 0
        }
        for symbol in [s for s in self._naked_since if s not in held or s in protected]:
            self.naked_spans_ms.append(now_ms - self._naked_since.pop(symbol))
            self._reported.discard(symbol)
        for symbol in held:
            if symbol in protected:
                continue
            since_ms = self._naked_since.setdefault(symbol, now_ms)
            if now_ms - since_ms > NAKED_LIMIT_MS and symbol not in self._reported:
                self._reported.add(symbol)
                self._violate("naked", now_ms, f"{symbol} {held[symbol]} since {since_ms}")

    def _check_executions(self, now_ms: int) -> None:
        executions = self.venue.executions(self._seen_trades)
        self._seen_trades += len(executions)
        for fill in executions:
            self.fills += 1
            own = parse_client_id(fill.client_id)
            if own is None:
                continue
            self.stops_filled += own.leg is Leg.STOP
            if own.leg is not Leg.ENTRY:
                continue
            known = self._entry_ids.setdefault(own.signal_key, set())
            self.entries += not known
            known.add(fill.client_id)
            if len(known) > 1:
                self._violate("double_entry", now_ms, f"{fill.symbol} {sorted(known)}")

    # ---- at the end --------------------------------------------------------------------------
    def converged(self, local: dict[str, Decimal]) -> list[str]:
        """What still differs between the program and the venue; nothing after a heal."""
        found = []
        held = {p.symbol: p.quantity for p in self.venue.positions() if p.quantity}
        for symbol in sorted({*held, *local}):
            ours, theirs = local.get(symbol, Decimal(0)), held.get(symbol, Decimal(0))
            if ours != theirs:
                found.append(f"position {symbol}: here {ours}, venue {theirs}")
        for algo in self.venue.open_algos():
            if parse_client_id(algo.client_id) is not None and algo.symbol not in held:
                found.append(f"orphan algo order {algo.client_id} on flat {algo.symbol}")
        for order in self.venue.open_orders():
            own = parse_client_id(order.client_id)
            if own is not None and order.symbol not in held:
                found.append(f"orphan order {order.client_id} on flat {order.symbol}")
        found += [f"still naked: {symbol}" for symbol in self._naked_since]
        return found

    def _violate(self, kind: str, at_ms: int, detail: str) -> None:
        self.violations.append(Violation(kind, at_ms, detail))
