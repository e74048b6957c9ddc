"""The page of proofs names every incident and only tests that exist."""

from __future__ import annotations

import re
import string
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "PROOFS.md").read_text()
SOURCES = {path: path.read_text() for path in (ROOT / "tests").rglob("test_*.py")}


def rows():
    """Cells of each incident, by its letter."""
    found = {}
    for line in PAGE.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("|") and len(cells) == 4 and re.fullmatch(r"[A-S]", cells[0]):
            found[cells[0]] = cells[1:]
    return found


def test_every_incident_is_held_by_something():
    """A to S each have a row, and each row names a test of the desk or of a part."""
    assert sorted(rows()) == list(string.ascii_uppercase[:19])
    assert all("test_" in parts for _, parts, _ in rows().values())


def test_every_named_test_exists():
    """Each test, each file and each campaign case on the page is there under that name."""
    source = "\n".join(SOURCES.values())
    for _, parts, program in rows().values():
        for name in re.findall(r"`([^`]+)`", f"{parts} {program}"):
            if name.endswith(".py"):
                assert any(str(path).endswith(name) for path in SOURCES), name
            elif name.startswith(("test_", "…")):
                whole = name.replace("…", "test_incident_") if name.startswith("…") else name
                assert f"def {whole.rstrip('…')}" in source, name
            else:
                assert f'"{name}"' in source or f"{name}(" in source, name
