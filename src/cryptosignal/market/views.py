"""What a scan may see of the market: read-only arrays over symbols at one decision time (D3).

All symbols of an interval share one time axis, because every kline opens on the same UTC grid; a
bar that is not there is NaN, never a guess. Views are built without copying; nobody above this
floor writes to them. No row in a view is later than `time_ms`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

OPEN, HIGH, LOW, CLOSE, VOLUME, QUOTE, TRADES, TAKER_BASE, TAKER_QUOTE = range(9)
FIELDS: Final = 9
"""Field order of `BarsView.data`; volumes in base units, QUOTE and TAKER_QUOTE in USDT."""

MISSING, PROVISIONAL, CLOSED_BY_TIME, CONFIRMED = range(4)
"""Finality codes of `BarsView.finality` (D7)."""


@dataclass(frozen=True, slots=True)
class BarsView:
    """Closed bars of one interval: `data[field, symbol, bar]`, field-major.

    `open_ms[bar]` ascends in steps of the interval; the last column is the newest bar that is due
    (its close time has passed) at the decision time. Rows of symbols without that bar end in NaN.
    """

    interval: str
    open_ms: Ints
    data: Floats
    finality: NDArray[np.int8]
    source: NDArray[np.int8]
    lag_ms: Floats

    @property
    def open(self) -> Floats:
        """Open prices [symbol, bar]."""
        return self.data[OPEN]

    @property
    def high(self) -> Floats:
        """High prices [symbol, bar]."""
        return self.data[HIGH]

    @property
    def low(self) -> Floats:
        """Low prices [symbol, bar]."""
        return self.data[LOW]

    @property
    def close(self) -> Floats:
        """Close prices [symbol, bar]."""
        return self.data[CLOSE]

    @property
    def volume(self) -> Floats:
        """Base volume [symbol, bar]."""
        return self.data[VOLUME]

    @property
    def quote(self) -> Floats:
        """Quote volume, USDT [symbol, bar]."""
        return self.data[QUOTE]

    @property
    def trades(self) -> Floats:
        """Trade counts [symbol, bar]."""
        return self.data[TRADES]

    @property
    def taker_buy(self) -> Floats:
        """Base volume bought by takers [symbol, bar]; NaN where the source has none."""
        return self.data[TAKER_BASE]

    @property
    def taker_buy_quote(self) -> Floats:
        """Quote volume bought by takers, USDT [symbol, bar]."""
        return self.data[TAKER_QUOTE]


@dataclass(frozen=True, slots=True)
class SeriesView:
    """A series on its own shared UTC grid (`time_ms[point]`, ascending): `value[symbol, point]`."""

    time_ms: Ints
    value: Floats


@dataclass(frozen=True, slots=True)
class BookView:
    """Top of the book: prices and base quantities [symbol, level], best first, NaN padded.

    `age_ms[symbol]` is decision time minus the book's event time, NaN where there is no book.
    """

    bid_price: Floats
    bid_qty: Floats
    ask_price: Floats
    ask_qty: Floats
    age_ms: Floats


@dataclass(frozen=True, slots=True)
class FlowView:
    """Taker flow over the last 60 s of exchange time, USDT [symbol]; `large_*` counts only trades
    at or above the symbol's own large-trade threshold (p95 of notional). NaN: no tape."""

    buy_usdt: Floats
    sell_usdt: Floats
    large_buy_usdt: Floats
    large_sell_usdt: Floats
    trades: Floats


@dataclass(frozen=True, slots=True)
class MarketView:
    """The whole market at one decision time. Vectors are [symbol]; NaN means no data.

    `active` marks slots that are in the universe now. `quality` is DataQual 0–1, NaN without
    events (then nothing may be Prime). `btc` and `eth` are slot numbers, -1 if absent.
    `funding_history` holds settled rates, `open_interest` contracts and `open_interest_usdt` their
    value, hourly. `liquidation_*_usdt` are forced orders of the last hour by order side.
    `synthetic_flow` names the kinds of flow that are made up, where the simulated venue walks real
    candles: taker_flow, trades, book, open_interest, funding, mark, liquidations, spot. `overlay` is 1
    for members of the Overlay pool, 0 for others, NaN before a pool was made.
    """

    time_ms: int
    symbols: tuple[str, ...]
    active: NDArray[np.bool_]
    btc: int
    eth: int
    bars: Mapping[str, BarsView]
    quality: Floats
    onboard_ms: Floats
    tick_size: Floats
    mark: Floats
    index: Floats
    funding_rate: Floats
    next_funding_ms: Floats
    quote_volume_24h: Floats
    spot_1h: BarsView | None = None
    funding_history: SeriesView | None = None
    open_interest: SeriesView | None = None
    open_interest_usdt: SeriesView | None = None
    book: BookView | None = None
    flow: FlowView | None = None
    liquidation_buy_usdt: Floats | None = None
    liquidation_sell_usdt: Floats | None = None
    quality_reason: Mapping[str, str] = field(default_factory=dict)
    synthetic_flow: tuple[str, ...] = ()
    overlay: Floats | None = None
