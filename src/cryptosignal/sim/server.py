"""The venue's socket face: REST and WebSocket on one port of the loopback, as its own process.

Frames are written pre-framed, joined per connection and tick; aiohttp only parses what comes in.
"""

from __future__ import annotations

import argparse
import asyncio
import errno
import json
import logging
import os
import signal
import socket
import struct
import sys
from collections.abc import Callable
from typing import Any

import msgspec
from aiohttp import WSMsgType, web
from aiohttp.http_exceptions import HttpProcessingError

from cryptosignal.domain.ports import HttpRequest, HttpResponse
from cryptosignal.ground.clock import LoopClock, host_epoch_ms, host_mono_ns
from cryptosignal.ground.faults import UserFault
from cryptosignal.ground.loop import ScaledLoop
from cryptosignal.ground.seeds import Seeds
from cryptosignal.sim.candles import CandleSource, load_candles
from cryptosignal.sim.mischief import parse_faults
from cryptosignal.sim.settings import SYMBOLS_MAX, VenueSettings, speed_max
from cryptosignal.sim.venue import ABNORMAL, GOING_AWAY, Delivery, Venue

Announce = Callable[[dict[str, Any]], None]
PUMP_GAP_S = 0.005
"""Wall seconds between two ticks of the pump at least: frames in between travel together."""
PING_S = 180.0
PONG_WITHIN_S = 600.0
HANG_S = 60.0
"""Wall seconds that an unanswered request is kept open."""
STOP_WITHIN_S = 1.5
CLOSE_WITHIN_S = 10.0
"""Wall seconds that a client has to answer a close."""
_QUIET = logging.getLogger("cryptosignal.sim.server")
"""What clients send wrongly is answered, not logged."""
_QUIET.addHandler(logging.NullHandler())
_QUIET.propagate = False


def frame_of(payload: bytes) -> bytes:
    """One unmasked WebSocket text frame (RFC 6455 §5.2)."""
    n = len(payload)
    if n < 126:
        return bytes((0x81, n)) + payload
    if n < 65_536:
        return b"\x81\x7e" + n.to_bytes(2, "big") + payload
    return b"\x81\x7f" + n.to_bytes(8, "big") + payload


class Wire(msgspec.Struct, eq=False):
    """One accepted WebSocket."""

    socket: web.WebSocketResponse
    transport: asyncio.Transport
    waiting: list[bytes] = msgspec.field(default_factory=list)
    pong_at_s: float = 0.0
    closing: asyncio.TimerHandle | None = None
    """The venue has sent its close: what comes is only read until the client's own close, or until
    this timer ends the connection."""


class Server:
    """Binds one Venue to sockets on a running loop."""

    def __init__(self, venue: Venue, clock: LoopClock, settings: VenueSettings) -> None:
        self._venue = venue
        self._clock = clock
        self._settings = settings
        self._loop = asyncio.get_running_loop()
        self._wires: dict[int, Wire] = {}
        self._next_link = 0
        self._timer: asyncio.TimerHandle | None = None
        self._reading: set[asyncio.Future[None]] = set()
        self._is_stopping = False
        self.dropped_readers = 0

    # --- pump -------------------------------------------------------------------------------------

    def pump(self) -> None:
        """Let the venue do what is due, write what it says, and come back in time."""
        if self._timer is not None:
            self._timer.cancel()
        now = self._clock.now_ms()
        for delivery in self._venue.advance(now):
            if delivery.delay_ms:
                self._loop.call_later(delivery.delay_ms / 1_000, self._deliver_late, delivery)
            else:
                self._deliver(delivery)
        self._flush()
        if not self._is_stopping:
            wait = (self._venue.next_ms() - self._clock.now_ms()) / 1_000
            gap = PUMP_GAP_S * self._settings.speed
            self._timer = self._loop.call_later(
                min(max(wait, gap), 1.0 * self._settings.speed), self.pump
            )

    def _soon(self) -> None:
        """Acknowledgements should not wait for the next trade."""
        gap = PUMP_GAP_S * self._settings.speed
        when = self._timer.when() if self._timer is not None else float("inf")
        if when > self._loop.time() + gap:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._loop.call_later(gap, self.pump)

    def _deliver_late(self, delivery: Delivery) -> None:
        self._deliver(delivery)
        self._flush()

    def _deliver(self, delivery: Delivery) -> None:
        wire = self._wires.get(delivery.link)
        if wire is None:
            return
        if delivery.payload is not None:
            wire.waiting.append(frame_of(delivery.payload))
            return
        self._write(delivery.link, wire)
        self._wires.pop(delivery.link, None)
        if delivery.close_code == ABNORMAL:
            _reset(wire.transport)
        else:
            self._close(wire, delivery.close_code)

    def _close(self, wire: Wire, code: int) -> None:
        """Say goodbye and go on reading: closing with unread bytes would make the kernel reset the
        connection, and the client would never see the code."""
        if wire.closing is None and not wire.transport.is_closing():
            wire.transport.write(b"\x88\x02" + code.to_bytes(2, "big"))
            wait = CLOSE_WITHIN_S * self._settings.speed
            wire.closing = self._loop.call_later(wait, wire.transport.abort)

    def _flush(self) -> None:
        for number, wire in list(self._wires.items()):
            if wire.waiting:
                self._write(number, wire)

    def _write(self, number: int, wire: Wire) -> None:
        joined = b"".join(wire.waiting)
        wire.waiting.clear()
        if wire.transport.is_closing():
            return
        wire.transport.write(joined)
        if wire.transport.get_write_buffer_size() > self._settings.write_buffer_bytes_max:
            self.dropped_readers += 1
            self._wires.pop(number, None)
            wire.transport.abort()

    # --- requests ---------------------------------------------------------------------------------

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Every request of the port: WebSocket upgrades and REST."""
        if request.headers.get("upgrade", "").lower() == "websocket":
            return await self._websocket(request)
        return await self._rest(request)

    async def _rest(self, request: web.BaseRequest) -> web.StreamResponse:
        try:
            body = await request.read()
        except web.HTTPRequestEntityTooLarge:
            return web.Response(status=413, body=b'{"code":-1104,"msg":"Request is too large."}')
        path, _, query = request.raw_path.partition("?")
        headers = tuple((k, v) for k, v in request.headers.items())
        asked = HttpRequest(request.method, path, query, body, headers)
        reply = self._venue.http(self._clock.now_ms(), asked, request.remote or "local")
        self._soon()
        if reply.is_torn and request.transport is not None:
            request.transport.abort()
            return web.Response(status=502)
        if reply.response is None:
            await asyncio.sleep(HANG_S * self._settings.speed)
            if request.transport is not None:
                request.transport.abort()
            return web.Response(status=504)
        if reply.delay_ms:
            await asyncio.sleep(reply.delay_ms / 1_000)
        return _response(reply.response)

    async def _websocket(self, request: web.BaseRequest) -> web.StreamResponse:
        self._next_link += 1
        number = self._next_link
        limit = self._settings.message_bytes_max
        ws = web.WebSocketResponse(
            compress=False, autoping=False, autoclose=True, max_msg_size=limit
        )
        if not ws.can_prepare(request):
            return web.Response(status=400, body=b"not a websocket handshake")
        client = request.remote or "local"
        refusal = self._venue.ws_open(self._clock.now_ms(), number, request.raw_path, client)
        if refusal is not None:
            return _response(refusal)
        await ws.prepare(request)
        transport = request.transport
        if transport is None:
            self._venue.ws_close(self._clock.now_ms(), number)
            return ws
        raw = transport.get_extra_info("socket")
        if raw is not None:
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        wire = self._wires[number] = Wire(ws, transport, pong_at_s=self._loop.time())
        done: asyncio.Future[None] = self._loop.create_future()
        self._reading.add(done)
        self._soon()
        try:
            await self._read(number, wire)
        finally:
            self._wires.pop(number, None)
            self._venue.ws_close(self._clock.now_ms(), number)
            if wire.closing is not None:
                wire.closing.cancel()
            self._reading.discard(done)
            done.set_result(None)
        return ws

    async def _read(self, number: int, wire: Wire) -> None:
        async for message in wire.socket:
            if wire.closing is not None:
                continue
            now = self._clock.now_ms()
            if message.type in (WSMsgType.TEXT, WSMsgType.BINARY):
                data = message.data
                payload = data.encode(errors="replace") if isinstance(data, str) else bytes(data)
                self._venue.ws_message(now, number, payload)
            elif message.type is WSMsgType.PING:
                self._venue.ws_ping(now, number)
                if self._venue.answers_pings(number) and number in self._wires:
                    await wire.socket.pong(message.data)
            elif message.type is WSMsgType.PONG:
                wire.pong_at_s = self._loop.time()
            self._soon()

    async def keep_alive(self) -> None:
        """Ping every 3 minutes; no pong within 10 ends a connection (BINANCE §3)."""
        while True:
            await asyncio.sleep(PING_S)
            now_s = self._loop.time()
            for number, wire in list(self._wires.items()):
                if now_s - wire.pong_at_s > PONG_WITHIN_S:
                    self._wires.pop(number, None)
                    self._close(wire, 1008)
                elif not wire.transport.is_closing():
                    wire.transport.write(b"\x89\x00")

    async def stop(self) -> None:
        """Close every connection."""
        self._is_stopping = True
        if self._timer is not None:
            self._timer.cancel()
        wires, self._wires = list(self._wires.values()), {}
        for wire in wires:
            self._close(wire, GOING_AWAY)
        if self._reading:
            await asyncio.wait(self._reading, timeout=STOP_WITHIN_S * self._settings.speed)
        for wire in wires:
            wire.transport.abort()


def _reset(transport: asyncio.Transport) -> None:
    """RST in the middle of a frame: half of one is sent, then the connection is torn."""
    if not transport.is_closing():
        transport.write(b"\x81\x7e\x01\x00{")
        raw = transport.get_extra_info("socket")
        if raw is not None:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


def _response(response: HttpResponse) -> web.Response:
    return web.Response(
        status=response.status, body=response.body, headers=_titled(response.headers)
    )


def _titled(headers: dict[str, str]) -> dict[str, str]:
    """Header names as the venue spells them."""
    return {
        ("X-MBX-" + k[6:].upper() if k.startswith("x-mbx-") else k.title()): v
        for k, v in headers.items()
    }


def start_of(settings: VenueSettings, source: CandleSource | None) -> int:
    """Venue time of the start: as set, by the candles, or now."""
    if settings.start_ms:
        return settings.start_ms
    if source is not None:
        return source.walk_time(settings.walk_start_bar, settings.walk_symbols_min)
    return host_epoch_ms()


def check_speed(settings: VenueSettings, symbols: int) -> None:
    """Raise UserFault naming the maximum when `speed` is more than this machine holds."""
    fastest = speed_max(symbols)
    if settings.speed > fastest:
        raise UserFault(
            f"speed: {settings.speed:g} with {symbols} symbols (allowed: at most {fastest:g})"
        )


async def serve(
    settings: VenueSettings,
    *,
    host: str,
    port: int,
    seed: int,
    epoch_mono_ns: int,
    start_ms: int,
    source: CandleSource | None = None,
    announce: Announce,
    venue_of: Callable[[VenueSettings, Seeds, int, CandleSource | None], Venue] = Venue,
) -> None:
    """Serve until cancelled. Must run on a `ScaledLoop` with `settings.speed` and `epoch_mono_ns`.

    `announce` is called once, when the port is open; `venue_of` makes the venue that is served.
    Raises UserFault when the port is in use.
    """
    loop = asyncio.get_running_loop()
    venue = venue_of(settings, Seeds(seed), start_ms, source)
    server = Server(venue, LoopClock(loop, start_ms), settings)
    longest = 2 * settings.body_bytes_max  # a long query is refused by the venue, in its own words
    runner = web.ServerRunner(
        web.Server(
            server.handle,
            access_log=None,
            logger=_QUIET,
            max_line_size=longest,
            max_field_size=longest,
        ),
        shutdown_timeout=0.1,
    )
    await runner.setup()
    site = web.TCPSite(runner, host, port, backlog=1_024)
    try:
        await site.start()
    except OSError as error:
        await runner.cleanup()
        why = (
            "in use" if error.errno == errno.EADDRINUSE else f"cannot be opened ({error.strerror})"
        )
        raise UserFault(f"port {port} on {host}: {why} (allowed: a free port)") from None
    bound = runner.addresses[0][1]
    server.pump()
    alive = loop.create_task(server.keep_alive())
    announce(
        {
            "rest": f"http://{host}:{bound}",
            "ws": f"ws://{host}:{bound}",
            "ws_api": f"ws://{host}:{bound}/ws-fapi/v1",
            "api_key": venue.api_key,
            "api_secret": venue.api_secret,
            "start_time_ms": start_ms,
            "epoch_mono_ns": epoch_mono_ns,
            "speed": settings.speed,
        }
    )
    try:
        await asyncio.Event().wait()
    finally:
        alive.cancel()
        await server.stop()
        await runner.cleanup()


def run_server(
    settings: VenueSettings,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    seed: int = 7,
    data_path: str = "",
    announce: Announce,
    until_stdin_closes: bool = False,
) -> None:
    """The whole process: loads candles, makes the scaled loop, serves until SIGTERM or SIGINT.

    Raises UserFault with one line for bad files, a speed beyond the machine, or a port in use.
    """
    source = load_candles(data_path) if data_path else None
    check_speed(settings, min(len(source.symbols), SYMBOLS_MAX) if source else settings.symbols)
    start_ms = start_of(settings, source)
    epoch_mono_ns = host_mono_ns()
    loop = ScaledLoop(settings.speed, epoch_mono_ns)
    asyncio.set_event_loop(loop)
    main = loop.create_task(
        serve(
            settings,
            host=host,
            port=port,
            seed=seed,
            epoch_mono_ns=epoch_mono_ns,
            start_ms=start_ms,
            source=source,
            announce=announce,
        )
    )
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, main.cancel)
    if until_stdin_closes:
        _watch_stdin(loop, main)
    loop.set_exception_handler(_quiet_protocol_errors)
    try:
        loop.run_until_complete(main)
    except asyncio.CancelledError:
        return
    finally:
        _end_tasks(loop)
        asyncio.set_event_loop(None)
        loop.close()


def _end_tasks(loop: asyncio.AbstractEventLoop) -> None:
    """Requests that still wait for a late or lost answer end with the process, without a word."""
    left = asyncio.all_tasks(loop)
    for task in left:
        task.cancel()
    loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))


def _watch_stdin(loop: asyncio.AbstractEventLoop, main: asyncio.Task[None]) -> None:
    try:
        loop.add_reader(sys.stdin.fileno(), _on_stdin, loop, main)
    except PermissionError:
        main.cancel()  # a plain file or /dev/null: it never closes, it has ended already


def _on_stdin(loop: asyncio.AbstractEventLoop, main: asyncio.Task[None]) -> None:
    """The owner's end of our standard input: its end is ours."""
    if not os.read(sys.stdin.fileno(), 4096):
        loop.remove_reader(sys.stdin.fileno())
        main.cancel()


def _quiet_protocol_errors(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Malformed requests and torn connections are the clients' business, not a crash report."""
    if not isinstance(context.get("exception"), ConnectionError | HttpProcessingError):
        loop.default_exception_handler(context)


def main(arguments: list[str] | None = None) -> int:
    """`python -m cryptosignal.sim.server`: the bare process behind `cryptosignal simulate`."""
    parser = argparse.ArgumentParser(prog="cryptosignal.sim.server")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--symbols", type=int, default=60)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--speed", type=float, default=1.0)
    parser.add_argument("--faults", default="calm")
    parser.add_argument("--data", default="")
    parser.add_argument("--messages-per-second", type=int, default=10)
    asked = parser.parse_args(arguments)

    def announce(ready: dict[str, Any]) -> None:
        sys.stdout.write(json.dumps(ready) + "\n")
        sys.stdout.flush()

    try:
        preset, rates = parse_faults(asked.faults)
        settings = VenueSettings(
            symbols=asked.symbols,
            speed=asked.speed,
            faults=preset,
            fault_rates=rates,
            messages_per_second_max=asked.messages_per_second,
        )
        run_server(
            settings,
            host=asked.host,
            port=asked.port,
            seed=asked.seed,
            data_path=asked.data,
            announce=announce,
        )
    except (UserFault, ValueError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
