"""DataQual: how far each symbol's data can be trusted, 0 to 1, and why it fell (DOMAIN §1.6, §0.1).

1 − Σ weight·rate over a rolling window of real events, then hard limits per component, then the
heartbeat's level, then the latch: a symbol that fell must show `recovery_bars` good bars of its
shortest interval before it may be Prime again. Without events there is no score, and no trust.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import numpy as np

from cryptosignal.domain.events import QualityChanged
from cryptosignal.ground.units import INTERVAL_MS
from cryptosignal.market.board import Board
from cryptosignal.market.tally import FIELDS, Tally
from cryptosignal.market.views import Floats
from cryptosignal.quality.settings import PROFILES, Profile, QualitySettings
from cryptosignal.streams.heartbeat import heartbeat_penalty

COMPONENTS: Final = ("miss", "order", "drift", "mismatch")
_OWN_STREAMS: Final = 5
"""Streams of a symbol as §0.22 counts them: those of the whole market add to these."""
_EVENTS: Final = FIELDS.index("events")
_BAD: Final = [
    FIELDS.index(name)
    for name in ("bars_missed", "silent", "ids_missed", "disordered", "late", "mismatched")
]
_TOTAL: Final = [
    FIELDS.index(name) for name in ("bars_due", "checks", "ids", "events", "events", "compared")
]
_IDS_ROW: Final = 2
"""Of these rates the first three are one component: what is missing, by whichever says most."""
LEVELS: Final = ("none", "stop", "watch", "hold", "prime", "excellent")


class QualityBook:
    """Scores of all symbols. `refresh` takes the board's tally and writes scores back to it."""

    def __init__(self, settings: QualitySettings | None = None, capacity: int = 600) -> None:
        self.settings = settings or QualitySettings()
        self.profile: Profile = PROFILES[self.settings.profile]
        self._weights = np.array([getattr(self.profile, name) for name in COMPONENTS])
        limits = [getattr(self.profile, f"{name}_limits") for name in COMPONENTS]
        self._warn = np.array([low for low, _ in limits])[:, None]
        self._stop = np.array([high for _, high in limits])[:, None]
        self._steps = self.settings.window_s // self.settings.step_s
        self._step = -1
        self._allocate(capacity)
        self.reasons: dict[str, str] = {}

    def _allocate(self, capacity: int) -> None:
        self._ring = np.zeros((self._steps, len(FIELDS), capacity))
        self._sums = np.zeros((len(FIELDS), capacity))
        self.score: Floats = np.full(capacity, np.nan)
        self.rates = np.zeros((len(COMPONENTS), capacity))
        self._level = np.zeros(capacity, np.int8)
        self._latched = np.zeros(capacity, np.bool_)
        self._good_bars = np.zeros(capacity, np.int64)
        self._penalty = np.zeros(capacity)
        self._ceiling = np.ones(capacity)
        self._lost = np.zeros(capacity, np.bool_)
        self._silent: dict[int, list[str]] = {}
        self._shortest: dict[int, int] = {}
        self._rest_ms: Floats = np.full(capacity, np.nan)

    def _grow(self, capacity: int) -> None:
        old = dict(vars(self))
        self._allocate(capacity)
        for name, value in old.items():
            if isinstance(value, np.ndarray) and name not in ("_weights", "_warn", "_stop"):
                getattr(self, name)[..., : value.shape[-1]] = value
        self._silent, self._shortest = old["_silent"], old["_shortest"]

    # ---- events -------------------------------------------------------------------------------
    def on_bar(self, slot: int, interval: str, now_ms: int) -> None:
        """A bar closed: bars of the symbol's shortest interval count towards recovery."""
        if slot >= len(self.score):
            self._grow(max(2 * len(self.score), slot + 1))
        step = INTERVAL_MS[interval]
        shortest = min(step, self._shortest.get(slot, step))
        self._shortest[slot] = shortest
        if step == shortest and self._latched[slot]:
            self._good_bars[slot] += 1

    def on_silence(self, board: Board, dead: Iterable[str]) -> None:
        """The streams that the last heartbeat check found silent: sets the level of §0.22. One of
        the whole market concerns every symbol that is streamed."""
        silent: dict[int, list[str]] = {}
        for name in dead:
            silent.setdefault(board.inbox.streams[name].slot, []).append(name)
        of_all = silent.pop(-1, [])
        counts: dict[int, int] = {}
        if silent or of_all:
            for stream in board.inbox.streams.values():
                if stream.is_wanted and stream.slot >= 0:
                    counts[stream.slot] = counts.get(stream.slot, 0) + 1
        if max(counts, default=0) >= len(self._penalty):
            self._grow(max(2 * len(self._penalty), max(counts) + 1))
        self._penalty[:] = 0.0
        self._ceiling[:] = 1.0
        for slot, streams in silent.items():
            taken, ceiling = heartbeat_penalty(len(streams), counts.get(slot, len(streams)))
            self._penalty[slot], self._ceiling[slot] = taken, ceiling
        for slot in counts if of_all else ():
            self._penalty[slot] += heartbeat_penalty(len(of_all), _OWN_STREAMS)[0]
            silent[slot] = [*silent.get(slot, ()), *of_all]
        self._silent = silent

    def on_lost(self, board: Board, names: Iterable[str]) -> None:
        """The streams whose connection is gone now: their symbols are not Prime until it is back,
        and at once again then if nothing was missed (replaces the former set)."""
        self._lost[:] = False
        known = board.inbox.streams
        slots = {known[name].slot for name in names if name in known} - {-1}
        if slots:
            if max(slots) >= len(self._lost):
                self._grow(max(2 * len(self._lost), max(slots) + 1))
            self._lost[list(slots)] = True

    def on_rest(self, slot: int, now_ms: int) -> None:
        """The symbol's bars were read by REST because its streams are down: judged by age."""
        self._rest_ms[slot] = now_ms

    # ---- scoring ------------------------------------------------------------------------------
    def refresh(self, board: Board, now_ms: int) -> list[QualityChanged]:
        """Scores as of now; answers the symbols whose level changed."""
        tally = board.take_tally()
        count = len(board.symbols)
        if len(tally.events) > len(self.score):
            self._grow(len(tally.events))
        self._roll(tally, now_ms)
        raw = self._raw(now_ms)
        return self._settle(board, raw, count)

    def _roll(self, tally: Tally, now_ms: int) -> None:
        step = now_ms // (self.settings.step_s * 1000)
        if self._step < 0 or step < self._step:  # the first look, or a clock that was set back
            self._step = step
        while self._step < step:
            self._step = max(self._step + 1, step - self._steps)
            oldest = self._ring[self._step % self._steps]
            self._sums -= oldest
            oldest[:] = 0.0
        fresh = np.array(tally)
        width = fresh.shape[1]
        self._ring[self._step % self._steps, :, :width] += fresh
        self._sums[:, :width] += fresh

    def _raw(self, now_ms: int) -> Floats:
        """Score before latch: rates, weights, hard limits, heartbeat level."""
        bad, total = self._sums[_BAD], self._sums[_TOTAL]
        total[_IDS_ROW] += bad[_IDS_ROW]
        rates = np.divide(bad, total, out=np.zeros_like(bad), where=total > 0)
        rates[_IDS_ROW] = rates[: _IDS_ROW + 1].max(axis=0)
        self.rates = rates[_IDS_ROW:]
        score = 1.0 - self._weights @ self.rates
        score = np.minimum(np.maximum(score, 0.0), 1.0) - self._penalty
        settings = self.settings
        if self.rates.any():
            for limits, ceiling in (
                (self._warn, settings.warn_ceiling),
                (self._stop, settings.stop_ceiling),
            ):
                is_beyond = (self.rates > limits).any(axis=0)
                score = np.where(is_beyond, np.minimum(score, ceiling), score)
        score = np.minimum(np.maximum(np.minimum(score, self._ceiling), 0.0), 1.0)
        if self._lost.any():
            score = np.where(self._lost, np.minimum(score, settings.lost_ceiling), score)
        score[self._sums[_EVENTS] <= 0] = np.nan
        return self._by_rest(score, now_ms)

    def _by_rest(self, score: Floats, now_ms: int) -> Floats:
        """Symbols without stream events that REST keeps alive: by age, below Prime (§0.24)."""
        age_s = (now_ms - self._rest_ms) / 1000.0
        use = np.isnan(score) & (age_s <= self.settings.window_s)
        if use.any():
            by_age = np.array([rest_quality(age) for age in age_s[use].tolist()])
            score[use] = np.minimum(by_age, self.settings.rest_ceiling)
        return score

    def _settle(self, board: Board, raw: Floats, count: int) -> list[QualityChanged]:
        settings = self.settings
        with np.errstate(invalid="ignore"):
            fell = (raw < settings.hold) | np.isnan(raw)
            fell &= self._level > 0
            self._good_bars[raw < settings.prime] = 0
        self._good_bars[fell] = 0
        self._latched |= fell
        self._latched[self._good_bars >= settings.recovery_bars] = False
        score = np.where(self._latched, np.minimum(raw, settings.latched_ceiling), raw)
        level = self._levels(score)
        changed = np.flatnonzero(level[:count] != self._level[:count])
        self.score = score
        self._level = level
        self._explain(board, raw, count)
        board.set_quality(score[:count], self.reasons)
        return [
            QualityChanged(
                symbol=board.symbols[slot],
                score=float(score[slot]),
                level=LEVELS[int(level[slot])],
                reason=self.reasons.get(board.symbols[slot], ""),
            )
            for slot in changed.tolist()
        ]

    def _levels(self, score: Floats) -> np.ndarray[tuple[int], np.dtype[np.int8]]:
        settings = self.settings
        bounds = [0.0, settings.watch, settings.hold, settings.prime, settings.excellent]
        known = np.where(np.isnan(score), -1.0, score)
        return np.searchsorted(bounds, known, "right").astype(np.int8)

    def _explain(self, board: Board, raw: Floats, count: int) -> None:
        with np.errstate(invalid="ignore"):
            poor = np.flatnonzero(~(self.score[:count] >= self.settings.excellent))
        self.reasons = {
            board.symbols[slot]: self._reason(slot, float(raw[slot])) for slot in poor.tolist()
        }

    def _reason(self, slot: int, raw: float) -> str:
        if np.isnan(raw):
            return f"no events for {self.settings.window_s} s"
        parts: list[str] = []
        for index, name in enumerate(COMPONENTS):
            rate = float(self.rates[index, slot])
            if rate > 0.001:
                parts.append(f"{_WORDS[name]} {100 * rate:.1f} %")
        if slot in self._silent:
            streams = self._silent[slot]
            parts.append(f"{len(streams)} silent ({streams[0]})")
        if self._lost[slot]:
            parts.append("connection lost")
        if not np.isnan(self._rest_ms[slot]) and self._sums[0, slot] <= 0:
            parts.append("REST fallback")
        if self._latched[slot]:
            needed = self.settings.recovery_bars - int(self._good_bars[slot])
            parts.append(f"recovering, {needed} good bars to go")
        return ", ".join(parts) or "below excellent"

    def level(self, slot: int) -> str:
        """The level's name of a symbol."""
        return LEVELS[int(self._level[slot])]


_WORDS: Final = {
    "miss": "missing",
    "order": "out of order",
    "drift": "late",
    "mismatch": "mismatched",
}


def rest_quality(age_s: float) -> float:
    """Trust in bars read by REST, by their age (DOMAIN §1.6)."""
    for limit_s, score in ((30, 1.0), (60, 0.95), (180, 0.90), (300, 0.85)):
        if age_s <= limit_s:
            return score
    return 0.70
