"""One decision, the engine's health and its run as pieces of HTML: every value escaped, NaN in words.

Reads the decision object as the socket carries it (plain dicts) and nothing else, so the page says
what the engine said. Sentences and the names of gates and factors come from the engine (`explain`,
`words`); this room only sets them out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape
from typing import Any, Final, TypeGuard

from cryptosignal.ground.calendar import utc_text

Dict = Mapping[str, Any]

VERDICT_WORDS: Final = {
    "pass": "pass",
    "marginal": "marginal",
    "fail": "fail",
    "no_data": "no data",
    "warming": "warming",
}
_RELATIONS: Final = {">=": "≥", "<=": "≤"}
_FACTOR_FULL: Final = 100.0
_MODULATORS: Final = {
    "I": "independence",
    "g_f": "crowding pull",
    "g_i": "independence pull",
    "t_eff": "temperature",
    "p_multiplier": "p ×",
    "prime_multiplier": "Prime ×",
    "coverage": "weight with data",
    "fwi": "funding pressure",
    "adx": "ADX",
}
_SHOWN_ELSEWHERE: Final = ("size_left", "reverted")


def is_figure(value: Any) -> TypeGuard[float]:
    """Whether there is a figure at all: NaN and null are no data."""
    return isinstance(value, int | float) and value == value


def number(value: Any, digits: int = 4) -> str:
    """A figure for reading: significant digits, no exponent in the common range, "–" for none."""
    if not is_figure(value):
        return "–"
    if value == 0 or 1e-9 <= abs(value) < 1e9:
        text = f"{value:.{_decimals(value, digits)}f}"
        return text.rstrip("0").rstrip(".") if "." in text else text
    return f"{value:.{digits}g}"


def _decimals(value: float, digits: int) -> int:
    whole = len(str(int(abs(value)))) if abs(value) >= 1 else 0
    leading = 0
    if 0 < abs(value) < 1:
        leading = max(0, -int(f"{value:e}".split("e")[1]) - 1)
    return max(0, digits - whole) + leading


def count(value: Any) -> str:
    """A whole number with thousands set apart; counts by name are added up."""
    if isinstance(value, Mapping):
        return count(sum(value.values()))
    return f"{value:,.0f}" if is_figure(value) else "–"


def price(value: Any) -> str:
    """A price with six significant digits and thousands kept together."""
    return number(value, 6)


def span(seconds: Any) -> str:
    """Seconds as the two largest units that fit: `3 d 4 h`, `12 min 5 s`, `9 s`."""
    if not is_figure(seconds):
        return "–"
    rest = max(0, int(seconds))
    parts: list[str] = []
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)):
        count, rest = divmod(rest, size)
        if count or (unit == "s" and not parts):
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2])


def _tag(kind: Any, text: Any) -> str:
    return f'<span class="cs-tag cs-{escape(str(kind).lower())}">{escape(str(text))}</span>'


def headline(symbol: str, decision: Dict | None) -> str:
    """The first line over the candles: what the newest decision is."""
    name = f'<span class="cs-symbol">{escape(symbol)}</span>'
    if not decision:
        return f'{name}<span class="cs-muted">no decision yet</span>'
    facts = [
        ("score", f"{decision.get('score') or 0:+.1f}"),
        ("Prime", number(decision.get("prime_strength"), 3)),
        ("p", number(decision.get("p"), 3)),
        ("calibrated", number(decision.get("p_calibrated"), 3)),
        ("EV", bps(decision.get("ev"))),
        ("cost", bps(decision.get("cost"))),
        ("quality", number(decision.get("quality"), 3)),
        ("good for", span((decision.get("ttl_ms") or 0) / 1000)),
    ]
    shown = "".join(f'<span class="cs-fact"><i>{k}</i>{escape(v)}</span>' for k, v in facts)
    side, tier = decision.get("side", ""), decision.get("tier", "")
    return f"{name}{_tag(tier, tier)}{_tag(side, side)}{shown}"


def bps(value: Any) -> str:
    """A fraction of notional in basis points."""
    return f"{1e4 * value:+.1f} bps" if is_figure(value) else "–"


def plan_line(decision: Dict | None) -> str:
    """The price plan in one line, or why there is none."""
    plan = (decision or {}).get("plan")
    if not plan:
        return '<span class="cs-muted">no price plan</span>'
    parts = [
        ("entry", f"{price(plan['entry_low'])} – {price(plan['entry_high'])}", "entry"),
        ("SL", price(plan["stop_loss"]), "stop"),
        ("TP1", price(plan["take_profit_1"]), "take"),
        ("TP2", price(plan["take_profit_2"]), "take"),
        ("risk", f"{100 * plan['risk_frac']:.2f} %", "risk"),
        ("ATR", number(plan["atr"], 3), "risk"),
        *_size(decision or {}),
    ]
    return "".join(
        f'<span class="cs-fact cs-plan-{kind}"><i>{name}</i>{escape(text)}</span>'
        for name, text, kind in parts
    )


def _size(decision: Dict) -> list[tuple[str, str, str]]:
    """What the risk filters leave of the size, where they take something."""
    left = (decision.get("modulators") or {}).get("size_left")
    if not is_figure(left) or left >= 1.0:
        return []
    return [("size", f"{100 * left:.0f} % ({decision.get('risk_level', '')} risk)", "stop")]


def finding_list(decision: Dict | None) -> str:
    """What stands out, in the engine's words."""
    found = (decision or {}).get("findings") or ()
    return "".join(f'<span class="cs-finding">{escape(str(text))}</span>' for text in found)


def factor_bars(decision: Dict | None, names: Mapping[str, str]) -> str:
    """Each factor as a bar from −100 to +100 with what it gives to the score."""
    if not decision:
        return '<div class="cs-empty">no decision yet</div>'
    given = decision.get("contributions") or {}
    weights = decision.get("weights") or {}
    rows = "".join(
        _factor(key, names.get(key, ""), value, given.get(key), weights.get(key))
        for key, value in (decision.get("factors") or {}).items()
    )
    modulators = "".join(
        f'<span class="cs-fact"><i>{escape(_MODULATORS.get(name, name.replace("_", " ")))}</i>'
        f"{number(value, 3)}</span>"
        for name, value in (decision.get("modulators") or {}).items()
        if name not in _SHOWN_ELSEWHERE
    )
    return (
        '<table class="cs-factors"><thead><tr><th>factor</th><th></th><th class="cs-r">value</th>'
        '<th class="cs-r">gives</th></tr></thead>'
        f'<tbody>{rows}</tbody></table><div class="cs-modulators">{modulators}</div>'
    )


def _factor(key: str, name: str, value: Any, given: Any, weight: Any) -> str:
    hint = f"{name}, weight {number(weight)}"
    label = f'<td title="{escape(hint)}"><b>{escape(key)}</b> {escape(name)}</td>'
    if not is_figure(value):
        empty = '<td><div class="cs-bar"></div></td><td class="cs-r">no data</td>'
        return f'<tr class="cs-none">{label}{empty}<td class="cs-r">0</td></tr>'
    width = min(abs(value), _FACTOR_FULL) / _FACTOR_FULL * 50
    side, left = ("up", 50.0) if value >= 0 else ("down", 50 - width)
    bar = (
        f'<div class="cs-bar"><div class="cs-{side}" style="left:{left:.1f}%;width:{width:.1f}%">'
        "</div></div>"
    )
    gives = f"{given:+.1f}" if is_figure(given) else "–"
    return (
        f'<tr>{label}<td>{bar}</td><td class="cs-r">{value:+.0f}</td>'
        f'<td class="cs-r">{gives}</td></tr>'
    )


def gate_table(decision: Dict | None, names: Mapping[str, str]) -> str:
    """Each gate with verdict, value, limit and reason; those that stopped it come first."""
    if not decision:
        return '<div class="cs-empty">no decision yet</div>'
    gates = list(decision.get("gates") or [])
    stopped = [gate for gate in gates if gate.get("verdict") != "pass"]
    passed = [gate for gate in gates if gate.get("verdict") == "pass"]
    rows = "".join(_gate(gate, names) for gate in [*stopped, *passed])
    return (
        '<table class="cs-gates"><thead><tr><th>verdict</th>'
        f"<th>gate ({len(passed)} of {len(gates)} passed)</th>"
        '<th class="cs-r">value</th><th colspan="2">limit</th></tr></thead>'
        f"<tbody>{rows}</tbody></table>"
    )


def _gate(gate: Dict, names: Mapping[str, str]) -> str:
    verdict, name = str(gate.get("verdict", "")), str(gate.get("name", ""))
    relation, reason = str(gate.get("relation", "")), str(gate.get("reason") or "")
    is_told = is_figure(gate.get("value")) or not reason  # the figures say the same already
    why = "" if is_told else f'<span class="cs-why">{escape(reason)}</span>'
    return (
        f'<tr title="{escape(reason)}"><td>{_tag(verdict, VERDICT_WORDS.get(verdict, verdict))}</td>'
        f"<td>{escape(names.get(name, name.replace('_', ' ')))}{why}</td>"
        f'<td class="cs-r">{number(gate.get("value"))}</td>'
        f'<td class="cs-relation">{escape(_RELATIONS.get(relation, relation))}</td>'
        f'<td class="cs-limit">{number(gate.get("limit"))}</td></tr>'
    )


def explanation(lines: Iterable[str]) -> str:
    """The engine's own sentences, as they are."""
    text = "\n".join(escape(str(line)) for line in lines)
    return f'<pre class="cs-explain">{text or "no explanation yet"}</pre>'


def connections(health: Dict) -> str:
    """Every connection with its state in colour and words."""
    rows = "".join(_connection(link) for link in health.get("connections") or [])
    if not rows:
        return '<div class="cs-empty">no connection reported</div>'
    return (
        '<table class="cs-links"><thead><tr><th>connection</th><th>route</th><th>state</th>'
        '<th class="cs-r">open for</th><th class="cs-r">frames</th><th class="cs-r">streams</th>'
        f'<th class="cs-r">lag</th></tr></thead><tbody>{rows}</tbody></table>'
    )


def _connection(link: Dict) -> str:
    state = str(link.get("state", ""))
    age, lag = link.get("age_s"), link.get("lag_ms")
    return (
        f"<tr><td>{escape(str(link.get('id', '')))}</td>"
        f"<td>{escape(str(link.get('route', '')))}</td><td>{_tag(state, state.lower())}</td>"
        f'<td class="cs-r">{span(age)}</td><td class="cs-r">{count(link.get("frames"))}</td>'
        f'<td class="cs-r">{count(link.get("streams"))}</td><td class="cs-r">{number(lag, 3)} ms</td></tr>'
    )


def weight(health: Dict) -> str:
    """The request weight of this minute against its limit, by lane, and what REST work was done."""
    spent = health.get("weight") or {}
    used, limit = spent.get("used"), spent.get("limit")
    share = min(100.0, 100 * used / limit) if used and limit else 0.0
    lanes = "".join(
        f'<span class="cs-fact"><i>{escape(str(lane))}</i>{number(value)}</span>'
        for lane, value in (spent.get("by_lane") or {}).items()
    )
    level = "fail" if share > 96 else "marginal" if share > 80 else "pass"
    return (
        f'<div class="cs-line"><i>request weight</i><b>{count(used)} of {count(limit)}</b></div>'
        f'<div class="cs-gauge"><div class="cs-{level}" style="width:{share:.1f}%"></div></div>'
        f'<div class="cs-lanes">{lanes}</div>'
    )


def quality(health: Dict, floor: float) -> str:
    """The spread of DataQual over the symbols, REST calls and the engine's lag."""
    spread = health.get("quality") or {}
    low = spread.get("below_90")
    figures = [
        ("lowest quality", number(spread.get("min"), 3), _level(spread.get("min"), floor)),
        ("median quality", number(spread.get("median"), 3), _level(spread.get("median"), floor)),
        (
            f"symbols below {floor:.2f}",
            count(low),
            "marginal" if low else "pass" if low == 0 else "no_data",
        ),
        ("REST calls", count(health.get("api_calls")), ""),
        ("engine lag", f"{number(health.get('engine_lag_ms'), 3)} ms", ""),
    ]
    return "".join(
        f'<div class="cs-line"><i>{name}</i><b class="cs-ink-{level}">{escape(text)}</b></div>'
        for name, text, level in figures
    )


def _level(value: Any, floor: float) -> str:
    if not is_figure(value):
        return "no_data"
    return "pass" if value >= floor else "marginal" if value >= floor - 0.02 else "fail"


def run_facts(run: Dict, health: Dict) -> str:
    """Mode, account, venue and counts for the page's head."""
    if not run:
        return ""
    facts = [
        ("venue", run.get("venue", "–")),
        ("account", run.get("account", "–")),
        ("up", span(run.get("uptime_s"))),
        ("scans", count(run.get("scans"))),
        ("engine lag", f"{number(health.get('engine_lag_ms'), 3)} ms"),
    ]
    shown = "".join(
        f'<span class="cs-fact"><i>{name}</i>{escape(str(text))}</span>' for name, text in facts
    )
    return f"{_tag('mode', run.get('mode', '–'))}{shown}"


def signal_list(signals: list[Dict], shown: int) -> str:
    """Published decisions, newest first; a click on a row opens its symbol."""
    if not signals:
        return '<div class="cs-empty">no signal published yet</div>'
    newest = sorted(signals, key=lambda s: s.get("time_ms") or 0, reverse=True)[:shown]
    rows = "".join(_signal(signal) for signal in newest)
    return (
        '<table class="cs-signals"><thead><tr><th>time (UTC)</th><th>symbol</th><th>tier</th>'
        '<th>side</th><th class="cs-r">score</th><th class="cs-r">p</th><th class="cs-r">EV</th>'
        f"</tr></thead><tbody>{rows}</tbody></table>"
    )


def _signal(signal: Dict) -> str:
    symbol, side, tier = (str(signal.get(k, "")) for k in ("symbol", "side", "tier"))
    return (
        f'<tr data-symbol="{escape(symbol)}"><td>{utc_text(signal.get("time_ms") or 0)}</td>'
        f"<td><b>{escape(symbol)}</b></td><td>{_tag(tier, tier)}</td><td>{_tag(side, side)}</td>"
        f'<td class="cs-r">{signal.get("score") or 0:+.1f}</td>'
        f'<td class="cs-r">{number(signal.get("p"), 3)}</td>'
        f'<td class="cs-r">{bps(signal.get("ev"))}</td></tr>'
    )
