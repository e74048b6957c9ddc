"""`cryptosignal paper-trade`: one whole trade by hand over the embedded venue's real protocol."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from cyclopts import Parameter

from cryptosignal.domain.events import (
    AccountSnapshotTaken,
    AlgoUpdated,
    CancelRecorded,
    IntentRecorded,
    OrderReplied,
    OrderSent,
    OrderUpdated,
)
from cryptosignal.domain.order import Direction
from cryptosignal.ground.calendar import utc_day, utc_text
from cryptosignal.ground.faults import UserFault

if TYPE_CHECKING:
    from cryptosignal.modes.program import Program
    from cryptosignal.modes.recorder import Recorder

_LEGS = {
    "e": "entry",
    "s": "protective stop",
    "t": "take-profit 1",
    "u": "take-profit 2",
    "x": "exit",
    "f": "flatten",
}
_GIVE_UP_S = 600.0
"""Venue seconds after which a trade that does not move is given up."""
HOLD_S_MAX = 86_400.0


def paper_trade(
    symbol: str,
    direction: str,
    /,
    *,
    hold: float = 10.0,
    data: str = "",
    speed: float = 1.0,
    symbols: int = 12,
    seed: int = 7,
    data_dir: str = "",
    config: Annotated[str, Parameter(name=["--config", "-c"])] = "",
    json: bool = False,
) -> int:
    """Open, protect and close one trade on the embedded venue, with every step shown.

    Signal, sizing, journaled intent, entry, stop and take-profits resting at the venue, fill, exit,
    outcome row, the line in the day's report. Money of the venue's paper account only.

    Example: cryptosignal paper-trade BTCUSDT long --hold 10

    Parameters
    ----------
    symbol
        A contract of the venue, such as BTCUSDT.
    direction
        long or short.
    hold
        Close after so many seconds of venue time, unless stop or take-profit come first.
    data
        Walk the candles of this file instead of generated prices.
    speed
        Venue time against wall time.
    symbols
        How many symbols the venue generates.
    seed
        The run's seed.
    data_dir
        Where journal, outcomes and reports go.
    config
        A TOML file with settings.
    json
        One JSON object a line instead of text.
    """
    from cryptosignal.cli.console import Terminal
    from cryptosignal.cli.flags import SYMBOLS_MAX, SYMBOLS_MIN, replaced, whole, within
    from cryptosignal.modes.config import load_config
    from cryptosignal.modes.live import Run, run_live

    if direction not in tuple(Direction):
        raise UserFault(f"direction: found {direction!r}, allowed: {', '.join(Direction)}")
    within("--hold", hold, 0.0, HOLD_S_MAX)
    whole("--symbols", symbols, SYMBOLS_MIN, SYMBOLS_MAX)
    settings = load_config(config)
    changes: dict[str, Any] = {"account": "sim", "data_dir": data_dir or settings.run.data_dir}
    settings = msgspec.structs.replace(settings, run=replaced(settings.run, changes))
    face = Terminal(top=5, scans_table=False, as_json=json, verbose=False)
    story = _Story(symbol.upper(), direction, hold, face)
    request = Run(config=settings, data=data, speed=speed, symbol_count=symbols, seed=seed)
    run_live(request, face, story.conduct)
    return story.finish()


class _Story:
    """Drives one trade and tells what the journal saw of it."""

    def __init__(self, symbol: str, direction: str, hold_s: float, face: Any) -> None:
        self._symbol = symbol
        self._direction = direction
        self._hold_s = hold_s
        self._face = face
        self._refusal = ""
        self._outcome: Any = None
        self._line = ""
        self._run_dir = ""
        self._given_up = False
        self._changed = asyncio.Event()

    async def conduct(self, program: Program, recorder: Recorder) -> None:
        """Ask for the trade once scans run, close it after the hold, stop after its outcome."""
        self._face.hear_notes(self._hear_note)
        self._face.hear_outcomes(self._hear_outcome)
        try:
            await program.started.wait()
            program.rim.on_event.append(self._hear)
            self._run_dir = f"{program.config.run.data_dir}/{program.journal_dir}"
            await self._soon(lambda: program.engine.latest is not None and self._ready(program))
            if self._symbol not in program.instruments:
                self._refusal = _unknown(self._symbol, program)
                return
            arguments = {"symbol": self._symbol, "direction": self._direction}
            program.command("trade", arguments)
            await self._soon(lambda: bool(self._refusal) or self._is_protected(program))
            if not self._refusal:
                await self._hold(program)
            await self._soon(lambda: bool(self._refusal) or self._outcome is not None)
            if self._outcome is not None:
                self._line = recorder.line(utc_day(self._outcome.closed_ms))
        except TimeoutError:
            self._given_up = True
        finally:
            program.stop(self._refusal or self._ending())

    def _ending(self) -> str:
        if self._given_up:
            return f"the trade did not move for {_GIVE_UP_S:.0f} s of venue time"
        return "the trade is over"

    def finish(self) -> int:
        """The day's line and the exit code. Raises UserFault if the trade was refused."""
        if self._refusal:
            raise UserFault(self._refusal)
        if self._outcome is None:
            why = self._ending() if self._given_up else "the run ended before the trade did"
            self._face.say(f"no outcome: {why}")
            return 1
        self._face.say(f"report: {self._line}")
        self._face.say(f"journal: {self._run_dir} (`cryptosignal replay` repeats every decision)")
        return 0

    # ---- waiting --------------------------------------------------------------------------
    async def _until(self, is_so: Callable[[], bool]) -> None:
        """Wait for a condition that only an event can make true."""
        while not is_so():
            self._changed.clear()
            await self._changed.wait()

    async def _soon(self, is_so: Callable[[], bool]) -> None:
        """The same, given up after `_GIVE_UP_S`. Raises TimeoutError then."""
        async with asyncio.timeout(_GIVE_UP_S):
            await self._until(is_so)

    def _ready(self, program: Program) -> bool:
        return program.desk.is_reconciled

    def _is_protected(self, program: Program) -> bool:
        return self._outcome is not None or any(
            p.symbol == self._symbol and p.is_protected for p in program.desk.positions()
        )

    async def _hold(self, program: Program) -> None:
        try:
            async with asyncio.timeout(self._hold_s):
                await self._until(lambda: self._outcome is not None)
        except TimeoutError:
            program.command("close", {"symbol": self._symbol})

    # ---- telling --------------------------------------------------------------------------
    def _hear_note(self, event: str, fields: dict[str, Any]) -> None:
        if event in ("trade.refused", "entry.refused"):
            self._refusal = f"{self._symbol} {self._direction}: refused: {fields.get('reason')}"
            self._changed.set()

    def _hear_outcome(self, outcome: Any) -> None:
        if outcome.traded:
            self._outcome = outcome
            self._changed.set()

    def _hear(self, seq: int, now_ms: int, event: Any) -> None:
        words = _words(event)
        if words:
            self._face.say(f"{utc_text(now_ms)}  #{seq:<5} {words}")
        self._changed.set()


def _unknown(symbol: str, program: Program) -> str:
    some = ", ".join(sorted(program.instruments)[:5])
    return f"unknown symbol {symbol}: allowed are the venue's contracts, such as {some}"


def _words(event: Any) -> str:
    """One line for the events that make up a trade, nothing for the others."""
    if isinstance(event, IntentRecorded):
        i = event.intent
        at = f" trigger {i.trigger_price}" if i.trigger_price is not None else ""
        only = " reduce-only" if i.reduce_only else ""
        return (
            f"intent journaled: {_LEGS[i.leg.value]} {i.side.value} {i.quantity} {i.symbol}"
            f" {i.kind.value}{at}{only} ({i.client_id})"
        )
    if isinstance(event, OrderSent):
        return f"sent: {event.client_id}"
    if isinstance(event, OrderReplied):
        why = f" {event.code} {event.message}" if event.message else ""
        return f"reply: {event.client_id} {event.outcome.value}{why}"
    if isinstance(event, OrderUpdated) and event.execution == "TRADE":
        return (
            f"fill: {event.side.value} {event.last_quantity} {event.symbol} at {event.last_price}"
            f" (trade {event.trade_id}, fee {event.fee} {event.fee_asset})"
        )
    if isinstance(event, AlgoUpdated):
        return f"at the venue: {event.kind.value} trigger {event.trigger_price} {event.status}"
    if isinstance(event, CancelRecorded):
        return f"cancel: {event.client_id} ({event.reason})"
    if isinstance(event, AccountSnapshotTaken):
        held = ", ".join(f"{p.symbol} {p.quantity}" for p in event.positions if p.quantity)
        return f"reconciled ({event.purpose}): positions {held or 'none'}"
    return ""
