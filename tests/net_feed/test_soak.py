"""The feed against the simulated venue in virtual time, calm and at storm: the truth at the end."""

from __future__ import annotations

import pytest
from tests.net_feed.soak import Plan, Soak, empty, judge, soak

from cryptosignal.ground.loop import VirtualLoop
from cryptosignal.modes.virtual_net import NetFaults

SMALL = Plan(hours=0.34, symbols=5, intervals=("1m", "5m"), warm=2, hot=1, rest_minutes=8)


def test_calm_raises_no_alarm():
    """Without faults every bar and book level is the venue's, no connection is lost, no comparison
    differs, and every symbol is trusted."""
    loop = VirtualLoop()
    try:
        rig = Soak(loop, Plan(**{**vars(SMALL), "faults": "calm", "net": NetFaults()}))
        loop.run_until_complete(rig.run())
        result, found = loop.run_until_complete(judge(rig))
        assert found == []
        assert result.is_well
        assert rig.feed.reasons == {}
        assert rig.feed.renewals == 0
        assert "stream.went_silent" not in rig.notes
        assert rig.repairer.bars_mismatched == rig.repairer.books_mismatched == 0
        assert rig.repairer.bars_compared > 100
        assert rig.repairer.books_compared > 5
        assert rig.quality.score[: len(rig.symbols)].min() > 0.95
        loop.run_until_complete(rig.stop())
    finally:
        empty(loop)


@pytest.mark.parametrize("seed", [11, 12])
def test_a_storm_loses_nothing(seed):
    """After twenty minutes of every network fault and a quiet spell every bar and book level is the
    venue's, and no 429 was of our own making."""
    result, found = soak(Plan(**{**vars(SMALL), "seed": seed}))
    assert found == []
    assert result.is_well, result
    assert result.reconnects > 0
    assert result.faults_injected > 30
    assert result.data_quality_min < 0.9


@pytest.mark.long
def test_six_stormy_hours_lose_nothing():
    """The same over six hours, 40 symbols and all five intervals."""
    result, found = soak(Plan(hours=6.0, symbols=40, seed=5))
    assert found == []
    assert result.is_well, result
