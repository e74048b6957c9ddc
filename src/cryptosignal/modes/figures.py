"""The market data of a run in numbers, for programs: what `/metrics` shows, as one dictionary."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cryptosignal.modes.program import Program


def figures(program: Program) -> dict[str, Any]:
    """`lag_ms` by stream (event time to cache), gaps found and repaired, reconnects with reasons,
    `weight_by_lane`, `data_quality` by symbol (None without events), repairs, slow series."""
    program.feed.flush()  # a frame that waits would show as one from the future
    stats = program.board.get_stats()
    feed: dict[str, Any] = program.feed.stats()
    ledger = program.ledger.snapshot()
    score = program.quality.score
    quality = {symbol: float(score[program.board.slot(symbol)]) for symbol in program.symbols}
    return {
        "lag_ms": program.board.lags_ms(),
        "gaps_found": stats["gaps_found"],
        "gaps_repaired": stats["gaps_repaired"],
        "reconnects": feed["reconnects"],
        "reasons": feed["reasons"],
        "renewals": feed["renewals"],
        "weight_by_lane": ledger.spent_by_lane,
        "weight_used_1m": ledger.used.get("weight", 0),
        "rate_limited": ledger.punished,
        "data_quality": {s: q if q == q else None for s, q in quality.items()},
        "repair": program.repairer.stats(),
        "slow_series": program.refresher.stats(),
    }
