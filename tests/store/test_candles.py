"""Stored candles: what was saved is loaded bit for bit; anything else is refused with a note."""

from __future__ import annotations

import numpy as np
import pytest

from cryptosignal.store.candles import FIELDS, CandleStore
from cryptosignal.store.memory_disk import SimDisk

HOUR = 3_600_000


def table(count, start_ms=472_222 * HOUR, step=HOUR, seed=1):
    rows = np.random.default_rng(seed).uniform(1, 2, (count, FIELDS))
    rows[:, 0] = start_ms + step * np.arange(count)
    rows[:, 6] = rows[:, 0] + step - 1
    rows[-1, 9:] = np.nan
    return rows


@pytest.fixture
def disk():
    return SimDisk()


def test_round_trip(disk):
    """Rows of symbols of different lengths, NaN included, come back bit for bit."""
    store = CandleStore(disk)
    rows = {"BTCUSDT": table(300), "NEWUSDT": table(2, seed=2)}
    store.save("1h", rows, 123)
    back = store.load("1h")
    assert (back.note, back.saved_ms, list(back.rows)) == ("", 123, list(rows))
    for symbol, value in rows.items():
        assert back.rows[symbol].tobytes() == value.tobytes()
    store.save("1h", {}, 124)
    assert store.load("1h").rows == {}


def test_nothing_stored(disk):
    """A first start finds nothing and is told so."""
    assert CandleStore(disk).load("1h").note == "candles/1h.bin: nothing stored yet"


@pytest.mark.parametrize("at", [0, 9, 12, 40, 120, -1])
def test_one_flipped_bit(disk, at):
    """One flipped bit anywhere refuses the file with a note; nothing of it is used."""
    store = CandleStore(disk)
    store.save("1h", {"BTCUSDT": table(3)}, 1)
    disk.corrupt("candles/1h.bin", at, 0x01)
    back = store.load("1h")
    assert back.rows == {}
    assert back.note.startswith("candles/1h.bin: ")
    assert back.note.endswith("refused, fetching again")
    assert "\n" not in back.note


@pytest.mark.parametrize("length", [1, 13, 30, 200, -8])
def test_cut_file(disk, length):
    """A file cut anywhere is refused with a note."""
    store = CandleStore(disk)
    store.save("1h", {"BTCUSDT": table(3)}, 1)
    size = disk.size("candles/1h.bin")
    disk.truncate("candles/1h.bin", length if length > 0 else size + length)
    assert "refused" in store.load("1h").note


def test_newer_and_foreign(disk):
    """A newer format and another interval's file are refused by name."""
    store = CandleStore(disk)
    store.save("1h", {"BTCUSDT": table(3)}, 1)
    disk.replace("candles/4h.bin", disk.read("candles/1h.bin"))
    assert "holds interval 1h" in store.load("4h").note
    disk.corrupt("candles/1h.bin", 8, 0x02)
    assert "format 3 is newer" in store.load("1h").note


@pytest.mark.parametrize(
    ("rows", "text"),
    [
        (np.zeros((2, 5)), "shape"),
        (table(3)[::-1], "do not ascend"),
        (table(3, start_ms=472_222 * HOUR + 1), "not on the grid of 1h"),
        (np.full((1, FIELDS), np.nan), "not a number"),
    ],
)
def test_wrong_rows_are_not_saved(disk, rows, text):
    """Rows that no kline of the interval could have are refused before they are written."""
    with pytest.raises(ValueError, match=f"BTCUSDT 1h: .*{text}"):
        CandleStore(disk).save("1h", {"BTCUSDT": rows}, 1)
    assert disk.names("") == []


def test_weeks_open_on_monday(disk):
    """Weekly rows lie on the Monday grid."""
    week = 7 * 24 * HOUR
    store = CandleStore(disk)
    store.save("1w", {"BTCUSDT": table(2, start_ms=4 * 24 * HOUR + 2_800 * week, step=week)}, 1)
    assert len(store.load("1w").rows["BTCUSDT"]) == 2
