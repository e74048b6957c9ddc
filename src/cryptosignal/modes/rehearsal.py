"""Compile the kernels before they are needed: `python -m cryptosignal.modes.rehearsal`.

The last step of `make setup`: about 15 s of CPU time that the first start would spend beside its
scans. Compiled code is kept on the disk for each combination of argument types, so the rehearsal
reads a board, as a run does, and not arrays of its own. Until it is there numpy answers.
"""

from __future__ import annotations

import dataclasses
import sys
from decimal import Decimal
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cryptosignal.domain.instrument import Filters, Instrument
from cryptosignal.domain.market import BarSource, MarkPrice
from cryptosignal.domain.params import ParamSet
from cryptosignal.factors import kernels
from cryptosignal.factors.catalogue import FactorEngine
from cryptosignal.ground.units import DAY_MS, HOUR_MS, INTERVAL_MS
from cryptosignal.market.board import Board
from cryptosignal.market.views import MarketView

Floats = NDArray[np.float64]

_NOW_MS: Final = 20_000 * DAY_MS
_YOUNG: Final = "NEWUSDT"
_SYMBOLS: Final = ("BTCUSDT", "ETHUSDT", "AAAUSDT", _YOUNG)
_YOUNG_MS: Final = 60 * HOUR_MS
_BARS: Final = {"1m": 400, "5m": 400, "15m": 400, "1h": 400, "4h": 120, "1d": 80}


def scans(view: MarketView, engine: FactorEngine) -> None:
    """What a run computes: a scan of the hour before, one of this hour, a symbol by itself."""
    for hours in (1, 0):
        moment = dataclasses.replace(view, time_ms=view.time_ms - hours * HOUR_MS)
        engine.compute(moment, 0, "manual")
    for slot in range(len(view.symbols)):
        if view.active[slot] and engine.glance(view, slot) is not None:
            return


def made_up_board() -> Board:
    """A small market of waves, with all that a board can hold of one."""
    board = Board(capacity=len(_SYMBOLS))
    board.set_universe([_contract(symbol) for symbol in _SYMBOLS])
    for number, symbol in enumerate(_SYMBOLS):
        for interval, count in _BARS.items():
            bars = waves(number, INTERVAL_MS[interval], count)
            board.load_history(symbol, interval, bars, _NOW_MS, BarSource.REST)
        hourly = _NOW_MS - HOUR_MS * np.arange(400, -1, -1)
        interest = 1e6 * np.exp(0.05 * np.sin(hourly / (9 + number) / HOUR_MS))
        points = zip(hourly.tolist(), interest.tolist(), (100.0 * interest).tolist(), strict=True)
        board.load_open_interest(symbol, points)
        settled = range(_NOW_MS - 40 * DAY_MS, _NOW_MS, 8 * HOUR_MS)
        board.load_funding(symbol, [(at, 1e-4) for at in settled])
        mark = MarkPrice(symbol, _NOW_MS, 100.0, 100.0, 1e-4, _NOW_MS + HOUR_MS)
        board.load_marks([mark])
        board.load_ticker(symbol, 100.0, 1e8, _NOW_MS)
        levels = [(100.0 + 0.01 * k, 50.0) for k in range(1, 21)]
        board.load_book(symbol, 1, [(200.0 - p, q) for p, q in levels], levels, _NOW_MS)
    return board


def _contract(symbol: str) -> Instrument:
    tick, one, most = Decimal("0.01"), Decimal(1), Decimal(1_000_000)
    filters = Filters(tick, tick, most, one, one, most, one, one, most, Decimal(5))
    onboard_ms = _NOW_MS - (_YOUNG_MS if symbol == _YOUNG else 1_000 * DAY_MS)
    return Instrument(
        symbol, symbol[:3], "USDT", "TRADING", "PERPETUAL", "COIN", onboard_ms, 0, filters
    )


def waves(number: int, step_ms: int, count: int, end_ms: int = _NOW_MS) -> Floats:
    """Rows of `count` bars up to `end_ms` as REST gives them (`Board.load_history`); `number` makes
    one symbol's unlike another's."""
    opens = end_ms - step_ms * np.arange(count, 0, -1).astype(np.float64)
    place = np.arange(count + 1)
    price = 100.0 * np.exp(0.02 * np.sin(place / (5.0 + number)) + 0.01 * np.sin(1.7 * place))
    first, last = price[:-1], price[1:]
    volume = 1e4 * (2.0 + np.sin(place[1:] / 3.0))
    bought = volume * (0.5 + 0.1 * np.sin(place[1:] / 7.0))
    fields = [
        opens,
        first,
        np.maximum(first, last) * 1.001,
        np.minimum(first, last) * 0.999,
        last,
        volume,
        opens + step_ms - 1,
        volume * last,
        np.full(count, 100.0),
        bought,
        bought * last,
    ]
    return np.stack(fields, axis=1)


def rehearse() -> bool:
    """Compile every kernel of a run into the cache; False where numba is not installed."""
    board = made_up_board()
    engine = FactorEngine(ParamSet())
    return kernels.rehearse(lambda: scans(board.view(_NOW_MS), engine))


def main() -> int:
    """Rehearse; what goes wrong is one line, for numpy answers as well."""
    try:
        is_done = rehearse()
    except Exception as error:  # broad-ok: a set-up does not fail for what is only faster
        text = str(error).splitlines()[0] if str(error) else ""
        sys.stderr.write(f"kernels: not compiled, numpy answers ({type(error).__name__}: {text})\n")
        return 0
    if not is_done:
        sys.stderr.write("kernels: numba is not installed, numpy answers\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
