"""State machines are tables: complete in their words, without dead states, tested over all pairs.

A table is found by its annotation, `dict[tuple[State, Event], State]` at the top of a module.
"""

from __future__ import annotations

import ast
import enum
import importlib
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ANNOTATION = re.compile(r"dict\[tuple\[(\w+), (\w+)\], (\w+)\]")


def tables(source):
    """Name, state type and event type of each table that a module's source declares."""
    for node in ast.parse(source).body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            match = ANNOTATION.search(ast.unparse(node.annotation))
            if match and match[1] == match[3]:
                yield node.target.id, match[1], match[2]


def problems(table, states, events):
    """What a table lacks."""
    reached = {next(iter(states))}
    while new := {t for (s, _), t in table.items() if s in reached} - reached:
        reached |= new
    found = [f"{state!r} is never reached" for state in states if state not in reached]
    used = {event for _, event in table}
    found += [f"{event!r} moves nothing" for event in events if event not in used]
    strangers = [
        k for k, v in table.items() if not (isinstance(k[0], states) and isinstance(v, states))
    ]
    return found + [f"{key!r} speaks of a foreign state" for key in strangers]


def is_tested(folder, states, events):
    """True if a test module in `folder` goes over all states and all events."""
    whole = [re.compile(rf"(?<![\w.]){name}(?![\w.(])") for name in (states, events)]
    for path in folder.rglob("test_*.py"):
        body = re.sub(
            r"^(from|import) [^(\n]*(\([^)]*\))?", "", path.read_text(), flags=re.MULTILINE
        )
        if all(pattern.search(body) for pattern in whole):
            return True
    return False


def declared():
    """Every table of the house with its module."""
    for path in sorted((ROOT / "src").rglob("*.py")):
        for name, states, events in tables(path.read_text()):
            dotted = ".".join(path.relative_to(ROOT / "src").with_suffix("").parts)
            yield importlib.import_module(dotted), name, states, events


def test_every_table_is_complete():
    """No table of the house has an unreached state, an idle event or a foreign word."""
    for module, name, states, events in declared():
        found = problems(getattr(module, name), getattr(module, states), getattr(module, events))
        assert found == [], f"{module.__name__}.{name}"


def test_every_table_is_tested_over_all_pairs():
    """The tests of a table's package go over all its states and all its events."""
    for module, name, states, events in declared():
        package = module.__name__.split(".")[1]
        assert is_tested(ROOT / "tests" / package, states, events), f"{module.__name__}.{name}"


class Door(enum.Enum):
    """A state."""

    SHUT = 1
    OPEN = 2
    GONE = 3


class Push(enum.Enum):
    """An event."""

    HARD = 1
    SOFT = 2


def test_broken_tables_are_found():
    """A state without a way to it, an event without effect and a foreign state are found."""
    whole = {
        (Door.SHUT, Push.SOFT): Door.OPEN,
        (Door.OPEN, Push.HARD): Door.GONE,
    }
    assert problems(whole, Door, Push) == []
    assert problems({(Door.SHUT, Push.SOFT): Door.OPEN}, Door, Push) == [
        "<Door.GONE: 3> is never reached",
        "<Push.HARD: 1> moves nothing",
    ]
    assert "foreign" in problems(whole | {(Door.GONE, Push.HARD): 7}, Door, Push)[-1]


def test_tables_are_recognised():
    """The annotation alone makes a table; other dictionaries are none."""
    source = (
        "A: Final[dict[tuple[S, E], S]] = {}\nB: dict[tuple[S, E], int] = {}\nC: dict[str, S] = {}"
    )
    assert list(tables(source)) == [("A", "S", "E")]


def test_untested_tables_are_found(tmp_path):
    """A test that names single members only does not count as going over all of them."""
    test = tmp_path / "test_door.py"
    test.write_text("from x import Door, Push\n\nassert move(Door.OPEN, Push.HARD)\n")
    assert not is_tested(tmp_path, "Door", "Push")
    test.write_text(
        "from x import Door, Push\n\nfor a, b in product(Door, Push):\n    move(a, b)\n"
    )
    assert is_tested(tmp_path, "Door", "Push")
