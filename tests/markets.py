"""Made-up markets as `MarketView`s: random walks with taker flow, OI, funding, books and tapes."""

from __future__ import annotations

import dataclasses

import numpy as np

from cryptosignal.ground.units import HOUR_MS, INTERVAL_MS
from cryptosignal.market.views import BarsView, BookView, FlowView, MarketView, SeriesView

START_MS = 1_700_000_000_000 // 86_400_000 * 86_400_000
INTERVALS = ("15m", "1h", "4h", "1d")


def bars_of(interval, open_ms, fields):
    """A `BarsView` from arrays [symbol, bar] in field order, all bars confirmed."""
    data = np.stack([np.asarray(x, dtype=np.float64) for x in fields])
    shape = data.shape[1:]
    present = ~np.isnan(data[3])
    return BarsView(
        interval,
        np.asarray(open_ms, dtype=np.int64),
        data,
        np.where(present, 3, 0).astype(np.int8),
        np.zeros(shape, dtype=np.int8),
        np.where(present, 120.0, np.nan),
    )


def walk_bars(rng, symbols, bars, interval, end_ms, sigma=0.008, drift=0.0, common=0.5):
    """Random-walk candles of `symbols` coins; symbol 0 is the market that the others share."""
    market = rng.normal(0.0, sigma, (1, bars))
    own = rng.normal(drift, sigma, (symbols, bars))
    returns = common * market + own
    returns[0] = market[0]
    close = np.exp(np.cumsum(returns, axis=1)) * 10.0 ** rng.uniform(-3, 4, (symbols, 1))
    start = close[:, :1] / np.exp(returns[:, :1])
    opened = np.concatenate([start, close[:, :-1]], axis=1)
    high = np.maximum(opened, close) * np.exp(np.abs(rng.normal(0, sigma / 2, close.shape)))
    low = np.minimum(opened, close) * np.exp(-np.abs(rng.normal(0, sigma / 2, close.shape)))
    base = rng.lognormal(0.0, 0.5, close.shape) * 2e6 / close[:, :1]
    taker = base * np.clip(rng.normal(0.5, 0.08, close.shape), 0.02, 0.98)
    step = INTERVAL_MS[interval]
    open_ms = end_ms - step * np.arange(bars, 0, -1)
    middle = (high + low) / 2.0
    return bars_of(
        interval,
        open_ms,
        [opened, high, low, close, base, base * middle, base / 50, taker, taker * middle],
    )


def fold(bars, factor, interval):
    """Bars of a longer interval from whole groups of `factor` bars, aligned to the newest bar."""
    count = bars.data.shape[2] // factor
    data = bars.data[:, :, -count * factor :].reshape(9, bars.data.shape[1], count, factor)
    return bars_of(
        interval,
        bars.open_ms[-count * factor :: factor],
        [
            data[0, :, :, 0],
            data[1].max(axis=2),
            data[2].min(axis=2),
            data[3, :, :, -1],
            *(data[k].sum(axis=2) for k in range(4, 9)),
        ],
    )


def book_of(rng, mid, spread_bps=3.0, depth_usdt=3e5, levels=20, tilt=None):
    """Twenty levels a side; `tilt` (−1…1 per symbol) moves quantity from asks to bids."""
    symbols = len(mid)
    steps = spread_bps / 2.0 + 1.5 * np.arange(levels)
    wobble = rng.uniform(0.8, 1.2, (2, symbols, levels))
    tilt = np.zeros(symbols) if tilt is None else np.asarray(tilt)
    size = depth_usdt / levels / mid[:, None]
    return BookView(
        mid[:, None] * np.exp(-steps / 1e4),
        size * wobble[0] * (1.0 + tilt[:, None]),
        mid[:, None] * np.exp(steps / 1e4),
        size * wobble[1] * (1.0 - tilt[:, None]),
        np.full(symbols, 200.0),
    )


def random_market(seed, symbols=12, hours=400, live=True, end_ms=None, sigma=0.008):
    """A market with everything in it and no edge: independent walks, flows, OI, funding, books."""
    rng = np.random.default_rng(seed)
    end = START_MS if end_ms is None else end_ms
    quarter = walk_bars(rng, symbols, hours * 4, "15m", end, sigma / 2.0)
    hour = fold(quarter, 4, "1h")
    bars = {"15m": _newest(quarter, 499), "1h": _newest(hour, 499)}
    bars["4h"] = _newest(fold(quarter, 16, "4h"), 499)
    days = walk_bars(rng, symbols, 99, "1d", end // 86_400_000 * 86_400_000, sigma * 5)
    bars["1d"] = days
    close = hour.close[:, -1]
    names = ("BTCUSDT", "ETHUSDT", *(f"C{i:03d}USDT" for i in range(2, symbols)))[:symbols]
    points = 200
    oi = np.exp(np.cumsum(rng.normal(0, 0.01, (symbols, points)), axis=1)) * 1e6
    rates = rng.normal(0.0, 1e-4, (symbols, 90))
    rate = rng.normal(0.0, 1e-4, symbols)
    return MarketView(
        end,
        names,
        np.ones(symbols, dtype=np.bool_),
        0,
        1,
        bars,
        np.full(symbols, 0.99) if live else np.full(symbols, np.nan),
        np.full(symbols, end - 800.0 * 86_400_000),
        10.0 ** np.floor(np.log10(close) - 4),
        close * np.exp(rng.normal(0, 2e-4, symbols)),
        close.copy(),
        rate,
        np.full(symbols, end + 4.0 * HOUR_MS),
        np.full(symbols, 5e7),
        funding_history=SeriesView(end - 8 * HOUR_MS * np.arange(89, -1, -1), rates),
        open_interest=SeriesView(end - HOUR_MS * np.arange(points - 1, -1, -1), oi),
        book=book_of(rng, close, tilt=rng.uniform(-0.2, 0.2, symbols)) if live else None,
        flow=_tape(rng, symbols) if live else None,
        liquidation_buy_usdt=rng.exponential(1e4, symbols) if live else None,
        liquidation_sell_usdt=rng.exponential(1e4, symbols) if live else None,
    )


def mirrored(view):
    """DOMAIN §0.11: ln P → −ln P, high↔low, taker buy↔sell, bid↔ask, funding and basis negated."""
    return dataclasses.replace(
        view,
        bars={name: _mirror_bars(bars) for name, bars in view.bars.items()},
        spot_1h=None if view.spot_1h is None else _mirror_bars(view.spot_1h),
        mark=1.0 / view.mark,
        index=1.0 / view.index,
        funding_rate=-view.funding_rate,
        funding_history=_negated(view.funding_history),
        book=_mirror_book(view.book),
        flow=_mirror_flow(view.flow),
        liquidation_buy_usdt=view.liquidation_sell_usdt,
        liquidation_sell_usdt=view.liquidation_buy_usdt,
    )


def poisoned(view, after_ms, value=1e30):
    """Everything later than `after_ms` set to nonsense: nothing may change (no look-ahead)."""
    bars = {}
    for name, old in view.bars.items():
        data = old.data.copy()
        data[:, :, old.open_ms + INTERVAL_MS[name] > after_ms] = value
        bars[name] = dataclasses.replace(old, data=data)
    return dataclasses.replace(
        view,
        bars=bars,
        funding_history=_poison_series(view.funding_history, after_ms, value),
        open_interest=_poison_series(view.open_interest, after_ms, value),
    )


def permuted(view, order):
    """The same market with its slots in another order."""
    order = np.asarray(order)
    place = {int(old): new for new, old in enumerate(order)}

    def pick(x):
        return None if x is None else x[order]

    def pick_bars(b):
        return BarsView(
            b.interval,
            b.open_ms,
            b.data[:, order],
            b.finality[order],
            b.source[order],
            b.lag_ms[order],
        )

    def pick_all(record):
        return (
            None
            if record is None
            else type(record)(*(getattr(record, f.name)[order] for f in dataclasses.fields(record)))
        )

    def pick_series(s):
        return None if s is None else SeriesView(s.time_ms, s.value[order])

    return dataclasses.replace(
        view,
        symbols=tuple(view.symbols[i] for i in order),
        active=view.active[order],
        btc=place.get(view.btc, -1),
        eth=place.get(view.eth, -1),
        bars={name: pick_bars(b) for name, b in view.bars.items()},
        spot_1h=None if view.spot_1h is None else pick_bars(view.spot_1h),
        book=pick_all(view.book),
        flow=pick_all(view.flow),
        funding_history=pick_series(view.funding_history),
        open_interest=pick_series(view.open_interest),
        open_interest_usdt=pick_series(view.open_interest_usdt),
        **{
            name: pick(getattr(view, name))
            for name in (
                "quality", "onboard_ms", "tick_size", "mark", "index", "funding_rate",
                "next_funding_ms", "quote_volume_24h", "liquidation_buy_usdt",
                "liquidation_sell_usdt",
            )
        },
    )  # fmt: skip


def scaled(view, factor):
    """Every price times `factor`, every base quantity divided by it."""
    bars = {}
    for name, old in view.bars.items():
        data = old.data.copy()
        data[:4] *= factor
        data[4] /= factor
        data[7] /= factor
        bars[name] = dataclasses.replace(old, data=data)
    book = view.book
    if book is not None:
        book = BookView(
            book.bid_price * factor, book.bid_qty / factor,
            book.ask_price * factor, book.ask_qty / factor, book.age_ms,
        )  # fmt: skip
    oi = view.open_interest
    return dataclasses.replace(
        view,
        bars=bars,
        book=book,
        mark=view.mark * factor,
        index=view.index * factor,
        tick_size=view.tick_size * factor,
        open_interest=None if oi is None else SeriesView(oi.time_ms, oi.value / factor),
    )


def _tape(rng, symbols):
    buy, sell = rng.exponential(5e5, (2, symbols))
    share = rng.uniform(0.0, 0.6, (2, symbols))
    return FlowView(buy, sell, buy * share[0], sell * share[1], np.full(symbols, 300.0))


def _newest(bars, count):
    return BarsView(
        bars.interval,
        bars.open_ms[-count:],
        bars.data[:, :, -count:],
        bars.finality[:, -count:],
        bars.source[:, -count:],
        bars.lag_ms[:, -count:],
    )


def _mirror_bars(bars):
    data = bars.data.copy()
    data[0], data[3] = 1.0 / bars.data[0], 1.0 / bars.data[3]
    data[1], data[2] = 1.0 / bars.data[2], 1.0 / bars.data[1]
    data[7] = bars.data[4] - bars.data[7]
    data[8] = bars.data[5] - bars.data[8]
    return dataclasses.replace(bars, data=data)


def _mirror_book(book):
    if book is None:
        return None
    return BookView(
        1.0 / book.ask_price, book.ask_qty, 1.0 / book.bid_price, book.bid_qty, book.age_ms
    )


def _mirror_flow(flow):
    if flow is None:
        return None
    return FlowView(
        flow.sell_usdt, flow.buy_usdt, flow.large_sell_usdt, flow.large_buy_usdt, flow.trades
    )


def _negated(series):
    return None if series is None else SeriesView(series.time_ms, -series.value)


def _poison_series(series, after_ms, value):
    if series is None:
        return None
    return SeriesView(series.time_ms, np.where(series.time_ms > after_ms, value, series.value))


def young_market(seed, symbols=10, age_hours=250.0, days=12):
    """Coins listed `age_hours` ago (BTC and ETH of old), their candles folded from one minute path."""
    rng = np.random.default_rng(seed)
    minute = walk_bars(rng, symbols, 1440 * days, "1m", START_MS, 0.0012)
    old = random_market(seed, symbols, hours=100)
    onboard = np.full(symbols, START_MS - age_hours * HOUR_MS)
    onboard[:2] = old.onboard_ms[:2]
    return dataclasses.replace(old, bars=folds(minute), onboard_ms=onboard)


def folds(minute):
    """Every interval from one minute path."""
    longer = {"5m": 5, "15m": 15, "1h": 60, "4h": 240, "1d": 1440}
    return {"1m": minute} | {name: fold(minute, k, name) for name, k in longer.items()}


def with_ignition(view, start, length=40, move=0.10, louder=6.0, share=0.72):
    """All but BTC and ETH run up by `move` over `length` minutes from minute `start` on, bought by
    takers on `louder` times the volume."""
    data = view.bars["1m"].data.copy()
    ramp = np.concatenate([np.zeros(start), np.linspace(0.0, move, length)])
    ramp = np.concatenate([ramp, np.full(data.shape[2] - len(ramp), move)])
    data[:4, 2:] *= np.exp(ramp)
    run = slice(start, start + length)
    data[4:6, 2:, run] *= louder
    data[7, 2:, run] = share * data[4, 2:, run]
    return dataclasses.replace(view, bars=folds(dataclasses.replace(view.bars["1m"], data=data)))
