"""Keeps what closed bars have already given, so that a scan computes only what changed.

Every raw value and every stage of the chain is a function of a fixed window (D4), so a new bar adds
one column and a repaired bar spoils only the columns after it. What is kept is checked against the
bars themselves at each scan, bit by bit: a late, repaired or confirmed bar is never missed, and
dropping the cache changes no number.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cryptosignal.domain.params import ParamSet
from cryptosignal.factors import standardise as chain
from cryptosignal.factors.kernels import compiled_kernels, flat
from cryptosignal.factors.panel import Logs, Origin, panel_of
from cryptosignal.factors.table import Factor
from cryptosignal.ground.units import HOUR_MS
from cryptosignal.market.views import BarsView, MarketView

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Beside = Callable[[Factor, int], dict[str, Floats] | None]
Scored = dict[str, tuple[Floats, Floats]]

SPAN: Final = 300
"""Bars of the 1h axis that a score may depend on at most (D4)."""
_TAIL: Final = 4
_NOTHING: Final = np.zeros(0)
_SLACK: Final = 48
_FIELDS: Final = 8
"""Fields that are compared: prices, volumes, trades, taker volume."""


@dataclass(slots=True)
class Strip:
    """The newest columns of an array [field, row, bar], kept to compare the next one with.

    Grows to the right in a wider buffer, so that a new bar costs one column and not a copy.
    """

    buffer: Floats = field(default_factory=lambda: np.zeros((0, 0, 0)))
    stop: int = 0

    def replace(self, now: Floats) -> None:
        """Forget everything and keep `now`."""
        self.buffer = np.empty((*now.shape[:2], now.shape[2] + _SLACK))
        self.stop = now.shape[2]
        self.buffer[:, :, : self.stop] = now

    def differing(self, now: Floats, shift: int) -> Ints:
        """Per row: newest columns from the first that differs on, the `shift` new ones included.
        Takes over what differs. NaN equals NaN."""
        width = now.shape[2]
        if shift and self.stop + shift > self.buffer.shape[2]:
            self.replace(self.buffer[:, :, self.stop - width : self.stop].copy())
        start = self.stop - width + shift
        kept = self.buffer[:, :, start : self.stop]
        same, first = _compare(kept.view(np.int64), now[:, :, : width - shift].view(np.int64))
        self.stop += shift
        self.buffer[:, :, self.stop - shift : self.stop] = now[:, :, width - shift :]
        if not same:
            kept[...] = now[:, :, : width - shift]
        return width - first

    def rows(self, places: Ints) -> Strip:
        """A copy of some rows."""
        return Strip(self.buffer[:, places], self.stop)


class Stage:
    """The newest columns of one stage of the chain, [factor · row, column].

    Grows to the right in a wider buffer: a new bar writes its column and copies nothing.
    """

    def __init__(self, columns: Floats) -> None:
        self.width = columns.shape[1]
        self.buffer = np.empty((len(columns), self.width + _SLACK))
        self.buffer[:, : self.width] = columns
        self.stop = self.width

    def rows(self, places: Ints) -> Stage:
        """A copy of some rows."""
        return Stage(self.columns[places])

    @property
    def columns(self) -> Floats:
        """All columns that are kept, the newest last."""
        return self.buffer[:, self.stop - self.width : self.stop]

    def newest(self, count: int) -> Floats:
        """The newest `count` columns."""
        return self.buffer[:, self.stop - count : self.stop]

    def extend(self, fresh: Floats, shift: int) -> None:
        """Move on by `shift` columns and replace the newest ones by `fresh`."""
        if self.stop + shift > self.buffer.shape[1]:
            self.buffer[:, : self.width] = self.columns.copy()
            self.stop = self.width
        self.stop += shift
        count = min(fresh.shape[1], self.width)
        self.buffer[:, self.stop - count : self.stop] = fresh[:, fresh.shape[1] - count :]


@dataclass(slots=True)
class _Stages:
    """What the next column will need of each stage."""

    raw: Stage
    smooth: Stage
    instant: Stage
    score: Stage


@dataclass(slots=True)
class Kept:
    """What a scan left for the rows of its hour, as plain arrays: nobody may write to them.

    `stages` are buffers [factor · row, column]; `stops` are the ends of their columns, the width of
    the publish filter, the least number of values, the lags, the rows, and a place for the bars
    that a reader has beyond them. `strip_stops` are the ends of the bars, the open interest and the
    spot flow that they stand on.
    """

    open_ms: int
    span: int
    stages: tuple[Floats, Floats, Floats, Floats]
    stops: Ints
    bars: Floats
    beside: tuple[Floats | None, ...]
    strip_stops: Ints

    def strips(self, slot: int) -> tuple[Floats, ...]:
        """The series beside the bars of one row, empty where there is none."""
        return tuple(_NOTHING if x is None else x[0, slot] for x in self.beside)


class ScoreCache:
    """Scores of the newest `lags` bars by factor. `columns_computed` counts work for the tests."""

    def __init__(self, params: ParamSet) -> None:
        self.params = params
        self.columns_computed = 0
        self._symbols: tuple[str, ...] = ()
        self._table: tuple[str, ...] = ()
        self._origin: Origin | None = None
        self._open_ms = -1
        self._bars = Strip()
        self._beside: dict[tuple[str, str], Strip] = {}
        self._stages: _Stages | None = None
        self._kept: Kept | None = None

    def kept(self, view: MarketView, factors: tuple[Factor, ...]) -> Kept | None:
        """What the last scan left; None where it was none or of another table of inputs."""
        if self._kept is None:
            self._kept = self._plain(factors)
        known = self._kept
        if known is None or (known.beside[0] is None) != (view.open_interest is None):
            return None
        return None if (known.beside[1] is None) != (view.spot_1h is None) else known

    def _plain(self, factors: tuple[Factor, ...]) -> Kept | None:
        stages = self._stages
        if stages is None:
            return None
        own, four = self.params.chain, (stages.raw, stages.smooth, stages.instant, stages.score)
        counts = (own.publish_taps, own.scale_min, self.params.tiers.n, len(self._symbols), 0)
        stops = [*(x.stop for x in four), *counts]
        names = (("O", "oi"), ("C", "spot_net"), ("C", "spot_volume"))
        strips = [self._beside.get(name) for name in names]
        return Kept(
            self._open_ms,
            min(SPAN, self._reach() + max(f.lookback for f in factors) - 1),
            (four[0].buffer, four[1].buffer, four[2].buffer, four[3].buffer),
            np.array(stops, np.int64),
            self._bars.buffer,
            tuple(None if strip is None else strip.buffer for strip in strips),
            np.array([self._bars.stop, *(0 if s is None else s.stop for s in strips)], np.int64),
        )

    def branch(self, places: Ints) -> ScoreCache:
        """A cache of a few rows that goes its own way; this one stays as it is."""
        out, kept = ScoreCache(self.params), self._stages
        if kept is None:
            return out
        total = len(self._symbols)
        at = (np.arange(len(self._table))[:, None] * total + places).ravel()
        out._symbols = tuple(self._symbols[i] for i in places.tolist())
        out._table, out._open_ms = self._table, self._open_ms
        out._origin = None if self._origin is None else self._origin.rows(places)
        out._bars = self._bars.rows(places)
        out._beside = {name: strip.rows(places) for name, strip in self._beside.items()}
        out._stages = _Stages(
            kept.raw.rows(at), kept.smooth.rows(at), kept.instant.rows(at), kept.score.rows(at)
        )
        return out

    def scores(
        self,
        symbols: tuple[str, ...],
        hours: BarsView,
        end: int,
        factors: tuple[Factor, ...],
        beside: Beside,
        origin: Origin,
        logs: Logs | None = None,
    ) -> Scored:
        """(raw of the newest bar, scores of the newest `lags` bars) of each factor.

        `end` is the number of closed bars; `beside(factor, bars)` gives the series next to them, or
        None where an input is missing altogether. `logs` are the newest bars, shared by factors.
        """
        newest = int(hours.open_ms[end - 1])
        shift = (newest - self._open_ms) // HOUR_MS
        span = min(SPAN, self._reach() + max(f.lookback for f in factors) - 1)
        series = {factor.name: beside(factor, span) for factor in factors}
        table = _signature(series)
        is_known = symbols == self._symbols and table == self._table and 0 <= shift <= _TAIL
        is_known = is_known and self._origin is not None and origin.key() == self._origin.key()
        self._origin = origin
        now = _window(hours, end, span)
        if self._stages is None or not is_known:
            self._bars.replace(now)
            self._beside = {}
            for name, value in _items(series):
                self._beside[name] = Strip()
                self._beside[name].replace(value[None])
            self._stages = self._whole(hours, end, factors, series)
        else:
            spoiled = self._spoiled(now, series, factors, shift)
            self._advance(hours, end, factors, series, spoiled, shift, logs)
        self._symbols, self._table, self._open_ms = symbols, table, newest
        self._kept = None
        return self._split(factors, len(symbols))

    def _spoiled(
        self,
        now: Floats,
        series: dict[str, dict[str, Floats] | None],
        factors: tuple[Factor, ...],
        shift: int,
    ) -> Ints:
        """[factor, row]: how many of the newest columns must be computed."""
        bars = self._bars.differing(now, shift)
        out = np.repeat(bars[None], len(factors), axis=0)
        names = [factor.name for factor in factors]
        for name, value in _items(series):
            own = self._beside[name].differing(value[None], shift)
            row = names.index(name[0])
            out[row] = np.maximum(out[row], own)
        return out

    def _advance(
        self,
        hours: BarsView,
        end: int,
        factors: tuple[Factor, ...],
        series: dict[str, dict[str, Floats] | None],
        spoiled: Ints,
        shift: int,
        logs: Logs | None,
    ) -> None:
        """Recompute the newest columns for everyone, and whole rows where older bars changed."""
        fresh = int(spoiled[spoiled <= _TAIL].max(initial=shift))
        if fresh:
            self._tail(hours, end, factors, series, fresh, shift, logs)
        for k, factor in enumerate(factors):
            rows = np.flatnonzero(spoiled[k] > _TAIL)
            if len(rows):
                self._redo(hours, end, k, factor, series[factor.name], rows, spoiled.shape[1])

    def _tail(
        self,
        hours: BarsView,
        end: int,
        factors: tuple[Factor, ...],
        series: dict[str, dict[str, Floats] | None],
        fresh: int,
        shift: int,
        logs: Logs | None,
    ) -> None:
        own, kept = self.params.chain, self._stages
        assert kept is not None
        new = np.concatenate(
            [self._raw(hours, end, f, series[f.name], fresh, None, logs) for f in factors]
        )
        kept.raw.extend(new, shift)
        recent = kept.raw.newest(fresh + own.smooth_taps - 1)
        kept.smooth.extend(chain.smooth(recent, own), shift)
        recent = kept.smooth.newest(fresh + own.scale_taps - 1)
        z = chain.robust_z(recent, _floors(factors, len(recent)), own)
        kept.instant.extend(chain.squash(z, own, _crowded(factors, len(z))), shift)
        lags = min(fresh, self.params.tiers.n)
        kept.score.extend(chain.publish(kept.instant.columns, own, lags), shift)

    def _redo(
        self,
        hours: BarsView,
        end: int,
        place: int,
        factor: Factor,
        series: dict[str, Floats] | None,
        rows: Ints,
        width: int,
    ) -> None:
        kept = self._stages
        assert kept is not None
        redone = self._chain(
            self._raw(hours, end, factor, series, self._reach(), rows, None),
            factor.floor,
            factor.crowded,
        )
        at = place * width + rows
        for name in ("raw", "smooth", "instant", "score"):
            getattr(kept, name).columns[at] = getattr(redone, name).columns

    def _whole(
        self,
        hours: BarsView,
        end: int,
        factors: tuple[Factor, ...],
        series: dict[str, dict[str, Floats] | None],
    ) -> _Stages:
        count = self._reach()
        raw = np.concatenate(
            [self._raw(hours, end, f, series[f.name], count, None, None) for f in factors]
        )
        return self._chain(raw, _floors(factors, len(raw)), _crowded(factors, len(raw)))

    def _chain(self, raw: Floats, floor: Floats | float, crowded: Floats | float) -> _Stages:
        own = self.params.chain
        smooth = chain.smooth(raw, own)
        instant = chain.squash(chain.robust_z(smooth, floor, own), own, crowded)
        score = chain.publish(instant, own, self.params.tiers.n)
        return _Stages(Stage(raw), Stage(smooth), Stage(instant), Stage(score))

    def _reach(self) -> int:
        return chain.reach(self.params.chain, self.params.tiers.n)

    def _raw(
        self,
        hours: BarsView,
        end: int,
        factor: Factor,
        series: dict[str, Floats] | None,
        count: int,
        rows: Ints | None,
        logs: Logs | None,
    ) -> Floats:
        number = hours.data.shape[1] if rows is None else len(rows)
        if series is None:
            return np.full((number, count), np.nan)
        panel = panel_of(hours, count, factor.lookback, end, rows, logs)
        assert self._origin is not None
        panel.origin = self._origin if rows is None else self._origin.rows(rows)
        panel.closed_ms = int(hours.open_ms[end - 1]) + HOUR_MS
        panel.beside = {
            name: (values if rows is None else values[rows])[:, -panel.bars :]
            for name, values in series.items()
        }
        self.columns_computed += count * number
        return factor.compute(panel, self.params)

    def _split(self, factors: tuple[Factor, ...], rows: int) -> Scored:
        kept = self._stages
        assert kept is not None
        out = {}
        for k, factor in enumerate(factors):
            part = slice(k * rows, (k + 1) * rows)
            out[factor.name] = kept.raw.newest(1)[part], kept.score.columns[part]
        return out


def _compare(one: Ints, two: Ints) -> tuple[bool, Ints]:
    """Whether two arrays [field, row, bar] are the same, and each row's first differing bar."""
    width = one.shape[2]
    fast = compiled_kernels()
    if fast is not None:
        first = np.empty(one.shape[1], dtype=np.int64)
        left, right = flat(one), flat(two)
        return bool(fast.first_difference(*left, *right, len(one), width, first)), first
    same = one == two
    if same.all():
        return True, np.full(one.shape[1], width)
    changed = ~same.all(axis=0)
    return False, np.where(changed.any(axis=1), changed.argmax(axis=1), width)


def _items(series: dict[str, dict[str, Floats] | None]) -> list[tuple[tuple[str, str], Floats]]:
    return [((f, n), v) for f, own in series.items() if own is not None for n, v in own.items()]


def _signature(series: dict[str, dict[str, Floats] | None]) -> tuple[str, ...]:
    return tuple(
        f"{name}:{'-' if own is None else ','.join(sorted(own))}" for name, own in series.items()
    )


def _floors(factors: tuple[Factor, ...], total: int) -> Floats:
    return np.repeat([factor.floor for factor in factors], total // len(factors))[:, None]


def _crowded(factors: tuple[Factor, ...], total: int) -> Floats:
    return np.repeat([factor.crowded for factor in factors], total // len(factors))[:, None]


def _window(hours: BarsView, end: int, span: int) -> Floats:
    """The compared fields of the newest `span` bars; NaN in front where there are fewer."""
    part = hours.data[:_FIELDS, :, max(end - span, 0) : end]
    if part.shape[2] == span:
        return part
    out = np.full((_FIELDS, part.shape[1], span), np.nan)
    out[:, :, span - part.shape[2] :] = part
    return out
