"""Small sums, in every way that a task can be done: alone, in chunks, from the cache, as a sub-plan, at the second try."""

import asyncio
from typing import Any

from pydantic import BaseModel

from agentfleet.agent import Agent, PermanentError, RetryableError, SubPlan, TaskContext

agent = Agent("sums")


class Terms(BaseModel):
    """What to add up, and how long to take."""

    base: int
    add: int = 0
    seconds: float = 0.0


class Numbers(BaseModel):
    """What to total."""

    numbers: list[int | None]


class Spread(BaseModel):
    """How many numbers to add up in a sub-plan: 0 + 1 + …"""

    width: int


class Flaky(BaseModel):
    """What to give from which attempt on."""

    value: int
    until_attempt: int = 1


@agent.capability("sums.add", idempotent=True, timeout=3)
async def add(input: Terms) -> int:
    """Add two numbers, in a message of its own."""
    await asyncio.sleep(input.seconds)
    return input.base + input.add


@agent.capability("sums.square", idempotent=True, timeout=3, chunk=10)
async def square(input: Terms) -> int:
    """Square a number; ten of them share a message."""
    await asyncio.sleep(input.seconds)
    return input.base * input.base


@agent.capability("sums.double", idempotent=True, timeout=3, cacheable=True, version="1")
async def double(input: Terms) -> int:
    """Double a number, or remember that one has."""
    return 2 * input.base


@agent.capability("sums.total", idempotent=True, timeout=3)
async def total(input: Numbers) -> int:
    """Add up numbers; what is missing counts nothing."""
    return sum(number or 0 for number in input.numbers)


@agent.capability("sums.spread", idempotent=True, timeout=3)
async def spread(input: Spread) -> SubPlan:
    """Have 0 + 1 + … added up by tasks of a sub-plan."""
    parts: list[dict[str, Any]] = [
        {"id": f"part.{n}", "capability": "sums.add", "input": {"base": n, "seconds": 0.05}, "retries": 6}
        for n in range(input.width)
    ]
    end = {"id": "end", "capability": "sums.total", "input": {"numbers": {"$from": "part.*"}}, "retries": 6}
    return SubPlan(tasks=[*parts, end], output={"$from": "end"})


@agent.capability("sums.flaky", idempotent=True, timeout=3)
async def flaky(input: Flaky, context: TaskContext) -> int:
    """Fail until an attempt, then give the value."""
    if context.attempt < input.until_attempt:
        raise RetryableError(f"attempt {context.attempt} fails as asked", 0.5)
    return input.value


@agent.capability("sums.refuse", idempotent=True, timeout=3)
async def refuse(input: Terms) -> int:
    """Fail for good."""
    raise PermanentError(f"{input.base} is refused as asked")
