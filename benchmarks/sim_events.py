"""How fast the simulated venue is: market events a second in process, a day of campaign, 550 symbols.

PYTHONPATH=src python benchmarks/sim_events.py [--json] [--check]

`--json` prints one object; `--check` ends with code 1 when a bar is missed and skips the days.
"""

from __future__ import annotations

import json
import sys
import time

from cryptosignal.ground.seeds import Seeds
from cryptosignal.ground.units import DAY_MS
from cryptosignal.sim.settings import VenueSettings
from cryptosignal.sim.venue import Venue

START_MS = 1_789_999_980_000
KLINES = ("kline_1m", "kline_5m", "kline_15m", "kline_1h", "kline_4h")


def row(name, value, unit, goal):
    print(f"{name:<46} {value:>12,.2f} {unit:<16} {goal}", flush=True)


def opened(symbols):
    began = time.process_time()
    venue = Venue(VenueSettings(symbols=symbols), Seeds(7), START_MS)
    return venue, time.process_time() - began


def busy_symbols():
    """Every trade of the busiest symbols as aggTrade and five klines, no throttle in the way."""
    settings = VenueSettings(
        symbols=20, ticks_per_minute=300, kline_throttle_ms=0, block_minutes=5, events=False
    )
    venue = Venue(settings, Seeds(7), START_MS)
    names = [
        f"{r.symbol.lower()}@{k}"
        for r in venue.exchange.listed
        for k in (*KLINES, "aggTrade", "bookTicker")
    ]
    for link, name in enumerate(names, 1):
        route = "public" if name.endswith("bookTicker") else "market"
        venue.ws_open(START_MS, link, f"/{route}/ws/{name}")
    venue.advance(START_MS + 1_000)
    began, frames, now = time.process_time(), 0, START_MS + 1_000
    while time.process_time() - began < 4:
        now += 250
        frames += len(venue.advance(now))
    return frames / (time.process_time() - began)


def real_time_550():
    venue, start_s = opened(550)
    rows = venue.exchange.listed
    link, began = 0, time.process_time()
    for i in range(0, 550, 50):
        part = rows[i : i + 50]
        link += 2
        names = "/".join(f"{r.symbol.lower()}@{k}" for r in part for k in (*KLINES, "aggTrade"))
        venue.ws_open(START_MS, link, f"/market/stream?streams={names}")
        venue.ws_open(
            START_MS,
            link + 1,
            "/public/stream?streams=" + "/".join(f"{r.symbol.lower()}@depth20" for r in part),
        )
    subscribe_s = time.process_time() - began
    began, frames = time.process_time(), 0
    for now in range(START_MS, START_MS + 20_000, 10):
        frames += len(venue.advance(now))
    return start_s, subscribe_s, frames / 20, (time.process_time() - began) / 20


def campaign_day(listen):
    settings = VenueSettings(
        symbols=4, tick_ms=1_000, ticks_per_minute=6, block_minutes=60, events=False, book_levels=50
    )
    venue = Venue(settings, Seeds(7), START_MS)
    if listen:
        names = "/".join(f"{r.symbol.lower()}@{k}" for r in venue.exchange.listed for k in KLINES)
        venue.ws_open(START_MS, 1, f"/market/stream?streams={names}")
    began, now = time.process_time(), START_MS
    while now < START_MS + DAY_MS:
        now = venue.next_ms()
        venue.advance(now)
    return time.process_time() - began


BARS = {
    "events_per_s": (20_000, True),
    "ready_600_cpu_s": (15, False),
    "share_of_core_550": (1, False),
}
"""name: (the bar, whether more is better)."""


def missed(found):
    """Names of the bars that are not reached."""
    return [
        name
        for name, (bar, is_floor) in BARS.items()
        if (found[name] < bar if is_floor else found[name] > bar)
    ]


def main(arguments):
    found = {"events_per_s": busy_symbols(), "ready_600_cpu_s": opened(600)[1]}
    start_s, subscribe_s, rate, core = real_time_550()
    found |= {
        "ready_550_cpu_s": start_s,
        "subscribe_550_cpu_s": subscribe_s,
        "frames_per_s_550": rate,
        "share_of_core_550": core,
    }
    if "--check" not in arguments:
        found["day_unheard_cpu_s"] = campaign_day(listen=False)
        found["day_heard_cpu_s"] = campaign_day(listen=True)
    if "--json" in arguments:
        print(json.dumps({name: round(value, 3) for name, value in found.items()}))
    else:
        for name, value in found.items():
            bar, is_floor = BARS.get(name, (0, True))
            row(name, value, "", f"{'>=' if is_floor else '<='} {bar:,}" if bar else "")
    failed = missed(found)
    for name in failed:
        print(f"missed: {name}", file=sys.stderr)
    return 1 if failed and "--check" in arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
