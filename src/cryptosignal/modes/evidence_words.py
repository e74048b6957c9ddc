"""The findings of `evaluate-factors` as Markdown."""

from __future__ import annotations

import math
import re
from pathlib import Path

from cryptosignal.ground.calendar import utc_day
from cryptosignal.modes.evidence import (
    DECILES,
    HORIZONS,
    MAIN_HORIZON,
    MIN_SYMBOLS,
    Evidence,
)


def markdown(out: Evidence) -> str:
    """The findings as tables that people read."""
    lines = [
        f"Data: `{Path(out.data).name}`, {out.symbols} symbols, {utc_day(out.start_ms)} to "
        f"{utc_day(out.stop_ms)}, parameters {out.params}.",
        f"No data for: {', '.join(out.absent) or 'none'}.",
        *_scarce_lines(out),
    ]
    if out.cells:
        lines += _ranked_lines(out)
    return re.sub(r"\+?\bnan\b", "–", "\n".join(lines)) + "\n"


def _ranked_lines(out: Evidence) -> list[str]:
    lines = [
        "",
        "| factor | horizon h | IC | 95 % | q | signed return bps, score ≥ 30 either way | 95 % |",
        "|---|--:|--:|---|--:|--:|---|",
    ]
    for c in out.cells:
        mark = " **" if c.q < 0.05 else " "
        lines.append(
            f"| {c.factor} | {c.horizon} |{mark}{c.ic:+.4f}{mark.strip()} | {c.low:+.4f} … {c.high:+.4f} | "
            f"{c.q:.3f} | {c.edge_bps:+.1f} | {c.edge_low:+.1f} … {c.edge_high:+.1f} |"
        )
    head = " | ".join(str(k) for k in range(1, DECILES + 1))
    lines += ["", f"Return over the market, bps, {MAIN_HORIZON} h, by tenth of the factor:", "",
              f"| factor | {head} | turnover an hour | largest IC at h | half by h |",
              "|---|" + "--:|" * (DECILES + 3)]  # fmt: skip
    for name, row in out.deciles.items():
        cells = " | ".join(f"{v:+.1f}" for v in row)
        peak, half = out.decay[name]
        faded = str(half) if half else f"> {HORIZONS[-1]}"
        lines.append(f"| {name} | {cells} | {out.turnover[name]:.2f} | {peak} | {faded} |")
    names = list(out.correlation)
    lines += ["", "Rank correlation and VIF:", "", "| | " + " | ".join(names) + " | VIF |",
              "|---|" + "--:|" * (len(names) + 1)]  # fmt: skip
    for name, row_of in out.correlation.items():
        cells = " | ".join(f"{row_of[other]:+.2f}" for other in names)
        lines.append(f"| {name} | {cells} | {out.vif[name]:.2f} |")
    months = sorted({m for row_of in out.months.values() for m in row_of})
    lines += ["", f"IC at {MAIN_HORIZON} h by month and by regime of the market:", "",
              "| factor | " + " | ".join(months) + " | up | range | down |",
              "|---|" + "--:|" * (len(months) + 3)]  # fmt: skip
    for name, row_of in out.months.items():
        values = [row_of.get(m, math.nan) for m in months]
        values += [out.regimes[name].get(w, math.nan) for w in ("up", "range", "down")]
        lines.append(f"| {name} | " + " | ".join(f"{v:+.3f}" for v in values) + " |")
    lines += ["", "Rows by `tier_open` (gates without data waived), signed return before costs:", "",
              "| tier | horizon h | rows | mean bps | hit rate | cost bps |",
              "|---|--:|--:|--:|--:|--:|"]  # fmt: skip
    lines.extend(
        f"| {r['tier_open']} | {r['horizon']} | {r['rows']} | {r['mean_bps']:+.1f} | "
        f"{r['hit_rate']:.3f} | {r['cost_bps']:.1f} |"
        for r in out.tiers
    )
    return lines


def _scarce_lines(out: Evidence) -> list[str]:
    if not out.scarce:
        return []
    few = ", ".join(f"{name} ({count})" for name, count in out.coins.items())
    return [
        "",
        f"Never {MIN_SYMBOLS} coins at a moment, so no rank across them: {few}. What their sign "
        "earned coin by coin, over what the same coins did by themselves:",
        "",
        "| factor | horizon h | moments | blocks | signed return over drift bps, score ≥ 30 either way |"
        " 95 % | q |",
        "|---|--:|--:|--:|--:|---|--:|",
        *(
            f"| {c.factor} | {c.horizon} | {c.moments} | {c.blocks} | {c.edge_bps:+.1f} | "
            f"{c.edge_low:+.1f} … {c.edge_high:+.1f} | {c.q:.3f} |"
            for c in out.scarce
        ),
    ]
