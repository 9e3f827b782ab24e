"""Trips over three agents: a ledger of seats, and plans that book and may have to give back."""

from typing import Any

from pydantic import BaseModel

from agentfleet.agent import Agent, PermanentError, RetryableError, TaskContext

POOLS = ("flights", "hotels", "cars")
SEATS = 100


class Booking(BaseModel):
    """What to book, and what goes wrong with it."""

    fails: str | None = None
    """`before` or `after` the effect, for good."""
    retried: int = 0
    """So many attempts fail after the effect."""


class Return(BaseModel):
    """What to give back, and how often that fails first."""

    seat: int | None = None
    refused: int = 0
    for_good: bool = False


class Ledger:
    """Seats by idempotency key: taking one twice is taking it once, and what was given back can't be taken."""

    def __init__(self) -> None:
        self.taken: dict[str, str] = {}
        """Key → task."""
        self.undone: dict[str, str] = {}
        self.order: list[str] = []
        """Task ids in the order in which their seats were given back."""
        self.told: list[tuple[str, bool, int | None]] = []
        """Task, attempted, seat: as compensations heard it."""
        self.refusals: dict[str, int] = {}
        self.open = True
        """Are seats taken back?"""

    def take(self, key: str, task: str) -> int:
        if key in self.undone:
            raise PermanentError("this seat was given back")
        self.taken.setdefault(key, task)
        return sorted(self.taken).index(key)

    def give_back(self, key: str, task: str) -> None:
        if key not in self.undone and key in self.taken:
            self.order.append(task)
        self.undone.setdefault(key, task)

    @property
    def kept(self) -> list[str]:
        """Tasks whose seats are still taken."""
        return sorted(task for key, task in self.taken.items() if key not in self.undone)


def agents(ledger: Ledger) -> list[Agent]:
    """One agent per pool, each with `<pool>.book` and `<pool>.cancel`; `flow.split` and `flow.noop` in a fourth."""
    made = []
    for pool in POOLS:
        agent = Agent(pool)

        @agent.capability(f"{pool}.book")
        async def book(input: Booking, context: TaskContext) -> dict[str, Any]:
            """Books a seat."""
            if input.fails == "before":
                raise PermanentError("sold out")
            seat = ledger.take(context.idempotency_key, context.task_id)
            if input.fails == "after":
                raise PermanentError("broken off")
            if context.attempt <= input.retried:
                raise RetryableError("try again", delay=1)
            return {"seat": seat}

        @agent.capability(f"{pool}.cancel", idempotent=True)
        async def cancel(input: Return, context: TaskContext) -> str:
            """Gives a seat back."""
            assert context.undoes is not None
            refused = ledger.refusals.get(context.task_id, 0)
            if not ledger.open or input.for_good:
                raise PermanentError("the desk is closed")
            if refused < input.refused:
                ledger.refusals[context.task_id] = refused + 1
                raise RetryableError("not now")
            ledger.told.append((context.task_id, context.undoes.attempted, input.seat))
            ledger.give_back(context.undoes.idempotency_key, context.task_id)
            return "back"

        made.append(agent)
    return made


def leg(
    name: str, pool: str, *, after: tuple[str, ...] = (), back: dict[str, Any] | None = None, **rest: Any
) -> dict[str, Any]:
    """A task that books a seat and names what gives it back."""
    wanted = {name: rest.pop(name) for name in ("fails", "retried") if name in rest}
    return {
        "id": name,
        "capability": f"{pool}.book",
        "input": wanted,
        "depends_on": list(after),
        "compensation": {"capability": f"{pool}.cancel", "input": {"seat": {"$from": name, "path": "seat"}, **(back or {})}},
        **rest,
    }
