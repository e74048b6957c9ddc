"""Decisions over an archive: every closed 1h bar decided as it would have been live, as a table.

The path is the live one (factor engine, `assess`, `settle`); only many moments go through it at
once. Gates that need a book fail closed here, since candles hold none: `tier` says so honestly, and
`tier_open` says what the tier would be had the gates without data passed.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from cryptosignal.domain.params import ParamSet
from cryptosignal.factors.catalogue import BAR_FACTORS, Factor
from cryptosignal.factors.history import flatten
from cryptosignal.ground.calendar import utc_text
from cryptosignal.ground.faults import UserFault
from cryptosignal.ground.units import DAY_MS, HOUR_MS
from cryptosignal.modes.archive import NEW_COIN_DAYS, Archive, columns_between, load_archive
from cryptosignal.signals.decide import assess, settle, tier_codes
from cryptosignal.signals.decisions import TIERS, ScanDecisions
from cryptosignal.signals.gates import FAIL, PASS, VERDICTS
from cryptosignal.signals.memory import SignalMemory
from cryptosignal.signals.score import column

if TYPE_CHECKING:
    import polars as pl

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

CHUNK_MS: Final = 20 * DAY_MS
"""Moments that go through the engine at once: bounds memory, changes no number."""
ROWS_MAX: Final = 60_000
"""Symbols times moments of a chunk."""


@dataclass(slots=True)
class DecideSummary:
    """What `decide_archive` wrote."""

    rows: int
    symbols: int
    moments: int
    tiers: dict[str, int]
    tiers_open: dict[str, int]
    path: str
    left_out: dict[str, int]
    """Rows of the files that could not be used, by reason."""


def decide_archive(
    data: str | Path,
    out: str | Path,
    params: ParamSet | None = None,
    from_ms: int | None = None,
    to_ms: int | None = None,
    progress: Callable[[str], None] | None = None,
    factors: tuple[Factor, ...] = BAR_FACTORS,
) -> DecideSummary:
    """Write one row per symbol and closed 1h bar of `data` to the Parquet file `out`.

    `time` is the decision time, the close of the bar (UTC ms); `bar_open` its open. Rows carry
    score, odds, EV, tier, each factor (`factor_X`), each gate's verdict (`gate_X`) and the plan.
    Raises UserFault with one line for data that cannot be read.
    """
    import polars as pl

    archive = load_archive(data)
    target = Path(out)
    if not target.parent.is_dir() or target.is_dir():
        raise UserFault(f"--out: found {out}, allowed: a file in a folder that is there")
    _check_range(archive, from_ms, to_ms)
    summary = DecideSummary(0, 0, 0, {}, {}, str(out), dict(archive.left_out))
    names: set[str] = set()
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".decide-") as folder:
        parts: list[Path] = []
        for found, wide, times in decisions(archive, params or ParamSet(), from_ms, to_ms, factors):
            frame = table(found, wide)
            parts.append(Path(folder) / f"{len(parts):06d}.parquet")
            frame.write_parquet(parts[-1])
            names.update(found.rows.symbols)
            _add(summary, frame)
            if progress is not None:
                progress(f"decided to {utc_text(int(times[-1]))}")
        if not parts:
            raise UserFault(f"--from/--to: no closed 1h bar in it, allowed: {_span_words(archive)}")
        pl.scan_parquet(parts).sink_parquet(out, compression="zstd")
    summary.symbols = len(names)
    return summary


def _check_range(archive: Archive, from_ms: int | None, to_ms: int | None) -> None:
    begin, end = archive.span_ms
    first, last = begin if from_ms is None else from_ms, end if to_ms is None else to_ms
    if first > last:
        raise UserFault(
            f"--from/--to: found {utc_text(first)} after {utc_text(last)}, "
            f"allowed: {_span_words(archive)}"
        )


def _span_words(archive: Archive) -> str:
    begin, end = archive.span_ms
    return f"the data's {utc_text(begin + HOUR_MS)} to {utc_text(end)}"


def _add(summary: DecideSummary, frame: pl.DataFrame) -> None:
    summary.rows += frame.height
    summary.moments += frame["time"].n_unique()
    for name, counts in (("tier", summary.tiers), ("tier_open", summary.tiers_open)):
        for word, count in frame[name].value_counts().iter_rows():
            counts[str(word)] = counts.get(str(word), 0) + int(count)


def decisions(
    archive: Archive,
    params: ParamSet,
    from_ms: int | None = None,
    to_ms: int | None = None,
    factors: tuple[Factor, ...] = BAR_FACTORS,
) -> Iterator[tuple[ScanDecisions, ScanDecisions, Ints]]:
    """Decisions in chunks of moments, in order of time: (flat decisions, the same with gates without
    data waived, moments)."""
    begin, end = archive.span_ms
    start = max(begin + HOUR_MS, begin if from_ms is None else from_ms)
    stop = min(end, end if to_ms is None else to_ms)
    memory, open_memory = SignalMemory(), SignalMemory()
    first = -(-start // HOUR_MS) * HOUR_MS
    while first <= stop:
        last = min(first + chunk_ms(archive, first, params) - HOUR_MS, stop)
        seen = columns_between(archive, params, first, last, factors)
        first = last + HOUR_MS
        if seen is None:
            continue
        view, times, columns = seen
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
        yield found, wide, times


def chunk_ms(archive: Archive, first_ms: int, params: ParamSet) -> int:
    """How long a chunk may be: fewer hours with more symbols, a day where minutes are looked at."""
    hours = max(ROWS_MAX // max(len(archive.symbols), 1), 24)
    span = min(CHUNK_MS, hours * HOUR_MS)
    young = archive.young(first_ms, first_ms + span, NEW_COIN_DAYS)
    has_minutes = any(interval in archive.klines for interval in ("1m", "5m"))
    return min(span, DAY_MS) if len(young) and has_minutes else span


def table(found: ScanDecisions, wide: ScanDecisions) -> pl.DataFrame:
    """Flat decisions as a data frame; `wide` are the same with gates without data waived, whose
    rank and cooldown are told (a candidate that `found` never has)."""
    import polars as pl

    rows, scores, odds, plans = found.rows, found.scores, found.odds, found.plans
    tiers, verdicts = _words([t.value for t in TIERS]), _words([v.value for v in VERDICTS])
    sides = _words(["long", "short"])
    data: dict[str, pl.Series] = {
        "time": pl.Series(column(rows, "ctx.time_ms")).cast(pl.Int64),
        "bar_open": pl.Series(column(rows, "ctx.bar_ms")).cast(pl.Int64),
        "symbol": pl.Series(rows.symbols, dtype=pl.String),
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
    data["tier_open"] = tiers.gather(wide.tiers.astype(np.uint32))
    data |= {
        "close": pl.Series(column(rows, "ctx.close")),
        "coverage": pl.Series(scores.coverage),
        "p_long": pl.Series(odds.p_long),
        "p_short": pl.Series(odds.p_short),
    }
    for k, name in enumerate(scores.names):
        data[f"factor_{name}"] = pl.Series(scores.values[k])
    for name in ("I", "crowding_long", "crowding_short", "lead_long", "lead_short"):
        data[f"mod_{name}"] = pl.Series(column(rows, f"mod.{name}"))
    for k, name in enumerate(found.table.names):
        codes = found.table.verdicts[k]
        data[f"gate_{name}"] = verdicts.gather(codes.astype(np.uint32))
    for name, bad in wide.contested().items():
        data[f"gate_{name}"] = verdicts.gather(np.where(bad, FAIL, PASS).astype(np.uint32))
    data |= {
        "entry_low": pl.Series(plans.entry_low),
        "entry_high": pl.Series(plans.entry_high),
        "stop_loss": pl.Series(plans.stop),
        "take_profit_1": pl.Series(plans.tp1),
        "take_profit_2": pl.Series(plans.tp2),
        "ttl_ms": pl.Series(found.ttl_ms).cast(pl.Int64),
    }
    return pl.DataFrame(data).with_columns(pl.col(pl.Float64).fill_nan(None))


def _words(names: list[str]) -> pl.Series:
    import polars as pl

    return pl.Series(names, dtype=pl.Enum(names))
