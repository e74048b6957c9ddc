"""Parts of the memory benchmark that need no venue: full caches, growth with the market, the page.

    python -m benchmarks.memory --parts caches growth page

Caches: what a full board takes in memory against the bytes that it must hold (bars, trades, books).
Growth: a full board, its factors and two scans at 50 to 1,100 symbols × 4 intervals; what a symbol
costs must not rise with their number. Page: the process that draws the page, beside a run and with a
browser on it where there is one.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

GROWTH_SYMBOLS = (50, 140, 550, 1_100)
GROWTH_INTERVALS = ("1m", "15m", "1h", "4h")
CACHES_BAR = 1.3
PAGE_BAR_MB = 200.0
LINEAR_BAR = 1.05
PAGE_S = 20
FULL = """
import json, sys
import numpy as np
from cryptosignal.domain.market import BarSource
from cryptosignal.domain.params import ParamSet
from cryptosignal.factors import kernels
from cryptosignal.factors.catalogue import FactorEngine
from cryptosignal.ground.units import INTERVAL_MS
from cryptosignal.market.board import Board
from cryptosignal.market.settings import MarketSettings
from cryptosignal.market.trade_reading import Trades
from cryptosignal.modes import rehearsal, spare
from cryptosignal.signals.decide import SignalMemory, decide

def resident():
    spare.give_back()
    return int(open("/proc/self/statm").read().split()[1]) * 4096

count, intervals, now = int(sys.argv[1]), json.loads(sys.argv[2]), rehearsal._NOW_MS
rehearsal.rehearse()
spare.shed()
settings = MarketSettings(intervals=tuple(intervals))
names = ["BTCUSDT", "ETHUSDT", *(f"S{k:04d}USDT" for k in range(2, count))]
before = resident()
board = Board(settings, capacity=count)
board.set_universe([rehearsal._contract(name) for name in names])
ids = np.arange(settings.agg_trade_cache_size)
one = np.ones(len(ids))
for k, name in enumerate(names):
    for interval in intervals:
        rows = rehearsal.waves(k, INTERVAL_MS[interval], settings.kline_cache_size)
        board.load_history(name, interval, rows, now, BarSource.REST)
    whole = np.full(len(ids), now - 1000)
    board.tapes.add(Trades(np.full(len(ids), board.slot(name)), whole, ids, whole, 100 * one, one))
    levels = [(100.0 + 0.01 * level, 50.0) for level in range(1, 21)]
    board.load_book(name, 1, [(200.0 - p, q) for p, q in levels], levels, now)
caches = resident() - before
engine, memory = FactorEngine(ParamSet()), SignalMemory()
for scan in (1, 2):
    decide(engine.compute(board.view(now), scan, "manual"), ParamSet(), memory)
need = len(intervals) * settings.kline_cache_size * 9 * 8 + len(ids) * 4 * 8 + 20 * 4 * 8
print(json.dumps({"need_mb": count * need / 2**20, "caches_mb": caches / 2**20,
    "scanned_mb": (resident() - before) / 2**20, "kernels": kernels.path_name()}))
"""


def full_board(symbols: int, intervals: tuple[str, ...]) -> dict:
    """MB that a full board needs, takes, and takes with its scans, in a process of its own."""
    command = [sys.executable, "-c", FULL, str(symbols), json.dumps(intervals)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    if done.returncode:
        raise SystemExit(f"memory: the board was not filled: {done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def caches(sizes) -> list[dict]:
    """Full caches against their bytes."""
    out = []
    for size in sizes:
        found = full_board(size.symbols, size.intervals)
        ratio = found["caches_mb"] / found["need_mb"]
        out.append(
            {"part": "caches", "symbols": size.symbols, "intervals": len(size.intervals), **found,
             "ratio": round(ratio, 3), "bar": CACHES_BAR, "holds": ratio <= CACHES_BAR}
        )  # fmt: skip
    return out


def growth() -> list[dict]:
    """What a symbol costs in markets of different size; linear or better."""
    out, first_kb = [], 0.0
    for symbols in GROWTH_SYMBOLS:
        found = full_board(symbols, GROWTH_INTERVALS)
        each_kb = 1024 * found["scanned_mb"] / symbols
        first_kb = first_kb or each_kb
        out.append(
            {"part": "growth", "symbols": symbols, "intervals": len(GROWTH_INTERVALS), **found,
             "kb_a_symbol": round(each_kb, 1), "x_first": round(each_kb / first_kb, 3),
             "bar": LINEAR_BAR, "holds": each_kb <= LINEAR_BAR * first_kb}
        )  # fmt: skip
    return out


def page(symbols: int) -> list[dict]:
    """The page's process beside a run of so many symbols."""
    command = [sys.executable, "-m", "cryptosignal", "run", "--symbols", str(symbols), "--page"]
    with tempfile.TemporaryDirectory() as folder:
        command += ["--page-port", "0", "--data-dir", folder]
        run = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        try:
            address = next(
                (line.split("page: ")[1].strip() for line in run.stdout if "page: http" in line), ""
            )
            child = _child_of(run.pid, "cryptosignal.web")
            with _reader(address):
                time.sleep(PAGE_S)
                rss_mb = _resident_mb(child)
        finally:
            run.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                run.communicate(timeout=30)
            run.kill()
    holds = 0.0 < rss_mb <= PAGE_BAR_MB
    return [
        {"part": "page", "symbols": symbols, "rss_mb": rss_mb, "bar": PAGE_BAR_MB, "holds": holds}
    ]


@contextlib.contextmanager
def _reader(address: str):
    """Somebody looks at the page: a browser where there is one, else a request."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        chromium = None
    if chromium is None:
        with urllib.request.urlopen(address) as answer:
            answer.read()
        yield
        return
    with sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        browser = playwright.chromium.launch(executable_path=chromium, args=arguments)
        browser.new_page().goto(address)
        yield
        browser.close()


def _child_of(pid: int, word: str) -> int:
    """The process below `pid` whose command has the word."""
    for status in Path("/proc").glob("[0-9]*/status"):
        with contextlib.suppress(OSError):
            is_below = f"\nPPid:\t{pid}\n" in status.read_text()
            if is_below and word in (status.parent / "cmdline").read_text():
                return int(status.parent.name)
    raise SystemExit(f"memory: no process of {word} was found")


def _resident_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return round(int(status.split("VmRSS:")[1].split()[0]) / 1024, 1)


def rows(found: list[dict]) -> list[tuple]:
    """Lines for the table of all benchmarks."""
    out = []
    for one in found:
        title = f"memory: {one['part']}, {one['symbols']} symbols"
        if one["part"] == "caches":
            out.append(
                (f"{title} x {one['intervals']}", f"{one['caches_mb']:.0f} MB",
                 f"content {one['need_mb']:.0f} MB", f"{one['ratio']:.2f} x",
                 f"<= {one['bar']:g} x", one["holds"])
            )  # fmt: skip
        elif one["part"] == "growth":
            out.append(
                (title, f"{one['scanned_mb']:.0f} MB", f"{one['kb_a_symbol']:.0f} kB a symbol",
                 f"{one['x_first']:.2f} x", f"<= {one['bar']:g} x of {GROWTH_SYMBOLS[0]}",
                 one["holds"])
            )  # fmt: skip
        else:
            out.append((title, f"{one['rss_mb']:.0f} MB", "-", "-", f"<= {one['bar']:.0f} MB",
                        one["holds"]))  # fmt: skip
    return out
