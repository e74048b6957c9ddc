"""What every adapter of an exchange must do, asked of two that have no word in common."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from decimal import Decimal

import pytest
from tests.exchange.worlds import SYMBOL, WORLDS, in_world

from cryptosignal.domain.events import (
    AccountSnapshotTaken,
    AccountStreamChanged,
    AlgoUpdated,
    OrderUpdated,
    SendOutcome,
    TradeSeen,
)
from cryptosignal.domain.order import Leg, OrderIntent, OrderKind, Side
from cryptosignal.ground.faults import Fault

D = Decimal
QUANTITY = D("0.01")
STEP_S = 0.05
venues = pytest.mark.parametrize("name", sorted(WORLDS))


def order(client_id, side=Side.BUY, kind=OrderKind.MARKET, quantity=QUANTITY, **more):
    """An intent as the desk makes it."""
    return OrderIntent(
        client_id, "k", SYMBOL, Leg.ENTRY, side, kind, quantity, created_ms=1, **more
    )


def stop(client_id, trigger, **more):
    """A reduce-only stop that sells."""
    return order(
        client_id,
        Side.SELL,
        OrderKind.STOP_MARKET,
        trigger_price=trigger,
        reduce_only=True,
        **more,
    )


def away(world, share):
    """A price `share` away from the present one, on a coarse tick."""
    return (world.mark() * (1 + D(share))).quantize(D(1))


@asynccontextmanager
async def attended(world):
    """The account's events while the block runs, from the snapshot after the connect on."""
    events = []
    task = asyncio.create_task(world.exchange.attend(events.append))
    await until(lambda: any(isinstance(e, AccountSnapshotTaken) for e in events))
    try:
        yield events
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(is_so, limit_s=120.0):
    """Virtual time goes on until it is so."""
    for _ in range(int(limit_s / STEP_S)):
        if is_so():
            return
        await asyncio.sleep(STEP_S)
    raise AssertionError(f"not so within {limit_s:.0f} s of venue time")


async def snapshot(world, symbols=()):
    """A snapshot that was read."""
    taken = await world.exchange.snapshot("audit", symbols)
    assert isinstance(taken, AccountSnapshotTaken), taken
    return taken


def fills_of(events, client_id):
    """Executions told under an id, each trade id once: {trade id: quantity}."""
    found = {}
    for event in events:
        if isinstance(event, OrderUpdated) and event.execution == "TRADE":
            if event.client_id == client_id:
                found[event.trade_id] = event.last_quantity
        elif isinstance(event, TradeSeen) and event.client_id == client_id:
            found[event.trade_id] = event.quantity
    return found


@venues
def test_instruments_are_named_and_ruled_in_our_words(name):
    """Symbols are BASE+QUOTE, with a tick, a step and a least value above zero."""

    async def live(world):
        listed = {item.symbol: item for item in await world.exchange.instruments()}
        item = listed[SYMBOL]
        assert (item.base, item.quote) == ("BTC", "USDT")
        assert item.is_tradable_perpetual
        filters = item.filters
        assert min(filters.tick_size, filters.step_size, filters.min_notional_usdt) > 0

    in_world(name, live)


@venues
def test_a_market_order_is_acknowledged_executed_and_told(name):
    """Its executions come on the stream under our id, add up, and are the position in a snapshot."""

    async def live(world):
        async with attended(world) as events:
            await world.exchange.prepare_symbol(SYMBOL, 3, "ISOLATED")
            reply = await world.exchange.place(order("csa-k1-e0"))
            assert reply.outcome is SendOutcome.ACKED, reply
            assert reply.order_id
            await until(lambda: sum(fills_of(events, "csa-k1-e0").values()) == QUANTITY)
            final = [e for e in events if isinstance(e, OrderUpdated)][-1]
            assert (final.status, final.side, final.executed) == ("FILLED", Side.BUY, QUANTITY)
            assert final.fee > 0
            assert abs(final.average_price / world.mark() - 1) < D("0.01")
            taken = await snapshot(world, (SYMBOL,))
            [position] = [p for p in taken.positions if p.quantity]
            assert (position.symbol, position.quantity) == (SYMBOL, QUANTITY)
            assert position.quantity == world.truth()
            told = {trade.trade_id: trade.quantity for trade in taken.trades}
            assert told == fills_of(events, "csa-k1-e0")
            assert {b.asset for b in taken.balances if b.wallet} >= {"USDT"}

    in_world(name, live)


@venues
def test_a_stop_is_seen_at_the_venue_and_ends_the_position(name):
    """A resting stop is told, looked up and in a snapshot; reached, it executes and is finished."""

    async def live(world):
        async with attended(world) as events:
            await world.exchange.place(order("csa-k1-e0"))
            reply = await world.exchange.place(stop("csa-k1-s0", away(world, "-0.05")))
            assert reply.outcome is SendOutcome.ACKED, reply
            await until(lambda: [e for e in events if isinstance(e, AlgoUpdated)])
            [seen] = (await snapshot(world)).algos
            assert (seen.client_id, seen.status, seen.kind) == (
                "csa-k1-s0",
                "NEW",
                OrderKind.STOP_MARKET,
            )
            assert (seen.quantity, seen.side, seen.reduce_only) == (QUANTITY, Side.SELL, True)
            found = await world.exchange.look_up("csa-k1-s0", SYMBOL, is_algo=True)
            assert found.found
            assert found.algo.trigger_price == seen.trigger_price
            near = away(world, "-0.0001")
            await world.exchange.place(stop("csa-k1-s1", near))
            await until(lambda: world.truth() == 0, 3_600.0)
            await until(
                lambda: any(
                    isinstance(e, AlgoUpdated)
                    and (e.client_id, e.status) == ("csa-k1-s1", "FINISHED")
                    for e in events
                )
            )
            assert not [p for p in (await snapshot(world)).positions if p.quantity]

    in_world(name, live)


@venues
def test_a_cancel_takes_an_order_off_the_book_once(name):
    """A cancel is acknowledged and told; a second one, or one of nothing, is a question."""

    async def live(world):
        async with attended(world) as events:
            await world.exchange.place(order("csa-k1-e0"))
            await world.exchange.place(stop("csa-k1-s0", away(world, "-0.05")))
            assert "csa-k1-s0" in world.resting()
            reply = await world.exchange.cancel("csa-k1-s0", SYMBOL, is_algo=True)
            assert reply.outcome is SendOutcome.ACKED
            await until(
                lambda: any(isinstance(e, AlgoUpdated) and e.status == "CANCELED" for e in events)
            )
            assert world.resting() == set()
            for client_id in ("csa-k1-s0", "csa-none-s0"):
                again = await world.exchange.cancel(client_id, SYMBOL, is_algo=True)
                assert again.outcome is SendOutcome.REJECTED, again

    in_world(name, live)


@venues
def test_a_waiting_limit_order_is_seen_and_cancelled(name):
    """A limit order away from the price rests, is in a snapshot as it was sent, and can be taken back."""

    async def live(world):
        async with attended(world):
            price = away(world, "-0.03")
            resting = order("csa-k1-e0", kind=OrderKind.LIMIT, price=price, time_in_force="GTC")
            assert (await world.exchange.place(resting)).outcome is SendOutcome.ACKED
            [seen] = (await snapshot(world)).orders
            assert (seen.client_id, seen.status, seen.price) == ("csa-k1-e0", "NEW", price)
            assert (seen.quantity, seen.executed, seen.kind) == (QUANTITY, 0, "LIMIT")
            reply = await world.exchange.cancel("csa-k1-e0", SYMBOL, is_algo=False)
            assert reply.outcome is SendOutcome.ACKED
            gone = await world.exchange.look_up("csa-k1-e0", SYMBOL, is_algo=False)
            assert gone.order is None or gone.order.status == "CANCELED"

    in_world(name, live)


@venues
def test_a_countdown_takes_what_waits_unless_it_is_renewed_or_stopped(name):
    """Renewed or stopped, it takes nothing; left alone, the waiting entry goes and the stop stays."""

    async def live(world):
        await world.exchange.place(order("csa-k0-e0"))
        await world.exchange.place(stop("csa-k0-s0", away(world, "-0.05")))
        waiting = order(
            "csa-k1-e0", kind=OrderKind.LIMIT, price=away(world, "-0.03"), time_in_force="GTC"
        )
        await world.exchange.place(waiting)
        for _ in range(3):
            reply = await world.exchange.count_down(SYMBOL, 10_000)
            assert reply.outcome is SendOutcome.ACKED, reply
            await asyncio.sleep(6.0)
        assert "csa-k1-e0" in world.resting()
        stopped = await world.exchange.count_down(SYMBOL, 0)
        assert (stopped.outcome, stopped.countdown_ms) == (SendOutcome.ACKED, 0)
        await asyncio.sleep(15.0)
        assert "csa-k1-e0" in world.resting()
        await world.exchange.count_down(SYMBOL, 10_000)
        await asyncio.sleep(12.0)
        assert world.resting() == {"csa-k0-s0"}
        world.lose_next_reply()
        lost = await world.exchange.count_down(SYMBOL, 10_000)
        assert lost.outcome is SendOutcome.UNKNOWN

    in_world(name, live)


@venues
def test_a_refusal_is_an_answer_with_the_venues_words(name):
    """An order that the venue refuses is REJECTED with a reason, never an exception, never on a book."""

    async def live(world):
        refused = [
            order("csa-k1-e0", quantity=D("0.0000001")),
            stop("csa-k1-s0", away(world, "0.05")),  # it would trigger at once
            order("csa-k1-x0", Side.SELL, reduce_only=True),  # there is nothing to reduce
        ]
        for intent in refused:
            reply = await world.exchange.place(intent)
            assert reply.outcome is SendOutcome.REJECTED, (intent, reply)
            assert reply.message
        assert world.resting() == set()
        assert world.truth() == 0
        with pytest.raises(Fault):
            await world.exchange.prepare_symbol(SYMBOL, 5_000, "ISOLATED")

    in_world(name, live)


@venues
def test_a_lost_answer_is_unknown_until_it_is_looked_up(name):
    """Executed or not, a request without an answer is UNKNOWN, and a look-up gives the proof."""

    async def live(world):
        await world.exchange.instruments()
        await snapshot(world)
        world.lose_next_reply()
        reply = await world.exchange.place(order("csa-k1-e0"))
        assert reply.outcome is SendOutcome.UNKNOWN
        found = await world.exchange.look_up("csa-k1-e0", SYMBOL, is_algo=False)
        assert found.found is True
        assert found.order.executed == QUANTITY
        world.lose_next_request()
        reply = await world.exchange.place(order("csa-k2-e0"))
        assert reply.outcome is SendOutcome.UNKNOWN
        absent = await world.exchange.look_up("csa-k2-e0", SYMBOL, is_algo=False)
        assert absent.found is False
        world.lose_next_reply()
        nothing = await world.exchange.look_up("csa-k1-e0", SYMBOL, is_algo=False)
        assert nothing.found is None, "a question without an answer proves nothing"
        assert world.truth() == QUANTITY

    in_world(name, live)


@venues
def test_one_id_rests_once(name):
    """While an order rests, another under its id is never taken; its fate is looked up."""

    async def live(world):
        resting = order(
            "csa-k1-e0", kind=OrderKind.LIMIT, price=away(world, "-0.03"), time_in_force="GTC"
        )
        assert (await world.exchange.place(resting)).outcome is SendOutcome.ACKED
        again = await world.exchange.place(resting)
        assert again.outcome in (SendOutcome.REJECTED, SendOutcome.UNKNOWN)
        assert len((await snapshot(world)).orders) == 1

    in_world(name, live)


@venues
def test_a_broken_stream_is_told_and_followed_by_a_snapshot(name):
    """Down, up, a snapshot that holds what happened meanwhile: in this order."""

    async def live(world):
        async with attended(world) as events:
            before = len(events)
            world.break_stream()
            await world.exchange.place(order("csa-k1-e0"))
            await until(lambda: any(isinstance(e, AccountSnapshotTaken) for e in events[before:]))
            marks = [
                e
                for e in events[before:]
                if isinstance(e, AccountStreamChanged | AccountSnapshotTaken)
            ]
            assert [getattr(e, "is_up", "snapshot") for e in marks[:3]] == [False, True, "snapshot"]
            await until(lambda: world.truth() == QUANTITY)
            held = (await snapshot(world)).positions
            assert [p.quantity for p in held if p.quantity] == [QUANTITY]

    in_world(name, live)
