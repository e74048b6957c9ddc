"""Decisions over an archive: every closed 1h bar decided as it would have been live, as a table.

The path is the live one (factor engine, `assess`, `settle`); only many moments go through it at
once. Gates that need a book fail closed here, since candles hold none: `tier` says so honestly, and
`tier_open` says what the tier would be had the gates without data passed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from cryptosignal.domain.params import ParamSet
from cryptosignal.factors.history import flatten
from cryptosignal.ground.units import DAY_MS, HOUR_MS
from cryptosignal.modes.archive import Archive, columns_between, load_archive
from cryptosignal.signals.decide import assess, settle, tier_codes
from cryptosignal.signals.decisions import TIERS, ScanDecisions
from cryptosignal.signals.gates import VERDICTS
from cryptosignal.signals.memory import SignalMemory
from cryptosignal.signals.score import column

if TYPE_CHECKING:
    import polars as pl

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

CHUNK_MS: Final = 20 * DAY_MS
"""Moments that go through the engine at once: bounds memory, changes no number."""


@dataclass(slots=True)
class DecideSummary:
    """What `decide_archive` wrote."""

    rows: int
    symbols: int
    moments: int
    tiers: dict[str, int]
    tiers_open: dict[str, int]
    path: str


def decide_archive(
    data: str | Path,
    out: str | Path,
    params: ParamSet | None = None,
    from_ms: int | None = None,
    to_ms: int | None = None,
    progress: Callable[[str], None] | None = None,
) -> DecideSummary:
    """Write one row per symbol and closed 1h bar of `data` to the Parquet file `out`.

    `time` is the decision time, the close of the bar (UTC ms); `bar_open` its open. Rows carry
    score, odds, EV, tier, each factor (`factor_X`), each gate's verdict (`gate_X`) and the plan.
    Raises UserFault with one line for data that cannot be read.
    """
    import polars as pl

    archive = load_archive(data)
    frames = []
    for found, open_tiers, times in decisions(archive, params or ParamSet(), from_ms, to_ms):
        frames.append(table(found, open_tiers))
        if progress is not None:
            progress(f"decided to {int(times[-1])}")
    frame = pl.concat(frames) if frames else pl.DataFrame()
    frame.write_parquet(out, compression="zstd")
    return DecideSummary(
        frame.height,
        frame["symbol"].n_unique() if frame.height else 0,
        frame["time"].n_unique() if frame.height else 0,
        _counts(frame, "tier"),
        _counts(frame, "tier_open"),
        str(out),
    )


def decisions(
    archive: Archive, params: ParamSet, from_ms: int | None = None, to_ms: int | None = None
) -> Iterator[tuple[ScanDecisions, NDArray[np.int8], Ints]]:
    """Decisions in chunks of moments, in order of time: (flat decisions, open tiers, moments)."""
    begin, end = archive.span_ms
    start = max(begin + HOUR_MS, begin if from_ms is None else from_ms)
    stop = min(end, end if to_ms is None else to_ms)
    memory, open_memory = SignalMemory(), SignalMemory()
    for first in range(-(-start // HOUR_MS) * HOUR_MS, stop + 1, CHUNK_MS):
        last = min(first + CHUNK_MS - HOUR_MS, stop)
        if not len(archive.moments(first, last + 1)):
            continue
        view, times, columns = columns_between(archive, params, first, last)
        rows, moments = flatten(view, times, columns)
        if not len(rows.symbols):
            continue
        found = assess(rows, params)
        wide = replace(
            found, tiers=tier_codes(found.table, found.odds.p, params, is_missing_fine=True), ids={}
        )
        for places, time_ms in moments:
            settle(found, memory, time_ms, places)
            settle(wide, open_memory, time_ms, places)
        yield found, wide.tiers, times


def table(found: ScanDecisions, open_tiers: NDArray[np.int8]) -> pl.DataFrame:
    """Flat decisions as a data frame."""
    import polars as pl

    rows, scores, odds, plans = found.rows, found.scores, found.odds, found.plans
    tiers, verdicts = _words([t.value for t in TIERS]), _words([v.value for v in VERDICTS])
    sides = _words(["long", "short"])
    data: dict[str, pl.Series] = {
        "time": pl.Series(column(rows, "ctx.time_ms")).cast(pl.Int64),
        "bar_open": pl.Series(column(rows, "ctx.bar_ms")).cast(pl.Int64),
        "symbol": pl.Series(rows.symbols).cast(pl.Categorical),
        "side": sides.gather((scores.side < 0.0).astype(np.uint32)),
    }
    numbers = {
        "score": scores.score,
        "prime_strength": found.strength,
        "p": odds.p,
        "p_calibrated": odds.calibrated,
        "ev": found.values.ev,
        "cost": found.values.cost,
    }
    data |= {name: pl.Series(value) for name, value in numbers.items()}
    data["tier"] = tiers.gather(found.tiers.astype(np.uint32))
    data["tier_open"] = tiers.gather(open_tiers.astype(np.uint32))
    data |= {
        "close": pl.Series(column(rows, "ctx.close")),
        "coverage": pl.Series(scores.coverage),
        "p_long": pl.Series(odds.p_long),
        "p_short": pl.Series(odds.p_short),
    }
    for k, name in enumerate(scores.names):
        data[f"factor_{name}"] = pl.Series(scores.values[k]).fill_nan(None)
    for name in ("I", "crowding_long", "crowding_short", "lead_long", "lead_short"):
        data[f"mod_{name}"] = pl.Series(column(rows, f"mod.{name}")).fill_nan(None)
    for k, name in enumerate(found.table.names):
        codes = found.table.verdicts[k]
        data[f"gate_{name}"] = verdicts.gather(codes.astype(np.uint32))
    data |= {
        "entry_low": pl.Series(plans.entry_low),
        "entry_high": pl.Series(plans.entry_high),
        "stop_loss": pl.Series(plans.stop),
        "take_profit_1": pl.Series(plans.tp1),
        "take_profit_2": pl.Series(plans.tp2),
        "ttl_ms": pl.Series(found.ttl_ms).cast(pl.Int64),
    }
    return pl.DataFrame(data)


def _words(names: list[str]) -> pl.Series:
    import polars as pl

    return pl.Series(names, dtype=pl.Enum(names))


def _counts(frame: pl.DataFrame, name: str) -> dict[str, int]:
    if not frame.height:
        return {}
    return {str(k): int(n) for k, n in frame[name].value_counts().iter_rows()}
