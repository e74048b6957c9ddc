"""The Prometheus page of a running program."""

from __future__ import annotations

import asyncio
import contextlib
import socket

import aiohttp
import pytest
from tests.modes.real_run import run_once, settings_for, venue_process

from cryptosignal.modes.figures import figures

WANTED = (
    'cryptosignal_stream_lag_ms{kind="', "cryptosignal_gaps_found_total",
    "cryptosignal_gaps_repaired_total", 'cryptosignal_weight_total{lane="warm_up"}',
    'cryptosignal_data_quality{symbol="BTCUSDT"}', "cryptosignal_scans_total",
    "cryptosignal_engine_lag_ms_max", "cryptosignal_naked_ms_max", "cryptosignal_reconnects",
    'cryptosignal_each_stream_lag_ms{stream="btcusdt@kline_1m"}', "cryptosignal_connection_state",
    'cryptosignal_stream_lag_p99_ms{stream="btcusdt@kline_1m"}', "cryptosignal_clock_behind_ms",
    'cryptosignal_account_reads_total{why="start"}',
    'cryptosignal_store_bytes{store="', "cryptosignal_tape_entries_total",
    "cryptosignal_repair_bars_compared", "cryptosignal_refresh_requests",
)  # fmt: skip


@pytest.mark.slow
def test_a_run_shows_its_figures_to_prometheus(tmp_path):
    """Lag, gaps, weight by lane, quality by symbol, scans and naked time are on the page."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    pages, dictionaries = [], []

    async def look(program, _recorder):
        await program.started.wait()
        async with aiohttp.ClientSession() as session:
            while not program.is_stopping:
                await asyncio.sleep(0.5)
                with contextlib.suppress(aiohttp.ClientError):  # the run ends, and its page
                    async with session.get(f"http://127.0.0.1:{port}/metrics") as answer:
                        pages.append(await answer.text())
                dictionaries.append(figures(program))

    with venue_process() as venue:
        config = settings_for(venue.rest, venue.ws, tmp_path, metrics_port=port)
        run_once(config, scans=8, conduct=look)
    last = dictionaries[-1]
    assert last["lag_ms"]["btcusdt@kline_1m"] >= 0
    assert last["data_quality"]["BTCUSDT"] > 0.9
    assert last["weight_by_lane"]["WARM_UP"] > 0
    assert last["rate_limited"] == last["gaps_found"] == last["reconnects"] == 0
    missing = [name for name in WANTED if name not in pages[-1]]
    assert missing == []
