"""One simulated venue as a process of its own, for every test of a session that needs one."""

from __future__ import annotations

import functools
from contextlib import ExitStack

from cryptosignal.modes.embedded import VenueReady, embedded_venue

_STACK = ExitStack()


@functools.cache
def venue_beside() -> VenueReady:
    """The announcement of the session's venue: started once, ended when the session's process ends
    (its standard input closes then)."""
    return _STACK.enter_context(embedded_venue(["--port", "0", "--symbols", "8", "--seed", "7"]))


def close_venue() -> None:
    """End it early; the next question starts another."""
    _STACK.close()
    venue_beside.cache_clear()
