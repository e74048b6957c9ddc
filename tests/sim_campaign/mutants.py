"""Planted bugs: each is one wrong line that the simulated campaign must notice.

Three kinds of rows. A `bug` must be caught. A `layer` is one of several protections, switched off
alone: where another one does its work nothing may be seen, and `masked_by` names the row that breaks
that other. If that row is a layer too, a `pair` breaks both, and must be caught: so a layer is never
a bug that nobody looks for. `hunt` runs them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from tests.sim_campaign.hours import (
    CROWDED,
    DENSE,
    HALF_TOLD,
    HELD_BACK,
    POSITION_FIRST,
    SHIFTING,
    SILENT,
    VANISHING,
    Hours,
)
from tests.sim_campaign.planting import (
    EXITS,
    Patch,
    absence_at_once,
    calls_it,
    cancel_is_answer,
    cancels_first,
    drifts,
    every_sent_stop,
    fires_and_forgets,
    half_fills,
    handlers,
    leaks,
    never_doubtful,
    never_durable,
    never_sends,
    no_dedup,
    no_guard_lookups,
    no_restart,
    not_waiting,
    nothing,
    nothing_async,
    only,
    only_new,
    renames,
    replaced,
    resends,
    scaled,
    submits,
    swap,
    together,
    without,
)

from cryptosignal.domain.events import SendOutcome
from cryptosignal.domain.order import Leg
from cryptosignal.modes.account import AccountVenue
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
from cryptosignal.trading.orders import Order
from cryptosignal.trading.state import TradingState
from cryptosignal.trading.trade import Trade


@dataclass(frozen=True)
class Mutant:
    """One row: what is planted, in which hours it is hunted, and what masks it if it is a layer."""

    name: str
    plant: Patch
    kind: str = "bug"
    hours: Hours = DENSE
    masked_by: str = ""


layer = partial(Mutant, kind="layer")
pair = partial(Mutant, kind="pair")

_LOOKUPS = "doubtful orders never looked up"
_DEADLINE = "naked positions not flattened"
_NO_REPORTS = "orders' reports not folded"

_PLACE = (AccountVenue, "place")
_NO_DEADLINE = swap(bracket, "naked_deadline_ms", nothing(0))
_NO_READ_FILLS = swap(reconcile, "book_fill", nothing(None))
_GONE_IS_DEAD = handlers(cancel_is_answer)
_NOT_REPORTED = handlers(without("OrderUpdated"))
_NO_RULES = swap(proofs, "ask_rules", nothing(None))
_NO_REST = swap(bracket, "rests_before_entry", nothing(True))
_ABSENCE = swap(fold.reconcile, "note_absence", absence_at_once)
_NO_REVIVAL = swap(TradingState, "revive", nothing(None))
_ONLY_NEW = swap(bracket, "protect", only_new)
_NO_WAKE = swap(errands.Round, "wake", nothing(None))
_SENT_IS_STOP = together(
    swap(bracket, "rests_before_entry", fires_and_forgets),
    swap(Trade, "confirmed_stops", every_sent_stop),
)

SENDING: tuple[Mutant, ...] = (
    Mutant("resend after a timeout", swap(*_PLACE, resends)),
    Mutant("a new id on the retry", swap(*_PLACE, renames)),
    Mutant(
        "unknown called rejected",
        swap(*_PLACE, calls_it(SendOutcome.REJECTED)),
        hours=HALF_TOLD,
    ),
    Mutant(
        "unknown called not sent",
        swap(*_PLACE, calls_it(SendOutcome.NOT_SENT)),
        hours=HALF_TOLD,
    ),
    layer("stop's answer not read", swap(*_PLACE, never_sends), masked_by=_LOOKUPS),
    Mutant("send before the journal is durable", swap(Journal, "durable", not_waiting)),
    Mutant("intents not journaled", swap(Journal, "append", never_durable)),
    layer(
        "stop not reduce-only",
        swap(errands.Round, "act", submits(legs=(Leg.STOP,), new=replaced(reduce_only=False))),
        masked_by="siblings left when flat",
    ),
    Mutant(
        "exit not reduce-only and doubled",
        swap(errands.Round, "act", submits(legs=EXITS, new=scaled("2", reduce_only=False))),
    ),
    Mutant(
        "stop covers half",
        swap(errands.Round, "act", submits(legs=(Leg.STOP,), new=scaled("0.5"))),
    ),
    Mutant(
        "entry ten times as big",
        swap(errands.Round, "act", submits(legs=(Leg.ENTRY,), new=scaled("40"))),
    ),
    Mutant(
        "a rate limit is not obeyed", swap(WeightLedger, "punish", nothing(None)), hours=HELD_BACK
    ),
    Mutant("replies dropped by the rim", swap(Rim, "_ask", lambda ask: nothing_async)),
)

KNOWING: tuple[Mutant, ...] = (
    Mutant("one lookup proves absence", _ABSENCE, hours=HALF_TOLD),
    layer(
        "no fence before absence",
        swap(Order, "fence_ms", nothing(0)),
        hours=HALF_TOLD,
        masked_by="one lookup proves absence",
    ),
    layer(
        "-2011 taken as an answer",
        _GONE_IS_DEAD,
        hours=HALF_TOLD,
        masked_by="fills of snapshots ignored",
    ),
    pair(
        "-2011 taken as an answer, and fills of snapshots ignored",
        together(_GONE_IS_DEAD, _NO_READ_FILLS),
        hours=HALF_TOLD,
    ),
    Mutant("orders not resolved at the start", handlers(no_restart)),
    Mutant(_LOOKUPS, swap(proofs, "lookup_due_ms", never_doubtful)),
    Mutant("fills counted twice", swap(FillBook, "add", no_dedup)),
    layer(
        "a third of fills dropped",
        swap(fold, "book_fill", half_fills),
        masked_by="snapshots not folded",
    ),
    Mutant("fills of snapshots ignored", _NO_READ_FILLS),
    layer(_NO_REPORTS, _NOT_REPORTED, masked_by="fills of snapshots ignored"),
    pair(
        f"fills of snapshots ignored, and {_NO_REPORTS}",
        together(_NO_READ_FILLS, _NOT_REPORTED),
    ),
    Mutant(
        "executed quantity of orders ignored",
        swap(sightings, "_raise_executed", nothing(None)),
    ),
    layer(
        "stops' reports not folded",
        handlers(without("AlgoUpdated")),
        masked_by="lookups not folded",
    ),
    Mutant("lookups not folded", handlers(without("OrderLookedUp"))),
    Mutant("snapshots not folded", handlers(without("AccountSnapshotTaken"))),
    Mutant("snapshots never taken", swap(proofs, "_wanted_snapshot", nothing(""))),
    Mutant(
        "account never read after the start",
        swap(proofs, "_wanted_snapshot", only("start")),
        hours=CROWDED,
    ),
    Mutant(
        "no audit",
        swap(proofs, "_wanted_snapshot", only("start", "stream", "proof", "mismatch", "fills")),
        hours=CROWDED,
    ),
    Mutant(
        "no look after a reconnect",
        swap(proofs, "_wanted_snapshot", only("start", "audit", "proof", "mismatch", "fills")),
    ),
    Mutant(
        "resting stops not looked up",
        swap(proofs, "lookup_due_ms", no_guard_lookups),
        hours=VANISHING,
    ),
    layer("rules never read anew", _NO_RULES, masked_by=_DEADLINE, hours=SHIFTING),
    pair(
        f"rules never read anew, and {_DEADLINE}",
        together(_NO_RULES, _NO_DEADLINE),
        hours=SHIFTING,
    ),
    Mutant(
        "settled without reading executions",
        swap(closing, "_is_known", nothing(True)),
        hours=HALF_TOLD,
    ),
    layer(
        "late fills of closed trades not revived",
        _NO_REVIVAL,
        masked_by="one lookup proves absence",
    ),
    pair(
        "one lookup proves absence, and no revival",
        together(_ABSENCE, _NO_REVIVAL),
        hours=HALF_TOLD,
    ),
)

PROTECTING: tuple[Mutant, ...] = (
    Mutant("stop fire-and-forget", _SENT_IS_STOP),
    Mutant("no stop at all", together(swap(bracket, "protect", nothing(None)), _NO_REST)),
    Mutant("no stop but the first", swap(bracket, "protect", nothing(None)), hours=VANISHING),
    layer("entry does not wait for its stop", _NO_REST, masked_by="no stop but the first"),
    layer(
        "no protection of what a restart finds",
        _ONLY_NEW,
        masked_by=_DEADLINE,
        hours=POSITION_FIRST,
    ),
    pair(
        f"no protection of what a restart finds, and {_DEADLINE}",
        together(_ONLY_NEW, _NO_DEADLINE),
        hours=POSITION_FIRST,
    ),
    Mutant("stop cancelled before the new one stands", swap(bracket, "_move_stop", cancels_first)),
    layer(_DEADLINE, _NO_DEADLINE, masked_by="no stop but the first"),
    Mutant("positions never flattened", swap(bracket, "flatten", nothing(None))),
    layer("alarm exit off", swap(exits, "due_exit", nothing("")), masked_by="no stop at all"),
    Mutant("wake-ups forgotten", _NO_WAKE, hours=SILENT),
)

ENDING: tuple[Mutant, ...] = (
    Mutant(
        "siblings left when flat",
        swap(controller, "_clear", lambda _o: lambda r, t: controller.closing.settle(r, t)),
    ),
    Mutant("trades never closed", swap(controller.closing, "settle", nothing(None))),
    layer(
        "orphans not removed",
        swap(controller, "_remove_orphan", nothing(None)),
        masked_by="intents not journaled",
    ),
    Mutant("a key in the notes", swap(Program, "_make_rim", leaks)),
    Mutant("a decision that a replay cannot repeat", drifts),
)

MUTANTS: tuple[Mutant, ...] = (*SENDING, *KNOWING, *PROTECTING, *ENDING)
