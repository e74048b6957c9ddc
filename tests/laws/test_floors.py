"""The floors: imports go down only, pure floors touch no ambient world; each contract bites."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FLOORS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
PACKAGES = [
    name.strip()
    for contract in FLOORS["contracts"]
    if contract["type"] == "layers"
    for layer in contract["layers"]
    for name in layer.split("|")
]


def lint(folder, config):
    """The exit code and output of import-linter over the package in `folder`."""
    command = shutil.which("lint-imports", path=str(Path(sys.executable).parent))
    assert command, "import-linter is not installed beside this Python"
    done = subprocess.run(
        [command, "--config", str(config), "--no-cache"],
        env=os.environ | {"PYTHONPATH": str(folder)},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def house(tmp_path):
    """A house of empty rooms under the project's own contracts."""
    for name in PACKAGES:
        room = tmp_path / "cryptosignal" / name
        room.mkdir(parents=True)
        (room / "__init__.py").write_text('"""A room."""\n')
    (tmp_path / "cryptosignal" / "__init__.py").write_text('"""A house."""\n')
    config = (ROOT / "pyproject.toml").read_text()
    start = config.index("[tool.importlinter]")
    following = re.search(r"^\[tool\.(?!importlinter)", config[start:], re.MULTILINE)
    end = start + following.start() if following else len(config)
    (tmp_path / "pyproject.toml").write_text(config[start:end])
    return tmp_path


def test_the_house_keeps_its_floors():
    """Every contract holds over the source."""
    code, output = lint(ROOT / "src", ROOT / "pyproject.toml")
    assert code == 0, output
    assert f"Contracts: {len(FLOORS['contracts'])} kept, 0 broken." in output


def test_an_empty_house_keeps_them(house):
    """The copied contracts hold over a house of empty rooms, so what breaks them below is the import."""
    code, output = lint(house, house / "pyproject.toml")
    assert code == 0, output


BREAKS = [
    ("engine", "import cryptosignal.net", "Floors"),
    ("store", "import cryptosignal.sim", "Floors"),
    ("ground", "import cryptosignal.domain", "Floors"),
    ("engine", "import asyncio", "Pure floors"),
    ("trading", "def f():\n    import time\n    return time\n", "Pure floors"),
    ("sim", "import cryptosignal.binance", "simulated venue"),
    ("web", "import cryptosignal.net", "Faces"),
]


@pytest.mark.parametrize(("room", "line", "contract"), BREAKS)
def test_each_contract_bites(house, room, line, contract):
    """One forbidden import breaks the contract that forbids it."""
    (house / "cryptosignal" / room / "__init__.py").write_text(f'"""A room."""\n{line}\n')
    code, output = lint(house, house / "pyproject.toml")
    assert code != 0
    assert re.search(rf"^.*{contract}.* BROKEN$", output, re.MULTILINE), output


def test_a_room_outside_the_plan(house):
    """A package that the floors do not name is refused."""
    (house / "cryptosignal" / "attic").mkdir()
    (house / "cryptosignal" / "attic" / "__init__.py").write_text('"""A room."""\n')
    code, output = lint(house, house / "pyproject.toml")
    assert code != 0
    assert "attic" in output


def test_every_pure_floor_is_named():
    """The contract of purity covers every floor from domain to engine."""
    layers = next(c["layers"] for c in FLOORS["contracts"] if c["type"] == "layers")
    pure = next(c for c in FLOORS["contracts"] if c["name"].startswith("Pure floors"))
    expected = layers[layers.index("engine") : layers.index("ground")]
    assert {f"cryptosignal.{name}" for name in expected} == set(pure["source_modules"])
