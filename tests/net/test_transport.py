"""Real sockets: one send a request, every failure by its right name, whole WebSocket messages."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import socket
import struct
import time
from pathlib import Path

import pytest
from aiohttp import web
from tests.net.loopback import (
    Listener,
    answer,
    certificate,
    echo,
    proxy,
    raw_server,
    read_request,
    serving,
)

from cryptosignal.domain.ports import HttpRequest
from cryptosignal.ground.faults import (
    ContractFault,
    Fault,
    Refused,
    TimedOut,
    Unreachable,
    UserFault,
)
from cryptosignal.ground.loop import ScaledLoop
from cryptosignal.net.settings import TransportSettings
from cryptosignal.net.transport import SocketTransport

KINDS = ["picows", "aiohttp"]


def upgraded(head: bytes) -> bytes:
    """The answer that turns a request with this head into a WebSocket."""
    key = next(
        line.split(b": ")[1]
        for line in head.split(b"\r\n")
        if line.lower().startswith(b"sec-websocket-key")
    )
    accept = base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
    )


def closed_port() -> int:
    """A port on which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


async def test_a_request_arrives_as_it_was_encoded():
    """Path, query, body and headers reach the server byte for byte, the answer comes back whole."""
    seen = {}

    async def handler(request: web.Request) -> web.Response:
        seen["raw"] = request.raw_path
        seen["body"] = await request.read()
        seen["key"] = request.headers["X-MBX-APIKEY"]
        return web.Response(status=418, body=b"tea", headers={"X-Thing": "1"})

    transport = SocketTransport()
    async with serving({"/fapi/v1/order": handler}) as url:
        query = "symbol=%E5%B8%81%E5%AE%89USDT&note=a%2Fb%3Ac"
        request = HttpRequest(
            "POST", "/fapi/v1/order", query, b"x=1", (("X-MBX-APIKEY", "k"),), 5000
        )
        response = await transport.request(url, request)
        await transport.close()
    assert seen == {"raw": f"/fapi/v1/order?{query}", "body": b"x=1", "key": "k"}
    assert (response.status, response.body, response.headers["x-thing"]) == (418, b"tea", "1")


async def test_nothing_listening_is_unreachable():
    """A refused connection proves that nothing was sent."""
    transport = SocketTransport()
    with pytest.raises(Unreachable, match=r"127\.0\.0\.1.*[Rr]efused"):
        await transport.request(
            f"http://127.0.0.1:{closed_port()}", HttpRequest("GET", "/x", "secret=1")
        )
    await transport.close()


async def test_an_unknown_name_is_one_clear_line():
    """A DNS failure says so, without the query."""
    transport = SocketTransport()
    with pytest.raises(Unreachable, match="DNS") as caught:
        await transport.request("http://nowhere.invalid", HttpRequest("GET", "/x", "signature=abc"))
    assert "abc" not in str(caught.value)
    await transport.close()


async def test_plain_text_where_tls_was_expected_is_unreachable():
    """A TLS failure is named, and nothing was sent."""

    async def serve(reader, writer, _number):
        writer.write(b"no tls here\r\n\r\n")
        await writer.drain()

    transport = SocketTransport()
    async with raw_server(serve) as url:
        with pytest.raises(Unreachable):
            await transport.request(url.replace("http", "https"), HttpRequest("GET", "/"))
    await transport.close()


async def test_silence_after_sending_is_timed_out():
    """No answer within the deadline leaves the outcome open."""

    async def serve(reader, _writer, _number):
        await read_request(reader)
        await reader.read()

    transport = SocketTransport()
    async with raw_server(serve) as url:
        with pytest.raises(TimedOut):
            await transport.request(url, HttpRequest("POST", "/order", timeout_ms=50))
        await transport.close()


@pytest.mark.parametrize("method", ["GET", "PUT", "POST", "DELETE"])
async def test_a_dead_kept_alive_connection_is_never_sent_on_twice(method: str):
    """When the server drops a kept-alive connection under a request, no second copy ever leaves."""
    heads: list[bytes] = []

    async def serve(reader, writer, _number):
        heads.append(await read_request(reader))
        writer.write(answer())
        await writer.drain()
        heads.append(await read_request(reader))  # read it, then die without an answer

    transport = SocketTransport()
    async with raw_server(serve) as url:
        await transport.request(url, HttpRequest("GET", "/first"))
        with pytest.raises(TimedOut, match="lost before the answer"):
            await transport.request(url, HttpRequest(method, "/order", timeout_ms=2000))
        await transport.close()
    assert [head.split(b" ")[0] for head in heads if head] == [b"GET", method.encode()]


async def test_a_redirect_is_returned_not_followed():
    """A 302 is an answer like any other: following it would send twice."""

    async def handler(_request: web.Request) -> web.Response:
        raise web.HTTPFound("/elsewhere")

    transport = SocketTransport()
    async with serving({"/x": handler}) as url:
        assert (await transport.request(url, HttpRequest("DELETE", "/x"))).status == 302
        await transport.close()


async def test_a_body_above_the_limit_is_not_read():
    """A huge announced body ends the exchange; the outcome is unknown."""

    async def handler(_request: web.Request) -> web.Response:
        return web.Response(body=b"x" * 5000)

    transport = SocketTransport(TransportSettings(body_bytes_max=1000))
    async with serving({"/x": handler}) as url:
        with pytest.raises(TimedOut):
            await transport.request(url, HttpRequest("GET", "/x"))
        await transport.close()


@pytest.mark.parametrize("kind", KINDS)
async def test_websocket_frames_pongs_and_close(kind: str):
    """Texts, pongs and the close code arrive, the close exactly once."""
    transport = SocketTransport(TransportSettings(websocket=kind))
    listener = Listener()
    async with serving({"/ws": echo}) as url:
        link = await transport.open_ws(url.replace("http", "ws") + "/ws", listener, 5000)
        link.send("币安 hello".encode())
        link.ping()
        await listener.until(lambda: listener.frames and listener.pongs)
        link.send(b"bye")
        await listener.until(lambda: listener.closed)
        link.send(b"too late")
        link.ping()
        link.close()
        await transport.close()
    assert listener.frames == ["币安 hello".encode()]
    assert listener.pongs == 1
    assert [code for code, _reason in listener.closed] == [1001]


@pytest.mark.parametrize("kind", KINDS)
async def test_our_own_close_is_told_once(kind: str):
    """Closing from our side ends in one `on_closed`."""
    transport = SocketTransport(TransportSettings(websocket=kind))
    listener = Listener()
    async with serving({"/ws": echo}) as url:
        link = await transport.open_ws(url.replace("http", "ws") + "/ws", listener, 5000)
        link.close()
        link.close()
        await listener.until(lambda: listener.closed)
        await transport.close()
    assert [code for code, _reason in listener.closed] == [1000]


@pytest.mark.parametrize("kind", KINDS)
async def test_a_cut_connection_closes_with_1006(kind: str):
    """A connection that dies without a close frame is reported as 1006."""

    async def handler(request: web.Request) -> web.StreamResponse:
        peer = web.WebSocketResponse()
        await peer.prepare(request)
        await peer.send_str("one")
        transport_ = request.transport
        assert transport_ is not None
        transport_.abort()
        return peer

    transport = SocketTransport(TransportSettings(websocket=kind))
    listener = Listener()
    async with serving({"/ws": handler}) as url:
        await transport.open_ws(url.replace("http", "ws") + "/ws", listener, 5000)
        await listener.until(lambda: listener.closed)
        await transport.close()
    assert [code for code, _reason in listener.closed] == [1006]


@pytest.mark.parametrize("kind", KINDS)
async def test_fragments_are_joined(kind: str):
    """A message sent in three fragments with a ping between them arrives as one, the ping answered."""
    pongs = []

    async def serve(reader, writer, _number):
        writer.write(upgraded(await read_request(reader)))
        for first, payload in ((0x01, b'{"a"'), (0x89, b"hb"), (0x00, b":1"), (0x80, b"}")):
            writer.write(struct.pack("!BB", first, len(payload)) + payload)
        await writer.drain()
        frame = await reader.readexactly(2 + 4 + 2)  # a masked pong with two bytes
        pongs.append(frame[0])

    transport = SocketTransport(TransportSettings(websocket=kind))
    listener = Listener()
    async with raw_server(serve) as url:
        await transport.open_ws(url.replace("http", "ws") + "/ws", listener, 5000)
        await listener.until(lambda: listener.closed)
        await transport.close()
    assert listener.frames == [b'{"a":1}']
    assert pongs == [0x8A]


@pytest.mark.parametrize("kind", KINDS)
async def test_a_refused_handshake_carries_its_status(kind: str):
    """HTTP 451 on the handshake is Refused with that status, without the query in the text."""

    async def handler(_request: web.Request) -> web.Response:
        return web.Response(status=451)

    transport = SocketTransport(TransportSettings(websocket=kind))
    listener = Listener()
    async with serving({"/ws": handler}) as url:
        with pytest.raises(Refused, match="451") as caught:
            await transport.open_ws(
                url.replace("http", "ws") + "/ws?listenKey=hush", listener, 5000
            )
        await transport.close()
    assert caught.value.status == 451
    assert "hush" not in str(caught.value)
    assert listener.closed == []


@pytest.mark.parametrize("kind", KINDS)
async def test_a_handshake_without_answer_times_out(kind: str):
    """A server that accepts and says nothing is TimedOut, and the listener hears nothing."""

    async def serve(reader, _writer, _number):
        await reader.read()

    transport = SocketTransport(TransportSettings(websocket=kind))
    listener = Listener()
    async with raw_server(serve) as url:
        with pytest.raises(TimedOut):
            await transport.open_ws(url.replace("http", "ws") + "/ws", listener, 50)
        await transport.close()
    assert listener.closed == []


@pytest.mark.parametrize("kind", KINDS)
async def test_a_caller_who_goes_away_in_the_handshake_leaves_no_socket(kind: str):
    """Cancelled before the handshake was answered, the connection is gone when the transport is."""
    is_asked, is_left = asyncio.Event(), asyncio.Event()

    async def serve(reader, _writer, _number):
        await read_request(reader)
        is_asked.set()
        await reader.read()
        is_left.set()

    transport = SocketTransport(TransportSettings(websocket=kind, close_ms=50))
    listener = Listener()
    async with raw_server(serve) as url:
        opening = asyncio.create_task(
            transport.open_ws(url.replace("http", "ws") + "/ws", listener, 200)
        )
        await is_asked.wait()
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
        await is_left.wait()
        await transport.close()
    assert listener.closed == []


@pytest.mark.parametrize("kind", KINDS)
async def test_a_handshake_answered_after_its_caller_left_is_hung_up(kind: str):
    """A connection that nobody waits for any more is closed as soon as its answer comes."""
    is_asked, is_given_up, is_left = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def serve(reader, writer, _number):
        head = await read_request(reader)
        is_asked.set()
        await is_given_up.wait()
        writer.write(upgraded(head))
        await reader.read()
        is_left.set()

    transport = SocketTransport(TransportSettings(websocket=kind))
    listener = Listener()
    async with raw_server(serve) as url:
        opening = asyncio.create_task(
            transport.open_ws(url.replace("http", "ws") + "/ws", listener, 60_000)
        )
        await is_asked.wait()
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
        is_given_up.set()
        async with asyncio.timeout(10):
            await is_left.wait()
        await transport.close()
    assert listener.closed == []


@pytest.mark.parametrize("kind", KINDS)
async def test_a_closed_transport_has_closed_its_sockets(kind: str):
    """When `close` returns every listener has heard of it, a peer that never answers included."""
    is_over = asyncio.Event()

    async def serve(reader, writer, number):
        writer.write(upgraded(await read_request(reader)))
        await is_over.wait()

    transport = SocketTransport(TransportSettings(websocket=kind, close_ms=50))
    listener = Listener()
    async with raw_server(serve) as url:
        link = await transport.open_ws(url.replace("http", "ws") + "/ws", listener, 5000)
        link.send(b"x" * 8_000_000)
        await transport.close()
        assert len(listener.closed) == 1
        is_over.set()


@pytest.mark.parametrize("kind", KINDS)
async def test_a_peer_that_closes_instead_of_answering_is_a_fault(kind: str):
    """A connection closed before the handshake's answer is told as a fault, not as a crash."""

    async def serve(reader, _writer, _number):
        await read_request(reader)

    transport = SocketTransport(TransportSettings(websocket=kind))
    listener = Listener()
    async with raw_server(serve) as url:
        with pytest.raises(Fault):
            await transport.open_ws(url.replace("http", "ws") + "/ws", listener, 5000)
        await transport.close()
    assert listener.closed == []


@pytest.mark.parametrize("kind", KINDS)
async def test_no_server_for_a_websocket_is_unreachable(kind: str):
    """A refused connection is Unreachable."""
    transport = SocketTransport(TransportSettings(websocket=kind))
    with pytest.raises(Unreachable):
        await transport.open_ws(f"ws://127.0.0.1:{closed_port()}/ws", Listener(), 1000)
    await transport.close()


async def test_http_proxy_carries_requests_and_websockets():
    """With a proxy configured, plain HTTP goes to the proxy as an absolute URL."""
    heads: list[bytes] = []

    async def serve(reader, writer, _number):
        heads.append(await read_request(reader))
        writer.write(answer(b"via proxy"))
        await writer.drain()

    async with raw_server(serve) as url:
        transport = SocketTransport(TransportSettings(proxy=url))
        response = await transport.request(
            "http://venue.invalid", HttpRequest("GET", "/fapi/v1/ping")
        )
        await transport.close()
    assert response.body == b"via proxy"
    assert heads[0].startswith(b"GET http://venue.invalid/fapi/v1/ping")


async def test_socks_proxy_carries_requests():
    """A SOCKS5 proxy is spoken to with the name, not the address, of the venue."""
    pytest.importorskip("aiohttp_socks")
    asked: list[bytes] = []

    async def serve(reader, writer, _number):
        await reader.readexactly(2 + 1)
        writer.write(b"\x05\x00")
        head = await reader.readexactly(5)
        asked.append(await reader.readexactly(head[4] + 2))
        writer.write(b"\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x50")
        await read_request(reader)
        writer.write(answer(b"via socks"))
        await writer.drain()

    async with raw_server(serve) as url:
        transport = SocketTransport(TransportSettings(proxy=url.replace("http", "socks5")))
        response = await transport.request("http://venue.invalid", HttpRequest("GET", "/x"))
        await transport.close()
    assert response.body == b"via socks"
    assert asked[0].startswith(b"venue.invalid")


@pytest.mark.parametrize("scheme", ["socks5", "http"])
async def test_proxies_carry_tls_requests_and_websockets(scheme: str, tmp_path: Path):
    """HTTPS and WSS pass through a SOCKS or CONNECT proxy to the venue, TLS end to end."""
    if scheme == "socks5":
        pytest.importorskip("aiohttp_socks")
    file, context = certificate(tmp_path)

    async def handler(_request: web.Request) -> web.Response:
        return web.Response(body=b"ok")

    listener = Listener()
    async with serving({"/x": handler, "/ws": echo}, context) as url, proxy(scheme) as (via, asked):
        transport = SocketTransport(TransportSettings(proxy=via, ca_file=str(file)))
        response = await transport.request(url, HttpRequest("GET", "/x"))
        link = await transport.open_ws(url.replace("https", "wss") + "/ws", listener, 5000)
        link.send(b"hello")
        await listener.until(lambda: listener.frames)
        await transport.close()
    assert (response.body, listener.frames) == (b"ok", [b"hello"])
    assert asked


@pytest.mark.parametrize("scheme", ["socks5", "http"])
async def test_a_proxy_that_is_down_is_unreachable(scheme: str):
    """Nothing reaches the venue when the proxy does not answer, and the text says so."""
    if scheme == "socks5":
        pytest.importorskip("aiohttp_socks")
    transport = SocketTransport(TransportSettings(proxy=f"{scheme}://127.0.0.1:{closed_port()}"))
    with pytest.raises(Unreachable, match="the proxy cannot be reached"):
        await transport.request("http://venue.invalid", HttpRequest("POST", "/x"))
    with pytest.raises(Unreachable, match="the proxy cannot be reached"):
        await transport.open_ws("ws://venue.invalid/ws", Listener(), 2000)
    await transport.close()


@pytest.mark.parametrize("kind", KINDS)
async def test_an_own_certificate_authority_is_trusted_and_no_other(kind: str, tmp_path: Path):
    """With `ca_file` a private venue is reached over TLS; without it, it is Unreachable."""
    file, context = certificate(tmp_path)

    async def handler(_request: web.Request) -> web.Response:
        return web.Response(body=b"ok")

    trusting = SocketTransport(TransportSettings(websocket=kind, ca_file=str(file)))
    strict = SocketTransport(TransportSettings(websocket=kind))
    listener = Listener()
    async with serving({"/x": handler, "/ws": echo}, context) as url:
        ws_url = url.replace("https", "wss") + "/ws"
        assert (await trusting.request(url, HttpRequest("GET", "/x"))).body == b"ok"
        link = await trusting.open_ws(ws_url, listener, 5000)
        link.send(b"hello")
        await listener.until(lambda: listener.frames)
        with pytest.raises(Unreachable, match="TLS"):
            await strict.request(url, HttpRequest("GET", "/x"))
        with pytest.raises(Unreachable):
            await strict.open_ws(ws_url, Listener(), 5000)
        await trusting.close()
        await strict.close()


async def test_a_closed_transport_refuses_to_serve():
    """Use after close is a bug of ours."""
    transport = SocketTransport()
    await transport.close()
    with pytest.raises(ContractFault):
        await transport.request("http://127.0.0.1:1", HttpRequest("GET", "/"))
    with pytest.raises(ContractFault):
        await transport.open_ws("ws://127.0.0.1:1", Listener(), 10)


def test_a_missing_certificate_file_is_the_users_fault():
    """The one line names the key and what is allowed."""
    with pytest.raises(UserFault, match="ca_file"):
        SocketTransport(TransportSettings(ca_file="/nowhere/ca.pem"))


def test_works_on_a_scaled_loop():
    """On a loop that runs sixty times as fast, requests and sockets work the same."""

    async def main() -> tuple[bytes, list[bytes]]:
        async def handler(_request: web.Request) -> web.Response:
            return web.Response(body=b"ok")

        transport, listener = SocketTransport(), Listener()
        async with serving({"/x": handler, "/ws": echo}) as url:
            response = await transport.request(url, HttpRequest("GET", "/x", timeout_ms=60_000))
            link = await transport.open_ws(url.replace("http", "ws") + "/ws", listener, 60_000)
            link.send(b"hello")
            await listener.until(lambda: listener.frames, timeout_s=300)
            await transport.close()
        return response.body, listener.frames

    with asyncio.Runner(loop_factory=lambda: ScaledLoop(60.0, time.monotonic_ns())) as runner:
        assert runner.run(main()) == (b"ok", [b"hello"])


def test_works_on_uvloop():
    """The same under uvloop."""
    uvloop = pytest.importorskip("uvloop")

    async def main() -> list[bytes]:
        transport, listener = SocketTransport(), Listener()
        async with serving({"/ws": echo}) as url:
            link = await transport.open_ws(url.replace("http", "ws") + "/ws", listener, 5000)
            link.send(b"hello")
            await listener.until(lambda: listener.frames)
            await transport.close()
        return listener.frames

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(main()) == [b"hello"]
