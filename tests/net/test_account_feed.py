"""The private stream under virtual time: alive, expired, silent, cut, replaced."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest
from tests.net.fake_venue import FakeTransport, error, reply
from tests.net.virtual import START_MS, run_virtual

from cryptosignal.binance.limits import Limits
from cryptosignal.binance.routes import Routes
from cryptosignal.binance.signing import HmacSigner
from cryptosignal.domain.events import (
    AccountSnapshotTaken,
    AccountStreamChanged,
    AccountUpdated,
    OrderUpdated,
    SnapshotFailed,
    TradeSeen,
)
from cryptosignal.domain.ports import HttpResponse
from cryptosignal.ground.clock import LoopClock
from cryptosignal.ground.faults import ContractFault, Refused, TimedOut, Unreachable
from cryptosignal.ground.secret import Secret
from cryptosignal.ground.seeds import Seeds
from cryptosignal.net.account_feed import AccountFeed
from cryptosignal.net.client import READ_TRIES, VenueClient
from cryptosignal.net.ledger import WeightLedger
from cryptosignal.net.settings import AccountFeedSettings

FILL = {
    "e": "TRADE_LITE",
    "E": START_MS,
    "T": START_MS,
    "s": "BTCUSDT",
    "q": "0.1",
    "p": "0",
    "m": False,
    "c": "csa-k-e0",
    "S": "BUY",
    "L": "60000",
    "l": "0.1",
    "t": 3,
    "i": 4,
}


def position_update(amount: str, event_ms: int, wallet: str = "100") -> dict[str, Any]:
    row = {
        "s": "BTCUSDT",
        "pa": amount,
        "ep": "60000",
        "cr": "0",
        "up": "7",
        "mt": "cross",
        "iw": "0",
        "ps": "BOTH",
    }
    return {
        "e": "ACCOUNT_UPDATE",
        "E": event_ms,
        "T": event_ms,
        "a": {
            "m": "ORDER",
            "B": [{"a": "USDT", "wb": wallet, "cw": wallet, "bc": "0"}],
            "P": [row],
        },
    }


class World:
    """A feed on a scripted transport under virtual time."""

    def __init__(self, clock: LoopClock, **settings: Any) -> None:
        self.clock = clock
        self.transport = FakeTransport()
        self.events: list[Any] = []
        self.keys = 0
        client = VenueClient(
            self.transport,
            "https://venue",
            WeightLedger(Limits(), clock),
            clock,
            HmacSigner(Secret("k"), Secret("s")),
        )
        self.marks: dict[str, float] = {}
        self.feed = AccountFeed(
            self.transport,
            client,
            Routes("https://venue", "wss://stream"),
            clock,
            Seeds(7),
            self.events.append,
            settings=AccountFeedSettings(**settings),
            mark_of=self.marks.get,
        )
        self.transport.on("POST /fapi/v1/listenKey", self._key)
        self.transport.on("PUT /fapi/v1/listenKey", reply({}))
        self.transport.on("GET /fapi/v1/positionSide/dual", reply({"dualSidePosition": False}))
        self.transport.on("GET /fapi/v1/openOrders", reply([]))
        self.transport.on("GET /fapi/v1/openAlgoOrders", reply([]))
        self.account("0")

    def _key(self, _request: Any) -> HttpResponse:
        self.keys += 1
        return reply({"listenKey": f"key{self.keys}"})

    def account(self, amount: str, wallet: str = "100") -> None:
        """What REST says from now on."""
        self.transport.on(
            "GET /fapi/v3/balance",
            reply([{"asset": "USDT", "balance": wallet, "availableBalance": wallet}]),
        )
        self.transport.on(
            "GET /fapi/v3/positionRisk",
            reply([{"symbol": "BTCUSDT", "positionAmt": amount, "entryPrice": "60000"}]),
        )

    def of(self, kind: type) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    @property
    def link(self) -> Any:
        return self.transport.links[-1]


def play(script: Callable[[World], Coroutine[Any, Any, None]], **settings: Any) -> World:
    """Run a feed beside `script` until the script ends."""

    async def main(clock: LoopClock) -> World:
        world = World(clock, **settings)
        running = asyncio.create_task(world.feed.run())
        acting = asyncio.create_task(script(world))
        await asyncio.wait({running, acting}, return_when=asyncio.FIRST_COMPLETED)
        for task in (running, acting):
            if task.done():
                task.result()
            task.cancel()
        await asyncio.gather(running, acting, return_exceptions=True)
        return world

    return run_virtual(main)


def test_up_then_snapshot_then_events():
    """After connecting the feed says so, reads a snapshot, and passes events in order."""

    async def script(world: World) -> None:
        await asyncio.sleep(1)
        world.link.push(FILL)
        world.link.push(position_update("0.1", START_MS + 2000))
        await asyncio.sleep(1)

    world = play(script)
    kinds = [type(event) for event in world.events]
    assert kinds == [AccountStreamChanged, AccountSnapshotTaken, TradeSeen, AccountUpdated]
    assert world.events[0].is_up
    assert world.events[1].purpose == "connected"
    assert world.link.url.startswith(
        "wss://stream/private/ws?listenKey=key1&events=ORDER_TRADE_UPDATE/"
    )


def test_the_key_is_renewed_every_half_hour():
    """In two hours of quiet the key is extended four times less one, on one connection."""

    async def script(world: World) -> None:
        await asyncio.sleep(2 * 3600 - 1)

    world = play(script)
    assert len(world.transport.asked("PUT /fapi/v1/listenKey")) == 3
    assert len(world.transport.links) == 1


def test_a_lost_key_gives_a_new_key_and_a_new_url():
    """-1125 on renewal means a new key, and the old URL is never used again."""

    async def script(world: World) -> None:
        await asyncio.sleep(1)
        world.transport.on("PUT /fapi/v1/listenKey", error(-1125, "This listenKey does not exist."))
        await asyncio.sleep(31 * 60)

    world = play(script)
    assert [link.url.split("&")[0] for link in world.transport.links] == [
        "wss://stream/private/ws?listenKey=key1",
        "wss://stream/private/ws?listenKey=key2",
    ]
    assert [event.is_up for event in world.of(AccountStreamChanged)] == [True, False, True]
    assert [event.purpose for event in world.of(AccountSnapshotTaken)][-1] == "connected"
    assert world.transport.links[0].is_closed


def test_an_expired_key_reconnects_though_the_socket_stays_open():
    """listenKeyExpired alone is enough: the venue will never close that socket."""

    async def script(world: World) -> None:
        await asyncio.sleep(1)
        world.link.push({"e": "listenKeyExpired", "E": START_MS, "listenKey": "key1"})
        await asyncio.sleep(5)

    world = play(script)
    assert len(world.transport.links) == 2
    assert world.of(AccountStreamChanged)[1].reason == "listenKeyExpired"


def test_a_cut_is_told_and_healed_with_a_snapshot():
    """A closed socket: down, about a second, up, snapshot."""

    async def script(world: World) -> None:
        await asyncio.sleep(1)
        world.link.end(1006)
        await asyncio.sleep(5)

    world = play(script)
    kinds = [type(event) for event in world.events]
    assert kinds == [
        AccountStreamChanged,
        AccountSnapshotTaken,
        AccountStreamChanged,
        AccountStreamChanged,
        AccountSnapshotTaken,
    ]
    assert "1006" in world.events[2].reason


def test_a_flapping_venue_is_not_hammered():
    """Sockets that close at once meet doubling delays: a dozen connections an hour, not thousands."""

    async def script(world: World) -> None:
        async def cut() -> None:
            seen = 0
            while True:
                await asyncio.sleep(0.01)
                if len(world.transport.links) > seen:
                    seen = len(world.transport.links)
                    world.link.end(1006)

        cutting = asyncio.create_task(cut())
        await asyncio.sleep(600)
        cutting.cancel()

    assert 6 <= len(play(script).transport.links) <= 16


def test_backoff_starts_over_after_healthy_time_only():
    """A minute of proved health resets the delays; a mere connect does not."""

    async def script(world: World) -> None:
        for healthy_s in (1, 1, 1, 90, 1):
            await asyncio.sleep(healthy_s)
            world.link.end(1006)
            await asyncio.sleep(5)

    links = play(script).transport.links
    gaps = [round(after.opened_s - before.ended_s) for before, after in pairwise(links)]
    assert gaps == [1, 2, 4, 1, 2]


def test_a_connection_without_a_snapshot_is_not_healthy():
    """Time alone proves nothing: as long as no snapshot succeeds, delays keep growing."""

    async def script(world: World) -> None:
        world.transport.on("GET /fapi/v1/openAlgoOrders", TimedOut("late"))
        for _ in range(3):
            await asyncio.sleep(90)
            world.link.end(1006)
            await asyncio.sleep(5)

    links = play(script).transport.links
    assert [round(after.opened_s - before.ended_s) for before, after in pairwise(links)] == [
        1,
        2,
        4,
    ]


def test_a_half_open_socket_is_found_by_its_missing_pong():
    """A peer that answers no ping is gone within ping interval plus pong timeout."""

    async def script(world: World) -> None:
        await asyncio.sleep(1)
        world.link.answers_pings = False
        await asyncio.sleep(35)
        assert len(world.transport.links) == 2

    world = play(script)
    assert world.of(AccountStreamChanged)[1].reason == "ping unanswered"


def test_frames_count_as_signs_of_life():
    """A peer that sends events but no pongs stays connected."""

    async def script(world: World) -> None:
        await asyncio.sleep(1)
        world.link.answers_pings = False
        for _ in range(30):
            world.link.push(FILL)
            await asyncio.sleep(5)
        assert len(world.transport.links) == 1

    play(script)


def test_long_silence_asks_for_a_snapshot_and_no_more_if_nothing_changed():
    """Quiet account, quiet stream: checked every silence interval, the connection stays."""

    async def script(world: World) -> None:
        await asyncio.sleep(1000)

    world = play(script, silence_ms=300_000)
    assert [e.purpose for e in world.of(AccountSnapshotTaken)] == ["connected"] + ["silence"] * 3
    assert len(world.transport.links) == 1


def test_silence_while_the_account_changed_proves_the_stream_dead():
    """If REST shows a position that the stream never told, the connection is replaced."""

    async def script(world: World) -> None:
        await asyncio.sleep(10)
        world.account("0.5")
        await asyncio.sleep(310)

    world = play(script)
    assert len(world.transport.links) == 2
    assert world.of(AccountStreamChanged)[1].reason == "silent while the account changed"
    position = world.feed.get_position("BTCUSDT")
    assert position is not None
    assert position.size == Decimal("0.5")


def test_a_failed_snapshot_is_told_and_repeated_until_it_succeeds():
    """SnapshotFailed proves nothing; the snapshot owed after a connect is not forgotten."""

    async def script(world: World) -> None:
        lost = [TimedOut("late"), Unreachable("down")] * READ_TRIES
        world.transport.on("GET /fapi/v1/openAlgoOrders", *lost, reply([]))
        await asyncio.sleep(20)

    world = play(script)
    kinds = [type(event) for event in world.events]
    assert kinds == [AccountStreamChanged, SnapshotFailed, SnapshotFailed, AccountSnapshotTaken]


def test_connection_failures_are_retried_with_backoff():
    """No key, no socket, a refused handshake: each is tried again, nothing is told as up."""

    async def script(world: World) -> None:
        world.transport.on(
            "POST /fapi/v1/listenKey",
            Unreachable("down"),
            error(0, "Service Unavailable.", 503),
            world._key,
        )
        world.transport.refusals.extend([TimedOut("late"), Refused(503, "handshake", 503)])
        await asyncio.sleep(25)

    world = play(script)
    assert [event.is_up for event in world.of(AccountStreamChanged)] == [True]
    assert len(world.transport.links) == 1
    assert sum(world.feed.get_stats().drops.values()) == 4


def test_a_wrong_key_ends_the_feed():
    """Trying a refused API key again would never help: the fault goes up."""

    async def script(world: World) -> None:
        world.transport.on("POST /fapi/v1/listenKey", error(-2015, "Invalid API-key", 401))
        await asyncio.sleep(10)

    with pytest.raises(Refused, match="-2015"):
        play(script)


def test_the_socket_is_replaced_before_its_life_ends_without_a_gap():
    """Before 24 h a second socket opens first, then the first one closes: never down."""

    async def script(world: World) -> None:
        await asyncio.sleep(24 * 3600)
        world.link.push(FILL)
        await asyncio.sleep(1)

    world = play(script)
    assert len(world.transport.links) == 2
    assert world.transport.links[0].is_closed
    assert [event.is_up for event in world.of(AccountStreamChanged)] == [True]
    assert len(world.of(TradeSeen)) == 1


def test_an_unreadable_account_frame_asks_for_a_snapshot():
    """What cannot be read may have been a fill: REST tells."""

    async def script(world: World) -> None:
        await asyncio.sleep(1)
        world.link.push({"e": "ORDER_TRADE_UPDATE", "E": 1, "T": 1, "o": {"s": "BTCUSDT"}})
        world.link.push({"e": "GRID_UPDATE", "E": 1})
        await asyncio.sleep(1)

    world = play(script)
    assert [event.purpose for event in world.of(AccountSnapshotTaken)] == ["connected", "garbled"]
    stats = world.feed.get_stats()
    assert (stats.garbled, stats.unmapped, stats.frames) == (1, {"GRID_UPDATE": 1}, 2)


def test_too_many_waiting_frames_end_the_process():
    """Account events are never dropped: an overflow is a fault of ours, start-up reconciles."""

    async def script(world: World) -> None:
        await asyncio.sleep(1)
        for _ in range(11):
            world.link.push(FILL)
        await asyncio.sleep(1)

    with pytest.raises(ExceptionGroup) as caught:
        play(script, frames_max=10)
    assert caught.group_contains(ContractFault)


def test_an_error_in_the_engine_is_not_swallowed_by_the_socket():
    """A bug in whoever receives events ends the feed with that error."""

    async def script(world: World) -> None:
        await asyncio.sleep(1)

        def broken(_event: Any) -> None:
            raise ContractFault("engine bug")

        world.feed._on_event = broken
        world.link.push(FILL)
        await asyncio.sleep(1)

    with pytest.raises(ExceptionGroup) as caught:
        play(script)
    assert caught.group_contains(ContractFault, match="engine bug")


def test_positions_carry_pnl_from_the_mark_in_any_case_of_symbol():
    """The stream's own PnL ages at once; the mark prices it now, and without a mark it is None."""

    async def script(world: World) -> None:
        world.account("-0.1")
        await asyncio.sleep(1)
        position = world.feed.get_position("btcusdt")
        assert position is not None
        assert (position.size, position.entry_price, position.margin_type) == (
            Decimal("-0.1"),
            60000,
            "cross",
        )
        assert position.unrealized_pnl is None
        world.marks["BTCUSDT"] = 59000.0
        position = world.feed.get_position("BtcUsdt")
        assert position is not None
        assert position.unrealized_pnl == Decimal("100.0")
        assert world.feed.get_position("ETHUSDT") is None
        balance = world.feed.get_balance()
        assert balance is not None
        assert balance.wallet == 100

    play(script)


def test_a_snapshot_older_than_a_streamed_change_does_not_undo_it():
    """Facts are kept by venue time: the later one wins, whichever arrives last."""

    async def script(world: World) -> None:
        world.account("0.2")
        await asyncio.sleep(1)
        world.link.push(position_update("0.3", START_MS + 10_000_000, wallet="55"))
        await asyncio.sleep(1)
        world.link.push({"e": "ORDER_TRADE_UPDATE", "E": 1, "T": 1, "o": {}})  # asks for a snapshot
        world.link.push(position_update("9", START_MS + 1))
        await asyncio.sleep(1)
        position = world.feed.get_position("BTCUSDT")
        assert position is not None
        assert position.size == Decimal("0.3")
        balance = world.feed.get_balance()
        assert balance is not None
        assert balance.wallet == 55

    play(script)


def test_a_snapshot_clears_what_is_flat():
    """A position that a newer snapshot does not list is gone."""

    async def script(world: World) -> None:
        await asyncio.sleep(1)
        world.link.push(position_update("0.3", START_MS + 500))
        await asyncio.sleep(1)
        assert world.feed.get_position("BTCUSDT") is not None
        world.link.end()
        await asyncio.sleep(5)
        assert world.feed.get_position("BTCUSDT") is None

    play(script)


def test_order_updates_pass_through():
    """ORDER_TRADE_UPDATE arrives as the domain's event, duplicates included."""
    update = {
        "e": "ORDER_TRADE_UPDATE",
        "E": 2,
        "T": 1,
        "o": {
            "s": "BTCUSDT",
            "c": "csa-k-e0",
            "S": "BUY",
            "o": "MARKET",
            "f": "GTC",
            "q": "1",
            "p": "0",
            "ap": "1",
            "x": "TRADE",
            "X": "FILLED",
            "i": 7,
            "l": "1",
            "z": "1",
            "L": "1",
            "T": 1,
            "t": 5,
            "m": False,
            "R": False,
        },
    }

    async def script(world: World) -> None:
        await asyncio.sleep(1)
        world.link.push(update)
        world.link.push({"stream": "key1", "data": update})
        await asyncio.sleep(1)

    assert len(play(script).of(OrderUpdated)) == 2


def test_a_slow_renewal_does_not_hold_up_events():
    """While the venue takes seconds to extend the key, fills are told at once."""

    async def script(world: World) -> None:
        await asyncio.sleep(1)

        async def slow(_request: Any) -> HttpResponse:
            await asyncio.sleep(3)
            return reply({})

        world.transport.on("PUT /fapi/v1/listenKey", slow)
        await asyncio.sleep(30 * 60)
        world.link.push(FILL)
        await asyncio.sleep(0.01)
        assert len(world.of(TradeSeen)) == 1

    play(script)
