"""What an error answer proves (BINANCE §6): a table from code, status and text to a disposition.

The question is always the same: did the venue execute the request, did it not, or is that unknown?
Where the documents leave room, the answer is UNKNOWN: asking costs a query, guessing costs money.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from cryptosignal.domain.events import SendOutcome


class Disposition(StrEnum):
    """What an error answer means for the request that it answers."""

    REJECTED = "rejected"
    """Not executed; the same request would be refused again."""
    UNKNOWN = "unknown"
    """Perhaps executed: only the venue's books can tell."""
    NOT_SENT_OR_FAILED = "failed"
    """Not executed, through no fault of the request (overload, shutdown, throttle, WAF)."""
    DUPLICATE = "duplicate"
    """An open order with this client id exists already (-4116)."""
    GONE = "gone"
    """No such order, or no longer open (-2011, -2013): a question, not a proof of absence."""
    CLOCK = "clock"
    """Not executed: our timestamp is outside the window (-1021, -5028). Measure the time again."""
    HALT = "halt"
    """Not executed: signature, key or permission is wrong, or the venue refuses this location."""
    RATE_LIMITED = "rate_limited"
    """Not executed: too many requests or orders (429, 418, -1003, -1015)."""


_BY_CODE: Final[dict[int, Disposition]] = {
    -1000: Disposition.UNKNOWN,
    -1001: Disposition.NOT_SENT_OR_FAILED,
    -1002: Disposition.HALT,
    -1003: Disposition.RATE_LIMITED,
    -1006: Disposition.UNKNOWN,
    -1007: Disposition.UNKNOWN,
    -1008: Disposition.NOT_SENT_OR_FAILED,
    -1015: Disposition.RATE_LIMITED,
    -1016: Disposition.NOT_SENT_OR_FAILED,
    -1021: Disposition.CLOCK,
    -1022: Disposition.HALT,
    -2011: Disposition.GONE,
    -2013: Disposition.GONE,
    -2014: Disposition.HALT,
    -2015: Disposition.HALT,
    -4116: Disposition.DUPLICATE,
    -4117: Disposition.UNKNOWN,
    -5028: Disposition.CLOCK,
}
"""Codes that mean something else than REJECTED. -4117: the stop is just being triggered."""

_BY_TEXT_503: Final[tuple[tuple[str, Disposition], ...]] = (
    ("unknown error", Disposition.UNKNOWN),
    ("service unavailable", Disposition.NOT_SENT_OR_FAILED),
    ("unable to process", Disposition.NOT_SENT_OR_FAILED),
    ("throttled", Disposition.NOT_SENT_OR_FAILED),
)
"""The texts of HTTP 503 (BINANCE §6, A to D); anything else there is UNKNOWN."""

_BY_STATUS: Final[dict[int, Disposition]] = {
    401: Disposition.HALT,
    403: Disposition.NOT_SENT_OR_FAILED,
    404: Disposition.REJECTED,
    405: Disposition.REJECTED,
    408: Disposition.UNKNOWN,
    414: Disposition.REJECTED,
    418: Disposition.RATE_LIMITED,
    429: Disposition.RATE_LIMITED,
    451: Disposition.HALT,
}
"""Statuses whose body names no code: a proxy, a WAF, the venue's door."""

GEO_BLOCK_STATUS: Final = 451
GEO_BLOCK_TEXT: Final = "HTTP 451: the venue refuses this location; set a proxy or another base URL"


def disposition(status: int, code: int, message: str) -> Disposition:
    """What an answer with HTTP `status` ≥ 400 and body `code`, `message` proves.

    >>> disposition(503, 0, "Unknown error, please check your request or try again later.").value
    'unknown'
    """
    if status in (418, 429):
        return Disposition.RATE_LIMITED
    known = _BY_CODE.get(code)
    if status == 503:
        return known if known is not None and code != -1000 else _by_text(message)
    if known is not None:
        return known
    if code < 0 and 400 <= status < 500 and status != 408:
        return Disposition.REJECTED
    return _BY_STATUS.get(status, Disposition.UNKNOWN)


def _by_text(message: str) -> Disposition:
    lower = message.lower()
    for text, meaning in _BY_TEXT_503:
        if text in lower:
            return meaning
    return Disposition.UNKNOWN


_OUTCOMES: Final[dict[Disposition, SendOutcome]] = {
    Disposition.REJECTED: SendOutcome.REJECTED,
    Disposition.UNKNOWN: SendOutcome.UNKNOWN,
    Disposition.NOT_SENT_OR_FAILED: SendOutcome.REJECTED,
    Disposition.DUPLICATE: SendOutcome.UNKNOWN,
    Disposition.GONE: SendOutcome.REJECTED,
    Disposition.CLOCK: SendOutcome.REJECTED,
    Disposition.HALT: SendOutcome.REJECTED,
    Disposition.RATE_LIMITED: SendOutcome.REJECTED,
}
"""REJECTED: the venue proved that it did not execute. A duplicate id means that an earlier send of
ours lives: the order exists, so its fate is looked up."""


def outcome_of(meaning: Disposition) -> SendOutcome:
    """What the disposition of an answer proves about a request that changes state."""
    return _OUTCOMES[meaning]
