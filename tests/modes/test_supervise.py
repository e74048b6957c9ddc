"""Which answers to a question of the start are met with patience."""

from __future__ import annotations

import asyncio

import pytest

from cryptosignal.ground.faults import Refused, TimedOut, Unreachable
from cryptosignal.modes.supervise import TRIES_MAX, UNREACHABLE_TRIES_MAX, patiently, soon


class Always:
    """A backoff that never waits."""

    def next_delay(self):
        return 0.0


async def asked(fault, fails=99, **kwargs):
    """How often a question that meets `fault` so many times is asked."""
    asks = []

    async def question():
        asks.append(1)
        if len(asks) <= fails:
            raise fault
        return "answer"

    try:
        await patiently(question, Always(), lambda _: None, **kwargs)
    except type(fault):
        return len(asks)
    return len(asks)


@pytest.mark.parametrize(
    ("fault", "tries"),
    [
        (TimedOut("slow"), TRIES_MAX),
        (Unreachable("nobody"), UNREACHABLE_TRIES_MAX),
        (Refused(-1007, "Timeout waiting for response from backend server.", 408), TRIES_MAX),
        (Refused(-1008, "Request throttled.", 503), TRIES_MAX),
        (Refused(-1001, "Internal error", 400), TRIES_MAX),
        (Refused(0, "<html>", 502), TRIES_MAX),
        (Refused(-1022, "Signature for this request is not valid.", 400), 1),
        (Refused(-1121, "Invalid symbol.", 400), 1),
        (Refused(-451, "blocked", 451), 1),
    ],
)
async def test_only_answers_that_may_pass_are_asked_for_again(fault, tries):
    """A venue that is overloaded or timed out inside is asked again; one that says no is not."""
    assert await asked(fault) == tries


async def test_an_answer_ends_the_asking():
    """The first answer is the last question."""
    assert await asked(TimedOut("slow"), fails=2) == 3


async def test_a_start_in_haste_tries_more_often():
    """Whoever pauses for less may try more often for the same patience."""
    assert await asked(TimedOut("slow"), tries_max=9) == 9


async def test_an_answer_that_does_not_come_is_given_up_soon():
    """A question of a start in haste is timed out long before the client would."""

    async def never():
        await asyncio.Event().wait()

    with pytest.raises(TimedOut, match=r"no answer within 0\.01 s"):
        await soon(never, 0.01)

    async def at_once():
        return "answer"

    assert await soon(at_once, 60.0) == "answer"
