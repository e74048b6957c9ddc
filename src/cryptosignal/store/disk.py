"""Real files behind the `Disk` port: one writer thread that commits in groups.

`append` only queues; the thread writes whatever has gathered, then makes durable (fdatasync) the
files that somebody waits for, so that a burst of records costs one sync. Waiters live on any
asyncio loop. A failed write or sync is remembered for its file: everybody who waits for it, and
every later append, gets the `DiskFault`; nothing is tried again on a file in an unknown state.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections import OrderedDict
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Final

from cryptosignal.ground.faults import ContractFault, UserFault
from cryptosignal.store.faults import DiskFault
from cryptosignal.store.settings import StoreSettings

_APPEND_FLAGS: Final = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_CLOEXEC", 0)

_SYNC_DATA: Final = getattr(os, "fdatasync", os.fsync)  # macOS has only fsync


class _Waiter:
    """Somebody who waits until `ticket` of `name` is durable."""

    __slots__ = ("future", "loop", "name", "ticket")

    def __init__(self, name: str, ticket: int, loop: asyncio.AbstractEventLoop) -> None:
        self.name = name
        self.ticket = ticket
        self.loop = loop
        self.future: asyncio.Future[None] = loop.create_future()

    def resolve(self, fault: DiskFault | None) -> None:
        """Wake the waiter from the writer thread; a loop that is gone waits for nothing."""
        with suppress(RuntimeError):
            self.loop.call_soon_threadsafe(self._settle, fault)

    def _settle(self, fault: DiskFault | None) -> None:
        if self.future.done():
            return
        if fault is None:
            self.future.set_result(None)
        else:
            self.future.set_exception(fault)


class FileDisk:
    """Append-only files under `root` (made if missing). Threads may share it.

    `read_only` makes nothing and refuses every write (tools that look at a run). Raises UserFault
    if `root` cannot be such a folder.
    """

    def __init__(
        self, root: Path, settings: StoreSettings | None = None, *, read_only: bool = False
    ) -> None:
        self.root = root
        self._settings = settings or StoreSettings()
        self._changed = threading.Condition()
        self._queue: list[tuple[str, bytes]] = []
        self._waiters: list[_Waiter] = []
        self._queued_bytes = 0
        self._appended: dict[str, int] = {}
        self._written: dict[str, int] = {}
        self._durable: dict[str, int] = {}
        self._failed: dict[str, DiskFault] = {}
        self._told: set[str] = set()
        self._closing = False
        self.commits = 0
        self._read_only = read_only
        self._files = _OpenFiles(root, self._settings.open_files_max)
        self._thread = threading.Thread(target=self._run, name="disk-writer", daemon=True)
        if read_only:
            if not root.is_dir():
                raise UserFault(f"{root}: no such folder")
            return
        try:
            root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserFault(f"data folder {root}: cannot be made: {error.strerror}") from None
        self._thread.start()

    # ---- the port ----------------------------------------------------------------------------
    def append(self, name: str, data: bytes) -> None:
        """Queue `data` for the end of `name`.

        Raises `DiskFault` if the file failed before or the queue is full (`queue_bytes_max`).
        """
        _check_name(name)
        with self._changed:
            self._refuse_if_unusable(name)
            if self._queued_bytes + len(data) > self._settings.queue_bytes_max:
                raise DiskFault(
                    name,
                    f"{self._queued_bytes} bytes wait to be written "
                    f"(allowed: {self._settings.queue_bytes_max}): the disk is too slow",
                )
            self._queue.append((name, data))
            self._queued_bytes += len(data)
            self._appended[name] = self._appended.get(name, 0) + 1
            self._changed.notify_all()

    async def sync(self, name: str) -> None:
        """Return once everything appended to `name` before the call is durable.

        Raises `DiskFault` if it could not be made so.
        """
        with self._changed:
            self._refuse_if_unusable(name)
            ticket = self._appended.get(name, 0)
            if self._durable.get(name, 0) >= ticket:
                return
            waiter = _Waiter(name, ticket, asyncio.get_running_loop())
            self._waiters.append(waiter)
            self._changed.notify_all()
        await waiter.future

    def read(self, name: str) -> bytes:
        """All bytes of `name`, own appends included (blocks until they are written)."""
        _check_name(name)
        self._settle(name)
        try:
            return (self.root / name).read_bytes()
        except FileNotFoundError:
            return b""
        except OSError as error:
            raise DiskFault(name, f"cannot read: {error.strerror}") from None

    def size(self, name: str) -> int:
        """Length of `name`, waiting appends included."""
        _check_name(name)
        self._settle(name)
        try:
            return (self.root / name).stat().st_size
        except FileNotFoundError:
            return 0

    def replace(self, name: str, data: bytes) -> None:
        """Write `name` whole: a temporary file, synced, renamed over it, its directory synced."""
        _check_name(name)
        self._refuse_if_read_only(name)
        self._settle(name)
        path = self.root / name
        temporary = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.tmp")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with temporary.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
            _sync_directory(path.parent)
        except OSError as error:
            with suppress(OSError):
                temporary.unlink()
            raise DiskFault(name, f"cannot replace: {error.strerror}") from None
        self._files.forget(name)

    def names(self, prefix: str) -> list[str]:
        """Existing names that start with `prefix`, sorted; waiting appends are written first."""
        self._settle(None)
        folder = self.root / prefix.rpartition("/")[0]
        found = (
            path.relative_to(self.root).as_posix()
            for path in folder.rglob("*")
            if path.is_file() and not path.name.startswith(".")
        )
        return sorted(name for name in found if name.startswith(prefix))

    def truncate(self, name: str, length: int) -> None:
        """Cut `name` to `length` bytes, durably; a shorter file stays as it is."""
        _check_name(name)
        self._refuse_if_read_only(name)
        self._settle(name)
        try:
            with (self.root / name).open("r+b") as file:
                if length < os.fstat(file.fileno()).st_size:
                    file.truncate(length)
                    os.fsync(file.fileno())
        except FileNotFoundError:
            return
        except OSError as error:
            raise DiskFault(name, f"cannot truncate: {error.strerror}") from None

    def delete(self, name: str) -> None:
        """Remove `name`; missing is fine. It may be written anew afterwards."""
        _check_name(name)
        self._refuse_if_read_only(name)
        self._settle(name)
        self._files.forget(name)
        try:
            (self.root / name).unlink(missing_ok=True)
        except OSError as error:
            raise DiskFault(name, f"cannot delete: {error.strerror}") from None
        with self._changed:
            self._failed.pop(name, None)

    def close(self) -> None:
        """Write and sync everything, then stop the thread (blocks). A second call does nothing.

        Raises the first `DiskFault` that nobody was told of.
        """
        with self._changed:
            if self._closing or self._read_only:
                return
            self._closing = True
            self._changed.notify_all()
        self._thread.join()
        for name, fault in self._failed.items():
            if name not in self._told:
                raise fault

    # ---- the writer thread -------------------------------------------------------------------
    def _run(self) -> None:
        while True:
            with self._changed:
                while not (self._queue or self._waiters or self._closing):
                    self._changed.wait()
                queue, self._queue = self._queue, []
                waiters, self._waiters = self._waiters, []
                closing = self._closing
            self._write(queue)
            names = {waiter.name for waiter in waiters}
            self._sync(set(self._written) if closing else names)
            for waiter in waiters:
                fault = self._failed.get(waiter.name)
                if fault is not None:
                    self._told.add(waiter.name)
                waiter.resolve(fault)
            if closing and not queue:
                self._files.close()
                return

    def _write(self, queue: list[tuple[str, bytes]]) -> None:
        parts: dict[str, list[bytes]] = {}
        for name, data in queue:
            parts.setdefault(name, []).append(data)
        for name, pieces in parts.items():
            if name not in self._failed:
                try:
                    self._files.write(name, b"".join(pieces))
                except OSError as error:
                    self._fail(name, f"cannot write: {error.strerror}")
        with self._changed:
            for name, pieces in parts.items():
                self._queued_bytes -= sum(map(len, pieces))
                self._written[name] = self._written.get(name, 0) + len(pieces)
            self._changed.notify_all()

    def _sync(self, names: set[str]) -> None:
        for name in sorted(names):
            ticket = self._written.get(name, 0)
            if name in self._failed or self._durable.get(name, 0) >= ticket:
                continue
            try:
                self._files.sync(name)
            except OSError as error:
                self._fail(name, f"cannot sync: {error.strerror}")
                continue
            self.commits += 1
            with self._changed:
                self._durable[name] = ticket

    def _fail(self, name: str, what: str) -> None:
        with self._changed:
            self._failed[name] = DiskFault(name, what)

    def _settle(self, name: str | None) -> None:
        """Block until the thread has written what waits (of `name`, or of all)."""
        with self._changed:
            while self._thread.is_alive() and self._is_behind(name):
                self._changed.wait(timeout=1.0)

    def _is_behind(self, name: str | None) -> bool:
        if name is None:
            return self._written != self._appended
        return self._written.get(name, 0) < self._appended.get(name, 0)

    def _refuse_if_read_only(self, name: str) -> None:
        if self._read_only:
            raise ContractFault(f"{name}: the disk was opened for reading only")

    def _refuse_if_unusable(self, name: str) -> None:
        self._refuse_if_read_only(name)
        failed = self._failed.get(name)
        if failed is not None:
            self._told.add(name)
            raise failed
        if self._closing:
            raise ContractFault(f"{name}: the disk is closed")


class _OpenFiles:
    """Descriptors of the newest files; the writer thread writes, others may `forget`."""

    def __init__(self, root: Path, limit: int) -> None:
        self._root = root
        self._limit = limit
        self._lock = threading.Lock()
        self._open: OrderedDict[str, int] = OrderedDict()
        self._unlisted: set[str] = set()

    def write(self, name: str, data: bytes) -> None:
        """All of `data` at the end of `name`."""
        with self._lock:
            descriptor = self._descriptor(name)
            view = memoryview(data)
            while view:
                view = view[os.write(descriptor, view) :]

    def sync(self, name: str) -> None:
        """Make `name` durable, and its directory entry if the file is new."""
        with self._lock:
            if name not in self._open and not (self._root / name).exists():
                return  # deleted meanwhile
            _SYNC_DATA(self._descriptor(name))
            if name in self._unlisted:
                _sync_directories(self._root, self._root / name)
                self._unlisted.discard(name)

    def forget(self, name: str) -> None:
        """Close `name`: it was replaced or deleted."""
        with self._lock:
            descriptor = self._open.pop(name, None)
            if descriptor is not None:
                os.close(descriptor)
            self._unlisted.discard(name)

    def close(self) -> None:
        """Close all."""
        with self._lock:
            while self._open:
                os.close(self._open.popitem()[1])

    def _descriptor(self, name: str) -> int:
        descriptor = self._open.get(name)
        if descriptor is not None:
            self._open.move_to_end(name)
            return descriptor
        path = self._root / name
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._unlisted.add(name)
        descriptor = os.open(path, _APPEND_FLAGS, 0o600)
        self._open[name] = descriptor
        if len(self._open) > self._limit:
            os.close(self._open.popitem(last=False)[1])
        return descriptor


def _sync_directories(root: Path, path: Path) -> None:
    """Make the entries of `path` and of its folders durable, up to and with `root`."""
    for folder in path.parents:
        _sync_directory(folder)
        if folder == root:
            return


def _sync_directory(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _check_name(name: str) -> None:
    path = PurePosixPath(name)
    if not name or path.is_absolute() or ".." in path.parts:
        raise ContractFault(f"not a name under the disk's root: {name!r}")
