"""A scripted day of `python-binance`, unmodified but for its base URLs. Runs in a venv of its own."""

import asyncio
import json
import sys

from binance import AsyncClient, BinanceSocketManager
from binance.exceptions import BinanceAPIException

READY = json.loads(sys.argv[1])


def check(name, held):
    print(f"{'ok  ' if held else 'FAIL'} python-binance {name}", flush=True)
    if not held:
        sys.exit(1)


async def expect(code, call):
    try:
        await call
    except BinanceAPIException as error:
        return error.code == code
    return False


async def listen(socket, wanted, seconds=20):
    """Frames of a socket until `wanted(frames)`, or what came."""
    frames = []
    async with socket as stream:
        end = asyncio.get_running_loop().time() + seconds
        while asyncio.get_running_loop().time() < end and not wanted(frames):
            try:
                frame = await asyncio.wait_for(stream.recv(), 3)
            except TimeoutError:
                continue
            if frame:
                frames.append(frame)
    return frames


async def market(client):
    info = await client.futures_exchange_info()
    check("exchangeInfo", any(s["symbol"] == "BTCUSDT" for s in info["symbols"]))
    check("ping and time", (await client.futures_time())["serverTime"] > 0)
    rows = await client.futures_klines(symbol="BTCUSDT", interval="1h", limit=300)
    check("klines", len(rows) == 300)
    check(
        "continuous klines",
        await client.futures_continuous_klines(
            pair="BTCUSDT", contractType="PERPETUAL", interval="1h"
        ),
    )
    book = await client.futures_order_book(symbol="BTCUSDT", limit=20)
    check("depth", float(book["bids"][0][0]) < float(book["asks"][0][0]))
    check("mark price", float((await client.futures_mark_price(symbol="BTCUSDT"))["markPrice"]) > 0)
    check("funding", await client.futures_funding_rate(symbol="BTCUSDT"))
    check("ticker", len(await client.futures_ticker()) > 40)
    check(
        "symbol ticker",
        (await client.futures_symbol_ticker(symbol="BTCUSDT"))["symbol"] == "BTCUSDT",
    )
    check(
        "book ticker",
        (await client.futures_orderbook_ticker(symbol="BTCUSDT"))["symbol"] == "BTCUSDT",
    )
    check("open interest", await client.futures_open_interest_hist(symbol="BTCUSDT", period="1h"))
    check("agg trades", await client.futures_aggregate_trades(symbol="BTCUSDT"))
    check("recent trades", await client.futures_recent_trades(symbol="BTCUSDT"))
    check("ratios", await client.futures_global_longshort_ratio(symbol="BTCUSDT", period="1h"))


async def streams(client):
    manager = BinanceSocketManager(client)
    trades = await listen(manager.aggtrade_futures_socket("BTCUSDT"), lambda f: len(f) > 3)
    check("aggTrade stream", len(trades) > 3)
    klines = await listen(
        manager.kline_futures_socket("BTCUSDT", interval="1m"), lambda f: len(f) > 2
    )
    check("kline stream", len(klines) > 2)
    marks = await listen(manager.all_mark_price_socket(fast=True), lambda f: len(f) > 1)
    check("mark array stream", len(marks) > 1)
    both = manager.futures_multiplex_socket(["btcusdt@aggTrade", "ethusdt@aggTrade"])
    check("combined streams", len(await listen(both, lambda f: len(f) > 4)) > 4)
    depth = await listen(manager.futures_depth_socket("BTCUSDT", depth="10"), lambda f: len(f) > 2)
    check("depth stream", len(depth) > 2)


async def account(client):
    check("balance", float((await client.futures_account_balance())[0]["balance"]) > 0)
    check("account", "assets" in await client.futures_account())
    check(
        "leverage",
        (await client.futures_change_leverage(symbol="BTCUSDT", leverage=10))["leverage"] == 10,
    )
    check(
        "margin type -4046",
        await expect(
            -4046, client.futures_change_margin_type(symbol="BTCUSDT", marginType="CROSSED")
        ),
    )
    check("position mode", (await client.futures_get_position_mode())["dualSidePosition"] is False)
    check("brackets", await client.futures_leverage_bracket(symbol="BTCUSDT"))
    check("commission", await client.futures_commission_rate(symbol="BTCUSDT"))
    check("api restrictions", (await client.get_account_api_permissions())["enableFutures"])


async def trade(client):
    manager = BinanceSocketManager(client)
    events = []

    async def collect(stream):
        while True:
            frame = await stream.recv()
            if frame:
                events.append(frame)

    async with manager.futures_user_socket() as stream:
        task = asyncio.create_task(collect(stream))
        await asyncio.sleep(1)
        price = float((await client.futures_mark_price(symbol="BTCUSDT"))["markPrice"])
        base = {"symbol": "BTCUSDT", "side": "BUY"}
        order = await client.futures_create_order(
            **base, type="LIMIT", timeInForce="GTC", quantity="0.01", price=f"{price * 0.98:.1f}"
        )
        check("place limit", order["status"] == "NEW")
        found = await client.futures_get_order(symbol="BTCUSDT", orderId=order["orderId"])
        check("query", found["clientOrderId"] == order["clientOrderId"])
        amended = await client.futures_modify_order(
            **base, orderId=order["orderId"], quantity="0.02", price=f"{price * 0.975:.1f}"
        )
        check("amend", float(amended["origQty"]) == 0.02)
        check("open orders", len(await client.futures_get_open_orders(symbol="BTCUSDT")) == 1)
        gone = await client.futures_cancel_order(symbol="BTCUSDT", orderId=order["orderId"])
        check("cancel", gone["status"] == "CANCELED")
        check(
            "cancel again -2011",
            await expect(
                -2011, client.futures_cancel_order(symbol="BTCUSDT", orderId=order["orderId"])
            ),
        )
        await client.futures_create_order(**base, type="MARKET", quantity="0.01")
        held = await client.futures_position_information(symbol="BTCUSDT")
        check("position", float(held[0]["positionAmt"]) == 0.01)
        last = float((await client.futures_symbol_ticker(symbol="BTCUSDT"))["price"])
        stop = await client.futures_create_algo_order(
            symbol="BTCUSDT",
            side="SELL",
            type="STOP_MARKET",
            quantity="0.01",
            triggerPrice=f"{last - 0.2:.1f}",
            reduceOnly="true",
        )
        check("algo stop placed", stop["algoStatus"] == "NEW")
        check(
            "open algo orders",
            any(a["algoId"] == stop["algoId"] for a in await client.futures_get_open_algo_orders()),
        )
        profit = await client.futures_create_algo_order(
            symbol="BTCUSDT",
            side="SELL",
            type="TAKE_PROFIT_MARKET",
            quantity="0.01",
            triggerPrice=f"{last + 5:.1f}",
            reduceOnly="true",
        )
        ids = [stop["algoId"], profit["algoId"]]
        for _ in range(150):
            await asyncio.sleep(1)
            states = [(await client.futures_get_algo_order(algoId=i))["algoStatus"] for i in ids]
            if "FINISHED" in states:
                break
        check("algo stop or profit triggered", "FINISHED" in states)
        check(
            "position closed",
            not [
                p
                for p in await client.futures_position_information(symbol="BTCUSDT")
                if float(p["positionAmt"])
            ],
        )
        check("trades", len(await client.futures_account_trades(symbol="BTCUSDT")) >= 2)
        kinds = {i["incomeType"] for i in await client.futures_income_history()}
        check("income", {"COMMISSION", "REALIZED_PNL"} <= kinds)
        await asyncio.sleep(1)
        task.cancel()
    seen = [(e["e"], e.get("o", {}).get("X")) for e in events]
    for wanted in (
        ("ORDER_TRADE_UPDATE", "NEW"),
        ("ORDER_TRADE_UPDATE", "CANCELED"),
        ("ORDER_TRADE_UPDATE", "FILLED"),
        ("ALGO_UPDATE", "TRIGGERED"),
        ("ALGO_UPDATE", "FINISHED"),
    ):
        check(f"user stream {wanted[0]} {wanted[1]}", wanted in seen)


async def main():
    AsyncClient.API_URL = READY["rest"] + "/api"
    AsyncClient.MARGIN_API_URL = READY["rest"] + "/sapi"
    AsyncClient.FUTURES_URL = READY["rest"] + "/fapi"
    AsyncClient.FUTURES_DATA_URL = READY["rest"] + "/futures/data"
    BinanceSocketManager.FSTREAM_URL = READY["ws"] + "/"
    client = await AsyncClient.create(READY["api_key"], READY["api_secret"])
    try:
        await market(client)
        await streams(client)
        await account(client)
        await trade(client)
    finally:
        await client.close_connection()


asyncio.run(main())
