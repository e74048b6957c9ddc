"""An in-memory network between one program and the simulated venue, under virtual time.

Bytes cross it, never objects: the real sessions, decoders and signers run on both ends, only
sockets are replaced (DESIGN §3, mode simulate). The venue's side of a request lives on when the
client dies, so a request sent before a kill still lands after it (RELIABILITY §7b).
Network faults are drawn from named streams of the run's seed and counted by name.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import msgspec

from cryptosignal.domain.ports import HttpRequest, HttpResponse, WsLink, WsListener
from cryptosignal.ground.clock import LoopClock
from cryptosignal.ground.faults import Refused, TimedOut, Unreachable
from cryptosignal.ground.loop import PROCESS, VirtualLoop
from cryptosignal.ground.seeds import Rng, Seeds
from cryptosignal.sim.venue import Venue

_LATENCY_MU = -3.7  # exp(-3.7) s = 25 ms, the median one-way time that the probe used
_LATENCY_SIGMA = 0.4
_VENUE_IDLE_MS = 60_000


class NetFaults(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Network faults as probabilities: per request, or per minute for connections."""

    request_lost: float = 0.0
    response_lost: float = 0.0
    request_slow: float = 0.0
    refused: float = 0.0
    stream_drop_per_min: float = 0.0
    stream_half_open_per_min: float = 0.0

    def scaled(self, rate: float) -> NetFaults:
        """The same menu at another rate (0 switches it off)."""
        return NetFaults(**{k: v * rate for k, v in msgspec.structs.asdict(self).items()})


STORM = NetFaults(
    request_lost=0.02,
    response_lost=0.02,
    request_slow=0.02,
    refused=0.005,
    stream_drop_per_min=0.05,
    stream_half_open_per_min=0.01,
)
"""The probe's rates (RELIABILITY §7): about 390 lost responses and 75 stream drops a day."""


@dataclass
class _Link:
    """One WebSocket connection; `pid` owns the client's end."""

    number: int
    pid: int
    listener: WsListener
    context: contextvars.Context
    is_open: bool = True
    is_half_open: bool = False


@dataclass
class VirtualNetwork:
    """The wire: latency, loss and resets between processes on a virtual loop and one venue."""

    loop: VirtualLoop
    clock: LoopClock
    venue: Venue
    seeds: Seeds
    faults: NetFaults = field(default_factory=NetFaults)
    counts: Counter[str] = field(default_factory=Counter)
    after_move: Callable[[int], None] = lambda _now_ms: None

    def __post_init__(self) -> None:
        self._rng: Rng = self.seeds.stream("network")
        self._links: dict[int, _Link] = {}
        self._next_link = 1
        self.world = contextvars.copy_context()
        self.world.run(PROCESS.set, 0)
        self._pump_at: asyncio.TimerHandle | None = None
        self._pump_due_ms = 0
        self._bundles: dict[tuple[int, int], list[bytes]] = {}
        """Frames of the running pump by connection and delay: what leaves together arrives together."""

    # ---- the venue's own time -----------------------------------------------------------
    def start(self) -> None:
        """Let the venue's clockwork run from now on."""
        self.pump()
        self._each_minute()

    def pump(self) -> None:
        """Advance the venue to now, deliver what it sent, and come back when it is due again."""
        now_ms = self.clock.now_ms()
        for delivery in self.venue.advance(now_ms):
            self._deliver(delivery.link, delivery.payload, delivery.close_code, delivery.delay_ms)
        self._bundles.clear()
        self.after_move(now_ms)
        due_ms = max(min(self.venue.next_ms(), now_ms + _VENUE_IDLE_MS), now_ms + 1)
        if self._pump_at is not None:
            if now_ms < self._pump_due_ms <= due_ms:
                return  # it comes in time
            self._pump_at.cancel()
        self._pump_due_ms = due_ms
        wait_s = (due_ms - now_ms) / 1000
        self._pump_at = self.loop.call_later(wait_s, self.pump, context=self.world)

    def _each_minute(self) -> None:
        for link in list(self._links.values()):
            if self._draws("stream_drop_per_min"):
                self._drop(link, 1006, "connection reset")
            elif not link.is_half_open and self._draws("stream_half_open_per_min"):
                link.is_half_open = True
        self.loop.call_later(60.0, self._each_minute, context=self.world)

    def _draws(self, name: str) -> bool:
        share = getattr(self.faults, name)
        hit = share > 0 and self._rng.random() < share
        if hit:
            self.counts[name] += 1
        return hit

    def latency_s(self) -> float:
        """One way across the wire."""
        return self._rng.lognormvariate(_LATENCY_MU, _LATENCY_SIGMA)

    # ---- HTTP ---------------------------------------------------------------------------
    async def request(self, request: HttpRequest) -> HttpResponse:
        """One exchange as the client sees it. Raises `TimedOut` or `Unreachable`."""
        up_s, down_s = self.latency_s(), self.latency_s()
        if self._draws("refused"):
            await asyncio.sleep(up_s)
            raise Unreachable("connection refused")
        future: asyncio.Future[HttpResponse] = self.loop.create_future()
        if self._draws("request_slow"):
            up_s += self._rng.uniform(1.0, 6.0)
        if not self._draws("request_lost"):
            lost = self._draws("response_lost")
            self.loop.call_later(
                up_s, self._arrive, request, future, down_s, lost, context=self.world
            )
        what = f"no answer to {request.method} {request.path}"
        timer = self.loop.call_later(request.timeout_ms / 1000, _expire, future, what)
        try:
            return await future
        finally:
            timer.cancel()

    def _arrive(
        self, request: HttpRequest, future: asyncio.Future[HttpResponse], down_s: float, lost: bool
    ) -> None:
        now_ms = self.clock.now_ms()
        if self.venue.next_ms() <= now_ms:
            self.pump()
        else:
            self.after_move(now_ms)  # as it stood before the request
        reply = self.venue.http(now_ms, request)
        self.pump()
        response = reply.response
        if response is None or lost:
            return
        self.loop.call_later(
            down_s + reply.delay_ms / 1000, _resolve, future, response, context=self.world
        )

    # ---- WebSocket ----------------------------------------------------------------------
    async def open_ws(self, url: str, listener: WsListener, timeout_ms: int) -> WsLink:
        """Handshake with the venue. Raises `Unreachable`, `TimedOut` or `Refused`."""
        if self._draws("refused"):
            await asyncio.sleep(self.latency_s())
            raise Unreachable("connection refused")
        if self._draws("request_lost"):
            await asyncio.sleep(timeout_ms / 1000)
            raise TimedOut(f"no handshake from {urlsplit(url).path}")
        await asyncio.sleep(self.latency_s())
        parts = urlsplit(url)
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        number = self._next_link
        self._next_link += 1
        context = contextvars.copy_context()
        link = _Link(number, context.get(PROCESS, 0), listener, context)
        refusal = self.world.copy().run(self.venue.ws_open, self.clock.now_ms(), number, target)
        if refusal is not None:
            raise Refused(refusal.status, refusal.body.decode("utf-8", "replace"), refusal.status)
        self._links[number] = link
        await asyncio.sleep(self.latency_s())
        self._wake()
        return _MemoryLink(self, link)

    def _wake(self) -> None:
        self.loop.call_soon(self.pump, context=self.world)

    def _deliver(self, number: int, payload: bytes | None, code: int, delay_ms: int) -> None:
        link = self._links.get(number)
        if link is None:
            return
        wait_s = delay_ms / 1000 + self._wire_s(link)
        if payload is None:
            self.loop.call_later(wait_s, self._drop, link, code, "closed", context=self.world)
        elif not link.is_half_open:
            bundle = self._bundles.get((number, delay_ms))
            if bundle is not None:
                bundle.append(payload)
                return
            bundle = self._bundles[number, delay_ms] = [payload]
            self.loop.call_later(wait_s, self._frames, link, bundle, context=link.context)

    def _wire_s(self, link: _Link) -> float:
        # one latency a connection and moment: TCP keeps the order of frames
        return 0.02 + (link.number % 7) * 0.001

    def _frames(self, link: _Link, payloads: list[bytes]) -> None:
        for payload in payloads:
            if link.is_open:
                link.listener.on_frame(payload)

    def _drop(self, link: _Link, code: int, reason: str) -> None:
        if not link.is_open:
            return
        link.is_open = False
        self._links.pop(link.number, None)
        self.venue.ws_close(self.clock.now_ms(), link.number)
        if not link.is_half_open:
            self._to_client(link, link.listener.on_closed, code, reason)

    def _to_client(self, link: _Link, call: Callable[..., None], *arguments: object) -> None:
        self.loop.call_soon(call, *arguments, context=link.context)

    def send(self, link: _Link, payload: bytes) -> None:
        """A frame from the client to the venue."""
        if link.is_open and not link.is_half_open:
            self.loop.call_later(self.latency_s(), self._sent, link, payload, context=self.world)

    def _sent(self, link: _Link, payload: bytes) -> None:
        if link.is_open:
            self.venue.ws_message(self.clock.now_ms(), link.number, payload)
            self.pump()

    def ping(self, link: _Link) -> None:
        """A ping; the pong comes back unless the connection is half-open."""
        if link.is_open and not link.is_half_open:
            self.loop.call_later(2 * 0.03, self._pong, link, context=link.context)

    def _pong(self, link: _Link) -> None:
        if link.is_open:
            link.listener.on_pong()

    def close(self, link: _Link, code: int) -> None:
        """The client closes its end: also a half-open connection ends for the client."""
        if not link.is_open:
            return
        link.is_open = False
        self._links.pop(link.number, None)
        self.venue.ws_close(self.clock.now_ms(), link.number)
        self._to_client(link, link.listener.on_closed, code, "closed here")

    def forget(self, pid: int) -> None:
        """The process died: its connections are gone at the venue too."""
        for link in [item for item in self._links.values() if item.pid == pid]:
            link.is_open = False
            self._links.pop(link.number, None)
            self.venue.ws_close(self.clock.now_ms(), link.number)


def _expire(future: asyncio.Future[HttpResponse], what: str) -> None:
    if not future.done():
        future.set_exception(TimedOut(what))


def _resolve(future: asyncio.Future[HttpResponse], response: HttpResponse) -> None:
    if not future.done():
        future.set_result(response)


@dataclass
class _MemoryLink:
    """The client's handle of one connection."""

    network: VirtualNetwork
    link: _Link

    def send(self, payload: bytes) -> None:
        self.network.send(self.link, payload)

    def ping(self) -> None:
        self.network.ping(self.link)

    def close(self, code: int = 1000) -> None:
        self.network.close(self.link, code)


class MemoryTransport:
    """The `Transport` of one simulated process."""

    def __init__(self, network: VirtualNetwork) -> None:
        self._network = network

    async def open_ws(self, url: str, listener: WsListener, timeout_ms: int) -> WsLink:
        """See `domain.ports.Transport`."""
        return await self._network.open_ws(url, listener, timeout_ms)

    async def request(self, base_url: str, request: HttpRequest) -> HttpResponse:
        """See `domain.ports.Transport`; the venue is the only host there is."""
        return await self._network.request(request)

    async def close(self) -> None:
        """Nothing is held open outside the program."""
