"""The routine comparison of closed bars, in virtual time against the toy venue."""

from __future__ import annotations

import asyncio
from collections import Counter

from tests.net_feed.rig import Rig, run

from cryptosignal.ground.faults import Unreachable
from cryptosignal.ground.units import INTERVAL_MS, MINUTE_MS
from cryptosignal.streams.settings import FeedSettings

INTERVALS = ["1m", "5m", "15m"]
SYMBOLS = ["BTCUSDT", "ETHUSDT", "SOLUSDT"]


class Seen:
    """What was asked of the venue, and which bars were judged when."""

    def __init__(self, rig: Rig) -> None:
        self.asked: list[tuple[str, str, int]] = []
        self.judged: Counter[tuple[int, str, int]] = Counter()
        self.age_ms: list[int] = []
        self.is_up = True
        ask, count = rig.venue.klines, rig.repairer.comparison._count

        async def klines(symbol, interval, limit, *rest, **named):
            self.asked.append((symbol, interval, limit))
            if not self.is_up:
                raise Unreachable("connection refused")
            return await ask(symbol, interval, limit, *rest, **named)

        def judge(symbol, slot, interval, open_ms, verdict):
            self.judged[(slot, interval, open_ms)] += 1
            self.age_ms.append(rig.clock.now_ms() - open_ms - INTERVAL_MS[interval])
            count(symbol, slot, interval, open_ms, verdict)

        rig.venue.klines = klines
        rig.repairer.comparison._count = judge


def due(rig: Rig, began_ms: int) -> set[tuple[int, str, int]]:
    """Bars that closed after the start and more than 300 s ago."""
    now_ms = rig.clock.now_ms()
    return {
        (slot, interval, open_ms)
        for slot in range(len(SYMBOLS))
        for interval, step in ((name, INTERVAL_MS[name]) for name in INTERVALS)
        for open_ms in range(began_ms // step * step, now_ms - step - 300_000 + 1, step)
    }


def test_every_closed_bar_is_compared_once_in_five_minutes_by_twelve_requests_an_hour():
    """An hour of three symbols: all bars of all intervals exactly once and in time, 12 requests a
    symbol, all of them for minutes; longer bars through sums alone."""

    async def main(loop):
        rig = Rig(loop, SYMBOLS, INTERVALS)
        await rig.warm()
        seen, began_ms = Seen(rig), rig.clock.now_ms()
        await asyncio.sleep(3_600 + 300)
        wanted = due(rig, began_ms)
        assert wanted - set(seen.judged) == set()
        assert set(seen.judged.values()) == {1}
        assert max(seen.age_ms) <= 300_000
        assert rig.repairer.comparison.age_ms_max <= 300_000
        assert {interval for _symbol, interval, _rows in seen.asked} == {"1m"}
        assert {rows for _symbol, _interval, rows in seen.asked[3:]} == {5}
        per_symbol = Counter(symbol for symbol, _interval, _rows in seen.asked)
        assert all(12 <= count <= 14 for count in per_symbol.values())
        assert rig.repairer.comparisons == len(seen.asked) == rig.repairer.requests
        await rig.stop()

    run(main)


def test_what_was_not_answered_is_compared_when_the_venue_is_back():
    """Half an hour without REST: the streams go on, and every bar of it is compared afterwards, once."""

    async def main(loop):
        rig = Rig(loop, SYMBOLS, INTERVALS)
        await rig.warm()
        seen, began_ms = Seen(rig), rig.clock.now_ms()
        await asyncio.sleep(600)
        seen.is_up = False
        await asyncio.sleep(1_800)
        seen.is_up = True
        await asyncio.sleep(600)
        assert due(rig, began_ms) - set(seen.judged) == set()
        assert set(seen.judged.values()) == {1}
        assert rig.repairer.comparison.age_ms_max > 20 * MINUTE_MS
        assert not rig.differences(40)
        await rig.stop()

    run(main)


def test_bars_that_rest_has_brought_are_not_asked_for_again():
    """While streams are refused every bar comes by REST, the venue's own word: none is compared."""

    async def main(loop):
        rig = Rig(loop, SYMBOLS, INTERVALS, FeedSettings(max_retries=3))
        await rig.warm()
        rig.venue.is_up = False
        for link in list(rig.venue.links):
            link.drop()
        await asyncio.sleep(900)
        assert rig.feed.is_failed
        seen, before = Seen(rig), rig.repairer.comparisons
        await asyncio.sleep(900)
        assert rig.repairer.comparisons == before
        assert not seen.judged
        assert Counter(interval for _symbol, interval, _rows in seen.asked)["1m"] == 3 * 15
        await rig.stop()

    run(main)
