"""What the engine wants done: imperative, frozen, performed by the rim, never by the engine (D1).

`RECORDS` are written to the money journal in the order given; an order action after its record in
the same tuple is sent only when that record is durable.
"""

from __future__ import annotations

import msgspec

from cryptosignal.domain.events import CancelRecorded, FactRecorded, IntentRecorded
from cryptosignal.domain.order import OrderIntent
from cryptosignal.domain.outcome import Outcome
from cryptosignal.domain.signal import Decision


class _Action(msgspec.Struct, frozen=True, gc=False, tag_field="type", tag=True):
    pass


class Record(_Action, frozen=True, gc=False):
    """Write this fact of ours to the money journal (and fold it into the state) before acting."""

    event: IntentRecorded | CancelRecorded | FactRecorded


class SubmitOrder(_Action, frozen=True, gc=False):
    """Send the order of a recorded intent: once, never again (RELIABILITY §3.3)."""

    intent: OrderIntent


class CancelOrder(_Action, frozen=True, gc=False):
    """Cancel an order of ours (`is_algo` chooses the endpoint)."""

    client_id: str
    symbol: str
    is_algo: bool


class SetCountdown(_Action, frozen=True, gc=False):
    """Have the venue cancel the symbol's resting orders `countdown_ms` from now, unless it is told
    again before; 0 stops it. Asked for in a recorded fact first: it may outlive us."""

    symbol: str
    countdown_ms: int


class LookUpOrder(_Action, frozen=True, gc=False):
    """Ask the venue for an order of ours; the answer is `OrderLookedUp`."""

    client_id: str
    symbol: str
    is_algo: bool


class TakeSnapshot(_Action, frozen=True, gc=False):
    """Read balances, positions, orders, algo orders (and trades of `symbols`) by REST."""

    purpose: str
    symbols: tuple[str, ...] = ()
    trades_since_ms: int = 0


class SetLeverage(_Action, frozen=True, gc=False):
    """Set a symbol's leverage and margin type before the first entry (idempotent at the venue)."""

    symbol: str
    leverage: int
    margin_type: str


class ReadRules(_Action, frozen=True, gc=False):
    """Read the contracts' rules anew: a refusal says that ours are old. `InstrumentsListed` answers."""

    reason: str


class WatchSymbols(_Action, frozen=True, gc=False):
    """The symbols whose 1m bars the engine needs from now on, and those of them whose marks too.

    Replaces the former sets.
    """

    symbols: tuple[str, ...]
    priced: tuple[str, ...] = ()


class WakeAt(_Action, frozen=True, gc=False):
    """Deliver `TimerFired(name)` at exchange time `at_ms`; a later call with the name moves it."""

    name: str
    at_ms: int


class PublishDecision(_Action, frozen=True, gc=False):
    """A signal for people: printed, notified, shown, stored."""

    decision: Decision


class ScanDecided(_Action, frozen=True, gc=False):
    """The outcome of one scan in numbers and the digest of its discrete output (D2)."""

    scan_id: int
    time_ms: int
    digest: str
    scanned: int
    prime: int
    watch: int
    skipped: int


class RecordOutcome(_Action, frozen=True, gc=False):
    """A signal reached its end: write the outcome row."""

    outcome: Outcome


class WriteReport(_Action, frozen=True, gc=False):
    """Write the report of the UTC day `day` (YYYY-MM-DD). `is_late`: the day ended while no process
    ran, so what was counted in it is not known here."""

    day: str
    is_late: bool = False


class StopProcess(_Action, frozen=True, gc=False):
    """End the process cleanly (kill switch, shutdown command); protective stops stay at the venue."""

    reason: str


class Note(_Action, frozen=True, gc=False):
    """Something worth a log line: `event` is `noun.past_verb`, fields carry units (STYLE 23)."""

    event: str
    fields: dict[str, str | int | float | bool]


Action = (
    Record
    | SubmitOrder
    | CancelOrder
    | SetCountdown
    | LookUpOrder
    | TakeSnapshot
    | SetLeverage
    | ReadRules
    | WatchSymbols
    | WakeAt
    | PublishDecision
    | ScanDecided
    | RecordOutcome
    | WriteReport
    | StopProcess
    | Note
)
