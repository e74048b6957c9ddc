"""The venue's books over its own REST, read with the venue's key by somebody who is not the program.

Signs by itself and comes from another address, so that it neither shares the program's code nor its
weight. Every question is asked again until it is answered: the weather is meant for the program.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import time
from collections import defaultdict
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

import aiohttp

from cryptosignal.domain.order import Leg, parse_client_id
from cryptosignal.modes.embedded import VenueReady

OWN_ADDRESS = "127.0.0.2"
TRIES_MAX = 60
PAUSE_S = 0.5
ROWS_MAX = 1000


class Books:
    """Questions to the venue about its account."""

    def __init__(self, ready: VenueReady) -> None:
        self._ready = ready
        self._http = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(local_addr=(OWN_ADDRESS, 0)),
            timeout=aiohttp.ClientTimeout(total=5.0),
        )

    async def close(self) -> None:
        """End the connections."""
        await self._http.close()

    def _now_ms(self) -> int:
        """Venue time: the epoch that it announced, at its speed of 1."""
        return self._ready.start_time_ms + (time.monotonic_ns() - self._ready.epoch_mono_ns) // (
            1_000_000
        )

    async def ask(self, path: str, **parameters: str | int) -> Any:
        """The answer to one signed GET. Raises AssertionError if none comes in `TRIES_MAX` tries."""
        last = ""
        for _ in range(TRIES_MAX):
            query = urlencode({**parameters, "timestamp": self._now_ms(), "recvWindow": 5000})
            key = self._ready.api_secret.encode()
            signature = hmac.new(key, query.encode(), hashlib.sha256).hexdigest()
            url = f"{self._ready.rest}{path}?{query}&signature={signature}"
            try:
                async with self._http.get(
                    url, headers={"X-MBX-APIKEY": self._ready.api_key}
                ) as reply:
                    body = await reply.read()
                if reply.status == 200:
                    return json.loads(body)
                last = f"{reply.status} {body[:200]!r}"
            except (aiohttp.ClientError, TimeoutError, ValueError) as error:
                last = repr(error)
            await asyncio.sleep(PAUSE_S)
        raise AssertionError(f"the venue does not answer {path}: {last}")

    async def post_key(self, path: str) -> Any:
        """The answer to one POST that needs the key alone; None if none came."""
        headers = {"X-MBX-APIKEY": self._ready.api_key}
        try:
            async with self._http.post(f"{self._ready.rest}{path}", headers=headers) as reply:
                return json.loads(await reply.read()) if reply.status == 200 else None
        except (aiohttp.ClientError, TimeoutError, ValueError):
            return None

    async def positions(self) -> dict[str, Decimal]:
        """Open positions, signed."""
        rows = await self.ask("/fapi/v3/positionRisk")
        held: dict[str, Decimal] = defaultdict(Decimal)
        for row in rows:
            held[row["symbol"]] += Decimal(row["positionAmt"])
        return {symbol: quantity for symbol, quantity in held.items() if quantity}

    async def own_orders(self) -> list[tuple[str, str]]:
        """(symbol, client id) of the program's orders and algo orders that rest."""
        orders = await self.ask("/fapi/v1/openOrders")
        algos = await self.ask("/fapi/v1/openAlgoOrders")
        rested = [(row["symbol"], row["clientOrderId"]) for row in orders]
        rested += [(row["symbol"], row["clientAlgoId"]) for row in algos]
        return [(symbol, name) for symbol, name in rested if parse_client_id(name) is not None]

    async def entries(self, symbols: list[str]) -> dict[str, set[str]]:
        """Client ids of executed entries, by the signal they belong to."""
        found: dict[str, set[str]] = defaultdict(set)
        for symbol in symbols:
            after = 0
            while True:
                rows = await self.ask(
                    "/fapi/v1/allOrders", symbol=symbol, orderId=after, limit=ROWS_MAX
                )
                for row in rows:
                    own = parse_client_id(row["clientOrderId"])
                    is_entry = own is not None and own.leg is Leg.ENTRY
                    if own is not None and is_entry and Decimal(row["executedQty"]):
                        found[own.signal_key].add(row["clientOrderId"])
                if len(rows) < ROWS_MAX:
                    break
                after = rows[-1]["orderId"] + 1
        return found


def differences(
    here: dict[str, Decimal], venue: dict[str, Decimal], resting: list[tuple[str, str]]
) -> list[str]:
    """What differs between the program's positions and the venue's, and orders on flat symbols."""
    found = [
        f"position {symbol}: here {here.get(symbol, Decimal(0))}, venue {venue.get(symbol, Decimal(0))}"
        for symbol in sorted({*here, *venue})
        if here.get(symbol, Decimal(0)) != venue.get(symbol, Decimal(0))
    ]
    return found + [
        f"orphan {name} on flat {symbol}" for symbol, name in resting if symbol not in venue
    ]


def doubles(entries: dict[str, set[str]]) -> list[str]:
    """Signals that were entered more than once."""
    return [
        f"double entry for {signal}: {', '.join(sorted(ids))}"
        for signal, ids in sorted(entries.items())
        if len(ids) > 1
    ]
