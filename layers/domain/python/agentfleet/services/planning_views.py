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


class EstimateView(View):
    """What a plan will take."""

    seconds: float
    """Along its longest way."""
    path: tuple[str, ...]
    """The tasks of that way."""
    platform_dollars: float
    model_dollars: float
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
            )
            for one in estimate.tasks
        )
        return cls(
            seconds=estimate.seconds,
            path=estimate.path,
            platform_dollars=estimate.platform_dollars,
            model_dollars=estimate.model_dollars,
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
    model: str | None = None
    rounds: int = 0
    """Calls of the model until the plan was valid."""
    input_tokens: int = 0
    output_tokens: int = 0
    dollars: float = 0.0
    """What the planning itself took, as `seconds`."""
    seconds: float = 0.0

    @classmethod
    def of(cls, goal: str, planned: "Planned", dear: str | None = None) -> Self:
        """The view of a plan; `dear` says why it may not run, if it may not."""
        shown: dict[str, Any] = {
            "goal": goal,
            "plan": planned.plan_json,
            "why": planned.why,
            "playbook": planned.drafted.playbook,
            "parameters": dict(planned.drafted.parameters),
            "warnings": ((dear,) if dear else ()) + planned.warnings,
            "estimate": EstimateView.of(planned.estimate),
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
