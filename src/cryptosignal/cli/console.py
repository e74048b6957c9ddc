"""What a person sees at the terminal while a run goes on: steps, the ranked market, a line a scan."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from typing import Any

import msgspec
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cryptosignal.domain.actions import (
    Note,
    PublishDecision,
    RecordOutcome,
    ScanDecided,
    WriteReport,
)
from cryptosignal.domain.signal import Decision, Gate, Tier, Verdict
from cryptosignal.ground.calendar import utc_text

_TIER_STYLE = {Tier.PRIME: "bold green", Tier.WATCH: "yellow", Tier.REJECT: "dim"}
_WIDTH_PIPED = 160
"""Columns where the output is no terminal."""
_COLUMNS = (
    ("#", 2),
    ("symbol", 12),
    ("close", 9),
    ("side", 5),
    ("score", 5),
    ("strength", 8),
    ("p", 4),
    ("EV %", 5),
    ("quality", 7),
    ("tier", 6),
    ("speaks for it", 20),
)
_QUIET_NOTES = ("stream.", "connection.", "plan.", "frame.", "clock.", "params.", "journal.")


class Terminal:
    """The face of a run at the terminal. `as_json` prints one JSON object a line instead."""

    def __init__(
        self, *, top: int, scans_table: bool, as_json: bool, verbose: bool, out: Any = None
    ) -> None:
        self._top = top
        self._every_table = scans_table
        self._as_json = as_json
        self._verbose = verbose
        file = out or sys.stdout
        width = None if file.isatty() else _WIDTH_PIPED
        self._console = Console(file=file, highlight=False, width=width)
        self._program: Any = None
        self._has_table = False
        self._steps: dict[str, float] = {}
        self._note_hearers: list[Callable[[str, dict[str, Any]], None]] = []
        self._outcome_hearers: list[Callable[[Any], None]] = []

    def hear_notes(self, hear: Callable[[str, dict[str, Any]], None]) -> None:
        """Let `hear` see every note (event, fields)."""
        self._note_hearers.append(hear)

    def hear_outcomes(self, hear: Callable[[Any], None]) -> None:
        """Let `hear` see every outcome."""
        self._outcome_hearers.append(hear)

    def say(self, text: str) -> None:
        """One plain line (not in JSON mode)."""
        if not self._as_json:
            self._console.print(text, markup=False, soft_wrap=True)

    # ---- the face -------------------------------------------------------------------------
    def on_progress(self, step: str, done: int, total: int, seconds: float) -> None:
        """A step of the warm-up: shown when it is complete."""
        if done == total and self._steps.get(step) != seconds:
            self._steps[step] = seconds
            self.say(f"  {step:<18} {done:>4}/{total:<4} {seconds:6.2f} s")

    def on_ready(self, program: Any, report: Any) -> None:
        """Everything is loaded."""
        self._program = program
        self.say(
            f"  ready: {len(report.ready)} of {len(program.symbols)} symbols,"
            f" {report.requests} requests, {report.rows} bars in {report.seconds:.1f} s"
            + (f", {len(report.failed)} to be repaired" if report.failed else "")
        )

    def on_scan(self, action: ScanDecided) -> None:
        """The ranked market after the first scan, then one line a scan."""
        program = self._program
        if program is None:
            self._say_early_scan(action)
            return
        decisions = program.engine.latest
        if self._as_json:
            self._print_json(self._scan_body(action, decisions))
            return
        if not self._has_table or self._every_table:
            self._has_table = True
            self._console.print(market_table(decisions, self._top, self._console.width))
        best = ", ".join(f"{d.symbol} {d.side} {d.prime_strength:.0f}" for d in decisions.top(3))
        self.say(
            f"{utc_text(action.time_ms)}  scan {action.scan_id} ({decisions.rows.trigger})"
            f"  {action.scanned} symbols  prime {action.prime}  watch {action.watch}"
            f"  {program.scans.elapsed_ms:.0f} ms  api calls {program.api_calls_at_scan}"
            f"  quality {_share(_median_quality(decisions))}  best: {best}"
        )

    def _say_early_scan(self, action: ScanDecided) -> None:
        """A scan of what is loaded so far, while the rest is on its way."""
        if self._as_json:
            body = {"event": "scan.while_loading", "time_ms": action.time_ms,
                    "scanned": action.scanned, "prime": action.prime, "watch": action.watch}  # fmt: skip
            self._print_json(body)
            return
        self.say(
            f"  scan {action.scan_id} of what is loaded so far: {action.scanned} symbols,"
            f" prime {action.prime}, watch {action.watch}"
        )

    def on_decision(self, action: PublishDecision) -> None:
        """A signal."""
        d = action.decision
        if self._as_json:
            self._print_json({"event": "signal", **msgspec.to_builtins(d)})
            return
        plan = d.plan
        levels = (
            f" entry {plan.entry_low:g}-{plan.entry_high:g} stop {plan.stop_loss:g}"
            f" tp {plan.take_profit_1:g} / {plan.take_profit_2:g}"
            if plan
            else ""
        )
        self.say(
            f"{utc_text(d.time_ms)}  signal {d.signal_id}: {d.symbol} {d.side} {d.tier.value}"
            f" strength {d.prime_strength:.0f} p {d.p:.2f} ev {d.ev:+.4f}{levels}"
        )

    def on_outcome(self, action: RecordOutcome) -> None:
        """A signal's end."""
        o = action.outcome
        for hear in self._outcome_hearers:
            hear(o)
        if self._as_json:
            self._print_json({"event": "outcome", **msgspec.to_builtins(o)})
            return
        how = "traded" if o.traded else "followed"
        self.say(
            f"{utc_text(o.closed_ms)}  outcome {o.signal_id}: {o.symbol} {o.direction} {how},"
            f" {o.exit_reason}, {o.r_multiple:+.2f} R, net {o.net_usdt:+.4f} USDT"
        )

    def on_report(self, action: WriteReport) -> None:
        """A day's report was written."""
        self.say(f"report of {action.day} written")

    def on_note(self, now_ms: int, action: Note) -> None:
        """Notes: those that concern money always, the others when verbose."""
        for hear in self._note_hearers:
            hear(action.event, action.fields)
        if self._as_json:
            self._print_json({"event": action.event, "time_ms": now_ms, **action.fields})
            return
        if not self._verbose and action.event.startswith(_QUIET_NOTES):
            return
        words = " ".join(f"{key}={value}" for key, value in action.fields.items())
        self.say(f"{utc_text(now_ms)}  {action.event}  {words}")

    # ---- parts ----------------------------------------------------------------------------
    def _scan_body(self, action: ScanDecided, decisions: Any) -> dict[str, Any]:
        program = self._program
        return {
            "event": "scan",
            "scan_id": action.scan_id,
            "time_ms": action.time_ms,
            "trigger": decisions.rows.trigger,
            "symbols": action.scanned,
            "prime": action.prime,
            "watch": action.watch,
            "skipped": action.skipped,
            "digest": action.digest,
            "elapsed_ms": round(program.scans.elapsed_ms, 2),
            "api_calls": program.api_calls_at_scan,
            "top": [_row_body(d) for d in decisions.top(self._top)],
        }

    def _print_json(self, body: dict[str, Any]) -> None:
        self._console.file.write(msgspec.json.encode(_finite(body)).decode() + "\n")
        self._console.file.flush()


def market_table(scan: Any, top: int, width: int) -> Table:
    """The strongest `top` decisions of a scan (`signals.decisions.ScanDecisions`)."""
    closes = dict(zip(scan.rows.symbols, scan.rows.columns["ctx.close"].tolist(), strict=True))
    table = Table(title="The market, strongest first", title_justify="left", box=SIMPLE_HEAD)
    for name, room in _COLUMNS:
        is_text = name in ("symbol", "side", "tier", "speaks for it")
        table.add_column(name, justify="left" if is_text else "right", no_wrap=True, min_width=room)
    left = max(width - sum(room + 3 for _, room in _COLUMNS) - 2, 12)
    table.add_column("stops it", no_wrap=True)
    for place, d in enumerate(scan.top(top), 1):
        table.add_row(
            str(place),
            d.symbol,
            _number(closes[d.symbol]),
            d.side,
            f"{d.score:+.0f}",
            f"{d.prime_strength:.0f}",
            _share(d.p),
            _percent(d.ev),
            _share(d.quality),
            f"[{_TIER_STYLE[d.tier]}]{d.tier.value}[/]",
            speaks_for(d),
            escape(_cut(stops(d), left)),
        )
    return table


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"


def speaks_for(decision: Decision) -> str:
    """The three largest contributions, signed: `T+12.1 C+8.0 V-3.2`."""
    known = [(k, v) for k, v in decision.contributions.items() if math.isfinite(v) and v]
    known.sort(key=lambda item: -abs(item[1]))
    return " ".join(f"{name}{value:+.1f}" for name, value in known[:3])


def stops(decision: Decision) -> str:
    """The first two gates that do not pass."""
    held = [g for g in decision.gates if g.verdict is not Verdict.PASS]
    held.sort(key=lambda g: g.verdict in (Verdict.WARMING, Verdict.NO_DATA))
    words = [_shortfall(g) for g in held[:2]]
    more = f" (+{len(held) - 2})" if len(held) > 2 else ""
    return "; ".join(words) + more


def _shortfall(gate: Gate) -> str:
    name = gate.name.replace("_", " ")
    if gate.verdict in (Verdict.WARMING, Verdict.NO_DATA):
        return f"{name}: {gate.verdict.value.replace('_', ' ')}"
    return f"{name} {gate.value:.3g} (needs {gate.relation} {gate.limit:.3g})"


def _row_body(d: Decision) -> dict[str, Any]:
    return {
        "symbol": d.symbol,
        "side": d.side,
        "score": round(d.score, 3),
        "prime_strength": round(d.prime_strength, 3),
        "p": round(d.p, 4),
        "ev": round(d.ev, 6),
        "quality": round(d.quality, 4),
        "tier": d.tier.value,
        "reasons": list(d.reasons),
    }


def _median_quality(decisions: Any) -> float:
    values = sorted(v for v in decisions.rows.columns["ctx.quality"].tolist() if v == v)
    return values[len(values) // 2] if values else float("nan")


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.6g}"


def _share(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.2f}"


def _percent(value: float) -> str:
    return "-" if math.isnan(value) else f"{100 * value:+.2f}"


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
