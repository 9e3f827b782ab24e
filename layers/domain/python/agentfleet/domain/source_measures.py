"""Measures of Python source from its syntax tree: size, complexity, documentation, imports. Nothing of it is run."""

import ast
import platform
import statistics
from collections.abc import Iterator

from pydantic import BaseModel

from agentfleet.domain.errors import PermanentError

Function = ast.FunctionDef | ast.AsyncFunctionDef
NESTING = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


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
            complexity=1 + sum(_branches(inner) for inner in own_nodes(node)),
            documented=ast.get_docstring(node, clean=False) is not None,
        )
        for name, node in functions_of(tree)
    ]
    public = list(documentable(tree))
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


def functions_of(tree: ast.AST, prefix: str = "") -> Iterator[tuple[str, Function]]:
    """Every function with its qualified name, the ones inside classes and other functions too."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, NESTING):
            name = f"{prefix}{node.name}"
            if isinstance(node, Function):
                yield name, node
            yield from functions_of(node, f"{name}.")
        else:
            yield from functions_of(node, prefix)


def own_nodes(function: Function) -> Iterator[ast.AST]:
    """The nodes of a function's body, without those of the functions and classes defined inside it."""
    waiting: list[ast.AST] = list(function.body)
    while waiting:
        node = waiting.pop()
        if not isinstance(node, NESTING):
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


def documentable(tree: ast.Module) -> Iterator[ast.Module | ast.ClassDef | Function]:
    """The module and its public classes, functions and methods (no leading underscore anywhere in the name)."""
    yield tree
    waiting: list[ast.AST] = list(tree.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, NESTING) and not node.name.startswith("_"):
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
        if isinstance(node, (ast.Module, *NESTING)) and ast.get_docstring(node, clean=False) is not None:
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
