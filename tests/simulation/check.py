"""What must hold when everything has come to rest."""

from collections import Counter
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from agentfleet.domain.goal import Goal
from agentfleet.domain.messages import BadMessage, read_task
from tests.fakes.clock import START
from tests.simulation.accounts import check_accounts
from tests.simulation.chronicle import check_history
from tests.simulation.forks import key_of
from tests.simulation.queues import DEAD, RELEASE, Message
from tests.simulation.reference import Expected
from tests.simulation.work import REFUNDED, STAGE

if TYPE_CHECKING:
    from tests.simulation.simulate import Simulation


def _is_unreadable(message: Message) -> bool:
    try:
        read_task(message.body)
    except BadMessage:
        return True
    return False


EVENT_OF = {"SUCCEEDED": "GoalSucceeded", "FAILED": "GoalFailed", "CANCELLED": "GoalCancelled"}
BROKEN = frozenset({"FAILED", "CANCELLED"})


def check(simulation: "Simulation") -> None:
    """Add every violation found to the world's."""
    violate = simulation.world.violate
    for goal_id in simulation.expected.cases:
        if goal_id in simulation.goals.goals:
            _check_root(simulation, goal_id, simulation.expected.of(goal_id))
        else:
            violate(f"goal {goal_id} was never made")
    for goal in simulation.goals.goals.values():
        _check_goal(simulation, goal)
    _check_payments(simulation)
    _check_refunds(simulation)
    simulation.forks.check()
    simulation.stops.check()
    check_accounts(simulation)
    check_history(simulation, simulation.chronicle)
    if still := simulation.keepers.health.open_incidents():
        violate(f"incidents are still open: {still}")
    for queue, messages in simulation.queues.queues.items():
        # What nobody can read, such as a saga's request, stays there for a person; so do releases, whose units were sent again.
        if messages and not (
            queue.endswith(DEAD) and (queue.startswith(RELEASE) or all(map(_is_unreadable, messages.values())))
        ):
            violate(f"{queue} still holds {[message.body for message in messages.values()]}")


def _check_root(simulation: "Simulation", goal_id: str, expected: Expected) -> None:
    violate = simulation.world.violate
    goal = simulation.goals.goals[goal_id]
    cancelled = simulation.people.cancelled.get(goal_id)
    allowed = (
        {"CANCELLED"} if cancelled == "yes" else {expected.state, "CANCELLED"} if cancelled == "asked" else {expected.state}
    )
    late = goal.state == "FAILED" and _is_late(simulation, goal)
    if late:
        allowed.add("FAILED")
    if goal.state not in allowed:
        violate(f"goal {goal_id} is {goal.state}, not {' or '.join(sorted(allowed))}")
    told = {topic for topic, message in simulation.bus.published if message["goal"] == goal_id}
    # Cancelled, or out of time, before its acceptance was told, it never was anything but ended.
    if "GoalAccepted" not in told and goal.state != "CANCELLED" and not late:
        violate(f"nobody was told that goal {goal_id} was accepted")
    topics = told & set(EVENT_OF.values())
    wanted = {EVENT_OF[goal.state]} if goal.state.is_final else set()
    # A cancellation is told by whoever cancels; if that one dies, nobody else knows. Nor of what a healer ended that died.
    is_excused = goal.state == "CANCELLED" or simulation.keepers.broke_off_at(simulation.goals.ended_at.get(goal_id, -1.0))
    if topics != wanted and not (is_excused and not topics):
        violate(f"goal {goal_id} is {goal.state}, but told were {sorted(topics) or 'nothing'}")


def _check_goal(simulation: "Simulation", goal: Goal) -> None:
    violate = simulation.world.violate
    expected = simulation.expected.of(goal.id)
    above = goal.parent.ancestors if goal.parent else ()
    is_orphan = any(simulation.goals.goals[one].state in BROKEN for one in above)
    is_orphan = is_orphan or simulation.expected.is_beside_the_point(goal.id)
    is_late = _is_late(simulation, goal)
    if not goal.state.is_final:
        violate(f"goal {goal.id} is still {goal.state}")
    elif goal.parent and not is_orphan and goal.state != expected.state and not is_late:
        violate(f"sub-plan {goal.id} is {goal.state}, not {expected.state}")
    if goal.state == "SUCCEEDED" and not is_orphan:  # what a dead goal's sub-plans come to is nobody's result
        if goal.output != expected.output:
            violate(f"goal {goal.id} gave {goal.output!r}, not {expected.output!r}")
        if goal.counts != expected.counts:
            violate(f"goal {goal.id} counts {goal.counts}, not {expected.counts}")
    if (
        goal.state == "FAILED"
        and not (is_orphan or is_late)
        and (goal.failure is None or goal.failure.task not in expected.fatal)
    ):
        violate(f"goal {goal.id} names {goal.failure}, not one of {sorted(expected.fatal)}")
    _check_results(simulation, goal, expected, is_orphan)
    wanted = goal.state == "FAILED" and (
        goal.on_failure == "compensate" if is_late else all(expected.policies[one] == "compensate" for one in expected.fatal)
    )
    if goal.undoing and not goal.undoing.done:
        violate(f"goal {goal.id} has ended, but not all of it is undone")
    elif wanted and not goal.undoing and not is_orphan:
        violate(f"goal {goal.id} failed and was not undone")


def _is_late(simulation: "Simulation", goal: Goal) -> bool:
    """Did a goal fail because it was out of time? Only where it had a deadline, and not before that."""
    if not goal.was_late:
        return False
    ended = START + timedelta(seconds=simulation.goals.ended_at[goal.id] + simulation.scenario.weather.skew)
    if goal.deadline is None or ended < goal.deadline:
        simulation.world.violate(f"goal {goal.id} was ended at {ended} for its deadline {goal.deadline}")
    return True


def _check_results(simulation: "Simulation", goal: Goal, expected: Expected, is_orphan: bool) -> None:
    violate = simulation.world.violate
    plan = simulation.plans.plans[goal.id]
    tally: Counter[str] = Counter()
    stored: set[int] = set()
    for number in range(plan.header.units):
        result = simulation.results.results.get((goal.id, number))
        if result is None:
            if goal.state == "SUCCEEDED":
                violate(f"goal {goal.id} succeeded without unit {number}")
            continue
        stored.add(number)
        for task, outcome in zip(plan.unit(number).tasks, result.outcomes, strict=True):
            tally[outcome.state] += 1
            found = (str(outcome.state), outcome.output)
            is_late = (goal.id, task.id) in STAGE.late
            if found != expected.outcomes.get(task.id) and not is_orphan and not is_late:
                violate(f"task {task.id} of {goal.id} gave {found}, not {expected.outcomes.get(task.id)}: {outcome.failure}")
    if any(number > tally[state] for state, number in goal.counts.items()):
        violate(f"goal {goal.id} counts {goal.counts}, but there are {dict(tally)}")
    _check_joins(simulation, goal, plan, stored)


def _check_joins(simulation: "Simulation", goal: Goal, plan: Any, stored: set[int]) -> None:
    """A join holds exactly those of its members that are done; all of them where the goal succeeded."""
    wanted: dict[int, set[int]] = {}
    for number in stored:
        for join, slot in plan.unit(number).joins:
            wanted.setdefault(join, set()).add(slot)
    for number in range(plan.header.joins):
        join = plan.join(number)
        if join.above and len(wanted.get(number, ())) == join.size:
            wanted.setdefault(join.above[0], set()).add(join.above[1])
    for number in range(plan.header.joins):
        held = simulation.joins.joins.get((goal.id, number), set())
        full = wanted.get(number, set())
        # The healer and whoever resumes a goal go by its results alone, and need not wait for its joins.
        lives = {goal.id, *(goal.parent.ancestors if goal.parent else ())}
        is_passed_by = simulation.keepers.has_ended(goal.id) or bool(lives & simulation.goals.resumed)
        is_settled = goal.state == "SUCCEEDED" and not is_passed_by
        if not held <= full or (is_settled and held != full):
            simulation.world.violate(f"join {number} of {goal.id} holds {sorted(held)}, not {sorted(full)}")


def _check_payments(simulation: "Simulation") -> None:
    """Every task that paid paid once, under its own key; every paying task that succeeded has paid."""
    violate = simulation.world.violate
    paid = Counter((entry.goal_id, entry.task_id) for entry in STAGE.ledger.values())
    for (goal_id, task_id), times in paid.items():
        if times > 1:
            violate(f"task {task_id} of {goal_id} paid {times} times")
    for (goal_id, number), result in simulation.results.results.items():
        if goal_id not in simulation.plans.plans:
            continue  # of a compensation
        unit = simulation.plans.plans[goal_id].unit(number)
        task = unit.tasks[0].id
        has_paid = unit.capability == "sim.pay" and result.outcomes[0].state == "SUCCEEDED"
        if has_paid and key_of(simulation, goal_id, number, task) not in STAGE.ledger:
            violate(f"task {task} of {goal_id} succeeded without paying")


def _check_refunds(simulation: "Simulation") -> None:
    """The ledger balances: a payment is kept, or taken back if it can be and a goal that it is part of is undone."""
    for key, entry in STAGE.ledger.items():
        goal = simulation.goals.goals[entry.goal_id]
        above = [simulation.goals.goals[one] for one in (goal.parent.ancestors if goal.parent else ())]
        is_refundable = entry.task_id in simulation.expected.of(goal.id).refundable
        wanted = is_refundable and any(one.undoing for one in (goal, *above))
        undone = STAGE.undone.get(key, 0) >= REFUNDED
        if undone != wanted:
            word = "was taken back" if undone else "was not taken back"
            simulation.world.violate(f"the payment of task {entry.task_id} of {goal.id}, which is {goal.state}, {word}")
