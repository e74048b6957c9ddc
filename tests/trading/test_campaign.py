"""Seeded storms against the desk: every kind of fault at once, then healing, then the truth."""

from __future__ import annotations

from decimal import Decimal

import pytest
from tests.trading.toy_venue import ENTRY_FIRST, Faults, Rig, decision

from cryptosignal.domain.events import OperatorCommanded
from cryptosignal.domain.order import OrderState

D = Decimal
SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT")
STORM = Faults(
    event_lost=0.05,
    event_twice=0.1,
    event_late=0.1,
    request_lost=0.05,
    request_late=0.05,
    reply_lost=0.05,
    lookup_fails=0.1,
    lookup_stale=0.1,
    snapshot_fails=0.1,
    stop_refused=0.05,
    parts=0.3,
    stop_vanishes=0.05,
)


def storm(seed: int, rounds: int = 60) -> Rig:
    """Signals, price moves, crashes and drops for a while, then a healed venue and quiet."""
    rig = Rig(ENTRY_FIRST if seed % 2 else None, faults=STORM, seed=seed)
    rng = rig.rng
    signals = 0
    for _ in range(rounds):
        symbol = rng.choice(SYMBOLS)
        dice = rng.random()
        if dice < 0.35:
            signals += 1
            side = rng.choice(["long", "short"])
            price = float(rig.venue.price(symbol))
            rig.open(decision(f"s{signals}", symbol, side, price, rig.now))
        elif dice < 0.75:
            step = D(rng.randrange(-15, 16)) / 1000
            rig.price(symbol, (rig.venue.price(symbol) * (1 + step)).quantize(D("0.01")))
        elif dice < 0.82:
            rig.crash()
            rig.venue.now_ms += rng.randrange(100, 6000)
            rig.boot()
        elif dice < 0.88:
            rig.disconnect()
            rig.run(rng.randrange(100, 5000))
            rig.connect()
        elif dice < 0.92:
            algos = [a for a in rig.venue.algos.values() if a.status == "NEW"]
            if algos:
                rig.venue.cancel_silently(rng.choice(algos).intent.client_id)
        rig.run(rng.randrange(10, 20_000))
    heal(rig)
    return rig


def heal(rig: Rig) -> None:
    """Faults end; the desk has a minute of venue time, then everything is closed."""
    rig.faults = Faults()
    rig.run(60_000)
    check_agreement(rig)
    for trade in list(rig.desk.state.trades.values()):
        assert not trade.naked_since_ms, f"{trade.symbol} is naked after healing"
    rig.live(OperatorCommanded("close_all", {}))
    rig.run(90_000)


def check_agreement(rig: Rig) -> None:
    """Local quantities equal the venue's."""
    state = rig.desk.state
    for symbol in SYMBOLS:
        assert state.net(symbol) == rig.venue.positions.get(symbol, D(0)), symbol


@pytest.mark.parametrize("seed", range(12))
def test_storm_ends_in_agreement(seed):
    """After any storm heals: no double entry, agreement, no orphan, nothing naked for long."""
    rig = storm(seed)
    assert max(rig.venue.entries.values(), default=0) <= 1
    check_agreement(rig)
    assert not rig.desk.state.trades
    assert rig.venue.own_open() == []
    assert all(q == 0 for q in rig.venue.positions.values())
    unknown = [o for o in rig.desk.state.orders.values() if o.state is OrderState.UNKNOWN]
    assert unknown == []
    seen = [(t.symbol, t.trade_id) for t in rig.venue.trades]
    assert len(seen) == len(set(seen))
