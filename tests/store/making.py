"""Values that the tests of `store/` are made of: events of each stream, rows, headers."""

from __future__ import annotations

from decimal import Decimal

import numpy as np

from cryptosignal.domain.events import (
    EngineStarted,
    FactRecorded,
    IntentRecorded,
    MarksUpdated,
    TimerFired,
)
from cryptosignal.domain.order import Leg, OrderIntent, OrderKind, Side
from cryptosignal.domain.outcome import Outcome
from cryptosignal.domain.scan import ScanRows
from cryptosignal.store.runs import RunHeader

HEADER = RunHeader("r1", 1_700_000_000_000, "0.1.0", "test/numpy", {"account": "sim"})


def rows(symbols: int = 3, columns: int = 2, scan_id: int = 1, seed: int = 0) -> ScanRows:
    """A scan with a NaN in each column."""
    random = np.random.default_rng(seed)
    table = {f"f{c}": random.normal(100.0, 5.0, symbols) for c in range(columns)}
    for column in table.values():
        column[0] = np.nan
    names = tuple(f"S{i}USDT" for i in range(symbols))
    return ScanRows(scan_id, 1_700_000_000_000, "bar:1h", names, table, 42, 7, {"k": "v"})


def intent(number: int = 1) -> IntentRecorded:
    """A money event with Decimals."""
    return IntentRecorded(
        OrderIntent(
            client_id=f"csb-{number}-e1",
            signal_id=f"s{number}",
            symbol="BTCUSDT",
            leg=Leg.ENTRY,
            side=Side.BUY,
            kind=OrderKind.MARKET,
            quantity=Decimal("0.0010"),
            created_ms=1_700_000_000_000 + number,
        )
    )


def started() -> EngineStarted:
    """The first event of a run."""
    return EngineStarted("r1", "auto", "sim", "b", "v1")


def fact(number: int) -> FactRecorded:
    """A small money event."""
    return FactRecorded("day_start", str(number), '{"equity":"1000.50"}')


def marks(price: float = float("nan")) -> MarksUpdated:
    """An input event whose floats may be NaN."""
    return MarksUpdated(1_700_000_000_000, {"BTCUSDT": price})


def timer(number: int = 1) -> TimerFired:
    """A small input event."""
    return TimerFired(f"t{number}")


def outcome(signal_id: str = "s1", closed_ms: int = 1_700_000_000_000, **changes) -> Outcome:
    """The end of a signal; 2023-11-14 by default."""
    values = {
        "signal_id": signal_id,
        "symbol": "BTCUSDT",
        "direction": "long",
        "tier": "prime",
        "traded": True,
        "opened_ms": closed_ms - 60_000,
        "closed_ms": closed_ms,
        "entry_price": Decimal("100.10"),
        "exit_price": Decimal("101.20"),
        "quantity": Decimal("0.5"),
        "realized_usdt": Decimal("0.55"),
        "fees_usdt": Decimal("0.04"),
        "funding_usdt": Decimal("0"),
        "net_usdt": Decimal("0.51"),
        "r_multiple": 1.25,
        "mfe_r": 1.5,
        "mae_r": -0.25,
        "exit_reason": "tp1",
    }
    return Outcome(**(values | changes))
