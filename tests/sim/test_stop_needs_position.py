"""A venue may refuse a reduce-only stop while nothing is held; which way the real one goes is open."""

from __future__ import annotations

import pytest
from tests.sim.driver import Client


def stop(client):
    price = client.price() * 0.9
    return client.algo(
        side="SELL",
        type="STOP_MARKET",
        quantity="0.01",
        reduceOnly=True,
        triggerPrice=f"{price:.1f}",
        clientAlgoId="csa-k-s0",
    )


@pytest.mark.parametrize("needs", [False, True])
def test_a_stop_without_a_position(needs):
    """Taken by default; refused with -2022 where the setting says so, until there is a position."""
    client = Client(seed=3, stop_needs_position=needs)
    reply = stop(client)
    assert reply.get("code") == -2022 if needs else "algoId" in reply
    if needs:
        client.order(side="BUY", type="MARKET", quantity="0.01", newClientOrderId="csa-k-e0")
        assert "algoId" in stop(client)


def test_a_used_up_minute_is_known():
    """The venue says whether some address may ask nothing now; a new minute ends it."""
    client = Client(seed=3)
    limits = client.venue.exchange.limits
    client.price()
    assert not limits.is_refusing(client.now)
    address = limits.clients()[0]
    limits.visitor(address).weight.add(client.now, 10_000)
    assert limits.is_refusing(client.now)
    assert not limits.is_refusing(client.now + 60_000)
