"""The kill switch as a file in the data folder: it works without an engine, and by hand.

`KILL` holds a level, 1 to 3; anything else in it counts as 1, an empty file too, since a switch that
cannot be read is thrown. 0 asks for the release. The journal remembers the level as well; the file
can only ever raise it, or release it by its explicit 0 (RELIABILITY §3.10).
"""

from __future__ import annotations

import os
from pathlib import Path

NAME = "KILL"
LEVELS = ("1", "2", "3")
_RELEASED = "0"


class KillFile:
    """The file of one data folder."""

    def __init__(self, data_dir: str | Path) -> None:
        self.path = Path(data_dir) / NAME

    def read(self) -> int | None:
        """The level that it asks for, 0 for a release, None without a file."""
        try:
            words = self.path.read_text("utf-8", "replace").split()
        except FileNotFoundError:
            return None
        except OSError:
            return 1
        first = words[0] if words else ""
        return int(first) if first in (*LEVELS, _RELEASED) else 1

    def write(self, level: int) -> None:
        """Put `level` there, durable before the call returns."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        fresh = self.path.with_name(f".{NAME}.{os.getpid()}")
        with fresh.open("w") as file:
            file.write(f"{level}\n")
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self.path)
        folder = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def remove(self) -> None:
        """Take it away; missing is fine."""
        self.path.unlink(missing_ok=True)
