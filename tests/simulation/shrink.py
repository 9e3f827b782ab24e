"""Make a failing scenario small: fewer goals, tasks, faults and switches, as long as something is still violated."""

import copy
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

from tests.simulation.scenario import Plan, Scenario, with_weather
from tests.simulation.simulate import Report, run

ATTEMPTS: Final = 6
"""Schedules that a smaller scenario is tried under: leaving something out shifts all that follows."""
ROUNDS: Final = 400
"""Candidates tried at most."""


def shrink(report: Report) -> Report:
    """The smallest failing scenario found. Starts from what happened, so that faults can be left out one by one."""
    best = _still_fails(with_weather(report.scenario, faults=report.faults)) or report
    tried = 0
    improved = True
    while improved and tried < ROUNDS:
        improved = False
        for candidate in _smaller(best.scenario):
            tried += 1
            if found := _still_fails(candidate):
                best, improved = found, True
                break
            if tried >= ROUNDS:
                break
    return best


def _still_fails(scenario: Scenario) -> Report | None:
    for attempt in range(ATTEMPTS):
        report = run(replace(scenario, seed=scenario.seed + attempt * 1_000_003))
        if report.violations:
            return report
    return None


def _smaller(scenario: Scenario) -> Iterator[Scenario]:
    for index in range(len(scenario.goals)):
        if len(scenario.goals) > 1:
            yield replace(scenario, goals=scenario.goals[:index] + scenario.goals[index + 1 :])
    faults = scenario.weather.faults or ()
    for index in range(len(faults)):
        yield with_weather(scenario, faults=faults[:index] + faults[index + 1 :])
    for index in range(len(scenario.stops)):
        yield replace(scenario, stops=scenario.stops[:index] + scenario.stops[index + 1 :])
    weather = scenario.weather
    for change in (
        {"switch": 0.0},
        {"environments": 1},
        {"batch": 1},
        {"skew": 0.0},
        {"twins": 0.0},
        {"fan_out": 500},
        {"arity": 256},
        {"lost_sends": False},
        {"tokens_a_day": None},
    ):
        name, value = next(iter(change.items()))
        if getattr(weather, name) != value:
            yield with_weather(scenario, **change)
    for number, goal in enumerate(scenario.goals):
        goals = list(scenario.goals)
        if len(goal.submissions) > 1:
            goals[number] = replace(goal, submissions=goal.submissions[:1])
            yield replace(scenario, goals=tuple(goals))
        for name, plain in (("cancel_at", None), ("pauses", ()), ("deadline", None), ("tokens", None), ("fork", None)):
            if getattr(goal, name) != plain:
                changed: dict[str, Any] = {name: plain}
                goals[number] = replace(goal, **changed)
                yield replace(scenario, goals=tuple(goals))
        for plan in _smaller_plans(goal.plan):
            goals[number] = replace(goal, plan=plan)
            yield replace(scenario, goals=tuple(goals))
    for number, sub in enumerate(scenario.subplans):
        for plan in _smaller_plans(sub):
            yield replace(scenario, subplans=(*scenario.subplans[:number], plan, *scenario.subplans[number + 1 :]))


def _smaller_plans(plan: Plan) -> Iterator[Plan]:
    """The plan without one of its tasks; who referred to it does without."""
    for index in range(len(plan["tasks"]) - 1, -1, -1):
        if len(plan["tasks"]) > 1:
            gone = plan["tasks"][index]["id"]
            left = [one["id"] for one in plan["tasks"] if one["id"] != gone]
            tasks = [_without(task, left) for task in plan["tasks"] if task["id"] != gone]
            yield {"tasks": tasks, "output": None}
    for index, task in enumerate(plan["tasks"]):
        for name in ("fails", "permanent", "xs", "kills", "tokens"):
            if name in task["input"]:
                smaller = copy.deepcopy(plan)
                del smaller["tasks"][index]["input"][name]
                yield smaller


def _without(task: dict[str, Any], left: list[str]) -> dict[str, Any]:
    def is_there(name: str) -> bool:
        return any(one.startswith(name[:-1]) if name.endswith("*") else one == name for one in left if one != task["id"])

    smaller = {**task, "input": dict(task["input"])}
    if "depends_on" in task:
        smaller["depends_on"] = [name for name in task["depends_on"] if is_there(name)]
    if "xs" in task["input"]:
        smaller["input"]["xs"] = [one for one in task["input"]["xs"] if is_there(one["$from"])]
    if "when" in task and not is_there(task["when"]["$from"]):
        del smaller["when"]
    return smaller
