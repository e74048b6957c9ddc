"""The stream hub: who listens to what, and the frames made from trades, books and timers.

Frames are built only for streams that somebody subscribed to. Timing as measured (BINANCE §4):
klines are trade-driven with a 250 ms leading edge, closed by the next bar's first trade or a timer.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from cryptosignal.ground.units import SECOND_MS
from cryptosignal.sim.agenda import Agenda
from cryptosignal.sim.book import Book, Side, changes
from cryptosignal.sim.composite import basket
from cryptosignal.sim.dialect_ws import Frames, asset_index, composite_index, trading_session
from cryptosignal.sim.facts import Facts, spot_base
from cryptosignal.sim.flow import Flow, Trade
from cryptosignal.sim.klines import INTERVALS, KlineDesk, LiveBar, bar_open, next_open
from cryptosignal.sim.links import LEGACY, PUBLIC, SPOT, Link, StreamKind, parse_stream
from cryptosignal.sim.listing import INDEX_BASES
from cryptosignal.sim.settings import VenueSettings
from cryptosignal.sim.tickers import Tickers

SLOTS = 5
"""Timers of one period are spread over this many moments."""
PACE_MAX = 20.0
"""Timers are at most this much sparser at high speed, so that nothing looks dead in venue time."""
FORCE_GAP_MS = 1_000

Post = Callable[[Link, bytes], None]


class Channel(msgspec.Struct, eq=False):
    """One stream with its listeners and the state that its frames need."""

    name: str
    spec: StreamKind
    raw: list[Link]
    wrapped: list[Link]
    prefix: bytes
    live: LiveBar | None = None
    last_text: str = ""
    last_uid: int = 0
    bids: Side = msgspec.field(default_factory=list)
    asks: Side = msgspec.field(default_factory=list)
    seen: list[tuple[Side, Side]] = msgspec.field(default_factory=list)
    sent_ms: int = 0

    @property
    def is_heard(self) -> bool:
        """Anybody listening."""
        return bool(self.raw or self.wrapped)


class Hub:
    """All channels of one venue."""

    def __init__(
        self,
        settings: VenueSettings,
        agenda: Agenda,
        flows: list[Flow],
        books: list[Book],
        klines: KlineDesk,
        facts: Facts,
        tickers: Tickers,
        post: Post,
    ) -> None:
        self._settings = settings
        self._agenda = agenda
        self._flows = flows
        self._books = books
        self._klines = klines
        self._facts = facts
        self._tickers = tickers
        self._post = post
        self.frames = [Frames(flow.listed) for flow in flows]
        self.symbols = {flow.listed.symbol.lower(): i for i, flow in enumerate(flows)}
        self._spot_symbols = {
            f"{spot_base(flow.listed)[0].lower()}usdt": i
            for i, flow in enumerate(flows)
            if flow.listed.has_spot
        }
        self.channels: dict[str, Channel] = {}
        self._by_symbol: list[list[Channel]] = [[] for _ in flows]
        self._timed: dict[tuple[str, int, int], list[Channel]] = {}
        self._beating: set[tuple[str, int, int]] = set()
        """Groups of timed channels that somebody hears."""
        self._force: dict[int, tuple[int, str, int, int]] = {}
        self.on_heard: Callable[[int], None] = lambda _index: None
        self.is_open: Callable[[int], bool] = lambda _index: True
        self.close_fault: Callable[[], tuple[bool, int]] = lambda: (False, 0)
        """Decides for one bar close: (never sent, extra delay ms)."""
        self._closing: set[str] = set()
        self.events = 0

    # --- subscriptions --------------------------------------------------------------------------

    def subscribe(self, link: Link, name: str) -> None:
        """Listen to a stream; unknown or wrongly routed names are accepted and stay silent."""
        if name in link.names:
            return
        link.names[name] = None
        is_spot = link.route == SPOT
        spec = parse_stream(name, self._spot_symbols if is_spot else self.symbols)
        if spec is None or not self._is_routed(link.route, spec):
            return
        key = _key(link, name)
        channel = self.channels.get(key)
        if channel is None:
            spec = msgspec.structs.replace(spec, route=SPOT) if is_spot else spec
            channel = self._open(key, name, spec)
        (channel.wrapped if link.is_combined else channel.raw).append(link)
        if spec.index >= 0:
            self.on_heard(spec.index)

    @staticmethod
    def _is_routed(route: str, spec: StreamKind) -> bool:
        if route == SPOT:
            return spec.kind == "kline"
        return route == spec.route or (route == LEGACY and spec.route == PUBLIC)

    def unsubscribe(self, link: Link, name: str) -> None:
        """Stop listening; not subscribed is fine."""
        if name not in link.names:
            return
        del link.names[name]
        channel = self.channels.get(_key(link, name))
        if channel is None:
            return
        for group in (channel.raw, channel.wrapped):
            if link in group:
                group.remove(link)
        if not channel.is_heard:
            self._shut(channel)

    def drop(self, link: Link) -> None:
        """Forget a link."""
        for name in list(link.names):
            self.unsubscribe(link, name)

    def switch_mode(self, link: Link, *, combined: bool) -> None:
        """SET_PROPERTY combined."""
        if link.is_combined == combined:
            return
        link.is_combined = combined
        for name in link.names:
            channel = self.channels.get(_key(link, name))
            if channel is None:
                continue
            old, new = (
                (channel.raw, channel.wrapped) if combined else (channel.wrapped, channel.raw)
            )
            if link in old:
                old.remove(link)
                new.append(link)

    def _open(self, key: str, name: str, spec: StreamKind) -> Channel:
        prefix = b'{"stream":' + msgspec.json.encode(name) + b',"data":'
        channel = Channel(key, spec, [], [], prefix)
        self.channels[key] = channel
        if spec.kind in ("kline", "continuous"):
            self._open_kline(channel)
        elif spec.kind in ("agg", "trade", "book", "force"):
            self._by_symbol[spec.index].append(channel)
        elif spec.period_ms:
            self._open_timer(channel)
        return channel

    def _open_kline(self, channel: Channel) -> None:
        spec, now = channel.spec, self._agenda.now_ms
        if spec.interval == "1s":
            channel.live = LiveBar("1s", now // SECOND_MS * SECOND_MS)
            self._by_symbol[spec.index].append(channel)
            return
        channel.live = self._klines.current(spec.index, spec.interval, now)
        self._by_symbol[spec.index].append(channel)
        if spec.interval not in self._closing:
            self._closing.add(spec.interval)
            self._arm_close(bar_open(now, spec.interval), spec.interval)

    def _open_timer(self, channel: Channel) -> None:
        spec = channel.spec
        slot = spec.index % SLOTS if spec.index >= 0 else 0
        key = (spec.kind, spec.period_ms, slot)
        group = self._timed.setdefault(key, [])
        group.append(channel)
        if key not in self._beating:
            self._beating.add(key)
            number = list(self._timed).index(key)
            self._agenda.at(self._next_beat(spec, slot), self._beat, number)
        if spec.kind == "depth":
            book = self._books[spec.index]
            now = self._agenda.now_ms
            channel.bids, channel.asks = self._full(book, now)
            channel.last_uid = book.update_id(now)

    def _shut(self, channel: Channel) -> None:
        del self.channels[channel.name]
        if channel.spec.index >= 0 and channel in self._by_symbol[channel.spec.index]:
            self._by_symbol[channel.spec.index].remove(channel)
        for group in self._timed.values():
            if channel in group:
                group.remove(channel)

    def hears_trades(self, index: int) -> bool:
        """Whether any trade-driven stream of a symbol is open."""
        return bool(self._by_symbol[index]) or bool(self.channels.get("!forceOrder@arr"))

    # --- sending ----------------------------------------------------------------------------------

    def send(self, channel: Channel, text: str) -> None:
        """One frame to everyone who listens."""
        payload = text.encode()
        self.events += 1
        for link in channel.raw:
            self._post(link, payload)
        if channel.wrapped:
            whole = channel.prefix + payload + b"}"
            for link in channel.wrapped:
                self._post(link, whole)

    # --- trades -----------------------------------------------------------------------------------

    def on_trade(self, index: int, trade: Trade) -> None:
        """A trade printed: frames of every trade-driven stream of its symbol."""
        now = self._agenda.now_ms
        frames = self.frames[index]
        for channel in self._by_symbol[index]:
            if channel.live is not None:
                self._kline_trade(channel, channel.live, trade, now)
                continue
            kind = channel.spec.kind
            if kind == "agg":
                self.send(channel, frames.agg_trade(trade, now))
            elif kind == "book":
                self._book_ticker(channel, index, now)
            elif kind == "trade":
                self.send(channel, frames.trade(trade, now))
        if self._force_heard(index) and self._books[index].is_shown(trade.agg_id):
            self.on_forced(index, "SELL" if trade.is_sell else "BUY", trade.price, trade.qty)

    def _kline_trade(self, channel: Channel, bar: LiveBar, trade: Trade, now: int) -> None:
        if trade.time_ms > bar.close_ms:
            if not bar.is_closed and bar.trades:
                self._close_bar(channel, bar, now)
            bar.reset(bar_open(trade.time_ms, bar.interval), trade.price)
            bar.emitted_ms = 0
        bar.add(trade)
        if now - bar.emitted_ms >= self._settings.kline_throttle_ms:
            bar.emitted_ms = now
            self._send_kline(channel, bar, now, is_closed=False)

    def _send_kline(self, channel: Channel, bar: LiveBar, now: int, *, is_closed: bool) -> None:
        self.send(channel, self._kline_text(channel, bar, now, is_closed=is_closed))

    def _kline_text(self, channel: Channel, bar: LiveBar, now: int, *, is_closed: bool) -> str:
        index = channel.spec.index
        frames = self.frames[index]
        if channel.spec.route == SPOT:
            fair = self._facts.spot_scale(index, bar.open_ms)
            return frames.spot_kline(bar, now, fair, is_closed=is_closed)
        make = frames.kline if channel.spec.kind == "kline" else frames.continuous
        return make(bar, now, is_closed=is_closed)

    def _close_bar(self, channel: Channel, bar: LiveBar, now: int) -> None:
        bar.is_closed = True
        never, extra_ms = self.close_fault()
        if never:
            return
        if extra_ms:
            self._late(channel, bar, now + extra_ms)
            return
        self._send_kline(channel, bar, now, is_closed=True)

    def _late(self, channel: Channel, bar: LiveBar, due_ms: int) -> None:
        text = self._kline_text(channel, bar, due_ms, is_closed=True)
        self._agenda.at(due_ms, lambda _ms, _n: self.send(channel, text))

    def _arm_close(self, open_ms: int, interval: str) -> None:
        due = next_open(open_ms, interval) + self._settings.kline_close_timer_ms - 1
        self._agenda.at(due, self._close_due, INTERVALS.index(interval))

    def _close_due(self, now: int, number: int) -> None:
        """About 2 s after a bar's end: close it if no trade of the next one has."""
        interval = INTERVALS[number]
        edge = bar_open(now, interval)
        for channel in list(self.channels.values()):
            bar = channel.live
            if bar is None or bar.interval != interval or bar.is_closed or bar.close_ms >= edge:
                continue
            if bar.trades:
                self._close_bar(channel, bar, now)
            elif self._settings.flat_bar_frames:
                self._close_bar(channel, bar, now)
                bar.reset(edge, bar.close)
        self._arm_close(edge, interval)

    def _book_ticker(self, channel: Channel, index: int, now: int) -> None:
        book = self._books[index]
        best = book.best(now)
        text = str(best)
        if text != channel.last_text:
            channel.last_text = text
            self.send(channel, self.frames[index].book_ticker(book.update_id(now), best, now))

    def _force_heard(self, index: int) -> bool:
        name = f"{self.frames[index].symbol.lower()}@forceOrder"
        return name in self.channels or "!forceOrder@arr" in self.channels

    def on_forced(self, index: int, side: str, price: int, qty: int) -> None:
        """A liquidation: the largest per symbol and second is pushed when the second is over."""
        if not self._force_heard(index):
            return
        held = self._force.get(index)
        if held is None:
            self._agenda.at(self._agenda.now_ms + FORCE_GAP_MS, self._push_forced, index)
        if held is None or qty > held[3]:
            self._force[index] = (self._agenda.now_ms, side, price, qty)

    def _push_forced(self, now: int, index: int) -> None:
        held = self._force.pop(index, None)
        if held is None:
            return
        _, side, price, qty = held
        frames = self.frames[index]
        single = self.channels.get(f"{frames.symbol.lower()}@forceOrder")
        if single:
            self.send(single, frames.force_order(side, price, qty, now, in_array=False))
        array = self.channels.get("!forceOrder@arr")
        if array:
            self.send(array, frames.force_order(side, price, qty, now, in_array=True))

    # --- timers -----------------------------------------------------------------------------------

    def _pace(self) -> float:
        return min(self._settings.pace, PACE_MAX)

    def _next_beat(self, spec: StreamKind, slot: int) -> int:
        period = max(1, int(spec.period_ms * self._pace()))
        phase = slot * period // SLOTS
        now = self._agenda.now_ms
        return (now - phase) // period * period + period + phase

    def _beat(self, now: int, number: int) -> None:
        key = list(self._timed)[number]
        kind, period_ms, _slot = key
        group = self._timed[key]
        if not group:
            self._beating.discard(key)
            return
        make = {
            "partial": self._partial,
            "depth": self._diff,
            "mark": self._mark,
            "mini": self._mini,
            "ticker": self._ticker,
            "composite": self._composite,
        }.get(kind, self._array)
        for channel in list(group):
            make(channel, now)
        period = max(1, int(period_ms * self._pace()))
        self._agenda.at(now + period, self._beat, number)

    def _partial(self, channel: Channel, now: int) -> None:
        index, book = channel.spec.index, self._books[channel.spec.index]
        if not self.is_open(index):
            return
        frames, n = self.frames[index], channel.spec.levels
        sides = book.side(now, is_bid=True, count=n), book.side(now, is_bid=False, count=n)
        if sides[0] == channel.bids and sides[1] == channel.asks:
            return
        channel.bids, channel.asks = sides
        bids, asks = frames.levels(sides[0]), frames.levels(sides[1])
        before, uid = channel.last_uid, book.update_id(now)
        channel.last_uid = uid
        self.send(
            channel,
            frames.depth((before + 1 if before else uid, uid, before or uid - 1), bids, asks, now),
        )

    def _full(self, book: Book, now: int) -> tuple[Side, Side]:
        n = self._settings.book_levels
        return book.side(now, is_bid=True, count=n), book.side(now, is_bid=False, count=n)

    def note_snapshot(self, index: int, bids: Side, asks: Side) -> None:
        """A REST snapshot was served: the next diff must also undo what only the snapshot showed."""
        for channel in self.channels.values():
            if channel.spec.kind == "depth" and channel.spec.index == index:
                channel.seen.append((bids, asks))
                del channel.seen[:-8]

    def _diff(self, channel: Channel, now: int) -> None:
        index = channel.spec.index
        if not self.is_open(index):
            return
        book, frames = self._books[index], self.frames[index]
        bids, asks = self._full(book, now)
        old_bids = [channel.bids, *[s[0] for s in channel.seen]]
        old_asks = [channel.asks, *[s[1] for s in channel.seen]]
        bid_changes, ask_changes = changes(old_bids, bids), changes(old_asks, asks)
        channel.seen.clear()
        if not bid_changes and not ask_changes:
            return
        channel.bids, channel.asks = bids, asks
        before, uid = channel.last_uid, book.update_id(now)
        channel.last_uid = uid
        text = frames.depth(
            (before + 1, uid, before), frames.levels(bid_changes), frames.levels(ask_changes), now
        )
        self.send(channel, text)

    def _mark(self, channel: Channel, now: int) -> None:
        index = channel.spec.index
        self.send(channel, self.frames[index].mark(self._facts.mark(index, now), now))

    def _composite(self, channel: Channel, now: int) -> None:
        """Only contracts on an index have one; the stream of any other symbol is silent."""
        row = self.frames[channel.spec.index].row
        if row.base in INDEX_BASES:
            listed = [flow.listed for flow in self._flows]
            level, parts = basket(listed, self._facts, row.index, now)
            self.send(channel, composite_index(row.symbol, level, parts, now))

    def _mini(self, channel: Channel, now: int) -> None:
        day = self._tickers.day(channel.spec.index, now)
        self._if_new(channel, day.last_id, self.frames[channel.spec.index].mini_ticker(day, now))

    def _ticker(self, channel: Channel, now: int) -> None:
        day = self._tickers.day(channel.spec.index, now)
        self._if_new(channel, day.last_id, self.frames[channel.spec.index].ticker(day, now))

    def _if_new(self, channel: Channel, mark: int, text: str) -> None:
        if channel.last_uid != mark:
            channel.last_uid = mark
            self.send(channel, text)

    def _array(self, channel: Channel, now: int) -> None:
        kind = channel.spec.kind
        open_ = [i for i in range(len(self._flows)) if self.is_open(i)]
        if kind == "all_mark":
            self._mark_arrays(channel, open_, now)
        elif kind == "asset":
            self.send(channel, asset_index(now))
        elif kind == "session":
            for market in ("EquityUpdate", "CommodityUpdate"):
                self.send(channel, trading_session(market, now))
        elif kind in ("all_mini", "all_ticker"):
            self._ticker_array(channel, open_, now)
        elif kind == "all_book":
            for index in open_:
                book = self._books[index]
                self.send(
                    channel,
                    self.frames[index].book_ticker(book.update_id(now), book.best(now), now),
                )

    def _mark_arrays(self, channel: Channel, open_: list[int], now: int) -> None:
        """TradFi symbols come in a message of their own (BINANCE §4)."""
        coins: list[str] = []
        tradfi: list[str] = []
        for i in open_:
            is_coin = self._flows[i].listed.contract_type == "PERPETUAL"
            (coins if is_coin else tradfi).append(
                self.frames[i].mark(self._facts.mark(i, now), now)
            )
        for rows in (coins, tradfi):
            if rows:
                self.send(channel, "[" + ",".join(rows) + "]")

    def _ticker_array(self, channel: Channel, open_: list[int], now: int) -> None:
        rows = []
        for index in open_:
            flow = self._flows[index]
            flow.skip_to(now)
            if flow.last_ms < channel.sent_ms:
                continue
            day = self._tickers.day(index, now)
            frames = self.frames[index]
            make = frames.mini_ticker if channel.spec.kind == "all_mini" else frames.ticker
            rows.append(make(day, now))
        channel.sent_ms = now - SECOND_MS // 2
        if rows:
            self.send(channel, "[" + ",".join(rows) + "]")


def _key(link: Link, name: str) -> str:
    """Channels of the spot pairs live beside the contracts' under a name of their own."""
    return f"spot:{name}" if link.route == SPOT else name
