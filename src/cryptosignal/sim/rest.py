"""The REST router: path to handler, security, weight, order counts, error shape (BINANCE §2, §3)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from cryptosignal.domain.ports import HttpRequest, HttpResponse
from cryptosignal.sim.account import Account
from cryptosignal.sim.exchange import Exchange
from cryptosignal.sim.orders import Refusal
from cryptosignal.sim.params import Params, check_signature, check_time
from cryptosignal.sim.rest_account import AccountReplies
from cryptosignal.sim.rest_algo import AlgoDesk
from cryptosignal.sim.rest_data import CROWD_KINDS, DataReplies
from cryptosignal.sim.rest_market import MarketReplies
from cryptosignal.sim.rest_spot import SpotReplies
from cryptosignal.sim.rest_trade import OrderDesk

Weight = Callable[[Params], int]
NONE, KEY, SIGNED = "none", "key", "signed"
JSON_HEADERS = {"content-type": "application/json;charset=UTF-8"}


class Route(msgspec.Struct, frozen=True):
    """One endpoint. `orders` is what it counts on (10 s, 1 min)."""

    act: Callable[..., Any]
    security: str = NONE
    weight: int | Weight = 1
    pool: str = "weight"
    orders: tuple[int, int] = (0, 0)


def _by_limit(params: Params) -> int:
    limit = params.number("limit", 500)
    return 1 if limit < 100 else 2 if limit < 500 else 5 if limit <= 1_000 else 10


def by_depth(params: Params) -> int:
    """Weight of a depth request by its limit."""
    limit = params.number("limit", 500)
    return 2 if limit <= 50 else 5 if limit <= 100 else 10 if limit <= 500 else 20


def _spot_depth(params: Params) -> int:
    limit = params.number("limit", 100)
    return 5 if limit <= 100 else 25 if limit <= 500 else 50 if limit <= 1_000 else 250


def one_or_all(one: int, everything: int) -> Weight:
    """Weight of a request with a symbol, and of one for all symbols."""
    return lambda params: one if params.has("symbol") else everything


class Router:
    """Dispatches requests against an Exchange; holds the reply builders."""

    def __init__(self, exchange: Exchange, synthetic_flow: tuple[str, ...] = ()) -> None:
        self._x = exchange
        self.market = MarketReplies(exchange, synthetic_flow)
        self.data = DataReplies(exchange, self.market)
        self.spot = SpotReplies(exchange, self.market)
        self.orders = OrderDesk(exchange)
        self.algos = AlgoDesk(exchange, self.orders)
        self.accounts = AccountReplies(exchange)
        self.routes: dict[tuple[str, str], Route] = {
            **self._market_routes(),
            **self._data_routes(),
            **self._spot_routes(),
            **self._order_routes(),
            **self._algo_routes(),
            **self._account_routes(),
            **self._switch_routes(),
        }
        self._paths = {path for _, path in self.routes}

    def _market_routes(self) -> dict[tuple[str, str], Route]:
        m = self.market
        rows: dict[str, Route] = {
            "v1/ping": Route(m.ping),
            "v1/time": Route(m.time),
            "v1/exchangeInfo": Route(m.exchange_info),
            "v1/klines": Route(m.klines, weight=_by_limit),
            "v1/continuousKlines": Route(m.continuous_klines, weight=_by_limit),
            "v1/markPriceKlines": Route(m.mark_klines, weight=_by_limit),
            "v1/indexPriceKlines": Route(m.index_klines, weight=_by_limit),
            "v1/premiumIndexKlines": Route(m.premium_klines, weight=_by_limit),
            "v1/depth": Route(m.depth, weight=by_depth),
            "v1/rpiDepth": Route(m.rpi_depth, weight=20),
            "v1/trades": Route(m.trades, weight=5),
            "v1/historicalTrades": Route(lambda _a, p: m.historical_trades(p), KEY, 200),
            "v1/aggTrades": Route(m.agg_trades, weight=20),
            "v1/ticker/24hr": Route(m.day_ticker, weight=one_or_all(1, 40)),
            "v2/ticker/price": Route(m.price_ticker, weight=one_or_all(1, 2)),
            "v1/ticker/price": Route(m.price_ticker, weight=one_or_all(1, 2)),
            "v1/ticker/bookTicker": Route(m.book_ticker, weight=one_or_all(2, 5)),
            "v1/premiumIndex": Route(m.premium_index, weight=one_or_all(1, 10)),
            "v1/fundingRate": Route(m.funding_rate, pool="funding"),
            "v1/fundingInfo": Route(m.funding_info, pool="funding"),
            "v1/openInterest": Route(m.open_interest),
            "v1/constituents": Route(m.constituents, weight=2),
            "v1/insuranceBalance": Route(m.insurance),
            "v1/symbolAdlRisk": Route(m.adl_risk),
            "v1/assetIndex": Route(m.asset_index, weight=one_or_all(1, 10)),
            "v1/indexInfo": Route(m.index_info, weight=one_or_all(1, 10)),
            "v1/tradingSchedule": Route(m.trading_schedule, weight=5),
        }
        return {("GET", f"/fapi/{path}"): route for path, route in rows.items()}

    def _data_routes(self) -> dict[tuple[str, str], Route]:
        m = self.data
        rows: dict[str, Callable[[Params], Any]] = {
            "openInterestHist": m.open_interest_hist,
            "takerlongshortRatio": m.taker_ratio,
            "basis": m.basis,
            "delivery-price": m.delivery_prices,
        }
        for kind in CROWD_KINDS:
            rows[kind] = lambda p, kind=kind: m.crowd_ratio(p, kind)  # type: ignore[misc]
        return {
            ("GET", f"/futures/data/{path}"): Route(act, pool="data") for path, act in rows.items()
        }

    def _spot_routes(self) -> dict[tuple[str, str], Route]:
        s, m, a = self.spot, self.market, self.accounts
        return {
            ("GET", "/api/v3/ping"): Route(m.ping, pool="spot"),
            ("GET", "/api/v3/time"): Route(m.time, pool="spot"),
            ("GET", "/api/v3/exchangeInfo"): Route(s.exchange_info, weight=20, pool="spot"),
            ("GET", "/api/v3/klines"): Route(s.klines, weight=2, pool="spot"),
            ("GET", "/api/v3/ticker/price"): Route(s.price, weight=one_or_all(2, 4), pool="spot"),
            ("GET", "/api/v3/depth"): Route(s.depth, weight=_spot_depth, pool="spot"),
            ("GET", "/sapi/v1/system/status"): Route(s.status, pool="spot"),
            ("GET", "/sapi/v1/account/apiRestrictions"): Route(a.restrictions, SIGNED, pool="spot"),
            ("GET", "/sapi/v1/capital/config/getall"): Route(a.nothing, SIGNED, 10, "spot"),
            ("GET", "/sapi/v1/margin/allPairs"): Route(a.nothing, SIGNED, pool="spot"),
        }

    def _order_routes(self) -> dict[tuple[str, str], Route]:
        o, base = self.orders, "/fapi/v1/"
        return {
            ("POST", base + "order"): Route(o.place, SIGNED, 0, orders=(1, 1)),
            ("PUT", base + "order"): Route(o.amend, SIGNED, 0, orders=(1, 1)),
            ("DELETE", base + "order"): Route(o.cancel, SIGNED),
            ("GET", base + "order"): Route(o.query, SIGNED),
            ("POST", base + "order/test"): Route(o.test, SIGNED),
            ("POST", base + "batchOrders"): Route(o.place_batch, SIGNED, 5, orders=(5, 1)),
            ("PUT", base + "batchOrders"): Route(o.amend_batch, SIGNED, 5, orders=(5, 1)),
            ("DELETE", base + "batchOrders"): Route(o.cancel_batch, SIGNED),
            ("DELETE", base + "allOpenOrders"): Route(o.cancel_all, SIGNED),
            ("POST", base + "countdownCancelAll"): Route(o.countdown, SIGNED, 10),
            ("GET", base + "openOrder"): Route(o.query_open, SIGNED),
            ("GET", base + "openOrders"): Route(o.open_orders, SIGNED, one_or_all(1, 40)),
            ("GET", base + "allOrders"): Route(o.all_orders, SIGNED, 5),
            ("GET", base + "orderAmendment"): Route(o.amendments, SIGNED),
            ("GET", base + "userTrades"): Route(o.trades, SIGNED, 5),
            ("GET", base + "forceOrders"): Route(o.forced, SIGNED, one_or_all(20, 50)),
        }

    def _algo_routes(self) -> dict[tuple[str, str], Route]:
        o, base = self.algos, "/fapi/v1/"
        return {
            ("POST", base + "algoOrder"): Route(o.place, SIGNED, 0, orders=(1, 1)),
            ("DELETE", base + "algoOrder"): Route(o.cancel, SIGNED),
            ("GET", base + "algoOrder"): Route(o.query, SIGNED),
            ("DELETE", base + "algoOpenOrders"): Route(o.cancel_all, SIGNED),
            ("GET", base + "openAlgoOrders"): Route(o.open, SIGNED, one_or_all(1, 40)),
            ("GET", base + "allAlgoOrders"): Route(o.all, SIGNED, 5),
        }

    def _account_routes(self) -> dict[tuple[str, str], Route]:
        a = self.accounts
        rows: dict[str, Route] = {
            "v3/account": Route(a.account_v3, SIGNED, 5),
            "v2/account": Route(a.account_v2, SIGNED, 5),
            "v1/account": Route(a.retired, SIGNED, 5),
            "v3/balance": Route(a.balance, SIGNED, 5),
            "v2/balance": Route(a.balance, SIGNED, 5),
            "v1/balance": Route(a.retired, SIGNED, 5),
            "v3/positionRisk": Route(a.position_risk_v3, SIGNED, 5),
            "v2/positionRisk": Route(a.position_risk_v2, SIGNED, 5),
            "v1/positionRisk": Route(a.retired, SIGNED, 5),
            "v1/accountConfig": Route(a.account_config, SIGNED, 5),
            "v1/symbolConfig": Route(a.symbol_config, SIGNED, 5),
            "v1/leverageBracket": Route(a.leverage_bracket, SIGNED),
            "v1/commissionRate": Route(a.commission_rate, SIGNED, 20),
            "v1/income": Route(a.income, SIGNED, 30),
            **{
                f"v1/{kind}/asyn{tail}": Route(act, SIGNED, weight)
                for kind in ("income", "order", "trade")
                for tail, act, weight in (
                    ("", a.download_id, 1_000),
                    ("/id", a.download_link, 10),
                )
            },
            "v1/rateLimit/order": Route(a.order_limits, SIGNED),
            "v1/adlQuantile": Route(a.adl_quantile, SIGNED, 5),
            "v1/apiTradingStatus": Route(a.trading_status, SIGNED, one_or_all(1, 10)),
            "v1/positionMargin/history": Route(a.margin_history, SIGNED),
        }
        return {("GET", f"/fapi/{path}"): route for path, route in rows.items()}

    def _switch_routes(self) -> dict[tuple[str, str], Route]:
        a, base = self.accounts, "/fapi/v1/"
        return {
            ("GET", base + "positionSide/dual"): Route(a.get_dual, SIGNED, 30),
            ("POST", base + "positionSide/dual"): Route(a.set_dual, SIGNED),
            ("GET", base + "multiAssetsMargin"): Route(a.get_multi, SIGNED, 30),
            ("POST", base + "multiAssetsMargin"): Route(a.set_multi, SIGNED),
            ("GET", base + "feeBurn"): Route(a.get_burn, SIGNED, 30),
            ("POST", base + "feeBurn"): Route(a.set_burn, SIGNED),
            ("POST", base + "leverage"): Route(a.set_leverage, SIGNED),
            ("POST", base + "marginType"): Route(a.set_margin_type, SIGNED),
            ("POST", base + "positionMargin"): Route(a.position_margin, SIGNED),
            ("POST", base + "stock/contract"): Route(a.sign_tradfi, SIGNED, 50),
            ("POST", base + "listenKey"): Route(a.start_key, KEY),
            ("PUT", base + "listenKey"): Route(a.keep_key, KEY),
            ("DELETE", base + "listenKey"): Route(a.close_key, KEY),
        }

    # --- dispatch ---------------------------------------------------------------------------------

    def answer(self, request: HttpRequest, client: str) -> HttpResponse:
        """The reply to one request, with weight and order-count headers."""
        now = self._x.now_ms
        headers = dict(JSON_HEADERS)
        try:
            body, status = self._checked(request, client, headers), 200
        except Refusal as refusal:
            status = refusal.status
            body = msgspec.json.encode({"code": refusal.code, "msg": refusal.message})
            if status in (429, 418):
                headers["retry-after"] = str(self._x.limits.retry_after_s(now, client))
        return HttpResponse(status, headers, body)

    def _checked(self, request: HttpRequest, client: str, headers: dict[str, str]) -> bytes:
        now, x = self._x.now_ms, self._x
        route = self.routes.get((request.method, request.path))
        if route is None:
            self._charge(now, client, Route(self.market.ping), 1, headers)
            if request.path in self._paths:
                raise Refusal(-5000, f"Method {request.method} is invalid", 405)
            raise Refusal(-5000, f"Path {request.path}, Method {request.method} is invalid", 404)
        if len(request.body) + len(request.query) > x.settings.body_bytes_max:
            raise Refusal(-1104, "Request is too large.", 413)
        body = _text_of(request.body)
        params = Params.parse(request.query, body)
        weight = route.weight if isinstance(route.weight, int) else route.weight(params)
        self._charge(now, client, route, weight, headers)
        if route.security == NONE:
            return _encoded(route.act(params))
        account = self._account_of(request)
        if route.security == SIGNED:
            check_signature(account, request.query, body)
            check_time(params, now)
        if route.orders[0]:
            counts = x.limits.order(now, account.number, *route.orders)
            headers["x-mbx-order-count-10s"], headers["x-mbx-order-count-1m"] = map(str, counts)
        return _encoded(route.act(account, params))

    def charge_handshake(self, client: str, weight: int) -> HttpResponse | None:
        """Charge a WebSocket-API handshake: the refusal when the address has no weight left."""
        now = self._x.now_ms
        try:
            self._x.limits.charge(now, client, "weight", weight)
        except Refusal as refusal:
            wait = str(self._x.limits.retry_after_s(now, client))
            body = msgspec.json.encode({"code": refusal.code, "msg": refusal.message})
            return HttpResponse(refusal.status, {**JSON_HEADERS, "retry-after": wait}, body)
        return None

    def _charge(
        self, now: int, client: str, route: Route, weight: int, headers: dict[str, str]
    ) -> None:
        visitor = self._x.limits.visitor(client)
        name = "x-mbx-used-weight-1m"
        try:
            used = self._x.limits.charge(now, client, route.pool, weight)
        finally:
            window = visitor.spot if route.pool == "spot" else visitor.weight
            headers[name] = str(window.used)
        if route.pool == "spot":
            headers["x-mbx-used-weight"] = str(used)

    def _account_of(self, request: HttpRequest) -> Account:
        sent = next((v for k, v in request.headers if k.lower() == "x-mbx-apikey"), "")
        if not sent:
            raise Refusal(-2014, "API-key format invalid.", 401)
        account = self._x.account_of.get(sent)
        if account is None:
            raise Refusal(-2015, "Invalid API-key, IP, or permissions for action.", 401)
        return account


def _text_of(body: bytes) -> str:
    try:
        return body.decode()
    except UnicodeDecodeError:
        raise Refusal(-1100, "Illegal characters found in a parameter.") from None


def _encoded(value: Any) -> bytes:
    return value if isinstance(value, bytes) else msgspec.json.encode(value)
