"""What rules find in source, and where."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentfleet.domain.code_review import RULES, covered_names, is_test, is_untested, ranked, review

BAD = '''"""A module."""
from os import *


def shared(found=[], *, also={}):
    """Doc."""
    try:
        eval(found[0])
    except:
        return None
    try:
        run("ls", shell=True)
    except ValueError:
        pass
    assert (found, "never")
    return found == None  # TODO: all of it


class Bare:
    def method(self):
        return 1
'''


def rules_of(source: str, **given: bool) -> list[tuple[str, int]]:
    """Rule and line of every finding, by line."""
    return sorted(
        ((one.rule, one.line) for one in review("pkg/mod.py", source.encode(), **given).findings), key=lambda one: one[1]
    )


def test_each_mistake_is_found_at_its_line() -> None:
    """By its rule; `self` is no reason to complain, a docstring is one less."""
    assert set(rules_of(BAD)) == {
        ("star-import", 2),
        ("mutable-default", 5),
        ("evaluated-text", 8),
        ("bare-except", 9),
        ("shell-command", 12),
        ("swallowed-error", 13),
        ("always-true", 15),
        ("compared-to-none", 16),
        ("to-do", 16),
        ("undocumented", 19),
        ("undocumented", 20),
    }
    assert len([rule for rule, line in rules_of(BAD) if rule == "mutable-default"]) == 2


@pytest.mark.parametrize(
    "source",
    [
        "",
        '"""Doc."""\n\n\ndef f(a=(), b=None, c=frozenset()):\n    """Doc."""\n    return eval("1")\n',
        '"""Doc."""\n\ntry:\n    import tomllib\nexcept ImportError:\n    tomllib = None\n',
        '"""Doc."""\n\ntry:\n    f()\nexcept:\n    g()\n    raise\n',
        '"""Doc."""\n\n\ndef _private():\n    pass\n',
    ],
)
def test_what_is_right_is_let_be(source: str) -> None:
    """Nothing, immutable defaults, literals, handled and re-raised errors, private names."""
    assert rules_of(source) == []


def test_numbers_over_a_limit_weigh_more_the_further_they_are() -> None:
    """Twice the limit is a severity worse; shape counts blocks, not `elif`s."""
    branches = "".join(f"    if a == {number}:\n        a()\n" for number in range(12))
    worse = "".join(f"    if a == {number}:\n        a()\n" for number in range(24))
    chain = "    if a:\n        a()\n" + "".join(f"    elif a == {number}:\n        a()\n" for number in range(6))
    deep = "".join(f"{'    ' * depth}if a:\n" for depth in range(1, 7)) + f"{'    ' * 7}a()\n"

    def found(body: str) -> dict[str, tuple[str, float]]:
        source = f'"""Doc."""\n\n\ndef f(a):\n    """Doc."""\n{body}'
        return {one.rule: (one.severity, one.weight) for one in review("m.py", source.encode()).findings}

    assert found(branches)["complex-function"] == ("medium", 3.9)
    assert found(worse)["complex-function"][0] == "high"
    assert found(chain) == {}
    assert found(deep)["deep-nesting"] == ("medium", 4.5)


def test_source_that_does_not_parse_is_a_finding() -> None:
    """With its line; the rest of the archive is reviewed all the same."""
    found = review("m.py", b"x = 1\ndef f(:\n")
    [deep] = review("m.py", ("(" * 5_000 + ")" * 5_000).encode()).findings

    assert [(one.rule, one.line) for one in found.findings] == [("unreadable", 2)]
    assert found.module is None
    assert deep.rule == "unreadable"


def test_what_tests_cover_is_seen_from_their_imports_and_names() -> None:
    """Under any name that a module may have; without tests nothing is said."""
    tests = {"tests/test_api.py": b"from pkg.one import f\nimport pkg.two\n", "tests/test_three.py": b"broken("}
    covered = covered_names(tests.values())

    untested = [name for name in ("one", "two", "three", "four") if is_untested(f"src/pkg/{name}.py", covered, tests)]
    assert untested == ["four"]
    assert rules_of('"""Doc."""\n\n\ndef f():\n    """Doc."""\n', untested=True) == [("untested", 1)]
    assert [is_test(path) for path in ("tests/a.py", "pkg/test_a.py", "pkg/a_test.py", "conftest.py", "pkg/contest.py")] == [
        True, True, True, True, False,
    ]  # fmt: skip


LINES = st.sampled_from([*BAD.splitlines(), "x = 1", "", "def f(a, b=[]):", "    if a:", "        pass", "# FIXME later"])


@given(st.lists(LINES, max_size=25))
def test_findings_lie_within_the_file_and_their_order_is_their_own(lines: list[str]) -> None:
    """Whatever the source: known rules, real lines, weights above zero; shuffled and ranked again they are the same."""
    findings = review("m.py", "\n".join(lines).encode()).findings

    for one in findings:
        assert one.rule in RULES
        assert 1 <= one.line <= max(1, len(lines))
        assert one.weight > 0
    shuffled = random.Random(7).sample(findings, len(findings))
    assert ranked(shuffled) == findings
