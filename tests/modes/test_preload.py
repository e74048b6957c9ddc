"""What fills from streams after the start is told as steps of the preload, silent coins included."""

import asyncio

import numpy as np
import pytest
from tests.trading.toy_venue import instrument

from cryptosignal.market.board import Board
from cryptosignal.market.settings import MarketSettings
from cryptosignal.modes import preload
from cryptosignal.modes.preload import BOOKS, TRADES, tell_streams

NAMES = ("AUSDT", "BUSDT", "CUSDT")
NOW_MS = 1_700_000_000_000
KINDS = ("aggTrade", "depth20@100ms")


class Clock:
    """A clock that moves five seconds whenever somebody looks at how long it has run."""

    def __init__(self):
        self.looks = 0

    def now_ms(self):
        return NOW_MS

    def mono_ns(self):
        self.looks += 1
        return self.looks * 5 * 10**9


class Rig:
    """A board whose books and trades come as `arrivals` says: (look, symbol, what)."""

    def __init__(self, arrivals, monkeypatch):
        monkeypatch.setattr(preload, "LOOK_S", 0.0)
        self.board = Board(MarketSettings(intervals=("1m",)), capacity=4)
        self.board.set_universe([instrument(name) for name in NAMES])
        self.arrivals, self.clock, self.told = arrivals, Clock(), []

    def warm(self):
        """The warm tier; what is due arrives just before it is counted."""
        for look, symbol, what in self.arrivals:
            if look == self.clock.looks and what == "book":
                levels = [[100.0, 1.0]], [[101.0, 1.0]]
                self.board.load_book(symbol, 1, *levels, NOW_MS)
            elif look == self.clock.looks:
                self.board.feed(trade(symbol), now_ms=NOW_MS)
                self.board.flush(NOW_MS, whole=True)
        return NAMES[:2]

    def run(self, kinds=KINDS):
        """Everything that was told: (step, done, total, seconds)."""
        tell = lambda *step: self.told.append(step)  # noqa: E731
        asyncio.run(tell_streams(self.board, kinds, self.warm, self.clock, tell))
        return self.told


def trade(symbol):
    name = symbol.lower()
    return (
        f'{{"stream":"{name}@aggTrade","data":{{"e":"aggTrade","E":{NOW_MS},"s":"{symbol}","a":1,'
        f'"p":"100","q":"1","nq":"1","f":1,"l":1,"T":{NOW_MS},"m":false}}}}'
    ).encode()


def test_books_and_trades_are_counted_as_they_arrive(monkeypatch):
    """Each step is told when its count grows, and once as whole; then nothing more is told."""
    arrivals = [(1, "AUSDT", "book"), (2, "BUSDT", "book"), (3, "AUSDT", "trade"),
                (4, "BUSDT", "trade")]  # fmt: skip
    rig = Rig(arrivals, monkeypatch)
    rig.board.expect([f"{name.lower()}@aggTrade" for name in NAMES])
    assert rig.run() == [
        (BOOKS, 1, 2, 5.0), (BOOKS, 2, 2, 10.0), (TRADES, 1, 2, 15.0), (TRADES, 2, 2, 20.0)
    ]  # fmt: skip


def test_a_coin_that_stays_silent_ends_the_step_and_is_named_so(monkeypatch):
    """After a minute a step is told with those that have come, and how many have not."""
    rig = Rig([(1, "AUSDT", "book"), (1, "BUSDT", "book")], monkeypatch)
    assert rig.run()[-1] == (f"{TRADES}, 2 silent", 0, 0, 60.0)
    assert rig.told[0] == (BOOKS, 2, 2, 5.0)


@pytest.mark.parametrize("kinds", [(), ("markPrice",)])
def test_what_is_not_streamed_is_no_step(kinds, monkeypatch):
    """Without books and trades among the streams there is nothing to wait for."""
    assert Rig([], monkeypatch).run(kinds) == []


def test_a_book_of_the_others_counts_for_nobody(monkeypatch):
    """Only the warm tier is counted, and a book that is not there has no age."""
    rig = Rig([], monkeypatch)
    rig.board.load_book("CUSDT", 1, [[100.0, 1.0]], [[101.0, 1.0]], NOW_MS)
    assert preload.filled(rig.board, NAMES[:2], NOW_MS) == {BOOKS: 0, TRADES: 0}
    assert preload.filled(rig.board, NAMES, NOW_MS) == {BOOKS: 1, TRADES: 0}
    assert np.isnan(rig.board.view(NOW_MS).book.age_ms[:2]).all()
