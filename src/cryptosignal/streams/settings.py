"""Numbers of the stream layer: the section `websocket` of the configuration, the user's key names.

Defaults are DOMAIN §1.7 as settled by §0: pool of five, 200 streams a connection, ping 20/10 s,
back-off 1·2ⁿ s to 60 s ± 10 %, ten tries before FAILED, heartbeat 30/60 s, reconciliation 300/60 s.
"""

from __future__ import annotations

from typing import Final

import msgspec

from cryptosignal.streams.names import MARKET_CANARY

VENUE_STREAMS_MAX: Final = 1024
"""Streams that the venue allows a connection (BINANCE §3)."""
VENUE_MESSAGES_PER_S_MAX: Final = 10
"""Messages a second that the venue takes from a client (BINANCE §3)."""


class FeedSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Pool, back-off, heartbeat and reconciliation. Times in seconds unless the name says ms."""

    market_canary: str = MARKET_CANARY
    max_connections: int = 5
    max_streams_per_connection: int = 200
    streams_per_connection_limit: int = VENUE_STREAMS_MAX
    ping_interval: float = 20.0
    ping_timeout: float = 10.0
    base_delay: float = 1.0
    max_delay: float = 60.0
    jitter: float = 0.1
    max_retries: int = 10
    heartbeat_interval: float = 30.0
    heartbeat_timeout: float = 60.0
    cadence_timeout: float = 15.0
    first_data_timeout: float = 10.0
    ack_timeout: float = 10.0
    connect_timeout: float = 10.0
    healthy_after: float = 5.0
    max_connection_age: float = 23 * 3600.0
    renewal_timeout: float = 60.0
    subscribe_batch: int = 100
    messages_per_second: int = 5
    url_streams: int = 50
    stagger: float = 0.2
    flush_ms: int = 50
    flush_at_close_ms: int = 3
    kline_reconcile_interval: float = 300.0
    depth_reconcile_interval: float = 60.0
    price_tolerance: float = 0.0001
    volume_tolerance: float = 0.01
    depth_id_gap: int = 100
    depth_behind_ms: int = 2_000
    repair_interval: float = 2.0
    repair_concurrency: int = 8
    repair_rows_max: int = 499

    def __post_init__(self) -> None:
        _within("max_connections", self.max_connections, 1, 20)
        _within("streams_per_connection_limit", self.streams_per_connection_limit, 1, 1024)
        _within(
            "max_streams_per_connection",
            self.max_streams_per_connection,
            1,
            self.streams_per_connection_limit,
        )
        _within("messages_per_second", self.messages_per_second, 1, 9)
        _within("subscribe_batch", self.subscribe_batch, 1, 200)
        _within("url_streams", self.url_streams, 1, 200)
        _within("jitter", self.jitter, 0.0, 0.5)
        _within("max_retries", self.max_retries, 1, 1000)
        _within("base_delay", self.base_delay, 0.05, self.max_delay)
        _within("max_connection_age", self.max_connection_age, 60.0, 24 * 3600.0 - 60.0)
        for key in (
            "ping_interval",
            "ping_timeout",
            "heartbeat_interval",
            "heartbeat_timeout",
            "cadence_timeout",
            "first_data_timeout",
            "ack_timeout",
            "connect_timeout",
            "renewal_timeout",
            "kline_reconcile_interval",
            "depth_reconcile_interval",
            "repair_interval",
        ):
            _within(key, getattr(self, key), 0.1, 86_400.0)
        for key in ("flush_ms", "flush_at_close_ms", "repair_concurrency", "repair_rows_max"):
            _within(key, getattr(self, key), 1, 10_000)
        for key in ("price_tolerance", "volume_tolerance"):
            _within(key, getattr(self, key), 0.0, 1.0)


def _within(key: str, found: float, low: float, high: float) -> None:
    if not low <= found <= high:
        raise ValueError(f"websocket.{key}: found {found}, allowed: {low} to {high}")
