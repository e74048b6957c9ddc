"""Records the golden journal: some simulated minutes of trades, faults and kills.

`make golden` writes it anew into `tests/replay/golden/` when a change of decisions is wanted; the
difference in the digests is then part of the change. The recording is one seed under virtual time,
so it is the same on every machine up to the last bits of floats, which digests round away.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from cryptosignal.domain.ports import Disk
from cryptosignal.modes.campaign import Day, DaySettings
from cryptosignal.store.disk import FileDisk

GOLDEN = Path(__file__).resolve().parent / "golden"
SEED = 20
MINUTES = DaySettings(days=0.006, kill_mean_s=260.0, trade_mean_s=25.0)


def record(seed: int = SEED) -> tuple[Day, list[str]]:
    """Live the minutes; answers the day (its disk holds the journals) and violations."""
    day = Day(seed, MINUTES)
    return day, day.run().violations


def keep(day: Day, folder: Path) -> Disk:
    """Copy the day's journals to real files under `folder`."""
    disk = FileDisk(folder)
    day.disk.copy_to(disk)
    disk.close()
    return FileDisk(folder, read_only=True)


def main() -> int:
    """Write the golden journal anew."""
    day, violations = record()
    if violations:
        sys.stderr.write(f"not recorded: {violations}\n")
        return 1
    shutil.rmtree(GOLDEN, ignore_errors=True)
    keep(day, GOLDEN).close()
    files = sorted(path for path in GOLDEN.rglob("*") if path.is_file())
    for path in files:
        sys.stdout.write(f"{path.stat().st_size:>8} {path.relative_to(GOLDEN)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
