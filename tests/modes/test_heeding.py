"""Who was told to wait and asks all the same is noticed, at the program's end of the wire."""

from __future__ import annotations

import asyncio

import pytest

from cryptosignal.domain.ports import HttpRequest, HttpResponse
from cryptosignal.ground.clock import LoopClock
from cryptosignal.ground.loop import VirtualLoop
from cryptosignal.modes.heeding import HeedingTransport

PING = HttpRequest("GET", "/fapi/v1/ping", "", b"", (), 1_000)


class Refusing:
    """A network whose venue has had enough once, for ten seconds."""

    def __init__(self) -> None:
        self.asked = 0

    async def request(self, request: HttpRequest) -> HttpResponse:
        self.asked += 1
        if self.asked > 1:
            return HttpResponse(200, {}, b"{}")
        return HttpResponse(429, {"retry-after": "10"}, b"{}")


@pytest.mark.parametrize(
    ("wait_s", "skew_ms", "cries"),
    [(5.0, 0, 1), (10.0, 0, 0), (5.0, 3_600_000, 0)],
    ids=["too early", "in time", "the host's clock was stepped"],
)
def test_a_request_before_its_time_is_seen(wait_s: float, skew_ms: int, cries: int) -> None:
    """After a 429 nothing may leave before Retry-After; a stepped clock excuses."""
    loop = VirtualLoop()
    heard: list[str] = []
    skew = [0]

    async def ask_twice() -> None:
        clock = LoopClock(loop, 1_700_000_000_000)
        transport = HeedingTransport(Refusing(), clock, lambda: skew[0], heard.append)
        await transport.request("http://venue", PING)
        skew[0] = skew_ms
        await asyncio.sleep(wait_s)
        await transport.request("http://venue", PING)

    try:
        loop.run_until_complete(ask_twice())
    finally:
        loop.close()
    assert len(heard) == cries
    assert all("/fapi/v1/ping" in cry for cry in heard)
