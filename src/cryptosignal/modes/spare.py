"""Memory that the C library keeps for later although nothing uses it.

Warm-up and the first full scan need several times what the caches do, for seconds. glibc keeps what
was freed between blocks that live on: 130 MB at 550 symbols, for as long as the process runs.
"""

from __future__ import annotations

import ctypes


def give_back() -> bool:
    """Return free memory to the system; False where the C library has no such call (not glibc)."""
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (OSError, TypeError, AttributeError):  # no symbol, or no library of the process itself
        return False
    trim(0)
    return True
