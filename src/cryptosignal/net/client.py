"""REST calls to the venue in our words: one method a question, one request a call (RELIABILITY §3.3).

Every call asks the ledger first and reports to it after. Nothing is retried here but the questions
of one snapshot, which change nothing. `place`, `cancel` and `look_up` never raise for what the venue
or the network does: they answer what was proved.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, Protocol, TypeVar
from urllib.parse import urlsplit

import numpy as np

from cryptosignal.binance import encode
from cryptosignal.binance.budget import Lane
from cryptosignal.binance.codes import Disposition, outcome_of
from cryptosignal.binance.decode import rest
from cryptosignal.binance.decode.garbled import Garbled
from cryptosignal.binance.limits import KLINE_ROWS_BEST
from cryptosignal.domain.events import (
    AccountSnapshotTaken,
    CancelReplied,
    CountdownReplied,
    OrderLookedUp,
    OrderReplied,
    OrderSent,
    SendOutcome,
    SnapshotFailed,
)
from cryptosignal.domain.instrument import LeverageBracket
from cryptosignal.domain.market import MarkPrice
from cryptosignal.domain.order import OrderIntent
from cryptosignal.domain.position import VenueTrade
from cryptosignal.ground.faults import (
    EdgeFault,
    Fault,
    RateLimited,
    Refused,
    Unreachable,
    VenueFault,
)
from cryptosignal.ground.secret import Secret
from cryptosignal.ground.units import DAY_MS
from cryptosignal.net.caller import UNASKED, Caller, HeldBack, meaning_of
from cryptosignal.net.caller import MovableClock as MovableClock

_T = TypeVar("_T")

USER_TRADES_SPAN_MS: Final = 7 * DAY_MS
"""Longest window of one userTrades call (BINANCE §2.2)."""

PURPOSE_CONNECTED: Final = "connected"
PURPOSE_SILENCE: Final = "silence"
PURPOSE_GARBLED: Final = "garbled"
READ_TRIES: Final = 3
"""How often one question of a snapshot is asked at most. Eight answers are needed at once, so where a
few in a hundred get lost the whole would hardly ever succeed. Three patient tries stay within
`trading.snapshot_timeout_ms`."""
READ_PAUSE_S: Final = 0.25
"""The pause before the second try; twice as long before the third."""
READ_AT_START: Final = "start"
READ_AFTER_RECONNECT: Final = "reconnect"
READ_AS_AUDIT: Final = "audit"
READ_AS_PROOF: Final = "proof"
READ_WHEN_ASKED: Final = "asked"
_READ_FOR: Final = {
    "start": READ_AT_START,
    "stream": READ_AFTER_RECONNECT,
    PURPOSE_CONNECTED: READ_AFTER_RECONNECT,
    "audit": READ_AS_AUDIT,
    PURPOSE_SILENCE: READ_AS_AUDIT,
    PURPOSE_GARBLED: READ_AS_AUDIT,
    "proof": READ_AS_PROOF,
    "mismatch": READ_AS_PROOF,
    "fills": READ_AS_PROOF,
    "asked": READ_WHEN_ASKED,
    "test": READ_WHEN_ASKED,
}
"""What a snapshot is counted as, by the first word of its purpose; anything else is polling."""

NO_CHANGE_MARGIN_TYPE: Final = -4046


class VenueClient(Caller):
    """One venue by REST: the questions that the program asks, and the answers in its words."""

    _hedge_mode: bool | None = None

    @property
    def audit_calls(self) -> int:
        """Requests that check the account rather than decide (DESIGN §5.19): audits, and what follows a
        reconnect."""
        return self.account_reads[READ_AS_AUDIT] + self.account_reads[READ_AFTER_RECONNECT]

    # ---- market ------------------------------------------------------------------------
    async def exchange_info(self, lane: Lane = Lane.REPAIR) -> rest.ExchangeRules:
        """Contracts, filters and limits; the limits are put in force in the ledger."""
        rules = rest.exchange_rules(await self._get(encode.EXCHANGE_INFO, lane))
        self._ledger.set_limits(rules.limits)
        return rules

    async def klines(
        self,
        symbol: str,
        interval: str,
        limit: int,
        start_ms: int = 0,
        end_ms: int = 0,
        lane: Lane = Lane.REPAIR,
    ) -> rest.Floats:
        """float64[n, 11] candles, ascending; the forming one is the last row if the span reaches it.

        More rows than one cheap request gives are read in steps of 499 (weight 2 each): forward from
        `start_ms` if it is given, else backward from `end_ms` or now.
        """
        return await self._candles(
            self._futures_klines, symbol, interval, limit, start_ms, end_ms, lane
        )

    async def spot_klines(
        self,
        symbol: str,
        interval: str,
        limit: int,
        start_ms: int = 0,
        end_ms: int = 0,
        lane: Lane = Lane.REPAIR,
    ) -> rest.Floats:
        """float64[n, 11] candles of the spot venue; raises Refused where no spot URL is configured."""
        return await self._candles(
            self._spot_klines, symbol, interval, limit, start_ms, end_ms, lane
        )

    async def depth(
        self, symbol: str, limit: int = 1000, lane: Lane = Lane.REPAIR
    ) -> rest.DepthSnapshot:
        """A book snapshot of `limit` levels a side (5, 10, 20, 50, 100, 500, 1000)."""
        return rest.depth(await self._get(encode.depth(symbol, limit), lane))

    async def premium_index(
        self, symbol: str = "", lane: Lane = Lane.REPAIR
    ) -> tuple[MarkPrice, ...]:
        """Marks and current funding of one symbol, or of all for weight 10."""
        return rest.premium_index(await self._get(encode.premium_index(symbol), lane))

    async def tickers_24h(
        self, symbol: str = "", lane: Lane = Lane.REPAIR
    ) -> tuple[rest.Ticker, ...]:
        """24 h statistics of one symbol, or of all for weight 40."""
        return rest.tickers_24h(await self._get(encode.tickers_24h(symbol), lane))

    async def open_interest_hist(
        self,
        symbol: str,
        period: str,
        limit: int,
        start_ms: int = 0,
        end_ms: int = 0,
        lane: Lane = Lane.REPAIR,
    ) -> tuple[rest.OpenInterest, ...]:
        """Open interest history, ascending, at most 500 rows of the last month."""
        call = encode.open_interest_hist(symbol, period, limit, start_ms, end_ms)
        return rest.open_interest(await self._get(call, lane))

    async def funding_history(
        self,
        symbol: str,
        limit: int = 100,
        start_ms: int = 0,
        end_ms: int = 0,
        lane: Lane = Lane.REPAIR,
    ) -> tuple[rest.Funding, ...]:
        """Settled funding, ascending, at most 1000 rows."""
        call = encode.funding_rate(symbol, limit, start_ms, end_ms)
        return rest.funding(await self._get(call, lane))

    async def funding_hours(self, lane: Lane = Lane.REPAIR) -> dict[str, int]:
        """Funding interval in hours of the symbols that differ from 8."""
        return rest.funding_hours(await self._get(encode.FUNDING_INFO, lane))

    # ---- orders ---------------------------------------------------------------------------------
    async def place(
        self, intent: OrderIntent, on_sent: Callable[[OrderSent], None] | None = None
    ) -> OrderReplied:
        """Send one order once and say what the answer proved.

        `on_sent` is called synchronously with the request's timestamp, right before it leaves: the
        fence of RELIABILITY §3.2 counts from there. UNKNOWN ends by look-up only, never by sending
        again. Raises ContractFault for an intent that could never be accepted, nothing else.
        """
        call = encode.place(intent)
        symbol, client_id = intent.symbol, intent.client_id

        def note(timestamp_ms: int) -> None:
            if on_sent is not None:
                on_sent(OrderSent(client_id, symbol, timestamp_ms, self.recv_window_ms))

        try:
            body = await self._order_call(call, note)
            order_id, status, server_ms = self._placed(intent, body)
        except Fault as fault:
            outcome, code, message = _proved(fault)
            return OrderReplied(
                client_id, symbol, outcome, code, message, server_ms=self._clock.now_ms()
            )
        return OrderReplied(
            client_id,
            symbol,
            SendOutcome.ACKED,
            order_id=order_id,
            status=status,
            server_ms=server_ms,
        )

    async def cancel(self, client_id: str, symbol: str, is_algo: bool) -> CancelReplied:
        """Cancel one order once. REJECTED with -2011 is a question: look the order up (D9)."""
        try:
            await self._order_call(encode.cancel(client_id, symbol, is_algo))
        except Fault as fault:
            outcome, code, message = _proved(fault)
            return CancelReplied(client_id, symbol, outcome, code, message, self._clock.now_ms())
        return CancelReplied(client_id, symbol, SendOutcome.ACKED, server_ms=self._clock.now_ms())

    async def cancel_all(self, symbol: str) -> None:
        """Cancel every ordinary order of a symbol, whoever placed it; raises what went wrong."""
        await self._order_call(encode.cancel_all(symbol))

    async def count_down(self, symbol: str, countdown_ms: int) -> CountdownReplied:
        """Set, renew or stop (0) the countdown after which the venue cancels a symbol's orders."""
        asked_ms = self._clock.now_ms()
        try:
            await self._order_call(encode.count_down(symbol, countdown_ms))
        except Fault as fault:
            outcome, _, message = _proved(fault)
            return CountdownReplied(symbol, countdown_ms, outcome, asked_ms, message)
        return CountdownReplied(symbol, countdown_ms, SendOutcome.ACKED, asked_ms)

    async def look_up(self, client_id: str, symbol: str, is_algo: bool) -> OrderLookedUp:
        """Ask for one order. `found` is False on the venue's word alone (-2013), None if we cannot know.

        `server_ms` is when the question left: what it says about absence holds for that time at best,
        and read replicas may lag behind even that (BINANCE §6).
        """
        stamp_ms = self._stopwatch()
        try:
            body = await self._order_call(encode.look_up(client_id, symbol, is_algo))
            if is_algo:
                algo = rest.algo(body)
                return OrderLookedUp(client_id, symbol, found=True, server_ms=stamp_ms(), algo=algo)
            order = rest.order(body)
            return OrderLookedUp(client_id, symbol, found=True, server_ms=stamp_ms(), order=order)
        except Refused as fault:
            found = False if meaning_of(fault) is Disposition.GONE else None
            return OrderLookedUp(client_id, symbol, found, stamp_ms())
        except (EdgeFault, VenueFault):
            return OrderLookedUp(client_id, symbol, None, stamp_ms())

    def _stopwatch(self) -> Callable[[], int]:
        """The present moment, to be asked for later: as the clock, if put right since, would say it."""
        at_ms, offset_ms = self._clock.now_ms(), self._clock.offset_ms
        return lambda: at_ms + self._clock.offset_ms - offset_ms

    # ---- account --------------------------------------------------------------------------------
    async def snapshot(
        self,
        purpose: str,
        symbols: tuple[str, ...] = (),
        trades_since_ms: int = 0,
        lane: Lane = Lane.RECONCILE,
    ) -> AccountSnapshotTaken | SnapshotFailed:
        """Balances, positions, open orders of both books, and the trades of `symbols`, read together.

        The reads leave concurrently and are not one moment at the venue: `requested_ms` is when the
        first left, `server_ms` the venue time of the last answer. A question whose answer got lost is
        asked again, `READ_TRIES` times in all; any failure beyond that proves nothing.
        """
        requested_ms = self._stopwatch()
        why = _READ_FOR.get(purpose.partition(" ")[0], UNASKED)

        async def read(call: encode.Call, decode: Callable[[bytes], _T]) -> _T:
            return await self._ask_again(call, decode, lane, why)

        try:
            if self._hedge_mode is None:
                self._hedge_mode = await read(encode.HEDGE_MODE, rest.hedge_mode)
            async with asyncio.TaskGroup() as group:
                balances = group.create_task(read(encode.BALANCE, rest.balances))
                positions = group.create_task(read(encode.POSITIONS, rest.positions))
                orders = group.create_task(read(encode.OPEN_ORDERS, rest.orders))
                algos = group.create_task(read(encode.OPEN_ALGOS, rest.algos))
                trades = [
                    group.create_task(self._user_trades(symbol, trades_since_ms, lane, why))
                    for symbol in symbols
                ]
            return AccountSnapshotTaken(
                purpose=purpose,
                requested_ms=requested_ms(),
                server_ms=self._clock.now_ms(),
                balances=balances.result(),
                positions=positions.result(),
                orders=orders.result(),
                algos=algos.result(),
                trades=tuple(trade for task in trades for trade in task.result()),
                hedge_mode=self._hedge_mode,
            )
        except* (EdgeFault, VenueFault) as group_fault:
            reason = str(_first(group_fault))
        return SnapshotFailed(purpose, reason)

    async def _ask_again(
        self, call: encode.Call, decode: Callable[[bytes], _T], lane: Lane, why: str
    ) -> _T:
        """A question that changes nothing, asked until it is answered, `READ_TRIES` times at most."""
        for tried in range(READ_TRIES - 1):
            try:
                return decode(await self._get(call, lane, purpose=why))
            except (EdgeFault, VenueFault) as fault:
                if not _may_ask_again(fault):
                    raise
            await asyncio.sleep(READ_PAUSE_S * 2**tried)
        return decode(await self._get(call, lane, purpose=why))

    async def leverage_brackets(
        self, lane: Lane = Lane.RECONCILE
    ) -> dict[str, tuple[LeverageBracket, ...]]:
        """What leverage our account may take at which notional, by symbol."""
        return rest.leverage_brackets(await self._get(encode.BRACKETS, lane))

    async def set_leverage(self, symbol: str, leverage: int) -> None:
        """Set a symbol's leverage; raises Refused with the venue's code."""
        await self._order_call(encode.set_leverage(symbol, leverage))

    async def set_margin_type(self, symbol: str, margin_type: str) -> None:
        """Set `cross` or `isolated`; "no need to change" (-4046) is success."""
        try:
            await self._order_call(encode.set_margin_type(symbol, margin_type))
        except Refused as fault:
            if fault.code != NO_CHANGE_MARGIN_TYPE:
                raise

    async def listen_key_start(self) -> Secret:
        """A key for the private stream; asking again while one lives gives the same and extends it."""
        return Secret(rest.listen_key(await self._order_call(encode.LISTEN_KEY_START)))

    async def listen_key_keep(self) -> None:
        """Extend the key by 60 min; raises Refused -1125 when it is gone."""
        await self._order_call(encode.LISTEN_KEY_KEEP)

    async def listen_key_close(self) -> None:
        """Give the key up."""
        await self._order_call(encode.LISTEN_KEY_CLOSE)

    async def api_restrictions(self, lane: Lane = Lane.RECONCILE) -> rest.KeyRights | None:
        """What our key may do; None where the venue has no such endpoint (testnet, BINANCE §1)."""
        if not self._sapi_url:
            return None
        body = await self._get(encode.API_RESTRICTIONS, lane, base_url=self._sapi_url)
        return rest.key_rights(body)

    async def income(
        self, start_ms: int, end_ms: int, lane: Lane = Lane.RESEARCH
    ) -> tuple[rest.Income, ...]:
        """Every booking between two times, paged by time since the venue dropped `page` (2026-10)."""
        found: dict[tuple[int, str, str], rest.Income] = {}
        from_ms = start_ms
        while from_ms <= end_ms:
            rows = rest.income(await self._get(encode.income(from_ms, end_ms), lane))
            for row in rows:
                found[(row.tran_id, row.kind, row.symbol)] = row
            if len(rows) < encode.ROWS_MAX:
                break
            last_ms = max(row.time_ms for row in rows)
            from_ms = last_ms if last_ms > from_ms else from_ms + 1
        return tuple(sorted(found.values(), key=lambda row: (row.time_ms, row.tran_id)))

    # ---- what was placed ------------------------------------------------------------------------
    def _placed(self, intent: OrderIntent, body: bytes) -> tuple[int, str, int]:
        if intent.kind.is_algo:
            algo = rest.algo(body)
            return algo.algo_id, algo.status, algo.update_ms
        order = rest.order(body)
        return order.order_id, order.status, order.update_ms

    # ---- pages ------------------------------------------------------------------------------------
    async def _futures_klines(self, call_args: _KlineArgs, lane: Lane) -> rest.Floats:
        return rest.klines(await self._get(encode.klines(*call_args), lane))

    async def _spot_klines(self, call_args: _KlineArgs, lane: Lane) -> rest.Floats:
        if not self._spot_url:
            raise Refused(0, "no spot venue is configured", 404)
        call = encode.spot_klines(*call_args)
        return rest.klines(await self._get(call, lane, base_url=self._spot_url))

    async def _candles(
        self,
        read: _KlineReader,
        symbol: str,
        interval: str,
        limit: int,
        start_ms: int,
        end_ms: int,
        lane: Lane,
    ) -> rest.Floats:
        pages: list[rest.Floats] = []
        wanted = limit
        while wanted > 0:
            step = min(wanted, KLINE_ROWS_BEST)
            rows = await read((symbol, interval, step, start_ms, end_ms), lane)
            if not len(rows):
                break
            pages.append(rows)
            wanted -= len(rows)
            if len(rows) < step:
                break
            if start_ms:
                start_ms = int(rows[-1, 6]) + 1
                if end_ms and start_ms > end_ms:
                    break
            else:
                end_ms = int(rows[0, 0]) - 1
        if not pages:
            return np.empty((0, rest.KLINE_FIELDS), dtype=np.float64)
        return np.concatenate(pages if start_ms else pages[::-1])

    async def _user_trades(
        self, symbol: str, since_ms: int, lane: Lane, why: str
    ) -> tuple[VenueTrade, ...]:
        """Trades of one symbol since `since_ms` (0: the venue's default, the last 7 days).

        A window that starts more than 7 days ago is walked week by week; a full page goes on by id.
        """
        found: dict[int, VenueTrade] = {}
        start_ms, from_id = since_ms, 0
        for _ in range(self._settings.trade_pages_max):
            call = encode.user_trades(symbol, start_ms, from_id)
            rows = await self._ask_again(call, rest.user_trades, lane, why)
            found.update((row.trade_id, row) for row in rows)
            if len(rows) == encode.ROWS_MAX:
                from_id = max(row.trade_id for row in rows) + 1
            elif start_ms and not from_id and start_ms + USER_TRADES_SPAN_MS < self._clock.now_ms():
                start_ms += USER_TRADES_SPAN_MS
            else:
                return tuple(found[key] for key in sorted(found))
        raise Garbled(f"userTrades {symbol}: more than {self._settings.trade_pages_max} pages")


_KlineArgs = tuple[str, str, int, int, int]


class _KlineReader(Protocol):
    async def __call__(self, call_args: _KlineArgs, lane: Lane) -> rest.Floats: ...


_PASSING: Final = frozenset(
    {Disposition.UNKNOWN, Disposition.NOT_SENT_OR_FAILED, Disposition.CLOCK}
)
"""Refusals that the next moment may lift; after -1021 the time has been measured anew."""


def _proved(fault: Fault) -> tuple[SendOutcome, int, str]:
    """Outcome, code and text of a failed call that changes state."""
    if isinstance(fault, Unreachable):
        return SendOutcome.NOT_SENT, 0, str(fault)
    if isinstance(fault, RateLimited):
        return SendOutcome.REJECTED, -1003, str(fault)
    if isinstance(fault, Refused):
        return outcome_of(meaning_of(fault)), fault.code, fault.message
    if isinstance(fault, EdgeFault | Garbled):
        return SendOutcome.UNKNOWN, 0, str(fault)
    raise fault


def _may_ask_again(fault: EdgeFault | VenueFault) -> bool:
    """The answer got lost or is unreadable, or the venue says that it could not answer just now."""
    if isinstance(fault, Refused):
        return meaning_of(fault) in _PASSING
    return isinstance(fault, EdgeFault | Garbled) and not isinstance(fault, HeldBack)


def _first(group: BaseExceptionGroup[Fault]) -> BaseException:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def ledger_host(rest_url: str) -> str:
    """The name under which processes share a venue's ledger: its network location."""
    return urlsplit(rest_url).netloc
