"""How goals come in and how work spreads: the bus, the submissions queue and the release queue."""

from typing import Any, Final

from aws_cdk import Aws, CfnOutput, Duration, Stack
from aws_cdk import aws_events as events
from aws_cdk import aws_events_targets as targets
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sns_subscriptions as subscriptions
from constructs import Construct

from agentfleet.domain import names
from cdk.constructs.queue_with_dlq import DeadLetterQueue, QueueWithDlq, QueueWithDlqProps
from cdk.stage import Stage

ACCEPT_TIMEOUT: Final = 60
RELEASE_TIMEOUT: Final = 60
REMEMBER_TIMEOUT: Final = 60
"""Seconds that accept_goals, release_tasks and remember_goals may take; their queues' visibility follows."""


class MessagingStack(Stack):
    """Bus, three queues, the rules between them, and the alarm topic if someone wants to hear."""

    def __init__(self, scope: Construct, construct_id: str, *, stage: Stage, fleet: str, key_arn: str, **kwargs: Any) -> None:
        super().__init__(scope, construct_id, description="Agent Fleet: bus and queues", **kwargs)
        # An imported key keeps its policy where it was written, in the data stack.
        key = kms.Key.from_key_arn(self, "Key", key_arn)
        self.topic = self._topic(stage, fleet, key)
        self.submissions, dead_submissions = self._queue("Submissions", names.submissions_queue(fleet), key, ACCEPT_TIMEOUT)
        self.release, _ = self._queue("Release", names.release_queue(fleet), key, RELEASE_TIMEOUT)
        self.bus = events.EventBus(
            self, "EventBus", event_bus_name=names.event_bus(fleet), description="Goals in, outcomes out", kms_key=key
        )
        self.endings, dead_endings = self._queue("Endings", names.endings_queue(fleet), key, REMEMBER_TIMEOUT)
        self._rule(
            "GoalSubmitted",
            "Goals from the bus wait in the submissions queue",
            events.EventPattern(detail_type=["GoalSubmitted"]),
            (self.submissions, dead_submissions),
        )
        self._rule(
            "GoalEnded",
            "How goals in words ended waits to be remembered",
            events.EventPattern(
                source=[names.EVENT_SOURCE],
                detail_type=["GoalSucceeded", "GoalFailed"],
                detail={"words": events.Match.exists()},
            ),
            (self.endings, dead_endings),
        )
        CfnOutput(self, "Bus", value=self.bus.event_bus_name)

    def _rule(
        self, construct_id: str, description: str, pattern: events.EventPattern, to: tuple[QueueWithDlq, DeadLetterQueue]
    ) -> None:
        """Events that match go into a queue, and what can't be delivered for a day into its dead-letter queue."""
        queue, dead = to
        events.Rule(
            self,
            construct_id,
            description=description,
            event_bus=self.bus,
            event_pattern=pattern,
            targets=[
                targets.SqsQueue(
                    queue.queue, dead_letter_queue=dead.queue, max_event_age=Duration.hours(24), retry_attempts=185
                )
            ],
        )

    def _queue(self, construct_id: str, name: str, key: kms.IKey, timeout: int) -> tuple[QueueWithDlq, DeadLetterQueue]:
        dead = DeadLetterQueue(self, f"{construct_id}Dead", queue_name=names.dead_letters(name), key=key, topic=self.topic)
        props = QueueWithDlqProps(
            queue_name=name, key=key, dead_letters=dead, consumer_timeout=timeout, oldest_age_alarm=300, topic=self.topic
        )
        return QueueWithDlq(self, construct_id, props), dead

    def _topic(self, stage: Stage, fleet: str, key: kms.IKey) -> sns.Topic | None:
        if stage.alarm_email is None:
            return None
        topic = sns.Topic(self, "Alarms", topic_name=f"{fleet}-alarms", master_key=key, enforce_ssl=True)
        # A policy of its own takes the place of the one that SNS gives every topic; without this, only the denial of plain
        # HTTP would be left, and alarms, which act with no role, could publish nothing. The key lets them in the data stack.
        topic.add_to_resource_policy(
            iam.PolicyStatement(
                sid="Alarms",
                principals=[iam.ServicePrincipal("cloudwatch.amazonaws.com")],
                actions=["sns:Publish"],
                resources=[topic.topic_arn],
                conditions={"StringEquals": {"aws:SourceAccount": Aws.ACCOUNT_ID}},
            )
        )
        topic.add_subscription(subscriptions.EmailSubscription(stage.alarm_email))
        return topic
