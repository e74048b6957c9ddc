"""The order life table over every state and every fact."""

from __future__ import annotations

from decimal import Decimal
from itertools import product

import pytest

from cryptosignal.domain.order import Leg, OrderIntent, OrderKind, OrderState, Side
from cryptosignal.trading.orders import TABLE, Order, OrderFact

D = Decimal
S, F = OrderState, OrderFact
RANK = [S.INTENT, S.SENT, S.UNKNOWN, S.ACKED, S.LIVE, S.PARTIAL, S.FILLED]
PROOFS = {F.SEEN_LIVE, F.SEEN_PARTIAL, F.SEEN_FILLED, F.SEEN_DEAD, F.PROVEN_ABSENT, F.ACKED}


def order() -> Order:
    return Order(
        OrderIntent("cst-k-e0", "s", "BTCUSDT", Leg.ENTRY, Side.BUY, OrderKind.MARKET, D(1), 1000)
    )


def test_table_is_complete():
    """Every state answers every fact."""
    assert set(TABLE) == set(product(S, F))


@pytest.mark.parametrize("fact", F)
def test_unknown_ends_by_proof_only(fact):
    """UNKNOWN is left by the venue's word or proven absence, by nothing else."""
    after = TABLE[S.UNKNOWN, fact]
    assert (after is not S.UNKNOWN) == (fact in PROOFS)


@pytest.mark.parametrize(("state", "fact"), [(s, f) for s in RANK for f in F])
def test_knowledge_never_falls(state, fact):
    """No fact makes us know less of an order: states only rise or end."""
    after = TABLE[state, fact]
    assert after is S.DEAD or RANK.index(after) >= RANK.index(state)


@pytest.mark.parametrize("fact", F)
def test_filled_is_final(fact):
    """A filled order stays filled whatever arrives late."""
    assert TABLE[S.FILLED, fact] is S.FILLED


@pytest.mark.parametrize("fact", F)
def test_dead_wakes_only_for_the_venue(fact):
    """A dead order comes back only if the venue shows it alive or filled."""
    after = TABLE[S.DEAD, fact]
    assert (after is not S.DEAD) == (fact in {F.REOPENED, F.SEEN_FILLED})


@pytest.mark.parametrize(
    ("state", "after"),
    [(S.INTENT, S.DEAD), (S.SENT, S.UNKNOWN), (S.ACKED, S.ACKED), (S.LIVE, S.LIVE)],
)
def test_restart(state, after):
    """After a restart what was never sent is dead, and what was sent without reply is unknown."""
    assert TABLE[state, F.RESTARTED] is after


def test_no_answer_is_no_answer():
    """An order that was only sent does not die of the proofs that need a fence."""
    assert TABLE[S.SENT, F.PROVEN_ABSENT] is S.SENT


def test_being_seen_clears_absence():
    """Signs of absence are forgotten once the order is seen."""
    one = order()
    one.learn(F.SENT)
    one.learn(F.UNKNOWN)
    one.absent_ms.append(5)
    one.is_absent_in_snapshot = True
    assert one.learn(F.SEEN_LIVE)
    assert one.absent_ms == []
    assert not one.is_absent_in_snapshot


def test_executed_is_the_most_that_is_proven():
    """The larger of the reported total and the booked executions counts."""
    one = order()
    one.booked, one.reported = D("0.3"), D("0.7")
    assert one.executed == D("0.7")
    assert one.signed == D("0.7")
    one.booked = D("0.9")
    assert one.left == D("0.1")


def test_fence_counts_from_the_send():
    """The fence is send time plus recvWindow plus the margin, with a default before the send."""
    one = order()
    assert one.fence_ms(2000, 3000) == 6000
    one.sent_ms, one.recv_window_ms = 1500, 2500
    assert one.fence_ms(2000, 3000) == 6000
