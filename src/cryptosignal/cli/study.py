"""`cryptosignal decide` and `evaluate-factors`: the scan's decisions over an archive of candles."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import msgspec
from cyclopts import Parameter

from cryptosignal.ground.faults import UserFault


def decide(
    *,
    data: str,
    out: str,
    from_: Annotated[str, Parameter(name=["--from"])] = "",
    to: str = "",
    config: Annotated[str, Parameter(name=["--config", "-c"])] = "",
    json: bool = False,
) -> int:
    """Write every decision of every closed 1h bar of an archive of candles to a Parquet file.

    One row a symbol and bar: time (the bar's close), side, score, prime_strength, p, p_calibrated,
    ev, tier, each factor, each gate's verdict, and the plan. Factors without data say so.

    Example: cryptosignal decide --data candles/ --from 2025-06-01 --to 2025-07-01 --out d.parquet

    Parameters
    ----------
    data
        A candle file, or a folder of files (funding, mark and open interest are used where present).
    out
        The Parquet file to write.
    from_
        First decision time (2025-06-01, or epoch ms).
    to
        Last decision time.
    config
        A TOML file whose `params` and `run.factor_files` are used.
    json
        The summary as JSON.
    """
    from cryptosignal.modes.config import load_config
    from cryptosignal.modes.research import decide_archive
    from cryptosignal.modes.user_factors import factor_table

    settings = load_config(config)
    table = factor_table(settings.run.factor_files, settings.params)
    span = _time("--from", from_), _time("--to", to)
    summary = decide_archive(data, out, settings.params, *span, _tell, table)
    print(msgspec.json.encode(summary).decode() if json else _words(summary))
    return 0


def evaluate_factors(
    *,
    data: str,
    from_: Annotated[str, Parameter(name=["--from"])] = "",
    to: str = "",
    config: Annotated[str, Parameter(name=["--config", "-c"])] = "",
    json: bool = False,
) -> int:
    """Measure each factor on an archive of candles: is there an edge, how sure, how stable?

    Information coefficient per horizon with intervals and correction for many tests, returns by
    decile, turnover, correlation between factors, stability by month and regime. Good or bad.

    Example: cryptosignal evaluate-factors --data candles/

    Parameters
    ----------
    data
        A candle file, or a folder of files.
    from_
        First decision time (2025-06-01, or epoch ms).
    to
        Last decision time.
    config
        A TOML file whose `params` and `run.factor_files` are used.
    json
        Everything as JSON instead of Markdown tables.
    """
    from cryptosignal.modes.config import load_config
    from cryptosignal.modes.evidence import evaluate_factors as measure
    from cryptosignal.modes.evidence_words import markdown
    from cryptosignal.modes.user_factors import factor_table

    settings = load_config(config)
    table = factor_table(settings.run.factor_files, settings.params)
    span = _time("--from", from_), _time("--to", to)
    found = measure(data, settings.params, *span, _tell, table)
    print(msgspec.json.encode(found).decode() if json else markdown(found))
    return 0


def _time(flag: str, text: str) -> int | None:
    from cryptosignal.ground.calendar import parse_utc

    try:
        return parse_utc(text) if text else None
    except ValueError as error:
        raise UserFault(f"{flag}: {error}") from None


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _words(summary: Any) -> str:
    body = msgspec.to_builtins(summary)
    return "\n".join(f"{key.replace('_', ' '):<16} {_said(value)}" for key, value in body.items())


def _said(value: Any) -> str:
    """Counts by name in words, most first."""
    if not isinstance(value, dict):
        return str(value)
    parts = sorted(value.items(), key=lambda pair: -pair[1])
    return ", ".join(f"{count} {name}" for name, count in parts) or "none"
