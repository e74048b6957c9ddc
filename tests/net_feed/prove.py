"""The proofs of the market data in one run: each network fault alone, then the soak.

`python -m tests.net_feed.prove [--hours N] [--symbols N] [--seed N]` prints the table of faults and
the figures of the soak, writes both with the commit to `docs/PROOFS.md`, ends in one JSON line, and
fails if anything was lost.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
from tests.net_feed.faults import FAULTS, run_fault, summed, table
from tests.net_feed.soak import Result, asked_for, soak, tell

PAGE = Path(__file__).parents[2] / "docs" / "PROOFS.md"
TITLE = "## Market data: `make soak`"


def main(arguments: list[str]) -> int:
    """The command line."""
    plan = asked_for("python -m tests.net_feed.prove", arguments)
    rows = [run_fault(fault)[0] for fault in FAULTS]
    print(table(rows), flush=True)
    result, found = soak(plan, tell)
    for line in found[:20]:
        print(line)
    faults = summed(rows)
    write(section(table(rows), faults, result))
    print(json.dumps({"faults": faults, "soak": msgspec.to_builtins(result)}))
    return 0 if result.is_well and not faults["bad"] else 1


def section(rows: str, faults: dict[str, Any], result: Result) -> str:
    """The page's section in Markdown."""
    figures = msgspec.to_builtins(result)
    listed = "\n".join(f"- {key.replace('_', ' ')}: {value}" for key, value in figures.items())
    return f"""{TITLE}

Commit {commit()}. Each network fault alone, in virtual time against the simulated venue: three
symbols, 1m and 5m bars, one difference book. "Whole" is when bars and book levels are the venue's
again and every connection delivers; "trusted again" is later by design, for DataQual looks back
300 s and asks for three good bars. {faults["faults"]} faults, {faults["bars_lost"]} bars lost.

{rows}

The soak: {result.hours:g} hours of virtual time at `{result.faults}`, {result.symbols} symbols,
{result.intervals} intervals, every bar then compared with the venue's own.

{listed}
"""


def commit() -> str:
    """The commit that is checked out, "unknown" outside a repository."""
    asked = ["git", "rev-parse", "--short", "HEAD"]
    done = subprocess.run(asked, cwd=PAGE.parent, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def write(text: str) -> None:
    """Replace this section of the page, leave the others."""
    page = PAGE.read_text(encoding="utf-8") if PAGE.exists() else "# Proofs\n"
    kept = [part for part in page.split("\n## ") if not f"## {part}".startswith(TITLE)]
    body = "\n## ".join(kept).rstrip("\n")
    PAGE.write_text(f"{body}\n\n{text}", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
