"""Price paths: every symbol's bars at every level and its trades, as a pure function of the seed.

Top-down: coarse bars come from a factor model (or from real candles), and each level is cut from
the one above (`sim.bars`), with common, sector and own noise so that symbols move together.
Nothing here changes when clients trade; `sim.flow` lays their trades over it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import OrderedDict
from typing import Protocol

import msgspec
import numpy as np

from cryptosignal.ground.units import DAY_MS, HOUR_MS, INTERVAL_MS, MINUTE_MS
from cryptosignal.sim.bars import (
    Bars,
    Ticks,
    cut_ticks,
    empty_bars,
    join_bars,
    split_bars,
    usual_price,
)
from cryptosignal.sim.listing import SECTORS, Listed
from cryptosignal.sim.noise import F64, I64, key_of, normals, smooth, uniforms

CHAIN = ("1d", "4h", "1h", "15m", "5m", "1m")
"""Levels cut one from the next; other intervals are sums of these."""
_CACHE_ROWS = 4_096
_SPANS_KEPT = 64
"""Long stretches that were cut last: clients that start anew ask for the same ones again."""


class Path(Protocol):
    """Bars and trades of one venue's symbols before any client trades."""

    base: str
    """The coarsest level, that all others are cut from."""

    def bars(self, index: int, level: str, from_ms: int, to_ms: int) -> Bars:
        """Bars of a CHAIN level that open in [from_ms, to_ms), as far as they exist."""
        ...

    def ticks(self, index: int, from_ms: int, to_ms: int) -> Ticks:
        """Trades of whole minutes in [from_ms, to_ms)."""
        ...

    def regrid(self, index: int, from_ms: int, unit: int) -> None:
        """Trades of a symbol from a whole minute on lie on multiples of `unit`."""
        ...


def finer(level: str, base: str) -> str:
    """The level that `level` is cut from, for a path whose coarsest level is `base`."""
    own = INTERVAL_MS[level]
    for parent in reversed(CHAIN[: CHAIN.index(level)]):
        if (
            INTERVAL_MS[parent] <= INTERVAL_MS[base]
            and INTERVAL_MS[base] % INTERVAL_MS[parent] == 0
        ):
            return parent
    return base if INTERVAL_MS[base] > own else level


class CutPath(ABC):
    """Cuts levels below the base level; subclasses supply `_base_bars`. One path for real and generated."""

    def __init__(self, listed: tuple[Listed, ...], seed: int, base: str, tick_ms: int) -> None:
        self.listed = listed
        self.base = base
        self._seed = seed
        self._tick_ms = tick_ms
        self._cache: OrderedDict[tuple[int, str, int], Bars] = OrderedDict()
        self._spans: OrderedDict[tuple[int, str, int, int], Bars] = OrderedDict()
        self._is_common = key_of(seed, 11)
        self._grids: dict[int, tuple[I64, I64]] = {}
        for row in listed:
            if row.tick_change_ms:
                times = np.array([0, row.tick_change_ms])
                units = np.array([row.tick_units_before, row.tick_units_after])
                self._grids[row.index] = times, units

    @abstractmethod
    def _base_bars(self, index: int, from_ms: int, to_ms: int) -> Bars:
        """Bars of the coarsest level, which everything finer is cut from."""

    def first_ms(self, index: int) -> int:
        """When the symbol's history begins."""
        return self.listed[index].onboard_ms

    def bars(self, index: int, level: str, from_ms: int, to_ms: int) -> Bars:
        """Bars of `level` that open in [from_ms, to_ms)."""
        if to_ms <= from_ms:
            return empty_bars()
        rows = self._fetch(index, level, from_ms, to_ms)
        unit = self._units(index, rows.open_ms)
        if unit is None:
            return rows
        o, h, low, c = (a // unit * unit for a in (rows.open, rows.high, rows.low, rows.close))
        return Bars(rows.open_ms, o, h, low, c, rows.buy, rows.sell, rows.trades, rows.quote)

    def regrid(self, index: int, from_ms: int, unit: int) -> None:
        """Trades of a symbol from a whole minute on lie on multiples of `unit`."""
        times, units = self._grids.get(index, (np.array([0]), np.array([1])))
        self._grids[index] = np.append(times, from_ms), np.append(units, unit)

    def _units(self, index: int, times: I64) -> I64 | None:
        """The tick in price units at each time, None where it is 1 throughout."""
        grid = self._grids.get(index)
        if grid is None or not len(times):
            return None
        unit: I64 = grid[1][np.searchsorted(grid[0], times, "right") - 1]
        return None if unit.max() == 1 else unit

    def _fetch(self, index: int, level: str, from_ms: int, to_ms: int) -> Bars:
        if level == self.base:
            return self._base_bars(index, from_ms, to_ms)
        parent = finer(level, self.base)
        width = INTERVAL_MS[parent]
        chunk = 4 * HOUR_MS if width < 4 * HOUR_MS else width
        first = from_ms // chunk * chunk
        if to_ms - first <= 3 * chunk:
            parts = [self._chunk(index, level, at, chunk) for at in range(first, to_ms, chunk)]
            rows = join_bars([p for p in parts if len(p)])
        else:
            rows = self._span(index, level, from_ms // width * width, -(-to_ms // width) * width)
        lo, hi = np.searchsorted(rows.open_ms, (from_ms, to_ms))
        return rows.slice(int(lo), int(hi))

    def _span(self, index: int, level: str, start: int, stop: int) -> Bars:
        """Bars of whole bars of the parent level."""
        key = (index, level, start, stop)
        found = self._spans.get(key)
        if found is not None:
            self._spans.move_to_end(key)
            return found
        parent = finer(level, self.base)
        rows = self._cut(index, level, self._fetch(index, parent, start, stop))
        self._spans[key] = rows
        if len(self._spans) > _SPANS_KEPT:
            self._spans.popitem(last=False)
        return rows

    def _chunk(self, index: int, level: str, at: int, chunk: int) -> Bars:
        key = (index, level, at)
        found = self._cache.get(key)
        if found is not None:
            self._cache.move_to_end(key)
            return found
        parent = finer(level, self.base)
        rows = self._cut(index, level, self._fetch(index, parent, at, at + chunk))
        self._cache[key] = rows
        if len(self._cache) > _CACHE_ROWS:
            self._cache.popitem(last=False)
        return rows

    def _cut(self, index: int, level: str, parent: Bars) -> Bars:
        if not len(parent):
            return parent
        step = INTERVAL_MS[level]
        k = INTERVAL_MS[finer(level, self.base)] // step
        times = parent.open_ms[:, None] + np.arange(k)[None, :] * step
        number = times // step
        row = self.listed[index]
        depth = CHAIN.index(level)
        own = key_of(self._seed, 20, index, depth)
        quiet = np.zeros(times.shape, bool)
        if level == "1m" and row.quiet_frac > 0:
            quiet = uniforms(own + 1, number) < row.quiet_frac
        if level == "1m" or step < HOUR_MS:
            quiet = quiet | (parent.buy + parent.sell == 0)[:, None]
        drift = self._drift(row, depth, number, times) * (
            1.0 + 6.0 * (uniforms(own + 2, number) < 0.003)
        )
        heavy = np.exp(0.6 * normals(own + 3, number))
        return split_bars(parent, step, drift, uniforms(own + 4, number), heavy, quiet)

    def _drift(self, row: Listed, depth: int, number: I64, times: I64) -> F64:
        """Correlated, clustered noise of unit size: market, sector and own part."""
        market = normals(key_of(self._seed, 12, depth), number)
        sector = normals(key_of(self._seed, 13, depth, row.sector), number)
        own = normals(key_of(self._seed, 14, depth, row.index), number)
        b = 1.0 if row.index == 0 else min(0.75, 0.7 * row.beta)
        s = 0.0 if row.index == 0 else 0.35
        rest = max(0.05, 1.0 - b * b - s * s) ** 0.5 if row.index else 0.0
        heat = np.exp(
            0.45 * smooth(self._is_common, times, 3 * HOUR_MS)
            + 0.35 * smooth(key_of(self._seed, 15, row.index), times, HOUR_MS)
        )
        return (b * market + s * sector + rest * own) * heat

    def ticks(self, index: int, from_ms: int, to_ms: int) -> Ticks:
        """Trades of the minutes in [from_ms, to_ms), times on the tick grid."""
        rows = self.bars(index, "1m", from_ms, to_ms)
        row = self.listed[index]
        k = max(4, row.ticks_per_minute)
        key = key_of(self._seed, 30, row.index)
        place = (rows.open_ms // MINUTE_MS)[:, None] * 1_024 + np.arange(k)[None, :]
        drift = normals(key, place)
        ticks = cut_ticks(
            rows, k, MINUTE_MS, drift, uniforms(key + 1, place), uniforms(key + 2, place)
        )
        time, price = ticks.time_ms, ticks.price
        unit = self._units(index, time)
        if unit is not None:
            price = (
                price // unit * unit
            )  # rounding down keeps a bar's extremes its trades' extremes
        if self._tick_ms > 1:
            time = time // self._tick_ms * self._tick_ms
        return Ticks(time, price, ticks.qty, ticks.count, ticks.is_sell)


class GeneratedPath(CutPath):
    """Daily bars from a factor model: BTC, sectors, own noise, volatility clustering, jumps."""

    _AHEAD = 64

    def __init__(self, listed: tuple[Listed, ...], seed: int, start_ms: int, tick_ms: int) -> None:
        super().__init__(listed, seed, "1d", tick_ms)
        oldest = min(row.onboard_ms for row in listed)
        self._first_day = oldest // DAY_MS - 60
        self._anchor_day = start_ms // DAY_MS
        self._days = 0
        self._state = np.zeros((3, len(listed)))
        self._common = np.zeros(2 + 2 * len(SECTORS))
        self._logs: list[F64] = []
        self._vols: list[F64] = []
        self._columns: list[Bars] = []
        self._quotes: dict[int, F64] = {}
        self._grow(self._anchor_day + self._AHEAD)

    def _base_bars(self, index: int, from_ms: int, to_ms: int) -> Bars:
        last = (to_ms - 1) // DAY_MS
        if last >= self._first_day + self._days:
            self._grow(last + self._AHEAD)
        onboard = self.listed[index].onboard_ms
        first = max(-(-from_ms // DAY_MS), onboard // DAY_MS)
        start, stop = max(0, first - self._first_day), max(0, last + 1 - self._first_day)
        rows = self._columns[index].slice(start, stop)
        return msgspec.structs.replace(rows, quote=self._day_quotes(index, rows, start))

    def _day_quotes(self, index: int, rows: Bars, start: int) -> F64:
        """Quote volume of days, summed from their hours: what a day's own path would have cost."""
        known = self._quotes.get(index)
        if known is None or len(known) < self._days:
            known = self._quotes[index] = np.full(self._days, np.nan)
        found = known[start : start + len(rows)]
        new = np.isnan(found)
        if new.any():
            days = Bars(*(getattr(rows, f)[new] for f in Bars.__struct_fields__))
            hours = self._cut(index, "1h", self._cut(index, "4h", days))
            price = usual_price(hours.open, hours.high, hours.low, hours.close)
            value = (hours.buy + hours.sell) * price
            found[new] = value.reshape(-1, 24).sum(axis=1)
        return found

    def _grow(self, last_day: int) -> None:
        days = np.arange(self._first_day + self._days, last_day + 1)
        shocks = _DailyShocks(self._seed, days, self.listed)
        for i in range(len(days)):
            log, vol = shocks.step(i, self._state, self._common)
            self._logs.append(log)
            self._vols.append(vol)
        self._days += len(days)
        self._lay_out()

    def _lay_out(self) -> None:
        logs, vols = np.array(self._logs), np.array(self._vols)
        anchor = logs[self._anchor_day - self._first_day - 1]
        days = self._first_day + np.arange(self._days)
        self._columns = [
            self._column(row, days, logs[:, j] - anchor[j], vols[:, j])
            for j, row in enumerate(self.listed)
        ]

    def _column(self, row: Listed, days: I64, log: F64, vol: F64) -> Bars:
        key = key_of(self._seed, 21, row.index)
        price = row.anchor_price * np.exp(np.clip(log, -3.0, 3.0)) * 10.0**row.price_digits
        close = np.maximum(np.rint(price), 20).astype(np.int64)
        open_ = np.append(close[:1], close[:-1])
        body_top, body_low = np.maximum(open_, close), np.minimum(open_, close)
        up = 0.55 * vol * np.abs(normals(key, days)) + 0.1 * vol
        down = 0.55 * vol * np.abs(normals(key + 1, days)) + 0.1 * vol
        high = np.ceil(body_top * np.exp(up)).astype(np.int64) + 2
        low = np.maximum(np.floor(body_low * np.exp(-down)).astype(np.int64) - 2, 1)
        busy = np.exp(0.35 * normals(key + 2, days)) * (vol / row.daily_vol_frac) ** 0.8
        mid = (open_ + close) / 2 / 10.0**row.price_digits
        wanted = row.turnover_usdt * busy / mid * 10.0**row.qty_digits
        steps: I64 = np.maximum(wanted, 1_440 * 400).astype(np.int64)
        lean = (
            0.5
            + 0.03 * np.tanh((close - open_) / (vol * open_ + 1))
            + 0.01 * normals(key + 3, days)
        )
        buy = (steps * lean).astype(np.int64)
        trades = np.maximum(row.ticks_per_minute * 1_440 * 2.0 * busy, 1_440 * 12).astype(np.int64)
        quote = steps * (open_ + high + low + close) / 4.0
        return Bars(days * DAY_MS, open_, high, low, close, buy, steps - buy, trades, quote)


class _DailyShocks:
    """Daily returns of all symbols at once; state carries volatility and trend from day to day."""

    def __init__(self, seed: int, days: I64, listed: tuple[Listed, ...]) -> None:
        grid = days[:, None] * 4_096 + np.arange(len(listed))[None, :]
        self._own = normals(key_of(seed, 40), grid)
        self._own_vol = normals(key_of(seed, 41), grid)
        self._own_trend = normals(key_of(seed, 42), grid)
        self._jump = uniforms(key_of(seed, 43), grid)
        wide = days[:, None] * 64 + np.arange(2 + 2 * len(SECTORS))[None, :]
        self._common = normals(key_of(seed, 44), wide)
        self._beta = np.array([row.beta for row in listed])
        self._vol = np.array([row.daily_vol_frac for row in listed])
        self._sector = np.array([row.sector for row in listed])
        self._is_btc = np.array([row.index == 0 for row in listed])
        self._level = np.zeros(len(listed))

    def step(self, i: int, state: F64, common: F64) -> tuple[F64, F64]:
        """One day: log price level and the day's volatility, per symbol. Updates both states."""
        log, own_heat, trend = state
        own_heat[:] = 0.9 * own_heat + 0.25 * self._own_vol[i]
        trend[:] = 0.93 * trend + 0.1 * self._own_trend[i]
        n = len(SECTORS)
        common[0] = 0.94 * common[0] + 0.2 * self._common[i, 0]
        common[2 + n :] = 0.93 * common[2 + n :] + 0.1 * self._common[i, 2 + n :]
        heat = np.exp(common[0])
        btc = 0.022 * heat * self._common[i, 1]
        sector = (self._common[i, 2 : 2 + n] + common[2 + n :])[self._sector]
        vol = self._vol * heat**0.7 * np.exp(0.6 * own_heat)
        jump = np.where(self._jump[i] < 0.01, 3.0, 1.0)
        alone = np.where(self._is_btc, 0.0, 1.0)
        move = self._beta * btc + alone * vol * (
            0.35 * sector + (0.55 * self._own[i] + 0.25 * trend) * jump
        )
        log[:] = 0.997 * log + move
        return log.copy(), vol
