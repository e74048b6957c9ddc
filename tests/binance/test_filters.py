"""Order rules: everything conformed passes, nothing is ever rounded into more risk."""

from __future__ import annotations

from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptosignal.binance import filters
from cryptosignal.binance.filters import Violation, check, conform, conform_price, conform_quantity
from cryptosignal.domain.instrument import Filters, Instrument
from cryptosignal.domain.order import Leg, OrderIntent, OrderKind, Side

D = Decimal
RULES = Filters(
    tick_size=D("0.10"),
    min_price=D("556.80"),
    max_price=D("4529764"),
    step_size=D("0.001"),
    min_qty=D("0.001"),
    max_qty=D("1000"),
    market_step_size=D("0.001"),
    market_min_qty=D("0.001"),
    market_max_qty=D("120"),
    min_notional_usdt=D("100"),
    multiplier_up=D("1.05"),
    multiplier_down=D("0.95"),
    max_num_orders=200,
)
BTC = Instrument(
    symbol="BTCUSDT",
    base="BTC",
    quote="USDT",
    status="TRADING",
    contract_type="PERPETUAL",
    underlying_type="COIN",
    onboard_ms=0,
    delivery_ms=4_133_404_800_000,
    filters=RULES,
    price_precision=2,
    quantity_precision=3,
)


def intent(**changes: object) -> OrderIntent:
    """A valid limit entry, changed."""
    base = OrderIntent(
        client_id="csa-k-e0",
        signal_id="s",
        symbol="BTCUSDT",
        leg=Leg.ENTRY,
        side=Side.BUY,
        kind=OrderKind.LIMIT,
        quantity=D("0.010"),
        created_ms=0,
        price=D("60000.00"),
    )
    return msgspec.structs.replace(base, **changes)


VIOLATIONS = [
    ({}, None, None, 0),
    ({"quantity": D("0.0101")}, None, filters.TOO_MANY_DECIMALS, 0),
    ({"price": D("60000.001")}, None, filters.TOO_MANY_DECIMALS, 0),
    ({"quantity": D("0")}, None, filters.QTY_LESS_THAN_MIN, 0),
    ({"quantity": D("1000.001")}, None, filters.QTY_GREATER_THAN_MAX, 0),
    ({"price": D("60000.05")}, None, filters.PRICE_NOT_ON_TICK, 0),
    ({"price": D("556.70"), "quantity": D(10)}, None, filters.PRICE_LESS_THAN_MIN, 0),
    ({"price": D("4529764.10")}, None, filters.PRICE_GREATER_THAN_MAX, 0),
    ({"quantity": D("0.001")}, None, filters.NOTIONAL_TOO_SMALL, 0),
    ({"quantity": D("0.001"), "reduce_only": True}, None, None, 0),
    ({"price": D("63000.10")}, D(60000), filters.PRICE_ABOVE_PERCENT, 0),
    ({"price": D("63000.00")}, D(60000), None, 0),
    ({"price": D("50000.00")}, D(60000), None, 0),
    ({"side": Side.SELL, "price": D("56999.90")}, D(60000), filters.PRICE_BELOW_PERCENT, 0),
    ({"side": Side.SELL, "price": D("70000.00")}, D(60000), None, 0),
    ({}, None, filters.TOO_MANY_ORDERS, 200),
    ({}, None, None, 199),
    ({"kind": OrderKind.MARKET, "price": None}, D(60000), None, 200),
    (
        {"kind": OrderKind.MARKET, "price": None, "quantity": D("0.001")},
        D(60000),
        filters.NOTIONAL_TOO_SMALL,
        0,
    ),
    ({"kind": OrderKind.MARKET, "price": None, "quantity": D("0.001")}, None, None, 0),
    (
        {"kind": OrderKind.MARKET, "price": None, "quantity": D("120.001")},
        None,
        filters.QTY_GREATER_THAN_MAX,
        0,
    ),
    (
        {"kind": OrderKind.STOP_MARKET, "price": None, "trigger_price": D("1.05")},
        None,
        filters.PRICE_LESS_THAN_MIN,
        0,
    ),
    (
        {"kind": OrderKind.STOP_MARKET, "price": None, "trigger_price": D("59000.05")},
        None,
        filters.PRICE_NOT_ON_TICK,
        0,
    ),
]


@pytest.mark.parametrize(("changes", "mark", "code", "open_orders"), VIOLATIONS)
def test_each_rule_answers_with_the_venues_code(
    changes: dict[str, object], mark: Decimal | None, code: int | None, open_orders: int
):
    """Row by row: which order breaks which rule of BINANCE §2.4."""
    violation = check(intent(**changes), BTC, mark, open_orders)
    assert (violation.code if violation else None) == code


def test_a_quantity_off_the_step_is_named():
    """A step coarser than the precision has its own code."""
    coarse = msgspec.structs.replace(
        BTC, filters=msgspec.structs.replace(RULES, step_size=D("0.005"))
    )
    violation = check(intent(quantity=D("0.012")), coarse)
    assert violation == Violation(-4023, "quantity 0.012 not on step 0.005")


prices = st.decimals("600", "200000", places=5)
quantities = st.decimals("0.002", "100", places=8)


@given(prices, quantities, st.sampled_from(Side), st.sampled_from(Leg))
def test_conformed_orders_pass_the_grid(price: Decimal, quantity: Decimal, side: Side, leg: Leg):
    """Whatever is conformed breaks no rule of the grid."""
    conformed = conform(intent(price=price, quantity=quantity, side=side, leg=leg), RULES)
    violation = check(conformed, BTC)
    assert violation is None or violation.code == filters.NOTIONAL_TOO_SMALL


@given(
    st.decimals("0", "5000", places=8),
    st.sampled_from([OrderKind.LIMIT, OrderKind.MARKET, OrderKind.STOP_MARKET]),
)
def test_sizes_never_grow(quantity: Decimal, kind: OrderKind):
    """Rounding gives at most what was asked, within a step unless a maximum cuts it."""
    step, lowest, highest = filters.lot_of(RULES, kind)
    conformed = conform_quantity(quantity, RULES, kind)
    assert 0 <= conformed <= quantity
    assert conformed <= highest
    if lowest <= quantity <= highest:
        assert quantity - conformed < step


DIRECTIONS = [
    (Leg.ENTRY, Side.BUY, -1),
    (Leg.ENTRY, Side.SELL, 1),
    (Leg.STOP, Side.SELL, 1),
    (Leg.STOP, Side.BUY, -1),
    (Leg.TP1, Side.SELL, -1),
    (Leg.TP2, Side.BUY, 1),
    (Leg.EXIT, Side.SELL, -1),
    (Leg.FLATTEN, Side.BUY, 1),
]


@pytest.mark.parametrize(("leg", "side", "sign"), DIRECTIONS)
@given(price=prices)
def test_prices_round_in_the_safe_direction(leg: Leg, side: Side, sign: int, price: Decimal):
    """Entries never pay more, stops never lose more, exits are never harder to fill than asked."""
    moved = conform_price(price, RULES, leg, side) - price
    assert moved * sign >= 0
    assert abs(moved) < RULES.tick_size


def test_an_entry_is_never_larger_than_one_stop_can_close():
    """A limit entry above the market lot's maximum is cut to it; a limit exit is not."""
    assert conform(intent(quantity=D(500)), RULES).quantity == D(120)
    assert conform(intent(quantity=D(500), leg=Leg.EXIT, reduce_only=True), RULES).quantity == D(
        500
    )


def test_the_grid_starts_at_the_minimum():
    """(price − minPrice) % tick == 0, also where the minimum is no multiple of the tick."""
    odd = msgspec.structs.replace(RULES, tick_size=D("0.5"), min_price=D("0.2"))
    assert conform_price(D("100.6"), odd, Leg.ENTRY, Side.BUY) == D("100.2")
    assert conform_price(D("100.6"), odd, Leg.ENTRY, Side.SELL) == D("100.7")


def test_a_quantity_below_the_minimum_becomes_nothing():
    """Less than the smallest order is no order, never a bigger one."""
    assert conform_quantity(D("0.0009"), RULES, OrderKind.LIMIT) == 0
