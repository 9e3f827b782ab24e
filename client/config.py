"""Which API to talk to and with which key: given, from the environment, from an AWS account, or from the local cloud."""

import json
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

from client.errors import ConfigError

STATE_FILE: Final = Path(".fleet", "state.json")
DEFAULT_TENANT: Final = "default"


@dataclass(frozen=True, slots=True)
class ClientConfig:
    """How to reach a fleet."""

    api_url: str
    api_key: str
    timeout: float = 30.0
    """Seconds to wait for one answer."""
    retries: int = 4
    """How often to try again after connection errors, 429 and 5xx."""

    def __repr__(self) -> str:
        return f"ClientConfig(api_url={self.api_url!r})"  # a key in a traceback is a key given away


def load_config(
    api_url: str | None = None,
    api_key: str | None = None,
    *,
    aws_profile: str | None = None,
    directory: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> ClientConfig:
    """The configuration from the first of these that there is: arguments, FLEET_API_URL and FLEET_API_KEY, the stacks in
    the account of an AWS profile, `.fleet/` in `directory` (default: the current one) or the nearest one above it.

    A profile that is named goes before the environment. Raises ConfigError saying what to set.
    """
    variables = os.environ if environment is None else environment
    directory = directory or Path.cwd()
    if aws_profile and not api_url:
        found = from_aws(aws_profile, fleet_name(directory))
        return ClientConfig(found.api_url, api_key or found.api_key)
    url = api_url or variables.get("FLEET_API_URL")
    key = api_key or variables.get("FLEET_API_KEY")
    if url:
        # The key in .fleet/ belongs to the API in .fleet/: it is never sent anywhere else.
        if not key:
            raise ConfigError(f"there is no key for {url}: set FLEET_API_KEY or give --api-key")
        return ClientConfig(_checked(url), key)
    local = from_state(directory)
    if local is None:
        raise ConfigError(
            "no fleet to talk to: start one here with `fleet up`, or set FLEET_API_URL and FLEET_API_KEY, or give --aws-profile"
        )
    return ClientConfig(local.api_url, key or local.api_key)


def read_config(config: "ClientConfig | Mapping[str, Any] | None") -> ClientConfig:
    """A configuration from whatever a caller gives: itself, a mapping of its fields, or None for load_config.

    Raises ConfigError naming a field that it doesn't have.
    """
    if isinstance(config, ClientConfig):
        return config
    given = dict(config or {})
    known = {field.name for field in fields(ClientConfig)}
    if unknown := sorted(set(given) - known):
        raise ConfigError(f"config has no {', '.join(map(repr, unknown))}; it takes {', '.join(sorted(known))}")
    found = load_config(given.pop("api_url", None), given.pop("api_key", None))
    return ClientConfig(found.api_url, found.api_key, **given)


def from_state(directory: Path) -> ClientConfig | None:
    """The local cloud of this directory or of the nearest one above it that has one; None if nothing is deployed."""
    for folder in (directory, *directory.parents):
        file = folder / STATE_FILE
        if file.is_file():
            state = json.loads(file.read_text(encoding="utf-8"))
            url, key = state.get("api_url"), state.get("api_key")
            return ClientConfig(url, key) if url and key else None
    return None


def fleet_name(directory: Path) -> str:
    """The name in the nearest fleet.toml, or "fleet"."""
    for folder in (directory, *directory.parents):
        file = folder / "fleet.toml"
        if file.is_file():
            return str(tomllib.loads(file.read_text(encoding="utf-8")).get("fleet", {}).get("name", "fleet"))
    return "fleet"


def from_aws(profile: str, fleet: str) -> ClientConfig:
    """The API and key that the stack `{fleet}-api` put out in a profile's account and region. Raises ConfigError."""
    import boto3  # noqa: PLC0415 - half a second that only this way pays
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

    stack = f"{fleet}-api"
    try:
        session = boto3.Session(profile_name=profile)
        described = session.client("cloudformation").describe_stacks(StackName=stack)["Stacks"][0]
        outputs = {output["OutputKey"]: output["OutputValue"] for output in described.get("Outputs", [])}
        secret = session.client("secretsmanager").get_secret_value(SecretId=outputs["ApiKeySecretArn"])
    except (BotoCoreError, ClientError) as error:
        raise ConfigError(f"can't read the stack {stack} with AWS profile {profile!r}: {error}") from error
    except KeyError as error:
        raise ConfigError(f"the stack {stack} has no output {error}: is it one of this project?") from error
    key = json.loads(secret["SecretString"]).get(DEFAULT_TENANT)
    if isinstance(key, list):
        key = key[0] if key else None
    if not key:
        raise ConfigError(f"the secret of {stack} has no key for tenant {DEFAULT_TENANT!r}: give --api-key")
    return ClientConfig(_checked(outputs["ApiUrl"]), key)


def _checked(url: str) -> str:
    if not url.startswith(("http://", "https://")):
        raise ConfigError(f"the API's URL must start with https:// or http://, not {url!r}")
    return url.rstrip("/")
