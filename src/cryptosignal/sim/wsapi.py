"""The WebSocket API: requests and replies over one connection (BINANCE §2.3, `ws-fapi/v1`)."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import msgspec

from cryptosignal.sim.account import Account
from cryptosignal.sim.exchange import Exchange
from cryptosignal.sim.links import Link
from cryptosignal.sim.orders import Refusal
from cryptosignal.sim.params import Params, check_time, is_signed, missing
from cryptosignal.sim.rest import Router, by_depth, one_or_all

Act = Callable[[Account, Params], Any]
SESSION_WEIGHT = 2
"""Weight of session.logon, .status and .logout."""


class WsApi:
    """Answers for every method; the account comes from apiKey and signature or from session.logon."""

    def __init__(self, exchange: Exchange, router: Router) -> None:
        self._x = exchange
        self._router = router
        o, a, m = router.orders, router.accounts, router.market
        s = router.algos
        self._signed: dict[str, tuple[Act, int, tuple[int, int]]] = {
            "order.place": (o.place, 0, (1, 1)),
            "order.modify": (o.amend, 0, (1, 1)),
            "order.cancel": (o.cancel, 1, (0, 0)),
            "order.status": (o.query, 1, (0, 0)),
            "algoOrder.place": (s.place, 0, (1, 1)),
            "algoOrder.cancel": (s.cancel_ws, 1, (0, 0)),
            "account.balance": (a.balance, 5, (0, 0)),
            "v2/account.balance": (a.balance, 5, (0, 0)),
            "account.status": (a.account_v2, 5, (0, 0)),
            "v2/account.status": (a.account_v3, 5, (0, 0)),
            "account.position": (a.position_risk_v2, 5, (0, 0)),
            "v2/account.position": (a.position_risk_v3, 5, (0, 0)),
        }
        self._keyed: dict[str, Act] = {
            "userDataStream.start": a.start_key,
            "userDataStream.ping": a.keep_key,
            "userDataStream.stop": a.close_key,
        }
        self._public: dict[str, tuple[Callable[[Params], Any], Callable[[Params], int]]] = {
            "depth": (m.depth, by_depth),
            "ticker.price": (m.price_ticker, one_or_all(1, 2)),
            "ticker.book": (m.book_ticker, one_or_all(2, 5)),
        }

    def answer(self, link: Link, payload: bytes) -> bytes:
        """The reply to one request message."""
        try:
            message = msgspec.json.decode(payload)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return self._malformed(link)
        if not isinstance(message, dict):
            return self._malformed(link)
        request_id = message.get("id")
        if isinstance(request_id, str) and len(request_id) > 36:
            return self._failed(None, Refusal(-1135, "Invalid request ID."), link, orders=False)
        method, raw = message.get("method"), message.get("params") or {}
        if not isinstance(method, str) or not isinstance(raw, dict):
            return self._failed(request_id, missing("method"), link, orders=False)
        params = Params({str(k): text_of(v) for k, v in raw.items()})
        has_orders = method.startswith(("order.place", "order.modify", "algoOrder.place"))
        try:
            result = self._result(link, method, params)
        except Refusal as refusal:
            return self._failed(request_id, refusal, link, orders=has_orders)
        body = result if isinstance(result, bytes) else msgspec.json.encode(result)
        rates = (
            b',"rateLimits":' + self._rates(link, orders=has_orders)
            if link.has_rate_limits
            else b""
        )
        return (
            b'{"id":'
            + msgspec.json.encode(request_id)
            + b',"status":200,"result":'
            + body
            + rates
            + b"}"
        )

    def _malformed(self, link: Link) -> bytes:
        """Rubbish costs weight too, so that a flood of it ends in a ban."""
        refusal = Refusal(-1135, "Invalid JSON request.")
        try:
            self._x.limits.charge(self._x.now_ms, link.client, "weight", 1)
        except Refusal as excess:
            refusal = excess
        return self._failed(None, refusal, link, orders=False)

    def _result(self, link: Link, method: str, params: Params) -> Any:
        now = self._x.now_ms
        if params.has("returnRateLimits"):
            link.has_rate_limits = params.flag("returnRateLimits")
        if method in self._public:
            act, weigh = self._public[method]
            self._x.limits.charge(now, link.client, "weight", weigh(params))
            return act(params)
        if method.startswith("session."):
            self._x.limits.charge(now, link.client, "weight", SESSION_WEIGHT)
        if method == "session.logon":
            account = self._authorised(link, params)
            link.api_key = account.api_key
            return self._session(link)
        if method == "session.status":
            return self._session(link)
        if method == "session.logout":
            link.api_key = ""
            return self._session(link)
        if method in self._keyed:
            self._x.limits.charge(now, link.client, "weight", 1)
            return self._keyed[method](self._known(link, params), params)
        if method not in self._signed:
            self._x.limits.charge(now, link.client, "weight", 1)
            raise Refusal(-1000, f"Unknown method: {method}")
        signed, weight, orders = self._signed[method]
        self._x.limits.charge(now, link.client, "weight", weight)
        account = self._authorised(link, params)
        if orders[0]:
            self._x.limits.order(now, account.number, *orders)
        return signed(account, params)

    def _session(self, link: Link) -> dict[str, Any]:
        return {
            "apiKey": link.api_key or None,
            "authorizedSince": self._x.now_ms if link.api_key else None,
            "connectedSince": link.opened_ms,
            "returnRateLimits": link.has_rate_limits,
            "serverTime": self._x.now_ms,
        }

    def _known(self, link: Link, params: Params) -> Account:
        key = params.values.get("apiKey") or link.api_key
        account = self._x.account_of.get(key)
        if account is None:
            raise Refusal(-2015, "Invalid API-key, IP, or permissions for action.", 401)
        return account

    def _authorised(self, link: Link, params: Params) -> Account:
        """Account of a request: its own key and signature, or the session's key."""
        account = self._known(link, params)
        check_time(params, self._x.now_ms)
        signature = params.values.get("signature", "")
        if not signature:
            if link.api_key:
                return account
            raise missing("signature")
        items = sorted((k, v) for k, v in params.values.items() if k != "signature")
        payload = "&".join(f"{k}={v}" for k, v in items).encode()
        if not is_signed(account, payload, signature) and not is_signed(
            account, payload, _rebased(signature)
        ):
            raise Refusal(-1022, "Signature for this request is not valid.")
        return account

    def _rates(self, link: Link, *, orders: bool) -> bytes:
        s, now = self._x.settings, self._x.now_ms
        rows = []
        if orders:
            account = self._x.account_of.get(link.api_key) or self._x.desk.accounts[0]
            short, long = self._x.limits.order_counts(now, account.number)
            rows = [
                ("ORDERS", "SECOND", 10, s.order_limit_10s, short),
                ("ORDERS", "MINUTE", 1, s.order_limit_1m, long),
            ]
        used = self._x.limits.visitor(link.client).weight.add(now, 0)
        rows.append(("REQUEST_WEIGHT", "MINUTE", 1, s.weight_limit_1m, used))
        names = ("rateLimitType", "interval", "intervalNum", "limit", "count")
        return msgspec.json.encode([dict(zip(names, row, strict=True)) for row in rows])

    def _failed(self, request_id: Any, refusal: Refusal, link: Link, *, orders: bool) -> bytes:
        body: dict[str, Any] = {
            "id": request_id,
            "status": refusal.status,
            "error": {"code": refusal.code, "msg": refusal.message},
        }
        if refusal.status in (418, 429):
            now = self._x.now_ms
            wait_s = self._x.limits.retry_after_s(now, link.client)
            body["error"]["data"] = {"serverTime": now, "retryAfter": now + wait_s * 1_000}
        if link.has_rate_limits:
            body["rateLimits"] = msgspec.Raw(self._rates(link, orders=orders))
        return msgspec.json.encode(body)


def text_of(value: Any) -> str:
    """A JSON value as it is spelt in a signature: booleans true/false, numbers as they are."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict | list):
        return msgspec.json.encode(value).decode()
    return "" if value is None else str(value)


def _rebased(signature: str) -> str:
    """URL-safe base64 as plain base64."""
    try:
        return base64.b64encode(base64.urlsafe_b64decode(signature)).decode()
    except ValueError:
        return ""
