"""The REST client and the account's stream on real sockets against the simulated venue.

The venue speaks from the documents, not from our code: what both sides agree on here, two readings
of the documents agree on.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from cryptosignal.binance.budget import Lane
from cryptosignal.binance.filters import check, conform, conform_price, conform_quantity
from cryptosignal.binance.limits import Limits
from cryptosignal.binance.routes import Routes
from cryptosignal.binance.signing import HmacSigner
from cryptosignal.domain.events import (
    AccountSnapshotTaken,
    AccountStreamChanged,
    AccountUpdated,
    AlgoUpdated,
    OrderUpdated,
    SendOutcome,
    TradeSeen,
)
from cryptosignal.domain.instrument import Instrument
from cryptosignal.domain.order import Leg, OrderIntent, OrderKind, Side
from cryptosignal.ground.clock import LoopClock
from cryptosignal.ground.faults import Refused
from cryptosignal.ground.loop import ScaledLoop
from cryptosignal.ground.secret import Secret
from cryptosignal.ground.seeds import Seeds
from cryptosignal.modes.config import Config
from cryptosignal.modes.pace import at_speed
from cryptosignal.net.account_feed import AccountFeed
from cryptosignal.net.client import VenueClient
from cryptosignal.net.ledger import WeightLedger
from cryptosignal.net.settings import ClientSettings, LedgerSettings, TransportSettings
from cryptosignal.net.transport import SocketTransport
from cryptosignal.sim.server import serve
from cryptosignal.sim.settings import VenueSettings

pytestmark = pytest.mark.filterwarnings("ignore:shutdown_timeout should be set:DeprecationWarning")

START_MS = 1_790_000_000_000
OWN_START_MS = START_MS - 7_000
"""Our clock starts seven seconds behind the venue's: measuring the time is part of every test."""


class World:
    """A client beside a venue, both on real sockets of one loop."""

    def __init__(self, transport: SocketTransport, clock: LoopClock, ready: dict[str, Any]) -> None:
        self.transport = transport
        self.clock = clock
        self.ready = ready
        self.routes = Routes(ready["rest"], ready["ws"], spot_url=ready["rest"])
        guard_ms = at_speed(Config(), ready["speed"]).ledger.guard_ms
        self.ledger = WeightLedger(Limits(), clock, settings=LedgerSettings(guard_ms=guard_ms))
        self.client = self.make_client(ready["api_secret"])

    def make_client(self, secret: str) -> VenueClient:
        signer = HmacSigner(Secret(self.ready["api_key"]), Secret(secret))
        return VenueClient(
            self.transport,
            self.ready["rest"],
            self.ledger,
            self.clock,
            signer,
            spot_url=self.ready["rest"],
        )

    async def instrument(self, symbol: str = "BTCUSDT") -> Instrument:
        rules = await self.client.exchange_info()
        return next(item for item in rules.instruments if item.symbol == symbol)

    async def mark(self, symbol: str = "BTCUSDT") -> Decimal:
        [mark] = await self.client.premium_index(symbol)
        return Decimal(str(mark.mark))


@contextlib.asynccontextmanager
async def venue(websocket: str = "auto", **settings: Any) -> AsyncIterator[World]:
    """A calm little venue and a synchronised client."""
    loop = asyncio.get_running_loop()
    announced: asyncio.Future[dict[str, Any]] = loop.create_future()
    options = {"symbols": 4, "start_ms": START_MS, "events": False} | settings
    serving = asyncio.create_task(
        serve(
            VenueSettings(**options),
            host="127.0.0.1",
            port=0,
            seed=7,
            epoch_mono_ns=0,
            start_ms=START_MS,
            announce=announced.set_result,
        )
    )
    transport = SocketTransport(TransportSettings(websocket=websocket))
    try:
        await asyncio.wait({serving, announced}, return_when=asyncio.FIRST_COMPLETED)
        if serving.done():
            serving.result()
        world = World(transport, LoopClock(loop, OWN_START_MS), announced.result())
        await world.client.sync_time()
        yield world
    finally:
        await transport.close()
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)


def run(main: Callable[[], Coroutine[Any, Any, None]], speed: float = 1.0) -> None:
    """Run on the kind of loop that the venue needs, within half a minute."""
    epoch_ns = time.monotonic_ns()
    with asyncio.Runner(loop_factory=lambda: ScaledLoop(speed, epoch_ns)) as runner:

        async def bounded() -> None:
            async with asyncio.timeout(30 * speed):
                await main()

        runner.run(bounded())


def entry(instrument: Instrument, mark: Decimal, client_id: str = "csa-k1-e0") -> OrderIntent:
    """A market buy of about 1,000 USDT."""
    intent = OrderIntent(
        client_id,
        "s1",
        instrument.symbol,
        Leg.ENTRY,
        Side.BUY,
        OrderKind.MARKET,
        1000 / mark,
        START_MS,
    )
    conformed = conform(intent, instrument.filters)
    assert check(conformed, instrument, mark) is None
    return conformed


def stop(
    instrument: Instrument, mark: Decimal, quantity: Decimal, client_id: str = "csa-k1-s0"
) -> OrderIntent:
    """A reduce-only stop five percent below."""
    intent = OrderIntent(
        client_id,
        "s1",
        instrument.symbol,
        Leg.STOP,
        Side.SELL,
        OrderKind.STOP_MARKET,
        quantity,
        START_MS,
        trigger_price=mark * Decimal("0.95"),
        reduce_only=True,
    )
    conformed = conform(intent, instrument.filters)
    assert check(conformed, instrument, mark) is None
    return conformed


def test_market_data_of_every_kind_is_read():
    """Each market question gets an answer that our reading of the documents understands."""

    async def main() -> None:
        async with venue() as world:
            client = world.client
            assert abs(await client.server_time() - world.clock.now_ms()) < 1000
            rules = await client.exchange_info()
            assert {"BTCUSDT", "ETHUSDT"} <= {item.symbol for item in rules.instruments}
            rows = await client.klines("BTCUSDT", "1m", 700)
            assert rows.shape == (700, 11)
            assert (np.diff(rows[:, 0]) == 60_000).all()
            assert (rows[:, 2] >= rows[:, 3]).all()
            again = await client.klines("BTCUSDT", "1m", 50, start_ms=int(rows[100, 0]))
            assert (again == rows[100:150]).all()
            assert (await client.spot_klines("BTCUSDT", "1h", 24)).shape == (24, 11)
            book = await client.depth("BTCUSDT", 100)
            assert book.bids[0, 0] < book.asks[0, 0]
            assert len(await client.premium_index()) >= 2
            assert len(await client.tickers_24h()) >= 2
            interest = await client.open_interest_hist("BTCUSDT", "5m", 10)
            assert [row.time_ms for row in interest] == sorted(row.time_ms for row in interest)
            assert len(interest) == 10
            assert (await client.funding_history("BTCUSDT", 5))[-1].symbol == "BTCUSDT"
            await client.funding_hours()

    run(main)


def test_an_order_lives_from_entry_to_flat():
    """Entry, resting stop, snapshot, look-up, cancel, exit: each step is seen by REST and stream."""

    async def main() -> None:
        async with venue() as world:
            client, events = world.client, []
            feed = AccountFeed(
                world.transport, client, world.routes, world.clock, Seeds(1), events.append
            )
            feeding = asyncio.create_task(feed.run())

            async def until(condition: Callable[[], bool]) -> None:
                while not condition():
                    assert not feeding.done(), feeding
                    await asyncio.sleep(0.01)

            def seen(kind: type) -> list[Any]:
                return [event for event in events if isinstance(event, kind)]

            await until(lambda: bool(seen(AccountSnapshotTaken)))
            assert seen(AccountStreamChanged)[0].is_up
            instrument, mark = await world.instrument(), await world.mark()
            await client.set_leverage("BTCUSDT", 5)
            await client.set_margin_type("BTCUSDT", "cross")

            bought = entry(instrument, mark)
            replied = await client.place(bought)
            assert replied.outcome is SendOutcome.ACKED, replied
            await until(lambda: any(e.status == "FILLED" for e in seen(OrderUpdated)))
            await until(lambda: bool(seen(AccountUpdated)))
            fills = [e for e in seen(OrderUpdated) if e.trade_id]
            assert sum(e.last_quantity for e in fills) == bought.quantity
            assert {e.trade_id for e in seen(TradeSeen)} == {e.trade_id for e in fills}
            position = feed.get_position("btcusdt")
            assert position is not None
            assert position.size == bought.quantity

            guard = stop(instrument, mark, bought.quantity)
            replied = await client.place(guard)
            assert replied.outcome is SendOutcome.ACKED, replied
            await until(lambda: any(e.status == "NEW" for e in seen(AlgoUpdated)))
            taken = await client.snapshot("test", ("BTCUSDT",), START_MS - 60_000)
            assert isinstance(taken, AccountSnapshotTaken), taken
            assert [p.quantity for p in taken.positions] == [bought.quantity]
            assert [a.client_id for a in taken.algos] == [guard.client_id]
            assert taken.algos[0].reduce_only
            assert taken.algos[0].trigger_price == guard.trigger_price
            assert sum(t.quantity for t in taken.trades) == bought.quantity
            assert not taken.hedge_mode

            found = await client.look_up(bought.client_id, "BTCUSDT", is_algo=False)
            assert found.order is not None
            assert (found.order.status, found.order.executed) == ("FILLED", bought.quantity)
            assert found.order.average_price > 0
            found = await client.look_up(guard.client_id, "BTCUSDT", is_algo=True)
            assert found.algo is not None
            assert (await client.look_up("csa-k1-e9", "BTCUSDT", is_algo=False)).found is False
            assert (await client.look_up("csa-k1-s9", "BTCUSDT", is_algo=True)).found is False

            cancelled = await client.cancel(guard.client_id, "BTCUSDT", is_algo=True)
            assert cancelled.outcome is SendOutcome.ACKED, cancelled
            again = await client.cancel(guard.client_id, "BTCUSDT", is_algo=True)
            assert again.outcome is SendOutcome.REJECTED
            gone = await client.cancel(bought.client_id, "BTCUSDT", is_algo=False)
            assert (gone.outcome, gone.code) == (SendOutcome.REJECTED, -2011)

            sold = OrderIntent(
                "csa-k1-x0",
                "s1",
                "BTCUSDT",
                Leg.EXIT,
                Side.SELL,
                OrderKind.MARKET,
                bought.quantity,
                START_MS,
                reduce_only=True,
            )
            assert (await client.place(sold)).outcome is SendOutcome.ACKED
            await until(lambda: feed.get_position("BTCUSDT") is None)
            refused = await client.place(
                OrderIntent(
                    "csa-k1-x1",
                    "s1",
                    "BTCUSDT",
                    Leg.EXIT,
                    Side.SELL,
                    OrderKind.MARKET,
                    bought.quantity,
                    START_MS,
                    reduce_only=True,
                )
            )
            assert (refused.outcome, refused.code) == (SendOutcome.REJECTED, -2022)
            booked = await client.income(START_MS - 60_000, world.clock.now_ms() + 1000)
            assert {"COMMISSION", "REALIZED_PNL"} <= {row.kind for row in booked}
            assert feed.get_stats().garbled == 0
            feeding.cancel()
            await asyncio.gather(feeding, return_exceptions=True)

    run(main)


def test_a_resting_limit_order_is_listed_and_cancelled():
    """An ordinary order appears in the snapshot with its price and leaves by cancel."""

    async def main() -> None:
        async with venue() as world:
            instrument, mark = await world.instrument(), await world.mark()
            intent = OrderIntent(
                "csa-k2-e0",
                "s2",
                "BTCUSDT",
                Leg.ENTRY,
                Side.BUY,
                OrderKind.LIMIT,
                1000 / mark,
                START_MS,
                price=mark * Decimal("0.97"),
                time_in_force="GTX",
            )
            limit = conform(intent, instrument.filters)
            assert (await world.client.place(limit)).outcome is SendOutcome.ACKED
            doubled = await world.client.place(limit)
            assert (doubled.outcome, doubled.code) == (SendOutcome.UNKNOWN, -4116)
            taken = await world.client.snapshot("test")
            assert isinstance(taken, AccountSnapshotTaken)
            assert [(o.client_id, o.price) for o in taken.orders] == [("csa-k2-e0", limit.price)]
            cancelled = await world.client.cancel("csa-k2-e0", "BTCUSDT", is_algo=False)
            assert cancelled.outcome is SendOutcome.ACKED

    run(main)


def test_the_venue_refuses_exactly_what_our_filters_refuse():
    """An order that `check` faults is answered with the same code, one that it passes is taken."""

    async def main() -> None:
        async with venue() as world:
            instrument, mark = await world.instrument(), await world.mark()
            rules = instrument.filters
            price = conform_price(mark * Decimal("0.98"), rules, Leg.ENTRY, Side.BUY)
            quantity = conform_quantity(500 / mark, rules, OrderKind.LIMIT)
            cases: list[tuple[Decimal, Decimal]] = [
                (quantity, price),
                (rules.step_size / 10, price),
                (quantity + rules.step_size / 10, price),
                (rules.max_qty + rules.step_size, price),
                (rules.min_qty, price),
                (rules.min_qty, conform_price(mark / 2, rules, Leg.ENTRY, Side.BUY)),
                (quantity, price + rules.tick_size / 10),
                (quantity, rules.max_price + rules.tick_size),
                (quantity, conform_price(mark * 2, rules, Leg.ENTRY, Side.BUY)),
            ]
            codes = []
            for number, (amount, limit) in enumerate(cases):
                intent = OrderIntent(
                    f"csa-k-e{number}",
                    "s",
                    "BTCUSDT",
                    Leg.ENTRY,
                    Side.BUY,
                    OrderKind.LIMIT,
                    amount,
                    0,
                    limit,
                )
                violation = check(intent, instrument, mark)
                replied = await world.client.place(intent)
                assert (violation.code if violation else 0) == replied.code, (
                    amount,
                    limit,
                    replied,
                )
                codes.append(replied.code)
            assert codes[0] == 0
            assert len(set(codes)) >= 5, codes

    run(main)


def test_a_wrong_secret_is_refused_as_such():
    """A signature that does not fit is -1022, which halts; nothing is retried."""

    async def main() -> None:
        async with venue() as world:
            other = world.make_client("another secret")
            with pytest.raises(Refused) as caught:
                await other.set_leverage("BTCUSDT", 5)
            assert caught.value.code == -1022

    run(main)


def test_our_count_never_falls_below_the_venues():
    """After a mixed load, the venue's own header counts no more than the ledger."""

    async def main() -> None:
        async with venue() as world:
            client = world.client
            await asyncio.gather(
                *(client.klines("BTCUSDT", "1m", limit) for limit in (50, 99, 100, 499, 500, 1200)),
                *(client.depth("BTCUSDT", limit) for limit in (5, 50, 100, 500, 1000)),
                client.snapshot("test", ("BTCUSDT",)),
                client.tickers_24h(),
                client.premium_index(),
                client.exchange_info(),
            )
            headers: list[str] = []
            request = client._transport.request

            async def watched(base_url: str, sent: Any) -> Any:
                response = await request(base_url, sent)
                headers.append(response.headers["x-mbx-used-weight-1m"])
                return response

            client._transport.request = watched  # type: ignore[method-assign]
            await client.server_time(Lane.ORDERS)
            assert int(headers[0]) == world.ledger.snapshot().used["weight"]
            assert world.ledger.punished == 0

    run(main)


@pytest.mark.parametrize("websocket", ["picows", "aiohttp"])
def test_an_expired_key_is_replaced_on_real_sockets(websocket: str):
    """A key that dies at the venue leads to a new key, a new socket and a snapshot."""

    async def main() -> None:
        async with venue(websocket, listen_key_life_ms=15_000, speed=10.0) as world:
            events: list[Any] = []
            feed = AccountFeed(
                world.transport, world.client, world.routes, world.clock, Seeds(1), events.append
            )
            feeding = asyncio.create_task(feed.run())
            while feed.connects < 2 or feed.snapshots < 2:
                assert not feeding.done()
                await asyncio.sleep(0.02)
            feeding.cancel()
            await asyncio.gather(feeding, return_exceptions=True)
            changes = [e.is_up for e in events if isinstance(e, AccountStreamChanged)]
            assert changes == [True, False, True]

    run(main, speed=10.0)


def test_a_burst_beyond_the_budget_is_never_answered_with_429():
    """Three minutes' worth of calls asked for at once are spread so that the venue never objects."""

    async def main() -> None:
        async with venue(weight_limit_1m=100, speed=60.0) as world:
            patient = VenueClient(
                world.transport,
                world.ready["rest"],
                world.ledger,
                world.clock,
                settings=ClientSettings(data_timeout_ms=120_000),
            )
            await patient.exchange_info()
            assert world.ledger.limits.weight == 100
            await asyncio.gather(*(patient.klines("BTCUSDT", "1m", 20) for _ in range(180)))
            assert world.ledger.punished == 0
            assert world.ledger.snapshot().waited_ms_max_by_lane["REPAIR"] > 60_000

    run(main, speed=60.0)
