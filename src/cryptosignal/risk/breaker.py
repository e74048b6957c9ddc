"""When to trade smaller and when to stop: account states, the daily loss, the kill switch.

Everything here is computed from facts that are journaled, so a restart finds the same state. A
breaker only ever refuses entries; exits, cancels and reduce-only orders never ask it (DESIGN §5.16).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from enum import IntEnum, StrEnum

from cryptosignal.ground.calendar import utc_day
from cryptosignal.ground.units import MINUTE_MS
from cryptosignal.risk.exposure import ZERO
from cryptosignal.risk.settings import RiskSettings

EVENTS_MAX = 2000


class AccountState(StrEnum):
    """How the account is doing; each state scales the size (DOMAIN §2 "Limits")."""

    NORMAL = "normal"
    CAUTIOUS = "cautious"
    RISK_AVERSE = "risk_averse"
    SHUTDOWN = "shutdown"


SCALE: dict[AccountState, Decimal] = {
    AccountState.NORMAL: Decimal(1),
    AccountState.CAUTIOUS: Decimal("0.7"),
    AccountState.RISK_AVERSE: Decimal("0.5"),
    AccountState.SHUTDOWN: ZERO,
}


class KillLevel(IntEnum):
    """The kill switch (RELIABILITY §3.10)."""

    OFF = 0
    NO_ENTRIES = 1
    CANCEL_ENTRIES = 2
    FLATTEN = 3


@dataclass(slots=True)
class Breaker:
    """Counts losses, drawdown, orders and errors; answers whether and how big an entry may be."""

    settings: RiskSettings
    kill: KillLevel = KillLevel.OFF
    kill_reason: str = ""
    losses_in_row: int = 0
    trades_closed: int = 0
    equity_peak_usdt: Decimal = ZERO
    equity_usdt: Decimal = ZERO
    day: str = ""
    day_equity_usdt: Decimal = ZERO
    shutdown_until_ms: int = 0
    shutdown_reason: str = ""
    entries_ms: list[int] = field(default_factory=list)
    orders_ms: list[int] = field(default_factory=list)
    errors_ms: list[int] = field(default_factory=list)

    def observe_equity(self, equity_usdt: Decimal, time_ms: int) -> None:
        """Wallet balance at exchange time `time_ms` (journaled sources only)."""
        self.equity_usdt = equity_usdt
        self.equity_peak_usdt = max(self.equity_peak_usdt, equity_usdt)
        day = utc_day(time_ms)
        if day > self.day:
            self.day, self.day_equity_usdt = day, equity_usdt

    def observe_transfer(self, amount_usdt: Decimal) -> None:
        """Money came in or went out: neither a gain nor a loss."""
        self.equity_peak_usdt = max(ZERO, self.equity_peak_usdt + amount_usdt)
        self.day_equity_usdt += amount_usdt

    def observe_close(self, net_usdt: Decimal) -> None:
        """A trade ended with `net_usdt` after fees and funding."""
        self.trades_closed += 1
        self.losses_in_row = self.losses_in_row + 1 if net_usdt < ZERO else 0

    def observe_order(self, time_ms: int, *, is_entry: bool) -> None:
        """An order left at `time_ms`."""
        _push(self.orders_ms, time_ms)
        if is_entry:
            _push(self.entries_ms, time_ms)

    def observe_error(self, time_ms: int) -> None:
        """An order was refused or its fate is unknown."""
        _push(self.errors_ms, time_ms)

    def trip(self, until_ms: int, reason: str) -> None:
        """SHUTDOWN until `until_ms` (a recorded fact)."""
        if until_ms > self.shutdown_until_ms:
            self.shutdown_until_ms, self.shutdown_reason = until_ms, reason
            self.losses_in_row = 0
            self.equity_peak_usdt = self.equity_usdt

    def set_kill(self, level: KillLevel, reason: str) -> None:
        """Throw or release the kill switch."""
        self.kill, self.kill_reason = level, reason

    def state(self, now_ms: int) -> AccountState:
        """Where the account stands: the worse of losses in a row and drawdown."""
        s = self.settings
        if now_ms < self.shutdown_until_ms:
            return AccountState.SHUTDOWN
        drawdown = self.drawdown_frac
        if self.losses_in_row >= s.losses_shutdown or drawdown >= s.drawdown_shutdown_frac:
            return AccountState.SHUTDOWN
        if self.losses_in_row >= s.losses_averse or drawdown >= s.drawdown_averse_frac:
            return AccountState.RISK_AVERSE
        if self.losses_in_row >= s.losses_cautious or drawdown >= s.drawdown_cautious_frac:
            return AccountState.CAUTIOUS
        return AccountState.NORMAL

    @property
    def drawdown_frac(self) -> Decimal:
        """Fall of equity from its peak, as a share of the peak."""
        if self.equity_peak_usdt <= ZERO:
            return ZERO
        return max(ZERO, 1 - self.equity_usdt / self.equity_peak_usdt)

    def day_loss_usdt(self, unrealized_usdt: Decimal) -> Decimal:
        """What this UTC day has lost so far, open positions at their mark included; ≥ 0."""
        if not self.day:
            return ZERO
        return max(ZERO, self.day_equity_usdt - self.equity_usdt - unrealized_usdt)

    def due_trip(self, now_ms: int, unrealized_usdt: Decimal) -> str | None:
        """The reason to shut down now, None if there is none or it is already shut."""
        if now_ms < self.shutdown_until_ms:
            return None
        loss = self.day_loss_usdt(unrealized_usdt)
        limit = min(
            self.settings.daily_loss_max_usdt,
            self.day_equity_usdt * self.settings.daily_loss_max_frac,
        )
        if self.day and limit > ZERO and loss >= limit:
            return f"daily loss {loss:.2f} USDT of at most {limit:.2f}"
        if self.state(now_ms) is AccountState.SHUTDOWN:
            return f"{self.losses_in_row} losses in a row, drawdown {self.drawdown_frac:.3f}"
        return None

    def refuse_entry(self, now_ms: int, confidence: Decimal) -> str | None:
        """Why no entry may be made now, None if one may."""
        if self.kill is not KillLevel.OFF:
            return f"kill switch level {int(self.kill)}: {self.kill_reason}"
        state = self.state(now_ms)
        if state is AccountState.SHUTDOWN:
            return f"shutdown: {self.shutdown_reason or 'losses'}"
        least = self._confidence_min(state)
        if confidence < least:
            return f"confidence {confidence} below {least} in state {state}"
        for name, times, limit in (
            ("entries", self.entries_ms, self.settings.entries_per_minute_max),
            ("orders", self.orders_ms, self.settings.orders_per_minute_max),
            ("errors", self.errors_ms, self.settings.errors_per_minute_max),
        ):
            count = sum(1 for t in times if now_ms - MINUTE_MS < t <= now_ms)
            if count >= limit:
                return f"{count} {name} in the last minute, at most {limit}"
        return None

    def scale(self, now_ms: int) -> Decimal:
        """The share of the risk budget that the state leaves."""
        return SCALE[self.state(now_ms)]

    def _confidence_min(self, state: AccountState) -> Decimal:
        s = self.settings
        return {
            AccountState.NORMAL: s.confidence_min_normal,
            AccountState.CAUTIOUS: s.confidence_min_cautious,
            AccountState.RISK_AVERSE: s.confidence_min_averse,
        }.get(state, Decimal(100))


def _push(times: list[int], time_ms: int) -> None:
    times.append(time_ms)
    if len(times) > EVENTS_MAX:
        del times[: EVENTS_MAX // 2]
