"""What a pool needs in order to ask language models on Amazon Bedrock: exactly those of its chain, wherever they are served."""

from collections.abc import Sequence
from typing import Final

from aws_cdk import ArnFormat, Stack
from aws_cdk import aws_iam as iam

from agentfleet.domain.model_choice import ModelChoice
from agentfleet.domain.model_prices import split_geography
from cdk.permissions import Permissions
from cdk.stage import Stage

TRACED: Final = "agents"
"""The layer with OpenTelemetry in it."""
ACTIONS: Final = ("bedrock:InvokeModel", "bedrock:InvokeModelWithResponseStream")
"""What Converse and ConverseStream ask for (Amazon Bedrock API reference)."""

REGIONS: Final = {
    "us": ("us-east-1", "us-east-2", "us-west-1", "us-west-2"),
    "us-gov": ("us-gov-east-1", "us-gov-west-1"),
    "ca": ("ca-central-1", "ca-west-1"),
    "eu": ("eu-central-1", "eu-north-1", "eu-south-1", "eu-south-2", "eu-west-1", "eu-west-3"),
    "apac": (
        "ap-northeast-1",
        "ap-northeast-2",
        "ap-northeast-3",
        "ap-south-1",
        "ap-south-2",
        "ap-southeast-1",
        "ap-southeast-2",
        "ap-southeast-4",
    ),
    "jp": ("ap-northeast-1", "ap-northeast-3"),
    "au": ("ap-southeast-2", "ap-southeast-4"),
}
"""Where a geography's inference profiles may send a request (Supported Regions and models for inference profiles). The
condition on the profile keeps regions that one model doesn't use from meaning anything."""


def model_environment(model: ModelChoice | None, stage: Stage) -> dict[str, str]:
    """The variables by which a function finds its models."""
    if model is None:
        return {}
    elsewhere = {"AWS_ENDPOINT_URL_BEDROCK_RUNTIME": stage.model_url} if stage.model_url else {}
    return {"MODEL": model.model_dump_json(exclude_defaults=True)} | elsewhere


def trace_environment(layers: Sequence[str], stage: Stage) -> dict[str, str]:
    """The variables by which a pool of agents that think finds its collector. What was said stays out of its spans."""
    if stage.traces is None or TRACED not in layers:
        return {}
    return {
        "OTEL_EXPORTER_OTLP_ENDPOINT": stage.traces,
        "OTEL_SEMCONV_STABILITY_OPT_IN": "gen_ai_unredacted_attributes=",
    }


def ask_models(stack: Stack, chain: Sequence[str]) -> Permissions:
    """Call these models, and no others."""
    statements = [statement for model in chain for statement in _statements(stack, model)]
    return Permissions(tuple(statements))


def _statements(stack: Stack, model: str) -> list[iam.PolicyStatement]:
    geography, name = split_geography(model)
    if geography is None:
        return [_allow([_foundation_model(stack, model, stack.region)])]
    profile = stack.format_arn(
        service="bedrock", resource="inference-profile", resource_name=model, arn_format=ArnFormat.SLASH_RESOURCE_NAME
    )
    through = {"StringEquals": {"bedrock:InferenceProfileArn": profile}}
    if geography != "global":
        regions = dict.fromkeys([*REGIONS[geography]])
        return [_allow([profile]), _allow([_foundation_model(stack, name, region) for region in regions], through)]
    # Three grants: the profile and the model here, and the model in no region in particular (Global cross-Region inference,
    # 'IAM policy requirements').
    anywhere = {"StringEquals": {**through["StringEquals"], "aws:RequestedRegion": "unspecified"}}
    return [
        _allow([profile]),
        _allow([_foundation_model(stack, name, stack.region)], through),
        _allow([_foundation_model(stack, name, "")], anywhere),
    ]


def _allow(resources: list[str], conditions: dict[str, dict[str, str]] | None = None) -> iam.PolicyStatement:
    return iam.PolicyStatement(actions=list(ACTIONS), resources=resources, conditions=conditions)


def _foundation_model(stack: Stack, name: str, region: str) -> str:
    return f"arn:{stack.partition}:bedrock:{region}::foundation-model/{name}"
