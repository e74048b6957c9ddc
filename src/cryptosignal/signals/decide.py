"""Rows of a scan to decisions: score, odds, EV, plan, gates, tier (DOMAIN §1.4, §1.5, §0.15).

`decide` is pure but for `memory`, which it alone advances. Deciding the same rows twice gives the
same decisions: publishing is keyed by symbol, bar and side.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cryptosignal.domain.params import ParamSet
from cryptosignal.domain.scan import ScanRows
from cryptosignal.signals import gates as g
from cryptosignal.signals.decisions import PRIME, REJECT, WATCH, ScanDecisions
from cryptosignal.signals.ev import expect
from cryptosignal.signals.gates import GateTable, Sight, judge
from cryptosignal.signals.keys import signal_key
from cryptosignal.signals.memory import Published, SignalMemory
from cryptosignal.signals.plan import plan
from cryptosignal.signals.probability import Odds, odds
from cryptosignal.signals.score import Scores, column, combine, newness

Floats = NDArray[np.float64]
Codes = NDArray[np.int8]

__all__ = ["ScanDecisions", "SignalMemory", "assess", "decide"]


def decide(rows: ScanRows, params: ParamSet, memory: SignalMemory) -> ScanDecisions:
    """Decide every symbol of a scan; advances `memory`."""
    found = assess(rows, params)
    settle(found, memory)
    return found


def assess(rows: ScanRows, params: ParamSet) -> ScanDecisions:
    """Everything that follows from a symbol's own row: no memory, no comparison of symbols."""
    scores = combine(rows, params)
    chances = odds(rows, scores, params)
    plans = plan(rows, scores.side, params)
    values = expect(rows, scores.side, chances, plans, params)
    strength = prime_strength(scores, chances)
    table = judge(Sight(rows, scores, chances, values, strength, params))
    tiers = tier_codes(table, chances.p, params)
    fresh = newness(rows, params)
    ttl = (1.0 - fresh) * params.tiers.ttl_ms + fresh * params.tiers.new_ttl_ms
    return ScanDecisions(rows, params, scores, chances, plans, values, strength, table, tiers, ttl)


def prime_strength(scores: Scores, chances: Odds) -> Floats:
    """0–100: 0.6·|S| + up to 40 for p from .60 to .75, times the Prime multiplier (§1.4)."""
    raised = np.clip((chances.p - 0.60) / 0.15, 0.0, 1.0)
    raw = 0.6 * np.abs(scores.score) + 40.0 * raised
    return np.clip(raw * chances.prime_multiplier, 0.0, 100.0)


def tier_codes(table: GateTable, p: Floats, params: ParamSet) -> Codes:
    """Prime: every gate passes. Watch: EV > 0, p at least `watch_p`, data not below the Watch level
    and at most `watch_fails_max` of the gates that say "may be traded at all" failed; gates that
    wait for live data do not count against Watch. Else reject."""
    verdicts = table.verdicts
    prime = (verdicts == g.PASS).all(axis=0)
    hard = [i for i, name in enumerate(table.names)
            if name not in g.RANK_GATES and name not in g.LIVE_GATES]  # fmt: skip
    live = [i for i, name in enumerate(table.names) if name in g.LIVE_GATES]
    bad = (verdicts[hard] >= g.FAIL).sum(axis=0) + (verdicts[live] == g.FAIL).sum(axis=0)
    quality = table.values[table.index("data_quality")]
    poor = quality < params.gates.quality_watch
    bar = verdicts[table.index("newest_bar")] == g.PASS
    good = table.verdicts[table.index("ev")] == g.PASS
    enough = table.verdicts[table.index("coverage")] == g.PASS
    watch = good & bar & enough & (p >= params.tiers.watch_p) & ~poor
    watch &= bad <= params.tiers.watch_fails_max
    return np.where(prime, PRIME, np.where(watch, WATCH, REJECT)).astype(np.int8)


def settle(found: ScanDecisions, memory: SignalMemory) -> None:
    """Compare candidates with each other and with what is out already; gives Prime its ids."""
    rows, params = found.rows, found.params
    time_ms = rows.time_ms
    order = _ranked(found, memory)
    taken = {1.0: 0, -1.0: 0}
    rho = column(rows, "ctx.rho_btc")
    limit = params.gates.correlated_max
    found.rank = np.zeros(len(rows.symbols))
    found.wait_ms = np.full(len(rows.symbols), np.inf)
    primes = set()
    for i in order:
        symbol, side = rows.symbols[i], float(found.scores.side[i])
        word = "long" if side > 0.0 else "short"
        found.wait_ms[i] = _wait(memory, symbol, word, time_ms, params)
        moves_with_market = np.isnan(rho[i]) or abs(rho[i]) >= params.gates.correlation_max
        found.rank[i] = taken[side] + 1 if moves_with_market else 1
        if found.rank[i] > limit or found.wait_ms[i] < 0.0:
            found.tiers[i] = WATCH
            continue
        taken[side] += int(moves_with_market)
        primes.add(symbol)
        _publish(found, memory, int(i), word)
    for symbol in [s for s in memory.published if s not in primes and s in found.places]:
        memory.end(symbol, time_ms)
    memory.forget(time_ms)


def _ranked(found: ScanDecisions, memory: SignalMemory) -> list[int]:
    """Candidates: standing signals first, then by strength, ties by name."""
    rows = found.rows
    prime = np.flatnonzero(found.tiers == PRIME).tolist()

    def key(i: int) -> tuple[bool, float, str]:
        known = memory.standing(rows.symbols[i], rows.time_ms)
        is_same = known is not None and (known.side == "long") == (found.scores.side[i] > 0.0)
        return not is_same, -round(float(found.strength[i]), 9), rows.symbols[i]

    return sorted(prime, key=key)


def _wait(memory: SignalMemory, symbol: str, side: str, time_ms: int, params: ParamSet) -> float:
    """Milliseconds since the last cooldown ended; negative while one runs, inf without any."""
    known = memory.published.get(symbol)
    if known is None:
        return float("inf")
    standing = memory.standing(symbol, time_ms)
    if standing is not None and standing.side == side:
        return float("inf")
    ended = known.ended_ms or min(time_ms, known.until_ms)
    free_ms = max(ended + params.tiers.cooldown_ms, known.since_ms + params.tiers.diversify_ms)
    return float(time_ms - free_ms)


def _publish(found: ScanDecisions, memory: SignalMemory, i: int, side: str) -> None:
    symbol, time_ms = found.rows.symbols[i], found.rows.time_ms
    standing = memory.standing(symbol, time_ms)
    if standing is not None and standing.side == side:
        found.ids[i] = standing.signal_id
        return
    bar = column(found.rows, "ctx.bar_ms")[i]
    key = signal_key(symbol, int(bar) if bar == bar else time_ms, side)
    memory.published[symbol] = Published(side, key, time_ms, time_ms + int(found.ttl_ms[i]))
    found.ids[i] = key
