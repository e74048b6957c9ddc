"""Keeps what closed bars have already given, so that a scan computes only what changed.

Every raw value and every stage of the chain is a function of a fixed window (D4), so a new bar adds
one column and a repaired bar spoils only the columns after it. What is kept is checked against the
bars themselves at each scan, value by value: a late, repaired or confirmed bar is never missed, and
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
from cryptosignal.factors.panel import Panel, panel_of
from cryptosignal.factors.table import Factor
from cryptosignal.market.views import BarsView

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Beside = Callable[[Factor, int], dict[str, Floats] | None]

SPAN: Final = 300
"""Bars of the 1h axis that a score can depend on (D4)."""
_TAIL: Final = 4


@dataclass(slots=True)
class _Stages:
    """The newest columns of each stage of one factor: as many as the next column will need."""

    raw: Floats
    smooth: Floats
    instant: Floats
    score: Floats
    beside: dict[str, Floats]


@dataclass(slots=True)
class ScoreCache:
    """Scores of the newest `lags` bars by factor. `columns_computed` counts work for the tests."""

    params: ParamSet
    symbols: tuple[str, ...] = ()
    open_ms: int = -1
    bars: Floats = field(default_factory=lambda: np.zeros((0, 0, 0)))
    stages: dict[str, _Stages] = field(default_factory=dict)
    columns_computed: int = 0

    def scores(
        self,
        symbols: tuple[str, ...],
        hours: BarsView,
        end: int,
        factors: tuple[Factor, ...],
        beside: Beside,
    ) -> dict[str, tuple[Floats, Floats]]:
        """(raw of the newest bar, scores of the newest `lags` bars) of each factor.

        `end` is the number of closed bars; `beside(factor, bars)` gives the series next to them, or
        None where an input is missing altogether.
        """
        newest = int(hours.open_ms[end - 1])
        now = _window(hours, end)
        spoiled = self._spoiled(symbols, newest, now)
        out = {}
        for factor in factors:
            series = beside(factor, SPAN)
            if series is None:
                self.stages.pop(factor.name, None)
                nothing = np.full((len(symbols), self.params.tiers.n), np.nan)
                out[factor.name] = nothing[:, :1], nothing
                continue
            stages = self._advance(hours, end, factor, series, spoiled)
            self.stages[factor.name] = stages
            out[factor.name] = stages.raw[:, -1:], stages.score
        self.symbols, self.open_ms, self.bars = symbols, newest, now
        return out

    def _spoiled(self, symbols: tuple[str, ...], newest: int, now: Floats) -> Ints:
        """Of each row, how many of its newest columns differ from what is kept; SPAN: all."""
        everything = np.full(len(symbols), SPAN)
        shift = (newest - self.open_ms) // 3_600_000
        if symbols != self.symbols or self.open_ms < 0 or not 0 <= shift <= _TAIL:
            return everything
        return _differing(self.bars, now, shift)

    def _advance(
        self, hours: BarsView, end: int, factor: Factor, series: dict[str, Floats], spoiled: Ints
    ) -> _Stages:
        kept = self.stages.get(factor.name)
        rows = len(spoiled)
        if kept is None or kept.beside.keys() != series.keys() or (spoiled == SPAN).all():
            return self._whole(hours, end, factor, series, None)
        shift = int((int(hours.open_ms[end - 1]) - self.open_ms) // 3_600_000)
        for name, values in series.items():
            spoiled = np.maximum(spoiled, _differing(kept.beside[name][None], values[None], shift))
        fresh = int(spoiled[spoiled <= _TAIL].max(initial=shift))
        stages = kept
        if fresh:
            stages = self._tail(hours, end, factor, series, kept, fresh, shift)
        deep = np.flatnonzero(spoiled > _TAIL)
        if len(deep) > rows // 4:
            return self._whole(hours, end, factor, series, None)
        if len(deep):
            redone = self._whole(hours, end, factor, series, deep)
            for name in ("raw", "smooth", "instant", "score"):
                getattr(stages, name)[deep] = getattr(redone, name)
        stages.beside = series
        return stages

    def _whole(
        self,
        hours: BarsView,
        end: int,
        factor: Factor,
        series: dict[str, Floats],
        rows: Ints | None,
    ) -> _Stages:
        own, lags = self.params.chain, self.params.tiers.n
        count = chain.reach(own, lags)
        raw = self._raw(hours, end, factor, series, count, rows)
        smooth = chain.smooth(raw, own)
        instant = chain.squash(chain.robust_z(smooth, factor.floor, own), own)
        return _Stages(raw, smooth, instant, chain.publish(instant, own, lags), series)

    def _tail(
        self,
        hours: BarsView,
        end: int,
        factor: Factor,
        series: dict[str, Floats],
        kept: _Stages,
        fresh: int,
        shift: int,
    ) -> _Stages:
        """Recompute the newest `fresh` columns of every stage; the rest moves left by `shift`."""
        own = self.params.chain
        raw = _joined(kept.raw, self._raw(hours, end, factor, series, fresh, None), shift)
        need = fresh + own.smooth_taps - 1
        smooth = _joined(kept.smooth, chain.smooth(raw[:, -need:], own), shift)
        need = fresh + own.scale_taps - 1
        z = chain.robust_z(smooth[:, -need:], factor.floor, own)
        instant = _joined(kept.instant, chain.squash(z, own), shift)
        score = chain.publish(instant, own, self.params.tiers.n)
        return _Stages(raw, smooth, instant, score, series)

    def _raw(
        self,
        hours: BarsView,
        end: int,
        factor: Factor,
        series: dict[str, Floats],
        count: int,
        rows: Ints | None,
    ) -> Floats:
        panel: Panel = panel_of(hours, count, factor.lookback, end, rows)
        panel.beside = {
            name: (values if rows is None else values[rows])[:, -panel.bars :]
            for name, values in series.items()
        }
        self.columns_computed += count * len(panel.volume)
        return factor.compute(panel, self.params)


def _window(hours: BarsView, end: int) -> Floats:
    """The newest SPAN bars, a copy; NaN in front where there are fewer."""
    part = hours.data[:, :, max(end - SPAN, 0) : end]
    if part.shape[2] == SPAN:
        return part.copy()
    out = np.full((*part.shape[:2], SPAN), np.nan)
    out[:, :, SPAN - part.shape[2] :] = part
    return out


def _differing(before: Floats, now: Floats, shift: int) -> Ints:
    """Per row: newest columns from the first that differs on, the `shift` new ones included.

    Compared bit by bit, so that NaN equals NaN. [field, row, bar]
    """
    width = now.shape[2]
    old = before[:, :, shift:].view(np.int64)
    new = now[:, :, : width - shift].view(np.int64)
    same = old == new
    if same.all():
        return np.full(now.shape[1], shift)
    changed = ~same.all(axis=0)
    first = np.where(changed.any(axis=1), changed.argmax(axis=1), width - shift)
    return width - first


def _joined(kept: Floats, fresh: Floats, shift: int) -> Floats:
    """`kept` moved left by `shift` with its newest columns replaced by `fresh`; same width."""
    width, count = kept.shape[1], fresh.shape[1]
    out = np.empty_like(kept)
    out[:, : width - count] = kept[:, shift : shift + width - count]
    out[:, width - count :] = fresh
    return out
