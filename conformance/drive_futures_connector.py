"""A scripted day of `binance-futures-connector`, unmodified but for its base URLs. Runs in a venv of its own."""

import json
import sys
import time

from binance.error import ClientError
from binance.um_futures import UMFutures
from binance.websocket.um_futures.websocket_client import UMFuturesWebsocketClient

READY = json.loads(sys.argv[1])
BTC = "BTCUSDT"


def check(name, held):
    print(f"{'ok  ' if held else 'FAIL'} futures-connector {name}", flush=True)
    if not held:
        sys.exit(1)


def code_of(call):
    try:
        call()
    except ClientError as error:
        return error.error_code
    return 0


def market(c):
    check("exchange info", len(c.exchange_info()["symbols"]) > 40)
    check("depth", c.depth(symbol=BTC)["bids"])
    check("trades", c.trades(symbol=BTC))
    check("historical trades", c.historical_trades(symbol=BTC))
    check("aggregated trades", c.agg_trades(symbol=BTC))
    check("klines", c.klines(symbol=BTC, interval="1m"))
    one = {"interval": "1m"}
    check("continuous", c.continuous_klines(pair=BTC, contractType="PERPETUAL", **one))
    check("index klines", c.index_price_klines(pair=BTC, **one))
    check("mark klines", c.mark_price_klines(symbol=BTC, **one))
    check("mark price", len(c.mark_price()) > 40)
    check("funding", c.funding_rate(symbol=BTC))
    check("day tickers", len(c.ticker_24hr_price_change()) > 40)
    check("open interest", c.open_interest_hist(symbol=BTC, period="5m"))
    check("taker ratio", c.taker_long_short_ratio(symbol=BTC, period="5m"))


def account(c):
    check("balance", float(c.balance()[0]["balance"]) > 0)
    check("account", c.account()["assets"])
    check("risk", c.get_position_risk() is not None)
    check("brackets", c.leverage_brackets())
    check("commission", c.commission_rate(symbol=BTC))
    check("leverage", c.change_leverage(symbol=BTC, leverage=9)["leverage"] == 9)
    same = code_of(lambda: c.change_margin_type(symbol=BTC, marginType="CROSSED"))
    check("margin type -4046", same == -4046)


def trade(c):
    last = float(c.ticker_price(BTC)["price"])
    entry = {"symbol": BTC, "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": 0.01}
    order = c.new_order(**entry, price=round(last * 0.97, 1))
    named = {"symbol": BTC, "orderId": order["orderId"]}
    check("query", c.query_order(**named)["status"] == "NEW")
    moved = c.modify_order(**named, side="BUY", quantity=0.02, price=round(last * 0.96, 1))
    check("modify", float(moved["origQty"]) == 0.02)
    check("cancel", c.cancel_order(**named)["status"] == "CANCELED")
    check("cancel again -2011", code_of(lambda: c.cancel_order(**named)) == -2011)
    texts = {key: str(value) for key, value in entry.items()}
    made = c.new_batch_order([{**texts, "price": str(round(last * 0.97, 1))}])
    check("batch", made[0]["status"] == "NEW")
    check("cancel all", c.cancel_open_orders(symbol=BTC)["code"] == 200)
    old = {"symbol": BTC, "side": "SELL", "type": "STOP_MARKET", "quantity": 0.01}
    stop = code_of(lambda: c.new_order(**old, stopPrice=round(last * 0.97, 1)))
    check("stop on the old endpoint -4120", stop == -4120)
    check("income", c.get_income_history())


def heard(url, subscribe, wanted, *, is_combined=False):
    """Whether every wanted event arrives."""
    seen = set()

    def on(_socket, text):
        frame = json.loads(text)
        seen.add(frame.get("data", frame).get("e"))

    socket = UMFuturesWebsocketClient(stream_url=url, on_message=on, is_combined=is_combined)
    subscribe(socket)
    for _ in range(200):
        time.sleep(0.1)
        if wanted <= seen:
            break
    socket.stop()
    return wanted <= seen


def regular(socket):
    socket.agg_trade(symbol="btcusdt")
    socket.kline(symbol="btcusdt", interval="1m")
    socket.mark_price(symbol="btcusdt", speed=1)
    socket.mini_ticker(symbol="btcusdt")
    socket.ticker(symbol="btcusdt")


def fast(socket):
    socket.book_ticker(symbol="btcusdt")
    socket.diff_book_depth(symbol="btcusdt", speed=100)


def streams(c):
    kinds = {"aggTrade", "kline", "markPriceUpdate", "24hrMiniTicker", "24hrTicker"}
    for is_combined in (False, True):
        form = "stream" if is_combined else "ws"
        market_url, public_url = READY["ws"] + "/market", READY["ws"] + "/public"
        got = heard(market_url, regular, kinds, is_combined=is_combined)
        check(f"market streams, {form}", got)
        got = heard(public_url, fast, {"bookTicker", "depthUpdate"}, is_combined=is_combined)
        check(f"public streams, {form}", got)
    key = c.new_listen_key()["listenKey"]

    def user(socket):
        socket.user_data(listen_key=key, id=1)
        time.sleep(1)
        wish = {"symbol": BTC, "type": "MARKET", "quantity": 0.01}
        c.new_order(side="BUY", **wish)
        c.new_order(side="SELL", reduceOnly="true", **wish)

    wanted = {"ORDER_TRADE_UPDATE", "ACCOUNT_UPDATE", "TRADE_LITE"}
    check("user stream", heard(READY["ws"] + "/private", user, wanted))
    check("keep alive", c.renew_listen_key(key) is not None)


client = UMFutures(READY["api_key"], READY["api_secret"], base_url=READY["rest"])
market(client)
account(client)
trade(client)
streams(client)
