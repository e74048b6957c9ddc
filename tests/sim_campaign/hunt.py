"""The hunt for planted bugs: each row lives dense hours until a monitor cries (`make mutants`).

`python -m tests.sim_campaign.hunt [--rows 3,10-14,20-] [--days 100] [--json] [NAME …]`. Every kind of
hour is first lived without any bug and must be silent, or a cry would mean nothing. Ends with 1 if
fewer than 95 % of the bugs are caught, a pair is not, a sound program is accused, or a whole run has
fewer than 30 bugs.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass

import msgspec
from tests.sim_campaign.hours import HOURS
from tests.sim_campaign.mutants import MUTANTS, Mutant

from cryptosignal.modes.campaign import Day, DayResult
from cryptosignal.modes.monitors import NAKED_P99_MS

SHARE_MIN = 0.95
BUGS_MIN = 30
DAYS_MAX = 100.0
"""Simulated days that a bug may live."""
LAYER_DAYS_MAX = 0.2
"""A layer that others do the work of would live for ever: so long it is looked at."""
SOUND_DAYS_MAX = 0.4
"""Days of each kind of hour without any bug."""
CHANCE_MAX = 1e-4
"""A p99 is called missed when a sound program would show so many late positions this seldom."""
PROGRESS_S = 15.0

_BOUNDS = {"layer": LAYER_DAYS_MAX, "sound": SOUND_DAYS_MAX}

SOUND: tuple[Mutant, ...] = tuple(
    Mutant(f"nothing planted, hours “{h.name}”", contextlib.nullcontext, "sound", h) for h in HOURS
)
ROWS: tuple[Mutant, ...] = (*SOUND, *MUTANTS)


class Catch(msgspec.Struct, frozen=True):
    """What became of a row. `caught_by` "" if nothing cried within `days`."""

    row: int
    name: str
    kind: str
    hours: str
    days: float
    seed: int
    caught_by: str
    detail: str
    seconds: float
    masked_by: str = ""


@dataclass
class _Progress:
    """A line on the terminal's error stream from time to time, so that nobody wonders."""

    label: str
    said_s: float = 0.0

    def say(self, seed: int, days: float) -> None:
        """Say where the hunt is, if it has not just been said."""
        now_s = time.monotonic()
        if now_s - self.said_s >= PROGRESS_S:
            self.said_s = now_s
            print(f"  {self.label}: seed {seed}, {days:.2f} days", file=sys.stderr, flush=True)


def hunt(mutant: Mutant, seeds: Iterator[int], days_max: float = DAYS_MAX, row: int = 0) -> Catch:
    """Live hours of one seed each until something cries, at most `days_max` simulated days."""
    lived, last, results = 0.0, 0, []
    began_s = time.monotonic()
    progress = _Progress(f"row {row} {mutant.name}", began_s)
    cries: list[str] = []
    for seed in seeds:
        settings = mutant.hours.of(seed)
        if lived + settings.days > days_max + 1e-9:
            break
        lived, last = lived + settings.days, seed
        with mutant.plant():
            result = Day(seed, settings).run()
        results.append(result)
        cries = result.violations or _naked_p99(results)
        if cries:
            break
        progress.say(seed, lived)
    return Catch(
        row=row,
        name=mutant.name,
        kind=mutant.kind,
        hours=mutant.hours.name,
        days=round(lived, 2),
        seed=last,
        caught_by=_kind_of(cries[0]) if cries else "",
        detail=cries[0] if cries else "",
        seconds=round(time.monotonic() - began_s, 1),
        masked_by=mutant.masked_by,
    )


def _naked_p99(results: list[DayResult]) -> list[str]:
    """A p99 beyond the campaign's limit, if the positions so far are more than bad luck."""
    spans = [span for result in results for span in result.naked_spans_ms]
    late = sum(span > NAKED_P99_MS for span in spans)
    if not late or chance_of(late, len(spans)) > CHANCE_MAX:
        return []
    return [f"naked p99 at 0: {late} of {len(spans)} positions naked for over {NAKED_P99_MS} ms"]


def chance_of(late: int, count: int) -> float:
    """That `late` or more of `count` positions are beyond a limit that one in a hundred may pass."""
    fewer = sum(math.comb(count, k) * 0.01**k * 0.99 ** (count - k) for k in range(late))
    return max(0.0, 1.0 - fewer)


def _kind_of(cry: str) -> str:
    return cry.split(" at ")[0].replace("_", " ")


def rows_of(text: str, count: int) -> list[int]:
    """Row numbers of `3,10-14,20-`, from 1. Raises ValueError naming what is wrong."""
    chosen: set[int] = set()
    for part in text.split(","):
        first, has_range, last = part.strip().partition("-")
        end = (last or str(count)) if has_range else first
        if not first.isdigit() or not end.isdigit() or not 1 <= int(first) <= int(end) <= count:
            raise ValueError(f"rows: {part!r} (allowed: numbers 1 to {count}, as in 3,10-14,20-)")
        chosen |= set(range(int(first), int(end) + 1))
    return sorted(chosen)


def verdict(catches: list[Catch], is_whole: bool) -> tuple[list[str], int]:
    """The closing lines and the exit code."""
    bugs = [c for c in catches if c.kind == "bug"]
    pairs = [c for c in catches if c.kind == "pair"]
    layers = [c for c in catches if c.kind == "layer"]
    accused = [c.name for c in catches if c.kind == "sound" and c.caught_by]
    missed = [c.name for c in bugs + pairs if not c.caught_by]
    caught = sum(bool(c.caught_by) for c in bugs)
    share = caught / len(bugs) if bugs else 1.0
    lines = [
        f"{caught} of {len(bugs)} planted bugs caught ({share:.1%}, at least {SHARE_MIN:.0%}), "
        f"{sum(bool(c.caught_by) for c in pairs)} of {len(pairs)} pairs; "
        f"{sum(bool(c.caught_by) for c in layers)} of {len(layers)} single layers were missed"
    ]
    lines += [f"not caught: {name}" for name in missed]
    lines += [f"a sound program was accused: {name}" for name in accused]
    is_thin = is_whole and len(bugs) < BUGS_MIN
    if is_thin:
        lines.append(f"only {len(bugs)} planted bugs, at least {BUGS_MIN}")
    is_bad = share < SHARE_MIN or is_thin or bool(accused) or any(not c.caught_by for c in pairs)
    return lines, int(is_bad)


def line_of(catch: Catch) -> str:
    """One row of the table."""
    said = catch.caught_by or {
        "sound": "silent",
        "layer": f"not seen (see “{catch.masked_by}”)",
    }.get(catch.kind, "NOT CAUGHT")
    return (
        f"{catch.row:3} {catch.name:58} {catch.kind:6} {catch.hours:15} {catch.days:6.2f} "
        f"{catch.seed:6}  {said}"
    )


def main(arguments: list[str]) -> int:
    """Hunt the chosen rows, print the table."""
    parser = argparse.ArgumentParser(prog="make mutants", description=__doc__)
    parser.add_argument("names", nargs="*", help="rows by name; all without any")
    parser.add_argument("--rows", default="", help="rows by number: 3,10-14,20-")
    parser.add_argument(
        "--days", type=float, default=DAYS_MAX, help="simulated days a bug may live"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    options = parser.parse_args(arguments)
    try:
        numbers = rows_of(options.rows or "1-", len(ROWS))
    except ValueError as error:
        parser.error(str(error))
    chosen = [
        (n, ROWS[n - 1]) for n in numbers if not options.names or ROWS[n - 1].name in options.names
    ]
    if not options.json:
        print(
            f"{'row':>3} {'planted':58} {'kind':6} {'hours':15} {'days':>6} {'seed':>6}  caught by"
        )
    catches: list[Catch] = []
    for number, mutant in chosen:
        days_max = min(options.days, _BOUNDS.get(mutant.kind, DAYS_MAX))
        catches.append(hunt(mutant, iter(range(1, 1_000_000)), days_max, number))
        text = msgspec.json.encode(catches[-1]).decode() if options.json else line_of(catches[-1])
        print(text, flush=True)
    lines, code = verdict(catches, len(chosen) == len(ROWS))
    end = {"rows": len(chosen), "verdict": lines, "is_good": not code}
    print(msgspec.json.encode(end).decode() if options.json else "\n".join(lines))
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
