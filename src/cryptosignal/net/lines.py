"""One connection of the market feed: a session, the socket under it, and who hears its frames.

A line performs what its session asks for; what it learns goes to the feed that owns it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final

import numpy as np

from cryptosignal.domain.ports import FrameSorter, WsLink
from cryptosignal.ground.faults import Fault
from cryptosignal.ground.units import MINUTE_MS
from cryptosignal.market import frames
from cryptosignal.market.inbox import LOOKS_MANY, Inbox
from cryptosignal.market.sorting import PAD, Sorting
from cryptosignal.streams import session
from cryptosignal.streams.session import Session

if TYPE_CHECKING:
    from cryptosignal.net.feed import MarketFeed

_HEAD_BYTES: Final = 80
_READ_BYTES: Final = 1 << 17
"""Of one read: it should still be in the processor's cache when it is sorted."""
_FEW_BITS: Final = 12
"""Messages between two calls of `arm`, as a power of two."""
_QUIET: Final = 32
"""Fewer messages a read than this, and the reader keeps up with the venue."""
_COLLECT_AT: Final = 128


class Line:
    """One connection: a session and the socket under it. Also the socket's listener."""

    def __init__(self, feed: MarketFeed, conn_id: int, route: str, sess: Session) -> None:
        self.feed = feed
        self.conn_id = conn_id
        self.route = route
        self.session = sess
        self.frames: list[bytes] = []
        self.socket: Socket | None = None
        self.noise = 0
        self.heard: tuple[str, ...] = ()
        self.link: WsLink | None = None
        self.generation = 0
        self.wake_ns = 0
        self.timer: asyncio.TimerHandle | None = None
        self.replaces: Line | None = None
        self.deadline_ns = 0
        self.connecting: asyncio.Task[None] | None = None

    def step(self, event: session.SessionEvent) -> None:
        """One session step and its actions."""
        feed = self.feed
        for action in self.session.step(feed.clock.mono_ns(), event):
            _PERFORM[type(action)](self, action)

    def put_aside(self, payload: bytes) -> None:
        """A frame whose stream is not known yet, or that is no stream's, for the drain."""
        if not self.frames:
            self.feed.drain_soon()
        self.frames.append(payload)

    def tap(self, payloads: Iterable[bytes]) -> None:
        """Show frames to the feed's tap as the board takes them."""
        tap, clock = self.feed.tap, self.feed.clock
        if tap is not None:
            for payload in payloads:
                tap(self.conn_id, clock.now_ms(), payload)

    def sort_frames(self, takes: dict[bytes, Callable[[bytes], None]]) -> None:
        """Send frames straight to their streams, except while the connection has to prove some:
        then, and before it is open, they are put aside and looked at."""
        if self.socket is not None:
            held = self.session
            self.socket.takes = takes if held.is_open and not held.awaiting else {}

    def hear_stray(self, payload: bytes) -> None:
        """Replies to our control messages; anything else is noise and counted by the board."""
        try:
            reply = frames.CONTROL.decode(payload)
        except frames.UNREADABLE:
            fields: dict[str, str | int | float] = {"conn_id": self.conn_id, "bytes": len(payload)}
            self.feed.note("frame.was_unreadable", fields)
            return
        error = reply.msg or (bytes(reply.error).decode() if reply.error else "")
        if isinstance(reply.id, int):
            self.step(session.Replied(reply.id, error))
        elif error:
            self.feed.note("venue.complained", {"conn_id": self.conn_id, "error": error[:200]})

    def take_count(self) -> int:
        """Market frames since the last call."""
        if self.socket is None:
            return 0
        count, self.socket.taken = self.socket.taken - self.noise, 0
        self.noise = 0
        return count

    def stats(self, now_ns: int) -> dict[str, object]:
        """The connection in numbers."""
        held = self.session
        is_open = held.is_open
        return {
            "conn_id": self.conn_id,
            "route": self.route,
            "state": held.state.name,
            "streams": len(held.wanted),
            "frames": held.frames,
            "age_s": round((now_ns - held.opened_ns) / 1e9, 1) if is_open else 0.0,
            "lag_ms": self._lag_ms(),
            "silent_s": round((now_ns - held.last_data_ns) / 1e9, 1) if is_open else 0.0,
            "reconnects": held.reconnects,
            "is_healthy": held.is_healthy,
        }

    def _lag_ms(self) -> int:
        """From the venue's event to our memory: the middle one of the streams that spoke in the last
        minute, ms. A clock of ours that is behind is reckoned in, as in the board's own figures."""
        behind_ms = max(0, -self.feed.board.baseline.value_ms)
        known, since_ms = self.feed.board.inbox.streams, self.feed.clock.now_ms() - MINUTE_MS
        own = (known[name] for name in self.session.wanted if name in known)
        lags = sorted(
            one.lag_ms + behind_ms for one in own if one.count and one.last_ms >= since_ms
        )
        return lags[len(lags) // 2] if lags else 0

    # ---- actions ------------------------------------------------------------------------------
    def _connect(self, action: session.Connect) -> None:
        self.generation += 1
        task = self.feed.loop.create_task(self._open(action, self.generation))
        self.connecting = task
        self.feed.tasks.add(task)
        task.add_done_callback(self.feed.tasks.discard)

    async def _open(self, action: session.Connect, generation: int) -> None:
        socket = Socket(self, generation)
        self.socket = socket
        try:
            link = await self.feed.transport.open_ws(action.url, socket, action.timeout_ms)
        except Fault as fault:
            if generation == self.generation:
                self.step(session.Closed(0, f"{type(fault).__name__}: {fault}"))
            return
        if generation != self.generation or socket.is_closed:
            link.close()
            return
        self.link = link
        self.step(session.Opened())

    def _send(self, action: session.Send) -> None:
        if self.link is not None:
            self.link.send(action.payload)

    def _ping(self, action: session.Ping) -> None:
        if self.link is not None:
            self.link.ping()

    def _close(self, action: session.Close) -> None:
        self.generation += 1
        self.socket = None
        link, self.link = self.link, None
        if link is not None:
            link.close(action.code)

    def _wake(self, action: session.WakeAt) -> None:
        """Timers are lazy: one that fires early only asks the session again."""
        if self.timer is not None and self.wake_ns <= action.at_ns:
            return
        if self.timer is not None:
            self.timer.cancel()
        self.wake_ns = action.at_ns
        delay_s = max(0.0, (action.at_ns - self.feed.clock.mono_ns()) / session.SECOND_NS)
        self.timer = self.feed.loop.call_later(delay_s, self._on_timer)

    def _on_timer(self) -> None:
        self.timer = None
        self.wake_ns = 0
        self.feed.flush()
        self.step(session.Due())

    def _emit(self, action: session.Emit) -> None:
        self.feed.on_session(self, action)

    def _note(self, action: session.Note) -> None:
        self.feed.note(action.event, action.fields)

    def stop(self) -> None:
        """End for good."""
        self.step(session.Stop())
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        self.generation += 1


_PERFORM: Final[dict[type, Callable[..., None]]] = {
    session.Connect: Line._connect,
    session.Send: Line._send,
    session.Ping: Line._ping,
    session.Close: Line._close,
    session.WakeAt: Line._wake,
    session.Emit: Line._emit,
    session.Note: Line._note,
}


class Socket:
    """The listener of one socket of a line; a socket that was given up is counted no more.

    Frames of known streams go straight to their stream, from the transport itself where it can sort;
    the others, and all while the connection has still to prove its canary, are put aside for the
    drain.
    """

    __slots__ = (
        "_generation", "_line", "arm", "is_closed", "on_frame", "put_aside", "sorter", "taken",
        "takes",
    )  # fmt: skip

    def __init__(self, line: Line, generation: int) -> None:
        self._line = line
        self._generation = generation
        self.arm: Callable[[], None] = line.feed.arm
        self.put_aside: Callable[[bytes], None] = line.put_aside
        self.sorter: FrameSorter | None = self if line.feed.tap is None else None
        self.taken = 0
        self.takes: dict[bytes, Callable[[bytes], None]] = {}
        self.is_closed = False
        self.on_frame: Callable[[bytes], None] = (
            self._frame if line.feed.tap is None else self._tapped
        )

    def reader(self) -> SortingReader | None:
        """What sorts whole reads, as soon as compiled code is there."""
        inbox = self._line.feed.board.inbox
        sorting = inbox.compiled()
        return None if sorting is None else SortingReader(self, inbox, sorting)

    def _frame(self, payload: bytes) -> None:
        """The hot path. The first frame after a flush arms the next flush."""
        count = self.taken
        if not count:
            self.arm()
        self.taken = count + 1
        try:
            self.takes[payload[11:43]](payload)
        except KeyError:
            self.put_aside(payload)

    def _tapped(self, payload: bytes) -> None:
        """What is put aside is tapped when the board takes it: in the order in which it learns."""
        if payload[11:43] in self.takes:
            self._line.tap((payload,))
        self._frame(payload)

    def on_pong(self) -> None:
        """Proof of a peer, not of data."""
        if self._generation == self._line.generation:
            self._line.step(session.Ponged())

    def on_closed(self, code: int, reason: str) -> None:
        """The socket is gone."""
        self.is_closed = True
        line = self._line
        if self._generation == line.generation:
            line.feed.flush()
            line.link = line.socket = None
            line.generation += 1
            line.step(session.Closed(code, reason))


class SortingReader:
    """Takes the messages of one socket a whole read at a time; see `market.sorting`."""

    def __init__(self, socket: Socket, inbox: Inbox, sorting: Sorting) -> None:
        room = bytearray(_READ_BYTES + PAD)
        self.memory = memoryview(room)[:_READ_BYTES]
        self._text = np.frombuffer(room, np.uint8)
        self._socket = socket
        self._inbox = inbox
        self._sorting = sorting
        self._kept = 0

    def take(self, start: int, end: int) -> tuple[int, int]:
        """See `FrameReader.take`."""
        socket, inbox = self._socket, self._inbox
        is_sorted, before = socket.takes is inbox.takes, socket.taken
        at, why, count, looks = self._sorting.take(
            self.memory, self._text, start, end, is_sorted, socket.on_frame
        )
        inbox.looks += looks
        socket.taken = now = socket.taken + count
        if (
            now >> _FEW_BITS != before >> _FEW_BITS
            or inbox.looks >= LOOKS_MANY
            or now > before == 0
        ):
            socket.arm()
        self._kept += count
        if self._kept >= _COLLECT_AT and count < _QUIET:
            self._kept = 0
            self._sorting.collect()  # in small parts: a flush that does it all makes frames wait
        return at, why


def cut_off(lines: Iterable[Line]) -> list[str]:
    """Streams whose connection is gone, or not proven again since."""
    return [name for line in lines if line.session.is_cut_off for name in line.session.wanted]


def heard_of(awaited: tuple[str, ...], batch: list[bytes]) -> tuple[str, ...]:
    """Which of the awaited streams speak in this batch: a proof per connection, also while two
    connections carry the same streams."""
    if not awaited:
        return ()
    heads = {frame[:_HEAD_BYTES] for frame in batch}
    return tuple(name for name in awaited if any(f'"{name}"'.encode() in head for head in heads))
