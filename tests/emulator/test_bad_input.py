"""A container of bad inputs: each refused with its own clear error, and nothing of it stored."""

import json
from typing import Any

import httpx
import pytest

from client.local import LocalCloud
from tests.emulator.conftest import Aws


def plan(*tasks: Any, **rest: Any) -> dict[str, Any]:
    """A goal of these tasks, flow.noop unless they say otherwise."""
    return {
        "plan": {"tasks": [{"capability": "flow.noop", **task} if isinstance(task, dict) else task for task in tasks]},
        **rest,
    }


A = {"id": "a"}
BAD: dict[str, tuple[Any, str, str]] = {
    "cycle": (plan({"id": "a", "depends_on": ["b"]}, {"id": "b", "depends_on": ["a"]}), "tasks[a].depends_on", "cycle"),
    "self": (plan({"id": "a", "depends_on": ["a"]}), "tasks[a].depends_on", "itself"),
    "self-reference": (plan({"id": "a", "input": {"value": {"$from": "a"}}}), "tasks[a].input.value.$from", "itself"),
    "unknown-capability": (plan({"id": "a", "capability": "flow.nop"}), "tasks[a].capability", "did you mean flow.noop"),
    "capability-shape": (plan({"id": "a", "capability": "rm -rf /"}), "tasks[a].capability", "pattern"),
    "unknown-dependency": (plan({"id": "load"}, {"id": "b", "depends_on": ["laod"]}), "tasks[b].depends_on", "load"),
    "bad-reference": (plan({"id": "a", "input": {"value": {"$from": "zzz"}}}), "tasks[a].input.value.$from", "no task"),
    "bad-path": (
        plan(A, {"id": "b", "input": {"value": {"$from": "a", "path": "]["}}}),
        "tasks[b].input.value.path",
        "JMESPath",
    ),
    "reference-extras": (plan(A, {"id": "b", "input": {"value": {"$from": "a", "x": 1}}}), "tasks[b].input.value", "'x'"),
    "empty-family": (plan({"id": "a", "input": {"value": {"$from": "no.*"}}}), "tasks[a].input.value.$from", "starts with"),
    "duplicate-id": (plan(A, A), "tasks[a].id", "twice"),
    "missing-id": (plan({}), "tasks[0].id", "required"),
    "empty-id": (plan({"id": ""}), "tasks[].id", "pattern"),
    "unicode-id": (plan({"id": "größe"}), "tasks[größe].id", "pattern"),
    "emoji-id": (plan({"id": "🚀"}), "tasks[🚀].id", "pattern"),
    "path-trick": (plan({"id": "../../secrets"}), "tasks[../../secrets].id", "pattern"),
    "long-id": (plan({"id": "a" * 129}), ".id", "pattern"),
    "no-tasks": ({"plan": {"tasks": []}}, "plan.tasks", "at least 1"),
    "tasks-no-list": ({"plan": {"tasks": {"a": 1}}}, "plan.tasks", "tuple"),
    "task-no-object": (plan("a"), "tasks[0]", "dictionary"),
    "input-no-object": (plan({"id": "a", "input": [1]}), "tasks[a].input", "dictionary"),
    "large-input": (plan({"id": "a", "input": {"value": "x" * 1_000_000}}), "tasks[a].input", "at most 65,536"),
    "negative-retries": (plan({"id": "a", "retries": -1}), "tasks[a].retries", "greater than or equal to 0"),
    "text-retries": (plan({"id": "a", "retries": "many"}), "tasks[a].retries", "integer"),
    "endless-timeout": (plan({"id": "a", "timeout": 1e9}), "tasks[a].timeout", "840"),
    "bad-policy": (plan(A, on_failure="explode"), "on_failure", "'fail', 'skip', 'compensate' or 'replan'"),
    "bad-priority": (plan(A, priority="urgent"), "priority", "'high'"),
    "unknown-field": (plan(A, colour="red"), "colour", "not permitted"),
    "plan-and-playbook": (plan(A, playbook="data-report"), "request", "give one of plan"),
    "neither": ({"name": "nothing"}, "request", "plan"),
    "unknown-playbook": ({"playbook": "data-reprot"}, "playbook", "did you mean data-report"),
    "playbook-path": ({"playbook": "../data-report"}, "playbook", "pattern"),
    "playbook-parameter": ({"playbook": "stdlib-report", "parameters": {"nope": 1}}, "parameters.nope", "no such parameter"),
    "when-no-reference": (plan({"id": "a", "when": {"x": 1}}), "tasks[a].when", "reference"),
    "string-dependency": (plan(A, {"id": "b", "depends_on": "a"}), "tasks[b].depends_on", "list of task ids"),
    "list-body": ([1, 2], "request", "object"),
}
RAW = {
    "no-json": "{",
    "no-body": "",
    "nan": '{"plan": {"tasks": [{"id": "a", "capability": "flow.noop", "input": {"value": NaN}}]}}',
    "deep": '{"plan": ' + "[" * 5000 + "]" * 5000 + "}",
}


@pytest.mark.parametrize("name", BAD)
def test_it_is_refused_with_field_and_reason(name: str, cloud: LocalCloud) -> None:
    """422 with the field and what is wrong or allowed."""
    body, field, words = BAD[name]

    answer = httpx.post(f"{cloud.api_url}/goals", json=body, headers={"Authorization": f"Bearer {cloud.api_key}"}, timeout=30)

    assert answer.status_code == 422, answer.text
    problems = answer.json()["problems"]
    assert any(field in one["field"] and words in one["message"] for one in problems), json.dumps(problems)[:600]


@pytest.mark.parametrize("name", RAW)
def test_what_is_hardly_json_is_refused_too(name: str, cloud: LocalCloud) -> None:
    """A clear 422, never a 500."""
    headers = {"Authorization": f"Bearer {cloud.api_key}", "content-type": "application/json"}

    answer = httpx.post(f"{cloud.api_url}/goals", content=RAW[name], headers=headers, timeout=30)

    assert answer.status_code == 422, answer.text
    assert answer.json()["problems"]


def test_nothing_of_it_is_stored(cloud: LocalCloud, aws: Aws) -> None:
    """A refused submission leaves the work table as it was."""
    table, dynamodb = cloud.outputs["WorkTable"], aws("dynamodb")
    headers = {"Authorization": f"Bearer {cloud.api_key}"}
    before = dynamodb.scan(TableName=table, Select="COUNT")["Count"]

    for body, _, _ in BAD.values():
        httpx.post(f"{cloud.api_url}/goals", json=body, headers=headers, timeout=30)

    assert dynamodb.scan(TableName=table, Select="COUNT")["Count"] == before
