"""A scan's input to the engine: the factor rows of every symbol at one moment, as columns.

This is what a decision block journals (D2): with it a decision can be taken again without the tape.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

Column = NDArray[np.float64]

SYMBOL_TRIGGER: Final = "symbol"
"""The trigger of a refresh: the rows are one symbol's, decided beside the scans of the market."""


@dataclass(frozen=True, slots=True)
class ScanRows:
    """Columns over symbols: `columns[name][i]` belongs to `symbols[i]`; NaN means no data.

    `time_ms` is the decision time: nothing in here was known later. `trigger` says why the scan
    ran (`bar:1h`, `interval`, `manual`, `symbol`).
    """

    scan_id: int
    time_ms: int
    trigger: str
    symbols: tuple[str, ...]
    columns: dict[str, Column]
    elapsed_us: int = 0
    tape_position: int = 0
    meta: dict[str, str] = field(default_factory=dict)
