"""Where the client finds its API and key, and what the doctor finds."""

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import mock_aws
from typer.testing import CliRunner

from client.cli import doctor
from client.cli.app import app
from client.cli.session import Session
from client.config import ClientConfig, load_config, read_config
from client.errors import ConfigError

LOCAL = {"api_url": "http://127.0.0.1:4566/_aws/execute-api/fleet/$default", "api_key": "local-key"}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project whose local cloud is deployed."""
    (tmp_path / ".fleet").mkdir()
    (tmp_path / ".fleet" / "state.json").write_text(json.dumps(LOCAL))
    (tmp_path / "inside").mkdir()
    return tmp_path


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """An AWS account with the API's stack in it, and a profile for it."""
    (tmp_path / "credentials").write_text("[work]\naws_access_key_id = test\naws_secret_access_key = test\n")
    (tmp_path / "config").write_text("[profile work]\nregion = us-east-1\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    with mock_aws():
        secrets = boto3.client("secretsmanager", region_name="us-east-1")
        arn = secrets.create_secret(Name="keys", SecretString='{"default": "account-key", "acme": ["a"]}')["ARN"]
        template = {
            "Resources": {"Topic": {"Type": "AWS::SNS::Topic"}},
            "Outputs": {
                "ApiUrl": {"Value": "https://abc.execute-api.us-east-1.amazonaws.com"},
                "ApiKeySecretArn": {"Value": arn},
            },
        }
        stacks = boto3.client("cloudformation", region_name="us-east-1")
        stacks.create_stack(StackName="prod-api", TemplateBody=json.dumps(template))
        bare = {"Resources": template["Resources"]}
        stacks.create_stack(StackName="bare-api", TemplateBody=json.dumps(bare))
        yield


def test_arguments_go_before_the_environment_and_that_before_the_local_cloud(project: Path) -> None:
    """The first source that names an API wins."""
    environment = {"FLEET_API_URL": "https://env.example.test", "FLEET_API_KEY": "env-key"}

    given = load_config("https://given.example.test/", "given-key", directory=project, environment=environment)
    from_environment = load_config(directory=project, environment=environment)
    local = load_config(directory=project / "inside", environment={})

    assert given == ClientConfig("https://given.example.test", "given-key")
    assert from_environment == ClientConfig("https://env.example.test", "env-key")
    assert local == ClientConfig(LOCAL["api_url"], LOCAL["api_key"])


def test_the_local_key_is_sent_to_the_local_api_only(project: Path) -> None:
    """A URL without a key is an error; it is not filled from .fleet/."""
    with pytest.raises(ConfigError, match="there is no key for https://else"):
        load_config("https://else.example.test", directory=project, environment={})
    assert load_config(directory=project, environment={"FLEET_API_KEY": "k"}).api_key == "k"


@pytest.mark.parametrize("state", [None, "{}", '{"api_url": null, "api_key": null}'])
def test_without_any_fleet_the_error_says_how_to_get_one(tmp_path: Path, state: str | None) -> None:
    """Nothing deployed, nothing set: what to do is said."""
    if state:
        (tmp_path / ".fleet").mkdir()
        (tmp_path / ".fleet" / "state.json").write_text(state)

    with pytest.raises(ConfigError, match="fleet up"):
        load_config(directory=tmp_path, environment={})


def test_a_profile_leads_to_the_stacks_outputs_and_secret(account: None, project: Path) -> None:
    """The fleet's name in fleet.toml names the stack; the default tenant's key is taken."""
    (project / "fleet.toml").write_text('[fleet]\nname = "prod"\n')

    found = load_config(aws_profile="work", directory=project / "inside", environment={"FLEET_API_URL": "https://x"})

    assert found == ClientConfig("https://abc.execute-api.us-east-1.amazonaws.com", "account-key")


@pytest.mark.parametrize(
    ("profile", "name", "words"),
    [
        ("nobody", "prod", "could not be found"),
        ("work", "other", "can't read the stack other-api"),
        ("work", "bare", "has no output"),
    ],
)
def test_what_is_missing_in_the_account_is_named(account: None, project: Path, profile: str, name: str, words: str) -> None:
    """An unknown profile, no such stack, a stack of something else."""
    (project / "fleet.toml").write_text(f'[fleet]\nname = "{name}"\n')

    with pytest.raises(ConfigError, match=words):
        load_config(aws_profile=profile, directory=project, environment={})


def test_a_mapping_with_an_unknown_field_is_refused() -> None:
    """A misspelt field is named with those there are."""
    with pytest.raises(ConfigError, match=r"config has no 'url'; it takes api_key, api_url"):
        read_config({"url": "https://x"})


def test_a_key_is_in_no_representation() -> None:
    """Tracebacks and logs show configurations; not their keys."""
    assert "secret" not in repr(ClientConfig("https://x.example.test", "secret"))


@pytest.mark.enable_socket
def test_the_doctor_says_what_is_missing_and_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In JSON every check has a verdict; what must be there and isn't is exit code 1."""
    monkeypatch.delenv("FLEET_API_URL", raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setattr(doctor, "FREE_GB", 10**9)

    result = CliRunner().invoke(app, ["doctor", "--json"], obj=Session(directory=tmp_path))
    words = CliRunner().invoke(app, ["doctor"], obj=Session(directory=tmp_path)).stdout
    checks = {check["name"]: check for check in json.loads(result.stdout)["checks"]}

    assert result.exit_code == 1
    assert (checks["Python"]["verdict"], checks["packages"]["verdict"], checks["disk"]["verdict"]) == ("ok", "ok", "missing")
    assert checks["API"]["fix"].startswith("fleet up")
    assert checks["emulator"]["verdict"] == "note"
    assert "✗ disk" in words


@pytest.mark.enable_socket
def test_the_doctor_knows_old_and_absent_tools() -> None:
    """Each tool too old or not there comes with the way to get it."""
    assert doctor.python((3, 10, 1)).verdict == "missing"
    assert doctor.node(lambda _: "v22.1.0").verdict == "ok"
    assert "older than 20" in doctor.node(lambda _: "v18.0.0").found
    assert doctor.node(lambda _: None).found == "none"
    assert doctor.npm(lambda _: None).fix
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert doctor.port(server.getsockname()[1]).verdict == "note"


def test_the_doctor_asks_the_api(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, client: Any) -> None:
    """An API that answers is named with what it has."""
    here = Session(directory=tmp_path)
    monkeypatch.setattr(here, "client", lambda: client)

    assert doctor.api(here).found == "https://api.example.test answers; 2 pools"
