"""Derived facts of a symbol at a time: mark, index, funding, open interest, crowd ratios.

Functions of the last trade and of slow noise; nothing is stored.
"""

from __future__ import annotations

from decimal import Decimal

import msgspec

from cryptosignal.ground.units import HOUR_MS, MINUTE_MS, SECOND_MS
from cryptosignal.sim.flow import Flow
from cryptosignal.sim.listing import Listed
from cryptosignal.sim.noise import key_of, smooth_one

CENT8 = Decimal("0.00000001")
MARK_NOISE_FRAC = 0.00015
SPOT_VOLUME_FRAC = 0.6
"""Spot volume as a share of the contract's."""
INTEREST_RATE = 0.0001
FUNDING_CAP_FRAC = 0.003
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

    def premium(self, index: int, now_ms: int) -> float:
        """Contract over index, as a share: slow crowding plus an hourly swing."""
        key = self._keys[index]
        calm = 0.00045 if self._flows[index].listed.turnover_usdt > 1e8 else 0.0008
        return calm * (
            0.8 * smooth_one(key, now_ms, 16 * HOUR_MS) + 0.4 * smooth_one(key + 1, now_ms, HOUR_MS)
        )

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

    def mark_price(self, index: int, now_ms: int) -> float:
        """Mark price: the last trade with a little noise that moves every few seconds."""
        flow = self._flows[index]
        flow.skip_to(now_ms)
        last = flow.last_price * self._scale[index]
        return last * (
            1.0 + MARK_NOISE_FRAC * smooth_one(self._keys[index] + 2, now_ms, 20 * SECOND_MS)
        )

    def mark_dec(self, index: int, now_ms: int) -> Decimal:
        """Mark price as money."""
        return Decimal(f"{self.mark_price(index, now_ms):.8f}")

    def funding_rate(self, index: int, at_ms: int) -> float:
        """The rate settled at `at_ms`: premium clamped around the interest rate (8 h convention)."""
        listed = self._flows[index].listed
        share = listed.funding_hours / 8
        premium = self.premium(index, at_ms - HOUR_MS)
        rate = premium + min(0.0005, max(-0.0005, INTEREST_RATE - premium))
        cap = FUNDING_CAP_FRAC if listed.funding_hours == 8 else FUNDING_CAP_FRAC_SHORT
        return round(max(-cap, min(cap, rate)) * share, 8)

    def next_funding_ms(self, index: int, now_ms: int) -> int:
        """The next settlement strictly after `now_ms`."""
        step = self._flows[index].listed.funding_hours * HOUR_MS
        return now_ms // step * step + step

    def mark(self, index: int, now_ms: int) -> Mark:
        """Everything the markPrice stream and premiumIndex show."""
        mark = self.mark_price(index, now_ms)
        premium = self.premium(index, now_ms)
        due = self.next_funding_ms(index, now_ms)
        at = mark / (1.0 + premium)
        settle = at * (1.0 + premium * 0.3)
        average = mark * (1.0 + 0.00005 * smooth_one(self._keys[index] + 3, now_ms, 60 * SECOND_MS))
        return Mark(mark, average, at, settle, self.funding_rate(index, due), due)

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
