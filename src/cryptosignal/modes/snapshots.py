"""The socket between the engine's process and its faces: newest snapshots out, questions and commands in.

JSON lines over a Unix socket that only its owner may open (D1). The engine hands over whole values
of a few kinds; a reader that falls behind gets the newest of each kind and never a queue, so what
the hub holds is bounded by the number of kinds and readers, and nobody outside can slow it down.

Lines from the hub: `{"kind", "seq", "mono_ns", "body"}` with a kind of `KINDS`; `{"kind": "beat",
"mono_ns"}` each second as long as the engine's loop turns; and one answer per line received.
What bodies hold is written in `modes/bodies.py`. `mono_ns` is the host's monotonic clock, which
both ends of a Unix socket share: age needs no clock set right. Lines to the hub: `{"ask":
"symbol", "symbol", "interval"}`, `{"ask": <other>, "arguments"}` and `{"command", "arguments"}`, each
with an `id` that its answer repeats. NaN becomes null.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import os
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Final

import msgspec

from cryptosignal.ground.clock import host_mono_ns
from cryptosignal.ground.faults import TimedOut, Unreachable, UserFault
from cryptosignal.ground.loop import ScaledLoop

KINDS: Final = ("market", "health", "run", "signals", "desk")
PATH_BYTES_MAX: Final = 107
"""`sun_path` holds 108 bytes with its closing zero (unix(7))."""


class SnapshotSettings(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """Limits of the socket. Seconds are wall time, whatever the speed of the run."""

    beat_s: float = 1.0
    pace_s: float = 0.2
    viewers_max: int = 16
    question_bytes_max: int = 64 * 1024
    answer_bytes_max: int = 32 * 1024 * 1024
    retry_s: float = 0.5
    silence_s: float = 15.0
    answer_timeout_s: float = 5.0

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            if getattr(self, name) <= 0:
                raise ValueError(f"snapshots.{name}: found {getattr(self, name)}, allowed: above 0")


class Snapshot(msgspec.Struct, frozen=True):
    """The newest body of one kind and when the engine published it (host monotonic ns)."""

    kind: str
    seq: int
    mono_ns: int
    body: dict[str, Any]


class _Line(msgspec.Struct, frozen=True):
    """Any line from the hub: a snapshot, a beat, or an answer (`id`, `ok`)."""

    kind: str
    mono_ns: int = 0
    seq: int = 0
    body: dict[str, Any] = {}
    id: int = 0
    ok: bool = True
    reason: str = ""


class _Question(msgspec.Struct, frozen=True):
    """Any line to the hub."""

    id: int = 0
    ask: str = ""
    symbol: str = ""
    interval: str = "1h"
    command: str = ""
    arguments: dict[str, str] = {}


class _Viewer:
    """One connected reader: which kinds it has not been sent since they changed."""

    def __init__(self, writer: asyncio.StreamWriter, dirty: dict[str, None]) -> None:
        self.writer = writer
        self.dirty = dirty
        self.wake = asyncio.Event()
        self.wake.set()

    def mark(self, kind: str) -> None:
        self.dirty[kind] = None
        self.wake.set()


class SnapshotHub:
    """The engine's end. `on_symbol(symbol, interval)` returns what one symbol's view shows, and
    raises `UserFault` for a symbol it does not know; `on_command` takes a command over, answers what
    came of it (awaited where it is awaitable: durable before the answer) or raises `UserFault` with
    the reason for the sender; `on_ask` answers other questions, `UserFault` for one it does not know.
    All run on the engine's loop and must be short."""

    def __init__(
        self,
        path: str,
        on_command: Callable[[str, dict[str, str]], Any],
        on_symbol: Callable[[str, str], Mapping[str, Any]],
        settings: SnapshotSettings | None = None,
        on_ask: Callable[[str, dict[str, str]], Mapping[str, Any]] | None = None,
    ) -> None:
        self.path = path
        self.settings = settings or SnapshotSettings()
        self._on_command = on_command
        self._on_symbol = on_symbol
        self._on_ask = on_ask
        self._latest: dict[str, Snapshot] = {}
        self._lines: dict[str, bytes] = {}
        self._viewers: dict[_Viewer, asyncio.Task[None] | None] = {}
        self._server: asyncio.Server | None = None
        self._beat: asyncio.Task[None] | None = None

    @property
    def viewers(self) -> int:
        """How many readers are connected."""
        return len(self._viewers)

    async def start(self) -> None:
        """Open the socket (mode 0600) and accept readers.

        Raises `UserFault` if the path is too long for a Unix socket, cannot be bound, or another
        engine answers on it; a dead engine's file is replaced.
        """
        self._server = await asyncio.start_unix_server(
            self._serve, sock=_bind(self.path), limit=self.settings.question_bytes_max
        )
        self._beat = asyncio.create_task(self._keep_beating())

    async def stop(self) -> None:
        """Close every reader and remove the socket's file; stopping twice is fine."""
        if self._server is None or self._beat is None:
            return
        server, beat, self._server, self._beat = self._server, self._beat, None, None
        server.close()
        beat.cancel()
        for viewer in self._viewers:
            viewer.writer.transport.abort()
        tasks = [task for task in (beat, *self._viewers.values()) if task is not None]
        await asyncio.gather(*tasks, return_exceptions=True)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)

    def publish(self, kind: str, body: Mapping[str, Any]) -> None:
        """Make `body` the newest value of `kind`. The hub owns `body` from here on; it is encoded
        only when somebody reads it, so an engine without faces pays nothing."""
        if kind not in KINDS:
            raise ValueError(f"snapshot kind: found {kind!r}, allowed: {', '.join(KINDS)}")
        last = self._latest.get(kind)
        seq = last.seq + 1 if last else 1
        self._latest[kind] = Snapshot(kind, seq, host_mono_ns(), dict(body))
        self._lines.pop(kind, None)
        for viewer in self._viewers:
            viewer.mark(kind)

    async def _keep_beating(self) -> None:
        while True:
            for viewer in self._viewers:
                viewer.mark("beat")
            await asyncio.sleep(loop_seconds(self.settings.beat_s))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._server is None:  # accepted while stopping
            writer.transport.abort()
            return
        if len(self._viewers) >= self.settings.viewers_max:
            refusal = f"{self.settings.viewers_max} readers are connected, no more are allowed"
            writer.write(_encode(_Line("refused", ok=False, reason=refusal)))
            writer.close()
            return
        viewer = _Viewer(writer, dict.fromkeys(["beat", *self._latest]))
        self._viewers[viewer] = asyncio.current_task()
        try:
            async with asyncio.TaskGroup() as group:
                sender = group.create_task(self._send(viewer))
                await self._listen(reader, writer)
                sender.cancel()
        finally:
            del self._viewers[viewer]
            writer.close()

    async def _listen(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer line by line; whoever asks without reading is held by its own full buffer.

        Ends when the reader is gone, or after a line beyond `question_bytes_max` (ValueError):
        nothing that follows it can be framed.
        """
        with contextlib.suppress(OSError, ValueError):
            while line := await reader.readline():
                writer.write(_encode(await self._answer(line)))
                await writer.drain()

    async def _answer(self, line: bytes) -> _Line:
        try:
            question = msgspec.json.decode(line, type=_Question)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            return _Line("refused", ok=False, reason=f"not a question: {error}")
        try:
            if question.command:
                result = self._on_command(question.command, question.arguments)
                result = await result if inspect.isawaitable(result) else result
                return _Line("accepted", id=question.id, body=dict(result or {}))
            if question.ask == "symbol":
                body = dict(self._on_symbol(question.symbol, question.interval))
                return _Line("symbol", mono_ns=host_mono_ns(), body=body, id=question.id)
            if self._on_ask is not None:
                body = dict(self._on_ask(question.ask, question.arguments))
                return _Line("answer", mono_ns=host_mono_ns(), body=body, id=question.id)
        except UserFault as fault:
            return _Line("refused", id=question.id, ok=False, reason=str(fault))
        reason = f"ask: found {question.ask!r}, allowed: symbol"
        return _Line("refused", id=question.id, ok=False, reason=reason)

    async def _send(self, viewer: _Viewer) -> None:
        with contextlib.suppress(OSError):  # the reader is gone; its listener ends the rest
            while True:
                await viewer.wake.wait()
                viewer.wake.clear()
                kinds, viewer.dirty = viewer.dirty, {}
                for kind in kinds:
                    viewer.writer.write(self._line(kind))
                    await viewer.writer.drain()
                await asyncio.sleep(loop_seconds(self.settings.pace_s))

    def _line(self, kind: str) -> bytes:
        if kind == "beat":
            return _encode(_Line("beat", mono_ns=host_mono_ns()))
        if kind not in self._lines:
            self._lines[kind] = _encode(self._latest[kind])
        return self._lines[kind]


class SnapshotClient:
    """A face's end. `run()` keeps one connection for ever; `on_snapshot` hears each new value."""

    def __init__(
        self,
        path: str,
        on_snapshot: Callable[[Snapshot], None] | None = None,
        settings: SnapshotSettings | None = None,
    ) -> None:
        self.path = path
        self.settings = settings or SnapshotSettings()
        self.heard_ns = 0
        self._on_snapshot = on_snapshot
        self.fault = ""
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._next_id = 0
        self._waiting: dict[int, asyncio.Future[_Line]] = {}

    @property
    def is_connected(self) -> bool:
        """Whether the socket is open; says nothing of how fresh the data are."""
        return self._writer is not None

    def silent_s(self) -> float | None:
        """Seconds since the engine's last sign of life, None before the first."""
        return (host_mono_ns() - self.heard_ns) * 1e-9 if self.heard_ns else None

    async def run(self) -> None:
        """Connect, listen, and connect again `retry_s` after a loss, until cancelled; `fault` says
        in one line why there is no connection, "" while there is one."""
        while True:
            try:
                await self.connect()
                self.fault = ""
                await self.listen()
                self.fault = f"the engine at {self.path} has hung up"
            except (Unreachable, UserFault) as fault:
                self.fault = str(fault)
            await asyncio.sleep(self.settings.retry_s)

    async def connect(self) -> None:
        """Open the socket. Raises `Unreachable` if nobody serves the path."""
        try:
            self._reader, self._writer = await asyncio.open_unix_connection(
                self.path, limit=self.settings.answer_bytes_max
            )
        except OSError as error:
            raise Unreachable(f"no engine answers at {self.path}: {error.strerror}") from error

    async def listen(self) -> None:
        """Hear the hub until it hangs up. Raises `Unreachable` if the connection breaks or gives
        no sign of life for `silence_s`, and `UserFault` if the hub refuses this reader."""
        if self._reader is None or self._writer is None:
            raise ValueError("connect() comes before listen()")
        try:
            while line := await self._read_line(self._reader):
                self._hear(msgspec.json.decode(line, type=_Line))
        except OSError as error:
            raise Unreachable(f"the engine at {self.path} is gone: {error.strerror}") from error
        finally:
            self._writer.close()
            self._reader = self._writer = None
            for future in self._waiting.values():
                future.set_exception(Unreachable(f"the engine at {self.path} is gone"))
            self._waiting.clear()

    async def _read_line(self, reader: asyncio.StreamReader) -> bytes:
        silence_s = self.settings.silence_s
        try:
            async with asyncio.timeout(silence_s):  # wait_for of 3.11 may swallow a cancellation
                return await reader.readline()
        except TimeoutError as error:
            raise Unreachable(f"the engine at {self.path} was silent {silence_s:g} s") from error

    def _hear(self, line: _Line) -> None:
        if line.id in self._waiting:
            self._waiting.pop(line.id).set_result(line)
        elif line.kind == "refused" and line.id == 0:
            raise UserFault(line.reason)
        self.heard_ns = max(self.heard_ns, line.mono_ns)
        if line.kind in KINDS and self._on_snapshot is not None:
            self._on_snapshot(Snapshot(line.kind, line.seq, line.mono_ns, line.body))

    async def ask_symbol(self, symbol: str, interval: str) -> dict[str, Any]:
        """What the engine shows for one symbol. Raises `Unreachable`, `TimedOut`, or `UserFault`
        with the engine's reason."""
        return (await self._ask(_Question(ask="symbol", symbol=symbol, interval=interval))).body

    async def ask(self, name: str, arguments: dict[str, str] | None = None) -> dict[str, Any]:
        """Any other question. Raises as `ask_symbol`."""
        return (await self._ask(_Question(ask=name, arguments=arguments or {}))).body

    async def command(self, name: str, arguments: dict[str, str] | None = None) -> dict[str, Any]:
        """Hand a command to the engine: returns what came of it. Raises as `ask_symbol`;
        after `TimedOut` it may or may not have been taken over."""
        return (await self._ask(_Question(command=name, arguments=arguments or {}))).body

    async def _ask(self, question: _Question) -> _Line:
        if self._writer is None:
            raise Unreachable(f"no engine answers at {self.path}")
        self._next_id += 1
        numbered = msgspec.structs.replace(question, id=self._next_id)
        future: asyncio.Future[_Line] = asyncio.get_running_loop().create_future()
        self._waiting[numbered.id] = future
        self._writer.write(_encode(numbered))
        try:
            async with asyncio.timeout(self.settings.answer_timeout_s):
                answer = await future
        except TimeoutError as error:
            raise TimedOut(f"no answer in {self.settings.answer_timeout_s:g} s") from error
        finally:
            self._waiting.pop(numbered.id, None)
        if not answer.ok:
            raise UserFault(answer.reason)
        return answer


async def send_command(
    path: str, name: str, arguments: dict[str, str] | None = None
) -> dict[str, Any]:
    """One command over a connection of its own, for a command line; what came of it.

    Raises `Unreachable` if no engine runs there, `TimedOut`, or `UserFault` with its refusal.
    """
    async with _connected(path) as client:
        return await client.command(name, arguments)


async def ask_once(path: str, name: str, arguments: dict[str, str] | None = None) -> dict[str, Any]:
    """One question over a connection of its own. Raises as `send_command`."""
    async with _connected(path) as client:
        return await client.ask(name, arguments)


@contextlib.asynccontextmanager
async def _connected(path: str) -> AsyncIterator[SnapshotClient]:
    client = SnapshotClient(path)
    await client.connect()
    listening = asyncio.create_task(client.listen())
    try:
        yield client
    finally:
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)


def _bind(path: str) -> socket.socket:
    """A bound, not yet listening socket file that only its owner may open: until it listens,
    nobody can connect, so there is no moment with wider rights."""
    length = len(os.fsencode(path))
    if length > PATH_BYTES_MAX:
        raise UserFault(
            f"snapshot socket: found a path of {length} bytes ({path}), allowed: {PATH_BYTES_MAX}"
        )
    _remove_dead(path)
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        server.bind(path)
        os.chmod(path, 0o600)
    except OSError as error:
        server.close()
        raise UserFault(f"snapshot socket {path}: {error.strerror}") from error
    return server


def _remove_dead(path: str) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(path)
        except FileNotFoundError:
            return
        except ConnectionRefusedError:
            os.unlink(path)
            return
        except OSError as error:
            raise UserFault(f"snapshot socket {path}: {error.strerror}") from error
    raise UserFault(f"snapshot socket {path}: another engine answers there")


def loop_seconds(wall_s: float) -> float:
    """`wall_s` in the running loop's own seconds: a scaled loop's run faster."""
    loop = asyncio.get_running_loop()
    return wall_s * loop.speed if isinstance(loop, ScaledLoop) else wall_s


def _encode(line: Snapshot | _Line | _Question) -> bytes:
    return msgspec.json.encode(line, enc_hook=_plain_number) + b"\n"


def _plain_number(value: Any) -> Any:
    """A numpy scalar or array as Python numbers, so that engine code may hand over what it has."""
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"a snapshot holds plain values, found {type(value).__name__}")
