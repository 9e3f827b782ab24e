"""What a plan calls for, worked out by a few lines that share nothing with the services."""

from collections import Counter
from collections.abc import Sequence, Set
from dataclasses import dataclass, field
from typing import Any

from tests.simulation.scenario import NOTHING, Plan


@dataclass(slots=True)
class Expected:
    """What must become of a goal and of every task that may run."""

    state: str = "SUCCEEDED"
    output: Any = None
    outcomes: dict[str, tuple[str, Any]] = field(default_factory=dict)
    """By task id: state and output. A task that isn't here may not run."""
    fatal: set[str] = field(default_factory=set)
    """The tasks whose failure ends the goal."""
    needs: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """By task id: the tasks that must have results before it starts."""
    policies: dict[str, str] = field(default_factory=dict)
    """By task id: what its failure means."""
    refundable: set[str] = field(default_factory=set)
    """The tasks that name what undoes them."""
    limit: int | None = None
    """The tokens that a sub-plan was given, of those of the goal above."""
    children: dict[str, "Expected"] = field(default_factory=dict)
    """By task id: the sub-plan it returns."""

    def comes_after(self, later: str, earlier: str) -> bool:
        """Does a task wait for another, directly or not?"""
        return any(one == earlier or self.comes_after(one, earlier) for one in self.needs[later])

    @property
    def counts(self) -> dict[str, int]:
        """Tasks by state."""
        return dict(Counter(state for state, _ in self.outcomes.values()))


def number_of(value: Any) -> int:
    """What an output adds to a sum."""
    if value is None:
        return NOTHING
    if isinstance(value, dict):
        return number_of(value["v"]) if "v" in value else sum(map(number_of, value.values()))
    if isinstance(value, list):
        return len(value) + sum(map(number_of, value))
    return int(value)


Path = tuple[str, ...]
"""A task by its id, after those of the tasks whose sub-plans it is in."""


def expect(
    plan: Plan, on_failure: str, subplans: Sequence[Plan], fallen: Set[Path] = frozenset(), above: Path = ()
) -> Expected:
    """Run a plan in the order it is written in (the planner never refers forward).

    `fallen` are tasks that circumstances no plan tells of have made fail; whether they may have is for others to judge.
    """
    expected = Expected()
    ids = [task["id"] for task in plan["tasks"]]
    dead: set[str] = set()
    for task in plan["tasks"]:
        needed = _needed(task, ids)
        expected.needs[task["id"]] = needed
        expected.policies[task["id"]] = task.get("on_failure") or on_failure
        if "compensation" in task:
            expected.refundable.add(task["id"])
        if any(other in dead for other in needed):
            dead.add(task["id"])
            continue
        policy = task.get("on_failure") or on_failure
        outcome = _perform(task, expected, on_failure, ids, subplans, fallen, above)
        if (*above, task["id"]) in fallen:
            outcome = ("FAILED", None)
        expected.outcomes[task["id"]] = outcome
        if outcome[0] == "FAILED" and policy != "skip":
            expected.fatal.add(task["id"])
            dead.add(task["id"])
    if expected.fatal:
        expected.state = "FAILED"
    else:
        expected.output = _goal_output(plan, expected, ids)
    return expected


def _references(value: Any) -> list[str]:
    if isinstance(value, dict):
        if "$from" in value:
            return [value["$from"]]
        return [name for inner in value.values() for name in _references(inner)]
    if isinstance(value, list):
        return [name for inner in value for name in _references(inner)]
    return []


def _needed(task: dict[str, Any], ids: Sequence[str]) -> tuple[str, ...]:
    names = [*task.get("depends_on", ()), *_references(task["input"]), *_references(task.get("when"))]
    if not any(name.endswith("*") for name in names):
        return tuple(set(names))
    return tuple(other for other in ids if any(_matches(name, other) for name in names) and other != task["id"])


def _matches(name: str, other: str) -> bool:
    return other.startswith(name[:-1]) if name.endswith("*") else other == name


def _perform(
    task: dict[str, Any],
    expected: Expected,
    on_failure: str,
    ids: Sequence[str],
    subplans: Sequence[Plan],
    fallen: Set[Path],
    above: Path,
) -> tuple[str, Any]:
    if "when" in task and not _resolve(task["when"], expected, ids):
        return "SKIPPED", None
    value = task["input"]
    if value.get("ask") == "no":
        return "FAILED", None
    if value.get("permanent") or value.get("fails", 0) > task["retries"]:
        return "FAILED", None
    if "sub" in value:
        sub = subplans[value["sub"]]
        if not sub["tasks"]:
            return "FAILED", None
        child = expect(sub, on_failure, subplans, fallen, (*above, task["id"]))
        child.limit = sub.get("tokens")
        expected.children[task["id"]] = child
        return ("SUCCEEDED", child.output) if child.state == "SUCCEEDED" else ("FAILED", None)
    total = (value["c"] + sum(number_of(_resolve(one, expected, ids)) for one in value.get("xs", ()))) % 1009
    return "SUCCEEDED", {"v": total, "odd": total % 2 == 1}


def _resolve(value: Any, expected: Expected, ids: Sequence[str]) -> Any:
    if isinstance(value, list):
        return [_resolve(one, expected, ids) for one in value]
    if not isinstance(value, dict):
        return value
    if "$from" not in value:
        return {name: _resolve(one, expected, ids) for name, one in value.items()}
    outputs = [expected.outcomes[one][1] for one in ids if _matches(value["$from"], one)]
    path = value.get("path")
    found: Any = outputs if value["$from"].endswith("*") else outputs[0]
    if path == "[].v":
        found = [one["v"] for one in found if isinstance(one, dict) and one.get("v") is not None]
    elif path:
        found = found.get(path) if isinstance(found, dict) else None
    return value.get("default") if found is None else found


def _goal_output(plan: Plan, expected: Expected, ids: Sequence[str]) -> Any:
    if plan["output"] is not None:
        return _resolve(plan["output"], expected, ids)
    needed = {other for names in expected.needs.values() for other in names}
    last = [one for one in ids if one not in needed]
    if len(last) == 1:
        return expected.outcomes[last[0]][1]
    return {one: expected.outcomes[one][1] for one in last}
