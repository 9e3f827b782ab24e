"""Steps that shape a goal and do no work of their own: wait, map, choose, collect, and a few for testing a fleet."""

from agentfleet.agent import Agent, PermanentError, RetryableError, SubPlan, TaskContext

import asyncio
import json
import re
from collections.abc import Iterator
from typing import Any, Final

import jmespath
from jmespath.exceptions import JMESPathError
from pydantic import BaseModel, ConfigDict, Field

agent = Agent("flow")

MAP_WIDTH: Final = 1_000
"""How many tasks one level of `flow.map` makes."""
MAP_PARTS: Final = 1_000
"""How many parts a wide map may have: no more outputs can be named by one `$from`."""
MAP_LIMIT: Final = 100_000
"""How many items one `flow.map` may spread over."""
PART_BYTES: Final = 48_000
"""JSON of the items that a part of a wide map carries; a task's input may have 65,536 bytes."""

_HOLE = re.compile(r"\{\{\s*(item|index)\s*\}\}")


class Strict(BaseModel):
    """An input: a field that it does not know is a mistake, said at once."""

    model_config = ConfigDict(extra="forbid", defer_build=True)  # built when first used: few tasks use all of them


class NoopInput(Strict):
    """What to hand back."""

    value: Any = None


class WaitInput(Strict):
    """How long to wait."""

    seconds: float = Field(ge=0, le=50)
    value: Any = None


class ApproveInput(Strict):
    """What somebody is to look at before the goal goes on."""

    question: str = Field(min_length=1, max_length=2000)
    value: Any = None


class MapInput(Strict):
    """One task of `capability` per item.

    In `input`, `{"$item": "<JMESPath>"}` stands for a part of the item (`""` or `"@"`: all of it), `{"$index": true}` for
    its number, and the strings `{{ item }}` and `{{ index }}` for either within a text. `items` of the wrong kind, more
    than 100,000 of them, or a path that is not JMESPath fail for good.
    """

    items: list[Any] = Field(max_length=MAP_LIMIT)
    capability: str = Field(min_length=1)
    input: dict[str, Any] = Field(default_factory=lambda: {"value": {"$item": ""}})
    collect: bool = True
    """Return the list of outputs, in the order of the items; otherwise only `{"count": n}`."""
    on_failure: str | None = Field(default=None, pattern="^(fail|skip|compensate|replan)$")
    retries: int | None = Field(default=None, ge=0)
    timeout: float | None = Field(default=None, gt=0)
    priority: str | None = Field(default=None, pattern="^(high|normal|low)$")
    start: int = Field(default=0, ge=0)
    """The number of the first item; a wide map gives it to its parts, so that `$index` counts through."""


class ChooseInput(Strict):
    """A value and what each of its possible texts leads to."""

    value: Any
    cases: dict[str, Any]
    default: Any = None


class Choice(BaseModel):
    """What the value led to; later tasks test it in their `when`."""

    branch: Any
    matched: bool


class FailInput(Strict):
    """How to fail, and for how long."""

    message: str = "failed as asked"
    permanent: bool = False
    until_attempt: int | None = Field(default=None, ge=1)
    """Succeed from this attempt on; without it, never."""
    delay: float | None = Field(default=None, ge=0, le=900)
    """Seconds before the next attempt; without it, the platform's retry policy decides."""


class CollectInput(Strict):
    """Outputs to bring together."""

    items: list[Any]
    flatten: bool = False
    """Lists among the items give their elements; one level, nulls kept."""


class Collection(BaseModel):
    """What was brought together."""

    items: list[Any]
    count: int


class ZipInput(Strict):
    """Lists that go side by side, by the name of what they hold."""

    lists: dict[str, list[Any]] = Field(min_length=1, max_length=20)


class RecordInput(Strict):
    """What to write down."""

    value: Any = None


class Record(BaseModel):
    """Where the value was written, and under which key and fencing token."""

    key: str
    fence: int | None
    attempt: int
    uri: str


@agent.capability("flow.noop", idempotent=True, chunk=10)
async def noop(input: NoopInput) -> Any:
    """Return `value` unchanged."""
    return input.value


@agent.capability("flow.step", idempotent=True)
async def step(input: NoopInput) -> Any:
    """Return `value` unchanged, in a message of its own: what one whole task costs."""
    return input.value


@agent.capability("flow.wait", idempotent=True, timeout=55)
async def wait(input: WaitInput) -> Any:
    """Wait for some seconds (at most 50), then return `value`; other tasks of the same batch go on meanwhile."""
    await asyncio.sleep(input.seconds)
    return input.value


@agent.capability("flow.map", idempotent=True)
async def map_items(input: MapInput) -> SubPlan | list[Any] | dict[str, Any]:
    """Run one task of a capability per item, in parallel, and return their outputs in order."""
    if not input.items:
        return [] if input.collect else {"count": 0}
    if len(input.items) > MAP_WIDTH:
        return _nested(input)
    paths = _paths(input.input)
    options = input.model_dump(include={"on_failure", "retries", "timeout", "priority"}, exclude_none=True)
    tasks = [
        {"id": f"item.{place}", "capability": input.capability, "input": _fill(input.input, item, input.start + place, paths)}
        | options
        for place, item in enumerate(input.items)
    ]
    return SubPlan(tasks=tasks, output={"$from": "item.*"} if input.collect else {"count": len(tasks)})


@agent.capability("flow.approve", idempotent=True, approval="required")
async def approve(input: ApproveInput) -> Any:
    """Wait at no cost until a person has approved it; gives back its value."""
    return input.value


@agent.capability("flow.choose", idempotent=True, chunk=10)
async def choose(input: ChooseInput) -> Choice:
    """Pick the case that a value's text names, else the default."""
    key = input.value if isinstance(input.value, str) else json.dumps(input.value)
    matched = key in input.cases
    return Choice(branch=input.cases[key] if matched else input.default, matched=matched)


@agent.capability("flow.fail", idempotent=True)
async def fail(input: FailInput, context: TaskContext) -> dict[str, int]:
    """Fail, for good or until a given attempt, to try out retries and failure policies."""
    if input.until_attempt is not None and context.attempt >= input.until_attempt:
        return {"attempt": context.attempt}
    if input.permanent:
        raise PermanentError(input.message)
    raise RetryableError(input.message, input.delay)


@agent.capability("flow.collect", idempotent=True, chunk=10)
async def collect(input: CollectInput) -> Collection:
    """Bring the outputs of several tasks together as one list with its length."""
    items = input.items
    if input.flatten:
        items = [inner for item in items for inner in (item if isinstance(item, list) else [item])]
    return Collection(items=items, count=len(items))


@agent.capability("flow.zip", idempotent=True, chunk=10)
async def zip_lists(input: ZipInput) -> Collection:
    """Put lists side by side: one object per place, with what each list has there; null where one is shorter."""
    longest = max(map(len, input.lists.values()))
    items = [
        {name: values[place] if place < len(values) else None for name, values in input.lists.items()}
        for place in range(longest)
    ]
    return Collection(items=items, count=longest)


@agent.capability("flow.record")
def record(input: RecordInput, context: TaskContext) -> Record:
    """Write one value under the task's idempotency key: a side effect that must happen once."""
    name = f"record-{re.sub(r'[^A-Za-z0-9._-]', '-', context.idempotency_key)}.json"
    body = {"value": input.value, "key": context.idempotency_key, "fence": context.fence, "attempt": context.attempt}
    uri = context.blobs.put(name, json.dumps(body).encode(), "application/json")
    return Record(key=context.idempotency_key, fence=context.fence, attempt=context.attempt, uri=uri)


def _nested(input: MapInput) -> SubPlan:
    """A map of maps: the items in parts, their lists of outputs joined in order."""
    shared = input.model_dump(exclude_none=True, exclude={"items", "start"})
    tasks: list[dict[str, Any]] = []
    begin = input.start
    for part in _parts(input.items):
        tasks.append({"id": f"part.{len(tasks)}", "capability": "flow.map", "input": {**shared, "items": part, "start": begin}})
        begin += len(part)
    if len(tasks) > MAP_PARTS:
        raise PermanentError(f"items: too large, {len(tasks)} parts of {PART_BYTES} bytes; at most {MAP_PARTS} are allowed")
    if not input.collect:
        return SubPlan(tasks=tasks, output={"count": len(input.items)})
    # Joined by a task and not by the JMESPath `[]`, which would drop the null outputs of skipped tasks.
    joined = {"id": "joined", "capability": "flow.collect", "input": {"items": {"$from": "part.*"}, "flatten": True}}
    return SubPlan(tasks=[*tasks, joined], output={"$from": "joined", "path": "items"})


def _parts(items: list[Any]) -> Iterator[list[Any]]:
    """The items in runs of at most `MAP_WIDTH` and `PART_BYTES`."""
    part: list[Any] = []
    room = PART_BYTES
    for item in items:
        size = len(json.dumps(item, ensure_ascii=False).encode()) + 2
        if part and (len(part) == MAP_WIDTH or size > room):
            yield part
            part, room = [], PART_BYTES
        part.append(item)
        room -= size
    yield part


def _paths(template: Any) -> dict[str, Any]:
    """Every `$item` path of a template, compiled once for all items. Raises PermanentError on one that is not JMESPath."""
    found: dict[str, Any] = {}
    if isinstance(template, list):
        for inner in template:
            found |= _paths(inner)
    elif isinstance(template, dict):
        if "$item" in template:
            path = template["$item"]
            if not isinstance(path, str) or set(template) - {"$item", "default"}:
                raise PermanentError(
                    f'input: {{"$item": path, "default"?: value}} with a text as path is allowed, not {template}'
                )
            try:
                found[path] = jmespath.compile(path or "@")
            except JMESPathError as error:
                raise PermanentError(f"input: $item {path!r} is not JMESPath: {str(error).splitlines()[0]}") from error
        for inner in template.values():
            found |= _paths(inner)
    return found


def _fill(template: Any, item: Any, index: int, paths: dict[str, Any]) -> Any:
    """The template with the item in its holes."""
    if isinstance(template, list):
        return [_fill(inner, item, index, paths) for inner in template]
    if isinstance(template, str):
        return _HOLE.sub(lambda hole: _text(item) if hole[1] == "item" else str(index), template)
    if not isinstance(template, dict):
        return template
    if "$item" in template:
        value = paths[template["$item"]].search(item)
        return template.get("default") if value is None else value
    if set(template) == {"$index"}:
        return index
    return {key: _fill(inner, item, index, paths) for key, inner in template.items()}


def _text(item: Any) -> str:
    return item if isinstance(item, str) else json.dumps(item)
