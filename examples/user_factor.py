"""A factor of your own: how far each close lies in its bar's range, averaged over six bars.

Run it: `python examples/user_factor.py`. It registers the factor, gives it a weight and scores a
small made-up market with it. Nothing happens at import. A whole run takes it from its configuration:

    [run]
    factor_files = ["examples/user_factor.py"]
    [params]
    regime_blend = 0.0
    [params.weights]
    T = 8.0
    M = 12.0
    C = 18.0
    S = 10.0
    V = 10.0
    O = 12.0
    L = 12.0
    B = 4.0
    Q = 4.0
    CLV = 10.0
"""

from __future__ import annotations

import msgspec
import numpy as np

from cryptosignal.domain.params import ParamSet
from cryptosignal.factors import window
from cryptosignal.factors.catalogue import BAR_FACTORS, Factor, FactorEngine, register_factor
from cryptosignal.factors.panel import Panel
from cryptosignal.market.views import BarsView, MarketView


def close_location(panel: Panel, params: ParamSet) -> np.ndarray:
    """−1 … 1: closes at the lows … at the highs of their bars. Odd under the mirror of long and
    short, because high and low swap and log prices change sign."""
    width = panel.high - panel.low
    inside = (2.0 * panel.close - panel.high - panel.low) / np.where(width > 0.0, width, np.nan)
    return window.fir(panel.cut(inside, 6), window.mean_taps(6))


MINE = Factor(
    name="CLV",
    unit="share of the bar's range",
    inputs=("bars",),
    interval="1h",
    lookback=6,
    floor=0.02,
    compute=close_location,
    source="Chaikin's close location value",
)


FACTORS = (MINE,)
"""What `run.factor_files = ["examples/user_factor.py"]` registers for a whole run."""


def parameters() -> ParamSet:
    """v6.1 with ten points of weight moved from trend to the new factor."""
    base = ParamSet()
    weights = {**base.weights, "T": base.weights["T"] - 10.0, "CLV": 10.0}
    return msgspec.structs.replace(base, version="v6.1+clv", weights=weights, regime_blend=0.0)


def market(symbols: int = 5, bars: int = 300) -> MarketView:
    """Random candles, enough to show the columns."""
    rng = np.random.default_rng(7)
    close = 100.0 * np.exp(np.cumsum(rng.normal(0, 0.01, (symbols, bars)), axis=1))
    opened = np.concatenate([close[:, :1], close[:, :-1]], axis=1)
    data = np.full((9, symbols, bars), 1000.0)
    data[0], data[3] = opened, close
    data[1], data[2] = np.maximum(opened, close) * 1.002, np.minimum(opened, close) * 0.998
    data[7] = 500.0
    step, nothing = 3_600_000, np.full(symbols, np.nan)
    hours = BarsView(
        "1h",
        step * np.arange(bars, dtype=np.int64),
        data,
        np.full((symbols, bars), 3, dtype=np.int8),
        np.zeros((symbols, bars), dtype=np.int8),
        np.zeros((symbols, bars)),
    )
    names = tuple(f"C{i}USDT" for i in range(symbols))
    return MarketView(
        step * bars, names, np.ones(symbols, dtype=np.bool_), -1, -1, {"1h": hours}, nothing,
        nothing, nothing, nothing, nothing, nothing, nothing, nothing,
    )  # fmt: skip


def main() -> None:
    """Score the made-up market and print the factor's column."""
    engine = FactorEngine(parameters(), register_factor(BAR_FACTORS, MINE))
    rows = engine.compute(market(), scan_id=1, trigger="manual")
    for symbol, score in zip(rows.symbols, rows.columns["score.CLV"], strict=True):
        print(f"{symbol}: CLV {score:+.1f}")


if __name__ == "__main__":
    main()
