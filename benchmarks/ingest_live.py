"""A market that goes on for minutes: every stream of 550 symbols, faster than the venue ever sends.

    python -m benchmarks.ingest_live --port P [--symbols 550] [--speed 2] [--seconds 300] [--log FILE]

The venue sends a kline stream four times a second at most; with trades, books and marks in the
shares of the ingest load 550 symbols × 5 intervals are 18,300 messages a second, `--speed` times as
many here. Event time runs as the wall's does. Figures come from a pool of rounds made before and
used in turn; times, ids and what closes are new in every frame, so that nothing repeats for a
client. `--log FILE` tells what was sent: frames, and nanoseconds they took.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import socket
import sys
import time
from array import array
from pathlib import Path

from benchmarks.ingest_load import INTERVALS, ROUND_MS, START_MS, Load, framed, handshake, swallow

POOL_ROUNDS = 8
CHUNK_FRAMES = 400
STEP_MS = dict(INTERVALS)
_TIMES = re.compile(rb'("E":|"T":|"t":|"a":|"U":|"u":|"pu":)\d+')
_FLAG = re.compile(rb'"x":(?:true|false)')


class Tide:
    """Frames by round: `frames(event_ms)` has all of one round, framed."""

    def __init__(self, symbols: int) -> None:
        load = Load(symbols)
        self.pool = [[_parted(p) for p in load.round(START_MS)] for _ in range(POOL_ROUNDS)]
        self.rounds = 0
        self.number = 10**9
        self.opened: dict[bytes, int] = {}
        self.closed = 0

    def frames(self, event_ms: int):
        """One round at this event time."""
        pool = self.pool[self.rounds % POOL_ROUNDS]
        self.rounds += 1
        for kind, name, template in pool:
            self.number += 1
            if kind == "kline":
                yield framed(self._kline(name, template, event_ms))
            elif kind == "aggTrade":
                yield framed(template % (event_ms, self.number, event_ms - 5))
            elif kind == "depthUpdate":
                ids = self.number * 100, self.number * 100 + 50, self.number * 100 - 3
                yield framed(template % (event_ms, event_ms - 4, *ids))
            else:
                yield framed(template % (event_ms, (event_ms // 28_800_000 + 1) * 28_800_000))

    def _kline(self, name: bytes, template: bytes, event_ms: int) -> bytes:
        """The bar that is going on, or once the last word on the one before."""
        step = STEP_MS[name.rpartition(b"_")[2].decode()]
        now = event_ms // step * step
        opened = self.opened.setdefault(name, now)
        is_closed = opened != now
        if is_closed:
            self.opened[name] = now
            self.closed += 1
        return template % (event_ms, opened, opened + step - 1, b"true" if is_closed else b"false")


def _parted(payload: bytes) -> tuple[str, bytes, bytes]:
    """(kind, stream, a template with the times, ids and the flag left out)."""
    message = json.loads(payload)
    template = _TIMES.sub(rb"\g<1>%d", payload.replace(b"%", b"%%"))
    return message["data"]["e"], message["stream"].encode(), _FLAG.sub(b'"x":%b', template)


def send(client: socket.socket, args: argparse.Namespace) -> array[int]:
    """Rounds until the time is over; frames sent, and over how many ns."""
    tide, sent, pause_ms = Tide(args.symbols), 0, ROUND_MS / args.speed
    began = time.monotonic_ns()
    for count in range(int(args.seconds * 1000 / pause_ms)):
        frames = [*tide.frames(START_MS + int(count * pause_ms))]
        rest = count * pause_ms / 1000 - (time.monotonic_ns() - began) / 1e9
        if rest > 0:
            time.sleep(rest)
        for at in range(0, len(frames), CHUNK_FRAMES):
            client.sendall(b"".join(frames[at : at + CHUNK_FRAMES]))
        sent += len(frames)
    return array("q", (sent, time.monotonic_ns() - began))


def main() -> int:
    """Serve one client."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--symbols", type=int, default=550)
    parser.add_argument("--speed", type=float, default=2.0)
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--log", default="")
    args = parser.parse_args()
    if len(os.sched_getaffinity(0)) > 1:
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    listener = socket.create_server(("127.0.0.1", args.port))
    print(json.dumps({"port": listener.getsockname()[1]}), flush=True)
    client, _ = listener.accept()
    with client:
        handshake(client)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        swallow(client, 0.25)
        told = send(client, args)
        if args.log:
            Path(args.log).write_bytes(told.tobytes())
        swallow(client, 20.0)
    return 0


if __name__ == "__main__":
    sys.exit(main())
