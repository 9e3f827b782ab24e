"""What follows when units are done: joins, releases, and the goal's end."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from msgspec.structs import replace

from agentfleet.domain import references
from agentfleet.domain.errors import IllegalTransition, ResultMissing
from agentfleet.domain.goal import Failure, Goal, GoalState, Parent, Undoing
from agentfleet.domain.plan import Place, PlanReader, Range, expand, to_ranges
from agentfleet.domain.result import RESTING, Result, TaskOutcome, TaskState
from agentfleet.ports import ClaimStore, Clock, GoalStore, JoinStore, MessageBus, PlanStore, ResultStore, Sagas
from agentfleet.services.release import Releaser

EVENTS: Final = {
    GoalState.SUCCEEDED: "GoalSucceeded",
    GoalState.FAILED: "GoalFailed",
    GoalState.CANCELLED: "GoalCancelled",
    GoalState.COMPENSATION_FAILED: "GoalCompensationFailed",
}


def tell_accepted(bus: MessageBus, goal: Goal) -> None:
    """GoalAccepted, before anything of the goal can run: whoever resumes one that is still PLANNING tells it again.

    Nobody is told of sub-plans. Raises DeliveryFailed if the bus did not take it.
    """
    if goal.parent is None:
        detail = {"goal": goal.id, "tenant": goal.tenant, "name": goal.name, "tasks": goal.tasks, "labels": goal.labels}
        bus.publish("GoalAccepted", detail | _words_of(goal))


def _words_of(goal: Goal) -> dict[str, str]:
    return {"words": goal.words} if goal.words else {}


def resolve_template(
    template: Any,
    sources: dict[str, tuple[Place, ...]],
    outcome_at: Callable[[Place], TaskOutcome | None],
    *,
    partial: bool = False,
) -> Any:
    """A JSON value with its references replaced by the outputs they name; a task that was skipped, or failed, gives null.

    So does one without a result, if the value is `partial`, made of what there happens to be. Else raises ResultMissing.
    """

    def output_at(place: Place, source: str) -> Any:
        outcome = outcome_at(place)
        if outcome is None and not partial:
            raise ResultMissing(source)
        return outcome and outcome.output

    def output_of(reference: references.Reference) -> Any:
        outputs = [output_at(place, reference.source) for place in sources[reference.source]]
        return outputs if reference.is_family else outputs[0]

    return references.resolve(template, output_of)


def fetch_outcomes(results: ResultStore, goal: Goal, places: Sequence[Place]) -> Callable[[Place], TaskOutcome | None]:
    """A look-up of these tasks' outcomes, read in one go."""
    found = results.get(goal.id, goal.shards, sorted({unit for unit, _ in places})) if places else {}

    def outcome_at(place: Place) -> TaskOutcome | None:
        result = found.get(place[0])
        return result.outcomes[place[1]] if result else None

    return outcome_at


class Finisher:
    """Carries a goal on from units that are done.

    Every step may be repeated after a crash: a set-union changes nothing the second time, a release sends a duplicate
    that finds its result already there, and the end is a compare-and-set on the goal's state.
    """

    def __init__(
        self,
        goals: GoalStore,
        plans: PlanStore,
        results: ResultStore,
        joins: JoinStore,
        releaser: Releaser,
        bus: MessageBus,
        clock: Clock,
        sagas: Sagas,
        claims: ClaimStore,
    ) -> None:
        self._goals = goals
        self._plans = plans
        self._results = results
        self._joins = joins
        self._releaser = releaser
        self._bus = bus
        self._clock = clock
        self._sagas = sagas
        self._claims = claims

    def advance(self, goal: Goal, plan: PlanReader, done: Sequence[Result], *, repeated: bool = False) -> None:
        """Join, release and perhaps finish after these results have been stored.

        `repeated` says that a message among them had been received before, so that this may all have happened already
        except its last step. Raises DeliveryFailed if a queue or the bus did not take a message.
        """
        for result in done:
            failure = result.first_failure
            policy = plan.unit(result.unit).on_failure
            if failure and policy != "skip":
                self.end(goal, GoalState.FAILED, failure=failure, repeated=repeated, undo=policy == "compensate")
                return
        released, ended = self._join(goal, plan, done)
        self._releaser.release(goal, plan, released)
        if ended:
            self.end(goal, GoalState.SUCCEEDED, repeated=repeated)

    def fill(self, goal: Goal, plan: PlanReader, done: Sequence[Result]) -> bool:
        """Enter results into their joins and release nothing. Gives whether that completes the plan."""
        return self._join(goal, plan, done)[1]

    def _join(self, goal: Goal, plan: PlanReader, done: Sequence[Result]) -> tuple[tuple[Range, ...], bool]:
        opened: list[Range] = []
        ended = False
        reached: dict[int, list[int]] = defaultdict(list)
        for result in done:
            unit = plan.unit(result.unit)
            opened.extend(unit.releases)
            ended = ended or unit.ends
            for waiting, slot in unit.joins:
                reached[waiting].append(slot)
        filled, completed = self._fill(goal, plan, reached)
        return to_ranges(sorted(set(expand([*opened, *filled])))), ended or completed

    def _fill(self, goal: Goal, plan: PlanReader, reached: Mapping[int, Sequence[int]]) -> tuple[list[Range], bool]:
        """Unite joins with these slots, up their trees; gives what that opened, and whether the goal is done."""
        opened: list[Range] = []
        ended = False
        while reached:
            above: dict[int, list[int]] = defaultdict(list)
            for number, slots in sorted(reached.items()):
                join = plan.join(number)
                if self._joins.add(goal.id, goal.shards, number, slots) < join.size:
                    continue
                opened.extend(join.releases)
                ended = ended or join.ends
                if join.above:
                    above[join.above[0]].append(join.above[1])
            reached = above
        return opened, ended

    def rejoin(self, goal: Goal, plan: PlanReader, slots: Mapping[int, Sequence[int]]) -> None:
        """Unite joins with slots that somebody should have added, and carry on from those that this completes."""
        opened, ended = self._fill(goal, plan, slots)
        self._releaser.release(goal, plan, to_ranges(sorted(set(expand(opened)))))
        if ended:
            self.end(goal, GoalState.SUCCEEDED, repeated=True)

    def end(
        self,
        goal: Goal,
        state: GoalState,
        *,
        failure: Failure | None = None,
        repeated: bool = False,
        undo: bool | None = None,
    ) -> Goal:
        """Bring a goal to its end and tell the bus and the task that delegated it. Gives the goal as it stands then.

        `undo` says whether what its tasks did is undone first; None: as the goal's own policy has it. A goal that has
        succeeded fails if a result that its output is made of is there no more. Raises DeliveryFailed.
        """
        wanted = undo
        undo = state is not GoalState.SUCCEEDED and (goal.on_failure == "compensate" if wanted is None else wanted)
        try:
            ended, ours = self._settle(goal, state, failure, undo=undo)
        except ResultMissing as error:
            lost = Failure(type(error).__name__, str(error))
            return self.end(goal, GoalState.FAILED, failure=lost, repeated=repeated, undo=wanted)
        if ours or (repeated and ended.state in {state, GoalState.COMPENSATING}):
            self.announce(ended)
        return ended

    def _settle(self, goal: Goal, state: GoalState, failure: Failure | None, *, undo: bool) -> tuple[Goal, bool]:
        # Where many tasks fail together, each of their agents comes here with the goal as it was: only one need count results.
        current = self._goals.get([goal.id])[goal.id]
        while not current.state.is_over:
            after = (
                current.move(GoalState.COMPENSATING, failure=failure, undoing=Undoing(state))
                if undo and current.state is not GoalState.SUBMITTED
                else self._ended(current, state, failure)
            )
            if self._goals.replace(current, after):
                return after, True
            current = self._goals.get([goal.id])[goal.id]
        return current, False

    def _ended(self, goal: Goal, state: GoalState, failure: Failure | None) -> Goal:
        if goal.state is GoalState.PLANNING and state is GoalState.SUCCEEDED:
            goal = goal.move(GoalState.RUNNING)  # faster than accept_goals could say so
        plan = self._plans.read(goal.id)
        output = None
        if state is GoalState.SUCCEEDED:
            places = [place for group in plan.header.sources.values() for place in group]
            outcome_at = fetch_outcomes(self._results, goal, places)
            output = resolve_template(plan.header.output, plan.header.sources, outcome_at)
        counts = {task.value: number for task, number in self._results.tally(goal.id, goal.shards).items() if number}
        return goal.move(state, finished=self._clock(), output=output, counts=counts, failure=failure)

    def compensated(self, goal: Goal) -> Goal:
        """End a goal all of whose effects are undone, and say so. Gives it as it stands then."""
        if goal.undoing is None or goal.state.is_final:
            return goal
        ended = replace(self._ended(goal, goal.undoing.ends_as, goal.failure), undoing=replace(goal.undoing, done=True))
        if not self._goals.replace(goal, ended):
            return self._goals.get([goal.id])[goal.id]
        self.announce(ended)
        return ended

    def tell_accepted(self, goal: Goal) -> None:
        """See the function of this name."""
        tell_accepted(self._bus, goal)

    def announce(self, goal: Goal) -> None:
        """Tell whoever follows a goal that has ended: the bus, the task that it stands for, or the saga that undoes it."""
        if goal.state is GoalState.COMPENSATING and goal.undoing:
            self._sagas.start(goal.id, goal.undoing.attempt)
            return
        if goal.parent and goal.state.is_final:
            if goal.parent.reports:
                self._report_to_parent(goal, goal.parent)
            else:
                self._wake(goal.parent)
            return
        self._bus.publish(
            EVENTS[goal.state],
            {
                "goal": goal.id,
                "tenant": goal.tenant,
                "name": goal.name,
                "state": goal.state,
                "duration": goal.duration,
                "counts": goal.counts,
                "labels": goal.labels,
                **_words_of(goal),
                **({"compensated": goal.undoing.done} if goal.undoing else {}),
                **({"error": goal.failure.error, "message": goal.failure.message} if goal.failure else {}),
            },
        )

    def _wake(self, link: Parent) -> None:
        """A goal that a task called for has ended: if the task rests, it goes on now instead of when it would look again.

        One that is still at work sees for itself. Whoever dies before this leaves it to the task's own message.
        """
        waiting = self._goals.get([link.goal_id]).get(link.goal_id)
        if waiting is None or not waiting.state.is_alive or waiting.paused:
            return
        held = self._claims.held(waiting.id, waiting.shards, [link.unit]).get(link.unit)
        if held and held.owner == RESTING and held.until > self._clock():
            self._releaser.wake(waiting, self._plans.read(waiting.id), link.unit)

    def confirm_end(self, goal: Goal, unit: int) -> None:
        """A message of an ended goal was received again: who ended the goal with it may have died before telling.

        Only a message that can have ended the goal tells again, so that a failed goal's many others stay silent. Any message
        can have ended a goal that was late, or have cancelled a sub-plan whose outermost goal has ended: a goal in between
        would wait for it for ever.
        """
        ended_here = goal.failure and goal.failure.task in {task.id for task in self._plans.read(goal.id).unit(unit).tasks}
        cut_short = goal.parent is not None and goal.state is GoalState.CANCELLED
        if goal.state is GoalState.SUCCEEDED or ended_here or cut_short or goal.was_late:
            self.announce(goal)

    def _report_to_parent(self, child: Goal, link: Parent) -> None:
        """A sub-plan's end is the end of the task that returned it."""
        parent = self._goals.get([link.goal_id])[link.goal_id]
        if not parent.state.is_alive:
            self.confirm_end(parent, link.unit)
            return
        plan = self._plans.read(parent.id)
        if child.state is GoalState.SUCCEEDED:
            outcome = TaskOutcome(TaskState.SUCCEEDED, child.output)
        else:
            why = child.failure or Failure("GoalCancelled", f"its sub-plan {child.id} was cancelled")
            failure = replace(why, task=plan.unit(link.unit).tasks[link.slot].id)
            outcome = TaskOutcome(TaskState.FAILED, failure=failure)
        result = Result(parent.id, link.unit, (outcome,), f"goal:{child.id}", child.created, child.duration or 0.0)
        standing = self._results.put(parent.shards, [result])
        self.advance(parent, plan, standing, repeated=True)

    def cancel(self, goal: Goal) -> Goal:
        """Stop a goal: agents drop its messages from now on. Cancelling twice is fine. Raises IllegalTransition if it ended.

        A goal whose policy is to compensate is CANCELLED when what it did is undone.
        """
        ended = self.end(goal, GoalState.CANCELLED, repeated=True)  # again: the first time may have died before telling
        if (ended.undoing.ends_as if ended.undoing else ended.state) is not GoalState.CANCELLED:
            raise IllegalTransition(f"goal {goal.id} is {ended.state} already: there is nothing left to cancel")
        return ended
