"""Positions stand beside the signals of a scan: what the engine tells of them when it decides."""

import numpy as np
import pytest
from tests.markets import START_MS, random_market
from tests.signals.test_decide import EASY
from tests.trading.test_desk_life import ready
from tests.trading.toy_venue import decision

from cryptosignal.domain.events import ScanTaken
from cryptosignal.domain.scan import SYMBOL_TRIGGER
from cryptosignal.engine.step import Engine
from cryptosignal.factors.catalogue import FactorEngine
from cryptosignal.learning.outcomes import OutcomeTracker
from cryptosignal.learning.settings import OutcomeSettings
from cryptosignal.signals.decisions import PRIME
from cryptosignal.signals.memory import Published


def holding(side="long"):
    """A desk that holds BTCUSDT."""
    rig = ready()
    rig.open(decision(side=side, time_ms=rig.now))
    rig.run(1000)
    assert rig.desk.positions()[0].direction == side
    return rig.desk


def primes(desk, published=None, trigger="manual", symbols=slice(None)):
    """Prime symbols by side in a scan of a market that is Overlay as a whole."""
    view = random_market(9, symbols=12, end_ms=START_MS + 3 * 3_600_000)
    rows = FactorEngine(EASY).compute(view, 1, trigger)
    rows.columns["ctx.is_overlay"] = np.ones(12)
    engine = Engine(EASY, desk, OutcomeTracker(OutcomeSettings()))
    if published is not None:
        engine.memory.published["BTCUSDT"] = published
    engine.step(view.time_ms, ScanTaken(rows))
    found = engine.newest
    return {found.side(i) for i in range(len(found)) if found.tiers[i] == PRIME}, engine


@pytest.fixture(scope="module")
def free():
    """What the scan says when nothing is held."""
    return primes(ready().desk)[0]


def test_a_position_whose_signal_ended_still_sets_the_side(free):
    """No Prime looks against an Overlay position, its own side has them; without it the other has."""
    (side,) = free
    other = "short" if side == "long" else "long"
    ended = Published(other, "old", 1, 2, ended_ms=2, is_overlay=True)
    desk = holding(other)
    assert primes(desk, ended)[0] == {other}
    outside = Published(other, "old", 1, 2, ended_ms=2, is_overlay=False)
    assert primes(desk, outside)[0] == {side}
    assert primes(ready().desk, ended)[0] == {side}


def test_a_position_without_a_signal_is_what_the_scan_says_of_its_coin():
    """A person's own trade counts as Overlay when its coin is in the pool now, also where one symbol
    is decided alone."""
    desk = holding()
    _, engine = primes(desk)
    assert [(h.symbol, h.side, h.is_overlay) for h in engine._held(engine.latest.rows)] == [
        ("BTCUSDT", "long", True)
    ]
    alone = engine.latest.rows
    alone = type(alone)(
        2, alone.time_ms, SYMBOL_TRIGGER, alone.symbols[3:4],
        {name: value[3:4] for name, value in alone.columns.items()}, meta=alone.meta,
    )  # fmt: skip
    assert engine._held(alone)[0].is_overlay
