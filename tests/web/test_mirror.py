"""The page's copy: a tab that applies the changes it is given always has the engine's rows."""

from __future__ import annotations

import types

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptosignal.ground.clock import host_mono_ns
from cryptosignal.modes.snapshots import Snapshot
from cryptosignal.web.mirror import Freshness, Mirror
from cryptosignal.web.settings import PageSettings

markets = st.lists(
    st.dictionaries(st.sampled_from("ABCDE"), st.integers(0, 2), max_size=5), min_size=1, max_size=8
)


def snapshot(kind, body, age_s=0.0):
    return Snapshot(kind, 1, host_mono_ns() - int(age_s * 1e9), body)


def market(prices, age_s=0.0):
    rows = [{"symbol": symbol, "price": price} for symbol, price in prices.items()]
    return snapshot("market", {"rows": rows}, age_s)


@given(markets, st.sets(st.integers(0, 7)))
def test_applying_changes_gives_the_rows(history, looks):
    """Whenever a tab looks, adding, replacing and removing what it is told yields the newest rows,
    and it is never told to add what it has or to touch what it has not."""
    mirror, version, have = Mirror(PageSettings()), 0, {}
    for at, prices in enumerate(history):
        mirror.take(market(prices))
        if at not in looks and at + 1 < len(history):
            continue
        changes = mirror.changes(version, have.keys())
        version = changes.version
        for row in changes.remove:
            del have[row["symbol"]]
        assert not {row["symbol"] for row in changes.add} & have.keys()
        assert {row["symbol"] for row in changes.update} <= have.keys()
        have |= {row["symbol"]: row["price"] for row in [*changes.add, *changes.update]}
        assert have == prices


def test_a_row_that_did_not_change_is_not_sent():
    """Equal rows cost a tab nothing."""
    mirror = Mirror(PageSettings())
    mirror.take(market({"A": 1, "B": 1}))
    version = mirror.changes(0, set()).version
    mirror.take(market({"A": 1, "B": 2}))
    changes = mirror.changes(version, {"A", "B"})
    assert (changes.add, changes.update) == ([], [{"symbol": "B", "price": 2}])
    assert not mirror.changes(changes.version, {"A", "B"})


def test_rows_without_a_name_are_left_out():
    """A row without a symbol cannot be shown and does no harm."""
    mirror = Mirror(PageSettings())
    mirror.take(snapshot("market", {"rows": [{"price": 1}, {"symbol": "A"}]}))
    assert list(mirror.rows) == ["A"]


def test_the_strongest_symbol_comes_first():
    """The first symbol shown has the highest Prime strength; no data counts as none."""
    mirror = Mirror(PageSettings())
    assert mirror.strongest() == ""
    rows = [{"symbol": "A"}, {"symbol": "C", "prime_strength": 9.0},
            {"symbol": "B", "prime_strength": None}]  # fmt: skip
    mirror.take(snapshot("market", {"rows": rows}))
    assert mirror.strongest() == "C"


@pytest.mark.parametrize(
    ("silent_s", "market_s", "state", "words"),
    [
        (None, None, Freshness.WAITING, "Waiting for the engine: no engine answers at x"),
        (0.5, None, Freshness.WARMING, "has not scanned the market yet"),
        (0.5, 1.0, Freshness.FRESH, ""),
        (0.5, 14.2, Freshness.LATE, "market snapshot is 14 s old"),
        (12.3, 12.0, Freshness.SILENT, "not answering since 12 s"),
        (12.3, 1.0, Freshness.SILENT, "not answering since 12 s"),
    ],
)
def test_old_data_are_called_old(silent_s, market_s, state, words):
    """The state follows the engine's last sign of life first, then the market's age."""
    mirror = Mirror(PageSettings())
    if market_s is not None:
        mirror.take(market({"A": 1}, market_s))
    client = types.SimpleNamespace(silent_s=lambda: silent_s, fault="no engine answers at x")
    found, line = mirror.judge(client)
    assert found is state
    assert words in line
    assert bool(line) == (state is not Freshness.FRESH)


def test_warming_tells_how_far_it_is():
    """Before the first scan the line carries the engine's own word on its progress."""
    mirror = Mirror(PageSettings())
    mirror.take(snapshot("run", {"progress": "klines 74 of 140 symbols"}))
    client = types.SimpleNamespace(silent_s=lambda: 0.1, fault="")
    assert mirror.judge(client)[1].endswith("yet. klines 74 of 140 symbols")


@pytest.mark.parametrize("name", PageSettings.__struct_fields__)
def test_settings_are_positive(name):
    """A zero is refused with its key, the value found and what is allowed."""
    with pytest.raises(ValueError, match=rf"web.{name}: found 0, allowed: above 0"):
        PageSettings(**{name: 0})
