"""Framing: what is written is read back, a torn tail is a prefix, damage in the middle is refused."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryptosignal.ground.faults import ContractFault, UserFault
from cryptosignal.store import records
from cryptosignal.store.faults import DamagedFile, NewerFormat
from cryptosignal.store.records import SegmentHeader, frame, frame_header, read_segment

HEADER = SegmentHeader("money", 1, 5, {"run_id": "r1"})
PAYLOADS = st.lists(st.binary(min_size=1, max_size=40), max_size=8)


def build(payloads):
    return frame_header(HEADER) + b"".join(frame(p) for p in payloads)


@given(PAYLOADS)
def test_whole_segment(payloads):
    """A segment that nobody cut gives back its header and every payload."""
    segment = read_segment("m.seg", build(payloads))
    assert segment.header == HEADER
    assert segment.payloads == payloads
    assert segment.torn is None


@given(PAYLOADS, st.data())
@settings(max_examples=200)
def test_cut_at_any_byte(payloads, data):
    """Whatever byte a crash cuts at, exactly the whole records before it are read."""
    whole = build(payloads)
    cut = data.draw(st.integers(0, len(whole)))
    segment = read_segment("m.seg", whole[:cut])
    ends = [len(build(payloads[:n])) for n in range(len(payloads) + 1)]
    expected = [p for p, end in zip(payloads, ends[1:], strict=True) if end <= cut]
    assert segment.payloads == expected
    kept = ends[len(expected)] if cut >= ends[0] else None
    if kept == cut:
        assert segment.torn is None
    elif kept is not None:
        assert (segment.torn.offset, segment.torn.dropped_bytes) == (kept, cut - kept)
    else:
        assert segment.header is None
        assert segment.torn is not None


@given(PAYLOADS.filter(bool), st.binary(max_size=60), st.data())
def test_garbage_after_a_cut(payloads, garbage, data):
    """A tail of garbage or zeros after the last whole record is dropped and counted."""
    whole = build(payloads)
    tail = data.draw(st.sampled_from([garbage, bytes(len(garbage)), frame(b"x" * 9)[:-1]]))
    segment = read_segment("m.seg", whole + tail)
    assert segment.payloads == payloads
    assert (segment.torn.dropped_bytes if segment.torn else 0) == len(tail)


@given(st.lists(st.binary(min_size=1, max_size=40), min_size=2, max_size=6), st.data())
@settings(max_examples=200)
def test_flipped_byte_in_the_middle(payloads, data):
    """A changed byte in a record with a valid one after it is refused, naming file and offset."""
    whole = bytearray(build(payloads))
    victim = data.draw(st.integers(0, len(payloads) - 2))
    start = len(build(payloads[:victim]))
    at = data.draw(st.integers(start, len(build(payloads[: victim + 1])) - 1))
    whole[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(DamagedFile, match=rf"^m\.seg: damaged at byte {start}: ") as caught:
        read_segment("m.seg", bytes(whole))
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, UserFault)


def test_newer_format_is_refused():
    """A segment of a later program is refused with one line that names both formats."""
    data = bytearray(build([b"x"]))
    data[4] = records.FORMAT + 1
    with pytest.raises(NewerFormat, match=r"m\.seg: format 2 is newer .* \(up to 1\)"):
        read_segment("m.seg", bytes(data))


@pytest.mark.parametrize("data", [b"SQLite format 3", b"{}", b"CSS!rest"])
def test_foreign_file(data):
    """A file that is no segment is refused at byte 0."""
    with pytest.raises(DamagedFile, match="at byte 0: not a segment"):
        read_segment("m.seg", data)


@pytest.mark.parametrize("data", [b"", b"CS", b"CSSG\x01", bytes(4096)])
def test_never_written(data):
    """A file of which only the name, or zeros, survived is a torn tail, not damage."""
    segment = read_segment("m.seg", data)
    assert segment.header is None
    assert str(segment.torn).startswith("m.seg: torn tail at byte 0, ")


@pytest.mark.parametrize("size", [0, records.RECORD_BYTES_MAX + 1])
def test_frame_limits(size):
    """An empty payload and one above the limit are our own bug."""
    with pytest.raises(ContractFault, match="allowed: 1 to"):
        frame(bytes(size))
