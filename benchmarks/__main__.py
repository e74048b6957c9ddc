"""One table of all benchmarks: `python -m benchmarks [--only start memory] [--check] [--json]`.

Each benchmark is a module that can be run by itself; here each runs in a process of its own, one
after the other, and its figures become rows: name, figure, anchor, ratio, bar, verdict. A benchmark
that fails to run says so and counts as missed.
"""

from __future__ import annotations

import argparse
import importlib
import json
import subprocess
import sys

TIMEOUT_S = 900
SOAK_S = 60


def figures(name):
    """What `python -m benchmarks.NAME --json` prints last."""
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{name}", "--json"],
        capture_output=True, text=True, check=False, timeout=TIMEOUT_S,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError((done.stderr.strip() or "no reason given").splitlines()[-1])
    return json.loads(done.stdout.strip().splitlines()[-1])


def own_rows(name):
    """Rows of a benchmark that makes them itself."""
    return importlib.import_module(f"benchmarks.{name}").rows(figures(name))


def ingest_rows(name):
    """Frame in, cache done: against picows with typed decoding."""
    found = figures(name)
    costs = found["cpu_us_per_message"]
    figure, anchor = f"{costs['ours']:.2f} us/message", f"picows+msgspec {costs['msgspec']:.2f} us"
    ratio, bar = f"{found['ratio_to_msgspec']:.2f} x", f"<= {found['bar']:g} x, equal state"
    out = [("ingest: full path", figure, anchor, ratio, bar, bool(found["holds"]))]
    times, bar = found["times_best_peer"], f">= {found['peer_bar']:g} x less CPU"
    measured = {
        name: cost
        for name, cost in found["peers"].items()
        if "/" not in name and not isinstance(cost, str)
    }
    best = min(measured, key=measured.__getitem__, default="")
    anchor = f"{best} {measured[best]:.2f} us" if best else "no peer: not measured"
    ratio = f"{times:.1f} x" if best else "-"
    return [*out, ("ingest: best peer", figure, anchor, ratio, bar, found["beats_peers"])]


def scan_rows(name):
    """Memory to decisions: against a pass over the same memory, and a TA-Lib loop."""
    bars = importlib.import_module("benchmarks.scan").BARS
    out = []
    for found in figures(name)["figures"]:
        is_judged = found["symbols"] >= 550
        for path in ("numpy", "numba"):
            if path not in found:
                continue
            part, title = found[path], f"scan: {found['symbols']} symbols, {path}"
            ratio = part["x_memory_pass"]
            anchor = f"memory pass {found['memory_pass_ms']:.2f} ms"
            met = ratio <= bars[path] if is_judged else None
            row = (title, f"{part['new_bar_ms']:.1f} ms", anchor, f"{ratio:.1f} x")
            out.append((*row, f"<= {bars[path]:g} x at 550", met))
            if path == "numba" and is_judged and found.get("talib_ms"):
                faster = part["x_faster_than_talib"]
                row = (title, f"{part['new_bar_ms']:.1f} ms", f"TA-Lib {found['talib_ms']:.0f} ms")
                bar = f">= {bars['talib']:g} x faster"
                out.append((*row, f"{faster:.1f} x", bar, faster >= bars["talib"]))
                lone = part["one_symbol_us"]
                row = ("scan: one symbol, numba", f"{lone:.0f} us", "-", "-")
                out.append((*row, f"<= {bars['refresh_us']:g} us", lone <= bars["refresh_us"]))
    return out


def ingest_figures(*options):
    """What the ingest benchmark prints last with these options."""
    command = [sys.executable, "-m", "benchmarks.ingest", *options, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=TIMEOUT_S)
    if done.returncode:
        raise RuntimeError((done.stderr.strip() or "no reason given").splitlines()[-1])
    return json.loads(done.stdout.strip().splitlines()[-1])


def paced_rows(_name):
    """20,000 messages/s over TLS: against counting frames only, and the way from wire to cache."""
    found = ingest_figures("--paced", "--rounds", "3", "--seconds", "5")
    costs, took = found["paced_cpu_us_per_message"], found["event_to_cache_ms"]
    bar_ms = found["event_to_cache_bar_ms"]
    cheap, whole = found["ratio_to_count"] <= found["bar"], found["dropped"] == 0
    return [
        ("ingest: 20,000 messages/s, TLS", f"{costs['ours']:.2f} us/message",
         f"counting {costs['count']:.2f} us", f"{found['ratio_to_count']:.2f} x",
         f"<= {found['bar']:g} x, none dropped", cheap and whole),
        ("ingest: event to cache", f"p99 {took['p99']:.2f} ms", f"p50 {took['p50']:.2f} ms", "-",
         f"p99 < {bar_ms:g} ms", took["p99"] < bar_ms),
    ]  # fmt: skip


def soak_rows(_name):
    """Twice the venue's peak, 550 symbols: memory (shorter here than the bar's five minutes)."""
    found = ingest_figures("--soak", str(SOAK_S))
    return [
        (f"ingest: {found['messages_per_s']:,} messages/s, {SOAK_S} s",
         f"{found['growth_mb']:+.1f} MB", f"resident {found['resident_mb']:.0f} MB", "-",
         f"<= {found['bar_mb']:g} MB, none dropped", bool(found["holds"])),
    ]  # fmt: skip


def sim_rows(_name):
    """The simulated venue: events a second in process, and what it takes at real time."""
    module = importlib.import_module("benchmarks.sim_events")
    rate = module.busy_symbols()
    start_s, _, frames, core = module.real_time_550()
    return [
        ("venue: events in process", f"{rate:,.0f} /s", "-", "-", ">= 20,000 /s", rate >= 20_000),
        ("venue: 550 symbols ready", f"{start_s:.1f} s", "-", "-", "< 15 s", start_s < 15),
        ("venue: 550 symbols live", f"{core:.2f} cores", f"{frames:,.0f} frames/s", "-",
         "< 1 core", core < 1),
    ]  # fmt: skip


BENCHMARKS = {
    "ingest": ingest_rows,
    "paced": paced_rows,
    "soak": soak_rows,
    "scan": scan_rows,
    "bar_to_signal": own_rows,
    "warmup": own_rows,
    "sim_events": sim_rows,
    "memory": own_rows,
    "start": own_rows,
}
HEAD = ("benchmark", "figure", "anchor", "ratio", "bar", "verdict")


def taken(name):
    """The rows of one benchmark, or one that says why there are none."""
    try:
        return BENCHMARKS[name](name)
    except (RuntimeError, subprocess.TimeoutExpired, KeyError, ValueError, ImportError) as error:
        return [(name, "-", "-", "-", f"did not run: {error}", False)]


def verdict(is_met):
    """met, MISSED, or nothing where no bar is set."""
    return "-" if is_met is None else "met" if is_met else "MISSED"


def table(rows):
    """Rows as aligned text."""
    cells = [HEAD, *((*row[:-1], verdict(row[-1])) for row in rows)]
    widths = [max(len(str(row[i])) for row in cells) for i in range(len(HEAD))]
    lines = ["  ".join(str(c).ljust(w) for c, w in zip(row, widths, strict=True)) for row in cells]
    return "\n".join([lines[0], "  ".join("-" * w for w in widths), *lines[1:]])


def main():
    """Run them and print the table."""
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=tuple(BENCHMARKS), default=list(BENCHMARKS))
    parser.add_argument("--check", action="store_true", help="exit 1 if a bar is missed")
    parser.add_argument("--json", action="store_true", help="the rows as JSON")
    options = parser.parse_args()
    rows = []
    for name in options.only:
        print(f"{name} …", file=sys.stderr, flush=True)
        rows += taken(name)
    if options.json:
        print(json.dumps([dict(zip(HEAD, (*r[:-1], verdict(r[-1])), strict=True)) for r in rows]))
    else:
        print(table(rows))
    missed = sum(1 for row in rows if row[-1] is False)
    return 1 if options.check and missed else 0


if __name__ == "__main__":
    sys.exit(main())
