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
