"""Streams: timing, shapes, control messages, and agreement with trades, books and REST."""

import itertools

import pytest
from tests.sim.driver import START_MS, Client

from cryptosignal.ground.units import HOUR_MS, MINUTE_MS


def kline_frames(inbox, interval):
    return [f for f in inbox if f.get("e") == "kline" and f["k"]["i"] == interval]


def test_trades_sum_into_candles():
    """aggTrades of a symbol, summed by minute, are the streamed candles and the REST rows."""
    c = Client()
    c.open(1, "/market/ws/dogeusdt@aggTrade/dogeusdt@kline_1m")
    box = c.run(6 * MINUTE_MS)[1]
    rows = {r[0]: r for r in c.get("/fapi/v1/klines", symbol="DOGEUSDT", interval="1m", limit=8)}
    closed = {f["k"]["t"]: f["k"] for f in kline_frames(box, "1m") if f["k"]["x"]}
    assert len(closed) >= 5
    for opened, k in closed.items():
        trades = [t for t in box if t["e"] == "aggTrade" and opened <= t["T"] < opened + MINUTE_MS]
        assert float(k["v"]) == pytest.approx(sum(float(t["q"]) for t in trades))
        assert float(k["V"]) == pytest.approx(sum(float(t["q"]) for t in trades if not t["m"]))
        assert float(k["h"]) == max(float(t["p"]) for t in trades)
        assert float(k["l"]) == min(float(t["p"]) for t in trades)
        assert (k["o"], k["c"]) == (trades[0]["p"], trades[-1]["p"])
        assert k["n"] == sum(t["l"] - t["f"] + 1 for t in trades)
        assert (k["f"], k["L"]) == (trades[0]["f"], trades[-1]["l"])
        row = rows[opened]
        assert [row[i] for i in (1, 2, 3, 4, 5, 7, 8, 9, 10)] == [k[x] for x in "ohlcvqnVQ"]


def test_coarse_streams_agree_with_rest():
    """The running 1h bar of the stream equals the REST row at the same moment."""
    c = Client()
    c.open(1, "/market/ws/ethusdt@kline_1h/ethusdt@kline_4h")
    for _ in range(4):
        box = c.run(7 * MINUTE_MS)[1]
        for interval in ("1h", "4h"):
            last = kline_frames(box, interval)[-1]["k"]
            row = c.get("/fapi/v1/klines", symbol="ETHUSDT", interval=interval, limit=1)[-1]
            assert last["t"] == row[0]
            assert float(last["h"]) == float(row[2])
            assert row[8] >= last["n"] > 0


def test_agg_ids_are_consecutive_and_match_rest():
    """Streamed aggTrades have consecutive ids, and REST serves the same trades under the same ids."""
    c = Client()
    c.open(1, "/market/ws/btcusdt@aggTrade")
    c.run(2 * MINUTE_MS)
    frames = c.inbox[1]
    ids = [f["a"] for f in frames]
    assert ids == list(range(ids[0], ids[0] + len(ids)))
    rest = c.get("/fapi/v1/aggTrades", symbol="BTCUSDT", limit=len(ids))
    assert [(r["a"], r["p"], r["q"], r["T"]) for r in rest] == [
        (f["a"], f["p"], f["q"], f["T"]) for f in frames
    ]


def test_kline_emission_is_trade_driven():
    """No trade, no frame; frames keep 250 ms apart; a close comes with the next bar or by the timer."""
    c = Client(symbol_names=("IMXUSDT",), symbols=3)
    c.open(1, "/market/ws/imxusdt@kline_1m/imxusdt@aggTrade")
    box = c.run(12 * MINUTE_MS)[1]
    times = [f["E"] for f in kline_frames(box, "1m") if not f["k"]["x"]]
    trade_times = {f["T"] for f in box if f["e"] == "aggTrade"}
    assert set(times) <= trade_times
    by_bar = {}
    for f in kline_frames(box, "1m"):
        by_bar.setdefault(f["k"]["t"], []).append(f)
    for frames in by_bar.values():
        gaps = [b["E"] - a["E"] for a, b in itertools.pairwise(frames) if not b["k"]["x"]]
        assert all(g >= 250 for g in gaps)
    lags = [f["E"] - f["k"]["T"] for f in kline_frames(box, "1m") if f["k"]["x"]]
    assert lags
    assert all(0 < lag <= 2_004 for lag in lags)


def test_a_tradeless_minute_is_flat_in_rest_and_silent_on_the_stream():
    """REST always has a row; the stream has none without a trade."""
    c = Client(symbol_names=("TRBUSDT",), symbols=3)
    c.open(1, "/market/ws/trbusdt@kline_1m")
    box = c.run(60 * MINUTE_MS)[1]
    rows = c.get("/fapi/v1/klines", symbol="TRBUSDT", interval="1m", limit=58)
    flat = [r[0] for r in rows if r[8] == 0]
    assert flat
    seen = {f["k"]["t"] for f in box}
    assert not seen & set(flat)
    for r in rows:
        if r[8] == 0:
            assert r[1] == r[2] == r[3] == r[4]


def apply(book, levels):
    for price, qty in levels:
        if float(qty) == 0:
            book.pop(price, None)
        else:
            book[price] = qty


@pytest.mark.parametrize("wait_ms", [0, 37, 130, 260])
def test_diffs_rebuild_the_book(wait_ms):
    """A snapshot plus diffs by the futures rule gives the venue's book, uncrossed, pu chain unbroken."""
    c = Client()
    c.open(1, "/public/ws/btcusdt@depth@100ms")
    c.run(2_000 + wait_ms)
    snap = c.get("/fapi/v1/depth", symbol="BTCUSDT", limit=1000)
    bids, asks = dict(map(tuple, snap["bids"])), dict(map(tuple, snap["asks"]))
    box = c.run(30_000)[1]
    events = [e for e in box if e["u"] >= snap["lastUpdateId"]]
    assert events[0]["U"] <= snap["lastUpdateId"] <= events[0]["u"]
    last = None
    for e in events:
        assert last is None or e["pu"] == last
        last = e["u"]
        apply(bids, e["b"])
        apply(asks, e["a"])
        assert max(map(float, bids)) < min(map(float, asks))
    now = c.get("/fapi/v1/depth", symbol="BTCUSDT", limit=1000)
    before = len(c.inbox[1])
    c.run(100 - c.now % 100)
    for e in c.inbox[1][before:]:
        apply(bids, e["b"])
        apply(asks, e["a"])
    final = c.get("/fapi/v1/depth", symbol="BTCUSDT", limit=1000)
    assert {float(p): float(q) for p, q in final["bids"]} == {
        float(p): float(q) for p, q in bids.items()
    }
    assert now["lastUpdateId"] < final["lastUpdateId"]


def test_partial_depth_is_the_top_of_rest():
    """depth5 shows the best five levels of the REST book of its moment."""
    c = Client()
    c.open(1, "/public/ws/ethusdt@depth5@100ms")
    c.run(5_000)
    c.now = c.inbox[1][-1]["E"]
    c2 = Client()
    c2.run(c.now - START_MS)
    rest = c2.get("/fapi/v1/depth", symbol="ETHUSDT", limit=5)
    assert c.inbox[1][-1]["b"] == rest["bids"]
    assert c.inbox[1][-1]["a"] == rest["asks"]


def test_unrouted_sockets_acknowledge_and_stay_silent():
    """On /stream and /ws only /public streams deliver; everything is acknowledged and listed."""
    c = Client()
    c.open(1, "/stream")
    c.send(
        1, {"method": "SUBSCRIBE", "params": ["btcusdt@aggTrade", "btcusdt@bookTicker"], "id": 1}
    )
    c.open(2, "/market/ws/btcusdt@bookTicker")
    c.open(3, "/public/ws/btcusdt@aggTrade")
    c.send(1, {"method": "LIST_SUBSCRIPTIONS", "id": 2})
    box = c.run(MINUTE_MS)
    assert box[1][0] == {"result": None, "id": 1}
    assert box[1][1]["result"] == ["btcusdt@aggTrade", "btcusdt@bookTicker"]
    assert {f["stream"] for f in box[1][2:]} == {"btcusdt@bookTicker"}
    assert box[2] == []
    assert box[3] == []


CONTROL = [
    (b"{", 3, "Invalid JSON"),
    (b"[]", 3, "Invalid JSON"),
    (b'{"id":1}', 2, "missing field `method`"),
    (b'{"method":"SUBSCRIBE","params":[],"id":-1}', 2, "unsigned integer"),
    (b'{"method":"NOPE","id":1}', 2, "unknown variant"),
    (b'{"method":"SET_PROPERTY","params":["combined"],"id":1}', 1, "expected Boolean"),
    (b'{"method":"SET_PROPERTY","params":["other",true],"id":1}', 0, "Unknown property"),
    (b'{"method":"SET_PROPERTY","params":["combined",true,1],"id":1}', 2, "too many parameters"),
    (b'{"method":"SUBSCRIBE","params":[1],"id":1}', 2, "params"),
    (b"\xff\xfe", 3, "Invalid JSON"),
]


@pytest.mark.parametrize(("payload", "code", "text"), CONTROL)
def test_control_errors(payload, code, text):
    """Malformed control messages get the documented error, and the connection lives on."""
    c = Client()
    c.open(1, "/market/ws")
    c.send(1, payload)
    error = c.take(1)[0]["error"]
    assert error["code"] == code
    assert text in error["msg"]
    c.send(1, {"method": "GET_PROPERTY", "params": ["combined"], "id": "3f1c-uuid"})
    assert c.take(1) == [{"result": False, "id": "3f1c-uuid"}]


def test_ten_messages_a_second():
    """The eleventh message within a second ends the connection; a flood costs no memory."""
    c = Client()
    c.open(1, "/market/ws")
    for number in range(5_000):
        c.send(1, {"method": "SUBSCRIBE", "params": [f"x{number}@aggTrade"], "id": number})
    c.collect()
    assert c.closed == {1: 1008}
    assert len(c.inbox[1]) == 10
    assert c.venue.links() == []


def test_stream_limit_and_size():
    """1024 streams a connection and 64 KiB a message; beyond that a clean close."""
    c = Client()
    c.open(1, "/market/ws")
    c.send(1, {"method": "SUBSCRIBE", "params": [f"s{i}@aggTrade" for i in range(1_100)], "id": 1})
    c.open(2, "/market/ws")
    c.send(2, b'{"method":"' + b"x" * 70_000)
    c.collect()
    assert c.closed == {1: 1008, 2: 1009}


def test_unknown_paths_are_refused():
    """A handshake on a path that does not exist gets 404."""
    c = Client(symbols=10)
    assert c.open(1, "/nope/ws").status == 404
    assert c.open(2, "/ws-fapi/v2").status == 404
    assert c.open(3, "/market/ws/0") is None
    assert c.open(4, "/public/ws/%E5%B8%81%E5%AE%89%E4%BA%BA%E7%94%9Fusdt@bookTicker") is None
    assert c.run(60_000)[4]


def test_a_link_lives_a_day():
    """The venue ends every connection after 24 h (1001)."""
    c = Client(link_life_ms=HOUR_MS)
    c.open(1, "/market/ws")
    c.run(HOUR_MS + 1)
    assert c.closed == {1: 1001}


def test_arrays_and_marks():
    """!markPrice@arr sends TradFi symbols in a message of their own; tickers carry st and ps."""
    c = Client(symbols=12)
    c.open(1, "/market/stream?streams=!markPrice@arr@1s/!ticker@arr/!miniTicker@arr/btcusdt@ticker")
    box = c.run(3_000)[1]
    marks = [f["data"] for f in box if f["stream"] == "!markPrice@arr@1s"]
    assert [[r["s"] for r in m] for m in marks[:2]][1] == ["XAUUSDT"]
    assert len(marks[0]) == 11
    tickers = [r for f in box if f["stream"] == "!ticker@arr" for r in f["data"]]
    assert tickers
    assert all(r["st"] == 1 and r["ps"] == r["s"] for r in tickers)


def test_a_timed_stream_rests_while_nobody_hears_it():
    """A stream that is left makes no work for the venue, and beats again for the next who comes."""
    c = Client(symbols=2)
    agenda, name = c.venue.exchange.agenda, "!markPrice@arr@1s"

    def heard(method):
        c.send(1, {"method": method, "params": [name], "id": 1})
        c.take(1)
        c.run(5_000)
        return len([frame for frame in c.take(1) if isinstance(frame, list)])

    c.open(1, "/market/ws")
    c.run(3_000)
    before = len(agenda)
    assert heard("SUBSCRIBE") >= 4
    assert len(agenda) == before + 1
    assert heard("UNSUBSCRIBE") == 0
    assert len(agenda) == before
    assert heard("SUBSCRIBE") >= 4


def test_same_seed_same_frames():
    """Two venues with one seed send the same bytes; another seed sends others."""
    texts = []
    for seed in (5, 5, 6):
        c = Client(seed=seed)
        c.open(1, "/market/ws/btcusdt@aggTrade/ethusdt@kline_1m")
        c.run(30_000)
        texts.append(str(c.inbox[1]))
    assert texts[0] == texts[1] != texts[2]


def test_spot_klines_stream_like_spot_rest():
    """/spot streams carry the spot pair's candles, equal to /api/v3/klines; nothing but klines."""
    c = Client(symbols=8)
    c.open(1, "/spot/stream?streams=pepeusdt@kline_1m/btcusdt@kline_1m/btcusdt@aggTrade")
    c.run(3 * MINUTE_MS)
    frames = [f["data"] for f in c.inbox[1]]
    assert {f["s"] for f in frames} == {"PEPEUSDT", "BTCUSDT"}
    closed = [f["k"] for f in frames if f["k"]["x"] and f["s"] == "PEPEUSDT"]
    rows = {r[0]: r for r in c.get("/api/v3/klines", symbol="PEPEUSDT", interval="1m", limit=5)}
    for k in closed:
        assert [rows[k["t"]][i] for i in (1, 2, 3, 4, 5, 8)] == [k[x] for x in "ohlcvn"]
    assert closed


def test_old_bars_remember_clients_and_halts():
    """More than a day later, REST still shows what clients traded and when the market was shut."""
    c = Client(symbols=3, ticks_per_minute=4, block_minutes=60)
    c.venue.exchange.halt(0, c.now + 10 * MINUTE_MS, c.now + 20 * MINUTE_MS)
    c.run(5 * MINUTE_MS)
    c.order(side="BUY", type="MARKET", quantity="2.000")
    c.run(HOUR_MS)
    window = {"startTime": c.venue.start_ms, "endTime": c.venue.start_ms + HOUR_MS}
    fresh = {
        i: c.get("/fapi/v1/klines", symbol="BTCUSDT", interval=i, **window)
        for i in ("1m", "15m", "1h")
    }
    c.run(30 * HOUR_MS)
    for interval, rows in fresh.items():
        later = c.get("/fapi/v1/klines", symbol="BTCUSDT", interval=interval, **window)
        for a, b in zip(rows[:-1], later[:-1], strict=True):
            assert a[:6] == b[:6]
            assert a[8:9] == b[8:9]
    assert sum(r[8] == 0 for r in fresh["1m"]) >= 10


def test_a_diff_undoes_what_only_a_snapshot_showed():
    """A level seen in a REST snapshot and gone before the next diff is deleted by that diff."""
    c = Client()
    c.open(1, "/public/ws/btcusdt@depth@100ms")
    c.run(1_000 - c.now % 100 + 10)
    price = f"{float(c.get('/fapi/v1/depth', symbol='BTCUSDT', limit=5)['bids'][4][0]) + 0.1:.1f}"
    order = c.order(side="BUY", type="LIMIT", timeInForce="GTC", quantity="0.777", price=price)
    snap = c.get("/fapi/v1/depth", symbol="BTCUSDT", limit=1000)
    assert [f"{float(price):.2f}", "0.777"] in snap["bids"]
    c.signed("DELETE", "/fapi/v1/order", symbol="BTCUSDT", orderId=order["orderId"])
    before = len(c.inbox[1])
    c.run(150)
    changes = dict(map(tuple, c.inbox[1][before]["b"]))
    assert changes[f"{float(price):.2f}"] == "0.000"


def test_rarer_market_streams_deliver():
    """continuousKline_1s, asset index, trading sessions and contract info are not mute."""
    c = Client()
    names = "btcusdt_perpetual@continuousKline_1s/!assetIndex@arr/tradingSession/!contractInfo"
    c.open(1, f"/market/stream?streams={names}")
    minute = (c.now // 60_000 + 1) * 60_000
    c.venue.exchange.halt(2, minute, minute + 60_000)
    c.run(200_000)
    by_name = {}
    for frame in c.inbox[1]:
        by_name.setdefault(frame["stream"], []).append(frame["data"])
    assert set(by_name) == set(names.split("/"))
    bars = [d["k"] for d in by_name["btcusdt_perpetual@continuousKline_1s"]]
    assert {k["i"] for k in bars} == {"1s"}
    assert all(k["T"] - k["t"] == 999 for k in bars)
    closed = [k["t"] for k in bars if k["x"]]
    assert closed == sorted(set(closed))
    assert len(closed) > 10
    assert by_name["!assetIndex@arr"][0][0]["e"] == "assetIndexUpdate"
    assert {d["e"] for d in by_name["tradingSession"]} == {"EquityUpdate", "CommodityUpdate"}
    assert [d["cs"] for d in by_name["!contractInfo"]] == ["TRADING_HALT", "TRADING"]


def test_candles_of_the_hour_before_the_start_are_sums_of_its_trades():
    """What REST shows of the past hour adds up too, quote volumes and taker sides included."""
    c = Client()
    rows = c.get("/fapi/v1/klines", symbol="DOGEUSDT", interval="5m", limit=13)
    whole = [k for k in rows if c.now - k[0] < HOUR_MS]
    for k in whole[:3]:
        asked = {"symbol": "DOGEUSDT", "startTime": k[0], "endTime": k[6], "limit": 1000}
        trades = c.get("/fapi/v1/aggTrades", **asked)
        assert len(trades) < 1000
        worth = [float(t["p"]) * float(t["q"]) for t in trades]
        bought = sum(w for w, t in zip(worth, trades, strict=True) if not t["m"])
        assert float(k[5]) == pytest.approx(sum(float(t["q"]) for t in trades), rel=1e-12)
        assert (float(k[7]), float(k[10])) == pytest.approx((sum(worth), bought), rel=1e-9)
        assert k[8] == trades[-1]["l"] - trades[0]["f"] + 1
