"""What comes late, twice, or stamped by a wrong clock changes neither the count nor the protection."""

from __future__ import annotations

from decimal import Decimal

import pytest
from tests.trading.toy_venue import ENTRY_FIRST, Faults, Rig, decision

from cryptosignal.domain.events import (
    AlgoUpdated,
    CancelRecorded,
    OperatorCommanded,
    OrderLookedUp,
    OrderSent,
    OrderUpdated,
)
from cryptosignal.domain.order import Leg, OrderState, Side

D = Decimal
HOUR_MS = 3_600_000


def ready(**kwargs) -> Rig:
    rig = Rig(**kwargs)
    rig.run(1000)
    return rig


def test_a_fill_behind_a_booked_difference_is_not_counted_again():
    """A person's fill that no stream told is booked as a difference; read later, it adds nothing."""
    rig = ready()
    rig.faults = Faults(event_lost=1.0)
    rig.venue.trade_by_hand("BTCUSDT", D("0.5"))
    rig.flush()
    rig.run(1_000)
    rig.disconnect()
    rig.connect()
    rig.run(5_000)
    book = rig.desk.state.book("BTCUSDT")
    assert (book.foreign, len(rig.desk.state.adjustments)) == (D("0.5"), 1)
    rig.desk.apply(rig.venue.snapshot("mismatch BTCUSDT 1", ("BTCUSDT",), 1, rig.now))
    assert book.foreign == D("0.5")


def test_a_newer_fill_of_others_still_counts():
    """What a person trades after both sides agreed moves the count at once."""
    rig = ready()
    rig.disconnect()
    rig.connect()
    rig.run(5_000)
    rig.venue.trade_by_hand("BTCUSDT", D("-0.2"))
    rig.flush()
    rig.run(200)
    assert rig.desk.state.book("BTCUSDT").foreign == D("-0.2")


def test_a_steady_difference_keeps_no_order_unknown():
    """An order that was never there dies by proof although the position differs by somebody's fill."""
    rig = ready(settings=ENTRY_FIRST)
    rig.faults = Faults(request_lost=1.0)
    rig.open(decision(time_ms=rig.now))
    rig.faults = Faults(event_lost=1.0)
    rig.desk.state.book("BTCUSDT").foreign += D("0.3")  # a count that is wrong, by whatever way
    rig.run(60_000)
    assert not rig.desk.state.orders
    assert rig.desk.state.net("BTCUSDT") == rig.venue.positions.get("BTCUSDT", D(0))


def test_a_stamp_from_the_future_keeps_no_order_unknown():
    """An order stamped by a clock an hour fast is proven absent soon after the clock is right."""
    rig = ready(settings=ENTRY_FIRST)
    rig.faults = Faults(request_lost=1.0)
    rig.open(decision(time_ms=rig.now))
    (order,) = rig.desk.state.orders.values()
    order.sent_ms += HOUR_MS
    rig.faults = Faults()
    rig.run(60_000)
    assert order.state is OrderState.DEAD
    assert not rig.desk.state.trades


def test_a_clock_set_back_delays_no_stop():
    """A second stop goes out within its second although the first was stamped an hour ahead."""
    rig = ready(settings=ENTRY_FIRST)
    rig.venue.now_ms += HOUR_MS
    rig.run(1_000)
    original = rig.venue._place_algo
    rig.venue._place_algo = lambda i: original(i) if i.leg is not Leg.STOP else ("acked", 0, 1)
    rig.open(decision(time_ms=rig.now))
    rig.run(100)
    sent = sum(i.leg is Leg.STOP for i in rig.venue.sent_requests)
    assert sent == 1
    rig.venue._place_algo = original
    rig.venue.now_ms -= HOUR_MS
    rig.queue = [(at - HOUR_MS, *rest) for at, *rest in rig.queue]
    rig.price("BTCUSDT", "100")
    rig.run(3_000)
    assert rig.desk.positions()[0].is_protected


def test_a_found_order_is_asked_for_in_its_own_time():
    """Answers that find the stop do not slow the next look down."""
    rig = ready()
    rig.open(decision(time_ms=rig.now))
    rig.run(60_000)
    stop = next(o for o in rig.desk.state.orders.values() if o.intent.leg is Leg.STOP)
    assert rig.desk.errands.lookups[stop.client_id].count <= 1


def test_words_of_an_unknown_order_are_no_news():
    """A lookup or a stamp of an order that nobody knows changes nothing."""
    rig = ready()
    before = repr(rig.desk.state.books)
    rig.desk.apply(OrderSent("cst-nobody-e0", "BTCUSDT", rig.now, 3000))
    rig.desk.apply(OrderLookedUp("cst-nobody-e0", "BTCUSDT", False, rig.now))
    assert repr(rig.desk.state.books) == before


class SlowOrders(Rig):
    """A stream that tells positions and executions before the orders' own words, or never these."""

    def flush(self) -> None:
        late = [e for e in self.venue.outbox if isinstance(e, OrderUpdated | AlgoUpdated)]
        self.venue.outbox = [e for e in self.venue.outbox if e not in late]
        super().flush()
        for event in late if self.order_delay_ms else ():
            self.later(self.now + self.order_delay_ms, event)

    order_delay_ms = 10


@pytest.mark.parametrize("delay_ms", [400, 0])
@pytest.mark.parametrize("end", ["close", "stop"])
def test_an_exit_whose_own_word_is_late_is_not_cancelled(end, delay_ms):
    """Flat by the account's word first, only what may still rest is cancelled; a word that never comes is
    asked for, and the trade is put away either way."""
    rig = SlowOrders()
    rig.run(1_000)
    rig.open(decision(time_ms=rig.now))
    rig.run(1_000)
    rig.order_delay_ms = delay_ms
    if end == "close":
        rig.live(OperatorCommanded("close", {"symbol": "BTCUSDT"}))
    else:
        rig.price("BTCUSDT", "97.9")
    rig.run(20_000)
    cancelled = {
        e.client_id.split("-")[-1][0] for e in rig.journal if isinstance(e, CancelRecorded)
    }
    assert cancelled == ({"s", "t", "u"} if end == "close" else {"t", "u"})
    assert rig.venue.cancels_refused == 0
    assert not rig.desk.state.trades
    assert rig.venue.own_open() == []
    assert [o.exit_reason for o in rig.outcomes] == ["manual" if end == "close" else "stop"]


def test_a_clock_that_jumps_closes_no_books_by_a_guess():
    """Executions that could not be read yet are waited for, also when an hour seems to have passed."""
    rig = ready()
    rig.open(decision(time_ms=rig.now))
    rig.run(2_000)
    rig.faults = Faults(event_lost=1.0, snapshot_fails=1.0)
    rig.price("BTCUSDT", "90")
    rig.run(30_000)
    rig.venue.now_ms += HOUR_MS
    rig.queue = [(at + HOUR_MS, *rest) for at, *rest in rig.queue]
    rig.price("BTCUSDT", "91")
    rig.run(10_000)
    assert not rig.outcomes
    rig.faults = Faults()
    rig.run(60_000)
    signs = {Side.BUY: -1, Side.SELL: 1}
    realised = sum((signs[t.side] * t.quantity * t.price - t.fee for t in rig.venue.trades), D(0))
    assert [o.net_usdt for o in rig.outcomes] == [realised]
