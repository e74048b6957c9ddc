"""All numbers of the simulated venue in one frozen value; knows nothing but its own defaults."""

from __future__ import annotations

import msgspec

SYMBOLS_MIN = 2
SYMBOLS_MAX = 600
PRESETS = ("calm", "weather", "storm")
FRAMES_PER_SECOND_MAX = 24_000
"""Stream frames a second that one core of the reference machine can make and write."""
FRAMES_PER_TICK = 8
"""Frames that one trade causes on average: five klines, aggTrade, and a share of books and marks."""
TICKS_PER_MINUTE_MIN = 4
"""Fewer trades than this cannot show a bar's open, high, low and close."""


class AccountSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One trading account of the venue: its keys and its first deposit."""

    api_key: str = "sim-key-0000000000000000000000000000000000000000000000000000000000"
    api_secret: str = "sim-secret-00000000000000000000000000000000000000000000000000000"
    deposit_usdt: str = "10000"
    ed25519_public_pem: str = ""
    """PEM of a public key, for clients that sign with Ed25519 instead of HMAC."""


class VenueSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How large, how fast and how unkind the simulated venue is."""

    symbols: int = 60
    symbol_names: tuple[str, ...] = ()
    """Explicit symbols instead of the first `symbols` of the listing; BTCUSDT and ETHUSDT are added."""
    speed: float = 1.0
    """Venue seconds per wall second. Only the pace of ticks and timers depends on it."""
    faults: str = "calm"
    fault_rates: dict[str, float] = msgspec.field(default_factory=dict)
    """Overrides of single faults by name (`sim.mischief.MENU`); 0 switches one off."""
    fault_seed: int = 0
    """Another seed for the faults alone, over the same market; 0 means the venue's own."""
    start_ms: int = 0
    """Venue time of the start; 0 means the host's time (server) or bar `walk_start_bar` (candles)."""
    walk_start_bar: int = 500
    walk_symbols_min: int = 0
    """A walk of candles starts no earlier than when so many of the file's symbols are listed."""
    tick_ms: int = 1
    """Grid that trade times are rounded down to; coarser means fewer wake-ups in a simulation."""
    ticks_per_minute: int = 0
    """Trades a minute for every symbol; 0 means by liquidity (10 to 240), divided by `speed`."""
    block_minutes: int = 5
    """Minutes of trades drawn at once; larger is cheaper in a simulation, and changes no price."""
    book_levels: int = 200
    kline_throttle_ms: int = 250
    kline_close_timer_ms: int = 2_004
    flat_bar_frames: bool = False
    """Whether a bar without any trade is closed on the stream (BINANCE §8.4: unconfirmed)."""
    events: bool = True
    """Listings, halts, delistings and tick-size changes while running."""
    latency_ms: int = 0
    """Mean one-way delay of replies and frames; 0 on the socket face, where the network is real."""
    weight_limit_1m: int = 2_400
    order_limit_10s: int = 300
    order_limit_1m: int = 1_200
    spot_weight_limit_1m: int = 6_000
    futures_data_limit_5m: int = 1_000
    funding_limit_5m: int = 500
    ban_ms: int = 120_000
    streams_per_link_max: int = 1_024
    messages_per_second_max: int = 10
    link_life_ms: int = 86_400_000
    listen_key_life_ms: int = 3_600_000
    body_bytes_max: int = 65_536
    message_bytes_max: int = 65_536
    links_max: int = 4_096
    history_orders_max: int = 20_000
    """Finished orders, trades and income rows kept per account."""
    write_buffer_bytes_max: int = 8_388_608
    """A reader that lets more than this pile up is disconnected (socket face)."""
    algo_ack_lag_ms: int = 0
    """How long a placed algo order stays invisible to queries (BINANCE §7)."""
    stop_needs_position: bool = False
    """Whether a reduce-only algo order is refused (-2022) while nothing is held: not known of the
    real venue (RELIABILITY §3.7), so both ways can be simulated."""
    countdown_takes_algos: bool = False
    """Whether countdownCancelAll also cancels the symbol's algo orders: not known of the real venue
    (RELIABILITY §3.8), so both ways can be simulated."""
    accounts: tuple[AccountSettings, ...] = (AccountSettings(),)

    def __post_init__(self) -> None:
        """Raises ValueError naming the key, what was found and what is allowed."""
        _within("symbols", self.symbols, SYMBOLS_MIN, SYMBOLS_MAX)
        _within("speed", self.speed, 0.01, 100_000)
        _within("tick_ms", self.tick_ms, 1, 60_000)
        _within("ticks_per_minute", self.ticks_per_minute, 0, 600)
        _within("book_levels", self.book_levels, 20, 1_000)
        _within("latency_ms", self.latency_ms, 0, 10_000)
        _within("walk_start_bar", self.walk_start_bar, 1, 1_000_000)
        if self.ticks_per_minute and self.ticks_per_minute < TICKS_PER_MINUTE_MIN:
            raise ValueError(
                f"ticks_per_minute: {self.ticks_per_minute} (allowed: 0 or {TICKS_PER_MINUTE_MIN}..600)"
            )
        if self.block_minutes < 1 or 60 % self.block_minutes:
            raise ValueError(f"block_minutes: {self.block_minutes} (allowed: a divisor of 60)")
        if self.faults not in PRESETS:
            raise ValueError(f"faults: {self.faults!r} (allowed: {', '.join(PRESETS)})")
        if not self.accounts:
            raise ValueError("accounts: none (allowed: at least one)")

    @property
    def pace(self) -> float:
        """How much sparser ticks and timers are than at speed 1."""
        return max(1.0, self.speed)


def _within(key: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise ValueError(f"{key}: {value} (allowed: {low}..{high})")


def speed_max(symbols: int) -> float:
    """The fastest `speed` at which the sparsest trading still fits the machine's frame budget."""
    frames_at_1 = symbols * TICKS_PER_MINUTE_MIN / 60 * FRAMES_PER_TICK
    return round(FRAMES_PER_SECOND_MAX / frames_at_1, 1)
