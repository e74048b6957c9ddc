"""The two venues of the contract tests: each with an adapter, its wire, and hands on its world."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from decimal import Decimal
from typing import Any

from tests.exchange.toy_adapter import ToyAdapter
from tests.exchange.toy_exchange import ToyExchange
from tests.exchange.toy_market import ToyMarket

from cryptosignal.binance.limits import Limits
from cryptosignal.binance.routes import Routes
from cryptosignal.binance.signing import HmacSigner
from cryptosignal.domain.ports import Exchange, HttpRequest, HttpResponse, Market
from cryptosignal.ground.clock import LoopClock
from cryptosignal.ground.faults import TimedOut, Unreachable
from cryptosignal.ground.loop import VirtualLoop
from cryptosignal.ground.secret import Secret
from cryptosignal.ground.seeds import Seeds
from cryptosignal.modes.account import BinanceExchange
from cryptosignal.modes.markets import BinanceMarket
from cryptosignal.modes.virtual_net import MemoryTransport, VirtualNetwork
from cryptosignal.net.account_feed import AccountFeed
from cryptosignal.net.client import VenueClient
from cryptosignal.net.feed import MarketFeed
from cryptosignal.net.ledger import WeightLedger
from cryptosignal.quality.score import QualityBook
from cryptosignal.sim.settings import VenueSettings
from cryptosignal.sim.venue import Venue
from cryptosignal.streams.settings import FeedSettings

START_MS = 1_790_000_010_000
SYMBOL = "BTCUSDT"


class World:
    """One venue as a test sees it."""

    exchange: Exchange
    market: Market

    def lose_next_reply(self) -> None:
        """The next request arrives and is answered; the answer is lost."""
        raise NotImplementedError

    def lose_next_request(self) -> None:
        """The next request never arrives."""
        raise NotImplementedError

    def break_stream(self) -> None:
        """The venue ends the account's stream."""
        raise NotImplementedError

    def mark(self) -> Decimal:
        """The present price of `SYMBOL`."""
        raise NotImplementedError

    def truth(self) -> Decimal:
        """The position in `SYMBOL`, from the venue's own books."""
        raise NotImplementedError

    def resting(self) -> set[str]:
        """Client ids of what rests on the account's books."""
        raise NotImplementedError

    def executions(self, client_id: str) -> int:
        """How many orders under this id were executed."""
        raise NotImplementedError


class _Losing(MemoryTransport):
    """A transport that loses what it is told to."""

    def __init__(self, network: VirtualNetwork) -> None:
        super().__init__(network)
        self.lose = ""

    async def request(self, base_url: str, request: HttpRequest) -> HttpResponse:
        lose, self.lose = self.lose, ""
        if lose == "request":
            raise TimedOut("lost on its way")
        response = await super().request(base_url, request)
        if lose:
            raise TimedOut("the answer was lost")
        return response


class BinanceWorld(World):
    """The simulated Binance behind the real client and stream."""

    def __init__(self, loop: VirtualLoop) -> None:
        clock = LoopClock(loop, START_MS)
        settings = VenueSettings(symbols=2, events=False, ticks_per_minute=60, block_minutes=5)
        self._venue = Venue(settings, Seeds(3), START_MS)
        network = VirtualNetwork(loop, clock, self._venue, Seeds(4))
        network.start()
        self._network = network
        self._transport = _Losing(network)
        signer = HmacSigner(Secret(self._venue.api_key), Secret(self._venue.api_secret))
        routes = Routes(rest_url="http://venue", ws_url="ws://venue", name="virtual")
        ledger = WeightLedger(Limits(), clock, host="venue")
        client = VenueClient(self._transport, routes.rest_url, ledger, clock, signer)
        self.exchange = BinanceExchange(
            client,
            lambda on_event: AccountFeed(
                self._transport, client, routes, clock, Seeds(5), on_event
            ),
        )
        self.market = BinanceMarket(
            client,
            clock,
            lambda board, on_event: MarketFeed(
                self._transport, routes, board, QualityBook(), clock, Seeds(6), FeedSettings(),
                on_event,
            ),
        )  # fmt: skip

    def lose_next_reply(self) -> None:
        self._transport.lose = "reply"

    def lose_next_request(self) -> None:
        self._transport.lose = "request"

    def break_stream(self) -> None:
        for link in self._venue.links():
            self._venue.close(link, 1006)
        self._network.pump()

    def mark(self) -> Decimal:
        return self._venue.mark(SYMBOL)

    def _index(self) -> int:
        return next(i for i, r in enumerate(self._venue.exchange.listed) if r.symbol == SYMBOL)

    def truth(self) -> Decimal:
        held = [p.qty for p in self._venue.positions() if p.index == self._index()]
        return sum(held, Decimal(0))

    def resting(self) -> set[str]:
        return {o.client_id for o in [*self._venue.open_orders(), *self._venue.open_algos()]}

    def executions(self, client_id: str) -> int:
        found = {f.order_id for f in self._venue.executions() if f.client_id == client_id}
        return len(found)


class ToyWorld(World):
    """The toy venue at the other end of an in-memory line."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop
        clock = LoopClock(loop, START_MS)
        self.venue = ToyExchange(lambda: clock.now_ms() / 1000)
        self.exchange = ToyAdapter(self, clock.now_ms)
        self.market = ToyMarket(self, clock.now_ms)
        self._lose = ""
        self._ends: list[Callable[[], None]] = []
        self._walk(1)

    def _walk(self, sign: int) -> None:
        """The price sways by three hundredths of a percent, each second one way."""
        for instr, ticks in list(self.venue.ticks.items()):
            self.venue.price(instr, ticks + sign * ticks * 3 // 10_000)
        self._loop.call_later(1.0, self._walk, -sign)

    # the host of the adapter's lines
    async def open(self, on_news: Callable[[bytes], None], on_end: Callable[[], None]) -> ToyWorld:
        await asyncio.sleep(0.02)

        under_way: deque[bytes] = deque()

        def send(line: bytes) -> None:
            under_way.append(line)  # timers of one moment come in any order; a line keeps its own
            self._loop.call_later(0.01, lambda: on_news(under_way.popleft()))

        self.venue.lines.append(send)

        def end() -> None:
            self.venue.lines.remove(send)
            on_end()

        self._ends.append(end)
        return self

    async def ask(self, payload: bytes) -> bytes:
        lose, self._lose = self._lose, ""
        await asyncio.sleep(0.01)
        if lose == "request":
            await asyncio.sleep(4.0)
            raise TimedOut("lost on its way")
        if not self._ends:
            raise Unreachable("the line is down")
        answer = self.venue.hear(payload)
        await asyncio.sleep(4.0 if lose else 0.01)
        if lose:
            raise TimedOut("the answer was lost")
        return answer

    def lose_next_reply(self) -> None:
        self._lose = "reply"

    def lose_next_request(self) -> None:
        self._lose = "request"

    def break_stream(self) -> None:
        ends, self._ends = self._ends, []
        for end in ends:
            end()

    def mark(self) -> Decimal:
        return self.venue.ticks["PERP:BTC/USDT"] * Decimal("0.1")

    def truth(self) -> Decimal:
        return self.venue.held.get("PERP:BTC/USDT", 0) * Decimal("0.001")

    def resting(self) -> set[str]:
        books = [*self.venue.deals.values(), *self.venue.guards.values()]
        return {d.ref for d in books if d.state in ("waiting", "eating")}

    def executions(self, client_id: str) -> int:
        return len({f["no"] for f in self.venue.fills if f["ref"] == client_id})


WORLDS: dict[str, Callable[[VirtualLoop], World]] = {"binance": BinanceWorld, "toy": ToyWorld}


def in_world(name: str, live: Callable[[World], Coroutine[Any, Any, None]]) -> None:
    """Run `live(world)` to its end under virtual time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        loop = runner.get_loop()

        async def main() -> None:
            await live(WORLDS[name](loop))

        runner.run(main())
