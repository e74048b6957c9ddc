"""Keeps the watched universe true while the program runs: listings, delistings, filters, tiers.

The list is double-buffered: a new one takes effect whole or not at all, and a venue that does not
answer, or lists nothing, leaves the old one in force (DOMAIN §0.17). What is held stays streamed
after its delisting until it is gone; nothing new is opened there, for the engine lists it no more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final

import numpy as np

from cryptosignal.domain.instrument import Instrument
from cryptosignal.ground.faults import Fault
from cryptosignal.market.board import Board
from cryptosignal.market.universe import Tiers, UniverseSettings, tiers_of
from cryptosignal.net.feed import MarketFeed
from cryptosignal.signals.decisions import ScanDecisions
from cryptosignal.streams import names

REFRESH_S: Final = 3600.0
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
    ) -> None:
        self._board = board
        self._feed = feed
        self._settings = settings
        self._extra = tuple(extra)
        self._market = tuple(market)
        self._on_note = on_note
        self.symbols: tuple[str, ...] = ()
        """Listed and watched; the scan scores exactly these."""
        self.instruments: dict[str, Instrument] = {}
        self.tiers = Tiers(())
        self._held: tuple[str, ...] = ()
        self._carried: tuple[str, ...] = ()
        self._is_started = False
        self.refreshes = 0
        self.failures = 0

    def start(self) -> None:
        """Ask for the first streams: the front of the list is warm until scores are known."""
        self._is_started = True
        if not self._plan(self.symbols):
            self._feed.set_streams(self.streams())

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
            must_warm=held if self._extra else (),
            must_hot=hot if self._extra else (),
        )
        if set(tiers.warm) == set(self.tiers.warm):  # the order of equals is no news
            tiers = Tiers(tiers.cold, self.tiers.warm, tiers.hot)
        self.tiers = tiers
        after = self.streams()
        if set(after) == set(before):
            return False
        self._feed.set_streams(after)
        return True

    def streams(self) -> list[str]:
        """What the tiers need (DOMAIN §0.17)."""
        tiers, settings = self.tiers, self._settings
        wanted = names.create_combined_streams(tiers.cold, settings.stream_intervals)
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
        """Refresh each hour until cancelled; `on_change` gets the symbols that are new."""
        while True:
            await asyncio.sleep(REFRESH_S)
            added = await self.refresh(choose)
            if added is not None:
                await on_change(added)
