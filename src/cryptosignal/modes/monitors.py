"""Eyes inside the simulated venue: what must always hold, judged from the venue's own books.

Every check reads the venue's truth, never the program's opinion (DESIGN §5, RELIABILITY §5).
Positions of others (a person at the same account, forced fills) are told apart by the client id of
each execution: what must be protected is the program's own part of what is there.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal

from cryptosignal.domain.order import Leg, OwnId, parse_client_id
from cryptosignal.sim.account import Fill
from cryptosignal.sim.orders import Algo
from cryptosignal.sim.venue import Venue

ZERO = Decimal(0)
_PROTECTING = ("NEW", "TRIGGERING", "TRIGGERED")
"""Statuses of a stop that rests, or that is closing the position just now."""

NAKED_LIMIT_MS = 20_000
"""Never longer than this without a stop, venue outages and stopped clocks excluded (DESIGN §5.1)."""
NAKED_P99_MS = 5_000
UNSEEN_MS = 10_000
"""So long the program may not have noticed that a stop is gone."""


@dataclass
class Violation:
    """Something that must never happen did."""

    kind: str
    at_ms: int
    detail: str


@dataclass
class Limits:
    """What the program was told to keep to; 0 means no limit."""

    position_max: int = 0
    gross_max_usdt: Decimal = ZERO


@dataclass
class Monitors:
    """Watches one account of one venue. `is_excused` says that the clock of nakedness stands still."""

    venue: Venue
    limits: Limits = field(default_factory=Limits)
    is_excused: Callable[[], bool] = lambda: False
    violations: list[Violation] = field(default_factory=list)
    naked_spans_ms: list[int] = field(default_factory=list)
    """Each stretch without a stop, and a 0 for a position that had one when it was first there."""
    counts: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._naked_since: dict[str, int] = {}
        self._present: set[str] = set()
        self._covered: set[str] = set()
        self._reported: set[str] = set()
        self._entry_ids: dict[str, set[str]] = {}
        self._last_fill = (-1, -1)
        self._looked_ms = 0
        self._algos: dict[int, Algo] = {}
        """Stops that may protect, of those that the venue keeps."""
        self._last_algo = 0
        self._closed: set[str] = set()
        self._net: dict[str, Decimal] = {}
        self._own: dict[str, Decimal] = {}
        self.touched: set[str] = set()
        self.trace = hashlib.blake2b(digest_size=16)

    @property
    def fills(self) -> int:
        """Executions of the account so far."""
        return self.counts["fills"]

    # ---- after every move of the venue ------------------------------------------------------
    def check(self, now_ms: int) -> None:
        """Judge the venue as it stands."""
        self._check_executions(now_ms)
        self._check_protection(now_ms)

    def _symbol(self, index: int) -> str:
        return self.venue.exchange.listed[index].symbol

    def _is_halted(self, symbol: str) -> bool:
        """The venue takes no order on the symbol, neither a stop nor a close: an outage of it."""
        exchange = self.venue.exchange
        index = next(i for i, row in enumerate(exchange.listed) if row.symbol == symbol)
        return exchange.desk.status_of(index) != "TRADING"

    def _quantity(self, algo: Algo) -> Decimal:
        if algo.status != "NEW":
            return Decimal("Infinity")  # it is closing just now
        return Decimal(algo.qty).scaleb(-self.venue.exchange.listed[algo.index].qty_digits)

    def is_held(self) -> bool:
        """The program has a position at the venue."""
        return bool(self._at_risk())

    def _held(self) -> dict[str, Decimal]:
        held: dict[str, Decimal] = {}
        for position in self.venue.positions():
            symbol = self._symbol(position.index)
            held[symbol] = held.get(symbol, ZERO) + position.qty
        return {symbol: quantity for symbol, quantity in held.items() if quantity}

    def _at_risk(self) -> dict[str, Decimal]:
        """The program's own part of each position, others' trades taken off."""
        held: dict[str, Decimal] = {}
        if not any(self._own.values()):
            return held
        for symbol, net in self._held().items():
            own = self._own.get(symbol, ZERO)
            if own * net > ZERO:
                held[symbol] = min(own, net, key=abs)
        return held

    def _check_protection(self, now_ms: int) -> None:
        passed_ms, self._looked_ms = now_ms - self._looked_ms, now_ms
        held = self._at_risk()
        if not held and not self._naked_since:
            self._present.clear()
            self._covered = set()
            return
        if self._naked_since:
            is_excused = self.is_excused()
            for symbol in self._naked_since:
                if is_excused or self._is_halted(symbol):
                    self._naked_since[symbol] += passed_ms
        covered: dict[str, Decimal] = {}
        for algo in self._protecting().values():
            symbol = self._symbol(algo.index)
            covered[symbol] = covered.get(symbol, ZERO) + self._quantity(algo)
        protected = {s for s, quantity in held.items() if covered.get(s, ZERO) >= abs(quantity)}
        for symbol in [s for s in self._naked_since if s not in held or s in protected]:
            self.naked_spans_ms.append(now_ms - self._naked_since.pop(symbol))
            self._reported.discard(symbol)
        self.naked_spans_ms += [0] * len(protected - self._present)
        for symbol in sorted(self._covered & (set(held) - protected)):
            self._judge_uncovered(symbol, now_ms)
        self._present, self._covered = set(held), protected
        for symbol in held:
            if symbol in protected:
                continue
            since_ms = self._naked_since.setdefault(symbol, now_ms)
            if now_ms - since_ms > NAKED_LIMIT_MS and symbol not in self._reported:
                self._reported.add(symbol)
                self.violate("naked", now_ms, f"{symbol} {held[symbol]} since {since_ms}")

    def _protecting(self) -> dict[int, Algo]:
        """Stops that rest or close just now: of those known so far and of all that are new.

        An order that is over stays over, so each is looked at only as long as it lives.
        """
        fresh: list[Algo] = []
        for algo_id, algo in reversed(self.venue.account().algos.items()):
            if algo_id == self._last_algo:
                break
            fresh.append(algo)
        if fresh:
            self._last_algo = fresh[0].algo_id
        known = self._algos | {algo.algo_id: algo for algo in reversed(fresh)}
        self._algos = {
            algo_id: algo
            for algo_id, algo in known.items()
            if algo.kind == "STOP_MARKET" and algo.status in _PROTECTING
        }
        return self._algos

    def _judge_uncovered(self, symbol: str, now_ms: int) -> None:
        """A stop that was all there was may not be cancelled by us (RELIABILITY §3.6).

        Unless the other one, that we counted on, was gone a moment before without a word.
        """
        recent = [
            algo
            for algo in self.venue.account().algos.values()
            if algo.kind == "STOP_MARKET"
            and self._symbol(algo.index) == symbol
            and algo.update_ms > now_ms - UNSEEN_MS
            and parse_client_id(algo.client_id) is not None
        ]
        ends = {algo.status for algo in recent}
        if "CANCELED" in ends and not ends & {"EXPIRED", "REJECTED", "FINISHED"}:
            self.violate("uncovered", now_ms, f"{symbol}: its only stop was cancelled")

    def _check_executions(self, now_ms: int) -> None:
        fresh = self._new_fills()
        for fill in fresh:
            self.counts["fills"] += 1
            self.trace.update(
                f"{fill.time_ms} {fill.index} {fill.client_id} {fill.side} {fill.qty} {fill.price}\n".encode()
            )
            own = parse_client_id(fill.client_id)
            self._follow(fill, own, now_ms)
            if own is None:
                self.counts["foreign_fills"] += 1
                self.touched.add(self._symbol(fill.index))
                continue
            self.counts["stops_filled"] += own.leg is Leg.STOP
            self.counts[f"filled_{own.leg.name.lower()}"] += 1
            if own.leg is Leg.ENTRY:
                self._check_entry(fill, own, now_ms)
            if own.signal_key in self._closed:
                self.violate("late", now_ms, f"{fill.client_id} filled after its trade was closed")
        if fresh:
            self._check_sums(now_ms)

    def _follow(self, fill: Fill, own: OwnId | None, now_ms: int) -> None:
        """Count the execution; an exit of ours may only take away (RELIABILITY §5.10)."""
        symbol = self._symbol(fill.index)
        signed = fill.qty if fill.side == "BUY" else -fill.qty
        before = self._net.get(symbol, ZERO)
        after = self._net[symbol] = before + signed
        if own is None:
            left = self._own.get(symbol, ZERO)
            self._own[symbol] = min(left, after, key=abs) if left * after > ZERO else ZERO
            return
        own_before = self._own.get(symbol, ZERO)
        self._own[symbol] = own_before + signed
        is_flip = abs(after) > abs(before) or before * after < ZERO
        if own.leg is not Leg.ENTRY and is_flip and not self._is_hedged():
            self.violate("flip", now_ms, f"{fill.client_id} took {symbol} {before} to {after}")
        if not after:
            self._own[symbol] = ZERO

    def note_closed(self, signal_key: str) -> None:
        """The program has closed a trade's books: from now on none of its orders may execute."""
        self._closed.add(signal_key)

    def _is_hedged(self) -> bool:
        return self.venue.account().is_hedge or "mode_flip" in self.touched

    def _check_entry(self, fill: Fill, own: OwnId, now_ms: int) -> None:
        known = self._entry_ids.setdefault(own.signal_key, set())
        self.counts["entries"] += not known
        known.add(f"{fill.client_id}/{fill.order_id}")  # one id can be sent twice, and fill twice
        if len(known) > 1:
            self.violate("double_entry", now_ms, f"{own.signal_key}: {sorted(known)}")
        held = self._at_risk()
        if self.limits.position_max and len(held) > self.limits.position_max:
            self.violate("too_many", now_ms, f"{len(held)} positions: {sorted(held)}")
        gross = sum(
            (abs(q) * fill.price for s, q in held.items() if s == self._symbol(fill.index)), ZERO
        )
        if self.limits.gross_max_usdt and gross > self.limits.gross_max_usdt:
            self.violate("too_big", now_ms, f"{fill.client_id}: {gross:.0f} USDT held")

    def _check_sums(self, now_ms: int) -> None:
        """Executions add up to the positions (RELIABILITY §5.8)."""
        held = self._held()
        for symbol, net in self._net.items():
            if net != held.get(symbol, ZERO) and symbol not in self._reported:
                self._reported.add(symbol)
                self.violate("sum", now_ms, f"{symbol}: fills {net}, position {held.get(symbol)}")

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
        found += [  # what is halted when the day ends takes no stop, whatever we do
            f"still naked: {s}" for s in self._naked_since if not self._is_halted(s)
        ]
        return found

    def judge_limits(self, now_ms: int) -> None:
        """The venue must never have cause for a 418, nor for a 429 of our own (DESIGN §5.11)."""
        limits = self.venue.exchange.limits
        if limits.refusals_418:
            self.violate("banned", now_ms, f"{limits.refusals_418} refusals with 418")
        if limits.refusals_429 and not self.venue.faults_injected.get("http_429"):
            self.violate("limited", now_ms, f"{limits.refusals_429} refusals with 429 of our own")

    def judge_money(self, now_ms: int, net_usdt: dict[str, Decimal], ended_ms: int) -> None:
        """What closed trades brought, by our account and by the venue's, symbol by symbol.

        `ended_ms` is when the program was asked to end: what its stops did afterwards it will book at
        its next start.
        """
        held = self._held()
        late = {self._symbol(f.index) for f in self.venue.account().fills if f.time_ms >= ended_ms}
        for symbol, ours in sorted(net_usdt.items()):
            if symbol in self.touched or symbol in held or symbol in late or self._is_hedged():
                continue
            theirs = sum(
                (
                    f.realised - f.fee
                    for f in self.venue.account().fills
                    if self._symbol(f.index) == symbol
                ),
                ZERO,
            )
            theirs += sum(
                (
                    i.amount
                    for i in self.venue.account().incomes
                    if i.kind == "FUNDING_FEE" and self._symbol(i.index) == symbol
                ),
                ZERO,
            )
            if abs(ours - theirs) > Decimal("0.000001") * (1 + self.counts["fills"]):
                self.violate("money", now_ms, f"{symbol}: here {ours}, venue {theirs}")

    def violate(self, kind: str, at_ms: int, detail: str) -> None:
        """Note what must not happen."""
        self.violations.append(Violation(kind, at_ms, detail))
