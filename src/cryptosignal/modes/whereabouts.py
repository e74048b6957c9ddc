"""Where processes of one user on one host meet: the runtime folder, and the socket of a data folder.

A socket's path is short by the system's law (unix(7)), so a deep data folder's socket lies in the
runtime folder under a name that follows from the data folder's.
"""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
from pathlib import Path

from cryptosignal.ground.faults import UserFault
from cryptosignal.modes.snapshots import PATH_BYTES_MAX

SOCKET_NAME = "engine.sock"
_NAME_CHARS = 20


def runtime_dir() -> Path:
    """A private folder of this user on this host. Raises UserFault if somebody else made it."""
    folder = Path(tempfile.gettempdir()) / f"cryptosignal-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    is_ours = found.st_uid == os.getuid() and stat.S_ISDIR(found.st_mode)
    if not is_ours or stat.S_IMODE(found.st_mode) & 0o077:
        raise UserFault(
            f"{folder}: found open to others, allowed: a folder of yours with mode 0700"
        )
    return folder


def socket_of(data_dir: str | Path) -> str:
    """The path of the socket of the engine that works in `data_dir`, whether or not one does."""
    root = Path(data_dir).resolve()
    inside = str(root / SOCKET_NAME)
    if len(os.fsencode(inside)) <= PATH_BYTES_MAX:
        return inside
    name = hashlib.sha256(os.fsencode(root)).hexdigest()[:_NAME_CHARS]
    return str(runtime_dir() / f"{name}.sock")
