"""The tape makes the market again: bars, books, DataQual and factor rows, to 1e-9."""

from __future__ import annotations

import asyncio
from itertools import chain

import numpy as np
import pytest
from tests.net_feed.soak import Plan, Soak, empty

from cryptosignal.domain.params import ParamSet
from cryptosignal.factors.catalogue import FactorEngine
from cryptosignal.ground.faults import UserFault
from cryptosignal.ground.loop import VirtualLoop
from cryptosignal.market.board import Board
from cryptosignal.market.settings import MarketSettings
from cryptosignal.modes.film import _BOARD_CALLS, Film, TapedQuality, _packed
from cryptosignal.modes.retake import difference
from cryptosignal.quality.score import QualityBook
from cryptosignal.quality.settings import QualitySettings
from cryptosignal.store.memory_disk import SimDisk
from cryptosignal.store.tape import CALL, Tape, TapeFrame, read_tape

PLAN = Plan(symbols=3, intervals=("1m", "5m", "15m", "1h", "4h"), warm=2, hot=1, seed=21)
SCANS = 8


class Taken:
    """A stormy quarter of an hour on tape: factor rows, DataQual and book of some moments of it."""

    def __init__(self) -> None:
        self.disk = SimDisk()
        self.rows, self.scores, self.books = [], [], []
        self.notes: dict[str, int] = {}
        loop = VirtualLoop()
        try:
            loop.run_until_complete(self._film(loop))
        finally:
            empty(loop)

    async def _film(self, loop):
        tape = Tape(self.disk, "tape", "r1")
        rig = Soak(loop, PLAN, tape)
        factors = FactorEngine(ParamSet())
        await rig.start()
        for scan in range(SCANS):
            await asyncio.sleep(97)
            rig.feed.settle()
            rows = factors.compute(rig.board.view(rig.clock.now_ms()), scan, "interval")
            self.rows.append((tape.position, rows))
            self.scores.append(rig.quality.score[: len(rig.board.symbols)].copy())
            self.books.append({s: book.top(5) for s, book in rig.board.books.items()})
        await rig.stop()
        tape.close()
        self.notes = rig.notes
        self.symbols = list(rig.board.symbols)

    def film(self, reel=None):
        reel = read_tape(self.disk, "tape", "r1") if reel is None else reel
        return Film(iter(reel), MarketSettings(intervals=PLAN.intervals), QualitySettings(), 3)


@pytest.fixture(scope="module")
def taken():
    """Filmed once."""
    return Taken()


def test_every_scan_of_a_storm_is_made_again_from_the_first_byte(taken):
    """At each scan the film's factor rows, DataQual and book levels are the run's own, through lost
    connections, repairs and loads by REST."""
    film, factors = taken.film(), FactorEngine(ParamSet())
    for (position, rows), scores, books in zip(taken.rows, taken.scores, taken.books, strict=True):
        assert film.advance(position)
        again = factors.compute(film.board.view(rows.time_ms), rows.scan_id, rows.trigger)
        assert difference(again, rows) == ""
        np.testing.assert_allclose(film.quality.score[: len(scores)], scores, rtol=1e-12)
        assert {s: book.top(5) for s, book in film.board.books.items()} == books
    assert taken.notes["connection.was_lost"] > 0
    assert film.board.symbols == taken.symbols
    assert np.isfinite(taken.rows[-1][1].columns["score.T"]).all()


@pytest.mark.parametrize("kind", [CALL, 0])
def test_what_is_left_out_is_missed(taken, kind):
    """Without the calls, or without the frames, the rows are others: the comparison can fail."""
    reel = (
        TapeFrame(f.position, 9, 0, 0, 0, b"") if f.kind == kind else f
        for f in read_tape(taken.disk, "tape", "r1")
    )
    film = taken.film(reel)
    position, rows = taken.rows[-1]
    assert film.advance(position)
    again = FactorEngine(ParamSet()).compute(
        film.board.view(rows.time_ms), rows.scan_id, "interval"
    )
    assert difference(again, rows) != ""


def test_a_tape_that_has_rolled_on_is_not_taken_for_a_whole_one(taken):
    """A tape that begins later, or ends before a scan, makes no rows."""
    frames = list(read_tape(taken.disk, "tape", "r1"))
    assert not taken.film(frames[10:]).advance(20)
    assert not taken.film(frames[:50]).advance(51)
    assert taken.film(frames[:50]).advance(50)


def test_a_call_of_a_newer_version_is_refused(taken):
    """A call that is not known ends in one line and changes nothing silently."""
    odd = TapeFrame(1, CALL, 0, 0, 0, _packed("load_weather", (), {}))
    with pytest.raises(UserFault, match="load_weather"):
        taken.film(chain([odd])).advance(1)


def test_frames_lie_on_the_tape_in_the_order_in_which_the_board_took_them():
    """A frame that was put aside while somebody looked at the board comes after that look."""
    disk, loop = SimDisk(), VirtualLoop()
    tape = Tape(disk, "tape", "r1")
    frame = b'{"stream":"newusdt@aggTrade","data":{"e":"aggTrade","E":1763640431000,"s":"NEWUSDT"}}'

    async def main():
        rig = Soak(loop, PLAN, tape)
        await rig.start()
        await asyncio.sleep(1)
        rig.feed.flush()
        before = tape.position
        line = next(iter(rig.feed.lines.values()))
        line.socket.on_frame(frame)
        rig.board.view(rig.clock.now_ms())
        rig.feed.flush()
        await rig.stop()
        return before

    try:
        before = loop.run_until_complete(main())
    finally:
        empty(loop)
    tape.close()
    after = list(read_tape(disk, "tape", "r1", before + 1))
    assert after[0].kind == CALL
    assert b"flush" in after[0].payload
    assert after[1].payload == frame


ONLY_READ = {
    "find", "waits_for_trades", "trades_wait_ms", "traded_ms", "next_close_ms", "due_share",
    "last_times_ms", "funding_period_ms", "spot_next_ms", "missing", "has_due", "is_ready",
    "klines_ready", "laggards", "malformed", "view_of", "forming", "get_stats", "nbytes",
    "lags_ms", "klines_of",
}  # fmt: skip
MADE_ANEW = {"feed", "absorb", "take_tally", "set_quality", "view", "slot"}
"""By frames on the tape, by DataQual's own calls, or through calls of those that are told."""


def test_whatever_changes_the_board_is_told_to_the_tape():
    """A public method of the board or of DataQual that is new must be told, or known to need not."""
    public = {name for name in vars(Board) if not name.startswith("_")}
    assert public - set(_BOARD_CALLS) == ONLY_READ | MADE_ANEW
    told = {name for name in vars(TapedQuality) if not name.startswith("_")}
    assert {name for name in vars(QualityBook) if not name.startswith("_")} - told == {"level"}
