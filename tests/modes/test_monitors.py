"""The monitors see what must never happen when it is planted into a real simulated venue."""

from __future__ import annotations

from decimal import Decimal

import pytest
from tests.sim.driver import Client

from cryptosignal.modes.monitors import NAKED_LIMIT_MS, Monitors


@pytest.fixture
def watched():
    client = Client(seed=3)
    return client, Monitors(client.venue)


def enter(client, client_id, side="BUY"):
    reply = client.order(side=side, type="MARKET", quantity="0.01", newClientOrderId=client_id)
    assert "orderId" in reply, reply


def protect(client, client_id="csa-k-s1", side="SELL"):
    price = client.price() * (0.9 if side == "SELL" else 1.1)
    reply = client.algo(
        side=side,
        type="STOP_MARKET",
        quantity="0.01",
        reduceOnly=True,
        triggerPrice=f"{price:.1f}",
        clientAlgoId=client_id,
    )
    assert "algoId" in reply, reply


def look(client, monitors, seconds):
    for _ in range(seconds):
        client.run(1_000)
        monitors.check(client.now)


def test_a_protected_position_is_no_violation(watched):
    """A stop that rests in time leaves a naked span and nothing else."""
    client, monitors = watched
    enter(client, "csa-k-e1")
    look(client, monitors, 2)
    protect(client)
    look(client, monitors, 30)
    assert monitors.violations == []
    [span] = monitors.naked_spans_ms
    assert 0 < span < 5_000
    assert (monitors.counts["entries"], monitors.fills) == (1, 1)


def test_a_naked_position_is_seen_once(watched):
    """A position without a stop for longer than the limit is one violation."""
    client, monitors = watched
    enter(client, "csa-k-e1")
    look(client, monitors, NAKED_LIMIT_MS // 1000)
    assert monitors.violations == []
    look(client, monitors, 10)
    [found] = monitors.violations
    assert found.kind == "naked"
    assert "BTCUSDT" in found.detail


def test_a_second_entry_of_one_signal_is_seen(watched):
    """Two filled entries under one signal key are a violation; another key is not."""
    client, monitors = watched
    enter(client, "csa-k-e1")
    look(client, monitors, 1)
    enter(client, "csa-other-e1")
    look(client, monitors, 1)
    assert [v.kind for v in monitors.violations] == []
    enter(client, "csa-k-e2")
    look(client, monitors, 1)
    assert [v.kind for v in monitors.violations] == ["double_entry"]
    assert monitors.counts["entries"] == 2


def test_a_stop_cancelled_under_a_position_is_seen(watched):
    """Cancelling the only stop of a position is a violation; cancelling one of two is none."""
    client, monitors = watched
    enter(client, "csa-k-e1")
    protect(client, "csa-k-s1")
    protect(client, "csa-k-s2")
    look(client, monitors, 2)
    for name, kinds in (("csa-k-s1", []), ("csa-k-s2", ["uncovered"])):
        client.call("DELETE", "/fapi/v1/algoOrder", signed=True, clientAlgoId=name)
        look(client, monitors, 2)
        assert [v.kind for v in monitors.violations] == kinds, name


def test_one_id_filled_twice_is_seen(watched):
    """A market order sent again under the same client id fills again: a violation."""
    client, monitors = watched
    enter(client, "csa-k-e1")
    look(client, monitors, 1)
    enter(client, "csa-k-e1")
    look(client, monitors, 1)
    assert [v.kind for v in monitors.violations] == ["double_entry"]


def test_divergence_is_seen(watched):
    """Positions that differ, orders left on a flat symbol and naked positions are all named."""
    client, monitors = watched
    held = {"BTCUSDT": Decimal("0.01")}
    enter(client, "csa-k-e1")
    protect(client)
    look(client, monitors, 1)
    assert monitors.converged(held) == []
    assert "position BTCUSDT: here 0, venue 0.01" in monitors.converged({})[0]
    assert "position ETHUSDT: here 1, venue 0" in monitors.converged(
        {**held, "ETHUSDT": Decimal(1)}
    )
    client.order(side="SELL", type="MARKET", quantity="0.01", newClientOrderId="manual")
    client.order(
        side="BUY",
        type="LIMIT",
        timeInForce="GTC",
        quantity="0.01",
        price=f"{client.price() * 0.96:.1f}",
        newClientOrderId="csa-k-e3",
    )
    look(client, monitors, 1)
    assert any("orphan order csa-k-e3" in line for line in monitors.converged({}))


def test_a_foreign_order_is_nobodys_orphan(watched):
    """What a person placed by hand is not the program's to clean up."""
    client, monitors = watched
    client.order(
        side="BUY",
        type="LIMIT",
        timeInForce="GTC",
        quantity="0.01",
        price=f"{client.price() * 0.96:.1f}",
        newClientOrderId="by-hand",
    )
    look(client, monitors, 1)
    assert monitors.converged({}) == []


def test_the_trace_follows_every_fill(watched):
    """The trace hash changes with a fill and with nothing else."""
    client, monitors = watched
    before = monitors.trace.hexdigest()
    look(client, monitors, 2)
    assert monitors.trace.hexdigest() == before
    enter(client, "csa-k-e1")
    look(client, monitors, 1)
    assert monitors.trace.hexdigest() != before


def test_an_order_that_fills_after_its_trade_was_closed_is_seen(watched):
    """Books that were closed too early are a violation; a fill before the close is none."""
    client, monitors = watched
    enter(client, "csa-k-e1")
    look(client, monitors, 1)
    monitors.note_closed("k")
    assert [v.kind for v in monitors.violations] == []
    client.order(side="SELL", type="MARKET", quantity="0.01", newClientOrderId="csa-k-x1")
    look(client, monitors, 1)
    assert [v.kind for v in monitors.violations] == ["late"]
