"""A stateful search: any mix of signals, moves, faults, people and crashes keeps the promises."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import ClassVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from tests.trading.toy_venue import ENTRY_FIRST, Faults, Rig, decision

from cryptosignal.domain.events import OperatorCommanded
from cryptosignal.domain.order import Leg, OrderState
from cryptosignal.trading.desk import Desk
from cryptosignal.trading.state import SymbolBook

D = Decimal
SYMBOLS = ("BTCUSDT", "ETHUSDT")
FAULT_NAMES = [name for name in Faults.__dataclass_fields__ if name != "stop_vanishes"]


def portrait(desk: Desk) -> dict[str, object]:
    """Everything a restart must find again."""
    state = desk.state
    return {
        "orders": {c: repr(o) for c, o in state.orders.items()},
        "trades": {s: repr(t) for s, t in state.trades.items()},
        "books": {s: repr(b) for s, b in state.books.items() if b != SymbolBook(s)},
        "fills": len(state.fills),
        "opened": sorted(state.opened),
        "kill": state.breaker.kill,
        "breaker": repr(state.breaker),
        "cooldowns": state.cooldowns,
        "waiting": sorted(state.waiting),
        "spans": [repr(s) for s in state.spans],
        "strays": sorted(state.strays),
    }


class DeskMachine(RuleBasedStateMachine):
    """Rules are what the world may do; invariants are DESIGN §5 as far as they are the desk's."""

    reached: ClassVar[set[str]] = set()

    @initialize(seed=st.integers(0, 2**20), entry_first=st.booleans())
    def start(self, seed, entry_first):
        self.rig = Rig(ENTRY_FIRST if entry_first else None, seed=seed)
        self.rig.run(1000)
        self.signals = 0

    @rule(symbol=st.sampled_from(SYMBOLS), side=st.sampled_from(["long", "short"]))
    def signal(self, symbol, side):
        self.signals += 1
        price = float(self.rig.venue.price(symbol))
        self.rig.desk.state.cooldowns.clear()
        self.rig.open(decision(f"s{self.signals}", symbol, side, price, self.rig.now))
        self.rig.run(40)

    @rule(symbol=st.sampled_from(SYMBOLS), permille=st.integers(-30, 30))
    def move(self, symbol, permille):
        price = self.rig.venue.price(symbol) * (1 + D(permille) / 1000)
        self.rig.price(symbol, price.quantize(D("0.01")))

    @rule(ms=st.sampled_from([5, 30, 300, 1200, 4000, 20_000]))
    def wait(self, ms):
        self.rig.run(ms)

    @rule(name=st.sampled_from(FAULT_NAMES), p=st.sampled_from([0.2, 1.0]))
    def break_something(self, name, p):
        self.rig.faults = replace(self.rig.faults, **{name: p})

    @rule()
    def mend(self):
        self.rig.faults = Faults()

    @rule(ms=st.sampled_from([0, 500, 6000]))
    def crash(self, ms):
        before = self.signals
        self.rig.crash()
        self.rig.venue.now_ms += ms
        self.rig.boot()
        assert before == self.signals

    @rule(ms=st.sampled_from([50, 3000]))
    def drop_stream(self, ms):
        self.rig.disconnect()
        self.rig.run(ms)
        self.rig.connect()

    @rule(index=st.integers(0, 3))
    def vanish(self, index):
        resting = [a for a in self.rig.venue.algos.values() if a.status == "NEW"]
        if index < len(resting):
            self.rig.venue.cancel_silently(resting[index].intent.client_id)

    @rule(symbol=st.sampled_from(SYMBOLS), tenths=st.sampled_from([-20, -5, 5]))
    def somebody_trades(self, symbol, tenths):
        self.rig.venue.trade_by_hand(symbol, D(tenths) / 10)
        self.rig.flush()

    @rule(word=st.sampled_from(["close_all", "kill", "unkill"]), level=st.sampled_from("123"))
    def command(self, word, level):
        self.rig.live(OperatorCommanded(word, {"level": level}))

    @invariant()
    def one_entry_per_signal(self):
        if hasattr(self, "rig"):
            assert max(self.rig.venue.entries.values(), default=0) <= 1

    @invariant()
    def exits_only_lower_risk(self):
        if hasattr(self, "rig"):
            for intent in self.rig.venue.sent_requests:
                assert intent.reduce_only == (intent.leg is not Leg.ENTRY)

    @invariant()
    def fills_are_counted_once(self):
        if hasattr(self, "rig"):
            state, venue = self.rig.desk.state, self.rig.venue
            for order in state.orders.values():
                toy = venue.orders.get(order.client_id)
                if toy is not None:
                    assert order.booked <= toy.executed

    @invariant()
    def restart_finds_the_same(self):
        if hasattr(self, "rig"):
            fresh = Desk(self.rig.settings, self.rig.risk, "t")
            for event in self.rig.journal:
                fresh.apply(event)
            fresh.state.cooldowns = self.rig.desk.state.cooldowns
            assert portrait(fresh) == portrait(self.rig.desk)

    def teardown(self):
        if not hasattr(self, "rig"):
            return
        rig = self.rig
        rig.faults = Faults()
        rig.live(OperatorCommanded("unkill", {}))
        rig.run(330_000)  # a flat account is read every 300 s
        self.agree()
        for trade in rig.desk.state.trades.values():
            assert not trade.naked_since_ms, "naked after healing"
        rig.live(OperatorCommanded("close_all", {}))
        rig.run(330_000)
        self.agree()
        assert not rig.desk.state.trades
        assert rig.venue.own_open() == []
        assert not [o for o in rig.desk.state.orders.values() if o.state is OrderState.UNKNOWN]

    def agree(self):
        for symbol in SYMBOLS:
            ours = self.rig.desk.state.net(symbol)
            assert ours == self.rig.venue.positions.get(symbol, D(0)), symbol


DeskMachine.TestCase.settings = settings(
    max_examples=60,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
TestDesk = DeskMachine.TestCase
