"""What the simulated agents can do: add up, fail as they are told, pay, delegate. And the ledger that they pay into."""

from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from agentfleet.domain.approval import ApprovalRule
from agentfleet.domain.catalog import CapabilitySpec, Catalog, PoolSpec
from agentfleet.domain.errors import PermanentError, RetryableError
from agentfleet.domain.result import Claim
from agentfleet.services.capability import Capability, SubPlan, TaskContext
from tests.simulation.reference import number_of
from tests.simulation.world import Actor, Refused, World

POOLS: Final = {
    "alpha": ("sim.add", "sim.pay", "sim.chunk", "sim.split"),
    "beta": ("sim.add", "sim.deal", "sim.refund"),
}
TENANT: Final = "acme"
PRICE: Final = 0.001
"""Dollars of a token."""
DELAYS: Final = (3.0, 3.0, 60.0, 400.0)
"""Seconds that a task which fails wants to wait; the last is longer than the healer's patience."""
REFUNDED: Final = 99
"""How often a payment counts as taken back once it is."""
CLAIMED: Final = {"sim.pay", "sim.deal"}


@dataclass(frozen=True, slots=True)
class Entry:
    """A side effect that took place."""

    goal_id: str
    task_id: str
    fence: int | None


class Stage:
    """The run that the capabilities below are part of now, and what it keeps an eye on."""

    def __init__(self) -> None:
        self.world: World
        self.subplans: tuple[dict[str, Any], ...] = ()
        self.starting: Callable[[TaskContext, dict[str, Any]], None] = lambda context, value: None
        self.going_on: Callable[[TaskContext], None] = lambda context: None
        """Asked by a task that is about to pay; raises if it may not."""
        self.claim_of: Callable[[str, str, int], Claim]
        """(goal, task, fence) → the claim that gave this fence."""
        self.delete: Callable[[str, str], None] = lambda queue, receipt: None
        """Deletes a message; only a mutant calls it."""
        self.ledger: dict[str, Entry] = {}
        self.undone: dict[str, int] = {}
        """Idempotency key → how many runs of its compensation there were."""
        self.late: set[tuple[str, str]] = set()
        """(goal, task) of payments that came after they were taken back, and were refused."""
        self.undoing: Callable[[TaskContext], None] = lambda context: None
        self.fences: set[tuple[str, str, int]] = set()
        self.kills: Counter[tuple[str, str]] = Counter()
        """(goal, task) → how many environments it has killed."""
        self.failures: Counter[tuple[str, str]] = Counter()
        """(goal, task) → how many of its attempts have failed as they were told to."""
        self.using: Callable[[str, int], None] = lambda goal_id, tokens: None
        """Told of tokens that a task of a goal has used."""
        self.at_work: dict[tuple[str, str], list[tuple[Claim, Actor]]] = {}
        """(goal, task) → claim and environment of whoever is inside a claimed task."""


STAGE: Final = Stage()


def _trouble(value: dict[str, Any], context: TaskContext) -> None:
    place = (context.goal_id, context.task_id)
    if STAGE.kills[place] < value.get("kills", 0):
        STAGE.kills[place] += 1
        STAGE.world.note(f"*** killed by {context.task_id}")
        STAGE.world.die()
    if "tokens" in value:
        _spend(value["tokens"], context)
    if value.get("permanent"):
        raise PermanentError("as told")
    if STAGE.failures[place] < value.get("fails", 0):
        STAGE.failures[place] += 1
        raise RetryableError("as told", delay=DELAYS[value["c"] % len(DELAYS)])


def _spend(most: int, context: TaskContext) -> None:
    """Use as many tokens as were asked for, or fewer; whether that is said is another matter."""
    used = most - most % 3
    while True:
        with suppress(Refused), context.budget.reserve(tokens=most, dollars=most * PRICE) as held:
            STAGE.using(context.goal_id, used)
            _wait(STAGE.world)
            if most % 4:  # else nobody knows what it came to
                held.spent(tokens=used, dollars=used * PRICE)
            return


def _answer(value: dict[str, Any]) -> dict[str, Any]:
    total = (value["c"] + sum(map(number_of, value.get("xs", ())))) % 1009
    return {"v": total, "odd": total % 2 == 1}


async def add(input: dict[str, Any], context: TaskContext) -> Any:
    """Adds up."""
    STAGE.starting(context, input)
    _trouble(input, context)
    return _answer(input)


async def split(input: dict[str, Any], context: TaskContext) -> Any:
    """Delegates."""
    STAGE.starting(context, input)
    _trouble(input, context)
    plan = STAGE.subplans[input["sub"]]
    budget = {"tokens": plan["tokens"]} if "tokens" in plan else None
    return SubPlan(plan["tasks"], plan.get("output"), budget)


async def pay(input: dict[str, Any], context: TaskContext) -> Any:
    """Adds up, and leaves an entry in the ledger under the task's idempotency key."""
    _inside(context)
    try:
        STAGE.starting(context, input)
        if input.get("permanent"):
            _trouble(input, context)
        STAGE.going_on(context)
        _charge(context)
        _trouble(input, context)
        return _answer(input)
    finally:
        _outside(context)


def _charge(context: TaskContext) -> None:
    """A call like any other, except that the payer tries again by itself when it is refused."""
    world = STAGE.world
    _wait(world)
    while True:
        with suppress(Refused):
            fault = world.before("ledger.charge")
            if STAGE.undone.get(context.idempotency_key, 0) >= REFUNDED:
                STAGE.late.add((context.goal_id, context.task_id))
                raise RetryableError("this payment was taken back")
            STAGE.ledger.setdefault(context.idempotency_key, Entry(context.goal_id, context.task_id, context.fence))
            world.note(f"ledger.charge {context.task_id} fence {context.fence}")
            if fault is not None:
                world.after(fault)
            break
    _wait(world)


def _wait(world: World) -> None:
    """A payment takes its time: others may run meanwhile, and the payer may die."""
    with suppress(Refused):
        world.before("ledger.wait")


async def refund(input: dict[str, Any], context: TaskContext) -> Any:
    """Takes a payment back: what was never paid too, so that it can't be paid any more."""
    assert context.undoes is not None
    STAGE.undoing(context)
    world, key = STAGE.world, context.undoes.idempotency_key
    _wait(world)
    if STAGE.undone.get(key, 0) < input["fails"]:
        STAGE.undone.setdefault(key, 0)
        STAGE.undone[key] += 1
        raise RetryableError("as told")
    with suppress(Refused):
        fault = world.before("ledger.refund")
        STAGE.undone[key] = REFUNDED
        world.note(f"ledger.refund {context.task_id}")
        if fault is not None:
            world.after(fault)
        return {"back": input["v"]}
    raise RetryableError("the ledger was not reached, or said nothing")


async def deal(input: dict[str, Any], context: TaskContext) -> Any:
    """Delegates once: claimed."""
    _inside(context)
    try:
        return await split(input, context)
    finally:
        _outside(context)


def _inside(context: TaskContext) -> None:
    """Two may be inside a claimed task only if the lease of the first is over."""
    task = (context.goal_id, context.task_id)
    world = STAGE.world
    if context.fence is None:
        world.violate(f"task {context.task_id} of {context.goal_id} ran unclaimed")
        return
    if (*task, context.fence) in STAGE.fences:
        world.violate(f"task {context.task_id} of {context.goal_id} ran twice under fence {context.fence}")
    STAGE.fences.add((*task, context.fence))
    claim = STAGE.claim_of(context.goal_id, context.task_id, context.fence)
    now = context.clock()
    for other, environment in STAGE.at_work.get(task, ()):
        if other.until > now and not environment.is_dead:
            world.violate(f"task {context.task_id} of {context.goal_id}: two at work within one lease")
    STAGE.at_work.setdefault(task, []).append((claim, world.current))


def _outside(context: TaskContext) -> None:
    mine = STAGE.world.current
    task = (context.goal_id, context.task_id)
    STAGE.at_work[task] = [one for one in STAGE.at_work.get(task, ()) if one[1] is not mine]


def _capability(name: str) -> Capability:
    function = {"sim.pay": pay, "sim.split": split, "sim.deal": deal, "sim.refund": refund}.get(name, add)
    chunk = 3 if name == "sim.chunk" else 1
    return Capability(function, name, idempotent=name not in CLAIMED, timeout=60.0, chunk=chunk)


CAPABILITIES: Final = {pool: {name: _capability(name) for name in offered} for pool, offered in POOLS.items()}

CATALOG: Final = Catalog(
    fleet="fleet",
    pools={
        pool: PoolSpec(
            name=pool,
            weight=2 if pool == "alpha" else 1,
            capabilities=tuple(
                CapabilitySpec(name=one.name, pool=pool, idempotent=one.idempotent, timeout=one.timeout, chunk=one.chunk)
                for one in offered.values()
            ),
        )
        for pool, offered in CAPABILITIES.items()
    },
    approvals=(ApprovalRule(capability="sim.*", when="ask"),),
)
