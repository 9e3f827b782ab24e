"""What happened: the tables' streams into the history, copies of it under lock, and alarms for when it falls behind."""

import json
from collections.abc import Mapping
from typing import Any, Final, cast

from aws_cdk import Acknowledgment, Duration, Fn, Stack, Validations
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_events as events
from aws_cdk import aws_events_targets as targets
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_sns as sns
from constructs import Construct

from agentfleet.domain import names
from cdk.access import FleetAccess
from cdk.constructs.fleet_layers import FleetLayers
from cdk.constructs.python_function import PythonFunction, PythonFunctionProps
from cdk.constructs.queue_with_dlq import DeadLetterQueue, alarm_on
from cdk.foundation import Foundation
from cdk.permissions import Permissions, allow

TIMEOUT: Final = 30
ARCHIVE_RATE: Final = Duration.hours(1)
ARCHIVE_TIMEOUT: Final = 600
LOCKED: Final = Duration.days(365)
"""How long copies can't be changed or deleted: as long as the table keeps what they are copies of."""
BATCH: Final = 200
"""Records per invocation: what is recorded together is stored together."""
WINDOW: Final = Duration.seconds(2)
"""How long a batch gathers. Events stored one by one would cost five times the write units."""
MAX_AGE: Final = Duration.hours(6)
RETRIES: Final = 10
BEHIND: Final = Duration.minutes(15)
RECORDED: Final = {"dynamodb": {"Keys": {"sk": {"S": ["GOAL", {"prefix": "R"}]}}}}
"""Goals and results. Joins and claims follow from them, plans never change."""
RECORDED_ORDERS: Final = {"dynamodb": {"Keys": {"pk": {"S": ["KILL", {"prefix": "APPROVAL#"}]}}}}
"""What people order: kills, and requests for approval without their copies in tenants' lists. Heartbeats call nobody."""


class HistoryStack(Stack):
    """record_history behind two tables' streams, the queue that hears of what it could not record, and locked copies."""

    def __init__(
        self, scope: Construct, construct_id: str, *, foundation: Foundation, topic: sns.ITopic | None, **kwargs: Any
    ) -> None:
        super().__init__(scope, construct_id, description="Agent Fleet: history", **kwargs)
        fleet = foundation.fleet
        access = foundation.access(self)
        self._layers = FleetLayers(self, "Layers", foundation)
        work = Fn.import_value(names.work_stream_export(fleet.name))
        registry = Fn.import_value(names.registry_stream_export(fleet.name))
        self.unrecorded = DeadLetterQueue(
            self, "Unrecorded", queue_name=names.history_dead_letters(fleet.name), key=access.key, topic=topic
        )
        Validations.of(self.unrecorded.queue).acknowledge(
            Acknowledgment(id="AwsSolutions-SQS3", reason="It is where a stream's trigger sends what failed for good.")
        )
        self.record_history = PythonFunction(
            self,
            "RecordHistory",
            PythonFunctionProps(
                stage=foundation.stage,
                key=access.key,
                function_name=names.function(fleet.name, "record_history"),
                description="Records what happens to goals and tasks",
                folder=fleet.root / "functions" / "record_history",
                layers=self._layers.of(),
                permissions=access.use_table("history")
                + access.use_key()
                + _read_streams(work, registry)
                + allow("SendUnrecorded", "sqs", ("SendMessage",), self.unrecorded.queue.queue_arn),
                environment={"HISTORY_TABLE": names.table(fleet.name, "history")},
                memory=512,
                timeout=TIMEOUT,
            ),
        )
        self._trigger("Trigger", work, RECORDED)
        self._trigger("OrdersTrigger", registry, RECORDED_ORDERS)
        self._alarm(fleet.name, topic)
        self.vault = self._vault(foundation, access.key)
        self.archive_history = self._archiver(foundation, access)
        alarm_on(self._archive_alarm(fleet.name), topic)

    def _trigger(self, name: str, stream: str, recorded: Mapping[str, Any]) -> None:
        trigger = lambda_.CfnEventSourceMapping(
            self.record_history,
            name,
            function_name=self.record_history.function.function_name,
            event_source_arn=stream,
            starting_position="TRIM_HORIZON",
            batch_size=BATCH,
            maximum_batching_window_in_seconds=int(WINDOW.to_seconds()),
            maximum_record_age_in_seconds=int(MAX_AGE.to_seconds()),
            maximum_retry_attempts=RETRIES,
            bisect_batch_on_function_error=True,
            function_response_types=["ReportBatchItemFailures"],
            destination_config=lambda_.CfnEventSourceMapping.DestinationConfigProperty(
                on_failure=lambda_.CfnEventSourceMapping.OnFailureProperty(destination=self.unrecorded.queue.queue_arn)
            ),
            filter_criteria=lambda_.CfnEventSourceMapping.FilterCriteriaProperty(
                filters=[lambda_.CfnEventSourceMapping.FilterProperty(pattern=json.dumps(recorded))]
            ),
        )
        trigger.node.add_dependency(self.record_history.role)

    def _alarm(self, fleet: str, topic: sns.ITopic | None) -> None:
        alarm = cloudwatch.Alarm(
            self,
            "Behind",
            alarm_name=f"{fleet}-history-behind",
            alarm_description="The history is behind: after a day the stream forgets what was not recorded.",
            metric=self.record_history.function.metric("IteratorAge", period=Duration.minutes(1), statistic="Maximum"),
            threshold=BEHIND.to_milliseconds(),
            evaluation_periods=5,
            treat_missing_data=cloudwatch.TreatMissingData.NOT_BREACHING,
        )
        alarm_on(alarm, topic)

    def _vault(self, foundation: Foundation, key: kms.IKey) -> s3.Bucket:
        """Versioned and locked: who would delete a copy must be allowed to bypass governance, which no role here is."""
        bucket = s3.Bucket(
            self,
            "Vault",
            encryption=s3.BucketEncryption.KMS,
            encryption_key=key,
            bucket_key_enabled=True,
            block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
            enforce_ssl=True,
            object_ownership=s3.ObjectOwnership.BUCKET_OWNER_ENFORCED,
            versioned=True,
            object_lock_enabled=True,
            object_lock_default_retention=s3.ObjectLockRetention.governance(LOCKED),
            lifecycle_rules=[
                s3.LifecycleRule(
                    id="expire",
                    expiration=LOCKED.plus(Duration.days(1)),
                    noncurrent_version_expiration=Duration.days(1),
                    abort_incomplete_multipart_upload_after=Duration.days(1),
                )
            ],
            removal_policy=foundation.stage.removal_policy,
        )
        reason = "One function writes it and nobody reads it in normal operation; what it holds can't be changed."
        Validations.of(bucket).acknowledge(Acknowledgment(id="AwsSolutions-S1", reason=reason))
        return bucket

    def _archiver(self, foundation: Foundation, access: FleetAccess) -> PythonFunction:
        name = names.function(foundation.fleet.name, "archive_history")
        archiver = PythonFunction(
            self,
            "ArchiveHistory",
            PythonFunctionProps(
                stage=foundation.stage,
                key=access.key,
                function_name=name,
                description="Copies histories into the locked bucket",
                folder=foundation.fleet.root / "functions" / "archive_history",
                layers=self._layers.of(),
                permissions=access.read_history("Query")
                + access.use_key()
                + allow("WriteCopies", "s3", ("PutObject",), self.vault.arn_for_objects("history/*"))
                + Permissions(wildcards={self._copies(): "Copies are named by hour, and nothing else is there."}),
                environment={
                    "HISTORY_TABLE": names.table(foundation.fleet.name, "history"),
                    "HISTORY_BUCKET": self.vault.bucket_name,
                },
                memory=512,
                timeout=ARCHIVE_TIMEOUT,
            ),
        )
        events.Rule(
            self,
            "EachHour",
            rule_name=name,
            description="Histories are copied under lock",
            schedule=events.Schedule.rate(ARCHIVE_RATE),
            targets=[targets.LambdaFunction(archiver.function, retry_attempts=2, max_event_age=ARCHIVE_RATE)],
        )
        return archiver

    def _copies(self) -> str:
        """The copies' ARN as cdk-nag writes it."""
        bucket = cast("s3.CfnBucket", self.vault.node.default_child)
        return f"<{self.get_logical_id(bucket)}.Arn>/history/*"

    def _archive_alarm(self, fleet: str) -> cloudwatch.Alarm:
        return cloudwatch.Alarm(
            self,
            "NotArchived",
            alarm_name=f"{fleet}-history-not-archived",
            alarm_description="Histories could not be copied under lock twice running: see the function's log group.",
            metric=self.archive_history.function.metric_errors(period=ARCHIVE_RATE, statistic="Sum"),
            threshold=1,
            evaluation_periods=2,
            treat_missing_data=cloudwatch.TreatMissingData.NOT_BREACHING,
        )


def _read_streams(*streams: str) -> Permissions:
    """Be triggered by the streams."""
    statement = iam.PolicyStatement(
        sid="ReadStream",
        actions=[f"dynamodb:{action}" for action in ("DescribeStream", "GetRecords", "GetShardIterator")],
        resources=[*streams],
    )
    return Permissions((statement,))
