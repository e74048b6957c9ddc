"""The seven states of a connection and what moves it from one to the next: a table (STYLE 13)."""

from __future__ import annotations

from enum import IntEnum, StrEnum
from typing import Final


class ConnectionState(IntEnum):
    """Where a connection stands."""

    DISCONNECTED = 0
    """Not started, or stopped on purpose."""
    CONNECTING = 1
    """The first attempt is under way."""
    CONNECTED = 2
    """The socket is open; subscriptions are on their way."""
    SUBSCRIBED = 3
    """Every subscription was acknowledged."""
    LOST = 4
    """The socket is gone; the wait before the next attempt runs."""
    RECONNECTING = 5
    """A further attempt is under way."""
    FAILED = 6
    """`max_retries` attempts in a row failed: alarm; attempts go on at `max_delay` (§0.24)."""


class Trigger(StrEnum):
    """What moves a connection."""

    START = "start"
    OPENED = "opened"
    ACKED = "acked"
    WANTED = "wanted"
    LOST = "lost"
    RETRY = "retry"
    EXHAUSTED = "exhausted"
    STOP = "stop"


_S = ConnectionState
_T = Trigger

TRANSITIONS: Final[dict[tuple[ConnectionState, Trigger], ConnectionState]] = {
    (_S.DISCONNECTED, _T.START): _S.CONNECTING,
    (_S.CONNECTING, _T.OPENED): _S.CONNECTED,
    (_S.RECONNECTING, _T.OPENED): _S.CONNECTED,
    (_S.FAILED, _T.OPENED): _S.CONNECTED,
    (_S.CONNECTED, _T.ACKED): _S.SUBSCRIBED,
    (_S.SUBSCRIBED, _T.WANTED): _S.CONNECTED,
    (_S.CONNECTED, _T.WANTED): _S.CONNECTED,
    (_S.CONNECTING, _T.LOST): _S.LOST,
    (_S.CONNECTED, _T.LOST): _S.LOST,
    (_S.SUBSCRIBED, _T.LOST): _S.LOST,
    (_S.RECONNECTING, _T.LOST): _S.LOST,
    (_S.FAILED, _T.LOST): _S.FAILED,
    (_S.LOST, _T.RETRY): _S.RECONNECTING,
    (_S.FAILED, _T.RETRY): _S.FAILED,
    (_S.LOST, _T.EXHAUSTED): _S.FAILED,
    **{(state, _T.STOP): _S.DISCONNECTED for state in _S},
}
"""(state, trigger) → state; a pair that is not listed leaves the state as it is."""


def moved(state: ConnectionState, trigger: Trigger) -> ConnectionState:
    """The state after `trigger`."""
    return TRANSITIONS.get((state, trigger), state)
