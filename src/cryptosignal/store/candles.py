"""Closed candles kept between runs, so that a restart asks the venue only for what it missed.

One file an interval, replaced whole: MAGIC ‖ version (u16) ‖ length of head (u32) ‖ head JSON ‖
crc32 of all that follows (u32) ‖ little-endian float64 rows of all symbols, one after another.
It is a cache: a file that is damaged, foreign or newer is refused with a note and fetched again.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from cryptosignal.domain.ports import Disk
from cryptosignal.ground.units import INTERVAL_MS, open_of

MAGIC: Final = b"CSCANDLE"
FORMAT: Final = 1
FIELDS: Final = 11
"""open_ms, open, high, low, close, volume, close_ms, quote volume, trades, taker buy base, quote."""

Rows = NDArray[np.float64]

_PREFIX: Final = struct.Struct("<8sHI")
_CRC: Final = struct.Struct("<I")


class _Head(msgspec.Struct, frozen=True):
    interval: str
    saved_ms: int
    symbols: tuple[str, ...]
    counts: tuple[int, ...]
    crc: int


class StoredCandles(msgspec.Struct, frozen=True):
    """What a load gave: rows [n, 11] by symbol, when they were saved, and why there are none."""

    interval: str
    rows: dict[str, Rows]
    saved_ms: int = 0
    note: str = ""


class CandleStore:
    """Candles under `prefix`; `save` blocks for the disk, so a loop calls it in a thread."""

    def __init__(self, disk: Disk, prefix: str = "candles") -> None:
        self._disk = disk
        self._prefix = prefix

    def name(self, interval: str) -> str:
        """The file of an interval."""
        return f"{self._prefix}/{interval}.bin"

    def save(self, interval: str, rows: Mapping[str, Rows], saved_ms: int) -> None:
        """Replace the stored candles of `interval` by these closed ones.

        Raises ValueError for rows that are not [n, 11] with open times ascending on the grid,
        `DiskFault` if they cannot be written (the old file then stays).
        """
        for symbol, table in rows.items():
            problem = _problem(interval, table)
            if problem:
                raise ValueError(f"candles {symbol} {interval}: {problem}")
        body = b"".join(table.astype("<f8").tobytes() for table in rows.values())
        counts = tuple(len(table) for table in rows.values())
        head = msgspec.json.encode(
            _Head(interval, saved_ms, tuple(rows), counts, zlib.crc32(body)),
        )
        prefix = _PREFIX.pack(MAGIC, FORMAT, len(head))
        data = b"".join((prefix, head, _CRC.pack(zlib.crc32(head)), body))
        self._disk.replace(self.name(interval), data)

    def load(self, interval: str) -> StoredCandles:
        """What is stored of `interval`; no rows and a note if that is nothing or not to be trusted."""
        name = self.name(interval)
        data = self._disk.read(name)
        if not data:
            return StoredCandles(interval, {}, note=f"{name}: nothing stored yet")
        try:
            return _parse(interval, data)
        except (ValueError, struct.error, msgspec.DecodeError) as error:
            return StoredCandles(interval, {}, note=f"{name}: {error}: refused, fetching again")


def _parse(interval: str, data: bytes) -> StoredCandles:
    magic, version, size = _PREFIX.unpack_from(data, 0)
    if magic != MAGIC:
        raise ValueError("not a candle file")
    if version > FORMAT:
        raise ValueError(f"format {version} is newer than this program reads (up to {FORMAT})")
    end = _PREFIX.size + size
    head_bytes = data[_PREFIX.size : end]
    (head_crc,) = _CRC.unpack_from(data, end)
    if zlib.crc32(head_bytes) != head_crc:
        raise ValueError("head fails its checksum")
    head = msgspec.json.decode(head_bytes, type=_Head)
    if head.interval != interval:
        raise ValueError(f"holds interval {head.interval}")
    body = memoryview(data)[end + _CRC.size :]
    expected = sum(head.counts) * FIELDS * 8
    if len(body) != expected:
        raise ValueError(f"{len(body)} bytes of rows, expected {expected}")
    if zlib.crc32(body) != head.crc:
        raise ValueError("rows fail their checksum")
    table = np.frombuffer(body, "<f8").astype(np.float64).reshape(-1, FIELDS)
    ends = np.cumsum(head.counts)
    rows = {
        symbol: table[stop - count : stop]
        for symbol, count, stop in zip(head.symbols, head.counts, ends, strict=True)
    }
    return StoredCandles(interval, rows, head.saved_ms)


def _problem(interval: str, table: Rows) -> str:
    if table.ndim != 2 or table.shape[1] != FIELDS:
        return f"shape {table.shape}, expected (n, {FIELDS})"
    opens = table[:, 0]
    if not np.all(np.isfinite(opens)):
        return "an open time is not a number"
    if np.any(np.diff(opens) <= 0):
        return "open times do not ascend"
    if len(opens):
        shift = open_of(0, interval)
        off = (opens - shift) % INTERVAL_MS[interval] != 0
        if np.any(off):
            return f"open time {int(opens[off][0])} is not on the grid of {interval}"
    return ""
