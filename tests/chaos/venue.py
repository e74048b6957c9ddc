"""The venue of a chaos run: the real socket face over a venue that watches its own books.

`python -m tests.chaos.venue SEED SETTINGS` (VenueSettings as JSON) announces itself like `cryptosignal simulate
--json`, then prints one JSON line each time the account changed or a promise was broken. Lines on
its standard input: `calm` ends the weather, `excuse` and `accuse` stop and start the clock of
nakedness (the whole machine stands still, no program could protect), `report` prints a summary, and
the end of the input ends it.
"""

from __future__ import annotations

import asyncio
import os
import sys
from decimal import Decimal
from typing import Any

import msgspec

from cryptosignal.ground.clock import host_epoch_ms, host_mono_ns
from cryptosignal.ground.loop import ScaledLoop
from cryptosignal.ground.seeds import Seeds
from cryptosignal.modes.monitors import Limits, Monitors
from cryptosignal.sim.candles import CandleSource
from cryptosignal.sim.server import serve
from cryptosignal.sim.settings import VenueSettings
from cryptosignal.sim.venue import Delivery, Venue


def say(line: dict[str, Any]) -> None:
    """One JSON line to the harness."""
    sys.stdout.write(msgspec.json.encode(line).decode() + "\n")
    sys.stdout.flush()


class WatchedVenue(Venue):
    """A venue that judges its books after every move and tells what changed."""

    def __init__(
        self,
        settings: VenueSettings,
        seeds: Seeds,
        start_ms: int,
        candles: CandleSource | None = None,
        limits: Limits | None = None,
    ) -> None:
        super().__init__(settings, seeds, start_ms, candles)
        self.is_excused = False
        self.monitors = Monitors(self, limits or Limits(), self._excuses)
        self._told = (0, 0, 0)
        self._told_violations = 0

    def _excuses(self) -> bool:
        """It answers nobody, or the whole machine stands still: no program could protect now."""
        is_down = self.mischief.is_down or self.exchange.limits.is_refusing(self.exchange.now_ms)
        return self.is_excused or is_down

    def advance(self, now_ms: int) -> list[Delivery]:
        """As any venue's; the books are judged after each step of it."""
        out = super().advance(now_ms)
        self.monitors.check(now_ms)
        self._tell(now_ms)
        return out

    def _tell(self, now_ms: int) -> None:
        monitors = self.monitors
        for broken in monitors.violations[self._told_violations :]:
            say({"violation": f"{broken.kind}: {broken.detail}", "at_ms": broken.at_ms})
        self._told_violations = len(monitors.violations)
        state = (monitors.fills, len(monitors.naked_spans_ms), len(self.open_algos()))
        if state != self._told:
            self._told = state
            held = {s: str(q) for s, q in self.held().items()}
            say({"at_ms": now_ms, "fills": state[0], "held": held})

    def held(self) -> dict[str, Decimal]:
        """Positions by symbol."""
        listed = self.exchange.listed
        return {listed[p.index].symbol: p.qty for p in self.positions() if p.qty}

    def report(self) -> dict[str, Any]:
        """What the whole run brought, from the venue's own books."""
        monitors = self.monitors
        monitors.judge_limits(self.exchange.now_ms)
        return {
            "report": {
                "fills": monitors.fills,
                "entries": monitors.counts["entries"],
                "stops_filled": monitors.counts["stops_filled"],
                "foreign_fills": monitors.counts["foreign_fills"],
                "naked_spans_ms": monitors.naked_spans_ms,
                "faults": {k: v for k, v in self.faults_injected.items() if v},
                "violations": [f"{v.kind}: {v.detail}" for v in monitors.violations],
            }
        }

    def obey(self, order: str) -> None:
        """A line from the harness."""
        if order == "calm":
            self.mischief.calm()
        elif order in ("excuse", "accuse"):
            self.is_excused = order == "excuse"
        elif order == "report":
            say(self.report())
        else:
            raise ValueError(f"order: {order!r}")


def _listen(loop: ScaledLoop, main: asyncio.Task[None], venues: list[WatchedVenue]) -> None:
    text = os.read(sys.stdin.fileno(), 4096)
    if not text:
        loop.remove_reader(sys.stdin.fileno())
        main.cancel()
    for order in text.decode().split():
        venues[0].obey(order)


def main() -> None:
    """The whole process."""
    seed = int(sys.argv[1])
    settings = msgspec.json.decode(sys.argv[2], type=VenueSettings)
    venues: list[WatchedVenue] = []

    def make(
        settings: VenueSettings, seeds: Seeds, start_ms: int, source: CandleSource | None
    ) -> Venue:
        venues.append(WatchedVenue(settings, seeds, start_ms, source))
        return venues[0]

    epoch_mono_ns = host_mono_ns()
    loop = ScaledLoop(1.0, epoch_mono_ns)
    asyncio.set_event_loop(loop)
    task = loop.create_task(
        serve(
            settings,
            host="127.0.0.1",
            port=0,
            seed=seed,
            epoch_mono_ns=epoch_mono_ns,
            start_ms=host_epoch_ms(),
            announce=say,
            venue_of=make,
        )
    )
    loop.add_reader(sys.stdin.fileno(), _listen, loop, task, venues)
    try:
        loop.run_until_complete(task)
    except asyncio.CancelledError:
        return
    finally:
        left = asyncio.all_tasks(loop)
        for each in left:
            each.cancel()
        loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        asyncio.set_event_loop(None)
        loop.close()


if __name__ == "__main__":
    main()
