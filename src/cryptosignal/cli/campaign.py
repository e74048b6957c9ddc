"""`cryptosignal sim`: the whole program under virtual time, with faults and kills."""

from __future__ import annotations

import sys

import msgspec

from cryptosignal.ground.faults import UserFault


def sim(*, days: int = 1, seed: str = "7", json: bool = False) -> int:
    """Simulate trading days: virtual time, lost responses, dropped streams, kills at any await.

    The last line is one JSON object: days, seeds, kills, faults, fills, violations, naked_ms_p99,
    naked_ms_max, trace_hash. Exit code 1 if anything was violated; its seed repeats it.

    Example: cryptosignal sim --days 1 --seed 7

    Parameters
    ----------
    days
        Simulated days; each has a seed of its own, counted up from `seed`.
    seed
        A number, or random.
    json
        Only the JSON line.
    """
    from cryptosignal.ground.seeds import fresh_seed
    from cryptosignal.modes.campaign import DayResult, DaySettings, run_days

    if days < 1:
        raise UserFault(f"--days: found {days}, allowed: 1 or more")
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

    result = run_days([first + n for n in range(days)], DaySettings(), progress)
    print(msgspec.json.encode(result).decode())
    return 1 if result.violations else 0
