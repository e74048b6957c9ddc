"""Every number of the trading floor as one validated value."""

from __future__ import annotations

from decimal import Decimal

import msgspec

ENTRY_STYLES = ("market", "limit_ioc", "passive", "sliced")
FOREIGN_POLICIES = ("report", "protect", "adopt")
WORKING_TYPES = ("MARK_PRICE", "CONTRACT_PRICE")
BOT_LENGTH_MAX = 6


class TradingSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Deadlines, spacings and styles (DESIGN D9, §5; DOMAIN §1.9).

    `stop_confirm_ms`: after this a second stop is sent (D9). `naked_limit_ms`: after this the
    position is flattened. `stop_first`: the stop rests at the venue before the entry leaves
    (RELIABILITY §3.7); an entry whose stop is not seen within `stop_first_wait_ms` is given up. A
    venue that refuses a stop without a position is noticed and gets the entry first.
    `fence_extra_ms`: what must pass beyond recvWindow before absence can be
    proven (RELIABILITY §3.2). `lookup_spacing_ms`: two lookups nearer than this count as one.
    `dead_man_ms`: the venue cancels a resting entry order so long after our last sign of life; only
    while nothing of the symbol is held and no stop rests there (RELIABILITY §3.8). 0 is never.
    """

    entry_style: str = "market"
    passive_timeout_ms: int = 30_000
    slices: int = 3
    slice_pause_ms: int = 150
    slippage_entry_bps: int = 15
    slippage_exit_bps: int = 20
    slippage_stop_bps: int = 50
    entry_drift_bps: int = 50
    price_stale_ms: int = 10_000
    stop_first: bool = True
    stop_first_wait_ms: int = 5_000
    stop_confirm_ms: int = 1_000
    stop_retry_ms: int = 700
    stop_open_max: int = 6
    naked_limit_ms: int = 4_500
    flatten_retry_ms: int = 2_000
    flatten_retry_max_ms: int = 15_000
    trigger_grace_ms: int = 3_000
    tp_attempts_max: int = 3
    tp_retry_ms: int = 2_000
    move_retry_ms: int = 5_000
    cancel_retry_ms: int = 1_500
    cancel_retry_max_ms: int = 15_000
    tp1_share_frac: Decimal = Decimal("0.5")
    breakeven_cost_frac: Decimal = Decimal("0.001")
    trailing_k: Decimal = Decimal("1.6")
    trailing_bars: int = 14
    trailing_start_r: Decimal = Decimal(1)
    trailing_step_atr: Decimal = Decimal("0.1")
    trailing_spacing_ms: int = 30_000
    hold_max_ms: int = 24 * 3_600_000
    loss_alarm_frac: Decimal = Decimal("0.99")
    funding_guard_ms: int = 60_000
    funding_interval_ms: int = 8 * 3_600_000
    working_type: str = "MARK_PRICE"
    margin_type: str = "ISOLATED"
    foreign: str = "report"
    foreign_stop_frac: Decimal = Decimal("0.05")
    unknown_timeout_ms: int = 8_000
    fence_extra_ms: int = 2_000
    default_recv_window_ms: int = 3_000
    lookup_spacing_ms: int = 1_000
    lookup_retry_max_ms: int = 4_000
    confirm_after_ms: int = 500
    verify_after_ms: int = 3_000
    stop_verify_ms: int = 4_000
    algo_lag_ms: int = 5_000
    claim_lag_ms: int = 10_000
    snapshot_spacing_ms: int = 1_000
    snapshot_timeout_ms: int = 20_000
    snapshot_retry_max_ms: int = 30_000
    audit_held_ms: int = 60_000
    audit_flat_ms: int = 300_000
    audit_blind_ms: int = 5_000
    settle_ms: int = 2_000
    fees_wait_ms: int = 6_000
    fees_wait_max_ms: int = 60_000
    rules_retry_ms: int = 1_000
    rules_retry_max_ms: int = 30_000
    approve_expiry_ms: int = 10 * 60_000
    approve_drift_bps: int = 40
    trades_overlap_ms: int = 5_000
    dead_man_ms: int = 30_000

    def __post_init__(self) -> None:
        """Refuse settings under which the promises of DESIGN §5 cannot hold."""
        _one_of("entry_style", self.entry_style, ENTRY_STYLES)
        _one_of("foreign", self.foreign, FOREIGN_POLICIES)
        _one_of("working_type", self.working_type, WORKING_TYPES)
        _one_of("margin_type", self.margin_type, ("ISOLATED", "CROSSED"))
        for name, low, found, high in (
            ("naked_limit_ms", 1_000, self.naked_limit_ms, 20_000),
            ("stop_confirm_ms", 100, self.stop_confirm_ms, 5_000),
            ("stop_first_wait_ms", 200, self.stop_first_wait_ms, 10_000),
            ("fence_extra_ms", 2_000, self.fence_extra_ms, 60_000),
            ("lookup_spacing_ms", 200, self.lookup_spacing_ms, 60_000),
            ("stop_verify_ms", 1_000, self.stop_verify_ms, 15_000),
            ("slices", 1, self.slices, 20),
            ("stop_open_max", 2, self.stop_open_max, 20),
        ):
            if not low <= found <= high:
                raise ValueError(f"trading.{name}: found {found}, allowed {low} to {high}")
        if self.dead_man_ms and not 5_000 <= self.dead_man_ms <= 600_000:
            raise ValueError(
                f"trading.dead_man_ms: found {self.dead_man_ms}, allowed 0 or 5000 to 600000"
            )
        if not 0 < self.tp1_share_frac < 1:
            raise ValueError(
                f"trading.tp1_share_frac: found {self.tp1_share_frac}, allowed between 0 and 1"
            )


def _one_of(name: str, found: str, allowed: tuple[str, ...]) -> None:
    if found not in allowed:
        raise ValueError(f"trading.{name}: found {found!r}, allowed {', '.join(allowed)}")
