"""Writes the journal: every input of the engine in one sequence, over three streams (D2).

- `money`: events that rebuild what we own, as JSON; made durable, kept for ever.
- `inputs`: the other events and the digests, as MessagePack (their floats may be NaN, which JSON
  has not); no sync, kept for `retention_days`.
- `blocks`: the factor rows of scans (`store.blocks`); no sync, kept for `retention_days`.

A money segment is closed only when all of it is durable, so that a later segment never outlives
the tail of an earlier one. Reading back is `store.runs`.
"""

from __future__ import annotations

import asyncio
import platform
from typing import Final

import msgspec
import numpy as np

from cryptosignal.domain.events import MONEY_EVENTS, Event, ScanTaken
from cryptosignal.domain.ports import Disk
from cryptosignal.ground.faults import ContractFault
from cryptosignal.store.blocks import encode_block
from cryptosignal.store.faults import DiskFault
from cryptosignal.store.records import SegmentHeader, frame, frame_header
from cryptosignal.store.runs import (
    BLOCKS,
    INPUTS,
    MONEY,
    STREAMS,
    Digest,
    JournalLine,
    RunHeader,
    segment_name,
)
from cryptosignal.store.settings import StoreSettings


def numeric_path(kernels: str = "numpy") -> str:
    """Where float results may differ in the last bits: processor, Python, numpy and the kernels."""
    return (
        f"{platform.machine()}/python-{platform.python_version()}/numpy-{np.__version__}/{kernels}"
    )


class Journal:
    """Writes one run. Open it with `Journal.open`; everything happens on the caller's loop."""

    def __init__(
        self, disk: Disk, run_dir: str, header: RunHeader, settings: StoreSettings
    ) -> None:
        self._disk = disk
        self._run_dir = run_dir
        self._header = msgspec.to_builtins(header)
        self._settings = settings
        self._streams = {stream: _Stream(run_dir, stream) for stream in STREAMS}
        self._seq = 0
        self._money_seq = 0
        self._durable_seq = 0
        self._dirty = asyncio.Event()
        self.lost: dict[str, int] = {}
        """Records of `inputs` and `blocks` that the disk refused, by stream; what was on its way
        when the disk failed comes on top."""
        self.bytes_written: dict[str, int] = dict.fromkeys(STREAMS, 0)

    @classmethod
    def open(
        cls, disk: Disk, run_dir: str, header: RunHeader, settings: StoreSettings | None = None
    ) -> Journal:
        """Begin the journal of a new run in `run_dir` (`store.runs.new_run_dir`).

        Raises ContractFault if the folder holds a journal already: a run is written once.
        """
        if disk.names(f"{run_dir}/"):
            raise ContractFault(f"{run_dir}: this run has a journal already")
        return cls(disk, run_dir, header, settings or StoreSettings())

    @property
    def run_dir(self) -> str:
        """The folder of this run."""
        return self._run_dir

    @property
    def seq(self) -> int:
        """The number of the newest event; the next is one more."""
        return self._seq

    @property
    def durable_seq(self) -> int:
        """The newest money record that is known to be durable."""
        return self._durable_seq

    def append(
        self, seq: int, now_ms: int, event: Event | ScanTaken, tape_position: int = 0
    ) -> None:
        """Write `event` as number `seq` (one more than the last) to the stream of its type.

        Raises `DiskFault` once the money journal failed (the failing write itself shows in
        `durable`); a refused input or block is counted in `lost` and the run goes on: replay will
        name the gap.
        """
        if seq != self._seq + 1:
            raise ContractFault(f"{self._run_dir}: event {seq} after {self._seq}")
        self._seq = seq
        if isinstance(event, ScanTaken):
            level = self._settings.compression_level
            payload = encode_block(seq, now_ms, event.rows, tape_position, level)
            self._write(BLOCKS, now_ms, payload)
            return
        line = JournalLine(seq, now_ms, tape_position, event)
        if isinstance(event, MONEY_EVENTS):
            self._write(MONEY, now_ms, _JSON.encode(line))
            self._money_seq = seq
            self._dirty.set()
        else:
            self._write(INPUTS, now_ms, _MSGPACK.encode(line))

    def write_digest(self, seq: int, digest: str, now_ms: int = 0) -> None:
        """Note the chained digest after event `seq`, the newest one."""
        if seq != self._seq:
            raise ContractFault(f"{self._run_dir}: digest of {seq} after event {self._seq}")
        line = JournalLine(seq, now_ms, 0, Digest(digest))
        self._write(INPUTS, now_ms, _MSGPACK.encode(line))

    async def durable(self, seq: int) -> None:
        """Return once every money record up to `seq` survives a crash.

        Raises `DiskFault` if it cannot: then nothing that depends on it may be sent.
        """
        if seq > self._seq:
            raise ContractFault(f"{self._run_dir}: durable({seq}) before it was appended")
        if min(seq, self._money_seq) <= self._durable_seq:
            return
        money = self._streams[MONEY]
        reached, length, name = self._money_seq, money.length, money.name
        await self._disk.sync(name)
        self._durable_seq = max(self._durable_seq, reached)
        if name == money.name:
            money.durable_length = max(money.durable_length, length)

    async def run(self) -> None:
        """Keep the money journal durable also when nobody waits for it; runs until cancelled."""
        while True:
            await self._dirty.wait()
            self._dirty.clear()
            await self.durable(self._money_seq)

    def _write(self, stream: str, now_ms: int, payload: bytes) -> None:
        target = self._streams[stream]
        data = frame(payload)
        is_full = target.length + len(data) > self._settings.segment_bytes_max
        may_end = stream != MONEY or target.durable_length == target.length
        if target.number == 0 or (is_full and may_end):
            target.begin()
            header = SegmentHeader(stream, target.number, now_ms, self._header)
            data = frame_header(header) + data
        try:
            self._disk.append(target.name, data)
        except DiskFault:
            if stream == MONEY:
                raise
            self.lost[stream] = self.lost.get(stream, 0) + 1
            return
        target.length += len(data)
        self.bytes_written[stream] += len(data)


_JSON: Final = msgspec.json.Encoder()
_MSGPACK: Final = msgspec.msgpack.Encoder()


class _Stream:
    """Where one stream stands: its newest segment and how much of it is durable."""

    __slots__ = ("_run_dir", "_stream", "durable_length", "length", "name", "number")

    def __init__(self, run_dir: str, stream: str) -> None:
        self._run_dir = run_dir
        self._stream = stream
        self.number = 0
        self.name = ""
        self.length = 0
        self.durable_length = 0

    def begin(self) -> None:
        """Start the next segment."""
        self.number += 1
        self.name = segment_name(self._run_dir, self._stream, self.number)
        self.length = 0
        self.durable_length = 0
