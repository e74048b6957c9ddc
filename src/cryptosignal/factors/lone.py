"""The refresh of one symbol by compiled code: inputs gathered, one call, a row of columns out.

What is kept from the last scan is read and not changed. Where something is unusual (a custom
table, a new coin, older bars that changed, a short history) the answer is None, and the refresh
goes the long way, which gives the same numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from cryptosignal.domain.params import ParamSet
from cryptosignal.factors import age, around, context, window
from cryptosignal.factors.cache import Kept
from cryptosignal.factors.panel import ATR_BARS
from cryptosignal.factors.table import BAR_FACTORS
from cryptosignal.ground.units import HOUR_MS, INTERVAL_MS
from cryptosignal.market.views import BarsView, BookView, MarketView

if TYPE_CHECKING:
    from cryptosignal.factors.catalogue import FactorEngine

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Codes = NDArray[np.int8]
T = TypeVar("T", bound=np.generic)

_INTERVALS: Final = ("1m", "5m", "15m", "1h", "4h", "1d")
_NO_BARS: Final = np.full((9, 2), np.nan)[:, ::2]
_NO_TIMES: Final = np.zeros(0, np.int64)
_NOTHING: Final = np.zeros(0)
_NO_SERIES: Final = (_NO_TIMES, _NOTHING)
_HOURS: Final = 3
_NO_BOOK: Final = np.zeros((0, 0))
_NO_COLUMN: Final = np.full(4, np.nan)[::2]
_NO_CODES: Final = np.zeros(4, np.int8)[::2]

AROUND: Final = (
    "ctx.close", "ctx.atr_1h", "ctx.adx", "ctx.ema10", "ctx.room_up_atr", "ctx.room_down_atr",
    "ctx.pivot_high", "ctx.pivot_low", "ctx.high_72", "ctx.low_72", "ctx.bars_1m",
    "ctx.bars_5m", "ctx.bars_15m", "ctx.bars_1h", "ctx.bars_4h", "ctx.bars_1d", "ctx.finality",
    "ctx.lag_ms", "ctx.bar_ms", "ctx.time_ms", "ctx.age_days", "ctx.tick_size", "ctx.btc_trend",
    "ctx.regime", "ctx.breadth_up", "ctx.breadth_down", "ctx.mtf_up", "ctx.mtf_down",
    "ctx.micro_up", "ctx.micro_down", "ctx.micro_atr_ratio", "ctx.micro_volume_ratio",
)  # fmt: skip
MODULATORS: Final = (
    "mod.I", "ctx.beta", "ctx.rho_btc", "mod.gI", "mod.crowding_long", "mod.gF_long",
    "mod.crowding_short", "mod.gF_short", "mod.lead_long", "mod.lead_short", "ctx.oi_24h",
)  # fmt: skip
MOMENT: Final = (
    "ctx.quality", "ctx.basis_bps", "ctx.mark", "ctx.funding_rate", "ctx.next_funding_ms",
    "ctx.spread_bps", "ctx.impact_buy_bps", "ctx.impact_sell_bps", "ctx.obi",
    "ctx.bid_depth_usdt", "ctx.ask_depth_usdt", "ctx.book_age_ms", "ctx.quote_24h",
    "ctx.taker_buy_usdt", "ctx.taker_sell_usdt", "ctx.fwi", "raw.L", "score.L", "raw.B", "score.B",
    "raw.Q", "score.Q", "ctx.room_book_up", "ctx.room_book_down", "ctx.is_new",
    "ctx.ignition_up", "ctx.ignition_down", "ctx.exhausted_up", "ctx.exhausted_down",
    "ctx.thrust_up", "ctx.thrust_down", "ctx.avwap", "ctx.zlema_5m", "ctx.atr_1m",
)  # fmt: skip
SEEN: Final = tuple(f"ctx.seen_{interval}" for interval in around.INTERVALS)


class _Moment:
    """What the rows of one view share; columns of the whole market, from which a row takes its own."""

    __slots__ = (
        "bars", "book", "columns", "ends", "finality", "first_ms", "kept", "lags", "leaders", "now",
        "scan", "source", "spot", "spot_ms", "stops", "tape", "trend", "view",
    )  # fmt: skip

    def __init__(self, view: MarketView, scan: object) -> None:
        self.view, self.scan = view, scan
        self.kept: Kept | None = None
        self.first_ms = 0
        self.ends = self.stops = self.leaders = _NO_TIMES
        self.bars: tuple[Floats, ...] = ()
        self.spot = self.trend = self.now = _NOTHING
        self.spot_ms = -1
        self.columns: tuple[Floats, ...] = ()
        self.tape: tuple[Floats, ...] = ()
        self.book: tuple[Floats, ...] = ()
        self.finality: tuple[Codes, ...] = ()
        self.source: tuple[Codes, ...] = ()
        self.lags: tuple[Floats, ...] = ()


class Lone:
    """What does not change from row to row: names, taps, limits; made once for a parameter set."""

    def __init__(self, params: ParamSet) -> None:
        own, lags = params.chain, params.tiers.n
        scores = [
            f"{part}.{factor.name}{f'.{lag}' if lag else ''}"
            for factor in BAR_FACTORS
            for part, lag in (("raw", 0), *(("score", lag) for lag in range(lags)))
        ]
        self.names = (*scores, *AROUND, *MODULATORS, *MOMENT, *SEEN, "ctx.is_overlay")
        self.params = params
        self.lags = lags
        self.chain = np.array(
            [own.z0, own.z_max, own.winsor, own.tau, own.publish, own.max_step, own.flip_min]
        )
        self.chain_taps = (
            window.decay_taps(own.smooth, own.smooth_taps).copy(),
            window.decay_taps(own.eta, own.scale_taps).copy(),
        )
        self.floors = np.array([(factor.floor, factor.crowded) for factor in BAR_FACTORS])
        self.taps = tuple(
            taps.copy()
            for taps in (
                window.ema_taps(5, 30),
                window.ema_taps(20, 60),
                window.slope_taps(12),
                window.wilder_taps(14, ATR_BARS),
                window.ema_taps(30, 60),
                window.slope_taps(24),
                window.ema_taps(10, 30),
            )
        )
        odds = params.probability
        funding = around.FUNDING_CHAIN
        self.more_taps = (
            window.decay_taps(odds.g_smooth, odds.g_taps).copy(),
            window.decay_taps(funding.eta, funding.scale_taps).copy(),
        )
        self.bands = (context.BETA.copy(), context.INDEPENDENCE.copy())
        young = params.new_coin
        self.grown_hours = age.grown_hours(young) + young.blend_hours
        """From this age on a coin is no part of the new-coin channel; one of unknown age neither."""
        risk = params.risk
        self.limits = np.array(
            [around.FUNDING_FLOOR, params.gates.breakout_atr, context.OPEN_ROOM_ATR,
             params.gates.impact_notional_usdt, 0.0, float(risk.fwi_window_ms), risk.fwi_rate_frac,
             risk.fwi_limit, risk.fwi_boost, 0.0, 0.0, age.grown_hours(young),
             max(young.blend_hours, 1e-9)],
        )  # fmt: skip
        self.windows = np.empty((odds.g_taps, 24)), np.empty((odds.g_taps, 24)), np.empty(3)
        self._market: tuple[Floats, ...] = ()
        self._moment: _Moment | None = None
        self._none = np.zeros((0, 0, 0))
        """No bars, strided like those of a view, so that one compiled form serves both."""
        self._hour_ms = -1
        self._hour_trend = _NOTHING

    def row(
        self, fast: ModuleType, engine: FactorEngine, view: MarketView, slot: int
    ) -> Floats | None:
        """The columns of one symbol in the order of `names`, None where it must go the long way."""
        now = self._moment
        if now is None or now.view is not view or now.scan is not engine.seen:
            now = self._moment = self._begin(fast, engine, view)
        kept = now.kept
        if kept is None:
            return None
        oi, funding = view.open_interest, view.funding_history
        out = np.empty(len(self.names))
        fresh = fast.row(
            slot,
            tuple([bars[:, slot] for bars in now.bars]),
            now.ends,
            now.first_ms,
            kept.bars[:, slot],
            kept.strips(slot),
            kept.strip_stops,
            kept.stages,
            now.stops,
            now.trend,
            self.windows,
            now.leaders,
            _NO_SERIES if oi is None else (oi.time_ms, oi.value[slot]),
            _NO_SERIES if funding is None else (funding.time_ms, funding.value[slot]),
            now.spot[:, slot],
            now.spot_ms,
            now.now,
            now.columns,
            now.tape,
            now.book,
            now.finality,
            now.source,
            now.lags,
            self.chain_taps,
            self.chain,
            self.floors,
            self.taps,
            self.more_taps,
            self.bands,
            self.limits,
            out,
        )
        return None if fresh < 0 else out

    def _begin(self, fast: ModuleType, engine: FactorEngine, view: MarketView) -> _Moment:
        """What every row of a view shares; without `kept` if none can be refreshed this way."""
        found, hours = _Moment(view, engine.seen), view.bars.get("1h")
        kept = engine.cache.kept(view, engine.factors) if engine.stands_on(view) else None
        trend = engine.frame.trend
        if kept is None or hours is None or trend is None or engine.factors is not BAR_FACTORS:
            return found
        ends = [_end(view.bars.get(name), view.time_ms) for name in _INTERVALS]
        end, oi = ends[_HOURS], view.open_interest
        if len(view.symbols) < 2 or end < kept.span or not (oi is None or _is_hourly(oi.time_ms)):
            return found
        opened_ms = int(hours.open_ms[end - 1])
        shift = (opened_ms - kept.open_ms) // HOUR_MS
        if shift not in (0, 1):
            return found
        self._learn_market(fast, hours, view.btc, view.eth, end)
        self.limits[4] = kept.span
        found.kept, found.first_ms = kept, int(hours.open_ms[0])
        found.ends = np.array([*ends, _end(view.bars.get("15m"), opened_ms + HOUR_MS)])
        made_up = "taker_flow" in view.synthetic_flow and not self.params.accept_synthetic_flow
        self.limits[10] = 0.0 if made_up else 1.0
        found.leaders = np.array([view.btc, view.eth])
        found.now = np.array([opened_ms, view.time_ms, self.grown_hours], np.float64)
        found.stops = kept.stops.copy()
        found.stops[-1] = shift
        found.trend = self._trend_of(opened_ms, trend) if shift else trend[:, 0]
        if self._none.shape[1] != len(view.symbols):
            self._none = np.full((9, len(view.symbols), 2), np.nan)[:, :, ::2]
        none = self._none
        shown = [view.bars.get(name) for name in _INTERVALS]
        found.bars = tuple([none if bars is None else bars.data for bars in shown])
        found.finality, found.source, found.lags = _newest(shown, ends)
        found.columns, found.tape, found.book = _facts(view), _tape(view), _book(view.book)
        spot = view.spot_1h
        found.spot = none if spot is None else spot.data
        found.spot_ms = int(spot.open_ms[0]) if spot is not None and len(spot.open_ms) else -1
        return found

    def _trend_of(self, opened_ms: int, trend: Floats) -> Floats:
        """T in an hour that no scan has seen yet: as the last scan had it, but for those that were
        refreshed since."""
        if self._hour_ms != opened_ms or len(self._hour_trend) != len(trend):
            self._hour_ms, self._hour_trend = opened_ms, trend[:, 0].copy()
        return self._hour_trend

    def _learn_market(
        self, fast: ModuleType, hours: BarsView, btc: int, eth: int, end: int
    ) -> None:
        """Trends and returns of BTC and ETH, kept while their bars stay the same."""
        width = max(self.more_taps[0].shape[0] + 24, 61)
        start = max(end - width, 0)
        now = tuple(hours.data[1:4, at, start:end] if at >= 0 else _NO_BARS for at in (btc, eth))
        if not self._market or not all(
            a.shape == b.shape and a.tobytes() == b.tobytes()
            for a, b in zip(self._market, now, strict=True)
        ):
            bars = [hours.data[:, at] if at >= 0 else _NO_BARS for at in (btc, eth)]
            count, there = self.more_taps[0].shape[0], np.array([btc >= 0, eth >= 0], np.int64)
            fast.market(bars[0], bars[1], there, end, count, self.taps, *self.windows)
            self._market = tuple(x.copy() for x in now)


def _end(bars: BarsView | None, time_ms: int) -> int:
    """How many bars of the axis had closed, −1 without an axis."""
    if bars is None or not len(bars.open_ms):
        return -1
    step, opens = INTERVAL_MS[bars.interval], bars.open_ms
    return min(max(int(time_ms - opens[0]) // step, 0), len(opens))


def _is_hourly(times: Ints) -> bool:
    return len(times) < 2 or int(times[-1] - times[0]) == HOUR_MS * (len(times) - 1)


def _newest(
    shown: Sequence[BarsView | None], ends: Sequence[int]
) -> tuple[tuple[Codes, ...], tuple[Codes, ...], tuple[Floats, ...]]:
    """How the newest bar of each interval became known: finality, source and lag of all symbols."""
    there = [
        (bars.finality[:, end - 1], bars.source[:, end - 1], bars.lag_ms[:, end - 1])
        if bars is not None and end > 0
        else (_NO_CODES, _NO_CODES, _NO_COLUMN)
        for bars, end in zip(shown, ends, strict=True)
    ]
    return (
        tuple([_strided(finality) for finality, _, _ in there]),
        tuple([_strided(source) for _, source, _ in there]),
        tuple([_strided(lag) for _, _, lag in there]),
    )


def _strided(x: NDArray[T]) -> NDArray[T]:
    """A column as it lies in a matrix, so that one compiled form serves all."""
    return np.repeat(x, 2)[::2] if x.flags.c_contiguous else x


def _facts(view: MarketView) -> tuple[Floats, ...]:
    book, overlay = view.book, view.overlay
    return (
        _dense(view.quality), _dense(view.mark), _dense(view.index), _dense(view.funding_rate),
        _dense(view.next_funding_ms), _NOTHING if book is None else _dense(book.age_ms),
        _dense(view.quote_volume_24h), _dense(view.onboard_ms), _dense(view.tick_size),
        _NOTHING if overlay is None else _dense(overlay),
    )  # fmt: skip


def _tape(view: MarketView) -> tuple[Floats, ...]:
    flow = view.flow
    if flow is None:
        return (_NOTHING,) * 6
    forced = (view.liquidation_buy_usdt, view.liquidation_sell_usdt)
    own = (flow.large_buy_usdt, flow.large_sell_usdt, flow.buy_usdt, flow.sell_usdt)
    return (*map(_dense, own), *(_NOTHING if x is None else _dense(x) for x in forced))


def _book(shown: BookView | None) -> tuple[Floats, ...]:
    if shown is None:
        return (_NO_BOOK,) * 4
    return (
        _dense(shown.bid_price), _dense(shown.bid_qty), _dense(shown.ask_price),
        _dense(shown.ask_qty),
    )  # fmt: skip


def _dense(x: Floats) -> Floats:
    return x if x.flags.c_contiguous else np.ascontiguousarray(x)
