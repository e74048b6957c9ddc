"""The style of the house, executable: each rule is one function from a parsed module to findings.

A line may be excused by `# <rule>-ok: reason` on it or right above it (for a function: at its
`def`, for a whole module: anywhere in it); the reason is part of the waiver, and a waiver that
excuses nothing is itself a finding.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


PURE = _words(
    "domain binance streams market quality factors signals risk trading learning reports engine"
)
AMBIENT_HOMES = frozenset({"ground", "modes"})
"""Where clocks, chance and the environment may be touched without a waiver."""

FUNCTION_LINES_MAX = 60
NESTING_MAX = 3
MODULE_LINES_MAX = 500
REASON_LENGTH_MIN = 10

BANNED_ROOMS = _words("utils util helpers helper common misc base core manager managers stuff")
BANNED_IMPORTS = _words(
    "asyncio socket ssl selectors time datetime random secrets uuid os pathlib io threading "
    "multiprocessing subprocess aiohttp picows structlog"
)
RETRY_LIBRARIES = _words("tenacity stamina backoff retrying aiohttp_retry retry2")
AMBIENT_CALLS = re.compile(
    r"(time\.(time|monotonic|perf_counter|process_time)(_ns)?|time\.sleep"
    r"|(datetime\.)?(datetime|date)\.(now|utcnow|today)"
    r"|random\.\w+|secrets\.\w+|uuid\.uuid[14]|uuid[14]|os\.(getenv|urandom|environ\.\w+))"
)
AMBIENT_NUMPY = re.compile(r"(np|numpy)\.random\.(?!Generator$|SeedSequence$|PCG64$)\w+")
BROAD = frozenset({"Exception", "BaseException"})
BLOCKS = (ast.If, ast.For, ast.While, ast.With, ast.Try, ast.AsyncFor, ast.AsyncWith, ast.Match)
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
LEFTOVERS = re.compile(r"#.*\b(TODO|FIXME|XXX|HACK)\b")
WAIVER = re.compile(r"#\s*([a-z]+)-ok:?\s*(.*)$")


@dataclass(frozen=True)
class Finding:
    """One broken rule at one place."""

    rule: str
    path: str
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.rule}: {self.text}"


class Module:
    """A parsed source file, its place in the house and the waivers in it."""

    def __init__(self, root: Path, path: Path) -> None:
        self.path = path.relative_to(root)
        self.source = path.read_text(encoding="utf-8")
        self.lines = self.source.splitlines()
        self.tree = ast.parse(self.source, str(path))
        self.nodes = list(ast.walk(self.tree))
        parts = self.path.parts
        self.package = parts[2] if len(parts) > 3 else ""  # src/cryptosignal/<package>/…
        self.is_test = parts[0] == "tests"
        self.waivers = {
            number: (match[1], match[2].strip())
            for number, line in enumerate(self.lines, start=1)
            if (match := WAIVER.search(line)) and match[1] in RULES
        }
        self.used: set[int] = set()

    def is_waived(self, rule: str, line: int) -> bool:
        """True if a reasoned waiver of `rule` stands on the line or right above it."""
        return self._use(rule, (line, line - 1))

    def is_waived_whole(self, rule: str) -> bool:
        """True if a reasoned waiver of `rule` stands anywhere in the module."""
        return self._use(rule, tuple(self.waivers))

    def _use(self, rule: str, numbers: tuple[int, ...]) -> bool:
        for number in numbers:
            name, reason = self.waivers.get(number, ("", ""))
            if name == rule and len(reason) >= REASON_LENGTH_MIN:
                self.used.add(number)
                return True
        return False


Spot = tuple[int, str]
Rule = Callable[[Module], Iterator[Spot]]


# ---- rules ----------------------------------------------------------------------------------
def docstring(module: Module) -> Iterator[Spot]:
    """A module says what this room is for."""
    if not ast.get_docstring(module.tree):
        yield 1, "no module docstring: say what this room is for"


def room(module: Module) -> Iterator[Spot]:
    """A module is one noun of the domain."""
    for part in (*module.path.parts[:-1], module.path.stem):
        if part in BANNED_ROOMS:
            yield 1, f"{part} is not a noun of the domain"


def long(module: Module) -> Iterator[Spot]:
    """A function fits a screen (its docstring not counted)."""
    for node in module.nodes:
        if isinstance(node, FUNCTIONS):
            lines = _lines_without_docstring(node)
            if lines > FUNCTION_LINES_MAX:
                yield node.lineno, f"{node.name} has {lines} lines (allowed: {FUNCTION_LINES_MAX})"


def deep(module: Module) -> Iterator[Spot]:
    """Blocks nest three deep at most."""
    for node in module.nodes:
        if isinstance(node, FUNCTIONS):
            depth = _depth(node.body)
            if depth > NESTING_MAX:
                yield node.lineno, f"{node.name} nests {depth} deep (allowed: {NESTING_MAX})"


def size(module: Module) -> Iterator[Spot]:
    """Past 500 lines a second room is hiding inside."""
    if len(module.lines) > MODULE_LINES_MAX:
        yield 1, f"{len(module.lines)} lines (allowed: {MODULE_LINES_MAX})"


def pure(module: Module) -> Iterator[Spot]:
    """Pure floors import no clock, chance, environment, file or socket, not even for types."""
    if module.package in PURE:
        for line, name in _imports(module):
            if name.partition(".")[0] in BANNED_IMPORTS:
                yield line, f"a pure floor imports {name}: take it as a parameter"


def ambient(module: Module) -> Iterator[Spot]:
    """Time, chance and the environment come in as parameters."""
    if module.package in AMBIENT_HOMES:
        return
    for node in module.nodes:
        if isinstance(node, ast.Call):
            name = _dotted(node.func)
            if AMBIENT_CALLS.fullmatch(name):
                yield node.lineno, f"{name}(): take a clock, a seed or a setting instead"
            if AMBIENT_NUMPY.fullmatch(name) and not (name.endswith("default_rng") and node.args):
                yield node.lineno, f"{name}(): draw from a seeded generator"
        if isinstance(node, ast.Subscript) and _dotted(node.value) == "os.environ":
            yield node.lineno, "os.environ: take a setting instead"


def io(module: Module) -> Iterator[Spot]:
    """Pure floors open, print and ask nothing."""
    if module.package in PURE:
        for node in module.nodes:
            if isinstance(node, ast.Call) and _dotted(node.func) in {"open", "print", "input"}:
                yield node.lineno, f"{_dotted(node.func)}() on a pure floor"


def broad(module: Module) -> Iterator[Spot]:
    """A broad except raises again; only the supervisor may name what it catches later."""
    if module.path.parts[-2:] == ("modes", "supervise.py"):
        return
    for node in module.nodes:
        if isinstance(node, ast.ExceptHandler) and _is_broad(node.type) and not _raises(node):
            yield node.lineno, "a broad except that never raises again"
        if isinstance(node, ast.Call) and _dotted(node.func) in {
            "suppress",
            "contextlib.suppress",
        }:
            yield from ((a.lineno, "a broad suppress") for a in node.args if _is_broad(a))


def float_(module: Module) -> Iterator[Spot]:
    """Money is Decimal: trading knows no float (a log field may be one: `str | int | float`)."""
    if module.package != "trading":
        return
    fields = {id(n) for union in module.nodes if _is_log_field(union) for n in ast.walk(union)}
    for node in module.nodes:
        if isinstance(node, ast.Name) and node.id == "float" and id(node) not in fields:
            yield node.lineno, "float in trading: money is Decimal"
        if isinstance(node, ast.Constant) and isinstance(node.value, float):
            yield node.lineno, f"float literal {node.value} in trading: money is Decimal"


def retry(module: Module) -> Iterator[Spot]:
    """No retry layer may wrap an order, so none is installed; an order is never PUT."""
    for line, name in _imports(module):
        if name.partition(".")[0] in RETRY_LIBRARIES:
            yield line, f"{name}: no retry layer may wrap an order"
    for number, text in enumerate(module.lines, start=1):
        if "maxRetriesOnFailure" in text:
            yield number, "maxRetriesOnFailure: no retry layer may wrap an order"
        if module.package != "sim" and '"PUT"' in text and "order" in text.lower():
            yield number, "an order is never PUT: the client library sends a PUT again by itself"


def order(module: Module) -> Iterator[Spot]:
    """Nothing depends on the order of a set: it differs between runs."""
    unordered = {
        id(source)
        for node in module.nodes
        if isinstance(node, ast.SetComp) or _forgets_order(node)
        for inner in (node, *getattr(node, "args", ()))
        for source in (g.iter for g in getattr(inner, "generators", ()))
    }
    for node in module.nodes:
        sources = [node.iter] if isinstance(node, (ast.For, ast.AsyncFor)) else []
        sources += [g.iter for g in getattr(node, "generators", ())]
        for source in sources:
            if _is_set(source) and id(source) not in unordered:
                yield source.lineno, "goes over a set: sort it first"


def leftover(module: Module) -> Iterator[Spot]:
    """Nothing is left for later: no marks, no stubs."""
    for number, text in enumerate(module.lines, start=1):
        if LEFTOVERS.search(text):
            yield number, "a mark for later"
    for node in module.nodes:
        if (
            isinstance(node, ast.Raise)
            and node.exc
            and "NotImplementedError" in ast.unparse(node.exc)
        ):
            yield node.lineno, "a stub"


def settings(module: Module) -> Iterator[Spot]:
    """Settings are frozen and refuse unknown keys."""
    if module.path.name != "settings.py":
        return
    for node in module.nodes:
        if isinstance(node, ast.ClassDef) and any("Struct" in ast.unparse(b) for b in node.bases):
            given = {k.arg for k in node.keywords if ast.unparse(k.value) == "True"}
            missing = {"frozen", "forbid_unknown_fields"} - given
            if missing:
                yield node.lineno, f"{node.name} lacks {', '.join(sorted(missing))}"


def sentence(module: Module) -> Iterator[Spot]:
    """Every test says in a sentence what must hold."""
    if not module.is_test:
        return
    for node in module.nodes:
        if isinstance(node, FUNCTIONS) and node.name.startswith("test_"):
            text = (ast.get_docstring(node) or "").strip()
            if not text.endswith((".", "?", "!", ")")) or " " not in text:
                yield node.lineno, f"{node.name} has no sentence that says what must hold"


def nap(module: Module) -> Iterator[Spot]:
    """Tests do not sleep on the wall clock."""
    if module.is_test:
        for node in module.nodes:
            if isinstance(node, ast.Call) and _dotted(node.func) == "time.sleep":
                yield node.lineno, "time.sleep in a test"


RULES: dict[str, Rule] = {
    rule.__name__.rstrip("_"): rule
    for rule in (
        docstring,
        room,
        long,
        deep,
        size,
        pure,
        ambient,
        io,
        broad,
        float_,
        retry,
        order,
        leftover,
        settings,
        sentence,
        nap,
    )
}
WHOLE_MODULE = frozenset({"size", "docstring", "room"})
TEST_RULES = frozenset({"docstring", "room", "sentence", "nap"})
"""Tests use clocks, chance and long tables as they need, and plant what the other rules forbid."""


def check_tree(root: Path, *folders: str) -> list[Finding]:
    """Every finding in the Python files of `folders` under `root`, waived ones left out."""
    findings: list[Finding] = []
    for folder in folders:
        for path in sorted((root / folder).rglob("*.py")):
            findings.extend(check_module(Module(root, path)))
    return findings


def check_module(module: Module) -> Iterator[Finding]:
    """The findings of one module, unused and unreasoned waivers included."""
    path = module.path.as_posix()
    for name, rule in RULES.items():
        if module.is_test and name not in TEST_RULES:
            continue
        for line, text in rule(module):
            whole = name in WHOLE_MODULE and module.is_waived_whole(name)
            if not whole and not module.is_waived(name, line):
                yield Finding(name, path, line, text)
    for number, (name, _) in module.waivers.items():
        if number not in module.used and not module.is_test:
            yield Finding("waiver", path, number, f"{name}-ok excuses nothing or gives no reason")


# ---- reading the tree -----------------------------------------------------------------------
def _lines_without_docstring(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    lines = (node.end_lineno or node.lineno) - node.lineno + 1
    first = node.body[0]
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
        lines -= (first.end_lineno or first.lineno) - first.lineno + 1
    return lines


def _depth(body: list[ast.stmt]) -> int:
    return max((_depth_of(statement) for statement in body), default=0)


def _depth_of(node: ast.stmt) -> int:
    if isinstance(node, (*FUNCTIONS, ast.ClassDef)) or not isinstance(node, BLOCKS):
        return 0
    inner = 0
    for name in ("body", "orelse", "finalbody"):
        branch = getattr(node, name, [])
        is_elif = name == "orelse" and isinstance(node, ast.If) and _is_elif(branch)
        depth = _depth(branch) - is_elif
        inner = max(inner, depth)
    for handler in getattr(node, "handlers", []):
        inner = max(inner, _depth(handler.body))
    for case in getattr(node, "cases", []):
        inner = max(inner, _depth(case.body))
    return 1 + inner


def _is_elif(branch: list[ast.stmt]) -> bool:
    return len(branch) == 1 and isinstance(branch[0], ast.If)


def _is_broad(node: ast.expr | None) -> bool:
    if isinstance(node, ast.Tuple):
        return any(_is_broad(element) for element in node.elts)
    return node is None or _dotted(node) in BROAD


def _is_log_field(node: ast.AST) -> bool:
    if not (isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr)):
        return False
    return "str" in {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}


def _is_set(node: ast.expr) -> bool:
    if isinstance(node, ast.BinOp) and isinstance(
        node.op, (ast.Sub, ast.BitAnd, ast.BitOr, ast.BitXor)
    ):
        return any(
            _is_set(side) or _dotted(getattr(side, "func", side)).endswith(".keys")
            for side in (node.left, node.right)
        )
    if isinstance(node, ast.Call):
        return _dotted(node.func) in {"set", "frozenset"}
    return isinstance(node, (ast.Set, ast.SetComp))


def _forgets_order(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and _dotted(node.func) in {
        "sorted", "any", "all", "sum", "min", "max", "len", "set", "frozenset",
    }  # fmt: skip


def _dotted(node: ast.AST) -> str:
    """`a.b.c` of names and attributes; other parts are left empty."""
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def _raises(node: ast.AST) -> bool:
    return any(isinstance(inner, ast.Raise) for inner in ast.walk(node))


def _imports(module: Module) -> Iterator[Spot]:
    for node in module.nodes:
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.lineno, node.module


def main() -> int:
    """Print every finding of the house; the number of findings is the exit code, 99 at most."""
    findings = check_tree(Path(__file__).resolve().parents[2], "src", "tests")
    sys.stdout.writelines(f"{finding}\n" for finding in findings)
    return min(99, len(findings))


if __name__ == "__main__":
    sys.exit(main())
