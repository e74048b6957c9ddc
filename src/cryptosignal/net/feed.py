"""The market feed: sessions over sockets, frames into the board, news to the engine (D1, D5).

Only loop timers, no threads: it runs the same under a real, a scaled and a virtual loop. Frames are
appended to a list as they come; a flush that the first of them arms brings the board up to date.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Final, Protocol

from cryptosignal.binance.routes import stream_route
from cryptosignal.domain.events import BarClosed, MarksUpdated, QualityChanged
from cryptosignal.domain.market import Bar, Finality
from cryptosignal.domain.ports import Transport
from cryptosignal.ground.clock import Clock
from cryptosignal.ground.seeds import Seeds
from cryptosignal.ground.units import INTERVAL_MS
from cryptosignal.market.board import Board
from cryptosignal.net.lines import Line, cut_off, heard_of
from cryptosignal.quality.score import QualityBook
from cryptosignal.streams import names, session
from cryptosignal.streams.backoff import ExponentialBackoff
from cryptosignal.streams.heartbeat import HeartbeatMonitor
from cryptosignal.streams.plan import StreamPlan
from cryptosignal.streams.session import Session
from cryptosignal.streams.settings import FeedSettings
from cryptosignal.streams.states import ConnectionState

FeedEvent = BarClosed | MarksUpdated | QualityChanged
OnFeedEvent = Callable[[FeedEvent], None]
OnBarsDue = Callable[[str, int], None]
Tap = Callable[[int, int, bytes], None]
OnNote = Callable[[str, dict[str, str | int | float]], None]

_CLOCK_STEP_MS: Final = 1_000


class StreamRoutes(Protocol):
    """What the feed needs of `binance.routes.Routes`."""

    def build_websocket_url(self, streams: Sequence[str], use_combined: bool = True) -> str:
        """The combined URL of streams that share a route."""
        ...


class MarketFeed:
    """Keeps the board alive from the venue's streams.

    `on_event` gets `BarClosed` and `MarksUpdated` of watched symbols and `QualityChanged` of all;
    `on_bars_due(interval, close_ms)` fires once a bar, as soon as every streamed symbol has it, and
    at the latest when its grace ends; `tap(conn_id, recv_ms, payload)` sees all that the board takes.
    """

    def __init__(
        self,
        transport: Transport,
        routes: StreamRoutes,
        board: Board,
        quality: QualityBook,
        clock: Clock,
        seeds: Seeds,
        settings: FeedSettings,
        on_event: OnFeedEvent,
        *,
        route_of: Callable[[str], str] = stream_route,
        on_bars_due: OnBarsDue | None = None,
        on_note: OnNote | None = None,
        tap: Tap | None = None,
    ) -> None:
        self.transport = transport
        self.routes = routes
        self.board = board
        self.quality = quality
        self.clock = clock
        self.settings = settings
        self.on_event = on_event
        self.on_bars_due = on_bars_due
        self.on_note = on_note
        self.tap = tap
        self.on_lost: list[Callable[[tuple[str, ...]], None]] = []
        self.plan = StreamPlan(
            settings,
            route_of,
            {"market": settings.market_canary, "public": names.PUBLIC_CANARY},
        )
        self.lines: dict[int, Line] = {}
        self.loop: asyncio.AbstractEventLoop
        self.tasks: set[asyncio.Task[None]] = set()
        self._renewing: dict[int, Line] = {}
        self._attached: set[int] = set()
        self._seeds = seeds
        self._monitor = HeartbeatMonitor(settings)
        self._since_ms: dict[str, int] = {}
        self._wanted: dict[str, None] = {}
        self._watched: set[str] = set()
        self._priced: set[str] = set()
        self._flush_timer: asyncio.TimerHandle | None = None
        self._close_timer: asyncio.TimerHandle | None = None
        self._check_timer: asyncio.TimerHandle | None = None
        self._due_told: dict[str, int] = {}
        self._next_number = 1_000
        self._is_running = False
        self._is_draining = False
        self._is_armed = False
        self._done: asyncio.Event | None = None
        self._clock_gap_ms: int | None = None
        self.renewals = 0
        self.closed_reconnects = 0
        self.silent_streams = 0
        self.reasons: dict[str, int] = {}
        self.flushes = 0
        board.on_kline_close.append(self._on_close)

    # ---- commands -----------------------------------------------------------------------------
    async def run(self) -> None:
        """Connect and stay until cancelled or `stop()`."""
        self.loop = asyncio.get_running_loop()
        self._done = asyncio.Event()
        self._is_running = True
        try:
            self._apply_plan()
            self._arm_close()
            self._arm_check()
            await self._done.wait()
        finally:
            self._shut()

    def stop(self) -> None:
        """Let `run` end."""
        if self._done is not None:
            self._done.set()

    def set_streams(self, streams: Iterable[str]) -> str:
        """Carry exactly these streams from now on; answers a note for a person, or "".

        Raises UserFault past the pool's capacity, and changes nothing then.
        """
        wanted = dict.fromkeys(streams)
        change = self.plan.assign(wanted)
        if change.note:
            self.note("plan.was_raised", {"note": change.note})
        gone = [stream for stream in self._wanted if stream not in wanted]
        self._wanted = wanted
        self.board.forget(gone)
        for stream in gone:
            self._since_ms.pop(stream, None)
        self.board.expect(wanted)
        if self._is_running:
            self._apply_plan()
        return change.note

    def add_streams(self, streams: Iterable[str]) -> str:
        """Carry these too; see `set_streams`."""
        return self.set_streams([*self._wanted, *streams])

    def remove_streams(self, streams: Iterable[str]) -> str:
        """Carry these no more; all others stay."""
        gone = set(streams)
        return self.set_streams([stream for stream in self._wanted if stream not in gone])

    def attach(self, url: str) -> None:
        """Listen to a connection of a fixed URL, whatever streams it sends (a remote feed)."""
        conn_id = -1 - len(self.lines)
        line = self._make_line(conn_id, "attached", (), lambda _: url)
        self.lines[conn_id] = line
        self._attached.add(conn_id)
        if self._is_running:
            self._start(line)

    def watch(self, symbols: Iterable[str], priced: Iterable[str]) -> None:
        """Symbols whose bars `on_event` gets, and those whose marks (replaces the former sets)."""
        self._watched = {symbol.upper() for symbol in symbols}
        self._priced = {symbol.upper() for symbol in priced}

    def _apply_plan(self) -> None:
        index = 0
        for conn_id, planned in self.plan.connections.items():
            streams = tuple(planned.streams)
            line = self.lines.get(conn_id)
            if line is None:
                line = self._make_line(conn_id, planned.route, streams)
                self.lines[conn_id] = line
                self.loop.call_later(index * self.settings.stagger, self._start, line)
                index += 1
            elif tuple(line.session.wanted) != streams:
                line.step(session.WantStreams(streams))
                if conn_id in self._renewing:
                    self._renewing[conn_id].step(session.WantStreams(streams))
            self._note_since(streams)
        for conn_id in self._attached:
            self._start(self.lines[conn_id])
        planned_ids = self._attached | set(self.plan.connections)
        for conn_id in [known for known in self.lines if known not in planned_ids]:
            self.lines.pop(conn_id).stop()
            renewing = self._renewing.pop(conn_id, None)
            if renewing is not None:
                renewing.stop()

    def _note_since(self, streams: Iterable[str]) -> None:
        now_ms = self.clock.now_ms()
        for stream in streams:
            self._since_ms.setdefault(stream, now_ms)

    def _start(self, line: Line) -> None:
        if self._is_running and line in (*self.lines.values(), *self._renewing.values()):
            line.step(session.Start())

    def _make_line(
        self,
        conn_id: int,
        route: str,
        streams: tuple[str, ...],
        url_of: Callable[[Sequence[str]], str] | None = None,
    ) -> Line:
        settings = self.settings
        number = self._next_number
        self._next_number += 1
        backoff = ExponentialBackoff(
            settings.base_delay,
            settings.max_delay,
            settings.jitter,
            self._seeds.stream("backoff", number),
        )
        url_of = url_of or self.routes.build_websocket_url
        return Line(self, conn_id, route, Session(number, url_of, streams, settings, backoff))

    def _shut(self) -> None:
        self._is_running = False
        for line in [*self.lines.values(), *self._renewing.values()]:
            line.stop()
        self.lines.clear()
        self._renewing.clear()
        for timer in (self._flush_timer, self._close_timer, self._check_timer):
            if timer is not None:
                timer.cancel()
        for task in list(self.tasks):
            task.cancel()

    # ---- frames -------------------------------------------------------------------------------
    def arm(self) -> None:
        """Frames wait: flush soon, sooner at a close; asked again, only take in what piled up."""
        now_ms = self.clock.now_ms()
        if self._is_armed:
            self.board.take_many_trades(now_ms)
            if self.board.inbox.needs_flush:
                self.loop.call_soon(self.flush)
            return
        if self._flush_timer is None or self.board.waits_for_trades:
            if self._flush_timer is not None:
                self._flush_timer.cancel()
            self._is_armed = True
            own, is_closing = self.settings, now_ms % 60_000 < self.board.settings.close_grace_ms
            delay_ms = own.flush_at_close_ms if is_closing else own.flush_ms
            self._flush_timer = self.loop.call_later(delay_ms / 1000, self.flush)

    def drain_soon(self) -> None:
        """Frames were put aside: sort them before the next read."""
        if not self._is_draining:
            self._is_draining = True
            self.loop.call_soon(self._drain)

    def _drain(self) -> None:
        """Frames that were put aside, to their streams; replies to their session."""
        self._is_draining = False
        for line in (*self.lines.values(), *self._renewing.values()):
            if line.frames:
                self._absorb(line)

    def flush(self) -> None:
        """Bring the board up to date with every frame that came."""
        self._is_armed = False
        if self._flush_timer is not None:
            self._flush_timer.cancel()
            self._flush_timer = None
        now_ms, now_ns = self.clock.now_ms(), self.clock.mono_ns()
        self._drain()
        lines = [*self.lines.values(), *self._renewing.values()]
        counts = [line.take_count() for line in lines]
        if not any(counts) and not self.board.waits_for_trades:
            return
        self._check_clock(now_ms, now_ns)
        self.flushes += 1
        self.board.flush(now_ms)
        firsts = self.board.intake.take_firsts()
        for line, count in zip(lines, counts, strict=True):
            if count > 0:
                mine = (*line.heard, *(name for name in firsts if name in line.session.wanted))
                line.heard = ()
                line.step(session.Received(count, now_ns, mine))
                line.sort_frames(self.board.inbox.takes)
        self._tell_marks()
        self._tell_due(now_ms)
        if self.board.waits_for_trades and self._flush_timer is None:
            delay_ms = self.board.trades_wait_ms(now_ms)
            self._flush_timer = self.loop.call_later(delay_ms / 1000, self.flush)

    def _absorb(self, line: Line) -> None:
        batch, line.frames = line.frames, []
        if awaited := line.session.awaiting:
            line.heard = (*line.heard, *heard_of(awaited, batch))
        line.tap(batch)
        strays = self.board.absorb(batch)
        line.noise += len(strays)
        for payload in strays:
            line.hear_stray(payload)

    def _check_clock(self, now_ms: int, now_ns: int) -> None:
        """A step of the local clock voids what was learned of lateness."""
        gap_ms = now_ms - now_ns // 1_000_000
        if self._clock_gap_ms is not None and abs(gap_ms - self._clock_gap_ms) > _CLOCK_STEP_MS:
            self.board.forget_lateness()
            self.note("clock.was_stepped", {"by_ms": gap_ms - self._clock_gap_ms})
            self._clock_gap_ms = gap_ms
        self._clock_gap_ms = gap_ms if self._clock_gap_ms is None else self._clock_gap_ms

    # ---- news ---------------------------------------------------------------------------------
    def _on_close(self, symbol: str, interval: str, bar: Bar, finality: Finality) -> None:
        self.quality.on_bar(self.board.slot(symbol), interval, self.clock.now_ms())
        if symbol in self._watched:
            self.on_event(BarClosed(symbol=symbol, interval=interval, bar=bar))

    def _tell_marks(self) -> None:
        marked = self.board.intake.marked
        if self._priced:
            self.board.intake.read_marks({self.board.find(symbol) for symbol in self._priced})
        if not marked:
            return
        if self._priced:
            marks = self.board.marks
            slots = [slot for slot in map(self.board.find, self._priced) if slot in marked]
            if slots:
                self.on_event(
                    MarksUpdated(
                        event_ms=int(max(marks.mark_ms[slot] for slot in slots)),
                        prices={self.board.symbols[s]: float(marks.mark[s]) for s in sorted(slots)},
                    )
                )
        marked.clear()

    def _tell_due(self, now_ms: int, *, at_grace: bool = False) -> None:
        """The scan's trigger: once a bar and interval."""
        if self.on_bars_due is None:
            return
        for interval, bars in list(self.board.klines.items()):
            due = bars.due_open_ms(now_ms)
            told = self._due_told.get(interval)
            if told is None:
                self._due_told[interval] = due
                continue
            if due <= told <= due + INTERVAL_MS[interval]:  # later: the clock was set back
                continue
            if at_grace or self.board.due_share(interval, now_ms) >= 1.0:
                self._due_told[interval] = due
                self.on_bars_due(interval, due + INTERVAL_MS[interval])

    def on_session(self, line: Line, news: session.Emit) -> None:
        """What a session says of its connection."""
        if news.kind == "lost":
            self.reasons[news.reason] = self.reasons.get(news.reason, 0) + 1
            if line.conn_id not in self._renewing or self._renewing[line.conn_id] is not line:
                self.board.mark_lost(news.streams)
                for hear in self.on_lost:
                    hear(news.streams)
                self.judge_quality()
        elif news.kind == "renewal":
            self._renew(line)
        elif news.kind == "healthy":
            self._swap(line)
        elif news.kind == "overdue":
            self._judge_overdue(line, news.streams)
        elif news.kind == "failed":
            self.note("connection.has_failed", {"conn_id": line.conn_id, "reason": news.reason})

    def _renew(self, line: Line) -> None:
        """Make before break: a second connection takes over before the first one is 24 h old."""
        if line.conn_id in self._renewing or line is not self.lines.get(line.conn_id):
            return
        made = self._make_line(line.conn_id, line.route, tuple(line.session.wanted))
        self._renewing[line.conn_id] = made
        made.step(session.Start())

    def _swap(self, line: Line) -> None:
        if self._renewing.get(line.conn_id) is not line:
            return
        del self._renewing[line.conn_id]
        old = self.lines[line.conn_id]
        self.lines[line.conn_id] = line
        self.flush()
        old.stop()
        self.renewals += 1
        self.note("connection.was_renewed", {"conn_id": line.conn_id})

    def _judge_overdue(self, line: Line, streams: tuple[str, ...]) -> None:
        """Streams without a first frame: dead only if other evidence shows trades (§0.21)."""
        self._heartbeat(streams, {line.conn_id: line})

    # ---- timers -------------------------------------------------------------------------------
    def _arm_close(self) -> None:
        now_ms = self.clock.now_ms()
        delay_s = (self.board.next_close_ms(now_ms) - now_ms) / 1000 + 0.001
        self._close_timer = self.loop.call_later(delay_s, self._on_close_timer)

    def _on_close_timer(self) -> None:
        self.flush()
        now_ms = self.clock.now_ms()
        self.board.close_due(now_ms)
        self.board.repair_locally(now_ms)
        self.judge_quality()
        self._tell_due(now_ms - self.board.settings.close_grace_ms, at_grace=True)
        self._arm_close()

    def _arm_check(self) -> None:
        self._check_timer = self.loop.call_later(self.settings.heartbeat_interval, self._on_check)

    def _on_check(self) -> None:
        self.flush()
        self._heartbeat(None, self.lines)
        self.judge_quality()
        self._arm_check()

    def _heartbeat(self, only: tuple[str, ...] | None, lines: dict[int, Line]) -> None:
        """Judge the streams' silence; the dead ones are subscribed again, and counted."""
        now_ms = self.clock.now_ms()
        known = self.board.inbox.streams
        streams = known.values() if only is None else [known[n] for n in only if n in known]
        verdicts = self._monitor.check(
            streams, now_ms, self.board.traded_ms, lambda name: self._since_ms.get(name, 0)
        )
        dead: dict[str, None] = {}
        streamed = {one.slot for one in known.values() if one.is_wanted} - {-1}
        checked, silent = list[int](), list[int]()
        for verdict in verdicts:
            concerned = (verdict.slot,) if verdict.slot >= 0 else streamed
            checked.extend(concerned)
            if verdict.is_silent:
                silent.extend(concerned)
                dead[verdict.name] = None
        if only is None:
            self.board.note_checks(checked, silent)
            self.quality.on_silence(self.board, dead)
        self.silent_streams = len(dead)
        for line in lines.values():
            mine = tuple(name for name in dead if name in line.session.wanted)
            if mine:
                self.note("stream.went_silent", {"conn_id": line.conn_id, "streams": len(mine)})
                self.board.mark_lost(mine)
                line.step(session.Distrusted(mine))

    def settle(self) -> None:
        """Take in what waits and judge every symbol's quality: the board as a scan should see it."""
        self.flush()
        self.judge_quality()

    def judge_quality(self) -> None:
        """Judge every symbol's quality by what the board has taken in."""
        self.quality.on_lost(self.board, cut_off(self.lines.values()))
        for change in self.quality.refresh(self.board, self.clock.now_ms()):
            self.on_event(change)

    def note(self, event: str, fields: dict[str, str | int | float]) -> None:
        """Hand a note to whoever logs."""
        if self.on_note is not None:
            self.on_note(event, fields)

    # ---- reading ------------------------------------------------------------------------------
    @property
    def is_healthy(self) -> bool:
        """Every planned connection delivers."""
        return bool(self.lines) and all(line.session.is_healthy for line in self.lines.values())

    @property
    def is_failed(self) -> bool:
        """No connection delivers and at least one gave the alarm: REST must carry the scan."""
        held = [line.session for line in self.lines.values()]
        return ConnectionState.FAILED in [one.state for one in held] and not any(
            one.is_open for one in held
        )

    def stats(self) -> dict[str, object]:
        """The feed in numbers: one entry a connection, totals, reasons of reconnects."""
        now_ns = self.clock.mono_ns()
        return {
            "connections": [line.stats(now_ns) for line in self.lines.values()],
            "streams": len(self._wanted),
            "frames": self.board.frames,
            "flushes": self.flushes,
            "reconnects": sum(line.session.reconnects for line in self.lines.values()),
            "renewals": self.renewals,
            "reasons": dict(self.reasons),
            "silent_streams": self.silent_streams,
            "lag_baseline_ms": self.board.baseline.value_ms,
        }

    def unheard(self) -> list[str]:
        """Subscribed streams that have not spoken since they were (re)subscribed."""
        known = self.board.inbox.streams.values()
        return [one.name for one in known if one.is_wanted and not one.has_spoken]
