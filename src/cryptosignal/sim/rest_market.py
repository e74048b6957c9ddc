"""REST market data (BINANCE §2.1)."""

from __future__ import annotations

from typing import Any

import numpy as np

from cryptosignal.ground.units import DAY_MS, HOUR_MS, INTERVAL_MS, MINUTE_MS
from cryptosignal.sim.composite import basket, index_rows
from cryptosignal.sim.dialect_rest import kline_rows, price_text, qty_text, quote_text, symbol_info
from cryptosignal.sim.exchange import Exchange
from cryptosignal.sim.flow import Trade
from cryptosignal.sim.klines import INTERVALS, Candles, bar_open, next_open
from cryptosignal.sim.orders import Refusal
from cryptosignal.sim.params import Params
from cryptosignal.sim.tickers import DayStats

Json = Any
DEPTH_LIMITS = (5, 10, 20, 50, 100, 500, 1_000)
AGG_SPAN_MS = HOUR_MS
AGG_WINDOW_MS = DAY_MS
HISTORY_MS = 30 * DAY_MS
EXACT_SPAN_MS = 26 * HOUR_MS
"""Mark, index and premium candles of a stretch no longer than this are made second by second."""
Ohlc = tuple[float, float, float, float]


class MarketReplies:
    """Answers of the public endpoints; every method takes Params and returns JSON values or bytes."""

    def __init__(self, exchange: Exchange, synthetic_flow: tuple[str, ...]) -> None:
        self._x = exchange
        self._synthetic = synthetic_flow

    def index(self, params: Params, name: str = "symbol") -> int:
        """The symbol asked for; -1121 when unknown."""
        found = self._x.index_of.get(params.text(name))
        if found is None:
            raise Refusal(-1121, "Invalid symbol.")
        return found

    def _shown(self) -> list[int]:
        return [i for i, row in enumerate(self._x.listed) if self._x.now_ms >= row.onboard_ms]

    def ping(self, _params: Params) -> Json:
        """GET /fapi/v1/ping."""
        return {}

    def time(self, _params: Params) -> Json:
        """GET /fapi/v1/time."""
        return {"serverTime": self._x.now_ms}

    def exchange_info(self, _params: Params) -> Json:
        """GET /fapi/v1/exchangeInfo."""
        s, now = self._x.settings, self._x.now_ms
        limit = [
            ("REQUEST_WEIGHT", "MINUTE", 1, s.weight_limit_1m),
            ("ORDERS", "MINUTE", 1, s.order_limit_1m),
            ("ORDERS", "SECOND", 10, s.order_limit_10s),
        ]
        names = ("rateLimitType", "interval", "intervalNum", "limit")
        out: dict[str, Json] = {
            "timezone": "UTC",
            "serverTime": now,
            "futuresType": "U_MARGINED",
            "rateLimits": [dict(zip(names, row, strict=True)) for row in limit],
            "exchangeFilters": [],
            "assets": [
                {"asset": "USDT", "marginAvailable": True, "autoAssetExchange": "-10000"},
                {"asset": "USDC", "marginAvailable": True, "autoAssetExchange": "-10000"},
                {"asset": "BNB", "marginAvailable": True, "autoAssetExchange": "-10"},
            ],
            "symbols": [
                symbol_info(row, self._x.desk.status_of(row.index), now) for row in self._x.listed
            ],
        }
        if self._synthetic:
            out["syntheticFlow"] = list(self._synthetic)
        return out

    def klines(self, params: Params) -> bytes:
        """GET /fapi/v1/klines."""
        index = self.index(params)
        interval, candles = self.candles(index, params)
        return kline_rows(self._x.listed[index], interval, candles)

    def continuous_klines(self, params: Params) -> bytes:
        """GET /fapi/v1/continuousKlines."""
        index = self.index(params, "pair")
        params.text("contractType")
        interval, candles = self.candles(index, params)
        return kline_rows(self._x.listed[index], interval, candles)

    def candles(self, index: int, params: Params) -> tuple[str, Candles]:
        """Rows for interval, limit, startTime, endTime as the klines endpoints take them."""
        interval = params.text("interval")
        if interval not in INTERVALS:
            raise Refusal(-1120, "Invalid interval.")
        limit = params.number("limit", 500)
        if not 1 <= limit <= 1_500:
            raise Refusal(-1130, "Data sent for parameter 'limit' is not valid.")
        now = self._x.now_ms
        end = min(params.number("endTime", now), now)
        if params.has("startTime"):
            start = params.number("startTime")
            if start > end and params.has("endTime"):
                raise Refusal(-1023, "Start time is greater than end time.")
            stop = bar_open(max(start, 0), interval)
            for _ in range(limit + 1 if interval == "1M" else 0):
                stop = next_open(stop, interval)
            if interval != "1M":
                stop += INTERVAL_MS[interval] * (limit + 1)
            rows = self._x.klines.rows(index, interval, start, min(end, stop), now)
            return interval, _cut(rows, 0, limit)
        span = 31 * DAY_MS if interval == "1M" else INTERVAL_MS[interval]
        start = bar_open(max(end - span * (limit + 1), 0), interval)
        rows = self._x.klines.rows(index, interval, start, end, now)
        return interval, _cut(rows, max(0, len(rows.bars) - limit), len(rows.bars))

    def _price_only(self, index: int, params: Params, kind: str) -> Json:
        """Mark, index and premium rows: OHLC and times only."""
        interval, candles = self.candles(index, params)
        opens = candles.bars.open_ms.tolist()
        if not opens:
            return []
        end = min(next_open(opens[-1], interval), self._x.now_ms + 1)
        is_short = end - opens[0] <= EXACT_SPAN_MS
        make = self._exact_prices if is_short else self._rough_prices
        prices = make(index, candles, kind, end)
        return [
            [t, *[f"{p:.8f}" for p in row], "0", next_open(t, interval) - 1, "0", 60, "0", "0", "0"]
            for t, row in zip(opens, prices, strict=True)
        ]

    def _exact_prices(self, index: int, candles: Candles, kind: str, end: int) -> list[Ohlc]:
        """Second by second, as the markPrice stream says it."""
        bars = candles.bars
        scale = 10.0 ** -self._x.listed[index].price_digits
        first, before = int(bars.open_ms[0]), float(bars.open[0]) * scale
        times, mark, fair = self._x.facts.second_by_second(index, first, end, before)
        values = {"mark": mark, "index": fair, "premium": mark / fair - 1.0}[kind]
        at = np.searchsorted(times, bars.open_ms)
        last = np.append(at[1:], len(times)) - 1
        high, low = np.maximum.reduceat(values, at), np.minimum.reduceat(values, at)
        columns = (values[at], high, low, values[last])
        return list(zip(*(c.tolist() for c in columns), strict=True))

    def _rough_prices(self, index: int, candles: Candles, kind: str, _end: int) -> list[Ohlc]:
        """Long stretches: the contract's own candles, the premium at each bar's opening taken off."""
        bars = candles.bars
        scale = 10.0 ** -self._x.listed[index].price_digits
        premium = self._x.facts.premiums(index, bars.open_ms)
        columns = [a * scale for a in (bars.open, bars.high, bars.low, bars.close)]
        if kind == "index":
            columns = [c / (1.0 + premium) for c in columns]
        elif kind == "premium":
            columns = [premium] * 4
        return list(zip(*(c.tolist() for c in columns), strict=True))

    def mark_klines(self, params: Params) -> Json:
        """GET /fapi/v1/markPriceKlines."""
        return self._price_only(self.index(params), params, "mark")

    def index_klines(self, params: Params) -> Json:
        """GET /fapi/v1/indexPriceKlines."""
        return self._price_only(self.index(params, "pair"), params, "index")

    def premium_klines(self, params: Params) -> Json:
        """GET /fapi/v1/premiumIndexKlines."""
        return self._price_only(self.index(params), params, "premium")

    def depth(self, params: Params) -> bytes:
        """GET /fapi/v1/depth."""
        index = self.index(params)
        limit = params.number("limit", 500)
        if limit not in DEPTH_LIMITS:
            raise Refusal(-4021, f"Invalid depth limit. Allowed values are {list(DEPTH_LIMITS)}.")
        return self._depth_text(index, limit, "")

    def rpi_depth(self, params: Params) -> bytes:
        """GET /fapi/v1/rpiDepth."""
        return self._depth_text(self.index(params), 1_000, "")

    def _depth_text(self, index: int, limit: int, extra: str) -> bytes:
        now, book = self._x.now_ms, self._x.books[index]
        frames = self._x.hub.frames[index]
        n = min(limit, self._x.settings.book_levels)
        bids = book.side(now, is_bid=True, count=n)
        asks = book.side(now, is_bid=False, count=n)
        self._x.hub.note_snapshot(index, bids, asks)
        uid = book.update_id(now)
        return (
            f'{{"lastUpdateId":{uid},"E":{now},"T":{now}{extra},'
            f'"bids":{frames.levels(bids)},"asks":{frames.levels(asks)}}}'
        ).encode()

    def _recent(self, index: int, count: int) -> list[Trade]:
        flow, now = self._x.flows[index], self._x.now_ms
        span = 5 * MINUTE_MS
        while True:
            found = flow.trades_between(max(now - span, flow.listed.onboard_ms), now)
            if len(found) >= count or span >= 6 * HOUR_MS:
                return found[-count:]
            span *= 4

    def trades(self, params: Params) -> Json:
        """GET /fapi/v1/trades."""
        index, limit = self.index(params), params.number("limit", 500)
        return [self._trade(index, t) for t in self._recent(index, min(limit, 1_000))]

    def historical_trades(self, params: Params) -> Json:
        """GET /fapi/v1/historicalTrades."""
        index, limit = self.index(params), min(params.number("limit", 100), 500)
        if not params.has("fromId"):
            return [self._trade(index, t) for t in self._recent(index, limit)]
        wanted = params.number("fromId")
        found = [t for t in self._recent(index, 1_000_000) if t.last_id >= wanted]
        return [self._trade(index, t) for t in found[:limit]]

    def _trade(self, index: int, t: Trade) -> Json:
        row = self._x.listed[index]
        return {
            "id": t.last_id,
            "price": price_text(row, t.price),
            "qty": qty_text(row, t.qty),
            "quoteQty": quote_text(row, float(t.price * t.qty), 2),
            "time": t.time_ms,
            "isBuyerMaker": t.is_sell,
            "isRPITrade": False,
        }

    def agg_trades(self, params: Params) -> Json:
        """GET /fapi/v1/aggTrades."""
        index, limit = self.index(params), min(params.number("limit", 500), 1_000)
        now = self._x.now_ms
        start, end = params.number("startTime", 0), params.number("endTime", now)
        flow = self._x.flows[index]
        if params.has("fromId"):
            wanted = params.number("fromId")
            flow.skip_to(now)
            behind = min(flow.next_agg_id - wanted, 1_000_000)
            recent = self._recent(index, behind) if behind > 0 else []
            found = [t for t in recent if t.agg_id >= wanted][:limit]
        elif start:
            if params.has("endTime") and end - start >= AGG_SPAN_MS:
                raise Refusal(-4166, "Search window is restricted to recent 1 hour.")
            start = max(start, now - AGG_WINDOW_MS)
            found = [t for t in flow.trades_between(start, now) if t.time_ms <= end][:limit]
        else:
            found = self._recent(index, limit)
        row = self._x.listed[index]
        return [
            {
                "a": t.agg_id,
                "p": price_text(row, t.price),
                "q": qty_text(row, t.qty),
                "nq": qty_text(row, t.qty),
                "f": t.first_id,
                "l": t.last_id,
                "T": t.time_ms,
                "m": t.is_sell,
            }
            for t in found
        ]

    def _maybe_all(self, params: Params, one: Any) -> Json:
        if params.has("symbol"):
            return one(self.index(params))
        return [one(i) for i in self._shown()]

    def day_ticker(self, params: Params) -> Json:
        """GET /fapi/v1/ticker/24hr."""
        return self._maybe_all(params, self._day)

    def _day(self, index: int) -> Json:
        day: DayStats = self._x.tickers.day(index, self._x.now_ms)
        row, frames = self._x.listed[index], self._x.hub.frames[index]
        change = (day.last - day.open) / 10**row.price_digits
        return {
            "symbol": row.symbol,
            "priceChange": f"{change:.{row.price_precision}f}",
            "priceChangePercent": f"{100 * (day.last - day.open) / max(day.open, 1):.3f}",
            "weightedAvgPrice": frames.average(day),
            "lastPrice": frames.price(day.last),
            "lastQty": frames.qty(day.last_qty),
            "openPrice": frames.price(day.open),
            "highPrice": frames.price(day.high),
            "lowPrice": frames.price(day.low),
            "volume": qty_text(row, day.volume),
            "quoteVolume": frames.quote(day.quote),
            "openTime": day.open_ms,
            "closeTime": self._x.now_ms,
            "firstId": day.first_id,
            "lastId": day.last_id,
            "count": day.count,
        }

    def price_ticker(self, params: Params) -> Json:
        """GET /fapi/v2/ticker/price (v1 too)."""
        return self._maybe_all(params, self._price)

    def _price(self, index: int) -> Json:
        flow = self._x.flows[index]
        flow.skip_to(self._x.now_ms)
        row = self._x.listed[index]
        return {
            "symbol": row.symbol,
            "price": price_text(row, flow.last_price),
            "time": self._x.now_ms,
        }

    def book_ticker(self, params: Params) -> Json:
        """GET /fapi/v1/ticker/bookTicker."""
        return self._maybe_all(params, self._book)

    def _book(self, index: int) -> Json:
        row, now = self._x.listed[index], self._x.now_ms
        bid, bid_qty, ask, ask_qty = self._x.books[index].best(now)
        return {
            "lastUpdateId": self._x.books[index].update_id(now),
            "symbol": row.symbol,
            "bidPrice": price_text(row, bid),
            "bidQty": qty_text(row, bid_qty),
            "askPrice": price_text(row, ask),
            "askQty": qty_text(row, ask_qty),
            "time": now,
        }

    def premium_index(self, params: Params) -> Json:
        """GET /fapi/v1/premiumIndex."""
        return self._maybe_all(params, self._premium)

    def _premium(self, index: int) -> Json:
        m = self._x.facts.mark(index, self._x.now_ms)
        due = m.next_funding_ms - self._x.listed[index].funding_hours * HOUR_MS
        return {
            "symbol": self._x.listed[index].symbol,
            "markPrice": f"{m.mark:.8f}",
            "indexPrice": f"{m.index:.8f}",
            "estimatedSettlePrice": f"{m.settle:.8f}",
            "lastFundingRate": f"{m.rate:.8f}",
            "interestRate": "0.00010000",
            "nextFundingTime": m.next_funding_ms,
            "time": max(self._x.now_ms, due),
        }

    def funding_rate(self, params: Params) -> Json:
        """GET /fapi/v1/fundingRate, ascending."""
        limit = min(params.number("limit", 100), 1_000)
        indices = [self.index(params)] if params.has("symbol") else self._shown()
        now = self._x.now_ms
        out = []
        for index in indices:
            row = self._x.listed[index]
            step = row.funding_hours * HOUR_MS
            last = min(params.number("endTime", now), now) // step * step
            first = last - (limit - 1) * step
            if params.has("startTime"):
                first = -(-params.number("startTime") // step) * step
                last = min(last, first + (limit - 1) * step)
            first = max(first, -(-row.onboard_ms // step) * step)
            out += self._funding(index, list(range(first, last + 1, step)))
        out.sort(key=lambda r: (r["fundingTime"], r["symbol"]))
        return out[-limit:] if not params.has("startTime") else out[:limit]

    def _funding(self, index: int, times: list[int]) -> list[dict[str, Any]]:
        prices = self.closes(index, "1h", times)
        return [
            {
                "symbol": self._x.listed[index].symbol,
                "fundingRate": f"{self._x.facts.funding_rate(index, at):.8f}",
                "fundingTime": at,
                "markPrice": f"{price:.8f}",
                "rateType": "Regular",
            }
            for at, price in zip(times, prices, strict=True)
        ]

    def closes(self, index: int, period: str, times: list[int]) -> list[float]:
        """Opening price of each period's bar: the price at each time."""
        if not times:
            return []
        rows = self._x.klines.rows(index, period, times[0], times[-1], self._x.now_ms).bars
        scale = 10.0 ** -self._x.listed[index].price_digits
        found = {int(t): float(o) * scale for t, o in zip(rows.open_ms, rows.open, strict=True)}
        last = self._x.flows[index].last_price * scale
        return [found.get(t, last) for t in times]

    def funding_info(self, _params: Params) -> Json:
        """GET /fapi/v1/fundingInfo: only symbols whose settlement was adjusted."""
        return [
            {
                "symbol": row.symbol,
                "adjustedFundingRateCap": "0.02000000",
                "adjustedFundingRateFloor": "-0.02000000",
                "fundingIntervalHours": row.funding_hours,
                "disclaimer": False,
                "updateTime": self._x.start_ms,
            }
            for row in self._x.listed
            if row.funding_hours != 8
        ]

    def open_interest(self, params: Params) -> Json:
        """GET /fapi/v1/openInterest."""
        index, now = self.index(params), self._x.now_ms
        return {
            "openInterest": f"{self._x.facts.open_interest(index, now):.3f}",
            "symbol": self._x.listed[index].symbol,
            "time": now,
        }

    def constituents(self, params: Params) -> Json:
        """GET /fapi/v1/constituents."""
        index = self.index(params)
        price = f"{self._x.facts.mark(index, self._x.now_ms).index:.8f}"
        symbol = self._x.listed[index].symbol
        rows = [{"exchange": "binance", "symbol": symbol, "price": price, "weight": "1.00000000"}]
        return {"symbol": symbol, "time": self._x.now_ms, "constituents": rows}

    def insurance(self, _params: Params) -> Json:
        """GET /fapi/v1/insuranceBalance."""
        balance = f"{self._x.desk.ledger.insurance:f}"
        rows = [{"asset": "USDT", "marginBalance": balance, "updateTime": self._x.now_ms}]
        return {"symbols": [row.symbol for row in self._x.listed], "assets": rows}

    def adl_risk(self, params: Params) -> Json:
        """GET /fapi/v1/symbolAdlRisk."""

        def one(index: int) -> Json:
            return {
                "symbol": self._x.listed[index].symbol,
                "adlRisk": "low",
                "updateTime": self._x.now_ms,
            }

        return self._maybe_all(params, one)

    def asset_index(self, params: Params) -> Json:
        """GET /fapi/v1/assetIndex."""
        row = {
            "symbol": params.text("symbol", "USDTUSD"),
            "time": self._x.now_ms,
            "index": "1.00000000",
            "bidBuffer": "0.00010000",
            "askBuffer": "0.00010000",
            "bidRate": "0.99990000",
            "askRate": "1.00010000",
            "autoExchangeBidBuffer": "0.00010000",
            "autoExchangeAskBuffer": "0.00010000",
            "autoExchangeBidRate": "0.99990000",
            "autoExchangeAskRate": "1.00010000",
        }
        return row if params.has("symbol") else [row]

    def index_info(self, params: Params) -> Json:
        """GET /fapi/v1/indexInfo: the baskets of the index contracts."""
        now = self._x.now_ms
        wanted = self.index(params) if params.has("symbol") else -1
        rows = [r for r in index_rows(self._x.listed) if wanted in (-1, r.index)]
        return [
            {
                "symbol": row.symbol,
                "time": now,
                "component": "baseAsset",
                "baseAssetList": [
                    {
                        "baseAsset": part.base,
                        "quoteAsset": "USDT",
                        "weightInQuantity": f"{part.quantity:.8f}",
                        "weightInPercentage": f"{part.share_frac:.8f}",
                    }
                    for part in basket(self._x.listed, self._x.facts, row.index, now)[1]
                ],
            }
            for row in rows
        ]

    def trading_schedule(self, _params: Params) -> Json:
        """GET /fapi/v1/tradingSchedule: TradFi sessions are open round the clock here."""
        now = self._x.now_ms
        day = now // DAY_MS * DAY_MS
        session = {"startTime": day, "endTime": day + DAY_MS, "type": "REGULAR"}
        return {"updateTime": now, "marketSchedules": {"COMMODITY": {"sessions": [session]}}}


def _cut(rows: Candles, start: int, stop: int) -> Candles:
    return Candles(rows.bars.slice(start, stop), rows.buy_quote[start:stop])
