"""The paper account: the real venue's streams and candles, and an account of our own in this process.

A transport with two ends. What carries an API key, and the private stream, goes to `sim.paper`; all
else goes to the venue. Above it nothing knows the difference: the same client, desk and stops. The
account is kept in the data folder, durable before the answer to what changed it leaves.
"""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs, urlsplit

import msgspec

from cryptosignal.binance.signing import HmacSigner
from cryptosignal.domain.ports import (
    Disk,
    HttpRequest,
    HttpResponse,
    Transport,
    WsLink,
    WsListener,
)
from cryptosignal.ground.faults import Refused, Unreachable, UserFault
from cryptosignal.ground.secret import Secret
from cryptosignal.sim.paper import FORMAT, PaperState, PaperVenue, Quote
from cryptosignal.sim.settings import AccountSettings, VenueSettings

if TYPE_CHECKING:
    from cryptosignal.modes.program import Program

STATE_NAME: Final = "paper/account.json"
QUOTES_EVERY_S: Final = 0.1
QUOTE_AGE_MS_MAX: Final = 15_000
NO_BOOK_FRAC: Final = 0.0005
"""Without a live book an order meets the mark this much worse, and this deep:"""
NO_BOOK_USDT: Final = 250_000.0
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
        self._pumping: asyncio.Task[None] | None = None

    def bind(self, program: Program) -> None:
        """Whose market it is."""
        self._program = program

    # ---- the port ----------------------------------------------------------------------------
    async def request(self, base_url: str, request: HttpRequest) -> HttpResponse:
        """One exchange with whoever it is for."""
        if not any(name == _KEY_HEADER for name, _ in request.headers):
            return await self._real.request(base_url, request)
        venue = self._account()
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
        refusal = self._account().ws_open(self._now_ms(), number, target)
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
    def _account(self) -> PaperVenue:
        """The account; made at its first use, when the contracts are known."""
        if self._venue is None:
            program = self._program
            assert program is not None, "bound before it runs"
            settings = VenueSettings(
                accounts=(AccountSettings(deposit_usdt=f"{self._deposit:.2f}"),), events=False
            )
            listed = tuple(program.instruments.values())
            self._venue = PaperVenue(listed, settings, self._now_ms())
            self._resume(program, self._venue)
            self._pumping = asyncio.get_running_loop().create_task(self._pump())
        return self._venue

    def _resume(self, program: Program, venue: PaperVenue) -> None:
        body = self._disk.read(STATE_NAME)
        if not body:
            return
        try:
            state = msgspec.json.decode(body, type=PaperState)
        except msgspec.DecodeError:
            raise UserFault(f"{STATE_NAME}: the paper account cannot be read (damaged)") from None
        if state.format != FORMAT:
            raise UserFault(f"{STATE_NAME}: found format {state.format}, allowed: {FORMAT}")
        for symbol in venue.resume(state):
            program.note("paper.position_was_lost", {"symbol": symbol, "reason": "not listed"})
        self._kept = venue.revision()

    async def _pump(self) -> None:
        """New quotes for what is held or waits, ten times a second."""
        while True:
            await asyncio.sleep(QUOTES_EVERY_S)
            assert self._venue is not None
            self._quote(self._venue.concerned())
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
        revision = self._venue.revision()
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
            depth = NO_BOOK_USDT / mark
            bids = ((mark * (1 - NO_BOOK_FRAC), depth),)
            asks = ((mark * (1 + NO_BOOK_FRAC), depth),)
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
        self._account().ws_message(self._now_ms(), number, payload)

    def ping(self, number: int) -> None:
        """It is always there while we are."""
        listener = self._links.get(number)
        if listener is not None:
            asyncio.get_running_loop().call_soon(listener.on_pong)

    def hang_up(self, number: int, code: int) -> None:
        """Our end closes."""
        listener = self._links.pop(number, None)
        self._account().ws_close(self._now_ms(), number)
        if listener is not None:
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


def _levels(prices: Any, quantities: Any) -> tuple[tuple[float, float], ...]:
    rows = zip(prices.tolist(), quantities.tolist(), strict=True)
    return tuple((price, qty) for price, qty in rows if price > 0 and qty > 0)
