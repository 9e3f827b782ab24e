"""Nothing is spent that was not set aside: with crashes anywhere, by tasks, by sub-plans and by calls of models."""

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentfleet.agent import Agent, SubPlan, TaskContext
from agentfleet.domain.budget import Account, BudgetExceeded, Limits, Spend, Tally
from agentfleet.domain.catalog import BudgetDefaults
from agentfleet.domain.errors import NotFound
from agentfleet.domain.goal import GoalState
from agentfleet.services.budget import Budgets, GoalSpending, LocalBudgets, TaskBudget
from tests.contract.making import goal as make_goal
from tests.fakes import FixedClock
from tests.fakes.fleet import InProcessFleet, Killed

CALLS = ("take", "give_back")
DOLLAR = Spend.of(dollars=1)

work = Agent("work")


@work.capability("work.pay", idempotent=True)
async def pay(input: dict[str, Any], context: TaskContext) -> float:
    """Spends half of what it sets aside."""
    async with context.budget.reserve(dollars=input["dollars"]) as held:
        held.spent(dollars=input["dollars"] / 2)
    return float(input["dollars"])


@work.capability("work.split", idempotent=True)
async def split(input: dict[str, Any], context: TaskContext) -> SubPlan:
    """Delegates with a budget."""
    return SubPlan(input["tasks"], None, input.get("budget"))


def payment(name: str, dollars: float, **rest: Any) -> dict[str, Any]:
    """A task that pays."""
    return {"id": name, "capability": "work.pay", "input": {"dollars": dollars}, **rest}


class Flaky:
    """A store whose calls die as told: before they take effect, after it, or with an answer that is lost."""

    def __init__(self, faults: list[str]) -> None:
        self.real = LocalBudgets()
        self.faults = faults

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.real, name)
        if name not in CALLS:
            return method

        def call(*arguments: Any) -> Any:
            fault = self.faults.pop(0) if self.faults else "none"
            if fault == "dies before":
                raise Killed
            if fault == "refused":
                raise ConnectionError("not now")
            value = method(*arguments)
            if fault == "dies after":
                raise Killed
            if fault == "answer lost":
                raise ConnectionError("no answer")
            return value

        return call


FAULTS = st.sampled_from(["none", "none", "none", "dies before", "dies after", "refused", "answer lost"])
AGENTS = st.lists(st.tuples(st.integers(0, 2), st.integers(1, 60), st.none() | st.integers(0, 60)), max_size=12)


@settings(max_examples=300, deadline=None)
@given(AGENTS, st.lists(FAULTS, max_size=40), st.integers(0, 100), st.integers(0, 100))
def test_whatever_dies_nothing_is_overspent(
    agents: list[tuple[int, int, int | None]], faults: list[str], narrow: int, wide: int
) -> None:
    """Spent and reserved never pass the limit, and what was really spent is never more than what counts as spent."""
    store = Flaky(faults)
    accounts = [Account(f"goal {number}", Limits(narrow)) for number in range(3)]
    day = Account("day", Limits(wide))
    really: dict[str, int] = {}
    for number, most, actual in agents:
        budgets = Budgets(store, FixedClock())
        held = (accounts[number], day)
        try:
            reservation = budgets.reserve(held, Spend(most))
            cost = min(most, most if actual is None else actual)
            for account in held:
                really[account.name] = really.get(account.name, 0) + cost
            budgets.settle(reservation, None if actual is None else Spend(cost))
        except (Killed, ConnectionError, BudgetExceeded):
            pass
        for account in (*accounts, day):
            tally = store.real.read([account.name]).get(account.name, Tally())
            limit = account.limits.nanodollars
            assert limit is not None
            assert really.get(account.name, 0) <= tally.taken.nanodollars <= limit
            assert tally.spent.nanodollars <= tally.taken.nanodollars


def test_a_settlement_that_fails_is_not_tried_again() -> None:
    """What was set aside stays so: the same money is never free twice."""
    store = Flaky(["none", "answer lost"])
    budgets = Budgets(store, FixedClock())
    account = Account("goal g", Limits.of(dollars=2))

    reservation = budgets.reserve((account,), DOLLAR)
    budgets.settle(reservation, Spend())
    budgets.settle(reservation, Spend())

    assert store.real.read([account.name])[account.name] == Tally()


def test_a_goal_without_limits_writes_nothing() -> None:
    """Reserving where nothing is limited costs no call at all."""
    fleet = InProcessFleet(work)
    fleet.submit({"plan": {"tasks": [payment("a", 1000)]}})
    fleet.settle()

    assert not [name for name in fleet.faults.calls if name.startswith("budgets")]


def test_a_task_that_says_nothing_has_spent_it_all() -> None:
    """Also one that fails on the way: nobody knows what it did cost."""
    store = LocalBudgets()
    budget = TaskBudget(Budgets(store, FixedClock(), Limits.of(dollars=10)), make_goal("g"))

    with budget.reserve(dollars=1):
        pass
    with pytest.raises(RuntimeError), budget.reserve(dollars=2):
        raise RuntimeError
    with budget.reserve(dollars=4) as held:
        held.spent(dollars=1)
        held.spent(dollars=0.5)

    [tally] = store.read(["tenant acme on 2026-01-02"]).values()
    assert tally == Tally(Spend.of(4.5), Spend.of(4.5))


def test_a_cancelled_entry_gives_its_money_back() -> None:
    """The thread that takes it can't be stopped; the work it was for never begins."""
    store = LocalBudgets()
    budget = TaskBudget(Budgets(store, FixedClock(), Limits.of(dollars=10)), make_goal("g"))

    async def enter() -> None:
        async with budget.reserve(dollars=1):
            raise AssertionError("it was cancelled before")

    async def cancel() -> None:
        entering = asyncio.ensure_future(enter())
        await asyncio.sleep(0)  # it has begun, and waits for its thread
        entering.cancel()
        with pytest.raises(asyncio.CancelledError):
            await entering
        while store.read(["tenant acme on 2026-01-02"]).get("tenant acme on 2026-01-02") != Tally():
            await asyncio.sleep(0.001)

    asyncio.run(asyncio.wait_for(cancel(), 10))


def test_a_sub_plan_spends_from_every_budget_above_it() -> None:
    """Its own is smaller; what it spends counts in its parent's, and the parent's can stop it."""
    fleet = InProcessFleet(work, budget=BudgetDefaults(goal_dollars=5, tenant_dollars_per_day=50))
    inner = [payment("a", 1), payment("b", 1, on_failure="skip"), payment("c", 9, on_failure="skip")]
    outer = {"id": "split", "capability": "work.split", "input": {"tasks": inner, "budget": {"dollars": 2.0}}}
    goal = fleet.submit({"plan": {"tasks": [outer]}})
    fleet.settle()

    [child] = [one for one in fleet.goals.goals.values() if one.parent]
    names = [f"goal {child.id}", f"goal {goal.id}", "tenant acme on 2026-01-02"]
    assert [account.name for account in fleet.platform.budgets.accounts(child)] == names
    assert {tally.spent for tally in fleet.budgets.read(names).values()} == {Spend.of(1)}
    assert fleet.goal(goal.id).state is GoalState.SUCCEEDED
    failure = next(
        outcome.failure for result in fleet.results.results.values() for outcome in result.outcomes if outcome.failure
    )
    assert failure.error == "BudgetExceeded"
    assert failure.message.startswith(f"the budget of goal {child.id} has no room: dollars: limit $2")


@pytest.mark.parametrize(
    ("budget", "own", "error"),
    [
        ({"depth": 0}, None, "allows no sub-plan"),
        ({"depth": 1}, {"depth": 5}, "allows no sub-plan"),
        ({}, {"dollars": -1}, "budget.dollars"),
        ({}, [1], "budget."),
        ({"depth": 2}, {}, None),
    ],
)
def test_depth_limits_how_far_tasks_delegate(budget: Any, own: Any, error: str | None) -> None:
    """A sub-plan may ask for less, never for more than its parent has left; a broken budget fails its task."""
    fleet = InProcessFleet(work)
    inner = {"id": "in", "capability": "work.split", "input": {"tasks": [payment("p", 1)]}}
    outer = {"id": "out", "capability": "work.split", "input": {"tasks": [inner], "budget": own}}
    goal = fleet.submit({"plan": {"tasks": [outer]}, "budget": budget})
    fleet.settle()

    failure = fleet.goal(goal.id).failure
    assert (failure is None) == (error is None)
    assert error is None or (failure and error in failure.message)


def test_a_fork_has_a_budget_of_its_own() -> None:
    """The same limits, nothing spent."""
    fleet = InProcessFleet(work)
    goal = fleet.submit({"plan": {"tasks": [payment("a", 1)]}, "budget": {"dollars": 1}})
    fleet.settle()

    fork = fleet.platform.control.fork(goal.id, "acme", (), {})
    fleet.settle()

    assert fleet.goal(fork.id).state is GoalState.SUCCEEDED
    assert set(fleet.budgets.read([f"goal {goal.id}", f"goal {fork.id}"])) == {f"goal {goal.id}", f"goal {fork.id}"}


@dataclass(frozen=True)
class Purpose:
    """What a call of a model is for."""

    goal_id: str


@dataclass(frozen=True)
class Cost:
    """What it takes."""

    dollars: float = 0.0
    tokens: int = 0
    seconds: float = 0.0


def test_calls_of_models_are_paid_by_the_goal_they_are_for() -> None:
    """Reserved by the goal's id, settled once by the reservation's."""
    fleet = InProcessFleet(work)
    goal = fleet.submit({"plan": {"tasks": [payment("a", 1)]}, "budget": {"dollars": 3, "tokens": 1000}})
    spending = GoalSpending(fleet.platform.budgets, fleet.goals)

    first = spending.reserve(Purpose(goal.id), Cost(1.0, 600, 2.0))
    with pytest.raises(BudgetExceeded, match="tokens: limit 1000, spent 0, reserved 600, asked 500"):
        spending.reserve(Purpose(goal.id), Cost(1.0, 500))
    spending.settle(first, Cost(0.25, 100, 1.5))
    spending.settle(first, Cost())
    second = spending.reserve(Purpose(goal.id), Cost(1.0, 500))
    spending.settle(second, None)

    [tally] = fleet.budgets.read([f"goal {goal.id}"]).values()
    assert tally.taken == tally.spent == Spend.of(1.25, 600, 1.5)
    with pytest.raises(NotFound):
        spending.reserve(Purpose("nothing"), Cost())
