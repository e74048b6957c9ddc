"""Whether a simulated program obeys a rate limit that it was told of (DESIGN §5.11).

The venue alone cannot judge that: it counts requests of all that use an address, and does not know
which refusal has reached whom. So this listens at the program's end of the wire.
"""

from __future__ import annotations

from collections.abc import Callable

from cryptosignal.domain.ports import HttpRequest, HttpResponse
from cryptosignal.ground.clock import LoopClock
from cryptosignal.modes.virtual_net import MemoryTransport, VirtualNetwork

SLACK_MS = 1_000
"""Retry-After is in whole seconds, and the program's clock is a measured one."""


class HeedingTransport(MemoryTransport):
    """The transport of one process; cries for a request that leaves before the Retry-After it was told.

    `skew_ms` is how far the host's clock is off: what was told before a step means nothing after it.
    """

    def __init__(
        self,
        network: VirtualNetwork,
        clock: LoopClock,
        skew_ms: Callable[[], int],
        cry: Callable[[str], None],
    ) -> None:
        super().__init__(network)
        self._clock = clock
        self._skew_ms = skew_ms
        self._cry = cry
        self._until_ms = 0
        self._told_skew_ms = 0

    async def request(self, base_url: str, request: HttpRequest) -> HttpResponse:
        """See `domain.ports.Transport`."""
        now_ms = self._clock.now_ms()
        is_same_clock = self._skew_ms() == self._told_skew_ms
        if now_ms < self._until_ms - SLACK_MS and is_same_clock:
            self._cry(f"{request.method} {request.path} {self._until_ms - now_ms} ms too early")
        response = await super().request(base_url, request)
        seconds = response.headers.get("retry-after", "")
        if response.status in (418, 429) and seconds.isdigit():
            until_ms = self._clock.now_ms() + int(seconds) * 1_000
            self._until_ms = max(self._until_ms, until_ms)
            self._told_skew_ms = self._skew_ms()
        return response
