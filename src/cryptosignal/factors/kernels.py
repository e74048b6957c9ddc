"""Whether compiled kernels answer or numpy does. Numpy until somebody calls `enable`.

The switch is one for the process and changes no number beyond 1e-9; start-up never imports numba.
"""

from __future__ import annotations

from types import ModuleType

_active: list[ModuleType] = []


def enable() -> bool:
    """Load the compiled kernels; False where numba is not installed."""
    if _active:
        return True
    try:
        from cryptosignal.factors import compiled
    except ImportError:
        return False
    _active.append(compiled)
    return True


def disable() -> None:
    """Back to numpy (tests compare the two)."""
    _active.clear()


def compiled_kernels() -> ModuleType | None:
    """The compiled kernels, None while numpy answers."""
    return _active[0] if _active else None


def path_name() -> str:
    """`numba` or `numpy`: named in a journal's header, since equality to the byte is per path."""
    return "numba" if _active else "numpy"
