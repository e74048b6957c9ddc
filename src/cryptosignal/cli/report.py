"""`cryptosignal report`: what a day brought."""

from __future__ import annotations

import re

from cryptosignal.ground.faults import UserFault

_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")


def report(*, day: str = "latest", data_dir: str = "runs", json: bool = False) -> int:
    """Print the report of a UTC day as Markdown.

    Example: cryptosignal report --day 2025-01-31

    Parameters
    ----------
    day
        YYYY-MM-DD, or latest.
    data_dir
        The folder that holds `reports/`.
    json
        The report as JSON.
    """
    from cryptosignal.modes.recorder import read_report, report_days

    if day != "latest" and not _DAY.fullmatch(day):
        raise UserFault(f"--day: found {day!r}, allowed: YYYY-MM-DD, or latest")
    text = read_report(data_dir, day, as_json=json)
    if text is None:
        known = ", ".join(report_days(data_dir)[-5:]) or "none yet"
        raise UserFault(f"{data_dir}: no report of {day} (written: {known})")
    print(text)
    return 0
