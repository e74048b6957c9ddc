"""What we ask the venue, as calls: method, path and parameters in the venue's words (BINANCE §2).

There is no PUT of an order here and there will be none: orders are cancelled and placed anew (D9).
"""

from __future__ import annotations

import re
from enum import Enum
from typing import Final

import msgspec

from cryptosignal.binance.limits import Cost, cost_of
from cryptosignal.domain.order import OrderIntent, OrderKind
from cryptosignal.ground.faults import ContractFault
from cryptosignal.ground.units import plain


class Security(Enum):
    """What a call must carry."""

    NONE = "none"
    KEY = "key"
    SIGNED = "signed"


class Call(msgspec.Struct, frozen=True, gc=False):
    """One request before time and signature."""

    method: str
    path: str
    params: tuple[tuple[str, str], ...] = ()
    security: Security = Security.NONE

    @property
    def cost(self) -> Cost:
        """What it draws from the venue's pools."""
        return cost_of(self.method, self.path, dict(self.params))


CLIENT_ID: Final = re.compile(r"[.A-Z:/a-z0-9_-]{1,36}")
"""The venue's alphabet for newClientOrderId and clientAlgoId (BINANCE §2.3, -4015)."""

ROWS_MAX: Final = 1000
"""Most rows of userTrades, income and fundingRate."""


# ---- orders -----------------------------------------------------------------------------------
def place(intent: OrderIntent) -> Call:
    """The one POST that places `intent`: ordinary types here, conditional ones at the algo service.

    One-way mode: `positionSide` stays at its default BOTH. Raises ContractFault for an intent that
    the venue could only refuse.
    """
    if not CLIENT_ID.fullmatch(intent.client_id):
        raise ContractFault(f"client id not in the venue's alphabet: {intent.client_id!r}")
    if intent.quantity <= 0:
        raise ContractFault(f"{intent.client_id}: quantity {intent.quantity} is not positive")
    encode = _PLACERS.get(intent.kind)
    if encode is None:
        raise ContractFault(f"{intent.client_id}: {intent.kind.value} is not an order that we send")
    path, params = encode(intent)
    if intent.reduce_only:
        params.append(("reduceOnly", "true"))
    return Call("POST", path, tuple(params), Security.SIGNED)


def _basics(intent: OrderIntent) -> list[tuple[str, str]]:
    return [
        ("symbol", intent.symbol),
        ("side", intent.side.value),
        ("type", intent.kind.value),
        ("quantity", plain(intent.quantity)),
    ]


def _market(intent: OrderIntent) -> tuple[str, list[tuple[str, str]]]:
    if intent.price is not None:
        raise ContractFault(f"{intent.client_id}: a MARKET order has no price")
    return "/fapi/v1/order", [*_basics(intent), ("newClientOrderId", intent.client_id)]


def _limit(intent: OrderIntent) -> tuple[str, list[tuple[str, str]]]:
    if intent.price is None:
        raise ContractFault(f"{intent.client_id}: a LIMIT order needs a price")
    return "/fapi/v1/order", [
        *_basics(intent),
        ("price", plain(intent.price)),
        ("timeInForce", intent.time_in_force or "GTC"),
        ("newClientOrderId", intent.client_id),
    ]


def _conditional(intent: OrderIntent) -> tuple[str, list[tuple[str, str]]]:
    if intent.trigger_price is None:
        raise ContractFault(f"{intent.client_id}: {intent.kind.value} needs a trigger price")
    return "/fapi/v1/algoOrder", [
        ("algoType", "CONDITIONAL"),
        *_basics(intent),
        ("triggerPrice", plain(intent.trigger_price)),
        ("workingType", intent.working_type),
        ("clientAlgoId", intent.client_id),
    ]


_PLACERS: Final = {
    OrderKind.MARKET: _market,
    OrderKind.LIMIT: _limit,
    OrderKind.STOP_MARKET: _conditional,
    OrderKind.TAKE_PROFIT_MARKET: _conditional,
}
"""Trailing stops are moved by us, place-confirm-cancel (D9): an intent has no callback rate."""


def cancel(client_id: str, symbol: str, is_algo: bool) -> Call:
    """The DELETE of one order; the algo service knows it by id alone."""
    if is_algo:
        return Call("DELETE", "/fapi/v1/algoOrder", (("clientAlgoId", client_id),), Security.SIGNED)
    params = (("symbol", symbol), ("origClientOrderId", client_id))
    return Call("DELETE", "/fapi/v1/order", params, Security.SIGNED)


def count_down(symbol: str, countdown_ms: int) -> Call:
    """The countdown to the cancel of a symbol's open orders; 0 stops it."""
    params = (("symbol", symbol), ("countdownTime", str(countdown_ms)))
    return Call("POST", "/fapi/v1/countdownCancelAll", params, Security.SIGNED)


def look_up(client_id: str, symbol: str, is_algo: bool) -> Call:
    """The query of one order, finished ones included."""
    if is_algo:
        return Call("GET", "/fapi/v1/algoOrder", (("clientAlgoId", client_id),), Security.SIGNED)
    params = (("symbol", symbol), ("origClientOrderId", client_id))
    return Call("GET", "/fapi/v1/order", params, Security.SIGNED)


def cancel_all(symbol: str) -> Call:
    """Cancels every ordinary order of a symbol; the algo service's stay (BINANCE §2.2)."""
    return Call("DELETE", "/fapi/v1/allOpenOrders", (("symbol", symbol),), Security.SIGNED)


def set_leverage(symbol: str, leverage: int) -> Call:
    """Initial leverage of a symbol."""
    params = (("symbol", symbol), ("leverage", str(leverage)))
    return Call("POST", "/fapi/v1/leverage", params, Security.SIGNED)


def set_margin_type(symbol: str, margin_type: str) -> Call:
    """Margin type of a symbol: `cross` or `isolated` (no change answers -4046)."""
    word = "ISOLATED" if margin_type.lower().startswith("iso") else "CROSSED"
    params = (("symbol", symbol), ("marginType", word))
    return Call("POST", "/fapi/v1/marginType", params, Security.SIGNED)


# ---- account ----------------------------------------------------------------------------------
BALANCE: Final = Call("GET", "/fapi/v3/balance", (), Security.SIGNED)
POSITIONS: Final = Call("GET", "/fapi/v3/positionRisk", (), Security.SIGNED)
OPEN_ORDERS: Final = Call("GET", "/fapi/v1/openOrders", (), Security.SIGNED)
OPEN_ALGOS: Final = Call("GET", "/fapi/v1/openAlgoOrders", (), Security.SIGNED)
BRACKETS: Final = Call("GET", "/fapi/v1/leverageBracket", (), Security.SIGNED)
HEDGE_MODE: Final = Call("GET", "/fapi/v1/positionSide/dual", (), Security.SIGNED)
ACCOUNT_PATHS: Final = frozenset(
    {
        *(call.path for call in (BALANCE, POSITIONS, OPEN_ORDERS, OPEN_ALGOS, HEDGE_MODE)),
        "/fapi/v1/userTrades",
    }
)
"""What is read of the account's state."""
LISTEN_KEY_START: Final = Call("POST", "/fapi/v1/listenKey", (), Security.KEY)
LISTEN_KEY_KEEP: Final = Call("PUT", "/fapi/v1/listenKey", (), Security.KEY)
LISTEN_KEY_CLOSE: Final = Call("DELETE", "/fapi/v1/listenKey", (), Security.KEY)
API_RESTRICTIONS: Final = Call("GET", "/sapi/v1/account/apiRestrictions", (), Security.SIGNED)


def user_trades(symbol: str, start_ms: int = 0, from_id: int = 0) -> Call:
    """Executions of one symbol; an id excludes times (BINANCE §2.2)."""
    params = [("symbol", symbol)]
    if from_id:
        params.append(("fromId", str(from_id)))
    elif start_ms:
        params.append(("startTime", str(start_ms)))
    params.append(("limit", str(ROWS_MAX)))
    return Call("GET", "/fapi/v1/userTrades", tuple(params), Security.SIGNED)


def income(start_ms: int, end_ms: int, limit: int = ROWS_MAX) -> Call:
    """Bookings between two times (no pages since 2026-10-16)."""
    return Call("GET", "/fapi/v1/income", _span(start_ms, end_ms, limit), Security.SIGNED)


# ---- market -----------------------------------------------------------------------------------
TIME: Final = Call("GET", "/fapi/v1/time")
EXCHANGE_INFO: Final = Call("GET", "/fapi/v1/exchangeInfo")
FUNDING_INFO: Final = Call("GET", "/fapi/v1/fundingInfo")


def klines(symbol: str, interval: str, limit: int, start_ms: int = 0, end_ms: int = 0) -> Call:
    """Candles of the futures venue."""
    params = (("symbol", symbol), ("interval", interval), *_span(start_ms, end_ms, limit))
    return Call("GET", "/fapi/v1/klines", params)


def spot_klines(symbol: str, interval: str, limit: int, start_ms: int = 0, end_ms: int = 0) -> Call:
    """Candles of the spot venue."""
    params = (("symbol", symbol), ("interval", interval), *_span(start_ms, end_ms, limit))
    return Call("GET", "/api/v3/klines", params)


def depth(symbol: str, limit: int = 1000) -> Call:
    """A book snapshot."""
    return Call("GET", "/fapi/v1/depth", (("symbol", symbol), ("limit", str(limit))))


def premium_index(symbol: str = "") -> Call:
    """Mark, index and funding of one symbol or of all."""
    return Call("GET", "/fapi/v1/premiumIndex", (("symbol", symbol),) if symbol else ())


def tickers_24h(symbol: str = "") -> Call:
    """24 h statistics of one symbol or of all."""
    return Call("GET", "/fapi/v1/ticker/24hr", (("symbol", symbol),) if symbol else ())


def open_interest_hist(
    symbol: str, period: str, limit: int, start_ms: int = 0, end_ms: int = 0
) -> Call:
    """Open interest history (a pool of its own)."""
    params = (("symbol", symbol), ("period", period), *_span(start_ms, end_ms, limit))
    return Call("GET", "/futures/data/openInterestHist", params)


def funding_rate(symbol: str, limit: int, start_ms: int = 0, end_ms: int = 0) -> Call:
    """Settled funding (a pool of its own)."""
    params = (("symbol", symbol), *_span(start_ms, end_ms, limit))
    return Call("GET", "/fapi/v1/fundingRate", params)


def _span(start_ms: int, end_ms: int, limit: int) -> tuple[tuple[str, str], ...]:
    params = []
    if start_ms:
        params.append(("startTime", str(start_ms)))
    if end_ms:
        params.append(("endTime", str(end_ms)))
    return (*params, ("limit", str(limit)))
