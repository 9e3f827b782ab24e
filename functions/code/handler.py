"""Measure Python source: size, complexity, documentation and imports, from the syntax tree and without running any of it."""

import ast
import json
import platform
import re
import statistics
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field

from agentfleet.agent import Agent, PermanentError, TaskContext

agent = Agent("code")

MAX_MODULES: Final = 500
MAX_ROWS: Final = 200

_DOTTED = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", re.ASCII)
_TESTS = frozenset({"test", "tests", "idle_test"})
_Function = ast.FunctionDef | ast.AsyncFunctionDef
_NESTING = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


class PackageInput(BaseModel):
    """Which part of the standard library to read."""

    model_config = ConfigDict(extra="forbid")

    package: str = Field(max_length=100, examples=["asyncio", "email.mime", "argparse"])
    limit: int = Field(default=3, ge=0, le=MAX_ROWS)
    """How many modules, largest first, to return inline as `rows`."""


class ModuleRow(BaseModel):
    """One module. Counts, except `doc_coverage` (0 to 1; null when nothing in it can be documented)."""

    package: str
    module: str
    lines: int
    code_lines: int
    """Lines that hold code: no blank ones, comments or docstrings."""
    functions: int
    classes: int
    branches: int
    """Places where the flow of control divides."""
    max_complexity: int
    mean_complexity: float
    documentable: int
    """The module itself and its public classes and functions."""
    documented: int
    doc_coverage: float | None
    imports: list[str]
    """Top-level packages imported anywhere in it, sorted."""


class FunctionRow(BaseModel):
    """One function or method."""

    package: str
    module: str
    function: str
    line: int
    lines: int
    arguments: int
    complexity: int
    """Cyclomatic complexity: 1 + the branches of its own body (McCabe 1976, 'A Complexity Measure')."""
    documented: bool


class Totals(BaseModel):
    """A package in one line."""

    modules: int
    lines: int
    code_lines: int
    functions: int
    classes: int
    branches: int
    documentable: int
    documented: int
    max_complexity: int


class PackageOutput(BaseModel):
    """The measures. `uri` and `functions_uri` name JSON Lines of every ModuleRow and every FunctionRow."""

    package: str
    python: str
    uri: str
    functions_uri: str
    totals: Totals
    rows: list[ModuleRow]


@agent.capability("code.package", idempotent=True, timeout=60)
def package(input: PackageInput, context: TaskContext) -> PackageOutput:
    """Measure each module of a standard library package: lines, functions, classes, complexity, docstrings, imports.

    Reads the source files of the interpreter it runs on, without its tests; at most 500 modules. Raises PermanentError for a
    name that is not in the standard library or has no Python source (`sys`).
    """
    modules: list[ModuleRow] = []
    functions: list[FunctionRow] = []
    for name, path in _sources(input.package):
        module, inside = measure(input.package, name, path.read_bytes())
        modules.append(module)
        functions.extend(inside)
    modules.sort(key=lambda row: (-row.code_lines, row.module))
    return PackageOutput(
        package=input.package,
        python=platform.python_version(),
        uri=context.blobs.put("modules.jsonl", _json_lines(modules), "application/x-ndjson"),
        functions_uri=context.blobs.put("functions.jsonl", _json_lines(functions), "application/x-ndjson"),
        totals=_totals(modules),
        rows=modules[: input.limit],
    )


def measure(package: str, module: str, source: bytes) -> tuple[ModuleRow, list[FunctionRow]]:
    """The measures of one module and of each function in it. Raises PermanentError for source that does not parse."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError) as error:
        raise PermanentError(f"{module}: not Python {platform.python_version()}: {error}") from error
    functions = [
        FunctionRow(
            package=package,
            module=module,
            function=name,
            line=node.lineno,
            lines=(node.end_lineno or node.lineno) - node.lineno + 1,
            arguments=_argument_count(node.args),
            complexity=1 + sum(_branches(inner) for inner in _own(node)),
            documented=ast.get_docstring(node, clean=False) is not None,
        )
        for name, node in _functions(tree)
    ]
    public = list(_documentable(tree))
    nodes = list(ast.walk(tree))
    documented = sum(ast.get_docstring(node, clean=False) is not None for node in public)
    row = ModuleRow(
        package=package,
        module=module,
        lines=len(source.splitlines()),
        code_lines=_code_lines(nodes, source),
        functions=len(functions),
        classes=sum(isinstance(node, ast.ClassDef) for node in nodes),
        branches=sum(map(_branches, nodes)),
        max_complexity=max((function.complexity for function in functions), default=0),
        mean_complexity=round(statistics.fmean(function.complexity for function in functions), 2) if functions else 0.0,
        documentable=len(public),
        documented=documented,
        doc_coverage=round(documented / len(public), 4) if public else None,
        imports=sorted(_imports(nodes, module)),
    )
    return row, functions


def _sources(package: str) -> Iterator[tuple[str, Path]]:
    """Dotted name and file of each module of a standard library package, sorted, tests left out."""
    if not _DOTTED.fullmatch(package):
        raise PermanentError(f"package: must be a dotted name such as 'asyncio', not {package!r}")
    if package.partition(".")[0] not in sys.stdlib_module_names:
        raise PermanentError(f"package: {package!r} is not in the standard library of Python {platform.python_version()}")
    root = Path(sysconfig.get_path("stdlib"))
    folder = root.joinpath(*package.split("."))
    if folder.is_dir():
        files = sorted(path for path in folder.rglob("*.py") if not _TESTS & set(path.relative_to(root).parts))
    else:
        files = [path for path in [folder.with_suffix(".py")] if path.is_file()]
    if not files:
        raise PermanentError(f"package: {package!r} has no Python source on this machine; it may be built in or not installed")
    if len(files) > MAX_MODULES:
        raise PermanentError(f"package: {package!r} has {len(files)} modules, at most {MAX_MODULES} are allowed")
    for path in files:
        parts = path.relative_to(root).with_suffix("").parts
        yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


def _functions(tree: ast.AST, prefix: str = "") -> Iterator[tuple[str, _Function]]:
    """Every function with its qualified name, the ones inside classes and other functions too."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, _NESTING):
            name = f"{prefix}{node.name}"
            if isinstance(node, _Function):
                yield name, node
            yield from _functions(node, f"{name}.")
        else:
            yield from _functions(node, prefix)


def _own(function: _Function) -> Iterator[ast.AST]:
    """The nodes of a function's body, without those of the functions and classes defined inside it."""
    waiting: list[ast.AST] = list(function.body)
    while waiting:
        node = waiting.pop()
        if not isinstance(node, _NESTING):
            yield node
            waiting.extend(ast.iter_child_nodes(node))


def _branches(node: ast.AST) -> int:
    """How many extra paths this node opens: loops, conditions, handlers, cases, `and`/`or`, filters of comprehensions."""
    match node:
        case ast.If() | ast.For() | ast.AsyncFor() | ast.While() | ast.IfExp() | ast.ExceptHandler() | ast.Assert():
            return 1
        case ast.BoolOp():
            return len(node.values) - 1
        case ast.comprehension():
            return 1 + len(node.ifs)
        case ast.Match():
            # A bare `case _` is the way on when nothing else fits, as `else` is.
            return sum(not _is_wildcard(case) for case in node.cases)
        case _:
            return 0


def _is_wildcard(case: ast.match_case) -> bool:
    return case.guard is None and isinstance(case.pattern, ast.MatchAs) and case.pattern.pattern is None


def _documentable(tree: ast.Module) -> Iterator[ast.Module | ast.ClassDef | _Function]:
    """The module and its public classes, functions and methods (no leading underscore anywhere in the name)."""
    yield tree
    waiting: list[ast.AST] = list(tree.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, _NESTING) and not node.name.startswith("_"):
            yield node
            if isinstance(node, ast.ClassDef):
                waiting.extend(node.body)


def _code_lines(nodes: list[ast.AST], source: bytes) -> int:
    """Lines that are neither blank nor a comment nor part of a docstring; every line of any other text counts."""
    lines = {
        number
        for number, line in enumerate(map(bytes.strip, source.splitlines()), start=1)
        if line and not line.startswith(b"#")
    }
    for node in nodes:
        if isinstance(node, ast.Constant | ast.JoinedStr) and node.end_lineno != node.lineno:
            lines.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    for node in nodes:
        if isinstance(node, (ast.Module, *_NESTING)) and ast.get_docstring(node, clean=False) is not None:
            text = node.body[0]
            lines.difference_update(range(text.lineno, (text.end_lineno or text.lineno) + 1))
    return len(lines)


def _imports(nodes: list[ast.AST], module: str) -> set[str]:
    """Top-level names of what a module imports, at its top or later; a relative import names its own package."""
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found.update(alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            found.add(module.partition(".")[0] if node.level else (node.module or "").partition(".")[0])
    return found


def _argument_count(arguments: ast.arguments) -> int:
    plain = len(arguments.posonlyargs) + len(arguments.args) + len(arguments.kwonlyargs)
    return plain + (arguments.vararg is not None) + (arguments.kwarg is not None)


def _totals(rows: list[ModuleRow]) -> Totals:
    summed = ("lines", "code_lines", "functions", "classes", "branches", "documentable", "documented")
    sums: dict[str, Any] = {field: sum(getattr(row, field) for row in rows) for field in summed}
    return Totals(modules=len(rows), max_complexity=max((row.max_complexity for row in rows), default=0), **sums)


def _json_lines(rows: list[ModuleRow] | list[FunctionRow]) -> bytes:
    return "".join(f"{json.dumps(row.model_dump(), separators=(',', ':'))}\n" for row in rows).encode()
