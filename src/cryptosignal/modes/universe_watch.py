"""Keeps the watched universe true while the program runs: listings, delistings, filters, tiers.

The list is double-buffered: a new one takes effect whole or not at all, and a venue that does not
answer, or lists nothing, leaves the old one in force (DOMAIN §0.17). It is read each hour, and at once
when the venue tells of a contract: a new coin's first minutes count (§1.8). What is held stays streamed
after its delisting until it is gone; nothing new is opened there, for the engine lists it no more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final

import numpy as np

from cryptosignal.domain.instrument import Instrument
from cryptosignal.ground.faults import Fault, UserFault
from cryptosignal.market.board import Board
from cryptosignal.market.pools import (
    ELITE_CACHE_MS,
    OVERLAY_CACHE_MS,
    Pool,
    PoolSettings,
    elite,
    overlay,
)
from cryptosignal.market.universe import (
    NEW_COIN_INTERVALS,
    Tiers,
    UniverseSettings,
    is_new_coin,
    tiers_of,
)
from cryptosignal.market.views import MarketView
from cryptosignal.net.feed import MarketFeed
from cryptosignal.signals.decisions import ScanDecisions
from cryptosignal.streams import names

REFRESH_S: Final = 3600.0
CONTRACT_LOOK_S: Final = 10.0
"""How soon a word of the venue on its contracts is followed by a look at the whole list."""
KEPT_SHARE: Final = 1.25
"""A warm symbol stays warm until its rank falls this far past the tier's size: no flapping."""

OnNote = Callable[[str, dict[str, str | int | float]], None]
Choose = Callable[[], Awaitable[list[Instrument]]]


class UniverseWatch:
    """Plans streams by tier and replaces the universe when the venue's list changes."""

    def __init__(
        self,
        board: Board,
        feed: MarketFeed,
        settings: UniverseSettings,
        extra: Sequence[str],
        market: Sequence[str],
        on_note: OnNote,
        *,
        watchlist: Sequence[str] = (),
        pools: PoolSettings | None = None,
    ) -> None:
        self._board = board
        self._feed = feed
        self._settings = settings
        self._extra = tuple(extra)
        self._market = tuple(market)
        self._on_note = on_note
        self._watchlist = tuple(watchlist)
        self._pool_settings = pools or PoolSettings()
        self.symbols: tuple[str, ...] = ()
        """Listed and watched; the scan scores exactly these."""
        self.instruments: dict[str, Instrument] = {}
        self.tiers = Tiers(())
        self._held: tuple[str, ...] = ()
        self._pools: dict[str, tuple[int, Pool]] = {}
        self._new_coins: tuple[str, ...] = ()
        self.on_series_wanted: Callable[[str, str], None] = lambda _symbol, _interval: None
        """Asked for the history of (symbol, interval) that only new coins have."""
        self._carried: tuple[str, ...] = ()
        self._is_started = False
        self._is_planned = False
        self.refreshes = 0
        self.failures = 0

    def start(self) -> None:
        """Ask for the first streams: the front of the list is warm until scores are known."""
        self._is_started = True
        if not self._plan(self.symbols):
            self._feed.set_streams(self.streams())
        self._is_planned = True

    def carry(self, streams: Sequence[str]) -> None:
        """Streams beside the tiers' own, wanted for a while (replaces the former ones)."""
        if tuple(streams) == self._carried:
            return
        self._carried = tuple(streams)
        if self._is_started:
            self._feed.set_streams(self.streams())

    def take(self, chosen: Sequence[Instrument]) -> None:
        """These contracts are the universe from now on, most liquid first."""
        self.instruments = {item.symbol: item for item in chosen}
        self.symbols = tuple(self.instruments)
        self._board.set_universe(chosen)

    # ---- tiers --------------------------------------------------------------------------------
    def replan(self, decisions: ScanDecisions, held: Iterable[str]) -> bool:
        """Tiers anew after a scan: best by attainable score warm; held and due for entry hot.

        Answers whether the streams changed.
        """
        held = self._held = tuple(held)
        strength = np.nan_to_num(decisions.strength, nan=-1.0)
        order = np.argsort(-strength, kind="stable").tolist()
        ranked = [decisions.rows.symbols[i] for i in order]
        front = set(ranked[: int(self._settings.warm_max * KEPT_SHARE)])
        kept = [symbol for symbol in self.tiers.warm if symbol in front]
        entering = [decision.symbol for decision in decisions.prime()]
        return self._plan([*kept, *ranked], held, [*held, *entering])

    def look(self, view: MarketView) -> None:
        """Make the pools anew where their time is over: Elite after a day, Overlay after an hour
        (DOMAIN §1.2); one that cannot be made yet leaves the former in force."""
        self._find_new_coins(view)
        if "1h" not in view.bars:
            return
        due = {
            name: name not in self._pools or view.time_ms - self._pools[name][0] >= age_ms
            for name, age_ms in (("elite", ELITE_CACHE_MS), ("overlay", OVERLAY_CACHE_MS))
        }
        if due["elite"]:
            self._pools["elite"] = view.time_ms, elite(view, self._pool_settings)
        if due["overlay"]:
            made = overlay(view, self._pools["elite"][1], self._pool_settings)
            self._pools["overlay"] = view.time_ms, made
            self._board.set_overlay(made.symbols)

    def pooled(self) -> list[str]:
        """Overlay, then Elite, at most two thirds of the warm tier: the rest is for the best by
        score, which without a book are no signals."""
        pools = [self._pools[name][1] for name in ("overlay", "elite") if name in self._pools]
        listed = dict.fromkeys(symbol for pool in pools for symbol in pool.symbols)
        return list(listed)[: self._settings.warm_max - self._settings.warm_max // 3]

    def _find_new_coins(self, view: MarketView) -> None:
        """Decided from the listing date, before anything is fetched (§1.8); their series that no
        other symbol has are asked for once."""
        young = [
            symbol
            for symbol, item in self.instruments.items()
            if item.onboard_ms and is_new_coin(item.onboard_ms, view.time_ms, 0, self._settings)
        ]
        added = [symbol for symbol in young if symbol not in self._new_coins]
        self._new_coins = tuple(young)
        apart = [i for i in NEW_COIN_INTERVALS if i not in self._settings.stream_intervals]
        for symbol in added:
            for interval in apart:
                self.on_series_wanted(symbol, interval)

    def _plan(
        self, by_score: Iterable[str], held: Sequence[str] = (), hot: Sequence[str] = ()
    ) -> bool:
        before = self.streams()
        known = tuple(dict.fromkeys([*self.symbols, *held]))
        ranked = dict.fromkeys(by_score) if self._extra else {}
        tiers = tiers_of(
            known,
            self._settings,
            by_score=ranked,
            must_warm=[*held, *self._watchlist, *self.pooled()] if self._extra else (),
            must_hot=hot if self._extra else (),
            new_coins=self._new_coins,
        )
        if set(tiers.warm) == set(self.tiers.warm):  # the order of equals is no news
            tiers = Tiers(tiers.cold, self.tiers.warm, tiers.hot, tiers.new_coins)
        former, self.tiers = self.tiers, tiers
        after = self.streams()
        if set(after) == set(before):
            return False
        try:
            self._feed.set_streams(after)
        except UserFault as fault:
            if not self._is_planned:
                raise  # at the start a person is there to mend it
            self.tiers = former
            self._on_note("streams.were_kept", {"reason": str(fault)})
            return False
        return True

    def streams(self) -> list[str]:
        """What the tiers need (DOMAIN §0.17)."""
        tiers, settings = self.tiers, self._settings
        wanted = names.create_combined_streams(tiers.cold, settings.stream_intervals)
        wanted += names.create_combined_streams(tiers.new_coins, NEW_COIN_INTERVALS)
        wanted += [f"{symbol.lower()}@{kind}" for symbol in tiers.warm for kind in self._extra]
        wanted += [f"{symbol.lower()}@{settings.diff_stream}" for symbol in tiers.hot]
        return list(dict.fromkeys([*wanted, *self._market, *self._carried])) if tiers.cold else []

    # ---- the list -----------------------------------------------------------------------------
    async def refresh(self, choose: Choose) -> tuple[str, ...] | None:
        """Read the venue's list; answers the new symbols, None if all stays as it was."""
        self.refreshes += 1
        try:
            chosen = await choose()
        except Fault as fault:
            self.failures += 1
            self._on_note("universe.was_kept", {"reason": str(fault)})
            return None
        if not chosen:
            self.failures += 1
            self._on_note("universe.was_kept", {"reason": "the venue lists nothing to watch"})
            return None
        by_symbol = {item.symbol: item for item in chosen}
        added = tuple(symbol for symbol in by_symbol if symbol not in self.instruments)
        gone = tuple(symbol for symbol in self.symbols if symbol not in by_symbol)
        ordered = [by_symbol[s] for s in (*self.symbols, *added) if s in by_symbol]
        if not added and not gone and by_symbol == self.instruments:
            return None
        self.take(ordered)
        self._plan([*self.tiers.warm, *self.symbols], self._held, self.tiers.hot)
        self._on_note(
            "universe.has_changed",
            {"added": " ".join(added), "gone": " ".join(gone), "symbols": len(self.symbols)},
        )
        return added

    async def run(
        self, choose: Choose, on_change: Callable[[tuple[str, ...]], Awaitable[None]]
    ) -> None:
        """Refresh when due until cancelled; `on_change` gets the symbols that are new."""
        while True:
            await self._due()
            added = await self.refresh(choose)
            if added is not None:
                await on_change(added)

    async def _due(self) -> None:
        """Return after an hour, or sooner if the venue told of a contract meanwhile."""
        told = self._contracts_told()
        for _ in range(round(REFRESH_S / CONTRACT_LOOK_S)):
            await asyncio.sleep(CONTRACT_LOOK_S)
            if self._contracts_told() != told:
                return

    def _contracts_told(self) -> int:
        stream = self._board.inbox.streams.get(names.CONTRACT_STREAM)
        return 0 if stream is None else stream.count
