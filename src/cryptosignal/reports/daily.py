"""The report of one UTC day from rows it is given: outcomes, counters, naked time. Pure.

Money is USDT net of fees and funding; rates are shares of the day's traded trades; drawdown is that
of the day's own running net sum.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from enum import StrEnum

import msgspec

from cryptosignal.domain.outcome import Outcome
from cryptosignal.ground.calendar import utc_day, utc_text

ZERO = Decimal(0)


class DayCounters(msgspec.Struct, frozen=True, gc=False):
    """What the engine counted during the day."""

    scans: int = 0
    symbols: int = 0
    prime: int = 0
    watch: int = 0
    entries: int = 0
    entries_refused: int = 0
    api_calls: int = 0
    audit_calls: int = 0
    naked_ms_p99: int = 0
    naked_ms_max: int = 0
    reconnects: int = 0
    adjustments: int = 0
    engine_lag_ms_max: int = 0
    errors: int = 0
    start_equity_usdt: Decimal = ZERO
    end_equity_usdt: Decimal = ZERO
    api_calls_by_lane: Mapping[str, int] = {}
    refusals: Mapping[str, int] = {}


class Ending(StrEnum):
    """When a report was written: before its day was over, at its end, or late: the day ended while
    no process ran, and what was counted in it is lost."""

    OPEN = "open"
    IN_TIME = "in time"
    LATE = "late"


class Tally(msgspec.Struct, frozen=True, gc=False):
    """A group of outcomes in numbers."""

    count: int
    wins: int
    net_usdt: Decimal
    fees_usdt: Decimal
    funding_usdt: Decimal
    mean_r: float
    best_r: float
    worst_r: float
    drawdown_usdt: Decimal

    @property
    def win_rate_frac(self) -> float:
        """Share of trades with a positive net; 0 without trades."""
        return self.wins / self.count if self.count else 0.0


class DailyReport(msgspec.Struct, frozen=True, gc=False):
    """One day. `traded` and `followed` (virtual, per 1 USDT of notional) are never mixed."""

    day: str
    account: str
    mode: str
    counters: DayCounters
    traded: Tally
    followed: Tally
    by_tier: dict[str, Tally]
    by_direction: dict[str, Tally]
    by_reason: dict[str, int]
    rows: tuple[Outcome, ...]
    ending: Ending = Ending.OPEN


def daily_report(
    day: str,
    outcomes: Sequence[Outcome],
    counters: DayCounters,
    *,
    ending: Ending = Ending.OPEN,
    account: str = "",
    mode: str = "",
) -> DailyReport:
    """The report of the UTC day `day` (YYYY-MM-DD): outcomes that closed on it, in time order."""
    rows = sorted(
        (o for o in outcomes if utc_day(o.closed_ms) == day),
        key=lambda o: (o.closed_ms, o.signal_id, o.traded),
    )
    traded = [o for o in rows if o.traded]
    followed = [o for o in rows if not o.traded]
    basis = traded or followed
    tiers = sorted({o.tier for o in basis})
    directions = sorted({o.direction for o in basis})
    reasons = sorted({o.exit_reason for o in basis})
    return DailyReport(
        day=day,
        account=account,
        mode=mode,
        counters=counters,
        traded=tally(traded),
        followed=tally(followed),
        by_tier={t: tally([o for o in basis if o.tier == t]) for t in tiers},
        by_direction={d: tally([o for o in basis if o.direction == d]) for d in directions},
        by_reason={r: sum(1 for o in basis if o.exit_reason == r) for r in reasons},
        rows=tuple(rows),
        ending=ending,
    )


def tally(outcomes: Sequence[Outcome]) -> Tally:
    """Outcomes in numbers; the drawdown is the deepest fall of their running net sum."""
    running = peak = deepest = ZERO
    for outcome in outcomes:
        running += outcome.net_usdt
        peak = max(peak, running)
        deepest = max(deepest, peak - running)
    multiples = [o.r_multiple for o in outcomes]
    return Tally(
        count=len(outcomes),
        wins=sum(1 for o in outcomes if o.net_usdt > ZERO),
        net_usdt=running,
        fees_usdt=sum((o.fees_usdt for o in outcomes), ZERO),
        funding_usdt=sum((o.funding_usdt for o in outcomes), ZERO),
        mean_r=sum(multiples) / len(multiples) if multiples else 0.0,
        best_r=max(multiples, default=0.0),
        worst_r=min(multiples, default=0.0),
        drawdown_usdt=deepest,
    )


def summary_line(report: DailyReport) -> str:
    """The day in one line, for a terminal or a chat."""
    c, t = report.counters, report.traded
    return (
        f"{report.day} {report.mode or '-'}/{report.account or '-'}: "
        f"{c.scans} scans, {c.prime} prime, {c.watch} watch, "
        f"{t.count} trades ({t.wins} won), net {t.net_usdt:+.2f} USDT, mean {t.mean_r:+.2f} R, "
        f"{report.followed.count} followed ({report.followed.mean_r:+.2f} R), "
        f"naked p99 {c.naked_ms_p99} ms max {c.naked_ms_max} ms, "
        f"{c.api_calls} API calls, {c.audit_calls} audits"
    )


def render_json(report: DailyReport) -> bytes:
    """The whole report as indented JSON with a newline at its end (Decimals as strings)."""
    return msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n"


_LATE_WORDS = (
    "Written late: the day ended while no process ran. What was counted in it is lost;"
    " its outcomes are whole.",
    "",
)


def render_markdown(report: DailyReport) -> str:
    """The whole report as Markdown."""
    c = report.counters
    lines = [
        f"# Daily report {report.day}",
        "",
        summary_line(report),
        "",
        *_LATE_WORDS[: 2 * (report.ending is Ending.LATE)],
        "| what | value |",
        "|---|---|",
        *(f"| {name} | {value} |" for name, value in _facts(c)),
        "",
        "## Results",
        "",
        "| group | trades | won | net USDT | fees | funding | mean R | best R | worst R | drawdown |",
        "|---|---|---|---|---|---|---|---|---|---|",
        _tally_row("traded", report.traded),
        _tally_row("followed (per 1 USDT)", report.followed),
        *(_tally_row(f"tier {name}", t) for name, t in report.by_tier.items()),
        *(_tally_row(name, t) for name, t in report.by_direction.items()),
        "",
    ]
    if report.by_reason:
        ends = ", ".join(f"{name} {count}" for name, count in report.by_reason.items())
        lines += [f"Ended by: {ends}.", ""]
    if c.refusals:
        lines += ["## Entries refused", ""]
        lines += [f"- {count} × {reason}" for reason, count in sorted(c.refusals.items())]
        lines += [""]
    if report.rows:
        lines += _row_table(report.rows)
    return "\n".join(lines)


def _facts(c: DayCounters) -> list[tuple[str, str]]:
    change = c.end_equity_usdt - c.start_equity_usdt
    return [
        ("scans", str(c.scans)),
        ("symbols", str(c.symbols)),
        ("Prime / Watch", f"{c.prime} / {c.watch}"),
        ("entries / refused", f"{c.entries} / {c.entries_refused}"),
        ("equity", f"{c.start_equity_usdt:.2f} → {c.end_equity_usdt:.2f} ({change:+.2f}) USDT"),
        ("naked p99 / max", f"{c.naked_ms_p99} / {c.naked_ms_max} ms"),
        ("API calls", str(c.api_calls)),
        ("audit calls", str(c.audit_calls)),
        ("reconcile adjustments", str(c.adjustments)),
        ("reconnects", str(c.reconnects)),
        ("engine lag max", f"{c.engine_lag_ms_max} ms"),
        ("errors", str(c.errors)),
    ]


def _tally_row(name: str, t: Tally) -> str:
    return (
        f"| {name} | {t.count} | {t.wins} ({t.win_rate_frac:.0%}) | {t.net_usdt:+.4f} | "
        f"{t.fees_usdt:.4f} | {t.funding_usdt:+.4f} | {t.mean_r:+.2f} | {t.best_r:+.2f} | "
        f"{t.worst_r:+.2f} | {t.drawdown_usdt:.4f} |"
    )


def _row_table(rows: Sequence[Outcome]) -> list[str]:
    head = [
        "## Signals that ended",
        "",
        "| closed | symbol | side | tier | traded | entry | exit | net USDT | R | MFE | MAE | by | naked ms |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    return [*head, *(_row(o) for o in rows), ""]


def _row(o: Outcome) -> str:
    return (
        f"| {utc_text(o.closed_ms)} | {o.symbol} | {o.direction} | {o.tier} | "
        f"{'yes' if o.traded else 'no'} | {o.entry_price:.8g} | {o.exit_price:.8g} | "
        f"{o.net_usdt:+.4f} | {o.r_multiple:+.2f} | {o.mfe_r:+.2f} | {o.mae_r:+.2f} | "
        f"{o.exit_reason} | {o.naked_ms} |"
    )
