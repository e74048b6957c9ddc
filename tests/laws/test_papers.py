"""The papers of the house: links lead somewhere, locks name no host, targets exist or say they do not."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAPERS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
LOCKS = sorted(ROOT.glob("requirements*.lock"))
TARGETS = "setup run test check fix sim bench conformance chaos soak mutants docs".split()  # noqa: SIM905

LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]+)(#[^)]*)?\)")
MACHINE_PATH = re.compile(r"(?<![\w.])/(home|root|work|tmp|mnt|Users)/\w")
PINNED = re.compile(r"^[A-Za-z0-9_.\-\[\]]+==[A-Za-z0-9_.+!\-]+( ; [^\\:]+)? \\$")
HASH = re.compile(r"^    --hash=sha256:[0-9a-f]{64}( \\)?$")


def dead_links(paper):
    """Links of a paper to files that are not there."""
    targets = (match[1] for match in LINK.finditer(paper.read_text()))
    return [t for t in targets if "://" not in t and not (paper.parent / t).exists()]


def foreign_lines(text):
    """Lines of a lock that are neither a pinned version, nor a hash, nor a comment without a host."""
    return [
        line
        for line in text.splitlines()
        if not (PINNED.match(line) or HASH.match(line) or (line.startswith("#") and "://" not in line))
    ]  # fmt: skip


def machine_paths(text):
    """Paths that exist on one machine only."""
    return [m[0] for m in MACHINE_PATH.finditer(text)]


@pytest.mark.parametrize("paper", PAPERS, ids=lambda p: p.name)
def test_links_lead_somewhere(paper):
    """Every relative link of every paper leads to a file of the project."""
    assert dead_links(paper) == []


def test_dead_link_is_found(tmp_path):
    """A link to nothing is found."""
    paper = tmp_path / "a.md"
    paper.write_text("[x](nothing.md) [y](https://example.org) [z](a.md#part)")
    assert dead_links(paper) == ["nothing.md"]


@pytest.mark.parametrize("lock", LOCKS, ids=lambda p: p.name)
def test_locks_pin_everything_and_name_no_host(lock):
    """A lock holds pinned versions with hashes and no address of a registry."""
    assert foreign_lines(lock.read_text()) == []


@pytest.mark.parametrize(
    "line",
    [
        "--index-url https://example.org/simple",
        "numpy>=2",
        "numpy @ https://example.org/numpy.whl",
        "# from https://example.org",
        "-e .",
    ],
)
def test_foreign_line_in_a_lock_is_found(line):
    """An index, a range, an address and an unpinned path are found."""
    assert foreign_lines(line) == [line]


def test_every_dependency_is_locked_and_explained():
    """What pyproject names stands in a lock file and in the list of dependencies."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = {"requirements.lock": list(project["dependencies"])}
    for extra in ("web", "research", "fast", "notify", "editable"):
        wanted["requirements.lock"] += extras[extra]
    wanted["requirements-dev.lock"] = [
        *wanted["requirements.lock"],
        *extras["dev"],
        *extras["proxy"],
    ]
    listed = (ROOT / "docs" / "DEPENDENCIES.md").read_text().lower()
    for lock, requirements in wanted.items():
        pinned = set(re.findall(r"^([a-z0-9_.\-]+)==", (ROOT / lock).read_text(), re.MULTILINE))
        names = {re.split(r"[^A-Za-z0-9_.\-]", r)[0].lower() for r in requirements}
        assert names - pinned == set()
        assert {name for name in names if name not in listed} == set()


@pytest.mark.parametrize(
    "path",
    [*PAPERS, *LOCKS, ROOT / "Makefile", ROOT / "pyproject.toml", ROOT / ".ci" / "run"],
    ids=lambda p: p.name,
)
def test_no_machine_paths(path):
    """No paper or tool names a path of somebody's machine."""
    assert machine_paths(path.read_text()) == []


def test_no_machine_paths_in_the_source():
    """No module names a path of somebody's machine."""
    found = {p.name: machine_paths(p.read_text()) for p in (ROOT / "src").rglob("*.py")}
    assert {name: paths for name, paths in found.items() if paths} == {}


def test_machine_path_is_found():
    """A path under somebody's home is found, a path of the venue is not."""
    assert machine_paths("see /home/ann/x and /root/y") == ["/home/a", "/root/y"]
    assert machine_paths("GET /fapi/v1/time, docs/tmp/x, a/work/b") == []


def make(*arguments):
    return subprocess.run(
        ["make", "--no-print-directory", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )  # fmt: skip


def test_every_target_is_listed():
    """`make help` lists every target with a word on what it does."""
    listed = {line.split()[0] for line in make("help").stdout.splitlines() if len(line.split()) > 1}
    assert set(TARGETS) <= listed


@pytest.mark.parametrize("target", ["conformance", "chaos", "soak", "mutants"])
def test_targets_that_are_not_there_say_so(target):
    """A target that does nothing yet fails with one honest line."""
    if "not there yet" not in make("help").stdout.split(f"\n{target} ")[1].split("\n")[0]:
        return  # it is there now, and may take hours
    done = make(target)
    assert done.returncode != 0
    assert f"make {target}: not there yet" in done.stderr


def test_variables_become_flags():
    """Each variable becomes the flag of its name, and only when it is given."""
    variables = {"DATA": "a b.parquet", "SPEED": "60", "SCANS": "3", "SYMBOLS": "10", "SEED": "7"}
    given = make("-n", "run", *(f"{k}={v}" for k, v in variables.items())).stdout.splitlines()[-1]
    for name, value in variables.items():
        assert f'--{name.lower()} "{value}"' in given
    assert "--venue" not in given
    assert make("-n", "run").stdout.splitlines()[-1].endswith("cryptosignal run --page")
    venue = make("-n", "run", "VENUE=binance").stdout.splitlines()[-1]
    assert '--venue "binance"' in venue
    assert '--days "2" --seed "9"' in make("-n", "sim", "DAYS=2", "SEED=9").stdout
