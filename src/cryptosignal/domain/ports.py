"""The ports: the only places where live, paper, simulation, replay and backtest differ.

Faces of sockets, disk and HTTP as the rim needs them; the real ones live in `net/` and `store/`,
the simulated ones in `modes/simulate`. Bytes cross these ports, never objects.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import msgspec


class HttpRequest(msgspec.Struct, frozen=True, gc=False):
    """One HTTP request. `path` starts with `/`, `query` is the encoded string without `?`."""

    method: str
    path: str
    query: str = ""
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    timeout_ms: int = 10_000


class HttpResponse(msgspec.Struct, frozen=True, gc=False):
    """One HTTP answer; header names are lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


class WsListener(Protocol):
    """Receives what a WebSocket connection delivers. Called synchronously on the loop."""

    def on_frame(self, payload: bytes) -> None:
        """One whole text message."""
        ...

    def on_pong(self) -> None:
        """A pong to our ping (proof of a peer, not of data)."""
        ...

    def on_closed(self, code: int, reason: str) -> None:
        """The connection is gone (1006 without a close frame). Called exactly once."""
        ...


class FrameSorter(Protocol):
    """What lets a transport put whole messages where they belong: `takes[message[11:43]]`, where
    there is one, gets the message; `taken` counts them; `arm` is called before the first and now
    and then. A listener that wants this has one as `sorter`, None or nothing otherwise."""

    taken: int
    takes: dict[bytes, Callable[[bytes], None]]

    def arm(self) -> None:
        """A message is on its way, the first after a while or one of many."""
        ...


def sorter_of(listener: WsListener) -> FrameSorter | None:
    """The sorter of a listener, None if it takes every message itself."""
    found: FrameSorter | None = getattr(listener, "sorter", None)
    return found


class WsLink(Protocol):
    """An open WebSocket connection."""

    def send(self, payload: bytes) -> None:
        """Queue one text message."""
        ...

    def ping(self) -> None:
        """Queue a ping."""
        ...

    def close(self, code: int = 1000) -> None:
        """Start closing; `on_closed` follows."""
        ...


class Transport(Protocol):
    """Sockets: HTTP requests and WebSocket connections of one program."""

    async def open_ws(self, url: str, listener: WsListener, timeout_ms: int) -> WsLink:
        """Connect and hand frames to `listener`.

        Raises `TimedOut`, `Unreachable`, or `Refused` (HTTP status as code) on a failed handshake.
        """
        ...

    async def request(self, base_url: str, request: HttpRequest) -> HttpResponse:
        """One exchange, no retry of any kind (RELIABILITY §3.3).

        Raises `TimedOut` (outcome unknown) or `Unreachable` (nothing was sent).
        """
        ...

    async def close(self) -> None:
        """Close every connection."""
        ...


class Disk(Protocol):
    """Append-only files and small replaced ones, under one root. Names are relative paths."""

    def append(self, name: str, data: bytes) -> None:
        """Queue bytes at the end of `name`; not durable until `sync`."""
        ...

    async def sync(self, name: str) -> None:
        """Return once everything appended to `name` before the call is durable (group commit)."""
        ...

    def read(self, name: str) -> bytes:
        """All bytes of `name`, b\"\" if it does not exist."""
        ...

    def size(self, name: str) -> int:
        """Length of `name` in bytes, appends that still wait included; 0 if it does not exist."""
        ...

    def replace(self, name: str, data: bytes) -> None:
        """Write `name` whole, atomically."""
        ...

    def names(self, prefix: str) -> list[str]:
        """Existing names that start with `prefix`, sorted."""
        ...

    def truncate(self, name: str, length: int) -> None:
        """Cut `name` to `length` bytes (a torn tail is dropped before writing on); never extends."""
        ...

    def delete(self, name: str) -> None:
        """Remove `name`; missing is fine."""
        ...
