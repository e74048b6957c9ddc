"""The daily report: sums, groups, one line, Markdown and JSON from rows."""

from __future__ import annotations

from decimal import Decimal

import msgspec

from cryptosignal.domain.outcome import Outcome
from cryptosignal.ground.calendar import parse_utc
from cryptosignal.reports.daily import (
    DayCounters,
    daily_report,
    render_json,
    render_markdown,
    summary_line,
    tally,
)

D = Decimal
DAY = "2025-03-04"
NOON = parse_utc(f"{DAY}T12:00")


def row(name: str, net: str, *, traded: bool = True, closed_ms: int = NOON, **changes) -> Outcome:
    base = {
        "signal_id": name,
        "symbol": "BTCUSDT",
        "direction": "long",
        "tier": "prime",
        "traded": traded,
        "opened_ms": closed_ms - 60_000,
        "closed_ms": closed_ms,
        "entry_price": D(100),
        "exit_price": D(101),
        "quantity": D(1),
        "realized_usdt": D(net) + D("0.1"),
        "fees_usdt": D("0.1"),
        "funding_usdt": D(0),
        "net_usdt": D(net),
        "r_multiple": float(net) / 2,
        "mfe_r": 1.0,
        "mae_r": -0.5,
        "exit_reason": "tp2" if D(net) > 0 else "stop",
    }
    return Outcome(**{**base, **changes})


def test_tally():
    """Counts, sums, means and the deepest fall of the running sum."""
    found = tally([row("a", "2"), row("b", "-3"), row("c", "-1"), row("d", "4")])
    assert (found.count, found.wins, found.net_usdt) == (4, 2, D(2))
    assert found.drawdown_usdt == D(4)
    assert found.mean_r == 0.25
    assert found.win_rate_frac == 0.5


def test_empty_day():
    """A day without anything is a report, not an error."""
    report = daily_report(DAY, [], DayCounters())
    assert report.traded.count == 0
    assert report.traded.win_rate_frac == 0.0
    assert DAY in render_markdown(report)


def test_only_the_day_and_never_mixed():
    """Rows of other days are left out; virtual rows never enter the traded sums."""
    rows = [
        row("late", "9", closed_ms=NOON + 86_400_000),
        row("v", "0.5", traded=False),
        row("t", "1"),
    ]
    report = daily_report(DAY, rows, DayCounters())
    assert [o.signal_id for o in report.rows] == ["t", "v"]
    assert report.traded.net_usdt == D(1)
    assert report.followed.count == 1
    assert report.by_reason == {"tp2": 1}


def test_groups():
    """Tiers and directions are tallied apart."""
    rows = [row("a", "1"), row("b", "-1", direction="short", tier="watch")]
    report = daily_report(DAY, rows, DayCounters())
    assert report.by_tier["watch"].count == 1
    assert report.by_direction["short"].net_usdt == D(-1)


def test_summary_line():
    """One line holds what matters, the naked time included."""
    counters = DayCounters(
        scans=24, prime=2, watch=5, naked_ms_p99=80, naked_ms_max=1200, api_calls=7, audit_calls=9
    )
    line = summary_line(daily_report(DAY, [row("a", "1.5")], counters, account="sim", mode="auto"))
    assert "\n" not in line
    assert "24 scans, 2 prime, 5 watch" in line
    assert "net +1.50 USDT" in line
    assert "naked p99 80 ms max 1200 ms" in line
    assert "7 API calls, 9 audits" in line


def test_json_reads_back():
    """The JSON holds the same report, Decimals as strings."""
    report = daily_report(DAY, [row("a", "1.5")], DayCounters(refusals={"no price": 2}))
    data = msgspec.json.decode(render_json(report))
    assert data["traded"]["net_usdt"] == "1.5"
    assert data["counters"]["refusals"] == {"no price": 2}


def test_markdown_tables():
    """The Markdown names refusals and every row that ended."""
    report = daily_report(DAY, [row("a", "1.5")], DayCounters(refusals={"no price": 2}))
    text = render_markdown(report)
    assert "- 2 × no price" in text
    assert "| 2025-03-04 12:00:00 | BTCUSDT | long | prime | yes |" in text
    widths = {
        line.count("|") for line in text.splitlines() if line.startswith(("| 2025", "| closed"))
    }
    assert len(widths) == 1
