"""Playbooks: parameters, interpolation, foreach, and what is said of mistakes."""

from typing import Any

import pytest

from agentfleet.domain.errors import InvalidRequest
from agentfleet.domain.playbook import read_playbook

BODY: dict[str, Any] = {
    "name": "pages",
    "parameters": {
        "urls": {"type": "list", "description": "Pages"},
        "limit": {"type": "integer", "default": 3},
        "title": {"type": "string", "default": "Digest"},
    },
    "plan": {
        "tasks": [
            {
                "id": "page",
                "foreach": {"$param": "urls"},
                "capability": "http.fetch",
                "input": {"url": {"$item": "address"}, "n": {"$index": True}, "name": "{{ title }} {{ index }}: {{ item }}"},
            },
            {"id": "all", "capability": "flow.collect", "input": {"items": {"$from": "page.*"}, "limit": {"$param": "limit"}}},
        ],
        "output": {"title": "{{title}}", "all": {"$from": "all"}},
    },
}


def test_parameters_items_and_texts_are_filled_in() -> None:
    """One task per element, each with its part of it; types stay what they are outside strings."""
    plan = read_playbook(BODY, "pages.toml").instantiate({"urls": [{"address": "http://a"}, {"address": "http://b"}]})

    assert [task.id for task in plan.tasks] == ["page.0", "page.1", "all"]
    assert plan.tasks[1].input == {"url": "http://b", "n": 1, "name": 'Digest 1: {"address":"http://b"}'}
    assert plan.tasks[2].input["limit"] == 3
    assert plan.output["title"] == "Digest"


@pytest.mark.parametrize(
    ("given", "field", "words"),
    [
        ({}, "parameters.urls", "is required: Pages"),
        ({"urls": "http://a"}, "parameters.urls", "must be of type list"),
        ({"urls": [1], "limit": True}, "parameters.limit", "must be of type integer"),
        ({"urls": [1], "titel": "x"}, "parameters.titel", "did you mean title"),
        ({"urls": []}, "tasks[page].foreach", "at least one element"),
    ],
)
def test_a_bad_parameter_is_named(given: dict[str, Any], field: str, words: str) -> None:
    """By name, with what is allowed."""
    with pytest.raises(InvalidRequest) as caught:
        read_playbook(BODY, "pages.toml").instantiate(given)

    assert (caught.value.problems[0].field, words in caught.value.problems[0].message) == (field, True)


def test_a_playbook_that_refers_to_no_parameter_of_its_own_says_which_there_are() -> None:
    """A typing mistake in the file is told when it is used, with the place."""
    body = {"name": "x", "plan": {"tasks": [{"id": "a", "capability": "flow.noop", "input": {"v": {"$param": "q"}}}]}}

    with pytest.raises(InvalidRequest, match=r"tasks\[a\]\.input\.v: there is no parameter 'q' here"):
        read_playbook(body, "x.toml").instantiate({})


def test_a_file_that_is_no_playbook_is_refused_with_its_name() -> None:
    """So that synth says which file to mend."""
    with pytest.raises(InvalidRequest, match=r"bad\.toml: plan\.tasks"):
        read_playbook({"name": "bad", "plan": {"tasks": []}}, "bad.toml")
