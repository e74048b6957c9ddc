"""Digest chains over actions."""

from __future__ import annotations

from cryptosignal.domain.actions import Note, StopProcess, TakeSnapshot, WakeAt
from cryptosignal.engine.digest import DigestChain


def test_equal_actions_give_equal_chains_and_different_ones_differ():
    """Two chains fed the same steps agree; one other word in one step and they part for good."""
    first, second, third = DigestChain(), DigestChain(), DigestChain()
    for step in range(5):
        first.add(step, (TakeSnapshot("audit"),))
        second.add(step, (TakeSnapshot("audit"),))
        third.add(step, (TakeSnapshot("audit" if step != 2 else "other"),))
    assert first.value == second.value
    assert first.value != third.value


def test_the_moment_is_part_of_the_chain():
    """The same action at another time is another link."""
    first, second = DigestChain(), DigestChain()
    first.add(1, (StopProcess("x"),))
    second.add(2, (StopProcess("x"),))
    assert first.value != second.value


def test_notes_and_wake_ups_are_no_links():
    """Words for people and the engine's own timers do not enter the chain."""
    chain = DigestChain()
    assert chain.add(1, (Note("a.b", {"x": 1}), WakeAt("t", 5))) is None
    assert chain.links == 0
