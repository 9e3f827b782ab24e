"""Put back by API what the emulator's CloudFormation drops, so that the rest of the fleet can't tell the difference."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from localstack_client.session import Session


def put_back(assembly: Path, session: Session) -> None:
    """Set what the templates in a CDK cloud assembly ask for and the emulator ignored.

    Tables: time to live, point-in-time recovery and vector indexes. Functions: reserved concurrency. HTTP APIs: CORS.
    Doing it again changes nothing.
    """
    dynamodb, lambda_, apigateway = (session.client(name) for name in ("dynamodb", "lambda", "apigatewayv2"))
    for kind, physical_id, properties in deployed_resources(assembly, session.client("cloudformation")):
        match kind:
            case "AWS::DynamoDB::Table":
                _restore_table(dynamodb, physical_id, properties)
            case "AWS::Lambda::Function" if "ReservedConcurrentExecutions" in properties:
                lambda_.put_function_concurrency(
                    FunctionName=physical_id, ReservedConcurrentExecutions=properties["ReservedConcurrentExecutions"]
                )
            case "AWS::ApiGatewayV2::Api" if "CorsConfiguration" in properties:
                apigateway.update_api(ApiId=physical_id, CorsConfiguration=properties["CorsConfiguration"])


def deployed_resources(assembly: Path, cloudformation: Any) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Type, physical id and template properties of every deployed resource."""
    for template in sorted(assembly.glob("*.template.json")):
        declared = json.loads(template.read_text(encoding="utf-8"))["Resources"]
        stack = template.name.removesuffix(".template.json")
        for resource in cloudformation.describe_stack_resources(StackName=stack)["StackResources"]:
            properties = declared.get(resource["LogicalResourceId"], {}).get("Properties", {})
            yield resource["ResourceType"], resource["PhysicalResourceId"], properties


def _restore_table(dynamodb: Any, table: str, properties: dict[str, Any]) -> None:
    wanted = properties.get("TimeToLiveSpecification")
    now = dynamodb.describe_time_to_live(TableName=table)["TimeToLiveDescription"]
    # Enabling it a second time is an error on AWS and here.
    if wanted and now["TimeToLiveStatus"] == "DISABLED":
        dynamodb.update_time_to_live(TableName=table, TimeToLiveSpecification=wanted)
    recovery = properties.get("PointInTimeRecoverySpecification")
    if recovery:
        dynamodb.update_continuous_backups(TableName=table, PointInTimeRecoverySpecification=recovery)
    there = {index["IndexName"] for index in dynamodb.describe_table(TableName=table)["Table"].get("VectorIndexes", ())}
    for index in properties.get("VectorIndexes", ()):
        if index["IndexName"] not in there:
            # A little later it can be searched, as after a deploy to AWS; searches say so until then.
            dynamodb.update_table(
                TableName=table,
                AttributeDefinitions=properties["AttributeDefinitions"],
                VectorIndexUpdates=[{"Create": index}],
            )
