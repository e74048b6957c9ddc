"""Candle files as a market: reading them, and a path that walks their bars (DATA=…).

Columns: symbol, open_time, open, high, low, close, volume and optionally quote_volume, trades,
taker_buy_volume. Prices and volumes become integers of the decimals that the file shows.
"""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path as FilePath
from typing import Any

import msgspec
import numpy as np

from cryptosignal.ground.faults import UserFault
from cryptosignal.ground.units import DAY_MS, INTERVAL_MS, MINUTE_MS
from cryptosignal.sim.bars import Bars
from cryptosignal.sim.listing import (
    PERPETUAL_DELIVERY_MS,
    Listed,
    brackets_for,
    digits_for,
    known_names,
)
from cryptosignal.sim.noise import F64, I64, key_of, normals
from cryptosignal.sim.path import CutPath
from cryptosignal.sim.settings import SYMBOLS_MAX, VenueSettings

NEEDED = ("symbol", "open_time", "open", "high", "low", "close", "volume")
OPTIONAL = ("quote_volume", "trades", "taker_buy_volume")
_FIRST_MS = 1_262_304_000_000  # 2010-01-01: seconds read as milliseconds fall before it
_END_MS = 4_102_444_800_000  # 2100-01-01: microseconds fall after it
DIGITS_MAX = 8
STEPS_A_BAR = 400
"""The volume step is made fine enough that a thin bar still holds this many steps."""


class SymbolCandles(msgspec.Struct, frozen=True, eq=False):
    """One symbol's bars as the file has them; optional columns empty when absent."""

    symbol: str
    open_ms: I64
    open: F64
    high: F64
    low: F64
    close: F64
    volume: F64
    quote: F64
    trades: F64
    taker_buy: F64


class CandleSource(msgspec.Struct, frozen=True, eq=False):
    """A whole candle file. `missing` names the flow that it lacks and that is therefore synthetic."""

    name: str
    interval: str
    symbols: tuple[SymbolCandles, ...]
    missing: tuple[str, ...]

    def bar_time(self, number: int) -> int:
        """Open time of bar `number` of the file's time line: where a walk starts."""
        first = min(int(s.open_ms[0]) for s in self.symbols)
        last = max(int(s.open_ms[-1]) for s in self.symbols)
        return min(first + number * INTERVAL_MS[self.interval], last)

    def walk_time(self, number: int, symbols_min: int = 0) -> int:
        """Where a walk starts: bar `number`, or the first later one when `symbols_min` of the file's
        symbols are listed at once. A file that never lists so many starts at bar `number`."""
        start = self.bar_time(number)
        last = [int(s.open_ms[-1]) for s in self.symbols]
        for listed in sorted(int(s.open_ms[0]) for s in self.symbols):
            at = max(start, listed)
            count = sum(
                s.open_ms[0] <= at <= end for s, end in zip(self.symbols, last, strict=True)
            )
            if count >= symbols_min:
                return at
        return start

    @property
    def end_ms(self) -> int:
        """End of the last bar."""
        return max(int(s.open_ms[-1]) for s in self.symbols) + INTERVAL_MS[self.interval]


def load_candles(path: str) -> CandleSource:
    """Read a parquet or csv candle file. Raises UserFault with one line for anything unusable."""
    import polars as pl

    file = FilePath(path)
    if not file.is_file():
        raise UserFault(f"candle file {path}: not found (allowed: a .parquet or .csv file)")
    if file.suffix not in (".parquet", ".csv"):
        raise UserFault(
            f"candle file {path}: unknown kind {file.suffix!r} (allowed: .parquet, .csv)"
        )
    try:
        frame = pl.read_parquet(file) if file.suffix == ".parquet" else pl.read_csv(file)
    except (pl.exceptions.PolarsError, OSError, ValueError) as error:
        raise UserFault(f"candle file {path}: unreadable ({_one_line(error)})") from None
    lacking = [name for name in NEEDED if name not in frame.columns]
    if lacking:
        raise UserFault(
            f"candle file {path}: missing column {', '.join(lacking)} "
            f"(allowed: {', '.join(NEEDED)}[, {', '.join(OPTIONAL)}])"
        )
    if not frame.height:
        raise UserFault(f"candle file {path}: no rows")
    empty = [name for name in NEEDED if frame[name].null_count()]
    if empty:
        raise UserFault(f"candle file {path}: empty values in column {', '.join(empty)}")
    return _source(file.name, frame, pl)


def _one_line(error: Exception) -> str:
    return str(error).split("\n", 1)[0][:120]


def _source(name: str, frame: Any, pl: Any) -> CandleSource:
    extra = [c for c in OPTIONAL if c in frame.columns]
    numbers = [*NEEDED[2:], *extra]
    try:
        frame = frame.select(
            pl.col("symbol").cast(pl.Utf8),
            _times(frame, pl),
            *[pl.col(c).cast(pl.Float64) for c in numbers],
        ).sort("symbol", "open_time")
    except pl.exceptions.PolarsError as error:
        raise UserFault(
            f"candle file {name}: wrong type in a column ({_one_line(error)})"
        ) from None
    symbols = []
    for part in frame.partition_by("symbol", maintain_order=True):
        columns = {c: part[c].to_numpy() for c in numbers}
        symbols.append(_symbol(name, part["symbol"][0], part["open_time"].to_numpy(), columns))
    if len(symbols) > SYMBOLS_MAX:
        raise UserFault(
            f"candle file {name}: {len(symbols)} symbols (allowed: at most {SYMBOLS_MAX})"
        )
    missing = {
        "quote_volume": "quote_volume",
        "trades": "trade_count",
        "taker_buy_volume": "taker_flow",
    }
    lacks = tuple(word for column, word in missing.items() if column not in extra)
    return CandleSource(name, _interval(name, symbols), tuple(symbols), lacks)


def _times(frame: Any, pl: Any) -> Any:
    kind = frame.schema["open_time"]
    column = pl.col("open_time")
    if kind in (pl.Datetime, pl.Date) or isinstance(kind, pl.Datetime):
        return column.cast(pl.Datetime("ms")).cast(pl.Int64)
    return column.cast(pl.Int64)


def _symbol(name: str, symbol: str, times: I64, columns: dict[str, F64]) -> SymbolCandles:
    if not times.size or times.dtype.kind != "i" or not _is_epoch_ms(times):
        raise UserFault(
            f"candle file {name}: {symbol} has an open_time that is none"
            " (allowed: epoch milliseconds or timestamps from 2010 to 2099)"
        )
    none = np.zeros(0)
    o, h, low, c = (columns[k] for k in ("open", "high", "low", "close"))
    finite = np.isfinite(np.stack([o, h, low, c, columns["volume"]])).all()
    if (
        not finite
        or (low <= 0).any()
        or (columns["volume"] < 0).any()
        or (low > np.minimum(o, c)).any()
        or (h < np.maximum(o, c)).any()
    ):
        raise UserFault(
            f"candle file {name}: {symbol} has a bar with a missing number, a volume below 0,"
            " or a high and low that do not hold its prices"
        )
    if (np.diff(times) <= 0).any():
        raise UserFault(f"candle file {name}: {symbol} has two bars that open at the same time")
    return SymbolCandles(
        symbol,
        times.astype(np.int64),
        o,
        h,
        low,
        c,
        columns["volume"],
        columns.get("quote_volume", none),
        columns.get("trades", none),
        columns.get("taker_buy_volume", none),
    )


def _is_epoch_ms(times: I64) -> bool:
    return bool(times.min() >= _FIRST_MS and times.max() < _END_MS)


def _interval(name: str, symbols: list[SymbolCandles]) -> str:
    longest = max(symbols, key=lambda s: len(s.open_ms))
    gaps = np.diff(longest.open_ms)
    step = int(np.median(gaps)) if len(gaps) else 0
    for interval, width in INTERVAL_MS.items():
        if width == step:
            return interval
    allowed = ", ".join(INTERVAL_MS)
    raise UserFault(f"candle file {name}: bars are {step} ms apart (allowed: {allowed})")


def candle_listing(source: CandleSource, settings: VenueSettings, seed: int) -> tuple[Listed, ...]:
    """Symbols of the file as contracts: BTCUSDT and ETHUSDT first, then by turnover."""
    worth = {s.symbol: float((s.volume * s.close).mean()) for s in source.symbols}
    lead = {"BTCUSDT": 2, "ETHUSDT": 1}
    rows = sorted(source.symbols, key=lambda s: (-lead.get(s.symbol, 0), -worth[s.symbol]))
    bars_a_day = DAY_MS / INTERVAL_MS[source.interval]
    return tuple(
        _row(i, s, worth[s.symbol] * bars_a_day, settings, seed) for i, s in enumerate(rows)
    )


def _row(
    index: int, s: SymbolCandles, turnover: float, settings: VenueSettings, seed: int
) -> Listed:
    price = float(np.median(s.close))
    price_digits = _digits_of(
        np.concatenate([s.open[-300:], s.high[-300:], s.low[-300:], s.close[-300:]])
    )
    traded = s.volume[s.volume > 0]
    thin = float(np.quantile(traded, 0.01)) if len(traded) else 1.0
    qty_digits = 0
    while thin * 10**qty_digits < STEPS_A_BAR and qty_digits < DIGITS_MAX:
        qty_digits += 1
    qty_digits = max(qty_digits, _digits_of(s.volume[-300:]))
    base = s.symbol[:-4] if s.symbol.endswith("USDT") else s.symbol
    ticks = int(min(300, max(20, 30 * (turnover / 40e6) ** 0.45)))
    return Listed(
        index=index,
        symbol=s.symbol,
        base=base,
        contract_type="PERPETUAL",
        underlying_type="COIN",
        sector=key_of(seed, 5, index) % 8,
        price_digits=price_digits,
        qty_digits=qty_digits,
        price_precision=price_digits,
        anchor_price=price,
        turnover_usdt=turnover,
        daily_vol_frac=0.05,
        beta=1.0,
        onboard_ms=int(s.open_ms[0]),
        delivery_ms=PERPETUAL_DELIVERY_MS,
        funding_hours=8,
        market_qty_max=max(1, int(turnover * 0.002 / price)),
        qty_max=max(1, int(turnover * 0.02 / price)),
        min_notional=50 if base == "BTC" else (20 if base == "ETH" else 5),
        multiplier=Decimal("0.05") if base in ("BTC", "ETH") else Decimal("0.10"),
        trigger_protect=Decimal("0.0500"),
        liquidation_fee=Decimal("0.012500"),
        ticks_per_minute=settings.ticks_per_minute or max(4, round(ticks / settings.pace)),
        quiet_frac=0.0,
        spread_ticks=1,
        book_gap=max(1, round(price * 10**price_digits * 0.00008)),
        brackets=brackets_for(125 if base in ("BTC", "ETH") else 75),
        has_spot=s.symbol in known_names() or index % 8 != 7,
    )


def _digits_of(values: F64) -> int:
    """Decimals needed to show all values exactly (at most 8)."""
    for digits in range(DIGITS_MAX):
        if np.allclose(values, np.round(values, digits), rtol=0, atol=10.0**-DIGITS_MAX / 4):
            return digits
    return min(DIGITS_MAX, digits_for(float(np.median(values))) + 4)


class CandlePath(CutPath):
    """Walks real bars; finer levels and trades are cut from them, missing flow is synthetic."""

    def __init__(
        self, listed: tuple[Listed, ...], source: CandleSource, seed: int, tick_ms: int
    ) -> None:
        super().__init__(listed, seed, source.interval, tick_ms)
        by_name = {s.symbol: s for s in source.symbols}
        self._columns = [self._bars_of(row, by_name[row.symbol]) for row in listed]

    def _bars_of(self, row: Listed, s: SymbolCandles) -> Bars:
        scale, steps = 10.0**row.price_digits, 10.0**row.qty_digits
        o, h, low, c = (
            np.rint(a * scale).astype(np.int64) for a in (s.open, s.high, s.low, s.close)
        )
        volume = np.rint(s.volume * steps).astype(np.int64)
        if len(s.taker_buy):
            buy = np.minimum(np.rint(s.taker_buy * steps).astype(np.int64), volume)
        else:
            key = key_of(self._seed, 21, row.index)
            lean = 0.15 * np.tanh((s.close - s.open) / (s.high - s.low + 1e-12))
            share = 0.5 + lean + 0.04 * normals(key, s.open_ms // MINUTE_MS)
            buy = (volume * np.clip(share, 0.05, 0.95)).astype(np.int64)
        if len(s.trades):
            trades = np.maximum(s.trades, 1).astype(np.int64)
        else:
            minutes = INTERVAL_MS[self.base] / MINUTE_MS
            trades = np.full(
                len(volume), int(max(12, row.ticks_per_minute * 1.3) * minutes), np.int64
            )
        trades = np.where(volume > 0, trades, 0)
        if len(s.quote):
            quote = s.quote * scale * steps
        else:
            quote = volume * (o + h + low + c) / 4.0
        return Bars(s.open_ms, o, h, low, c, buy, volume - buy, trades, quote)

    def _base_bars(self, index: int, from_ms: int, to_ms: int) -> Bars:
        rows = self._columns[index]
        lo, hi = np.searchsorted(rows.open_ms, (from_ms, to_ms))
        return rows.slice(int(lo), int(hi))
