"""The short profile of the simulated campaign, and every seed that once failed."""

from __future__ import annotations

import pytest
from tests.sim_campaign.hours import CROWDED, DENSE, HALF_TOLD, Hours
from tests.sim_campaign.hunt import hunt
from tests.sim_campaign.mutants import MUTANTS

from cryptosignal.modes.campaign import Day, DaySettings, run_days, summary
from cryptosignal.modes.monitors import NAKED_LIMIT_MS
from cryptosignal.modes.weather import never_struck

FAILED_ONCE = (
    (118, "a program that ended by a 429 and started again asked its way to a 418"),
    (137, "a program could not start after a rate limit"),
    (102, "a trade closed before its executions were read had no fees in its outcome"),
    (3, "a garbled answer to the first request was not tried again"),
    (23, "a position of others on BTCUSDT was not seen anew within the heal phase"),
    (8, "stops were sent again and again on a tick that the venue had changed"),
    (10, "a start asked for the whole market before it protected what it held"),
    (109, "an order stamped by a wrong clock was unknown for hours"),
    (124, "a position was naked because others had used up the minute's weight"),
    (20261334, "every call waited half a minute for the time after the clock was set"),
    (
        20261620,
        "after a clock was set back an order was asked for without a pause, a 429 obeyed an hour",
    ),
    (20261817, "what a person took off a trade was shown as a position of theirs too"),
    (9110279, "a rest below a step that had become finer was left behind without a stop"),
    (9110308, "a contract still halted at the day's end was held against the program"),
    (9110405, "the executions of a trade stamped by a clock set forward were never read"),
    (
        9220586,
        "starts that ended because nothing was traded were counted as a program's own crashes",
    ),
    (20261414, "a venue that halted all its contracts ended the start as a person's mistake"),
)


@pytest.mark.parametrize(("seed", "why"), FAILED_ONCE, ids=[str(s) for s, _ in FAILED_ONCE])
def test_past_failures_stay_fixed(seed: int, why: str) -> None:
    """A seed that once showed a bug shows none any more."""
    assert Day(seed, DaySettings()).run().violations == [], why


SHIFTING_FAST = Hours("shifting fast", venue={"filter_change": 60.0, "stop_vanish": 60.0})
FAILED_HOURS = (
    (HALF_TOLD, 1, "a clock set forward closed books before their executions were read"),
    (SHIFTING_FAST, 1, "a start in maintenance paused too long with a naked position"),
    (HALF_TOLD, 8, "books were closed by a guess, as the reads of the account never all succeeded"),
    (DENSE, 22, "a snapshot stamped by a clock set forward stood for an hour"),
    (
        CROWDED,
        2,
        "a stop was cut for a sale of others, their buy before it known by the position only",
    ),
    (CROWDED, 4, "the stop was cancelled as the count was zero, with a part of ours still there"),
    (CROWDED, 23, "a stop was cancelled as surplus beside one whose cancel was on its way"),
    (CROWDED, 27, "a stop was cut for a sale of others, their buy before it unheard of"),
    (CROWDED, 33, "a process asked to end just before the healing phase was not started again"),
)


@pytest.mark.parametrize(
    ("hours", "seed", "why"), FAILED_HOURS, ids=[f"{h.name} {seed}" for h, seed, _ in FAILED_HOURS]
)
def test_hours_that_failed_stay_fixed(hours: Hours, seed: int, why: str) -> None:
    """An hour of turned-up faults that once showed a bug shows none any more."""
    assert Day(seed, hours.of(seed)).run().violations == [], why


@pytest.mark.long
def test_fresh_seeds() -> None:
    """A few short days of swarm weather pass every monitor, with kills and faults in them."""
    result = run_days([900, 901, 902, 903, 904, 905], DaySettings(days=0.1))
    assert result.violations == []
    assert result.kills > 10
    assert result.entries > 20
    assert result.naked_ms_max <= NAKED_LIMIT_MS


@pytest.mark.long
def test_one_seed_is_one_trace() -> None:
    """The same seed lives the same day, whatever ran before it."""
    first = Day(41, DaySettings(days=0.03)).run()
    Day(42, DaySettings(days=0.02)).run()
    assert Day(41, DaySettings(days=0.03)).run().trace_hash == first.trace_hash


@pytest.mark.long
def test_every_journal_replays() -> None:
    """Each run of a day, not only the last, replays to equal digests."""
    result = Day(11, DaySettings(days=0.05, replays_all=True, kill_mean_s=600.0)).run()
    assert result.violations == []
    assert result.restarts > 2


@pytest.mark.long
def test_missing_coverage_fails_a_long_campaign() -> None:
    """From 20 days on, faults that never struck are violations; before, they are not asked for."""
    day = Day(41, DaySettings(days=0.01)).run()
    assert summary([day], 0.01).violations == []
    assert any(v.startswith("never: ") for v in summary([day], 20.0).violations)
    assert never_struck({}, {})


@pytest.mark.long
@pytest.mark.parametrize("name", ["no stop at all", "resend after a timeout", "a key in the notes"])
def test_monitors_see(name: str) -> None:
    """A planted bug makes a monitor cry, so that a silent campaign means something."""
    mutant = next(m for m in MUTANTS if m.name == name)
    assert hunt(mutant, iter(range(1, 13))).caught_by
