"""Patience in scaled time: at speed 60 a wait of 10 venue seconds is a sixth of a wall second.

What a network, a scheduler and a person need is wall time, so deadlines of requests, connections and
frames are stretched with the speed. What the venue means (bars, funding, the life of a key) is not.
"""

from __future__ import annotations

from typing import TypeVar

import msgspec

from cryptosignal.modes.config import Config

T = TypeVar("T", bound=msgspec.Struct)

_WEBSOCKET_S = (
    "ping_interval",
    "ping_timeout",
    "cadence_timeout",
    "first_data_timeout",
    "ack_timeout",
    "connect_timeout",
    "heartbeat_interval",
    "heartbeat_timeout",
    "base_delay",
    "max_delay",
    "stagger",
)
_WEBSOCKET_MS = ("flush_ms", "flush_at_close_ms")
_CLIENT_MS = ("timeout_ms", "data_timeout_ms", "order_wait_ms_max")
_ACCOUNT_FEED_MS = ("connect_timeout_ms", "ping_ms", "pong_timeout_ms", "snapshot_retry_ms")
_MARKET_MS = ("late_ms", "close_grace_ms", "reorder_window_ms")
_FLUSH_MS_MAX = 10_000
_RECV_WINDOW_MS_MAX = 59_999
"""The venue refuses a window of a minute and more (-1131)."""
_GUARD_MS_MAX = 10_000
_DAY_S = 86_400.0


def at_speed(config: Config, speed: float) -> Config:
    """The configuration for venue time that runs `speed` times as fast as the wall (1: unchanged)."""
    if speed <= 1.0:
        return config
    return msgspec.structs.replace(
        config,
        client=_stretched(
            _stretched(config.client, speed, _CLIENT_MS),
            speed,
            ("recv_window_ms",),
            _RECV_WINDOW_MS_MAX,
        ),
        account_feed=_stretched(config.account_feed, speed, _ACCOUNT_FEED_MS),
        websocket=_stretched(
            _stretched(config.websocket, speed, _WEBSOCKET_S, _DAY_S),
            speed,
            _WEBSOCKET_MS,
            _FLUSH_MS_MAX,
        ),
        market=_stretched(config.market, speed, _MARKET_MS),
        ledger=_stretched(config.ledger, speed, ("guard_ms",), _GUARD_MS_MAX),
    )


def _stretched(settings: T, speed: float, keys: tuple[str, ...], most: float | None = None) -> T:
    changes = {}
    for key in keys:
        value = getattr(settings, key)
        longer = value * speed if most is None else min(value * speed, most)
        changes[key] = type(value)(longer)
    return msgspec.structs.replace(settings, **changes)
