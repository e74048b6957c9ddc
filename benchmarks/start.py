"""Start: `cryptosignal --help` against a bare interpreter, and what it imports on the way.

`python -m benchmarks.start [--json] [--check]`. CPU time, median of rounds; the bar of 0.3 s holds
where a bare `python -c pass` takes 11.5 ms: a ratio of 26.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys

ROUNDS = 7
BAR = 26.0
HEAVY = ("numpy", "numba", "polars", "aiohttp", "picows", "nicegui", "cryptography", "asyncio")


def cpu_ms(*arguments):
    """Median CPU milliseconds of one interpreter: what it takes on a machine that does nothing else."""
    times = []
    for _ in range(ROUNDS):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        times.append(used * 1e3)
    return statistics.median(times)


def imported():
    """Which heavy libraries `--help` loads."""
    code = (
        "import sys\nfrom cryptosignal.cli.main import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "print(*sorted({m.split('.')[0] for m in sys.modules}), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return [name for name in HEAVY if name in done.stderr.split()]


def measure():
    """The figures."""
    bare, help_ms = cpu_ms("-c", "pass"), cpu_ms("-m", "cryptosignal", "--help")
    names_ms = cpu_ms("-c", "import cryptosignal")
    return {
        "bare_ms": round(bare, 1),
        "help_ms": round(help_ms, 1),
        "import_ms": round(names_ms, 1),
        "ratio": round(help_ms / bare, 2),
        "heavy": imported(),
    }


def rows(found):
    """Lines for the table of all benchmarks: name, figure, anchor, ratio, bar, met."""
    figure, anchor = f"{found['help_ms']:.0f} ms", f"python -c pass {found['bare_ms']:.0f} ms"
    is_met = found["ratio"] <= BAR and not found["heavy"]
    return [("start: --help", figure, anchor, f"{found['ratio']:.1f} x", f"<= {BAR:g} x", is_met)]


def main():
    """Print the figures; with --check exit 1 below the bar."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    found = measure()
    is_met = all(row[-1] for row in rows(found))
    print(json.dumps(found) if options.json else "\n".join(f"{k}: {v}" for k, v in found.items()))
    return 1 if options.check and not is_met else 0


if __name__ == "__main__":
    sys.exit(main())
