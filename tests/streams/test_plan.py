"""Plan, pool, names, heartbeat and gaps."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryptosignal.binance.routes import stream_route
from cryptosignal.ground.faults import UserFault
from cryptosignal.streams import names
from cryptosignal.streams.gaps import Range, merge, split, weight_of_rows
from cryptosignal.streams.heartbeat import HeartbeatMonitor, heartbeat_penalty
from cryptosignal.streams.plan import StreamPlan, least_loaded
from cryptosignal.streams.pool import WebSocketConnectionPool
from cryptosignal.streams.settings import FeedSettings

CANARIES = {"market": names.MARKET_CANARY, "public": names.PUBLIC_CANARY}


def plan(**numbers):
    return StreamPlan(FeedSettings(**numbers), stream_route, CANARIES)


def klines(count, intervals=("1m",)):
    return names.create_combined_streams([f"C{n}USDT" for n in range(count)], intervals)


def test_a_small_plan_is_one_connection_with_a_canary():
    """Few streams share one connection, and a canary rides on it."""
    made = plan()
    change = made.assign(klines(30))
    assert (len(change.opened), change.note) == (1, "")
    assert names.MARKET_CANARY in made.connections[1].streams


def test_the_whole_market_fits_and_says_what_was_raised():
    """550 symbols × 5 intervals fit five connections by raising the streams a connection."""
    made = plan()
    change = made.assign([*klines(550, ("1m", "5m", "15m", "1h", "4h")), "btcusdt@depth20@100ms"])
    assert len(made.connections) <= 5
    assert max(len(c.streams) for c in made.connections.values()) <= 1024
    assert "raised from 200" in change.note
    assert {c.route for c in made.connections.values()} == {"public", "market"}


def test_past_capacity_it_refuses_in_one_line_and_changes_nothing():
    """More than five times 1,024 streams are refused; the plan stays."""
    made = plan()
    made.assign(klines(10))
    with pytest.raises(UserFault, match="do not fit") as refusal:
        made.assign(klines(1200, ("1m", "5m", "15m", "1h", "4h")))
    assert "\n" not in str(refusal.value)
    assert len(made.connections[1].streams) == 11


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sets(st.integers(0, 400), max_size=300), min_size=1, max_size=6))
def test_streams_stay_where_they_are(sets):
    """Whatever comes and goes: all wanted streams are carried once, on their own route, balanced, and
    a stream that stays is moved only when connections shrink."""
    made = plan(max_streams_per_connection=60)
    for wanted in sets:
        asked = [
            f"c{n}usdt@" + ("depth20@100ms" if n % 3 == 0 else "kline_1m") for n in sorted(wanted)
        ]
        before = {s: c.conn_id for c in made.connections.values() for s in c.streams}
        count = len(made.connections)
        made.assign(asked)
        carried = [
            s for c in made.connections.values() for s in c.streams if s not in CANARIES.values()
        ]
        assert sorted(carried) == sorted(asked)
        for connection in made.connections.values():
            assert {stream_route(s) for s in connection.streams} <= {connection.route}
            assert len(connection.streams) <= made.per_connection
        if len(made.connections) >= count:
            for stream in set(asked) & set(before):
                if before[stream] in made.connections:
                    assert stream in made.connections[before[stream]].streams


def test_the_pool_allocates_least_loaded_and_refuses_what_is_no_stream():
    """A stream goes to the emptiest connection of its route; a bare name is no stream."""
    pool = WebSocketConnectionPool(
        FeedSettings(max_connections=2, max_streams_per_connection=2), stream_route
    )
    first = pool.create_connection(["a@kline_1m", "b@kline_1m"])
    second = pool.create_connection(["c@kline_1m"])
    assert pool.allocate_stream("d@kline_1m") == second
    assert pool.allocate_stream("a@kline_1m") == first
    with pytest.raises(UserFault, match="full"):
        pool.allocate_stream("e@kline_1m")
    with pytest.raises(UserFault, match="not a stream"):
        pool.allocate_stream("btcusdt")
    with pytest.raises(UserFault, match="create one first"):
        least_loaded([])


@pytest.mark.parametrize(
    ("name", "kind", "symbol", "cadence"),
    [
        ("btcusdt@kline_1m", names.KLINE, "BTCUSDT", 0),
        ("btcusdt@aggTrade", names.TRADE, "BTCUSDT", 0),
        ("btcusdt@depth20@100ms", names.PARTIAL, "BTCUSDT", 0),
        ("btcusdt@depth@100ms", names.DIFF, "BTCUSDT", 0),
        ("btcusdt@markPrice@1s", names.MARK, "BTCUSDT", 1000),
        ("btcusdt@markPrice", names.MARK, "BTCUSDT", 3000),
        ("!markPrice@arr@1s", names.MARK_ARRAY, "", 1000),
        ("!ticker@arr", names.TICKER_ARRAY, "", 0),
        ("!forceOrder@arr", names.FORCE_ORDER, "", 0),
        ("!contractInfo", names.OTHER, "", 0),
        ("币安人生usdt@kline_5m", names.KLINE, "币安人生USDT", 0),
    ],
)
def test_names_say_what_they_carry(name, kind, symbol, cadence):
    """Kind, symbol and cadence follow from the name."""
    assert names.parse(name)[:2] == (kind, symbol)
    assert names.cadence_ms(name) == cadence


class Heard:
    def __init__(self, name, last_ms, slot=0):
        self.name, self.last_ms, self.slot = name, last_ms, slot
        self.kind, self.is_wanted = names.parse(name).kind, True


@pytest.mark.parametrize(
    ("name", "silent_s", "traded_s", "expected"),
    [
        ("a@kline_1m", 61, 10, True),  # traded while the stream was silent
        ("a@kline_1m", 61, None, False),  # nobody traded: quiet
        ("a@kline_1m", 61, 61, False),  # the last trade is the one we saw
        ("a@kline_1m", 59, 10, False),  # not long enough
        ("btcusdt@markPrice@1s", 16, None, True),  # by the clock
        ("btcusdt@markPrice@1s", 14, None, False),
        ("a@forceOrder", 9999, 1, False),  # may be silent for ever
        ("!ticker@arr", 9999, None, False),  # no symbol changed
        ("!ticker@arr", 16, 1, True),  # one did
        ("!ticker@arr", 16, 15, False),  # it is the one we saw
    ],
)
def test_silence_needs_evidence(name, silent_s, traded_s, expected):
    """A dead stream is told from a quiet coin by trades seen elsewhere."""
    now = 10_000_000
    traded = float("nan") if traded_s is None else float(now - traded_s * 1000)
    verdicts = HeartbeatMonitor(FeedSettings()).check(
        [Heard(name, now - silent_s * 1000)], now, lambda _: traded, lambda _: 1
    )
    assert [verdict.is_silent for verdict in verdicts] == [expected]


@pytest.mark.parametrize(
    ("silent", "of", "expected"),
    [
        (0, 5, (0, 1)), (1, 5, (0.1, 1)), (2, 5, (0.2, 1)), (3, 5, (0.3, 1)), (4, 5, (0, 0.2)),
        (5, 5, (0, 0.2)), (1, 3, (0, 0.8)), (2, 3, (0, 0.5)), (3, 3, (0, 0.2)), (1, 1, (0, 0.2)),
    ],
)  # fmt: skip
def test_the_heartbeat_penalty_is_a_level(silent, of, expected):
    """1/2/3 of 5 take .10/.20/.30; four and all leave .20; three-interval feeds .8/.5/.2."""
    assert heartbeat_penalty(silent, of) == pytest.approx(expected)


def test_requests_stay_in_the_cheap_bands():
    """99 rows cost 1, 499 cost 2, 500 cost 5; holes are cut at 499 and merged when that is free."""
    assert [weight_of_rows(n) for n in (1, 99, 100, 499, 500, 1000, 1500)] == [1, 1, 2, 2, 5, 5, 10]
    minute = 60_000
    pieces = list(split(Range("1m", 0, 1199 * minute)))
    assert [piece.rows for piece in pieces] == [499, 499, 202]
    assert pieces[0].last_ms == 1199 * minute
    close = [Range("1m", 0, 9 * minute), Range("1m", 20 * minute, 29 * minute)]
    assert merge(close) == [Range("1m", 0, 29 * minute)]
    far = [Range("1m", 0, 0), Range("1m", 450 * minute, 450 * minute)]
    assert len(merge([*far, Range("5m", 0, 0)])) == 2 + len(merge(far)) - 1


@pytest.mark.parametrize(
    ("numbers", "key"),
    [
        ({"max_connections": 0}, "max_connections"),
        ({"max_streams_per_connection": 2000}, "max_streams_per_connection"),
        ({"messages_per_second": 10}, "messages_per_second"),
        ({"max_connection_age": 90_000.0}, "max_connection_age"),
        ({"jitter": 0.9}, "jitter"),
    ],
)
def test_settings_name_the_key_that_is_wrong(numbers, key):
    """A number out of range stops the start with the key, what was found and what is allowed."""
    with pytest.raises(ValueError, match=rf"websocket\.{key}: found .*, allowed: "):
        FeedSettings(**numbers)
