"""What a planner shows before anything runs."""

from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import Field

from agentfleet.domain.estimate import Estimate
from agentfleet.services.views import View

if TYPE_CHECKING:
    from agentfleet.services.planner import Planned


class TaskEstimateView(View):
    """What one task will take."""

    id: str
    capability: str
    after: tuple[str, ...]
    """Ids of the tasks that it waits for."""
    seconds: float
    measured: bool
    """True: means of what was measured. False: the most that one attempt may take."""
    platform_dollars: float
    model_dollars: float
    model_calls: int = 0
    """At most, in one attempt."""
    model_tokens: int = 0


class EstimateView(View):
    """What a plan will take."""

    seconds: float
    """Along its longest way."""
    path: tuple[str, ...]
    """The tasks of that way."""
    platform_dollars: float
    model_dollars: float
    model_calls: int = 0
    model_tokens: int = 0
    dollars: float
    tasks: tuple[TaskEstimateView, ...]

    @classmethod
    def of(cls, estimate: Estimate) -> Self:
        """The view of an estimate."""
        tasks = tuple(
            TaskEstimateView(
                id=one.id,
                capability=one.capability,
                after=one.after,
                seconds=one.seconds,
                measured=one.measured,
                platform_dollars=one.platform_dollars,
                model_dollars=one.model_dollars,
                model_calls=one.asks.calls,
                model_tokens=one.asks.tokens,
            )
            for one in estimate.tasks
        )
        return cls(
            seconds=estimate.seconds,
            path=estimate.path,
            platform_dollars=estimate.platform_dollars,
            model_dollars=estimate.model_dollars,
            model_calls=estimate.asks.calls,
            model_tokens=estimate.asks.tokens,
            dollars=estimate.dollars,
            tasks=tasks,
        )


class Draft(View):
    """A plan that was made from words, how it came about, and what it will take."""

    goal: str
    """The words."""
    plan: dict[str, Any]
    """As it would be submitted: tasks, and output if it has one."""
    how: Literal["model", "rules"]
    why: str = ""
    """Why not by a model."""
    playbook: str | None = None
    """The playbook that it is, if it is one."""
    parameters: dict[str, Any] = Field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    estimate: EstimateView
    budget: dict[str, float] | None = None
    """What the plan may use up within its goal's budget; None: as much as the goal."""
    model: str | None = None
    rounds: int = 0
    """Calls of the model until the plan was valid."""
    input_tokens: int = 0
    output_tokens: int = 0
    dollars: float = 0.0
    """What the planning itself took, as `seconds`."""
    seconds: float = 0.0

    @classmethod
    def of(cls, goal: str, planned: "Planned", dear: str | None = None, budget: dict[str, Any] | None = None) -> Self:
        """The view of a plan; `dear` says why it may not run, if it may not; `budget` is what it may use up."""
        shown: dict[str, Any] = {
            "goal": goal,
            "plan": planned.plan_json,
            "why": planned.why,
            "playbook": planned.drafted.playbook,
            "parameters": dict(planned.drafted.parameters),
            "warnings": ((dear,) if dear else ()) + planned.warnings,
            "estimate": EstimateView.of(planned.estimate),
            "budget": budget,
        }
        if (asked := planned.asked) is None:
            return cls(how="rules", **shown)
        usage = asked.usage
        return cls(
            how="model",
            model=asked.model,
            rounds=asked.rounds,
            input_tokens=usage.input + usage.cache_read + usage.cache_write,
            output_tokens=usage.output,
            dollars=asked.dollars,
            seconds=asked.seconds,
            **shown,
        )
