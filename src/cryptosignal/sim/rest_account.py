"""REST account, configuration, margin and listenKey endpoints (BINANCE §2.2)."""

from __future__ import annotations

from typing import Any

from cryptosignal.ground.units import DAY_MS
from cryptosignal.sim import dialect_user
from cryptosignal.sim.account import CENT8, MAKER_FEE, TAKER_FEE, Account, Position, max_notional
from cryptosignal.sim.dialect_rest import (
    Margins,
    account_position_v2,
    account_position_v3,
    asset_row,
    dec8,
    income_row,
    number,
    position_core,
    position_v2,
    totals,
)
from cryptosignal.sim.exchange import Exchange
from cryptosignal.sim.noise import hash_int, key_of
from cryptosignal.sim.orders import ZERO, Refusal
from cryptosignal.sim.params import Params, missing

Json = Any
YEAR_MS = 366 * DAY_MS
SUCCESS = {"code": 200, "msg": "success"}
INCOME_WINDOW_MS = 90 * DAY_MS


class AccountReplies:
    """Answers of the account endpoints."""

    def __init__(self, exchange: Exchange) -> None:
        self._x = exchange
        self._d = exchange.desk
        self._keys_made = 0
        self._timed: set[int] = set()
        """Accounts with a timer for the end of their key: one each, however often it is extended."""

    def _index(self, params: Params) -> int:
        found = self._x.index_of.get(params.text("symbol"))
        if found is None:
            raise Refusal(-1121, "Invalid symbol.")
        return found

    def _positions(self, account: Account, *, everything: bool) -> list[Position]:
        """Positions to list: those held or with orders, or all symbols."""
        if everything:
            sides = ("LONG", "SHORT") if account.is_hedge else ("BOTH",)
            indices = [r.index for r in self._x.listed]
            found = [(i, s) for i in indices for s in sides]
        else:
            ordered = {(o.index, o.position_side) for o in account.open_orders.values()}
            found = sorted(ordered | {k for k, p in account.positions.items() if p.qty})
        return [account.positions.get(k) or Position(*k) for k in found]

    def account_v3(self, account: Account, _params: Params) -> Json:
        """GET /fapi/v3/account."""
        m = Margins(self._d, account)
        out = totals(m)
        out["assets"] = [asset_row(account, m)]
        held = self._positions(account, everything=False)
        out["positions"] = [account_position_v3(self._d, account, p) for p in held]
        return out

    def account_v2(self, account: Account, _params: Params) -> Json:
        """GET /fapi/v2/account."""
        m = Margins(self._d, account)
        out = {
            "feeTier": 0,
            "canTrade": account.can_trade,
            "canDeposit": True,
            "canWithdraw": True,
            "feeBurn": account.is_fee_burn,
            "tradeGroupId": -1,
            "updateTime": account.update_ms,
            "multiAssetsMargin": account.is_multi_asset,
            **totals(m),
        }
        out["assets"] = [asset_row(account, m)]
        everything = self._positions(account, everything=True)
        out["positions"] = [account_position_v2(self._d, account, p) for p in everything]
        return out

    def balance(self, account: Account, _params: Params) -> Json:
        """GET /fapi/v3/balance and v2."""
        m = Margins(self._d, account)
        return [
            {
                "accountAlias": f"SgsR{account.number}",
                "asset": "USDT",
                "balance": dec8(m.wallet),
                "crossWalletBalance": dec8(m.cross_wallet),
                "crossUnPnl": dec8(m.cross_unrealised),
                "availableBalance": dec8(m.available),
                "maxWithdrawAmount": dec8(min(m.available, max(m.wallet, ZERO))),
                "marginAvailable": True,
                "updateTime": account.update_ms,
            }
        ]

    def position_risk_v3(self, account: Account, params: Params) -> Json:
        """GET /fapi/v3/positionRisk: no leverage, no margin type."""
        index = self._index(params) if params.has("symbol") else -1
        held = self._positions(account, everything=False)
        return [position_core(self._d, account, p) for p in held if index in (-1, p.index)]

    def position_risk_v2(self, account: Account, params: Params) -> Json:
        """GET /fapi/v2/positionRisk: every symbol."""
        index = self._index(params) if params.has("symbol") else -1
        rows = self._positions(account, everything=True)
        return [position_v2(self._d, account, p) for p in rows if index in (-1, p.index)]

    def retired(self, _account: Account, _params: Params) -> Json:
        """v1 account endpoints."""
        raise Refusal(-5000, "This endpoint is retired. Please use the latest version.", 404)

    def account_config(self, account: Account, _params: Params) -> Json:
        """GET /fapi/v1/accountConfig."""
        return {
            "feeTier": 0,
            "canTrade": account.can_trade,
            "canDeposit": True,
            "canWithdraw": True,
            "dualSidePosition": account.is_hedge,
            "updateTime": 0,
            "multiAssetsMargin": account.is_multi_asset,
            "tradeGroupId": -1,
        }

    def symbol_config(self, account: Account, params: Params) -> Json:
        """GET /fapi/v1/symbolConfig."""
        index = self._index(params) if params.has("symbol") else -1
        rows = [r for r in self._x.listed if index in (-1, r.index)]
        return [
            {
                "symbol": row.symbol,
                "marginType": "ISOLATED" if row.index in account.isolated_mode else "CROSSED",
                "isAutoAddMargin": False,
                "leverage": account.leverage_of(row.index),
                "maxNotionalValue": str(max_notional(row, account.leverage_of(row.index))),
            }
            for row in rows
        ]

    def leverage_bracket(self, _account: Account, params: Params) -> Json:
        """GET /fapi/v1/leverageBracket."""
        index = self._index(params) if params.has("symbol") else -1
        return [
            {
                "symbol": row.symbol,
                "notionalCoef": 1.0,
                "brackets": [
                    {
                        "bracket": b.number,
                        "initialLeverage": b.leverage,
                        "notionalCap": b.cap,
                        "notionalFloor": b.floor,
                        "maintMarginRatio": float(b.maint_rate),
                        "cum": number(b.cum),
                    }
                    for b in row.brackets
                ],
            }
            for row in self._x.listed
            if index in (-1, row.index)
        ]

    def commission_rate(self, _account: Account, params: Params) -> Json:
        """GET /fapi/v1/commissionRate."""
        return {
            "symbol": self._x.listed[self._index(params)].symbol,
            "makerCommissionRate": f"{MAKER_FEE:f}",
            "takerCommissionRate": f"{TAKER_FEE:f}",
            "rpiCommissionRate": "0.0001",
        }

    def income(self, account: Account, params: Params) -> Json:
        """GET /fapi/v1/income: no `page` since 2026-10-16."""
        index = self._index(params) if params.has("symbol") else -1
        kind, limit, now = (
            params.text("incomeType", ""),
            min(params.number("limit", 100), 1_000),
            self._x.now_ms,
        )
        end = params.number("endTime", now)
        start = max(params.number("startTime", end - 7 * DAY_MS), now - INCOME_WINDOW_MS)
        found = [
            i
            for i in account.incomes
            if start <= i.time_ms <= end
            and kind in ("", i.kind)
            and (index == -1 or (i.index == index and i.kind != "TRANSFER"))
        ]
        picked = found[:limit] if params.has("startTime") else found[-limit:]
        return [income_row(self._d, i) for i in picked]

    def download_id(self, _account: Account, params: Params) -> Json:
        """GET /fapi/v1/{income,order,trade}/asyn: the id of a download of [startTime, endTime]."""
        start, end = params.number("startTime"), params.number("endTime")
        if not 0 <= end - start <= YEAR_MS:
            raise Refusal(-1128, "Combination of optional parameters invalid.")
        return {"avgCostTimestampOfLast30d": 0, "downloadId": f"{start}{end % YEAR_MS:011d}"}

    def download_link(self, _account: Account, params: Params) -> Json:
        """GET /fapi/v1/{income,order,trade}/asyn/id: files are never made here, it stays in progress."""
        return {
            "downloadId": params.text("downloadId"),
            "status": "processing",
            "url": "",
            "notified": False,
            "expirationTimestamp": -1,
            "isExpired": None,
        }

    def order_limits(self, _account: Account, _params: Params) -> Json:
        """GET /fapi/v1/rateLimit/order."""
        s = self._x.settings
        return [
            {
                "rateLimitType": "ORDERS",
                "interval": "SECOND",
                "intervalNum": 10,
                "limit": s.order_limit_10s,
            },
            {
                "rateLimitType": "ORDERS",
                "interval": "MINUTE",
                "intervalNum": 1,
                "limit": s.order_limit_1m,
            },
        ]

    def adl_quantile(self, account: Account, params: Params) -> Json:
        """GET /fapi/v1/adlQuantile."""
        index = self._index(params) if params.has("symbol") else -1
        rows: dict[int, dict[str, int]] = {}
        for (held, side), position in sorted(account.positions.items()):
            if position.qty and index in (-1, held):
                rows.setdefault(held, {})[side] = 2
        return [
            {"symbol": self._x.listed[i].symbol, "adlQuantile": sides} for i, sides in rows.items()
        ]

    def trading_status(self, _account: Account, _params: Params) -> Json:
        """GET /fapi/v1/apiTradingStatus."""
        return {"indicators": {}, "updateTime": self._x.now_ms}

    # --- switches ---------------------------------------------------------------------------------

    def get_dual(self, account: Account, _params: Params) -> Json:
        """GET /fapi/v1/positionSide/dual."""
        return {"dualSidePosition": account.is_hedge}

    def set_dual(self, account: Account, params: Params) -> Json:
        """POST /fapi/v1/positionSide/dual."""
        if not params.has("dualSidePosition"):
            raise missing("dualSidePosition")
        wanted = params.flag("dualSidePosition")
        if wanted == account.is_hedge:
            raise Refusal(-4059, "No need to change position side.")
        if account.open_orders or any(a.is_open for a in account.algos.values()):
            raise Refusal(-4067, "Position side cannot be changed if there exists open orders.")
        if any(p.qty for p in account.positions.values()):
            raise Refusal(-4068, "Position side cannot be changed if there exists position.")
        account.is_hedge = wanted
        return dict(SUCCESS)

    def sign_tradfi(self, _account: Account, _params: Params) -> Json:
        """POST /fapi/v1/stock/contract: the agreement that TradFi contracts ask for."""
        return dict(SUCCESS)

    def get_multi(self, account: Account, _params: Params) -> Json:
        """GET /fapi/v1/multiAssetsMargin."""
        return {"multiAssetsMargin": account.is_multi_asset}

    def set_multi(self, account: Account, params: Params) -> Json:
        """POST /fapi/v1/multiAssetsMargin."""
        wanted = params.flag("multiAssetsMargin")
        if wanted == account.is_multi_asset:
            raise Refusal(-4171, "No need to change asset mode.")
        account.is_multi_asset = wanted
        self._x.private.emit(account, dialect_user.multi_assets_update(self._d, enabled=wanted))
        return dict(SUCCESS)

    def get_burn(self, account: Account, _params: Params) -> Json:
        """GET /fapi/v1/feeBurn."""
        return {"feeBurn": account.is_fee_burn}

    def set_burn(self, account: Account, params: Params) -> Json:
        """POST /fapi/v1/feeBurn."""
        account.is_fee_burn = params.flag("feeBurn")
        return dict(SUCCESS)

    def set_leverage(self, account: Account, params: Params) -> Json:
        """POST /fapi/v1/leverage."""
        index, leverage = self._index(params), params.number("leverage")
        row = self._x.listed[index]
        if not 1 <= leverage <= row.brackets[0].leverage:
            raise Refusal(-4028, f"Leverage {leverage} is not valid")
        held = abs(self._d.position_notional(account, index))
        if held > max_notional(row, leverage):
            raise Refusal(-2027, "Exceeded the maximum allowable position at current leverage.")
        lower = leverage < account.leverage_of(index)
        margin = self._d.symbol_margin(account, index, ZERO, ZERO)
        more = margin * account.leverage_of(index) / leverage - margin
        if lower and index not in account.isolated_mode and more > self._d.available(account):
            raise Refusal(-2028, "Leverage is smaller than permitted: insufficient margin balance.")
        if lower and index in account.isolated_mode and held:
            raise Refusal(
                -4161,
                "Leverage reduction is not supported in Isolated Margin Mode with open positions.",
            )
        account.leverage[index] = leverage
        self._x.private.emit(account, dialect_user.leverage_update(self._d, index, leverage))
        return {
            "leverage": leverage,
            "maxNotionalValue": str(max_notional(row, leverage)),
            "symbol": row.symbol,
        }

    def set_margin_type(self, account: Account, params: Params) -> Json:
        """POST /fapi/v1/marginType."""
        index = self._index(params)
        wanted = (
            params.choice("marginType", ("ISOLATED", "CROSSED"), -1130, "marginType") == "ISOLATED"
        )
        if wanted == (index in account.isolated_mode):
            raise Refusal(-4046, "No need to change margin type.")
        if any(o.index == index for o in account.open_orders.values()):
            raise Refusal(-4047, "Margin type cannot be changed if there exists open orders.")
        if any(p.qty and p.index == index for p in account.positions.values()):
            raise Refusal(-4048, "Margin type cannot be changed if there exists position.")
        (account.isolated_mode.add if wanted else account.isolated_mode.discard)(index)
        return dict(SUCCESS)

    def position_margin(self, account: Account, params: Params) -> Json:
        """POST /fapi/v1/positionMargin: add (1) or take (2) isolated margin."""
        index, kind = self._index(params), params.number("type")
        amount = params.decimal("amount").quantize(CENT8)
        side = params.text("positionSide", "BOTH")
        position = account.positions.get((index, side))
        if position is None or not position.qty or index not in account.isolated_mode:
            raise Refusal(-4046 if position is None else -4050, "Cross balance insufficient.")
        if kind == 1 and amount > self._d.available(account):
            raise Refusal(-4050, "Cross balance insufficient.")
        if kind == 2 and amount > position.isolated:
            raise Refusal(-4051, "Isolated balance insufficient.")
        if kind not in (1, 2):
            raise missing("type")
        position.isolated += amount if kind == 1 else -amount
        account.margin_check_ms = 0
        account.margin_rows.append(
            {
                "symbol": self._x.listed[index].symbol,
                "type": kind,
                "deltaType": "USER_ADJUST",
                "amount": dec8(amount),
                "asset": "USDT",
                "time": self._x.now_ms,
                "positionSide": side,
            }
        )
        self._d.out.balance(account, "MARGIN_TRANSFER", [position], ZERO, "")
        return {
            "amount": float(amount),
            "code": 200,
            "msg": "Successfully modify position margin.",
            "type": kind,
        }

    def margin_history(self, account: Account, params: Params) -> Json:
        """GET /fapi/v1/positionMargin/history."""
        symbol = self._x.listed[self._index(params)].symbol
        return [r for r in account.margin_rows if r["symbol"] == symbol][
            -min(params.number("limit", 100), 500) :
        ]

    # --- listenKey and key restrictions -----------------------------------------------------------

    def start_key(self, account: Account, _params: Params) -> Json:
        """POST /fapi/v1/listenKey: the same key while it lives."""
        now = self._x.now_ms
        if not account.listen_key or now >= account.listen_until_ms:
            self._keys_made += 1
            seed = key_of(self._x.start_ms, 77, account.number, self._keys_made)
            account.listen_key = "".join(f"{hash_int(seed, i):016x}" for i in range(4))
        self._extend(account)
        return {"listenKey": account.listen_key}

    def _extend(self, account: Account) -> None:
        account.listen_until_ms = self._x.now_ms + self._x.settings.listen_key_life_ms
        if account.number not in self._timed:
            self._timed.add(account.number)
            self._x.agenda.at(account.listen_until_ms, self._key_due, account.number)

    def _key_due(self, now: int, number: int) -> None:
        account = self._d.accounts[number]
        if account.listen_key and now < account.listen_until_ms:
            self._x.agenda.at(account.listen_until_ms, self._key_due, number)
            return
        self._timed.discard(number)
        if account.listen_key:
            self.end_key(account, now)

    def end_key(self, account: Account, now: int, *, announce: bool = True) -> None:
        """The key dies: listenKeyExpired, and nothing follows."""
        self._d.now_ms = now
        if announce:
            account.listen_until_ms = now + 1
            self._x.private.emit(account, dialect_user.listen_key_expired(account.listen_key, now))
        account.listen_key, account.listen_until_ms = "", 0

    def keep_key(self, account: Account, _params: Params) -> Json:
        """PUT /fapi/v1/listenKey; -1125 when it is gone."""
        if not account.listen_key or self._x.now_ms >= account.listen_until_ms:
            raise Refusal(-1125, "This listenKey does not exist.")
        self._extend(account)
        return {"listenKey": account.listen_key}

    def close_key(self, account: Account, _params: Params) -> Json:
        """DELETE /fapi/v1/listenKey."""
        account.listen_key, account.listen_until_ms = "", 0
        return {}

    def restrictions(self, account: Account, _params: Params) -> Json:
        """GET /sapi/v1/account/apiRestrictions."""
        return {
            "ipRestrict": True,
            "createTime": self._x.start_ms - 90 * DAY_MS,
            "enableReading": True,
            "enableSpotAndMarginTrading": False,
            "enableWithdrawals": False,
            "enableInternalTransfer": False,
            "enableMargin": False,
            "enableFutures": account.can_trade,
            "permitsUniversalTransfer": False,
            "enableVanillaOptions": False,
            "enableFixApiTrade": False,
            "enableFixReadOnly": False,
            "enablePortfolioMarginTrading": False,
        }

    def nothing(self, _account: Account, _params: Params) -> Json:
        """Signed endpoints that clients read while loading and that have nothing to say here."""
        return []
