"""A transport that answers from a script: what the REST half asks, and what it makes of answers."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qsl

from cryptosignal.domain.ports import HttpRequest, HttpResponse, WsLink, WsListener
from cryptosignal.ground.faults import Fault

Answer = HttpResponse | Fault | Callable[[HttpRequest], HttpResponse | Awaitable[HttpResponse]]


def reply(body: Any, status: int = 200, **headers: str) -> HttpResponse:
    """A JSON answer; header names with underscores for dashes."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return HttpResponse(status, named, json.dumps(body).encode())


def error(code: int, msg: str = "no", status: int = 400, **headers: str) -> HttpResponse:
    """An error answer."""
    return reply({"code": code, "msg": msg}, status, **headers)


class FakeTransport:
    """Answers by `METHOD /path`: a queue of answers, the last one repeated; records every request."""

    def __init__(self) -> None:
        self.answers: dict[str, deque[Answer]] = {}
        self.requests: list[tuple[str, HttpRequest]] = []
        self.links: list[FakeLink] = []
        self.refusals: deque[Fault] = deque()

    def on(self, name: str, *answers: Answer) -> None:
        self.answers[name] = deque(answers)

    def asked(self, name: str) -> list[dict[str, str]]:
        """The decoded queries of all requests to `METHOD /path`."""
        return [
            dict(parse_qsl(request.query))
            for _url, request in self.requests
            if f"{request.method} {request.path}" == name
        ]

    async def request(self, base_url: str, request: HttpRequest) -> HttpResponse:
        self.requests.append((base_url, request))
        await asyncio.sleep(0)
        queue = self.answers.get(f"{request.method} {request.path}")
        assert queue, f"nobody expects {request.method} {request.path}"
        answer = queue[0] if len(queue) == 1 else queue.popleft()
        if isinstance(answer, Fault):
            raise answer
        if isinstance(answer, HttpResponse):
            return answer
        given = answer(request)
        return given if isinstance(given, HttpResponse) else await given

    async def open_ws(self, url: str, listener: WsListener, timeout_ms: int) -> WsLink:
        await asyncio.sleep(0)
        if self.refusals:
            raise self.refusals.popleft()
        link = FakeLink(url, listener)
        self.links.append(link)
        return link

    async def close(self) -> None:
        return None


class FakeLink:
    """The venue's end of a WebSocket."""

    def __init__(self, url: str, listener: WsListener) -> None:
        self.url = url
        self.listener = listener
        self.sent: list[bytes] = []
        self.pings = 0
        self.answers_pings = True
        self.is_closed = False
        self.opened_s = asyncio.get_running_loop().time()
        self.ended_s = 0.0

    def send(self, payload: bytes) -> None:
        self.sent.append(payload)

    def ping(self) -> None:
        self.pings += 1
        if self.answers_pings and not self.is_closed:
            self.listener.on_pong()

    def close(self, code: int = 1000) -> None:
        self.end(code)

    def push(self, message: Any) -> None:
        """Deliver a message to the client."""
        if not self.is_closed:
            self.listener.on_frame(json.dumps(message).encode())

    def end(self, code: int = 1006) -> None:
        """End the connection, once."""
        if not self.is_closed:
            self.is_closed = True
            self.ended_s = asyncio.get_running_loop().time()
            self.listener.on_closed(code, "")
