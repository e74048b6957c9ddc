"""Ingest at a steady rate: CPU against counting, the way from wire to cache, memory over minutes.

    python -m benchmarks.ingest --paced [--rate 20000] [--seconds 10] [--check]
    python -m benchmarks.ingest --soak 300 [--speed 2] [--check]

Paced: 20,000 messages/s over TLS. CPU at most 1.5 × counting frames; from the moment that a frame is
handed to the server's socket until a read of our cache shows it, less than 2 ms at p99; nothing
dropped. Both clocks are the host's monotonic one, so that nothing has to be set. Frames are matched
by their number: TCP keeps the order. Both ends go before everything else on the machine, where they
may (`urgent` says so): else a busy machine's queue for its cores is all that is measured.

Soak: 550 symbols × 5 intervals at twice the venue's peak (`ingest_live`). Memory is read once a
second; its growth is the median of the last third less that of the middle third: the first third is
the start, in which the rings of trades fill (a minute). More than 2 MB or 1 % is growth.
"""

from __future__ import annotations

import argparse
import datetime
import statistics
import tempfile
import time
from array import array
from pathlib import Path

import numpy as np

from benchmarks import ingest, ingest_load

PACED_BAR = 1.5
LATENCY_BAR_MS = 2.0
GROWTH_BAR_MB = 2.0
GROWTH_BAR_FRAC = 0.01
RATE_LEAST_FRAC = 0.98
SOAK_SYMBOLS = 550


def certificate() -> str:
    """A self-signed pair for localhost; answers the stem of its files."""
    from ipaddress import ip_address

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    stem = Path(tempfile.gettempdir()) / "cryptosignal-bench" / "loopback"
    stem.parent.mkdir(exist_ok=True)
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=30))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    stem.with_suffix(".pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    stem.with_suffix(".key").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return str(stem)


class Stamps:
    """When each frame came to the cache, in the order that they came, monotonic ns.

    A frame of a known stream is there once the transport's callback is done with it, or with the
    whole read that it came in: whoever looks from then on finds it. One that was put aside is there
    after the drain; of a read that has such, all count as such.
    """

    def __init__(self, feed) -> None:
        from cryptosignal.net import lines, picows_link

        self.came = came = array("q")
        self.aside = aside = []
        plain = picows_link._SortingLink

        class Stamped(plain):
            def on_ws_frame(self, transport, frame):
                waiting = _put_aside(feed)
                plain.on_ws_frame(self, transport, frame)
                if _put_aside(feed) != waiting:
                    aside.append(len(came))
                came.append(time.monotonic_ns())

        picows_link._SortingLink = Stamped
        take = lines.SortingReader.take

        def taken(reader, start: int, end: int) -> tuple[int, int]:
            waiting, before = _put_aside(feed), reader._socket.taken
            answer = take(reader, start, end)
            count = reader._socket.taken - before
            if _put_aside(feed) != waiting:
                aside.extend(range(len(came), len(came) + count))
            came.extend([time.monotonic_ns()] * count)
            return answer

        lines.SortingReader.take = taken
        absorb = feed._absorb

        def absorbed(line) -> None:
            absorb(line)
            now_ns = time.monotonic_ns()
            for place in aside:
                came[place] = now_ns
            aside.clear()

        feed._absorb = absorbed

    def keep(self, path: str) -> None:
        """Write them to a file."""
        Path(path).write_bytes(self.came.tobytes())


def _put_aside(feed) -> int:
    return sum(len(line.frames) for line in feed.lines.values())


def paced(args: argparse.Namespace) -> dict:
    """20,000 messages/s over TLS: CPU against counting only, and how long a frame is on its way.

    The stamps cost a few tenths of a microsecond a frame, so they have runs of their own.
    """
    count = min(args.messages, int(args.rate * args.seconds))
    path, _ = ingest_load.feed_file(count)
    stem = certificate()
    costs: dict[str, list[float]] = {"count": [], "ours": []}
    took: list[tuple[float, float, float]] = []
    received: list[int] = []
    urgent: list[bool] = []
    for _ in range(args.rounds):
        for name in costs:
            run = _paced_run(name, path, args.rate, stem, count)
            costs[name].append(run["cpu_us_per_message"])
            received.append(run["messages"])
        with tempfile.TemporaryDirectory() as folder:
            run = _paced_run("ours", path, args.rate, stem, count, Path(folder))
            received.append(run["messages"])
            urgent.append(run["urgent"])
            if run["messages"] == count:
                took.append(latency_ms(Path(folder)))
    medians = {name: statistics.median(values) for name, values in costs.items()}
    ratio = medians["ours"] / medians["count"]
    columns = [*zip(*took, strict=True)] if took else [(float("inf"),)] * 3
    p50, p99, most = (round(statistics.median(column), 3) for column in columns)
    return {
        "paced_cpu_us_per_message": medians,
        "ratio_to_count": round(ratio, 3),
        "bar": PACED_BAR,
        "event_to_cache_ms": {"p50": p50, "p99": p99, "max": most},
        "event_to_cache_bar_ms": LATENCY_BAR_MS,
        "urgent": all(urgent),
        "messages": min(received),
        "dropped": count - min(received),
        "holds": ratio <= PACED_BAR and min(received) == count and p99 < LATENCY_BAR_MS,
    }


def _paced_run(
    name: str, path: Path, rate: float, stem: str, count: int, folder: Path | None = None
) -> dict:
    """One client on the paced load; with a folder both ends leave their stamps there."""
    options = ["--feed", str(path), "--mode", "paced", "--rate", str(rate), "--tls", stem]
    options += ["--urgent"]
    own = ["--ca", stem + ".pem", "--urgent"]
    if folder is not None:
        options += ["--log", str(folder / "left")]
        own += ["--stamps", str(folder / "came")]
    with ingest.server(*options) as port:
        url = f"wss://127.0.0.1:{port}/market/stream?streams=x"
        return ingest.run_client(name, url, count, *own)


def latency_ms(folder: Path) -> tuple[float, float, float]:
    """(p50, p99, most) of a frame's way from the server's socket to the cache."""
    left, came = _integers(folder / "left"), _integers(folder / "came")
    took = (came[: len(left)] - left) / 1e6
    p50, p99 = np.percentile(took, (50, 99))
    return float(p50), float(p99), float(took.max())


def _integers(path: Path) -> np.ndarray:
    return np.frombuffer(path.read_bytes(), np.int64)


def soak(args: argparse.Namespace) -> dict:
    """Minutes at twice the venue's peak: does memory grow?"""
    seconds = args.soak
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "sent"
        options = ["--seconds", str(seconds), "--speed", str(args.speed)]
        options += ["--symbols", str(SOAK_SYMBOLS), "--log", str(log)]
        with ingest.server(*options, module="ingest_live") as port:
            url = f"ws://127.0.0.1:{port}/market/stream?streams=x"
            more = ["--capacity", "600", "--idle", "10"]
            run = ingest.run_client("ours", url, 1 << 60, *more, timeout_s=seconds + 120)
            sent, took_ns = _integers(log).tolist() if log.exists() else (0, 1)
    nominal = SOAK_SYMBOLS * len(ingest_load.INTERVALS) / ingest_load.SHARES[0]
    nominal *= args.speed * 1000 / ingest_load.ROUND_MS
    rate = sent / (took_ns / 1e9)
    grown, before = growth_mb(run["resident_mb"])
    is_steady = grown <= max(GROWTH_BAR_MB, GROWTH_BAR_FRAC * before)
    return {
        "seconds": seconds,
        "messages": run["messages"],
        "dropped": sent - run["messages"],
        "messages_per_s": round(rate),
        "nominal_per_s": round(nominal),
        "cpu_us_per_message": run["cpu_us_per_message"],
        "closed": run["closed"],
        "malformed": run["malformed"],
        "resident_mb": before,
        "growth_mb": round(grown, 2),
        "bar_mb": round(max(GROWTH_BAR_MB, GROWTH_BAR_FRAC * before), 2),
        "holds": is_steady and sent == run["messages"] > 0 and rate >= RATE_LEAST_FRAC * nominal,
    }


def growth_mb(resident_mb: list[float]) -> tuple[float, float]:
    """(growth from the middle third to the last, the middle third), medians of MB by second."""
    third = len(resident_mb) // 3
    if not third:
        return float("inf"), 0.0
    middle = statistics.median(resident_mb[third : 2 * third])
    return statistics.median(resident_mb[2 * third : 3 * third]) - middle, middle
