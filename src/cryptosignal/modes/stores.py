"""What a run keeps on disk beside its journal: the tape of raw frames, and every store in its cap.

The tape takes each market frame with the time it came, and what else the memory of the market was
told (`modes.film`); its position goes into every record of the
journal (D2). It is compressed on a thread of its own and may fail without stopping anything. Sizes
are kept every five minutes, ages each day: oldest first, never what is being written, never money.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from cryptosignal.domain.actions import Note
from cryptosignal.domain.ports import Disk
from cryptosignal.ground.clock import Clock
from cryptosignal.store.faults import DiskFault
from cryptosignal.store.runs import BLOCKS, INPUTS, MONEY, drop_expired, drop_oversize
from cryptosignal.store.settings import StoreSettings
from cryptosignal.store.tape import CALL, Tape

JOURNAL_ROOT: Final = "journal"
TAPE_ROOT: Final = "tape"
FLUSH_S: Final = 5.0
CAPS_S: Final = 300.0
AGE_S: Final = 86_400.0
_KINDS: Final = (MONEY, INPUTS, BLOCKS)

OnNote = Callable[[int, Note], None]


class Stores:
    """The tape of one run and the caps of all stores under `disk`."""

    def __init__(
        self, disk: Disk, settings: StoreSettings, run_id: str, clock: Clock, on_note: OnNote
    ) -> None:
        self._disk = disk
        self._settings = settings
        self._clock = clock
        self._on_note = on_note
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="tape")
        self._tape: Tape | None = None
        if settings.tape:
            self._tape = Tape(disk, TAPE_ROOT, run_id, settings, self._executor)
        self._is_told = False
        self.sizes: dict[str, int] = {}
        """Bytes by store, as of the last look."""

    @property
    def tap(self) -> Callable[[int, int, bytes], None] | None:
        """For the feed: takes (connection, now_ms, payload); None without a tape."""
        return None if self._tape is None else self._take

    @property
    def record(self) -> Callable[[bytes], None] | None:
        """For the memory of the market: takes what it is told besides frames; None without a tape."""
        return None if self._tape is None else self._record

    def _record(self, told: bytes) -> None:
        assert self._tape is not None
        self._tape.append(told, self._clock.mono_ns(), self._clock.now_ms(), kind=CALL)

    def _take(self, connection: int, now_ms: int, payload: bytes) -> None:
        assert self._tape is not None
        self._tape.append(payload, self._clock.mono_ns(), now_ms, connection & 0xFFFF_FFFF)

    def position(self) -> int:
        """Entries taken so far: what a journal record says it saw."""
        return 0 if self._tape is None else self._tape.position

    def stats(self) -> dict[str, int | str]:
        """The tape in numbers; empty without one."""
        return {} if self._tape is None else self._tape.stats()

    async def run(self) -> None:
        """Hand frames on every few seconds and keep the caps, until cancelled."""
        sizes_due_s = ages_due_s = 0.0
        loop = asyncio.get_running_loop()
        while True:
            now_s = loop.time()
            if now_s >= sizes_due_s:
                is_aged = now_s >= ages_due_s
                sizes_due_s, ages_due_s = now_s + CAPS_S, now_s + AGE_S if is_aged else ages_due_s
                await asyncio.to_thread(self._keep_caps, ages=is_aged)
            if self._tape is not None:
                self._tape.flush()
                self._tell_fault()
            await asyncio.sleep(FLUSH_S)

    def close(self) -> None:
        """Write what was gathered."""
        if self._tape is not None:
            self._tape.close()
        self._executor.shutdown()

    def _tell_fault(self) -> None:
        fault = self.stats().get("fault", "")
        if fault and not self._is_told:
            self._is_told = True
            self._note("tape.has_stopped", {"reason": str(fault)})

    def _keep_caps(self, *, ages: bool) -> None:
        now_ms = self._clock.now_ms()
        try:
            gone = drop_oversize(self._disk, JOURNAL_ROOT, self._settings)
            if ages:
                gone += drop_expired(self._disk, JOURNAL_ROOT, now_ms, self._settings)
            self.sizes = self._measure()
        except DiskFault as fault:
            self._note("stores.were_not_trimmed", {"reason": str(fault)})
            return
        if gone:
            self._note("stores.were_trimmed", {"segments": len(gone)})

    def _measure(self) -> dict[str, int]:
        sizes: dict[str, int] = {}
        for name in self._disk.names(""):
            root, _, rest = name.partition("/")
            kind = rest.rpartition("/")[2].partition("-")[0]
            store = f"{root}.{kind}" if root == JOURNAL_ROOT and kind in _KINDS else root
            sizes[store] = sizes.get(store, 0) + self._disk.size(name)
        return sizes

    def _note(self, event: str, fields: dict[str, str | int | float]) -> None:
        self._on_note(self._clock.now_ms(), Note(event, fields))
