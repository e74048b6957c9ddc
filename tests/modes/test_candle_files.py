"""Candle files of every odd kind: read right, left out and counted, or refused with one line."""

import numpy as np
import pytest
from tests.markets import START_MS, fold, walk_bars

from cryptosignal.ground.faults import UserFault
from cryptosignal.ground.units import INTERVAL_MS
from cryptosignal.modes.candle_files import read_candles

pl = pytest.importorskip("polars")
NAMES = ["BTCUSDT", "ETHUSDT", "币安人生USDT"]
HOUR = 3_600_000


def candles(interval="1h", bars=120):
    made = walk_bars(np.random.default_rng(2), len(NAMES), bars, interval, START_MS)
    fields = ("open", "high", "low", "close", "volume")
    return pl.DataFrame(
        {
            "symbol": np.repeat(NAMES, bars).tolist(),
            "open_time": np.tile(made.open_ms, len(NAMES)),
            **{name: made.data[k].ravel() for k, name in enumerate(fields)},
            "taker_buy_volume": made.data[7].ravel(),
        }
    )


BASE = candles()
ROW = pl.int_range(pl.len()) == 100


def spoilt(column, value):
    """The candles with another value in one row."""
    return lambda f: f.with_columns(pl.when(ROW).then(value).otherwise(column).alias(column))


def written(tmp_path, frame, name="candles.parquet"):
    path = tmp_path / name
    frame.write_csv(path) if name.endswith(".csv") else frame.write_parquet(path)
    return path


def hours(path):
    found = read_candles(path)
    return found.frames["1h"].sort("symbol", "time"), {k: n for k, n in found.left_out.items() if n}


def expected(tmp_path):
    return hours(written(tmp_path, BASE, "base.parquet"))[0]


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (lambda f: f.sample(fraction=1.0, shuffle=True, seed=3), "a.parquet"),
        (lambda f: f, "a.csv"),
        (lambda f: f.with_columns(pl.col("symbol").str.to_lowercase()), "a.parquet"),
        (lambda f: f.with_columns(pl.col("symbol").cast(pl.Categorical)), "a.parquet"),
        (lambda f: f.with_columns(pl.from_epoch("open_time", "ms")), "a.parquet"),
        (lambda f: f.with_columns(pl.from_epoch("open_time", "ms").dt.replace_time_zone("UTC")), "a.parquet"),
        (lambda f: f.with_columns(pl.from_epoch("open_time", "ms").cast(pl.String)), "a.csv"),
        (lambda f: f.with_columns(pl.col("open_time") // 1000), "a.parquet"),
        (lambda f: f.with_columns(pl.col("open_time") * 1000), "a.parquet"),
        (lambda f: f.with_columns(pl.col("close").cast(pl.String)), "a.parquet"),
        (lambda f: f.rename({c: c.upper() for c in f.columns}), "a.parquet"),
        (lambda f: f.with_columns(pl.lit("x").alias("note")), "a.parquet"),
    ],
    ids=["unsorted", "csv", "lower", "categorical", "datetime", "zoned", "text time", "seconds",
         "micros", "text price", "capitals", "extra column"],
)  # fmt: skip
def test_the_same_candles_in_another_dress(tmp_path, change, name):
    """Order, case, units and types of the same candles do not matter."""
    found, left_out = hours(written(tmp_path, change(BASE), name))
    assert found.equals(expected(tmp_path))
    assert left_out == {}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda f: pl.concat([f, f.filter(ROW)]), "twice"),
        (spoilt("close", -1.0), "without a possible price"),
        (spoilt("close", None), "without a possible price"),
        (spoilt("high", pl.col("low") / 2), "without a possible price"),
        (spoilt("open_time", None), "without symbol or time"),
        (spoilt("symbol", None), "without symbol or time"),
        (spoilt("open_time", pl.col("open_time") + 60_000), "off the grid"),
    ],
)
def test_a_row_that_cannot_be_right_is_left_out_and_counted(tmp_path, change, reason):
    """One bad row costs that row alone, and the reason is kept; a row given twice counts once."""
    found, left_out = hours(written(tmp_path, change(BASE)))
    assert left_out == {reason: 1}
    assert found.height == BASE.height - (reason != "twice")


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda f: f.drop("volume"), "found no candles"),
        (lambda f: f.drop("high"), "found no candles"),
        (lambda f: f.rename({"symbol": "pair"}), "found no candles"),
        (lambda f: f.head(0), "found no candles"),
        (lambda f: f.head(1), "too few bars to tell their interval"),
        (lambda f: f.with_columns(pl.lit("x").alias("close")), "column close holds no numbers"),
        (lambda f: f.with_columns(pl.col("open_time").cast(pl.String) + "th"), "cannot be read as time"),
        (lambda f: f.with_columns(pl.col("open_time") + 1), "do not open on the 1h grid"),
        (lambda f: f.with_columns(pl.col("open_time") * 7), "ms apart, allowed: 1m"),
    ],
)  # fmt: skip
def test_what_cannot_be_understood_is_refused_with_one_line(tmp_path, change, text):
    """A file that is no candles ends with one line that names what is wrong."""
    with pytest.raises(UserFault) as fault:
        read_candles(written(tmp_path, change(BASE)))
    assert text in str(fault.value)
    assert "\n" not in str(fault.value)


def test_other_files_in_the_folder_are_passed_over(tmp_path):
    """Notes and tables of something else beside the candles change nothing."""
    written(tmp_path, BASE)
    (tmp_path / "README.md").write_text("x")
    pl.DataFrame({"hello": [1]}).write_csv(tmp_path / "notes.csv")
    pl.DataFrame({"symbol": ["BTCUSDT"], "price": [1.0]}).write_parquet(tmp_path / "prices.parquet")
    assert set(read_candles(tmp_path).frames) == {"1h", "4h", "1d"}


@pytest.mark.parametrize(
    ("name", "symbol"),
    [("BTCUSDT", "BTCUSDT"), ("ethusdt", "ETHUSDT"), ("币安人生USDT", "币安人生USDT")],
)
def test_a_file_named_after_its_symbol_needs_no_symbol_column(tmp_path, name, symbol):
    """BTCUSDT-1h-2025-06.csv, in the columns of the exchange's own archive, in any letters."""
    one = BASE.filter(pl.col("symbol") == symbol).drop("symbol")
    path = written(tmp_path, one.rename({"taker_buy_volume": "taker_buy_base_asset_volume"}),
                   f"{name}-1h-2025-06.csv")  # fmt: skip
    found, _ = hours(path)
    assert found["symbol"].unique().to_list() == [symbol]
    assert found["taker_buy_volume"].null_count() == 0


def test_a_file_of_the_archive_without_a_header(tmp_path):
    """The exchange's older files name no columns: twelve in its order, the first bar none of them."""
    one = BASE.filter(pl.col("symbol") == "BTCUSDT").drop("symbol")
    zero = pl.lit(0)
    wide = one.select(
        "open_time", "open", "high", "low", "close", "volume", zero.alias("a"), zero.alias("b"),
        zero.alias("c"), "taker_buy_volume", zero.alias("d"), zero.alias("e"),
    )  # fmt: skip
    path = tmp_path / "BTCUSDT-1h-2021-06.csv"
    wide.write_csv(path, include_header=False)
    found, _ = hours(path)
    own = expected(tmp_path).filter(pl.col("symbol") == "BTCUSDT")
    assert found["time"].to_list() == own["time"].to_list()
    for name in ("open", "close", "volume", "taker_buy_volume"):
        np.testing.assert_array_equal(found[name], own[name])


@pytest.mark.parametrize("interval", ["1m", "3m", "5m", "15m", "30m"])
def test_longer_bars_are_whole_groups_of_shorter_ones(tmp_path, interval):
    """15m, 1h, 4h and 1d follow from any shorter interval; a group with a hole is no bar."""
    parts = HOUR // INTERVAL_MS[interval]
    made = walk_bars(np.random.default_rng(4), len(NAMES), 48 * parts, interval, START_MS)
    frame = candles(interval, 48 * parts)
    frame = frame.with_columns(
        pl.Series(name, made.data[k].ravel())
        for k, name in enumerate(("open", "high", "low", "close", "volume"))
    )
    hole = int(made.open_ms[5 * parts])
    frame = frame.filter(~((pl.col("symbol") == "BTCUSDT") & (pl.col("open_time") == hole)))
    found, _ = hours(written(tmp_path, frame))
    want = fold(made, parts, "1h")
    eth = found.filter(pl.col("symbol") == "ETHUSDT")
    np.testing.assert_allclose(eth["close"].to_numpy(), want.close[1])
    np.testing.assert_allclose(eth["high"].to_numpy(), want.high[1])
    np.testing.assert_allclose(eth["volume"].to_numpy(), want.volume[1])
    btc = found.filter(pl.col("symbol") == "BTCUSDT")
    assert btc.height == eth.height - 1
    assert hole // HOUR * HOUR not in btc["time"].to_list()


def test_own_bars_win_over_sums(tmp_path):
    """Where both a 1h bar and its four 15m bars exist, the 1h bar stands."""
    quarter = candles("15m", 400)
    own = candles("1h", 50).with_columns(pl.col("volume") * 3.0)
    written(tmp_path, quarter, "a.parquet")
    written(tmp_path, own, "b.parquet")
    found, _ = hours(tmp_path)
    known = own.join(found, left_on=["symbol", "open_time"], right_on=["symbol", "time"])
    assert known.height == own.height
    assert (known["volume"] == known["volume_right"]).all()
    assert found.height > own.height


def test_a_bar_that_knows_no_takers_has_them_from_shorter_ones(tmp_path):
    """An hour without taker volume takes it from its four quarters where both have the same volume;
    another volume is another market, and its own figures stay."""
    quarter = candles("15m", 400)
    hour = hours(written(tmp_path, quarter, "a.parquet"))[0]
    bare = hour.drop("taker_buy_volume").rename({"time": "open_time"})
    odd = pl.int_range(pl.len()) == 7
    bare = bare.with_columns(volume=pl.when(odd).then(2.0).otherwise(1.0) * pl.col("volume"))
    written(tmp_path, bare, "b.parquet")
    found, _ = hours(tmp_path)
    np.testing.assert_allclose(np.delete(found["taker_buy_volume"], 7),
                               np.delete(hour["taker_buy_volume"], 7))  # fmt: skip
    assert found["taker_buy_volume"][7] is None
    np.testing.assert_allclose(found["close"], hour["close"])
