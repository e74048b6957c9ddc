"""Spacing of questions, whatever becomes of our clock."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from cryptosignal.risk.settings import RiskSettings
from cryptosignal.trading.errands import Errands, Round
from cryptosignal.trading.settings import TradingSettings
from cryptosignal.trading.state import TradingState

HOUR_MS = 3_600_000
NOW_MS = 1_790_000_000_000


@pytest.mark.parametrize("back_ms", [0, 1_500, HOUR_MS])
def test_lookups_that_prove_nothing_are_spaced_also_after_a_clock_was_set_back(back_ms):
    """An order that was seen by a later clock is asked for as rarely as any other: a question that
    cannot leave is no reason to ask a thousand times a second."""
    settings = TradingSettings()
    order = SimpleNamespace(
        client_id="csa-k1-s0",
        checked_ms=NOW_MS + back_ms,
        intent=SimpleNamespace(symbol="BTCUSDT"),
        is_algo=True,
    )
    errands, state = Errands(), TradingState(settings, RiskSettings(), "s")
    asked = 0
    for step in range(60_000 // 50):
        errands.mind_clock(NOW_MS + 50 * step)
        round_ = Round(state, errands, NOW_MS + 50 * step)
        round_.look_up(order, 0)
        asked += len(round_.actions)
    assert 10 <= asked <= 60_000 // settings.lookup_spacing_ms + 1
