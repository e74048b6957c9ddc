"""Which symbols are watched how closely: cold, warm, hot, and the new-coin feed (DOMAIN §0.17, §1.8).

Cold symbols are scored from candles; warm ones (top by attainable score, pools, positions) also
carry aggTrade and depth20; hot ones, before an entry, a full difference book. The streams of a
universe follow from its tiers alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from cryptosignal.ground.units import DAY_MS
from cryptosignal.streams import names

NEW_COIN_INTERVALS = ("1m", "5m", "15m")


class UniverseSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Streamed intervals (the day comes by REST), tier sizes, and when a coin is new."""

    stream_intervals: tuple[str, ...] = ("1m", "5m", "15m", "1h", "4h")
    warm_max: int = 60
    hot_max: int = 40
    new_coin_days: int = 14
    new_coin_bars_1h: int = 400
    new_coins_max: int = 40
    depth_stream: str = "depth20@100ms"
    diff_stream: str = "depth@100ms"

    def __post_init__(self) -> None:
        if not 0 <= self.hot_max <= 40:
            raise ValueError(f"universe.hot_max: found {self.hot_max}, allowed: 0 to 40")
        if self.warm_max < 0:
            raise ValueError(f"universe.warm_max: found {self.warm_max}, allowed: 0 or more")


class Tiers(msgspec.Struct, frozen=True):
    """Symbols by tier; a hot symbol is warm too, a warm one cold too."""

    cold: tuple[str, ...]
    warm: tuple[str, ...] = ()
    hot: tuple[str, ...] = ()
    new_coins: tuple[str, ...] = ()


def tiers_of(
    symbols: Sequence[str],
    settings: UniverseSettings,
    *,
    by_score: Iterable[str] = (),
    must_warm: Iterable[str] = (),
    must_hot: Iterable[str] = (),
    new_coins: Iterable[str] = (),
) -> Tiers:
    """Tiers of a universe: positions and pools (`must_warm`, never cut), then the best by attainable
    score up to `warm_max`; hot ones up to `hot_max`."""
    known = set(symbols)
    hot = [s for s in dict.fromkeys(must_hot) if s in known][: settings.hot_max]
    required = [s for s in dict.fromkeys([*hot, *must_warm]) if s in known]
    ranked = [s for s in by_score if s in known and s not in set(required)]
    warm = required + ranked[: max(0, settings.warm_max - len(required))]
    young = [s for s in dict.fromkeys(new_coins) if s in known][: settings.new_coins_max]
    return Tiers(tuple(symbols), tuple(warm), tuple(hot), tuple(young))


def streams_of(tiers: Tiers, settings: UniverseSettings) -> list[str]:
    """The streams that the tiers need: candles of all, trades and books of the warm, differences of
    the hot, and the whole-market arrays (marks, tickers, forced orders)."""
    wanted = names.create_combined_streams(tiers.cold, settings.stream_intervals)
    wanted += names.create_combined_streams(tiers.new_coins, NEW_COIN_INTERVALS)
    wanted += names.create_combined_streams(tiers.warm, (), ("aggTrade", settings.depth_stream))
    wanted += names.create_combined_streams(tiers.hot, (), (settings.diff_stream,))
    wanted += [names.MARK_ARRAY_STREAM, names.TICKER_ARRAY_STREAM, names.FORCE_ORDER_STREAM]
    return list(dict.fromkeys(wanted))


def is_new_coin(onboard_ms: float, now_ms: int, bars_1h: int, settings: UniverseSettings) -> bool:
    """Young, or with too little history (§1.8); decided from the listing date before any fetch.

    An unknown listing date says nothing: bars decide then, so that BTC is never "new" because a
    cache is empty (DOMAIN §3.22) unless its date is unknown too.
    """
    if onboard_ms == onboard_ms and onboard_ms > 0:
        age_days = (now_ms - onboard_ms) / DAY_MS
        return age_days < settings.new_coin_days or age_days * 24 < settings.new_coin_bars_1h
    return bars_1h < settings.new_coin_bars_1h
