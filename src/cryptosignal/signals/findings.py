"""What stands out in a row, in words: the planted things that a person would want to be told."""

from __future__ import annotations

import numpy as np

from cryptosignal.domain.scan import ScanRows
from cryptosignal.signals.score import column

_STRONG = 45.0
_ACCUMULATED_LEAD, _ACCUMULATED_CVD = 85.0, 60.0
_ACCUMULATED_TREND = (-10.0, 40.0)


def findings(rows: ScanRows, i: int, side: str) -> tuple[str, ...]:
    """Sentences about one symbol; empty where nothing stands out."""
    out: list[str] = []
    lead = _at(rows, f"mod.lead_{side}", i)
    oi, oi_24h = _at(rows, "score.O", i), _at(rows, "ctx.oi_24h", i)
    cvd, trend = _at(rows, "score.C", i), _at(rows, "score.T", i)
    price_raw, flow_raw = _at(rows, "raw.T", i), _at(rows, "raw.C", i)
    if lead >= _STRONG:
        out.append(f"money leads price: lead {lead:+.0f} for a {side}")
    sign = 1.0 if side == "long" else -1.0
    low, high = _ACCUMULATED_TREND
    if lead >= _ACCUMULATED_LEAD and sign * cvd >= _ACCUMULATED_CVD and low <= sign * trend <= high:
        word = "accumulation" if side == "long" else "distribution"
        out.append(f"{word}: money and taker flow before the price moves (C {cvd:+.0f})")
    if abs(oi) >= _STRONG and abs(oi_24h) >= 0.01:
        word = "rises" if oi_24h > 0.0 else "falls"
        out.append(f"open interest {word} {100.0 * abs(oi_24h):.1f} % in 24 h (O {oi:+.0f})")
    elif oi_24h >= 0.05:
        out.append(f"open interest builds up: {100.0 * oi_24h:+.1f} % in 24 h ahead of price")
    # raw values tell before scores do; of a new coin they are hours where its scores are minutes
    is_early = abs(trend) < 30.0 and not _at(rows, "ctx.is_new", i) > 0.0
    is_early = is_early and cvd * flow_raw > 0.0 > flow_raw * price_raw
    if abs(cvd) >= 30.0 and (cvd * trend < 0.0 or is_early):
        word = "bought while price falls" if cvd > 0.0 else "sold while price rises"
        said = f"T {trend:+.0f}" if cvd * trend < 0.0 else f"trend {price_raw:+.0f} by itself"
        out.append(f"CVD divergence: {word} (C {cvd:+.0f}, {said})")
    for direction in ("up", "down"):
        votes = _at(rows, f"ctx.ignition_{direction}", i)
        if votes >= 3.0 and column(rows, "ctx.is_new")[i] > 0.0:
            out.append(f"new-coin ignition {direction}: {votes:.0f} of 6 signs")
    fwi = _at(rows, "ctx.fwi", i)
    if abs(fwi) > 2.0:
        payer = "longs" if fwi > 0.0 else "shorts"
        out.append(f"funding presses: {payer} pay soon, pressure {abs(fwi):.1f}")
    crowding = _at(rows, f"mod.crowding_{side}", i)
    if crowding >= 0.85:
        out.append(f"crowded {side}s: crowding {crowding:.2f}")
    return tuple(out)


def _at(rows: ScanRows, name: str, i: int) -> float:
    value = float(column(rows, name)[i])
    return 0.0 if np.isnan(value) else value
