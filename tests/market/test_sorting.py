"""Whole reads sorted by compiled code leave what frames leave that come one by one."""

from __future__ import annotations

import json
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.market.made import T0, frame, kline, trade

from cryptosignal.market import trade_reading
from cryptosignal.market.board import Board
from cryptosignal.market.sorting import PAD

pytest.importorskip("numba")

SYMBOLS = ("BTCUSDT", "ETHUSDT", "1000PEPEUSDT", "币安人生USDT", "VERYLONGTOKENNAMEOFTHEYEARUSDT")


@pytest.fixture(autouse=True)
def compiled():
    """The switch is the process's."""
    assert trade_reading.enable()
    yield
    trade_reading.disable()


def framed(payload, first=0x81):
    """An unmasked WebSocket frame."""
    size = len(payload)
    if size < 126:
        return bytes((first, size)) + payload
    if size < 65_536:
        return struct.pack(">BBH", first, 126, size) + payload
    return struct.pack(">BBQ", first, 127, size) + payload


class Reads:
    """A board whose frames come as bytes of a socket, in pieces of any size."""

    def __init__(self, room=1 << 14, *, is_sorted=True):
        self.board = Board(capacity=8)
        self.sorting = self.board.inbox.compiled()
        self.bytes = bytearray(room + PAD)
        self.memory = memoryview(self.bytes)[:room]
        self.text = np.frombuffer(self.bytes, np.uint8)
        self.used = self.owed = 0
        self.is_sorted = is_sorted
        self.left = []
        self.strays = []

    def hear(self, data, sizes=()):
        """Bytes, cut where `sizes` say; what is the transport's goes to `left`."""
        sizes = iter(sizes)
        while data:
            piece = max(1, min(len(data), len(self.memory) - self.used, next(sizes, 1 << 20)))
            self.memory[self.used : self.used + piece] = data[:piece]
            data = data[piece:]
            end = self.used + piece
            at = self.leave(0, end)
            while at < end:
                at, why, _, _ = self.sorting.take(
                    self.memory, self.text, at, end, self.is_sorted, self.stray
                )
                if why <= 0:
                    assert why == 0
                    break
                self.left.append(b"")
                self.owed = why
                at = self.leave(at, end)
            self.used = end - at
            self.memory[: self.used] = self.memory[at:end]

    def leave(self, at, end):
        """Bytes of the frame that is the transport's; answers where they end."""
        size = min(self.owed, end - at)
        self.owed -= size
        if size:
            self.left[-1] += bytes(self.memory[at : at + size])
        return at + size

    def stray(self, payload):
        """A frame of no known stream, as a line of the feed takes it."""
        self.strays += self.board.absorb([payload])


def left_by(board, now_ms):
    """Everything that frames leave on a board."""
    board.flush(now_ms, whole=True)
    board.intake.read_marks()
    board.intake.read_best()
    board.intake.read_books()
    tapes, marks, tops = board.tapes, board.marks, board.tops
    used = len(tapes._slot_of)
    flow = [tapes._flow[:, :used], tapes.time_ms[:used], tapes.ids[:used], tapes.price[:used]]
    arrays = [*flow, tapes.signed_qty[:used], tapes.count[:used], marks.mark, marks.funding_rate]
    arrays += [marks.index, marks.best_bid, marks.best_ask, tops.bid_price, tops.ask_qty]
    for bars in board.klines.values():
        arrays += [bars.data, bars.finality, bars.source]
    streams = {
        one.name: (
            one.count, one.event, one.open, one.close_from, one.newest, one.is_closed,
            one.inversions, one.last_ms, one.has_spoken, one.is_broken, one.last_trade_id,
        )
        for one in board.inbox.streams.values()
    }  # fmt: skip
    tally = board.counters.take()
    facts = {
        "tally": [*map(list, tally._replace(disordered=tally.events, late=tally.events))],
        "disordered": tally.disordered,
        "late": tally.late,
        "closed": {name: bars.closed_count for name, bars in board.klines.items()},
        "frames": board.frames,
        "malformed": board.malformed,
        "suspects": board.turns.suspects,
        "lag": board.baseline.value_ms,
        "streams": streams,
    }
    return facts, [array.tobytes() for array in arrays]


def same(batches, sizes=()):
    """Both ways of hearing `batches` of (payloads, flush at ms); answers the sorted one."""
    plain, reads = Board(capacity=8), Reads()
    for payloads, now_ms in batches:
        for payload in payloads:
            plain.feed(payload)
        reads.hear(b"".join(map(framed, payloads)), sizes)
        plain.flush(now_ms)
        reads.board.flush(now_ms)
    want, got = (left_by(board, T0 + 10**7) for board in (plain, reads.board))
    # judged at the flush, a stream's frames together: those that waited in order with the rest are
    # measured against what came before them, not against all that came
    assert np.all(got[0].pop("disordered") <= want[0].pop("disordered"))
    assert np.all(got[0].pop("late") >= want[0].pop("late"))
    assert got[0] == want[0]
    assert got[1] == want[1]
    assert not reads.left
    return reads


def mark(time_ms, price="100.5", rate="0.0001", symbol="BTCUSDT"):
    data = {"e": "markPriceUpdate", "E": time_ms, "s": symbol, "p": price, "i": price, "r": rate}
    return frame(f"{symbol.lower()}@markPrice@1s", {**data, "T": T0 + 10**6})


def depth(time_ms, price=100.0, symbol="BTCUSDT", levels=5):
    sides = {"b": [[str(price - n), str(n)] for n in range(1, levels)]}
    sides["a"] = [[str(price + n), str(n)] for n in range(1, levels)]
    data = {"e": "depthUpdate", "E": time_ms, "T": time_ms, "s": symbol, "U": 1, "u": 2, "pu": 0}
    return frame(f"{symbol.lower()}@depth20@100ms", {**data, **sides})


def best(time_ms, price=100.0, symbol="BTCUSDT"):
    data = {"e": "bookTicker", "u": 1, "E": time_ms, "T": time_ms, "s": symbol, "b": str(price)}
    return frame(f"{symbol.lower()}@bookTicker", {**data, "B": "2", "a": str(price + 1), "A": "4"})


@st.composite
def markets(draw):
    """Batches of a market's frames, some of them odd, late or of another layout."""
    now_ms, number, opened = T0 + 1000, 1, {}
    batches = []
    for _ in range(draw(st.integers(1, 6))):
        payloads = []
        for _ in range(draw(st.integers(0, 12))):
            now_ms += draw(st.sampled_from([0, 0, 1, 40, 250, 900, 15_000]))
            symbol = draw(st.sampled_from(SYMBOLS))
            event_ms = now_ms - draw(st.sampled_from([0] * 8 + [3, 2_500]))
            price = draw(st.sampled_from([99.5, 100.25, 101.0, 1e-7, 12345678.5]))
            kind = draw(st.sampled_from(["kline"] * 3 + ["trade"] * 2 + ["mark", "depth", "best"]))
            if kind == "kline":
                payloads += _kline(draw, opened, symbol, event_ms)
            elif kind == "trade":
                number += draw(st.sampled_from([0, 1, 1, 1, 3]))
                payloads.append(trade(number, price, 1.5, event_ms, draw(st.booleans()), symbol))
            elif kind == "mark":
                rate = draw(st.sampled_from(["", "0.0001", "NaN", "-0.01"]))
                payloads.append(mark(event_ms, str(price), rate, symbol))
            elif kind == "depth":
                payloads.append(depth(event_ms, price, symbol, draw(st.integers(1, 20))))
            else:
                payloads.append(best(event_ms, price, symbol))
        batches.append((payloads, now_ms + 5))
    return batches


def _kline(draw, opened, symbol, event_ms):
    interval, step = draw(st.sampled_from([("1m", 60_000), ("15m", 900_000)]))
    known = opened.setdefault((symbol, interval), event_ms // step * step)
    start = event_ms // step * step
    volume = draw(st.sampled_from([0, 3, 999.5, 123456789]))
    found = []
    if start > known:
        opened[symbol, interval] = start
        if draw(st.integers(0, 3)):
            found.append(
                kline(known, known + step + 5, 100.5, True, symbol=symbol, interval=interval,
                      step=step, last=8, volume=volume)
            )  # fmt: skip
    found.append(
        kline(start, max(event_ms, start), 100.25, symbol=symbol, interval=interval, step=step,
              f=9, last=9 + int(volume), volume=volume)
    )  # fmt: skip
    return found


@settings(max_examples=150)
@given(markets(), st.lists(st.integers(1, 3000), max_size=40))
def test_a_market_is_the_same_however_its_frames_come(batches, sizes):
    """Bars, flow, books, marks, counters and streams equal those of frames taken one by one, wherever
    the reads are cut."""
    same(batches, sizes)


@settings(max_examples=150)
@given(markets(), st.lists(st.integers(1, 3000), max_size=40), st.randoms(use_true_random=False))
def test_damaged_frames_harm_nothing(batches, sizes, chance):
    """Whatever bytes are changed, doubled or cut off, every frame is taken or counted as unreadable,
    and a sound frame afterwards is taken."""
    reads = Reads()
    for payloads, now_ms in batches:
        reads.hear(b"".join(framed(harmed(one, chance)) for one in payloads), sizes)
        reads.board.flush(now_ms)
    left_by(reads.board, T0 + 10**6)
    last = T0 + 3_600_000
    reads.hear(framed(kline(last, symbol="ETHUSDT")) + framed(mark(last, "7", symbol="ETHUSDT")))
    left_by(reads.board, last + 10)
    assert reads.board.forming("ETHUSDT", "1m").open_ms == last
    assert reads.board.marks.mark[reads.board.slot("ETHUSDT")] == 7.0


def harmed(text, chance):
    """The text itself four times of five, else cut, or with one byte changed or put in."""
    at, kind = chance.randrange(len(text)), chance.randrange(15)
    if kind > 2:
        return text
    return (
        text[:at]
        + (b"", chance.randbytes(1))[kind > 0]
        + (b"" if not kind else text[at + kind - 1 :])
    )


def learned(*payloads, room=1 << 14):
    """Reads whose streams were learned from these frames."""
    reads = Reads(room)
    reads.hear(b"".join(map(framed, payloads)))
    reads.board.flush(T0 + 1500, whole=True)
    return reads


def test_compiled_code_keeps_the_newest_frames_itself():
    """Once a stream is learned its frames wait for no look, and the newest shows before a flush."""
    reads = learned(kline(), mark(T0 + 1000), depth(T0 + 1000), best(T0 + 1000), trade(1, 9, 1, T0))
    streams = reads.board.inbox.streams
    later = [kline(event_ms=T0 + 2000, close=102 + n, volume=10**n) for n in range(8)]
    more = [
        mark(T0 + 2000, "3.5"),
        depth(T0 + 2000, 200),
        best(T0 + 2000, 5),
        trade(2, 8, 1, T0 + 1),
    ]
    reads.hear(b"".join(map(framed, later + more)))
    assert not reads.board.inbox.trades
    assert not any(one.queue for one in streams.values())
    assert reads.board.forming("BTCUSDT", "1m").close == 109
    reads.board.view_of({0}, T0 + 2500)
    assert reads.board.marks.mark[0] == 3.5
    assert reads.board.tops.bid_price[0, 0] == 199
    assert reads.board.marks.best_bid[0] == 5
    reads.board.flush(T0 + 2500, whole=True)
    assert reads.board.frames == 5 + len(later) + len(more)
    assert streams["btcusdt@kline_1m"].count == 9
    assert reads.board.tapes.total(0) == 2


@pytest.mark.parametrize("event_ms", [T0 + 2000, T0 + 59_500, T0 + 60_010])
def test_a_closing_frame_is_seen_wherever_it_comes(event_ms):
    """A frame that says its bar is closed closes it, early too, and though others follow at once."""
    reads = learned(kline())
    final = kline(event_ms=event_ms, close=104, x=True, volume=77)
    after = kline(T0 + 60_000, max(event_ms + 1, T0 + 60_005), 105, f=6, last=9)
    reads.hear(framed(kline(event_ms=T0 + 1900)) + framed(final) + framed(after))
    reads.board.flush(T0 + 60_100)
    bars = reads.board.klines["1m"]
    assert bars.closed_count == 1
    assert bars.row(0, bars.column(T0))[3:5] == (104, 77)
    assert reads.board.forming("BTCUSDT", "1m").close == 105


def test_an_early_close_is_not_lost_to_later_frames_of_its_bar():
    """Even where the venue goes on with a bar that it called closed, the close was seen."""
    reads = learned(kline())
    reads.hear(framed(kline(event_ms=T0 + 5000, x=True)) + framed(kline(event_ms=T0 + 6000)))
    reads.board.flush(T0 + 7000)
    assert reads.board.klines["1m"].closed_count == 1


def test_numbers_that_no_float_holds_and_words_for_none_are_refused_or_read_slowly():
    """Sixteen digits and more read as msgspec reads them; NaN and Infinity make no trade; an empty
    funding rate is none, and its mark stays."""
    reads = learned(kline(), mark(T0 + 1000), trade(1, 100, 1, T0))
    figures = ["0.12345678901234567890", "123456789012345678", "NaN", "Infinity", "", "-1", "1e3"]
    sent = [trade(2 + n, price, 1, T0 + 1 + n) for n, price in enumerate(figures)]
    reads.hear(b"".join(map(framed, [*sent, mark(T0 + 2000, "5", "")])))
    reads.board.view(T0 + 3000)
    kept = reads.board.tapes.price[0, : reads.board.tapes.total(0)].tolist()
    assert kept == [100, 0.12345678901234567890, 123456789012345678.0, 1000.0]
    assert reads.board.marks.mark[0] == 5
    assert np.isnan(reads.board.marks.funding_rate[0])


def test_what_is_no_whole_text_is_the_transports():
    """Pings, closes, binary frames, fragments and what is larger than the memory are left, in order,
    header and all; the plain frames between them are taken."""
    reads = learned(kline(), room=1 << 12)
    odd = [
        framed(b"x", 0x89), framed(b"", 0x8A), framed(b"\x03\xe8", 0x88), framed(kline(), 0x82),
        framed(kline()[:50], 0x01), framed(kline()[50:], 0x80), framed(b"y" * 4000, 0xC1),
    ]  # fmt: skip
    plain = [kline(event_ms=T0 + 2000 + n) for n in range(len(odd))]
    mixed = [part for pair in zip(odd, map(framed, plain), strict=True) for part in pair]
    reads.hear(b"".join(mixed), [700, 1, 2, 3, 5] * 40)
    reads.board.flush(T0 + 3000)
    assert reads.left == odd
    assert reads.board.frames == 1 + len(plain)


@pytest.mark.parametrize(
    "head",
    [b"\x81\x85", b"\x83\x05", b"\x8b\x05", b"\x09\x05", b"\x88\x7e\x00\x80", b"\x81\x7e\x00\x05",
     b"\x81\x7f" + bytes(6) + b"\x00\x05", b"\x81\x7f\x80" + bytes(7)],
)  # fmt: skip
def test_a_header_that_no_server_may_send_is_told_at_once(head):
    """Masks, unknown opcodes, long or divided control frames and lengths that are not the shortest."""
    reads = learned(kline())
    reads.memory[: len(head)] = head
    found = reads.sorting.take(reads.memory, reads.text, 0, len(head), True, reads.stray)
    assert found[:2] == (0, -1)


def test_reads_that_fill_every_table_lose_nothing():
    """More trades than there are places, more frames to look at than one call hands back, and more
    streams than there are rows."""
    count, names = 9_000, [f"COIN{n}USDT" for n in range(300)]
    reads = Reads(1 << 22)
    reads.board = Board(capacity=400)
    reads.sorting = reads.board.inbox.compiled()
    for symbol in names:
        reads.stray(kline(symbol=symbol))
    reads.board.flush(T0 + 1500)
    looked_at = [kline(event_ms=T0 + 59_500, symbol=symbol) for symbol in names] * 8
    trades = [trade(n, 100 + n % 7, 1, T0 + n, symbol="COIN7USDT") for n in range(count)]
    reads.hear(b"".join(map(framed, looked_at + trades)))
    reads.board.flush(T0 + 60_000, whole=True)
    assert reads.board.frames == len(names) + len(looked_at) + count
    assert reads.board.tapes.total(reads.board.slot("COIN7USDT")) == count
    reads.hear(b"".join(framed(kline(event_ms=T0 + 59_600, symbol=symbol)) for symbol in names))
    reads.board.flush(T0 + 60_000)
    assert {one.count for one in reads.board.inbox.by_kind["kline"]} == {10}


def test_a_lost_line_makes_the_next_frames_wait_for_a_look():
    """After a loss the bar is stale until a look says that the stream speaks of it again."""
    reads = learned(kline())
    reads.board.mark_lost(["btcusdt@kline_1m"])
    reads.hear(framed(kline(event_ms=T0 + 2000, close=103)))
    stream = reads.board.inbox.streams["btcusdt@kline_1m"]
    assert stream.is_broken
    assert len(stream.queue) == 1
    reads.board.flush(T0 + 2500)
    assert not stream.is_broken
    reads.hear(framed(kline(event_ms=T0 + 3000, close=104)))
    assert not stream.queue
    assert reads.board.forming("BTCUSDT", "1m").close == 104


def test_frames_are_only_sorted_when_their_line_says_so():
    """While a connection has still to prove itself every frame goes the long way."""
    reads = learned(kline())
    reads.is_sorted = False
    seen = []
    reads.stray = seen.append
    sent = [kline(event_ms=T0 + 2000), b'{"result":null,"id":1}', trade(1, 1, 1, T0)]
    reads.hear(b"".join(map(framed, sent)))
    assert seen == sent


def test_trades_that_waited_before_compiled_code_came_are_read_in_their_order():
    """The switch to compiled code loses no trade and changes no order."""
    trade_reading.disable()
    reads = Reads.__new__(Reads)
    board = Board(capacity=4)
    board.feed(trade(1, 10, 1, T0))
    board.feed(kline())
    assert board.inbox.compiled() is None
    trade_reading.enable()
    Reads.__init__(reads)
    reads.board, reads.sorting = board, board.inbox.compiled()
    reads.hear(framed(trade(2, 11, 1, T0 + 1)) + framed(trade(3, "12.0 ", 1, T0 + 2)))
    board.feed(trade(4, 13, 1, T0 + 3))
    reads.hear(framed(trade(5, 14, 1, T0 + 4)) + framed(kline(event_ms=T0 + 2000)))
    board.flush(T0 + 3000, whole=True)
    assert board.tapes.ids[0, :5].tolist() in ([1, 2, 3, 4, 5], [1, 2, 4, 5, -1])
    assert board.frames == 7


def test_how_late_a_frame_came_is_counted():
    """A frame behind a newer one by more than the window is one out of order, whoever keeps them."""
    reads = learned(mark(T0 + 10_000))
    reads.hear(b"".join(framed(mark(T0 + ms)) for ms in (10_100, 9_000, 7_000, 10_200)))
    reads.board.flush(T0 + 10_300)
    assert reads.board.inbox.streams["btcusdt@markPrice@1s"].inversions == 2
    assert reads.board.take_tally().disordered[0] == 1


def test_json_spacing_and_raw_frames_stay_right():
    """Frames without an envelope, spaced or with their keys in another order, among sorted ones."""
    reads = learned(kline())
    moved = json.dumps(
        {"data": json.loads(kline(event_ms=T0 + 2100))["data"], "stream": "btcusdt@kline_1m"}
    )
    sent = [kline(event_ms=T0 + 2000), kline(event_ms=T0 + 2050, raw=True), moved.encode(),
            kline(event_ms=T0 + 2200, indent=1), kline(event_ms=T0 + 2300, close=107)]  # fmt: skip
    reads.hear(b"".join(map(framed, sent)))
    reads.board.flush(T0 + 2500)
    stream = reads.board.inbox.streams["btcusdt@kline_1m"]
    assert stream.count == 6
    assert reads.board.forming("BTCUSDT", "1m").close == 107


def test_who_hears_of_a_stray_may_flush_at_once():
    """Every trade of the read has its place filled before a frame of no known stream is handed on."""
    reads = learned(trade(1, 100, 1, T0))
    hear = reads.stray

    def heard(payload):
        hear(payload)
        reads.board.flush(T0 + 2000, whole=True)

    reads.stray = heard
    sent = [
        best(T0 + 1),
        trade(2, "1e2", 1, T0 + 1),
        best(T0 + 2, symbol="ETHUSDT"),
        trade(3, 9, 1, T0 + 2),
    ]
    reads.hear(b"".join(map(framed, sent)))
    assert reads.board.tapes.ids[0, :3].tolist() == [1, 2, 3]
    assert reads.board.frames == 5
