"""Loops with a time of their own."""

from __future__ import annotations

import asyncio
import contextvars

import pytest

from cryptosignal.ground.clock import LoopClock, ManualClock, host_mono_ns
from cryptosignal.ground.loop import PROCESS, ScaledLoop, VirtualLoop
from cryptosignal.ground.seeds import Seeds


def run_virtual(seed, names):
    loop = VirtualLoop()
    log = []

    async def worker(name):
        rng = Seeds(seed).stream("worker", name)
        for _ in range(50):
            await asyncio.sleep(rng.expovariate(1.0))
            log.append((name, round(loop.time(), 9)))

    async def main():
        async with asyncio.TaskGroup() as tasks:
            for name in names:
                tasks.create_task(worker(name))

    try:
        loop.run_until_complete(main())
    finally:
        loop.close()
    return log


def test_virtual_time_gives_one_order_for_one_seed():
    """The same seed gives the same trace, another seed another one, and no wall time passes."""
    names = ("a", "b", "c")
    assert run_virtual(1, names) == run_virtual(1, names)
    assert run_virtual(1, names) != run_virtual(2, names)


def test_a_day_of_sleeps_ends_at_exactly_one_day():
    """Virtual time advances by what was slept."""
    loop = VirtualLoop()

    async def main():
        for _ in range(24):
            await asyncio.sleep(3600)
        return loop.time()

    try:
        assert loop.run_until_complete(main()) == pytest.approx(86_400.0, abs=1e-4)
    finally:
        loop.close()


def test_a_killed_process_runs_no_finally_and_the_world_goes_on():
    """After kill(pid) nothing of that process runs, not even a finally; others do."""
    loop = VirtualLoop()
    log = []

    async def victim():
        try:
            while True:
                await asyncio.sleep(1)
                log.append(("victim", PROCESS.get()))
        finally:
            log.append(("finally", 0))

    async def main():
        loop.start_process(7, victim)
        await asyncio.sleep(2.5)
        loop.kill(7)
        await asyncio.sleep(10)
        log.append(("world", PROCESS.get()))

    try:
        loop.run_until_complete(main())
        assert log == [("victim", 7), ("victim", 7), ("world", 0)]
    finally:
        loop.discard_dead()
        loop.close()


def test_a_kill_in_the_midst_of_a_pass_takes_nothing_from_the_loop_s_count():
    """A kill while handles of the dead process are ready in the same pass leaves the loop running."""
    loop = VirtualLoop()
    ran = []

    async def process():
        await asyncio.sleep(1.0)
        ran.append("process")

    async def main():
        for pid in (7, 8):
            loop.start_process(pid, process)
        await asyncio.sleep(0.5)
        dead = contextvars.copy_context()
        dead.run(PROCESS.set, 7)
        loop.call_soon(loop.kill, 7)
        for _ in range(3):
            loop.call_soon(ran.append, "dead", context=dead)
        await asyncio.sleep(1.0)

    try:
        loop.run_until_complete(main())
    finally:
        loop.discard_dead()
        loop.close()
    assert ran == ["process"]


def test_timers_of_one_time_fire_as_they_were_set_and_cancelled_ones_never():
    """Timers due together fire in the order of their setting; a cancelled one moves no time."""
    loop = VirtualLoop()
    log = []

    async def main():
        for name in "abcde":
            loop.call_at(2.0, log.append, name)
        loop.call_at(2.0, log.append, "never").cancel()
        loop.call_later(1.0, log.append, "cancelled").cancel()
        await asyncio.sleep(1.5)
        assert (loop.time(), log) == (1.5, [])
        await asyncio.sleep(0.5)

    try:
        loop.run_until_complete(main())
    finally:
        loop.close()
    assert log == list("abcde")


def test_a_killed_process_leaves_no_timer_behind():
    """A callback that a dead process had set, or that is set in its name, never runs."""
    loop = VirtualLoop()
    log = []
    contexts = []

    async def victim():
        contexts.append(contextvars.copy_context())
        loop.call_later(5.0, log.append, "zombie")
        await asyncio.sleep(100)

    async def main():
        loop.start_process(7, victim)
        await asyncio.sleep(1)
        loop.kill(7)
        loop.call_later(2.0, log.append, "from the grave", context=contexts[0])
        await asyncio.sleep(10)

    try:
        loop.run_until_complete(main())
        assert log == []
    finally:
        loop.discard_dead()
        loop.close()


def test_nothing_to_do_is_a_deadlock_and_says_so():
    """A virtual loop with nothing scheduled raises instead of hanging."""
    loop = VirtualLoop()

    async def main():
        await loop.create_future()

    task = None
    try:
        with pytest.raises(RuntimeError, match="deadlock"):
            loop.run_until_complete(main())
    finally:
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()


def test_a_scaled_loop_sleeps_its_share_of_wall_time():
    """At speed 200 two venue seconds are 10 ms of the wall, and the clock reads venue time."""
    epoch_ns = host_mono_ns()
    loop = ScaledLoop(200.0, epoch_ns)
    clock = LoopClock(loop, 1_000_000)

    async def main():
        before_ms = clock.now_ms()
        await asyncio.sleep(2.0)
        return clock.now_ms() - before_ms

    try:
        assert loop.run_until_complete(main()) >= 2_000
    finally:
        loop.close()
    wall_s = (host_mono_ns() - epoch_ns) * 1e-9
    assert wall_s < 2.0


def test_a_manual_clock_refuses_to_go_back():
    """Recorded time only moves forward."""
    clock = ManualClock(1000)
    clock.advance_ms(5)
    assert clock.now_ms() == 1005
    with pytest.raises(ValueError, match="forward"):
        clock.set_ms(1004)
