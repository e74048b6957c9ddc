"""The accounting of the weight ledger, pure: may this call go now, and if not, when (DESIGN D8).

Weight is counted by the venue in UTC minutes, as seen by *its* clock and at *its* moment of receipt.
A call arrives at most `guard_ms` after it left, and its clock and ours differ by at most `clock_ms`:
every call is charged to each minute that it could fall into. Whatever happens within these bounds, no
venue minute can then hold more than we planned. An answer proves when the call had arrived at the
latest, and takes the charge back where it was one too many. Pools without a stated alignment are
treated as sliding windows, which is stricter than any alignment.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

import msgspec

from cryptosignal.binance.limits import POOL_WINDOW_MS, Cost, Limits, Pool
from cryptosignal.ground.units import MINUTE_MS


class Lane(IntEnum):
    """Who asks, in order of right of way."""

    ORDERS = 0
    RECONCILE = 1
    REPAIR = 2
    WARM_UP = 3
    RESEARCH = 4


class Shares(msgspec.Struct, frozen=True):
    """How much of a limit each lane may fill, as fractions; `flat_warm_up` when nothing is at risk."""

    orders: float = 0.98
    reconcile: float = 0.80
    repair: float = 0.72
    warm_up: float = 0.72
    research: float = 0.50
    flat_warm_up: float = 0.96

    def of(self, lane: Lane, is_flat: bool) -> float:
        """The share of `lane`; warm-up gets more while flat and without open orders."""
        if lane is Lane.WARM_UP and is_flat:
            return self.flat_warm_up
        share: float = getattr(self, lane.name.lower())
        return share


RISK_MS: Final = 150_000
"""How long a process that has something open is believed to have it: it reads its account every
minute then (DESIGN §5.19), and every call renews this."""

SLICES: Final = 20
"""Sliding windows are summed in twentieths of their length, plus the running one."""


class State(msgspec.Struct):
    """What has been spent: encodable, so that processes can share it through a file.

    `minutes` charges weight by UTC minute number; `foreign` is what the venue's header counted beyond
    ours in that minute (another program behind the same address); `slices` holds the sliding pools;
    no call leaves before `banned_until_ms`; until `risk_until_ms` some process has a position or an
    order open, so that nobody's warm-up takes more than the usual share.
    """

    minutes: dict[int, int] = {}  # msgspec copies an empty default
    foreign: dict[int, int] = {}
    slices: dict[str, dict[int, int]] = {}
    banned_until_ms: int = 0
    risk_until_ms: int = 0


class Budget:
    """Decides over one venue host's pools. Times are exchange ms."""

    def __init__(
        self,
        limits: Limits,
        shares: Shares | None = None,
        guard_ms: int = 1500,
        clock_ms: int | None = None,
    ) -> None:
        self.limits = limits
        self.shares = shares or Shares()
        self.guard_ms = guard_ms
        self.clock_ms = guard_ms if clock_ms is None else clock_ms
        self.state = State()
        self.is_flat = False
        """True while we have no position and no order open: warm-up may then use `flat_warm_up`."""
        self.is_at_risk = False
        """True while we have any: every call of ours then tells the other processes so."""

    def spend(self, now_ms: int, lane: Lane, cost: Cost) -> int:
        """Charge `cost` and return 0, or charge nothing and return when to ask again (exchange ms)."""
        if self.is_at_risk:
            self.state.risk_until_ms = max(self.state.risk_until_ms, now_ms + RISK_MS)
        when_ms = self.when(now_ms, lane, cost)
        if when_ms > now_ms:
            return when_ms
        self._charge(now_ms, cost)
        return 0

    def when(self, now_ms: int, lane: Lane, cost: Cost) -> int:
        """The earliest time at which `cost` may be spent as things stand; `now_ms` if at once."""
        when_ms = max(now_ms, self.state.banned_until_ms)
        is_flat = self.is_flat and self.state.risk_until_ms <= now_ms
        share = self.shares.of(lane, is_flat)
        for pool, amount in cost.parts():
            ceiling = self.ceiling(pool, share)
            if amount > ceiling:
                raise ValueError(f"a call of {amount} can never fit {pool.value} ({ceiling})")
            fits_ms = (
                self._weight_fits(now_ms, amount, ceiling)
                if pool is Pool.WEIGHT
                else self._sliding_fits(now_ms, pool, amount, ceiling)
            )
            when_ms = max(when_ms, fits_ms)
        return when_ms

    def ceiling(self, pool: Pool, share: float) -> int:
        """What a lane with `share` may fill of a pool's limit."""
        return int(self.limits.of(pool) * share)

    def observe_weight(self, now_ms: int, sent_ms: int, used: int) -> None:
        """Take the venue's own count from a reply: what exceeds ours was spent by somebody else.

        A reply that crossed a minute is not used: its count belongs to one minute or the other.
        """
        minute = now_ms // MINUTE_MS
        if sent_ms // MINUTE_MS != minute:
            return
        beyond = used - self.state.minutes.get(minute, 0)
        if beyond > self.state.foreign.get(minute, 0):
            self.state.foreign[minute] = beyond

    def minutes(self, now_ms: int) -> range:
        """The minutes in which the venue may count a call that leaves now: what it is charged to."""
        first = (now_ms - self.clock_ms) // MINUTE_MS
        return range(first, (now_ms + max(self.guard_ms, self.clock_ms)) // MINUTE_MS + 1)

    def prove(self, now_ms: int, charged: range, weight: int) -> bool:
        """An answer came now to a call that was charged to `charged`: it had arrived by then, so it
        counts in no later minute. True if a charge was taken back."""
        last = (now_ms + self.clock_ms) // MINUTE_MS
        beyond = [minute for minute in charged if minute > last]
        for minute in beyond:
            if minute in self.state.minutes:
                self.state.minutes[minute] -= weight
        return bool(beyond and weight)

    def ban(self, until_ms: int) -> None:
        """Nothing leaves before `until_ms` (429, 418)."""
        self.state.banned_until_ms = max(self.state.banned_until_ms, until_ms)

    def used(self, now_ms: int, pool: Pool) -> int:
        """What counts against the limit now, other programs included."""
        if pool is Pool.WEIGHT:
            return self._minute(now_ms // MINUTE_MS)
        first = self._slice(now_ms, pool) - SLICES
        return sum(n for slot, n in self._slices(pool).items() if slot >= first)

    # ---- weight by UTC minute -------------------------------------------------------------------
    def _minute(self, minute: int) -> int:
        return self.state.minutes.get(minute, 0) + self.state.foreign.get(minute, 0)

    def _weight_fits(self, now_ms: int, amount: int, ceiling: int) -> int:
        full = [m for m in self.minutes(now_ms) if self._minute(m) + amount > ceiling]
        if not full:
            return now_ms
        after_ms = (full[-1] + 1) * MINUTE_MS + self.clock_ms
        return max(after_ms, now_ms + 1)

    # ---- sliding pools --------------------------------------------------------------------------
    def _slice(self, now_ms: int, pool: Pool) -> int:
        return now_ms * SLICES // POOL_WINDOW_MS[pool]

    def _slices(self, pool: Pool) -> dict[int, int]:
        return self.state.slices.setdefault(pool.value, {})

    def _sliding_fits(self, now_ms: int, pool: Pool, amount: int, ceiling: int) -> int:
        over = self.used(now_ms, pool) + amount - ceiling
        if over <= 0:
            return now_ms
        first = self._slice(now_ms, pool) - SLICES
        for slot in sorted(s for s in self._slices(pool) if s >= first):
            over -= self._slices(pool)[slot]
            if over <= 0:
                free_slot = slot + SLICES + 1
                return -(-free_slot * POOL_WINDOW_MS[pool] // SLICES)
        return now_ms + POOL_WINDOW_MS[pool]

    def _charge(self, now_ms: int, cost: Cost) -> None:
        for pool, amount in cost.parts():
            if pool is Pool.WEIGHT:
                for minute in self.minutes(now_ms):
                    self.state.minutes[minute] = self.state.minutes.get(minute, 0) + amount
                self._forget_minutes(now_ms // MINUTE_MS - 2)
            else:
                slices, slot = self._slices(pool), self._slice(now_ms, pool)
                slices[slot] = slices.get(slot, 0) + amount
                for old in [s for s in slices if s < slot - SLICES]:
                    del slices[old]

    def _forget_minutes(self, before: int) -> None:
        for table in (self.state.minutes, self.state.foreign):
            for minute in [m for m in table if m < before]:
                del table[minute]
