"""Whole reads of a real socket: what the front takes, what it leaves to picows, and how it ends."""

from __future__ import annotations

import asyncio
import base64
import hashlib

import pytest
from tests.market.made import T0, kline, trade
from tests.market.test_sorting import framed
from tests.net import loopback

from cryptosignal.ground.clock import SystemClock
from cryptosignal.ground.seeds import Seeds
from cryptosignal.market import trade_reading
from cryptosignal.market.board import Board
from cryptosignal.net import picows_link
from cryptosignal.net.feed import MarketFeed
from cryptosignal.net.settings import TransportSettings
from cryptosignal.net.transport import SocketTransport
from cryptosignal.quality.score import QualityBook
from cryptosignal.streams.settings import FeedSettings

pytest.importorskip("numba")

LIMIT_S = 20


@pytest.fixture(autouse=True)
def compiled():
    """The switch is the process's."""
    assert trade_reading.enable()
    yield
    trade_reading.disable()


async def answer(reader, writer, data=b""):
    """Shake hands; `data` comes in the same bytes."""
    request = await reader.readuntil(b"\r\n\r\n")
    key = next(
        line.split(b":", 1)[1].strip()
        for line in request.split(b"\r\n")
        if line.lower().startswith(b"sec-websocket-key")
    )
    digest = hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
    writer.write(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + base64.b64encode(digest) + b"\r\n\r\n" + data
    )
    await writer.drain()


async def heard(script, *, until):
    """What a feed makes of one connection that says what `script` writes: (feed, its fronts)."""
    fronts = []

    class Noted(picows_link._Front):
        def __init__(self, *parts):
            super().__init__(*parts)
            fronts.append(self)

    async def serve(reader, writer, number):
        if number == 1:
            await script(reader, writer)
        await reader.read()

    board = Board(capacity=8)
    transport = SocketTransport(TransportSettings(websocket="picows"))
    feed = MarketFeed(
        transport, None, board, QualityBook(capacity=8), SystemClock(), Seeds(1), FeedSettings(),
        lambda event: None,
    )  # fmt: skip
    plain, picows_link._Front = picows_link._Front, Noted
    try:
        async with asyncio.timeout(LIMIT_S), loopback.raw_server(serve) as url:
            feed.attach(url.replace("http", "ws"))
            task = asyncio.create_task(feed.run())
            while not until(feed):
                await asyncio.sleep(0.005)
                feed.flush()
            board.flush(feed.clock.now_ms(), whole=True)
            feed.stop()
            await task
            await transport.close()
    finally:
        picows_link._Front = plain
    return feed, fronts


def frames_of(count):
    """Klines and trades whose clock is not the machine's: only their order counts."""
    found = [kline(), trade(1, 100, 1, T0)]
    for n in range(1, count):
        found += [
            kline(event_ms=T0 + 1000 + n, close=100 + n % 9, volume=n),
            trade(1 + n, 9, 1, T0 + n),
        ]
    return found


async def in_pieces(writer, data, sizes):
    """Write `data` cut into pieces that leave one by one."""
    at = 0
    for size in [*sizes, len(data)]:
        writer.write(data[at : at + size])
        at += size
        await writer.drain()
        await asyncio.sleep(0)


@pytest.mark.parametrize("sizes", [[], [1, 1, 1, 7, 300, 2, 4], [50_000, 3, 40_000]])
async def test_everything_that_a_socket_says_arrives(sizes):
    """Cut anywhere, with pings, fragments, binary and huge frames between: every message counts, in
    its order, and pings are answered."""
    payloads = frames_of(300)
    huge = b'{"stream":"!other@arr","data":{"e":"x","E":1,"s":"%s"}}' % (b"y" * 300_000)
    last = kline(event_ms=T0 + 1400, close=107.5)
    odd = [
        framed(b"are you there", 0x89),
        framed(last[:60], 0x01) + framed(last[60:], 0x80),
        framed(trade(301, 7, 1, T0 + 400), 0x82),
        framed(huge),
        framed(trade(302, 7, 1, T0 + 401)),
    ]
    pongs = []

    async def script(reader, writer):
        await answer(reader, writer)
        await in_pieces(writer, b"".join(map(framed, payloads)) + b"".join(odd), sizes)
        pongs.append(await reader.readexactly(2 + 4 + len(b"are you there")))

    feed, fronts = await heard(script, until=lambda feed: feed.board.frames >= 604 and pongs)
    assert len(fronts) == 1
    assert feed.board.frames == 604
    assert feed.board.tapes.total(0) == 302
    assert feed.board.forming("BTCUSDT", "1m").close == 107.5
    assert pongs[0][0] == 0x8A


async def test_bytes_that_come_with_the_handshake_are_not_lost():
    """Frames in the same segment as the handshake's answer are picows' own; whole reads are taken
    from a frame on behind which nothing waits."""
    payloads = frames_of(50)
    data = b"".join(map(framed, payloads))

    async def script(reader, writer):
        await answer(reader, writer, data[:400])
        await in_pieces(writer, data[400:], [100, len(data) - 500 - len(framed(payloads[-1]))])

    feed, _ = await heard(script, until=lambda feed: feed.board.frames >= 100)
    assert feed.board.frames == 100
    assert feed.board.tapes.total(0) == 50


async def test_a_close_amid_a_read_ends_the_line_after_what_came_before():
    """The messages before a closing frame reach the board, and the line knows that it is closed."""
    payloads = frames_of(40)

    async def script(reader, writer):
        await answer(reader, writer)
        await in_pieces(writer, framed(payloads[0]), [])
        writer.write(b"".join(map(framed, payloads[1:])) + framed(b"\x03\xf3bye", 0x88))
        await writer.drain()

    def is_over(feed):
        return feed.lines[-1].session.state.name in ("LOST", "RECONNECTING")

    feed, _ = await heard(script, until=is_over)
    assert feed.board.frames == 80


async def test_a_frame_that_may_not_be_ends_the_connection():
    """picows judges what no server may send, and hangs up."""
    payloads = frames_of(40)

    async def script(reader, writer):
        await answer(reader, writer)
        writer.write(b"".join(map(framed, payloads)) + b"\x81\x85abcdefghi" + framed(payloads[-1]))
        await writer.drain()

    feed, _ = await heard(script, until=lambda feed: bool(feed.reasons))
    assert feed.board.frames == 80


async def test_compiled_code_that_comes_later_takes_over_an_open_line():
    """A connection that began without compiled code is taken over once it is there, no frame lost."""
    trade_reading.disable()
    go_on = asyncio.Event()
    payloads = frames_of(400)

    async def script(reader, writer):
        await answer(reader, writer)
        for payload in payloads[:100]:
            writer.write(framed(payload))
        await writer.drain()
        await go_on.wait()
        for payload in payloads[100:]:
            writer.write(framed(payload))
            await writer.drain()
            await asyncio.sleep(0)

    def is_through(feed):
        if feed.board.frames >= 100 and not go_on.is_set():
            assert trade_reading.enable()
            go_on.set()
        return feed.board.frames >= 800

    feed, fronts = await heard(script, until=is_through)
    assert len(fronts) == 1
    assert feed.board.frames == 800
    assert feed.board.tapes.total(0) == 400
