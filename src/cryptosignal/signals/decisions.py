"""All decisions of one scan: arrays inside, `Decision` objects when somebody looks (D3, §0.15)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cryptosignal.domain.market import BarSource
from cryptosignal.domain.params import ParamSet
from cryptosignal.domain.scan import ScanRows
from cryptosignal.domain.signal import BarReceipt, Decision, Gate, PricePlan, Tier
from cryptosignal.factors.around import seen_parts
from cryptosignal.ground.units import INTERVAL_MS
from cryptosignal.signals import gates as g
from cryptosignal.signals.ev import Values
from cryptosignal.signals.findings import findings
from cryptosignal.signals.gates import GateTable
from cryptosignal.signals.hazards import age_class, level
from cryptosignal.signals.keys import signal_key
from cryptosignal.signals.plan import Plans
from cryptosignal.signals.probability import Odds
from cryptosignal.signals.score import Scores, column

Floats = NDArray[np.float64]
Codes = NDArray[np.int8]

PRIME, WATCH, REJECT = range(3)
TIERS: Final = (Tier.PRIME, Tier.WATCH, Tier.REJECT)
_TIER_WORDS: Final = tuple(tier.value for tier in TIERS)
_FINALITY: Final = ("missing", "provisional", "closed_by_time", "confirmed")
_SOURCES: Final = tuple(source.value for source in BarSource)
_NEAR_MISSES = 10


@dataclass(slots=True)
class ScanDecisions:
    """One scan decided. Read-only for everyone but `decide`."""

    rows: ScanRows
    params: ParamSet
    scores: Scores
    odds: Odds
    plans: Plans
    values: Values
    strength: Floats
    table: GateTable
    tiers: Codes
    ttl_ms: Floats
    ids: dict[int, str] = field(default_factory=dict)
    rank: Floats = field(default_factory=lambda: np.zeros(0))
    wait_ms: Floats = field(default_factory=lambda: np.zeros(0))
    young_rank: Floats = field(default_factory=lambda: np.zeros(0))
    opposed: Floats = field(default_factory=lambda: np.zeros(0))

    def __len__(self) -> int:
        return len(self.rows.symbols)

    def find(self, symbol: str) -> Decision | None:
        """The decision of a symbol (any case), None if it was not scanned."""
        wanted = symbol.upper()
        return (
            self.decision(self.rows.symbols.index(wanted)) if wanted in self.rows.symbols else None
        )

    def prime(self) -> list[Decision]:
        """Prime decisions, strongest first."""
        return self._of(PRIME)

    def watch(self) -> list[Decision]:
        """Watch decisions, strongest first."""
        return self._of(WATCH)

    def top(self, count: int) -> list[Decision]:
        """The strongest decisions of any tier, Prime before Watch before reject."""
        order = np.lexsort((self._names(), -self.strength, self.tiers))
        return [self.decision(int(i)) for i in order[:count]]

    def side(self, i: int) -> str:
        """`long` or `short`."""
        return "long" if self.scores.side[i] > 0.0 else "short"

    def signal_id(self, i: int) -> str:
        """The id under which the decision is or would be published."""
        known = self.ids.get(i)
        if known is not None:
            return known
        bar = column(self.rows, "ctx.bar_ms")[i]
        moment = self.rows.time_ms if np.isnan(bar) else int(bar)
        return signal_key(self.rows.symbols[i], moment, self.side(i))

    def decision(self, i: int) -> Decision:
        """The decision object of the symbol in place `i`."""
        scores, chances = self.scores, self.odds
        side = self.side(i)
        return Decision(
            signal_id=self.signal_id(i),
            scan_id=self.rows.scan_id,
            time_ms=self.rows.time_ms,
            symbol=self.rows.symbols[i],
            side=side,
            score=float(scores.score[i]),
            confidence=abs(float(scores.score[i])),
            edge=float(scores.score[i]) / 100.0,
            prime_strength=float(self.strength[i]),
            p=float(chances.p[i]),
            p_calibrated=float(chances.calibrated[i]),
            ev=float(self.values.ev[i]),
            cost=float(self.values.cost[i]),
            tier=TIERS[int(self.tiers[i])],
            reasons=self.reasons(i),
            factors={n: float(v) for n, v in zip(scores.names, scores.values[:, i], strict=True)},
            contributions={
                n: float(v) for n, v in zip(scores.names, scores.contributions[:, i], strict=True)
            },
            modulators=self._modulators(i, side),
            gates=self.gates(i),
            quality=float(column(self.rows, "ctx.quality")[i]),
            quality_reason=self.rows.meta.get(f"quality.{self.rows.symbols[i]}", ""),
            plan=self.plan(i),
            ttl_ms=int(self.ttl_ms[i]),
            params_version=self.params.version,
            receipt=self._receipt(i),
            findings=findings(self.rows, i, side),
            weights={n: float(v) for n, v in zip(scores.names, scores.weights[:, i], strict=True)},
            risk_level=level(float(self.table.values[self.table.index("risk"), i]), self.params),
        )

    def contested(self) -> dict[str, NDArray[np.bool_]]:
        """The gates between symbols, [symbol]: where each stops a candidate."""
        if not len(self.rank):
            nothing = np.zeros(len(self), dtype=np.bool_)
            return dict.fromkeys(
                ("correlation", "new_coins", "opposite_overlay", "cooldown"), nothing
            )
        return {
            "correlation": self.rank > self.params.gates.correlated_max,
            "new_coins": self.young_rank > self.params.new_coin.prime_max,
            "opposite_overlay": self.opposed > 0.0,
            "cooldown": self.wait_ms < 0.0,
        }

    def age_class(self, i: int) -> str:
        """ultra-new, new or mature, by the time since listing."""
        return age_class(24.0 * float(column(self.rows, "ctx.age_days")[i]), self.params)

    def gates(self, i: int) -> tuple[Gate, ...]:
        """Every gate of one symbol, those between symbols last."""
        table = self.table
        own = tuple(
            self._gate(i, k, table.names[k], table.relations[k]) for k in range(len(table.names))
        )
        rank = float(self.rank[i]) if len(self.rank) else 0.0
        wait = float(self.wait_ms[i]) if len(self.wait_ms) else float("inf")
        young = float(self.young_rank[i]) if len(self.young_rank) else 0.0
        against = float(self.opposed[i]) if len(self.opposed) else 0.0
        one = float(self.params.new_coin.prime_max)
        limit = float(self.params.gates.correlated_max)
        crowd = g.VERDICTS[g.PASS if rank <= limit else g.FAIL]
        cool = g.VERDICTS[g.PASS if wait >= 0.0 else g.FAIL]
        return (
            *own,
            Gate("correlation", rank, "<=", limit, crowd,
                 "" if rank <= limit else "stronger signals move with the market already"),
            Gate("new_coins", young, "<=", one, g.VERDICTS[g.PASS if young <= one else g.FAIL],
                 "" if young <= one else "another new coin is Prime or held already"),
            Gate("opposite_overlay", against, "<=", 0.0,
                 g.VERDICTS[g.PASS if against <= 0.0 else g.FAIL],
                 "" if against <= 0.0 else "an Overlay signal or position of the other side is out"),
            Gate("cooldown", min(wait, 1e12), ">=", 0.0, cool,
                 "" if wait >= 0.0 else f"{-wait / 1000.0:.0f} s left"),
        )  # fmt: skip

    def plan(self, i: int) -> PricePlan | None:
        """The price plan on the symbol's tick, None without bars."""
        plans = self.plans
        if np.isnan(plans.risk_log[i]):
            return None
        tick = float(column(self.rows, "ctx.tick_size")[i])

        def quoted(price: Floats) -> float:
            return on_tick(float(price[i]), tick)

        close = float(column(self.rows, "ctx.close")[i])
        return PricePlan(
            quoted(plans.entry_low),
            quoted(plans.entry_high),
            quoted(plans.stop),
            quoted(plans.tp1),
            quoted(plans.tp2),
            atr=float(column(self.rows, "ctx.atr_1h")[i]) * close,
            risk_frac=float(-np.expm1(-plans.risk_log[i])),
        )

    def reasons(self, i: int) -> tuple[str, ...]:
        """Why the tier is no better; empty for Prime."""
        if self.tiers[i] == PRIME:
            return ()
        return tuple(
            f"{gate.name}: {gate.reason}"
            for gate in self.gates(i)
            if gate.verdict != g.VERDICTS[g.PASS]
        )

    def digest(self) -> str:
        """Hash over the discrete output: symbol, side, tier, id, plan prices in ticks (D2)."""
        return hashlib.blake2b(self.text().encode(), digest_size=16).hexdigest()

    def text(self) -> str:
        """The lines that the digest hashes, for a readable difference."""
        ticks = column(self.rows, "ctx.tick_size").tolist()
        tiers, sides = self.tiers.tolist(), (self.scores.side > 0.0).tolist()
        symbols = self.rows.symbols
        return "".join(
            f"{symbols[i]} {'long' if sides[i] else 'short'} {_TIER_WORDS[tiers[i]]}"
            f"{'' if tiers[i] == REJECT else self._published(i, ticks[i])}\n"
            for i in sorted(range(len(symbols)), key=symbols.__getitem__)
        )

    def stats(self) -> dict[str, Any]:
        """Counts, pass rate of each gate, near misses and percentiles of the factors."""
        table = self.table
        total = max(len(self), 1)
        passed = (table.verdicts == g.PASS).sum(axis=1)
        return {
            "scan_id": self.rows.scan_id,
            "time_ms": self.rows.time_ms,
            "symbols": len(self),
            "tiers": {t.value: int((self.tiers == k).sum()) for k, t in enumerate(TIERS)},
            "skipped": int(self.skipped().sum()),
            "pass_rate": {
                name: round(int(n) / total, 4) for name, n in zip(table.names, passed, strict=True)
            },
            "near_misses": self._near_misses(),
            "reverted": int(self.odds.reverted.sum()),
            "percentiles": {
                "score": _percentiles(self.scores.score),
                "p": _percentiles(self.odds.p),
                "prime_strength": _percentiles(self.strength),
                **{
                    name: _percentiles(self.scores.values[k])
                    for k, name in enumerate(self.scores.names)
                },
            },
        }

    def skipped(self) -> NDArray[np.bool_]:
        """Symbols with too little data to be scored: no newest bar, too few of an interval, or
        nothing that a factor could read. Their reasons say which."""
        table = self.table
        bar, enough = (table.verdicts[table.index(n)] for n in ("newest_bar", "enough_bars"))
        return (bar == g.NO_DATA) | (enough != g.PASS) | (self.scores.coverage <= 0.0)

    def to_dict(
        self,
        api_calls: int,
        cache_stats: dict[str, Any],
        elapsed_s: float,
        errors: int = 0,
        min_score: float = 0.0,
    ) -> dict[str, Any]:
        """The user's nine keys (DESIGN §2); `results` holds Prime of `min_score` strength only."""
        results = [card(d) for d in self.prime() if d.prime_strength >= min_score]
        return {
            "results": results,
            "total_symbols": len(self),
            "signals_found": len(results),
            "skipped": int(self.skipped().sum()),
            "errors": errors,
            "elapsed_seconds": elapsed_s,
            "symbols_per_second": len(self) / elapsed_s if elapsed_s > 0.0 else 0.0,
            "api_calls": api_calls,
            "cache_stats": cache_stats,
        }

    def _of(self, tier: int) -> list[Decision]:
        places = np.flatnonzero(self.tiers == tier)
        order = sorted(places.tolist(), key=lambda i: (-self.strength[i], self.rows.symbols[i]))
        return [self.decision(i) for i in order]

    def _names(self) -> NDArray[np.str_]:
        return np.array(self.rows.symbols, dtype=np.str_)

    def _gate(self, i: int, k: int, name: str, relation: str) -> Gate:
        table = self.table
        value, limit = float(table.values[k, i]), float(table.limits[k, i])
        code = int(table.verdicts[k, i])
        return Gate(name, value, relation, limit, g.VERDICTS[code],
                    self._reason(code, name, value, relation, limit, table.units[k]))  # fmt: skip

    def _reason(
        self, code: int, name: str, value: float, relation: str, limit: float, unit: str
    ) -> str:
        if code == g.PASS:
            return ""
        if code in (g.NO_DATA, g.WARMING):
            what = "data quality" if name == "data_quality" else "book"
            if name in g.LIVE_GATES:
                return f"warming: no {what} yet" if code == g.WARMING else f"no data: no {what}"
            return "no data"
        word = "marginal: " if code == g.MARGINAL else ""
        return (
            f"{word}{number(value)} is not {relation} {number(limit)}{' ' + unit if unit else ''}"
        )

    def _modulators(self, i: int, side: str) -> dict[str, float]:
        rows, chances = self.rows, self.odds
        picks = {
            "I": column(rows, "mod.I"),
            "crowding": column(rows, f"mod.crowding_{side}"),
            "lead": column(rows, f"mod.lead_{side}"),
            "regime": column(rows, "ctx.regime"),
            "adx": column(rows, "ctx.adx"),
            "g_f": chances.g_f,
            "g_i": chances.g_i,
            "t_eff": chances.t_eff_long if side == "long" else chances.t_eff_short,
            "p_multiplier": chances.p_multiplier,
            "prime_multiplier": chances.prime_multiplier,
            "coverage": self.scores.coverage,
            "fwi": column(rows, "ctx.fwi"),
            "size_left": self.table.values[self.table.index("risk")],
            "reverted": chances.reverted,
        }
        return {name: float(value[i]) for name, value in picks.items()}

    def _receipt(self, i: int) -> tuple[BarReceipt, ...]:
        rows, out = self.rows, []
        for interval in ("1m", "5m", "15m", "1h", "4h", "1d"):
            bars = column(rows, f"ctx.bars_{interval}")[i]
            opened = rows.meta.get(f"bar.{interval}")
            if opened is None or not bars > 0.0:
                continue
            code = float(column(rows, f"ctx.seen_{interval}")[i])
            kind, origin, lag = (0, -1, np.nan) if np.isnan(code) else seen_parts(code)
            out.append(
                BarReceipt(
                    interval,
                    int(opened),
                    int(bars),
                    "" if origin < 0 else _SOURCES[origin],
                    _FINALITY[kind] if kind else "",
                    lag,
                )
            )
        return tuple(out)

    def _published(self, i: int, tick: float) -> str:
        """Id and prices in ticks of one symbol, each after a space."""
        plans = self.plans
        prices = (plans.entry_low, plans.entry_high, plans.stop, plans.tp1, plans.tp2)
        words = [self.signal_id(i), *(f"{on_tick(float(x[i]), tick):.12g}" for x in prices)]
        return " " + " ".join(words)

    def _near_misses(self) -> list[dict[str, Any]]:
        """Symbols that one or two gates keep from Prime, strongest first."""
        missed = (self.table.verdicts != g.PASS).sum(axis=0)
        places = [int(i) for i in np.flatnonzero((missed > 0) & (missed <= 2))]
        places.sort(key=lambda i: (missed[i], -self.strength[i], self.rows.symbols[i]))
        return [
            {
                "symbol": self.rows.symbols[i],
                "side": self.side(i),
                "prime_strength": round(float(self.strength[i]), 2),
                "missed": list(self.reasons(i)),
            }
            for i in places[:_NEAR_MISSES]
        ]


def card(decision: Decision) -> dict[str, Any]:
    """One entry of `results`, with the keys that the user's readers know."""
    return {
        "symbol": decision.symbol,
        "side": decision.side,
        "side_long": decision.side == "long",
        "score": decision.score,
        "weighted_score": decision.score,
        "confidence": decision.confidence,
        "edge": decision.edge,
        "probability": decision.p,
        "p_calibrated": decision.p_calibrated,
        "ev": decision.ev,
        "publish": {
            "prime": decision.tier == Tier.PRIME,
            "watch": decision.tier == Tier.WATCH,
            "prime_strength": decision.prime_strength,
            "signal_id": decision.signal_id,
            "ttl_ms": decision.ttl_ms,
        },
        "scores": dict(decision.factors),
        "contributions": dict(decision.contributions),
        "modulators": dict(decision.modulators),
        "plan": None
        if decision.plan is None
        else {name: getattr(decision.plan, name) for name in decision.plan.__struct_fields__},
        "gates": {gate.name: gate.verdict.value for gate in decision.gates},
        "quality": decision.quality,
        "time_ms": decision.time_ms,
        "params_version": decision.params_version,
        "findings": list(decision.findings),
    }


def on_tick(price: float, tick: float) -> float:
    """The nearest multiple of the tick, as it is where the tick is unknown."""
    if not tick > 0.0 or not np.isfinite(price):
        return price
    steps = round(price / tick)
    return float(f"{steps * tick:.12g}")


def number(value: float) -> str:
    """Five significant digits without needless zeros."""
    return f"{value:.5g}" if abs(value) < 1e5 else f"{value:.0f}"


def interval_end(open_ms: int, interval: str) -> int:
    """Close time of a bar."""
    return open_ms + INTERVAL_MS[interval]


def _percentiles(values: Floats) -> dict[str, float]:
    known = values[~np.isnan(values)]
    if not len(known):
        return {}
    points = np.percentile(known, (0, 25, 50, 75, 100))
    return {
        name: round(float(v), 4)
        for name, v in zip(("min", "p25", "p50", "p75", "max"), points, strict=True)
    }
