"""`run`, `scan` and `simulate` as real processes over loopback sockets."""

from __future__ import annotations

import json
import signal
import time
import urllib.request

import numpy as np
import polars as pl
import pytest
from tests.e2e.programs import is_refusal, run, running, wait_gone
from tests.shared import SHARED, needs_shared

NINE = {
    "results", "total_symbols", "signals_found", "skipped", "errors", "elapsed_seconds",
    "symbols_per_second", "api_calls", "cache_stats",
}  # fmt: skip


def candles(symbols=("BTCUSDT", "ETHUSDT", "SOLUSDT", "XRPUSDT"), bars=700, minutes=5):
    """Random walks as a candle table with every column that a file may have."""
    random = np.random.default_rng(3)
    parts = []
    for place, symbol in enumerate(symbols):
        close = 100.0 / (place + 1) * np.exp(np.cumsum(random.normal(0, 0.002, bars)))
        opened = np.roll(close, 1)
        opened[0] = close[0]
        volume = random.uniform(500, 2_000, bars)
        parts.append(
            pl.DataFrame(
                {
                    "symbol": [symbol] * bars,
                    "open_time": 1_735_689_600_000 + np.arange(bars) * minutes * 60_000,
                    "open": opened.round(3),
                    "high": (np.maximum(opened, close) * 1.001).round(3),
                    "low": (np.minimum(opened, close) * 0.999).round(3),
                    "close": close.round(3),
                    "volume": volume.round(2),
                    "quote_volume": (volume * close).round(2),
                    "trades": random.integers(50, 500, bars),
                    "taker_buy_volume": (volume * random.uniform(0.3, 0.7, bars)).round(2),
                }
            )
        )
    return pl.concat(parts)


def test_three_scans_print_the_ranked_market_and_end(tmp_path):
    """`run --scans 3` prints a table with scores, tiers and reasons and ends by itself with 0."""
    with running(tmp_path, "run", "--scans", 3, "--interval", 1, "--top", 60) as program:
        program.until("speaks for it")
        print(f"first table after {time.monotonic() - program.started_s:.1f} s")
        ended = program.end()
    assert ended.code == 0, ended.err
    assert ended.err == ""
    for word in ("score", "tier", "stops it", "BTCUSDT", "ETHUSDT", "reject", "needs"):
        assert word in ended.out, word
    assert ended.out.count("scan 1 (") == ended.out.count("scan 3 (") == 1
    assert "scan 4" not in ended.out
    assert "api calls 0" in ended.out
    assert ended.out.rstrip().endswith("3 scans done")
    [journal] = (tmp_path / "runs" / "journal").iterdir()
    report = run("replay", journal, "--json", folder=tmp_path)
    assert report.code == 0, report
    assert json.loads(report.out)["scans"] == 3


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_run_and_its_venue(tmp_path, number):
    """Ctrl-C (and SIGTERM) ends a run with 0 and one last line; its venue goes with it."""
    with running(tmp_path, "run", "--symbols", 6) as program:
        program.until("scan 1 (")
        [child] = program.children()
        asked_s = time.monotonic()
        program.send(number)
        ended = program.end()
        print(f"ended {time.monotonic() - asked_s:.2f} s after {number.name}")
    assert ended.code == 0, ended
    assert ended.err == ""
    assert "ended: " in ended.out
    assert wait_gone(child)


def test_an_early_ctrl_c_leaves_nothing_behind(tmp_path):
    """Ctrl-C while the venue is still coming up ends the run without a traceback or an orphan."""
    with running(tmp_path, "run", "--symbols", 6) as program:
        program.until("venue: embedded")
        [child] = program.children()
        program.send(signal.SIGINT)
        ended = program.end()
    assert ended.code in (0, 130), ended
    assert "Traceback" not in ended.err
    assert wait_gone(child)


def test_the_venue_does_not_outlive_a_killed_owner(tmp_path):
    """kill -9 of the program ends its venue too, and the next run goes on in the same folder."""
    with running(tmp_path, "run", "--symbols", 6) as program:
        program.until("scan 1 (")
        [child] = program.children()
        program.send(signal.SIGKILL)
        assert program.end().code == -signal.SIGKILL
    assert wait_gone(child)
    again = run("run", "--symbols", 6, "--scans", 1, folder=tmp_path)
    assert again.code == 0, again.err
    assert len(list((tmp_path / "runs" / "journal").iterdir())) == 2


def test_a_second_run_in_one_data_folder_is_refused(tmp_path):
    """Two runs never share a data folder: the second ends with one line that names the first."""
    with running(tmp_path, "run", "--symbols", 4) as program:
        program.until("scan 1 (")
        second = run("run", "--symbols", 4, "--scans", 1, folder=tmp_path)
        is_refusal(second, "data folder runs", str(program.pid))
        program.send(signal.SIGINT)
        assert program.end().code == 0


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_a_candle_file_is_walked(tmp_path, kind):
    """`run --data` serves the file's symbols and prices at their own time."""
    table = candles()
    path = tmp_path / f"candles.{kind}"
    table.write_parquet(path) if kind == "parquet" else table.write_csv(path)
    ended = run("run", "--data", path, "--scans", 1, "--json", folder=tmp_path)
    assert ended.code == 0, ended.err
    [scan] = [line for line in map(json.loads, ended.out.splitlines()) if line["event"] == "scan"]
    assert {row["symbol"] for row in scan["top"]} == set(table["symbol"].unique())
    start_ms = int(table["open_time"].min()) + 500 * 300_000
    assert start_ms <= scan["time_ms"] < start_ms + 300_000
    assert scan["api_calls"] == 0


@needs_shared
@pytest.mark.shared
@pytest.mark.parametrize(("name", "speed"), [("klines_1h", 1), ("klines_5m", 60)])
def test_real_candles_are_ranked(tmp_path, name, speed):
    """Every symbol that real candles list at the start is scanned, also faster than the wall."""
    path = SHARED / "data" / f"{name}.parquet"
    if not path.is_file():
        pytest.skip(f"no {path.name}")
    born = pl.read_parquet(path, columns=["symbol", "open_time"]).group_by("symbol").min()
    start_ms = int(born["open_time"].quantile(0.9, "lower"))
    listed = (born["open_time"] <= start_ms).sum()
    words = ("--data", path, "--start", start_ms, "--speed", speed, "--symbols", 600)
    ended = run("run", "--scans", 1, "--json", *words, folder=tmp_path)
    assert ended.code == 0, ended.err
    [scan] = [line for line in map(json.loads, ended.out.splitlines()) if line["event"] == "scan"]
    assert scan["symbols"] == listed
    assert scan["api_calls"] == 0


def test_a_scan_has_the_nine_keys(tmp_path):
    """`scan --once --json` is one object of exactly the nine keys, with no REST call in the scan."""
    ended = run("scan", "--once", "--json", "--symbols", 6, folder=tmp_path)
    assert ended.code == 0, ended.err
    body = json.loads(ended.out)
    assert set(body) == NINE
    assert body["api_calls"] == 0
    assert body["total_symbols"] > 0
    assert body["cache_stats"]["hit_rate"].endswith("%")


def test_simulate_announces_itself_and_ends_on_sigterm(tmp_path):
    """`simulate --json` prints one line with its addresses, answers there, and ends with 0."""
    with running(tmp_path, "simulate", "--port", 0, "--symbols", 4, "--json") as venue:
        ready = json.loads(venue.until("rest"))
        with urllib.request.urlopen(f"{ready['rest']}/fapi/v1/time") as reply:  # loopback
            assert json.load(reply)["serverTime"] > 0
        port = ready["rest"].rpartition(":")[2]
        second = run("simulate", "--port", port, folder=tmp_path)
        is_refusal(second, f"port {port}", "in use", "allowed")
        venue.send(signal.SIGTERM)
        ended = venue.end()
    assert ended.code == 0
    assert ended.err == ""
