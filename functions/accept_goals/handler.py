"""Accept the goals that arrive as events: bus → queue → here."""

from agentfleet import bootstrap

from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.batch import BatchProcessor, EventType, process_partial_response
from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord
from aws_lambda_powertools.utilities.typing import LambdaContext

# isort: split
# Last: it loads pydantic, and with that there Powertools' batches load models of every event source, a quarter of a cold start.
from agentfleet.services import intake  # noqa: F401 - loaded while the function starts, which has a whole processor for that

logger = Logger()
processor = BatchProcessor(event_type=EventType.SQS, raise_on_entire_batch_failure=False)


def accept(record: SQSRecord) -> None:
    """One event: accepted, rejected on the bus, or received again."""
    goal = bootstrap.platform().intake(record.body)
    logger.info("accepted" if goal else "rejected", goal=goal.id if goal else None, message_id=record.message_id)


@logger.inject_lambda_context
def handler(event: dict[str, Any], context: LambdaContext) -> Any:
    """SQS event in, partial batch response out."""
    return process_partial_response(event=event, record_handler=accept, processor=processor, context=context)
