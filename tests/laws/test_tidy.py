"""The style guide as a test: the source keeps every rule, and every rule bites when it is broken."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.laws.tidy import RULES, check_tree

ROOT = Path(__file__).resolve().parents[2]
DOC = '"""A room of the house."""\n'


def lines(count):
    return "".join(f"    x = {n}\n" for n in range(count))


BROKEN = {
    "docstring": ("src/p/market/klines.py", "x = 1\n"),
    "room": ("src/p/market/helpers.py", DOC),
    "long": ("src/p/market/klines.py", f"{DOC}def f():\n{lines(60)}"),
    "deep": (
        "src/p/net/feed.py",
        f"{DOC}def f(a):\n for b in a:\n  if b:\n   with b:\n    while b:\n     b = 0\n",
    ),
    "size": ("src/p/net/feed.py", DOC + "x = 1\n" * 500),
    "pure": ("src/p/engine/state.py", f"{DOC}from time import monotonic\n"),
    "ambient": ("src/p/net/feed.py", f"{DOC}import time\ndef f():\n    return time.time()\n"),
    "io": ("src/p/signals/score.py", f"{DOC}def f(x):\n    print(x)\n"),
    "broad": (
        "src/p/net/feed.py",
        f"{DOC}def f(g):\n    try:\n        g()\n    except Exception:\n        return None\n",
    ),
    "float": ("src/p/trading/orders.py", f"{DOC}def f(price: float) -> None:\n    pass\n"),
    "retry": ("src/p/net/client.py", f"{DOC}import tenacity\n"),
    "order": ("src/p/net/feed.py", f"{DOC}def f(a):\n    for b in set(a):\n        print(b)\n"),
    "leftover": ("src/p/net/client.py", f"{DOC}x = 1  # " + "TO" + "DO: later\n"),
    "settings": (
        "src/p/risk/settings.py",
        f"{DOC}import msgspec\nclass S(msgspec.Struct, frozen=True):\n    a: int = 1\n",
    ),
    "sentence": ("tests/test_it.py", f"{DOC}def test_it():\n    assert True\n"),
    "nap": (
        "tests/test_it.py",
        f'{DOC}import time\ndef test_it():\n    """It holds here."""\n    time.sleep(1)\n',
    ),
}

MORE_BROKEN = [
    ("pure", "src/p/domain/x.py", f"{DOC}if TYPE_CHECKING:\n    import random\n"),
    ("pure", "src/p/factors/x.py", f"{DOC}import os.path\n"),
    ("pure", "src/p/trading/x.py", f"{DOC}def f():\n    import asyncio\n    return asyncio\n"),
    ("ambient", "src/p/net/x.py", f"{DOC}from datetime import datetime\nx = datetime.now()\n"),
    ("ambient", "src/p/sim/x.py", f"{DOC}import random\nx = random.random()\n"),
    ("ambient", "src/p/cli/x.py", f"{DOC}import os\nx = os.environ['A']\n"),
    ("ambient", "src/p/cli/x.py", f"{DOC}import os\nx = os.environ.get('A')\n"),
    ("ambient", "src/p/notify/x.py", f"{DOC}import uuid\nx = uuid.uuid4()\n"),
    ("ambient", "src/p/factors/x.py", f"{DOC}import numpy as np\nx = np.random.normal()\n"),
    ("ambient", "src/p/factors/x.py", f"{DOC}import numpy as np\nx = np.random.default_rng()\n"),
    ("broad", "src/p/net/x.py", f"{DOC}def f(g):\n    try:\n        g()\n    except:\n        pass\n"),
    ("broad", "src/p/net/x.py", f"{DOC}try:\n    x = 1\nexcept (ValueError, BaseException):\n    x = 2\n"),
    ("broad", "src/p/net/x.py", f"{DOC}from contextlib import suppress\nwith suppress(Exception):\n    pass\n"),
    ("float", "src/p/trading/x.py", f"{DOC}LIMIT = 0.5\n"),
    ("float", "src/p/trading/x.py", f"{DOC}def f(price: float | None) -> None:\n    return None\n"),
    ("retry", "src/p/net/x.py", f"{DOC}x = {{'maxRetriesOnFailure': 3}}\n"),
    ("retry", "src/p/net/x.py", f'{DOC}x = ("PUT", "/fapi/v1/order")\n'),
    ("order", "src/p/net/x.py", f"{DOC}x = [a for a in {{1, 2}}]\n"),
    ("order", "src/p/net/x.py", f"{DOC}x = {{a: 1 for a in set(b) - c}}\n"),
    ("order", "src/p/net/x.py", f"{DOC}for a in b.keys() & c.keys():\n    print(a)\n"),
    ("leftover", "src/p/net/x.py", f"{DOC}def f():\n    raise NotImplementedError\n"),
    ("room", "src/p/common/x.py", DOC),
    ("io", "src/p/domain/x.py", f"{DOC}x = open('a')\n"),
    ("waiver", "src/p/net/x.py", f"{DOC}x = 1  # ambient-ok: there is nothing to excuse here\n"),
    ("waiver", "src/p/net/x.py", f"{DOC}import time\nx = time.time()  # ambient-ok:\n"),
]  # fmt: skip

FINE = [
    ("src/p/modes/config.py", f"{DOC}import os\nx = os.environ.get('A')\n"),
    ("src/p/ground/clock.py", f"{DOC}import time\nx = time.time()\n"),
    ("src/p/net/x.py", f"{DOC}import time\nx = time.time()  # ambient-ok: a stamp for people\n"),
    ("src/p/net/x.py", f"{DOC}import time\n# ambient-ok: a stamp for people\nx = time.time()\n"),
    ("src/p/sim/x.py", f"{DOC}# long-ok: one table of cases\ndef f():\n{lines(80)}"),
    ("src/p/sim/x.py", f'{DOC}def f():\n    """{chr(10) * 50}"""\n{lines(50)}'),
    ("src/p/sim/x.py", DOC + "# size-ok: one table of the venue's codes\n" + "x = 1\n" * 600),
    ("src/p/trading/x.py", f"{DOC}x = 0.5  # float-ok: a share, never money\n"),
    ("src/p/factors/x.py", f"{DOC}import numpy as np\nx = np.random.default_rng(7)\n"),
    (
        "src/p/net/x.py",
        f"{DOC}def f(g):\n    try:\n        g()\n    except BaseException:\n        g = 0\n        raise\n",
    ),
    (
        "src/p/net/x.py",
        f"{DOC}def f(a):\n if a == 1:\n  a = 0\n elif a == 2:\n  a = 0\n elif a == 3:\n  a = 0\n"
        " elif a == 4:\n  a = 0\n",
    ),
    (
        "src/p/trading/x.py",
        f"{DOC}def f(**a: str | int | float | bool) -> None:\n    return None\n",
    ),
    ("src/p/sim/x.py", f'{DOC}x = ("PUT", "/fapi/v1/order")\n'),
    ("src/p/net/x.py", f"{DOC}for a in sorted(set(b)):\n    print(a)\n"),
    ("src/p/net/x.py", f"{DOC}x = sorted(a for a in set(b))\n"),
    ("src/p/net/x.py", f"{DOC}x = any(a for a in {{1, 2}})\ny = {{a for a in set(b)}}\n"),
    ("tests/test_it.py", f'{DOC}def test_it():\n    """It holds here."""\n'),
]


def findings(tmp_path, path, source):
    target = tmp_path / path
    target.parent.mkdir(parents=True)
    target.write_text(source)
    return [f.rule for f in check_tree(tmp_path, path.partition("/")[0])]


def test_the_house_is_tidy():
    """The source and the tests keep every rule, or say on the line why not."""
    assert [str(f) for f in check_tree(ROOT, "src", "tests")] == []


def test_every_rule_has_a_broken_example():
    """No rule exists without a proof that it bites."""
    assert set(BROKEN) == set(RULES)


@pytest.mark.parametrize("rule", BROKEN)
def test_each_rule_bites(tmp_path, rule):
    """A module that breaks one rule is found, by that rule alone."""
    assert findings(tmp_path, *BROKEN[rule]) == [rule]


@pytest.mark.parametrize(("rule", "path", "source"), MORE_BROKEN)
def test_other_ways_to_break_a_rule(tmp_path, rule, path, source):
    """The other spellings of the same offence are found as well."""
    assert rule in findings(tmp_path, path, source)


@pytest.mark.parametrize(("path", "source"), FINE)
def test_what_is_allowed(tmp_path, path, source):
    """Reasoned waivers, the homes of the ambient world and ordinary code pass."""
    assert findings(tmp_path, path, source) == []
