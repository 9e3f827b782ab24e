"""The templates of a one-pool fleet, word for word: a change in the infrastructure shows in its diff."""

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from cdk.catalog import read_fleet
from tests.infra.projects import FLEET, write_project
from tests.infra.templates import Templates, synthesize_project

SNAPSHOTS = Path(__file__).parent / "snapshots"
STACKS = ("data", "messaging", "agents", "api", "history", "observability")


@pytest.mark.parametrize("stack", STACKS)
def test_the_template_is_as_recorded(tiny: Templates, stack: str) -> None:
    """Assets are masked, so that only what is declared counts. `UPDATE_SNAPSHOTS=1 pytest tests/infra` records anew."""
    text = masked(tiny.bodies[f"tiny-{stack}"])
    file = SNAPSHOTS / f"{stack}.json"
    if os.environ.get("UPDATE_SNAPSHOTS"):
        file.write_text(text, encoding="utf-8")

    assert text == file.read_text(encoding="utf-8"), "if the change is meant, record it: UPDATE_SNAPSHOTS=1 pytest tests/infra"


def test_a_pool_of_one_is_held_by_its_function(tiny: Templates) -> None:
    """A trigger accepts no concurrency below two; a reserved concurrency does."""
    (pool,) = [function for function in tiny.of_type("AWS::Lambda::Function") if "POOL" in variables(function.properties)]

    assert pool.properties["ReservedConcurrentExecutions"] == 1
    for mapping in tiny.of_type("AWS::Lambda::EventSourceMapping"):
        if "StartingPosition" not in mapping.properties:  # streams have no such limit
            assert mapping.properties["ScalingConfig"]["MaximumConcurrency"] >= 2


def test_each_shard_has_queues_and_a_function_of_its_own(tmp_path: Path) -> None:
    """Execution environments are a function's: only so does a key's work stay with those that know it."""
    root = tmp_path / "project"
    root.mkdir()
    made = synthesize_project(read_fleet(write_project(root, FLEET + "shards = 2\n")), tmp_path / "out")

    pools = {
        variables(function.properties)["POOL"]: function.properties["FunctionName"]
        for function in made.of_type("AWS::Lambda::Function")
        if "POOL" in variables(function.properties)
    }
    queues = {queue.properties["QueueName"] for queue in made.of_type("AWS::SQS::Queue")}
    assert pools == {"echo": "tiny-echo", "echo-s2": "tiny-echo-s2"}
    assert {f"tiny-{pool}-{kind}" for pool in pools for kind in ("high", "normal", "low", "dead")} <= queues


def variables(function: dict[str, Any]) -> dict[str, Any]:
    """Environment variables of a function's properties."""
    found: dict[str, Any] = function["Environment"]["Variables"]
    return found


def masked(template: dict[str, Any]) -> str:
    """Sorted, indented JSON without what differs from one build to the next."""
    text = json.dumps(template, indent=1, sort_keys=True) + "\n"
    return re.sub(r"\b[0-9a-f]{64}\b", "<asset>", text)
