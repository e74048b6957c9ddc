"""Direction factors from who trades: C (CVD of futures and spot) and Q (large trades, liquidations).

All flows are signed taker flows: bought minus sold. The mirror swaps them, so both are odd.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cryptosignal.factors import window
from cryptosignal.factors.kernels import compiled_kernels, flat
from cryptosignal.factors.panel import Panel
from cryptosignal.factors.window import filled
from cryptosignal.market.views import TAKER_BASE, VOLUME

Floats = NDArray[np.float64]

_NORM_BARS = 24
_SLOPE_BARS = 7
CVD_LOOKBACK = _NORM_BARS + _SLOPE_BARS


def net_share(panel: Panel, bars: int) -> tuple[Floats, Floats]:
    """Net taker flow (2·taker_buy − volume) and volume of the newest `bars` bars, base units,
    futures and spot together.

    The sum weighs spot by its share of volume (§1.3 C); spot that is missing counts as nothing.
    Base units, because they stay as they are under the mirror whether or not a source knows its
    quote volume; over the 24 bars that a flow is held against, quote units say the same.
    """
    net, volume = _of_futures(panel, bars)
    spot = panel.beside.get("spot_net"), panel.beside.get("spot_volume")
    if spot[0] is not None and spot[1] is not None:
        spot_net, spot_volume = window.tail(spot[0], bars), window.tail(spot[1], bars)
        net = net + filled(spot_net)
        volume = volume + np.where(np.isnan(spot_net), 0.0, filled(spot_volume))
    return net, volume


def _of_futures(panel: Panel, bars: int) -> tuple[Floats, Floats]:
    fast = compiled_kernels()
    if fast is not None:
        raw = panel.bars_read(bars)
        out = np.empty((2, raw.shape[1], bars))
        fast.net_share(*flat(raw), (VOLUME - 1, TAKER_BASE - 1), out)
        return out[0], out[1]
    volume, taker = window.tail(panel.volume, bars), window.tail(panel.taker, bars)
    return 2.0 * taker - volume, volume


def relative_flow(panel: Panel, count: int) -> Floats:
    """Net flow of the newest `count` bars over mean volume of 24 bars, what is beyond 3 mean
    sizes halved (the outlier rule of §1.3 C)."""
    net, volume = net_share(panel, count + _NORM_BARS - 1)
    mean = window.fir(volume, window.mean_taps(_NORM_BARS))
    size = window.fir(np.abs(net), window.mean_taps(_NORM_BARS))
    flow = window.tail(net, count)
    bound = 3.0 * size
    excess = flow - np.clip(flow, -bound, bound)
    return (flow - 0.5 * excess) / np.where(mean > 0.0, mean, np.nan)


def cvd(panel: Panel) -> Floats:
    """C: slope of the cumulated flow over 6 bars, ×(0.7 + 0.3·R²) (§1.3 C); share of volume.

    R² ≥ 0.7 counts as persistent and keeps the whole slope.
    """
    return panel.shared("cvd", lambda: _cvd(panel))


def _cvd(panel: Panel) -> Floats:
    fast = compiled_kernels()
    if fast is not None:
        out = np.empty((panel.volume.shape[0], panel.count))
        net, volume = net_share(panel, panel.count + _SLOPE_BARS + _NORM_BARS - 2)
        fast.cvd(net, volume, _NORM_BARS, _SLOPE_BARS, out)
        return out
    flow = relative_flow(panel, panel.count + _SLOPE_BARS - 1)
    total = np.zeros((flow.shape[0], panel.count))
    levels = []
    for j in range(_SLOPE_BARS):
        total = total + flow[:, j : j + panel.count]
        levels.append(total)
    stack = np.stack(levels)
    slope, r2 = _fit_stack(stack)
    persistence = np.where(r2 >= 0.7, 1.0, 0.7 + 0.3 * r2 / 0.7)
    return slope * persistence


def _fit_stack(levels: Floats) -> tuple[Floats, Floats]:
    taps = window.slope_taps(len(levels))
    slope = np.einsum("j,jrc->rc", taps, levels)
    centred = levels - levels.mean(axis=0)
    spread = np.einsum("jrc,jrc->rc", centred, centred)
    ramp = np.arange(len(levels)) - (len(levels) - 1) / 2.0
    with np.errstate(invalid="ignore", divide="ignore"):
        r2 = np.where(spread > 0.0, slope * slope * float(ramp @ ramp) / spread, 0.0)
    return slope, np.clip(r2, 0.0, 1.0)


def large_trades(
    large_buy: Floats,
    large_sell: Floats,
    all_buy: Floats,
    all_sell: Floats,
    liquidated_buy: Floats,
    liquidated_sell: Floats,
) -> Floats:
    """Q ±100: 80 % large-trade imbalance, 20 % imbalance of forced orders of the last hour (§1.3 Q).

    `large_*` are trades at or above the symbol's own p95 of notional (§3.24). The imbalance counts
    fully once large trades are a tenth of the minute's flow. Without a tape there is no data;
    without a forced order that part is silent.
    """
    large = large_buy + large_sell
    flow = all_buy + all_sell
    with np.errstate(invalid="ignore", divide="ignore"):
        tilt = np.where(large > 0.0, (large_buy - large_sell) / large, 0.0)
        weight = np.where(flow > 0.0, np.minimum(1.0, 10.0 * large / flow), 0.0)
        forced = filled(liquidated_buy) + filled(liquidated_sell)
        squeeze = filled(liquidated_buy) - filled(liquidated_sell)
        pressed = np.where(forced > 0.0, squeeze / forced, 0.0)
    return np.where(np.isnan(large + flow), np.nan, 80.0 * tilt * weight + 20.0 * pressed)
