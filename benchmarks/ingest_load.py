"""The load of the ingest benchmark: frames as the venue sends them, and a server that blasts them.

    python -m benchmarks.ingest_load --port P --feed FILE [--mode blast|paced] [--rate 20000] [--tls]

`--log FILE` keeps when each paced frame left. A market that goes on for minutes is `ingest_live`.

200 symbols, 60 % kline over five intervals, 25 % aggTrade, 10 % depth20, 5 % markPrice, about 365
bytes each; the run crosses a full hour so that every interval but the day closes bars.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import os
import random
import select
import socket
import ssl
import struct
import sys
import tempfile
import time
from array import array
from pathlib import Path

INTERVALS = (
    ("1m", 60_000),
    ("15m", 900_000),
    ("1h", 3_600_000),
    ("4h", 14_400_000),
    ("1d", 86_400_000),
)
START_MS = 1_763_600_000_000 // 86_400_000 * 86_400_000 + 43_200_000 - 20_000
SHARES = (0.60, 0.25, 0.10, 0.05)
ROUND_MS = 250


class Load:
    """A seeded market that emits combined-stream frames in rounds of 250 ms."""

    def __init__(self, symbols: int = 200, seed: int = 7) -> None:
        self.rng = random.Random(seed)
        self.symbols = _symbols(self.rng, symbols)
        self.price = [10 ** self.rng.uniform(-3, 3.5) for _ in self.symbols]
        self.price[0], self.price[1] = 91_234.5, 3_123.4
        self.digits = [max(1, min(7, 5 - int(f"{p:e}".split("e")[1]))) for p in self.price]
        self.qty_digits = [3 if p > 100 else (1 if p > 1 else 0) for p in self.price]
        self.bars: dict[tuple[int, str], list] = {}
        self.trade_id = [self.rng.randrange(10**8, 10**9) for _ in self.symbols]
        self.closed = 0

    def frames(self, count: int):
        """`count` payloads."""
        made, event_ms = 0, START_MS
        while made < count:
            for payload in self.round(event_ms):
                if made >= count:
                    return
                yield payload
                made += 1
            event_ms += ROUND_MS

    def round(self, event_ms: int):
        """One frame of every kline stream, and of the others by their shares, at one event time."""
        kline_share, trade_share, depth_share, mark_share = SHARES
        groups = []
        for index in range(len(self.symbols)):
            self.price[index] *= 1 + self.rng.gauss(0, 2e-4)
            groups.append([(self.kline, index, interval) for interval in INTERVALS])
        others = int(len(groups) * len(INTERVALS) * (1 - kline_share) / kline_share)
        makers = self.rng.choices(
            (self.trade, self.depth, self.mark), (trade_share, depth_share, mark_share), k=others
        )
        groups += [[(make, self.rng.randrange(len(self.symbols)), None)] for make in makers]
        self.rng.shuffle(groups)
        for group in groups:
            for make, index, interval in group:
                yield make(index, event_ms, interval)

    def kline(self, index: int, event_ms: int, interval) -> bytes:
        name, step = interval
        symbol, digits, qty_digits = self.symbols[index], self.digits[index], self.qty_digits[index]
        price = self.price[index]
        opened = event_ms // step * step
        bar = self.bars.get((index, name))
        is_closed = bar is not None and bar[0] != opened
        if is_closed:
            opened = bar[0]
            self.closed += 1
        if bar is None:
            bar = [opened, price, price, price, price, 0.0, 0.0, 0.0, 0.0, 0, self.trade_id[index]]
            self.bars[index, name] = bar
        bar[2], bar[3], bar[4] = max(bar[2], price), min(bar[3], price), price
        volume = self.rng.expovariate(1) * 5e4 / price
        taker = volume * self.rng.random()
        bar[5] += volume
        bar[6] += volume * price
        bar[7] += taker
        bar[8] += taker * price
        trades = self.rng.randrange(1, 40)
        bar[9] += trades
        text = (
            f'{{"stream":"{symbol.lower()}@kline_{name}","data":{{"e":"kline","E":{event_ms},'
            f'"s":"{symbol}","k":{{"t":{opened},"T":{opened + step - 1},"s":"{symbol}","i":"{name}",'
            f'"f":{bar[10]},"L":{bar[10] + bar[9]},"o":"{bar[1]:.{digits}f}","c":"{bar[4]:.{digits}f}",'
            f'"h":"{bar[2]:.{digits}f}","l":"{bar[3]:.{digits}f}","v":"{bar[5]:.{qty_digits}f}",'
            f'"n":{bar[9]},"x":{"true" if is_closed else "false"},"q":"{bar[6]:.{digits}f}",'
            f'"V":"{bar[7]:.{qty_digits}f}","Q":"{bar[8]:.{digits}f}","B":"0"}}}}}}'
        )
        if is_closed:
            del self.bars[index, name]
            self.trade_id[index] = bar[10] + bar[9] + 1
        return text.encode()

    def trade(self, index: int, event_ms: int, _) -> bytes:
        symbol, price = self.symbols[index], self.price[index]
        number = self.rng.randrange(10**9, 3 * 10**9)
        qty = self.rng.expovariate(1) * 1000 / price + 1
        maker = "true" if self.rng.random() < 0.5 else "false"
        return (
            f'{{"stream":"{symbol.lower()}@aggTrade","data":{{"e":"aggTrade","E":{event_ms},'
            f'"a":{number},"s":"{symbol}","p":"{price:.{self.digits[index]}f}",'
            f'"q":"{qty:.{self.qty_digits[index]}f}","f":{number * 2},"l":{number * 2 + 3},'
            f'"T":{event_ms - 5},"m":{maker}}}}}'
        ).encode()

    def depth(self, index: int, event_ms: int, _) -> bytes:
        symbol, price, digits = self.symbols[index], self.price[index], self.digits[index]
        qty_digits, tick = self.qty_digits[index], 10.0 ** -self.digits[index]
        update = self.rng.randrange(9 * 10**12, 10**13)

        def side(sign: int) -> str:
            return ",".join(
                f'["{price + sign * tick * (level + 1):.{digits}f}",'
                f'"{self.rng.expovariate(1) * 20_000 / price + 1:.{qty_digits}f}"]'
                for level in range(20)
            )

        return (
            f'{{"stream":"{symbol.lower()}@depth20@100ms","data":{{"e":"depthUpdate","E":{event_ms},'
            f'"T":{event_ms - 4},"s":"{symbol}","U":{update},"u":{update + 50},"pu":{update - 3},'
            f'"b":[{side(-1)}],"a":[{side(1)}]}}}}'
        ).encode()

    def mark(self, index: int, event_ms: int, _) -> bytes:
        symbol, price = self.symbols[index], self.price[index]
        return (
            f'{{"stream":"{symbol.lower()}@markPrice@1s","data":{{"e":"markPriceUpdate",'
            f'"E":{event_ms},"s":"{symbol}","p":"{price:.8f}","P":"{price * 1.0002:.8f}",'
            f'"i":"{price * 1.0001:.8f}","r":"{self.rng.gauss(1e-4, 5e-5):.8f}",'
            f'"T":{event_ms // 28_800_000 * 28_800_000 + 28_800_000}}}}}'
        ).encode()


def _symbols(rng: random.Random, count: int) -> list[str]:
    known = ["BTC", "ETH", "SOL", "XRP", "DOGE", "1000PEPE", "ADA", "LINK", "AVAX", "SUI"]
    seen = dict.fromkeys(known)
    while len(seen) < count:
        seen[
            "".join(rng.choices("ABCDEFGHIJKLMNOPQRSTUVWXYZ", k=rng.choice([3, 3, 3, 4, 4, 5])))
        ] = None
    return [f"{base}USDT" for base in list(seen)[:count]]


def framed(payload: bytes) -> bytes:
    """An unmasked text frame."""
    size = len(payload)
    if size < 126:
        return bytes((0x81, size)) + payload
    if size < 65_536:
        return struct.pack(">BBH", 0x81, 126, size) + payload
    return struct.pack(">BBQ", 0x81, 127, size) + payload


def feed_file(count: int, symbols: int = 200, seed: int = 7) -> tuple[Path, int]:
    """(file of framed payloads, bars closed in it); made once for each size."""
    folder = Path(tempfile.gettempdir()) / "cryptosignal-bench"
    folder.mkdir(exist_ok=True)
    path = folder / f"ingest-{count}-{symbols}-{seed}-2.bin"
    facts = path.with_suffix(".json")
    if not facts.exists():
        load = Load(symbols, seed)
        with path.open("wb", buffering=1 << 22) as out:
            for payload in load.frames(count):
                out.write(framed(payload))
        facts.write_text(json.dumps({"closed": load.closed}))
    return path, json.loads(facts.read_text())["closed"]


def payloads(path: Path):
    """The payloads of a feed file, one by one."""
    data = path.read_bytes()
    at = 0
    while at < len(data):
        size = data[at + 1]
        at += 2
        if size == 126:
            size = int.from_bytes(data[at : at + 2], "big")
            at += 2
        elif size == 127:
            size = int.from_bytes(data[at : at + 8], "big")
            at += 8
        yield data[at : at + size]
        at += size


# ---- the server ---------------------------------------------------------------------------------
def _offsets(data: memoryview) -> list[int]:
    found, at = [0], 0
    while at < len(data):
        size = data[at + 1]
        if size < 126:
            at += 2 + size
        elif size == 126:
            at += 4 + ((data[at + 2] << 8) | data[at + 3])
        else:
            at += 10 + int.from_bytes(data[at + 2 : at + 10], "big")
        found.append(at)
    return found


def hurry() -> bool:
    """Go before everything else on the machine, if that is allowed: a wait for a core that somebody
    else has is no part of what is measured."""
    try:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    except (OSError, AttributeError):
        return False
    return True


def handshake(client) -> None:
    request = b""
    while b"\r\n\r\n" not in request:
        chunk = client.recv(65_536)
        if not chunk:
            raise ConnectionError("no request")
        request += chunk
    key = next(
        line.split(b":", 1)[1].strip()
        for line in request.split(b"\r\n")
        if line.lower().startswith(b"sec-websocket-key")
    )
    digest = hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
    client.sendall(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + base64.b64encode(digest) + b"\r\n\r\n"
    )


def swallow(client, seconds: float) -> None:
    """Swallow what the client sends (subscriptions, pings, close) for a while."""
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        ready, _, _ = select.select([client], [], [], left)
        if ready and not client.recv(1 << 16):
            return


def _send(client, data: memoryview, offsets: list[int] | None, args) -> array:
    """The feed, `loops` times; answers when each frame left (monotonic ns) if they are paced."""
    left = array("q")
    for _ in range(args.loops):
        if offsets is None:
            for at in range(0, len(data), 1 << 18):
                client.sendall(data[at : at + (1 << 18)])
            continue
        began, index, tick, total = time.perf_counter(), 0, 0, len(offsets) - 1
        while index < total:
            tick += 1
            until = min(total, int(tick * args.rate / 1000))
            while index < until:
                left.append(time.monotonic_ns())
                client.sendall(data[offsets[index] : offsets[index + 1]])
                index += 1
            rest = began + tick * 0.001 - time.perf_counter()
            if rest > 0:
                time.sleep(rest)
    return left


def serve(args) -> None:
    """One forked process a connection, until terminated."""
    if len(os.sched_getaffinity(0)) > 1:
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    if args.urgent:
        hurry()
    data = memoryview(Path(args.feed).read_bytes())
    offsets = _offsets(data) if args.mode == "paced" else None
    context = None
    if args.tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(args.tls + ".pem", args.tls + ".key")
    listener = socket.create_server(("127.0.0.1", args.port))
    print(json.dumps({"port": listener.getsockname()[1]}), flush=True)
    while True:
        client, _ = listener.accept()
        if os.fork():
            client.close()
            continue
        try:
            if context:
                client = context.wrap_socket(client, server_side=True)
            handshake(client)
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            swallow(client, 0.25)
            left = _send(client, data, offsets, args)
            if args.log:
                Path(args.log).write_bytes(left.tobytes())
            swallow(client, 20.0)
        except OSError as error:
            print(f"connection ended: {error}", file=sys.stderr, flush=True)
        finally:
            client.close()
            os._exit(0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--feed", required=True)
    parser.add_argument("--mode", choices=("blast", "paced"), default="blast")
    parser.add_argument("--log", default="", help="where to keep when each paced frame left, ns")
    parser.add_argument("--rate", type=float, default=20_000)
    parser.add_argument("--urgent", action="store_true", help="before all else on the machine")
    parser.add_argument("--loops", type=int, default=1)
    parser.add_argument("--tls", default="", help="stem of a .pem/.key pair")
    serve(parser.parse_args())


if __name__ == "__main__":
    main()
