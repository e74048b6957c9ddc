"""Sizes and limits of the market's memory, with the defaults of DOMAIN §1.7 and DESIGN D7."""

from __future__ import annotations

import msgspec

from cryptosignal.ground.units import INTERVAL_MS


class MarketSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How much is kept and when a bar counts as closed.

    `kline_cache_size` bars per symbol and interval, `agg_trade_cache_size` trades no older than
    `agg_trade_window_s` of exchange time, books of `depth_levels` a side. A bar that nobody
    confirmed is usable `close_grace_ms` after its close (D7). `kline_slack` extra columns let the
    window slide in steps. A trade is large at or above the `large_trade_quantile` of the symbol's
    kept trades; `large_trade_block` trades share one threshold. Trades wait `trade_delay_ms` for each
    other before they are decoded.
    """

    intervals: tuple[str, ...] = ("1m", "5m", "15m", "1h", "4h", "1d")
    kline_cache_size: int = 500
    kline_slack: int = 24
    agg_trade_cache_size: int = 1000
    agg_trade_window_s: int = 60
    large_trade_quantile: float = 0.95
    large_trade_block: int = 64
    depth_levels: int = 20
    close_grace_ms: int = 2_500
    freshness_s: int = 300
    late_ms: int = 300
    trade_delay_ms: int = 250
    reorder_window_ms: int = 2_000
    held_bars_max: int = 500
    diff_buffer_max: int = 5_000
    book_levels_max: int = 2_000
    liquidation_window_ms: int = 3_600_000
    liquidations_max: int = 20_000
    open_interest_points: int = 500
    funding_points: int = 200
    spot_bars: int = 200

    def __post_init__(self) -> None:
        for interval in self.intervals:
            if interval not in INTERVAL_MS:
                raise ValueError(f"intervals: {interval!r} (allowed: {', '.join(INTERVAL_MS)})")
        for key in ("kline_cache_size", "kline_slack", "agg_trade_cache_size", "depth_levels"):
            if getattr(self, key) < 1:
                raise ValueError(f"{key}: {getattr(self, key)} (allowed: 1 or more)")
        if not 1 <= self.agg_trade_window_s <= 120:
            raise ValueError(f"agg_trade_window_s: {self.agg_trade_window_s} (allowed: 1 to 120)")
        if not 0 < self.large_trade_quantile < 1:
            raise ValueError(f"large_trade_quantile: {self.large_trade_quantile} (allowed: 0 to 1)")
        if self.close_grace_ms < 0:
            raise ValueError(f"close_grace_ms: {self.close_grace_ms} (allowed: 0 or more)")
