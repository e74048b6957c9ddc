"""Whether compiled kernels answer or numpy does. Numpy until somebody calls `enable`.

The switch is one for the process and changes no number beyond 1e-9; start-up never imports numba.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from types import ModuleType
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from cryptosignal.market import trade_reading

_active: list[ModuleType] = []
_rehearsed: ContextVar[ModuleType | None] = ContextVar("rehearsed", default=None)


def enable() -> bool:
    """Load the compiled kernels, the market's reader of trades too; False where numba is not
    installed."""
    if _active:
        return True
    try:
        from cryptosignal.factors import compiled
    except ImportError:
        return False
    trade_reading.enable()
    _active.append(compiled)
    return True


def rehearse(work: Callable[[], object]) -> bool:
    """Run `work` with the compiled kernels for this caller alone, then enable them for everyone.

    For a thread beside a running scan: what `work` touches is compiled or read from the disk before
    a scan needs it. False where numba is not installed.
    """
    try:
        from cryptosignal.factors import compiled
    except ImportError:
        return False
    before = _rehearsed.set(compiled)
    try:
        work()
    finally:
        _rehearsed.reset(before)
    return enable()


def disable() -> None:
    """Back to numpy (tests compare the two)."""
    _active.clear()
    trade_reading.disable()


def compiled_kernels() -> ModuleType | None:
    """The compiled kernels, None while numpy answers."""
    return _active[0] if _active else _rehearsed.get()


def path_name() -> str:
    """`numba` or `numpy`: named in a journal's header, since equality to the byte is per path."""
    return "numba" if _active else "numpy"


def flat(x: NDArray[Any]) -> tuple[NDArray[Any], tuple[int, ...]]:
    """The memory that `x` spans as one dense line, and how many items each axis but the last steps.

    A compiled loop over a dense line uses the wide instructions, one over a strided view does not.
    Read-only; `x` itself where its newest axis is dense, a copy elsewhere.
    """
    if not x.size or x.strides[-1] != x.itemsize or min(x.strides) < 0:
        x = np.ascontiguousarray(x)
    steps = tuple(step // x.itemsize for step in x.strides)
    length = (
        1 + sum((n - 1) * step for n, step in zip(x.shape, steps, strict=True)) if x.size else 0
    )
    line = as_strided(x, shape=(length,), strides=(x.itemsize,), writeable=False)
    return line, steps[:-1]
