"""Network faults one at a time: what is lost (nothing), and what DataQual says meanwhile."""

from __future__ import annotations

import pytest
from tests.net_feed.faults import FAULTS, run_fault, table

SHORT = (
    "reset in mid-frame", "half-open connection", "silent stall, pongs fine",
    "acknowledged but silent", "24 h, planned renewal", "name or TLS fails",
    "the market's marks alone fall silent",
)  # fmt: skip

BY_HAND = ("24 h, closed by the venue", "slow reader, then a burst", "maintenance")
"""What the rig itself does, uncounted by network and venue."""


def check(fault):
    """Run one fault and judge its row."""
    row, found = run_fault(fault)
    assert found == []
    assert row.is_well, table([row])
    return row


@pytest.mark.parametrize("fault", [f for f in FAULTS if f.name in SHORT], ids=lambda f: f.name)
def test_after_the_fault_the_cache_is_the_venues_own(fault):
    """After the fault every bar and book level equals the venue's, DataQual fell while it did not,
    and no wrong cache was trusted for longer than it took to notice."""
    row = check(fault)
    if fault.name == "24 h, planned renewal":
        assert row.whole_s == row.trusted_s == 0
        assert row.noticed_by == "connection.was_renewed"


@pytest.mark.long
@pytest.mark.parametrize("fault", [f for f in FAULTS if f.name not in SHORT], ids=lambda f: f.name)
def test_nor_do_the_other_faults_cost_anything(fault):
    """The rest of the menu, judged alike; a fault by rates must have struck."""
    row = check(fault)
    assert row.struck > 0 or "alone" in fault.name or fault.name in BY_HAND
