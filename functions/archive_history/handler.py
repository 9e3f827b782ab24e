"""Copy histories into the locked bucket: a schedule calls this once an hour."""

from agentfleet import bootstrap

from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.typing import LambdaContext

logger = Logger()


@logger.inject_lambda_context
def handler(_: dict[str, Any], __: LambdaContext) -> dict[str, int]:
    """One pass, whatever the event says. Gives how many copies it made.

    What can be copied is, before ExceptionGroup is raised for the hours and shards that can't.
    """
    archived = bootstrap.archiver()()
    logger.info("archived", copies=list(archived.copies))
    for problem in archived.problems:
        logger.error("not archived", what=", ".join(problem.__notes__), exc_info=problem)
    if archived.problems:
        missing = ", ".join(note for problem in archived.problems for note in problem.__notes__)
        raise ExceptionGroup(f"not copied: {missing}", archived.problems)
    return {"copies": len(archived.copies)}
