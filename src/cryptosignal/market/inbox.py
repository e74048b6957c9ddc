"""The inbox: raw frames sorted to their streams with as little work a frame as possible (D1).

A frame costs one dictionary look-up of a fixed slice and one append; everything else happens a
batch at a time. The slice starts where the combined envelope puts the stream's name; a slice is
trusted only if the whole name with its closing quote lies inside it. Where the event time stands
in a frame is measured once for each stream and checked again on use; frames of any other shape
take the slow road and arrive all the same.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import cache, partial
from operator import itemgetter
from typing import Final

import msgspec

from cryptosignal.market import frames, trade_reading
from cryptosignal.market.sorting import Sorting
from cryptosignal.streams import names

Pick = Callable[[bytes], bytes]
"""Cuts thirteen digits out of a frame."""

LOOKS_MANY: Final = 2_048
KEY_START: Final = 11
KEY_END: Final = 43
_KEYS_PER_STREAM: Final = 4
_DIGITS: Final = 13
_EVENT = re.compile(rb'"E"\s*:\s*(\d{13})\b')
_OPEN = re.compile(rb'"k"\s*:\s*\{\s*"t"\s*:\s*(\d{13})\b')
_FINAL = re.compile(rb'"x"(\s*:\s*)(?:true|false)')
_NO_CUT: Final = itemgetter(slice(0, _DIGITS), slice(0, _DIGITS))
_NEWEST_ONLY: Final = frozenset({names.PARTIAL, names.MARK, names.BEST, names.OTHER})
_NAME = re.compile(rb'\s*\{\s*"stream"\s*:\s*"([^"\\]+)"\s*,\s*"data"\s*:')
_DATA_TIGHT: Final = (b'","data":{"', b'","data":[{"')
_LEAD: Final = 4


@cache
def _pick(at: int) -> Pick:
    """Shared by all streams of one layout, so that it stays in the processor's cache."""
    return itemgetter(slice(at, at + _DIGITS))


@cache
def _pick_two(first: int, second: int) -> Callable[[bytes], tuple[bytes, bytes]]:
    """Two numbers in one call."""
    return itemgetter(slice(first, first + _DIGITS), slice(second, second + _DIGITS))


class Stream:
    """One stream as the inbox sees it: its newest frame, its waiting ones, what was seen of it.

    `newest` is the newest raw frame, `fresh` how many came since the flush, `queue` what the flush
    must look at one by one (one list for the trades of all). `event` is the newest event time as
    ASCII digits, `event_cap` bounds what is believed as one without a look, `open` is the bar that
    is going on, from `close_from` on an event may be its last. `last_ms` is when frames last came;
    `count` and `inversions` run since the start. `event_at`/`open_at` are byte positions (0: not
    known), `final_at` is where the word that tells a closed bar was seen last. `row` is the stream's
    in the tables of compiled code, −1 without.
    """

    __slots__ = (
        "close_from",
        "count",
        "cut",
        "event",
        "event_at",
        "event_cap",
        "event_lead",
        "event_of",
        "final_at",
        "final_mark",
        "fresh",
        "going_mark",
        "has_spoken",
        "interval",
        "inversions",
        "is_broken",
        "is_closed",
        "is_ordered",
        "is_wanted",
        "keys",
        "kind",
        "last_ms",
        "last_trade_id",
        "lost_open",
        "misses",
        "name",
        "newest",
        "open",
        "open_at",
        "open_lead",
        "open_of",
        "queue",
        "row",
        "slot",
        "symbol",
        "take",
    )

    def __init__(
        self, name: str, slot: int, parsed: names.StreamName, queue: list[bytes] | None = None
    ) -> None:
        self.name = name
        self.kind = parsed.kind
        self.symbol = parsed.symbol
        self.interval = parsed.interval
        self.slot = slot
        self.row = -1
        self.queue: list[bytes] = [] if queue is None else queue
        self.newest: bytes | None = None
        self.event = b""
        self.event_cap = b""
        self.event_at = 0
        self.event_lead = b""
        self.fresh = 0
        self.cut: Callable[[bytes], tuple[bytes, bytes]] = _NO_CUT
        self.take: Callable[[bytes], None] = self._take_of(parsed.kind)
        self.event_of: Pick = itemgetter(slice(0, _DIGITS))
        self.open_of: Pick = itemgetter(slice(0, _DIGITS))
        self.is_ordered = True
        self.open = b""
        self.close_from = b""
        self.open_at = 0
        self.open_lead = b""
        self.final_mark = b'"x":true'
        self.going_mark = b'"x":false'
        self.final_at = 0
        self.is_closed = False
        self.is_broken = False
        self.has_spoken = False
        self.count = 0
        self.inversions = 0
        self.last_ms = 0
        self.keys = 0
        self.is_wanted = False
        self.last_trade_id = -1
        self.lost_open = b""
        self.misses = 0

    # ---- the hot path: one frame of a known stream ----------------------------------------------
    def _take_of(self, kind: str) -> Callable[[bytes], None]:
        if kind == names.KLINE:
            return self._take_kline
        return self._take_newest if kind in _NEWEST_ONLY else self.queue.append

    def _take_kline(self, frame: bytes) -> None:
        """The bar goes on: keep the newest frame. All else (a turn, an older frame, another shape)
        waits in the queue for the flush."""
        event, opened = self.cut(frame)
        if opened == self.open and self.event <= event < self.close_from:
            self.event = event
            self.newest = frame
            self.fresh += 1
        else:
            self.queue.append(frame)

    def _take_newest(self, frame: bytes) -> None:
        """Keep the newest frame; older ones and other shapes wait for the flush."""
        event = self.event_of(frame)
        if self.event <= event < self.event_cap:
            self.event = event
            self.newest = frame
            self.fresh += 1
        else:
            self.queue.append(frame)
            self.event_cap = b""  # what comes next must not overtake it

    def is_final(self, frame: bytes) -> bool:
        """Whether a kline frame says that its bar is closed; mostly told by one comparison, since
        the place of the word moves only as the figures before it grow."""
        if frame.startswith(self.going_mark, self.final_at):
            return False
        at = frame.find(self.going_mark, self.open_at)
        if at > 0:
            self.final_at = at
            return False
        return self.final_mark in frame

    @property
    def lag_ms(self) -> int:
        """Newest event to cache, ms by the local clock; 0 before anything was heard."""
        return self.last_ms - int(self.event) if self.event.isdigit() else 0

    def measure(self, frame: bytes) -> bool:
        """Learn where event and open time stand; False if the frame has none there."""
        found = _EVENT.search(frame)
        if found is None:
            return False
        self.event_at = found.start(1)
        self.event_lead = frame[self.event_at - _LEAD : self.event_at]
        self.event_of = _pick(self.event_at)
        if self.kind != names.KLINE:
            return True
        opened = _OPEN.search(frame)
        final = _FINAL.search(frame)
        if opened is None or final is None:
            return False
        self.open_at = opened.start(1)
        self.open_lead = frame[self.open_at - _LEAD : self.open_at]
        self.open_of = _pick(self.open_at)
        self.cut = _pick_two(self.event_at, self.open_at)
        self.final_mark = b'"x"' + final.group(1) + b"true"
        self.going_mark = b'"x"' + final.group(1) + b"false"
        self.final_at = final.start()
        return True

    def event_in(self, frame: bytes) -> bytes:
        """The event time of a frame of any layout, as digits; empty if it has none."""
        if self.fits(frame):
            return self.event_of(frame)
        found = _EVENT.search(frame)
        return b"" if found is None else found.group(1)

    def fits(self, frame: bytes) -> bool:
        """Whether the frame has its times where `measure` found them."""
        if not self.event_at or not frame.startswith(self.event_lead, self.event_at - _LEAD):
            return False
        if self.kind != names.KLINE:
            return True
        return self.open_at > 0 and frame.startswith(self.open_lead, self.open_at - _LEAD)


class Inbox:
    """Streams by name, and the frames that wait for the next flush.

    `slot_of(symbol)` gives the symbol's slot, -1 for whole-market streams.
    """

    def __init__(self, slot_of: Callable[[str], int]) -> None:
        self._slot_of = slot_of
        self.takes: dict[bytes, Callable[[bytes], None]] = {}
        self.trades: list[bytes] = []
        """Trades of all symbols that wait to be decoded together."""
        self.streams: dict[str, Stream] = {}
        self.by_kind: dict[str, list[Stream]] = {}
        self.raw_frames = 0
        self.malformed = 0
        self.looks = 0
        """Frames since the flush that had to be looked at one by one."""
        self.sorting: Sorting | None = None
        """The tables of compiled code, where it sorts."""

    # ---- compiled sorting -----------------------------------------------------------------------
    def compiled(self) -> Sorting | None:
        """The tables of compiled code, from now on the only one to keep newest frames: what comes
        any other way waits for the flush. None without compiled code."""
        kernel = trade_reading.frame_kernel()
        if self.sorting is None and kernel is not None:
            self.sorting = Sorting(kernel)
            for frame in self.trades:
                self.sorting.trades.append(frame)
            self.trades = self.sorting.trades
            self.takes.clear()
            for stream in self.streams.values():
                self._hand_over(stream, self.sorting)
        return self.sorting

    def _hand_over(self, stream: Stream, sorting: Sorting) -> None:
        stream.keys = 0
        if stream.kind == names.TRADE:
            stream.queue = self.trades
            stream.take = self.trades.append
        else:
            stream.take = partial(sorting.put_aside, stream)
        sorting.learn(stream)

    @property
    def needs_flush(self) -> bool:
        """Whether so many frames had to be looked at one by one that a flush should not wait: what
        it learns lets compiled code take the next ones."""
        return self.sorting is not None and self.looks >= LOOKS_MANY

    @property
    def trades_waiting(self) -> int:
        """Trades that wait to be taken."""
        return len(self.trades) if self.sorting is None else self.sorting.trades_waiting

    def collect(self) -> None:
        """Let every stream have its newest frame, wherever it is kept."""
        if self.sorting is not None:
            self.sorting.collect()

    def learn(self, stream: Stream) -> None:
        """What is known of a stream changed."""
        if self.sorting is not None:
            self.sorting.learn(stream)

    def release(self, stream: Stream) -> None:
        """The next frame of a stream must be looked at, whatever it is."""
        if self.sorting is not None:
            self.sorting.release(stream)

    # ---- frames one by one ----------------------------------------------------------------------
    def stream(self, name: str) -> Stream:
        """The stream of that name, made on first sight."""
        known = self.streams.get(name)
        if known is not None:
            return known
        parsed = names.parse(name)
        slot = self._slot_of(parsed.symbol) if parsed.symbol else -1
        shared = self.trades if parsed.kind == names.TRADE else None
        made = Stream(name, slot, parsed, shared)
        self.streams[name] = made
        self.by_kind.setdefault(made.kind, []).append(made)
        if self.sorting is not None:
            self._hand_over(made, self.sorting)
        return made

    def absorb(self, batch: Sequence[bytes]) -> list[bytes]:
        """Put every frame to its stream; the answer holds what is no stream's (replies, noise)."""
        takes = self.takes
        self.looks += len(batch)
        strays: list[bytes] = []
        for frame in batch:
            try:
                takes[frame[11:43]](frame)
            except KeyError:
                if not self._slow(frame):
                    strays.append(frame)
        return strays

    def put(self, frame: bytes) -> bool:
        """One frame; False if it is no stream's."""
        take = self.takes.get(frame[11:43])
        if take is not None:
            take(frame)
            return True
        return self._slow(frame)

    def _slow(self, frame: bytes) -> bool:
        found = _NAME.match(frame)
        if found is not None and frame.startswith(_DATA_TIGHT, found.end(1)):
            stream = self.stream(found.group(1).decode("utf-8", "replace"))
            self._remember(stream, frame, found.end(1))
            (stream.queue.append if self.sorting is None else stream.take)(frame)
            return True
        rebuilt = self._rebuild(frame)
        if rebuilt is None:
            return False
        name, whole = rebuilt
        self.raw_frames += 1
        self.stream(name).take(whole)
        return True

    def _remember(self, stream: Stream, frame: bytes, name_end: int) -> None:
        """Trust the fixed slice for this stream, if it holds the whole name and its quote."""
        if name_end + 1 > KEY_END or stream.keys >= _KEYS_PER_STREAM:
            return
        stream.keys += 1
        self.takes[frame[KEY_START:KEY_END]] = stream.take

    def _rebuild(self, frame: bytes) -> tuple[str, bytes] | None:
        """A raw frame, or an envelope with its keys in another order, in the usual envelope."""
        if not frame.startswith((b"{", b"[", b" ", b"\n", b"\t")):
            self.malformed += 1
            return None
        name, data = "", frame
        if b'"stream"' in frame:
            try:
                envelope = frames.ENVELOPE.decode(frame)
            except (msgspec.DecodeError, UnicodeDecodeError):
                pass
            else:
                name, data = envelope.stream, bytes(envelope.data)
        name = name or self._raw_name(frame)
        if not name:
            return None
        if b" " in data or b"\n" in data:
            data = msgspec.json.format(data, indent=-1)  # one layout a stream, whoever printed it
        return name, b'{"stream":"' + name.encode() + b'","data":' + data + b"}"

    def _raw_name(self, frame: bytes) -> str:
        """The stream that a raw frame belongs to, \"\" if it is no market event."""
        try:
            if frame.lstrip().startswith(b"["):
                heads = frames.HEADS.decode(frame)
                return _ARRAY_EVENTS.get(heads[0].e, "") if heads else ""
            head = frames.HEAD.decode(frame)
        except (msgspec.DecodeError, UnicodeDecodeError):
            self.malformed += 1
            return ""
        symbol = head.s.lower()
        if head.e == "forceOrder":
            return names.FORCE_ORDER_STREAM
        if not symbol:
            return ""
        if head.e == "kline" and head.k is not None:
            return names.kline(symbol, head.k.i)
        if head.e == "depthUpdate":
            diff = f"{symbol}@depth@100ms"
            return diff if diff in self.streams else f"{symbol}@depth20@100ms"
        suffix = _RAW_EVENTS.get(head.e, "")
        return f"{symbol}@{suffix}" if suffix else ""


_ARRAY_EVENTS: Final = {
    "markPriceUpdate": names.MARK_ARRAY_STREAM,
    "24hrTicker": names.TICKER_ARRAY_STREAM,
}
_RAW_EVENTS: Final = {
    "aggTrade": "aggTrade",
    "markPriceUpdate": "markPrice@1s",
    "24hrTicker": "ticker",
    "bookTicker": "bookTicker",
}
