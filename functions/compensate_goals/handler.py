"""What the saga's state machine asks: what is left to undo of a goal, and to leave it to a person if that can't be done."""

from agentfleet.bootstrap import platform
from agentfleet.domain.saga import Outcome

from typing import Any

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.typing import LambdaContext

logger = Logger()
metrics = Metrics(namespace="AgentFleet")


@logger.inject_lambda_context
@metrics.log_metrics
def handler(event: dict[str, Any], _context: LambdaContext) -> dict[str, Any]:
    """`{"step": "look", goal, attempt, spent}` gives the next step; `{"step": "park", goal, attempt, failures}` nothing."""
    saga, goal, attempt = platform().saga, str(event["goal"]), int(event["attempt"])
    if event["step"] == "park":
        saga.park(goal, attempt, event["failures"])
        metrics.add_metric(name="CompensationsFailed", unit=MetricUnit.Count, value=1)
        logger.error("compensation failed", goal=goal, attempt=attempt, failures=event["failures"])
        return {}
    step = saga.look(goal, attempt, int(event["spent"]))
    if step.outcome is Outcome.COMPENSATED:
        metrics.add_metric(name="GoalsCompensated", unit=MetricUnit.Count, value=1)
    items = [{"queue": undo.queue, "task": undo.task, "message": undo.message} for undo in step.undos]
    logger.info("looked", goal=goal, attempt=attempt, outcome=step.outcome.value, undos=len(items), spent=step.spent)
    return {"outcome": step.outcome.value, "items": items, "seconds": step.seconds, "spent": step.spent}
