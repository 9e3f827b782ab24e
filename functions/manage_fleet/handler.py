"""Give every pool the size that its load asks for, and ask remote agents how they are: a schedule calls this once a minute."""

from agentfleet import bootstrap

from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.typing import LambdaContext

logger = Logger()


@logger.inject_lambda_context
def handler(_: dict[str, Any], __: LambdaContext) -> dict[str, str]:
    """One pass, whatever the event says. Gives pool → action, for whoever calls it by hand."""
    made = bootstrap.autoscaler()()
    for one in made:
        decision = one.decision
        logger.info(
            "scaling",
            pool=one.pool,
            mode=one.mode,
            action=decision.action,
            before=decision.before,
            concurrency=decision.concurrency,
            reason=decision.reason,
            applied=decision.applied,
        )
    for agent in bootstrap.remote_watch()():
        logger.info("remote agent", agent=agent.id, state=agent.state.value)
    return {one.pool: one.decision.action.value for one in made}
