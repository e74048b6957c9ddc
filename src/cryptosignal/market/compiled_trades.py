"""Aggregate trades of a whole batch read in one compiled pass (numba, the `fast` extra).

Imported by `trade_reading.enable` alone, after start-up: importing numba costs 0.75 s. The kernel
takes exactly the venue's plain shape, fields in any order, and hands every other frame back, so
that it never has to judge one: what it takes reads the same as `frames.TRADE` does, to the bit.
Frames are parted by a NUL byte, which no JSON text holds; every step looks at one byte, and none
goes past a NUL, so that a frame cut anywhere ends where it ends.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numba import njit, types
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Table = tuple[Bytes, Ints, Ints]
Columns = tuple[Ints, Ints, Ints, Floats, Floats]

PAD: Final = b"\0" * 8
"""Stands behind the last frame's NUL."""
UNREAD: Final = -2
"""The slot of a frame that was handed back."""

_HEAD = np.frombuffer(b'{"stream":"', np.uint8).copy()
_DATA = np.frombuffer(b'","data":{', np.uint8).copy()
_POWERS = np.array([float(10**k) for k in range(23)])
_EXACT: Final = 1 << 53
_DIGITS_MAX: Final = 17
_TIME_DIGITS: Final = 13
_ALL_SEEN: Final = 127
_QUOTE, _COMMA, _DOT, _ZERO, _NINE, _COLON, _ESCAPE, _CLOSE = b'",.09:\\}'
_TRUE = np.frombuffer(b"true", np.uint8).copy()
_FALSE = np.frombuffer(b"false", np.uint8).copy()
_EVENT, _ID, _PRICE, _QTY, _TIME, _MAKER, _SYMBOL = b"EapqTms"

_bytes = types.Array(types.uint8, 1, "C", readonly=True)
_ints = types.Array(types.int64, 1, "C")
_floats = types.Array(types.float64, 1, "C")
_table = types.Array(types.uint8, 2, "C")


@njit(cache=True, inline="always")
def _string_end(text: Bytes, at: int) -> int:
    """Where a plain ASCII string ends: at its quote, or at the byte that makes it no such thing."""
    while True:
        byte = text[at]
        if byte in (_QUOTE, _ESCAPE) or byte < 32 or byte > 126:
            return at
        at += 1


@njit(cache=True, inline="always")
def _behind(text: Bytes, at: int, word: Bytes) -> int:
    """Where `word` ends if it stands at `at`; −1 if it does not."""
    for byte in word:
        if text[at] != byte:
            return -1
        at += 1
    return at


@njit(cache=True)
def _flag_end(text: Bytes, at: int) -> int:
    """Behind `true` or `false`; −1 for anything else."""
    if text[at] == _TRUE[0]:
        return _behind(text, at, _TRUE)
    return _behind(text, at, _FALSE)


@njit(cache=True, inline="always")
def _whole(text: Bytes, at: int) -> tuple[int, int]:
    """(number, place behind it) of at most thirteen digits; (0, −1) for anything else."""
    start, value = at, 0
    while _ZERO <= text[at] <= _NINE:
        value = value * 10 + (text[at] - _ZERO)
        at += 1
        if at - start > _TIME_DIGITS:
            return 0, -1
    if at == start or (text[start] == _ZERO and at - start > 1):
        return 0, -1
    return value, at


@njit(cache=True, inline="always")
def _decimal(text: Bytes, at: int) -> tuple[float, int]:
    """(number, place behind it) of a quoted decimal whose digits and power of ten are both exact,
    which makes their quotient the nearest float; (0, −1) for anything else."""
    if text[at] != _QUOTE:
        return 0.0, -1
    at += 1
    start, value, digits = at, 0, 0
    while _ZERO <= text[at] <= _NINE and digits <= _DIGITS_MAX:
        value = value * 10 + (text[at] - _ZERO)
        digits += 1
        at += 1
    if digits == 0 or (text[start] == _ZERO and digits > 1):
        return 0.0, -1
    whole = digits
    if text[at] == _DOT:
        at += 1
        while _ZERO <= text[at] <= _NINE and digits <= _DIGITS_MAX:
            value = value * 10 + (text[at] - _ZERO)
            digits += 1
            at += 1
        if digits == whole:
            return 0.0, -1
    if text[at] != _QUOTE or digits > _DIGITS_MAX or value > _EXACT:
        return 0.0, -1
    return value / _POWERS[digits - whole], at + 1


@njit(cache=True, inline="always")
def _hash(text: Bytes, start: int, end: int) -> int:
    value = 5381
    for at in range(start, end):
        value = (value * 33 + text[at]) & 0xFFFFFFFF
    return value ^ (value >> 15)


@njit(cache=True)
def _find(text: Bytes, start: int, end: int, known: Table) -> int:
    """The slot of the symbol text[start:end] in an open table; −1 if it is not there."""
    names, widths, slots = known
    size = end - start
    mask = len(widths) - 1
    place = _hash(text, start, end) & mask
    while widths[place] >= 0:
        if widths[place] == size:
            same = 0
            while same < size and names[place, same] == text[start + same]:
                same += 1
            if same == size:
                return slots[place]
        place = (place + 1) & mask
    return -1


@njit(cache=True)
def _skipped(text: Bytes, at: int) -> int:
    """Behind a value that nobody needs: a plain string, a small whole number, true or false."""
    if text[at] == _QUOTE:
        at = _string_end(text, at + 1)
        return at + 1 if text[at] == _QUOTE else -1
    if _ZERO <= text[at] <= _NINE:
        return _whole(text, at)[1]
    return _flag_end(text, at)


@njit(cache=True)
def read_body(text: Bytes, at: int, index: int, found: Columns) -> tuple[int, int, int]:
    """The fields behind `"data":{`; answers (where its NUL is, symbol from, symbol to), the first
    of them −1 if the frame is to be handed back."""
    events, ids, times, prices, quantities = found
    seen, is_sale, start, stop = 0, False, 0, 0
    while True:
        if text[at] != _QUOTE:
            return -1, 0, 0
        end = _string_end(text, at + 1)
        if text[end] != _QUOTE or text[end + 1] != _COLON:
            return -1, 0, 0
        key = text[at + 1] if end == at + 2 else 0
        at, bit = end + 2, 0
        if key == _EVENT:
            events[index], at = _whole(text, at)
            bit = 1
        elif key == _ID:
            ids[index], at = _whole(text, at)
            bit = 2
        elif key == _PRICE:
            prices[index], at = _decimal(text, at)
            bit = 4
        elif key == _QTY:
            quantities[index], at = _decimal(text, at)
            bit = 8
        elif key == _TIME:
            times[index], at = _whole(text, at)
            bit = 16
        elif key == _MAKER:
            is_sale = text[at] == _TRUE[0]
            at = _flag_end(text, at)
            bit = 32
        elif key == _SYMBOL and text[at] == _QUOTE:
            start = at + 1
            stop = _string_end(text, start)
            at = stop + 1 if text[stop] == _QUOTE else -1
            bit = 64
        else:
            at = -1 if key == _SYMBOL else _skipped(text, at)
        if at < 0 or seen & bit:
            return -1, 0, 0
        seen |= bit
        if text[at] != _COMMA:
            break
        at += 1
    if seen != _ALL_SEEN or text[at] != _CLOSE or text[at + 1] != _CLOSE or text[at + 2] != 0:
        return -1, 0, 0
    if is_sale:
        quantities[index] = -quantities[index]
    return at + 2, start, stop


@njit(cache=True)
def _read_one(text: Bytes, at: int, index: int, known: Table, slots: Ints, found: Columns) -> int:
    """One frame; answers where its NUL is, −1 if the frame is to be handed back."""
    at = _behind(text, at, _HEAD)
    if at >= 0:
        at = _behind(text, _string_end(text, at), _DATA)
    if at < 0:
        return -1
    behind, start, stop = read_body(text, at, index, found)
    if behind >= 0:
        slots[index] = _find(text, start, stop, known)
    return behind if behind >= 0 and slots[index] >= 0 else -1


@njit(
    types.int64(
        _bytes, _table, _ints, _ints, _ints, _ints, _ints, _ints, _floats, _floats,
    ),
    cache=True,
)  # fmt: skip
def read(
    text: Bytes,
    names: Bytes,
    widths: Ints,
    owners: Ints,
    slots: Ints,
    events: Ints,
    ids: Ints,
    times: Ints,
    prices: Floats,
    quantities: Floats,
) -> int:
    """The trades of `text` (frames, a NUL after each, then `PAD`) into the arrays, one place each.

    `names` (rows of symbol bytes), `widths` (−1: empty) and `owners` (slots) are a table that
    `table` made. Quantities are negative where a taker sold; the slot is `UNREAD` where a frame was
    handed back. Answers the number of frames, −1 if there are more than the arrays have places.
    """
    at, count, end = 0, 0, len(text) - 8
    known = (names, widths, owners)
    found = (events, ids, times, prices, quantities)
    while at < end:
        if count == len(slots):
            return -1
        behind = _read_one(text, at, count, known, slots, found)
        if behind < 0:
            slots[count] = UNREAD
            behind = at
            while text[behind] != 0:
                behind += 1
        count += 1
        at = behind + 1
    return count


def table(slots: dict[str, int]) -> Table:
    """(names, widths, owners): the symbols by hash, at most half full."""
    keys = {name.encode(): slot for name, slot in slots.items()}
    size = 16
    while size < 2 * len(keys) + 2:
        size *= 2
    names = np.zeros((size, max(map(len, keys), default=1)), np.uint8)
    widths = np.full(size, -1, np.int64)
    owners = np.full(size, -1, np.int64)
    for key, slot in keys.items():
        text = np.frombuffer(key + PAD, np.uint8)
        place = _hash(text, 0, len(key)) & (size - 1)
        while widths[place] >= 0:
            place = (place + 1) & (size - 1)
        names[place, : len(key)] = text[: len(key)]
        widths[place], owners[place] = len(key), slot
    return names, widths, owners
