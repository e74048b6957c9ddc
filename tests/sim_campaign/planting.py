"""How bugs are planted: small patches around one function of the program each.

A patch takes what it replaces and answers what stands in its place; `swap` puts it there for the
length of a block. Nothing here decides what is planted where: that is `mutants`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any
from unittest.mock import patch

import msgspec

from cryptosignal.domain.events import SendOutcome
from cryptosignal.domain.order import Leg
from cryptosignal.trading import bracket, errands, fold
from cryptosignal.trading.orders import OrderFact

Patch = Callable[[], contextlib.AbstractContextManager[Any]]


def swap(target: Any, name: str, make: Callable[[Any], Any]) -> Patch:
    """Replace `target.name` by what `make` builds around the original."""
    return lambda: patch.object(target, name, make(getattr(target, name)))


def handlers(make: Callable[[Any], Any]) -> Patch:
    """The fold with other handlers."""
    return lambda: patch.object(fold, "HANDLERS", make(fold.HANDLERS))


def together(*patches: Patch) -> Patch:
    """Several lines at once."""

    @contextlib.contextmanager
    def planted() -> Iterator[None]:
        with contextlib.ExitStack() as stack:
            for plant in patches:
                stack.enter_context(plant())
            yield

    return planted


# ---- sending ---------------------------------------------------------------------------------
def resends(place: Any) -> Any:
    async def twice(self: Any, intent: Any) -> Any:
        reply = await place(self, intent)
        if reply.outcome is SendOutcome.UNKNOWN:
            reply = await place(self, intent)
        return reply

    return twice


def renames(place: Any) -> Any:
    async def anew(self: Any, intent: Any) -> Any:
        reply = await place(self, intent)
        if reply.outcome is SendOutcome.UNKNOWN:
            other = msgspec.structs.replace(intent, client_id=intent.client_id + "9")
            reply = await place(self, other)
        return reply

    return anew


def calls_it(outcome: SendOutcome) -> Callable[[Any], Any]:
    def make(place: Any) -> Any:
        async def early(self: Any, intent: Any) -> Any:
            reply = await place(self, intent)
            if reply.outcome is SendOutcome.UNKNOWN:
                reply = msgspec.structs.replace(reply, outcome=outcome)
            return reply

        return early

    return make


def never_sends(place: Any) -> Any:
    async def acked(self: Any, intent: Any) -> Any:
        reply = await place(self, intent)
        if intent.leg is Leg.STOP:
            return msgspec.structs.replace(reply, outcome=SendOutcome.ACKED)
        return reply

    return acked


def not_waiting(_durable: Any) -> Any:
    async def at_once(self: Any, seq: int) -> None:
        return None

    return at_once


def never_durable(append: Any) -> Any:
    def skip(self: Any, seq: int, now_ms: int, event: Any, tape_position: int = 0) -> None:
        if type(event).__name__ == "IntentRecorded":
            self._seq = seq
            return
        append(self, seq, now_ms, event, tape_position)

    return skip


def submits(**changes: Any) -> Callable[[Any], Any]:
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


EXITS = (Leg.EXIT, Leg.FLATTEN)


def replaced(**fields: Any) -> Callable[[Any], Any]:
    return lambda intent: msgspec.structs.replace(intent, **fields)


def scaled(factor: str, **fields: Any) -> Callable[[Any], Any]:
    return lambda i: msgspec.structs.replace(i, quantity=i.quantity * Decimal(factor), **fields)


# ---- knowing ----------------------------------------------------------------------------------
def absence_at_once(_note: Any) -> Any:
    def dead(state: Any, order: Any, server_ms: int) -> None:
        order.learn(OrderFact.PROVEN_ABSENT)

    return dead


def cancel_is_answer(handlers: Any) -> Any:
    original = handlers[fold.CancelReplied]

    def believes(state: Any, event: Any) -> None:
        original(state, event)
        order = state.orders.get(event.client_id)
        if order is not None and event.outcome is SendOutcome.REJECTED:
            order.learn(OrderFact.SEEN_DEAD)

    return {**handlers, fold.CancelReplied: believes}


def without(kind: str) -> Callable[[Any], Any]:
    """The fold without one kind of event."""

    def make(handlers: Any) -> Any:
        return {k: v for k, v in handlers.items() if k.__name__ != kind}

    return make


def no_restart(handlers: Any) -> Any:
    original = handlers[fold.EngineStarted]

    def forgets(state: Any, event: Any) -> None:
        known = {c: o.state for c, o in state.orders.items()}
        original(state, event)
        for client_id, before in known.items():
            state.orders[client_id].state = before

    return {**handlers, fold.EngineStarted: forgets}


def no_dedup(_add: Any) -> Any:
    def always(self: Any, fill: Any) -> bool:
        self._fills[fill.symbol, fill.trade_id] = fill
        return True

    return always


def half_fills(book: Any) -> Any:
    def drops(state: Any, fill: Any, client_id: str) -> None:
        if fill.trade_id % 3:
            book(state, fill, client_id)

    return drops


# ---- protecting --------------------------------------------------------------------------------
def fires_and_forgets(_rests: Any) -> Any:
    """A stop that was sent is a stop: nobody looks at what became of it."""

    def rests(round_: Any, trade: Any, instrument: Any, quantity: Any) -> bool:
        if not trade.next_attempt(Leg.STOP):
            wanted = min(bracket.closable(quantity, instrument), trade.quantity)
            bracket._place_missing_stop(round_, trade, wanted, trade.stop_price, [])
        return True

    return rests


def every_sent_stop(_confirmed: Any) -> Any:
    """Stops that were sent once, whatever became of them."""
    return lambda self, now_ms, trigger_grace_ms: list(self.of_leg(Leg.STOP))


def only_new(protect: Any) -> Any:
    """No protection of trades that a start finds: those opened before this process looked first."""
    first_ms: dict[int, tuple[Any, int]] = {}

    def skips(round_: Any, trade: Any, instrument: Any, price: Any) -> None:
        errands = round_.errands
        began = first_ms.setdefault(id(errands), (errands, round_.now_ms))[1]
        if trade.opened_ms >= began:
            protect(round_, trade, instrument, price)

    return skips


def cancels_first(move: Any) -> Any:
    def swaps(round_: Any, trade: Any, wanted: Any, price: Any, old: Any, pending: Any) -> None:
        round_.cancel(old, "moving")

    return swaps


def nothing(value: Any) -> Callable[[Any], Any]:
    return lambda _original: lambda *_a, **_k: value


def no_guard_lookups(due: Any) -> Any:
    def skips(round_: Any, order: Any) -> int | None:
        is_guard = order.intent.leg is Leg.STOP and order.state.value == "live"
        return None if is_guard and not order.doubted_ms else due(round_, order)  # type: ignore[no-any-return]

    return skips


def never_doubtful(due: Any) -> Any:
    def skips(round_: Any, order: Any) -> int | None:
        is_doubtful = order.state.value in ("sent", "unknown", "acked")
        return None if is_doubtful else due(round_, order)  # type: ignore[no-any-return]

    return skips


def only(*reasons: str) -> Callable[[Any], Any]:
    def make(wanted: Any) -> Any:
        def filtered(round_: Any) -> str:
            why = wanted(round_)
            return why if why in reasons else ""

        return filtered

    return make


def leaks(make_rim: Any) -> Any:
    def tells(self: Any, journal: Any) -> Any:
        self._note("signed.with", {"secret": self.setup.signer._secret.reveal()})
        return make_rim(self, journal)

    return tells


def drifts() -> contextlib.AbstractContextManager[Any]:
    count = [0]
    original = errands.Round.submit

    def jitter(self: Any, trade: Any, leg: Any, kind: Any, quantity: Any, **k: Any) -> Any:
        count[0] += 1
        k["reason"] = f"{k.get('reason', '')} {count[0]}"
        return original(self, trade, leg, kind, quantity, **k)

    return patch.object(errands.Round, "submit", jitter)


async def nothing_async(*_a: Any, **_k: Any) -> None:
    """An answer that never comes."""
