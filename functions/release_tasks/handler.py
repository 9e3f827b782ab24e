"""Send the messages of wide releases, part by part, so that no single agent has to."""

from agentfleet import bootstrap

from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.batch import BatchProcessor, EventType, process_partial_response
from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord
from aws_lambda_powertools.utilities.typing import LambdaContext

logger = Logger()
processor = BatchProcessor(event_type=EventType.SQS, raise_on_entire_batch_failure=False)


def release(record: SQSRecord) -> None:
    """One part of a fan-out."""
    sent = bootstrap.platform().release_part(record.body)
    logger.info("released", units=sent, message_id=record.message_id)


@logger.inject_lambda_context
def handler(event: dict[str, Any], context: LambdaContext) -> Any:
    """SQS event in, partial batch response out."""
    return process_partial_response(event=event, record_handler=release, processor=processor, context=context)
