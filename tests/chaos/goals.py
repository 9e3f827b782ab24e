"""The goals of a run, each with what must come of it: worked out here, without the fleet."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

from agentfleet.domain.task import MAX_RETRIES

Task = dict[str, Any]

RETRIES: Final = MAX_RETRIES
"""More than faults are likely to use up, so that what fails in the end was meant to."""


@dataclass(frozen=True, slots=True)
class Expected:
    """A goal request with the only right end of it."""

    key: str
    """The request's idempotency key."""
    shape: str
    request: dict[str, Any]
    state: str
    output: Any
    tasks: int
    """Without those of sub-plans."""
    counts: Mapping[str, int]
    charges: Mapping[str, int] = field(default_factory=dict)
    """Task id → amount of what must be charged once."""
    is_undone: bool = False
    """Must all of it be taken back?"""


def _add(name: str, base: Any, add: int = 0, seconds: float = 0.0, **rest: Any) -> Task:
    return _task(name, "sums.add", {"base": base, "add": add, "seconds": seconds}, **rest)


def _task(name: str, capability: str, value: dict[str, Any], **rest: Any) -> Task:
    return {"id": name, "capability": capability, "input": value, "retries": RETRIES, **rest}


def _total(name: str, family: str) -> Task:
    return _task(name, "sums.total", {"numbers": {"$from": family}})


def _succeeds(key: str, shape: str, tasks: list[Task], output: Any, charges: Mapping[str, int] | None = None) -> Expected:
    request = {"name": shape, "plan": {"tasks": tasks}}
    return Expected(key, shape, request, "SUCCEEDED", output, len(tasks), {"SUCCEEDED": len(tasks)}, charges or {})


def chain(random: Random, key: str) -> Expected:
    """Each task adds to the one before it."""
    adds = [random.randint(0, 99) for _ in range(random.randint(3, 8))]
    tasks = [_add("s0", adds[0], seconds=0.1)]
    tasks += [_add(f"s{n}", {"$from": f"s{n - 1}"}, add, 0.1) for n, add in enumerate(adds[1:], 1)]
    return _succeeds(key, "chain", tasks, sum(adds))


def fan(random: Random, key: str) -> Expected:
    """One task opens many, and one waits for them all."""
    width, base = random.randint(8, 30), random.randint(0, 99)
    parts = [_add(f"part.{n}", {"$from": "root"}, n, 0.1) for n in range(width)]
    tasks = [_add("root", base), *parts, _total("end", "part.*")]
    return _succeeds(key, "fan", tasks, sum(base + n for n in range(width)))


def chunks(random: Random, key: str) -> Expected:
    """Ten tasks share a message."""
    width = random.randint(15, 60)
    parts = [_task(f"part.{n}", "sums.square", {"base": n, "seconds": 0.02}) for n in range(width)]
    return _succeeds(key, "chunks", [*parts, _total("end", "part.*")], sum(n * n for n in range(width)))


def delegated(random: Random, key: str) -> Expected:
    """Two tasks return sub-plans."""
    widths = [random.randint(3, 9) for _ in range(2)]
    subs = [_task(f"sub.{n}", "sums.spread", {"width": width}) for n, width in enumerate(widths)]
    return _succeeds(key, "delegated", [*subs, _total("end", "sub.*")], sum(sum(range(width)) for width in widths))


def charged(random: Random, key: str) -> Expected:
    """Charges that must happen once each, then their sum."""
    charges = {f"charge.{n}": random.randint(1, 99) for n in range(random.randint(3, 10))}
    tasks = [_task(name, "ledger.charge", {"amount": amount, "seconds": 0.2}) for name, amount in charges.items()]
    return _succeeds(key, "charged", [*tasks, _total("end", "charge.*")], sum(charges.values()), charges)


def remembered(random: Random, key: str) -> Expected:
    """Results that the cache may give."""
    bases = [random.randint(0, 5) for _ in range(8)]
    parts = [_task(f"part.{n}", "sums.double", {"base": base}) for n, base in enumerate(bases)]
    return _succeeds(key, "remembered", [*parts, _total("end", "part.*")], 2 * sum(bases))


def uneasy(random: Random, key: str) -> Expected:
    """One task fails at first, one for good, and the goal goes on without it."""
    value = random.randint(0, 99)
    tasks = [
        _task("flaky", "sums.flaky", {"value": value, "until_attempt": 2}),
        _task("broken", "sums.refuse", {"base": value}, on_failure="skip"),
        _add("end", {"$from": "flaky"}, depends_on=["broken"]),
    ]
    request = {"name": "uneasy", "plan": {"tasks": tasks}}
    return Expected(key, "uneasy", request, "SUCCEEDED", value, 3, {"SUCCEEDED": 2, "FAILED": 1})


def failing(random: Random, key: str) -> Expected:
    """A task that fails for good ends its goal, and what waited for it never runs."""
    tasks = [
        _add("first", random.randint(0, 99), seconds=0.1),
        _task("broken", "sums.refuse", {"base": {"$from": "first"}}),
        _task("never", "ledger.charge", {"amount": 1}, depends_on=["broken"]),
    ]
    request = {"name": "failing", "plan": {"tasks": tasks}}
    return Expected(key, "failing", request, "FAILED", None, 3, {"SUCCEEDED": 1, "FAILED": 1})


def undone(random: Random, key: str) -> Expected:
    """Charges, then a task that fails for good: all of them are taken back before the goal has failed."""
    charges = {f"charge.{n}": random.randint(1, 99) for n in range(random.randint(2, 5))}
    tasks = [
        _task(name, "ledger.charge", {"amount": amount, "seconds": 0.1}, compensation={"capability": "ledger.refund"})
        for name, amount in charges.items()
    ]
    tasks.append(_task("broken", "sums.refuse", {"base": 1}, depends_on=["charge.*"]))
    request = {"name": "undone", "plan": {"tasks": tasks}, "on_failure": "compensate"}
    counts = {"SUCCEEDED": len(charges), "FAILED": 1}
    return Expected(key, "undone", request, "FAILED", None, len(tasks), counts, charges, is_undone=True)


SHAPES: Final[tuple[Callable[[Random, str], Expected], ...]] = (
    chain, fan, charged, chunks, delegated, remembered, charged, uneasy, failing, undone,
)  # fmt: skip


def draw_goal(random: Random, number: int) -> Expected:
    """The goal of that number; every shape has its turn."""
    return SHAPES[number % len(SHAPES)](random, f"chaos-{number}")
