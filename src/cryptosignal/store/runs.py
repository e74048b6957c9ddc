"""The journals of past runs: their folders, what a line is, reading them back, dropping the old.

A run has a folder of its own, `<root>/<ordinal>-<run id>`, so names sort by age. Sequence numbers
of a run count from 1 without gaps over all three streams (`store.journal`): a reader that meets a
gap knows that something is missing and says so. Nothing here writes to a journal; a torn tail is
skipped and reported, and its bytes stay where they are.
"""

from __future__ import annotations

from collections.abc import Iterator
from heapq import merge
from itertools import pairwise
from typing import Final

import msgspec

from cryptosignal.domain.events import Event, ScanTaken
from cryptosignal.domain.ports import Disk
from cryptosignal.ground.faults import UserFault
from cryptosignal.ground.units import DAY_MS
from cryptosignal.store.blocks import decode_block
from cryptosignal.store.faults import DamagedFile
from cryptosignal.store.records import Segment, TornTail, header_of, read_segment
from cryptosignal.store.settings import StoreSettings

MONEY: Final = "money"
INPUTS: Final = "inputs"
BLOCKS: Final = "blocks"
STREAMS: Final = (MONEY, INPUTS, BLOCKS)

_ORDINAL_DIGITS: Final = 8


class Digest(msgspec.Struct, frozen=True, gc=False, tag_field="type", tag=True):
    """The chained digest of the engine's discrete output up to and with the event of its number."""

    digest: str


class JournalLine(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """How an event lies on disk, in `money` (JSON) and `inputs` (MessagePack)."""

    seq: int
    now_ms: int
    tape_position: int
    event: Event | Digest


class JournalRecord(msgspec.Struct, frozen=True):
    """An event as the engine took it: its number, time and the tape position it saw."""

    seq: int
    now_ms: int
    event: Event | ScanTaken | Digest
    tape_position: int = 0
    run_dir: str = ""


class RunHeader(msgspec.Struct, frozen=True):
    """What a run says of itself, repeated in each of its segments. Values of `info` are text."""

    run_id: str
    opened_ms: int
    program: str
    numeric_path: str
    info: dict[str, str] = {}


class Gap(msgspec.Struct, frozen=True):
    """Events between `after_seq` and `next_seq` are missing."""

    after_seq: int
    next_seq: int


# ---- names ----------------------------------------------------------------------------------
def new_run_dir(disk: Disk, root: str, run_id: str) -> str:
    """A folder name under `root` for a new run, sorting after all that exist."""
    last = max((_ordinal(root, folder) for folder in run_dirs(disk, root)), default=0)
    return f"{root}/{last + 1:0{_ORDINAL_DIGITS}d}-{run_id}"


def run_dirs(disk: Disk, root: str) -> list[str]:
    """The folders of all runs under `root`, oldest first."""
    found: set[str] = set()
    for name in disk.names(f"{root}/"):
        run = name.removeprefix(f"{root}/").partition("/")[0]
        if run[:_ORDINAL_DIGITS].isdigit() and run[_ORDINAL_DIGITS : _ORDINAL_DIGITS + 1] == "-":
            found.add(f"{root}/{run}")
    return sorted(found)


def _ordinal(root: str, run_dir: str) -> int:
    return int(run_dir.removeprefix(f"{root}/")[:_ORDINAL_DIGITS])


def segment_name(run_dir: str, stream: str, number: int) -> str:
    """The file of segment `number` (from 1) of `stream`."""
    return f"{run_dir}/{stream}-{number:06d}.seg"


def segment_names(disk: Disk, run_dir: str, stream: str) -> list[str]:
    """The existing segments of a stream, in order."""
    return [name for name in disk.names(f"{run_dir}/{stream}-") if name.endswith(".seg")]


# ---- reading --------------------------------------------------------------------------------
class RunReader:
    """Iterates the records of one run in sequence order; a digest follows its event.

    It stops in front of the first gap unless `past_gaps`. `torn` and `gaps` are complete when the
    iteration has ended. Raises `DamagedFile` or `NewerFormat` where it meets such a file.
    """

    def __init__(self, disk: Disk, run_dir: str, *, past_gaps: bool = False) -> None:
        self._disk = disk
        self._past_gaps = past_gaps
        self.run_dir = run_dir
        self.torn: list[TornTail] = []
        self.gaps: list[Gap] = []
        self.last_seq = 0

    def header(self) -> RunHeader:
        """What the run says of itself. Raises UserFault if no segment has a whole header."""
        for stream in STREAMS:
            for name in segment_names(self._disk, self.run_dir, stream):
                segment = read_segment(name, self._disk.read(name))
                if segment.header is not None:
                    return msgspec.convert(segment.header.run, RunHeader)
        raise UserFault(f"{self.run_dir}: no journal here (expected {MONEY}-000001.seg)")

    def __iter__(self) -> Iterator[JournalRecord]:
        """The records; start only one iteration of a reader."""
        streams = (self._records(stream) for stream in STREAMS)
        for record in merge(*streams, key=_order):
            is_digest = isinstance(record.event, Digest)
            expected = self.last_seq if is_digest else self.last_seq + 1
            if record.seq > expected:
                self.gaps.append(Gap(self.last_seq, record.seq + is_digest))
                if not self._past_gaps:
                    return
            self.last_seq = record.seq
            yield record

    def report(self) -> list[str]:
        """After the iteration: one line for each thing that is missing, none for a whole run."""
        lines = [str(torn) for torn in self.torn]
        for gap in self.gaps:
            missing = f"events {gap.after_seq + 1} to {gap.next_seq - 1} are missing"
            lines.append(f"{self.run_dir}: {missing}: read up to event {gap.after_seq}")
        return lines

    def _records(self, stream: str) -> Iterator[JournalRecord]:
        for segment in _segments(self._disk, self.run_dir, stream):
            if segment.torn is not None:
                self.torn.append(segment.torn)
            decode = _DECODERS[stream]
            for payload in segment.payloads:
                yield decode(segment.name, self.run_dir, payload)


def read_run(disk: Disk, run_dir: str, *, past_gaps: bool = False) -> RunReader:
    """The records of one run, merged over its streams (see `RunReader`)."""
    return RunReader(disk, run_dir, past_gaps=past_gaps)


def account_of(disk: Disk, run_dir: str) -> str:
    """The account that a run said it traded on, "" for none, an older run, or one that never began."""
    for name in segment_names(disk, run_dir, MONEY):
        header = header_of(name, disk.read(name))
        if header is not None:
            return msgspec.convert(header.run, RunHeader).info.get("account", "")
    return ""


class MoneyHistory:
    """Iterates the money records of all runs under a root, oldest first: what recovery folds.

    `torn` is complete when the iteration has ended. Raises as `RunReader` does.
    """

    def __init__(self, disk: Disk, root: str) -> None:
        self._disk = disk
        self._root = root
        self.torn: list[TornTail] = []

    def __iter__(self) -> Iterator[JournalRecord]:
        """The records; start only one iteration."""
        for run_dir in run_dirs(self._disk, self._root):
            for segment in _segments(self._disk, run_dir, MONEY):
                if segment.torn is not None:
                    self.torn.append(segment.torn)
                for payload in segment.payloads:
                    yield _from_json(segment.name, run_dir, payload)


def money_of(disk: Disk, run_dir: str) -> Iterator[JournalRecord]:
    """The money records of one run."""
    for segment in _segments(disk, run_dir, MONEY):
        for payload in segment.payloads:
            yield _from_json(segment.name, run_dir, payload)


def money_history(disk: Disk, root: str) -> MoneyHistory:
    """The money records of all runs under `root` (see `MoneyHistory`)."""
    return MoneyHistory(disk, root)


def make_durable(disk: Disk, root: str) -> None:
    """See to it that the newest run's money records stay, now that they have been read.

    A process that was killed leaves what it wrote last in the machine's memory only: it can be read,
    decisions are built on it, and yet a loss of power would take it away. Earlier runs were treated so
    by the runs after them. Raises DiskFault.
    """
    for run_dir in run_dirs(disk, root)[-1:]:
        for name in segment_names(disk, run_dir, MONEY)[-1:]:
            disk.replace(name, disk.read(name))


def _segments(disk: Disk, run_dir: str, stream: str) -> Iterator[Segment]:
    names = segment_names(disk, run_dir, stream)
    for name in names:
        segment = read_segment(name, disk.read(name))
        if segment.torn is not None and stream == MONEY and name != names[-1]:
            # a money segment is closed only when all of it is durable
            raise DamagedFile(name, segment.torn.offset, "cut short, yet a later segment exists")
        yield segment


def _order(record: JournalRecord) -> tuple[int, bool]:
    return record.seq, isinstance(record.event, Digest)


_JSON: Final = msgspec.json.Decoder(JournalLine)
_MSGPACK: Final = msgspec.msgpack.Decoder(JournalLine)


def _from_json(name: str, run_dir: str, payload: bytes) -> JournalRecord:
    return _record(name, run_dir, _JSON, payload)


def _from_msgpack(name: str, run_dir: str, payload: bytes) -> JournalRecord:
    return _record(name, run_dir, _MSGPACK, payload)


def _record(
    name: str,
    run_dir: str,
    decoder: msgspec.json.Decoder[JournalLine] | msgspec.msgpack.Decoder[JournalLine],
    payload: bytes,
) -> JournalRecord:
    try:
        line = decoder.decode(payload)
    except msgspec.DecodeError as error:
        raise UserFault(f"{name}: a record that this program cannot read: {error}") from None
    return JournalRecord(line.seq, line.now_ms, line.event, line.tape_position, run_dir)


def _from_block(name: str, run_dir: str, payload: bytes) -> JournalRecord:
    try:
        block = decode_block(payload)
    except ValueError as error:
        raise UserFault(f"{name}: {error}") from None
    event = ScanTaken(block.rows)
    return JournalRecord(block.seq, block.now_ms, event, block.tape_position, run_dir)


_DECODERS: Final = {MONEY: _from_json, INPUTS: _from_msgpack, BLOCKS: _from_block}


# ---- retention ------------------------------------------------------------------------------
def drop_expired(disk: Disk, root: str, now_ms: int, settings: StoreSettings) -> list[str]:
    """Delete input and block segments that ended `retention_days` ago; the names deleted.

    A segment ends where the next of its stream begins, the last of a run where the next run
    begins; so what is being written is never touched, and money never at all.
    """
    limit_ms = now_ms - settings.retention_days * DAY_MS
    runs = run_dirs(disk, root)
    expired = [
        name
        for run, following in pairwise([*runs, ""])
        for stream in (INPUTS, BLOCKS)
        for name, end_ms in _segment_ends(disk, run, stream, following)
        if end_ms is not None and end_ms < limit_ms
    ]
    for name in expired:
        disk.delete(name)
    return expired


def drop_oversize(disk: Disk, root: str, settings: StoreSettings) -> list[str]:
    """Delete the oldest input and block segments past their stores' caps; the names deleted.

    The newest segment of the newest run is being written and stays, money is never touched.
    """
    runs = run_dirs(disk, root)
    gone: list[str] = []
    caps = {INPUTS: settings.inputs_bytes_max, BLOCKS: settings.blocks_bytes_max}
    for stream, most in caps.items():
        named = [name for run in runs for name in segment_names(disk, run, stream)]
        sizes = {name: disk.size(name) for name in named}
        total = sum(sizes.values())
        for name in named[:-1]:
            if total <= most:
                break
            disk.delete(name)
            total -= sizes[name]
            gone.append(name)
    return gone


def _segment_ends(
    disk: Disk, run: str, stream: str, following: str
) -> Iterator[tuple[str, int | None]]:
    names = segment_names(disk, run, stream)
    for name, next_name in pairwise([*names, ""]):
        if next_name:
            yield name, _opened_ms(disk, next_name)
        else:
            yield name, _run_opened_ms(disk, following) if following else None


def _run_opened_ms(disk: Disk, run_dir: str) -> int | None:
    names = segment_names(disk, run_dir, MONEY)
    return _opened_ms(disk, names[0]) if names else None


def _opened_ms(disk: Disk, name: str) -> int | None:
    header = read_segment(name, disk.read(name)).header
    return header.opened_ms if header is not None else None
