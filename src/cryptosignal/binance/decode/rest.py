"""REST answers as domain values and arrays (BINANCE §2)."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from cryptosignal.binance.decode.account import margin_type, money, order_kind, side_of
from cryptosignal.binance.decode.garbled import Garbled, decoded
from cryptosignal.binance.limits import Limits, parse_limits
from cryptosignal.binance.wire import rest as wire
from cryptosignal.binance.wire.numbers import float_or_nan
from cryptosignal.domain.instrument import Filters, Instrument, LeverageBracket
from cryptosignal.domain.market import MarkPrice
from cryptosignal.domain.position import (
    VenueAlgo,
    VenueBalance,
    VenueOrder,
    VenuePosition,
    VenueTrade,
)

Floats = NDArray[np.float64]

KLINE_FIELDS: Final = 11
"""Columns of a klines array: open_ms, o, h, l, c, v, close_ms, quote, trades, taker base, taker quote."""


class ExchangeRules(msgspec.Struct, frozen=True, gc=False):
    """What exchangeInfo says: the contracts, the venue's limits, and what flow is made up (none at
    the real venue)."""

    instruments: tuple[Instrument, ...]
    limits: Limits
    synthetic_flow: tuple[str, ...] = ()


class DepthSnapshot(msgspec.Struct, frozen=True, gc=False):
    """A book by REST: `bids`/`asks` are float64[n, 2] of price and quantity, best first."""

    last_update_id: int
    event_ms: int
    bids: Floats
    asks: Floats


class OpenInterest(msgspec.Struct, frozen=True, gc=False):
    """One row of open interest history, in contracts (base units) and USDT."""

    time_ms: int
    contracts: float
    value_usdt: float


class Funding(msgspec.Struct, frozen=True, gc=False):
    """One settled funding: rate per interval; `mark` NaN where the venue gives none."""

    symbol: str
    time_ms: int
    rate: float
    mark: float


class Ticker(msgspec.Struct, frozen=True, gc=False):
    """24 h statistics of one symbol."""

    symbol: str
    last: float
    open: float
    high: float
    low: float
    volume: float
    quote_volume_usdt: float
    trades: int
    close_ms: int


class Income(msgspec.Struct, frozen=True, gc=False):
    """One booking of the account: funding, fee, realised PnL, transfer; `tran_id` is its identity."""

    kind: str
    amount: Decimal
    asset: str
    symbol: str
    time_ms: int
    tran_id: int
    trade_id: str
    info: str = ""


class KeyRights(msgspec.Struct, frozen=True, gc=False):
    """What an API key may do (RELIABILITY §4)."""

    ip_restricted: bool
    can_withdraw: bool
    can_transfer: bool
    can_trade_futures: bool

    def refusal(self) -> str:
        """Why this key must not trade, or "" if it may."""
        if self.can_withdraw:
            return "the key may withdraw: disable withdrawals"
        if self.can_transfer:
            return "the key may transfer: disable internal and universal transfer"
        if not self.ip_restricted:
            return "the key works from any address: restrict it to this host's IP"
        if not self.can_trade_futures:
            return "the key may not trade futures: enable futures"
        return ""


def _lax(kind: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(kind, strict=False)


_TIME: Final = _lax(wire.ServerTime)
_INFO: Final = _lax(wire.ExchangeInfo)
_KLINES: Final = _lax(list[wire.KlineRow])
_DEPTH: Final = _lax(wire.Depth)
_PREMIUM: Final = _lax(wire.PremiumIndex | list[wire.PremiumIndex])
_TICKERS: Final = _lax(wire.Ticker24h | list[wire.Ticker24h])
_OPEN_INTEREST: Final = _lax(list[wire.OpenInterestRow])
_FUNDING: Final = _lax(list[wire.FundingRow])
_FUNDING_INFO: Final = _lax(list[wire.FundingInfoRow])
_ORDER: Final = _lax(wire.OrderReply)
_ORDERS: Final = _lax(list[wire.OrderReply])
_ALGO: Final = _lax(wire.AlgoReply)
_ALGOS: Final = _lax(list[wire.AlgoReply])
_BALANCES: Final = _lax(list[wire.BalanceInfo])
_POSITIONS: Final = _lax(list[wire.PositionInfo])
_TRADES: Final = _lax(list[wire.UserTrade])
_INCOME: Final = _lax(list[wire.IncomeRow])
_DUAL: Final = _lax(wire.DualSide)
_BRACKETS: Final = _lax(list[wire.SymbolBrackets])
_LISTEN_KEY: Final = _lax(wire.ListenKey)
_RIGHTS: Final = _lax(wire.ApiRestrictions)
_ERROR: Final = _lax(wire.ErrorBody)


def error_body(body: bytes) -> tuple[int, str]:
    """Code and message of an error answer; (0, text) for one that is not JSON (a proxy, a WAF)."""
    try:
        error: wire.ErrorBody = _ERROR.decode(body)
        return int(error.code), error.msg
    except (msgspec.DecodeError, UnicodeDecodeError, ValueError):
        return 0, body[:200].decode(errors="replace").strip()


def server_time(body: bytes) -> int:
    """The venue's time in ms."""
    answer: wire.ServerTime = decoded(_TIME, body, "time")
    return answer.server_time


def exchange_rules(body: bytes) -> ExchangeRules:
    """All contracts with their filters, and the limits.

    A symbol without a tick or a step (some pre-market listings) cannot be traded and is left out.
    """
    info: wire.ExchangeInfo = decoded(_INFO, body, "exchangeInfo")
    instruments = []
    for row in info.symbols:
        filters = _filters(row)
        if filters is not None:
            instruments.append(_instrument(row, filters))
    limits = parse_limits(info.rate_limits)
    return ExchangeRules(tuple(instruments), limits, tuple(info.synthetic_flow))


def _instrument(row: wire.SymbolInfo, filters: Filters) -> Instrument:
    return Instrument(
        symbol=row.symbol,
        base=row.base_asset,
        quote=row.quote_asset,
        status=row.status,
        contract_type=row.contract_type,
        underlying_type=row.underlying_type,
        onboard_ms=row.onboard_date,
        delivery_ms=row.delivery_date,
        filters=filters,
        price_precision=row.price_precision,
        quantity_precision=row.quantity_precision,
        trigger_protect_frac=money(row.trigger_protect),
        liquidation_fee_frac=money(row.liquidation_fee),
        market_take_bound_frac=money(row.market_take_bound),
        underlying_sub_type=tuple(row.underlying_sub_type),
    )


def _filters(row: wire.SymbolInfo) -> Filters | None:
    rules = {rule.filter_type: rule for rule in row.filters}
    price, lot = rules.get("PRICE_FILTER"), rules.get("LOT_SIZE")
    if price is None or lot is None or not money(price.tick_size) or not money(lot.step_size):
        return None
    market = rules.get("MARKET_LOT_SIZE", lot)
    notional, percent = rules.get("MIN_NOTIONAL"), rules.get("PERCENT_PRICE")
    count = rules.get("MAX_NUM_ORDERS")
    return Filters(
        tick_size=money(price.tick_size),
        min_price=money(price.min_price),
        max_price=money(price.max_price),
        step_size=money(lot.step_size),
        min_qty=money(lot.min_qty),
        max_qty=money(lot.max_qty),
        market_step_size=money(market.step_size),
        market_min_qty=money(market.min_qty),
        market_max_qty=money(market.max_qty),
        min_notional_usdt=money(notional.notional) if notional else Decimal(0),
        multiplier_up=money(percent.multiplier_up) if percent else Decimal(0),
        multiplier_down=money(percent.multiplier_down) if percent else Decimal(0),
        max_num_orders=(count.limit or 0) if count else 0,
    )


def klines(body: bytes) -> Floats:
    """float64[n, 11] rows as in `KLINE_FIELDS`, ascending by open time (venue order kept)."""
    rows: list[Any] = decoded(_KLINES, body, "klines")
    if not rows:
        return np.empty((0, KLINE_FIELDS), dtype=np.float64)
    return np.array([row[:KLINE_FIELDS] for row in rows], dtype=np.float64)


def depth(body: bytes) -> DepthSnapshot:
    """A book snapshot."""
    book: wire.Depth = decoded(_DEPTH, body, "depth")
    return DepthSnapshot(book.lastUpdateId, book.E, _levels(book.bids), _levels(book.asks))


def _levels(rows: list[tuple[float, float]]) -> Floats:
    return np.array(rows, dtype=np.float64).reshape(len(rows), 2)


def premium_index(body: bytes) -> tuple[MarkPrice, ...]:
    """Mark, index and current funding of one symbol or all."""
    answer = decoded(_PREMIUM, body, "premiumIndex")
    rows = answer if isinstance(answer, list) else [answer]
    return tuple(
        MarkPrice(
            symbol=row.symbol,
            event_ms=row.time,
            mark=row.mark_price,
            index=row.index_price,
            funding_rate=float_or_nan(row.last_funding_rate),
            next_funding_ms=row.next_funding_time,
        )
        for row in rows
    )


def tickers_24h(body: bytes) -> tuple[Ticker, ...]:
    """24 h statistics of one symbol or all."""
    answer = decoded(_TICKERS, body, "ticker/24hr")
    rows = answer if isinstance(answer, list) else [answer]
    return tuple(
        Ticker(
            symbol=row.symbol,
            last=row.last_price,
            open=row.open_price,
            high=row.high_price,
            low=row.low_price,
            volume=row.volume,
            quote_volume_usdt=row.quote_volume,
            trades=row.count,
            close_ms=row.close_time,
        )
        for row in rows
    )


def open_interest(body: bytes) -> tuple[OpenInterest, ...]:
    """Open interest history, ascending."""
    rows: list[wire.OpenInterestRow] = decoded(_OPEN_INTEREST, body, "openInterestHist")
    return tuple(
        OpenInterest(row.timestamp, row.sumOpenInterest, row.sumOpenInterestValue) for row in rows
    )


def funding(body: bytes) -> tuple[Funding, ...]:
    """Settled funding, ascending."""
    rows: list[wire.FundingRow] = decoded(_FUNDING, body, "fundingRate")
    return tuple(
        Funding(row.symbol, row.funding_time, row.funding_rate, float_or_nan(row.mark_price))
        for row in rows
    )


def funding_hours(body: bytes) -> dict[str, int]:
    """Funding interval in hours of the symbols that differ from 8."""
    rows: list[wire.FundingInfoRow] = decoded(_FUNDING_INFO, body, "fundingInfo")
    return {row.symbol: row.funding_interval_hours for row in rows}


def order(body: bytes) -> VenueOrder:
    """An ordinary order, from placing, cancelling or querying it."""
    return _order(decoded(_ORDER, body, "order"))


def orders(body: bytes) -> tuple[VenueOrder, ...]:
    """Open (or all) ordinary orders."""
    return tuple(_order(row) for row in decoded(_ORDERS, body, "openOrders"))


def _order(row: wire.OrderReply) -> VenueOrder:
    return VenueOrder(
        symbol=row.symbol,
        client_id=row.client_order_id,
        order_id=row.order_id,
        side=side_of(row.side),
        kind=row.type,
        status=row.status,
        quantity=money(row.orig_qty),
        executed=money(row.executed_qty),
        average_price=money(row.avg_price),
        price=money(row.price),
        reduce_only=row.reduce_only,
        update_ms=row.update_time or row.time,
    )


def algo(body: bytes) -> VenueAlgo:
    """A conditional order, from placing or querying it."""
    return _algo(decoded(_ALGO, body, "algoOrder"))


def algos(body: bytes) -> tuple[VenueAlgo, ...]:
    """Open conditional orders."""
    return tuple(_algo(row) for row in decoded(_ALGOS, body, "openAlgoOrders"))


def _algo(row: wire.AlgoReply) -> VenueAlgo:
    return VenueAlgo(
        symbol=row.symbol,
        client_id=row.client_algo_id,
        algo_id=row.algo_id,
        side=side_of(row.side),
        kind=order_kind(row.order_type),
        status=row.algo_status,
        quantity=money(row.quantity),
        trigger_price=money(row.trigger_price),
        reduce_only=row.reduce_only,
        close_position=row.close_position,
        child_order_id=str(row.actual_order_id or ""),
        executed=money(row.actual_qty),
        average_price=money(row.actual_price),
        update_ms=row.update_time or row.create_time,
    )


def balances(body: bytes) -> tuple[VenueBalance, ...]:
    """Wallets of all assets."""
    rows: list[wire.BalanceInfo] = decoded(_BALANCES, body, "balance")
    return tuple(
        VenueBalance(row.asset, money(row.balance), money(row.available_balance)) for row in rows
    )


def positions(body: bytes) -> tuple[VenuePosition, ...]:
    """Positions, rows without quantity left out. v3 names no margin type: an isolated wallet tells."""
    rows: list[wire.PositionInfo] = decoded(_POSITIONS, body, "positionRisk")
    return tuple(_position(row) for row in rows if money(row.position_amt))


def _position(row: wire.PositionInfo) -> VenuePosition:
    isolated = money(row.isolated_wallet) or money(row.isolated_margin)
    return VenuePosition(
        symbol=row.symbol,
        quantity=money(row.position_amt),
        entry_price=money(row.entry_price),
        margin_type=margin_type(row.margin_type or ("isolated" if isolated else "cross")),
        position_side=row.position_side,
        unrealized_usdt=money(row.un_realized_profit),
    )


def user_trades(body: bytes) -> tuple[VenueTrade, ...]:
    """Executions of the account, ascending by id."""
    rows: list[wire.UserTrade] = decoded(_TRADES, body, "userTrades")
    return tuple(
        VenueTrade(
            symbol=row.symbol,
            trade_id=row.id,
            order_id=row.order_id,
            side=side_of(row.side),
            quantity=money(row.qty),
            price=money(row.price),
            fee=money(row.commission),
            fee_asset=row.commission_asset,
            realized_usdt=money(row.realized_pnl),
            time_ms=row.time,
        )
        for row in rows
    )


def income(body: bytes) -> tuple[Income, ...]:
    """Bookings of the account."""
    rows: list[wire.IncomeRow] = decoded(_INCOME, body, "income")
    return tuple(
        Income(
            kind=row.income_type,
            amount=money(row.income),
            asset=row.asset,
            symbol=row.symbol,
            time_ms=row.time,
            tran_id=row.tran_id,
            trade_id=str(row.trade_id),
            info=row.info,
        )
        for row in rows
    )


def leverage_brackets(body: bytes) -> dict[str, tuple[LeverageBracket, ...]]:
    """The account's brackets of each symbol, ascending by notional."""
    rows: list[wire.SymbolBrackets] = decoded(_BRACKETS, body, "leverageBracket")
    return {
        row.symbol: tuple(
            sorted(
                (LeverageBracket(b.notional_cap, b.initial_leverage) for b in row.brackets),
                key=lambda bracket: bracket.notional_max_usdt,
            )
        )
        for row in rows
    }


def hedge_mode(body: bytes) -> bool:
    """True if the account keeps long and short positions apart."""
    answer: wire.DualSide = decoded(_DUAL, body, "positionSide/dual")
    return answer.dual_side_position


def listen_key(body: bytes) -> str:
    """The key of a user-data stream."""
    answer: wire.ListenKey = decoded(_LISTEN_KEY, body, "listenKey")
    if not answer.listen_key:
        raise Garbled("listenKey: empty")
    return answer.listen_key


def key_rights(body: bytes) -> KeyRights:
    """What an API key may do."""
    answer: wire.ApiRestrictions = decoded(_RIGHTS, body, "apiRestrictions")
    return KeyRights(
        ip_restricted=answer.ip_restrict,
        can_withdraw=answer.enable_withdrawals,
        can_transfer=answer.enable_internal_transfer or answer.permits_universal_transfer,
        can_trade_futures=answer.enable_futures,
    )
