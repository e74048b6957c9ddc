"""mypy, ruff and pytest are set up to bite: a planted offence fails under the project's own settings."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / "pyproject.toml"
DOC = '"""A room."""\n\nfrom __future__ import annotations\n\n'


def run(folder, *arguments):
    return subprocess.run(
        [sys.executable, "-m", *arguments], cwd=folder, capture_output=True, text=True, check=False
    )


def pytest_run(folder):
    config = ("-c", str(CONFIG), "--rootdir", str(folder), "-p", "no:cacheprovider")
    return run(folder, "pytest", "-q", *config, "test_piece.py")


def mypy(folder, source):
    (folder / "piece.py").write_text(DOC + source)
    cache = ROOT / ".mypy_cache" / "laws"
    return run(folder, "mypy", "--config-file", str(CONFIG), "--cache-dir", str(cache), "piece.py")


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("def f(x):\n    return x\n", "no-untyped-def"),
        ("def f(x: int) -> str:\n    return x\n", "return-value"),
        ("def f(x: dict) -> None:\n    return None\n", "type-arg"),
        ("x: int = 'a'  # type: ignore\n", "ignore-without-code"),
    ],
)
def test_mypy_is_strict(tmp_path, source, text):
    """Untyped definitions, wrong returns, bare generics and bare ignores fail."""
    done = mypy(tmp_path, source)
    assert done.returncode == 1
    assert text in done.stdout


def test_mypy_passes_what_is_right(tmp_path):
    """A typed module passes, so the failures above are the planted ones."""
    done = mypy(tmp_path, "def f(x: int) -> str:\n    return str(x)\n")
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("source", "rule"),
    [
        ("def f(x: int) -> int:\n    return x\n", "D103"),
        ('def f(x):\n    """Give x."""\n    return x\n', "ANN001"),
        ("print('x')\n", "T201"),
        ("import datetime\n\nNOW = datetime.datetime.now()\n", "DTZ005"),
        ("from . import x\n\nY = x\n", "TID252"),
        ("import subprocess\n\nX = subprocess.run('ls', shell=True)\n", "S602"),
    ],
)
def test_ruff_bites(tmp_path, source, rule):
    """Missing docstrings and types, prints, naive times, relative imports and shells fail."""
    piece = tmp_path / "piece.py"
    piece.write_text(DOC + source)
    done = run(tmp_path, "ruff", "check", "--no-cache", "--config", str(CONFIG), str(piece))
    assert done.returncode == 1
    assert rule in done.stdout


@pytest.mark.parametrize(
    "body",
    [
        "    import warnings\n    warnings.warn('old')\n",
        "    open(__file__)\n    import gc\n    gc.collect()\n",
        "    async def f():\n        pass\n    f()\n    import gc\n    gc.collect()\n",
    ],
    ids=["warning", "unclosed file", "coroutine never awaited"],
)
def test_warnings_are_errors(tmp_path, body):
    """A warning, a file left open and a coroutine never awaited fail a test run."""
    (tmp_path / "test_piece.py").write_text(f"def test_it():\n{body}")
    done = pytest_run(tmp_path)
    assert done.returncode == 1, done.stdout
    assert "1 failed" in done.stdout


def test_unknown_marks_are_errors(tmp_path):
    """A misspelled mark does not silently select nothing."""
    (tmp_path / "test_piece.py").write_text(
        "import pytest\n@pytest.mark.solw\ndef test_it():\n    pass\n"
    )
    done = pytest_run(tmp_path)
    assert done.returncode != 0
    assert "'solw' not found" in done.stdout
