"""What the venue lists: instruments with filters, brackets, liquidity, sectors and announced events.

Shapes and values follow real exchangeInfo entries (BINANCE §2.4); names beyond the well-known ones
are invented. Knows nothing of prices over time.
"""

from __future__ import annotations

from decimal import Decimal

import msgspec

from cryptosignal.ground.units import DAY_MS, HOUR_MS, MINUTE_MS
from cryptosignal.sim.noise import hash_int, key_of, uniform_one

PERPETUAL_DELIVERY_MS = 4_133_404_800_000
INDEX_BASES = ("BTCDOM",)
"""Contracts on an index of coins instead of a coin."""
EVENTS_FROM = 10
"""A smaller listing has no events: too little would be left of it."""
SECTORS = ("PoW", "Layer-1", "Layer-2", "DeFi", "Meme", "AI", "Gaming", "Infrastructure")
ORDER_TYPES = (
    "LIMIT",
    "MARKET",
    "STOP",
    "STOP_MARKET",
    "TAKE_PROFIT",
    "TAKE_PROFIT_MARKET",
    "TRAILING_STOP_MARKET",
)
TIMES_IN_FORCE = ("GTC", "IOC", "FOK", "GTX", "GTD", "RPI")

_KNOWN = (
    # base, price, daily turnover in million USDT, sector
    ("BTC", 84_000.0, 14_000.0, 0),
    ("ETH", 2_760.0, 11_000.0, 1),
    ("SOL", 128.0, 3_500.0, 1),
    ("BNB", 832.0, 900.0, 1),
    ("XRP", 1.95, 1_600.0, 1),
    ("DOGE", 0.139, 1_200.0, 4),
    ("1000PEPE", 0.0041, 500.0, 4),
    ("ADA", 0.404, 420.0, 1),
    ("币安人生", 0.131, 60.0, 4),
    ("XAU", 4_060.0, 250.0, 7),
    ("AVAX", 13.1, 300.0, 1),
    ("LINK", 12.2, 320.0, 3),
    ("SUI", 1.42, 480.0, 1),
    ("LTC", 83.0, 260.0, 0),
    ("BCH", 545.0, 210.0, 0),
    ("ZEC", 610.0, 900.0, 0),
    ("TRX", 0.276, 160.0, 1),
    ("DOT", 2.33, 150.0, 1),
    ("NEAR", 1.96, 220.0, 5),
    ("UNI", 6.2, 190.0, 3),
    ("AAVE", 164.0, 180.0, 3),
    ("WLD", 0.61, 210.0, 5),
    ("FIL", 1.62, 160.0, 7),
    ("ARB", 0.207, 140.0, 2),
    ("OP", 0.32, 110.0, 2),
    ("ENA", 0.238, 280.0, 3),
    ("HYPE", 33.5, 620.0, 1),
    ("TAO", 288.0, 240.0, 5),
    ("ICP", 4.1, 150.0, 7),
    ("ETC", 13.6, 120.0, 0),
    ("APT", 2.5, 120.0, 1),
    ("INJ", 5.7, 80.0, 3),
    ("SEI", 0.137, 90.0, 1),
    ("TIA", 0.62, 110.0, 7),
    ("1000SHIB", 0.0079, 140.0, 4),
    ("1000BONK", 0.0092, 110.0, 4),
    ("WIF", 0.36, 120.0, 4),
    ("FET", 0.241, 80.0, 5),
    ("RENDER", 1.72, 60.0, 5),
    ("GALA", 0.0072, 50.0, 6),
    ("SAND", 0.155, 45.0, 6),
    ("AXS", 0.98, 40.0, 6),
    ("MANA", 0.166, 25.0, 6),
    ("CRV", 0.402, 90.0, 3),
    ("LDO", 0.65, 60.0, 3),
    ("BTCDOM", 4_870.0, 30.0, 7),
    ("PENDLE", 2.1, 45.0, 3),
    ("JUP", 0.234, 60.0, 3),
    ("ONDO", 0.487, 90.0, 7),
    ("STRK", 0.131, 110.0, 2),
    ("POL", 0.136, 50.0, 2),
    ("IMX", 0.312, 30.0, 6),
    ("ATOM", 2.45, 60.0, 7),
    ("XLM", 0.236, 120.0, 1),
    ("HBAR", 0.139, 130.0, 1),
    ("ALGO", 0.138, 60.0, 1),
    ("VET", 0.0136, 40.0, 7),
    ("KAS", 0.0418, 45.0, 0),
    ("DASH", 58.0, 140.0, 0),
    ("TRB", 20.5, 55.0, 7),
    ("GRT", 0.0495, 25.0, 7),
)
_SYLLABLES = (
    "ZA",
    "KO",
    "RI",
    "MU",
    "VE",
    "LO",
    "TA",
    "NI",
    "PO",
    "SE",
    "DRA",
    "FLU",
    "GRI",
    "XO",
    "BE",
)


class Bracket(msgspec.Struct, frozen=True, gc=False):
    """One notional bracket: allowed leverage and maintenance margin (BINANCE §2.2)."""

    number: int
    leverage: int
    floor: int
    cap: int
    maint_rate: Decimal
    cum: Decimal


class Listed(msgspec.Struct, frozen=True, gc=False):
    """One listed contract and the liquidity it is simulated with.

    Prices are integers of `10**-price_digits`, quantities of `10**-qty_digits` (the finest grids
    the symbol ever has; `tick_units` is the current tick in those integers at the start).
    """

    index: int
    symbol: str
    base: str
    contract_type: str
    underlying_type: str
    sector: int
    price_digits: int
    qty_digits: int
    price_precision: int
    anchor_price: float
    turnover_usdt: float
    daily_vol_frac: float
    beta: float
    onboard_ms: int
    delivery_ms: int
    funding_hours: int
    market_qty_max: int
    qty_max: int
    min_notional: int
    multiplier: Decimal
    trigger_protect: Decimal
    liquidation_fee: Decimal
    ticks_per_minute: int
    quiet_frac: float
    spread_ticks: int
    book_gap: int
    brackets: tuple[Bracket, ...]
    has_spot: bool
    halt_ms: int = 0
    halt_until_ms: int = 0
    delist_notice_ms: int = 0
    tick_change_ms: int = 0
    tick_units_before: int = 1
    """The tick in units before `tick_change_ms` (10 means ten times coarser)."""
    tick_units_after: int = 1
    step_units: int = 1
    """The quantity step that orders must keep, in units."""

    @property
    def price_unit(self) -> Decimal:
        """The value of one price integer."""
        return Decimal(1).scaleb(-self.price_digits)

    @property
    def qty_unit(self) -> Decimal:
        """The value of one quantity integer."""
        return Decimal(1).scaleb(-self.qty_digits)

    def tick_units(self, now_ms: int) -> int:
        """The tick size in price units at a time."""
        return self.tick_units_before if now_ms < self.tick_change_ms else self.tick_units_after


def known_names() -> tuple[str, ...]:
    """Symbols of the listing in their order, most liquid first."""
    return tuple(f"{base}USDT" for base, *_ in _KNOWN)


def generated_listing(
    count: int,
    names: tuple[str, ...],
    seed: int,
    start_ms: int,
    ticks_per_minute: int,
    pace: float,
    *,
    events: bool,
) -> tuple[Listed, ...]:
    """`count` symbols (or exactly `names`, with BTCUSDT and ETHUSDT) as listed at `start_ms`."""
    wanted = list(names) if names else _all_names(count, seed)
    for must in ("ETHUSDT", "BTCUSDT"):
        if must not in wanted:
            wanted.insert(0, must)
    known = {f"{row[0]}USDT": row for row in _KNOWN}
    out = []
    for index, symbol in enumerate(wanted):
        row = known.get(symbol) or _invented(symbol, seed)
        out.append(_listed(index, symbol, row, seed, start_ms, ticks_per_minute, pace))
    return tuple(_with_events(out, seed, start_ms) if events else out)


def _all_names(count: int, seed: int) -> list[str]:
    names = [f"{base}USDT" for base, *_ in _KNOWN[:count]]
    number = 0
    key = key_of(seed, 901)
    while len(names) < count:
        h = hash_int(key, number)
        number += 1
        parts = [_SYLLABLES[(h >> (8 * i)) % len(_SYLLABLES)] for i in range(2 + h % 2)]
        name = "".join(parts) + "USDT"
        if name not in names:
            names.append(name)
    return names


def _invented(symbol: str, seed: int) -> tuple[str, float, float, int]:
    key = key_of(seed, 902, int.from_bytes(symbol.encode()[:7], "big"))
    price = 10 ** (uniform_one(key, 1) * 5 - 3.5)
    turnover = 4.0 + 40.0 * uniform_one(key, 2) ** 3
    base = symbol[:-4] if symbol.endswith("USDT") else symbol
    return base, price, turnover, hash_int(key, 3) % len(SECTORS)


def digits_for(price: float) -> int:
    """Decimals that make a tick worth about a ten-thousandth of the price."""
    digits = 0
    while price * 10**digits < 4_000 and digits < 8:
        digits += 1
    return digits


def _listed(
    index: int,
    symbol: str,
    row: tuple[str, float, float, int],
    seed: int,
    start_ms: int,
    ticks_per_minute: int,
    pace: float,
) -> Listed:
    base, price, turnover, sector = row
    key = key_of(seed, 903, index)
    kind = "COMMODITY" if base == "XAU" else "INDEX" if base in INDEX_BASES else "COIN"
    is_major, is_tradfi = base in ("BTC", "ETH"), base == "XAU"
    price_digits = 1 if base == "BTC" else digits_for(price)
    qty_digits = 3 if is_major else max(0, min(3, round(digits_for(1.0 / price) - 3)))
    qty_digits = 2 if base in ("BNB", "ZEC", "BCH") else qty_digits
    base_ticks = int(min(300, max(20, 30 * (turnover / 40.0) ** 0.45)))
    ticks = ticks_per_minute or max(4, round(base_ticks / pace))
    year = 365 * DAY_MS
    age = 400 * DAY_MS + int(uniform_one(key, 1) * 4 * year) if not is_major else 6 * year
    if base == "币安人生":
        age = 45 * DAY_MS
    onboard = (start_ms - age) // (15 * MINUTE_MS) * (15 * MINUTE_MS)
    vol = 0.022 if is_major else (0.011 if is_tradfi else 0.035 + 0.03 * uniform_one(key, 2))
    gap = max(1, round(price * 10**price_digits * 0.00008))
    return Listed(
        index=index,
        symbol=symbol,
        base=base,
        contract_type="TRADIFI_PERPETUAL" if is_tradfi else "PERPETUAL",
        underlying_type=kind,
        sector=sector,
        price_digits=price_digits,
        qty_digits=qty_digits,
        price_precision=2 if base in ("BTC", "ETH", "XAU") else max(price_digits, 4),
        anchor_price=price,
        turnover_usdt=turnover * 1e6,
        daily_vol_frac=vol,
        beta=1.0 if base == "BTC" else (0.0 if is_tradfi else 0.5 + 0.8 * uniform_one(key, 3)),
        onboard_ms=onboard,
        delivery_ms=PERPETUAL_DELIVERY_MS,
        funding_hours=8 if index < 8 else (8, 8, 4, 4, 1)[hash_int(key, 4) % 5],
        market_qty_max=_round_qty(min(turnover, 3_000) * 1e6 * 0.0008 / price),
        qty_max=_round_qty(min(turnover, 3_000) * 1e6 * 0.008 / price),
        min_notional=50 if base == "BTC" else (20 if base == "ETH" else 5),
        multiplier=Decimal("0.05")
        if is_major
        else (Decimal("0.02") if is_tradfi else Decimal("0.10")),
        trigger_protect=Decimal("0.0200") if is_tradfi else Decimal("0.0500"),
        liquidation_fee=Decimal("0.012500") if is_major else Decimal("0.015000"),
        ticks_per_minute=ticks,
        quiet_frac=0.0 if turnover > 100 else min(0.35, 3.0 / turnover),
        spread_ticks=1 if turnover > 300 else 1 + hash_int(key, 5) % 3,
        book_gap=gap,
        brackets=brackets_for(125 if is_major else (75 if turnover > 100 else 50)),
        has_spot=(kind == "COIN" and base != "币安人生" and hash_int(key, 6) % 8 != 0) or is_major,
    )


def _round_qty(quantity: float) -> int:
    return max(1, int(float(f"{quantity:.1g}")))


_FIRST_RATE = {125: Decimal("0.004"), 75: Decimal("0.0065"), 50: Decimal("0.01")}
"""Maintenance rate of the first bracket, by its leverage."""


def brackets_for(leverage_max: int) -> tuple[Bracket, ...]:
    """Notional brackets from `leverage_max` down to 1, `cum` as Binance computes it."""
    scale = {125: 60, 75: 4, 50: 1}.get(leverage_max, 1)
    rows = [
        (leverage_max, 5_000 * scale, _FIRST_RATE.get(leverage_max, Decimal("0.01"))),
        (min(leverage_max, 50), 25_000 * scale, Decimal("0.01")),
        (25, 150_000 * scale, Decimal("0.02")),
        (20, 600_000 * scale, Decimal("0.025")),
        (10, 1_500_000 * scale, Decimal("0.05")),
        (5, 3_000_000 * scale, Decimal("0.10")),
        (4, 5_000_000 * scale, Decimal("0.125")),
        (2, 10_000_000 * scale, Decimal("0.25")),
        (1, 20_000_000 * scale, Decimal("0.50")),
    ]
    out: list[Bracket] = []
    floor, cum, before = 0, Decimal(0), Decimal(0)
    for number, (leverage, cap, rate) in enumerate(rows, 1):
        cum += floor * (rate - before)
        out.append(Bracket(number, leverage, floor, cap, rate, cum))
        floor, before = cap, rate
    return tuple(out)


def _with_events(listed: list[Listed], seed: int, start_ms: int) -> list[Listed]:
    """A listing, a halt, a delisting and a tick-size change among the least liquid symbols."""
    key = key_of(seed, 904)
    out = list(listed)
    tail = [i for i, row in enumerate(out) if row.index >= min(10, len(out) // 2)]
    if len(out) < EVENTS_FROM:
        return out
    kinds = ("listing", "halt", "delisting", "tick")
    for number in range(max(4, len(tail) // 25)):
        at = tail.pop(hash_int(key, number) % len(tail))
        when = start_ms + int((0.3 + uniform_one(key, 100 + number) * 40) * HOUR_MS)
        when = when // (15 * MINUTE_MS) * (15 * MINUTE_MS)
        row, kind = out[at], kinds[number % 4]
        if kind == "listing":
            row = msgspec.structs.replace(row, onboard_ms=when)
        elif kind == "halt":
            row = msgspec.structs.replace(row, halt_ms=when, halt_until_ms=when + 20 * MINUTE_MS)
        elif kind == "delisting":
            row = msgspec.structs.replace(
                row, delist_notice_ms=when, delivery_ms=when + 6 * HOUR_MS
            )
        else:
            row = msgspec.structs.replace(
                row,
                tick_change_ms=when,
                tick_units_before=10,
                price_digits=row.price_digits + 1,
                price_precision=max(row.price_precision, row.price_digits + 1),
                book_gap=row.book_gap * 10,
                spread_ticks=10,
            )
        out[at] = row
    return out
