"""Streams of `unicorn-binance-websocket-api`, unmodified but for its base URLs. Runs in a venv of its own."""

import json
import logging
import sys
import time

from unicorn_binance_websocket_api import BinanceWebSocketApiManager

READY = json.loads(sys.argv[1])
WANTED = {
    "btcusdt@aggTrade",
    "ethusdt@kline_1m",
    "btcusdt@markPrice",
    "ethusdt@depth5",
    "btcusdt@bookTicker",
    "list",
}
logging.getLogger("unicorn_binance_websocket_api").setLevel(logging.CRITICAL)


def check(name, held):
    print(f"{'ok  ' if held else 'FAIL'} unicorn {name}", flush=True)
    if not held:
        sys.exit(1)


manager = BinanceWebSocketApiManager(
    exchange="binance.com-futures",
    output_default="dict",
    websocket_base_uri=READY["ws"] + "/",
    websocket_api_base_uri=READY["ws_api"],
    restful_base_uri=READY["rest"] + "/",
)
pair = ["btcusdt", "ethusdt"]
streams = [
    manager.create_stream(["aggTrade", "kline_1m", "markPrice"], pair),
    manager.create_stream(["depth5", "bookTicker"], pair),
    manager.create_stream(["arr"], ["!miniTicker"]),
]
seen = set()
end = time.monotonic() + 60
while time.monotonic() < end and not seen >= WANTED:
    data = manager.pop_stream_data_from_stream_buffer()
    if not data:
        time.sleep(0.01)
        continue
    seen.add(data.get("stream", "") if isinstance(data, dict) else "list")
try:
    for name in sorted(WANTED):
        check(name, name in seen)
    manager.subscribe_to_stream(streams[0], markets=["solusdt"])
    end = time.monotonic() + 60
    while time.monotonic() < end and "solusdt@markPrice" not in seen:
        data = manager.pop_stream_data_from_stream_buffer()
        if data:
            seen.add(data.get("stream", "") if isinstance(data, dict) else "list")
        else:
            time.sleep(0.01)
    check("subscribed later", "solusdt@markPrice" in seen)
finally:
    manager.stop_manager()
