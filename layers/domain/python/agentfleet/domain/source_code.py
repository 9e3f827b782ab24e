"""Source code as blocks: functions and classes stay whole, and are named in the headings."""

import ast
import re
from collections.abc import Iterator, Sequence
from typing import Final

from agentfleet.domain.structure import Block

WHOLE_CLASS: Final = 1600
"""Characters up to which a class is one block; a longer one is divided into its methods."""

_Function = ast.FunctionDef | ast.AsyncFunctionDef
_DEFINITION: Final = re.compile(
    r"(?:(?:export|default|public|private|protected|internal|static|final|abstract|async|pub(?:\([a-z]+\))?|inline|const)\s+)*"
    r"(?P<kind>function|class|interface|struct|enum|trait|impl|func|fn|def|module|namespace|object|type)\s+"
    r"(?:\([^)]*\)\s*)?(?P<name>[A-Za-z_$][\w$:]*)"
)


def python_blocks(text: str) -> Iterator[Block]:
    """Docstring, functions, classes or their methods, and what stands between them; not valid Python is read as other code."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError):
        return code_blocks(text)
    return _statements(text.split("\n"), tree.body, (), 1, text.count("\n") + 1)


def _statements(lines: Sequence[str], body: list[ast.stmt], headings: tuple[str, ...], start: int, end: int) -> Iterator[Block]:
    """The statements of a module or class between two lines, with the comments before them."""
    for statement in body:
        if not isinstance(statement, _Function | ast.ClassDef):
            continue
        first = min([statement.lineno, *(decorator.lineno for decorator in statement.decorator_list)])
        while first > start and lines[first - 2].lstrip().startswith("#"):
            first -= 1
        yield from _plain(lines, start, first - 1, headings)
        last = statement.end_lineno or first
        yield from _definition(lines, statement, headings, first, last)
        start = last + 1
    yield from _plain(lines, start, end, headings)


def _definition(
    lines: Sequence[str], statement: _Function | ast.ClassDef, headings: tuple[str, ...], first: int, last: int
) -> Iterator[Block]:
    kind = "class" if isinstance(statement, ast.ClassDef) else "def"
    own = (*headings, f"{kind} {statement.name}")
    if isinstance(statement, ast.ClassDef) and sum(map(len, lines[first - 1 : last])) > WHOLE_CLASS:
        yield from _statements(lines, statement.body, own, first, last)
    else:
        yield Block("\n".join(lines[first - 1 : last]), own, first, last, whole=True)


def _plain(lines: Sequence[str], first: int, last: int, headings: tuple[str, ...]) -> Iterator[Block]:
    """What stands between definitions, without the empty lines around it."""
    while first <= last and not lines[first - 1].strip():
        first += 1
    while last >= first and not lines[last - 1].strip():
        last -= 1
    if first <= last:
        yield Block("\n".join(lines[first - 1 : last]), headings, first, last)


def code_blocks(text: str) -> Iterator[Block]:
    """Code of any language: divided at unindented lines that follow an empty one or begin a definition."""
    lines = text.split("\n")
    starts = [number for number, line in enumerate(lines, 1) if _begins(lines, number, line)]
    for first, following in zip(starts, [*starts[1:], len(lines) + 1], strict=True):
        match = next((found for line in lines[first - 1 : following - 1] if (found := _DEFINITION.match(line))), None)
        headings = (f"{match['kind']} {match['name']}",) if match else ()
        for block in _plain(lines, first, following - 1, headings):
            yield Block(block.text, headings, block.first, block.last, whole=match is not None)


def _begins(lines: Sequence[str], number: int, line: str) -> bool:
    if number == 1:
        return True
    if not line.strip() or line[0].isspace() or line[0] in "})]":
        return False
    return not lines[number - 2].strip() or _DEFINITION.match(line) is not None
