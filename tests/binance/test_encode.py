"""Calls in the venue's words, and none that must never exist."""

from __future__ import annotations

import ast
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest

from cryptosignal.binance import encode
from cryptosignal.binance.encode import Call, Security
from cryptosignal.domain.order import Leg, OrderIntent, OrderKind, Side
from cryptosignal.ground.faults import ContractFault

BASE = OrderIntent(
    client_id="csa-k1-e0",
    signal_id="s1",
    symbol="BTCUSDT",
    leg=Leg.ENTRY,
    side=Side.SELL,
    kind=OrderKind.LIMIT,
    quantity=Decimal("1E+2"),
    created_ms=0,
    price=Decimal("0.00000120"),
)


def intent(**changes: object) -> OrderIntent:
    return msgspec.structs.replace(BASE, **changes)


def params(call: Call) -> dict[str, str]:
    return dict(call.params)


def test_a_limit_order_has_price_and_time_in_force_in_plain_digits():
    """No scientific notation leaves us (-1100), GTC is the default."""
    call = encode.place(intent())
    assert (call.method, call.path, call.security) == ("POST", "/fapi/v1/order", Security.SIGNED)
    assert params(call) == {
        "symbol": "BTCUSDT",
        "side": "SELL",
        "type": "LIMIT",
        "quantity": "100",
        "price": "0.0000012",
        "timeInForce": "GTC",
        "newClientOrderId": "csa-k1-e0",
    }
    assert params(encode.place(intent(time_in_force="IOC")))["timeInForce"] == "IOC"


def test_a_market_order_has_no_time_in_force():
    """MARKET with timeInForce is refused by the venue, and a price would be ignored."""
    call = encode.place(intent(kind=OrderKind.MARKET, price=None, reduce_only=True))
    assert "timeInForce" not in params(call)
    assert params(call)["reduceOnly"] == "true"
    with pytest.raises(ContractFault, match="no price"):
        encode.place(intent(kind=OrderKind.MARKET))


@pytest.mark.parametrize("kind", [OrderKind.STOP_MARKET, OrderKind.TAKE_PROFIT_MARKET])
def test_conditional_orders_go_to_the_algo_service(kind: OrderKind):
    """On the ordinary endpoint they answer -4120."""
    call = encode.place(
        intent(kind=kind, price=None, trigger_price=Decimal("59000.10"), reduce_only=True)
    )
    assert call.path == "/fapi/v1/algoOrder"
    assert params(call) == {
        "algoType": "CONDITIONAL",
        "symbol": "BTCUSDT",
        "side": "SELL",
        "type": kind.value,
        "quantity": "100",
        "triggerPrice": "59000.1",
        "workingType": "MARK_PRICE",
        "clientAlgoId": "csa-k1-e0",
        "reduceOnly": "true",
    }


@pytest.mark.parametrize(
    "changes",
    [
        {"client_id": "x" * 37},
        {"client_id": "with space"},
        {"client_id": ""},
        {"quantity": Decimal(0)},
        {"quantity": Decimal(-1)},
        {"price": None},
        {"kind": OrderKind.STOP_MARKET},
        {"kind": OrderKind.TRAILING_STOP_MARKET, "trigger_price": Decimal(1)},
        {"kind": OrderKind.OTHER},
    ],
)
def test_what_the_venue_could_only_refuse_is_our_own_bug(changes: dict[str, object]):
    """Such an intent raises before anything is sent."""
    with pytest.raises(ContractFault):
        encode.place(intent(**changes))


def test_reduce_only_is_said_only_when_true():
    """ "reduceOnly=false" would be an unneeded parameter in hedge mode (-1106)."""
    assert "reduceOnly" not in params(encode.place(intent()))


def test_cancel_and_look_up_address_the_right_book():
    """Ordinary orders by symbol and client id, conditional ones by their algo id."""
    assert params(encode.cancel("a", "BTCUSDT", is_algo=False)) == {
        "symbol": "BTCUSDT",
        "origClientOrderId": "a",
    }
    assert params(encode.cancel("a", "BTCUSDT", is_algo=True)) == {"clientAlgoId": "a"}
    assert encode.look_up("a", "BTCUSDT", is_algo=True).path == "/fapi/v1/algoOrder"
    assert encode.look_up("a", "BTCUSDT", is_algo=False).path == "/fapi/v1/order"


def test_market_calls_carry_only_what_was_given():
    """Zero times are left out."""
    assert params(encode.klines("X", "1m", 99)) == {"symbol": "X", "interval": "1m", "limit": "99"}
    assert params(encode.klines("X", "1m", 99, 5, 6))["startTime"] == "5"
    assert encode.premium_index().params == ()
    assert encode.OPEN_ORDERS.cost.weight == 40


def test_no_order_is_ever_put():
    """The only PUT in the dialect extends a listenKey (D9)."""
    tree = ast.parse(Path(encode.__file__).read_text())
    calls = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and any(isinstance(a, ast.Constant) and a.value == "PUT" for a in node.args)
    ]
    paths = [a.value for call in calls for a in call.args[1:2] if isinstance(a, ast.Constant)]
    assert paths == ["/fapi/v1/listenKey"]
