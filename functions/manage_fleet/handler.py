"""Give every pool the size that its load asks for, and ask remote agents how they are: a schedule calls this once a minute."""

from agentfleet import bootstrap

from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.typing import LambdaContext

logger = Logger()


@logger.inject_lambda_context
def handler(_: dict[str, Any], __: LambdaContext) -> dict[str, str]:
    """One pass, whatever the event says. Gives pool → action, for whoever calls it by hand.

    What can be done and said is, before ExceptionGroup is raised for what can't.
    """
    managed = bootstrap.autoscaler()()
    for one in managed.decisions:
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
    problems = [*managed.problems, *_watch_remotes()]
    for problem in problems:
        logger.error("not managed", what=", ".join(problem.__notes__), exc_info=problem)
    if problems:
        raise ExceptionGroup(f"{len(problems)} parts of the fleet could not be managed", problems)
    return {one.pool: one.decision.action.value for one in managed.decisions}


def _watch_remotes() -> list[Exception]:
    """Ask remote agents how they are; gives what kept it from being done."""
    try:
        for agent in bootstrap.remote_watch()():
            logger.info("remote agent", agent=agent.id, state=agent.state.value)
    except Exception as error:
        error.add_note("remote agents")
        return [error]
    return []
