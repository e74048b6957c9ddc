"""`cryptosignal sim`: the whole program under virtual time, with faults and kills."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec

from cryptosignal.ground.faults import UserFault

SEEDS_A_DAY = 4
"""A simulated day is four seeds of a quarter day: more weathers, shorter journals."""


def sim(*, days: int = 1, seed: str = "7", workers: int = 2, json: bool = False) -> int:
    """Simulate trading days: virtual time, faults of every kind, kills at any await.

    The last line is one JSON object: days, seeds, kills, faults, fills, violations, naked_ms_p99,
    naked_ms_max, trace_hash. Exit code 1 if anything was violated; its seed repeats it. From 20
    days on, a fault that never struck or a way of recovery never taken is a violation too.

    Example: cryptosignal sim --days 1 --seed 7

    Parameters
    ----------
    days
        Simulated days; each is four quarter days with seeds of their own, counted up from `seed`.
    seed
        A number, or random.
    workers
        Processes that share the seeds; the result does not depend on it.
    json
        Only the JSON line.
    """
    from cryptosignal.ground.seeds import fresh_seed
    from cryptosignal.modes.campaign import DayResult, DaySettings, run_days

    if days < 1:
        raise UserFault(f"--days: found {days}, allowed: 1 or more")
    if not 1 <= workers <= 64:
        raise UserFault(f"--workers: found {workers}, allowed: 1 to 64")
    if seed != "random" and not seed.isdigit():
        raise UserFault(f"--seed: found {seed!r}, allowed: a number, or random")
    first = fresh_seed() if seed == "random" else int(seed)

    def progress(day: DayResult) -> None:
        if not json:
            print(
                f"seed {day.seed}: {day.kills} kills, {sum(day.faults.values())} faults,"
                f" {day.fills} fills, {len(day.violations)} violations, trace {day.trace_hash}",
                file=sys.stderr,
                flush=True,
            )
        for violation in day.violations:
            where = f"seed {day.seed}, commit {commit()}"
            print(f"{where}: {violation}", file=sys.stderr, flush=True)

    seeds = [first + n for n in range(days * SEEDS_A_DAY)]
    result = run_days(seeds, DaySettings(days=1 / SEEDS_A_DAY), progress, workers)
    print(msgspec.json.encode(result).decode())
    return 1 if result.violations else 0


def commit() -> str:
    """The commit of the source, "unknown" outside a checkout."""
    folder = Path(__file__).resolve().parents[3]
    try:
        done = subprocess.run(  # noqa: S603  # a fixed command
            [  # noqa: S607
                "git",
                "-C",
                str(folder),
                "rev-parse",
                "--short",
                "HEAD",
            ],
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError:
        return "unknown"
    return done.stdout.strip() or "unknown"
