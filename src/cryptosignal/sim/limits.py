"""Request weights, order counts, 429 and 418 per client address (BINANCE §3)."""

from __future__ import annotations

import msgspec

from cryptosignal.ground.units import MINUTE_MS, SECOND_MS
from cryptosignal.sim.orders import Refusal
from cryptosignal.sim.settings import VenueSettings

_FIVE_MINUTES_MS = 5 * MINUTE_MS
WARNINGS_BEFORE_BAN = 10
"""Requests sent into a 429 before the ban."""
ON_THE_WIRE_MS = 1_000
"""What arrives so soon after the first 429 had left before anybody could know of it, and is no warning:
the ban is for those who ignore a 429 (BINANCE §3), and others behind the address may use it up at once.
"""
BAN_MAX_MS = 3 * 86_400_000
CLIENTS_MAX = 10_000


class Window(msgspec.Struct, eq=False):
    """Use within one fixed window of the clock."""

    span_ms: int
    opened_ms: int = -1
    used: int = 0

    def add(self, now_ms: int, amount: int) -> int:
        """Count `amount` and return the use of the current window."""
        opened = now_ms // self.span_ms * self.span_ms
        if opened != self.opened_ms:
            self.opened_ms, self.used = opened, 0
        self.used += amount
        return self.used


class Visitor(msgspec.Struct, eq=False):
    """What one client address has used."""

    weight: Window
    spot: Window
    data: Window
    funding: Window
    warnings: int = 0
    bans: int = 0
    banned_until_ms: int = 0
    blocked_window_ms: int = -1
    refused_ms: int = 0
    """The first refusal of that window."""
    blocked_until_ms: int = 0
    """End of the window whose limit was exceeded last: of a minute, or of five."""


class Limits:
    """Counters of all client addresses and accounts."""

    def __init__(self, settings: VenueSettings) -> None:
        self._settings = settings
        self._visitors: dict[str, Visitor] = {}
        self._orders: dict[int, tuple[Window, Window]] = {}
        self.refusals_429 = 0
        self.refusals_418 = 0

    def clients(self) -> list[str]:
        """Addresses seen so far."""
        return list(self._visitors)

    def visitor(self, client: str) -> Visitor:
        """Counters of one address."""
        found = self._visitors.get(client)
        if found is None:
            if len(self._visitors) >= CLIENTS_MAX:
                self._visitors.clear()
            found = Visitor(
                Window(MINUTE_MS),
                Window(MINUTE_MS),
                Window(_FIVE_MINUTES_MS),
                Window(_FIVE_MINUTES_MS),
            )
            self._visitors[client] = found
        return found

    def charge(self, now_ms: int, client: str, pool: str, weight: int) -> int:
        """Count a request; returns the weight used this minute. Raises 429 and 418 refusals."""
        visitor, s = self.visitor(client), self._settings
        if now_ms < visitor.banned_until_ms:
            self.refusals_418 += 1
            raise _banned(client, visitor.banned_until_ms)
        limit, window = {
            "weight": (s.weight_limit_1m, visitor.weight),
            "spot": (s.spot_weight_limit_1m, visitor.spot),
            "data": (s.futures_data_limit_5m, visitor.data),
            "funding": (s.funding_limit_5m, visitor.funding),
        }[pool]
        used = window.add(now_ms, weight)
        if used > limit:
            self._excess(now_ms, client, visitor, window)
        return window.used if pool == "spot" else visitor.weight.add(now_ms, 0)

    def _excess(self, now_ms: int, client: str, visitor: Visitor, window: Window) -> None:
        if visitor.blocked_window_ms != window.opened_ms:
            visitor.blocked_window_ms, visitor.warnings = window.opened_ms, 0
            visitor.refused_ms = now_ms
        visitor.blocked_until_ms = window.opened_ms + window.span_ms
        visitor.warnings += now_ms > visitor.refused_ms + ON_THE_WIRE_MS
        if visitor.warnings > WARNINGS_BEFORE_BAN:
            span = min(BAN_MAX_MS, self._settings.ban_ms * 4**visitor.bans)
            visitor.bans += 1
            visitor.banned_until_ms = now_ms + span
            visitor.warnings = 0
            self.refusals_418 += 1
            raise _banned(client, visitor.banned_until_ms)
        self.refusals_429 += 1
        raise Refusal(
            -1003,
            f"Too many requests; current limit of IP({client}) is {self._settings.weight_limit_1m} requests"
            " per minute. Please use the websocket for live updates to avoid polling the API.",
            429,
        )

    def is_refusing(self, now_ms: int) -> bool:
        """Some address may ask nothing now: it is banned, or its minute's weight is used up."""
        return any(
            now_ms < v.banned_until_ms or v.weight.add(now_ms, 0) >= self._settings.weight_limit_1m
            for v in self._visitors.values()
        )

    def retry_after_s(self, now_ms: int, client: str) -> int:
        """Seconds until this address may ask again."""
        visitor = self.visitor(client)
        until = max(visitor.banned_until_ms, visitor.blocked_until_ms)
        if until <= now_ms:
            until = now_ms // MINUTE_MS * MINUTE_MS + MINUTE_MS
        return max(1, -(-(until - now_ms) // SECOND_MS))

    def ban(self, now_ms: int, client: str, span_ms: int) -> None:
        """Ban an address (fault injection)."""
        self.visitor(client).banned_until_ms = now_ms + span_ms

    def order(self, now_ms: int, account: int, on_10s: int, on_1m: int) -> tuple[int, int]:
        """Count an order; returns the counts of 10 s and 1 min. Raises -1015."""
        windows = self._orders.setdefault(account, (Window(10 * SECOND_MS), Window(MINUTE_MS)))
        short, long = windows[0].add(now_ms, on_10s), windows[1].add(now_ms, on_1m)
        s = self._settings
        if short > s.order_limit_10s or long > s.order_limit_1m:
            raise Refusal(
                -1015,
                f"Too many new orders; current limit is {s.order_limit_10s} orders per 10 SECOND.",
                429,
            )
        return short, long

    def order_counts(self, now_ms: int, account: int) -> tuple[int, int]:
        """Current counts without adding."""
        windows = self._orders.setdefault(account, (Window(10 * SECOND_MS), Window(MINUTE_MS)))
        return windows[0].add(now_ms, 0), windows[1].add(now_ms, 0)


def _banned(client: str, until_ms: int) -> Refusal:
    return Refusal(
        -1003,
        f"Way too many requests; IP({client}) banned until {until_ms}. "
        "Please use the websocket for live updates to avoid bans.",
        418,
    )
