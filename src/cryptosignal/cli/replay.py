"""`cryptosignal replay`: does the code still decide the same?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from cryptosignal.modes.retake import RowsReport


def replay(path: str, /, *, json: bool = False) -> int:
    """Take every event of a run's journal again and compare the digests of all actions.

    With the run's tape beside it the market is made again from its first byte, and the factor rows
    of every scan are compared too. Exit code 0 if all is equal, 1 if something differs or events
    are missing; a tape that has rolled on is no fault.

    Example: cryptosignal replay runs/journal/00000001-19a2b3c4d5e

    Parameters
    ----------
    path
        The folder of one run under `journal/`.
    json
        One JSON object instead of text.
    """
    from cryptosignal.modes.replay import replay_path

    report = replay_path(path, is_compiled=True)
    if json:
        print(msgspec.json.encode(report).decode())
    else:
        print(
            f"{report.run_dir}: {report.events} events, {report.scans} scans,"
            f" {report.equal} of {report.digests} digests equal,"
            f" {report.records} records repeated, chain {report.digest}"
        )
        print(_rows_line(report.rows))
        for line in report.missing:
            print(f"  {line}")
        if report.first_difference:
            print(f"  first difference at event {report.first_difference}: {report.difference}")
    return 0 if report.is_equal and not report.missing else 1


def _rows_line(rows: RowsReport) -> str:
    """What became of the factor rows, in one line."""
    if not rows.taken:
        return f"  tape: {rows.tape}, factor rows are the journal's"
    said = (
        f"  tape: {rows.tape}, {rows.entries} entries, factor rows of {rows.equal} of {rows.taken}"
        f" scans equal, {rows.left} left to the journal"
    )
    return f"{said}\n  first difference: {rows.difference}" if rows.difference else said
