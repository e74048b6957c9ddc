"""Which streams are silent, as opposed to merely quiet (DOMAIN §0.21, §0.22).

A stream that the venue sends by the clock is silent past its own cadence. One that only speaks of
trades is silent if other evidence says that its symbol traded after its last frame; a coin that
does not trade stays trusted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple, Protocol

from cryptosignal.streams import names
from cryptosignal.streams.settings import FeedSettings


class Heard(Protocol):
    """What the monitor needs to know of a stream (market.inbox.Stream has it)."""

    name: str
    kind: str
    slot: int
    last_ms: int
    is_wanted: bool


class Verdict(NamedTuple):
    """One stream at one check."""

    name: str
    slot: int
    is_silent: bool
    silent_ms: int


class HeartbeatMonitor:
    """Checks every `heartbeat_interval` s; the limit is `heartbeat_timeout`, or for streams by the
    clock and the market's ticker the shorter `cadence_timeout`. `since_ms` is when a stream was
    subscribed."""

    def __init__(self, settings: FeedSettings) -> None:
        self._limit_ms = int(settings.heartbeat_timeout * 1000)
        self._cadence_limit_ms = int(settings.cadence_timeout * 1000)

    def limit_ms(self, name: str) -> int:
        """Silence that is too long for this stream."""
        cadence = names.cadence_ms(name)
        if not cadence and names.parse(name).kind == names.TICKER_ARRAY:
            return min(self._limit_ms, self._cadence_limit_ms)
        if not cadence:
            return self._limit_ms
        return min(self._limit_ms, max(self._cadence_limit_ms, 3 * cadence))

    def check(
        self,
        streams: Iterable[Heard],
        now_ms: int,
        traded_ms: Callable[[int], float],
        since_ms: Callable[[str], int],
    ) -> list[Verdict]:
        """A verdict for each wanted stream. `traded_ms(slot)` is when other evidence last showed a
        trade of the symbol, for slot -1 of any symbol (NaN: none)."""
        verdicts: list[Verdict] = []
        for stream in streams:
            if not stream.is_wanted:
                continue
            began = since_ms(stream.name)
            if not began:
                continue
            silent_ms = now_ms - max(stream.last_ms, began)
            is_long = silent_ms > self.limit_ms(stream.name)
            is_silent = is_long and self._is_proven(stream, traded_ms, began)
            verdicts.append(Verdict(stream.name, stream.slot, is_silent, silent_ms))
        return verdicts

    def _is_proven(self, stream: Heard, traded_ms: Callable[[int], float], began_ms: int) -> bool:
        if names.cadence_ms(stream.name):
            return True
        if stream.kind not in _TRADE_DRIVEN:
            return False
        last = max(stream.last_ms, began_ms)
        return traded_ms(stream.slot) > last + _EVIDENCE_SLACK_MS


def heartbeat_penalty(silent: int, subscribed: int) -> tuple[float, float]:
    """(subtracted, ceiling) of a symbol's DataQual: a level, not a sum over checks (§0.22).

    One, two, three silent streams take .10, .20, .30; four of five, or all, leave .20 at most. A
    feed of three intervals (new coins) is worth 1.0, .8, .5, .2.
    """
    if silent <= 0 or subscribed <= 0:
        return 0.0, 1.0
    if silent >= subscribed or silent >= 4:
        return 0.0, 0.2
    if subscribed == 3:
        return 0.0, (0.8, 0.5)[silent - 1]
    return 0.1 * silent, 1.0


_TRADE_DRIVEN = frozenset({names.KLINE, names.TRADE, names.PARTIAL, names.DIFF, names.TICKER}) | {
    names.TICKER_ARRAY
}
_EVIDENCE_SLACK_MS = 5_000
