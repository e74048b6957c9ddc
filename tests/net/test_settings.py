"""Settings: a bad number is one line with key, found and allowed."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from cryptosignal.net.settings import (
    AccountFeedSettings,
    ClientSettings,
    LedgerSettings,
    TransportSettings,
)

BAD: list[tuple[type[msgspec.Struct], dict[str, Any], str]] = [
    (TransportSettings, {"proxy": "proxy:8080"}, "transport.proxy"),
    (TransportSettings, {"websocket": "tornado"}, "transport.websocket"),
    (TransportSettings, {"connections_max": 0}, "transport.connections_max"),
    (LedgerSettings, {"used_frac": 1.2}, "ledger.used_frac"),
    (LedgerSettings, {"guard_ms": -1}, "ledger.guard_ms"),
    (LedgerSettings, {"waiters_max": 0}, "ledger.waiters_max"),
    (ClientSettings, {"recv_window_ms": 5000}, "client.timeout_ms"),
    (ClientSettings, {"time_samples": 0}, "client.time_samples"),
    (AccountFeedSettings, {"renew_ms": 3_600_000}, "account_feed.renew_ms"),
    (AccountFeedSettings, {"backoff_jitter": 1.0}, "account_feed.backoff_jitter"),
    (AccountFeedSettings, {"silence_ms": 0}, "account_feed.silence_ms"),
]


@pytest.mark.parametrize(("kind", "values", "key"), BAD)
def test_a_bad_value_names_key_found_and_allowed(kind: Any, values: dict[str, Any], key: str):
    """The text is one line that a person can act on."""
    with pytest.raises(ValueError, match=f"^{key}: found .*allowed") as caught:
        kind(**values)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "kind", [TransportSettings, LedgerSettings, ClientSettings, AccountFeedSettings]
)
def test_unknown_keys_are_refused(kind: Any):
    """A misspelt key is an error, not a silent default."""
    with pytest.raises(msgspec.ValidationError, match="unknown field"):
        msgspec.convert({"proxi": 1}, kind)
