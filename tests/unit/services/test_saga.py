"""A goal that fails gives back what it took, in the right order, once, whoever dies on the way."""

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

import pytest

from agentfleet.agent import Agent, SubPlan
from agentfleet.domain.errors import DeliveryFailed, IllegalTransition, PermanentError
from agentfleet.domain.goal import GoalState
from agentfleet.domain.result import Claim
from agentfleet.domain.saga import SagaStatus
from tests.fakes.fleet import InProcessFleet, Killed
from tests.fakes.trips import Ledger, agents, leg


class Trips:
    """A fleet whose agents book, and the ledger that they book in."""

    def __init__(self, *more: Agent) -> None:
        self.ledger = Ledger()
        self.fleet = InProcessFleet(*agents(self.ledger), *more)

    def run(self, *tasks: dict[str, Any], on_failure: str = "compensate") -> Any:
        """Submit and run to rest; the goal as it stands then."""
        goal = self.fleet.submit({"plan": {"tasks": list(tasks)}, "on_failure": on_failure})
        self.fleet.settle()
        return self.fleet.goal(goal.id)


TRIP = (leg("flight", "flights"), leg("hotel", "hotels", after=("flight",)), leg("car", "cars", after=("hotel",)))
BROKEN = (*TRIP[:2], leg("car", "cars", after=("hotel",), fails="before", retries=0))


def test_a_goal_that_succeeds_keeps_what_it_took() -> None:
    """Nothing is undone, and no saga runs."""
    trips = Trips()

    goal = trips.run(*TRIP)

    assert (goal.state, goal.undoing, trips.ledger.kept) == (GoalState.SUCCEEDED, None, ["car", "flight", "hotel"])
    assert trips.fleet.machine.executions == {}


def test_a_goal_that_fails_gives_back_in_reverse_order() -> None:
    """It ends FAILED with the reason of its failure, says that it is compensated, and one event tells so."""
    trips = Trips()

    goal = trips.run(*BROKEN)

    assert (goal.state, goal.failure.task, goal.undoing.done) == (GoalState.FAILED, "car", True)
    assert (trips.ledger.kept, trips.ledger.order) == ([], ["hotel", "flight"])
    events = [(topic, message.get("compensated")) for topic, message in trips.fleet.bus.published]
    assert events == [("GoalAccepted", None), ("GoalFailed", True)]


def test_a_compensation_is_told_what_it_undoes() -> None:
    """The task's output where there is one; where the task only tried, that it tried, and null."""
    trips = Trips()

    trips.run(leg("a", "flights"), leg("b", "hotels", after=("a",), fails="after", retries=0))

    assert trips.ledger.told == [("b", True, None), ("a", False, 0)]
    assert trips.ledger.kept == []


def test_the_policy_decides_and_a_task_may_have_its_own() -> None:
    """`fail` keeps what was taken; a task's `compensate` undoes a goal whose own policy is to fail, and the reverse."""
    kept, undone, overruled = Trips(), Trips(), Trips()

    kept.run(*BROKEN, on_failure="fail")
    undone.run(*BROKEN[:2], {**BROKEN[2], "on_failure": "compensate"}, on_failure="fail")
    overruled.run(*BROKEN[:2], {**BROKEN[2], "on_failure": "fail"})

    assert (kept.ledger.kept, undone.ledger.kept, overruled.ledger.kept) == (["flight", "hotel"], [], ["flight", "hotel"])


def test_order_holds_across_tasks_that_need_no_undoing() -> None:
    """Between the two legs lies a task without a compensation; what is independent is undone in one wave."""
    work = Agent("work")

    @work.capability("work.think", idempotent=True)
    async def think(input: dict[str, Any]) -> None:
        """Thinks."""

    trips = Trips(work)
    between = {"id": "think", "capability": "work.think", "depends_on": ["first", "aside"]}
    last = leg("last", "cars", after=("think",))
    goal = trips.run(
        leg("first", "flights"),
        leg("aside", "hotels"),
        between,
        last,
        leg("end", "cars", after=("last",), fails="before", retries=0),
    )

    [execution] = trips.fleet.machine.executions.values()
    assert execution.waves == [["end"], ["last"], ["first", "aside"]]
    assert goal.undoing.done


def test_a_sub_plan_is_undone_when_its_task_is() -> None:
    """The legs of a finished sub-plan, in their own order, after what came later and before what came earlier."""
    work = Agent("work")

    @work.capability("work.split", idempotent=True)
    async def split(input: dict[str, Any]) -> SubPlan:
        """Delegates."""
        return SubPlan([leg("in.1", "hotels"), leg("in.2", "cars", after=("in.1",))])

    trips = Trips(work)
    middle = {"id": "middle", "capability": "work.split", "depends_on": ["before"]}
    after = leg("after", "hotels", after=("middle",))
    goal = trips.run(leg("before", "flights"), middle, after, leg("end", "cars", after=("after",), fails="before", retries=0))

    assert goal.undoing.done
    assert trips.ledger.order == ["after", "in.2", "in.1", "before"]
    assert trips.ledger.kept == []


def test_a_sub_plan_is_undone_where_a_second_try_at_its_task_failed() -> None:
    """A duplicate of the message that delegated may fail for itself, and its result stand: what the sub-plan did is undone."""
    work = Agent("work")
    tries: list[int] = []

    @work.capability("work.split", idempotent=True)
    async def split(input: dict[str, Any]) -> SubPlan:
        """Delegates once."""
        tries.append(1)
        if len(tries) > 1:
            raise PermanentError("there is no room for it any more")
        return SubPlan([leg("in.1", "hotels"), leg("in.2", "cars", after=("in.1",))])

    trips = Trips(work)
    goal = trips.fleet.submit({"plan": {"tasks": [{"id": "middle", "capability": "work.split"}]}, "on_failure": "compensate"})
    [body] = trips.fleet.queues.bodies("fleet-work-normal")
    trips.fleet.invoke("fleet-work-normal")
    trips.fleet.invoke("fleet-hotels-normal")
    trips.fleet.queues.put("fleet-work-normal", body)
    trips.fleet.invoke("fleet-work-normal")
    trips.fleet.settle()

    assert trips.fleet.goal(goal.id).state is GoalState.FAILED
    assert trips.ledger.order == ["in.1"]
    assert trips.ledger.kept == []


def test_a_sub_plan_that_fails_undoes_itself_even_if_its_task_may_be_skipped() -> None:
    """The outer goal succeeds without it, and only what the outer goal took is kept."""
    work = Agent("work")

    @work.capability("work.split", idempotent=True)
    async def split(input: dict[str, Any]) -> SubPlan:
        """Delegates."""
        return SubPlan([leg("in.1", "hotels"), leg("in.2", "cars", after=("in.1",), fails="after", retries=0)])

    trips = Trips(work)
    goal = trips.run(
        leg("flight", "flights"), {"id": "m", "capability": "work.split", "on_failure": "skip", "depends_on": ["flight"]}
    )

    assert (goal.state, trips.ledger.kept) == (GoalState.SUCCEEDED, ["flight"])


def test_cancelling_a_goal_that_compensates_undoes_it() -> None:
    """It is CANCELLED when all is undone; cancelling again meanwhile is fine."""
    trips = Trips()
    goal = trips.fleet.submit({"plan": {"tasks": [*TRIP]}, "on_failure": "compensate"})
    trips.fleet.invoke("fleet-flights-normal")
    cancelled = trips.fleet.platform.control.cancel(goal.id, "acme")
    again = trips.fleet.platform.control.cancel(goal.id, "acme")
    trips.fleet.settle()

    assert cancelled.state is again.state is GoalState.COMPENSATING
    assert (trips.fleet.goal(goal.id).state, trips.ledger.order) == (GoalState.CANCELLED, ["flight"])


def test_the_saga_waits_for_a_task_that_is_still_claimed() -> None:
    """An agent dies between the effect and the result: once its lease is over, what it may have done is undone."""
    trips = Trips()
    fleet = trips.fleet
    goal = fleet.submit(
        {"plan": {"tasks": [leg("a", "flights"), leg("b", "hotels", fails="before", retries=0)]}, "on_failure": "compensate"}
    )
    fleet.faults.arm(None)
    take = trips.ledger.take

    def take_and_die(key: str, task: str) -> int:
        take(key, task)
        raise Killed("after the effect")

    trips.ledger.take = take_and_die  # type: ignore[method-assign]
    with pytest.raises(Killed):
        fleet.invoke("fleet-flights-normal")
    trips.ledger.take = take  # type: ignore[method-assign]
    began = fleet.clock()
    fleet.settle()

    assert fleet.goal(goal.id).undoing.done  # type: ignore[union-attr]
    assert (trips.ledger.told[-1], trips.ledger.kept) == (("a", True, None), [])
    assert fleet.clock() - began >= timedelta(seconds=50)


def test_a_compensation_that_fails_now_and_then_is_tried_again() -> None:
    """Under a new message each time; in effect it runs once."""
    trips = Trips()

    goal = trips.run(leg("a", "flights", back={"refused": 4}), leg("b", "hotels", after=("a",), fails="before", retries=0))

    assert goal.undoing.done
    assert trips.ledger.order == ["a"]


def test_a_success_that_the_saga_did_not_hear_of_is_told_again_and_never_as_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message comes again, and finds that all is done."""
    trips = Trips()
    machine = trips.fleet.machine
    tell = machine.succeeded
    lost: list[str] = []
    failures: list[Any] = []

    def succeeded(token: str) -> None:
        if not lost:
            lost.append(token)
            raise DeliveryFailed("the answer was lost")
        tell(token)

    monkeypatch.setattr(machine, "succeeded", succeeded)
    monkeypatch.setattr(machine, "failed", lambda *said: failures.append(said))

    goal = trips.run(leg("a", "flights"), leg("b", "hotels", after=("a",), fails="before", retries=0))

    assert (len(lost), failures) == (1, [])
    assert (goal.undoing.done, trips.ledger.order) == (True, ["a"])


def test_a_compensation_that_keeps_failing_parks_the_goal_loudly_until_a_person_resumes_it() -> None:
    """What could be undone is; an event tells of the rest; resuming goes on with what is left."""
    trips = Trips()
    trips.ledger.open = False
    parked = trips.run(*BROKEN)
    topics = [topic for topic, _ in trips.fleet.bus.published]

    assert (parked.state, parked.undoing.failure.task) == (GoalState.COMPENSATION_FAILED, "car")
    assert topics[-1] == "GoalCompensationFailed"
    assert not parked.state.is_alive
    assert not parked.state.is_final

    trips.ledger.open = True
    resumed = trips.fleet.platform.saga.resume(parked.id, "acme")
    trips.fleet.settle()

    assert (resumed.state, resumed.undoing.attempt) == (GoalState.COMPENSATING, 2)  # type: ignore[union-attr]
    assert trips.fleet.goal(parked.id).state is GoalState.FAILED
    assert trips.ledger.kept == []
    with pytest.raises(IllegalTransition, match="is FAILED; only one whose compensation failed"):
        trips.fleet.platform.saga.resume(parked.id, "acme")


def test_the_healer_starts_the_saga_that_nobody_started() -> None:
    """Whoever moved the goal died before the next step."""
    trips = Trips()
    goal = trips.fleet.submit({"plan": {"tasks": [*TRIP]}, "on_failure": "compensate"})
    trips.fleet.invoke("fleet-flights-normal")
    start = trips.fleet.machine.start
    trips.fleet.machine.start = lambda goal_id, attempt: None  # type: ignore[method-assign]
    trips.fleet.platform.control.cancel(goal.id, "acme")
    trips.fleet.machine.start = start  # type: ignore[method-assign]

    report = trips.fleet.heal()
    again = trips.fleet.heal()
    trips.fleet.settle()

    assert [one.kind for one in report.repaired] == ["UNCOMPENSATED"]
    assert again.repaired == ()
    assert (trips.fleet.goal(goal.id).state, trips.ledger.kept) == (GoalState.CANCELLED, [])


def test_a_saga_that_ended_without_its_goal_is_started_anew() -> None:
    """As the next attempt: an execution that has ended can't be started again."""
    trips = Trips()
    goal = trips.fleet.submit({"plan": {"tasks": [*TRIP]}, "on_failure": "compensate"})
    trips.fleet.invoke("fleet-flights-normal")
    trips.fleet.platform.control.cancel(goal.id, "acme")
    trips.fleet.machine.executions[goal.id, 1].ended = True

    trips.fleet.heal()
    trips.fleet.settle()

    assert trips.fleet.machine.status(goal.id, 2) is SagaStatus.ENDED
    assert trips.ledger.kept == []


def test_a_saga_that_dies_while_it_keeps_tasks_from_beginning_goes_on_with_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it has taken stays taken and is not undone, for nobody had tried it; the rest is taken at the next look."""
    trips = Trips()
    asked: list[list[int]] = []
    whole = trips.fleet.claims.claim_each

    def half(goal_id: str, shards: int, units: Iterable[int], *more: Any) -> dict[int, Claim]:
        asked.append(list(units))
        if len(asked) == 1:
            whole(goal_id, shards, asked[0][:2], *more)
            raise ConnectionError("the answer was lost")
        return whole(goal_id, shards, asked[-1], *more)

    monkeypatch.setattr(trips.fleet.claims, "claim_each", half)
    later = [leg(f"later.{n}", "cars", after=("hotel",)) for n in range(4)]
    with pytest.raises(ConnectionError):
        trips.run(TRIP[0], leg("hotel", "hotels", after=("flight",), fails="before", retries=0), *later)
    trips.fleet.settle()

    [execution] = trips.fleet.machine.executions.values()
    goal = trips.fleet.goal(execution.goal_id)
    assert goal.state is GoalState.FAILED
    assert goal.undoing is not None
    assert goal.undoing.done
    assert [len(units) for units in asked] == [4, 2]
    assert (trips.ledger.kept, trips.ledger.order) == ([], ["flight"])


def test_a_fork_does_not_keep_what_was_undone() -> None:
    """The undone tasks run again, under the fork's own keys."""
    trips = Trips()
    failed = trips.run(*BROKEN)

    fork = trips.fleet.platform.control.fork(failed.id, "acme", ["*"], {"car": {"fails": None}})
    trips.fleet.settle()

    assert trips.fleet.goal(fork.id).state is GoalState.SUCCEEDED
    assert trips.ledger.kept == ["car", "flight", "hotel"]


def test_a_fork_does_not_undo_what_it_kept() -> None:
    """That belongs to the goal which did it, and that one succeeded."""
    trips = Trips()
    goal = trips.run(*TRIP)

    fork = trips.fleet.platform.control.fork(goal.id, "acme", ["hotel"], {"car": {"fails": "before"}})
    trips.fleet.settle()

    assert trips.fleet.goal(fork.id).state is GoalState.FAILED
    assert trips.ledger.kept == ["car", "flight", "hotel"]
    assert trips.ledger.order == []


def test_a_fork_does_not_keep_what_is_about_to_be_undone() -> None:
    """The goal has failed, but nothing of it has been undone yet."""
    trips = Trips()
    failed = trips.fleet.submit({"plan": {"tasks": [*BROKEN]}, "on_failure": "compensate"})
    while trips.fleet.goal(failed.id).undoing is None:
        for queue in ("flights", "hotels", "cars"):
            trips.fleet.invoke(f"fleet-{queue}-normal")

    fork = trips.fleet.platform.control.fork(failed.id, "acme", ["*"], {"car": {"fails": None}})
    trips.fleet.settle()

    assert trips.fleet.goal(fork.id).state is GoalState.SUCCEEDED
    assert trips.ledger.kept == ["car", "flight", "hotel"]


@pytest.mark.parametrize("before", [False, True], ids=["after", "before"])
def test_the_ledger_balances_whichever_call_is_the_last(before: bool) -> None:
    """An environment, or the saga's function, is killed at every call in turn, also while it undoes."""
    number = 0
    while True:
        trips = Trips()
        fleet = trips.fleet
        goal = fleet.submit({"plan": {"tasks": [*BROKEN]}, "on_failure": "compensate"})
        fleet.faults.arm(number, before=before)
        killed = False
        for _ in range(3):
            try:
                fleet.settle()
                break
            except Killed:
                killed = True
                fleet.kill()
        fleet.faults.arm(None)
        fleet.heal()
        fleet.settle()
        ended = fleet.goal(goal.id)
        assert (ended.state, trips.ledger.kept) == (GoalState.FAILED, []), f"killed at call {number}"
        assert ended.undoing is not None
        assert ended.undoing.done
        assert trips.ledger.order == ["hotel", "flight"], f"killed at call {number}"
        if not killed:
            break
        number += 1
    assert number > 50
