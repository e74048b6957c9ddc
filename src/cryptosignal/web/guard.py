"""Who may talk to the page, and what a browser may do with it (RELIABILITY §4).

The page answers GET and HEAD from loopback names only, and POST to the desk's own paths with this
page's Origin: the Host check stops DNS rebinding, the Origin check stops other sites' scripts, also on
the WebSocket. Every HTML answer carries a content
security policy with a nonce of its own. NiceGUI compiles templates in the browser, which needs
'unsafe-eval', and sets styles on elements, which needs 'unsafe-inline' for styles alone.
"""

from __future__ import annotations

import re
import secrets
from typing import Any, Final
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cryptosignal.web.settings import LOOPBACK

METHODS: Final = ("GET", "HEAD")
POST_PATHS: Final = ("/desk/login", "/desk/logout", "/desk/command")
"""The only places where something may be changed (`web.desk`)."""
_DESK: Final = "/desk"
HTML_BYTES_MAX: Final = 8 * 1024 * 1024

_FORWARDED = re.compile(rb"x-forwarded-.*|forwarded")
_HEADERS: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
)


def policy(nonce: str, *, forms: bool = False) -> str:
    """The content security policy of one answer whose own scripts carry `nonce`; `forms` may be sent
    back to this page."""
    return "; ".join(
        [
            "default-src 'none'",
            f"script-src 'self' 'nonce-{nonce}' 'unsafe-eval'",
            "style-src 'self' 'unsafe-inline'",
            "img-src 'self' data:",
            "font-src 'self' data:",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'self'" if forms else "form-action 'none'",
            "frame-ancestors 'none'",
        ]
    )


def refusal(scope: Scope) -> str | None:
    """Why this request is not served, None if it is."""
    headers = dict(scope["headers"])
    host = headers.get(b"host", b"").decode("latin-1")
    if _name_of(host) not in LOOPBACK:
        return f"Host: found {host!r}, allowed: {', '.join(LOOPBACK)}"
    origin = headers.get(b"origin")
    if origin is not None and origin.decode("latin-1") != f"http://{host}":
        return f"Origin: found {origin.decode('latin-1')!r}, allowed: http://{host}"
    if headers.get(b"sec-fetch-site") == b"cross-site" and scope["type"] == "websocket":
        return "Sec-Fetch-Site: found 'cross-site', allowed: same-origin"
    if scope["type"] == "http" and scope["method"] not in METHODS:
        return _post_refusal(scope, headers)
    return None


def _post_refusal(scope: Scope, headers: dict[bytes, bytes]) -> str | None:
    """Only the desk takes a POST, only from its own page, only as a plain form."""
    if scope["method"] != "POST" or scope["path"] not in POST_PATHS:
        return f"method: found {scope['method']}, allowed: {', '.join(METHODS)}"
    if b"origin" not in headers:
        return "Origin: found none, allowed: this page's own"
    if headers.get(b"sec-fetch-site", b"same-origin") != b"same-origin":
        return f"Sec-Fetch-Site: found {headers[b'sec-fetch-site']!r}, allowed: same-origin"
    kind = headers.get(b"content-type", b"").partition(b";")[0].strip()
    if kind != b"application/x-www-form-urlencoded":
        return "Content-Type: found another, allowed: application/x-www-form-urlencoded"
    return None


def _name_of(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


class Guard:
    """ASGI middleware that refuses strangers and writes the security headers."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve, refuse with 403 and one line, or pass lifespan messages through."""
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        reason = refusal(scope)
        if reason is not None:
            await _refuse(scope["type"], reason, send)
            return
        kept = [pair for pair in scope["headers"] if not _FORWARDED.fullmatch(pair[0])]
        if scope["type"] == "websocket":
            await self._app({**scope, "headers": kept}, receive, send)
            return
        is_desk = scope["path"] == _DESK or scope["path"].startswith(f"{_DESK}/")
        await self._app({**scope, "headers": kept}, receive, _Sealed(send, is_desk=is_desk))


async def _refuse(kind: str, reason: str, send: Send) -> None:
    if kind == "websocket":
        await send({"type": "websocket.close", "code": 1008, "reason": reason[:120]})
        return
    headers = [(b"content-type", b"text/plain; charset=utf-8"), *_HEADERS]
    await send({"type": "http.response.start", "status": 403, "headers": headers})
    await send({"type": "http.response.body", "body": f"refused: {reason}\n".encode()})


class _Sealed:
    """One answer on its way out: headers added, and the nonce written into each script tag.

    The program's values cannot smuggle a tag in: NiceGUI escapes `<` in everything but its own
    template and the assets of this package.
    """

    def __init__(self, send: Send, *, is_desk: bool = False) -> None:
        self._send = send
        self._is_desk = is_desk
        self._nonce = secrets.token_urlsafe(16)  # ambient-ok: a nonce must not be guessable
        self._start: Message | None = None
        self._html = b""

    async def __call__(self, message: Message) -> None:
        """Take one message of the answer; HTML is held back until it is whole."""
        if message["type"] == "http.response.start":
            await self._open(message)
        elif self._start is not None:
            await self._collect(message)
        else:
            await self._send(message)

    async def _open(self, message: Message) -> None:
        csp = (b"content-security-policy", policy(self._nonce, forms=self._is_desk).encode())
        # a form's Origin is `null` under no-referrer, and the desk's forms must show where they are from
        referrer = (b"referrer-policy", b"same-origin" if self._is_desk else b"no-referrer")
        headers: list[tuple[bytes, bytes]] = [*message["headers"], *_HEADERS, referrer, csp]
        message = {**message, "headers": headers}
        if dict(headers).get(b"content-type", b"").startswith(b"text/html"):
            self._start = message
        else:
            await self._send(message)

    async def _collect(self, message: dict[str, Any] | Message) -> None:
        self._html += message.get("body", b"")
        if message.get("more_body", False) and len(self._html) < HTML_BYTES_MAX:
            return
        start, self._start = self._start, None
        assert start is not None
        body = self._html.replace(b"<script", f'<script nonce="{self._nonce}"'.encode())
        others = [pair for pair in start["headers"] if pair[0] != b"content-length"]
        length = (b"content-length", str(len(body)).encode())
        await self._send({**start, "headers": [*others, length]})
        await self._send({"type": "http.response.body", "body": body})
