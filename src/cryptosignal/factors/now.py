"""Columns from the market as it is now: L, B, Q, execution, funding, DataQual, and the receipt.

These need live data. Where a view has none they are NaN, and the gates that need them fail closed.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from cryptosignal.domain.params import ParamSet
from cryptosignal.factors import book, flow, positioning
from cryptosignal.ground.units import INTERVAL_MS
from cryptosignal.market.views import MarketView

Floats = NDArray[np.float64]

_FACTS = (
    "quality",
    "basis_bps",
    "mark",
    "funding_rate",
    "next_funding_ms",
    "spread_bps",
    "impact_buy_bps",
    "impact_sell_bps",
    "obi",
    "bid_depth_usdt",
    "ask_depth_usdt",
    "book_age_ms",
    "quote_24h",
)
_EIGHT_HOURS_MS = 28_800_000.0
_FACTORS = ("L", "B", "Q")


def facts(view: MarketView, params: ParamSet) -> dict[str, Floats]:
    """What a view knows of this moment, each [symbol, 1]."""
    with np.errstate(invalid="ignore", divide="ignore"):
        basis = 1e4 * np.log(view.mark / view.index)
    out = {
        "quality": view.quality,
        "basis_bps": np.where(np.isfinite(basis), basis, np.nan),
        "mark": view.mark,
        "funding_rate": view.funding_rate,
        "next_funding_ms": view.next_funding_ms,
        "quote_24h": view.quote_volume_24h,
    }
    if view.overlay is not None:
        out["is_overlay"] = view.overlay
    if view.book is not None:
        found = book.read_book(view.book, _reference(view), params.gates.impact_notional_usdt)
        out |= {
            "spread_bps": found.spread_bps,
            "impact_buy_bps": found.impact_buy_bps,
            "impact_sell_bps": found.impact_sell_bps,
            "obi": found.obi,
            "bid_depth_usdt": found.bid_depth_usdt,
            "ask_depth_usdt": found.ask_depth_usdt,
            "book_age_ms": found.age_ms,
            "L": book.liquidity(found),
        }
    if view.flow is not None:
        out["Q"] = _large(view)
        out["taker_buy_usdt"], out["taker_sell_usdt"] = view.flow.buy_usdt, view.flow.sell_usdt
    return {name: np.asarray(value, dtype=np.float64)[:, None] for name, value in out.items()}


def columns(
    view: MarketView,
    known: Mapping[str, Floats],
    params: ParamSet,
    shape: tuple[int, int],
    out: dict[str, Floats],
) -> None:
    """Add `score.L/B/Q` and the live `ctx.*` columns, NaN where nothing is known."""
    for name in (*_FACTS, "taker_buy_usdt", "taker_sell_usdt"):
        out[f"ctx.{name}"] = _column(known, name, shape)
    basis, funding = out["ctx.basis_bps"], out["ctx.funding_rate"]
    risk = params.risk
    fwi = positioning.funding_pressure(
        funding,
        until_funding(out["ctx.time_ms"], out["ctx.next_funding_ms"]),
        float(risk.fwi_window_ms),
        risk.fwi_rate_frac,
    )
    out["ctx.fwi"] = fwi
    values = {
        "L": _column(known, "L", shape),
        "Q": _column(known, "Q", shape),
        "B": positioning.boosted(
            positioning.basis_funding(basis, funding), fwi, risk.fwi_limit, risk.fwi_boost
        ),
    }
    for name in _FACTORS:
        out[f"raw.{name}"] = values[name]
        out[f"score.{name}"] = values[name].copy()
    atr_percent = np.maximum(100.0 * out["ctx.atr_1h"], 0.1)
    scale = params.gates.impact_notional_usdt * atr_percent
    out["ctx.room_book_up"] = out["ctx.ask_depth_usdt"] / scale
    out["ctx.room_book_down"] = out["ctx.bid_depth_usdt"] / scale


def membership(known: Mapping[str, Floats], shape: tuple[int, int], out: dict[str, Floats]) -> None:
    """Add `ctx.is_overlay`: 1 in the Overlay pool, 0 out of it, NaN where no pool was made."""
    out["ctx.is_overlay"] = _column(known, "is_overlay", shape)


def until_funding(moment_ms: Floats | float, next_ms: Floats | float) -> Floats:
    """Milliseconds to the next settlement; 00/08/16 UTC where the venue did not say (§1.5.5)."""
    ahead = np.asarray(next_ms - moment_ms)
    return np.where(np.isnan(ahead), _EIGHT_HOURS_MS - moment_ms % _EIGHT_HOURS_MS, ahead)


def receipt(view: MarketView, params: ParamSet) -> dict[str, str]:
    """Which live inputs exist at all, so that a gate can say "no book yet" or "no book here"."""
    return {
        "book": "absent" if view.book is None else "live",
        "flow": "absent" if view.flow is None else "live",
        "synthetic_flow": ",".join(view.synthetic_flow),
        "intervals": intervals_of(view),
        "params": params.version,
        **{
            f"bar.{name}": str(int(bars.open_ms[-1]))
            for name, bars in view.bars.items()
            if len(bars.open_ms)
        },
        **{f"quality.{symbol}": reason for symbol, reason in view.quality_reason.items()},
    }


def intervals_of(view: MarketView) -> str:
    """The intervals that there are bars of, for a receipt."""
    return ",".join(name for name, bars in view.bars.items() if len(bars.open_ms))


def _column(known: Mapping[str, Floats], name: str, shape: tuple[int, int]) -> Floats:
    value = known.get(name)
    return np.full(shape, np.nan) if value is None else np.array(np.broadcast_to(value, shape))


def _reference(view: MarketView) -> Floats:
    """VWAP of the last day's 1h bars, else the newest close, else the mark: what turns base
    quantities into USDT (it stays as it is under the mirror, where the last price does not)."""
    hours = view.bars.get("1h")
    if hours is None or not len(hours.open_ms):
        return view.mark
    closes = hours.open_ms + INTERVAL_MS["1h"]
    end = int(np.searchsorted(closes, view.time_ms, side="right"))
    if end == 0:
        return view.mark
    day = slice(max(end - 24, 0), end)
    base = np.nansum(hours.volume[:, day], axis=1)
    quote = np.nansum(hours.quote[:, day], axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        vwap = np.where((base > 0.0) & (quote > 0.0), quote / base, np.nan)
    newest = hours.close[:, end - 1]
    return np.where(np.isnan(vwap), np.where(np.isnan(newest), view.mark, newest), vwap)


def _large(view: MarketView) -> Floats:
    tape = view.flow
    assert tape is not None
    nothing = np.full(len(view.symbols), np.nan)
    forced_buy = nothing if view.liquidation_buy_usdt is None else view.liquidation_buy_usdt
    forced_sell = nothing if view.liquidation_sell_usdt is None else view.liquidation_sell_usdt
    return flow.large_trades(
        tape.large_buy_usdt,
        tape.large_sell_usdt,
        tape.buy_usdt,
        tape.sell_usdt,
        forced_buy,
        forced_sell,
    )
