"""Every network fault once, alone: seconds to notice, seconds to heal, bars and levels lost.

The cache is whole when bars and books are the venue's again and every connection delivers; trusted
again is later by design, for DataQual looks back 300 s and asks for three good bars.

`python -m tests.net_feed.faults [NAME …]` prints the table and one JSON line, and fails if a bar or
a book level is lost, a fault is not healed, or a wrong cache was trusted for longer than it takes to
notice. Faults are numbered as in the fault menu of the reliability notes (`§6`); the listen key (9)
belongs to the account feed and its own tests.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import msgspec
from tests.net_feed.soak import SETTLED_MS, Plan, Soak, empty

from cryptosignal.ground.loop import VirtualLoop
from cryptosignal.ground.units import MINUTE_MS
from cryptosignal.market.books import BookState
from cryptosignal.modes.virtual_net import NetFaults
from cryptosignal.streams.settings import FeedSettings

Break = Callable[[Soak], None]

CALM = Plan(
    symbols=3, intervals=("1m", "5m"), warm=2, hot=1, faults="calm", net=NetFaults(), pace=2.0
)
BEFORE_S = 400
"""Venue seconds until everything is trusted."""
LOOK_S = 2
HEAL_S_MAX = 900
STALE_MS = 15_000
"""A mark or ticker that is older is not the venue's truth any more."""
TRUSTED = 0.90


class Fault(msgspec.Struct, frozen=True):
    """One row: how it is brought about, how long it lasts, and whether data are wrong meanwhile."""

    number: str
    name: str
    start: Break
    lasts_s: int
    stop: Break = lambda rig: rig.calm()
    harms: bool = True
    plan: Plan = CALM


class Row(msgspec.Struct):
    """What was seen."""

    number: str
    name: str
    lasts_s: int
    noticed_s: float
    noticed_by: str
    whole_s: float
    trusted_s: float
    struck: int
    bars_lost: int
    levels_wrong: int
    data_quality_min: float
    wrong_while_trusted_s: int
    harms: bool

    @property
    def is_well(self) -> bool:
        """Healed, nothing lost, and no wrong cache trusted beyond the time of notice."""
        fell = self.data_quality_min < TRUSTED or not self.harms
        late = self.wrong_while_trusted_s > max(self.noticed_s, 0.0) + 2 * LOOK_S
        lost = self.bars_lost + self.levels_wrong
        return lost == 0 and self.whole_s >= 0 and self.trusted_s >= 0 and fell and not late


# ---- how each is brought about ------------------------------------------------------------------
def _drop(rig: Soak, code: int = 1006, reason: str = "connection reset") -> None:
    for link in list(rig.network._links.values()):
        rig.network._drop(link, code, reason)


def _half_open(rig: Soak) -> None:
    for link in rig.network._links.values():
        link.is_half_open = True


def _wake_weather(rig: Soak) -> None:
    """A venue without any fault takes a short way out that knows no stalls."""
    rig.venue.mischief.set_rates({"stop_reject": 1e-12})


def _stall(seconds: int) -> Break:
    def start(rig: Soak) -> None:
        _wake_weather(rig)
        for link in rig.venue.links():
            link.silent_until_ms = rig.clock.now_ms() + seconds * 1000

    return start


def _mute(*streams: str) -> Break:
    """The venue forgets these streams and no others, on every connection and however often they are
    subscribed again."""
    heads = tuple(f'{{"stream":"{stream}"'.encode() for stream in streams)

    def start(rig: Soak) -> None:
        passes = rig.network._deliver

        def deliver(link: int, payload: bytes, code: int, delay_ms: int) -> None:
            if not payload.startswith(heads):
                passes(link, payload, code, delay_ms)

        rig.network._deliver = deliver

    return start


def _unmute(rig: Soak) -> None:
    del rig.network._deliver


def _burst(seconds: int) -> Break:
    def start(rig: Soak) -> None:
        _wake_weather(rig)
        until_ms = rig.clock.now_ms() + seconds * 1000
        for link in rig.venue.links():
            link.hold_until_ms = until_ms
            rig.venue.exchange.agenda.at(
                until_ms, lambda _ms, _n, held=link: rig.venue.mischief._mishaps._release(held)
            )

    return start


def _rates(**rates: float) -> Break:
    return lambda rig: rig.venue.mischief.set_rates(rates)


def _unreachable(rig: Soak) -> None:
    """No connection can be made: as with a name that does not resolve, or TLS that fails."""
    rig.network.faults = NetFaults(refused=1.0)
    _drop(rig)


def _without_streams(**rates: float) -> Break:
    """Streams are gone for good while REST suffers: every bar must come through it."""

    def start(rig: Soak) -> None:
        rig.venue.mischief.set_rates({"ws_refused": 1.0, **rates})
        _drop(rig)

    return start


def _weight_spent(rig: Soak) -> None:
    _without_streams()(rig)
    assert rig.venue.mischief.befall("http_429")


def _maintenance(rig: Soak) -> None:
    rig.venue.mischief._mishaps.down_until_ms = rig.clock.now_ms() + 3 * MINUTE_MS
    _drop(rig, 1001, "going away")


def _nothing(_rig: Soak) -> None:
    """The fault is in the plan, or over by itself."""


RENEWED = replace(CALM, websocket=FeedSettings(max_connection_age=BEFORE_S + 30.0))

FAULTS: tuple[Fault, ...] = (
    Fault("1", "reset in mid-frame", _drop, 0),
    Fault("2", "half-open connection", _half_open, 120),
    Fault("3", "silent stall, pongs fine", _stall(120), 120),
    Fault(
        "4",
        "acknowledged but silent",
        lambda rig: (_rates(ws_silent_subscribe=1.0)(rig), _drop(rig))[0],
        90,
    ),
    Fault("3", "the market's marks alone fall silent", _mute("!markPrice@arr@1s"), 180, _unmute),
    Fault("3", "the market's ticker alone falls silent", _mute("!ticker@arr"), 180, _unmute),
    Fault("3", "a symbol's candles alone fall silent", _mute("btcusdt@kline_1m"), 240, _unmute),
    Fault("3", "a symbol's trades alone fall silent", _mute("btcusdt@aggTrade"), 240, _unmute),
    Fault("5", "every third frame twice", _rates(ws_duplicate=0.33), 180, harms=False),
    Fault("6", "every tenth frame late", _rates(ws_reorder=0.1), 180, harms=False),
    Fault("7", "every tenth frame lost", _rates(ws_lost=0.1), 180),
    Fault("8", "24 h, planned renewal", _nothing, 120, harms=False, plan=RENEWED),
    Fault("8", "24 h, closed by the venue", lambda rig: _drop(rig, 1001, "24 h"), 0),
    Fault("10", "name or TLS fails", _unreachable, 120),
    Fault("11", "slow reader, then a burst", _burst(12), 12, harms=False),
    Fault("12", "streams refused, requests lost", _without_streams(http_request_lost=0.3), 240),
    Fault("13", "streams refused, replies lost", _without_streams(http_response_lost=0.3), 240),
    Fault("14", "streams refused, requests late", _without_streams(http_late=0.3), 240),
    Fault("16", "streams refused, 503", _without_streams(http_503_unavailable=0.4), 240),
    Fault("17", "streams refused, weight spent by others", _weight_spent, 240),
    Fault("18", "streams refused, replies 5 to 30 s late", _without_streams(http_slow=0.4), 240),
    Fault("19", "streams refused, replies garbled", _without_streams(http_garbled=0.4), 240),
    Fault("28", "maintenance", _maintenance, 180),
    Fault("D7", "final frames late", _rates(kline_late=1.0), 240, harms=False),
    Fault("D7", "final frames missing", _rates(kline_missing=1.0), 240, harms=False),
)


# ---- a run --------------------------------------------------------------------------------------
def run_fault(fault: Fault) -> tuple[Row, list[str]]:
    """One fault in a virtual loop of its own; answers the row and the differences in words."""
    loop = VirtualLoop()
    try:
        return loop.run_until_complete(_run(Soak(loop, fault.plan), fault))
    finally:
        empty(loop)


async def _run(rig: Soak, fault: Fault) -> tuple[Row, list[str]]:
    await rig.start()
    await asyncio.sleep(BEFORE_S - rig.loop.time())
    assert rig.differences(settled_ms=SETTLED_MS)[1] == []
    assert _score(rig) >= TRUSTED
    rig.told.clear()
    began_s = rig.loop.time()
    watch = _Watch(rig)
    fault.start(rig)
    await watch.for_(max(fault.lasts_s, LOOK_S))
    fault.stop(rig)
    ended_s = rig.loop.time()
    whole_s = trusted_s = math.nan
    while math.isnan(trusted_s) and rig.loop.time() - ended_s < HEAL_S_MAX:
        if watch.is_whole():
            whole_s = rig.loop.time() - ended_s if math.isnan(whole_s) else whole_s
            trusted_s = rig.loop.time() - ended_s if _score(rig) >= TRUSTED else math.nan
        await watch.for_(LOOK_S)
    lost = rig.differences(settled_ms=SETTLED_MS)[1]
    levels = await rig.book_differences()
    first = min(rig.told, default=(math.nan, ""))
    await rig.stop()
    row = Row(
        number=fault.number,
        name=fault.name,
        lasts_s=fault.lasts_s,
        noticed_s=-1.0 if math.isnan(first[0]) else round(first[0] - began_s, 1),
        noticed_by=first[1],
        whole_s=-1.0 if math.isnan(whole_s) else round(whole_s, 1),
        trusted_s=-1.0 if math.isnan(trusted_s) else round(trusted_s, 1),
        struck=sum(rig.venue.faults_injected.values()) + sum(rig.network.counts.values()),
        bars_lost=len(lost),
        levels_wrong=len(levels),
        data_quality_min=round(watch.score_min, 3),
        wrong_while_trusted_s=watch.trusted_wrong_s,
        harms=fault.harms,
    )
    return row, [*lost, *levels]


def _score(rig: Soak) -> float:
    """The worst DataQual of all symbols; no events count as no trust."""
    rig.feed.settle()
    scores = rig.quality.score[: len(rig.symbols)].tolist()
    return min(0.0 if math.isnan(score) else score for score in scores)


class _Watch:
    """Looks at the cache and at DataQual every other second."""

    def __init__(self, rig: Soak) -> None:
        self._rig = rig
        self.score_min = 1.0
        self.trusted_wrong_s = 0

    async def for_(self, seconds: int) -> None:
        """Watch for so long."""
        for _ in range(seconds // LOOK_S):
            await asyncio.sleep(LOOK_S)
            score = _score(self._rig)
            self.score_min = min(self.score_min, score)
            if score >= TRUSTED and self._is_wrong():
                self.trusted_wrong_s += LOOK_S

    def _is_wrong(self) -> bool:
        """A bar differs from the venue's, or a figure of the market is not of now."""
        return bool(self._rig.stale(STALE_MS) or self._rig.differences(4, SETTLED_MS)[1])

    def is_whole(self) -> bool:
        """Bars as the venue's, figures of now, books unbroken, every connection delivers again."""
        rig = self._rig
        if rig.stale(STALE_MS):
            return False
        books = all(book.state is BookState.SYNCED for book in rig.board.books.values())
        return books and rig.feed.is_healthy and not rig.differences(15, SETTLED_MS)[1]


def table(rows: Sequence[Row]) -> str:
    """The rows as Markdown."""
    lines = [
        "| fault (§6) | lasts s | noticed after s | by | whole after its end s | trusted again s |"
        " bars lost | levels wrong | DataQual min | wrong while trusted s |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        noticed = f"{row.noticed_s:g}" if row.noticed_s >= 0 else "needless"
        whole, trusted = (f"{s:g}" if s >= 0 else "NEVER" for s in (row.whole_s, row.trusted_s))
        lines.append(
            f"| {row.number} {row.name} | {row.lasts_s} | {noticed} | {row.noticed_by[:60]} | {whole}"
            f" | {trusted}"
            f" | {row.bars_lost} | {row.levels_wrong} | {row.data_quality_min:.2f}"
            f" | {row.wrong_while_trusted_s} |"
        )
    return "\n".join(lines)


def main(arguments: list[str]) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.net_feed.faults")
    parser.add_argument("names", nargs="*", help="part of a fault's name; all without")
    asked: Any = parser.parse_args(arguments)
    chosen = [f for f in FAULTS if not asked.names or any(n in f.name for n in asked.names)]
    rows: list[Row] = []
    for fault in chosen:
        row, found = run_fault(fault)
        rows.append(row)
        for line in found[:5]:
            print(line, file=sys.stderr)
    print(table(rows))
    summary = summed(rows)
    print(json.dumps(summary))
    return 1 if summary["bad"] else 0


def summed(rows: Sequence[Row]) -> dict[str, Any]:
    """The table in one line."""
    return {
        "faults": len(rows),
        "bars_lost": sum(row.bars_lost for row in rows),
        "levels_wrong": sum(row.levels_wrong for row in rows),
        "bad": [row.name for row in rows if not row.is_well],
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
