"""Writes CONFIGURATION.md from the settings and COMMANDS.md from the command line's own help.

`python docs/reference.py` writes both; `--check` says what differs and exits 1. A key without a
meaning, and a meaning without a key, are errors (meanings.toml holds what no docstring says).
"""

from __future__ import annotations

import argparse
import ast
import importlib
import inspect
import io
import itertools
import re
import sys
import textwrap
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console

from cryptosignal.cli.main import _COMMANDS, build_app
from cryptosignal.modes.config import Config, _toml_value

HERE = Path(__file__).resolve().parent
_SOURCE = re.compile(r"\s*\((?:[A-Z]+ |§|\"Spec)[^()]*§?[^()]*\)|\s*\(D\d+[^()]*\)")
"""References to design papers, which a reader of the configuration does not have."""


def plain(text: str) -> str:
    """A docstring as one line without references to the design."""
    return " ".join(_SOURCE.sub("", text).split())


def attribute_docs(struct: type) -> dict[str, str]:
    """Field name -> the text below it in the class body."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(struct)))
    body = tree.body[0].body  # type: ignore[attr-defined]
    found = {}
    for field, below in itertools.pairwise(body):
        match (field, below):
            case (
                ast.AnnAssign(target=ast.Name(id=name)),
                ast.Expr(value=ast.Constant(value=str(text))),
            ):
                found[name] = plain(text)
    return found


def tables(struct: type, name: str) -> Iterator[tuple[str, type, dict[str, Any]]]:
    """(section, its struct, key -> default) of a section and those inside it."""
    values, inner = {}, []
    for field in msgspec.structs.fields(struct):
        made = field.default_factory is not msgspec.NODEFAULT
        value = field.default_factory() if made else field.default  # type: ignore[operator]
        if isinstance(value, msgspec.Struct):
            inner.append((f"{name}.{field.encode_name}".lstrip("."), type(value), value))
        else:
            values[field.encode_name] = value
    if values:
        yield name, struct, values
    for section, kind, value in inner:
        for found in tables(kind, section):
            own = {key: getattr(value, key) for key in found[2]} if found[1] is kind else found[2]
            yield found[0], found[1], own


def meanings() -> dict[str, dict[str, str]]:
    """Section -> key -> meaning, as written by hand; `new_chain` means what `chain` means."""
    written = tomllib.loads((HERE / "meanings.toml").read_text(encoding="utf-8"))
    return written | {"params.new_chain": written["params.chain"]}


def configuration() -> tuple[str, list[str]]:
    """The page, and what is wrong with it."""
    written, wrong = meanings(), []
    lines = [
        "# Configuration",
        "",
        "Every key with its default. `cryptosignal config` prints the same as one TOML file, "
        "`--config my.toml` overlays it with yours; a wrong key or value stops the start with one "
        "line. Names carry their units: `_ms`, `_s`, `_bps`, `_usdt`, `_frac` (a share of 1), "
        "`_atr` (multiples of the average true range), `_r` (multiples of the planned risk).",
        "",
        "This page is written by `make docs`.",
    ]
    known = set()
    for section, struct, values in tables(Config, ""):
        known.add(section)
        texts = written.get(section, {}) | attribute_docs(struct)
        wrong += [f"{section}.{key}: no meaning" for key in values if key not in texts]
        wrong += [
            f"{section}.{key}: no such key" for key in written.get(section, {}) if key not in values
        ]
        lines += ["", f"## [{section}]", "", plain(struct.__doc__ or ""), ""]
        lines += ["| key | default | meaning |", "|---|---|---|"]
        lines += [
            f"| `{key}` | `{shown(value)}` | {texts.get(key, '')} |"
            for key, value in values.items()
        ]
    wrong += [f"[{section}]: no such section" for section in written if section not in known]
    return "\n".join(lines) + "\n", wrong


def shown(value: Any) -> str:
    """A default as TOML, in one cell."""
    if isinstance(value, dict):
        pairs = (f"{key} = {shown(inner)}" for key, inner in value.items())
        return "{" + ", ".join(pairs) + "}"
    text = _toml_value(msgspec.to_builtins(value))
    return f"{value:_}" if isinstance(value, int) and abs(value) >= 100_000 else text


def commands() -> tuple[str, list[str]]:
    """The page, and what is wrong with it."""
    lines = [
        "# Commands",
        "",
        "What `cryptosignal COMMAND --help` says. Exit codes: 0 done; 1 done, and the answer is no; "
        "2 the input is wrong (one line says what, where and what is allowed); 3 the venue or the "
        "network cannot be reached; 130 interrupted.",
        "",
        "This page is written by `make docs`.",
    ]
    wrong = []
    for name, target, _group, _summary in _COMMANDS:
        module, function = target.split(":")
        if not inspect.getdoc(getattr(importlib.import_module(module), function)):
            wrong.append(f"{name}: no help")
        out = io.StringIO()
        build_app().help_print([name], console=Console(file=out, width=100, color_system=None))
        text = "\n".join(line.rstrip() for line in out.getvalue().strip().splitlines())
        lines += ["", f"## {name}", "", "```", text, "```"]
    return "\n".join(lines) + "\n", wrong


PAGES = {"CONFIGURATION.md": configuration, "COMMANDS.md": commands}


def main() -> int:
    """Write the pages, or with --check compare them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    is_check = parser.parse_args().check
    wrong: list[str] = []
    for name, make in PAGES.items():
        text, found = make()
        wrong += found
        path = HERE / name
        if not is_check:
            path.write_text(text, encoding="utf-8")
        elif not path.exists() or path.read_text(encoding="utf-8") != text:
            wrong.append(f"{name}: not as the program is now (make docs)")
    sys.stdout.write("".join(f"{line}\n" for line in wrong))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
