"""What became of a signal: the row by which the product learns and is judged."""

from __future__ import annotations

from decimal import Decimal

import msgspec


class Outcome(msgspec.Struct, frozen=True, gc=False):
    """A signal followed to its end. `exit_reason`: stop, tp1, tp2, exit, time, liquidation, manual.

    `r_multiple` is net PnL over the risk planned at entry; `realized_usdt` is before fees,
    `net_usdt` after fees and funding. `traded` is False for signals that were only followed
    (virtual): their sizes are per 1 USDT of notional.
    """

    signal_id: str
    symbol: str
    direction: str
    tier: str
    traded: bool
    opened_ms: int
    closed_ms: int
    entry_price: Decimal
    exit_price: Decimal
    quantity: Decimal
    realized_usdt: Decimal
    fees_usdt: Decimal
    funding_usdt: Decimal
    net_usdt: Decimal
    r_multiple: float
    mfe_r: float
    mae_r: float
    exit_reason: str
    naked_ms: int = 0
    params_version: str = ""
