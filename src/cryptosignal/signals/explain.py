"""A decision in words: what was seen, what each factor gave, which gate stopped it, and what would
have had to differ. Reads the decision object alone (§0.15), so it works for any past scan."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from cryptosignal.domain.signal import Decision, Gate, Tier, Verdict
from cryptosignal.ground.calendar import utc_text
from cryptosignal.signals.gates import PASS

if TYPE_CHECKING:
    from cryptosignal.signals.decisions import ScanDecisions

_BAR = 20
FACTOR_WORDS = {
    "T": "trend",
    "M": "momentum",
    "C": "taker flow (CVD)",
    "S": "structure",
    "V": "volume",
    "O": "open interest",
    "L": "liquidity (sign of the rest)",
    "B": "basis and funding",
    "Q": "large trades, liquidations",
}
GATE_WORDS = {
    "data_quality": "data can be trusted",
    "newest_bar": "the newest 1h bar is closed",
    "coverage": "enough factors have data",
    "enough_bars": "bars of each interval",
    "ev": "expected value after costs",
    "probability": "probability against p_min",
    "delta_p": "margin over the other side",
    "strength": "Prime strength",
    "dims": "strong factors on this side",
    "persistence": "held over closed bars",
    "spread": "spread",
    "impact": "price impact of the probe size",
    "obi": "book imbalance against the side",
    "book_age": "age of the book",
    "room_structure": "room to the 72h extreme",
    "room_book": "depth in the book",
    "funding_time": "distance to the funding settlement",
    "coherence": "agreement of the timeframes",
    "micro_15m": "15m confirmation",
    "micro_atr": "15m turbulence",
    "micro_volume": "15m volume blow-off",
    "btc_opposition": "BTC trend against a dependent coin",
    "independence": "score of a dependent coin",
    "lead": "money against price",
    "conflict": "trend against cause",
    "cause_split": "causes against each other",
    "risk": "size left by the risk filters",
    "breadth": "market on this side",
    "listing_age": "minutes since listing",
    "ignition": "new-coin ignition without exhaustion",
    "thrust": "new-coin momentum on this side",
    "new_coins": "place among new coins",
    "opposite_overlay": "Overlay signals of the other side",
    "correlation": "place among signals that move together",
    "cooldown": "cooldown over",
}


def explain(decision: Decision) -> list[str]:
    """Lines of plain text for a terminal or a page."""
    return [
        *_head(decision),
        *_seen(decision),
        *_factors(decision),
        *_odds(decision),
        *_gates(decision),
        *_plan(decision),
        *_difference(decision),
    ]


def stopped_by(found: ScanDecisions, place: int) -> str:
    """The first gate that keeps a symbol from Prime, short enough for a table; "" where none does."""
    table = found.table
    stops = np.flatnonzero(table.verdicts[:, place] != PASS)
    if not len(stops):
        return next((GATE_WORDS[name] for name, bad in found.contested().items() if bad[place]), "")
    at = int(stops[0])
    name, relation = table.names[at], table.relations[at]
    value, limit = float(table.values[at, place]), float(table.limits[at, place])
    word = name.replace("_", " ")
    if math.isnan(value):
        return f"{word}: no data"
    return (
        f"{word} {_short(value, limit)} ({_SIGNS.get(relation, relation)} {_short(limit, limit)})"
    )


_SIGNS = {">=": "≥", "<=": "≤"}


def _short(value: float, beside: float) -> str:
    """Three digits, or as many as set the value apart from its limit."""
    for digits in (3, 4, 5, 6):
        text = f"{value:.{digits}g}"
        if value == beside or text != f"{beside:.{digits}g}":
            return text
    return f"{value:.9g}"


def _head(d: Decision) -> list[str]:
    verdict = {Tier.PRIME: "PRIME", Tier.WATCH: "Watch", Tier.REJECT: "rejected"}[d.tier]
    return [
        f"{d.symbol} at {utc_text(d.time_ms)} UTC: {verdict}, {d.side}, score {d.score:+.1f}, "
        f"Prime strength {d.prime_strength:.1f}",
        f"signal {d.signal_id}, scan {d.scan_id}, parameters {d.params_version}",
        *(f"! {sentence}" for sentence in d.findings),
    ]


def _seen(d: Decision) -> list[str]:
    lines = ["", "What was seen", f"  data quality {_value(d.quality)}{_because(d)}"]
    for bar in d.receipt:
        parts = [f"{bar.bars} bars, newest opened {utc_text(bar.open_ms)}"]
        if bar.source:
            parts.append(f"from {bar.source.replace('_', ' ')}")
        if bar.finality:
            parts.append(bar.finality.replace("_", " "))
        if not math.isnan(bar.lag_ms):
            parts.append(f"{bar.lag_ms:.0f} ms after its close")
        lines.append(f"  {bar.interval:>3}: " + ", ".join(parts))
    return lines


def _because(d: Decision) -> str:
    return f" ({d.quality_reason})" if d.quality_reason else ""


def _factors(d: Decision) -> list[str]:
    lines = ["", "Factors                              value   weight  gives"]
    for name, value in d.factors.items():
        label = f"{name} {FACTOR_WORDS.get(name, 'your factor')}"
        if math.isnan(value):
            lines.append(f"  {label:<33} no data       0    {'':>5}")
            continue
        weight, given = d.weights.get(name, math.nan), d.contributions.get(name, 0.0)
        lines.append(f"  {label:<33} {value:+7.1f}  {weight:6.1f} {given:+6.2f} {_bar(value)}")
    lines.append(f"  {'score':<33} {d.score:+7.1f}")
    words = ", ".join(f"{k} {_value(v)}" for k, v in d.modulators.items())
    return [*lines, f"  modulators: {words}"]


def _odds(d: Decision) -> list[str]:
    return [
        "",
        f"Odds: p {d.p:.3f} (rank), calibrated {d.p_calibrated:.3f}; expected value "
        f"{_bps(d.ev)} after {_bps(d.cost, sign='')} of costs",
        *_risk(d),
    ]


def _bps(share: float, sign: str = "+") -> str:
    return "unknown" if math.isnan(share) else f"{1e4 * share:{sign}.1f} bps"


def _risk(d: Decision) -> list[str]:
    left = d.modulators.get("size_left", math.nan)
    if math.isnan(left):
        return []
    word = "skip" if left == 0.0 else d.risk_level or "low"
    return [f"Risk: {word}, {100.0 * left:.0f} % of the planned size"]


def _gates(d: Decision) -> list[str]:
    lines = ["", "Gates"]
    for gate in d.gates:
        mark = {Verdict.PASS: "ok ", Verdict.MARGINAL: " ~ ", Verdict.FAIL: " X "}.get(
            gate.verdict, " ? "
        )
        text = f"{_of(gate, gate.value)} {gate.relation} {_of(gate, gate.limit)}"
        if gate.verdict in (Verdict.NO_DATA, Verdict.WARMING):
            text = gate.reason
        lines.append(f"  [{mark}] {GATE_WORDS.get(gate.name, gate.name):<40} {text}")
    return lines


def _plan(d: Decision) -> list[str]:
    if d.plan is None:
        return ["", "No price plan: bars are missing"]
    p = d.plan
    return [
        "",
        f"Plan ({d.side}): entry {p.entry_low:.8g} to {p.entry_high:.8g}, stop {p.stop_loss:.8g} "
        f"({100 * p.risk_frac:.2f} %), TP1 {p.take_profit_1:.8g}, TP2 {p.take_profit_2:.8g}, "
        f"good for {d.ttl_ms / 3_600_000:.1f} h",
    ]


def _difference(d: Decision) -> list[str]:
    stopped = [gate for gate in d.gates if gate.verdict != Verdict.PASS]
    if not stopped:
        return ["", "Nothing stopped it."]
    first = stopped[0]
    lines = ["", f"Stopped by: {GATE_WORDS.get(first.name, first.name)} ({first.reason})"]
    lines.append("To be Prime it would have needed:")
    return [*lines, *(f"  {_wish(gate)}" for gate in stopped)]


def _wish(gate: Gate) -> str:
    words = GATE_WORDS.get(gate.name, gate.name)
    if gate.verdict in (Verdict.NO_DATA, Verdict.WARMING):
        return f"{words}: data ({gate.reason})"
    gap = gate.limit - gate.value
    verb = "more" if gap > 0.0 else "less"
    limit, value, more = (_of(gate, x) for x in (gate.limit, gate.value, abs(gap)))
    return f"{words}: {gate.relation} {limit}, was {value} ({more} {verb})"


_TIMES = ("book_age", "funding_time", "cooldown")
"""Gates whose values are milliseconds."""


def _of(gate: Gate, value: float) -> str:
    """A value of a gate; a time in the unit that people would use."""
    if gate.name not in _TIMES or not 0.0 < abs(value) < 1e12:
        return _value(value)
    for unit, length in (("h", 3_600_000.0), ("min", 60_000.0), ("s", 1000.0)):
        if abs(value) >= length:
            return f"{value / length:.4g} {unit}"
    return f"{value + 0.0:.0f} ms"


def _value(value: float) -> str:
    if math.isnan(value):
        return "no data"
    value += 0.0  # no minus before a nothing
    if abs(value) >= 1e12:
        return "long ago"
    return f"{value:.0f}" if abs(value) >= 1000.0 else f"{value:.4g}"


def _bar(value: float) -> str:
    filled = round(min(abs(value), 100.0) / 100.0 * _BAR)
    return ("+" if value >= 0.0 else "-") * filled
