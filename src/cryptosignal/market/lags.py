"""How long events of each stream take from the venue to the cache: quantiles of the last minutes.

Looked at now and then, each stream that spoke gives the lag of its newest frame; what a frame costs on
its way in is not touched. A local clock that stands behind the venue's makes every lag smaller, down to
below zero: what the quickest frames show of that is added to all, and told beside the figures. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from cryptosignal.market.inbox import Stream

SPAN_MS: Final = 600_000
"""Figures cover the running ten minutes and the ten before."""
_EDGES: Final = np.array([0, *np.unique(np.rint(1.25 ** np.arange(50))), 1 << 40]).astype(np.int64)
"""Upper ends of the bins, ms; a quantile is told as the upper end of its bin."""


class Lag(msgspec.Struct, frozen=True):
    """Event to cache, ms: half and 99 % of the looks were no later; of `looks` looks."""

    p50_ms: int
    p99_ms: int
    max_ms: int
    looks: int


class LagBook:
    """Lags of streams by name and by kind."""

    def __init__(self) -> None:
        self._place: dict[str, int] = {}
        self._kind: list[str] = []
        self._seen: list[int] = []
        self._bins = np.zeros((2, 0, len(_EDGES)), np.int32)
        self._max = np.zeros((2, 0), np.int64)
        self._span = 0

    def look(self, streams: Iterable[Stream], now_ms: int, clock_behind_ms: int = 0) -> None:
        """Take the newest lag of every stream that spoke since the last look. The clock is behind the
        venue's by `clock_behind_ms` (0 if it is not known to be)."""
        self._turn(now_ms // SPAN_MS)
        places: list[int] = []
        lags: list[int] = []
        for stream in streams:
            place = self._place.get(stream.name)
            if place is None:
                place = self._add(stream)
            if stream.count != self._seen[place]:
                self._seen[place] = stream.count
                places.append(place)
                lags.append(stream.lag_ms)
        if not places:
            return
        if len(self._kind) > self._max.shape[1]:
            self._grow(len(self._kind))
        late = np.maximum(np.array(lags, np.int64) + clock_behind_ms, 0)
        at = np.array(places)
        self._bins[0, at, np.searchsorted(_EDGES, late)] += 1
        self._max[0, at] = np.maximum(self._max[0, at], late)

    def forget(self) -> None:
        """The local clock was stepped: what was noted by the old one is void."""
        self._bins[:] = 0
        self._max[:] = 0

    def by_stream(self) -> dict[str, Lag]:
        """Every stream that was looked at in the span."""
        bins, most = self._bins.sum(0), self._max.max(0, initial=0)
        known = np.flatnonzero(bins.sum(1))
        names = list(self._place)
        return {names[place]: _lag(bins[place], int(most[place])) for place in known.tolist()}

    def by_kind(self) -> dict[str, Lag]:
        """All streams of a kind together."""
        bins, most = self._bins.sum(0), self._max.max(0, initial=0)
        kinds = np.array([*self._kind, *[""] * len(bins)][: len(bins)])
        found: dict[str, Lag] = {}
        for kind in dict.fromkeys(self._kind):
            mine = kinds == kind
            total = bins[mine].sum(0)
            if total.any():
                found[kind] = _lag(total, int(most[mine].max()))
        return found

    def _add(self, stream: Stream) -> int:
        self._kind.append(str(stream.kind))
        self._seen.append(0)
        place = self._place[stream.name] = len(self._kind) - 1
        return place

    def _grow(self, count: int) -> None:
        more = max(count, 2 * self._max.shape[1]) - self._max.shape[1]
        self._bins = np.concatenate([self._bins, np.zeros((2, more, len(_EDGES)), np.int32)], 1)
        self._max = np.concatenate([self._max, np.zeros((2, more), np.int64)], 1)

    def _turn(self, span: int) -> None:
        """A new span begins: the running one becomes the one before."""
        gone = span - self._span
        if gone <= 0:
            return
        self._span = span
        for kept in (self._bins, self._max):
            kept[1] = kept[0] if gone == 1 else 0
            kept[0] = 0


def _lag(bins: NDArray[np.int32], most: int) -> Lag:
    upto = np.cumsum(bins)
    looks = int(upto[-1])
    half, late = (int(np.searchsorted(upto, share * looks)) for share in (0.5, 0.99))
    return Lag(min(int(_EDGES[half]), most), min(int(_EDGES[late]), most), most, looks)
