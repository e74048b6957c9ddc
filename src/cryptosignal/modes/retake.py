"""The factor rows of a run's scans, made again from its tape and compared with the journaled ones (D2).

Values are compared to 1e-9, since numeric libraries differ in the last bits between processors. What
the tape does not hold any more is said, and the rows from there on are the journal's.
"""

from __future__ import annotations

from typing import Final

import msgspec
import numpy as np

from cryptosignal.domain.ports import Disk
from cryptosignal.domain.scan import SYMBOL_TRIGGER, ScanRows
from cryptosignal.factors import kernels
from cryptosignal.factors.catalogue import FactorEngine
from cryptosignal.modes.config import Config
from cryptosignal.modes.film import Film
from cryptosignal.modes.stores import TAPE_ROOT
from cryptosignal.modes.user_factors import factor_table
from cryptosignal.store.tape import read_tape, tape_names

SAME: Final = 1e-9


class RowsReport(msgspec.Struct):
    """What became of the scans' factor rows: `equal` of `taken` again, `left` to the journal.

    `tape` says what there is of it; `difference` is the first one in words, "" if there is none.
    """

    tape: str = "none"
    entries: int = 0
    taken: int = 0
    equal: int = 0
    left: int = 0
    difference: str = ""


class Retake:
    """Follows a replay scan by scan. `is_compiled` lets compiled kernels answer where a run's did."""

    def __init__(self, disk: Disk, run_id: str, config: Config, *, is_compiled: bool) -> None:
        self.report = RowsReport()
        self._is_compiled = is_compiled
        table = factor_table(config.run.factor_files, config.params)
        self._factors = FactorEngine(config.params, table)
        self._tape = read_tape(disk, TAPE_ROOT, run_id)
        self._film = Film(iter(self._tape), config.market, config.quality, config.run.symbols_max)
        self._is_over = not any(
            name.endswith(f"-{run_id}.seg") for name in tape_names(disk, TAPE_ROOT)
        )
        if not self._is_over:
            self.report.tape = "whole"

    def check(self, rows: ScanRows) -> None:
        """Make the rows of one scan again, in the order of the journal, and compare them."""
        if not self._is_over and not self._film.advance(rows.tape_position):
            self._is_over = True
            self.report.tape = self._words()
        mine = None if self._is_over or not rows.tape_position else self._again(rows)
        self.report.entries = self._film.position
        if mine is None:
            self.report.left += 1
            return
        self.report.taken += 1
        found = difference(mine, rows)
        if not found:
            self.report.equal += 1
        elif not self.report.difference:
            self.report.difference = f"scan {rows.scan_id}: {found}"

    def _words(self) -> str:
        gaps = self._tape.gaps
        if not gaps:
            return f"ends after entry {self._film.position}"
        first = gaps[0]
        return f"entries {first.after_seq + 1} to {first.next_seq - 1} are gone"

    def _again(self, rows: ScanRows) -> ScanRows | None:
        board = self._film.board
        if rows.trigger != SYMBOL_TRIGGER:
            return self._factors.compute(board.view(rows.time_ms), rows.scan_id, rows.trigger)
        if self._is_compiled:
            kernels.enable()
        slot = board.find(rows.symbols[0])
        if slot < 0:
            return None
        view = board.view_of({slot}, rows.time_ms)
        values = self._factors.glance(view, slot)
        return None if values is None else self._factors.row_of(view, slot, values, rows.scan_id)


def difference(mine: ScanRows, theirs: ScanRows) -> str:
    """Where the rows differ beyond `SAME`, in words; "" if they do not. Symbols may be in another
    order."""
    if set(mine.symbols) != set(theirs.symbols):
        odd = sorted(set(mine.symbols) ^ set(theirs.symbols))
        return f"{len(mine.symbols)} symbols instead of {len(theirs.symbols)} ({odd[0]})"
    if set(mine.columns) != set(theirs.columns):
        return f"other columns ({sorted(set(mine.columns) ^ set(theirs.columns))[0]})"
    place = {symbol: at for at, symbol in enumerate(mine.symbols)}
    order = [place[symbol] for symbol in theirs.symbols]
    for name, column in theirs.columns.items():
        own = mine.columns[name][order]
        wrong = ~np.isclose(own, column, rtol=SAME, atol=SAME, equal_nan=True)
        if wrong.any():
            at = int(np.flatnonzero(wrong)[0])
            count = int(wrong.sum())
            return f"{name} of {theirs.symbols[at]} {own[at]!r} instead of {column[at]!r} ({count})"
    return ""
