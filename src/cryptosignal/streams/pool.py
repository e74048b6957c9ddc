"""The pool under the names people know: connections, least-loaded allocation, states.

It plans and keeps states; sockets are opened by the feed that owns it (`net.feed`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from cryptosignal.ground.faults import UserFault
from cryptosignal.streams.plan import PlannedConnection, least_loaded
from cryptosignal.streams.settings import FeedSettings
from cryptosignal.streams.states import ConnectionState


class WebSocketConnectionPool:
    """Up to `max_connections` connections with at most `max_streams_per_connection` streams each."""

    def __init__(
        self,
        settings: FeedSettings | None = None,
        route_of: Callable[[str], str] = lambda _: "market",
    ) -> None:
        self.settings = settings or FeedSettings()
        self._route_of = route_of
        self.connections: dict[int, PlannedConnection] = {}
        self.states: dict[int, ConnectionState] = {}
        self._next_id = 1

    def create_connection(self, streams: Iterable[str] = (), route: str = "market") -> int:
        """A new connection (not opened yet) carrying `streams`; answers its id.

        Raises UserFault when the pool is full, the streams do not fit or belong to another route.
        """
        listed = list(dict.fromkeys(streams))
        if len(self.connections) >= self.settings.max_connections:
            raise UserFault(
                f"the pool is full: {self.settings.max_connections} connections"
                " (websocket.max_connections)"
            )
        self._require(listed, route, 0)
        made = PlannedConnection(self._next_id, route)
        made.streams = dict.fromkeys(listed)
        self._next_id += 1
        self.connections[made.conn_id] = made
        self.states[made.conn_id] = ConnectionState.DISCONNECTED
        return made.conn_id

    def allocate_stream(self, stream: str) -> int:
        """Put a stream on the least loaded connection of its route, making one if none has room;
        a stream that is carried already stays where it is. Answers the connection's id.

        Raises UserFault for a name that is no stream, or when nothing has room.
        """
        if "@" not in stream and not stream.startswith("!"):
            raise UserFault(f"not a stream: {stream!r} (such as btcusdt@kline_1m)")
        for connection in self.connections.values():
            if stream in connection.streams:
                return connection.conn_id
        route = self._route_of(stream)
        mine = [c for c in self.connections.values() if c.route == route]
        roomy = [c for c in mine if len(c.streams) < self.settings.max_streams_per_connection]
        if not roomy:
            return self.create_connection([stream], route)
        chosen = least_loaded(roomy)
        chosen.streams[stream] = None
        return chosen.conn_id

    def release_stream(self, stream: str) -> None:
        """Stop carrying a stream; all others stay."""
        for connection in self.connections.values():
            connection.streams.pop(stream, None)

    def get_status(self) -> dict[str, object]:
        """Connections, streams and states in numbers."""
        return {
            "connections": len(self.connections),
            "streams": sum(len(c.streams) for c in self.connections.values()),
            "states": {conn_id: state.name for conn_id, state in self.states.items()},
        }

    def _require(self, streams: list[str], route: str, carried: int) -> None:
        wrong = [stream for stream in streams if self._route_of(stream) != route]
        if wrong:
            raise UserFault(f"{wrong[0]} does not belong on a /{route} connection")
        room = self.settings.max_streams_per_connection
        if carried + len(streams) > room:
            raise UserFault(f"{len(streams)} streams, at most {room} a connection")
