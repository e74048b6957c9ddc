"""Every limit of what is kept on disk, named and stated."""

from __future__ import annotations

import msgspec

MEBIBYTE = 1024 * 1024


class StoreSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Sizes in bytes, ages in days. The money journal has no age: it is kept for ever."""

    queue_bytes_max: int = 64 * MEBIBYTE
    """Bytes waiting for the writer thread; beyond it an append is a `DiskFault`."""
    open_files_max: int = 32
    """Files that the writer thread keeps open."""
    segment_bytes_max: int = 16 * MEBIBYTE
    """A journal segment is closed when it is larger than this."""
    retention_days: int = 90
    """Age at which inputs and decision blocks are dropped."""
    inputs_bytes_max: int = 4096 * MEBIBYTE
    """Inputs of all runs together; the oldest segment is dropped first."""
    blocks_bytes_max: int = 4096 * MEBIBYTE
    """Decision blocks of all runs together; the oldest segment is dropped first."""
    tape: bool = True
    """Whether raw frames are kept with the time they came."""
    compression_level: int = 1
    """zlib level of decision blocks and tape chunks: 1 fast … 9 small."""
    tape_bytes_max: int = 2048 * MEBIBYTE
    """All tape segments together; the oldest is dropped first."""
    tape_segment_bytes: int = 16 * MEBIBYTE
    tape_chunk_bytes: int = MEBIBYTE // 4
    """Raw frames gathered before they are compressed as one record."""
    tape_chunks_waiting_max: int = 128
    """Chunks waiting for compression; beyond it a chunk is dropped and counted."""

    def __post_init__(self) -> None:
        """Raise ValueError (one line: key, found, allowed) for a limit that cannot work."""
        for key in self.__struct_fields__:
            value = getattr(self, key)
            if not isinstance(value, bool) and value < 1:
                raise ValueError(f"store.{key}: found {value}, allowed: at least 1")
        if self.compression_level > 9:
            raise ValueError(
                f"store.compression_level: found {self.compression_level}, allowed: 1 to 9"
            )
        if self.tape_segment_bytes > self.tape_bytes_max:
            raise ValueError(
                f"store.tape_segment_bytes: found {self.tape_segment_bytes}, "
                f"allowed: up to tape_bytes_max ({self.tape_bytes_max})"
            )
