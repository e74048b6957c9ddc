"""Patience at the start: questions that change nothing are asked again, nothing else ever is.

Only faults that call themselves retryable are met with patience (STYLE 18); what cannot be reached at
all is told to the person soon, since waiting does not mend a wrong address.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from cryptosignal.binance.codes import Disposition, disposition
from cryptosignal.ground.faults import Fault, RateLimited, Refused, TimedOut, Unreachable
from cryptosignal.streams.backoff import ExponentialBackoff

T = TypeVar("T")

TRIES_MAX = 6
UNREACHABLE_TRIES_MAX = 2
_SERVER_ERROR = 500
_PASSING = (Disposition.UNKNOWN, Disposition.NOT_SENT_OR_FAILED, Disposition.CLOCK)
"""Answers that are no answer to a question: overload, a timeout inside the venue, a clock set wrong."""


async def patiently(
    question: Callable[[], Awaitable[T]],
    backoff: ExponentialBackoff,
    on_retry: Callable[[Fault], None],
    tries_max: int = TRIES_MAX,
) -> T:
    """Ask up to `tries_max` times; the last fault is raised as it came.

    `question` must not change anything at the venue.
    """
    tries = 0
    while True:
        tries += 1
        try:
            return await question()
        except Fault as fault:
            limit = UNREACHABLE_TRIES_MAX if isinstance(fault, Unreachable) else tries_max
            if tries >= limit or not _is_worth_asking_again(fault):
                raise
            on_retry(fault)
        await asyncio.sleep(backoff.next_delay())


async def soon(question: Callable[[], Awaitable[T]], limit_s: float) -> T:
    """One answer within `limit_s`, whatever the client's own patience. Raises TimedOut."""
    try:
        async with asyncio.timeout(limit_s):
            return await question()
    except TimeoutError:
        raise TimedOut(f"no answer within {limit_s:g} s") from None


def _is_worth_asking_again(fault: Fault) -> bool:
    if isinstance(fault, RateLimited):
        return False  # whoever asked waits until the venue allows it again
    if not isinstance(fault, Refused):
        return fault.is_retryable
    meaning = disposition(fault.status, fault.code, fault.message)
    return fault.status >= _SERVER_ERROR or meaning in _PASSING
