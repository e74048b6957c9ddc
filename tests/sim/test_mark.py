"""Mark and index prices: damped, led by the index, told alike by every stream and endpoint."""

import pytest
from tests.sim.driver import Client

SECOND_MS, MINUTE_MS = 1_000, 60_000


def marks(c):
    return [f for f in c.take(1) if f["e"] == "markPriceUpdate"]


def test_a_sweep_does_not_move_the_mark():
    """An order that takes the price far away leaves mark and index where the index was."""
    c = Client(book_levels=200)
    c.signed("POST", "/fapi/v1/leverage", symbol="SOLUSDT", leverage=50)
    before = c.get("/fapi/v1/premiumIndex", symbol="SOLUSDT")
    last = c.price("SOLUSDT")
    venue = c.venue
    index = venue.exchange.index_of["SOLUSDT"]
    row = venue.exchange.listed[index]
    far = round(last * 1.03 * 10**row.price_digits)
    venue.exchange.flows[index].print_client(c.now, far, 5, False)
    after = c.get("/fapi/v1/premiumIndex", symbol="SOLUSDT")
    assert c.price("SOLUSDT") == pytest.approx(last * 1.03, rel=1e-4)
    assert float(after["indexPrice"]) == float(before["indexPrice"])
    assert abs(float(after["markPrice"]) / float(before["markPrice"]) - 1) < 0.002


def test_a_jump_reaches_the_mark_within_the_span_of_the_index():
    """The mark is never outside the trades of the last 15 s by more than basis and funding."""
    c = Client()
    c.open(1, "/market/ws/solusdt@markPrice@1s/solusdt@aggTrade")
    c.run(10 * MINUTE_MS)
    frames = c.take(1)
    trades = [(f["T"], float(f["p"])) for f in frames if f["e"] == "aggTrade"]
    seen = [f for f in frames if f["e"] == "markPriceUpdate"]
    moves = 0
    for f in seen[60:]:
        window = [p for t, p in trades if f["E"] - 40_000 <= t <= f["E"]]
        if window:
            mark = float(f["p"])
            assert min(window) * 0.999 <= mark <= max(window) * 1.001
            moves += mark != window[-1]
    assert moves > len(seen) // 4


def test_mark_candles_hold_what_the_stream_said():
    """Every streamed mark and index lies within the candles of its minute, and closes them."""
    c = Client()
    c.open(1, "/market/ws/btcusdt@markPrice@1s")
    c.run(5 * MINUTE_MS)
    said = marks(c)
    for path, key, name in (
        ("/fapi/v1/markPriceKlines", "p", "symbol"),
        ("/fapi/v1/indexPriceKlines", "i", "pair"),
    ):
        query = {name: "BTCUSDT", "interval": "1m", "limit": 6}
        rows = {r[0]: [float(x) for x in r[1:5]] for r in c.get(path, **query)}
        for f in said:
            _, high, low, _ = rows[f["E"] // MINUTE_MS * MINUTE_MS]
            assert low - 1e-7 <= float(f[key]) <= high + 1e-7
        whole = said[0]["E"] // MINUTE_MS * MINUTE_MS + MINUTE_MS
        inside = [float(f[key]) for f in said if whole <= f["E"] < whole + MINUTE_MS]
        assert rows[whole] == pytest.approx([inside[0], max(inside), min(inside), inside[-1]])


def test_mark_is_the_same_everywhere():
    """premiumIndex, positionRisk and the stream name one mark price at one moment."""
    c = Client()
    c.open(1, "/market/ws/btcusdt@markPrice@1s")
    c.order(side="BUY", type="MARKET", quantity="0.01")
    c.run(MINUTE_MS)
    c.now = c.now // SECOND_MS * SECOND_MS + SECOND_MS
    c.collect()
    told = marks(c)[-1]
    assert told["E"] == c.now
    asked = c.get("/fapi/v1/premiumIndex", symbol="BTCUSDT")
    assert (told["p"], told["i"]) == (asked["markPrice"], asked["indexPrice"])
    assert c.signed("GET", "/fapi/v3/positionRisk")[0]["markPrice"] == asked["markPrice"]


@pytest.mark.parametrize("side", ["SELL", "BUY"])
def test_stops_on_the_mark_fire_when_the_mark_is_there(side):
    """A MARK_PRICE stop triggers on the first whole second at which the mark has passed it."""
    c = Client()
    c.open_private()
    mark = float(c.venue.mark("SOLUSDT"))
    trigger = round(mark * (0.9996 if side == "SELL" else 1.0004), 2)
    wish = {"symbol": "SOLUSDT", "type": "STOP_MARKET", "quantity": "1", "side": side}
    made = c.algo(**wish, triggerPrice=f"{trigger:.2f}", workingType="MARK_PRICE")
    assert made["algoStatus"] == "NEW"
    c.run(SECOND_MS - c.now % SECOND_MS)
    for _ in range(7_200):
        now = float(c.venue.mark("SOLUSDT"))
        has_passed = now <= trigger if side == "SELL" else now >= trigger
        assert bool(c.venue.open_algos()) != has_passed
        if has_passed:
            break
        c.run(SECOND_MS)
    assert has_passed
    fired = next(f for f in c.inbox[9] if f["e"] == "ALGO_UPDATE" and f["o"]["X"] == "TRIGGERING")
    assert fired["E"] == c.now
