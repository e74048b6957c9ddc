"""A fabricated market for the page's tests: 550 symbols, decisions, health, from one seed."""

from __future__ import annotations

import math
import random
import time

HOUR_MS = 3_600_000
START_MS = 1_763_690_400_000

FACTOR_WORDS = {
    "T": "trend",
    "M": "momentum",
    "C": "taker flow (CVD)",
    "S": "structure",
    "V": "volume",
    "O": "open interest",
    "L": "liquidity (sign of the rest)",
    "B": "basis and funding",
    "Q": "large trades, liquidations",
}
GATE_WORDS = {
    "data_quality": "data can be trusted",
    "ev": "expected value after costs",
    "probability": "probability against p_min",
    "delta_p": "margin over the other side",
    "strength": "Prime strength",
    "dims": "strong factors on this side",
    "persistence": "held over closed bars",
    "spread": "spread",
    "impact": "price impact of the probe size",
    "obi": "book imbalance against the side",
    "room_structure": "room to the 72h extreme",
    "funding_time": "distance to the funding settlement",
    "coherence": "agreement of the timeframes",
    "correlation": "place among signals that move together",
}
WEIGHTS = {"T": 18, "M": 12, "C": 18, "S": 10, "V": 10, "O": 12, "L": 12, "B": 4, "Q": 4}
KNOWN = ("BTC", "ETH", "SOL", "BNB", "XRP", "DOGE", "ADA", "AVAX", "LINK", "DOT", "LTC", "TRX",
         "UNI", "ATOM", "NEAR", "APT", "ARB", "OP", "SUI", "FIL")  # fmt: skip


class Feed:
    """Bodies of every kind, moving a little with each step."""

    def __init__(self, count=550, seed=7):
        self.rng = random.Random(seed)
        names = [f"{name}USDT" for name in KNOWN]
        names += [f"COIN{i:03d}USDT" for i in range(count - len(names))]
        self.symbols = names[:count]
        self.began = time.monotonic()
        self.scans = 418
        self.rows = {symbol: self.row(symbol, i) for i, symbol in enumerate(self.symbols)}

    def row(self, symbol, i):
        rng = self.rng
        score = max(-97.0, min(97.0, rng.gauss(0, 26)))
        strength = max(0.0, min(100.0, abs(score) * 0.7 + rng.uniform(0, 30)))
        tier = "prime" if i in (4, 11, 63) else "watch" if strength > 62 else "reject"
        if tier == "prime":
            score, strength = math.copysign(71 + 4 * rng.random(), score), 84 + 6 * rng.random()
        p = 0.5 + min(0.31, abs(score) / 260)
        return {
            "symbol": symbol,
            "price": {0: 87_214.3, 1: 2_871.44}.get(i, math.exp(rng.uniform(-7, 5))),
            "change_24h_frac": rng.gauss(0, 0.035),
            "quote_volume_24h": math.exp(rng.uniform(13.5, 20 if i > 3 else 23)),
            "score": score,
            "side": "long" if score >= 0 else "short",
            "tier": tier,
            "prime_strength": strength,
            "p": p,
            "ev": (p - 0.62) * 0.04,
            "quality": float("nan") if i % 97 == 96 else min(1.0, rng.gauss(0.975, 0.02)),
            "reason": "" if tier == "prime" else rng.choice(REASONS),
            "age_s": 200.0 if i % 110 == 109 else rng.uniform(0.1, 3.0),
        }

    def step(self):
        """Move the prices of half the market, and the scores of a few."""
        for symbol in self.rng.sample(self.symbols, len(self.symbols) // 2):
            row = dict(self.rows[symbol])
            row["price"] *= 1 + self.rng.gauss(0, 4e-4)
            row["age_s"] = row["age_s"] if row["age_s"] > 90 else self.rng.uniform(0.1, 2.5)
            self.rows[symbol] = row

    def market(self):
        return {"time_ms": START_MS, "rows": list(self.rows.values())}

    def health(self):
        rng = self.rng
        links = [
            ("m1", "market", "SUBSCRIBED", 196), ("m2", "market", "SUBSCRIBED", 198),
            ("m3", "market", "RECONNECTING", 187), ("p1", "public", "SUBSCRIBED", 110),
            ("u1", "private", "SUBSCRIBED", 1),
        ]  # fmt: skip
        good = [row["quality"] for row in self.rows.values() if row["quality"] == row["quality"]]
        return {
            "connections": [
                {
                    "id": name,
                    "route": route,
                    "state": state,
                    "age_s": rng.uniform(0.01, 0.6) if state == "SUBSCRIBED" else 14.2,
                    "frames": 1_204_500 + int(4_000 * (time.monotonic() - self.began)),
                    "streams": streams,
                    "lag_ms": rng.uniform(18, 70),
                }
                for name, route, state, streams in links
            ],
            "weight": {
                "used": 1_124,
                "limit": 2_400,
                "by_lane": {"orders": 4, "reconcile": 120, "repair": 60, "warm-up": 940},
            },
            "quality": {
                "min": min(good),
                "median": sorted(good)[len(good) // 2],
                "below_90": sum(q < 0.9 for q in good),
            },
            "api_calls": 1_911,
            "engine_lag_ms": rng.uniform(1.0, 3.5),
        }

    def run(self):
        self.scans += 1
        return {
            "mode": "signal",
            "account": "sim",
            "venue": "embedded",
            "uptime_s": 11_530 + time.monotonic() - self.began,
            "scans": self.scans,
            "started": START_MS - 11_530_000,
        }

    def signals(self):
        chosen = [row for row in self.rows.values() if row["tier"] != "reject"][:18]
        return {
            "signals": [
                {**row, "time_ms": START_MS - i * 1_700_000, "signal_id": f"s{i}"}
                for i, row in enumerate(chosen)
            ]
        }

    def symbol(self, symbol, interval):
        row = self.rows[symbol]
        candles = self.candles(symbol, row["price"], interval)
        return {
            "symbol": symbol,
            "interval": interval,
            "candles": candles,
            "decision": self.decision(row, candles),
            "explain": self.explain(row),
            "signals": [
                {"time_ms": candles[-34][0], "side": "long", "tier": "watch"},
                {"time_ms": candles[-61][0], "side": "short", "tier": "prime"},
            ],
            "words": {"factors": FACTOR_WORDS, "gates": GATE_WORDS},
        }

    def candles(self, symbol, price, interval, count=300):
        rng = random.Random(f"{symbol}{interval}")
        step = {"1m": 60_000, "5m": 300_000, "15m": 900_000, "4h": 4 * HOUR_MS, "1d": 24 * HOUR_MS}
        step_ms = step.get(interval, HOUR_MS)
        bars, close = [], price
        for i in range(count):
            opened = close * math.exp(-rng.gauss(0.0004, 0.006))
            high = max(opened, close) * (1 + abs(rng.gauss(0, 0.003)))
            low = min(opened, close) * (1 - abs(rng.gauss(0, 0.003)))
            time_ms = START_MS - START_MS % step_ms - i * step_ms
            bars.append([time_ms, opened, high, low, close, math.exp(rng.gauss(9, 0.5))])
            close = opened
        return bars[::-1]

    def decision(self, row, candles):
        rng = random.Random(row["symbol"])
        sign = 1 if row["side"] == "long" else -1
        factors = {
            name: max(-100.0, min(100.0, row["score"] + rng.gauss(0, 30))) for name in FACTOR_WORDS
        }
        factors["Q"] = float("nan")
        price, atr = row["price"], row["price"] * 0.009
        return {
            "signal_id": f"{row['symbol']}-1h",
            "scan_id": self.scans,
            "time_ms": candles[-9][0],
            **row,
            "p_calibrated": row["p"] - 0.04,
            "cost": 0.0011,
            "factors": factors,
            "weights": WEIGHTS,
            "contributions": {
                name: 0.0 if value != value else value * WEIGHTS[name] / 100
                for name, value in factors.items()
            },
            "modulators": {"I": 0.42, "crowding": 0.31, "lead": 12.5, "regime": 44.0, "adx": 27.1},
            "gates": self.gates(row),
            "ttl_ms": 8 * HOUR_MS,
            "params_version": "v6.1",
            "plan": {
                "entry_low": price - 0.25 * atr,
                "entry_high": price + 0.25 * atr,
                "stop_loss": price - sign * 1.8 * atr,
                "take_profit_1": price + sign * 1.9 * atr,
                "take_profit_2": price + sign * 3.6 * atr,
                "atr": atr,
                "risk_frac": 0.0162,
            },
        }

    def gates(self, row):
        p_min, is_prime = 0.62, row["tier"] == "prime"
        odds = "pass" if row["p"] >= p_min else "fail"
        plain = [
            ("data_quality", row["quality"], ">=", 0.90, "pass", ""),
            ("ev", row["ev"], ">", 0.0, "pass" if row["ev"] > 0 else "fail", ""),
            ("probability", row["p"], ">=", p_min, odds, ""),
            ("delta_p", 2 * row["p"] - 1, ">=", 0.08, "pass", ""),
            ("strength", row["prime_strength"], ">=", 75.0, "pass" if is_prime else "fail", ""),
            ("dims", 5.0, ">=", 4.0, "pass", ""),
            ("persistence", 2.0, ">=", 2.0, "pass", ""),
            ("spread", 1.4, "<=", 35.0, "pass", ""),
            ("impact", float("nan"), "<=", 7.0, "warming", "warming: no book yet"),
            ("obi", 0.31, "<=", 0.30, "marginal", "marginal: 0.31 is not <= 0.3"),
            ("room_structure", 1.9, ">=", 0.6, "pass", ""),
            ("funding_time", 8_220_000.0, ">=", 300_000.0, "pass", ""),
            ("coherence", 0.75, ">=", 0.6, "pass", ""),
            ("correlation", 0.0, "<=", 2.0, "pass", ""),
        ]
        if is_prime:
            plain[8] = ("impact", 3.2, "<=", 7.0, "pass", "")
            plain[9] = ("obi", 0.12, "<=", 0.30, "pass", "")
        keys = ("name", "value", "relation", "limit", "verdict", "reason")
        made = [dict(zip(keys, gate, strict=True)) for gate in plain]
        for gate in made:
            if gate["verdict"] == "fail":
                gate["reason"] = f"{gate['value']:.3g} is not {gate['relation']} {gate['limit']:g}"
        return made

    def explain(self, row):
        return [
            f"{row['symbol']} at 2025-11-21 02:00:00 UTC: {row['tier']}, {row['side']}, "
            f"score {row['score']:+.1f}, Prime strength {row['prime_strength']:.1f}",
            "",
            "What was seen",
            f"  data quality {row['quality']:.3f}",
            "   1h: 300 bars, newest opened 2025-11-21 01:00:00, source ws, confirmed",
            "",
            "Stopped by: price impact of the probe size (warming: no book yet)",
            "<script>alert('an explanation is text, never a page')</script>",
        ]


REASONS = [
    "strength: 48.1 is not >= 75",
    "probability: 0.571 is not >= 0.62",
    "ev: -0.0012 is not > 0 of notional",
    "impact: warming: no book yet",
    "coherence: 0.5 is not >= 0.6 share",
    "dims: 2 is not >= 4 factors",
]
