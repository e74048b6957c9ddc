"""The old package name: the documented names, and nothing else, from `cryptosignal`."""

from __future__ import annotations

from typing import Any

import cryptosignal

__all__ = list(cryptosignal.__all__)  # the same list, whatever it holds


def __getattr__(name: str) -> Any:
    """The name of `cryptosignal`."""
    if name not in cryptosignal.__all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(cryptosignal, name)
