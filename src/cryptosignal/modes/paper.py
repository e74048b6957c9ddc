"""The paper account: the real venue's streams and candles, and an account of our own in this process.

A transport with two ends. What carries an API key, and the private stream, goes to `sim.paper`; all
else goes to the venue. Above it nothing knows the difference: the same client, desk and stops. The
account is kept in the data folder, durable before the answer to what changed it leaves. What passed
while no process ran is read from the venue's candles at the next start, and lived through.
"""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs, urlsplit

import msgspec

from cryptosignal.binance.signing import HmacSigner
from cryptosignal.domain.instrument import Instrument
from cryptosignal.domain.ports import (
    Disk,
    HttpRequest,
    HttpResponse,
    Transport,
    WsLink,
    WsListener,
)
from cryptosignal.ground.faults import Fault, Refused, Unreachable, UserFault
from cryptosignal.ground.secret import Secret
from cryptosignal.ground.units import DAY_MS, HOUR_MS, MINUTE_MS
from cryptosignal.sim.paper import FORMAT, PaperState, PaperVenue, Quote, Slept, thin_quote
from cryptosignal.sim.settings import AccountSettings, VenueSettings

if TYPE_CHECKING:
    from cryptosignal.modes.program import Program

STATE_NAME: Final = "paper/account.json"
QUOTES_EVERY_S: Final = 0.1
QUOTE_AGE_MS_MAX: Final = 15_000
ALIVE_EVERY_MS: Final = 60_000
"""How often the account notes that it lives, while it holds something."""
SLEEP_MS_MIN: Final = 2 * 60_000
SLEEP_MS_MAX: Final = 31 * DAY_MS
"""What lies further back than this at a start is not lived through."""
FINE_MS_MAX: Final = DAY_MS
"""Up to this a sleep is read in minutes, beyond it in hours."""
FUNDING_ROWS: Final = 1_000
_KEY_HEADER: Final = "X-MBX-APIKEY"
_PRIVATE: Final = "/private"
_SETTINGS = AccountSettings()


def paper_signer() -> HmacSigner:
    """The key of the paper account: worth nothing anywhere else."""
    return HmacSigner(Secret(_SETTINGS.api_key), Secret(_SETTINGS.api_secret))


class PaperTransport:
    """The real transport below, the paper account beside it. Bound to a program before it runs."""

    def __init__(self, real: Transport, disk: Disk, deposit_usdt: float) -> None:
        self._real = real
        self._disk = disk
        self._deposit = deposit_usdt
        self._program: Program | None = None
        self._venue: PaperVenue | None = None
        self._links: dict[int, WsListener] = {}
        self._next_link = 1
        self._kept: object = None
        self._listed: dict[str, Instrument] = {}
        self._rules: object = None
        self._waking = asyncio.Lock()
        self._pumping: asyncio.Task[None] | None = None

    def bind(self, program: Program) -> None:
        """Whose market it is."""
        self._program = program

    # ---- the port ----------------------------------------------------------------------------
    async def request(self, base_url: str, request: HttpRequest) -> HttpResponse:
        """One exchange with whoever it is for."""
        if not any(name == _KEY_HEADER for name, _ in request.headers):
            return await self._real.request(base_url, request)
        venue = await self._woken()
        self._quote(parse_qs(request.query).get("symbol", []))
        reply = venue.http(self._now_ms(), request)
        self._settle()
        if reply.response is None:
            raise Unreachable("the paper account gave no answer")
        return reply.response

    async def open_ws(self, url: str, listener: WsListener, timeout_ms: int) -> WsLink:
        """A connection to whoever it is for."""
        parts = urlsplit(url)
        if not parts.path.startswith(_PRIVATE):
            return await self._real.open_ws(url, listener, timeout_ms)
        number, self._next_link = self._next_link, self._next_link + 1
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        venue = await self._woken()
        refusal = venue.ws_open(self._now_ms(), number, target)
        if refusal is not None:
            raise Refused(refusal.status, refusal.body.decode("utf-8", "replace"), refusal.status)
        self._links[number] = listener
        return _PaperLink(self, number)

    async def close(self) -> None:
        """Stop the account's clock, keep it, close the rest."""
        if self._pumping is not None:
            self._pumping.cancel()
            await asyncio.wait([self._pumping])
        self._keep()
        await self._real.close()

    # ---- the account -------------------------------------------------------------------------
    async def _woken(self) -> PaperVenue:
        """The account; made at its first use, when the contracts are known."""
        async with self._waking:
            if self._venue is None:
                await self._wake()
        return self._account()

    async def _wake(self) -> None:
        program = self._program
        assert program is not None, "bound before it runs"
        state, now_ms = self._read(), self._now_ms()
        kept = {item.symbol: item for item in state.contracts} if state else {}
        now = {symbol: _ruled(item) for symbol, item in program.instruments.items()}
        self._rules, self._listed = program.instruments, kept | now
        start_ms = max(state.at_ms, now_ms - SLEEP_MS_MAX) if state and state.at_ms else now_ms
        if now_ms - start_ms < SLEEP_MS_MIN:
            start_ms = now_ms
        venue = self._open(min(start_ms, now_ms))
        for symbol in venue.resume(state) if state else ():
            program.note("paper.position_was_lost", {"symbol": symbol, "reason": "not listed"})
        if start_ms < now_ms and venue.concerned():
            await self._live_through(program, venue, start_ms, now_ms)
        venue.advance(self._now_ms())
        self._venue = venue
        self._pumping = asyncio.get_running_loop().create_task(self._pump())

    def _open(self, start_ms: int) -> PaperVenue:
        settings = VenueSettings(
            accounts=(AccountSettings(deposit_usdt=f"{self._deposit:.2f}"),), events=False
        )
        return PaperVenue(tuple(self._listed.values()), settings, start_ms)

    def _account(self) -> PaperVenue:
        """The account, by the contracts and rules of now."""
        venue, program = self._venue, self._program
        assert venue is not None, "woken before it is used"
        assert program is not None
        if program.instruments is self._rules:
            return venue
        self._rules = program.instruments
        now = {symbol: _ruled(item) for symbol, item in program.instruments.items()}
        if all(self._listed.get(symbol) == item for symbol, item in now.items()):
            return venue
        return self._list_anew(venue, now)

    def _list_anew(self, old: PaperVenue, instruments: dict[str, Instrument]) -> PaperVenue:
        """A contract is new, or its rules are: the account moves over, its streams begin again. What is
        no longer listed stays as it was, since something may be held in it."""
        self._listed |= instruments
        venue = self._open(old.exchange.now_ms)
        venue.resume(old.state())
        self._venue, self._kept = venue, None
        links, self._links = self._links, {}
        for listener in links.values():
            asyncio.get_running_loop().call_soon(listener.on_closed, 1012, "the rules are new")
        return venue

    def _read(self) -> PaperState | None:
        """The account as it was kept; None if there is none yet."""
        body = self._disk.read(STATE_NAME)
        if not body:
            return None
        try:
            state = msgspec.json.decode(body, type=PaperState)
        except msgspec.DecodeError:
            raise UserFault(f"{STATE_NAME}: the paper account cannot be read (damaged)") from None
        if state.format != FORMAT:
            raise UserFault(f"{STATE_NAME}: found format {state.format}, allowed: {FORMAT}")
        return state

    # ---- what passed while nobody ran --------------------------------------------------------
    async def _live_through(
        self, program: Program, venue: PaperVenue, start_ms: int, now_ms: int
    ) -> None:
        """Read the candles since then, and let them do to the account what they would have done."""
        symbols, slept = venue.concerned(), {}
        try:
            for symbol in symbols:
                slept[symbol] = await _slept(program, symbol, start_ms, now_ms)
        except Fault as fault:
            program.note("paper.sleep_was_not_read", {"reason": str(fault)})
            return
        before = len(venue.executions())
        venue.live_through(slept)
        program.note(
            "paper.sleep_was_settled",
            {
                "symbols": " ".join(symbols),
                "minutes": (now_ms - start_ms) // 60_000,
                "executions": len(venue.executions()) - before,
            },
        )

    async def _pump(self) -> None:
        """New quotes for what is held or waits, ten times a second."""
        while True:
            await asyncio.sleep(QUOTES_EVERY_S)
            self._quote(self._account().concerned())
            self._settle()

    def _settle(self) -> None:
        """Keep what has changed, then tell."""
        assert self._venue is not None
        deliveries = self._venue.advance(self._now_ms())
        self._keep()
        for delivery in deliveries:
            listener = self._links.get(delivery.link)
            if listener is not None and delivery.payload is not None:
                listener.on_frame(delivery.payload)
            elif listener is not None:
                del self._links[delivery.link]
                listener.on_closed(delivery.close_code, "closed")

    def _keep(self) -> None:
        if self._venue is None:
            return
        is_concerned = bool(self._venue.concerned())
        alive = self._venue.exchange.now_ms // ALIVE_EVERY_MS if is_concerned else 0
        revision = (self._venue.revision(), alive)
        if revision != self._kept:
            self._kept = revision
            self._disk.replace(STATE_NAME, msgspec.json.encode(self._venue.state()))

    # ---- quotes ------------------------------------------------------------------------------
    def _quote(self, symbols: list[str]) -> None:
        program, venue = self._program, self._venue
        assert program is not None
        assert venue is not None
        now_ms = self._now_ms()
        for symbol in symbols:
            quote = self._quote_of(program, symbol, now_ms)
            if quote is not None:
                venue.quote(now_ms, symbol, quote)

    def _quote_of(self, program: Program, symbol: str, now_ms: int) -> Quote | None:
        """The live market of a symbol; None without a fresh mark: then nothing can happen to it."""
        mark = self._mark(program, symbol)
        slot = program.board.find(symbol)
        if mark is None or now_ms - program.board.marks.mark_ms[slot] > QUOTE_AGE_MS_MAX:
            return None
        marks, tops = program.board.marks, program.board.tops
        rate, due = float(marks.funding_rate[slot]), float(marks.next_funding_ms[slot])
        bids, asks = (
            _levels(tops.bid_price[slot], tops.bid_qty[slot]),
            _levels(tops.ask_price[slot], tops.ask_qty[slot]),
        )
        if not bids or not asks or now_ms - tops.event_ms[slot] > QUOTE_AGE_MS_MAX:
            thin = thin_quote(mark)
            bids, asks = thin.bids, thin.asks
        return Quote(
            bids,
            asks,
            mark,
            rate if math.isfinite(rate) else 0.0,
            int(due) if math.isfinite(due) else 0,
        )

    @staticmethod
    def _mark(program: Program, symbol: str) -> float | None:
        slot = program.board.find(symbol)
        mark = float(program.board.marks.mark[slot]) if slot >= 0 else math.nan
        return mark if mark > 0 else None

    def _now_ms(self) -> int:
        assert self._program is not None
        now_ms = self._program.clock.now_ms()
        return now_ms if self._venue is None else max(now_ms, self._venue.exchange.now_ms)

    # ---- what a link does ----------------------------------------------------------------------
    def send(self, number: int, payload: bytes) -> None:
        """A message to the account's stream."""
        if number in self._links:
            self._account().ws_message(self._now_ms(), number, payload)

    def ping(self, number: int) -> None:
        """It is always there while we are."""
        listener = self._links.get(number)
        if listener is not None:
            asyncio.get_running_loop().call_soon(listener.on_pong)

    def hang_up(self, number: int, code: int) -> None:
        """Our end closes."""
        listener = self._links.pop(number, None)
        if listener is not None:
            self._account().ws_close(self._now_ms(), number)
            asyncio.get_running_loop().call_soon(listener.on_closed, code, "closed")


class _PaperLink:
    """Our end of the private stream."""

    def __init__(self, owner: PaperTransport, number: int) -> None:
        self._owner = owner
        self._number = number

    def send(self, payload: bytes) -> None:
        self._owner.send(self._number, payload)

    def ping(self) -> None:
        self._owner.ping(self._number)

    def close(self, code: int = 1000) -> None:
        self._owner.hang_up(self._number, code)


def _ruled(item: Instrument) -> Instrument:
    """A contract's own rules; its brackets are the account's, which is ours."""
    return msgspec.structs.replace(item, brackets=())


async def _slept(program: Program, symbol: str, start_ms: int, now_ms: int) -> Slept:
    """The candles that begin after `start_ms`, the running one included, and the funding since then."""
    is_fine = now_ms - start_ms <= FINE_MS_MAX
    interval, span_ms = ("1m", MINUTE_MS) if is_fine else ("1h", HOUR_MS)
    first_ms = -(-start_ms // span_ms) * span_ms
    limit = (now_ms - first_ms) // span_ms + 2
    rows = await program.client.klines(symbol, interval, limit, first_ms, now_ms)
    funding = await program.client.funding_history(symbol, FUNDING_ROWS, start_ms, now_ms)
    bars = tuple(
        (int(at), min(int(at) + span_ms - 1, now_ms), first, high, low, last)
        for at, first, high, low, last in rows[:, :5].tolist()
        if at >= first_ms
    )
    return Slept(bars, tuple((row.time_ms, row.rate) for row in funding))


def _levels(prices: Any, quantities: Any) -> tuple[tuple[float, float], ...]:
    rows = zip(prices.tolist(), quantities.tolist(), strict=True)
    return tuple((price, qty) for price, qty in rows if price > 0 and qty > 0)
