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
from cryptosignal.factors.catalogue import BAR_FACTORS, Factor, FactorEngine
from cryptosignal.factors.panel import as_of
from cryptosignal.ground.units import DAY_MS, HOUR_MS, INTERVAL_MS
from cryptosignal.market.views import CONFIRMED, FIELDS, BarsView, MarketView, SeriesView
from cryptosignal.modes.candle_files import read_candles

if TYPE_CHECKING:
    import polars as pl

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

LOOKBACK_BARS: Final = {"1m": 500, "5m": 300, "15m": 300, "1h": 320, "4h": 160, "1d": 130}
"""Bars that a view holds before its first decision, per interval; more than any window needs."""

NEW_COIN_DAYS: Final = 20.0
"""Minutes are shown of symbols this young, which holds the channel's 400 h and its blend."""
_MINUTES: Final = ("1m", "5m")

_QUALITY_BARS = 60
_MISS_WEIGHT = 0.40
_FUNDING_AGE_MS = 2 * DAY_MS
_MARK_AGE_MS = HOUR_MS // 2


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
    left_out: dict[str, int] = field(default_factory=dict)

    @property
    def span_ms(self) -> tuple[int, int]:
        """Open of the first 1h bar and close of the last."""
        times = self.klines["1h"].time_ms
        return int(times[0]), int(times[-1]) + HOUR_MS

    def young(self, start_ms: int, stop_ms: int, days: float) -> Ints:
        """Symbols known to be listed at most `days` before some moment of the span."""
        born = sorted(self.listed_ms.items())
        keep = [i for i, ms in born if ms <= stop_ms and ms + days * DAY_MS >= start_ms]
        return np.array(keep, dtype=np.int64)

    def moments(self, start_ms: int, stop_ms: int) -> Ints:
        """Closes of the 1h bars in start ≤ close < stop."""
        first = -(-start_ms // HOUR_MS) * HOUR_MS
        return np.arange(first, stop_ms, HOUR_MS, dtype=np.int64)

    def view(self, start_ms: int, stop_ms: int) -> MarketView:
        """A view for the decisions at closes from `start_ms` to `stop_ms`, both included: all bars
        that close by `stop_ms`, with the windows before `start_ms` that the first one needs."""
        rows = self._present(start_ms, stop_ms)
        bars = {}
        fresh = np.intersect1d(rows, self.young(start_ms, stop_ms, NEW_COIN_DAYS))
        for interval, lookback in LOOKBACK_BARS.items():
            is_minute = interval in _MINUTES
            if is_minute and not len(fresh):
                continue
            own = fresh if is_minute else rows
            found = self._bars(interval, start_ms, stop_ms, lookback, rows, own)
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
        """What a live view would know besides bars, [symbol, time]: funding as it was settled, the
        mark, DataQual by the bar profile (§0.1: missing of 60 bars), bars since listing.

        Without an index the basis is that of the last price over the mark.
        """
        shape = (len(view.symbols), len(times_ms))
        out = {"quality": self._quality(view, times_ms), "bars_1h": self._counted(view, times_ms)}
        if view.funding_history is not None:
            out["funding_rate"] = as_of(view.funding_history, times_ms, _FUNDING_AGE_MS)
        marks = self._series(
            self.mark, 0, self._codes(view), int(times_ms[0]), view.time_ms, DAY_MS
        )
        if marks is not None:
            out["mark"] = as_of(marks, times_ms, _MARK_AGE_MS)
            hours = view.bars["1h"]
            at = np.searchsorted(hours.open_ms + HOUR_MS, times_ms, side="right") - 1
            last = np.where(at >= 0, hours.close[:, np.maximum(at, 0)], np.nan)
            out["basis_bps"] = 1e4 * np.log(last / out["mark"])
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

    def _codes(self, view: MarketView) -> Ints:
        place = {name: i for i, name in enumerate(self.symbols)}
        return np.array([place[name] for name in view.symbols], dtype=np.int64)

    def _counted(self, view: MarketView, times: Ints) -> Floats:
        first = np.array([self.first_ms.get(int(i), 2**62) for i in self._codes(view)], dtype=float)
        return np.clip((times[None, :] - first[:, None]) / HOUR_MS, 0.0, None)

    def _listed(self, rows: Ints) -> Floats:
        """Listing time where the archive shows it, else NaN (see `_note_first`)."""
        return np.array([float(self.listed_ms.get(int(i), math.nan)) for i in rows])

    def _present(self, start_ms: int, stop_ms: int) -> Ints:
        found: set[int] = set()
        rows = self.klines["1h"]
        found.update(np.unique(rows.symbol[rows.between(start_ms - 5 * DAY_MS, stop_ms)]).tolist())
        return np.array(sorted(found), dtype=np.int64)

    def _bars(
        self, interval: str, start_ms: int, stop_ms: int, lookback: int, rows: Ints, own: Ints
    ) -> BarsView | None:
        """Bars of the symbols `own` in the places of `rows`, None where there are none."""
        step = INTERVAL_MS[interval]
        first = (start_ms // step - lookback) * step
        last = stop_ms // step * step
        opens = np.arange(first, last, step, dtype=np.int64)
        if interval not in self.klines:
            return None
        data = self._dense(interval, first, last, rows, own)
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

    def _dense(self, interval: str, first: int, last: int, rows: Ints, own: Ints) -> Floats:
        step = INTERVAL_MS[interval]
        data = np.full((FIELDS, len(rows), (last - first) // step), np.nan)
        known = self.klines[interval]
        part = known.between(first, last)
        place = np.full(len(self.symbols), -1)
        place[rows] = np.arange(len(rows))
        place[np.setdiff1d(rows, own)] = -1
        at = place[known.symbol[part]]
        keep = at >= 0
        column = (known.time_ms[part] - first) // step
        data[:, at[keep], column[keep]] = known.values[part][keep].T
        return data

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
    archive: Archive,
    params: ParamSet,
    start_ms: int,
    stop_ms: int,
    factors: tuple[Factor, ...] = BAR_FACTORS,
) -> tuple[MarketView, Ints, dict[str, Floats]] | None:
    """All factor columns at every 1h close from `start_ms` to `stop_ms` (both included); None where
    there is no 1h bar to decide on."""
    times = archive.moments(start_ms, stop_ms + 1)
    if not len(times):
        return None
    view = archive.view(int(times[0]), int(times[-1]))
    if "1h" not in view.bars:
        return None
    engine = FactorEngine(params, factors)
    return view, times, engine.columns(view, times, archive.facts(view, times))


def load_archive(path: str | Path) -> Archive:
    """Read every Parquet and CSV file of a path. Raises UserFault with one line for a bad path."""
    files = read_candles(path)
    names = sorted(
        set().union(*(set(frame["symbol"].to_list()) for frame in files.frames.values()))
    )
    archive = Archive(tuple(names), left_out=dict(+files.left_out))
    codes = {name: i for i, name in enumerate(names)}
    for kind, frame in files.frames.items():
        if kind in INTERVAL_MS:
            archive.klines[kind] = _rows(frame, codes)
        else:
            setattr(archive, kind, _rows(frame, codes))
    _note_first(archive, files.starts)
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


def _rows(frame: pl.DataFrame, codes: dict[str, int]) -> _Rows:
    import polars as pl

    symbol = frame["symbol"].replace_strict(codes, return_dtype=pl.Int32).to_numpy()
    values = frame.drop("symbol", "time").to_numpy()
    return _Rows(frame["time"].to_numpy(), symbol, np.ascontiguousarray(values, dtype=np.float64))
