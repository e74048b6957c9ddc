"""The market on the tape: what the memory was told besides frames, and the memory made from it again.

The board is a function of raw frames and of the calls that load, close, repair and doubt (D1, D3). A
run that keeps a tape lays those calls on it in their order, between the frames; whoever takes the tape
from its first entry has the same board and the same DataQual at each position (D2).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final

import msgspec
import numpy as np

from cryptosignal.domain.events import QualityChanged
from cryptosignal.domain.instrument import Instrument
from cryptosignal.domain.market import BarSource, MarkPrice
from cryptosignal.ground.faults import UserFault
from cryptosignal.market.board import Board
from cryptosignal.market.settings import MarketSettings
from cryptosignal.market.views import Floats
from cryptosignal.quality.score import QualityBook
from cryptosignal.quality.settings import QualitySettings
from cryptosignal.store.tape import CALL, FRAME, TapeFrame

Tell = Callable[[bytes], None]

_ROW_FIELDS: Final = 11
_BOARD_CALLS: Final = (
    "expect", "forget", "mark_lost", "flush", "take_many_trades", "close_due", "repair_locally",
    "load_history", "load_spot", "load_open_interest", "load_funding", "load_marks", "load_ticker",
    "load_book", "restart_book", "set_universe", "set_overlay", "set_synthetic_flow", "note_checks",
    "note_compared", "forget_lateness", "confirm_sum",
)  # fmt: skip
_SLOT: Final = "slot"
_QUALITY: Final = "quality."


class TapedBoard(Board):
    """A board that tells `tell` every call that changes it, before it is made."""

    def __init__(self, settings: MarketSettings, capacity: int, tell: Tell) -> None:
        self._tell = tell
        self._depth = 0
        super().__init__(settings, capacity)

    def slot(self, symbol: str) -> int:
        """See `Board`; a new symbol is told, since slots are counted in order of sight."""
        before = len(self.symbols)
        made = super().slot(symbol)
        if made == before:
            self._tell(_packed(_SLOT, (self.symbols[made],), {}))
        return made


class TapedQuality(QualityBook):
    """DataQual that tells `tell` what it heard."""

    def __init__(self, settings: QualitySettings, capacity: int, tell: Tell) -> None:
        super().__init__(settings, capacity)
        self._tell = tell

    def on_bar(self, slot: int, interval: str, now_ms: int) -> None:
        """See `QualityBook`."""
        self._tell(_packed("quality.on_bar", (slot, interval, now_ms), {}))
        super().on_bar(slot, interval, now_ms)

    def on_silence(self, board: Board, dead: Iterable[str]) -> None:
        """See `QualityBook`."""
        listed = tuple(dead)
        self._tell(_packed("quality.on_silence", (listed,), {}))
        super().on_silence(board, listed)

    def on_lost(self, board: Board, names: Iterable[str]) -> None:
        """See `QualityBook`."""
        listed = tuple(names)
        self._tell(_packed("quality.on_lost", (listed,), {}))
        super().on_lost(board, listed)

    def on_rest(self, slot: int, now_ms: int) -> None:
        """See `QualityBook`."""
        self._tell(_packed("quality.on_rest", (slot, now_ms), {}))
        super().on_rest(slot, now_ms)

    def refresh(self, board: Board, now_ms: int) -> list[QualityChanged]:
        """See `QualityBook`."""
        self._tell(_packed("quality.refresh", (now_ms,), {}))
        return super().refresh(board, now_ms)


def _told(name: str) -> Callable[..., Any]:
    """The board's method of that name, told once: what it calls of itself follows from it."""
    method = getattr(Board, name)

    def call(self: TapedBoard, *given: Any, **named: Any) -> Any:
        kept = tuple(map(_kept, given))
        if not self._depth:
            self._tell(_packed(name, kept, named))
        self._depth += 1
        try:
            return method(self, *kept, **named)
        finally:
            self._depth -= 1

    call.__name__, call.__doc__ = name, method.__doc__
    return call


for _name in _BOARD_CALLS:
    setattr(TapedBoard, _name, _told(_name))


class Film:
    """Board and DataQual as they were at any position of a tape, forwards only.

    `reel` are the entries of a tape from the first on. Raises UserFault for a call that this
    version does not know.
    """

    def __init__(
        self,
        reel: Iterator[TapeFrame],
        market: MarketSettings,
        quality: QualitySettings,
        capacity: int,
    ) -> None:
        self.board = Board(market, capacity)
        self.quality = QualityBook(quality, capacity)
        self.position = 0
        self._reel = reel
        self._next: TapeFrame | None = None
        self._symbols: list[str] = []

    def advance(self, position: int) -> bool:
        """Take everything up to and with `position`; False if the tape does not hold it all."""
        while self.position < position:
            entry = self._next or next(self._reel, None)
            if entry is None or entry.position != self.position + 1:
                self._next = entry
                return False
            self._next = None
            self._take(entry)
            self.position = entry.position
        return True

    def _take(self, entry: TapeFrame) -> None:
        if entry.kind == FRAME:
            self.board.absorb([entry.payload])
        elif entry.kind == CALL:
            name, given, named = _UNPACK.decode(entry.payload)
            self._call(name, given, named)

    def _call(self, name: str, given: list[Any], named: dict[str, Any]) -> None:
        if name == _SLOT:
            self._symbols.append(given[0])
            self.board.slot(given[0])
            return
        if name in _BY_SLOT:
            given[0] = self._slot(given[0])
        elif name == "note_checks":
            given = [[self._slot(slot) for slot in slots] for slots in given]
        elif name in _READ:
            given = _READ[name](given)
        if name.startswith(_QUALITY):
            method = name.removeprefix(_QUALITY)
            seen = (self.board,) if method in _SEEING else ()
            getattr(self.quality, method)(*seen, *given)
        elif name in _BOARD_CALLS:
            getattr(self.board, name)(*given, **named)
        else:
            raise UserFault(f"tape: found {name!r}, allowed: what this version knows of the market")

    def _slot(self, theirs: int) -> int:
        """The slot of the symbol that had slot `theirs` then."""
        return self.board.slot(self._symbols[theirs])


# ---- bytes --------------------------------------------------------------------------------------
class _Matrix(msgspec.Struct, frozen=True, gc=False):
    """Numbers as they lie in memory (little-endian float64)."""

    f8: bytes


def _kept(given: Any) -> Any:
    """What can be told and used alike: anything that can be iterated only once becomes a tuple."""
    plain = isinstance(given, str | bytes | np.ndarray | msgspec.Struct | BarSource)
    return given if plain or not isinstance(given, Iterable) else tuple(given)


def _plain(given: Any) -> Any:
    if isinstance(given, np.ndarray):
        return _Matrix(np.ascontiguousarray(given, "<f8").tobytes())
    if isinstance(given, np.generic):
        return given.item()
    raise TypeError(f"not for the tape: {type(given).__name__}")


_PACK: Final = msgspec.msgpack.Encoder(enc_hook=_plain)
_UNPACK: Final = msgspec.msgpack.Decoder(tuple[str, list[Any], dict[str, Any]])


def _packed(name: str, given: Sequence[Any], named: dict[str, Any]) -> bytes:
    return _PACK.encode((name, given, named))


def _matrix(found: Any) -> Floats:
    table = np.frombuffer(found["f8"], "<f8").astype(np.float64)
    return table.reshape(-1, _ROW_FIELDS)


def _history(given: list[Any]) -> list[Any]:
    symbol, interval, rows, now_ms, source = given
    return [symbol, interval, _matrix(rows), now_ms, BarSource(source)]


def _as(kind: Any) -> Callable[[list[Any]], list[Any]]:
    """The first argument as a list of `kind`."""
    return lambda given: [msgspec.convert(given[0], list[kind], builtin_types=()), *given[1:]]


def _book(given: list[Any]) -> list[Any]:
    symbol, last_id, *sides, event_ms = given
    return [symbol, last_id, *([tuple(level) for level in side] for side in sides), event_ms]


_READ: Final[dict[str, Callable[[list[Any]], list[Any]]]] = {
    "load_history": _history,
    "load_spot": lambda given: [given[0], _matrix(given[1]), given[2]],
    "load_marks": _as(MarkPrice),
    "set_universe": _as(Instrument),
    "load_book": _book,
}
_BY_SLOT: Final = frozenset(
    {"note_compared", "restart_book", "confirm_sum", "quality.on_bar", "quality.on_rest"}
)
_SEEING: Final = frozenset({"on_silence", "on_lost", "refresh"})
