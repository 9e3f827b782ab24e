"""Queues that lose nothing: encrypted, TLS only, and with a dead-letter queue that raises an alarm."""

from dataclasses import dataclass
from typing import Final

from aws_cdk import Duration, RemovalPolicy
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_cloudwatch_actions as actions
from aws_cdk import aws_kms as kms
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sqs as sqs
from constructs import Construct

VISIBILITY_PER_TIMEOUT: Final = 6
"""Lambda's advice for SQS triggers: six times the function's timeout (Using Lambda with Amazon SQS)."""

MAX_RECEIVES: Final = 10
"""Of one message: a failed attempt is followed by a fresh one, so this is for what never got so far as to count an attempt."""

_DATA_KEY_REUSE: Final = Duration.hours(1)
"""The default of five minutes costs twelve times the KMS requests (Amazon SQS key management)."""


def alarm_on(alarm: cloudwatch.Alarm, topic: sns.ITopic | None) -> None:
    """Have the alarm tell the topic, if there is one."""
    if topic is not None:
        alarm.add_alarm_action(actions.SnsAction(topic))


class DeadLetterQueue(Construct):
    """Keeps what nobody could process for 14 days, and raises an alarm from the first message on."""

    def __init__(
        self, scope: Construct, construct_id: str, *, queue_name: str, key: kms.IKey, topic: sns.ITopic | None
    ) -> None:
        super().__init__(scope, construct_id)
        self.queue = sqs.Queue(
            self,
            "Queue",
            queue_name=queue_name,
            encryption=sqs.QueueEncryption.KMS,
            encryption_master_key=key,
            data_key_reuse=_DATA_KEY_REUSE,
            enforce_ssl=True,
            retention_period=Duration.days(14),
            removal_policy=RemovalPolicy.DESTROY,
        )
        alarm = cloudwatch.Alarm(
            self,
            "Depth",
            alarm_name=f"{queue_name}-depth",
            alarm_description=f"Messages wait in {queue_name}: find out why before they are redriven.",
            metric=self.queue.metric_approximate_number_of_messages_visible(period=Duration.minutes(1), statistic="Maximum"),
            threshold=1,
            evaluation_periods=1,
            comparison_operator=cloudwatch.ComparisonOperator.GREATER_THAN_OR_EQUAL_TO_THRESHOLD,
            treat_missing_data=cloudwatch.TreatMissingData.NOT_BREACHING,
        )
        alarm_on(alarm, topic)


@dataclass(frozen=True)
class QueueWithDlqProps:
    """What makes one queue different from the next."""

    queue_name: str
    key: kms.IKey
    dead_letters: DeadLetterQueue
    """May be shared by several queues."""
    consumer_timeout: int
    """Seconds that the consuming function may take."""
    oldest_age_alarm: int
    """Seconds after which a waiting message raises an alarm."""
    topic: sns.ITopic | None = None


class QueueWithDlq(Construct):
    """A standard queue that fits its consumer's timeout and hands what fails ten times to its dead-letter queue."""

    def __init__(self, scope: Construct, construct_id: str, props: QueueWithDlqProps) -> None:
        super().__init__(scope, construct_id)
        self.queue = sqs.Queue(
            self,
            "Queue",
            queue_name=props.queue_name,
            encryption=sqs.QueueEncryption.KMS,
            encryption_master_key=props.key,
            data_key_reuse=_DATA_KEY_REUSE,
            enforce_ssl=True,
            visibility_timeout=Duration.seconds(VISIBILITY_PER_TIMEOUT * props.consumer_timeout),
            retention_period=Duration.days(4),
            dead_letter_queue=sqs.DeadLetterQueue(queue=props.dead_letters.queue, max_receive_count=MAX_RECEIVES),
            removal_policy=RemovalPolicy.DESTROY,
        )
        alarm = cloudwatch.Alarm(
            self,
            "OldestAge",
            alarm_name=f"{props.queue_name}-oldest-age",
            alarm_description=f"{props.queue_name} is not drained fast enough: its oldest message waits too long.",
            metric=self.queue.metric_approximate_age_of_oldest_message(period=Duration.minutes(1), statistic="Maximum"),
            threshold=props.oldest_age_alarm,
            evaluation_periods=3,
            comparison_operator=cloudwatch.ComparisonOperator.GREATER_THAN_THRESHOLD,
            treat_missing_data=cloudwatch.TreatMissingData.NOT_BREACHING,
        )
        alarm_on(alarm, props.topic)
