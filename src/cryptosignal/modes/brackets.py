"""The account's leverage brackets, put onto the contracts: sizes and leverage respect them.

Read at the start and with each refresh of the list. What was read last stands: without brackets the
venue itself refuses a leverage that it does not give, and the entry is not sent.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from cryptosignal.domain.instrument import Instrument, LeverageBracket
from cryptosignal.ground.faults import Fault
from cryptosignal.net.client import VenueClient


class Brackets:
    """Brackets by symbol; none without an account."""

    def __init__(
        self,
        client: VenueClient,
        on_note: Callable[[str, dict[str, str | int | float]], None],
        *,
        has_account: bool,
    ) -> None:
        self._client = client
        self._on_note = on_note
        self._has_account = has_account
        self._known: dict[str, tuple[LeverageBracket, ...]] = {}

    async def read(self) -> None:
        """Read them anew; where that fails it is said."""
        if not self._has_account:
            return
        try:
            self._known = await self._client.leverage_brackets()
        except Fault as fault:
            self._on_note("brackets.were_not_read", {"reason": str(fault)})

    def onto(self, item: Instrument) -> Instrument:
        """The contract with its brackets."""
        found = self._known.get(item.symbol, ())
        return msgspec.structs.replace(item, brackets=found) if found else item
