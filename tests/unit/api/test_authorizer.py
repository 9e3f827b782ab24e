"""The authorizer: whose key is it, and how often is the secret read."""

import json
import logging
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest
from aws_lambda_powertools.utilities import parameters
from moto import mock_aws

from agentfleet.services.authorize import ApiKeys, Caller, UnreadableKeys
from functions.authorize_request import handler
from tests.unit.api.world import CONTEXT, recorded

forget_clients: Callable[[], None] = parameters.clear_caches

KEYS = {"acme": "test-key-of-acme", "globex": ["old-key-of-globex", "new-key-of-globex"]}


@pytest.fixture
def secret(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A Secrets Manager client; the function's secret is in there."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with mock_aws():
        client = boto3.client("secretsmanager")
        arn = client.create_secret(Name="fleet/api-keys", SecretString=json.dumps(KEYS))["ARN"]
        monkeypatch.setenv("API_KEYS_SECRET", arn)
        handler.keys.cache_clear()
        forget_clients()
        yield client
        handler.keys.cache_clear()
        forget_clients()


def ask(**headers: str) -> dict[str, Any]:
    """The authorizer's answer to a request with these headers."""
    event = recorded("http_api_authorizer")
    event["headers"] = {name.replace("_", "-"): value for name, value in headers.items()}
    return handler.handler(event, CONTEXT)


def test_a_known_key_is_let_through_with_its_tenant(secret: Any) -> None:
    """As recorded: a bearer key of a tenant."""
    answer = handler.handler(recorded("http_api_authorizer"), CONTEXT)

    assert answer == {"isAuthorized": True, "context": {"tenant": "acme"}}


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": "Bearer old-key-of-globex "},
        {"AUTHORIZATION": "bearer new-key-of-globex"},
        {"Authorization": "Bearer  new-key-of-globex"},
    ],
)
def test_keys_come_as_bearer_in_any_case(secret: Any, headers: dict[str, str]) -> None:
    """However scheme and header are written; each of a tenant's keys counts."""
    assert ask(**headers) == {"isAuthorized": True, "context": {"tenant": "globex"}}


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": "Bearer nobody's"},
        {"x_api_key": "test-key-of-acme"},
        {"authorization": "Basic test-key-of-acme"},
        {"authorization": "Bearer "},
        {"authorization": "test-key-of-acme"},
        {"authorization": "Bearer acme"},
        {"authorization": "Bearer schl\u00fcssel"},
    ],
)
def test_anything_else_is_refused(secret: Any, headers: dict[str, str]) -> None:
    """No key, a wrong one, or another scheme: not authorized, and no tenant."""
    assert ask(**headers) == {"isAuthorized": False, "context": {}}


def test_no_key_is_ever_logged(secret: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Neither good keys nor bad ones appear in the log."""
    with caplog.at_level(logging.DEBUG, logger=handler.logger.name):
        ask(authorization="Bearer test-key-of-acme")
        ask(authorization="Bearer a-guess")

    text = " ".join(str(vars(record)) for record in caplog.records)
    assert "test-key-of-acme" not in text
    assert "a-guess" not in text


class Secret:
    """A secret's text and how often it was read."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.reads = 0

    def __call__(self) -> str:
        self.reads += 1
        return self.text


class Seconds:
    """A clock that is told the time."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_keys_are_remembered_for_a_minute() -> None:
    """A hundred requests read the secret once; after a minute a removed key stops working."""
    secret, clock = Secret('{"acme": "k"}'), Seconds()
    keys = ApiKeys(secret, clock)

    assert {keys.caller("k") for _ in range(100)} == {Caller("acme")}
    assert secret.reads == 1
    secret.text = '{"acme": "other"}'
    clock.now += 59
    assert keys.caller("k") == Caller("acme")
    clock.now += 1
    assert keys.caller("k") is None
    assert secret.reads == 2


def test_a_new_key_works_soon_and_bad_keys_cost_little() -> None:
    """A miss reads the secret again, but not more often than every few seconds."""
    secret, clock = Secret('{"acme": "k"}'), Seconds()
    keys = ApiKeys(secret, clock)
    keys.caller("k")

    secret.text = '{"acme": "k", "globex": "new"}'
    assert keys.caller("new") is None
    clock.now += 5
    assert keys.caller("new") == Caller("globex")
    reads = secret.reads
    for _ in range(100):
        clock.now += 0.01
        keys.caller("guess")
    assert secret.reads == reads


@pytest.mark.parametrize("text", ["", "key", "[]", '{"acme": 1}', '{"acme": ""}', '{"acme": ["a", null]}'])
def test_a_secret_that_is_no_map_of_keys_is_an_error(text: str) -> None:
    """It fails loudly, saying the form that is wanted and nothing of the secret."""
    with pytest.raises(UnreadableKeys, match="must be a JSON object") as caught:
        ApiKeys(Secret(text), Seconds()).caller("k")

    assert caught.value.__cause__ is None
