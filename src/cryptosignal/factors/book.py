"""What the order book says: L (liquidity quality) and the inputs of the execution gate.

Distances are on log prices and quantities become USDT at the VWAP of the day, so that the mirror of
DOMAIN §0.11 (bids for asks) leaves quality as it is and swaps buying with selling.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cryptosignal.factors.window import filled
from cryptosignal.market.views import BookView

Floats = NDArray[np.float64]

_BAND_BPS = 40.0
_FULL_DEPTH_USDT = 1_000_000.0
_LEVELS = 10


@dataclass(slots=True)
class BookFacts:
    """Per symbol: spread and impact in bps, OBI of 10 levels (−1…1, + = bids), depth in ±40 bps
    per side in USDT, book age. NaN: no book."""

    spread_bps: Floats
    impact_buy_bps: Floats
    impact_sell_bps: Floats
    obi: Floats
    bid_depth_usdt: Floats
    ask_depth_usdt: Floats
    age_ms: Floats


def read_book(book: BookView, reference: Floats, notional_usdt: float) -> BookFacts:
    """Reduce a book view; `reference` is the price that turns base quantities into USDT."""
    with np.errstate(invalid="ignore", divide="ignore"):
        bid, ask = np.log(book.bid_price), np.log(book.ask_price)
    middle = 0.5 * (bid[:, 0] + ask[:, 0])
    bid_off = 1e4 * (middle[:, None] - bid)
    ask_off = 1e4 * (ask - middle[:, None])
    bid_usdt = book.bid_qty * reference[:, None]
    ask_usdt = book.ask_qty * reference[:, None]
    bids = np.nansum(book.bid_qty[:, :_LEVELS], axis=1)
    asks = np.nansum(book.ask_qty[:, :_LEVELS], axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        obi = (bids - asks) / (bids + asks)
    return BookFacts(
        1e4 * (ask[:, 0] - bid[:, 0]),
        impact_bps(ask_off, ask_usdt, notional_usdt),
        impact_bps(bid_off, bid_usdt, notional_usdt),
        np.where(np.isnan(middle), np.nan, obi),
        _depth(bid_off, bid_usdt, middle),
        _depth(ask_off, ask_usdt, middle),
        book.age_ms,
    )


def impact_bps(off_bps: Floats, usdt: Floats, notional_usdt: float) -> Floats:
    """Average distance from mid paid by a taker of `notional_usdt`, walking the levels.

    A book too thin for it costs the distance of its last level, for the rest twice that: a thin
    book must look expensive, not missing. NaN without a first level.
    """
    level = filled(usdt)
    bought = np.minimum(np.cumsum(level, axis=1), notional_usdt)
    taken = np.diff(bought, axis=1, prepend=0.0)
    cost = (taken * filled(off_bps)).sum(axis=1)
    rest = notional_usdt - bought[:, -1]
    last = np.fmax.reduce(off_bps, axis=1)
    return np.where(
        np.isnan(off_bps[:, 0]), np.nan, (cost + rest * 2.0 * filled(last)) / notional_usdt
    )


def liquidity(facts: BookFacts) -> Floats:
    """L 0–100: spread within 25 bps .25, impact of the probe within 10 bps .40, |OBI| within .30
    .20, coverage of 1 M USDT in ±40 bps .15 (§1.3 L, v2.5). A quality: `decide` gives it the sign
    of the other eight (§0.20).
    """
    spread = np.clip(1.0 - (facts.spread_bps - 2.0) / 23.0, 0.0, 1.0)
    worst = np.maximum(facts.impact_buy_bps, facts.impact_sell_bps)
    impact = np.clip(1.0 - (worst - 1.0) / 9.0, 0.0, 1.0)
    balance = np.clip(1.0 - (np.abs(facts.obi) - 0.30) / 0.40, 0.0, 1.0)
    cover = np.minimum(
        1.0, np.minimum(facts.bid_depth_usdt, facts.ask_depth_usdt) / _FULL_DEPTH_USDT
    )
    return 100.0 * (0.25 * spread + 0.40 * impact + 0.20 * balance + 0.15 * cover)


def _depth(off_bps: Floats, usdt: Floats, middle: Floats) -> Floats:
    inside = np.where(off_bps <= _BAND_BPS, filled(usdt), 0.0).sum(axis=1)
    return np.where(np.isnan(middle), np.nan, inside)
