"""Waiting for weight: right of way, the venue's word, and several processes on one host."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.net.virtual import START_MS, run_virtual

from cryptosignal.binance.budget import Lane
from cryptosignal.binance.limits import Cost, Limits
from cryptosignal.ground.clock import LoopClock, ManualClock
from cryptosignal.ground.faults import ContractFault, RateLimited
from cryptosignal.ground.units import MINUTE_MS
from cryptosignal.net.ledger import WEIGHT_HEADER, WeightLedger
from cryptosignal.net.settings import LedgerSettings

LIMITS = Limits(weight=200, data=60)


def test_a_burst_is_spread_over_minutes():
    """Two minutes' worth of weight takes two minutes, and no venue minute exceeds its share."""

    async def main(clock: LoopClock) -> list[int]:
        ledger = WeightLedger(LIMITS, clock)
        times: list[int] = []

        async def call() -> None:
            await ledger.acquire(Lane.REPAIR, Cost(weight=5))
            times.append(clock.now_ms())

        await asyncio.gather(*(call() for _ in range(80)))
        return times

    times = run_virtual(main)
    by_minute = {
        m: 5 * sum(t // MINUTE_MS == m for t in times) for m in {t // MINUTE_MS for t in times}
    }
    assert len(times) == 80
    assert all(used <= 200 * 0.72 for used in by_minute.values())
    assert len(by_minute) == 3


def test_right_of_way_is_by_lane_then_by_arrival():
    """When room comes, orders go first, then reconcile, repair, warm-up and research."""

    async def main(clock: LoopClock) -> list[str]:
        ledger = WeightLedger(LIMITS, clock)
        gone: list[str] = []

        async def call(lane: Lane, name: str) -> None:
            await ledger.acquire(lane, Cost(weight=20))
            gone.append(name)

        for lane in (Lane.RESEARCH, Lane.REPAIR, Lane.RECONCILE, Lane.ORDERS):
            while not ledger.forecast(lane, Cost(weight=1)) > clock.now_ms():
                await ledger.acquire(lane, Cost(weight=1))
        waiting = [
            (Lane.RESEARCH, "research"),
            (Lane.WARM_UP, "warm-up"),
            (Lane.REPAIR, "repair 1"),
            (Lane.REPAIR, "repair 2"),
            (Lane.RECONCILE, "reconcile"),
            (Lane.ORDERS, "order"),
        ]
        async with asyncio.TaskGroup() as group:
            for lane, name in waiting:
                group.create_task(call(lane, name))
        return gone

    assert run_virtual(main) == [
        "order",
        "reconcile",
        "repair 1",
        "repair 2",
        "warm-up",
        "research",
    ]


@pytest.mark.parametrize("pause_s", [0.0, 5.0])
def test_a_small_call_does_not_overtake_a_big_one(pause_s: float):
    """What needs much room is not starved by a trickle of small calls of its own lane or below."""

    async def main(clock: LoopClock) -> list[str]:
        ledger = WeightLedger(LIMITS, clock)
        gone: list[str] = []

        async def call(lane: Lane, weight: int, name: str) -> None:
            await ledger.acquire(lane, Cost(weight=weight))
            gone.append(name)

        await ledger.acquire(Lane.REPAIR, Cost(weight=90))
        async with asyncio.TaskGroup() as group:
            group.create_task(call(Lane.REPAIR, 60, "big"))
            await asyncio.sleep(pause_s)
            group.create_task(call(Lane.REPAIR, 1, "small"))
            group.create_task(call(Lane.RESEARCH, 1, "research"))
            group.create_task(call(Lane.ORDERS, 1, "order"))
        return gone

    assert run_virtual(main) == ["order", "big", "small", "research"]


@pytest.mark.parametrize("backlog", [10, 300])
def test_risk_reducing_calls_never_queue_behind_data(backlog: int):
    """However much data waits, a cancel, a look-up and a snapshot leave within a second."""

    async def main(clock: LoopClock) -> list[int]:
        ledger = WeightLedger(Limits(), clock)
        waits: list[int] = []

        async def data() -> None:
            await ledger.acquire(Lane.REPAIR, Cost(weight=20))

        tasks = [asyncio.create_task(data()) for _ in range(backlog)]
        await asyncio.sleep(1)
        for lane, cost in (
            (Lane.ORDERS, Cost(orders_10s=1, orders_1m=1)),
            (Lane.ORDERS, Cost(weight=1)),
            (Lane.RECONCILE, Cost(weight=90)),
        ):
            asked_ms = clock.now_ms()
            await ledger.acquire(lane, cost)
            waits.append(clock.now_ms() - asked_ms)
        await asyncio.gather(*tasks)
        return waits

    assert max(run_virtual(main)) <= 1000


def test_a_limited_wait_ends_in_rate_limited_and_charges_nothing():
    """A caller that will not wait learns when it could have gone."""

    async def main(clock: LoopClock) -> tuple[int, int]:
        ledger = WeightLedger(LIMITS, clock)
        await ledger.acquire(Lane.REPAIR, Cost(weight=144))
        with pytest.raises(RateLimited) as caught:
            await ledger.acquire(Lane.REPAIR, Cost(weight=5), max_wait_ms=1000)
        with pytest.raises(RateLimited):
            await asyncio.gather(
                ledger.acquire(Lane.REPAIR, Cost(weight=5), max_wait_ms=30_000_000),
                ledger.acquire(Lane.REPAIR, Cost(weight=5), max_wait_ms=500),
            )
        return caught.value.until_ms, ledger.snapshot().used["weight"]

    until_ms, used = run_virtual(main)
    assert until_ms == (START_MS // MINUTE_MS + 1) * MINUTE_MS + 1500
    assert used == 144


def test_a_cancelled_waiter_leaves_the_queue():
    """Whoever gives up neither blocks nor is charged."""

    async def main(clock: LoopClock) -> tuple[dict[str, int], int]:
        ledger = WeightLedger(LIMITS, clock)
        await ledger.acquire(Lane.REPAIR, Cost(weight=144))
        task = asyncio.create_task(ledger.acquire(Lane.ORDERS, Cost(weight=100)))
        await asyncio.sleep(0.5)
        waiting = ledger.snapshot().waiting_by_lane
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await ledger.acquire(Lane.ORDERS, Cost(weight=1))
        return waiting, len(ledger.snapshot().waiting_by_lane)

    assert run_virtual(main) == ({"ORDERS": 1}, 0)


def test_a_ban_learnt_while_others_wait_holds_for_them_too():
    """A 418 during a burst stops the whole queue until its last ms."""

    async def main(clock: LoopClock) -> tuple[int, int]:
        ledger = WeightLedger(LIMITS, clock)
        ledger.punish(RateLimited(418, START_MS + 200_000))
        await ledger.acquire(Lane.REPAIR, Cost(weight=1))
        return clock.now_ms(), ledger.punished

    assert run_virtual(main) == (START_MS + 200_000, 1)


def test_the_venues_count_is_read_from_answers():
    """A header above our own count makes room smaller; nonsense is ignored."""
    clock = ManualClock(START_MS)
    ledger = WeightLedger(LIMITS, clock)
    ledger.observe({WEIGHT_HEADER: "150"}, START_MS)
    assert ledger.snapshot().used["weight"] == 150
    ledger.observe({WEIGHT_HEADER: "many"}, START_MS)
    ledger.observe({}, START_MS)
    assert ledger.snapshot().used["weight"] == 150


def test_too_many_waiters_are_our_own_bug():
    """The queue has a limit."""

    async def main(clock: LoopClock) -> None:
        ledger = WeightLedger(LIMITS, clock, settings=LedgerSettings(waiters_max=3))
        await ledger.acquire(Lane.REPAIR, Cost(weight=144))
        await asyncio.gather(*(ledger.acquire(Lane.REPAIR, Cost(weight=5)) for _ in range(4)))

    with pytest.raises(ContractFault):
        run_virtual(main)


def test_figures_name_lanes_and_limits():
    """The snapshot shows what each lane spent and what is allowed, ready for JSON."""

    async def main(clock: LoopClock) -> bytes:
        ledger = WeightLedger(LIMITS, clock, host="fapi.binance.com")
        await ledger.acquire(Lane.REPAIR, 5)
        await ledger.acquire(Lane.ORDERS, Cost(weight=1))
        return msgspec.json.encode(ledger.snapshot())

    view = msgspec.json.decode(run_virtual(main))
    assert view["spent_by_lane"] == {"REPAIR": 5, "ORDERS": 1}
    assert (view["used"]["weight"], view["limits"]["weight"], view["host"]) == (
        6,
        200,
        "fapi.binance.com",
    )


def test_processes_share_one_budget_through_a_file(tmp_path: Path):
    """Two ledgers on one file behave as one; a ban told to one holds for the other."""

    async def main(clock: LoopClock) -> tuple[int, int, int]:
        one = WeightLedger(LIMITS, clock, host="h", shared_path=tmp_path)
        two = WeightLedger(LIMITS, clock, host="h", shared_path=tmp_path)
        other = WeightLedger(LIMITS, clock, host="elsewhere", shared_path=tmp_path)
        await one.acquire(Lane.REPAIR, Cost(weight=100))
        two_sees = two.snapshot().used["weight"]
        two.punish(RateLimited(429, START_MS + 7_000))
        await one.acquire(Lane.REPAIR, Cost(weight=1))
        return two_sees, clock.now_ms() - START_MS, other.snapshot().used["weight"]

    assert run_virtual(main) == (100, 7_000, 0)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=30), st.integers(1, 4))
def test_no_number_of_sharers_exceeds_the_budget(tmp_path_factory, costs: list[int], sharers: int):
    """However calls are spread over ledgers of one file, each venue minute stays in its share."""
    path = tmp_path_factory.mktemp("ledger")

    async def main(clock: LoopClock) -> list[tuple[int, int]]:
        ledgers = [WeightLedger(LIMITS, clock, shared_path=path) for _ in range(sharers)]
        passed: list[tuple[int, int]] = []

        async def call(number: int, cost: int) -> None:
            await ledgers[number % sharers].acquire(Lane.REPAIR, Cost(weight=cost))
            passed.append((clock.now_ms() // MINUTE_MS, cost))

        await asyncio.gather(*(call(number, cost) for number, cost in enumerate(costs)))
        return passed

    passed = run_virtual(main)
    assert len(passed) == len(costs)
    for minute in {minute for minute, _ in passed}:
        assert sum(cost for m, cost in passed if m == minute) <= 144


PROCESS = """
import asyncio, sys
from pathlib import Path
from cryptosignal.binance.budget import Lane
from cryptosignal.binance.limits import Cost, Limits
from cryptosignal.ground.clock import ManualClock
from cryptosignal.net.ledger import WeightLedger

async def main():
    ledger = WeightLedger(Limits(weight=10000), ManualClock(1790000030000), shared_path=Path(sys.argv[1]))
    for _ in range(1000):
        await ledger.acquire(Lane.REPAIR, Cost(weight=1))

asyncio.run(main())
"""


def test_real_processes_lose_no_charge(tmp_path: Path):
    """Three processes that charge at the same time leave exactly the sum in the file."""
    source = str(Path(__file__).resolve().parents[2] / "src")
    processes = [
        subprocess.Popen([sys.executable, "-c", PROCESS, str(tmp_path)], env={"PYTHONPATH": source})
        for _ in range(3)
    ]
    assert [process.wait(30) for process in processes] == [0, 0, 0]
    ledger = WeightLedger(Limits(), ManualClock(1_790_000_030_000), shared_path=tmp_path)
    assert ledger.snapshot().used["weight"] == 3000


@pytest.mark.parametrize("torn", [b"", b"{", b'{"minutes": 5}', b"\x00\x00"])
def test_a_torn_file_is_started_anew(tmp_path: Path, torn: bytes):
    """A file cut by a kill is no reason to stop: the ledger goes on with what it knows itself."""
    clock = ManualClock(START_MS)
    ledger = WeightLedger(LIMITS, clock, host="h", shared_path=tmp_path)
    asyncio.run(ledger.acquire(Lane.REPAIR, Cost(weight=7)))
    next(tmp_path.iterdir()).write_bytes(torn)
    asyncio.run(ledger.acquire(Lane.REPAIR, Cost(weight=1)))
    assert ledger.snapshot().used["weight"] == 8


def test_a_burst_at_the_edge_of_a_minute_loses_no_window():
    """A burst of 3,300 that starts shortly before a minute ends is over within the next one, because
    answers prove where its first calls were counted; no minute of the venue exceeds its share."""

    async def main(clock: LoopClock) -> dict[int, int]:
        ledger = WeightLedger(Limits(), clock)
        ledger.trust_clock(50)
        ledger.set_flat(True)
        await asyncio.sleep((58_500 - clock.now_ms() % MINUTE_MS) % MINUTE_MS / 1000)
        counted: dict[int, int] = {}
        gate, cost = asyncio.Semaphore(50), Cost(weight=2)

        async def call() -> None:
            async with gate:
                charged = await ledger.acquire(Lane.WARM_UP, cost)
                sent_ms = clock.now_ms()
                await asyncio.sleep(0.05)
                minute = clock.now_ms() // MINUTE_MS
                counted[minute] = counted.get(minute, 0) + cost.weight
                await asyncio.sleep(0.05)
                used = {WEIGHT_HEADER: str(counted[minute])}
                ledger.observe(used, sent_ms, charged, cost)

        await asyncio.gather(*(call() for _ in range(1_650)))
        return counted

    counted = run_virtual(main)
    assert list(counted.values()) == [1_500, 1_800]


def test_a_measured_clock_shortens_the_wait_after_a_minute():
    """Until the clock is measured the whole guard is kept, then its error and the stated margin."""
    ledger = WeightLedger(LIMITS, ManualClock(START_MS))
    edge_ms = (START_MS // MINUTE_MS + 1) * MINUTE_MS
    asyncio.run(ledger.acquire(Lane.ORDERS, Cost(weight=196)))
    assert ledger.forecast(Lane.ORDERS, Cost(weight=5)) == edge_ms + 1_500
    ledger.trust_clock(40)
    assert ledger.forecast(Lane.ORDERS, Cost(weight=5)) == edge_ms + 290
    ledger.trust_clock(60_000)
    assert ledger.forecast(Lane.ORDERS, Cost(weight=5)) == edge_ms + 1_500


def test_an_open_position_of_one_process_holds_the_warm_up_of_another(tmp_path: Path):
    """Through the shared file a process learns that another one has something open."""
    clock = ManualClock(START_MS)
    trader = WeightLedger(Limits(), clock, shared_path=tmp_path)
    scanner = WeightLedger(Limits(), clock, shared_path=tmp_path)
    scanner.set_flat(True)
    assert scanner.forecast(Lane.WARM_UP, Cost(weight=2_300)) == START_MS
    assert trader.forecast(Lane.WARM_UP, Cost(weight=1_727)) == START_MS
    trader.set_at_risk(True)
    asyncio.run(trader.acquire(Lane.RECONCILE, Cost(weight=1)))
    assert scanner.forecast(Lane.WARM_UP, Cost(weight=1_727)) == START_MS
    with pytest.raises(ValueError, match="never fit"):
        scanner.forecast(Lane.WARM_UP, Cost(weight=2_300))


@pytest.mark.parametrize("step_ms", [-3_600_000, 3_600_000])
def test_a_silence_lasts_as_long_as_it_was_told_whatever_becomes_of_the_clock(step_ms):
    """A clock that is set by an hour while we obey a 429 ends the silence neither later nor sooner."""

    async def main(clock: LoopClock) -> float:
        ledger = WeightLedger(LIMITS, clock)
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        ledger.punish(RateLimited(429, clock.now_ms() + 30_000))
        clock.offset_ms += step_ms
        await ledger.acquire(Lane.ORDERS, Cost(weight=1))
        return loop.time() - began_s

    assert 29.0 <= run_virtual(main) <= 32.0
