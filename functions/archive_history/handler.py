"""Copy histories into the locked bucket: a schedule calls this once an hour."""

from agentfleet import bootstrap

from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.typing import LambdaContext

logger = Logger()


@logger.inject_lambda_context
def handler(_: dict[str, Any], __: LambdaContext) -> dict[str, int]:
    """One pass, whatever the event says. Gives how many copies it made."""
    made = bootstrap.archiver()()
    logger.info("archived", copies=list(made))
    return {"copies": len(made)}
