"""Many moments as one scan: columns [symbol, time] laid flat, so that one pass decides them all."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cryptosignal.domain.scan import ScanRows
from cryptosignal.factors.now import intervals_of
from cryptosignal.market.views import MarketView

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def flatten(
    view: MarketView, times: Ints, columns: dict[str, Floats]
) -> tuple[ScanRows, list[tuple[Ints, int]]]:
    """Columns [symbol, time] as rows of one flat scan, moment by moment, bars that exist only."""
    known = ~np.isnan(columns["ctx.close"]).T
    at_time, at_symbol = np.nonzero(known)
    flat = {name: np.ascontiguousarray(value.T[known]) for name, value in columns.items()}
    symbols = tuple(np.array(view.symbols, dtype=object)[at_symbol].tolist())
    edges = np.searchsorted(at_time, np.arange(len(times) + 1))
    moments = [
        (np.arange(edges[k], edges[k + 1]), int(times[k]))
        for k in range(len(times))
        if edges[k + 1] > edges[k]
    ]
    meta = {"book": "absent", "flow": "absent", "params": "", "intervals": intervals_of(view)}
    return ScanRows(0, int(times[-1]), "history", symbols, flat, meta=meta), moments
