"""Weights and limits as the venue's documents state them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptosignal.binance.limits import (
    Cost,
    Limits,
    RateLimit,
    cost_of,
    kline_weight,
    parse_limits,
    plan_kline_rows,
    weight_of,
)

WEIGHTS = [
    ("GET", "/fapi/v1/time", {}, 1),
    ("GET", "/fapi/v1/exchangeInfo", {}, 1),
    ("GET", "/fapi/v1/klines", {"limit": "99"}, 1),
    ("GET", "/fapi/v1/klines", {"limit": "100"}, 2),
    ("GET", "/fapi/v1/klines", {"limit": "499"}, 2),
    ("GET", "/fapi/v1/klines", {}, 5),
    ("GET", "/fapi/v1/klines", {"limit": "1000"}, 5),
    ("GET", "/fapi/v1/klines", {"limit": "1001"}, 10),
    ("GET", "/fapi/v1/markPriceKlines", {"limit": "50"}, 1),
    ("GET", "/fapi/v1/depth", {"limit": "5"}, 2),
    ("GET", "/fapi/v1/depth", {"limit": "100"}, 5),
    ("GET", "/fapi/v1/depth", {}, 10),
    ("GET", "/fapi/v1/depth", {"limit": "1000"}, 20),
    ("GET", "/fapi/v1/ticker/24hr", {"symbol": "X"}, 1),
    ("GET", "/fapi/v1/ticker/24hr", {}, 40),
    ("GET", "/fapi/v1/premiumIndex", {}, 10),
    ("GET", "/fapi/v1/openOrders", {"symbol": "X"}, 1),
    ("GET", "/fapi/v1/openOrders", {}, 40),
    ("GET", "/fapi/v1/openAlgoOrders", {}, 40),
    ("GET", "/fapi/v3/positionRisk", {}, 5),
    ("GET", "/fapi/v3/balance", {}, 5),
    ("GET", "/fapi/v1/userTrades", {"symbol": "X"}, 5),
    ("GET", "/fapi/v1/income", {}, 30),
    ("GET", "/fapi/v1/positionSide/dual", {}, 30),
    ("POST", "/fapi/v1/order", {}, 0),
    ("POST", "/fapi/v1/algoOrder", {}, 0),
    ("DELETE", "/fapi/v1/order", {}, 1),
    ("DELETE", "/fapi/v1/algoOrder", {}, 1),
    ("GET", "/futures/data/openInterestHist", {}, 0),
    ("GET", "/fapi/v1/fundingRate", {}, 0),
    ("POST", "/fapi/v1/listenKey", {}, 1),
]


@pytest.mark.parametrize(("method", "path", "params", "weight"), WEIGHTS)
def test_weights_follow_the_table(method: str, path: str, params: dict[str, str], weight: int):
    """Each endpoint costs what BINANCE §2 says for its parameters."""
    assert weight_of(method, path, params) == weight


def test_orders_and_pools_are_counted_apart():
    """Orders draw on the order limits, statistics and funding on pools of their own."""
    assert cost_of("POST", "/fapi/v1/order") == Cost(orders_10s=1, orders_1m=1)
    assert cost_of("POST", "/fapi/v1/algoOrder") == Cost(orders_10s=1, orders_1m=1)
    assert cost_of("GET", "/futures/data/takerlongshortRatio") == Cost(data=1)
    assert cost_of("GET", "/fapi/v1/fundingInfo") == Cost(funding=1)


def test_stated_limits_replace_the_defaults():
    """Known rows are taken, unknown ones ignored, absent ones keep their default."""
    rows = [
        RateLimit("REQUEST_WEIGHT", "MINUTE", 1, 6000),
        RateLimit("ORDERS", "SECOND", 10, 100),
        RateLimit("RAW_REQUESTS", "MINUTE", 5, 61000),
    ]
    assert parse_limits(rows) == Limits(weight=6000, orders_10s=100)


@given(st.integers(0, 5000))
def test_planned_requests_read_exactly_what_was_asked(rows: int):
    """The plan covers the rows without one to spare, and never costs more than one big request."""
    plan = plan_kline_rows(rows)
    assert sum(plan) == rows
    assert all(0 < limit <= 499 for limit in plan)
    if 0 < rows <= 1500:
        assert sum(map(kline_weight, plan)) <= kline_weight(rows) + (rows > 499)
