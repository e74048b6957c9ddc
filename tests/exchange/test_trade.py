"""A whole trade on each exchange through the same engine, rim and desk: entry, stop seen, exit."""

from __future__ import annotations

import asyncio
from decimal import Decimal

import msgspec
import pytest
from tests.exchange.test_contract import until
from tests.exchange.worlds import START_MS, SYMBOL, WORLDS, in_world
from tests.trading.toy_venue import decision

from cryptosignal.domain.actions import Record, RecordOutcome, WakeAt
from cryptosignal.domain.events import (
    EngineStarted,
    IntentRecorded,
    MarksUpdated,
    OperatorCommanded,
    OrderSent,
)
from cryptosignal.domain.order import Leg, parse_client_id
from cryptosignal.domain.params import ParamSet
from cryptosignal.engine.step import Engine
from cryptosignal.ground.clock import LoopClock
from cryptosignal.learning.outcomes import OutcomeTracker
from cryptosignal.learning.settings import OutcomeSettings
from cryptosignal.modes.rim import Rim
from cryptosignal.risk.settings import RiskSettings
from cryptosignal.store.journal import Journal
from cryptosignal.store.memory_disk import SimDisk
from cryptosignal.store.runs import RunHeader
from cryptosignal.store.settings import StoreSettings
from cryptosignal.trading.desk import Desk
from cryptosignal.trading.settings import TradingSettings


class Choosing(Engine):
    """An engine that takes a decision from outside on the command `choose`; all else is its own."""

    choice = None

    def step(self, now_ms, event):
        """As ever; `choose` opens a trade on `choice`, by the road of every decision."""
        if not (isinstance(event, OperatorCommanded) and event.command == "choose"):
            return super().step(now_ms, event)
        self.fold(event)
        actions = self._with_watch(tuple(self._open(now_ms, self.choice, is_approved=True)))
        for action in actions:
            if isinstance(action, Record):
                self.fold(action.event)
            elif isinstance(action, WakeAt):
                self.timers.set(action.name, action.at_ms)
        return actions


class Audience:
    """Keeps what was told."""

    def __init__(self):
        self.outcomes = []
        self.notes = []

    def __getattr__(self, _name):
        return self._hear

    def _hear(self, *told):
        found = [item for item in told if isinstance(item, RecordOutcome)]
        self.outcomes += [item.outcome for item in found]
        self.notes += [item for item in told if not isinstance(item, int | RecordOutcome)]


class Desks:
    """The program's inner floors over one exchange."""

    def __init__(self, world):
        loop = asyncio.get_running_loop()
        self.world = world
        self.clock = LoopClock(loop, START_MS)
        risk = RiskSettings(cost_max_r=Decimal(1), cooldown_manual_ms=0, cooldown_stop_ms=0)
        self.desk = Desk(TradingSettings(), risk, "a")
        self.engine = Choosing(ParamSet(), self.desk, OutcomeTracker(OutcomeSettings()))
        header = RunHeader(run_id="r", opened_ms=START_MS, program="t", numeric_path="", info={})
        self.journal = Journal.open(SimDisk(), "journal/1-r", header, StoreSettings())
        self.audience = Audience()
        self.events = []
        self.rim = Rim(
            self.engine, self.journal, self.clock, self.audience, world.exchange, lambda *_: None
        )
        self.rim.on_event.append(lambda _seq, _ms, event: self.events.append(event))

    async def _marks(self):
        while True:
            prices = {SYMBOL: float(self.world.mark())}
            self.rim.post(MarksUpdated(self.clock.now_ms(), prices))
            await asyncio.sleep(1.0)

    async def live(self, trade):
        """Run everything until `trade(self)` has ended."""
        instruments = await self.world.exchange.instruments()
        self.engine.instruments = {item.symbol: item for item in instruments}
        self.rim.post(EngineStarted("r", "auto", "sim", "a", "v"))
        jobs = [
            asyncio.create_task(job)
            for job in (
                self.journal.run(),
                self.rim.run(),
                self.world.exchange.attend(self.rim.post),
                self._marks(),
            )
        ]
        try:
            await until(lambda: self.desk.is_reconciled)
            await trade(self)
        finally:
            for job in jobs:
                job.cancel()
            ended = await asyncio.gather(*jobs, return_exceptions=True)
        assert all(isinstance(e, asyncio.CancelledError) for e in ended), ended

    def choose(self, side, signal_id="s1"):
        """Open a trade at the present price."""
        price = float(self.world.mark())
        now_ms = self.clock.now_ms()
        self.engine.choice = decision(signal_id, SYMBOL, side, price, now_ms)
        self.rim.post(OperatorCommanded("choose", {}))

    def protected(self):
        """The position whose stop is seen at the venue, if there is one."""
        return next((p for p in self.desk.positions() if p.is_protected), None)


@pytest.mark.parametrize("side", ["long", "short"])
@pytest.mark.parametrize("name", sorted(WORLDS))
def test_a_trade_is_entered_protected_and_closed(name, side):
    """On each exchange: every order durable as an intent first, the stop seen at the venue, the exit
    reduce-only, the books flat and empty at the end, and our account of it equal to the venue's."""

    async def trade(desks):
        desks.choose(side)
        await until(lambda: desks.protected() is not None)
        position = desks.protected()
        signed = position.quantity if side == "long" else -position.quantity
        assert desks.world.truth() == signed
        stops = {n for n in desks.world.resting() if parse_client_id(n).leg is Leg.STOP}
        assert len(stops) == 1
        assert (position.stop_price < position.entry_price) == (side == "long")
        desks.rim.post(OperatorCommanded("close", {"symbol": SYMBOL}))
        await until(lambda: desks.audience.outcomes)
        [outcome] = desks.audience.outcomes
        assert outcome.traded
        assert outcome.exit_reason == "manual"
        assert outcome.fees_usdt > 0
        assert outcome.naked_ms < 5_000
        await until(lambda: not desks.world.resting())
        assert desks.world.truth() == 0
        assert not desks.desk.positions()
        intents = [e.intent for e in desks.events if isinstance(e, IntentRecorded)]
        sent = [e.client_id for e in desks.events if isinstance(e, OrderSent)]
        assert sorted(sent) == sorted(i.client_id for i in intents)
        assert all(i.reduce_only for i in intents if i.leg is not Leg.ENTRY)
        entries = [i.client_id for i in intents if i.leg is Leg.ENTRY]
        assert [desks.world.executions(client_id) for client_id in entries] == [1]
        assert msgspec.json.encode(intents)

    in_world(name, lambda world: Desks(world).live(trade))


@pytest.mark.parametrize("name", sorted(WORLDS))
def test_an_entry_whose_answer_is_lost_is_entered_once(name):
    """On each exchange: UNKNOWN is resolved by the venue's word, protected, and never sent again."""

    async def trade(desks):
        place = desks.world.exchange.place

        async def losing(intent):
            if intent.leg is Leg.ENTRY:
                desks.world.lose_next_reply()
            return await place(intent)

        desks.world.exchange.place = losing
        desks.choose("long")
        await until(lambda: desks.protected() is not None)
        [entry] = {
            e.intent.client_id
            for e in desks.events
            if isinstance(e, IntentRecorded) and e.intent.leg is Leg.ENTRY
        }
        assert desks.world.executions(entry) == 1
        assert desks.world.truth() == desks.protected().quantity

    in_world(name, lambda world: Desks(world).live(trade))
