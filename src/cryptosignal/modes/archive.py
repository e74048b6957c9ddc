"""An archive of candles (Parquet or CSV, a file or a folder) as market views at past moments.

Files are recognised by their columns: klines of any interval, funding rates, open interest, mark
klines. Intervals that are missing are summed from shorter ones where those are whole. What an
archive does not hold (books, tapes, index prices) stays missing, and the decision says so.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from cryptosignal.domain.params import ParamSet
from cryptosignal.factors.catalogue import FactorEngine
from cryptosignal.factors.panel import as_of
from cryptosignal.ground.faults import UserFault
from cryptosignal.ground.units import DAY_MS, HOUR_MS, INTERVAL_MS
from cryptosignal.market.views import CONFIRMED, FIELDS, BarsView, MarketView, SeriesView

if TYPE_CHECKING:
    import polars as pl

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

LOOKBACK_BARS: Final = {"15m": 260, "1h": 320, "4h": 160, "1d": 130}
"""Bars that a view holds before its first decision, per interval; more than any window needs."""

_SOURCES: Final = {"15m": ("5m", "1m"), "1h": ("15m", "5m", "1m"), "4h": ("1h",), "1d": ("1h",)}
_KLINE: Final = ("open", "high", "low", "close", "volume", "quote_volume", "trades",
                 "taker_buy_volume", "taker_buy_quote_volume")  # fmt: skip
_QUALITY_BARS = 60
_MISS_WEIGHT = 0.40
_FUNDING_AGE_MS = 2 * DAY_MS


@dataclass(slots=True)
class _Rows:
    """Long rows sorted by time: `time_ms`, `symbol` (index) and `values[row, column]`."""

    time_ms: Ints
    symbol: NDArray[np.int32]
    values: Floats

    def between(self, start_ms: int, stop_ms: int) -> slice:
        """Rows with start ≤ time < stop."""
        low, high = np.searchsorted(self.time_ms, (start_ms, stop_ms))
        return slice(int(low), int(high))


@dataclass(slots=True)
class Archive:
    """All that a path holds. `klines` by interval; times are UTC ms of the exchange."""

    symbols: tuple[str, ...]
    klines: dict[str, _Rows] = field(default_factory=dict)
    funding: _Rows | None = None
    open_interest: _Rows | None = None
    mark: _Rows | None = None
    first_ms: dict[int, int] = field(default_factory=dict)
    listed_ms: dict[int, int] = field(default_factory=dict)

    @property
    def span_ms(self) -> tuple[int, int]:
        """Open of the first bar and close of the last."""
        starts = [int(rows.time_ms[0]) for rows in self.klines.values()]
        stops = [int(r.time_ms[-1]) + INTERVAL_MS[i] for i, r in self.klines.items()]
        return min(starts), max(stops)

    def moments(self, start_ms: int, stop_ms: int) -> Ints:
        """Closes of the 1h bars in start ≤ close < stop."""
        first = -(-start_ms // HOUR_MS) * HOUR_MS
        return np.arange(first, stop_ms, HOUR_MS, dtype=np.int64)

    def view(self, start_ms: int, stop_ms: int) -> MarketView:
        """A view for the decisions at closes from `start_ms` to `stop_ms`, both included: all bars
        that close by `stop_ms`, with the windows before `start_ms` that the first one needs."""
        rows = self._present(start_ms, stop_ms)
        bars = {}
        for interval, lookback in LOOKBACK_BARS.items():
            found = self._bars(interval, start_ms, stop_ms, lookback, rows)
            if found is not None:
                bars[interval] = found
        names = tuple(self.symbols[i] for i in rows)
        nothing = np.full(len(names), np.nan)
        place = {name: k for k, name in enumerate(names)}
        return MarketView(
            stop_ms,
            names,
            np.ones(len(names), dtype=np.bool_),
            place.get("BTCUSDT", -1),
            place.get("ETHUSDT", -1),
            bars,
            nothing,
            self._listed(rows),
            nothing,
            nothing,
            nothing,
            nothing,
            nothing,
            nothing,
            funding_history=self._series(self.funding, 0, rows, start_ms, stop_ms, 100 * DAY_MS),
            open_interest=self._series(self.open_interest, 0, rows, start_ms, stop_ms, 20 * DAY_MS),
        )

    def facts(self, view: MarketView, times_ms: Ints) -> dict[str, Floats]:
        """What a live view would know besides bars, [symbol, time]: funding as it was settled,
        DataQual by the bar profile (§0.1: missing of 60 bars), the count of bars since listing."""
        shape = (len(view.symbols), len(times_ms))
        out = {"quality": self._quality(view, times_ms), "bars_1h": self._counted(view, times_ms)}
        if view.funding_history is not None:
            out["funding_rate"] = as_of(view.funding_history, times_ms, _FUNDING_AGE_MS)
        return {name: np.broadcast_to(value, shape) for name, value in out.items()}

    def _quality(self, view: MarketView, times: Ints) -> Floats:
        hours = view.bars["1h"]
        known = np.concatenate(
            [np.zeros((len(view.symbols), 1)), np.cumsum(~np.isnan(hours.close), axis=1)], axis=1
        )
        ends = np.searchsorted(hours.open_ms + HOUR_MS, times, side="right")
        seen = known[:, ends] - known[:, np.maximum(ends - _QUALITY_BARS, 0)]
        listed = np.maximum(known[:, ends], 1.0)
        expected = np.minimum(listed, float(_QUALITY_BARS))
        miss = np.clip(1.0 - seen / expected, 0.0, 1.0)
        return np.where(known[:, ends] > 0, 1.0 - _MISS_WEIGHT * miss, np.nan)

    def _counted(self, view: MarketView, times: Ints) -> Floats:
        place = {name: i for i, name in enumerate(self.symbols)}
        first = np.array(
            [self.first_ms.get(place[name], 2**62) for name in view.symbols], dtype=float
        )
        return np.clip((times[None, :] - first[:, None]) / HOUR_MS, 0.0, None)

    def _listed(self, rows: Ints) -> Floats:
        """Listing time where the archive shows it, else NaN (see `_note_first`)."""
        return np.array([float(self.listed_ms.get(int(i), math.nan)) for i in rows])

    def _present(self, start_ms: int, stop_ms: int) -> Ints:
        found: set[int] = set()
        for interval in ("1m", "5m", "15m", "1h"):
            rows = self.klines.get(interval)
            if rows is not None:
                part = rows.between(start_ms - 5 * DAY_MS, stop_ms)
                found.update(np.unique(rows.symbol[part]).tolist())
        return np.array(sorted(found), dtype=np.int64)

    def _bars(
        self, interval: str, start_ms: int, stop_ms: int, lookback: int, rows: Ints
    ) -> BarsView | None:
        step = INTERVAL_MS[interval]
        first = (start_ms // step - lookback) * step
        last = stop_ms // step * step
        opens = np.arange(first, last, step, dtype=np.int64)
        data = self._dense(interval, first, last, rows)
        for source in _SOURCES[interval]:
            summed = self._summed(source, interval, first, last, rows)
            if summed is not None:
                gaps = np.isnan(data[3])
                data = np.where(gaps[None], summed, data)
        if np.isnan(data[3]).all():
            return None
        present = ~np.isnan(data[3])
        return BarsView(
            interval,
            opens,
            data,
            np.where(present, CONFIRMED, 0).astype(np.int8),
            np.zeros(present.shape, dtype=np.int8),
            np.where(present, 0.0, np.nan),
        )

    def _dense(self, interval: str, first: int, last: int, rows: Ints) -> Floats:
        step = INTERVAL_MS[interval]
        data = np.full((FIELDS, len(rows), (last - first) // step), np.nan)
        known = self.klines.get(interval)
        if known is None:
            return data
        part = known.between(first, last)
        place = np.full(len(self.symbols), -1)
        place[rows] = np.arange(len(rows))
        at = place[known.symbol[part]]
        keep = at >= 0
        column = (known.time_ms[part] - first) // step
        data[:, at[keep], column[keep]] = known.values[part][keep].T
        return data

    def _summed(
        self, source: str, interval: str, first: int, last: int, rows: Ints
    ) -> Floats | None:
        """Bars of `interval` from whole groups of `source` bars."""
        if source not in self.klines:
            return None
        part = self.klines[source].between(first, last)
        if part.start == part.stop:
            return None
        own = np.intersect1d(rows, np.unique(self.klines[source].symbol[part]))
        factor = INTERVAL_MS[interval] // INTERVAL_MS[source]
        small = self._dense(source, first, last, own)
        count = small.shape[2] // factor
        if not count or not len(own):
            return None
        group = small[:, :, : count * factor].reshape(FIELDS, len(own), count, factor)
        folded = np.concatenate(
            [
                group[0:1, :, :, 0],
                group[1:2].max(axis=3),
                group[2:3].min(axis=3),
                group[3:4, :, :, -1],
                group[4:].sum(axis=3),
            ]
        )
        folded = np.where(np.isnan(group[3]).any(axis=2)[None], np.nan, folded)
        out = np.full((FIELDS, len(rows), (last - first) // INTERVAL_MS[interval]), np.nan)
        out[:, np.searchsorted(rows, own), :count] = folded
        return out

    def _series(
        self, known: _Rows | None, column: int, rows: Ints, start: int, stop: int, before: int
    ) -> SeriesView | None:
        if known is None:
            return None
        part = known.between(start - before, stop + 1)
        if part.start == part.stop:
            return None
        grid = np.unique(known.time_ms[part])
        value = np.full((len(self.symbols), len(grid)), np.nan)
        value[known.symbol[part], np.searchsorted(grid, known.time_ms[part])] = known.values[
            part, column
        ]
        return SeriesView(grid, value[rows])


def view_from_candles(archive: Archive, time_ms: int) -> MarketView:
    """The market as the archive knew it at the close `time_ms`: the step-by-step twin of a batch."""
    return archive.view(time_ms, time_ms)


def columns_between(
    archive: Archive, params: ParamSet, start_ms: int, stop_ms: int
) -> tuple[MarketView, Ints, dict[str, Floats]]:
    """All factor columns at every 1h close from `start_ms` to `stop_ms` (both included)."""
    times = archive.moments(start_ms, stop_ms + 1)
    view = archive.view(int(times[0]), int(times[-1]))
    engine = FactorEngine(params)
    return view, times, engine.columns(view, times, archive.facts(view, times))


def load_archive(path: str | Path) -> Archive:
    """Read every Parquet and CSV file of a path. Raises UserFault with one line for a bad path."""
    import polars as pl

    root = Path(path)
    files = sorted([*root.glob("*.parquet"), *root.glob("*.csv")]) if root.is_dir() else [root]
    if not files or not all(file.is_file() for file in files):
        raise UserFault(
            f"--data: found nothing at {root}, allowed: a .parquet or .csv file or a folder of them"
        )
    frames: dict[str, list[pl.DataFrame]] = {}
    starts: dict[str, tuple[int, int]] = {}
    for file in files:
        kind, frame = _read(file)
        if kind:
            frames.setdefault(kind, []).append(frame)
        if kind in INTERVAL_MS and frame.height:
            _earliest(frame, starts)
    if not any(kind in INTERVAL_MS for kind in frames):
        raise UserFault(
            f"--data: found no candles at {root}, "
            "allowed: columns symbol, open_time, open, high, low, close, volume"
        )
    names = sorted(set().union(*(set(f["symbol"].to_list()) for g in frames.values() for f in g)))
    archive = Archive(tuple(names))
    for kind, parts in frames.items():
        rows = _rows(pl.concat(parts, how="diagonal_relaxed"), names, kind)
        if kind in INTERVAL_MS:
            archive.klines[kind] = rows
        else:
            setattr(archive, kind, rows)
    _note_first(archive, starts)
    return archive


def _note_first(archive: Archive, starts: dict[str, tuple[int, int]]) -> None:
    """When each symbol is first seen, and when it was listed where the files prove it.

    `starts` are, by symbol, its earliest bar and the beginning of the file that holds it. A symbol
    that is there when its file begins may be of any age; only one that appears a day or more later
    was listed then (a file of another year says nothing about it).
    """
    for code, name in enumerate(archive.symbols):
        if name not in starts:
            continue
        first, begin = starts[name]
        archive.first_ms[code] = first
        if first > begin + DAY_MS:
            archive.listed_ms[code] = first


def _earliest(frame: pl.DataFrame, starts: dict[str, tuple[int, int]]) -> None:
    import polars as pl

    begin = int(frame.select(pl.col("time").min()).item())
    for name, first in frame.group_by("symbol").agg(pl.col("time").min()).iter_rows():
        # of two files that begin with a symbol's first bar, the one that begins earlier knows more
        mine = (int(first), begin)
        starts[name] = min(starts.get(name, mine), mine)


def _read(file: Path) -> tuple[str, pl.DataFrame]:
    """The kind of a file (an interval, funding, open_interest, mark, or nothing) and its rows."""
    import polars as pl

    try:
        frame = pl.read_parquet(file) if file.suffix == ".parquet" else pl.read_csv(file)
    except (pl.exceptions.PolarsError, OSError) as fault:
        raise UserFault(f"--data: {file} cannot be read: {str(fault).splitlines()[0]}") from fault
    have = set(frame.columns)
    if "symbol" not in have:
        return "", frame
    frame = frame.with_columns(pl.col("symbol").cast(pl.String))
    if {"funding_time", "funding_rate"} <= have:
        return "funding", frame.select(
            "symbol", pl.col("funding_time").alias("time"), "funding_rate"
        )
    if {"time", "sum_open_interest"} <= have:
        return "open_interest", frame.select("symbol", "time", "sum_open_interest")
    if not {"open_time", "open", "high", "low", "close"} <= have:
        return "", frame
    frame = frame.rename({"open_time": "time"})
    if "volume" not in have:
        return (
            ("mark", frame.select("symbol", "time", "close"))
            if "mark" in file.name
            else ("", frame)
        )
    return _interval(frame, file), frame.select("symbol", "time", *(c for c in _KLINE if c in have))


def _interval(frame: pl.DataFrame, file: Path) -> str:
    import polars as pl

    steps = frame.sort("symbol", "time").select(pl.col("time").diff().over("symbol").alias("step"))[
        "step"
    ]
    steps = steps.filter(steps > 0)
    step = steps.mode().min() if len(steps) else None
    for name, length in INTERVAL_MS.items():
        if step == length:
            return name
    raise UserFault(
        f"--data: {file.name} has bars {step!r} ms apart, allowed: {', '.join(INTERVAL_MS)}"
    )


def _rows(frame: pl.DataFrame, names: list[str], kind: str) -> _Rows:
    import polars as pl

    wanted = _KLINE if kind in INTERVAL_MS else tuple(
        c for c in frame.columns if c not in ("symbol", "time")
    )  # fmt: skip
    absent = [pl.lit(None, dtype=pl.Float64).alias(c) for c in wanted if c not in frame.columns]
    frame = frame.with_columns(absent)
    # of two rows for one bar the one that knows taker volume is written last and stays
    order = ["time", "taker_buy_volume"] if kind in INTERVAL_MS else ["time"]
    frame = frame.sort(order, nulls_last=False)
    codes = {name: i for i, name in enumerate(names)}
    symbol = frame["symbol"].replace_strict(codes, return_dtype=pl.Int32).to_numpy()
    values = frame.select(pl.col(c).cast(pl.Float64) for c in wanted).to_numpy()
    return _Rows(frame["time"].cast(pl.Int64).to_numpy(), symbol, np.ascontiguousarray(values))
