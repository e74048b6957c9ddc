"""Eyes inside the simulated venue: what must always hold, judged from the venue's own books.

Every check reads the venue's truth, never the program's opinion (DESIGN §5, RELIABILITY §5).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from decimal import Decimal

from cryptosignal.domain.order import Leg, parse_client_id
from cryptosignal.sim.account import Fill
from cryptosignal.sim.venue import Venue

ZERO = Decimal(0)
_PROTECTING = ("NEW", "TRIGGERING", "TRIGGERED")
"""Statuses of a stop that rests, or that is closing the position just now."""

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
        self._last_fill = (-1, -1)
        self.trace = hashlib.blake2b(digest_size=16)

    # ---- after every move of the venue ------------------------------------------------------
    def check(self, now_ms: int) -> None:
        """Judge the venue as it stands."""
        self._check_protection(now_ms)
        self._check_executions(now_ms)

    def _symbol(self, index: int) -> str:
        return self.venue.exchange.listed[index].symbol

    def _held(self) -> dict[str, Decimal]:
        return {self._symbol(p.index): p.qty for p in self.venue.positions() if p.qty}

    def _check_protection(self, now_ms: int) -> None:
        account = self.venue.account()
        held = self._held()
        if not held and not self._naked_since:
            return
        protected = {
            self._symbol(algo.index)
            for algo in account.algos.values()
            if algo.kind == "STOP_MARKET" and algo.status in _PROTECTING
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
        for fill in self._new_fills():
            self.fills += 1
            self.trace.update(
                f"{fill.time_ms} {fill.index} {fill.client_id} {fill.side} {fill.qty} {fill.price}\n".encode()
            )
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
                self._violate("double_entry", now_ms, f"{own.signal_key}: {sorted(known)}")

    def _new_fills(self) -> list[Fill]:
        """Executions since the last look, oldest first."""
        fills = self.venue.account().fills
        fresh: list[Fill] = []
        for fill in reversed(fills):
            if (fill.index, fill.trade_id) == self._last_fill:
                break
            fresh.append(fill)
        if fresh:
            self._last_fill = (fresh[0].index, fresh[0].trade_id)
        return fresh[::-1]

    # ---- at the end --------------------------------------------------------------------------
    def converged(self, local: dict[str, Decimal]) -> list[str]:
        """What still differs between the program and the venue; nothing after a heal."""
        held = self._held()
        found = [
            f"position {symbol}: here {local.get(symbol, ZERO)}, venue {held.get(symbol, ZERO)}"
            for symbol in sorted({*held, *local})
            if local.get(symbol, ZERO) != held.get(symbol, ZERO)
        ]
        for book, orders in (
            ("algo order", self.venue.open_algos()),
            ("order", self.venue.open_orders()),
        ):
            found += [
                f"orphan {book} {order.client_id} on flat {self._symbol(order.index)}"
                for order in orders
                if parse_client_id(order.client_id) is not None
                and self._symbol(order.index) not in held
            ]
        found += [f"still naked: {symbol}" for symbol in self._naked_since]
        return found

    def _violate(self, kind: str, at_ms: int, detail: str) -> None:
        self.violations.append(Violation(kind, at_ms, detail))
