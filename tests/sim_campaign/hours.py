"""Dense hours: a simulated hour with the trades and kills of a day, in which planted bugs are hunted.

Most of a day is flat, and teaches a hunt nothing. An hour has a random part of the menu, as every
day of the campaign; some hours also turn a part of the menu up, so that a bug which needs it is met
within the days that a campaign has: what a campaign meets in a hundred days is met here in few.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec

from cryptosignal.ground.seeds import Seeds
from cryptosignal.modes.campaign import DaySettings
from cryptosignal.modes.weather import Weather, swarm

_DENSE = DaySettings(days=0.04, kill_mean_s=300.0, trade_mean_s=40.0, host_mean_s=600.0)


@dataclass(frozen=True)
class Hours:
    """Hours of one kind. `net`, `venue`, `host`: what is turned up beside the swarm of each seed."""

    name: str
    net: dict[str, float] = field(default_factory=dict)
    venue: dict[str, float] = field(default_factory=dict)
    host: frozenset[str] = frozenset()
    needs_position: bool | None = None
    settings: DaySettings = _DENSE

    def of(self, seed: int) -> DaySettings:
        """The hour of one seed."""
        met = swarm(Seeds(seed).stream("weather"))
        weather = Weather(
            msgspec.structs.replace(met.net, **self.net),
            {**met.venue, **self.venue},
            met.host | self.host,
            met.stop_needs_position if self.needs_position is None else self.needs_position,
        )
        return msgspec.structs.replace(self.settings, weather=weather)


DENSE = Hours("dense")
"""The swarm as it is."""
HALF_TOLD = Hours(
    "half told",
    net={"request_slow": 0.1, "response_lost": 0.1},
    venue={"http_1007": 0.05, "http_late": 0.05, "stale_read": 0.3, "event_lost": 0.2},
)
"""Answers are lost, reads lag, reports do not come: what is not seen is not therefore absent."""
HELD_BACK = Hours("held back", venue={"http_429": 8.0})
"""Others use up the minute's weight every few minutes."""
POSITION_FIRST = Hours(
    "position first",
    net={"request_lost": 0.05},
    host=frozenset({"aimed_kill"}),
    needs_position=True,
    settings=msgspec.structs.replace(_DENSE, kill_mean_s=240.0),
)
"""The venue takes no stop before there is a position, and processes die in between."""
SILENT = Hours(
    "silent",
    net={"stream_half_open_per_min": 0.3, "request_lost": 0.1},
    venue={"ws_stall": 30.0, "ws_silent_subscribe": 0.3},
)
"""Streams fall silent, requests are lost: nothing but a wake-up says that it is time."""

CROWDED = Hours("crowded", venue={"manual_order": 60.0, "event_lost": 0.7})
"""A person trades on the same account, and the stream does not say so."""
VANISHING = Hours("vanishing", venue={"stop_vanish": 60.0})
"""Resting stops are gone without a word."""
SHIFTING = Hours("shifting", venue={"filter_change": 12.0, "stop_vanish": 60.0})
"""Ticks and steps change while positions are held, and stops must be placed anew."""

HOURS: tuple[Hours, ...] = (
    DENSE,
    HALF_TOLD,
    HELD_BACK,
    POSITION_FIRST,
    SILENT,
    CROWDED,
    VANISHING,
    SHIFTING,
)
