"""Numbers of the learning floor."""

from __future__ import annotations

import msgspec


class OutcomeSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a signal is followed when nobody trades it (DOMAIN §1.10 backtest, §2 virtual positions).

    `fee_frac` taker fee per side, `slippage_frac` per side, `timeout_ms` the third barrier,
    `entry_ms` how long the entry band waits for the price, `tp1_share_frac` what TP1 takes,
    `breakeven_cost_frac` where the stop goes then.
    """

    fee_frac: float = 0.0005
    slippage_frac: float = 0.0002
    timeout_ms: int = 24 * 3_600_000
    entry_ms: int = 5 * 60_000
    tp1_share_frac: float = 0.5
    breakeven_cost_frac: float = 0.001
    funding_interval_ms: int = 8 * 3_600_000
    followed_max: int = 2_000

    def __post_init__(self) -> None:
        """Refuse barriers that cannot be reached."""
        if not 0 < self.tp1_share_frac < 1:
            raise ValueError(
                f"outcomes.tp1_share_frac: found {self.tp1_share_frac}, allowed between 0 and 1"
            )
        if self.timeout_ms <= 0 or self.entry_ms <= 0:
            raise ValueError("outcomes.timeout_ms, entry_ms: allowed above 0")
        if not 0 <= self.fee_frac < 0.01 or not 0 <= self.slippage_frac < 0.05:
            raise ValueError("outcomes.fee_frac, slippage_frac: allowed small shares of notional")
