"""The documents' code blocks and the old entry points run as they stand; their commands exist."""

from __future__ import annotations

import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from cyclopts import CycloptsError
from tests.e2e.programs import LIMIT_S, ROOT, environment

from cryptosignal.cli.main import build_app

DOCUMENTS = [ROOT / "README.md", ROOT / "README.zh-CN.md", *sorted((ROOT / "docs").glob("*.md"))]


ALIKE = ("FROM_THE_ORIGINALS.md-1",)
"""Blocks that do nearly what another does, and take as long."""


def blocks():
    """(name, code) of every Python block of the documents, each once."""
    seen: dict[str, str] = {}
    for document in DOCUMENTS:
        found = re.findall(r"^```python\n(.*?)^```", document.read_text(), re.M | re.S)
        for number, code in enumerate(found, start=1):
            seen.setdefault(code, f"{document.name}-{number}")
    return [
        pytest.param(code, id=name, marks=[pytest.mark.long] * (name in ALIKE))
        for code, name in seen.items()
    ]


def commands():
    """Every command line of the documents."""
    text = "\n".join(document.read_text() for document in DOCUMENTS)
    lines = re.findall(r"^\$ (cryptosignal .*)$", text, re.M)
    return sorted({line.replace("…", "").strip() for line in lines})


@pytest.mark.parametrize("code", blocks())
def test_a_documented_block_runs(code, tmp_path):
    """The block ends with code 0 and says something, in an empty folder."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


def test_the_blocks_of_both_readmes_are_there():
    """What is looked for is found: blocks in the README and in the table of the originals."""
    names = [param.id for param in blocks()]
    assert any(name.startswith("README.md") for name in names)
    assert sum(name.startswith("FROM_THE_ORIGINALS") for name in names) >= 5
    assert len(commands()) >= 3


@pytest.mark.parametrize("line", commands())
def test_a_documented_command_exists(line):
    """Its name, arguments and flags are the command line's own."""
    words = shlex.split(line.split(" | ")[0])[1:]
    try:
        build_app().parse_args(words, exit_on_error=False, print_error=False)
    except CycloptsError as error:
        pytest.fail(f"{line}: {error}")


@pytest.mark.long
def test_the_old_entry_points_run(tmp_path):
    """Each script under `scripts/` does its work: one scan, a connection, a run with flags, and a
    periodic scan that ends on Ctrl-C after its first result."""
    env = environment(PYTHON=sys.executable)

    def script(*words: str, **more) -> subprocess.Popen[str]:
        return subprocess.Popen(
            words, cwd=tmp_path, env=env, stdout=subprocess.PIPE, text=True, **more
        )

    scripts = ROOT / "scripts"
    single = script(sys.executable, str(scripts / "run_single_scan.py"))
    out, _ = single.communicate(timeout=LIMIT_S)
    assert single.returncode == 0
    assert '"signals_found"' in out
    answers = script(sys.executable, str(scripts / "test_connection.py"))
    answers.communicate(timeout=LIMIT_S)
    assert answers.returncode == 0
    full = script(str(scripts / "run_full_system.sh"), "--scans", "1", "--symbols", "4")
    out, _ = full.communicate(timeout=LIMIT_S)
    assert full.returncode == 0
    assert "ended: 1 scans done" in out
    periodic = script(sys.executable, str(scripts / "run_auto_trader.py"), stderr=subprocess.PIPE)
    try:
        assert "total_symbols" in next(line for line in periodic.stdout if "total_symbols" in line)
        periodic.send_signal(signal.SIGINT)
        periodic.communicate(timeout=LIMIT_S)
    finally:
        periodic.kill()
        periodic.wait()
    assert sorted(p.name for p in scripts.iterdir() if p.suffix in (".py", ".sh")) == [
        "run_auto_trader.py", "run_full_system.sh", "run_single_scan.py", "test_connection.py",
    ]  # fmt: skip


def test_every_file_that_a_document_points_to_is_there():
    """Links between the documents lead somewhere."""
    for document in DOCUMENTS:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", document.read_text()):
            assert (document.parent / Path(target)).exists(), f"{document.name}: {target}"
