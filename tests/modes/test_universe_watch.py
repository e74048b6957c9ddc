"""The universe at runtime: the old list survives a failure, tiers follow the scores without flapping."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import msgspec
import numpy as np
import pytest
from tests.net.virtual import run_virtual
from tests.trading.toy_venue import instrument

from cryptosignal.ground.faults import Unreachable, UserFault
from cryptosignal.market.board import Board
from cryptosignal.market.pools import Pool
from cryptosignal.market.settings import MarketSettings
from cryptosignal.market.universe import UniverseSettings
from cryptosignal.modes import universe_watch
from cryptosignal.modes.universe_watch import UniverseWatch

NAMES = ["AUSDT", "BUSDT", "CUSDT", "DUSDT"]


class Feed:
    def __init__(self):
        self.sets = []

    def set_streams(self, streams):
        self.sets.append(list(streams))
        return ""


class Watch:
    def __init__(self, warm_max=2, watchlist=()):
        self.feed, self.notes = Feed(), []
        self.board = Board(MarketSettings(intervals=("1m",)), capacity=8)
        numbers = UniverseSettings(stream_intervals=("1m",), warm_max=warm_max)
        self.watch = UniverseWatch(
            self.board, self.feed, numbers, ("aggTrade",), ("!markPrice@arr@1s",),
            lambda *note: self.notes.append(note), watchlist=watchlist,
        )  # fmt: skip
        self.watch.take([instrument(name) for name in NAMES])
        self.watch.start()

    def scanned(self, strengths, prime=(), held=()):
        decisions = SimpleNamespace(
            strength=np.array(strengths), rows=SimpleNamespace(symbols=tuple(NAMES)),
            prime=lambda: [SimpleNamespace(symbol=name) for name in prime],
        )  # fmt: skip
        return self.watch.replan(decisions, held)


def test_warm_follows_the_score_and_small_changes_of_rank_move_nothing():
    """The best by score are warm; one that falls just past the edge stays; equal plans send nothing."""
    rig = Watch(warm_max=2)
    assert rig.watch.tiers.warm == ("AUSDT", "BUSDT")
    assert rig.scanned([1.0, 2.0, 50.0, 60.0])
    assert set(rig.watch.tiers.warm) == {"CUSDT", "DUSDT"}
    assert not rig.scanned([1.0, 2.0, 60.0, 50.0])
    assert len(rig.feed.sets) == 2


def test_the_watchlist_is_warm_whatever_it_scores():
    """A symbol that somebody watches carries trades and a book also at the end of the ranking."""
    rig = Watch(warm_max=2, watchlist=["AUSDT"])
    rig.scanned([0.0, 2.0, 50.0, 60.0])
    assert set(rig.watch.tiers.warm) == {"AUSDT", "DUSDT"}
    assert "ausdt@aggTrade" in rig.feed.sets[-1]


def test_held_and_entering_symbols_carry_a_difference_book():
    """What is held or about to be entered is hot, and cools down afterwards."""
    rig = Watch()
    rig.scanned([4.0, 3.0, 2.0, 1.0], prime=["DUSDT"], held=["CUSDT"])
    assert {"cusdt@depth@100ms", "dusdt@depth@100ms"} <= set(rig.feed.sets[-1])
    assert "cusdt@aggTrade" in rig.feed.sets[-1]
    rig.scanned([4.0, 3.0, 2.0, 1.0])
    assert not any("@depth@" in stream for stream in rig.feed.sets[-1])


@pytest.mark.parametrize("answer", [Unreachable("connection refused"), []])
async def test_a_venue_that_fails_or_lists_nothing_leaves_the_old_list(answer):
    """Double buffer: without a whole new list the old one stays in force, and it is said."""
    rig = Watch()

    async def choose():
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert await rig.watch.refresh(choose) is None
    assert rig.watch.symbols == tuple(NAMES)
    assert [name for name, _ in rig.notes] == ["universe.was_kept"]
    assert len(rig.feed.sets) == 1


async def test_listings_and_delistings_change_streams_and_no_other_subscription():
    """A new coin is streamed, a delisted one not, unless it is held; the others stay."""
    rig = Watch()
    rig.scanned([4.0, 3.0, 2.0, 1.0], held=["DUSDT"])

    async def choose():
        return [instrument(name) for name in ("EUSDT", "BUSDT", "AUSDT")]

    assert await rig.watch.refresh(choose) == ("EUSDT",)
    assert rig.watch.symbols == ("AUSDT", "BUSDT", "EUSDT")
    streams = set(rig.feed.sets[-1])
    assert {"ausdt@kline_1m", "busdt@kline_1m", "eusdt@kline_1m", "dusdt@kline_1m"} <= streams
    assert "cusdt@kline_1m" not in streams
    assert not rig.board.view(0).active[rig.board.find("DUSDT")]
    assert await rig.watch.refresh(choose) is None


async def test_changed_filters_alone_are_news():
    """The same symbols with another tick size are a change for the engine."""
    rig = Watch()
    changed = [instrument(name) for name in NAMES]
    changed[0] = msgspec.structs.replace(changed[0], price_precision=3)

    async def choose():
        return changed

    assert await rig.watch.refresh(choose) == ()
    assert rig.watch.instruments["AUSDT"].price_precision == 3


def test_the_pools_steer_the_warm_tier(monkeypatch):
    """Overlay and Elite are warm before the best by score, and are made anew when their time is
    over: Overlay after an hour, Elite after a day."""
    made = []
    rig = Watch(warm_max=3)
    assert np.isnan(rig.board.view(1_763_640_000_000).overlay).all()  # no pool was made yet
    monkeypatch.setattr(
        universe_watch, "elite", lambda view, _settings: made.append("elite") or Pool(("CUSDT",))
    )
    monkeypatch.setattr(
        universe_watch,
        "overlay",
        lambda view, _elite, _own: made.append("overlay") or Pool(("DUSDT",)),
    )

    def at(hours):
        view = SimpleNamespace(time_ms=1_763_640_000_000 + hours * 3_600_000, bars={"1h": None})
        rig.watch.look(view)

    at(0)
    rig.scanned([9.0, 8.0, 2.0, 1.0])
    assert rig.watch.tiers.warm == ("DUSDT", "CUSDT", "AUSDT")
    assert rig.board.view(1_763_640_000_000).overlay.tolist() == [0.0, 0.0, 0.0, 1.0]
    at(0.5)
    assert made == ["elite", "overlay"]
    at(1.1)
    assert made == ["elite", "overlay", "overlay"]
    at(24.1)
    assert made[3:] == ["elite", "overlay"]


def test_large_pools_leave_room_for_the_best_by_score(monkeypatch):
    """However many coins the pools hold, a third of the warm tier goes to the strongest."""
    rig = Watch(warm_max=3)
    pool = Pool(("BUSDT", "CUSDT", "DUSDT"))
    monkeypatch.setattr(universe_watch, "elite", lambda view, _settings: pool)
    monkeypatch.setattr(universe_watch, "overlay", lambda view, _elite, _own: Pool(()))
    rig.watch.look(SimpleNamespace(time_ms=1_763_640_000_000, bars={"1h": None}))
    rig.scanned([9.0, 1.0, 1.0, 1.0])
    assert set(rig.watch.tiers.warm) == {"AUSDT", "BUSDT", "CUSDT"}


def test_new_coins_carry_their_three_intervals():
    """A young contract gets 1m, 5m and 15m streams although the others do not, and its history is
    asked for once."""
    rig = Watch()
    wanted = []
    rig.watch.on_series_wanted = lambda *key: wanted.append(key)
    now_ms = 1_763_640_000_000
    young = msgspec.structs.replace(instrument("BUSDT"), onboard_ms=now_ms - 3 * 86_400_000)
    old = msgspec.structs.replace(instrument("AUSDT"), onboard_ms=now_ms - 900 * 86_400_000)
    rig.watch.take([old, young])
    for _ in range(2):
        rig.watch.look(SimpleNamespace(time_ms=now_ms, bars={}))
        rig.watch.replan(
            SimpleNamespace(
                strength=np.array([1.0, 1.0]), rows=SimpleNamespace(symbols=("AUSDT", "BUSDT")),
                prime=list,
            ),
            (),
        )  # fmt: skip
    assert wanted == [("BUSDT", "5m"), ("BUSDT", "15m")]
    streams = rig.feed.sets[-1]
    assert {"busdt@kline_1m", "busdt@kline_5m", "busdt@kline_15m"} <= set(streams)
    assert "ausdt@kline_5m" not in streams


def test_a_plan_past_the_pools_capacity_ends_a_start_and_no_run():
    """Too many streams are one line at the start; while running the former plan stays, and it is
    said."""
    rig = Watch()
    rig.watch.refreshes = 0

    def refuse(streams):
        raise UserFault("9 streams do not fit")

    rig.feed.set_streams = refuse
    before = rig.watch.tiers
    assert not rig.scanned([1.0, 2.0, 50.0, 60.0])
    assert rig.watch.tiers == before
    assert rig.notes[-1] == ("streams.were_kept", {"reason": "9 streams do not fit"})
    fresh = UniverseWatch(
        rig.board, rig.feed, UniverseSettings(stream_intervals=("1m",)), (), (), lambda *_: None
    )
    fresh.take([instrument("AUSDT")])
    with pytest.raises(UserFault, match="do not fit"):
        fresh.start()


@pytest.mark.parametrize(("told_after_s", "seen_within_s"), [(None, 3_600), (95, 105)])
def test_a_listing_is_seen_when_the_venue_tells_of_it(told_after_s, seen_within_s):
    """The list is read each hour, and within ten seconds after a word on a contract."""
    rig, seen = Watch(), []

    async def choose():
        return [instrument(name) for name in [*NAMES, "EUSDT"]]

    async def tell(board):
        if told_after_s is not None:
            await asyncio.sleep(told_after_s)
            data = b'{"e":"contractInfo","E":1790000110000,"s":"EUSDT","cs":"TRADING"}'
            board.feed(b'{"stream":"!contractInfo","data":' + data + b"}")
            board.flush(1)

    async def main(clock):
        began_ms = clock.now_ms()

        async def on_change(added):
            seen.append((added, (clock.now_ms() - began_ms) / 1000))

        job = asyncio.create_task(rig.watch.run(choose, on_change))
        await asyncio.gather(tell(rig.board), asyncio.sleep(4_000))
        job.cancel()

    run_virtual(main)
    ((added, after_s),) = seen
    assert added == ("EUSDT",)
    assert seen_within_s - 10 <= after_s <= seen_within_s
