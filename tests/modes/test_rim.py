"""The rim: one event at a time, everything durable before it is sent, nothing dropped, a clean end."""

from __future__ import annotations

import asyncio
from decimal import Decimal

import pytest
from tests.net.virtual import run_virtual

import cryptosignal.modes.rim as rim_room
from cryptosignal.domain.actions import (
    CancelOrder,
    Note,
    Record,
    SetCountdown,
    SetLeverage,
    StopProcess,
    SubmitOrder,
    TakeSnapshot,
    WakeAt,
    WatchSymbols,
)
from cryptosignal.domain.events import (
    CountdownReplied,
    FactRecorded,
    IntentRecorded,
    OrderReplied,
    OrderSent,
    SendOutcome,
    SnapshotFailed,
    TimerFired,
)
from cryptosignal.domain.order import Leg, OrderIntent, OrderKind, Side
from cryptosignal.engine.digest import DigestChain
from cryptosignal.engine.timers import Timers
from cryptosignal.ground.faults import ContractFault, Refused, UserFault
from cryptosignal.modes.rim import Rim
from cryptosignal.store.faults import DiskFault


def intent(leg=Leg.ENTRY, number=1):
    return OrderIntent(
        client_id=f"csa-k-{leg.value}{number}",
        signal_id="k",
        symbol="BTCUSDT",
        leg=leg,
        side=Side.BUY,
        kind=OrderKind.MARKET,
        quantity=Decimal("0.01"),
        created_ms=1,
    )


class World:
    """A rim with a scripted engine: everything that touches the outside writes into one log."""

    def __init__(self, clock, script, *, with_venue=True):
        self.log = []
        self.script = script
        self.timers = Timers()
        self.chain = DigestChain()
        self.sync_s = 0.0
        self.place_s = 0.0
        self.prepare_s = 0.0
        self.prepare_fault = None
        self.recv_window_ms = 3_000
        self.order_wait_ms_max = 1_000
        self.watched = None
        self.rim = Rim(self, self, clock, self, self if with_venue else None, self.watch)

    # the engine
    def step(self, now_ms, event):
        self.log.append(("step", event))
        actions = self.script(event)
        for action in actions:
            if isinstance(action, WakeAt):
                self.timers.set(action.name, action.at_ms)
        return actions

    def digest_of(self, now_ms, actions):
        return self.chain.add(now_ms, actions)

    # the journal
    def append(self, seq, now_ms, event, tape_position=0):
        self.log.append(("journal", seq, event))

    def write_digest(self, seq, digest):
        self.log.append(("digest", seq, digest))

    async def durable(self, seq):
        await asyncio.sleep(self.sync_s)
        self.log.append(("durable", seq))

    # the venue
    async def place(self, order):
        self.log.append(("placed", order.client_id))
        await asyncio.sleep(self.place_s)
        return OrderReplied(order.client_id, order.symbol, SendOutcome.ACKED)

    async def prepare_symbol(self, symbol, leverage, margin_type):
        await asyncio.sleep(self.prepare_s)
        if self.prepare_fault:
            raise self.prepare_fault
        self.log.append(("prepared", symbol, leverage, margin_type))

    async def count_down(self, symbol, countdown_ms):
        self.log.append(("counted", symbol))
        return CountdownReplied(symbol, countdown_ms, SendOutcome.ACKED)

    async def cancel(self, client_id, symbol, is_algo):
        self.log.append(("cancelled", client_id))
        raise ContractFault("a bug while cancelling")

    async def snapshot(self, purpose, symbols=(), trades_since_ms=0):
        self.log.append(("snapshot", purpose))
        return SnapshotFailed(purpose, "no")

    # the audience
    def on_note(self, now_ms, action):
        self.log.append(("note", action.event))

    def watch(self, symbols, priced):
        self.watched = symbols

    def kinds(self):
        return [entry[0] for entry in self.log]

    def events(self, kind):
        return [entry[-1] for entry in self.log if entry[0] == kind]


def lived(script, *posted, change=lambda world: None, with_venue=True):
    """Post events, run until nothing is left to do, stop."""

    async def main(clock):
        world = World(clock, script, with_venue=with_venue)
        change(world)
        for event in posted:
            world.rim.post(event)
        task = asyncio.create_task(world.rim.run())
        await asyncio.sleep(60.0)
        world.rim.stop("enough")
        await task
        return world

    return run_virtual(main)


def on_start(*actions):
    return lambda event: actions if event == TimerFired("go") else ()


def test_an_event_is_journaled_before_it_is_decided_on():
    """Number, journal, decision, digest, records: in this order, numbers without a gap."""
    record = Record(IntentRecorded(intent()))
    world = lived(on_start(record), TimerFired("go"), TimerFired("next"))
    assert world.kinds() == ["journal", "step", "digest", "journal", "journal", "step"]
    assert [entry[1] for entry in world.log if entry[0] == "journal"] == [1, 2, 3]
    assert world.log[2][1] == 1, "the digest belongs to its event, not to its record"
    assert world.events("journal")[1] == record.event


def test_nothing_leaves_before_it_is_durable():
    """The intent's record and `OrderSent` are durable before the bytes of an order leave."""

    def slow(world):
        world.sync_s = 0.5

    order = intent()
    script = on_start(Record(IntentRecorded(order)), SubmitOrder(order))
    world = lived(script, TimerFired("go"), change=slow)
    kinds = world.kinds()
    sent = [isinstance(e, OrderSent) for e in world.events("journal")].index(True) + 1
    placed = kinds.index("placed")
    durable = kinds.index("durable")
    assert durable < placed
    assert world.log[durable][1] >= sent, "the mark covers OrderSent"
    [fence] = [e for e in world.events("journal") if isinstance(e, OrderSent)]
    assert fence.recv_window_ms == 3_000 + 1_000
    assert isinstance(world.events("journal")[-1], OrderReplied), "the reply is an event again"


def test_a_countdown_is_durable_before_it_is_asked_for():
    """What the venue may do after our death is on disk first, and its answer is an event."""

    def slow(world):
        world.sync_s = 0.5

    fact = FactRecorded("countdown.asked", "BTCUSDT", "{}")
    script = on_start(Record(fact), SetCountdown("BTCUSDT", 9_000))
    world = lived(script, TimerFired("go"), change=slow)
    kinds = world.kinds()
    assert kinds.index("durable") < kinds.index("counted")
    assert world.events("journal")[-1] == CountdownReplied("BTCUSDT", 9_000, SendOutcome.ACKED)


def test_leverage_is_set_before_an_entry_and_only_then():
    """Leverage waits for the entry; a protective order does not wait for it."""
    lever = SetLeverage("BTCUSDT", 3, "ISOLATED")
    world = lived(on_start(lever, SubmitOrder(intent(Leg.STOP))), TimerFired("go"))
    assert "prepared" not in world.kinds()
    world = lived(on_start(lever, SubmitOrder(intent())), TimerFired("go"))
    assert world.kinds().index("prepared") < world.kinds().index("placed")


@pytest.mark.parametrize("how", ["refused", "slow"])
def test_an_entry_without_its_leverage_is_not_sent(how):
    """Leverage refused, or set too late for the entry's price: known not to be sent."""

    def prepare(world):
        if how == "refused":
            world.prepare_fault = Refused(-4028, "Leverage 3 is not valid")
        else:
            world.prepare_s = rim_room.PREPARE_MS_MAX / 1000 + 1

    lever = SetLeverage("BTCUSDT", 3, "ISOLATED")
    world = lived(on_start(lever, SubmitOrder(intent())), TimerFired("go"), change=prepare)
    assert "placed" not in world.kinds()
    [reply] = [e for e in world.events("journal") if isinstance(e, OrderReplied)]
    assert reply.outcome is SendOutcome.NOT_SENT
    assert not any(isinstance(e, OrderSent) for e in world.events("journal"))


def test_a_full_inbox_is_our_own_fault(monkeypatch):
    """At its bound the inbox raises; no event is dropped silently."""
    monkeypatch.setattr(rim_room, "INBOX_LIMIT", 3)

    async def main(clock):
        world = World(clock, lambda event: ())
        for _ in range(3):
            world.rim.post(TimerFired("x"))
        with pytest.raises(ContractFault, match="past its limit of 3"):
            world.rim.post(TimerFired("x"))

    run_virtual(main)


def test_an_order_without_an_account_is_our_own_fault():
    """A process without credentials that is asked to trade ends instead of pretending."""
    with pytest.raises(BaseExceptionGroup) as caught:
        lived(on_start(SubmitOrder(intent())), TimerFired("go"), with_venue=False)
    assert caught.group_contains(ContractFault, match="without an account")


def test_a_bug_in_a_request_ends_the_run():
    """A fault that no reply stands for is not swallowed."""
    with pytest.raises(BaseExceptionGroup) as caught:
        lived(on_start(CancelOrder("csa-k-s1", "BTCUSDT", True)), TimerFired("go"))
    assert caught.group_contains(ContractFault, match="a bug while cancelling")


def test_timers_fire_once_and_in_time():
    """A wake-up comes as an event at its time, and is gone then."""
    fired = []

    async def main(clock):
        def script(event):
            if event == TimerFired("go"):
                now_ms = clock.now_ms()
                return (WakeAt("late", now_ms + 5_000), WakeAt("soon", now_ms + 1_000))
            fired.append((event.name, clock.now_ms()))
            return ()

        world = World(clock, script)
        started_ms = clock.now_ms()
        world.rim.post(TimerFired("go"))
        task = asyncio.create_task(world.rim.run())
        await asyncio.sleep(20.0)
        world.rim.stop("enough")
        await task
        return started_ms

    started_ms = run_virtual(main)
    assert [name for name, _ in fired] == ["soon", "late"]
    assert [at - started_ms for _, at in fired] == pytest.approx([1_000, 5_000], abs=2)


@pytest.mark.parametrize(("takes_s", "is_heard"), [(1.0, True), (30.0, False)])
def test_a_stop_gives_requests_their_grace(takes_s, is_heard):
    """A reply within the grace is still journaled; a longer request is cut, and the run ends."""

    async def main(clock):
        world = World(clock, on_start(SubmitOrder(intent())))
        world.place_s = takes_s
        world.rim.post(TimerFired("go"))
        task = asyncio.create_task(world.rim.run())
        await asyncio.sleep(0.1)
        stopped_s = asyncio.get_running_loop().time()
        world.rim.stop("interrupted")
        world.rim.stop("again")
        await task
        return world, asyncio.get_running_loop().time() - stopped_s

    world, took_s = run_virtual(main)
    assert took_s <= rim_room.STOP_GRACE_S + 0.01  # virtual seconds
    assert any(isinstance(e, OrderReplied) for e in world.events("journal")) is is_heard
    assert world.rim.stop_reason == "interrupted"


def test_other_actions_reach_their_place():
    """Watched symbols, snapshots, notes and the engine's own end are performed."""
    world = lived(
        on_start(
            WatchSymbols(("BTCUSDT",)),
            TakeSnapshot("start", (), 0),
            Note("said", {}),
            StopProcess("the breaker says so"),
        ),
        TimerFired("go"),
    )
    assert world.watched == ("BTCUSDT",)
    assert ("snapshot", "start") in world.log
    assert ("note", "said") in world.log
    assert world.rim.stop_reason == "the breaker says so"
    assert isinstance(world.events("journal")[-1], SnapshotFailed)


def asked(script, change=lambda world: None):
    """Ask one event of a running rim: what the asker got, and how the rim ended."""

    async def main(clock):
        world = World(clock, script)
        change(world)
        running = asyncio.create_task(world.rim.run())
        await asyncio.sleep(0)
        [answer] = await asyncio.gather(world.rim.ask(TimerFired("go")), return_exceptions=True)
        world.rim.stop("enough")
        [end] = await asyncio.gather(running, return_exceptions=True)
        return answer, end

    return run_virtual(main)


def test_who_asks_gets_the_actions_when_they_are_durable():
    """An asked event is handled in its turn; the answer waits for the disk."""
    record = Record(IntentRecorded(intent()))
    answer, end = asked(on_start(record))
    assert answer == (record,)
    assert end is None


def test_a_bug_in_an_asked_event_ends_the_engine_and_is_told_to_the_asker():
    """What goes wrong while an asked event is handled is the engine's end, never only the asker's."""

    def bug(_event):
        raise ContractFault("a bug")

    answer, end = asked(bug)
    assert isinstance(answer, UserFault)
    assert isinstance(end, ExceptionGroup)
    assert isinstance(end.exceptions[0], ContractFault)


@pytest.mark.parametrize("fails", [False, True])
def test_nobody_waits_for_an_engine_that_has_ended(fails):
    """A question after the end, in order or by a fault, is refused at once."""

    async def main(clock):
        world = World(clock, on_start())
        running = asyncio.create_task(world.rim.run())
        await asyncio.sleep(0)
        if fails:
            world.script = lambda _event: 1 / 0
            world.rim.post(TimerFired("go"))
        else:
            world.rim.stop("enough")
        await asyncio.gather(running, return_exceptions=True)
        with pytest.raises(UserFault, match="ending"):
            await world.rim.ask(TimerFired("late"))

    run_virtual(main)


def test_a_disk_that_refuses_is_told_to_the_asker():
    """A command that could not be made durable is one line for its sender, not a success."""

    async def refuse(_seq):
        raise DiskFault("money-1.seg", "no space")

    answer, _ = asked(on_start(), lambda world: setattr(world, "durable", refuse))
    assert isinstance(answer, UserFault)
    assert "no space" in str(answer)
