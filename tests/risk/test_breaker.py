"""Account states, trips and the kill switch; none of them ever asks about an exit."""

from __future__ import annotations

from decimal import Decimal

import pytest

from cryptosignal.ground.units import DAY_MS, MINUTE_MS
from cryptosignal.risk.breaker import SCALE, AccountState, Breaker, KillLevel
from cryptosignal.risk.settings import RiskSettings

D = Decimal
NOW = 20_000 * DAY_MS + 3_600_000


def breaker(**settings) -> Breaker:
    found = Breaker(RiskSettings(**settings))
    found.observe_equity(D(1000), NOW)
    return found


@pytest.mark.parametrize(
    ("losses", "state"),
    [(0, "normal"), (2, "normal"), (3, "cautious"), (5, "risk_averse"), (7, "shutdown")],
)
def test_losses_in_a_row(losses, state):
    """3, 5 and 7 losses in a row move the state; the size follows it."""
    found = breaker()
    for _ in range(losses):
        found.observe_close(D(-1))
    assert found.state(NOW) == state
    assert found.scale(NOW) == SCALE[AccountState(state)]


def test_a_win_ends_the_row():
    """One win resets the count of losses."""
    found = breaker()
    for net in (-1, -1, -1, 2):
        found.observe_close(D(net))
    assert found.state(NOW) is AccountState.NORMAL


@pytest.mark.parametrize(
    ("equity", "state"),
    [(960, "normal"), (950, "cautious"), (900, "risk_averse"), (850, "shutdown")],
)
def test_drawdown(equity, state):
    """5, 10 and 15 % below the peak move the state."""
    found = breaker()
    found.observe_equity(D(equity), NOW + 1)
    assert found.state(NOW + 1) == state


def test_daily_loss_counts_open_positions():
    """Realised and unrealised loss of the day together trip at 3 %."""
    found = breaker()
    found.observe_equity(D(985), NOW + 1)
    assert found.due_trip(NOW + 1, D(-14)) is None
    assert "daily loss" in found.due_trip(NOW + 1, D(-16))


def test_trip_holds_for_its_time():
    """After a trip nothing is entered until the time is over, then the state is normal again."""
    found = breaker()
    for _ in range(7):
        found.observe_close(D(-1))
    assert found.due_trip(NOW, D(0))
    found.trip(NOW + DAY_MS, "losses")
    assert "shutdown" in found.refuse_entry(NOW + DAY_MS - 1, D(99))
    assert found.due_trip(NOW + 1, D(0)) is None
    assert found.refuse_entry(NOW + DAY_MS, D(99)) is None


def test_new_day_starts_from_its_own_equity():
    """The loss of yesterday is not the loss of today."""
    found = breaker()
    found.observe_equity(D(975), NOW + DAY_MS)
    assert found.day_loss_usdt(D(0)) == 0


def test_transfers_are_no_loss():
    """A withdrawal moves peak and day's start, so that it trips nothing."""
    found = breaker()
    found.observe_transfer(D(-500))
    found.observe_equity(D(500), NOW + 1)
    assert found.state(NOW + 1) is AccountState.NORMAL
    assert found.due_trip(NOW + 1, D(0)) is None


@pytest.mark.parametrize(
    "level", [KillLevel.NO_ENTRIES, KillLevel.CANCEL_ENTRIES, KillLevel.FLATTEN]
)
def test_kill_refuses_entries(level):
    """Every level of the kill switch refuses entries with its reason."""
    found = breaker()
    found.set_kill(level, "by hand")
    assert "by hand" in found.refuse_entry(NOW, D(99))
    found.set_kill(KillLevel.OFF, "")
    assert found.refuse_entry(NOW, D(99)) is None


def test_rates():
    """Entries, orders and errors of the last minute are limits; old ones are forgotten."""
    found = breaker(entries_per_minute_max=2, errors_per_minute_max=1)
    found.observe_order(NOW, is_entry=True)
    assert found.refuse_entry(NOW, D(99)) is None
    found.observe_order(NOW + 1, is_entry=True)
    assert "entries" in found.refuse_entry(NOW + 1, D(99))
    assert found.refuse_entry(NOW + 2 * MINUTE_MS, D(99)) is None
    found.observe_error(NOW + 2 * MINUTE_MS)
    assert "errors" in found.refuse_entry(NOW + 2 * MINUTE_MS, D(99))


def test_confidence_rises_with_caution():
    """A worse state asks for more confidence."""
    found = breaker()
    assert found.refuse_entry(NOW, D(1)) is None
    for _ in range(3):
        found.observe_close(D(-1))
    assert "confidence" in found.refuse_entry(NOW, D(44))
    assert found.refuse_entry(NOW, D(46)) is None
