"""Measuring Python source."""

import ast
import io
import json
import sysconfig
import textwrap
import tokenize
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentfleet.agent import PermanentError, TaskContext
from agentfleet.domain.source_measures import FunctionRow, ModuleRow, measure
from functions.code import handler as code
from tests.fakes.blobs import FakeBlobs

NO_CODE = {getattr(tokenize, name) for name in ("ENCODING", "COMMENT", "NL", "NEWLINE", "INDENT", "DEDENT", "ENDMARKER")}
SAMPLE = textwrap.dedent(
    '''\
    """A module."""

    from __future__ import annotations
    import os.path, sys
    from .near import thing


    # A comment.
    class Public:
        """A class."""

        def documented(self, a, b=1, *rest, key, **more):
            """Two
            lines."""
            if a and b or key:
                return [x for x in rest if x if a]
            for _ in rest:
                try:
                    pass
                except ValueError:
                    pass
            return a if b else None

        def bare(self):
            def inner():
                while True:
                    pass
            return inner

        def _private(self): ...


    async def waits(value):
        match value:
            case 1 | 2:
                import json
            case [_, *_] if value:
                pass
            case _:
                pass
    '''
)


def measured(source: str) -> tuple[ModuleRow, dict[str, FunctionRow]]:
    """A module's row, and its functions' rows by name."""
    row, functions = measure("sample", "sample.part", source.encode())
    return row, {function.function: function for function in functions}


def test_a_module_is_counted() -> None:
    """Lines, functions, classes, docstrings and imports of a small module that has everything."""
    row, functions = measured(SAMPLE)

    assert list(functions) == ["Public.documented", "Public.bare", "Public.bare.inner", "Public._private", "waits"]
    assert (row.lines, row.code_lines) == (len(SAMPLE.splitlines()), 27)
    assert (row.functions, row.classes) == (5, 1)
    assert (row.documentable, row.documented, row.doc_coverage) == (5, 3, 0.6)
    assert row.imports == ["__future__", "json", "os", "sample", "sys"]


def test_complexity_counts_the_ways_through_a_function() -> None:
    """if, and/or, comprehension with two filters, for, except and a conditional: 1 + 1 + 2 + 3 + 1 + 1 + 1."""
    row, functions = measured(SAMPLE)

    assert functions["Public.documented"].complexity == 10
    assert functions["waits"].complexity == 3
    assert row.max_complexity == 10


def test_inner_functions_count_for_themselves() -> None:
    """A branch inside an inner function is not the outer one's."""
    _, functions = measured(SAMPLE)

    assert (functions["Public.bare"].complexity, functions["Public.bare.inner"].complexity) == (1, 2)


def test_arguments_and_docstrings_of_functions() -> None:
    """Every kind of argument counts as one."""
    _, functions = measured(SAMPLE)

    assert (functions["Public.documented"].arguments, functions["Public.documented"].documented) == (6, True)
    assert (functions["Public.bare"].arguments, functions["Public.bare"].documented) == (1, False)


@given(st.integers(0, 30), st.integers(0, 5))
def test_each_branch_adds_one(conditions: int, blank: int) -> None:
    """A function of n conditions has complexity n + 1 and 2 n + 2 lines of code, whatever else is around it."""
    body = "".join("    if x:\n        x()\n" + "\n# note\n" * blank for _ in range(conditions))
    row, functions = measured(f"def f(x):\n{body}    return x\n")

    assert functions["f"].complexity == conditions + 1
    assert row.code_lines == 2 * conditions + 2


@pytest.mark.parametrize("package", ["email", "logging", "json", "re"])
def test_code_lines_are_those_that_the_tokenizer_sees(package: str) -> None:
    """Counted by another road, line by line from the tokens, real modules have as many lines of code."""
    for path in Path(sysconfig.get_path("stdlib"), package).rglob("*.py"):
        seen: set[int] = set()
        for token in tokenize.tokenize(io.BytesIO(path.read_bytes()).readline):
            if token.type not in NO_CODE:
                seen.update(range(token.start[0], token.end[0] + 1))
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and ast.get_docstring(node):
                text = node.body[0]
                seen.difference_update(range(text.lineno, (text.end_lineno or 0) + 1))

        assert measure(package, path.stem, path.read_bytes())[0].code_lines == len(seen), path.name


def test_an_empty_module_has_no_functions() -> None:
    """Nothing to divide by is no error."""
    row, functions = measured("")

    assert (row.lines, row.code_lines, row.functions, row.mean_complexity, functions) == (0, 0, 0, 0.0, {})


def test_source_that_does_not_parse_is_refused() -> None:
    """The error names the module."""
    with pytest.raises(PermanentError, match=r"sample\.part: not Python"):
        measured("def f(:")


def test_a_package_of_this_interpreter(context: TaskContext, blobs: FakeBlobs) -> None:
    """asyncio is read from its real source: every module has a row, the totals add up, the largest come inline."""
    output = code.package(code.PackageInput(package="asyncio", limit=2), context)

    rows = [json.loads(line) for line in blobs.get(output.uri).splitlines()]
    functions = [json.loads(line) for line in blobs.get(output.functions_uri).splitlines()]
    assert output.totals.modules == len(rows) > 25
    assert output.totals.code_lines == sum(row["code_lines"] for row in rows) > 5_000
    assert output.totals.functions == len(functions)
    assert [row.model_dump() for row in output.rows] == rows[:2]
    assert "asyncio" in {row["module"] for row in rows}
    assert len(output.model_dump_json()) < 4_000


def test_a_single_module(context: TaskContext) -> None:
    """A module that is not a package is measured alone, also inside a package."""
    assert code.package(code.PackageInput(package="argparse"), context).totals.modules == 1
    assert code.package(code.PackageInput(package="concurrent.futures.thread"), context).rows[0].module == (
        "concurrent.futures.thread"
    )


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("sys", "no Python source"),
        ("numpy", "not in the standard library"),
        ("../../etc", "dotted name"),
        ("asyncio/..", "dotted name"),
        ("asyncio.", "dotted name"),
        ("asyncio.nothing", "no Python source"),
    ],
)
def test_other_names_are_refused(name: str, message: str, context: TaskContext) -> None:
    """Only what the standard library has as source can be read: no path, no third party."""
    with pytest.raises(PermanentError, match=message):
        code.package(code.PackageInput(package=name), context)


def test_tests_are_left_out(context: TaskContext, blobs: FakeBlobs) -> None:
    """A package's own tests say nothing about the package."""
    output = code.package(code.PackageInput(package="unittest"), context)

    modules = [json.loads(line)["module"] for line in blobs.get(output.uri).splitlines()]
    assert not any(".test." in f"{module}." for module in modules)
    assert len(modules) == output.totals.modules
