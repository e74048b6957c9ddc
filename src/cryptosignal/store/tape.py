"""The tape: every raw frame with the time it came, compressed, rolling, droppable (D2).

Frames are counted from 1; the count is the tape position that journal records carry. They are
gathered into chunks, a chunk is one compressed record of a segment, and segments are named
`<root>/<ordinal>-<run id>.seg`, so names sort by age over all runs. When all segments together
exceed `tape_bytes_max` the oldest is deleted. A tape that cannot be written, or whose compression
cannot keep up, drops frames and counts them: it never stops the run. Readers see such gaps.
"""

from __future__ import annotations

import struct
import zlib
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Executor, Future
from itertools import islice
from typing import Final

import msgspec

from cryptosignal.domain.ports import Disk
from cryptosignal.store.faults import DiskFault
from cryptosignal.store.records import SegmentHeader, TornTail, frame, frame_header, read_segment
from cryptosignal.store.runs import Gap
from cryptosignal.store.settings import StoreSettings

FRAME, OPENED, CLOSED, REPLY, CALL = range(5)
"""What a tape entry is: a WebSocket message, a connection's start or end, an HTTP body, or what else
the memory of the market was told (`modes.film`)."""

_CHUNK: Final = struct.Struct("<QI")
_ENTRY: Final = struct.Struct("<BqqII")
_ORDINAL_DIGITS: Final = 8


class TapeFrame(msgspec.Struct, frozen=True, gc=False):
    """One entry: `recv_ns` local monotonic, `now_ms` exchange time, both at receipt."""

    position: int
    kind: int
    recv_ns: int
    now_ms: int
    connection: int
    payload: bytes


class Tape:
    """Writes the frames of one run. `executor` (one thread) compresses off the loop if given."""

    def __init__(
        self,
        disk: Disk,
        root: str,
        run_id: str,
        settings: StoreSettings | None = None,
        executor: Executor | None = None,
    ) -> None:
        self._settings = settings or StoreSettings()
        self._executor = executor
        self._waiting: deque[Future[None]] = deque()
        self._entries: list[bytes] = []
        self._gathered_bytes = 0
        self._gathered = 0
        self._opened_ms = 0
        self._writer = _TapeWriter(disk, root, run_id, self._settings)
        self.position = 0
        self.dropped = 0

    def append(
        self, payload: bytes, recv_ns: int, now_ms: int, connection: int = 0, kind: int = FRAME
    ) -> int:
        """Take one entry; its position."""
        if not self._entries:
            self._opened_ms = now_ms
        self._entries.append(_ENTRY.pack(kind, recv_ns, now_ms, connection, len(payload)))
        self._entries.append(payload)
        self._gathered += 1
        self._gathered_bytes += _ENTRY.size + len(payload)
        self.position += 1
        if self._gathered_bytes >= self._settings.tape_chunk_bytes:
            self.flush()
        return self.position

    def flush(self) -> None:
        """Hand the gathered entries on as a chunk."""
        if not self._gathered:
            return
        entries, count = self._entries, self._gathered
        first = self.position - count + 1
        self._entries, self._gathered, self._gathered_bytes = [], 0, 0
        if self._executor is None:
            self._writer.write(entries, first, count, self._opened_ms)
            return
        while self._waiting and self._waiting[0].done():
            self._waiting.popleft().result()
        if len(self._waiting) >= self._settings.tape_chunks_waiting_max:
            self.dropped += count
            return
        job = self._executor.submit(self._writer.write, entries, first, count, self._opened_ms)
        self._waiting.append(job)

    def close(self) -> None:
        """Hand on what is gathered and wait until it is queued at the disk."""
        self.flush()
        while self._waiting:
            self._waiting.popleft().result()

    def stats(self) -> dict[str, int | str]:
        """Entries taken and dropped, bytes before and after compression, the fault if any."""
        writer = self._writer
        return {
            "entries": self.position,
            "dropped": self.dropped + writer.dropped,
            "raw_bytes": writer.raw_bytes,
            "written_bytes": writer.written_bytes,
            "stored_bytes": sum(writer.stored.values()),
            "fault": str(writer.fault or ""),
        }


class _TapeWriter:
    """Compresses chunks and keeps the size cap; used by one thread at a time."""

    def __init__(self, disk: Disk, root: str, run_id: str, settings: StoreSettings) -> None:
        self._disk = disk
        self._root = root
        self._run_id = run_id
        self._settings = settings
        self.stored = {name: disk.size(name) for name in tape_names(disk, root)}
        newest = max(self.stored, default="")
        self._ordinal = int(newest[len(root) + 1 :][:_ORDINAL_DIGITS]) if newest else 0
        self._name = ""
        self.dropped = 0
        self.raw_bytes = 0
        self.written_bytes = 0
        self.fault: DiskFault | None = None

    def write(self, entries: list[bytes], first: int, count: int, opened_ms: int) -> None:
        """One chunk as one record; after a fault chunks are only counted."""
        if self.fault is not None:
            self.dropped += count
            return
        raw = b"".join(entries)
        packed = zlib.compress(raw, self._settings.compression_level)
        data = frame(_CHUNK.pack(first, count) + packed)
        if not self._name or (
            self.stored[self._name] + len(data) > self._settings.tape_segment_bytes
        ):
            data = self._begin_segment(opened_ms) + data
        try:
            self._disk.append(self._name, data)
        except DiskFault as fault:
            self.fault = fault
            self.dropped += count
            return
        self.stored[self._name] += len(data)
        self.raw_bytes += len(raw)
        self.written_bytes += len(data)
        self._keep_cap()

    def _begin_segment(self, opened_ms: int) -> bytes:
        self._ordinal += 1
        self._name = f"{self._root}/{self._ordinal:0{_ORDINAL_DIGITS}d}-{self._run_id}.seg"
        self.stored[self._name] = 0
        run = {"run_id": self._run_id}
        return frame_header(SegmentHeader("tape", self._ordinal, opened_ms, run))

    def _keep_cap(self) -> None:
        total = sum(self.stored.values())
        for name in sorted(self.stored):
            if total <= self._settings.tape_bytes_max or name == self._name:
                return
            self._disk.delete(name)
            total -= self.stored.pop(name)


class TapeReader:
    """Iterates the entries of one run from `from_position` on, in order.

    `torn` and `gaps` (dropped or deleted entries) are complete when the iteration has ended.
    Raises `DamagedFile` or `NewerFormat` where it meets such a file.
    """

    def __init__(self, disk: Disk, root: str, run_id: str, from_position: int = 1) -> None:
        self._disk = disk
        self._names = [n for n in tape_names(disk, root) if n.endswith(f"-{run_id}.seg")]
        self._from = max(1, from_position)
        self.torn: list[TornTail] = []
        self.gaps: list[Gap] = []

    def __iter__(self) -> Iterator[TapeFrame]:
        """The entries; start only one iteration of a reader."""
        last = self._from - 1
        for name in self._names:
            segment = read_segment(name, self._disk.read(name))
            if segment.torn is not None:
                self.torn.append(segment.torn)
            for payload in segment.payloads:
                first, count = _CHUNK.unpack_from(payload, 0)
                if first + count <= self._from:
                    continue
                if first > last + 1:
                    self.gaps.append(Gap(last, first))
                skipped = max(0, self._from - first)
                yield from islice(_entries(payload, first), skipped, None)
                last = first + count - 1


def read_tape(disk: Disk, root: str, run_id: str, from_position: int = 1) -> TapeReader:
    """The entries of a run's tape from a position on (see `TapeReader`)."""
    return TapeReader(disk, root, run_id, from_position)


def tape_names(disk: Disk, root: str) -> list[str]:
    """All tape segments under `root`, oldest first."""
    return [name for name in disk.names(f"{root}/") if name.endswith(".seg")]


def _entries(chunk: bytes, first: int) -> Iterator[TapeFrame]:
    raw = zlib.decompress(memoryview(chunk)[_CHUNK.size :])
    at, position = 0, first
    while at < len(raw):
        kind, recv_ns, now_ms, connection, length = _ENTRY.unpack_from(raw, at)
        at += _ENTRY.size
        yield TapeFrame(position, kind, recv_ns, now_ms, connection, raw[at : at + length])
        at += length
        position += 1
