"""The simulated day: one seed, one trace; faults and kills are met, and nothing that must hold breaks."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from tests.shared import ROOT

from cryptosignal.modes import campaign
from cryptosignal.modes.campaign import (
    JOURNAL_ROOT,
    Day,
    DayResult,
    DaySettings,
    run_days,
    summary,
)
from cryptosignal.modes.weather import Weather, calm, everything
from cryptosignal.store.runs import read_run, run_dirs

SHORT_DAYS = 0.02
HARD = DaySettings(days=0.03, weather=Weather(), kill_mean_s=240.0, trade_mean_s=30.0)
"""Three quarters of an hour of trading every half minute, killed every four minutes."""

SCRIPT = """
import json, sys
from cryptosignal.modes.weather import Weather
from cryptosignal.modes.campaign import Day, DaySettings
hard = DaySettings(days=float(sys.argv[2]), kill_mean_s=300.0, trade_mean_s=30.0, weather=Weather())
result = Day(int(sys.argv[1]), hard).run()
print(json.dumps([result.trace_hash, result.kills, result.fills, result.violations]))
"""


def trace_of(seed, hash_seed):
    """A short day in a process of its own: trace hash, kills, fills, violations."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(seed), str(SHORT_DAYS)],
        env={"PYTHONPATH": str(ROOT / "src"), "PYTHONHASHSEED": str(hash_seed)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, f"seed {seed}: {done.stderr[-2000:]}"
    return json.loads(done.stdout)


def test_one_seed_is_one_trace_in_every_process():
    """A seed gives one trace hash under any PYTHONHASHSEED; another seed gives another."""
    first, second, third = (trace_of(7, hash_seed) for hash_seed in (0, 1, 4242))
    assert first == second == third, "seed 7"
    assert first[1] > 0, "a day without a kill proves little"
    assert first[2] > 0, "a day without a fill proves little"
    assert trace_of(8, 0)[0] != first[0]


@pytest.mark.slow
def test_days_of_faults_and_kills_violate_nothing():
    """Lost responses, dropped streams and kills all happen, and every invariant holds."""
    results = [Day(seed, HARD).run() for seed in (11, 12, 13)]
    for result in results:
        assert result.violations == [], f"seed {result.seed}: {result.violations}"
        assert result.replayed_digests > 0, f"seed {result.seed}"
    whole = summary(results, HARD.days)
    assert whole.kills >= 6, whole
    for fault in ("response_lost", "request_lost", "request_slow", "stream_drop_per_min"):
        assert whole.faults[fault] > 0, f"{fault} never happened: {whole.faults}"
    assert whole.entries > 10, whole
    assert whole.fills > 2 * whole.entries - 5, whole
    assert whole.naked_ms_max <= 20_000, whole


@pytest.mark.slow
def test_kills_meet_every_moment_of_a_trade():
    """Killed between any two steps of a trade, the next start finds what is owed and mends it.

    A day of many kills and trades must end some process while an order is on its way, while a
    position is held without its stop, while one is held with it, and while it is flat.
    """
    met = set()
    for seed in (21, 22, 23):
        day = Day(seed, DaySettings(days=0.03, kill_mean_s=45.0, trade_mean_s=10.0))
        kill = day._kill

        def noticing(day=day, kill=kill):
            met.update(moments(day))
            kill()

        day._kill = noticing
        result = day.run()
        assert result.violations == [], f"seed {seed}: {result.violations}"
    assert met >= {"starting", "flat", "asking", "protected"}, met


@pytest.mark.parametrize(
    ("seed", "why"),
    [
        (21, "a trade that was closed twice brought its money twice"),
        (23, "a fill behind a booked difference was counted again, and kept an order unknown"),
        (25, "a halted symbol was called naked; stops went out on a tick of yesterday"),
    ],
    ids=str,
)
def test_all_faults_at_once(seed, why):
    """With the whole menu on and a kill every 45 s, hours that failed once fail no more."""
    hard = DaySettings(days=0.02, weather=everything(), kill_mean_s=45.0, trade_mean_s=10.0)
    assert Day(seed, hard).run().violations == [], f"seed {seed}: {why}"


def test_a_short_profile_of_the_campaign():
    """A few hours of swarm weather violate nothing, the p99 of naked time included."""
    results = [Day(seed, DaySettings(days=0.03)).run() for seed in range(901, 909)]
    whole = summary(results, 0.03)
    assert whole.violations == [], whole.violations
    assert whole.kills > 6, whole
    assert whole.entries > 10, whole


def moments(day):
    """What the process that is about to be killed is in the middle of."""
    program = day.program
    if day.is_healing or program is None:
        return
    if not program.started.is_set():
        yield "starting"
        return
    if program.rim._jobs:
        yield "asking"
    held = program.desk.positions()
    if not held:
        yield "flat"
    for position in held:
        yield "protected" if position.is_protected else "naked"


def test_a_calm_day_has_no_faults():
    """Without faults and kills nothing is injected, and what was opened agrees with the venue."""
    quiet = DaySettings(
        days=0.01, weather=calm(), host_mean_s=1e9, kill_mean_s=1e9, trade_mean_s=30.0
    )
    result = Day(5, quiet).run()
    assert result.violations == [], f"seed 5: {result.violations}"
    assert result.kills == 0
    assert sum(result.faults.values()) == 0
    assert result.fills > 0
    assert result.restarts == 1


def test_days_are_added_up():
    """The summary adds counts, names the seed of each violation and ranks the naked spans."""
    first = DayResult(
        1, kills=2, fills=3, faults={"lost": 1}, naked_spans_ms=[5, 9], trace_hash="a"
    )
    second = DayResult(2, kills=1, faults={"lost": 2}, violations=["naked at 3"], trace_hash="b")
    whole = summary([first, second], 0.5)
    assert (whole.days, whole.kills, whole.fills, whole.faults) == (1.0, 3, 3, {"lost": 3})
    assert whole.violations == ["seed 2: naked at 3"]
    assert (whole.naked_ms_p99, whole.naked_ms_max) == (9, 9)
    assert whole.trace_hash != summary([second, first], 0.5).trace_hash


def test_a_start_with_an_open_trade_protects_before_it_knows_the_market():
    """Where the journal holds an open trade, the engine runs before the venue's list is read."""
    hasty = 0
    day = Day(
        5,
        DaySettings(
            days=0.012, weather=calm(), kill_mean_s=90.0, trade_mean_s=20.0, host_mean_s=1e9
        ),
    )
    assert day.run().violations == []
    for run_dir in run_dirs(day.disk, JOURNAL_ROOT):
        kinds = [type(r.event).__name__ for r in read_run(day.disk, run_dir, past_gaps=True)]
        began, listed = kinds.index("EngineStarted"), "InstrumentsListed"
        first_ask = next((i for i, k in enumerate(kinds) if k == "OrderLookedUp"), len(kinds))
        hasty += listed in kinds and began < first_ask < kinds.index(listed)
    assert hasty, "no start found an open trade"


def test_processes_are_replaced_and_change_nothing(monkeypatch):
    """More days than the processes of one pool live give the trace of one process, in order."""
    monkeypatch.setattr(campaign, "SEEDS_A_PROCESS", 1)
    seeds, moments = [7, 8, 9], DaySettings(days=0.001)
    told = []
    many = run_days(seeds, moments, told.append, workers=2)
    assert [result.seed for result in told] == seeds
    assert many == run_days(seeds, moments)


def test_a_program_that_never_lets_time_go_on_is_noticed():
    """Work that makes work at one and the same moment ends the day too, and says so."""
    day = Day(7, DaySettings(days=0.01, weather=calm(), kill_mean_s=1e9, trade_mean_s=1e9))

    def turn():
        day.loop.call_soon(turn)

    day.loop.call_later(120.0, turn)
    [violation] = day.run().violations
    assert violation.startswith("livelock")


def test_a_program_that_turns_in_circles_is_noticed(monkeypatch):
    """Work that makes work at once lets time hardly go on: the day is ended, and says so."""
    monkeypatch.setattr(campaign, "STEPS_A_LOOK_MAX", 10_000)
    day = Day(7, DaySettings(days=0.01, weather=calm(), kill_mean_s=1e9, trade_mean_s=1e9))

    def turn():
        day.loop.call_later(0.001, turn)

    day.loop.call_later(120.0, turn)
    [violation] = day.run().violations
    assert violation.startswith("livelock")
