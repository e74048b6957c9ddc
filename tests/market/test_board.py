"""The board as a whole: views, slots, history, faces."""

from __future__ import annotations

import asyncio

import msgspec
import numpy as np
import pytest
from tests.market.made import T0, kline, rows, trade
from tests.trading.toy_venue import instrument

from cryptosignal.domain.market import BarSource
from cryptosignal.ground.clock import ManualClock
from cryptosignal.market.board import Board
from cryptosignal.market.caches import AggTradeCache, KlineCache, KlineFeed, RealtimeKlineCache
from cryptosignal.market.settings import MarketSettings
from cryptosignal.market.universe import UniverseSettings, is_new_coin, streams_of, tiers_of

MINUTE = 60_000


def test_views_share_the_memory_and_stay_within_capacity():
    """A view is a window on the arrays, 500 bars wide, time-contiguous."""
    board = Board(capacity=4)
    now = T0 + 600 * MINUTE
    board.load_history("BTCUSDT", "1m", np.array(rows(T0, 600)), now, BarSource.REST)
    bars = board.view(now).bars["1m"]
    assert bars.data.shape == (9, 1, 500)
    assert np.shares_memory(bars.data, board.klines["1m"].data)
    assert bars.close[0].strides == (8,)
    assert (np.diff(bars.open_ms) == MINUTE).all()
    assert bars.close[0, -1] == 699


def test_the_window_slides_for_ever():
    """Thousands of bars later the newest 500 are there, the older ones gone, nothing in between."""
    board = Board(MarketSettings(intervals=("1m",), kline_cache_size=50, kline_slack=7), capacity=2)
    for minute in range(400):
        open_ms = T0 + minute * MINUTE
        board.feed(kline(open_ms, open_ms + 60_005, close=95 + minute % 10, x=True))
        board.flush(open_ms + 60_010)
    now = T0 + 400 * MINUTE
    bars = board.view(now).bars["1m"]
    assert bars.open_ms[-1] == T0 + 399 * MINUTE
    np.testing.assert_array_equal(bars.close[0, -50:], [95 + m % 10 for m in range(350, 400)])


def test_more_symbols_than_capacity_grow_the_arrays():
    """Slots are made from the streams that are seen; arrays grow without losing anything."""
    board = Board(MarketSettings(intervals=("1m",)), capacity=2)
    for number in range(70):
        board.feed(kline(T0, T0 + 60_005, x=True, symbol=f"C{number}USDT"))
        board.feed(trade(1, 100, 1, T0 + 5000, symbol=f"C{number}USDT"))
    view = board.view(T0 + MINUTE)
    assert len(view.symbols) == 70
    assert (view.bars["1m"].close[:, -1] == 101).all()
    assert (view.flow.trades == 1).all()
    assert len(view.quality) == 70


def test_missing_knows_the_listing_date():
    """Nothing is wanted from before a coin existed."""
    board = Board(capacity=2)
    board.slot("NEWUSDT")
    board._onboard_ms[0] = T0 + 30_000
    assert board.missing("NEWUSDT", "1m", T0 + 10 * MINUTE, 400) == [(T0, T0 + 9 * MINUTE)]


def test_disk_never_overwrites_and_rest_wins():
    """Rows from disk fill what is missing; rows from REST replace what is there."""
    board = Board(capacity=2)
    now = T0 + 10 * MINUTE
    first, second = np.array(rows(T0, 10)), np.array(rows(T0, 10, price=99.0))
    board.load_history("BTCUSDT", "1m", first, now, BarSource.REST)
    board.load_history("BTCUSDT", "1m", second, now, BarSource.DISK)
    assert board.view(now).bars["1m"].open[0, -1] == 100
    board.load_history("BTCUSDT", "1m", second, now, BarSource.REST)
    assert board.view(now).bars["1m"].open[0, -1] == 99


def test_the_forming_bar_of_rest_is_dropped():
    """A REST answer that reaches into the forming bar gives closed bars only."""
    board = Board(capacity=2)
    now = T0 + 10 * MINUTE + 30_000
    assert board.load_history("BTCUSDT", "1m", np.array(rows(T0, 11)), now, BarSource.REST) == 10


def test_stats_have_the_known_shapes():
    """hit_rate is a string with a percent sign, memory a number, updates an int."""
    board = Board(capacity=2)
    now = T0 + 10 * MINUTE
    board.load_history("BTCUSDT", "1m", np.array(rows(T0, 10)), now, BarSource.REST)
    board.load_history("ETHUSDT", "1m", np.array(rows(T0, 9)), now, BarSource.REST)
    board.view(now)
    stats = RealtimeKlineCache(board, ManualClock(now)).get_stats()
    assert stats["hit_rate"] == "50.0%"
    assert isinstance(stats["memory_estimate_mb"], float)
    assert isinstance(stats["total_updates"], int)


def test_the_faces_take_any_case_and_show_closed_bars_only():
    """KlineCache, AggTradeCache and KlineFeed answer in plain dicts; a forming bar is never shown."""
    clock = ManualClock(T0 + 2 * MINUTE + 5000)
    board = Board(capacity=2)
    cache = KlineCache(board, clock)
    for number in range(2):
        cache.add(
            "btcusdt", "1m", {"t": T0 + number * MINUTE, "o": "1", "h": 3, "l": 1, "c": 2, "v": 5}
        )
    board.feed(kline(T0 + 2 * MINUTE, T0 + 2 * MINUTE + 2000, close=99))
    assert [bar["timestamp"] for bar in cache.get("BtcUsdt", "1m", 10)] == [T0, T0 + MINUTE]
    assert cache.get_latest("BTCUSDT", "1m")["close"] == 2
    assert cache.get_latest("nobody", "1m") is None
    latest = KlineFeed(["btcusdt"], "1m", board=board, clock=clock).get_latest_kline("BTCusdt")
    assert latest == {
        "open": 1,
        "high": 3,
        "low": 1,
        "close": 2,
        "volume": 5,
        "timestamp": T0 + MINUTE,
    }
    trades = AggTradeCache(board, clock)
    trades.add("btcusdt", {"a": 1, "p": "10", "q": "2", "T": clock.now_ms() - 10, "m": True})
    assert trades.get_recent("BTCUSDT", 60) == [
        {"timestamp": clock.now_ms() - 10, "price": 10.0, "quantity": 2.0, "is_buyer_maker": True}
    ]
    assert trades.get_recent("nobody") == []


async def test_async_close_hooks_get_the_known_letters():
    """on_kline_close hears t,o,h,l,c,v,x; coroutines wait for the rim."""
    board = Board(capacity=2)
    heard = []

    async def hook(symbol, interval, kline):
        heard.append((symbol, interval, kline))

    cache = RealtimeKlineCache(board, ManualClock(T0 + 61_000))
    cache.on_kline_close(hook)
    board.feed(kline(event_ms=T0 + 60_005, x=True))
    board.flush(T0 + 60_010)
    await asyncio.gather(*cache.pending)
    assert heard == [
        ("BTCUSDT", "1m", {"t": T0, "o": 100, "h": 110, "l": 90, "c": 101, "v": 3, "x": True})
    ]


def test_tiers_follow_positions_pools_and_scores():
    """Symbols with positions are always warm, the best fill the rest; streams follow from tiers."""
    settings = UniverseSettings(warm_max=2, hot_max=1, stream_intervals=("1m",))
    tiers = tiers_of(
        ["AUSDT", "BUSDT", "CUSDT", "DUSDT"], settings,
        by_score=["CUSDT", "DUSDT"], must_warm=["BUSDT"], must_hot=["AUSDT", "DUSDT", "XUSDT"],
    )  # fmt: skip
    assert tiers.hot == ("AUSDT",)
    assert tiers.warm == ("AUSDT", "BUSDT")
    streams = streams_of(tiers, settings)
    assert "ausdt@depth@100ms" in streams
    assert "busdt@aggTrade" in streams
    assert "cusdt@aggTrade" not in streams
    assert len(streams) == 4 + 4 + 1 + 3


@pytest.mark.parametrize(
    ("age_days", "bars", "new"),
    [(3, 9999, True), (15, 10, True), (400, 0, False), (None, 10, True)],
)
def test_new_coins_are_told_by_their_listing_date(age_days, bars, new):
    """The listing date decides before any fetch; an empty cache does not make BTC new."""
    onboard = float("nan") if age_days is None else T0 - age_days * 86_400_000
    assert is_new_coin(onboard, T0, bars, UniverseSettings()) is new


def test_room_is_made_for_the_universe_and_a_few_more():
    """A board takes as much memory as its universe needs: room is made once, a listing takes a spare
    place, and what was loaded before stays when room is made again."""
    board = Board(capacity=4)
    like = instrument()
    board.set_universe([msgspec.structs.replace(like, symbol=f"A{n}USDT") for n in range(140)])
    places = board.klines["1m"].data.shape[1]
    assert 140 < places <= 160
    now = T0 + 600 * MINUTE
    board.load_history("A7USDT", "1m", np.array(rows(T0, 600)), now, BarSource.REST)
    before = board.view(now).bars["1m"].close[board.slot("A7USDT")].copy()
    board.slot("NEWUSDT")
    assert board.klines["1m"].data.shape[1] == places
    for number in range(40):
        board.slot(f"B{number}USDT")
    assert board.klines["1m"].data.shape[1] < 220
    np.testing.assert_array_equal(board.view(now).bars["1m"].close[board.slot("A7USDT")], before)
