"""Pairs of faults that met within a minute."""

from __future__ import annotations

from itertools import pairwise

from cryptosignal.modes.meetings import KILL, LOOK_S, POSSIBLE, Meetings


def test_pairs_are_met_within_a_look_or_two_and_no_longer():
    """What struck since the last look or the one before it is a pair; what lies further back is not."""
    meetings = Meetings()
    meetings.look({"pause": 1})
    meetings.look({"pause": 1, "halt": 1})
    assert meetings.met == {"halt+pause"}
    meetings.look({"pause": 1, "halt": 1})
    meetings.look({"pause": 1, "halt": 1, "delist": 2})
    assert meetings.met == {"halt+pause"}
    meetings.look({"pause": 2, "halt": 1, "delist": 2, KILL: 1})
    assert meetings.met == {"halt+pause", "delist+kill", "kill+pause", "delist+pause"}


def test_two_old_strikes_are_no_new_pair():
    """Of the last look's strikes alone nothing new is made."""
    meetings = Meetings()
    meetings.look({"halt": 1})
    meetings.look({"halt": 1})
    assert meetings.met == set()


def test_every_pair_of_the_menu_has_one_name():
    """Names are in the order of the alphabet, each pair once, and no fault meets itself."""
    assert all(one < other for one, other in (name.split("+") for name in POSSIBLE))
    assert LOOK_S <= 30.0
    names = sorted({name for pair in POSSIBLE for name in pair.split("+")})
    assert len(POSSIBLE) == len(names) * (len(names) - 1) // 2
    assert all(f"{one}+{other}" in POSSIBLE for one, other in pairwise(names))
