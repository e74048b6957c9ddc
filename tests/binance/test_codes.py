"""Error answers: what each proves about the request."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptosignal.binance.codes import Disposition, disposition, outcome_of
from cryptosignal.domain.events import SendOutcome

D = Disposition
UNKNOWN_TEXT = "Unknown error, please check your request or try again later."
INTERNAL_TEXT = "Internal error; unable to process your request. Please try again."
THROTTLED_TEXT = (
    "Request throttled by system-level protection. "
    "Reduce-only/close-position orders are exempt. Please try again."
)
TABLE = [
    (503, 0, UNKNOWN_TEXT, D.UNKNOWN),
    (503, -1000, UNKNOWN_TEXT, D.UNKNOWN),
    (503, 0, "Service Unavailable.", D.NOT_SENT_OR_FAILED),
    (503, -1001, INTERNAL_TEXT, D.NOT_SENT_OR_FAILED),
    (503, 0, INTERNAL_TEXT, D.NOT_SENT_OR_FAILED),
    (503, -1008, THROTTLED_TEXT, D.NOT_SENT_OR_FAILED),
    (503, 0, "<html>nginx</html>", D.UNKNOWN),
    (400, -1006, "", D.UNKNOWN),
    (400, -1007, "", D.UNKNOWN),
    (408, -1007, "", D.UNKNOWN),
    (408, 0, "", D.UNKNOWN),
    (500, 0, "", D.UNKNOWN),
    (502, 0, "", D.UNKNOWN),
    (504, 0, "", D.UNKNOWN),
    (400, -1021, "", D.CLOCK),
    (400, -5028, "", D.CLOCK),
    (400, -1022, "", D.HALT),
    (401, -2014, "", D.HALT),
    (401, -2015, "", D.HALT),
    (401, 0, "", D.HALT),
    (451, 0, "", D.HALT),
    (400, -2011, "Unknown order sent.", D.GONE),
    (400, -2013, "Order does not exist.", D.GONE),
    (400, -4116, "", D.DUPLICATE),
    (400, -2010, "", D.REJECTED),
    (400, -2019, "", D.REJECTED),
    (400, -2021, "", D.REJECTED),
    (400, -2022, "", D.REJECTED),
    (400, -4120, "", D.REJECTED),
    (400, -4130, "", D.REJECTED),
    (400, -4164, "", D.REJECTED),
    (400, -5021, "", D.REJECTED),
    (429, -1003, "", D.RATE_LIMITED),
    (418, -1003, "", D.RATE_LIMITED),
    (429, 0, "", D.RATE_LIMITED),
    (400, -1015, "", D.RATE_LIMITED),
    (403, 0, "", D.NOT_SENT_OR_FAILED),
    (404, -5000, "", D.REJECTED),
    (400, 0, "<html>", D.UNKNOWN),
]


@pytest.mark.parametrize(("status", "code", "message", "meaning"), TABLE)
def test_each_answer_has_its_meaning(status: int, code: int, message: str, meaning: Disposition):
    """The table of BINANCE §6, and the safe reading where it is silent."""
    assert disposition(status, code, message) is meaning


@given(st.integers(500, 599), st.text(max_size=40))
def test_a_server_error_without_words_of_failure_is_never_a_rejection(status: int, text: str):
    """Nothing the venue's machinery says by itself proves that an order was not executed."""
    words = ("service unavailable", "unable to process", "throttled")
    if not any(word in text.lower() for word in words):
        assert disposition(status, 0, text) is D.UNKNOWN


@pytest.mark.parametrize("meaning", list(Disposition))
def test_outcomes_follow_dispositions(meaning: Disposition):
    """Only what may have been executed is UNKNOWN; a duplicate id means that ours may live."""
    unknown = meaning in (D.UNKNOWN, D.DUPLICATE)
    assert outcome_of(meaning) is (SendOutcome.UNKNOWN if unknown else SendOutcome.REJECTED)
