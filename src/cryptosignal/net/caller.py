"""One request to the venue: ask the ledger, sign, send once, learn from the answer.

Also the venue's time, because a signature is worth nothing without it. Nothing is retried here
(RELIABILITY §3.3); every failure is raised as what it proves.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Callable
from typing import Final, Protocol

from cryptosignal.binance import encode
from cryptosignal.binance.budget import Lane
from cryptosignal.binance.codes import (
    GEO_BLOCK_STATUS,
    GEO_BLOCK_TEXT,
    Disposition,
    disposition,
)
from cryptosignal.binance.decode import rest
from cryptosignal.binance.encode import Call, Security
from cryptosignal.binance.signing import Signer, encode_params, signed_query
from cryptosignal.domain.ports import HttpRequest, HttpResponse, Transport
from cryptosignal.ground.clock import Clock
from cryptosignal.ground.faults import (
    ContractFault,
    EdgeFault,
    Fault,
    RateLimited,
    Refused,
    Unreachable,
    VenueFault,
)
from cryptosignal.net.ledger import WeightLedger
from cryptosignal.net.settings import ClientSettings

_RESYNC_TIMEOUTS_MS: Final = (1_000, 1_000, 4_000)
"""Patience with a question for the time while calls wait for the answer."""
_BANNED_UNTIL: Final = re.compile(r"banned until (\d{13})")


UNASKED: Final = "poll"
"""What an account read counts as that no snapshot asked for."""


class MovableClock(Clock, Protocol):
    """A clock whose offset to the venue can be corrected."""

    offset_ms: int


class HeldBack(Unreachable):
    """Our own ledger held the request back: nothing left this host."""


def meaning_of(fault: Refused) -> Disposition:
    """What a refusal proves, by the table of codes."""
    return disposition(fault.status, fault.code, fault.message)


class Caller:
    """Sends calls to one venue. `signer` is needed for everything about an account."""

    def __init__(
        self,
        transport: Transport,
        rest_url: str,
        ledger: WeightLedger,
        clock: MovableClock,
        signer: Signer | None = None,
        recv_window_ms: int | None = None,
        timeout_ms: int | None = None,
        *,
        settings: ClientSettings | None = None,
        spot_url: str = "",
        sapi_url: str = "",
        spot_ledger: WeightLedger | None = None,
    ) -> None:
        self._transport = transport
        self._rest_url = rest_url
        self._spot_url = spot_url
        self._sapi_url = sapi_url
        self._ledger = ledger
        self._spot_ledger = spot_ledger
        self._clock = clock
        self._signer = signer
        self._settings = settings or ClientSettings()
        self.recv_window_ms = recv_window_ms or self._settings.recv_window_ms
        self.timeout_ms = timeout_ms or self._settings.timeout_ms
        if self.timeout_ms <= self.recv_window_ms:
            raise ContractFault("the client timeout must exceed recvWindow (RELIABILITY §3.2)")
        self.api_calls: Counter[str] = Counter()
        """Requests sent, by lane name."""
        self.account_reads: Counter[str] = Counter()
        """Requests that read the account, by the purpose of their snapshot; UNASKED without one. They are
        contained in `api_calls` too."""
        self.clock_resyncs = 0
        """How often an answer said that our timestamp was outside the venue's window."""
        self.sync_failures = 0
        """How often a regular measurement of the time failed."""
        self._resyncs_tried = 0
        self._time_lock = asyncio.Lock()
        self.clock_error_ms = 0
        """Half the round trip of the last time measurement: how wrong the offset can be."""

    @property
    def order_wait_ms_max(self) -> int:
        """The longest that the ledger may hold a request of the orders lane back."""
        return self._settings.order_wait_ms_max

    # ---- the venue's time -----------------------------------------------------------------------
    async def server_time(self, lane: Lane = Lane.RECONCILE) -> int:
        """The venue's time in ms."""
        return rest.server_time(await self._get(encode.TIME, lane))

    async def _time_of(self, lane: Lane, timeout_ms: int | None) -> int:
        if timeout_ms is None:
            return await self.server_time(lane)
        return rest.server_time(await self._exchange(encode.TIME, lane, timeout_ms, timeout_ms))

    async def sync_time(self, lane: Lane = Lane.RECONCILE, samples: int | None = None) -> int:
        """Measure the clock's offset anew and apply it; returns the correction in ms.

        Of a few samples the one with the shortest round trip counts. A difference that the round trip
        itself can explain is left alone, so that the time does not tremble.
        """
        async with self._time_lock:
            return await self._measure(lane, samples)

    async def keep_time(self, every_ms: int | None = None) -> None:
        """Measure the offset again and again until cancelled: measured once, it is wrong hours later."""
        pause_s = (every_ms or self._settings.sync_ms) / 1000.0
        while True:
            await asyncio.sleep(pause_s)
            try:
                await self.sync_time()
            except (EdgeFault, VenueFault):
                self.sync_failures += 1

    async def _measure(
        self, lane: Lane, samples: int | None = None, timeout_ms: int | None = None
    ) -> int:
        """As `sync_time`; `timeout_ms` is the patience with one question."""
        best_trip_ms, best_delta_ms = 1 << 60, 0
        for _ in range(samples or self._settings.time_samples):
            before_ms = self._clock.now_ms()
            server_ms = await self._time_of(lane, timeout_ms)
            after_ms = self._clock.now_ms()
            if after_ms - before_ms < best_trip_ms:
                best_trip_ms = after_ms - before_ms
                best_delta_ms = server_ms - (before_ms + after_ms) // 2
        self.clock_error_ms = (best_trip_ms + 1) // 2
        if abs(best_delta_ms) <= self.clock_error_ms:
            self._ledger.trust_clock(self.clock_error_ms + abs(best_delta_ms))
            return 0
        self._ledger.trust_clock(self.clock_error_ms)
        self._clock.offset_ms += best_delta_ms
        return best_delta_ms

    # ---- one request ----------------------------------------------------------------------------
    async def _get(
        self, call: Call, lane: Lane, base_url: str = "", purpose: str = UNASKED
    ) -> bytes:
        wait_ms = self._settings.reconcile_wait_ms_max if lane <= Lane.RECONCILE else None
        timeout_ms = (
            self.timeout_ms if call.security is Security.SIGNED else self._settings.data_timeout_ms
        )
        return await self._exchange(
            call, lane, wait_ms, timeout_ms, base_url=base_url, purpose=purpose
        )

    async def _order_call(self, call: Call, note: Callable[[int], None] | None = None) -> bytes:
        """A call of the orders lane: it waits a second at most, then it is not sent at all."""
        wait_ms = self._settings.order_wait_ms_max
        return await self._exchange(call, Lane.ORDERS, wait_ms, self.timeout_ms, note)

    async def _exchange(
        self,
        call: Call,
        lane: Lane,
        wait_ms: int | None,
        timeout_ms: int,
        note: Callable[[int], None] | None = None,
        base_url: str = "",
        purpose: str = UNASKED,
    ) -> bytes:
        """Ask the ledger, sign at the last moment, send once, tell the ledger, raise what it proved."""
        url = base_url or self._rest_url
        ledger = self._ledger_of(url)
        try:
            charged = await ledger.acquire(lane, call.cost, wait_ms)
        except RateLimited as held:
            raise HeldBack(f"{call.method} {call.path}: {held}") from None
        timestamp_ms = self._clock.now_ms()
        request = self._request(call, timestamp_ms, timeout_ms)
        if note is not None:
            note(timestamp_ms)
        self.api_calls[lane.name] += 1
        if call.path in encode.ACCOUNT_PATHS:
            self.account_reads[purpose] += 1
        tried = self._resyncs_tried
        response = await self._transport.request(url, request)
        ledger.observe(response.headers, timestamp_ms, charged, call.cost)
        if response.status < 300:
            return response.body
        fault = self._fault_of(response, ledger, call)
        if isinstance(fault, Refused) and meaning_of(fault) is Disposition.CLOCK:
            await self._resync(tried)
        raise fault

    def _request(self, call: Call, timestamp_ms: int, timeout_ms: int) -> HttpRequest:
        if call.security is Security.NONE:
            return HttpRequest(
                call.method, call.path, encode_params(call.params), timeout_ms=timeout_ms
            )
        if self._signer is None:
            raise ContractFault(f"{call.method} {call.path} needs an API key")
        headers = (("X-MBX-APIKEY", self._signer.api_key.reveal()),)
        if call.security is Security.KEY:
            query = encode_params(call.params)
        else:
            query = signed_query(call.params, self._signer, timestamp_ms, self.recv_window_ms)
        return HttpRequest(call.method, call.path, query, b"", headers, timeout_ms)

    def _fault_of(self, response: HttpResponse, ledger: WeightLedger, call: Call) -> Fault:
        code, message = rest.error_body(response.body)
        if response.status == GEO_BLOCK_STATUS:
            return Refused(code or -GEO_BLOCK_STATUS, GEO_BLOCK_TEXT, response.status)
        meaning = disposition(response.status, code, message)
        if meaning is Disposition.RATE_LIMITED and response.status in (418, 429):
            until_ms = self._retry_ms(response, message)
            fault = RateLimited(response.status, until_ms, f"{call.method} {call.path}: {message}")
            ledger.punish(fault)
            return fault
        return Refused(code, f"{call.method} {call.path}: {message}", response.status)

    def _retry_ms(self, response: HttpResponse, message: str) -> int:
        """When we may call again: the ban's own ms, else Retry-After, else a minute (BINANCE §3)."""
        banned = _BANNED_UNTIL.search(message)
        if banned:
            return int(banned.group(1))
        now_ms = self._clock.now_ms()
        seconds = response.headers.get("retry-after", "")
        if seconds.isdigit():
            return now_ms + int(seconds) * 1000
        return now_ms + self._ledger.ban_default_ms

    def _ledger_of(self, url: str) -> WeightLedger:
        if url == self._rest_url or self._spot_ledger is None:
            return self._ledger
        return self._spot_ledger

    async def _resync(self, tried: int) -> None:
        """Our clock was proved wrong: measure it again, once for all calls that were refused together.

        They wait for it, exits too, so one quick answer is enough and nobody waits for a slow one;
        the regular measurement refines it. A failure leaves the next call to try.
        """
        self.clock_resyncs += 1
        async with self._time_lock:
            if self._resyncs_tried != tried:
                return
            try:
                await self._measure_quickly()
            finally:
                self._resyncs_tried += 1  # at the end: what was stamped meanwhile is stale too

    async def _measure_quickly(self) -> None:
        for timeout_ms in _RESYNC_TIMEOUTS_MS:
            try:
                await self._measure(Lane.ORDERS, 1, timeout_ms)
            except (EdgeFault, VenueFault):
                continue
            return
        self.clock_error_ms = self.recv_window_ms
        self._ledger.trust_clock(self.clock_error_ms)
