"""The feed over the toy venue, in virtual time."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest
from tests.net_feed.rig import Rig, run

from cryptosignal.domain.events import BarClosed, MarksUpdated
from cryptosignal.ground.units import INTERVAL_MS
from cryptosignal.streams.settings import FeedSettings
from cryptosignal.streams.states import ConnectionState

PAIR = ["BTCUSDT", "ETHUSDT"]


def in_order_once(closes):
    """Closes per series ascend in steps of the interval, each once."""
    series = {}
    for symbol, interval, bar, _ in closes:
        series.setdefault((symbol, interval), []).append(bar.open_ms)
    for (_, interval), opens in series.items():
        step = INTERVAL_MS[interval]
        assert all(after - before == step for before, after in pairwise(opens))
    return series


def test_bars_equal_the_venues_truth():
    """After warm-up and twenty minutes of streams the cache equals the venue bar for bar."""

    async def main(loop):
        rig = Rig(loop, PAIR, ["1m", "5m"])
        await rig.warm(400)
        await asyncio.sleep(1200)
        assert rig.differences(390) == []
        assert rig.feed.is_healthy
        assert rig.score("BTCUSDT") > 0.95
        assert len(in_order_once(rig.closes)["BTCUSDT", "1m"]) >= 19
        await rig.stop()

    run(main)


def test_a_dropped_connection_loses_no_bar():
    """After a drop of two minutes every bar is there again and equal, and DataQual fell meanwhile."""

    async def main(loop):
        rig = Rig(loop, PAIR, ["1m", "5m"])
        await rig.warm()
        await asyncio.sleep(400)
        good = rig.score("ETHUSDT")
        rig.venue.is_up = False
        for link in list(rig.venue.links):
            link.drop()
        await asyncio.sleep(150)
        assert rig.score("ETHUSDT") < 0.9 < good
        rig.venue.is_up = True
        await asyncio.sleep(600)
        assert rig.differences() == []
        in_order_once(rig.closes)
        assert rig.score("ETHUSDT") > 0.9
        assert any("close 1006" in reason for reason in rig.feed.reasons)
        await rig.stop()

    run(main)


def test_a_stalled_connection_is_noticed_within_its_limit():
    """A connection that only answers pings is given up within the cadence limit and heals."""

    async def main(loop):
        rig = Rig(loop, PAIR, ["1m", "5m"])
        await rig.warm()
        await asyncio.sleep(120)
        for link in rig.venue.links:
            link.is_stalled = True
        before = loop.time()
        while rig.feed.reasons == {}:  # noqa: ASYNC110 - virtual time
            await asyncio.sleep(1)
        assert loop.time() - before <= FeedSettings().cadence_timeout + 2
        await asyncio.sleep(400)
        assert rig.differences() == []
        await rig.stop()

    run(main)


def test_acknowledged_but_silent_is_noticed():
    """A server that acknowledges and says nothing costs the connection within the first-data deadline."""

    async def main(loop):
        rig = Rig(loop, PAIR, ["1m"])
        rig.venue.silent_streams = set(rig.streams) | {"btcusdt@markPrice@1s"}
        await rig.start()
        await asyncio.sleep(FeedSettings().first_data_timeout + 2)
        assert any("acknowledged but silent" in reason for reason in rig.feed.reasons)
        rig.venue.silent_streams = set()
        await asyncio.sleep(30)
        assert rig.feed.is_healthy
        await rig.stop()

    run(main)


def test_one_silent_stream_is_told_from_a_quiet_coin():
    """A stream that is silent while its coin trades is subscribed anew; a coin that does not trade
    stays trusted."""

    async def main(loop):
        rig = Rig(loop, [*PAIR, "XRPUSDT"], ["1m"])
        await rig.warm()
        await asyncio.sleep(200)
        rig.venue.quiet = {"XRPUSDT"}
        rig.venue.silent_streams = {"ethusdt@kline_1m"}
        await asyncio.sleep(200)
        silent = [fields for event, fields in rig.notes if event == "stream.went_silent"]
        assert silent
        assert all(fields["streams"] == 1 for fields in silent)
        assert rig.score("ETHUSDT") < 0.9
        assert rig.score("XRPUSDT") > 0.95, rig.quality.reasons
        rig.venue.silent_streams = set()
        await asyncio.sleep(600)
        assert rig.score("ETHUSDT") > 0.9
        assert rig.differences() == []
        await rig.stop()

    run(main)


def test_lost_final_frames_cost_nothing():
    """Without any final frame bars close by the next bar or the clock, and end equal to the truth."""

    async def main(loop):
        rig = Rig(loop, PAIR, ["1m", "5m"])
        await rig.warm()
        rig.venue.lost_finals = True
        await asyncio.sleep(900)
        rig.venue.lost_finals = False
        await asyncio.sleep(400)
        assert rig.differences() == []
        in_order_once(rig.closes)
        await rig.stop()

    run(main)


def test_streams_refused_altogether_fall_back_to_rest():
    """With WebSockets refused the board is fed by REST, marked degraded, never Prime."""

    async def main(loop):
        rig = Rig(loop, PAIR, ["1m", "5m"], FeedSettings(max_retries=3))
        await rig.warm()
        await asyncio.sleep(100)
        rig.venue.is_up = False
        for link in list(rig.venue.links):
            link.drop()
        await asyncio.sleep(900)
        assert rig.feed.is_failed
        assert rig.feed.stats()["connections"][0]["state"] == ConnectionState.FAILED.name
        assert rig.board.is_ready("BTCUSDT", "1m", rig.clock.now_ms() - 10_000)
        assert rig.score("BTCUSDT") < 0.9
        assert "REST" in rig.quality.reasons["BTCUSDT"]
        settled = rig.clock.now_ms() - 10_000  # a bar may be on its way for some seconds
        assert rig.venue.differences(rig.board, "1m", settled, 30) == []
        rig.venue.is_up = True
        await asyncio.sleep(400)
        assert rig.differences() == []
        await rig.stop()

    run(main)


def test_renewal_makes_before_it_breaks():
    """A connection is replaced before its age limit without one bar or second of silence lost."""

    async def main(loop):
        rig = Rig(loop, PAIR, ["1m"], FeedSettings(max_connection_age=300.0))
        await rig.warm()
        await asyncio.sleep(1000)
        assert rig.feed.renewals >= 2
        assert rig.feed.reasons == {}
        assert rig.differences() == []
        in_order_once(rig.closes)
        opened = [link.opened_at for link in rig.venue.all_links]
        assert len(opened) >= 3
        await rig.stop()

    run(main)


def test_adding_a_symbol_keeps_the_others_at_the_next_reconnect():
    """Streams added at run time join the connection and all are carried after it breaks."""

    async def main(loop):
        rig = Rig(loop, [*PAIR, "XRPUSDT"], ["1m"])
        rig.streams = ["btcusdt@kline_1m"]
        await rig.start()
        await asyncio.sleep(5)
        rig.feed.set_streams(["btcusdt@kline_1m", "xrpusdt@kline_1m"])
        await asyncio.sleep(5)
        rig.venue.links[0].drop()
        await asyncio.sleep(10)
        carried = set(rig.venue.links[0].streams)
        assert {"btcusdt@kline_1m", "xrpusdt@kline_1m", "btcusdt@markPrice@1s"} == carried
        rig.feed.set_streams(["xrpusdt@kline_1m"])
        await asyncio.sleep(2)
        assert "btcusdt@kline_1m" not in rig.venue.links[0].streams
        await rig.stop()

    run(main)


def test_watched_symbols_are_told_of_marks_and_bars():
    """Only watched symbols produce events, and the scan trigger fires once a bar."""

    async def main(loop):
        rig = Rig(loop, PAIR, ["1m"])
        await rig.warm()
        rig.feed.watch(["ethusdt"], ["ethusdt"])
        await asyncio.sleep(185)
        assert {event.symbol for event in rig.events if isinstance(event, BarClosed)} == {"ETHUSDT"}
        marks = [event for event in rig.events if isinstance(event, MarksUpdated)]
        assert len(marks) > 100
        assert set(marks[-1].prices) == {"ETHUSDT"}
        assert [interval for interval, _ in rig.due] == ["1m"] * 3
        assert [close_ms % 60_000 for _, close_ms in rig.due] == [0, 0, 0]
        await rig.stop()

    run(main)


def test_a_server_that_accepts_and_closes_is_not_stormed():
    """Back-off grows although every handshake succeeds: no data, no health."""

    async def main(loop):
        rig = Rig(loop, PAIR, ["1m"])
        await rig.start()
        for _ in range(600):
            await asyncio.sleep(0.5)
            for link in list(rig.venue.links):
                link.drop(1000, "bye")
        assert len(rig.venue.all_links) < 15
        await rig.stop()

    run(main)


def test_control_messages_stay_under_the_venues_rate():
    """Two hundred streams are subscribed in batches, never ten messages in one second."""

    async def main(loop):
        symbols = [f"C{n}USDT" for n in range(60)]
        rig = Rig(loop, ["BTCUSDT"], ["1m"], FeedSettings(subscribe_batch=5))
        await rig.start()
        await asyncio.sleep(2)
        rig.feed.set_streams(
            [f"{s.lower()}@kline_{i}" for s in symbols for i in ("1m", "5m", "1h")]
        )
        await asyncio.sleep(30)
        sent = rig.venue.links[0].sent_at
        assert len(sent) > 20
        for start in sent:
            assert sum(start <= at < start + 1.0 for at in sent) < 10
        await rig.stop()

    run(main)


def test_frames_before_the_handshake_is_told_raise_no_alarm():
    """A connection whose frames come before the client knows that it is open is not taken for one
    that is acknowledged and silent; nor is one whose acknowledgement is lost."""

    async def main(loop):
        rig = Rig(loop, PAIR, ["1m"])
        rig.venue.handshake_s = 1.5
        await rig.start()
        await asyncio.sleep(60)
        assert rig.feed.reasons == {}
        assert rig.feed.is_healthy
        rig.venue.acks = False
        rig.feed.add_streams(["!markPrice@arr@1s", "btcusdt@kline_5m"])
        await asyncio.sleep(8)
        rig.venue.acks = True
        await asyncio.sleep(60)
        assert rig.feed.reasons == {}
        await rig.stop()

    run(main)


@pytest.mark.parametrize("wrong_ms", [70_000, 7_200_000, -3_600_000])
def test_a_clock_that_was_wrong_for_minutes_is_got_over(wrong_ms):
    """Wrong for five minutes, then measured anew: bars equal the truth, the scans' trigger goes on
    and the symbols are trusted again, as soon as after any other fault."""

    async def main(loop):
        rig = Rig(loop, PAIR, ["1m", "5m"])
        await rig.warm()
        await asyncio.sleep(400)
        rig.clock.offset_ms = wrong_ms
        await asyncio.sleep(300)
        rig.clock.offset_ms = 0
        assert any(name == "clock.was_stepped" for name, _ in rig.notes)
        await asyncio.sleep(660)
        before = len(rig.due)
        await asyncio.sleep(300)
        assert rig.differences() == []
        assert len([due for due in rig.due[before:] if due[0] == "1m"]) == 5
        assert rig.score("BTCUSDT") > 0.9
        await rig.stop()

    run(main)
