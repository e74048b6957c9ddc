"""A disk that really fills up: a small tmpfs where mounting is allowed, else a limit on file sizes.

Both come from the kernel: ENOSPC from the file system, or EFBIG from RLIMIT_FSIZE, which is set on
the running process from outside.
"""

from __future__ import annotations

import resource
import subprocess
from pathlib import Path

SIZE_MIB = 48
_UNLIMITED = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)


class SmallDisk:
    """The data folder of the program, and how to fill it."""

    def __init__(self, folder: Path, *, mounts: bool = True) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        self.is_mounted = mounts and self._mount()
        self.kind = "ENOSPC" if self.is_mounted else "EFBIG"
        self._ballast = folder / "ballast"

    def _mount(self) -> bool:
        size = f"size={SIZE_MIB}m,mode=0700"
        command = ["mount", "-t", "tmpfs", "-o", size, "chaos", str(self.folder)]
        try:
            return subprocess.run(command, capture_output=True, check=False).returncode == 0
        except FileNotFoundError:
            return False

    def fill(self, pid: int | None) -> None:
        """From now on nothing more can be written (by `pid`, where only a limit can be set)."""
        if not self.is_mounted:
            if pid is not None:
                resource.prlimit(pid, resource.RLIMIT_FSIZE, (1, resource.RLIM_INFINITY))
            return
        piece = b"\0" * 65_536
        with self._ballast.open("ab", buffering=0) as file:
            for size in (len(piece), 4_096, 1):
                try:
                    while file.write(piece[:size]):
                        pass
                except OSError:
                    continue

    def free(self, pid: int | None) -> None:
        """There is room again."""
        if self.is_mounted:
            self._ballast.unlink(missing_ok=True)
        elif pid is not None:
            resource.prlimit(pid, resource.RLIMIT_FSIZE, _UNLIMITED)

    def close(self) -> None:
        """Take the disk away; what lay on a tmpfs is gone."""
        if self.is_mounted:
            subprocess.run(["umount", "-l", str(self.folder)], check=False)
