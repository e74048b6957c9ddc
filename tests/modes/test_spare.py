"""Free memory goes back to the system where that can be asked for, and so does a library's."""

from __future__ import annotations

import ctypes
import platform
import subprocess
import sys

import pytest

from cryptosignal.modes import spare

SMAPS = """\
55ec44809000-55ec4480a000 r--p 00000000 fe:00 26723                      /usr/lib/libother.so
Rss:                   4 kB
Anonymous:             0 kB
7f0000000000-7f0000010000 r--p 00000000 fe:00 11                         /opt/a b/libwanted.so.1
Size:                 64 kB
Rss:                  40 kB
Anonymous:             0 kB
Swap:                  0 kB
VmFlags: rd mr mw me
7f0000010000-7f0000020000 r-xp 00010000 fe:00 11                         /opt/a b/libwanted.so.1
Rss:                  64 kB
Anonymous:             0 kB
VmFlags: rd ex mr mw me
7f0000020000-7f0000030000 r--p 00020000 fe:00 11                         /opt/a b/libwanted.so.1
Rss:                  64 kB
Anonymous:             8 kB
7f0000030000-7f0000040000 r--p 00030000 fe:00 11                         /opt/a b/libwanted.so.1
Rss:                   0 kB
Anonymous:             0 kB
Swap:                 12 kB
7f0000040000-7f0000050000 rw-p 00040000 fe:00 11                         /opt/a b/libwanted.so.1
Rss:                  64 kB
Anonymous:             0 kB
7f0000050000-7f0000060000 r--p 00000000 00:00 0
Rss:                  64 kB
Anonymous:             0 kB
"""

CHILD = """
import pickle, resource, sys
from cryptosignal.factors import kernels
from cryptosignal.factors.catalogue import FactorEngine
from cryptosignal.domain.params import ParamSet
from cryptosignal.modes import rehearsal, spare

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()

if not rehearsal.rehearse():
    sys.exit(3)
board = rehearsal.made_up_board()
view = board.view(rehearsal._NOW_MS)
before = FactorEngine(ParamSet()).compute(view, 1, "manual")
held = resident()
given = spare.shed()
left = resident()
after = FactorEngine(ParamSet()).compute(view, 1, "manual")
assert pickle.dumps(before) == pickle.dumps(after) and kernels.path_name() == "numba"
used = resident()
print(given, held - left, used - left)
assert spare.shed() < given / 4
import numba
assert numba.njit(lambda x: x + 41)(1) == 42  # the compiler comes back when it is needed
"""


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
    assert spare.shed("libc") == 0


def test_only_pages_as_in_the_file_are_let_go():
    """Ranges that may be written, hold a changed page or had one moved to the swap are left alone."""
    assert spare.clean_ranges(SMAPS, "libwanted") == [
        (0x7F0000000000, 0x7F0000010000, 40_960),
        (0x7F0000010000, 0x7F0000020000, 65_536),
    ]


def test_a_system_without_the_file_of_ranges_is_left_alone(monkeypatch, tmp_path):
    """Where the ranges cannot be read nothing is let go of."""
    monkeypatch.setattr(spare, "_MAPS", tmp_path / "none")
    assert spare.shed("libc") == 0


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="ranges are read from Linux")
def test_the_compiler_leaves_memory_and_the_kernels_answer_as_before():
    """Once the kernels are loaded the compiler's pages go: the process shrinks by them, rows stay the
    same to the bit without calling them back, and the compiler still works when it is needed."""
    pytest.importorskip("numba")
    done = subprocess.run(
        [sys.executable, "-c", CHILD], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    given, fallen, back = map(int, done.stdout.split())
    assert given > 20_000_000
    assert fallen > 0.9 * given
    assert back < 0.2 * given
