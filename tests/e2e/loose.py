"""A configuration under which nearly every symbol is Prime at once: for tests of what follows a signal."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from cryptosignal.modes.snapshots import ask_once
from cryptosignal.modes.whereabouts import socket_of

LOOSE = """
[run]
scan_interval_s = 2.0
trigger_intervals = []
[risk]
cost_max_r = 1
[trading]
funding_guard_ms = 0
[params.gates]
quality_open = 0.0
quality_hold = 0.0
quality_watch = 0.0
min_score = 0.0
strength_mature = 0.0
dims_min = 0
p0 = 0.5
new_p0 = 0.5
dp0 = 0.0
new_dp0 = 0.0
mtf_min = 0.0
ev_min = -1.0
spread_open_bps = 1000.0
spread_hold_bps = 1000.0
impact_open_bps = 1000.0
impact_hold_bps = 1000.0
obi_open = 1.0
obi_hold = 1.0
room_structure_atr = 0.0
room_book_ratio = 0.0
new_room_structure_atr = 0.0
new_room_book_ratio = 0.0
funding_guard_ms = 0
coverage_min = 0.0
micro_min = 0
independence_score_min = 0.0
lead_min = -1000.0
conflict_level = 1000.0
breadth_min = 0.0
correlation_max = 1.0
correlated_max = 1000
[params.tiers]
k = 1
n = 1
cooldown_ms = 0
diversify_ms = 0
hysteresis = 0.0
"""


def loose_config(folder: Path, extra: str = "") -> Path:
    """The file in `folder`, followed by further TOML."""
    path = folder / "loose.toml"
    path.write_text(LOOSE + extra)
    return path


def asked(folder: Path, what: str) -> dict:
    """The engine's answer over its socket, as the command line would get it."""
    with ThreadPoolExecutor(1) as pool:  # a browser's test has a loop in its own thread
        return pool.submit(asyncio.run, ask_once(socket_of(folder / "runs"), what)).result()


def until(folder: Path, key: str, is_so):
    """Ask for the desk until `key` of it is as wanted; each answer waits for the engine's turn."""
    for _ in range(150):
        value = asked(folder, "desk")[key]
        if is_so(value):
            return value
        # nap-ok: between two looks at another process, which has no event to wait for
        time.sleep(0.1)
    raise AssertionError(f"{key}: {value}")
