"""One connection's protocol, without a socket: step(now, event) -> actions (D5).

Market frames do not come through here one by one: the rim counts them and reports counts, and only
replies to our own messages are handed in. What counts as health is data, never a handshake, a pong
or an acknowledgement: a server that accepts and closes, or acknowledges and stays silent, meets a
growing wait.
"""

# size-ok: one state machine with the messages it speaks; apart they say nothing
from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Final, Protocol

import msgspec

from cryptosignal.streams import names
from cryptosignal.streams.settings import FeedSettings
from cryptosignal.streams.states import ConnectionState, Trigger, moved

SECOND_NS: Final = 1_000_000_000
_ACK_TRIES: Final = 3
_IDS_PER_CONNECTION: Final = 1_000_000
_RESUBSCRIBE_TRIES: Final = 2


class _Message(msgspec.Struct, frozen=True, gc=False, tag_field="type", tag=True):
    pass


# ---- events -----------------------------------------------------------------------------------
class Start(_Message, frozen=True, gc=False):
    """Begin."""


class Opened(_Message, frozen=True, gc=False):
    """The socket is open and upgraded."""


class Received(_Message, frozen=True, gc=False):
    """`count` market frames came, the last at `last_ns`; `firsts` are streams that spoke for the
    first time since they were subscribed."""

    count: int
    last_ns: int
    firsts: tuple[str, ...] = ()


class Replied(_Message, frozen=True, gc=False):
    """A reply to message `id`; `error` is the venue's text, "" for success."""

    id: int
    error: str = ""


class Ponged(_Message, frozen=True, gc=False):
    """A pong came."""


class Closed(_Message, frozen=True, gc=False):
    """The socket is gone, or never came to be (`code` 0)."""

    code: int
    reason: str


class Due(_Message, frozen=True, gc=False):
    """The time of the last `WakeAt` came."""


class WantStreams(_Message, frozen=True, gc=False):
    """From now on this connection carries exactly these streams."""

    streams: tuple[str, ...]


class Distrusted(_Message, frozen=True, gc=False):
    """Evidence says that these streams are dead although the connection lives (§0.21)."""

    streams: tuple[str, ...]


class Stop(_Message, frozen=True, gc=False):
    """End for good."""


SessionEvent = (
    Start | Opened | Received | Replied | Ponged | Closed | Due | WantStreams | Distrusted | Stop
)


# ---- actions ----------------------------------------------------------------------------------
class Connect(_Message, frozen=True, gc=False):
    """Open a socket; the answer is `Opened` or `Closed`."""

    url: str
    timeout_ms: int


class Send(_Message, frozen=True, gc=False):
    """Send one text message."""

    payload: bytes


class Ping(_Message, frozen=True, gc=False):
    """Send a ping."""


class Close(_Message, frozen=True, gc=False):
    """Drop the socket; nothing more is heard from it."""

    code: int
    reason: str


class WakeAt(_Message, frozen=True, gc=False):
    """Deliver `Due` at this monotonic time; replaces the former one."""

    at_ns: int


class Emit(_Message, frozen=True, gc=False):
    """News for the feed: `kind` state | lost | healthy | renewal | overdue | failed."""

    kind: str
    reason: str = ""
    streams: tuple[str, ...] = ()


class Note(_Message, frozen=True, gc=False):
    """Something worth a log line."""

    event: str
    fields: dict[str, str | int | float]


SessionAction = Connect | Send | Ping | Close | WakeAt | Emit | Note


class Backoff(Protocol):
    """What the session needs of `streams.backoff.ExponentialBackoff`."""

    def next_delay(self) -> float:
        """Seconds to wait before the next attempt."""
        ...

    def reset(self) -> None:
        """The other side has proved healthy."""
        ...


class _Pending:
    """A control message that was sent and not yet answered."""

    __slots__ = ("deadline_ns", "method", "streams", "tries")

    def __init__(self, method: str, streams: tuple[str, ...], deadline_ns: int, tries: int) -> None:
        self.method = method
        self.streams = streams
        self.deadline_ns = deadline_ns
        self.tries = tries


class Session:
    """The state machine of one connection. `url_of(streams)` builds its combined URL."""

    def __init__(
        self,
        conn_id: int,
        url_of: Callable[[Sequence[str]], str],
        streams: Iterable[str],
        settings: FeedSettings,
        backoff: Backoff,
    ) -> None:
        self.conn_id = conn_id
        self._url_of = url_of
        self._settings = settings
        self._backoff = backoff
        self.wanted: dict[str, None] = {}
        self._by_clock = False
        self._want(streams)
        self.state = ConnectionState.DISCONNECTED
        self.failures = 0
        self.reconnects = 0
        self.reasons: dict[str, int] = {}
        self.frames = 0
        self.opened_ns = 0
        self.last_data_ns = 0
        self.is_healthy = False
        self._subscribed: set[str] = set()
        self._queue: deque[tuple[str, tuple[str, ...], int]] = deque()
        self._pending: dict[int, _Pending] = {}
        self._sent_ns: deque[int] = deque(maxlen=settings.messages_per_second)
        self._awaiting: dict[str, int] = {}
        self._quiet: dict[str, int] = {}
        self._resubscribed: dict[str, int] = {}
        self._next_id = conn_id * _IDS_PER_CONNECTION + 1
        self._retry_ns = 0
        self._connect_ns = 0
        self._ping_ns = 0
        self._pong_due_ns = 0
        self._renewal_ns = 0
        self._out: list[SessionAction] = []

    def step(self, now_ns: int, event: SessionEvent) -> tuple[SessionAction, ...]:
        """Advance by one event; the last action is the next `WakeAt`, if anything is awaited."""
        self._out = []
        _HANDLERS[type(event)](self, now_ns, event)
        wake_ns = self._next_wake_ns(now_ns)
        if wake_ns:
            self._out.append(WakeAt(wake_ns))
        return tuple(self._out)

    @property
    def is_open(self) -> bool:
        """Whether a socket is open."""
        return self.state in (ConnectionState.CONNECTED, ConnectionState.SUBSCRIBED)

    @property
    def is_cut_off(self) -> bool:
        """Whether the socket was lost and has not been replaced by one that delivers."""
        return self.failures > 0 and not (self.is_open and not self._awaiting)

    @property
    def awaiting(self) -> tuple[str, ...]:
        """Streams that speak by the clock and have not spoken on this connection yet."""
        return tuple(self._awaiting)

    # ---- life ---------------------------------------------------------------------------------
    def _on_start(self, now_ns: int, event: Start) -> None:
        if self.state is ConnectionState.DISCONNECTED:
            self._move(Trigger.START, "start")
            self._connect(now_ns)

    def _connect(self, now_ns: int) -> None:
        head = list(self.wanted)[: self._settings.url_streams]
        self._subscribed = set(head)
        self._connect_ns = now_ns + _ns(self._settings.connect_timeout + 1.0)
        self._out.append(Connect(self._url_of(head), int(self._settings.connect_timeout * 1000)))

    def _on_opened(self, now_ns: int, event: Opened) -> None:
        self._connect_ns = 0
        self._move(Trigger.OPENED, "opened")
        if not self.is_open:
            self._out.append(Close(1000, "not wanted any more"))
            return
        settings = self._settings
        self.opened_ns = now_ns
        self.last_data_ns = now_ns
        self.is_healthy = False
        self._ping_ns = now_ns + _ns(settings.ping_interval)
        self._pong_due_ns = 0
        self._renewal_ns = now_ns + _ns(settings.max_connection_age)
        self._sent_ns.clear()
        self._await_first(now_ns, self._subscribed)
        self._enqueue(now_ns)
        self._pump(now_ns)

    def _on_closed(self, now_ns: int, event: Closed) -> None:
        self._lose(now_ns, f"close {event.code} {event.reason}".strip(), is_gone=True)

    def _lose(self, now_ns: int, reason: str, *, is_gone: bool = False) -> None:
        """The socket is gone or given up: wait, then try again."""
        if self.state in (ConnectionState.DISCONNECTED, ConnectionState.LOST):
            return
        was_open = self.is_open
        if self._retry_ns and not was_open:
            return
        settings = self._settings
        if not is_gone:
            self._out.append(Close(1000, reason))
        self._forget()
        self.failures += 1
        self.reasons[reason] = self.reasons.get(reason, 0) + 1
        self._move(Trigger.LOST, reason)
        if self.failures == settings.max_retries:
            self._out.append(Emit("failed", reason))
        if self.failures >= settings.max_retries:
            self._move(Trigger.EXHAUSTED, reason)
        delay_s = self._backoff.next_delay()
        self._retry_ns = now_ns + _ns(delay_s)
        if was_open:
            self.reconnects += 1
            self._out.append(Emit("lost", reason, tuple(self.wanted)))
        self._out.append(
            Note(
                "connection.was_lost",
                {
                    "conn_id": self.conn_id,
                    "reason": reason,
                    "failures": self.failures,
                    "retry_s": round(delay_s, 3),
                },
            )
        )

    def _forget(self) -> None:
        self._queue.clear()
        self._pending.clear()
        self._awaiting.clear()
        self._quiet.clear()
        self._resubscribed.clear()
        self._subscribed = set()
        self.is_healthy = False
        self._connect_ns = self._ping_ns = self._pong_due_ns = self._renewal_ns = 0

    def _on_stop(self, now_ns: int, event: Stop) -> None:
        if self.is_open:
            self._out.append(Close(1000, "stop"))
        self._forget()
        self._retry_ns = 0
        self._move(Trigger.STOP, "stop")

    def _move(self, trigger: Trigger, reason: str) -> None:
        before = self.state
        self.state = moved(before, trigger)
        if self.state is not before:
            self._out.append(Emit("state", f"{before.name} -> {self.state.name}: {reason}"))

    def _want(self, streams: Iterable[str]) -> None:
        self.wanted = dict.fromkeys(streams)
        self._by_clock = any(
            names.cadence_ms(stream) or stream == names.PUBLIC_CANARY for stream in self.wanted
        )

    # ---- subscriptions ------------------------------------------------------------------------
    def _on_want(self, now_ns: int, event: WantStreams) -> None:
        self._want(event.streams)
        if not self.is_open:
            return
        for stream in [known for known in self._awaiting if known not in self.wanted]:
            del self._awaiting[stream]
        for stream in [known for known in self._quiet if known not in self.wanted]:
            del self._quiet[stream]
        self._enqueue(now_ns)
        self._pump(now_ns)

    def _enqueue(self, now_ns: int) -> None:
        """Queue what is needed to carry exactly the wanted streams."""
        gone = [stream for stream in self._subscribed if stream not in self.wanted]
        new = [stream for stream in self.wanted if stream not in self._subscribed]
        for method, streams in (("UNSUBSCRIBE", gone), ("SUBSCRIBE", new)):
            for start in range(0, len(streams), self._settings.subscribe_batch):
                batch = tuple(streams[start : start + self._settings.subscribe_batch])
                self._queue.append((method, batch, 0))
        self._subscribed = set(self.wanted)
        if gone or new:
            self._move(Trigger.WANTED, "subscriptions changed")
            self._await_first(now_ns, new)

    def _pump(self, now_ns: int) -> None:
        """Send queued control messages as far as the rate allows."""
        while self._queue and self._slot_ns(now_ns) <= now_ns:
            method, streams, tries = self._queue.popleft()
            number = self._next_id
            self._next_id += 1
            deadline_ns = now_ns + _ns(self._settings.ack_timeout)
            self._pending[number] = _Pending(method, streams, deadline_ns, tries + 1)
            body = {"method": method, "params": streams, "id": number}
            self._sent_ns.append(now_ns)
            self._out.append(Send(json.dumps(body, ensure_ascii=False).encode()))
            if method == "SUBSCRIBE":
                self._await_first(now_ns, streams)
        if not self._queue and not self._pending and self.state is ConnectionState.CONNECTED:
            self._move(Trigger.ACKED, "every stream acknowledged")

    def _slot_ns(self, now_ns: int) -> int:
        """When the next message may go: at most `messages_per_second` in any second."""
        if len(self._sent_ns) < self._settings.messages_per_second:
            return now_ns
        return self._sent_ns[0] + SECOND_NS

    def _await_first(self, now_ns: int, streams: Iterable[str]) -> None:
        settings = self._settings
        for stream in streams:
            cadence_ms = names.cadence_ms(stream)
            if cadence_ms or stream == names.PUBLIC_CANARY:
                limit_s = max(settings.first_data_timeout, 3 * cadence_ms / 1000)
                self._awaiting[stream] = now_ns + _ns(limit_s)
            else:
                self._quiet[stream] = now_ns + _ns(settings.heartbeat_timeout)

    def _on_replied(self, now_ns: int, event: Replied) -> None:
        pending = self._pending.pop(event.id, None)
        if pending is None:
            return
        if event.error:
            self._out.append(
                Note(
                    "subscription.was_refused",
                    {"conn_id": self.conn_id, "error": event.error, "tries": pending.tries},
                )
            )
            self._again(now_ns, pending, f"subscription refused: {event.error}")
        self._pump(now_ns)

    def _again(self, now_ns: int, pending: _Pending, reason: str) -> None:
        if pending.tries >= _ACK_TRIES:
            self._lose(now_ns, reason)
        else:
            self._queue.append((pending.method, pending.streams, pending.tries))

    def _on_distrusted(self, now_ns: int, event: Distrusted) -> None:
        """Subscribe again; for a stream that stays dead the connection is replaced, make before
        break, so that its healthy streams lose nothing."""
        if not self.is_open:
            return
        dead = tuple(stream for stream in event.streams if stream in self.wanted)
        for stream in dead:
            self._resubscribed[stream] = self._resubscribed.get(stream, 0) + 1
        if any(self._resubscribed[stream] > _RESUBSCRIBE_TRIES for stream in dead):
            self._resubscribed.clear()
            self._out.append(Emit("renewal", "streams stayed silent"))
            return
        for start in range(0, len(dead), self._settings.subscribe_batch):
            batch = dead[start : start + self._settings.subscribe_batch]
            self._queue.append(("UNSUBSCRIBE", batch, 0))
            self._queue.append(("SUBSCRIBE", batch, 0))
        self._pump(now_ns)

    # ---- health -------------------------------------------------------------------------------
    def _on_received(self, now_ns: int, event: Received) -> None:
        if not self.is_open or event.count <= 0:
            return
        self.frames += event.count
        self.last_data_ns = event.last_ns
        for stream in event.firsts:
            self._awaiting.pop(stream, None)
            self._quiet.pop(stream, None)
            self._resubscribed.pop(stream, None)
        if (
            not self.is_healthy
            and not self._awaiting
            and now_ns - self.opened_ns >= _ns(self._settings.healthy_after)
        ):
            self.is_healthy = True
            self.failures = 0
            self._backoff.reset()
            self._out.append(Emit("healthy"))

    def _on_ponged(self, now_ns: int, event: Ponged) -> None:
        self._pong_due_ns = 0

    def _on_due(self, now_ns: int, event: Due) -> None:
        if self._retry_ns and now_ns >= self._retry_ns:
            self._retry_ns = 0
            self._move(Trigger.RETRY, "wait is over")
            self._connect(now_ns)
            return
        if self._connect_ns and now_ns >= self._connect_ns:
            self._lose(now_ns, "connect timeout")
            return
        if self.is_open:
            self._check(now_ns)
        if self.is_open:
            self._pump(now_ns)

    def _check(self, now_ns: int) -> None:
        """Deadlines of an open connection."""
        settings = self._settings
        if self._pong_due_ns and now_ns >= self._pong_due_ns:
            self._lose(now_ns, "ping timeout")
            return
        late = [stream for stream, limit in self._awaiting.items() if now_ns >= limit]
        if late and not self._has_canary_sung():
            self._lose(now_ns, f"acknowledged but silent: {late[0]}")
            return
        for stream in late:
            del self._awaiting[stream]
            fields: dict[str, str | int | float] = {"conn_id": self.conn_id, "stream": stream}
            self._out.append(Note("stream.has_not_begun", fields))
        if now_ns >= self._silence_ns():
            self._lose(now_ns, "silence")
            return
        for number in [n for n, sent in self._pending.items() if now_ns >= sent.deadline_ns]:
            self._again(now_ns, self._pending.pop(number), "no acknowledgement")
            if not self.is_open:
                return
        overdue = [stream for stream, limit in self._quiet.items() if now_ns >= limit]
        if overdue:
            for stream in overdue:
                self._quiet[stream] = now_ns + _ns(settings.heartbeat_timeout)
            self._out.append(Emit("overdue", "no first frame", tuple(overdue)))
        if self._renewal_ns and now_ns >= self._renewal_ns:
            self._renewal_ns = now_ns + _ns(2 * settings.renewal_timeout)
            self._out.append(Emit("renewal", "planned before 24 h"))
        if self._ping_ns and now_ns >= self._ping_ns:
            self._ping_ns = now_ns + _ns(settings.ping_interval)
            if not self._pong_due_ns:
                self._pong_due_ns = now_ns + _ns(settings.ping_timeout)
            self._out.append(Ping())

    def _has_canary_sung(self) -> bool:
        """The connection delivers: what stays silent on it is dead by itself (§0.21), and breaking
        the connection would only take the healthy streams along."""
        canaries = {self._settings.market_canary, names.PUBLIC_CANARY} & self.wanted.keys()
        return bool(canaries) and canaries.isdisjoint(self._awaiting)

    def _silence_ns(self) -> int:
        """When silence of the whole connection means that it is dead."""
        settings = self._settings
        limit_s = settings.cadence_timeout if self._by_clock else settings.heartbeat_timeout
        return self.last_data_ns + _ns(limit_s)

    def _next_wake_ns(self, now_ns: int) -> int:
        due = [at for at in (self._retry_ns, self._connect_ns) if at]
        if self.is_open:
            due += [at for at in (self._ping_ns, self._pong_due_ns, self._renewal_ns) if at]
            due += [sent.deadline_ns for sent in self._pending.values()]
            due += self._awaiting.values()
            due.append(self._silence_ns())
            if self._quiet:
                due.append(min(self._quiet.values()))
            if self._queue:
                due.append(self._slot_ns(now_ns))
        return max(min(due), now_ns) if due else 0


def _ns(seconds: float) -> int:
    return int(seconds * SECOND_NS)


_HANDLERS: Final[dict[type, Callable[..., None]]] = {
    Start: Session._on_start,
    Opened: Session._on_opened,
    Received: Session._on_received,
    Replied: Session._on_replied,
    Ponged: Session._on_ponged,
    Closed: Session._on_closed,
    Due: Session._on_due,
    WantStreams: Session._on_want,
    Distrusted: Session._on_distrusted,
    Stop: Session._on_stop,
}
