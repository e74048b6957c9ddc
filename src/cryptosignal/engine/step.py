"""One event in, actions out: the only place where decisions are taken (D1).

`step` is synchronous and depends on nothing but the engine's state, the event and the time it is
given. What survives a restart is folded from records and money events alone (`fold`), so that
recovery decides nothing. Records returned by a step are already folded when it returns.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from math import isfinite
from typing import Any

import msgspec

from cryptosignal.domain.actions import (
    Action,
    Note,
    PublishDecision,
    Record,
    RecordOutcome,
    ScanDecided,
    WakeAt,
    WatchSymbols,
    WriteReport,
)
from cryptosignal.domain.events import (
    BarClosed,
    EngineStarted,
    Event,
    FactRecorded,
    InstrumentsListed,
    OperatorCommanded,
    ParamsPublished,
    ScanTaken,
    TimerFired,
)
from cryptosignal.domain.instrument import Instrument
from cryptosignal.domain.order import Direction
from cryptosignal.domain.params import ParamSet, params_from_json
from cryptosignal.domain.scan import SYMBOL_TRIGGER, ScanRows
from cryptosignal.domain.signal import Decision, decision_from_json, decision_to_json
from cryptosignal.engine.digest import DigestChain
from cryptosignal.engine.manual import manual_decision
from cryptosignal.engine.schedule import LEARNING, REPORT, SLOT_DONE, Schedule
from cryptosignal.engine.timers import Timers
from cryptosignal.ground.calendar import utc_day
from cryptosignal.ground.units import DAY_MS, decimal_of
from cryptosignal.learning.outcomes import OutcomeTracker
from cryptosignal.signals.decide import decide
from cryptosignal.signals.decisions import PRIME, WATCH, ScanDecisions
from cryptosignal.signals.hazards import fresh_prime, in_overlay
from cryptosignal.signals.memory import Held, SignalMemory, memory_from_bytes
from cryptosignal.signals.score import column
from cryptosignal.trading.desk import Desk

SIGNAL_PUBLISHED = "signal.published"
SIGNAL_MEMORY = "signal.memory"
OUTCOME_RECORDED = "outcome.recorded"
PUBLISHED_KEPT = 1000
"""Published decisions kept in memory; older ones are in the journal."""


class Engine:
    """The decisions of one run: signals, orders, outcomes, reports."""

    def __init__(self, params: ParamSet, desk: Desk, tracker: OutcomeTracker) -> None:
        self.params = params
        self.desk = desk
        self.tracker = tracker
        self.memory = SignalMemory()
        self.timers = Timers()
        self.schedule = Schedule()
        self.outcomes_new = 0
        """Outcomes recorded since the last learning slot."""
        self.chain = DigestChain()
        self.mode = "signal"
        self.account = "none"
        self.instruments: dict[str, Instrument] = {}
        self.latest: ScanDecisions | None = None
        """The newest scan of the market."""
        self.newest: ScanDecisions | None = None
        """What was decided last, be it one symbol's refresh."""
        self.published: dict[str, Decision] = {}
        self.scans = 0
        desk.errands.rho_btc = self._rho_btc
        self._started_ms = 0
        self._memory_text = ""
        self._desk_watch: tuple[str, ...] = ()
        self._followed: tuple[str, ...] = ()
        self._watching = WatchSymbols(())

    # ---- the two doors ------------------------------------------------------------------
    def step(self, now_ms: int, event: Event | ScanTaken) -> tuple[Action, ...]:
        """Decide on one event. Records in the answer are folded already; order is meaning."""
        self.fold(event)
        handler = _HANDLERS.get(type(event), Engine._on_other)
        actions = self._with_watch(handler(self, now_ms, event))
        for action in actions:
            if isinstance(action, Record):
                self.fold(action.event)
            elif isinstance(action, WakeAt):
                self.timers.set(action.name, action.at_ms)
        return actions

    def fold(self, event: Event | ScanTaken) -> None:
        """Take in what happened without deciding anything: all of recovery, half of `step`."""
        if isinstance(event, ScanTaken):
            return
        self.desk.apply(event)
        if isinstance(event, FactRecorded):
            self._fold_fact(event)
        elif isinstance(event, EngineStarted):
            self.mode, self.account = event.mode, event.account

    def _fold_fact(self, event: FactRecorded) -> None:
        if event.kind == SIGNAL_PUBLISHED:
            self._remember(decision_from_json(event.body))
        elif event.kind == SIGNAL_MEMORY:
            self.memory = memory_from_bytes(event.body.encode())
            self._memory_text = event.body
        elif event.kind == OUTCOME_RECORDED:
            self.tracker.forget(event.key)
            self.outcomes_new += 1
        elif event.kind == SLOT_DONE:
            self.schedule.fold(event.key, int(event.body))
            if event.key == LEARNING.name:
                self.outcomes_new = 0

    def digest_of(self, now_ms: int, actions: tuple[Action, ...]) -> str | None:
        """Chain the digest of one step's actions; None for a step that did nothing."""
        return self.chain.add(now_ms, actions)

    @staticmethod
    def records_of(actions: tuple[Action, ...]) -> list[str]:
        """The records among `actions` as the journal spells them, in order."""
        return [
            msgspec.json.encode(action.event).decode()
            for action in actions
            if isinstance(action, Record)
        ]

    # ---- events ---------------------------------------------------------------------------
    def _on_other(self, now_ms: int, event: Any) -> tuple[Action, ...]:
        return self._ask_desk(now_ms, event)

    def _on_started(self, now_ms: int, event: EngineStarted) -> tuple[Action, ...]:
        self._started_ms = now_ms
        schedule = self.schedule
        begun = {duty.name: duty.slot_before(now_ms) for duty in schedule.unknown()}
        actions: list[Action] = [_done(name, slot_ms) for name, slot_ms in begun.items()]
        for name, duty in schedule.duties.items():
            at_ms = begun[name] + duty.every_ms if name in begun else schedule.next_ms(name)
            actions.append(WakeAt(name, at_ms))
        return (*actions, *self._ask_desk(now_ms, event))

    def _on_timer(self, now_ms: int, event: TimerFired) -> tuple[Action, ...]:
        name = event.name
        if name not in self.schedule.duties:
            return self._ask_desk(now_ms, event)
        actions: list[Action] = []
        next_ms = self.schedule.next_ms(name)
        for slot_ms in self.schedule.owed(name, now_ms):
            actions += [self._slot(name, slot_ms), _done(name, slot_ms)]
            next_ms = slot_ms + self.schedule.duties[name].every_ms
        return (*actions, WakeAt(name, next_ms))

    def _slot(self, name: str, slot_ms: int) -> Action:
        """What is done at one slot."""
        if name == REPORT.name:
            return WriteReport(utc_day(slot_ms - DAY_MS), is_late=slot_ms <= self._started_ms)
        return Note("learning.is_due", {"slot_ms": slot_ms, "outcomes": self.outcomes_new})

    def _on_instruments(self, now_ms: int, event: InstrumentsListed) -> tuple[Action, ...]:
        self.instruments = {item.symbol: item for item in event.instruments}
        return self._ask_desk(now_ms, event)

    def _on_params(self, now_ms: int, event: ParamsPublished) -> tuple[Action, ...]:
        self.params = params_from_json(event.body)
        return (Note("params.published", {"version": event.version}),)

    def _on_bar(self, now_ms: int, event: BarClosed) -> tuple[Action, ...]:
        actions: list[Action] = []
        if event.interval == "1m":
            for outcome in self.tracker.on_bar(event.symbol, event.bar):
                body = msgspec.json.encode(outcome).decode()
                fact = FactRecorded(OUTCOME_RECORDED, outcome.signal_id, body)
                actions += [Record(fact), RecordOutcome(outcome)]
        return (*actions, *self._ask_desk(now_ms, event))

    def _on_scan(self, now_ms: int, event: ScanTaken) -> tuple[Action, ...]:
        decisions = decide(event.rows, self.params, self.memory, self._held(event.rows))
        self.newest = decisions
        if event.rows.trigger == SYMBOL_TRIGGER:
            return (*self._publish_new(now_ms, decisions), *self._keep_memory())
        self.latest = decisions
        self.scans += 1
        actions: list[Action] = [
            ScanDecided(
                scan_id=event.rows.scan_id,
                time_ms=event.rows.time_ms,
                digest=decisions.digest(),
                scanned=len(decisions),
                prime=int((decisions.tiers == PRIME).sum()),
                watch=int((decisions.tiers == WATCH).sum()),
                skipped=int(decisions.skipped().sum()),
            )
        ]
        actions += self._publish_new(now_ms, decisions)
        return (*actions, *self._keep_memory())

    def _publish_new(self, now_ms: int, decisions: ScanDecisions) -> list[Action]:
        """Prime decisions that are not out yet, and their entries where the mode has any."""
        actions: list[Action] = []
        for decision in decisions.prime():
            if decision.signal_id in self.published:
                continue
            actions += self._publish(decision)
            if self.mode in ("approve", "auto"):
                actions += self._open(now_ms, decision, is_approved=False)
        return actions

    def _on_command(self, now_ms: int, event: OperatorCommanded) -> tuple[Action, ...]:
        if event.command != "trade":
            return self._ask_desk(now_ms, event)
        symbol = event.arguments.get("symbol", "")
        direction = event.arguments.get("direction", "")
        if self.latest is None or symbol not in self.instruments:
            why = "no scan yet" if self.latest is None else "unknown symbol"
            return (Note("trade.refused", {"symbol": symbol, "reason": why}),)
        if direction not in tuple(Direction):
            allowed = ", ".join(Direction)
            return (Note("trade.refused", {"symbol": symbol, "reason": f"direction: {allowed}"}),)
        price = event.arguments.get("price")
        known = Decimal(price) if price else None
        mark = float(price) if price else None
        decision = manual_decision(self.latest, symbol, Direction(direction), now_ms, mark)
        if decision is None:
            return (Note("trade.refused", {"symbol": symbol, "reason": "no price plan: no data"}),)
        opened = self._open(now_ms, decision, is_approved=True, price=known)
        return (*self._publish(decision), *opened)

    def _keep_memory(self) -> tuple[Action, ...]:
        """Journal the signal memory when a scan changed it: cooldowns survive a restart exactly."""
        text = self.memory.to_bytes().decode()
        if text == self._memory_text:
            return ()
        self._memory_text = text
        return (Record(FactRecorded(SIGNAL_MEMORY, "", text)),)

    def _ask_desk(self, now_ms: int, event: Any) -> tuple[Action, ...]:
        """What the desk wants done; without an account it may not even ask (public data only)."""
        if self.account == "none":
            return ()
        return self.desk.decide(now_ms, event)

    def _held(self, rows: ScanRows) -> tuple[Held, ...]:
        """Our positions, each with what its coin was when its signal went out; one without a signal
        of its own (a person's trade) with what the newest scan says of it."""
        out = []
        for symbol, direction in self.desk.sides().items():
            known = self.memory.published.get(symbol)
            if known is not None and known.side == direction.value:
                out.append(Held(symbol, known.side, known.is_new, known.is_overlay))
                continue
            seen = rows if symbol in rows.symbols or self.latest is None else self.latest.rows
            if symbol in seen.symbols:
                i = seen.symbols.index(symbol)
                new, pooled = fresh_prime(seen, self.params)[i], in_overlay(seen)[i]
                out.append(Held(symbol, direction.value, bool(new), bool(pooled)))
        return tuple(out)

    def _rho_btc(self, symbol: str) -> Decimal | None:
        """How a symbol moves with BTC by the newest scan, to two places; None if it did not say."""
        if symbol == "BTCUSDT":
            return Decimal(1)
        rows = self.latest.rows if self.latest is not None else None
        if rows is None or symbol not in rows.symbols:
            return None
        rho = round(float(column(rows, "ctx.rho_btc")[rows.symbols.index(symbol)]), 2)
        return decimal_of(rho) if isfinite(rho) else None

    # ---- parts ------------------------------------------------------------------------------
    def _publish(self, decision: Decision) -> list[Action]:
        self._remember(decision)
        fact = FactRecorded(SIGNAL_PUBLISHED, decision.signal_id, decision_to_json(decision))
        return [
            Record(fact),
            PublishDecision(decision),
        ]

    def _remember(self, decision: Decision) -> None:
        if decision.signal_id in self.published:
            return
        self.published[decision.signal_id] = decision
        if len(self.published) > PUBLISHED_KEPT:
            del self.published[next(iter(self.published))]
        self.tracker.follow(decision)

    def _with_watch(self, actions: tuple[Action, ...]) -> tuple[Action, ...]:
        """The desk's symbols with marks, the tracker's with bars alone; told when they change."""
        is_told = False
        for action in actions:
            if isinstance(action, WatchSymbols):
                self._desk_watch, is_told = action.symbols, True
        followed = self.tracker.symbols()
        if not is_told and followed == self._followed:
            return actions
        self._followed = followed
        wanted = tuple(sorted({*self._desk_watch, *followed}))
        kept = tuple(action for action in actions if not isinstance(action, WatchSymbols))
        watching = WatchSymbols(wanted, self._desk_watch)
        if watching == self._watching:
            return kept
        self._watching = watching
        return (*kept, watching)

    def _open(
        self, now_ms: int, decision: Decision, *, is_approved: bool, price: Decimal | None = None
    ) -> list[Action]:
        instrument = self.instruments.get(decision.symbol)
        if instrument is None or self.account == "none":
            reason = "no account" if self.account == "none" else "the contract is not listed"
            return [Note("entry.refused", {"symbol": decision.symbol, "reason": reason})]
        return list(
            self.desk.open_from(decision, now_ms, instrument, price=price, is_approved=is_approved)
        )


def _done(name: str, slot_ms: int) -> Record:
    return Record(FactRecorded(SLOT_DONE, name, str(slot_ms)))


_HANDLERS: dict[type, Callable[[Engine, int, Any], tuple[Action, ...]]] = {
    EngineStarted: Engine._on_started,
    TimerFired: Engine._on_timer,
    InstrumentsListed: Engine._on_instruments,
    ParamsPublished: Engine._on_params,
    BarClosed: Engine._on_bar,
    ScanTaken: Engine._on_scan,
    OperatorCommanded: Engine._on_command,
}
"""What is decided on which event; everything else is the desk's."""
