"""What each call costs and what the venue allows (BINANCE §2, §3): weights, order counts, pools."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from functools import lru_cache
from typing import Final

import msgspec

from cryptosignal.ground.units import MINUTE_MS, SECOND_MS


class Pool(StrEnum):
    """A budget that calls draw from."""

    WEIGHT = "weight"
    ORDERS_10S = "orders_10s"
    ORDERS_1M = "orders_1m"
    DATA = "data"
    FUNDING = "funding"


POOL_WINDOW_MS: Final[dict[Pool, int]] = {
    Pool.WEIGHT: MINUTE_MS,
    Pool.ORDERS_10S: 10 * SECOND_MS,
    Pool.ORDERS_1M: MINUTE_MS,
    Pool.DATA: 5 * MINUTE_MS,
    Pool.FUNDING: 5 * MINUTE_MS,
}
"""Length of each pool's window. WEIGHT is counted by the UTC minute; the others are treated as
sliding, which is the stricter reading."""


class Limits(msgspec.Struct, frozen=True, gc=False):
    """The venue's limits; the defaults are mainnet's of 2026-11 and are replaced by exchangeInfo's."""

    weight: int = 2400
    orders_10s: int = 300
    orders_1m: int = 1200
    data: int = 1000
    funding: int = 500

    def of(self, pool: Pool) -> int:
        """The limit of one pool."""
        limit: int = getattr(self, pool.value)
        return limit


class Cost(msgspec.Struct, frozen=True, gc=False):
    """What one call draws from the pools."""

    weight: int = 0
    orders_10s: int = 0
    orders_1m: int = 0
    data: int = 0
    funding: int = 0

    def parts(self) -> tuple[tuple[Pool, int], ...]:
        """The pools it touches and by how much."""
        return _parts(self)


@lru_cache(maxsize=256)
def _parts(cost: Cost) -> tuple[tuple[Pool, int], ...]:
    return tuple((pool, amount) for pool in Pool if (amount := getattr(cost, pool.value)))


class RateLimit(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """A row of exchangeInfo `rateLimits` (BINANCE §2.1).

    `{"rateLimitType":"REQUEST_WEIGHT","interval":"MINUTE","intervalNum":1,"limit":2400}`
    """

    rate_limit_type: str
    interval: str
    interval_num: int
    limit: int


def parse_limits(rows: list[RateLimit] | tuple[RateLimit, ...]) -> Limits:
    """Limits from exchangeInfo rows; a kind that is not listed keeps its default."""
    found: dict[str, int] = {}
    for row in rows:
        name = _LIMIT_FIELDS.get((row.rate_limit_type, row.interval, row.interval_num))
        if name is not None:
            found[name] = row.limit
    return Limits(**found)


_LIMIT_FIELDS: Final = {
    ("REQUEST_WEIGHT", "MINUTE", 1): "weight",
    ("ORDERS", "SECOND", 10): "orders_10s",
    ("ORDERS", "MINUTE", 1): "orders_1m",
}

KLINE_ROWS_CHEAP: Final = 99
KLINE_ROWS_BEST: Final = 499
"""Rows for weight 1 and for weight 2: the latter is the cheapest row (249.5 a weight unit)."""


def kline_weight(limit: int) -> int:
    """Weight of one klines call by its `limit` (BINANCE §2.1)."""
    if limit < 100:
        return 1
    if limit < 500:
        return 2
    return 5 if limit <= 1000 else 10


def plan_kline_rows(rows: int) -> list[int]:
    """The cheapest `limit`s that together read `rows` bars: 499s, and a 99 where it suffices.

    >>> plan_kline_rows(1000), plan_kline_rows(120), plan_kline_rows(60)
    ([499, 499, 2], [120], [60])
    """
    if rows <= 0:
        return []
    full, rest = divmod(rows, KLINE_ROWS_BEST)
    return [KLINE_ROWS_BEST] * full + ([rest] if rest else [])


def weight_of(method: str, path: str, params: Mapping[str, str] | None = None) -> int:
    """IP weight of a call; a path that is not in the table costs 1."""
    return cost_of(method, path, params).weight


def cost_of(method: str, path: str, params: Mapping[str, str] | None = None) -> Cost:
    """Everything a call costs. `params` decide where the weight depends on limit or symbol."""
    given = params or {}
    if path.startswith("/futures/data/"):
        return Cost(data=1)
    if path in ("/fapi/v1/fundingRate", "/fapi/v1/fundingInfo"):
        return Cost(funding=1)
    if (method, path) in _ORDER_CALLS:
        return _ORDER_CALLS[(method, path)]
    if path.endswith("lines") and path.startswith("/fapi/v1/"):
        return Cost(weight=kline_weight(int(given.get("limit", "500"))))
    if path == "/fapi/v1/depth":
        return Cost(weight=_depth_weight(int(given.get("limit", "500"))))
    if (method, path) in _BY_SYMBOL:
        one, every = _BY_SYMBOL[(method, path)]
        return Cost(weight=one if "symbol" in given else every)
    return Cost(weight=_WEIGHTS.get((method, path), 1))


def _depth_weight(limit: int) -> int:
    if limit <= 50:
        return 2
    return {100: 5, 500: 10}.get(limit, 20)


_ORDER_CALLS: Final = {
    ("POST", "/fapi/v1/order"): Cost(orders_10s=1, orders_1m=1),
    ("POST", "/fapi/v1/algoOrder"): Cost(orders_10s=1, orders_1m=1),
    ("POST", "/fapi/v1/batchOrders"): Cost(weight=5, orders_10s=5, orders_1m=1),
}

_BY_SYMBOL: Final = {
    ("GET", "/fapi/v1/ticker/24hr"): (1, 40),
    ("GET", "/fapi/v1/ticker/price"): (1, 2),
    ("GET", "/fapi/v2/ticker/price"): (1, 2),
    ("GET", "/fapi/v1/ticker/bookTicker"): (2, 5),
    ("GET", "/fapi/v1/premiumIndex"): (1, 10),
    ("GET", "/fapi/v1/openOrders"): (1, 40),
    ("GET", "/fapi/v1/openAlgoOrders"): (1, 40),
    ("GET", "/fapi/v1/forceOrders"): (20, 50),
    ("GET", "/fapi/v1/apiTradingStatus"): (1, 10),
    ("GET", "/fapi/v1/assetIndex"): (1, 10),
    ("GET", "/fapi/v1/indexInfo"): (1, 10),
    ("GET", "/api/v3/ticker/24hr"): (2, 80),
}

_WEIGHTS: Final = {
    ("GET", "/fapi/v1/trades"): 5,
    ("GET", "/fapi/v1/historicalTrades"): 200,
    ("GET", "/fapi/v1/aggTrades"): 20,
    ("GET", "/fapi/v1/constituents"): 2,
    ("GET", "/fapi/v1/tradingSchedule"): 5,
    ("GET", "/fapi/v1/rpiDepth"): 20,
    ("GET", "/fapi/v2/account"): 5,
    ("GET", "/fapi/v3/account"): 5,
    ("GET", "/fapi/v2/balance"): 5,
    ("GET", "/fapi/v3/balance"): 5,
    ("GET", "/fapi/v2/positionRisk"): 5,
    ("GET", "/fapi/v3/positionRisk"): 5,
    ("GET", "/fapi/v1/accountConfig"): 5,
    ("GET", "/fapi/v1/symbolConfig"): 5,
    ("GET", "/fapi/v1/commissionRate"): 20,
    ("GET", "/fapi/v1/income"): 30,
    ("GET", "/fapi/v1/positionSide/dual"): 30,
    ("GET", "/fapi/v1/multiAssetsMargin"): 30,
    ("GET", "/fapi/v1/feeBurn"): 30,
    ("GET", "/fapi/v1/allOrders"): 5,
    ("GET", "/fapi/v1/allAlgoOrders"): 5,
    ("GET", "/fapi/v1/userTrades"): 5,
    ("GET", "/fapi/v1/adlQuantile"): 5,
    ("POST", "/fapi/v1/countdownCancelAll"): 10,
    ("GET", "/api/v3/klines"): 2,
    ("GET", "/api/v3/exchangeInfo"): 20,
}
