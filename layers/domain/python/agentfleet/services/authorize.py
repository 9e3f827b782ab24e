"""Whose key is this? API keys by tenant, remembered for a while so that neither good nor bad keys hammer their secret."""

import hmac
import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from msgspec import Struct

from agentfleet.domain.errors import FleetError, Forbidden

REMEMBERED: Final = 60.0
"""Seconds for which the keys are taken as read."""
PATIENCE: Final = 5.0
"""Seconds between two readings because of unknown keys: a new key works that soon."""


OPERATORS: Final = "$operators"
"""The secret's one entry that is no tenant: the list of those whose keys may change what all tenants share."""


class Unauthorized(FleetError):
    """The request came past no authorizer that names a tenant."""


class Caller(Struct, frozen=True):
    """Whose key a request carries."""

    tenant: str
    is_operator: bool = False

    @property
    def operator(self) -> "Caller":
        """The same one. Raises Forbidden if it is no operator."""
        if self.is_operator:
            return self
        raise Forbidden(
            f"tenant {self.tenant} may not do this: it changes what all tenants share. Tenants that may are listed under "
            f"{OPERATORS} in the secret of the API's keys"
        )

    def as_context(self) -> dict[str, str]:
        """What the authorizer hands on: strings, which every gateway passes as they are."""
        return {"tenant": self.tenant} | ({"operator": "yes"} if self.is_operator else {})


def caller_of(event: Mapping[str, Any]) -> Caller:
    """Who sent a request of the HTTP API (payload format 2.0), as the authorizer says. Raises Unauthorized."""
    authorizer = event.get("requestContext", {}).get("authorizer") or {}
    context = authorizer.get("lambda") or {}
    tenant = context.get("tenant")
    if not isinstance(tenant, str) or not tenant:
        raise Unauthorized("give a key: Authorization: Bearer …")
    return Caller(tenant, context.get("operator") == "yes")


class UnreadableKeys(FleetError):
    """The secret isn't JSON of the form `{"tenant": "key"}` or `{"tenant": ["key", "key"]}`, `$operators` a list of tenants.

    Never says what it is.
    """


class ApiKeys:
    """Tenants by key. `fetch` gives the secret's text, `clock` seconds that only grow."""

    def __init__(self, fetch: Callable[[], str], clock: Callable[[], float]) -> None:
        self._fetch = fetch
        self._clock = clock
        self._keys: tuple[tuple[bytes, Caller], ...] = ()
        self._read: float | None = None

    def caller(self, key: str) -> Caller | None:
        """Whose key it is; None if nobody's. Raises UnreadableKeys."""
        age = self._refresh(REMEMBERED)
        found = self._find(key)
        if found is None and age >= PATIENCE:
            self._refresh(PATIENCE)
            found = self._find(key)
        return found

    def _refresh(self, after: float) -> float:
        """Read the keys again if they are that old. Gives the age that they have then, in seconds."""
        now = self._clock()
        if self._read is None or now - self._read >= after:
            self._keys = _parse(self._fetch())
            self._read = now
        return now - self._read

    def _find(self, key: str) -> Caller | None:
        # Every key is compared, each in constant time: how long it takes tells nothing about any of them.
        given, found = key.encode(), None
        for known, caller in self._keys:
            if hmac.compare_digest(known, given):
                found = caller
        return found


def _parse(secret: str) -> tuple[tuple[bytes, Caller], ...]:
    wanted = 'the secret of API keys must be a JSON object such as {"tenant": "key"} or {"tenant": ["key", "key"]}'
    try:
        tenants = json.loads(secret)
    except ValueError:
        raise UnreadableKeys(wanted) from None  # its text would be quoted in the cause
    if not isinstance(tenants, dict):
        raise UnreadableKeys(wanted)
    operators = tenants.pop(OPERATORS, [])
    if not isinstance(operators, list) or not all(isinstance(one, str) for one in operators):
        raise UnreadableKeys(f"{wanted}; {OPERATORS} must be a list of tenants")
    keys: list[tuple[bytes, Caller]] = []
    for tenant, held in tenants.items():
        for key in held if isinstance(held, list) else [held]:
            if not isinstance(key, str) or not key:
                raise UnreadableKeys(f"{wanted}; tenant {tenant!r} has something else")
            keys.append((key.encode(), Caller(tenant, tenant in operators)))
    return tuple(keys)
