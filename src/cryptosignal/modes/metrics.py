"""The run in numbers for Prometheus, on 127.0.0.1, if `run.metrics_port` names a port.

A scrape comes on a thread of its own, so it never touches live state: the loop renders a page of
text every few seconds, and scrapes get the newest page.
"""

from __future__ import annotations

import asyncio
import threading
from collections import defaultdict
from collections.abc import Iterator
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from cryptosignal.ground.faults import UserFault

if TYPE_CHECKING:
    from cryptosignal.modes.program import Program

RENDER_S: Final = 5.0
_HOST: Final = "127.0.0.1"
_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


class MetricsServer:
    """Serves the newest page. Raises UserFault if the port is taken."""

    def __init__(self, port: int) -> None:
        self.page = b""
        owner = self

        class Scrape(BaseHTTPRequestHandler):
            """One scrape."""

            def do_GET(self) -> None:  # the standard library's name
                """Answer with the newest page."""
                self.send_response(HTTPStatus.OK)
                self.send_header("Content-Type", _TYPE)
                self.send_header("Content-Length", str(len(owner.page)))
                self.end_headers()
                self.wfile.write(owner.page)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # as above
                """Scrapes are no news."""

        try:
            self._server = ThreadingHTTPServer((_HOST, port), Scrape)
        except OSError as error:
            raise UserFault(
                f"run.metrics_port: found {port} ({error.strerror}), allowed: a free port"
            ) from None
        self._server.daemon_threads = True
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    async def run(self, program: Program) -> None:
        """Render and serve until cancelled."""
        source = _Source(program)
        registry = CollectorRegistry()
        registry.register(source)
        self.page = generate_latest(registry)
        self._thread.start()
        try:
            while True:
                self.page = generate_latest(registry)
                await asyncio.sleep(RENDER_S)
        finally:
            await asyncio.to_thread(self._server.shutdown)
            self._server.server_close()


class _Source:
    """Reads a program; called on its loop only."""

    def __init__(self, program: Program) -> None:
        self._program = program

    def collect(self) -> Iterator[Metric]:
        """All families, fresh."""
        yield from self._feed()
        yield from self._ledger()
        yield from self._stores()
        yield from self._engine()

    def _feed(self) -> Iterator[Metric]:
        program = self._program
        program.feed.flush()  # a frame that waits would show as one from the future
        program.board.look_at_lags(program.clock.now_ms())
        lags: dict[str, int] = defaultdict(int)
        for stream in program.board.inbox.streams.values():
            if stream.count and stream.is_wanted:
                kind = str(stream.kind)
                lags[kind] = max(lags[kind], stream.lag_ms)
        yield _by_label("stream_lag_ms", "newest event to cache, worst stream", "kind", lags)
        each = program.board.lags_ms()
        yield _by_label("each_stream_lag_ms", "newest event to cache", "stream", each)
        found = program.board.lags.by_stream()
        p50 = {name: lag.p50_ms for name, lag in found.items()}
        p99 = {name: lag.p99_ms for name, lag in found.items()}
        yield _by_label("stream_lag_p50_ms", "half the events to cache sooner", "stream", p50)
        yield _by_label("stream_lag_p99_ms", "99 % of events to cache sooner", "stream", p99)
        behind_ms = max(0, -program.board.baseline.value_ms)
        yield _value("clock_behind_ms", "our clock behind the venue's, by its events", behind_ms)
        states = {
            str(line.conn_id): int(line.session.state) for line in program.feed.lines.values()
        }
        yield _by_label("connection_state", "0 disconnected … 6 failed", "connection", states)
        yield _total("renewals", "connections replaced before their age", program.feed.renewals)
        yield _value("silent_streams", "streams found dead", program.feed.silent_streams)
        stats = program.board.get_stats()
        yield _total("gaps_found", "holes found in candle series", stats["gaps_found"])
        yield _total("gaps_repaired", "holes filled", stats["gaps_repaired"])
        yield _total("frames", "market frames taken", program.board.frames)
        lost = CounterMetricFamily(
            "cryptosignal_reconnects", "connections lost, by reason", labels=["reason"]
        )
        for reason, count in program.feed.reasons.items():
            lost.add_metric([reason], count)
        yield lost
        for name, count in program.repairer.stats().items():
            yield _value(f"repair_{name}", f"repair lane: {name.replace('_', ' ')}", count)
        for name, count in program.refresher.stats().items():
            key = name.replace(" ", "_")
            yield _value(f"refresh_{key}", f"slow series: {name}", count)
        score = program.quality.score
        known = {symbol: float(score[program.board.slot(symbol)]) for symbol in program.symbols}
        yield _by_label("data_quality", "DataQual, NaN without events", "symbol", known)

    def _ledger(self) -> Iterator[Metric]:
        view = self._program.ledger.snapshot()
        spent = CounterMetricFamily(
            "cryptosignal_weight", "request weight spent, by lane", labels=["lane"]
        )
        for lane, weight in view.spent_by_lane.items():
            spent.add_metric([lane.lower()], weight)
        yield spent
        reads = CounterMetricFamily(
            "cryptosignal_account_reads", "requests that read the account, by why", labels=["why"]
        )
        for why, count in self._program.client.account_reads.items():
            reads.add_metric([why], count)
        yield reads
        yield _by_label("limit_used", "used of each limit now", "pool", view.used)
        yield _total("rate_limited", "429 and 418 answers", view.punished)

    def _stores(self) -> Iterator[Metric]:
        stores = self._program.setup.stores
        if stores is None:
            return
        yield _by_label("store_bytes", "bytes on disk at the last look", "store", stores.sizes)
        tape = stores.stats()
        for key in ("entries", "dropped", "written_bytes"):
            yield _total(f"tape_{key}", f"tape: {key.replace('_', ' ')}", tape.get(key, 0))

    def _engine(self) -> Iterator[Metric]:
        program = self._program
        naked = program.desk.naked_ms()
        yield _total("scans", "scans taken", program.engine.scans)
        yield _value("scan_ms", "newest scan", program.scans.elapsed_ms)
        yield _value("engine_lag_ms_max", "longest engine step", program.rim.lag_ms_max)
        yield _value("naked_ms_max", "longest time without a stop", naked.max_ms)
        yield _value("naked_ms_p99", "the same, 99th percentile", naked.p99_ms)


def _total(name: str, words: str, value: Any) -> Metric:
    return CounterMetricFamily(f"cryptosignal_{name}", words, value=float(value))


def _value(name: str, words: str, value: float) -> Metric:
    return GaugeMetricFamily(f"cryptosignal_{name}", words, value=float(value))


def _by_label(name: str, words: str, label: str, values: Any) -> Metric:
    family = GaugeMetricFamily(f"cryptosignal_{name}", words, labels=[label])
    for key, value in values.items():
        family.add_metric([key], float(value))
    return family
