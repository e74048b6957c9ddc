"""Which faults a simulated day has: swarm testing, each seed with a random part of the menu.

A day in which everything fails at once never reaches the states that need calm between two blows;
so each fault is on or off by the seed (RELIABILITY §6). What must have struck, and which ways of
recovery must have been taken, in a whole campaign is listed here too.
"""

from __future__ import annotations

import msgspec

from cryptosignal.ground.seeds import Rng
from cryptosignal.modes.virtual_net import STORM, NetFaults
from cryptosignal.sim.mischief import MENU, PER_HOUR

VENUE_SHARE = 0.4
NET_SHARE = 0.6
HOST_SHARE = 0.5
POSITION_FIRST_SHARE = 0.15
"""Of the days, on which the venue takes no stop before there is a position (RELIABILITY §3.7)."""
HOST_FAULTS = ("aimed_kill", "clock_step", "pause", "disk_full", "terminate", "double_start")
"""Host faults beside the kills, which every day has (RELIABILITY §6, 31 to 37)."""
SCARCE = 6.0
"""Faults that strike by the hour are rare at storm rates; a simulated day speeds them up."""

SELDOM = {"trigger_reject": 0.3}
"""Faults of moments that a simulated day has few of."""

PATHS = (
    "intent_entry",
    "intent_stop",
    "intent_tp1",
    "intent_tp2",
    "intent_exit",
    "intent_flatten",
    "second_stop",
    "position_first",
    "reply_acked",
    "reply_rejected",
    "reply_not_sent",
    "reply_unknown",
    "unknown_found",
    "unknown_absent",
    "cancel_acked",
    "cancel_rejected",
    "cancel_unknown",
    "snapshot_start",
    "snapshot_stream",
    "snapshot_audit",
    "snapshot_proof",
    "foreign_fill",
    "torn_tail",
    "restart_while_held",
    "stop_moved",
    "filled_stop",
    "filled_tp1",
    "filled_tp2",
    "filled_exit",
    "filled_flatten",
)
"""Ways through the program that a campaign must have taken."""


class Weather(msgspec.Struct, frozen=True):
    """The faults of one day."""

    net: NetFaults = STORM
    venue: dict[str, float] = {}
    host: frozenset[str] = frozenset()
    stop_needs_position: bool = False


def calm() -> Weather:
    """No fault at all but the kills."""
    return Weather(NetFaults())


def swarm(rng: Rng) -> Weather:
    """A random subset of every menu."""
    net = {
        name: rate if rng.random() < NET_SHARE else 0.0
        for name, rate in msgspec.structs.asdict(STORM).items()
    }
    venue = {name: _rate(name) for name in MENU if rng.random() < VENUE_SHARE}
    host = frozenset(name for name in HOST_FAULTS if rng.random() < HOST_SHARE)
    return Weather(NetFaults(**net), venue, host, rng.random() < POSITION_FIRST_SHARE)


def everything() -> Weather:
    """The whole menu at once: no fault is too rare to meet another within minutes."""
    return Weather(STORM, {name: _rate(name) for name in MENU}, frozenset(HOST_FAULTS))


def _rate(name: str) -> float:
    """The storm's rate; what strikes by the hour is sped up where it is rare."""
    kind, _mild, storm = MENU[name]
    if name in SELDOM:
        return SELDOM[name]
    return storm * SCARCE if kind == PER_HOUR and storm < 1 else storm


def never_struck(faults: dict[str, int], paths: dict[str, int]) -> list[str]:
    """Faults and ways of recovery that a whole campaign has not seen once."""
    names = (*msgspec.structs.asdict(STORM), *MENU, *HOST_FAULTS)
    missing = [f"fault {name}" for name in names if not faults.get(name)]
    return missing + [f"path {name}" for name in PATHS if not paths.get(name)]
