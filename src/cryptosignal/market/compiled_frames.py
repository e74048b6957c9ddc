"""A whole read of a socket sorted in one compiled pass (numba, the `fast` extra).

Imported by `trade_reading.enable` alone, after start-up. The kernel walks the WebSocket frames of a
read and takes the messages whose stream, layout and place in order it knows: the newest of a stream
is copied to the stream's room, a trade is read at once. It judges nothing: what is not exactly as
learned is handed back, in order, and so is every bar that may be closing (`"x":false` is looked for
in each). A frame that is no whole plain text is left to the transport. Every inner loop ends with
its frame; `text` has `PAD` spare bytes behind the last one that is read into.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from cryptosignal.market import compiled_trades
from cryptosignal.market.sorting import (
    ASIDE,
    EVENT,
    EVENT_AT,
    EVENT_LEAD,
    FINAL_AT,
    FRESH,
    KLINE,
    MODE,
    NAME,
    NAME_SIZE,
    OPEN,
    OPEN_AT,
    OPEN_LEAD,
    PAD,
    PLACE,
    ROOM,
    SIZE,
    SLOT,
    SYMBOL,
    SYMBOL_SIZE,
    TOP,
    TOUCHED,
    TRADE,
    TRADES,
    UNREAD,
)

Bytes = NDArray[np.uint8]
Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

_TEXT: Final = 0x81
_MASK: Final = 0x80
_SMALL: Final = 126
_SHORT_MAX: Final = 65_535
_CONTROL_MAX: Final = 125
_NAME_AT: Final = 11
_NAME_MIN: Final = 8
_DATA_SIZE: Final = 11
_DIGITS: Final = 13
_LEAST: Final = 48
_ZERO, _NINE, _QUOTE, _X, _LAST = b'09"xe'
_HEAD: Final = np.uint64(int.from_bytes(b'{"stream', "little"))
_HEAD_END: Final = np.uint64(int.from_bytes(b'tream":"', "little"))
_DATA: Final = np.uint64(int.from_bytes(b'","data"', "little"))
_DATA_END: Final = np.uint64(int.from_bytes(b'data":{"', "little"))
_GOING: Final = np.uint64(int.from_bytes(b'"x":fals', "little"))
_MIX: Final = np.uint64(0x9E3779B97F4A7C15)
_STIR: Final = np.uint64(0xC2B2AE3D27D4EB4F)
_FOLD: Final = np.uint64(29)
_FIVE: Final = np.uint64(100_000)
_LOW: Final = np.uint64(0x0F0F0F0F0F0F0F0F)
_TENS: Final = np.uint64(10 * 256 + 1)
_PAIRS: Final = np.uint64(0x00FF00FF00FF00FF)
_HUNDREDS: Final = np.uint64(100 * 65_536 + 1)
_FOURS: Final = np.uint64(0x0000FFFF0000FFFF)
_MYRIADS: Final = np.uint64(10_000 * (1 << 32) + 1)
_EIGHT, _SIXTEEN, _HALF = np.uint64(8), np.uint64(16), np.uint64(32)
_HIGH: Final = np.uint64(0xF0F0F0F0F0F0F0F0)
_SIXES: Final = np.uint64(0x0606060606060606)
_THREES: Final = np.uint64(0x3333333333333333)


@njit(cache=True, inline="always")
def _word(text: Bytes, at: int) -> np.uint64:
    """Eight bytes as one number, the first the lowest: one load once it is compiled."""
    value = np.uint64(0)
    for step in range(8):
        value |= np.uint64(text[np.uint64(at + step)]) << np.uint64(8 * step)
    return value


@njit(cache=True, inline="always")
def _lead(text: Bytes, at: int) -> int:
    """The four bytes before `at` as one number."""
    value = np.int64(0)
    for step in range(4):
        value |= np.int64(text[np.uint64(at - 4 + step)]) << np.int64(8 * step)
    return int(value)


@njit(cache=True, inline="always")
def _eight(word: np.uint64) -> np.uint64:
    """The number that eight ASCII digits spell, the first one the lowest byte."""
    word = (word & _LOW) * _TENS >> _EIGHT
    word = (word & _PAIRS) * _HUNDREDS >> _SIXTEEN
    return (word & _FOURS) * _MYRIADS >> _HALF


@njit(cache=True, inline="always")
def _are_digits(word: np.uint64) -> bool:
    """Whether all eight bytes are ASCII digits."""
    return (word & _HIGH) | (((word + _SIXES) & _HIGH) >> np.uint64(4)) == _THREES


@njit(cache=True, inline="always")
def _moment(text: Bytes, at: int) -> int:
    """Thirteen digits and no more; −1 for anything else."""
    first, last = _word(text, at), _word(text, at + 5)
    if not (_are_digits(first) and _are_digits(last)):
        return -1
    if _ZERO <= text[np.uint64(at + _DIGITS)] <= _NINE:
        return -1
    return int(np.int64(_eight(first) * _FIVE + _eight(last) % _FIVE))


@njit(cache=True, inline="always")
def _hash(text: Bytes, start: int, end: int) -> int:
    """Of a name of eight bytes or more: by its first, middle and last eight."""
    value = (_word(text, start) ^ np.uint64(end - start)) * _MIX
    value = ((value ^ (value >> _FOLD)) + _word(text, (start + end - 8) >> 1)) * _STIR
    value = ((value ^ (value >> _FOLD)) + _word(text, end - 8)) * _MIX
    return int(np.int64((value ^ (value >> _FOLD)) >> np.uint64(1)))


@njit(cache=True, inline="always")
def _same(text: Bytes, at: int, letters: Bytes, place: int, size: int) -> bool:
    """Whether `size` bytes of both are the same."""
    differs = np.uint8(0)
    for step in range(size):
        differs |= text[np.uint64(at + step)] ^ letters[np.uint64(place + step)]
    return differs == 0


@njit(cache=True)
def _find(text: Bytes, start: int, end: int, rows: Ints, index: Ints, letters: Bytes) -> int:
    """The row of the stream text[start:end]; −1 if it has none."""
    size = end - start
    if size < _NAME_MIN:
        return -1
    mask = len(index) - 1
    place = _hash(text, start, end) & mask
    while index[place] >= 0:
        row = index[place]
        if rows[row, NAME_SIZE] == size and _same(text, start, letters, rows[row, NAME], size):
            return row
        place = (place + 1) & mask
    return -1


@njit(cache=True)
def _goes_on(text: Bytes, start: int, end: int, row: int, rows: Ints) -> bool:
    """Whether a kline frame says that its bar is not closed; the place of the word moves only as
    the figures before it grow."""
    at = start + rows[row, FINAL_AT]
    if at + 9 <= end and _word(text, at) == _GOING and text[at + 8] == _LAST:
        return True
    for at in range(start + rows[row, OPEN_AT], end - 8):
        if text[at] == _QUOTE and text[at + 1] == _X and text[at + 2] == _QUOTE:
            rows[row, FINAL_AT] = at - start
            return _word(text, at) == _GOING and text[at + 8] == _LAST
    return False


@njit(cache=True)
def _keep(
    text: Bytes, start: int, end: int, row: int, rows: Ints, letters: Bytes, touched: Ints,
    counts: Ints,
) -> bool:  # fmt: skip
    """Make this frame its stream's newest; False if it is not as learned, or may close a bar."""
    size = end - start
    at = start + rows[row, EVENT_AT]
    if at + _DIGITS >= end or size > rows[row, ROOM] or _lead(text, at) != rows[row, EVENT_LEAD]:
        return False
    event = _moment(text, at)
    if event < rows[row, EVENT] or event >= rows[row, TOP]:
        return False
    if rows[row, MODE] == KLINE:
        at = start + rows[row, OPEN_AT]
        if at + _DIGITS >= end or _lead(text, at) != rows[row, OPEN_LEAD]:
            return False
        if _moment(text, at) != rows[row, OPEN] or not _goes_on(text, start, end, row, rows):
            return False
    place = rows[row, PLACE]
    for step in range(size):
        letters[np.uint64(place + step)] = text[np.uint64(start + step)]
    rows[row, EVENT] = event
    rows[row, SIZE] = size
    if rows[row, FRESH] == 0:
        touched[counts[TOUCHED]] = row
        counts[TOUCHED] += 1
    rows[row, FRESH] += 1
    return True


@njit(cache=True)
def _trade(
    text: Bytes, body: int, end: int, row: int, rows: Ints, letters: Bytes, counts: Ints,
    whole: Ints, figures: Floats,
) -> bool:  # fmt: skip
    """Read one trade into the next place; False if the place has to be filled by somebody else."""
    place = counts[TRADES]
    counts[TRADES] += 1
    spare, text[end] = text[end], 0
    found = (whole[1], whole[2], whole[3], figures[0], figures[1])
    behind, start, stop = compiled_trades.read_body(text, body, place, found)
    text[end] = spare
    size = rows[row, SYMBOL_SIZE]
    if behind != end or stop - start != size:
        whole[0, place] = UNREAD
        return False
    is_own = _same(text, start, letters, rows[row, SYMBOL], size)
    whole[0, place] = rows[row, SLOT] if is_own else UNREAD
    return is_own


@njit(cache=True, inline="always")
def _frame(text: Bytes, at: int, end: int) -> tuple[int, int]:
    """(bytes of header, of payload) of the frame at `at`; header 0 if it is not there whole, −1 if
    no such frame may come from a server."""
    if end - at < 2:
        return 0, 0
    first, size = int(np.int64(text[at])), int(np.int64(text[at + 1]))
    opcode = first & 15
    if size >= _MASK or 2 < opcode < 8 or opcode > 10:
        return -1, 0
    if opcode >= 8 and (size > _CONTROL_MAX or first < _MASK):
        return -1, 0
    if size < _SMALL:
        return 2, size
    if size == _SMALL:
        if end - at < 4:
            return 0, 0
        size = (int(np.int64(text[at + 2])) << 8) | int(np.int64(text[at + 3]))
        return (4, size) if size >= _SMALL else (-1, 0)
    if end - at < 10:
        return 0, 0
    size = 0
    for step in range(2, 10):
        size = (size << 8) | int(np.int64(text[at + step]))
    return (10, size) if size > _SHORT_MAX else (-1, 0)


@njit(cache=True, inline="always")
def _stream_end(text: Bytes, start: int, end: int) -> int:
    """Where the quote behind the stream's name stands, if the envelope is the usual one; else −1."""
    if end - start < _LEAST or _word(text, start) != _HEAD:
        return -1
    if _word(text, start + 3) != _HEAD_END:
        return -1
    at = start + _NAME_AT
    while at < end and text[np.uint64(at)] != _QUOTE:
        at += 1
    if at + _DATA_SIZE > end or _word(text, at) != _DATA:
        return -1
    return at if _word(text, at + 3) == _DATA_END else -1


@njit(
    "UniTuple(int64, 4)(uint8[::1], int64, int64, int64, int64[:, ::1], int64[::1], uint8[::1],"
    "int64[::1], int64[:, ::1], int64[::1], int64[:, ::1], float64[:, ::1])",
    cache=True,
)  # fmt: skip
def take(
    text: Bytes,
    at: int,
    end: int,
    is_sorted: int,
    rows: Ints,
    index: Ints,
    letters: Bytes,
    touched: Ints,
    aside: Ints,
    counts: Ints,
    whole: Ints,
    figures: Floats,
) -> tuple[int, int, int, int]:
    """Take the messages of the frames in text[at:end]; all are handed back while `is_sorted` is 0.

    The tables are `market.sorting.Sorting`'s. Answers (where it stopped, why, messages taken,
    messages handed back as (row or −1, start, size) in `aside`); why is 0 where the frame there is
    not complete, its bytes where it is for the transport, −1 where no frame may stand there, and
    −2 where there is no more room to hand back or to keep trades in.
    """
    taken, given = 0, 0
    while True:
        head, size = _frame(text, at, end)
        if head <= 0:
            return at, head, taken, given
        if text[at] != _TEXT or head + size > len(text) - PAD:
            return at, head + size, taken, given
        if at + head + size > end:
            return at, 0, taken, given
        if given == len(aside) or counts[TRADES] == whole.shape[1]:
            return at, -2, taken, given
        start = at + head
        at = start + size
        row, is_taken = -1, False
        quote = _stream_end(text, start, at) if is_sorted else -1
        if quote >= 0:
            row = _find(text, start + _NAME_AT, quote, rows, index, letters)
        mode = rows[row, MODE] if row >= 0 else ASIDE
        if mode == TRADE:
            body = quote + _DATA_SIZE - 1
            is_taken = _trade(text, body, at, row, rows, letters, counts, whole, figures)
        elif mode != ASIDE:
            is_taken = _keep(text, start, at, row, rows, letters, touched, counts)
            if not is_taken:  # what comes next must not overtake it
                rows[row, MODE] = ASIDE
        if is_taken:
            taken += 1
            continue
        aside[given, 0], aside[given, 1], aside[given, 2] = row, start, size
        given += 1


@njit("int64(uint8[::1])", cache=True)
def hash_of(text: Bytes) -> int:
    """The hash of a name of at least eight bytes."""
    return _hash(text, 0, len(text))
