"""Framing of append-only files: checksummed records behind a versioned segment header.

    segment = MAGIC (4) ‖ format version (u16) ‖ record(header JSON) ‖ record ‖ record ‖ …
    record  = MARK (4) ‖ length (u32) ‖ crc32 of length and payload (u32) ‖ payload (1 byte or more)

All integers are little-endian. The mark exists so that a reader that meets damage can look for the
next record: none means a torn tail (a crash in mid-write, dropped and reported), one means damage
in the middle (refused, RELIABILITY §3.1). A payload is never empty, so a run of zero bytes, which
power loss leaves behind on some file systems, is never a record.
"""

from __future__ import annotations

import struct
import zlib
from functools import lru_cache
from typing import Any, Final

import msgspec

from cryptosignal.ground.faults import ContractFault
from cryptosignal.store.faults import DamagedFile, NewerFormat

MAGIC: Final = b"CSSG"
FORMAT: Final = 1
"""The newest segment format that this program writes and reads."""
MARK: Final = b"\xc5\x5e\x90\x1f"
RECORD_BYTES_MAX: Final = 64 * 1024 * 1024
"""A longer length field is damage, whatever its checksum."""

_VERSION: Final = struct.Struct("<H")
_LENGTH: Final = struct.Struct("<I")
_FRAME: Final = struct.Struct("<4sII")
_HEADER_OFFSET: Final = len(MAGIC) + _VERSION.size


class TornTail(msgspec.Struct, frozen=True):
    """The end of a file that a crash left incomplete: `dropped_bytes` from `offset` on."""

    name: str
    offset: int
    dropped_bytes: int

    def __str__(self) -> str:
        """One line for a person."""
        return f"{self.name}: torn tail at byte {self.offset}, {self.dropped_bytes} bytes dropped"


class SegmentHeader(msgspec.Struct, frozen=True):
    """What a segment says of itself; `run` is free JSON about the run that wrote it."""

    stream: str
    number: int
    opened_ms: int
    run: dict[str, Any]


class Segment(msgspec.Struct, frozen=True):
    """A segment read whole: `payloads` in order, `header` None if the header itself is torn."""

    name: str
    header: SegmentHeader | None
    payloads: list[bytes]
    torn: TornTail | None


def frame(payload: bytes) -> bytes:
    """`payload` as a record.

    Raises ContractFault for an empty payload or one above `RECORD_BYTES_MAX`.
    """
    if not 0 < len(payload) <= RECORD_BYTES_MAX:
        raise ContractFault(f"record of {len(payload)} bytes (allowed: 1 to {RECORD_BYTES_MAX})")
    return _FRAME.pack(MARK, len(payload), _checksum(payload)) + payload


def frame_header(header: SegmentHeader) -> bytes:
    """The first bytes of a segment file."""
    return MAGIC + _VERSION.pack(FORMAT) + frame(msgspec.json.encode(header))


def read_segment(name: str, data: bytes) -> Segment:
    """All records of a segment file.

    Stops cleanly at a torn tail and reports it. Raises `DamagedFile` for damage with valid records
    after it or for a file that is no segment, `NewerFormat` for a format above `FORMAT`.
    """
    if not data.strip(b"\x00"):  # created but never written: power was lost before the first sync
        return Segment(name, None, [], TornTail(name, 0, len(data)))
    if not data.startswith(MAGIC[: len(data)]):
        raise DamagedFile(name, 0, f"not a segment (it must start with {MAGIC.decode()})")
    if len(data) >= _HEADER_OFFSET:
        (version,) = _VERSION.unpack_from(data, len(MAGIC))
        if version > FORMAT:
            raise NewerFormat(name, version, FORMAT)
    payloads, end = read_records(data, _HEADER_OFFSET)
    torn = _torn(name, data, end)
    if not payloads:
        return Segment(name, None, [], torn)
    try:
        header = msgspec.json.decode(payloads[0], type=SegmentHeader)
    except msgspec.DecodeError as error:
        raise DamagedFile(name, _HEADER_OFFSET, f"segment header: {error}") from None
    return Segment(name, header, payloads[1:], torn)


def header_of(name: str, data: bytes) -> SegmentHeader | None:
    """What a segment says of itself, None where its first record is not whole.

    Reads no other record. Raises as `read_segment` does for a file that is none.
    """
    first = _payload_at(data, _HEADER_OFFSET)
    end = _HEADER_OFFSET + _FRAME.size + len(first) if first is not None else len(data)
    return read_segment(name, data[:end]).header


def read_records(data: bytes, offset: int) -> tuple[list[bytes], int]:
    """Valid records from `offset` on, and the offset where they end."""
    payloads: list[bytes] = []
    unpack, size, end = _FRAME.unpack_from, _FRAME.size, len(data)
    start = offset + size  # `_payload_at` in one loop: a start reads every record there is
    while start < end:
        mark, length, checksum = unpack(data, offset)
        if mark != MARK or not 0 < length <= min(RECORD_BYTES_MAX, end - start):
            break
        payload = data[start : start + length]
        if _checksum(payload) != checksum:
            break
        payloads.append(payload)
        offset = start + length
        start = offset + size
    return payloads, offset


def _torn(name: str, data: bytes, end: int) -> TornTail | None:
    if end >= len(data):
        return TornTail(name, 0, len(data)) if end == _HEADER_OFFSET else None
    following = _next_record(data, end + 1)
    if following is not None:
        raise DamagedFile(name, end, f"a record fails its checksum, the next is at {following}")
    return TornTail(name, end, len(data) - end)


def _next_record(data: bytes, offset: int) -> int | None:
    at = data.find(MARK, offset)
    while at >= 0:
        if _payload_at(data, at) is not None:
            return at
        at = data.find(MARK, at + 1)
    return None


def _payload_at(data: bytes, offset: int) -> bytes | None:
    start = offset + _FRAME.size
    if start >= len(data):
        return None
    mark, length, checksum = _FRAME.unpack_from(data, offset)
    if mark != MARK or not 0 < length <= min(RECORD_BYTES_MAX, len(data) - start):
        return None
    payload = data[start : start + length]
    return payload if _checksum(payload) == checksum else None


def _checksum(payload: bytes) -> int:
    return zlib.crc32(payload, _length_checksum(len(payload)))


@lru_cache(maxsize=4096)
def _length_checksum(length: int) -> int:
    return zlib.crc32(_LENGTH.pack(length))
