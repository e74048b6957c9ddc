"""Outcome rows as JSON lines, one file a UTC day of the close: what learning and reports read.

A signal has a row as it was traded and one as it was followed. Either may be written twice (a restart
repeats what it is not sure of); the newest line counts.
A last line that a crash cut is dropped, and cut off before writing on.
"""

from __future__ import annotations

import math
from typing import Any, Final

import msgspec

from cryptosignal.domain.outcome import Outcome
from cryptosignal.domain.ports import Disk
from cryptosignal.ground.calendar import utc_day
from cryptosignal.store.faults import DamagedFile

_FLOATS: Final = ("r_multiple", "mfe_r", "mae_r")


class OutcomeLog:
    """The outcomes under `prefix`."""

    def __init__(self, disk: Disk, prefix: str = "outcomes") -> None:
        self._disk = disk
        self._prefix = prefix
        self._checked: set[str] = set()
        self._newest = ""

    def append(self, outcome: Outcome) -> None:
        """Write the row of a signal that reached its end; durable after `durable`."""
        name = self.name(utc_day(outcome.closed_ms))
        if name not in self._checked:
            self._cut_torn_line(name)
            self._checked.add(name)
        self._disk.append(name, msgspec.json.encode(outcome) + b"\n")
        self._newest = name

    async def durable(self) -> None:
        """Return once the newest day's rows survive a crash. Raises `DiskFault` if they cannot."""
        if self._newest:
            await self._disk.sync(self._newest)

    def name(self, day: str) -> str:
        """The file of a UTC day (YYYY-MM-DD)."""
        return f"{self._prefix}/{day}.jsonl"

    def days(self) -> list[str]:
        """The days that have rows, ascending."""
        names = self._disk.names(f"{self._prefix}/")
        return [n[len(self._prefix) + 1 : -6] for n in names if n.endswith(".jsonl")]

    def read_day(self, day: str) -> list[Outcome]:
        """The rows of one day, in the order their signals first closed.

        Raises `DamagedFile` for a line that cannot be read, except a cut last one.
        """
        name = self.name(day)
        data = self._disk.read(name)
        rows: dict[tuple[str, bool], Outcome] = {}
        offset = 0
        for line in data.split(b"\n")[:-1]:
            try:
                outcome = decode_outcome(line)
            except msgspec.DecodeError as error:
                raise DamagedFile(name, offset, str(error)) from None
            rows[outcome.signal_id, outcome.traded] = outcome
            offset += len(line) + 1
        return list(rows.values())

    def read_all(self) -> list[Outcome]:
        """The rows of all days, oldest day first."""
        return [outcome for day in self.days() for outcome in self.read_day(day)]

    def _cut_torn_line(self, name: str) -> None:
        data = self._disk.read(name)
        if data and not data.endswith(b"\n"):
            self._disk.truncate(name, data.rfind(b"\n") + 1)


def decode_outcome(line: bytes | str) -> Outcome:
    """A row from JSON, which has no NaN: a share of risk that was not defined is null there.

    Raises msgspec.DecodeError if it is no outcome.
    """
    fields: Any = msgspec.json.decode(line)
    if isinstance(fields, dict):
        fields |= {key: math.nan for key in _FLOATS if fields.get(key, 0.0) is None}
    return msgspec.convert(fields, Outcome)
