"""IAM enforced on the emulator: what is put right around it, so that the fleet's policies decide as they do on AWS."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from localstack_client.session import Session

from client.dropped import deployed_resources

Statement = dict[str, Any]

ALIASES: Final = {
    "sqs:SendMessage": "sqs:SendMessageBatch",
    "sqs:ChangeMessageVisibility": "sqs:ChangeMessageVisibilityBatch",
    "sqs:DeleteMessage": "sqs:DeleteMessageBatch",
    "dynamodb:PartiQLInsert": "dynamodb:BatchExecuteStatement",
}
"""IAM action → what the emulator asks for when it comes in a batch: no action on AWS (Service Authorization Reference)."""

_ANSWERS: Final = frozenset(f"states:SendTask{how}" for how in ("Success", "Failure", "Heartbeat"))
_WITHOUT_RESOURCE: Final = frozenset({"dynamodb:BatchExecuteStatement", *_ANSWERS})
"""The emulator does not see which tables a batch's statements name, nor whose execution a task token belongs to."""
_SID: Final = "EmulatorAlias"


def open_bootstrap(session: Session) -> None:
    """Let the CDK reach its own bucket without TLS, which the emulator does not speak here."""
    s3 = session.client("s3")
    for bucket in s3.list_buckets()["Buckets"]:
        if bucket["Name"].startswith("cdk-"):
            s3.delete_bucket_policy(Bucket=bucket["Name"])


def adapt_policies(assembly: Path, session: Session) -> None:
    """Fit what a CDK cloud assembly deployed to the emulator: its roles, and what its queues and buckets ask of a connection.

    Doing it again changes nothing.
    """
    iam, sqs, s3 = (session.client(name) for name in ("iam", "sqs", "s3"))
    for client in (sqs, s3):
        # Until their policies are changed, queues and buckets refuse everybody who comes without TLS.
        client.meta.events.register("before-call", _as_if_by_tls)
    for kind, physical_id, _ in deployed_resources(assembly, session.client("cloudformation")):
        match kind:
            case "AWS::IAM::Role":
                for policy in iam.list_role_policies(RoleName=physical_id)["PolicyNames"]:
                    document = iam.get_role_policy(RoleName=physical_id, PolicyName=policy)["PolicyDocument"]
                    write_policy(iam, physical_id, policy, document["Statement"])
            case "AWS::SQS::Queue":
                found = sqs.get_queue_attributes(QueueUrl=physical_id, AttributeNames=["Policy"]).get("Attributes", {})
                if "Policy" in found:
                    policy = json.dumps(_without_tls(json.loads(found["Policy"])))
                    sqs.set_queue_attributes(QueueUrl=physical_id, Attributes={"Policy": policy})
            case "AWS::S3::Bucket":
                document = json.loads(s3.get_bucket_policy(Bucket=physical_id)["Policy"])
                s3.put_bucket_policy(Bucket=physical_id, Policy=json.dumps(_without_tls(document)))


def _as_if_by_tls(params: dict[str, Any], **_: Any) -> None:
    """Say what a proxy in front of the emulator would say of an encrypted connection."""
    params["headers"]["X-Forwarded-Proto"] = "https"


def write_policy(iam: Any, role: str, policy: str, statements: Iterable[Statement]) -> None:
    """Store a role's policy, with an alias beside every action that the emulator knows under another name or of no resource."""
    own = [statement for statement in statements if not is_alias(statement)]
    document = {"Version": "2012-10-17", "Statement": [*own, *_aliases(own)]}
    iam.put_role_policy(RoleName=role, PolicyName=policy, PolicyDocument=json.dumps(document))


def is_alias(statement: Statement) -> bool:
    """Was this statement of a stored policy added by `write_policy`?"""
    return str(statement.get("Sid", "")).startswith(_SID)


def _aliases(statements: Iterable[Statement]) -> list[Statement]:
    found: list[Statement] = []
    for statement in statements:
        actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
        for action in actions:
            if alias := ALIASES.get(action, action if action in _ANSWERS else None):
                resource = "*" if alias in _WITHOUT_RESOURCE else statement["Resource"]
                found.append({**statement, "Sid": f"{_SID}{len(found)}", "Action": alias, "Resource": resource})
    return found


def _without_tls(document: dict[str, Any]) -> dict[str, Any]:
    """The resource policy without its refusal of connections that are not encrypted."""
    refusal = {"Bool": {"aws:SecureTransport": "false"}}
    kept = [statement for statement in document["Statement"] if statement.get("Condition") != refusal]
    return {**document, "Statement": kept}
