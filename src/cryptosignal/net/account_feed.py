"""The account's own stream: its key, its socket, its silence, and a cache of what it said.

The stream has no heartbeat, so a quiet one and a dead one look alike (BINANCE §5, §7). Therefore:
a snapshot by REST after every connect, a ping for half-open sockets, a snapshot after long silence,
and a reconnect when that snapshot shows what the stream should have told.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable
from decimal import Decimal
from typing import Final

import msgspec

from cryptosignal.binance.codes import Disposition, disposition
from cryptosignal.binance.decode.account import KeyExpired, account_frame
from cryptosignal.binance.decode.garbled import Garbled
from cryptosignal.binance.decode.market import Unmapped
from cryptosignal.binance.routes import Routes
from cryptosignal.domain.events import (
    AccountSnapshotTaken,
    AccountStreamChanged,
    AccountUpdated,
)
from cryptosignal.domain.ports import AccountEvent, Transport, WsLink
from cryptosignal.domain.position import VenueBalance, VenuePosition
from cryptosignal.ground.clock import Clock
from cryptosignal.ground.faults import ContractFault, EdgeFault, Refused, VenueFault
from cryptosignal.ground.secret import Secret
from cryptosignal.ground.seeds import Seeds
from cryptosignal.ground.units import decimal_of
from cryptosignal.net.client import (
    PURPOSE_CONNECTED,
    PURPOSE_GARBLED,
    PURPOSE_SILENCE,
    VenueClient,
)
from cryptosignal.net.settings import AccountFeedSettings
from cryptosignal.streams.backoff import ExponentialBackoff

UNMAPPED_NAMES_MAX: Final = 64
"""Event names counted one by one; what comes beyond is counted together."""


class AccountPosition(msgspec.Struct, frozen=True):
    """A position as users know it: signed size, PnL from the mark (None while no mark is known)."""

    symbol: str
    size: Decimal
    entry_price: Decimal
    unrealized_pnl: Decimal | None
    margin_type: str


class FeedStats(msgspec.Struct, frozen=True):
    """The feed in figures. `silent_ms` since the last frame, -1 while down; `drops` counts endings by
    the first words of their reason."""

    is_up: bool
    frames: int
    silent_ms: int
    connects: int
    snapshots: int
    garbled: int
    drops: dict[str, int]
    unmapped: dict[str, int]


class AccountFeed:
    """Keeps the private stream alive and tells everything through `on_event`, in order, on the loop.

    Duplicates are passed on (the desk counts a fill once, by symbol and trade id).
    """

    def __init__(
        self,
        transport: Transport,
        client: VenueClient,
        routes: Routes,
        clock: Clock,
        seeds: Seeds,
        on_event: Callable[[AccountEvent], None],
        *,
        settings: AccountFeedSettings | None = None,
        mark_of: Callable[[str], float | None] | None = None,
    ) -> None:
        self._transport = transport
        self._client = client
        self._routes = routes
        self._clock = clock
        self._on_event = on_event
        self._settings = settings or AccountFeedSettings()
        self._mark_of = mark_of or _no_mark
        self._backoff = ExponentialBackoff(
            self._settings.backoff_base_s,
            self._settings.backoff_max_s,
            self._settings.backoff_jitter,
            seeds.stream("backoff", "account"),
        )
        self._cache = AccountCache()
        self._socket: _Socket | None = None
        self._next: _Socket | None = None
        self._suspicion = ""
        self._is_proved = False
        self._wanted: list[str] = []
        self._want_signal = asyncio.Event()
        self.is_up = False
        self.frames = 0
        self.connects = 0
        self.snapshots = 0
        self.garbled = 0
        self._last_frame_ns = 0
        self._drops: Counter[str] = Counter()
        self._unmapped: Counter[str] = Counter()

    # ---- what others ask ------------------------------------------------------------------------
    def get_position(self, symbol: str) -> AccountPosition | None:
        """The position in `symbol` (any case), None if there is none."""
        position = self._cache.position(symbol.upper())
        if position is None:
            return None
        mark = self._mark_of(position.symbol)
        pnl = None
        if mark is not None:
            pnl = (decimal_of(mark) - position.entry_price) * position.quantity
        return AccountPosition(
            position.symbol, position.quantity, position.entry_price, pnl, position.margin_type
        )

    def get_balance(self, asset: str = "USDT") -> VenueBalance | None:
        """The wallet of an asset as last told."""
        return self._cache.balances.get(asset.upper())

    def get_stats(self) -> FeedStats:
        """Figures for people and metrics."""
        silent_ms = (self._clock.mono_ns() - self._last_frame_ns) // 1_000_000
        return FeedStats(
            is_up=self.is_up,
            frames=self.frames,
            silent_ms=silent_ms if self.is_up else -1,
            connects=self.connects,
            snapshots=self.snapshots,
            garbled=self.garbled,
            drops=dict(self._drops),
            unmapped=dict(self._unmapped),
        )

    # ---- life -----------------------------------------------------------------------------------
    async def run(self) -> None:
        """Connect, attend, reconnect: until cancelled.

        Raises Refused when the venue says that our key is wrong: trying again would not help.
        """
        while True:
            reason = await self._live()
            if self.is_up:
                self.is_up = False
                self._on_event(AccountStreamChanged(is_up=False, reason=reason))
            self._drops[reason.partition(":")[0]] += 1
            await asyncio.sleep(self._backoff.next_delay())

    async def _live(self) -> str:
        """One key, and one socket after another on it; returns why it ended."""
        try:
            key = await self._client.listen_key_start()
            socket = await self._open(key)
        except (EdgeFault, VenueFault) as fault:
            if _is_hopeless(fault):
                raise
            return f"{type(fault).__name__}: {fault}"
        self.connects += 1
        self.is_up = True
        self._is_proved = False
        self._on_event(AccountStreamChanged(is_up=True, reason="connected"))
        self._want(PURPOSE_CONNECTED)
        self._suspicion = ""
        self._next = None
        async with asyncio.TaskGroup() as group:
            aside = [
                group.create_task(work)
                for work in (self._read_snapshots(), self._renew(), self._replace(key))
            ]
            reason = await self._attend(socket)
            for task in aside:
                task.cancel()
        return reason

    async def _open(self, key: Secret) -> _Socket:
        """A socket on a URL built anew from the key: an old URL would carry an old key."""
        socket = _Socket(self._clock, self._settings.frames_max)
        url = self._routes.private_url(key.reveal())
        timeout_ms = self._settings.connect_timeout_ms
        socket.link = await self._transport.open_ws(url, socket, timeout_ms)
        return socket

    async def _attend(self, socket: _Socket) -> str:
        """Tell frames, ping, distrust silence. Never waits for the network: events are not held up."""
        watch = _Watch(self._settings, self._clock.mono_ns())
        try:
            while True:
                await socket.wait(watch.next_ns() - self._clock.mono_ns())
                reason = self._drain(socket)
                if self._next is not None:
                    socket.close()
                    socket, self._next, reason = self._next, None, ""
                    self._want(PURPOSE_CONNECTED)
                now_ns = self._clock.mono_ns()
                reason = reason or socket.reason or self._suspicion
                reason = reason or watch.pong_missing(socket, now_ns)
                if reason:
                    return reason
                if watch.is_due("ping", now_ns):
                    socket.ping()
                if watch.is_due("silence", now_ns, since_ns=socket.frame_ns):
                    self._want(PURPOSE_SILENCE)
                if watch.is_due("healthy", now_ns) and self._is_proved:
                    self._backoff.reset()
        finally:
            socket.close()
            if self._next is not None:
                self._next.close()

    async def _renew(self) -> None:
        """Extend the key twice within its life. Any failure ends the socket: a key that is gone is
        silence, and a new one is cheap (BINANCE §7)."""
        while True:
            await asyncio.sleep(self._settings.renew_ms / 1000.0)
            try:
                await self._client.listen_key_keep()
            except (EdgeFault, VenueFault) as fault:
                self._suspect(f"{type(fault).__name__}: {fault}")
                return

    async def _replace(self, key: Secret) -> None:
        """Make before break: the venue ends every socket after 24 h; the next one opens before that,
        and the old one is read until then, so no event is lost in between."""
        while True:
            await asyncio.sleep(self._settings.lifetime_ms / 1000.0)
            try:
                self._next = await self._open(key)
            except (EdgeFault, VenueFault) as fault:
                self._suspect(f"{type(fault).__name__}: {fault}")
                return
            if self._socket is not None:
                self._socket.wake()

    # ---- frames -----------------------------------------------------------------------------------
    def _drain(self, socket: _Socket) -> str:
        """Tell all frames that came; returns why the socket is of no use any more, "" if it is."""
        self._socket = socket
        reason = ""
        while socket.inbox:
            reason = self._take(socket.inbox.popleft()) or reason
        return reason

    def _take(self, payload: bytes) -> str:
        """Tell one frame; returns why the socket is of no use any more, "" if it is."""
        self.frames += 1
        self._last_frame_ns = self._clock.mono_ns()
        try:
            event = account_frame(payload)
        except Garbled:
            self.garbled += 1
            self._want(PURPOSE_GARBLED)
            return ""
        if isinstance(event, KeyExpired):
            return "listenKeyExpired"
        if isinstance(event, Unmapped):
            is_known = event.name in self._unmapped or len(self._unmapped) < UNMAPPED_NAMES_MAX
            self._unmapped[(event.name or "control") if is_known else "other"] += 1
            return ""
        if isinstance(event, AccountUpdated):
            self._cache.update(event)
        self._on_event(event)
        return ""

    # ---- snapshots ----------------------------------------------------------------------------------
    def _want(self, purpose: str) -> None:
        if purpose not in self._wanted:
            self._wanted.append(purpose)
            self._want_signal.set()

    async def _read_snapshots(self) -> None:
        """Take the snapshots that were asked for, one at a time; a failed one is tried again."""
        while True:
            await self._want_signal.wait()
            self._want_signal.clear()
            while self._wanted:
                if await self._snapshot(self._wanted[0]):
                    self._wanted.pop(0)
                else:
                    await asyncio.sleep(self._settings.snapshot_retry_ms / 1000.0)

    async def _snapshot(self, purpose: str) -> bool:
        frames = self.frames
        taken = await self._client.snapshot(purpose)
        if isinstance(taken, AccountSnapshotTaken):
            self.snapshots += 1
            self._is_proved = True
            is_silent = purpose == PURPOSE_SILENCE and frames == self.frames
            if is_silent and self._cache.differs(taken):
                self._suspect("silent while the account changed")
            self._cache.replace(taken)
        self._on_event(taken)
        return isinstance(taken, AccountSnapshotTaken)

    def _suspect(self, reason: str) -> None:
        self._suspicion = reason
        if self._socket is not None:
            self._socket.wake()


class AccountCache:
    """Positions and balances as last told, each with the venue time it is known for.

    A snapshot that was requested before a streamed change does not undo it.
    """

    def __init__(self) -> None:
        self.positions: dict[tuple[str, str], tuple[VenuePosition, int]] = {}
        self.balances: dict[str, VenueBalance] = {}
        self._balance_ms: dict[str, int] = {}

    def position(self, symbol: str) -> VenuePosition | None:
        """The open position of a symbol; in hedge mode the larger of its two sides."""
        found = [
            position
            for (name, _side), (position, _ms) in self.positions.items()
            if name == symbol and position.quantity
        ]
        return max(found, key=lambda position: abs(position.quantity), default=None)

    def update(self, event: AccountUpdated) -> None:
        """Take what the stream says changed."""
        for position in event.positions:
            key = (position.symbol, position.position_side)
            if self._known_ms(key) <= event.event_ms:
                self.positions[key] = (position, event.event_ms)
        for balance in event.balances:
            if self._balance_ms.get(balance.asset, 0) <= event.event_ms:
                self._set_balance(balance, event.event_ms)

    def replace(self, taken: AccountSnapshotTaken) -> None:
        """Take a snapshot: everything it does not list is flat, newer streamed facts stay."""
        as_of_ms = taken.requested_ms
        listed = {(p.symbol, p.position_side): p for p in taken.positions}
        for key in [k for k in self.positions if k not in listed and self._known_ms(k) < as_of_ms]:
            del self.positions[key]
        for key, position in listed.items():
            if self._known_ms(key) < as_of_ms:
                self.positions[key] = (position, as_of_ms)
        for balance in taken.balances:
            if self._balance_ms.get(balance.asset, 0) < as_of_ms:
                self._set_balance(balance, as_of_ms)

    def differs(self, taken: AccountSnapshotTaken) -> bool:
        """True if the account moved without a word of the stream."""
        ours = {k: p.quantity for k, (p, _ms) in self.positions.items() if p.quantity}
        theirs = {(p.symbol, p.position_side): p.quantity for p in taken.positions}
        wallets = {b.asset: b.wallet for b in taken.balances}
        return ours != theirs or any(
            wallets.get(asset, balance.wallet) != balance.wallet
            for asset, balance in self.balances.items()
        )

    def _known_ms(self, key: tuple[str, str]) -> int:
        return self.positions[key][1] if key in self.positions else 0

    def _set_balance(self, balance: VenueBalance, as_of_ms: int) -> None:
        self.balances[balance.asset] = balance
        self._balance_ms[balance.asset] = as_of_ms


class _Socket:
    """One connection's listener: an inbox, and why it ended. Frames are told in the feed's own task,
    so that an error of ours ends the program instead of a callback."""

    def __init__(self, clock: Clock, frames_max: int) -> None:
        self._clock = clock
        self._frames_max = frames_max
        self._signal = asyncio.Event()
        self.inbox: deque[bytes] = deque()
        self.link: WsLink | None = None
        self.reason = ""
        self.frame_ns = clock.mono_ns()
        self.pong_ns = clock.mono_ns()
        self.ping_ns = 0

    def on_frame(self, payload: bytes) -> None:
        self.frame_ns = self._clock.mono_ns()
        self.inbox.append(payload)
        self._signal.set()

    def on_pong(self) -> None:
        self.pong_ns = self._clock.mono_ns()

    def on_closed(self, code: int, reason: str) -> None:
        self.reason = f"closed {code}" + (f": {reason}" if reason else "")
        self._signal.set()

    def wake(self) -> None:
        self._signal.set()

    def ping(self) -> None:
        self.ping_ns = self._clock.mono_ns()
        if self.link is not None:
            self.link.ping()

    def close(self) -> None:
        if self.link is not None:
            self.link.close()
            self.link = None

    async def wait(self, timeout_ns: int) -> None:
        """Until a frame or the end comes, or the time is over.

        Raises ContractFault when frames pile up beyond the limit: account events are never dropped,
        start-up reconciles (DESIGN §5.14).
        """
        try:
            async with asyncio.timeout(max(timeout_ns, 0) * 1e-9):
                await self._signal.wait()
        except TimeoutError:
            return
        self._signal.clear()
        if len(self.inbox) > self._frames_max:
            raise ContractFault(
                f"{len(self.inbox)} account frames wait, at most {self._frames_max}"
            )


class _Watch:
    """The due times of one connection, in local monotonic ns."""

    def __init__(self, settings: AccountFeedSettings, now_ns: int) -> None:
        self._every_ns = {
            "ping": settings.ping_ms * 1_000_000,
            "silence": settings.silence_ms * 1_000_000,
            "healthy": settings.healthy_ms * 1_000_000,
        }
        self._pong_ns = settings.pong_timeout_ms * 1_000_000
        self._due_ns = {name: now_ns + every for name, every in self._every_ns.items()}
        self._pong_due_ns = 0

    def next_ns(self) -> int:
        """When something is due next."""
        due_ns = min(self._due_ns.values())
        return min(due_ns, self._pong_due_ns) if self._pong_due_ns else due_ns

    def is_due(self, name: str, now_ns: int, since_ns: int = 0) -> bool:
        """True once per period; `since_ns` starts the period anew (silence counts from a frame)."""
        due_ns = max(self._due_ns[name], since_ns + self._every_ns[name] if since_ns else 0)
        if now_ns < due_ns:
            self._due_ns[name] = due_ns
            return False
        self._due_ns[name] = now_ns + self._every_ns[name]
        if name == "ping":
            self._pong_due_ns = now_ns + self._pong_ns
        return True

    def pong_missing(self, socket: _Socket, now_ns: int) -> str:
        """A reason once a ping has gone unanswered for too long: the socket is half open."""
        if not self._pong_due_ns:
            return ""
        if max(socket.pong_ns, socket.frame_ns) >= socket.ping_ns:
            self._pong_due_ns = 0
            return ""
        return "ping unanswered" if now_ns >= self._pong_due_ns else ""


def _is_hopeless(fault: EdgeFault | VenueFault) -> bool:
    if not isinstance(fault, Refused):
        return False
    return disposition(fault.status, fault.code, fault.message) is Disposition.HALT


def _no_mark(_symbol: str) -> float | None:
    return None
