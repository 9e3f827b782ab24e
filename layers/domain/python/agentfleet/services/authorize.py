"""Whose key is this? API keys by tenant, remembered for a while so that neither good nor bad keys hammer their secret."""

import hmac
import json
from collections.abc import Callable
from typing import Final

from agentfleet.domain.errors import FleetError

REMEMBERED: Final = 60.0
"""Seconds for which the keys are taken as read."""
PATIENCE: Final = 5.0
"""Seconds between two readings because of unknown keys: a new key works that soon."""


class UnreadableKeys(FleetError):
    """The secret isn't JSON of the form `{"tenant": "key"}` or `{"tenant": ["key", "key"]}`. Never says what it is."""


class ApiKeys:
    """Tenants by key. `fetch` gives the secret's text, `clock` seconds that only grow."""

    def __init__(self, fetch: Callable[[], str], clock: Callable[[], float]) -> None:
        self._fetch = fetch
        self._clock = clock
        self._keys: tuple[tuple[bytes, str], ...] = ()
        self._read: float | None = None

    def tenant(self, key: str) -> str | None:
        """The tenant whose key it is; None if nobody's. Raises UnreadableKeys."""
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

    def _find(self, key: str) -> str | None:
        # Every key is compared, each in constant time: how long it takes tells nothing about any of them.
        given, found = key.encode(), None
        for known, tenant in self._keys:
            if hmac.compare_digest(known, given):
                found = tenant
        return found


def _parse(secret: str) -> tuple[tuple[bytes, str], ...]:
    wanted = 'the secret of API keys must be a JSON object such as {"tenant": "key"} or {"tenant": ["key", "key"]}'
    try:
        tenants = json.loads(secret)
    except ValueError:
        raise UnreadableKeys(wanted) from None  # its text would be quoted in the cause
    if not isinstance(tenants, dict):
        raise UnreadableKeys(wanted)
    keys: list[tuple[bytes, str]] = []
    for tenant, held in tenants.items():
        for key in held if isinstance(held, list) else [held]:
            if not isinstance(key, str) or not key:
                raise UnreadableKeys(f"{wanted}; tenant {tenant!r} has something else")
            keys.append((key.encode(), tenant))
    return tuple(keys)
