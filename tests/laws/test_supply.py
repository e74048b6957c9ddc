"""Incident S: nothing is installed without its hash, and nothing runs by itself at a start of Python."""

from __future__ import annotations

import re
import site
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LOCKS = ("requirements.lock", "requirements-dev.lock")
PTH_ALLOWED = frozenset({"_editable_impl_cryptosignal.pth", "distutils-precedence.pth"})
"""Files that a start of Python reads by itself: the project in place, and what setuptools brings."""


def test_no_stranger_runs_at_a_start_of_python():
    """The environment holds no `.pth` file beyond the known ones; the project's own runs no code."""
    found = {
        path.name: path.read_text()
        for room in site.getsitepackages()
        for path in Path(room).glob("*.pth")
    }
    assert set(found) <= PTH_ALLOWED
    assert not any(
        line.startswith("import")
        for line in found.get("_editable_impl_cryptosignal.pth", "").split("\n")
    )


@pytest.mark.parametrize("name", LOCKS)
def test_every_locked_package_has_its_hashes(name):
    """Each requirement of a lock file is one exact version with at least one hash, from no address."""
    text = re.sub(r"\\\n\s*", " ", (ROOT / name).read_text())
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    assert len(lines) > 10
    for line in lines:
        assert re.match(r"[A-Za-z0-9._-]+(\[[\w,-]+\])?==[^\s;]+", line), line
        assert "--hash=sha256:" in line, line
        assert "://" not in line, line.split()[0]


def test_installing_demands_hashes_and_builds_nothing():
    """Every target that installs from a lock file demands hashes and wheels."""
    rules = (ROOT / "Makefile").read_text().splitlines()
    installs = [line for line in rules if "-r requirements" in line and "INSTALL" in line]
    assert len(installs) == len(LOCKS)
    for line in installs:
        assert "--require-hashes" in line
        assert "--only-binary :all:" in line
