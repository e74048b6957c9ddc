"""Derived facts of a symbol at a time: mark, index, funding, open interest, crowd ratios.

Functions of the last trade and of slow noise; nothing is stored.
"""

from __future__ import annotations

from decimal import Decimal

import msgspec
import numpy as np

from cryptosignal.ground.units import HOUR_MS, MINUTE_MS, SECOND_MS
from cryptosignal.sim.flow import Flow
from cryptosignal.sim.listing import Listed
from cryptosignal.sim.noise import F64, I64, key_of, smooth, smooth_one

CENT8 = Decimal("0.00000001")
INDEX_STEP_MS = 5_000
INDEX_STEPS = 4
"""The index is the mean of so many spot prices, so far apart: a jump reaches it within 15 s."""
SPOT_VOLUME_FRAC = 0.6
"""Spot volume as a share of the contract's."""
INTEREST_RATE = 0.0001
FUNDING_CAP_FRAC = 0.003
_RATES_MAX = 4_096
FUNDING_CAP_FRAC_SHORT = 0.02
"""Cap of symbols that settle more often than every 8 h."""


class Mark(msgspec.Struct, frozen=True, gc=False):
    """Mark and its companions, prices as floats in quote units."""

    mark: float
    average: float
    index: float
    settle: float
    rate: float
    next_funding_ms: int


class SpotScale(msgspec.Struct, frozen=True, gc=False):
    """How a contract's units become its spot pair's numbers."""

    symbol: str
    price: float
    base: float
    quote: float


def spot_base(row: Listed) -> tuple[str, float]:
    """`1000PEPE` is spot `PEPE` x 1000 (DOMAIN §0.25)."""
    for prefix, scale in (("1000000", 1e6), ("1000", 1e3)):
        if row.base.startswith(prefix) and len(row.base) > len(prefix):
            return row.base[len(prefix) :], scale
    return row.base, 1.0


class Facts:
    """Answers for all symbols of one venue."""

    def __init__(self, flows: list[Flow], seed: int) -> None:
        self._flows = flows
        self._keys = [key_of(seed, 70, flow.listed.index) for flow in flows]
        self._scale = [10.0**-flow.listed.price_digits for flow in flows]
        self._calm = [0.00045 if f.listed.turnover_usdt > 1e8 else 0.0008 for f in flows]
        self._steady: dict[int, tuple[int, float]] = {}
        self._marks: dict[int, tuple[int, int, float]] = {}
        self._premiums: dict[int, tuple[int, float]] = {}
        self._rates: dict[tuple[int, int], float] = {}

    def premium(self, index: int, now_ms: int) -> float:
        """Contract over index, as a share: slow crowding plus an hourly swing."""
        known = self._premiums.get(index)
        if known is not None and known[0] == now_ms:
            return known[1]
        key = self._keys[index]
        slow, swing = smooth_one(key, now_ms, 16 * HOUR_MS), smooth_one(key + 1, now_ms, HOUR_MS)
        found = self._calm[index] * (0.8 * slow + 0.4 * swing)
        self._premiums[index] = now_ms, found
        return found

    def premiums(self, index: int, times_ms: I64) -> F64:
        """`premium` at many times."""
        key, calm = self._keys[index], self._calm[index]
        slow, swing = smooth(key, times_ms, 16 * HOUR_MS), smooth(key + 1, times_ms, HOUR_MS)
        return calm * (0.8 * slow + 0.4 * swing)

    def spot_scale(self, index: int, at_ms: int) -> SpotScale:
        """Units of a contract as numbers of its spot pair: index price, six tenths of the volume."""
        row = self._flows[index].listed
        base, scale = spot_base(row)
        share = SPOT_VOLUME_FRAC
        return SpotScale(
            f"{base}USDT",
            self._scale[index] / scale / (1.0 + self.premium(index, at_ms)),
            10.0**-row.qty_digits * scale * share,
            10.0 ** -(row.price_digits + row.qty_digits) * share,
        )

    def _damped(self, index: int, now_ms: int) -> float:
        """Mean of the path's prices over the last 15 s, moving once a second."""
        second = now_ms // SECOND_MS * SECOND_MS
        known = self._steady.get(index)
        if known is not None and known[0] == second:
            return known[1]
        flow = self._flows[index]
        flow.skip_to(now_ms)
        total = sum(flow.path_price(second - i * INDEX_STEP_MS) for i in range(INDEX_STEPS))
        price = total / INDEX_STEPS * self._scale[index]
        self._steady[index] = second, price
        return price

    def mark_price(self, index: int, now_ms: int) -> float:
        """Mark price: the middle one of the index with the funding still due on top, the index with
        the usual basis on top, and the last trade. So a single trade, or a sweep of the book, moves
        it no further than the index allows."""
        flow = self._flows[index]
        damped = self._damped(index, now_ms)
        flow.skip_to(now_ms)
        last_units = flow.last_price
        known = self._marks.get(index)
        if known is not None and known[0] == now_ms and known[1] == last_units:
            return known[2]
        last = last_units * self._scale[index]
        price = sorted((self._with_funding(index, damped, now_ms), damped, last))[1]
        self._marks[index] = now_ms, last_units, price
        return price

    def _with_funding(self, index: int, damped: float, now_ms: int) -> float:
        due = self.next_funding_ms(index, now_ms)
        share = (due - now_ms) / (self._flows[index].listed.funding_hours * HOUR_MS)
        rate = self.funding_rate(index, due)
        return damped / (1.0 + self.premium(index, now_ms)) * (1.0 + rate * share)

    def mark_dec(self, index: int, now_ms: int) -> Decimal:
        """Mark price as money."""
        return Decimal(f"{self.mark_price(index, now_ms):.8f}")

    def funding_rate(self, index: int, at_ms: int) -> float:
        """The rate settled at `at_ms`: premium clamped around the interest rate (8 h convention)."""
        known = self._rates.get((index, at_ms))
        if known is not None:
            return known
        if len(self._rates) > _RATES_MAX:
            self._rates.clear()
        listed = self._flows[index].listed
        share = listed.funding_hours / 8
        premium = self.premium(index, at_ms - HOUR_MS)
        rate = premium + min(0.0005, max(-0.0005, INTEREST_RATE - premium))
        cap = FUNDING_CAP_FRAC if listed.funding_hours == 8 else FUNDING_CAP_FRAC_SHORT
        found = self._rates[index, at_ms] = round(max(-cap, min(cap, rate)) * share, 8)
        return found

    def next_funding_ms(self, index: int, now_ms: int) -> int:
        """The next settlement strictly after `now_ms`."""
        step = self._flows[index].listed.funding_hours * HOUR_MS
        return now_ms // step * step + step

    def mark(self, index: int, now_ms: int) -> Mark:
        """Everything the markPrice stream and premiumIndex show."""
        mark = self.mark_price(index, now_ms)
        premium = self.premium(index, now_ms)
        due = self.next_funding_ms(index, now_ms)
        at = self._damped(index, now_ms) / (1.0 + premium)
        settle = at * (1.0 + premium * 0.3)
        average = mark * (1.0 + 0.00005 * smooth_one(self._keys[index] + 3, now_ms, 60 * SECOND_MS))
        return Mark(mark, average, at, settle, self.funding_rate(index, due), due)

    def second_by_second(
        self, index: int, from_ms: int, to_ms: int, price: float
    ) -> tuple[I64, F64, F64]:
        """(times, mark, index) at every whole second of [from_ms, to_ms), in quote units: what
        `mark` says at those times, clients' trades left out. `price` held before the first trade."""
        reach = INDEX_STEP_MS * (INDEX_STEPS - 1)
        flow, scale = self._flows[index], self._scale[index]
        grid = np.arange(from_ms - reach, to_ms, SECOND_MS)
        first = (from_ms - reach) // MINUTE_MS * MINUTE_MS
        ticks = flow.path_ticks(first, -(-to_ms // MINUTE_MS) * MINUTE_MS)
        prices = np.append(price, ticks.price * scale)
        seen = prices[np.searchsorted(ticks.time_ms, grid, "right")]
        step, n = INDEX_STEP_MS // SECOND_MS, len(grid) - reach // SECOND_MS
        damped = np.mean([seen[i * step : i * step + n] for i in range(INDEX_STEPS)], axis=0)
        times = grid[-n:]
        fair: F64 = damped / (1.0 + self.premiums(index, times))
        span = flow.listed.funding_hours * HOUR_MS
        dues = times // span * span + span
        rates = {int(due): self.funding_rate(index, int(due)) for due in np.unique(dues)}
        rate = np.array([rates[due] for due in dues.tolist()])
        funded = fair * (1.0 + rate * (dues - times) / span)
        mark: F64 = np.median([funded, damped, seen[-n:]], axis=0)
        return times, mark, fair

    def open_interest(self, index: int, at_ms: int) -> float:
        """Open contracts in base units: half a day's turnover, breathing over hours and days."""
        listed, key = self._flows[index].listed, self._keys[index]
        base = listed.turnover_usdt * 0.45 / listed.anchor_price
        swing = (
            0.22 * smooth_one(key + 4, at_ms, 96 * HOUR_MS)
            + 0.08 * smooth_one(key + 5, at_ms, 6 * HOUR_MS)
            + 0.012 * smooth_one(key + 6, at_ms, 20 * MINUTE_MS)
        )
        return base * 2.718281828459045**swing

    def crowd_long_frac(self, index: int, at_ms: int, kind: int) -> float:
        """Share of longs of one of the three crowd ratios, 0.2 to 0.8."""
        key = self._keys[index] + 10 + kind
        swing = 0.06 * smooth_one(key, at_ms, 24 * HOUR_MS) + 0.02 * smooth_one(
            key + 50, at_ms, HOUR_MS
        )
        return max(0.2, min(0.8, 0.54 + swing))
