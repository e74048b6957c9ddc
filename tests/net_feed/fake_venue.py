"""A toy venue in memory for the feed's own tests: sockets that stream, a REST client that answers.

Prices and trade ids follow one seeded walk; the truth of every bar is kept, so that caches can be
compared with it. Faults are switched by hand: stall, drop, silence of single streams, lost frames.
"""

from __future__ import annotations

import asyncio
import json
import random
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import numpy as np

from cryptosignal.domain.market import MarkPrice
from cryptosignal.domain.ports import HttpRequest, HttpResponse, WsListener
from cryptosignal.ground.faults import Unreachable
from cryptosignal.ground.loop import VirtualLoop
from cryptosignal.ground.units import INTERVAL_MS, open_of

START_MS = 1_763_640_000_000 - 90 * 60_000 + 7_000


class Link:
    """The client's end of one connection."""

    def __init__(
        self, venue: FakeVenue, listener: WsListener, streams: list[str], url: str
    ) -> None:
        self.venue = venue
        self.listener = listener
        self.streams = dict.fromkeys(streams)
        self.url = url
        self.sent: list[dict[str, Any]] = []
        self.sent_at: list[float] = []
        self.is_open = True
        self.is_stalled = False
        self.answers_pings = True
        self.opened_at = venue.loop.time()

    def send(self, payload: bytes) -> None:
        message = json.loads(payload)
        self.sent.append(message)
        self.sent_at.append(self.venue.loop.time())
        for stream in message["params"]:
            if message["method"] == "SUBSCRIBE":
                self.streams[stream] = None
            else:
                self.streams.pop(stream, None)
        if self.venue.acks:
            reply = json.dumps({"result": None, "id": message["id"]}).encode()
            self.venue.loop.call_later(0.02, self.deliver, reply)

    def ping(self) -> None:
        if self.answers_pings and not self.is_stalled_dead:
            self.venue.loop.call_later(0.01, self._pong)

    is_stalled_dead = False

    def _pong(self) -> None:
        if self.is_open:
            self.listener.on_pong()

    def close(self, code: int = 1000) -> None:
        self.drop(code, "closed by us")

    def drop(self, code: int = 1006, reason: str = "gone") -> None:
        if self.is_open:
            self.is_open = False
            self.venue.links.remove(self)
            self.venue.loop.call_soon(self.listener.on_closed, code, reason)

    def deliver(self, payload: bytes) -> None:
        if self.is_open and not self.is_stalled:
            self.listener.on_frame(payload)


class FakeVenue:
    """Transport, REST client and market in one."""

    def __init__(self, loop: VirtualLoop, symbols: list[str], seed: int = 1) -> None:
        self.loop = loop
        self.symbols = symbols
        self.links: list[Link] = []
        self.all_links: list[Link] = []
        self.rng = random.Random(seed)
        self.price = dict.fromkeys(symbols, 100.0)
        self.trade_id = dict.fromkeys(symbols, 1000)
        self.quiet: set[str] = set()
        self.silent_streams: set[str] = set()
        self.is_up = True
        self.acks = True
        self.rest_up = True
        self.handshake_s = 0.0
        """How long frames flow before the client hears that the connection is open."""
        self.lose_next = 0
        self.lost_finals = False
        self.bars: dict[tuple[str, str], dict[int, dict[str, Any]]] = {}
        self.requests: list[tuple[str, str, int]] = []
        self.rest_delay_s = 0.05
        self.trade_share = 0.7

    # ---- time
    def now_ms(self) -> int:
        return START_MS + int(self.loop.time() * 1000 + 1e-6)

    # ---- transport
    async def open_ws(self, url: str, listener: WsListener, timeout_ms: int) -> Link:
        await asyncio.sleep(0.03)
        if not self.is_up:
            raise Unreachable("refused")
        query = parse_qs(urlsplit(url).query).get("streams", [""])[0]
        link = Link(self, listener, [unquote(s) for s in query.split("/") if s], url)
        self.links.append(link)
        self.all_links.append(link)
        await asyncio.sleep(self.handshake_s)
        return link

    async def request(self, base_url: str, request: HttpRequest) -> HttpResponse:
        raise AssertionError("not used")

    async def close(self) -> None:
        return None

    # ---- market
    async def run(self, intervals: list[str], tick_s: float = 1.0) -> None:
        while True:
            await asyncio.sleep(tick_s)
            self.tick(intervals)

    def seed_history(self, intervals: list[str], bars: int) -> None:
        """Truth of the past, for REST."""
        for symbol in self.symbols:
            for interval in intervals:
                step = INTERVAL_MS[interval]
                first = open_of(self.now_ms(), interval) - bars * step
                book = self.bars.setdefault((symbol, interval), {})
                for index in range(bars + 1):
                    opened = first + index * step
                    book[opened] = self._fresh(symbol, opened)
                    book[opened] |= {"v": 1.0, "q": 100.0, "n": 1, "V": 0.5, "Q": 50.0}

    def _fresh(self, symbol: str, opened: int) -> dict[str, Any]:
        price = self.price[symbol]
        zero = {"v": 0.0, "q": 0.0, "n": 0, "V": 0.0, "Q": 0.0, "f": -1, "L": -1}
        return {"t": opened, "o": price, "h": price, "l": price, "c": price, **zero}

    def tick(self, intervals: list[str]) -> None:
        now = self.now_ms()
        for symbol in self.symbols:
            for interval in intervals:
                self._roll(symbol, interval, now)
            if symbol not in self.quiet and self.rng.random() < self.trade_share:
                self._trade(symbol, intervals, now)
            price = self.price[symbol]
            self.publish(
                f"{symbol.lower()}@markPrice@1s",
                {
                    "e": "markPriceUpdate",
                    "E": now,
                    "s": symbol,
                    "p": f"{price:.2f}",
                    "i": "99.0",
                    "P": "1",
                    "r": "",
                    "T": now + 1000,
                },
            )
        rows = [
            {
                "e": "24hrTicker",
                "E": now,
                "s": s,
                "c": f"{self.price[s]:.2f}",
                "q": "1000000",
                "P": "1.5",
                "n": self.trade_id[s],
                "L": self.trade_id[s],
                "st": 1,
            }
            for s in self.symbols
        ]
        self.publish("!ticker@arr", rows)
        marks = [
            {
                "e": "markPriceUpdate",
                "E": now,
                "s": s,
                "p": f"{self.price[s]:.2f}",
                "i": "99.0",
                "P": "1",
                "r": "0.0001",
                "T": now + 1000,
                "st": 1,
            }
            for s in self.symbols
        ]
        self.publish("!markPrice@arr@1s", marks)
        self.publish(
            "btcusdt@bookTicker",
            {
                "e": "bookTicker",
                "u": now,
                "E": now,
                "T": now,
                "s": "BTCUSDT",
                "b": "99.9",
                "B": "1",
                "a": "100.1",
                "A": "1",
            },
        )

    def _trade(self, symbol: str, intervals: list[str], now: int) -> None:
        self.price[symbol] = price = round(self.price[symbol] * (1 + self.rng.gauss(0, 1e-3)), 2)
        self.trade_id[symbol] += 1
        number = self.trade_id[symbol]
        qty = round(self.rng.uniform(0.1, 3.0), 3)
        taker_buys = self.rng.random() < 0.5
        self.publish(
            f"{symbol.lower()}@aggTrade",
            {
                "e": "aggTrade",
                "E": now,
                "s": symbol,
                "a": number,
                "p": f"{price:.2f}",
                "q": f"{qty:.3f}",
                "f": number,
                "l": number,
                "T": now - 3,
                "m": not taker_buys,
            },
        )
        for interval in intervals:
            opened = open_of(now, interval)
            book = self.bars.setdefault((symbol, interval), {})
            bar = book.setdefault(opened, self._fresh(symbol, opened))
            if bar["n"] == 0:
                bar |= {"o": price, "h": price, "l": price, "f": number}
            bar["c"] = price
            bar["h"] = max(bar["h"], price)
            bar["l"] = min(bar["l"], price)
            bar["v"] = round(bar["v"] + qty, 3)
            bar["q"] = round(bar["q"] + qty * price, 5)
            bar["n"] += 1
            bar["L"] = number
            if taker_buys:
                bar["V"] = round(bar["V"] + qty, 3)
                bar["Q"] = round(bar["Q"] + qty * price, 5)
            self._publish_bar(symbol, interval, bar, now, is_closed=False)

    def _roll(self, symbol: str, interval: str, now: int) -> None:
        """Close the bar before, with its final frame if it had a trade."""
        book = self.bars.setdefault((symbol, interval), {})
        opened = open_of(now, interval)
        if opened in book:
            return
        before = book.get(opened - INTERVAL_MS[interval])
        book[opened] = self._fresh(symbol, opened)
        if before is not None and before["n"] and not self.lost_finals:
            self._publish_bar(symbol, interval, before, now, is_closed=True)

    def _publish_bar(
        self, symbol: str, interval: str, bar: dict[str, Any], now: int, *, is_closed: bool
    ) -> None:
        body = {
            "t": bar["t"],
            "T": bar["t"] + INTERVAL_MS[interval] - 1,
            "s": symbol,
            "i": interval,
            "f": bar["f"],
            "L": bar["L"],
            "o": f"{bar['o']:.2f}",
            "c": f"{bar['c']:.2f}",
            "h": f"{bar['h']:.2f}",
            "l": f"{bar['l']:.2f}",
            "v": f"{bar['v']:.3f}",
            "n": bar["n"],
            "x": is_closed,
            "q": f"{bar['q']:.5f}",
            "V": f"{bar['V']:.3f}",
            "Q": f"{bar['Q']:.5f}",
            "B": "0",
        }
        name = f"{symbol.lower()}@kline_{interval}"
        self.publish(name, {"e": "kline", "E": now, "s": symbol, "k": body})

    def publish(self, stream: str, data: Any) -> None:
        if stream in self.silent_streams:
            return
        payload = json.dumps({"stream": stream, "data": data}, separators=(",", ":")).encode()
        for link in list(self.links):
            if stream in link.streams:
                link.deliver(payload)

    # ---- REST
    async def klines(self, symbol, interval, limit, start_ms=0, end_ms=0, lane=None):
        await asyncio.sleep(self.rest_delay_s)
        self.requests.append((symbol, interval, limit))
        if not self.rest_up:
            raise Unreachable("rest down")
        book = self.bars.get((symbol, interval), {})
        opens = [t for t in sorted(book) if t >= start_ms and (not end_ms or t <= end_ms)]
        opens = opens[:limit] if start_ms else opens[-limit:]
        return np.array([_row(book[t], interval) for t in opens]).reshape(-1, 11)

    async def spot_klines(self, symbol, interval, limit, start_ms=0, end_ms=0, lane=None):
        return np.zeros((0, 11))

    async def depth(self, symbol, limit=1000, lane=None):
        raise Unreachable("no book")

    async def premium_index(self, symbol="", lane=None):
        return tuple(
            MarkPrice(s, self.now_ms(), self.price[s], 99.0, 0.0001, self.now_ms() + 1000)
            for s in self.symbols
        )

    async def tickers_24h(self, symbol="", lane=None):
        return ()

    async def open_interest_hist(self, symbol, period, limit, start_ms=0, end_ms=0, lane=None):
        return ()

    async def funding_history(self, symbol, limit=100, start_ms=0, end_ms=0, lane=None):
        return ()

    # ---- truth
    def differences(self, board, interval: str, now_ms: int, bars: int) -> list[str]:
        """Where the board's newest `bars` bars differ from the truth, bar by bar and field by field."""
        found = []
        view = board.view(now_ms).bars[interval]
        for symbol in self.symbols:
            slot = board.find(symbol)
            for column in range(-bars, 0):
                opened = int(view.open_ms[column])
                truth = _row(self.bars[symbol, interval][opened], interval)
                wanted = truth[[1, 2, 3, 4, 5, 7, 8, 9, 10]]
                got = view.data[:, slot, column]
                if not np.array_equal(got, wanted):
                    found.append(f"{symbol} {interval} {opened}: {got} != {wanted}")
        return found


def _row(bar: dict[str, Any], interval: str) -> np.ndarray:
    close_ms = bar["t"] + INTERVAL_MS[interval] - 1
    return np.array(
        [
            bar["t"],
            bar["o"],
            bar["h"],
            bar["l"],
            bar["c"],
            bar["v"],
            close_ms,
            bar["q"],
            bar["n"],
            bar["V"],
            bar["Q"],
        ],
        dtype=np.float64,
    )


class LoopTime:
    """The virtual loop as the program's clock."""

    def __init__(self, loop: VirtualLoop, venue: FakeVenue) -> None:
        self._loop = loop
        self._venue = venue
        self.offset_ms = 0

    def now_ms(self) -> int:
        return self._venue.now_ms() + self.offset_ms

    def mono_ns(self) -> int:
        return int(self._loop.time() * 1e9)
