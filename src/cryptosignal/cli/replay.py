"""`cryptosignal replay`: does the code still decide the same?"""

from __future__ import annotations

import msgspec


def replay(path: str, /, *, json: bool = False) -> int:
    """Take every event of a run's journal again and compare the digests of all actions.

    Exit code 0 if every digest is equal, 1 if one differs or events are missing.

    Example: cryptosignal replay runs/journal/00000001-19a2b3c4d5e

    Parameters
    ----------
    path
        The folder of one run under `journal/`.
    json
        One JSON object instead of text.
    """
    from cryptosignal.modes.replay import replay_path

    report = replay_path(path)
    if json:
        print(msgspec.json.encode(report).decode())
    else:
        print(
            f"{report.run_dir}: {report.events} events, {report.scans} scans,"
            f" {report.equal} of {report.digests} digests equal,"
            f" {report.records} records repeated, chain {report.digest}"
        )
        for line in report.missing:
            print(f"  {line}")
        if report.first_difference:
            print(f"  first difference at event {report.first_difference}: {report.difference}")
    return 0 if report.is_equal and not report.missing else 1
