"""Numbers of the network floor, with their defaults."""

from __future__ import annotations

import msgspec

_PROXY_SCHEMES = ("http://", "https://", "socks4://", "socks5://", "socks5h://")


class TransportSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Sockets. `proxy` is one URL for REST and WebSocket, "" for none; SOCKS needs the extra `proxy`.

    `websocket` picows or aiohttp; "auto" takes picows where it is installed and no proxy is set.
    `close_ms` is how long a peer may take to let go of a connection that we close.
    `ca_file` names a PEM bundle to trust instead of the system's.
    """

    proxy: str = ""
    ca_file: str = ""
    websocket: str = "auto"
    connections_max: int = 128
    keepalive_s: float = 15.0
    message_bytes_max: int = 16 * 1024 * 1024
    body_bytes_max: int = 64 * 1024 * 1024
    send_queue_max: int = 1024
    close_ms: int = 500

    def __post_init__(self) -> None:
        if self.proxy and not self.proxy.startswith(_PROXY_SCHEMES):
            allowed = ", ".join(_PROXY_SCHEMES)
            raise ValueError(
                f"transport.proxy: found {self.proxy!r}, allowed: a URL with {allowed}"
            )
        if self.websocket not in ("auto", "picows", "aiohttp"):
            raise ValueError(
                f"transport.websocket: found {self.websocket!r}, allowed: auto, picows, aiohttp"
            )
        _positive("transport", self, "connections_max", "keepalive_s", "message_bytes_max")
        _positive("transport", self, "body_bytes_max", "send_queue_max", "close_ms")


class LedgerSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The weight ledger (DESIGN D8). `used_frac` of each limit is planned with; `warm_up_frac` when
    flat; `urgent_frac` is what orders and cancels may reach, so that they never queue behind data.
    `guard_ms` is how late a request may arrive at the venue, and how wrong the clock is taken to be until
    it is measured; then its error is what was measured and `clock_guard_ms` more."""

    used_frac: float = 0.80
    data_frac: float = 0.72
    research_frac: float = 0.50
    warm_up_frac: float = 0.96
    urgent_frac: float = 0.98
    guard_ms: int = 1500
    clock_guard_ms: int = 250
    ban_default_ms: int = 60_000
    waiters_max: int = 10_000

    def __post_init__(self) -> None:
        for key in ("used_frac", "data_frac", "research_frac", "warm_up_frac", "urgent_frac"):
            value = getattr(self, key)
            if not 0 < value <= 1:
                raise ValueError(f"ledger.{key}: found {value}, allowed: above 0, at most 1")
        for key in ("guard_ms", "clock_guard_ms"):
            value = getattr(self, key)
            if not 0 <= value <= 10_000:
                raise ValueError(f"ledger.{key}: found {value}, allowed: 0 to 10000")
        _positive("ledger", self, "ban_default_ms", "waiters_max")


class ClientSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """REST calls. The client timeout stays above the venue's window, so that a call which we gave up
    on is dead at the venue soon after (RELIABILITY §3.2)."""

    recv_window_ms: int = 3000
    timeout_ms: int = 4000
    data_timeout_ms: int = 10_000
    order_wait_ms_max: int = 1000
    reconcile_wait_ms_max: int = 70_000
    time_samples: int = 3
    sync_ms: int = 300_000
    trade_pages_max: int = 20

    def __post_init__(self) -> None:
        _positive("client", self, "recv_window_ms", "timeout_ms", "data_timeout_ms")
        _positive("client", self, "sync_ms", "time_samples", "trade_pages_max", "order_wait_ms_max")
        if self.timeout_ms <= self.recv_window_ms:
            raise ValueError(
                f"client.timeout_ms: found {self.timeout_ms}, "
                f"allowed: above client.recv_window_ms ({self.recv_window_ms})"
            )


class AccountFeedSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The private stream. The key lives 60 min and is renewed at 30; a socket lives 24 h at most."""

    connect_timeout_ms: int = 10_000
    renew_ms: int = 30 * 60_000
    ping_ms: int = 20_000
    pong_timeout_ms: int = 10_000
    silence_ms: int = 300_000
    healthy_ms: int = 60_000
    lifetime_ms: int = 23 * 3_600_000 + 30 * 60_000
    snapshot_retry_ms: int = 2_000
    backoff_base_s: float = 1.0
    backoff_max_s: float = 60.0
    backoff_jitter: float = 0.1
    frames_max: int = 10_000

    def __post_init__(self) -> None:
        _positive("account_feed", self, "connect_timeout_ms", "renew_ms", "ping_ms")
        _positive(
            "account_feed", self, "pong_timeout_ms", "silence_ms", "healthy_ms", "lifetime_ms"
        )
        _positive("account_feed", self, "backoff_base_s", "backoff_max_s")
        if self.renew_ms >= 60 * 60_000:
            raise ValueError(
                f"account_feed.renew_ms: found {self.renew_ms}, allowed: below 3600000 (key life)"
            )
        if not 0 <= self.backoff_jitter < 1:
            raise ValueError(
                f"account_feed.backoff_jitter: found {self.backoff_jitter}, allowed: 0 to below 1"
            )


def _positive(section: str, settings: msgspec.Struct, *keys: str) -> None:
    for key in keys:
        value = getattr(settings, key)
        if value <= 0:
            raise ValueError(f"{section}.{key}: found {value}, allowed: above 0")
