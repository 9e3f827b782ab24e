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


MAP: dict[str, Any] = {
    "name": "each",
    "parameters": {"urls": {"type": "list", "description": "Pages"}, "about": {"type": "string", "default": "owls"}},
    "plan": {
        "tasks": [
            {
                "id": "gist",
                "capability": "flow.map",
                "input": {
                    "items": {"$param": "urls"},
                    "capability": "think.summarize",
                    "input": {"text": {"$item": "text"}, "about": "{{ about }}: {{ item }}", "n": {"$index": True}},
                },
            }
        ]
    },
}


def test_what_a_map_fills_in_is_left_to_it() -> None:
    """Its items are not known yet; parameters are, and everything else is filled in as ever."""
    [task] = read_playbook(MAP, "each.toml").instantiate({"urls": ["a"]}).tasks

    assert task.input["items"] == ["a"]
    assert task.input["input"] == {"text": {"$item": "text"}, "about": "owls: {{ item }}", "n": {"$index": True}}


def test_a_map_inside_a_family_has_its_own_items() -> None:
    """Outside its input the family's element stands, inside the map's."""
    task = {**MAP["plan"]["tasks"][0], "foreach": [["x"], ["y", "z"]]}
    task["input"] = {**task["input"], "items": {"$item": ""}}
    body = {**MAP, "plan": {"tasks": [task]}}

    first, second = read_playbook(body, "each.toml").instantiate({"urls": []}).tasks

    assert (first.id, first.input["items"], second.input["items"]) == ("gist.0", ["x"], ["y", "z"])
    assert second.input["input"]["text"] == {"$item": "text"}


def test_only_a_map_leaves_items() -> None:
    """Elsewhere an item that nobody gives is a mistake."""
    body = {**MAP, "plan": {"tasks": [{**MAP["plan"]["tasks"][0], "capability": "flow.collect"}]}}

    with pytest.raises(InvalidRequest, match="no parameter 'item'"):
        read_playbook(body, "each.toml").instantiate({"urls": []})
