"""Candle files (Parquet or CSV, one or a folder) read, recognised by their columns, and cleaned.

What cannot be right is left out and counted (a bar without a price, below zero, with its high under
its low, off the grid of its interval); what cannot be understood ends with one line. Nothing is
guessed: a bar that is left out is a missing bar.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cryptosignal.ground.faults import UserFault
from cryptosignal.ground.units import DAY_MS, INTERVAL_MS

if TYPE_CHECKING:
    import polars as pl

KLINE: Final = ("open", "high", "low", "close", "volume", "quote_volume", "trades",
                "taker_buy_volume", "taker_buy_quote_volume")  # fmt: skip
_PRICES: Final = KLINE[:4]
_KINDS: Final = {
    "funding": ("funding_time", "funding_rate"),
    "open_interest": ("time", "sum_open_interest"),
}
_ALIASES: Final = {
    "count": "trades",
    "number_of_trades": "trades",
    "quote_asset_volume": "quote_volume",
    "taker_buy_base_asset_volume": "taker_buy_volume",
    "taker_buy_quote_asset_volume": "taker_buy_quote_volume",
    "calc_time": "funding_time",
    "last_funding_rate": "funding_rate",
    "create_time": "time",
}
"""Names of the same columns in Binance's own archive."""
_HEADERLESS: Final = ("open_time", *KLINE[:5], "close_time", *KLINE[5:], "ignore")
"""Columns of that archive's older files, which name none."""
_UNITS: Final = ((10**11, 1_000, 1), (10**14, 1, 1), (10**17, 1, 1_000), (10**20, 1, 1_000_000))
"""Epoch numbers below each bound times the second, divided by the third, are milliseconds."""
_ALLOWED: Final = "columns symbol, open_time, open, high, low, close, volume"
_FOLDS: Final = (("15m", ("5m", "3m", "1m")), ("1h", ("30m", "15m", "5m", "3m", "1m")),
                 ("4h", ("2h", "1h")), ("1d", ("12h", "8h", "6h", "4h", "1h")))  # fmt: skip


@dataclass(slots=True)
class CandleFiles:
    """Frames by kind (an interval, `funding`, `open_interest`, `mark`): columns `symbol`, `time`
    (UTC ms; the close for `mark`) and values. `starts`: by symbol its earliest bar and the beginning
    of the file that holds it. `left_out`: rows by the reason they were left out."""

    frames: dict[str, pl.DataFrame] = field(default_factory=dict)
    starts: dict[str, tuple[int, int]] = field(default_factory=dict)
    left_out: Counter[str] = field(default_factory=Counter)


def read_candles(path: str | Path) -> CandleFiles:
    """Read every Parquet and CSV file of a path. Raises UserFault with one line."""
    import polars as pl

    root = Path(path)
    files = sorted([*root.glob("*.parquet"), *root.glob("*.csv")]) if root.is_dir() else [root]
    if not files or not all(file.is_file() for file in files):
        raise UserFault(
            f"--data: found nothing at {root}, allowed: a .parquet or .csv file or a folder of them"
        )
    out, parts = CandleFiles(), dict[str, list["pl.DataFrame"]]()
    for file in files:
        for kind, frame in _kinds(file, out.left_out):
            parts.setdefault(kind, []).append(frame)
            if kind in INTERVAL_MS:
                _earliest(frame, out.starts)
    if not any(kind in INTERVAL_MS for kind in parts):
        raise UserFault(f"--data: found no candles at {root}, allowed: {_ALLOWED}")
    for kind, frames in parts.items():
        out.frames[kind] = _merged(pl.concat(frames, how="diagonal_relaxed"), kind, out.left_out)
    found = ", ".join(kind for kind in out.frames if kind in INTERVAL_MS)
    _fold_up(out.frames)
    if "1h" not in out.frames:
        raise UserFault(f"--data: found only {found} candles at {root}, allowed: 1h or shorter")
    return out


def _kinds(file: Path, left_out: Counter[str]) -> list[tuple[str, pl.DataFrame]]:
    """What a file holds: pairs of kind and rows, none for a file of something else."""
    frame = _named(_load(file), file)
    have = set(frame.columns)
    if "symbol" not in have:
        return []
    for kind, wanted in _KINDS.items():
        if set(wanted) <= have:
            rows = frame.select("symbol", *wanted).rename({wanted[0]: "time"})
            return [(kind, _clean(rows, file, left_out))]
    if not {"open_time", *_PRICES} <= have:
        return []
    frame = frame.rename({"open_time": "time"})
    if "volume" not in have:
        return _mark(frame, file, left_out) if "mark" in file.name.lower() else []
    keep = ["symbol", "time", *(c for c in KLINE if c in have)]
    groups = (
        [part.select(keep) for part in frame.partition_by("interval")]
        if "interval" in have
        else [frame.select(keep)]
    )
    cleaned = [_sane(_clean(part, file, left_out), left_out) for part in groups]
    return [pair for part in cleaned if part.height for pair in _on_grid(part, file, left_out)]


def _load(file: Path) -> pl.DataFrame:
    import polars as pl

    try:
        if file.suffix == ".parquet":
            return pl.read_parquet(file)
        frame = pl.read_csv(file, infer_schema_length=None)
        if len(frame.columns) == len(_HEADERLESS) and frame.columns[0].isdigit():
            return pl.read_csv(
                file, has_header=False, new_columns=list(_HEADERLESS), infer_schema_length=None
            )
        return frame
    except (pl.exceptions.PolarsError, OSError) as fault:
        raise UserFault(f"--data: {file} cannot be read: {str(fault).splitlines()[0]}") from fault


def _named(frame: pl.DataFrame, file: Path) -> pl.DataFrame:
    """Columns under our names; a file without `symbol` that is named after one (BTCUSDT-1h.csv)."""
    import polars as pl

    lower = {c: c.strip().lower() for c in frame.columns}
    if len(set(lower.values())) == len(lower):
        frame = frame.rename(lower)
    frame = frame.rename({
        old: new for old, new in _ALIASES.items() if old in frame.columns and new not in frame.columns
    })  # fmt: skip
    if "symbol" not in frame.columns:
        name = re.split(r"[-_.]", file.name)[0].upper()
        if re.fullmatch(r"\w+USD[TC]", name):
            frame = frame.with_columns(pl.lit(name).alias("symbol"))
    if "symbol" in frame.columns:
        text = pl.col("symbol").cast(pl.String).str.strip_chars().str.to_uppercase()
        frame = frame.with_columns(text.alias("symbol"))
    return frame


def _clean(frame: pl.DataFrame, file: Path, left_out: Counter[str]) -> pl.DataFrame:
    """Times as epoch ms, numbers as floats; rows without a symbol or a time left out."""
    import polars as pl

    frame = frame.with_columns(_epoch_ms(frame["time"], file))
    for name in frame.columns:
        if name in ("symbol", "time"):
            continue
        had = frame[name].null_count()
        number = frame[name].cast(pl.Float64, strict=False).fill_nan(None)
        if frame.height and number.null_count() == frame.height > had:
            raise UserFault(f"--data: {file.name}: column {name} holds no numbers")
        frame = frame.with_columns(number)
    whole = frame.filter(
        pl.col("symbol").is_not_null() & (pl.col("symbol") != "") & pl.col("time").is_not_null()
    )
    left_out["without symbol or time"] += frame.height - whole.height
    return whole


def _epoch_ms(times: pl.Series, file: Path) -> pl.Series:
    import polars as pl

    fault = UserFault(
        f"--data: {file.name}: {times.name} cannot be read as time, allowed: epoch ms, a date"
    )
    if times.dtype == pl.String:
        number = times.cast(pl.Int64, strict=False)
        if number.null_count() > times.null_count():
            try:
                times = times.str.to_datetime(strict=True, time_unit="ms")
            except pl.exceptions.PolarsError:
                raise fault from None
        else:
            times = number
    if times.dtype == pl.Datetime or times.dtype == pl.Date:
        return times.cast(pl.Datetime("ms")).dt.epoch("ms").alias("time")
    if not times.dtype.is_numeric():
        raise fault
    whole = times.cast(pl.Int64, strict=False)
    newest = whole.max()
    if not isinstance(newest, int):
        return whole.alias("time")
    for bound, up, down in _UNITS:
        if newest < bound:
            return (whole * up // down).alias("time")
    raise fault


def _sane(frame: pl.DataFrame, left_out: Counter[str]) -> pl.DataFrame:
    """Bars whose prices can be: all there, above zero, the high not below the low or the others."""
    import polars as pl

    low, high = pl.col("low"), pl.col("high")
    good = pl.all_horizontal(pl.col(*_PRICES).is_finite() & (pl.col(*_PRICES) > 0.0))
    good = good & (high >= pl.max_horizontal("open", "close", "low"))
    good = good & (low <= pl.min_horizontal("open", "close", "high"))
    kept = frame.filter(good.fill_null(value=False))
    left_out["without a possible price"] += frame.height - kept.height
    volumes = [c for c in KLINE[4:] if c in frame.columns]
    return kept.with_columns(
        pl.when(pl.col(c).is_finite() & (pl.col(c) >= 0.0)).then(pl.col(c)).alias(c)
        for c in volumes
    )


def _on_grid(
    frame: pl.DataFrame, file: Path, left_out: Counter[str]
) -> list[tuple[str, pl.DataFrame]]:
    """The rows with their interval, those that open off its grid left out."""
    import polars as pl

    name = _interval(frame, file)
    step = INTERVAL_MS[name]
    if step > DAY_MS:  # weeks do not open on multiples of a week
        return [(name, frame)]
    kept = frame.filter(pl.col("time") % step == 0)
    off = frame.height - kept.height
    if off > kept.height:
        raise UserFault(
            f"--data: {file.name}: {off} of {frame.height} bars do not open on the {name} grid"
        )
    left_out["off the grid"] += off
    return [(name, kept)]


def _interval(frame: pl.DataFrame, file: Path) -> str:
    import polars as pl

    steps = frame.sort("symbol", "time").select(pl.col("time").diff().over("symbol").alias("step"))[
        "step"
    ]
    steps = steps.filter(steps > 0)
    step = steps.mode().min() if len(steps) else None
    if step is None:
        for word in re.split(r"[-_.]", file.name):
            if word in INTERVAL_MS:
                return word
        raise UserFault(f"--data: {file.name} holds too few bars to tell their interval")
    for name, length in INTERVAL_MS.items():
        if step == length:
            return name
    raise UserFault(
        f"--data: {file.name} has bars {step!r} ms apart, allowed: {', '.join(INTERVAL_MS)}"
    )


def _mark(
    frame: pl.DataFrame, file: Path, left_out: Counter[str]
) -> list[tuple[str, pl.DataFrame]]:
    """Mark closes at the time they were known: the end of their bar."""
    import polars as pl

    rows = _clean(frame.select("symbol", "time", "close"), file, left_out)
    if not rows.height:
        return []
    step = INTERVAL_MS[_interval(rows, file)]
    return [("mark", rows.with_columns(pl.col("time") + step))]


def _merged(frame: pl.DataFrame, kind: str, left_out: Counter[str]) -> pl.DataFrame:
    """One row a symbol and time; of several for one bar the one that knows taker volume, else the
    last one that was read."""
    import polars as pl

    if kind in INTERVAL_MS:
        absent = [pl.lit(None, dtype=pl.Float64).alias(c) for c in KLINE if c not in frame.columns]
        frame = frame.with_columns(absent).select("symbol", "time", *KLINE)
        frame = frame.sort("time", pl.col("taker_buy_volume").is_not_null(), maintain_order=True)
    else:
        frame = frame.sort("time", maintain_order=True)
    single = frame.unique(["symbol", "time"], keep="last", maintain_order=True)
    left_out["twice"] += frame.height - single.height
    return single


def _fold_up(frames: dict[str, pl.DataFrame]) -> None:
    """Bars of 15m, 1h, 4h and 1d from whole groups of shorter ones, where they are not there."""
    import polars as pl

    for name, sources in _FOLDS:
        for source in sources:
            if source not in frames:
                continue
            step, small = INTERVAL_MS[name], INTERVAL_MS[source]
            whole = (
                frames[source]
                .group_by(
                    "symbol", (pl.col("time") // step * step).alias("time"), maintain_order=True
                )
                .agg(
                    pl.col("open").first(),
                    pl.col("high").max(),
                    pl.col("low").min(),
                    pl.col("close").last(),
                    *(_total(c) for c in KLINE[4:]),
                    pl.len().alias("parts"),
                )
                .filter(pl.col("parts") == step // small)
                .drop("parts")
            )
            if name in frames:
                own = _enriched(frames[name], whole)
                whole = whole.join(own, on=["symbol", "time"], how="anti")
                whole = pl.concat([own, whole])
            frames[name] = whole.sort("time", maintain_order=True)


def _enriched(own: pl.DataFrame, sums: pl.DataFrame) -> pl.DataFrame:
    """Bars with what they do not say of themselves (turnover, trades, takers) from the sums of
    shorter ones, where both have the same volume."""
    import polars as pl

    beside = sums.select("symbol", "time", *(pl.col(c).alias(f"sum_{c}") for c in KLINE[4:]))
    both = own.join(beside, on=["symbol", "time"], how="left", maintain_order="left")
    volume, total = pl.col("volume"), pl.col("sum_volume")
    is_same = ((volume - total).abs() <= 1e-6 * volume).fill_null(value=False)
    return both.with_columns(
        pl.when(pl.col(c).is_null() & is_same).then(f"sum_{c}").otherwise(c).alias(c)
        for c in KLINE[5:]
    ).select(own.columns)


def _total(name: str) -> pl.Expr:
    """The sum of a group, nothing if a part is missing."""
    import polars as pl

    return pl.when(pl.col(name).is_not_null().all()).then(pl.col(name).sum()).alias(name)


def _earliest(frame: pl.DataFrame, starts: dict[str, tuple[int, int]]) -> None:
    import polars as pl

    if not frame.height:
        return
    begin = int(frame.select(pl.col("time").min()).item())
    for name, first in frame.group_by("symbol").agg(pl.col("time").min()).iter_rows():
        # of two files that begin with a symbol's first bar, the one that begins earlier knows more
        mine = (int(first), begin)
        starts[name] = min(starts.get(name, mine), mine)
