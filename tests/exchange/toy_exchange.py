"""A venue of another kind: one duplex line of JSON for everything, lots and ticks as whole numbers.

Nothing here is spelt as Binance spells it. Contracts are `PERP:BTC/USDT`; amounts are lots, signed by
the way they trade; prices are ticks; times are seconds; an order (`deal`) is waiting, eating, eaten,
pulled or denied; a stop is a `guard` on the book of guards, and its execution is a deal of its own
that names the guard. A message that came too late (`until`) is denied. Candles are `rounds`: so many
seconds wide, told newest first, the one under way among them. The truth is kept here.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

CONTRACTS = {
    "PERP:BTC/USDT": {"lot": "0.001", "tick": "0.1", "least_lots": 1, "least_value": "5"},
    "PERP:ETH/USDT": {"lot": "0.01", "tick": "0.01", "least_lots": 1, "least_value": "5"},
}
TICKS = {"PERP:BTC/USDT": 1_000_000, "PERP:ETH/USDT": 300_000}
FEE_MILLIONTHS = 400
OPEN = ("waiting", "eating")
WIDES = (60, 300, 900, 3_600, 14_400, 86_400)


@dataclass
class Deal:
    """An order, or a guard while `fires_at` is set."""

    ref: str
    number: int
    instr: str
    lots: int
    kind: str
    limit: int = 0
    fires_at: int = 0
    goal: bool = False
    shrink_only: bool = False
    state: str = "waiting"
    eaten: int = 0
    value: int = 0
    touched: float = 0.0
    child: int = 0

    def body(self) -> dict[str, Any]:
        """How the venue shows it."""
        return {
            "ref": self.ref, "no": self.number, "instr": self.instr, "lots": self.lots,
            "kind": self.kind, "limit": self.limit, "fires_at": self.fires_at, "goal": self.goal,
            "shrink_only": self.shrink_only, "state": self.state, "eaten": self.eaten,
            "mean": self.value / self.eaten if self.eaten else 0, "touched": self.touched,
            "child": self.child,
        }  # fmt: skip


@dataclass
class Round:
    """So many seconds of one contract's price."""

    since: int
    first: int
    top: int
    bottom: int
    last: int
    lots: int = 0

    def add(self, ticks: int) -> None:
        """One more price."""
        self.top, self.bottom, self.last = max(self.top, ticks), min(self.bottom, ticks), ticks
        self.lots += 1

    def body(self, wide: int) -> dict[str, Any]:
        """How the venue shows it."""
        ticks = [self.first, self.top, self.bottom, self.last]
        return {"since": self.since, "wide": wide, "ticks": ticks, "lots": self.lots}


@dataclass
class ToyExchange:
    """The venue. `send(line)` to each open line; the wire between is the adapter's host's."""

    now_s: Callable[[], float]
    ticks: dict[str, int] = field(default_factory=lambda: dict(TICKS))
    cash: dict[str, int] = field(default_factory=lambda: {"USDT": 10_000_000_000})
    held: dict[str, int] = field(default_factory=dict)
    cost: dict[str, float] = field(default_factory=dict)
    deals: dict[str, Deal] = field(default_factory=dict)
    guards: dict[str, Deal] = field(default_factory=dict)
    fills: list[dict[str, Any]] = field(default_factory=list)
    lines: list[Callable[[bytes], None]] = field(default_factory=list)
    gear: dict[str, int] = field(default_factory=dict)
    leashes: dict[str, float] = field(default_factory=dict)
    numbers: int = 70_000
    answers: int = 0
    rounds: dict[tuple[str, int], list[Round]] = field(default_factory=dict)
    heard: dict[str, set[int]] = field(default_factory=dict)
    on_change: Callable[[], None] = lambda: None

    # ---- the line -------------------------------------------------------------------------
    def hear(self, payload: bytes) -> bytes:
        """One question; the answer repeats its `q`."""
        asked = json.loads(payload)
        act = getattr(self, f"_on_{asked['do']}", None)
        self.answers += 1
        try:
            body = {"oops": "what?"} if act is None else act(asked)
        except KeyError as missing:
            body = {"oops": f"no such thing: {missing.args[0]}"}
        self.on_change()
        return json.dumps({"q": asked["q"], "t": self.now_s(), **body}).encode()

    def _tell(self, what: str, body: dict[str, Any]) -> None:
        line = json.dumps({"news": what, "t": self.now_s(), **body}).encode()
        for send in list(self.lines):
            send(line)

    # ---- questions ------------------------------------------------------------------------
    def _on_contracts(self, _asked: dict[str, Any]) -> dict[str, Any]:
        return {"contracts": CONTRACTS}

    def _on_gear(self, asked: dict[str, Any]) -> dict[str, Any]:
        if not 1 <= asked["times"] <= 50:
            return {"oops": "gear: 1 to 50"}
        CONTRACTS[asked["instr"]]  # unknown contracts are refused
        self.gear[asked["instr"]] = asked["times"]
        return {"ok": 1}

    def _on_hear(self, asked: dict[str, Any]) -> dict[str, Any]:
        for instr in asked["instrs"]:
            CONTRACTS[instr]
            self.heard.setdefault(instr, set()).update(asked["wides"])
        return {"ok": 1}

    def _on_past(self, asked: dict[str, Any]) -> dict[str, Any]:
        instr, wide = asked["instr"], asked["wide"]
        if wide not in WIDES:
            return {"oops": f"wide: one of {WIDES}"}
        known = self.rounds.get((instr, wide), [])
        first = known[0].since if known else int(self.now_s()) // wide * wide
        before = asked.get("before") or math.inf
        found = [r for r in reversed(known) if r.since < before]
        first = int(min(first, before))
        older = [self._long_ago(instr, wide, first - n * wide) for n in range(1, asked["many"] + 1)]
        return {"past": [r.body(wide) for r in [*found, *older][: asked["many"]]]}

    @staticmethod
    def _long_ago(instr: str, wide: int, since: int) -> Round:
        """What the price did before anybody was here: slow and quick sways."""
        times = [since + wide * part / 8 for part in range(9)]
        ticks = [
            round(TICKS[instr] * (1 + math.sin(t / 40_000) / 50 + math.sin(t / 3_000) / 300))
            for t in times
        ]
        return Round(since, ticks[0], max(ticks), min(ticks), ticks[-1], wide)

    def _go_round(self, instr: str, ticks: int) -> None:
        """One price into the rounds under way; those that are over are told to who hears."""
        now = int(self.now_s())
        for wide in WIDES:
            known, since = self.rounds.setdefault((instr, wide), []), now // wide * wide
            if known and known[-1].since < since:
                if wide in self.heard.get(instr, ()):
                    self._tell("round", {"instr": instr, **known[-1].body(wide)})
                known.append(Round(since, ticks, ticks, ticks, ticks, 1))
            elif known:
                known[-1].add(ticks)
            else:
                known.append(self._long_ago(instr, wide, since))
                known[-1].add(ticks)

    def _on_leash(self, asked: dict[str, Any]) -> dict[str, Any]:
        CONTRACTS[asked["instr"]]
        self.leashes.pop(asked["instr"], None)
        if asked["seconds"]:
            self.leashes[asked["instr"]] = self.now_s() + asked["seconds"]
        return {"ok": 1}

    def _pull_the_unleashed(self) -> None:
        """Waiting deals of a contract whose leash has run out; guards stay."""
        for instr in [i for i, until in self.leashes.items() if until <= self.now_s()]:
            del self.leashes[instr]
            for deal in [d for d in self.deals.values() if d.instr == instr and d.state in OPEN]:
                self._move(deal, "pulled")

    def _on_all(self, _asked: dict[str, Any]) -> dict[str, Any]:
        return {
            "cash": self.cash,
            "held": {i: [n, self.cost[i] / n] for i, n in self.held.items() if n},
            "deals": [d.body() for d in self.deals.values() if d.state in OPEN],
            "guards": [d.body() for d in self.guards.values() if d.state in OPEN],
        }

    def _on_fills(self, asked: dict[str, Any]) -> dict[str, Any]:
        found = [f for f in self.fills if f["instr"] == asked["instr"] and f["t"] >= asked["since"]]
        return {"fills": found}

    def _on_show(self, asked: dict[str, Any]) -> dict[str, Any]:
        book = self.guards if asked["guard"] else self.deals
        found = book.get(asked["ref"])
        return {"oops": "unknown ref"} if found is None else {"deal": found.body()}

    def _on_pull(self, asked: dict[str, Any]) -> dict[str, Any]:
        found = (self.guards if asked["guard"] else self.deals).get(asked["ref"])
        if found is None or found.state not in OPEN:
            return {"oops": "nothing to pull"}
        self._move(found, "pulled")
        return {"ok": 1}

    def _on_deal(self, asked: dict[str, Any]) -> dict[str, Any]:
        rule, lots = CONTRACTS[asked["instr"]], asked["lots"]
        if asked["until"] < self.now_s():
            return {"oops": "too late"}
        if abs(lots) < rule["least_lots"]:
            return {"oops": "too small"}
        if asked["ref"] in self.deals or asked["ref"] in self.guards:
            return {"oops": "ref taken"}
        deal = Deal(
            asked["ref"], self._number(), asked["instr"], lots, asked["kind"],
            asked.get("limit", 0), asked.get("fires_at", 0), asked.get("goal", False),
            asked["shrink_only"], touched=self.now_s(),
        )  # fmt: skip
        if deal.fires_at:
            if self._is_fired(deal):
                return {"oops": "would fire at once"}
            self.guards[deal.ref] = deal
            self._tell("guard", deal.body())
            return {"deal": deal.body()}
        if deal.shrink_only and not self._shrinks(deal):
            return {"oops": "nothing to shrink"}
        self.deals[deal.ref] = deal
        self._tell("deal", deal.body())
        self._eat(deal)
        return {"deal": deal.body()}

    # ---- trading --------------------------------------------------------------------------
    def _number(self) -> int:
        self.numbers += 1
        return self.numbers

    def _shrinks(self, deal: Deal) -> bool:
        return self.held.get(deal.instr, 0) * deal.lots < 0

    def _move(self, deal: Deal, state: str) -> None:
        deal.state, deal.touched = state, self.now_s()
        self._tell("guard" if deal.fires_at else "deal", deal.body())

    def _eat(self, deal: Deal) -> None:
        """A market deal is eaten whole at the present price; shrinking stops at flat."""
        sign = 1 if deal.lots > 0 else -1
        lots = abs(deal.lots)
        if deal.shrink_only:
            lots = min(lots, abs(self.held.get(deal.instr, 0))) if self._shrinks(deal) else 0
        price = self.ticks[deal.instr]
        if deal.kind == "limit" and sign * (price - deal.limit) > 0:
            return  # it waits; nobody trades against it here
        for part in [p for p in (lots // 2, lots - lots // 2) if p]:
            self._fill(deal, sign * part, price)

    def _fill(self, deal: Deal, lots: int, price: int) -> None:
        before = self.held.get(deal.instr, 0)
        cost = self.cost.get(deal.instr, 0.0)
        if before * lots >= 0:
            self.cost[deal.instr] = cost + lots * price
        else:
            self.cost[deal.instr] = cost * (before + lots) / before
        self.held[deal.instr] = before + lots
        deal.eaten += abs(lots)
        deal.value += abs(lots) * price
        is_done = deal.eaten == abs(deal.lots) or (deal.shrink_only and not self.held[deal.instr])
        fee = abs(lots) * price * FEE_MILLIONTHS // 1_000_000
        self.cash["USDT"] -= fee
        fill = {
            "instr": deal.instr, "id": self._number(), "ref": deal.ref, "no": deal.number,
            "lots": lots, "price": price, "fee": fee, "t": self.now_s(),
        }  # fmt: skip
        self.fills.append(fill)
        deal.state, deal.touched = ("eaten" if is_done else "eating"), self.now_s()
        self._tell("fill", {"fill": fill, "deal": deal.body()})
        held = self.held[deal.instr]
        mean = self.cost[deal.instr] / held if held else 0
        self._tell("held", {"instr": deal.instr, "lots": held, "mean": mean, "cash": self.cash})
        self.on_change()

    # ---- prices and guards ------------------------------------------------------------------
    def price(self, instr: str, ticks: int) -> None:
        """The price moves; guards that it reaches fire."""
        self._pull_the_unleashed()
        self.ticks[instr] = ticks
        self._go_round(instr, ticks)
        if instr in self.heard:
            self._tell("fair", {"instr": instr, "ticks": ticks})
        for guard in list(self.guards.values()):
            if guard.instr == instr and guard.state == "waiting" and self._is_fired(guard):
                self._fire(guard)
        self.on_change()

    def _is_fired(self, guard: Deal) -> bool:
        is_up = (guard.lots > 0) != guard.goal
        price = self.ticks[guard.instr]
        return price >= guard.fires_at if is_up else price <= guard.fires_at

    def _fire(self, guard: Deal) -> None:
        if not self._shrinks(guard):
            self._move(guard, "denied")
            return
        child = Deal(guard.ref, self._number(), guard.instr, guard.lots, "market", shrink_only=True)
        self.deals[guard.ref] = child
        guard.child = child.number
        self._move(guard, "eating")
        self._eat(child)
        guard.eaten, guard.value = child.eaten, child.value
        self._move(guard, "eaten")
