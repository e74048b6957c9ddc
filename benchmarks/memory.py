"""Memory: RSS of the engine's process, watching a market of the embedded venue.

`python -m benchmarks.memory [--symbols 140] [--json] [--check]`. The process is a real run without a
page, 1m, 15m, 1h and 4h candles, trades and books, read after its second scan. The anchor is the bytes
of the caches themselves; the bar is 200 MB at 140 symbols × 4 intervals.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

BAR_MB = 200.0
BAR_CACHES = 1.3
CONFIG = """
[run]
intervals = ["1m", "15m", "1h", "4h"]
rest_intervals = []
trigger_intervals = ["1h"]
symbols_max = {symbols}
warm_max = {symbols}
[market]
intervals = ["1m", "15m", "1h", "4h"]
"""
CHILD = """
import asyncio, json, resource, sys
from cryptosignal import Station, load_config

def rss_mb():
    for line in open("/proc/self/status"):
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024

async def main():
    config = load_config(sys.argv[1])
    station = Station(config, symbol_count=int(sys.argv[2]))
    await station.start()
    station.program.scans.scan("asked")
    await asyncio.sleep(10.0)
    station.program.scans.scan("asked")
    board = station.program.board
    print(json.dumps({"rss_mb": round(rss_mb(), 1), "caches_mb": round(board.nbytes() / 1e6, 1),
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
        "symbols": len(station.program.symbols), "frames": board.frames}))
    await station.stop()

asyncio.run(main())
"""


def measure(symbols=140):
    """The figures of one run."""
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "memory.toml"
        config.write_text(CONFIG.format(symbols=symbols), encoding="utf-8")
        done = subprocess.run(
            [sys.executable, "-c", CHILD, str(config), str(symbols)],
            capture_output=True, text=True, check=True, cwd=folder,
        )  # fmt: skip
    found = json.loads(done.stdout.splitlines()[-1])
    bare = (
        "print(int(next(l for l in open('/proc/self/status') if 'VmRSS' in l).split()[1]) / 1024)"
    )
    code = "import cryptosignal; cryptosignal.Station\n" + bare
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    found["imports_mb"] = round(float(loaded.stdout), 1)
    found["caches_ratio"] = round(
        (found["rss_mb"] - found["imports_mb"]) / max(found["caches_mb"], 0.1), 2
    )
    return found


def rows(found):
    """Lines for the table of all benchmarks."""
    name = f"memory: {found['symbols']} symbols x 4"
    ratio = f"{found['caches_ratio']:.2f} x"
    anchor = f"caches {found['caches_mb']:.0f} MB"
    is_met = found["rss_mb"] <= BAR_MB
    return [(name, f"{found['rss_mb']:.0f} MB", anchor, ratio, f"<= {BAR_MB:.0f} MB", is_met)]


def main():
    """Print the figures; with --check exit 1 below the bar."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--symbols", type=int, default=140)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    found = measure(options.symbols)
    is_met = all(row[-1] for row in rows(found))
    print(json.dumps(found) if options.json else "\n".join(f"{k}: {v}" for k, v in found.items()))
    return 1 if options.check and not is_met else 0


if __name__ == "__main__":
    sys.exit(main())
