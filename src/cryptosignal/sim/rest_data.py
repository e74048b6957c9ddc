"""The statistics under /futures/data (BINANCE §2.1): open interest, crowd and taker ratios, basis."""

from __future__ import annotations

from typing import Any

from cryptosignal.ground.units import INTERVAL_MS
from cryptosignal.sim.exchange import Exchange
from cryptosignal.sim.orders import Refusal
from cryptosignal.sim.params import Params
from cryptosignal.sim.rest_market import HISTORY_MS, MarketReplies

Json = Any
PERIODS = ("5m", "15m", "30m", "1h", "2h", "4h", "6h", "12h", "1d")
CROWD_KINDS = {
    "topLongShortAccountRatio": 0,
    "topLongShortPositionRatio": 1,
    "globalLongShortAccountRatio": 2,
}


class DataReplies:
    """Answers of the statistics endpoints; rows are functions of the same paths and candles."""

    def __init__(self, exchange: Exchange, market: MarketReplies) -> None:
        self._x = exchange
        self._market = market

    def _period_times(self, params: Params, index: int) -> list[int]:
        period = params.text("period")
        if period not in PERIODS:
            raise Refusal(-1130, "Data sent for parameter 'period' is not valid.")
        limit = params.number("limit", 30)
        if not 1 <= limit <= 500:
            raise Refusal(-1130, "Data sent for parameter 'limit' is not valid.")
        step, now = INTERVAL_MS[period], self._x.now_ms
        last = min(params.number("endTime", now), now) // step * step
        first = last - (limit - 1) * step
        if params.has("startTime"):
            first = -(-params.number("startTime") // step) * step
            last = min(last, first + (limit - 1) * step)
        first = max(first, now - HISTORY_MS, self._x.listed[index].onboard_ms)
        first = -(-first // step) * step
        return list(range(first, last + 1, step))

    def open_interest_hist(self, params: Params) -> Json:
        """GET /futures/data/openInterestHist."""
        index = self._market.index(params)
        times = self._period_times(params, index)
        closes = self._market.closes(index, params.text("period"), times)
        out = []
        for at, close in zip(times, closes, strict=True):
            held = self._x.facts.open_interest(index, at)
            out.append(
                {
                    "symbol": self._x.listed[index].symbol,
                    "sumOpenInterest": f"{held:.8f}",
                    "sumOpenInterestValue": f"{held * close:.8f}",
                    "CMCCirculatingSupply": "20090315.00000000",
                    "timestamp": at,
                }
            )
        return out

    def crowd_ratio(self, params: Params, kind: str) -> Json:
        """The three long/short ratios under /futures/data."""
        index = self._market.index(params)
        out = []
        for at in self._period_times(params, index):
            longs = self._x.facts.crowd_long_frac(index, at, CROWD_KINDS[kind])
            out.append(
                {
                    "symbol": self._x.listed[index].symbol,
                    "longShortRatio": f"{longs / (1 - longs):.4f}",
                    "longAccount": f"{longs:.4f}",
                    "shortAccount": f"{1 - longs:.4f}",
                    "timestamp": at,
                }
            )
        return out

    def taker_ratio(self, params: Params) -> Json:
        """GET /futures/data/takerlongshortRatio: from the same candles."""
        index = self._market.index(params)
        times = self._period_times(params, index)
        if not times:
            return []
        bars = self._x.klines.rows(
            index, params.text("period"), times[0], times[-1], self._x.now_ms
        ).bars
        scale = 10.0 ** -self._x.listed[index].qty_digits
        out = []
        for i in range(len(bars)):
            buy, sell = float(bars.buy[i]) * scale, float(bars.sell[i]) * scale
            out.append(
                {
                    "buySellRatio": f"{buy / max(sell, 1e-9):.4f}",
                    "buyVol": f"{buy:.4f}",
                    "sellVol": f"{sell:.4f}",
                    "timestamp": int(bars.open_ms[i]),
                }
            )
        return out

    def delivery_prices(self, params: Params) -> Json:
        """GET /futures/data/delivery-price: no quarterly contract is listed."""
        self._market.index(params, "pair")
        return []

    def basis(self, params: Params) -> Json:
        """GET /futures/data/basis."""
        index = self._market.index(params, "pair")
        kind = params.text("contractType")
        times = self._period_times(params, index)
        out = []
        for at, price in zip(
            times, self._market.closes(index, params.text("period"), times), strict=True
        ):
            premium = self._x.facts.premium(index, at)
            fair = price / (1 + premium)
            out.append(
                {
                    "indexPrice": f"{fair:.8f}",
                    "contractType": kind,
                    "basisRate": f"{premium:.4f}",
                    "futuresPrice": f"{price:.8f}",
                    "annualizedBasisRate": "",
                    "basis": f"{price - fair:.8f}",
                    "pair": self._x.listed[index].symbol,
                    "timestamp": at,
                }
            )
        return out
