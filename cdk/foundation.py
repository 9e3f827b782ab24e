"""What the stacks with functions in them stand on."""

from dataclasses import dataclass

from aws_cdk import Fn, Stack
from aws_cdk import aws_kms as kms
from aws_cdk import aws_s3 as s3

from cdk.access import FleetAccess
from cdk.catalog import FleetDefinition
from cdk.stage import Stage as FleetStage


@dataclass(frozen=True)
class Foundation:
    """The fleet's definition and the resources of the data and messaging stacks."""

    stage: FleetStage
    fleet: FleetDefinition
    key_arn: str
    bucket_export: str
    release_queue_url: str

    def access(self, stack: Stack) -> FleetAccess:
        """The resources as `stack` refers to them."""
        return FleetAccess(
            stack=stack,
            fleet=self.fleet,
            # An imported key keeps its policy where it was written, in the data stack.
            key=kms.Key.from_key_arn(stack, "Key", self.key_arn),
            bucket=s3.Bucket.from_bucket_name(stack, "Bucket", Fn.import_value(self.bucket_export)),
            bucket_export=self.bucket_export,
            release_queue_url=self.release_queue_url,
        )
