"""Free memory goes back to the system where that can be asked for."""

from __future__ import annotations

import ctypes
import platform

import pytest

from cryptosignal.modes import spare


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has the call")
def test_glibc_is_asked():
    """With glibc the call is there and is made."""
    assert spare.give_back()


@pytest.mark.parametrize("fault", [OSError, TypeError, AttributeError])
def test_another_library_is_left_alone(monkeypatch, fault):
    """Without the call nothing happens, and nobody is troubled."""

    def none(_name):
        raise fault

    monkeypatch.setattr(ctypes, "CDLL", none)
    assert not spare.give_back()
