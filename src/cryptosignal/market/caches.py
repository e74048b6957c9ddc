"""The caches under the names people know: thin faces over the board, any case of symbol.

Klines come and go as dicts with `timestamp` (open time, ms), open, high, low, close, volume,
quote_volume, trades, taker_buy_volume, taker_buy_quote, is_closed.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import numpy as np

from cryptosignal.domain.market import Bar, BarSource, Finality
from cryptosignal.ground.clock import Clock
from cryptosignal.ground.units import INTERVAL_MS
from cryptosignal.market import frames, trade_reading
from cryptosignal.market.board import Board, bar_of

Candle = dict[str, float | int | bool]


def candle(bar: Bar) -> Candle:
    """A bar as the plain dict of the faces."""
    return {
        "timestamp": bar.open_ms,
        "open": bar.open,
        "high": bar.high,
        "low": bar.low,
        "close": bar.close,
        "volume": bar.volume,
        "quote_volume": bar.quote_volume,
        "trades": bar.trades,
        "taker_buy_volume": bar.taker_buy_volume,
        "taker_buy_quote": bar.taker_buy_quote,
        "is_closed": bar.is_closed,
    }


class KlineCache:
    """Closed bars by (symbol, interval): `add`, `get`, `get_latest`."""

    def __init__(self, board: Board, clock: Clock) -> None:
        self._board = board
        self._clock = clock

    def add(self, symbol: str, interval: str, kline: Mapping[str, Any]) -> None:
        """Add one closed bar (keys as above, or t, o, h, l, c, v, q, n, V, Q); the same open time
        replaces."""
        values = [float(_either(kline, *names)) for names in _KEYS]
        open_ms = int(values[0])
        row = [*values[:6], open_ms + INTERVAL_MS[interval] - 1, *values[6:]]
        self._board.load_history(
            symbol, interval, np.array([row]), self._clock.now_ms(), BarSource.STREAM
        )

    def get(self, symbol: str, interval: str, limit: int = 500) -> list[Candle]:
        """The newest `limit` closed bars, oldest first; none for a symbol never heard of."""
        return [candle(bar) for bar in bars(self._board, symbol, interval, limit, self._clock)]

    def get_latest(self, symbol: str, interval: str) -> Candle | None:
        """The newest closed bar."""
        found = self.get(symbol, interval, 1)
        return found[-1] if found else None


class AggTradeCache:
    """Trades by symbol: `add`, `get_recent(symbol, seconds)`."""

    def __init__(self, board: Board, clock: Clock) -> None:
        self._board = board
        self._clock = clock

    def add(self, symbol: str, trade: Mapping[str, Any]) -> None:
        """Add one trade in the venue's letters (a, p, q, T, m)."""
        data = frames.TradeData(
            E=int(trade.get("E", trade["T"])),
            a=int(trade["a"]),
            p=float(trade["p"]),
            q=float(trade["q"]),
            T=int(trade["T"]),
            m=bool(trade["m"]),
        )
        self._board.tapes.add(trade_reading.one(self._board.slot(symbol), data))

    def get_recent(self, symbol: str, seconds: float = 60) -> list[dict[str, float | int | bool]]:
        """Trades of the last `seconds` of exchange time, oldest first."""
        slot = self._board.find(symbol)
        if slot < 0:
            return []
        now_ms = self._clock.now_ms()
        self._board.flush(now_ms, whole=True)
        times, prices, quantities = self._board.tapes.recent(slot, seconds, now_ms)
        return [
            {"timestamp": time, "price": price, "quantity": abs(qty), "is_buyer_maker": qty < 0}
            for time, price, qty in zip(
                times.tolist(), prices.tolist(), quantities.tolist(), strict=True
            )
        ]


class RealtimeKlineCache(KlineCache):
    """The cache that a scanner reads; `get_stats()` in its known shapes."""

    def __init__(self, board: Board, clock: Clock) -> None:
        super().__init__(board, clock)
        self._hooks: list[Callable[[str, str, Candle], object]] = []
        self.pending: list[Awaitable[object]] = []
        board.on_kline_close.append(self._on_close)

    def get_stats(self) -> dict[str, object]:
        """`hit_rate` such as "96.3%", `memory_estimate_mb` a number, `total_updates` an int."""
        return self._board.get_stats()

    def is_fresh(self, symbol: str, interval: str) -> bool:
        """The newest due bar is there and no gap lies before it."""
        return self._board.is_ready(symbol, interval, self._clock.now_ms())

    def on_kline_close(self, hook: Callable[[str, str, Candle], object]) -> None:
        """Call `hook(symbol, interval, kline)` once per closed bar, kline with t, o, h, l, c, v, x.
        What an async hook returns waits in `pending` for the rim to await."""
        self._hooks.append(hook)

    def _on_close(self, symbol: str, interval: str, bar: Bar, finality: Finality) -> None:
        if not self._hooks:
            return
        kline: Candle = {
            "t": bar.open_ms,
            "o": bar.open,
            "h": bar.high,
            "l": bar.low,
            "c": bar.close,
            "v": bar.volume,
            "x": True,
        }
        for hook in self._hooks:
            result = hook(symbol, interval, dict(kline))
            if inspect.isawaitable(result):
                self.pending.append(result)


class KlineFeed:
    """Closed bars of one interval for some symbols."""

    def __init__(
        self, symbols: list[str], interval: str = "1m", *, board: Board, clock: Clock
    ) -> None:
        self.symbols = [symbol.upper() for symbol in symbols]
        self.interval = interval
        self._board = board
        self._clock = clock

    @property
    def streams(self) -> list[str]:
        """The streams this feed needs."""
        return [f"{symbol.lower()}@kline_{self.interval}" for symbol in self.symbols]

    def get_latest_kline(self, symbol: str) -> Candle | None:
        """open, high, low, close, volume, timestamp of the newest closed bar; never a forming one."""
        found = bars(self._board, symbol, self.interval, 1, self._clock)
        if not found:
            return None
        newest = candle(found[-1])
        return {key: newest[key] for key in ("open", "high", "low", "close", "volume", "timestamp")}


def bars(board: Board, symbol: str, interval: str, limit: int, clock: Clock) -> list[Bar]:
    """The newest closed bars that are there, at most `limit`, oldest first."""
    slot = board.find(symbol)
    store = board.klines.get(interval)
    now_ms = clock.now_ms()
    board.flush(now_ms)
    if slot < 0 or store is None or not store.next_ms[slot]:
        return []
    last_ms = min(store.next_ms[slot] - store.step_ms, store.due_open_ms(now_ms))
    first_ms = max(store.start_ms[slot], last_ms - (limit - 1) * store.step_ms, store.base_ms)
    return [
        bar_of(open_ms, store.row(slot, store.column(open_ms)))
        for open_ms in range(first_ms, last_ms + 1, store.step_ms)
    ]


_KEYS = (
    ("t", "timestamp", "open_time"),
    ("o", "open"),
    ("h", "high"),
    ("l", "low"),
    ("c", "close"),
    ("v", "volume"),
    ("q", "quote_volume"),
    ("n", "trades"),
    ("V", "taker_buy_volume"),
    ("Q", "taker_buy_quote"),
)
_OPTIONAL = {"q", "n", "V", "Q"}


def _either(kline: Mapping[str, Any], *names: str) -> Any:
    for name in names:
        if name in kline:
            return kline[name]
    if names[0] in _OPTIONAL:
        return float("nan") if names[0] != "n" else 0.0
    raise KeyError(f"kline without {' / '.join(names)}")
