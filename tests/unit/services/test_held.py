"""A message whose unit somebody holds stays away until the lease is over: it costs the task nothing."""

import json
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from agentfleet.agent import Agent, RetryableError
from agentfleet.domain.goal import Goal, GoalState
from agentfleet.services.run import MOST_CLAIMS
from tests.fakes.fleet import InProcessFleet, catalog_of

TIMEOUT = 900
QUEUE = "fleet-work-normal"


class Held:
    """A fleet with one goal of one task, which another agent holds; the message in the queue is a duplicate."""

    def __init__(self, *ends: Exception | None, retries: int = 2) -> None:
        self.attempts: list[int] = []
        """As the task was told."""
        work = Agent("work")

        @work.capability("work.long", timeout=840)
        async def long(input: dict[str, Any], context: Any) -> int:
            """Takes long."""
            self.attempts.append(context.attempt)
            error = ends[len(self.attempts) - 1] if len(self.attempts) <= len(ends) else None
            if error:
                raise error
            return 1

        catalog = catalog_of(work)
        pools = {"work": replace(catalog.pools["work"], timeout=TIMEOUT)}
        self.fleet = InProcessFleet(work, catalog=replace(catalog, pools=pools))
        plan = {"tasks": [{"id": "t", "capability": "work.long", "retries": retries}]}
        self.id = self.fleet.submit({"plan": plan}).id
        self.start = self.fleet.clock()
        self.hold("first")

    @property
    def goal(self) -> Goal:
        return self.fleet.goal(self.id)

    @property
    def elapsed(self) -> timedelta:
        return self.fleet.clock() - self.start

    def hold(self, owner: str) -> None:
        """An agent takes the unit, and stays at it for a whole invocation."""
        now = self.fleet.clock()
        assert self.fleet.claims.claim(self.id, self.goal.shards, 0, owner, now, timedelta(seconds=TIMEOUT)) is not None

    def waiting(self) -> Sequence[dict[str, Any]]:
        """What is in the queue."""
        return [json.loads(body) for body in self.fleet.queues.bodies(QUEUE)]


def test_the_goal_of_a_task_that_is_being_done_lives_whatever_duplicates_there_are() -> None:
    """Agents and healer meet the duplicate for a quarter of an hour: none takes it for a sign of death."""
    held = Held()
    letters = []
    while held.elapsed < timedelta(seconds=TIMEOUT - 5):
        for queue in held.fleet.queues.busy():
            held.fleet.invoke(queue)
        if held.elapsed.seconds % 120 < 5:
            letters.append(dict(held.fleet.heal().letters))
        assert held.goal.state is GoalState.RUNNING
        held.fleet.clock.advance(5)

    assert held.attempts == []
    assert letters == [{}] * len(letters)
    held.fleet.settle()
    assert held.goal.state is GoalState.SUCCEEDED


def test_it_comes_again_as_soon_as_the_lease_is_over() -> None:
    """As a new message, sent once; its first attempt counts as the first, and all retries are left."""
    held = Held(RetryableError("passing trouble"), RetryableError("and again"))

    held.fleet.invoke(QUEUE)
    [message] = held.waiting()
    held.fleet.step()
    began = held.elapsed
    held.fleet.settle()

    assert message.get("spent", 0) == 0
    assert began >= timedelta(seconds=TIMEOUT)
    assert held.attempts == [1, 2, 3]
    assert held.goal.state is GoalState.SUCCEEDED
    assert held.elapsed < timedelta(seconds=TIMEOUT + 60)


def test_what_kills_its_agents_again_and_again_is_not_made_new() -> None:
    """Else a task that kills its agents would go on for ever, one message of it holding while the other is made anew."""
    held = Held()
    for _ in range(MOST_CLAIMS):
        held.fleet.clock.advance(TIMEOUT)
        held.hold("next")
    sent = held.fleet.queues.sent

    held.fleet.invoke(QUEUE)

    assert held.fleet.queues.sent == sent
    assert len(held.waiting()) == 1


def test_it_may_be_held_again_and_again() -> None:
    """Waiting for another agent is no refusal: more than twenty times of it are no failed attempt."""
    held = Held(retries=0)

    for number in range(25):
        held.fleet.invoke(QUEUE)
        held.fleet.clock.advance(TIMEOUT)
        held.hold(f"later {number}")
    held.fleet.settle()

    assert held.attempts == [1]
    assert held.goal.state is GoalState.SUCCEEDED


def test_it_finds_the_result_of_who_held_it() -> None:
    """Nothing is done twice."""
    held = Held()
    held.fleet.invoke(QUEUE)
    held.fleet.claims.claims.clear()
    held.fleet.platform.releaser.release(held.goal, held.fleet.plans.read(held.id), [(0, 0)])
    held.fleet.invoke(QUEUE)
    held.fleet.settle()

    assert held.attempts == [1]
    assert held.goal.state is GoalState.SUCCEEDED


def test_a_message_that_could_not_be_sent_anew_stays() -> None:
    """Hidden until the lease is over."""
    held = Held()
    held.fleet.queues.fail_sends(QUEUE, 1)

    held.fleet.invoke(QUEUE)
    held.fleet.settle()

    assert held.goal.state is GoalState.SUCCEEDED
    assert held.elapsed >= timedelta(seconds=TIMEOUT)


@pytest.mark.parametrize("is_done", [True, False])
def test_a_dead_letter_of_a_task_that_is_held_is_left_until_it_is_not(is_done: bool) -> None:
    """However its message died, another is being carried out: only afterwards can be said what became of the task."""
    held = Held()
    while held.fleet.queues.bodies(QUEUE):
        held.fleet.queues.take(QUEUE)
        held.fleet.clock.advance(TIMEOUT * 6)
        held.fleet.queues.expire_visibility()
    held.hold("somebody")

    first = held.fleet.heal()
    meanwhile = held.goal.state
    if is_done:
        held.fleet.platform.releaser.release(held.goal, held.fleet.plans.read(held.id), [(0, 0)])
        held.fleet.clock.advance(TIMEOUT)
        held.fleet.settle()
    held.fleet.clock.advance(TIMEOUT)
    held.fleet.heal()

    assert (dict(first.letters), first.sent, meanwhile) == ({"KEEP": 1}, 0, GoalState.RUNNING)
    assert held.goal.state is (GoalState.SUCCEEDED if is_done else GoalState.FAILED)
    assert held.fleet.queues.bodies("fleet-work-dead") == []
