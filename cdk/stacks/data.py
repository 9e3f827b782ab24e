"""What must never be lost: the key, the tables and the bucket."""

from typing import Any, Final, cast

from aws_cdk import Acknowledgment, Aws, CfnOutput, Duration, Stack, Validations
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_s3 as s3
from constructs import Construct

from agentfleet.domain import names
from cdk.access import KEY_ACTIONS, Table
from cdk.fleet_file import KnowledgeBlock
from cdk.stage import Stage

KEEP_OBJECTS: Final = Duration.days(90)
KEEP_CACHED: Final = Duration.days(8)
"""A day longer than any cached result holds."""
KEEP_OLD_VERSIONS: Final = Duration.days(30)


class DataStack(Stack):
    """One key with yearly rotation, five tables on demand, one bucket."""

    def __init__(
        self, scope: Construct, construct_id: str, *, stage: Stage, fleet: str, knowledge: KnowledgeBlock, **kwargs: Any
    ) -> None:
        super().__init__(scope, construct_id, description="Agent Fleet: key, tables and bucket", **kwargs)
        self._stage = stage
        self.key = kms.Key(
            self,
            "Key",
            alias=f"alias/{fleet}",
            description=f"Everything that the fleet {fleet} stores",
            enable_key_rotation=True,
            removal_policy=stage.removal_policy,
        )
        self._let_services_use_the_key()
        self.work = self._table(fleet, "work", stream=dynamodb.StreamViewType.NEW_AND_OLD_IMAGES)
        self.work.add_global_secondary_index(
            index_name="goals",
            partition_key=dynamodb.Attribute(name="tenant", type=dynamodb.AttributeType.STRING),
            sort_key=dynamodb.Attribute(name="listed", type=dynamodb.AttributeType.STRING),
            projection_type=dynamodb.ProjectionType.ALL,
        )
        self.work.add_global_secondary_index(
            index_name="living",
            partition_key=dynamodb.Attribute(name="living", type=dynamodb.AttributeType.STRING),
            sort_key=dynamodb.Attribute(name="living_order", type=dynamodb.AttributeType.STRING),
            projection_type=dynamodb.ProjectionType.KEYS_ONLY,
        )
        self.registry = self._table(fleet, "registry", stream=dynamodb.StreamViewType.NEW_AND_OLD_IMAGES)
        self.knowledge = self._table(fleet, "knowledge")
        self._index_vectors(knowledge)
        self.history = self._table(fleet, "history")
        self.memory = self._table(fleet, "memory")
        self.bucket = self._bucket()
        CfnOutput(self, "WorkTable", value=self.work.table_name)
        CfnOutput(self, "WorkStream", value=str(self.work.table_stream_arn), export_name=names.work_stream_export(fleet))
        exported = names.registry_stream_export(fleet)
        CfnOutput(self, "RegistryStream", value=str(self.registry.table_stream_arn), export_name=exported)
        self.bucket_export = f"{fleet}-bucket"
        """Other stacks import the bucket by this name, which is the same in every synth."""
        CfnOutput(self, "Bucket", value=self.bucket.bucket_name, export_name=self.bucket_export)

    def _table(self, fleet: str, kind: Table, stream: dynamodb.StreamViewType | None = None) -> dynamodb.Table:
        return dynamodb.Table(
            self,
            kind.title(),
            table_name=names.table(fleet, kind),
            partition_key=dynamodb.Attribute(name="pk", type=dynamodb.AttributeType.STRING),
            sort_key=dynamodb.Attribute(name="sk", type=dynamodb.AttributeType.STRING),
            stream=stream,
            billing_mode=dynamodb.BillingMode.PAY_PER_REQUEST,
            time_to_live_attribute="expires",
            point_in_time_recovery_specification=dynamodb.PointInTimeRecoverySpecification(point_in_time_recovery_enabled=True),
            encryption=dynamodb.TableEncryption.CUSTOMER_MANAGED,
            encryption_key=self.key,
            deletion_protection=not self._stage.is_local,
            removal_policy=self._stage.removal_policy,
        )

    def _index_vectors(self, knowledge: KnowledgeBlock) -> None:
        """Vectors by tenant and domain. The construct of the table knows no vector indexes yet, the resource does."""
        table = cast("dynamodb.CfnTable", self.knowledge.node.default_child)
        Validations.of(table).acknowledge(
            Acknowledgment(id="CloudFormation-Validate::E3039", reason="The search schema of the vector index uses `space`.")
        )
        table.add_metadata("cfn-lint", {"config": {"ignore_checks": ["E3039"]}})
        table.add_property_override("AttributeDefinitions.2", {"AttributeName": "space", "AttributeType": "S"})
        table.vector_indexes = [
            dynamodb.CfnTable.VectorIndexProperty(
                index_name=names.vector_index(knowledge.model),
                vector_attribute=dynamodb.CfnTable.VectorAttributeProperty(attribute_name=knowledge.model),
                dimensions=knowledge.dimensions,
                distance_function="COSINE",
                projection=dynamodb.CfnTable.ProjectionProperty(projection_type="KEYS_ONLY"),
                search_schema=[
                    dynamodb.CfnTable.SearchSchemaElementProperty(attribute_name="space", search_schema_element_type="HASH")
                ],
            )
        ]

    def _bucket(self) -> s3.Bucket:
        access_log = s3.Bucket(
            self,
            "AccessLog",
            # S3 delivers access logs only to buckets with its own encryption (Amazon S3: Enabling server access logging).
            encryption=s3.BucketEncryption.S3_MANAGED,
            block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
            enforce_ssl=True,
            object_ownership=s3.ObjectOwnership.BUCKET_OWNER_ENFORCED,
            lifecycle_rules=[s3.LifecycleRule(id="expire", expiration=KEEP_OBJECTS)],
            removal_policy=self._stage.removal_policy,
        )
        Validations.of(access_log).acknowledge(
            Acknowledgment(id="AwsSolutions-S1", reason="It holds the access log; logging it into itself would never end.")
        )
        return s3.Bucket(
            self,
            "Objects",
            encryption=s3.BucketEncryption.KMS,
            encryption_key=self.key,
            bucket_key_enabled=True,
            block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
            enforce_ssl=True,
            object_ownership=s3.ObjectOwnership.BUCKET_OWNER_ENFORCED,
            versioned=True,
            server_access_logs_bucket=access_log,
            server_access_logs_prefix="bucket/",
            lifecycle_rules=[
                # Not knowledge/: documents stay until somebody deletes them.
                *(
                    s3.LifecycleRule(id=f"expire-{prefix}", prefix=f"{prefix}/", expiration=KEEP_OBJECTS)
                    for prefix in ("plans", "outputs", "blobs")
                ),
                s3.LifecycleRule(
                    id="tidy",
                    noncurrent_version_expiration=KEEP_OLD_VERSIONS,
                    abort_incomplete_multipart_upload_after=Duration.days(1),
                ),
                s3.LifecycleRule(
                    id="expire-cache",
                    prefix="cache/",
                    expiration=KEEP_CACHED,
                    noncurrent_version_expiration=Duration.days(1),
                ),
            ],
            removal_policy=self._stage.removal_policy,
        )

    def _let_services_use_the_key(self) -> None:
        """Name the services here, all at once: grants from other stacks would make this stack depend on them."""
        same_account = {"StringEquals": {"aws:SourceAccount": Aws.ACCOUNT_ID}}
        for sid, service in (("EventsToQueues", "events.amazonaws.com"), ("AlarmsToTopic", "cloudwatch.amazonaws.com")):
            self.key.add_to_resource_policy(
                iam.PolicyStatement(
                    sid=sid,
                    principals=[iam.ServicePrincipal(service)],
                    actions=["kms:Decrypt", "kms:DescribeKey", "kms:GenerateDataKey"],
                    resources=["*"],
                    conditions=same_account,
                )
            )
        groups = self.format_arn(service="logs", resource="log-group:*")
        self.key.add_to_resource_policy(
            iam.PolicyStatement(
                sid="LogGroups",
                principals=[iam.ServicePrincipal(f"logs.{Aws.REGION}.amazonaws.com")],
                actions=[f"kms:{action}" for action in KEY_ACTIONS],
                resources=["*"],
                conditions={"ArnLike": {"kms:EncryptionContext:aws:logs:arn": groups}},
            )
        )
