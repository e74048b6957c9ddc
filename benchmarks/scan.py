"""Scan: ms from memory to decisions for the whole market, against a memory pass beside it.

`python -m benchmarks.scan [--symbols 140 550] [--json] [--check]`. A scan here is one that has a new
1h bar for every symbol: raw values and chain of every factor, context, odds, EV, gates, tiers, plan
and digest. One symbol alone: its refresh and the screen that tells whether it may be a signal, and
(`decided_us`) the refresh with the whole decision, which only those get. The memory pass is
`np.sum` over the arrays that the scan reads (high, low, close, volume, quote, taker of every
interval). CPU time, median of rounds; both paths, compiled and numpy.
"""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # threads that spin would be timed as work

import argparse
import dataclasses
import json
import statistics
import sys
import time

import numpy as np
from tests.markets import random_market

from cryptosignal.domain.params import ParamSet
from cryptosignal.factors import kernels
from cryptosignal.factors.catalogue import FactorEngine
from cryptosignal.signals.decide import SignalMemory, decide
from cryptosignal.signals.screen import Screen

HOUR = 3_600_000
BARS = {
    "numba": 15.0,
    "numpy": 60.0,
    "talib": 10.0,
    "refresh_us": 60.0,
}
READ = (1, 2, 3, 4, 5, 7)
ROUNDS = 7


def median_ms(work, rounds=ROUNDS):
    """Median CPU milliseconds of `work(round)`."""
    times = []
    for k in range(rounds):
        start = time.process_time_ns()
        work(k)
        times.append((time.process_time_ns() - start) / 1e6)
    return statistics.median(times)


def scan_ms(view, is_fast):
    """A new bar for every symbol, a repeated scan, a cold scan, and one symbol alone."""
    kernels.disable()
    if is_fast and not kernels.enable():
        return None
    params, memory = ParamSet(), SignalMemory()
    engine = FactorEngine(params)

    def at(hours):
        return dataclasses.replace(view, time_ms=view.time_ms - hours * HOUR)

    def one(moment):
        found = decide(engine.compute(moment, 1, "bar:1h"), params, memory)
        found.digest()
        found.prime()

    one(at(ROUNDS + 3))
    one(at(ROUNDS + 2))
    new_bar = median_ms(lambda k: one(at(ROUNDS + 1 - k)))
    again = median_ms(lambda k: one(at(2)))
    cold = median_ms(lambda k: FactorEngine(params).compute(view, 1, "manual"), 3)
    return {"new_bar_ms": new_bar, "again_ms": again, "cold_ms": cold}


def one_symbol_us(view, is_fast):
    """(refresh and screen, refresh and decision) of one symbol whose newest bar has come after the
    scan of its hour, CPU microseconds. Without compiled code there is no screen: both are the
    second."""
    kernels.disable()
    if is_fast and not kernels.enable():
        return None
    params = ParamSet()
    engine = FactorEngine(params)
    hours = view.bars["1h"]
    data = hours.data.copy()
    data[:, 2:, -1] = np.nan
    late = {**view.bars, "1h": dataclasses.replace(hours, data=data)}
    engine.compute(dataclasses.replace(view, bars=late), 1, "bar:1h")
    screen = Screen(params, engine.lone.names)
    count = min(400 if is_fast else 60, len(view.symbols) - 2)

    def decided(k):
        decide(engine.refresh(view, 2 + k, 1), params, SignalMemory())

    def screened(k):
        screen.is_hopeless(engine.glance(view, 2 + k))

    whole = 1e3 * median_ms(decided, min(60, count))
    return (1e3 * median_ms(screened, count) if is_fast else whole), whole


def talib_ms(view):
    """The anchor: 20 indicator outputs × 4 intervals, TA-Lib symbol by symbol. None without it."""
    try:
        import talib
    except ImportError:
        return None

    def work(_):
        for bars in view.bars.values():
            high, low, close = (np.ascontiguousarray(bars.data[k, :, -300:]) for k in (1, 2, 3))
            volume = np.ascontiguousarray(bars.data[4, :, -300:])
            for r in range(len(close)):
                h, lo, c, v = high[r], low[r], close[r], volume[r]
                for period in (12, 20, 26, 50):
                    talib.EMA(c, period)
                talib.RSI(c, 14), talib.ADX(h, lo, c, 14), talib.PLUS_DI(h, lo, c, 14)
                talib.MINUS_DI(h, lo, c, 14), talib.ATR(h, lo, c, 14), talib.MACD(c)
                upper, _, lower = talib.BBANDS(c, 20, 2, 2)
                _ = (c[-1] - lower[-1]) / (upper[-1] - lower[-1])
                talib.LINEARREG_SLOPE(c, 30), talib.SMA(v, 50), talib.STDDEV(v, 50)
                _rest(bars, r, c)

    return median_ms(work, 3)


def _rest(bars, row, close):
    """The anchor's outputs that TA-Lib has none of: flow, volatility, rank correlation, beta."""
    taker, volume = bars.data[7, row, -20:], bars.data[4, row, -20:]
    _ = (2.0 * taker - volume).sum() / volume.sum()
    own = np.diff(np.log(close[-61:]))
    market = np.diff(np.log(bars.data[3, 0, -61:]))
    own[-30:].std()
    joint = np.cov(own, market)
    _ = joint[0, 1] / joint[1, 1]
    np.corrcoef(np.argsort(np.argsort(own)), np.argsort(np.argsort(market)))


def measure(symbols):
    """All figures for one number of symbols."""
    view = random_market(1, symbols=symbols, hours=430)
    arrays = [np.ascontiguousarray(b.data[k]) for b in view.bars.values() for k in READ]
    memory_pass = median_ms(lambda _: [a.sum() for a in arrays], 15)
    out = {
        "symbols": symbols,
        "bytes": sum(a.nbytes for a in arrays),
        "memory_pass_ms": memory_pass,
    }
    out["talib_ms"] = talib_ms(view)
    for path in ("numpy", "numba"):
        found = scan_ms(view, path == "numba")
        if found is None:
            continue
        found["x_memory_pass"] = found["new_bar_ms"] / memory_pass
        found["cold_x_memory_pass"] = found["cold_ms"] / memory_pass
        found["one_symbol_us"], found["decided_us"] = one_symbol_us(view, path == "numba")
        if out["talib_ms"] is not None:
            found["x_faster_than_talib"] = out["talib_ms"] / found["new_bar_ms"]
        out[path] = found
    return out


def failures(figures):
    """What misses its bar, in words."""
    largest = max(figures, key=lambda f: f["symbols"])
    missed = []
    for path in ("numpy", "numba"):
        found = largest.get(path)
        if found is None:
            continue
        if found["x_memory_pass"] > BARS[path]:
            missed.append(f"{path}: {found['x_memory_pass']:.1f} x memory pass, bar {BARS[path]:g}")
    fast = largest.get("numba")
    if fast is not None and fast.get("x_faster_than_talib", 1e9) < BARS["talib"]:
        missed.append(f"numba: {fast['x_faster_than_talib']:.1f} x faster than TA-Lib, bar 10")
    if fast is not None and fast["one_symbol_us"] > BARS["refresh_us"]:
        missed.append(f"numba: one symbol {fast['one_symbol_us']:.0f} us, bar 60")
    return missed


def main():
    """Print the figures; with --check exit 1 if a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--symbols", type=int, nargs="+", default=[140, 550])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    figures = [measure(count) for count in options.symbols]
    missed = failures(figures)
    if options.json:
        print(json.dumps({"figures": figures, "missed": missed}))
    else:
        for f in figures:
            print(
                f"{f['symbols']} symbols: memory pass {f['memory_pass_ms']:.2f} ms, "
                f"TA-Lib loop {f['talib_ms'] or float('nan'):.0f} ms"
            )
            for path in ("numpy", "numba"):
                if path in f:
                    print(f"  {path}: " + ", ".join(f"{k} {v:.1f}" for k, v in f[path].items()))
        print("\n".join(missed) or "every bar is met")
    if options.check and missed:
        sys.exit(1)


if __name__ == "__main__":
    main()
