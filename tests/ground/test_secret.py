"""Secrets stay secret in every ordinary way of showing a value."""

from __future__ import annotations

import pickle

import msgspec
import pytest

from cryptosignal.ground.secret import Secret


def test_a_secret_shows_nothing():
    """str, repr, formatting and containers show a mask; reveal() alone gives the value."""
    secret = Secret("planted")
    shown = [
        str(secret),
        repr(secret),
        f"{secret}",
        f"{secret!r:>20}",
        repr([secret]),
        f"{ {1: secret} }",
    ]
    assert not any("planted" in text for text in shown)
    assert secret.reveal() == "planted"


def test_a_secret_is_not_encoded_or_pickled():
    """It cannot slip into a file through a serialiser."""
    with pytest.raises(TypeError):
        pickle.dumps(Secret("planted"))
    with pytest.raises(TypeError):
        msgspec.json.encode({"key": Secret("planted")})


def test_secrets_compare_by_value():
    """Equal values are equal secrets, and an empty one is false."""
    assert Secret("a") == Secret("a")
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"
    assert len({Secret("a"), Secret("a")}) == 1
    assert not Secret("")
