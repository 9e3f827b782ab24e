"""The work table: which items there are, their keys, and what a result looks like inside one.

Key rules (pk, sk):

    GOAL    goal                     GOAL       GSI `goals`: tenant, listed (goals that no task made)
                                                GSI `living`: living, living_order (goals that have not ended), keys only
    PLAN    goal                     PLAN
    RESULT  goal#(unit mod shards)   R000042    short names: it is by far the most frequent item
    CLAIM   goal#(unit mod shards)   C000042
    JOIN    goal#(join mod shards)   J000007
    JOURNAL goal#journal#task        0003.01    what a task wrote down of what it has done so far
"""

import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final
from zlib import crc32

from pynamodb.attributes import NumberAttribute, TTLAttribute, UnicodeAttribute
from pynamodb.indexes import AllProjection, GlobalSecondaryIndex
from pynamodb.models import Model

from agentfleet.adapters.dynamo import Item, JsonAttribute, MomentAttribute, PartsAttribute, from_micros, to_micros, to_seconds
from agentfleet.domain.codec import dumps
from agentfleet.domain.goal import LONGEST_LIFE, Failure, Goal
from agentfleet.domain.result import Result, TaskOutcome, TaskState

KEPT: Final = timedelta(days=30)
"""How long a goal is kept after its end."""
LIFETIME: Final = LONGEST_LIFE + KEPT
"""How long everything else of a goal is kept after it was written: what a goal did first is there as long as the goal is."""
GOAL: Final = "GOAL"
PLAN: Final = "PLAN"
GOALS_INDEX: Final = "goals"
LIVING_INDEX: Final = "living"
LIVING_PARTS: Final = 4
"""Over how many partition keys the living goals are spread."""
RESULT_PREFIX: Final = "R"

_LETTERS: Final = {TaskState.SUCCEEDED: "S", TaskState.FAILED: "F", TaskState.SKIPPED: "K"}
_STATES: Final = {letter: state for state, letter in _LETTERS.items()}


def shard_key(goal_id: str, number: int, shards: int) -> str:
    """Partition key of what belongs to a unit or a join."""
    return f"{goal_id}#{number % shards}"


def result_key(number: int) -> str:
    """Sort key of a unit's result."""
    return f"R{number:06d}"


def claim_key(number: int) -> str:
    """Sort key of a unit's claim."""
    return f"C{number:06d}"


def join_key(number: int) -> str:
    """Sort key of a join."""
    return f"J{number:06d}"


def journal_partition(goal_id: str, task_id: str) -> str:
    """Partition key of what a task has written down."""
    return f"{goal_id}#journal#{task_id}"


def listed_key(goal: Goal) -> str:
    """Sort key of a goal in the index `goals`: by its creation."""
    return f"{goal.created.isoformat(timespec='microseconds')}#{goal.id}"


def living_keys(goal: Goal) -> tuple[str | None, str | None]:
    """Partition and sort key of a goal in the index `living`; none of one that has ended.

    Goals that a tenant's window counts lie together in the order of their creation, and their keys say how wide they are:
    `acme#2026-01-02T03:04:05.678000+00:00#g1#500`. So one query of keys finds them, and starting one changes nothing. All
    others, such as sub-plans, lie anywhere.
    """
    if goal.state.is_final:
        return None, None
    if goal.parent or not goal.state.is_alive:
        return _living_part(goal.id), f"#{goal.id}"
    part, prefix = living_place(goal.tenant)
    return part, f"{prefix}{listed_key(goal)}#{goal.tasks}"


def living_place(tenant: str) -> tuple[str, str]:
    """Partition key of what a tenant's window counts in the index `living`, and how its sort keys begin."""
    return _living_part(tenant), f"{tenant}#"


def _living_part(name: str) -> str:
    return str(crc32(name.encode()) % LIVING_PARTS)


class GoalsIndex(GlobalSecondaryIndex["GoalItem"]):  # type: ignore[no-untyped-call]
    """A tenant's goals in order of creation."""

    class Meta:
        index_name = GOALS_INDEX
        projection = AllProjection()

    tenant = UnicodeAttribute(hash_key=True)
    listed = UnicodeAttribute(range_key=True)


class GoalItem(Model):
    """A goal. `output` is JSON, or else `output_digest` says which file under outputs/ holds it."""

    pk = UnicodeAttribute(hash_key=True)
    sk = UnicodeAttribute(range_key=True, default=GOAL)
    goals = GoalsIndex()
    tenant = UnicodeAttribute()
    listed = UnicodeAttribute(null=True)
    living = UnicodeAttribute(null=True)
    living_order = UnicodeAttribute(null=True)
    """Both only of goals that have not ended: what isn't there is not in the index either."""
    name = UnicodeAttribute()
    state = UnicodeAttribute()
    created = MomentAttribute()
    tasks = NumberAttribute()
    shards = NumberAttribute()
    priority = UnicodeAttribute()
    on_failure = UnicodeAttribute()
    labels = JsonAttribute(null=True)
    parent = JsonAttribute(null=True)
    deadline = MomentAttribute(null=True)
    paused = MomentAttribute(null=True)
    resumed = MomentAttribute(null=True)
    origin = UnicodeAttribute(null=True)
    words = UnicodeAttribute(null=True)
    asked = UnicodeAttribute(null=True)
    budget = JsonAttribute(null=True)
    bounds = JsonAttribute(null=True)
    finished = MomentAttribute(null=True)
    output = JsonAttribute(null=True)
    output_digest = UnicodeAttribute(null=True)
    counts = JsonAttribute(null=True)
    failure = JsonAttribute(null=True)
    write = UnicodeAttribute(null=True)
    """Random, another for each write: by it a writer knows its own."""
    undoing = JsonAttribute(null=True)
    expires = TTLAttribute()


class PlanItem(Model):
    """A plan: its parts, or those that fit and the digest that the others are filed under in S3."""

    pk = UnicodeAttribute(hash_key=True)
    sk = UnicodeAttribute(range_key=True, default=PLAN)
    parts = PartsAttribute()
    digest = UnicodeAttribute(null=True)
    expires = TTLAttribute()


class ClaimItem(Model):
    """A lease on a unit."""

    pk = UnicodeAttribute(hash_key=True)
    sk = UnicodeAttribute(range_key=True)
    owner = UnicodeAttribute()
    until = MomentAttribute()
    fence = NumberAttribute()
    expires = TTLAttribute()


def to_result_item(result: Result, shards: int, outputs: str, digest: str | None, expires: datetime) -> Item:
    """A result as an item. `outputs` is the JSON list of its outputs, left out if it is filed in S3 under `digest`.

    s: a letter per task (absent: one, succeeded) · o: outputs (absent: all null) · p: digest · e: failures by slot ·
    a: agent · t: started, µs · d: duration, s · n: attempt (absent: 1) · f: the goal that did it (absent: its own).
    """
    outcomes = result.outcomes
    states = "".join(_LETTERS[outcome.state] for outcome in outcomes)
    failures = {
        slot: [outcome.failure.error, outcome.failure.message, outcome.failure.task]
        for slot, outcome in enumerate(outcomes)
        if outcome.failure
    }
    item: Item = {
        "pk": {"S": shard_key(result.goal_id, result.unit, shards)},
        "sk": {"S": result_key(result.unit)},
        "a": {"S": result.agent},
        "t": {"N": str(to_micros(result.started))},
        "d": {"N": repr(result.duration)},
        "expires": {"N": to_seconds(expires)},
    }
    if states != "S":
        item["s"] = {"S": states}
    if digest is not None:
        item["p"] = {"S": digest}
    elif any(outcome.output is not None for outcome in outcomes):
        item["o"] = {"S": outputs}
    if failures:
        item["e"] = {"S": dumps(failures)}
    if result.attempt != 1:
        item["n"] = {"N": str(result.attempt)}
    if result.origin:
        item["f"] = {"S": result.origin}
    return item


def to_outputs(result: Result) -> str:
    """The JSON list of a result's outputs, by slot."""
    return dumps([outcome.output for outcome in result.outcomes])


def from_result_item(item: Item, goal_id: str, outputs: Sequence[Any] | None = None) -> Result:
    """The result inside an item. `outputs` are those filed in S3, if they were read; else they are None."""
    states = states_of(item)
    if outputs is None:
        outputs = json.loads(item["o"]["S"]) if "o" in item else [None] * len(states)
    failures = json.loads(item["e"]["S"]) if "e" in item else {}
    return Result(
        goal_id=goal_id,
        unit=unit_of(item),
        outcomes=tuple(
            TaskOutcome(state, output, Failure(*failures[str(slot)]) if str(slot) in failures else None)
            for slot, (state, output) in enumerate(zip(states, outputs, strict=True))
        ),
        agent=item["a"]["S"],
        started=from_micros(item["t"]["N"]),
        duration=float(item["d"]["N"]),
        attempt=int(item["n"]["N"]) if "n" in item else 1,
        origin=item["f"]["S"] if "f" in item else None,
    )


def unit_of(item: Item) -> int:
    """Whose result an item is."""
    return int(item["sk"]["S"][1:])


def states_of(item: Item) -> list[TaskState]:
    """How the tasks of a result ended, by slot; needs the item's `s` only."""
    return [_STATES[letter] for letter in (item["s"]["S"] if "s" in item else "S")]
