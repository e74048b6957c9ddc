"""What the page is told of the market: each row's price with its own age."""

from types import SimpleNamespace

import numpy as np
import pytest
from tests.markets import START_MS, random_market

from cryptosignal.domain.params import ParamSet
from cryptosignal.factors.catalogue import FactorEngine
from cryptosignal.market.marks import Marks
from cryptosignal.modes.publisher import market_rows
from cryptosignal.signals.decide import SignalMemory, decide

NOW_MS = START_MS + 3 * 3_600_000 + 250_000


def program():
    """A program whose last scan is 250 s old and whose marks go on."""
    view = random_market(9, symbols=4, end_ms=START_MS + 3 * 3_600_000)
    scan = decide(FactorEngine(ParamSet()).compute(view, 1, "manual"), ParamSet(), SignalMemory())
    marks, reads = Marks(8), []
    marks.put_mark(0, NOW_MS - 1_000, 77.0, 77.0, 0.0, 0)
    marks.put_ticker(0, NOW_MS - 5_000, 76.0, 1e6)
    marks.put_ticker(1, NOW_MS - 120_000, 5.0, 1e6)
    marks.put_mark(2, NOW_MS + 40, 9.0, 9.0, 0.0, 0)
    board = SimpleNamespace(
        marks=marks,
        intake=SimpleNamespace(read_marks=lambda: reads.append(1)),
        find=lambda symbol: view.symbols.index(symbol),
    )
    clock = SimpleNamespace(now_ms=lambda: NOW_MS)
    return SimpleNamespace(engine=SimpleNamespace(latest=scan), board=board, clock=clock), reads


def test_a_row_is_as_old_as_its_price():
    """A scan every five minutes makes no row old: the age is that of the newest mark or ticker, never
    below nothing, and that of the scan only where neither was heard."""
    made, reads = program()
    rows = market_rows(made)
    assert [row["age_s"] for row in rows] == pytest.approx([1.0, 120.0, 0.0, 250.0])
    assert reads  # what waits undecoded is read first
    assert rows[0]["price"] == 77.0
    assert np.isfinite(rows[3]["price"])
