"""Sizes come from the stop distance, and every cap can bind or refuse."""

from __future__ import annotations

from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptosignal.domain.instrument import (
    PERPETUAL_DELIVERY_MS,
    Filters,
    Instrument,
    LeverageBracket,
)
from cryptosignal.domain.order import Direction
from cryptosignal.risk.exposure import Exposure, SymbolExposure
from cryptosignal.risk.settings import RiskSettings
from cryptosignal.risk.sizing import (
    Refusal,
    Size,
    SizeRequest,
    choose_leverage,
    size_position,
    unlimited_leverage,
)

D = Decimal
LONG, SHORT = Direction.LONG, Direction.SHORT
BTC = Instrument(
    "BTCUSDT",
    "BTC",
    "USDT",
    "TRADING",
    "PERPETUAL",
    "COIN",
    0,
    PERPETUAL_DELIVERY_MS,
    Filters(
        D("0.1"),
        D("0.1"),
        D(10**6),
        D("0.001"),
        D("0.001"),
        D(1000),
        D("0.001"),
        D("0.001"),
        D(120),
        D(5),
    ),
)
FLAT = Exposure(D(10_000))
WIDE = RiskSettings(risk_max_usdt=D(1000))


def ask(**changes) -> SizeRequest:
    base = {"direction": LONG, "price": D(100), "stop_price": D(98), "strength": D(90)}
    return SizeRequest(**{**base, **changes})


def size(request: SizeRequest, exposure: Exposure = FLAT, settings: RiskSettings = WIDE) -> Size:
    found = size_position(request, exposure, BTC, settings)
    assert isinstance(found, Size), found
    return found


def reason(
    request: SizeRequest, exposure: Exposure = FLAT, settings: RiskSettings = WIDE, what=BTC
) -> str:
    found = size_position(request, exposure, what, settings)
    assert isinstance(found, Refusal), found
    return found.reason


def at(
    symbol: str, quantity: int, price: int = 100, pending: int = 0, foreign: int = 0
) -> SymbolExposure:
    return SymbolExposure(symbol, D(quantity), D(pending), D(foreign), D(price))


def test_risk_is_budget_over_stop_distance():
    """0.5 % of 10,000 USDT over a stop of 2 USDT buys 25 units; the cap of 6 USDT buys 3."""
    assert size(ask()).quantity == D("25.000")
    assert size(ask()).risk_usdt == D(50)
    assert size(ask(), settings=RiskSettings()).quantity == D("3.000")


def test_mirror():
    """A short with the mirrored stop gets the same size."""
    assert size(ask(direction=SHORT, stop_price=D(102))).quantity == size(ask()).quantity


@pytest.mark.parametrize(
    ("settings", "bound_by"),
    [
        (RiskSettings(risk_max_usdt=D(1000), symbol_notional_max_usdt=D(500)), "symbol notional"),
        (RiskSettings(risk_max_usdt=D(1000), gross_notional_max_frac=D("0.05")), "gross notional"),
        (
            RiskSettings(risk_max_usdt=D(1000), correlated_notional_max_frac=D("0.05")),
            "correlation",
        ),
        (RiskSettings(risk_max_usdt=D(1000), symbol_notional_max_frac=D("0.01")), "symbol share"),
    ],
)
def test_caps_bind(settings, bound_by):
    """Each notional cap binds by its own name and leaves at most 500 USDT."""
    found = size(ask(), settings=settings)
    assert found.bound_by == bound_by
    assert found.notional_usdt <= D(500)


@pytest.mark.parametrize(
    ("request_", "text"),
    [
        (ask(stop_price=D(101)), "wrong side"),
        (ask(direction=SHORT), "wrong side"),
        (ask(stop_price=D("99.99")), "stop distance"),
        (ask(stop_price=D(50)), "stop distance"),
        (ask(cost_frac=D("0.01")), "cost"),
        (ask(scale_frac=D(0)), "state"),
        (ask(price=D(0)), "no price"),
    ],
)
def test_refusals_say_why(request_, text):
    """A request that cannot be right is refused with its reason."""
    assert text in reason(request_)


def test_a_person_may_accept_the_costs():
    """Costs that refuse a signal do not refuse a trade that a person chose."""
    assert size(ask(cost_frac=D("0.01"), is_cost_accepted=True)).quantity > 0


def test_counts_refuse():
    """Position count, direction count and the symbol itself are limits."""
    three = Exposure(D(10_000), (at("A", 1), at("B", -1), at("C", 1)))
    assert "positions" in reason(ask(), three)
    assert "already at stake" in reason(ask(), Exposure(D(10_000), (at("BTCUSDT", 1),)))
    tight = RiskSettings(same_direction_max=1)
    assert "look" in reason(ask(), Exposure(D(10_000), (at("A", 1),)), tight)


def test_unknown_counts_as_filled():
    """A pending entry uses the count and the gross room as if it were filled."""
    pending = Exposure(D(10_000), tuple(at(s, 0, pending=1) for s in "ABC"))
    assert "positions" in reason(ask(), pending)
    assert pending.gross_usdt == D(300)


def test_foreign_positions_use_room():
    """What others hold on the account counts in the gross."""
    crowded = Exposure(D(10_000), (at("A", 0, foreign=299),))
    roomy = RiskSettings(risk_max_usdt=D(1000), correlated_notional_max_frac=D(9))
    assert size(ask(), crowded, roomy).notional_usdt <= D(100)


def test_correlation_is_signed():
    """The same direction uses correlated room, the opposite one does not."""
    held = Exposure(D(10_000), (at("A", 199),))
    rho = {"A": D(1)}
    assert size(ask(correlations=rho), held).bound_by == "correlation"
    assert (
        size(ask(direction=SHORT, stop_price=D(102), correlations=rho), held).bound_by
        != "correlation"
    )


def test_brackets_limit_the_notional():
    """At a leverage the venue allows only up to a notional, the notional is the cap."""
    brackets = (LeverageBracket(D(1000), 20), LeverageBracket(D(5000), 3))
    found = size(ask(brackets=brackets))
    assert found.bound_by == "bracket"
    assert found.notional_usdt <= D(1000)


def test_ramp_takes_the_least():
    """On the live ramp an entry has the least size that the filters allow."""
    found = size(ask(is_ramp=True))
    assert D("10") <= found.notional_usdt <= D("10.4")


def test_least_notional_refuses():
    """A budget below the least notional is refused, never rounded up."""
    poor = Exposure(D(20))
    assert "least notional" in reason(ask(), poor)


def test_status_refuses():
    """A symbol that is not trading is refused."""
    gone = msgspec.structs.replace(BTC, status="SETTLING")
    assert "SETTLING" in reason(ask(), what=gone)


@pytest.mark.parametrize(("strength", "leverage"), [(85, 5), (80, 3), (61, 3), (60, 2), (0, 2)])
def test_leverage_by_strength(strength, leverage):
    """5 above 80, 3 above 60, else 2."""
    assert choose_leverage(ask(strength=D(strength)), RiskSettings()) == leverage


def test_leverage_cap():
    """The configured cap is above every rule."""
    assert choose_leverage(ask(), RiskSettings(leverage_max=1)) == 1


def test_unlimited_rule_and_its_cap():
    """The rule as written reaches 24× at p .70 and confidence 1; the cap holds it; it is opt-in."""
    assert unlimited_leverage(D("0.70"), D(1)) == D(24)
    assert unlimited_leverage(D("0.40"), D("0.1")) == D(1)
    wild = RiskSettings(
        unlimited_leverage=True, unlimited_leverage_max=10, gross_notional_max_frac=D(99)
    )
    request = ask(p=D("0.70"), confidence=D(100), is_unlimited_allowed=True)
    assert choose_leverage(request, wild) == 10
    assert choose_leverage(msgspec.structs.replace(request, is_unlimited_allowed=False), wild) == 5
    assert choose_leverage(request, RiskSettings()) == 5


@given(
    price=st.decimals("0.5", "50000", places=1),
    distance=st.decimals("0.01", "0.1", places=3),
    equity=st.integers(100, 10**6),
    is_long=st.booleans(),
)
def test_rounding_never_raises_risk(price, distance, equity, is_long):
    """The risk at the stop never exceeds the budget, and the quantity sits on the step."""
    direction = LONG if is_long else SHORT
    stop = price * (1 - direction.sign * distance)
    found = size_position(
        ask(direction=direction, price=price, stop_price=stop),
        Exposure(D(equity)),
        BTC,
        RiskSettings(),
    )
    if isinstance(found, Size):
        budget = min(D(equity) * D("0.005"), D(6))
        assert found.risk_usdt <= budget + D("1e-9")
        assert found.quantity % D("0.001") == 0
        assert found.quantity <= D(120)


@pytest.mark.parametrize(
    "bad",
    [
        {"risk_frac": D(0)},
        {"leverage_max": 0},
        {"losses_cautious": 9},
        {"drawdown_cautious_frac": D("0.9")},
        {"margin_usage_max_frac": D(2)},
    ],
)
def test_settings_are_validated(bad):
    """A limit that makes no sense stops the program with a line that names it."""
    with pytest.raises(ValueError, match=r"risk\."):
        RiskSettings(**bad)


@pytest.mark.parametrize("is_market", [True, False])
def test_a_stop_must_be_able_to_cover(is_market):
    """No entry is larger than one market stop can close, whatever its own order type allows."""
    rich = Exposure(D(10**7))
    roomy = RiskSettings(risk_max_usdt=D(10**6), symbol_notional_max_usdt=D(10**6))
    assert size(ask(is_market=is_market), rich, roomy).quantity == D(120)
