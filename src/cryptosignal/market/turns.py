"""When a kline stream turns from one bar to the next: which bar is final, and how sure that is (D7).

Trade ids prove more than time does: if the next bar's first trade id follows the last one we saw,
no trade of the bar escaped us; if bars lie between, they had no trade and are flat. Without ids the
next bar's first event confirms, as D7 says.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import itemgetter
from typing import Final

from cryptosignal.market import frames, klines
from cryptosignal.market.inbox import Stream
from cryptosignal.market.klines import Klines, Row
from cryptosignal.market.views import CLOSED_BY_TIME, CONFIRMED

_EARLY_MS: Final = 1_000
"""A final frame says that it was made this long before the bar's end, or later."""


class KlineTurns:
    """Takes waiting frames of kline streams; closes bars in `Klines`.

    `suspects` are bars that were closed although trades may be missing from them, for REST to
    settle: {(slot, interval, open_ms)}.
    """

    def __init__(self, klines_of: Callable[[str], Klines]) -> None:
        self._klines_of = klines_of
        self._shared: dict[str, tuple[bytes, bytes]] = {}
        self.suspects: set[tuple[int, str, int]] = set()
        self._malformed = 0

    def take(self, stream: Stream, queue: list[bytes], now_ms: int) -> int:
        """Bring a stream up to its newest frame; answers the frames that were unreadable."""
        self._malformed = 0
        frame = queue[-1]
        if not stream.is_ordered or not stream.fits(frame):
            self._disordered(stream, queue, now_ms)
        elif stream.open_of(frame) != stream.open or any(stream.final_mark in one for one in queue):
            self._ordered(stream, queue, now_ms)
        else:
            stream.newest = frame
        return self._malformed

    def _ordered(self, stream: Stream, queue: list[bytes], now_ms: int) -> None:
        """Frames in event order: of each bar only the last one matters; a final frame is the last,
        whatever comes after it."""
        last: dict[bytes, bytes] = {}
        for opened, frame in zip(map(stream.open_of, queue), queue, strict=True):
            if stream.final_mark not in last.get(opened, b""):
                last[opened] = frame
        for frame in last.values():
            self._turn(stream, frame, now_ms)

    def _disordered(self, stream: Stream, queue: list[bytes], now_ms: int) -> None:
        """Frames that overtook each other, or of another shape: one by one in event order."""
        stream.is_ordered = True
        newest = b"" if stream.newest is None else stream.event_in(stream.newest)
        dated = [(stream.event_in(frame), frame) for frame in queue]
        for event, frame in sorted(dated, key=itemgetter(0)):
            if not self._fit(stream, frame):
                continue
            is_old = stream.open_of(frame) == stream.open and event < newest
            if not is_old or stream.final_mark in frame:
                self._turn(stream, frame, now_ms)

    def _fit(self, stream: Stream, frame: bytes) -> bool:
        if stream.fits(frame) or stream.measure(frame):
            return True
        self._malformed += 1
        return False

    def _keep_newest(self, stream: Stream, queue: list[bytes]) -> None:
        at = stream.event_at
        frame = queue[-1]
        if stream.inversions:
            frame = max(queue, key=lambda one: one[at : at + 13])
            if stream.newest is not None and frame[at : at + 13] < stream.newest[at : at + 13]:
                return
        stream.newest = frame

    def _turn(self, stream: Stream, frame: bytes, now_ms: int) -> None:
        """One frame in event order, where the bar may change or close."""
        at = stream.open_at
        if not stream.fits(frame):
            if not self._fit(stream, frame):
                return
            at = stream.open_at
        opened = frame[at : at + 13]
        if not opened.isdigit():
            self._malformed += 1
            return
        is_final = stream.final_mark in frame
        known = stream.open or stream.lost_open
        if known and opened < known:
            if is_final:
                self._confirm_late(stream, frame, now_ms)
            return
        if opened > known:
            self._next_bar(stream, frame, now_ms)
        if opened != stream.open:
            stream.open, stream.close_from = self._bounds(stream.interval, opened)
        stream.is_broken = False
        stream.lost_open = b""
        stream.newest = frame
        if is_final and not stream.is_closed:
            self._close_final(stream, frame, now_ms)

    def _bounds(self, interval: str, opened: bytes) -> tuple[bytes, bytes]:
        """(open, earliest close) as digits, one pair of objects for all streams of an interval."""
        known = self._shared.get(interval)
        if known is None or known[0] != opened:
            step_ms = self._klines_of(interval).step_ms
            known = opened, b"%013d" % (int(opened) + step_ms - _EARLY_MS)
            self._shared[interval] = known
        return known

    def _close_final(self, stream: Stream, frame: bytes, now_ms: int) -> None:
        data = self._decode(frame)
        if data is None:
            return
        bars = self._klines_of(stream.interval)
        if bars.close(stream.slot, data.k.t, row_of(data.k), CONFIRMED, klines.STREAM, now_ms):
            stream.is_closed = True
            stream.last_trade_id = _last_id(data, stream.last_trade_id)
        else:
            self._malformed += 1

    def _confirm_late(self, stream: Stream, frame: bytes, now_ms: int) -> None:
        """The final frame of a former bar, after the next bar began."""
        data = self._decode(frame)
        if data is not None:
            self._klines_of(stream.interval).close(
                stream.slot, data.k.t, row_of(data.k), CONFIRMED, klines.STREAM, now_ms
            )
            self.suspects.discard((stream.slot, stream.interval, data.k.t))

    def _next_bar(self, stream: Stream, frame: bytes, now_ms: int) -> None:
        """The next bar's first event: settle the bar before it, and tradeless bars between."""
        bars = self._klines_of(stream.interval)
        following = self._decode(frame)
        if following is None:
            return
        if stream.newest is not None and not stream.is_closed:
            self._close_former(stream, bars, following, now_ms)
        opened = following.k.t
        expected = bars.next_ms[stream.slot]
        if expected and expected < opened:
            if 0 <= stream.last_trade_id == following.k.f - 1 and bars.column(expected) >= 0:
                self.fill_flat(stream, bars, opened, now_ms, is_proven=True)
            else:
                bars.open_gap(stream.slot)
        stream.is_closed = False
        stream.newest = None

    def _close_former(
        self, stream: Stream, bars: Klines, following: frames.KlineData, now_ms: int
    ) -> None:
        former = self.newest(stream)
        if former is None:
            return
        if former.k.x:
            self._close_final(stream, stream.newest or b"", now_ms)
            return
        last, first = former.k.L, following.k.f
        has_ids = last > 0 and first > 0
        is_proven = has_ids and first == last + 1
        opened = former.k.t
        if stream.is_broken and not is_proven:
            if opened < bars.next_ms[stream.slot]:  # the clock closed it, and nobody confirms it
                self.suspects.add((stream.slot, stream.interval, opened))
            return
        finality = CONFIRMED if is_proven or not has_ids else CLOSED_BY_TIME
        if not bars.close(stream.slot, opened, row_of(former.k), finality, klines.NEXT_BAR, now_ms):
            self._malformed += 1
            return
        if finality == CONFIRMED:
            stream.last_trade_id = _last_id(former, stream.last_trade_id)
            self.suspects.discard((stream.slot, stream.interval, opened))
        else:
            stream.last_trade_id = -1
            self.suspects.add((stream.slot, stream.interval, opened))

    def fill_flat(
        self, stream: Stream, bars: Klines, until_ms: int, now_ms: int, *, is_proven: bool
    ) -> None:
        """Bars without a trade up to `until_ms`, as REST prints them: flat at the last close.

        Trade ids prove this only from the bar on whose last trade is the newest that is known.
        """
        slot = stream.slot
        finality, source = (
            (CONFIRMED, klines.NEXT_BAR) if is_proven else (CLOSED_BY_TIME, klines.CLOCK)
        )
        if not self._is_known_until(stream, bars):
            return
        while 0 < bars.next_ms[slot] < until_ms:
            before = bars.column(bars.next_ms[slot] - bars.step_ms)
            if before < 0:
                return
            price = bars.row(slot, before)[3]
            flat: Row = (price, price, price, price, 0.0, 0.0, 0.0, 0.0, 0.0)
            if not bars.close(slot, bars.next_ms[slot], flat, finality, source, now_ms):
                return

    def _is_known_until(self, stream: Stream, bars: Klines) -> bool:
        """Whether the newest known trade lies before the bar that comes next: beyond a gap it does
        not, and says nothing of the bars in the gap."""
        if stream.slot in bars.held:
            return False
        data = None if stream.is_closed else self.newest(stream)
        return data is None or data.k.t < bars.next_ms[stream.slot]

    def close_by_clock(self, stream: Stream, due_ms: int, now_ms: int) -> None:
        """The grace of the bar that opened at `due_ms` ended without word of its close."""
        if stream.newest is None or stream.is_closed or stream.is_broken:
            return
        bars = self._klines_of(stream.interval)
        if int(stream.open or b"0") > due_ms or bars.next_ms[stream.slot] > due_ms:
            return
        data = self.newest(stream)
        if data is not None and data.k.t <= due_ms:
            bars.close(stream.slot, data.k.t, row_of(data.k), CLOSED_BY_TIME, klines.CLOCK, now_ms)

    def last_trade_id(self, stream: Stream) -> int:
        """The newest trade id that the stream told of, -1 if it never told one."""
        if stream.is_closed:
            return stream.last_trade_id
        data = self.newest(stream)
        return stream.last_trade_id if data is None else _last_id(data, stream.last_trade_id)

    def close_complete(self, stream: Stream, bars: Klines, now_ms: int) -> None:
        """Other evidence says that no trade followed the newest frame: its bar is complete."""
        data = None if stream.is_closed else self.newest(stream)
        if data is None or data.k.t != bars.next_ms[stream.slot]:
            return
        if bars.close(stream.slot, data.k.t, row_of(data.k), CLOSED_BY_TIME, klines.CLOCK, now_ms):
            stream.last_trade_id = _last_id(data, stream.last_trade_id)

    def mark_lost(self, stream: Stream) -> None:
        """The connection broke: the forming bar is stale until the stream speaks of it again."""
        if not stream.is_broken:
            stream.is_broken = True
            stream.lost_open, stream.open = stream.open, b""

    def newest(self, stream: Stream) -> frames.KlineData | None:
        """The newest frame of a stream, decoded now."""
        return None if stream.newest is None else self._decode(stream.newest)

    def _decode(self, frame: bytes) -> frames.KlineData | None:
        try:
            return frames.KLINE.decode(frame).data
        except frames.UNREADABLE:
            self._malformed += 1
            return None


def row_of(body: frames.KlineBody) -> Row:
    """A kline frame in the field order of market/views.py."""
    return (body.o, body.h, body.l, body.c, body.v, body.q, float(body.n), body.V, body.Q)


def _last_id(data: frames.KlineData, known: int) -> int:
    """The last trade id after this bar; a tradeless bar says -1 and changes nothing."""
    return data.k.L if data.k.L > 0 else known
