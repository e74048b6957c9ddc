"""Wire shapes of REST replies (BINANCE §2): what an order, a position, a symbol looks like as JSON."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from cryptosignal.sim.account import (
    CENT8,
    Account,
    Fill,
    Income,
    Position,
    maint_margin,
    max_notional,
)
from cryptosignal.sim.desk import Desk
from cryptosignal.sim.klines import Candles, next_open
from cryptosignal.sim.listing import ORDER_TYPES, SECTORS, TIMES_IN_FORCE, Listed
from cryptosignal.sim.orders import ZERO, Algo, Order

Json = dict[str, Any]


def price_text(row: Listed, units: int) -> str:
    """A price with the symbol's printed decimals."""
    return f"{units / 10**row.price_digits:.{row.price_precision}f}"


def qty_text(row: Listed, units: int) -> str:
    """A quantity with the symbol's decimals."""
    return f"{units / 10**row.qty_digits:.{row.qty_digits}f}"


def quote_text(row: Listed, value: float, digits: int = 0) -> str:
    """A quote volume given in price units x quantity units."""
    scale = row.price_digits + row.qty_digits
    return f"{value / 10.0**scale:.{digits or max(2, min(8, scale))}f}"


def dec8(value: Decimal) -> str:
    """Money with eight decimals."""
    return f"{value.quantize(CENT8):f}"


def number(value: Decimal) -> int | float:
    """A JSON number: whole ones without a point, for strictly typed clients."""
    return int(value) if value == value.to_integral_value() else float(value)


def bare(value: Decimal) -> str:
    """A decimal without exponent or trailing zeros."""
    text = f"{value.normalize():f}" if value else "0"
    return "0" if text == "-0" else text


def filters_of(row: Listed, now_ms: int) -> list[Json]:
    """The filters array of exchangeInfo (BINANCE §2.4)."""
    tick = row.tick_units(now_ms)
    digits = row.price_digits
    step = f"{Decimal(row.step_units).scaleb(-row.qty_digits):f}"
    price_max = f"{max(200, int(row.anchor_price * 1_000))}"
    return [
        {
            "filterType": "PRICE_FILTER",
            "tickSize": f"{Decimal(tick).scaleb(-digits):f}",
            "maxPrice": price_max,
            "minPrice": f"{Decimal(tick).scaleb(-digits):f}",
        },
        {"filterType": "LOT_SIZE", "minQty": step, "stepSize": step, "maxQty": str(row.qty_max)},
        {
            "filterType": "MARKET_LOT_SIZE",
            "minQty": step,
            "stepSize": step,
            "maxQty": str(row.market_qty_max),
        },
        {"filterType": "MAX_NUM_ORDERS", "limit": 200},
        {"filterType": "MIN_NOTIONAL", "notional": str(row.min_notional)},
        {
            "filterType": "PERCENT_PRICE",
            "multiplierUp": f"{1 + row.multiplier:.4f}",
            "multiplierDown": f"{1 - row.multiplier:.4f}",
            "multiplierDecimal": "4",
        },
        {"filterType": "POSITION_RISK_CONTROL", "positionControlSide": "NONE"},
    ]


def symbol_info(row: Listed, status: str, now_ms: int) -> Json:
    """One entry of exchangeInfo `symbols[]`."""
    announced = now_ms >= row.delist_notice_ms > 0
    return {
        "symbol": row.symbol,
        "pair": row.symbol,
        "contractType": row.contract_type,
        "deliveryDate": row.delivery_ms if announced else 4_133_404_800_000,
        "onboardDate": row.onboard_ms,
        "status": status,
        "maintMarginPercent": "2.5000",
        "requiredMarginPercent": "5.0000",
        "baseAsset": row.base,
        "quoteAsset": "USDT",
        "marginAsset": "USDT",
        "pricePrecision": row.price_precision,
        "quantityPrecision": row.qty_digits,
        "baseAssetPrecision": 8,
        "quotePrecision": 8,
        "underlyingType": row.underlying_type,
        "underlyingSubType": [
            {"COIN": SECTORS[row.sector], "INDEX": "Index"}.get(row.underlying_type, "TradFi")
        ],
        "triggerProtect": f"{row.trigger_protect:.4f}",
        "liquidationFee": f"{row.liquidation_fee:.6f}",
        "marketTakeBound": "0.05",
        "maxMoveOrderLimit": 10000,
        "filters": filters_of(row, now_ms),
        "orderTypes": list(ORDER_TYPES),
        "timeInForce": list(TIMES_IN_FORCE),
        "permissionSets": ["GRID", "COPY", "DCA", "PSB"],
    }


def kline_rows(row: Listed, interval: str, candles: Candles) -> bytes:
    """The body of GET /fapi/v1/klines."""
    bars = candles.bars
    ps, pd, qd = 10.0**-row.price_digits, row.price_precision, row.qty_digits
    qs, vs = 10.0**-qd, 10.0 ** -(row.price_digits + qd)
    vd = max(2, min(8, row.price_digits + qd))
    out = []
    columns = [
        getattr(bars, f).tolist()
        for f in ("open_ms", "open", "high", "low", "close", "buy", "sell")
    ]
    rest = (bars.trades.tolist(), bars.quote.tolist(), candles.buy_quote.tolist())
    for t, o, h, low, c, buy, sell, n, q, bq in zip(*columns, *rest, strict=True):
        out.append(
            f'[{t},"{o * ps:.{pd}f}","{h * ps:.{pd}f}","{low * ps:.{pd}f}","{c * ps:.{pd}f}",'
            f'"{(buy + sell) * qs:.{qd}f}",{next_open(t, interval) - 1},"{q * vs:.{vd}f}",{n},'
            f'"{buy * qs:.{qd}f}","{bq * vs:.{vd}f}","0"]'
        )
    return ("[" + ",".join(out) + "]").encode()


def placed(desk: Desk, order: Order) -> Json:
    """The reply to placing, amending or cancelling: no avgPrice, no cumQuote since 2026-06."""
    row = desk.listed[order.index]
    return {
        "orderId": order.order_id,
        "symbol": row.symbol,
        "status": order.status,
        "clientOrderId": order.client_id,
        "price": price_text(row, order.price),
        "origQty": qty_text(row, order.qty),
        "executedQty": qty_text(row, order.executed),
        "cumQty": qty_text(row, order.executed),
        "timeInForce": order.time_in_force,
        "type": order.kind,
        "reduceOnly": order.reduce_only,
        "closePosition": order.close_position,
        "side": order.side,
        "positionSide": order.position_side,
        "stopPrice": price_text(row, order.stop_price),
        "workingType": order.working_type,
        "priceProtect": order.price_protect,
        "origType": order.orig_kind,
        "priceMatch": order.price_match,
        "selfTradePreventionMode": order.stp,
        "goodTillDate": order.good_till_ms,
        "updateTime": order.update_ms,
    }


def average_text(desk: Desk, order: Order) -> str:
    """Average price of what is executed."""
    row = desk.listed[order.index]
    value = order.paid / order.executed if order.executed else 0.0
    return f"{value / 10**row.price_digits:.{max(5, row.price_precision)}f}"


def queried(desk: Desk, order: Order) -> Json:
    """An order as the GET endpoints show it."""
    row = desk.listed[order.index]
    out = placed(desk, order)
    del out["cumQty"]
    out["avgPrice"] = average_text(desk, order)
    out["cumQuote"] = quote_text(row, float(order.paid))
    out["time"] = order.created_ms
    return out


def listed_order(desk: Desk, order: Order) -> Json:
    """An order of the history, with what COIN-M orders brought into it (BINANCE §1, 2026-08)."""
    row = desk.listed[order.index]
    out = queried(desk, order)
    return {**out, "pair": row.symbol, "cumBase": out["executedQty"]}


def forced_order(desk: Desk, order: Order) -> Json:
    """One row of forceOrders."""
    out = listed_order(desk, order)
    for key in ("priceProtect", "priceMatch", "selfTradePreventionMode", "goodTillDate"):
        del out[key]
    return out


def algo_placed(desk: Desk, algo: Algo) -> Json:
    """The reply to placing an algo order."""
    row = desk.listed[algo.index]
    trailing = algo.kind == "TRAILING_STOP_MARKET"
    return {
        "algoId": algo.algo_id,
        "clientAlgoId": algo.client_id,
        "algoType": "CONDITIONAL",
        "orderType": algo.kind,
        "symbol": row.symbol,
        "side": algo.side,
        "positionSide": algo.position_side,
        "timeInForce": algo.time_in_force,
        "quantity": qty_text(row, algo.qty),
        "algoStatus": algo.status,
        "triggerPrice": price_text(row, algo.trigger),
        "price": price_text(row, algo.price),
        "icebergQuantity": None,
        "selfTradePreventionMode": algo.stp,
        "workingType": algo.working_type,
        "priceMatch": algo.price_match,
        "closePosition": algo.close_position,
        "priceProtect": algo.price_protect,
        "reduceOnly": algo.reduce_only,
        "activatePrice": price_text(row, algo.activate) if trailing and algo.activate else "",
        "callbackRate": bare(algo.callback_rate) if trailing else "",
        "createTime": algo.created_ms,
        "updateTime": algo.update_ms,
        "triggerTime": algo.trigger_ms,
        "goodTillDate": algo.good_till_ms,
    }


def algo_queried(desk: Desk, algo: Algo) -> Json:
    """An algo order as the GET endpoints show it."""
    row = desk.listed[algo.index]
    out = algo_placed(desk, algo)
    average = algo.paid / algo.executed if algo.executed else 0.0
    out["actualOrderId"] = str(algo.order_id) if algo.order_id else ""
    out["actualPrice"] = f"{average / 10**row.price_digits:.{max(5, row.price_precision)}f}"
    out["actualQty"] = qty_text(row, algo.executed)
    out["actualType"] = algo.actual_kind
    for key in ("tpTriggerPrice", "tpPrice", "slTriggerPrice", "slPrice"):
        out[key] = price_text(row, 0)
    out["tpOrderType"] = ""
    return out


def trade_row(desk: Desk, fill: Fill) -> Json:
    """One row of userTrades."""
    row = desk.listed[fill.index]
    value = fill.price * fill.qty
    return {
        "symbol": row.symbol,
        "id": fill.trade_id,
        "orderId": fill.order_id,
        "side": fill.side,
        "price": bare(fill.price),
        "qty": f"{fill.qty:f}",
        "realizedPnl": dec8(fill.realised) if fill.realised else "0",
        "quoteQty": bare(value),
        "baseQty": f"{fill.qty:f}",
        "commission": dec8(fill.fee),
        "commissionAsset": "USDT",
        "marginAsset": "USDT",
        "pair": row.symbol,
        "time": fill.time_ms,
        "positionSide": fill.position_side,
        "buyer": fill.side == "BUY",
        "maker": fill.is_maker,
    }


def income_row(desk: Desk, income: Income) -> Json:
    """One row of the income history (`tranId` int, `tradeId` string)."""
    return {
        "symbol": desk.listed[income.index].symbol if income.kind != "TRANSFER" else "",
        "incomeType": income.kind,
        "income": dec8(income.amount),
        "asset": "USDT",
        "info": income.info,
        "time": income.time_ms,
        "tranId": income.tran_id,
        "tradeId": str(income.trade_id) if income.trade_id else "",
    }


class Margins:
    """The money figures of one account at one moment."""

    def __init__(self, desk: Desk, account: Account) -> None:
        self.unrealised = self.cross_unrealised = ZERO
        self.initial = self.order_margin = self.maint = ZERO
        for position in account.positions.values():
            if not position.qty:
                continue
            mark = desk.mark(position.index)
            profit = position.unrealised(mark)
            self.unrealised += profit
            if position.index not in account.isolated_mode:
                self.cross_unrealised += profit
            notional = abs(position.qty) * mark
            self.initial += notional / account.leverage_of(position.index)
            self.maint += maint_margin(desk.listed[position.index], notional)
        for index in desk.active_indices(account):
            self.order_margin += order_margin(desk, account, index)
        self.wallet = account.wallet
        self.cross_wallet = account.cross_wallet
        self.available = desk.available(account)


def order_margin(desk: Desk, account: Account, index: int) -> Decimal:
    """Initial margin that the open orders of a symbol add to its position's."""
    held = sum((abs(p.qty) for (i, _), p in account.positions.items() if i == index), ZERO)
    position = held * desk.mark(index) / account.leverage_of(index)
    return max(ZERO, desk.symbol_margin(account, index, ZERO, ZERO) - position)


def asset_row(account: Account, m: Margins) -> Json:
    """One entry of account `assets[]`."""
    return {
        "asset": "USDT",
        "walletBalance": dec8(m.wallet),
        "unrealizedProfit": dec8(m.unrealised),
        "marginBalance": dec8(m.wallet + m.unrealised),
        "maintMargin": dec8(m.maint),
        "initialMargin": dec8(m.initial + m.order_margin),
        "positionInitialMargin": dec8(m.initial),
        "openOrderInitialMargin": dec8(m.order_margin),
        "crossWalletBalance": dec8(m.cross_wallet),
        "crossUnPnl": dec8(m.cross_unrealised),
        "availableBalance": dec8(m.available),
        "maxWithdrawAmount": dec8(min(m.available, max(m.wallet, ZERO))),
        "marginAvailable": True,
        "updateTime": account.update_ms,
    }


def totals(m: Margins) -> Json:
    """The `total…` keys of an account reply."""
    return {
        "totalInitialMargin": dec8(m.initial + m.order_margin),
        "totalMaintMargin": dec8(m.maint),
        "totalWalletBalance": dec8(m.wallet),
        "totalUnrealizedProfit": dec8(m.unrealised),
        "totalMarginBalance": dec8(m.wallet + m.unrealised),
        "totalPositionInitialMargin": dec8(m.initial),
        "totalOpenOrderInitialMargin": dec8(m.order_margin),
        "totalCrossWalletBalance": dec8(m.cross_wallet),
        "totalCrossUnPnl": dec8(m.cross_unrealised),
        "availableBalance": dec8(m.available),
        "maxWithdrawAmount": dec8(min(m.available, max(m.wallet, ZERO))),
    }


def position_core(desk: Desk, account: Account, position: Position) -> Json:
    """What positionRisk v3 shows of one position."""
    row = desk.listed[position.index]
    mark = desk.mark(position.index)
    notional = position.qty * mark
    bids, asks = desk.order_notional(account, position.index)
    initial = abs(notional) / account.leverage_of(position.index)
    extra = order_margin(desk, account, position.index)
    isolated = position.isolated + position.unrealised(mark) if position.isolated else ZERO
    return {
        "symbol": row.symbol,
        "positionSide": position.side,
        "positionAmt": f"{position.qty.quantize(row.qty_unit):f}",
        "entryPrice": bare(round(position.entry, 8)),
        "breakEvenPrice": bare(round(position.break_even, 8)),
        "markPrice": dec8(mark),
        "unRealizedProfit": dec8(position.unrealised(mark)) if position.qty else "0.00000000",
        "liquidationPrice": liquidation_price(desk, account, position),
        "isolatedMargin": dec8(isolated),
        "notional": dec8(notional) if notional else "0",
        "marginAsset": "USDT",
        "isolatedWallet": dec8(position.isolated) if position.isolated else "0",
        "initialMargin": dec8(initial + extra),
        "maintMargin": dec8(maint_margin(row, abs(notional))),
        "positionInitialMargin": dec8(initial),
        "openOrderInitialMargin": dec8(extra),
        "adl": 2 if position.qty else 0,
        "bidNotional": bare(bids),
        "askNotional": bare(asks),
        "updateTime": position.update_ms,
    }


def liquidation_price(desk: Desk, account: Account, position: Position) -> str:
    """Price at which the margin behind the position equals its maintenance margin (0: none)."""
    if not position.qty:
        return "0"
    row, mark = desk.listed[position.index], desk.mark(position.index)
    notional = abs(position.qty) * mark
    need = maint_margin(row, notional)
    if position.index in account.isolated_mode:
        spare = position.isolated + position.unrealised(mark) - need
    else:
        balance, maint = desk.margin.margin_state(account)
        spare = balance - maint
    price = mark - spare / position.qty
    return bare(round(price, 8)) if price > 0 else "0"


def position_v2(desk: Desk, account: Account, position: Position) -> Json:
    """positionRisk v2: v3 plus leverage and margin type, quoted."""
    core = position_core(desk, account, position)
    leverage = account.leverage_of(position.index)
    keys = (
        "symbol",
        "positionSide",
        "positionAmt",
        "entryPrice",
        "breakEvenPrice",
        "markPrice",
        "unRealizedProfit",
        "liquidationPrice",
        "isolatedMargin",
        "notional",
        "isolatedWallet",
        "updateTime",
    )
    out = {key: core[key] for key in keys}
    out["leverage"] = str(leverage)
    out["maxNotionalValue"] = str(max_notional(desk.listed[position.index], leverage))
    out["marginType"] = "isolated" if position.index in account.isolated_mode else "cross"
    out["isAutoAddMargin"] = "false"
    out["adlQuantile"] = core["adl"]
    return out


def account_position_v3(desk: Desk, account: Account, position: Position) -> Json:
    """One entry of account v3 `positions[]`."""
    core = position_core(desk, account, position)
    return {
        "symbol": core["symbol"],
        "positionSide": core["positionSide"],
        "positionAmt": core["positionAmt"],
        "unrealizedProfit": core["unRealizedProfit"],
        "isolatedMargin": core["isolatedMargin"],
        "notional": core["notional"],
        "isolatedWallet": core["isolatedWallet"],
        "initialMargin": core["initialMargin"],
        "maintMargin": core["maintMargin"],
        "updateTime": core["updateTime"],
    }


def account_position_v2(desk: Desk, account: Account, position: Position) -> Json:
    """One entry of account v2 `positions[]` (every symbol is listed there)."""
    core = position_core(desk, account, position)
    leverage = account.leverage_of(position.index)
    return {
        "symbol": core["symbol"],
        "initialMargin": core["initialMargin"],
        "maintMargin": core["maintMargin"],
        "unrealizedProfit": core["unRealizedProfit"],
        "positionInitialMargin": core["positionInitialMargin"],
        "openOrderInitialMargin": core["openOrderInitialMargin"],
        "leverage": str(leverage),
        "isolated": position.index in account.isolated_mode,
        "entryPrice": core["entryPrice"],
        "breakEvenPrice": core["breakEvenPrice"],
        "maxNotional": str(max_notional(desk.listed[position.index], leverage)),
        "bidNotional": core["bidNotional"],
        "askNotional": core["askNotional"],
        "positionSide": core["positionSide"],
        "positionAmt": core["positionAmt"],
        "notional": core["notional"],
        "isolatedWallet": core["isolatedWallet"],
        "updateTime": core["updateTime"],
    }
