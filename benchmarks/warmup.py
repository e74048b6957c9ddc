"""Warm-up: seconds until the market is scanned, against a venue of 100 ms latency.

`python -m benchmarks.warmup [--only cold progressive restart] [--rounds 5] [--json] [--check]`. The
venue is a process of its own with bodies made ready before they are asked for; it counts weight by
the UTC minute and answers 429 past the limit, which must never happen. The client is the product's
own: ledger (shared through a file, as on a real venue), transport, decoding, board, first scan.
`cold`: 140 symbols × (1h, 4h, 15m, 1d) and their first scan, against the time that the requests alone
take at the concurrency: by arithmetic, or, on a machine too busy for it, as bare requests of the same
HTTP library beside it take.
`progressive`: 550 symbols, the first 250 ready and scanned, then all as the weight windows allow.
`restart`: 140 symbols with candles on disk that end a bar before now.
"""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # threads that spin would be timed as work

import argparse
import asyncio
import json
import multiprocessing
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import ClassVar
from urllib.parse import parse_qs, urlsplit

LATENCY_S = 0.1
INTERVALS = ("1h", "4h", "15m", "1d")
INTERVAL_S = {"1h": 3_600, "4h": 14_400, "15m": 900, "1d": 86_400}
LIMIT = 2_400
CONCURRENCY = 100
FIRST = 250
BUSY = 1.25
"""Bare requests take so many times what arithmetic says: the machine is busy, they are the measure."""
BARS = {"cold_x": 2.0, "first_250_s": 5.0, "after_windows_s": 2.0, "restart_s": 1.5}


# ---- the venue -----------------------------------------------------------------------------------
class Bodies:
    """Candles of every interval as the venue prints them, one row a bar, made once."""

    def __init__(self, now_ms):
        from cryptosignal.ground.units import INTERVAL_MS

        self.step = {name: INTERVAL_MS[name] for name in INTERVALS}
        self.rows, self.base = {}, {}
        for name, step in self.step.items():
            newest = now_ms // step * step
            opens = range(newest - 700 * step, newest + 3 * step, step)
            self.base[name] = opens[0]
            self.rows[name] = [self._row(k, at, step) for k, at in enumerate(opens)]
        self.made = {}

    @staticmethod
    def _row(k, opened, step):
        price = 100.0 + 3.0 * ((k * 7919) % 101) / 101.0
        return (
            f'[{opened},"{price:.4f}","{price + 0.8:.4f}","{price - 0.7:.4f}","{price + 0.2:.4f}",'
            f'"{1000 + k % 97}.000",{opened + step - 1},"{price * 1000:.4f}",{500 + k % 31},'
            f'"{490 + k % 53}.000","{price * 490:.4f}","0"]'
        )

    def klines(self, interval, start_ms, limit):
        """The body of one request, ending at the forming bar."""
        step, base = self.step[interval], self.base[interval]
        first = max(0, -(-(start_ms - base) // step))
        last = min(first + limit, (int(time.time() * 1000) - base) // step + 1)
        key = interval, first, last
        if key not in self.made:
            text = "[" + ",".join(self.rows[interval][first:last]) + "]"
            self.made[key] = text.encode()
        return self.made[key]


class Desk(asyncio.Protocol):
    """One connection: requests in, answers after the latency."""

    bodies: Bodies
    used: ClassVar[dict[int, int]] = {}
    refused = 0

    def connection_made(self, transport):
        self.transport, self.buffer = transport, b""

    def data_received(self, data):
        self.buffer += data
        while (end := self.buffer.find(b"\r\n\r\n")) >= 0:
            head, self.buffer = self.buffer[:end], self.buffer[end + 4 :]
            answer = self.answer(head.split(b" ", 2)[1].decode())
            asyncio.get_running_loop().call_later(LATENCY_S, self._say, answer)

    def _say(self, answer):
        if not self.transport.is_closing():
            self.transport.write(answer)

    def answer(self, target):
        parts = urlsplit(target)
        asked = {key: value[0] for key, value in parse_qs(parts.query).items()}
        weight, body = 1, b"[]"
        if parts.path.endswith("/klines"):
            limit = int(asked.get("limit", "500"))
            weight = 1 if limit < 100 else 2 if limit < 500 else 5
            body = self.bodies.klines(asked["interval"], int(asked["startTime"]), limit)
        elif parts.path.endswith("/time"):
            body = b'{"serverTime":%d}' % (time.time() * 1000)
        elif parts.path.endswith("/ticker/24hr"):
            weight = 40
        elif parts.path.endswith("/premiumIndex"):
            weight = 10
        minute = int(time.time() // 60)
        Desk.used[minute] = Desk.used.get(minute, 0) + weight
        status = b"200 OK"
        if Desk.used[minute] > LIMIT:
            Desk.refused += 1
            status, body = b"429 Too Many Requests", b'{"code":-1003,"msg":"too many requests"}'
        if parts.path == "/refused":
            body = b"%d" % Desk.refused
        return (
            b"HTTP/1.1 " + status + b"\r\nContent-Type: application/json\r\nX-MBX-USED-WEIGHT-1M: "
            b"%d\r\nContent-Length: %d\r\n\r\n" % (Desk.used[minute], len(body)) + body
        )


def serve(pipe):
    """The venue's process."""

    async def run():
        Desk.bodies = Bodies(int(time.time() * 1000))
        server = await asyncio.get_running_loop().create_server(Desk, "127.0.0.1", 0, backlog=512)
        pipe.send(server.sockets[0].getsockname()[1])
        await asyncio.get_running_loop().run_in_executor(None, pipe.recv)
        pipe.send(Desk.refused)

    asyncio.run(run())


class Venue:
    """The venue's process; `refused` after the block is how many 429 it gave."""

    def __enter__(self):
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=serve, args=(theirs,), daemon=True)
        self.process.start()
        self.url = f"http://127.0.0.1:{self.pipe.recv()}"
        self.refused = 0
        return self

    def __exit__(self, *_):
        self.pipe.send("stop")
        self.refused = self.pipe.recv()
        self.process.join()


# ---- the client ----------------------------------------------------------------------------------
def symbols_of(count):
    return ["BTCUSDT", "ETHUSDT", *(f"C{k:03d}USDT" for k in range(count - 2))]


class Start:
    """A program's start as far as candles go: client, board, warm-up, scan."""

    def __init__(self, url, count, folder):
        from cryptosignal.binance.limits import Limits
        from cryptosignal.ground.clock import SystemClock
        from cryptosignal.market.board import Board
        from cryptosignal.market.settings import MarketSettings
        from cryptosignal.net.client import VenueClient
        from cryptosignal.net.ledger import WeightLedger
        from cryptosignal.net.transport import SocketTransport
        from cryptosignal.net.warmup import WarmUpSettings

        self.clock = SystemClock()
        self.transport = SocketTransport()
        self.ledger = WeightLedger(
            Limits(), self.clock, host=urlsplit(url).netloc, shared_path=Path(folder)
        )
        self.client = VenueClient(self.transport, url, self.ledger, self.clock)
        self.symbols = symbols_of(count)
        self.board = Board(MarketSettings(intervals=INTERVALS), count)
        self.settings = WarmUpSettings(
            concurrency=CONCURRENCY, with_open_interest=False, with_funding=False, with_spot=False
        )
        self.ledger.set_flat(True)  # as the program says where nothing is traded
        self.ready_s = []
        self.many = asyncio.Event()
        """Set once 250 symbols are ready."""

    async def know_time(self):
        """What every start of the program does first: measure the venue's clock."""
        await self.client.sync_time()
        return self

    async def warm(self):
        """Seconds until everything is loaded; `ready_s` tells when each symbol was."""
        from cryptosignal.net.warmup import warm_up

        began = time.monotonic()

        def note(symbol):
            self.ready_s.append(time.monotonic() - began)
            if len(self.ready_s) == FIRST:
                self.many.set()

        self.report = await warm_up(
            self.client, self.board, self.symbols, INTERVALS, self.clock, settings=self.settings,
            on_ready=note,
        )  # fmt: skip
        return time.monotonic() - began

    def scan(self):
        """Seconds of one scan; every ready symbol must have its bars."""
        from cryptosignal.domain.params import ParamSet
        from cryptosignal.factors.catalogue import FactorEngine
        from cryptosignal.signals.decide import SignalMemory, decide

        began = time.monotonic()
        params = ParamSet()
        rows = FactorEngine(params).compute(self.board.view(self.clock.now_ms()), 1, "start")
        found = decide(rows, params, SignalMemory())
        self.scanned = len(found) - int(found.skipped().sum())
        return time.monotonic() - began


async def bare(url):
    """Seconds that the same requests take when their bodies are read and dropped."""
    import aiohttp

    queue = iter(range(140 * len(INTERVALS)))

    async def work(session):
        for k in queue:
            interval = INTERVALS[k % len(INTERVALS)]
            limit = 99 if interval == "1d" else 499
            start_ms = (int(time.time()) - limit * INTERVAL_S[interval]) * 1000
            query = f"symbol=S&interval={interval}&startTime={start_ms}&limit={limit}"
            async with session.get(f"{url}/fapi/v1/klines?{query}") as answer:
                await answer.read()

    began = time.monotonic()
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=CONCURRENCY)) as session:
        await asyncio.gather(*(work(session) for _ in range(CONCURRENCY)))
    return time.monotonic() - began


async def cold():
    """Seconds to the first scan of 140 symbols, and what the requests alone would take."""
    with tempfile.TemporaryDirectory() as folder, Venue() as venue:
        start = await Start(venue.url, 140, folder).know_time()
        used = time.process_time()
        took = await start.warm() + start.scan()
        used = time.process_time() - used
        await start.transport.close()
        requests = start.report.requests
    with Venue() as other:
        bare_s = await bare(other.url)
    ideal = (140 * len(INTERVALS) / CONCURRENCY) * LATENCY_S
    alone = bare_s if bare_s > BUSY * ideal else ideal
    return {"seconds": took, "cpu_s": used, "ideal_s": ideal, "bare_s": bare_s, "alone_s": alone,
            "x_ideal": took / ideal, "x_alone": took / alone, "requests": requests,
            "scanned": start.scanned, "refused": venue.refused + other.refused}  # fmt: skip


def windows(began, symbols):
    """Seconds that the venue's minutes need for the candles of so many symbols, started at `began`.

    A minute gives no more than its limit, and no more than fits into what is left of it.
    """
    rate = CONCURRENCY / LATENCY_S * 7 / len(INTERVALS)  # weight a second: 7 for the four requests
    left, at = symbols * 7, began % 60.0
    while left > (sent := min(2_300, max(0.0, 60.0 - at % 60.0 - 2 * LATENCY_S) * rate)):
        left, at = left - sent, at - at % 60.0 + 60.0
    return at + left / rate - began % 60.0


async def progressive():
    """Seconds until 250 of 550 symbols are ready and scanned, and until all are."""
    with tempfile.TemporaryDirectory() as folder, Venue() as venue:
        start = await Start(venue.url, 550, folder).know_time()
        began = time.time()
        seen = {}

        async def watch():
            await start.many.wait()
            start.scan()
            seen["first_250_s"], seen["scanned"] = time.time() - began, start.scanned

        watching = asyncio.create_task(watch())
        took = await start.warm() + start.scan()
        await watching
        await start.transport.close()
    allowed = windows(began, 550)
    return {"first_250_s": seen["first_250_s"], "first_scanned": seen["scanned"], "all_s": took,
            "windows_allow_s": allowed, "after_windows_s": took - allowed,
            "scanned": start.scanned, "refused": venue.refused}  # fmt: skip


async def restart():
    """Seconds to the first scan of 140 symbols whose candles are on disk but for the newest bar."""
    from cryptosignal.modes.candle_keeper import CandleKeeper
    from cryptosignal.store.candles import CandleStore
    from cryptosignal.store.disk import FileDisk

    with tempfile.TemporaryDirectory() as folder, Venue() as venue:
        before = await Start(venue.url, 140, folder).know_time()
        await before.warm()

        def keeper(start):
            store = CandleStore(FileDisk(Path(folder)), "loopback")
            return CandleKeeper(store, start.board, start.client, start.clock,
                                lambda event, fields: None, start.settings)  # fmt: skip

        for bars in before.board.klines.values():
            for slot in range(140):
                bars.next_ms[slot] -= bars.step_ms
                bars.finality[slot, bars.column(bars.next_ms[slot])] = 0
        await keeper(before).save()
        await before.transport.close()
        start = await Start(venue.url, 140, folder).know_time()
        began = time.monotonic()
        await keeper(start).load(start.symbols, INTERVALS)
        await start.warm()
        start.scan()
        took = time.monotonic() - began
        await start.transport.close()
    return {"seconds": took, "requests": start.report.requests, "rows": start.report.rows,
            "scanned": start.scanned, "refused": venue.refused}  # fmt: skip


PARTS = {"cold": cold, "progressive": progressive, "restart": restart}


def measure(only, rounds):
    """Medians of the rounds; `progressive` takes up to a minute and is run once."""
    out = {}
    for name in only:
        runs = [asyncio.run(PARTS[name]()) for _ in range(1 if name == "progressive" else rounds)]
        out[name] = {key: statistics.median(run[key] for run in runs) for key in runs[0]}
        out[name]["refused"] = sum(run["refused"] for run in runs)
        out[name]["rounds"] = len(runs)
    return out


def rows(found):
    """For the table of all benchmarks."""
    out = []
    if part := found.get("cold"):
        out.append(("warm-up: 140 symbols to first scan", f"{part['seconds']:.2f} s",
                    f"requests alone {part['alone_s']:.2f} s", f"{part['x_alone']:.2f} x",
                    f"<= {BARS['cold_x']:g} x, no 429",
                    part["x_alone"] <= BARS["cold_x"] and not part["refused"]
                    and part["scanned"] == 140))  # fmt: skip
    if part := found.get("progressive"):
        out.append(("warm-up: first 250 of 550 scanned", f"{part['first_250_s']:.2f} s", "-", "-",
                    f"<= {BARS['first_250_s']:g} s, no 429",
                    part["first_250_s"] <= BARS["first_250_s"] and not part["refused"]
                    and part["first_scanned"] >= 250))  # fmt: skip
        out.append(("warm-up: all 550 scanned", f"{part['all_s']:.1f} s",
                    f"weight windows {part['windows_allow_s']:.1f} s",
                    f"{part['after_windows_s']:+.2f} s", f"<= +{BARS['after_windows_s']:g} s",
                    part["after_windows_s"] <= BARS["after_windows_s"]
                    and part["scanned"] == 550))  # fmt: skip
    if part := found.get("restart"):
        out.append(("warm-up: restart of 140 symbols", f"{part['seconds']:.2f} s", "-", "-",
                    f"<= {BARS['restart_s']:g} s, no 429",
                    part["seconds"] <= BARS["restart_s"] and not part["refused"]
                    and part["scanned"] == 140))  # fmt: skip
    return out


def main():
    """Run it and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=tuple(PARTS), default=list(PARTS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    found = measure(options.only, options.rounds)
    if options.json:
        print(json.dumps(found))
    else:
        for row in rows(found):
            print(*(str(cell) for cell in row[:-1]), "met" if row[-1] else "MISSED", sep=" | ")
    return 0 if all(row[-1] for row in rows(found)) or not options.check else 1


if __name__ == "__main__":
    sys.exit(main())
