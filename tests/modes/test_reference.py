"""The reference pages say what the program is: every key and every command, none that is gone."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def reference():
    """The script that writes the pages."""
    spec = importlib.util.spec_from_file_location("reference", ROOT / "docs" / "reference.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["CONFIGURATION.md", "COMMANDS.md"])
def test_the_page_is_what_the_program_is_now(reference, name):
    """Each page is as the script would write it, and lacks no meaning (`make docs` writes both)."""
    text, wrong = reference.PAGES[name]()
    assert wrong == []
    assert (ROOT / "docs" / name).read_text(encoding="utf-8") == text


def test_a_key_without_meaning_and_a_meaning_without_key_are_found(reference, monkeypatch):
    """Both kinds of gap are named with their place."""
    written = reference.meanings()
    del written["run"]["mode"]
    written["run"]["gone"] = "nothing"
    written["nowhere"] = {"x": "y"}
    monkeypatch.setattr(reference, "meanings", lambda: written)
    _, wrong = reference.configuration()
    assert wrong == [
        "run.mode: no meaning",
        "run.gone: no such key",
        "[nowhere]: no such section",
    ]


def test_the_readme_names_every_command(reference):
    """The map of commands in both readmes is whole."""
    for name in ("README.md", "README.zh-CN.md"):
        text = (ROOT / name).read_text(encoding="utf-8")
        for command, *_ in reference._COMMANDS:
            assert f"`cryptosignal {command}" in text, f"{name}: {command}"
