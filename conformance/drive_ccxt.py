"""A scripted day of `ccxt` (REST and ccxt.pro), unmodified but for its base URLs. Runs in a venv of its own."""

import asyncio
import json
import re
import sys

import ccxt
import ccxt.pro

READY = json.loads(sys.argv[1])
BTC, ETH = "BTC/USDT:USDT", "ETH/USDT:USDT"


def check(name, held):
    print(f"{'ok  ' if held else 'FAIL'} ccxt {name}", flush=True)
    if not held:
        sys.exit(1)


def rebased(urls):
    """The same table of URLs on the venue's host."""
    if isinstance(urls, dict):
        return {key: rebased(value) for key, value in urls.items()}
    if "/ws-fapi" in urls:
        return READY["ws_api"]
    urls = re.sub(r"^https://[^/]+", READY["rest"], urls)
    return re.sub(r"^wss://[^/]+", READY["ws"], urls)


def exchange(kind):
    keys = {"apiKey": READY["api_key"], "secret": READY["api_secret"]}
    made = kind({**keys, "enableRateLimit": False})
    made.urls["api"] = rebased(made.urls["api"])
    return made


def refused(error, call):
    try:
        call()
    except error:
        return True
    return False


def market(ex):
    check("balance before anything", ex.fetch_balance()["USDT"]["total"] > 0)
    check("markets", BTC in ex.load_markets())
    check("status", ex.fetch_status()["status"] == "ok")
    check("ticker", ex.fetch_ticker(BTC)["last"] > 0)
    check("tickers", len(ex.fetch_tickers()) > 40)
    check("bids and asks", len(ex.fetch_bids_asks()) > 40)
    book = ex.fetch_order_book(BTC, 20)
    check("order book", book["bids"][0][0] < book["asks"][0][0])
    check("trades", len(ex.fetch_trades(BTC)) == 500)
    check("candles", len(ex.fetch_ohlcv(BTC, "1h", limit=300)) == 300)
    for kind in ("mark", "index", "premiumIndex"):
        check(f"{kind} candles", ex.fetch_ohlcv(BTC, "1m", limit=20, params={"price": kind}))
    check("funding", ex.fetch_funding_rate(BTC)["markPrice"] > 0)
    check("funding history", len(ex.fetch_funding_rate_history(BTC)) == 100)
    check("open interest", ex.fetch_open_interest(BTC)["openInterestAmount"] > 0)
    check("open interest history", ex.fetch_open_interest_history(BTC, "1h"))
    check("crowd ratio", ex.fetch_long_short_ratio_history(BTC, "1h"))


def account(ex):
    check("leverage tiers", ex.fetch_leverage_tiers()[BTC])
    check("position mode", ex.fetch_position_mode()["hedged"] is False)
    check("fees", ex.fetch_trading_fee(BTC)["taker"] > 0)
    check("set leverage", ex.set_leverage(10, BTC)["leverage"] == 10)
    same = ccxt.MarginModeAlreadySet
    check("margin mode -4046", refused(same, lambda: ex.set_margin_mode("cross", BTC)))


def trade(ex):
    last = ex.fetch_ticker(BTC)["last"]
    order = ex.create_order(BTC, "limit", "buy", 0.01, last * 0.98)
    check("place", order["status"] == "open")
    check("query", ex.fetch_order(order["id"], BTC)["clientOrderId"] == order["clientOrderId"])
    check(
        "edit", ex.edit_order(order["id"], BTC, "limit", "buy", 0.02, last * 0.97)["amount"] == 0.02
    )
    check("open orders", len(ex.fetch_open_orders(BTC)) == 1)
    check("cancel", ex.cancel_order(order["id"], BTC)["status"] == "canceled")
    gone = ccxt.OrderNotFound
    check("cancel again", refused(gone, lambda: ex.cancel_order(order["id"], BTC)))
    wish = {"symbol": BTC, "type": "limit", "side": "buy", "amount": 0.01}
    made = ex.create_orders([{**wish, "price": last * 0.96}, {**wish, "price": last * 0.95}])
    check("batch", [o["status"] for o in made] == ["open", "open"])
    ended = ex.cancel_orders([o["id"] for o in made], BTC)
    check("batch cancel", [o["status"] for o in ended] == ["canceled", "canceled"])
    ex.create_order(BTC, "market", "buy", 0.02)
    check("position", ex.fetch_positions([BTC])[0]["contracts"] == 0.02)
    reduce = {"reduceOnly": True}
    stop = ex.create_order(
        BTC, "market", "sell", 0.01, None, {"stopLossPrice": last * 0.97, **reduce}
    )
    check("stop", ex.fetch_order(stop["id"], BTC, {"trigger": True})["status"] == "open")
    trail = {"trailingPercent": 1.0, **reduce}
    check("trailing stop", ex.create_order(BTC, "market", "sell", 0.01, None, trail)["id"])
    check("open stops", len(ex.fetch_open_orders(BTC, params={"trigger": True})) == 2)
    ex.cancel_all_orders(BTC, {"trigger": True})
    check("no stops", not ex.fetch_open_orders(BTC, params={"trigger": True}))
    ex.create_order(BTC, "market", "sell", 0.02, None, reduce)
    check("closed", not [p for p in ex.fetch_positions([BTC]) if p["contracts"]])
    check("my trades", len(ex.fetch_my_trades(BTC)) >= 2)
    check(
        "ledger", {row["info"]["incomeType"] for row in ex.fetch_ledger("USDT")} >= {"COMMISSION"}
    )
    check("hedge mode", ex.set_position_mode(True)["code"] == 200)
    ex.create_order(BTC, "market", "buy", 0.01, None, {"positionSide": "LONG"})
    ex.create_order(BTC, "market", "sell", 0.01, None, {"positionSide": "SHORT"})
    check("both sides", {p["side"] for p in ex.fetch_positions([BTC])} == {"long", "short"})
    ex.create_order(BTC, "market", "sell", 0.01, None, {"positionSide": "LONG"})
    ex.create_order(BTC, "market", "buy", 0.01, None, {"positionSide": "SHORT"})
    ex.set_position_mode(False)
    ex.set_margin_mode("isolated", BTC)
    ex.create_order(BTC, "market", "buy", 0.01)
    check("add margin", ex.add_margin(BTC, 10)["amount"] == 10)
    ex.create_order(BTC, "market", "sell", 0.01, None, reduce)
    ex.set_margin_mode("cross", BTC)


async def streams(ex):
    await ex.load_markets()
    calls = {
        "ticker": lambda: ex.watch_ticker(BTC),
        "tickers": lambda: ex.watch_tickers([BTC, ETH]),
        "bids and asks": lambda: ex.watch_bids_asks([BTC, ETH]),
        "mark price": lambda: ex.watch_mark_price(BTC),
        "trades": lambda: ex.watch_trades_for_symbols([BTC, ETH]),
        "candles": lambda: ex.watch_ohlcv_for_symbols([[BTC, "1m"], [ETH, "5m"]]),
        "order book": lambda: ex.watch_order_book(BTC),
    }
    for name, call in calls.items():
        for _ in range(3):
            got = await asyncio.wait_for(call(), 30)
        check(f"watch {name}", bool(got))


async def ws_api(ex):
    last = (await ex.fetch_ticker_ws(BTC))["bid"]
    order = await ex.create_order_ws(BTC, "limit", "buy", 0.01, last * 0.97)
    check("ws place", order["status"] == "open")
    check("ws query", (await ex.fetch_order_ws(order["id"], BTC))["id"] == order["id"])
    check("ws cancel", (await ex.cancel_order_ws(order["id"], BTC))["status"] == "canceled")
    check("ws balance", (await ex.fetch_balance_ws())["USDT"]["total"] > 0)


async def user_stream(ex):
    seen = {}

    async def collect(name, call):
        while True:
            seen.setdefault(name, []).append(await call())

    calls = (
        ("orders", ex.watch_orders),
        ("trades", ex.watch_my_trades),
        ("balance", ex.watch_balance),
        ("positions", ex.watch_positions),
    )
    tasks = [asyncio.create_task(collect(name, call)) for name, call in calls]
    await asyncio.sleep(2)
    await ex.create_order(BTC, "market", "buy", 0.01)
    await ex.create_order(BTC, "market", "sell", 0.01, None, {"reduceOnly": True})
    for _ in range(100):
        await asyncio.sleep(0.1)
        if len(seen) == len(calls):
            break
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for name, _ in calls:
        check(f"user stream {name}", name in seen)


async def live():
    ex = exchange(ccxt.pro.binanceusdm)
    try:
        await streams(ex)
        await ws_api(ex)
        await user_stream(ex)
    finally:
        await ex.close()


rest = exchange(ccxt.binanceusdm)
market(rest)
account(rest)
trade(rest)
asyncio.run(live())
