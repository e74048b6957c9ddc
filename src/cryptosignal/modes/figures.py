"""The market data of a run in numbers, for programs: what `/metrics` shows, as one dictionary."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cryptosignal.modes.program import Program


def figures(program: Program) -> dict[str, Any]:
    """`lag_ms` by stream (event time to cache, the newest), `lag_quantiles_ms` (p50, p99, max of the last
    ten minutes; `clock_behind_ms`, by which our clock is behind the venue's, taken out), gaps found and
    repaired, reconnects with reasons, `weight_by_lane`, account reads by why, `data_quality` by symbol
    (None without events), repairs, slow series."""
    program.feed.flush()  # a frame that waits would show as one from the future
    program.board.look_at_lags(program.clock.now_ms())
    stats = program.board.get_stats()
    feed: dict[str, Any] = program.feed.stats()
    ledger = program.ledger.snapshot()
    score = program.quality.score
    quality = {symbol: float(score[program.board.slot(symbol)]) for symbol in program.symbols}
    return {
        "lag_ms": program.board.lags_ms(),
        "lag_quantiles_ms": {
            name: {"p50": lag.p50_ms, "p99": lag.p99_ms, "max": lag.max_ms, "looks": lag.looks}
            for name, lag in program.board.lags.by_stream().items()
        },
        "clock_behind_ms": max(0, -program.board.baseline.value_ms),
        "gaps_found": stats["gaps_found"],
        "gaps_repaired": stats["gaps_repaired"],
        "reconnects": feed["reconnects"],
        "reasons": feed["reasons"],
        "renewals": feed["renewals"],
        "weight_by_lane": ledger.spent_by_lane,
        "weight_used_1m": ledger.used.get("weight", 0),
        "rate_limited": ledger.punished,
        "account_reads": dict(program.client.account_reads),
        "data_quality": {s: q if q == q else None for s, q in quality.items()},
        "repair": program.repairer.stats(),
        "slow_series": program.refresher.stats(),
    }
