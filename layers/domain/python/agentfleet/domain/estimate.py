"""What a plan will take before it runs: seconds along its longest way, dollars of the platform and of models.

Seconds are means of what was measured where something was, else the declared timeouts: then they are the most that one attempt
may take. A task that may take turns (`max_turns`) calls a model once in each. Retries, and tasks that tasks make (`flow.map`),
are not in it.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any, Final, Protocol

from msgspec import Struct

from agentfleet.domain import references
from agentfleet.domain.catalog import CapabilitySpec, Catalog
from agentfleet.domain.model_choice import ModelChoice
from agentfleet.domain.model_prices import TOOL_PROMPT
from agentfleet.domain.plan_policy import DELEGATES
from agentfleet.domain.prices import PRICES, PriceTable
from agentfleet.domain.task import PlanSpec, TaskSpec

TURNS: Final = "max_turns"
"""The field of an input that says how many turns a model may take."""
CALL_TOKENS: Final = 8_000
"""Tokens that a call of a model is taken to read at most: what `think.answer` shows a model, and a long question."""
WRITES: Final = 2.0
READS: Final = 3.0
QUEUE_REQUESTS: Final = 3.0
"""Of a task that is alone in its invocation; those that share one cost less (docs/benchmarks.md)."""
_MILLION: Final = 1e6


class Measured(Protocol):
    """What tasks of a capability took so far, on average."""

    @property
    def count(self) -> int: ...
    @property
    def seconds(self) -> float: ...
    @property
    def dollars(self) -> float: ...


class Asks(Struct, frozen=True):
    """What calls of models may take."""

    calls: int = 0
    dollars: float = 0.0
    tokens: int = 0
    seconds: float = 0.0

    def __add__(self, other: "Asks") -> "Asks":
        return Asks(
            self.calls + other.calls,
            self.dollars + other.dollars,
            self.tokens + other.tokens,
            self.seconds + other.seconds,
        )


class TaskEstimate(Struct, frozen=True):
    """One task."""

    id: str
    capability: str
    after: tuple[str, ...]
    """Ids that it waits for, in order of the plan."""
    seconds: float
    measured: bool
    """Are seconds and dollars means of what was measured? Otherwise the most that one attempt may take."""
    platform_dollars: float
    asks: Asks = Asks()
    most: Asks = Asks()
    """Of one attempt, whatever was measured."""

    @property
    def model_dollars(self) -> float:
        """What its calls of models cost."""
        return self.asks.dollars


class Estimate(Struct, frozen=True):
    """A whole plan."""

    tasks: tuple[TaskEstimate, ...]
    seconds: float
    """Along the longest way, as if every task started at once when it could."""
    path: tuple[str, ...]
    """The tasks of that way."""
    platform_dollars: float
    depth: int = 1
    """How many levels of sub-plans it makes, itself included."""

    @property
    def asks(self) -> Asks:
        """All of its tasks'."""
        return sum((task.asks for task in self.tasks), Asks())

    @property
    def most(self) -> Asks:
        """All of its tasks'."""
        return sum((task.most for task in self.tasks), Asks())

    @property
    def model_dollars(self) -> float:
        """What all calls of models cost."""
        return self.asks.dollars

    @property
    def dollars(self) -> float:
        """All of it."""
        return self.platform_dollars + self.model_dollars


def call_dollars(choice: ModelChoice) -> float:
    """The most that one call costs with any model of the chain, at `CALL_TOKENS` in and all that an answer may have out."""
    found = []
    for model in choice.chain:
        price = choice.price_of(model)
        if price is not None:
            dearest = max(price.input, price.cache_write or 0.0)
            found.append(((CALL_TOKENS + TOOL_PROMPT) * dearest + choice.max_tokens * price.output) / _MILLION)
    return max(found, default=0.0)


def call_tokens(choice: ModelChoice) -> int:
    """The tokens of such a call."""
    return CALL_TOKENS + TOOL_PROMPT + choice.max_tokens


def estimate_plan(
    plan: PlanSpec, catalog: Catalog, figures: Mapping[str, Measured] | None = None, prices: PriceTable = PRICES
) -> Estimate:
    """The estimate of a plan that compiles."""
    before = waits_for(plan)
    tasks = tuple(
        _estimate(task, before[task.id], catalog, (figures or {}).get(task.capability), prices) for task in plan.tasks
    )
    by_id = {task.id: task for task in tasks}
    ends: dict[str, float] = {}
    previous: dict[str, str | None] = {}
    for name in _in_order(before):
        last = max(before[name], key=lambda one: ends[one], default=None)
        ends[name] = by_id[name].seconds + (ends[last] if last else 0.0)
        previous[name] = last
    here: str | None = max(ends, key=lambda one: ends[one])
    seconds, path = ends[here or ""], []
    while here:
        path.append(here)
        here = previous[here]
    return Estimate(
        tasks,
        seconds,
        tuple(reversed(path)),
        sum(task.platform_dollars for task in tasks),
        2 if any(DELEGATES in task.input for task in plan.tasks) else 1,
    )


def _estimate(
    task: TaskSpec, after: tuple[str, ...], catalog: Catalog, figure: Measured | None, prices: PriceTable
) -> TaskEstimate:
    spec = catalog.capabilities[task.capability][0]
    known = figure if figure and figure.count else None
    timeout = task.timeout or spec.timeout
    seconds = known.seconds if known else timeout
    pool = catalog.pools[spec.pool]
    calls = _turns(task.input, spec) if pool.call_dollars or pool.call_tokens else 0
    most = Asks(calls, calls * pool.call_dollars, calls * pool.call_tokens, timeout if calls else 0.0)
    asks = most
    if known:
        share = known.dollars / most.dollars if most.dollars else 1.0
        asks = Asks(calls, known.dollars, math.ceil(share * most.tokens), seconds if calls else 0.0)
    return TaskEstimate(
        task.id, task.capability, after, seconds, known is not None, _platform(spec, seconds, catalog, prices), asks, most
    )


def _turns(given: Mapping[str, Any], spec: CapabilitySpec) -> int:
    """How often a task may call a model: as many turns as its input allows it, else as its capability does; mostly one."""
    field = spec.input.get("properties", {}).get(TURNS, {})
    turns = given.get(TURNS, field.get("default", 1))
    if not isinstance(turns, int):
        turns = field.get("maximum", 1)  # it follows from another task's output
    return max(1, int(turns))


def _platform(spec: CapabilitySpec, seconds: float, catalog: Catalog, prices: PriceTable) -> float:
    claim = 0.0 if spec.idempotent else 1.0
    requests = (
        (WRITES + claim) * prices.write_units
        + READS * prices.read_units
        + QUEUE_REQUESTS * prices.requests_sqs
        + prices.requests_lambda
    )
    return requests / _MILLION + seconds * catalog.pools[spec.pool].memory / 1024 * prices.gb_second_arm


def waits_for(plan: PlanSpec) -> dict[str, tuple[str, ...]]:
    """Task id → the ids that it waits for, in order of the plan."""
    ids = [task.id for task in plan.tasks]
    found: dict[str, tuple[str, ...]] = {}
    for task in plan.tasks:
        names = [*task.depends_on]
        for value in (task.input, task.when):
            names += [reference.source for reference in references.find(value)] if value else []
        wanted = {one for name in names for one in _members(name, ids) if one != task.id}
        found[task.id] = tuple(one for one in ids if one in wanted)
    return found


def _members(name: str, ids: list[str]) -> Iterator[str]:
    if not name.endswith("*"):
        yield name
        return
    yield from (one for one in ids if one.startswith(name[:-1]))


def _in_order(before: Mapping[str, tuple[str, ...]]) -> Iterator[str]:
    """Ids so that each comes after what it waits for."""
    waits = {name: len(needed) for name, needed in before.items()}
    after: dict[str, list[str]] = {name: [] for name in before}
    for name, needed in before.items():
        for other in needed:
            after[other].append(name)
    ready = [name for name, count in waits.items() if count == 0]
    while ready:
        name = ready.pop()
        yield name
        for other in after[name]:
            waits[other] -= 1
            if waits[other] == 0:
                ready.append(other)
