"""Rows of a scan to decisions: score, odds, EV, plan, gates, tier (DOMAIN §1.4, §1.5, §0.15).

`decide` is pure but for `memory`, which it alone advances. Deciding the same rows twice gives the
same decisions: publishing is keyed by symbol, bar and side.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cryptosignal.domain.params import ParamSet
from cryptosignal.domain.scan import SYMBOL_TRIGGER, ScanRows
from cryptosignal.signals import gates as g
from cryptosignal.signals.decisions import PRIME, REJECT, WATCH, ScanDecisions
from cryptosignal.signals.ev import expect
from cryptosignal.signals.gates import GateTable, Sight, judge
from cryptosignal.signals.hazards import fresh_prime, in_overlay
from cryptosignal.signals.keys import signal_key
from cryptosignal.signals.memory import Held, Published, SignalMemory
from cryptosignal.signals.plan import plan
from cryptosignal.signals.probability import Odds, odds
from cryptosignal.signals.score import Scores, column, combine, newness

Floats = NDArray[np.float64]
Codes = NDArray[np.int8]

__all__ = ["ScanDecisions", "SignalMemory", "assess", "decide"]


def decide(
    rows: ScanRows, params: ParamSet, memory: SignalMemory, held: Sequence[Held] = ()
) -> ScanDecisions:
    """Decide every symbol of a scan beside the positions that are `held`; advances `memory`."""
    found = assess(rows, params)
    settle(found, memory, held=held)
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


def tier_codes(
    table: GateTable, p: Floats, params: ParamSet, is_missing_fine: bool = False
) -> Codes:
    """Prime: every gate passes. Watch: EV > 0, p and strength at least the Watch limits, data not
    below the Watch level, bars enough, and at most `watch_fails_max` of the gates that say "may be traded at
    all" failed; a gate without data closes Prime, not Watch. Else reject.

    `is_missing_fine` takes gates without data for passed: what a history of candles alone would
    have said, had the book been good. Never used to publish.
    """
    verdicts = table.verdicts
    if is_missing_fine:
        waived = (verdicts == g.NO_DATA) | (verdicts == g.WARMING)
        waived[table.index("newest_bar")] = False
        verdicts = np.where(waived, g.PASS, verdicts)
    prime = (verdicts == g.PASS).all(axis=0)
    hard = [i for i, name in enumerate(table.names) if name not in g.RANK_GATES]
    bad = (verdicts[hard] == g.FAIL).sum(axis=0)
    quality = table.values[table.index("data_quality")]
    poor = quality < params.gates.quality_watch
    bar = verdicts[table.index("newest_bar")] == g.PASS
    good = verdicts[table.index("ev")] == g.PASS
    enough = verdicts[table.index("coverage")] == g.PASS
    enough &= verdicts[table.index("enough_bars")] == g.PASS
    watch = good & bar & enough & (p >= params.tiers.watch_p) & ~poor
    watch &= bad <= params.tiers.watch_fails_max
    watch &= table.values[table.index("strength")] >= params.tiers.watch_strength
    return np.where(prime, PRIME, np.where(watch, WATCH, REJECT)).astype(np.int8)


def settle(
    found: ScanDecisions,
    memory: SignalMemory,
    time_ms: int | None = None,
    places: NDArray[np.int64] | None = None,
    held: Sequence[Held] = (),
) -> None:
    """Compare candidates with each other and with what is out or held; gives Prime its ids.

    `places` are the rows of one moment `time_ms` where `found` holds many (a history); the whole
    scan otherwise.
    """
    rows = found.rows
    now_ms = rows.time_ms if time_ms is None else time_ms
    if not len(found.rank):
        found.rank, found.young_rank, found.opposed = np.zeros((3, len(rows.symbols)))
        found.wait_ms = np.full(len(rows.symbols), np.inf)
    here = np.arange(len(rows.symbols)) if places is None else places
    candidates = here[found.tiers[here] == PRIME].tolist()
    standing = set(memory.published)
    own = [position.symbol for position in held]
    _cool_gates(found, memory, here, now_ms)
    if not candidates and not standing:
        memory.forget(now_ms, own)
        return
    primes = _choose(found, memory, candidates, now_ms, held)
    seen = {rows.symbols[i] for i in here.tolist()} if standing - primes else set()
    for symbol in (standing - primes) & seen:
        memory.end(symbol, now_ms)
    memory.forget(now_ms, own)


def _choose(
    found: ScanDecisions,
    memory: SignalMemory,
    candidates: list[int],
    now_ms: int,
    held: Sequence[Held],
) -> set[str]:
    """Prime in order of rank as far as correlation, new coins and cooldowns let it; their symbols."""
    rows, params = found.rows, found.params
    rho, fresh = column(rows, "ctx.rho_btc"), fresh_prime(rows, params)
    pooled = in_overlay(rows)
    taken, young, overlays = _standing_beside(rows, memory, now_ms, held)
    primes = set()
    for i in _ranked(found, memory, candidates, now_ms):
        symbol, side = rows.symbols[i], float(found.scores.side[i])
        word = "long" if side > 0.0 else "short"
        found.wait_ms[i] = _wait(memory, symbol, word, now_ms, params)
        moves_along = np.isnan(rho[i]) or abs(rho[i]) >= params.gates.correlation_max
        found.rank[i] = taken[side] + 1 if moves_along else 1
        found.young_rank[i] = len(young - {symbol}) + 1 if fresh[i] else 0
        is_out = _stands(memory, symbol, word, now_ms) is not None
        found.opposed[i] = len(overlays[-side]) if pooled[i] and not is_out else 0
        if (
            found.rank[i] > params.gates.correlated_max
            or found.young_rank[i] > params.new_coin.prime_max
            or found.opposed[i] > 0.0
            or found.wait_ms[i] < 0.0
        ):
            found.tiers[i] = WATCH
            continue
        taken[side] += int(moves_along)
        young |= {symbol} if fresh[i] else set()
        overlays[side] |= {symbol} if pooled[i] else set()
        primes.add(symbol)
        flags = {"is_new": bool(fresh[i]), "is_overlay": bool(pooled[i])}
        _publish(found, memory, int(i), word, now_ms, **flags)
    return primes


def _standing_beside(
    rows: ScanRows, memory: SignalMemory, now_ms: int, held: Sequence[Held]
) -> tuple[dict[float, int], set[str], dict[float, set[str]]]:
    """How many signals a side stand already, and which new coins and, a side, Overlay members.

    Positions count always, whatever became of their signal (§1.9: one new-coin trade at a time, no
    opposite Overlay); standing signals where one symbol is decided alone: they come first, as they
    would in a scan of them all.
    """
    taken = {1.0: 0, -1.0: 0}
    young = {position.symbol for position in held if position.is_new}
    overlays: dict[float, set[str]] = {1.0: set(), -1.0: set()}
    for position in held:
        if position.is_overlay:
            overlays[_sign(position.side)].add(position.symbol)
    if rows.trigger != SYMBOL_TRIGGER:
        return taken, young, overlays
    for symbol in set(memory.published).difference(rows.symbols):
        known = memory.standing(symbol, now_ms)
        if known is not None:
            taken[_sign(known.side)] += 1
            young |= {symbol} if known.is_new else set()
            overlays[_sign(known.side)] |= {symbol} if known.is_overlay else set()
    return taken, young, overlays


def _sign(side: str) -> float:
    return 1.0 if side == "long" else -1.0


def _cool_gates(
    found: ScanDecisions, memory: SignalMemory, here: NDArray[np.int64], now_ms: int
) -> None:
    """Impact, spread, OBI or DataQual that alone stopped a signal must hold for a while (§1.5).

    Only what everything else let through is noted: a gate that flickers on a signal is the case.
    """
    own, table = found.params.tiers, found.table
    waits = {
        "impact": own.impact_cooldown_ms,
        "spread": own.spread_cooldown_ms,
        "obi": own.obi_cooldown_ms,
        "data_quality": own.quality_cooldown_ms,
    }
    flickers = [table.index(name) for name in waits]
    failed = table.verdicts != g.PASS
    spoiled = failed[:, here].sum(axis=0)
    if not (spoiled > 0).any():
        return
    hard = table.verdicts[flickers][:, here] == g.FAIL
    only = (hard.sum(axis=0) == spoiled) & (spoiled > 0)
    for k in np.flatnonzero(only).tolist():
        longest = max(w for w, bad in zip(waits.values(), hard[:, k], strict=True) if bad)
        memory.block(found.rows.symbols[int(here[k])], now_ms + longest)


def _ranked(
    found: ScanDecisions, memory: SignalMemory, candidates: list[int], time_ms: int
) -> list[int]:
    """Candidates: standing signals first, then by strength, ties by name."""
    rows = found.rows

    def key(i: int) -> tuple[bool, float, str]:
        known = memory.standing(rows.symbols[i], time_ms)
        is_same = known is not None and (known.side == "long") == (found.scores.side[i] > 0.0)
        return not is_same, -round(float(found.strength[i]), 9), rows.symbols[i]

    return sorted(candidates, key=key)


def _wait(memory: SignalMemory, symbol: str, side: str, time_ms: int, params: ParamSet) -> float:
    """Milliseconds since the last cooldown ended; negative while one runs, inf without any."""
    if _stands(memory, symbol, side, time_ms) is not None:
        return float("inf")
    blocked = memory.blocked.get(symbol)
    gate = float("inf") if blocked is None else float(time_ms - blocked)
    known = memory.published.get(symbol)
    if known is None:
        return gate
    ended = known.ended_ms or min(time_ms, known.until_ms)
    free_ms = max(ended + params.tiers.cooldown_ms, known.since_ms + params.tiers.diversify_ms)
    return min(gate, float(time_ms - free_ms))


def _stands(memory: SignalMemory, symbol: str, side: str, time_ms: int) -> Published | None:
    """The signal of a symbol that is out on this side."""
    known = memory.standing(symbol, time_ms)
    return known if known is not None and known.side == side else None


def _publish(
    found: ScanDecisions,
    memory: SignalMemory,
    i: int,
    side: str,
    time_ms: int,
    *,
    is_new: bool,
    is_overlay: bool,
) -> None:
    symbol = found.rows.symbols[i]
    standing = _stands(memory, symbol, side, time_ms)
    if standing is not None:
        found.ids[i] = standing.signal_id
        return
    bar = column(found.rows, "ctx.bar_ms")[i]
    key = signal_key(symbol, int(bar) if bar == bar else time_ms, side)
    memory.published[symbol] = Published(
        side,
        key,
        time_ms,
        time_ms + int(found.ttl_ms[i]),
        is_new=is_new,
        is_overlay=is_overlay,
    )
    found.ids[i] = key
