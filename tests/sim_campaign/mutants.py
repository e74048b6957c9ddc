"""Planted bugs: each is one wrong line that the simulated campaign must notice.

`python -m tests.sim_campaign.mutants [--seeds N] [NAME …]` runs each mutant over dense hours until
a monitor cries, prints a table (mutant, caught by, simulated days to the first catch) and fails
below 95 %. Layers of protection are switched off one at a time in rows marked `layer`: they may
survive where another layer does their work, and are reported, not counted.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from unittest.mock import patch

import msgspec

from cryptosignal.domain.events import SendOutcome
from cryptosignal.domain.order import Leg
from cryptosignal.modes.account import AccountVenue
from cryptosignal.modes.campaign import Day, DaySettings
from cryptosignal.modes.program import Program
from cryptosignal.modes.rim import Rim
from cryptosignal.net.ledger import WeightLedger
from cryptosignal.store.journal import Journal
from cryptosignal.trading import (
    bracket,
    closing,
    controller,
    errands,
    exits,
    fold,
    proofs,
    reconcile,
    sightings,
)
from cryptosignal.trading.fills import FillBook
from cryptosignal.trading.orders import Order, OrderFact
from cryptosignal.trading.state import TradingState

SHARE_MIN = 0.95
SEEDS_EACH = 250
"""Dense hours that a mutant may live: ten simulated days."""
DENSE = DaySettings(days=0.04, kill_mean_s=300.0, trade_mean_s=40.0, host_mean_s=600.0)
"""An hour with the trades and kills of a day: most of a day is flat, and teaches a hunt nothing."""

Patch = Callable[[], contextlib.AbstractContextManager[Any]]


@dataclass(frozen=True)
class Mutant:
    """A planted bug. `is_layer`: one of several layers, switched off alone."""

    name: str
    plant: Patch
    is_layer: bool = False


def _swap(target: Any, name: str, make: Callable[[Any], Any]) -> Patch:
    """Replace `target.name` by what `make` builds around the original."""
    return lambda: patch.object(target, name, make(getattr(target, name)))


def _together(*patches: Patch) -> Patch:
    """Several lines at once."""

    @contextlib.contextmanager
    def planted() -> Iterator[None]:
        with contextlib.ExitStack() as stack:
            for plant in patches:
                stack.enter_context(plant())
            yield

    return planted


# ---- sending ---------------------------------------------------------------------------------
def _resends(place: Any) -> Any:
    async def twice(self: Any, intent: Any) -> Any:
        reply = await place(self, intent)
        if reply.outcome is SendOutcome.UNKNOWN:
            reply = await place(self, intent)
        return reply

    return twice


def _renames(place: Any) -> Any:
    async def anew(self: Any, intent: Any) -> Any:
        reply = await place(self, intent)
        if reply.outcome is SendOutcome.UNKNOWN:
            other = msgspec.structs.replace(intent, client_id=intent.client_id + "9")
            reply = await place(self, other)
        return reply

    return anew


def _calls_it(outcome: SendOutcome) -> Callable[[Any], Any]:
    def make(place: Any) -> Any:
        async def early(self: Any, intent: Any) -> Any:
            reply = await place(self, intent)
            if reply.outcome is SendOutcome.UNKNOWN:
                reply = msgspec.structs.replace(reply, outcome=outcome)
            return reply

        return early

    return make


def _never_sends(place: Any) -> Any:
    async def acked(self: Any, intent: Any) -> Any:
        reply = await place(self, intent)
        if intent.leg is Leg.STOP:
            return msgspec.structs.replace(reply, outcome=SendOutcome.ACKED)
        return reply

    return acked


def _not_waiting(_durable: Any) -> Any:
    async def at_once(self: Any, seq: int) -> None:
        return None

    return at_once


def _never_durable(append: Any) -> Any:
    def skip(self: Any, seq: int, now_ms: int, event: Any, tape_position: int = 0) -> None:
        if type(event).__name__ == "IntentRecorded":
            self._seq = seq
            return
        append(self, seq, now_ms, event, tape_position)

    return skip


def _submits(**changes: Any) -> Callable[[Any], Any]:
    """An intent changed just before it is decided on."""

    def make(act: Any) -> Any:
        def changed(self: Any, action: Any) -> None:
            intent = getattr(action, "intent", None)
            legs = changes["legs"]
            if intent is not None and intent.leg in legs:
                new = changes["new"](intent)
                action = msgspec.structs.replace(action, intent=new)
            act(self, action)

        return changed

    return make


_EXITS = (Leg.EXIT, Leg.FLATTEN)


def _replaced(**fields: Any) -> Callable[[Any], Any]:
    return lambda intent: msgspec.structs.replace(intent, **fields)


def _scaled(factor: str, **fields: Any) -> Callable[[Any], Any]:
    return lambda i: msgspec.structs.replace(i, quantity=i.quantity * Decimal(factor), **fields)


# ---- knowing ----------------------------------------------------------------------------------
def _absence_at_once(_note: Any) -> Any:
    def dead(state: Any, order: Any, server_ms: int) -> None:
        order.learn(OrderFact.PROVEN_ABSENT)

    return dead


def _cancel_is_answer(handlers: Any) -> Any:
    original = handlers[fold.CancelReplied]

    def believes(state: Any, event: Any) -> None:
        original(state, event)
        order = state.orders.get(event.client_id)
        if order is not None and event.outcome is SendOutcome.REJECTED:
            order.learn(OrderFact.SEEN_DEAD)

    return {**handlers, fold.CancelReplied: believes}


def _without(kind: str) -> Callable[[Any], Any]:
    """The fold without one kind of event."""

    def make(handlers: Any) -> Any:
        return {k: v for k, v in handlers.items() if k.__name__ != kind}

    return make


def _no_restart(handlers: Any) -> Any:
    original = handlers[fold.EngineStarted]

    def forgets(state: Any, event: Any) -> None:
        known = {c: o.state for c, o in state.orders.items()}
        original(state, event)
        for client_id, before in known.items():
            state.orders[client_id].state = before

    return {**handlers, fold.EngineStarted: forgets}


def _no_dedup(_add: Any) -> Any:
    def always(self: Any, fill: Any) -> bool:
        self._fills[fill.symbol, fill.trade_id] = fill
        return True

    return always


def _half_fills(book: Any) -> Any:
    def drops(state: Any, fill: Any, client_id: str) -> None:
        if fill.trade_id % 3:
            book(state, fill, client_id)

    return drops


# ---- protecting --------------------------------------------------------------------------------
def _once(place: Any) -> Any:
    def forget(round_: Any, trade: Any, wanted: Any, price: Any, pending: Any) -> None:
        if not trade.next_attempt(Leg.STOP):
            place(round_, trade, wanted, price, pending)

    return forget


def _only_new(protect: Any) -> Any:
    def skips(round_: Any, trade: Any, instrument: Any, price: Any) -> None:
        if round_.state.starts <= 1 or trade.opened_ms > round_.state.snapshot_ms - 60_000_000_000:
            seen = round_.errands.__class__
            started = getattr(seen, "mutant_first", {})
            first = started.setdefault(id(round_.errands), round_.now_ms)
            seen.mutant_first = started  # type: ignore[attr-defined]
            if trade.opened_ms >= first:
                protect(round_, trade, instrument, price)

    return skips


def _cancels_first(move: Any) -> Any:
    def swaps(round_: Any, trade: Any, wanted: Any, price: Any, old: Any, pending: Any) -> None:
        round_.cancel(old, "moving")

    return swaps


def _nothing(value: Any) -> Callable[[Any], Any]:
    return lambda _original: lambda *_a, **_k: value


def _no_guard_lookups(due: Any) -> Any:
    def skips(round_: Any, order: Any) -> int | None:
        is_guard = order.intent.leg is Leg.STOP and order.state.value == "live"
        return None if is_guard and not order.doubted_ms else due(round_, order)  # type: ignore[no-any-return]

    return skips


def _never_doubtful(due: Any) -> Any:
    def skips(round_: Any, order: Any) -> int | None:
        is_doubtful = order.state.value in ("sent", "unknown", "acked")
        return None if is_doubtful else due(round_, order)  # type: ignore[no-any-return]

    return skips


def _only(*reasons: str) -> Callable[[Any], Any]:
    def make(wanted: Any) -> Any:
        def filtered(round_: Any) -> str:
            why = wanted(round_)
            return why if why in reasons else ""

        return filtered

    return make


def _leaks(make_rim: Any) -> Any:
    def tells(self: Any, journal: Any) -> Any:
        self._note("signed.with", {"secret": self.setup.signer._secret.reveal()})
        return make_rim(self, journal)

    return tells


def _drifts() -> contextlib.AbstractContextManager[Any]:
    count = [0]
    original = errands.Round.submit

    def jitter(self: Any, trade: Any, leg: Any, kind: Any, quantity: Any, **k: Any) -> Any:
        count[0] += 1
        k["reason"] = f"{k.get('reason', '')} {count[0]}"
        return original(self, trade, leg, kind, quantity, **k)

    return patch.object(errands.Round, "submit", jitter)


_PLACE = (AccountVenue, "place")

MUTANTS: tuple[Mutant, ...] = (
    Mutant("resend after a timeout", _swap(*_PLACE, _resends)),
    Mutant("a new id on the retry", _swap(*_PLACE, _renames)),
    Mutant("unknown called rejected", _swap(*_PLACE, _calls_it(SendOutcome.REJECTED))),
    Mutant("unknown called not sent", _swap(*_PLACE, _calls_it(SendOutcome.NOT_SENT))),
    Mutant("stop's answer not read", _swap(*_PLACE, _never_sends), is_layer=True),
    Mutant("send before the journal is durable", _swap(Journal, "durable", _not_waiting)),
    Mutant("intents not journaled", _swap(Journal, "append", _never_durable)),
    Mutant(
        "stop not reduce-only",
        _swap(errands.Round, "act", _submits(legs=(Leg.STOP,), new=_replaced(reduce_only=False))),
        is_layer=True,
    ),
    Mutant(
        "exit not reduce-only and doubled",
        _swap(errands.Round, "act", _submits(legs=_EXITS, new=_scaled("2", reduce_only=False))),
    ),
    Mutant(
        "stop covers half",
        _swap(errands.Round, "act", _submits(legs=(Leg.STOP,), new=_scaled("0.5"))),
    ),
    Mutant(
        "entry ten times as big",
        _swap(errands.Round, "act", _submits(legs=(Leg.ENTRY,), new=_scaled("40"))),
    ),
    Mutant("one lookup proves absence", _swap(fold.reconcile, "note_absence", _absence_at_once)),
    Mutant("no fence before absence", _swap(Order, "fence_ms", _nothing(0)), is_layer=True),
    Mutant(
        "-2011 taken as an answer",
        lambda: patch.object(fold, "HANDLERS", _cancel_is_answer(fold.HANDLERS)),
    ),
    Mutant(
        "orders not resolved at the start",
        lambda: patch.object(fold, "HANDLERS", _no_restart(fold.HANDLERS)),
    ),
    Mutant("doubtful orders never looked up", _swap(proofs, "lookup_due_ms", _never_doubtful)),
    Mutant("fills counted twice", _swap(FillBook, "add", _no_dedup)),
    Mutant(
        "a third of fills dropped by the stream",
        _swap(fold, "book_fill", _half_fills),
        is_layer=True,
    ),
    Mutant(
        "fills of snapshots ignored", _swap(reconcile, "book_fill", _nothing(None)), is_layer=True
    ),
    Mutant(
        "executed quantity of orders ignored",
        _swap(sightings, "_raise_executed", _nothing(None)),
        is_layer=True,
    ),
    Mutant("stop fire-and-forget", _swap(bracket, "_place_missing_stop", _once)),
    Mutant(
        "no stop at all",
        _together(
            _swap(bracket, "protect", _nothing(None)),
            _swap(bracket, "rests_before_entry", _nothing(True)),
        ),
    ),
    Mutant("no stop but the first", _swap(bracket, "protect", _nothing(None))),
    Mutant(
        "entry does not wait for its stop",
        _swap(bracket, "rests_before_entry", _nothing(True)),
        is_layer=True,
    ),
    Mutant("rules never read anew", _swap(proofs, "ask_rules", _nothing(None)), is_layer=True),
    Mutant(
        "settled without reading executions",
        _swap(closing, "_is_known", _nothing(True)),
    ),
    Mutant("no protection of what a restart finds", _swap(bracket, "protect", _only_new)),
    Mutant(
        "stop cancelled before the new one stands", _swap(bracket, "_move_stop", _cancels_first)
    ),
    Mutant(
        "siblings left when flat",
        _swap(controller, "_clear", lambda _o: lambda r, t: controller.closing.settle(r, t)),
    ),
    Mutant("trades never closed", _swap(controller.closing, "settle", _nothing(None))),
    Mutant("positions never flattened", _swap(bracket, "flatten", _nothing(None))),
    Mutant(
        "late fills of closed trades not revived", _swap(TradingState, "revive", _nothing(None))
    ),
    Mutant("wake-ups forgotten", _swap(errands.Round, "wake", _nothing(None))),
    Mutant("a rate limit is not obeyed", _swap(WeightLedger, "punish", _nothing(None))),
    Mutant("a key in the notes", _swap(Program, "_make_rim", _leaks)),
    Mutant("a decision that a replay cannot repeat", _drifts),
    Mutant("snapshots never taken", _swap(proofs, "_wanted_snapshot", _nothing(""))),
    Mutant("account never read after the start", _swap(proofs, "_wanted_snapshot", _only("start"))),
    Mutant("replies dropped by the rim", _swap(Rim, "_ask", lambda ask: _nothing_async)),
    Mutant(
        "orders' reports not folded",
        lambda: patch.object(fold, "HANDLERS", _without("OrderUpdated")(fold.HANDLERS)),
        is_layer=True,
    ),
    Mutant(
        "stops' reports not folded",
        lambda: patch.object(fold, "HANDLERS", _without("AlgoUpdated")(fold.HANDLERS)),
        is_layer=True,
    ),
    Mutant(
        "lookups not folded",
        lambda: patch.object(fold, "HANDLERS", _without("OrderLookedUp")(fold.HANDLERS)),
    ),
    Mutant(
        "snapshots not folded",
        lambda: patch.object(fold, "HANDLERS", _without("AccountSnapshotTaken")(fold.HANDLERS)),
    ),
    Mutant(
        "resting stops not looked up",
        _swap(proofs, "lookup_due_ms", _no_guard_lookups),
        is_layer=True,
    ),
    Mutant(
        "naked positions not flattened",
        _swap(bracket, "naked_deadline_ms", _nothing(0)),
        is_layer=True,
    ),
    Mutant(
        "no audit",
        _swap(proofs, "_wanted_snapshot", _only("start", "stream", "proof", "mismatch", "fills")),
        is_layer=True,
    ),
    Mutant(
        "no look after a reconnect",
        _swap(proofs, "_wanted_snapshot", _only("start", "audit", "proof", "mismatch", "fills")),
        is_layer=True,
    ),
    Mutant(
        "orphans not removed", _swap(controller, "_remove_orphan", _nothing(None)), is_layer=True
    ),
    Mutant("alarm exit off", _swap(exits, "due_exit", _nothing("")), is_layer=True),
)


async def _nothing_async(*_a: Any, **_k: Any) -> None:
    return None


@dataclass
class Catch:
    """What became of a mutant. `days` until it was caught, or survived."""

    name: str
    caught_by: str
    days: float
    is_layer: bool


def hunt(mutant: Mutant, seeds: Iterator[int], settings: DaySettings = DENSE) -> Catch:
    """Run seeds until something cries."""
    lived = 0.0
    for seed in seeds:
        lived += settings.days
        with mutant.plant():
            try:
                cries = Day(seed, settings).run().violations
            except Exception as error:  # broad-ok: a mutant that ends the day is caught
                return Catch(mutant.name, f"crash {type(error).__name__}", lived, mutant.is_layer)
        if cries:
            return Catch(mutant.name, cries[0].split(" at ")[0], lived, mutant.is_layer)
    return Catch(mutant.name, "", lived, mutant.is_layer)


def main(arguments: list[str]) -> int:
    """The table; 1 below `SHARE_MIN`."""
    seeds = SEEDS_EACH
    if "--seeds" in arguments:
        at = arguments.index("--seeds")
        seeds = int(arguments[at + 1])
        del arguments[at : at + 2]
    chosen = [m for m in MUTANTS if not arguments or m.name in arguments]
    catches = []
    for mutant in chosen:
        began = time.monotonic()
        catch = hunt(mutant, iter(range(1, seeds + 1)))
        catches.append(catch)
        kind = "layer" if catch.is_layer else "bug"
        verdict = catch.caught_by or "SURVIVED"
        took_s = time.monotonic() - began
        print(
            f"{catch.name:45} {kind:6} {verdict:24} {catch.days:6.2f} days {took_s:6.0f} s",
            flush=True,
        )
    counted = [c for c in catches if not c.is_layer]
    caught = sum(bool(c.caught_by) for c in counted)
    share = caught / len(counted) if counted else 1.0
    layers = sum(bool(c.caught_by) for c in catches if c.is_layer)
    print(
        f"{caught} of {len(counted)} planted bugs caught ({share:.0%}, at least {SHARE_MIN:.0%});"
        f" {layers} of {len(catches) - len(counted)} single layers missed when off"
    )
    return 0 if share >= SHARE_MIN else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
