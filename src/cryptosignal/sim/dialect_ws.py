"""Wire shapes of market-data frames (BINANCE §4), built as text because they are built by the thousand."""

from __future__ import annotations

from cryptosignal.ground.units import DAY_MS
from cryptosignal.sim.book import Side
from cryptosignal.sim.composite import Part
from cryptosignal.sim.facts import Mark, SpotScale
from cryptosignal.sim.flow import Trade
from cryptosignal.sim.klines import LiveBar
from cryptosignal.sim.listing import Listed
from cryptosignal.sim.tickers import DayStats

_CACHE_MAX = 20_000


class Frames:
    """Frame texts of one symbol; prices and quantities are remembered as text."""

    def __init__(self, row: Listed) -> None:
        self.row = row
        self.symbol = row.symbol
        self._prices: dict[int, str] = {}
        self._quantities: dict[int, str] = {}
        self._price_scale, self._price_decimals = 10.0**row.price_digits, row.price_precision
        self._qty_scale, self._qty_decimals = 10.0**row.qty_digits, row.qty_digits
        scale = row.price_digits + row.qty_digits
        self._quote_scale, self._quote_decimals = 10.0**scale, max(2, min(8, scale))

    def price(self, units: int) -> str:
        """Price text."""
        text = self._prices.get(units)
        if text is None:
            if len(self._prices) > _CACHE_MAX:
                self._prices.clear()
            text = self._prices[units] = f"{units / self._price_scale:.{self._price_decimals}f}"
        return text

    def qty(self, units: int) -> str:
        """Quantity text."""
        text = self._quantities.get(units)
        if text is None:
            if len(self._quantities) > _CACHE_MAX:
                self._quantities.clear()
            text = self._quantities[units] = f"{units / self._qty_scale:.{self._qty_decimals}f}"
        return text

    def quote(self, value: float) -> str:
        """Quote-volume text of price units x quantity units."""
        return f"{value / self._quote_scale:.{self._quote_decimals}f}"

    def agg_trade(self, t: Trade, now_ms: int) -> str:
        """aggTrade."""
        qty = self.qty(t.qty)
        maker = "true" if t.is_sell else "false"
        return (
            f'{{"e":"aggTrade","E":{now_ms},"a":{t.agg_id},"s":"{self.symbol}","p":"{self.price(t.price)}",'
            f'"q":"{qty}","nq":"{qty}","f":{t.first_id},"l":{t.last_id},"T":{t.time_ms},"m":{maker},"st":1}}'
        )

    def trade(self, t: Trade, now_ms: int) -> str:
        """trade (undocumented stream): one frame per aggregated trade, under its last id."""
        maker = "true" if t.is_sell else "false"
        return (
            f'{{"e":"trade","E":{now_ms},"T":{t.time_ms},"s":"{self.symbol}","t":{t.last_id},'
            f'"p":"{self.price(t.price)}","q":"{self.qty(t.qty)}","X":"MARKET","m":{maker},"st":1}}'
        )

    def kline(self, bar: LiveBar, now_ms: int, *, is_closed: bool) -> str:
        """kline."""
        return (
            f'{{"e":"kline","E":{now_ms},"s":"{self.symbol}","k":'
            f'{{"t":{bar.open_ms},"T":{bar.close_ms},"s":"{self.symbol}",{self._bar(bar, is_closed)}}}}}'
        )

    def continuous(self, bar: LiveBar, now_ms: int, *, is_closed: bool) -> str:
        """continuousKline: no `s` inside, pair and contract type outside."""
        return (
            f'{{"e":"continuous_kline","E":{now_ms},"ps":"{self.symbol}","ct":"{self.row.contract_type}",'
            f'"k":{{"t":{bar.open_ms},"T":{bar.close_ms},{self._bar(bar, is_closed)}}}}}'
        )

    def _bar(self, bar: LiveBar, is_closed: bool) -> str:
        p = self.price
        return (
            f'"i":"{bar.interval}","f":{bar.first_id},"L":{bar.last_id},'
            f'"o":"{p(bar.open)}","c":"{p(bar.close)}","h":"{p(bar.high)}","l":"{p(bar.low)}",'
            f'"v":"{bar.qty / self._qty_scale:.{self._qty_decimals}f}","n":{bar.trades},'
            f'"x":{"true" if is_closed else "false"},"q":"{self.quote(bar.quote)}",'
            f'"V":"{bar.bought_units / self._qty_scale:.{self._qty_decimals}f}",'
            f'"Q":"{self.quote(bar.bought_quote)}","B":"0"'
        )

    def spot_kline(self, bar: LiveBar, now_ms: int, fair: SpotScale, *, is_closed: bool) -> str:
        """kline of the spot pair: index prices, six tenths of the volume (as `/api/v3/klines`)."""
        p, base, quote = fair.price, fair.base, fair.quote
        return (
            f'{{"e":"kline","E":{now_ms},"s":"{fair.symbol}","k":{{"t":{bar.open_ms},"T":{bar.close_ms},'
            f'"s":"{fair.symbol}","i":"{bar.interval}","f":{bar.first_id},"L":{bar.last_id},'
            f'"o":"{bar.open * p:.8f}","c":"{bar.close * p:.8f}","h":"{bar.high * p:.8f}",'
            f'"l":"{bar.low * p:.8f}","v":"{bar.qty * base:.8f}","n":{bar.trades * 6 // 10},'
            f'"x":{"true" if is_closed else "false"},"q":"{bar.quote * quote:.8f}",'
            f'"V":"{bar.bought_units * base:.8f}","Q":"{bar.bought_quote * quote:.8f}","B":"0"}}}}'
        )

    def book_ticker(self, update_id: int, best: tuple[int, int, int, int], now_ms: int) -> str:
        """bookTicker."""
        bid, bid_qty, ask, ask_qty = best
        return (
            f'{{"e":"bookTicker","u":{update_id},"s":"{self.symbol}","ps":"{self.symbol}",'
            f'"b":"{self.price(bid)}","B":"{self.qty(bid_qty)}","a":"{self.price(ask)}",'
            f'"A":"{self.qty(ask_qty)}","T":{now_ms},"E":{now_ms},"st":1}}'
        )

    def levels(self, side: Side) -> str:
        """A JSON array of [price, quantity] pairs."""
        p, q = self.price, self.qty
        return "[" + ",".join([f'["{p(a)}","{q(b)}"]' for a, b in side]) + "]"

    def depth(self, ids: tuple[int, int, int], bids: str, asks: str, now_ms: int) -> str:
        """depthUpdate with (U, u, pu)."""
        return (
            f'{{"e":"depthUpdate","E":{now_ms},"T":{now_ms},"s":"{self.symbol}","ps":"{self.symbol}",'
            f'"U":{ids[0]},"u":{ids[1]},"pu":{ids[2]},"b":{bids},"a":{asks},"st":1}}'
        )

    def mark(self, mark: Mark, now_ms: int) -> str:
        """markPriceUpdate."""
        return (
            f'{{"e":"markPriceUpdate","E":{now_ms},"s":"{self.symbol}","p":"{mark.mark:.8f}",'
            f'"ap":"{mark.average:.8f}","P":"{mark.settle:.8f}","i":"{mark.index:.8f}",'
            f'"r":"{mark.rate:.8f}","T":{mark.next_funding_ms},"st":1}}'
        )

    def mini_ticker(self, day: DayStats, now_ms: int) -> str:
        """24hrMiniTicker."""
        p = self.price
        return (
            f'{{"e":"24hrMiniTicker","E":{now_ms},"s":"{self.symbol}","c":"{p(day.last)}",'
            f'"o":"{p(day.open)}","h":"{p(day.high)}","l":"{p(day.low)}",'
            f'"v":"{day.volume / self._qty_scale:.{self._qty_decimals}f}","q":"{self.quote(day.quote)}",'
            f'"ps":"{self.symbol}","st":1}}'
        )

    def ticker(self, day: DayStats, now_ms: int) -> str:
        """24hrTicker."""
        p = self.price
        change = (day.last - day.open) / self._price_scale
        percent = 100.0 * (day.last - day.open) / day.open if day.open else 0.0
        return (
            f'{{"e":"24hrTicker","E":{now_ms},"s":"{self.symbol}","ps":"{self.symbol}",'
            f'"p":"{change:.{self._price_decimals}f}","P":"{percent:.3f}","w":"{self.average(day)}",'
            f'"c":"{p(day.last)}","Q":"{self.qty(day.last_qty)}","o":"{p(day.open)}","h":"{p(day.high)}",'
            f'"l":"{p(day.low)}","v":"{day.volume / self._qty_scale:.{self._qty_decimals}f}",'
            f'"q":"{self.quote(day.quote)}","O":{day.open_ms},"C":{now_ms},"F":{day.first_id},'
            f'"L":{day.last_id},"n":{day.count},"st":1}}'
        )

    def average(self, day: DayStats) -> str:
        """Volume-weighted average price text."""
        value = day.quote / day.volume if day.volume else float(day.last)
        return f"{value / self._price_scale:.{self._price_decimals}f}"

    def force_order(self, side: str, price: int, qty: int, now_ms: int, *, in_array: bool) -> str:
        """forceOrder: one object, also on `!forceOrder@arr`."""
        tail = f',"ps":"{self.symbol}","st":1' if in_array else ""
        p, q = self.price(price), self.qty(qty)
        return (
            f'{{"e":"forceOrder","E":{now_ms},"o":{{"s":"{self.symbol}","S":"{side}","o":"LIMIT","f":"IOC",'
            f'"q":"{q}","p":"{p}","ap":"{p}","X":"FILLED","l":"{q}","z":"{q}","T":{now_ms}}}{tail}}}'
        )


def composite_index(symbol: str, level: float, parts: list[Part], now_ms: int) -> str:
    """compositeIndex: the index and its basket (w in units of the coin, W as a share)."""
    rows = ",".join(
        f'{{"b":"{p.base}","q":"USDT","w":"{p.quantity:.8f}","W":"{p.share_frac:.8f}",'
        f'"i":"{p.price:.8f}"}}'
        for p in parts
    )
    return (
        f'{{"e":"compositeIndex","E":{now_ms},"s":"{symbol}","p":"{level:.8f}",'
        f'"C":"baseAsset","c":[{rows}]}}'
    )


def asset_index(now_ms: int) -> str:
    """assetIndexUpdate of `!assetIndex@arr`: the one margin asset, at par with its buffers."""
    return (
        f'[{{"e":"assetIndexUpdate","E":{now_ms},"s":"USDTUSD","i":"1.00000000",'
        '"b":"0.00010000","a":"0.00010000","B":"0.99990000","A":"1.00010000",'
        '"q":"0.00010000","g":"0.00010000","Q":"0.99990000","G":"1.00010000"}]'
    )


def trading_session(market: str, now_ms: int) -> str:
    """tradingSession: TradFi sessions are open round the clock here, one a day."""
    day = now_ms // DAY_MS * DAY_MS
    return f'{{"e":"{market}","E":{now_ms},"t":{day},"T":{day + DAY_MS},"S":"REGULAR"}}'
