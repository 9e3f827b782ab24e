"""Record what the streams of the work table and the registry say of goals, results, requests for approval and kills."""

from agentfleet import bootstrap

from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.typing import LambdaContext

logger = Logger()


@logger.inject_lambda_context
def handler(event: dict[str, Any], _context: LambdaContext) -> dict[str, Any]:
    """Stream event in, partial batch response out. Failures are returned: a batch that raises holds up its stream."""
    recorded = bootstrap.recorder()(event["Records"])
    for failure in recorded.failures:
        logger.error("not recorded", sequence=failure.sequence, exc_info=failure.error)
    logger.info("recorded", records=len(event["Records"]), events=recorded.events)
    return {"batchItemFailures": [{"itemIdentifier": failure.sequence} for failure in recorded.failures]}
