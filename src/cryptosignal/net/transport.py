"""Real sockets behind the `Transport` port: aiohttp for HTTP, picows (or aiohttp) for WebSocket.

Foreign exceptions end here and become `TimedOut` (outcome unknown), `Unreachable` (nothing was
sent) or `Refused` (a handshake answered with an HTTP status). Texts never hold a query string: a
signature or a listenKey could be in it.
"""

from __future__ import annotations

import asyncio
import importlib.util
import ssl
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

import aiohttp
import yarl

from cryptosignal.binance.codes import GEO_BLOCK_STATUS, GEO_BLOCK_TEXT
from cryptosignal.domain.ports import HttpRequest, HttpResponse, WsLink, WsListener, sorter_of
from cryptosignal.ground.faults import ContractFault, Refused, TimedOut, Unreachable, UserFault
from cryptosignal.net.settings import TransportSettings

_HAS_PICOWS: Final = importlib.util.find_spec("picows") is not None
if _HAS_PICOWS:  # a platform without its wheel is served by aiohttp
    from cryptosignal.net import picows_link

ABNORMAL_CLOSE: Final = 1006


class SocketTransport:
    """Sockets of one program: one HTTP session with keep-alive, any number of WebSockets.

    No request is ever sent twice. aiohttp by itself re-sends GET, HEAD, OPTIONS, TRACE, PUT and
    DELETE when a kept-alive connection turns out dead (RELIABILITY §3.3); a cancel that is silently
    doubled answers -2011 for an order that the first one cancelled. `_send_once` takes that retry
    away: the second attempt never starts, the caller gets `TimedOut` and decides.
    """

    def __init__(self, settings: TransportSettings | None = None, *, proxy: str = "") -> None:
        """Raises UserFault if a SOCKS proxy is asked for and `aiohttp_socks` is not installed."""
        self._settings = settings or TransportSettings(proxy=proxy)
        self._proxy = self._settings.proxy
        self._is_socks = self._proxy.startswith("socks")
        self._socks_errors = _socks_errors(self._proxy) if self._is_socks else ()
        self._session: aiohttp.ClientSession | None = None
        self._tls = _tls_context(self._settings.ca_file)
        self._links: set[_Link] = set()
        self._dials: set[picows_link.Dial] = set()
        self._left = asyncio.Event()
        self.is_closed = False

    # ---- HTTP ---------------------------------------------------------------------------------
    async def request(self, base_url: str, request: HttpRequest) -> HttpResponse:
        """One exchange; the deadline covers connecting, sending and reading the whole body."""
        progress = SimpleNamespace(is_sent=False)
        place = f"{request.method} {urlsplit(base_url).netloc}{request.path}"
        try:
            async with asyncio.timeout(request.timeout_ms / 1000.0):
                return await self._exchange(base_url, request, progress)
        except (*_HTTP_ERRORS, *self._socks_errors) as error:
            raise _http_fault(error, place, progress.is_sent) from None

    async def _exchange(
        self, base_url: str, request: HttpRequest, progress: SimpleNamespace
    ) -> HttpResponse:
        query = f"?{request.query}" if request.query else ""
        url = yarl.URL(f"{base_url}{request.path}{query}", encoded=True)
        async with self._http().request(
            request.method,
            url,
            data=request.body or None,
            headers=dict(request.headers),
            allow_redirects=False,
            proxy=self._proxy if self._proxy and not self._is_socks else None,
            trace_request_ctx=progress,
        ) as response:
            if (response.content_length or 0) > self._settings.body_bytes_max:
                raise aiohttp.ClientPayloadError("answer above transport.body_bytes_max")
            body = await response.read()
            headers = {name.lower(): value for name, value in response.headers.items()}
            return HttpResponse(response.status, headers, body)

    def _http(self) -> aiohttp.ClientSession:
        if self.is_closed:
            raise ContractFault("the transport is closed")
        if self._session is None:
            trace = aiohttp.TraceConfig()
            trace.on_request_headers_sent.append(_note_sent)
            self._session = aiohttp.ClientSession(
                connector=self._connector(),
                timeout=aiohttp.ClientTimeout(total=None),
                middlewares=(_send_once,),
                trace_configs=[trace],
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=False,
            )
        return self._session

    def _connector(self) -> aiohttp.BaseConnector:
        limit, keepalive_s = self._settings.connections_max, self._settings.keepalive_s
        if self._is_socks:
            from aiohttp_socks import ProxyConnector

            socks: aiohttp.BaseConnector = ProxyConnector.from_url(
                self._proxy, limit=limit, keepalive_timeout=keepalive_s, ssl=self._tls
            )
            return socks
        return aiohttp.TCPConnector(limit=limit, keepalive_timeout=keepalive_s, ssl=self._tls)

    # ---- WebSocket ------------------------------------------------------------------------------
    async def open_ws(self, url: str, listener: WsListener, timeout_ms: int) -> WsLink:
        """Connect within `timeout_ms`; frames go to `listener` from then on, whole messages only."""
        if self.is_closed:
            raise ContractFault("the transport is closed")
        parts = urlsplit(url)
        place = f"{parts.netloc}{parts.path}"
        watched = _Watched(listener, self._links.add, self._link_ended)
        try:
            async with asyncio.timeout(timeout_ms / 1000.0):
                link = await self._connect(url, watched, timeout_ms / 1000.0)
        except (*_WS_ERRORS, *self._socks_errors) as error:
            watched.mute()
            raise _ws_fault(error, place) from None
        except BaseException:
            watched.mute()
            raise
        watched.keep(link)
        return link

    async def _connect(self, url: str, listener: WsListener, timeout_s: float) -> _Link:
        wish, limit = self._settings.websocket, self._settings.message_bytes_max
        if wish == "picows" and not _HAS_PICOWS:
            raise UserFault("transport.websocket: picows is not installed, allowed: auto, aiohttp")
        if wish != "aiohttp" and _HAS_PICOWS and not self._proxy:
            return await picows_link.connect(
                url, listener, self._tls, limit, timeout_s=timeout_s, keep=self._keep_dial
            )
        proxy = self._proxy if self._proxy and not self._is_socks else None
        socket = await self._http().ws_connect(
            yarl.URL(url, encoded=True),
            proxy=proxy,
            autoping=False,
            autoclose=True,
            max_msg_size=limit,
            compress=0,
        )
        return _AiohttpLink(socket, listener, self._settings.send_queue_max)

    async def close(self) -> None:
        """Close every WebSocket and the HTTP session; sockets are gone when it returns.

        A peer that takes nothing any more is waited for as long as `transport.close_ms` says.
        """
        self.is_closed = True
        for link in tuple(self._links):
            link.close(1000)
        if not await self._emptied():
            for link in tuple(self._links):
                link.abort()
            for dial in tuple(self._dials):
                dial.cancel()
            await self._emptied()
        if self._session is not None:
            await self._session.close()
            self._session = None
        await asyncio.sleep(0)  # what was cut off is closed in the loop's next turn

    def _keep_dial(self, dial: picows_link.Dial) -> None:
        self._dials.add(dial)
        dial.add_done_callback(self._dial_ended)

    def _dial_ended(self, dial: picows_link.Dial) -> None:
        self._dials.discard(dial)
        self._left.set()

    def _link_ended(self, link: _Link) -> None:
        self._links.discard(link)
        self._left.set()

    async def _emptied(self) -> bool:
        """Whether all connections, open and half made, are gone within the time to close."""
        try:
            async with asyncio.timeout(self._settings.close_ms / 1000.0):
                while self._dials or self._links:
                    self._left.clear()
                    await self._left.wait()
        except TimeoutError:
            return False
        return True


class _Link(WsLink, Protocol):
    """A connection that can also be cut."""

    def abort(self) -> None: ...


class _Dropped(Exception):
    """The connection died under a request; aiohttp knows no retry for this."""


_HTTP_ERRORS: Final[tuple[type[Exception], ...]] = (
    _Dropped,
    aiohttp.ClientError,
    OSError,
    TimeoutError,
)
_WS_ERRORS: Final = (*_HTTP_ERRORS, *(picows_link.ERRORS if _HAS_PICOWS else ()))


async def _send_once(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """Client middleware that turns what aiohttp would retry into what it does not know."""
    try:
        return await handler(request)
    except aiohttp.ClientConnectorError:
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise _Dropped(type(error).__name__) from error


async def _note_sent(_session: Any, context: SimpleNamespace, _params: Any) -> None:
    if context.trace_request_ctx is not None:  # a WebSocket handshake keeps no progress
        context.trace_request_ctx.is_sent = True


class _Watched:
    """A listener that leaves the transport's set of links when it closes, and can be muted."""

    def __init__(
        self,
        listener: WsListener,
        arrived: Callable[[_Link], None],
        left: Callable[[_Link], None],
    ) -> None:
        self._listener: WsListener | None = listener
        self.on_frame = listener.on_frame  # no hop of our own a frame
        self.sorter = sorter_of(listener)
        self._arrived, self._left = arrived, left
        self._link: _Link | None = None

    def keep(self, link: _Link) -> None:
        if self._listener is not None:
            self._link = link
            self._arrived(link)

    def mute(self) -> None:
        self._listener = None

    def on_pong(self) -> None:
        if self._listener is not None:
            self._listener.on_pong()

    def on_closed(self, code: int, reason: str) -> None:
        listener, self._listener = self._listener, None
        if self._link is not None:
            self._left(self._link)
        if listener is not None:
            listener.on_closed(code, reason)


class _AiohttpLink:
    """A WebSocket over aiohttp: two tasks, one that reads and one that writes."""

    def __init__(
        self, socket: aiohttp.ClientWebSocketResponse, listener: WsListener, queue_max: int
    ) -> None:
        self._socket = socket
        self._listener = listener
        self._own_code = 0
        self._outbox: asyncio.Queue[tuple[str, bytes, int]] = asyncio.Queue(queue_max)
        self._writer = asyncio.create_task(self._write())
        self._reader = asyncio.create_task(self._read())

    def send(self, payload: bytes) -> None:
        self._put("text", payload)

    def ping(self) -> None:
        self._put("ping", b"")

    def close(self, code: int = 1000) -> None:
        self._put("close", b"", code)

    def abort(self) -> None:
        self._reader.cancel()

    def _put(self, what: str, payload: bytes, code: int = 0) -> None:
        if self._reader.done():
            return
        try:
            self._outbox.put_nowait((what, payload, code))
        except asyncio.QueueFull:
            self._reader.cancel()  # a peer that takes nothing any more: the reader closes

    async def _write(self) -> None:
        try:
            while True:
                what, payload, code = await self._outbox.get()
                if what == "text":
                    await self._socket.send_str(payload.decode())
                elif what == "ping":
                    await self._socket.ping()
                elif what == "pong":
                    await self._socket.pong(payload)
                else:
                    self._own_code = code
                    await self._socket.close(code=code)
                    return
        except (aiohttp.ClientError, OSError):
            self._reader.cancel()

    async def _read(self) -> None:
        code, reason = ABNORMAL_CLOSE, ""
        try:
            async for message in self._socket:
                self._take(message)
            code = self._own_code or self._socket.close_code or ABNORMAL_CLOSE
        except (aiohttp.ClientError, OSError) as error:
            reason = type(error).__name__
        except asyncio.CancelledError:
            reason = "aborted"
        finally:
            self._writer.cancel()
            self._listener.on_closed(code, reason)
        await self._socket.close()

    def _take(self, message: aiohttp.WSMessage) -> None:
        if message.type is aiohttp.WSMsgType.TEXT:
            self._listener.on_frame(message.data.encode())
        elif message.type is aiohttp.WSMsgType.BINARY:
            self._listener.on_frame(message.data)
        elif message.type is aiohttp.WSMsgType.PING:
            self._put("pong", message.data)
        elif message.type is aiohttp.WSMsgType.PONG:
            self._listener.on_pong()


def _http_fault(error: BaseException, place: str, is_sent: bool) -> Exception:
    if isinstance(error, aiohttp.InvalidURL):
        return UserFault(f"{place}: not a URL")
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return Unreachable(f"{place}: the name cannot be resolved (DNS)")
    if isinstance(error, aiohttp.ClientSSLError):
        return Unreachable(f"{place}: TLS failed: {error.os_error}")
    if not is_sent:
        why = "no connection in time" if isinstance(error, TimeoutError) else _words(error)
        return Unreachable(f"{place}: {why}")
    if isinstance(error, TimeoutError):
        return TimedOut(f"{place}: no answer in time")
    return TimedOut(f"{place}: the connection was lost before the answer ({_words(error)})")


def _ws_fault(error: BaseException, place: str) -> Exception:
    if isinstance(error, TimeoutError):
        return TimedOut(f"{place}: no WebSocket handshake in time")
    status = _handshake_status(error)
    if status == GEO_BLOCK_STATUS:
        return Refused(status, f"{place}: {GEO_BLOCK_TEXT}", status)
    if status:
        return Refused(status, f"{place}: handshake answered HTTP {status}", status)
    if isinstance(error, aiohttp.InvalidURL):
        return UserFault(f"{place}: not a URL")
    return Unreachable(f"{place}: {_words(error)}")


def _handshake_status(error: BaseException) -> int:
    if isinstance(error, aiohttp.WSServerHandshakeError):
        return error.status
    response = getattr(error, "response", None)
    return int(response.status) if response is not None else 0


def _words(error: BaseException) -> str:
    """A short cause without URLs: the system's words where there are some, else the kind of error.
    What a proxy on the way did is told as the proxy's doing, not the venue's."""
    kind = type(error).__name__
    if kind in _PROXY_WORDS:
        return _PROXY_WORDS[kind]
    if isinstance(error, aiohttp.ClientProxyConnectionError):
        return f"the proxy cannot be reached ({_words(error.os_error)})"
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return f"the proxy answered HTTP {error.status}"
    if isinstance(error, aiohttp.ClientConnectorError):
        error = error.os_error
    if isinstance(error, ConnectionRefusedError):
        return "connection refused (nothing listens there)"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error.args[0] if isinstance(error, _Dropped) else kind)


_PROXY_WORDS: Final = {
    "ProxyConnectionError": "the proxy cannot be reached",
    "ProxyTimeoutError": "the proxy does not answer",
    "ProxyError": "the proxy refuses",
}
"""Failures of a SOCKS proxy, by the names that `aiohttp_socks` gives them (it may not be there)."""


def _tls_context(ca_file: str) -> ssl.SSLContext:
    if not ca_file:
        return ssl.create_default_context()
    try:
        return ssl.create_default_context(cafile=ca_file)
    except OSError:
        raise UserFault(f"transport.ca_file: found {ca_file!r}, allowed: a PEM file") from None


def _socks_errors(proxy: str) -> tuple[type[Exception], ...]:
    """What a SOCKS proxy's failures are raised as; UserFault where the extra is not installed."""
    if importlib.util.find_spec("aiohttp_socks") is None:
        scheme = proxy.partition("://")[0]
        raise UserFault(
            f"transport.proxy: {scheme} needs the extra 'proxy' (pip install 'cryptosignal[proxy]')"
        )
    from aiohttp_socks import ProxyConnectionError, ProxyError, ProxyTimeoutError

    return (ProxyConnectionError, ProxyError, ProxyTimeoutError)
