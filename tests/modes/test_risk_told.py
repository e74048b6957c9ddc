"""What the weight ledger is told of positions and orders, so that a warm-up leaves the reserve."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from types import SimpleNamespace

import pytest

from cryptosignal.modes.config import Config
from cryptosignal.modes.program import Program
from cryptosignal.modes.station import Access
from cryptosignal.modes.whereabouts import runtime_dir
from cryptosignal.net.transport import TransportSettings

ZERO = Decimal(0)


def told(
    *, signer="key", is_real=True, is_reconciled=True, trades=(), strays=(), book=(ZERO, ZERO)
):
    """(flat, at risk) as the ledger is told by a program in this state."""
    heard = {}
    venue, foreign = book
    program = SimpleNamespace(
        setup=SimpleNamespace(signer=signer, checks_key=is_real),
        desk=SimpleNamespace(
            state=SimpleNamespace(
                trades=trades,
                strays=strays,
                is_reconciled=is_reconciled,
                books={"BTCUSDT": SimpleNamespace(venue_quantity=venue, foreign=foreign)},
            )
        ),
        ledger=SimpleNamespace(
            set_flat=lambda flat: heard.update(flat=flat),
            set_at_risk=lambda risk: heard.update(risk=risk),
        ),
    )
    Program._tell_risk(program)
    return heard["flat"], heard["risk"]


def test_flat_is_what_is_known_to_be_flat():
    """Without a key nothing can be open; with one only an account that was read and holds nothing."""
    assert told(signer=None, is_real=False, is_reconciled=False) == (True, False)
    assert told(is_reconciled=False) == (False, False)
    assert told() == (True, False)


@pytest.mark.parametrize(
    "state",
    [
        {"trades": {"BTCUSDT": 1}},
        {"strays": {"order": 1}},
        {"book": (Decimal("0.1"), ZERO)},
        {"book": (ZERO, Decimal("-0.1"))},
    ],
)
def test_anything_open_is_told(state):
    """A trade, an order that is nobody's, a position at the venue or of others: the usual share for
    us, and on an account that others can reach also for the host's other processes."""
    assert told(**state) == (False, True)
    assert told(is_real=False, **state) == (False, False)


def test_real_venues_share_the_ledger_of_the_host():
    """What the known names open on a real venue counts together with every process of the host."""

    async def main():
        access = Access(Config(transport=TransportSettings()), "binance", ("BTCUSDT",), 1)
        await access.open()
        try:
            return access.ledger_dir, access.client()._ledger._file is not None
        finally:
            await access.close()

    assert asyncio.run(main()) == (runtime_dir(), True)
