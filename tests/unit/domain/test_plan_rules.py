"""Plans without a model: which playbook is meant, and what the words say of its parameters."""

from pathlib import Path
from typing import Any

import pytest

from agentfleet.domain.plan_rules import Facts, Fit, fill, nearest, ranked
from agentfleet.domain.playbook import Parameter
from cdk.playbooks import read_playbooks
from tests.fakes.planning import playbooks

REAL = read_playbooks(Path(__file__).parents[3])


def best(goal: str) -> Fit:
    """The first of the small fleet's playbooks."""
    return ranked(goal, playbooks())[0]


def test_the_playbook_with_most_words_in_common_is_meant() -> None:
    """Addresses are its parameters, and count for it."""
    fit = best("Fetch https://example.com/a, (https://example.org/) and say what they are about.")

    assert (fit.playbook, fit.is_near, fit.missing) == ("digest", True, ())
    assert fit.parameters == {"urls": ["https://example.com/a", "https://example.org/"]}


@pytest.mark.parametrize("goal", ["Book a flight", "Say hello", "", "Write a novel about a page and a duke and a long war"])
def test_a_word_in_common_is_no_playbook(goal: str) -> None:
    """Two at least, and a quarter of what was said."""
    assert not any(fit.is_near for fit in ranked(goal, playbooks()))


def test_what_is_not_said_is_missing() -> None:
    """The goal itself is the question; nothing says for certain which city is meant."""
    fit = best("Answer a question about the weather: will it rain?")

    assert (fit.playbook, fit.is_near, fit.missing) == ("asked", True, ("city",))
    assert fit.parameters == {"question": "Answer a question about the weather: will it rain?"}
    assert list(nearest([fit])) == ["asked (say its city)"]
    assert best('Answer a question about the weather in "Oslo"').parameters["city"] == "Oslo"
    assert best("Answer about the weather in a city: city = Oslo, please").parameters["city"] == "Oslo"


@pytest.mark.parametrize(
    ("goal", "playbook", "parameters"),
    [
        (
            'Measure the packages "json" and "tomllib" of the standard library and report on them',
            "stdlib-report",
            {"packages": ["json", "tomllib"]},
        ),
        (
            "What does Python's language reference say about closing files?",
            "ask-the-docs",
            {"questions": ["What does Python's language reference say about closing files?"]},
        ),
        (
            'Load the table s3://bucket/sales.csv and report on the anomalies of column "amount"',
            "data-report",
            {"uri": "s3://bucket/sales.csv", "column": "amount"},
        ),
        (
            "Fetch https://example.com/ and report what the page is about",
            "web-digest",
            {"urls": ["https://example.com/"]},
        ),
    ],
)
def test_the_fleets_own_playbooks_are_found(goal: str, playbook: str, parameters: dict[str, Any]) -> None:
    """With what their goals say for certain."""
    fit = ranked(goal, REAL)[0]

    assert (fit.playbook, fit.is_near, fit.missing) == (playbook, True, ())
    assert {name: fit.parameters.get(name) for name in parameters} == parameters


def parameter(kind: Any, default: Any = None) -> Parameter:
    """One of a playbook."""
    return Parameter(type=kind, default=default)


@pytest.mark.parametrize(
    ("goal", "parameters", "found"),
    [
        ("Take 12 of them", {"count": parameter("integer")}, {"count": 12}),
        ("Take 1.5 of them", {"count": parameter("integer")}, {}),
        ("Take 1.5 of them", {"count": parameter("number")}, {"count": 1.5}),
        ("Take 3 or 4", {"count": parameter("integer")}, {}),
        ("count: 7, of 9", {"count": parameter("integer")}, {"count": 7}),
        ("count = some", {"count": parameter("integer")}, {}),
        ("loud: yes", {"loud": parameter("boolean")}, {"loud": True}),
        ("Read ./src/app.py.", {"path": parameter("string")}, {"path": "./src/app.py"}),
        ("Read a/b.py and c.py", {"path": parameter("string"), "files": parameter("list")}, {"files": ["a/b.py", "c.py"]}),
        ("Read it", {"files": parameter("list")}, {}),
        ("Look at https://a.example/ and https://b.example/", {"url": parameter("string")}, {}),
        ('Compare "a" with "b"', {"left": parameter("string"), "right": parameter("string")}, {}),
        ("Compare “a” with 'b'", {"things": parameter("list")}, {"things": ["a", "b"]}),
        ('Call it "a"', {"title": parameter("string", "x"), "name": parameter("string")}, {"name": "a"}),
        ('With max words «5» and title "x y"', {"max_words": parameter("integer"), "title": parameter("string", "")},
         {"max_words": 5, "title": "x y"}),
    ],
)  # fmt: skip
def test_only_what_is_sure_is_filled_in(goal: str, parameters: dict[str, Parameter], found: dict[str, Any]) -> None:
    """What could be meant for two parameters, or in two ways, is meant for none."""
    assert fill(Facts.of(goal), parameters) == found
