"""Bodies for the faces, made from the running program: what a page or another terminal is shown.

Reads the program, never changes it. Made once a second while somebody watches and after each scan.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from cryptosignal.domain.actions import (
    Note,
    PublishDecision,
    RecordOutcome,
    ScanDecided,
    WriteReport,
)
from cryptosignal.domain.signal import Decision
from cryptosignal.ground.faults import UserFault
from cryptosignal.market.views import CLOSE, HIGH, LOW, OPEN, VOLUME
from cryptosignal.modes.bodies import Health, MarketRow, Run
from cryptosignal.modes.desk_body import desk_body
from cryptosignal.modes.snapshots import SnapshotHub
from cryptosignal.net.warmup import WarmUpReport
from cryptosignal.signals.decisions import TIERS
from cryptosignal.signals.explain import FACTOR_WORDS, GATE_WORDS, explain, stopped_by

if TYPE_CHECKING:
    from cryptosignal.modes.program import Program

SIGNALS_KEPT = 200
PERIOD_S = 1.0


class Publisher:
    """The face that publishes snapshots; `hub` is bound before the program runs."""

    def __init__(self, venue: str) -> None:
        self._venue = venue
        self._hub: SnapshotHub | None = None
        self._program: Program | None = None
        self._signals: deque[Decision] = deque(maxlen=SIGNALS_KEPT)
        self._progress = "starting"
        self._started_ms = 0

    def bind(self, program: Program, hub: SnapshotHub) -> None:
        """Publish this program to this hub from now on."""
        self._program, self._hub = program, hub
        self._started_ms = program.clock.now_ms()

    async def run(self) -> None:
        """Publish once a second while somebody watches."""
        while True:
            if self._hub is not None and self._hub.viewers:
                self.publish()
            await asyncio.sleep(PERIOD_S)

    def publish(self) -> None:
        """Publish everything as it is now."""
        if self._hub is None or self._program is None:
            return
        self._hub.publish("run", dict(self._run_body(self._program)))
        if not self._program.is_running:
            return
        self._hub.publish("health", dict(health(self._program)))
        self._hub.publish("market", {"rows": market_rows(self._program)})
        self._hub.publish("signals", {"signals": list(self._signals)})
        self._hub.publish("desk", dict(desk_body(self._program)))

    def on_symbol(self, symbol: str, interval: str) -> Mapping[str, Any]:
        """What one symbol's view shows. Raises UserFault for a symbol that is not watched."""
        program = self._program
        if program is None or symbol not in program.symbols:
            raise UserFault(f"{symbol}: not among the watched symbols")
        decision = program.engine.latest.find(symbol) if program.engine.latest else None
        return {
            "symbol": symbol,
            "interval": interval,
            "candles": candles(program, symbol, interval),
            "decision": decision,
            "explain": explain(decision) if decision is not None else ["no scan yet"],
            "signals": [d for d in self._signals if d.symbol == symbol],
            "words": {"gates": GATE_WORDS, "factors": FACTOR_WORDS},
        }

    def _run_body(self, program: Program) -> Run:
        body = Run(
            mode=program.engine.mode,
            account=program.engine.account,
            venue=self._venue,
            uptime_s=(program.clock.now_ms() - self._started_ms) / 1000,
            scans=program.engine.scans,
            started=self._started_ms,
        )
        if not program.engine.scans:
            body["progress"] = self._progress
        return body

    # ---- the face -------------------------------------------------------------------------
    def on_progress(self, step: str, done: int, total: int, seconds: float) -> None:
        """A line for the time before the first scan."""
        self._progress = f"{step}: {done} of {total} after {seconds:.0f} s"

    def on_ready(self, program: Program, report: WarmUpReport) -> None:
        """Everything is loaded."""
        self._progress = "loaded; the first scan follows"

    def on_scan(self, action: ScanDecided) -> None:
        """A scan was decided on: who watches sees it at once."""
        if self._hub is not None and self._hub.viewers:
            self.publish()

    def on_decision(self, action: PublishDecision) -> None:
        """Keep it for the list of signals."""
        self._signals.append(action.decision)

    def on_outcome(self, action: RecordOutcome) -> None:
        """Outcomes are not on the page yet."""

    def on_report(self, action: WriteReport) -> None:
        """Reports are not on the page yet."""

    def on_note(self, now_ms: int, action: Note) -> None:
        """Notes are not on the page."""


def market_rows(program: Program) -> list[MarketRow]:
    """One row a symbol, from the newest scan and the board."""
    scan = program.engine.latest
    if scan is None:
        return []
    board = program.board
    board.intake.read_marks()
    columns, heard_ms = scan.rows.columns, np.fmax(board.marks.mark_ms, board.marks.ticker_ms)
    now_ms = program.clock.now_ms()
    rows = []
    for place, symbol in enumerate(scan.rows.symbols):
        slot = board.find(symbol)
        mark = float(board.marks.mark[slot]) if slot >= 0 else float("nan")
        close = float(columns["ctx.close"][place])
        seen_ms = heard_ms[slot] if slot >= 0 and heard_ms[slot] > 0 else scan.rows.time_ms
        rows.append(
            MarketRow(
                symbol=symbol,
                price=mark if mark > 0 else close,
                change_24h_frac=float(board.marks.change_24h_frac[slot]),
                quote_volume_24h=float(board.marks.quote_volume_24h[slot]),
                score=float(scan.scores.score[place]),
                side=scan.side(place),
                tier=TIERS[int(scan.tiers[place])].value,
                prime_strength=float(scan.strength[place]),
                p=float(scan.odds.p[place]),
                ev=float(scan.values.ev[place]),
                quality=float(columns["ctx.quality"][place]),
                reason=stopped_by(scan, place),
                age_s=max(now_ms - float(seen_ms), 0.0) / 1000,
            )
        )
    return rows


def candles(program: Program, symbol: str, interval: str, count: int = 300) -> list[list[float]]:
    """`[open_ms, open, high, low, close, volume]` of the newest closed bars, oldest first."""
    board = program.board
    if interval not in board.klines:
        raise UserFault(f"{interval}: not among the intervals {', '.join(board.klines)}")
    view = board.klines_of(interval).view(program.clock.now_ms(), len(board.symbols), count)
    if view is None:
        return []
    slot = board.find(symbol)
    columns = (view.data[k, slot] for k in (OPEN, HIGH, LOW, CLOSE, VOLUME))
    rows = np.column_stack([view.open_ms, *columns])
    found: list[list[float]] = rows[~np.isnan(rows[:, 1])].tolist()
    return found


def health(program: Program) -> Health:
    """Connections, weight, quality, calls and lag."""
    program.feed.flush()  # a frame that waits would show as one from the future
    stats = program.feed.stats()
    ledger = program.ledger.snapshot()
    scan = program.engine.latest
    quality = np.sort(scan.rows.columns["ctx.quality"]) if scan is not None else np.zeros(0)
    quality = quality[~np.isnan(quality)]
    connections: Any = stats["connections"]
    return Health(
        connections=[
            {
                "id": str(c["conn_id"]),
                "route": c["route"],
                "state": c["state"],
                "age_s": c["age_s"],
                "frames": c["frames"],
                "streams": c["streams"],
                "lag_ms": float(c["lag_ms"]),
            }
            for c in connections
        ],
        weight={
            "used": ledger.used.get("weight", 0),
            "limit": ledger.limits.get("weight", 0),
            "by_lane": ledger.spent_by_lane,
        },
        quality={
            "min": float(quality[0]) if len(quality) else float("nan"),
            "median": float(np.median(quality)) if len(quality) else float("nan"),
            "below_90": int((quality < 0.9).sum()),
        },
        api_calls=program.client.api_calls.total(),
        engine_lag_ms=program.rim.lag_ms_max,
    )
