"""Decision blocks: every bit of the rows comes back, damage is noticed, the size stays small."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.store.making import rows

from cryptosignal.domain.scan import ScanRows
from cryptosignal.store.blocks import decode_block, encode_block, rows_digest


@given(
    st.lists(st.lists(st.floats(width=64), min_size=3, max_size=3), max_size=5),
    st.sampled_from([1, 6]),
)
def test_every_bit_comes_back(table, level):
    """Columns with NaN, infinities and minus zero survive bit for bit."""
    columns = {f"c{i}": np.array(values) for i, values in enumerate(table)}
    before = ScanRows(9, 123, "manual", ("A", "B", "C"), columns, 5, 77, {"a": "b"})
    block = decode_block(encode_block(4, 124, before, 78, level))
    after = block.rows
    assert (block.seq, block.now_ms, block.tape_position) == (4, 124, 78)
    assert list(after.columns) == list(columns)
    for name, column in columns.items():
        assert after.columns[name].tobytes() == column.tobytes()
    for field in ("scan_id", "time_ms", "trigger", "symbols", "elapsed_us", "meta"):
        assert getattr(after, field) == getattr(before, field)
    assert after.tape_position == before.tape_position
    assert rows_digest(after) == rows_digest(before)


def test_digest_tells_rows_apart():
    """One changed bit, name or symbol changes the digest; the time a scan took does not."""
    base = rows()
    assert rows_digest(base) == rows_digest(rows())
    assert rows_digest(base) != rows_digest(rows(seed=1))
    renamed = {f"g{i}": c for i, c in enumerate(base.columns.values())}
    other = ScanRows(1, base.time_ms, "bar:1h", base.symbols, renamed)
    assert rows_digest(base) != rows_digest(other)
    slower = ScanRows(1, base.time_ms, "bar:1h", base.symbols, base.columns, 99_999)
    assert rows_digest(base) == rows_digest(slower)


@pytest.mark.parametrize("cut", [0, 3, 20, -1])
def test_cut_block(cut):
    """A block that was cut is refused with one line."""
    data = encode_block(1, 2, rows(), 0)[:cut]
    with pytest.raises(ValueError, match="decision block"):
        decode_block(data)


def test_foreign_digest():
    """A block whose columns differ from its digest is refused."""
    data = encode_block(1, 2, rows(), 0)
    digest = rows_digest(rows()).encode()
    with pytest.raises(ValueError, match="scan 1 differs from its digest"):
        decode_block(data.replace(digest, b"0" * len(digest)))


def test_wrong_shape():
    """A column that is not one value a symbol is refused by name."""
    bad = ScanRows(1, 2, "manual", ("A", "B"), {"f": np.zeros(3)})
    with pytest.raises(ValueError, match="column f has shape"):
        encode_block(1, 2, bad, 0)


def test_size_for_a_whole_market():
    """550 symbols, 15 columns of full precision and 25 of two digits: about 0.1 MB (D2)."""
    random = np.random.default_rng(3)
    names = tuple(f"S{i}USDT" for i in range(550))
    columns = {f"f{i}": random.normal(0, 40, 550) for i in range(15)}
    columns |= {f"g{i}": np.round(random.uniform(0, 1, 550), 2) for i in range(25)}
    size = len(encode_block(1, 2, ScanRows(1, 2, "bar:1h", names, columns), 0))
    assert size < 120_000
