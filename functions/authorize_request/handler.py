"""Let a request through if its key belongs to a tenant, and say whose it is."""

from agentfleet.services.authorize import ApiKeys
from agentfleet.settings import AuthorizerSettings

import time
from functools import cache
from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities import parameters
from aws_lambda_powertools.utilities.typing import LambdaContext

logger = Logger()


@cache
def keys() -> ApiKeys:
    """The keys of the secret that the environment names; read at the first request."""
    secret = AuthorizerSettings.from_env().api_keys_secret

    def fetch() -> str:
        return str(parameters.get_secret(secret, force_fetch=True))

    return ApiKeys(fetch, time.monotonic)


def handler(event: dict[str, Any], _context: LambdaContext) -> dict[str, Any]:
    """The simple response (format 2.0) of an HTTP API's REQUEST authorizer.

    An exception would answer 500, which is right if the secret can't be read: nobody's key is known then.
    """
    caller = keys().caller(key) if (key := read_key(event)) else None
    # Whether, never which: a key in a log is a key given away.
    logger.info("authorized" if caller else "refused", tenant=caller and caller.tenant, has_key=key is not None)
    return {"isAuthorized": caller is not None, "context": caller.as_context() if caller else {}}


def read_key(event: dict[str, Any]) -> str | None:
    """The key behind `Authorization: Bearer`, whatever the header's case: the one header that the gateway caches answers by."""
    headers: dict[str, str] = {name.lower(): value.strip() for name, value in (event.get("headers") or {}).items()}
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None
