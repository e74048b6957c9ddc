"""A tiny real server on 127.0.0.1 for the tests of the network floor."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from aiohttp import WSMsgType, web
from aiohttp.test_utils import TestServer
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@contextlib.asynccontextmanager
async def serving(
    routes: dict[str, Handler], tls: ssl.SSLContext | None = None
) -> AsyncIterator[str]:
    """`http(s)://127.0.0.1:port` with a handler by path; any method."""
    app = web.Application()
    for path, handler in routes.items():
        app.router.add_route("*", path, handler)
    server = TestServer(app, host="127.0.0.1", scheme="https" if tls else "http")
    await server.start_server(shutdown_timeout=0.1, ssl=tls)
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


def certificate(folder: Path) -> tuple[Path, ssl.SSLContext]:
    """A self-signed certificate for 127.0.0.1: its PEM file and a server's context."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "loopback")])
    start = datetime(2020, 1, 1, tzinfo=UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=36_500))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file, private = folder / "cert.pem", folder / "key.pem"
    file.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file, private)
    return file, context


@contextlib.asynccontextmanager
async def proxy(scheme: str) -> AsyncIterator[tuple[str, list[bytes]]]:
    """A SOCKS5 or HTTP CONNECT proxy on loopback, and the targets that it was asked for."""
    asked: list[bytes] = []

    async def socks(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> int:
        await reader.readexactly(3)
        writer.write(b"\x05\x00")
        head = await reader.readexactly(4)
        length = 4 if head[3] == 1 else (await reader.readexactly(1))[0]
        target = await reader.readexactly(length + 2)
        asked.append(target[:-2])
        writer.write(b"\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x50")
        return int.from_bytes(target[-2:], "big")

    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> int:
        head = await read_request(reader)
        asked.append(head.split(b" ")[1])
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        return int(asked[-1].split(b":")[1])

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65_536):
                writer.write(data)
        writer.close()

    async def serve(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _number: int
    ) -> None:
        port = await (socks if scheme == "socks5" else connect)(reader, writer)
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(pump(reader, far_writer), pump(far_reader, writer))

    async with raw_server(serve) as url:
        yield url.replace("http", scheme), asked


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

    async def until(self, condition: Callable[[], Any], timeout_s: float = 5.0) -> None:
        """Return once `condition()` holds; fail after `timeout_s` of the loop's time."""
        async with asyncio.timeout(timeout_s):
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
