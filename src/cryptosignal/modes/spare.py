"""Memory that nothing uses any more although the process still has it.

Warm-up and the first full scan need several times what the caches do, for seconds. glibc keeps what
was freed between blocks that live on: 130 MB at 550 symbols, for as long as the process runs. And
the compiler stays in memory after the kernels are loaded: 68 MB of its code and tables, as on disk.
"""

from __future__ import annotations

import ctypes
import re
from pathlib import Path
from typing import Final

COMPILER: Final = "libllvmlite"
"""File name, as it begins, of the library that compiles and loads the kernels."""

_MAPS: Final = Path("/proc/self/smaps")
_MADV_DONTNEED: Final = 4
_RANGE: Final = re.compile(r"^([0-9a-f]+)-([0-9a-f]+) (\S{4}) \S+ \S+ \S+ *(.*)$", re.MULTILINE)
_READ_ONLY: Final = ("r--p", "r-xp")


def give_back() -> bool:
    """Return free memory to the system; False where the C library has no such call (not glibc)."""
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (OSError, TypeError, AttributeError):  # no symbol, or no library of the process itself
        return False
    trim(0)
    return True


def shed(library: str = COMPILER) -> int:
    """Let go of the pages of a loaded library that are as its file has them; bytes let go of.

    The next use reads them again from the file (mostly from the system's cache), so that nothing is
    lost but a moment. Ranges that may be written, or in which a page was ever changed (relocations),
    are left alone. 0 where the library is not loaded, and where the system cannot say (not Linux).
    """
    try:
        found = clean_ranges(_MAPS.read_text(encoding="utf-8", errors="replace"), library)
        advise = ctypes.CDLL(None).madvise
    except (OSError, TypeError, AttributeError):
        return 0
    advise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    return sum(
        resident for start, end, resident in found if not advise(start, end - start, _MADV_DONTNEED)
    )


def clean_ranges(smaps: str, library: str) -> list[tuple[int, int, int]]:
    """(start, end, resident bytes) of the read-only ranges of `library` without a page of their own.

    `smaps` is the text of Linux's file of that name: a line with the range, its rights and its file,
    then lines of sizes in kB. A changed page counts as `Anonymous`, or as `Swap` once it was moved.
    """
    found: list[tuple[int, int, int]] = []
    heads = [*_RANGE.finditer(smaps)]
    for head, following in zip(heads, [*heads[1:], None], strict=True):
        start, end, rights, path = head.groups()
        if rights not in _READ_ONLY or not path.rpartition("/")[2].startswith(library):
            continue
        lines = smaps[head.end() : following.start() if following else None].splitlines()
        size_kb = {
            key: rest.split()[0] for key, _, rest in (x.partition(":") for x in lines) if rest
        }
        if size_kb.get("Anonymous") == "0" == size_kb.get("Swap", "0"):
            found.append((int(start, 16), int(end, 16), 1024 * int(size_kb["Rss"])))
    return found
