"""The chart's options: the right numbers at the right bars, and nothing left over from before."""

from __future__ import annotations

import msgspec
import pytest
from tests.web.feed import HOUR_MS, Feed

from cryptosignal.web.charts import PAD_BARS, candle_data, candle_options

BARS = [[i * HOUR_MS, 10.0 + i, 12.0 + i, 9.0 + i, 11.0 + i, 5.0] for i in range(20)]
PLAN = {"entry_low": 28.0, "entry_high": 29.0, "stop_loss": 25.0, "take_profit_1": 33.0,
        "take_profit_2": 37.0, "atr": 1.0, "risk_frac": 0.1}  # fmt: skip


def series(body, signals=()):
    return {part["name"]: part for part in candle_data(body, signals)["series"]}


def test_candles_are_open_close_low_high():
    """Each bar goes to the chart in the order that it wants."""
    assert series({"candles": BARS})["price"]["data"][3] == [13.0, 14.0, 12.0, 15.0]


def test_the_axis_runs_on_past_the_newest_bar():
    """Names of bars are unique and go on in the same step, so that the plan has room."""
    names = candle_data({"candles": BARS}, [])["xAxis"][0]["data"]
    assert len(names) == len(set(names)) == 20 + PAD_BARS
    assert names[19:21] == ["1970-01-01 19:00", "1970-01-01 20:00"]


def test_the_plan_is_drawn_from_its_decision_on():
    """Band and lines begin at the bar of the decision and end at the right edge."""
    body = {"candles": BARS, "decision": {"plan": PLAN, "time_ms": 15 * HOUR_MS + 5}}
    price = series(body)["price"]
    band = price["markArea"]["data"][0]
    assert band[0]["coord"] == ["1970-01-01 15:00", 28.0]
    assert band[1]["coord"] == ["1970-01-02 09:00", 29.0]
    levels = {line[0]["name"]: line[1]["coord"][1] for line in price["markLine"]["data"]}
    assert levels == {"TP2": 37.0, "TP1": 33.0, "entry": 28.5, "SL": 25.0}
    assert sorted(point[1] for point in series(body)["reach"]["data"]) == [25.0, 37.0]


@pytest.mark.parametrize("decision", [None, {}, {"plan": None, "time_ms": 0}])
def test_no_plan_clears_the_old_one(decision):
    """Without a plan the marks are sent empty, so that none of the last symbol stays."""
    parts = series({"candles": BARS, "decision": decision})
    assert parts["price"]["markArea"]["data"] == parts["price"]["markLine"]["data"] == []
    assert parts["reach"]["data"] == []


@pytest.mark.parametrize(
    ("time_ms", "side", "expected"),
    [
        (3 * HOUR_MS, "long", ["1970-01-01 03:00", 12.0]),
        (3 * HOUR_MS + 7, "short", ["1970-01-01 03:00", 15.0]),
        (99 * HOUR_MS, "long", ["1970-01-01 19:00", 28.0]),
    ],
)
def test_signals_sit_at_their_bars(time_ms, side, expected):
    """A long signal points up from below its bar, a short one down from above."""
    points = series({"candles": BARS}, [{"time_ms": time_ms, "side": side}])["signal"]["data"]
    assert points[0]["value"] == expected
    assert points[0]["symbolRotate"] == (0 if side == "long" else 180)


def test_signals_before_the_picture_are_left_out():
    """A signal older than the oldest candle, or without a time, is not drawn."""
    bars = BARS[5:]
    drawn = series({"candles": bars}, [{"time_ms": 0, "side": "long"}, {"side": "long"}])
    assert drawn["signal"]["data"] == []


def test_no_candles_is_an_empty_chart():
    """Without candles the options are still whole."""
    options = candle_options({}, [], 120)
    assert [part["data"] for part in options["series"]] == [[], [], [], []]
    assert options["dataZoom"][0]["start"] == 0.0


def test_the_newest_bars_are_in_view():
    """A fresh chart is zoomed to the newest bars; an update does not touch the zoom."""
    body = Feed(count=3).symbol("BTCUSDT", "1h")
    assert 50 < candle_options(body, [], 120)["dataZoom"][0]["start"] < 70
    assert "dataZoom" not in candle_data(body, [])


def test_options_are_plain_values():
    """What goes to the browser is JSON."""
    body = Feed(count=3).symbol("BTCUSDT", "1h")
    assert msgspec.json.decode(msgspec.json.encode(candle_options(body, body["signals"], 120)))
