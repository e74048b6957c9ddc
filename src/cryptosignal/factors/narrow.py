"""A market view cut down to a few slots, for the refresh of one symbol."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from cryptosignal.market.views import BarsView, BookView, FlowView, MarketView, SeriesView

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def narrow(view: MarketView, places: Ints) -> MarketView:
    """The view of the slots `places` alone, in that order; arrays are copies."""
    slots = places.tolist()

    def pick(x: Floats | None) -> Floats | None:
        return None if x is None else x[places]

    return dataclasses.replace(
        view,
        symbols=tuple(view.symbols[i] for i in slots),
        active=view.active[places],
        btc=slots.index(view.btc) if view.btc in slots else -1,
        eth=slots.index(view.eth) if view.eth in slots else -1,
        bars={name: _bars(bars, places) for name, bars in view.bars.items()},
        quality=view.quality[places],
        onboard_ms=view.onboard_ms[places],
        tick_size=view.tick_size[places],
        mark=view.mark[places],
        index=view.index[places],
        funding_rate=view.funding_rate[places],
        next_funding_ms=view.next_funding_ms[places],
        quote_volume_24h=view.quote_volume_24h[places],
        spot_1h=None if view.spot_1h is None else _bars(view.spot_1h, places),
        funding_history=_series(view.funding_history, places),
        open_interest=_series(view.open_interest, places),
        open_interest_usdt=_series(view.open_interest_usdt, places),
        book=_book(view.book, places),
        flow=_flow(view.flow, places),
        liquidation_buy_usdt=pick(view.liquidation_buy_usdt),
        liquidation_sell_usdt=pick(view.liquidation_sell_usdt),
        overlay=pick(view.overlay),
    )


def _bars(bars: BarsView, places: Ints) -> BarsView:
    return BarsView(
        bars.interval,
        bars.open_ms,
        bars.data[:, places],
        bars.finality[places],
        bars.source[places],
        bars.lag_ms[places],
    )


def _series(series: SeriesView | None, places: Ints) -> SeriesView | None:
    return None if series is None else SeriesView(series.time_ms, series.value[places])


def _book(book: BookView | None, places: Ints) -> BookView | None:
    if book is None:
        return None
    return BookView(
        book.bid_price[places],
        book.bid_qty[places],
        book.ask_price[places],
        book.ask_qty[places],
        book.age_ms[places],
    )


def _flow(flow: FlowView | None, places: Ints) -> FlowView | None:
    if flow is None:
        return None
    return FlowView(
        flow.buy_usdt[places],
        flow.sell_usdt[places],
        flow.large_buy_usdt[places],
        flow.large_sell_usdt[places],
        flow.trades[places],
    )
