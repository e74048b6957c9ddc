"""Memory: RSS of the engine's process, watching a market of the embedded venue.

`python -m benchmarks.memory [--symbols 140 550] [--json] [--check]`. The process is a real run without
a page, with trades and books and the compiled kernels of the `fast` extra, read after its second scan;
the venue is a process of its own. 550 symbols take minutes: the venue's weight limit spreads their
history over several. The bars: 200 MB at 140 symbols × 4 intervals, 400 MB at 550 × 5. `--parts` adds
what needs no venue (`memory_parts`): caches at most 1.3 × their content, memory that grows no faster
than the market does, and the page's process at most 200 MB.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from benchmarks import memory_parts


class Size(NamedTuple):
    """Symbols, their intervals, and how many MB the engine may take with them."""

    symbols: int
    intervals: tuple[str, ...]
    bar_mb: float


SIZES = {
    140: Size(140, ("1m", "15m", "1h", "4h"), 200.0),
    550: Size(550, ("1m", "15m", "1h", "4h", "1d"), 400.0),
}
PARTS = ("caches", "growth", "page")
LISTED = 1.06
"""So many symbols the venue lists for each that is watched: some of them do not trade."""
TIMEOUT_S = 800
CONFIG = """
[run]
intervals = {intervals}
rest_intervals = []
trigger_intervals = ["1h"]
symbols_max = {symbols}
warm_max = {symbols}
[market]
intervals = {intervals}
"""
CHILD = """
import asyncio, dataclasses, json, resource, sys
from cryptosignal import Station, load_config
from cryptosignal.factors import kernels

class Live(Station):
    # with the kernels loaded beside the first scans, as a live run loads them
    def _make(self):
        super()._make()
        self.program.setup = dataclasses.replace(self.program.setup, is_compiled=sys.argv[3] == "numba")

def status_mb(key):
    for line in open("/proc/self/status"):
        if line.startswith(key + ":"):
            return round(int(line.split()[1]) / 1024, 1)

async def main():
    config = load_config(sys.argv[1])
    station = Live(config, symbol_count=int(sys.argv[2]))
    await station.start()
    station.program.scans.scan("asked")
    for _ in range(90):
        await asyncio.sleep(1.0)
        if kernels.path_name() == sys.argv[3]:
            break
    await asyncio.sleep(10.0)
    station.program.scans.scan("asked")
    board = station.program.board
    print(json.dumps({"rss_mb": status_mb("VmRSS"),
        "own_mb": status_mb("RssAnon"), "caches_mb": round(board.nbytes() / 1e6, 1),
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
        "watched": len(station.program.symbols), "frames": board.frames,
        "kernels": kernels.path_name()}))
    await station.stop()

asyncio.run(main())
"""
BARE = """
import sys
import cryptosignal
from cryptosignal.factors import kernels
cryptosignal.Station
sys.argv[1] == "numpy" or kernels.enable()
print(int(next(l for l in open('/proc/self/status') if 'VmRSS' in l).split()[1]) / 1024)
"""


def measure(size: Size, path: str) -> dict:
    """The figures of one run; `own_mb` leaves out pages of libraries, which processes share."""
    intervals = json.dumps(size.intervals)
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "memory.toml"
        config.write_text(CONFIG.format(symbols=size.symbols, intervals=intervals))
        found = json.loads(
            _output(CHILD, str(config), str(round(size.symbols * LISTED)), path, cwd=folder)
        )
    imports_mb = float(_output(BARE, path))
    ratio = (found["rss_mb"] - imports_mb) / max(found["caches_mb"], 0.1)
    return {
        "symbols": size.symbols,
        "intervals": len(size.intervals),
        **found,
        "imports_mb": round(imports_mb, 1),
        "caches_ratio": round(ratio, 2),
        "bar_mb": size.bar_mb,
        "holds": found["rss_mb"] <= size.bar_mb and found["watched"] >= 0.97 * size.symbols,
    }


def parts(names: list[str]) -> list[dict]:
    """The figures that need no venue of their own."""
    found: list[dict] = []
    if "caches" in names:
        found += memory_parts.caches(SIZES.values())
    if "growth" in names:
        found += memory_parts.growth()
    if "page" in names:
        found += memory_parts.page(max(SIZES))
    return found


def _output(code: str, *arguments: str, cwd: str | None = None) -> str:
    """The last line that a fresh process prints."""
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True, text=True, check=False, cwd=cwd, timeout=TIMEOUT_S,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"memory: the run failed: {done.stderr[-2000:]}")
    return done.stdout.splitlines()[-1]


def rows(found: dict) -> list[tuple]:
    """Lines for the table of all benchmarks."""
    return [
        (
            f"memory: {one['symbols']} symbols x {one['intervals']}",
            f"{one['rss_mb']:.0f} MB",
            f"caches {one['caches_mb']:.0f} MB",
            f"{one['caches_ratio']:.2f} x",
            f"<= {one['bar_mb']:.0f} MB",
            one["holds"],
        )
        for one in found["figures"]
    ] + memory_parts.rows(found["parts"])


def main() -> int:
    """Print the figures; with --check exit 1 below the bar."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--symbols", type=int, nargs="*", choices=tuple(SIZES), default=list(SIZES))
    parser.add_argument("--parts", nargs="*", choices=PARTS, default=list(PARTS))
    parser.add_argument(
        "--path",
        choices=("numba", "numpy"),
        default="numba",
        help="as the `fast` extra, or without",
    )
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    found = {
        "figures": [measure(SIZES[symbols], options.path) for symbols in options.symbols],
        "parts": parts(options.parts),
    }
    if options.json:
        print(json.dumps(found))
    else:
        for one in (*found["figures"], *found["parts"]):
            print("  ".join(f"{key} {value}" for key, value in one.items()))
    is_met = all(one["holds"] for one in (*found["figures"], *found["parts"]))
    return 1 if options.check and not is_met else 0


if __name__ == "__main__":
    sys.exit(main())
