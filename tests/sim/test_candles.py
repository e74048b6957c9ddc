"""Real candles as the path: reading files, and what the venue makes of them."""

import json

import numpy as np
import pytest
from tests.shared import SHARED, needs_shared
from tests.sim.driver import Client

from cryptosignal.ground.faults import UserFault
from cryptosignal.ground.seeds import Seeds
from cryptosignal.ground.units import HOUR_MS, MINUTE_MS
from cryptosignal.sim.candles import load_candles
from cryptosignal.sim.settings import VenueSettings
from cryptosignal.sim.venue import Venue

T0 = 1_704_067_200_000  # 2024-01-01T00:00Z
HEAD = "symbol,open_time,open,high,low,close,volume"


def write(tmp_path, rows, head=HEAD):
    file = tmp_path / "c.csv"
    file.write_text(head + "\n" + "\n".join(rows) + "\n")
    return str(file)


def hours(symbol="BTCUSDT", n=60):
    return [
        f"{symbol},{T0 + i * HOUR_MS},{100 + i},{103 + i},{98 + i},{101 + i},{5000 + i}.5"
        for i in range(n)
    ]


BAD = [
    ([f"BTCUSDT,{T0 + i * HOUR_MS},1,2,3,1,5" for i in range(3)], "high and low"),
    ([f"BTCUSDT,{T0},1,2,1,1,5"] * 2, "same time"),
    ([f"BTCUSDT,{T0},1,2,1,1,5", f"BTCUSDT,{T0 + 777},1,2,1,1,5"], "777 ms apart"),
    (["BTCUSDT,0,x,2,1,1,5"], "wrong type"),
    ([], "empty values|no rows"),
]


@pytest.mark.parametrize(("rows", "text"), BAD)
def test_bad_files_get_one_line(tmp_path, rows, text):
    """Inconsistent candles are refused by one line that says what is wrong."""
    with pytest.raises(UserFault, match=text) as caught:
        load_candles(write(tmp_path, rows))
    assert "\n" not in str(caught.value)


def test_a_walk_replays_the_file(tmp_path):
    """Streamed bars of the walk equal the file's; history before the start is served over REST."""
    source = load_candles(write(tmp_path, hours()))
    start = source.bar_time(50)
    assert (source.interval, start) == ("1h", T0 + 50 * HOUR_MS)
    c = Client(Venue(VenueSettings(walk_start_bar=50), Seeds(1), start, source))
    assert len(c.get("/fapi/v1/klines", symbol="BTCUSDT", interval="1h", limit=100)) == 51
    four = c.get("/fapi/v1/klines", symbol="BTCUSDT", interval="4h", limit=5)
    assert [float(x) for x in four[0][1:6]] == [132.0, 138.0, 130.0, 136.0, 20136.0]
    minutes = c.get(
        "/fapi/v1/klines",
        symbol="BTCUSDT",
        interval="1m",
        limit=60,
        startTime=T0 + 49 * HOUR_MS,
        endTime=T0 + 50 * HOUR_MS - 1,
    )
    assert max(float(m[2]) for m in minutes) == 152.0
    c.open(1, "/market/ws/btcusdt@kline_1h")
    c.run(2 * HOUR_MS + MINUTE_MS)
    closed = [f["k"] for f in c.inbox[1] if f["k"]["x"]]
    assert [[float(k[x]) for x in "ohlcv"] for k in closed] == [
        [150, 153, 148, 151, 5050.5],
        [151, 154, 149, 152, 5051.5],
    ]
    info = c.get("/fapi/v1/exchangeInfo")
    assert {"taker_flow", "trade_count", "quote_volume", "book"} <= set(info["syntheticFlow"])


def test_a_walk_begins_when_enough_symbols_are_listed(tmp_path):
    """Bar N of the file, or the first later bar at which as many symbols are listed as are asked for;
    a file that never lists so many at once is walked from bar N."""
    late = [row for row in hours("LATEUSDT", 90) if int(row.split(",")[1]) >= T0 + 70 * HOUR_MS]
    rows = [*hours("BTCUSDT", 90), *hours("ETHUSDT", 90), *late]
    source = load_candles(write(tmp_path, rows))
    assert source.walk_time(50) == T0 + 50 * HOUR_MS
    assert source.walk_time(50, 2) == T0 + 50 * HOUR_MS
    assert source.walk_time(50, 3) == T0 + 70 * HOUR_MS
    assert source.walk_time(50, 4) == T0 + 50 * HOUR_MS


@needs_shared
def test_real_candles():
    """A real file of 100+ symbols: two hours of stream equal the file, bar for bar."""
    source = load_candles(str(SHARED / "data" / "klines_1h.parquet"))
    start = source.bar_time(500)
    c = Client(Venue(VenueSettings(ticks_per_minute=6, block_minutes=60), Seeds(2), start, source))
    rows = c.venue.exchange.listed
    assert len(rows) > 100
    assert {rows[0].symbol, rows[1].symbol} == {"BTCUSDT", "ETHUSDT"}
    alive = [r for r in rows if r.onboard_ms <= start]
    names = "/".join(f"{alive[i].symbol.lower()}@kline_1h" for i in (0, 1, 30, -1))
    c.open(1, f"/market/ws/{names}")
    c.run(2 * HOUR_MS + 5_000)
    file = {s.symbol: s for s in source.symbols}
    closed = [f for f in c.inbox[1] if f["k"]["x"]]
    assert len(closed) == 8
    for f in closed:
        s, k = file[f["s"]], f["k"]
        at = int(np.searchsorted(s.open_ms, k["t"]))
        assert [float(k[x]) for x in "ohlc"] == [s.open[at], s.high[at], s.low[at], s.close[at]]
        assert float(k["v"]) == pytest.approx(s.volume[at], rel=1e-9)
    assert json.dumps(c.get("/fapi/v1/klines", symbol="ETHUSDT", interval="1d", limit=3))
