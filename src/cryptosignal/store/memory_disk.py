"""A disk in memory that fails as disks do: the stand-in for `FileDisk` in simulation and tests.

It belongs to the world, not to the simulated process: after a kill the process is gone, `crash()`
drops what was not synced, and the next process finds the rest. What survives of an unsynced tail
is a prefix of any length (a torn write), chosen by the seeded stream that it is given.
"""

from __future__ import annotations

import asyncio

from cryptosignal.domain.ports import Disk
from cryptosignal.ground.seeds import Rng
from cryptosignal.store.faults import DiskFault

_NO_SPACE = "cannot write: No space left on device"


class SimDisk:
    """A `domain.ports.Disk` of bytearrays with an unsynced tail per file.

    `rng` decides what survives a crash (None: exactly the synced bytes). `capacity_bytes` is where
    the disk is full. `sync_ms` is how long a sync takes, in loop time.
    """

    def __init__(
        self,
        rng: Rng | None = None,
        *,
        capacity_bytes: int | None = None,
        sync_ms: float = 0.0,
    ) -> None:
        self._rng = rng
        self._sync_s = sync_ms / 1000.0
        self._files: dict[str, bytearray] = {}
        self._durable: dict[str, int] = {}
        self._failed: dict[str, DiskFault] = {}
        self._sync_failures = 0
        self.capacity_bytes = capacity_bytes
        self.syncs = 0
        self.crashes = 0

    # ---- the port ----------------------------------------------------------------------------
    def append(self, name: str, data: bytes) -> None:
        """Bytes at the end of `name`; a full disk takes what fits, and the file fails for good.

        As with real files, the append that fills the disk returns: the next one and `sync` raise.
        """
        self._raise_if_failed(name)
        file = self._files.setdefault(name, bytearray())
        fitting = self._fitting(len(data))
        file += data[:fitting]
        if fitting < len(data):
            self._fail(name, _NO_SPACE)

    async def sync(self, name: str) -> None:
        """Everything appended before the call survives from its return on."""
        self._raise_if_failed(name)
        length = len(self._files.get(name, b""))
        await asyncio.sleep(self._sync_s)
        if self._sync_failures > 0:
            self._sync_failures -= 1
            self._fail(name, "cannot sync: Input/output error")
        self._raise_if_failed(name)
        self.syncs += 1
        if name in self._files:
            self._durable[name] = max(self._durable.get(name, 0), length)

    def read(self, name: str) -> bytes:
        """All bytes of `name`."""
        return bytes(self._files.get(name, b""))

    def size(self, name: str) -> int:
        """Length of `name`."""
        return len(self._files.get(name, b""))

    def replace(self, name: str, data: bytes) -> None:
        """`name` whole and durable, or (disk full) as it was before."""
        self._raise_if_failed(name)
        if self._fitting(len(data)) < len(data):
            raise DiskFault(name, _NO_SPACE)
        self._files[name] = bytearray(data)
        self._durable[name] = len(data)

    def names(self, prefix: str) -> list[str]:
        """Existing names that start with `prefix`, sorted."""
        return sorted(name for name in self._files if name.startswith(prefix))

    def truncate(self, name: str, length: int) -> None:
        """Cut `name` to `length` bytes."""
        if name in self._files:
            del self._files[name][length:]
            self._durable[name] = min(self._durable.get(name, 0), length)

    def delete(self, name: str) -> None:
        """Remove `name`."""
        self._files.pop(name, None)
        self._durable.pop(name, None)

    # ---- faults ------------------------------------------------------------------------------
    def crash(self) -> None:
        """The host dies: of every file the synced bytes stay, and a prefix of the others may."""
        self.crashes += 1
        self._failed.clear()
        self._sync_failures = 0
        for name in sorted(self._files):
            durable = self._durable.get(name, 0)
            unsynced = len(self._files[name]) - durable
            kept = self._rng.randint(0, unsynced) if self._rng is not None else 0
            del self._files[name][durable + kept :]
            if not self._files[name]:
                self.delete(name)
            else:
                self._durable[name] = durable + kept

    def reopen(self) -> None:
        """A new process opens the files: what failed for the old one may be tried again."""
        self._failed.clear()

    def fail_syncs(self, count: int) -> None:
        """The next `count` syncs fail; a file whose sync failed stays failed until a crash."""
        self._sync_failures = count

    def corrupt(self, name: str, offset: int, mask: int = 0xFF) -> None:
        """Flip bits of one stored byte."""
        self._files[name][offset] ^= mask

    def used_bytes(self) -> int:
        """Bytes of all files."""
        return sum(len(file) for file in self._files.values())

    def copy_to(self, disk: Disk) -> None:
        """All files as they are, onto another disk (to keep the journal of a failing run)."""
        for name in self.names(""):
            disk.replace(name, self.read(name))

    def _fitting(self, wanted: int) -> int:
        if self.capacity_bytes is None:
            return wanted
        return max(0, min(wanted, self.capacity_bytes - self.used_bytes()))

    def _fail(self, name: str, what: str) -> None:
        self._failed[name] = DiskFault(name, what)

    def _raise_if_failed(self, name: str) -> None:
        failed = self._failed.get(name)
        if failed is not None:
            raise failed
