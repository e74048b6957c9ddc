"""The spot part that a scan reads: `/api/v3`, priced off the contracts' own paths."""

from __future__ import annotations

from typing import Any

from cryptosignal.sim.exchange import Exchange
from cryptosignal.sim.facts import spot_base
from cryptosignal.sim.klines import next_open
from cryptosignal.sim.orders import Refusal
from cryptosignal.sim.params import Params, missing
from cryptosignal.sim.rest_market import MarketReplies

Json = Any


class SpotReplies:
    """The spot endpoints of a scan, priced off the same paths (index price)."""

    def __init__(self, exchange: Exchange, market: MarketReplies) -> None:
        self._x = exchange
        self._market = market
        self._rows: dict[str, tuple[int, float]] = {}
        for row in exchange.listed:
            if row.has_spot:
                base, scale = spot_base(row)
                self._rows[f"{base}USDT"] = (row.index, scale)

    def _find(self, params: Params) -> tuple[int, float]:
        found = self._rows.get(params.text("symbol"))
        if found is None:
            raise Refusal(-1121, "Invalid symbol.")
        return found

    def exchange_info(self, _params: Params) -> Json:
        """GET /api/v3/exchangeInfo."""
        s = self._x.settings
        limits = [
            {
                "rateLimitType": "REQUEST_WEIGHT",
                "interval": "MINUTE",
                "intervalNum": 1,
                "limit": s.spot_weight_limit_1m,
            }
        ]
        symbols = [
            {
                "symbol": name,
                "status": "TRADING",
                "baseAsset": name[:-4],
                "baseAssetPrecision": 8,
                "quoteAsset": "USDT",
                "quotePrecision": 8,
                "quoteAssetPrecision": 8,
                "orderTypes": ["LIMIT", "MARKET"],
                "isSpotTradingAllowed": True,
                "isMarginTradingAllowed": False,
                "filters": [
                    {
                        "filterType": "PRICE_FILTER",
                        "minPrice": "0.00000001",
                        "maxPrice": "1000000.00000000",
                        "tickSize": "0.00000001",
                    },
                    {
                        "filterType": "LOT_SIZE",
                        "minQty": "0.00001000",
                        "maxQty": "9000000.00000000",
                        "stepSize": "0.00001000",
                    },
                    {
                        "filterType": "NOTIONAL",
                        "minNotional": "5.00000000",
                        "applyMinToMarket": True,
                        "maxNotional": "9000000.00000000",
                        "applyMaxToMarket": False,
                        "avgPriceMins": 5,
                    },
                ],
                "permissions": [],
                "permissionSets": [["SPOT"]],
            }
            for name in self._rows
        ]
        return {
            "timezone": "UTC",
            "serverTime": self._x.now_ms,
            "rateLimits": limits,
            "exchangeFilters": [],
            "symbols": symbols,
        }

    def status(self, _params: Params) -> Json:
        """GET /sapi/v1/system/status."""
        return {"status": 0, "msg": "normal"}

    def klines(self, params: Params) -> Json:
        """GET /api/v3/klines: index prices, six tenths of the volume."""
        index, _scale = self._find(params)
        if params.number("limit", 500) > 1_000:
            params = Params({**params.values, "limit": "1000"})
        interval, candles = self._market.candles(index, params)
        bars = candles.bars
        out = []
        for i in range(len(bars)):
            opened = int(bars.open_ms[i])
            fair = self._x.facts.spot_scale(index, opened)
            prices = [
                f"{float(a[i]) * fair.price:.8f}"
                for a in (bars.open, bars.high, bars.low, bars.close)
            ]
            volume = float(bars.buy[i] + bars.sell[i]) * fair.base
            out.append(
                [
                    opened,
                    *prices,
                    f"{volume:.8f}",
                    next_open(opened, interval) - 1,
                    f"{float(bars.quote[i]) * fair.quote:.8f}",
                    int(bars.trades[i] * 6 // 10),
                    f"{float(bars.buy[i]) * fair.base:.8f}",
                    f"{float(candles.buy_quote[i]) * fair.quote:.8f}",
                    "0",
                ]
            )
        return out

    def price(self, params: Params) -> Json:
        """GET /api/v3/ticker/price."""

        def one(name: str) -> Json:
            index, _scale = self._rows[name]
            now, flow = self._x.now_ms, self._x.flows[index]
            flow.skip_to(now)
            fair = self._x.facts.spot_scale(index, now).price
            return {"symbol": name, "price": f"{flow.last_price * fair:.8f}"}

        if params.has("symbol"):
            self._find(params)
            return one(params.text("symbol"))
        return [one(name) for name in self._rows]

    def depth(self, params: Params) -> Json:
        """GET /api/v3/depth."""
        index, scale = self._find(params)
        limit = params.number("limit", 100)
        if not 1 <= limit <= 5_000:
            raise missing("limit")
        now, row, book = self._x.now_ms, self._x.listed[index], self._x.books[index]
        fair = 10.0**-row.price_digits / scale / (1.0 + self._x.facts.premium(index, now))
        unit = 10.0**-row.qty_digits * scale * 0.6
        n = min(limit, self._x.settings.book_levels)
        sides = [book.side(now, is_bid=is_bid, count=n) for is_bid in (True, False)]
        texts = [[[f"{p * fair:.8f}", f"{q * unit:.8f}"] for p, q in side] for side in sides]
        return {"lastUpdateId": book.update_id(now), "bids": texts[0], "asks": texts[1]}
