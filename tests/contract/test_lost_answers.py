"""What adapters make of an answer that was lost: the SDK asks again, and what it asked for has been done already."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import boto3
import pytest
from moto import mock_aws
from msgspec.structs import replace

from agentfleet.adapters.clients import CONFIG
from agentfleet.adapters.goals import DynamoGoals
from agentfleet.adapters.outputs import S3Outputs
from agentfleet.domain.goal import GoalState
from tests.contract.making import goal

TABLE = "lost-answers"


@pytest.fixture
def dynamodb() -> Iterator[Any]:
    """A client of a table."""
    with mock_aws():
        client: Any = boto3.client(
            "dynamodb", region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x", config=CONFIG
        )
        client.create_table(
            TableName=TABLE,
            BillingMode="PAY_PER_REQUEST",
            KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
            AttributeDefinitions=[
                {"AttributeName": "pk", "AttributeType": "S"},
                {"AttributeName": "sk", "AttributeType": "S"},
            ],
        )
        yield client
        client.close()


@pytest.fixture
def goals(dynamodb: Any) -> Iterator[DynamoGoals]:
    """A store of goals in it."""
    with ThreadPoolExecutor(1) as threads:
        yield DynamoGoals(dynamodb, TABLE, S3Outputs(None, "no-bucket"), threads)  # type: ignore[arg-type]


def lose_first_answer(client: Any, operation: str) -> None:
    """The first answer to each call is lost after it took effect; the SDK tries again at once."""

    def again(attempts: int, **_: Any) -> float | None:
        return 0 if attempts == 1 else None

    client.meta.events.register_first(f"needs-retry.dynamodb.{operation}", again)


def test_who_ends_a_goal_is_told_so_when_the_answer_is_lost(dynamodb: Any, goals: DynamoGoals) -> None:
    """The second try finds the goal ended, by the first: the end is ours, and ours to tell."""
    running = goal("g1").move(GoalState.RUNNING)
    goals.create(running)
    lose_first_answer(dynamodb, "PutItem")
    ended = running.move(GoalState.SUCCEEDED, output=1)

    assert goals.replace(running, ended)
    assert not goals.replace(running, running.move(GoalState.FAILED))
    assert goals.get(["g1"])["g1"].state is GoalState.SUCCEEDED


def test_who_makes_a_goal_is_told_so_when_the_answer_is_lost(dynamodb: Any, goals: DynamoGoals) -> None:
    """Its own goal is not somebody else's, and somebody else's equal one is not its own."""
    lose_first_answer(dynamodb, "PutItem")

    assert goals.create(goal("g2"))
    assert not goals.create(goal("g2"))
    assert not goals.create(replace(goal("g2"), name="other"))
