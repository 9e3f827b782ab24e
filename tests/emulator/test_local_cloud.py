"""The local cloud is the deployed system: nothing that the templates ask for is missing."""

import json
from typing import Any

import pytest

from client.local import LocalCloud
from tests.emulator.conftest import Aws


@pytest.mark.parametrize("table", ["fleet-work", "fleet-registry", "fleet-knowledge", "fleet-history"])
def test_tables_expire_items_and_can_be_restored(cloud: LocalCloud, table: str) -> None:
    """The emulator drops both from a template; they are put back by API."""
    dynamodb = cloud.client("dynamodb")

    expiry = dynamodb.describe_time_to_live(TableName=table)["TimeToLiveDescription"]
    backups = dynamodb.describe_continuous_backups(TableName=table)["ContinuousBackupsDescription"]

    assert expiry == {"TimeToLiveStatus": "ENABLED", "AttributeName": "expires"}
    assert backups["PointInTimeRecoveryDescription"]["PointInTimeRecoveryStatus"] == "ENABLED"


def test_an_unchanged_project_is_not_deployed_again(cloud: LocalCloud) -> None:
    """Not even looked at by the CDK: the files' hash says so."""
    assert cloud.deploy() is False


def test_a_second_deploy_changes_nothing(cloud: LocalCloud) -> None:
    """The same input gives the same templates and assets."""
    outcome = cloud.cdk("deploy", "--all", "--require-approval", "never", "--app", str(cloud.assembly))

    assert outcome.count("(no changes)") == 6


def test_the_key_opens_the_api_and_nothing_else_does(cloud: LocalCloud) -> None:
    """The secret's key is the one that the authorizer compares with."""
    secret = cloud.client("secretsmanager").get_secret_value(SecretId=cloud.outputs["ApiKeySecretArn"])

    assert json.loads(secret["SecretString"]) == {"$operators": ["default"], "default": cloud.api_key}


def test_every_trigger_is_on(cloud: LocalCloud) -> None:
    """One per queue that takes messages, with its limit."""
    mappings = cloud.client("lambda").list_event_source_mappings()["EventSourceMappings"]

    assert len(mappings) >= 14
    assert {mapping["State"] for mapping in mappings} == {"Enabled"}
    from_queues = [mapping for mapping in mappings if ":sqs:" in mapping["EventSourceArn"]]
    assert len(mappings) - len(from_queues) == 2  # the history's, from the streams of work table and registry
    assert all(mapping["ScalingConfig"]["MaximumConcurrency"] >= 2 for mapping in from_queues)


def test_a_stream_tells_of_what_partiql_inserted(aws: Aws) -> None:
    """Once each, alone or in a batch, as of what was put; an insert that is refused is not told. The history rests on it."""
    dynamodb, streams = aws("dynamodb"), aws("dynamodbstreams")
    table = dynamodb.create_table(
        TableName="told",
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
        StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"},
    )["TableDescription"]
    insert = """INSERT INTO "told" VALUE {'pk':?,'n':?}"""

    def statement(key: str) -> dict[str, Any]:
        return {"Statement": insert, "Parameters": [{"S": key}, {"N": "1"}]}

    dynamodb.put_item(TableName="told", Item={"pk": {"S": "put"}, "n": {"N": "1"}})
    dynamodb.execute_statement(**statement("alone"))
    dynamodb.batch_execute_statement(Statements=[statement("first"), statement("alone"), statement("second")])

    (shard,) = streams.describe_stream(StreamArn=table["LatestStreamArn"])["StreamDescription"]["Shards"]
    iterator = streams.get_shard_iterator(
        StreamArn=table["LatestStreamArn"], ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON"
    )["ShardIterator"]
    records = streams.get_records(ShardIterator=iterator)["Records"]
    assert [record["dynamodb"]["Keys"]["pk"]["S"] for record in records] == ["put", "alone", "first", "second"]
    assert {record["eventName"] for record in records} == {"INSERT"}
    assert [record["dynamodb"]["NewImage"]["n"] for record in records] == [{"N": "1"}] * 4
    dynamodb.delete_table(TableName="told")
