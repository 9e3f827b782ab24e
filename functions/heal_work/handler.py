"""Set goals going again that stand still for good, and deal with dead letters: on a schedule."""

from agentfleet import bootstrap
from agentfleet.services.heal import HealReport

from datetime import timedelta
from typing import Any, Final

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.typing import LambdaContext

RESERVE: Final = timedelta(seconds=15)
"""Kept from an invocation's time for the goal that it is at."""

logger = Logger()
metrics = Metrics(namespace="AgentFleet")


@logger.inject_lambda_context
@metrics.log_metrics
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """One run. `{"quiet_seconds": n}` takes the place of the rules' patience, for a fleet that is known to be idle."""
    until = bootstrap.utc_now() + timedelta(milliseconds=context.get_remaining_time_in_millis()) - RESERVE
    quiet = event.get("quiet_seconds")
    report = bootstrap.healing().healer.run(until, wait=None if quiet is None else timedelta(seconds=float(quiet)))
    told = _tell(report)
    logger.info("healed", **told)
    for error in report.errors:
        logger.error("not repaired", tenant="*", reason=error)
    return told


def _tell(report: HealReport) -> dict[str, Any]:
    """The run in numbers, as metrics too."""
    counts = {
        "GoalsRepaired": len(report.repaired),
        "GoalsHealed": len(report.healed),
        "IncidentsOpen": report.still_open,
        "MessagesSentAgain": report.sent,
        "DeadLettersHandled": sum(report.letters.values()),
        "RepairsFailed": len(report.errors),
    }
    for name, count in counts.items():
        metrics.add_metric(name=name, unit=MetricUnit.Count, value=count)
    for incident in report.healed:
        metrics.add_metric(name="TimeToHeal", unit=MetricUnit.Seconds, value=incident.seconds or 0.0)
    letters = {action.value: count for action, count in report.letters.items()}
    return {**counts, "LivingGoals": report.looked, "Letters": letters, "Complete": report.complete}
