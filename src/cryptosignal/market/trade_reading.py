"""Waiting trade frames as arrays: compiled where numba is loaded, with msgspec otherwise, equally.

The switch is one for the process and changes no number; start-up never imports numba.
"""

from __future__ import annotations

from types import ModuleType
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from cryptosignal.market import frames
from cryptosignal.market.views import Ints

if TYPE_CHECKING:
    from cryptosignal.market.sorting import Sorting

_active: list[tuple[ModuleType, ModuleType]] = []


def enable() -> bool:
    """Load the compiled readers of trades and of frames; False where numba is not installed."""
    if not _active:
        try:
            from cryptosignal.market import compiled_frames, compiled_trades
        except ImportError:
            return False
        _active.append((compiled_trades, compiled_frames))
    return True


def frame_kernel() -> ModuleType | None:
    """The compiled sorter of frames; None while there is none."""
    return _active[0][1] if _active else None


def disable() -> None:
    """Back to msgspec (tests compare the two)."""
    _active.clear()


class Trades(NamedTuple):
    """Trades in the order they came: slot, event and trade time (exchange ms), id, price, quantity
    in base units, negative where a taker sold."""

    slots: Ints
    events: Ints
    ids: Ints
    times: Ints
    prices: NDArray[np.float64]
    quantities: NDArray[np.float64]

    def chosen(self, which: NDArray[np.bool_] | Ints) -> Trades:
        """A mask's trades, or those at these places."""
        return Trades(
            self.slots[which],
            self.events[which],
            self.ids[which],
            self.times[which],
            self.prices[which],
            self.quantities[which],
        )


class TradeReader:
    """Reads frames of the symbols that `know` told it of."""

    def __init__(self) -> None:
        self._slots: dict[str, int] = {}
        self._table: tuple[NDArray[np.uint8], Ints, Ints] | None = None

    def know(self, slots: dict[str, int]) -> None:
        """The symbols whose trades are wanted, and their slots."""
        self._slots = slots
        self._table = None

    def read(self, raw: list[bytes]) -> Trades:
        """The trades of `raw`, without the frames of another shape or symbol."""
        found = self._compiled(raw, _active[0][0]) if _active else self._decoded(raw)
        return _sound(found)

    def read_sorted(self, sorting: Sorting) -> Trades:
        """The same of the trades that compiled code took as they came."""
        return _sound(sorting.take_trades(self._decoded))

    def _compiled(self, raw: list[bytes], reader: ModuleType) -> Trades:
        count = len(raw)
        if self._table is None:
            self._table = reader.table(self._slots)
        text = np.frombuffer(b"\0".join([*raw, reader.PAD]), np.uint8)
        found = _room(count)
        if reader.read(text, *self._table, *found) != count:
            return self._decoded(raw)  # a NUL within a frame
        left = np.flatnonzero(found.slots == reader.UNREAD)
        if len(left):
            slow = self._decoded([raw[at] for at in left.tolist()])
            for column, values in zip(found, slow, strict=True):
                column[left] = values
        return found

    def _decoded(self, raw: list[bytes]) -> Trades:
        """One place a frame; the slot of a frame that is of no use is −1."""
        count = len(raw)
        found = _room(count)
        decoded = _all(raw)
        find = self._slots.get
        found.slots[:] = [find(one.s, -1) for one in decoded]
        found.events[:] = [one.E for one in decoded]
        found.ids[:] = [one.a for one in decoded]
        found.times[:] = [one.T for one in decoded]
        found.prices[:] = [one.p for one in decoded]
        found.quantities[:] = [-one.q if one.m else one.q for one in decoded]
        return found


def _sound(found: Trades) -> Trades:
    sound = found.slots >= 0
    return found if sound.all() else found.chosen(sound)


def one(slot: int, data: frames.TradeData) -> Trades:
    """A single trade."""
    found = _room(1)
    values = (slot, data.E, data.a, data.T, data.p, -data.q if data.m else data.q)
    for column, value in zip(found, values, strict=True):
        column[0] = value
    return found


def _all(raw: list[bytes]) -> list[frames.TradeData]:
    """One bad frame must not cost its neighbours: it alone reads as `_NOTHING`."""
    try:
        whole = frames.TRADES.decode(b"[" + b",".join(raw) + b"]")
    except (msgspec.DecodeError, UnicodeDecodeError):
        return [_alone(frame) for frame in raw]
    if len(whole) != len(raw):
        return [_alone(frame) for frame in raw]
    return [one.data for one in whole]


def _alone(frame: bytes) -> frames.TradeData:
    try:
        return frames.TRADE.decode(frame).data
    except (msgspec.DecodeError, UnicodeDecodeError):
        return _NOTHING


def _room(count: int) -> Trades:
    ints = np.empty((4, count), np.int64)
    floats = np.empty((2, count))
    return Trades(*ints, *floats)


_NOTHING: Final = frames.TradeData(E=0, a=0, p=0.0, q=0.0, T=0, m=False)
