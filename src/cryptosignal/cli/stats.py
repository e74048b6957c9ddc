"""`cryptosignal stats`: what the scans of a run say together."""

from __future__ import annotations

import msgspec

from cryptosignal.ground.faults import UserFault


def stats(
    *, last: int = 96, at: str = "", run: str = "", data_dir: str = "runs", json: bool = False
) -> int:
    """How often each gate passes and which alone stops signals, near misses, percentiles, drift.

    Read from the journal's decision blocks, over the newest scans of a run.

    Example: cryptosignal stats --last 200

    Parameters
    ----------
    last
        So many scans, the newest ones (1 to 2000).
    at
        Up to the newest scan at or before this time (2025-01-31T12:00 UTC, or epoch ms).
    run
        A run's journal folder; default: the newest run under the data folder.
    data_dir
        The folder that holds `journal/`.
    json
        One JSON object instead of text.
    """
    from cryptosignal.ground.calendar import parse_utc
    from cryptosignal.modes.scan_stats import scan_stats, words

    try:
        at_ms = parse_utc(at) if at else None
    except ValueError as error:
        raise UserFault(f"--at: {error}") from None
    found = scan_stats(data_dir, run, last, at_ms)
    print(msgspec.json.encode(found).decode() if json else "\n".join(words(found)))
    return 0
