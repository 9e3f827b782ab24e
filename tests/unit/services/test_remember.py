"""What is kept of goals in words when they end: once, whatever is delivered how often."""

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from agentfleet.agent import Agent, PermanentError, SubPlan
from agentfleet.domain.episode import MOST_EPISODES, EpisodeHead
from agentfleet.domain.goal import Goal, GoalState
from agentfleet.domain.messages import BadMessage
from agentfleet.services.remember import Rememberer
from tests.fakes import FakeEpisodes
from tests.fakes.fleet import InProcessFleet


def _agents() -> list[Agent]:
    plan, work = Agent("plan"), Agent("work")
    plans: dict[str, list[dict[str, Any]]] = {
        "two steps": [
            {"id": "a", "capability": "work.do", "input": {"dollars": 0.25}},
            {"id": "b", "capability": "work.pass", "input": {"of": {"$from": "a"}}},
        ],
        "delegate": [{"id": "a", "capability": "work.delegate", "input": {}}],
        "fail": [
            {"id": "a", "capability": "work.do", "input": {"dollars": 1}},
            {"id": "b", "capability": "work.fail", "input": {"of": {"$from": "a"}}},
        ],
        "many": [{"id": f"t{number}", "capability": "work.do", "input": {"dollars": 0}} for number in range(101)],
        "large": [{"id": "a", "capability": "work.do", "input": {"dollars": 0, "text": "x" * 64_000}}],
    }

    @plan.capability("plan.make", idempotent=True)
    async def make(input: dict[str, Any]) -> SubPlan:
        """A plan by rote."""
        if input["goal"] not in plans:
            raise PermanentError("no idea")
        return SubPlan(plans[input["goal"]])

    @work.capability("work.do", idempotent=True)
    async def do(input: dict[str, Any]) -> dict[str, Any]:
        """Costs something."""
        return {"dollars": input["dollars"]}

    @work.capability("work.pass", idempotent=True)
    async def hand_on(input: dict[str, Any]) -> str:
        """Costs nothing."""
        return str(input)

    @work.capability("work.fail", idempotent=True)
    async def fail(input: dict[str, Any]) -> None:
        """Fails."""
        raise PermanentError("no")

    @work.capability("work.delegate", idempotent=True)
    async def delegate(input: dict[str, Any]) -> SubPlan:
        """Has it done by others, and hands their output on."""
        tasks = [{"id": f"t{number}", "capability": "work.do", "input": {"dollars": 0.5}} for number in range(2)]
        return SubPlan(tasks, {"dollars": 7})

    return [plan, work]


class World:
    """A fleet with a planner, and what remembers its goals."""

    def __init__(self) -> None:
        self.fleet = InProcessFleet(*_agents())
        self.episodes = FakeEpisodes()
        fleet = self.fleet
        self.remember = Rememberer(fleet.goals, fleet.plans, fleet.results, fleet.budgets, self.episodes)

    def run(self, words: str, **rest: Any) -> Goal:
        """A goal in words, carried out."""
        goal = self.fleet.submit({"goal": words, **rest})
        self.fleet.settle()
        return self.fleet.goal(goal.id)

    def events(self) -> Iterator[str]:
        """What the rule hands over: events of ends with words, as EventBridge writes them."""
        for topic, detail in self.fleet.bus.published:
            if topic in {"GoalSucceeded", "GoalFailed"} and "words" in detail:
                yield event(str(detail["goal"]), topic)


def event(goal: str, topic: str = "GoalSucceeded") -> str:
    """An event as it comes out of the queue."""
    return json.dumps({"id": "e", "source": "agentfleet", "detail-type": topic, "detail": {"goal": goal, "words": "?"}})


@pytest.fixture
def world() -> World:
    """A fresh one."""
    return World()


def test_a_goal_in_words_becomes_an_episode(world: World) -> None:
    """Words, plan as it would be written, how it ended, what it took; and figures of its tasks."""
    goal = world.run("two steps")

    (kept,) = [world.remember(body) for body in world.events()]

    assert kept == EpisodeHead(goal.id, "two steps", True, goal.duration or 0, 0.25, goal.finished or goal.created, 2)
    assert list(world.episodes.heads("acme")) == [kept]
    assert world.episodes.plans("acme", [goal.id])[goal.id]["tasks"] == [
        {"id": "a", "capability": "work.do", "input": {"dollars": 0.25}},
        {"id": "b", "capability": "work.pass", "input": {"of": {"$from": "a"}}},
    ]
    sums = world.episodes.sums("acme")
    assert set(sums) == {"work.do", "work.pass"}
    assert (sums["work.do"].count, sums["work.do"].figure.dollars) == (1, 0.25)


def test_the_same_event_again_changes_nothing(world: World) -> None:
    """EventBridge and the queue deliver at least once."""
    world.run("two steps")
    bodies = list(world.events())
    for body in bodies:
        world.remember(body)
    before = dict(world.episodes.measured)

    assert [world.remember(body) for body in bodies * 2] == [None, None]
    assert world.episodes.measured == before


def test_failures_are_remembered_too(world: World) -> None:
    """As what they are; only what succeeded is measured."""
    goal = world.run("fail")

    (kept,) = [world.remember(body) for body in world.events()]

    assert goal.state is GoalState.FAILED
    assert kept is not None
    assert (kept.succeeded, kept.dollars, kept.tasks) == (False, 1.0, 2)
    assert set(world.episodes.sums("acme")) == {"work.do"}


def test_what_was_delegated_is_measured_where_it_was_done(world: World) -> None:
    """A task that delegates took its sub-plan's time; its dollars are those of the sub-plan's tasks."""
    world.run("delegate")

    (kept,) = [world.remember(body) for body in world.events()]

    sums = world.episodes.sums("acme")
    assert kept is not None
    assert kept.dollars == 1.0
    assert (sums["work.do"].count, sums["work.do"].figure.dollars) == (2, 0.5)
    assert (sums["work.delegate"].count, sums["work.delegate"].figure.dollars) == (1, 0.0)
    assert sums["work.delegate"].figure.seconds > 0


def test_a_goal_with_a_budget_has_cost_what_its_account_says(world: World) -> None:
    """Failed attempts and the planning itself are in it; no output names those."""
    goal = world.run("two steps", budget={"dollars": 5})
    accounts = world.fleet.platform.budgets.accounts(world.fleet.goal(goal.id))
    reservation = world.fleet.platform.budgets.reserve(accounts, _dollars(2))
    world.fleet.platform.budgets.settle(reservation, _dollars(1.5))

    (kept,) = [world.remember(body) for body in world.events()]

    assert kept is not None
    assert kept.dollars == 1.5


def _dollars(amount: float) -> Any:
    from agentfleet.domain.budget import Spend

    return Spend.of(dollars=amount)


@pytest.mark.parametrize("words", ["many", "large"])
def test_a_plan_that_is_too_large_is_no_example(world: World, words: str) -> None:
    """Its tasks are measured all the same."""
    world.run(words)

    (kept,) = [world.remember(body) for body in world.events()]

    assert kept is not None
    assert not world.episodes.heads("acme")
    assert world.episodes.sums("acme")["work.do"].count == kept.tasks


def test_what_says_nothing_about_a_plan_is_not_remembered(world: World) -> None:
    """Goals without words, without a plan, that were cancelled, or that nobody knows; whatever an event says of them."""
    plain = world.fleet.submit({"plan": {"tasks": [{"id": "a", "capability": "work.do", "input": {"dollars": 0}}]}})
    cancelled = world.fleet.submit({"goal": "two steps"})
    world.fleet.platform.control.cancel(cancelled.id, "acme")
    hopeless = world.run("what nobody can plan")

    assert [world.remember(event(goal)) for goal in (plain.id, cancelled.id, hopeless.id, "g-unknown")] == [None] * 4
    assert not world.episodes.seen


@pytest.mark.parametrize(
    "body",
    ["?", "[]", "{}", event("g", "GoalCancelled"), event(""), '{"detail-type": "GoalFailed", "detail": {"goal": 1}}'],
)
def test_what_is_no_such_event_goes_to_the_dead_letters(world: World, body: str) -> None:
    """It would never become one."""
    with pytest.raises(BadMessage):
        world.remember(body)


def test_the_newest_episodes_are_kept(world: World) -> None:
    """Two hundred of a tenant; the oldest goes with its plan."""
    now = world.fleet.clock()
    for number in range(MOST_EPISODES):
        head = EpisodeHead(f"old{number}", "words", True, 1.0, 0.0, now - timedelta(days=number + 1), 1)
        world.episodes.keep("acme", head, {"tasks": []}, {})
    goal = world.run("two steps")

    for body in world.events():
        world.remember(body)

    heads = world.episodes.heads("acme")
    assert len(heads) == MOST_EPISODES
    assert heads[0].goal_id == goal.id
    assert "old199" not in {head.goal_id for head in heads}
    assert not world.episodes.plans("acme", ["old199"])
