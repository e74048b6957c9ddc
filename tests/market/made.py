"""Frames made by hand for the market's tests."""

from __future__ import annotations

import json

T0 = 1_763_640_000_000


def frame(stream: str, data, **dump) -> bytes:
    dump = dump or {"separators": (",", ":")}
    return json.dumps({"stream": stream, "data": data}, **dump).encode()


def kline(
    open_ms=T0, event_ms=None, close=101.0, x=False, f=1, last=5, symbol="BTCUSDT", interval="1m",
    raw=False, volume=3, step=60_000, **dump,
):  # fmt: skip
    event_ms = open_ms + 1000 if event_ms is None else event_ms
    data = {
        "e": "kline", "E": event_ms, "s": symbol,
        "k": {
            "t": open_ms, "T": open_ms + step - 1, "s": symbol, "i": interval, "f": f, "L": last,
            "o": "100", "c": str(close), "h": "110", "l": "90", "v": str(volume), "n": 5, "x": x,
            "q": "300", "V": "1", "Q": "100", "B": "0",
        },
    }  # fmt: skip
    if raw:
        return json.dumps(data, **(dump or {"separators": (",", ":")})).encode()
    return frame(f"{symbol.lower()}@kline_{interval}", data, **dump)


def trade(number, price, qty, time_ms, maker=False, symbol="BTCUSDT"):
    return frame(
        f"{symbol.lower()}@aggTrade",
        {"e": "aggTrade", "E": time_ms + 3, "s": symbol, "a": number, "p": str(price), "q": str(qty),
         "f": number, "l": number, "T": time_ms, "m": maker},
    )  # fmt: skip


def rows(first_ms, count, step=60_000, price=100.0):
    """REST rows."""
    return [
        [
            first_ms + i * step,
            price,
            110,
            90,
            price + i,
            3,
            first_ms + (i + 1) * step - 1,
            300,
            5,
            1,
            100,
        ]
        for i in range(count)
    ]
