"""Wire shapes of user-data events (BINANCE §5)."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from cryptosignal.sim.account import Account, Fill, Position, maint_margin
from cryptosignal.sim.desk import Desk
from cryptosignal.sim.dialect_rest import average_text, bare, dec8, price_text, qty_text
from cryptosignal.sim.orders import Algo, Order

Json = dict[str, Any]


def order_update(desk: Desk, account: Account, order: Order, kind: str, fill: Fill | None) -> Json:
    """ORDER_TRADE_UPDATE."""
    row, now = desk.listed[order.index], desk.now_ms
    bids, asks = desk.order_notional(account, order.index)
    inner: Json = {
        "s": row.symbol,
        "c": order.client_id,
        "S": order.side,
        "o": order.kind,
        "f": order.time_in_force,
        "q": qty_text(row, order.qty),
        "p": price_text(row, order.price) if order.price else "0",
        "ap": average_text(desk, order) if order.executed else "0",
        "sp": price_text(row, order.stop_price) if order.stop_price else "0",
        "x": kind,
        "X": order.status,
        "i": order.order_id,
        "l": f"{fill.qty:f}" if fill else "0",
        "z": qty_text(row, order.executed) if order.executed else "0",
        "L": f"{fill.price:f}" if fill else "0",
        "n": dec8(fill.fee) if fill else "0",
        "N": "USDT",
        "T": order.update_ms,
        "t": fill.trade_id if fill else 0,
        "b": bare(bids),
        "a": bare(asks),
        "m": fill.is_maker if fill else False,
        "R": order.reduce_only,
        "wt": order.working_type,
        "ot": order.orig_kind,
        "ps": order.position_side,
        "cp": order.close_position,
        "rp": dec8(fill.realised) if fill and fill.realised else "0",
        "pP": order.price_protect,
        "si": 0,
        "ss": 0,
        "V": order.stp,
        "pm": order.price_match,
        "gtd": order.good_till_ms,
        "er": order.expire_reason,
    }
    algo = account.algos.get(order.algo_id)
    if algo is not None and algo.kind == "TRAILING_STOP_MARKET":
        inner |= {"AP": price_text(row, algo.activate), "cr": bare(algo.callback_rate)}
    if kind == "AMENDMENT" and order.modify_id:
        inner["M"] = str(order.modify_id)
    return {"e": "ORDER_TRADE_UPDATE", "T": now, "E": now, "o": inner}


def trade_lite(desk: Desk, order: Order, fill: Fill) -> Json:
    """TRADE_LITE: the same trade earlier and thinner."""
    row, now = desk.listed[order.index], desk.now_ms
    return {
        "e": "TRADE_LITE",
        "E": now,
        "T": now,
        "s": row.symbol,
        "q": qty_text(row, order.qty),
        "p": price_text(row, order.price),
        "m": fill.is_maker,
        "c": order.client_id,
        "S": order.side,
        "L": f"{fill.price:f}",
        "l": f"{fill.qty:f}",
        "t": fill.trade_id,
        "i": order.order_id,
    }


def account_update(
    desk: Desk, account: Account, reason: str, touched: list[Position], change: Decimal, symbol: str
) -> Json:
    """ACCOUNT_UPDATE with what changed only."""
    now = desk.now_ms
    balances = [
        {
            "a": "USDT",
            "wb": dec8(account.wallet),
            "cw": dec8(account.cross_wallet),
            "bc": bare(change),
        }
    ]
    body: Json = {
        "m": reason,
        "B": balances,
        "P": [position_event(desk, account, position) for position in touched],
    }
    if reason == "FUNDING_FEE":
        body["S"] = symbol
    return {"e": "ACCOUNT_UPDATE", "T": now, "E": now, "a": body}


def position_event(desk: Desk, account: Account, position: Position) -> Json:
    """One entry of ACCOUNT_UPDATE `P`."""
    row = desk.listed[position.index]
    mark = desk.mark(position.index)
    return {
        "s": row.symbol,
        "pa": f"{position.qty.quantize(row.qty_unit):f}" if position.qty else "0",
        "ep": bare(round(position.entry, 8)),
        "cr": bare(position.realised),
        "up": dec8(position.unrealised(mark)) if position.qty else "0",
        "mt": "isolated" if position.index in account.isolated_mode else "cross",
        "iw": bare(position.isolated),
        "ps": position.side,
        "ma": "USDT",
        "bep": bare(round(position.break_even, 8)),
    }


def algo_update(desk: Desk, algo: Algo) -> Json:
    """ALGO_UPDATE."""
    row, now = desk.listed[algo.index], desk.now_ms
    inner: Json = {
        "caid": algo.client_id,
        "aid": algo.algo_id,
        "at": "CONDITIONAL",
        "o": algo.kind,
        "s": row.symbol,
        "S": algo.side,
        "ps": algo.position_side,
        "f": algo.time_in_force,
        "q": qty_text(row, algo.qty),
        "X": algo.status,
        "ai": str(algo.order_id) if algo.order_id else "",
        "tp": price_text(row, algo.trigger),
        "p": price_text(row, algo.price) if algo.price else "0",
        "V": algo.stp,
        "wt": algo.working_type,
        "pm": algo.price_match,
        "cp": algo.close_position,
        "pP": algo.price_protect,
        "R": algo.reduce_only,
        "tt": algo.trigger_ms,
        "gtd": algo.good_till_ms,
    }
    if algo.order_id:
        average = algo.paid / algo.executed if algo.executed else 0.0
        inner["ap"] = (
            f"{average / 10**row.price_digits:.{max(5, row.price_precision)}f}" if average else "0"
        )
        inner["aq"] = qty_text(row, algo.executed) if algo.executed else "0"
        inner["act"] = algo.actual_kind
    if algo.kind == "TRAILING_STOP_MARKET":
        inner["ia"] = algo.is_active
    if algo.status in ("REJECTED", "EXPIRED", "CANCELED") and algo.reason:
        inner["rm"] = algo.reason
    return {"e": "ALGO_UPDATE", "T": now, "E": now, "o": inner}


def leverage_update(desk: Desk, index: int, leverage: int) -> Json:
    """ACCOUNT_CONFIG_UPDATE for a leverage."""
    now = desk.now_ms
    return {
        "e": "ACCOUNT_CONFIG_UPDATE",
        "T": now,
        "E": now,
        "ac": {"s": desk.listed[index].symbol, "l": leverage},
    }


def multi_assets_update(desk: Desk, *, enabled: bool) -> Json:
    """ACCOUNT_CONFIG_UPDATE for the multi-assets mode."""
    return {"e": "ACCOUNT_CONFIG_UPDATE", "T": desk.now_ms, "E": desk.now_ms, "ai": {"j": enabled}}


def margin_call(desk: Desk, account: Account, touched: list[Position]) -> Json:
    """MARGIN_CALL."""
    rows = []
    for position in touched:
        row, mark = desk.listed[position.index], desk.mark(position.index)
        rows.append(
            {
                "s": row.symbol,
                "ps": position.side,
                "pa": f"{position.qty:f}",
                "mt": "ISOLATED" if position.index in account.isolated_mode else "CROSSED",
                "iw": bare(position.isolated),
                "mp": dec8(mark),
                "up": dec8(position.unrealised(mark)),
                "mm": dec8(maint_margin(row, abs(position.qty) * mark)),
            }
        )
    return {"e": "MARGIN_CALL", "E": desk.now_ms, "cw": dec8(account.cross_wallet), "p": rows}


def listen_key_expired(listen_key: str, now_ms: int) -> Json:
    """listenKeyExpired; the socket stays open."""
    return {"e": "listenKeyExpired", "E": now_ms, "listenKey": listen_key}
