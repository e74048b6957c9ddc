"""The tables by which compiled code sorts the frames of a read (`compiled_frames`), and their keeper.

A stream has a row of numbers, its name and a room for its newest frame in one line of bytes; a trade
has a place in columns. The flush brings in what was kept (`collect`) and teaches the rows what it
learned of a stream whose frames it looked at one by one (`learn`); a row that is not taught hands
its frames back. Without compiled code there is no `Sorting`, and frames come one by one.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from cryptosignal.market.trade_reading import Trades
from cryptosignal.streams import names

if TYPE_CHECKING:
    from cryptosignal.market.inbox import Stream

Bytes = NDArray[np.uint8]
Ints = NDArray[np.int64]

(
    MODE, EVENT, TOP, OPEN, EVENT_AT, EVENT_LEAD, OPEN_AT, OPEN_LEAD, FINAL_AT, FRESH, PLACE, ROOM,
    SIZE, NAME, NAME_SIZE, SYMBOL, SYMBOL_SIZE, SLOT, _WIDTH,
) = range(19)  # fmt: skip
"""The columns of a row. Times are ms, positions count from the frame's start, places from that of
the line of bytes; `TOP` is the first event time that is not believed without a look."""
ASIDE, NEWEST, KLINE, TRADE = range(4)
"""Modes of a row: hand all back, keep the newest, keep the newest of a bar, read every one."""
TOUCHED, TRADES = range(2)
"""Counts: rows with something new, trades in the columns."""
UNREAD: Final = -2
"""The slot of a trade that was handed back: its place waits for it."""
PAD: Final = 16
"""Spare bytes behind what is read into."""

_ASIDE_MAX: Final = 2_048
_ROWS: Final = 1_024
_TRADES: Final = 8_192
_LETTERS: Final = 1 << 16
_GRAIN: Final = 64
_NAME_MIN: Final = 8
_MODES: Final = {
    names.KLINE: KLINE,
    names.TRADE: TRADE,
    names.PARTIAL: NEWEST,
    names.MARK: NEWEST,
    names.BEST: NEWEST,
    names.OTHER: NEWEST,
}


class Sorting:
    """Rows, rooms and columns; `kernel` is `compiled_frames`."""

    def __init__(self, kernel: ModuleType) -> None:
        self._kernel = kernel
        self._streams: list[Stream] = []
        self._used = 0
        self._rows: Ints = np.zeros((_ROWS, _WIDTH), np.int64)
        self._touched: Ints = np.zeros(_ROWS, np.int64)
        self._letters: Bytes = np.zeros(_LETTERS, np.uint8)
        self._view = self._letters.data
        self._index: Ints = np.full(4 * _ROWS, -1, np.int64)
        self._counts: Ints = np.zeros(2, np.int64)
        self._aside: Ints = np.zeros((_ASIDE_MAX, 3), np.int64)
        self._whole: Ints = np.zeros((4, _TRADES), np.int64)
        self._figures = np.zeros((2, _TRADES))
        self.trades = Waiting(self)
        self._tables: tuple[NDArray[np.generic], ...] = ()
        self._tie()

    def _tie(self) -> None:
        self._tables = (
            self._rows, self._index, self._letters, self._touched, self._aside, self._counts,
            self._whole, self._figures,
        )  # fmt: skip

    # ---- a read -------------------------------------------------------------------------------
    def take(
        self, memory: memoryview, text: Bytes, start: int, end: int,
        is_sorted: bool, put_aside: Callable[[bytes], None],
    ) -> tuple[int, int, int, int]:  # fmt: skip
        """Take the messages of text[start:end] (`memory` is the same); those of no known stream, and
        all while not `is_sorted`, go to `put_aside`. Answers (where it stopped, bytes of the frame
        there that is for the transport, messages taken, those of them that wait for a look): 0 bytes
        if that frame is not complete, −1 if no frame may stand there."""
        total = looks = 0
        strays: list[bytes] = []
        while True:
            start, left, taken, given = self._kernel.take(
                text, start, end, is_sorted, *self._tables
            )
            total += taken
            for row, at, size in self._aside[:given].tolist() if given else ():
                frame = memory[at : at + size].tobytes()
                if row < 0:
                    strays.append(frame)
                    continue
                looks += 1
                self._hand_back(self._streams[row], frame)
            if left != _FULL:
                break
            if self._counts[TRADES] == self._whole.shape[1]:
                self._widen()
        for frame in strays:  # last: whoever hears of them may want to take the trades
            put_aside(frame)
        return start, left, total + looks, looks

    def _hand_back(self, stream: Stream, frame: bytes) -> None:
        if stream.kind == names.TRADE:
            self.trades.fill(frame)
        else:
            stream.queue.append(frame)

    # ---- trades -------------------------------------------------------------------------------
    def reserve(self) -> None:
        """A place for a trade that somebody else reads."""
        place = int(self._counts[TRADES])
        if place == self._whole.shape[1]:
            self._widen()
        self._whole[0, place] = UNREAD
        self._counts[TRADES] = place + 1

    def _widen(self) -> None:
        self._whole = np.concatenate([self._whole, np.zeros_like(self._whole)], 1)
        self._figures = np.concatenate([self._figures, np.zeros_like(self._figures)], 1)
        self._tie()

    @property
    def trades_waiting(self) -> int:
        """Trades since the last `take_trades`."""
        return int(self._counts[TRADES])

    def take_trades(self, decode: Callable[[list[bytes]], Trades]) -> Trades:
        """The trades that wait, in order, for use at once: their places are given out again.
        `decode` reads those that were handed back, a place a frame."""
        count = self.trades_waiting
        found = Trades(*self._whole[:, :count], *self._figures[:, :count])
        if self.trades:
            left = np.flatnonzero(found.slots == UNREAD)
            for column, values in zip(found, decode(self.trades), strict=True):
                column[left] = values
        self.trades.clear()
        self._counts[TRADES] = 0
        return found

    # ---- between two reads --------------------------------------------------------------------
    def collect(self) -> None:
        """Hand each stream its newest frame and how many came since the last time."""
        count = int(self._counts[TOUCHED])
        if not count:
            return
        self._counts[TOUCHED] = 0
        touched = self._touched[:count]
        kept = self._rows[touched][:, _KEPT].tolist()
        self._rows[touched, FRESH] = 0
        streams, view = self._streams, self._view
        for row, (fresh, place, size) in zip(touched.tolist(), kept, strict=True):
            stream = streams[row]
            frame = view[place : place + size].tobytes()
            stream.newest = frame
            stream.event = stream.event_of(frame)
            stream.fresh += fresh

    def put_aside(self, stream: Stream, frame: bytes) -> None:
        """A frame that came some other way: it waits for the flush, and so do those after it."""
        self.release(stream)
        stream.queue.append(frame)

    def release(self, stream: Stream) -> None:
        """Hand its frames back until it is taught anew."""
        if stream.row >= 0:
            self._rows[stream.row, MODE] = ASIDE

    def learn(self, stream: Stream) -> None:
        """Teach the stream's row what is known of it now."""
        mode = _MODES.get(stream.kind, ASIDE)
        if stream.row < 0:
            self._add(stream)
        elif mode in (ASIDE, TRADE):
            return
        if stream.row >= 0 and mode in (NEWEST, KLINE):
            self._teach(stream, mode)

    def _teach(self, stream: Stream, mode: int) -> None:
        row = self._rows[stream.row]
        row[MODE] = ASIDE
        frame = stream.newest
        top = stream.close_from if mode == KLINE else stream.event_cap
        if frame is None or not stream.fits(frame) or not (stream.event + top).isdigit():
            return
        if len(stream.event) != _DIGITS or len(top) != _DIGITS:
            return
        if mode == KLINE:
            if not stream.open.isdigit() or stream.going_mark != _GOING_MARK:
                return
            row[OPEN], row[OPEN_AT] = int(stream.open), stream.open_at
            row[OPEN_LEAD] = int.from_bytes(stream.open_lead, "little")
            row[FINAL_AT] = stream.final_at
        if len(frame) > row[ROOM]:
            self._move(stream, len(frame))
            row = self._rows[stream.row]
        row[EVENT], row[TOP] = int(stream.event), int(top)
        row[EVENT_AT] = stream.event_at
        row[EVENT_LEAD] = int.from_bytes(stream.event_lead, "little")
        row[MODE] = mode

    def _add(self, stream: Stream) -> None:
        name = stream.name.encode()
        if len(name) < _NAME_MIN:
            return
        row = len(self._streams)
        if row == len(self._rows):
            self._rows = np.concatenate([self._rows, np.zeros_like(self._rows)])
            self._touched = np.concatenate([self._touched, np.zeros_like(self._touched)])
            self._index = np.full(2 * len(self._index), -1, np.int64)
            for known in self._streams:
                self._enter(known.name.encode(), known.row)
        self._streams.append(stream)
        stream.row = row
        self._enter(name, row)
        symbol = stream.symbol.upper().encode()
        self._rows[row, NAME], self._rows[row, NAME_SIZE] = self._write(name), len(name)
        self._rows[row, SYMBOL], self._rows[row, SYMBOL_SIZE] = self._write(symbol), len(symbol)
        self._rows[row, SLOT] = stream.slot
        self._rows[row, MODE] = TRADE if stream.kind == names.TRADE else ASIDE
        self._tie()

    def _enter(self, name: bytes, row: int) -> None:
        mask = len(self._index) - 1
        place = self._kernel.hash_of(np.frombuffer(bytearray(name), np.uint8)) & mask
        while self._index[place] >= 0:
            place = (place + 1) & mask
        self._index[place] = row

    def _write(self, text: bytes) -> int:
        place = self._room(len(text))
        self._letters[place : place + len(text)] = np.frombuffer(text, np.uint8)
        return place

    def _room(self, size: int) -> int:
        """A place for `size` bytes in the line of bytes."""
        place = self._used
        self._used += size
        if self._used > len(self._letters):
            more = max(len(self._letters) // 2, self._used - len(self._letters))
            self._letters = np.concatenate([self._letters, np.zeros(more, np.uint8)])
            self._view = self._letters.data
            self._tie()
        return place

    def _move(self, stream: Stream, size: int) -> None:
        """A room with some to spare: figures grow. What the old one holds was collected."""
        room = (size + size // 8 + _GRAIN) // _GRAIN * _GRAIN
        self._rows[stream.row, PLACE] = self._room(room)
        self._rows[stream.row, ROOM] = room


class Waiting(list[bytes]):
    """Trades that the kernel does not read; each has a place between those that it does."""

    def __init__(self, sorting: Sorting) -> None:
        super().__init__()
        self._sorting = sorting

    def append(self, frame: bytes) -> None:
        """One that came some other way: its place is the next."""
        super().append(frame)
        self._sorting.reserve()

    def fill(self, frame: bytes) -> None:
        """One that has its place."""
        super().append(frame)


_FULL: Final = -2
_DIGITS: Final = 13
_GOING_MARK: Final = b'"x":false'
_KEPT: Final = [FRESH, PLACE, SIZE]
