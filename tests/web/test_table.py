"""The market table's definition: every field of a row has its column, every helper exists."""

from __future__ import annotations

import re

import pytest

from cryptosignal.modes.bodies import MarketRow
from cryptosignal.web.page import asset
from cryptosignal.web.table import columns, grid_options, tier_filter


def test_every_field_of_a_row_has_a_column():
    """The table shows exactly what the socket's market rows carry."""
    assert {column["field"] for column in columns()} == set(MarketRow.__annotations__)


def helpers(value):
    if isinstance(value, dict):
        for key, inner in value.items():
            if key.startswith(":"):
                yield inner
            yield from helpers(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from helpers(inner)


def test_every_helper_is_in_the_script():
    """Each cell function that the grid names is returned by the page's script."""
    returned = asset("page.js").rsplit("return {", 1)[1]
    named = set(helpers(grid_options(90.0)))
    assert named
    for name in named:
        assert re.fullmatch(r"cs\.\w+", name)
        assert re.search(rf"\b{name[3:]}\b[:,\s]", returned)


@pytest.mark.parametrize(
    ("choice", "column"),
    [("prime", "tier"), ("watch", "tier"), ("long", "side"), ("short", "side")],
)
def test_a_choice_is_an_exact_filter(choice, column):
    """Each button filters its column by its own word."""
    assert tier_filter(choice)[column]["filter"] == choice
    assert tier_filter(choice)[column]["type"] == "equals"


def test_all_is_no_filter():
    """The first button takes every filter away."""
    assert tier_filter("all") == {}
