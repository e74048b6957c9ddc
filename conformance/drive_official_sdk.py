"""A scripted day of Binance's own USDⓈ-M SDK, unmodified but for its base URLs. Runs in a venv of its own."""

import asyncio
import json
import sys

from binance_common.configuration import (
    ConfigurationRestAPI,
    ConfigurationWebSocketAPI,
    ConfigurationWebSocketStreams,
)
from binance_sdk_derivatives_trading_usds_futures.derivatives_trading_usds_futures import (
    DerivativesTradingUsdsFutures,
)
from binance_sdk_derivatives_trading_usds_futures.rest_api import models as rest
from binance_sdk_derivatives_trading_usds_futures.websocket_api import models as api

READY = json.loads(sys.argv[1])


def check(name, held):
    print(f"{'ok  ' if held else 'FAIL'} official-sdk {name}", flush=True)
    if not held:
        sys.exit(1)


def client():
    key, secret = READY["api_key"], READY["api_secret"]
    return DerivativesTradingUsdsFutures(
        config_rest_api=ConfigurationRestAPI(
            api_key=key, api_secret=secret, base_path=READY["rest"]
        ),
        config_ws_api=ConfigurationWebSocketAPI(
            api_key=key, api_secret=secret, stream_url=READY["ws_api"]
        ),
        config_ws_streams=ConfigurationWebSocketStreams(stream_url=READY["ws"]),
    )


def market(r):
    check("time", r.check_server_time().data().server_time > 0)
    check("exchangeInfo", len(r.exchange_information().data().symbols) > 40)
    rows = r.kline_candlestick_data(
        symbol="BTCUSDT", interval=rest.KlineCandlestickDataIntervalEnum["INTERVAL_1h"], limit=50
    ).data()
    check("klines", len(rows) == 50)
    check("depth", r.order_book(symbol="BTCUSDT", limit=20).data().bids)
    check("mark price", r.mark_price(symbol="BTCUSDT").data())
    check("24h ticker", r.ticker24hr_price_change_statistics(symbol="BTCUSDT").data())
    check("price ticker", r.symbol_price_ticker_v2(symbol="BTCUSDT").data())
    check("book ticker", r.symbol_order_book_ticker(symbol="BTCUSDT").data())
    check("funding history", r.get_funding_rate_history(symbol="BTCUSDT").data())
    check("funding info", r.get_funding_rate_info().data() is not None)
    check("agg trades", r.compressed_aggregate_trades_list(symbol="BTCUSDT").data())
    check("recent trades", r.recent_trades_list(symbol="BTCUSDT").data())
    check("open interest", r.open_interest(symbol="BTCUSDT").data().open_interest)
    period = rest.OpenInterestStatisticsPeriodEnum["PERIOD_1h"]
    check(
        "open interest history", r.open_interest_statistics(symbol="BTCUSDT", period=period).data()
    )


def account(r):
    check("account v3", r.account_information_v3().data().assets)
    check("account v2", r.account_information_v2().data().assets)
    check("balance v3", r.futures_account_balance_v3().data())
    check("configuration", r.futures_account_configuration().data().can_trade)
    check("symbol configuration", r.symbol_configuration(symbol="BTCUSDT").data())
    check("brackets", r.notional_and_leverage_brackets(symbol="BTCUSDT").data())
    check("commission", r.user_commission_rate(symbol="BTCUSDT").data().taker_commission_rate)
    check("position mode", r.get_current_position_mode().data().dual_side_position is False)
    check(
        "leverage", r.change_initial_leverage(symbol="BTCUSDT", leverage=12).data().leverage == 12
    )
    check("order limits", r.query_user_rate_limit().data())


async def streams(c):
    connection = await c.websocket_streams.create_connection()
    got = {"agg": 0, "kline": 0, "depth": 0, "mark": 0, "book": 0}

    def count(name):
        def on(_data):
            got[name] += 1

        return on

    s = connection
    (await s.aggregate_trade_streams(symbol="btcusdt")).on("message", count("agg"))
    (await s.kline_candlestick_streams(symbol="btcusdt", interval="1m")).on(
        "message", count("kline")
    )
    (await s.partial_book_depth_streams(symbol="btcusdt", levels=10)).on("message", count("depth"))
    (await s.mark_price_stream(symbol="btcusdt", update_speed="1s")).on("message", count("mark"))
    (await s.individual_symbol_book_ticker_streams(symbol="btcusdt")).on("message", count("book"))
    for _ in range(20):
        await asyncio.sleep(1)
        if all(got.values()):
            break
    check(f"streams {got}", all(got.values()))
    await connection.close_connection(close_session=True)


async def trade(c):
    r = c.rest_api
    key = r.start_user_data_stream().data().listen_key
    events = []
    connection = await c.websocket_streams.create_connection()
    (await connection.user_data(key)).on("message", lambda e: events.append(e))
    await asyncio.sleep(1)
    mark = float(r.symbol_price_ticker_v2(symbol="BTCUSDT").data().actual_instance.price)
    side, sell = rest.NewOrderSideEnum["BUY"], rest.NewAlgoOrderSideEnum["SELL"]
    order = r.new_order(
        symbol="BTCUSDT",
        side=side,
        type="LIMIT",
        quantity=0.01,
        price=round(mark * 0.98, 1),
        time_in_force=rest.NewOrderTimeInForceEnum["GTC"],
    ).data()
    check("place limit", order.status == "NEW")
    check(
        "query",
        r.query_order(symbol="BTCUSDT", order_id=order.order_id).data().order_id == order.order_id,
    )
    moved = r.modify_order(
        symbol="BTCUSDT",
        side=rest.ModifyOrderSideEnum["BUY"],
        order_id=order.order_id,
        quantity=0.02,
        price=round(mark * 0.97, 1),
    ).data()
    check("amend", float(moved.orig_qty) == 0.02)
    check(
        "cancel",
        r.cancel_order(symbol="BTCUSDT", order_id=order.order_id).data().status == "CANCELED",
    )
    r.new_order(symbol="BTCUSDT", side=side, type="MARKET", quantity=0.01)
    held = r.position_information_v3(symbol="BTCUSDT").data()
    check("position", float(held[0].position_amt) == 0.01)
    last = float(r.symbol_price_ticker_v2(symbol="BTCUSDT").data().actual_instance.price)
    stop = r.new_algo_order(
        algo_type="CONDITIONAL",
        symbol="BTCUSDT",
        side=sell,
        type="STOP_MARKET",
        quantity=0.01,
        trigger_price=round(last - 0.2, 1),
        reduce_only="true",
    ).data()
    check("algo stop placed", stop.algo_status == "NEW")
    check("open algo orders", r.current_all_algo_open_orders().data() is not None)
    profit = r.new_algo_order(
        algo_type="CONDITIONAL",
        symbol="BTCUSDT",
        side=sell,
        type="TAKE_PROFIT_MARKET",
        quantity=0.01,
        trigger_price=round(last + 5, 1),
        reduce_only="true",
    ).data()
    for _ in range(150):
        await asyncio.sleep(1)
        states = [
            r.query_algo_order(algo_id=i).data().algo_status for i in (stop.algo_id, profit.algo_id)
        ]
        if "FINISHED" in states:
            break
    check("algo stop or profit triggered", "FINISHED" in states)
    check(
        "position closed",
        not [
            p for p in r.position_information_v3(symbol="BTCUSDT").data() if float(p.position_amt)
        ],
    )
    check("user trades", len(r.account_trade_list(symbol="BTCUSDT").data()) >= 2)
    check(
        "income",
        {i.income_type for i in r.get_income_history().data()} >= {"COMMISSION", "REALIZED_PNL"},
    )
    r.keepalive_user_data_stream()
    await asyncio.sleep(1)
    names = {type(getattr(e, "actual_instance", e)).__name__ for e in events}
    for name in ("OrderTradeUpdate", "AccountUpdate", "AlgoUpdate", "TradeLite"):
        check(f"user stream {name}", name in names)
    await connection.close_connection(close_session=True)


async def ws_api(c):
    connection = await c.websocket_api.create_connection()
    check("ws depth", (await connection.order_book(symbol="BTCUSDT")).data().result.last_update_id)
    check("ws balance", (await connection.futures_account_balance_v2()).data().result)
    price = float(c.rest_api.symbol_price_ticker_v2(symbol="BTCUSDT").data().actual_instance.price)
    placed = await connection.new_order(
        symbol="BTCUSDT",
        side=api.NewOrderSideEnum["BUY"],
        type="LIMIT",
        quantity=0.01,
        price=round(price * 0.98, 1),
        time_in_force=api.NewOrderTimeInForceEnum["GTC"],
    )
    order_id = placed.data().result.order_id
    check("ws place", order_id)
    check(
        "ws query",
        (await connection.query_order(symbol="BTCUSDT", order_id=order_id)).data().result.order_id
        == order_id,
    )
    check(
        "ws cancel",
        (await connection.cancel_order(symbol="BTCUSDT", order_id=order_id)).data().result.status
        == "CANCELED",
    )
    await connection.close_connection(close_session=True)


async def main():
    c = client()
    market(c.rest_api)
    account(c.rest_api)
    await streams(c)
    await trade(c)
    await ws_api(c)


asyncio.run(main())
