"""What rules find in Python source, from its syntax tree: each finding with its place, its weight and what to do about it."""

import ast
import io
import re
import tokenize
from collections.abc import Callable, Iterable, Iterator, Sequence
from types import EllipsisType
from typing import Final, Literal

from pydantic import BaseModel

from agentfleet.domain.errors import PermanentError
from agentfleet.domain.source_measures import NESTING, Function, FunctionRow, ModuleRow, documentable, functions_of, measure

Severity = Literal["high", "medium", "low"]

WEIGHTS: Final[dict[Severity, float]] = {"high": 9.0, "medium": 3.0, "low": 1.0}
COMPLEX: Final = 10
"""Ways through a function up to which it is commonly held to be easy to test (McCabe 1976)."""
LONG: Final = 60
"""Lines of a function."""
ARGUMENTS: Final = 7
NESTED: Final = 4
LONG_MODULE: Final = 500
"""Lines of code of a module."""

RULES: Final[dict[str, str]] = {
    "unreadable": "Source that does not parse",
    "bare-except": "An `except:` without a class also catches KeyboardInterrupt and SystemExit",
    "swallowed-error": "An error is caught and nothing is done about it",
    "mutable-default": "A default that is made once and changed by every call",
    "evaluated-text": "`eval` or `exec` of a text that is not a literal",
    "shell-command": "A command is run by a shell",
    "always-true": "An assertion of a tuple, which is always true",
    "complex-function": "A function with many ways through it",
    "long-function": "A long function",
    "many-arguments": "A function of many arguments",
    "deep-nesting": "Blocks within blocks",
    "star-import": "`import *` hides where names come from",
    "long-module": "A long module",
    "compared-to-none": "`== None` asks the other side; `is None` does not",
    "undocumented": "A public name without a docstring",
    "to-do": "A note of something left to do",
    "untested": "No test in the archive imports this module or is named after it",
}
"""Every rule, and what it looks for."""

_NOTE: Final = re.compile(r"#.*\b(TODO|FIXME|XXX|HACK)\b")
_BLOCKS = (ast.If, ast.For, ast.AsyncFor, ast.While, ast.Try, ast.With, ast.AsyncWith, ast.Match)
_MUTABLE: Final = frozenset({"list", "dict", "set", "bytearray", "defaultdict", "deque", "Counter"})


class Finding(BaseModel):
    """Something that a rule found."""

    rule: str
    severity: Severity
    path: str
    line: int
    name: str
    """Of the function or class; empty for the module."""
    message: str
    weight: float
    """By its severity, and by how far over a limit it is: at most four times that."""


class Review(BaseModel):
    """What there is to say about one file."""

    path: str
    module: ModuleRow | None
    """null where the source does not parse."""
    functions: list[FunctionRow]
    findings: list[Finding]


def review(path: str, source: bytes, *, untested: bool = False) -> Review:
    """Measure a file and look for what the rules know; `untested`: no test covers it, as far as one can see."""
    name = path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    try:
        module, functions = measure(name.partition(".")[0], name, source)
        tree = ast.parse(source)
        found = [*_of_functions(path, tree, functions), *_of_nodes(path, tree), *_of_names(path, tree), *_notes(path, source)]
    except (PermanentError, RecursionError, MemoryError) as error:
        broken = _finding("unreadable", "high", path, _line_of(error), "", str(error) or "is nested too deeply to be read")
        return Review(path=path, module=None, functions=[], findings=[broken])
    if module.code_lines > LONG_MODULE:
        found.append(_over("long-module", "medium", path, 1, "", module.code_lines, LONG_MODULE, "lines of code"))
    if untested and module.functions + module.classes:
        found.append(_finding("untested", "low", path, 1, "", "no test imports it or is named after it"))
    return Review(path=path, module=module, functions=functions, findings=ranked(found))


def ranked(findings: Iterable[Finding]) -> list[Finding]:
    """The heaviest first; equal ones by place."""
    return sorted(findings, key=lambda one: (-one.weight, one.path, one.line, one.rule, one.name))


def _line_of(error: BaseException) -> int:
    line = getattr(error.__cause__, "lineno", None)
    return line if isinstance(line, int) and line > 0 else 1


def _finding(rule: str, severity: Severity, path: str, line: int, name: str, message: str, factor: float = 1.0) -> Finding:
    weight = round(WEIGHTS[severity] * min(max(factor, 1.0), 4.0), 2)
    return Finding(rule=rule, severity=severity, path=path, line=line, name=name, message=message[:300], weight=weight)


def _over(rule: str, severity: Severity, path: str, line: int, name: str, count: int, limit: int, what: str) -> Finding:
    """A finding about a number: twice the limit is one severity worse."""
    worse: dict[Severity, Severity] = {"low": "medium", "medium": "high", "high": "high"}
    severe = worse[severity] if count >= 2 * limit else severity
    factor = count / limit / (2 if count >= 2 * limit else 1)
    return _finding(rule, severe, path, line, name, f"{count} {what}, up to {limit} is good", factor)


def _of_functions(path: str, tree: ast.Module, functions: Sequence[FunctionRow]) -> Iterator[Finding]:
    """Size and shape of every function."""
    for row in functions:
        if row.complexity > COMPLEX:
            message = "ways through it"
            yield _over("complex-function", "medium", path, row.line, row.function, row.complexity, COMPLEX, message)
        if row.lines > LONG:
            yield _over("long-function", "medium", path, row.line, row.function, row.lines, LONG, "lines")
        if row.arguments > ARGUMENTS:
            yield _over("many-arguments", "low", path, row.line, row.function, row.arguments, ARGUMENTS, "arguments")
    for name, node in functions_of(tree):
        line, depth = _deepest(node)
        if depth > NESTED:
            yield _over("deep-nesting", "medium", path, line, name, depth, NESTED, "blocks within each other")
        for default in (*node.args.defaults, *(one for one in node.args.kw_defaults if one is not None)):
            if _is_mutable(default):
                message = "this default is shared by all calls: take None and make one inside"
                yield _finding("mutable-default", "high", path, default.lineno, name, message)


def _deepest(function: Function) -> tuple[int, int]:
    """Line and number of the most blocks that stand within each other, without those of inner functions; `elif` adds none."""
    deepest = (function.lineno, 0)
    waiting: list[tuple[ast.AST, int]] = [(node, 0) for node in function.body]
    while waiting:
        node, depth = waiting.pop()
        if isinstance(node, NESTING):
            continue
        inner = depth + isinstance(node, _BLOCKS)
        if inner > deepest[1]:
            deepest = (getattr(node, "lineno", function.lineno), inner)
        for child in ast.iter_child_nodes(node):
            is_elif = isinstance(node, ast.If) and isinstance(child, ast.If) and node.orelse == [child]
            waiting.append((child, depth if is_elif else inner))
    return deepest


def _is_mutable(node: ast.expr) -> bool:
    match node:
        case ast.List() | ast.Dict() | ast.Set() | ast.ListComp() | ast.DictComp() | ast.SetComp():
            return True
        case ast.Call(func=ast.Name(id=name)):
            return name in _MUTABLE
        case _:
            return False


def _of_nodes(path: str, tree: ast.Module) -> Iterator[Finding]:
    """What single statements and expressions do."""
    for node in ast.walk(tree):
        for look in _LOOKS:
            if (found := look(node)) is not None:
                rule, severity, message = found
                yield _finding(rule, severity, path, getattr(node, "lineno", 1), "", message)


_Look = Callable[[ast.AST], tuple[str, Severity, str] | None]


def _look_at_handler(node: ast.AST) -> tuple[str, Severity, str] | None:
    match node:
        case ast.ExceptHandler(type=None, body=body) if not any(isinstance(inner, ast.Raise) for inner in body):
            return "bare-except", "high", "name what may be raised, or catch Exception"
        case ast.ExceptHandler(body=[ast.Pass() | ast.Expr(value=ast.Constant(value=EllipsisType()))]):
            return "swallowed-error", "medium", "say why nothing needs to be done (contextlib.suppress), log it, or let it out"
    return None


def _look_at_call(node: ast.AST) -> tuple[str, Severity, str] | None:
    match node:
        case ast.Call(func=ast.Name(id="eval" | "exec" as name), args=[first, *_]) if not isinstance(first, ast.Constant):
            return "evaluated-text", "high", f"{name} runs whatever the text says"
        case ast.Call(keywords=keywords) if any(
            one.arg == "shell" and isinstance(one.value, ast.Constant) and one.value.value is True for one in keywords
        ):
            return "shell-command", "high", "give the command as a list, without shell=True"
    return None


def _look_at_statement(node: ast.AST) -> tuple[str, Severity, str] | None:
    match node:
        case ast.Assert(test=ast.Tuple(elts=[_, *_])):
            return "always-true", "high", "a tuple is true whatever is in it: take the brackets away"
        case ast.ImportFrom(names=[ast.alias(name="*")], module=module):
            return "star-import", "medium", f"name what is needed of {module or 'the package'}"
        case ast.Compare(ops=[ast.Eq() | ast.NotEq()], comparators=[ast.Constant(value=None)]):
            return "compared-to-none", "low", "write `is None` or `is not None`"
    return None


_LOOKS: Final[tuple[_Look, ...]] = (_look_at_handler, _look_at_call, _look_at_statement)


def _of_names(path: str, tree: ast.Module) -> Iterator[Finding]:
    """Public names without a docstring. An empty module needs none, nor does an override by its double underscores."""
    for node in documentable(tree):
        if ast.get_docstring(node, clean=False) is not None:
            continue
        if isinstance(node, ast.Module):
            if node.body:
                yield _finding("undocumented", "low", path, 1, "", "the module has no docstring")
        else:
            kind = "class" if isinstance(node, ast.ClassDef) else "function"
            yield _finding("undocumented", "low", path, node.lineno, node.name, f"the {kind} has no docstring")


def _notes(path: str, source: bytes) -> Iterator[Finding]:
    """Comments that say that something is left to do."""
    try:
        for token in tokenize.tokenize(io.BytesIO(source).readline):
            if token.type == tokenize.COMMENT and (note := _NOTE.search(token.string)):
                yield _finding("to-do", "low", path, token.start[0], "", note[0].lstrip("# ")[:120])
    except (tokenize.TokenError, SyntaxError):
        return  # what parses and yet can't be divided into tokens has no comments that one could trust


def is_test(path: str) -> bool:
    """Is this a file of tests? By the names that pytest and unittest go by."""
    *folders, name = path.split("/")
    return bool({"test", "tests"} & set(folders)) or name.startswith("test_") or name.endswith(("_test.py", "conftest.py"))


def covered_names(tests: Iterable[bytes]) -> set[str]:
    """Dotted names of everything that tests import, and of the modules that they import it from."""
    found: set[str] = set()
    for source in tests:
        try:
            tree = ast.parse(source)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            continue  # a test that can't be read covers nothing
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                found.update(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module:
                found.add(node.module)
                found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return found


def is_untested(path: str, covered: set[str], tests: Iterable[str]) -> bool:
    """Does no test import this module, under any of the names that it may have, or bear its name?"""
    steps = path.removesuffix(".py").removesuffix("/__init__").split("/")
    if any(".".join(steps[start:]) in covered for start in range(len(steps))):
        return False
    named = {f"test_{steps[-1]}.py", f"{steps[-1]}_test.py"}
    return not any(test.rpartition("/")[2] in named for test in tests)
