"""The learning slot: what closed since the last one is handed to a function of the user, once a day.

The slot is a due time of the engine, remembered in its journal and caught up after downtime. What the
function answers is a parameter set or None. A set is checked against the declared bounds and journaled
under its version, like any other change; limits, leverage and the kill switch are no part of it. The
function runs beside the engine, and what it breaks breaks nothing else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from cryptosignal.domain.actions import Note
from cryptosignal.domain.events import ParamsPublished
from cryptosignal.domain.outcome import Outcome
from cryptosignal.domain.params import ParamSet
from cryptosignal.engine.schedule import LEARNING

if TYPE_CHECKING:
    from cryptosignal.modes.station import Station


class LearningDue(msgspec.Struct, frozen=True):
    """What there is to learn from at a slot (exchange ms): the outcomes that closed since the slot
    before, as they were followed and as they were traded, and the parameters in force."""

    slot_ms: int
    outcomes: tuple[Outcome, ...]
    params: ParamSet


Learn = Callable[[LearningDue], ParamSet | None]


class Learner:
    """Hears of the slots of a station's engine and lets `learn` answer them, one at a time."""

    def __init__(self, station: Station, learn: Learn) -> None:
        self._station = station
        self._learn = learn
        self._task: asyncio.Task[None] | None = None
        station.listener.hear.append(self._on_note)

    def _on_note(self, note: Note) -> None:
        if note.event == "learning.is_due" and (self._task is None or self._task.done()):
            slot_ms = int(note.fields["slot_ms"])
            self._task = asyncio.get_running_loop().create_task(self._answer(slot_ms))

    async def _answer(self, slot_ms: int) -> None:
        program = self._station.program
        try:
            outcomes = self._station.outcomes(slot_ms - LEARNING.every_ms, slot_ms)
            due = LearningDue(slot_ms, outcomes, program.engine.params)
            learnt = await asyncio.to_thread(self._learn, due)
            if learnt is None:
                program.note("learning.has_ended", {"outcomes": len(outcomes), "version": ""})
                return
            if learnt.version == due.params.version:
                raise ValueError(f"version: found {learnt.version!r} again, allowed: a new one")
            learnt.validate()
        except Exception as error:  # broad-ok: a user's function never stops the engine
            program.note("learning.has_failed", {"reason": f"{type(error).__name__}: {error}"})
            return
        program.rim.post(ParamsPublished(learnt.version, learnt.to_json()))
        program.note("learning.has_ended", {"outcomes": len(outcomes), "version": learnt.version})

    async def close(self) -> None:
        """Wait for an answer under way."""
        if self._task is not None:
            await asyncio.wait([self._task])
