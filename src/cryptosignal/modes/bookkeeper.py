"""What the account was booked, read back from the venue: funding and what else the stream may miss.

The account's stream is silent while we are not there, so every hour, a little past the settlement, the
venue's own list of bookings is read from where it was last read, and each new row becomes a fact of
the money journal. Nothing is decided on it; accounting counts it (`reports.ledger`).
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Final

import msgspec

from cryptosignal.domain.events import FactRecorded
from cryptosignal.ground.faults import EdgeFault, VenueFault
from cryptosignal.ground.units import DAY_MS, HOUR_MS, MINUTE_MS
from cryptosignal.reports.ledger import INCOME_BOOKED, Booking

if TYPE_CHECKING:
    from cryptosignal.modes.program import Program

AFTER_HOUR_MS: Final = 2 * MINUTE_MS
OVERLAP_MS: Final = 10 * MINUTE_MS
FIRST_SPAN_MS: Final = 7 * DAY_MS
"""How far back the first read of an account goes."""
FIRST_WAIT_S: Final = 60.0
"""The start has better things to ask for."""
TOLD_ELSEWHERE: Final = ("COMMISSION", "REALIZED_PNL")
"""Kinds that every fill tells by itself."""
KNOWN_MAX: Final = 20_000


class Bookkeeper:
    """Knows which bookings the journal has, and fetches the others."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, None] = OrderedDict()
        self._read_ms = 0
        self.booked = 0

    def take(self, event: Any) -> None:
        """A fact of a former run, or of this one."""
        if isinstance(event, FactRecorded) and event.kind == INCOME_BOOKED:
            self._known[event.key] = None
            self._read_ms = max(
                self._read_ms, msgspec.json.decode(event.body, type=Booking).time_ms
            )
            while len(self._known) > KNOWN_MAX:
                self._known.popitem(last=False)

    async def run(self, program: Program) -> None:
        """Read soon after the start and after each hour, until cancelled; a failure waits for the next."""
        await asyncio.sleep(FIRST_WAIT_S)
        while True:
            try:
                await self.read(program)
            except (EdgeFault, VenueFault) as fault:
                program.note("income.was_not_read", {"reason": str(fault)})
            now_ms = program.clock.now_ms()
            due_ms = (now_ms - AFTER_HOUR_MS) // HOUR_MS * HOUR_MS + HOUR_MS + AFTER_HOUR_MS
            await asyncio.sleep((due_ms - now_ms) / 1000)

    async def read(self, program: Program) -> None:
        """Book what is new."""
        now_ms = program.clock.now_ms()
        from_ms = self._read_ms - OVERLAP_MS if self._read_ms else now_ms - FIRST_SPAN_MS
        for row in await program.client.income(from_ms, now_ms):
            booking = Booking(row.kind, row.symbol, row.amount, row.asset, row.time_ms, row.tran_id)
            key = f"{row.kind}-{row.tran_id}-{row.symbol}"
            if key not in self._known and row.kind not in TOLD_ELSEWHERE:
                fact = FactRecorded(INCOME_BOOKED, key, msgspec.json.encode(booking).decode())
                program.rim.post(fact)
                self.take(fact)
                self.booked += 1
        self._read_ms = max(self._read_ms, now_ms)
