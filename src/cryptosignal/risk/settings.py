"""Every limit of the risk floor as one validated value; nothing here is ever changed by learning."""

from __future__ import annotations

from decimal import Decimal

import msgspec


class RiskSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Sizes, caps and trips (DOMAIN §1.9, §2 "Limits"; RELIABILITY §3.10).

    `*_frac` are shares of equity, `*_usdt` money, `correlation_default_frac` the correlation that is
    assumed between two coins when none is known. `ramp_trades` entries on a live account are made at
    the minimum size. `unlimited_leverage` opts in to the simulation policy of DOMAIN §0.9.
    """

    risk_frac: Decimal = Decimal("0.005")
    risk_max_usdt: Decimal = Decimal(6)
    position_max: int = 3
    same_direction_max: int = 3
    symbol_notional_max_usdt: Decimal = Decimal(10_000)
    symbol_notional_max_frac: Decimal = Decimal("0.5")
    gross_notional_max_frac: Decimal = Decimal("3")
    gross_notional_max_usdt: Decimal = Decimal(1_000_000)
    correlated_notional_max_frac: Decimal = Decimal("2")
    correlation_default_frac: Decimal = Decimal("0.7")
    notional_min_usdt: Decimal = Decimal(10)
    leverage_max: int = 10
    leverage_strong: int = 5
    leverage_good: int = 3
    leverage_weak: int = 2
    stop_min_frac: Decimal = Decimal("0.001")
    stop_max_frac: Decimal = Decimal("0.15")
    cost_max_r: Decimal = Decimal("0.12")
    taker_fee_frac: Decimal = Decimal("0.0005")
    ramp_trades: int = 10
    unlimited_leverage: bool = False
    unlimited_leverage_max: int = 25
    losses_cautious: int = 3
    losses_averse: int = 5
    losses_shutdown: int = 7
    drawdown_cautious_frac: Decimal = Decimal("0.05")
    drawdown_averse_frac: Decimal = Decimal("0.10")
    drawdown_shutdown_frac: Decimal = Decimal("0.15")
    daily_loss_max_frac: Decimal = Decimal("0.03")
    daily_loss_max_usdt: Decimal = Decimal(2000)
    shutdown_ms: int = 86_400_000
    entries_per_minute_max: int = 6
    orders_per_minute_max: int = 120
    errors_per_minute_max: int = 5
    confidence_min_normal: Decimal = Decimal(0)
    confidence_min_cautious: Decimal = Decimal(45)
    confidence_min_averse: Decimal = Decimal(55)
    margin_usage_max_frac: Decimal = Decimal("0.85")
    margin_exit_pause_ms: int = 120_000
    cooldown_stop_ms: int = 8 * 3_600_000
    cooldown_profit_ms: int = 3 * 3_600_000
    cooldown_manual_ms: int = 3_600_000

    def __post_init__(self) -> None:
        """Refuse numbers that no account should trade with."""
        _require_share("risk_frac", self.risk_frac, Decimal("0.05"))
        _require_share("daily_loss_max_frac", self.daily_loss_max_frac, Decimal("0.5"))
        _require_share("margin_usage_max_frac", self.margin_usage_max_frac, Decimal(1))
        for name, low, found, high in (
            ("leverage_max", 1, self.leverage_max, 125),
            ("unlimited_leverage_max", 1, self.unlimited_leverage_max, 125),
            ("position_max", 1, self.position_max, 50),
            ("ramp_trades", 0, self.ramp_trades, 10_000),
        ):
            if not low <= found <= high:
                raise ValueError(f"risk.{name}: found {found}, allowed {low} to {high}")
        if not self.losses_cautious <= self.losses_averse <= self.losses_shutdown:
            raise ValueError(
                f"risk.losses_*: found {self.losses_cautious}/{self.losses_averse}/"
                f"{self.losses_shutdown}, allowed ascending"
            )
        if not (
            self.drawdown_cautious_frac <= self.drawdown_averse_frac <= self.drawdown_shutdown_frac
        ):
            raise ValueError("risk.drawdown_*_frac: allowed ascending")


def _require_share(name: str, found: Decimal, high: Decimal) -> None:
    if not 0 < found <= high:
        raise ValueError(f"risk.{name}: found {found}, allowed above 0 up to {high}")
