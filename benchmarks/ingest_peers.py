"""The peers of the ingest benchmark: other programs on the same load, each driven its own way.

    PEER_PYTHON -m benchmarks.ingest_peers --peer NAME --url ws://HOST:PORT/market/stream --expect N
    PEER_PYTHON -m benchmarks.ingest_peers --list

Run by an interpreter that has the peers (they stay out of the project's own environment); of the
project it needs the load alone. Each reads every frame into Python values the way its users get
them; what it keeps besides is its own affair. Where a peer can be spared work it is: cryptofeed
leaves depth frames after their decoding (its books need REST), nautilus decodes by the typed
decoders of its own Binance adapter and builds no objects of them.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import importlib.util
import json
import sys
import time

from benchmarks import ingest_load

PEERS = {
    "unicorn": "unicorn_binance_websocket_api",
    "unicorn/picows": "unicorn_binance_websocket_api",
    "cryptofeed": "cryptofeed",
    "ccxt": "ccxt",
    "python-binance": "binance",
    "nautilus": "nautilus_trader",
}
SILENT_S = 5.0


class Meter:
    """Counts messages; CPU time from the first to the last expected."""

    def __init__(self, expect: int) -> None:
        self.expect = expect
        self.count = 0
        self.began = self.ended = 0.0

    def message(self, _message: object = None, *_more: object) -> None:
        """One message was handed over, in whatever form the peer has."""
        self.count += 1
        if self.count == 1:
            self.began = time.process_time()
        if self.count == self.expect:
            self.ended = time.process_time()

    async def wait(self) -> None:
        """Until all came, or none for a while."""
        seen, since = 0, time.monotonic()
        while not self.ended and time.monotonic() - since < SILENT_S * (1 if self.count else 4):
            if self.count != seen:
                seen, since = self.count, time.monotonic()
            await asyncio.sleep(0.05)


async def unicorn(url: str, meter: Meter, library: str = "websockets") -> None:
    """unicorn-binance-websocket-api: a callback with dictionaries; by itself over `websockets`."""
    from unicorn_binance_websocket_api import BinanceWebSocketApiManager

    manager = BinanceWebSocketApiManager(
        exchange="binance.com-futures",
        websocket_base_uri=url.partition("market")[0],
        output_default="dict",
        disable_colorama=True,
        websocket_library=library,
    )
    # returns once the first frames are there; the rest come in a thread of the manager's own
    await asyncio.to_thread(
        manager.create_stream, ["kline_1m"], ["btcusdt"], process_stream_data=meter.message
    )
    await meter.wait()
    manager.stop_manager()


async def cryptofeed(url: str, meter: Meter) -> None:
    """cryptofeed: normalised objects to callbacks."""
    from cryptofeed.connection import WSAsyncConn
    from cryptofeed.defines import CANDLES, FUNDING, TRADES
    from cryptofeed.exchanges import BinanceFutures
    from cryptofeed.symbols import Symbols

    listed = {f"{s[:-4]}-USDT-PERP": s for s in ingest_load.Load().symbols}
    kinds = dict.fromkeys(listed, "perpetual")
    Symbols.set(BinanceFutures.id, listed, {"instrument_type": kinds, "tick_size": {}})

    class Feed(BinanceFutures):
        async def _book(self, msg, pair, timestamp):
            pass

    async def hear(_found, _receipt):
        pass

    names = list(listed)
    feed = Feed(
        symbols=names,
        channels=[CANDLES, TRADES, FUNDING],
        callbacks={CANDLES: hear, TRADES: hear, FUNDING: hear},
        candle_closed_only=False,
    )
    conn = WSAsyncConn(url.replace("ws:", "wss:"), "peer")
    conn.address = url  # it insists on TLS, which the load of this round has not
    async with conn.connect() as open_conn:
        async for message in open_conn.read():
            meter.message()
            await feed.message_handler(message, open_conn, open_conn.last_message)
            if meter.ended:
                break


async def ccxt(url: str, meter: Meter) -> None:
    """ccxt.pro: its client and handlers, with its caches of candles and trades."""
    import ccxt.pro

    exchange = ccxt.pro.binanceusdm({"enableRateLimit": False})
    exchange.set_markets(
        [
            {
                "id": s, "symbol": f"{s[:-4]}/USDT:USDT", "base": s[:-4], "quote": "USDT",
                "settle": "USDT", "type": "swap", "spot": False, "swap": True, "future": False,
                "option": False, "contract": True, "linear": True, "inverse": False, "active": True,
                "precision": {"price": 1e-7, "amount": 1e-3}, "limits": {}, "info": {},
            }
            for s in ingest_load.Load().symbols
        ]
    )  # fmt: skip
    handle = exchange.handle_message

    def counted(client, message):
        meter.message()
        handle(client, message)

    exchange.handle_message = counted
    waiting = asyncio.ensure_future(exchange.watch(url, "nothing", None, "nothing"))
    await meter.wait()
    await exchange.close()
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)


async def python_binance(url: str, meter: Meter) -> None:
    """python-binance: `futures_multiplex_socket`, dictionaries from `recv`."""
    from binance import AsyncClient, BinanceSocketManager

    client = AsyncClient()
    # a queue that drops would be no measurement
    manager = BinanceSocketManager(client, max_queue_size=meter.expect + 1)
    manager.FSTREAM_URL = url.partition("market")[0]
    async with manager.futures_multiplex_socket(["btcusdt@kline_1m"]) as socket:
        while not meter.ended:
            meter.message(await asyncio.wait_for(socket.recv(), 4 * SILENT_S))
    await client.close_connection()


async def nautilus(url: str, meter: Meter) -> None:
    """nautilus_trader: its socket (Rust), then the decoders of its Binance adapter."""
    import msgspec
    from nautilus_trader.adapters.binance.common.schemas import market as common
    from nautilus_trader.adapters.binance.futures.schemas import market as futures
    from nautilus_trader.core import nautilus_pyo3

    wrapper = msgspec.json.Decoder(common.BinanceDataMsgWrapper)
    decoders = {
        "@kline": msgspec.json.Decoder(common.BinanceCandlestickMsg),
        "@aggTrade": msgspec.json.Decoder(common.BinanceAggregatedTradeMsg),
        "@depth20": msgspec.json.Decoder(common.BinanceOrderBookMsg),
        "@markPrice": msgspec.json.Decoder(futures.BinanceFuturesMarkPriceMsg),
    }

    def hear(raw: bytes) -> None:
        stream = wrapper.decode(raw).stream
        for name, decoder in decoders.items():
            if name in stream:
                decoder.decode(raw)
        meter.message()

    config = nautilus_pyo3.WebSocketConfig(url=url, handler=hear, headers=[])
    client = await nautilus_pyo3.WebSocketClient.connect(config)
    await meter.wait()
    await client.disconnect()


CLIENTS = {
    "unicorn": unicorn,
    "unicorn/picows": functools.partial(unicorn, library="picows"),
    "cryptofeed": cryptofeed,
    "ccxt": ccxt,
    "python-binance": python_binance,
    "nautilus": nautilus,
}


def main() -> int:
    """Drive one peer and print its figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peer", choices=tuple(CLIENTS))
    parser.add_argument("--url", default="")
    parser.add_argument("--expect", type=int, default=60_000)
    parser.add_argument("--urgent", action="store_true", help="before all else on the machine")
    parser.add_argument("--list", action="store_true", help="the peers that are installed here")
    args = parser.parse_args()
    if args.list:
        print(
            json.dumps([name for name, module in PEERS.items() if importlib.util.find_spec(module)])
        )
        return 0
    if args.urgent:
        ingest_load.hurry()
    meter = Meter(args.expect)
    asyncio.run(CLIENTS[args.peer](args.url, meter))
    cpu_s = (meter.ended or time.process_time()) - meter.began
    found = {"messages": meter.count, "cpu_us_per_message": 1e6 * cpu_s / max(1, meter.count)}
    print(json.dumps(found), flush=True)
    return 0 if meter.count >= args.expect else 1


if __name__ == "__main__":
    sys.exit(main())
