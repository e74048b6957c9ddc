"""A copy of a data folder that can be trusted: taken while the engine runs, checked before it is used.

Append-only files are copied up to their last whole record, in the order of their names as first
listed, so a copy is what a crash at that moment would have left, without the torn tail. What can be
made again (candles, the tape, projections) is left out. `backup.json` holds size and SHA-256 of every
file; a restore believes nothing else.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from cryptosignal.ground.faults import UserFault
from cryptosignal.store.disk import FileDisk
from cryptosignal.store.lease import LEASE_NAME, Lease
from cryptosignal.store.records import read_segment
from cryptosignal.store.runs import money_history, run_dirs

FORMAT: Final = 1
MANIFEST: Final = "backup.json"
JOURNAL: Final = "journal"
LEFT_OUT: Final = ("candles/", "tape/")
_DERIVED: Final = (".sqlite", ".sqlite-wal", ".sqlite-shm")


class KeptFile(msgspec.Struct, frozen=True):
    """One file of a backup."""

    bytes: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True):
    """What a backup holds. `events` counts the money records of all `runs`."""

    format: int
    made_ms: int
    source: str
    runs: int
    events: int
    files: dict[str, KeptFile]


def back_up(source: Path, target: Path, now_ms: int) -> Manifest:
    """Copy the data folder `source` to the new folder `target` and answer what is in it.

    Raises UserFault with one line; then `target` is not made.
    """
    if not source.is_dir():
        raise UserFault(f"data folder {source}: no such folder")
    if target.resolve().is_relative_to(source.resolve()):
        raise UserFault(f"backup {target}: found a place inside the data folder, allowed: outside")
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UserFault(f"backup {target}: it exists (allowed: a new or an empty folder)")
    fresh = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        fresh.mkdir(parents=True)
        files = {name: _keep(fresh, name, _whole(source, name)) for name in _names(source)}
        runs, events = _count_money(fresh)
        manifest = Manifest(FORMAT, now_ms, str(source.resolve()), runs, events, files)
        _write(fresh / MANIFEST, msgspec.json.format(msgspec.json.encode(manifest), indent=1))
        if target.exists():
            target.rmdir()
        fresh.rename(target)
        _sync_folder(target.parent)
    except OSError as error:
        raise UserFault(f"backup {target}: cannot be written: {error.strerror}") from None
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return manifest


def restore(source: Path, target: Path) -> Manifest:
    """Put the backup `source` into the empty or missing data folder `target`, every byte checked first.

    Raises UserFault with one line, also while an engine works in `target`; then nothing is restored.
    """
    manifest = read_manifest(source)
    for name, kept in manifest.files.items():
        _check(source, name, kept)
    is_new = not target.exists()
    lease = Lease(target)
    fresh = target / f".restore.{os.getpid()}"
    try:
        others = [p.name for p in target.iterdir() if p.name != LEASE_NAME and not p.is_socket()]
        if others:
            raise UserFault(
                f"data folder {target}: found {len(others)} entries such as {sorted(others)[0]},"
                " allowed: an empty or a missing folder"
            )
        for name, kept in manifest.files.items():
            if _keep(fresh, name, (source / name).read_bytes()) != kept:
                raise UserFault(f"backup {source}: {name}: it changed while it was read")
        for entry in sorted(fresh.iterdir()) if fresh.exists() else []:
            entry.rename(target / entry.name)
        _sync_folder(target)
        _count_money(target)
    except OSError as error:
        raise UserFault(f"data folder {target}: cannot be written: {error.strerror}") from None
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
        lease.release()
        if is_new and [p.name for p in target.iterdir()] == [LEASE_NAME]:
            shutil.rmtree(target)
    return manifest


def read_manifest(source: Path) -> Manifest:
    """What a backup says of itself. Raises UserFault with one line."""
    path = source / MANIFEST
    try:
        manifest = msgspec.json.decode(path.read_bytes(), type=Manifest)
    except OSError as error:
        raise UserFault(f"backup {source}: {MANIFEST} cannot be read: {error.strerror}") from None
    except msgspec.DecodeError:
        raise UserFault(f"backup {source}: {MANIFEST} is damaged") from None
    if manifest.format != FORMAT:
        raise UserFault(
            f"backup {source}: found format {manifest.format}, allowed: {FORMAT} (a newer program's)"
        )
    for name in manifest.files:
        if name.startswith("/") or ".." in Path(name).parts:
            raise UserFault(f"backup {source}: {MANIFEST} names a file outside: {name}")
    return manifest


# ---- parts ----------------------------------------------------------------------------------
def _names(source: Path) -> list[str]:
    """Files worth keeping, in order, as they are at this moment."""
    return sorted(_walk(source, ""))


def _walk(source: Path, prefix: str) -> Iterator[str]:
    for entry in os.scandir(source / prefix):
        name = f"{prefix}{entry.name}"
        if entry.name.startswith(".") or entry.is_symlink():
            continue
        if entry.is_dir():
            if f"{name}/" not in LEFT_OUT:
                yield from _walk(source, f"{name}/")
        elif entry.is_file() and not entry.name.endswith(_DERIVED):
            yield name


def _whole(source: Path, name: str) -> bytes:
    """The file without a last record that is still being written."""
    body = (source / name).read_bytes()
    if name.endswith(".seg"):
        torn = read_segment(name, body).torn
        return body if torn is None else body[: torn.offset]
    if name.endswith(".jsonl"):
        return body[: body.rfind(b"\n") + 1]
    return body


def _keep(root: Path, name: str, body: bytes) -> KeptFile:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    _write(path, body)
    return KeptFile(len(body), hashlib.sha256(body).hexdigest())


def _write(path: Path, body: bytes) -> None:
    with path.open("xb") as file:
        file.write(body)
        file.flush()
        os.fsync(file.fileno())


def _check(source: Path, name: str, kept: KeptFile) -> None:
    try:
        body = (source / name).read_bytes()
    except OSError as error:
        raise UserFault(f"backup {source}: {name}: cannot be read: {error.strerror}") from None
    if len(body) != kept.bytes or hashlib.sha256(body).hexdigest() != kept.sha256:
        raise UserFault(
            f"backup {source}: {name}: found {len(body)} bytes that are not those kept"
            f" ({kept.bytes} bytes, SHA-256 {kept.sha256[:12]}…): the backup is damaged"
        )


def _count_money(root: Path) -> tuple[int, int]:
    """Runs and money records of a copy, read whole: a copy that cannot be folded is none."""
    disk = FileDisk(root, read_only=True)
    try:
        return len(run_dirs(disk, JOURNAL)), sum(1 for _ in money_history(disk, JOURNAL))
    finally:
        disk.close()


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
