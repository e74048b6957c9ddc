"""The limits of the store: impossible ones are refused with one line."""

from __future__ import annotations

import msgspec
import pytest

from cryptosignal.store.settings import StoreSettings


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        ("retention_days", 0, "store.retention_days: found 0, allowed: at least 1"),
        ("compression_level", 10, "store.compression_level: found 10, allowed: 1 to 9"),
        ("tape_segment_bytes", 2**40, "store.tape_segment_bytes: found 1099511627776, allowed"),
    ],
)
def test_impossible_limits(key, value, text):
    """Each impossible limit names its key, what was found and what is allowed."""
    with pytest.raises(ValueError, match=text):
        StoreSettings(**{key: value})


def test_unknown_key():
    """A key with a typo is refused by name."""
    with pytest.raises(msgspec.ValidationError, match="retention_dys"):
        msgspec.convert({"retention_dys": 3}, StoreSettings)
