"""The ledger's accounting: whatever is asked, the venue never counts more than was planned."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryptosignal.binance.budget import RISK_MS, SLICES, Budget, Lane, Shares
from cryptosignal.binance.limits import POOL_WINDOW_MS, Cost, Limits, Pool
from cryptosignal.ground.units import MINUTE_MS

GUARD_MS = 1500
LIMITS = Limits(weight=200, orders_10s=20, orders_1m=50, data=60, funding=30)
START_MS = 1_790_000_000_000

asks = st.lists(
    st.tuples(
        st.sampled_from([0, 1, 700, 1499, 1501, 3000, 20_000, 57_000]),
        st.sampled_from(list(Lane)),
        st.sampled_from(
            [
                Cost(weight=1),
                Cost(weight=40),
                Cost(weight=5),
                Cost(orders_10s=1, orders_1m=1),
                Cost(data=1),
                Cost(data=7),
                Cost(funding=3),
            ]
        ),
        st.integers(-GUARD_MS, GUARD_MS),
    ),
    min_size=1,
    max_size=250,
)


def spent(budget: Budget, requests: list[tuple[int, Lane, Cost, int]]) -> list[tuple[int, Cost]]:
    """What was let through: (time at which the venue counts it, cost)."""
    now_ms, passed = START_MS, []
    for step_ms, lane, cost, skew_ms in requests:
        now_ms += step_ms
        if not budget.spend(now_ms, lane, cost):
            passed.append((now_ms + skew_ms, cost))
    return passed


@settings(max_examples=150, deadline=None)
@given(asks, st.booleans())
def test_no_venue_minute_ever_exceeds_its_share(
    requests: list[tuple[int, Lane, Cost, int]], is_flat: bool
):
    """Whatever the venue's clock and the network add within the guard, its UTC minutes stay in budget."""
    budget = Budget(LIMITS, guard_ms=GUARD_MS)
    budget.is_flat = is_flat
    minutes: Counter[int] = Counter()
    for venue_ms, cost in spent(budget, requests):
        minutes[venue_ms // MINUTE_MS] += cost.weight
    assert all(used <= LIMITS.weight * 0.98 for used in minutes.values())


CLOCK_MS = 300
replies = st.lists(
    st.tuples(
        st.sampled_from([0, 1, 250, 1_199, 1_700, 20_000, 57_000]),
        st.sampled_from(list(Lane)),
        st.sampled_from([1, 5, 40, 90]),
        st.integers(0, GUARD_MS - CLOCK_MS),
        st.sampled_from([0, 1, 90, 700, 5_000, -1]),
    ),
    min_size=1,
    max_size=250,
)


@settings(max_examples=300, deadline=None)
@given(replies, st.integers(-CLOCK_MS, CLOCK_MS), st.booleans())
def test_what_answers_prove_never_costs_a_minute_its_share(
    requests: list[tuple[int, Lane, int, int, int]], clock_off_ms: int, is_flat: bool
):
    """With a clock that is wrong within its error, calls that travel as long as they may, and charges
    taken back by answers (or never answered), the venue's UTC minutes stay in budget."""
    budget = Budget(LIMITS, guard_ms=GUARD_MS, clock_ms=CLOCK_MS)
    budget.is_flat = is_flat
    minutes: Counter[int] = Counter()
    waiting: list[tuple[int, range, int]] = []
    now_ms = START_MS // MINUTE_MS * MINUTE_MS + 58_000
    for step_ms, lane, weight, travel_ms, answer_ms in requests:
        now_ms += step_ms
        for due in [due for due in waiting if due[0] <= now_ms]:
            waiting.remove(due)
            budget.prove(due[0], due[1], due[2])
        if budget.spend(now_ms, lane, Cost(weight=weight)):
            continue
        minutes[(now_ms + travel_ms + clock_off_ms) // MINUTE_MS] += weight
        if answer_ms >= 0:
            answered_ms = now_ms + travel_ms + answer_ms
            waiting.append((answered_ms, budget.minutes(now_ms), weight))
    assert all(used <= LIMITS.weight * 0.98 for used in minutes.values())


def test_an_answer_before_the_edge_gives_the_next_minute_back():
    """What was answered within a minute, the clock's error included, does not count in the next one;
    what was answered later may."""
    edge_ms = (START_MS // MINUTE_MS + 1) * MINUTE_MS
    budget = Budget(Limits(), guard_ms=GUARD_MS, clock_ms=CLOCK_MS)
    cost, sent_ms = Cost(weight=1000), edge_ms - 1_000
    assert not budget.spend(sent_ms, Lane.ORDERS, cost)
    assert budget.used(edge_ms, Pool.WEIGHT) == 1000
    assert not budget.prove(edge_ms - CLOCK_MS, budget.minutes(sent_ms), 1000)
    assert budget.used(edge_ms, Pool.WEIGHT) == 1000
    assert budget.prove(edge_ms - CLOCK_MS - 1, budget.minutes(sent_ms), 1000)
    assert budget.used(edge_ms, Pool.WEIGHT) == 0
    assert budget.used(sent_ms, Pool.WEIGHT) == 1000


@pytest.mark.parametrize("clock_ms", [0, 300, GUARD_MS])
def test_a_new_minute_is_used_as_soon_as_the_clock_allows(clock_ms: int):
    """After the edge only the clock's error is waited for, not the time that a call may travel."""
    edge_ms = (START_MS // MINUTE_MS + 1) * MINUTE_MS
    budget = Budget(LIMITS, guard_ms=GUARD_MS, clock_ms=clock_ms)
    assert not budget.spend(edge_ms - 30_000, Lane.ORDERS, Cost(weight=196))
    assert budget.spend(edge_ms - 20_000, Lane.ORDERS, Cost(weight=5)) == edge_ms + clock_ms


@settings(max_examples=150, deadline=None)
@given(asks)
def test_no_sliding_window_ever_exceeds_its_share(requests: list[tuple[int, Lane, Cost, int]]):
    """Orders, open interest and funding stay in budget over every window, however it is aligned."""
    budget = Budget(LIMITS, guard_ms=GUARD_MS)
    passed = [
        (ms, cost)
        for ms, cost in spent(budget, [(step, lane, cost, 0) for step, lane, cost, _ in requests])
    ]
    for pool in (Pool.ORDERS_10S, Pool.ORDERS_1M, Pool.DATA, Pool.FUNDING):
        amounts = [(ms, dict(cost.parts()).get(pool, 0)) for ms, cost in passed]
        for end_ms, _amount in amounts:
            inside = sum(n for ms, n in amounts if end_ms - POOL_WINDOW_MS[pool] < ms <= end_ms)
            assert inside <= LIMITS.of(pool) * 0.98


@settings(max_examples=150, deadline=None)
@given(asks)
def test_a_promised_time_keeps_its_promise(requests: list[tuple[int, Lane, Cost, int]]):
    """If nothing else is spent, what was put off passes at the time named, and not a slice earlier."""
    budget = Budget(LIMITS, guard_ms=GUARD_MS)
    now_ms = START_MS
    for step_ms, lane, cost, _skew in requests:
        now_ms += step_ms
        when_ms = budget.spend(now_ms, lane, cost)
        if when_ms:
            assert when_ms > now_ms
            assert budget.when(when_ms, lane, cost) == when_ms
            assert budget.when(when_ms - 1, lane, cost) > when_ms - 1


@pytest.mark.parametrize(("first_ms", "second_ms"), [(59_000, 62_000), (61_000, 57_000 + 1_400)])
def test_calls_near_a_boundary_count_on_both_sides(first_ms: int, second_ms: int):
    """What leaves within the guard of a minute's edge may be counted in either minute: both are charged."""
    minute_ms = START_MS // MINUTE_MS * MINUTE_MS
    budget = Budget(LIMITS, guard_ms=GUARD_MS)
    assert budget.spend(minute_ms + first_ms, Lane.ORDERS, Cost(weight=196)) == 0
    assert budget.spend(minute_ms + second_ms, Lane.ORDERS, Cost(weight=1)) > 0


def test_lanes_leave_room_for_those_before_them():
    """Data cannot use up what reconciling and orders need; orders pass when everything else waits."""
    budget = Budget(Limits(), guard_ms=GUARD_MS)
    now_ms = START_MS + 30_000
    used = {}
    for lane in (Lane.RESEARCH, Lane.WARM_UP, Lane.REPAIR, Lane.RECONCILE, Lane.ORDERS):
        while not budget.spend(now_ms, lane, Cost(weight=1)):
            pass
        used[lane.name] = budget.used(now_ms, Pool.WEIGHT)
    assert used == {
        "RESEARCH": 1200,
        "WARM_UP": 1728,
        "REPAIR": 1728,
        "RECONCILE": 1920,
        "ORDERS": 2352,
    }


def test_warm_up_may_use_more_while_flat():
    """Without positions and orders the warm-up takes 96 %."""
    budget = Budget(Limits())
    budget.is_flat = True
    while not budget.spend(START_MS + 30_000, Lane.WARM_UP, Cost(weight=10)):
        pass
    assert budget.used(START_MS + 30_000, Pool.WEIGHT) == 2300


def test_nobody_takes_more_while_another_process_has_something_open():
    """A process that is flat keeps to the usual share while one that is not goes on calling."""
    ours, theirs = Budget(Limits()), Budget(Limits())
    ours.state = theirs.state
    ours.is_flat = theirs.is_at_risk = True
    now_ms = START_MS // MINUTE_MS * MINUTE_MS + 5_000
    assert not theirs.spend(now_ms, Lane.RECONCILE, Cost(weight=28))
    assert not ours.spend(now_ms + 1_000, Lane.WARM_UP, Cost(weight=1_700))
    assert ours.spend(now_ms + 1_000, Lane.WARM_UP, Cost(weight=1)) > now_ms + 1_000
    assert not theirs.spend(now_ms + 1_000, Lane.RECONCILE, Cost(weight=192))
    later_ms = now_ms + 1_000 + RISK_MS
    assert not ours.spend(later_ms, Lane.WARM_UP, Cost(weight=2_300))


def test_what_others_spend_behind_our_address_counts():
    """The venue's own header above our count leaves less for us; a stale one changes nothing."""
    budget = Budget(LIMITS, Shares())
    now_ms = START_MS // MINUTE_MS * MINUTE_MS + 30_000
    budget.spend(now_ms, Lane.REPAIR, Cost(weight=10))
    budget.observe_weight(now_ms + 50, now_ms, 150)
    assert budget.used(now_ms, Pool.WEIGHT) == 150
    assert budget.spend(now_ms, Lane.REPAIR, Cost(weight=10)) > now_ms
    later_ms = now_ms + MINUTE_MS
    budget.observe_weight(later_ms, later_ms - 31_000, 150)
    assert budget.used(later_ms, Pool.WEIGHT) == 0


def test_a_ban_silences_every_lane():
    """Until the ban's last ms nothing passes, orders neither."""
    budget = Budget(LIMITS)
    budget.ban(START_MS + 5_000)
    budget.ban(START_MS + 1_000)
    order = Cost(orders_10s=1, orders_1m=1)
    assert budget.spend(START_MS, Lane.ORDERS, order) == START_MS + 5_000
    assert budget.spend(START_MS + 4_999, Lane.ORDERS, order) == START_MS + 5_000
    assert budget.spend(START_MS + 5_000, Lane.ORDERS, order) == 0


def test_a_call_that_can_never_fit_is_an_error():
    """A cost above the lane's whole share would wait for ever: it is refused by name."""
    with pytest.raises(ValueError, match="never fit"):
        Budget(Limits(weight=20)).spend(START_MS, Lane.RECONCILE, Cost(weight=40))


def test_memory_stays_bounded():
    """A day of calls keeps a handful of minutes and slices."""
    budget = Budget(Limits())
    cost = Cost(weight=1, orders_10s=1, orders_1m=1, data=1, funding=1)
    for second in range(0, 86_400, 20):
        budget.spend(START_MS + second * 1000, Lane.ORDERS, cost)
    assert len(budget.state.minutes) <= 5
    assert all(len(slices) <= SLICES + 1 for slices in budget.state.slices.values())
