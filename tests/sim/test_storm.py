"""Real sockets in bad weather: resets, half-open lines, mute subscriptions, slow readers, floods."""

import asyncio
import json
import socket
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web
from tests.sim.driver import START_MS, small

from cryptosignal.ground.clock import LoopClock, host_mono_ns
from cryptosignal.ground.loop import ScaledLoop
from cryptosignal.ground.seeds import Seeds
from cryptosignal.sim.server import Server
from cryptosignal.sim.venue import Venue

SPEED = 20.0
SUBSCRIBE = '{"method":"SUBSCRIBE","params":["btcusdt@markPrice@1s"],"id":1}'


def on_scaled_loop(scenario):
    """Run one scenario on a loop that is twenty times faster than the wall."""
    loop = ScaledLoop(SPEED, host_mono_ns())
    try:
        return loop.run_until_complete(asyncio.wait_for(scenario(), 600))
    finally:
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


@asynccontextmanager
async def served(**changes):
    """A venue on a port of its own in this process: (server, venue, port)."""
    settings = small(**changes)
    loop = asyncio.get_running_loop()
    venue = Venue(settings, Seeds(7), START_MS)
    server = Server(venue, LoopClock(loop, START_MS), settings)
    runner = web.ServerRunner(web.Server(server.handle, access_log=None), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    server.pump()
    try:
        yield server, venue, runner.addresses[0][1]
    finally:
        await server.stop()
        await runner.cleanup()


@asynccontextmanager
async def simple_client():
    """A client without any cleverness."""
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None)) as http:
        yield http


async def quiet_for(ws, venue_s):
    """Whether nothing arrives for so many venue seconds."""
    try:
        await asyncio.wait_for(ws.receive(), venue_s)
    except TimeoutError:
        return True
    return False


def test_a_reader_that_stops_reading_is_cut():
    """Past the buffer limit the slow reader alone is cut, and no more than the limit piles up."""

    async def scenario():
        limit = 150_000
        async with served(write_buffer_bytes_max=limit) as (server, venue, port):
            peaks, write = [], server._write

            def watched(number, wire):
                size = sum(map(len, wire.waiting))
                write(number, wire)
                peaks.append((wire.transport.get_write_buffer_size(), size))

            server._write = watched
            rows = venue.exchange.listed
            names = "/".join(
                f"{r.symbol.lower()}@{k}" for r in rows for k in ("depth20@100ms", "depth@100ms")
            )
            slow = socket.socket()
            slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
            slow.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_connect(slow, ("127.0.0.1", port))
            head = (
                f"GET /public/stream?streams={names} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n"
                "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            )
            await loop.sock_sendall(slow, head.encode())
            async with (
                simple_client() as http,
                http.ws_connect(f"http://127.0.0.1:{port}/market/ws/btcusdt@markPrice@1s") as ws,
            ):
                while not server.dropped_readers:
                    assert json.loads((await ws.receive()).data)["e"] == "markPriceUpdate"
                assert (await ws.receive()).type != aiohttp.WSMsgType.CLOSED
            slow.close()
            assert server.dropped_readers == 1
            assert max(held - last for held, last in peaks) <= limit

    on_scaled_loop(scenario)


def test_a_flood_of_subscribes_ends_in_a_clean_close():
    """Three thousand SUBSCRIBEs at once: close 1008, at most ten answers, others undisturbed."""

    async def scenario():
        async with served() as (_server, venue, port), simple_client() as http:
            async with http.ws_connect(f"http://127.0.0.1:{port}/market/ws") as ws:
                for number in range(3_000):
                    try:
                        await ws.send_str(
                            json.dumps(
                                {"method": "SUBSCRIBE", "params": [f"x{number}"], "id": number}
                            )
                        )
                    except ConnectionError:
                        break
                answers = [m async for m in ws]
                assert ws.close_code == 1008
                assert len(answers) <= 10
            assert not venue.links()
            async with http.get(f"http://127.0.0.1:{port}/fapi/v1/ping") as reply:
                assert reply.status == 200

    on_scaled_loop(scenario)


def test_wrong_messages_get_the_documented_error_or_a_close():
    """Malformed JSON and wrong types are answered; an oversized message ends in close 1009."""
    wrong = {
        "{": 3,
        "[1]": 3,
        "[" * 30_000: 3,
        '{"method":7,"id":1}': 2,
        '{"method":"SUBSCRIBE","params":"x","id":1}': 2,
        '{"method":"SUBSCRIBE","params":[7],"id":1}': 2,
        '{"method":"SUBSCRIBE","params":["x"],"id":-1}': 2,
        '{"method":"SET_PROPERTY","params":["combined","yes"],"id":1}': 1,
        '{"method":"GET_PROPERTY","params":["colour"],"id":1}': 0,
    }

    async def scenario():
        async with served() as (_server, _venue, port), simple_client() as http:
            url = f"http://127.0.0.1:{port}"
            async with http.ws_connect(f"{url}/market/ws") as ws:
                for text, code in wrong.items():
                    await ws.send_str(text)
                    answer = json.loads((await ws.receive()).data)
                    assert answer["error"]["code"] == code, text[:40]
            async with http.ws_connect(f"{url}/market/ws") as ws:
                await ws.send_str("x" * 70_000)
                assert (await ws.receive()).type == aiohttp.WSMsgType.CLOSE
                assert ws.close_code == 1009
            for body in (b"\xff\xfe", b"a" * 70_000):
                async with http.post(f"{url}/fapi/v1/order", data=body) as reply:
                    assert reply.status in (400, 401, 413)
                    assert reply.content_type == "application/json"
                    assert set(await reply.json()) == {"code", "msg"}

    on_scaled_loop(scenario)


def test_names_and_keys_of_a_link_are_bounded():
    """Names past the length limit are not remembered; keys and names share the 1024 of a link."""
    venue = Venue(small(streams_per_link_max=5), Seeds(7), START_MS)
    venue.ws_open(START_MS, 1, "/private/ws")
    venue.ws_open(START_MS, 2, "/market/ws")
    long = json.dumps({"method": "SUBSCRIBE", "params": ["y" * 5_000], "id": 1}).encode()
    venue.ws_message(START_MS, 2, long)
    assert venue.links()[1].names == {}
    for number in range(6):
        key = json.dumps({"method": "SUBSCRIBE", "params": [f"{number:064d}"], "id": 1}).encode()
        venue.ws_message(START_MS, 1, key)
    assert [d.close_code for d in venue.advance(START_MS) if d.payload is None] == [1008]


def test_a_reset_tears_the_line_in_mid_frame():
    """A client sees its connection torn, without a closing handshake."""

    async def scenario():
        async with served(fault_rates={"ws_reset": 3_600.0}) as (_s, venue, port):
            async with (
                simple_client() as http,
                http.ws_connect(f"http://127.0.0.1:{port}/market/ws/btcusdt@markPrice@1s") as ws,
            ):
                while (await ws.receive()).type is aiohttp.WSMsgType.TEXT:
                    pass
                assert ws.close_code in (None, 1006)
            assert venue.faults_injected["ws_reset"] >= 1

    on_scaled_loop(scenario)


@pytest.mark.parametrize(("fault", "answers"), [("ws_half_open", False), ("ws_stall", True)])
def test_a_silent_line_stays_open(fault, answers):
    """Half-open: no frames and no pongs; stalled: no frames, but pings get their pong."""

    async def scenario():
        async with served(fault_rates={fault: 3_600.0}) as (_s, venue, port):
            url = f"http://127.0.0.1:{port}/market/ws/btcusdt@markPrice@1s"
            async with (
                simple_client() as http,
                http.ws_connect(
                    url, autoping=False, timeout=aiohttp.ClientWSTimeout(ws_close=1.0)
                ) as ws,
            ):
                while not await quiet_for(ws, 5.0):
                    pass
                assert venue.faults_injected[fault]
                await ws.ping(b"x")
                assert await quiet_for(ws, 5.0) is not answers
                assert len(venue.links()) == 1

    on_scaled_loop(scenario)


def test_acknowledged_but_mute():
    """A subscription may be acknowledged and listed and never deliver."""

    async def scenario():
        async with (
            served(fault_rates={"ws_silent_subscribe": 1.0}) as (_s, _v, port),
            simple_client() as http,
            http.ws_connect(f"http://127.0.0.1:{port}/market/ws") as ws,
        ):
            await ws.send_str(SUBSCRIBE)
            assert json.loads((await ws.receive()).data) == {"result": None, "id": 1}
            await ws.send_str('{"method":"LIST_SUBSCRIPTIONS","id":2}')
            assert json.loads((await ws.receive()).data)["result"] == ["btcusdt@markPrice@1s"]
            assert await quiet_for(ws, 10.0)

    on_scaled_loop(scenario)


def test_slow_lost_and_refused():
    """A slow answer takes its seconds, a lost one never comes, a handshake may be refused."""

    async def scenario():
        rates = {"http_slow": 1.0, "ws_refused": 1.0}
        loop = asyncio.get_running_loop()
        async with served(fault_rates=rates) as (_s, venue, port), simple_client() as http:
            url = f"http://127.0.0.1:{port}"
            began = loop.time()
            async with http.get(f"{url}/fapi/v1/time") as reply:
                assert reply.status == 200
            assert loop.time() - began >= 5.0
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await http.ws_connect(f"{url}/market/ws")
            assert refused.value.status == 503
            venue.mischief.set_rates({"http_slow": 0.0, "http_response_lost": 1.0})
            with pytest.raises(aiohttp.ServerDisconnectedError):
                await http.get(f"{url}/fapi/v1/time")

    on_scaled_loop(scenario)


def test_one_address_one_allowance():
    """Handshakes cost 5, calls their weight, of the client's own address; 429, then 418 for all of it."""

    async def scenario():
        async with served(weight_limit_1m=20) as (_s, venue, port), simple_client() as http:
            url = f"http://127.0.0.1:{port}"
            async with http.ws_connect(f"{url}/ws-fapi/v1") as ws:
                await ws.send_str('{"id":1,"method":"ticker.price","params":{"symbol":"BTCUSDT"}}')
                answer = json.loads((await ws.receive()).data)
                assert answer["rateLimits"][-1]["count"] == 6
                async with http.get(f"{url}/fapi/v1/ping") as reply:
                    assert reply.headers["X-MBX-USED-WEIGHT-1M"] == "7"
                statuses = []
                for number in range(60):
                    if number == 30:
                        await asyncio.sleep(
                            1.1
                        )  # from now on nobody can say that they did not know
                    await ws.send_str(f'{{"id":{number},"method":"ticker.price"}}')
                    answer = json.loads((await ws.receive()).data)
                    statuses.append(answer["status"])
                assert sorted(set(statuses)) == [200, 418, 429]
                assert answer["error"]["code"] == -1003
                assert answer["error"]["data"]["retryAfter"] > answer["error"]["data"]["serverTime"]
            async with http.get(f"{url}/fapi/v1/ping") as reply:
                assert reply.status == 418
                assert int(reply.headers["Retry-After"]) >= 60
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await http.ws_connect(f"{url}/ws-fapi/v1")
            assert refused.value.status == 418
            assert venue.exchange.limits.clients() == ["127.0.0.1"]

    on_scaled_loop(scenario)


def test_the_429_fault_strikes_every_known_address():
    """After the fault a socket client's next request is refused with 429 and Retry-After."""

    async def scenario():
        async with served() as (_s, venue, port), simple_client() as http:
            url = f"http://127.0.0.1:{port}/fapi/v1/ping"
            async with http.get(url) as reply:
                assert reply.status == 200
            assert venue.mischief.befall("http_429")
            async with http.get(url) as reply:
                assert reply.status == 429
                assert int(reply.headers["Retry-After"]) >= 1

    on_scaled_loop(scenario)


def test_requests_of_the_websocket_api_are_not_stream_messages():
    """Thirty calls in a second pass; six pings in a second do not (BINANCE §3)."""
    venue = Venue(small(), Seeds(7), START_MS)
    venue.ws_open(START_MS, 1, "/ws-fapi/v1")
    for number in range(30):
        venue.ws_message(START_MS, 1, b'{"id":%d,"method":"session.status"}' % number)
    assert all(d.payload for d in venue.advance(START_MS))
    for _ in range(6):
        venue.ws_ping(START_MS, 1)
    assert [d.close_code for d in venue.advance(START_MS)] == [1008]


def test_a_torn_request_is_never_read():
    """http_torn ends the connection without an answer, and nothing of the request was done."""

    async def scenario():
        async with (
            served(fault_rates={"http_torn": 1.0}) as (_s, venue, port),
            simple_client() as http,
        ):
            headers = {"X-MBX-APIKEY": venue.api_key}
            with pytest.raises(aiohttp.ClientError):
                async with http.post(f"http://127.0.0.1:{port}/fapi/v1/listenKey", headers=headers):
                    pass
            assert venue.faults_injected["http_torn"] >= 1
            assert venue.account().listen_key == ""

    on_scaled_loop(scenario)
