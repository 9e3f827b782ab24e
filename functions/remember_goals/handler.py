"""Remember how goals in words ended: bus → queue → here."""

from agentfleet import bootstrap

from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.batch import BatchProcessor, EventType, process_partial_response
from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord
from aws_lambda_powertools.utilities.typing import LambdaContext

logger = Logger()
processor = BatchProcessor(event_type=EventType.SQS, raise_on_entire_batch_failure=False)


def remember(record: SQSRecord) -> None:
    """One event: remembered, or nothing new."""
    episode = bootstrap.rememberer()(record.body)
    goal = episode.goal_id if episode else None
    logger.info("remembered" if episode else "nothing new", goal=goal, message_id=record.message_id)


@logger.inject_lambda_context
def handler(event: dict[str, Any], context: LambdaContext) -> Any:
    """SQS event in, partial batch response out."""
    return process_partial_response(event=event, record_handler=remember, processor=processor, context=context)
