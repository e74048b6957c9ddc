"""The compiled reader of trades gives what msgspec gives, whatever comes."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.market.made import T0, trade

from cryptosignal.market import trade_reading
from cryptosignal.market.board import Board
from cryptosignal.market.trade_reading import TradeReader

compiled_trades = pytest.importorskip("cryptosignal.market.compiled_trades")

SYMBOLS = {"BTCUSDT": 0, "ETHUSDT": 1, "1000PEPEUSDT": 2, "币安人生USDT": 3, "A": 4}
ORDER = ("e", "E", "s", "a", "p", "q", "f", "l", "T", "m")


@pytest.fixture(autouse=True)
def as_it_was():
    """The switch is the process's."""
    yield
    trade_reading.disable()


def reader():
    found = TradeReader()
    found.know(SYMBOLS)
    return found


def same(raw):
    """Both readings of the frames, which must be equal to the bit; answers one."""
    trade_reading.disable()
    slow = reader().read(raw)
    assert trade_reading.enable()
    fast = reader().read(raw)
    for name, a, b in zip(slow._fields, slow, fast, strict=True):
        assert a.dtype == b.dtype
        assert a.tobytes() == b.tobytes(), (name, a, b)
    return fast


def taken(raw):
    """How many of the frames the kernel takes itself."""
    text = np.frombuffer(b"\0".join([*raw, compiled_trades.PAD]), np.uint8)
    found = trade_reading._room(len(raw))
    assert compiled_trades.read(text, *compiled_trades.table(SYMBOLS), *found) == len(raw)
    return int((found.slots >= 0).sum())


plain = st.decimals(0, 10**9, places=None, allow_nan=False, allow_infinity=False)
figures = st.one_of(
    plain.map(lambda number: format(number, "f")),
    st.floats(1e-8, 1e9).map(lambda number: f"{number:.8f}"),
    st.integers(0, 10**17).map(str),
    st.tuples(st.integers(0, 10**15), st.integers(0, 10**9)).map(lambda two: f"{two[0]}.{two[1]}"),
    st.sampled_from(
        ["", "-1", "-0.5", "1e5", "1E-3", "+1", ".5", "5.", "00.5", "0", "0.0", "NaN", "Infinity",
         "123456789012345678901", "0.123456789012345678901", "9007199254740993", "9007199254740992",
         "90071992547409.93", "1 ", " 1", "1_0", "1.2.3", "0x10", "१"],
    ),
)  # fmt: skip
numbers = st.one_of(
    st.integers(0, 10**13 - 1),
    st.sampled_from([0, -1, 10**13, 10**18, 10**21, 1.5, "12", "x", None, True, [1], 1e3]),
)


@st.composite
def frames(draw):
    """A trade's frame: mostly sound, at times odd in shape, type or symbol, or cut."""
    fields = {
        "e": "aggTrade",
        "E": draw(st.integers(T0, T0 + 10**6)),
        "s": draw(st.sampled_from([*SYMBOLS, "UNKNOWN", "", "btcusdt", 'A"B', "\ud83d\ude00"])),
        "a": draw(st.integers(1, 10**10)),
        "p": draw(figures),
        "q": draw(figures),
        "f": draw(st.integers(1, 10**10)),
        "l": draw(st.integers(1, 10**10)),
        "T": draw(st.integers(T0, T0 + 10**6)),
        "m": draw(st.booleans()),
    }
    if draw(st.booleans()):
        fields["nq"] = draw(figures)
    for key, value in draw(
        st.dictionaries(st.sampled_from(["E", "a", "T", "m", "st", "p", "f"]), numbers, max_size=1)
    ).items():
        fields[key] = value
    if draw(st.integers(0, 9)) == 0:
        fields.pop(draw(st.sampled_from(ORDER)))
    if draw(st.integers(0, 4)) == 0:
        fields["st"] = draw(st.sampled_from([1, 2, None, -1, 0.5, {"a": 1}, [], "x\n", "\\", ""]))
    order = draw(st.permutations(list(fields))) if draw(st.booleans()) else list(fields)
    data = {key: fields[key] for key in order}
    text = json.dumps(
        {"stream": f"{fields.get('s', 'x').lower()}@aggTrade", "data": data},
        separators=draw(st.sampled_from([(",", ":"), (",", ":"), (",", ":"), (", ", ": ")])),
        ensure_ascii=draw(st.booleans()),
    ).encode(errors="surrogatepass")
    return draw(harmed(text))


def harmed(text):
    """The text itself nine times of ten, else cut, or with one byte changed, doubled or put in."""
    at = st.integers(0, len(text) - 1)
    return st.one_of(
        *[st.just(text)] * 9,
        st.one_of(
            at.map(lambda n: text[:n]),
            st.tuples(at, st.integers(0, 255)).map(
                lambda two: text[: two[0]] + bytes(two[1:]) + text[two[0] + 1 :]
            ),
            st.tuples(at, st.integers(0, 255)).map(
                lambda two: text[: two[0]] + bytes(two[1:]) + text[two[0] :]
            ),
            at.map(lambda n: text + text[n:]),
            st.just(text[:-1] + b',"data":{"p":"1"}}'),
        ),
    )


@settings(max_examples=400, deadline=None)
@given(st.lists(frames(), max_size=12))
def test_any_frames_read_the_same(raw):
    """Compiled and decoded by msgspec: the same trades to the bit, the same frames refused."""
    same(raw)


def test_the_plain_shape_is_taken_at_once():
    """The venue's own shape, with its later fields or without, in any order, needs no second look."""
    raw = [trade(n, f"{n * 7}.{n:05}", f"0.{n:08}", T0 + n, maker=n % 2 == 0) for n in range(1, 99)]
    raw += [
        frame[:-2] + more
        for frame in raw[:3]
        for more in (b',"nq":"0.5","st":1}}', b',"X":"MARKET","isRPI":false}}')
    ]
    moved = json.loads(raw[0])
    moved["data"] = dict(reversed(moved["data"].items()))
    raw.append(json.dumps(moved, separators=(",", ":")).encode())
    assert taken(raw) == len(raw) == len(same(raw).slots)


@pytest.mark.parametrize(
    "price",
    [
        "1e5",
        "-1",
        "00.5",
        ".5",
        "5.",
        "123456789012345678901",
        "9007199254740993",
        "",
        "NaN",
        "1\0",
    ],
)
def test_odd_figures_are_handed_back(price):
    """An exponent, a sign, too many digits: the kernel takes none of them, its neighbours it does."""
    raw = [trade(1, "5", "1", T0), trade(2, price, "1", T0), trade(3, "6", "1", T0)]
    assert taken(raw) == 2
    same(raw)


@pytest.mark.parametrize(
    ("was", "becomes"),
    [
        (b'"a":1,', b'"a":01,'),
        (b'"a":1,', b'"a":-0,'),
        (b'"a":1,', b'"a":1.0,'),
        (b'"a":1,', b'"a":null,'),
        (b'"a":1,', b'"a":"1",'),
        (b'"a":1,', b'"a":1,,'),
        (b'"a":1,', b'"a":1,"a":"x",'),
        (b'"a":1,', b'"a":1,"p":"7",'),
        (b'"a":1,', b'"a":1,"st":"\\u0041",'),
        (b'"a":1,', b'"a":1,"st":01,'),
        (b'"a":1,', b'"a":1,"st":{"p":"7"},'),
        (b'"a":1,', b'"a":1,"st":tru,'),
        (b'"m":false', b'"m":falsy'),
        (b'"m":false', b'"m":0'),
        (b'"p":"5"', b'"p":5'),
        (b'"p":"5"', b'"p":"5'),
        (b'"p"', b'"\\u0070"'),
        (b'"BTCUSDT"', b'"BTC\\u0055SDT"'),
        (b'"BTCUSDT"', '"币安人生USDT"'.encode()),
        (b'"BTCUSDT"', b'"BTC\xffUSDT"'),
        (b'"BTCUSDT"', b'"BTCUSDTX"'),
        (b'"BTCUSDT"', b'"BTCUSD"'),
        (b'"BTCUSDT"', b"null"),
        (b"}}", b"},}"),
        (b"}}", b"}}}"),
        (b"}}", b'},"data":{"p":"7"}}'),
        (b"}}", b"} }"),
        (b'"stream":"', b'"strewn":"'),
        (b'","data":', b'" ,"data":'),
        (b"@aggTrade", b"@agg\\u0054rade"),
    ],
)
def test_odd_shapes_are_handed_back(was, becomes):
    """What the kernel was not made for it leaves to msgspec, and only that frame."""
    sound = trade(1, "5", "1", T0)
    assert sound.count(was) == 1
    raw = [sound, sound.replace(was, becomes), sound]
    assert taken(raw) == 2
    same(raw)


def test_every_cut_of_a_frame_ends_where_it_ends():
    """A frame cut after any byte, before a sound one: nothing of the one reaches the other."""
    whole = trade(1, "100.25", "3.5", T0)
    raw = [part for n in range(len(whole)) for part in (whole[:n], whole)]
    assert taken(raw) == len(whole)
    found = same(raw)
    assert set(found.prices.tolist()) == {100.25}
    assert len(found.slots) == len(whole)


def test_a_nul_within_a_frame_costs_that_frame_alone():
    """Frames are parted by NUL, so one that holds a NUL sends its batch to msgspec."""
    sound = trade(1, "5", "1", T0)
    for odd in (sound.replace(b"BTC", b"B\0C"), b"\0", b"\0" * 20, sound + b"\0", b"\0" + sound):
        assert same([sound, odd, sound]).slots.tolist() == [0, 0]


def test_numbers_past_any_table_are_malformed_and_harm_nobody():
    """Times and ids of more than thirteen digits, or below zero, cost their own frame only."""
    for is_compiled in (False, True):
        trade_reading.disable()
        assert not is_compiled or trade_reading.enable()
        board = Board(capacity=4)
        board.feed(trade(1, 100, 1, T0))
        for number in (10**13, 10**21, -1):
            board.feed(trade(number, 100, 1, T0 + 1))
        board.feed(trade(2, 100, 1, 10**21))
        board.feed(trade(2, 100, 1, T0 + 2).replace(b'"s":"BTC', b'"s":"\xff'))
        board.feed(trade(2, 100, 1, T0 + 2))
        board.flush(T0 + 10, whole=True)
        assert (board.tapes.total(0), board.malformed, board.frames) == (2, 5, 7)


@settings(max_examples=40, deadline=None)
@given(st.lists(frames(), min_size=1, max_size=40), st.integers(1, 8))
def test_a_board_ends_the_same(raw, cut):
    """Counters, flow, rings and refusals of a board are equal with either reader."""
    ends = []
    for is_compiled in (False, True):
        trade_reading.disable()
        assert not is_compiled or trade_reading.enable()
        board = Board(capacity=8)
        for index, frame in enumerate(raw):
            board.feed(frame)
            if index % cut == 0:
                board.flush(T0 + index, whole=True)
        flow = board.view(T0 + 10**6).flow
        tally = board.take_tally()
        ends.append(
            [board.malformed, board.frames, board.tapes.duplicates, board.inbox.malformed]
            + [
                np.nan_to_num(part).tobytes()
                for part in (flow.buy_usdt, flow.sell_usdt, flow.trades)
            ]
            + [getattr(board.tapes, name).tobytes() for name in ("ids", "time_ms", "signed_qty")]
            + [getattr(tally, name).tobytes() for name in ("events", "late", "disordered", "ids")]
            + [(s.name, s.count, s.event, s.inversions) for s in board.inbox.streams.values()]
        )
    assert ends[0] == ends[1]
