"""Candles, volume, signals and the price plan of one symbol as the options of one chart."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

from cryptosignal.ground.calendar import utc_text

Dict = Mapping[str, Any]

UP, DOWN = "#26a69a", "#ef5350"
ENTRY, STOP, TAKE = "#4c9aff", "#ff6b6b", "#3ddc97"
INK, FAINT, LINE = "#aab4c0", "#6b7682", "#1e2630"
_GRID: Final = {"left": 8, "right": 64, "outerBoundsMode": "none"}
PAD_BARS: Final = 14
"""Empty bars to the right of the newest, where the plan's lines carry their names."""


def candle_options(body: Dict, signals: Sequence[Dict], shown: int) -> dict[str, Any]:
    """Options for a fresh chart, zoomed to the newest `shown` bars."""
    count = len(body.get("candles") or []) + PAD_BARS
    start = max(0.0, 100.0 * (1 - (shown + PAD_BARS) / count)) if count else 0.0
    return {
        "animation": False,
        "backgroundColor": "transparent",
        "textStyle": {"color": INK, "fontSize": 11},
        "grid": [
            {**_GRID, "top": 10, "height": "72%"},
            {**_GRID, "top": "79%", "bottom": 22},
        ],
        "tooltip": {
            "trigger": "axis",
            "axisPointer": {"type": "cross", "label": {"backgroundColor": "#2a3440"}},
            "backgroundColor": "#151b22",
            "borderColor": LINE,
            "textStyle": {"color": INK, "fontSize": 11},
        },
        "axisPointer": {"link": [{"xAxisIndex": "all"}]},
        "dataZoom": [{"type": "inside", "xAxisIndex": [0, 1], "start": start, "end": 100}],
        "yAxis": [_y_axis(0), _y_axis(1)],
        **candle_data(body, signals),
    }


def candle_data(body: Dict, signals: Sequence[Dict]) -> dict[str, Any]:
    """The part of the options that moves with the market; leaves the reader's zoom alone."""
    candles: Sequence[Sequence[float]] = body.get("candles") or []
    names = _bar_names(candles)
    plan = (body.get("decision") or {}).get("plan")
    first = _bar_at(candles, (body.get("decision") or {}).get("time_ms"))
    return {
        "xAxis": [_x_axis(names, 0), _x_axis(names, 1)],
        "series": [
            _candle_series(candles, names, plan, first),
            _volume_series(candles),
            _signal_series(candles, names, signals),
            _reach_series(names, plan),
        ],
    }


def _bar_names(candles: Sequence[Sequence[float]]) -> list[str]:
    if not candles:
        return []
    times = [int(bar[0]) for bar in candles]
    step = times[-1] - times[-2] if len(times) > 1 else 60_000
    times += [times[-1] + step * (i + 1) for i in range(PAD_BARS)]
    return [utc_text(time_ms)[:16] for time_ms in times]


def _bar_at(candles: Sequence[Sequence[float]], time_ms: int | None) -> int:
    """Index of the bar in which `time_ms` lies, of the newest if it is unknown or later."""
    last = max(0, len(candles) - 1)
    if time_ms is None:
        return last
    earlier = sum(1 for bar in candles if bar[0] <= time_ms)
    return min(last, max(0, earlier - 1))


def _candle_series(
    candles: Sequence[Sequence[float]], names: list[str], plan: Dict | None, first: int
) -> dict[str, Any]:
    """ECharts wants open, close, low, high. Without a plan the marks are emptied, or an old plan
    would stay in the picture."""
    series: dict[str, Any] = {
        "name": "price",
        "type": "candlestick",
        "data": [[bar[1], bar[4], bar[3], bar[2]] for bar in candles],
        "itemStyle": {"color": UP, "color0": DOWN, "borderColor": UP, "borderColor0": DOWN},
        "markArea": {"silent": True, "data": []},
        "markLine": {"silent": True, "symbol": "none", "data": []},
    }
    if not plan or not names:
        return series
    left, right = names[first], names[-1]
    series["markArea"] |= {
        "itemStyle": {"color": ENTRY, "opacity": 0.18},
        "data": [
            [{"coord": [left, plan["entry_low"]]}, {"coord": [right, plan["entry_high"]]}],
        ],
    }
    middle = (plan["entry_low"] + plan["entry_high"]) / 2
    lines = [
        ("TP2", plan["take_profit_2"], TAKE),
        ("TP1", plan["take_profit_1"], TAKE),
        ("entry", middle, ENTRY),
        ("SL", plan["stop_loss"], STOP),
    ]
    series["markLine"]["data"] = [_level(left, right, *line) for line in lines]
    return series


def _level(left: str, right: str, name: str, price: float, color: str) -> list[dict[str, Any]]:
    label = {
        "show": True,
        "formatter": name,
        "position": "insideEndTop",
        "color": color,
        "fontWeight": "bold",
    }
    style = {"color": color, "type": "solid" if name == "SL" else "dashed", "width": 1.2}
    return [
        {"name": name, "coord": [left, price], "lineStyle": style, "label": label},
        {"coord": [right, price]},
    ]


def _volume_series(candles: Sequence[Sequence[float]]) -> dict[str, Any]:
    return {
        "name": "volume",
        "type": "bar",
        "xAxisIndex": 1,
        "yAxisIndex": 1,
        "data": [
            {"value": bar[5], "itemStyle": {"color": UP if bar[4] >= bar[1] else DOWN}}
            for bar in candles
        ],
        "itemStyle": {"opacity": 0.55},
    }


def _signal_series(
    candles: Sequence[Sequence[float]], names: list[str], signals: Sequence[Dict]
) -> dict[str, Any]:
    """A triangle below the bar of a long signal, above the bar of a short one."""
    points = []
    for signal in signals:
        time_ms = signal.get("time_ms")
        if not candles or time_ms is None or time_ms < candles[0][0]:
            continue
        at = _bar_at(candles, time_ms)
        is_long = str(signal.get("side", "")).lower() == "long"
        points.append(
            {
                "name": f"{signal.get('tier', '')} {signal.get('side', '')}",
                "value": [names[at], candles[at][3] if is_long else candles[at][2]],
                "symbolRotate": 0 if is_long else 180,
                "symbolOffset": [0, 10 if is_long else -10],
                "itemStyle": {"color": TAKE if is_long else STOP},
            }
        )
    return {
        "name": "signal",
        "type": "scatter",
        "symbol": "triangle",
        "symbolSize": 11,
        "data": points,
        "z": 6,
    }


def _reach_series(names: list[str], plan: Dict | None) -> dict[str, Any]:
    """Unseen points at stop and second target, so that the price axis makes room for the plan."""
    reach = [plan["stop_loss"], plan["take_profit_2"]] if plan and names else []
    return {
        "name": "reach",
        "type": "scatter",
        "symbolSize": 0,
        "silent": True,
        "tooltip": {"show": False},
        "data": [[names[-1], price] for price in reach if math.isfinite(price)],
    }


def _x_axis(names: list[str], grid: int) -> dict[str, Any]:
    return {
        "type": "category",
        "gridIndex": grid,
        "data": names,
        "boundaryGap": True,
        "axisLine": {"lineStyle": {"color": LINE}},
        "axisTick": {"show": False},
        "axisLabel": {
            "show": grid == 1,
            "color": FAINT,
            "fontSize": 10,
            "hideOverlap": True,
            "alignMinLabel": "left",
            ":formatter": "(name) => name.slice(5)",
        },
        "splitLine": {"show": False},
    }


def _y_axis(grid: int) -> dict[str, Any]:
    return {
        "type": "value",
        "gridIndex": grid,
        "position": "right",
        "scale": True,
        "splitNumber": 5 if grid == 0 else 2,
        "axisLabel": {"show": grid == 0, "color": FAINT, "fontSize": 10},
        "splitLine": {"show": grid == 0, "lineStyle": {"color": LINE}},
    }
