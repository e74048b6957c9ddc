"""A tick-size change: every later trade, level and order follows it, and the candles still add up."""

import json
from decimal import Decimal

import msgspec
import pytest
from tests.sim.driver import Client

MINUTE_MS = 60_000


def filter_of(c, symbol, kind):
    rows = c.get("/fapi/v1/exchangeInfo")["symbols"]
    row = next(r for r in rows if r["symbol"] == symbol)
    return next(f for f in row["filters"] if f["filterType"] == kind)


def off_grid(prices, tick):
    return [p for p in prices if Decimal(p) % Decimal(tick)]


@pytest.mark.parametrize("heard", [False, True])
def test_later_trades_lie_on_the_new_grid(heard):
    """Ten times the tick from a minute on, then back: trades, book and candles follow both changes."""
    c = Client()
    symbol, x = "SOLUSDT", c.venue.exchange
    index = x.index_of[symbol]
    old = filter_of(c, symbol, "PRICE_FILTER")["tickSize"]
    new = str(Decimal(old) * 10)
    c.open(1, "/market/ws/solusdt@kline_1m" + ("/solusdt@aggTrade" if heard else ""))
    c.run(90_000)
    change = (c.now // MINUTE_MS + 1) * MINUTE_MS
    x.change_tick(index, change, 10)
    assert filter_of(c, symbol, "PRICE_FILTER")["tickSize"] == old
    c.run(change - c.now + 10 * MINUTE_MS)
    assert Decimal(filter_of(c, symbol, "PRICE_FILTER")["tickSize"]) == Decimal(new)
    trades = c.get("/fapi/v1/aggTrades", symbol=symbol, startTime=change, limit=1000)
    assert trades
    assert not off_grid([t["p"] for t in trades], new)
    before = c.get("/fapi/v1/aggTrades", symbol=symbol, startTime=change - MINUTE_MS, limit=1000)
    assert off_grid([t["p"] for t in before if t["T"] < change], new)
    book = c.get("/fapi/v1/depth", symbol=symbol, limit=100)
    assert not off_grid([p for p, _ in book["bids"] + book["asks"]], new)
    assert Decimal(book["bids"][0][0]) < Decimal(book["asks"][0][0])
    fine = f"{c.price(symbol) * 0.97:.2f}"[:-1] + "1"
    wish = {"symbol": symbol, "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "1"}
    assert c.order(**wish, price=fine)["code"] == -4014
    rows = c.get("/fapi/v1/klines", symbol=symbol, interval="1m", startTime=change, limit=5)
    for row in rows:
        own = [Decimal(t["p"]) for t in trades if row[0] <= t["T"] <= row[6]]
        if own:
            assert [Decimal(v) for v in row[1:5]] == [own[0], max(own), min(own), own[-1]]
    closed = {f["k"]["t"]: f["k"] for f in c.inbox[1] if f["e"] == "kline" and f["k"]["x"]}
    for row in rows:
        if row[0] in closed:
            assert [closed[row[0]][k] for k in "ohlc"] == row[1:5]
    back = (c.now // MINUTE_MS + 1) * MINUTE_MS
    x.change_tick(index, back, 1)
    c.run(back - c.now + 5 * MINUTE_MS)
    later = c.get("/fapi/v1/aggTrades", symbol=symbol, startTime=back, limit=1000)
    assert off_grid([t["p"] for t in later], new)


def test_an_announced_change_keeps_trades_on_the_coarse_grid_before_it():
    """A symbol listed with a change ahead trades on the coarse tick until then, in history too."""
    c = Client(symbols=60, events=True)
    row = next(r for r in c.venue.exchange.listed if r.tick_change_ms > c.now)
    coarse = row.price_unit * row.tick_units_before
    recent = c.get("/fapi/v1/aggTrades", symbol=row.symbol, limit=500)
    assert len(recent) > 100
    assert not [t for t in recent if Decimal(t["p"]) % coarse]
    rows = c.get("/fapi/v1/klines", symbol=row.symbol, interval="1m", limit=60)
    for k in rows[:-1]:
        own = [Decimal(t["p"]) for t in recent if k[0] <= t["T"] <= k[6]]
        if own and recent[0]["T"] < k[0]:
            assert (Decimal(k[2]), Decimal(k[3])) == (max(own), min(own))


def test_a_delisting_is_announced_and_settles():
    """contractInfo and deliveryDate tell of it, orders end with er 7, the position settles, then silence."""
    c = Client()
    c.open_private()
    c.open(1, "/market/ws/!contractInfo")
    x, symbol = c.venue.exchange, "XRPUSDT"
    index = x.index_of[symbol]
    c.order(symbol=symbol, side="BUY", type="MARKET", quantity="100")
    entry = {"symbol": symbol, "side": "BUY", "type": "LIMIT", "timeInForce": "GTC"}
    c.order(**entry, quantity="100", price=f"{c.price(symbol) * 0.92:.4f}")
    end = (c.now // MINUTE_MS + 10) * MINUTE_MS
    x.delist(index, end)
    told = c.take(1)[-1]
    assert (told["s"], told["dt"], told["cs"]) == (symbol, end, "TRADING")
    c.run(end - c.now)
    assert c.take(1)[-1]["cs"] == "SETTLING"
    events = [f["o"] for f in c.inbox[9] if f["e"] == "ORDER_TRADE_UPDATE"]
    assert [e["er"] for e in events if e["X"] == "EXPIRED"] == ["7"]
    assert [e["c"][:21] for e in events if e["X"] == "FILLED"][1:] == ["settlement_autoclose-"]
    assert not c.venue.positions()
    c.run(5 * MINUTE_MS)
    query = {"symbol": symbol, "startTime": end}
    assert (
        c.get("/fapi/v1/aggTrades", **query)[1:] == []
    )  # the settlement itself, if it printed then
    assert c.order(symbol=symbol, side="BUY", type="MARKET", quantity="100")["code"] == -4140


def test_the_step_of_quantities_may_grow():
    """With a coarser step the filter says so, and an order off it is -4023."""
    c = Client()
    x, symbol = c.venue.exchange, "SOLUSDT"
    row = x.listed[x.index_of[symbol]]
    x.replace_listed(msgspec.structs.replace(row, step_units=10))
    step = Decimal(filter_of(c, symbol, "LOT_SIZE")["stepSize"])
    assert step == row.qty_unit * 10
    odd, even = step * 7 + row.qty_unit, step * 7
    wish = {"symbol": symbol, "side": "BUY", "type": "MARKET"}
    assert c.order(**wish, quantity=f"{odd:f}")["code"] == -4023, json.dumps(f"{odd}")
    assert "orderId" in c.order(**wish, quantity=f"{even:f}")


def test_executions_keep_a_coarser_step():
    """Partial fills, of takers and of makers, are whole steps of the rules that hold."""
    c = Client(fault_rates={"partial_fill": 1.0})
    x, symbol = c.venue.exchange, "SOLUSDT"
    row = x.listed[x.index_of[symbol]]
    x.replace_listed(msgspec.structs.replace(row, step_units=10))
    step = row.qty_unit * 10
    for n in range(40):
        wish = {"symbol": symbol, "side": "SELL" if n % 2 else "BUY"}
        c.order(**wish, type="MARKET", quantity=f"{step * (7 + 13 * n):f}")
        price = f"{c.price(symbol) * (1.0005 if n % 2 else 0.9995):.2f}"
        c.order(**wish, type="LIMIT", timeInForce="GTC", price=price, quantity=f"{step * 31:f}")
        c.run(MINUTE_MS)
    fills = c.venue.executions()
    assert {f.is_maker for f in fills} == {True, False}
    assert len({f.qty for f in fills}) > 20
    assert not [f for f in fills if f.qty % step]


def test_ten_symbols_see_every_kind_of_event():
    """A small listing too has a UTF-8 and a TradFi symbol, a listing, a halt, a delisting and a new tick."""
    c = Client(symbols=10, events=True, tick_ms=1_000, ticks_per_minute=4)
    rows = c.venue.exchange.listed
    assert any(not r.symbol.isascii() for r in rows)
    assert any(r.contract_type == "TRADIFI_PERPETUAL" for r in rows)
    ticks = {r.symbol: filter_of(c, r.symbol, "PRICE_FILTER")["tickSize"] for r in rows}
    for link in (1, 2):
        c.open(link, "/market/ws/!contractInfo")
        c.run(21 * 60 * MINUTE_MS)
    told = [(f["s"], f["cs"]) for f in c.inbox[1] + c.inbox[2]]
    kinds = {status for _, status in told}
    assert {"TRADING", "TRADING_HALT", "SETTLING"} <= kinds
    new = next(r for r in rows if c.venue.start_ms < r.onboard_ms)
    assert (new.symbol, "TRADING") in told
    moved = [s for s, old in ticks.items() if filter_of(c, s, "PRICE_FILTER")["tickSize"] != old]
    assert len(moved) == 1
