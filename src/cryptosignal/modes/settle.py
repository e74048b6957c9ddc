"""Asks a test venue what its documents leave open, with orders of the smallest size (`doctor --settle`).

Four points cannot be read anywhere and decide how safely we may trade (RELIABILITY, open points): does
`countdownCancelAll` or `DELETE allOpenOrders` touch the stops of the algo service; is a reduce-only
stop taken before there is a position; how late is an order accepted and how long is it invisible to
queries; do resting stops vanish by themselves. Each answer carries what was seen and what to set.

Only venues whose money is play money are asked. Whatever was placed is cancelled and closed again, and
the account is read at the end to see that it is so.
"""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Awaitable, Callable, Coroutine
from decimal import ROUND_CEILING, Decimal
from typing import Any, Final

import msgspec

from cryptosignal.binance.filters import conform, lot_of
from cryptosignal.binance.limits import Limits
from cryptosignal.binance.routes import TESTNET, Routes
from cryptosignal.binance.signing import Signer
from cryptosignal.domain.events import (
    OrderLookedUp,
    OrderReplied,
    OrderSent,
    SendOutcome,
    SnapshotFailed,
)
from cryptosignal.domain.instrument import Instrument
from cryptosignal.domain.order import Leg, OrderIntent, OrderKind, Side, client_id
from cryptosignal.ground.clock import LoopClock, SystemClock
from cryptosignal.ground.faults import Refused, Unreachable, UserFault
from cryptosignal.ground.loop import ScaledLoop
from cryptosignal.modes.config import Config
from cryptosignal.modes.embedded import embedded_venue
from cryptosignal.modes.keys import load_signer
from cryptosignal.net.client import MovableClock, VenueClient, ledger_host
from cryptosignal.net.ledger import WeightLedger
from cryptosignal.net.transport import SocketTransport

EMBEDDED: Final = "embedded"
STOP_WATCH_S: Final = 75.0
"""How long a resting stop is watched: stops of the demo vanished after about 53 s (incident I)."""
ROUNDS: Final = 10
"""Orders whose acceptance and visibility are timed."""
_REAL_DOMAIN: Final = "binance.com"
_COUNTDOWN_MS: Final = 5_000
_SEEN_WITHIN_S: Final = 10.0
_LOOK_S: Final = 0.5
_EAGER: Final = 20
_EAGER_S: Final = 0.05
_TIDY_ROUNDS: Final = 20
_SPEED: Final = 20.0
_STOP_DISTANCE: Final = Decimal("0.85")
"""The stop lies so far below the mark that it is not reached while it is watched."""
_NOTIONAL_SPARE: Final = Decimal("1.2")
_GONE: Final = frozenset({"CANCELED", "EXPIRED", "EXPIRED_IN_MATCH", "REJECTED", "FINISHED"})

YES, NO, UNKNOWN = "yes", "no", "not settled"


class Answer(msgspec.Struct, frozen=True):
    """One open point: the question, what the venue did, and what to do about it."""

    question: str
    answer: str
    seen: str
    advice: str = ""


class Settled(msgspec.Struct, frozen=True):
    """All answers; `is_clean` when the account was read flat and free of our orders at the end."""

    venue: str
    symbol: str
    answers: tuple[Answer, ...]
    is_clean: bool
    left: str = ""


def settle(
    config: Config,
    venue: str,
    symbol: str,
    seed: int,
    tell: Callable[[str], None] = lambda _line: None,
) -> Settled:
    """Ask `venue` (testnet with a key, or the embedded one). Raises UserFault with one line.

    `tell` hears each step as it begins: the whole takes about two minutes of venue time.
    """
    if venue == EMBEDDED:
        with embedded_venue(["--port", "0", "--seed", str(seed), "--speed", str(_SPEED)]) as ready:
            loop: asyncio.AbstractEventLoop = ScaledLoop(ready.speed, ready.epoch_mono_ns)
            clock = LoopClock(loop, ready.start_time_ms)
            return _run(loop, _asked(config, ready.routes(), clock, ready.signer(), symbol, tell))
    if venue != "testnet":
        raise UserFault(
            f"--settle: found venue {venue!r}, allowed: testnet, embedded (it places orders)"
        )
    given = {k: v for k, v in msgspec.structs.asdict(config.venue).items() if v and k != "key_file"}
    try:
        routes = msgspec.structs.replace(TESTNET, **given)
    except ValueError as error:
        raise UserFault(f"venue.{error}") from None
    host = ledger_host(routes.rest_url)
    if host.endswith(_REAL_DOMAIN) and host != ledger_host(TESTNET.rest_url):
        raise UserFault(f"--settle: found {host} in venue.rest_url, allowed: a venue of play money")
    signer = load_signer("testnet", config.venue.key_file)
    asked = _asked(config, routes, SystemClock(), signer, symbol, tell)
    return _run(asyncio.new_event_loop(), asked)


def _run(loop: asyncio.AbstractEventLoop, asked: Coroutine[Any, Any, Settled]) -> Settled:
    """An interrupt cancels the questions; what they left is still removed."""
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        return runner.run(asked)


async def _asked(
    config: Config,
    routes: Routes,
    clock: MovableClock,
    signer: Signer,
    symbol: str,
    tell: Callable[[str], None],
) -> Settled:
    transport = SocketTransport(config.transport)
    host = ledger_host(routes.rest_url)
    ledger = WeightLedger(Limits(), clock, host=host, settings=config.ledger)
    client = VenueClient(transport, routes.rest_url, ledger, clock, signer, settings=config.client)
    try:
        await client.sync_time()
        answers, left = await ask(client, clock, symbol, tell)
        return Settled(routes.name, symbol.upper(), answers, not left, left)
    finally:
        await transport.close()


async def ask(
    client: VenueClient, clock: MovableClock, symbol: str, tell: Callable[[str], None]
) -> tuple[tuple[Answer, ...], str]:
    """The questions, put to one venue with one symbol: the answers, and what is left behind there
    ("" if nothing). Raises UserFault if the symbol is not free to ask with, else what the client does.
    """
    asking = await _prepared(client, clock, symbol.upper(), tell)
    answers: list[Answer] = []
    try:
        await _ask_all(asking, answers)
    finally:
        left = await asking.tidy_up()
        if left:
            tell(f"left behind: {left}")
    return tuple(answers), left


async def _prepared(
    client: VenueClient, clock: MovableClock, symbol: str, tell: Callable[[str], None]
) -> _Asking:
    rules = await client.exchange_info()
    found = [one for one in rules.instruments if one.symbol == symbol]
    if not found or not found[0].is_tradable_perpetual:
        raise UserFault(f"--settle: found symbol {symbol}, allowed: a perpetual that trades there")
    before = await client.snapshot("settle", (symbol,))
    if isinstance(before, SnapshotFailed):
        raise Unreachable(f"the account could not be read: {before.reason}")
    held = [one for one in before.positions if one.symbol == symbol and one.quantity]
    resting = sum(one.symbol == symbol for one in before.orders)
    resting += sum(one.symbol == symbol for one in before.algos)
    if held or resting or before.hedge_mode:
        raise UserFault(
            f"--settle: found {len(held)} positions and {resting} orders on {symbol}"
            f"{', and hedge mode' if before.hedge_mode else ''},"
            " allowed: a symbol without either, one-way mode (choose another with --symbols)"
        )
    (mark,) = await client.premium_index(symbol)
    return _Asking(client, clock, found[0], Decimal(repr(mark.mark)), tell)


async def _ask_all(asking: _Asking, answers: list[Answer]) -> None:
    stop, before_position = await asking.stop_first()
    answers.append(before_position)
    watched_from_ms = asking.clock.now_ms()
    answers.append(await asking.countdown(stop))
    answers.append(await asking.cancel_all(stop))
    answers += await asking.visibility()
    answers.append(await asking.watch(stop, watched_from_ms))


class _Asking:
    """The orders of one questioning: each is remembered before it is sent, and removed at the end."""

    def __init__(
        self,
        client: VenueClient,
        clock: MovableClock,
        instrument: Instrument,
        mark: Decimal,
        tell: Callable[[str], None],
    ) -> None:
        self.client = client
        self.clock = clock
        self.instrument = instrument
        self.symbol = instrument.symbol
        self._mark = mark
        self._tell = tell
        self._key = f"{clock.now_ms():x}"
        self._sent: dict[str, OrderIntent] = {}

    # ---- the questions --------------------------------------------------------------------------
    async def stop_first(self) -> tuple[OrderIntent, Answer]:
        """Whether a reduce-only stop rests before the position; answers the stop that rests in the end."""
        self._tell("a reduce-only stop without a position")
        question = "is a reduce-only stop taken before there is a position?"
        stop, reply = await self._place(self._stop())
        if reply.outcome is SendOutcome.ACKED and await self._is_seen(stop):
            seen = f"{stop.client_id} was taken and seen at the venue, flat"
            return stop, Answer(question, YES, seen, "trading.stop_first = true")
        seen = f"{reply.outcome.value} {reply.code} {reply.message}".strip()
        settled = NO if reply.outcome is SendOutcome.REJECTED else UNKNOWN
        answer = Answer(question, settled, seen, "trading.stop_first = false")
        self._tell("the smallest position, to hold a stop")
        _, filled = await self._place(self._intent(Leg.ENTRY, Side.BUY, OrderKind.MARKET))
        if filled.outcome is not SendOutcome.ACKED:
            raise Refused(filled.code, f"no position to hold a stop: {filled.message}", 400)
        stop, reply = await self._place(self._stop())
        if reply.outcome is not SendOutcome.ACKED or not await self._is_seen(stop):
            raise Refused(reply.code, f"no stop can be placed: {reply.message}", 400)
        return stop, answer

    async def countdown(self, stop: OrderIntent) -> Answer:
        """Whether the countdown takes the stop along with an entry order."""
        self._tell(f"countdownCancelAll after {_COUNTDOWN_MS / 1000:g} s")
        question = "does countdownCancelAll touch the stops of the algo service?"
        return await self._sweep(
            question,
            stop,
            lambda: self.client.count_down(self.symbol, _COUNTDOWN_MS),
            _COUNTDOWN_MS / 1000.0,
        )

    async def cancel_all(self, stop: OrderIntent) -> Answer:
        """Whether DELETE allOpenOrders takes the stop along with an entry order."""
        self._tell("DELETE allOpenOrders")
        question = "does DELETE allOpenOrders touch the stops of the algo service?"
        return await self._sweep(question, stop, lambda: self.client.cancel_all(self.symbol), 0.0)

    async def visibility(self) -> list[Answer]:
        """How late orders are accepted, and how long queries do not show what was acknowledged."""
        self._tell(f"{ROUNDS} orders, timed until a query shows them")
        accepted, placed, cancelled, absent = [], [], [], 0
        for _ in range(ROUNDS):
            sent: list[OrderSent] = []
            order, reply = await self._place(self._resting(), sent.append)
            if reply.outcome is not SendOutcome.ACKED:
                continue
            accepted.append(max(0, reply.server_ms - sent[0].sent_ms))
            waited, misses = await self._until(order, lambda found: bool(found.found))
            placed.append(waited)
            absent += misses
            await self.client.cancel(order.client_id, self.symbol, is_algo=False)
            waited, _misses = await self._until(order, _is_gone)
            cancelled.append(waited)
        unseen = min((*placed, *cancelled), default=-1.0) < 0.0
        if not accepted or unseen:
            why = (
                f"{len(accepted)} of {ROUNDS} acknowledged, {'some never shown' if unseen else ''}"
            )
            return [Answer("how late is an order accepted, how stale is GET order?", UNKNOWN, why)]
        fence_ms = self.client.recv_window_ms
        return [
            Answer(
                "how late is an order accepted?",
                f"{statistics.median(accepted):.0f} ms, at most {max(accepted)} ms",
                f"{len(accepted)} orders: the venue's time of acceptance less our timestamp",
                f"client.recv_window_ms {fence_ms} "
                + ("holds" if max(accepted) < fence_ms else "is too short: raise it"),
            ),
            Answer(
                "how stale is GET order?",
                f"{statistics.median(placed):.0f} ms, at most {max(placed):.0f} ms after placing;"
                f" {max(cancelled):.0f} ms after cancelling",
                f"{len(placed)} orders, {absent} answers that an acknowledged order does not exist",
                "absence is proven by two spaced queries, never by one" if absent else "",
            ),
        ]

    async def watch(self, stop: OrderIntent, from_ms: int) -> Answer:
        """Whether the resting stop vanishes by itself."""
        question = f"do resting stops vanish by themselves within {STOP_WATCH_S:g} s?"
        self._tell(f"the stop, until {STOP_WATCH_S:g} s are over")
        while True:
            looked = await self._look(stop)
            age_s = (self.clock.now_ms() - from_ms) / 1000.0
            if _is_gone(looked):
                status = looked.algo.status if looked.algo else "not found"
                seen = f"{status} {age_s:.0f} s after it was placed"
                return Answer(question, YES, seen, "keep the audit lane's period short")
            if age_s >= STOP_WATCH_S:
                return Answer(question, NO, f"it rested for {age_s:.0f} s")
            await asyncio.sleep(_LOOK_S)

    # ---- the end --------------------------------------------------------------------------------
    async def tidy_up(self) -> str:
        """Cancel and close all that this questioning left; answers what is still there, "" if nothing."""
        self._tell("cancelling and closing what was placed")
        left = "the account could not be read"
        for _ in range(_TIDY_ROUNDS):
            now = await self.client.snapshot("settle", (self.symbol,))
            if isinstance(now, SnapshotFailed):
                await asyncio.sleep(_LOOK_S)
                continue
            orders = [one for one in now.orders if one.client_id in self._sent]
            algos = [one for one in now.algos if one.client_id in self._sent]
            held = sum(
                (one.quantity for one in now.positions if one.symbol == self.symbol), Decimal(0)
            )
            if not orders and not algos and not held:
                return ""
            left = f"{len(orders)} orders, {len(algos)} stops, position {held} on {self.symbol}"
            for order in orders:
                await self.client.cancel(order.client_id, self.symbol, is_algo=False)
            if held:
                await self._close(held)
            else:  # a stop goes when there is nothing left to protect
                for algo in algos:
                    await self.client.cancel(algo.client_id, self.symbol, is_algo=True)
            await asyncio.sleep(_LOOK_S)
        return left

    async def _close(self, held: Decimal) -> None:
        side = Side.SELL if held > 0 else Side.BUY
        intent = self._intent(Leg.FLATTEN, side, OrderKind.MARKET)
        await self._place(msgspec.structs.replace(intent, quantity=abs(held), reduce_only=True))

    # ---- orders -----------------------------------------------------------------------------------
    async def _sweep(
        self,
        question: str,
        stop: OrderIntent,
        sweep: Callable[[], Awaitable[object]],
        after_s: float,
    ) -> Answer:
        order, reply = await self._place(self._resting())
        if reply.outcome is not SendOutcome.ACKED:
            return Answer(question, UNKNOWN, f"no order could rest: {reply.code} {reply.message}")
        await sweep()
        await asyncio.sleep(after_s)
        waited_ms, _misses = await self._until(order, _is_gone)
        if waited_ms < 0:
            return Answer(question, UNKNOWN, "the resting order was not cancelled either")
        looked = await self._look(stop)
        if _is_gone(looked):
            return Answer(question, YES, "order and stop were gone", "never arm it with a position")
        seen = f"the order was gone after {after_s + waited_ms / 1000.0:.1f} s, the stop rested on"
        return Answer(question, NO if looked.found else UNKNOWN, seen)

    async def _place(
        self, intent: OrderIntent, on_sent: Callable[[OrderSent], None] | None = None
    ) -> tuple[OrderIntent, OrderReplied]:
        self._sent[intent.client_id] = intent
        return intent, await self.client.place(intent, on_sent)

    async def _look(self, intent: OrderIntent) -> OrderLookedUp:
        return await self.client.look_up(intent.client_id, self.symbol, intent.kind.is_algo)

    async def _is_seen(self, intent: OrderIntent) -> bool:
        waited_ms, _misses = await self._until(intent, lambda found: bool(found.found))
        return waited_ms >= 0 and not _is_gone(await self._look(intent))

    async def _until(
        self, intent: OrderIntent, holds: Callable[[OrderLookedUp], bool]
    ) -> tuple[float, int]:
        """Milliseconds until a query answers as wanted (-1 within ten seconds not), and how many
        queries before it said that there is no such order."""
        began_ms, misses = self.clock.now_ms(), 0
        while True:
            looked = await self._look(intent)
            waited_ms = float(self.clock.now_ms() - began_ms)
            if holds(looked):
                return waited_ms, misses
            misses += looked.found is False
            if waited_ms > _SEEN_WITHIN_S * 1000.0:
                return -1.0, misses
            await asyncio.sleep(_LOOK_S if misses > _EAGER else _EAGER_S)

    def _intent(self, leg: Leg, side: Side, kind: OrderKind) -> OrderIntent:
        filters = self.instrument.filters
        step, lowest, _highest = lot_of(filters, OrderKind.MARKET)
        wanted = filters.min_notional_usdt * _NOTIONAL_SPARE / (self._mark * _STOP_DISTANCE)
        quantity = max(lowest, (wanted / step).to_integral_value(rounding=ROUND_CEILING) * step)
        return OrderIntent(
            client_id=client_id("doctor", self._key, leg, len(self._sent)),
            signal_id="",
            symbol=self.symbol,
            leg=leg,
            side=side,
            kind=kind,
            quantity=quantity,
            created_ms=self.clock.now_ms(),
        )

    def _stop(self) -> OrderIntent:
        plain = self._intent(Leg.STOP, Side.SELL, OrderKind.STOP_MARKET)
        trigger = self._mark * _STOP_DISTANCE
        stop = msgspec.structs.replace(plain, trigger_price=trigger, reduce_only=True)
        return conform(stop, self.instrument.filters)

    def _resting(self) -> OrderIntent:
        """An entry that rests: half way to the lowest price that the venue takes, post only."""
        filters = self.instrument.filters
        plain = self._intent(Leg.ENTRY, Side.BUY, OrderKind.LIMIT)
        price = self._mark * (1 + filters.multiplier_down) / 2
        resting = msgspec.structs.replace(plain, price=price, time_in_force="GTX")
        return conform(resting, filters)


def _is_gone(looked: OrderLookedUp) -> bool:
    """The venue says that the order no longer rests."""
    if looked.algo is not None:
        return looked.algo.status in _GONE
    return looked.order is not None and looked.order.status in _GONE
