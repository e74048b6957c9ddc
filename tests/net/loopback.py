"""A tiny real server on 127.0.0.1 for the tests of the network floor."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from aiohttp import WSMsgType, web
from aiohttp.test_utils import TestServer

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@contextlib.asynccontextmanager
async def serving(routes: dict[str, Handler]) -> AsyncIterator[str]:
    """`http://127.0.0.1:port` with a handler by path; any method."""
    app = web.Application()
    for path, handler in routes.items():
        app.router.add_route("*", path, handler)
    server = TestServer(app, host="127.0.0.1")
    await server.start_server(shutdown_timeout=0.1)
    try:
        yield str(server.make_url("")).rstrip("/")
    finally:
        await server.close()


@contextlib.asynccontextmanager
async def raw_server(
    serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter, int], Awaitable[None]],
) -> AsyncIterator[str]:
    """A TCP server whose `serve(reader, writer, connection number)` speaks bytes."""
    count = 0
    writers: list[asyncio.StreamWriter] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal count
        count += 1
        writers.append(writer)
        with contextlib.suppress(ConnectionError):
            await serve(reader, writer, count)
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.close()
        for writer in writers:
            writer.close()
        await asyncio.sleep(0)


async def read_request(reader: asyncio.StreamReader) -> bytes:
    """The head of one HTTP request; b"" at the end."""
    try:
        return await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return b""


def answer(body: bytes = b"{}") -> bytes:
    """A keep-alive HTTP 200."""
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)


class Listener:
    """Keeps what a WebSocket delivered."""

    def __init__(self) -> None:
        self.frames: list[bytes] = []
        self.pongs = 0
        self.closed: list[tuple[int, str]] = []
        self._signal = asyncio.Event()

    def on_frame(self, payload: bytes) -> None:
        self.frames.append(payload)
        self._signal.set()

    def on_pong(self) -> None:
        self.pongs += 1
        self._signal.set()

    def on_closed(self, code: int, reason: str) -> None:
        self.closed.append((code, reason))
        self._signal.set()

    async def until(self, condition: Callable[[], Any]) -> None:
        """Return once `condition()` holds; fail after 5 s."""
        async with asyncio.timeout(5):
            while not condition():
                self._signal.clear()
                await self._signal.wait()


async def echo(request: web.Request) -> web.StreamResponse:
    """A WebSocket that returns every text; `bye` closes with 1001."""
    socket = web.WebSocketResponse(autoping=True)
    await socket.prepare(request)
    async for message in socket:
        if message.type is WSMsgType.TEXT and message.data == "bye":
            await socket.close(code=1001, message=b"going")
        elif message.type is WSMsgType.TEXT:
            await socket.send_str(message.data)
    return socket
