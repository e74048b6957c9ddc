"""The factor engine: a market view in, one row of columns per symbol out (`ScanRows`).

Key inputs: closed bars (1h for the factors, 15m/4h/1d around them), open interest, funding, and the
market as it is now (book, flow, marks). Key outputs: `raw.X`, `score.X` and `score.X.1…` (earlier
bars, for K of N), `mod.*`, `ctx.*`; together with a `ParamSet` and the `SignalMemory` they are all
that a decision needs. One moment and a whole history go through the same functions (D4).
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cryptosignal.domain.params import ParamSet
from cryptosignal.domain.scan import SYMBOL_TRIGGER, ScanRows
from cryptosignal.factors import around, newcoin, now, price, structure
from cryptosignal.factors.cache import ScoreCache
from cryptosignal.factors.frame import Frame, closes_of, ends_of, thin
from cryptosignal.factors.kernels import compiled_kernels
from cryptosignal.factors.lone import Lone
from cryptosignal.factors.narrow import narrow
from cryptosignal.factors.panel import ATR_BARS, Origin, panel_of
from cryptosignal.factors.standardise import reach, standardise
from cryptosignal.factors.table import BAR_FACTORS, Factor, register_factor
from cryptosignal.ground.units import INTERVAL_MS
from cryptosignal.market.views import BarsView, MarketView

__all__ = ["BAR_FACTORS", "Factor", "FactorEngine", "register_factor"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Columns = dict[str, Floats]


class FactorEngine:
    """Computes the rows of a scan. Holds a cache only: dropping it changes no number.

    >>> FactorEngine(ParamSet()).compute(view, scan_id=1, trigger="manual")  # doctest: +SKIP
    """

    def __init__(self, params: ParamSet, factors: tuple[Factor, ...] = BAR_FACTORS) -> None:
        self.params = params.validate()
        self.factors = factors
        self.cache = ScoreCache(self.params)
        self.frame = Frame()
        self.lone = Lone(self.params)
        self.seen: tuple[tuple[str, ...], bytes, int] | None = None
        """Symbols, those in the universe, and the hour of the last scan; a new one after each."""
        self._can_glance = False
        self._told: tuple[MarketView, dict[str, str]] | None = None

    def compute(self, view: MarketView, scan_id: int, trigger: str) -> ScanRows:
        """The rows of every active symbol at `view.time_ms`. Never touches the network."""
        times = np.array([view.time_ms], dtype=np.int64)
        columns = self.columns(view, times, now.facts(view, self.params))
        self.seen = _market_of(view)
        keep = np.flatnonzero(view.active)
        flat = {name: np.ascontiguousarray(value[keep, 0]) for name, value in columns.items()}
        self._can_glance = tuple(flat) == self.lone.names
        symbols = tuple(view.symbols[i] for i in keep)
        return ScanRows(
            scan_id, view.time_ms, trigger, symbols, flat, meta=now.receipt(view, self.params)
        )

    def refresh(
        self, view: MarketView, slot: int, scan_id: int, trigger: str = SYMBOL_TRIGGER
    ) -> ScanRows:
        """The row of one symbol, equal to its row in a full scan of `view` where every symbol
        whose bars changed since the last one has been refreshed.

        Reads the symbol, BTC and ETH alone; the breadth of the market is that of the last scan and
        of the refreshes since. The first refresh of an hour, or of other symbols, is a full scan.
        Raises ValueError for a slot that is not in the universe.
        """
        if not 0 <= slot < len(view.symbols) or not view.active[slot]:
            raise ValueError(f"refresh of slot {slot}: found none, allowed: a symbol of the scan")
        if self.seen != _market_of(view):
            whole = self.compute(view, scan_id, trigger)
            return pick_row(whole, whole.symbols.index(view.symbols[slot]))
        quick = self.glance(view, slot)
        if quick is not None:
            return self.row_of(view, slot, quick, scan_id, trigger)
        beside = (slot, view.btc, view.eth)
        places = np.array(list(dict.fromkeys(p for p in beside if p >= 0)), dtype=np.int64)
        engine = copy.copy(self)
        engine.cache, engine.frame = self.cache.branch(places), self.frame.branch(places)
        return pick_row(engine.compute(narrow(view, places), scan_id, trigger), 0)

    def glance(self, view: MarketView, slot: int) -> Floats | None:
        """The values of `lone.names` for one symbol where compiled code can tell them at once,
        equal to its row in a scan; None where it cannot (`refresh` can).

        In an hour that no scan has seen yet, the breadth takes the symbols that were not refreshed
        in it as the last scan saw them.
        """
        fast = compiled_kernels()
        if fast is None or not self._can_glance:
            return None
        return self.lone.row(fast, self, view, slot)

    def stands_on(self, view: MarketView) -> bool:
        """Whether the last scan was of this market: the same symbols, the same of them in it."""
        return self.seen is not None and self.seen[:2] == _market_of(view)[:2]

    def row_of(
        self,
        view: MarketView,
        slot: int,
        values: Floats,
        scan_id: int,
        trigger: str = SYMBOL_TRIGGER,
    ) -> ScanRows:
        """What `glance` told, as the rows of a scan of one symbol."""
        columns = dict(zip(self.lone.names, values[:, None], strict=True))
        self._drop_synthetic(view, columns)
        own = (view.symbols[slot],)
        return ScanRows(scan_id, view.time_ms, trigger, own, columns, meta=self._receipt(view))

    def _receipt(self, view: MarketView) -> dict[str, str]:
        """The receipt of a view, made once for its rows."""
        if self._told is None or self._told[0] is not view:
            self._told = view, now.receipt(view, self.params)
        return self._told[1]

    def columns(self, view: MarketView, times_ms: Ints, facts: Mapping[str, Floats]) -> Columns:
        """All columns at each decision time, [symbol, time]; `times_ms` ascend.

        `facts` are what is not in bars or series at those times (book, marks, DataQual), NaN or
        absent where unknown. Nothing later than each time is read.
        """
        shape = (len(view.symbols), len(times_ms))
        facts = {name: np.broadcast_to(value, shape) for name, value in facts.items()}
        out: Columns = {}
        hours = view.bars.get("1h")
        if hours is None:
            hours = _empty(len(view.symbols))
        self.frame.begin(view, hours, times_ms)
        self._bar_scores(view, hours, times_ms, out)
        around.columns(view, hours, times_ms, facts, self.params, self.frame, out)
        now.columns(view, facts, self.params, shape, out)
        newcoin.columns(view, times_ms, facts, self.params, out)
        around.receipts(view, times_ms, out)
        now.membership(facts, shape, out)
        self._drop_synthetic(view, out)
        return out

    def _bar_scores(self, view: MarketView, hours: BarsView, times: Ints, out: Columns) -> None:
        ends = ends_of(hours, times)
        lags = self.params.tiers.n
        if len(times) == 1 and ends[0] > 0:
            found = self._scores_now(view, hours, int(ends[0]))
            pick = np.zeros(1, dtype=np.int64)
        else:
            found = self._scores_then(view, hours, ends)
            pick = ends - ends[0]
        for name, (raw, score) in found.items():
            out[f"raw.{name}"] = raw[:, pick]
            for lag in range(lags):
                out[f"score.{name}" + (f".{lag}" if lag else "")] = score[:, lags - 1 - lag + pick]
        if "S" in found:
            self._agree(view, hours, ends, out)

    def _agree(self, view: MarketView, hours: BarsView, ends: Ints, out: Columns) -> None:
        """Give S of each hour its 15m part: the 15m trend as it was at that hour's close."""
        short, lags = view.bars.get("15m"), self.params.tiers.n
        if short is None or not len(short.open_ms):
            return
        first = int(ends[0]) - lags + 1
        closes = closes_of(hours, int(ends[-1]) - first + 1, int(ends[-1]))
        logs = self.frame.quarters
        panel, pick = thin(short, closes, max(price.TREND_LOOKBACK, ATR_BARS + 1), logs=logs)
        trend = price.trend(panel)[:, pick]
        for lag in range(lags):
            name = "score.S" + (f".{lag}" if lag else "")
            out[name] = structure.agreed(out[name], trend[:, ends - lag - first])

    def _scores_now(
        self, view: MarketView, hours: BarsView, end: int
    ) -> dict[str, tuple[Floats, Floats]]:
        def beside(factor: Factor, bars: int) -> dict[str, Floats] | None:
            return self._beside(view, hours, factor, bars, end)

        return self.cache.scores(
            view.symbols,
            hours,
            end,
            self.factors,
            beside,
            _origin(view, self.params),
            self.frame.logs,
        )

    def _scores_then(
        self, view: MarketView, hours: BarsView, ends: Ints
    ) -> dict[str, tuple[Floats, Floats]]:
        lags, end, span = self.params.tiers.n, int(ends[-1]), int(ends[-1] - ends[0])
        count = span + reach(self.params.chain, lags)
        found = {}
        for factor in self.factors:
            panel = panel_of(hours, count, factor.lookback, end)
            series = self._beside(view, hours, factor, panel.bars, end)
            if series is None:
                raw = np.full((len(view.symbols), span + 1), np.nan)
                found[factor.name] = raw, np.full((len(view.symbols), span + lags), np.nan)
                continue
            panel.beside, panel.origin = series, _origin(view, self.params)
            panel.closed_ms = int(closes_of(hours, 1, end)[0])
            raw = factor.compute(panel, self.params)
            chain = self.params.chain
            score = standardise(raw, factor.floor, chain, span + lags, factor.crowded)
            found[factor.name] = raw[:, raw.shape[1] - span - 1 :], score
        return found

    def _beside(
        self, view: MarketView, hours: BarsView, factor: Factor, bars: int, end: int
    ) -> dict[str, Floats] | None:
        """Series aligned to the newest `bars` bars; None if an input does not exist at all."""
        series: dict[str, Floats] = {}
        if "oi" in factor.inputs:
            if view.open_interest is None:
                return None
            series["oi"] = self.frame.open_interest(bars, end)
        if "spot" in factor.inputs and view.spot_1h is not None:
            series.update(_spot(view.spot_1h, hours, bars, end))
        return series

    def _drop_synthetic(self, view: MarketView, out: Columns) -> None:
        """Made-up flow weighs nothing: a score is no better than the data behind it (DOMAIN §0.28)."""
        if self.params.accept_synthetic_flow:
            return
        if not view.synthetic_flow:
            return
        made_up = {factor for kind in view.synthetic_flow for factor in _FED_BY.get(kind, ())}
        for name in out:
            part, _, factor = name.partition(".")
            if part in ("raw", "score") and factor in made_up:
                out[name] = np.full_like(out[name], np.nan)


_FED_BY: Final = {
    "taker_flow": ("C",),
    "open_interest": ("O",),
    "book": ("L",),
    "funding": ("B",),
    "trades": ("Q",),
    "liquidations": ("Q",),
}
"""The direction factors that stand on each kind of flow that candles may lack."""


def pick_row(rows: ScanRows, place: int) -> ScanRows:
    """The rows of a scan cut down to one symbol."""
    return ScanRows(
        rows.scan_id,
        rows.time_ms,
        rows.trigger,
        (rows.symbols[place],),
        {name: value[place : place + 1] for name, value in rows.columns.items()},
        meta=rows.meta,
    )


def _origin(view: MarketView, params: ParamSet) -> Origin:
    is_made_up = "taker_flow" in view.synthetic_flow and not params.accept_synthetic_flow
    return Origin(view.onboard_ms.copy(), not is_made_up)


def _market_of(view: MarketView) -> tuple[tuple[str, ...], bytes, int]:
    """What must not have changed for a refresh to stand on the last scan: symbols and hour."""
    hour = int(view.time_ms) // INTERVAL_MS["1h"]
    return view.symbols, view.active.tobytes(), hour


def _spot(spot: BarsView, hours: BarsView, bars: int, end: int) -> dict[str, Floats]:
    """Net taker flow and volume of spot bars on the axis of the futures bars."""
    step = INTERVAL_MS[hours.interval]
    first = int(hours.open_ms[0]) if len(hours.open_ms) else 0
    wanted = first + step * np.arange(end - bars, end)
    base = int(spot.open_ms[0]) if len(spot.open_ms) else 0
    place = (wanted - base) // step
    known = (place >= 0) & (place < len(spot.open_ms))
    at = np.clip(place, 0, max(len(spot.open_ms) - 1, 0))
    if len(spot.open_ms) == 0:
        return {}
    net = 2.0 * spot.taker_buy - spot.volume
    return {
        "spot_net": np.where(known, net[:, at], np.nan),
        "spot_volume": np.where(known, spot.volume[:, at], np.nan),
    }


def _empty(rows: int) -> BarsView:
    return BarsView(
        "1h",
        np.zeros(0, dtype=np.int64),
        np.zeros((9, rows, 0)),
        np.zeros((rows, 0), dtype=np.int8),
        np.zeros((rows, 0), dtype=np.int8),
        np.zeros((rows, 0)),
    )
