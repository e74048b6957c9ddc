"""`cryptosignal explain`: why a symbol was, or was not, a signal at any past scan."""

from __future__ import annotations

import msgspec

from cryptosignal.ground.faults import UserFault


def explain(
    symbol: str, /, *, at: str = "", run: str = "", data_dir: str = "runs", json: bool = False
) -> int:
    """What was seen, each factor's part, each gate with its limit, and what would have had to differ.

    Read from the journal's decision blocks: any scan of any run can be explained.

    Example: cryptosignal explain BTCUSDT --at 2025-01-31T12:00

    Parameters
    ----------
    symbol
        A symbol that was scanned, in any case.
    at
        The newest scan at or before this time (2025-01-31T12:00 UTC, or epoch ms); default: the last.
    run
        A run's journal folder; default: the newest run under the data folder.
    data_dir
        The folder that holds `journal/`.
    json
        The decision as JSON instead of words.
    """
    from cryptosignal.ground.calendar import parse_utc
    from cryptosignal.modes.replay import decision_at
    from cryptosignal.signals.explain import explain as words

    try:
        at_ms = parse_utc(at) if at else None
    except ValueError as error:
        raise UserFault(f"--at: {error}") from None
    decision = decision_at(data_dir, run, symbol, at_ms)
    if json:
        print(msgspec.json.encode(decision).decode())
    else:
        print("\n".join(words(decision)))
    return 0
