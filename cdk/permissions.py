"""What a role may do, together with the reason for every wildcard in it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from aws_cdk import Acknowledgment, Validations
from aws_cdk import aws_iam as iam
from constructs import Construct


@dataclass(frozen=True)
class Permissions:
    """Policy statements, and why those of their resources that hold a `*` must."""

    statements: tuple[iam.PolicyStatement, ...] = ()
    wildcards: Mapping[str, str] = field(default_factory=dict)
    """A resource with a `*`, as cdk-nag writes it → the reason it can't be narrower."""

    def __add__(self, other: "Permissions") -> "Permissions":
        return Permissions((*self.statements, *other.statements), {**self.wildcards, **other.wildcards})

    def acknowledge_on(self, role: Construct) -> None:
        """Tell cdk-nag the reasons, on the role that has the wildcards."""
        for resource, reason in self.wildcards.items():
            Validations.of(role).acknowledge(Acknowledgment(id=f"AwsSolutions-IAM5[Resource::{resource}]", reason=reason))


def allow(sid: str, service: str, actions: tuple[str, ...], *resources: str) -> Permissions:
    """Allow `actions` of one AWS service on exactly these resources."""
    statement = iam.PolicyStatement(sid=sid, actions=[f"{service}:{action}" for action in actions], resources=list(resources))
    return Permissions((statement,))
