"""One writer a data folder: a second start is refused before it can do harm.

The lease is a lock of the operating system on a file, so it ends with its process, however that
ends. Readers of the folder need none.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from cryptosignal.ground.faults import UserFault

LEASE_NAME = ".lease"


class Lease:
    """Holds the data folder `root` for this process until `release`.

    Raises UserFault naming the process that holds it, or why the folder cannot be used.
    """

    def __init__(self, root: Path) -> None:
        path = root / LEASE_NAME
        try:
            root.mkdir(parents=True, exist_ok=True)
            self._file = path.open("a+b")
        except OSError as error:
            raise UserFault(f"data folder {root}: cannot be used: {error.strerror}") from None
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.seek(0)
            holder = self._file.read(20).decode("ascii", "replace").strip() or "unknown"
            self._file.close()
            raise UserFault(
                f"data folder {root}: process {holder} works in it (choose another, or stop it)"
            ) from None
        self._file.truncate(0)
        self._file.write(str(os.getpid()).encode())
        self._file.flush()

    def release(self) -> None:
        """Let the folder go. A second call does nothing."""
        self._file.close()
