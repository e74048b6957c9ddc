"""Which stream goes on which connection: least loaded first, routes apart, room known beforehand.

The plan is raised towards the venue's 1,024 streams a connection when it must be, and says so; past
the pool's capacity it refuses in one line. Streams stay where they are when others come or go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from cryptosignal.ground.faults import UserFault
from cryptosignal.streams.settings import FeedSettings

RouteOf = Callable[[str], str]


class PlanChange(NamedTuple):
    """What a new set of streams means for the connections; `note` is for a person, or ""."""

    opened: tuple[int, ...]
    changed: tuple[int, ...]
    closed: tuple[int, ...]
    note: str


class PlannedConnection:
    """One connection of the plan: its route and its streams in order of arrival."""

    def __init__(self, conn_id: int, route: str) -> None:
        self.conn_id = conn_id
        self.route = route
        self.streams: dict[str, None] = {}


class StreamPlan:
    """Streams × connections. Connection ids are never used twice."""

    def __init__(
        self, settings: FeedSettings, route_of: RouteOf, canaries: dict[str, str] | None = None
    ) -> None:
        self._settings = settings
        self._route_of = route_of
        self._canaries = canaries or {}
        self._next_id = 1
        self.connections: dict[int, PlannedConnection] = {}
        self.per_connection = settings.max_streams_per_connection

    def assign(self, wanted: Iterable[str]) -> PlanChange:
        """Carry exactly `wanted` (canaries are added to each connection).

        Raises UserFault past the pool's capacity; the plan is unchanged then.
        """
        by_route: dict[str, dict[str, None]] = {}
        for stream in wanted:
            by_route.setdefault(self._route_of(stream), {})[stream] = None
        for route, canary in self._canaries.items():
            by_route.get(route, {}).pop(canary, None)
            if route in by_route and not by_route[route]:
                by_route[route] = {}
        counts = self._connections_needed({route: len(s) for route, s in by_route.items()})
        before = {conn_id: tuple(c.streams) for conn_id, c in self.connections.items()}
        for route in sorted({c.route for c in self.connections.values()} | set(by_route)):
            self._fit(route, by_route.get(route, {}), counts.get(route, 0))
        after = {conn_id: tuple(c.streams) for conn_id, c in self.connections.items()}
        return PlanChange(
            opened=tuple(sorted(set(after) - set(before))),
            changed=tuple(sorted(i for i in set(after) & set(before) if after[i] != before[i])),
            closed=tuple(sorted(set(before) - set(after))),
            note=self._note(sum(len(streams) for streams in by_route.values())),
        )

    def _connections_needed(self, streams: dict[str, int]) -> dict[str, int]:
        """Connections a route, raising the streams a connection as far as needed."""
        settings = self._settings
        room = settings.streams_per_connection_limit
        for per in range(settings.max_streams_per_connection, room + 1):
            usable = per - (1 if self._canaries and per > 1 else 0)
            counts = {route: max(1, -(-count // usable)) for route, count in streams.items()}
            if sum(counts.values()) <= settings.max_connections:
                self.per_connection = per
                return counts
        total = sum(streams.values())
        raise UserFault(
            f"{total} streams do not fit: {settings.max_connections} connections of at most {room}"
            " carry fewer (fewer symbols or intervals, or websocket.max_connections)"
        )

    def _note(self, total: int) -> str:
        default = self._settings.max_streams_per_connection
        if self.per_connection <= default:
            return ""
        return (
            f"{total} streams: raised from {default} to {self.per_connection} streams a connection"
            f" (venue limit {self._settings.streams_per_connection_limit})"
        )

    def _fit(self, route: str, wanted: dict[str, None], count: int) -> None:
        """Make `count` connections of `route` carry exactly `wanted`, moving as little as possible."""
        mine = [c for c in self.connections.values() if c.route == route]
        canary = self._canaries.get(route)
        for connection in mine[count:]:
            del self.connections[connection.conn_id]
        mine = mine[:count]
        for connection in mine:
            for stream in [s for s in connection.streams if s not in wanted and s != canary]:
                del connection.streams[stream]
        while len(mine) < count:
            made = PlannedConnection(self._next_id, route)
            self._next_id += 1
            if canary:
                made.streams[canary] = None
            self.connections[made.conn_id] = made
            mine.append(made)
        placed = {stream for connection in mine for stream in connection.streams}
        for stream in wanted:
            if stream not in placed:
                least_loaded(mine).streams[stream] = None

    def find(self, stream: str) -> int:
        """The connection that carries `stream`, 0 if none does."""
        for connection in self.connections.values():
            if stream in connection.streams:
                return connection.conn_id
        return 0


def least_loaded(connections: Iterable[PlannedConnection]) -> PlannedConnection:
    """The connection with the fewest streams; the oldest of equals. Raises UserFault if none."""
    chosen = min(connections, key=lambda c: (len(c.streams), c.conn_id), default=None)
    if chosen is None:
        raise UserFault("no connection to allocate a stream to: create one first")
    return chosen
