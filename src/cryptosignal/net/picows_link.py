"""A WebSocket over picows: frames are handed over in the read callback, no task, no queue."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import Final, TypeAlias

import picows

from cryptosignal.domain.ports import FrameReader, FrameSorter, WsListener, sorter_of

ERRORS: Final = (picows.WSError, picows.WSInvalidURL)
"""What a failed handshake raises besides OSError and TimeoutError."""

_FEW: Final = 4_095
"""So many messages and one between two calls of `arm`."""
_DATA: Final = (picows.WSMsgType.TEXT, picows.WSMsgType.BINARY)
_READ_BYTES: Final = 1 << 14
_SPARE_BYTES: Final = 256
"""What picows holds back of its memory for a read."""
_NO_CODE: Final = 1005
_ABNORMAL: Final = 1006
_CLOSE_CODES: Final = {code.value: code for code in picows.WSCloseCode}


Dial: TypeAlias = asyncio.Task[tuple[picows.WSTransport, picows.WSListener | None]]


async def connect(
    url: str,
    listener: WsListener,
    tls: ssl.SSLContext,
    message_bytes_max: int,
    *,
    timeout_s: float,
    keep: Callable[[Dial], None],
) -> _PicowsLink:
    """Open `url` within `timeout_s`. Redirects are not followed.

    picows loses sight of its socket when it is cancelled between TCP and the handshake's answer, so
    the dialling itself is not cancelled with its caller: it hangs up by itself as soon as it is
    through, at the latest when the handshake's time is over. `keep` is told of it.
    """
    dial = asyncio.get_running_loop().create_task(
        picows.ws_connect(
            lambda: _link(listener, message_bytes_max),
            url,
            ssl_context=tls,
            websocket_handshake_timeout=timeout_s,
            enable_auto_ping=False,
            enable_auto_pong=True,
            max_frame_size=message_bytes_max,
            max_redirects=0,
            read_buffer_init_size=_READ_BYTES,
        )
    )
    keep(dial)
    try:
        _transport, bridge = await asyncio.shield(dial)
    except asyncio.CancelledError:
        dial.add_done_callback(_hang_up)
        raise
    if not isinstance(bridge, _PicowsLink):
        raise ConnectionResetError("closed before the handshake was answered")
    return bridge


def _hang_up(dial: Dial) -> None:
    """Nobody waits for this connection any more."""
    if not dial.cancelled() and dial.exception() is None:
        dial.result()[0].disconnect(graceful=False)


def _link(listener: WsListener, message_bytes_max: int) -> _PicowsLink:
    sorter = sorter_of(listener)
    if sorter is None:
        return _PicowsLink(listener, message_bytes_max)
    return _SortingLink(listener, sorter, message_bytes_max)


class _PicowsLink(picows.WSListener):
    """picows' callbacks as a `WsListener`'s, and a `WsLink` towards the peer.

    Fragments (BINANCE sends none today) are joined before they are handed on; a message that grows
    beyond the limit closes the connection.
    """

    def __init__(self, listener: WsListener, message_bytes_max: int) -> None:
        super().__init__()
        self._listener = listener
        self._on_frame = listener.on_frame
        self._limit = message_bytes_max
        self._parts = bytearray()
        self._transport: picows.WSTransport | None = None
        self._code = _ABNORMAL
        self._reason = ""

    # ---- picows calls -------------------------------------------------------------------------
    def on_ws_connected(self, transport: picows.WSTransport) -> None:
        self._transport = transport

    def on_ws_frame(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:
        kind = frame.msg_type
        if kind in _DATA:
            if frame.fin:
                self._on_frame(frame.get_payload_as_bytes())
            else:
                self._parts = bytearray(frame.get_payload_as_memoryview())
        elif kind == picows.WSMsgType.CONTINUATION:
            self._continue(transport, frame)
        elif kind == picows.WSMsgType.PONG:
            self._listener.on_pong()
        elif kind == picows.WSMsgType.CLOSE:
            payload = frame.get_payload_as_bytes()
            self._code = int.from_bytes(payload[:2], "big") or _NO_CODE
            self._reason = payload[2:].decode(errors="replace")
            transport.send_close(picows.WSCloseCode.OK)
            transport.disconnect()

    def on_ws_disconnected(self, transport: picows.WSTransport) -> None:
        if self._transport is not None:
            self._transport = None
            self._listener.on_closed(self._code, self._reason)

    def _continue(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:
        self._parts += frame.get_payload_as_memoryview()
        if len(self._parts) > self._limit:
            self._reason = "message above the limit"
            transport.disconnect(graceful=False)
        elif frame.fin:
            message, self._parts = bytes(self._parts), bytearray()
            self._listener.on_frame(message)

    # ---- the program calls ----------------------------------------------------------------------
    def send(self, payload: bytes) -> None:
        """Queue one text message; a connection that is gone swallows it, `on_closed` has told."""
        if self._transport is not None:
            self._transport.send(picows.WSMsgType.TEXT, payload)

    def ping(self) -> None:
        """Queue a ping."""
        if self._transport is not None:
            self._transport.send_ping()

    def close(self, code: int = 1000) -> None:
        """Send a close frame and disconnect; `on_closed` follows with our own code."""
        transport = self._transport
        if transport is None:
            return
        self._code = code
        transport.send_close(_CLOSE_CODES.get(code, picows.WSCloseCode.OK))
        asyncio.get_running_loop().call_soon(transport.disconnect)

    def abort(self) -> None:
        """Cut the connection without waiting for a peer that takes nothing any more."""
        if self._transport is not None:
            self._transport.disconnect(graceful=False)


class _SortingLink(_PicowsLink):
    """A link that puts whole messages where they belong, one call of ours a message, or a read where
    there is compiled code for that."""

    def __init__(self, listener: WsListener, sorter: FrameSorter, message_bytes_max: int) -> None:
        super().__init__(listener, message_bytes_max)
        self._sorter = sorter
        self._reader: FrameReader | None = None
        self._has_front = False

    def on_ws_connected(self, transport: picows.WSTransport) -> None:
        """Bytes that came with the handshake's answer are picows' own; mostly there are none."""
        super().on_ws_connected(transport)
        self._seek_reader()
        behind = transport.underlying_transport.get_protocol()
        if not isinstance(behind, asyncio.BufferedProtocol) or self._reader is None:
            return
        if memoryview(behind.get_buffer(-1)).nbytes == _READ_BYTES - _SPARE_BYTES:
            self._put_front(transport)

    def on_ws_frame(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:
        """Only a whole message can begin as a stream's does; the rest is looked at more closely."""
        if self._reader is not None and not frame.tail_size:  # picows has no byte left
            self._put_front(transport)
        payload = frame.get_payload_as_bytes()
        sorter = self._sorter
        try:
            take = sorter.takes[payload[11:43]]
        except KeyError:
            super().on_ws_frame(transport, frame)
            return
        if not frame.fin or self._parts:
            super().on_ws_frame(transport, frame)
            return
        count = sorter.taken
        if not count & _FEW:
            sorter.arm()
            self._seek_reader()
        sorter.taken = count + 1
        take(payload)

    def _seek_reader(self) -> None:
        """Ask for what takes whole reads, until there is one."""
        if self._reader is None and not self._has_front:
            self._reader = self._sorter.reader()

    def _put_front(self, transport: picows.WSTransport) -> None:
        """Take whole reads from the next one on."""
        reader, self._reader = self._reader, None
        socket = transport.underlying_transport
        behind = socket.get_protocol()
        if reader is not None and isinstance(behind, asyncio.BufferedProtocol):
            self._has_front = True
            socket.set_protocol(_Front(socket, behind, reader))


class _Front(asyncio.BufferedProtocol):
    """Stands between a socket and picows: a reader takes the plain messages of each read; control
    frames, fragments and all else go to picows behind it, in their order and byte by byte."""

    def __init__(
        self, socket: asyncio.Transport, behind: asyncio.BufferedProtocol, reader: FrameReader
    ) -> None:
        self._socket = socket
        self._behind = behind
        self._take = reader.take
        self._memory = reader.memory
        self._used = 0
        self._owed = 0

    def get_buffer(self, sizehint: int) -> memoryview:
        """The memory behind what is already there."""
        return self._memory[self._used :]

    def buffer_updated(self, nbytes: int) -> None:
        """A read."""
        end = self._used + nbytes
        at = self._pass_on(0, end) if self._owed else 0
        while at < end:
            at, why = self._take(at, end)
            if not why:
                break
            if why < 0:  # picows says what is wrong with it, from here on alone
                self._socket.set_protocol(self._behind)
                why = end - at
            self._owed = why
            at = self._pass_on(at, end)
        self._used = end - at
        if at and self._used:
            self._memory[: self._used] = self._memory[at:end]

    def _pass_on(self, at: int, end: int) -> int:
        """Bytes that picows waits for; answers where they end."""
        until = min(end, at + self._owed)
        self._owed -= until - at
        while at < until:
            room = memoryview(self._behind.get_buffer(-1))
            size = min(len(room), until - at)
            room[:size] = self._memory[at : at + size]
            self._behind.buffer_updated(size)
            at += size
        return at

    def pause_writing(self) -> None:
        """See `asyncio.BaseProtocol`."""
        self._behind.pause_writing()

    def resume_writing(self) -> None:
        """See `asyncio.BaseProtocol`."""
        self._behind.resume_writing()

    def eof_received(self) -> bool | None:
        """See `asyncio.BufferedProtocol`."""
        return self._behind.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.BaseProtocol`."""
        self._behind.connection_lost(exc)
